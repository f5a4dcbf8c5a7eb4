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
// the policies of the principal are asked first, then those of the resource.
// Each role of the principal is taken in order, and for it the scopes, from the
// most specific on: among the rules of a scope that match the role, a DENY
// whose condition holds outweighs every ALLOW, and the first scope that has
// either settles the role. The first role that allows settles the action; so an
// ALLOW for one role outweighs a DENY for another. What no role allows is
// refused.
func (ps *PolicySet) Check(req *Request, d *Decision) {
	st := ps.states.Get().(*state)
	ps.check(st, req, d)
	ps.states.Put(st)
}

func (ps *PolicySet) check(st *state, req *Request, d *Decision) {
	d.Results = slices.Grow(d.Results[:0], len(req.Actions))[:len(req.Actions)]
	for i, action := range req.Actions {
		d.Results[i] = Result{Action: action, Effect: Deny, Reason: ReasonNoPolicy, Policy: NoMatch}
	}
	d.Outputs, d.ValidationErrors = d.Outputs[:0], d.ValidationErrors[:0]
	d.EffectiveDerivedRoles, d.UsedNow, d.Err = d.EffectiveDerivedRoles[:0], false, nil

	st.decision, st.room = d, req.MaxOutputs
	if st.begin(req) {
		for i := range d.Results {
			st.decide(&d.Results[i])
			if d.Err != nil {
				st.refuse()
				break
			}
		}
		if req.IncludeMeta {
			st.listEffective()
		}
		if st.trace != nil {
			st.trace.derivedRoles(st)
		}
	}
	d.UsedNow = st.frame.ReadClock()
	st.end()
}

// refuse refuses every action, since the decision has an error.
func (st *state) refuse() {
	d := st.decision
	for i := range d.Results {
		r := &d.Results[i]
		*r = Result{Action: r.Action, Effect: Deny, Reason: ReasonError, Policy: r.Policy, Err: d.Err}
	}
	clear(d.Outputs)
	d.Outputs = d.Outputs[:0]
}

// A state is the working memory of one Check. It is pooled: it refers to a
// request only between begin and end.
type state struct {
	set      *PolicySet
	frame    *expr.Frame
	req      *Request
	decision *Decision
	trace    *trace // nil but for Explain
	room     int    // that is left of Request.MaxOutputs

	// What the resource stage and the principal stage go through.
	resource, principal stage
	kind                string           // sanitised
	steps               []step           // of the resource's scopes
	overrides           []scopedOverride // of the principal's scopes
	words               []uint64         // memory of step.roles
	members             []string         // memory of the roles of one role

	// What is remembered during a Check has the number of the Check beside it,
	// so that nothing needs to be cleared.
	check      uint32
	outcomes   []uint32 // by condition id: check<<2 | outcome
	moduleAt   []uint64 // by module id: check<<32 | index of modules
	failures   []failure
	modules    []*moduleState
	inUse      int // of modules
	module     *module
	at         int  // the step in progress: whose list of derived roles runtime shows; -1: none
	isOverride bool // the principal stage is in progress
	visited    int  // steps whose list of derived roles counts

	rows, kinds, both []int32 // memory of lists of rows
}

// A stage is what both stages have in common.
type stage struct {
	version string
	scope   *scope // where the chain of scopes begins; nil: there is none
	exists  bool   // there is some policy that could have a say
	key     string // of the policy that results name, once it is needed
	exact   string // the scope that was asked for
}

// A scopedOverride is a principal policy and its scope.
type scopedOverride struct {
	*override
	scope *scope
}

// A step is one scope of the resource's chain.
type step struct {
	scope  *scope
	unit   *unit      // nil: no policy for the kind here
	layer  *roleLayer // nil: no role policies here
	roles  []uint64   // unit.roles.words words per role of the request; nil: not computed yet
	list   value.Strings
	failed []string // derived roles that could not be evaluated
	listed bool     // list is filled
}

// An outcome is what became of a condition in this Check.
type outcome uint32

const (
	pending outcome = iota
	holds
	fails
	failed // could not be evaluated; under lenient evaluation only for too many steps
)

const outcomeBits = 2

type failure struct {
	id  int32
	err error
}

func newState(ps *PolicySet) *state {
	st := &state{
		set:      ps,
		frame:    ps.env.NewFrame(),
		outcomes: make([]uint32, ps.conditions),
		moduleAt: make([]uint64, ps.modules),
	}
	return st
}

