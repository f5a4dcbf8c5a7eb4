package extauthz

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"edict/engine/value"
	"edict/extauthz/claims"
	"edict/extauthz/cookie"
	"edict/extauthz/target"
	"edict/extauthz/token"
)

// JWTMetadata takes the identity from the claims of a token that Envoy's
// jwt_authn filter verified and put into the request's dynamic metadata
// (payload_in_metadata). No client can write there.
type JWTMetadata struct {
	Namespace string   // the filter's; empty: envoy.filters.http.jwt_authn
	Keys      []string // payload_in_metadata of the providers, of which a request has one; empty: jwt

	// FailureKey is failed_status_in_metadata, by which jwt_authn tells of a
	// token that it rejected. Empty: that of each key, with _failure behind it.
	FailureKey string

	Claims claims.Mapping

	failureKeys []string // FailureKey, or what stands for it
}

// JWT takes the identity from a token that Edict verifies itself, so that
// Envoy need not, or can't before it asks.
type JWT struct {
	// From lists the places that a token may be in. A request has one at most,
	// in all the places of all sources together. Empty: the header
	// authorization, behind Bearer.
	From []TokenPlace

	// Issuers are those whose tokens are believed. A token of another issuer
	// gives way to the sources that take tokens, too, and to no other.
	Issuers []JWTIssuer

	// Strip removes the token from the request before it goes upstream. It
	// can't where the token may be in a cookie.
	Strip bool
}

// A JWTIssuer is an issuer, and what the claims of its tokens mean.
type JWTIssuer struct {
	token.Issuer
	Claims claims.Mapping
}

// A TokenPlace is where a request has a token. Exactly one of Header, Cookie and
// Query is set.
type TokenPlace struct {
	Header string // its name
	Prefix string // a word in front of the token in the header, in any case, as Bearer; may be empty
	Cookie string // its name
	Query  string // the name of the parameter
}

// withDefaults gives m with empty settings filled in.
func (m JWTMetadata) withDefaults() *JWTMetadata {
	m.Namespace = orDefault(m.Namespace, "envoy.filters.http.jwt_authn")
	if len(m.Keys) == 0 {
		m.Keys = []string{"jwt"}
	}
	m.failureKeys = []string{m.FailureKey}
	if m.FailureKey == "" {
		m.failureKeys = nil
		for _, key := range m.Keys {
			m.failureKeys = append(m.failureKeys, key+"_failure")
		}
	}
	return &m
}

// withDefaults gives j with empty settings filled in.
func (j JWT) withDefaults() (*JWT, error) {
	if len(j.From) == 0 {
		j.From = []TokenPlace{{Header: "authorization", Prefix: "Bearer"}}
	}
	for n, p := range j.From {
		if p.Cookie != "" && j.Strip {
			return nil, fmt.Errorf("from[%d]: a token can't be taken out of a cookie, so it is always forwarded", n)
		}
	}
	if err := checkPlaces(j.From); err != nil {
		return nil, err
	}
	if len(j.Issuers) == 0 {
		return nil, errors.New("issuers is empty")
	}
	return &j, nil
}

// checkPlaces tells what is wrong with places of tokens.
func checkPlaces(places []TokenPlace) error {
	for n, p := range places {
		given := 0
		for _, name := range []string{p.Header, p.Cookie, p.Query} {
			if name != "" {
				given++
			}
		}
		switch {
		case given != 1:
			return fmt.Errorf("from[%d]: name exactly one of header, cookie and query", n)
		case p.Prefix != "" && p.Header == "":
			return fmt.Errorf("from[%d]: a prefix is for headers alone", n)
		case p.Header != "" && !headerName(p.Header):
			return fmt.Errorf("from[%d]: %q is not a header name; write it in lower case", n, p.Header)
		case p.Header == "" && !plainName.MatchString(p.Cookie+p.Query):
			return fmt.Errorf("from[%d]: the name %q has other characters than letters, digits, -, _, . and ~", n, p.Cookie+p.Query)
		}
	}
	return nil
}

// tokenHeaders gives the headers that a token may be in.
func (j *JWT) tokenHeaders() (out []string) {
	for _, p := range j.From {
		if p.Header != "" {
			out = append(out, p.Header)
		}
	}
	return out
}

