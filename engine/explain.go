package engine

import (
	"errors"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// An Explanation says how a request came to its decision. It was recorded
// while the decision was made, and shares nothing with the request: it stays
// good whatever becomes of the memory that the request was read from.
type Explanation struct {
	Decision Decision
	Actions  []ActionExplanation // in the order of the request

	// DerivedRoles are those that rules of the visited policies name, by scope
	// from the most specific on.
	DerivedRoles []DerivedRoleExplanation
}

// An ActionExplanation says how one action was decided: the steps that were
// taken, in order, until one decided or none was left.
type ActionExplanation struct {
	Result Result
	Steps  []StepExplanation
}

// Stage says whose policies are asked.
type Stage uint8

// The stages, in the order in which they are asked.
const (
	StagePrincipal Stage = iota
	StageResource
)

// String gives principal or resource.
func (s Stage) String() string { return [...]string{"principal", "resource"}[s] }

// A StepExplanation is what one scope had to say for one role.
type StepExplanation struct {
	Stage     Stage
	Scope     string
	Consent   bool     // an ALLOW in the scope needs that of a parent
	Role      string   // of the principal; empty in the principal stage
	Inherited []string // roles that it stands for as well
	Policy    string   // key of the policy for the principal or resource; empty: there is none in the scope
	Rules     []RuleExplanation
}

// RuleOutcome says what became of a rule that is about the action.
type RuleOutcome uint8

// The outcomes of rules.
const (
	RuleNotReached      RuleOutcome = iota // something before it had decided
	RuleForOthers                          // it is for none of the roles
	RuleDerivedInactive                    // its derived role is not active
	RuleConditionNotMet                    // its condition does not hold
	RuleApplied                            // it allows, denies, or has only an output
	RuleFailed                             // its condition or derived role could not be evaluated
)

// String gives the outcome in a word or two.
func (o RuleOutcome) String() string {
	return [...]string{"not reached", "other roles", "derived role not active", "condition not met", "applied", "failed"}[o]
}

// A RuleExplanation is what one rule had to say. A rule that names both roles
// and derived roles is there once for the roles and once for each derived role.
type RuleExplanation struct {
	Rule    *Rule
	Effect  Effect // as the engine takes it
	Negated bool   // the effect applies if the condition does not hold
	Outcome RuleOutcome
	Decided bool // it decided the step

	Roles       []string              // that the rule is for, or the parents of the derived role; none in the principal stage and in role policies
	DerivedRole string                // that the rule names; empty: none
	Derived     *ConditionExplanation // of the derived role; nil: it has none
	Condition   *ConditionExplanation // of the rule; nil: it has none
	Err         error
}

// A DerivedRoleExplanation says whether a derived role is active.
type DerivedRoleExplanation struct {
	Name      string
	Scope     string
	Pos       diag.Position // of the definition
	Parents   []string
	HasParent bool // the principal has one of them
	Active    bool
	Condition *ConditionExplanation // nil: it has none, or no parent matches
	Err       error
}

// ConditionOutcome is what a condition, or a part of it, came to.
type ConditionOutcome uint8

// The outcomes of conditions.
const (
	ConditionNotReached ConditionOutcome = iota // the rest had settled it
	ConditionTrue
	ConditionFalse
	ConditionFailed
)

// String gives the outcome in a word or two.
func (o ConditionOutcome) String() string {
	return [...]string{"not reached", "true", "false", "failed"}[o]
}

// A ConditionExplanation is one node of a condition with what it came to.
type ConditionExplanation struct {
	Op      policy.Operator
	Outcome ConditionOutcome
	Err     error // why a leaf, or a condition that can't be evaluated as a whole, failed

	// Of a leaf:
	Expr      diag.Text
	Value     value.Value           // of the whole expression; an Opaque one holds a text about it
	Steps     []expr.Step           // of its parts, in the order of the text
	Variables []VariableExplanation // that it reads, and those that they read, each once

	Of []*ConditionExplanation // of the others
}

// A VariableExplanation is a variable of the policy that a condition reads,
// with what it came to. An Opaque value holds a text about it.
type VariableExplanation struct {
	Name  string
	Expr  string
	Value value.Value // of kind Error if it could not be evaluated
	Steps []expr.Step
}

// Explain decides like Check, and tells how. It costs many times as much.
func (ps *PolicySet) Explain(req *Request) *Explanation {
	r := *req
	r.IncludeMeta = true
	e := &Explanation{}
	st := newState(ps)
	st.trace = &trace{explanation: e, env: ps.env}
	ps.check(st, &r, &e.Decision)
	for i := range e.Actions {
		e.Actions[i].Result = e.Decision.Results[i]
	}
	for i := len(e.Actions); i < len(e.Decision.Results); i++ {
		e.Actions = append(e.Actions, ActionExplanation{Result: e.Decision.Results[i]})
	}
	e.detach()
	return e
}

// detach copies what still lies in the memory of the request. The rest was
// copied when it was noted, or belongs to the policies.
func (e *Explanation) detach() {
	result := func(r *Result) {
		r.Action, r.Policy, r.Scope, r.Err = strings.Clone(r.Action), strings.Clone(r.Policy), strings.Clone(r.Scope), detachedError(r.Err)
	}
	d := &e.Decision
	for i := range d.Results {
		result(&d.Results[i])
	}
	for i := range d.Outputs {
		o := &d.Outputs[i]
		o.Action, o.Err = strings.Clone(o.Action), strings.Clone(o.Err)
	}
	for i := range d.ValidationErrors {
		v := &d.ValidationErrors[i]
		v.Path, v.Message = strings.Clone(v.Path), strings.Clone(v.Message)
	}
	for i := range e.Actions {
		result(&e.Actions[i].Result)
	}
}

// detachedError gives an error that holds nothing but its text.
func detachedError(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.Clone(err.Error()))
}

