package filtertoken

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

const denied = `{"kind":"KIND_CONDITIONAL","condition":{"expression":{"operator":"holds","operands":[{"variable":"request.resource.attr.public"}]}}}`

func claims() *Claims {
	return &Claims{
		ID: "0199-id", Subject: "alice", Method: "GET", Path: "/expenses/a%20b", Query: "region=emea&sort=-date", Host: "api.example.test:8443",
		Kind: "expense", Actions: []string{"list", "read"}, Filter: []byte(denied),
	}
}

func issuer(t testing.TB, o Options) *Issuer {
	t.Helper()
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// verified reads a token as a backend does that knows nothing but the key set
// and JOSE.
func verified(t testing.TB, keySet []byte, token string) map[string]any {
	t.Helper()
	body, err := verify(keySet, token)
	if err != nil {
		t.Fatalf("%v: %s", err, token)
	}
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func verify(keySet []byte, token string) ([]byte, error) {
	set, err := jwk.Parse(keySet)
	if err != nil {
		return nil, err
	}
	m, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil {
		return nil, err
	}
	if typ, _ := m.Signatures()[0].ProtectedHeaders().Type(); typ != "edict-filter+jwt" {
		return nil, errors.New("the token is of another type")
	}
	if alg, _ := m.Signatures()[0].ProtectedHeaders().Algorithm(); alg != jwa.EdDSA() {
		return nil, errors.New("the token is signed in another way")
	}
	return jws.Verify([]byte(token), jws.WithKeySet(set)) // by kid
}

func TestTokenSaysWhatItIsFor(t *testing.T) {
	i := issuer(t, Options{Lifetime: 20 * time.Second})
	now := time.Unix(1_700_000_000, 900_000_000)
	token, err := i.Append([]byte("before"), claims(), now)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(string(token), "before")
	if !ok {
		t.Fatalf("what was there is gone: %s", token)
	}
	got := verified(t, i.KeySet(now), text)
	want := `{"act":["list","read"],"exp":1700000020,"flt":` + denied + `,"hst":"api.example.test:8443","iat":1700000000,"iss":"edict",
		"jti":"0199-id","knd":"expense","mth":"GET","pth":"/expenses/a%20b","qsh":"HBA0Lv_kjssVijT8pSZTYBxOu5esKWYKTxscxMGPgMQ","sub":"alice"}`
	same(t, got, want)

	c := claims()
	c.Query, c.Subject = "", "zoë <&\"\n> \u2028"
	token, err = i.Append(nil, c, now)
	if err != nil {
		t.Fatal(err)
	}
	got = verified(t, i.KeySet(now), string(token))
	if _, there := got["qsh"]; there || got["sub"] != c.Subject {
		t.Errorf("without a query, and with a strange name: %v", got)
	}
}

// same compares a value with JSON.
func same(t testing.TB, got any, want string) {
	t.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(w)
	if string(a) != string(b) {
		t.Errorf("got  %s\nwant %s", a, b)
	}
}

func TestTokenIsWorthNothingOnceChanged(t *testing.T) {
	i := issuer(t, Options{})
	token, err := i.Append(nil, claims(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := i.KeySet(time.Now())
	if _, err := verify(issuer(t, Options{}).KeySet(time.Now()), string(token)); err == nil {
		t.Error("the key of another process verifies it")
	}
	parts := strings.Split(string(token), ".")
	for n, changed := range []string{
		parts[0] + "." + encoding.EncodeToString([]byte(`{"iss":"edict"}`)) + "." + parts[2],
		parts[0] + "." + parts[1] + ".",
		encoding.EncodeToString([]byte(`{"alg":"none","typ":"edict-filter+jwt"}`)) + "." + parts[1] + ".",
	} {
		if _, err := verify(keys, changed); err == nil {
			t.Errorf("%d: %s is verified", n, changed)
		}
	}
	for at := 0; at < len(token); at += 7 {
		b := []byte(string(token))
		if b[at] ^= 1; b[at] == '.' || token[at] == '.' {
			continue
		}
		if _, err := verify(keys, string(b)); err == nil {
			t.Errorf("byte %d was changed, and it is verified", at)
		}
	}
}

func TestNoTokenWithoutAllClaims(t *testing.T) {
	i := issuer(t, Options{})
	for name, spoil := range map[string]func(*Claims){
		"no id":         func(c *Claims) { c.ID = "" },
		"no subject":    func(c *Claims) { c.Subject = "" },
		"no method":     func(c *Claims) { c.Method = "" },
		"no path":       func(c *Claims) { c.Path = "" },
		"no host":       func(c *Claims) { c.Host = "" },
		"no kind":       func(c *Claims) { c.Kind = "" },
		"no action":     func(c *Claims) { c.Actions = nil },
		"no filter":     func(c *Claims) { c.Filter = nil },
		"half a filter": func(c *Claims) { c.Filter = []byte(`{"kind":`) },
		"no UTF-8":      func(c *Claims) { c.Path = "/\xff" },
		"an action that is no UTF-8": func(c *Claims) {
			c.Actions = []string{"list", "\xed\xa0\x80"}
		},
		"a path that fills the token": func(c *Claims) { c.Path = "/" + strings.Repeat("a", DefaultMaxBytes) },
	} {
		c := claims()
		spoil(c)
		if token, err := i.Append(nil, c, time.Now()); err == nil || len(token) > 0 {
			t.Errorf("%s: got %q, %v", name, token, err)
		}
	}
}

// large is a filter that fits into no token.
func large(n int) []byte {
	return []byte(`{"kind":"KIND_CONDITIONAL","condition":{"value":"` + strings.Repeat("x", n) + `"}}`)
}

func TestLargeFilterIsFetchedOnce(t *testing.T) {
	i := issuer(t, Options{MaxBytes: 2048, Handles: 2, HandleBytes: 4096})
	server := httptest.NewServer(i.Handler())
	defer server.Close()
	c := claims()
	c.Filter = large(3000)
	token, err := i.Append(nil, c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(token) > 2048 {
		t.Errorf("the token has %d bytes", len(token))
	}
	got := verified(t, i.KeySet(time.Now()), string(token))
	handle, _ := got["hdl"].(string)
	if _, there := got["flt"]; there || len(handle) != 43 || got["pth"] != c.Path {
		t.Fatalf("the token says %v", got)
	}
	for name, in := range map[string]struct {
		method, contentType, body string
		status                    int
	}{
		"GET":             {"GET", "application/json", `{"handle":"` + handle + `"}`, 405},
		"a form":          {"POST", "application/x-www-form-urlencoded", `{"handle":"` + handle + `"}`, 415},
		"no JSON":         {"POST", "application/json", `handle`, 400},
		"nothing":         {"POST", "application/json", ``, 400},
		"no handle":       {"POST", "application/json", `{}`, 400},
		"another member":  {"POST", "application/json", `{"handle":"` + handle + `","more":1}`, 400},
		"something else":  {"POST", "application/json", `{"handle":"` + handle + `"} {}`, 400},
		"a number":        {"POST", "application/json", `{"handle":7}`, 400},
		"a long body":     {"POST", "application/json", `{"handle":"` + strings.Repeat("a", 2000) + `"}`, 413},
		"nobody's handle": {"POST", "application/json", `{"handle":"` + strings.Repeat("A", 43) + `"}`, 404},
		"a short handle":  {"POST", "application/json", `{"handle":"` + handle[:42] + `"}`, 404},
		"a longer handle": {"POST", "application/json", `{"handle":"` + handle + `AA"}`, 404},
		"padding":         {"POST", "application/json", `{"handle":"` + handle + `="}`, 404},
		"another path":    {"POST /x", "application/json", `{"handle":"` + handle + `"}`, 404},
	} {
		method, path, _ := strings.Cut(in.method, " ")
		if status, body := ask(t, method, server.URL+TakePath+path, in.contentType, in.body); status != in.status || strings.Contains(body, "flt") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	// The last letter has two bits that are of no handle.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", handle[42])
	twin := handle[:42] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last^1])
	if status, _ := ask(t, "POST", server.URL+TakePath, "application/json", `{"handle":"`+twin+`"}`); status != 404 {
		t.Errorf("a second spelling of the handle: %d", status)
	}
	status, body := ask(t, "POST", server.URL+TakePath, "application/json; charset=utf-8", `{"handle":"`+handle+`"}`)
	if status != 200 || body != `{"flt":`+string(c.Filter)+`}` {
		t.Errorf("%d %s", status, body)
	}
	if status, body := ask(t, "POST", server.URL+TakePath, "application/json", `{"handle":"`+handle+`"}`); status != 404 {
		t.Errorf("taken again: %d %s", status, body)
	}
}

func ask(t *testing.T, method, url, contentType, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestHandlesAreFewAndEnd(t *testing.T) {
	i := issuer(t, Options{MaxBytes: MinBytes, Handles: 2, HandleBytes: 2000, Lifetime: 30 * time.Second})
	now := time.Now()
	c := claims()
	c.Filter = large(3000)
	if _, err := i.Append(nil, c, now); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a filter that is too large: %v", err)
	}
	c.Filter = large(1500)
	hand := func(at time.Time) (handle, error) {
		token, err := i.Append(nil, c, at)
		if err != nil {
			return handle{}, err
		}
		h, ok := parseHandle(verified(t, i.KeySet(at), string(token))["hdl"].(string))
		if !ok {
			t.Fatal("the token's handle can't be read")
		}
		return h, nil
	}
	first, err := hand(now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := hand(now.Add(10 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hand(now.Add(11 * time.Second)); !errors.Is(err, ErrFull) {
		t.Errorf("a third: %v", err)
	}
	if _, ok := i.handles.take(first, now.Add(30*time.Second)); ok {
		t.Error("the first is there when its token has expired")
	}
	if _, err := hand(now.Add(31 * time.Second)); err != nil {
		t.Errorf("the first's room stays taken: %v", err)
	}
	if got, ok := i.handles.take(second, now.Add(39*time.Second)); !ok || string(got) != string(c.Filter) {
		t.Errorf("the second: %v", ok)
	}
	i.handles.expire(now.Add(time.Hour))
	if len(i.handles.by) != 0 || i.handles.oldest.Len() != 0 {
		t.Error("what nobody fetched is kept")
	}
}

// However many may wait, no more bytes do than Options.WaitingBytes, and those of
// a filter that was fetched, or that nobody fetched in time, are free again.
func TestBytesThatWaitAreFew(t *testing.T) {
	s := newHandles(100, 5000, time.Minute)
	now := time.Now()
	put := func(size int, at time.Time) (handle, bool) {
		h := newHandle()
		return h, s.put(h, make([]byte, size), at)
	}
	first, _ := put(2000, now)
	if _, ok := put(3000, now.Add(time.Second)); !ok {
		t.Error("there is no room for as many bytes as there may be")
	}
	if _, ok := put(1, now.Add(time.Second)); ok {
		t.Error("there is room for one byte more")
	}
	if _, ok := s.take(first, now.Add(2*time.Second)); !ok {
		t.Fatal("the first is not there")
	}
	if _, ok := put(2001, now.Add(2*time.Second)); ok {
		t.Error("one that was fetched leaves room for more than it had")
	}
	if _, ok := put(2000, now.Add(2*time.Second)); !ok {
		t.Error("the room of one that was fetched stays taken")
	}
	if _, ok := put(3000, now.Add(61*time.Second)); !ok {
		t.Error("the room of one that expired stays taken")
	}

	i := issuer(t, Options{MaxBytes: MinBytes, WaitingBytes: 3000})
	c := claims()
	for _, step := range []struct {
		size int
		want error
	}{{3100, ErrTooLarge}, {2000, nil}, {2000, ErrFull}} {
		c.Filter = large(step.size)
		if token, err := i.Append(nil, c, now); !errors.Is(err, step.want) || (err != nil) != (len(token) == 0) {
			t.Errorf("a filter of %d bytes: %v, want %v", step.size, err, step.want)
		}
	}
}

func TestOneOfManyTakes(t *testing.T) {
	s := newHandles(10, 1000, time.Minute)
	now := time.Now()
	for range 20 {
		h := newHandle()
		if !s.put(h, []byte("x"), now) {
			t.Fatal("there is no room")
		}
		var taken atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if _, ok := s.take(h, now); ok {
					taken.Add(1)
				}
			})
		}
		if all.Wait(); taken.Load() != 1 {
			t.Fatalf("%d took it", taken.Load())
		}
	}
}

func writeKey(t *testing.T, file string, private any) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func TestKeyFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "filter.pem")
	first, second := newKey(t), newKey(t)
	writeKey(t, file, first)
	i := issuer(t, Options{KeyFile: file})
	if other := issuer(t, Options{KeyFile: file}); other.KeyID() != i.KeyID() {
		t.Error("two processes give one key two names")
	}
	old, err := i.Append(nil, claims(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	before := i.KeyID()
	for name, spoil := range map[string]func(){
		"gone":      func() { os.Remove(file) },
		"empty":     func() { writeFile(t, file, "") },
		"no PEM":    func() { writeFile(t, file, "secret") },
		"half":      func() { writeFile(t, file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") },
		"too large": func() { writeFile(t, file, strings.Repeat("x", maxKeyFile+1)) },
		"of an elliptic curve": func() {
			k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			writeKey(t, file, k)
		},
		"two keys": func() {
			writeKey(t, file, first)
			b, _ := os.ReadFile(file)
			writeFile(t, file, string(b)+string(b))
		},
	} {
		spoil()
		if err := i.Reload(); err == nil || strings.Contains(err.Error(), "secret") || i.KeyID() != before {
			t.Errorf("%s: %v, key %s", name, err, i.KeyID())
		}
		if _, err := New(Options{KeyFile: file}); err == nil {
			t.Errorf("%s: an Issuer begins with it", name)
		}
	}
	writeKey(t, file, second)
	now := time.Now()
	if err := i.Reload(); err != nil || i.KeyID() == before {
		t.Fatalf("the new key is not in use: %v", err)
	}
	fresh, err := i.Append(nil, claims(), now)
	if err != nil {
		t.Fatal(err)
	}
	verified(t, i.KeySet(now), string(old))
	verified(t, i.KeySet(now), string(fresh))
	if _, err := verify(i.KeySet(now.Add(time.Hour)), string(old)); err == nil {
		t.Error("the old key is told of for ever")
	}
	writeKey(t, file, first)
	if err := i.Reload(); err != nil {
		t.Fatal(err)
	}
	verified(t, i.KeySet(now), string(fresh))
	if n := strings.Count(string(i.KeySet(now)), i.KeyID()); n != 1 {
		t.Errorf("the key that came back is there %d times", n)
	}
}

func TestKeySetHoldsNothingPrivate(t *testing.T) {
	i := issuer(t, Options{})
	server := httptest.NewServer(i.Handler())
	defer server.Close()
	status, body := ask(t, "GET", server.URL+KeysPath, "", "")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(body), &set); err != nil || status != 200 || len(set.Keys) != 1 {
		t.Fatalf("%d %s", status, body)
	}
	k := set.Keys[0]
	if k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["alg"] != "EdDSA" || k["use"] != "sig" || k["kid"] != i.KeyID() || len(k) != 6 {
		t.Errorf("the key is %v", k)
	}
	if status, _ := ask(t, "POST", server.URL+KeysPath, "", ""); status != 405 {
		t.Errorf("POST: %d", status)
	}
}

func TestOptionsOutOfBounds(t *testing.T) {
	for name, o := range map[string]Options{
		"an instant":         {Lifetime: time.Millisecond},
		"half a second more": {Lifetime: 1500 * time.Millisecond},
		"an hour":            {Lifetime: time.Hour},
		"a tiny token":       {MaxBytes: 10},
		"a huge token":       {MaxBytes: 1 << 20},
		"negative handles":   {Handles: -1},
		"a tiny filter":      {HandleBytes: 1},
		"a huge filter":      {HandleBytes: 1 << 30},
		"few bytes":          {WaitingBytes: 1},
		"too many bytes":     {WaitingBytes: 1<<30 + 1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What a token costs: one whose filter is in it, and one with a handle.
func BenchmarkToken(b *testing.B) {
	for name, filter := range map[string][]byte{"inline": []byte(denied), "handle": large(8000)} {
		b.Run(name, func(b *testing.B) {
			i := issuer(b, Options{Handles: MaxHandles, Lifetime: time.Second})
			c := claims()
			c.Filter = filter
			var token []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if token, err = i.Append(token[:0], c, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
