package extauthz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"edict/engine/value"
	"edict/extauthz/xfcc"
)

// An identitySource is a Source, ready for use.
type identitySource struct {
	name       string // that routes know it by; of those without one, the kind
	provenance Provenance
	headers    []string // that it reads, and the upstream learns only if it decides
	tokens     bool     // it takes tokens, so that a bad one does not give way to what follows

	tokenHeaders, tokenQueries []string // that it reads tokens from
	strip                      bool     // remove these from every request that passes

	verifies bool // it verifies tokens itself

	// find takes the identity from the request: id and roles, claims and
	// attributes. It tells whether the request has this source. An error says
	// that it has it in the wrong shape, and ends the request: as BadIdentity,
	// or as the Outcome of a *refusal.
	find func(x *exchange) (bool, error)

	// given tells whether the request has a credential for the source, good or
	// bad: a token or an API key. Nil: the source takes none.
	given func(x *exchange) (bool, error)

	run     func(context.Context) // what it needs done in the background; nil: nothing
	await   func(context.Context) // waits for the first attempt at that to end; nil: there is none
	missing func() []string       // whose keys it lacks; nil: it needs none
}

// A refusal is an error that ends the request with an outcome of its own.
type refusal struct {
	outcome Outcome
	reason  error // for the log alone
}

func (r *refusal) Error() string { return r.reason.Error() }

func (r *refusal) Unwrap() error { return r.reason }

// compileSources makes the sources of the options ready for use.
func (o *Options) compileSources() ([]identitySource, error) {
	out := make([]identitySource, len(o.Identity))
	places := o.tokenPlaces()
	for i := range o.Identity {
		switch s := &o.Identity[i]; {
		case s.JWTMetadata != nil:
			m, err := s.JWTMetadata.compile()
			if err != nil {
				return nil, fmt.Errorf("identity.sources[%d].jwtMetadata: %w", i, err)
			}
			out[i] = identitySource{name: "jwtMetadata", provenance: VerifiedJWT, tokens: true,
				find: func(x *exchange) (bool, error) { return x.fromMetadata(m) }, given: func(x *exchange) (bool, error) { return x.hasMetadata(m), nil }}
		case s.JWT != nil:
			j, err := s.JWT.compile(places, o.Warn)
			if err != nil {
				return nil, fmt.Errorf("identity.sources[%d].jwt: %w", i, err)
			}
			out[i] = identitySource{name: "jwt", provenance: VerifiedJWT, tokens: true,
				tokenHeaders: s.JWT.tokenHeaders(), tokenQueries: s.JWT.tokenQueries(), strip: s.JWT.Strip,
				verifies: true, find: func(x *exchange) (bool, error) { return x.fromToken(j) }, given: func(x *exchange) (bool, error) {
					raw, _, err := x.findToken(j.all)
					return raw != "" || x.badToken(), err
				}, run: j.verifier.Run, await: j.verifier.Await, missing: j.verifier.Missing}
			if o.Assume {
				out[i].find = s.JWT.assuming(orDefault(s.Name, "jwt"), j)
			}
		case s.APIKeys != nil:
			k := s.APIKeys.compile(o.Warn)
			out[i] = identitySource{name: "apiKey", provenance: FromConfig,
				tokenHeaders: s.APIKeys.headers(), tokenQueries: s.APIKeys.queries(), strip: true,
				find: func(x *exchange) (bool, error) { return x.fromKey(k) }, given: func(x *exchange) (bool, error) {
					key, _, err := x.findToken(k.from)
					return key != "", err
				},
				run: k.run, await: k.await, missing: k.missing}
		case s.MTLS != nil:
			w := s.MTLS.compile()
			out[i] = identitySource{name: "mtls", provenance: MTLSPeer,
				find: func(x *exchange) (bool, error) { return x.fromPeer(w) }}
		case s.XFCC != nil:
			f := s.XFCC.compile()
			out[i] = identitySource{name: "xfcc", provenance: Proxy, headers: []string{xfcc.Header},
				find: func(x *exchange) (bool, error) { return x.fromXFCC(f) }}
		default:
			h := s.Headers
			out[i] = identitySource{name: "headers", provenance: Proxy, headers: h.names(),
				find: func(x *exchange) (bool, error) { return x.fromHeaders(h) }}
		}
		out[i].name = orDefault(o.Identity[i].Name, out[i].name)
	}
	return out, nil
}

