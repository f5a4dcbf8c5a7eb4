package extauthz

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/engine"
	"edict/engine/diag/diagtest"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/extauthz/claims"
	"edict/extauthz/routemap"
)

func TestCheck(t *testing.T) {
	s := newServer(t, jwtOnly)
	tests := []struct {
		name    string
		request testRequest
		reason  string
		status  int
		rule    string
	}{
		{"owner", get("/albums/alice/1").as("alice", "user"), "allow", 200, "owner-reads"},
		{"another's", get("/albums/bob/1").as("alice", "user"), "deny", 403, ""},
		{"admin", get("/albums/bob/1").as("root", "user", "admin"), "allow", 200, "admin-all"},
		{"HEAD is judged as GET", testRequest{method: "HEAD", path: "/albums/bob/1"}.as("alice", "user"), "deny", 403, ""},
		{"HEAD is judged as GET", testRequest{method: "HEAD", path: "/albums/alice/1"}.as("alice", "user"), "allow", 200, "owner-reads"},
		{"DELETE has no route", testRequest{method: "DELETE", path: "/albums/alice/1"}.as("alice", "user"), "no_route", 403, ""},
		{"trailing slash", get("/albums/").as("alice", "user"), "no_route", 403, ""},
		{"case", get("/Albums").as("alice", "user"), "no_route", 403, ""},
		{"escaped but the same", get("/%61lbums").as("alice", "user"), "allow", 200, "list"},
		{"query ignored", get("/albums?x=../..").as("alice", "user"), "allow", 200, "list"},
		{"all actions allowed", get("/both/alice").as("alice", "user"), "allow", 200, "list"},
		{"one of the actions is not", get("/both/bob").as("alice", "user"), "deny", 403, ""},
		{"no identity", get("/albums"), "no_identity", 401, ""},
		{"anonymous allowed", get("/preview"), "allow", 200, "preview"},
		{"anonymous denied by policy", get("/open"), "no_identity", 401, ""},
		{"known on an anonymous route", get("/open").as("alice", "user"), "allow", 200, "list"},
		{"small upload", post("/albums", `{"size": 9}`, "content-length: 11").as("alice", "user"), "allow", 200, "small-upload"},
		{"large upload", post("/albums", `{"size": 900}`, "content-length: 13").as("alice", "user"), "deny", 403, ""},
		{"wrong type in the body", post("/albums", `{"size": "9"}`, "content-length: 13").as("alice", "user"), "deny", 403, "small-upload"},
		{"field missing in the body", post("/albums", `{}`, "content-length: 2").as("alice", "user"), "unmappable", 403, ""},
		{"condition that can't be evaluated", get("/broken").as("alice", "user"), "deny", 403, "broken"},
		{"query", get("/search?id=1").as("alice", "user"), "allow", 200, "preview"},
		{"query parameter missing", get("/search").as("alice", "user"), "unmappable", 403, ""},
		{"query parameter twice", get("/search?id=1&id=2").as("alice", "user"), "bad_request", 400, ""},
		{"claim missing", get("/claim").as("alice", "user"), "unmappable", 403, ""},
		{"gRPC", testRequest{method: "POST", path: "/shop.v1.Albums/List", headers: []string{"content-type: application/grpc"}}.as("alice", "user"), "allow", 200, "list"},
		{"gRPC, another service", testRequest{method: "POST", path: "/shop.v1.Orders/List", headers: []string{"content-type: application/grpc"}}.as("alice", "user"), "no_route", 403, ""},
		{"gRPC, odd path", testRequest{method: "POST", path: "/shop.v1.Albums/List/", headers: []string{"content-type: application/grpc+proto"}}.as("alice", "user"), "bad_request", 400, ""},
		{"host in capitals with port", testRequest{method: "GET", path: "/albums", host: "API.Example.Test.:8443"}.as("alice", "user"), "allow", 200, "list"},
	}
	for _, tt := range tests {
		out := check(t, s, tt.request)
		got, status := reason(out)
		if got != tt.reason || status != tt.status || metadata(out, "rule") != tt.rule {
			t.Errorf("%s: got %s, HTTP %d, rule %q; want %s, %d, %q", tt.name, got, status, metadata(out, "rule"), tt.reason, tt.status, tt.rule)
		}
		if allowed := out.GetStatus().GetCode() == 0; allowed != (tt.reason == "allow") || metadata(out, "effect") != map[bool]string{true: "allow", false: "deny"}[allowed] {
			t.Errorf("%s: the answer contradicts itself: %v", tt.name, out)
		}
	}
}

