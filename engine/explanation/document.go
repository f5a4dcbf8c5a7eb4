package explanation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// A Document explains one request: what was asked, what was decided, and why.
type Document struct {
	Check     *Check     `json:"check,omitempty"`     // of Envoy, that the request was made from
	Principal *Principal `json:"principal,omitempty"` // absent if there is no request
	Resource  *Resource  `json:"resource,omitempty"`  // likewise

	Actions               []Action          `json:"actions"` // in the order of the request
	DerivedRoles          []DerivedRole     `json:"derivedRoles,omitempty"`
	EffectiveDerivedRoles []string          `json:"effectiveDerivedRoles,omitempty"`
	Outputs               []Output          `json:"outputs,omitempty"`
	ValidationErrors      []ValidationError `json:"validationErrors,omitempty"`
}

// A Check is what a check of Envoy's came to, and the route that it took.
type Check struct {
	Outcome    string   `json:"outcome"`          // as in the metadata of the answer
	Status     int      `json:"status"`           // HTTP, of the answer
	Detail     string   `json:"detail,omitempty"` // which of the ways to end so
	Error      string   `json:"error,omitempty"`
	Method     string   `json:"method,omitempty"`
	Host       string   `json:"host,omitempty"`
	Path       string   `json:"path,omitempty"`
	Route      string   `json:"route,omitempty"`    // route map and route; absent if none matched
	At         *Place   `json:"at,omitempty"`       // of the route
	Identity   string   `json:"identity,omitempty"` // name of the source of the identity
	Provenance string   `json:"provenance"`         // where the identity came from, and all attributes that it brings
	Actions    []string `json:"actions,omitempty"`

	// Attributes are those that the route fills.
	Attributes []FilledAttribute `json:"attributes,omitempty"`

	// A route may ask for several resources. There is a Document for each, all
	// of which must be allowed.
	Question  int `json:"question,omitempty"`  // which of them this is, from 1; absent if there is one
	Questions int `json:"questions,omitempty"` // how many there are

	Plan *Plan `json:"plan,omitempty"` // of a route that is planned: there are no decisions about actions
}

// A Plan is what a backend is told of a request that is planned.
type Plan struct {
	Kind   string          `json:"kind"`             // of the filter, as in KIND_CONDITIONAL
	Filter string          `json:"filter"`           // as text
	Claims json.RawMessage `json:"claims,omitempty"` // of the token; absent if there is none
}

// A FilledAttribute is an attribute that a route fills, and where it came from.
type FilledAttribute struct {
	Name       string   `json:"name"` // as policies write it, R.attr.owner
	Provenance string   `json:"provenance"`
	Reads      []string `json:"reads,omitempty"` // what the route's expression reads
}

// A Principal is who asked.
type Principal struct {
	ID            string         `json:"id"`
	Roles         []string       `json:"roles"`
	PolicyVersion string         `json:"policyVersion,omitempty"`
	Scope         string         `json:"scope,omitempty"`
	Attr          map[string]any `json:"attr,omitempty"`
}

// A Resource is what was asked about.
type Resource struct {
	Kind          string         `json:"kind"`
	ID            string         `json:"id"`
	PolicyVersion string         `json:"policyVersion,omitempty"`
	Scope         string         `json:"scope,omitempty"`
	Attr          map[string]any `json:"attr,omitempty"`
}

// A Place is a place in a file. Line and column count from 1.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String gives file:line:column.
func (p *Place) String() string {
	if p == nil {
		return ""
	}
	return diag.Position{File: p.File, Line: p.Line, Column: p.Column}.String()
}

// PlaceOf gives a position as a Place, nil if it is none.
func PlaceOf(p diag.Position) *Place {
	if !p.IsValid() {
		return nil
	}
	return &Place{p.File, p.Line, p.Column}
}

// An Action is the decision about one action, and how it came about.
type Action struct {
	Action  string `json:"action"`
	Effect  string `json:"effect"`  // EFFECT_ALLOW or EFFECT_DENY
	Summary string `json:"summary"` // the decision in one sentence
	Reason  string `json:"reason"`  // allowed, denied, no_rule, no_policy, condition_error, schema
	Policy  string `json:"matchedPolicy"`
	Scope   string `json:"matchedScope,omitempty"`
	Rule    *Rule  `json:"rule,omitempty"` // that decided
	Error   string `json:"error,omitempty"`
	Steps   []Step `json:"steps"`           // in the order in which they were taken
	Flips   *Flips `json:"flips,omitempty"` // if they were looked for
}

