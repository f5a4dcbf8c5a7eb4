package protovalue

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"edict/engine/value"
)

// A block is the entries of one map, list or set of headers:
// scan.entries[first : first+n].
type block struct {
	scan     *Scan
	places   map[string]uint32 // of the keys of a large map; nil: they are compared
	first, n uint32
}

func (b *block) entries() []Entry { return b.scan.entries[b.first : b.first+b.n] }

// Entries gives the entries of a block, in the order of the message.
func (s *Scan) Entries(block uint32) []Entry { return s.blocks[block].entries() }

// Mapping gives a block as the map that it is.
func (s *Scan) Mapping(block uint32) value.Mapping { return (*object)(&s.blocks[block]) }

// Object gives a cell that is the map of a block.
func Object(block uint32) Cell { return Cell{kind: objectCell, bits: block} }

// Block gives the block of a cell that is a map or a list.
func (c Cell) Block() uint32 { return c.bits }

// An object is a google.protobuf.Struct as a value.Mapping.
type object block

// Lookup implements value.Mapping.
func (o *object) Lookup(key string) (value.Value, bool) {
	es := (*block)(o).entries()
	if o.places != nil {
		i, ok := o.places[key]
		if !ok {
			return value.Value{}, false
		}
		return o.scan.ValueOf(es[i].Val), true
	}
	for i := range es {
		if o.scan.Text(es[i].Key) == key {
			return o.scan.ValueOf(es[i].Val), true
		}
	}
	return value.Value{}, false
}

// Len implements value.Mapping.
func (o *object) Len() int { return int(o.n) }

// Range implements value.Mapping, in the order of the message, or of the keys
// if the Scan is to be in order.
func (o *object) Range(yield func(string, value.Value) bool) {
	entries := (*block)(o).entries()
	if o.scan.ordered {
		entries = slices.SortedFunc(slices.Values(entries), func(a, b Entry) int {
			return strings.Compare(o.scan.Text(a.Key), o.scan.Text(b.Key))
		})
	}
	for _, e := range entries {
		if !yield(o.scan.Text(e.Key), o.scan.ValueOf(e.Val)) {
			return
		}
	}
}

// An array is a google.protobuf.ListValue as a value.Sequence.
type array block

// Len implements value.Sequence.
func (a *array) Len() int { return int(a.n) }

// At implements value.Sequence.
func (a *array) At(i int) value.Value { return a.scan.ValueOf((*block)(a).entries()[i].Val) }

// ValueOf gives a google.protobuf.Value: numbers are doubles, and a Value in
// which no kind is set is null.
func (s *Scan) ValueOf(c Cell) value.Value {
	switch c.kind {
	case boolCell:
		return value.OfBool(c.bits != 0)
	case doubleCell:
		return value.OfDouble(math.Float64frombits(binary.LittleEndian.Uint64(s.b[c.Text.Lo:c.Text.Hi])))
	case textCell:
		return value.OfString(s.Text(c.Text))
	case objectCell:
		return value.OfMapping((*object)(&s.blocks[c.bits]))
	case arrayCell:
		return value.OfSequence((*array)(&s.blocks[c.bits]))
	default:
		return value.OfNull()
	}
}
