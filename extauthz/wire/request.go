package wire

import (
	"fmt"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edict/engine/protovalue"
	"edict/engine/value"
)

// A Request is a view over the bytes of one CheckRequest. The zero Request is
// empty; Reset fills it, and may be called again and again, which after a few
// messages allocates nothing. A Request must not be copied.
//
// Everything read from a Request (strings, bytes, mappings, peers) refers to
// the message's bytes and to the Request. It is good until the next Reset, and
// as long as the bytes do not change; what must live longer must be copied.
type Request struct {
	scan  protovalue.Scan
	slots [slots]uint64
}

// Reset makes r a view over b, the bytes of a CheckRequest, which must not
// change while r is in use. An error says that the message is malformed, so
// that no decision can be based on it; r is empty then.
//
// A message in which a singular message field or the key of a map occurs twice
// is valid, and means that the occurrences are merged, but Envoy never sends
// one. It is decoded and encoded anew before it is viewed.
func (r *Request) Reset(b []byte) error {
	f := r.view(b)
	if f == protovalue.Repeated {
		var m authv3.CheckRequest
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &m); err != nil {
			r.clear()
			return fmt.Errorf("malformed CheckRequest: %w", err)
		}
		merged, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
		if err != nil {
			r.clear()
			return fmt.Errorf("malformed CheckRequest: %w", err)
		}
		f = r.view(merged)
	}
	if f != protovalue.OK {
		at := r.scan.At()
		r.clear()
		return fmt.Errorf("malformed CheckRequest: %s, at byte %d", f, at)
	}
	return nil
}

func (r *Request) view(b []byte) protovalue.Fault {
	r.clear()
	if len(b) > protovalue.MaxLen {
		return r.scan.Fail(0, protovalue.Malformed) // no message of gRPC is that long
	}
	r.scan.Reset(b)
	return r.message(checkRequest, 0, len(b), 0, protovalue.MaxDepth)
}

func (r *Request) clear() {
	r.scan.Reset(nil)
	r.slots = [slots]uint64{}
}

// text gives the string noted in a slot.
func (r *Request) text(s slot) string { return r.scan.Text(spanOf(r.slots[s])) }

func spanOf(v uint64) protovalue.Span {
	return protovalue.Span{Lo: uint32(v >> 32), Hi: uint32(v)}
}

// table gives the entries of the map noted in a slot.
func (r *Request) table(s slot) []protovalue.Entry {
	if r.slots[s] == 0 {
		return nil
	}
	return r.scan.Entries(uint32(r.slots[s] - 1))
}

// lookup finds the text under key in the map noted in a slot.
func (r *Request) lookup(s slot, key string) (string, bool) {
	es := r.table(s)
	for i := range es {
		if r.scan.Text(es[i].Key) == key {
			return r.scan.Text(es[i].Val.Text), true
		}
	}
	return "", false
}

// each yields the texts of the map noted in a slot.
func (r *Request) each(s slot, yield func(key, value string) bool) bool {
	es := r.table(s)
	for i := range es {
		if !yield(r.scan.Text(es[i].Key), r.scan.Text(es[i].Val.Text)) {
			return false
		}
	}
	return true
}

// Bytes gives the message that r is a view over. It must not be changed.
func (r *Request) Bytes() []byte { return r.scan.Bytes() }

// HasHTTP tells whether the message describes an HTTP request. Envoy's network
// filter sends messages that do not.
func (r *Request) HasHTTP() bool { return r.slots[slotHTTP] != 0 }

// ID is Envoy's own number of the stream, in decimal; it is not x-request-id.
func (r *Request) ID() string { return r.text(slotID) }

// Method is the request's method, case kept.
func (r *Request) Method() string { return r.text(slotMethod) }

// Path is the request's path with its query, as Envoy received or normalised
// it.
func (r *Request) Path() string { return r.text(slotPath) }

// Host is the value of Host or :authority, as received.
func (r *Request) Host() string { return r.text(slotHost) }

// Scheme is the request's scheme, such as https.
func (r *Request) Scheme() string { return r.text(slotScheme) }

// Query is the field of that name, which Envoy leaves empty: the query is part
// of Path.
func (r *Request) Query() string { return r.text(slotQuery) }

// Fragment is the field of that name, which Envoy leaves empty.
func (r *Request) Fragment() string { return r.text(slotFragment) }

// Protocol is HTTP/1.0, HTTP/1.1, HTTP/2 or HTTP/3.
func (r *Request) Protocol() string { return r.text(slotProtocol) }

// Size is the number of bytes received when the check was sent, which is
// mostly 0; it is not the length of the body.
func (r *Request) Size() int64 { return int64(r.slots[slotSize]) }

// Body is the request's body as far as Envoy sent it: raw_body, or body where
// that is empty. It tells whether it is raw_body; in body Envoy has replaced
// what is not UTF-8. The bytes alias the message and must not be changed.
func (r *Request) Body() (body []byte, raw bool) {
	at := spanOf(r.slots[slotRawBody])
	raw = !at.Empty()
	if !raw {
		at = spanOf(r.slots[slotBody])
	}
	return r.scan.Bytes()[at.Lo:at.Hi:at.Hi], raw
}

