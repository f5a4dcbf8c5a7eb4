package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/policy"
	"edict/engine/value"
)

// forEachCase calls visit with random policies and requests. The oracle's
// interpreter is a second opinion on the same policies.
func forEachCase(t *testing.T, sets, requests int, visit func(name string, ps *engine.PolicySet, reference *oracle.Interpreter, req *engine.Request)) {
	t.Helper()
	const seed = 20_261_124
	for n := range uint64(sets) {
		generator := oracle.NewGenerator(seed, n)
		set := generator.Set()
		ps, diagnostics := compile(set)
		if ps == nil {
			t.Fatalf("seed %d, set %d:\n%s", seed, n, diagnostics)
		}
		reference := oracle.New(set.Policies, set.Options)
		for i := range requests {
			visit(fmt.Sprintf("seed %d, set %d, request %d", seed, n, i), ps, reference, generator.Request(set))
			if t.Failed() {
				return
			}
		}
	}
}

// Explain decides as Check does, and marks the rule that decided where it
// decided.
func TestExplainEqualsCheck(t *testing.T) {
	oracle.SkipSequential(t)
	outcomes := map[engine.Reason]int{}
	forEachCase(t, 50, 12, func(name string, ps *engine.PolicySet, _ *oracle.Interpreter, req *engine.Request) {
		var d engine.Decision
		withMeta := *req
		withMeta.IncludeMeta = true
		ps.Check(&withMeta, &d)
		e := ps.Explain(req)
		if got, want := wholeDecision(&e.Decision), wholeDecision(&d); got != want {
			t.Fatalf("%s: Explain gives\n%s\nCheck gives\n%s\n%s", name, got, want, oracle.RequestJSON(req))
		}
		if len(e.Actions) != len(d.Results) {
			t.Fatalf("%s: %d actions are explained, not %d", name, len(e.Actions), len(d.Results))
		}
		for i := range e.Actions {
			outcomes[e.Actions[i].Result.Reason]++
			if problem := inconsistent(&e.Actions[i]); problem != "" {
				t.Fatalf("%s: %s: %s\n%s", name, req.Actions[i], problem, oracle.RequestJSON(req))
			}
		}
	})
	for _, r := range []engine.Reason{engine.ReasonAllowed, engine.ReasonDenied, engine.ReasonNoRule, engine.ReasonNoPolicy, engine.ReasonError} {
		if outcomes[r] == 0 {
			t.Errorf("no action ended as %v: the test does not see enough", r)
		}
	}
}

func wholeDecision(d *engine.Decision) string {
	var b strings.Builder
	for i := range d.Results {
		r := &d.Results[i]
		fmt.Fprintf(&b, "%s %v %v %s %s %p %v\n", r.Action, r.Effect, r.Reason, r.Policy, r.Scope, r.Rule, r.Err)
	}
	for _, o := range d.Outputs {
		fmt.Fprintf(&b, "%s %s %v %s\n", o.Src, o.Action, o.Val, o.Err)
	}
	fmt.Fprintf(&b, "%v %v %v\n", d.ValidationErrors, d.EffectiveDerivedRoles, d.UsedNow)
	return b.String()
}

// inconsistent says what the steps of an action tell that does not go with its
// result, or with itself.
func inconsistent(a *engine.ActionExplanation) string {
	found := false
	for i := range a.Steps {
		s := &a.Steps[i]
		for j := range s.Rules {
			r := &s.Rules[j]
			found = found || r.Decided && r.Rule == a.Result.Rule
			if problem := inconsistentRule(r); problem != "" {
				return fmt.Sprintf("rule %q: %s", r.Rule.Name, problem)
			}
		}
	}
	if a.Result.Rule != nil && !found {
		return fmt.Sprintf("no step tells that the rule %q decided", a.Result.Rule.Name)
	}
	return ""
}

func inconsistentRule(r *engine.RuleExplanation) string {
	switch r.Outcome {
	case engine.RuleApplied, engine.RuleConditionNotMet:
		if r.Condition == nil || r.Condition.Outcome == engine.ConditionFailed && strings.Contains(r.Condition.Err.Error(), "can't read the list") {
			break // always, or whatever the rule's effect asks for
		}
		holds := r.Condition.Outcome == engine.ConditionTrue
		if holds == r.Negated == (r.Outcome == engine.RuleApplied) {
			return fmt.Sprintf("its condition came to %v, it %v, negated %v", r.Condition.Outcome, r.Outcome, r.Negated)
		}
	case engine.RuleDerivedInactive:
		if r.Derived == nil || r.Derived.Outcome == engine.ConditionTrue || r.Condition != nil {
			return "its derived role is said to be inactive"
		}
	case engine.RuleFailed:
		// Under strict evaluation, or the rule would not have failed.
		if r.Err == nil || !r.Decided {
			return "it failed without an error, or without deciding"
		}
	default:
		if r.Decided || r.Condition != nil {
			return fmt.Sprintf("%v, and yet it was evaluated", r.Outcome)
		}
	}
	for _, c := range []*engine.ConditionExplanation{r.Derived, r.Condition} {
		if problem := inconsistentCondition(c); problem != "" {
			return problem
		}
	}
	return ""
}

