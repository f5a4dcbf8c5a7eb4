package engine_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"edict/engine"
	"edict/engine/conformance"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
	"edict/engine/value"
)

// readPolicies reads the policies of a folder of the conformance data.
func readPolicies(t *testing.T, dir string) []*policy.Policy {
	t.Helper()
	files, list := folder.Read(os.DirFS(dir), "", policyfile.Skip)
	fatalIfAny(t, list)
	return mustParse(t, files)
}

// readSchemas reads the schemas of a folder of policies.
func readSchemas(t *testing.T, dir string) *schema.Set {
	t.Helper()
	files := map[string][]byte{}
	root := filepath.Join(dir, "_schemas")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			files[filepath.ToSlash(name)], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return schema.New(files)
}

// readCase reads a file of YAML by way of JSON, so that numbers are doubles
// and the names of fields those of JSON tags.
func readCase(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var any any
	if err := yaml.Unmarshal(content, &any); err != nil {
		t.Fatal(err)
	}
	if content, err = json.Marshal(any); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type caseInput struct {
	RequestID string
	Actions   []string
	Principal struct {
		ID, PolicyVersion, Policy_version, Scope string
		Roles                                    []string
		Attr                                     value.Attributes
	}
	Resource struct {
		Kind, ID, PolicyVersion, Policy_version, Scope string
		Attr                                           value.Attributes
	}
	AuxData struct {
		JWT  value.Attributes
		JWTs map[string]struct{ Claims value.Attributes }
	}
}

func (in *caseInput) request() *engine.Request {
	or := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	p, r := in.Principal, in.Resource
	req := &engine.Request{
		Principal:   engine.Principal{ID: p.ID, Roles: p.Roles, PolicyVersion: or(p.PolicyVersion, p.Policy_version), Scope: p.Scope},
		Resource:    engine.Resource{Kind: r.Kind, ID: r.ID, PolicyVersion: or(r.PolicyVersion, r.Policy_version), Scope: r.Scope},
		Actions:     in.Actions,
		IncludeMeta: true,
	}
	if p.Attr != nil {
		req.Principal.Attr = p.Attr
	}
	if r.Attr != nil {
		req.Resource.Attr = r.Attr
	}
	if in.AuxData.JWT != nil {
		req.AuxData.JWT = in.AuxData.JWT
	}
	for name, token := range in.AuxData.JWTs {
		if req.AuxData.JWTs == nil {
			req.AuxData.JWTs = map[string]value.Mapping{}
		}
		req.AuxData.JWTs[name] = token.Claims
	}
	return req
}

type caseOutput struct {
	Actions map[string]struct{ Effect, Policy, Scope string }
	Outputs []struct {
		Src, Action, Error string
		Val                any
	}
	EffectiveDerivedRoles []string
	ValidationErrors      []struct{ Path, Message, Source string }
}

// want is what the case expects, as text.
func (o *caseOutput) text() []string {
	var lines []string
	for action, a := range o.Actions {
		lines = append(lines, fmt.Sprintf("%s: %s %s %q", action, a.Effect, a.Policy, a.Scope))
	}
	for _, out := range o.Outputs {
		val, _ := json.Marshal(out.Val)
		if out.Error != "" {
			val = []byte("error")
		}
		lines = append(lines, fmt.Sprintf("output %s %s %s", out.Src, out.Action, val))
	}
	for _, r := range o.EffectiveDerivedRoles {
		lines = append(lines, "derived role "+r)
	}
	for _, e := range o.ValidationErrors {
		lines = append(lines, fmt.Sprintf("%s %s: %s", e.Source, e.Path, e.Message))
	}
	slices.Sort(lines)
	return lines
}

func decisionText(d *engine.Decision) []string {
	var lines []string
	for _, r := range d.Results {
		lines = append(lines, fmt.Sprintf("%s: %s %s %q", r.Action, r.Effect, r.Policy, r.Scope))
	}
	for _, out := range d.Outputs {
		val, _ := json.Marshal(out.Val.Native())
		if out.Err != "" {
			val = []byte("error")
		}
		lines = append(lines, fmt.Sprintf("output %s %s %s", out.Src, out.Action, val))
	}
	for _, r := range d.EffectiveDerivedRoles {
		lines = append(lines, "derived role "+r)
	}
	for _, e := range d.ValidationErrors {
		lines = append(lines, fmt.Sprintf("%s %s: %s", e.Source, e.Path, e.Message))
	}
	slices.Sort(lines)
	return lines
}

// The cases of Cerbos' own engine.
func TestConformanceEngine(t *testing.T) {
	dir := conformance.Dir(t)
	policies := readPolicies(t, filepath.Join(dir, "store"))
	schemas := readSchemas(t, filepath.Join(dir, "store"))
	base := engine.Options{LenientEvaluation: true, Globals: value.Values{"environment": value.OfString("test")}}
	with := func(change func(*engine.Options)) engine.Options {
		o := base
		change(&o)
		return o
	}
	lenient := with(func(o *engine.Options) { o.LenientScopeSearch = true })
	for _, test := range []struct {
		folder  string
		options engine.Options
	}{
		{"engine", base},
		{"engine", lenient},
		{"engine_strict_scope_search", base},
		{"engine_lenient_scope_search", lenient},
		{"engine_schema_enforcement/warn", with(func(o *engine.Options) { o.SchemaEnforcement = engine.SchemaWarn })},
		{"engine_schema_enforcement/reject", with(func(o *engine.Options) { o.SchemaEnforcement = engine.SchemaReject })},
	} {
		compiler, err := engine.NewCompiler(test.options)
		if err != nil {
			t.Fatal(err)
		}
		set, list := compiler.Compile(policies, schemas)
		fatalIfAny(t, list)
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(test.folder), "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if want := conformance.Count(t, test.folder); len(files) != want {
			t.Errorf("%s has %d cases, the manifest says %d", test.folder, len(files), want)
		}
		for _, file := range files {
			t.Run(fmt.Sprintf("%s/%s lenient=%v", test.folder, filepath.Base(file), test.options.LenientScopeSearch), func(t *testing.T) {
				var c struct {
					Inputs      []caseInput
					WantOutputs []caseOutput
					WantError   bool
				}
				readCase(t, file, &c)
				if len(c.Inputs) == 0 || len(c.Inputs) != len(c.WantOutputs) {
					t.Fatalf("%d inputs, %d outputs", len(c.Inputs), len(c.WantOutputs))
				}
				for i := range c.Inputs {
					var d engine.Decision
					set.Check(c.Inputs[i].request(), &d)
					if got, want := decisionText(&d), c.WantOutputs[i].text(); !slices.Equal(got, want) {
						t.Errorf("%s: got\n  %s\nwant\n  %s", c.Inputs[i].RequestID, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
					}
				}
			})
		}
	}
}

// The conditions of Cerbos' own cases, one rule for each. They are loaded
// together, since conditions that differ only in all, any or none are others.
func TestConformanceConditions(t *testing.T) {
	dir := conformance.Dir(t)
	files, err := filepath.Glob(filepath.Join(dir, "cel_eval", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "cel_eval"); len(files) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(files), want)
	}
	type evalCase struct {
		Condition any
		Request   caseInput
		Want      bool
	}
	cases := make([]evalCase, len(files))
	var rules []any
	for i, file := range files {
		readCase(t, file, &cases[i])
		rules = append(rules, map[string]any{
			"actions": []string{fmt.Sprint("do", i)}, "roles": []string{"*"}, "effect": "EFFECT_ALLOW",
			"condition": map[string]any{"match": cases[i].Condition},
		})
	}
	text, err := json.Marshal(map[string]any{"apiVersion": policy.APIVersion, "resourcePolicy": map[string]any{
		"resource": "leave_request", "version": "default", "rules": rules,
	}})
	if err != nil {
		t.Fatal(err)
	}
	set, list := engine.Compile(parse(t, string(text)), engine.Options{
		LenientEvaluation: true, LenientScopeSearch: true, Globals: value.Values{"environment": value.OfString("test")},
	})
	fatalIfAny(t, list)
	for i, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			req := cases[i].Request.request()
			req.Actions = []string{fmt.Sprint("do", i)}
			req.Now = time.Date(2021, 4, 22, 10, 5, 20, 21e6, time.FixedZone("", -5*3600))
			var d engine.Decision
			set.Check(req, &d)
			if d.Allowed() != cases[i].Want {
				t.Errorf("the condition holds: %v, want %v", d.Allowed(), cases[i].Want)
			}
		})
	}
}

