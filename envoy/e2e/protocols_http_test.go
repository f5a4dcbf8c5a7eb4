package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// overHTTP makes Envoy ask over HTTP, of which the settings of a filter for gRPC
// have no part.
var overHTTP = []edit{
	{`                      grpc_service:
                        # One budget for the whole question, its retry included.
                        timeout: 10s
                        envoy_grpc: {cluster_name: edict, authority: edict}
                        # A question that never reached Edict is asked once more. An
                        # answer, and the lack of one in time, is final.
                        retry_policy: {retry_on: "connect-failure,refused-stream", num_retries: 1}
`, `                      allowed_headers: {patterns: [{safe_regex: {regex: ".*"}}]}
                      http_service:
                        server_uri: {uri: "http://edict", cluster: edict, timeout: 10s}
                        path_prefix: /v1/ext
                        authorization_response:
                          allowed_upstream_headers: {patterns: [{exact: x-edict-principal}, {exact: x-edict-roles}, {exact: x-edict-filter}]}
                          allowed_client_headers: {patterns: [{exact: www-authenticate}, {exact: content-type}]}
                          dynamic_metadata_from_headers: {patterns: [{prefix: x-edict-decision-}]}
`},
	{`            http2_protocol_options:
              # Finds a dead connection before a request does.
              connection_keepalive: {interval: 30s, timeout: 5s}
`, "            http_protocol_options: {}\n"},
	healthUnasked,
	// The headers that identity is in are removed where they did not decide.
	{`{regex: "^x-edict-[a-z0-9-]+$"}`, `{regex: "^x-(edict|user)-[a-z0-9-]+$"}`},
	{"(envoy.filters.http.ext_authz:", "(envoy.filters.http.ext_authz:x-edict-decision-"},
	// Custom verbs: Envoy refuses them itself unless told otherwise.
	{"                http2_protocol_options:\n                  max_concurrent_streams: 100\n",
		"                http_protocol_options: {allow_custom_methods: true}\n                http2_protocol_options:\n                  max_concurrent_streams: 100\n"},
}

// healthUnasked takes the health checks away, so that Envoy asks whatever Edict
// says of itself.
var healthUnasked = edit{`      health_checks:
        - timeout: 10s
          interval: 1s
          no_traffic_interval: 1s
          unhealthy_threshold: 2
          healthy_threshold: 1
          grpc_health_check: {service_name: envoy.service.auth.v3.Authorization}
`, ""}

// startHTTP starts a rig whose Envoy asks over HTTP. Who asks is in headers,
// since Envoy hands no claims on.
func startHTTP(t *testing.T, edits []edit, sets ...string) *rig {
	t.Helper()
	r := newRig(t, concat(patient, overHTTP, edits)...)
	r.startBackend(t)
	r.startEdictHTTP(t, sets...)
	r.startEnvoy(t)
	return r
}

func (r *rig) startEdictHTTP(t *testing.T, sets ...string) {
	t.Helper()
	args := []string{
		"--set", "listen.extAuthz=unix:" + r.path("grpc.sock"), "--set", "listen.extAuthzHTTP=" + r.authzAddress,
		"--set", "extAuthzHTTP={pathPrefix: /v1/ext, rawHeaders: true, decisionHeaders: true}",
		"--set", "identity.sources=[{headers: {id: x-user-id, roles: x-user-roles}}]",
		"--set", "body.limit=8192",
	}
	for _, s := range sets {
		args = append(args, "--set", s)
	}
	r.startEdict(t, args...)
}

func user(name, roles string, more ...string) http.Header {
	h := http.Header{"X-User-Id": {name}, "X-User-Roles": {roles}}
	for i := 0; i+1 < len(more); i += 2 {
		h.Add(more[i], more[i+1])
	}
	return h
}

