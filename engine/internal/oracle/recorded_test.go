package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

// read gives the policies in a text, apart by lines of ---. The apiVersion and
// the version default are understood.
func read(t *testing.T, text string) (out []*policy.Policy) {
	t.Helper()
	for i, one := range strings.Split(text, "\n---\n") {
		one = "apiVersion: api.cerbos.dev/v1\n" + strings.TrimPrefix(one, "\n")
		for _, kind := range []string{"resourcePolicy:", "principalPolicy:", "rolePolicy:"} {
			if strings.Contains(one, "\n"+kind+"\n") && !strings.Contains(one, "\n  version:") {
				one = strings.Replace(one, kind, kind+"\n  version: default", 1)
			}
		}
		p, diagnostics := policyfile.Parse(fmt.Sprintf("policy_%d.yaml", i), []byte(one))
		if p == nil {
			t.Fatal(diagnostics.Render())
		}
		out = append(out, p)
	}
	return out
}

// A recorded is a question with the answer of Cerbos 0.55.0.
type recorded struct {
	roles, scope, action string // roles apart by spaces; the first word may be id=…
	attr                 string // JSON of the resource's attributes; of both, as {"P": …, "R": …}
	want                 string // effect policy scope, then outputs as rule=JSON or rule=!
}

func (r recorded) request(t *testing.T, kind string) *engine.Request {
	t.Helper()
	req := &engine.Request{
		Principal: engine.Principal{ID: "ana", Roles: strings.Fields(r.roles)},
		Resource:  engine.Resource{Kind: kind, ID: "1", Scope: r.scope},
		Actions:   strings.Fields(r.action),
	}
	if id, ok := strings.CutPrefix(req.Principal.Roles[0], "id="); ok {
		req.Principal.ID, req.Principal.Roles = id, req.Principal.Roles[1:]
	}
	if r.attr != "" {
		var attr struct{ P, R map[string]any }
		if err := json.Unmarshal([]byte(r.attr), &attr); err != nil {
			t.Fatal(err)
		}
		req.Principal.Attr, req.Resource.Attr = value.Attributes(attr.P), value.Attributes(attr.R)
	}
	return req
}

// compareRecorded asks the last action of each question and compares with what
// was recorded; outputs are those of all actions.
func compareRecorded(t *testing.T, policies []*policy.Policy, opts Options, kind string, list []recorded) {
	t.Helper()
	for i, r := range list {
		a := New(policies, opts).Check(r.request(t, kind))
		last := a.Results[len(a.Results)-1]
		effect := "DENY"
		if last.Effect == policy.Allow {
			effect = "ALLOW"
		}
		scope := last.Scope
		if scope == "" {
			scope = "-"
		}
		got := []string{effect, strings.ReplaceAll(last.Policy, "resource."+kind+".vdefault", "SI"), scope}
		var outputs []string
		for _, o := range a.Outputs {
			val := "!"
			if !o.Failed {
				val = jsonText(o.Val)
			}
			_, rule, _ := strings.Cut(o.Src, "#")
			outputs = append(outputs, rule+"="+val)
		}
		slices.Sort(outputs)
		if text := strings.Join(slices.Concat(got, outputs), " "); text != r.want {
			t.Errorf("%d: %+v:\ngot  %s", i+1, r, text)
		}
	}
}

