package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// PlanRows gives the filter that lets through the very resources on which Check
// allows all of the actions, however their attributes, ID and policy version
// turn out to be where req does not tell. An error means that there is no such
// filter, or that it would be too large or takes too many steps to find; it is a
// *PlanError. It is that of ctx if that ends before there is a filter.
//
// The condition consists of and, or (of one operand or more) and not over
//
//	holds(E)  the expression E gives true
//	errs(E)   its evaluation fails
//
// which are true or false of every resource. Each E is what is left of one
// expression of a policy, to be evaluated as CEL says: there, and and or have
// three values. Its operators are those of the Cerbos API's plans, and has, error
// (which fails), int, uint and double; numbers are doubles, and the only variables
// request.resource.id, request.resource.policyVersion and
// request.resource.attr.name with what is selected below.
//
// The Plan has no MatchedScopes.
func (ps *PolicySet) PlanRows(ctx context.Context, req *PlanRequest) (*Plan, error) {
	st := ps.states.Get().(*state)
	p := newRowPlanner(planning{budget: budget{ctx, st.frame}, st: st, req: req, exact: true})
	f := no // if no scope has policies
	var err error
	if p.reading.begin(maxRowSteps) {
		f, err = p.all(req.Actions)
	}
	st.end()
	ps.states.Put(st)
	if err != nil {
		return nil, err
	}
	return &Plan{Filter: filterOf(p.operand(f, rowLeaf)), ValidationErrors: p.invalid}, nil
}

// rowLeaf spells a leaf by holds and errs.
func rowLeaf(e *expression, after ends) Operand {
	switch after {
	case inTrue:
		return operation("holds", e.operand)
	case inError:
		return operation("errs", e.operand)
	case e.ends &^ inError: // which is inOther alone where nothing is in a list
		return operation("not", operation("errs", e.operand))
	}
	return operation("not", operation("holds", e.operand))
}

// A rowPlanner goes the way of Check for a resource of which not all is known.
// Where that goes on by what a condition gives, it goes on in all ways, and puts
// together what comes of them.
type rowPlanner struct {
	*state
	reading planning // of what is known
	invalid []ValidationError

	// Expressions by where they are from, but for those of which there is more than
	// one reading. Plan wants to know.
	forms map[origin]int32

	step  int                // whose list of derived roles conditions see; -1: none
	plans map[int32]judgment // by condition id

	*formulas
}

// A judgment says of a row, or of what it depends on, when it holds and when it
// can't be evaluated, which are never the case both.
type judgment struct{ holds, errs *formula }

// maxRowSteps bounds the steps of a filter in all: those of expressions and those
// of formulas.
const maxRowSteps = 500_000

// newRowPlanner gives a planner for a request that has begun by the time it is used.
func newRowPlanner(reading planning) *rowPlanner {
	return &rowPlanner{state: reading.st, reading: reading, forms: map[origin]int32{}, plans: map[int32]judgment{}, formulas: newFormulas(reading.budget)}
}

// restart has variables evaluated anew, by the steps that are left.
func (p *rowPlanner) restart() {
	left := p.frame.Left()
	p.start()
	p.frame.Limit(left)
}

// all plans all actions.
func (p *rowPlanner) all(actions []string) (*formula, error) {
	if len(actions) == 0 || !p.resource.exists && !p.principal.exists {
		return no, nil
	}
	valid := p.validate(true)
	if p.invalid = p.decision.ValidationErrors; !valid {
		return no, nil
	}
	if schemas := p.schemas(); schemas != nil && p.set.options.SchemaEnforcement == SchemaReject {
		if resource := schemas[1]; resource != nil && !resource.ignores(actions) {
			return nil, &PlanError{Policy: p.resourceKey(),
				Message: "no filter tells which rows break the schema of the resource; ignore it for the action, or do not enforce it"}
		}
	}
	result := yes
	for _, action := range actions {
		f, err := p.action(action)
		if err != nil {
			return nil, err
		}
		if result = p.and(result, f); result == no {
			break
		}
	}
	result = p.simplified(result)
	p.spend(result.size / bytesPerStep)
	return result, p.exceeded()
}

// action plans one action, as state.decide decides it.
func (p *rowPlanner) action(action string) (*formula, error) {
	roles := p.req.Principal.Roles
	if len(p.overrides) == 0 || len(roles) == 0 {
		return p.byRoles(action, 0)
	}
	return p.byPrincipal(action, 0)
}

