package auxdata

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
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"edict/engine/conformance"
	"edict/engine/value"
)

// now is the clock of the tests.
var now = time.Date(2026, 5, 4, 3, 2, 1, 500_000_000, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// An issuer is the other side: it has keys and signs tokens.
type issuer struct {
	ec, other *ecdsa.PrivateKey
	p384      *ecdsa.PrivateKey
	rsa       *rsa.PrivateKey
	ed        ed25519.PrivateKey
	secret    []byte
}

func newIssuer() *issuer {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return &issuer{
		ec:     must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		other:  must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		p384:   must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		rsa:    must(rsa.GenerateKey(rand.Reader, 2048)),
		ed:     must(ed, err),
		secret: []byte("0123456789abcdef0123456789abcdef"),
	}
}

type header map[string]any

// sign makes a token in the compact form.
func sign(alg jwa.SignatureAlgorithm, key any, h header, payload string) string {
	headers := jws.NewHeaders()
	for name, x := range h {
		if err := headers.Set(name, x); err != nil {
			panic(err)
		}
	}
	return string(must(jws.Sign([]byte(payload), jws.WithKey(alg, key, jws.WithProtectedHeaders(headers)))))
}

// token signs claims as most tests want them.
func (i *issuer) token(claims string) string {
	return sign(jwa.ES256(), i.ec, header{"kid": "k1"}, claims)
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// jwkOf gives a key as a JWK with more members.
func jwkOf(key any, members header) string {
	k := must(jwk.Import(key))
	for name, x := range members {
		if err := k.Set(name, x); err != nil {
			panic(err)
		}
	}
	return string(must(json.Marshal(k)))
}

func setOf(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func pemOf(keys ...crypto.PublicKey) string {
	out := ""
	for _, k := range keys {
		out += string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(k))}))
	}
	return out
}

func (i *issuer) jwk() string { return jwkOf(i.ec.Public(), header{"kid": "k1", "alg": "ES256"}) }

// local gives a key set with content, and options: alg, kid, pem.
func local(id, content, options string) KeySet {
	return KeySet{
		ID: id, Local: &Local{Data: []byte(content), PEM: strings.Contains(options, "pem")},
		OptionalAlg: strings.Contains(options, "alg"), OptionalKid: strings.Contains(options, "kid"),
	}
}

func verifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	o.Now = func() time.Time { return now }
	v, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func mapping(m value.Mapping) any { return value.OfMapping(m).Native() }

// refused fails the test unless err is a refusal for a reason.
func refused(t *testing.T, err error, reason string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrInvalid) || err.Error() != "invalid auxData" {
		t.Fatalf("got the error %v, want one that is ErrInvalid", err)
	}
	if !strings.Contains(e.Reason.Error(), reason) {
		t.Errorf("refused because of %q, want %q", e.Reason, reason)
	}
}

