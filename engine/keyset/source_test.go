package keyset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// How sources renew, warn and wait is tested with package auxdata; here is what
// it makes no use of.

// A server answers requests and can be told how.
type server struct {
	mu       sync.Mutex
	answers  map[string]string // by URL
	failing  bool
	requests []string
	delay    time.Duration
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.requests = append(s.requests, r.URL.String())
	answer, ok := s.answers[r.URL.String()]
	failing, delay := s.failing, s.delay
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if failing {
		return nil, errors.New("connection refused")
	}
	response := &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}
	if to, found := strings.CutPrefix(answer, "-> "); found {
		response.StatusCode = http.StatusFound
		response.Header.Set("Location", to)
	}
	if !ok {
		response.StatusCode, response.Status = 404, "404 Not Found"
	}
	return response, nil
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// text is a parser for tests: the keys are the content.
func text(content []byte) (string, error) {
	if strings.Contains(string(content), "broken") {
		return "", errors.New("this is no key set")
	}
	return string(content), nil
}

const address = "https://idp.example.test/keys"

func newSource(t *testing.T, s *server, r Remote) *Source[string] {
	t.Helper()
	source, err := New(Location{Remote: &r}, text, Options{Name: "test", Transport: s})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func holds(t *testing.T, s *Source[string], want string) {
	t.Helper()
	if keys, err := s.Keys(); err != nil || keys != want {
		t.Errorf("got %q, %v; want %q", keys, err, want)
	}
}

// Keys that can't be renewed are believed for MaxStale after the time of the
// renewal, and no longer; a renewal that succeeds brings them back.
func TestMaxStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answers: map[string]string{address: "one"}}
		source := newSource(t, s, Remote{URL: address, RefreshInterval: time.Minute, MaxStale: time.Hour})
		if _, err := source.Keys(); !errors.Is(err, ErrNever) {
			t.Fatalf("before the first attempt: %v", err)
		}
		go source.Run(t.Context())
		synctest.Wait()
		holds(t, source, "one")
		time.Sleep(10 * time.Hour) // renewed all the time
		synctest.Wait()
		holds(t, source, "one")

		s.set(func() { s.failing = true })
		time.Sleep(time.Hour)
		synctest.Wait()
		holds(t, source, "one")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if keys, err := source.Keys(); !errors.Is(err, ErrStale) || keys != "" || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("after an hour: %q, %v", keys, err)
		}

		s.set(func() { s.failing, s.answers[address] = false, "two" })
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		holds(t, source, "two")
	})
}

// However many ask for an early renewal, one attempt serves all of them, and
// there is none within MinRenewal of another.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answers: map[string]string{address: "one"}, delay: time.Second}
		source := newSource(t, s, Remote{URL: address, RefreshInterval: time.Hour})
		renew := func(n int) (attempted int) {
			var mu sync.Mutex
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					ok, err := source.Renew(t.Context())
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if ok {
						attempted++
					}
				})
			}
			all.Wait()
			return attempted
		}
		if n := renew(3); n != 0 {
			t.Errorf("%d renewals while nothing runs", n)
		}
		go source.Run(t.Context())
		synctest.Wait()
		if n := renew(100); n != 100 || s.count() != 1 {
			t.Errorf("%d waited for the first attempt, %d requests", n, s.count())
		}
		if n := renew(10_000); n != 0 || s.count() != 1 {
			t.Errorf("right after an attempt: %d renewals, %d requests", n, s.count())
		}
		time.Sleep(MinRenewal)
		s.set(func() { s.answers[address] = "two" })
		if n := renew(10_000); n != 10_000 || s.count() != 2 {
			t.Errorf("%d renewals, %d requests", n, s.count())
		}
		holds(t, source, "two")
		// The timer of the regular renewal begins anew.
		time.Sleep(time.Hour - 10*time.Second)
		synctest.Wait()
		if s.count() != 2 {
			t.Errorf("%d requests", s.count())
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if s.count() != 3 {
			t.Errorf("%d requests", s.count())
		}

		// Who asks is not kept waiting for longer than it has time.
		time.Sleep(MinRenewal)
		s.set(func() { s.delay = time.Minute })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if _, err := source.Renew(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("waited %s, %v", time.Since(begin), err)
		}
	})
}

