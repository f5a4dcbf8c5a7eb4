package docs

import (
	"context"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

const root = ".."

// pages are the Markdown files of the repository, relative to its root.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	walk(t, func(name string, _ fs.DirEntry) {
		if strings.HasSuffix(name, ".md") {
			out = append(out, name)
		}
	})
	if len(out) < 5 {
		t.Fatalf("found only %v", out)
	}
	return out
}

// walk visits the files of the repository that git does not ignore.
func walk(t *testing.T, visit func(name string, d fs.DirEntry)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return nil // to tools that are elsewhere
		}
		visit(filepath.ToSlash(name), d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A block is a fenced block of a page.
type block struct {
	info string // "yaml policy"
	text string
	line int
}

func blocks(page string) []block {
	var out []block
	var current *block
	for i, line := range strings.Split(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && current == nil:
			current = &block{info: info, line: i + 1}
		case fence:
			out = append(out, *current)
			current = nil
		case current != nil:
			current.text += line + "\n"
		}
	}
	return out
}

func TestArchitectureNamesEveryPackage(t *testing.T) {
	var packages []string
	walk(t, func(name string, d fs.DirEntry) {
		if dir := filepath.ToSlash(filepath.Dir(name)); strings.HasSuffix(name, ".go") && !slices.Contains(packages, dir) {
			packages = append(packages, dir)
		}
	})
	page := read(t, "docs/architecture.md")
	_, table, _ := strings.Cut(page, "## Packages")
	table, _, _ = strings.Cut(table, "\n## ")
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(table, -1) {
		named = append(named, m[1])
	}
	for _, p := range packages {
		if !slices.Contains(named, p) {
			t.Errorf("docs/architecture.md does not name %s", p)
		}
	}
	for _, p := range named {
		if !slices.Contains(packages, p) {
			t.Errorf("docs/architecture.md names %s, which does not exist", p)
		}
	}
	// "Imports point down this list only."
	for _, p := range packages {
		for _, imported := range importsOf(t, p) {
			if at, to := slices.Index(named, p), slices.Index(named, imported); to >= 0 && to < at {
				t.Errorf("%s imports %s, which stands above it in docs/architecture.md", p, imported)
			}
		}
	}
}

// importsOf gives the packages of this module that the package in a folder
// imports, its tests aside.
func importsOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if p, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), "edict/"); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

func TestTheEngineKnowsNothingOfEnvoy(t *testing.T) {
	fetchers := []string{"engine/auxdata", "engine/keyset", "engine/internal/differential"} // of keys, and of a second opinion
	forbidden := map[string]string{                                                         // import path prefix: why it stays out
		"github.com/envoyproxy":  "the engine decides about principals and resources, not about requests",
		"google.golang.org/grpc": "nothing in a decision needs gRPC",
		"net/http":               "the engine serves whoever asks",
		"github.com/rs/zerolog":  "whoever asks logs",
	}
	walk(t, func(name string, _ fs.DirEntry) {
		if !strings.HasPrefix(name, "engine/") || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			for prefix, why := range forbidden {
				if prefix == "net/http" && slices.Contains(fetchers, path.Dir(name)) {
					continue
				}
				if strings.HasPrefix(strings.Trim(i.Path.Value, `"`), prefix) {
					t.Errorf("%s imports %s: %s", name, i.Path.Value, why)
				}
			}
		}
	})
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	comments := map[string]int{}
	walk(t, func(name string, _ fs.DirEntry) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		comments[dir] += 0
		if f.Doc != nil && f.Doc.Text() != "" {
			comments[dir]++
		}
	})
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s has %d package comments", dir, n)
		}
	}
}