// begin prepares for a request. It gives false if the decision is made: no
// policy applies, or attributes break a schema.
func (st *state) begin(req *Request) bool {
	st.find(req)
	if !st.resource.exists && !st.principal.exists {
		return false
	}
	st.start()
	st.spendOnRoles()
	return st.validate(false)
}

// find lines up what has a say about a request.
func (st *state) find(req *Request) {
	st.req = req
	st.kind = policy.Sanitize(req.Resource.Kind)
	st.resource = st.set.stage(req.Resource.PolicyVersion, req.Resource.Scope, st.set.resourceScopes)
	st.findResource()
	st.findPrincipal()
}

// start makes expressions see the request that was found, and forgets what the
// last one came to.
func (st *state) start() {
	if st.check++; st.check >= 1<<(32-outcomeBits) {
		st.check = 1
		clear(st.outcomes)
		clear(st.moduleAt)
	}
	st.show(st.req)
	st.at, st.visited, st.inUse, st.module = -1, 0, 0, nil
}

// show makes the frame show a request.
func (st *state) show(req *Request) {
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
}

// stage finds the scope that a chain begins with.
func (ps *PolicySet) stage(version, at string, scopes map[string]*scope) stage {
	s := stage{version: version, exact: at}
	if version == "" {
		s.version = ps.options.DefaultPolicyVersion
	}
	if at == "" {
		s.exact = ps.options.DefaultScope
	}
	s.exact = plainScope(s.exact)
	s.scope = scopes[s.exact]
	if s.scope == nil && ps.options.LenientScopeSearch {
		s.scope = nearest(scopes, s.exact)
	}
	return s
}

// findResource lines up what has a say about the resource.
func (st *state) findResource() {
	st.steps = st.steps[:0]
	units := st.set.resources[kindKey{st.kind, st.resource.version}]
	for s := st.resource.scope; s != nil; s = s.parent {
		n := len(st.steps)
		if n < cap(st.steps) {
			st.steps = st.steps[:n+1] // keeps the memory of the step's list
		} else {
			st.steps = append(st.steps, step{})
		}
		next := &st.steps[n]
		next.scope, next.unit, next.layer = s, units.at(s.name), nil
		next.roles, next.list, next.failed, next.listed = nil, next.list[:0], next.failed[:0], false
		if len(st.set.roles) > 0 {
			next.layer = st.set.roles[unitKey{st.resource.version, s.name}]
		}
		if next.unit != nil {
			st.resource.exists = true
		} else if next.layer != nil && !st.resource.exists {
			st.resource.exists = len(next.layer.kinds.find(st.kind, &st.kinds)) > 0
		}
	}
}

// findPrincipal lines up what has a say about the principal.
func (st *state) findPrincipal() {
	ps, p := st.set, &st.req.Principal
	st.overrides, st.principal = st.overrides[:0], stage{}
	if len(ps.principals) == 0 {
		return
	}
	st.principal = ps.stage(p.PolicyVersion, p.Scope, ps.principalScopes)
	units := ps.principals[p.ID]
	for s := st.principal.scope; s != nil; s = s.parent {
		// Whose policies there are plays no part in this, nor does the version
		// of the resource, by which they are chosen.
		if !st.principal.exists && slices.Contains(s.versions, st.principal.version) {
			st.principal.exists = true
		}
		if o := units[unitKey{st.resource.version, s.name}]; o != nil {
			st.overrides = append(st.overrides, scopedOverride{o, s})
		}
	}
}

// resourceKey is the key that results name: that of the policy in the most
// specific scope, whether it is there or not.
func (st *state) resourceKey() string {
	s := &st.resource
	switch {
	case s.key != "":
	case !s.exists:
		s.key = NoMatch
	case st.steps[0].unit != nil:
		s.key = st.steps[0].unit.key
	default:
		s.key = policy.ResourceKey(st.req.Resource.Kind, s.version, s.scope.name)
	}
	return s.key
}

func (st *state) principalKey() string {
	s := &st.principal
	switch {
	case s.key != "":
	case !s.exists:
		s.key = NoMatch
	default:
		s.key = policy.PrincipalKey(st.req.Principal.ID, s.version, s.scope.name)
	}
	return s.key
}

// end lets go of the request, so that the pool keeps nothing of it alive.
func (st *state) end() {
	st.frame.Reset(time.Time{})
	for _, m := range st.modules[:st.inUse] {
		clear(m.values)
		m.module = nil
	}
	for i := range st.steps {
		s := &st.steps[i]
		s.scope, s.unit, s.layer = nil, nil, nil
	}
	clear(st.failures)
	clear(st.members)
	clear(st.overrides)
	st.failures, st.members = st.failures[:0], st.members[:0]
	st.req, st.decision, st.module, st.kind = nil, nil, nil, ""
	st.resource, st.principal = stage{}, stage{}
	st.inUse, st.words = 0, st.words[:0]
}

