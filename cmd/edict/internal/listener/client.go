package listener

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A Client is whom a certificate of a client may be for: a SPIFFE id, any id of
// a trust domain, or a DNS name. The zero Client is nobody.
type Client struct {
	id     spiffeid.ID          // with a path
	domain spiffeid.TrustDomain // any id of it
	name   string               // in lower case
}

// dnsName is a host name of RFC 1123 in lower case, without wildcards.
var dnsName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ParseClient reads spiffe://domain/path as a SPIFFE id, spiffe://domain as a
// trust domain, and anything else as a DNS name.
func ParseClient(text string) (Client, error) {
	if strings.Contains(text, "://") {
		id, err := spiffeid.FromString(text)
		switch {
		case err != nil:
			return Client{}, fmt.Errorf("%q is not a SPIFFE id: %w", text, err)
		case id.Path() == "":
			return Client{domain: id.TrustDomain()}, nil
		}
		return Client{id: id}, nil
	}
	if len(text) > 253 || !dnsName.MatchString(text) {
		return Client{}, fmt.Errorf("%q is neither a SPIFFE id (spiffe://domain/path), a trust domain (spiffe://domain) nor a DNS name in lower case", text)
	}
	return Client{name: text}, nil
}

// admit tells why a certificate, which was verified, is for none of the
// clients. If there are none, every certificate will do.
func admit(clients []Client, cert *x509.Certificate) error {
	if len(clients) == 0 {
		return nil
	}
	// A certificate with several URIs is no SVID (X509-SVID, section 2), and
	// has no id.
	id, err := x509svid.IDFromCert(cert)
	for _, c := range clients {
		switch {
		case c.name != "":
			if slices.ContainsFunc(cert.DNSNames, func(s string) bool { return strings.EqualFold(s, c.name) }) {
				return nil
			}
		case err != nil:
		case !c.domain.IsZero():
			if id.MemberOf(c.domain) {
				return nil
			}
		case !c.id.IsZero() && id == c.id:
			return nil
		}
	}
	return errors.New("the client's certificate is for nobody that may ask")
}
