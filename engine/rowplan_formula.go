package engine

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"edict/engine/expr"
	"edict/engine/value"
)

// A formula is true or false of each row. It never changes. Formulas of the same
// members are one formula, whoever made them.
type formula struct {
	op   formulaOp
	of   []*formula // of isAnd and isOr, at least two
	size int        // bytes of JSON, nearly, of each leaf as often as it stands there; at most maxSize

	number   int32    // among all formulas
	negation *formula // nil: nobody asked for it yet

	// Of leaves: which expression they are about, and after which ends of its
	// evaluation they are true.
	about int32
	after ends
}

type formulaOp uint8

const (
	isNo formulaOp = iota
	isYes
	isLeaf
	isAnd
	isOr
)

var (
	no  = &formula{op: isNo, number: 0}
	yes = &formula{op: isYes, number: 1}
)

func constantly(b bool) *formula {
	if b {
		return yes
	}
	return no
}

// ends is a set of what the evaluation of an expression may end in.
type ends uint8

const (
	inTrue  ends = 1 << iota
	inError      // of the evaluation
	inOther      // false, or a value that is no boolean

	inAny = inTrue | inError | inOther
)

// A budget is what may be spent on a filter: the steps of a frame, as long as ctx
// lasts.
type budget struct {
	ctx   context.Context
	frame *expr.Frame
}

// spend takes steps, and tells whether there were so many. What is made from then
// on says nothing.
func (b *budget) spend(steps int) bool { return b.frame.Spend(steps) && b.ctx.Err() == nil }

// exceeded says why nothing more may be spent, if that is so.
func (b *budget) exceeded() error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if b.frame.Spent() {
		return errTooLarge
	}
	return nil
}

// errTooLarge is of a filter as a whole, wherever that is found.
var errTooLarge = &PlanError{Message: "the filter is too large, or takes too many steps to find"}

// What formulas take of the steps of a frame. A step is some twenty nanoseconds.
const (
	stepsPerMember = 3 // that a formula is made of, or that is looked at
	bytesPerStep   = 8 // of JSON
)

const maxSize = 1 << 30

// formulas makes formulas.
type formulas struct {
	budget
	definite    bool // leaves are spelled by definiteLeaf
	expressions []*expression
	numbers     map[string]int32    // of expressions, by their JSON
	joined      map[string]*formula // by operator and numbers of members
	made        int32               // formulas that there are
	marks       []int32             // by number of formula: the join that met it last
	joins       int32
	key         []byte

	// What is assumed of the rows in question, beside what may still become of
	// expressions.
	assumed map[*formula]bool // of isAnd and isOr: whether they are true
	trail   []assumption

	graphs graphs
}

// An expression is what leaves are about.
type expression struct {
	operand  Operand
	size     int  // bytes of JSON
	ends     ends // of its evaluation, that there are
	possible ends // those of them that are left by what is assumed
	leaves   [inAny + 1]*formula
}

// An assumption is what was there before one.
type assumption struct {
	of       *formula // whose truth was not known; nil: the ends of an expression were more
	about    int32
	possible ends
}

func newFormulas(b budget) *formulas {
	return &formulas{budget: b, numbers: map[string]int32{}, joined: map[string]*formula{}, made: 2, marks: make([]int32, 2), assumed: map[*formula]bool{}, graphs: newGraphs()}
}

// add makes a formula one of those that there are.
func (s *formulas) add(f *formula) *formula {
	f.number = s.made
	s.made++
	s.marks = append(s.marks, 0)
	return f
}

// judgmentOf tells by two leaves when an expression holds and when it fails.
// Expressions are the same if their JSON is: as text for people, the name of an
// attribute may look like other operands. Exact tells that the expression is an
// exact residual.
func (s *formulas) judgmentOf(e *Operand, exact bool) judgment {
	encoded, err := e.AppendJSON(nil)
	s.spend(len(encoded) / bytesPerStep)
	text := string(encoded)
	if err != nil { // it can't be sent
		text = fmt.Sprintf("%p", e)
	}
	about, ok := s.numbers[text]
	if !ok {
		about = int32(len(s.expressions))
		after := endsOf(e, exact)
		s.expressions = append(s.expressions, &expression{operand: *e, size: len(text), ends: after, possible: after})
		s.numbers[text] = about
	}
	return judgment{s.leaf(about, inTrue), s.leaf(about, inError)}
}

