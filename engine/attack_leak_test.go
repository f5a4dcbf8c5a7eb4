package engine

import (
	"fmt"
	"testing"
	"time"

	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

// mustRead reads policies from text.
func mustRead(t *testing.T, texts ...string) []*policy.Policy {
	t.Helper()
	var out []*policy.Policy
	for i, text := range texts {
		p, diags := policyfile.Parse(fmt.Sprintf("p%d.yaml", i), []byte(text))
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		out = append(out, p)
	}
	return out
}

// A compiler that is kept for a thousand reloads, a third of them broken, holds
// on to no more than the last policies need.
func TestReloadsLeakNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, in which the race detector, which runs with -short, has nothing to find; the run without it tries this")
	}
	c, err := NewCompiler(Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := func(i int) []string {
		texts := []string{
			"apiVersion: api.cerbos.dev/v1\nexportVariables: {name: v, definitions: {a: 'R.attr.n > %[1]d'}}",
			"apiVersion: api.cerbos.dev/v1\nderivedRoles: {name: d, variables: {import: [v]}, definitions: [{name: o, parentRoles: ['*'], condition: {match: {expr: V.a && R.attr.x%[1]d}}}]}",
			"apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: doc, version: default, importDerivedRoles: [d], variables: {import: [v]}, rules: [" +
				"{actions: [a], effect: EFFECT_ALLOW, derivedRoles: [o], condition: {match: {expr: 'V.a || R.attr.y == %[1]d'}}, output: {when: {ruleActivated: 'R.attr.z%[1]d'}}}]}",
		}
		if i%3 == 2 {
			texts = append(texts, "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: bad, version: default, rules: [{actions: [a], effect: EFFECT_ALLOW, roles: [u], condition: {match: {expr: 'V.nope == %[1]d'}}}]}")
		}
		for j := range texts {
			texts[j] = fmt.Sprintf(texts[j]+"%[2]s", i, "")
		}
		return texts
	}
	var first [5]int
	for i := range 1000 {
		set, _ := c.Compile(mustRead(t, text(i)...), nil)
		if (set == nil) != (i%3 == 2) {
			t.Fatalf("reload %d: %v", i, set)
		}
		sizes := [5]int{len(c.programs), len(c.conditions), int(c.programIDs.next), int(c.conditionIDs.next), int(c.moduleIDs.next)}
		if i == 5 {
			first = sizes
		} else if i > 5 && sizes != first {
			t.Fatalf("reload %d: sizes were %v, are %v", i, first, sizes)
		}
	}
	if set, diags := c.Compile(nil, nil); set == nil {
		t.Fatal(diags)
	}
	for name, ids := range map[string]ids{"programs": c.programIDs, "conditions": c.conditionIDs, "modules": c.moduleIDs} {
		if len(ids.free) != int(ids.next) {
			t.Errorf("%s: %d of %d ids came back", name, len(ids.free), ids.next)
		}
	}
	if len(c.programs)+len(c.conditions)+len(c.built) > 0 {
		t.Errorf("left are %d programs, %d conditions, %d policies", len(c.programs), len(c.conditions), len(c.built))
	}
}

// What a Check remembers has its number beside it. When the numbers begin anew,
// nothing of a Check long ago may be taken for this one's.
func TestNumbersOfChecksBeginAnew(t *testing.T) {
	set, diags := Compile(mustRead(t, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  variables: {local: {open: R.attr.open}}
  rules:
    - {actions: [a], effect: EFFECT_ALLOW, roles: [u], condition: {match: {expr: V.open == true}}}
`), Options{})
	if set == nil {
		t.Fatal(diags)
	}
	st := newState(set)
	ask := func(open bool) bool {
		var d Decision
		set.check(st, &Request{Principal: Principal{ID: "p", Roles: []string{"u"}}, Resource: Resource{Kind: "doc", Attr: value.Values{"open": value.OfBool(open)}}, Actions: []string{"a"}, Now: time.Unix(1, 0)}, &d)
		return d.Allowed()
	}
	for range 2 {
		for i := range 6 {
			if open := i%2 == 0; ask(open) != open {
				t.Fatalf("check %d: wrong", st.check)
			}
		}
		st.check = 1<<(32-outcomeBits) - 4
	}
}

// The memory of a Check that is over refers to nothing of its request.
func TestPoolKeepsNothingOfRequests(t *testing.T) {
	set, diags := Compile(mustRead(t, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  variables: {local: {name: R.attr.name + P.id, list: "R.attr.list.filter(x, x != '')"}}
  rules:
    - {actions: [a], effect: EFFECT_ALLOW, roles: [u], condition: {match: {expr: "V.name != R.attr.gone || V.list.exists(x, x == P.id)"}}}
    - {actions: [a], effect: EFFECT_ALLOW, roles: [u], condition: {match: {expr: "R.attr.list.transformList(i, x, x + R.id)[0] == V.name"}}, output: {when: {ruleActivated: V.list, conditionNotMet: V.name}}}
`), Options{LenientEvaluation: true})
	if set == nil {
		t.Fatal(diags)
	}
	st := newState(set)
	var d Decision
	set.check(st, &Request{
		Principal: Principal{ID: "secret-principal", Roles: []string{"u", "secret-role"}},
		Resource:  Resource{Kind: "doc", ID: "secret-id", Attr: value.Values{"name": value.OfString("secret-name"), "list": value.OfSequence(value.Slice{value.OfString("secret-member")})}},
		Actions:   []string{"a", "secret-action"}, IncludeMeta: true, Now: time.Unix(1, 0),
	}, &d)
	if len(d.Outputs) == 0 {
		t.Fatal("the policy was not evaluated")
	}
	for _, m := range st.modules {
		for _, v := range m.values {
			if v.Kind() != value.Absent {
				t.Errorf("the value of a variable is kept: %v", v)
			}
		}
	}
	if st.req != nil || st.decision != nil || st.kind != "" || len(st.failures) > 0 {
		t.Errorf("kept: %v %v %q %v", st.req, st.decision, st.kind, st.failures)
	}
	for slot := range slotRuntime + 1 {
		if v := st.frame.Get(slot); v.Kind() != value.Absent {
			t.Errorf("slot %d is kept: %v", slot, v)
		}
	}
	for _, m := range st.members[:cap(st.members)] {
		if m != "" {
			t.Errorf("a role is kept: %q", m)
		}
	}
}
