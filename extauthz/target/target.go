package target

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The bounds of what is read. They are far above what applications use, and
// keep the cost of one request small.
const (
	MaxPath     = 8 << 10 // bytes of the path, escapes included, query excluded
	MaxSegments = 128     // segments of a path
	MaxPairs    = 100     // name=value pairs of a query
)

// A Target is the path and query of one request. It is made to be reused:
// Parse replaces all it held, and the memory stays. The zero Target is a
// refusal, and so is one whose Parse did not give OK. It must not be copied
// while in use, and is not safe for concurrent use.
type Target struct {
	raw      string // as parsed; "" unless state is OK
	pathEnd  int    // length of the path part of raw
	segments [MaxSegments]string
	count    int
	state    Reason
	trailing bool // the path ends with '/'
	escaped  bool // the segments are not those of raw, byte for byte
	met      Accept

	admitted Accept // for the query

	query       Query
	queryReason Reason // Unread until the query is asked for
}

// Parse reads the value of the :path pseudo-header, path and query, as it was
// received. On any answer but OK the Target is left empty.
func (t *Target) Parse(raw string) Reason { return t.ParseAccepting(raw, 0) }

// ParseAccepting is Parse with options, which must not conflict.
func (t *Target) ParseAccepting(raw string, accept Accept) Reason {
	t.Reset()
	if r := t.parse(raw, accept); r != OK {
		t.Reset()
		t.state = r
		return r
	}
	t.raw, t.state = raw, OK
	return OK
}

// Reset drops everything that refers to the request, for example before the
// Target goes back to a pool.
func (t *Target) Reset() {
	clear(t.segments[:t.count])
	t.raw, t.pathEnd, t.count, t.state = "", 0, 0, Unread
	t.trailing, t.escaped, t.met, t.admitted = false, false, 0, 0
	t.query.reset()
	t.queryReason = Unread
}

func (t *Target) parse(raw string, accept Accept) Reason {
	t.pathEnd = len(raw)
	if i := strings.IndexByte(raw, '?'); i >= 0 {
		t.pathEnd = i
	}
	path := raw[:t.pathEnd]
	switch {
	case path == "":
		return EmptyPath
	case len(path) > MaxPath:
		return PathTooLong
	case path == "*":
		return AsteriskPath
	case path[0] != '/':
		return NotAbsolute
	case strings.IndexByte(raw, '#') >= 0:
		return Fragment
	case len(path) > 1 && path[1] == '/':
		return DoubleSlash
	}
	for query, i := raw[t.pathEnd:], 0; i < len(query); i++ { // DecodeSegment sees to the path
		switch c := query[i]; {
		case c == ' ':
			return RawSpace
		case c < ' ', c == 0x7f:
			return ControlByte
		}
	}
	for rest := path[1:]; ; {
		segment, after, more := cutSegment(rest, accept)
		if more > 1 {
			t.met, t.escaped = t.met|AcceptDecodedSlash, true
		}
		switch {
		case segment != "":
			decoded, met, r := readSegment(segment, accept)
			if r != OK {
				return r
			}
			t.met |= met
			t.escaped = t.escaped || len(decoded) != len(segment)
			if r := t.add(decoded); r != OK {
				return r
			}
		case more == 0:
			t.trailing = true // nothing follows the last slash
		case t.count == 0:
			return DoubleSlash
		case accept&AcceptMergedSlashes != 0:
			t.met, t.escaped = t.met|AcceptMergedSlashes, true
		case accept&AcceptEmptySegments != 0:
			t.met |= AcceptEmptySegments
			if r := t.add(""); r != OK {
				return r
			}
		default:
			return EmptySegment
		}
		if more == 0 {
			break
		}
		rest = after
	}
	if t.met&AcceptEncodedSlash != 0 {
		switch {
		case t.met&AcceptDoubleEncoding != 0:
			return DoubleEncoding // its %2F could not be told from the other's
		case !plainPath(path):
			return EncodedSlash
		}
	}
	return OK
}

// plainPath tells whether a path holds nothing but what RFC 3986 §3.3 has in
// paths. Go's net/url encodes one that holds more anew, from its decoded form,
// in which an encoded slash is one like others.
func plainPath(path string) bool {
	for i := range len(path) {
		if c := path[i]; c != '/' && c != '%' && !isPathByte(c) {
			return false
		}
	}
	return true
}

func (t *Target) add(segment string) Reason {
	if t.count == MaxSegments {
		return TooManySegments
	}
	t.segments[t.count] = segment
	t.count++
	return OK
}

// cutSegment splits s after its first segment. The number is that of the bytes
// of the slash between the two, 0 if there is none.
func cutSegment(s string, accept Accept) (segment, rest string, slash int) {
	if accept&AcceptDecodedSlash == 0 {
		if i := strings.IndexByte(s, '/'); i >= 0 {
			return s[:i], s[i+1:], 1
		}
		return s, "", 0
	}
	for i := range len(s) {
		switch {
		case s[i] == '/':
			return s[:i], s[i+1:], 1
		case s[i] == '%' && len(s) >= i+3 && s[i+1] == '2' && (s[i+2] == 'F' || s[i+2] == 'f'):
			return s[:i], s[i+3:], 3
		}
	}
	return s, "", 0
}

// OK tells whether the last Parse accepted its path.
func (t *Target) OK() bool { return t.state == OK }

