package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"
)

// What verifying a token costs, beside the bare operation of its algorithm on
// the same bytes, hash included: the yardstick.
func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, issuers()...)
	k := testIssuer()
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		raw := goodTokens(b)[algorithm]
		dot := strings.LastIndexByte(raw, '.')
		signed := []byte(raw[:dot])
		signature := must(base64.RawURLEncoding.DecodeString(raw[dot+1:]))
		b.Run(algorithm+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			ok := true
			for b.Loop() {
				switch public := k.byName[algorithm].Public().(type) {
				case *rsa.PublicKey:
					digest := sha256.Sum256(signed)
					ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
				case *ecdsa.PublicKey:
					digest := sha256.Sum256(signed)
					ok = ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
				case ed25519.PublicKey:
					ok = ed25519.Verify(public, signed, signature)
				}
			}
			if !ok {
				b.Error("the signature is not good")
			}
		})
		b.Run(algorithm+"/token", func(b *testing.B) {
			b.ReportAllocs()
			var err error
			for b.Loop() {
				_, _, err = v.Verify(b.Context(), raw, now, time.Time{})
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	// What a token costs that is refused before its signature is looked at, and
	// one that is not.
	for name, raw := range map[string]string{"unknown issuer": "", "forged": ""} {
		for _, c := range tokenCases(b) {
			if name == "unknown issuer" && c.name == "another issuer" || name == "forged" && c.name == "somebody else's key" {
				raw = c.raw
			}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var err error
			for b.Loop() {
				_, _, err = v.Verify(b.Context(), raw, now, time.Time{})
			}
			if err == nil {
				b.Error("the token is good")
			}
		})
	}
}
