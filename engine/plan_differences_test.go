package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/value"
)

// TestPlanDifferences has the plans that are others than those of Cerbos 0.55.0;
// docs/compatibility.md lists them.
func TestPlanDifferences(t *testing.T) {
	principal := engine.Principal{ID: "ann", Roles: []string{"user"}, PolicyVersion: "v2", Attr: value.Attributes{
		"key": "x", "grades": map[string]any{"a": 1.0, "b": 2.0}, "words": []any{"a", 1.0}, "none": []any{}, "tags": []any{"a", "b"}}}
	for _, test := range []struct {
		name, condition string
		known           value.Attributes
		lenient         bool
		want            string // of meta.filterDebug, or what the error says
	}{
		{"has of what is not known", `has(R.attr.x)`, nil, false, `(has request.resource.attr.x)`},
		{"has not of what is not known", `!has(R.attr.x)`, nil, false, `(not (has request.resource.attr.x))`},
		{"has beside not null", `has(R.attr.x) && R.attr.x != null`, nil, false, `(ne request.resource.attr.x null)`},
		{"has of what is known", `has(R.attr.x)`, value.Attributes{"x": 1.0}, false, `(true)`},
		{"has of what is known, with more", `has(R.attr.x) && R.attr.y`, value.Attributes{"x": false}, false, `request.resource.attr.y`},
		{"has of a variable", `has(V.unknown)`, nil, false, `has() of a variable`},
		{"has of a known variable", `has(V.known) && R.attr.x`, nil, false, `request.resource.attr.x`},
		{"known map", `P.attr.grades[R.attr.k] > 1.0`, nil, false, `(eq request.resource.attr.k "b")`},
		{"known map, the other way round", `1.0 < P.attr.grades[R.attr.k]`, nil, false,
			`(lt 1 (index (struct (set-field "a" 1) (set-field "b" 2)) request.resource.attr.k))`},
		{"key of a map that is written out", `"b" in {"a": R.attr.x}`, nil, false, `(in "b" (struct (set-field "a" request.resource.attr.x)))`},
		{"policy version", `P.policyVersion == "v2"`, nil, false, `(true)`},
		{"known key", `R.attr[P.attr.key] == 1.0`, nil, false, `(eq (index request.resource.attr "x") 1)`},
		{"known by index", `R.attr["x"] == 1.0`, value.Attributes{"x": 1.0}, false, `(true)`},
		{"map with a condition", `1.0 in R.attr.list.map(e, e > 0.0, P.attr.key)`, nil, false,
			`(in 1 (transformList request.resource.attr.list (lambda (gt e 0) "x" e)))`},
		{"a member that is an error", `P.attr.words.exists(w, size(w) > R.attr.x)`, nil, false,
			`(exists ["a",1] (lambda (gt (size w) request.resource.attr.x) w))`},
		{"all members that are errors, lenient", `P.attr.tags.exists(w, w.nothing == R.attr.x)`, nil, true, `(false)`},
		{"an error or what is not known", `P.attr.missing == 1 || R.attr.x`, nil, true, `request.resource.attr.x`},
		{"an error or what is not known, strict", `P.attr.missing == 1 || R.attr.x`, nil, false, `a part that fails on every resource (no such key: missing)`},
		{"not an error or what is not known", `!(P.attr.missing || R.attr.x)`, nil, true, `a part that fails on every resource`},
		{"in nothing", `R.attr.x in P.attr.none`, nil, true, `(false)`},
		{"not in nothing", `!(R.attr.x in P.attr.none)`, nil, true, `(not (in request.resource.attr.x []))`},
		{"not in nothing that is written out", `!((R.attr.x + 1) in [])`, nil, true, `(true)`},
		{"in nothing, or more", `R.attr.x in P.attr.none || R.attr.y`, nil, true, `request.resource.attr.y`},
		{"in nothing, chosen", `!(R.attr.x in P.attr.none) ? R.attr.y : false`, nil, true, `(if (not (in request.resource.attr.x [])) request.resource.attr.y false)`},
		{"a field of a text", `has(V.sum.y)`, nil, true, `(false)`},
		{"no field of a text", `!has(V.sum.y)`, nil, true, `has() of what has no fields`},
		{"what may be no boolean, compared", `(R.attr.x && P.id == "ann") == P.attr.key`, nil, true, `&& or || of what may be no boolean`},
		{"what may be no boolean", `!(R.attr.x && P.id == "ann")`, nil, true, `(not request.resource.attr.x)`},
		{"errors alone", `P.attr.missing || P.attr.key`, nil, true, `(false)`},
		{"an error and what is not known", `P.attr.missing == R.attr.y && R.attr.x`, nil, true, `(false)`},
		{"an error and what is not known, strict", `P.attr.missing == R.attr.y && R.attr.x`, nil, false, `(false)`},
		{"an error and more of what is not known", `R.attr.x && (R.attr.y && P.attr.missing)`, nil, true, `(false)`},
		{"not an error and what is not known", `!(P.attr.missing && R.attr.x)`, nil, true, `a part that fails on every resource`},
		{"not an error, and what is not known", `!(P.attr.missing == R.attr.y) && R.attr.x`, nil, true, `(false)`},
		{"an error and what is not known, or more", `(P.attr.missing && R.attr.x) || R.attr.y`, nil, true, `request.resource.attr.y`},
		{"an error or what is not known, and more", `(P.attr.missing || R.attr.x) && R.attr.y`, nil, true, `(and request.resource.attr.x request.resource.attr.y)`},
		{"an error and what is not known, compared", `(P.attr.missing && R.attr.x) == R.attr.y`, nil, true, `a part that fails on every resource`},
		{"an error and what can't be planned", `P.attr.missing && R.attr.?x.orValue(1) == 1`, nil, true, `(false)`},
		{"an error in a choice", `P.attr.missing ? R.attr.x : R.attr.y`, nil, true, `(false)`},
		{"an error that may be chosen", `R.attr.x ? P.attr.missing : R.attr.y`, nil, true, `a part that fails on every resource`},
		{"an error, lenient", `P.attr.missing == R.attr.x`, nil, true, `(false)`},
		{"an error, strict", `P.attr.missing == R.attr.x`, nil, false, `(false)`},
		{"the same in other words", `R.id == "1" || request.resource.id == "1"`, nil, false, `(eq request.resource.id "1")`},
		{"a name with a dot", "R.attr.`a.b` == 1.0", nil, false, `(eq (index request.resource.attr "a.b") 1)`},
		{"a name with a dot, in brackets", `R.attr["a.b"].c == 1.0`, nil, false, `(eq (get-field (index request.resource.attr "a.b") c) 1)`},
		{"a name with a dot, of a member", "R.attr.list.exists(e, e.`a.b`)", nil, false, `(exists request.resource.attr.list (lambda (index e "a.b") e))`},
		{"has of a name with a dot", "has(R.attr.x.`a.b`)", nil, false, `has() of the name "a.b"`},
		{"a loop whose condition is a number", `R.attr.list.exists(e, P.attr.grades.a)`, nil, true, `a loop whose condition is no boolean`},
		{"infinite", `R.attr.x < 1.0 / 0.0`, nil, false, `can't be part of a filter`},
		{"optional", `R.attr.?x.orValue(1) == 1`, nil, false, `an optional value`},
		{"bind", `cel.bind(b, R.attr.x, b == 1)`, nil, false, `cel.bind`},
		{"in a text", `R.attr.x in P.attr.key`, nil, false, `(false)`},
		{"in a text, as Cerbos", `R.attr.x in P.attr.key`, nil, true, `(eq request.resource.attr.x "x")`},
		{"in a text that is not known", `"x" in dyn(R.attr.y + "z")`, nil, true, `(false)`},
		{"not known, in a text that is not known", `R.attr.x in dyn(R.attr.y + "z")`, nil, true, `(false)`},
		{"not in a text", `!(R.attr.x in P.attr.key)`, nil, true, `(false)`},
		{"in a text, with more", `R.attr.x in P.attr.key || R.attr.y`, nil, true, `request.resource.attr.y`},
		{"in a number", `R.attr.x in P.attr.grades.a`, nil, true, `(false)`},
		{"an int and a double", `R.attr.n + 1 > 2`, nil, true, `(false)`},
		{"an int and a double, strict", `R.attr.n + 1 > 2`, nil, false, `(false)`},
		{"not an int and a double", `!(R.attr.n + 1 > 2)`, nil, true, `(false)`},
		{"two doubles", `R.attr.n + 1.0 > 2`, nil, true, `(gt (add request.resource.attr.n 1) 2)`},
		{"two ints", `size(R.attr.x) + 1 > 2`, nil, true, `(gt (add (size request.resource.attr.x) 1) 2)`},
		{"remainder of a double", `R.attr.n % 2 == 0`, nil, true, `(false)`},
		{"remainder of what is said to be an int", `int(R.attr.n) % 2 == 0`, nil, true, `(eq (mod (int request.resource.attr.n) 2) 0)`},
		{"ints divided", `size(R.attr.x) / 2 == 1`, nil, true, `division of whole numbers`},
		{"int or double", `(R.attr.x ? dyn(1) : dyn(1.5)) + 1 > 2`, nil, true, `numbers of which the types are not known`},
		{"a text and a number", `dyn(R.attr.n + 1.0) + "a" == "a"`, nil, true, `(false)`},
		{"a year of a text", `R.attr.at.getFullYear() == 2026`, nil, true, `(false)`},
		{"a text before a timestamp", `R.attr.at < now()`, nil, true, `(false)`},
		{"a text that is a timestamp", `R.attr.at == now()`, nil, true, `(false)`},
		{"a text that is no timestamp", `R.attr.at != now()`, nil, true, `a comparison of what is never equal`},
		{"not a text that is a timestamp", `!(R.attr.at == now())`, nil, true, `a comparison of what is never equal`},
		{"a text among timestamps", `R.attr.at in [now()]`, nil, true, `(false)`},
		{"a timestamp among texts", `now() in R.attr.times`, nil, true, `(false)`},
		{"no comparison", `now()`, nil, true, `(false)`},
		{"no comparison of what is not known", `timestamp(R.attr.at)`, nil, true, `(false)`},
		{"an int that is no double", `R.attr.n == 9007199254740993`, nil, true, `9007199254740993 can't be part of a filter`},
		{"a loop over nothing", `R.attr.x in P.attr.none.filter(e, e == R.attr.y)`, nil, false, `(false)`},
		{"no boolean", `P.attr.key && R.attr.x`, nil, true, `(false)`},
		{"bytes in a list", `R.attr.list == [b"a"]`, nil, true, `bytes in a list or map`},
		{"bytes in a map", `R.attr.x == {"a": b"a"}`, nil, true, `bytes in a list or map`},
		{"bytes that are known", `R.attr.x in [[bytes(P.attr.key)]]`, nil, true, `bytes in a list or map`},
		{"an error of an element", `R.attr.list.exists(e, e + 1 > 2)`, nil, true, `a part that fails on every resource`},
		{"an error that does not matter", `P.id == "ann" || R.attr.n + 1 > 2`, nil, true, `(true)`},
		{"a refusal that does not matter", `P.id != "ann" && R.attr.?x.orValue(1) == 1`, nil, true, `(false)`},
		{"the moment as a condition", `!has(R.attr.n) || V.moment`, nil, true, `(not (has request.resource.attr.n))`},
		{"the moment as a condition, strict", `!has(R.attr.n) || V.moment`, nil, false, `a part that fails on every resource`},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := planPolicies(t, test.lenient, map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{
				"resource": "doc", "version": "default", "variables": map[string]any{"local": map[string]any{"unknown": "R.attr.v", "known": "P.id", "moment": "now()", "sum": "R.attr.x + 'z'"}},
				"rules": []any{map[string]any{"actions": []string{"read"}, "roles": []string{"user"}, "effect": "EFFECT_ALLOW",
					"condition": map[string]any{"match": map[string]any{"expr": test.condition}}}}}})
			req := &engine.PlanRequest{Principal: principal, Resource: engine.Resource{Kind: "doc"}, Actions: []string{"read"}}
			if test.known != nil {
				req.Resource.Attr = test.known
			}
			plan, err := set.Plan(t.Context(), req)
			switch {
			case err != nil && (strings.HasPrefix(test.want, "(") || !strings.Contains(err.Error(), test.want)):
				t.Errorf("refused: %v; want %s", err, test.want)
			case err == nil && plan.Debug() != test.want:
				t.Errorf("got %s, want %s", plan.Debug(), test.want)
			}
		})
	}
}

