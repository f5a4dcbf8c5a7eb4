package spiffe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxID is how long a SPIFFE ID may be, in bytes (SPIFFE-ID §2.3).
const maxID = 2048

// ParseID reads the SPIFFE ID of a workload: it has a path, since the ID of a
// trust domain is nobody's (X509-SVID §5.2).
func ParseID(uri string) (spiffeid.ID, error) {
	if len(uri) > maxID {
		return spiffeid.ID{}, fmt.Errorf("a SPIFFE ID has at most %d bytes", maxID)
	}
	id, err := spiffeid.FromString(uri)
	if err != nil {
		return spiffeid.ID{}, err
	}
	if id.Path() == "" {
		return spiffeid.ID{}, errors.New("the SPIFFE ID has no path, so it is a trust domain's and no workload's")
	}
	return id, nil
}

// Kubernetes gives the namespace and the service account of an ID of the form
// spiffe://domain/ns/namespace/sa/account, as Istio makes them.
func Kubernetes(id spiffeid.ID) (namespace, account string, ok bool) {
	s := strings.Split(id.Path(), "/") // begins with an empty one
	if len(s) != 5 || s[1] != "ns" || s[3] != "sa" {
		return "", "", false
	}
	return s[2], s[4], true
}

// A Pattern is a SPIFFE ID in which segments of the path may be *, which stands
// for any one segment.
type Pattern struct {
	domain string
	path   string // with a slash before each segment
}

// ParsePattern reads a pattern such as spiffe://example.org/ns/*/sa/billing.
func ParsePattern(text string) (Pattern, error) {
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return Pattern{}, fmt.Errorf("%q does not begin with spiffe://", text)
	}
	domain, path, _ := strings.Cut(rest, "/")
	segments := strings.Split(path, "/")
	for i, s := range segments {
		switch {
		case s == "*":
			segments[i] = "any"
		case strings.Contains(s, "*"):
			return Pattern{}, fmt.Errorf("%q: * stands for a whole segment, not for a part of one", text)
		}
	}
	if strings.Contains(domain, "*") {
		return Pattern{}, fmt.Errorf("%q: a trust domain has no wildcards; write one pattern for each", text)
	}
	if _, err := ParseID("spiffe://" + domain + "/" + strings.Join(segments, "/")); err != nil {
		return Pattern{}, fmt.Errorf("%q: %w", text, err)
	}
	return Pattern{domain, "/" + path}, nil
}

// Match tells whether an ID is one that the pattern stands for.
func (p Pattern) Match(id spiffeid.ID) bool {
	if id.TrustDomain().Name() != p.domain {
		return false
	}
	pattern, path := p.path, id.Path()
	for pattern != "" && path != "" {
		var want, got string
		want, pattern = segment(pattern)
		got, path = segment(path)
		if want != "*" && want != got {
			return false
		}
	}
	return pattern == "" && path == ""
}

// segment takes the first segment off a path that begins with a slash.
func segment(path string) (first, rest string) {
	end := strings.IndexByte(path[1:], '/') + 1
	if end == 0 {
		return path[1:], ""
	}
	return path[1:end], path[end:]
}

// TrustDomain gives the trust domain of the IDs that the pattern stands for.
func (p Pattern) TrustDomain() string { return p.domain }

// CheckTrustDomain tells what is wrong with the name of a trust domain.
func CheckTrustDomain(name string) error {
	if strings.Contains(name, ":/") {
		return errors.New("write the name of the trust domain alone, without spiffe://")
	}
	_, err := spiffeid.TrustDomainFromString(name)
	return err
}