// stepsPerRole is what it takes to look at the rules of a scope for a role, and to match
// a role with a pattern, in steps of expressions.
const stepsPerRole = 2

// spendOnRoles takes the steps of matching all roles with what rules name. Whether there
// were so many is looked at before any role is.
func (st *state) spendOnRoles() {
	n := 0
	for i := range st.steps {
		if u := st.steps[i].unit; u != nil {
			n += u.roles.words + stepsPerRole*len(u.roles.globs)
		}
	}
	st.frame.Spend(n * len(st.req.Principal.Roles))
}

// decide settles one action.
func (st *state) decide(res *Result) {
	if st.trace != nil {
		st.trace.action()
	}
	roles := st.req.Principal.Roles
	if len(st.overrides) > 0 && len(roles) > 0 {
		st.decideByPrincipal(res)
		if res.Reason != ReasonNoRule {
			return
		}
	}
	res.Policy, res.Reason = st.resourceKey(), ReasonNoRule
	if !st.resource.exists {
		res.Reason = ReasonNoPolicy
		return
	}
	var first Result // of the roles that did not allow
	for i := range roles {
		if !st.frame.Spend(stepsPerRole * len(st.steps)) {
			*res = Result{Action: res.Action, Effect: Deny, Reason: ReasonError, Policy: st.resourceKey(), Err: expr.ErrTooManySteps}
			return
		}
		st.decideByRole(i, res)
		switch {
		case res.Reason == ReasonError || res.Reason == ReasonAllowed:
			return
		case res.Reason == ReasonDenied && first.Reason != ReasonDenied:
			first = *res
		}
		res.Policy, res.Scope, res.Rule, res.Reason = st.resourceKey(), "", nil, ReasonNoRule
	}
	if first.Reason == ReasonDenied {
		*res = first
	}
}

// decideByPrincipal settles an action by the principal's own policies, or
// leaves the reason at ReasonNoRule.
func (st *state) decideByPrincipal(res *Result) {
	st.isOverride, st.at = true, -1
	defer func() { st.isOverride = false }()
	res.Policy, res.Reason = st.principalKey(), ReasonNoRule
	for _, o := range st.overrides {
		st.both = intersect(o.resources.find(st.kind, &st.kinds), o.actions.find(res.Action, &st.rows), st.both)
		if st.trace != nil {
			st.trace.begin(StepExplanation{Stage: StagePrincipal, Scope: o.scope.name, Consent: o.scope.consent, Policy: o.key})
		}
		v := verdict{scope: o.scope}
		if st.visitAll(o.rows, st.both, nil, o.key, &v, res) || v.settle(st, res) {
			return
		}
	}
}

// A verdict is what the rows of one scope have come to so far.
type verdict struct {
	scope   *scope
	allowed *Rule // the first rule that allows
}

// settle ends a scope: an ALLOW decides, unless it needs the parents' consent.
func (v *verdict) settle(st *state, res *Result) bool {
	if v.allowed == nil || v.scope.consent {
		return false
	}
	if st.trace != nil {
		st.trace.allowed(v.allowed)
	}
	res.Effect, res.Reason, res.Scope, res.Rule = Allow, ReasonAllowed, v.scope.name, v.allowed
	return true
}

// visitAll lets the rows that are about the action and for the role, if there
// is one, have their say, and tells whether that ends the role.
func (st *state) visitAll(rows []row, about []int32, role bits, key string, v *verdict, res *Result) bool {
	for _, i := range about {
		r := &rows[i]
		if role != nil && !r.roles.intersects(role) {
			if st.trace != nil {
				st.trace.others(r)
			}
			continue
		}
		if st.visit(r, key, v, res) {
			if st.trace != nil {
				st.trace.unreached(rows, about, role, r)
			}
			return true
		}
	}
	return false
}

// visit lets a row that matches have its say, and tells whether that ends the
// role.
func (st *state) visit(r *row, key string, v *verdict, res *Result) bool {
	ok, silent, err := st.applies(r)
	if st.trace != nil {
		st.trace.visit(st, r, ok, err)
	}
	if err != nil {
		res.Effect, res.Reason, res.Policy, res.Scope, res.Rule, res.Err = Deny, ReasonError, key, v.scope.name, r.rule, err
		return true
	}
	if r.output != nil && !silent {
		st.tell(r.output, ok, res.Action)
	}
	if !ok {
		return false
	}
	switch {
	case r.effect == Deny:
		res.Effect, res.Reason, res.Scope, res.Rule = Deny, ReasonDenied, v.scope.name, r.rule
		return true
	case r.effect == Allow && v.allowed == nil:
		v.allowed = r.rule
	}
	return false
}

