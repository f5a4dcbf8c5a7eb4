package protovalue

import (
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Fault is why a scan stopped.
type Fault uint8

const (
	// OK is no fault.
	OK Fault = iota

	// Malformed means that a field is cut off, or that its tag is invalid.
	Malformed

	// InvalidUTF8 means that a string is not valid UTF-8.
	InvalidUTF8

	// TooDeep means that messages are nested deeper than the protobuf library
	// reads.
	TooDeep

	// Repeated is no fault of the message: a key of a map, or a field that should
	// occur once, occurred again in a way that takes more than to let the last
	// one count.
	Repeated
)

// String says what is wrong.
func (f Fault) String() string {
	return [...]string{
		OK:          "nothing is wrong",
		Malformed:   "a field is cut off, or its tag is invalid",
		InvalidUTF8: "a string is not valid UTF-8",
		TooDeep:     "messages are nested too deep",
		Repeated:    "a field or key occurs again",
	}[f]
}

// MaxDepth is how deep messages may be nested, the outermost included; it is the
// protobuf library's own limit.
const MaxDepth = protowire.DefaultRecursionLimit

// A Span is a part of the message, from byte Lo up to byte Hi. The zero Span is
// empty text.
type Span struct{ Lo, Hi uint32 }

// Empty tells whether there is nothing in the span.
func (s Span) Empty() bool { return s.Lo == s.Hi }

// An Entry is a key and its value in a map, a header, or, without a key, an
// element of a list.
type Entry struct {
	Key Span
	Val Cell
}

// A Cell is a value that was scanned. The kind is not set where only texts can
// be, as in a map<string, string>.
type Cell struct {
	kind cellKind
	bits uint32 // bool: 0 or 1; object and array: index of the block
	Text Span   // text; double: its 8 bytes
}

type cellKind uint8

const (
	nullCell cellKind = iota // also a google.protobuf.Value in which no kind is set
	boolCell
	doubleCell
	textCell
	objectCell
	arrayCell
)

// A Scan goes over one message. The zero Scan is empty; Reset begins another
// message, and allocates nothing after a few messages. A Scan must not be copied.
type Scan struct {
	b       []byte
	s       string  // the same bytes
	entries []Entry // of all blocks
	blocks  []block
	open    []Entry // entries of maps and lists whose end the scan has not reached
	at      int     // the byte at which the scan stopped
	ordered bool    // maps are gone through in the order of their keys
}

// InOrder makes the maps of all messages from here on be gone through in the
// order of their keys, as if they had been decoded and then sorted. Otherwise
// it is that of the message.
func (s *Scan) InOrder() { s.ordered = true }

// keptEntries bounds the memory that a Scan keeps from one message for the
// next, in entries of maps and lists.
const keptEntries = 4096

// Reset forgets the message before and begins with b, which must not change
// while it is in use, and not be longer than MaxLen.
func (s *Scan) Reset(b []byte) {
	s.b, s.s, s.at = b, unsafe.String(unsafe.SliceData(b), len(b)), 0
	if cap(s.entries) > keptEntries || cap(s.blocks) > keptEntries || cap(s.open) > keptEntries {
		s.entries, s.blocks, s.open = nil, nil, nil
	}
	clear(s.blocks) // of the places of keys
	s.entries, s.blocks, s.open = s.entries[:0], s.blocks[:0], s.open[:0]
}

// MaxLen is the length of the longest message, in bytes.
const MaxLen = 1<<31 - 1

// Bytes gives the message.
func (s *Scan) Bytes() []byte { return s.b }

// At gives the byte at which the scan stopped.
func (s *Scan) At() int { return s.at }

// Fail notes where a scan stops, and gives the fault back.
func (s *Scan) Fail(at int, f Fault) Fault {
	s.at = at
	return f
}

// Text gives a span as a string.
func (s *Scan) Text(t Span) string { return s.s[t.Lo:t.Hi] }

// Field reads the tag at lo of a message that ends at end. It gives the bounds
// of the field's value: the content of a length-delimited one, all of the
// value, without the tag, of another.
func (s *Scan) Field(lo, end int) (num int, typ protowire.Type, from, to int, f Fault) {
	b := s.b[:end]
	var tag uint64
	if b[lo] < 0x80 {
		tag = uint64(b[lo])
		lo++
	} else {
		v, n := protowire.ConsumeVarint(b[lo:])
		if n < 0 {
			return 0, 0, 0, 0, s.Fail(lo, Malformed)
		}
		tag = v
		lo += n
	}
	if tag>>3 < uint64(protowire.MinValidNumber) || tag>>3 > uint64(protowire.MaxValidNumber) {
		return 0, 0, 0, 0, s.Fail(lo, Malformed)
	}
	num, typ = int(tag>>3), protowire.Type(tag&7)
	if typ != protowire.BytesType {
		if typ == protowire.VarintType && lo < len(b) && b[lo] < 0x80 {
			return num, typ, lo, lo + 1, OK
		}
		n := protowire.ConsumeFieldValue(protowire.Number(num), typ, b[lo:])
		if n < 0 {
			return 0, 0, 0, 0, s.Fail(lo, Malformed)
		}
		return num, typ, lo, lo + n, OK
	}
	var size uint64
	if lo < len(b) && b[lo] < 0x80 {
		size = uint64(b[lo])
		lo++
	} else {
		v, n := protowire.ConsumeVarint(b[lo:])
		if n < 0 {
			return 0, 0, 0, 0, s.Fail(lo, Malformed)
		}
		size = v
		lo += n
	}
	if size > uint64(len(b)-lo) {
		return 0, 0, 0, 0, s.Fail(lo, Malformed)
	}
	return num, typ, lo, lo + int(size), OK
}

// Pair reads a message of two length-delimited fields as everybody writes one:
// field 1, then the one with this tag of one byte, neither long, and nothing
// else. It gives the first as a span, and where the second begins, which ends
// with the message. A message that is written in another way is not read.
func (s *Scan) Pair(lo, end int, tag byte) (first Span, second int, ok bool) {
	b := s.b[lo:end]
	if len(b) < 4 || b[0] != 1<<3|2 || b[1] >= 0x80 {
		return first, 0, false
	}
	k := 2 + int(b[1])
	if k+2 > len(b) || b[k] != tag {
		return first, 0, false
	}
	n, at := int(b[k+1]), k+2
	if n >= 0x80 {
		if at == len(b) || b[at] >= 0x80 {
			return first, 0, false
		}
		n = n&0x7f | int(b[at])<<7
		at++
	}
	if at+n != len(b) {
		return first, 0, false
	}
	return Span{uint32(lo + 2), uint32(lo + k)}, lo + at, true
}

// UTF8 gives the span of a string field's value, which must be UTF-8.
func (s *Scan) UTF8(from, to int) (Span, Fault) {
	if !ValidUTF8(s.b[from:to]) {
		return Span{}, s.Fail(from, InvalidUTF8)
	}
	return Span{uint32(from), uint32(to)}, OK
}

// Texts scans one entry of a map<string, string>, of whose level depth more may
// nest.
func (s *Scan) Texts(lo, end int) (e Entry, f Fault) {
	if key, from, ok := s.Pair(lo, end, 2<<3|2); ok {
		if !ValidUTF8(s.b[key.Lo:key.Hi]) || !ValidUTF8(s.b[from:end]) {
			return e, s.Fail(lo, InvalidUTF8)
		}
		e.Key, e.Val.Text = key, Span{uint32(from), uint32(end)}
		return e, OK
	}
	for lo < end {
		num, typ, from, to, f := s.Field(lo, end)
		if f != OK {
			return e, f
		}
		lo = to
		if num > 2 || typ != protowire.BytesType {
			continue
		}
		t, f := s.UTF8(from, to)
		if f != OK {
			return e, f
		}
		if num == 1 {
			e.Key = t
		} else {
			e.Val.Text = t
		}
	}
	return e, OK
}

// Messages scans one entry of a map with string keys and messages as values. It
// gives the key and the bounds of the value, and tells whether there is one.
func (s *Scan) Messages(lo, end int) (key Span, from, to int, ok bool, f Fault) {
	if key, from, ok := s.Pair(lo, end, 2<<3|2); ok {
		if !ValidUTF8(s.b[key.Lo:key.Hi]) {
			return key, 0, 0, false, s.Fail(lo, InvalidUTF8)
		}
		return key, from, end, true, OK
	}
	for lo < end {
		num, typ, at, next, f := s.Field(lo, end)
		if f != OK {
			return key, 0, 0, false, f
		}
		lo = next
		switch {
		case typ != protowire.BytesType:
		case num == 1:
			if key, f = s.UTF8(at, next); f != OK {
				return key, 0, 0, false, f
			}
		case num == 2:
			if ok {
				return key, 0, 0, false, s.Fail(at, Repeated)
			}
			from, to, ok = at, next, true
		}
	}
	return key, from, to, ok, OK
}

// ValueEntry scans one entry of a map<string, google.protobuf.Value>, of whose
// level depth more may nest.
func (s *Scan) ValueEntry(lo, end, depth int) (e Entry, f Fault) {
	key, from, to, ok, f := s.Messages(lo, end)
	if f != OK {
		return e, f
	}
	e.Key = key
	if ok {
		e.Val, f = s.Value(from, to, depth)
	}
	return e, f
}

// Struct scans a google.protobuf.Struct, of which depth more may nest, itself
// included. It gives the index of its block.
func (s *Scan) Struct(lo, end, depth int) (block uint32, f Fault) {
	if depth--; depth < 0 {
		return 0, s.Fail(lo, TooDeep)
	}
	var keys Keys
	base := s.Mark()
	for lo < end {
		num, typ, from, to, f := s.Field(lo, end)
		if f != OK {
			return 0, f
		}
		lo = to
		if num != 1 {
			continue
		}
		if depth == 0 {
			// An entry of a map is a message too, and the protobuf library
			// counts it before it looks at the wire type.
			return 0, s.Fail(from, TooDeep)
		}
		if typ != protowire.BytesType {
			continue
		}
		e, f := s.ValueEntry(from, to, depth-1)
		if f != OK {
			return 0, f
		}
		if !s.Add(&keys, base, e) {
			return 0, s.Fail(from, Repeated)
		}
	}
	return s.CloseMap(&keys, base), OK
}

// Value scans a google.protobuf.Value, of which depth more may nest, itself
// included.
func (s *Scan) Value(lo, end, depth int) (c Cell, f Fault) {
	if depth--; depth < 0 {
		return c, s.Fail(lo, TooDeep)
	}
	if b := s.b[lo:end]; len(b) >= 2 && b[0] == 3<<3|2 && int(b[1]) == len(b)-2 && b[1] < 0x80 {
		if !ValidUTF8(b[2:]) {
			return c, s.Fail(lo, InvalidUTF8)
		}
		return Cell{kind: textCell, Text: Span{uint32(lo + 2), uint32(end)}}, OK
	}
	set := false
	for lo < end {
		num, typ, from, to, f := s.Field(lo, end)
		if f != OK {
			return c, f
		}
		lo = to
		if num > 6 || typ != valueTypes[num] {
			continue
		}
		if set {
			return c, s.Fail(from, Repeated)
		}
		set = true
		switch num {
		case 2:
			c = Cell{kind: doubleCell, Text: Span{uint32(from), uint32(to)}}
		case 3:
			c.kind = textCell
			c.Text, f = s.UTF8(from, to)
		case 4:
			c.kind = boolCell
			if v, _ := protowire.ConsumeVarint(s.b[from:to]); v != 0 {
				c.bits = 1
			}
		case 5:
			c.kind = objectCell
			c.bits, f = s.Struct(from, to, depth)
		case 6:
			c.kind = arrayCell
			c.bits, f = s.list(from, to, depth)
		}
		if f != OK {
			return c, f
		}
	}
	return c, OK
}

// valueTypes holds how the kinds of a google.protobuf.Value are written, by
// field number: null, number, string, bool, struct, list. No field has number 0.
var valueTypes = [...]protowire.Type{
	-1, protowire.VarintType, protowire.Fixed64Type, protowire.BytesType,
	protowire.VarintType, protowire.BytesType, protowire.BytesType,
}

// list scans a google.protobuf.ListValue.
func (s *Scan) list(lo, end, depth int) (block uint32, f Fault) {
	if depth--; depth < 0 {
		return 0, s.Fail(lo, TooDeep)
	}
	base := s.Mark()
	for lo < end {
		num, typ, from, to, f := s.Field(lo, end)
		if f != OK {
			return 0, f
		}
		lo = to
		if num != 1 || typ != protowire.BytesType {
			continue
		}
		c, f := s.Value(from, to, depth)
		if f != OK {
			return 0, f
		}
		s.Append(Entry{Val: c})
	}
	return s.Close(base), OK
}

// Mark begins a map or list: what is added from here on, until Close, belongs
// to it. Those that begin within it must end within it.
func (s *Scan) Mark() int { return len(s.open) }

// Opened tells how many entries there are since Mark gave base.
func (s *Scan) Opened(base int) int { return len(s.open) - base }

// Append adds an entry to the list that began at the last Mark.
func (s *Scan) Append(e Entry) { s.open = append(s.open, e) }

// Add adds an entry to the map that began at base, and tells whether its key is
// new there; one that is not is not added.
func (s *Scan) Add(keys *Keys, base int, e Entry) bool {
	if keys.hold(s, base, e.Key) {
		return false
	}
	s.open = append(s.open, e)
	return true
}

// Close ends the list that began at base, and gives the index of its block.
func (s *Scan) Close(base int) uint32 { return s.close(base, nil) }

// CloseMap does what Close does for a map, whose keys are those that were added.
func (s *Scan) CloseMap(keys *Keys, base int) uint32 { return s.close(base, keys.many) }

func (s *Scan) close(base int, places map[string]uint32) uint32 {
	b := block{scan: s, places: places, first: uint32(len(s.entries)), n: uint32(len(s.open) - base)}
	s.entries = append(s.entries, s.open[base:]...)
	s.open = s.open[:base]
	s.blocks = append(s.blocks, b)
	return uint32(len(s.blocks) - 1)
}

// Keys tells whether a key occurred before among the entries of one map. The
// zero Keys is for a map without entries. For the few keys that maps mostly have
// it is a filter of 64 bits, which is asked before the keys are compared; for
// many it is a real set.
type Keys struct {
	filter uint64
	many   map[string]uint32 // the places of keys among the entries; nil: there are few
}

// fewKeys is up to how many keys are compared one by one.
const fewKeys = 64

// hold tells whether key is among the entries from base on, and notes it.
func (k *Keys) hold(s *Scan, base int, key Span) bool {
	text, open := s.Text(key), s.open[base:]
	if len(open) >= fewKeys {
		return k.holdAmongMany(s, open, text)
	}
	h := uint(len(text))
	if h > 0 {
		h += 7*uint(text[0]) + 13*uint(text[h/2]) + 31*uint(text[h-1])
	}
	bit := uint64(1) << (h & 63)
	if k.filter&bit == 0 {
		k.filter |= bit
		return false
	}
	for i := range open {
		if s.Text(open[i].Key) == text {
			return true
		}
	}
	return false
}

func (k *Keys) holdAmongMany(s *Scan, open []Entry, text string) bool {
	if k.many == nil {
		k.many = make(map[string]uint32, 2*fewKeys)
		for i := range open {
			k.many[s.Text(open[i].Key)] = uint32(i)
		}
	}
	if _, held := k.many[text]; held {
		return true
	}
	k.many[text] = uint32(len(open))
	return false
}
