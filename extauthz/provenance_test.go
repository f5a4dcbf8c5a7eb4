package extauthz

import (
	"slices"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/diag/diagtest"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/extauthz/routemap"
)

// Policies that trust attributes: of one kind, by what one imports, and of every
// kind.
var trustedPolicies = []string{`
apiVersion: api.cerbos.dev/v1
metadata: {annotations: {edict.dev/trusted: "P.attr.team R.attr.tenant"}}
resourcePolicy:
  resource: doc
  version: default
  rules: [{name: all, actions: ["*"], effect: EFFECT_ALLOW, roles: ["*"]}]
`, `
apiVersion: api.cerbos.dev/v1
metadata: {annotations: {edict.dev/trusted: "R.attr.label"}}
resourcePolicy:
  resource: page
  version: default
  importDerivedRoles: [owners]
  rules: [{name: owner, actions: ["*"], effect: EFFECT_ALLOW, derivedRoles: [owner]}]
`, `
apiVersion: api.cerbos.dev/v1
metadata: {annotations: {edict.dev/trusted: "R.attr.owner"}}
derivedRoles:
  name: owners
  definitions: [{name: owner, parentRoles: [user], condition: {match: {expr: R.attr.owner == P.id}}}]
`, `
apiVersion: api.cerbos.dev/v1
resourcePolicy: {resource: note, version: default}
`, `
apiVersion: api.cerbos.dev/v1
metadata: {annotations: {edict.dev/trusted: "R.attr.clearance"}}
principalPolicy: {principal: root, version: default}
`, `
apiVersion: api.cerbos.dev/v1
disabled: true
metadata: {annotations: {edict.dev/trusted: "R.attr.other"}}
resourcePolicy: {resource: gone, version: default}
`}

func policiesOf(t testing.TB, texts []string) []*policy.Policy {
	t.Helper()
	var files []folder.File
	for i, text := range texts {
		files = append(files, folder.File{Name: string(rune('a'+i)) + ".yaml", Content: []byte(text)})
	}
	policies, list := policyfile.ParseAll(files)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return policies
}