// byPrincipal plans an action from the n-th policy of the principal on.
func (p *rowPlanner) byPrincipal(action string, n int) (*formula, error) {
	if n == len(p.overrides) {
		return p.byRoles(action, 0)
	}
	o := p.overrides[n]
	p.step = -1
	var rows []planned
	for _, i := range intersect(o.resources.find(p.kind, &p.kinds), o.actions.find(action, &p.rows), nil) {
		rows = append(rows, planned{row: &o.rows[i], key: o.key})
	}
	// A denial is final here, as is an error.
	j, err := p.visitAll(rows, o.scope.consent, func() (judgment, error) {
		f, err := p.byPrincipal(action, n+1)
		return judgment{f, no}, err
	})
	return j.holds, err
}

// byRoles plans an action from the i-th role of the principal on.
func (p *rowPlanner) byRoles(action string, i int) (*formula, error) {
	if !p.resource.exists || i == len(p.req.Principal.Roles) {
		return no, nil
	}
	j, err := p.byScopes(action, i, 0)
	switch {
	case err != nil:
		return nil, err
	case j.holds == yes || j.errs == yes || i == len(p.req.Principal.Roles)-1:
		return j.holds, nil
	}
	next, err := p.byRoles(action, i+1)
	if err != nil {
		return nil, err
	}
	return p.and(p.not(j.errs), p.or(j.holds, next)), nil
}

// byScopes plans an action for the i-th role from the n-th scope on: when it is
// allowed, and when it fails.
func (p *rowPlanner) byScopes(action string, i, n int) (judgment, error) {
	if n == len(p.steps) {
		return judgment{no, no}, nil
	}
	p.step = n
	s := &p.steps[n]
	rows, closed := p.listed(s, i, action)
	if s.unit != nil && !closed {
		about := s.unit.actions.find(action, &p.rows)
		role := p.roleBits(s, i)
		for _, at := range about {
			if r := &s.unit.rows[at]; r.roles.intersects(role) {
				rows = append(rows, planned{row: r, key: s.unit.key})
			}
		}
	}
	return p.visitAll(rows, s.scope.consent, func() (judgment, error) {
		if closed {
			return judgment{no, no}, nil
		}
		return p.byScopes(action, i, n+1)
	})
}

// listed gives the rows of the role policies of a scope for the i-th role, and
// tells whether one of them does not list the action, which denies it after them.
func (p *rowPlanner) listed(s *step, i int, action string) (rows []planned, closed bool) {
	if s.layer == nil || !p.listsApply(s, i) {
		return nil, false
	}
	for _, m := range p.members {
		a := s.layer.lists[m]
		if a == nil {
			continue
		}
		about := intersect(a.resources.find(p.kind, &p.kinds), a.actions.find(action, &p.rows), nil)
		if len(about) == 0 {
			return rows, true
		}
		for _, at := range about {
			rows = append(rows, planned{row: &a.rows[at], key: a.key})
		}
	}
	return rows, false
}

// A planned row is one that a request visits, of the policy with a key.
type planned struct {
	*row
	key string
}

// visitAll plans rows in their order and, after them, what is next: when it is
// allowed, and when it fails. In a scope without consent, an ALLOW among the rows
// decides before that.
func (p *rowPlanner) visitAll(rows []planned, consent bool, next func() (judgment, error)) (judgment, error) {
	var errs, denies, allows []*formula // by row, but for allows
	for _, r := range rows {
		applies, err := p.applies(r)
		if err != nil {
			return judgment{}, err
		}
		denied := no
		switch r.effect {
		case Deny:
			denied = applies.holds
		case Allow:
			allows = append(allows, applies.holds)
		}
		errs, denies = append(errs, applies.errs), append(denies, denied)
		if denied == yes || applies.errs == yes {
			return judgment{no, p.first(errs, denies)}, nil
		}
	}
	allowed := no
	if !consent {
		allowed = p.or(allows...)
	}
	after := judgment{no, no}
	if allowed != yes {
		var err error
		if after, err = next(); err != nil {
			return judgment{}, err
		}
	}
	return judgment{
		p.and(p.none(errs), p.none(denies), p.or(allowed, after.holds)),
		p.first(append(errs, p.and(p.not(allowed), after.errs)), append(denies, no)),
	}, nil
}

