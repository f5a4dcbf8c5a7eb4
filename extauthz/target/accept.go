package target

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Accept is a set of named options. Each admits one spelling that is refused
// otherwise, and gives it one meaning: that of the servers that are named with
// it. An option is right only for a backend, and for proxies on the way to it,
// that read the spelling so.
//
// Whatever is admitted, no reading of a path has a "." or ".." segment, a
// control character, a backslash or text that is not UTF-8, and no path begins
// with two slashes.
type Accept uint16

// The options.
const (
	// AcceptEncodedSlash: %2F is a slash within its segment and ends none. Servers
	// that split the path before they decode it: Go's ServeMux, Express,
	// Envoy, Spring with UrlPathHelper.urlDecode off.
	AcceptEncodedSlash Accept = 1 << iota

	// AcceptDecodedSlash: %2F is '/', and ends a segment as '/' does. Servers that
	// decode the path before they split it: Starlette and FastAPI, Django,
	// Flask and all of WSGI.
	AcceptDecodedSlash

	// AcceptEmptySegments: an empty segment is a segment like others, which only **
	// takes. Servers that leave slashes alone: Starlette, Express, object
	// stores.
	AcceptEmptySegments

	// AcceptMergedSlashes: several slashes are one. Servers that merge them: nginx,
	// Apache, Tomcat.
	AcceptMergedSlashes

	// AcceptPathParameters: ';', raw or encoded, is a character like others.
	// Starlette, Django, Go, Express.
	AcceptPathParameters

	// AcceptDroppedParameters: a raw ';' and what follows it in its segment is left
	// out. Servlet containers: Tomcat, Jetty, Spring.
	AcceptDroppedParameters

	// AcceptEncodedDelimiters: %3F and %23 are '?' and '#' within their segment, as
	// for every server that decodes the path once, after the query was cut off.
	AcceptEncodedDelimiters

	// AcceptDoubleEncoding: text that looks percent-encoded once it was decoded is
	// the text it is. Servers that decode once, on all of the way.
	AcceptDoubleEncoding

	// AcceptUnnormalizedText: text that is not in Unicode form NFKC is compared as
	// it is, character by character. Servers that do not normalise, as most.
	AcceptUnnormalizedText

	// AcceptQuerySemicolon: ';' in the query is a character like others and
	// separates nothing. Starlette, Django since 2021, Express.
	AcceptQuerySemicolon
)

// options names each option, the reasons that it lifts, and the option that
// gives the same spelling another meaning.
var options = []struct {
	accept Accept
	name   string
	lifts  []Reason
	rival  Accept
}{
	{AcceptEncodedSlash, "encoded-slash", []Reason{EncodedSlash}, AcceptDecodedSlash},
	{AcceptDecodedSlash, "encoded-slash-decoded", []Reason{EncodedSlash}, AcceptEncodedSlash},
	{AcceptEmptySegments, "empty-segments", []Reason{EmptySegment}, AcceptMergedSlashes},
	{AcceptMergedSlashes, "merged-slashes", []Reason{EmptySegment}, AcceptEmptySegments},
	{AcceptPathParameters, "path-parameters", []Reason{PathParameter, EncodedDelimiter}, AcceptDroppedParameters},
	{AcceptDroppedParameters, "path-parameters-dropped", []Reason{PathParameter}, AcceptPathParameters},
	{AcceptEncodedDelimiters, "encoded-delimiters", []Reason{EncodedDelimiter}, 0},
	{AcceptDoubleEncoding, "double-encoding", []Reason{DoubleEncoding}, 0},
	{AcceptUnnormalizedText, "unnormalized-text", []Reason{UnnormalizedText}, 0},
	{AcceptQuerySemicolon, "query-semicolon", []Reason{QuerySemicolon}, 0},
}

// AcceptNames gives the names of the options.
func AcceptNames() []string {
	var out []string
	for _, o := range options {
		out = append(out, o.name)
	}
	return out
}

// AcceptOf gives the option of a name.
func AcceptOf(name string) (Accept, bool) {
	for _, o := range options {
		if o.name == name {
			return o.accept, true
		}
	}
	return 0, false
}

// String gives the names of the options in the set, separated by commas.
func (a Accept) String() string {
	var names []string
	for _, o := range options {
		if a&o.accept != 0 {
			names = append(names, o.name)
		}
	}
	return strings.Join(names, ",")
}

// Has tells whether the set holds all of another.
func (a Accept) Has(other Accept) bool { return a&other == other }

// Conflict gives two options of the set that give one spelling two meanings;
// 0 and 0 if there are none.
func (a Accept) Conflict() (first, second Accept) {
	for _, o := range options {
		if a&o.accept != 0 && a&o.rival != 0 {
			return o.accept, o.rival
		}
	}
	return 0, 0
}

// Readings gives the sets without conflicts that a path must be parsed with so
// that each of the options is tried in each meaning: the one set itself if it
// has no conflict, at most eight sets otherwise. Of the empty set, and of one
// that is about the query alone, there are none.
func (a Accept) Readings() []Accept {
	a &^= AcceptQuerySemicolon
	if a == 0 {
		return nil
	}
	if first, second := a.Conflict(); first != 0 {
		return append((a &^ first).Readings(), (a &^ second).Readings()...)
	}
	return []Accept{a}
}

