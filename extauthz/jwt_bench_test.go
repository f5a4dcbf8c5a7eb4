package extauthz

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"

	"edict/extauthz/token"
)

// A whole check whose claims Envoy has verified, and the same check whose token
// Edict verifies, by algorithm.
func BenchmarkToken(b *testing.B) {
	claims := map[string]any{
		"iss": "https://idp.example", "aud": "albums", "sub": "alice", "roles": []any{"user"},
		"iat": float64(time.Now().Unix()), "exp": float64(time.Now().Add(time.Hour).Unix()),
		"email": "alice@example.com", "name": "Alice Doe", "scope": "openid profile", "azp": "web", "sid": "9c1f0a", "jti": "2b8cb3c9",
	}
	run := func(name string, s *Server, r testRequest) {
		b.Run(name, func(b *testing.B) {
			in, dst := r.bytes(b), make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				s.AppendCheck(b.Context(), dst, in)
			}
			if got, _ := reason(check(b, s, r)); got != "allow" {
				b.Errorf("got %s", got)
			}
		})
	}
	r := get("/albums/alice/1")
	r.claims = claims
	run("metadata", newServer(b, jwtOnly), r)

	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range []struct {
		algorithm string
		key       crypto.Signer
	}{{"RS256", small}, {"ES256", curve}, {"EdDSA", edwards}} {
		der, err := x509.MarshalPKIXPublicKey(k.key.Public())
		if err != nil {
			b.Fatal(err)
		}
		encode := base64.RawURLEncoding.EncodeToString
		input := encode(fmt.Appendf(nil, `{"alg":%q}`, k.algorithm)) + "." + encode(payload)
		signature, err := jwsbb.Sign(k.key, k.algorithm, []byte(input), nil)
		if err != nil {
			b.Fatal(err)
		}
		o := jwtOnly
		o.Identity = []Source{{JWT: &JWT{Issuers: []JWTIssuer{{Issuer: token.Issuer{
			Issuer: "https://idp.example", Audiences: []string{"albums"},
			Keys: token.Keys{Inline: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
		}}}}}}
		run(k.algorithm, newServer(b, o), get("/albums/alice/1").with("authorization: Bearer "+input+"."+encode(signature)))
	}
}
