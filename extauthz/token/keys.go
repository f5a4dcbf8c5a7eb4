package token

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"edict/engine/keyset"
)

// algorithms are those that tokens may be signed with (RFC 7518 §3.1, RFC 8037,
// RFC 9864). Their indexes are the bits of an algorithmSet.
var algorithms = []jwa.SignatureAlgorithm{
	jwa.RS256(), jwa.RS384(), jwa.RS512(),
	jwa.PS256(), jwa.PS384(), jwa.PS512(),
	jwa.ES256(), jwa.ES384(), jwa.ES512(),
	jwa.EdDSA(), jwa.EdDSAEd25519(),
}

// Algorithms lists the names of the algorithms that there are.
func Algorithms() []string {
	out := make([]string, len(algorithms))
	for i := range algorithms {
		out[i] = algorithms[i].String()
	}
	return out
}

// algorithmNamed finds an algorithm by its exact name.
func algorithmNamed(name string) (int, bool) {
	i := slices.IndexFunc(algorithms, func(a jwa.SignatureAlgorithm) bool { return a.String() == name })
	return i, i >= 0
}

type algorithmSet uint16

func (s algorithmSet) has(i int) bool { return s&(1<<i) != 0 }

// The bounds of a set of keys.
const (
	maxLoose   = 8 // keys that a token without kid, or a key without one, makes candidates
	minRSABits = 2048
)

// A keyRing is the keys of an issuer. It is only ever read.
type keyRing struct {
	named map[string][]key // by kid
	loose []key            // without a kid: candidates for every token
	all   []key
}

type key struct {
	public     any // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	algorithms algorithmSet
}

// parseKeys reads PEM, a JWK set or a JWK (RFC 7517). Keys that can't verify
// signatures of any algorithm here are left out, as every issuer may have some;
// only if all are, that is an error.
func parseKeys(content []byte) (*keyRing, error) {
	pem := bytes.HasPrefix(bytes.TrimSpace(content), []byte("-----BEGIN "))
	// A set may have keys of a type that nobody here knows yet.
	set, err := jwk.Parse(content, jwk.WithPEM(pem), jwk.WithStrictKeySetParsing(false))
	if err != nil {
		return nil, err
	}
	out := &keyRing{named: map[string][]key{}}
	var problem error
	for i := range set.Len() {
		k, _ := set.Key(i)
		parsed, err := parseKey(k)
		if err != nil {
			problem = fmt.Errorf("key %d of the set: %w", i+1, err)
			continue
		}
		out.all = append(out.all, parsed)
		if kid, _ := k.KeyID(); kid != "" {
			out.named[kid] = append(out.named[kid], parsed)
		} else if out.loose = append(out.loose, parsed); len(out.loose) > maxLoose {
			return nil, fmt.Errorf("the set has more than %d keys without a kid", maxLoose)
		}
	}
	if len(out.all) == 0 && problem != nil {
		return nil, fmt.Errorf("no key of the set is of use: %w", problem)
	}
	if len(out.all) == 0 && pem {
		return nil, errors.New("there is no key in it")
	}
	return out, nil
}

func parseKey(k jwk.Key) (key, error) {
	var out key
	var why error
	for i, a := range algorithms {
		if err := keyset.Usable(k, a); err != nil {
			why = err
			continue
		}
		out.algorithms |= 1 << i
	}
	if out.algorithms == 0 {
		return out, why
	}
	if ops, ok := k.KeyOps(); ok && !slices.Contains(ops, jwk.KeyOpVerify) && !slices.Contains(ops, jwk.KeyOpSign) {
		return out, errors.New("its key_ops have no verify")
	}
	public, err := k.PublicKey()
	if err != nil {
		return out, err
	}
	if err := jwk.Export(public, &out.public); err != nil {
		return out, err
	}
	if r, ok := out.public.(*rsa.PublicKey); ok && r.N.BitLen() < minRSABits {
		return out, fmt.Errorf("an RSA key of %d bits is too short; it takes %d", r.N.BitLen(), minRSABits)
	}
	return out, nil
}

// candidates gives the keys that may have signed a token, and tells whether the
// set has the one that it names. A token without a kid may be by any key, if
// there are few that fit.
func (r *keyRing) candidates(kid string, algorithm int) (keys []key, known bool) {
	from := r.all
	if kid != "" {
		named, ok := r.named[kid]
		if from = named; !ok {
			from = r.loose
		}
	}
	for i := range from {
		if from[i].algorithms.has(algorithm) {
			keys = append(keys, from[i])
		}
	}
	if kid == "" && len(keys) > maxLoose {
		return nil, true
	}
	return keys, len(from) > 0
}
