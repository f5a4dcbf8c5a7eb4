package wire

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// A fault is why a scan stopped.
type fault uint8

const (
	none fault = iota
	malformedField
	invalidUTF8
	tooDeep
	// repeated is no fault of the message: a key of a map, or a field that
	// should occur once, occurred again in a way that takes more than to let the
	// last one count. The caller normalises the message and scans the result.
	repeated
)

var faultTexts = [...]string{
	malformedField: "a field is cut off, or its tag is invalid",
	invalidUTF8:    "a string is not valid UTF-8",
	tooDeep:        "messages are nested too deep",
	repeated:       "a field or key occurs again",
}

// A span is a part of the message, from byte lo up to byte hi. The zero span is
// empty text.
type span struct{ lo, hi uint32 }

// A cell is the value of an entry. Of headers and in maps of texts it is always
// text, and its kind is not set.
type cell struct {
	kind cellKind
	bits uint32 // bool: 0 or 1; object and array: index in Request.blocks
	text span   // text; double: its 8 bytes
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

// An entry is a key and its value in a map, a header, or, without a key, an
// element of a list.
type entry struct {
	key span
	val cell
}

// kind is the kind of a field, as far as scanning must know it.
type kind uint8

const (
	unknown kind = iota // skipped
	text                // string, which must be UTF-8
	octets              // bytes
	varint              // integers, bool, enum
	message
	texts   // map<string, string>
	structs // map<string, google.protobuf.Struct>
	anys    // map<string, google.protobuf.Any>
	values  // map<string, google.protobuf.Value>
	headers // repeated envoy.config.core.v3.HeaderValue
)

func (k kind) isMap() bool { return k >= texts && k <= values }

// messageType numbers the messages that a CheckRequest consists of, except
// those whose shape is written out in code: entries of maps, HeaderValue,
// google.protobuf.Value and ListValue.
type messageType uint8

const (
	checkRequest messageType = iota
	attributeContext
	peer
	address
	socketAddress
	pipe
	internalAddress
	request
	timestamp
	httpRequest
	headerMap
	tlsSession
	metadata
	structure
	anyMessage
	messageTypes
)

// A slot is where the scan notes a singular field or a map: the bounds of its
// bytes in the message (low bound in the upper half), the bits of a varint, or
// one more than the index of a map's block. 0 is absent.
type slot uint8

const (
	noSlot slot = iota

	// The slots of the source; the destination's are peerSlots further on.
	slotAddress
	slotPort
	slotPipe
	slotService
	slotPrincipal
	slotCertificate
	slotLabels
	slotDestinationAddress

	peerSlots = slotDestinationAddress - slotAddress
)

const (
	slotExtensions = slotAddress + 2*peerSlots + iota
	slotFilterMetadata
	slotRouteMetadata
	slotSNI
	slotTime
	slotSeconds
	slotNanos
	slotHTTP
	slotID
	slotMethod
	slotPath
	slotHost
	slotScheme
	slotQuery
	slotFragment
	slotSize
	slotProtocol
	slotBody
	slotRawBody
	slotHeaders
	slotHeaderMap
	slotRawHeaders
	slots
)

// A fieldType is what the scan knows of one field of a message.
type fieldType struct {
	kind  kind
	sub   messageType // of a message
	slot  slot        // where to note the field
	shift slot        // added to the slots within the message
	oneof uint8       // the lowest field number of the oneof it belongs to
}

// schema holds, per message, its fields by number. A test holds it against the
// generated types.
var schema = [messageTypes][14]fieldType{
	checkRequest: {
		1: {kind: message, sub: attributeContext},
	},
	attributeContext: {
		1:  {kind: message, sub: peer},
		2:  {kind: message, sub: peer, shift: peerSlots},
		4:  {kind: message, sub: request},
		10: {kind: texts, slot: slotExtensions},
		11: {kind: message, sub: metadata},
		12: {kind: message, sub: tlsSession},
		13: {kind: message, sub: metadata, shift: slotRouteMetadata - slotFilterMetadata},
	},
	peer: {
		1: {kind: message, sub: address},
		2: {kind: text, slot: slotService},
		3: {kind: texts, slot: slotLabels},
		4: {kind: text, slot: slotPrincipal},
		5: {kind: text, slot: slotCertificate},
	},
	address: {
		1: {kind: message, sub: socketAddress, oneof: 1},
		2: {kind: message, sub: pipe, oneof: 1},
		3: {kind: message, sub: internalAddress, oneof: 1},
	},
	socketAddress: {
		1: {kind: varint},
		2: {kind: text, slot: slotAddress},
		3: {kind: varint, slot: slotPort, oneof: 3},
		4: {kind: text, oneof: 3},
		5: {kind: text},
		6: {kind: varint},
		7: {kind: text},
	},
	pipe: {
		1: {kind: text, slot: slotPipe},
		2: {kind: varint},
	},
	internalAddress: {
		1: {kind: text},
		2: {kind: text},
	},
	request: {
		1: {kind: message, sub: timestamp, slot: slotTime},
		2: {kind: message, sub: httpRequest, slot: slotHTTP},
	},
	timestamp: {
		1: {kind: varint, slot: slotSeconds},
		2: {kind: varint, slot: slotNanos},
	},
	httpRequest: {
		1:  {kind: text, slot: slotID},
		2:  {kind: text, slot: slotMethod},
		3:  {kind: texts, slot: slotHeaders},
		4:  {kind: text, slot: slotPath},
		5:  {kind: text, slot: slotHost},
		6:  {kind: text, slot: slotScheme},
		7:  {kind: text, slot: slotQuery},
		8:  {kind: text, slot: slotFragment},
		9:  {kind: varint, slot: slotSize},
		10: {kind: text, slot: slotProtocol},
		11: {kind: text, slot: slotBody},
		12: {kind: octets, slot: slotRawBody},
		13: {kind: message, sub: headerMap, slot: slotHeaderMap},
	},
	headerMap: {
		1: {kind: headers, slot: slotRawHeaders},
	},
	tlsSession: {
		1: {kind: text, slot: slotSNI},
	},
	metadata: {
		1: {kind: structs, slot: slotFilterMetadata},
		2: {kind: anys},
	},
	structure: {
		1: {kind: values},
	},
	anyMessage: {
		1: {kind: text},
		2: {kind: octets},
	},
}

// wireTypes holds how each kind is written; a field written otherwise counts
// as unknown.
var wireTypes = [...]protowire.Type{
	text: protowire.BytesType, octets: protowire.BytesType, varint: protowire.VarintType, message: protowire.BytesType,
	texts: protowire.BytesType, structs: protowire.BytesType, anys: protowire.BytesType, values: protowire.BytesType,
	headers: protowire.BytesType,
}

// scan validates the whole message and notes what it holds.
func (r *Request) scan() fault {
	_, f := r.message(checkRequest, 0, len(r.b), 0, protowire.DefaultRecursionLimit)
	return f
}

// field reads the tag at lo of a message that ends at end. It gives the bounds
// of the field's value: the content of a length-delimited one, all of the
// value, without the tag, of another.
func (r *Request) field(lo, end int) (num int, typ protowire.Type, from, to int, f fault) {
	b := r.b[:end]
	var tag uint64
	if b[lo] < 0x80 {
		tag = uint64(b[lo])
		lo++
	} else {
		v, n := protowire.ConsumeVarint(b[lo:])
		if n < 0 {
			return 0, 0, 0, 0, r.fail(lo, malformedField)
		}
		tag = v
		lo += n
	}
	if tag>>3 < uint64(protowire.MinValidNumber) || tag>>3 > uint64(protowire.MaxValidNumber) {
		return 0, 0, 0, 0, r.fail(lo, malformedField)
	}
	num, typ = int(tag>>3), protowire.Type(tag&7)
	if typ != protowire.BytesType {
		n := protowire.ConsumeFieldValue(protowire.Number(num), typ, b[lo:])
		if n < 0 {
			return 0, 0, 0, 0, r.fail(lo, malformedField)
		}
		return num, typ, lo, lo + n, none
	}
	var size uint64
	if lo < len(b) && b[lo] < 0x80 {
		size = uint64(b[lo])
		lo++
	} else {
		v, n := protowire.ConsumeVarint(b[lo:])
		if n < 0 {
			return 0, 0, 0, 0, r.fail(lo, malformedField)
		}
		size = v
		lo += n
	}
	if size > uint64(len(b)-lo) {
		return 0, 0, 0, 0, r.fail(lo, malformedField)
	}
	return num, typ, lo, lo + int(size), none
}

// message scans a message of type m in r.b[lo:end], of which depth more may
// nest. If it has a map or headers, they become one block, whose index is
// given; no message here has two that are kept.
func (r *Request) message(m messageType, lo, end int, shift slot, depth int) (block uint32, f fault) {
	if depth--; depth < 0 {
		return 0, r.fail(lo, tooDeep)
	}
	var (
		base = len(r.open)
		keep slot // where the block's index goes
		seen uint32
		keys keySet
	)
	for lo < end {
		num, typ, from, to, f := r.field(lo, end)
		if f != none {
			return 0, f
		}
		lo = to
		if num >= len(schema[m]) || schema[m][num].kind == unknown {
			continue
		}
		t := &schema[m][num]
		if depth == 0 && t.kind.isMap() {
			// An entry of a map is a message too, and the protobuf library
			// counts it before it looks at the wire type.
			return 0, r.fail(from, tooDeep)
		}
		if typ != wireTypes[t.kind] {
			continue
		}
		if t.kind == message || t.oneof != 0 {
			once := uint32(1) << num
			if t.oneof != 0 {
				once = 1 << t.oneof
			}
			if seen&once != 0 {
				return 0, r.fail(from, repeated)
			}
			seen |= once
		}
		var e entry
		switch t.kind {
		case text:
			if !utf8.Valid(r.b[from:to]) {
				return 0, r.fail(from, invalidUTF8)
			}
			r.note(t.slot, shift, uint64(from)<<32|uint64(to))
			continue
		case octets:
			r.note(t.slot, shift, uint64(from)<<32|uint64(to))
			continue
		case varint:
			v, _ := protowire.ConsumeVarint(r.b[from:to])
			r.note(t.slot, shift, v)
			continue
		case message:
			r.note(t.slot, shift, uint64(from)<<32|uint64(to))
			if _, f := r.message(t.sub, from, to, shift+t.shift, depth); f != none {
				return 0, f
			}
			continue
		case headers:
			e, f = r.headerValue(from, to, depth)
		default:
			e, f = r.mapEntry(t.kind, from, to, depth-1)
		}
		if f != none {
			return 0, f
		}
		if t.kind == anys {
			continue // only validated
		}
		if t.kind != headers && keys.holds(r, base, e.key) {
			return 0, r.fail(from, repeated)
		}
		keep = t.slot
		r.open = append(r.open, e)
	}
	if m == structure || len(r.open) > base {
		block = r.closeBlock(base)
		r.note(keep, shift, uint64(block)+1)
	}
	return block, none
}

func (r *Request) note(s, shift slot, v uint64) {
	if s != noSlot {
		r.slots[s+shift] = v
	}
}

// closeBlock moves the open entries from base on to a block of their own.
func (r *Request) closeBlock(base int) uint32 {
	b := block{r: r, first: uint32(len(r.entries)), n: uint32(len(r.open) - base)}
	r.entries = append(r.entries, r.open[base:]...)
	r.open = r.open[:base]
	r.blocks = append(r.blocks, b)
	return uint32(len(r.blocks) - 1)
}

// mapEntry scans one entry of a map with string keys and values of kind k.
func (r *Request) mapEntry(k kind, lo, end, depth int) (e entry, f fault) {
	hasMessage := false
	for lo < end {
		num, typ, from, to, f := r.field(lo, end)
		if f != none {
			return e, f
		}
		lo = to
		if num > 2 || typ != protowire.BytesType {
			continue
		}
		if num == 1 {
			if !utf8.Valid(r.b[from:to]) {
				return e, r.fail(from, invalidUTF8)
			}
			e.key = span{uint32(from), uint32(to)}
			continue
		}
		if k == texts {
			if !utf8.Valid(r.b[from:to]) {
				return e, r.fail(from, invalidUTF8)
			}
			e.val.text = span{uint32(from), uint32(to)}
			continue
		}
		if hasMessage {
			return e, r.fail(from, repeated)
		}
		hasMessage = true
		switch k {
		case structs:
			e.val.kind = objectCell
			e.val.bits, f = r.message(structure, from, to, 0, depth)
		case anys:
			_, f = r.message(anyMessage, from, to, 0, depth)
		case values:
			e.val, f = r.value(from, to, depth)
		}
		if f != none {
			return e, f
		}
	}
	if k == structs && !hasMessage {
		e.val = cell{kind: objectCell, bits: r.closeBlock(len(r.open))}
	}
	return e, none
}

// headerValue scans one HeaderValue. Of its two values the raw one counts if it
// is there and not empty.
func (r *Request) headerValue(lo, end, depth int) (e entry, f fault) {
	if depth--; depth < 0 {
		return e, r.fail(lo, tooDeep)
	}
	var raw span
	for lo < end {
		num, typ, from, to, f := r.field(lo, end)
		if f != none {
			return e, f
		}
		lo = to
		if num > 3 || typ != protowire.BytesType {
			continue
		}
		if num != 3 && !utf8.Valid(r.b[from:to]) {
			return e, r.fail(from, invalidUTF8)
		}
		s := span{uint32(from), uint32(to)}
		switch num {
		case 1:
			e.key = s
		case 2:
			e.val.text = s
		case 3:
			raw = s
		}
	}
	if raw.lo < raw.hi {
		e.val.text = raw
	}
	return e, none
}

// value scans a google.protobuf.Value.
func (r *Request) value(lo, end, depth int) (c cell, f fault) {
	if depth--; depth < 0 {
		return c, r.fail(lo, tooDeep)
	}
	set := false
	for lo < end {
		num, typ, from, to, f := r.field(lo, end)
		if f != none {
			return c, f
		}
		lo = to
		if num > 6 || typ != valueTypes[num] {
			continue
		}
		if set {
			return c, r.fail(from, repeated)
		}
		set = true
		switch num {
		case 2:
			c = cell{kind: doubleCell, text: span{uint32(from), uint32(to)}}
		case 3:
			if !utf8.Valid(r.b[from:to]) {
				return c, r.fail(from, invalidUTF8)
			}
			c = cell{kind: textCell, text: span{uint32(from), uint32(to)}}
		case 4:
			c.kind = boolCell
			if v, _ := protowire.ConsumeVarint(r.b[from:to]); v != 0 {
				c.bits = 1
			}
		case 5:
			c.kind = objectCell
			c.bits, f = r.message(structure, from, to, 0, depth)
		case 6:
			c.kind = arrayCell
			c.bits, f = r.list(from, to, depth)
		}
		if f != none {
			return c, f
		}
	}
	return c, none
}

// valueTypes holds how the kinds of a google.protobuf.Value are written, by
// field number: null, number, string, bool, struct, list. No field has number 0.
var valueTypes = [...]protowire.Type{
	-1, protowire.VarintType, protowire.Fixed64Type, protowire.BytesType,
	protowire.VarintType, protowire.BytesType, protowire.BytesType,
}

// list scans a google.protobuf.ListValue.
func (r *Request) list(lo, end, depth int) (block uint32, f fault) {
	if depth--; depth < 0 {
		return 0, r.fail(lo, tooDeep)
	}
	base := len(r.open)
	for lo < end {
		num, typ, from, to, f := r.field(lo, end)
		if f != none {
			return 0, f
		}
		lo = to
		if num != 1 || typ != protowire.BytesType {
			continue
		}
		c, f := r.value(from, to, depth)
		if f != none {
			return 0, f
		}
		r.open = append(r.open, entry{val: c})
	}
	return r.closeBlock(base), none
}

// A keySet tells whether a key occurred before among the open entries of one
// map. For the few keys that maps mostly have it is a filter of 64 bits, which
// is asked before the keys are compared; for many it is a real set, so that no
// message makes the scan quadratic.
type keySet struct {
	filter uint64
	many   map[string]struct{}
}

const fewKeys = 64

// holds tells whether key is among the entries from base on, and adds it.
func (k *keySet) holds(r *Request, base int, key span) bool {
	s, open := r.str(key), r.open[base:]
	if len(open) < fewKeys {
		h := uint(len(s))
		if h > 0 {
			h += 7*uint(s[0]) + 13*uint(s[h/2]) + 31*uint(s[h-1])
		}
		bit := uint64(1) << (h & 63)
		if k.filter&bit == 0 {
			k.filter |= bit
			return false
		}
		for i := range open {
			if r.str(open[i].key) == s {
				return true
			}
		}
		return false
	}
	if k.many == nil {
		k.many = make(map[string]struct{}, 2*fewKeys)
		for i := range open {
			k.many[r.str(open[i].key)] = struct{}{}
		}
	}
	_, held := k.many[s]
	k.many[s] = struct{}{}
	return held
}