// Lifts tells whether some option of the set admits what is refused for r.
func (a Accept) Lifts(r Reason) bool {
	for _, o := range options {
		if a&o.accept == 0 {
			continue
		}
		for _, lifted := range o.lifts {
			if lifted == r {
				return true
			}
		}
	}
	return false
}

// readSegment is DecodeSegment with options. It gives those that the segment
// needed. Of a refusal, the text is "".
func readSegment(raw string, accept Accept) (text string, met Accept, reason Reason) {
	text, reason = DecodeSegment(raw)
	if reason == OK || !accept.Lifts(reason) {
		return text, 0, reason
	}
	if i := strings.IndexByte(raw, ';'); i >= 0 && accept&AcceptDroppedParameters != 0 {
		if !plainParameters(raw[i:]) {
			return "", 0, PathParameter
		}
		met, raw = AcceptDroppedParameters, raw[:i]
	}
	text, more, reason := decodeLoosely(raw, accept)
	if reason != OK {
		return "", 0, reason
	}
	return text, met | more, OK
}

// plainParameters tells whether the parameters of a segment are plain enough
// for every parser to find the same end: no escape, nothing but what RFC 3986
// has in a segment.
func plainParameters(s string) bool {
	for i := range len(s) {
		if !isPathByte(s[i]) {
			return false
		}
	}
	return true
}

// isPathByte tells whether c stands for itself in a path (pchar of RFC 3986).
func isPathByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0
}

// decodeLoosely decodes a segment that DecodeSegment refuses.
func decodeLoosely(raw string, accept Accept) (text string, met Accept, reason Reason) {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c < ' ' || c == 0x7f:
			return "", 0, ControlByte
		case c == ' ':
			return "", 0, RawSpace
		case c == '\\':
			return "", 0, Backslash
		case c == '#':
			return "", 0, Fragment
		case c == '?':
			return "", 0, EncodedDelimiter
		case c == '/':
			return "", 0, EncodedSlash
		case c == ';' && accept&AcceptPathParameters == 0:
			return "", 0, PathParameter
		}
	}
	s, ok := Unescape(raw)
	if !ok {
		return "", 0, BadEscape
	}
	need := func(option Accept, otherwise Reason) {
		if accept&option == 0 && reason == OK {
			reason = otherwise
		}
		met |= option
	}
	reason = OK
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return "", 0, ControlByte
		case c == '\\':
			return "", 0, EncodedBackslash
		case c == '/':
			need(AcceptEncodedSlash, EncodedSlash)
		case c == '?', c == '#':
			need(AcceptEncodedDelimiters, EncodedDelimiter)
		case c == ';':
			need(AcceptPathParameters, EncodedDelimiter)
		case c == '%' && isEscape(s[i:]):
			need(AcceptDoubleEncoding, DoubleEncoding)
		}
	}
	switch {
	case !utf8.ValidString(s):
		return "", 0, InvalidUTF8
	case strings.ContainsFunc(s, isC1):
		return "", 0, ControlByte
	case s == "":
		return "", 0, EmptySegment
	case !soundParts(s):
		return "", 0, DotSegment
	case !norm.NFKC.IsNormalString(s):
		need(AcceptUnnormalizedText, UnnormalizedText)
		if !soundNormalized(s) {
			return "", 0, UnnormalizedText
		}
	}
	if met&AcceptDoubleEncoding != 0 && !soundDecoded(s) {
		return "", 0, DoubleEncoding
	}
	if reason != OK {
		return "", 0, reason
	}
	return s, met, OK
}

// soundParts tells whether neither a slash nor a ';' within a segment hides
// something that another parser could take for a "." or ".." segment, or, at a
// slash, for an empty one.
func soundParts(s string) bool {
	slashes := strings.IndexByte(s, '/') >= 0
	for part := range strings.SplitSeq(s, "/") {
		name, _, _ := strings.Cut(part, ";")
		if name == "." || name == ".." || slashes && part == "" {
			return false
		}
	}
	return true
}

// soundNormalized tells whether text means the same to those who normalise it:
// with as many delimiters, and without dot segments.
func soundNormalized(s string) bool {
	n := norm.NFKC.String(s)
	for _, c := range []string{"/", `\`, "?", "#", ";", "%"} {
		if strings.Count(n, c) != strings.Count(s, c) {
			return false
		}
	}
	return soundParts(n)
}

// maxDecodings is how often double-encoded text may decode to something else.
const maxDecodings = 4

// soundDecoded tells whether text holds nothing that is never admitted, however
// often it is decoded.
func soundDecoded(s string) bool {
	for range maxDecodings {
		next := unescapeValid(s)
		if next == s {
			return true // nothing decodes it any further
		}
		s = next
		for part := range strings.SplitSeq(s, "/") {
			if name, _, _ := strings.Cut(part, ";"); name == "." || name == ".." {
				return false
			}
		}
		if !utf8.ValidString(s) || strings.IndexByte(s, '\\') >= 0 || strings.ContainsFunc(s, isControl) {
			return false
		}
	}
	return false
}

// unescapeValid decodes as lenient decoders do: what is no escape stays.
func unescapeValid(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if isEscape(s[i:]) {
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || isC1(r) }

func isC1(r rune) bool { return 0x80 <= r && r <= 0x9f }
