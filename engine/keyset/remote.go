package keyset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
)

// A Remote is where a JWK set (RFC 7517) is fetched from.
type Remote struct {
	URL string // http or https

	// Issuer, if it is not empty, says that URL is that of a discovery document
	// (OpenID Connect Discovery 1.0 §4, RFC 8414 §3), which has to name exactly
	// this issuer, and that the key set is where its jwks_uri says.
	Issuer string

	// RefreshInterval is how often it is fetched. Zero: as long as the answer
	// may be cached, or hourly if that does not say.
	RefreshInterval time.Duration

	// MaxStale is for how long after the time of a renewal that failed the keys
	// are believed still (stale-if-error, RFC 5861 §4). Zero: for ever.
	MaxStale time.Duration

	// Hosts are hosts, with their port unless it is that of the scheme, beside
	// that of URL to which redirects and the discovery document may lead.
	Hosts []string

	// AnyHost lets redirects lead to every host.
	AnyHost bool
}

// Validate tells what is wrong with r, as far as that can be told without the
// network.
func (r *Remote) Validate() error {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return fmt.Errorf("%q is not a URL of the form https://host/path", r.URL)
	case r.RefreshInterval != 0 && r.RefreshInterval < time.Second:
		return errors.New("the refresh interval must be at least 1s")
	case r.MaxStale < 0:
		return errors.New("the bound of staleness can't be negative")
	}
	return nil
}

// loader gives what fetches the set.
func (r *Remote) loader(transport http.RoundTripper) func(context.Context) ([]byte, time.Duration, error) {
	// The library's defaults refuse to be led from https to http.
	client := jwk.WrapHTTPClientDefaults(&http.Client{
		Transport: transport,
		CheckRedirect: func(to *http.Request, _ []*http.Request) error {
			if !r.AnyHost && !r.admits(to.URL) {
				return fmt.Errorf("a redirect leads to another host, %s", to.URL.Host)
			}
			return nil
		},
	})
	return func(ctx context.Context) ([]byte, time.Duration, error) {
		from := r.URL
		if r.Issuer != "" {
			var err error
			if from, err = r.discover(ctx, client); err != nil {
				return nil, 0, err
			}
		}
		content, header, err := get(ctx, client, from, "application/jwk-set+json, application/json")
		switch {
		case err != nil:
			return nil, 0, err
		case r.RefreshInterval > 0:
			return content, r.RefreshInterval, nil
		default:
			return content, lifetime(header), nil
		}
	}
}

// admits tells whether keys may come from the host of u.
func (r *Remote) admits(u *url.URL) bool {
	own, err := url.Parse(r.URL)
	return err == nil && (strings.EqualFold(u.Host, own.Host) || slices.ContainsFunc(r.Hosts, func(h string) bool { return strings.EqualFold(h, u.Host) }))
}

// discover gives the address of the key set that the discovery document names.
func (r *Remote) discover(ctx context.Context, client *http.Client) (string, error) {
	content, _, err := get(ctx, client, r.URL, "application/json")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		return "", fmt.Errorf("the discovery document can't be read: %w", err)
	}
	if document.Issuer != r.Issuer {
		return "", fmt.Errorf("the discovery document is that of the issuer %q, not of %q", document.Issuer, r.Issuer)
	}
	from, err := url.Parse(r.URL)
	if err != nil {
		return "", err
	}
	to, err := url.Parse(document.Keys)
	switch {
	case err != nil || to.Host == "" || to.Scheme != "https" && to.Scheme != from.Scheme:
		return "", fmt.Errorf("the discovery document has the jwks_uri %q, which is not a URL of the form https://host/path", document.Keys)
	case !r.admits(to):
		return "", fmt.Errorf("the discovery document leads to another host, %s", to.Host)
	}
	return document.Keys, nil
}

func get(ctx context.Context, client *http.Client, from, accept string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s answered %s", request.URL.Redacted(), response.Status)
	}
	content, err := readBounded(response.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", request.URL.Redacted(), err)
	}
	return content, response.Header, nil
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
	content, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(content) > MaxSize {
		err = fmt.Errorf("a key set has at most %d bytes", MaxSize)
	}
	return content, err
}
