package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// A keyServer publishes the keys of the tests' issuer.
type keyServer struct {
	*httptest.Server
	mu   sync.Mutex
	keys []byte
}

func serveKeys(t *testing.T, keys []byte) *keyServer {
	t.Helper()
	s := &keyServer{keys: keys}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = w.Write(s.keys)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) publish(keys []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

// withoutFilter gives a bootstrap without one of its HTTP filters: what stands
// between two of its headings.
func withoutFilter(t *testing.T, bootstrap, heading, next string) string {
	t.Helper()
	before, rest, ok := strings.Cut(bootstrap, heading)
	_, after, okToo := strings.Cut(rest, next)
	if !ok || !okToo {
		t.Fatalf("the bootstrap has no %q followed by %q", heading, next)
	}
	return before + next + after
}

// verifies lays out a rig whose Envoy knows nothing of tokens, as in Istio, and
// whose Edict takes them from headers and the query, out of which it takes them
// away, and from a cookie.
func verifies(t *testing.T, keys string) *rig {
	t.Helper()
	r := newRig(t, append([]edit{{"^x-edict-[a-z0-9-]+$", "^(x-edict-[a-z0-9-]+|authorization|x-token)$"}}, patient...)...)
	r.write(t, "envoy/envoy.yaml", withoutFilter(t, readFile(t, r.path("envoy/envoy.yaml")), "# ---- 1. Who asks", "# ---- 2. May they"))
	issuers := fmt.Sprintf(`
        issuers:
          - issuer: https://idp.edict.example/
            audiences: expenses
            keys: {url: %q, allowHTTP: true, refresh: 1s, maxStale: 1h}
            algorithms: [ES256]
            clockSkew: 5s
`, keys)
	r.write(t, "envoy/edict.yaml", `
policies: {dir: policies}
routes: {dir: envoy/routes}
identity:
  sources:
    - name: api
      jwt:
        from: [{header: authorization, prefix: Bearer}, {header: x-token}, {query: access_token}]
        forward: false`+issuers+`
    - name: web
      jwt:
        from: [{cookie: session}]`+issuers)
	return r
}

// TestTokensThatEdictVerifies sends tokens in every place, good ones and bad
// ones, through an Envoy that does not look at them.
func TestTokensThatEdictVerifies(t *testing.T) {
	needTools(t)
	keys := serveKeys(t, nil)
	r := verifies(t, keys.URL+"/keys")
	keys.publish(r.issuer.keySet())
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)

	good, other := r.issuer.token("alice"), newIssuer(t)
	signed := func(changes map[string]any) string { return r.issuer.sign(claims("alice", changes)) }
	header := func(lines ...string) http.Header {
		h := http.Header{}
		for _, l := range lines {
			name, v, _ := strings.Cut(l, ": ")
			h.Add(name, v)
		}
		return h
	}
	bearer := func(token string) http.Header { return header("Authorization: Bearer " + token) }
	const path = "/expenses/emea/alice/1"
	for _, test := range []struct {
		name   string
		path   string // "": path
		header http.Header
		status int
		query  string // that the service gets
		cookie string
	}{
		{name: "header", header: bearer(good), status: 200},
		{name: "header, scheme in lower case", header: header("Authorization: bearer " + good), status: 200},
		{name: "another header", header: header("X-Token: " + good), status: 200},
		{name: "cookie", header: header("Cookie: a=b; session=" + good), status: 200, cookie: "a=b; session=" + good},
		{name: "query", path: path + "?access_token=" + good, status: 200},
		{name: "query among others", path: path + "?a=1&access_token=" + good + "&b=2", status: 200, query: "a=1&b=2"},
		{name: "query without a token stays as it is", path: path + "?a=%31&b=2&c", header: bearer(good), status: 200, query: "a=%31&b=2&c"},
		{name: "no token", status: 401},
		{name: "a token in another parameter", path: path + "?token=" + good, status: 401},
		{name: "a parameter with an encoded name", path: path + "?%61ccess_token=" + good + "&c", status: 200, query: "c="},
		{name: "two places", path: path + "?access_token=" + good, header: bearer(good), status: 400},
		{name: "header and cookie", header: header("Authorization: Bearer "+good, "Cookie: session="+good), status: 400},
		{name: "two headers", header: header("Authorization: Bearer "+good, "Authorization: Bearer "+good), status: 400},
		{name: "two cookies", header: header("Cookie: session=" + good + "; session=" + good), status: 400},
		{name: "a forged token", header: bearer(other.token("alice")), status: 401},
		{name: "a forged cookie", header: header("Cookie: session=" + other.token("alice")), status: 401},
		{name: "alg none", header: bearer(unsigned("alice")), status: 401},
		{name: "the public key as a secret", header: bearer(r.issuer.confused("alice")), status: 401},
		{name: "another kid", header: bearer(r.issuer.signWith(map[string]any{"alg": "ES256", "kid": "../demo"}, claims("alice", nil))), status: 401},
		{name: "crit", header: bearer(r.issuer.signWith(map[string]any{"alg": "ES256", "kid": keyID, "crit": []string{"exp"}}, claims("alice", nil))), status: 401},
		{name: "expired", header: bearer(signed(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})), status: 401},
		{name: "not yet valid", header: bearer(signed(map[string]any{"nbf": time.Now().Add(time.Minute).Unix()})), status: 401},
		{name: "no exp", header: bearer(signed(map[string]any{"exp": nil})), status: 401},
		{name: "exp as text", header: bearer(signed(map[string]any{"exp": "never"})), status: 401},
		{name: "another audience", header: bearer(signed(map[string]any{"aud": "shop"})), status: 401},
		{name: "another issuer", header: bearer(signed(map[string]any{"iss": "https://evil.example/"})), status: 401},
		{name: "roles as text", header: bearer(signed(map[string]any{"roles": "employee"})), status: 403},
		{name: "too large", header: bearer(signed(map[string]any{"x": strings.Repeat("x", 20_000)})), status: 400},
		{name: "a changed letter", header: bearer(strings.Replace(good, good[len(good)-2:], "AA", 1)), status: 401},
		{name: "a dot behind", header: bearer(good + "."), status: 401},
		{name: "padding", header: bearer(good + "=="), status: 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := request{path: test.path, header: test.header}
			if q.path == "" {
				q.path = path
			}
			m := r.mark(t)
			got := r.send(t, q)
			if got.status != test.status {
				t.Fatalf("answered %d, want %d: %s", got.status, test.status, got.body)
			}
			challenge := got.header.Get("Www-Authenticate")
			if invalid := strings.Contains(challenge, `error="invalid_token"`); test.status == 401 && invalid != (test.header != nil) {
				t.Errorf("the challenge is %q", challenge)
			}
			entries := r.since(t, m)
			if test.status != 200 {
				if len(entries) > 0 {
					t.Errorf("the service got %+v", entries[0])
				}
				return
			}
			if len(entries) == 0 || entries[0].Request == nil {
				t.Fatal("the service got nothing")
			}
			seen := entries[0].Request
			if who := seen.values("x-edict-principal"); len(who) != 1 || who[0] != "alice" {
				t.Errorf("the service is told of %q", who)
			}
			if a, x := seen.values("authorization"), seen.values("x-token"); len(a)+len(x) > 0 {
				t.Errorf("the service got the token: %q %q", a, x)
			}
			if seen.Query != test.query {
				t.Errorf("the service got the query %q, want %q", seen.Query, test.query)
			}
			if c := strings.Join(seen.values("cookie"), "; "); c != test.cookie {
				t.Errorf("the service got the cookie %q, want %q", c, test.cookie)
			}
		})
	}

	t.Run("rotation", func(t *testing.T) {
		next := newIssuer(t)
		rotated := func() request {
			return request{path: path, header: bearer(next.signWith(map[string]any{"alg": "ES256", "kid": "next"}, claims("alice", nil)))}
		}
		old := request{path: path, header: bearer(good)}
		wait := func(what string, q request, status int) {
			eventually(t, what, func() error {
				if got := r.send(t, q); got.status != status {
					return fmt.Errorf("answered %d", got.status)
				}
				return nil
			})
		}
		if got := r.send(t, rotated()); got.status != 401 {
			t.Errorf("before: answered %d", got.status)
		}
		before, after := string(r.issuer.keySet()), strings.Replace(string(next.keySet()), `"`+keyID+`"`, `"next"`, 1)
		keys.publish([]byte(strings.TrimSuffix(before, "]}") + "," + strings.TrimPrefix(after, `{"keys":[`)))
		wait("a token of the new key", rotated(), 200)
		if got := r.send(t, old); got.status != 200 {
			t.Errorf("the old key, still published: answered %d", got.status)
		}
		keys.publish([]byte(after))
		wait("no more tokens of the old key", old, 401)
		if got := r.send(t, rotated()); got.status != 200 {
			t.Errorf("the new key: answered %d", got.status)
		}
		// With the issuer gone, what is known of its keys stays.
		keys.Close()
		eventually(t, "Edict that says so", func() error {
			if !strings.Contains(r.edict.log(), "could not be renewed") {
				return fmt.Errorf("it does not")
			}
			return nil
		})
		if got := r.send(t, rotated()); got.status != 200 {
			t.Errorf("with the issuer gone: answered %d", got.status)
		}
		// An Edict that never got the keys says that it is not the token's fault.
		r.edict.kill()
		r.startEdict(t)
		r.waitServing(t)
		if got := r.send(t, rotated()); got.status != 503 {
			t.Errorf("without keys: answered %d, want 503", got.status)
		}
		if got := r.send(t, request{path: path}); got.status != 401 {
			t.Errorf("without keys and without a token: answered %d, want 401", got.status)
		}
		if state, err := r.readiness(); err != nil || state.code != 200 {
			t.Errorf("/readyz: %+v, %v", state, err)
		}
	})
	t.Run("required keys", func(t *testing.T) {
		r.edict.kill()
		r.startEdict(t, "--set", "identity.requireKeys=true")
		if state := r.waitReadiness(t, 503); state.Reason != "keys of issuers are missing" && state.Reason != "no policies are loaded" {
			t.Errorf("/readyz: %+v", state)
		}
	})
}