// An example of all kinds of policies at once, with the answers of Cerbos.
func TestWorkedExampleOfAllKinds(t *testing.T) {
	policies := read(t, `
resourcePolicy:
  resource: stock_item
  rules:
    - {actions: [view], effect: EFFECT_ALLOW, roles: [picker, manager]}
    - {actions: [move], effect: EFFECT_ALLOW, roles: [manager]}
    - {actions: [move], effect: EFFECT_DENY, roles: [picker], condition: {match: {expr: R.attr.frozen}}}
    - {actions: ["report:*"], effect: EFFECT_ALLOW, roles: ["*"]}
---
resourcePolicy:
  resource: stock_item
  scope: lyon
  rules:
    - {name: zone-move, actions: [move], effect: EFFECT_ALLOW, roles: [picker],
       condition: {match: {expr: R.attr.zone == P.attr.zone}},
       output: {when: {ruleActivated: '"in"', conditionNotMet: '"out"'}}}
---
resourcePolicy:
  resource: stock_item
  scope: lyon.cold
  scopePermissions: SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS
  rules:
    - {name: trained, actions: [move], effect: EFFECT_ALLOW, roles: [picker, manager],
       condition: {match: {expr: P.attr.trained}},
       output: {when: {ruleActivated: '"ok"', conditionNotMet: '"untrained"'}}}
---
rolePolicy:
  role: trainee
  scope: lyon
  parentRoles: [picker]
  rules: [{resource: stock_item, allowActions: [view]}]
---
principalPolicy:
  principal: zed
  rules: [{resource: stock_item, actions: [{action: move, effect: EFFECT_DENY, condition: {match: {expr: R.attr.value > 1000.0}}}]}]
`)
	compareRecorded(t, policies, Options{LenientEvaluation: true}, "stock_item", []recorded{
		{"picker", "", "move", `{"R":{"frozen":false}}`, `DENY SI -`},
		{"manager picker", "", "move", `{"R":{"frozen":true}}`, `ALLOW SI -`},
		{"picker", "", "move", ``, `DENY SI -`},
		{"picker", "lyon", "move", `{"P":{"zone":"A"},"R":{"zone":"A","frozen":true}}`, `ALLOW SI/lyon lyon zone-move="in"`},
		{"picker", "lyon", "move", `{"P":{"zone":"B"},"R":{"zone":"A","frozen":false}}`, `DENY SI/lyon - zone-move="out"`},
		{"picker", "lyon", "move", `{"P":{"zone":"B"},"R":{"zone":"A","frozen":true}}`, `DENY SI/lyon - zone-move="out"`},
		{"manager", "lyon", "move", ``, `ALLOW SI/lyon -`},
		{"guest", "lyon", "report:daily", ``, `ALLOW SI/lyon -`},
		{"guest", "lyon", "report:daily:pdf", ``, `DENY SI/lyon -`},
		{"picker", "lyon.cold", "move", `{"P":{"zone":"A","trained":true},"R":{"zone":"A"}}`, `ALLOW SI/lyon.cold lyon trained="untrained" zone-move="in"`},
		{"picker", "lyon.cold", "move", `{"P":{"zone":"A","trained":false},"R":{"zone":"A"}}`, `DENY SI/lyon.cold lyon.cold trained="ok"`},
		{"manager", "lyon.cold", "move", `{"P":{"trained":true}}`, `ALLOW SI/lyon.cold - trained="untrained"`},
		{"manager", "lyon.cold", "move", ``, `DENY SI/lyon.cold lyon.cold trained="ok"`},
		{"picker", "lyon.cold", "view", ``, `ALLOW SI/lyon.cold -`},
		{"trainee", "lyon", "view", ``, `ALLOW SI/lyon -`},
		{"trainee", "lyon", "move", `{"P":{"zone":"A"},"R":{"zone":"A"}}`, `DENY role.trainee.vdefault/lyon lyon`},
		{"trainee picker", "lyon", "move", `{"P":{"zone":"A"},"R":{"zone":"A"}}`, `ALLOW SI/lyon lyon zone-move="in"`},
		{"trainee", "lyon.cold", "view", ``, `DENY SI/lyon.cold -`},
		{"trainee", "", "view", ``, `DENY SI -`},
		{"id=zed manager", "lyon", "move", `{"R":{"value":5000}}`, `DENY principal.zed.vdefault -`},
		{"id=zed manager", "lyon", "move", `{"R":{"value":5}}`, `ALLOW SI/lyon -`},
		{"id=zed manager", "lyon", "move", `{"R":{"value":"5000"}}`, `ALLOW SI/lyon -`},
		{"manager", "paris", "view", ``, `DENY NO_MATCH -`},
	})
}

