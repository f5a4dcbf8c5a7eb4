package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"

	"edict/engine/keyset"
	"edict/engine/value"
	"edict/extauthz/strictjson"
)

// The bounds of a token.
const (
	MaxSize = 16 << 10 // bytes of the whole
	maxKid  = 128      // bytes

	// maxWait is how long a call waits for keys, at most, and maxWaiting how
	// many calls wait for those of an issuer, so that tokens that are made up
	// take no more than that away from others.
	maxWait    = time.Second
	maxWaiting = 256
)

var (
	headerLimits = strictjson.Limits{Depth: 8, Tokens: 200}
	claimsLimits = strictjson.Limits{Depth: 64, Tokens: 10_000}
)

// A Reason is why a token gives no claims: a word for logs, which holds nothing
// of the token.
type Reason string

// The reasons.
const (
	Malformed       Reason = "token_malformed"
	TooLarge        Reason = "token_too_large"
	BadAlgorithm    Reason = "token_algorithm"
	BadHeader       Reason = "token_header" // crit, b64, kid
	UnknownIssuer   Reason = "token_issuer"
	UnknownKey      Reason = "token_unknown_key"
	BadSignature    Reason = "token_signature"
	WrongType       Reason = "token_type"
	WrongAudience   Reason = "token_audience"
	WrongClaims     Reason = "token_claims" // one that the issuer's Require names
	BadTimes        Reason = "token_times"  // not numbers, missing, or too far apart
	Expired         Reason = "token_expired"
	NotYetValid     Reason = "token_not_yet_valid"
	KeysUnavailable Reason = "keys_unavailable" // it may be good, nobody can tell
)

// An Error is a token that gives no claims. Its text is for the log alone, and
// may quote the token.
type Error struct {
	Reason Reason
	err    error
}

// Error says what is wrong.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap gives the cause, if there is one.
func (e *Error) Unwrap() error { return errors.Unwrap(e.err) }

func refuse(r Reason, format string, args ...any) error {
	return &Error{r, fmt.Errorf(format, args...)}
}

// Options are what a Verifier works with.
type Options struct {
	Warn      func(error)       // is told that keys could not be renewed; nil: nobody is
	Transport http.RoundTripper // fetches keys; nil: http.DefaultTransport
}

// A Verifier verifies the tokens of some issuers. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuer
	all     []*issuer // in their order
}

type issuer struct {
	*Issuer
	index         int
	audienceClaim string
	algorithms    algorithmSet
	types         []string // in lower case, without application/
	keys          *keyset.Source[*keyRing]
	waiting       atomic.Int32 // calls that wait for keys
}

// New prepares a Verifier. It reads the keys that are at hand; those that are to
// be fetched are there once Run runs. The error names the issuer that can't
// work.
func New(issuers []Issuer, o Options) (*Verifier, error) {
	v := &Verifier{issuers: make(map[string]*issuer, len(issuers))}
	for n := range issuers {
		i := issuers[n] // a copy, which is ours
		if v.issuers[i.Issuer] != nil {
			return nil, fmt.Errorf("the issuer %q is there twice", i.Issuer)
		}
		if err := i.Validate(); err != nil {
			return nil, fmt.Errorf("the issuer %q: %w", i.Issuer, err)
		}
		source, err := keyset.New(i.Keys.location(i.Issuer), parseKeys, keyset.Options{Name: i.Issuer, Warn: o.Warn, Transport: o.Transport})
		if err != nil {
			return nil, fmt.Errorf("the keys of the issuer %q: %w", i.Issuer, err)
		}
		own := &issuer{Issuer: &i, index: n, audienceClaim: i.AudienceClaim, types: defaultTypes, keys: source}
		if own.audienceClaim == "" {
			own.audienceClaim = "aud"
		}
		if len(i.Types) > 0 {
			own.types = nil
			for _, t := range i.Types {
				own.types = append(own.types, plainType(t))
			}
		}
		for a, name := range Algorithms() {
			if len(i.Algorithms) == 0 || slices.Contains(i.Algorithms, name) {
				own.algorithms |= 1 << a
			}
		}
		v.issuers[i.Issuer] = own
		v.all = append(v.all, own)
	}
	return v, nil
}

// Run fetches keys and renews them until ctx ends. It is called once.
func (v *Verifier) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, i := range v.all {
		all.Go(func() { i.keys.Run(ctx) })
	}
	all.Wait()
}

// Await waits for the first attempts of Run to get keys, whatever becomes of
// them, or for ctx to end.
func (v *Verifier) Await(ctx context.Context) {
	for _, i := range v.all {
		_, _ = i.keys.First(ctx) // Verify tells
	}
}