// identify finds out who asks: by the first source of the route that the
// request has. A source that it has in the wrong shape ends the request; it
// does not give way to the next, which might be easier to forge.
func (x *exchange) identify() Outcome {
	if x.route.either {
		if o := x.oneCredential(); o != Allowed {
			return o
		}
	}
	tokenWanted := false // an earlier source takes tokens
	for _, i := range x.route.identity {
		s := &x.rev.sources[i]
		if tokenWanted && !s.tokens && x.badToken() {
			return BadToken // it gives way to nothing but other tokens
		}
		tokenWanted = tokenWanted || s.tokens
		found, err := s.find(x)
		if err != nil {
			x.err = err
			var r *refusal
			if errors.As(err, &r) {
				return r.outcome
			}
			return BadIdentity
		}
		if found {
			if s.provenance == Proxy && x.failedToken() {
				return BadToken // whatever the order of the route
			}
			x.source = i
			x.req.Principal.Roles = x.roles
			return Allowed
		}
	}
	if x.badToken() {
		return BadToken
	}
	if !x.route.anonymous && !x.rev.options.Anonymous {
		return NoIdentity
	}
	x.req.Principal.ID = AnonymousID
	x.roles = append(x.roles, AnonymousRole)
	x.req.Principal.Roles = x.roles
	return Allowed
}

// identified tells whether a source gave the identity.
func (x *exchange) identified() bool { return x.source < len(x.rev.sources) }

// badToken tells whether the request has a token that nobody verified, or that
// was rejected. It is no identity, but it tells that the client wants one; so
// the client learns that this one is no good.
func (x *exchange) badToken() bool {
	if x.unverified != "" {
		x.detail = x.unverified
		return true
	}
	const bearer = "bearer"
	token, _ := x.in.Header("authorization")
	if len(token) > len(bearer) && strings.EqualFold(token[:len(bearer)], bearer) {
		rest := token[len(bearer):]
		if given := strings.TrimLeft(rest, " \t"); given != "" && given != rest {
			return true
		}
	}
	return x.failedToken()
}

// failedToken tells whether jwt_authn says that it rejected a token
// (failed_status_in_metadata). It removes the token of some requests, so that
// the header alone does not tell.
func (x *exchange) failedToken() bool {
	for i := range x.rev.options.Identity {
		m := x.rev.options.Identity[i].JWTMetadata
		if m == nil {
			continue
		}
		ns, ok := x.in.FilterMetadata(m.Namespace)
		if !ok {
			continue
		}
		if slices.ContainsFunc(m.failureKeys, func(key string) bool { return rejected(ns, key) }) {
			return true
		}
	}
	return false
}

// rejected tells whether jwt_authn says under a key that it rejected a token.
func rejected(namespace value.Mapping, key string) bool {
	failure, ok := namespace.Lookup(key)
	if !ok || failure.Kind() != value.Map {
		return false
	}
	// It writes one for a request without a token, too; the code tells them
	// apart (JwtMissed is 1).
	code, _ := failure.Mapping().Lookup("code")
	message, _ := failure.Mapping().Lookup("message")
	return code.Double() != 1 && message.Str() != "Jwt is missing"
}

// sourceName gives the name of the source that the identity came from, "" if
// there is none.
func (x *exchange) sourceName() string {
	if !x.identified() {
		return ""
	}
	return x.rev.sources[x.source].name
}

// provenance tells where the identity came from.
func (x *exchange) provenance() Provenance {
	switch {
	case x.req.Principal.ID == "":
		return NoProvenance
	case !x.identified():
		return AnonymousUser
	default:
		return x.rev.sources[x.source].provenance
	}
}

// fromHeaders takes the identity from headers that a proxy is trusted to set.
func (x *exchange) fromHeaders(h *TrustedHeaders) (bool, error) {
	id, ok, err := x.one(h.ID)
	if err != nil || !ok {
		return false, err
	}
	if !x.in.RawHeaders() {
		// Joined by Envoy, the proxy's header and a client's are one.
		return false, errors.New("trusted headers need Envoy's encode_raw_headers: true")
	}
	if id == "" {
		return false, fmt.Errorf("the header %s is empty", h.ID)
	}
	if h.Roles != "" {
		list, _, err := x.one(h.Roles)
		if err != nil {
			return false, err
		}
		for role := range strings.SplitSeq(list, ",") {
			if role = strings.Trim(role, " \t"); role != "" {
				x.roles = append(x.roles, role)
			}
		}
	}
	if len(h.Attributes) > 0 {
		x.headerAttrs = make(value.Values, len(h.Attributes))
		for name, header := range h.Attributes {
			s, ok, err := x.one(header)
			if err != nil {
				return false, err
			}
			if ok {
				x.headerAttrs[name] = value.OfString(s)
			}
		}
		x.principalAttrs.base = x.headerAttrs
	}
	x.req.Principal.ID = id
	return true, nil
}

// one gives a header that may be there once. More than one is an error: what
// the proxy set would be indistinguishable from what a client sent.
func (x *exchange) one(name string) (string, bool, error) {
	v, n := x.in.Header(name)
	switch {
	case n > 1:
		return "", false, fmt.Errorf("the header %s is there %d times", name, n)
	case n == 1:
		for i := range len(v) {
			if v[i] < ' ' || v[i] > '~' {
				return "", false, fmt.Errorf("the header %s holds bytes that are not printable ASCII", name)
			}
		}
	}
	return v, n == 1, nil
}
