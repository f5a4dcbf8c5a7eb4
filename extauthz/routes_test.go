package extauthz

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/engine"
	"edict/engine/folder"
	"edict/extauthz/routemap"
)

// The accounts of a bank: whoever owns one may debit it, everybody may credit
// one that is open.
const (
	accountPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: account
  version: default
  rules:
    - name: owner-debits
      actions: [debit]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.owner == P.id && R.attr.tenant == "acme"}}
    - name: open-credits
      actions: [credit]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.open}}
    - name: reads
      actions: [read]
      effect: EFFECT_ALLOW
      roles: [user]
---
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: account
  version: default
  scope: acme
  rules:
    - name: acme-denies
      actions: [read]
      effect: EFFECT_DENY
      roles: [user]
`
	accountRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: bank
  defaults:
    resource:
      kind: account
      attributes:
        tenant: acme
        open: {expr: '!(request.path.contains("closed"))'}
  routes:
    - name: transfer
      match: {methods: [POST], path: "/transfer/{from}/{owner}/{to}"}
      checks:
        - {resource: {id: {expr: path.from}, attributes: {owner: {expr: path.owner}}}, action: debit}
        - {resource: {id: {expr: path.to}}, action: credit}
    - name: batch
      match: {methods: [POST], path: /batch}
      checks:
        - {resource: {id: all}, action: read}
        - forEach: {expr: request.body.items}
          resource: {id: {expr: item.id}, attributes: {owner: {expr: item.owner}}}
          actions: [debit, {expr: item.also}]
    - name: read
      match: {methods: [GET], path: "/accounts/{id}"}
      resource: {id: {expr: path.id}}
      action: read
    - name: all
      match: {methods: [GET], path: /accounts/**}
      resource: {id: all}
      action: read
    - name: other-tenant
      match: {path: /other}
      resource: {id: x, attributes: {tenant: other, owner: {expr: principal.id}}}
      action: debit
    - name: logo
      match: {methods: [GET], path: /logo}
      public: true
`
)

func bank(t testing.TB) *Server {
	t.Helper()
	s := new(Server)
	s.Use(compile(t, jwtOnly, accountPolicy, accountRoutes))
	return s
}

// items is a body with a list of accounts, each owner:also.
func items(owners ...string) string {
	var list []string
	for i, o := range owners {
		owner, also, _ := strings.Cut(o, ":")
		list = append(list, fmt.Sprintf(`{"id":"a%d","owner":%q,"also":%q}`, i, owner, also))
	}
	return `{"items":[` + strings.Join(list, ",") + `]}`
}

func batch(body string) testRequest {
	return post("/batch", body, fmt.Sprintf("content-length: %d", len(body))).as("alice", "user")
}

