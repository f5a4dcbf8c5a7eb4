package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// Plan gives the filter of the resources on which the principal may perform all
// of the actions, in the form that PlanResources of the Cerbos API has. It lets
// through where its condition is true, and where that can't be evaluated it does
// not. Check allows all of that, if nothing breaks a schema, but for one thing under
// lenient evaluation: rules that allow where x in "text" is an expression, or a
// member of all or any. An error means that there is no safe filter; it is a
// *PlanError, or that of ctx if that ends before there is a filter.
func (ps *PolicySet) Plan(ctx context.Context, req *PlanRequest) (*Plan, error) {
	st := ps.states.Get().(*state)
	p := planning{budget: budget{ctx, st.frame}, st: st, req: req}
	plan, err := p.plan()
	st.isOverride = false
	st.end()
	ps.states.Put(st)
	return plan, err
}

// maxPlanSteps bounds the steps of a plan in all, about a tenth of a second. They
// are more than those of PlanRows, as each role and action is planned by itself.
const maxPlanSteps = 5_000_000

// begin prepares for a request, for which there are some steps. It gives false if
// no scope has policies.
func (p *planning) begin(steps int) bool {
	st, req := p.st, p.req
	now := req.Now
	if now.IsZero() {
		now = time.Now()
	}
	st.decision = new(Decision)
	st.find(&Request{Principal: req.Principal, Resource: req.Resource, Actions: req.Actions, AuxData: req.AuxData, Now: now})
	if st.resource.scope == nil && st.principal.scope == nil {
		return false
	}
	st.start()
	st.frame.Limit(steps)
	return true
}

func (p *planning) plan() (*Plan, error) {
	out := &Plan{unmatched: true}
	if !p.begin(maxPlanSteps) {
		return out, nil
	}
	if !p.st.validate(true) {
		out.ValidationErrors = p.st.decision.ValidationErrors
		out.unmatched = false
		return out, nil
	}
	out.ValidationErrors = p.st.decision.ValidationErrors
	out.MatchedScopes = make(map[string]string, len(p.req.Actions))
	for _, action := range p.req.Actions {
		out.MatchedScopes[action] = ""
	}
	if !p.st.resource.exists && !p.st.principal.exists {
		return out, nil // as in a check; Cerbos goes on
	}
	actions := make([]actionPlan, len(p.req.Actions))
	for i, action := range p.req.Actions {
		a := &actions[i]
		*a = actionPlan{planning: p, action: action}
		if err := a.combine(); err != nil {
			return nil, err
		}
		out.unmatched = out.unmatched && a.rules == nil
		out.MatchedScopes[action] = a.scope
	}
	if err := p.exceeded(); err != nil {
		return nil, err
	}
	filters := make([]Filter, len(actions))
	for i := range actions {
		var err error
		if filters[i], err = actions[i].filter(); err != nil {
			return nil, err
		}
	}
	out.Filter = allOf(filters)
	return out, nil
}

// An actionPlan plans one action.
type actionPlan struct {
	*planning
	action string

	rules *clause // what they come to; nil if there are none
	open  bool    // they come to something that clauses don't tell
	scope string  // that had the last say

	rule   *Rule // in progress
	inText bool  // x in "text" is planned as Cerbos does
}

// errStrict is that a condition can't be evaluated, whatever the resource is. It
// denies the action, unless that is decided before.
var errStrict = errors.New("a condition can't be evaluated")

// combine finds what the rules come to, as Cerbos combines them.
func (a *actionPlan) combine() error {
	all, allowed, err := a.stages()
	switch {
	case err != nil && a.exceeded() == nil && !a.st.set.options.LenientEvaluation:
		a.rules, a.open = settled(false), true
	case err != nil:
		return err
	case all != nil && !allowed:
		a.rules = settled(false)
	default:
		a.rules = all
	}
	return nil
}

// filter gives the filter of the action.
func (a *actionPlan) filter() (Filter, error) {
	if a.rules == nil {
		return Filter{}, nil
	}
	f := a.rules.filter()
	if a.st.set.options.LenientEvaluation || f.Kind == AlwaysDenied && !a.open {
		return f, nil
	}
	return a.strict(f)
}

// stages combines what the policies of the resource and of the principal say, and
// tells whether any of them allows.
func (a *actionPlan) stages() (all *clause, allowed bool, err error) {
	for _, stage := range []func() (stageClauses, error){a.resourceStage, a.principalStage} {
		s, err := stage()
		if err != nil {
			return nil, false, err
		}
		if s.allow != nil {
			allowed = true
			all = either(s.allow, all)
		}
		switch {
		case s.deny != nil && all == nil:
			all = settled(false) // what is not denied is not allowed, either; Cerbos takes it for allowed
		case s.deny != nil:
			all = joined("and", s.deny.inverted(), all)
		}
		if s.denied {
			return settled(false), true, nil
		}
	}
	return all, allowed, nil
}