// inconsistentCondition works out the condition again from its leaves.
func inconsistentCondition(c *engine.ConditionExplanation) string {
	if c == nil || c.Outcome == engine.ConditionNotReached || c.Op != policy.Expr && c.Err != nil {
		return ""
	}
	if c.Op == policy.Expr {
		if (c.Outcome == engine.ConditionFailed) != (c.Err != nil) {
			return fmt.Sprintf("%s %v with the error %v", c.Expr.Value, c.Outcome, c.Err)
		}
		if c.Value.Kind() == value.Bool && c.Err == nil && c.Value.Bool() != (c.Outcome == engine.ConditionTrue) {
			return fmt.Sprintf("%s came to %v, which is not %v", c.Expr.Value, c.Value, c.Outcome)
		}
		return ""
	}
	held, failed := 0, 0
	for _, m := range c.Of {
		if problem := inconsistentCondition(m); problem != "" {
			return problem
		}
		switch m.Outcome {
		case engine.ConditionTrue:
			held++
		case engine.ConditionFailed:
			failed++
		}
	}
	want := map[policy.Operator]bool{policy.All: held == len(c.Of), policy.Any: held > 0, policy.None: held == 0}[c.Op]
	if c.Outcome != engine.ConditionFailed && want != (c.Outcome == engine.ConditionTrue) || c.Outcome == engine.ConditionFailed && failed == 0 {
		return fmt.Sprintf("%v of %d members, of which %d hold and %d failed, came to %v", c.Op, len(c.Of), held, failed, c.Outcome)
	}
	return ""
}

// A borrowed mapping lends its texts from memory that is used again.
type borrowed struct {
	value.Attributes
	memory []byte
}

func (b borrowed) Lookup(key string) (value.Value, bool) {
	v, ok := b.Attributes.Lookup(key)
	if key == "owner" {
		return value.OfString(unsafeString(b.memory)), true
	}
	return v, ok
}

func TestAnExplanationKeepsNothingOfTheRequest(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, header+`
resourcePolicy:
  resource: album
  version: default
  variables: {local: {mine: R.attr.owner == P.id}}
  rules:
    - name: own
      actions: ["*"]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: {match: {all: {of: [{expr: V.mine}, {expr: '[R.attr.owner, P.id] == [P.id, R.attr.owner]'}]}}}
      output: {when: {ruleActivated: '{"owner": R.attr.owner, "all": [R.attr.owner]}'}}
`)
	memory := []byte("alice view user")
	req := &engine.Request{
		Principal: engine.Principal{ID: unsafeString(memory[:5]), Roles: []string{unsafeString(memory[11:])}},
		Resource:  engine.Resource{Kind: "album", Attr: borrowed{value.Attributes{"owner": ""}, memory[:5]}},
		Actions:   []string{unsafeString(memory[6:10])},
	}
	e := ps.Explain(req)
	before := fmt.Sprintf("%+v", explanationText(e))
	if !strings.Contains(before, "alice") || !strings.Contains(before, "view") || !strings.Contains(before, "user") {
		t.Fatal(before)
	}
	copy(memory, strings.Repeat("#", len(memory)))
	if after := explanationText(e); after != before {
		t.Errorf("the explanation was\n%s\nand became\n%s", before, after)
	}
}

// explanationText spells out all of an explanation.
func explanationText(e *engine.Explanation) string {
	var b strings.Builder
	b.WriteString(wholeDecision(&e.Decision))
	var condition func(c *engine.ConditionExplanation)
	condition = func(c *engine.ConditionExplanation) {
		if c == nil {
			return
		}
		fmt.Fprintf(&b, "%v %v %s %v %v\n", c.Op, c.Outcome, c.Expr.Value, c.Value, c.Err)
		for _, s := range c.Steps {
			fmt.Fprintf(&b, "  %s = %v\n", s.Text, s.Value)
		}
		for _, v := range c.Variables {
			fmt.Fprintf(&b, "  %s: %s = %v\n", v.Name, v.Expr, v.Value)
			for _, s := range v.Steps {
				fmt.Fprintf(&b, "    %s = %v\n", s.Text, s.Value)
			}
		}
		for _, m := range c.Of {
			condition(m)
		}
	}
	for _, a := range e.Actions {
		fmt.Fprintf(&b, "%s %v\n", a.Result.Action, a.Result.Effect)
		for _, s := range a.Steps {
			fmt.Fprintf(&b, "%v %q %q %v %s\n", s.Stage, s.Scope, s.Role, s.Inherited, s.Policy)
			for _, r := range s.Rules {
				fmt.Fprintf(&b, "%s %v %v %v\n", r.Rule.Name, r.Outcome, r.Roles, r.Err)
				condition(r.Derived)
				condition(r.Condition)
			}
		}
	}
	for _, d := range e.DerivedRoles {
		fmt.Fprintf(&b, "%s %v %v\n", d.Name, d.Active, d.Err)
		condition(d.Condition)
	}
	return b.String()
}

// What Explain evaluates once more does not use up the steps that a request has.
func TestExplainSpendsNothing(t *testing.T) {
	oracle.SkipSequential(t)
	ps := compileTexts(t, engine.Options{}, header+`
resourcePolicy:
  resource: album
  version: default
  rules:
    - {name: one, actions: [one], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'R.attr.list.all(x, !R.attr.list.exists(y, y == "none"))'}}}
    - {name: two, actions: [two], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'R.attr.list.all(x, !R.attr.list.exists(y, y == "absent"))'}}}
`)
	list := make([]any, 2500) // of which one condition takes more than a third of the steps
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	req := &engine.Request{
		Principal: engine.Principal{ID: "ann", Roles: []string{"user"}},
		Resource:  engine.Resource{Kind: "album", Attr: value.Attributes{"list": list}},
		Actions:   []string{"one", "two"},
	}
	var d engine.Decision
	ps.Check(req, &d)
	e := ps.Explain(req)
	for i := range d.Results {
		if got, want := e.Decision.Results[i].Reason, d.Results[i].Reason; got != want {
			t.Errorf("%s: Explain says %v, Check %v", d.Results[i].Action, got, want)
		}
	}
	if !d.Allowed() {
		t.Errorf("%+v", d.Results)
	}
}