// What a token may be, with one ordinary key set.
func TestTokens(t *testing.T) {
	i := newIssuer()
	good := i.token(`{"sub":"x"}`)
	v := verifier(t, Options{KeySets: []KeySet{local("one", i.jwk(), "")}})
	for _, test := range []struct {
		name, token, set string
		want             string // the claims as JSON, or
		reason           string // a part of the reason to refuse it
	}{
		{name: "good", token: good, want: `{"sub":"x"}`},
		{name: "names the set", token: good, set: "one", want: `{"sub":"x"}`},
		{name: "names another set", token: good, set: "two", reason: `no key set "two"`},
		{name: "white space around", token: " " + good + "\n", want: `{"sub":"x"}`},
		{name: "empty", token: "", reason: ""},
		{name: "Bearer", token: "Bearer " + good, reason: ""},
		{name: "no kid", token: sign(jwa.ES256(), i.ec, nil, `{}`), reason: "no kid"},
		{name: "empty kid", token: sign(jwa.ES256(), i.ec, header{"kid": ""}, `{}`), reason: `kid ""`},
		{name: "unknown kid", token: sign(jwa.ES256(), i.ec, header{"kid": "k2"}, `{}`), reason: `kid "k2"`},
		{name: "another key under the kid", token: sign(jwa.ES256(), i.other, header{"kid": "k1"}, `{}`), reason: "invalid ECDSA signature"},
		{name: "a key that the token brings along", token: sign(jwa.ES256(), i.other, header{"kid": "k1", "jwk": must(jwk.Import(i.other.Public()))}, `{}`), reason: "invalid ECDSA signature"},
		{name: "alg none", token: encode(`{"alg":"none","kid":"k1"}`) + "." + encode(`{"sub":"x"}`) + ".", reason: "not signed"},
		{name: "alg none with a signature", token: encode(`{"alg":"none","kid":"k1"}`) + "." + encode(`{"sub":"x"}`) + ".AAAA", reason: "not signed"},
		{name: "alg NONE", token: encode(`{"alg":"NONE","kid":"k1"}`) + "." + encode(`{"sub":"x"}`) + ".", reason: "NONE"},
		{name: "no alg", token: encode(`{"kid":"k1"}`) + "." + encode(`{"sub":"x"}`) + ".AAAA", reason: "not signed"},
		{name: "the public key as a secret", token: sign(jwa.HS256(), []byte(pemOf(i.ec.Public())), header{"kid": "k1"}, `{}`), reason: "it is for ES256, and the token says HS256"},
		{name: "another algorithm", token: sign(jwa.RS256(), i.rsa, header{"kid": "k1"}, `{}`), reason: "the token says RS256"},
		{name: "the header names another algorithm", token: relabel(i, `{"alg":"ES384","kid":"k1"}`, `{}`), reason: "the token says ES384"},
		{name: "critical extension", token: relabel(i, `{"alg":"ES256","kid":"k1","crit":["foo"],"foo":1}`, `{}`), reason: "critical"},
		{name: "b64 false", token: relabel(i, `{"alg":"ES256","kid":"k1","crit":["b64"],"b64":false}`, `{}`), reason: "critical"},
		{name: "JSON serialization", token: `{"payload":"e30","protected":"e30","signature":""}`, reason: ""},
		{name: "bare claims", token: `{"sub":"x"}`, reason: ""},
		{name: "junk", token: "junk", reason: ""},
		{name: "two parts", token: "a.b", reason: ""},
		{name: "four parts", token: good + ".x", reason: ""},
		{name: "dots", token: "..", reason: ""},
		{name: "padding", token: good + "=", reason: ""},
		{name: "another type", token: sign(jwa.ES256(), i.ec, header{"kid": "k1", "typ": "at+jwt"}, `{"sub":"x"}`), want: `{"sub":"x"}`},
		{name: "nested", token: i.token(good), want: `{"sub":"x"}`},
		{name: "nested and forged", token: i.token(sign(jwa.ES256(), i.other, header{"kid": "k1"}, `{}`)), reason: "invalid ECDSA signature"},
		{name: "a payload that is a list", token: i.token(`[1]`), reason: ""},
		{name: "a payload that is null", token: i.token(`null`), reason: ""},
		{name: "no payload", token: i.token(``), reason: ""},
		{name: "a payload with something behind it", token: i.token(`{"a":1} x`), want: `{"a":1}`},
		{name: "a payload of two objects", token: i.token(`{"a":1}{"b":2}`), want: `{"a":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := v.Claims(t.Context(), Token{Raw: test.token, KeySetID: test.set})
			if test.want == "" {
				refused(t, err, test.reason)
				return
			}
			expect(t, got, err, test.want)
		})
	}
}

// relabel signs a token with a header of one's own making.
func relabel(i *issuer, protected, payload string) string {
	signing := encode(protected) + "." + encode(payload)
	digest := crypto.SHA256.New()
	digest.Write([]byte(signing))
	r, s, err := ecdsa.Sign(rand.Reader, i.ec, digest.Sum(nil))
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signing + "." + encode(string(signature))
}

// expect compares claims with JSON.
func expect(t *testing.T, got value.Mapping, err error, want string) {
	t.Helper()
	if err != nil {
		t.Fatalf("refused: %v", errors.Unwrap(err))
	}
	var wanted any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(mapping(got), wanted) {
		t.Errorf("got %v, want %v", mapping(got), wanted)
	}
}

// A claim is what its JSON is, but for four of them.
func TestClaims(t *testing.T) {
	i := newIssuer()
	v := verifier(t, Options{KeySets: []KeySet{local("one", i.jwk(), "")}})
	unverified := verifier(t, Options{DisableVerification: true})
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for _, test := range []struct {
		claims string
		want   string // "" if the token is refused
	}{
		{`{}`, `{}`},
		{`{"exp":4102444800}`, `{"exp":"2100-01-01T00:00:00Z"}`},
		{`{"exp":4102444800.75,"iat":1.25,"nbf":2}`, `{"exp":"2100-01-01T00:00:00Z","iat":"1970-01-01T00:00:01Z","nbf":"1970-01-01T00:00:02Z"}`},
		{`{"exp":"4102444800"}`, `{"exp":"2100-01-01T00:00:00Z"}`},
		{`{"exp":"2099-01-01T01:00:00+01:00"}`, `{"exp":"2099-01-01T00:00:00Z"}`},
		{`{"exp":1e10}`, `{"exp":"2286-11-20T17:46:40Z"}`},
		{`{"exp":253402300800}`, `{"exp":"10000-01-01T00:00:00Z"}`},
		{`{"exp":99999999999999}`, `{"exp":"3170843-11-07T09:46:39Z"}`},
		{`{"exp":"never"}`, ``}, {`{"exp":null}`, ``}, {`{"exp":true}`, ``}, {`{"exp":[1]}`, ``}, {`{"exp":-5}`, ``}, {`{"exp":1e30}`, ``},
		{`{"nbf":null}`, ``}, {`{"nbf":"x"}`, ``}, {`{"iat":{}}`, ``}, {`{"iat":""}`, ``},
		{fmt.Sprintf(`{"exp":%d}`, at(-time.Second)), ``},
		{fmt.Sprintf(`{"exp":%d}`, at(0)), ``}, // half a second ago
		{fmt.Sprintf(`{"nbf":%d}`, at(2*time.Second)), ``},
		{fmt.Sprintf(`{"iat":%d}`, at(2*time.Second)), ``},
		{`{"exp":0}`, ``},
		{`{"exp":1,"exp":4102444800}`, `{"exp":"2100-01-01T00:00:00Z"}`}, {`{"exp":4102444800,"exp":1}`, ``}, {`{"a":1,"a":2}`, `{"a":2}`},
		{`{"Exp":1,"Aud":"x"}`, `{"Exp":1,"Aud":"x"}`},
		{`{"aud":"a"}`, `{"aud":["a"]}`}, {`{"aud":["a","b"]}`, `{"aud":["a","b"]}`}, {`{"aud":[]}`, `{"aud":[]}`}, {`{"aud":""}`, `{"aud":[""]}`},
		{`{"aud":null}`, ``}, {`{"aud":1}`, ``}, {`{"aud":["a",1]}`, ``}, {`{"aud":[null]}`, ``},
		{`{"iss":1}`, ``}, {`{"sub":{}}`, ``}, {`{"jti":5}`, ``}, {`{"sub":""}`, `{"sub":""}`}, {`{"iss":null,"jti":null}`, `{"iss":"","jti":""}`},
		{`{"a":null,"b":1.5,"c":9007199254740993,"d":[1,null,{"x":[]}],"e":{},"f":"é","g":true}`,
			`{"b":1.5,"c":9007199254740992,"d":[1,null,{"x":[]}],"e":{},"f":"é","g":true}`},
		{`{"g":1e400}`, ``}, {"{\"a\":\"\xff\"}", `{"a":"\ufffd"}`}, {`{"a":"\u0000"}`, `{"a":"\u0000"}`},
	} {
		t.Run(test.claims, func(t *testing.T) {
			for _, v := range []*Verifier{v, unverified} {
				got, err := v.Claims(t.Context(), Token{Raw: i.token(test.claims)})
				if test.want == "" {
					refused(t, err, "")
					continue
				}
				expect(t, got, err, test.want)
			}
		})
	}
}

// The kinds of claims are those that CEL distinguishes.
func TestClaimKinds(t *testing.T) {
	i := newIssuer()
	v := verifier(t, Options{KeySets: []KeySet{local("one", i.jwk(), "")}})
	c, err := v.Claims(t.Context(), Token{Raw: i.token(`{"exp":4102444800,"aud":"a","n":3,"o":{"k":[1]}}`)})
	if err != nil {
		t.Fatal(errors.Unwrap(err))
	}
	for name, want := range map[string]value.Kind{"exp": value.String, "aud": value.List, "n": value.Double, "o": value.Map} {
		if got, ok := c.Lookup(name); !ok || got.Kind() != want {
			t.Errorf("%s is %s, want %s", name, got.Kind(), want)
		}
	}
}

func TestTimeSkew(t *testing.T) {
	i := newIssuer()
	for _, test := range []struct {
		claim string
		by    time.Duration // of now
		skew  time.Duration
		ok    bool
	}{
		{"exp", -4 * time.Second, 5 * time.Second, true}, {"exp", -5 * time.Second, 5 * time.Second, false},
		{"nbf", 5 * time.Second, 5 * time.Second, true}, {"nbf", 7 * time.Second, 5 * time.Second, false},
		{"iat", 5 * time.Second, 5 * time.Second, true}, {"iat", 7 * time.Second, 5 * time.Second, false},
		{"exp", time.Second, 0, true}, {"exp", -time.Second, 0, false}, {"nbf", 0, 0, true}, {"nbf", time.Second, 0, false},
	} {
		raw := i.token(fmt.Sprintf(`{"%s":%d}`, test.claim, now.Add(test.by).Unix()))
		for _, o := range []Options{{KeySets: []KeySet{local("one", i.jwk(), "")}}, {DisableVerification: true}} {
			o.AcceptableTimeSkew = test.skew
			_, err := verifier(t, o).Claims(t.Context(), Token{Raw: raw})
			if (err == nil) != test.ok {
				t.Errorf("%s %s from now with a skew of %s: %v", test.claim, test.by, test.skew, err)
			}
		}
	}
}

func TestWithoutVerification(t *testing.T) {
	i := newIssuer()
	good := i.token(`{"sub":"x"}`)
	missing := KeySet{ID: "missing", Local: &Local{File: "/nonexistent/keys"}}
	v := verifier(t, Options{DisableVerification: true, KeySets: []KeySet{missing}})
	for raw, ok := range map[string]bool{
		good:                            true,
		good[:len(good)-8] + "AAAAAAAA": true,
		encode(`{"alg":"none"}`) + "." + encode(`{"sub":"x"}`) + ".": true,
		encode(`{"alg":"zz"}`) + "." + encode(`{"sub":"x"}`) + ".AA": false,
		"Bearer " + good: false,
		"junk":           false,
	} {
		got, err := v.Claims(t.Context(), Token{Raw: raw, KeySetID: "no such set"})
		if ok {
			expect(t, got, err, `{"sub":"x"}`)
		} else {
			refused(t, err, "")
		}
	}
}

// What keys a set may have, and which tokens they verify.
func TestKeys(t *testing.T) {
	i := newIssuer()
	ec, other := i.ec.Public(), i.other.Public()
	es256 := header{"kid": "k1", "alg": "ES256"}
	tokens := map[string]string{
		"kid":    i.token(`{}`),
		"nokid":  sign(jwa.ES256(), i.ec, nil, `{}`),
		"badkid": sign(jwa.ES256(), i.ec, header{"kid": "zz"}, `{}`),
		"RS256":  sign(jwa.RS256(), i.rsa, header{"kid": "k1"}, `{}`),
		"RS512":  sign(jwa.RS512(), i.rsa, header{"kid": "k1"}, `{}`),
		"PS256":  sign(jwa.PS256(), i.rsa, header{"kid": "k1"}, `{}`),
		"ES384":  sign(jwa.ES384(), i.p384, header{"kid": "k1"}, `{}`),
		"HS256":  sign(jwa.HS256(), i.secret, header{"kid": "k1"}, `{}`),
		"HS384":  sign(jwa.HS384(), i.secret, header{"kid": "k1"}, `{}`),
		"HSpem":  sign(jwa.HS256(), []byte(pemOf(ec)), header{"kid": "k1"}, `{}`),
		"EdDSA":  sign(jwa.EdDSA(), i.ed, header{"kid": "k1"}, `{}`),
		"Ed":     sign(jwa.EdDSAEd25519(), i.ed, header{"kid": "k1"}, `{}`),
		"none":   encode(`{"alg":"none","kid":"k1"}`) + "." + encode(`{}`) + ".",
	}
	for _, test := range []struct {
		name, content, options string
		verifies               string // the tokens, in the order of their names; or
		broken                 string // a part of what is wrong with the set
	}{
		{name: "one key", content: i.jwk(), verifies: "kid"},
		{name: "a set", content: setOf(i.jwk()), verifies: "kid"},
		{name: "an empty set", content: setOf()},
		{name: "no alg", content: jwkOf(ec, header{"kid": "k1"}), broken: "key 1 of the set: the key has no alg"},
		{name: "no alg, optional", content: jwkOf(ec, header{"kid": "k1"}), options: "alg", verifies: "kid"},
		{name: "no kid", content: jwkOf(ec, header{"alg": "ES256"}), broken: "the key has no kid"},
		{name: "empty kid", content: jwkOf(ec, header{"alg": "ES256", "kid": ""}), broken: "the key has no kid"},
		{name: "no kid, optional", content: jwkOf(ec, header{"alg": "ES256"}), options: "kid", verifies: "badkid kid nokid"},
		{name: "kid, optional", content: i.jwk(), options: "kid alg", verifies: "badkid kid nokid"},
		{name: "neither, optional", content: jwkOf(ec, nil), options: "kid alg", verifies: "badkid kid nokid"},
		{name: "one of two has no alg", content: setOf(i.jwk(), jwkOf(other, header{"kid": "k2"})), broken: "key 2 of the set"},
		{name: "unknown alg", content: `{"alg":"foo",` + jwkOf(ec, header{"kid": "k1"})[1:], broken: "alg"},
		{name: "unknown alg, optional", content: `{"alg":"foo",` + jwkOf(ec, header{"kid": "k1"})[1:], options: "alg", broken: "alg"},
		{name: "alg of another type", content: jwkOf(ec, header{"kid": "k1", "alg": "RS256"})},
		{name: "alg of another type, optional", content: jwkOf(ec, header{"kid": "k1", "alg": "RS256"}), options: "alg"},
		{name: "alg of another curve", content: jwkOf(ec, header{"kid": "k1", "alg": "ES384"})},
		{name: "alg none", content: jwkOf(ec, header{"kid": "k1", "alg": "none"}), options: "alg kid"},
		{name: "for encryption", content: jwkOf(ec, header{"kid": "k1", "alg": "ES256", "use": "enc"})},
		{name: "for encryption, beside one that is not", content: setOf(jwkOf(i.rsa.Public(), header{"kid": "k2", "alg": "RSA-OAEP"}), i.jwk()), verifies: "kid"},
		{name: "two under one kid", content: setOf(jwkOf(other, es256), i.jwk())},
		{name: "any kid", content: setOf(jwkOf(other, header{"alg": "ES256"}), i.jwk()), options: "kid", verifies: "badkid kid nokid"},
		{name: "private", content: jwkOf(i.ec, es256), verifies: "kid"},
		{name: "RS256", content: jwkOf(i.rsa.Public(), header{"kid": "k1", "alg": "RS256"}), verifies: "RS256"},
		{name: "RSA", content: jwkOf(i.rsa.Public(), header{"kid": "k1"}), options: "alg", verifies: "PS256 RS256 RS512"},
		{name: "P-384", content: jwkOf(i.p384.Public(), header{"kid": "k1"}), options: "alg", verifies: "ES384"},
		{name: "HS256", content: jwkOf(i.secret, header{"kid": "k1", "alg": "HS256"}), verifies: "HS256"},
		{name: "a secret", content: jwkOf(i.secret, header{"kid": "k1"}), options: "alg", verifies: "HS256 HS384"},
		{name: "an empty secret", content: `{"kty":"oct","k":"","kid":"k1","alg":"HS256"}`, broken: `missing "k"`},
		{name: "EdDSA", content: jwkOf(i.ed.Public(), header{"kid": "k1", "alg": "EdDSA"}), verifies: "Ed EdDSA"},
		{name: "Ed25519", content: jwkOf(i.ed.Public(), header{"kid": "k1", "alg": "Ed25519"}), verifies: "Ed EdDSA"},
		{name: "an Edwards curve", content: jwkOf(i.ed.Public(), header{"kid": "k1"}), options: "alg", verifies: "Ed EdDSA"},
		{name: "everything", content: setOf(jwkOf(i.ed.Public(), nil), jwkOf(i.rsa.Public(), nil), jwkOf(ec, nil)), options: "alg kid",
			verifies: "Ed EdDSA PS256 RS256 RS512 badkid kid nokid"},
		{name: "unknown type", content: setOf(`{"kty":"AKP","alg":"ML-DSA-44","kid":"q","pub":"AA"}`, i.jwk()), broken: "AKP"},
		{name: "junk", content: "zz", broken: "invalid character"},
		{name: "no content", content: " ", broken: "EOF"},
		{name: "PEM", content: pemOf(ec), options: "pem alg kid", verifies: "badkid kid nokid"},
		{name: "two PEM", content: pemOf(other, ec), options: "pem alg kid", verifies: "badkid kid nokid"},
		{name: "PEM without options", content: pemOf(ec), options: "pem", broken: "neither alg nor kid"},
		{name: "PEM with half of the options", content: pemOf(ec), options: "pem alg", broken: "neither alg nor kid"},
		{name: "PEM that is none", content: i.jwk(), options: "pem alg kid", broken: "PEM"},
		{name: "PEM that is not expected", content: pemOf(ec), broken: "invalid character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := local("one", test.content, test.options)
			file := filepath.Join(t.TempDir(), "keys")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			fromFile := set
			fromFile.Local = &Local{File: file, PEM: set.Local.PEM}
			for _, set := range []KeySet{set, fromFile} {
				v, err := New(t.Context(), Options{KeySets: []KeySet{set}})
				if test.broken != "" {
					if err == nil || !strings.Contains(err.Error(), `key set "one": `) || !strings.Contains(err.Error(), test.broken) {
						t.Errorf("got the error %v, want one that says %q", err, test.broken)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				var verified []string
				for _, name := range []string{"Ed", "EdDSA", "ES384", "HS256", "HS384", "HSpem", "PS256", "RS256", "RS512", "badkid", "kid", "nokid", "none"} {
					if _, err := v.Claims(t.Context(), Token{Raw: tokens[name]}); err == nil {
						verified = append(verified, name)
					}
				}
				if got := strings.Join(verified, " "); got != test.verifies {
					t.Errorf("it verifies %q, want %q", got, test.verifies)
				}
			}
		})
	}
}

func TestKeySetChoice(t *testing.T) {
	i := newIssuer()
	mine, others := local("mine", i.jwk(), ""), local("other", jwkOf(i.other.Public(), header{"kid": "k1", "alg": "ES256"}), "")
	good := i.token(`{}`)
	for _, test := range []struct {
		sets   []KeySet
		id     string
		reason string // "" if the token is good
	}{
		{nil, "", "names no key set, and there are 0"},
		{nil, "mine", `no key set "mine"`},
		{[]KeySet{mine}, "", ""},
		{[]KeySet{mine}, "mine", ""},
		{[]KeySet{mine}, "Mine", `no key set "Mine"`},
		{[]KeySet{mine, others}, "", "names no key set, and there are 2"},
		{[]KeySet{mine, others}, "mine", ""},
		{[]KeySet{mine, others}, "other", "invalid ECDSA signature"},
	} {
		_, err := verifier(t, Options{KeySets: test.sets}).Claims(t.Context(), Token{Raw: good, KeySetID: test.id})
		if test.reason != "" {
			refused(t, err, test.reason)
		} else if err != nil {
			t.Errorf("%d sets, %q: %v", len(test.sets), test.id, errors.Unwrap(err))
		}
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	data := &Local{Data: []byte(newIssuer().jwk())}
	remote := func(u string, every time.Duration) []KeySet {
		return []KeySet{{ID: "a", Remote: &Remote{URL: u, RefreshInterval: every}}}
	}
	for want, o := range map[string]Options{
		"can't be negative":                 {AcceptableTimeSkew: -1},
		`two key sets with the id "a"`:      {KeySets: []KeySet{{ID: "a", Local: data}, {ID: "a", Local: data}}},
		"the id is empty":                   {KeySets: []KeySet{{Local: data}}},
		"either remote or local":            {KeySets: []KeySet{{ID: "a"}}},
		"must be either remote or local":    {KeySets: []KeySet{{ID: "a", Local: data, Remote: &Remote{URL: "https://x"}}}},
		"either file or data":               {KeySets: []KeySet{{ID: "a", Local: &Local{}}}},
		"either file or data is needed":     {KeySets: []KeySet{{ID: "a", Local: &Local{File: "f", Data: []byte("x")}}}},
		"no such file or directory":         {KeySets: []KeySet{{ID: "a", Local: &Local{File: "/nonexistent/keys"}}}},
		`"" is not a URL`:                   {KeySets: remote("", 0)},
		`"not a url" is not a URL`:          {KeySets: remote("not a url", 0)},
		`"file:///etc/passwd" is not a URL`: {KeySets: remote("file:///etc/passwd", 0)},
		"at least 1s":                       {KeySets: remote("https://x/y", time.Millisecond)},
		"the refresh interval":              {KeySets: remote("https://x/y", -time.Hour)},
	} {
		if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want one that says %q", err, want)
		}
	}
}

func TestAll(t *testing.T) {
	i := newIssuer()
	v := verifier(t, Options{KeySets: []KeySet{local("one", i.jwk(), "")}})
	a, b, bad := Token{Raw: i.token(`{"sub":"a"}`)}, Token{Raw: i.token(`{"sub":"b"}`)}, Token{Raw: i.token(`{"exp":1}`)}
	none, err := v.All(t.Context(), nil, nil)
	if err != nil || none.JWT != nil || none.JWTs != nil {
		t.Errorf("no tokens give %v, %v", none, err)
	}
	one, err := v.All(t.Context(), &a, map[string]Token{})
	if err != nil || one.JWTs != nil {
		t.Fatalf("one token gives %v, %v", one, err)
	}
	expect(t, one.JWT, nil, `{"sub":"a"}`)
	two, err := v.All(t.Context(), nil, map[string]Token{"x": a, "y": b})
	if err != nil || two.JWT != nil || len(two.JWTs) != 2 {
		t.Fatalf("two tokens give %v, %v", two, err)
	}
	expect(t, two.JWTs["x"], nil, `{"sub":"a"}`)
	expect(t, two.JWTs["y"], nil, `{"sub":"b"}`)

	_, err = v.All(t.Context(), &a, map[string]Token{"x": a})
	refused(t, err, "both")
	_, err = v.All(t.Context(), &bad, nil)
	refused(t, err, "exp")
	data, err := v.All(t.Context(), nil, map[string]Token{"x": a, "y": bad})
	refused(t, err, `the token "y"`)
	if data.JWT != nil || data.JWTs != nil {
		t.Errorf("a refusal gives %v", data)
	}
}

// The tokens of the conformance data give the claims it lists.
func TestConformance(t *testing.T) {
	dir := filepath.Join(conformance.Dir(t), "auxdata")
	var cases map[string]struct {
		Token  string
		Claims map[string]any
	}
	if err := json.Unmarshal(must(os.ReadFile(filepath.Join(dir, "tokens.json"))), &cases); err != nil {
		t.Fatal(err)
	}
	v, err := New(t.Context(), Options{KeySets: []KeySet{{ID: "one", Local: &Local{File: filepath.Join(dir, "verify_key.jwk")}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		got, err := v.Claims(t.Context(), Token{Raw: c.Token})
		if err != nil {
			t.Errorf("%s: %v", name, errors.Unwrap(err))
			continue
		}
		for claim, want := range c.Claims {
			if v, _ := got.Lookup(claim); !reflect.DeepEqual(v.Native(), want) {
				t.Errorf("%s: %s is %v, want %v", name, claim, v, want)
			}
		}
	}
	if len(cases) == 0 {
		t.Error("there are no tokens")
	}
}

// Whatever is sent, claims come only from what the issuer signed.
func FuzzToken(f *testing.F) {
	i := newIssuer()
	signed := map[string]bool{}
	for _, claims := range []string{`{}`, `{"sub":"x","aud":["a"]}`, `{"exp":4102444800}`, `[]`} {
		raw := i.token(claims)
		signed[raw[:strings.LastIndexByte(raw, '.')]] = true
		f.Add(raw)
	}
	f.Add(encode(`{"alg":"none","kid":"k1"}`) + "." + encode(`{"sub":"x"}`) + ".")
	f.Add(encode(`{"alg":"HS256","kid":"k1"}`) + "." + encode(`{"sub":"x"}`) + ".AAAA")
	f.Add(encode(`{"alg":"ES256","kid":"k1","b64":false,"crit":["b64"]}`) + "..")
	f.Add(`{"payload":"e30","signatures":[{"protected":"e30","signature":""}]}`)
	f.Add("Bearer x.y.z")
	o := Options{KeySets: []KeySet{local("one", i.jwk(), ""), local("any", i.jwk(), "kid alg")}, Now: func() time.Time { return now }}
	v, err := New(context.Background(), o)
	if err != nil {
		f.Fatal(err)
	}
	unverified, err := New(context.Background(), Options{DisableVerification: true, Now: o.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, set := range []string{"one", "any"} {
			c, err := v.Claims(t.Context(), Token{Raw: raw, KeySetID: set})
			if (err == nil) == (c == nil) {
				t.Fatalf("claims %v and error %v", c, err)
			}
			text := strings.TrimSpace(raw)
			if err == nil && !signed[text[:max(0, strings.LastIndexByte(text, '.'))]] {
				t.Errorf("the issuer never signed %q", raw)
			}
		}
		if c, err := unverified.Claims(t.Context(), Token{Raw: raw}); err == nil {
			mapping(c)
		} else {
			refused(t, err, "")
		}
	})
}

func FuzzKeySet(f *testing.F) {
	i := newIssuer()
	f.Add([]byte(i.jwk()), false)
	f.Add([]byte(setOf(i.jwk(), jwkOf(i.rsa.Public(), header{"kid": "r", "alg": "RS256"}))), false)
	f.Add([]byte(jwkOf(i.ed.Public(), nil)), false)
	f.Add([]byte(pemOf(i.ec.Public(), i.rsa.Public())), true)
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"","alg":"HS256","kid":"a"}]}`), false)
	raw := i.token(`{}`)
	f.Fuzz(func(t *testing.T, content []byte, pem bool) {
		set := KeySet{ID: "a", Local: &Local{Data: content, PEM: pem}, OptionalAlg: pem, OptionalKid: pem}
		v, err := New(t.Context(), Options{KeySets: []KeySet{set}})
		if err != nil {
			return
		}
		if _, err := v.Claims(t.Context(), Token{Raw: raw}); err != nil {
			refused(t, err, "")
		}
	})
}

// A call whose time is over verifies no more tokens, however many there are.
func TestManyTokensEndWithTheCall(t *testing.T) {
	i := newIssuer()
	v := verifier(t, Options{KeySets: []KeySet{local("one", i.jwk(), "")}})
	tokens := map[string]Token{"a": {Raw: i.token(`{}`)}, "b": {Raw: i.token(`{}`)}}
	if data, err := v.All(t.Context(), nil, tokens); err != nil || len(data.JWTs) != 2 {
		t.Fatalf("got %v, %v", data, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if data, err := v.All(ctx, nil, tokens); !errors.Is(err, ErrInvalid) || !errors.Is(err, context.Canceled) || data.JWTs != nil {
		t.Errorf("got %v, %v", data, err)
	}
}
