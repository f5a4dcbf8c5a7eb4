package explanation

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"edict/engine"
	"edict/engine/diag"
)

// JSON writes documents in their stable form: {"results": […]}.
func JSON(w io.Writer, documents []*Document) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Results []*Document `json:"results"`
	}{documents})
}

// TextOptions say how Text shows a document.
type TextOptions struct {
	Color bool // by the escape sequences of terminals
}

// Text writes documents for people to read.
func Text(w io.Writer, documents []*Document, o TextOptions) error {
	t := &text{color: o.Color}
	for i, d := range documents {
		if i > 0 {
			t.line("")
		}
		t.document(d)
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

type text struct {
	b      strings.Builder
	color  bool
	indent int
}

func (t *text) line(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if s != "" {
		t.b.WriteString(strings.Repeat("  ", t.indent))
	}
	t.b.WriteString(s + "\n")
}

// within writes lines further in.
func (t *text) within(write func()) {
	t.indent++
	write()
	t.indent--
}

const (
	red   = "31"
	green = "32"
	bold  = "1"
)

func (t *text) paint(color, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

func (t *text) document(d *Document) {
	for i := range d.Actions {
		a := &d.Actions[i]
		color := red
		if a.Effect == engine.Allow.String() {
			color = green
		}
		t.line("%s", t.paint(color, a.Summary))
	}
	if len(d.Actions) > 0 {
		t.line("")
	}
	if d.Check != nil {
		t.check(d.Check)
	}
	t.request(d)
	for i := range d.Actions {
		t.action(&d.Actions[i])
	}
	t.derivedRoles(d)
	if len(d.Outputs) > 0 {
		t.head("Outputs")
		t.within(func() {
			for _, o := range d.Outputs {
				if o.Error != "" {
					t.line("%s of %q failed: %s", o.Src, o.Action, o.Error)
				} else {
					t.line("%s of %q: %s", o.Src, o.Action, short(o.Val))
				}
			}
		})
	}
	if len(d.ValidationErrors) > 0 {
		t.head("Attributes that break the schema")
		t.within(func() {
			for _, v := range d.ValidationErrors {
				t.line("%s %s: %s", strings.ToLower(strings.TrimPrefix(v.Source, "SOURCE_")), v.Path, v.Message)
			}
		})
	}
}

func (t *text) head(s string) {
	t.line("")
	t.line("%s", t.paint(bold, s))
}

func (t *text) check(c *Check) {
	asked := strings.TrimSpace(fmt.Sprintf("%s %s", c.Method, c.Path))
	if c.Host != "" {
		asked += " at " + c.Host
	}
	if asked != "" {
		// What is refused can hold anything.
		t.line("%s", t.paint(bold, strings.ReplaceAll(diag.Printable(asked), "\n", "\uFFFD")))
	}
	switch {
	case c.Route != "" && c.At != nil:
		t.line("Route      %s at %s", c.Route, c.At)
	case c.Route != "":
		t.line("Route      %s", c.Route)
	default:
		t.line("Route      none matched")
	}
	identity := provenances[c.Provenance]
	if c.Identity != "" {
		identity += fmt.Sprintf(": %s [%s]", c.Identity, c.Provenance)
	}
	t.line("Identity   %s", identity)
	for i, a := range c.Attributes {
		label := "          "
		if i == 0 {
			label = "From route"
		}
		from := a.Provenance
		if len(a.Reads) > 0 {
			from += ", " + strings.Join(a.Reads, ", ")
		}
		t.line("%s %s [%s]", label, a.Name, from)
	}
	outcome := fmt.Sprintf("%s (%d)", c.Outcome, c.Status)
	if c.Detail != "" {
		outcome += ": " + c.Detail
	}
	if c.Error != "" {
		outcome += ": " + c.Error
	}
	t.line("Outcome    %s", outcome)
	if c.Plan != nil {
		t.line("Plan       %s %s", c.Plan.Kind, c.Plan.Filter)
		if c.Plan.Claims != nil {
			t.line("Token      %s", c.Plan.Claims)
		}
	}
	if c.Questions > 0 {
		t.line("Check      %d of %d, all of which must be allowed", c.Question, c.Questions)
	}
}

var provenances = map[string]string{
	"verified-jwt": "a token that was verified",
	"mtls":         "the certificate of the connection's peer",
	"config":       "a key that the configuration knows",
	"proxy":        "headers that a proxy is trusted to set",
	"anonymous":    "nobody, where that is admitted",
	"none":         "none",
}

func (t *text) request(d *Document) {
	if d.Principal == nil {
		return
	}
	t.line("Principal  %s with the %s%s", d.Principal.ID, rolesText(d.Principal.Roles), address(d.Principal.PolicyVersion, d.Principal.Scope))
	t.attributes(d, d.Principal.Attr)
	t.line("Resource   %s%s", strings.TrimSpace(d.Resource.Kind+" "+d.Resource.ID), address(d.Resource.PolicyVersion, d.Resource.Scope))
	t.attributes(d, d.Resource.Attr)
	if d.Check != nil && len(d.Check.Actions) > 0 {
		t.line("Action     %s", strings.Join(d.Check.Actions, ", "))
	}
}

// attributes shows attributes that whoever asks has not written down.
func (t *text) attributes(d *Document, attr map[string]any) {
	if d.Check == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(attr)) {
		t.line("           %s: %s", pathText([]string{name}), short(attr[name]))
	}
}

func address(version, scope string) string {
	var s string
	if version != "" {
		s += ", policy version " + version
	}
	if scope != "" {
		s += ", scope " + scope
	}
	return s
}

func (t *text) action(a *Action) {
	t.head("Why " + a.Action + " is " + map[bool]string{true: "allowed", false: "denied"}[a.Effect == engine.Allow.String()])
	t.within(func() {
		for i := range a.Steps {
			t.step(&a.Steps[i])
		}
		switch {
		case len(a.Steps) > 0:
		case a.Reason == engine.ReasonSchema.String():
			t.line("No rule was asked, since the schemas come first.")
		default:
			t.line("No policy was asked.")
		}
		if a.Flips != nil {
			t.flips(a.Flips)
		}
	})
}

func (t *text) step(s *Step) {
	who := "The principal's policies"
	if s.Stage == engine.StageResource.String() {
		who = "For the role " + s.Role
		if len(s.Inherited) > 0 {
			who += ", which is also " + strings.Join(s.Inherited, ", ")
		}
	}
	where := "in the root scope"
	if s.Scope != "" {
		where = "in the scope " + s.Scope
	}
	if s.Consent {
		where += ", where an ALLOW needs that of a parent"
	}
	switch {
	case s.Policy == "" && len(s.Rules) == 0:
		t.line("%s, %s: there is no policy for it", who, where)
		return
	case s.Policy != "":
		where += ", " + s.Policy
	}
	t.line("%s, %s:", who, where)
	t.within(func() {
		if len(s.Rules) == 0 {
			t.line("- no rule is about the action")
		}
		for i := range s.Rules {
			t.rule(&s.Rules[i])
		}
	})
}

func (t *text) rule(r *StepRule) {
	mark := "-"
	if r.Decided {
		mark = "="
	}
	name := r.Name
	if name == "" {
		name = r.Policy
	}
	effect := map[string]string{engine.Allow.String(): "allow ", engine.Deny.String(): "deny "}[r.Effect]
	if r.Negated && !strings.HasPrefix(r.Policy, "role.") {
		effect = "allow "
	}
	if strings.HasPrefix(r.Policy, "role.") {
		effect = ""
	}
	head := fmt.Sprintf("%s %s%s at %s: %s", mark, effect, name, r.At, r.Note)
	if r.At == nil {
		head = fmt.Sprintf("%s %s%s: %s", mark, effect, name, r.Note)
	}
	if r.Decided {
		head = t.paint(bold, head)
	}
	t.line("%s", head)
	t.within(func() {
		t.within(func() {
			if r.DerivedCondition != nil {
				t.condition(r.DerivedRole+": ", r.DerivedCondition)
			}
			if r.Condition != nil {
				t.condition("", r.Condition)
			}
		})
	})
}

func (t *text) condition(prefix string, c *Condition) {
	if c.Op != "expr" {
		outcome := c.Outcome
		if c.Error != "" {
			outcome += ": " + c.Error
		}
		t.line("%s%s of → %s", prefix, c.Op, outcome)
		t.within(func() {
			for _, m := range c.Of {
				t.condition("", m)
			}
		})
		return
	}
	t.chain(prefix+oneLine(c.Expr), c.With, outcome(c))
	t.within(func() {
		for _, v := range c.Variables {
			end := short(v.Value)
			if v.Error != "" {
				end = "failed: " + v.Error
			}
			t.chain(v.Name+" = "+oneLine(v.Expr), v.With, end)
		}
	})
}

// maxLine is how many characters a chain may have on one line.
const maxLine = 100

// chain shows an expression, the forms that it took, and what it came to.
func (t *text) chain(first string, with []string, last string) {
	chain := append([]string{first}, with...)
	if chain[len(chain)-1] != last {
		chain = append(chain, last)
	}
	if one := strings.Join(chain, " → "); utf8.RuneCountInString(one) <= maxLine {
		t.line("%s", one)
		return
	}
	t.line("%s", first)
	t.within(func() {
		for _, next := range chain[1:] {
			t.line("→ %s", next)
		}
	})
}

// outcome gives what an expression came to. One that gave no truth value shows
// what it gave.
func outcome(c *Condition) string {
	switch {
	case c.Error != "":
		return "failed: " + c.Error
	case c.Outcome == engine.ConditionFalse.String() && c.Value != false:
		return short(c.Value) + ", which is not true"
	}
	return c.Outcome
}

func (t *text) flips(f *Flips) {
	do := "allow"
	if f.To == engine.Deny.String() {
		do = "deny"
	}
	tried := fmt.Sprintf("%d changes were tried", f.Tried)
	if f.Tried == 1 {
		tried = "1 change was tried"
	}
	if f.Cut {
		tried += ", and there are more"
	}
	switch {
	case len(f.Found) == 0 && f.Tried == 0:
		t.line("The policies name nothing that could be changed to %s it.", do)
		return
	case len(f.Found) == 0:
		t.line("No change was found that would %s it (%s).", do, tried)
		return
	case f.Single:
		t.line("To %s it: %s.", do, f.Found[0].Summary)
	default:
		t.line("No single change was found that would %s it. Two together do: %s.", do, f.Found[0].Summary)
	}
	t.within(func() {
		if r := f.Found[0].Rule; r != nil {
			t.line("Then %s decides, at %s.", ruleName(r), r.At)
		}
		for _, alternative := range f.Found[1:] {
			t.line("Or: %s.", alternative.Summary)
		}
	})
}

func ruleName(r *Rule) string {
	if r.Name == "" {
		return r.Policy
	}
	return r.Name
}

func (t *text) derivedRoles(d *Document) {
	if len(d.DerivedRoles) == 0 {
		return
	}
	t.head("Derived roles")
	t.within(func() {
		for i := range d.DerivedRoles {
			r := &d.DerivedRoles[i]
			what := "not active"
			switch {
			case r.Active:
				what = "active"
			case r.Error != "":
				what = "could not be evaluated"
			case !r.HasParent:
				what += ": the principal has none of the roles " + strings.Join(r.Parents, ", ")
			}
			if r.Scope != "" {
				what = "in the scope " + r.Scope + " " + what
			}
			t.line("- %s at %s: %s", r.Name, r.At, what)
			if r.Condition != nil {
				t.within(func() { t.within(func() { t.condition("", r.Condition) }) })
			}
		}
	})
}