// tokenQueries gives the parameters that a token may be in.
func (j *JWT) tokenQueries() (out []string) {
	for _, p := range j.From {
		if p.Query != "" {
			out = append(out, p.Query)
		}
	}
	return out
}

// A metadataSource is a JWTMetadata, ready for use.
type metadataSource struct {
	*JWTMetadata
	mapper *claims.Mapper
}

func (m *JWTMetadata) compile() (*metadataSource, error) {
	mapper, err := claims.Compile(m.Claims)
	return &metadataSource{m, mapper}, err
}

// A tokenSource is a JWT, ready for use.
type tokenSource struct {
	verifier *token.Verifier
	mappers  []*claims.Mapper // by issuer
	own      []TokenPlace
	all      []TokenPlace // of all sources
}

func (j *JWT) compile(all []TokenPlace, warn func(error)) (*tokenSource, error) {
	s := &tokenSource{own: j.From, all: all}
	issuers := make([]token.Issuer, len(j.Issuers))
	for i := range j.Issuers {
		issuers[i] = j.Issuers[i].Issuer
		m, err := claims.Compile(j.Issuers[i].Claims)
		if err != nil {
			return nil, fmt.Errorf("the issuer %q: %w", issuers[i].Issuer, err)
		}
		s.mappers = append(s.mappers, m)
	}
	var err error
	s.verifier, err = token.New(issuers, token.Options{Warn: warn})
	return s, err
}

