package routing

import (
	"hash/maphash"
	"math/bits"
)

// A cell is a place of the table that is reached by some pattern segments, or a
// host: a node as the search needs it. Cells that a literal leads to are found by
// hash. A cell fills a line of the processor's caches, which makes a step of the
// search one miss at worst, however many routes there are.
//
// Cells are named by their index plus one, so that zero is none.
type cell struct {
	hash   uint32
	parent int32    // where the literal stands; noParent of cells that none leads to, zero if the cell is free
	length uint32   // of the literal
	text   [24]byte // the literal; of a longer one the first bytes, and long holds it

	one, rest int32     // where a plain wildcard and ** lead to
	affixes   int32     // index in Table.affixes, plus one
	any       routesRef // for every method but CONNECT
	first     routesRef // for one more method
	more      int32     // index in Table.more, plus one: for the methods but the first
	method    uint16    // of first, see Table.methods; zero: none
	literals  bool      // some lead on from here
}

// The parents of cells that are no path's.
const (
	hostParent     = -1 // of exact hosts
	wildcardParent = -2 // of what follows "*." in hosts
	noParent       = -3
)

// A routesRef names what is found at the end of a search: a route of plain
// requests without matchers by its index plus one, or a slot by its index,
// inverted. Zero is none.
type routesRef int32

// A methodRef is a method and its routes.
type methodRef struct {
	method uint16
	routes routesRef
}

// affixes are the wildcards with text before or after them at one place.
type affixes struct {
	lengths []affixLength // different ones, in the order in which they are tried
	cells   map[affix]int32
}

// find gives the cell of the affix of these lengths that text has.
func (a *affixes) find(l affixLength, text string) int32 {
	if len(text) < l.prefix+l.suffix {
		return 0
	}
	return a.cells[affix{text[:l.prefix], text[len(text)-l.suffix:]}]
}

// hash mixes a text with the cell that it stands at.
func (t *Table) hash(parent int32, text string) uint32 {
	h := maphash.String(t.seed, text) ^ uint64(uint32(parent))*0x9E3779B97F4A7C15
	return uint32(h>>32) ^ uint32(h)
}

// child gives the cell that a literal leads to.
func (t *Table) child(parent int32, text string) int32 {
	if t.mask == 0 {
		return 0
	}
	h := t.hash(parent, text)
	for i := h & t.mask; ; i = (i + 1) & t.mask {
		switch c := &t.cells[i]; {
		case c.parent == 0:
			return 0
		case c.hash == h && c.parent == parent && c.length == uint32(len(text)) && t.has(c, int32(i), text):
			return int32(i) + 1
		}
	}
}

// has tells whether a literal of the right length is that of a cell.
func (t *Table) has(c *cell, index int32, text string) bool {
	if len(text) <= len(c.text) {
		return string(c.text[:len(text)]) == text
	}
	return t.long[index] == text
}

// freeze makes the cells of what was built.
func (b *builder) freeze() {
	t := &b.table
	t.seed = maphash.MakeSeed()
	literals := len(b.hosts) + len(b.wildcards)
	for _, n := range b.nodes {
		literals += len(n.literals)
	}
	size := 1 << bits.Len(uint(literals*4/3)) // never full
	t.mask = uint32(size - 1)
	t.cells = make([]cell, size, size+len(b.nodes)-literals)
	t.long, t.methods = map[int32]string{}, map[string]uint16{}
	for name, n := range b.hosts {
		b.fill(b.literal(hostParent, name), n)
	}
	for name, n := range b.wildcards {
		b.fill(b.literal(wildcardParent, name), n)
	}
	if b.any != nil {
		t.any = b.plain(b.any)
	}
	t.hasHosts, t.hasWildcards = len(b.hosts) > 0, len(b.wildcards) > 0
	for _, r := range t.routes {
		t.ids = append(t.ids, int32(r.id))
	}
}

// literal takes a free cell for a literal.
func (b *builder) literal(parent int32, text string) int32 {
	t := &b.table
	h := t.hash(parent, text)
	i := h & t.mask
	for t.cells[i].parent != 0 {
		i = (i + 1) & t.mask
	}
	c := &t.cells[i]
	c.hash, c.parent, c.length = h, parent, uint32(len(text))
	if copy(c.text[:], text) < len(text) {
		t.long[int32(i)] = text
	}
	return int32(i) + 1
}

// plain makes a cell that no literal leads to. It is zero of no node.
func (b *builder) plain(n *node) int32 {
	if n == nil {
		return 0
	}
	t := &b.table
	t.cells = append(t.cells, cell{parent: noParent})
	id := int32(len(t.cells))
	b.fill(id, n)
	return id
}

// fill makes what a node leads to. It names cells by their index, since making
// cells may move them.
func (b *builder) fill(id int32, n *node) {
	t := &b.table
	for text, child := range n.literals {
		b.fill(b.literal(id, text), child)
	}
	one, rest := b.plain(n.one), b.plain(n.rest)
	var around int32
	if len(n.affixes) > 0 {
		a := affixes{cells: map[affix]int32{}}
		for key, child := range n.affixes {
			a.cells[key] = b.plain(child)
			a.lengths = addLength(a.lengths, affixLength{len(key.prefix), len(key.suffix)})
		}
		t.affixes = append(t.affixes, a)
		around = int32(len(t.affixes))
	}
	c := &t.cells[id-1]
	c.one, c.rest, c.affixes, c.literals = one, rest, around, len(n.literals) > 0
	c.any = b.ref(n.any)
	var more []methodRef
	for i := range n.methods {
		m := methodRef{b.method(n.methods[i].method), b.ref(n.methods[i].slot)}
		if i == 0 {
			c.method, c.first = m.method, m.routes
		} else {
			more = append(more, m)
		}
	}
	if len(more) > 0 {
		t.more = append(t.more, more)
		c.more = int32(len(t.more))
	}
}

// method numbers a method, from one on.
func (b *builder) method(name string) uint16 {
	t := &b.table
	if t.methods[name] == 0 {
		t.methods[name] = uint16(len(t.methods) + 1)
	}
	return t.methods[name]
}

// ref names a slot, or the route that it holds.
func (b *builder) ref(s *slot) routesRef {
	t := &b.table
	switch {
	case s == nil:
		return 0
	case s.only != nil && s.only.upgrade == NoUpgrade:
		return routesRef(s.only.index + 1)
	}
	t.slots = append(t.slots, *s)
	return ^routesRef(len(t.slots) - 1)
}
