package wire

import (
	"encoding/binary"
	"math"

	"edict/engine/value"
)

// A block is the entries of one map, list or set of headers:
// r.entries[first : first+n].
type block struct {
	r        *Request
	first, n uint32
}

func (b *block) entries() []entry { return b.r.entries[b.first : b.first+b.n] }

// An object is a google.protobuf.Struct as a value.Mapping.
type object block

// Lookup implements value.Mapping.
func (o *object) Lookup(key string) (value.Value, bool) {
	es := (*block)(o).entries()
	for i := range es {
		if o.r.str(es[i].key) == key {
			return o.r.valueOf(es[i].val), true
		}
	}
	return value.Value{}, false
}

// Len implements value.Mapping.
func (o *object) Len() int { return int(o.n) }

// Range implements value.Mapping, in the order of the message.
func (o *object) Range(yield func(string, value.Value) bool) {
	for _, e := range (*block)(o).entries() {
		if !yield(o.r.str(e.key), o.r.valueOf(e.val)) {
			return
		}
	}
}

// An array is a google.protobuf.ListValue as a value.Sequence.
type array block

// Len implements value.Sequence.
func (a *array) Len() int { return int(a.n) }

// At implements value.Sequence.
func (a *array) At(i int) value.Value { return a.r.valueOf((*block)(a).entries()[i].val) }

// valueOf gives a google.protobuf.Value: numbers are doubles, and a Value in
// which no kind is set is null.
func (r *Request) valueOf(c cell) value.Value {
	switch c.kind {
	case boolCell:
		return value.OfBool(c.bits != 0)
	case doubleCell:
		return value.OfDouble(math.Float64frombits(binary.LittleEndian.Uint64(r.b[c.text.lo:c.text.hi])))
	case textCell:
		return value.OfString(r.str(c.text))
	case objectCell:
		return value.OfMapping((*object)(&r.blocks[c.bits]))
	case arrayCell:
		return value.OfSequence((*array)(&r.blocks[c.bits]))
	default:
		return value.OfNull()
	}
}
