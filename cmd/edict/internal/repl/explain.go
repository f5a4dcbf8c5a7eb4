package repl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
)

// printSteps writes what the parts of an expression came to.
func (s *Session) printSteps(margin string, steps []expr.Step) {
	for _, step := range steps {
		text := strings.Join(strings.Fields(step.Text), " ")
		if step.InLoop {
			text += s.faint(" (last)")
		}
		s.print(margin+text+" = ", step.Value, "")
	}
}

// actions gives the actions of the argument, or else of the request.
func (s *Session) actions(in input) ([]string, error) {
	if actions := strings.Fields(in.arg); len(actions) > 0 {
		return actions, nil
	}
	if len(s.request.Actions) > 0 {
		return s.request.Actions, nil
	}
	return nil, s.at(in, "here an action was expected", fmt.Sprintf("name one, as in :%s view", in.directive))
}

// check decides, and writes one line per action.
func (s *Session) check(in input) error {
	actions, err := s.actions(in)
	if err != nil {
		return err
	}
	r := *s.request
	r.Actions = actions
	var d engine.Decision
	s.set.Check(&r, &d)
	for i := range d.Results {
		fmt.Fprintln(s.Out, s.decided(&d.Results[i]))
	}
	for _, o := range d.Outputs {
		text := "error: " + o.Err
		if o.Err == "" {
			text = format(o.Val)
		}
		fmt.Fprintf(s.Out, "output of %s for %s: %s\n", o.Src, o.Action, text)
	}
	for _, v := range d.ValidationErrors {
		fmt.Fprintf(s.Out, "%s %s: %s\n", strings.ToLower(strings.TrimPrefix(v.Source.String(), "SOURCE_")), v.Path, v.Message)
	}
	return nil
}

// decided tells in a line what became of an action, and by what.
func (s *Session) decided(r *engine.Result) string {
	line := r.Action + ": " + r.Effect.String()
	if s.Color {
		color := "31"
		if r.Allowed() {
			color = "32"
		}
		line = fmt.Sprintf("%s: \x1b[%sm%s\x1b[0m", r.Action, color, r.Effect)
	}
	switch {
	case r.Rule != nil:
		line += fmt.Sprintf(" by %s, %s", cmp.Or(r.Rule.Name, "what the role policy does not list"), r.Rule.Pos)
	case r.Reason == engine.ReasonNoPolicy:
		line += ", since no policy is about the resource"
	case r.Reason == engine.ReasonNoRule:
		line += fmt.Sprintf(", since no rule of %s allows it", r.Policy)
	case r.Reason == engine.ReasonSchema:
		line += ", since attributes break the schema"
	}
	if r.Err != nil {
		line += fmt.Sprintf(", since its condition failed: %v", r.Err)
	}
	return line
}

// explain decides one action, and tells how.
func (s *Session) explain(in input) error {
	actions, err := s.actions(in)
	if err != nil {
		return err
	}
	r := *s.request
	r.Actions = actions
	e := s.set.Explain(&r)
	for i := range e.Actions {
		a := &e.Actions[i]
		fmt.Fprintln(s.Out, s.decided(&a.Result))
		for j := range a.Steps {
			s.explainStep(&a.Steps[j])
		}
	}
	for _, d := range e.DerivedRoles {
		what := "not active"
		switch {
		case d.Active:
			what = "active"
		case !d.HasParent:
			what = "not active, since the principal has no parent role"
		}
		fmt.Fprintf(s.Out, "  derived role %s: %s, %s\n", d.Name, what, d.Pos)
		s.explainCondition(d.Condition, "    ")
	}
	return nil
}

func (s *Session) explainStep(step *engine.StepExplanation) {
	what := step.Stage.String() + " policies"
	if step.Role != "" {
		what = "role " + strings.Join(slices.Concat([]string{step.Role}, step.Inherited), ", ")
	}
	if step.Scope != "" {
		what += ", scope " + step.Scope
	}
	fmt.Fprintf(s.Out, "  %s: %s\n", what, cmp.Or(step.Policy, "no policy"))
	for i := range step.Rules {
		r := &step.Rules[i]
		if r.Outcome == engine.RuleForOthers {
			continue
		}
		derived := ""
		if r.DerivedRole != "" {
			derived = " by derived role " + r.DerivedRole
		}
		fmt.Fprintf(s.Out, "    %s %s%s: %s, %s\n", effect(r.Effect), cmp.Or(r.Rule.Name, "unlisted"), derived, r.Outcome, r.Rule.Pos)
		if r.Err != nil {
			fmt.Fprintf(s.Out, "      error: %v\n", r.Err)
		}
		s.explainCondition(r.Condition, "      ")
	}
}

func (s *Session) explainCondition(c *engine.ConditionExplanation, margin string) {
	switch {
	case c == nil:
	case c.Op != policy.Expr:
		fmt.Fprintf(s.Out, "%s%s: %s\n", margin, c.Op, c.Outcome)
		for _, member := range c.Of {
			s.explainCondition(member, margin+"  ")
		}
	case c.Outcome == engine.ConditionNotReached:
		fmt.Fprintf(s.Out, "%s%s: not reached\n", margin, oneLine(c.Expr))
	case c.Err != nil:
		fmt.Fprintf(s.Out, "%s%s: error: %v\n", margin, oneLine(c.Expr), c.Err)
	default:
		s.print(margin+oneLine(c.Expr)+" = ", c.Value, "")
	}
	if c != nil && len(c.Steps) > 1 {
		s.printSteps(margin+"  ", c.Steps[1:])
	}
}

func oneLine(text diag.Text) string { return strings.Join(strings.Fields(text.Value), " ") }
