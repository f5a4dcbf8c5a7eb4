package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The routes below are planned, but for two: the backend is told which rows it
// may show.
const (
	plannedRoutes = `apiVersion: edict.dev/v1
routeMap:
  name: planned
  hosts: ["*"]
  routes:
    - {name: list, match: {methods: [GET], path: "/planned/list/{of=**}"}, accept: [unnormalized-text], plan: true, resource: {kind: planned}, actions: [list, read]}
    - {name: search, match: {methods: [POST], path: /planned/search}, plan: true, resource: {kind: planned}, action: list}
    - {name: mine, match: {methods: [GET], path: /planned/mine}, plan: true, resource: {kind: planned, attributes: {status: {expr: request.query.status}}}, action: list}
    - name: rewritten
      match: {methods: [GET], path: /planned/rewritten}
      plan: true
      resource: {kind: planned}
      action: read
      onAllow: {setQuery: {"by you": {expr: "principal.id + '&='"}}, removeQuery: [debug]}
    - {name: nothing, match: {methods: [GET], path: /planned/nothing}, plan: true, resource: {kind: planned}, action: erase}
    - {name: broken, match: {methods: [GET], path: /planned/broken}, plan: true, resource: {kind: planned, attributes: {x: {expr: "double('NaN')"}}}, action: read}
    - {name: prefixed, match: {methods: [GET], path: /api/planned}, plan: true, resource: {kind: planned}, action: read}
    - {name: unsaid, match: {methods: [GET], path: /api/unsaid}, plan: true, resource: {kind: planned}, action: read}
    - {name: open, match: {methods: [GET], path: /planned/open}, anonymous: true, plan: true, resource: {kind: planned}, action: read}
    - {name: plain, match: {methods: [GET], path: /plain}, resource: {kind: planned, id: x}, action: read}
    - {name: public, match: {methods: [GET], path: /public}, public: true}
`
	plannedPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: planned
  version: default
  rules:
    - {name: read, actions: [read], effect: EFFECT_ALLOW, roles: ["*"]}
    - {name: list, actions: [list], effect: EFFECT_ALLOW, roles: [employee], condition: {match: {expr: R.attr.owner == P.id}}}
`
)

// rewrittenRoutes are Envoy's routes that change the path and the host after the
// check. The first says so, the second does not.
const rewrittenRoutes = `
                        - match: {prefix: /api/planned}
                          route: {cluster: expenses, prefix_rewrite: /v2/planned, host_rewrite_literal: backend.internal}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {disable_request_body_buffering: true, context_extensions: {edict.upstream.path: /v2/planned, edict.upstream.host: Backend.internal}}
                        - match: {prefix: /api/unsaid}
                          route: {cluster: expenses, prefix_rewrite: /v2/planned}
`

// TestFilters asks through Envoy for what is planned, and judges the token as a
// backend does: by the request that it gets.
func TestFilters(t *testing.T) {
	r := newRig(t, concat(patient, []edit{
		// A client's headers get as far as to Edict.
		{"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW"},
		{"{key_matcher: {prefix: x-edict-}}", "{key_matcher: {prefix: x-off-edict-}}"},
		{"strip_any_host_port: true", "strip_any_host_port: false"},
		{"validate_mutations: true ", "validate_mutations: false "}, // which lets parameters be set that have escapes
		{"                      routes:\n", "                      routes:" + rewrittenRoutes},
	})...)
	u := newUpstream(t)
	r.edit(t, "envoy/envoy.yaml", edit{fmt.Sprintf("port_value: %d}", r.service), fmt.Sprintf("port_value: %d}", u.port)})
	r.write(t, "envoy/routes/planned.yaml", plannedRoutes)
	r.write(t, "policies/planned.yaml", plannedPolicy)
	r.startEdict(t, "--set", "filter.maxBytes=8192")
	r.startEnvoy(t)
	r.waitServing(t)
	b := &backend{r: r, api: fmt.Sprintf("http://127.0.0.1:%d", r.api)}
	b.fetchKeys(t)

	// ask sends a request and gives what reached the service, nil if nothing did.
	ask := func(t *testing.T, line, as string, lines ...string) (int, *reached) {
		t.Helper()
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Host:") }) {
			lines = append(lines, "Host: rows.example")
		}
		if as != "" {
			lines = append(lines, "Authorization: Bearer "+r.issuer.token(as))
		}
		u.forget()
		got := r.sendRaw(t, office, []byte(strings.Join(append([]string{line + " HTTP/1.1", "Connection: close"}, lines...), "\r\n")+"\r\n\r\n"), 1)
		if len(got) != 1 {
			t.Fatalf("%d answers", len(got))
		}
		reached := u.all()
		if len(reached) == 0 {
			return got[0].status, nil
		}
		return got[0].status, reached[0]
	}
	const all = "KIND_ALWAYS_ALLOWED"
	_, other := ask(t, "GET /planned/open", "")
	stolen := other.values("x-edict-filter")[0]

	for _, tt := range []struct {
		name, line, as string
		lines          []string
		kind           string // of the filter
		unsaid         bool   // Envoy changes the path after the check, and does not say so
	}{
		{name: "rows of one's own", line: "GET /planned/list/", as: "alice", kind: "KIND_CONDITIONAL"},
		{name: "a query", line: "GET /planned/list/?b=2&a=%31&&c&a=/?", as: "alice", kind: "KIND_CONDITIONAL"},
		{name: "an empty query", line: "GET /planned/list/?", as: "alice", kind: "KIND_CONDITIONAL"},
		{name: "HEAD", line: "HEAD /planned/list/x", as: "alice", kind: "KIND_CONDITIONAL"},
		{name: "a path with escapes", line: "GET /planned/list/a%20b/%C3%A9", as: "alice", kind: "KIND_CONDITIONAL"},
		{name: "a path that Envoy normalises", line: "GET /planned/x/../list//a/./%7Eb?x=/../", as: "alice", kind: "KIND_CONDITIONAL"},
		{name: "a host with a port, in capitals", line: "GET /planned/list/", as: "alice", lines: []string{"Host: Rows.EXAMPLE:8443"}, kind: "KIND_CONDITIONAL"},
		{name: "an absolute target", line: "GET http://rows.example/planned/list/a?b", as: "alice", lines: []string{"Host: other.example"}, kind: "KIND_CONDITIONAL"},
		{name: "POST", line: "POST /planned/search", as: "alice", lines: []string{"Content-Length: 0"}, kind: "KIND_CONDITIONAL"},
		{name: "a query that Edict changes", line: "GET /planned/rewritten?z=1&debug=2&a&b=%20&a=+&%64ebug=3&by%20you=eve&by+you=eve&=x", as: "bob", kind: all},
		{name: "a query that Edict makes", line: "GET /planned/rewritten", as: "bob", kind: all},
		{name: "a query of which little is left", line: "GET /planned/rewritten?&debug&&", as: "bob", kind: all},
		{name: "nobody", line: "GET /planned/open", kind: all},
		{name: "a route of Envoy's that rewrites, and says so", line: "GET /api/planned?q", as: "bob", kind: all},
		{name: "a route of Envoy's that rewrites, and does not say so", line: "GET /api/unsaid?q", as: "bob", kind: all, unsaid: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, forged := range [][]string{nil, {"X-Edict-Filter: " + stolen}, {"x-edict-filter: a", "X-EDICT-FILTER: " + stolen}} {
				status, got := ask(t, tt.line, tt.as, append(forged, tt.lines...)...)
				if status != 200 || got == nil {
					t.Fatalf("answered %d", status)
				}
				claims, err := b.read(got)
				if tt.unsaid {
					if err == nil {
						t.Error("the token fits a path that Edict does not know")
					}
					continue
				}
				if err != nil {
					t.Fatalf("%v\n%+v", err, got)
				}
				filter, _ := claims["flt"].(map[string]any)
				if filter["kind"] != tt.kind || claims["knd"] != "planned" || claims["jti"] == "" || claims["sub"] != principalOf(tt.as) {
					t.Errorf("the token says %v", claims)
				}
			}
		})
	}
	t.Run("no filter but where it is planned", func(t *testing.T) {
		for _, line := range []string{"GET /plain", "GET /public"} {
			status, got := ask(t, line, "alice", "x-edict-filter: "+stolen, "X-Edict-Filter: "+stolen)
			if status != 200 || got == nil || len(got.values("x-edict-filter")) > 0 {
				t.Errorf("%s: answered %d, the service gets %+v", line, status, got)
			}
		}
	})
	t.Run("no other spelling", func(t *testing.T) {
		for _, line := range []string{"GET /plain", "GET /public", "GET /planned/list/"} {
			for _, name := range []string{"x_edict_filter", "X-Edict_Filter", "x_edict-filter"} {
				if status, got := ask(t, line, "alice", name+": "+stolen); status != 400 || got != nil {
					t.Errorf("%s with %s: answered %d, the service gets %+v", line, name, status, got)
				}
			}
		}
	})
	t.Run("nothing passes without a filter", func(t *testing.T) {
		for line, want := range map[string]int{"GET /planned/nothing": 403, "GET /planned/broken": 403, "GET /planned/mine": 403, "DELETE /planned/list/": 403} {
			if status, got := ask(t, line, "alice", "x-edict-filter: "+stolen); status != want || got != nil {
				t.Errorf("%s: answered %d, the service gets %+v", line, status, got)
			}
		}
		if status, got := ask(t, "GET /planned/list/", "carol"); status != 403 || got != nil {
			t.Errorf("of an auditor: answered %d, the service gets %+v", status, got)
		}
		if status, got := ask(t, "GET /planned/list/", ""); status != 401 || got != nil {
			t.Errorf("of nobody: answered %d, the service gets %+v", status, got)
		}
	})
	t.Run("a token longer than other headers", func(t *testing.T) {
		status, got := ask(t, "GET /planned/mine?status="+strings.Repeat("s", 4800), "alice")
		if status != 200 || got == nil {
			t.Fatalf("answered %d", status)
		}
		if claims, err := b.read(got); err != nil || claims["flt"] == nil || len(got.values("x-edict-filter")[0]) < 7000 {
			t.Errorf("the service gets %d bytes: %v", len(got.values("x-edict-filter")[0]), err)
		}
	})
	t.Run("a filter that is fetched", func(t *testing.T) {
		status, got := ask(t, "GET /planned/mine?status="+strings.Repeat("s", 7000), "alice")
		if status != 200 || got == nil {
			t.Fatalf("answered %d", status)
		}
		claims, err := b.read(got)
		if err != nil {
			t.Fatal(err)
		}
		handle, _ := claims["hdl"].(string)
		if handle == "" || claims["flt"] != nil {
			t.Fatalf("the token says %v", claims)
		}
		status, body := b.take(t, handle)
		if status != 200 || !strings.Contains(body, strings.Repeat("s", 7000)) || !strings.Contains(body, "request.resource.attr.owner") || !strings.HasPrefix(body, `{"flt":{"kind":"KIND_CONDITIONAL","condition":{`) {
			t.Errorf("fetched %d %s", status, body)
		}
		if status, body := b.take(t, handle); status != 404 || strings.Contains(body, "flt") {
			t.Errorf("fetched again: %d %s", status, body)
		}
	})
}

func principalOf(as string) string {
	if as == "" {
		return "anonymous"
	}
	return as
}

// A backend reads tokens, by rules that are written out a second time here.
type backend struct {
	r    *rig
	api  string
	keys map[string]ed25519.PublicKey // by kid
}

func (b *backend) fetchKeys(t *testing.T) {
	t.Helper()
	resp, err := http.Get(b.api + "/.well-known/edict/filter-keys.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var set struct {
		Keys []struct{ Kty, Crv, X, Kid string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s %v", resp.Status, err)
	}
	b.keys = map[string]ed25519.PublicKey{}
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if k.Kty != "OKP" || k.Crv != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			t.Fatalf("the key is %+v", k)
		}
		b.keys[k.Kid] = x
	}
}

// take fetches a filter.
func (b *backend) take(t *testing.T, handle string) (int, string) {
	t.Helper()
	in, _ := json.Marshal(map[string]string{"handle": handle})
	resp, err := http.Post(b.api+"/edict/v1/filters/take", "application/json", bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// read gives what the token of a request says, if it is Edict's and for this
// request.
func (b *backend) read(q *reached) (map[string]any, error) {
	given := q.values("x-edict-filter")
	if len(given) != 1 {
		return nil, fmt.Errorf("there are %d tokens", len(given))
	}
	parts := strings.Split(given[0], ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%q is no token", given[0])
	}
	var decoded [3][]byte
	for i, p := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, err
		}
	}
	var head map[string]string
	var claims map[string]any
	if err := json.Unmarshal(decoded[0], &head); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(decoded[1], &claims); err != nil {
		return nil, err
	}
	if head["alg"] != "EdDSA" || head["typ"] != "edict-filter+jwt" || b.keys[head["kid"]] == nil || !ed25519.Verify(b.keys[head["kid"]], []byte(parts[0]+"."+parts[1]), decoded[2]) {
		return nil, fmt.Errorf("the signature is not Edict's: %v", head)
	}
	want := map[string]any{"iss": "edict", "mth": q.Method, "pth": q.Path, "hst": strings.ToLower(q.values("host")[0]), "sub": q.values("x-edict-principal")[0]}
	if q.Query != "" {
		hash := sha256.Sum256([]byte(q.Query))
		want["qsh"] = base64.RawURLEncoding.EncodeToString(hash[:])
	} else if claims["qsh"] != nil {
		return nil, fmt.Errorf("the token is for a query")
	}
	for name, v := range want {
		if claims[name] != v {
			return nil, fmt.Errorf("%s is %v, and not %v", name, claims[name], v)
		}
	}
	return claims, nil
}