// endsOf gives what the evaluation of an expression may end in, and perhaps more.
// Inexact residuals may end in a value that is no boolean where the expression fails.
func endsOf(e *Operand, exact bool) ends {
	out := inTrue | inOther
	if mayFail(e) || !exact && !isTest(*e) {
		out |= inError
	}
	if x := e.Expression; x != nil && x.Operator == "in" && isNothing(x.Operands[1]) {
		out &^= inTrue
	}
	return out
}

// isNothing tells whether an operand is an empty list.
func isNothing(o Operand) bool { return o.Value.Kind() == value.List && o.Value.Sequence().Len() == 0 }

// leaf is true after some ends of the evaluation of an expression.
func (s *formulas) leaf(about int32, after ends) *formula {
	e := s.expressions[about]
	switch after &= e.ends; {
	case after == 0:
		return no
	case after == e.ends:
		return yes
	case e.leaves[after] == nil:
		f := &formula{op: isLeaf, about: about, after: after}
		f.size = e.size + len(`{"expression":{"operator":"holds","operands":[]}},`)
		if f.isNegative() {
			f.size += len(`{"expression":{"operator":"not","operands":[]}},`)
		}
		if s.definite && after == inTrue|inOther {
			f.size += e.size
		}
		e.leaves[after] = s.add(f)
	}
	return e.leaves[after]
}

// isNegative tells whether a leaf is shown as the negation of another one.
func (f *formula) isNegative() bool { return f.after&inOther != 0 }

// not pushes a negation down to the leaves.
func (s *formulas) not(f *formula) *formula {
	switch {
	case f == no:
		return yes
	case f == yes:
		return no
	case f.negation != nil:
		return f.negation
	}
	var n *formula
	if f.op == isLeaf {
		n = s.leaf(f.about, inAny&^f.after)
	} else {
		negated := make([]*formula, len(f.of))
		for i, m := range f.of {
			negated[i] = s.not(m)
		}
		n = s.join(isAnd+isOr-f.op, negated)
	}
	if n != no && n != yes { // those are everybody's
		f.negation, n.negation = n, f
	}
	return n
}

func (s *formulas) and(of ...*formula) *formula { return s.join(isAnd, of) }
func (s *formulas) or(of ...*formula) *formula  { return s.join(isOr, of) }

// none is true where all of the formulas are false.
func (s *formulas) none(of []*formula) *formula { return s.not(s.or(of...)) }

// first is true where one of some formulas is, and none of those that preclude it:
// preclude[j] precludes what stands behind formula j.
func (s *formulas) first(of, preclude []*formula) *formula {
	if len(of) == 1 {
		return of[0]
	}
	// Part by part, lest formulas are nested as deep as there are rules.
	behind := no
	for part := (len(of) + mostParts - 1) / mostParts; len(of) > 0; {
		at := (len(of) - 1) / part * part
		if behind != no {
			behind = s.and(s.none(preclude[at:]), behind)
		}
		behind = s.or(s.first(of[at:], preclude[at:]), behind)
		of, preclude = of[:at], preclude[:at]
	}
	return behind
}

// mostParts is how many formulas stand behind each other before they are nested.
const mostParts = 4

// join is and, or or, without repetitions.
func (s *formulas) join(op formulaOp, members []*formula) *formula {
	if !s.spend((len(members) + 1) * stepsPerMember) {
		return no
	}
	neutral, decisive := yes, no
	if op == isOr {
		neutral, decisive = no, yes
	}
	s.joins++
	s.key = append(s.key[:0], byte(op))
	size, only, n := len(`{"expression":{"operator":"and","operands":[]}},`), neutral, 0
	for _, m := range members {
		switch {
		case m == decisive:
			return decisive
		case m == neutral || s.marks[m.number] == s.joins:
			continue
		case n == 0:
			only = m
		}
		s.marks[m.number] = s.joins
		s.key = binary.LittleEndian.AppendUint32(s.key, uint32(m.number))
		size, n = min(size+m.size, maxSize), n+1
	}
	if n < 2 {
		return only
	}
	f := s.joined[string(s.key)]
	if f == nil {
		f = s.add(&formula{op: op, of: make([]*formula, 0, n), size: size})
		for _, m := range members {
			if m != neutral && s.marks[m.number] == s.joins {
				f.of = append(f.of, m)
				s.marks[m.number] = 0
			}
		}
		key := string(s.key)
		f = s.shortest(f)
		s.joined[key] = f
	}
	return f
}