// Missing lists the issuers that there are no keys of that may be believed.
func (v *Verifier) Missing() []string {
	var out []string
	for _, i := range v.all {
		if _, err := i.keys.Keys(); err != nil {
			out = append(out, i.Issuer.Issuer)
		}
	}
	return out
}

// Verify gives the claims of a token, in the compact form of RFC 7515, as their
// JSON says, and the index of the issuer. The error is an *Error. Where the key
// that the token names is not at hand, Verify waits for it within bounds; due is
// when the caller has to answer, or zero.
func (v *Verifier) Verify(ctx context.Context, raw string, now, due time.Time) (value.Mapping, int, error) {
	t, err := parse(raw)
	if err != nil {
		return nil, 0, err
	}
	iss, _ := t.claims.Lookup("iss")
	i := v.issuers[iss.Str()]
	if i == nil || iss.Kind() != value.String {
		return nil, 0, refuse(UnknownIssuer, "nobody is configured as the issuer %q", iss.Str())
	}
	for _, check := range [...]func() error{
		func() error { return i.checkSignature(ctx, due, t) },
		func() error { return i.checkType(t.header) },
		func() error { return i.checkAudience(t.claims) },
		func() error { return i.checkRequired(t.claims) },
		func() error { return i.checkTimes(t.claims, now) },
	} {
		if err := check(); err != nil {
			return nil, 0, err
		}
	}
	return t.claims, i.index, nil
}

// A parsed token is one in the right form, of which nothing is verified yet.
type parsed struct {
	header, claims value.Mapping
	algorithm      string
	kid            string
	signed         string // what the signature is over
	signature      []byte
}

// encoding has one spelling for all bytes.
var encoding = base64.RawURLEncoding.Strict()

func parse(raw string) (*parsed, error) {
	if len(raw) > MaxSize {
		return nil, refuse(TooLarge, "the token has %d bytes, and may have %d", len(raw), MaxSize)
	}
	// A decoder skips line breaks, so the alphabet is looked at first.
	for i := range len(raw) {
		switch c := raw[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return nil, refuse(Malformed, "byte %d of the token is none of base64url", i)
		}
	}
	head, rest, _ := strings.Cut(raw, ".")
	body, signature, found := strings.Cut(rest, ".")
	if !found || strings.IndexByte(signature, '.') >= 0 {
		return nil, refuse(Malformed, "the token has other than three segments")
	}
	t := &parsed{signed: raw[:len(head)+1+len(body)]}
	var err error
	if t.signature, err = encoding.DecodeString(signature); err != nil {
		return nil, refuse(Malformed, "the signature: %w", err)
	}
	if t.header, err = object(head, headerLimits); err != nil {
		return nil, refuse(Malformed, "the header: %w", err)
	}
	if t.claims, err = object(body, claimsLimits); err != nil {
		return nil, refuse(Malformed, "the claims: %w", err)
	}
	return t, t.readHeader()
}

// object reads a segment that is a JSON object.
func object(segment string, limits strictjson.Limits) (value.Mapping, error) {
	text, err := encoding.DecodeString(segment)
	if err != nil {
		return nil, err
	}
	v, err := strictjson.Parse(text, limits)
	if err != nil {
		return nil, err
	}
	if v.Kind() != value.Map {
		return nil, errors.New("it is not a JSON object")
	}
	return v.Mapping(), nil
}

func (t *parsed) readHeader() error {
	alg, _ := t.header.Lookup("alg")
	if alg.Kind() != value.String {
		return refuse(BadAlgorithm, "the header names no alg")
	}
	t.algorithm = alg.Str()
	// RFC 7515 §4.1.11: whoever does not know an extension has to refuse the
	// token, and none is known here. The payload of RFC 7797 is one even where
	// it is not said to be critical.
	for _, name := range []string{"crit", "b64"} {
		if _, ok := t.header.Lookup(name); ok {
			return refuse(BadHeader, "the header has %s", name)
		}
	}
	if kid, ok := t.header.Lookup("kid"); ok {
		if t.kid = kid.Str(); kid.Kind() != value.String || t.kid == "" || len(t.kid) > maxKid {
			return refuse(BadHeader, "the kid is not a text of 1 to %d bytes", maxKid)
		}
	}
	return nil
}

// checkSignature verifies the signature with a key of the issuer.
func (i *issuer) checkSignature(ctx context.Context, due time.Time, t *parsed) error {
	algorithm, ok := algorithmNamed(t.algorithm)
	if !ok || !i.algorithms.has(algorithm) {
		return refuse(BadAlgorithm, "the issuer does not sign with the algorithm %q", t.algorithm)
	}
	candidates, err := i.candidates(ctx, due, t.kid, algorithm)
	if err != nil {
		return err
	}
	if len(candidates) == 0 {
		return refuse(BadAlgorithm, "no single key of that kid is for %s", t.algorithm)
	}
	for _, k := range candidates {
		if err = jwsbb.Verify(k.public, t.algorithm, []byte(t.signed), t.signature); err == nil {
			return nil
		}
	}
	return refuse(BadSignature, "the signature: %w", err)
}

