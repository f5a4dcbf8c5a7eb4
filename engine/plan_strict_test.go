package engine_test

import (
	"errors"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/value"
)

// What rules that fail deny under strict evaluation, plans don't let through: with
// several rules of which one may fail they ask whether it can be evaluated.
func TestStrictPlans(t *testing.T) {
	const (
		owner     = `R.attr.owner == P.id`
		isOwner   = `(eq request.resource.attr.owner "ann")`
		hasOwner  = `(or ` + isOwner + ` (not ` + isOwner + `))`
		isPublic  = `request.resource.attr.public`
		hasPublic = `(or ` + isPublic + ` (not ` + isPublic + `))`
		ifPublic  = `(if (has ` + isPublic + `) ` + isPublic + ` false)`
		isGrade   = `(eq (index (struct (set-field "a" 1) (set-field "b" 2)) request.resource.attr.grade) 2)`
		isListed  = `(in request.resource.attr.region [])`
	)
	type rule struct {
		effect, role string
		condition    any // an expression, or what is in match
	}
	group := func(op string, of ...string) map[string]any {
		var members []any
		for _, expr := range of {
			members = append(members, map[string]any{"expr": expr})
		}
		return map[string]any{op: map[string]any{"of": members}}
	}
	for _, test := range []struct {
		name  string
		rules []rule
		want  string // or what the error says
	}{
		{"one rule", []rule{{"ALLOW", "user", owner}}, isOwner},
		{"one group", []rule{{"ALLOW", "user", group("all", owner, "R.attr.public")}}, `(and ` + isOwner + ` ` + isPublic + `)`},
		{"one of a group", []rule{{"ALLOW", "user", group("any", owner, "R.attr.public")}}, `(and ` + hasOwner + ` (or ` + isOwner + ` ` + isPublic + `))`},
		{"none of a group", []rule{{"ALLOW", "user", group("none", owner, "R.attr.public")}}, `(and (not ` + isOwner + `) (not ` + isPublic + `))`},
		{"one expression", []rule{{"ALLOW", "user", owner + " || R.attr.public"}}, `(or ` + isOwner + ` ` + isPublic + `)`},
		{"two rules", []rule{{"ALLOW", "user", owner}, {"ALLOW", "user", "R.attr.public"}},
			`(and ` + hasOwner + ` ` + hasPublic + ` (or ` + isOwner + ` ` + isPublic + `))`},
		{"the same twice", []rule{{"ALLOW", "user", owner}, {"ALLOW", "user", owner}}, isOwner},
		{"a denial", []rule{{"ALLOW", "user", owner}, {"DENY", "user", "R.attr.public"}}, `(and (not ` + isPublic + `) ` + isOwner + `)`},
		{"a rule that always holds", []rule{{"ALLOW", "user", nil}, {"ALLOW", "user", owner}}, hasOwner},
		{"a role before", []rule{{"ALLOW", "user", owner}, {"ALLOW", "guest", "R.attr.public"}},
			`(and ` + hasOwner + ` (or ` + isOwner + ` ` + isPublic + `))`},
		{"a role that may do all before", []rule{{"ALLOW", "user", nil}, {"ALLOW", "guest", owner}}, `(true)`},
		{"a role that may do all behind", []rule{{"ALLOW", "user", owner}, {"ALLOW", "guest", nil}}, hasOwner},
		{"guarded", []rule{{"ALLOW", "user", "has(R.attr.owner) && " + owner}, {"ALLOW", "user", "has(R.attr.public) ? R.attr.public == true : false"}},
			`(or (and (has request.resource.attr.owner) ` + isOwner + `) (if (has request.resource.attr.public) (eq request.resource.attr.public true) false))`},
		{"guarded, and perhaps no boolean", []rule{{"ALLOW", "user", `(has(R.attr.public) ? R.attr.public : false) && P.id == "ann"`}, {"ALLOW", "user", nil}},
			`(or ` + ifPublic + ` (not ` + ifPublic + `))`},
		{"in a loop over one, and perhaps no boolean", []rule{{"DENY", "user", `["a"].exists(x, has(R.attr.public) ? R.attr.public : false)`}, {"ALLOW", "user", nil}},
			`(not ` + ifPublic + `)`},
		{"guarded, in a list", []rule{{"ALLOW", "user", `has(R.attr.region) && R.attr.region in ["a", "b"]`}, {"ALLOW", "user", nil}}, `(true)`},
		{"guarded, in nothing", []rule{{"DENY", "user", `has(R.attr.region) && R.attr.region in P.attr.none`}, {"ALLOW", "user", nil}},
			`(not (and (has request.resource.attr.region) ` + isListed + `))`},
		{"guarded by its lack", []rule{{"ALLOW", "user", "!has(R.attr.owner) || " + owner}, {"ALLOW", "user", nil}}, `(true)`},
		{"guarded by something else", []rule{{"ALLOW", "user", "has(R.attr.public) && " + owner}, {"ALLOW", "user", nil}},
			`(or (and (has request.resource.attr.public) ` + isOwner + `) (not (and (has request.resource.attr.public) ` + isOwner + `)))`},
		{"a field below", []rule{{"ALLOW", "user", "has(R.attr.owner.id)"}, {"ALLOW", "user", nil}},
			`(or (has request.resource.attr.owner.id) (not (has request.resource.attr.owner.id)))`},
		{"a field of a member", []rule{{"ALLOW", "user", "has(R.attr.owners[0].id)"}, {"ALLOW", "user", nil}},
			`(or (has (get-field (index request.resource.attr.owners 0) id)) (not (has (get-field (index request.resource.attr.owners 0) id))))`},
		{"a known map", []rule{{"ALLOW", "user", "P.attr.grades[R.attr.grade] == 2.0"}}, `(eq request.resource.attr.grade "b")`},
		{"a known map beside another rule", []rule{{"ALLOW", "user", "P.attr.grades[R.attr.grade] == 2.0"}, {"ALLOW", "user", nil}},
			`(or ` + isGrade + ` (not ` + isGrade + `))`},
		{"in nothing", []rule{{"ALLOW", "user", "R.attr.region in P.attr.none"}}, `(false)`},
		{"in nothing beside another rule", []rule{{"ALLOW", "user", "R.attr.region in P.attr.none"}, {"ALLOW", "user", owner}},
			`(and (not ` + isListed + `) ` + isOwner + `)`},
		{"an error", []rule{{"ALLOW", "user", "P.attr.missing == 1"}, {"ALLOW", "user", owner}}, `(false)`},
		{"an error, behind a role", []rule{{"ALLOW", "user", owner}, {"ALLOW", "guest", "P.attr.missing == 1"}}, isOwner},
		{"an error, behind what decides", []rule{{"ALLOW", "user", group("any", owner, "P.attr.missing == 1")}}, isOwner},
		{"never equal", []rule{{"ALLOW", "user", "R.attr.at == now()"}, {"ALLOW", "user", owner}}, `(false)`},
		{"an optional value", []rule{{"ALLOW", "user", "R.attr.?x.orValue(1) == 1"}, {"ALLOW", "user", owner}}, `an optional value`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var rules []any
			for _, r := range test.rules {
				rule := map[string]any{"actions": []string{"read"}, "roles": []string{r.role}, "effect": "EFFECT_" + r.effect}
				switch match := r.condition.(type) {
				case string:
					rule["condition"] = map[string]any{"match": map[string]any{"expr": match}}
				case map[string]any:
					rule["condition"] = map[string]any{"match": match}
				}
				rules = append(rules, rule)
			}
			set := planPolicies(t, false, map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{
				"resource": "doc", "version": "default", "rules": rules}})
			plan, err := set.Plan(t.Context(), &engine.PlanRequest{
				Principal: engine.Principal{ID: "ann", Roles: []string{"user", "guest"}, Attr: value.Attributes{
					"grades": map[string]any{"a": 1.0, "b": 2.0}, "none": []any{}}},
				Resource: engine.Resource{Kind: "doc"}, Actions: []string{"read"}})
			e, refused := errors.AsType[*engine.PlanError](err)
			switch {
			case refused && (e.Rule == "" || !strings.Contains(e.Message, test.want)), err != nil && !refused:
				t.Errorf("refused: %+v; want %s", e, test.want)
			case err == nil && plan.Debug() != test.want:
				t.Errorf("got  %s\nwant %s", plan.Debug(), test.want)
			}
		})
	}
}
