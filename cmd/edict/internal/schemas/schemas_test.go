package schemas_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"gopkg.in/yaml.v3"

	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/schemas"
	"edict/engine/conformance"
	"edict/engine/diag"
	"edict/engine/policyfile"
	"edict/engine/suite"
	"edict/extauthz/routemap"
)

var update = flag.Bool("update", false, "write docs/schemas anew")

const (
	root   = "../../../.."
	copies = root + "/docs/schemas"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func document(t *testing.T, kind string) map[string]any {
	t.Helper()
	content, ok := schemas.Schema(kind)
	if !ok {
		t.Fatalf("there is no schema %s", kind)
	}
	var out map[string]any
	if err := json.Unmarshal(content, &out); err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return out
}

func compile(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	content, _ := schemas.Schema(kind)
	s, err := jsonschema.CompileString(schemas.FileName(kind), string(content))
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return s
}

// decode reads YAML as JSON values: a time is the text that it is written as.
func decode(t *testing.T, name string, content []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(content, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return plain(v)
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case int:
		return json.Number(strconv.Itoa(v))
	}
	return v
}

// The files in docs/schemas are for editors: a file names them by a path that
// works wherever the repository is.
func TestCopies(t *testing.T) {
	var names []string
	for _, kind := range schemas.Names() {
		content, _ := schemas.Schema(kind)
		name := filepath.Join(copies, schemas.FileName(kind))
		names = append(names, schemas.FileName(kind))
		if *update {
			if err := os.WriteFile(name, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(read(t, name), content) {
			t.Errorf("%s is not what `edict schema %s` prints; run go test ./cmd/edict/internal/schemas -update", name, kind)
		}
	}
	entries, err := os.ReadDir(copies)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			t.Errorf("docs/schemas/%s is no schema of Edict's", e.Name())
		}
	}
}

// Every field says what it means, for editors to show, and no definition is
// there for nothing.
func TestEveryFieldIsDescribed(t *testing.T) {
	for _, kind := range schemas.Names() {
		doc := document(t, kind)
		if doc["$schema"] != "http://json-schema.org/draft-07/schema#" {
			t.Errorf("%s: editors know draft 7, not %v", kind, doc["$schema"])
		}
		definitions, _ := doc["definitions"].(map[string]any)
		used := map[string]bool{}
		described := func(s map[string]any) bool {
			if _, ok := s["description"]; ok {
				return true
			}
			name, _ := s["$ref"].(string)
			definition, _ := definitions[strings.TrimPrefix(name, "#/definitions/")].(map[string]any)
			return definition["description"] != nil
		}
		fields := 0
		var walk func(at string, v any)
		walk = func(at string, v any) {
			switch v := v.(type) {
			case []any:
				for i, e := range v {
					walk(fmt.Sprintf("%s/%d", at, i), e)
				}
			case map[string]any:
				if name, ok := v["$ref"].(string); ok {
					used[strings.TrimPrefix(name, "#/definitions/")] = true
					if len(v) > 1 {
						t.Errorf("%s%s: draft 7 ignores what stands beside $ref", kind, at)
					}
				}
				_, isObject := v["additionalProperties"]
				for k, e := range v {
					if properties, ok := e.(map[string]any); ok && k == "properties" && isObject {
						for name, p := range properties {
							fields++
							if s, ok := p.(map[string]any); !ok || !described(s) {
								t.Errorf("%s%s: %s has no description", kind, at, name)
							}
						}
					}
					walk(at+"/"+k, e)
				}
			}
		}
		walk("", doc)
		for name := range definitions {
			if !used[name] {
				t.Errorf("%s: the definition %s is not used", kind, name)
			}
		}
		if fields < 3 {
			t.Errorf("%s: only %d fields", kind, fields)
		}
	}
}

// fieldSets gives the names of fields of every object in a schema, each list
// joined.
func fieldSets(v any, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			fieldSets(e, into)
		}
	case map[string]any:
		if properties, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == false {
			into[strings.Join(slices.Sorted(maps.Keys(properties)), " ")] = true
		}
		for _, e := range v {
			fieldSets(e, into)
		}
	}
}