// The generated types and the bytes are two ways to one answer.
func TestCheckInGeneratedTypes(t *testing.T) {
	s := newServer(t, jwtOnly)
	for _, r := range []testRequest{get("/albums").as("alice", "user"), get("/albums"), {}} {
		want := check(t, s, r)
		got, err := s.Check(context.Background(), r.message(t))
		for _, out := range []*authv3.CheckResponse{got, want} {
			if metadata(out, "decision_id") == "" {
				t.Errorf("%s: no decision_id in %v", r.path, out)
			}
			delete(out.GetDynamicMetadata().GetFields(), "decision_id")
		}
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", r.path, got, err, want)
		}
	}
}

func TestDenialForTheClient(t *testing.T) {
	s := newServer(t, jwtOnly)
	header := func(out *authv3.CheckResponse, name string) string {
		for _, h := range out.GetDeniedResponse().GetHeaders() {
			if h.GetHeader().GetKey() == name {
				return h.GetHeader().GetValue()
			}
		}
		return ""
	}
	t.Run("HTTP", func(t *testing.T) {
		out := check(t, s, get("/albums"))
		var problem struct {
			Title  string
			Status int
		}
		if err := json.Unmarshal([]byte(out.GetDeniedResponse().GetBody()), &problem); err != nil || problem.Status != 401 || problem.Title != "Unauthorized" {
			t.Errorf("body %q: %v", out.GetDeniedResponse().GetBody(), err)
		}
		if header(out, "content-type") != "application/problem+json" || header(out, "www-authenticate") != "Bearer" {
			t.Errorf("headers %v", out.GetDeniedResponse().GetHeaders())
		}
	})
	t.Run("gRPC", func(t *testing.T) {
		r := testRequest{method: "POST", path: "/shop.v1.Orders/List", headers: []string{"content-type: application/grpc"}}
		out := check(t, s, r.as("alice", "user"))
		if out.GetDeniedResponse().GetBody() != "forbidden" || header(out, "content-type") != "" {
			t.Errorf("a gRPC client is told %v", out.GetDeniedResponse())
		}
	})
	t.Run("nothing leaks", func(t *testing.T) {
		for name, r := range denials() {
			told := check(t, s, r).GetDeniedResponse().String()
			for _, secret := range []string{"album", "rule", "policy", "alice", "role", "claim"} {
				if strings.Contains(told, secret) {
					t.Errorf("%s: the client is told of %q: %s", name, secret, told)
				}
			}
		}
	})
}

