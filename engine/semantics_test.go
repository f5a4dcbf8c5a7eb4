package engine_test

import (
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/value"
)

// A principal policy is asked before derived roles are known. What reads them
// there never gives access.
func TestRuntimeInPrincipalPolicies(t *testing.T) {
	texts := []string{`
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - {actions: ["*"], effect: EFFECT_ALLOW, roles: [user]}
`, `
apiVersion: api.cerbos.dev/v1
principalPolicy:
  principal: zed
  version: default
  variables: {local: {early: size(runtime.effectiveDerivedRoles) == 0}}
  rules:
    - resource: doc
      actions:
        - {action: denied, effect: EFFECT_DENY, condition: {match: {expr: size(runtime.effectiveDerivedRoles) > 0}}}
        - {action: by-variable, effect: EFFECT_DENY, condition: {match: {none: {of: [{expr: V.early}]}}}}
        - action: allowed
          effect: EFFECT_ALLOW
          condition: {match: {expr: V.early}}
          output: {when: {ruleActivated: size(runtime.effectiveDerivedRoles), conditionNotMet: '"no"'}}
        - {action: told, effect: EFFECT_ALLOW, output: {when: {ruleActivated: runtime.effectiveDerivedRoles}}}
`}
	req := &engine.Request{
		Principal: engine.Principal{ID: "zed", Roles: []string{"user"}},
		Resource:  engine.Resource{Kind: "doc", ID: "1"},
		Actions:   []string{"denied", "by-variable", "allowed", "told"},
	}
	var d engine.Decision
	compileTexts(t, engine.Options{}, texts...).Check(req, &d)
	for _, r := range d.Results[:3] {
		if r.Allowed() || r.Reason != engine.ReasonError || r.Policy != "principal.zed.vdefault" {
			t.Errorf("strict, %s: %+v", r.Action, r)
		}
	}
	if len(d.Outputs) != 1 || d.Outputs[0].Err == "" {
		t.Errorf("outputs: %+v", d.Outputs)
	}
	compileTexts(t, engine.Options{LenientEvaluation: true}, texts...).Check(req, &d)
	for i, want := range []string{"principal.zed.vdefault", "principal.zed.vdefault", "resource.doc.vdefault"} {
		if r := d.Results[i]; r.Allowed() != (i == 2) || r.Policy != want {
			t.Errorf("lenient, %s: %+v", r.Action, r)
		}
	}
}

// Policies of one scope may differ in scope permissions without being found
// out. Then an ALLOW in the scope needs the consent of the parents.
func TestConsentWins(t *testing.T) {
	policyOf := func(scope, permissions string) string {
		return `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  scope: "` + scope + `"
  scopePermissions: ` + permissions + `
  rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user]}]
`
	}
	other := `
apiVersion: api.cerbos.dev/v1
principalPolicy: {principal: zed, version: default, scope: acme, scopePermissions: SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS}`
	root := `
apiVersion: api.cerbos.dev/v1
principalPolicy: {principal: zed, version: default}`
	none := `
apiVersion: api.cerbos.dev/v1
resourcePolicy: {resource: doc, version: default}`
	const override = "SCOPE_PERMISSIONS_OVERRIDE_PARENT"
	req := &engine.Request{
		Principal: engine.Principal{ID: "ann", Roles: []string{"user"}},
		Resource:  engine.Resource{Kind: "doc", Scope: "acme"},
		Actions:   []string{"view"},
	}
	var d engine.Decision
	for _, order := range [][]string{
		{none, root, policyOf("acme", override), other},
		{none, root, other, policyOf("acme", override)},
	} {
		compileTexts(t, engine.Options{}, order...).Check(req, &d)
		if d.Allowed() {
			t.Errorf("allowed without consent")
		}
	}
	compileTexts(t, engine.Options{}, none, policyOf("acme", override)).Check(req, &d)
	if !d.Allowed() {
		t.Error("an overriding scope does not allow")
	}
}