// TestHTTPVariant lets Envoy ask over HTTP: what reaches Edict, what becomes of
// its answers, and that the rules are those of gRPC.
func TestHTTPVariant(t *testing.T) {
	needTools(t)
	r := startHTTP(t, soft)
	r.write(t, "envoy/routes/more.yaml", `
apiVersion: edict.dev/v1
routeMap:
  name: more
  routes:
    - name: anything
      match: {path: /anything}
      anonymous: true
      resource: {kind: service, id: expenses}
      action: health
    - name: body
      match: {methods: [POST], path: /expenses/body}
      resource: {kind: service, id: expenses, attributes: {amount: {expr: request.body.amount}}}
      action: whoami
    - {name: planned, match: {methods: [GET], path: /planned}, plan: true, resource: {kind: service}, action: whoami}
    - name: quiet
      match: {path: /quiet}
      anonymous: true
      resource:
        kind: service
        id: expenses
        attributes:
          nothing: {expr: "request.contextExtensions.size() + request.metadata.size() + request.routeMetadata.size() == 0 && request.source.address == '' && request.source.principal == '' ? 'yes' : request.headers['there-is-none']"}
      action: health
`)
	r.waitServing(t)
	eventually(t, "the routes of this test", func() error { return r.status(r.port, "/anything", http.StatusNotFound) })

	for _, tt := range []struct {
		name   string
		q      request
		status int // of the service where it is reached
		passes bool
		reason string
	}{
		{"allowed", request{path: "/expenses/emea/alice/1", header: user("alice", "employee")}, 200, true, "allow"},
		{"denied", request{path: "/expenses/apac/dave/7", header: user("alice", "employee")}, 403, false, "deny"},
		{"no identity", request{path: "/whoami"}, 401, false, "no_identity"},
		{"no route", request{path: "/nowhere", header: user("alice", "employee")}, 403, false, "no_route"},
		{"anonymous", request{path: "/healthz"}, 200, true, "allow"},
		{"custom verb, allowed", request{method: "FROB", path: "/anything"}, 404, true, "allow"},
		{"custom verb, of a route for others", request{method: "FROB", path: "/expenses/emea/alice/1", header: user("alice", "employee")}, 403, false, "no_route"},
		{"HEAD", request{method: "HEAD", path: "/expenses/apac/dave/7", header: user("alice", "employee")}, 403, false, "deny"},
		{"only what a request can say", request{path: "/quiet"}, 404, true, "allow"},
		{"body", request{method: "POST", path: "/expenses/body", header: user("alice", "employee"), body: padded(100)}, 404, true, "allow"},
		{"body of the limit's length", request{method: "POST", path: "/expenses", header: user("alice", "employee"), body: padded(bodyLimit)}, 413, false, "body_incomplete"},
		{"body that is no JSON", request{method: "POST", path: "/expenses", header: user("alice", "employee"), body: "{"}, 400, false, "body_malformed"},
		{"repeated identity", request{path: "/expenses/emea/alice/1", header: http.Header{"X-User-Id": {"alice", "root"}}}, 403, false, "bad_identity"},
		{"override of the method", request{path: "/expenses/emea/alice/1", header: user("alice", "employee", "X-Http-Method-Override", "DELETE")}, 400, false, "bad_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.mark(t)
			got := r.send(t, tt.q)
			if got.status != tt.status {
				t.Errorf("answered %d, want %d: %s", got.status, tt.status, got.body)
			}
			if passed := len(r.requests(t, before)) > 0; passed != tt.passes {
				t.Errorf("the service was reached: %v, want %v", passed, tt.passes)
			}
			if l := r.logged(t, got.header.Get("X-Request-Id")); l.Edict.Reason != tt.reason || l.Edict.Revision == "" {
				t.Errorf("the access log says %+v, want the reason %q", l.Edict, tt.reason)
			}
			if !tt.passes && tt.q.method != "HEAD" && (got.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got.body, fmt.Sprintf(`"status":%d`, tt.status))) {
				t.Errorf("the denial is %q, %v", got.body, got.header)
			}
			for name := range got.header {
				if strings.HasPrefix(strings.ToLower(name), "x-edict-") {
					t.Errorf("the client gets %s", name)
				}
			}
			if tt.status == http.StatusUnauthorized && got.header.Get("Www-Authenticate") == "" {
				t.Error("the client does not learn what to bring")
			}
		})
	}

	t.Run("the service is told who asks, and by nobody else", func(t *testing.T) {
		before := r.mark(t)
		r.send(t, request{path: "/expenses/emea/alice/1", header: user("alice", "employee", "X-Edict-Principal", "root", "X-Edict-Roles", "manager", "X-Edict-Roles", "root")})
		got := r.requests(t, before)
		if len(got) != 1 || !slices.Equal(got[0].values("x-edict-principal"), []string{"alice"}) || !slices.Equal(got[0].values("x-edict-roles"), []string{"employee"}) {
			t.Errorf("the service gets %+v", got)
		}
	})
	t.Run("the service is told what may be seen where that is planned, and by nobody else", func(t *testing.T) {
		for path, planned := range map[string]bool{"/planned?a=b": true, "/expenses/emea/alice/1": false} {
			before := r.mark(t)
			r.send(t, request{path: path, header: user("alice", "employee", "X-Edict-Filter", "a.b.c", "X-Edict-Filter", "d.e.f")})
			got := r.requests(t, before)
			if len(got) != 1 {
				t.Fatalf("%s: the service gets %+v", path, got)
			}
			filters := got[0].values("x-edict-filter")
			if planned != (len(filters) == 1) || planned && !strings.HasPrefix(filters[0], signedFilter) || !planned && len(filters) > 0 {
				t.Errorf("%s: the service gets the filters %q", path, filters)
			}
		}
	})
	t.Run("headers of a source that did not decide are removed", func(t *testing.T) {
		before := r.mark(t)
		r.send(t, request{path: "/healthz", header: http.Header{"X-User-Roles": {"manager"}, "X-Other": {"kept"}}})
		got := r.requests(t, before)
		if len(got) != 1 || len(got[0].values("x-user-roles")) > 0 || !slices.Equal(got[0].values("x-other"), []string{"kept"}) || !slices.Equal(got[0].values("x-edict-principal"), []string{"anonymous"}) {
			t.Errorf("the service gets %+v", got)
		}
	})
	t.Run("the path is judged as it was sent", func(t *testing.T) {
		for target, want := range map[string]int{
			"/expenses%2femea/alice/1": 400, "//expenses/emea/alice/1": 400, "/x/../expenses/emea/alice/1": 400, "/expenses/emea/alice/1;a": 400,
			"/expenses/emea/alice/%31": 200, "/v1/ext/expenses/emea/alice/1": 403, "/%zz": 400,
		} {
			raw := "GET " + target + " HTTP/1.1\r\nHost: expenses.example\r\nX-User-Id: alice\r\nX-User-Roles: employee\r\nConnection: close\r\n\r\n"
			if got := r.sendRaw(t, office, []byte(raw), 1); len(got) != 1 || got[0].status != want {
				t.Errorf("%s: answered %+v, want %d", target, got, want)
			}
		}
	})
}