// A stageClauses is what the policies of a stage, or those for a role, say.
type stageClauses struct {
	allow, deny *clause
	denied      bool // of the principal's policies: on every resource
}

func (a *actionPlan) resourceStage() (out stageClauses, err error) {
	st := a.st
	for i := range st.req.Principal.Roles {
		r := roleClauses{actionPlan: a}
		for n := range st.steps {
			if r.override.is(true) {
				break // no parent can change that
			}
			s := &st.steps[n]
			st.at = n
			var about scopeClauses
			if s.layer != nil {
				if err := a.lists(s, i, &about); err != nil {
					return out, err
				}
			}
			if s.unit != nil {
				rows := s.unit.actions.find(a.action, &st.rows)
				if err := a.rows(s.unit.rows, rows, st.roleBits(s, i), s.unit.key, &about); err != nil {
					return out, err
				}
			}
			r.add(s.scope, about)
		}
		allow, deny, free := r.result()
		if free {
			return stageClauses{allow: allow}, nil
		}
		out.allow, out.deny = either(out.allow, allow), either(out.deny, deny)
	}
	return out, nil
}

func (a *actionPlan) principalStage() (out stageClauses, err error) {
	st := a.st
	if len(st.req.Principal.Roles) == 0 {
		return out, nil
	}
	st.isOverride, st.at = true, -1
	defer func() { st.isOverride = false }()
	r := roleClauses{actionPlan: a}
	for _, o := range st.overrides {
		if r.override.is(true) {
			break
		}
		var about scopeClauses
		rows := intersect(o.resources.find(st.kind, &st.kinds), o.actions.find(a.action, &st.rows), st.both)
		if err := a.rows(o.rows, rows, nil, o.key, &about); err != nil {
			return out, err
		}
		r.add(o.scope, about)
	}
	// Cerbos forgets a DENY of the principal that holds whatever the resource is.
	out.denied = r.deny.is(true)
	out.allow, out.deny, _ = r.result()
	return out, nil
}

// scopeClauses are what the rules of one scope say to a role.
type scopeClauses struct {
	allow, deny *clause
	listDeny    *clause // of role policies
}

// roleClauses are what the rules of all scopes say to a role.
type roleClauses struct {
	*actionPlan
	allow, deny, listDeny *clause

	pending  bool    // the last scope that allowed needs its parents' consent
	override *clause // where a scope that needs no consent allows
}

// add takes in what the next scope above says.
func (r *roleClauses) add(s *scope, about scopeClauses) {
	about.deny, about.listDeny = r.unlessAllowed(about.deny), r.unlessAllowed(about.listDeny)
	r.deny, r.listDeny = either(r.deny, about.deny), either(r.listDeny, about.listDeny)
	if about.allow != nil {
		switch {
		case r.allow == nil:
			r.allow = about.allow
		case r.pending:
			r.allow, r.pending = joined("and", r.allow, about.allow), false
		default:
			r.allow = joined("or", r.allow, about.allow)
		}
		r.pending = r.pending || s.consent
	}
	if s.consent {
		return
	}
	if s.ruled && (about.allow != nil || about.deny != nil || about.listDeny != nil) {
		r.scope = s.name
	}
	r.override = either(r.override, about.allow)
}

// unlessAllowed limits a DENY to where no scope below allows.
func (r *roleClauses) unlessAllowed(deny *clause) *clause {
	if deny == nil || r.override == nil {
		return deny
	}
	return joined("and", r.override.inverted(), deny)
}

// result gives what a role may and may not do. Free tells that it may on every
// resource.
func (r *roleClauses) result() (allow, deny *clause, free bool) {
	allow = r.allow
	if r.pending {
		allow = nil // no parent consents
	}
	switch {
	case r.deny.is(true) || r.listDeny.is(true):
		return settled(false), nil, false
	case allow.is(true) && r.deny == nil && r.listDeny == nil:
		return allow, nil, true
	case r.listDeny != nil && allow != nil:
		allow = joined("and", allow, r.listDeny.inverted())
	}
	return allow, r.deny, false
}

// lists applies the role policies of a scope to the i-th role and what it
// inherits; see state.decideByLists.
func (a *actionPlan) lists(s *step, i int, about *scopeClauses) error {
	st := a.st
	if !st.listsApply(s, i) {
		return nil
	}
	for _, member := range slices.Clone(st.members) {
		list := s.layer.lists[member]
		if list == nil {
			continue
		}
		rows := intersect(list.resources.find(st.kind, &st.kinds), list.actions.find(a.action, &st.rows), st.both)
		if len(rows) == 0 {
			about.listDeny = either(about.listDeny, settled(true))
			continue
		}
		var own scopeClauses
		if err := a.rows(list.rows, rows, nil, list.key, &own); err != nil {
			return err
		}
		about.listDeny = either(about.listDeny, own.deny)
	}
	return nil
}

