package engine_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/conformance"
	"edict/engine/folder"
	"edict/engine/schema"
	"edict/engine/value"
)

// A jsonFilter is a filter as JSON.
type jsonFilter struct {
	Kind      string
	Condition any
}

// asJSON gives the filter of a plan as JSON, read back.
func asJSON(t *testing.T, f *engine.Filter) jsonFilter {
	t.Helper()
	out := jsonFilter{Kind: f.Kind.String()}
	if f.Condition != nil {
		text, err := f.Condition.AppendJSON(nil)
		if err == nil {
			err = json.Unmarshal(text, &out.Condition)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// unordered sorts the operands of which the order is free.
func unordered(x any) any {
	m, _ := x.(map[string]any)
	e, _ := m["expression"].(map[string]any)
	if e == nil {
		return x
	}
	var operands []any
	for _, o := range e["operands"].([]any) {
		operands = append(operands, unordered(o))
	}
	if slices.Contains([]string{"and", "or", "eq", "ne", "add", "mult", "struct"}, e["operator"].(string)) {
		slices.SortFunc(operands, func(a, b any) int {
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(b)
			return strings.Compare(string(x), string(y))
		})
	}
	return map[string]any{"expression": map[string]any{"operator": e["operator"], "operands": operands}}
}

func sameFilter(a, b jsonFilter) bool {
	return a.Kind == b.Kind && reflect.DeepEqual(unordered(a.Condition), unordered(b.Condition))
}

// planRequest makes the request of a case.
func planRequest(in *caseInput, action string, actions []string) *engine.PlanRequest {
	req := in.request()
	if action != "" {
		actions = append(actions, action)
	}
	return &engine.PlanRequest{Principal: req.Principal, Resource: req.Resource, Actions: actions, AuxData: req.AuxData}
}

// The cases of Cerbos' own planner.
func TestConformancePlanner(t *testing.T) {
	dir := conformance.Dir(t)
	policies := readPolicies(t, filepath.Join(dir, "query_planner", "policies"))
	for _, test := range []struct {
		folder  string
		lenient bool
	}{
		{"common", false}, {"common", true}, {"strict_scope_search", false}, {"lenient_scope_search", true},
	} {
		set, list := engine.Compile(policies, engine.Options{
			LenientEvaluation: true, LenientScopeSearch: test.lenient, Globals: value.Values{"environment": value.OfString("test")},
		})
		fatalIfAny(t, list)
		files, err := filepath.Glob(filepath.Join(dir, "query_planner", "suite", test.folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if want := conformance.Count(t, "query_planner/suite/"+test.folder); len(files) != want {
			t.Errorf("%s has %d cases, the manifest says %d", test.folder, len(files), want)
		}
		for _, file := range files {
			t.Run(fmt.Sprintf("%s/%s lenient=%v", test.folder, filepath.Base(file), test.lenient), func(t *testing.T) {
				var suite struct {
					Principal json.RawMessage
					Tests     []struct {
						Action   string
						Actions  []string
						Resource json.RawMessage
						Want     jsonFilter
						WantErr  bool
					}
				}
				readCase(t, file, &suite)
				for _, c := range suite.Tests {
					var in caseInput
					for from, into := range map[*json.RawMessage]any{&suite.Principal: &in.Principal, &c.Resource: &in.Resource} {
						if err := json.Unmarshal(*from, into); err != nil {
							t.Fatal(err)
						}
					}
					req := planRequest(&in, c.Action, c.Actions)
					req.AuxData.JWT = value.Attributes{"customInt": 42.0}
					req.Now = time.Date(2024, 1, 16, 10, 18, 27, 395e6, time.FixedZone("", 13*3600))
					plan, err := set.Plan(t.Context(), req)
					if err != nil {
						if !c.WantErr {
							t.Errorf("%v: %v", req.Actions, err)
						}
						continue
					}
					if got := asJSON(t, &plan.Filter); c.WantErr || !sameFilter(got, c.Want) {
						want, _ := json.Marshal(c.Want)
						t.Errorf("%v of %s: got %s, want error %v, %s", req.Actions, req.Resource.Kind, plan.Debug(), c.WantErr, want)
					}
				}
			})
		}
	}
}

// expressionOf gives the condition of a policy for a filter.
func expressionOf(t *testing.T, operand any) string {
	m := operand.(map[string]any)
	if v, ok := m["variable"]; ok {
		return v.(string)
	}
	e, ok := m["expression"].(map[string]any)
	if !ok {
		text, err := json.Marshal(m["value"])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var operands []string
	for _, o := range e["operands"].([]any) {
		operands = append(operands, expressionOf(t, o))
	}
	op := map[string]string{"and": " && ", "or": " || ", "eq": " == ", "in": " in "}[e["operator"].(string)]
	if op == "" {
		t.Fatalf("the operator %v is not known to the test", e["operator"])
	}
	return "(" + strings.Join(operands, op) + ")"
}

// The cases of how Cerbos simplifies filters, made conditions of policies.
func TestConformanceFilters(t *testing.T) {
	dir := conformance.Dir(t)
	files, err := filepath.Glob(filepath.Join(dir, "query_planner_filter", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "query_planner_filter"); len(files) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(files), want)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var c struct {
				Input, WantFilter jsonFilter
				WantString        string
			}
			readCase(t, file, &c)
			rule := map[string]any{"actions": []string{"do"}, "roles": []string{"*"}, "effect": "EFFECT_ALLOW"}
			if c.Input.Condition != nil {
				rule["condition"] = map[string]any{"match": map[string]any{"expr": expressionOf(t, c.Input.Condition)}}
			}
			content, err := json.Marshal(map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{
				"version": "default", "resource": "thing", "rules": []any{rule}}})
			if err != nil {
				t.Fatal(err)
			}
			set := mustCompile(t, mustParse(t, []folder.File{{Path: "p.json", Content: content}}))
			plan, err := set.Plan(t.Context(), &engine.PlanRequest{Principal: engine.Principal{ID: "p", Roles: []string{"user"}},
				Resource: engine.Resource{Kind: "thing"}, Actions: []string{"do"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := asJSON(t, &plan.Filter); !sameFilter(got, c.WantFilter) || plan.Debug() != c.WantString {
				t.Errorf("got %s, want %s", plan.Debug(), c.WantString)
			}
		})
	}
}

// A jsonToken is a token of a case.
type jsonToken struct{ Token string }

// claims gives what the token says, which is not verified here.
func (j jsonToken) claims(t *testing.T) value.Attributes {
	t.Helper()
	if j.Token == "" {
		return nil
	}
	content, err := base64.RawURLEncoding.DecodeString(strings.Split(j.Token, ".")[1])
	var claims value.Attributes
	if err == nil {
		err = json.Unmarshal(content, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// The plans of Cerbos' cases for its server.
func TestConformanceServerPlans(t *testing.T) {
	dir := conformance.Dir(t)
	compiler, err := engine.NewCompiler(engine.Options{LenientEvaluation: true, SchemaEnforcement: engine.SchemaReject})
	if err != nil {
		t.Fatal(err)
	}
	set, list := compiler.Compile(readPolicies(t, filepath.Join(dir, "store")), readSchemas(t, filepath.Join(dir, "store")))
	fatalIfAny(t, list)
	files, err := filepath.Glob(filepath.Join(dir, "server", "plan_resources", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var c struct {
				PlanResources struct {
					Input struct {
						caseInput
						Action  string
						AuxData struct {
							JWT  jsonToken
							JWTs map[string]jsonToken
						}
					}
					WantResponse struct {
						Filter jsonFilter
						Meta   struct {
							FilterDebug, MatchedScope string
							MatchedScopes             map[string]string
						}
						ValidationErrors []struct{ Path, Message, Source string }
					}
				}
			}
			readCase(t, file, &c)
			in, want := &c.PlanResources.Input, &c.PlanResources.WantResponse
			req := planRequest(&in.caseInput, in.Action, in.Actions)
			req.AuxData = engine.AuxData{JWT: in.AuxData.JWT.claims(t), JWTs: map[string]value.Mapping{}}
			for name, token := range in.AuxData.JWTs {
				req.AuxData.JWTs[name] = token.claims(t)
			}
			plan, err := set.Plan(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got := asJSON(t, &plan.Filter); !sameFilter(got, want.Filter) || plan.Debug() != want.Meta.FilterDebug {
				t.Errorf("got %s, want %s", plan.Debug(), want.Meta.FilterDebug)
			}
			if in.Action != "" && plan.MatchedScopes[in.Action] != want.Meta.MatchedScope {
				t.Errorf("the scope is %q, want %q", plan.MatchedScopes[in.Action], want.Meta.MatchedScope)
			}
			if want.Meta.MatchedScopes != nil && !reflect.DeepEqual(plan.MatchedScopes, want.Meta.MatchedScopes) {
				t.Errorf("the scopes are %q, want %q", plan.MatchedScopes, want.Meta.MatchedScopes)
			}
			var got, errors []string
			for _, e := range plan.ValidationErrors {
				got = append(got, fmt.Sprintf("%s %s %s", e.Source, e.Path, e.Message))
			}
			for _, e := range want.ValidationErrors {
				errors = append(errors, fmt.Sprintf("%s %s %s", e.Source, e.Path, e.Message))
			}
			slices.Sort(got)
			slices.Sort(errors)
			if !slices.Equal(got, errors) {
				t.Errorf("validation errors: got %q, want %q", got, errors)
			}
		})
	}
}

// TestPlanValidation holds attributes of plan requests against schemas: what a
// resource does not have is not known, and so is not missing.
func TestPlanValidation(t *testing.T) {
	const policyText = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  schemas:
    principalSchema: {ref: "cerbos:///s.json", ignoreWhen: {actions: [free]}}
    resourceSchema: {ref: "cerbos:///s.json", ignoreWhen: {actions: [free]}}
  rules: [{actions: ["*"], effect: EFFECT_ALLOW, roles: ["*"]}]
`
	compiler, err := engine.NewCompiler(engine.Options{SchemaEnforcement: engine.SchemaReject})
	if err != nil {
		t.Fatal(err)
	}
	set, list := compiler.Compile(mustParse(t, []folder.File{{Path: "p.yaml", Content: []byte(policyText)}}), schema.New(map[string][]byte{
		"s.json": []byte(`{"type": "object", "properties": {"n": {"type": "number"}, "s": {"type": "string"}}, "required": ["n", "s"]}`)}))
	fatalIfAny(t, list)
	whole := value.Attributes{"n": 1.0, "s": "a"}
	for _, test := range []struct {
		name                string
		principal, resource value.Attributes
		action              string
		errors              int
		kind                engine.FilterKind
	}{
		{"conforming", whole, whole, "read", 0, engine.AlwaysAllowed},
		{"part of a resource", whole, value.Attributes{"n": 1.0}, "read", 0, engine.AlwaysAllowed},
		{"nothing of a resource", whole, nil, "read", 0, engine.AlwaysAllowed},
		{"part of a principal", value.Attributes{"n": 1.0}, whole, "read", 1, engine.AlwaysDenied},
		{"wrong part of a resource", whole, value.Attributes{"n": "1"}, "read", 1, engine.AlwaysDenied},
		{"ignored", nil, value.Attributes{"n": "1"}, "free", 0, engine.AlwaysAllowed},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := set.Plan(t.Context(), &engine.PlanRequest{Principal: engine.Principal{ID: "p", Roles: []string{"r"}, Attr: test.principal},
				Resource: engine.Resource{Kind: "doc", Attr: test.resource}, Actions: []string{test.action}})
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.ValidationErrors) != test.errors || plan.Filter.Kind != test.kind {
				t.Errorf("got %s with %v, want %s with %d errors", plan.Debug(), plan.ValidationErrors, test.kind, test.errors)
			}
		})
	}
}

// The cases of Cerbos for schemas that ask for plans: what breaks a schema is told,
// and denies if schemas are enforced.
func TestConformanceSchemaPlans(t *testing.T) {
	dir := filepath.Join(conformance.Dir(t), "schema")
	schemas := readSchemas(t, filepath.Join(dir, "fs"))
	files, err := filepath.Glob(filepath.Join(dir, "test_cases", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	plans := 0
	for _, file := range files {
		var c struct {
			SchemaRefs         any
			PlanResourcesInput *struct {
				caseInput
				Action string
			}
			WantValidationErrors []struct{ Path, Message, Source string }
		}
		readCase(t, file, &c)
		in := c.PlanResourcesInput
		if in == nil {
			continue
		}
		plans++
		var want []string
		for _, e := range c.WantValidationErrors {
			want = append(want, fmt.Sprintf("%s %s %s", e.Source, e.Path, e.Message))
		}
		slices.Sort(want)
		content, err := json.Marshal(map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{
			"resource": in.Resource.Kind, "version": in.Resource.PolicyVersion, "schemas": c.SchemaRefs,
			"rules": []any{map[string]any{"actions": []string{"*"}, "roles": []string{"*"}, "effect": "EFFECT_ALLOW"}}}})
		if err != nil {
			t.Fatal(err)
		}
		policies := mustParse(t, []folder.File{{Path: "p.json", Content: content}})
		for _, enforcement := range []engine.SchemaEnforcement{engine.SchemaWarn, engine.SchemaReject} {
			t.Run(fmt.Sprintf("%s %v", filepath.Base(file), enforcement), func(t *testing.T) {
				compiler, err := engine.NewCompiler(engine.Options{SchemaEnforcement: enforcement})
				if err != nil {
					t.Fatal(err)
				}
				set, list := compiler.Compile(policies, schemas)
				fatalIfAny(t, list)
				plan, err := set.Plan(t.Context(), planRequest(&in.caseInput, in.Action, in.Actions))
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, e := range plan.ValidationErrors {
					got = append(got, fmt.Sprintf("%s %s %s", e.Source, e.Path, e.Message))
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("validation errors: got %q, want %q", got, want)
				}
				kind := engine.AlwaysAllowed
				if enforcement == engine.SchemaReject && len(want) > 0 {
					kind = engine.AlwaysDenied
				}
				if plan.Filter.Kind != kind {
					t.Errorf("the plan is %v, want %v", plan.Filter.Kind, kind)
				}
			})
		}
	}
	if plans == 0 {
		t.Error("no case asks for a plan")
	}
}