// decideByRole settles an action for the i-th role of the principal, or leaves
// the reason at ReasonNoRule.
func (st *state) decideByRole(i int, res *Result) {
	for n := range st.steps {
		s := &st.steps[n]
		st.at = n
		st.visited = max(st.visited, n+1)
		v := verdict{scope: s.scope}
		if st.trace != nil {
			st.trace.beginResource(st, s, i)
		}
		if s.layer != nil && st.decideByLists(s, i, &v, res) {
			return
		}
		if s.unit == nil {
			continue
		}
		about := s.unit.actions.find(res.Action, &st.rows)
		if st.visitAll(s.unit.rows, about, st.roleBits(s, i), s.unit.key, &v, res) || v.settle(st, res) {
			return
		}
	}
}

// roleBits gives the patterns of a step's unit that the i-th role of the
// principal, or a role that it inherits, matches.
func (st *state) roleBits(s *step, i int) bits {
	words := s.unit.roles.words
	if s.roles == nil {
		begin := len(st.words)
		end := begin + words*len(st.req.Principal.Roles)
		st.words = slices.Grow(st.words, end-begin)[:end]
		s.roles = st.words[begin:end:end]
		clear(s.roles)
		inherited := st.set.inherited[st.resource.exact]
		for j, role := range st.req.Principal.Roles {
			b := bits(s.roles[j*words : (j+1)*words])
			s.unit.roles.match(role, b)
			for _, parent := range inherited[role] {
				s.unit.roles.match(parent, b)
			}
		}
	}
	return s.roles[i*words : (i+1)*words]
}

// listsApply tells whether role policies of a scope have a say about the i-th
// role: whether anything in the scope is about the kind, and the role or what it
// inherits. These roles are then the members.
func (st *state) listsApply(s *step, i int) bool {
	role := st.req.Principal.Roles[i]
	st.members = append(append(st.members[:0], role), st.set.inherited[st.resource.exact][role]...)
	about := s.unit != nil && s.unit.anyRow.intersects(st.roleBits(s, i))
	for _, m := range st.members {
		if a := s.layer.lists[m]; a != nil && !about {
			about = len(a.resources.find(st.kind, &st.kinds)) > 0
		}
	}
	return about
}

// decideByLists applies the role policies of a scope to the i-th role and what
// it inherits, and tells whether that ends the role. A role policy only denies:
// what it does not list, and what it lists under a condition that does not
// hold.
func (st *state) decideByLists(s *step, i int, v *verdict, res *Result) bool {
	if !st.listsApply(s, i) {
		return false
	}
	for _, m := range st.members {
		a := s.layer.lists[m]
		if a == nil {
			continue
		}
		st.both = intersect(a.resources.find(st.kind, &st.kinds), a.actions.find(res.Action, &st.rows), st.both)
		if len(st.both) == 0 {
			res.Effect, res.Reason, res.Policy, res.Scope, res.Rule = Deny, ReasonDenied, a.key, s.scope.name, a.unlisted()
			if st.trace != nil {
				st.trace.unlisted(a)
			}
			return true
		}
		if st.visitAll(a.rows, st.both, nil, a.key, v, res) {
			res.Policy = a.key
			return true
		}
	}
	return false
}

// errEarly is what reading the list of derived roles is in a principal policy,
// which is asked before derived roles are.
var errEarly = errors.New("a principal policy can't read the list of derived roles, which is not known yet")

// applies tells whether the derived role of a row, if it has one, is active
// and its condition holds. A row whose derived role is not active says nothing
// about it: silent. It does when it is met again, as Cerbos does.
func (st *state) applies(r *row) (ok, silent bool, err error) {
	if r.derived != nil {
		ok, err := st.outcome(r.derived.condition)
		if err != nil {
			return false, true, err
		}
		if !ok {
			if r.output == nil || r.output.visited < 0 {
				return false, true, nil
			}
			silent := st.recall(r.output.visited) == pending
			st.remember(r.output.visited, fails)
			return false, silent, nil
		}
	}
	if r.condition == nil {
		return true, false, nil
	}
	if r.condition.early {
		if st.set.options.LenientEvaluation {
			return r.effect == Deny, false, nil
		}
		return false, true, errEarly
	}
	ok, err = st.outcome(r.condition)
	return ok != r.negated && err == nil, false, err
}