// rows takes in what rows say that are for the action, and for a role if there is
// one.
func (a *actionPlan) rows(rows []row, about []int32, role bits, key string, out *scopeClauses) error {
	for _, i := range slices.Clone(about) { // whose memory others use
		r := &rows[i]
		if role != nil && !r.roles.intersects(role) {
			continue
		}
		a.rule = r.rule
		c, err := a.row(r)
		if err != nil {
			return err
		}
		switch {
		case r.effect == Allow:
			out.allow = either(out.allow, c)
		case r.effect == Deny && !c.is(false):
			out.deny = either(out.deny, c)
		}
	}
	return nil
}

// row gives where a row applies.
func (a *actionPlan) row(r *row) (*clause, error) {
	a.inText = r.effect == Allow && !r.negated
	own, err := a.condition(r)
	if err != nil || r.derived == nil || r.derived.condition == nil {
		return own, err
	}
	a.inText = false
	derived, err := a.tree(r.derived.condition.root, r.derived.condition.module)
	if err != nil || r.condition == nil {
		return derived, err
	}
	return &clause{op: "and", of: []*clause{own, derived}}, nil
}

func (a *actionPlan) condition(r *row) (*clause, error) {
	switch {
	case r.condition == nil:
		return settled(true), nil
	case r.condition.early && a.st.set.options.LenientEvaluation:
		return settled(r.effect == Deny), nil
	case r.condition.early:
		return nil, errStrict
	}
	c, err := a.tree(r.condition.root, r.condition.module)
	switch {
	case err != nil || !r.negated:
		return c, err
	case c.is(true), c.is(false):
		return settled(c.is(false)), nil
	}
	return c.inverted(), nil
}

// tree gives where a condition holds.
func (a *actionPlan) tree(n *conditionNode, m *module) (*clause, error) {
	if n.op == policy.Expr {
		return a.expression(n.program, m)
	}
	if n.op == policy.None {
		defer func(before bool) { a.inText = before }(a.inText)
		a.inText = false
	}
	// A constant member either decides, as in Check, or is of no interest.
	var kept []*clause
	for _, member := range n.of {
		c, err := a.tree(member, m)
		if err != nil {
			return nil, err
		}
		switch {
		case c.is(n.op != policy.All):
			return settled(n.op == policy.Any), nil
		case c.is(n.op == policy.All):
			continue
		case n.op == policy.None:
			c = c.inverted()
		}
		kept = append(kept, c)
	}
	switch {
	case len(kept) == 0:
		return settled(n.op != policy.Any), nil
	case len(kept) == 1:
		return kept[0], nil
	case n.op == policy.Any:
		return &clause{op: "or", of: kept}, nil
	}
	return &clause{op: "and", of: kept}, nil
}

// expression gives where an expression of a condition holds.
func (a *actionPlan) expression(program *expr.Program, m *module) (*clause, error) {
	res, err := a.leaf(program, m)
	switch {
	case a.exceeded() != nil:
		return nil, a.exceeded()
	case err != nil:
		e := &PlanError{Expression: program.Source(), Message: err.Error()}
		if a.rule != nil {
			e.Rule, e.Policy, e.Pos = a.rule.Name, a.rule.Policy, a.rule.Pos
		}
		return nil, e
	case res.Operand != nil:
		return &clause{leaf: sure(*res.Operand), from: origin{program, m}}, nil
	case res.Value.Kind() == value.Error && !a.st.set.options.LenientEvaluation:
		return nil, errStrict
	case res.InText != nil && a.inText: // the one thing that a check denies: Cerbos' own tests demand it
		return &clause{leaf: *res.InText}, nil
	}
	return settled(expr.IsTrue(res.Value)), nil
}

// sure leaves out tests of an expression that another part of it makes needless:
// what is not null is there.
func sure(o Operand) Operand {
	if o.Expression == nil || o.Expression.Operator != "and" {
		return o
	}
	there := map[string]bool{}
	conjuncts(o, func(x Operand) bool {
		if e := x.Expression; e != nil && e.Operator == "ne" && e.Operands[0].Variable != "" && isNull(e.Operands[1]) {
			there[e.Operands[0].Variable] = true
		}
		return true
	})
	if len(there) == 0 {
		return o
	}
	return conjuncts(o, func(x Operand) bool {
		e := x.Expression
		return e == nil || e.Operator != "has" || !there[e.Operands[0].Variable]
	})
}

// conjuncts gives the conjunction of those members of a conjunction, and of
// conjunctions among them, that are to be kept.
func conjuncts(o Operand, keep func(Operand) bool) Operand {
	if o.Expression == nil || o.Expression.Operator != "and" {
		if keep(o) {
			return o
		}
		return constant(value.OfBool(true))
	}
	operands := make([]Operand, len(o.Expression.Operands))
	for i, x := range o.Expression.Operands {
		operands[i] = conjuncts(x, keep)
	}
	return operation("and", operands...)
}

func isNull(o Operand) bool {
	return o.Expression == nil && o.Variable == "" && o.Value.Kind() == value.Null
}
