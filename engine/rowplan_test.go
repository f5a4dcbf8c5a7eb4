package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/schema"
	"edict/engine/value"
)

// The filters of the demo's policies are what a person would write.
func TestRowFiltersOfTheDemo(t *testing.T) {
	const (
		own    = `(holds (eq request.resource.attr.ownerId "bob"))`
		noOwn  = `(not (errs (eq request.resource.attr.ownerId "bob")))`
		region = `(holds (in request.resource.attr.region ["emea","apac"]))`
	)
	tests := []struct {
		roles, action   string
		strict, lenient string // empty: as strict
	}{
		{"employee", "read", own, ""},
		{"employee,manager", "read", "(and " + noOwn + " (or " + own + " " + region + "))", "(or " + own + " " + region + ")"},
		{"auditor", "read", "(true)", ""},
		{"auditor,employee", "read", "(true)", ""},
		{"employee,auditor", "read", noOwn, "(true)"},
		{"employee,manager", "delete", own, ""},
		{"employee,manager,auditor", "delete", "(false)", ""},
		{"employee", "approve", "(false)", ""},
		{"employee,manager", "approve", "(and " + noOwn + " (not " + own + ") " + region + " (holds (gt request.resource.attr.amount 0)) (holds (le request.resource.attr.amount 1000)))",
			"(and (not " + own + ") " + region + " (holds (gt request.resource.attr.amount 0)) (holds (le request.resource.attr.amount 1000)))"},
		{"employee", "nothing", "(false)", ""},
		{"anonymous", "read", "(false)", ""},
	}
	for _, lenient := range []bool{false, true} {
		ps, diagnostics := engine.Compile(demoPolicies(t), engine.Options{LenientEvaluation: lenient})
		fatalIfAny(t, diagnostics)
		for _, test := range tests {
			want := test.strict
			if lenient && test.lenient != "" {
				want = test.lenient
			}
			plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
				Principal: engine.Principal{ID: "bob", Roles: strings.Split(test.roles, ","),
					Attr: value.Attributes{"regions": []any{"emea", "apac"}, "approvalLimit": 1000, "clientIp": "127.0.0.1"}},
				Resource: engine.Resource{Kind: "expense"},
				Actions:  []string{test.action},
				Now:      time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
			})
			if err != nil || plan.Debug() != want {
				t.Errorf("lenient %v, %s %s:\n%v, %v\nwant\n%s", lenient, test.roles, test.action, plan, err, want)
			}
		}
	}
}

// Of several actions the filter is that of all, and of none there is none.
func TestRowFiltersOfSeveralActions(t *testing.T) {
	ps, diagnostics := engine.Compile(demoPolicies(t), engine.Options{})
	fatalIfAny(t, diagnostics)
	for want, actions := range map[string][]string{
		"(false)": nil,
		`(holds (eq request.resource.attr.ownerId "bob"))`: {"total", "read", "delete"},
	} {
		plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "bob", Roles: []string{"employee"}, Attr: value.Attributes{"clientIp": "127.0.0.1"}},
			Resource:  engine.Resource{Kind: "expense"}, Actions: actions, Now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
		})
		if err != nil || plan.Debug() != want {
			t.Errorf("%q: %v, %v, want %s", actions, plan, err, want)
		}
	}
}

// Both spellings of the policy version are one variable.
func TestRowFiltersOfPolicyVersions(t *testing.T) {
	for _, spelled := range []string{"R.policyVersion", "R.policy_version", "request.resource.policy_version"} {
		ps := compileTexts(t, engine.Options{}, header+`
resourcePolicy:
  resource: album
  version: default
  rules:
    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: `+spelled+` == "v2"}}}
`)
		plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}}, Resource: engine.Resource{Kind: "album"}, Actions: []string{"list"}})
		if want := `(holds (eq request.resource.policyVersion "v2"))`; err != nil || plan.Debug() != want {
			t.Errorf("%s: %v, %v, want %s", spelled, plan, err, want)
		}
	}
}

