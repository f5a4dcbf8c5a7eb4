package extauthz

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"edict/engine/value"
	"edict/extauthz/peercert"
	"edict/extauthz/spiffe"
	"edict/extauthz/xfcc"
)

// A Workload says how a certificate becomes a principal.
type Workload struct {
	// ID says which part of the certificate is the principal's id. Empty means
	// SPIFFEID.
	ID CertificateID

	// TrustDomains are those whose SPIFFE IDs are taken, each named exactly.
	// With SPIFFEID there must be at least one, with others there are none.
	TrustDomains []string

	// Roles are given by id; those of every rule that matches are taken together.
	Roles []WorkloadRoles

	// DefaultRoles are the roles of whoever no rule matches.
	DefaultRoles []string
}

// A CertificateID is a part of a certificate that says whose it is.
type CertificateID string

// The parts of a certificate that can be ids.
const (
	SPIFFEID   CertificateID = "spiffe"     // the one URI SAN, a SPIFFE ID
	DNSName    CertificateID = "dns"        // the first DNS SAN, in lower case
	CommonName CertificateID = "commonName" // the common name of the subject
)

// WorkloadRoles gives roles to whoever has an id.
type WorkloadRoles struct {
	// Match is the id as a whole. In a SPIFFE ID a segment of the path may be *,
	// which stands for any one segment.
	Match string
	Roles []string
}

// MTLS takes the identity from the certificate that the peer of the connection
// has shown to Envoy. With include_peer_certificate Envoy hands it on, and its
// parts become attributes; without, there is no more than source.principal.
type MTLS struct{ Workload }

// XFCC takes the identity from X-Forwarded-Client-Cert, where a proxy tells of
// the certificate of its own peer. Every client can send such a header, so it
// counts only if the peer of the connection is a proxy that is named here.
type XFCC struct {
	Workload

	// Proxies are the SPIFFE IDs of the proxies that are believed, of the form
	// of WorkloadRoles.Match. Addresses are the prefixes of their addresses
	// (CIDR), for proxies without a certificate. At least one is needed, and one
	// that fits is enough.
	Proxies   []string
	Addresses []string

	// Hops says which element counts, from the right. Zero means 1, the last: what
	// the nearest proxy says. With 2 that is what the proxy before says, of whom
	// the last element must tell as one that is believed.
	Hops int

	// By are the SPIFFE IDs that may be the writer of the element. Empty: any.
	By []string

	// IgnoreOthers makes nothing of a header from a peer that is not believed.
	// By default it ends the request.
	IgnoreOthers bool
}

// check fills in empty settings, and names the one that is wrong.
func (w *Workload) check(key string) error {
	w.ID = CertificateID(orDefault(string(w.ID), string(SPIFFEID)))
	switch {
	case w.ID != SPIFFEID && w.ID != DNSName && w.ID != CommonName:
		return fmt.Errorf("%s.id: %q is not one of spiffe, dns and commonName", key, w.ID)
	case w.ID == SPIFFEID && len(w.TrustDomains) == 0:
		return fmt.Errorf("%s.trustDomains is missing: name those whose SPIFFE IDs are taken", key)
	case w.ID != SPIFFEID && len(w.TrustDomains) > 0:
		return fmt.Errorf("%s.trustDomains: only SPIFFE IDs have trust domains; remove it, or id: %s", key, w.ID)
	}
	for _, domain := range w.TrustDomains {
		if err := spiffe.CheckTrustDomain(domain); err != nil {
			return fmt.Errorf("%s.trustDomains: %q: %w", key, domain, err)
		}
	}
	for i, r := range w.Roles {
		if err := w.CheckMatch(r.Match); err != nil {
			return fmt.Errorf("%s.roles[%d].match: %w", key, i, err)
		}
	}
	return nil
}

// CheckMatch tells what is wrong with a WorkloadRoles.Match.
func (w *Workload) CheckMatch(match string) error {
	_, err := w.pattern(match)
	return err
}

// pattern reads what an id is compared with.
func (w *Workload) pattern(match string) (spiffe.Pattern, error) {
	switch {
	case w.ID != SPIFFEID && match == "":
		return spiffe.Pattern{}, errors.New("it is empty")
	case w.ID != SPIFFEID:
		return spiffe.Pattern{}, nil
	}
	p, err := spiffe.ParsePattern(match)
	if err == nil && !slices.Contains(w.TrustDomains, p.TrustDomain()) {
		return p, fmt.Errorf("%q is of a trust domain that is not among trustDomains, so it matches nobody", match)
	}
	return p, err
}

// check fills in empty settings, and names the one that is wrong.
func (o *XFCC) check(key string) error {
	if err := o.Workload.check(key); err != nil {
		return err
	}
	o.Hops = max(o.Hops, 1)
	if o.Hops > xfcc.MaxElements {
		return fmt.Errorf("%s.hops: the header has at most %d elements", key, xfcc.MaxElements)
	}
	if len(o.Proxies)+len(o.Addresses) == 0 {
		return fmt.Errorf("%s.from is missing: name the proxies that are believed", key)
	}
	for name, list := range map[string][]string{"from.proxies": o.Proxies, "by": o.By} {
		for _, text := range list {
			if _, err := spiffe.ParsePattern(text); err != nil {
				return fmt.Errorf("%s.%s: %w", key, name, err)
			}
		}
	}
	for _, text := range o.Addresses {
		if _, err := ParsePrefix(text); err != nil {
			return fmt.Errorf("%s.from.addresses: %w", key, err)
		}
	}
	return nil
}

