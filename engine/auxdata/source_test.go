package auxdata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
)

// A keyServer answers requests for a key set and can be told how.
type keyServer struct {
	mu       sync.Mutex
	answer   func(*http.Request) (*http.Response, error)
	requests int
}

func (s *keyServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.requests++
	answer := s.answer
	s.mu.Unlock()
	return answer(r)
}

func (s *keyServer) set(answer func(*http.Request) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *keyServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// content answers with a body and headers: name, value, ….
func content(status int, body string, headers ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i+1 < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

// hang answers when the request is given up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A remote is a Verifier with a remote key set, and what it warned of.
type remote struct {
	*Verifier
	mu       sync.Mutex
	warnings []string
}

func newRemote(t *testing.T, s *keyServer, every time.Duration) *remote {
	t.Helper()
	r := new(remote)
	v, err := New(t.Context(), Options{
		KeySets:   []KeySet{{ID: "remote", Remote: &Remote{URL: "https://issuer.example/keys", RefreshInterval: every}}},
		Transport: s,
		Warn: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.warnings = append(r.warnings, err.Error())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Verifier = v
	return r
}

func (r *remote) warned() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.warnings
}

func (r *remote) verify(t *testing.T, raw string) error {
	t.Helper()
	_, err := r.Claims(t.Context(), Token{Raw: raw})
	return err
}

func TestRemoteKeysAreRenewed(t *testing.T) {
	i := newIssuer()
	before := setOf(i.jwk())
	after := setOf(jwkOf(i.other.Public(), header{"kid": "k1", "alg": "ES256"}))
	old, fresh := i.token(`{}`), sign(jwa.ES256(), i.other, header{"kid": "k1"}, `{}`)
	for _, test := range []struct {
		name    string
		every   time.Duration
		headers []string
		after   time.Duration // of which the keys are fetched again
	}{
		{"a fixed interval", 90 * time.Second, []string{"Cache-Control", "max-age=7200"}, 90 * time.Second},
		{"max-age", 0, []string{"Cache-Control", "public, max-age=7200"}, 2 * time.Hour},
		{"max-age and Age", 0, []string{"Cache-Control", "max-age=7200", "Age", "3600"}, time.Hour},
		{"a quoted max-age", 0, []string{"Cache-Control", `max-age="600"`}, 10 * time.Minute},
		{"a short max-age", 0, []string{"Cache-Control", "max-age=1"}, time.Minute},
		{"a long max-age", 0, []string{"Cache-Control", "max-age=99999999999999999"}, 24 * time.Hour},
		{"a max-age that is none", 0, []string{"Cache-Control", "max-age=soon"}, time.Hour},
		{"no-cache", 0, []string{"Cache-Control", "no-cache"}, time.Minute},
		{"Expires", 0, []string{"Date", "Sat, 01 Jan 2000 00:00:00 GMT", "Expires", "Sat, 01 Jan 2000 00:30:00 GMT"}, 30 * time.Minute},
		{"Expires in the past", 0, []string{"Date", "Sat, 01 Jan 2000 00:00:00 GMT", "Expires", "0"}, time.Hour},
		{"no headers", 0, nil, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &keyServer{answer: content(200, before, test.headers...)}
				v := newRemote(t, s, test.every)
				if err := v.verify(t, old); err != nil {
					t.Fatal(errors.Unwrap(err))
				}
				s.set(content(200, after, test.headers...))
				time.Sleep(test.after - time.Second)
				synctest.Wait()
				if s.count() != 1 || v.verify(t, old) != nil {
					t.Fatalf("%d requests a second before", s.count())
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if s.count() != 2 || v.verify(t, fresh) != nil {
					t.Errorf("%d requests a second after", s.count())
				}
				refused(t, v.verify(t, old), "invalid ECDSA signature")
			})
		})
	}
}

// The last good keys stay in force while fetching fails, however it does.
func TestLastGoodKeysStay(t *testing.T) {
	i := newIssuer()
	good, raw := setOf(i.jwk()), i.token(`{}`)
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"no answer":    hang,
		"an error":     func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"status 500":   content(500, good),
		"status 204":   content(204, ""),
		"no JSON":      content(200, "<html>"),
		"a bad key":    content(200, setOf(jwkOf(i.ec.Public(), nil))),
		"a huge body":  content(200, good+strings.Repeat(" ", 2<<20)),
		"no more keys": content(200, `{"keys":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &keyServer{answer: content(200, good)}
				v := newRemote(t, s, time.Minute)
				if err := v.verify(t, raw); err != nil {
					t.Fatal(errors.Unwrap(err))
				}
				s.set(answer)
				time.Sleep(time.Hour)
				synctest.Wait()
				// Every failure doubles the wait, from 5 s to 5 minutes.
				if n := s.count(); n < 10 || n > 20 {
					t.Errorf("%d requests in an hour", n)
				}
				begin := time.Now()
				if err := v.verify(t, raw); err != nil {
					t.Error(errors.Unwrap(err))
				}
				if waited := time.Since(begin); waited != 0 {
					t.Errorf("a request waited for %s", waited)
				}
				if w := v.warned(); len(w) < 9 || !strings.Contains(w[0], `the keys of "remote" could not be renewed, next attempt in 5s: `) {
					t.Errorf("warned of %q", w)
				}
				s.set(content(200, setOf(jwkOf(i.other.Public(), header{"kid": "k1", "alg": "ES256"}))))
				time.Sleep(6 * time.Minute)
				synctest.Wait()
				refused(t, v.verify(t, raw), "invalid ECDSA signature")
			})
		})
	}
}

// An issuer that has withdrawn its keys verifies nothing any longer.
func TestWithdrawnKeys(t *testing.T) {
	i := newIssuer()
	raw := i.token(`{}`)
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: content(200, setOf(i.jwk()))}
		v := newRemote(t, s, time.Minute)
		if err := v.verify(t, raw); err != nil {
			t.Fatal(errors.Unwrap(err))
		}
		s.set(content(200, setOf()))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		refused(t, v.verify(t, raw), "no key with the kid")
	})
}

// A request waits for the first attempt, within bounds, and for no other.
func TestFirstFetch(t *testing.T) {
	i := newIssuer()
	raw := i.token(`{}`)
	synctest.Test(t, func(t *testing.T) {
		s := &keyServer{answer: hang}
		v := newRemote(t, s, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := v.Claims(ctx, Token{Raw: raw})
		refused(t, err, "deadline exceeded")
		if waited := time.Since(begin); waited != time.Second {
			t.Errorf("waited for %s, and the request had a second", waited)
		}
		refused(t, v.verify(t, raw), "there are no keys")
		if waited := time.Since(begin); waited != 10*time.Second {
			t.Errorf("waited for %s altogether", waited)
		}
		refused(t, v.verify(t, raw), "there are no keys")
		if waited := time.Since(begin); waited != 10*time.Second {
			t.Errorf("waited once more, for %s altogether", waited)
		}
		s.set(content(200, setOf(i.jwk())))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if err := v.verify(t, raw); err != nil {
			t.Error(errors.Unwrap(err))
		}
	})
}

// A Verifier whose context ended keeps nobody waiting.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		v, err := New(ctx, Options{KeySets: []KeySet{{ID: "r", Remote: &Remote{URL: "https://x"}}}, Transport: &keyServer{answer: hang}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Claims(context.Background(), Token{Raw: "a.b.c"})
		refused(t, err, "there are no keys")
	})
}

// A file is read again, and what is wrong with it then changes nothing.
func TestFileIsReadAgain(t *testing.T) {
	i := newIssuer()
	raw, fresh := i.token(`{}`), sign(jwa.ES256(), i.other, header{"kid": "k1"}, `{}`)
	file := filepath.Join(t.TempDir(), "keys")
	write := func(content string) {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(i.jwk())
	synctest.Test(t, func(t *testing.T) {
		warnings := make(chan error, 10) // another goroutine warns
		v, err := New(t.Context(), Options{KeySets: []KeySet{{ID: "f", Local: &Local{File: file}}}, Warn: func(err error) { warnings <- err }})
		if err != nil {
			t.Fatal(err)
		}
		verify := func(raw string) error { _, err := v.Claims(t.Context(), Token{Raw: raw}); return err }
		after := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		if err := verify(raw); err != nil {
			t.Fatal(errors.Unwrap(err))
		}
		write("not yet")
		after(11 * time.Second)
		if err := verify(raw); err != nil || len(warnings) != 1 {
			t.Fatalf("%v, %d warnings", err, len(warnings))
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		after(6 * time.Second)
		if err := verify(raw); err != nil || len(warnings) != 2 {
			t.Fatalf("%v, %d warnings", err, len(warnings))
		}
		write(jwkOf(i.other.Public(), header{"kid": "k1", "alg": "ES256"}))
		after(time.Minute)
		if err := verify(fresh); err != nil || len(warnings) != 2 {
			t.Fatalf("%v, %d warnings", err, len(warnings))
		}
		refused(t, verify(raw), "invalid ECDSA signature")
	})
}

// Keys come over HTTP as servers send them, and never from a server that an
// encrypted connection is led away from.
func TestFetch(t *testing.T) {
	i := newIssuer()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, setOf(i.jwk()))
	}))
	defer plain.Close()
	encrypted := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer encrypted.Close()
	for u, reason := range map[string]string{
		plain.URL + "/keys": "",
		encrypted.URL:       "redirect from HTTPS to non-HTTPS",
	} {
		v, err := New(t.Context(), Options{KeySets: []KeySet{{ID: "r", Remote: &Remote{URL: u}}}, Transport: encrypted.Client().Transport})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Claims(t.Context(), Token{Raw: i.token(`{}`)})
		if reason != "" {
			refused(t, err, reason)
		} else if err != nil {
			t.Error(errors.Unwrap(err))
		}
	}
}
