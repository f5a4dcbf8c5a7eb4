package engine

import (
	"cmp"
	"fmt"
	"slices"
)

// A formula is true or false of each row. It is never changed. Negations stand
// before leaves only.
type formula struct {
	op   formulaOp
	of   []*formula // of isAnd and isOr, at least two; of isNot the leaf
	leaf *Operand   // holds(E) or errs(E)

	graph int32 // what it says, among formulas.graphs
	size  int   // leaves, each as often as it stands there
}

type formulaOp uint8

const (
	isNo formulaOp = iota
	isYes
	isLeaf
	isNot
	isAnd
	isOr
)

var (
	no  = &formula{op: isNo, graph: 0}
	yes = &formula{op: isYes, graph: 1}
)

func constantly(b bool) *formula {
	if b {
		return yes
	}
	return no
}

// formulas makes formulas. What they say it keeps as binary decision diagrams:
// graphs that ask one leaf after the other, in the order in which these came up.
// Each is there once, so that formulas of one graph say the same.
type formulas struct {
	leaves map[string]*formula
	graphs []graph
	known  map[graph]int32    // graphs by what they are
	chosen map[[3]int32]int32 // results of choice

	// possible says that no expression both holds and fails.
	possible int32

	tooLong bool // a formula would have had more than maxLeaves
}

// A graph asks leaf number leaf. Graph 0 is false and 1 is true.
type graph struct{ leaf, ifTrue, ifFalse int32 }

// maxGraphs and maxChosen bound what it takes to tell what a filter says, and
// maxLeaves how long it is: a short graph may be that of a very long formula.
const (
	maxGraphs = 50_000
	maxChosen = 500_000
	maxLeaves = 30_000
)

const noLeaf = 1 << 30

func newFormulas() *formulas {
	return &formulas{
		leaves: map[string]*formula{}, graphs: []graph{{leaf: noLeaf}, {leaf: noLeaf}},
		known: map[graph]int32{}, chosen: map[[3]int32]int32{}, possible: 1,
	}
}

// spent tells whether formulas have become too many. What was made since says
// nothing.
func (s *formulas) spent() bool {
	return s.tooLong || len(s.graphs) > maxGraphs || len(s.chosen) > maxChosen
}

// graphOf gives a graph, which is made if it is not there yet.
func (s *formulas) graphOf(g graph) int32 {
	if g.ifTrue == g.ifFalse {
		return g.ifTrue
	}
	i, ok := s.known[g]
	if !ok {
		i = int32(len(s.graphs))
		s.graphs = append(s.graphs, g)
		s.known[g] = i
	}
	return i
}

// choice gives what says a where test is true, and b where it is false.
func (s *formulas) choice(test, a, b int32) int32 {
	switch {
	case test == 1 || a == b:
		return a
	case test == 0:
		return b
	case a == 1 && b == 0:
		return test
	case s.spent():
		return 0
	}
	key := [3]int32{test, a, b}
	if g, ok := s.chosen[key]; ok {
		return g
	}
	top := min(s.graphs[test].leaf, s.graphs[a].leaf, s.graphs[b].leaf)
	given := func(g int32, holds bool) int32 {
		switch x := s.graphs[g]; {
		case x.leaf != top:
			return g
		case holds:
			return x.ifTrue
		default:
			return x.ifFalse
		}
	}
	g := s.graphOf(graph{top,
		s.choice(given(test, true), given(a, true), given(b, true)),
		s.choice(given(test, false), given(a, false), given(b, false))})
	s.chosen[key] = g
	return g
}

// both gives what is true where a and b are; excluded what is where a is and b is
// not.
func (s *formulas) both(a, b int32) int32     { return s.choice(a, b, 0) }
func (s *formulas) excluded(a, b int32) int32 { return s.choice(b, 0, a) }

