package engine

import "slices"

// graphs tell of formulas what they say, by decision diagrams: graphs that ask of one
// expression after the other what its evaluation ends in. Each is there once, so
// that formulas of one graph say the same.
type graphs struct {
	nodes  []graph
	known  map[graph]int32    // graphs by what they are
	chosen map[[3]int32]int32 // results of choice
	of     map[*formula]int32 // graphs of formulas
	by     map[int32]*formula // the shortest formula of a graph
	left   int                // choices that may still be made; negative: what was made since says nothing
}

// A graph asks about an expression, and goes on by whether that ends in true, in an
// error, or in something else. Graph 0 is false and 1 is true.
type graph struct {
	about int32
	next  [3]int32
}

// Formulas are compared by graphs only as long as there are no more expressions than
// maxCompared, and no more than maxChoices were made: the cases may become very many.
const (
	maxCompared = 50
	maxChoices  = 30_000
)

// nothing is what graphs 0 and 1 ask about: it comes behind all expressions.
const nothing = 1 << 30

func newGraphs() graphs {
	return graphs{
		nodes: []graph{{about: nothing}, {about: nothing}},
		known: map[graph]int32{}, chosen: map[[3]int32]int32{}, of: map[*formula]int32{no: 0, yes: 1}, by: map[int32]*formula{0: no, 1: yes}, left: maxChoices,
	}
}

// graph gives a graph, which is made if it is not there yet.
func (s *graphs) graph(g graph) int32 {
	if g.next[0] == g.next[1] && g.next[1] == g.next[2] {
		return g.next[0]
	}
	i, ok := s.known[g]
	if !ok {
		i = int32(len(s.nodes))
		s.nodes = append(s.nodes, g)
		s.known[g] = i
	}
	return i
}

// choice gives what says a where test is true, and b where it is false.
func (s *graphs) choice(test, a, b int32) int32 {
	switch {
	case test == 1 || a == b:
		return a
	case test == 0:
		return b
	case a == 1 && b == 0:
		return test
	}
	key := [3]int32{test, a, b}
	if g, ok := s.chosen[key]; ok {
		return g
	}
	if s.left--; s.left < 0 {
		return 0
	}
	g := graph{about: min(s.nodes[test].about, s.nodes[a].about, s.nodes[b].about)}
	after := func(at int32, end int) int32 {
		if n := &s.nodes[at]; n.about == g.about {
			return n.next[end]
		}
		return at
	}
	for end := range g.next {
		g.next[end] = s.choice(after(test, end), after(a, end), after(b, end))
	}
	made := s.graph(g)
	s.chosen[key] = made
	return made
}

// both gives what is true where a and b are; excluded what is where a is and b is
// not.
func (s *graphs) both(a, b int32) int32     { return s.choice(a, b, 0) }
func (s *graphs) excluded(a, b int32) int32 { return s.choice(b, 0, a) }

// narrowed gives those of some cases that a member of a formula leaves to the others:
// in and those where it is true, in or those where it is false.
func (s *graphs) narrowed(cases int32, op formulaOp, member *formula) int32 {
	if op == isAnd {
		return s.both(cases, s.graphOf(member))
	}
	return s.excluded(cases, s.graphOf(member))
}

// graphOf gives the graph of a formula.
func (s *graphs) graphOf(f *formula) int32 {
	if g, ok := s.of[f]; ok {
		return g
	}
	var g int32
	switch f.op {
	case isLeaf:
		at := graph{about: f.about}
		for end := range at.next {
			if f.after&(1<<end) != 0 {
				at.next[end] = 1
			}
		}
		g = s.graph(at)
	default:
		// The last first, since graphs that ask about what comes later are below.
		g = s.graphOf(f.of[len(f.of)-1])
		for _, m := range slices.Backward(f.of[:len(f.of)-1]) {
			if f.op == isAnd {
				g = s.choice(s.graphOf(m), g, 0)
			} else {
				g = s.choice(s.graphOf(m), 1, g)
			}
		}
	}
	s.of[f] = g
	return g
}

// compares tells whether graphs are of use.
func (s *formulas) compares() bool { return len(s.expressions) <= maxCompared && s.graphs.left >= 0 }

// shortest gives the shortest formula known that says what another one does.
func (s *formulas) shortest(f *formula) *formula {
	if !s.compares() {
		return f
	}
	g := s.graphs.graphOf(f)
	switch known := s.graphs.by[g]; {
	case s.graphs.left < 0:
		return f
	case known != nil && known.size <= f.size:
		return known
	}
	s.graphs.by[g] = f
	return f
}

// refined leaves out what says nothing that the rest of a formula does not, which
// takes a look at all cases.
func (s *formulas) refined(f *formula) *formula {
	for s.compares() {
		next := s.where(1, f)
		if next == f || s.graphs.left < 0 {
			break
		}
		f = next
	}
	return f
}

// where gives a formula that says what f does in some cases, and of which all is left
// out that can be, the largest first.
func (s *formulas) where(cases int32, f *formula) *formula {
	graphs := &s.graphs
	switch g := graphs.graphOf(f); {
	case graphs.both(cases, g) == 0:
		return no
	case graphs.excluded(cases, g) == 0:
		return yes
	case f.op != isAnd && f.op != isOr:
		return f
	}
	members := slices.Clone(f.of)
	order := ordered(members, func(m *formula) int { return -m.size })
	behind := make([]int32, len(members)) // cases that those behind a member leave to it
	for k, i := range slices.Backward(order) {
		behind[k] = cases
		cases = graphs.narrowed(cases, f.op, members[i])
	}
	before := int32(1)
	for k, i := range order {
		members[i] = s.where(graphs.both(before, behind[k]), members[i])
		before = graphs.narrowed(before, f.op, members[i])
	}
	return s.join(f.op, s.flattened(nil, f.op, members))
}