// planPolicies compiles policies that are given as data.
func planPolicies(t *testing.T, lenient bool, policies ...any) *engine.PolicySet {
	t.Helper()
	var files []folder.File
	for i, p := range policies {
		content, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, folder.File{Path: string(rune('a'+i)) + ".json", Content: content})
	}
	set, list := engine.Compile(mustParse(t, files), engine.Options{LenientEvaluation: lenient})
	fatalIfAny(t, list)
	return set
}

// Variables of the list of derived roles are null where they fail, under lenient
// evaluation: what then holds of them is not taken for what never does.
func TestPlansOfNullVariables(t *testing.T) {
	const isOne = `(eq request.resource.attr.x 1)`
	for condition, want := range map[string]string{
		`V.one == null`:           `(not (in "some" (if (eq ` + isOne + ` null) ["some"] [])))`,
		`V.one`:                   `(not (in "some" (if ` + isOne + ` ["some"] [])))`,
		`V.missing == null`:       `(false)`,
		`V.fails == null`:         `(false)`,
		`V.text == null`:          `(not (in "some" (if (eq (add request.resource.attr.x "a") null) ["some"] [])))`,
		`V.choice != null`:        `&& or || of what may be no boolean`,
		`V.either == null`:        `a part that fails on every resource`,
		`has(V.one)`:              `has() of a variable`,
		`V.known && R.attr.y`:     `(not (in "some" (if request.resource.attr.y ["some"] [])))`,
		`V.known || V.one`:        `(false)`,
		`V.nested`:                `(not (in "some" (if (eq ` + isOne + ` null) ["some"] [])))`,
		`V.known ? V.one : false`: `(not (in "some" (if ` + isOne + ` ["some"] [])))`,
	} {
		set := planPolicies(t, true,
			map[string]any{"apiVersion": "api.cerbos.dev/v1", "derivedRoles": map[string]any{"name": "roles",
				"variables": map[string]any{"local": map[string]any{"one": "R.attr.x == 1.0", "missing": "P.attr.missing", "fails": "R.attr.x + 1 > 2",
					"either": "R.attr.x || P.attr.missing", "text": `R.attr.x + "a"`, "choice": "(has(R.attr.x) ? R.attr.x : false) && true", "known": `P.id == "ann"`, "nested": "V.one == null"}},
				"definitions": []any{map[string]any{"name": "some", "parentRoles": []string{"user"}, "condition": map[string]any{"match": map[string]any{"expr": condition}}}}}},
			map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{"resource": "doc", "version": "default", "importDerivedRoles": []string{"roles"},
				"rules": []any{
					map[string]any{"actions": []string{"read"}, "roles": []string{"user"}, "effect": "EFFECT_ALLOW",
						"condition": map[string]any{"match": map[string]any{"expr": `!("some" in runtime.effectiveDerivedRoles)`}}},
					map[string]any{"actions": []string{"other"}, "derivedRoles": []string{"some"}, "effect": "EFFECT_ALLOW"}}}})
		plan, err := set.Plan(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "ann", Roles: []string{"user"}}, Resource: engine.Resource{Kind: "doc"}, Actions: []string{"read"}})
		switch {
		case err != nil && (strings.HasPrefix(want, "(") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: refused: %v; want %s", condition, err, want)
		case err == nil && plan.Debug() != want:
			t.Errorf("%s:\n got %s\nwant %s", condition, plan.Debug(), want)
		}
	}
}