// candidates gives the keys that may have signed a token. If they are not at
// hand, it has them fetched once, if that was not tried a moment ago.
func (i *issuer) candidates(ctx context.Context, due time.Time, kid string, algorithm int) ([]key, error) {
	var found []key
	known := false
	look := func() error {
		ring, err := i.keys.Keys()
		if err == nil {
			found, known = ring.candidates(kid, algorithm)
		}
		return err
	}
	err := look()
	if err == nil && known {
		return found, nil
	}
	defer i.waiting.Add(-1)
	if i.waiting.Add(1) > maxWaiting {
		return nil, refuse(KeysUnavailable, "%d calls wait for the keys already", maxWaiting)
	}
	bounded, cancel := context.WithTimeout(ctx, patience(due))
	defer cancel()
	if _, late := i.keys.Renew(bounded); late != nil {
		return nil, refuse(KeysUnavailable, "the keys are being fetched: %w", late)
	}
	switch err = look(); {
	case err != nil:
		return nil, refuse(KeysUnavailable, "there are no keys: %w", err)
	case !known:
		return nil, refuse(UnknownKey, "the issuer has no key with the kid %q", kid)
	}
	return found, nil
}

// patience is how long a call waits for keys. Half of its time is left to refuse
// the token: an answer that comes too late would be none, and what Envoy does
// then is for its operator to say.
func patience(due time.Time) time.Duration {
	if due.IsZero() {
		return maxWait
	}
	return min(maxWait, time.Until(due)/2)
}

// plainType gives a media type as it is compared (RFC 7515 §4.1.9).
func plainType(t string) string { return strings.TrimPrefix(strings.ToLower(t), "application/") }

func (i *issuer) checkType(header value.Mapping) error {
	typ, ok := header.Lookup("typ")
	if ok && typ.Kind() != value.String || !slices.Contains(i.types, plainType(typ.Str())) {
		return refuse(WrongType, "tokens of the type %q are not for this", typ.Str())
	}
	return nil
}

// checkAudience takes a text and a list of texts (RFC 7519 §4.1.3).
func (i *issuer) checkAudience(claims value.Mapping) error {
	aud, _ := claims.Lookup(i.audienceClaim)
	switch aud.Kind() {
	case value.String:
		if slices.Contains(i.Audiences, aud.Str()) {
			return nil
		}
	case value.List:
		list, found := aud.Sequence(), false
		for n := range list.Len() {
			a := list.At(n)
			if a.Kind() != value.String {
				return refuse(WrongAudience, "the audience is not a list of texts")
			}
			found = found || slices.Contains(i.Audiences, a.Str())
		}
		if found {
			return nil
		}
	}
	return refuse(WrongAudience, "the token is for somebody else")
}

func (i *issuer) checkRequired(claims value.Mapping) error {
	for name, allowed := range i.Require {
		v, _ := claims.Lookup(name)
		if v.Kind() != value.String || !slices.Contains(allowed, v.Str()) {
			return refuse(WrongClaims, "the claim %s is not one that is required", name)
		}
	}
	return nil
}

// checkTimes looks at exp, nbf and iat (RFC 7519 §4.1.4 to 4.1.6).
func (i *issuer) checkTimes(claims value.Mapping, now time.Time) error {
	seconds := float64(now.UnixNano()) / 1e9
	skew := i.ClockSkew.Seconds()
	var exp, nbf, iat float64
	for _, c := range [...]struct {
		name string
		at   *float64
	}{{"exp", &exp}, {"nbf", &nbf}, {"iat", &iat}} {
		v, ok := claims.Lookup(c.name)
		if !ok {
			continue
		}
		if *c.at = v.Double(); v.Kind() != value.Double || *c.at <= 0 {
			return refuse(BadTimes, "%s is not a number of seconds", c.name)
		}
	}
	switch {
	case exp == 0 && !i.AllowNoExpiry:
		return refuse(BadTimes, "the token has no exp")
	case exp != 0 && seconds >= exp+skew:
		return refuse(Expired, "the token expired %.0f s ago", seconds-exp)
	case nbf > seconds+skew, iat > seconds+skew:
		return refuse(NotYetValid, "the token is from the future")
	case i.MaxLifetime > 0:
		from := seconds
		if iat != 0 {
			from = iat
		}
		if exp-from > i.MaxLifetime.Seconds() {
			return refuse(BadTimes, "the token lives for longer than %s", i.MaxLifetime)
		}
	}
	return nil
}
