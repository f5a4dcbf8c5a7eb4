package extauthz

import (
	"context"
	"fmt"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/extauthz/claims"
	"edict/extauthz/routemap"
)

// Ways in that were found open once, or that somebody is sure to try.

// one gives a server with one route, to /x, whose document has the attribute o,
// and one rule, which allows everybody if a condition holds.
func one(t *testing.T, o Options, attribute, condition string) *Server {
	t.Helper()
	s := new(Server)
	s.Use(compile(t, o,
		"apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: doc\n  version: default\n  rules:\n"+
			fmt.Sprintf("    - {actions: [a], effect: EFFECT_ALLOW, roles: ['*'], condition: {match: {expr: %q}}}\n", condition),
		"apiVersion: edict.dev/v1\nrouteMap:\n  name: m\n  routes:\n    - name: r\n      match: {path: /x}\n"+
			fmt.Sprintf("      resource: {kind: doc, id: x, attributes: {o: {expr: %q}}}\n      action: a\n", attribute)))
	return s
}

func TestRoutesAndPoliciesSeeOneInstant(t *testing.T) {
	for attribute, condition := range map[string]string{
		`now()`: `R.attr.o == now()`,
		`now() > timestamp("2020-01-01T00:00:00Z")`:                     `R.attr.o`,
		`timeSince(timestamp("2020-01-01T00:00:00Z")) > duration("1h")`: `R.attr.o`,
		`now().getFullYear()`:                                           `R.attr.o > 2000`,
	} {
		s := one(t, jwtOnly, attribute, condition)
		for range 2 { // the second check reuses the first one's memory
			if got, _ := reason(check(t, s, get("/x").as("alice", "user"))); got != "allow" {
				t.Errorf("%s: got %s", attribute, got)
			}
		}
	}
}

// An attribute may be a view of the request. What the view finds wrong with it
// while a condition reads it ends the request, whatever the condition is.
func TestViewsReadByPolicies(t *testing.T) {
	for _, condition := range []string{
		`R.attr.o != {"mode": "unsafe"}`, `R.attr.o.mode == "safe" || P.id != ""`, `!has(R.attr.o.mode) || P.id != ""`,
		`R.attr.o.?mode.orValue("safe") == "safe" || P.id != ""`, `!R.attr.o.exists(k, R.attr.o[k] == "unsafe")`,
	} {
		query := get("/x?mode=unsafe&mode=unsafe").as("alice", "user")
		if got, _ := reason(check(t, one(t, jwtOnly, "request.query", condition), query)); got == "allow" {
			t.Errorf("query, %s: allowed", condition)
		}
		header := get("/x").as("alice", "user").with("mode: unsafe\xff")
		if got, _ := reason(check(t, one(t, jwtOnly, "request.headers", condition), header)); got == "allow" {
			t.Errorf("headers, %s: allowed", condition)
		}
	}
}

func TestNumbersThatAreNotExactAreRefused(t *testing.T) {
	s := one(t, jwtOnly, "request.body.n", "R.attr.o == P.attr.account")
	for number, want := range map[string]string{
		"9007199254740991": "allow", "9007199254740992": "body_malformed", "9007199254740993": "body_malformed",
		"-9007199254740993": "body_malformed", "9007199254740992.4": "body_malformed", "1e300": "body_malformed", "1e999": "body_malformed",
	} {
		body := `{"n": ` + number + `}`
		r := testRequest{method: "POST", path: "/x", body: body, headers: []string{"content-type: application/json", fmt.Sprintf("content-length: %d", len(body))}}.as("alice", "user")
		r.claims["account"] = 9007199254740991.0
		if got, _ := reason(check(t, s, r)); got != want {
			t.Errorf("%s: got %s, want %s", number, got, want)
		}
	}
}

// What a client can make a check compare is bounded.
func TestLargeBodiesAreRefused(t *testing.T) {
	s := one(t, jwtOnly, "request.body.a.filter(x, x in request.body.b).size()", "R.attr.o == 0")
	for n, want := range map[int]string{900: "allow", 1100: "body_malformed"} {
		body := `{"a": [` + strings.Repeat("1,", n) + `1], "b": [` + strings.Repeat("2,", n) + `2]}`
		r := testRequest{method: "POST", path: "/x", body: body, headers: []string{"content-type: application/json", fmt.Sprintf("content-length: %d", len(body))}}
		if got, _ := reason(check(t, s, r.as("alice", "user"))); got != want {
			t.Errorf("two lists of %d: got %s, want %s", n, got, want)
		}
	}
}

