package wire

import (
	"math"
	"strings"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"edict/engine/protovalue"
	"edict/engine/value"
)

// A HeaderValue is a header to set. It replaces what the message had under that
// name, with every version of Envoy: some obey only the older of the two fields
// that say so and some only the newer, so both are written.
type HeaderValue struct{ Name, Value string }

// A ResponseHeader is a header of the response to a request that passes, once
// the upstream has answered.
type ResponseHeader struct {
	Name, Value string
	Action      Action
}

// An Action says what becomes of a header beside those of its name that the
// upstream sent. The zero Action overwrites.
type Action uint8

// The actions, as Envoy does them.
const (
	Overwrite         Action = iota // replaces them, or is added if there are none
	Append                          // is added to them
	AddIfAbsent                     // is added if there are none
	OverwriteIfExists               // replaces them; does nothing if there are none

	actionCount
)

// A Parameter is a query parameter. Name and value are percent-encoded here.
type Parameter struct{ Name, Value string }

// A MetadataValue is an entry of the dynamic metadata that Envoy keeps of a
// response, for its access log and for other filters. Bytes that are not UTF-8
// are replaced by U+FFFD.
type MetadataValue struct {
	Key   string
	Value value.Value // satisfies ValidMetadata
}

// TextValue gives a MetadataValue whose value is a text.
func TextValue(key, text string) MetadataValue {
	return MetadataValue{Key: key, Value: value.OfString(text)}
}

// MaxMetadataDepth is how deep lists and maps may lie in one another in a value
// of dynamic metadata. Envoy's parser takes 32 maps; a message that goes deeper
// would be a failure of the service.
const MaxMetadataDepth = 16

// ValidMetadata tells whether a value can be dynamic metadata: it is of the JSON
// model (null, bool, number, string, list, map), its numbers are finite, and no
// list or map in it lies deeper than MaxMetadataDepth.
func ValidMetadata(v value.Value) bool { return validMetadata(v, 0) }

func validMetadata(v value.Value, depth int) bool {
	switch v.Kind() {
	case value.Null, value.Bool, value.Int, value.Uint, value.String:
		return true
	case value.Double:
		return !math.IsNaN(v.Double()) && !math.IsInf(v.Double(), 0)
	case value.List:
		if depth >= MaxMetadataDepth {
			return false
		}
		s := v.Sequence()
		for i := range s.Len() {
			if !validMetadata(s.At(i), depth+1) {
				return false
			}
		}
		return true
	case value.Map:
		return depth < MaxMetadataDepth && validObject(v.Mapping(), depth+1)
	default:
		return false
	}
}

// validObject is apart, since what its loop captures is allocated.
func validObject(m value.Mapping, depth int) bool {
	valid := true
	m.Range(func(_ string, e value.Value) bool {
		valid = validMetadata(e, depth)
		return valid
	})
	return valid
}

// MaxHeaderLen is the longest name or value of a header that is written, in
// bytes; Envoy itself draws the line at 16384.
const MaxHeaderLen = 4096

// ValidHeader tells whether a header may be written: its name is a token of
// RFC 9110, its value printable ASCII with spaces, none of them at either end,
// and neither is longer than MaxHeaderLen.
func ValidHeader(name, value string) bool {
	return len(value) <= MaxHeaderLen && ValidToken(name, value)
}

// MaxTokenLen is the longest value of a header that Envoy takes.
const MaxTokenLen = 16384

// ValidToken is ValidHeader of a value that may have MaxTokenLen bytes.
func ValidToken(name, value string) bool {
	if !validName(name) || len(value) > MaxTokenLen {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return value == "" || value[0] != ' ' && value[len(value)-1] != ' '
}

func validName(name string) bool {
	if name == "" || len(name) > MaxHeaderLen {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0:
			return false
		}
	}
	return true
}

// The fallbacks for numbers that are not of the kind they should be, from
// google.rpc.Code and RFC 9110.
const (
	permissionDenied = 7
	unavailable      = 14
	forbidden        = 403
	serviceDown      = 503
)