// ParsePrefix reads an address prefix, or an address as a prefix of its own.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix like 10.0.0.0/8", text)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits beyond its prefix; %s is meant", text, p.Masked())
	}
	return p, nil
}

// A workload is a Workload, compiled.
type workload struct {
	*Workload
	exact    map[string][]string // roles by id
	patterns []rolePattern       // with a *
}

type rolePattern struct {
	pattern spiffe.Pattern
	roles   []string
}

func (w *Workload) compile() *workload {
	out := &workload{Workload: w, exact: map[string][]string{}}
	for _, r := range w.Roles {
		if p, err := w.pattern(r.Match); w.ID == SPIFFEID && err == nil && strings.Contains(r.Match, "*") {
			out.patterns = append(out.patterns, rolePattern{p, r.Roles})
		} else {
			out.exact[r.Match] = append(out.exact[r.Match], r.Roles...)
		}
	}
	return out
}

// A shown certificate is what is known of one.
type shown struct {
	uris, dns   []string
	subject     string
	fingerprint string            // SHA-256 in hex
	certificate *x509.Certificate // nil: the rest is all there is
}

func shownBy(c *x509.Certificate) shown {
	return shown{peercert.URIs(c), c.DNSNames, c.Subject.String(), peercert.Fingerprint(c), c}
}

// take makes a certificate the principal: its id, roles and attributes.
func (w *workload) take(x *exchange, s *shown) error {
	attrs := make(value.Values, 6)
	var id string
	switch w.ID {
	case SPIFFEID:
		if len(s.uris) != 1 {
			return fmt.Errorf("the certificate has %d URI SANs in place of one SPIFFE ID", len(s.uris))
		}
		parsed, err := spiffe.ParseID(s.uris[0])
		if err != nil {
			return fmt.Errorf("the certificate has no sound SPIFFE ID: %w", err)
		}
		domain := parsed.TrustDomain().Name()
		if !slices.Contains(w.TrustDomains, domain) {
			return errors.New("the certificate is of a trust domain that the configuration does not name")
		}
		id = parsed.String()
		attrs["trustDomain"] = value.OfString(domain)
		attrs["segments"] = texts(strings.Split(parsed.Path()[1:], "/"))
		if namespace, account, ok := spiffe.Kubernetes(parsed); ok {
			attrs["namespace"], attrs["serviceAccount"] = value.OfString(namespace), value.OfString(account)
		}
		for i := range w.patterns {
			if w.patterns[i].pattern.Match(parsed) {
				x.addRoles(w.patterns[i].roles)
			}
		}
	case DNSName:
		if len(s.dns) == 0 {
			return errors.New("the certificate has no DNS SAN")
		}
		var err error
		if id, err = peercert.HostName(s.dns[0]); err != nil {
			return err
		}
	default:
		if s.certificate == nil {
			return errors.New("the common name is known only of a certificate that Envoy hands on")
		}
		var err error
		if id, err = peercert.CommonName(s.certificate); err != nil {
			return err
		}
	}
	x.addRoles(w.exact[id])
	if len(x.roles) == 0 {
		x.roles = append(x.roles, w.DefaultRoles...)
	}
	if c := s.attributes(); len(c) > 0 {
		attrs["certificate"] = value.OfMapping(c)
	}
	x.req.Principal.ID = id
	x.principalAttrs.base = attrs
	return nil
}

// addRoles adds roles that the principal does not have yet.
func (x *exchange) addRoles(roles []string) {
	for _, r := range roles {
		if !slices.Contains(x.roles, r) {
			x.roles = append(x.roles, r)
		}
	}
}

// attributes gives what policies can read of a certificate.
func (s *shown) attributes() value.Values {
	out := value.Values{}
	if s.fingerprint != "" {
		out["fingerprint"] = value.OfString(s.fingerprint)
	}
	if s.subject != "" {
		out["subject"] = value.OfString(s.subject)
	}
	if len(s.uris) > 0 {
		out["uris"] = texts(s.uris)
	}
	if len(s.dns) > 0 {
		out["dnsNames"] = texts(s.dns)
	}
	if c := s.certificate; c != nil {
		out["issuer"] = value.OfString(c.Issuer.String())
		out["serial"] = value.OfString(peercert.Serial(c))
		out["notBefore"] = value.OfString(c.NotBefore.UTC().Format(time.RFC3339))
		out["notAfter"] = value.OfString(c.NotAfter.UTC().Format(time.RFC3339))
	}
	return out
}

func texts(list []string) value.Value {
	out := make(value.Strings, len(list))
	copy(out, list)
	return value.OfSequence(out)
}

