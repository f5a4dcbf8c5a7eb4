package extauthz

import (
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/extauthz/routemap"
	"edict/extauthz/target"
)

// spellingRoutes has a route for each way to read a path, and the strict routes
// that a lax reading must not get around. What a route is asked for, it allows;
// the attribute name tells what it captured.
const spellingRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: spelling
  routes:
    - name: opaque
      match: {path: "/opaque/{name}"}
      anonymous: true
      accept: [encoded-slash]
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: opaque-rest
      match: {path: "/opaque-rest/{name=**}"}
      anonymous: true
      accept: [encoded-slash]
      resource: {kind: album, id: {expr: "path.name + ' ' + request.path + ' ' + request.rawPath"}}
      action: preview
    - name: split
      match: {path: "/split/{name=**}"}
      anonymous: true
      accept: [encoded-slash-decoded, merged-slashes]
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: split-admin
      match: {path: "/split/admin/{name}"}
      anonymous: true
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: strict
      match: {path: "/strict/{name=**}"}
      anonymous: true
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: explicit
      match: {path: "/explicit/{name=**}"}
      anonymous: true
      accept: []
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: dropped
      match: {path: "/dropped/{name}"}
      anonymous: true
      accept: [path-parameters-dropped]
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: both
      match: {path: "/torn/{name}"}
      anonymous: true
      accept: [encoded-slash]
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: both-split
      match: {path: "/torn/{name}/{rest}"}
      anonymous: true
      accept: [encoded-slash-decoded]
      resource: {kind: album, id: {expr: path.name}}
      action: preview
    - name: query
      match: {path: "/query"}
      anonymous: true
      accept: [query-semicolon]
      resource: {kind: album, id: {expr: request.query.a}}
      action: preview
    - name: strict-query
      match: {path: "/strict-query"}
      anonymous: true
      accept: [encoded-slash]
      resource: {kind: album, id: {expr: request.query.a}}
      action: preview
    - name: method
      match: {grpc: {service: shop.v1.Albums, method: Get}}
      anonymous: true
      resource: {kind: album, id: x}
      action: preview
