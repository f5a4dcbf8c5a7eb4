package cookie

import (
	"errors"
	"strings"
)

// The reasons to refuse a cookie.
var (
	// ErrRepeated is for a name that is there more than once, or that could be
	// found within the value of another cookie.
	ErrRepeated = errors.New("a cookie of this name could be found more than once")

	// ErrBadValue is for a value that servers read in different ways, or a
	// name that has none.
	ErrBadValue = errors.New("the value of the cookie can be read in more than one way")
)

// Lookup finds the value of the cookie called name in a Cookie header, and
// tells whether there is one. Names are compared exactly. An error is one of
// those of this package; then there is no value.
func Lookup(header, name string) (value string, found bool, err error) {
	switch count(header, name) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", false, ErrRepeated
	}
	for pair := range strings.SplitSeq(header, ";") {
		n, v, whole := strings.Cut(trim(pair), "=")
		if trim(n) != name {
			continue
		}
		if !whole || n != name || !isValue(v) {
			return "", false, ErrBadValue
		}
		return v, true, nil
	}
	return "", false, ErrRepeated // it is there only for those who split at something else
}

// Names yields the names of the cookies in a Cookie header, in its order, once
// for each cookie.
func Names(header string, yield func(name string) bool) {
	for pair := range strings.SplitSeq(header, ";") {
		n, _, _ := strings.Cut(pair, "=")
		if n = trim(n); n != "" && !yield(n) {
			return
		}
	}
}

// count tells how often a name stands in the header where some parser could
// begin a cookie: not within a longer name, and before '=' or where a pair
// ends.
func count(header, name string) int {
	n := 0
	if name == "" || !isToken(name) {
		return 0 // no cookie has such a name
	}
	for at := 0; ; {
		i := strings.Index(header[at:], name)
		if i < 0 {
			return n
		}
		i += at
		at = i + len(name)
		if i > 0 && isTokenByte(header[i-1]) {
			continue
		}
		after := strings.TrimLeft(header[at:], " \t")
		switch {
		case strings.HasPrefix(after, "="):
			n++
		case after == "" || after[0] == ';' || after[0] == ',':
			// A name without a value, unless it is itself the value of a cookie.
			if before := strings.TrimRight(header[:i], " \t\""); before == "" || before[len(before)-1] == ';' || before[len(before)-1] == ',' {
				n++
			}
		}
	}
}

func trim(s string) string { return strings.Trim(s, " \t") }

// isValue tells whether s consists of cookie-octets.
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\' {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return true
}

// isTokenByte tells whether c is of a token (RFC 9110 §5.6.2).
func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