// RawHeaders tells whether the headers came as header_map (Envoy's
// encode_raw_headers), which keeps repeated headers apart. Otherwise they came
// as a map, in which Envoy has joined repeated ones with a comma.
func (r *Request) RawHeaders() bool { return r.slots[slotHeaderMap] != 0 }

// Header gives the first value of the header called name, which is compared
// exactly: Envoy sends names in lower case, pseudo-headers with their colon. It
// also gives how often the header occurs, 0 if it does not. The value of a raw
// header may be any bytes.
func (r *Request) Header(name string) (value string, count int) {
	for _, s := range headerSlots {
		es := r.table(s)
		for i := range es {
			if r.scan.Text(es[i].Key) != name {
				continue
			}
			if count == 0 {
				value = r.scan.Text(es[i].Val.Text)
			}
			count++
		}
	}
	return value, count
}

// Headers yields every header in the order of the message.
func (r *Request) Headers(yield func(name, value string) bool) {
	for _, s := range headerSlots {
		if !r.each(s, yield) {
			return
		}
	}
}

// headerSlots holds both forms in which headers come. A message should use one
// of them; if it uses both, all of them count, so that none can hide.
var headerSlots = [...]slot{slotRawHeaders, slotHeaders}

// ContextExtension gives the value of one of the strings that the operator
// attached to the route.
func (r *Request) ContextExtension(key string) (string, bool) { return r.lookup(slotExtensions, key) }

// ContextExtensions yields all of those strings.
func (r *Request) ContextExtensions(yield func(key, value string) bool) {
	r.each(slotExtensions, yield)
}

// FilterMetadata gives the dynamic metadata of a namespace, that is, what the
// filter of that name wrote about this request or connection.
func (r *Request) FilterMetadata(namespace string) (value.Mapping, bool) {
	return r.namespace(slotFilterMetadata, namespace)
}

// RouteMetadata gives the metadata of a namespace in the configuration of the
// matched route.
func (r *Request) RouteMetadata(namespace string) (value.Mapping, bool) {
	return r.namespace(slotRouteMetadata, namespace)
}

// FilterMetadataNamespaces yields the namespaces that FilterMetadata knows.
func (r *Request) FilterMetadataNamespaces(yield func(namespace string) bool) {
	r.namespaces(slotFilterMetadata, yield)
}

// RouteMetadataNamespaces yields the namespaces that RouteMetadata knows.
func (r *Request) RouteMetadataNamespaces(yield func(namespace string) bool) {
	r.namespaces(slotRouteMetadata, yield)
}

func (r *Request) namespace(s slot, name string) (value.Mapping, bool) {
	es := r.table(s)
	for i := range es {
		if r.scan.Text(es[i].Key) == name {
			return r.scan.Mapping(es[i].Val.Block()), true
		}
	}
	return nil, false
}

func (r *Request) namespaces(s slot, yield func(string) bool) {
	for _, e := range r.table(s) {
		if !yield(r.scan.Text(e.Key)) {
			return
		}
	}
}

// SNI is the server name that the client asked for in its TLS handshake.
func (r *Request) SNI() string { return r.text(slotSNI) }

// Time is when Envoy received the request. It is false if the message has no
// time, or one outside the years 1 to 9999.
func (r *Request) Time() (time.Time, bool) {
	if r.slots[slotTime] == 0 {
		return time.Time{}, false
	}
	t := timestamppb.Timestamp{Seconds: int64(r.slots[slotSeconds]), Nanos: int32(r.slots[slotNanos])}
	if !t.IsValid() {
		return time.Time{}, false
	}
	return t.AsTime(), true
}

// Source is the peer that sent the request: the other end of Envoy's
// connection.
func (r *Request) Source() Peer { return Peer{r, 0} }

// Destination is Envoy's own end of that connection.
func (r *Request) Destination() Peer { return Peer{r, peerSlots} }

// A Peer is one end of the connection on which the request came.
type Peer struct {
	r     *Request
	shift slot
}

// Address is the peer's IP address, empty if it has none.
func (p Peer) Address() string { return p.r.text(slotAddress + p.shift) }

// Port is the peer's port number, 0 if it has none.
func (p Peer) Port() uint32 { return uint32(p.r.slots[slotPort+p.shift]) }

// Pipe is the path of the Unix socket, empty if the peer has none.
func (p Peer) Pipe() string { return p.r.text(slotPipe + p.shift) }

// Service is the peer's own name for itself, which proves nothing.
func (p Peer) Service() string { return p.r.text(slotService + p.shift) }

// Principal is the identity in the peer's certificate, empty without TLS or a
// certificate.
func (p Peer) Principal() string { return p.r.text(slotPrincipal + p.shift) }

// Certificate is the peer's certificate as percent-encoded PEM.
func (p Peer) Certificate() string { return p.r.text(slotCertificate + p.shift) }

// Label gives the value of one of the peer's labels.
func (p Peer) Label(key string) (string, bool) { return p.r.lookup(slotLabels+p.shift, key) }

// Labels yields all labels of the peer.
func (p Peer) Labels(yield func(key, value string) bool) { p.r.each(slotLabels+p.shift, yield) }
