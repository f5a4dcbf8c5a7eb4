package target

import "fmt"

// A Reason says why a path, query, host or method was refused, or that it was
// not (OK). Everything that is not OK is the client's fault: a bad request.
type Reason uint8

// The reasons. Unread, the zero Reason, is a refusal like the others: nothing
// was looked at.
const (
	Unread Reason = iota
	OK

	EmptyPath         // there is no path, as in CONNECT
	AsteriskPath      // "*", as in OPTIONS *
	NotAbsolute       // does not begin with '/'; the absolute form http://host/ is one case
	PathTooLong       // longer than MaxPath
	TooManySegments   // more than MaxSegments
	Fragment          // a raw '#', which is never sent, in path or query
	DoubleSlash       // begins with "//", which is an authority to some parsers
	EmptySegment      // "//" further on
	DotSegment        // "." or "..", raw or encoded
	Backslash         // a raw '\'
	PathParameter     // a raw ';'
	RawSpace          // a raw ' ', in path or query
	ControlByte       // a control character (DEL and C1 included), raw or encoded; in the query raw
	BadEscape         // '%' without two hexadecimal digits
	EncodedSlash      // %2F
	EncodedBackslash  // %5C
	EncodedDelimiter  // %3F, %23 or %3B: '?', '#', ';'
	DoubleEncoding    // decoding once leaves '%' and two hexadecimal digits
	InvalidUTF8       // the decoded segment is not UTF-8
	UnnormalizedText  // the decoded segment changes under NFKC
	QuerySemicolon    // a raw ';', which separates pairs for some parsers
	QueryBadEscape    // '%' without two hexadecimal digits
	QueryNUL          // an encoded NUL
	QueryInvalidUTF8  // a decoded name or value is not UTF-8
	QueryTooManyPairs // more than MaxPairs
	QueryDuplicate    // one value was asked for, and the name occurs more than once
	HostEmpty         // no host
	HostTooLong       // longer than a DNS name can be
	HostUserinfo      // '@'
	HostBadByte       // a byte that no host has: space, comma, '%', control, non-ASCII
	HostBadName       // an empty or overlong label, or one with '-' at an end
	HostBadAddress    // a bracketed IPv6 address that is none, or has a zone
	HostBadPort       // after ':' something other than 1 to 65535
	MethodEmpty       // no method
	MethodBadByte     // a byte that is not of a token

	reasonCount
)

var reasonTexts = [reasonCount]struct{ name, message string }{
	Unread:            {"unread", "the request target was not read"},
	OK:                {"ok", "the request target is unambiguous"},
	EmptyPath:         {"empty_path", "the request has no path"},
	AsteriskPath:      {"asterisk_path", "the request asks for *, not for a path"},
	NotAbsolute:       {"not_absolute", "the path does not begin with a slash"},
	PathTooLong:       {"path_too_long", "the path is too long"},
	TooManySegments:   {"too_many_segments", "the path has too many segments"},
	Fragment:          {"fragment", "the path or query holds a #"},
	DoubleSlash:       {"double_slash", "the path begins with two slashes"},
	EmptySegment:      {"empty_segment", "the path holds an empty segment"},
	DotSegment:        {"dot_segment", "the path holds a . or .. segment"},
	Backslash:         {"backslash", "the path holds a backslash"},
	PathParameter:     {"path_parameter", "the path holds a semicolon"},
	RawSpace:          {"raw_space", "the path or query holds a space that is not encoded"},
	ControlByte:       {"control_byte", "the path or query holds a control character"},
	BadEscape:         {"bad_escape", "the path holds a % without two hexadecimal digits"},
	EncodedSlash:      {"encoded_slash", "the path holds an encoded slash"},
	EncodedBackslash:  {"encoded_backslash", "the path holds an encoded backslash"},
	EncodedDelimiter:  {"encoded_delimiter", "the path holds an encoded ?, # or ;"},
	DoubleEncoding:    {"double_encoding", "the path is percent-encoded twice"},
	InvalidUTF8:       {"invalid_utf8", "the path is not UTF-8 once decoded"},
	UnnormalizedText:  {"unnormalized_text", "the path holds text that is not in Unicode form NFKC"},
	QuerySemicolon:    {"query_semicolon", "the query holds a semicolon"},
	QueryBadEscape:    {"query_bad_escape", "the query holds a % without two hexadecimal digits"},
	QueryNUL:          {"query_nul", "the query holds an encoded NUL"},
	QueryInvalidUTF8:  {"query_invalid_utf8", "the query is not UTF-8 once decoded"},
	QueryTooManyPairs: {"query_too_many_pairs", "the query has too many pairs"},
	QueryDuplicate:    {"query_duplicate", "a query parameter that may occur once occurs more than once"},
	HostEmpty:         {"host_empty", "the request has no host"},
	HostTooLong:       {"host_too_long", "the host is too long"},
	HostUserinfo:      {"host_userinfo", "the host holds an @"},
	HostBadByte:       {"host_bad_byte", "the host holds a character that no host has"},
	HostBadName:       {"host_bad_name", "the host is not a well-formed name"},
	HostBadAddress:    {"host_bad_address", "the host is not a well-formed IPv6 address"},
	HostBadPort:       {"host_bad_port", "the host has a malformed port"},
	MethodEmpty:       {"method_empty", "the request has no method"},
	MethodBadByte:     {"method_bad_byte", "the method is not a token"},
}

// String gives the stable name of the reason, such as "encoded_slash".
func (r Reason) String() string {
	if r < reasonCount {
		return reasonTexts[r].name
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Message gives the reason as a clause for people. It quotes nothing of the
// request, so it may be shown to the client.
func (r Reason) Message() string {
	if r < reasonCount {
		return reasonTexts[r].message
	}
	return r.String()
}

// Err gives the reason as an error: nil for OK, otherwise a *Refusal.
func (r Reason) Err() error {
	if r == OK {
		return nil
	}
	return &Refusal{Reason: r}
}

// A Refusal is a Reason as an error.
type Refusal struct {
	Reason Reason
	Name   string // of the query parameter that was read, if it was one
}

// Error gives the reason's message, and the parameter's name if there is one.
func (r *Refusal) Error() string {
	if r.Name != "" {
		return fmt.Sprintf("%s (parameter %q)", r.Reason.Message(), r.Name)
	}
	return r.Reason.Message()
}