func TestExamples(t *testing.T) {
	found := 0
	for _, page := range pages(t) {
		if strings.HasPrefix(page, "docs/policies/") { // see TestPolicyPages
			continue
		}
		for _, b := range blocks(read(t, page)) {
			lang, kind, _ := strings.Cut(b.info, " ")
			if file, quoted := strings.CutPrefix(kind, "in "); quoted {
				if !strings.Contains(read(t, file), b.text) {
					t.Errorf("%s:%d: %s has no such lines", page, b.line, file)
				}
				continue
			}
			if lang != "yaml" || kind == "" {
				continue
			}
			found++
			switch kind {
			case "policy":
				p, list := policyfile.Parse(page, []byte(b.text))
				if len(list) > 0 {
					t.Errorf("%s:%d:\n%s", page, b.line, list.Render())
					continue
				}
				if _, list := engine.Compile([]*policy.Policy{p}, engine.Options{}); len(list) > 0 {
					t.Errorf("%s:%d:\n%s", page, b.line, list.Render())
				}
			case "routes":
				f, list := routemap.Parse(page, []byte(b.text))
				if len(list) > 0 {
					t.Errorf("%s:%d:\n%s", page, b.line, list.Render())
					continue
				}
				var checks []routemap.Check // a public route has none
				if len(f.Routes) > 0 {
					checks = f.Routes[0].Checks
				} else {
					checks = f.Connections[0].Checks
				}
				kind := "none"
				if len(checks) > 0 {
					kind = checks[0].Resource.Kind.Constant.Str()
				}
				c, err := extauthz.NewCompiler(engine.Options{}, extauthz.Options{Identity: sourcesFor(f)})
				if err != nil {
					t.Fatal(err)
				}
				if _, list := c.Compile("x", policyFor(t, kind), nil, []*routemap.File{f}); len(list) > 0 {
					t.Errorf("%s:%d:\n%s", page, b.line, list.Render())
				}
			case "config", "routetest": // loaded and run by the tests of cmd/edict
			default:
				t.Errorf("%s:%d: no test loads a block marked %q", page, b.line, b.info)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d examples were found", found)
	}
}

// sourcesFor gives a source of identity for each name that a route map has for
// one. Which they are is what the configurations on the pages say.
func sourcesFor(f *routemap.File) []extauthz.Source {
	named := map[string]bool{}
	var out []extauthz.Source
	for i := range f.Routes {
		if f.Routes[i].Identity == nil {
			continue
		}
		for _, n := range f.Routes[i].Identity.Names {
			if !named[n.Value] {
				named[n.Value] = true
				out = append(out, extauthz.Source{Name: n.Value, JWTMetadata: &extauthz.JWTMetadata{Keys: []string{n.Value}}})
			}
		}
	}
	return out
}

func policyFor(t *testing.T, kind string) []*policy.Policy {
	t.Helper()
	p, list := policyfile.Parse("x.yaml", []byte("apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: "+kind+", version: default}\n"))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return []*policy.Policy{p}
}

// The README's policy and route map answer its requests as its table says.
func TestREADMEDecidesAsItSays(t *testing.T) {
	page := read(t, "README.md")
	var policies []folder.File
	var routes []folder.File
	for _, b := range blocks(page) {
		switch b.info {
		case "yaml policy":
			policies = append(policies, folder.File{Name: "policy.yaml", Content: []byte(b.text)})
		case "yaml routes":
			routes = append(routes, folder.File{Name: "routes.yaml", Content: []byte(b.text)})
		}
	}
	c, err := extauthz.NewCompiler(engine.Options{}, extauthz.Options{
		Identity:        []extauthz.Source{{JWTMetadata: &extauthz.JWTMetadata{}}},
		PrincipalHeader: "x-edict-principal", RolesHeader: "x-edict-roles",
	})
	if err != nil {
		t.Fatal(err)
	}
	p, list := policyfile.ParseAll(policies)
	r, more := routemap.ParseAll(routes)
	rev, errs := c.Compile("readme", p, nil, r)
	if list = append(append(list, more...), errs...); len(list) > 0 {
		t.Fatal(list.Render())
	}
	server := new(extauthz.Server)
	server.Use(rev)
	rows := regexp.MustCompile("(?m)^\\| `([A-Z]+) (/\\S*)` \\| (none|`sub: (\\w+)`, `roles: \\[(\\w+)\\]`) \\| (\\w+) \\| (.+) \\|$").FindAllStringSubmatch(page, -1)
	if len(rows) != 6 {
		t.Fatalf("the table has %d rows that can be read", len(rows))
	}
	for _, row := range rows {
		in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
			Http: &authv3.AttributeContext_HttpRequest{Method: row[1], Path: row[2], Host: "x"}}}}
		if row[4] != "" {
			claims, err := structpb.NewStruct(map[string]any{"jwt": map[string]any{"sub": row[4], "roles": []any{row[5]}}})
			if err != nil {
				t.Fatal(err)
			}
			in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": claims}}
		}
		out, err := server.Check(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		got := "allow"
		if out.GetStatus().GetCode() != 0 {
			got = map[string]string{"Forbidden": "403", "Unauthorized": "401", "BadRequest": "400"}[out.GetDeniedResponse().GetStatus().GetCode().String()]
		}
		if got != row[6] {
			t.Errorf("%s %s %s: got %s, the README says %s", row[1], row[2], row[3], got, row[6])
		}
		if rule := strings.Trim(row[7], "`"); rule != row[7] && out.GetDynamicMetadata().GetFields()["rule"].GetStringValue() != rule {
			t.Errorf("%s %s: the README says that %s decides, got %v", row[1], row[2], rule, out.GetDynamicMetadata())
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			file := page
			if to != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(page), to))
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, file)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", page, m[1])
			}
		}
	}
}