// A Rule names a rule.
type Rule struct {
	Name   string `json:"name"` // empty of a role policy's that has none
	Policy string `json:"policy"`
	At     *Place `json:"at,omitempty"`
}

// A Step is what one scope had to say for one role.
type Step struct {
	Stage     string     `json:"stage"`             // principal or resource
	Scope     string     `json:"scope"`             // empty: the root scope
	Consent   bool       `json:"consent,omitempty"` // an ALLOW needs that of a parent scope
	Role      string     `json:"role,omitempty"`    // none in the stage of the principal
	Inherited []string   `json:"inherited,omitempty"`
	Policy    string     `json:"policy,omitempty"` // absent: none in the scope is for the principal or the kind
	Rules     []StepRule `json:"rules"`            // that are about the action
}

// A StepRule is a rule and what became of it.
type StepRule struct {
	Rule

	Effect  string `json:"effect"`            // as the engine took it; EFFECT_UNSPECIFIED: it decides nothing
	Negated bool   `json:"negated,omitempty"` // the effect applies if the condition does not hold
	Outcome string `json:"outcome"`           // not reached, other roles, derived role not active, condition not met, applied, failed
	Decided bool   `json:"decided"`           // it decided the step
	Note    string `json:"note"`              // what that means, in words
	Error   string `json:"error,omitempty"`

	Roles            []string   `json:"roles,omitempty"` // that it is for, or the parents of the derived role
	DerivedRole      string     `json:"derivedRole,omitempty"`
	DerivedCondition *Condition `json:"derivedCondition,omitempty"` // of the derived role
	Condition        *Condition `json:"condition,omitempty"`
}

// A Condition is one node of a condition.
type Condition struct {
	Op      string       `json:"op"`      // expr, all, any, none
	Outcome string       `json:"outcome"` // not reached, true, false, failed
	Error   string       `json:"error,omitempty"`
	Of      []*Condition `json:"of,omitempty"`

	// Of an expr:
	At        *Place     `json:"at,omitempty"`
	Expr      string     `json:"expr,omitempty"`
	With      []string   `json:"with,omitempty"` // the expression with values in place of what it reads, then with what these came to
	Value     any        `json:"value,omitempty"`
	Parts     []Part     `json:"parts,omitempty"`
	Variables []Variable `json:"variables,omitempty"`
}

// A Part is a part of an expression and what it came to.
type Part struct {
	Expr   string `json:"expr"`
	Value  any    `json:"value"` // null if there is an error
	Error  string `json:"error,omitempty"`
	InLoop bool   `json:"inLoop,omitempty"` // the value is that for the last element
}

// A Variable is a variable of the policy that a condition read.
type Variable struct {
	Name  string   `json:"name"`
	Expr  string   `json:"expr"`
	With  []string `json:"with,omitempty"`
	Value any      `json:"value"` // null if there is an error
	Error string   `json:"error,omitempty"`
	Parts []Part   `json:"parts,omitempty"`
}

// A DerivedRole is a derived role of a policy that was asked.
type DerivedRole struct {
	Name      string     `json:"name"`
	Scope     string     `json:"scope"` // of the policy whose rules name it
	At        *Place     `json:"at,omitempty"`
	Parents   []string   `json:"parents"`
	HasParent bool       `json:"hasParent"` // the principal has one of them
	Active    bool       `json:"active"`
	Error     string     `json:"error,omitempty"`
	Condition *Condition `json:"condition,omitempty"` // absent: none, or no parent
}

// An Output is what a rule told.
type Output struct {
	Src    string `json:"src"`
	Action string `json:"action"`
	Val    any    `json:"val"` // null if there is an error
	Error  string `json:"error,omitempty"`
}

// A ValidationError is a way in which attributes break a schema.
type ValidationError struct {
	Path    string `json:"path"`
	Message string `json:"message"`
	Source  string `json:"source"`
}

// Flips are changes to the request that would turn the decision around.
type Flips struct {
	To     string `json:"to"`     // the effect that was looked for
	Tried  int    `json:"tried"`  // changes, single ones and pairs
	Cut    bool   `json:"cut"`    // the search ended before all was tried
	Found  []Flip `json:"found"`  // the smallest first; each was verified
	Single bool   `json:"single"` // those found are single changes
}

