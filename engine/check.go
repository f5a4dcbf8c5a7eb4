package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// Check decides every action of req and writes the answer to d, whose memory
// it reuses. Whatever happens, d refuses what no rule allowed.
//
// The algorithm is that of the Cerbos policy decision point. For each action,
// each role of the principal is taken in order: among the rules that match the
// role, a DENY whose condition holds outweighs every ALLOW. The first role that
// allows settles the action; so an ALLOW for one role outweighs a DENY for
// another. What no role allows is refused.
func (ps *PolicySet) Check(req *Request, d *Decision) {
	d.Results = slices.Grow(d.Results[:0], len(req.Actions))[:len(req.Actions)]
	for i, action := range req.Actions {
		d.Results[i] = Result{Action: action, Effect: Deny, Reason: ReasonNoPolicy, Policy: NoMatch}
	}
	version := req.Resource.PolicyVersion
	if version == "" {
		version = ps.defaultVersion
	}
	u, ok := ps.units[unitKey{policy.Sanitize(req.Resource.Kind), version, plainScope(req.Resource.Scope)}]
	if !ok {
		return
	}
	st := ps.states.Get().(*state)
	st.begin(u, req)
	for i := range d.Results {
		st.decide(&d.Results[i])
	}
	st.end()
	ps.states.Put(st)
}

// A state is the working memory of one Check. It is pooled: it refers to a
// request only between begin and end.
type state struct {
	set   *PolicySet
	frame *expr.Frame
	req   *Request
	unit  *unit

	roles    bits      // unit.roles.words words per role of the request
	outcomes []outcome // by condition id
	failures []failure // of outcomes that are failed
	modules  []moduleState
	module   int32 // whose variables the frame shows
	rows     []int32

	effective     value.Strings // runtime.effectiveDerivedRoles, once asked for
	effectiveErr  error
	effectiveDone bool
}

// An outcome is what became of a condition in this Check.
type outcome uint8

const (
	pending outcome = iota
	holds
	fails
	failed // could not be evaluated; only under strict evaluation
)

type failure struct {
	id  int32
	err error
}

func newState(ps *PolicySet) *state {
	return &state{set: ps, frame: ps.env.NewFrame()}
}

func (st *state) begin(u *unit, req *Request) {
	st.unit, st.req = u, req
	now := req.Now
	if now.IsZero() {
		now = time.Now()
	}
	st.frame.Reset(now)
	st.frame.Set(slotPrincipal, value.OfMapping(principalView{&req.Principal}))
	st.frame.Set(slotResource, value.OfMapping(resourceView{&req.Resource}))
	st.frame.Set(slotRequest, value.OfMapping(requestView{req}))
	st.frame.Set(slotGlobals, value.OfMapping((*globalsView)(st)))
	st.frame.Set(slotRuntime, value.OfMapping((*runtimeView)(st)))

	st.outcomes = resize(st.outcomes, u.conditions)
	st.failures = st.failures[:0]
	st.effective, st.effectiveErr, st.effectiveDone = st.effective[:0], nil, false

	st.modules = slices.Grow(st.modules[:0], len(u.modules))[:len(u.modules)]
	for i, m := range u.modules {
		s := &st.modules[i]
		s.frame, s.module = st.frame, m
		s.values = resize(s.values, len(m.programs))
	}
	st.module = -1
	st.enter(0)

	words := u.roles.words
	st.roles = slices.Grow(st.roles[:0], words*len(req.Principal.Roles))[:words*len(req.Principal.Roles)]
	for i, role := range req.Principal.Roles {
		u.roles.match(role, st.roleBits(i))
	}
}

// end lets go of the request, so that the pool keeps nothing of it alive.
func (st *state) end() {
	st.frame.Reset(time.Time{})
	for i := range st.modules {
		clear(st.modules[i].values)
	}
	clear(st.failures)
	st.unit, st.req, st.effectiveErr = nil, nil, nil
}

// resize gives s with n zero elements.
func resize[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}

func (st *state) roleBits(i int) bits {
	words := st.unit.roles.words
	return st.roles[i*words : (i+1)*words]
}

// enter makes the frame show the variables and constants of a module.
func (st *state) enter(module int32) {
	if st.module == module {
		return
	}
	st.module = module
	m := &st.modules[module]
	st.frame.Set(slotVariables, value.OfMapping(m))
	st.frame.Set(slotConstants, value.OfMapping(constantsView{m.module.constants}))
}

// decide settles one action.
func (st *state) decide(res *Result) {
	u := st.unit
	res.Policy, res.Reason = u.key, ReasonNoRule
	rows, ok := u.literal[res.Action]
	if !ok {
		st.rows = u.matchPatterns(res.Action, st.rows[:0])
		rows = st.rows
	}
	for i := range st.req.Principal.Roles {
		denied, allowed := st.decideRole(st.roleBits(i), rows, res)
		switch {
		case res.Reason == ReasonError:
			return
		case denied != nil:
			if res.Reason == ReasonNoRule {
				res.Reason, res.Rule = ReasonDenied, denied
			}
		case allowed != nil:
			res.Effect, res.Reason, res.Rule = Allow, ReasonAllowed, allowed
			return
		}
	}
}

// decideRole gives the rule that denies a role the action or, if none does,
// the first that allows it. A condition that can't be evaluated ends the
// action: it is noted in res.
func (st *state) decideRole(role bits, rows []int32, res *Result) (denied, allowed *Rule) {
	for _, index := range rows {
		r := &st.unit.rows[index]
		if !r.roles.intersects(role) {
			continue
		}
		ok, err := st.applies(r)
		if err != nil {
			res.Effect, res.Reason, res.Rule, res.Err = Deny, ReasonError, r.rule, err
			return nil, nil
		}
		if !ok {
			continue
		}
		if r.effect == Deny {
			return r.rule, nil
		}
		if allowed == nil && r.effect == Allow {
			allowed = r.rule
		}
	}
	return nil, allowed
}