// The readers of Edict name the fields that they know in calls of Object. What
// the schemas know is the same, object by object.
func TestFieldsAreThoseOfTheReaders(t *testing.T) {
	for name, c := range map[string]struct {
		kinds   []string
		folder  string
		strings map[string]string // what names stand for
	}{
		"policies":    {[]string{"policy"}, "engine/policyfile", nil},
		"tests":       {[]string{"test", "principals", "resources", "auxdata"}, "engine/suite", nil},
		"route maps":  {[]string{"routes"}, "extauthz/routemap", nil},
		"route tests": {[]string{"routetest"}, "cmd/edict/internal/routetest", nil},
	} {
		read := readersOf(t, filepath.Join(root, c.folder))
		described := map[string]bool{}
		for _, kind := range c.kinds {
			fieldSets(document(t, kind), described)
		}
		for set := range read {
			// Scripts are known so that Edict can say that there are none.
			if !described[strings.TrimSuffix(set, " script")] {
				t.Errorf("%s: no schema has an object with the fields %s", name, set)
			}
		}
		for set := range described {
			if !read[set] && !read[set+" script"] {
				t.Errorf("%s: nothing in %s reads an object with the fields %s", name, c.folder, set)
			}
		}
		if len(read) < 5 {
			t.Errorf("%s: found only %d objects in %s", name, len(read), c.folder)
		}
	}
}

// readersOf finds the lists of field names that a package hands to Object, or
// keeps for it in a list that begins with "$schema". A group of fixtures is
// read for principals and resources alike.
func readersOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v", dir, err)
	}
	constants := map[string]string{}
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for i, value := range spec.Values {
					if text, ok := literal(value, nil); ok && i < len(spec.Names) {
						constants[spec.Names[i].Name] = text
					}
				}
			}
			return true
		})
	}
	out := map[string]bool{}
	add := func(list []ast.Expr) {
		var names []string
		for _, e := range list {
			name, ok := literal(e, constants)
			if !ok {
				return
			}
			names = append(names, name)
		}
		slices.Sort(names)
		out[strings.Join(names, " ")] = true
	}
	for _, f := range parsed {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Object" {
					if len(n.Args) == 1 && isCallOf(n.Args[0], "plural") {
						out["principals"], out["resources"] = true, true
					} else if !n.Ellipsis.IsValid() {
						add(n.Args)
					}
				}
			case *ast.CompositeLit:
				if len(n.Elts) > 1 {
					if first, ok := literal(n.Elts[0], nil); ok && first == "$schema" {
						add(n.Elts)
					}
				}
			}
			return true
		})
	}
	return out
}

func literal(e ast.Expr, constants map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := constants[e.Name]
		return text, ok
	}
	return "", false
}

func isCallOf(e ast.Expr, method string) bool {
	c, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := c.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == method
}

