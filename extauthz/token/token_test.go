package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"

	"edict/engine/yamldoc"
)

// now is the time of the tests.
var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

const idp = "https://idp.example.test"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// keys are the private keys of the tests' issuer, by the algorithm that they are
// used with, and "other", which is somebody else's.
type testKeys struct {
	byName map[string]crypto.Signer
	secret []byte // the issuer publishes it, which makes it none
}

var testIssuer = sync.OnceValue(func() *testKeys {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	r := must(rsa.GenerateKey(rand.Reader, 2048))
	return &testKeys{
		byName: map[string]crypto.Signer{
			"ES256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
			"ES384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
			"ES512": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
			"other": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
			"EdDSA": must(ed, err),
			"RS256": r, "RS384": r, "RS512": r, "PS256": r, "PS512": r,
		},
		secret: []byte("0123456789abcdef0123456789abcdef"),
	}
})

// jwkOf gives a public key as a JWK with further members.
func jwkOf(public any, members map[string]any) string {
	k := must(jwk.Import(public))
	for name, v := range members {
		if err := k.Set(name, v); err != nil {
			panic(err)
		}
	}
	return string(must(json.Marshal(k)))
}

func setOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

// keySet is what the issuer publishes: besides its keys some that are of no use.
func (k *testKeys) keySet() string {
	public := func(name string) any { return k.byName[name].Public() }
	return setOf(
		jwkOf(public("ES256"), map[string]any{"kid": "ES256", "alg": "ES256", "use": "sig"}),
		jwkOf(public("ES384"), map[string]any{"kid": "ES384"}),
		jwkOf(public("ES512"), map[string]any{"kid": "ES512"}),
		jwkOf(public("EdDSA"), map[string]any{"kid": "Ed"}),
		jwkOf(public("RS256"), map[string]any{"kid": "RSA"}),
		jwkOf(public("RS256"), map[string]any{"kid": "pss", "alg": "PS256"}),
		jwkOf(public("RS256"), map[string]any{"kid": "enc", "use": "enc"}),
		jwkOf(k.secret, map[string]any{"kid": "oct", "alg": "HS256"}),
	)
}

// sign signs with the key of a name, in the algorithm of that name.
func (k *testKeys) sign(t testing.TB, name, input string) []byte {
	t.Helper()
	hmac := func(secret []byte) []byte { return must(jwsbb.Sign(secret, "HS256", []byte(input), nil)) }
	r := k.byName["RS256"].Public().(*rsa.PublicKey)
	der := must(x509.MarshalPKIXPublicKey(r))
	switch name {
	case "none":
		return nil
	case "other":
		return must(jwsbb.Sign(k.byName["other"], "ES256", []byte(input), nil))
	case "hmac-pem":
		return hmac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	case "hmac-der":
		return hmac(der)
	case "hmac-modulus":
		return hmac(r.N.Bytes())
	case "hmac-jwk":
		return hmac([]byte(jwkOf(r, nil)))
	case "hmac-oct":
		return hmac(k.secret)
	}
	key, ok := k.byName[name]
	if !ok {
		t.Fatalf("there is no key %q", name)
	}
	return must(jwsbb.Sign(key, name, []byte(input), nil))
}

// issuers are those of the tests: one, one with more rules, and a neighbour with
// a key of its own.
func issuers() []Issuer {
	k := testIssuer()
	return []Issuer{
		{Issuer: idp, Audiences: []string{"bank", "branch"}, Keys: Keys{Inline: k.keySet()}, ClockSkew: 30 * time.Second,
			Algorithms: []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "EdDSA"}},
		{Issuer: "https://strict.example.test", Audiences: []string{"web"}, AudienceClaim: "client_id", Keys: Keys{Inline: k.keySet()},
			Algorithms: []string{"ES256"}, Types: []string{"at+jwt"}, Require: map[string][]string{"use": {"access"}}, MaxLifetime: time.Hour},
		{Issuer: "https://neighbour.example.test", Audiences: []string{"bank"},
			Keys: Keys{Inline: setOf(jwkOf(k.byName["other"].Public(), map[string]any{"kid": "theirs"}))}},
	}
}

