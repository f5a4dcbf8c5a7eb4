package lint_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/lint"
	"edict/engine/policy"
	"edict/engine/value"
)

// A rule that is said to do nothing can go: random policies decide the same
// without it.
func TestDeadRulesCanGo(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	env := environment(t)
	dead := map[diag.Code]int{}
	for round := range rounds {
		g := ruleGenerator{rand.New(rand.NewPCG(uint64(round), 11))}
		set := g.policies()
		whole := decide(t, set)
		for _, d := range lint.Check(set, nil, env) {
			switch d.Code {
			case lint.ShadowedRule, lint.DuplicateRule, lint.ConsentWithoutEffect, lint.UnreachableRule:
			default:
				continue
			}
			less := without(set, d.Pos)
			if less == nil {
				continue // it is about an action of a rule
			}
			dead[d.Code]++
			if got := decide(t, less); !slices.Equal(got, whole) {
				for i := range got {
					if got[i] != whole[i] {
						t.Errorf("round %d: %s\nwith the rule: %s\nwithout: %s", round, d.Render(), whole[i], got[i])
						break
					}
				}
			}
		}
	}
	for _, code := range []diag.Code{lint.ShadowedRule, lint.DuplicateRule, lint.ConsentWithoutEffect, lint.UnreachableRule} {
		if dead[code] < rounds/10 {
			t.Errorf("only %d rules with %s were removed", dead[code], code)
		}
	}
}

// without gives the policies without the rule at a place; nil if there is none.
func without(set []*policy.Policy, pos diag.Position) []*policy.Policy {
	out := slices.Clone(set)
	for i, p := range set {
		if p.Resource == nil {
			continue
		}
		for j := range p.Resource.Rules {
			if p.Resource.Rules[j].Pos == pos {
				body := *p.Resource
				body.Rules = slices.Delete(slices.Clone(body.Rules), j, j+1)
				changed := *p
				changed.Resource = &body
				out[i] = &changed
				return out
			}
		}
	}
	return nil
}

// decide asks for all there is to ask for, in both ways of evaluation.
func decide(t *testing.T, set []*policy.Policy) []string {
	t.Helper()
	var out []string
	for _, lenient := range []bool{false, true} {
		ps, list := engine.Compile(set, engine.Options{LenientEvaluation: lenient})
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		for _, scope := range []string{"", "emea"} {
			for _, roles := range [][]string{{"clerk"}, {"boss"}, {"boss:of:all"}, {"guest"}, {"guest", "clerk"}, {"trainee"}} {
				for _, attrs := range []value.Attributes{{"a": true, "b": true}, {"a": true, "b": false}, {"a": false, "b": true}, {"a": false, "b": false}} {
					in := engine.Request{
						Principal: engine.Principal{ID: "ana", Roles: roles},
						Resource:  engine.Resource{Kind: "invoice", ID: "1", Scope: scope, Attr: attrs},
						Actions:   []string{"read", "list", "read:a", "read:a:b"},
					}
					var d engine.Decision
					ps.Check(&in, &d)
					line := fmt.Sprintf("%q %v %v:", scope, roles, attrs)
					for i := range d.Results {
						line += fmt.Sprintf(" %s %v", d.Results[i].Action, d.Results[i].Allowed())
					}
					out = append(out, line)
				}
			}
		}
	}
	return out
}

type ruleGenerator struct{ *rand.Rand }

func (g ruleGenerator) pick(from ...string) string { return from[g.IntN(len(from))] }

func texts(values ...string) []diag.Text {
	var out []diag.Text
	for _, v := range values {
		if !slices.ContainsFunc(out, func(t diag.Text) bool { return t.Value == v }) {
			out = append(out, diag.Text{Value: v})
		}
	}
	return out
}

// policies gives a resource policy at the root and one in a scope, derived
// roles, and a role policy with parents.
func (g ruleGenerator) policies() []*policy.Policy {
	expr := func(text string) *policy.Condition { return &policy.Condition{Expr: diag.Text{Value: text}} }
	resource := func(line int, scope string, permissions policy.ScopePermissions) *policy.Policy {
		p := &policy.ResourcePolicy{
			Resource: diag.Text{Value: "invoice"}, Version: diag.Text{Value: "default"}, Scope: diag.Text{Value: scope},
			Permissions: permissions, ImportDerivedRoles: texts("people"),
		}
		for i := range 2 + g.IntN(4) {
			r := policy.Rule{
				Pos:     diag.Position{File: "x.yaml", Line: line + i, Column: 1},
				Actions: texts(g.action(), g.action()),
				Effect:  policy.Allow,
			}
			if g.IntN(3) == 0 {
				r.Effect = policy.Deny
			}
			if g.IntN(3) > 0 {
				r.Roles = texts(g.role(), g.role())
			} else {
				r.DerivedRoles = texts(g.pick("owner", "staff"))
			}
			if g.IntN(2) == 0 {
				r.Condition = expr(g.pick("R.attr.a", "R.attr.b", "R.attr.a && R.attr.b"))
			}
			if i > 0 && g.IntN(6) == 0 {
				pos := r.Pos
				r = p.Rules[i-1]
				r.Pos = pos
			}
			p.Rules = append(p.Rules, r)
		}
		return &policy.Policy{Resource: p}
	}
	permissions := []policy.ScopePermissions{policy.OverrideParent, policy.RequireParentalConsent}[g.IntN(2)]
	return []*policy.Policy{
		{DerivedRoles: &policy.DerivedRoles{Name: diag.Text{Value: "people"}, Definitions: []policy.RoleDefinition{
			{Name: diag.Text{Value: "owner"}, ParentRoles: texts(g.role()), Condition: expr("R.attr.a")},
			{Name: diag.Text{Value: "staff"}, ParentRoles: texts("clerk", g.role())},
		}}},
		{Role: &policy.RolePolicy{Role: diag.Text{Value: "trainee"}, Version: diag.Text{Value: "default"}, ParentRoles: texts("clerk"),
			Rules: []policy.RoleRule{{Resource: diag.Text{Value: "*"}, AllowActions: texts("read*", "list")}}}},
		resource(100, "", policy.PermissionsUnspecified),
		resource(200, "emea", permissions),
	}
}

func (g ruleGenerator) action() string {
	return g.pick("read", "list", "read:*", "read:a", "read:**", "*", "read")
}

func (g ruleGenerator) role() string {
	return g.pick("clerk", "boss", "*", "boss:*", "guest", "clerk")
}