// Conditions of two actions whose texts are the same by the name of an attribute are
// two conditions.
func TestPlansKeepNamesApart(t *testing.T) {
	rule := func(action, condition string) any {
		return map[string]any{"actions": []string{action}, "roles": []string{"user"}, "effect": "EFFECT_ALLOW",
			"condition": map[string]any{"match": map[string]any{"expr": condition}}}
	}
	set := planPolicies(t, true, map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{"resource": "doc", "version": "default",
		"rules": []any{
			rule("read", "R.attr.l == [R.attr.a, 1.0]"), rule("write", "R.attr.l == [R.attr.`a 1`]"), rule("other", "R.attr.l == [R.attr.a, 1.0]")}}})
	plan, err := set.Plan(t.Context(), &engine.PlanRequest{
		Principal: engine.Principal{ID: "ann", Roles: []string{"user"}}, Resource: engine.Resource{Kind: "doc"}, Actions: []string{"read", "write", "other"}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `(and (eq request.resource.attr.l (list request.resource.attr.a 1)) (eq request.resource.attr.l (list request.resource.attr.a 1)))`
	if plan.Debug() != want {
		t.Errorf("got %s, want %s", plan.Debug(), want)
	}
}

// What Cerbos makes of x in "text" widens no plan but where a rule allows by it.
func TestInTextOfDenials(t *testing.T) {
	const inText = "R.attr.x in P.attr.text"
	for _, test := range []struct {
		effect string
		match  map[string]any
		want   string
	}{
		{"EFFECT_ALLOW", map[string]any{"any": map[string]any{"of": []any{map[string]any{"expr": inText}}}}, `(eq request.resource.attr.x "a")`},
		{"EFFECT_ALLOW", map[string]any{"none": map[string]any{"of": []any{map[string]any{"expr": inText}}}}, "(true)"},
		{"EFFECT_DENY", map[string]any{"expr": inText}, "(true)"},
		{"EFFECT_DENY", map[string]any{"none": map[string]any{"of": []any{map[string]any{"expr": inText}}}}, "(false)"},
	} {
		rule := func(effect string, condition any) map[string]any {
			out := map[string]any{"actions": []string{"read"}, "roles": []string{"user"}, "effect": effect}
			if condition != nil {
				out["condition"] = map[string]any{"match": condition}
			}
			return out
		}
		rules := []any{rule(test.effect, test.match)}
		if test.effect == "EFFECT_DENY" {
			rules = append(rules, rule("EFFECT_ALLOW", nil))
		}
		set := planPolicies(t, true, map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{
			"resource": "doc", "version": "default", "rules": rules}})
		plan, err := set.Plan(t.Context(), &engine.PlanRequest{
			Principal: engine.Principal{ID: "ann", Roles: []string{"user"}, Attr: value.Attributes{"text": "a"}},
			Resource:  engine.Resource{Kind: "doc"}, Actions: []string{"read"},
		})
		if err != nil || plan.Debug() != test.want {
			t.Errorf("%s where %v: got %v %v, want %s", test.effect, test.match, plan, err, test.want)
		}
	}
}