// leafOf gives the leaf holds(E) or errs(E). Expressions are the same if their JSON
// is: as text for people, the name of an attribute may look like other operands.
func (s *formulas) leafOf(operator string, e *Operand) *formula {
	encoded, err := e.AppendJSON(nil)
	text := string(encoded)
	if err != nil { // it can't be sent
		text = fmt.Sprintf("%p", e)
	}
	if f := s.leaves[operator+text]; f != nil {
		return f
	}
	for _, name := range []string{"holds", "errs"} {
		s.leaves[name+text] = &formula{
			op: isLeaf, size: 1, graph: s.graphOf(graph{int32(len(s.leaves)), 1, 0}),
			leaf: &Operand{Expression: &Expression{Operator: name, Operands: []Operand{*e}}},
		}
	}
	s.possible = s.excluded(s.possible, s.both(s.leaves["holds"+text].graph, s.leaves["errs"+text].graph))
	return s.leaves[operator+text]
}

// not pushes a negation down to the leaves.
func (s *formulas) not(f *formula) *formula {
	switch f.op {
	case isNo:
		return yes
	case isYes:
		return no
	case isLeaf:
		return &formula{op: isNot, of: []*formula{f}, graph: s.choice(f.graph, 0, 1), size: 1}
	case isNot:
		return f.of[0]
	}
	negated := make([]*formula, len(f.of))
	for i, m := range f.of {
		negated[i] = s.not(m)
	}
	return s.join(isAnd+isOr-f.op, negated)
}

func (s *formulas) and(of ...*formula) *formula { return s.join(isAnd, of) }
func (s *formulas) or(of ...*formula) *formula  { return s.join(isOr, of) }

// join is and, or or, flat and without repetitions.
func (s *formulas) join(op formulaOp, members []*formula) *formula {
	f := &formula{op: op, graph: yes.graph}
	if op == isOr {
		f.graph = no.graph
	}
	for _, m := range members {
		flat := []*formula{m}
		if m.op == op {
			flat = m.of
		}
		for _, m := range flat {
			if m.op <= isYes || slices.ContainsFunc(f.of, func(o *formula) bool { return o.graph == m.graph }) {
				continue
			}
			f.of = append(f.of, m)
			f.size += m.size
		}
		if s.tooLong = s.tooLong || f.size > maxLeaves; s.tooLong {
			return no
		}
		if op == isAnd {
			f.graph = s.both(f.graph, m.graph)
		} else {
			f.graph = s.choice(f.graph, 1, m.graph)
		}
	}
	switch {
	case s.both(f.graph, s.possible) == 0:
		return no
	case s.excluded(s.possible, f.graph) == 0:
		return yes
	case len(f.of) == 1:
		return f.of[0]
	}
	return f
}

// simplified leaves out the parts of a formula that say nothing that the others
// do not, the largest first.
func (s *formulas) simplified(f *formula) *formula {
	for {
		next := s.within(f, s.possible)
		if next.size == f.size {
			return next
		}
		f = next
	}
}

// within gives a formula that says what f does where another is true.
func (s *formulas) within(f *formula, where int32) *formula {
	switch {
	case s.both(where, f.graph) == 0:
		return no
	case s.excluded(where, f.graph) == 0:
		return yes
	case f.op != isAnd && f.op != isOr:
		return f
	}
	members := slices.Clone(f.of)
	order := make([]int, len(members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(members[b].size, members[a].size) })
	for _, i := range order {
		// The member matters only where all others leave it to it.
		matters := where
		for j, other := range members {
			switch {
			case j == i:
			case f.op == isAnd:
				matters = s.both(matters, other.graph)
			default:
				matters = s.excluded(matters, other.graph)
			}
		}
		members[i] = s.within(members[i], matters)
	}
	return s.join(f.op, members)
}

// operand gives the formula as a filter has it.
func (f *formula) operand() *Operand {
	if f.op == isLeaf {
		return f.leaf
	}
	e := &Expression{Operator: [...]string{isNot: "not", isAnd: "and", isOr: "or"}[f.op]}
	for _, m := range f.of {
		e.Operands = append(e.Operands, *m.operand())
	}
	return &Operand{Expression: e}
}
