package extauthz

import (
	"crypto/x509"
	"errors"
	"strings"
	"unicode/utf8"

	"edict/engine/value"
	"edict/extauthz/cookie"
	"edict/extauthz/peercert"
)

// cookieView shows the cookies of a request by their name. To ask for one that
// can be found in two ways refuses the request.
type cookieView exchange

// header gives all Cookie headers as the one that there may be: HTTP/2 lets
// clients split it (RFC 9113 §8.2.3).
func (v *cookieView) header() string {
	text, count := v.in.Header("cookie")
	if count < 2 {
		return text
	}
	var all []string
	v.in.Headers(func(name, s string) bool {
		if name == "cookie" {
			all = append(all, s)
		}
		return true
	})
	return strings.Join(all, "; ")
}

func (v *cookieView) Lookup(name string) (value.Value, bool) {
	text, found, err := cookie.Lookup(v.header(), name)
	switch {
	case errors.Is(err, cookie.ErrRepeated):
		return value.OfError((*exchange)(v).refuse(BadRequest, "cookie_repeated")), true
	case err != nil:
		return value.OfError((*exchange)(v).refuse(BadRequest, "cookie_value")), true
	case !found:
		return value.Value{}, false
	}
	return value.OfString(text), true
}

func (v *cookieView) Len() int { return count(v.Range) }

func (v *cookieView) Range(yield func(string, value.Value) bool) {
	seen := map[string]bool{}
	var names []string
	cookie.Names(v.header(), func(name string) bool {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		return len(names) <= maxCookies
	})
	if len(names) > maxCookies {
		_ = (*exchange)(v).refuse(BadRequest, "too_many_cookies")
		return
	}
	for _, name := range names {
		if e, ok := v.Lookup(name); ok && !yield(name, e) {
			return
		}
	}
}

// maxCookies is how many cookies a request may have whose cookies are gone
// through: each is looked for in the whole header. Browsers send fewer.
const maxCookies = 200

// headerListsView shows headers as lists of the values that they came with, one
// for each time that the header is there.
type headerListsView exchange

func (v *headerListsView) Lookup(name string) (value.Value, bool) {
	_, count := v.in.Header(name)
	if count == 0 {
		return value.Value{}, false
	}
	list := make(value.Strings, 0, count)
	sound, apart := true, v.in.RawHeaders()
	v.in.Headers(func(n, s string) bool {
		if n == name {
			sound = sound && utf8.ValidString(s)
			apart = apart || strings.IndexByte(s, ',') < 0
			list = append(list, s)
		}
		return true
	})
	switch {
	case !sound:
		return value.OfError((*exchange)(v).refuse(BadRequest, "header_not_utf8")), true
	case !apart: // Envoy has joined what came apart, or has not
		return value.OfError((*exchange)(v).refuse(BadRequest, "header_joined")), true
	}
	return value.OfSequence(list), true
}

func (v *headerListsView) Len() int { return (*headersView)(v).Len() }

func (v *headerListsView) Range(yield func(string, value.Value) bool) {
	(*headersView)(v).names(func(name string) bool {
		e, _ := v.Lookup(name)
		return yield(name, e)
	})
}

// upgrade gives the protocol that the connection is to be used for, in lower
// case, "" if the request asks for none: of the Upgrade header, or of an
// extended CONNECT (RFC 8441).
func (x *exchange) upgrade() string {
	if text, n := x.in.Header("upgrade"); n > 0 {
		return strings.ToLower(text)
	}
	text, _ := x.in.Header(":protocol")
	return strings.ToLower(text)
}

// certificate gives the client's certificate, read once.
func (x *exchange) certificate() value.Value {
	if x.peer.cert == nil && x.peer.err == nil {
		encoded := x.in.Source().Certificate()
		if encoded == "" {
			x.peer.err = errors.New("there is no certificate; does the client present one, and does Envoy send it (include_peer_certificate)?")
		} else if x.peer.cert, x.peer.err = peercert.Parse(encoded); x.peer.err != nil {
			x.err = x.peer.err
			x.refuse(BadRequest, "peer_certificate")
		}
	}
	if x.peer.err != nil {
		return value.OfError(x.peer.err)
	}
	return value.OfMapping((*certificateView)(x.peer.cert))
}

// A readCertificate is a certificate, or why there is none; neither if nobody
// asked yet.
type readCertificate struct {
	cert *x509.Certificate
	err  error
}

type certificateView x509.Certificate

// certificateFields are what expressions can read of a certificate.
var certificateFields = []string{"subject", "issuer", "serial", "fingerprint", "uris", "dnsNames", "emails", "ips", "notBefore", "notAfter"}

func (*certificateView) StructName() string { return "Certificate" }
func (*certificateView) Len() int           { return len(certificateFields) }

func (v *certificateView) Lookup(field string) (value.Value, bool) {
	c := (*x509.Certificate)(v)
	switch field {
	case "subject":
		return value.OfString(c.Subject.String()), true
	case "issuer":
		return value.OfString(c.Issuer.String()), true
	case "serial":
		return value.OfString(peercert.Serial(c)), true
	case "fingerprint":
		return value.OfString(peercert.Fingerprint(c)), true
	case "uris":
		list := make(value.Strings, len(c.URIs))
		for i, u := range c.URIs {
			list[i] = u.String()
		}
		return value.OfSequence(list), true
	case "dnsNames":
		return value.OfSequence(value.Strings(c.DNSNames)), true
	case "emails":
		return value.OfSequence(value.Strings(c.EmailAddresses)), true
	case "ips":
		list := make(value.Strings, len(c.IPAddresses))
		for i, ip := range c.IPAddresses {
			list[i] = ip.String()
		}
		return value.OfSequence(list), true
	case "notBefore":
		return value.OfTime(c.NotBefore), true
	case "notAfter":
		return value.OfTime(c.NotAfter), true
	}
	return value.Value{}, false
}

func (v *certificateView) Range(yield func(string, value.Value) bool) {
	for _, f := range certificateFields {
		if e, _ := v.Lookup(f); !yield(f, e) {
			return
		}
	}
}