// A DENY of a principal's own policy outweighs what rules of the resource allow.
func TestPrincipalDeniesInPlans(t *testing.T) {
	rule := map[string]any{"actions": []string{"read"}, "roles": []string{"user"}, "effect": "EFFECT_ALLOW"}
	resource := map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{"resource": "doc", "version": "default", "rules": []any{rule}}}
	for _, test := range []struct {
		name, condition string
		want            string
	}{
		{"unconditional", "", "(false)"},
		{"known to hold", "P.attr.suspended", "(false)"},
		{"known not to hold", "!P.attr.suspended", "(true)"},
		{"depends on the resource", "R.attr.secret", "(not request.resource.attr.secret)"},
		{"reads runtime", "runtime.effectiveDerivedRoles == []", "(false)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			action := map[string]any{"action": "*", "effect": "EFFECT_DENY"}
			if test.condition != "" {
				action["condition"] = map[string]any{"match": map[string]any{"expr": test.condition}}
			}
			set := planPolicies(t, true, resource, map[string]any{"apiVersion": "api.cerbos.dev/v1", "principalPolicy": map[string]any{
				"principal": "ann", "version": "default", "rules": []any{map[string]any{"resource": "doc", "actions": []any{action}}}}})
			plan, err := set.Plan(t.Context(), &engine.PlanRequest{Principal: engine.Principal{ID: "ann", Roles: []string{"user"}, Attr: value.Attributes{"suspended": true}},
				Resource: engine.Resource{Kind: "doc"}, Actions: []string{"read"}})
			if err != nil || plan.Debug() != test.want {
				t.Errorf("got %v %v, want %s", plan, err, test.want)
			}
		})
	}
}

