package extauthz

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"edict/engine/diag"
)

// What follows are the ways in which a client can tell some backend to act on
// another request than the one that Edict judged: by a header that some proxy
// or framework reads in the place of method, path or host. None of them changes
// what Edict reads, so one that says something else is refused.

// An override is what a header, or the parameter _method, is read in place of.
type override uint8

const (
	noOverride override = iota
	overridesMethod
	overridesTarget // path and query
	overridesPrefix // the part of the path that a proxy took away
	overridesHost
	overridesForwarded // the host, by a parameter of Forwarded
)

// overrideOf tells what a name overrides. It is asked of nearly every header.
func overrideOf(name string) override {
	switch name {
	case "x-http-method-override", // Rack, Symfony, Laravel, Express's method-override, Google's APIs
		"x-http-method", // OData
		"x-method-override",
		"x-forwarded-method", // Traefik, Caddy: to those that they ask
		"x-original-method",  // nginx's auth_request
		methodParameter:      // Rack, Symfony, Laravel: in queries and forms
		return overridesMethod
	case "x-original-url", // IIS, Symfony, Zend
		"x-original-uri",  // nginx's auth_request
		"x-rewrite-url",   // IIS, Symfony, Zend
		"x-forwarded-uri", // Traefik, Caddy
		"x-forwarded-path",
		"x-envoy-original-path": // Envoy, behind a proxy that rewrote the path
		return overridesTarget
	case "x-forwarded-prefix", // Spring, ASP.NET, Starlette behind a proxy
		"x-script-name": // WSGI
		return overridesPrefix
	case "x-forwarded-host", // Django, Rails, Spring, Express with "trust proxy"
		"x-original-host", // ASP.NET
		"x-host":          // Symfony, of old
		return overridesHost
	case "forwarded": // RFC 7239: Spring, ASP.NET, aiohttp, Quarkus
		return overridesForwarded
	}
	return noOverride
}

// overrideNames are the names that overrideOf knows.
var overrideNames = []string{
	methodParameter, "forwarded", "x-envoy-original-path", "x-forwarded-host", "x-forwarded-method", "x-forwarded-path",
	"x-forwarded-prefix", "x-forwarded-uri", "x-host", "x-http-method", "x-http-method-override", "x-method-override",
	"x-original-host", "x-original-method", "x-original-uri", "x-original-url", "x-rewrite-url", "x-script-name",
}

// methodParameter is the query parameter that overrides the method.
const methodParameter = "_method"

// IgnoredOverrides checks a list of names of overrides. If one of them is none
// it gives its index, what is wrong, and how to mend it.
func IgnoredOverrides(names []string) (bad int, message, hint string) {
	for i, name := range names {
		if overrideOf(name) == noOverride {
			return i, fmt.Sprintf("%q is nothing that Edict refuses", name),
				orDefault(diag.DidYouMean(name, overrideNames), "the names are "+strings.Join(overrideNames, ", "))
		}
	}
	return -1, "", ""
}

// longestOverride bounds the names that can be overrides.
const longestOverride = len("x-http-method-override")

// contradicts tells whether a header is an override that says something else
// than the request does, and what of it, "" if not. Names are taken as CGI,
// WSGI and their kin fold them: _ is -.
func (x *exchange) contradicts(name, text string) string {
	if name == "" || len(name) > longestOverride || name[0] != 'x' && name[0] != 'f' {
		return ""
	}
	if strings.IndexByte(name, '_') >= 0 {
		name = strings.ReplaceAll(name, "_", "-")
	}
	kind := overrideOf(name)
	if kind == noOverride || slices.Contains(x.rev.options.Ignored, name) {
		return ""
	}
	switch text = strings.Trim(text, " \t"); kind {
	case overridesMethod:
		if text != x.in.Method() {
			return "method_override"
		}
	case overridesTarget:
		if !x.isTarget(text) {
			return "target_override"
		}
	case overridesPrefix:
		if text != "" && text != "/" {
			return "prefix_override"
		}
	case overridesHost:
		if !x.isHost(text) {
			return "host_override"
		}
	case overridesForwarded:
		for host := range forwardedHosts(text) {
			if !x.isHost(host) {
				return "host_override"
			}
		}
	}
	return ""
}

