package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"
)

// The people of the demo, with the claims that their tokens have beside the
// usual ones, and a workload that has no token.
var people = map[string]map[string]any{
	"alice": {"roles": []string{"employee"}, "regions": []string{"emea"}},
	"bob":   {"roles": []string{"employee", "manager"}, "regions": []string{"emea"}, "approvalLimit": 1000},
	"carol": {"roles": []string{"auditor"}},
	"dave":  {"roles": []string{"employee", "manager"}, "regions": []string{"apac"}, "approvalLimit": 500},

	"spiffe://edict.example/ns/shop/sa/audit": {"roles": []string{"auditor"}},
}

// An issuer signs tokens (ES256, RFC 7518 §3.4).
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{key}
}

const keyID = "demo"

// point gives the public key as SEC 1 writes it: 4, X, Y.
func (i issuer) point() []byte {
	p, err := i.key.PublicKey.Bytes()
	if err != nil {
		panic(err) // P-256 has a point for every key
	}
	return p
}

// keySet gives the public key as a JWK set (RFC 7517 §5).
func (i issuer) keySet() []byte {
	p := i.point()
	return encode(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": keyID,
		"x": base64.RawURLEncoding.EncodeToString(p[1:33]),
		"y": base64.RawURLEncoding.EncodeToString(p[33:65]),
	}}})
}

// claims gives the claims of a person, good for an hour, with changes: a nil
// removes one.
func claims(who string, changes map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{
		"iss": "https://idp.edict.example/", "aud": "expenses", "sub": who,
		"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	maps.Copy(c, people[who])
	for name, v := range changes {
		if v == nil {
			delete(c, name)
		} else {
			c[name] = v
		}
	}
	return c
}

// token gives a good token of a person.
func (i issuer) token(who string) string { return i.sign(claims(who, nil)) }

// sign gives a token with any claims.
func (i issuer) sign(claims map[string]any) string {
	return i.signWith(map[string]any{"alg": "ES256", "typ": "JWT", "kid": keyID}, claims)
}

// signWith gives a token with any header. The signature is ES256 whatever the
// header says.
func (i issuer) signWith(header, claims map[string]any) string {
	input := signingInput(header, claims)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		panic(err) // the source of randomness does not fail
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// confused gives a token that is signed with HMAC, and the public key as the
// secret.
func (i issuer) confused(who string) string {
	return i.hmac(map[string]any{"alg": "HS256", "kid": keyID}, claims(who, nil))
}

// hmac gives such a token with any header and claims.
func (i issuer) hmac(header, claims map[string]any) string {
	input := signingInput(header, claims)
	mac := hmac.New(sha256.New, i.point())
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// unsigned gives a token that says it needs no signature.
func unsigned(who string) string {
	return signingInput(map[string]any{"alg": "none"}, claims(who, nil)) + "."
}

func signingInput(header, claims map[string]any) string {
	return base64.RawURLEncoding.EncodeToString(encode(header)) + "." + base64.RawURLEncoding.EncodeToString(encode(claims))
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the values are the tests' own
	}
	return b
}
