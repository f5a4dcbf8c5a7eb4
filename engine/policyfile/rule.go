package policyfile

import (
	"fmt"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// names of rules that must differ, with their places.
type names map[string]diag.Position

// unique reports a name that another rule has already. Rules may be nameless.
func (r *reader) unique(taken names, name diag.Text) {
	if name.Value == "" || r.disabled {
		return
	}
	if first, repeated := taken[name.Value]; repeated {
		r.doc.ReportRelated(name.Pos, DuplicateRuleName, fmt.Sprintf("two rules are named %q", name.Value),
			"give each rule a name of its own, or none", diag.Related{Pos: first, Message: "the first one"})
		return
	}
	taken[name.Value] = name.Pos
}

// effect reads the effect of a rule, by its name or by the number that it has
// in the protocol.
func (r *reader) effect(o yamldoc.Object) policy.Effect {
	n, ok := o.Field("effect")
	if !ok {
		if o.Misspelt("effect") {
			return policy.NoEffect
		}
		r.doc.Report(o.KeyPos("effect"), yamldoc.MissingField, "effect is required", "write effect: EFFECT_ALLOW or effect: EFFECT_DENY")
		return policy.NoEffect
	}
	allow, deny := policy.Allow.String(), policy.Deny.String()
	if n.IsInt() {
		switch i, _ := n.Int(); i {
		case 1:
			return policy.Allow
		case 2:
			return policy.Deny
		default:
			n.Report(yamldoc.UnknownValue, fmt.Sprintf("effect: %d is not a known value", i), "known values: "+allow+", "+deny)
			return policy.NoEffect
		}
	}
	if t, ok := n.Text(); ok {
		if full := "EFFECT_" + strings.ToUpper(t.Value); full == allow || full == deny {
			n.Report(yamldoc.UnknownValue, fmt.Sprintf("effect: %q is not a known value", t.Value), fmt.Sprintf("did you mean %q?", full))
			return policy.NoEffect
		}
		switch name, _ := n.Enum(allow, deny); name {
		case allow:
			return policy.Allow
		case deny:
			return policy.Deny
		}
	}
	return policy.NoEffect
}

// condition reads the condition of a rule or of a derived role; nil if there
// is none.
func (r *reader) condition(o yamldoc.Object) *policy.Condition {
	n, ok := o.Given("condition")
	if !ok {
		return nil
	}
	if n.IsNull() {
		r.doc.Report(o.KeyPos("condition"), EmptyCondition, "the condition is empty", "write match: and an expression below it, or remove the key")
		return nil
	}
	if n.IsScalar() {
		n.Expected("a mapping", "write match: {expr: ...} with the expression in place of the dots")
		return nil
	}
	if _, hasMatch := n.Key("match"); !hasMatch {
		for _, op := range []string{"all", "any", "none", "expr"} {
			if key, ok := n.Key(op); ok {
				key.Report(yamldoc.UnknownField, fmt.Sprintf("unknown field %q", op), fmt.Sprintf("it belongs below match: write match: {%s: ...}", op))
				return nil
			}
		}
	}
	c, ok := n.Object("match", "script")
	if !ok {
		return nil
	}
	kind, body, ok := c.OneGiven("match", "script")
	if !ok {
		return nil
	}
	if kind == "script" {
		if !r.disabled {
			r.doc.Report(c.KeyPos("script"), ScriptCondition, "scripts are not supported in conditions", "write the condition in CEL: match: {expr: ...}")
		}
		return nil
	}
	return r.match(body)
}

// match reads one node of a condition.
func (r *reader) match(n yamldoc.Node) *policy.Condition {
	o, ok := n.Object("all", "any", "none", "expr")
	if !ok {
		return nil
	}
	op, body, ok := o.OneGiven("all", "any", "none", "expr")
	if !ok {
		return nil
	}
	c := &policy.Condition{Pos: o.Pos()}
	switch op {
	case "expr":
		c.Op = policy.Expr
		if r.disabled {
			c.Expr, _ = body.Text()
		} else {
			c.Expr, _ = body.NonEmptyText()
		}
		return c
	case "all":
		c.Op = policy.All
	case "any":
		c.Op = policy.Any
	case "none":
		c.Op = policy.None
	}
	list, ok := body.Object("of")
	if !ok {
		return nil
	}
	for _, e := range r.elements(list, "of") {
		if member := r.match(e); member != nil {
			c.Of = append(c.Of, member)
		}
	}
	return c
}

// output reads the output of a rule; nil if there is none. The expr that old
// policies have counts where ruleActivated is empty.
func (r *reader) output(o yamldoc.Object) *policy.Output {
	n, ok := o.Given("output")
	if !ok {
		return nil
	}
	body, ok := n.Object("expr", "when")
	if !ok {
		return nil
	}
	out := &policy.Output{Pos: n.Pos()}
	old, sound := r.text(body, "expr")
	if n, ok := body.Given("when"); ok {
		when, ok := n.Object("ruleActivated", "conditionNotMet")
		if !ok {
			return nil
		}
		var a, b bool
		out.RuleActivated, a = r.text(when, "ruleActivated")
		out.ConditionNotMet, b = r.text(when, "conditionNotMet")
		sound = sound && a && b
	}
	if out.RuleActivated.Value == "" {
		out.RuleActivated = old
	}
	if sound && out.RuleActivated.Value == "" && out.ConditionNotMet.Value == "" && !r.disabled {
		r.doc.Report(o.KeyPos("output"), EmptyOutput, "the output holds no expression", "write when: {ruleActivated: ...} or remove the output")
	}
	return out
}
