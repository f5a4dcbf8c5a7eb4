package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The routes below and their policy use what the demo's do not: conditions on
// headers and query, upgrades, several checks, a public route, pins.
const (
	mappedRoutes = `apiVersion: edict.dev/v1
routeMap:
  name: mapped
  hosts: ["*"]
  defaults: {resource: {kind: mapped}}
  routes:
    - {name: chat, match: {methods: [GET], path: /chat, upgrade: websocket}, resource: {id: chat}, action: connect}
    - {name: chat-page, match: {methods: [GET], path: /chat}, resource: {id: chat}, action: read}
    - {name: page, match: {methods: [GET], path: /page}, resource: {id: page}, action: read}
    - {name: v2, match: {methods: [GET], path: /page, headers: {x-version: {regex: "2(\\.[0-9]+)?"}}}, resource: {id: page}, action: read}
    - {name: dry, match: {methods: [GET], path: /page, query: {dry-run: {present: true}}}, resource: {id: page}, action: read}
    - name: transfer
      match: {methods: [POST], path: "/transfer/{from}/{to}"}
      checks:
        - {resource: {id: {expr: path.from}, attributes: {owner: {expr: path.from}}}, action: debit}
        - {resource: {id: {expr: path.to}, attributes: {owner: {expr: path.to}}}, action: credit}
    - {name: logo, match: {methods: [GET], path: /logo}, public: true}
    - name: preflight
      match:
        methods: [OPTIONS]
        path: /**
        headers: {origin: {present: true}, access-control-request-method: {present: true}}
      public: true
    - {name: area, match: {methods: [GET], path: /area/**}, resource: {id: area}, action: read}
    - {name: area-one, match: {methods: [GET], path: /area/one}, resource: {id: area}, action: write}
`
	mappedPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: mapped
  version: default
  rules:
    - {name: read, actions: [read], effect: EFFECT_ALLOW, roles: ["*"]}
    - {name: connect, actions: [connect], effect: EFFECT_ALLOW, roles: [manager]}
    - {name: debit, actions: [debit], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.owner == P.id}}}
    - {name: credit, actions: [credit], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.owner != "closed"}}}
`
	mappedScoped = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: mapped
  version: default
  scope: acme
  rules:
    - {name: acme, actions: [read], effect: EFFECT_DENY, roles: ["*"]}
`
)

// pinnedRoutes are Envoy's routes with context extensions, before all others.
// The second sends half a name, the third one that Edict does not know.
var pinnedRoutes = func() string {
	var b strings.Builder
	for _, r := range [][2]string{
		{"/area/one", "edict.route: mapped/area"},
		{"/area/scoped", "edict.resource.scope: acme"},
		{"/area/half", "edict.route: area"},
		{"/area/misspelt", "edict.resource.scopes: acme"},
		{"/area/other", "edict.route: mapped/page"},
	} {
		fmt.Fprintf(&b, `
                        - match: {path: %s}
                          route: {cluster: expenses}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {disable_request_body_buffering: true, context_extensions: {%s}}`, r[0], r[1])
	}
	return b.String()
}()