func newVerifier(t testing.TB, i ...Issuer) *Verifier {
	t.Helper()
	v, err := New(i, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func encode(s []byte) string { return base64.RawURLEncoding.EncodeToString(s) }

const (
	goodHeader = `{"alg":"ES256","kid":"ES256"}`
	goodClaims = `{"iss":"https://idp.example.test","aud":"bank","sub":"alice","exp":$now+60}`
)

var times = regexp.MustCompile(`\$now([+-][0-9.]+)?`)

// fill replaces what stands for something in the JSON of a test.
func fill(text string) string {
	text = times.ReplaceAllStringFunc(text, func(s string) string {
		delta, _ := strconv.ParseFloat(times.FindStringSubmatch(s)[1], 64)
		return strconv.FormatFloat(float64(now.Unix())+delta, 'f', -1, 64)
	})
	return strings.NewReplacer(
		"$other", jwkOf(testIssuer().byName["other"].Public(), nil),
		"$long", strings.Repeat("k", 129),
		"$huge", strings.Repeat("x", MaxSize),
		"$deep", strings.Repeat("[", 100)+strings.Repeat("]", 100),
		"$bad", "\xff",
	).Replace(text)
}

// A tokenCase is a line of testdata/tokens.yaml.
type tokenCase struct{ name, raw, wants string }

func tokenCases(t testing.TB) (out []tokenCase) {
	t.Helper()
	const file = "testdata/tokens.yaml"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := yamldoc.Parse(file, content)
	root, _ := doc.Root()
	list, _ := root.List()
	for _, n := range list {
		o, _ := n.Object("name", "header", "claims", "key", "token", "wants")
		text := func(name, otherwise string) string {
			n, ok := o.Field(name)
			if !ok {
				return otherwise
			}
			t, _ := n.Text()
			return t.Value
		}
		h, c := encode([]byte(fill(text("header", goodHeader)))), encode([]byte(fill(text("claims", goodClaims))))
		s := encode(testIssuer().sign(t, text("key", "ES256"), h+"."+c))
		// The last letter of 64 bytes has four spare bits, and A, Q, g or w.
		spare := s
		if s != "" {
			spare = s[:len(s)-1] + string(s[len(s)-1]+1)
		}
		raw := strings.NewReplacer("{h}", h, "{c}", c, "{s}", s, "{spare}", spare).Replace(text("token", "{h}.{c}.{s}"))
		out = append(out, tokenCase{text("name", ""), raw, text("wants", "")})
	}
	if list := doc.Diagnostics(); len(list) > 0 {
		t.Fatal(list.Render())
	}
	return out
}

// reasonOf gives the reason of an error, "ok" of none.
func reasonOf(t testing.TB, err error) string {
	t.Helper()
	var e *Error
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &e):
		t.Fatalf("the error %v is not an *Error", err)
	}
	return string(e.Reason)
}

func TestVerify(t *testing.T) {
	v := newVerifier(t, issuers()...)
	cases := tokenCases(t)
	if len(cases) < 120 {
		t.Errorf("there are only %d tokens", len(cases))
	}
	good := 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			claims, _, err := v.Verify(t.Context(), c.raw, now, time.Time{})
			if got := reasonOf(t, err); got != c.wants {
				t.Errorf("got %s (%v), want %s", got, err, c.wants)
			}
			if (claims == nil) != (err != nil) {
				t.Errorf("claims %v beside the error %v", claims, err)
			}
		})
		if c.wants == "ok" {
			good++
		}
	}
	if good == 0 {
		t.Error("no token is good")
	}
}

// goodToken gives one token per kind of key.
func goodTokens(t testing.TB) map[string]string {
	out := map[string]string{}
	for name, kid := range map[string]string{"ES256": "ES256", "RS256": "RSA", "EdDSA": "Ed"} {
		input := encode(fmt.Appendf(nil, `{"alg":%q,"kid":%q}`, name, kid)) + "." + encode([]byte(fill(goodClaims)))
		out[name] = input + "." + encode(testIssuer().sign(t, name, input))
	}
	return out
}