// TestSeveralVerifiers lets jwt_authn verify the tokens of two providers, and
// another filter leave claims in a namespace of its own.
func TestSeveralVerifiers(t *testing.T) {
	partner := newIssuer(t)
	r := newRig(t, append([]edit{
		{"\n                      rules:\n", fmt.Sprintf(`
                        partner:
                          issuer: https://partner.example/
                          audiences: [expenses]
                          local_jwks: {inline_string: %q}
                          from_headers: [{name: X-Partner-Token}]
                          payload_in_metadata: partner
                          failed_status_in_metadata: partner_why
                      rules:
`, partner.keySet())},
		{"- provider_name: demo\n", "- provider_name: demo\n                                - provider_name: partner\n"},
		{"                  # ---- 2. May they", `                  - name: envoy.filters.http.set_metadata
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
                      metadata:
                        - metadata_namespace: edge.claims
                          value: {who: {name: carol, scope: "auditor reader"}}
                  # ---- 2. May they`},
		{"metadata_context_namespaces: [envoy.filters.http.jwt_authn]", "metadata_context_namespaces: [envoy.filters.http.jwt_authn, edge.claims]"},
	}, patient...)...)
	r.write(t, "envoy/edict.yaml", `
policies: {dir: policies}
routes: {dir: envoy/routes}
identity:
  sources:
    - jwtMetadata: {key: jwt}
    - name: partner
      jwtMetadata:
        key: partner
        failureKey: partner_why
        id: [email, login]
        roles: [realm_access.roles, {claim: groups, stripPrefix: /expenses/}]
        roleMap: {staff: employee}
        allowedRoles: [employee, manager]
        attributes: {regions: {claim: "https://partner.example/regions", type: strings, required: true}}
    - name: edge
      jwtMetadata: {namespace: edge.claims, key: who, id: name, roles: scope}
`)
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	foreign := func(changes map[string]any) http.Header {
		c := map[string]any{
			"iss": "https://partner.example/", "sub": nil, "login": "alice", "roles": nil, "regions": nil,
			"realm_access": map[string]any{"roles": []string{"offline_access"}}, "groups": []string{"/expenses/staff", "/other/auditor"},
			"https://partner.example/regions": []string{"emea"},
		}
		for name, v := range changes {
			c[name] = v
		}
		return http.Header{"X-Partner-Token": {partner.sign(claims("alice", c))}}
	}
	for _, test := range []struct {
		name      string
		q         request
		status    int
		principal string
		roles     string
	}{
		{"the first provider", request{as: "alice", path: "/expenses/emea/alice/1"}, 200, "alice", "employee"},
		{"the second provider", request{header: foreign(nil), path: "/expenses/emea/alice/1"}, 200, "alice", "employee"},
		{"neither: the other namespace", request{path: "/expenses/apac/dave/7"}, 200, "carol", "auditor,reader"},
		{"roles in the wrong shape", request{header: foreign(map[string]any{"groups": "/expenses/staff"}), path: "/expenses/emea/alice/1"}, 403, "", ""},
		{"an attribute in the wrong shape", request{header: foreign(map[string]any{"https://partner.example/regions": "emea"}), path: "/expenses/emea/alice/1"}, 403, "", ""},
		{"a required attribute that is not there", request{header: foreign(map[string]any{"https://partner.example/regions": nil}), path: "/expenses/emea/alice/1"}, 403, "", ""},
		{"a role that is not allowed", request{header: foreign(map[string]any{"groups": []string{"/expenses/auditor"}}), path: "/expenses/emea/alice/1"}, 403, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := r.mark(t)
			got := r.send(t, test.q)
			if got.status != test.status {
				t.Fatalf("answered %d, want %d: %s", got.status, test.status, got.body)
			}
			if test.status != 200 {
				return
			}
			entries := r.since(t, m)
			if len(entries) == 0 || entries[0].Request == nil {
				t.Fatal("the service got nothing")
			}
			if who, roles := entries[0].Request.values("x-edict-principal"), entries[0].Request.values("x-edict-roles"); strings.Join(who, "|") != test.principal || strings.Join(roles, "|") != test.roles {
				t.Errorf("the service is told of %q with %q, want %q with %q", who, roles, test.principal, test.roles)
			}
		})
	}
}
