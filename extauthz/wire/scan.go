package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"edict/engine/protovalue"
)

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
	headers // repeated envoy.config.core.v3.HeaderValue
)

func (k kind) isMap() bool { return k >= texts && k <= anys }

// messageType numbers the messages that a CheckRequest consists of, except
// those whose shape is written out in code: entries of maps, HeaderValue,
// google.protobuf.Struct and what is in it.
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
	anyMessage: {
		1: {kind: text},
		2: {kind: octets},
	},
}

// wireTypes holds how each kind is written; a field written otherwise counts
// as unknown.
var wireTypes = [...]protowire.Type{
	text: protowire.BytesType, octets: protowire.BytesType, varint: protowire.VarintType, message: protowire.BytesType,
	texts: protowire.BytesType, structs: protowire.BytesType, anys: protowire.BytesType,
	headers: protowire.BytesType,
}

// message scans a message of type m in bytes lo to end, of which depth more may
// nest. If it has a map or headers, they become one block; no message here has
// two that are kept.
func (r *Request) message(m messageType, lo, end int, shift slot, depth int) protovalue.Fault {
	if depth--; depth < 0 {
		return r.scan.Fail(lo, protovalue.TooDeep)
	}
	var (
		base = r.scan.Mark()
		keep slot // where the block's index goes
		seen uint32
		keys protovalue.Keys
	)
	for lo < end {
		num, typ, from, to, f := r.scan.Field(lo, end)
		if f != protovalue.OK {
			return f
		}
		lo = to
		if num >= len(schema[m]) || schema[m][num].kind == unknown {
			continue
		}
		t := &schema[m][num]
		if depth == 0 && t.kind.isMap() {
			// An entry of a map is a message too, and the protobuf library
			// counts it before it looks at the wire type.
			return r.scan.Fail(from, protovalue.TooDeep)
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
				return r.scan.Fail(from, protovalue.Repeated)
			}
			seen |= once
		}
		switch t.kind {
		case text:
			if !protovalue.ValidUTF8(r.scan.Bytes()[from:to]) {
				return r.scan.Fail(from, protovalue.InvalidUTF8)
			}
			r.note(t.slot, shift, uint64(from)<<32|uint64(to))
		case octets:
			r.note(t.slot, shift, uint64(from)<<32|uint64(to))
		case varint:
			v, _ := protowire.ConsumeVarint(r.scan.Bytes()[from:to])
			r.note(t.slot, shift, v)
		case message:
			r.note(t.slot, shift, uint64(from)<<32|uint64(to))
			if f := r.message(t.sub, from, to, shift+t.shift, depth); f != protovalue.OK {
				return f
			}
		case anys: // only validated
			if f := r.anyEntry(from, to, depth-1); f != protovalue.OK {
				return f
			}
		default:
			keep = t.slot
			if lo, f = r.run(t.kind, byte(num<<3|int(typ)), from, to, end, &keys, base, depth); f != protovalue.OK {
				return f
			}
		}
	}
	if r.scan.Opened(base) > 0 {
		r.note(keep, shift, uint64(r.scan.CloseMap(&keys, base))+1)
	}
	return protovalue.OK
}

// run scans an element of a map or of headers, in bytes from to to, and those that
// follow it at once: mostly they are all there are. It gives where the run ends.
func (r *Request) run(k kind, tag byte, from, to, end int, keys *protovalue.Keys, base, depth int) (lo int, f protovalue.Fault) {
	for b := r.scan.Bytes(); ; {
		var e protovalue.Entry
		switch k {
		case headers:
			if e, f = r.headerValue(from, to, depth); f == protovalue.OK {
				r.scan.Append(e)
			}
		case texts:
			if e, f = r.scan.Texts(from, to); f == protovalue.OK && !r.scan.Add(keys, base, e) {
				f = r.scan.Fail(from, protovalue.Repeated)
			}
		case structs:
			if e, f = r.structEntry(from, to, depth-1); f == protovalue.OK && !r.scan.Add(keys, base, e) {
				f = r.scan.Fail(from, protovalue.Repeated)
			}
		}
		if f != protovalue.OK || to == end || b[to] != tag {
			return to, f
		}
		if _, _, from, to, f = r.scan.Field(to, end); f != protovalue.OK {
			return to, f
		}
	}
}

func (r *Request) note(s, shift slot, v uint64) {
	if s != noSlot {
		r.slots[s+shift] = v
	}
}

// structEntry scans an entry of a map<string, google.protobuf.Struct>. One
// without a value has an empty struct.
func (r *Request) structEntry(lo, end, depth int) (e protovalue.Entry, f protovalue.Fault) {
	key, from, to, _, f := r.scan.Messages(lo, end)
	if f != protovalue.OK {
		return e, f
	}
	block, f := r.scan.Struct(from, to, depth)
	return protovalue.Entry{Key: key, Val: protovalue.Object(block)}, f
}

// anyEntry validates an entry of a map<string, google.protobuf.Any>.
func (r *Request) anyEntry(lo, end, depth int) protovalue.Fault {
	_, from, to, ok, f := r.scan.Messages(lo, end)
	if f != protovalue.OK || !ok {
		return f
	}
	return r.message(anyMessage, from, to, 0, depth)
}

// headerValue scans one HeaderValue. Of its two values the raw one counts if it
// is there and not empty.
func (r *Request) headerValue(lo, end, depth int) (e protovalue.Entry, f protovalue.Fault) {
	if depth--; depth < 0 {
		return e, r.scan.Fail(lo, protovalue.TooDeep)
	}
	if key, from, ok := r.scan.Pair(lo, end, 3<<3|2); ok {
		if !protovalue.ValidUTF8(r.scan.Bytes()[key.Lo:key.Hi]) {
			return e, r.scan.Fail(lo, protovalue.InvalidUTF8)
		}
		e.Key, e.Val.Text = key, protovalue.Span{Lo: uint32(from), Hi: uint32(end)}
		return e, protovalue.OK
	}
	var raw protovalue.Span
	for lo < end {
		num, typ, from, to, f := r.scan.Field(lo, end)
		if f != protovalue.OK {
			return e, f
		}
		lo = to
		if num > 3 || typ != protowire.BytesType {
			continue
		}
		t := protovalue.Span{Lo: uint32(from), Hi: uint32(to)}
		if num == 3 {
			raw = t
			continue
		}
		if t, f = r.scan.UTF8(from, to); f != protovalue.OK {
			return e, f
		}
		if num == 1 {
			e.Key = t
		} else {
			e.Val.Text = t
		}
	}
	if !raw.Empty() {
		e.Val.Text = raw
	}
	return e, protovalue.OK
}