`

func TestAcceptedSpellingsOfRoutes(t *testing.T) {
	for _, config := range []struct {
		name   string
		accept target.Accept
		tests  []spellingTest
	}{
		{"nothing in the configuration", 0, []spellingTest{
			{"/opaque/a", "opaque", "a"},
			{"/opaque/a%2Fb", "opaque", "a/b"},
			{"/opaque/a%2Fb%2Fc", "opaque", "a/b/c"},
			{"/opaque/a%2F..%2Fb", "", "encoded_slash"},
			{"/opaque/a;b", "", "path_parameter"},
			{"/opaque//a%2Fb", "", "empty_segment"},
			{"/opaque-rest/a%2fb/c", "opaque-rest", "a%2Fb/c /opaque-rest/a%2Fb/c /opaque-rest/a%2fb/c"},
			{"/opaque-rest/a%2fb", "opaque-rest", "a%2Fb /opaque-rest/a%2Fb /opaque-rest/a%2fb"},
			{"/split/a%2Fb", "split", "a/b"},
			{"/split%2Fa", "split", "a"},
			{"/split//a%2F%2Fb", "split", "a/b"},
			// Read so, it is the path of a route that does not want it.
			{"/split/admin%2Fx", "", "encoded_slash"},
			{"/split/admin//x", "", "empty_segment"},
			{"/split%2F..%2Fstrict/x", "", "encoded_slash"},
			{"/strict/a%2Fb", "", "encoded_slash"},
			{"/strict//a", "", "empty_segment"},
			{"/strict/a;b", "", "path_parameter"},
			{"/explicit/a%2Fb", "", "encoded_slash"},
			{"/dropped/a;b=c", "dropped", "a"},
			{"/dropped/a;b=%2F", "", "path_parameter"},
			{"/dropped;x/a", "dropped", "a"},
			{"/nowhere/a%2Fb", "", "encoded_slash"},
			{"/nowhere/a", "", ""},
			// Two routes want it, each in its own reading.
			{"/torn/a%2Fb", "", "encoded_slash"},
			{"/torn/a", "both", "a"},
			{"/torn/a/b", "both-split", "a"},
			{"/query?a=1;b", "query", "1;b"},
			{"/strict-query?a=1;b", "", "query_semicolon"},
			{"/shop.v1.Albums%2FGet", "", "encoded_slash"},
		}},
		{"something in the configuration", target.AcceptDoubleEncoding | target.AcceptQuerySemicolon, []spellingTest{
			{"/strict/a%2541", "strict", "a%41"},
			{"/explicit/a%2541", "", "double_encoding"},
			{"/opaque/a%2541", "", "double_encoding"},
			{"/opaque/a%2Fb", "opaque", "a/b"},
			{"/strict-query?a=1;b", "", "query_semicolon"},
		}},
	} {
		t.Run(config.name, func(t *testing.T) {
			o := jwtOnly
			o.Accept = config.accept
			var record Record
			o.Observe = func(r *Record) { record = *r }
			s := new(Server)
			s.Use(compile(t, o, albumPolicy, spellingRoutes))
			for _, tt := range config.tests {
				out := check(t, s, get(tt.path))
				got, _ := reason(out)
				if tt.route == "" {
					want := "bad_request"
					if tt.want == "" {
						want = "no_route"
					}
					if got != want || record.Detail != tt.want || record.Route != "" && want == "bad_request" && tt.want != "query_semicolon" {
						t.Errorf("%s: got %s %q, route %q; want %s", tt.path, got, record.Detail, record.Route, tt.want)
					}
					continue
				}
				if got != "allow" || record.Route != "spelling/"+tt.route || record.Resource != tt.want {
					t.Errorf("%s: got %s %q, route %s, %q; want %s, %q", tt.path, got, record.Detail, record.Route, record.Resource, tt.route, tt.want)
				}
			}
		})
	}
}

type spellingTest struct {
	path  string
	route string // "": refused
	want  string // the capture, or the detail of the refusal
}

func TestAcceptDiagnostics(t *testing.T) {
	for name, tt := range map[string]struct{ route, message, hint string }{
		"unknown":       {`match: {path: /a}, accept: [encoded-slahs]`, `"encoded-slahs" is not a spelling that can be accepted`, `did you mean "encoded-slash"?`},
		"contradictory": {`match: {path: /a}, accept: [merged-slashes, empty-segments]`, "empty-segments and merged-slashes give one spelling two meanings", "name the one that the backend of the route agrees with"},
		"of a method":   {`match: {grpc: {service: a.B, method: C}}, accept: [encoded-slash]`, "a gRPC method has one spelling, and no other can be accepted", "remove accept"},
	} {
		list := compileErrors(t, jwtOnly, "apiVersion: edict.dev/v1\nrouteMap:\n  name: x\n  routes:\n    - {name: r, "+tt.route+", resource: {kind: album, id: x}, action: list}\n")
		if len(list) != 1 || list[0].Code != CodeRouteAccept || list[0].Message != tt.message || list[0].Hint != tt.hint || list[0].Pos.Line != 5 {
			t.Errorf("%s: got\n%s", name, list.Render())
		}
	}
	o := jwtOnly
	o.Accept = target.AcceptEncodedSlash | target.AcceptDecodedSlash
	if _, err := NewCompiler(engine.Options{}, o); err == nil {
		t.Error("contradictory options are taken")
	}
}

// compileErrors gives what is wrong with a route map.
func compileErrors(t testing.TB, o Options, routes string) diag.List {
	t.Helper()
	c, err := NewCompiler(engine.Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	p, list := policyfile.ParseAll([]folder.File{{Name: "album.yaml", Content: []byte(albumPolicy)}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	r, list := routemap.ParseAll([]folder.File{{Name: "routes.yaml", Content: []byte(routes)}})
	if len(list) > 0 {
		return list
	}
	_, list = c.Compile("test", p, nil, r)
	return list
}

// A path that needs no option costs nothing more for those that do.
func TestAcceptedSpellingsAreReadWithoutAllocations(t *testing.T) {
	if RaceDetector() {
		t.Skip("the race detector makes pools forget what they hold")
	}
	rev := compile(t, jwtOnly, albumPolicy, spellingRoutes)
	x := new(exchange)
	dst := make([]byte, 0, 4096)
	for path, most := range map[string]float64{"/strict/a": 0, "/opaque/a": 0, "/dropped/a;b=c": 4, "/opaque/a%2Fb": 8} {
		request := get(path).bytes(t)
		n := testing.AllocsPerRun(100, func() {
			if o := x.decide(t.Context(), rev, request); o != Allowed {
				t.Fatalf("%s: %v", path, o)
			}
			x.answer(dst, Allowed)
			x.release()
		})
		if n > most && !RaceDetector() {
			t.Errorf("%s: %v allocations, want at most %v", path, n, most)
		}
	}
}

// With IgnoreCase a path takes the route that it takes for backends that ignore
// case, whatever its case is; without it, what is no literal is for a wildcard.
func TestIgnoreCase(t *testing.T) {
	const routes = `
