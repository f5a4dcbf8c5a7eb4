package peercert

import (
	"crypto/x509"
	"errors"
	"strings"
)

// URIs gives the URI SANs of a certificate as texts.
func URIs(c *x509.Certificate) []string {
	out := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		out[i] = u.String()
	}
	return out
}

// Principal gives what Envoy calls the principal of a certificate: the first
// URI SAN, else the first DNS SAN, else the subject as in RFC 2253.
func Principal(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return escapeName(c.Subject.String())
}

// escapeName writes bytes that are not printable ASCII as \XX (RFC 2253 §2.4),
// as OpenSSL does and Go does not.
func escapeName(name string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' {
			b.Write([]byte{'\\', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// CommonName gives the one common name of the subject. None, or several, are an
// error.
func CommonName(c *x509.Certificate) (string, error) {
	const commonName = "2.5.4.3"
	n := 0
	for _, a := range c.Subject.Names {
		if a.Type.String() == commonName {
			n++
		}
	}
	if n != 1 || c.Subject.CommonName == "" {
		return "", errors.New("the subject of the certificate does not have exactly one common name")
	}
	return c.Subject.CommonName, nil
}

// HostName gives a DNS SAN in lower case. One that is no plain name, such as a
// wildcard, is an error.
func HostName(san string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(san, "."))
	if name == "" || len(name) > 253 {
		return "", errors.New("the DNS name of the certificate is empty or too long")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", errors.New("the DNS name of the certificate has a label that is none")
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", errors.New("the DNS name of the certificate holds a character that no name has")
			}
		}
	}
	return name, nil
}
