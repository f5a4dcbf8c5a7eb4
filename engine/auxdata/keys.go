package auxdata

import (
	"context"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
)

// keys is a set of keys that tokens are verified with. It only ever is read.
type keys struct {
	set         jwk.Set
	optionalKid bool
}

// parseKeys reads a JWK set or a single JWK (RFC 7517), or PEM. Every JWK must
// say its alg and its kid, unless the options of the key set do without.
func parseKeys(content []byte, k *KeySet) (*keys, error) {
	pem := k.Local != nil && k.Local.PEM
	set, err := jwk.Parse(content, jwk.WithPEM(pem), jwk.WithStrictKeySetParsing(true))
	if err != nil {
		return nil, err
	}
	for i := range set.Len() {
		key, ok := set.Key(i)
		if !ok {
			return nil, fmt.Errorf("key %d of the set can't be read", i+1)
		}
		if err := check(key, k, pem); err != nil {
			return nil, fmt.Errorf("key %d of the set: %w", i+1, err)
		}
	}
	return &keys{set: set, optionalKid: k.OptionalKid}, nil
}

func check(key jwk.Key, k *KeySet, pem bool) error {
	alg, ok := key.Algorithm()
	switch {
	case ok && alg.String() == "" && !k.OptionalAlg, !ok && !k.OptionalAlg && !pem:
		return errors.New("the key has no alg; insecure.optionalAlg does without")
	case ok && alg.String() != "" && !known(alg.String()):
		return fmt.Errorf("the key has an unknown alg %q", alg)
	}
	if kid, _ := key.KeyID(); kid == "" && !k.OptionalKid && !pem {
		return errors.New("the key has no kid; insecure.optionalKid does without")
	}
	return nil
}

// known tells whether JOSE has an algorithm of that name, of any purpose: a
// set may hold keys for encryption beside those for signatures.
func known(alg string) bool {
	if _, ok := jwa.LookupSignatureAlgorithm(alg); ok {
		return true
	}
	if _, ok := jwa.LookupKeyEncryptionAlgorithm(alg); ok {
		return true
	}
	_, ok := jwa.LookupContentEncryptionAlgorithm(alg)
	return ok
}

// FetchKeys implements jws.KeyProvider: it names the keys that a signature may
// be verified with, each for one algorithm.
func (k *keys) FetchKeys(_ context.Context, sink jws.KeySink, signature *jws.Signature, _ *jws.Message) error {
	header := signature.ProtectedHeaders()
	alg, ok := header.Algorithm()
	if !ok || alg == jwa.NoSignature() {
		return errors.New("the token is not signed")
	}
	// RFC 7515, 4.1.11: whoever does not know an extension has to refuse the
	// token, and none is known here.
	if header.Has(jws.CriticalKey) {
		return errors.New("the token has critical extensions")
	}
	if k.optionalKid {
		for i := range k.set.Len() {
			if key, ok := k.set.Key(i); ok && usable(key, alg) == nil {
				sink.Key(alg, key)
			}
		}
		return nil
	}
	kid, ok := header.KeyID()
	if !ok {
		return errors.New("the token has no kid")
	}
	key, ok := k.set.LookupKeyID(kid)
	if !ok {
		return fmt.Errorf("the key set has no key with the kid %q", kid)
	}
	if err := usable(key, alg); err != nil {
		return fmt.Errorf("the key with the kid %q: %w", kid, err)
	}
	sink.Key(alg, key)
	return nil
}

// usable tells why a key can't verify signatures of an algorithm, nil if it
// can. A key that says what it is for is for nothing else.
func usable(key jwk.Key, alg jwa.SignatureAlgorithm) error {
	if use, ok := key.KeyUsage(); ok && use != "" && use != jwk.ForSignature.String() {
		return fmt.Errorf("it is for %q, not for signatures", use)
	}
	if own, ok := key.Algorithm(); ok && own.String() != "" && !same(own.String(), alg.String()) {
		return fmt.Errorf("it is for %s, and the token says %s", own, alg)
	}
	if !fits(key, alg) {
		return fmt.Errorf("a key of the type %s can't verify %s", key.KeyType(), alg)
	}
	return nil
}

// same tells whether two names mean one algorithm: RFC 9864 calls EdDSA with
// keys of the curve Ed25519 by the name of the curve.
func same(a, b string) bool {
	name := func(s string) string {
		if s == jwa.EdDSA().String() {
			return jwa.EdDSAEd25519().String()
		}
		return s
	}
	return name(a) == name(b)
}

// fits tells whether keys like this one are made for an algorithm (RFC 7518
// section 3.1, RFC 8037, RFC 9864).
func fits(key jwk.Key, alg jwa.SignatureAlgorithm) bool {
	curve := func() string {
		var c jwa.EllipticCurveAlgorithm
		if key.Get(jwk.ECDSACrvKey, &c) != nil { // it is crv with OKP too
			return ""
		}
		return c.String()
	}
	switch alg {
	case jwa.RS256(), jwa.RS384(), jwa.RS512(), jwa.PS256(), jwa.PS384(), jwa.PS512():
		return key.KeyType() == jwa.RSA()
	case jwa.ES256():
		return key.KeyType() == jwa.EC() && curve() == jwa.P256().String()
	case jwa.ES384():
		return key.KeyType() == jwa.EC() && curve() == jwa.P384().String()
	case jwa.ES512():
		return key.KeyType() == jwa.EC() && curve() == jwa.P521().String()
	case jwa.EdDSA(), jwa.EdDSAEd25519():
		return key.KeyType() == jwa.OKP() && curve() == jwa.Ed25519().String()
	case jwa.HS256(), jwa.HS384(), jwa.HS512():
		return key.KeyType() == jwa.OctetSeq()
	}
	return false
}