// The worked example of the policy language: scopes, consent, role policies and
// a principal policy. The answers were recorded from Cerbos 0.55.0.
func TestScopesAndConsent(t *testing.T) {
	set := compileTexts(t, engine.Options{LenientEvaluation: true}, `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: stock_item
  version: default
  rules:
    - {actions: [view], effect: EFFECT_ALLOW, roles: [picker, manager]}
    - {actions: [move], effect: EFFECT_ALLOW, roles: [manager]}
    - {actions: [move], effect: EFFECT_DENY, roles: [picker], condition: {match: {expr: R.attr.frozen}}}
    - {actions: ["report:*"], effect: EFFECT_ALLOW, roles: ["*"]}
`, `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: stock_item
  version: default
  scope: lyon
  rules:
    - name: zone-move
      actions: [move]
      effect: EFFECT_ALLOW
      roles: [picker]
      condition: {match: {expr: R.attr.zone == P.attr.zone}}
      output: {when: {ruleActivated: '"in zone"', conditionNotMet: '"out of zone"'}}
`, `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: stock_item
  version: default
  scope: lyon.cold
  scopePermissions: SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS
  rules:
    - name: trained
      actions: [move]
      effect: EFFECT_ALLOW
      roles: [picker, manager]
      condition: {match: {expr: P.attr.trained}}
      output: {when: {ruleActivated: '"ok"', conditionNotMet: '"untrained"'}}
`, `
apiVersion: api.cerbos.dev/v1
rolePolicy: {role: trainee, scope: lyon, version: default, parentRoles: [picker], rules: [{resource: stock_item, allowActions: [view]}]}
`, `
apiVersion: api.cerbos.dev/v1
principalPolicy: {principal: zed, version: default, rules: [{resource: stock_item, actions: [{action: move, effect: EFFECT_DENY, condition: {match: {expr: R.attr.value > 1000.0}}}]}]}
`)
	type attrs = value.Values
	text := value.OfString
	const si = "resource.stock_item.vdefault"
	for i, c := range []struct {
		id     string
		roles  []string
		scope  string
		p, r   attrs
		action string

		allowed                bool
		policy, decided, tells string
	}{
		{"ana", []string{"picker"}, "", nil, attrs{"frozen": value.OfBool(false)}, "move", false, si, "", ""},
		{"ana", []string{"manager", "picker"}, "", nil, attrs{"frozen": value.OfBool(true)}, "move", true, si, "", ""},
		{"ana", []string{"picker"}, "", nil, nil, "move", false, si, "", ""},
		{"ana", []string{"picker"}, "lyon", attrs{"zone": text("A")}, attrs{"zone": text("A"), "frozen": value.OfBool(true)}, "move", true, si + "/lyon", "lyon", "zone-move:in zone"},
		{"ana", []string{"picker"}, "lyon", attrs{"zone": text("B")}, attrs{"zone": text("A"), "frozen": value.OfBool(false)}, "move", false, si + "/lyon", "", "zone-move:out of zone"},
		{"ana", []string{"picker"}, "lyon", attrs{"zone": text("B")}, attrs{"zone": text("A"), "frozen": value.OfBool(true)}, "move", false, si + "/lyon", "", "zone-move:out of zone"},
		{"ana", []string{"manager"}, "lyon", nil, nil, "move", true, si + "/lyon", "", ""},
		{"ana", []string{"guest"}, "lyon", nil, nil, "report:daily", true, si + "/lyon", "", ""},
		{"ana", []string{"guest"}, "lyon", nil, nil, "report:daily:pdf", false, si + "/lyon", "", ""},
		{"ana", []string{"picker"}, "lyon.cold", attrs{"zone": text("A"), "trained": value.OfBool(true)}, attrs{"zone": text("A")}, "move", true, si + "/lyon.cold", "lyon", "trained:untrained zone-move:in zone"},
		{"ana", []string{"picker"}, "lyon.cold", attrs{"zone": text("A"), "trained": value.OfBool(false)}, attrs{"zone": text("A")}, "move", false, si + "/lyon.cold", "lyon.cold", "trained:ok"},
		{"ana", []string{"manager"}, "lyon.cold", attrs{"trained": value.OfBool(true)}, nil, "move", true, si + "/lyon.cold", "", "trained:untrained"},
		{"ana", []string{"manager"}, "lyon.cold", nil, nil, "move", false, si + "/lyon.cold", "lyon.cold", "trained:ok"},
		{"ana", []string{"picker"}, "lyon.cold", nil, nil, "view", true, si + "/lyon.cold", "", ""},
		{"ana", []string{"trainee"}, "lyon", nil, nil, "view", true, si + "/lyon", "", ""},
		{"ana", []string{"trainee"}, "lyon", attrs{"zone": text("A")}, attrs{"zone": text("A")}, "move", false, "role.trainee.vdefault/lyon", "lyon", ""},
		{"ana", []string{"trainee", "picker"}, "lyon", attrs{"zone": text("A")}, attrs{"zone": text("A")}, "move", true, si + "/lyon", "lyon", "zone-move:in zone"},
		{"ana", []string{"trainee"}, "lyon.cold", nil, nil, "view", false, si + "/lyon.cold", "", ""},
		{"ana", []string{"trainee"}, "", nil, nil, "view", false, si, "", ""},
		{"zed", []string{"manager"}, "lyon", nil, attrs{"value": value.OfDouble(5000)}, "move", false, "principal.zed.vdefault", "", ""},
		{"zed", []string{"manager"}, "lyon", nil, attrs{"value": value.OfDouble(5)}, "move", true, si + "/lyon", "", ""},
		{"zed", []string{"manager"}, "lyon", nil, attrs{"value": text("5000")}, "move", true, si + "/lyon", "", ""},
		{"ana", []string{"manager"}, "paris", nil, nil, "view", false, engine.NoMatch, "", ""},
	} {
		req := &engine.Request{
			Principal: engine.Principal{ID: c.id, Roles: c.roles, Attr: c.p},
			Resource:  engine.Resource{Kind: "stock_item", ID: "1", Attr: c.r, Scope: c.scope},
			Actions:   []string{c.action},
		}
		var d engine.Decision
		set.Check(req, &d)
		tells := ""
		for _, o := range d.Outputs {
			if tells != "" {
				tells += " "
			}
			_, rule, _ := strings.Cut(o.Src, "#")
			tells += rule + ":" + o.Val.Str()
		}
		r := d.Results[0]
		if r.Allowed() != c.allowed || r.Policy != c.policy || r.Scope != c.decided || tells != c.tells {
			t.Errorf("row %d: %v %s %q %q, want %v %s %q %q", i+1, r.Allowed(), r.Policy, r.Scope, tells, c.allowed, c.policy, c.decided, c.tells)
		}
	}
}

