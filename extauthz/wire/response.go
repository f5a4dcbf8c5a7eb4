package wire

import (
	"strings"

	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// A HeaderValue is a header to set. It replaces what the message had under that
// name, with every version of Envoy: some obey only the older of the two fields
// that say so and some only the newer, so both are written.
type HeaderValue struct{ Name, Value string }

// A MetadataValue is an entry of the dynamic metadata that Envoy keeps of a
// response, for its access log and for other filters. Bytes that are not UTF-8
// are replaced by U+FFFD.
type MetadataValue struct{ Key, Value string }

// MaxHeaderLen is the longest name or value of a header that is written, in
// bytes; Envoy itself draws the line at 16384.
const MaxHeaderLen = 4096

// ValidHeader tells whether a header may be written: its name is a token of
// RFC 9110, its value printable ASCII with spaces, none of them at either end,
// and neither is longer than MaxHeaderLen.
func ValidHeader(name, value string) bool {
	if !validName(name) || len(value) > MaxHeaderLen {
		return false
	}
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
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

	tagHTTPStatus    = 1<<3 | 2 // DeniedHttpResponse
	tagBody          = 3<<3 | 2
	tagHeaders       = 2<<3 | 2 // DeniedHttpResponse, OkHttpResponse
	tagRemoveHeaders = 5<<3 | 2 // OkHttpResponse

	tagHeader       = 1<<3 | 2 // HeaderValueOption
	tagAppend       = 2<<3 | 2
	tagAppendAction = 3 << 3   // a varint
	tagName         = 1<<3 | 2 // HeaderValue
	tagValue        = 2<<3 | 2

	tagEntry       = 1<<3 | 2 // google.protobuf.Struct
	tagEntryKey    = 1<<3 | 2
	tagEntryValue  = 2<<3 | 2
	tagStringValue = 3<<3 | 2 // google.protobuf.Value

	overwriteIfExistsOrAdd = 2 // HeaderAppendAction
)

// denial is the zero Response: status 7 and a denied_response with 403.
const denial = "\x0a\x02\x08\x07\x12\x05\x0a\x03\x08\x93\x03"

// A Response is an encoded CheckResponse that does not allow. The zero Response
// denies with status 7 (PERMISSION_DENIED) and 403. A Response is immutable and
// may be shared.
type Response struct {
	b       []byte // all of it; nil stands for denial
	head    int    // where b's dynamic metadata begins, with its tag
	entries int    // where the metadata's entries begin
}

// Denied encodes a deny: Envoy answers the client with the HTTP status, the
// headers and the body. The code is that of google.rpc, 1 to 16; any other,
// above all 0, which would allow, becomes 7. An HTTP status that Envoy does not
// know or that does not end a request becomes 403. Headers that are not valid
// or empty are left out, and bytes of the body that are not UTF-8 become U+FFFD.
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
	if _, known := typev3.StatusCode_name[status]; !known || status < 200 {
		return fallback
	}
	return status
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
			b = appendHeader(b, h)
		}
	}
	if body != "" {
		b = appendText(b, tagBody, body)
	}
	b = setLength(b, at)

	r := Response{head: len(b)}
	entries := appendEntries(nil, metadata)
	r.b = appendMetadata(b, entries, nil)
	r.entries = len(r.b) - len(entries)
	return r
}

// Bytes gives the encoded message, which must not be changed.
func (r Response) Bytes() []byte {
	if r.b == nil {
		return []byte(denial)
	}
	return r.b
}

// Append appends the encoded message to dst, with more dynamic metadata than it
// was made with; of equal keys the one in more counts.
func (r Response) Append(dst []byte, more []MetadataValue) []byte {
	if r.b == nil {
		return appendMetadata(append(dst, denial...), nil, more)
	}
	return appendMetadata(append(dst, r.b[:r.head]...), r.b[r.entries:], more)
}

// An Allow says what Envoy does to a request that it lets through.
//
// Envoy removes headers after it has set them: a name that stands in both
// lists, prepared or not, is removed.
type Allow struct {
	Prepared      Prepared        // what is the same for many requests
	Headers       []HeaderValue   // set toward the upstream; one with an empty value is removed instead
	RemoveHeaders []string        // removed from the request before it goes upstream
	Metadata      []MetadataValue // dynamic metadata; counts over prepared entries of equal keys
}

