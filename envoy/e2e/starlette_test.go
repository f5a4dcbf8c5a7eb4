package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/extauthz"
	"edict/extauthz/routemap"
	"edict/extauthz/target"
)

// A twinRoute is a route of Edict and of a backend. Those of an application are
// in the order in which a backend that takes the first that fits must have
// them.
type twinRoute struct {
	name    string
	methods []string
	edict   string // template
	backend string // of Starlette; of Go's ServeMux, see muxPattern
}

var twinRoutes = []twinRoute{
	{"root", nil, "/", "/"},
	{"items", []string{"GET"}, "/items", "/items"},
	{"items-slash", nil, "/items/", "/items/"},
	{"new-item", []string{"POST"}, "/items/new", "/items/new"},
	{"delete-item", []string{"DELETE"}, "/items/{id}", "/items/{id}"},
	{"item", []string{"GET", "PUT"}, "/items/{id}", "/items/{id}"},
	{"item-slash", nil, "/items/{id}/", "/items/{id}/"},
	{"part", nil, "/items/{id}/parts/{part}", "/items/{id}/parts/{part}"},
	{"Items", nil, "/Items/{id}", "/Items/{id}"},
	{"admin", nil, "/admin", "/admin"},
	{"admin-users", nil, "/admin/users/{user}", "/admin/users/{user}"},
	{"files-index", nil, "/files/index.html", "/files/index.html"},
	{"files", nil, "/files/{rest=**}", "/files/{rest:path}"},
	{"release", nil, "/v{version}/{id}.json", "/v{version}/{id}.json"},
	{"tag", nil, "/tags/{tag}", "/tags/{tag}"},
	{"café", nil, "/caf%C3%A9/{x}", "/café/{x}"},
	{"space", nil, "/a%20b/{x}", "/a b/{x}"},
	{"own-files", nil, "/users/{name}/files/{rest=**}", "/users/{name}/files/{rest:path}"},
	{"tenant", nil, "/{tenant}/settings", "/{tenant}/settings"},
}

// catchAll takes what no other route takes, so that every path that Edict
// admits has a route.
var catchAll = twinRoute{"all", nil, "/{rest=**}", "/{rest:path}"}

// A reading is a way to set up Edict, and the backend that reads paths so.
type reading struct {
	option     string // "": none
	server     string // of starlette_router.py
	ignoreCase bool
}

var readings = []reading{
	{},
	{option: "encoded-slash-decoded"},
	{option: "empty-segments"},
	{option: "path-parameters"},
	{option: "encoded-delimiters"},
	{option: "double-encoding"},
	{option: "unnormalized-text"},
	{option: "encoded-slash-decoded,empty-segments,path-parameters,encoded-delimiters,double-encoding,unnormalized-text"},
	{option: "encoded-slash", server: "split-first"},
	{option: "merged-slashes", server: "merge-slashes"},
	{option: "path-parameters-dropped", server: "drop-parameters"},
}

// A generated request is one of a method and a path.
type generated struct{ method, path string }

// generatedPaths is how many different requests the tests compare.
const generatedPaths = 110_000