apiVersion: edict.dev/v1
routeMap:
  name: cased
  routes:
    - {name: admin, match: {path: "/admin/{id}"}, anonymous: true, resource: {kind: album, id: {expr: "path.id + ' ' + request.path"}}, action: preview}
    - {name: json, match: {path: "/Reports/r-{id}.JSON"}, anonymous: true, resource: {kind: album, id: {expr: path.id}}, action: preview}
    - {name: rest, match: {path: "/{rest=**}"}, anonymous: true, accept: [encoded-slash-decoded], resource: {kind: album, id: {expr: path.rest}}, action: preview}
    - {name: deep, match: {path: "/files/{rest=**}.PDF"}, anonymous: true, resource: {kind: album, id: {expr: path.rest}}, action: preview}
`
	for _, tt := range []struct{ path, exact, careless string }{
		{"/admin/A", "admin A /admin/A", "admin A /admin/A"},
		{"/ADMIN/A", "rest ADMIN/A", "admin A /ADMIN/A"},
		{"/%41dmin/A", "rest Admin/A", "admin A /Admin/A"},
		{"/Admin%2FA", "rest Admin/A", "bad_request encoded_slash"},
		{"/reports/R-7.json", "rest reports/R-7.json", "json 7"},
		{"/Reports/r-X.JSON", "json X", "json X"},
		{"/Files/a/B.pdf", "rest Files/a/B.pdf", "deep a/B"},
		{"/adm%C4%B1n/A", "rest admın/A", "no_route"},
	} {
		for _, ignore := range []bool{false, true} {
			got := ""
			s := new(Server)
			s.Use(compile(t, Options{IgnoreCase: ignore, Observe: func(r *Record) {
				got = strings.TrimPrefix(r.Route, "cased/") + " " + r.Resource
				if r.Outcome != Allowed {
					got = strings.TrimSpace(r.Outcome.String() + " " + r.Detail)
				}
			}}, albumPolicy, routes))
			check(t, s, get(tt.path))
			want := tt.exact
			if ignore {
				want = tt.careless
			}
			if got != want {
				t.Errorf("%s, ignoring case %v: got %q, want %q", tt.path, ignore, got, want)
			}
		}
	}
	twice := strings.Replace(routes, "/Reports/r-{id}.JSON", "/ADMIN/{id}", 1)
	if list := compileErrors(t, Options{}, twice); len(list) > 0 {
		t.Errorf("two routes that differ in case:\n%s", list.Render())
	}
	if list := compileErrors(t, Options{IgnoreCase: true}, twice); len(list) != 1 || list[0].Code != CodeRouteConflict {
		t.Errorf("two routes that differ only in case:\n%s", list.Render())
	}
	odd := strings.Replace(routes, "/admin/", "/admın/", 1)
	if list := compileErrors(t, Options{IgnoreCase: true}, odd); len(list) != 1 || list[0].Code != CodeRouteTemplate {
		t.Errorf("a letter that can't be folded:\n%s", list.Render())
	}
}
