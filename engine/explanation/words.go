package explanation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// summary gives the decision about an action in one sentence.
func (d *Document) summary(set *engine.PolicySet, a *engine.ActionExplanation) string {
	r := &a.Result
	action := strconv.Quote(r.Action)
	if r.Allowed() {
		return fmt.Sprintf("%s is allowed%s by %s.", action, forRole(a), ruleText(r.Rule))
	}
	denied := action + " is denied"
	switch r.Reason {
	case engine.ReasonDenied:
		denied += forRole(a) + d.deniedBy(a)
		if s, _ := decisive(a); s != nil && s.Role != "" && len(d.Principal.Roles) > 1 {
			denied += "; no other role of the principal allows it"
		}
		return denied + "."
	case engine.ReasonError:
		return fmt.Sprintf("%s%s, because %s could not be evaluated: %s.", denied, forRole(a), ruleText(r.Rule), errorText(r.Err))
	case engine.ReasonNoRule:
		return fmt.Sprintf("%s: no rule of %s allows it to a principal with the %s%s.", denied, policiesAsked(a), rolesText(d.Principal.Roles), nearest(a))
	case engine.ReasonNoPolicy:
		return denied + ": " + d.noPolicy(set)
	case engine.ReasonSchema:
		text := denied + ", because attributes break a schema"
		if len(d.ValidationErrors) > 0 {
			v := d.ValidationErrors[0]
			source := "the principal's"
			if v.Source == engine.SourceResource.String() {
				source = "the resource's"
			}
			text += fmt.Sprintf(": %s %s: %s", source, v.Path, v.Message)
		}
		return text + "."
	}
	return denied + ": it was not decided."
}

// deniedBy tells which rule denies, and how.
func (d *Document) deniedBy(a *engine.ActionExplanation) string {
	r := a.Result.Rule
	_, by := decisive(a)
	switch {
	case r == nil || by == nil:
		return ""
	case isRolePolicy(r) && by.Condition == nil:
		return fmt.Sprintf(": the role policy %s at %s does not list it", r.Policy, r.Pos)
	case isRolePolicy(r):
		return fmt.Sprintf(": the role policy %s lists it under a condition that does not hold, in %s", r.Policy, ruleText(r))
	case by.Negated:
		return fmt.Sprintf(": the condition of %s does not hold, and the scope %s asks for it before a parent may allow", ruleText(r), scopeText(a.Result.Scope))
	}
	return fmt.Sprintf(" by %s", ruleText(r))
}

func (d *Document) noPolicy(set *engine.PolicySet) string {
	kinds := set.Kinds()
	if _, found := slices.BinarySearch(kinds, policy.Sanitize(d.Resource.Kind)); found {
		return fmt.Sprintf("no policy for the resource kind %q is in the version and the scope that were asked for.", d.Resource.Kind)
	}
	text := fmt.Sprintf("no policy is for the resource kind %q", d.Resource.Kind)
	if hint := diag.DidYouMean(d.Resource.Kind, kinds); hint != "" {
		return text + "; " + hint
	}
	return text + "."
}

// nearest tells why a rule that would have allowed did not: the first that is
// for one of the roles, if possible one whose derived role is active.
func nearest(a *engine.ActionExplanation) string {
	var inactive *engine.RuleExplanation
	for i := range a.Steps {
		for j := range a.Steps[i].Rules {
			r := &a.Steps[i].Rules[j]
			switch {
			case r.Effect != engine.Allow:
			case r.Outcome == engine.RuleConditionNotMet:
				return fmt.Sprintf("; the condition of %s does not hold", ruleText(r.Rule))
			case r.Outcome == engine.RuleDerivedInactive && inactive == nil:
				inactive = r
			}
		}
	}
	if inactive == nil {
		return ""
	}
	return fmt.Sprintf("; the derived role %s of %s is not active", inactive.DerivedRole, ruleText(inactive.Rule))
}

// decisive gives the step and the rule that decided the action; nil if none did.
func decisive(a *engine.ActionExplanation) (*engine.StepExplanation, *engine.RuleExplanation) {
	for i := range a.Steps {
		s := &a.Steps[i]
		for j := range s.Rules {
			if r := &s.Rules[j]; r.Decided && r.Rule == a.Result.Rule {
				return s, r
			}
		}
	}
	return nil, nil
}