// Whoever waits when Run ends is told.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{delay: time.Hour}
		source := newSource(t, s, Remote{URL: address})
		ctx, cancel := context.WithCancel(t.Context())
		go source.Run(ctx)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { _, err := source.Renew(context.Background()); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if ok, err := source.Renew(context.Background()); ok || err != nil {
			t.Errorf("after the end: %v, %v", ok, err)
		}
	})
}

func TestRedirectsAndDiscovery(t *testing.T) {
	const document = "https://idp.example.test/.well-known/openid-configuration"
	discovery := func(issuer, keys string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, keys) }
	discover := Remote{URL: document, Issuer: "https://idp.example.test"}
	elsewhere := discover
	elsewhere.Hosts = []string{"keys.example.test"}
	for _, test := range []struct {
		name    string
		remote  Remote
		answers map[string]string
		refused string
	}{
		{"a redirect within the host", Remote{URL: address}, map[string]string{address: "-> /other", "https://idp.example.test/other": "keys"}, ""},
		{"a redirect to another host", Remote{URL: address}, map[string]string{address: "-> https://169.254.169.254/", "https://169.254.169.254/": "keys"}, "another host, 169.254.169.254"},
		{"a redirect to another port", Remote{URL: address}, map[string]string{address: "-> https://idp.example.test:8443/", "https://idp.example.test:8443/": "keys"}, "another host"},
		{"a redirect to a host that is named", Remote{URL: address, Hosts: []string{"keys.example.test"}},
			map[string]string{address: "-> https://keys.example.test/", "https://keys.example.test/": "keys"}, ""},
		{"a redirect without encryption", Remote{URL: address}, map[string]string{address: "-> http://idp.example.test/", "http://idp.example.test/": "keys"}, "HTTPS to non-HTTPS"},
		{"discovery", discover, map[string]string{document: discovery("https://idp.example.test", address), address: "keys"}, ""},
		{"discovery of another issuer", discover, map[string]string{document: discovery("https://idp.example.test/", address), address: "keys"}, "that of the issuer"},
		{"discovery that leads to another host", discover, map[string]string{document: discovery("https://idp.example.test", "https://keys.example.test/"), "https://keys.example.test/": "keys"}, "another host"},
		{"discovery that leads to a host that is named", elsewhere, map[string]string{document: discovery("https://idp.example.test", "https://keys.example.test/"), "https://keys.example.test/": "keys"}, ""},
		{"discovery that leads away from encryption", discover, map[string]string{document: discovery("https://idp.example.test", "http://idp.example.test/keys"), "http://idp.example.test/keys": "keys"}, "not a URL"},
		{"discovery without keys", discover, map[string]string{document: discovery("https://idp.example.test", "")}, "not a URL"},
		{"discovery that is no JSON", discover, map[string]string{document: "<html>"}, "can't be read"},
		{"no discovery", discover, nil, "404"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newSource(t, &server{answers: test.answers}, test.remote)
				go source.Run(t.Context())
				_, err := source.First(t.Context())
				switch {
				case test.refused == "":
					holds(t, source, "keys")
				case err == nil || !strings.Contains(err.Error(), test.refused):
					t.Errorf("got the error %v, want one about %q", err, test.refused)
				}
			})
		})
	}
}

// Over a real connection, and with what a server does to break a client.
func TestServer(t *testing.T) {
	const many = MaxSize + 1
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/huge" {
			_, _ = w.Write(make([]byte, many))
			return
		}
		fmt.Fprint(w, "keys")
	}))
	defer srv.Close()
	for path, refused := range map[string]string{"/keys": "", "/huge": "at most"} {
		source, err := New(Location{Remote: &Remote{URL: srv.URL + path}}, text, Options{Name: "test", Transport: srv.Client().Transport})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { source.Run(ctx); close(ended) }()
		if _, err := source.First(t.Context()); (refused == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: %v", path, err)
		}
		cancel()
		<-ended
	}
}
