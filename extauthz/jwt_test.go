package extauthz

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/engine"
	"edict/engine/yamldoc"
	"edict/extauthz/claims"
	"edict/extauthz/token"
)

// A signer is an issuer of tokens.
type signer struct {
	name string
	key  *ecdsa.PrivateKey
}

func newSigner(t testing.TB, name string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{name, key}
}

// pem gives the public key.
func (s signer) pem(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// token gives a token that is good for an hour, with more claims.
func (s signer) token(t testing.TB, more map[string]any) string {
	t.Helper()
	c := map[string]any{"iss": s.name, "aud": "albums", "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range more {
		c[name] = v
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"ES256"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(input))
	r, sig, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	r.FillBytes(b[:32])
	sig.FillBytes(b[32:])
	return input + "." + encode(b)
}

// issuer gives the configuration of the issuer.
func (s signer) issuer(t testing.TB, m claims.Mapping) JWTIssuer {
	t.Helper()
	return JWTIssuer{token.Issuer{Issuer: s.name, Audiences: []string{"albums"}, Keys: token.Keys{Inline: s.pem(t)}}, m}
}

// TestTokens asks for what testdata/tokens.yaml says.
func TestTokens(t *testing.T) {
	staff, partner, stranger := newSigner(t, "https://staff.example"), newSigner(t, "https://partner.example"), newSigner(t, "https://stranger.example")
	forged := signer{staff.name, stranger.key}
	alice := map[string]any{"sub": "alice", "roles": []any{"user"}}
	values := strings.NewReplacer( // the longer of two names first
		"$staff2", staff.token(t, alice), // the signature is another
		"$staff", staff.token(t, alice),
		"$partner", partner.token(t, map[string]any{"login": "alice", "groups": []any{"p/user"}}),
		"$stranger", stranger.token(t, alice),
		"$forged", forged.token(t, alice),
		"$expired", staff.token(t, map[string]any{"sub": "alice", "exp": 1}),
		"$rolemap", staff.token(t, map[string]any{"sub": "alice", "roles": map[string]any{"0": "admin"}}),
		"$nobody", staff.token(t, map[string]any{"roles": []any{"admin"}}),
		"$huge", staff.token(t, map[string]any{"sub": "alice", "x": strings.Repeat("x", token.MaxSize)}),
	)
	shapes := claims.Mapping{ID: []string{"login"}, Roles: []claims.Roles{{Claim: "groups", StripPrefix: "p/"}}, Attributes: []claims.Attribute{}}
	both := []JWTIssuer{staff.issuer(t, claims.Mapping{}), partner.issuer(t, shapes)}
	everywhere := []TokenPlace{{Header: "authorization", Prefix: "Bearer"}, {Header: "x-token"}, {Cookie: "session"}, {Query: "access_token"}}
	headers := Source{Headers: &TrustedHeaders{ID: "x-user", Roles: "x-user-roles"}}
	unfetched := staff.issuer(t, claims.Mapping{})
	unfetched.Keys = token.Keys{URL: "https://staff.example/keys"}
	options := map[string][]Source{
		"default":    {{JWT: &JWT{Issuers: both}}},
		"everywhere": {{JWT: &JWT{From: everywhere, Issuers: both}}},
		"strip":      {{JWT: &JWT{From: []TokenPlace{everywhere[0], everywhere[1], everywhere[3]}, Issuers: both, Strip: true}}},
		"two":        {{JWT: &JWT{Issuers: both[:1]}}, {JWT: &JWT{From: everywhere[2:3], Issuers: both[1:]}}},
		"chain":      {{JWT: &JWT{From: everywhere, Issuers: both[:1]}}, {JWT: &JWT{From: everywhere, Issuers: both[1:]}}, headers},
		"metadata":   {{JWTMetadata: &JWTMetadata{}}, {JWT: &JWT{Issuers: both, Strip: true}}},
		"unfetched":  {{JWT: &JWT{Issuers: []JWTIssuer{unfetched}}}, headers},
	}

	const file = "testdata/tokens.yaml"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := yamldoc.Parse(file, content)
	root, _ := doc.Root()
	list, _ := root.List()
	for _, n := range list {
		o, _ := n.Object("name", "options", "path", "headers", "asMap", "claims", "wants", "detail", "principal", "removes", "removesQuery")
		text := func(name, otherwise string) string {
			if n, ok := o.Field(name); ok {
				t, _ := n.Text()
				return t.Value
			}
			return otherwise
		}
		texts := func(name string) (out []string) {
			if n, ok := o.Field(name); ok {
				list, _ := n.List()
				for _, n := range list {
					t, _ := n.Text()
					out = append(out, t.Value)
				}
			}
			return out
		}
		t.Run(text("name", ""), func(t *testing.T) {
			var seen Record
			sources, ok := options[text("options", "default")]
			if !ok {
				t.Fatal("there are no such options")
			}
			s := newServer(t, Options{Identity: sources, PrincipalHeader: "x-edict-principal", Observe: func(r *Record) { seen = *r }})
			r := get(values.Replace(text("path", "/albums/alice/1")))
			for _, h := range texts("headers") {
				r = r.with(values.Replace(h))
			}
			if text("claims", "") != "" {
				r = r.as(text("claims", ""), "user")
			}
			_, r.asMap = o.Field("asMap")
			out := check(t, s, r)
			if got, _ := reason(out); got != text("wants", "") {
				t.Errorf("got %s (%s, %v), want %s", got, seen.Detail, seen.Err, text("wants", ""))
			}
			if seen.Detail != text("detail", "") {
				t.Errorf("got the detail %q, want %q", seen.Detail, text("detail", ""))
			}
			if p := text("principal", ""); p != "" && seen.Principal != p {
				t.Errorf("got the principal %q, want %q", seen.Principal, p)
			}
			if text("principal", "") != "" && seen.Source != VerifiedJWT {
				t.Errorf("the identity came from %s", seen.Source)
			}
			if _, removed := upstream(out); !slices.Equal(removed, texts("removes")) {
				t.Errorf("removes %q, want %q", removed, texts("removes"))
			}
			if got := out.GetOkResponse().GetQueryParametersToRemove(); !slices.Equal(got, texts("removesQuery")) {
				t.Errorf("removes the parameters %q, want %q", got, texts("removesQuery"))
			}
		})
	}
	if list := doc.Diagnostics(); len(list) > 0 {
		t.Fatal(list.Render())
	}
	if len(list) < 40 {
		t.Errorf("there are only %d cases", len(list))
	}
}

// A token that can't be verified for lack of keys is refused before the
// deadline of the check, with the answer that is meant for that.
func TestKeysUnavailable(t *testing.T) {
	s := newSigner(t, "https://staff.example")
	i := s.issuer(t, claims.Mapping{})
	i.Keys = token.Keys{URL: "https://127.0.0.1:1/keys"} // nobody listens there
	c, err := NewCompiler(engine.Options{}, Options{Identity: []Source{{JWT: &JWT{Issuers: []JWTIssuer{i}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if m := c.MissingKeys(); !slices.Equal(m, []string{s.name}) {
		t.Errorf("missing: %v", m)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	c.Await(ctx)
	server := new(Server)
	server.Use(compileWith(t, c, albumPolicy, albumRoutes))
	r := get("/albums/alice/1").with("authorization: Bearer " + s.token(t, map[string]any{"sub": "alice"}))
	if got, status := reason(check(t, server, r)); got != "keys_unavailable" || status != 503 {
		t.Errorf("got %s, HTTP %d", got, status)
	}
	cancel()
	<-ended
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(server.AppendCheck(ctx, nil, r.bytes(t)), out); err != nil {
		t.Fatal(err)
	}
	if got, _ := reason(out); got != "timeout" {
		t.Errorf("after the deadline: got %s", got)
	}
}

func TestTokenOptionsThatCannotWork(t *testing.T) {
	i := newSigner(t, "https://staff.example").issuer(t, claims.Mapping{})
	bad := i
	bad.Claims.ID = []string{"/~"}
	nokey := i
	nokey.Keys = token.Keys{}
	for want, j := range map[string]*JWT{
		"issuers is empty":                {},
		"exactly one of header":           {From: []TokenPlace{{}}, Issuers: []JWTIssuer{i}},
		"exactly one of header, cookie":   {From: []TokenPlace{{Header: "a", Query: "b"}}, Issuers: []JWTIssuer{i}},
		"a prefix is for headers":         {From: []TokenPlace{{Query: "b", Prefix: "Bearer"}}, Issuers: []JWTIssuer{i}},
		"write it in lower case":          {From: []TokenPlace{{Header: "X-Token"}}, Issuers: []JWTIssuer{i}},
		"other characters than":           {From: []TokenPlace{{Query: "a&b"}}, Issuers: []JWTIssuer{i}},
		"taken out of a cookie":           {From: []TokenPlace{{Cookie: "a"}}, Strip: true, Issuers: []JWTIssuer{i}},
		"also sent upstream":              {From: []TokenPlace{{Header: "x-edict-principal"}}, Issuers: []JWTIssuer{i}},
		"is there twice":                  {Issuers: []JWTIssuer{i, i}},
		"no JSON Pointer":                 {Issuers: []JWTIssuer{bad}},
		"exactly one of url, discovery, ": {Issuers: []JWTIssuer{nokey}},
	} {
		_, err := NewCompiler(engine.Options{}, Options{Identity: []Source{{JWT: j}}, PrincipalHeader: "x-edict-principal"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "identity.sources[0].jwt: ") {
			t.Errorf("got the error %v, want one about %q", err, want)
		}
	}
	_, err := NewCompiler(engine.Options{}, Options{Identity: []Source{{JWTMetadata: &JWTMetadata{Claims: bad.Claims}}}})
	if err == nil || !strings.Contains(err.Error(), "identity.sources[0].jwtMetadata: ") {
		t.Errorf("got the error %v", err)
	}
}

// Of several providers of jwt_authn, the one that verified the token counts.
func TestSeveralProviders(t *testing.T) {
	alice := map[string]any{"sub": "alice", "roles": []any{"user"}}
	bob := map[string]any{"login": "bob", "groups": []any{"user"}}
	failure := func(code float64) map[string]any { return map[string]any{"code": code, "message": "x"} }
	one := []Source{{JWTMetadata: &JWTMetadata{Keys: []string{"staff", "partner"}}}}
	two := []Source{
		{JWTMetadata: &JWTMetadata{Keys: []string{"staff"}, FailureKey: "why"}},
		{JWTMetadata: &JWTMetadata{Keys: []string{"partner"}, Claims: claims.Mapping{ID: []string{"login"}, Roles: []claims.Roles{{Claim: "groups"}}}}},
		{Headers: &TrustedHeaders{ID: "x-user"}},
	}
	for name, test := range map[string]struct {
		sources                   []Source
		metadata                  map[string]any
		wants, detail, identifies string
	}{
		"one source, first key":             {one, map[string]any{"staff": alice}, "allow", "", "alice"},
		"one source, second key":            {one, map[string]any{"partner": alice}, "allow", "", "alice"},
		"one source, both keys":             {one, map[string]any{"staff": alice, "partner": alice}, "bad_request", "repeated_token", ""},
		"one source, a text":                {one, map[string]any{"staff": "alice"}, "bad_identity", "", ""},
		"one source, a failure":             {one, map[string]any{"partner_failure": failure(3)}, "bad_token", "", ""},
		"one source, no token":              {one, map[string]any{"partner_failure": failure(1)}, "no_identity", "", ""},
		"two sources, first":                {two, map[string]any{"staff": alice}, "allow", "", "alice"},
		"two sources, second":               {two, map[string]any{"partner": bob}, "deny", "", "bob"}, // the album is alice's
		"two sources, both":                 {two, map[string]any{"partner": bob, "staff": alice}, "allow", "", "alice"},
		"two sources, the first failed":     {two, map[string]any{"partner": bob, "why": failure(24)}, "deny", "", "bob"},
		"two sources, a failure by its key": {two, map[string]any{"why": failure(3)}, "bad_token", "", ""},
		"two sources, a failure of nobody":  {two, map[string]any{"staff_failure": failure(3)}, "deny", "", "alice"}, // by header, without a role
	} {
		t.Run(name, func(t *testing.T) {
			var seen Record
			s := newServer(t, Options{Identity: test.sources, Observe: func(r *Record) { seen = *r }})
			r := get("/albums/alice/1").with("x-user: alice")
			r.metadata = test.metadata
			if got, _ := reason(check(t, s, r)); got != test.wants || seen.Detail != test.detail || test.identifies != "" && seen.Principal != test.identifies {
				t.Errorf("got %s, %q, %q (%v); want %s, %q, %q", got, seen.Detail, seen.Principal, seen.Err, test.wants, test.detail, test.identifies)
			}
		})
	}
}

// With a mapping of attributes the principal has those and no others.
func TestClaimAttributes(t *testing.T) {
	for name, test := range map[string]struct {
		mapping claims.Mapping
		tenant  any
		wants   string
	}{
		"typed":       {claims.Mapping{Attributes: []claims.Attribute{{Name: "tenant", Claim: "org", Type: claims.String}}}, "acme", "allow"},
		"of no type":  {claims.Mapping{Attributes: []claims.Attribute{{Name: "tenant", Claim: "org", Type: claims.String}}}, []any{"acme"}, "bad_identity"},
		"not there":   {claims.Mapping{Attributes: []claims.Attribute{{Name: "tenant", Claim: "company", Required: true}}}, "acme", "bad_identity"},
		"of no claim": {claims.Mapping{Attributes: []claims.Attribute{}}, "acme", "unmappable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := new(Server)
			s.Use(compile(t, Options{Identity: []Source{{JWTMetadata: &JWTMetadata{Claims: test.mapping}}}}, albumPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: m
  routes:
    - name: r
      match: {path: /x}
      resource: {kind: album, id: {expr: principal.attr.tenant}}
      action: list
`))
			r := get("/x").as("alice", "user")
			r.claims["org"] = test.tenant
			if got, _ := reason(check(t, s, r)); got != test.wants {
				t.Errorf("got %s, want %s", got, test.wants)
			}
		})
	}
}