// As text the body is not what the service gets: Envoy replaces bytes.
func TestBodyAsTextIsRefused(t *testing.T) {
	s := newServer(t, jwtOnly)
	in := post("/albums", `{"size": 1}`, "content-length: 11").as("alice", "user").message(t)
	in.Attributes.Request.Http.Body, in.Attributes.Request.Http.RawBody = `{"size": 1}`, nil
	out, err := s.Check(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got, status := reason(out); got != "body_unsupported" || status != 415 {
		t.Errorf("got %s, HTTP %d", got, status)
	}
	for _, encoding := range []string{"gzip", "br", "deflate", "zstd", "x-unknown", "identity, gzip"} {
		r := post("/albums", `{"size": 1}`, "content-length: 11", "content-encoding: "+encoding).as("alice", "user")
		if got, _ := reason(check(t, s, r)); got != "body_unsupported" {
			t.Errorf("%s: got %s", encoding, got)
		}
	}
}

func TestTrustedHeadersAreOneProxys(t *testing.T) {
	headers := Source{Headers: &TrustedHeaders{ID: "x-user-id", Roles: "x-user-roles"}}
	s := newServer(t, Options{Identity: []Source{headers}})
	for _, lines := range [][]string{
		{"x-user-id: alice", "x-user-roles: user", "x-user-roles: admin"},
		{"x-user-id: alice", "x-user-id: bob", "x-user-roles: admin"},
	} {
		for _, asMap := range []bool{false, true} {
			r := get("/albums/bob/1").with(lines...)
			r.asMap = asMap
			if got, _ := reason(check(t, s, r)); got != "bad_identity" {
				t.Errorf("%v, as map %v: got %s", lines, asMap, got)
			}
		}
	}
	// A bad token does not give way to headers.
	both := newServer(t, Options{Identity: []Source{{JWTMetadata: &JWTMetadata{}}, headers}})
	good := get("/albums/bob/1").with("x-user-id: alice", "x-user-roles: admin")
	if got, _ := reason(check(t, both, good)); got != "allow" {
		t.Errorf("headers alone: got %s", got)
	}
	for _, token := range []string{"Bearer junk", "bearer\tjunk", "BEARER  x"} {
		if got, _ := reason(check(t, both, good.with("authorization: "+token))); got != "bad_token" {
			t.Errorf("with %q: got %s", token, got)
		}
	}
	for code, message := range map[float64]string{3: "Jwt is expired", 1: "something else", 9: "Jwt is missing"} {
		r := good
		r.metadata = map[string]any{"jwt_failure": map[string]any{"code": code, "message": message}}
		want := "bad_token"
		if code == 1 || message == "Jwt is missing" {
			want = "allow" // there was no token
		}
		if got, _ := reason(check(t, both, r)); got != want {
			t.Errorf("%v %s: got %s, want %s", code, message, got, want)
		}
	}
}

func TestDefaultRolesAreForAbsentClaims(t *testing.T) {
	s := newServer(t, Options{Identity: []Source{{JWTMetadata: &JWTMetadata{Claims: claims.Mapping{Roles: []claims.Roles{{Claim: "realm_access.roles"}}, DefaultRoles: []string{"admin"}}}}}})
	for name, tt := range map[string]struct {
		claims map[string]any
		want   string
	}{
		"absent":               {map[string]any{"sub": "a"}, "allow"},
		"absent within":        {map[string]any{"sub": "a", "realm_access": map[string]any{}}, "allow"},
		"a text in the place":  {map[string]any{"sub": "a", "realm_access": "x"}, "bad_identity"},
		"a list in the place":  {map[string]any{"sub": "a", "realm_access": []any{"x"}}, "bad_identity"},
		"null in the place":    {map[string]any{"sub": "a", "realm_access": nil}, "bad_identity"},
		"null":                 {map[string]any{"sub": "a", "realm_access": map[string]any{"roles": nil}}, "bad_identity"},
		"an empty role":        {map[string]any{"sub": "a", "realm_access": map[string]any{"roles": []any{""}}}, "bad_identity"},
		"roles that are given": {map[string]any{"sub": "a", "realm_access": map[string]any{"roles": []any{"user"}}}, "deny"},
	} {
		if got, _ := reason(check(t, s, testRequest{method: "GET", path: "/albums/x/1", claims: tt.claims})); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestGRPCMethodsAreExact(t *testing.T) {
	s := newServer(t, jwtOnly)
	for _, contentType := range []string{"application/grpc", "Application/gRPC+proto", "application/json"} {
		for path, want := range map[string]string{
			"/shop.v1.Albums/List": "allow", "/shop.v1.Albums/L%69st": "bad_request", "/shop.v1.Albums/List?x": "bad_request", "/shop.v1.Albums/%C3%A4": "bad_request",
		} {
			r := testRequest{method: "POST", path: path, headers: []string{"content-type: " + contentType}}
			if got, _ := reason(check(t, s, r.as("alice", "user"))); got != want {
				t.Errorf("%s %s: got %s, want %s", contentType, path, got, want)
			}
		}
	}
	if got, _ := reason(check(t, s, get("/albums").as("alice", "user").with("connection: upgrade", "upgrade: h2c"))); got != "bad_request" {
		t.Errorf("h2c: got %s", got)
	}
}

// An attribute made of all attributes would hold itself.
func TestAttributesCannotHoldThemselves(t *testing.T) {
	c, err := NewCompiler(engine.Options{}, jwtOnly)
	if err != nil {
		t.Fatal(err)
	}
	p, list := policyfile.ParseAll([]folder.File{{Name: "p.yaml", Content: []byte(`
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - {actions: [a], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'P.attr != P.attr.all && P.attr == R.attr.all && !(P.attr.all in [P.attr]) && P.attr.list[0] == P.attr.list[0]'}}}
`)}})
	r, more := routemap.ParseAll([]folder.File{{Name: "r.yaml", Content: []byte(`
apiVersion: edict.dev/v1
routeMap:
  name: m
  principal: {attributes: {all: {expr: principal.attr}, list: {expr: "[principal]"}}}
  routes:
    - {name: r, match: {path: /x}, resource: {kind: doc, id: x, attributes: {all: {expr: principal.attr}}}, action: a}
`)}})
	rev, errs := c.Compile("x", p, nil, r)
	if list = append(append(list, more...), errs...); len(list) > 0 {
		t.Fatal(list.Render())
	}
	s := new(Server)
	s.Use(rev)
	if got, _ := reason(check(t, s, get("/x").as("alice", "user"))); got != "allow" {
		t.Errorf("got %s", got)
	}
	for _, whole := range []string{"request", "request.source", "principal"} {
		r, _ := routemap.ParseAll([]folder.File{{Name: "r.yaml", Content: []byte(strings.ReplaceAll(`
apiVersion: edict.dev/v1
routeMap:
  name: m
  routes:
    - {name: r, match: {path: /x}, resource: {kind: doc, id: x, attributes: {all: {expr: WHOLE}}}, action: a}
`, "WHOLE", whole))}})
		if _, list := c.Compile("x", p, nil, r); len(list) != 1 || list[0].Code != CodeRouteAttribute {
			t.Errorf("%s: got %v", whole, list)
		}
	}
}

// The captures of a path can be asked for as a whole, and by a name that is
// worked out.
func TestPathAsAWhole(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, jwtOnly, albumPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: m
  routes:
    - {name: index, match: {path: "/i/{owner}"}, resource: {kind: album, id: {expr: 'path["owner"]'}, attributes: {owner: {expr: 'path.?owner.orValue("")'}, n: {expr: size(path)}}}, action: read}
    - {name: none, match: {path: "/n/{owner}"}, resource: {kind: album, id: {expr: 'path["nobody"]'}}, action: preview}
`))
	if got, _ := reason(check(t, s, get("/i/alice").as("alice", "user"))); got != "allow" {
		t.Errorf("got %s", got)
	}
	if got, _ := reason(check(t, s, get("/n/alice").as("alice", "user"))); got != "unmappable" {
		t.Errorf("a name that is not captured: got %s", got)
	}
}

// Checks that share memory do not see each other's requests.
func TestChecksForgetEachOther(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, jwtOnly, albumPolicy, albumRoutes+`
    - name: forgetful
      match: {path: /forgetful}
      anonymous: true
      resource: {kind: album, id: {expr: "claims.?tenant.orValue('none')"}, attributes: {roles: {expr: principal.roles}}}
      action: preview
`))
	var seen string
	ask := func(r testRequest) {
		t.Helper()
		out := new(authv3.CheckResponse)
		if err := proto.Unmarshal(s.AppendCheck(context.Background(), nil, r.bytes(t)), out); err != nil {
			t.Fatal(err)
		}
		seen, _ = reason(out)
	}
	for range 50 {
		known := get("/forgetful").as("alice", "admin")
		known.claims["tenant"] = "acme"
		ask(known)
		if seen != "allow" {
			t.Fatalf("got %s", seen)
		}
		// Without a token there are no claims and no roles of another's.
		anonymous := get("/open")
		ask(anonymous)
		if seen != "no_identity" {
			t.Fatalf("an anonymous request after alice's: got %s", seen)
		}
		if got, _ := reason(check(t, s, get("/claim"))); got != "no_identity" {
			t.Fatalf("claims of another request: got %s", got)
		}
	}
	x := &exchange{}
	rev := s.Revision()
	known := get("/forgetful").as("alice", "admin")
	known.claims["tenant"] = "acme"
	if o := x.decide(context.Background(), rev, known.bytes(t)); o != Allowed || x.questions[0].req.Resource.ID != "acme" {
		t.Fatalf("got %v, %q", o, x.questions[0].req.Resource.ID)
	}
	x.release()
	if x.claims != nil || x.in.HasHTTP() || len(x.roles) > 0 || x.principalAttrs.Len() > 0 || x.req.Principal.ID != "" || x.frame.Get(slotClaims).Kind() != 0 {
		t.Errorf("a released exchange remembers: %+v", x.req)
	}
	if o := x.decide(context.Background(), rev, get("/forgetful").bytes(t)); o != Allowed || x.questions[0].req.Resource.ID != "none" || len(x.req.Principal.Roles) != 1 {
		t.Errorf("got %v, %q, %v", o, x.questions[0].req.Resource.ID, x.req.Principal.Roles)
	}
}