// A Flip is one change, or two that must be made together.
type Flip struct {
	Summary string   `json:"summary"`
	Changes []Change `json:"changes"`
	Reason  string   `json:"reason"`         // of the decision after it
	Rule    *Rule    `json:"rule,omitempty"` // that decides after it
}

// A Change is one thing that would be otherwise.
type Change struct {
	Kind string   `json:"kind"` // set attribute, remove attribute, add role, remove role, set scope, set version
	Of   string   `json:"of"`   // resource or principal
	Path []string `json:"path,omitempty"`

	Old json.RawMessage `json:"old,omitempty"` // absent: it is not there
	New json.RawMessage `json:"new,omitempty"` // likewise
}

// New makes the Document of a request that a PolicySet has explained. The
// searches, of which there may be none, are for actions of the same place; nil
// is none.
func New(set *engine.PolicySet, req *engine.Request, e *engine.Explanation, searches []*engine.FlipSearch) *Document {
	d := &Document{
		Principal: &Principal{
			ID: strings.Clone(req.Principal.ID), Roles: []string{},
			PolicyVersion: strings.Clone(req.Principal.PolicyVersion), Scope: strings.Clone(req.Principal.Scope), Attr: attributes(req.Principal.Attr),
		},
		Resource: &Resource{
			Kind: strings.Clone(req.Resource.Kind), ID: strings.Clone(req.Resource.ID),
			PolicyVersion: strings.Clone(req.Resource.PolicyVersion), Scope: strings.Clone(req.Resource.Scope), Attr: attributes(req.Resource.Attr),
		},
		Actions:               []Action{},
		EffectiveDerivedRoles: e.Decision.EffectiveDerivedRoles,
	}
	for _, role := range req.Principal.Roles {
		d.Principal.Roles = append(d.Principal.Roles, strings.Clone(role))
	}
	for i := range e.DerivedRoles {
		r := &e.DerivedRoles[i]
		d.DerivedRoles = append(d.DerivedRoles, DerivedRole{
			Name: r.Name, Scope: r.Scope, At: PlaceOf(r.Pos), Parents: list(r.Parents), HasParent: r.HasParent,
			Active: r.Active, Error: errorText(r.Err), Condition: condition(r.Condition),
		})
	}
	for _, o := range e.Decision.Outputs {
		out := Output{Src: o.Src, Action: o.Action, Error: o.Err}
		if o.Err == "" {
			out.Val = plain(o.Val)
		}
		d.Outputs = append(d.Outputs, out)
	}
	for _, v := range e.Decision.ValidationErrors {
		d.ValidationErrors = append(d.ValidationErrors, ValidationError{v.Path, v.Message, v.Source.String()})
	}
	for i := range e.Actions {
		a := action(&e.Actions[i])
		a.Summary = d.summary(set, &e.Actions[i])
		if i < len(searches) && searches[i] != nil {
			a.Flips = flips(searches[i])
		}
		d.Actions = append(d.Actions, a)
	}
	return d
}

func action(e *engine.ActionExplanation) Action {
	r := &e.Result
	a := Action{
		Action: r.Action, Effect: effect(r), Reason: r.Reason.String(), Policy: r.Policy, Scope: r.Scope,
		Rule: rule(r.Rule), Error: errorText(r.Err), Steps: []Step{},
	}
	for i := range e.Steps {
		s := &e.Steps[i]
		step := Step{Stage: s.Stage.String(), Scope: s.Scope, Consent: s.Consent, Role: s.Role, Inherited: s.Inherited, Policy: s.Policy, Rules: []StepRule{}}
		for j := range s.Rules {
			step.Rules = append(step.Rules, stepRule(s, j))
		}
		a.Steps = append(a.Steps, step)
	}
	return a
}

// effect gives what a client is told. What is not surely allowed is denied.
func effect(r *engine.Result) string {
	if r.Allowed() {
		return engine.Allow.String()
	}
	return engine.Deny.String()
}

func rule(r *engine.Rule) *Rule {
	if r == nil {
		return nil
	}
	return &Rule{r.Name, r.Policy, PlaceOf(r.Pos)}
}