// detached gives a value that an expression gave as one that shares nothing
// with the request. What has no form in JSON becomes a text about it, in a value
// of kind Opaque; scalars stay what they are.
func (st *state) detached(v value.Value) value.Value {
	switch v.Kind() {
	case value.Error:
		return value.OfError(detachedError(v.Err()))
	case value.List, value.Map, value.Opaque:
		plain, err := st.frame.Copy(v, nil)
		if err != nil {
			return value.OfOpaque(strings.Clone(v.String()))
		}
		return plain
	case value.String:
		return value.OfString(strings.Clone(v.Str()))
	case value.Bytes:
		return value.OfBytes([]byte(v.Str()))
	}
	return v
}

// A trace records what a state does, for Explain.
type trace struct {
	explanation *Explanation
	env         *expr.Env
	step        *StepExplanation
	unit        *unit // of the step; nil: none
}

// action begins an action.
func (t *trace) action() {
	t.explanation.Actions = append(t.explanation.Actions, ActionExplanation{})
	t.step, t.unit = nil, nil
}

// begin begins a step.
func (t *trace) begin(s StepExplanation) {
	a := &t.explanation.Actions[len(t.explanation.Actions)-1]
	a.Steps = append(a.Steps, s)
	t.step = &a.Steps[len(a.Steps)-1]
}

// beginResource begins a step of the resource stage, for the i-th role.
func (t *trace) beginResource(st *state, s *step, i int) {
	role := st.req.Principal.Roles[i]
	step := StepExplanation{
		Stage: StageResource, Scope: s.scope.name, Consent: s.scope.consent,
		Role: strings.Clone(role), Inherited: slices.Clone(st.set.inherited[st.resource.exact][role]),
	}
	if s.unit != nil {
		step.Policy = s.unit.key
	}
	t.begin(step)
	t.unit = s.unit
}

// others notes a rule that is about the action and not for the role.
func (t *trace) others(r *row) {
	t.step.Rules = append(t.step.Rules, t.rule(r, RuleForOthers))
}

// unreached notes the rows after the one that ended the role.
func (t *trace) unreached(rows []row, about []int32, role bits, last *row) {
	after := false
	for _, i := range about {
		r := &rows[i]
		switch {
		case r == last:
			after = true
		case after && role != nil && !r.roles.intersects(role):
			t.others(r)
		case after:
			t.step.Rules = append(t.step.Rules, t.rule(r, RuleNotReached))
		}
	}
}

// rule begins the explanation of a row.
func (t *trace) rule(r *row, o RuleOutcome) RuleExplanation {
	e := RuleExplanation{Rule: r.rule, Effect: r.effect, Negated: r.negated, Outcome: o}
	switch {
	case r.derived != nil:
		e.DerivedRole, e.Roles = r.derived.name, textValues(r.derived.definition.ParentRoles)
	case t.unit != nil:
		if i := slices.Index(t.unit.rules, r.rule); i >= 0 {
			e.Roles = textValues(t.unit.source.Resource.Rules[i].Roles)
		}
	}
	return e
}

// visit notes what a row came to.
func (t *trace) visit(st *state, r *row, ok bool, err error) {
	e := t.rule(r, RuleConditionNotMet)
	e.Err = detachedError(err)
	derived := true
	if r.derived != nil && r.derived.condition != nil {
		derived, _ = st.outcome(r.derived.condition)
		e.Derived = t.condition(st, r.derived.condition, r.derived.definition.Condition)
	}
	if derived && r.condition != nil {
		e.Condition = t.condition(st, r.condition, r.written)
	}
	switch {
	case err != nil:
		e.Outcome, e.Decided = RuleFailed, true
	case ok:
		e.Outcome, e.Decided = RuleApplied, r.effect == Deny
	case !derived:
		e.Outcome = RuleDerivedInactive
	}
	t.step.Rules = append(t.step.Rules, e)
}

// allowed notes that a rule decided the step.
func (t *trace) allowed(r *Rule) {
	for i := range t.step.Rules {
		if e := &t.step.Rules[i]; e.Rule == r && e.Outcome == RuleApplied {
			e.Decided = true
			return
		}
	}
}