// TestRoutes asks through Envoy for what route maps can say.
func TestRoutes(t *testing.T) {
	r := newRig(t, concat(patient, []edit{
		{"                      routes:\n", "                      routes:" + pinnedRoutes + "\n"},
		{"                stat_prefix: public\n", "                stat_prefix: public\n                upgrade_configs: [{upgrade_type: websocket}]\n"},
		{"                  max_concurrent_streams: 100\n", "                  max_concurrent_streams: 100\n                  allow_connect: true\n"},
	})...)
	u := newUpstream(t)
	r.edit(t, "envoy/envoy.yaml", edit{fmt.Sprintf("port_value: %d}", r.service), fmt.Sprintf("port_value: %d}", u.port)})
	r.write(t, "envoy/routes/mapped.yaml", mappedRoutes)
	r.write(t, "policies/mapped.yaml", mappedPolicy)
	r.write(t, "policies/mapped-acme.yaml", mappedScoped)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)

	token := func(who string) string { return "Authorization: Bearer " + r.issuer.token(who) }
	const handshake = "Connection: keep-alive, Upgrade"
	for _, tt := range []struct {
		name   string
		line   string
		lines  []string
		as     string
		status int
		route  string
		reason string
		rule   string
	}{
		{name: "a handshake", line: "GET /chat", as: "bob", lines: []string{handshake, "Upgrade: WebSocket"}, status: 101, route: "mapped/chat", reason: "allow", rule: "connect"},
		{name: "a handshake of somebody who may only read", line: "GET /chat", as: "alice", lines: []string{handshake, "Upgrade: websocket"}, status: 403, route: "mapped/chat", reason: "deny"},
		{name: "a handshake where none is meant", line: "GET /page", as: "bob", lines: []string{handshake, "Upgrade: websocket"}, status: 403, reason: "no_route"},
		{name: "a plain request beside a handshake", line: "GET /chat", as: "alice", status: 200, route: "mapped/chat-page", reason: "allow", rule: "read"},
		// Envoy drops what is no upgrade, so that Edict and the upstream see a
		// plain request.
		{name: "half a handshake", line: "GET /chat", as: "alice", lines: []string{"Upgrade: websocket"}, status: 200, route: "mapped/chat-page", reason: "allow", rule: "read"},
		{name: "h2c", line: "GET /chat", as: "alice", lines: []string{handshake, "Upgrade: h2c"}, status: 200, route: "mapped/chat-page", reason: "allow", rule: "read"},

		{name: "a header", line: "GET /page", as: "alice", lines: []string{"X-Version: 2.1"}, status: 200, route: "mapped/v2", reason: "allow", rule: "read"},
		{name: "another value", line: "GET /page", as: "alice", lines: []string{"X-Version: 2.1a"}, status: 200, route: "mapped/page", reason: "allow", rule: "read"},
		{name: "a header twice", line: "GET /page", as: "alice", lines: []string{"X-Version: 2", "X-Version: 1"}, status: 400, reason: "bad_request"},
		{name: "a parameter", line: "GET /page?dry%2Drun=1", as: "alice", status: 200, route: "mapped/dry", reason: "allow", rule: "read"},
		{name: "a parameter twice", line: "GET /page?dry-run&dry-run", as: "alice", status: 400, reason: "bad_request"},

		{name: "both accounts", line: "POST /transfer/alice/bob", as: "alice", status: 200, route: "mapped/transfer", reason: "allow", rule: "debit"},
		{name: "another's account", line: "POST /transfer/bob/alice", as: "alice", status: 403, route: "mapped/transfer", reason: "deny"},
		{name: "to an account that is closed", line: "POST /transfer/alice/closed", as: "alice", status: 403, route: "mapped/transfer", reason: "deny"},
		{name: "accounts of nobody", line: "POST /transfer/alice/bob", status: 401, route: "mapped/transfer", reason: "no_identity"},

		{name: "public", line: "GET /logo", status: 200, route: "mapped/logo", reason: "public"},
		{name: "public, with a bad token", line: "GET /logo", lines: []string{"Authorization: Bearer x.y.z"}, status: 200, route: "mapped/logo", reason: "public"},
		{name: "public, with headers that claim something", line: "GET /logo", lines: []string{"x-edict-principal: root", "X-Edict-Roles: admin"}, status: 200, route: "mapped/logo", reason: "public"},
		{name: "a preflight", line: "OPTIONS /page", lines: []string{"Origin: https://a.example", "Access-Control-Request-Method: PUT"}, status: 200, route: "mapped/preflight", reason: "public"},
		{name: "OPTIONS that is none", line: "OPTIONS /page", lines: []string{"Origin: https://a.example"}, status: 403, reason: "no_route"},

		{name: "not pinned", line: "GET /area/two", as: "alice", status: 200, route: "mapped/area", reason: "allow", rule: "read"},
		{name: "a pinned route in place of a better one", line: "GET /area/one", as: "alice", status: 200, route: "mapped/area", reason: "allow", rule: "read"},
		{name: "a pinned scope", line: "GET /area/scoped", as: "alice", status: 403, route: "mapped/area", reason: "deny", rule: "acme"},
		{name: "half a name", line: "GET /area/half", as: "alice", status: 403, reason: "bad_pin"},
		{name: "a misspelt pin", line: "GET /area/misspelt", as: "alice", status: 403, reason: "bad_pin"},
		{name: "a pinned route that does not match", line: "GET /area/other", as: "alice", status: 403, reason: "bad_pin"},
		{name: "pins that a client sends", line: "GET /area/two", as: "alice", lines: []string{"edict.route: mapped/area-one", "edict.resource.scope: acme"}, status: 200, route: "mapped/area", reason: "allow", rule: "read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := append([]string{tt.line + " HTTP/1.1", "Host: routes.example"}, tt.lines...)
			if tt.as != "" {
				lines = append(lines, token(tt.as))
			}
			if !slices.Contains(tt.lines, handshake) {
				lines = append(lines, "Connection: close")
			}
			u.forget()
			conn := r.connect(t, office)
			defer conn.Close()
			if _, err := conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil) // one answer, 101 too
			if err != nil {
				t.Fatal(err)
			}
			conn.Close() // Envoy writes the log of a connection that was taken over when it ends
			if resp.StatusCode != tt.status {
				t.Errorf("answered %d, want %d", resp.StatusCode, tt.status)
			}
			got := u.all()
			if passed := tt.status < 400; len(got) > 0 != passed {
				t.Errorf("the service got %d requests", len(got))
			}
			for _, q := range got {
				if identity := q.values("x-edict-principal"); !slices.Equal(identity, nonEmpty(tt.as)) {
					t.Errorf("the service is told of %q, want %q", identity, tt.as)
				}
				if upgrade := q.values("upgrade"); (len(upgrade) > 0) != (tt.status == 101) {
					t.Errorf("the service is asked to change to %q", upgrade)
				}
			}
			log := r.logged(t, resp.Header.Get("X-Request-Id"))
			if log.Edict.Route != tt.route || log.Edict.Reason != tt.reason || log.Edict.Rule != tt.rule {
				t.Errorf("the access log has %q by the route %q and the rule %q, want %q by %q and %q",
					log.Edict.Reason, log.Edict.Route, log.Edict.Rule, tt.reason, tt.route, tt.rule)
			}
		})
	}
	for _, tt := range []struct {
		name, as, path string
		status         int
		route          string
	}{
		{"over HTTP/2", "bob", "/chat", 200, "mapped/chat"},
		{"over HTTP/2, of somebody who may only read", "alice", "/chat", 403, "mapped/chat"},
		{"over HTTP/2, where none is meant", "bob", "/page", 403, ""},
	} {
		t.Run("a handshake "+tt.name, func(t *testing.T) {
			u.forget()
			got := r.sendRaw2(t, office, [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", tt.path},
				{":authority", "routes.example"}, {"authorization", "Bearer " + r.issuer.token(tt.as)}}, "x")
			if got.status != tt.status {
				t.Errorf("answered %d, want %d", got.status, tt.status)
			}
			reached := u.all()
			if len(reached) > 0 != (tt.status == 200) {
				t.Errorf("the service got %d requests", len(reached))
			}
			for _, q := range reached {
				if q.Method != "GET" || !slices.Equal(q.values("upgrade"), []string{"websocket"}) {
					t.Errorf("the service got %s with the upgrade %q", q.Method, q.values("upgrade"))
				}
			}
			if log := r.logged(t, got.header.Get("X-Request-Id")); log.Edict.Route != tt.route {
				t.Errorf("the access log has the route %q, want %q", log.Edict.Route, tt.route)
			}
		})
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