// anchors gives the anchors of a page's headings, as code hosts make them.
func anchors(page string) []string {
	var out []string
	for _, line := range strings.Split(page, "\n") {
		title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !ok || !strings.HasPrefix(line, "#") {
			continue
		}
		title = regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(title), "")
		out = append(out, strings.ReplaceAll(title, " ", "-"))
	}
	return out
}

// README, Makefile, Compose, Envoy's bootstrap and Edict's defaults name the
// same commands, ports, files and flags.
func TestPartsNameTheSame(t *testing.T) {
	readme, makefile, compose := read(t, "README.md"), read(t, "Makefile"), read(t, "docker-compose.yaml")
	for _, m := range regexp.MustCompile(`make ([a-z-]+)`).FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(makefile, "\n"+m[1]+":") {
			t.Errorf("README.md names make %s, which does not exist", m[1])
		}
	}
	for what, files := range map[string][]string{
		"10000":                {"README.md", "docker-compose.yaml", "envoy/envoy.yaml", "envoy/demo/demo.py", "envoy/README.md"},
		"9001":                 {"envoy/envoy.yaml", "envoy/demo/demo.py", "cmd/edict/internal/config/keys.go"},
		"9002":                 {"envoy/demo/demo.py", "cmd/edict/internal/config/keys.go"},
		"3592":                 {"README.md", "docs/fastapi.md", "envoy/README.md", "envoy/demo/demo.py", "envoy/demo/app/main.py", "cmd/edict/internal/config/keys.go"},
		"8000":                 {"docker-compose.yaml", "envoy/envoy.yaml", "envoy/demo/demo.py"},
		"--config":             {"docker-compose.yaml", "envoy/demo/demo.py"},
		"envoy/edict.yaml":     {"docker-compose.yaml", "envoy/demo/demo.py"},
		"dir: policies":        {"envoy/edict.yaml"},
		"dir: envoy/routes":    {"envoy/edict.yaml"},
		"x-edict-principal":    {"README.md", "envoy/edict.yaml", "envoy/envoy.yaml", "envoy/demo/app/main.py", "cmd/edict/internal/config/keys.go"},
		"keys token alice":     {"README.md", "docker-compose.yaml", "envoy/README.md"},
		"docker compose up":    {"README.md", "docker-compose.yaml", "envoy/README.md"},
		"cmd/edict/Dockerfile": {"docker-compose.yaml"},
	} {
		for _, file := range files {
			if !strings.Contains(read(t, file), what) {
				t.Errorf("%s does not name %s", file, what)
			}
		}
	}
	// What Compose mounts and builds exists.
	for _, m := range regexp.MustCompile(`(?m)- \./(\S+?):/`).FindAllStringSubmatch(compose, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("docker-compose.yaml mounts %s: %v", m[1], err)
		}
	}
	// The README's curl lines ask what the demo's routes are for.
	if !strings.Contains(readme, "/expenses/emea/alice/1") || !strings.Contains(read(t, "envoy/routes/expenses.yaml"), "/expenses/{region}/{owner}/{number}") {
		t.Error("README.md asks for what the demo has no route for")
	}
}

// Nothing is left for later: what is missing is in the README.
func TestNothingIsLeftForLater(t *testing.T) {
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	walk(t, func(name string, d fs.DirEntry) {
		if d.IsDir() || name == "go.sum" {
			return
		}
		for i, line := range strings.Split(read(t, name), "\n") {
			if m := later.FindString(line); m != "" {
				t.Errorf("%s:%d: %q", name, i+1, m)
			}
		}
	})
}