// The schema of the configuration has the keys, with their defaults.
func TestKeysAreThoseOfTheConfiguration(t *testing.T) {
	keys := map[string]string{} // path: default as JSON
	for _, k := range config.Keys() {
		keys[k.Path] = asJSON(t, decode(t, k.Path, []byte(k.Default)))
	}
	described := map[string]bool{}
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		if want, ok := keys[path]; ok {
			described[path] = true
			if got := asJSON(t, s["default"]); got != want {
				t.Errorf("%s: the schema has the default %s, the configuration %s", path, got, want)
			}
			return
		}
		properties, ok := s["properties"].(map[string]any)
		if !ok {
			t.Errorf("the configuration has no key %s", path)
		}
		for name, p := range properties {
			below := name
			if path != "" {
				below = path + "." + name
			}
			walk(below, p.(map[string]any))
		}
	}
	walk("", document(t, "config"))
	for path := range keys {
		if !described[path] {
			t.Errorf("the schema has no key %s", path)
		}
	}
	// What is below a key that is set as a whole.
	read := readersOf(t, "../config")
	sets := map[string]bool{}
	fieldSets(document(t, "config"), sets)
	for set := range read {
		if !sets[set] {
			t.Errorf("the schema has no object with the fields %s", set)
		}
	}
	if len(read) < 6 {
		t.Errorf("found only %d objects", len(read))
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// samples are the files of the repository that somebody may open in an editor,
// by the schema that each follows.
func samples(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{filepath.Join(root, "envoy/edict.yaml"): "config", filepath.Join(root, "envoy/mesh/edict.yaml"): "config"}
	for dir, kind := range map[string]string{"policies": "policy", "envoy/routes": "routes", "envoy/mesh/policies": "policy", "envoy/mesh/routes": "routes"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, d fs.DirEntry, err error) error {
			base := strings.TrimSuffix(d.Name(), ".yaml")
			switch {
			case err != nil || base == d.Name():
			case strings.HasSuffix(base, "_test"):
				out[name] = map[string]string{"policy": "test", "routes": "routetest"}[kind]
			case filepath.Base(filepath.Dir(name)) == "testdata":
				out[name] = strings.ToLower(base)
			default:
				out[name] = kind
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 6 {
		t.Fatalf("found only %v", out)
	}
	return out
}

// Every sample follows its schema, and begins with the comment that leads an
// editor to it.
func TestSamples(t *testing.T) {
	for name, kind := range samples(t) {
		content := read(t, name)
		if err := compile(t, kind).Validate(decode(t, name, content)); err != nil {
			t.Errorf("%s: %#v", name, err)
		}
		first, _, _ := strings.Cut(string(content), "\n")
		path, ok := strings.CutPrefix(first, "# yaml-language-server: $schema=")
		if !ok {
			t.Errorf("%s does not begin with # yaml-language-server: $schema=…", name)
			continue
		}
		want := filepath.Join(copies, schemas.FileName(kind))
		if got := filepath.Join(filepath.Dir(name), path); got != want {
			t.Errorf("%s leads to %s instead of %s", name, got, want)
		}
	}
}

// The examples of the documentation follow their schemas.
func TestDocumentation(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		for kind, blocks := range examples(string(read(t, name))) {
			for _, b := range blocks {
				found[kind]++
				if err := compile(t, kind).Validate(decode(t, name, []byte(b))); err != nil {
					t.Errorf("%s: %#v\n%s", name, err, b)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["policy"] < 5 || found["routes"] < 1 || found["config"] < 3 {
		t.Errorf("found only %v", found)
	}
}

// examples gives the fenced blocks of a page, by kind.
func examples(page string) map[string][]string {
	kinds := map[string]string{
		"yaml policy": "policy", "yaml policy-with-previous": "policy", "yaml routes": "routes", "yaml config": "config", "yaml test": "test", "yaml routetest": "routetest",
	}
	out := map[string][]string{}
	var kind string
	var block strings.Builder
	inside := false
	for line := range strings.Lines(page) {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			inside, kind = true, kinds[strings.TrimSpace(info)]
			block.Reset()
		case fence:
			inside = false
			if kind != "" {
				out[kind] = append(out[kind], block.String())
			}
		case inside:
			block.WriteString(line)
		}
	}
	return out
}

// What a schema refuses is refused by Edict's reader, too.
func TestRefused(t *testing.T) {
	var kind, name string
	var block strings.Builder
	cases := 0
	check := func() {
		if kind == "" {
			return
		}
		cases++
		content := []byte(block.String())
		var err error
		if v, failed := tryDecode(content); failed == nil {
			err = compile(t, kind).Validate(v)
		} else {
			err = failed
		}
		sound := strings.HasPrefix(name, "sound:")
		if sound != (err == nil) {
			t.Errorf("%s, %s: the schema says %v", kind, name, err)
		}
		var complaints int
		switch kind {
		case "policy":
			_, list := policyfile.Parse("x.yaml", content)
			complaints = len(list)
		case "routes":
			_, list := routemap.Parse("x.yaml", content)
			complaints = len(list)
		case "test":
			complaints = len(suite.Parse("x_test.yaml", content).Problems)
		case "config":
			file := filepath.Join(t.TempDir(), "x.yaml")
			if err := os.WriteFile(file, content, 0o666); err != nil {
				t.Fatal(err)
			}
			complaints = len(diagnosticsOf(file))
		default:
			return
		}
		if sound != (complaints == 0) {
			t.Errorf("%s, %s: the reader has %d complaints", kind, name, complaints)
		}
	}
	for line := range strings.Lines(string(read(t, "testdata/refused.yaml"))) {
		if title, ok := strings.CutPrefix(line, "#### "); ok {
			check()
			kind, name, _ = strings.Cut(strings.TrimSpace(title), ": ")
			block.Reset()
			continue
		}
		block.WriteString(line)
	}
	check()
	if cases < 50 {
		t.Errorf("only %d cases", cases)
	}
}

func tryDecode(content []byte) (any, error) {
	var v any
	if err := yaml.Unmarshal(content, &v); err != nil {
		return nil, err
	}
	return plain(v), nil
}

// The policies and tests that Cerbos is tested with follow the schemas, but for
// those that use what the schemas leave out on purpose.
func TestConformanceFilesFollow(t *testing.T) {
	dir := conformance.Dir(t)
	policy := compile(t, "policy")
	followed := 0
	for _, folder := range []string{"store", "query_planner/policies"} {
		err := filepath.WalkDir(filepath.Join(dir, folder), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.Contains(name, "testdata") || strings.Contains(name, "/.") || strings.Contains(name, "_schemas") {
				return err
			}
			if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" && ext != ".json" || strings.Contains(name, "_test.") {
				return nil
			}
			content := read(t, name)
			if p, list := policyfile.Parse(name, content); p == nil || len(list) > 0 {
				return nil
			}
			v, err := tryDecode(content)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return nil
			}
			if usesSnakeCase(v) {
				return nil
			}
			followed++
			if err := policy.Validate(v); err != nil {
				t.Errorf("%s: %#v", name, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if followed < 80 {
		t.Errorf("only %d policies were compared", followed)
	}
}

// So do the suites of tests that Edict's reader has nothing against.
func TestConformanceSuitesFollow(t *testing.T) {
	archives, err := filepath.Glob(filepath.Join(conformance.Dir(t), "verify*", "cases", "*.input"))
	if err != nil {
		t.Fatal(err)
	}
	schema := compile(t, "test")
	followed := 0
	for _, archive := range archives {
		for _, f := range conformance.Archive(t, archive) {
			if !strings.HasSuffix(f.Name, "_test.yaml") {
				continue
			}
			v, err := tryDecode(f.Content)
			if s := suite.Parse(f.Name, f.Content); err != nil || slices.ContainsFunc(s.Problems, isAboutForm) || usesSnakeCase(v) {
				continue
			}
			followed++
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s %s: %#v", filepath.Base(archive), f.Name, err)
			}
		}
	}
	if followed < 12 {
		t.Errorf("only %d suites were compared", followed)
	}
}

// isAboutForm tells a mistake that a schema may see from those that it cannot.
func isAboutForm(d diag.Diagnostic) bool {
	switch d.Code {
	case suite.UnknownFixture, suite.OutsideInput, suite.Contradiction, suite.DuplicateTest:
		return false
	}
	return true
}

// usesSnakeCase tells whether a policy has a field such as derived_roles.
func usesSnakeCase(v any) bool {
	m, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for k, e := range m {
		if strings.Contains(k, "_") && k != "api_version" || usesSnakeCase(e) && k != "local" && k != "definitions" && k != "variables" {
			return true
		}
	}
	return false
}

func diagnosticsOf(file string) []string {
	_, _, list := config.Load(file, nil, nil)
	var out []string
	for _, d := range list {
		out = append(out, d.Error())
	}
	return out
}
