package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/value"
)

// What a filter of rows takes: that of the demo, those of hundreds of rules, and
// those that are refused only after much was tried.
func BenchmarkPlanRows(b *testing.B) {
	demo := mustCompile(b, demoPolicies(b))
	list := make([]any, 1500)
	for i := range list {
		list[i] = float64(i)
	}
	who := engine.Principal{ID: "x", Roles: []string{"user", "manager"}, Attr: value.Attributes{"l": list}}
	rule := func(expr string) string {
		return header + "resourcePolicy:\n  resource: album\n  version: default\n  rules:\n" +
			fmt.Sprintf("    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: %q}}}\n", expr)
	}
	for _, c := range []struct {
		name    string
		texts   []string
		options engine.Options
		scope   string
		refused bool
	}{
		{"40 rules", []string{manyRules(40)}, engine.Options{}, "", false},
		{"200 rules", []string{manyRules(200)}, engine.Options{}, "", false},
		{"200 members", []string{manyMembers("all", 200)}, engine.Options{}, "", false},
		{"3000 rules", []string{manyRules(3000)}, engine.Options{}, "", true},
		{"3000 members", []string{manyMembers("any", 3000)}, engine.Options{}, "", true},
		{"roles of 30 scopes", turnedRoles(30), engine.Options{}, strings.TrimPrefix(scopes(30), "."), true},
		{"open roles and variables", openRoles(8, 8, 40), engine.Options{LenientEvaluation: true}, "", true},
		{"loop over known data", []string{rule("R.attr.a == 1 && !P.attr.l.exists(x, P.attr.l.exists(y, x + y == -1.0))")}, engine.Options{}, "", true},
		{"long list", []string{rule("R.attr.a in P.attr.l || R.attr.b in P.attr.l")}, engine.Options{}, "", false},
		{"loop over unknown data", []string{rule("P.attr.l.exists(x, P.attr.l.exists(y, R.attr.a == x + y))")}, engine.Options{}, "", true},
	} {
		b.Run(c.name, func(b *testing.B) {
			ps := compileTexts(b, c.options, c.texts...)
			req := &engine.PlanRequest{Principal: who, Resource: engine.Resource{Kind: "album", Scope: c.scope}, Actions: []string{"list"}}
			b.ReportAllocs()
			for b.Loop() {
				if plan, err := ps.PlanRows(b.Context(), req); (err != nil) != c.refused {
					b.Fatal(plan, err)
				}
			}
		})
	}
	b.Run("demo", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if plan, err := demo.PlanRows(b.Context(), demoPlan()); err != nil || plan.Filter.Kind != engine.Conditional {
				b.Fatal(plan, err)
			}
		}
	})
}

// scopes gives the innermost of n scopes.
func scopes(n int) string {
	scope := ""
	for i := 1; i < n; i++ {
		scope += fmt.Sprintf(".s%d", i)
	}
	return scope
}

// turnedRoles are policies of n scopes, in each of which a derived role is that of
// the scope around it turned round or not.
func turnedRoles(n int) []string {
	var texts []string
	for i := range n {
		texts = append(texts,
			fmt.Sprintf(header+"derivedRoles:\n  name: roles%[1]d\n  definitions:\n    - {name: r, parentRoles: [user], "+
				"condition: {match: {expr: '(\"r\" in runtime.effectiveDerivedRoles) != (R.attr.a%[1]d == 1)'}}}\n", i),
			fmt.Sprintf(header+"resourcePolicy:\n  resource: album\n  version: default\n  scope: %q\n  importDerivedRoles: [roles%d]\n",
				strings.TrimPrefix(scopes(i+1), "."), i)+listsOwnRole)
	}
	return texts
}

// listsOwnRole are rules with a condition on the list of derived roles.
const listsOwnRole = "  rules:\n    - {actions: [other], effect: EFFECT_ALLOW, derivedRoles: [r]}\n" +
	"    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: '\"r\" in runtime.effectiveDerivedRoles'}}}\n"

// openRoles is a policy of derived roles that depend on variables of the row, all of
// which may fail, and of rules that read the list of the roles.
func openRoles(roles, variables, rules int) []string {
	var definitions, names, defined, ruled strings.Builder
	for i := range roles {
		var any strings.Builder
		for j := range variables {
			fmt.Fprintf(&any, " || V.v%d == %d", j, i)
		}
		fmt.Fprintf(&definitions, "    - {name: r%d, parentRoles: [user], condition: {match: {expr: '%s'}}}\n", i, any.String()[4:])
		fmt.Fprintf(&names, ", r%d", i)
	}
	for i := range variables {
		fmt.Fprintf(&defined, "      v%d: R.attr.a%d\n", i, i)
	}
	for i := range rules {
		fmt.Fprintf(&ruled, "    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'size(runtime.effectiveDerivedRoles) > R.attr.n%d'}}}\n", i)
	}
	return []string{
		header + "derivedRoles:\n  name: roles\n  variables:\n    local:\n" + defined.String() + "  definitions:\n" + definitions.String(),
		header + "resourcePolicy:\n  resource: album\n  version: default\n  importDerivedRoles: [roles]\n" +
			"  rules:\n    - {actions: [other], effect: EFFECT_ALLOW, derivedRoles: [" + names.String()[2:] + "]}\n" + ruled.String(),
	}
}