// applies tells whether the derived role of a row, if it has one, is active
// and its condition holds.
func (st *state) applies(r *row) (bool, error) {
	if r.derived >= 0 {
		if ok, err := st.outcome(&st.unit.derived[r.derived].condition); err != nil || !ok {
			return false, err
		}
	}
	return st.outcome(&r.condition)
}

// outcome evaluates a condition, at most once in a Check.
func (st *state) outcome(c *condition) (bool, error) {
	if c.root == nil {
		return true, nil
	}
	switch st.outcomes[c.id] {
	case holds:
		return true, nil
	case fails:
		return false, nil
	case failed:
		for _, f := range st.failures {
			if f.id == c.id {
				return false, f.err
			}
		}
	}
	back := st.module
	st.enter(c.module)
	ok, err := st.evaluate(c.root)
	st.enter(back)
	switch {
	case err != nil:
		st.outcomes[c.id] = failed
		st.failures = append(st.failures, failure{c.id, err})
	case ok:
		st.outcomes[c.id] = holds
	default:
		st.outcomes[c.id] = fails
	}
	return ok, err
}

// evaluate evaluates a condition tree, from the left, no further than needed.
// An expression that can't be evaluated is an error under strict evaluation,
// and false otherwise.
func (st *state) evaluate(n *conditionNode) (bool, error) {
	if n.op == policy.Expr {
		ok, err := n.program.Truth(st.frame)
		if err != nil && st.set.strict {
			return false, fmt.Errorf("%s: %w", n.program.Source(), err)
		}
		return ok && err == nil, nil
	}
	// all stops at the first member that is false; any and none at the first
	// that is true. stopped is the result in that case.
	stopAt, stopped := n.op != policy.All, n.op == policy.Any
	for _, member := range n.of {
		ok, err := st.evaluate(member)
		if err != nil {
			return false, err
		}
		if ok == stopAt {
			return stopped, nil
		}
	}
	return !stopped, nil
}

var errCircle = value.OfError(errors.New("a variable is defined by itself"))

// A moduleState shows a module's variables to expressions, evaluating each at
// most once in a Check, when it is first read.
type moduleState struct {
	frame  *expr.Frame
	module *module
	values []value.Value // absent: not evaluated yet
}

func (*moduleState) StructName() string { return "Variables" }

func (s *moduleState) Len() int { return len(s.values) }

// Lookup evaluates a variable. The frame shows this module while one of its
// expressions runs, so the variable sees its own policy's names.
func (s *moduleState) Lookup(name string) (value.Value, bool) {
	i, ok := s.module.variables[name]
	if !ok {
		return value.Value{}, false
	}
	if s.values[i].Kind() == value.Absent {
		// Compile refuses variables that are defined by themselves. Should one
		// get past it, this ends in an error and not in a stack overflow.
		s.values[i] = errCircle
		s.values[i] = s.module.programs[i].Eval(s.frame)
	}
	return s.values[i], true
}

func (s *moduleState) Range(yield func(string, value.Value) bool) {
	for name := range s.module.variables {
		if v, _ := s.Lookup(name); !yield(name, v) {
			return
		}
	}
}

type constantsView struct{ value.Values }

func (constantsView) StructName() string { return "Constants" }

// globalsView is the state as globals. It is a view so that it can be shown
// without allocating.
type globalsView state

func (*globalsView) StructName() string { return "Globals" }

func (v *globalsView) Len() int { return v.set.globals.Len() }

func (v *globalsView) Lookup(name string) (value.Value, bool) { return v.set.globals.Lookup(name) }

func (v *globalsView) Range(yield func(string, value.Value) bool) { v.set.globals.Range(yield) }

// runtimeView is the state as runtime.
type runtimeView state

func (*runtimeView) StructName() string { return "Runtime" }

func (*runtimeView) Len() int { return 1 }

func (v *runtimeView) Lookup(field string) (value.Value, bool) {
	if field != "effectiveDerivedRoles" && field != "effective_derived_roles" {
		return value.Value{}, false
	}
	st := (*state)(v)
	st.effectiveDerivedRoles()
	if st.effectiveErr != nil {
		return value.OfError(st.effectiveErr), true
	}
	return value.OfSequence(&st.effective), true
}

func (v *runtimeView) Range(yield func(string, value.Value) bool) {
	rangeFields(v, yield, "effectiveDerivedRoles")
}

// effectiveDerivedRoles fills the sorted list of the derived roles that are
// active, among those that rules of the policy name. Unlike in rows, a parent
// role counts here only if it is "*" or literally one of the principal's.
func (st *state) effectiveDerivedRoles() {
	if st.effectiveDone {
		return
	}
	st.effectiveDone = true
	for i := range st.unit.derived {
		d := &st.unit.derived[i]
		if !d.anyRole && !slices.ContainsFunc(st.req.Principal.Roles, func(role string) bool { return slices.Contains(d.literal, role) }) {
			continue
		}
		ok, err := st.outcome(&d.condition)
		if err != nil {
			st.effectiveErr = fmt.Errorf("the derived role %s could not be evaluated: %w", d.name, err)
			return
		}
		if ok {
			st.effective = append(st.effective, d.name)
		}
	}
	slices.Sort(st.effective)
}