// The fields written here, as tags: field number and wire type in one byte.
const (
	tagStatus          = 1<<3 | 2 // CheckResponse
	tagDenied          = 2<<3 | 2
	tagAllowed         = 3<<3 | 2
	tagDynamicMetadata = 4<<3 | 2
	tagFailed          = 5<<3 | 2

	tagCode = 1 << 3 // google.rpc.Status, envoy.type.v3.HttpStatus; a varint

	tagHTTPStatus      = 1<<3 | 2 // DeniedHttpResponse
	tagBody            = 3<<3 | 2
	tagHeaders         = 2<<3 | 2 // DeniedHttpResponse, OkHttpResponse
	tagRemoveHeaders   = 5<<3 | 2 // OkHttpResponse
	tagResponseHeaders = 6<<3 | 2
	tagSetQuery        = 7<<3 | 2
	tagRemoveQuery     = 8<<3 | 2

	tagHeader       = 1<<3 | 2 // HeaderValueOption
	tagAppend       = 2<<3 | 2
	tagTrue         = 1 << 3   // google.protobuf.BoolValue; a varint
	tagAppendAction = 3 << 3   // a varint
	tagName         = 1<<3 | 2 // HeaderValue, QueryParameter
	tagValue        = 2<<3 | 2

	tagEntry       = 1<<3 | 2 // google.protobuf.Struct
	tagEntryKey    = 1<<3 | 2
	tagEntryValue  = 2<<3 | 2
	tagNullValue   = 1 << 3   // google.protobuf.Value; a varint
	tagNumberValue = 2<<3 | 1 // eight bytes
	tagStringValue = 3<<3 | 2
	tagBoolValue   = 4 << 3 // a varint
	tagStructValue = 5<<3 | 2
	tagListValue   = 6<<3 | 2
	tagElement     = 1<<3 | 2 // google.protobuf.ListValue
)

// appendActions are the Actions as Envoy's HeaderAppendAction.
var appendActions = [actionCount]byte{Overwrite: 2, Append: 0, AddIfAbsent: 1, OverwriteIfExists: 3}

// denial is the zero Response: status 7 and a denied_response with 403.
const denial = "\x0a\x02\x08\x07\x12\x05\x0a\x03\x08\x93\x03"

// A Response is an encoded CheckResponse that does not allow. The zero Response
// denies with status 7 (PERMISSION_DENIED) and 403. A Response is immutable and
// may be shared.
type Response struct {
	b       []byte // all of it; nil stands for denial
	answer  int    // where the content of denied_response or error_response begins
	head    int    // where b's dynamic metadata begins, with its tag
	entries int    // where the metadata's entries begin
}

// Denied encodes a deny: Envoy answers the client with the HTTP status, the
// headers and the body. The code is that of google.rpc, 1 to 16; any other,
// above all 0, which would allow, becomes 7. An HTTP status that Envoy does not
// know or that does not end a request becomes 403. Headers that are not valid
// or empty are left out, metadata that is not valid, too, and bytes of the body
// that are not UTF-8 become U+FFFD.
func Denied(code, httpStatus int32, headers []HeaderValue, body string, metadata []MetadataValue) Response {
	return encode(tagDenied, knownCode(code, permissionDenied), knownStatus(httpStatus, forbidden), headers, body, metadata)
}

// Failed encodes an error of this service, which is a deny only if the operator
// wants it to be: where failure_mode_allow is set Envoy lets the request
// through. So it is only for what no client can bring about. Envoy before 1.37
// takes it for a deny. A code outside 1 to 16 becomes 14 (UNAVAILABLE) and an
// HTTP status as Denied would refuse becomes 503.
func Failed(code, httpStatus int32, headers []HeaderValue, body string, metadata []MetadataValue) Response {
	return encode(tagFailed, knownCode(code, unavailable), knownStatus(httpStatus, serviceDown), headers, body, metadata)
}

func knownCode(code, fallback int32) int32 {
	if code < 1 || code > 16 {
		return fallback
	}
	return code
}

func knownStatus(status, fallback int32) int32 {
	if !KnownStatus(int(status)) {
		return fallback
	}
	return status
}

// KnownStatus tells whether an HTTP status ends a request and is one of those
// that Envoy's API knows.
func KnownStatus(status int) bool {
	_, known := typev3.StatusCode_name[int32(status)]
	return known && status >= 200
}

func encode(tag byte, code, httpStatus int32, headers []HeaderValue, body string, metadata []MetadataValue) Response {
	b := []byte{tagStatus, 0}
	at := len(b)
	b = protowire.AppendVarint(append(b, tagCode), uint64(code))
	b = setLength(b, at)

	b = append(b, tag, 0)
	at = len(b)
	b = append(b, tagHTTPStatus, 0)
	inner := len(b)
	b = protowire.AppendVarint(append(b, tagCode), uint64(httpStatus))
	b = setLength(b, inner)
	for _, h := range headers {
		if h.Value != "" && ValidHeader(h.Name, h.Value) {
			b = appendHeader(b, h, Overwrite)
		}
	}
	if body != "" {
		b = appendText(b, tagBody, body)
	}
	content := len(b) - at
	b = setLength(b, at)

	r := Response{answer: len(b) - content, head: len(b)}
	entries, _ := appendEntries(nil, metadata)
	r.b, _ = appendMetadata(b, entries, nil)
	r.entries = len(r.b) - len(entries)
	return r
}