// Whatever single byte of a good token is changed to whatever other, removed or
// doubled, it is good no longer.
func TestEveryChangeIsRefused(t *testing.T) {
	v := newVerifier(t, issuers()...)
	for name, raw := range goodTokens(t) {
		if _, _, err := v.Verify(t.Context(), raw, now, time.Time{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		refused := func(what string, at int, changed string) {
			if changed == raw {
				return
			}
			if _, _, err := v.Verify(t.Context(), changed, now, time.Time{}); err == nil {
				t.Errorf("%s: byte %d %s, and the token is good still: %s", name, at, what, changed)
			}
		}
		for i := range len(raw) {
			for bit := range 8 {
				refused("with a bit flipped", i, raw[:i]+string([]byte{raw[i] ^ 1<<bit})+raw[i+1:])
			}
			refused("removed", i, raw[:i]+raw[i+1:])
			refused("doubled", i, raw[:i+1]+raw[i:])
			refused("cut off", i, raw[:i])
		}
	}
	// For one of them every other byte, where it is cheapest.
	raw := goodTokens(t)["ES256"]
	for i := range len(raw) {
		for c := range 256 {
			if changed := raw[:i] + string([]byte{byte(c)}) + raw[i+1:]; changed != raw {
				if _, _, err := v.Verify(t.Context(), changed, now, time.Time{}); err == nil {
					t.Fatalf("byte %d is %#x, and the token is good still", i, c)
				}
			}
		}
	}
}

// Claims are what the token says, and the issuer is told by its index.
func TestClaims(t *testing.T) {
	v := newVerifier(t, issuers()...)
	claims, index, err := v.Verify(t.Context(), goodTokens(t)["RS256"], now, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	sub, _ := claims.Lookup("sub")
	exp, _ := claims.Lookup("exp")
	if index != 0 || claims.Len() != 4 || sub.Str() != "alice" || exp.Double() != float64(now.Unix()+60) {
		t.Errorf("issuer %d, sub %q, exp %v", index, sub.Str(), exp.Double())
	}
}

// An error tells the log what is wrong, and no more of the token than the one
// value that is.
func TestErrorsDoNotQuoteTheToken(t *testing.T) {
	v := newVerifier(t, issuers()...)
	for _, c := range tokenCases(t) {
		if _, _, err := v.Verify(t.Context(), c.raw, now, time.Time{}); err != nil && len(c.raw) > 60 && strings.Contains(err.Error(), c.raw[len(c.raw)-40:]) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestKeySets(t *testing.T) {
	k := testIssuer()
	short := must(rsa.GenerateKey(rand.Reader, 1024))
	pemOf := func(public any) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(public))}))
	}
	var nine []string
	for range 9 {
		nine = append(nine, jwkOf(k.byName["ES256"].Public(), nil))
	}
	file := t.TempDir() + "/keys.pem"
	if err := os.WriteFile(file, []byte(pemOf(k.byName["ES256"].Public())), 0o600); err != nil {
		t.Fatal(err)
	}
	good := goodTokens(t)["ES256"]
	for name, test := range map[string]struct {
		keys    Keys
		refused string // by New
		wants   string // of a good token
	}{
		"PEM":                            {Keys{Inline: pemOf(k.byName["ES256"].Public())}, "", "ok"},
		"PEM with two keys":              {Keys{Inline: pemOf(k.byName["other"].Public()) + pemOf(k.byName["ES256"].Public())}, "", "ok"},
		"PEM with others":                {Keys{Inline: pemOf(k.byName["other"].Public())}, "", "token_signature"},
		"a PEM file":                     {Keys{File: file}, "", "ok"},
		"no file":                        {Keys{File: file + "x"}, "no such file", ""},
		"one JWK":                        {Keys{Inline: jwkOf(k.byName["ES256"].Public(), nil)}, "", "ok"},
		"a private JWK":                  {Keys{Inline: jwkOf(k.byName["ES256"], map[string]any{"kid": "ES256"})}, "", "ok"},
		"two keys of one kid":            {Keys{Inline: setOf(jwkOf(k.byName["other"].Public(), map[string]any{"kid": "ES256"}), jwkOf(k.byName["ES256"].Public(), map[string]any{"kid": "ES256"}))}, "", "ok"},
		"an unknown type of key besides": {Keys{Inline: setOf(`{"kty":"AKP","alg":"ML-DSA-99","pub":"AA","kid":"pq"}`, jwkOf(k.byName["ES256"].Public(), nil))}, "", "ok"},
		"no keys":                        {Keys{Inline: `{"keys":[]}`}, "", "token_unknown_key"},
		"a short RSA key":                {Keys{Inline: fmt.Sprintf(`{"kty":"RSA","e":"AQAB","n":%q}`, encode(short.N.Bytes()))}, "1024 bits", ""},
		"a secret key":                   {Keys{Inline: jwkOf(k.secret, nil)}, "no key of the set is of use", ""},
		"keys that wrap":                 {Keys{Inline: jwkOf(k.byName["RS256"].Public(), map[string]any{"key_ops": []string{"wrapKey"}})}, "key_ops", ""},
		"many keys without a kid":        {Keys{Inline: setOf(nine...)}, "more than 8 keys without a kid", ""},
		"no key set":                     {Keys{Inline: "<html>"}, "", ""},
		"an empty PEM":                   {Keys{Inline: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New([]Issuer{{Issuer: idp, Audiences: []string{"bank"}, Keys: test.keys}}, Options{})
			if test.wants == "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got the error %v, want one about %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = v.Verify(t.Context(), good, now, time.Time{})
			if got := reasonOf(t, err); got != test.wants {
				t.Errorf("got %s (%v), want %s", got, err, test.wants)
			}
		})
	}
}

