package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

const header = "apiVersion: api.cerbos.dev/v1\n"

// ask checks one action of a principal with roles on an album.
func ask(ps *engine.PolicySet, action string, attr value.Attributes, roles ...string) engine.Result {
	var d engine.Decision
	ps.Check(&engine.Request{
		Principal: engine.Principal{ID: "alice", Roles: roles, Attr: value.Attributes{"team": "blue"}},
		Resource:  engine.Resource{Kind: "album", ID: "1", Attr: attr},
		Actions:   []string{action},
	}, &d)
	return d.Results[0]
}

func TestZeroRefuses(t *testing.T) {
	var d engine.Decision
	var r engine.Result
	if d.Allowed() || r.Allowed() || d.Deciding() != nil {
		t.Error("a zero value allows")
	}
	forged := engine.Result{Effect: engine.Allow}
	if forged.Allowed() {
		t.Error("an effect without a reason allows")
	}
	ps := compileTexts(t, engine.Options{}, header+"resourcePolicy: {resource: album, version: default, rules: [{actions: ['*'], effect: EFFECT_ALLOW, roles: ['*']}]}")
	for name, req := range map[string]*engine.Request{
		"nothing asked":  {Principal: engine.Principal{ID: "a", Roles: []string{"r"}}, Resource: engine.Resource{Kind: "album"}},
		"no roles":       {Principal: engine.Principal{ID: "a"}, Resource: engine.Resource{Kind: "album"}, Actions: []string{"view"}},
		"unknown kind":   {Principal: engine.Principal{ID: "a", Roles: []string{"r"}}, Resource: engine.Resource{Kind: "book"}, Actions: []string{"view"}},
		"unknown scope":  {Principal: engine.Principal{ID: "a", Roles: []string{"r"}}, Resource: engine.Resource{Kind: "album", Scope: "acme"}, Actions: []string{"view"}},
		"other version":  {Principal: engine.Principal{ID: "a", Roles: []string{"r"}}, Resource: engine.Resource{Kind: "album", PolicyVersion: "2"}, Actions: []string{"view"}},
		"the zero value": {},
	} {
		// What an earlier Check left in the Decision does not show.
		d := engine.Decision{Results: []engine.Result{{Action: "view", Effect: engine.Allow, Reason: engine.ReasonAllowed}}}
		ps.Check(req, &d)
		if d.Allowed() {
			t.Errorf("%s: allowed: %+v", name, d)
		}
	}
}

// An error in the condition of an ALLOW or a DENY rule denies, or under
// lenient evaluation makes the rule not apply.
func TestStrictEvaluation(t *testing.T) {
	text := header + `
resourcePolicy:
  resource: album
  version: default
  rules:
    - {name: all, actions: [deny-errs, ok], effect: EFFECT_ALLOW, roles: [user]}
    - {name: deny-errs, actions: [deny-errs], effect: EFFECT_DENY, roles: [user], condition: {match: {expr: R.attr.missing > 1}}}
    - {name: allow-errs, actions: [allow-errs], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: R.attr.missing > 1}}}
    - {name: shielded, actions: [shielded], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: R.attr.missing > 1 || true}}}
    - {name: none-errs, actions: [none-errs], effect: EFFECT_ALLOW, roles: [user], condition: {match: {none: {of: [{expr: R.attr.missing > 1}]}}}}
    - {name: after, actions: [after], effect: EFFECT_ALLOW, roles: [user], condition: {match: {any: {of: [{expr: "true"}, {expr: R.attr.missing > 1}]}}}}
`
	tests := []struct {
		action          string
		strict, lenient engine.Reason
	}{
		{"ok", engine.ReasonAllowed, engine.ReasonAllowed},
		{"deny-errs", engine.ReasonError, engine.ReasonAllowed},
		{"allow-errs", engine.ReasonError, engine.ReasonNoRule},
		{"shielded", engine.ReasonAllowed, engine.ReasonAllowed},
		{"none-errs", engine.ReasonError, engine.ReasonAllowed},
		{"after", engine.ReasonAllowed, engine.ReasonAllowed},
	}
	strict := compileTexts(t, engine.Options{}, text)
	lenient := compileTexts(t, engine.Options{LenientEvaluation: true}, text)
	for _, tt := range tests {
		for mode, c := range map[string]struct {
			ps   *engine.PolicySet
			want engine.Reason
		}{"strict": {strict, tt.strict}, "lenient": {lenient, tt.lenient}} {
			r := ask(c.ps, tt.action, nil, "user")
			if r.Reason != c.want || r.Allowed() != (c.want == engine.ReasonAllowed) || (r.Err != nil) != (c.want == engine.ReasonError) {
				t.Errorf("%s, %s: got %v, %v; want %v", tt.action, mode, r.Reason, r.Err, c.want)
			}
			if r.Err != nil && (!strings.Contains(r.Err.Error(), "R.attr.missing > 1") || r.Rule == nil) {
				t.Errorf("%s, %s: the error does not say what failed where: %v, %v", tt.action, mode, r.Err, r.Rule)
			}
		}
	}
}

// Broken CEL is an error wherever it stands.
func TestUnusedSetsAreCompiled(t *testing.T) {
	ps, list := engine.Compile(parse(t, header+"derivedRoles: {name: alone, definitions: [{name: x, parentRoles: [user], condition: {match: {expr: nobody.knows}}}]}"), engine.Options{})
	if ps != nil || len(list) != 1 || list[0].Code != engine.CodeInvalidExpression {
		t.Errorf("got %v", list)
	}
}

