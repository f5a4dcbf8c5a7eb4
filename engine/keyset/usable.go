package keyset

import (
	"fmt"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// Usable tells why a key can't verify signatures of an algorithm, nil if it
// can. A key that says what it is for is for nothing else.
func Usable(key jwk.Key, alg jwa.SignatureAlgorithm) error {
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