func TestIssuersThatCannotWork(t *testing.T) {
	keys := Keys{Inline: testIssuer().keySet()}
	good := Issuer{Issuer: idp, Audiences: []string{"bank"}, Keys: keys}
	with := func(change func(*Issuer)) []Issuer { i := good; change(&i); return []Issuer{i} }
	for want, list := range map[string][]Issuer{
		"is there twice":                      {good, good},
		"issuer is missing":                   with(func(i *Issuer) { i.Issuer = "" }),
		"audiences is empty":                  with(func(i *Issuer) { i.Audiences = nil }),
		"an audience is empty":                with(func(i *Issuer) { i.Audiences = []string{""} }),
		"clockSkew must be":                   with(func(i *Issuer) { i.ClockSkew = 61 * time.Second }),
		"can't be negative":                   with(func(i *Issuer) { i.MaxLifetime = -1 }),
		"contradict":                          with(func(i *Issuer) { i.MaxLifetime, i.AllowNoExpiry = 1, true }),
		`no algorithm "none"`:                 with(func(i *Issuer) { i.Algorithms = []string{"none"} }),
		`no algorithm "HS256"`:                with(func(i *Issuer) { i.Algorithms = []string{"ES256", "HS256"} }),
		"exactly one of":                      with(func(i *Issuer) { i.Keys = Keys{} }),
		"exactly one of url":                  with(func(i *Issuer) { i.Keys.File = "x" }),
		"is not https":                        with(func(i *Issuer) { i.Keys = Keys{URL: "http://idp.example.test/keys"} }),
		"of the form https":                   with(func(i *Issuer) { i.Keys = Keys{URL: "file:///etc/passwd", AllowHTTP: true} }),
		`"demo/.well-known`:                   with(func(i *Issuer) { i.Issuer, i.Keys = "demo", Keys{Discovery: true} }),
		"refresh interval must be at least 1": with(func(i *Issuer) { i.Keys = Keys{URL: "https://x", Refresh: 1} }),
	} {
		if _, err := New(list, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want one about %q", err, want)
		}
	}
}

// A token without exp is good where that is admitted, and then for ever.
func TestNoExpiry(t *testing.T) {
	v := newVerifier(t, Issuer{Issuer: idp, Audiences: []string{"bank"}, Keys: Keys{Inline: testIssuer().keySet()}, AllowNoExpiry: true})
	for claims, wants := range map[string]string{
		`{"iss":"https://idp.example.test","aud":"bank"}`:                "ok",
		`{"iss":"https://idp.example.test","aud":"bank","exp":$now+1}`:   "ok",
		`{"iss":"https://idp.example.test","aud":"bank","exp":$now}`:     "token_expired",
		`{"iss":"https://idp.example.test","aud":"bank","exp":0}`:        "token_times",
		`{"iss":"https://idp.example.test","aud":"bank","nbf":$now+0.5}`: "token_not_yet_valid",
	} {
		input := encode([]byte(goodHeader)) + "." + encode([]byte(fill(claims)))
		_, _, err := v.Verify(t.Context(), input+"."+encode(testIssuer().sign(t, "ES256", input)), now, time.Time{})
		if got := reasonOf(t, err); got != wants {
			t.Errorf("%s: got %s (%v), want %s", claims, got, err, wants)
		}
	}
}

// What anybody sends is refused, unless it is a token that the issuer signed.
func FuzzVerify(f *testing.F) {
	v := newVerifier(f, issuers()...)
	good := map[string]bool{}
	for _, c := range tokenCases(f) {
		f.Add(c.raw)
		good[c.raw] = c.wants == "ok"
	}
	f.Fuzz(func(t *testing.T, raw string) {
		claims, _, err := v.Verify(context.Background(), raw, now, time.Time{})
		switch {
		case (err == nil) != good[raw]:
			t.Fatalf("%q: %v", raw, err)
		case (err == nil) != (claims != nil):
			t.Fatalf("%q: %v beside %v", raw, claims, err)
		case err != nil:
			reasonOf(t, err)
		}
	})
}

// Whatever key set a server sends, reading it ends, and a key that comes of it
// is one of the types that tokens are signed with.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(testIssuer().keySet()))
	f.Add([]byte(jwkOf(testIssuer().byName["EdDSA"].Public(), nil)))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		ring, err := parseKeys(content)
		if err != nil {
			return
		}
		for _, k := range ring.all {
			switch k.public.(type) {
			case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			default:
				t.Errorf("a key is a %T", k.public)
			}
		}
	})
}
