package policyfile_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"edict/engine/conformance"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

// A parserCase says what one file of policies holds and what is wrong with it.
type parserCase struct {
	WantErrors []struct {
		Kind     string
		Position struct {
			Line, Column int
			Path         string
		}
		Message string
	}
	Want []struct {
		Message map[string]any
	}
}

// The parser cases of Cerbos. A file with one policy must give that policy;
// for a file with errors, each must be reported on its line, and at its column
// where Cerbos gives the place of the same thing: it often gives the key where
// we give the value.
func TestConformanceParser(t *testing.T) {
	dir := conformance.Dir(t)
	files, err := filepath.Glob(filepath.Join(dir, "parser", "*.json.input"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "parser"); len(files) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(files), want)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json.input")
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c parserCase
			want, err := os.ReadFile(strings.TrimSuffix(file, ".input"))
			if err == nil {
				err = json.Unmarshal(want, &c)
			}
			if err != nil {
				t.Fatal(err)
			}
			p, list := policyfile.Parse(name+".yaml", content)
			if len(c.Want) > 1 {
				// One file holds one policy, so that is an error by itself.
				if !reports(list, c.WantErrors[0].Position.Line, 0) || !strings.Contains(list.Error(), "more than one YAML document") {
					t.Errorf("got %v", list)
				}
				return
			}
			for _, e := range c.WantErrors {
				column := 0
				if e.Kind == "KIND_PARSE_ERROR" {
					column = e.Position.Column
				}
				if strings.HasPrefix(e.Message, "expected ") || e.Position.Path != "" && !strings.HasPrefix(e.Message, "unknown field") {
					column = 0
				}
				if !reports(list, e.Position.Line, column) {
					t.Errorf("%d:%d %s is not reported, but\n%s", e.Position.Line, e.Position.Column, e.Message, list.Render())
				}
			}
			if len(list) != len(c.WantErrors) {
				t.Errorf("%d diagnostics, want %d:\n%s", len(list), len(c.WantErrors), list.Render())
			}
			if len(c.WantErrors) > 0 {
				return
			}
			if len(c.Want) == 0 {
				if p != nil {
					t.Errorf("a policy in an empty file: %s", dump(p))
				}
				return
			}
			if p == nil {
				t.Fatal("no policy")
			}
			if got, want := message(p), c.Want[0].Message; !reflect.DeepEqual(got, want) {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
		})
	}
}

func reports(list diag.List, line, column int) bool {
	for _, d := range list {
		if d.Pos.Line == line && (column == 0 || d.Pos.Column == column) {
			return true
		}
	}
	return false
}

// message gives a resource policy in the form in which the cases hold them.
func message(p *policy.Policy) map[string]any {
	r := p.Resource
	body := map[string]any{"resource": r.Resource.Value, "version": r.Version.Value}
	put(body, "importDerivedRoles", values(r.ImportDerivedRoles))
	if s := r.Schemas; s != nil {
		schemas := map[string]any{}
		if s.Principal != nil {
			schemas["principalSchema"] = schema(s.Principal)
		}
		if s.Resource != nil {
			schemas["resourceSchema"] = schema(s.Resource)
		}
		body["schemas"] = schemas
	}
	var rules []any
	for _, rule := range r.Rules {
		m := map[string]any{"actions": values(rule.Actions), "effect": rule.Effect.String()}
		if rule.Name.Value != "" {
			m["name"] = rule.Name.Value
		}
		put(m, "roles", values(rule.Roles))
		put(m, "derivedRoles", values(rule.DerivedRoles))
		if rule.Condition != nil {
			m["condition"] = map[string]any{"match": match(rule.Condition)}
		}
		rules = append(rules, m)
	}
	put(body, "rules", rules)
	out := map[string]any{"apiVersion": policy.APIVersion, "resourcePolicy": body}
	variables := map[string]any{}
	for _, v := range r.Variables.Local {
		variables[v.Name.Value] = v.Expr.Value
	}
	if len(variables) > 0 {
		out["variables"] = variables
	}
	return out
}

func match(c *policy.Condition) map[string]any {
	if c.Op == policy.Expr {
		return map[string]any{"expr": c.Expr.Value}
	}
	var of []any
	for _, member := range c.Of {
		of = append(of, match(member))
	}
	return map[string]any{c.Op.String(): map[string]any{"of": of}}
}

func put(m map[string]any, name string, list []any) {
	if len(list) > 0 {
		m[name] = list
	}
}

func values(texts []diag.Text) []any {
	var list []any
	for _, t := range texts {
		list = append(list, t.Value)
	}
	return list
}

// schema gives the name of a schema, and the actions that it is ignored for.
func schema(s *policy.SchemaRef) map[string]any {
	m := map[string]any{"ref": s.Ref.Value}
	if len(s.IgnoreActions) > 0 {
		m["ignoreWhen"] = map[string]any{"actions": values(s.IgnoreActions)}
	}
	return m
}

// The policies of the store that the engine's cases decide with can all be
// read, but for what stands there to be left alone.
func TestConformanceStore(t *testing.T) {
	dir := conformance.Dir(t)
	for _, folder := range []string{"store", filepath.Join("query_planner", "policies"), filepath.Join("verify_junit", "store")} {
		policies, list := policyfile.Load(os.DirFS(filepath.Join(dir, folder)))
		if len(list) != 0 {
			t.Errorf("%s: %s", folder, list.Render())
		}
		if len(policies) == 0 {
			t.Errorf("%s: no policies", folder)
		}
		for _, p := range policies {
			if strings.Contains(p.Pos.File, "testdata") || strings.Contains(p.Pos.File, "hidden") || strings.Contains(p.Pos.File, "disabled") {
				t.Errorf("%s: %s was read", folder, p.Pos.File)
			}
		}
	}
}

// The policies of the compile cases can all be read: what is wrong with them is
// only found when they are compiled.
func TestConformanceCompile(t *testing.T) {
	dir := conformance.Dir(t)
	files, err := filepath.Glob(filepath.Join(dir, "compile", "*.yaml.input"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "compile"); len(files) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(files), want)
	}
	for _, file := range files {
		for _, f := range conformance.Archive(t, file) {
			if p, list := policyfile.Parse(f.Name, f.Content); p == nil {
				t.Errorf("%s: %s: %s", filepath.Base(file), f.Name, list.Render())
			}
		}
	}
}

// The folders of the index cases. What is wrong with one file must be
// reported; what is wrong between files is found when policies are compiled.
func TestConformanceIndex(t *testing.T) {
	dir := conformance.Dir(t)
	files, err := filepath.Glob(filepath.Join(dir, "index", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "index"); len(files) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(files), want)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c struct {
				WantErrList struct {
					LoadFailures []struct {
						File         string
						ErrorDetails struct {
							Position struct{ Line, Column int }
						} `yaml:"errorDetails"`
					} `yaml:"loadFailures"`
				} `yaml:"wantErrList"`
				Files map[string]string
			}
			if err := yaml.Unmarshal(content, &c); err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			for name, text := range c.Files {
				name = filepath.Join(root, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), fs.FileMode(0o666)); err != nil {
					t.Fatal(err)
				}
			}
			_, list := policyfile.Load(os.DirFS(root))
			var got, want []string
			for _, d := range list {
				if d.Code != policyfile.ScriptCondition { // Cerbos refuses scripts when compiling
					got = append(got, d.Pos.String())
				}
			}
			for _, failure := range c.WantErrList.LoadFailures {
				want = append(want, fmt.Sprintf("%s:%d:%d", failure.File, failure.ErrorDetails.Position.Line, failure.ErrorDetails.Position.Column))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
