package engine

import (
	"slices"
	"strings"

	"edict/engine/expr"
	"edict/engine/value"
)

// A clause is a node of what rules come to: a condition, or and, or, not of
// clauses. Nil is no clause at all, as of a scope without rules.
//
// Clauses are combined as Cerbos does it, which looks at whether a clause is a
// constant, and simplifies only when all is said.
type clause struct {
	op   string // and, or, not; empty of a condition
	of   []*clause
	leaf Operand // of a condition
	from origin  // of leaf, if it is what is left of one expression
}

// An origin is where a condition is from: an expression, and the module whose
// variables it reads.
type origin struct {
	program *expr.Program
	module  *module
}

func settled(b bool) *clause { return &clause{leaf: constant(value.OfBool(b))} }

// is tells whether a clause is a certain constant.
func (c *clause) is(b bool) bool { return c != nil && c.op == "" && isBool(c.leaf, b) }

// inverted gives the opposite of a clause.
func (c *clause) inverted() *clause {
	if c.op == "not" {
		return c.of[0]
	}
	return &clause{op: "not", of: []*clause{c}}
}

// same tells whether two clauses say the same in the same way.
func (c *clause) same(other *clause) bool {
	if c == other {
		return true
	}
	if c.op != other.op || len(c.of) != len(other.of) || c.op == "" && !c.leaf.Equal(&other.leaf) {
		return false
	}
	for i := range c.of {
		if !c.of[i].same(other.of[i]) {
			return false
		}
	}
	return true
}

// joined combines clauses, of which nil and repeated ones are left out.
func joined(op string, clauses ...*clause) *clause {
	kept := make([]*clause, 0, len(clauses))
	for _, c := range clauses {
		if c != nil && !slices.ContainsFunc(kept, c.same) {
			kept = append(kept, c)
		}
	}
	switch len(kept) {
	case 0:
		return nil
	case 1:
		return kept[0]
	}
	return &clause{op: op, of: kept}
}

// either is joined by or, as it is done when a clause is added to others.
func either(c, next *clause) *clause {
	switch {
	case next == nil:
		return c
	case c == nil:
		return next
	}
	return joined("or", c, next)
}

// operand gives a clause as it is.
func (c *clause) operand() Operand {
	if c.op == "" {
		return c.leaf
	}
	operands := make([]Operand, len(c.of))
	for i, member := range c.of {
		operands[i] = member.operand()
	}
	return operation(c.op, operands...)
}

// filter gives a clause as a filter.
func (c *clause) filter() Filter { return filterOf(simplified(c.operand())) }

// filterOf gives a condition as a filter.
func filterOf(o Operand) Filter {
	switch {
	case isBool(o, true):
		return Filter{Kind: AlwaysAllowed}
	case isBool(o, false):
		return Filter{Kind: AlwaysDenied}
	}
	return Filter{Kind: Conditional, Condition: &o}
}

// simplified gives an operand in the form that filters have: constants folded,
// repetitions left out, and "in" as a comparison where that is the same.
func simplified(o Operand) Operand {
	if o.Expression == nil {
		return o
	}
	op, before := o.Expression.Operator, o.Expression.Operands
	if op == "in" && len(before) == 2 {
		if list := before[1]; list.Expression == nil && list.Variable == "" {
			if s := list.Value.Sequence(); s != nil && s.Len() == 1 {
				op, before = "eq", []Operand{before[0], constant(s.At(0))}
			}
		}
	}
	if op != "and" && op != "or" && op != "not" {
		operands := make([]Operand, len(before))
		for i := range before {
			operands[i] = simplified(before[i])
		}
		return operation(op, operands...)
	}
	operands := make([]Operand, 0, len(before))
	for _, x := range before {
		x = simplified(x)
		switch {
		case op == "and" && isBool(x, false), op == "or" && isBool(x, true):
			return x
		case op == "and" && isBool(x, true), op == "or" && isBool(x, false):
			continue
		case op == "not" && isBool(x, true), op == "not" && isBool(x, false):
			return negation(x)
		}
		if !slices.ContainsFunc(operands, func(o Operand) bool { return o.Equal(&x) }) {
			operands = append(operands, x)
		}
	}
	switch {
	case len(operands) == 0:
		return constant(value.OfBool(op == "and"))
	case len(operands) == 1 && op != "not":
		return operands[0]
	}
	return operation(op, operands...)
}

// allOf gives the filter of what all of several filters let through.
func allOf(filters []Filter) Filter {
	if len(filters) == 1 {
		return filters[0]
	}
	type condition struct {
		*Operand
		text string // which others may have, too, by the names of attributes
	}
	var conditions []condition
	for i := range filters {
		f := &filters[i]
		switch f.Kind {
		case AlwaysDenied:
			return Filter{}
		case Conditional:
			if !slices.ContainsFunc(conditions, func(c condition) bool { return c.Equal(f.Condition) }) {
				conditions = append(conditions, condition{f.Condition, f.Condition.String()})
			}
		}
	}
	slices.SortStableFunc(conditions, func(a, b condition) int { return strings.Compare(a.text, b.text) })
	operands := make([]Operand, len(conditions))
	for i, c := range conditions {
		operands[i] = *c.Operand
	}
	switch {
	case len(filters) == 0:
		return Filter{}
	case len(operands) == 0:
		return Filter{Kind: AlwaysAllowed}
	case len(operands) == 1:
		return Filter{Kind: Conditional, Condition: &operands[0]}
	}
	all := operation("and", operands...)
	return Filter{Kind: Conditional, Condition: &all}
}
