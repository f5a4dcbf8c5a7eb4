package extauthz

import (
	"fmt"
	"slices"
	"strings"

	"edict/extauthz/grpcbody"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// Options says where identity comes from and what the upstream is told. They
// belong to a Revision: changing them makes a new one.
type Options struct {
	// Identity lists where the identity of a request may come from, in order.
	// The first source that the request has decides. Empty means that nobody
	// has an identity.
	Identity []Source

	// Anonymous lets requests without an identity ask the policies as the
	// principal "anonymous" with the role "anonymous" on every route. By
	// default only routes with `anonymous: true` do.
	Anonymous bool

	// Challenge is the WWW-Authenticate header of a 401 (RFC 9110 §11.6.1).
	// Empty means `Bearer`.
	Challenge string

	// PrincipalHeader tells the upstream the principal's id, RolesHeader its
	// roles, joined by commas. Values are percent-encoded where a header
	// could not carry them. Empty means that the header is not sent.
	PrincipalHeader string
	RolesHeader     string

	// Accept holds the spellings of paths and queries that routes admit which
	// name none of their own. They must not conflict.
	Accept target.Accept

	// Ignored names overrides that the upstream is known not to heed (see
	// IgnoredOverrides), so that requests may have them, whatever they say.
	Ignored []string

	// DecisionHeader tells the upstream the id of the decision. Empty means that
	// the header is not sent.
	DecisionHeader string

	// Filter says how the upstream is told what may be seen, on routes that are
	// planned.
	Filter Filter

	// Respond says what else answers tell.
	Respond Respond

	// IgnoreCase compares paths without regard to upper and lower case. It is
	// for backends that do so, all of them.
	IgnoreCase bool

	// Descriptors are the gRPC methods whose messages can be read. Nil means
	// that none can.
	Descriptors *grpcbody.Methods

	// BodyLimit is Envoy's max_request_bytes. A body of that size may have
	// been cut, so it is not taken for whole. The context extension
	// body_limit of a route outweighs it. Zero means that it is not known:
	// then only a body as long as its Content-Length is whole.
	BodyLimit int

	// Assume takes the claims in AssumedNamespace for those of a token that a
	// source of tokens verified. It is for explanations and tests: whoever can
	// write metadata would be believed.
	Assume bool

	// Observe is called with every finished check, on the request's path: it
	// must be quick and keep nothing of the Record. Nil means nobody looks.
	Observe func(*Record)

	// Warn is told what goes wrong in the background: keys that could not be
	// renewed. It may be called by several goroutines. Nil means nobody is.
	Warn func(error)
}

// A Source is one place that identity comes from. Exactly one of its members
// is set.
type Source struct {
	// Name is what route maps call the source. Empty means the name of its
	// kind, as in jwtMetadata.
	Name string

	JWTMetadata *JWTMetadata
	JWT         *JWT
	APIKeys     *APIKeys
	MTLS        *MTLS
	XFCC        *XFCC
	Headers     *TrustedHeaders
}

// kinds is how many members are set.
func (s *Source) kinds() int {
	n := 0
	for _, set := range [...]bool{s.JWTMetadata != nil, s.JWT != nil, s.APIKeys != nil, s.MTLS != nil, s.XFCC != nil, s.Headers != nil} {
		if set {
			n++
		}
	}
	return n
}

// TrustedHeaders takes the identity from request headers. Every client can
// send them, unless a proxy in front removes them first; naming them here says
// that one does.
type TrustedHeaders struct {
	ID         string            // header with the principal's id
	Roles      string            // header with the roles, separated by commas; may be empty
	Attributes map[string]string // attribute name to header name
}

// The principal of a request without an identity, where that is admitted.
const (
	AnonymousID   = "anonymous"
	AnonymousRole = "anonymous"
)

// withDefaults gives the options with empty settings filled in, or an error
// that names the setting that is wrong.
func (o Options) withDefaults() (Options, error) {
	if o.Challenge == "" {
		o.Challenge = "Bearer"
	}
	if !wire.ValidHeader("www-authenticate", o.Challenge) {
		return o, fmt.Errorf("identity.challenge: %q can't be sent as a header", o.Challenge)
	}
	for _, h := range []struct{ key, name string }{
		{"upstream.principalHeader", o.PrincipalHeader},
		{"upstream.rolesHeader", o.RolesHeader},
		{"upstream.decisionHeader", o.DecisionHeader},
		{"filter.header", o.Filter.Header},
		{"respond.decisionHeader", o.Respond.DecisionHeader},
	} {
		if h.name != "" && !headerName(h.name) {
			return o, fmt.Errorf("%s: %q is not a header name; write it in lower case", h.key, h.name)
		}
	}
	for _, h := range []struct{ key, name, earlier, other string }{
		{"upstream.rolesHeader", o.RolesHeader, "upstream.principalHeader", o.PrincipalHeader},
		{"upstream.decisionHeader", o.DecisionHeader, "upstream.principalHeader", o.PrincipalHeader},
		{"upstream.decisionHeader", o.DecisionHeader, "upstream.rolesHeader", o.RolesHeader},
		{"filter.header", o.Filter.Header, "upstream.principalHeader", o.PrincipalHeader},
		{"filter.header", o.Filter.Header, "upstream.rolesHeader", o.RolesHeader},
		{"filter.header", o.Filter.Header, "upstream.decisionHeader", o.DecisionHeader},
	} {
		if h.name != "" && h.name == h.other {
			return o, fmt.Errorf("%s: %q is %s already", h.key, h.name, h.earlier)
		}
	}
	if first, second := o.Accept.Conflict(); first != 0 {
		return o, fmt.Errorf("accept: %s and %s give one spelling two meanings", first, second)
	}
	if bad, message, _ := IgnoredOverrides(o.Ignored); bad >= 0 {
		return o, fmt.Errorf("upstream.ignores[%d]: %s", bad, message)
	}
	o.Respond.withDefaults()
	o.Identity = slices.Clone(o.Identity)
	for i := range o.Identity {
		s := &o.Identity[i]
		if s.Name != "" && slices.ContainsFunc(o.Identity[:i], func(other Source) bool { return other.Name == s.Name }) {
			return o, fmt.Errorf("identity.sources[%d].name: there is a source %q already", i, s.Name)
		}
		switch {
		case s.kinds() != 1:
			return o, fmt.Errorf("identity.sources[%d]: name exactly one of jwtMetadata, jwt, apiKey, mtls, xfcc and headers", i)
		case s.APIKeys != nil:
			k, err := s.APIKeys.withDefaults()
			if err != nil {
				return o, fmt.Errorf("identity.sources[%d].apiKey: %w", i, err)
			}
			for _, name := range k.headers() {
				if o.tellsUpstream(name) {
					return o, fmt.Errorf("identity.sources[%d].apiKey: %q is also sent upstream; a header can't be both", i, name)
				}
				if name == "authorization" {
					return o, fmt.Errorf("identity.sources[%d].apiKey: the header authorization is for tokens; name another", i)
				}
			}
			s.APIKeys = k
		case s.MTLS != nil:
			m := *s.MTLS
			if err := m.check(fmt.Sprintf("identity.sources[%d].mtls", i)); err != nil {
				return o, err
			}
			s.MTLS = &m
		case s.XFCC != nil:
			m := *s.XFCC
			if err := m.check(fmt.Sprintf("identity.sources[%d].xfcc", i)); err != nil {
				return o, err
			}
			s.XFCC = &m
		case s.JWTMetadata != nil:
			s.JWTMetadata = s.JWTMetadata.withDefaults()
		case s.JWT != nil:
			j, err := s.JWT.withDefaults()
			if err != nil {
				return o, fmt.Errorf("identity.sources[%d].jwt: %w", i, err)
			}
			for _, name := range j.tokenHeaders() {
				if o.tellsUpstream(name) {
					return o, fmt.Errorf("identity.sources[%d].jwt: %q is also sent upstream; a header can't be both", i, name)
				}
			}
			s.JWT = j
		default:
			for _, name := range s.Headers.names() {
				if !headerName(name) {
					return o, fmt.Errorf("identity.sources[%d].headers: %q is not a header name; write it in lower case", i, name)
				}
				if o.tellsUpstream(name) {
					return o, fmt.Errorf("identity.sources[%d].headers: %q is also sent upstream; a header can't be both", i, name)
				}
			}
			if s.Headers.ID == "" {
				return o, fmt.Errorf("identity.sources[%d].headers.id is missing", i)
			}
		}
	}
	return o, nil
}

// tellsUpstream tells whether a header is one that Edict tells the upstream
// something by.
func (o *Options) tellsUpstream(name string) bool {
	return slices.Contains([]string{o.PrincipalHeader, o.RolesHeader, o.DecisionHeader, o.Filter.Header}, name)
}

// names gives the headers that the source reads.
func (h *TrustedHeaders) names() []string {
	var out []string
	for _, name := range []string{h.ID, h.Roles} {
		if name != "" {
			out = append(out, name)
		}
	}
	for _, name := range h.Attributes {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func headerName(s string) bool {
	return wire.ValidHeader(s, "x") && strings.ToLower(s) == s
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