// simplified leaves out what says nothing that the rest of a formula does not.
func (s *formulas) simplified(f *formula) *formula {
	for s.exceeded() == nil {
		next := s.within(f)
		if next == f {
			return s.refined(f)
		}
		f = next
	}
	return f
}

// within gives a formula that says what another one does where that is true which
// is assumed.
func (s *formulas) within(f *formula) *formula {
	if !s.spend(stepsPerMember) {
		return no
	}
	switch f.op {
	case isNo, isYes:
		return f
	case isLeaf:
		switch possible := s.expressions[f.about].possible; {
		case possible&f.after == 0:
			return no
		case possible&^f.after == 0:
			return yes
		}
		return f
	}
	if truth, ok := s.assumed[f]; ok {
		return constantly(truth)
	}
	// A member of and matters only where the others are true, and one of or where
	// they are false. So that is assumed for those behind it, which are the larger ones.
	truth := f.op == isAnd
	members := s.flattened(nil, f.op, f.of)
	before := len(s.trail)
	for _, i := range ordered(members, func(m *formula) int { return m.weight(truth) }) {
		members[i] = s.within(members[i])
		if !s.assume(members[i], truth) {
			s.forget(before)
			return constantly(!truth)
		}
	}
	s.forget(before)
	out := s.join(f.op, s.flattened(nil, f.op, members))
	if truth, ok := s.assumed[out]; ok {
		return constantly(truth)
	}
	return out
}

// ordered gives the indices of formulas, the lightest first.
func ordered(of []*formula, weight func(*formula) int) []int {
	order := make([]int, len(of))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weight(of[a]), weight(of[b])) })
	return order
}

// flattened appends formulas, and in place of those with an operator their members,
// but for those that something is assumed of.
func (s *formulas) flattened(dst []*formula, op formulaOp, of []*formula) []*formula {
	for _, m := range of {
		if !s.spend(1) {
			return dst
		}
		if _, known := s.assumed[m]; m.op == op && !known {
			dst = s.flattened(dst, op, m.of)
		} else {
			dst = append(dst, m)
		}
	}
	return dst
}

// weight orders the members of a formula: leaves before all others, and first those
// of which more can be assumed.
func (f *formula) weight(truth bool) int {
	switch {
	case f.op == isAnd || f.op == isOr:
		return f.size
	case truth != f.isNegative():
		return 1
	}
	return 2
}

// assume takes a formula for true, or for false. It tells whether that is possible.
func (s *formulas) assume(f *formula, truth bool) bool {
	if !s.spend(stepsPerMember) {
		return false
	}
	switch f.op {
	case isNo, isYes:
		return f == constantly(truth)
	case isLeaf:
		e, after := s.expressions[f.about], f.after
		if !truth {
			after = inAny &^ after
		}
		s.trail = append(s.trail, assumption{about: f.about, possible: e.possible})
		e.possible &= after
		return e.possible != 0
	}
	if known, ok := s.assumed[f]; ok {
		return known == truth
	}
	s.remember(f, truth)
	if n := f.negation; n != nil {
		s.remember(n, !truth)
	}
	if truth == (f.op == isAnd) {
		for _, m := range f.of {
			if !s.assume(m, truth) {
				return false
			}
		}
	}
	return true
}

func (s *formulas) remember(f *formula, truth bool) {
	s.assumed[f] = truth
	s.trail = append(s.trail, assumption{of: f})
}

// forget takes assumptions back, down to the first n.
func (s *formulas) forget(n int) {
	for _, a := range slices.Backward(s.trail[n:]) {
		if a.of != nil {
			delete(s.assumed, a.of)
		} else {
			s.expressions[a.about].possible = a.possible
		}
	}
	s.trail = s.trail[:n]
}

// operand gives a formula as a filter has it, given the operands of leaves.
func (s *formulas) operand(f *formula, leaf func(e *expression, after ends) Operand) Operand {
	switch f.op {
	case isNo, isYes:
		return constant(value.OfBool(f == yes))
	case isLeaf:
		return leaf(s.expressions[f.about], f.after)
	}
	operands := make([]Operand, len(f.of))
	for i, m := range f.of {
		operands[i] = s.operand(m, leaf)
	}
	return operation([...]string{isAnd: "and", isOr: "or"}[f.op], operands...)
}