// Denies tells whether an encoded CheckResponse, as this package writes them,
// denies: it begins with a status, and that with a code that is not 0.
func Denies(answer []byte) bool {
	return len(answer) >= 4 && answer[0] == tagStatus && answer[1] >= 2 && answer[2] == tagCode && answer[3] != 0
}

// Bytes gives the encoded message, which must not be changed.
func (r Response) Bytes() []byte {
	if r.b == nil {
		return []byte(denial)
	}
	return r.b
}

// Append appends the encoded message to dst, with more headers for the client
// and more dynamic metadata than it was made with; of equal keys the one in more
// counts. What is not valid is left out.
func (r Response) Append(dst []byte, headers []HeaderValue, more []MetadataValue) []byte {
	if r.b == nil {
		r = zeroResponse
	}
	if len(headers) == 0 {
		dst = append(dst, r.b[:r.head]...)
	} else {
		// The status is a field of four bytes, and one more is the tag of the answer.
		dst = append(append(dst, r.b[:5]...), 0)
		at := len(dst)
		dst = append(dst, r.b[r.answer:r.head]...)
		for _, h := range headers {
			if h.Value != "" && ValidHeader(h.Name, h.Value) {
				dst = appendHeader(dst, h, Overwrite)
			}
		}
		dst = setLength(dst, at)
	}
	dst, _ = appendMetadata(dst, r.b[r.entries:], more)
	return dst
}

// zeroResponse is what the zero Response stands for.
var zeroResponse = Response{b: []byte(denial), answer: 6, head: len(denial), entries: len(denial)}

// An Allow says what Envoy does to a request that it lets through, and to the
// response.
//
// Envoy removes after it has set: a header or parameter that stands in both
// lists, prepared or not, is removed.
type Allow struct {
	Prepared        Prepared         // what is the same for many requests
	Headers         []HeaderValue    // set toward the upstream; one with an empty value is removed instead
	Token           HeaderValue      // set toward the upstream like Headers, and up to MaxTokenLen long; without a name there is none
	AppendHeaders   []HeaderValue    // appended to those the request has; Envoy 1.40 drops one that it does not have
	RemoveHeaders   []string         // removed from the request before it goes upstream
	ResponseHeaders []ResponseHeader // of the response; one with an empty value is left out
	SetQuery        []Parameter      // set in the query, in the place of all others that are spelled so
	RemoveQuery     []string         // names to remove from the query, spelled as they stand there
	Metadata        []MetadataValue  // dynamic metadata; counts over prepared entries of equal keys
}

// Prepared is the part of an Allow that is encoded beforehand. The zero
// Prepared is nothing. It is immutable and may be shared.
type Prepared struct {
	ok      []byte // fields of OkHttpResponse
	entries []byte // fields of google.protobuf.Struct
}

// Prepare encodes the part of an allow that is known before the request; what a
// has prepared already is part of it. It refuses, with the zero Prepared and
// false, what is not valid.
func Prepare(a *Allow) (Prepared, bool) {
	ok, valid := appendMutations(append([]byte(nil), a.Prepared.ok...), a)
	entries, validEntries := appendEntries(append([]byte(nil), a.Prepared.entries...), a.Metadata)
	if !valid || !validEntries {
		return Prepared{}, false
	}
	return Prepared{ok: ok, entries: entries}, true
}

// AppendAllowed appends an encoded allow to dst and tells that it did so. If a
// is nil, or something in it is not valid, it appends the zero Response, a deny,
// instead and answers false.
func AppendAllowed(dst []byte, a *Allow) (out []byte, allowed bool) {
	if a == nil {
		return append(dst, denial...), false
	}
	out = append(dst, tagStatus, 0, tagAllowed, 0) // a status that is there, with code 0
	at := len(out)
	out = append(out, a.Prepared.ok...)
	out, valid := appendMutations(out, a)
	if valid {
		out = setLength(out, at)
		out, valid = appendMetadata(out, a.Prepared.entries, a.Metadata)
	}
	if !valid {
		return append(out[:len(dst)], denial...), false
	}
	return out, true
}

