package target

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

const (
	maxName  = 253 // characters of a DNS name in text form, RFC 1035 §2.3.4
	maxLabel = 63
)

// Host gives the canonical host of an :authority or Host header: lower case,
// without port and without one trailing dot, an IPv6 address in brackets and
// in its shortest form (RFC 5952). Underscores are allowed, since service names
// have them. A name is compared as its ASCII form: a non-ASCII name is refused,
// the xn-- form of it is a name like any other. It allocates only if the
// canonical form differs from a part of the authority.
func Host(authority string) (string, Reason) {
	if authority == "" {
		return "", HostEmpty
	}
	if len(authority) > maxName+len(".:65535") {
		return "", HostTooLong
	}
	if authority[0] == '[' {
		return address(authority)
	}
	name, port, hasPort := strings.Cut(authority, ":")
	upper := false
	for i := range len(name) {
		switch hostBytes[name[i]] {
		case plainByte:
		case upperByte:
			upper = true
		default:
			if name[i] == '@' {
				return "", HostUserinfo
			}
			return "", HostBadByte
		}
	}
	if hasPort && !isPort(port) {
		if strings.IndexByte(port, '@') >= 0 {
			return "", HostUserinfo // user:password@host
		}
		return "", HostBadPort
	}
	if name == "" || name == "." {
		return "", HostEmpty
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) > maxName {
		return "", HostTooLong
	}
	for begin, i := 0, 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			continue
		}
		if i == begin || i-begin > maxLabel || name[begin] == '-' || name[i-1] == '-' {
			return "", HostBadName
		}
		begin = i + 1
	}
	if upper {
		name = strings.ToLower(name)
	}
	return name, OK
}

// The bytes that names may have: letters, digits, '-', '_' and '.'.
const (
	plainByte = 1 + iota
	upperByte
)

var hostBytes = func() (t [256]uint8) {
	for c := range t {
		switch c := byte(c); {
		case 'A' <= c && c <= 'Z':
			t[c] = upperByte
		case isAlphanumeric(c), c == '-', c == '_', c == '.':
			t[c] = plainByte
		}
	}
	return t
}()

// address reads "[" IPv6 "]" [ ":" port ].
func address(authority string) (string, Reason) {
	end := strings.IndexByte(authority, ']')
	if end < 0 {
		return "", HostBadAddress
	}
	switch rest := authority[end+1:]; {
	case rest == "":
	case strings.IndexByte(rest, '@') >= 0:
		return "", HostUserinfo
	case rest[0] != ':', !isPort(rest[1:]):
		return "", HostBadPort
	}
	ip, err := netip.ParseAddr(authority[1:end])
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return "", HostBadAddress
	}
	var buf [48]byte
	b := append(ip.AppendTo(append(buf[:0], '[')), ']')
	if string(b) == authority[:end+1] {
		return authority[:end+1], OK
	}
	return string(b), OK
}

// isPort tells whether s is a decimal port, 1 to 65535.
func isPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return 1 <= n && n <= 65535
}

// Method tells whether m is a method: a token (RFC 9110 §5.6.2, §9.1). Methods
// are case-sensitive and are never changed: "get" is a method, but not GET.
func Method(m string) Reason {
	if m == "" {
		return MethodEmpty
	}
	for i := range len(m) {
		if c := m[i]; c >= utf8.RuneSelf || !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return MethodBadByte
		}
	}
	return OK
}

// GRPCMethod splits the raw :path of a gRPC call, "/" service "/" method, as
// gRPC servers do: exactly, without decoding. The service is letters, digits,
// '_' and '.', with no empty part between dots; the method is letters, digits
// and '_'. A query, a third segment or a trailing slash is no gRPC path.
func GRPCMethod(path string) (service, method string, ok bool) {
	if path == "" || path[0] != '/' {
		return "", "", false
	}
	service, method, ok = strings.Cut(path[1:], "/")
	if !ok || !isGRPCService(service) || !isGRPCName(method) {
		return "", "", false
	}
	return service, method, true
}

func isGRPCService(s string) bool {
	for more := true; more; {
		var part string
		part, s, more = strings.Cut(s, ".")
		if !isGRPCName(part) {
			return false
		}
	}
	return true
}

// isGRPCName tells whether s is one or more letters, digits and '_'.
func isGRPCName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