// What rules of a resource do not deny is not allowed, even if the principal's own
// policy allows something else.
func TestPlansNeedAnAllow(t *testing.T) {
	match := func(expr string) map[string]any { return map[string]any{"match": map[string]any{"expr": expr}} }
	set := planPolicies(t, true,
		map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{"resource": "doc", "version": "default", "rules": []any{
			map[string]any{"actions": []string{"read"}, "roles": []string{"user"}, "effect": "EFFECT_DENY", "condition": match("R.attr.secret")}}}},
		map[string]any{"apiVersion": "api.cerbos.dev/v1", "principalPolicy": map[string]any{"principal": "ann", "version": "default", "rules": []any{
			map[string]any{"resource": "doc", "actions": []any{map[string]any{"action": "read", "effect": "EFFECT_ALLOW", "condition": match("R.attr.mine")}}}}}})
	for version, want := range map[string]string{"": "request.resource.attr.mine", "v2": "NO_MATCH"} {
		principal, resource := engine.Principal{ID: "ann", Roles: []string{"user"}}, engine.Resource{Kind: "doc"}
		if version != "" { // nothing is about these
			principal.PolicyVersion, resource.Kind = version, "other"
		}
		plan, err := set.Plan(t.Context(), &engine.PlanRequest{Principal: principal, Resource: resource, Actions: []string{"read"}})
		if err != nil || plan.Debug() != want {
			t.Errorf("version %q: got %v %v, want %s", version, plan, err, want)
		}
	}
}