// tokenPlaces gives the places that tokens may be in, of all sources, each once.
func (o *Options) tokenPlaces() (out []TokenPlace) {
	for i := range o.Identity {
		if j := o.Identity[i].JWT; j != nil {
			for _, p := range j.From {
				if !slices.ContainsFunc(out, p.same) {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// same tells whether two places are one, in which the same token may be found.
func (p TokenPlace) same(other TokenPlace) bool {
	return p.Header == other.Header && strings.EqualFold(p.Prefix, other.Prefix) && p.Cookie == other.Cookie && p.Query == other.Query
}

// errRepeatedToken refuses a request with more than one token: whoever is behind
// may take another one than Edict does.
var errRepeatedToken = errors.New("there is more than one token")

// repeatedToken gives the refusal of such a request.
func (x *exchange) repeatedToken() error {
	x.detail = "repeated_token"
	return &refusal{BadRequest, errRepeatedToken}
}

// fromMetadata takes the identity from verified claims.
func (x *exchange) fromMetadata(m *metadataSource) (bool, error) {
	ns, ok := x.in.FilterMetadata(m.Namespace)
	if !ok {
		return false, nil
	}
	var payload value.Value
	found := ""
	for _, key := range m.Keys {
		v, ok := ns.Lookup(key)
		switch {
		case !ok:
			continue
		case found != "":
			return false, x.repeatedToken()
		}
		payload, found = v, key
	}
	if found == "" {
		return false, nil
	}
	if payload.Kind() != value.Map {
		return false, fmt.Errorf("the metadata %s %s is a %s, not a map of claims", m.Namespace, found, payload.Kind())
	}
	return x.fromClaims(m.mapper, payload.Mapping())
}

// fromToken takes the identity from a token that it verifies.
func (x *exchange) fromToken(s *tokenSource) (bool, error) {
	raw, place, err := x.findToken(s.all)
	if err != nil || raw == "" || !slices.ContainsFunc(s.own, place.same) {
		return false, err
	}
	now := x.clock
	if now.IsZero() {
		now = time.Now()
	}
	verified, issuer, err := s.verifier.Verify(x.ctx, raw, now, x.due)
	if err == nil {
		return x.fromClaims(s.mappers[issuer], verified)
	}
	var e *token.Error
	if !errors.As(err, &e) {
		return false, err
	}
	outcome := BadToken
	switch e.Reason {
	case token.UnknownIssuer:
		x.unverified = string(e.Reason) // another source may know it
		return false, nil
	case token.TooLarge:
		outcome = BadRequest
	case token.KeysUnavailable:
		if outcome = KeysUnavailable; x.late(x.ctx) {
			outcome = Timeout
		}
	}
	x.detail = string(e.Reason)
	return false, &refusal{outcome, err}
}

// fromClaims takes the identity from claims that somebody verified.
func (x *exchange) fromClaims(m *claims.Mapper, verified value.Mapping) (bool, error) {
	id, roles, attributes, err := m.Map(verified, x.roles)
	x.roles = roles
	if err != nil {
		return false, err
	}
	x.req.Principal.ID = id
	x.claims = verified
	x.principalAttrs.base = attributes
	return true, nil
}

// findToken finds the token of the request and where it is. Without one the text
// is empty; more than one is an error.
func (x *exchange) findToken(places []TokenPlace) (raw string, at TokenPlace, err error) {
	for _, p := range places {
		var text string
		switch {
		case p.Header != "":
			text, err = x.headerToken(p)
		case p.Cookie != "":
			text, err = x.cookieToken(p.Cookie)
		default:
			text, err = x.queryToken(p.Query)
		}
		switch {
		case err != nil:
			return "", p, err
		case text == "":
		case raw != "":
			return "", p, x.repeatedToken()
		default:
			raw, at = text, p
		}
	}
	return raw, at, nil
}

func (x *exchange) headerToken(p TokenPlace) (string, error) {
	text, n := x.in.Header(p.Header)
	switch {
	case n > 1, strings.IndexByte(text, ',') >= 0: // Envoy joins some headers, also raw ones
		return "", x.repeatedToken()
	case p.Prefix == "":
		return text, nil
	case len(text) <= len(p.Prefix) || !strings.EqualFold(text[:len(p.Prefix)], p.Prefix) || text[len(p.Prefix)] != ' ':
		return "", nil
	}
	return strings.TrimLeft(text[len(p.Prefix):], " "), nil
}

// cookieToken looks at every Cookie header, of which HTTP/2 has several.
func (x *exchange) cookieToken(name string) (raw string, err error) {
	x.in.Headers(func(header, text string) bool {
		if header != "cookie" {
			return true
		}
		v, found, bad := cookie.Lookup(text, name)
		switch {
		case bad != nil:
			x.detail = "repeated_token"
			err = &refusal{BadRequest, bad}
		case found && v != "" && raw != "":
			err = x.repeatedToken()
		case found:
			raw = v
		}
		return err == nil
	})
	return raw, err
}

func (x *exchange) queryToken(name string) (string, error) {
	if !x.in.HasHTTP() {
		return "", nil // a connection has no query
	}
	q, reason := x.target.Query()
	if reason != target.OK {
		x.detail = reason.String()
		return "", &refusal{BadRequest, errors.New("the query can be read in more than one way")}
	}
	v, n := q.Get(name)
	if n > 1 {
		return "", x.repeatedToken()
	}
	return v, nil
}

// stripQuery takes tokens that are for Edict alone out of the query of an allow.
func (x *exchange) stripQuery() Outcome {
	if len(x.rev.strippedQueries) == 0 || !x.in.HasHTTP() {
		return Allowed
	}
	if _, reason := x.target.Query(); reason != target.OK {
		x.detail = reason.String() // there may be a token in it
		return BadRequest
	}
	for _, name := range x.rev.strippedQueries {
		x.removeParameter(name, "")
	}
	return Allowed
}

// plainName is what the name of a cookie or parameter with a token may be: it
// has one spelling.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.~-]+$`)

// Run does what sources of identity need done in the background until ctx ends:
// it fetches the keys that tokens are verified with, and renews them. Without
// it, keys that have to be fetched are never there. It is called once.
func (c *Compiler) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range c.sources {
		if run := c.sources[i].run; run != nil {
			all.Go(func() { run(ctx) })
		}
	}
	all.Wait()
}

// Await waits for the first attempts of Run to end, or for ctx to. A command
// that answers one check has need of it; a server that has not got its keys yet
// answers so.
func (c *Compiler) Await(ctx context.Context) {
	for i := range c.sources {
		if await := c.sources[i].await; await != nil {
			await(ctx)
		}
	}
}

// MissingKeys lists the issuers whose tokens can't be verified for lack of
// keys.
func (c *Compiler) MissingKeys() (out []string) {
	for i := range c.sources {
		if missing := c.sources[i].missing; missing != nil {
			out = append(out, missing()...)
		}
	}
	return out
}
