package extauthz

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// percent encodes a PEM as Envoy does.
func percent(text string) string {
	return strings.NewReplacer("\n", "%0A", "+", "%2B", "/", "%2F", "=", "%3D", " ", "%20").Replace(text)
}

// clientCertificate makes a certificate, percent-encoded.
func clientCertificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := url.Parse("spiffe://bank.test/ns/pay/sa/api")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x0102), Subject: pkix.Name{CommonName: "api", Organization: []string{"Bank"}},
		NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(1_800_000_000, 0),
		URIs: []*url.URL{id}, DNSNames: []string{"api.bank.test"}, EmailAddresses: []string{"ops@bank.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return percent(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// read asks for what an expression gives, as the id of a resource that
// everybody may preview, and gives the id, or the end and its detail.
func read(t testing.TB, expr string, more string, in *authv3.CheckRequest) string {
	t.Helper()
	return readWith(t, Options{}, expr, more, in)
}

func readWith(t testing.TB, o Options, expr string, more string, in *authv3.CheckRequest) string {
	t.Helper()
	got := ""
	o.Observe = func(r *Record) {
		got = r.Resource
		if r.Outcome != Allowed {
			got = strings.TrimSpace(r.Outcome.String() + " " + r.Detail)
		}
	}
	s := &Server{Panicked: func(v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }}
	s.Use(compile(t, o, albumPolicy, fmt.Sprintf(`
apiVersion: edict.dev/v1
routeMap:
  name: read
  routes:
    - name: it
      match: {path: "/{rest=**}", upgrade: any}
      anonymous: true
      %s
      resource: {kind: album, id: {expr: %q}}
      action: preview
`, more, expr)))
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	s.AppendCheck(t.Context(), nil, b)
	return got
}

func TestWhatExpressionsRead(t *testing.T) {
	certified := get("/x").message(t)
	certified.Attributes.Source = &authv3.AttributeContext_Peer{Certificate: clientCertificate(t), Principal: "spiffe://bank.test/ns/pay/sa/api"}
	uncertified := get("/x").message(t)
	uncertified.Attributes.Source = &authv3.AttributeContext_Peer{Certificate: "no"}
	sized := get("/x").message(t)
	sized.Attributes.Request.Http.Size = 7
	connect := testRequest{method: "CONNECT", path: "/x", headers: []string{":protocol: websocket"}}.message(t)
	sized.Attributes.TlsSession = &authv3.AttributeContext_TLSSession{Sni: "api.bank.test"}
	headers := func(h ...string) *authv3.CheckRequest { return get("/x").with(h...).message(t) }
	joined := func(h ...string) *authv3.CheckRequest {
		r := get("/x").with(h...)
		r.asMap = true
		return r.message(t)
	}
	both := headers("x-tag: a")
	both.Attributes.Request.Http.Headers = map[string]string{"x-tag": "b"}
	for _, tt := range []struct {
		name, expr, want string
		in               *authv3.CheckRequest
	}{
		{"a cookie", `request.cookies["session"]`, "abc", headers("cookie: theme=dark; session=abc")},
		{"a cookie by a selector", `request.cookies.session`, "abc", headers("cookie: session=abc")},
		{"a cookie among ones that break the rules", `request.cookies.session`, "abc", headers(`cookie: a={"b": "c,d"}; session=abc`)},
		{"cookies that came apart", `request.cookies.session`, "abc", headers("cookie: a=b", "cookie: session=abc")},
		{"no cookie", `request.cookies[?"session"].orValue("none")`, "none", headers("cookie: a=b")},
		{"a cookie twice", `request.cookies[?"session"].orValue("none")`, "bad_request cookie_repeated", headers("cookie: session=abc; session=def")},
		{"a cookie twice, apart", `request.cookies.session`, "bad_request cookie_repeated", headers("cookie: session=abc", "cookie: session=def")},
		{"cookies that Envoy joined with a comma", `request.cookies.session`, "bad_request cookie_repeated", joined("cookie: a=b", "cookie: session=abc")},
		{"a quoted cookie", `request.cookies.session`, "bad_request cookie_value", headers(`cookie: session="abc"`)},
		{"the names of cookies", `request.cookies.map(c, c).size() == 2 ? "two" : "more"`, "two", headers("cookie: a=b; c=d")},

		{"header lists", `request.headerLists["x-tag"].join("|")`, "a|b, c|", headers("x-tag: a", "x-tag: b, c", "x-tag: ")},
		{"one header as a list", `request.headerLists["x-tag"].join("|")`, "a", headers("x-tag: a")},
		{"no header", `has(request.headerLists.none) ? "some" : "none"`, "none", headers()},
		{"one header of a map", `request.headerLists["x-tag"].join("|")`, "a", joined("x-tag: a")},
		{"joined headers of a map", `request.headerLists["x-tag"].join("|")`, "bad_request header_joined", joined("x-tag: a", "x-tag: b")},
		{"joined headers", `request.headers["x-tag"]`, "a, b", headers("x-tag: a", "x-tag: b")},
		{"a header of both forms", `request.headerLists["x-tag"].join("|")`, "a|b", both},
		{"a header that is not UTF-8", `request.headerLists[?"x-tag"].orValue(["none"])[0]`, "bad_request header_not_utf8", headers("x-tag: \xff")},

		{"the raw path", `request.rawPath + " " + request.path`, "/a%20b/ /a b/", get("/a%20b/?c=d").message(t)},
		{"size", `string(request.size)`, "7", sized},
		{"SNI", `request.sni`, "api.bank.test", sized},
		{"no upgrade", `"<" + request.upgrade + ">"`, "<>", headers()},
		{"an upgrade", `request.upgrade`, "websocket", headers("upgrade: WebSocket", "connection: upgrade")},
		{"an extended CONNECT", `request.upgrade`, "websocket", connect},
		{"protocol", `request.protocol`, "HTTP/1.1", headers()},

		{"subject", `request.source.certificate.subject`, "CN=api,O=Bank", certified},
		{"issuer", `request.source.certificate.issuer`, "CN=api,O=Bank", certified},
		{"serial", `request.source.certificate.serial`, "0102", certified},
		{"fingerprint", `string(request.source.certificate.fingerprint.size())`, "64", certified},
		{"names", `(request.source.certificate.uris + request.source.certificate.dnsNames + request.source.certificate.emails + request.source.certificate.ips).join(" ")`,
			"spiffe://bank.test/ns/pay/sa/api api.bank.test ops@bank.test", certified},
		{"times", `string(request.source.certificate.notAfter - request.source.certificate.notBefore)`, "100000000s", certified},
		{"no certificate", `request.source.certificate.subject`, "unmappable", headers()},
		{"whether there is a certificate", `has(request.source.certificate) ? "some" : "none"`, "none", headers()},
		{"that there is a certificate", `has(request.source.certificate) ? "some" : "none"`, "some", certified},
		{"a certificate that is none", `has(request.source.certificate) ? "some" : "none"`, "bad_request peer_certificate", uncertified},
	} {
		if got := read(t, tt.expr, "", tt.in); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.name, tt.expr, got, tt.want)
		}
	}
}

// Each cookie is looked for in the whole header, so that many of them are refused
// before that costs seconds.
func TestManyCookies(t *testing.T) {
	routes := strings.Replace(albumRoutes, "{expr: request.query.id}", `{expr: "string(size(request.cookies))"}`, 1)
	s := new(Server)
	s.Use(compile(t, jwtOnly, albumPolicy, routes))
	header := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "c%d=1; ", i)
		}
		return "cookie: " + strings.TrimSuffix(b.String(), "; ")
	}
	for n, want := range map[int]int32{maxCookies: 0, maxCookies + 1: 3, 10_000: 3} {
		start := time.Now()
		out, _ := s.Check(context.Background(), get("/search?id=1").as("alice", "user").with(header(n)).message(t))
		if got := out.GetStatus().GetCode(); got != want || time.Since(start) > time.Second {
			t.Errorf("%d cookies: %d, after %s", n, got, time.Since(start))
		}
	}
}
