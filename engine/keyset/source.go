package keyset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The bounds of what is fetched and read.
const (
	MaxSize    = 1 << 20          // bytes of a key set or a discovery document
	MinRenewal = 30 * time.Second // between an attempt and one that Renew brings about

	attemptTimeout  = 10 * time.Second
	fileInterval    = 10 * time.Second
	defaultInterval = time.Hour
	minInterval     = time.Minute // for what the server's headers say
	maxInterval     = 24 * time.Hour
	firstRetry      = 5 * time.Second // doubled with every failure
	maxRetry        = 5 * time.Minute
)

// A Location says where a set of keys is: exactly one of its members is set.
type Location struct {
	Remote *Remote
	File   string // read again every ten seconds
	Data   []byte // the content itself
}

// Options are what a Source works with.
type Options struct {
	Name      string            // of the set, in errors
	Warn      func(error)       // is told that renewing failed; nil: nobody is
	Transport http.RoundTripper // nil: http.DefaultTransport
}

// Why there are no keys.
var (
	// ErrNever says that the keys were never got.
	ErrNever = errors.New("they were never got")

	// ErrStale says that the keys could not be renewed for so long that they
	// are not believed any more.
	ErrStale = errors.New("they could not be renewed for too long")
)

// A Source holds a set of keys and renews it. T is what its content is parsed
// to, and is only ever read. It is safe for concurrent use.
type Source[T any] struct {
	name  string
	parse func([]byte) (T, error)
	warn  func(error)
	stale time.Duration // 0: keys are good for ever

	// load gives the content of the set, and for how long it is good. Nil: the
	// set never changes.
	load func(context.Context) ([]byte, time.Duration, error)

	content []byte // that was loaded last; only Run touches it

	current atomic.Pointer[snapshot[T]] // nil: there never was one
	failure atomic.Pointer[error]       // of the last attempt
	first   chan struct{}               // closed after the first attempt

	mu      sync.Mutex
	running bool
	pending chan struct{} // closed when the attempt that is asked for or under way ends; nil: none is
	last    time.Time     // when the last attempt ended
	wake    chan struct{} // holds one: an attempt is asked for
}

type snapshot[T any] struct {
	keys  T
	until time.Time // zero: for ever
}

// New prepares a Source. A set at hand is read, and the error tells what is
// wrong with it; a remote one is fetched once Run runs.
func New[T any](at Location, parse func([]byte) (T, error), o Options) (*Source[T], error) {
	s := &Source[T]{name: o.Name, parse: parse, warn: o.Warn, first: make(chan struct{}), wake: make(chan struct{}, 1)}
	if s.warn == nil {
		s.warn = func(error) {}
	}
	if at.Remote != nil {
		if err := at.Remote.Validate(); err != nil {
			return nil, err
		}
		s.load, s.stale = at.Remote.loader(o.Transport), at.Remote.MaxStale
		return s, nil
	}
	content := at.Data
	if at.File != "" {
		var err error
		if content, err = readFile(at.File); err != nil {
			return nil, err
		}
		s.load = func(context.Context) ([]byte, time.Duration, error) {
			content, err := readFile(at.File)
			return content, fileInterval, err
		}
	}
	keys, err := parse(content)
	if err != nil {
		return nil, err
	}
	s.content = content
	s.current.Store(&snapshot[T]{keys: keys})
	return s, nil
}

// Name gives the name of the set.
func (s *Source[T]) Name() string { return s.name }

// Keys gives the keys that are in force. It never waits. The error is ErrNever
// or ErrStale to errors.Is, and tells why the last attempt failed.
func (s *Source[T]) Keys() (T, error) {
	c := s.current.Load()
	if c != nil && (c.until.IsZero() || time.Now().Before(c.until)) {
		return c.keys, nil
	}
	why := ErrNever
	if c != nil {
		why = ErrStale
	}
	if failure := s.failure.Load(); failure != nil {
		why = fmt.Errorf("%w: %w", why, *failure)
	}
	var none T
	return none, fmt.Errorf("there are no keys of %q: %w", s.name, why)
}

// First is Keys, but waits for the first attempt to get them to end. It waits
// for no attempt after that.
func (s *Source[T]) First(ctx context.Context) (T, error) {
	if s.current.Load() == nil {
		select {
		case <-s.first:
		case <-ctx.Done():
			var none T
			return none, fmt.Errorf("waiting for the keys of %q: %w", s.name, ctx.Err())
		}
	}
	return s.Keys()
}

// Awaited tells whether First would wait. Once it would not, it never will again.
func (s *Source[T]) Awaited() bool {
	if s.current.Load() != nil {
		return false
	}
	select {
	case <-s.first:
		return false
	default:
		return true
	}
}

// Renew is for whoever needs a key that is not among those in force. It brings
// about an attempt to renew them, unless the last one was less than MinRenewal
// ago, and waits for it, or for one that is under way. It tells whether keys
// may have changed; if ctx ended before the attempt did, the error is that of
// ctx.
func (s *Source[T]) Renew(ctx context.Context) (attempted bool, err error) {
	s.mu.Lock()
	p := s.pending
	if p == nil {
		if s.load == nil || !s.running || time.Since(s.last) < MinRenewal {
			s.mu.Unlock()
			return false, nil
		}
		p = make(chan struct{})
		s.pending = p
		select {
		case s.wake <- struct{}{}:
		default: // asked for already
		}
	}
	s.mu.Unlock()
	select {
	case <-p:
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("waiting for the keys of %q: %w", s.name, ctx.Err())
	}
}

// Run gets the keys and renews them until ctx ends. It is called once.
func (s *Source[T]) Run(ctx context.Context) {
	attempted := sync.OnceFunc(func() { close(s.first) })
	defer attempted()
	if s.load == nil {
		return
	}
	wait, retry := time.Duration(0), firstRetry
	if s.current.Load() != nil {
		wait = fileInterval // since a file was read already
	}
	s.begin(wait == 0)
	defer s.end(true)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.begin(true)
		case <-s.wake:
		}
		if ctx.Err() != nil {
			return
		}
		next, err := s.renew(ctx)
		if wait = next; err == nil {
			retry = firstRetry
		} else {
			wait, retry = retry, min(2*retry, maxRetry)
			s.failure.Store(&err)
			s.warn(fmt.Errorf("the keys of %q could not be renewed, next attempt in %s: %w", s.name, wait, err))
		}
		s.end(false)
		attempted()
		timer.Reset(wait)
	}
}

// begin notes that Run runs and, if so, that an attempt is under way.
func (s *Source[T]) begin(attempt bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = true
	if attempt && s.pending == nil {
		s.pending = make(chan struct{})
	}
}

// end notes that an attempt has ended, or all of them have.
func (s *Source[T]) end(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = !all
	s.last = time.Now()
	if s.pending != nil {
		close(s.pending)
		s.pending = nil
	}
	select { // an attempt that was asked for while this one was under way
	case <-s.wake:
	default:
	}
}

// renew makes one attempt to renew the keys and gives the time until the next
// one.
func (s *Source[T]) renew(ctx context.Context) (next time.Duration, err error) {
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
	if err != nil {
		return 0, err
	}
	fresh := new(snapshot[T])
	if s.stale > 0 {
		fresh.until = time.Now().Add(next + s.stale)
	}
	if old := s.current.Load(); old != nil && bytes.Equal(content, s.content) {
		fresh.keys = old.keys
	} else if fresh.keys, err = s.parse(content); err != nil {
		return 0, err
	}
	s.content = content
	s.current.Store(fresh)
	return next, nil
}
