package auxdata

import (
	"context"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"edict/engine/keyset"
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
			if key, ok := k.set.Key(i); ok && keyset.Usable(key, alg) == nil {
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
	if err := keyset.Usable(key, alg); err != nil {
		return fmt.Errorf("the key with the kid %q: %w", kid, err)
	}
	sink.Key(alg, key)
	return nil
}