// Every matching row of a rule tells its output once: the actions, the roles
// and the parent roles of derived roles that match.
func TestOutputsComeOncePerRow(t *testing.T) {
	policies := read(t, `
derivedRoles:
  name: set
  definitions:
    - {name: late, parentRoles: [user, admin, "a*"], condition: {match: {expr: R.attr.late}}}
---
resourcePolicy:
  resource: doc
  importDerivedRoles: [set]
  rules:
    - {name: all, actions: [view, "v*", "*"], effect: EFFECT_ALLOW, roles: [user, "us*", "*"], output: {when: {ruleActivated: "1"}}}
    - {name: no, actions: [view, "v*"], effect: EFFECT_DENY, roles: [user, "us*"], condition: {match: {expr: R.attr.late}},
       output: {when: {ruleActivated: "2", conditionNotMet: "3"}}}
    - {name: dr, actions: [view, edit], effect: EFFECT_ALLOW, derivedRoles: [late], output: {when: {ruleActivated: "4", conditionNotMet: "5"}}}
---
rolePolicy:
  role: child
  parentRoles: [parent]
  rules: [{name: child, resource: doc, allowActions: [view, "v*"], output: {when: {ruleActivated: "6"}}}]
---
rolePolicy:
  role: parent
  parentRoles: [child]
  rules: [{name: parent, resource: doc, allowActions: [view], output: {when: {ruleActivated: "7"}}}]
`)
	compareRecorded(t, policies, Options{LenientEvaluation: true}, "doc", []recorded{
		{"user", "", "view", `{"R":{"late":false}}`, `ALLOW SI - all=1 all=1 all=1 no=3 no=3 no=3 no=3`},
		// The first look at a derived role that does not hold is silent, all further ones are not.
		{"admin", "", "edit", `{"R":{"late":false}}`, `ALLOW SI - all=1 dr=5`},
		{"admin", "", "edit", `{"R":{"late":true}}`, `ALLOW SI - all=1 dr=4 dr=4`},
		// A role that inherits itself is asked twice.
		{"child", "", "view", ``, `ALLOW SI - all=1 all=1 all=1 child=6 child=6 parent=7`},
		{"child", "", "edit", ``, `DENY role.child.vdefault -`},
	})
}

func TestRolePolicies(t *testing.T) {
	policies := read(t, `
resourcePolicy:
  resource: doc
  rules: [{actions: ["*"], effect: EFFECT_ALLOW, roles: ["*"]}]
---
resourcePolicy:
  resource: doc
  scope: empty
---
resourcePolicy:
  resource: doc
  scope: other
  rules: [{actions: [nothing], effect: EFFECT_ALLOW, roles: [clerk]}]
---
rolePolicy:
  role: clerk
  scope: empty
  rules: [{resource: sheet, allowActions: ["*"]}]
---
rolePolicy:
  role: clerk
  scope: other
  rules: [{resource: sheet, allowActions: ["*"]}]
---
rolePolicy:
  role: picky
  rules:
    - {resource: doc, allowActions: [view]}
    - {name: cond, resource: doc, allowActions: ["v*"], condition: {match: {expr: R.attr.ok}}, output: {when: {ruleActivated: "1", conditionNotMet: "2"}}}
---
rolePolicy:
  role: alias
  parentRoles: [nobody]
  scope: nowhere
`)
	for _, tt := range []struct {
		lenient bool
		recorded
	}{
		// A role policy about other kinds denies only where some row is about the kind and the role.
		{true, recorded{"clerk", "empty", "view", ``, `ALLOW SI/empty -`}},
		{true, recorded{"clerk", "other", "view", ``, `DENY role.clerk.vdefault/other other`}},
		{true, recorded{"user", "other", "view", ``, `ALLOW SI/other -`}},
		// All conditions of what matches must hold.
		{true, recorded{"picky", "", "view", `{"R":{"ok":true}}`, `ALLOW SI - cond=1`}},
		{true, recorded{"picky", "", "view", `{"R":{"ok":false}}`, `DENY role.picky.vdefault - cond=2`}},
		{true, recorded{"picky", "", "view", ``, `DENY role.picky.vdefault - cond=2`}},
		{false, recorded{"picky user", "", "view", ``, `DENY role.picky.vdefault -`}},
		{true, recorded{"picky user", "", "view", ``, `ALLOW SI - cond=2`}},
		// Without rules, a role policy does not even make its scope exist.
		{true, recorded{"alias", "nowhere", "view", ``, `DENY NO_MATCH -`}},
	} {
		compareRecorded(t, policies, Options{LenientEvaluation: tt.lenient}, "doc", []recorded{tt.recorded})
	}
}

