package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"edict/engine"
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
			plan, err := ps.PlanRows(&engine.PlanRequest{
				Principal: engine.Principal{ID: "bob", Roles: strings.Split(test.roles, ","),
					Attr: value.Attributes{"regions": []any{"emea", "apac"}, "approvalLimit": 1000, "clientIp": "127.0.0.1"}},
				Resource: engine.Resource{Kind: "expense"},
				Actions:  []string{test.action},
				Now:      time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
			})
			if err != nil || plan.Debug != want {
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
		plan, err := ps.PlanRows(&engine.PlanRequest{
			Principal: engine.Principal{ID: "bob", Roles: []string{"employee"}, Attr: value.Attributes{"clientIp": "127.0.0.1"}},
			Resource:  engine.Resource{Kind: "expense"}, Actions: actions, Now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
		})
		if err != nil || plan.Debug != want {
			t.Errorf("%q: %v, %v, want %s", actions, plan, err, want)
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
	// Of pairs whose first members come up before all second ones, it takes very many
	// cases to tell whether both members of any hold.
	var firsts, pairs string
	for i := range 17 {
		firsts += fmt.Sprintf(", {expr: R.attr.a%d == 1}", i)
		pairs += fmt.Sprintf(", {all: {of: [{expr: R.attr.a%d == 1}, {expr: R.attr.b%d == 1}]}}", i, i)
	}
	texts := []string{
		header + "derivedRoles:\n  name: roles\n  definitions:\n" + definitions,
		header + "resourcePolicy:\n  resource: album\n  version: default\n  importDerivedRoles: [roles]\n  rules:\n" +
			rule("optional", "optional", "R.attr.?x.orValue(1) == 1") +
			rule("whole", "whole", "size(R.attr) > 2") +
			rule("list", "list", "size(runtime.effectiveDerivedRoles) > 2") +
			"    - {name: many, actions: [other], effect: EFFECT_ALLOW, derivedRoles: [" + many[2:] + "]}\n" +
			"    - {name: firsts, actions: [large], effect: EFFECT_ALLOW, roles: [user], condition: {match: {none: {of: [" + firsts[2:] + "]}}}}\n" +
			"    - {name: pairs, actions: [large], effect: EFFECT_ALLOW, roles: [user], condition: {match: {any: {of: [" + pairs[2:] + "]}}}}\n" +
			rule("fine", "decided", "true") +
			"    - {name: denied, actions: [decided], effect: EFFECT_DENY, roles: [user], condition: {match: {any: {of: [{expr: \"true\"}, {expr: size(R.attr) > 2}]}}}}\n",
	}
	ps := compileTexts(t, engine.Options{}, texts...)
	for action, want := range map[string]string{
		"optional": "rule optional of resource.album.vdefault: R.attr.?x.orValue(1) == 1: an optional value that depends on unknown data can't be part of a filter",
		"whole":    "rule whole of resource.album.vdefault: size(R.attr) > 2: R as a whole can't be part of a filter",
		"list":     "rule list of resource.album.vdefault: the list of derived roles depends on the row in too many ways",
		"large":    "the filter is too large",
		"decided":  "",
	} {
		plan, err := ps.PlanRows(&engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}, Attr: value.Attributes{"team": "blue"}},
			Resource:  engine.Resource{Kind: "album"}, Actions: []string{action},
		})
		if want == "" {
			if err != nil || plan.Debug != "(false)" {
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
		plan, err := ps.PlanRows(&engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}, Attr: test.team},
			Resource:  engine.Resource{Kind: "album"}, Actions: []string{test.action},
		})
		if test.want == "error" {
			if _, ok := errors.AsType[*engine.PlanError](err); !ok || !strings.Contains(err.Error(), "schema") {
				t.Errorf("%+v: %v, %v", test, plan, err)
			}
			continue
		}
		if err != nil || plan.Debug != test.want || len(plan.ValidationErrors) != test.invalid {
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
	plan, err := ps.PlanRows(&engine.PlanRequest{
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

// Filters whose cases multiply are refused before anybody has to wait for them.
func TestRowFiltersOfManyCases(t *testing.T) {
	const list = "  rules:\n    - {actions: [other], effect: EFFECT_ALLOW, derivedRoles: [r]}\n" +
		"    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: '\"r\" in runtime.effectiveDerivedRoles'}}}\n"

	// Each variable may fail, which is null to the list of derived roles.
	variables, any := "", ""
	for i := range 30 {
		variables += fmt.Sprintf("      v%d: R.attr.a%d\n", i, i)
		any += fmt.Sprintf(" || V.v%d == 1", i)
	}
	nullable := []string{
		header + "derivedRoles:\n  name: roles\n  variables:\n    local:\n" + variables +
			"  definitions:\n    - {name: r, parentRoles: [user], condition: {match: {expr: '" + any[4:] + "'}}}\n",
		header + "resourcePolicy:\n  resource: album\n  version: default\n  importDerivedRoles: [roles]\n" + list,
	}

	// The role of each scope is that of the scope below turned round or not.
	var nested []string
	scope := ""
	for i := range 30 {
		if i > 0 {
			scope = strings.TrimPrefix(fmt.Sprintf("%s.s%d", scope, i), ".")
		}
		nested = append(nested,
			fmt.Sprintf(header+"derivedRoles:\n  name: roles%[1]d\n  definitions:\n    - {name: r, parentRoles: [user], "+
				"condition: {match: {expr: '(\"r\" in runtime.effectiveDerivedRoles) != (R.attr.a%[1]d == 1)'}}}\n", i),
			fmt.Sprintf(header+"resourcePolicy:\n  resource: album\n  version: default\n  scope: %q\n  importDerivedRoles: [roles%d]\n"+list, scope, i))
	}
	for _, test := range []struct {
		texts   []string
		options engine.Options
		scope   string
		want    string
	}{
		{nullable, engine.Options{LenientEvaluation: true}, "", "it depends on too many variables that may fail"},
		{nested, engine.Options{}, scope, "the filter is too large"},
	} {
		ps := compileTexts(t, test.options, test.texts...)
		plan, err := ps.PlanRows(&engine.PlanRequest{
			Principal: engine.Principal{ID: "alice", Roles: []string{"user"}},
			Resource:  engine.Resource{Kind: "album", Scope: test.scope}, Actions: []string{"list"},
		})
		if plan != nil || err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%v, %v, want %s", plan, err, test.want)
		}
	}
}