func TestTrustedAttributesAreNotTheClients(t *testing.T) {
	policies := policiesOf(t, trustedPolicies)
	c, err := NewCompiler(engine.Options{}, jwtOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, marked := range diagtest.Read(t, "testdata/trusted.yaml") {
		t.Run(marked.Name, func(t *testing.T) {
			maps, got := routemap.ParseAll([]folder.File{{Name: marked.File, Content: marked.Content}})
			if len(got) == 0 {
				_, got = c.Compile("x", policies, nil, maps)
			}
			marked.Check(t, got)
			for _, d := range got {
				if len(d.Related) != 1 || !strings.Contains(d.Related[0].Pos.String(), ".yaml:3:") {
					t.Errorf("the policy is not shown: %s", d.Render())
				}
			}
		})
	}
}

// A kind that Envoy's configuration pins is judged when the request comes.
func TestPinnedKindsKeepTheirTrust(t *testing.T) {
	c, err := NewCompiler(engine.Options{}, jwtOnly)
	if err != nil {
		t.Fatal(err)
	}
	maps, list := routemap.ParseAll([]folder.File{{Name: "routes.yaml", Content: []byte(`
apiVersion: edict.dev/v1
routeMap:
  name: notes
  routes:
    - {name: note, match: {path: /note}, resource: {kind: note, id: x, attributes: {tenant: {expr: request.query.tenant}}}, action: read}
    - {name: plain, match: {path: /plain}, resource: {kind: note, id: x}, action: read}
`)}})
	rev, more := c.Compile("x", policiesOf(t, trustedPolicies), nil, maps)
	if list = append(list, more...); len(list) > 0 {
		t.Fatal(list.Render())
	}
	s := new(Server)
	s.Use(rev)
	for path, want := range map[string]string{"/note?tenant=acme": "bad_pin", "/plain": "allow"} {
		r := get(path).as("jane", "user")
		r.extensions = map[string]string{"edict.resource.kind": "doc"}
		if got, _ := reason(check(t, s, r)); got != want {
			t.Errorf("%s pinned to doc: got %s, want %s", path, got, want)
		}
	}
}

// Every attribute has the provenance of the weakest that its expression reads,
// and what it reads is told.
func TestProvenanceOfAttributes(t *testing.T) {
	const routes = `
apiVersion: edict.dev/v1
routeMap:
  name: docs
  principal: {attributes: {hint: {expr: 'request.headers[?"x-hint"]'}, site: {expr: request.source.address}}}
  routes:
    - name: doc
      match: {path: "/doc/{id}"}
      anonymous: true
      resource:
        kind: note
        id: x
        attributes: {a: {expr: $}}
      action: read
`
	both := Options{Identity: []Source{
		{JWTMetadata: &JWTMetadata{}},
		{Headers: &TrustedHeaders{ID: "x-user", Roles: "x-roles"}},
	}}
	token, header := get("/doc/1").as("jane", "user"), get("/doc/1").with("x-user: harry", "x-roles: user")
	nobody := get("/doc/1")
	for _, tt := range []struct {
		expression string
		request    testRequest
		want       Provenance
		reads      string
	}{
		{`"x" + "y"`, token, FromConfig, ""},
		{`now()`, token, FromConfig, ""},
		{`path.id`, token, FromClient, "path.id"},
		{`path["id"]`, token, FromClient, "path"},
		{`request.time`, token, Proxy, "request.time"},
		{`request.source.address`, token, Proxy, "request.source.address"},
		{`request.source.principal`, token, MTLSPeer, "request.source.principal"},
		{`request.source.principal + request.source.address`, token, Proxy, "request.source.principal, request.source.address"},
		{`request.source.principal + request.source.service`, token, FromClient, "request.source.principal, request.source.service"},
		{`[request.source].map(s, s.address)`, token, FromClient, "request.source"},
		{`request.destination.principal`, token, FromConfig, "request.destination.principal"},
		{`request.destination.service`, token, FromClient, "request.destination.service"},
		{`request.contextExtensions[?"a b"]`, token, FromConfig, `request.contextExtensions["a b"]`},
		{`request.routeMetadata.?ns.x`, token, FromConfig, "request.routeMetadata.ns.x"},
		{`request.metadata[?"envoy.lb"].?x`, token, Proxy, `request.metadata["envoy.lb"].x`},
		{`request.metadata[?"envoy.filters.http.jwt_authn"].?jwt.?sub`, token, VerifiedJWT, `request.metadata["envoy.filters.http.jwt_authn"].jwt.sub`},
		{`request.metadata[?"envoy." + "x"]`, token, Proxy, "request.metadata"},
		{`request.headers[?"x-a"]`, token, FromClient, `request.headers["x-a"]`},
		{`claims.?sub`, token, VerifiedJWT, "claims.sub"},
		{`claims.?sub`, header, Proxy, "claims.sub"},
		{`claims.?sub`, nobody, FromConfig, "claims.sub"},
		{`principal.id`, token, VerifiedJWT, "principal.id"},
		{`principal.id`, header, Proxy, "principal.id"},
		{`principal.id`, nobody, FromConfig, "principal.id"},
		{`principal.id + request.source.principal`, header, Proxy, "principal.id, request.source.principal"},
		{`principal.id + request.source.principal`, nobody, MTLSPeer, "principal.id, request.source.principal"},
		{`principal.attr.?team`, token, VerifiedJWT, "principal.attr.team"},
		{`principal.attr.site`, token, Proxy, "principal.attr.site, request.source.address"},
		{`principal.attr.?hint`, token, FromClient, `principal.attr.hint, request.headers["x-hint"]`},
		{`principal.attr.size()`, token, FromClient, `principal.attr, request.headers["x-hint"], request.source.address`},
		{`principal.roles.map(claims, claims)`, token, VerifiedJWT, "principal.roles"},
	} {
		var seen []string
		o := both
		o.Observe = func(r *Record) {
			r.Attributes(func(name string, p Provenance) bool {
				seen = append(seen, name+" "+string(p))
				return true
			})
		}
		rev := compile(t, o, trustedPolicies[3], strings.ReplaceAll(routes, "$", "'"+tt.expression+"'"))
		s := new(Server)
		s.Use(rev)
		check(t, s, tt.request)
		if want := []string{"P.attr.hint client", "P.attr.site proxy", "R.attr.a " + string(tt.want)}; !slices.Equal(seen, want) {
			t.Errorf("%s: the record has %q, want %q", tt.expression, seen, want)
		}
		told := rev.Explain(t.Context(), tt.request.bytes(t))
		if len(told.Attributes) != 3 {
			t.Fatalf("%s: %+v", tt.expression, told)
		}
		if a := told.Attributes[2]; a.Provenance != tt.want || strings.Join(a.Reads, ", ") != tt.reads {
			t.Errorf("%s: explained as %+v, want %s of %s", tt.expression, a, tt.want, tt.reads)
		}
	}
}

// What the client says of the principal does not outweigh what the identity
// brings; what a proxy or the configuration says does.
func TestClientsDoNotOutweighTheIdentity(t *testing.T) {
	rev := compile(t, jwtOnly, trustedPolicies[3], `
apiVersion: edict.dev/v1
routeMap:
  name: notes
  principal: {attributes: {team: {expr: 'request.headers["x-team"]'}, site: {expr: request.source.address}, plan: basic}}
  routes:
    - {name: note, match: {path: /note}, resource: {kind: note, id: x, attributes: {team: {expr: principal.attr.team}}}, action: read}
`)
	attribute := func(claims map[string]any, name string) string {
		r := get("/note").as("jane", "user").with("x-team: red")
		r.source = "10.0.0.1"
		for k, v := range claims {
			r.claims[k] = v
		}
		told := rev.Explain(t.Context(), r.bytes(t))
		if len(told.Requests) != 1 {
			t.Fatalf("%v: %v", told.Outcome, told.Err)
		}
		v, _ := told.Requests[0].Principal.Attr.Lookup(name)
		if name == "team" {
			if again, _ := told.Requests[0].Resource.Attr.Lookup("team"); again.Str() != v.Str() {
				t.Errorf("the resource sees %q, the principal has %q", again.Str(), v.Str())
			}
		}
		return v.Str()
	}
	brought := map[string]any{"team": "blue", "site": "nowhere", "plan": "gold"}
	for name, want := range map[string][2]string{"team": {"red", "blue"}, "site": {"10.0.0.1", "10.0.0.1"}, "plan": {"basic", "basic"}} {
		if got := [2]string{attribute(nil, name), attribute(brought, name)}; got != want {
			t.Errorf("%s: without and with a claim of that name %q, want %q", name, got, want)
		}
	}
}