// Conditions over the same expressions are equal only if they mean the same.
func TestConditionsAreToldApart(t *testing.T) {
	var rules strings.Builder
	for _, op := range []string{"all", "any", "none"} {
		fmt.Fprintf(&rules, "    - {actions: [%s], effect: EFFECT_ALLOW, roles: [user], condition: {match: {%s: {of: [{expr: R.attr.a}, {expr: R.attr.b}]}}}}\n", op, op)
	}
	ps := compileTexts(t, engine.Options{}, header+"resourcePolicy:\n  resource: album\n  version: default\n  rules:\n"+rules.String())
	for i := range 4 {
		a, b := i&1 != 0, i&2 != 0
		attr := value.Attributes{"a": a, "b": b}
		for op, want := range map[string]bool{"all": a && b, "any": a || b, "none": !a && !b} {
			if r := ask(ps, op, attr, "user"); r.Allowed() != want {
				t.Errorf("%s of %v, %v: got %v", op, a, b, r.Allowed())
			}
		}
	}
}

func TestGlobalsAndDefaultVersion(t *testing.T) {
	ps := compileTexts(t, engine.Options{DefaultPolicyVersion: "v2", Globals: value.Values{"tier": value.OfString("gold"), "n": value.OfInt(1)}},
		header+`resourcePolicy: {resource: album, version: v2, rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'G.tier == "gold" && globals.n + 1 == 2 && !has(G.none)'}}}]}`)
	if r := ask(ps, "view", nil, "user"); !r.Allowed() || r.Policy != "resource.album.vv2" {
		t.Errorf("got %+v", r)
	}
}

// now() is one instant throughout a request.
func TestNow(t *testing.T) {
	ps := compileTexts(t, engine.Options{},
		header+`resourcePolicy: {resource: album, version: default, rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'now() == timestamp("2026-03-01T10:00:00Z") && now().getHours() == 10 && timeSince(timestamp("2026-03-01T09:00:00Z")) == duration("1h")'}}}]}`)
	var d engine.Decision
	req := &engine.Request{
		Principal: engine.Principal{ID: "a", Roles: []string{"user"}}, Resource: engine.Resource{Kind: "album"}, Actions: []string{"view"},
		Now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
	}
	if ps.Check(req, &d); !d.Allowed() {
		t.Errorf("got %+v", d.Results[0])
	}
	req.Now = time.Time{}
	if ps.Check(req, &d); d.Allowed() {
		t.Error("without Now it is not the present")
	}
}

// A PolicySet is shared by goroutines, and checks do not see each other.
func TestConcurrentChecks(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, people, header+`
resourcePolicy:
  resource: album
  version: default
  importDerivedRoles: [people]
  variables: {local: {mine: R.attr.owner == P.id, both: 'V.mine && "owner" in runtime.effectiveDerivedRoles'}}
  rules:
    - {actions: [view], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: V.both}}}
    - {actions: [delete], effect: EFFECT_ALLOW, derivedRoles: [owner]}
`)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			owner := []string{"alice", "bob"}[g%2]
			for range 500 {
				if r := ask(ps, "view", value.Attributes{"owner": owner}, "user"); r.Allowed() != (owner == "alice") {
					t.Errorf("%s: got %v", owner, r.Reason)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Roles are bits; more than fit into one word stay apart.
func TestManyRoles(t *testing.T) {
	var rules strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rules, "    - {actions: [a%d], effect: EFFECT_ALLOW, roles: [r%d]}\n", i, i)
	}
	fmt.Fprint(&rules, "    - {actions: [glob], effect: EFFECT_ALLOW, roles: [\"team:*\"]}\n")
	ps := compileTexts(t, engine.Options{}, header+"resourcePolicy:\n  resource: album\n  version: default\n  rules:\n"+rules.String())
	for role := range 200 {
		for _, action := range []int{role, (role + 64) % 200, (role + 128) % 200, (role + 1) % 200} {
			if r := ask(ps, fmt.Sprint("a", action), nil, fmt.Sprint("r", role)); r.Allowed() != (role == action) {
				t.Fatalf("role r%d, action a%d: %v", role, action, r.Reason)
			}
		}
		if r := ask(ps, "glob", nil, fmt.Sprint("r", role)); r.Allowed() {
			t.Fatalf("role r%d is of no team", role)
		}
	}
	if r := ask(ps, "glob", nil, "team:a"); !r.Allowed() {
		t.Errorf("a role by pattern: %v", r.Reason)
	}
}

func ExamplePolicySet_Check() {
	p, problems := policyfile.Parse("album.yaml", []byte(`
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  rules:
    - name: owner-views
      actions: [view]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.owner == P.id}}
`))
	if len(problems) > 0 {
		fmt.Print(problems.Render())
		return
	}
	policies, problems := engine.Compile([]*policy.Policy{p}, engine.Options{})
	if len(problems) > 0 {
		fmt.Print(problems.Render())
		return
	}
	var d engine.Decision
	policies.Check(&engine.Request{
		Principal: engine.Principal{ID: "alice", Roles: []string{"user"}},
		Resource:  engine.Resource{Kind: "album", ID: "7", Attr: value.Attributes{"owner": "alice"}},
		Actions:   []string{"view", "delete"},
	}, &d)
	for _, r := range d.Results {
		fmt.Println(r.Action, r.Allowed(), r.Reason)
	}
	// Output:
	// view true allowed
	// delete false no_rule
}
