package extauthz

import (
	"crypto/x509/pkix"
	"testing"

	"edict/engine"
)

// What a check costs by the source of its identity, from bytes to bytes.
func BenchmarkIdentity(b *testing.B) {
	cert, hash := certificate(b, pkix.Name{CommonName: "api"}, []string{"spiffe://prod.test/ns/pay/sa/api"}, nil)
	keys := Source{APIKeys: &APIKeys{File: keyFile(b, robotKey+" id: robot, roles: [batch]")}}
	principal := get("/page")
	principal.principal = "spiffe://prod.test/ns/pay/sa/api"
	whole := principal
	whole.certificate = cert
	forwarded := get("/page").with("x-forwarded-client-cert: Hash=" + hash + ";URI=spiffe://prod.test/ns/pay/sa/api")
	forwarded.source = "10.0.3.7"
	for _, bb := range []struct {
		name    string
		source  Source
		request testRequest
	}{
		{"metadata", Source{JWTMetadata: &JWTMetadata{}}, get("/page").as("jane", "user")},
		{"principal", peerSources["mesh"], principal},
		{"certificate", peerSources["mesh"], whole},
		{"xfcc", peerSources["edge"], forwarded},
		{"api key", keys, get("/page").with("x-api-key: " + robotKey)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c, err := NewCompiler(engine.Options{}, Options{Identity: []Source{bb.source}})
			if err != nil {
				b.Fatal(err)
			}
			rev := compileWith(b, c, peerPolicy, peerRoutes)
			if source := &c.sources[0]; source.run != nil {
				go source.run(b.Context())
				source.await(b.Context())
			}
			s := new(Server)
			s.Use(rev)
			request := bb.request.bytes(b)
			if got, _ := reason(check(b, s, bb.request)); got != "allow" {
				b.Fatalf("got %s", got)
			}
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				s.AppendCheck(b.Context(), dst, request)
			}
		})
	}
}