// applies plans whether a row has its effect, as state.applies tells.
func (p *rowPlanner) applies(r planned) (judgment, error) {
	j, err := p.rowJudgment(r.row)
	if e, ok := errors.AsType[*PlanError](err); ok && e.Policy == "" && e != errTooLarge {
		placed := *e
		placed.Rule, placed.Policy, placed.Pos = r.rule.Name, r.key, r.rule.Pos
		return j, &placed
	}
	return j, err
}

func (p *rowPlanner) rowJudgment(r *row) (judgment, error) {
	role := judgment{yes, no}
	if r.derived != nil {
		var err error
		if role, err = p.outcomeOf(r.derived.condition); err != nil {
			return judgment{}, err
		}
	}
	if role.holds == no || r.condition == nil {
		return role, nil
	}
	own, err := p.own(r)
	if err != nil {
		return judgment{}, err
	}
	return judgment{p.and(role.holds, own.holds), p.or(role.errs, p.and(role.holds, own.errs))}, nil
}

// own plans the condition of the row itself.
func (p *rowPlanner) own(r *row) (judgment, error) {
	if r.condition.early {
		if p.set.options.LenientEvaluation {
			return judgment{constantly(r.effect == Deny), no}, nil
		}
		return judgment{no, yes}, nil
	}
	j, err := p.outcomeOf(r.condition)
	if err == nil && r.negated {
		j.holds = p.and(p.not(j.holds), p.not(j.errs))
	}
	return j, err
}

// outcomeOf plans a condition, once.
func (p *rowPlanner) outcomeOf(c *condition) (judgment, error) {
	if c == nil {
		return judgment{yes, no}, nil
	}
	if j, ok := p.plans[c.id]; ok {
		return j, nil
	}
	j, err := p.tree(c, c.root)
	if err == nil {
		p.plans[c.id] = j
	}
	return j, err
}

// tree plans a tree of conditions, as state.evaluate evaluates it.
func (p *rowPlanner) tree(c *condition, n *conditionNode) (judgment, error) {
	if n.op == policy.Expr {
		return p.leaf(c, n.program)
	}
	return p.group(c, n.op, n.of)
}

// group plans a group of conditions, which are evaluated one after the other until
// one decides.
func (p *rowPlanner) group(c *condition, op policy.Operator, of []*conditionNode) (judgment, error) {
	var holds, fails, errs []*formula // fails: it does not hold
	for _, n := range of {
		j, err := p.tree(c, n)
		if err != nil {
			return judgment{}, err
		}
		holds, fails, errs = append(holds, j.holds), append(fails, p.not(j.holds)), append(errs, j.errs)
		if j.errs == yes || j.holds == constantly(op != policy.All) {
			break
		}
	}
	switch op {
	case policy.All:
		return judgment{p.and(holds...), p.first(errs, fails)}, nil
	case policy.Any:
		failed := p.first(errs, holds)
		return judgment{p.and(p.not(failed), p.or(holds...)), failed}, nil
	default:
		return judgment{p.and(p.and(fails...), p.none(errs)), p.first(errs, holds)}, nil
	}
}

// leaf plans one expression of a condition.
func (p *rowPlanner) leaf(c *condition, program *expr.Program) (judgment, error) {
	if !c.readsRuntime {
		return p.residual(c, program, value.OfSequence(&noRoles), nil)
	}
	return p.underRoles(func(list value.Value) (judgment, error) { return p.residual(c, program, list, nil) })
}

// maxOpenRoles is how many derived roles a list may or may not have for a
// condition that reads it to be planned in each of the cases.
const maxOpenRoles = 8

// underRoles plans what depends on the list of derived roles, in all cases.
func (p *rowPlanner) underRoles(plan func(list value.Value) (judgment, error)) (judgment, error) {
	at := p.step
	if at < 0 || p.steps[at].unit == nil {
		return plan(value.OfSequence(&noRoles))
	}
	var open []judgment // of the roles that rows have or have not
	var names []string
	var active value.Strings
	p.step = at - 1
	derived := p.steps[at].unit.derived
	for i := range derived {
		d := &derived[i]
		if !d.anyRole && !p.hasRole(d.literal) {
			continue
		}
		j, err := p.outcomeOf(d.listed)
		switch {
		case err != nil:
			return judgment{}, err
		case j.holds == yes:
			active = append(active, d.name)
		case j.holds != no || j.errs != no:
			open, names = append(open, j), append(names, d.name)
		}
	}
	p.step = at
	if len(open) > maxOpenRoles {
		return judgment{}, &PlanError{Message: "the list of derived roles depends on the row in too many ways"}
	}
	j, err := p.cases(open, names, active, plan)
	if err != nil {
		return judgment{}, err
	}
	fails := no
	for _, role := range open {
		fails = p.or(fails, role.errs)
	}
	if fails == no {
		return j, nil
	}
	failed, err := plan(value.OfError(errRoleList))
	if err != nil {
		return judgment{}, err
	}
	return p.choose(fails, failed, j), nil
}

