package config

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edict/engine/value"
	"edict/extauthz"
	"edict/extauthz/claims"
	"edict/extauthz/token"
)

// A provider is a sample of testdata/providers: a token as an identity provider
// issues it, and what becomes of it.
type provider struct {
	Header     map[string]any
	Claims     map[string]any
	ID         string
	Roles      []string
	Attributes map[string]any // nil: all claims
	Refused    []struct {
		Why    string
		Change map[string]any // of claims; null removes one
		Reason string         // the token.Reason, or "claims"
	}
}

// The examples of docs/identity.md for identity providers verify and map tokens
// of the shape that these providers issue, and refuse others.
func TestProviders(t *testing.T) {
	page := readPage(t, root+"/docs/identity.md")
	files, err := filepath.Glob("testdata/providers/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %v, %v", files, err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	now := time.Now()
	sign := func(t *testing.T, header, claims map[string]any) string {
		t.Helper()
		segment := func(m map[string]any) string {
			b, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return base64.RawURLEncoding.EncodeToString(b)
		}
		input := segment(header) + "." + segment(claims)
		digest := sha256.Sum256([]byte(input))
		signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var p provider
			if err := json.Unmarshal(content, &p); err != nil {
				t.Fatal(err)
			}
			issuer := exampleOf(t, page, name)
			if !issuer.Keys.Discovery {
				t.Errorf("the example's keys are %+v", issuer.Keys)
			}
			issuer.Keys = token.Keys{Inline: public}
			v, err := token.New([]token.Issuer{issuer.Issuer}, token.Options{})
			if err != nil {
				t.Fatal(err)
			}
			m, err := claims.Compile(issuer.Claims)
			if err != nil {
				t.Fatal(err)
			}
			p.Claims["iat"], p.Claims["exp"] = now.Unix(), now.Add(time.Hour).Unix()
			verified, _, err := v.Verify(t.Context(), sign(t, p.Header, p.Claims), now, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			id, roles, attributes, err := m.Map(verified, nil)
			if err != nil || id != p.ID || !slices.Equal(roles, p.Roles) {
				t.Errorf("got %q with %q, %v; want %q with %q", id, roles, err, p.ID, p.Roles)
			}
			if got := value.OfMapping(attributes).Native(); p.Attributes != nil && !reflect.DeepEqual(got, any(p.Attributes)) {
				t.Errorf("got the attributes %v, want %v", got, p.Attributes)
			}
			for _, r := range p.Refused {
				changed := map[string]any{}
				for name, v := range p.Claims {
					changed[name] = v
				}
				for name, v := range r.Change {
					if changed[name] = v; v == nil {
						delete(changed, name)
					}
				}
				verified, _, err := v.Verify(t.Context(), sign(t, p.Header, changed), now, time.Time{})
				reason := "ok"
				if e := (*token.Error)(nil); errors.As(err, &e) {
					reason = string(e.Reason)
				} else if _, _, _, err := m.Map(verified, nil); err != nil {
					reason = "claims"
				}
				if reason != r.Reason {
					t.Errorf("%s: got %s, want %s", r.Why, reason, r.Reason)
				}
			}
		})
	}
}

// exampleOf gives the issuer of the example under the heading of a provider.
func exampleOf(t *testing.T, page, name string) extauthz.JWTIssuer {
	t.Helper()
	for _, section := range strings.Split(page, "\n### ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		if strings.ReplaceAll(strings.ToLower(title), " ", "-") != name {
			continue
		}
		for _, b := range blocks(text) {
			if b.info != "yaml config" {
				continue
			}
			l := newLoader()
			l.document("identity.md", []byte(b.text))
			if len(l.list) > 0 {
				t.Fatal(l.list.Render())
			}
			return l.config.Checks.Identity[0].JWT.Issuers[0]
		}
	}
	t.Fatalf("docs/identity.md has no example for %s", name)
	return extauthz.JWTIssuer{}
}

// What a token source says is what is read, with the defaults of the table in
// docs/identity.md.
func TestTokenSource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte(`
identity:
  sources:
    - jwt:
        from: [{header: authorization}, {header: x-token, prefix: Token}, {cookie: s}, {query: q}]
        id: [email, sub]
        roleMap: {a: b, c: [d, e], f: []}
        issuers:
          - {issuer: a, audiences: x, keys: {url: "https://a.example/keys"}, types: [at+jwt, none], require: {use: access}}
          - {issuer: b, audiences: [x, y], keys: {file: k.pem}, clockSkew: 0s, id: name, allowedRoles: []}
    - jwt: {forward: false, issuers: [{issuer: a, audiences: x, keys: {url: "http://a.example/keys", allowHTTP: true, maxStale: 1h, hosts: [h]}}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, list := Load(file, nil, nil)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	mapped := map[string][]string{"a": {"b"}, "c": {"d", "e"}, "f": nil}
	want := []extauthz.Source{
		{JWT: &extauthz.JWT{
			From: []extauthz.TokenPlace{{Header: "authorization", Prefix: "Bearer"}, {Header: "x-token", Prefix: "Token"}, {Cookie: "s"}, {Query: "q"}},
			Issuers: []extauthz.JWTIssuer{
				{Issuer: token.Issuer{Issuer: "a", Audiences: []string{"x"}, Keys: token.Keys{URL: "https://a.example/keys", MaxStale: 24 * time.Hour},
					Types: []string{"at+jwt", ""}, Require: map[string][]string{"use": {"access"}}, ClockSkew: 30 * time.Second},
					Claims: claims.Mapping{ID: []string{"email", "sub"}, RoleMap: mapped}},
				{Issuer: token.Issuer{Issuer: "b", Audiences: []string{"x", "y"}, Keys: token.Keys{File: "k.pem"}},
					Claims: claims.Mapping{ID: []string{"name"}, RoleMap: mapped, AllowedRoles: []string{}}},
			},
		}},
		{JWT: &extauthz.JWT{Strip: true, Issuers: []extauthz.JWTIssuer{{Issuer: token.Issuer{Issuer: "a", Audiences: []string{"x"},
			Keys: token.Keys{URL: "http://a.example/keys", AllowHTTP: true, MaxStale: time.Hour, Hosts: []string{"h"}}, ClockSkew: 30 * time.Second}}}}},
	}
	if got := c.Checks.Identity; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if w := c.Warnings; len(w) != 1 || w[0].Code != CodeInsecure || !strings.Contains(w[0].Message, "without encryption") {
		t.Errorf("warned of %+v", w)
	}
}