// isHost tells whether text is the host of the request, with or without the port.
func (x *exchange) isHost(text string) bool {
	return strings.EqualFold(text, x.in.Host()) || strings.EqualFold(text, x.host)
}

// forwardedHosts yields what follows "host=" in a Forwarded header (RFC 7239 §5.3),
// out of its quotes. Not all that read the header heed its quotes, so a host within
// those of another parameter counts, too; one with a backslash comes as it is, which
// is no host.
func forwardedHosts(text string) iter.Seq[string] {
	const parameter = "host"
	return func(yield func(string) bool) {
		for i := 0; i+len(parameter) <= len(text); i++ {
			if !strings.EqualFold(text[i:i+len(parameter)], parameter) || i > 0 && isTokenChar(text[i-1]) {
				continue
			}
			rest, ok := strings.CutPrefix(strings.TrimLeft(text[i+len(parameter):], " \t"), "=")
			if !ok {
				continue
			}
			rest = strings.TrimLeft(rest, " \t")
			delimiters := ",; \t\""
			if quoted, ok := strings.CutPrefix(rest, `"`); ok {
				rest, delimiters = quoted, `"`
			}
			if end := strings.IndexAny(rest, delimiters); end >= 0 {
				rest = rest[:end]
			}
			if !yield(rest) {
				return
			}
		}
	}
}

// isTokenChar tells whether a name of a parameter may have a byte (RFC 9110 §5.6.2);
// of the signs, those that names of parameters do have.
func isTokenChar(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// isTarget tells whether text is the target of the request: its path, with or
// without the query, or that as an absolute URL.
func (x *exchange) isTarget(text string) bool {
	target := x.in.Path()
	path, _, _ := strings.Cut(target, "?")
	for _, scheme := range [...]string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(text, scheme); ok {
			if text, ok = strings.CutPrefix(rest, x.in.Host()); !ok {
				return false
			}
			break
		}
	}
	return text == target || text == path
}

// queryOverrides tells whether the query has a parameter _method that says
// another method. The query may be one that Edict could not read: nobody has
// asked for it yet, and the backend may be more lenient.
func (x *exchange) queryOverrides() bool {
	_, query, _ := strings.Cut(x.in.Path(), "?")
	if query == "" || !strings.Contains(query, methodParameter[1:]) && strings.IndexByte(query, '%') < 0 ||
		slices.Contains(x.rev.options.Ignored, methodParameter) {
		return false
	}
	for query != "" {
		pair := query
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			pair, query = query[:i], query[i+1:]
		} else {
			query = ""
		}
		name, value, _ := strings.Cut(pair, "=")
		if spellsMethod(name) && !strings.EqualFold(value, x.in.Method()) {
			return true
		}
	}
	return false
}

// spellsMethod tells whether some backend takes raw for methodParameter, any of
// its characters percent-encoded. PHP passes over spaces in front, takes a dot
// and a space for _, and ends a name at NUL.
func spellsMethod(raw string) bool {
	leading := true
	for i := 0; i < len(methodParameter); {
		if raw == "" {
			return false
		}
		c, n := raw[0], 1
		if c == '%' && len(raw) >= 3 && isHex(raw[1]) && isHex(raw[2]) {
			c, n = unhex(raw[1])<<4|unhex(raw[2]), 3
		}
		raw = raw[n:]
		if leading && (c == ' ' || n == 1 && c == '+') {
			continue
		}
		leading = false
		if c == '.' || c == ' ' {
			c = '_'
		}
		if c != methodParameter[i] {
			return false
		}
		i++
	}
	return raw == "" || strings.HasPrefix(raw, "%00")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