// What a failed variable and a failed derived role come to.
func TestFailedVariables(t *testing.T) {
	policies := read(t, `
derivedRoles:
  name: set
  variables: {local: {bad: R.attr.missing, next: V.bad == null}}
  definitions:
    - {name: is_null, parentRoles: [user], condition: {match: {expr: V.bad == null}}}
    - {name: there, parentRoles: [user], condition: {match: {expr: has(V.bad)}}}
    - {name: gone, parentRoles: [user], condition: {match: {expr: "!has(V.bad)"}}}
    - {name: chained, parentRoles: [user], condition: {match: {expr: V.next}}}
---
resourcePolicy:
  resource: doc
  importDerivedRoles: [set]
  rules:
    - {actions: [is_null], effect: EFFECT_ALLOW, derivedRoles: [is_null]}
    - {actions: [there], effect: EFFECT_ALLOW, derivedRoles: [there]}
    - {actions: [gone], effect: EFFECT_ALLOW, derivedRoles: [gone]}
    - {actions: [chained], effect: EFFECT_ALLOW, derivedRoles: [chained]}
    - {actions: [list], effect: EFFECT_ALLOW, roles: [user], output: {when: {ruleActivated: runtime.effectiveDerivedRoles}}}
`)
	all := "is_null there gone chained list"
	compareRecorded(t, policies, Options{LenientEvaluation: true}, "doc", []recorded{
		{"user", "", "is_null", ``, `DENY SI -`},
		{"user", "", "there", ``, `DENY SI -`},
		{"user", "", "gone", ``, `ALLOW SI -`},
		{"user", "", "chained", ``, `DENY SI -`},
		{"user", "", all, ``, `ALLOW SI - rule-005=["chained","is_null","there"]`},
	})
	compareRecorded(t, policies, Options{}, "doc", []recorded{
		{"user", "", "gone", ``, `ALLOW SI -`},
		{"user", "", all, ``, `ALLOW SI - rule-005=!`},
	})
	req := recorded{roles: "user", action: "list"}.request(t, "doc")
	if got := New(policies, Options{}).Check(req).EffectiveDerivedRoles; !slices.Equal(got, []string{"gone"}) {
		t.Errorf("strict: derived roles %q", got)
	}
}

// Rows of principal policies are those of the resource's version, and what
// tells that there are any is the principal's.
func TestVersionsOfPrincipalPolicies(t *testing.T) {
	policies := read(t, `
resourcePolicy:
  resource: doc
  rules: [{actions: [view, edit], effect: EFFECT_ALLOW, roles: ["*"]}]
---
principalPolicy:
  principal: bob
  rules: [{resource: "d*", actions: [{action: view, effect: EFFECT_DENY}]}]
---
principalPolicy:
  principal: cyd
  version: v2
`)
	for _, tt := range []struct{ id, version, action, want string }{
		{"bob", "", "view", "EFFECT_DENY principal.bob.vdefault"},
		{"bob", "v2", "view", "EFFECT_DENY principal.bob.vv2"},
		{"bob", "v9", "view", "EFFECT_DENY NO_MATCH"},
		{"bob", "v2", "edit", "EFFECT_ALLOW resource.doc.vdefault"},
		{"bob", "v2", "other", "EFFECT_DENY resource.doc.vdefault"},
	} {
		req := recorded{roles: "user", action: tt.action}.request(t, "doc")
		req.Principal.ID, req.Principal.PolicyVersion = tt.id, tt.version
		r := New(policies, Options{}).Check(req).Results[0]
		if got := r.Effect.String() + " " + r.Policy; got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// A schema counts where the policy of the root scope names it, for the whole
// chain, and unless all actions are exempt.
func TestSchemas(t *testing.T) {
	policies := read(t, `
resourcePolicy:
  resource: doc
  schemas: {resourceSchema: {ref: "cerbos:///owner.json", ignoreWhen: {actions: ["c*"]}}}
  rules: [{actions: ["*"], effect: EFFECT_ALLOW, roles: ["*"]}]
---
resourcePolicy:
  resource: doc
  scope: acme
---
resourcePolicy:
  resource: sheet
  scope: beta
---
resourcePolicy:
  resource: sheet
`)
	reject := Options{SchemaEnforcement: engine.SchemaReject}
	compareRecorded(t, policies, reject, "doc", []recorded{
		{"user", "acme", "view", `{"R":{"owner":"ana"}}`, `ALLOW SI/acme -`},
		{"user", "acme", "view", `{"R":{"owner":1}}`, `DENY SI/acme -`},
		{"user", "acme", "create", `{"R":{"owner":1}}`, `ALLOW SI/acme -`},
		{"user", "acme", "view create", `{"R":{"owner":1}}`, `DENY SI/acme -`},
		{"user", "beta", "view", `{"R":{"owner":1}}`, `ALLOW SI/beta -`}, // no such policy, hence no schema
	})
	warn := Options{SchemaEnforcement: engine.SchemaWarn}
	a := New(policies, warn).Check(recorded{roles: "user", action: "view", attr: `{"R":{"owner":1}}`}.request(t, "doc"))
	if !a.ResourceInvalid || a.PrincipalInvalid || a.Results[0].Effect != policy.Allow {
		t.Errorf("warn: %+v", a)
	}
}
