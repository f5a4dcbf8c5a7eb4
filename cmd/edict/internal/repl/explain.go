package repl

import (
	"cmp"
	"fmt"
	"strings"

	"edict/engine"
	"edict/engine/explanation"
	"edict/engine/expr"
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

// explain decides, tells how and, of what is denied, what would allow it.
func (s *Session) explain(in input) error {
	actions, err := s.actions(in)
	if err != nil {
		return err
	}
	r := *s.request
	r.Actions = actions
	e := s.set.Explain(&r)
	flips := make([]*engine.FlipSearch, len(actions))
	for i, action := range actions {
		if i < len(e.Decision.Results) && !e.Decision.Results[i].Allowed() {
			flips[i] = s.set.Flips(&r, action, engine.FlipLimits{})
		}
	}
	document := explanation.New(s.set, &r, e, flips)
	return explanation.Text(s.Out, []*explanation.Document{document}, explanation.TextOptions{Color: s.Color})
}