// What no filter can say is an error that names the place, unless it plays no
// part in the decision.
func TestRowFiltersThatCannotBe(t *testing.T) {
	rule := func(name, action, expr string) string {
		return fmt.Sprintf("    - {name: %s, actions: [%s], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: %q}}}\n", name, action, expr)
	}
	many, definitions := "", ""
	for i := range 9 {
		many += fmt.Sprintf(", role%d", i)
		definitions += fmt.Sprintf("    - {name: role%d, parentRoles: [user], condition: {match: {expr: R.attr.n > %d}}}\n", i, i)
	}
	texts := []string{
		header + "derivedRoles:\n  name: roles\n  definitions:\n" + definitions,
		header + "resourcePolicy:\n  resource: album\n  version: default\n  importDerivedRoles: [roles]\n  rules:\n" +
			rule("optional", "optional", "R.attr.?x.orValue(1) == 1") +
			rule("whole", "whole", "size(R.attr) > 2") +
			rule("list", "list", "size(runtime.effectiveDerivedRoles) > 2") +
			"    - {name: many, actions: [other], effect: EFFECT_ALLOW, derivedRoles: [" + many[2:] + "]}\n" +
			rule("fine", "decided", "true") +
			"    - {name: denied, actions: [decided], effect: EFFECT_DENY, roles: [user], condition: {match: {any: {of: [{expr: \"true\"}, {expr: size(R.attr) > 2}]}}}}\n",
	}
	ps := compileTexts(t, engine.Options{}, texts...)
	for action, want := range map[string]string{
		"optional": "rule optional of resource.album.vdefault: R.attr.?x.orValue(1) == 1: an optional value that depends on unknown data can't be part of a filter",
		"whole":    "rule whole of resource.album.vdefault: size(R.attr) > 2: R as a whole can't be part of a filter",
		"list":     "rule list of resource.album.vdefault: the list of derived roles depends on the row in too many ways",
		"decided":  "",
	} {
		plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}, Attr: value.Attributes{"team": "blue"}},
			Resource:  engine.Resource{Kind: "album"}, Actions: []string{action},
		})
		if want == "" {
			if err != nil || plan.Debug() != "(false)" {
				t.Errorf("%s: %v, %v", action, plan, err)
			}
			continue
		}
		e, ok := errors.AsType[*engine.PlanError](err)
		if !ok || plan != nil || (e.Pos.File == "") != (e.Rule == "") || e.Error() != want {
			t.Errorf("%s: %v, %v (%+v), want %s", action, plan, err, e, want)
		}
	}
}

// A schema of the resource that is enforced can't be held against rows.
func TestRowFiltersAndSchemas(t *testing.T) {
	schemas := schema.New(map[string][]byte{
		"p.json": []byte(`{"type": "object", "required": ["team"]}`),
		"r.json": []byte(`{"type": "object", "required": ["owner"]}`),
	})
	policies := parse(t, header+`
resourcePolicy:
  resource: album
  version: default
  schemas:
    principalSchema: {ref: "cerbos:///p.json"}
    resourceSchema: {ref: "cerbos:///r.json", ignoreWhen: {actions: [list]}}
  rules:
    - {actions: [view, list], effect: EFFECT_ALLOW, roles: [user]}
`)
	for _, test := range []struct {
		enforcement engine.SchemaEnforcement
		action      string
		team        value.Mapping
		want        string
		invalid     int
	}{
		{engine.SchemaReject, "view", value.Attributes{"team": "blue"}, "error", 0},
		{engine.SchemaReject, "list", value.Attributes{"team": "blue"}, "(true)", 0},
		{engine.SchemaReject, "list", nil, "(false)", 1},
		{engine.SchemaWarn, "view", nil, "(true)", 1},
		{engine.SchemaNone, "view", nil, "(true)", 0},
	} {
		c, err := engine.NewCompiler(engine.Options{SchemaEnforcement: test.enforcement})
		if err != nil {
			t.Fatal(err)
		}
		ps, diagnostics := c.Compile(policies, schemas)
		fatalIfAny(t, diagnostics)
		plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}, Attr: test.team},
			Resource:  engine.Resource{Kind: "album"}, Actions: []string{test.action},
		})
		if test.want == "error" {
			if _, ok := errors.AsType[*engine.PlanError](err); !ok || !strings.Contains(err.Error(), "schema") {
				t.Errorf("%+v: %v, %v", test, plan, err)
			}
			continue
		}
		if err != nil || plan.Debug() != test.want || len(plan.ValidationErrors) != test.invalid {
			t.Errorf("%+v: %v, %v", test, plan, err)
		}
	}
}

// Expressions that look the same to people are not the same: here the name of an
// attribute, which the principal chooses, looks like two operands.
func TestRowFiltersKeepNamesApart(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, header+`
resourcePolicy:
  resource: album
  version: default
  rules:
    - actions: [list]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {all: {of: [{expr: "P.attr.team in [R.attr[P.attr.key]]"}, {expr: "P.attr.team in [R.attr.a, 'b']"}]}}}
`)
	plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
		Principal: engine.Principal{ID: "alice", Roles: []string{"user"}, Attr: value.Attributes{"team": "blue", "key": `a "b"`}},
		Resource:  engine.Resource{Kind: "album"}, Actions: []string{"list"},
	})
	if err != nil {
		t.Fatal(err)
	}
	condition, err := plan.Filter.Condition.AppendJSON(nil)
	if err != nil || !strings.Contains(string(condition), `{"variable":"request.resource.attr.a"}`) ||
		!strings.Contains(string(condition), `{"variable":"request.resource.attr.a \"b\""}`) {
		t.Errorf("%s, %v: both attributes were to be asked for", condition, err)
	}
}