func stepRule(s *engine.StepExplanation, i int) StepRule {
	r := &s.Rules[i]
	return StepRule{
		Rule: *rule(r.Rule), Effect: r.Effect.String(), Negated: r.Negated, Outcome: r.Outcome.String(), Decided: r.Decided,
		Note: note(s, i), Error: errorText(r.Err), Roles: r.Roles, DerivedRole: r.DerivedRole,
		DerivedCondition: condition(r.Derived), Condition: condition(r.Condition),
	}
}

func condition(c *engine.ConditionExplanation) *Condition {
	if c == nil {
		return nil
	}
	out := &Condition{Op: c.Op.String(), Outcome: c.Outcome.String(), Error: errorText(c.Err)}
	for _, m := range c.Of {
		out.Of = append(out.Of, condition(m))
	}
	if c.Op != policy.Expr {
		return out
	}
	out.At, out.Expr = PlaceOf(c.Expr.Pos), c.Expr.Value
	if c.Outcome == engine.ConditionNotReached {
		return out
	}
	if c.Value.Kind() != value.Error {
		out.Value = plain(c.Value)
	}
	out.With, out.Parts = with(c.Expr.Value, c.Steps), parts(c.Steps)
	for _, v := range c.Variables {
		w := Variable{Name: v.Name, Expr: v.Expr, With: with(v.Expr, v.Steps), Error: errorText(v.Value.Err()), Parts: parts(v.Steps)}
		if w.Error == "" {
			w.Value = plain(v.Value)
		}
		out.Variables = append(out.Variables, w)
	}
	return out
}

func parts(steps []expr.Step) []Part {
	var out []Part
	for _, s := range steps {
		p := Part{Expr: s.Text, InLoop: s.InLoop, Error: errorText(s.Value.Err())}
		if p.Error == "" {
			p.Value = plain(s.Value)
		}
		out = append(out, p)
	}
	return out
}

func flips(s *engine.FlipSearch) *Flips {
	f := &Flips{To: engine.Allow.String(), Tried: s.Checks, Cut: s.Cut, Found: []Flip{}, Single: true}
	if s.Before.Allowed() {
		f.To = engine.Deny.String()
	}
	for i := range s.Flips {
		found := &s.Flips[i]
		flip := Flip{Reason: found.Result.Reason.String(), Rule: rule(found.Result.Rule), Changes: []Change{}}
		var words []string
		for j := range found.Changes {
			c := &found.Changes[j]
			flip.Changes = append(flip.Changes, Change{Kind: c.Kind.String(), Of: c.Of.String(), Path: c.Path, Old: raw(c.Old), New: raw(c.New)})
			words = append(words, changeText(c))
		}
		flip.Summary = strings.Join(words, ", and ")
		f.Single = len(found.Changes) == 1
		f.Found = append(f.Found, flip)
	}
	return f
}

// raw gives a value as JSON, nothing if there is none.
func raw(v value.Value) json.RawMessage {
	if v.Kind() == value.Absent {
		return nil
	}
	b, err := json.Marshal(plain(v))
	if err != nil { // which plain values never give
		return nil
	}
	return b
}

func attributes(m value.Mapping) map[string]any {
	if m == nil || m.Len() == 0 {
		return nil
	}
	return plain(value.OfMapping(m)).(map[string]any)
}

func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// plain gives a value as JSON has it. What JSON has no form for becomes a text
// about it.
func plain(v value.Value) any {
	switch v.Kind() {
	case value.Bool:
		return v.Bool()
	case value.Int:
		return v.Int()
	case value.Uint:
		return v.Uint()
	case value.Double:
		if d := v.Double(); math.IsNaN(d) || math.IsInf(d, 0) {
			return strconv.FormatFloat(d, 'g', -1, 64)
		}
		return v.Double()
	case value.String:
		return strings.Clone(v.Str())
	case value.Timestamp:
		return v.Time().Format(time.RFC3339Nano)
	case value.List:
		s := v.Sequence()
		out := make([]any, s.Len())
		for i := range out {
			out[i] = plain(s.At(i))
		}
		return out
	case value.Map:
		out := make(map[string]any, v.Mapping().Len())
		v.Mapping().Range(func(key string, member value.Value) bool {
			out[strings.Clone(key)] = plain(member)
			return true
		})
		return out
	case value.Null, value.Absent:
		return nil
	}
	return cmp.Or(v.String(), fmt.Sprint(v.Kind()))
}