// Prepared is the part of an Allow that is encoded beforehand. The zero
// Prepared is nothing. It is immutable and may be shared.
type Prepared struct {
	ok      []byte // fields of OkHttpResponse
	entries []byte // fields of google.protobuf.Struct
}

// Prepare encodes the part of an allow that is known before the request. It
// refuses, with the zero Prepared and false, a header that is not valid.
func Prepare(headers []HeaderValue, removeHeaders []string, metadata []MetadataValue) (Prepared, bool) {
	ok, valid := appendMutations(nil, headers, removeHeaders)
	if !valid {
		return Prepared{}, false
	}
	return Prepared{ok: ok, entries: appendEntries(nil, metadata)}, true
}

// AppendAllowed appends an encoded allow to dst and tells that it did so. If a
// is nil, or a header in it is not valid, it appends the zero Response, a deny,
// instead and answers false.
func AppendAllowed(dst []byte, a *Allow) (out []byte, allowed bool) {
	if a == nil {
		return append(dst, denial...), false
	}
	out = append(dst, tagStatus, 0, tagAllowed, 0) // a status that is there, with code 0
	at := len(out)
	out = append(out, a.Prepared.ok...)
	out, valid := appendMutations(out, a.Headers, a.RemoveHeaders)
	if !valid {
		return append(out[:len(dst)], denial...), false
	}
	out = setLength(out, at)
	return appendMetadata(out, a.Prepared.entries, a.Metadata), true
}

// appendMutations appends fields of an OkHttpResponse. It tells whether all of
// the headers were valid; if not, what it appended is of no use.
func appendMutations(dst []byte, headers []HeaderValue, remove []string) ([]byte, bool) {
	for _, h := range headers {
		switch {
		case !ValidHeader(h.Name, h.Value):
			return dst, false
		case h.Value == "":
			dst = appendText(dst, tagRemoveHeaders, h.Name)
		default:
			dst = appendHeader(dst, h)
		}
	}
	for _, name := range remove {
		if !validName(name) {
			return dst, false
		}
		dst = appendText(dst, tagRemoveHeaders, name)
	}
	return dst, true
}

// appendHeader appends one element of a field of type repeated
// HeaderValueOption.
func appendHeader(dst []byte, h HeaderValue) []byte {
	dst = append(dst, tagHeaders, 0)
	option := len(dst)
	dst = append(dst, tagHeader, 0)
	header := len(dst)
	dst = appendText(dst, tagName, h.Name)
	dst = appendText(dst, tagValue, h.Value)
	dst = setLength(dst, header)
	dst = append(dst, tagAppend, 0) // a BoolValue that is there, and false
	dst = append(dst, tagAppendAction, overwriteIfExistsOrAdd)
	return setLength(dst, option)
}

// appendMetadata appends the field dynamic_metadata, unless it has no entries.
func appendMetadata(dst, entries []byte, more []MetadataValue) []byte {
	if len(entries) == 0 && len(more) == 0 {
		return dst
	}
	dst = append(dst, tagDynamicMetadata, 0)
	at := len(dst)
	return setLength(appendEntries(append(dst, entries...), more), at)
}

// appendEntries appends fields of a google.protobuf.Struct.
func appendEntries(dst []byte, values []MetadataValue) []byte {
	for _, v := range values {
		dst = append(dst, tagEntry, 0)
		entry := len(dst)
		dst = appendText(dst, tagEntryKey, v.Key)
		dst = append(dst, tagEntryValue, 0)
		val := len(dst)
		dst = appendText(dst, tagStringValue, v.Value)
		dst = setLength(dst, val)
		dst = setLength(dst, entry)
	}
	return dst
}

// appendText appends a string field, mended if it is not UTF-8.
func appendText(dst []byte, tag byte, s string) []byte {
	return protowire.AppendString(append(dst, tag), strings.ToValidUTF8(s, "\uFFFD"))
}

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