// fromPeer takes the identity from the certificate of the connection's peer.
func (x *exchange) fromPeer(w *workload) (bool, error) {
	source := x.in.Source()
	principal, encoded := source.Principal(), source.Certificate()
	if principal == "" && encoded == "" {
		return false, nil
	}
	var s shown
	if encoded != "" {
		x.certificate() // reads it
		if x.peer.err != nil {
			return false, fmt.Errorf("source.certificate: %w", x.peer.err)
		}
		if principal != peercert.Principal(x.peer.cert) {
			return false, errors.New("source.principal is not that of source.certificate")
		}
		s = shownBy(x.peer.cert)
	} else if strings.Contains(principal, "://") {
		s.uris = []string{principal}
	} else if !strings.Contains(principal, "=") { // else it is a subject
		s.dns = []string{principal}
	}
	return true, w.take(x, &s)
}

// An xfccSource is an XFCC, compiled.
type xfccSource struct {
	*XFCC
	workload  *workload
	proxies   []spiffe.Pattern
	addresses []netip.Prefix
	by        []spiffe.Pattern
}

func (o *XFCC) compile() *xfccSource {
	out := &xfccSource{XFCC: o, workload: o.Workload.compile()}
	for _, text := range o.Proxies {
		p, _ := spiffe.ParsePattern(text) // checked
		out.proxies = append(out.proxies, p)
	}
	for _, text := range o.By {
		p, _ := spiffe.ParsePattern(text) // checked
		out.by = append(out.by, p)
	}
	for _, text := range o.Addresses {
		p, _ := ParsePrefix(text) // checked
		out.addresses = append(out.addresses, p)
	}
	return out
}

// believes tells whether what a peer says of its own peers counts.
func (s *xfccSource) believes(principal, address string) bool {
	if anyMatch(s.proxies, principal) {
		return true
	}
	if len(s.addresses) == 0 {
		return false
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	return slices.ContainsFunc(s.addresses, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// anyMatch tells whether a URI is a SPIFFE ID that some pattern matches.
func anyMatch(patterns []spiffe.Pattern, uri string) bool {
	if len(patterns) == 0 {
		return false
	}
	id, err := spiffe.ParseID(uri)
	return err == nil && slices.ContainsFunc(patterns, func(p spiffe.Pattern) bool { return p.Match(id) })
}

// fromXFCC takes the identity from what a proxy tells of its peer.
func (x *exchange) fromXFCC(s *xfccSource) (bool, error) {
	header, ok, err := x.one(xfcc.Header)
	if err != nil || !ok {
		return false, err
	}
	source := x.in.Source()
	if !s.believes(source.Principal(), source.Address()) {
		if s.IgnoreOthers {
			return false, nil // it is removed, as the header of a source that did not decide
		}
		x.detail = "xfcc_untrusted"
		return false, &refusal{BadRequest, errors.New("the peer is not one whose x-forwarded-client-cert is believed")}
	}
	elements, err := xfcc.Parse(header)
	if err != nil {
		return false, fmt.Errorf("%s: %w", xfcc.Header, err)
	}
	at := len(elements) - s.Hops
	if at < 0 {
		return false, nil // the proxy that would have told of somebody had nobody to tell of
	}
	if s.Hops > 1 {
		// What Envoy itself has added is about the peer of the connection, and
		// what that one's peer has added about the next proxy.
		for i, e := range elements[at+1:] {
			last := at+1+i == len(elements)-1
			if len(e.URI) != 1 || len(s.proxies) > 0 && !anyMatch(s.proxies, e.URI[0]) ||
				last && e.URI[0] != source.Principal() {
				return false, fmt.Errorf("%s: the element %d is not about a proxy that is believed", xfcc.Header, at+2+i)
			}
		}
	}
	e := &elements[at]
	if len(s.by) > 0 {
		if len(e.By) == 0 || slices.ContainsFunc(e.By, func(by string) bool { return !anyMatch(s.by, by) }) {
			return false, fmt.Errorf("%s: the element is not by a proxy that may have written it", xfcc.Header)
		}
	}
	shown, err := shownIn(e)
	if err != nil {
		return false, fmt.Errorf("%s: %w", xfcc.Header, err)
	}
	return true, s.workload.take(x, &shown)
}

// shownIn gives what an element says of a certificate. Where it holds the
// certificate itself, the two must agree.
func shownIn(e *xfcc.Element) (shown, error) {
	s := shown{uris: e.URI, dns: e.DNS, subject: e.Subject, fingerprint: strings.ToLower(e.Hash)}
	if !isDigest(s.fingerprint) {
		return s, errors.New("the element has no Hash that is one, as every proxy writes it")
	}
	if e.Cert == "" {
		return s, nil
	}
	c, err := peercert.Parse(e.Cert)
	if err != nil {
		return s, err
	}
	whole := shownBy(c)
	if whole.fingerprint != s.fingerprint || !slices.Equal(whole.uris, s.uris) && len(s.uris) > 0 || !slices.Equal(whole.dns, s.dns) && len(s.dns) > 0 {
		return s, errors.New("the certificate of the element is not what its Hash, URI and DNS tell of")
	}
	return whole, nil
}

// isDigest tells whether a text is a SHA-256 in hex, in lower case.
func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
