package lint_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edict/engine/conformance"
	"edict/engine/diag"
	"edict/engine/lint"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

func lintFolder(t *testing.T, dir string) diag.List {
	t.Helper()
	policies, list := policyfile.Load(os.DirFS(dir))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	if len(policies) == 0 {
		t.Fatalf("%s holds no policies", dir)
	}
	return lint.Check(policies, nil, environment(t))
}

// The policies of the demo are an example to follow.
func TestTheDemoIsClean(t *testing.T) {
	if list := lintFolder(t, filepath.Join("..", "..", "policies")); len(list) > 0 {
		t.Error(list.Render())
	}
}

// Each warning about the policies that Cerbos is tested with was judged: it
// says something true. A new one is to be judged, and written down here.
func TestWarningsAboutConformancePolicies(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "judged.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var judged []string
	for line := range strings.Lines(string(golden)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			judged = append(judged, line)
		}
	}
	var got []string
	for _, dir := range []string{"store", "query_planner/policies", "verify_junit/store"} {
		for _, d := range lintFolder(t, filepath.Join(conformance.Dir(t), dir)) {
			line := fmt.Sprintf("%s/%s %s", dir, d.Pos, d.Code)
			got = append(got, line)
			if !slices.Contains(judged, line) {
				t.Errorf("not judged: %s\n%s", line, d.Render())
			}
		}
	}
	for _, line := range judged {
		if !slices.Contains(got, line) {
			t.Errorf("not reported: %s", line)
		}
	}
}

// What is said of an expression agrees with what Cerbos makes of it.
func TestClaimsAboutExpressions(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(conformance.Dir(t), "cel_own", "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Name, Expr, Condition, Error string
			Value                        any
		}
	}
	if err := json.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	if n := conformance.Count(t, "cel_own"); len(file.Cases) != n {
		t.Fatalf("%d cases of %d", len(file.Cases), n)
	}
	env := environment(t)
	claims := 0
	for _, c := range file.Cases {
		pos := diag.Position{File: c.Name, Line: 1, Column: 1}
		p := &policy.Policy{Source: []string{c.Expr}, Resource: &policy.ResourcePolicy{Rules: []policy.Rule{{
			Pos: pos, Effect: policy.Allow, Actions: texts("cond"), Roles: texts("*"), Condition: &policy.Condition{Pos: pos, Expr: diag.Text{Value: c.Expr, Pos: pos}},
		}}}}
		for _, d := range lint.Check([]*policy.Policy{p}, nil, env) {
			allowed := c.Condition == "EFFECT_ALLOW"
			holds := true
			switch d.Code {
			case lint.ConditionAlwaysTrue:
				holds = allowed || c.Error != "" || strings.HasPrefix(d.Message, "this part")
			case lint.ConditionAlwaysFalse:
				holds = !allowed || strings.HasPrefix(d.Message, "this part")
			case lint.NotACondition:
				holds = !allowed
			case lint.NeverEqual:
				holds = !allowed || strings.Contains(c.Expr, "!=") || strings.Contains(c.Expr, "!(")
			case lint.WrongOperands, lint.IntegerArithmetic:
				// What fails may stand beside something that decides.
				holds = c.Error != "" || strings.ContainsAny(c.Expr, "|&?")
			}
			claims++
			if !holds {
				t.Errorf("%s gives %v %s, condition %s:\n%s", c.Expr, c.Value, c.Error, c.Condition, d.Render())
			}
		}
	}
	if claims < len(file.Cases)/4 {
		t.Errorf("only %d claims were compared", claims)
	}
}