// appendMutations appends fields of an OkHttpResponse. It tells whether all was
// valid; if not, what it appended is of no use.
func appendMutations(dst []byte, a *Allow) ([]byte, bool) {
	for _, h := range a.Headers {
		switch {
		case !ValidHeader(h.Name, h.Value):
			return dst, false
		case h.Value == "":
			dst = appendText(dst, tagRemoveHeaders, h.Name)
		default:
			dst = appendHeader(dst, h, Overwrite)
		}
	}
	if h := a.Token; h != (HeaderValue{}) {
		if h.Value == "" || !ValidToken(h.Name, h.Value) {
			return dst, false
		}
		dst = appendHeader(dst, h, Overwrite)
	}
	for _, h := range a.AppendHeaders {
		if h.Value == "" || !ValidHeader(h.Name, h.Value) {
			return dst, false
		}
		dst = appendHeader(dst, h, Append)
	}
	for _, name := range a.RemoveHeaders {
		if !validName(name) {
			return dst, false
		}
		dst = appendText(dst, tagRemoveHeaders, name)
	}
	for _, h := range a.ResponseHeaders {
		if !ValidHeader(h.Name, h.Value) || h.Action >= actionCount {
			return dst, false
		}
		if h.Value != "" {
			dst = appendResponseHeader(dst, h)
		}
	}
	for _, p := range a.SetQuery {
		if !ValidParameter(p.Name, p.Value) {
			return dst, false
		}
		dst = append(dst, tagSetQuery, 0)
		at := len(dst)
		dst = appendEscaped(dst, tagName, p.Name)
		dst = appendEscaped(dst, tagValue, p.Value)
		dst = setLength(dst, at)
	}
	for _, name := range a.RemoveQuery {
		if !validSpelling(name) {
			return dst, false
		}
		dst = appendText(dst, tagRemoveQuery, name)
	}
	return dst, true
}

// ValidParameter tells whether a query parameter can be set: it has a name,
// and neither name nor value is longer than MaxHeaderLen once encoded. All
// bytes can be part of them.
func ValidParameter(name, value string) bool {
	return name != "" && escapedLen(name) <= MaxHeaderLen && escapedLen(value) <= MaxHeaderLen
}

// validSpelling tells whether a name may stand in a query as it is spelled
// here. Envoy overlooks the removal of anything else, which would leave in the
// query what was to be removed.
func validSpelling(name string) bool {
	if name == "" || len(name) > MaxHeaderLen {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == '&' || c == '=' || c == '#' {
			return false
		}
	}
	return true
}

// AppendEscaped appends s, all but the unreserved characters percent-encoded
// (RFC 3986 §2.3), so that decoding gives s wherever in a URL it stands.
func AppendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; unreserved(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func escapedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if !unreserved(s[i]) {
			n += 2
		}
	}
	return n
}

// appendEscaped appends a string field, percent-encoded.
func appendEscaped(dst []byte, tag byte, s string) []byte {
	return AppendEscaped(protowire.AppendVarint(append(dst, tag), uint64(escapedLen(s))), s)
}

// appendHeader appends one element of a field of type repeated
// HeaderValueOption, to overwrite or to append. Some versions of Envoy obey
// only the older of the two fields that tell which and some only the newer.
func appendHeader(dst []byte, h HeaderValue, action Action) []byte {
	dst = append(dst, tagHeaders, 0)
	option := len(dst)
	dst = appendPair(dst, h.Name, h.Value)
	if action == Append {
		dst = append(dst, tagAppend, 2, tagTrue, 1) // a BoolValue that is true
	} else {
		dst = append(dst, tagAppend, 0) // a BoolValue that is there, and false
	}
	return setLength(appendAction(dst, action), option)
}

// appendResponseHeader appends an element of response_headers_to_add. There the
// older field would outweigh the newer one, which alone knows all actions.
func appendResponseHeader(dst []byte, h ResponseHeader) []byte {
	dst = append(dst, tagResponseHeaders, 0)
	option := len(dst)
	dst = appendPair(dst, h.Name, h.Value)
	return setLength(appendAction(dst, h.Action), option)
}

func appendPair(dst []byte, name, text string) []byte {
	dst = append(dst, tagHeader, 0)
	header := len(dst)
	dst = appendText(dst, tagName, name)
	dst = appendText(dst, tagValue, text)
	return setLength(dst, header)
}