// The filter of a rule that looks for an attribute in nothing asks whether there is
// the attribute.
func TestRowFiltersOfEmptyLists(t *testing.T) {
	rules := func(condition string) string {
		return header + "resourcePolicy:\n  resource: album\n  version: default\n  rules:\n" +
			"    - {actions: [list], effect: EFFECT_DENY, roles: [user], condition: {match: {" + condition + "}}}\n" +
			"    - {actions: [list], effect: EFFECT_ALLOW, roles: [user]}\n"
	}
	for condition, want := range map[string]string{
		`expr: R.attr.region in P.attr.blocked`:                 `(not (errs (in request.resource.attr.region [])))`,
		`none: {of: [{expr: R.attr.region in P.attr.blocked}]}`: `(false)`,
		`expr: R.id in P.attr.blocked`:                          `(true)`,
		`expr: has(R.attr.region)`:                              `(not (holds (has request.resource.attr.region)))`,
		`expr: "!(R.attr.region in P.attr.blocked)"`: `(and (not (errs (not (in request.resource.attr.region [])))) ` +
			`(not (holds (not (in request.resource.attr.region [])))))`,
	} {
		plan, err := compileTexts(t, engine.Options{}, rules(condition)).PlanRows(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "ann", Roles: []string{"user"}, Attr: value.Attributes{"blocked": []any{}}},
			Resource:  engine.Resource{Kind: "album"}, Actions: []string{"list"},
		})
		if err != nil || plan.Debug() != want {
			t.Errorf("%s: %v, %v, want %s", condition, plan, err, want)
		}
	}
}

// manyRules are policies of one kind with n rules for the action list, each with a
// condition of its own that may fail, in many shapes.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString(header + "resourcePolicy:\n  resource: album\n  version: default\n  rules:\n")
	for i := range n {
		effect := "ALLOW"
		if i%4 == 3 {
			effect = "DENY"
		}
		role := []string{"user", "manager"}[i/4%2]
		condition := fmt.Sprintf("expr: R.attr.a%d == P.id && R.attr.n < %d", i, i)
		if op := []string{"", "all", "any", "none"}[i%4]; op != "" {
			condition = fmt.Sprintf("%s: {of: [{expr: R.attr.a%d == 'x'}, {expr: R.attr.b%d > %d}, {expr: R.attr.n != %d}]}", op, i, i, i, i)
		}
		fmt.Fprintf(&b, "    - {actions: [list], effect: EFFECT_%s, roles: [%s], condition: {match: {%s}}}\n", effect, role, condition)
	}
	return b.String()
}

// manyMembers is a policy with one rule of each effect, whose conditions have n
// members, all of which may fail.
func manyMembers(op string, n int) string {
	members := ""
	for i := range n {
		members += fmt.Sprintf(", {expr: R.attr.a%d == 'x' && R.attr.n >= 0}", i)
	}
	condition := "condition: {match: {" + op + ": {of: [" + members[2:] + "]}}}"
	return header + "resourcePolicy:\n  resource: album\n  version: default\n  rules:\n" +
		"    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], " + condition + "}\n" +
		"    - {actions: [list], effect: EFFECT_DENY, roles: [manager], " + condition + "}\n" +
		"    - {actions: [list], effect: EFFECT_ALLOW, roles: [manager], condition: {match: {expr: R.attr.n == 1}}}\n"
}