// forRole tells the role that an action was decided for, if one was.
func forRole(a *engine.ActionExplanation) string {
	s, r := decisive(a)
	if s == nil || s.Role == "" {
		return ""
	}
	text := " to the role " + s.Role
	if r.DerivedRole != "" && r.Outcome == engine.RuleApplied {
		text += " as " + r.DerivedRole
	}
	return text
}

func ruleText(r *engine.Rule) string {
	switch {
	case r == nil:
		return "no rule"
	case r.Name == "" && r.Pos.IsValid():
		return "the rule at " + r.Pos.String()
	case !r.Pos.IsValid():
		return fmt.Sprintf("the rule %s of %s", r.Name, r.Policy)
	}
	return fmt.Sprintf("the rule %s at %s", r.Name, r.Pos)
}

func isRolePolicy(r *engine.Rule) bool { return strings.HasPrefix(r.Policy, "role.") }

func scopeText(scope string) string { return cmp.Or(scope, "(root)") }

func rolesText(roles []string) string {
	switch len(roles) {
	case 0:
		return "roles (none)"
	case 1:
		return "role " + roles[0]
	}
	return "roles " + strings.Join(roles, ", ")
}

// policiesAsked lists the policies that had something to say, the most specific
// first.
func policiesAsked(a *engine.ActionExplanation) string {
	var keys []string
	for i := range a.Steps {
		if k := a.Steps[i].Policy; k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return a.Result.Policy
	}
	return strings.Join(keys, ", ")
}

// note says in words what became of a rule.
func note(s *engine.StepExplanation, i int) string {
	r := &s.Rules[i]
	who := rolesText(r.Roles)
	if r.DerivedRole != "" {
		who = fmt.Sprintf("the derived role %s of the %s", r.DerivedRole, who)
	} else {
		who = "the " + who
	}
	switch r.Outcome {
	case engine.RuleNotReached:
		return "not looked at, since " + earlier(s, i) + " had decided"
	case engine.RuleForOthers:
		return "for " + who + " only"
	case engine.RuleDerivedInactive:
		return fmt.Sprintf("the derived role %s is not active", r.DerivedRole)
	case engine.RuleFailed:
		return "could not be evaluated, which denies under strict evaluation"
	case engine.RuleConditionNotMet:
		switch {
		case isRolePolicy(r.Rule):
			return "lists the action, and its condition holds"
		case r.Negated:
			return "its condition holds; a parent scope must allow, too"
		}
		return "its condition does not hold"
	}
	switch {
	case isRolePolicy(r.Rule) && r.Effect == policy.NoEffect:
		return "lists the action"
	case isRolePolicy(r.Rule) && r.Condition == nil:
		return "does not list the action, and decided"
	case r.Negated:
		return "its condition does not hold, which denies here, and decided"
	case r.Decided:
		return "applies, and decided"
	case r.Effect == policy.NoEffect:
		return "applies, and has no effect"
	case s.Consent && r.Effect == engine.Allow:
		return "applies; a parent scope must allow, too"
	}
	for j := range s.Rules {
		if o := &s.Rules[j]; o.Decided && j != i {
			switch {
			case o.Outcome == engine.RuleFailed:
				return "applies, but " + named(o.Rule) + " could not be evaluated"
			case o.Effect == engine.Deny:
				return "applies, but is outweighed by " + named(o.Rule)
			}
			return "applies, too; " + named(o.Rule) + " came first"
		}
	}
	return "applies"
}

func earlier(s *engine.StepExplanation, i int) string {
	for j := range s.Rules[:i] {
		if s.Rules[j].Decided {
			return named(s.Rules[j].Rule)
		}
	}
	return "another rule"
}

func named(r *engine.Rule) string {
	if r.Name == "" {
		return "the rule at " + r.Pos.String()
	}
	return r.Name
}