// unlisted notes that a role policy does not list the action.
func (t *trace) unlisted(a *allowList) {
	t.step.Rules = append(t.step.Rules, RuleExplanation{Rule: a.unlisted(), Effect: Deny, Outcome: RuleApplied, Decided: true})
}

// condition evaluates a condition once more, keeping what its parts come to.
func (t *trace) condition(st *state, c *condition, written *policy.Condition) *ConditionExplanation {
	if c.early { // it is not evaluated at all
		e := notReached(written)
		e.Outcome, e.Err = ConditionFailed, errEarly
		return e
	}
	defer t.aside(st)()
	back := st.enter(c.module)
	defer st.enter(back)
	return t.node(st, c.root, written)
}

// aside makes what is evaluated from now on leave no trace in the decision: it
// takes none of the steps that an expression may take, and does not count as
// reading the clock. The result ends that.
func (t *trace) aside(st *state) (end func()) {
	frame := st.frame
	before := *frame
	other := t.env.NewFrame()
	other.Reset(before.Now())
	for slot := range slotRuntime + 1 { // the last one
		other.Set(slot, before.Get(slot))
	}
	*frame = *other
	return func() { *frame = before }
}

func (t *trace) node(st *state, n *conditionNode, written *policy.Condition) *ConditionExplanation {
	e := &ConditionExplanation{Op: n.op, Expr: written.Expr}
	if n.op == policy.Expr {
		ok, err := n.program.Truth(st.frame)
		switch {
		case err != nil:
			e.Outcome, e.Err = ConditionFailed, detachedError(err)
		case ok:
			e.Outcome = ConditionTrue
		default:
			e.Outcome = ConditionFalse
		}
		e.Steps, e.Value = t.steps(st, n.program)
		e.Variables = t.variables(st, n.program, nil)
		return e
	}
	stopAt, stopped := n.op != policy.All, n.op == policy.Any
	result, done, failed := !stopped, false, false
	for i, member := range n.of {
		if done {
			e.Of = append(e.Of, notReached(written.Of[i]))
			continue
		}
		m := t.node(st, member, written.Of[i])
		e.Of = append(e.Of, m)
		switch {
		case m.Outcome == ConditionFailed && !st.set.options.LenientEvaluation:
			failed, done = true, true
		case (m.Outcome == ConditionTrue) == stopAt:
			result, done = stopped, true
		}
	}
	switch {
	case failed:
		e.Outcome = ConditionFailed
	case result:
		e.Outcome = ConditionTrue
	default:
		e.Outcome = ConditionFalse
	}
	return e
}

// steps traces an expression.
func (t *trace) steps(st *state, p *expr.Program) ([]expr.Step, value.Value) {
	steps, result := p.Trace(st.frame)
	for i := range steps {
		steps[i].Value = st.detached(steps[i].Value)
	}
	return steps, st.detached(result)
}

// variables traces the variables that an expression of the module in progress
// has read, and adds those that are not there yet.
func (t *trace) variables(st *state, p *expr.Program, to []VariableExplanation) []VariableExplanation {
	m := st.module
	if m == nil {
		return to
	}
	for _, s := range p.Selections() {
		i, ok := m.variables[s.Field]
		if !ok || s.Variable != "V" && s.Variable != "variables" ||
			slices.ContainsFunc(to, func(v VariableExplanation) bool { return v.Name == s.Field }) {
			continue
		}
		if st.moduleState(m).values[i].Kind() == value.Absent {
			continue // the expression was decided without it
		}
		program := m.programs[i]
		v := VariableExplanation{Name: s.Field, Expr: program.Source()}
		v.Steps, v.Value = t.steps(st, program)
		to = t.variables(st, program, append(to, v))
	}
	return to
}

func notReached(c *policy.Condition) *ConditionExplanation {
	e := &ConditionExplanation{Op: c.Op, Expr: c.Expr}
	for _, m := range c.Of {
		e.Of = append(e.Of, notReached(m))
	}
	return e
}

// derivedRoles notes which derived roles of the visited steps are active.
func (t *trace) derivedRoles(st *state) {
	for n := range st.visited {
		s := &st.steps[n]
		if s.unit == nil {
			continue
		}
		st.list(n)
		st.at = n - 1
		for i := range s.unit.derived {
			d := &s.unit.derived[i]
			e := DerivedRoleExplanation{
				Name: d.name, Scope: s.scope.name, Pos: d.definition.Pos, Parents: slices.Clone(d.literal),
				HasParent: d.anyRole || st.hasRole(d.literal),
				Active:    slices.Contains(s.list, d.name),
			}
			if e.HasParent && d.listed != nil {
				e.Condition = t.condition(st, d.listed, d.definition.Condition)
				_, err := st.outcome(d.listed)
				e.Err = detachedError(err)
			}
			t.explanation.DerivedRoles = append(t.explanation.DerivedRoles, e)
		}
	}
}