func (st *state) recall(id int32) outcome {
	if o := st.outcomes[id]; o>>outcomeBits == st.check {
		return outcome(o & (1<<outcomeBits - 1))
	}
	return pending
}

func (st *state) remember(id int32, o outcome) { st.outcomes[id] = st.check<<outcomeBits | uint32(o) }

// outcome evaluates a condition, at most once in a Check.
func (st *state) outcome(c *condition) (bool, error) {
	if c == nil {
		return true, nil
	}
	switch st.recall(c.id) {
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
	back := st.enter(c.module)
	ok, err := st.evaluate(c.root)
	st.enter(back)
	switch {
	case err != nil:
		st.remember(c.id, failed)
		st.failures = append(st.failures, failure{c.id, err})
	case ok:
		st.remember(c.id, holds)
	default:
		st.remember(c.id, fails)
	}
	return ok, err
}

// evaluate evaluates a condition tree, from the left, no further than needed.
// An expression that can't be evaluated is an error under strict evaluation,
// and false otherwise. One that takes too many steps is always an error: who asks
// for something large must not switch off what denies it.
func (st *state) evaluate(n *conditionNode) (bool, error) {
	if n.op == policy.Expr {
		ok, err := n.program.Truth(st.frame)
		if st.frame.Spent() {
			// Whatever came of it came of parts that were not evaluated.
			return false, fmt.Errorf("%s: %w", n.program.Source(), expr.ErrTooManySteps)
		}
		if err != nil && !st.set.options.LenientEvaluation {
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

// tell evaluates the output of a row.
func (st *state) tell(o *output, holds bool, action string) {
	program, early := o.unmet, o.unmetEarly
	if holds {
		program, early = o.activated, o.activatedEarly
	}
	if program == nil || st.req.NoOutputs || st.decision.Err != nil {
		return
	}
	var room *int
	if st.req.MaxOutputs > 0 {
		room = &st.room
	}
	out := Output{Src: o.src, Action: action}
	var err error = errEarly
	if !early {
		back := st.enter(o.module)
		out.Val, err = st.frame.Copy(program.Eval(st.frame), room)
		st.enter(back)
	}
	if err != nil {
		out.Val, out.Err = value.Value{}, err.Error()
		st.room -= len(out.Err)
	}
	if room != nil && *room < 0 {
		st.decision.Err = ErrOutputs
		return
	}
	st.decision.Outputs = append(st.decision.Outputs, out)
}

// schemas gives the schemas of the principal and of the resource that attributes
// are held against: of a chain, those of its root.
func (st *state) schemas() *[2]*schemaCheck {
	if st.set.options.SchemaEnforcement == SchemaNone || len(st.steps) == 0 || st.steps[0].unit == nil {
		return nil
	}
	root := &st.steps[len(st.steps)-1]
	if root.scope.name != "" || root.unit == nil {
		return nil
	}
	return &root.unit.schemas
}

// validate holds the attributes against the schemas of the policy. It gives
// false if that makes the decision. Of a resource of which not all is known,
// attributes may be missing.
func (st *state) validate(partly bool) bool {
	schemas := st.schemas()
	if schemas == nil {
		return true
	}
	d, req := st.decision, st.req
	for i, attr := range []value.Mapping{req.Principal.Attr, req.Resource.Attr} {
		check := schemas[i]
		if check == nil || check.ignores(req.Actions) {
			continue
		}
		if attr == nil {
			attr = value.Values(nil)
		}
		for _, f := range check.schema.Validate(attr, partly && i == 1) {
			d.ValidationErrors = append(d.ValidationErrors, ValidationError{
				Path: f.Path, Message: f.Message, Source: SourcePrincipal + ValidationSource(i),
			})
		}
	}
	if st.set.options.SchemaEnforcement != SchemaReject || len(d.ValidationErrors) == 0 {
		return true
	}
	for i := range d.Results {
		d.Results[i].Reason, d.Results[i].Policy = ReasonSchema, st.resourceKey()
	}
	return false
}

// ignores tells whether a schema is not for any of the actions.
func (c *schemaCheck) ignores(actions []string) bool {
	for _, action := range actions {
		if !slices.ContainsFunc(c.ignore, func(p patternOrText) bool { return p.match(action) }) {
			return false
		}
	}
	return len(c.ignore) > 0
}