// TestHTTPVariantNeverFailsOpen has an Envoy that lets requests pass when Edict
// fails, and finds no way to make it fail.
func TestHTTPVariantNeverFailsOpen(t *testing.T) {
	needTools(t)
	r := startHTTP(t, concat(soft, []edit{lettingPass}), "limits.messageBytes=4096")
	r.waitServing(t)
	r.denies(t, user("alice", "employee"), []wayIn{
		{"deny", "GET /expenses/apac/dave/7", nil, "", 403},
		{"no_identity", "GET /whoami", []string{"-x-user-id"}, "", 401},
		{"no_route", "GET /nowhere", nil, "", 403},
		{"bad_request", "GET /expenses%2femea/alice/1", nil, "", 400},
		{"bad escape", "GET /%zz", nil, "", 400},
		{"bad_identity", "GET /expenses/emea/alice/1", []string{"x-user-id: bob"}, "", 403},
		{"unmappable", "GET /totals", nil, "", 403},
		{"body_malformed", "POST /expenses", []string{"content-type: application/json"}, "{", 400},
		{"body_unsupported", "POST /expenses", []string{"content-type: text/plain"}, "{}", 415},
		{"too_large", "GET /expenses/emea/alice/1", []string{"x-large: " + strings.Repeat("a", 5000)}, "", 413},
		{"custom verb", "FROB /expenses/emea/alice/1", nil, "", 403},
	})
	t.Run("not_ready", func(t *testing.T) {
		r.edict.kill()
		r.startEdictHTTP(t, "policies.dir="+r.path("nothing-there"))
		r.waitReadiness(t, http.StatusServiceUnavailable)
		eventually(t, "a denial", func() error {
			got, err := r.try(request{path: "/healthz"})
			if err == nil && got.status != http.StatusForbidden {
				err = fmt.Errorf("answered %d", got.status)
			}
			return err
		})
		if got := r.send(t, request{path: "/healthz"}); got.status != http.StatusForbidden {
			t.Errorf("answered %d, want 403", got.status)
		}
	})
}