// errRoleList is what reading the list of derived roles is where one of them
// can't be told.
var errRoleList = errors.New("failed to compute effective derived roles")

// cases plans what depends on the list of derived roles, of which some are open.
func (p *rowPlanner) cases(open []judgment, names []string, active value.Strings, plan func(value.Value) (judgment, error)) (judgment, error) {
	if len(open) == 0 {
		list := slices.Clone(active)
		slices.Sort(list)
		return plan(value.OfSequence(&list))
	}
	with, err := p.cases(open[1:], names[1:], append(slices.Clip(active), names[0]), plan)
	if err != nil {
		return judgment{}, err
	}
	without, err := p.cases(open[1:], names[1:], active, plan)
	if err != nil {
		return judgment{}, err
	}
	return p.choose(open[0].holds, with, without), nil
}

// choose is a where test holds, and b where it does not.
func (p *rowPlanner) choose(test *formula, a, b judgment) judgment {
	either := func(a, b *formula) *formula {
		if a == b {
			return a
		}
		return p.or(p.and(test, a), p.and(p.not(test), b))
	}
	return judgment{either(a.holds, b.holds), either(a.errs, b.errs)}
}

// residual plans an expression, given a list of derived roles, and of some
// variables whether they fail.
func (p *rowPlanner) residual(c *condition, program *expr.Program, list value.Value, failing map[string]bool) (judgment, error) {
	r := rowReader{p, c.module, failing, nil}
	p.restart()
	p.frame.Set(slotRuntime, value.OfMapping(roleView{list}))
	p.enter(c.module)
	exact := p.reading.exact
	known := expr.Partial{Frame: p.frame, Read: r.read, Name: nameOf, Exact: exact, Faithful: !exact}
	r.known = &known
	left, err := program.Residual(&known)
	open, isOpen := errors.AsType[*openVariable](err)
	switch exceeded := p.exceeded(); {
	case exceeded != nil:
		return judgment{}, exceeded
	case isOpen:
		return p.underVariable(open, c, program, list, failing)
	case err != nil:
		return judgment{}, &PlanError{Expression: program.Source(), Message: err.Error()}
	}
	j := p.judge(left)
	if p.set.options.LenientEvaluation {
		j.errs = no
	}
	if j.holds.op == isLeaf && !c.readsRuntime && failing == nil {
		p.forms[origin{program, c.module}] = j.holds.about
	}
	return j, nil
}

// judge plans when what is left of an expression holds, and when it fails.
func (p *rowPlanner) judge(left expr.Residual) judgment {
	if left.Operand != nil {
		return p.judgmentOf(left.Operand, p.reading.exact)
	}
	return judgment{constantly(expr.IsTrue(left.Value)), constantly(left.Value.Kind() == value.Error)}
}

// mayFail tells whether an operand of a filter can fail. If in doubt it can.
func mayFail(o *Operand) bool { return mayFailWith(nil, *o) }

// mayFailWith is mayFail where some variables are there. Without them, what the
// operand is part of does not need it.
func mayFailWith(there []string, o Operand) bool {
	e := o.Expression
	if e == nil {
		return strings.HasPrefix(o.Variable, attrPrefix) && !slices.Contains(there, o.Variable)
	}
	some := func(there []string, of []Operand, tests bool) bool {
		return slices.ContainsFunc(of, func(o Operand) bool { return tests && !isTest(o) || mayFailWith(there, o) })
	}
	switch e.Operator {
	case "has":
		of := e.Operands[0]
		return of.Expression != nil || strings.Contains(strings.TrimPrefix(of.Variable, attrPrefix), ".")
	case "eq", "ne":
		return some(there, e.Operands, false)
	case "in":
		return e.Operands[1].Value.Kind() != value.List || mayFailWith(there, e.Operands[0])
	case "not":
		return some(there, e.Operands, true)
	case "and", "or":
		return some(guards(there, o, e.Operator), e.Operands, true)
	case "if":
		test, then, otherwise := e.Operands[:1], e.Operands[1], e.Operands[2]
		return some(there, test, true) || mayFailWith(guards(there, test[0], "and"), then) || mayFailWith(guards(there, test[0], "or"), otherwise)
	}
	return true
}