func appendAction(dst []byte, action Action) []byte {
	if n := appendActions[action]; n != 0 {
		dst = append(dst, tagAppendAction, n)
	}
	return dst
}

// appendMetadata appends the field dynamic_metadata, unless it has no entries.
// It tells whether all in more was valid; what is not is left out.
func appendMetadata(dst, entries []byte, more []MetadataValue) ([]byte, bool) {
	if len(entries) == 0 && len(more) == 0 {
		return dst, true
	}
	dst = append(dst, tagDynamicMetadata, 0)
	at := len(dst)
	dst, valid := appendEntries(append(dst, entries...), more)
	return setLength(dst, at), valid
}

// appendEntries appends fields of a google.protobuf.Struct. It tells whether
// all values were valid; those that are not are left out.
func appendEntries(dst []byte, values []MetadataValue) ([]byte, bool) {
	valid := true
	for i := range values {
		if !ValidMetadata(values[i].Value) {
			valid = false
			continue
		}
		dst = appendEntry(dst, values[i].Key, values[i].Value)
	}
	return dst, valid
}

// appendEntry appends one field of a google.protobuf.Struct.
func appendEntry(dst []byte, key string, v value.Value) []byte {
	if v.Kind() == value.String {
		if text := v.Str(); short(key) && short(text) && len(key)+len(text)+6 < 0x80 {
			// As below, with lengths of one byte that are known before.
			n := byte(len(text))
			dst = append(dst, tagEntry, byte(len(key))+n+6, tagEntryKey, byte(len(key)))
			dst = append(append(dst, key...), tagEntryValue, n+2, tagStringValue, n)
			return append(dst, text...)
		}
	}
	dst = append(dst, tagEntry, 0)
	entry := len(dst)
	dst = appendText(dst, tagEntryKey, key)
	dst = append(dst, tagEntryValue, 0)
	at := len(dst)
	dst = setLength(appendValue(dst, v), at)
	return setLength(dst, entry)
}

// appendValue appends the one field of a google.protobuf.Value.
func appendValue(dst []byte, v value.Value) []byte {
	switch v.Kind() {
	case value.String:
		return appendText(dst, tagStringValue, v.Str())
	case value.Bool:
		n := byte(0)
		if v.Bool() {
			n = 1
		}
		return append(dst, tagBoolValue, n)
	case value.Int:
		return appendNumber(dst, float64(v.Int()))
	case value.Uint:
		return appendNumber(dst, float64(v.Uint()))
	case value.Double:
		return appendNumber(dst, v.Double())
	case value.List:
		dst = append(dst, tagListValue, 0)
		list := len(dst)
		s := v.Sequence()
		for i := range s.Len() {
			dst = append(dst, tagElement, 0)
			at := len(dst)
			dst = setLength(appendValue(dst, s.At(i)), at)
		}
		return setLength(dst, list)
	case value.Map:
		dst = append(dst, tagStructValue, 0)
		object := len(dst)
		return setLength(appendObject(dst, v.Mapping()), object)
	default:
		return append(dst, tagNullValue, 0)
	}
}

// appendObject is apart, since what its loop captures is allocated.
func appendObject(dst []byte, m value.Mapping) []byte {
	m.Range(func(k string, e value.Value) bool {
		dst = appendEntry(dst, k, e)
		return true
	})
	return dst
}

func appendNumber(dst []byte, f float64) []byte {
	return protowire.AppendFixed64(append(dst, tagNumberValue), math.Float64bits(f))
}

// appendText appends a string field, mended if it is not UTF-8.
func appendText(dst []byte, tag byte, s string) []byte {
	if short(s) {
		return append(append(dst, tag, byte(len(s))), s...)
	}
	return protowire.AppendString(append(dst, tag), strings.ToValidUTF8(s, "\uFFFD"))
}

// short tells whether a string is fit to be written as it is, after a length of
// one byte.
func short(s string) bool { return len(s) < 0x80 && protovalue.ValidText(s) }

// setLength ends a length-delimited value, dst[at:], by writing its length. The
// byte before it was left free for that; a longer length moves the value, which
// costs less than to measure every message beforehand.
func setLength(dst []byte, at int) []byte {
	n := len(dst) - at
	if n < 0x80 {
		dst[at-1] = byte(n)
		return dst
	}
	var room [9]byte
	more := protowire.SizeVarint(uint64(n)) - 1
	dst = append(dst, room[:more]...)
	copy(dst[at+more:], dst[at:at+n])
	protowire.AppendVarint(dst[:at-1], uint64(n))
	return dst
}