// A request for several resources passes if all are allowed, and the one that
// is denied first is what the answer, the record and the explanation tell of.
func TestChecks(t *testing.T) {
	fifty, more := make([]string, 50), make([]string, 51)
	for i := range more {
		more[i] = "alice:read"
	}
	copy(fifty, more)
	for _, tc := range []struct {
		name     string
		request  testRequest
		reason   string
		detail   string
		rule     string // of the answer
		resource string // that settles
		asked    int
	}{
		{"both allowed", testRequest{method: "POST", path: "/transfer/1/alice/2"}, "allow", "", "owner-debits", "1", 2},
		{"the first denied", testRequest{method: "POST", path: "/transfer/1/bob/2"}, "deny", "", "", "1", 2},
		{"the second denied", testRequest{method: "POST", path: "/transfer/1/alice/closed"}, "deny", "", "", "closed", 2},
		{"both denied", testRequest{method: "POST", path: "/transfer/1/bob/closed"}, "deny", "", "", "1", 2},
		{"a batch", batch(items("alice:read", "alice:credit")), "allow", "", "reads", "all", 3},
		{"the last of a batch denied", batch(items("alice:read", "alice:read", "bob:read")), "deny", "", "", "a2", 4},
		{"another action of one of a batch denied", batch(items("alice:read", "alice:write", "alice:read")), "deny", "", "", "a1", 4},
		{"as many items as may be", batch(items(fifty...)), "allow", "", "reads", "all", 51},
		{"more items than may be", batch(items(more...)), "bad_request", "too_many_items", "", "", 0},
		{"no items", batch(items()), "bad_request", "no_items", "", "", 0},
		{"no list", batch(`{"items":{"id":"1"}}`), "unmappable", "", "", "", 0},
		{"items that are no objects", batch(`{"items":[1]}`), "unmappable", "", "", "", 0},
		{"an item without an action", batch(items("alice:")), "unmappable", "", "", "", 0},
		{"not there", batch(`{}`), "unmappable", "", "", "", 0},
		{"the attributes of the route outweigh the defaults", get("/other"), "deny", "", "", "x", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := jwtOnly
			var record Record
			o.Observe = func(r *Record) { record = *r }
			s := new(Server)
			s.Use(compile(t, o, accountPolicy, accountRoutes))
			request := tc.request.as("alice", "user")
			for range 2 { // the second time with what the first left in the pool
				out := check(t, s, request)
				if got, _ := reason(out); got != tc.reason || metadata(out, "rule") != tc.rule {
					t.Errorf("got %s by %q, want %s by %q", got, metadata(out, "rule"), tc.reason, tc.rule)
				}
				if record.Outcome.String() != tc.reason || record.Detail != tc.detail || record.Resource != tc.resource || (record.Decision != nil) != (tc.asked > 0) {
					t.Errorf("recorded %v (%s) of the resource %q, want %s (%s) of %q", record.Outcome, record.Detail, record.Resource, tc.reason, tc.detail, tc.resource)
				}
			}
			told := s.Revision().Explain(context.Background(), request.bytes(t))
			if told.Outcome.String() != tc.reason || len(told.Requests) != tc.asked {
				t.Errorf("explained as %v with %d questions, want %d", told.Outcome, len(told.Requests), tc.asked)
			}
			for _, r := range told.Requests {
				if r.Principal.ID != "alice" || !r.Now.Equal(told.Requests[0].Now) || r.Resource.Kind != "account" {
					t.Errorf("asked %+v", r)
				}
			}
		})
	}
}