// Reason is what the last Parse gave; Unread if there was none.
func (t *Target) Reason() Reason { return t.state }

// Len is the number of segments: 0 for "/", 2 for "/a/b" and for "/a/b/".
func (t *Target) Len() int { return t.count }

// Segment gives decoded segment i, 0 <= i < Len().
func (t *Target) Segment(i int) string { return t.segments[:t.count][i] }

// Visible gives segment i as it is shown beside others: a '/' within it, which
// AcceptEncodedSlash admits, is %2F, so that it can't be taken for the end of
// the segment.
func (t *Target) Visible(i int) string {
	if t.met&AcceptEncodedSlash == 0 {
		return t.Segment(i)
	}
	return strings.ReplaceAll(t.Segment(i), "/", "%2F")
}

// Met gives the options that the path needed. Parsed with these alone, it
// reads the same; without one of them, it is refused.
func (t *Target) Met() Accept { return t.met }

// Admit says which options the query is read with.
func (t *Target) Admit(accept Accept) {
	if accept != t.admitted {
		t.admitted, t.queryReason = accept, Unread
	}
}

// TrailingSlash tells whether the path ends with '/', as "/" itself does. It
// is a fact of its own: "/a" and "/a/" have the same segments.
func (t *Target) TrailingSlash() bool { return t.trailing }

// RawPath is the path as received, without the query; "" of a refused path.
func (t *Target) RawPath() string {
	if t.state != OK {
		return ""
	}
	return t.raw[:t.pathEnd]
}

// RawQuery is the query as received, without its '?'; "" if there is none.
func (t *Target) RawQuery() string {
	if t.state != OK || t.pathEnd == len(t.raw) {
		return ""
	}
	return t.raw[t.pathEnd+1:]
}

// Path is the path as it was read, its segments decoded: "/caf%C3%A9/" gives
// "/café/". It is "" of a refused path, and allocates only if that differs from
// what was received.
func (t *Target) Path() string {
	if t.state != OK || !t.escaped {
		return t.RawPath()
	}
	var b strings.Builder
	b.Grow(t.pathEnd)
	for i := range t.count {
		b.WriteByte('/')
		b.WriteString(t.Visible(i))
	}
	if t.trailing {
		b.WriteByte('/')
	}
	return b.String()
}

// DecodeSegment decodes one raw path segment, and refuses all that a Target
// has no place for; a raw '/' or '?', which ends a segment, is refused like an
// encoded one. The result of a refusal is "".
func DecodeSegment(raw string) (string, Reason) {
	escaped, ascii := false, true
	for i := range len(raw) {
		if unremarkable[raw[i]] {
			continue
		}
		switch c := raw[i]; {
		case c == '%':
			escaped = true
		case c < ' ' || c == 0x7f:
			return "", ControlByte
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '/':
			return "", EncodedSlash
		case c == '?':
			return "", EncodedDelimiter
		case c == ' ':
			return "", RawSpace
		case c == '\\':
			return "", Backslash
		case c == ';':
			return "", PathParameter
		case c == '#':
			return "", Fragment
		}
	}
	s := raw
	if escaped {
		var ok bool
		if s, ok = unescape(raw, false); !ok {
			return "", BadEscape
		}
		for i := range len(s) {
			switch c := s[i]; {
			case c < ' ' || c == 0x7f:
				return "", ControlByte
			case c >= utf8.RuneSelf:
				ascii = false
			case c == '/':
				return "", EncodedSlash
			case c == '\\':
				return "", EncodedBackslash
			case c == '?', c == '#', c == ';':
				return "", EncodedDelimiter
			case c == '%' && isEscape(s[i:]):
				return "", DoubleEncoding
			}
		}
	}
	switch {
	case s == "":
		return "", EmptySegment
	case s == ".", s == "..":
		return "", DotSegment
	case ascii:
		return s, OK
	case !utf8.ValidString(s):
		return "", InvalidUTF8
	case strings.ContainsFunc(s, func(r rune) bool { return 0x80 <= r && r <= 0x9f }):
		return "", ControlByte
	case !norm.NFKC.IsNormalString(s):
		return "", UnnormalizedText
	}
	return s, OK
}

// unremarkable are the bytes of ASCII that need no look: all that DecodeSegment
// has no case for.
var unremarkable = func() (t [256]bool) {
	for c := range t {
		t[c] = ' ' < c && c < 0x7f && strings.IndexByte(`%/?\;#`, byte(c)) < 0
	}
	return t
}()

// Unescape replaces each %XX by its byte (RFC 3986 §2.1), and nothing else. It
// answers false if a '%' is not followed by two hexadecimal digits.
func Unescape(s string) (string, bool) { return unescape(s, false) }

// UnescapeForm is Unescape for what HTML forms encode: '+' is a space.
func UnescapeForm(s string) (string, bool) { return unescape(s, true) }

// unescape replaces each %XX by its byte and, if plus is set, each '+' by a
// space. It answers false if a '%' is not followed by two hexadecimal digits.
// It allocates only if there is something to replace.
func unescape(s string, plus bool) (string, bool) {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if !isEscape(s[i:]) {
				return "", false
			}
			n++
			i += 2
		} else if plus && s[i] == '+' {
			n++
		}
	}
	if n == 0 {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		case plus && c == '+':
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// isEscape tells whether s begins with '%' and two hexadecimal digits.
func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && isHex(s[1]) && isHex(s[2])
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unhex gives the value of a hexadecimal digit.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}
