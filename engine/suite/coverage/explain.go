package coverage

import (
	"edict/engine"
	"edict/engine/policy"
)

// Explain notes what an explanation of a decision tells of rules. Derived roles
// count where a rule asked for them: that they are listed tries nothing.
func (c *Coverage) Explain(e *engine.Explanation) {
	for i := range e.Actions {
		a := &e.Actions[i]
		for j := range a.Steps {
			c.step(a.Result.Action, &a.Steps[j])
		}
	}
}

func (c *Coverage) step(action string, s *engine.StepExplanation) {
	if s.Stage == engine.StageResource && s.Policy != "" {
		c.Decide(s.Policy, s.Role, action)
		for _, role := range s.Inherited {
			c.Decide(s.Policy, role, action)
		}
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		switch r.Outcome {
		case engine.RuleNotReached, engine.RuleForOthers:
			continue
		}
		if r.Rule != nil {
			c.Visit(r.Rule.Pos, r.Outcome == engine.RuleApplied)
		}
		if r.DerivedRole != "" && (r.Outcome == engine.RuleApplied || r.Outcome == engine.RuleConditionNotMet) {
			c.Decide(s.Policy, r.DerivedRole, action)
		}
		c.condition(r.Derived)
		c.condition(r.Condition)
	}
}

func (c *Coverage) condition(e *engine.ConditionExplanation) {
	if e == nil {
		return
	}
	if e.Op == policy.Expr {
		switch e.Outcome {
		case engine.ConditionTrue:
			c.Evaluate(e.Expr.Pos, True)
		case engine.ConditionFalse:
			c.Evaluate(e.Expr.Pos, False)
		case engine.ConditionFailed:
			c.Evaluate(e.Expr.Pos, Failed)
		}
	}
	for _, member := range e.Of {
		c.condition(member)
	}
}
