package engine

import (
	"slices"
	"strings"

	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// A planning is the working memory of one plan. Its state shows what is known of
// the resources, as if it were all of one.
type planning struct {
	budget
	st    *state
	req   *PlanRequest
	exact bool // what is read is for residuals that are exact, see expr.Partial

	// What is known, by the module whose variables are shown. It depends on the
	// list of derived roles, which is another in each scope.
	partials map[*module]*expr.Partial
	at       int // the step that the list is of

	rows *rowPlanner // of Plan under strict evaluation; nil: nobody asked for it yet
}

// leaf gives what is left of an expression of a condition with a module. The
// error is why it can't be in a filter.
func (p *planning) leaf(program *expr.Program, m *module) (expr.Residual, error) {
	if p.at != p.st.at {
		p.at = p.st.at
		clear(p.partials)
	}
	partial := p.partials[m]
	if partial == nil {
		partial = p.partial(m)
		partial.Lenient = p.st.set.options.LenientEvaluation
		if p.partials == nil {
			p.partials = map[*module]*expr.Partial{}
		}
		p.partials[m] = partial
	}
	back := p.st.enter(m)
	defer p.st.enter(back)
	return program.Residual(partial)
}

// partial gives what is known to expressions with a module.
func (p *planning) partial(m *module) *expr.Partial {
	partial := &expr.Partial{Frame: p.st.frame, Name: nameOf}
	partial.Read = func(path []string) expr.Reading { return p.read(path, m, partial) }
	return partial
}

// read tells what a path stands for in an expression with a module.
func (p *planning) read(path []string, m *module, partial *expr.Partial) expr.Reading {
	switch path[0] {
	case "R":
		return p.readResource(path, path[1:])
	case "request":
		switch {
		case len(path) == 1:
			return p.whole("request")
		case path[1] == "resource":
			return p.readResource(path, path[2:])
		}
		return expr.Reading{Known: true}
	case "V", "variables":
		return p.readVariable(path, m, partial)
	case "runtime":
		if len(path) == 2 {
			return p.readRoles()
		}
		return expr.Reading{}
	}
	return expr.Reading{Known: true}
}

// whole is the reading of what can't be in an exact filter as a whole.
func (p *planning) whole(name string) expr.Reading {
	if p.exact {
		return expr.Reading{}
	}
	return expr.Reading{Name: name}
}

// nameOf gives what filters call a path.
func nameOf(path []string) string {
	switch path[0] {
	case "R":
		return "request.resource" + below(path)
	case "P":
		return "request.principal" + below(path)
	}
	return path[0] + below(path)
}

// below gives what is selected from the first of the names.
func below(path []string) string {
	switch len(path) {
	case 1:
		return ""
	case 3:
		return "." + path[1] + "." + path[2]
	}
	return "." + strings.Join(path[1:], ".")
}

// readResource tells what a path stands for that ends with names below the
// resource. Known are its kind, its scope, and the attributes that the request
// has.
func (p *planning) readResource(path, names []string) expr.Reading {
	switch {
	case len(names) == 0:
		return p.whole("request.resource")
	case len(names) == 1 && names[0] == "attr":
		return p.whole("request.resource.attr")
	case names[0] == "kind" || names[0] == "scope":
		return expr.Reading{Known: true}
	case p.exact && names[0] == "policy_version": // the other spelling of the field
		return expr.Reading{Name: "request.resource.policyVersion", Always: true}
	case names[0] != "attr":
		return expr.Reading{Name: nameOf(path), Always: true}
	}
	if known := p.req.Resource.Attr; known != nil {
		if _, ok := known.Lookup(names[1]); ok {
			return expr.Reading{Known: true}
		}
	}
	if slices.ContainsFunc(names, expr.Ambiguous) {
		return expr.Reading{} // would be taken for another path
	}
	return expr.Reading{Name: nameOf(path)}
}

// readVariable tells what a variable of a module stands for.
func (p *planning) readVariable(path []string, m *module, partial *expr.Partial) expr.Reading {
	if len(path) != 2 || m == nil {
		return expr.Reading{}
	}
	i, ok := m.variables[path[1]]
	if !ok {
		return expr.Reading{Known: true} // an error
	}
	program := m.programs[i]
	if m.nullErrors && !program.Known(partial) {
		return expr.Reading{Residual: func() (expr.Residual, error) { return p.orNull(program, m) }}
	}
	return expr.Reading{Program: program}
}

// orNull gives what is left of a variable that is null where it fails. No operator
// of a plan tells where that is, so that what reads it may take nothing for granted.
func (p *planning) orNull(program *expr.Program, m *module) (expr.Residual, error) {
	partial := p.partial(m)
	partial.Part = true
	left, err := program.Residual(partial)
	if err == nil && left.Operand == nil && left.Value.Kind() == value.Error {
		left.Value = value.OfNull()
	}
	left.Boolean = false
	return left, err
}

// readRoles tells what the list of derived roles of the scope in progress stands
// for.
func (p *planning) readRoles() expr.Reading {
	st := p.st
	if st.isOverride || st.at < 0 || p.listKnown(st.at) {
		return expr.Reading{Known: true}
	}
	return expr.Reading{Residual: func() (expr.Residual, error) { return p.list(st.at) }}
}

// before does something as it is done before the list of derived roles of a step
// is known.
func (p *planning) before(step int, do func()) {
	st := p.st
	at := st.at
	st.at = step - 1
	do()
	st.at = at
}

// listed gives the derived roles that may be in the list of a step, by name.
func (p *planning) listed(step int) []*derivedRole {
	var out []*derivedRole
	unit := p.st.steps[step].unit
	if unit == nil {
		return nil
	}
	for i := range unit.derived {
		if d := &unit.derived[i]; d.anyRole || p.st.hasRole(d.literal) {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *derivedRole) int { return strings.Compare(a.name, b.name) })
	return out
}

// listKnown tells whether the conditions of all roles in the list are known.
func (p *planning) listKnown(step int) bool {
	known := true
	p.before(step, func() {
		for _, d := range p.listed(step) {
			known = known && (d.listed == nil || p.known(d.listed.root, d.listed.module))
		}
	})
	return known
}

// known tells whether all that a condition reads is known.
func (p *planning) known(n *conditionNode, m *module) bool {
	if n.op == policy.Expr {
		return n.program.Known(p.partial(m))
	}
	return !slices.ContainsFunc(n.of, func(member *conditionNode) bool { return !p.known(member, m) })
}

// list gives the list of derived roles as a sum of lists, each of one role or
// empty.
func (p *planning) list(step int) (sum expr.Residual, err error) {
	var terms []Operand
	roles := p.listed(step)
	p.before(step, func() {
		for _, d := range roles {
			var term Operand
			if term, err = p.listTerm(d); err != nil {
				return
			}
			terms = append(terms, term)
		}
	})
	if err != nil {
		return expr.Residual{}, err
	}
	if !slices.ContainsFunc(terms, func(t Operand) bool { return t.Expression != nil || t.Variable != "" }) {
		var names value.Strings // what is unknown makes no difference
		for _, t := range terms {
			for i := range t.Value.Sequence().Len() {
				names = append(names, t.Value.Sequence().At(i).Str())
			}
		}
		return expr.Residual{Value: value.OfSequence(names)}, nil
	}
	out := terms[len(terms)-1]
	for _, t := range slices.Backward(terms[:len(terms)-1]) {
		out = operation("add", t, out)
	}
	return expr.Residual{Operand: &out}, nil
}

// listTerm gives the list of a role if its condition holds, and an empty one if
// not.
func (p *planning) listTerm(d *derivedRole) (Operand, error) {
	role, none := constant(value.OfSequence(value.Strings{d.name})), constant(value.OfSequence(value.Strings{}))
	if d.listed == nil {
		return role, nil
	}
	test, err := p.term(d.listed.root, d.listed.module)
	switch {
	case err != nil:
		return Operand{}, err
	case isBool(test, true):
		return role, nil
	case isBool(test, false):
		return none, nil
	}
	return operation("if", test, role, none), nil
}

func operation(operator string, operands ...Operand) Operand {
	return Operand{Expression: &Expression{Operator: operator, Operands: operands}}
}

func constant(v value.Value) Operand { return Operand{Value: v} }

// isBool tells whether an operand is a certain boolean.
func isBool(o Operand, b bool) bool {
	return o.Expression == nil && o.Variable == "" && o.Value.Kind() == value.Bool && o.Value.Bool() == b
}

// term gives a condition as one expression. In a list of derived roles it holds
// or not, or is an error under strict evaluation, as conditions of rules are.
func (p *planning) term(n *conditionNode, m *module) (Operand, error) {
	if n.op == policy.Expr {
		return p.leafTerm(n, m)
	}
	members := make([]Operand, len(n.of))
	for i, member := range n.of {
		var err error
		if members[i], err = p.term(member, m); err != nil {
			return Operand{}, err
		}
	}
	// A member that is known to decide does so wherever it stands, as in tree.
	out := constant(value.OfBool(n.op != policy.Any))
	for _, member := range slices.Backward(members) {
		switch {
		case n.op == policy.All:
			out = p.both(member, out)
		case n.op == policy.Any:
			out = p.either(member, out)
		default:
			out = p.both(negation(member), out)
		}
	}
	return out, nil
}

func negation(o Operand) Operand {
	switch {
	case isBool(o, true):
		return constant(value.OfBool(false))
	case isBool(o, false):
		return constant(value.OfBool(true))
	}
	return operation("not", o)
}

func (p *planning) both(a, b Operand) Operand {
	switch {
	case isBool(a, true), isBool(b, false):
		return b
	case isBool(a, false), isBool(b, true):
		return a
	}
	return operation("and", a, b)
}

func (p *planning) either(a, b Operand) Operand {
	switch {
	case isBool(a, false), isBool(b, true):
		return b
	case isBool(a, true), isBool(b, false):
		return a
	}
	return operation("or", a, b)
}

func (p *planning) leafTerm(n *conditionNode, m *module) (Operand, error) {
	res, err := p.leaf(n.program, m)
	switch {
	case err != nil:
		return Operand{}, err
	case res.Operand == nil && res.Value.Kind() == value.Error && !p.st.set.options.LenientEvaluation:
		return Operand{}, res.Value.Err()
	case res.Operand == nil:
		return constant(value.OfBool(res.Value.Bool())), nil
	}
	return *res.Operand, nil
}