// A question keeps nothing of the request before.
func TestChecksDoNotMix(t *testing.T) {
	s := bank(t)
	for range 20 {
		for request, want := range map[*testRequest]string{
			ptr(batch(items("alice:read", "alice:read"))):                                     "allow",
			ptr(batch(items("bob:read"))):                                                     "deny",
			ptr(testRequest{method: "POST", path: "/transfer/1/alice/2"}.as("alice", "user")): "allow",
			ptr(testRequest{method: "POST", path: "/transfer/1/alice/2"}.as("bob", "user")):   "deny",
			ptr(testRequest{method: "POST", path: "/transfer/1/alice/2"}):                     "no_identity",
			ptr(get("/accounts/7").as("alice", "user")):                                       "allow",
			ptr(get("/logo")): "public",
			ptr(testRequest{method: "POST", path: "/transfer/1/alice/closed-1"}.as("alice", "user")): "deny",
		} {
			if got, _ := reason(check(t, s, *request)); got != want {
				t.Fatalf("%s: got %s, want %s", request.path, got, want)
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

// Whoever asks for what is public gets it; the headers that tell who asks are
// removed, and what is no proper request is refused as anywhere else.
func TestPublic(t *testing.T) {
	o := jwtOnly
	o.Identity = append(o.Identity, Source{Headers: &TrustedHeaders{ID: "x-user"}})
	var record Record
	o.Observe = func(r *Record) { record = *r }
	s := new(Server)
	s.Use(compile(t, o, accountPolicy, accountRoutes))
	for name, request := range map[string]testRequest{
		"nobody":          get("/logo"),
		"somebody":        get("/logo").as("alice", "user"),
		"a bad token":     get("/logo").with("authorization: Bearer x.y.z"),
		"odd claims":      get("/logo").as(""),
		"forged headers":  get("/logo").with("x-edict-principal: root", "x-edict-roles: admin", "x-user: root"),
		"with HEAD":       {method: "HEAD", path: "/logo"},
		"pinned by Envoy": {method: "GET", path: "/logo", extensions: map[string]string{"edict.route": "bank/logo"}},
	} {
		out := check(t, s, request)
		if got, status := reason(out); got != "public" || status != 200 || metadata(out, "effect") != "allow" || metadata(out, "route") != "bank/logo" {
			t.Errorf("%s: got %s, HTTP %d, %v", name, got, status, out.GetDynamicMetadata())
		}
		set, removed := upstream(out)
		slices.Sort(removed)
		if len(set) > 0 || !slices.Equal(removed, []string{"x-edict-principal", "x-edict-roles", "x-user"}) {
			t.Errorf("%s: the upstream gets %v, and not %v", name, set, removed)
		}
		if record.Outcome != Public || record.Route != "bank/logo" || record.Principal != "" || record.Decision != nil {
			t.Errorf("%s: recorded %+v", name, record)
		}
	}
	for name, request := range map[string]testRequest{
		"a path in two ways": get("/logo/../logo"),
		"a second spelling":  get("/logo").with("x_edict_principal: root"),
	} {
		if got, status := reason(check(t, s, request)); got != "bad_request" || status != 400 {
			t.Errorf("%s: got %s, HTTP %d", name, got, status)
		}
	}
	if n := s.Revision().Public(); n != 1 {
		t.Errorf("%d routes are public", n)
	}
}

// What a public route adds to requests is made without an identity.
func TestPublicRoutesAdd(t *testing.T) {
	o := jwtOnly
	o.Identity = append(o.Identity, Source{Headers: &TrustedHeaders{ID: "x-user"}})
	s := new(Server)
	s.Use(compile(t, o, accountPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: m
  routes:
    - name: logo
      match: {path: "/logo/{name}"}
      public: true
      onAllow: {headers: {x-edict-logo: {expr: "path.name + ' for ' + principal.id + '.'"}}}
`))
	out := check(t, s, get("/logo/a").as("alice", "user").with("x-edict-principal: root", "x-edict-logo: forged", "x-user: root"))
	set, removed := upstream(out)
	slices.Sort(removed)
	if got, _ := reason(out); got != "public" || len(set) != 1 || set["x-edict-logo"] != "a for ." || !slices.Equal(removed, []string{"x-edict-principal", "x-edict-roles", "x-user"}) {
		t.Errorf("got %s, which sets %q and removes %q", got, set, removed)
	}
}

// Context extensions pin what Envoy's operator wants to be asked.
func TestPins(t *testing.T) {
	s := bank(t)
	for _, tc := range []struct {
		name           string
		request        testRequest
		pins           string // "name=value name=value"
		reason, detail string
		route          string
		want           string // scope, version and kind that the engine is asked for
	}{
		{"none", get("/accounts/7"), "", "allow", "", "bank/read", "  account"},
		{"a route", get("/accounts/7"), "edict.route=bank/all", "allow", "", "bank/all", "  account"},
		{"another's extension", get("/accounts/7"), "team=edict edictx=1", "allow", "", "bank/read", "  account"},
		{"a scope", get("/accounts/7"), "edict.resource.scope=acme", "deny", "", "bank/read", "acme  account"},
		{"a version", get("/accounts/7"), "edict.resource.policyVersion=v2", "deny", "", "bank/read", " v2 account"},
		{"a kind without a policy", get("/accounts/7"), "edict.resource.kind=vault", "deny", "", "bank/read", "  vault"},
		{"of all checks", testRequest{method: "POST", path: "/transfer/1/alice/2"}, "edict.resource.kind=vault", "deny", "", "bank/transfer", "  vault"},
		{"the principal's", get("/accounts/7"), "edict.principal.scope=acme edict.principal.policyVersion=v9", "allow", "", "bank/read", "  account"},
		{"no such route", get("/accounts/7"), "edict.route=bank/nothing", "bad_pin", "no_such_route", "", ""},
		{"a route by half its name", get("/accounts/7"), "edict.route=read", "bad_pin", "no_such_route", "", ""},
		{"a route for other requests", get("/accounts/7"), "edict.route=bank/transfer", "bad_pin", "not_of_this_route", "", ""},
		{"a route for another method", testRequest{method: "PUT", path: "/accounts/7"}, "edict.route=bank/read", "bad_pin", "not_of_this_route", "", ""},
		{"nothing that matches", get("/nothing"), "edict.route=bank/read", "bad_pin", "not_of_this_route", "", ""},
		{"an unknown name", get("/accounts/7"), "edict.resource.kinds=account", "bad_pin", "unknown_pin", "", ""},
		{"no name", get("/accounts/7"), "edict.=account", "bad_pin", "unknown_pin", "", ""},
		{"an unknown name where nothing matches", get("/nothing"), "edict.rout=x", "bad_pin", "unknown_pin", "", ""},
		{"an empty value", get("/accounts/7"), "edict.resource.scope=", "bad_pin", "empty_pin", "", ""},
		{"a public route", get("/logo"), "edict.route=bank/logo", "public", "", "bank/logo", ""},
		{"a kind of a public route", get("/logo"), "edict.resource.kind=account", "bad_pin", "public_route", "bank/logo", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			request := tc.request.as("alice", "user")
			request.extensions = map[string]string{}
			for _, pin := range strings.Fields(tc.pins) {
				name, text, _ := strings.Cut(pin, "=")
				request.extensions[name] = text
			}
			out := check(t, s, request)
			got, status := reason(out)
			told := s.Revision().Explain(context.Background(), request.bytes(t))
			if got != tc.reason || told.Detail != tc.detail || told.Route != tc.route || (status == 200) != told.Outcome.Passes() {
				t.Errorf("got %s (%s) by the route %q, want %s (%s) by %q", got, told.Detail, told.Route, tc.reason, tc.detail, tc.route)
			}
			if got == "bad_pin" && status != 403 {
				t.Errorf("HTTP %d", status)
			}
			for _, r := range told.Requests {
				if asked := r.Resource.Scope + " " + r.Resource.PolicyVersion + " " + r.Resource.Kind; asked != tc.want {
					t.Errorf("asked for %q, want %q", asked, tc.want)
				}
				if text, ok := request.extensions["edict.principal.scope"]; ok && (r.Principal.Scope != text || r.Principal.PolicyVersion != "v9") {
					t.Errorf("asked by %+v", r.Principal)
				}
			}
		})
	}
	// What a client sends is never a pin.
	for _, h := range []string{"edict.route: bank/all", "edict.resource.scope: acme", "edict.nothing: x"} {
		if got := s.Revision().Explain(context.Background(), get("/accounts/7").as("alice", "user").with(h).bytes(t)); got.Outcome != Allowed || got.Route != "bank/read" {
			t.Errorf("%s: got %v by %q", h, got.Outcome, got.Route)
		}
	}
}

// What is wrong with routes is told at the place where it stands.
func TestRouteMistakes(t *testing.T) {
	const head = "apiVersion: edict.dev/v1\nrouteMap:\n  name: m\n"
	check := "resource: {kind: account, id: x}, action: read"
	for name, tc := range map[string]struct{ routes, want string }{
		"an item without a list": {`  routes:
    - {name: a, match: {path: /a}, resource: {kind: account, id: {expr: item.id}}, action: read}`, "5:73 route-item"},
		"an item of another check": {`  routes:
    - name: a
      match: {path: /a}
      checks:
        - {forEach: {expr: request.body.x}, resource: {kind: account, id: {expr: item.id}}, action: read}
        - {resource: {kind: account, id: x}, action: {expr: item.action}}`, "9:61 route-item"},
		"an item in its own list": {`  routes:
    - name: a
      match: {path: /a}
      checks:
        - {forEach: {expr: item.x}, resource: {kind: account, id: x}, action: read}`, "8:28 route-item"},
		"an item of the principal": {`  routes:
    - name: a
      match: {path: /a}
      principal: {attributes: {x: {expr: item}}}
      checks: [{forEach: {expr: request.body.x}, resource: {kind: account, id: x}, action: read}]`, "7:42 route-item"},
		"a variable called item": {`  routes:
    - {name: a, match: {path: /a}, resource: {kind: account, id: x, attributes: {all: {expr: "request.body.x.all(item, item > 1)"}}}, action: read}`, ""},
		"a capture that only some routes have": {`  defaults: {resource: {kind: account, attributes: {t: {expr: path.tenant}}}}
  routes:
    - {name: a, match: {path: "/{tenant}/a"}, resource: {id: x}, action: read}
    - {name: b, match: {path: /b}, resource: {id: x}, action: read}
    - {name: c, match: {path: /c}, resource: {id: x}, action: read}
    - {name: d, match: {path: /d}, resource: {id: x, attributes: {t: none}}, action: read}`, "4:63 route-capture"},
		"a default kind that no policy is for": {`  defaults: {resource: {kind: vault}}
  routes: [{name: a, match: {path: /a}, resource: {id: x}, action: read}]`, "4:31 route-kind"},
		"no kind at all": {`  routes: [{name: a, match: {path: /a}, resource: {id: x}, action: read}]`, "4:51 missing-field"},
		"an id for all":  {`  defaults: {resource: {id: x}}` + "\n  routes: []", "4:25 unknown-field"},
		"checks beside a resource": {`  routes:
    - name: a
      match: {path: /a}
      ` + strings.Replace(check, ", action", "\n      action", 1) + `
      checks: [{` + check + `}]`, "7:17 route-checks, 8:15 route-checks"},
		"no checks":          {`  routes: [{name: a, match: {path: /a}, checks: []}]`, "4:49 route-checks"},
		"too many checks":    {`  routes: [{name: a, match: {path: /a}, checks: [` + strings.Repeat("{"+check+"}, ", 21) + `]}]`, "4:49 route-checks"},
		"public with checks": {`  routes: [{name: a, match: {path: /a}, public: true, checks: []}]`, "4:63 route-public"},
		"public with anonymous and principal": {`  routes: [{name: a, match: {path: /a}, public: true, anonymous: false, principal: {}}]`,
			"4:66 route-public, 4:84 route-public"},
		"public and planned": {`  routes: [{name: a, match: {path: /a}, public: true, plan: true}]`, "4:61 route-public"},
		"a plan of one thing, of all methods": {`  routes: [{name: a, match: {path: /a}, plan: true, resource: {kind: account, id: x}, action: read}]`,
			"4:29 route-plan, 4:83 route-plan"},
		"a plan of several checks": {`  routes: [{name: a, match: {methods: [GET], path: /a}, plan: true, checks: [{` + check + `}]}]`, "4:77 route-plan"},
		"a plan of CONNECT":        {`  routes: [{name: a, match: {methods: [CONNECT], path: /a}, plan: true, resource: {kind: account}, action: read}]`, "4:40 route-plan"},
		"a plan of upgrades": {`  routes: [{name: a, match: {methods: [GET], path: /a, upgrade: any}, plan: true, resource: {kind: account}, action: read}]`,
			"4:29 route-plan"},
		"a plan of gRPC": {`  routes: [{name: a, match: {grpc: {service: a.B, method: "*"}}, plan: true, resource: {kind: account}, action: read}]`, "4:36 route-plan"},
		"a plan with an attribute of two names": {`  routes: [{name: a, match: {methods: [GET], path: /a}, plan: true, resource: {kind: account, attributes: {a.b: 1}}, action: read}]`,
			"4:108 route-plan"},
		"a plan of nothing":    {`  routes: [{name: a, match: {methods: [GET], path: /a}, plan: true, resource: {kind: account}}]`, "4:12 one-of-missing"},
		"nothing asked":        {`  routes: [{name: a, match: {path: /a}, public: false, resource: {kind: account, id: x}}]`, "4:12 one-of-missing"},
		"a header in capitals": {`  routes: [{name: a, match: {path: /a, headers: {X-A: b}}, ` + check + `}]`, "4:50 route-matcher"},
		"a bad expression":     {`  routes: [{name: a, match: {path: /a, query: {x: {regex: "("}}}, ` + check + `}]`, "4:48 route-matcher"},
		"two kinds":            {`  routes: [{name: a, match: {path: /a, query: {x: {prefix: a, suffix: b}}}, ` + check + `}]`, "4:63 one-of-repeated"},
		"no kind":              {`  routes: [{name: a, match: {path: /a, query: {x: {}}}, ` + check + `}]`, "4:51 one-of-missing"},
		"too many headers": {`  routes: [{name: a, match: {path: /a, query: {a: a, b: b, c: c, d: d, e: e, f: f, g: g, h: h, i: i}}, ` + check + `}]`,
			"4:29 route-matcher"},
		"an unknown upgrade": {`  routes: [{name: a, match: {path: /a, upgrade: h2c}, ` + check + `}]`, "4:49 unknown-value"},
		"two routes told apart by nothing": {`  routes:
    - {name: a, match: {path: /a, headers: {x-a: b}}, ` + check + `}
    - {name: b, match: {path: /a, headers: {x-b: b}}, ` + check + `}`, "6:31 route-conflict"},
		"all is well": {`  routes: [{name: a, match: {path: /a}, ` + check + `}, {name: b, match: {path: /b}, public: true}]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			routes, list := routemap.ParseAll([]folder.File{{Name: "r.yaml", Content: []byte(head + tc.routes)}})
			if len(list) == 0 {
				c, err := NewCompiler(engine.Options{}, Options{})
				if err != nil {
					t.Fatal(err)
				}
				_, list = c.Compile("x", parsePolicies(t, accountPolicy), nil, routes)
			}
			var got []string
			for _, d := range list {
				got = append(got, fmt.Sprintf("%d:%d %s", d.Pos.Line, d.Pos.Column, d.Code))
				if d.Message == "" || d.Source == "" {
					t.Errorf("says nothing: %+v", d)
				}
			}
			if s := strings.Join(got, ", "); s != tc.want {
				t.Errorf("got %q, want %q\n%s", s, tc.want, list.Render())
			}
		})
	}
}

// A route with one check costs what it did before there could be several.
func TestChecksDoNotAllocate(t *testing.T) {
	if RaceDetector() {
		t.Skip("the race detector makes pools forget what they hold")
	}
	s := bank(t)
	requests := map[string]testRequest{
		"one check": get("/accounts/7").as("alice", "user"),
		"pinned":    {method: "GET", path: "/accounts/7", extensions: map[string]string{"edict.route": "bank/all", "edict.resource.scope": "acme"}},
		"two":       testRequest{method: "POST", path: "/transfer/1/alice/2"}.as("alice", "user"),
		"public":    get("/logo").as("alice", "user"),
	}
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		b := requests[name].bytes(t)
		dst := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(200, func() { s.AppendCheck(context.Background(), dst, b) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A handshake of WebSocket takes routes that say so, in whatever way it comes,
// and nothing takes half of one.
func TestUpgrades(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, jwtOnly, accountPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: m
  defaults: {resource: {kind: account}}
  routes:
    - {name: plain, match: {path: /plain}, resource: {id: x}, action: read}
    - {name: read, match: {methods: [GET], path: /chat}, resource: {id: x}, action: read}
    - {name: connect, match: {methods: [GET], path: /chat, upgrade: websocket}, resource: {id: x}, action: read}
    - {name: any, match: {path: /any, upgrade: any}, resource: {id: x}, action: read}
    - {name: tunnel, match: {methods: [CONNECT], path: /tunnel, upgrade: any}, resource: {id: x}, action: read}
    - {name: listed, match: {methods: [CONNECT], path: /plain}, resource: {id: x}, action: read}
`))
	const up = "connection: keep-alive, Upgrade"
	for _, tc := range []struct {
		name   string
		method string
		path   string
		header []string
		want   string // route, or detail
	}{
		{"none", "GET", "/chat", nil, "m/read"},
		{"handshake", "GET", "/chat", []string{up, "upgrade: websocket"}, "m/connect"},
		{"in another case", "GET", "/chat", []string{up, "upgrade: WebSocket"}, "m/connect"},
		{"over HTTP/2", "CONNECT", "/chat", []string{":protocol: websocket"}, "m/connect"},
		{"where none is meant", "GET", "/plain", []string{up, "upgrade: websocket"}, "no_route"},
		{"over HTTP/2 where none is meant", "CONNECT", "/plain", []string{":protocol: websocket"}, "no_route"},
		{"where any is meant", "GET", "/any", []string{up, "upgrade: websocket"}, "m/any"},
		{"none where any is meant", "POST", "/any", nil, "m/any"},
		{"another protocol", "GET", "/chat", []string{up, "upgrade: smoke"}, "no_route"},
		{"another protocol where any is meant", "POST", "/any", []string{up, "upgrade: smoke"}, "m/any"},
		{"a choice of protocols", "GET", "/chat", []string{up, "upgrade: websocket, smoke"}, "no_route"},
		{"another protocol over HTTP/2", "CONNECT", "/tunnel", []string{":protocol: connect-udp"}, "m/tunnel"},
		{"another protocol over HTTP/2, method not listed", "CONNECT", "/any", []string{":protocol: connect-udp"}, "no_route"},
		{"CONNECT that is not listed", "CONNECT", "/any", nil, "no_route"},
		{"CONNECT that is listed", "CONNECT", "/plain", nil, "m/listed"},
		{"h2c", "GET", "/any", []string{up, "upgrade: h2c"}, "upgrade_h2c"},
		{"h2c in a list", "GET", "/any", []string{up, "upgrade: websocket, H2C"}, "upgrade_h2c"},
		{"without Connection", "GET", "/chat", []string{"upgrade: websocket"}, "half_upgrade"},
		{"without it in Connection", "GET", "/chat", []string{"connection: keep-alive", "upgrade: websocket"}, "half_upgrade"},
		{"without Upgrade", "GET", "/chat", []string{up}, "m/read"},
		{"by POST", "POST", "/any", []string{up, "upgrade: websocket"}, "half_upgrade"},
		{"twice", "GET", "/chat", []string{up, "upgrade: websocket", "upgrade: websocket"}, "repeated_header"},
		{"in both ways", "CONNECT", "/chat", []string{":protocol: websocket", up, "upgrade: websocket"}, "half_upgrade"},
		{"of HTTP/2 by GET", "GET", "/chat", []string{":protocol: websocket"}, "half_upgrade"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, asMap := range []bool{false, true} {
				if asMap && tc.want == "repeated_header" {
					continue // joined, it is a choice of protocols
				}
				request := testRequest{method: tc.method, path: tc.path, headers: tc.header, asMap: asMap}.as("alice", "user")
				told := s.Revision().Explain(context.Background(), request.bytes(t))
				got := told.Route
				switch {
				case told.Detail != "":
					got = told.Detail
				case got == "":
					got = told.Outcome.String()
				}
				if got != tc.want || told.Outcome.Passes() != strings.HasPrefix(tc.want, "m/") {
					t.Errorf("headers as a map %v: got %s (%v), want %s", asMap, got, told.Outcome, tc.want)
				}
			}
		})
	}
}

// Routes are told apart by headers and query; a preflight of CORS is one that
// asks for a method.
func TestHeaderAndQueryRoutes(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, jwtOnly, accountPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: m
  defaults: {resource: {kind: account}}
  routes:
    - name: preflight
      match: {methods: [OPTIONS], path: /**, headers: {origin: {present: true}, access-control-request-method: {present: true}}}
      public: true
    - {name: v1, match: {methods: [GET], path: /a}, resource: {id: x}, action: read}
    - {name: v2, match: {methods: [GET], path: /a, headers: {x-version: "2"}}, resource: {id: x}, action: read}
    - {name: v2x, match: {methods: [GET], path: /a, headers: {x-version: {regex: '2\.[0-9]+'}}}, resource: {id: x}, action: read}
    - {name: dry, match: {methods: [GET], path: /a, query: {dry-run: {present: true}}}, resource: {id: x}, action: read}
    - {name: beta, match: {methods: [GET], path: /a, headers: {x-version: {suffix: -beta}}, query: {dry-run: {present: false}}}, resource: {id: x}, action: read}
`))
	for _, tc := range []struct {
		request testRequest
		want    string
	}{
		{get("/a"), "m/v1"},
		{get("/a").with("x-version: 1"), "m/v1"},
		{get("/a").with("x-version: 2"), "m/v2"},
		{get("/a").with("X-Version: 2"), "m/v1"}, // Envoy sends names in lower case
		{get("/a").with("x-version: 2.31"), "m/v2x"},
		{get("/a").with("x-version: 2.31a"), "m/v1"},
		{get("/a?dry-run=1"), "m/dry"},
		{get("/a?dry-run").with("x-version: 2"), "m/v2"},
		{get("/a").with("x-version: 3-beta"), "m/beta"},
		{get("/a?dry-run").with("x-version: 3-beta"), "m/dry"},
		{get("/a").with("x-version: 1", "x-version: 2"), "matched_header_repeated"},
		{get("/a?dry-run&dry-run"), "query_duplicate"},
		{get("/a?x=1;dry-run"), "query_semicolon"},
		{testRequest{method: "OPTIONS", path: "/a", headers: []string{"origin: https://a.test", "access-control-request-method: PUT"}}, "m/preflight"},
		{testRequest{method: "OPTIONS", path: "/b", headers: []string{"origin: https://a.test", "access-control-request-method: PUT"}}, "m/preflight"},
		{testRequest{method: "OPTIONS", path: "/b", headers: []string{"origin: https://a.test"}}, "no_route"},
		{testRequest{method: "PUT", path: "/b", headers: []string{"origin: https://a.test", "access-control-request-method: PUT"}}, "no_route"},
	} {
		told := s.Revision().Explain(context.Background(), tc.request.as("alice", "user").bytes(t))
		got := told.Route
		switch {
		case told.Detail != "":
			got = told.Detail
		case got == "":
			got = told.Outcome.String()
		}
		if got != tc.want {
			t.Errorf("%s %s %q: got %s (%v), want %s", tc.request.method, tc.request.path, tc.request.headers, got, told.Outcome, tc.want)
		}
	}
}

// Whatever a route map says, it is loaded or refused with a place, and what is
// loaded answers without a panic; nothing is public that does not say so.
func FuzzRoutes(f *testing.F) {
	const head = "apiVersion: edict.dev/v1\nrouteMap:\n  name: m\n"
	f.Add(accountRoutes, "POST", "/transfer/1/alice/2?a=b", "x-a", "b")
	f.Add(albumRoutes, "GET", "/albums/alice/1", "connection", "upgrade")
	f.Add(head+"  routes: [{name: a, match: {path: /a, headers: {x-a: {regex: 'a+'}}, query: {b: {present: false}}, upgrade: any}, public: true}]", "GET", "/a", "x-a", "aa")
	f.Add(head+"  hosts: ['*.test']\n  defaults: {resource: {kind: account, attributes: {a: {expr: path.x}}}}\n  routes: [{name: a, match: {path: '/{x=**}.y'}, resource: {id: {expr: path.x}}, actions: [read, {expr: request.method}]}]", "HEAD", "/b/c.y", "a", "b")
	f.Add(head+"  routes: [{name: a, match: {grpc: {service: a.B, method: '*'}}, checks: [{forEach: {expr: '[1, 2]'}, resource: {kind: account, id: {expr: string(item)}}, action: read}]}]", "POST", "/a.B/C", "content-type", "application/grpc")
	f.Add("", "0", "/", "", "0")
	c, err := NewCompiler(engine.Options{}, Options{Anonymous: true})
	if err != nil {
		f.Fatal(err)
	}
	policies := parsePolicies(f, accountPolicy+"\n---\n"+strings.TrimSpace(albumPolicy))
	f.Fuzz(func(t *testing.T, text, method, path, name, header string) {
		routes, list := routemap.ParseAll([]folder.File{{Name: "r.yaml", Content: []byte(text)}})
		var rev *Revision
		if len(list) == 0 {
			if rev, list = c.Compile("x", policies, nil, routes); (rev == nil) != (len(list) > 0) {
				t.Fatalf("%d diagnostics and the revision %v", len(list), rev)
			}
		}
		for _, d := range list {
			if d.Message == "" || d.Pos.File != "r.yaml" || d.Pos.Line < 1 {
				t.Fatalf("a diagnostic without place: %+v", d)
			}
		}
		if rev == nil {
			return
		}
		s := &Server{Panicked: func(v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }}
		s.Use(rev)
		if !utf8.ValidString(method) || !utf8.ValidString(path) || !utf8.ValidString(name) {
			return // no CheckRequest has such texts
		}
		http := &authv3.AttributeContext_HttpRequest{Method: method, Path: path, Host: "a.test",
			HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: name, RawValue: []byte(header)}}}}
		b, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}})
		if err != nil {
			t.Fatal(err)
		}
		out := new(authv3.CheckResponse)
		if err := proto.Unmarshal(s.AppendCheck(context.Background(), nil, b), out); err != nil {
			t.Fatal(err)
		}
		if got, _ := reason(out); got == "public" && rev.Public() == 0 {
			t.Fatalf("%s %s is public", method, path)
		}
	})
}
