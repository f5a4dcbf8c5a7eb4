package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"

	"edict/engine/keyset"
)

// A provider is an issuer whose keys are fetched, and which can be told what to
// publish. It is an http.Handler and, without a network, an http.RoundTripper.
type provider struct {
	mu        sync.Mutex
	keys      map[string]*ecdsa.PrivateKey // by kid
	published []string
	status    int
	hang      bool
	requests  int
}

func newProvider(kids ...string) *provider {
	p := &provider{keys: map[string]*ecdsa.PrivateKey{}, published: kids, status: http.StatusOK}
	for _, kid := range []string{"one", "two"} {
		p.keys[kid] = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	}
	return p
}

func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests++
	hang, status := p.hang, p.status
	var keys []string
	for _, kid := range p.published {
		keys = append(keys, jwkOf(p.keys[kid].Public(), map[string]any{"kid": kid}))
	}
	p.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(status)
	if r.URL.Path == "/.well-known/openid-configuration" {
		fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"https://%s/keys"}`, r.Host, r.Host)
		return
	}
	fmt.Fprint(w, setOf(keys...))
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// token signs one with the key of a kid, under the name of that or another.
func (p *provider) token(issuer, kid, named string) string {
	input := encode(fmt.Appendf(nil, `{"alg":"ES256","kid":%q}`, named)) + "." +
		encode(fmt.Appendf(nil, `{"iss":%q,"aud":"bank","exp":%d}`, issuer, now.Unix()+60))
	return input + "." + encode(must(jwsbb.Sign(p.keys[kid], "ES256", []byte(input), nil)))
}

// running gives a Verifier whose keys come of the provider, and runs it.
func running(t *testing.T, p http.RoundTripper, k Keys) *Verifier {
	t.Helper()
	v, err := New([]Issuer{{Issuer: idp, Audiences: []string{"bank"}, Keys: k}}, Options{Transport: p})
	if err != nil {
		t.Fatal(err)
	}
	go v.Run(t.Context())
	synctest.Wait()
	return v
}

func wants(t *testing.T, v *Verifier, raw, reason string) {
	t.Helper()
	_, _, err := v.Verify(t.Context(), raw, now, time.Time{})
	if got := reasonOf(t, err); got != reason {
		t.Errorf("got %s (%v), want %s", got, err, reason)
	}
}

var remoteKeys = Keys{URL: idp + "/keys", Refresh: time.Hour, MaxStale: 2 * time.Hour}

// A new key is known as soon as a token names it; a withdrawn one is forgotten.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("one")
		v := running(t, p, remoteKeys)
		wants(t, v, p.token(idp, "one", "one"), "ok") // waits for the first keys
		wants(t, v, p.token(idp, "two", "two"), "token_unknown_key")

		time.Sleep(keyset.MinRenewal)
		p.set(func() { p.published = []string{"two", "one"} })
		wants(t, v, p.token(idp, "two", "two"), "ok")
		wants(t, v, p.token(idp, "one", "one"), "ok")
		wants(t, v, p.token(idp, "one", "two"), "token_signature")
		if p.count() != 2 {
			t.Errorf("%d requests", p.count())
		}

		p.set(func() { p.published = []string{"two"} })
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		wants(t, v, p.token(idp, "one", "one"), "token_unknown_key")
		wants(t, v, p.token(idp, "two", "two"), "ok")

		p.set(func() { p.published = nil })
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		wants(t, v, p.token(idp, "two", "two"), "token_unknown_key")
	})
}

// Tokens with kids that are made up bring about one request in MinRenewal, and
// tokens with keys that are at hand don't wait for it.
func TestUnknownKeysAreNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("one")
		v := running(t, p, remoteKeys)
		good := p.token(idp, "one", "one")
		wants(t, v, good, "ok")
		const minutes = 5
		begin := time.Now()
		for minute := range minutes {
			var all sync.WaitGroup
			for n := range 2000 {
				all.Go(func() {
					time.Sleep(time.Duration(n) * time.Minute / 2000)
					wants(t, v, p.token(idp, "two", fmt.Sprintf("%d-%d", minute, n)), "token_unknown_key")
				})
			}
			all.Wait()
			wants(t, v, good, "ok")
		}
		most := 1 + int(time.Since(begin)/keyset.MinRenewal) + 1
		if n := p.count(); n > most || n < 3 {
			t.Errorf("%d requests in %s, want at most %d", n, time.Since(begin), most)
		}
		p.set(func() { p.hang = true })
		time.Sleep(keyset.MinRenewal)
		go func() {
			_, _, err := v.Verify(t.Context(), p.token(idp, "two", "x"), now, time.Time{})
			if got := reasonOf(t, err); got != "keys_unavailable" {
				t.Errorf("while the keys are fetched: %s", got)
			}
		}()
		synctest.Wait()
		waited := time.Now()
		wants(t, v, good, "ok")
		if d := time.Since(waited); d != 0 {
			t.Errorf("a token with a known key waited for %s", d)
		}
		time.Sleep(2 * maxWait)
		synctest.Wait()
	})
}

// Keys are believed for a while when the issuer is gone, and then no more; when
// it is back, so are they.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProvider("one")
		v := running(t, p, remoteKeys)
		good := p.token(idp, "one", "one")
		wants(t, v, good, "ok")
		p.set(func() { p.status = http.StatusBadGateway })
		time.Sleep(3*time.Hour - time.Minute)
		synctest.Wait()
		wants(t, v, good, "ok")
		if m := v.Missing(); len(m) != 0 {
			t.Errorf("missing: %v", m)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		wants(t, v, good, "keys_unavailable")
		if m := v.Missing(); !slices.Equal(m, []string{idp}) {
			t.Errorf("missing: %v", m)
		}
		p.set(func() { p.status = http.StatusOK })
		time.Sleep(keyset.MinRenewal)
		wants(t, v, good, "ok")
	})
}

// Without keys a token is refused in time for the answer to arrive.
func TestNoKeys(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout time.Duration // of the request; 0: none
		most    time.Duration
	}{
		{"a quarter of a second", 250 * time.Millisecond, 125 * time.Millisecond},
		{"a long time", time.Minute, time.Second},
		{"no limit", 0, time.Second},
		{"no time", time.Nanosecond, time.Nanosecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider("one")
				p.hang = true
				v := running(t, p, remoteKeys)
				synctest.Wait()
				begin := time.Now()
				var due time.Time
				if test.timeout > 0 {
					due = begin.Add(test.timeout)
				}
				_, _, err := v.Verify(t.Context(), p.token(idp, "one", "one"), now, due)
				if got := reasonOf(t, err); got != "keys_unavailable" {
					t.Errorf("got %s (%v)", got, err)
				}
				if waited := time.Since(begin); waited > test.most {
					t.Errorf("waited for %s, want at most %s", waited, test.most)
				}
			})
		})
	}
	t.Run("many at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider("one")
			p.hang = true
			v := running(t, p, remoteKeys)
			raw, begin := p.token(idp, "one", "one"), time.Now()
			var waited atomic.Int32
			var all sync.WaitGroup
			for range maxWaiting + 100 {
				all.Go(func() {
					wants(t, v, raw, "keys_unavailable")
					if time.Since(begin) > 0 {
						waited.Add(1)
					}
				})
			}
			all.Wait()
			if n := waited.Load(); n != maxWaiting {
				t.Errorf("%d calls waited, want %d", n, maxWaiting)
			}
		})
	})
	t.Run("nothing runs", func(t *testing.T) {
		v, err := New([]Issuer{{Issuer: idp, Audiences: []string{"bank"}, Keys: remoteKeys}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		wants(t, v, newProvider().token(idp, "one", "one"), "keys_unavailable")
	})
}

// Keys come over a real connection, by their address or by discovery.
func TestServer(t *testing.T) {
	p := newProvider("one")
	server := httptest.NewTLSServer(p)
	defer server.Close()
	for name, keys := range map[string]Keys{"url": {URL: server.URL + "/keys"}, "discovery": {Discovery: true}} {
		t.Run(name, func(t *testing.T) {
			v, err := New([]Issuer{{Issuer: server.URL, Audiences: []string{"bank"}, Keys: keys}}, Options{Transport: server.Client().Transport})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { v.Run(ctx); close(ended) }()
			if _, err := v.all[0].keys.First(t.Context()); err != nil {
				t.Fatal(err)
			}
			wants(t, v, p.token(server.URL, "one", "one"), "ok")
			wants(t, v, p.token(server.URL, "two", "one"), "token_signature")
			cancel()
			<-ended
		})
	}
}