// isTest tells whether an operand is a boolean, if it is no error.
func isTest(o Operand) bool {
	switch e := o.Expression; {
	case e == nil:
		return isBool(o, true) || isBool(o, false)
	case e.Operator == "if":
		return isTest(e.Operands[1]) && isTest(e.Operands[2])
	default:
		return slices.Contains([]string{"has", "eq", "ne", "in", "not", "and", "or"}, e.Operator)
	}
}

// guards appends the variables that are there unless a conjunction is false, or a
// disjunction true.
func guards(there []string, o Operand, operator string) []string {
	e := o.Expression
	switch {
	case e == nil:
	case e.Operator == operator:
		for _, member := range e.Operands {
			there = guards(there, member, operator)
		}
	case e.Operator == "not" && operator == "or":
		there = guards(there, e.Operands[0], "and")
	case e.Operator == "not":
		there = guards(there, e.Operands[0], "or")
	case e.Operator == "has" && operator == "and" && e.Operands[0].Variable != "":
		there = append(slices.Clip(there), e.Operands[0].Variable)
	}
	return there
}

// An openVariable is a variable of which no more is known than when it fails,
// where it would be null.
type openVariable struct {
	name string
	left expr.Residual
}

func (*openVariable) Error() string { return "it depends on whether a variable fails" }

// maxOpenVariables is how many variables may fail or not for an expression that
// reads them to be planned in each of the cases.
const maxOpenVariables = 8

// underVariable plans an expression in both cases of an openVariable.
func (p *rowPlanner) underVariable(v *openVariable, c *condition, program *expr.Program, list value.Value, failing map[string]bool) (judgment, error) {
	if len(failing) == maxOpenVariables {
		return judgment{}, &PlanError{Expression: program.Source(), Message: "it depends on too many variables that may fail"}
	}
	var j [2]judgment
	for i, fails := range []bool{true, false} {
		with := map[string]bool{v.name: fails}
		for name, fails := range failing {
			with[name] = fails
		}
		var err error
		if j[i], err = p.residual(c, program, list, with); err != nil {
			return judgment{}, err
		}
	}
	return p.choose(p.judge(v.left).errs, j[0], j[1]), nil
}

// A rowReader tells what is known to the expressions of a module.
type rowReader struct {
	*rowPlanner
	module  *module
	failing map[string]bool // whether variables fail, where it matters
	known   *expr.Partial
}

// attrPrefix begins the names of variables that need not be there.
const attrPrefix = "request.resource.attr."

// read is expr.Partial.Read. The list of derived roles is known, since it is
// planned case by case.
func (r *rowReader) read(path []string) expr.Reading {
	if !r.spend(stepsPerMember) {
		return expr.Reading{}
	}
	switch path[0] {
	case "runtime":
		return expr.Reading{Known: true}
	case "V", "variables":
		if len(path) == 2 && r.module != nil && r.module.nullErrors {
			return r.nullable(path[1])
		}
	}
	return r.reading.read(path, r.module, r.known)
}

// nullable reads a variable that is null if it fails.
func (r *rowReader) nullable(name string) expr.Reading {
	program := r.module.programs[r.module.variables[name]]
	if program.Known(r.known) {
		return expr.Reading{Known: true}
	}
	return expr.Reading{Residual: func() (expr.Residual, error) {
		left, err := program.Residual(r.known)
		fails, decided := r.failing[name]
		switch {
		case err != nil:
			return expr.Residual{}, err
		case left.Operand == nil && left.Value.Kind() == value.Error || fails:
			return expr.Residual{Value: value.OfNull()}, nil
		case left.Operand != nil && !decided && mayFail(left.Operand):
			return expr.Residual{}, &openVariable{name, left}
		}
		return left, nil
	}}
}

// roleView shows a list of derived roles, or an error, as runtime.
type roleView struct{ list value.Value }

func (roleView) StructName() string { return "Runtime" }
func (roleView) Len() int           { return 1 }

func (v roleView) Lookup(field string) (value.Value, bool) {
	return v.list, field == "effectiveDerivedRoles" || field == "effective_derived_roles"
}

func (v roleView) Range(yield func(string, value.Value) bool) {
	yield("effectiveDerivedRoles", v.list)
}
