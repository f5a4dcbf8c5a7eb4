package extauthz

import (
	"strings"

	"edict/extauthz/routing"
)

// screen refuses requests whose headers the upstream could read in another way
// than Edict does: repeated headers of which there may be one, hop-by-hop
// tricks, a method, path or host hidden in a header, and second spellings of
// the headers that speak of identity.
func (x *exchange) screen() Outcome {
	var seen [singletons]uint8
	var asked upgradeHeaders
	raw := x.in.RawHeaders()
	detail := ""
	x.in.Headers(func(name, text string) bool {
		i := -1
		if strings.IndexByte(name, '_') >= 0 && x.isTwin(name) {
			detail = "identity_header_twin"
			return false
		}
		switch name {
		case ":method":
			i = singleMethod
		case ":path":
			i = singlePath
		case ":authority":
			i = singleAuthority
		case ":scheme":
			i = singleScheme
		case "host":
			i = singleHost
		case "authorization":
			i = singleAuthorization
		case "content-length":
			i = singleLength
		case "content-type":
			i = singleType
		case "content-encoding":
			i = singleEncoding
		case partialBody:
			i = singlePartial
		case "connection":
			if !plainConnection(text) {
				detail = "connection_option"
			}
			asked.connection = asked.connection || lists(text, "upgrade")
		case "upgrade":
			i, asked.upgrade = singleUpgrade, text
		case ":protocol":
			i, asked.protocol = singleProtocol, text
		default:
			detail = x.contradicts(name, text)
		}
		if i >= 0 {
			if seen[i]++; seen[i] > 1 || !raw && joined(name, text) {
				detail = "repeated_header"
			}
		}
		return detail == ""
	})
	if detail == "" {
		x.handshake, detail = asked.read(x.in.Method(), x.in.Protocol())
	}
	if detail == "" && x.queryOverrides() {
		detail = "method_override"
	}
	if detail != "" {
		x.detail = detail
		return BadRequest
	}
	return Allowed
}

// upgradeHeaders are what asks to change the protocol of a connection.
type upgradeHeaders struct {
	upgrade    string // Upgrade (RFC 9110 §7.8)
	connection bool   // Connection lists it as an option
	protocol   string // :protocol of an extended CONNECT (RFC 8441)
}

// read tells what is asked for, or why that is not clear. A half of a handshake
// is a plain request to some servers and a handshake to others. After h2c come
// requests that would be judged by nobody.
func (h *upgradeHeaders) read(method, protocol string) (u routing.Upgrade, detail string) {
	const webSocket = "websocket"
	switch {
	case h.upgrade == "" && h.protocol == "":
		return routing.NoUpgrade, ""
	case lists(h.upgrade, "h2c"):
		return u, "upgrade_h2c"
	case h.protocol != "" && (h.upgrade != "" || method != "CONNECT"),
		h.upgrade != "" && (!h.connection || protocol == "HTTP/1.0"):
		return u, "half_upgrade"
	case h.protocol != "":
		if strings.EqualFold(h.protocol, webSocket) {
			return routing.WebSocket, ""
		}
	case strings.EqualFold(h.upgrade, webSocket):
		if method != "GET" { // RFC 6455 §4.1
			return u, "half_upgrade"
		}
		return routing.WebSocket, ""
	}
	return routing.OtherUpgrade, ""
}

// lists tells whether a list with commas has an element, in whatever case.
func lists(text, element string) bool {
	for e := range strings.SplitSeq(text, ",") {
		if strings.EqualFold(strings.Trim(e, " \t"), element) {
			return true
		}
	}
	return false
}

// isTwin tells whether a header is one that speaks of identity, but for _ in
// the place of -. Many backends take the two for the same, and none of the
// spellings but the right one is overwritten.
func (x *exchange) isTwin(name string) bool {
	for _, h := range x.rev.identityHeaders {
		if len(h) != len(name) || h == name {
			continue
		}
		same := true
		for i := range len(h) {
			a, b := h[i], name[i]
			same = same && (a == b || (a == '-' || a == '_') && (b == '-' || b == '_'))
		}
		if same {
			return true
		}
	}
	return false
}

// The headers of which a request may have one.
const (
	singleMethod = iota
	singlePath
	singleAuthority
	singleScheme
	singleHost
	singleAuthorization
	singleLength
	singleType
	singleEncoding
	singlePartial
	singleUpgrade
	singleProtocol
	singletons
)

// joined tells whether a header that there may be one of looks like several
// that Envoy joined, as it does when it does not send raw headers.
func joined(name, text string) bool {
	switch name {
	case ":path", "upgrade":
		return false // commas are part of them
	case "authorization":
		// The parameters of some schemes have commas, the tokens of these not.
		scheme, _, _ := strings.Cut(text, " ")
		if !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "basic") {
			return false
		}
	}
	return strings.IndexByte(text, ',') >= 0
}

// plainConnection tells whether a Connection header names only options that
// take nothing away. Any header named there is dropped by the next proxy (RFC
// 9110 §7.6.1), an identity header that Edict sets too.
func plainConnection(text string) bool {
	for option := range strings.SplitSeq(text, ",") {
		switch option = strings.Trim(option, " \t"); {
		case option == "",
			strings.EqualFold(option, "close"),
			strings.EqualFold(option, "keep-alive"),
			strings.EqualFold(option, "upgrade"),
			strings.EqualFold(option, "te"):
		default:
			return false
		}
	}
	return true
}