func TestRecord(t *testing.T) {
	var got Record
	var id string
	var encoded []byte
	var result engine.Result
	o := jwtOnly
	o.Observe = func(r *Record) {
		got = *r
		id, got.ID = strings.Clone(r.ID), ""
		encoded, got.Check = bytes.Clone(r.Check), nil
		if r.Decision != nil {
			result = *r.Decision.Deciding()
		}
	}
	s := newServer(t, o)
	out := check(t, s, get("/albums/alice/7?x=secret").as("alice", "user").with("x-request-id: 42"))
	if id == "" || metadata(out, "decision_id") != id {
		t.Errorf("the decision is %q to the observer and %q to Envoy", id, metadata(out, "decision_id"))
	}
	sent := new(authv3.CheckRequest)
	if err := proto.Unmarshal(encoded, sent); err != nil || !proto.Equal(sent, get("/albums/alice/7?x=secret").as("alice", "user").with("x-request-id: 42").message(t)) {
		t.Error("the check that the observer got is not the one that was sent")
	}
	got.Decision, got.route = nil, nil
	want := Record{
		Outcome: Allowed, Route: "albums/read", Principal: "alice", Source: VerifiedJWT, Identity: "jwtMetadata", Kind: "album", Resource: "7",
		Revision: "test", RequestID: "42", Method: "GET", Path: "/albums/alice/7",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if result.Rule == nil || result.Rule.Name != "owner-reads" || result.Rule.Pos.String() != "album.yaml:11:7" {
		t.Errorf("decided by %+v", result.Rule)
	}
	check(t, s, get("/albums/../x").as("alice", "user"))
	if got.Outcome != BadRequest || got.Detail != "dot_segment" || got.Decision != nil {
		t.Errorf("got %+v", got)
	}
}

func TestRouteMapDiagnostics(t *testing.T) {
	c, err := NewCompiler(engine.Options{}, jwtOnly)
	if err != nil {
		t.Fatal(err)
	}
	policies, list := policyfile.ParseAll([]folder.File{{Name: "album.yaml", Content: []byte(albumPolicy)}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	for _, marked := range diagtest.Read(t, "testdata/routes.yaml") {
		t.Run(marked.Name, func(t *testing.T) {
			maps, got := routemap.ParseAll([]folder.File{{Name: marked.File, Content: marked.Content}})
			if len(got) == 0 {
				var rev *Revision
				if rev, got = c.Compile("x", policies, nil, maps); rev != nil {
					t.Error("a revision was made")
				}
			}
			marked.Check(t, got)
			for _, d := range got {
				if d.Source == "" || d.Pos.Column == 0 {
					t.Errorf("no line or column: %s", d.Render())
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"upstream.principalHeader":    {PrincipalHeader: "X-Principal"},
		"upstream.rolesHeader":        {RolesHeader: "x roles"},
		"is upstream.principalHeader": {PrincipalHeader: "x-a", RolesHeader: "x-a"},
		"upstream.decisionHeader":     {DecisionHeader: "X-Decision"},
		"respond.decisionHeader":      {Respond: Respond{DecisionHeader: "x decision"}},
		"is upstream.rolesHeader":     {RolesHeader: "x-a", DecisionHeader: "x-a"},
		"respond.metadata.keys":       {Respond: Respond{MetadataKeys: []string{"effekt"}}},
		"identity.challenge":          {Challenge: "Bearer\r\nx: y"},
		"exactly one of":              {Identity: []Source{{}}},
		"headers.id is missing":       {Identity: []Source{{Headers: &TrustedHeaders{Roles: "x-roles"}}}},
		"a source \"a\" already":      {Identity: []Source{{Name: "a", JWTMetadata: &JWTMetadata{}}, {Name: "a", JWTMetadata: &JWTMetadata{}}}},
		"also sent upstream":          {PrincipalHeader: "x-a", Identity: []Source{{Headers: &TrustedHeaders{ID: "x-a"}}}},
		"not a header name":           {Identity: []Source{{Headers: &TrustedHeaders{ID: "X-User"}}}},
	} {
		if _, err := NewCompiler(engine.Options{}, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want an error with %q", o, err, want)
		}
	}
}

func TestIdentityByConfiguration(t *testing.T) {
	realm := JWTMetadata{Namespace: "jwt", Keys: []string{"kc"}, Claims: claims.Mapping{ID: []string{"preferred_username"}, Roles: []claims.Roles{{Claim: "realm_access.roles"}}}}
	url := JWTMetadata{Claims: claims.Mapping{Roles: []claims.Roles{{Claim: "https://example.test/roles"}}}}
	roleless := JWTMetadata{Claims: claims.Mapping{Roles: []claims.Roles{{Claim: "none"}}, DefaultRoles: []string{"admin"}}}
	tests := []struct {
		name    string
		options Options
		request testRequest
		want    string
	}{
		{"defaults", Options{Identity: []Source{{JWTMetadata: &JWTMetadata{}}}}, get("/albums/x/1").as("a", "admin"), "allow"},
		{"nested roles", Options{Identity: []Source{{JWTMetadata: &JWTMetadata{Claims: claims.Mapping{Roles: []claims.Roles{{Claim: "realm_access.roles"}}}}}}},
			testRequest{method: "GET", path: "/albums/x/1", claims: map[string]any{"sub": "a", "realm_access": map[string]any{"roles": []any{"admin"}}}}, "allow"},
		{"another namespace", Options{Identity: []Source{{JWTMetadata: &realm}}}, get("/albums/x/1").as("a", "admin"), "no_identity"},
		{"a claim with dots", Options{Identity: []Source{{JWTMetadata: &url}}},
			testRequest{method: "GET", path: "/albums/x/1", claims: map[string]any{"sub": "a", "https://example.test/roles": []any{"admin"}}}, "allow"},
		{"default roles", Options{Identity: []Source{{JWTMetadata: &roleless}}}, get("/albums/x/1").as("a"), "allow"},
		{"no sources", Options{}, get("/albums/x/1").as("a", "admin"), "no_identity"},
		{"anonymous everywhere, policy denies", Options{Anonymous: true}, get("/albums/x/1"), "no_identity"},
		{"anonymous everywhere, policy allows", Options{Anonymous: true}, get("/search?id=1"), "allow"},
		{"header twice", Options{Identity: []Source{{Headers: &TrustedHeaders{ID: "x-user"}}}}, get("/albums").with("x-user: a", "x-user: b"), "bad_identity"},
		{"header empty", Options{Identity: []Source{{Headers: &TrustedHeaders{ID: "x-user"}}}}, get("/albums").with("x-user: "), "bad_identity"},
		{"header odd", Options{Identity: []Source{{Headers: &TrustedHeaders{ID: "x-user"}}}}, get("/albums").with("x-user: \xff"), "bad_identity"},
		{"header roles", Options{Identity: []Source{{Headers: &TrustedHeaders{ID: "x-user", Roles: "x-roles"}}}}, get("/albums/b/1").with("x-user: a", "x-roles: user, admin"), "allow"},
	}
	for _, tt := range tests {
		if got, _ := reason(check(t, newServer(t, tt.options), tt.request)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// An attribute of the route map hides a claim of the same name: the token says
// what the client got signed, the route map what the operator wants to be used.
func TestRouteAttributesHideClaims(t *testing.T) {
	rev := compile(t, jwtOnly, `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: page
  version: default
  rules:
    - {name: local, actions: [read], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'P.attr.clientIp.inIPAddrRange("10.0.0.0/8")'}}}
    - {name: team, actions: [team], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'P.attr.team == "blue" && !has(P.attr.nobody)'}}}
`, `
apiVersion: edict.dev/v1
routeMap:
  name: pages
  principal: {attributes: {clientIp: {expr: request.source.address}, nobody: {expr: 'claims.?nobody'}}}
  routes:
    - {name: page, match: {path: /page}, resource: {kind: page, id: p}, action: read}
    - {name: team, match: {path: /team}, resource: {kind: page, id: p}, action: team}
`)
	s := new(Server)
	s.Use(rev)
	for source, want := range map[string]string{"10.1.2.3": "allow", "192.0.2.1": "deny"} {
		r := get("/page").as("alice", "user")
		r.claims["clientIp"] = "10.9.9.9"
		r.source = source
		if got, _ := reason(check(t, s, r)); got != want {
			t.Errorf("from %s: got %s, want %s", source, got, want)
		}
	}
	// Other claims stay attributes, and an optional without a value is none.
	r := get("/team").as("alice", "user")
	r.source, r.claims["team"] = "192.0.2.1", "blue"
	if got, _ := reason(check(t, s, r)); got != "allow" {
		t.Errorf("by a claim: got %s", got)
	}
}

// maxFuzzed bounds the messages that are fuzzed, in bytes. Mutation makes them
// longer and longer otherwise, and the engine spends its time on making them
// short again.
const maxFuzzed = 1 << 10

// A policy set that allows nothing is never talked into an allow, whatever the
// bytes, and every answer is a message. The bytes are a check, and also what is
// merged into a whole one, as messages of protobuf are when one follows another:
// so a few bytes can do much.
//
// The seeds reach nearly all that there is to reach: for each message that
// reaches something new the engine takes as long as -fuzzminimizetime says to
// make it smaller, and does not count what it runs for that.
func FuzzAppendCheck(f *testing.F) {
	s := new(Server)
	s.Use(compile(f, jwtOnly, strings.ReplaceAll(albumPolicy, "EFFECT_ALLOW", "EFFECT_DENY"), albumRoutes))
	whole := get("/albums/alice/1").as("alice", "user", "admin").bytes(f)
	messages := [][]byte{nil, whole, get("/preview").bytes(f)}
	denied := denials()
	for _, name := range slices.Sorted(maps.Keys(denied)) {
		messages = append(messages, denied[name].bytes(f))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, b := range messages {
		f.Add(b)
		for range len(b) / 48 {
			damaged := bytes.Clone(b)
			damaged[random.IntN(len(b))] ^= 1 << random.IntN(8)
			f.Add(damaged)
			at, n := random.IntN(len(b)), random.IntN(16)
			f.Add(slices.Concat(b[:at], b[min(at+n, len(b)):]))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxFuzzed {
			return
		}
		for _, check := range [...][]byte{b, slices.Concat(whole, b), slices.Concat(b, whole)} {
			out := new(authv3.CheckResponse)
			if err := proto.Unmarshal(s.AppendCheck(context.Background(), nil, check), out); err != nil {
				t.Fatal(err)
			}
			if out.GetStatus().GetCode() == 0 || out.GetDeniedResponse() == nil {
				t.Fatalf("allowed: %v", out)
			}
			if got, _ := reason(out); got == "internal" {
				t.Fatalf("a panic: %v", out)
			}
		}
	})
}
