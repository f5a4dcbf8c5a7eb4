package engine

// This file makes plans hold under strict evaluation, where Check denies what it
// can't evaluate although another rule allows it. What the rules of an action come
// to says nothing of that. So it is held against the formula of PlanRows, and where
// it lets through what that does not, the formula takes its place.
//
// Plans have no operators for holds and errs. But what they let through is what
// evaluates to true, so that E is where it holds, (not E) where it is false, and
// (or E (not E)) where it does not fail.

// strict gives the filter of the action under strict evaluation. The other one, f,
// is what the rules come to.
func (a *actionPlan) strict(f Filter) (Filter, error) {
	rows := a.strictRows()
	allowed, err := rows.action(a.action)
	if err != nil {
		return Filter{}, err
	}
	d := rows.definitely()
	allowed = d.simplified(d.restricted(allowed))
	proven := !a.open && d.simplified(d.and(d.where(a.rules, true), d.not(allowed))) == no
	d.spend(allowed.size / bytesPerStep)
	switch err := d.exceeded(); {
	case err != nil:
		return Filter{}, err
	case proven:
		return f, nil
	}
	return filterOf(simplified(d.operand(allowed, definiteLeaf))), nil
}

// strictRows gives what tells which rows are allowed, for all actions.
func (p *planning) strictRows() *rowPlanner {
	if p.rows == nil {
		p.rows = newRowPlanner(planning{budget: p.budget, st: p.st, req: p.req})
	}
	return p.rows
}

// definiteFormulas are of leaves that are true where an expression holds, where it
// is false, or where it is one of the two.
type definiteFormulas struct {
	*formulas
	from  *rowPlanner
	known map[*formula]*formula // those of from
}

// definitely gives formulas of the same expressions.
func (p *rowPlanner) definitely() *definiteFormulas {
	d := &definiteFormulas{newFormulas(p.budget), p, map[*formula]*formula{no: no, yes: yes}}
	d.definite = true
	for _, e := range p.expressions {
		d.expressions = append(d.expressions, &expression{operand: e.operand, size: e.size, ends: e.ends, possible: e.ends})
	}
	return d
}

// restricted gives a formula that is true where one of rows is, but where a leaf of
// that is true of an expression that fails.
func (d *definiteFormulas) restricted(f *formula) *formula {
	out, ok := d.known[f]
	switch {
	case ok:
		return out
	case f.op == isLeaf:
		out = d.leaf(f.about, f.after&^inError)
	default:
		members := make([]*formula, len(f.of))
		for i, m := range f.of {
			members[i] = d.restricted(m)
		}
		out = d.join(f.op, members)
	}
	d.known[f] = out
	return out
}

// where gives a formula that is true at least where a clause is, or is false.
func (d *definiteFormulas) where(c *clause, truth bool) *formula {
	switch {
	case c.is(truth):
		return yes
	case c.is(!truth):
		return no
	case c.op == "":
		return d.ofCondition(c, truth)
	case c.op == "not":
		return d.where(c.of[0], !truth)
	}
	members := make([]*formula, len(c.of))
	for i, m := range c.of {
		members[i] = d.where(m, truth)
	}
	if (c.op == "and") == truth {
		return d.and(members...)
	}
	return d.or(members...)
}

// ofCondition is where for a condition. What it is beside true may be in another
// form: false where the expression fails.
func (d *definiteFormulas) ofCondition(c *clause, truth bool) *formula {
	about, ok := d.from.forms[c.from]
	if !ok {
		return yes
	}
	if truth {
		return d.leaf(about, inTrue)
	}
	if same := sure(d.expressions[about].operand); same.Equal(&c.leaf) {
		return d.leaf(about, inOther)
	}
	return d.leaf(about, inOther|inError)
}

// definiteLeaf spells a leaf by operators of plans.
func definiteLeaf(e *expression, after ends) Operand {
	switch after {
	case inTrue:
		return sure(e.operand)
	case inOther:
		return negation(e.operand)
	}
	return operation("or", e.operand, negation(e.operand))
}