// changeText gives a change as an order.
func changeText(c *engine.Change) string {
	attribute := fmt.Sprintf("the %s's attribute %s", c.Of, pathText(c.Path))
	switch c.Kind {
	case engine.AddRole:
		return "give the principal the role " + c.New.Str()
	case engine.RemoveRole:
		return "take the role " + c.Old.Str() + " from the principal"
	case engine.RemoveAttribute:
		return fmt.Sprintf("remove %s, which is %s", attribute, short(plain(c.Old)))
	case engine.SetScope:
		return fmt.Sprintf("ask in the scope %s instead of %s", scopeText(c.New.Str()), scopeText(c.Old.Str()))
	case engine.SetVersion:
		return fmt.Sprintf("ask for the policy version %s instead of %s", c.New.Str(), c.Old.Str())
	}
	if c.Old.Kind() == value.Absent {
		return fmt.Sprintf("add %s with %s", attribute, short(plain(c.New)))
	}
	return fmt.Sprintf("change %s from %s to %s", attribute, short(plain(c.Old)), short(plain(c.New)))
}

// pathText writes a path as CEL selects it.
func pathText(path []string) string {
	var b strings.Builder
	for i, name := range path {
		plain := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
		switch {
		case i > 0 && !plain:
			fmt.Fprintf(&b, "[%q]", name)
		case i > 0:
			b.WriteString("." + name)
		case plain:
			b.WriteString(name)
		default:
			b.WriteString(strconv.Quote(name))
		}
	}
	return b.String()
}

// maxValue is how many characters of a value are shown within an expression.
const maxValue = 60

// short gives a value as JSON, cut where it is long.
func short(v any) string {
	b, err := json.Marshal(v)
	text := string(b)
	if err != nil {
		text = fmt.Sprint(v)
	}
	text = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(text)
	if runes := []rune(text); len(runes) > maxValue {
		closing := map[rune]string{'[': "]", '{': "}", '"': `"`}[runes[0]]
		text = string(runes[:maxValue-1-len(closing)]) + "…" + closing
	}
	return text
}

// A span is a part of an expression by its place, in runes.
type span struct {
	start, end int
	step       *expr.Step
}

// with writes an expression with values put in: once for all that it reads, and
// once, where that tells more, for its largest parts. What failed, and what a
// loop gives another value each time, stays as it is written.
func with(source string, steps []expr.Step) []string {
	runes := []rune(source)
	lineStart := []int{0}
	for i, r := range runes {
		if r == '\n' {
			lineStart = append(lineStart, i+1)
		}
	}
	var spans []span
	for i := range steps {
		s := &steps[i]
		if s.Line < 1 || s.Line > len(lineStart) || s.InLoop && !readsRequest(s.Text) {
			continue
		}
		start := lineStart[s.Line-1] + s.Column - 1
		end := start + len([]rune(s.Text))
		if end <= len(runes) && string(runes[start:end]) == s.Text && end-start < len(runes) {
			spans = append(spans, span{start, end, s})
		}
	}
	inside := func(a, b span) bool { return a != b && a.start >= b.start && a.end <= b.end }
	var atoms, largest []span
	more := false
	for _, s := range spans {
		atom := !slices.ContainsFunc(spans, func(o span) bool { return inside(o, s) })
		outermost := !slices.ContainsFunc(spans, func(o span) bool { return inside(s, o) })
		if s.step.Value.Kind() == value.Error {
			continue
		}
		if atom {
			atoms = append(atoms, s)
		}
		if outermost {
			largest = append(largest, s)
			more = more || !atom
		}
	}
	var out []string
	if len(atoms) > 0 {
		out = append(out, replace(runes, atoms))
	}
	if more {
		out = append(out, replace(runes, largest))
	}
	return out
}

// readsRequest tells whether the text of a part is a path from one of the names
// that stay what they are in a loop.
func readsRequest(text string) bool {
	name, _, found := strings.Cut(text, ".")
	return found && slices.Contains([]string{"P", "R", "V", "C", "G", "request", "variables", "constants", "globals", "runtime"}, name) &&
		!strings.ContainsAny(text, "()[]")
}

func replace(runes []rune, spans []span) string {
	slices.SortFunc(spans, func(a, b span) int { return a.start - b.start })
	var b strings.Builder
	at := 0
	for _, s := range spans {
		if s.start < at {
			continue
		}
		b.WriteString(string(runes[at:s.start]))
		b.WriteString(short(plain(s.step.Value)))
		at = s.end
	}
	b.WriteString(string(runes[at:]))
	return oneLine(b.String())
}

// oneLine puts an expression of several lines on one.
func oneLine(source string) string {
	if !strings.Contains(source, "\n") {
		return strings.TrimSpace(source)
	}
	return strings.Join(strings.Fields(source), " ")
}