// The list of derived roles is known where what is not known makes no difference
// to it.
func TestDerivedRolesKnownInPlans(t *testing.T) {
	match := func(kind string, of ...string) map[string]any {
		var members []any
		for _, expr := range of {
			members = append(members, map[string]any{"expr": expr})
		}
		return map[string]any{"match": map[string]any{kind: map[string]any{"of": members}}}
	}
	for _, test := range []struct {
		name      string
		condition map[string]any
		want      string
	}{
		{"any of unknown and true", match("any", "R.attr.x", "P.id == 'ann'"), "(true)"},
		{"all of unknown and false", match("all", "R.attr.x", "P.id == 'bob'"), "(false)"},
		{"none of unknown and true", match("none", "R.attr.x", "P.id == 'ann'"), "(false)"},
		{"unknown", match("any", "R.attr.x", "P.id == 'bob'"), `(eq (if request.resource.attr.x ["owner"] []) ["owner"])`},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := planPolicies(t, true,
				map[string]any{"apiVersion": "api.cerbos.dev/v1", "derivedRoles": map[string]any{"name": "dr", "definitions": []any{
					map[string]any{"name": "owner", "parentRoles": []string{"user"}, "condition": test.condition}}}},
				map[string]any{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": map[string]any{"resource": "doc", "version": "default",
					"importDerivedRoles": []string{"dr"}, "rules": []any{
						map[string]any{"actions": []string{"other"}, "derivedRoles": []string{"owner"}, "effect": "EFFECT_ALLOW"},
						map[string]any{"actions": []string{"read"}, "roles": []string{"user"}, "effect": "EFFECT_ALLOW",
							"condition": map[string]any{"match": map[string]any{"expr": `runtime.effectiveDerivedRoles == ["owner"]`}}}}}})
			plan, err := set.Plan(t.Context(), &engine.PlanRequest{Principal: engine.Principal{ID: "ann", Roles: []string{"user"}},
				Resource: engine.Resource{Kind: "doc"}, Actions: []string{"read"}})
			if err != nil || plan.Debug() != test.want {
				t.Errorf("got %v %v, want %s", plan, err, test.want)
			}
		})
	}
}
