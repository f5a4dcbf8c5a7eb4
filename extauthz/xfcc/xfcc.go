package xfcc

import (
	"errors"
	"fmt"
	"strings"
)

// Header is the name of the header.
const Header = "x-forwarded-client-cert"

// MaxElements is how many elements a header may have. Every proxy on the way
// adds one.
const MaxElements = 16

// An Element is what one proxy tells of its client.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/headers#x-forwarded-client-cert
// names the keys. What is not there is empty; the values of keys that are not
// listed there are left out.
type Element struct {
	By      []string // URI SANs of the proxy's own certificate
	Hash    string   // SHA-256 of the client's certificate, in hex
	Cert    string   // the client's certificate: PEM, percent-encoded
	Chain   string   // the whole chain, in the same form
	Subject string   // distinguished name, as in RFC 2253
	URI     []string // URI SANs
	DNS     []string // DNS SANs
}

// Parse reads a header. Several headers are one, joined by commas (RFC 9110
// §5.3). The error says what is wrong and quotes nothing of the header.
func Parse(header string) ([]Element, error) {
	var out []Element
	p := parser{rest: strings.Trim(header, " \t")}
	for {
		if len(out) == MaxElements {
			return nil, fmt.Errorf("there are more than %d elements", MaxElements)
		}
		e, err := p.element()
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(out)+1, err)
		}
		out = append(out, e)
		if p.rest == "" {
			return out, nil
		}
		p.rest = strings.TrimLeft(p.rest[1:], " \t") // past the comma
	}
}

// A parser holds what is not read yet.
type parser struct{ rest string }

// element reads pairs up to a comma or the end.
func (p *parser) element() (Element, error) {
	var e Element
	var seen []string
	for {
		key, value, err := p.pair()
		if err != nil {
			return e, err
		}
		list, single := e.field(key)
		switch {
		case list != nil:
			if value != "" { // so is the key without a value that Envoy writes for no SAN
				*list = append(*list, value)
			}
		default:
			for _, s := range seen {
				if s == key {
					return e, errors.New("a key is there twice")
				}
			}
			seen = append(seen, key)
			if single != nil {
				*single = value
			}
		}
		p.rest = strings.TrimLeft(p.rest, " \t")
		if p.rest == "" || p.rest[0] == ',' {
			return e, nil
		}
		if p.rest[0] != ';' {
			return e, errors.New("something follows a value in quotes")
		}
		p.rest = p.rest[1:]
	}
}

// field gives where the values of a key go: to a list, to a single place, or
// nowhere.
func (e *Element) field(key string) (list *[]string, single *string) {
	switch key {
	case "by":
		return &e.By, nil
	case "uri":
		return &e.URI, nil
	case "dns":
		return &e.DNS, nil
	case "hash":
		return nil, &e.Hash
	case "cert":
		return nil, &e.Cert
	case "chain":
		return nil, &e.Chain
	case "subject":
		return nil, &e.Subject
	}
	return nil, nil
}

// maxKey is the length of a key, in bytes, that is longer than any.
const maxKey = 32

// pair reads a key, in lower case, and its value.
func (p *parser) pair() (key, value string, err error) {
	end := 0
	for end < len(p.rest) && isLetter(p.rest[end]) {
		end++
	}
	switch {
	case end == len(p.rest) || p.rest[end] != '=':
		return "", "", errors.New("a pair is not of the form key=value")
	case end == 0:
		return "", "", errors.New("a key is missing")
	case end > maxKey:
		return "", "", errors.New("a key is too long")
	}
	key = strings.ToLower(p.rest[:end])
	p.rest = p.rest[end+1:]
	if strings.HasPrefix(p.rest, `"`) {
		value, err = p.quoted()
	} else {
		value, err = p.plain()
	}
	return key, value, err
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

var errBytes = errors.New("a value holds bytes that are not printable ASCII")

// plain reads a value without quotes. In it, what separates values and pairs
// can't stand.
func (p *parser) plain() (string, error) {
	end := 0
	for ; end < len(p.rest); end++ {
		switch c := p.rest[end]; {
		case c == ',' || c == ';' || c == ' ' || c == '\t':
			value := p.rest[:end]
			p.rest = p.rest[end:]
			return value, nil
		case c == '=' || c == '"' || c == '\\':
			return "", errors.New("a value needs quotes")
		case c < ' ' || c > '~':
			return "", errBytes
		}
	}
	value := p.rest
	p.rest = ""
	return value, nil
}

// quoted reads a value in quotes. A backslash takes away the meaning of a quote
// and of another backslash. Before anything else it stands for itself: Envoy
// puts distinguished names between quotes as they are, with the escapes that
// they have by RFC 2253.
func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(p.rest) && (p.rest[i+1] == '"' || p.rest[i+1] == '\\'):
			i++
			b.WriteByte(p.rest[i])
		case c < ' ' || c > '~':
			return "", errBytes
		default:
			b.WriteByte(c)
		}
	}
	return "", errors.New("a quote is not closed")
}