// generate makes different requests from templates: values for variables, and
// then what attackers and careless clients do to paths.
func generate(n int) []generated {
	rng := rand.New(rand.NewPCG(2026, 4))
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	values := []string{"7", "new", "a", "x1", "users", "admin", "items", "parts", "index.html", "caf%C3%A9", "café", "a%20b", "a+b", "a%2Bb",
		"a.b", "v2", "v", "x.json", ".json", "%E6%97%A5%E6%9C%AC", "%F0%9F%98%80", "A", "%41dmin", "100%25", "a=b", "a,b", "a:b", "@me", "~me", "$x",
		"(a)", "a'b", "a&b", "!", "*", "[1]", "a|b", "%22", "%7B%7D", "index%2ehtml", "...", "..a", "a..", "-", "_"}
	odd := []string{"%2F", "%2f", "//", "/", "/./", "/../", "%2e%2e", "%2E", ".", "..", ";x=1", ";", "%3B", "..;/", "%3F", "%23", "%5C", `\`, "%252F", "%2541", "%25zz", "%2500",
		"%252e", "%00", "%0a", "%7f", "%c0%ae", "%ff", "%zz", "%", "%u002e", "%ef%bc%8f", "%EF%AC%81", "e%CC%81", "%E2%80%A6", "%ef%bc%8e", "%c2%85", "\u00e9", " ", "%20", "+", "#",
		"?a=b", "?a=/../b", "/", "%2F%2F", ";a/b", "%2Fparts%2F", "%2Fadmin", "%2e", "%e2%80%a8", "%EF%BB%BF", "%C3%89"}
	methods := []string{"GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD"}
	routes := append(slices.Clone(twinRoutes), catchAll)
	seen := map[generated]bool{}
	var out []generated
	for len(out) < n {
		template := routes[rng.IntN(len(routes))].edict
		var b strings.Builder
		for template != "" {
			before, after, found := strings.Cut(template, "{")
			b.WriteString(before)
			if !found {
				break
			}
			variable, rest, _ := strings.Cut(after, "}")
			b.WriteString(pick(values))
			if strings.Contains(variable, "**") {
				for range rng.IntN(3) {
					b.WriteString("/" + pick(values))
				}
			}
			template = rest
		}
		path := b.String()
		for range max(0, rng.IntN(6)-2) {
			at := 1 + rng.IntN(len(path))
			switch rng.IntN(8) {
			case 0: // one character, encoded
				if at < len(path) && path[at] < 0x80 {
					path = path[:at] + fmt.Sprintf("%%%02X", path[at]) + path[at+1:]
				}
			case 1: // one letter in the other case
				if at < len(path) && ('a' <= path[at]|0x20 && path[at]|0x20 <= 'z') {
					path = path[:at] + string(path[at]^0x20) + path[at+1:]
				}
			case 2:
				path += "/"
			case 3:
				path += pick(odd)
			case 4: // another segment
				path = path[:at] + "/" + pick(values) + path[at:]
			default:
				path = path[:at] + pick(odd) + path[at:]
			}
		}
		g := generated{pick(methods), path}
		if !seen[g] && utf8.ValidString(path) {
			seen[g] = true
			out = append(out, g)
		}
	}
	return out
}

// A twin is Edict with the routes of an application. The resource of a route is
// what it captured.
type twin struct {
	server extauthz.Server
	record extauthz.Record
}

const (
	betweenCaptures = "\x1f"
	twinPolicy      = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: path
  version: default
  rules: [{actions: [use], effect: EFFECT_ALLOW, roles: ["*"]}]
`
)

func newTwin(t *testing.T, routes []twinRoute, accept target.Accept, ignoreCase bool) *twin {
	t.Helper()
	w := new(twin)
	c, err := extauthz.NewCompiler(engine.Options{}, extauthz.Options{Anonymous: true, Accept: accept, IgnoreCase: ignoreCase, Observe: func(r *extauthz.Record) { w.record = *r }})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("apiVersion: edict.dev/v1\nrouteMap:\n  name: twin\n  routes:\n")
	for i, r := range routes {
		id := `"="`
		for _, name := range variablesOf(r.edict) {
			id += fmt.Sprintf(` + "\x1f%s=" + path.%s`, name, name)
		}
		methods, _ := json.Marshal(append([]string{}, r.methods...))
		if r.methods == nil {
			methods = []byte("[GET, POST, PUT, DELETE, HEAD]")
		}
		expr, _ := json.Marshal(id)
		fmt.Fprintf(&b, "    - {name: r%d, match: {methods: %s, path: %q}, resource: {kind: path, id: {expr: %s}}, action: use}\n", i, methods, r.edict, expr)
	}
	maps, list := routemap.ParseAll([]folder.File{{Name: "routes.yaml", Content: []byte(b.String())}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	policies, list := policyfile.ParseAll([]folder.File{{Name: "path.yaml", Content: []byte(twinPolicy)}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	revision, list := c.Compile("twin", policies, nil, maps)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	w.server.Use(revision)
	return w
}

// variablesOf gives the names of a template's variables.
func variablesOf(template string) (names []string) {
	for _, part := range strings.Split(template, "{")[1:] {
		names = append(names, part[:strings.IndexAny(part, "=}")])
	}
	return names
}

// ask gives the route that Edict finds for a request that it admits, and what
// the route captures.
func (w *twin) ask(t *testing.T, g generated, buffer []byte) (route int, captures map[string]string, admitted bool) {
	b, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: g.method, Path: g.path, Host: "x.test"}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.server.AppendCheck(t.Context(), buffer, b)
	if w.record.Outcome != extauthz.Allowed {
		return 0, nil, false
	}
	if _, err := fmt.Sscanf(w.record.Route, "twin/r%d", &route); err != nil {
		t.Fatal(err)
	}
	captures = map[string]string{}
	for _, c := range strings.Split(w.record.Resource, betweenCaptures)[1:] {
		name, text, _ := strings.Cut(c, "=")
		captures[name] = text
	}
	return route, captures, true
}

// An admission is a request that Edict lets pass, and where to.
type admission struct {
	generated
	application int
	reading     reading
	route       string
	captures    map[string]string
}

// admissions asks Edict about every request in every reading. A request that
// needs no option is read the same with each, so that it is asked once.
func admissions(t *testing.T, requests []generated, applications [][]twinRoute, readings []reading) (out []admission, strict int) {
	t.Helper()
	type key struct{ application, reading int }
	twins := map[key]*twin{}
	for a, routes := range applications {
		for i, r := range readings {
			var accept target.Accept
			for name := range strings.SplitSeq(r.option, ",") {
				option, _ := target.AcceptOf(name)
				accept |= option
			}
			twins[key{a, i}] = newTwin(t, routes, accept, r.ignoreCase)
		}
	}
	var plain target.Target
	buffer := make([]byte, 0, 4096)
	for _, g := range requests {
		needsOption := plain.Parse(g.path) != target.OK
		for i, r := range readings {
			if needsOption == (r.option == "") {
				continue
			}
			for a, routes := range applications {
				if needsOption && a < len(applications)-1 {
					continue // the last one has a route for all that is admitted
				}
				if route, captures, ok := twins[key{a, i}].ask(t, g, buffer); ok {
					out = append(out, admission{g, a, r, routes[route].name, captures})
				}
			}
		}
		if !needsOption {
			strict++
		}
	}
	return out, strict
}

// TestRouterOfStarlette generates requests, and compares what Edict makes of
// those that it admits with what Starlette's own router makes of them: the
// route and what it captures. It covers default settings and each option.
func TestRouterOfStarlette(t *testing.T) {
	needTools(t)
	applications := [][]twinRoute{twinRoutes, append(slices.Clone(twinRoutes), catchAll)}
	requests := generate(generatedPaths)
	admitted, strict := admissions(t, requests, applications, readings)

	count, refused, differences := compareStarlette(t, applications, admitted)
	for _, d := range differences[:min(len(differences), 20)] {
		t.Error(d)
	}
	t.Logf("%d requests, %d of them need no option; compared %d admissions, of which uvicorn refuses %d; by option: %v",
		len(requests), strict, len(admitted), refused, count)
	if len(requests) < 100_000 || len(differences) > 0 {
		t.Errorf("%d requests, %d differ", len(requests), len(differences))
	}
	for _, r := range readings {
		if count[r.option] < 500 {
			t.Errorf("only %d admissions test the option %q", count[r.option], r.option)
		}
	}
}

// TestRouterOfStarletteCanDiffer gives options to Edict that are not for
// Starlette: then the comparison must find differences. It would be worth
// nothing if nothing could make it fail.
func TestRouterOfStarletteCanDiffer(t *testing.T) {
	needTools(t)
	applications := [][]twinRoute{append(slices.Clone(twinRoutes), catchAll)}
	for _, option := range []string{"encoded-slash", "merged-slashes", "path-parameters-dropped"} {
		admitted, _ := admissions(t, generate(5_000), applications, []reading{{option: option}})
		if _, _, differences := compareStarlette(t, applications, admitted); len(differences) < 20 {
			t.Errorf("accepting %s, only %d of %d differ", option, len(differences), len(admitted))
		}
	}
}

// compareStarlette gives how many admissions each option has, how many uvicorn
// refuses, and where Starlette finds another route or other captures.
func compareStarlette(t *testing.T, applications [][]twinRoute, admitted []admission) (count map[string]int, refused int, differences []string) {
	t.Helper()
	answers := bufio.NewScanner(askStarlette(t, applications, admitted))
	count = map[string]int{}
	for _, a := range admitted {
		if !answers.Scan() {
			t.Fatalf("fewer answers than questions: %v", answers.Err())
		}
		count[a.reading.option]++
		var answer *[2]json.RawMessage
		if err := json.Unmarshal(answers.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		if answer == nil {
			refused++ // so that nothing runs
			continue
		}
		var name string
		var captures map[string]string
		_ = json.Unmarshal(answer[0], &name)
		_ = json.Unmarshal(answer[1], &captures)
		if a.reading.server == "split-first" {
			showSlashes(captures)
		}
		if name != a.route || !maps.Equal(captures, a.captures) {
			differences = append(differences, fmt.Sprintf("accepting %q, %s %s: Edict finds %s %q, Starlette %s",
				a.reading.option, a.method, a.path, a.route, a.captures, answers.Text()))
		}
	}
	return count, refused, differences
}

// TestRouterThatIgnoresCase does the same with paths compared without regard to
// case, by Edict and by Starlette's router, which a middleware makes do so. The
// letters of half of the paths are in another case.
func TestRouterThatIgnoresCase(t *testing.T) {
	needTools(t)
	routes := slices.DeleteFunc(append(slices.Clone(twinRoutes), catchAll), func(r twinRoute) bool { return r.name == "Items" })
	requests := generate(20_000)
	for i := range requests {
		if r := &requests[i]; i%2 == 0 {
			r.path = strings.ToUpper(r.path)
			if i%4 == 0 {
				r.path = strings.NewReplacer("A", "a", "E", "e", "S", "s").Replace(r.path)
			}
		}
	}
	admitted, _ := admissions(t, requests, [][]twinRoute{routes}, []reading{{server: "ignore-case", ignoreCase: true}})
	count, _, differences := compareStarlette(t, [][]twinRoute{routes}, admitted)
	for _, d := range differences[:min(len(differences), 20)] {
		t.Error(d)
	}
	if len(differences) > 0 || count[""] < 5_000 {
		t.Errorf("%d of %v differ", len(differences), count)
	}
}

// askStarlette gives the answers of starlette_router.py, a line for each
// admission. Several processes share the work.
func askStarlette(t *testing.T, applications [][]twinRoute, admitted []admission) io.Reader {
	t.Helper()
	var routes [][][3]any
	for _, app := range applications {
		var list [][3]any
		for _, r := range app {
			methods := r.methods
			if methods == nil {
				methods = []string{"GET", "POST", "PUT", "DELETE", "HEAD"}
			}
			list = append(list, [3]any{r.name, methods, r.backend})
		}
		routes = append(routes, list)
	}
	const processes = 4
	var outputs [processes]io.Reader
	var failed [processes]error
	var group sync.WaitGroup
	share := (len(admitted) + processes - 1) / processes
	for i := range processes {
		var in bytes.Buffer
		encoder := json.NewEncoder(&in)
		if err := encoder.Encode(routes); err != nil {
			t.Fatal(err)
		}
		for _, a := range admitted[min(i*share, len(admitted)):min((i+1)*share, len(admitted))] {
			if err := encoder.Encode([4]any{a.application, a.reading.server, a.method, a.path}); err != nil {
				t.Fatal(err)
			}
		}
		group.Go(func() {
			cmd := exec.Command(tools.python, filepath.Join("testdata", "starlette_router.py"))
			cmd.Stdin = &in
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil {
				failed[i] = fmt.Errorf("starlette_router.py: %w\n%s", err, errs.String())
			}
			outputs[i] = &out
		})
	}
	group.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		t.Fatal(err)
	}
	return io.MultiReader(outputs[:]...)
}

// showSlashes turns the placeholder of starlette_router.py into what Edict
// shows: a slash in a variable of one segment, %2F in one that may have several.
func showSlashes(captures map[string]string) {
	for name, text := range captures {
		slash := "/"
		if name == "rest" {
			slash = "%2F"
		}
		captures[name] = strings.ReplaceAll(text, "\ue000", slash)
	}
}

// TestRouterOfGo does the same with the router of Go's net/http, which splits
// the path before it decodes it: the meaning of encoded-slash.
func TestRouterOfGo(t *testing.T) {
	var routes []twinRoute
	for _, r := range append(slices.Clone(twinRoutes), catchAll) {
		if r.name != "release" && r.name != "tenant" { // it has no such patterns, or finds them ambiguous
			routes = append(routes, r)
		}
	}
	var found string
	var captures map[string]string
	mux := http.NewServeMux()
	for _, r := range routes {
		methods := r.methods
		if methods == nil {
			methods = []string{"GET", "POST", "PUT", "DELETE"} // a GET is for HEAD, too
		}
		for _, method := range methods {
			mux.HandleFunc(method+" "+muxPattern(r), func(_ http.ResponseWriter, in *http.Request) {
				found, captures = r.name, map[string]string{}
				for _, name := range variablesOf(r.edict) {
					captures[name] = in.PathValue(name)
				}
			})
		}
	}
	admitted, _ := admissions(t, generate(generatedPaths), [][]twinRoute{routes}, []reading{{}, {option: "encoded-slash"}})
	count := map[string]int{}
	wrong := 0
	for _, a := range admitted {
		u, err := url.ParseRequestURI(a.path)
		if err != nil {
			continue // net/http refuses it
		}
		found, captures = "", nil
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, &http.Request{Method: a.method, URL: u, Host: "x.test", RequestURI: a.path})
		if found == "" && answer.Code >= 300 {
			continue // redirected to another spelling, which is checked, or refused
		}
		count[a.reading.option]++
		for name, text := range a.captures { // PathValue does not tell the two apart
			if name == "rest" && a.reading.option != "" {
				a.captures[name] = strings.ReplaceAll(text, "%2F", "/")
			}
		}
		if found != a.route || !maps.Equal(captures, a.captures) {
			if wrong++; wrong <= 20 {
				t.Errorf("accepting %q, %s %s: Edict finds %s %q, net/http %s %q", a.reading.option, a.method, a.path, a.route, a.captures, found, captures)
			}
		}
	}
	t.Logf("compared %v, %d differ", count, wrong)
	if count[""] < 20_000 || count["encoded-slash"] < 500 {
		t.Errorf("too few to tell: %v", count)
	}
}

// muxPattern gives the path of a route as net/http writes it.
func muxPattern(r twinRoute) string {
	p := strings.NewReplacer("=**}", "...}", "%20", " ", "%C3%A9", "é").Replace(r.edict)
	if strings.HasSuffix(p, "/") {
		p += "{$}"
	}
	return p
}