// A constant that can't be converted fails when it is evaluated; one that can
// never be a key, or a type that has no values, when it is loaded.
func TestConstantsThatFail(t *testing.T) {
	text := func(condition string) string {
		return `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user], condition: {match: ` + condition + `}}]
`
	}
	req := &engine.Request{Principal: engine.Principal{ID: "ann", Roles: []string{"user"}}, Resource: engine.Resource{Kind: "doc"}, Actions: []string{"view"}}
	var d engine.Decision
	for condition, allowed := range map[string]bool{
		`{expr: int("z") == 1}`:                                false,
		`{none: {of: [{expr: int("z") == 1}]}}`:                true,
		`{any: {of: [{expr: int("z") == 1}, {expr: "true"}]}}`: true,
	} {
		compileTexts(t, engine.Options{LenientEvaluation: true}, text(condition)).Check(req, &d)
		if d.Allowed() != allowed {
			t.Errorf("lenient, %s: allowed %v", condition, d.Allowed())
		}
		compileTexts(t, engine.Options{}, text(condition)).Check(req, &d)
		if d.Results[0].Reason != engine.ReasonError {
			t.Errorf("strict, %s: %v", condition, d.Results[0].Reason)
		}
	}
	for _, condition := range []string{`{expr: "R.attr[null] == 1"}`, `{expr: "{1: 2}[null] == 1"}`, `{expr: "cerbos.lib.hierarchy{} == R.attr.x"}`} {
		if set, _ := engine.Compile(parse(t, text(condition)), engine.Options{}); set != nil {
			t.Errorf("%s loads", condition)
		}
	}
}