// Expressions whose results were recorded from Cerbos 0.55.0: as a condition
// and as an output.
func TestConformanceExpressions(t *testing.T) {
	dir := filepath.Join(conformance.Dir(t), "cel_own")
	var all struct {
		Cases []struct {
			Name, Kind, Expr, Condition string
			Error                       string
			CompileError                any
			Value                       json.RawMessage
		}
		Context struct {
			caseInput
			JWT value.Attributes
		}
	}
	readCase(t, filepath.Join(dir, "cases.json"), &all)
	if want := conformance.Count(t, "cel_own"); len(all.Cases) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(all.Cases), want)
	}
	template, err := os.ReadFile(filepath.Join(dir, "policy_template.json"))
	if err != nil {
		t.Fatal(err)
	}
	roles, err := os.ReadFile(filepath.Join(dir, "conformance_roles.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all.Cases {
		t.Run(c.Name, func(t *testing.T) {
			quoted, err := json.Marshal(c.Expr)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer(`"@EXPR@"`, string(quoted), "@KIND@", c.Kind).Replace(string(template))
			set, list := engine.Compile(parse(t, string(roles), text), engine.Options{LenientEvaluation: true, Globals: value.Values{"environment": value.OfString("test")}})
			if c.CompileError != nil {
				if set != nil {
					t.Fatalf("%s compiles", c.Expr)
				}
				return
			}
			fatalIfAny(t, list)
			req := all.Context.request()
			req.Resource.Kind, req.Actions, req.AuxData.JWT = c.Kind, []string{"dr", "cond", "out"}, all.Context.JWT
			var d engine.Decision
			set.Check(req, &d)
			if got := d.Results[1].Effect.String(); got != c.Condition {
				t.Errorf("%s: the condition gives %s, want %s", c.Expr, got, c.Condition)
			}
			var out *engine.Output
			for i := range d.Outputs {
				if strings.HasSuffix(d.Outputs[i].Src, "#out") {
					out = &d.Outputs[i]
				}
			}
			switch {
			case out == nil:
				t.Errorf("%s: no output", c.Expr)
			case c.Error != "":
				if out.Err == "" {
					t.Errorf("%s: the output is %v, want the error %q", c.Expr, out.Val, c.Error)
				}
			case c.Value != nil:
				var want any
				if err := json.Unmarshal(c.Value, &want); err != nil {
					t.Fatal(err)
				}
				if got := out.Val.Native(); out.Err != "" || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: the output is %#v %s, want %#v", c.Expr, got, out.Err, want)
				}
			}
		})
	}
}
