package auxdata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwt"

	"edict/engine"
	"edict/engine/keyset"
	"edict/engine/value"
)

// Options says which tokens are believed. With the zero value none is.
type Options struct {
	// KeySets are the keys that tokens may be signed with. A token that names
	// no set is verified with the only one there is.
	KeySets []KeySet

	// AcceptableTimeSkew is how far the clock of an issuer may be off when
	// exp, nbf and iat are looked at.
	AcceptableTimeSkew time.Duration

	// DisableVerification believes the claims of every token, whoever made
	// it. Its times are enforced still.
	DisableVerification bool

	// Warn is told what goes wrong in the background: a key set that could not
	// be renewed. It may be called by several goroutines. Nil: nobody is told.
	Warn func(error)

	// Transport makes the requests for remote key sets; nil means
	// http.DefaultTransport.
	Transport http.RoundTripper

	// Now is the clock that the times of tokens are compared with; nil means
	// time.Now.
	Now func() time.Time
}

// A Token is a token as a request brings it.
type Token struct {
	Raw      string // in the compact form of RFC 7515, with nothing before it
	KeySetID string // empty: the only key set there is
}

// ErrInvalid is what a client may learn of auxiliary data that was refused.
var ErrInvalid = errors.New("invalid auxData")

// An Error is a refusal. Its text is that of ErrInvalid, which it also is to
// errors.Is. The reason is for the log alone and may quote the token's claims.
type Error struct{ Reason error }

// Error gives the text of ErrInvalid.
func (e *Error) Error() string { return ErrInvalid.Error() }

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Reason }

// Is tells that e is ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }

// A Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	sets     map[string]*keyset.Source[*keys] // nil: signatures are not verified
	disabled bool
	validate []jwt.ParseOption
}

// New prepares a Verifier. It reads the local key sets and begins to fetch the
// remote ones, which it goes on renewing until ctx ends. It fails if a key set
// can't work: one that is misconfigured, or a local one that can't be read.
func New(ctx context.Context, o Options) (*Verifier, error) {
	now := o.Now
	if now == nil {
		now = time.Now
	}
	if o.AcceptableTimeSkew < 0 {
		return nil, errors.New("the acceptable time skew can't be negative")
	}
	v := &Verifier{
		disabled: o.DisableVerification,
		validate: []jwt.ParseOption{jwt.WithValidate(true), jwt.WithAcceptableSkew(o.AcceptableTimeSkew), jwt.WithClock(jwt.ClockFunc(now))},
	}
	if o.DisableVerification {
		return v, nil
	}
	v.sets = make(map[string]*keyset.Source[*keys], len(o.KeySets))
	for _, set := range o.KeySets {
		if v.sets[set.ID] != nil {
			return nil, fmt.Errorf("there are two key sets with the id %q", set.ID)
		}
		s, err := newSource(set, o)
		if err != nil {
			return nil, fmt.Errorf("key set %q: %w", set.ID, err)
		}
		v.sets[set.ID] = s
	}
	for _, s := range v.sets {
		go s.Run(ctx)
	}
	return v, nil
}

// Claims verifies a token and gives its claims. A claim is what its JSON value
// is, except that exp, iat and nbf are RFC 3339 texts in UTC and whole
// seconds, that aud is a list of texts even if the token holds one text, and
// that a null is left out. The error is an *Error. Claims waits for ctx only
// while the token's key set was never fetched.
func (v *Verifier) Claims(ctx context.Context, t Token) (value.Mapping, error) {
	token, err := v.parse(ctx, t)
	if err != nil {
		return nil, &Error{err}
	}
	return claims(token), nil
}

// All verifies every token of a request: jwt, which may be nil, or the named
// ones. A request that brings both is refused. The error is an *Error.
func (v *Verifier) All(ctx context.Context, jwt *Token, jwts map[string]Token) (engine.AuxData, error) {
	if jwt != nil && len(jwts) > 0 {
		return engine.AuxData{}, &Error{errors.New("there are both a token without a name and tokens with names")}
	}
	var data engine.AuxData
	if jwt != nil {
		c, err := v.Claims(ctx, *jwt)
		if err != nil {
			return engine.AuxData{}, err
		}
		data.JWT = c
	}
	for name, t := range jwts {
		if err := ctx.Err(); err != nil { // a request has room for thousands
			return engine.AuxData{}, &Error{err}
		}
		token, err := v.parse(ctx, t)
		if err != nil {
			return engine.AuxData{}, &Error{fmt.Errorf("the token %q: %w", name, err)}
		}
		if data.JWTs == nil {
			data.JWTs = make(map[string]value.Mapping, len(jwts))
		}
		data.JWTs[name] = claims(token)
	}
	return data, nil
}

// Waits tells whether All would wait for a key set of these tokens that was never
// fetched. Once it would not, it never will again.
func (v *Verifier) Waits(jwt *Token, jwts map[string]Token) bool {
	waits := func(t Token) bool {
		s, err := v.source(t.KeySetID)
		return err == nil && s.Awaited()
	}
	if jwt != nil && waits(*jwt) {
		return true
	}
	for _, t := range jwts {
		if waits(t) {
			return true
		}
	}
	return false
}

// parse verifies a token as a whole: signature, then times.
func (v *Verifier) parse(ctx context.Context, t Token) (jwt.Token, error) {
	if v.disabled {
		return jwt.ParseString(t.Raw, append([]jwt.ParseOption{jwt.WithVerify(false)}, v.validate...)...)
	}
	s, err := v.source(t.KeySetID)
	if err != nil {
		return nil, err
	}
	keys, err := s.First(ctx)
	if err != nil {
		return nil, err
	}
	return jwt.ParseString(t.Raw, append([]jwt.ParseOption{jwt.WithKeyProvider(keys)}, v.validate...)...)
}

func (v *Verifier) source(id string) (*keyset.Source[*keys], error) {
	if id != "" {
		if s := v.sets[id]; s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("there is no key set %q", id)
	}
	if len(v.sets) == 1 {
		for _, s := range v.sets {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the token names no key set, and there are %d", len(v.sets))
}

// claims gives the claims as conditions see them.
func claims(token jwt.Token) value.Mapping {
	names := token.Keys()
	out := make(value.Values, len(names))
	for _, name := range names {
		var x any
		if err := token.Get(name, &x); err != nil {
			continue // a null
		}
		v := value.Of(x)
		if t, ok := x.(time.Time); ok {
			v = value.OfString(t.UTC().Format(time.RFC3339))
		}
		if k := v.Kind(); k != value.Error && k != value.Null {
			out[name] = v
		}
	}
	return out
}