// Under strict evaluation, too, the filter of hundreds of rules, or of members of a
// condition, is not much longer than they are, and lets through what Check allows.
func TestRowFiltersOfManyRules(t *testing.T) {
	workshop := oracle.NewWorkshop()
	for name, policies := range map[string]func(n int) string{
		"rules": manyRules,
		"all":   func(n int) string { return manyMembers("all", n) },
		"any":   func(n int) string { return manyMembers("any", n) },
		"none":  func(n int) string { return manyMembers("none", n) },
	} {
		lengths := map[int]int{}
		for _, n := range []int{25, 60, 200} {
			ps := compileTexts(t, engine.Options{}, policies(n))
			req := &engine.PlanRequest{
				Principal: engine.Principal{ID: "x", Roles: []string{"user", "manager"}},
				Resource:  engine.Resource{Kind: "album"}, Actions: []string{"list"},
			}
			plan, err := ps.PlanRows(t.Context(), req)
			if err != nil || plan.Filter.Kind != engine.Conditional {
				t.Fatalf("%d %s: %v, %v", n, name, plan, err)
			}
			condition, err := plan.Filter.Condition.AppendJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			if lengths[n] = len(condition); n != 60 {
				continue // the reference takes long
			}

			// Rows with all attributes but one, or with one that differs.
			all := value.Values{"n": value.OfDouble(1)}
			for i := range n {
				all[fmt.Sprint("a", i)], all[fmt.Sprint("b", i)] = value.OfString("y"), value.OfDouble(0)
			}
			seen := map[bool]int{}
			for _, changed := range []string{"", "n", "a0", "a1", "a2", "b3", "b5", "a16", "a20", fmt.Sprint("a", n-1), fmt.Sprint("b", n-1)} {
				for _, to := range []value.Value{{}, value.OfNull(), value.OfString("x"), value.OfDouble(1000)} {
					row := engine.Resource{Kind: "album", ID: "r", Attr: maps.Clone(all)}
					attr := row.Attr.(value.Values)
					if delete(attr, changed); to.Kind() != value.Absent && changed != "" {
						attr[changed] = to
					}
					var d engine.Decision
					ps.Check(&engine.Request{Principal: req.Principal, Resource: row, Actions: req.Actions}, &d)
					seen[d.Allowed()]++
					if lets := workshop.Lets(condition, &row); lets != d.Allowed() {
						t.Errorf("%d %s, %s is %v: filter %v, check %v", n, name, changed, to, lets, d.Allowed())
					}
				}
			}
			if seen[true] == 0 || seen[false] == 0 {
				t.Errorf("%d %s: of the rows, %v are allowed", n, name, seen)
			}
		}
		if lengths[200] > 2*8*lengths[25] {
			t.Errorf("%s: %v bytes: eight times the rules are more than sixteen times as long", name, lengths)
		}
	}
}

// Filters whose cases multiply are refused before anybody has to wait for them.
func TestRowFiltersOfManyCases(t *testing.T) {
	// Each variable may fail, which is null to the list of derived roles.
	variables, any := "", ""
	for i := range 30 {
		variables += fmt.Sprintf("      v%d: R.attr.a%d\n", i, i)
		any += fmt.Sprintf(" || V.v%d == 1", i)
	}
	nullable := []string{
		header + "derivedRoles:\n  name: roles\n  variables:\n    local:\n" + variables +
			"  definitions:\n    - {name: r, parentRoles: [user], condition: {match: {expr: '" + any[4:] + "'}}}\n",
		header + "resourcePolicy:\n  resource: album\n  version: default\n  importDerivedRoles: [roles]\n" + listsOwnRole,
	}

	for _, test := range []struct {
		texts   []string
		options engine.Options
		scope   string
		want    string
	}{
		{nullable, engine.Options{LenientEvaluation: true}, "", "it depends on too many variables that may fail"},
		{turnedRoles(30), engine.Options{}, strings.TrimPrefix(scopes(30), "."), "the filter is too large, or takes too many steps to find"},
	} {
		ps := compileTexts(t, test.options, test.texts...)
		plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}},
			Resource:  engine.Resource{Kind: "album", Scope: test.scope}, Actions: []string{"list"},
		})
		if plan != nil || err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%v, %v, want %s", plan, err, test.want)
		}
	}
}

// What expressions take counts, too, even where Check has the time for it.
func TestRowFiltersOfManySteps(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, header+`
resourcePolicy:
  resource: album
  version: default
  rules:
    - actions: [list]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: "R.attr.a == 1 && !P.attr.l.exists(x, P.attr.l.exists(y, x + y == -1.0))"}}
`)
	for n, want := range map[int]bool{50: true, 1500: false} {
		list := make([]any, n)
		for i := range list {
			list[i] = float64(i)
		}
		who := engine.Principal{ID: "alice", Roles: []string{"user"}, Attr: value.Attributes{"l": list}}
		plan, err := ps.PlanRows(t.Context(), &engine.PlanRequest{Principal: who, Resource: engine.Resource{Kind: "album"}, Actions: []string{"list"}})
		if e, ok := errors.AsType[*engine.PlanError](err); want != (err == nil) || ok != (plan == nil) || ok && !strings.Contains(e.Message, "too many steps") {
			t.Errorf("%d members: %v, %v", n, plan, err)
		}
		var d engine.Decision
		row := engine.Resource{Kind: "album", ID: "r", Attr: value.Attributes{"a": 1}}
		if ps.Check(&engine.Request{Principal: who, Resource: row, Actions: []string{"list"}}, &d); !d.Allowed() {
			t.Errorf("%d members: a check is denied", n)
		}
	}
}

// Who no longer waits for a filter gets none.
func TestRowFiltersEndWithTheirContext(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, manyRules(40))
	req := &engine.PlanRequest{
		Principal: engine.Principal{ID: "x", Roles: []string{"user"}},
		Resource:  engine.Resource{Kind: "album"}, Actions: []string{"list"},
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if plan, err := ps.PlanRows(ctx, req); plan != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", plan, err)
	}
	if plan, err := ps.PlanRows(t.Context(), req); plan == nil || err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
