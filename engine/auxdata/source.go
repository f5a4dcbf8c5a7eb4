package auxdata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// A KeySet is a set of public keys, from exactly one of Remote and Local.
type KeySet struct {
	ID     string // what tokens name it by
	Remote *Remote
	Local  *Local

	// OptionalAlg lets keys verify every algorithm of their type if they say
	// none.
	OptionalAlg bool

	// OptionalKid lets every key of the set verify, whatever kid the token
	// names.
	OptionalKid bool
}

// A Remote is where a JWK set (RFC 7517) is fetched from.
type Remote struct {
	URL string // http or https

	// RefreshInterval is how often it is fetched. Zero: as long as the answer
	// may be cached, or hourly if that does not say.
	RefreshInterval time.Duration
}

// A Local is a key set at hand: either File or Data.
type Local struct {
	File string // looked at again every ten seconds
	Data []byte
	PEM  bool // the content is PEM; otherwise a JWK or a JWK set
}

// The bounds of what is fetched and read.
const (
	maxKeySetSize   = 1 << 20 // bytes
	attemptTimeout  = 10 * time.Second
	fileInterval    = 10 * time.Second
	defaultInterval = time.Hour
	minInterval     = time.Minute // for what the server's headers say
	maxInterval     = 24 * time.Hour
	firstRetry      = 5 * time.Second // doubled with every failure
	maxRetry        = 5 * time.Minute
)

// Validate tells what is wrong with a key set, as far as that can be told
// without the file system and the network.
func (k *KeySet) Validate() error {
	switch {
	case k.ID == "":
		return errors.New("the id is empty")
	case (k.Remote == nil) == (k.Local == nil):
		return errors.New("it must be either remote or local")
	case k.Remote != nil:
		return k.Remote.validate()
	case (k.Local.File == "") == (len(k.Local.Data) == 0):
		return errors.New("either file or data is needed")
	case k.Local.PEM && !(k.OptionalAlg && k.OptionalKid):
		return errors.New("PEM says neither alg nor kid, so no token could be verified; set insecure.optionalAlg and insecure.optionalKid")
	case k.Local.File == "":
		_, err := parseKeys(k.Local.Data, k)
		return err
	}
	return nil
}

func (r *Remote) validate() error {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%q is not a URL of the form https://host/path", r.URL)
	case r.RefreshInterval != 0 && r.RefreshInterval < time.Second:
		return errors.New("the refresh interval must be at least 1s")
	}
	return nil
}

// A source holds the keys of a set and renews them.
type source struct {
	set  KeySet
	warn func(error)

	// load gives the content of the set, and for how long it is good. Nil: the
	// set never changes.
	load func(context.Context) ([]byte, time.Duration, error)

	content []byte // that was loaded last; only the goroutine of keepFresh touches it

	current atomic.Pointer[keys]  // nil: there never were any
	failure atomic.Pointer[error] // of the last attempt
	first   chan struct{}         // closed after the first attempt
}

func newSource(set KeySet, o Options) (*source, error) {
	if err := set.Validate(); err != nil {
		return nil, err
	}
	s := &source{set: set, warn: o.Warn, first: make(chan struct{})}
	if s.warn == nil {
		s.warn = func(error) {}
	}
	if set.Remote != nil {
		client := jwk.WrapHTTPClientDefaults(&http.Client{Transport: o.Transport})
		s.load = func(ctx context.Context) ([]byte, time.Duration, error) { return fetch(ctx, client, set.Remote) }
		return s, nil
	}
	content := set.Local.Data
	if set.Local.File != "" {
		var err error
		if content, err = readFile(set.Local.File); err != nil {
			return nil, err
		}
		s.load = func(context.Context) ([]byte, time.Duration, error) {
			content, err := readFile(set.Local.File)
			return content, fileInterval, err
		}
	}
	k, err := parseKeys(content, &s.set)
	if err != nil {
		return nil, err
	}
	s.content = content
	s.current.Store(k)
	return s, nil
}

// keys gives the keys that are in force. It waits for the first attempt to
// get them, but never for one after that.
func (s *source) keys(ctx context.Context) (*keys, error) {
	if k := s.current.Load(); k != nil {
		return k, nil
	}
	select {
	case <-s.first:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the keys of %q: %w", s.set.ID, ctx.Err())
	}
	if k := s.current.Load(); k != nil {
		return k, nil
	}
	reason := errors.New("nobody asks for them any longer")
	if failure := s.failure.Load(); failure != nil {
		reason = *failure
	}
	return nil, fmt.Errorf("there are no keys of %q: %w", s.set.ID, reason)
}

// keepFresh renews the keys until ctx ends.
func (s *source) keepFresh(ctx context.Context) {
	attempted := sync.OnceFunc(func() { close(s.first) })
	defer attempted()
	wait, retry := time.Duration(0), firstRetry
	if s.current.Load() != nil {
		wait = fileInterval // since a file was read already
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		next, err := s.refresh(ctx)
		if wait = next; err == nil {
			retry = firstRetry
		} else {
			wait, retry = retry, min(2*retry, maxRetry)
			s.failure.Store(&err)
			s.warn(fmt.Errorf("the keys of %q could not be renewed, next attempt in %s: %w", s.set.ID, wait, err))
		}
		attempted()
	}
}

// refresh makes one attempt to renew the keys and gives the time until the
// next one.
func (s *source) refresh(ctx context.Context) (next time.Duration, err error) {
	// What is parsed here comes from elsewhere. A parser that panics over it
	// must not end the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("parsing the keys panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	content, next, err := s.load(ctx)
	if err != nil || s.content != nil && bytes.Equal(content, s.content) {
		return next, err
	}
	k, err := parseKeys(content, &s.set)
	if err != nil {
		return 0, err
	}
	s.content = content
	s.current.Store(k)
	return next, nil
}

// fetch gets a remote key set.
func fetch(ctx context.Context, client *http.Client, r *Remote) ([]byte, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("%s answered %s", request.URL.Redacted(), response.Status)
	}
	content, err := readBounded(response.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", request.URL.Redacted(), err)
	}
	if r.RefreshInterval > 0 {
		return content, r.RefreshInterval, nil
	}
	return content, lifetime(response.Header), nil
}

// lifetime gives for how long an answer may be cached (RFC 9111, 4.2), within
// bounds, and an hour if it does not say.
func lifetime(header http.Header) time.Duration {
	bounded := func(d time.Duration) time.Duration { return min(max(d, minInterval), maxInterval) }
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, text, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-cache", "no-store":
			return minInterval
		case "max-age":
			if seconds, ok := wholeSeconds(strings.Trim(text, `"`)); ok {
				age, _ := wholeSeconds(header.Get("Age"))
				return bounded(seconds - age)
			}
		}
	}
	expires, err := http.ParseTime(header.Get("Expires"))
	if err != nil {
		return defaultInterval
	}
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return defaultInterval
	}
	return bounded(expires.Sub(date))
}

// wholeSeconds reads a number of seconds, at most that of maxInterval.
func wholeSeconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, false
	}
	return time.Duration(min(n, uint64(maxInterval/time.Second))) * time.Second, true
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := readBounded(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxKeySetSize+1))
	if err == nil && len(content) > maxKeySetSize {
		err = fmt.Errorf("a key set has at most %d bytes", maxKeySetSize)
	}
	return content, err
}
