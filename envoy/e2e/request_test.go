package e2e

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// These tests confirm what Envoy puts into each field of a CheckRequest. What
// they show is written down in docs/envoy.md.

// TestEnvoySaysWhoIsConnected is about source and destination.
func TestEnvoySaysWhoIsConnected(t *testing.T) {
	l := startLabWith(t, "node: {id: lab, cluster: lab, metadata: {edict: {zone: demo, replicas: 3, deep: {a: b}}, other: {a: b}}}",
		door{name: "plain"},
		door{name: "labels", authz: "bootstrap_metadata_labels_key: edict"},
		door{name: "no labels", authz: "bootstrap_metadata_labels_key: absent"},
		door{name: "remote", hcm: "use_remote_address: true"},
		door{name: "internal", hcm: `
use_remote_address: true
internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}`},
		door{name: "proxied", listener: `
listener_filters: [{name: proxy, typed_config: {"@type": ProxyProtocol}}]`},
		door{name: "socket", listener: "address: {socket_address: null, pipe: {path: '{dir}/door.sock'}}"},
		door{name: "tls", chain: secure, authz: "{include_peer_certificate: true, include_tls_session: true}"},
		door{name: "tls without options", chain: secure},
		door{name: "tls that checks nothing", authz: "include_peer_certificate: true", chain: strings.ReplaceAll(secure,
			"validation_context: {trusted_ca: {inline_string: CLIENT CA}}", "validation_context: {}")},
		door{name: "tls that asks for nothing", authz: "include_peer_certificate: true", chain: strings.ReplaceAll(secure,
			"validation_context: {trusted_ca: {inline_string: CLIENT CA}}", "")},
		door{name: "tls that accepts all", authz: "include_peer_certificate: true", chain: strings.ReplaceAll(secure,
			"{trusted_ca: {inline_string: CLIENT CA}}", "{trusted_ca: {inline_string: CLIENT CA}, trust_chain_verification: ACCEPT_UNTRUSTED}")},
	)
	const (
		source      = "source.address.socket_address"
		destination = "destination.address.socket_address"
	)
	over := func(door string, c *certificate) func() net.Conn {
		return func() net.Conn {
			conn, err := l.overTLS(t, door, "lab.example", c)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
	}
	from := connect(t, outside, l.port(t, "plain"))
	port := from.LocalAddr().(*net.TCPAddr).Port
	l.run(t, []probe{
		{name: "source.address is the peer, with its port", over: func() net.Conn { return from },
			want: []string{source + ".address: " + outside, source + ".port_value: " + strconv.Itoa(port)}},
		{name: "source.address heeds no header", door: "plain",
			lines: []string{"X-Forwarded-For: 10.0.0.1", "X-Envoy-External-Address: 10.0.0.1", "X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1"},
			want:  []string{source + ".address: " + office}},
		{name: "source.address heeds no header where Envoy trusts some", door: "internal", lines: []string{"X-Forwarded-For: 10.0.0.1"},
			want: []string{source + ".address: " + office}},
		{name: "source.address is what the PROXY protocol says", door: "proxied",
			raw:  "PROXY TCP4 10.1.2.3 10.9.9.9 4711 443\r\n" + head("GET / HTTP/1.1"),
			want: []string{source + ".address: 10.1.2.3", source + ".port_value: 4711", destination + ".address: 10.9.9.9", destination + ".port_value: 443"}},
		{name: "source.address of a socket is a pipe", over: func() net.Conn {
			conn, err := net.Dial("unix", l.scratch("door.sock"))
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}, want: []string{"source.address.pipe.path: " + l.scratch("door.sock"), "!" + source + ".address", "destination.address.pipe.path: " + l.scratch("door.sock")}},
		{name: "source.service is a header that clients can send", door: "plain", lines: []string{"x-envoy-downstream-service-cluster: root"},
			want: []string{"source.service: root"}},
		{name: "source.service where Envoy uses the peer's address", door: "remote", lines: []string{"x-envoy-downstream-service-cluster: root"},
			want: []string{"!source.service"}},
		{name: "source.service where the peer is internal", door: "internal", lines: []string{"x-envoy-downstream-service-cluster: root"},
			want: []string{"source.service: root"}},
		{name: "destination.address is where the client connected to", door: "plain",
			want: []string{destination + ".address: 127.0.0.1", destination + ".port_value: " + strconv.Itoa(l.port(t, "plain"))}},
		{name: "destination.labels are the node's metadata; what is no text is empty", door: "labels",
			want: []string{"destination.labels.zone: demo", "destination.labels.replicas: ", "destination.labels.deep: ", "!destination.labels.a"}},
		{name: "destination.labels without the key", door: "no labels", want: []string{"!destination.labels.zone"}},
		{name: "nothing of certificates in plain text", door: "plain",
			want: []string{"!source.principal", "!source.certificate", "!destination.principal", "!destination.certificate", "!destination.service", "!tls_session.sni"}},
		{name: "source.principal without a certificate", over: over("tls", nil),
			want: []string{"!source.principal", "!source.certificate", "destination.principal: spiffe://lab.example/ns/edge/sa/envoy", "!destination.certificate", "!destination.service"}},
		{name: "source.principal is the first URI", over: over("tls", l.certs.uris),
			want: []string{"source.principal: spiffe://lab.example/ns/shop/sa/web", "source.certificate: " + encoded(l.certs.uris.leaf)}},
		{name: "source.principal is else the first DNS name", over: over("tls", l.certs.dns),
			want: []string{"source.principal: one.lab.example", "source.certificate: " + encoded(l.certs.dns.leaf)}},
		{name: "source.principal is else the subject", over: over("tls", l.certs.subject),
			want: []string{`source.principal: CN=a\, b,O=Lab`, "source.certificate: " + encoded(l.certs.subject.leaf)}},
		{name: "source.certificate is the leaf alone", over: over("tls", l.certs.deep),
			want: []string{"source.principal: spiffe://lab.example/ns/shop/sa/web", "source.certificate: " + encoded(l.certs.deep.leaf)}},
		{name: "source.certificate and the SNI have an option each", over: over("tls without options", l.certs.uris),
			want: []string{"source.principal: spiffe://lab.example/ns/shop/sa/web", "!source.certificate", "!tls_session.sni"}},
		{name: "a certificate that nobody signed does not get that far", over: over("tls", l.certs.foreign),
			want: []string{"asked: 0", "answered: 0"}},
		{name: "without a validation context no certificate is asked for", over: over("tls that asks for nothing", l.certs.uris),
			want: []string{"asked: 1", "!source.principal", "!source.certificate"}},
		{name: "an empty validation context asks for no certificate", over: over("tls that checks nothing", l.certs.foreign),
			want: []string{"asked: 1", "!source.principal"}},
		{name: "ACCEPT_UNTRUSTED checks nothing, and the principal is there", over: over("tls that accepts all", l.certs.foreign),
			want: []string{"source.principal: spiffe://lab.example/ns/shop/sa/web"}},
		{name: "tls_session.sni is what the client says", over: func() net.Conn {
			conn, err := l.overTLS(t, "tls", "other.example", nil)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}, want: []string{"tls_session.sni: other.example", "request.http.host: lab.example"}},
	})
	t.Run("source.certificate is PEM, percent-encoded", func(t *testing.T) {
		l.will(allow(), nil)
		q := l.probe(t, probe{over: over("tls", l.certs.uris)}).only(t)
		text, err := url.PathUnescape(q.request.GetAttributes().GetSource().GetCertificate())
		if err != nil {
			t.Fatal(err)
		}
		if block, rest := pem.Decode([]byte(text)); block == nil || len(rest) > 0 || string(block.Bytes) != string(l.certs.uris.x509.Raw) {
			t.Errorf("the certificate is %q", text)
		}
	})
}

// encoded gives PEM as Envoy sends it: it leaves unreserved characters
// (RFC 3986 §2.3) as they are.
func encoded(pem []byte) string {
	var b strings.Builder
	for _, c := range pem {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// TestEnvoySaysWhatIsAsked is about the fields of the request itself.
func TestEnvoySaysWhatIsAsked(t *testing.T) {
	l := startLab(t,
		door{name: "plain", hcm: "{http_protocol_options: {accept_http_10: true, default_host_for_http_10: old.example, allow_custom_methods: true}, http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}"},
		door{name: "strict"},
		door{name: "raw", authz: "encode_raw_headers: true"},
		door{name: "some", authz: "allowed_headers: {patterns: [{exact: x-a}, {prefix: x-b}]}"},
		door{name: "most", authz: "disallowed_headers: {patterns: [{exact: x-a}, {exact: ':path'}, {exact: ':method'}]}"},
		door{name: "few", authz: "{allowed_headers: {patterns: [{prefix: x-}]}, disallowed_headers: {patterns: [{exact: x-a}]}}"},
		door{name: "scheme", hcm: "scheme_header_transformation: {scheme_to_overwrite: https}"},
		door{name: "tls", chain: secure},
		door{name: "trusting", hcm: "{use_remote_address: true, xff_num_trusted_hops: 1}"},
		door{name: "reject underscores", hcm: "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}"},
		door{name: "drop underscores", hcm: "common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}"},
	)
	const http = "request.http."
	l.run(t, []probe{
		{name: "method, path, host, scheme, protocol", door: "plain", line: "GET /a/b?c=d HTTP/1.1", lines: []string{"Host: Lab.example:81"},
			want: []string{http + "method: GET", http + "path: /a/b?c=d", http + "host: Lab.example:81", http + "scheme: http", http + "protocol: HTTP/1.1",
				"!" + http + "query", "!" + http + "fragment", "!" + http + "size", "!" + http + "body", "!" + http + "raw_body"}},
		{name: "HTTP/1.0", door: "plain", raw: "GET / HTTP/1.0\r\n\r\n", want: []string{http + "protocol: HTTP/1.0", http + "host: old.example"}},
		{name: "HTTP/2", door: "plain", http2: [][2]string{{":method", "POST"}}, body: "x", want: []string{http + "protocol: HTTP/2", http + "method: POST", "!" + http + "size"}},
		{name: "size is 0 with a body that is under way", door: "plain", line: "POST / HTTP/1.1", body: "12345", want: []string{"!" + http + "size"}},
		{name: "a method in lower case", door: "plain", line: "get / HTTP/1.1", want: []string{http + "method: get"}},
		{name: "a method that nobody knows", door: "plain", line: "FOO / HTTP/1.1", want: []string{http + "method: FOO"}},
		{name: "a method that nobody knows, by default", door: "strict", line: "FOO / HTTP/1.1", want: []string{"asked: 0", "answered: 400"}},
		{name: "a method that nobody knows, over HTTP/2", door: "strict", http2: [][2]string{{":method", "FOO"}}, want: []string{http + "method: FOO"}},
		{name: "scheme over TLS", over: func() net.Conn {
			conn, err := l.overTLS(t, "tls", "lab.example", nil)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}, want: []string{http + "scheme: https", http + "headers.:scheme: https", http + "headers.x-forwarded-proto: https"}},
		{name: "scheme over HTTP/2 is the connection's", door: "plain", http2: [][2]string{{":scheme", "https"}}, want: []string{http + "scheme: https"}},
		{name: "scheme follows a header of the client", door: "plain", lines: []string{"X-Forwarded-Proto: https"}, want: []string{http + "scheme: https", http + "headers.x-forwarded-proto: https"}},
		{name: "scheme where Envoy uses the peer's address", door: "trusting", lines: []string{"X-Forwarded-Proto: https"}, want: []string{http + "scheme: https"}},
		{name: "scheme that is overwritten", door: "scheme", want: []string{http + "scheme: https"}},
		{name: "an absolute target", door: "plain", line: "GET http://a.example:80/x HTTP/1.1", lines: []string{"Host: b.example"},
			want: []string{http + "host: a.example:80", http + "path: /x", http + "headers.:authority: a.example:80", "upstream: GET /x", "upstream.host: a.example:80"}},
		{name: "an absolute target without a path", door: "plain", line: "GET http://a.example HTTP/1.1", want: []string{http + "host: a.example", http + "path: /"}},
		{name: "an absolute target with another scheme", door: "plain", line: "GET https://a.example/x HTTP/1.1", want: []string{http + "scheme: https", http + "host: a.example"}},
		{name: "an absolute target with a user", door: "plain", line: "GET http://u:p@a.example/x HTTP/1.1", want: []string{http + "host: a.example"}},
		{name: "an absolute target with a fragment", door: "plain", line: "GET http://a.example/x#y HTTP/1.1", want: []string{"asked: 0", "answered: 400"}},
		{name: "an asterisk", door: "plain", line: "OPTIONS * HTTP/1.1", want: []string{"asked: 0", "answered: 404"}},
		{name: "an asterisk over HTTP/2", door: "plain", http2: [][2]string{{":method", "OPTIONS"}, {":path", "*"}}, want: []string{"asked: 0", "answered: 404"}},
		{name: "a path without a slash", door: "plain", line: "GET x HTTP/1.1", want: []string{"asked: 0", "answered: 400"}},
		{name: "a path without a slash over HTTP/2", door: "plain", http2: [][2]string{{":path", "x"}}, want: []string{"asked: 0", "answered: 0"}},
		{name: "a tunnel", door: "plain", line: "CONNECT a.example:443 HTTP/1.1", want: []string{"asked: 0", "answered: 404"}},
		{name: "a WebSocket over HTTP/2", door: "plain", http2: [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":path", "/x"}},
			want: []string{http + "method: GET", http + "path: /x", http + "headers.upgrade: websocket"}},
		{name: "a fragment", door: "plain", line: "GET /x#y HTTP/1.1", want: []string{"asked: 0", "answered: 400"}},

		{name: "headers", door: "plain", lines: []string{"X-Mixed: Case Stays", "X-A: 1", "x-b: 2", "X-a: 3,4", "X-Empty:"},
			want: []string{http + "headers.x-mixed: Case Stays", http + "headers.x-a: 1,3,4", http + "headers.x-b: 2", http + "headers.x-empty: ",
				http + "headers.:method: GET", http + "headers.:path: /", http + "headers.:authority: lab.example", http + "headers.:scheme: http",
				"!" + http + "headers.host", "!" + http + "header_map.x-a",
				"upstream.x-a: 1", "upstream.x-a: 3,4"}},
		{name: "header_map", door: "raw", lines: []string{"X-Mixed: Case Stays", "X-A: 1", "x-b: 2", "X-a: 3,4", "X-Empty:"},
			want: []string{http + "header_map.x-mixed: Case Stays", http + "header_map.x-a: 1", http + "header_map.x-a: 3,4", http + "header_map.x-empty: ",
				http + "header_map.:method: GET", http + "header_map.:path: /", "!" + http + "header_map.host", "!" + http + "headers.x-a"}},
		{name: "headers that are not UTF-8", door: "plain", lines: []string{"x-a: \xff\x80a\xc3\xa9"}, want: []string{http + "headers.x-a: !!aé", "upstream.x-a: \xff\x80a\xc3\xa9"}},
		{name: "header_map with bytes that are not UTF-8", door: "raw", lines: []string{"x-a: \xff\x80a\xc3\xa9"}, want: []string{http + "header_map.x-a: \xff\x80a\xc3\xa9"}},
		{name: "cookies in several lines", door: "plain", lines: []string{"Cookie: a=1", "Cookie: b=2"}, want: []string{http + "headers.cookie: a=1,b=2", "upstream.cookie: a=1", "upstream.cookie: b=2"}},
		{name: "cookies in several fields of HTTP/2", door: "plain", http2: [][2]string{{"cookie", "a=1"}, {"cookie", "b=2"}}, want: []string{http + "headers.cookie: a=1; b=2", "upstream.cookie: a=1; b=2"}},
		{name: "cookies in several fields of HTTP/2, raw", door: "raw", http2: [][2]string{{"cookie", "a=1"}, {"cookie", "b=2"}}, want: []string{http + "header_map.cookie: a=1; b=2"}},
		{name: "authorization twice, raw", door: "raw", lines: []string{"Authorization: Basic a", "Authorization: Basic b"}, want: []string{http + "header_map.authorization: Basic a,Basic b", "upstream.authorization: Basic a,Basic b"}},
		{name: "content-type twice, raw", door: "raw", lines: []string{"Content-Type: a/b", "Content-Type: c/d"}, want: []string{http + "header_map.content-type: a/b,c/d", "upstream.content-type: a/b,c/d"}},
		{name: "content-encoding twice, raw", door: "raw", lines: []string{"Content-Encoding: gzip", "Content-Encoding: br"}, want: []string{http + "header_map.content-encoding: gzip,br", "upstream.content-encoding: gzip,br"}},
		{name: "x-forwarded-client-cert twice is none", door: "raw", lines: []string{"X-Forwarded-Client-Cert: By=a", "X-Forwarded-Client-Cert: By=b"}, want: []string{"!" + http + "header_map.x-forwarded-client-cert"}},
		{name: "x-forwarded-for twice, raw", door: "raw", lines: []string{"X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2"}, want: []string{http + "header_map.x-forwarded-for: 10.0.0.1,10.0.0.2"}},
		{name: "expect, te and the like", door: "raw", lines: []string{"TE: trailers", "Keep-Alive: x", "Proxy-Connection: x", "Connection: close, x-a", "X-A: 1", "X-B: 2"},
			want: []string{"!" + http + "header_map.connection", "!" + http + "header_map.keep-alive", "!" + http + "header_map.proxy-connection", "!" + http + "header_map.x-a", http + "header_map.x-b: 2", http + "header_map.te: trailers", "!upstream.x-a"}},
		{name: "an odd option of the connection", door: "raw", lines: []string{"Connection: close, x-forwarded-for"}, want: []string{"asked: 0", "answered: 400"}},
		{name: "HTTP2-Settings and h2c", door: "raw", lines: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"},
			want: []string{"!" + http + "header_map.upgrade", "!" + http + "header_map.http2-settings", "!" + http + "header_map.connection", "answered: 200"}},
		{name: "an upgrade that is not configured", door: "strict", lines: []string{"Connection: Upgrade", "Upgrade: websocket"}, want: []string{"asked: 0", "answered: 403"}},
		{name: "an upgrade that is", door: "plain", line: "GET /x HTTP/1.1", lines: []string{"Connection: Upgrade", "Upgrade: websocket"},
			answer: denied(codes.PermissionDenied, 403), want: []string{http + "headers.upgrade: websocket", http + "headers.connection: Upgrade", "answered: 403"}},
		{name: "x-request-id of a client", door: "plain", lines: []string{"x-request-id: mine"}, want: []string{http + "headers.x-request-id: mine"}},
		{name: "underscores", door: "plain", lines: []string{"x_a: 1", "x-a: 2"}, want: []string{http + "headers.x_a: 1", http + "headers.x-a: 2"}},
		{name: "underscores that are rejected", door: "reject underscores", lines: []string{"x_a: 1"}, want: []string{"asked: 0", "answered: 400"}},
		{name: "underscores that are dropped", door: "drop underscores", lines: []string{"x_a: 1"}, want: []string{"asked: 1", "!" + http + "headers.x_a", "!upstream.x_a"}},
		{name: "x-envoy-auth-partial-body of a client", door: "raw", lines: []string{"x-envoy-auth-partial-body: false"}, want: []string{"!" + http + "header_map.x-envoy-auth-partial-body", "upstream.x-envoy-auth-partial-body: false"}},

		{name: "allowed_headers", door: "some", line: "GET /x HTTP/1.1", lines: []string{"x-a: 1", "x-beta: 2", "x-c: 3", "authorization: Basic x"},
			want: []string{http + "headers.x-a: 1", http + "headers.x-beta: 2", "!" + http + "headers.x-c", "!" + http + "headers.authorization", "!" + http + "headers.:path",
				http + "path: /x", http + "method: GET", http + "host: lab.example", http + "scheme: http"}},
		{name: "disallowed_headers", door: "most", line: "GET /x HTTP/1.1", lines: []string{"x-a: 1", "x-b: 2"},
			want: []string{"!" + http + "headers.x-a", http + "headers.x-b: 2", "!" + http + "headers.:path", "!" + http + "headers.:method", http + "path: /x", http + "method: GET"}},
		{name: "disallowed_headers win", door: "few", lines: []string{"x-a: 1", "x-b: 2"}, want: []string{"!" + http + "headers.x-a", http + "headers.x-b: 2"}},
	})
	t.Run("time and id", func(t *testing.T) {
		l.will(allow(), nil)
		before := time.Now()
		q := l.get(t, "plain", "x-request-id: 7").only(t).request.GetAttributes().GetRequest()
		if at := q.GetTime().AsTime(); at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
			t.Errorf("time is %v, sent at %v", at, before)
		}
		if n, err := strconv.ParseUint(q.GetHttp().GetId(), 10, 64); err != nil || n == 7 {
			t.Errorf("id is %q, want a number of Envoy's own", q.GetHttp().GetId())
		}
	})
}

// TestEnvoyNormalizesPaths shows for each setting of the HTTP connection
// manager which path Envoy asks about, and that the upstream gets the same.
func TestEnvoyNormalizesPaths(t *testing.T) {
	settings := []struct{ name, hcm string }{
		{"plain", "{}"},
		{"normalize", "normalize_path: true"},
		{"merge", "merge_slashes: true"},
		{"reject", "path_with_escaped_slashes_action: REJECT_REQUEST"},
		{"redirect", "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"},
		{"unescape", "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD"},
		{"all", "{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: REJECT_REQUEST}"},
		{"all unescaped", "{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}"},
	}
	var doors []door
	for _, s := range settings {
		doors = append(doors, door{name: s.name, hcm: s.hcm})
	}
	l := startLab(t, doors...)
	// For each path what becomes of it, in the order of the settings: the path
	// that Edict sees, "=" the same, or the status if it is not asked.
	for _, tt := range []struct {
		path string
		want string
	}{
		{"/a/b", "= = = = = = = ="},
		{"/a/../b", "= /b = = = = /b /b"},
		{"/a/./b", "= /a/b = = = = /a/b /a/b"},
		{"/../../b", "= /b = = = = /b /b"},
		{"/a/%2e%2E/b", "= /b = = = = /b /b"},
		{"/a/.%2e/b", "= /b = = = = /b /b"},
		{"/a/..;/b", "= /b = = = = /b /b"},
		{"/a/%252e%252e/b", "= = = = = = = ="},
		{"//a///b", "= = /a/b = = = /a/b /a/b"},
		{`/a\..\b`, `= /b = = = = /b /b`},
		{"/a%2Fb", "= = = 400 307 /a/b 400 /a/b"},
		{"/a%5cb", `= = = 400 307 /a\b 400 /a/b`},
		{"/a%2f..%2fb", "= = = 400 307 /a/../b 400 /b"},
		{"/a%252fb", "= = = = = = = ="},
		{"/a%00b", "= 400 = = = = 400 400"},
		{"/a%0ab", "= = = = = = = ="},
		{"/a%zzb", "= = = = = = = ="},
		{"/%41%7e%c3%a9", "= /A~%c3%a9 = = = = /A~%c3%a9 /A~%c3%a9"},
		{"/A/;x=1", "= = = = = = = ="},
		{"/a/%3f", "= = = = = = = ="},
		{"/a?x=/../y//z%2f", "= = = = = = = ="},
		{"/a/..?x=..", "= /?x=.. = = = = /?x=.. /?x=.."},
		{"/a b", "400 400 400 400 400 400 400 400"},
		{"/caf\xc3\xa9", "400 400 400 400 400 400 400 400"},
		{`/a"<>{}|^b`, "= /a%22%3C%3E%7B%7D%7C%5Eb = = = = /a%22%3C%3E%7B%7D%7C%5Eb /a%22%3C%3E%7B%7D%7C%5Eb"},
	} {
		for i, want := range strings.Fields(tt.want) {
			t.Run(settings[i].name+" "+tt.path, func(t *testing.T) {
				if want == "=" {
					want = tt.path
				}
				l.will(allow(), nil)
				e := l.lines(t, settings[i].name, "GET "+tt.path+" HTTP/1.1")
				got := strconv.Itoa(e.one().status)
				if len(e.asked) == 1 {
					got = e.asked[0].request.GetAttributes().GetRequest().GetHttp().GetPath()
					if len(e.reached) != 1 || e.reached[0].Target != got {
						t.Errorf("Edict is asked about %q, and what reaches the upstream is %+v", got, e.reached)
					}
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

// TestEnvoyNormalizesHosts does the same for hosts.
func TestEnvoyNormalizesHosts(t *testing.T) {
	settings := []struct{ name, hcm string }{
		{"plain", "{}"},
		{"any port", "strip_any_host_port: true"},
		{"matching port", "strip_matching_host_port: true"},
		{"dot", "strip_trailing_host_dot: true"},
		{"ignored port", "route_config: {ignore_port_in_host_matching: true}"},
	}
	var doors []door
	for _, s := range settings {
		doors = append(doors, door{name: s.name, hcm: s.hcm})
	}
	l := startLab(t, doors...)
	own := strconv.Itoa(l.port(t, "matching port"))
	for _, tt := range []struct{ host, want string }{
		{"lab.example", "= = = = ="},
		{"LAB.Example", "= = = = ="},
		{"lab.example:81", "= lab.example = = ="},
		{"lab.example:" + own, "= lab.example lab.example = ="},
		{"lab.example.", "= = = lab.example ="},
		{"lab.example.:81", "= lab.example. = lab.example:81 ="},
		{"lab.example..", "= = = lab.example. ="},
		{"[::1]:81", "= [::1] = = ="},
		{"a@b", "= = = = ="},
		{"a,b", "= = = = ="},
		{"a b", "400 400 400 400 400"},
		{"a/b", "400 400 400 400 400"},
		{"lab.example:x", "= = = = ="},
	} {
		for i, want := range strings.Fields(tt.want) {
			t.Run(settings[i].name+" "+tt.host, func(t *testing.T) {
				if want == "=" {
					want = tt.host
				}
				l.will(allow(), nil)
				e := l.get(t, settings[i].name, "Host: "+tt.host)
				got := strconv.Itoa(e.one().status)
				if len(e.asked) == 1 {
					got = e.asked[0].request.GetAttributes().GetRequest().GetHttp().GetHost()
				}
				if got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
}

// TestEnvoyHandsOnBodiesByRoute is about what TestEnvoyHandsOnBodies leaves
// open: text and bytes, settings of routes, upgrades.
func TestEnvoyHandsOnBodiesByRoute(t *testing.T) {
	route := func(prefix, settings string) string {
		return "{match: {prefix: " + prefix + "}, route: {cluster: upstream}, " + perRoute("check_settings: {"+settings+"}") + "}"
	}
	l := startLab(t,
		door{name: "none"},
		door{name: "text", authz: "with_request_body: {max_request_bytes: 10}",
			routes: "[" + route("/off", "disable_request_body_buffering: true") + "," +
				route("/longer", "with_request_body: {max_request_bytes: 20}") + "," +
				route("/partial", "with_request_body: {max_request_bytes: 5, allow_partial_message: true}") + "," +
				route("/bytes", "with_request_body: {max_request_bytes: 10, pack_as_bytes: true}") +
				", {match: {prefix: /}, route: {cluster: upstream}}]"},
		door{name: "bytes", authz: "with_request_body: {max_request_bytes: 10, pack_as_bytes: true}", hcm: "{upgrade_configs: [{upgrade_type: websocket}], http2_protocol_options: {allow_connect: true}}",
			routes: "[" + route("/text", "with_request_body: {max_request_bytes: 20}") + ", {match: {prefix: /}, route: {cluster: upstream}}]"},
		door{name: "none, but by route", authz: "encode_raw_headers: true",
			routes: "[" + route("/bytes", "with_request_body: {max_request_bytes: 10, pack_as_bytes: true}") + ", {match: {prefix: /}, route: {cluster: upstream}}]"},
		door{name: "open", authz: "{failure_mode_allow: true, with_request_body: {max_request_bytes: 10}}"},
	)
	const body, raw, partial = "request.http.body", "request.http.raw_body", "request.http.headers.x-envoy-auth-partial-body"
	const post = "POST / HTTP/1.1"
	l.run(t, []probe{
		{name: "without the option", door: "none", line: post, body: "12345", want: []string{"!" + body, "!" + raw, "!" + partial, "upstream body: 12345"}},
		{name: "as text", door: "text", line: post, body: "12345", want: []string{body + ": 12345", "!" + raw, partial + ": false"}},
		{name: "as text, with bytes that are not UTF-8", door: "text", line: post, body: "1\xff\x80é", want: []string{body + ": 1!!é", "upstream body: 1\xff\x80é"}},
		{name: "as bytes", door: "bytes", line: post, body: "1\xff\x80é", want: []string{raw + ": 1\xff\x80é", "!" + body, partial + ": false"}},
		{name: "at the limit", door: "bytes", line: post, body: "1234567890", want: []string{raw + ": 1234567890", partial + ": false"}},
		{name: "beyond the limit", door: "bytes", line: post, body: "1234567890+", want: []string{"asked: 0", "answered: 413", "upstream: nothing"}},
		{name: "beyond the limit, although failures allow", door: "open", line: post, body: "1234567890+", want: []string{"asked: 0", "answered: 413", "upstream: nothing"}},
		{name: "no body", door: "bytes", line: post, lines: []string{"Content-Length: 0"}, want: []string{"!" + body, "!" + raw, "!" + partial}},
		{name: "a body of no chunks", door: "bytes", line: post, lines: []string{"Transfer-Encoding: chunked"}, body: "0\r\n\r\n", want: []string{"!" + raw, partial + ": false"}},
		{name: "a route turns it off", door: "text", line: "POST /off HTTP/1.1", body: "12345", want: []string{"!" + body, "!" + partial, "upstream body: 12345"}},
		{name: "a route has another limit", door: "text", line: "POST /longer HTTP/1.1", body: "1234567890+", want: []string{body + ": 1234567890+"}},
		{name: "a route wants the beginning", door: "text", line: "POST /partial HTTP/1.1", body: "1234567890", want: []string{body + ": 12345", partial + ": true", "upstream body: 1234567890"}},
		{name: "pack_as_bytes of a route is not heeded", door: "text", line: "POST /bytes HTTP/1.1", body: "1\xff", want: []string{body + ": 1!", "!" + raw}},
		{name: "pack_as_bytes of a route is not heeded without the filter's either", door: "none, but by route", line: "POST /bytes HTTP/1.1", body: "1\xff", want: []string{body + ": 1!", "!" + raw}},
		{name: "pack_as_bytes of the filter holds for its routes", door: "bytes", line: "POST /text HTTP/1.1", body: "1\xff", want: []string{raw + ": 1\xff", "!" + body}},
		{name: "an upgrade is asked about at once", door: "bytes", line: "GET / HTTP/1.1", lines: []string{"Connection: Upgrade", "Upgrade: websocket"},
			answer: denied(codes.PermissionDenied, 403), want: []string{"asked: 1", "!" + raw, "!" + partial, "answered: 403"}},
		{name: "an upgrade over HTTP/2 is asked about at once", door: "bytes", http2: [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}}, body: "12345678901234567890",
			answer: denied(codes.PermissionDenied, 403), want: []string{"asked: 1", "!" + raw, "!" + partial, "answered: 403"}},
		{name: "compressed bytes are as sent", door: "bytes", line: post, lines: []string{"Content-Encoding: gzip"}, body: "\x1f\x8b\x08", want: []string{raw + ": \x1f\x8b\x08"}},
	})
}

// TestEnvoySaysWhatItsOperatorSaid is about context extensions and metadata.
func TestEnvoySaysWhatItsOperatorSaid(t *testing.T) {
	set := func(namespace, value string) string {
		return `{name: set, typed_config: {"@type": Config, metadata: [{metadata_namespace: ` + namespace + `, value: ` + value + `, allow_overwrite: true}]}}`
	}
	extended := func(match, extensions string) string {
		return "{match: {" + match + "}, route: {cluster: upstream}, " + perRoute("check_settings: {context_extensions: {"+extensions+"}}") + "}"
	}
	const typed = `{"@type": google.protobuf.Timestamp, value: "2026-01-01T00:00:00Z"}`
	l := startLab(t,
		door{name: "extensions", vhost: perRoute("check_settings: {context_extensions: {both: host, host: host}}"),
			hcm:    "route_config: {" + perRoute("check_settings: {context_extensions: {both: config, config: config}}") + "}",
			routes: "[" + extended("prefix: /a", "both: route, route: route") + ", {match: {prefix: /}, route: {cluster: upstream}}]"},
		door{name: "metadata", before: "[" + set("one", "{a: 1, b: [x, true, null], c: {d: e}}") + "," + set("two", "{a: b}") + "]",
			authz: "metadata_context_namespaces: [one, absent]"},
		door{name: "behind", after: "[" + set("one", "{a: 1}") + "]", authz: "metadata_context_namespaces: [one]"},
		door{name: "typed", before: `[{name: set, typed_config: {"@type": Config, metadata: [{metadata_namespace: one, typed_value: ` + typed + `}]}}]`,
			authz: "{metadata_context_namespaces: [one], typed_metadata_context_namespaces: [one]}"},
		door{name: "connection", listener: `
listener_filters: [{name: proxy, typed_config: {"@type": ProxyProtocol, rules: [{tlv_type: 0xE0, on_tlv_present: {key: vpc, metadata_namespace: one}}]}}]`,
			authz: "metadata_context_namespaces: [one]"},
		door{name: "both", before: "[" + set("one", "{a: request}") + "]", listener: `
listener_filters: [{name: proxy, typed_config: {"@type": ProxyProtocol, rules: [{tlv_type: 0xE0, on_tlv_present: {key: vpc, metadata_namespace: one}}]}}]`,
			authz: "metadata_context_namespaces: [one]"},
		door{name: "route", authz: "{route_metadata_context_namespaces: [one], route_typed_metadata_context_namespaces: [typed], metadata_context_namespaces: [one]}",
			vhost:  "metadata: {filter_metadata: {one: {host: yes}}}",
			routes: `[{match: {prefix: /}, route: {cluster: upstream}, metadata: {filter_metadata: {one: {id: r1}, two: {x: y}}, typed_filter_metadata: {typed: ` + typed + `, other: ` + typed + `}}}]`},
		door{name: "logging", authz: "filter_metadata: {a: b}"},
	)
	vpc := "\r\n\r\n\x00\r\nQUIT\n" + "\x21\x11" + "\x00\x13" + "\x7f\x00\x00\x01\x7f\x00\x00\x01\x10\x00\x20\x00" + "\xe0\x00\x04net1"
	l.run(t, []probe{
		{name: "context extensions, of a route with some", door: "extensions", line: "GET /a HTTP/1.1",
			want: []string{"context_extensions.both: route", "context_extensions.route: route", "context_extensions.host: host", "context_extensions.config: config"}},
		{name: "context extensions, of a route without", door: "extensions",
			want: []string{"context_extensions.both: host", "context_extensions.host: host", "context_extensions.config: config", "!context_extensions.route"}},
		{name: "metadata of the namespaces that are named", door: "metadata",
			want: []string{`metadata_context.filter_metadata.one: {"a":1,"b":["x",true,null],"c":{"d":"e"}}`, "!metadata_context.filter_metadata.two", "!metadata_context.filter_metadata.absent"}},
		{name: "metadata that is set later is not there", door: "behind", want: []string{"!metadata_context.filter_metadata.one", "metadata_context: {}"}},
		{name: "typed metadata", door: "typed", want: []string{"metadata_context.typed_filter_metadata.one: type.googleapis.com/google.protobuf.Timestamp 0880f2d6ca06", "!metadata_context.filter_metadata.one"}},
		{name: "metadata of the connection", door: "connection", raw: vpc + head("GET / HTTP/1.1"), want: []string{`metadata_context.filter_metadata.one: {"vpc":"net1"}`}},
		{name: "metadata of the request wins over the connection's", door: "both", raw: vpc + head("GET / HTTP/1.1"), want: []string{`metadata_context.filter_metadata.one: {"a":"request"}`}},
		{name: "metadata of the route", door: "route",
			want: []string{`route_metadata_context.filter_metadata.one: {"id":"r1"}`, "!route_metadata_context.filter_metadata.two",
				"route_metadata_context.typed_filter_metadata.typed: type.googleapis.com/google.protobuf.Timestamp 0880f2d6ca06", "!route_metadata_context.typed_filter_metadata.other",
				"!metadata_context.filter_metadata.one"}},
		{name: "filter_metadata of the filter is not sent", door: "logging", want: []string{"metadata_context: {}", "route_metadata_context: {}", "!context_extensions.a"}},
	})
}

// TestEnvoyCalls is about the call itself: its metadata, deadline, authority,
// retries, and end.
func TestEnvoyCalls(t *testing.T) {
	l := startLab(t,
		door{name: "plain"},
		door{name: "by default", authz: "grpc_service: {timeout: null}"},
		door{name: "marked", authz: "grpc_service: {initial_metadata: [{key: x-tenant, value: demo}, {key: x-path, value: '%REQ(:PATH)%'}]}"},
		door{name: "named", authz: "grpc_service: {envoy_grpc: {authority: edict.internal, skip_envoy_headers: true}}"},
		door{name: "retried", authz: `grpc_service: {retry_policy: {retry_on: "unavailable", num_retries: 1}}`},
		door{name: "short", authz: "{grpc_service: {timeout: 0.2s}, status_on_error: {code: ServiceUnavailable}}"},
		door{name: "short and open", authz: "{grpc_service: {timeout: 0.2s}, failure_mode_allow: true}"},
		door{name: "large", authz: "{with_request_body: {max_request_bytes: 5000000, pack_as_bytes: true}, status_on_error: {code: ServiceUnavailable}}", listener: "per_connection_buffer_limit_bytes: 6000000"},
	)
	unavailable := status.Error(codes.Unavailable, "no")
	l.run(t, []probe{
		{name: "metadata and authority", door: "plain", lines: []string{"X-Forwarded-For: 10.0.0.1", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
			want: []string{"call.:authority: authz", "call.x-envoy-internal: true", "call.content-type: application/grpc",
				"call.x-envoy-expected-rq-timeout-ms: 10000", "!call.x-request-id", "!call.traceparent"}},
		{name: "initial_metadata", door: "marked", line: "GET /x HTTP/1.1", want: []string{"call.x-tenant: demo", "call.x-path: /x"}},
		{name: "authority and skip_envoy_headers", door: "named", want: []string{"call.:authority: edict.internal", "!call.x-envoy-internal", "!call.x-forwarded-for", "call.x-envoy-expected-rq-timeout-ms: 10000"}},
		{name: "no retry by default", door: "plain", err: unavailable, want: []string{"asked: 1", "answered: 403"}},
		{name: "a retry where there is a policy", door: "retried", err: unavailable, want: []string{"asked: 2", "answered: 403"}},
		{name: "a call that is larger than gRPC accepts", door: "large", line: "POST / HTTP/1.1", body: strings.Repeat("x", 4_500_000), want: []string{"asked: 0", "answered: 503", "upstream: nothing"}},
	})
	t.Run("x-forwarded-for is Envoy's own address", func(t *testing.T) {
		l.will(allow(), nil)
		q := l.get(t, "plain", "X-Forwarded-For: 10.0.0.1").only(t)
		if v := q.metadata.Get("x-forwarded-for"); len(v) != 1 || v[0] == office || v[0] == "10.0.0.1" {
			t.Errorf("x-forwarded-for is %q", v)
		}
	})
	t.Run("200 ms by default", func(t *testing.T) {
		l.will(allow(), nil)
		q := l.get(t, "by default").only(t)
		if !q.limited || q.left > 200*time.Millisecond || q.left < 0 {
			t.Errorf("the deadline is there: %t, in %v", q.limited, q.left)
		}
	})
	// The deadline passes here and in Envoy at once; an allow could still count.
	forever := func(ctx context.Context) (*authv3.CheckResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	t.Run("a deadline that passes", func(t *testing.T) {
		l.act(forever)
		if e := l.get(t, "short"); e.one().status != 503 || len(e.reached) > 0 {
			t.Errorf("answered %d, want 503", e.one().status)
		}
	})
	t.Run("a deadline that passes, although failures allow", func(t *testing.T) {
		l.act(forever)
		if e := l.get(t, "short and open"); e.one().status != 200 || len(e.reached) != 1 {
			t.Errorf("answered %d, want 200: that is what failure_mode_allow means", e.one().status)
		}
	})
	t.Run("a client that goes away", func(t *testing.T) {
		began, ended := make(chan struct{}), make(chan error, 1)
		l.act(func(ctx context.Context) (*authv3.CheckResponse, error) {
			close(began)
			<-ctx.Done()
			ended <- ctx.Err()
			return allow(), nil
		})
		conn := l.connectTo(t, "plain")
		if _, err := conn.Write([]byte(head("GET / HTTP/1.1"))); err != nil {
			t.Fatal(err)
		}
		<-began
		conn.Close()
		if err := <-ended; err != context.Canceled {
			t.Errorf("the call ended by %v", err)
		}
	})
}

// TestEnvoyDoesNotAsk is about the requests that Edict never hears of.
func TestEnvoyDoesNotAsk(t *testing.T) {
	cors := `[{name: envoy.filters.http.cors, typed_config: {"@type": Cors}}]`
	jwt := `[{name: envoy.filters.http.jwt_authn, typed_config: {"@type": JwtAuthentication, providers: {p: {issuer: x, local_jwks: {inline_string: JWKS}}}, rules: [{match: {prefix: /}, requires: {provider_name: p}}]}}]`
	policy := `typed_per_filter_config: {envoy.filters.http.cors: {"@type": CorsPolicy, allow_origin_string_match: [{prefix: "https://"}], allow_methods: GET}}`
	l := startLab(t,
		door{name: "routes", routes: `[
{match: {path: /off}, route: {cluster: upstream}, ` + perRoute("disabled: true") + `},
{match: {prefix: /healthz}, route: {cluster: upstream}, ` + perRoute("disabled: true") + `},
{match: {path: /direct}, direct_response: {status: 202}},
{match: {path: /redirect}, redirect: {path_redirect: /x}},
{match: {prefix: /a}, route: {cluster: upstream}}]`},
		door{name: "host off", vhost: perRoute("disabled: true"), routes: `[
{match: {path: /on}, route: {cluster: upstream}, ` + perRoute("check_settings: {context_extensions: {a: b}}") + `},
{match: {prefix: /}, route: {cluster: upstream}}]`},
		door{name: "unmatched host", vhost: "domains: [known.example]"},
		door{name: "never", authz: "filter_enabled: {default_value: {numerator: 0}}"},
		door{name: "never, so deny", authz: "{filter_enabled: {default_value: {numerator: 0}}, deny_at_disable: {default_value: true, runtime_key: x}}"},
		door{name: "by metadata", authz: "filter_enabled_metadata: {filter: one, path: [{key: a}], value: {string_match: {exact: b}}}"},
		door{name: "cors first", before: cors, vhost: policy},
		door{name: "cors last", after: cors, vhost: policy},
		door{name: "jwt first", before: jwt},
		door{name: "rewriting", routes: `[{match: {prefix: /a}, route: {cluster: upstream, prefix_rewrite: /b, host_rewrite_literal: inner.example}}]`},
	)
	origin := []string{"Origin: https://a.example", "Access-Control-Request-Method: GET"}
	l.run(t, []probe{
		{name: "asks about a route", door: "routes", line: "GET /a HTTP/1.1", want: []string{"asked: 1", "answered: 200"}},
		{name: "no route", door: "routes", line: "GET /b HTTP/1.1", want: []string{"asked: 0", "answered: 404"}},
		{name: "no host", door: "unmatched host", want: []string{"asked: 0", "answered: 404"}},
		{name: "a route that turns it off", door: "routes", line: "GET /off HTTP/1.1", want: []string{"asked: 0", "answered: 200"}},
		{name: "a prefix that turns it off for more than meant", door: "routes", line: "GET /healthz-admin HTTP/1.1", want: []string{"asked: 0", "answered: 200"}},
		{name: "a prefix that turns it off for another path", door: "routes", line: "GET /healthz/../a HTTP/1.1", want: []string{"asked: 0", "answered: 200", "upstream: GET /healthz/../a"}},
		{name: "asks about a direct response", door: "routes", line: "GET /direct HTTP/1.1", answer: denied(codes.PermissionDenied, 403), want: []string{"asked: 1", "answered: 403"}},
		{name: "asks about a redirect", door: "routes", line: "GET /redirect HTTP/1.1", answer: denied(codes.PermissionDenied, 403), want: []string{"asked: 1", "answered: 403"}},
		{name: "a virtual host that turns it off", door: "host off", want: []string{"asked: 0", "answered: 200"}},
		{name: "a route of it that has settings", door: "host off", line: "GET /on HTTP/1.1", want: []string{"asked: 1", "context_extensions.a: b"}},
		{name: "a fraction of nothing allows", door: "never", want: []string{"asked: 0", "answered: 200"}},
		{name: "a fraction of nothing denies if told so", door: "never, so deny", want: []string{"asked: 0", "answered: 403"}},
		{name: "metadata that does not match allows", door: "by metadata", want: []string{"asked: 0", "answered: 200"}},
		{name: "a preflight that CORS answers", door: "cors first", line: "OPTIONS / HTTP/1.1", lines: origin, want: []string{"asked: 0", "answered: 200", "answer.access-control-allow-origin: https://a.example"}},
		{name: "a preflight that CORS would answer", door: "cors last", line: "OPTIONS / HTTP/1.1", lines: origin, answer: denied(codes.PermissionDenied, 403), want: []string{"asked: 1", "answered: 403", "!answer.access-control-allow-origin"}},
		{name: "a denial with CORS first", door: "cors first", lines: origin[:1], answer: denied(codes.PermissionDenied, 403), want: []string{"answered: 403", "answer.access-control-allow-origin: https://a.example"}},
		{name: "a denial with CORS last", door: "cors last", lines: origin[:1], answer: denied(codes.PermissionDenied, 403), want: []string{"answered: 403", "!answer.access-control-allow-origin"}},
		{name: "a token that jwt_authn refuses", door: "jwt first", lines: []string{"Authorization: Bearer x"}, want: []string{"asked: 0", "answered: 401"}},
		{name: "the path and host before the router changes them", door: "rewriting", line: "GET /a/x HTTP/1.1", want: []string{"request.http.path: /a/x", "request.http.host: lab.example", "upstream: GET /b/x", "upstream.host: inner.example"}},
	})
}

// TestEnvoyAsksAboutConnections is about the network filter.
func TestEnvoyAsksAboutConnections(t *testing.T) {
	network := func(more string) string {
		return `[{name: envoy.filters.network.ext_authz, typed_config: {"@type": NetworkExtAuthz, stat_prefix: lab, transport_api_version: V3, grpc_service: {timeout: 10s, envoy_grpc: {cluster_name: authz}}` + more + `}},
{name: tcp, typed_config: {"@type": TcpProxy, stat_prefix: tcp, cluster: upstream}}]`
	}
	l := startLabWith(t, "node: {id: lab, cluster: lab, metadata: {edict: {zone: demo}}}",
		door{name: "plain", network: network("")},
		door{name: "labels", network: network(", bootstrap_metadata_labels_key: edict")},
		door{name: "tls", network: network(", include_peer_certificate: true, include_tls_session: true"), chain: secure},
		door{name: "open", network: network(", failure_mode_allow: true")},
		door{name: "inspected", network: network(""), chain: secure, listener: `
listener_filters: [{name: inspector, typed_config: {"@type": TlsInspector}}]`},
	)
	over := func(door string, c *certificate) func() net.Conn {
		return func() net.Conn {
			conn, err := l.overTLS(t, door, "lab.example", c)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
	}
	broken := status.Error(codes.Unavailable, "no")
	l.run(t, []probe{
		{name: "there is no request", door: "plain", want: []string{"asked: 1", "answered: 200", "source.address.socket_address.address: 127.0.0.1",
			"!request.time", "!request.http.method", "!request.http", "!request", "!source.principal", "!destination.service", "!destination.labels.zone", "!metadata_context.filter_metadata"}},
		{name: "labels", door: "labels", want: []string{"destination.labels.zone: demo"}},
		{name: "certificates and the SNI", over: over("tls", l.certs.uris), want: []string{"source.principal: spiffe://lab.example/ns/shop/sa/web", "source.certificate: " + encoded(l.certs.uris.leaf),
			"destination.principal: spiffe://lab.example/ns/edge/sa/envoy", "!destination.service", "tls_session.sni: lab.example", "!request.http.method"}},
		{name: "destination.service is the SNI behind a TLS inspector", over: over("inspected", nil), want: []string{"destination.service: lab.example", "!tls_session.sni"}},
		{name: "a denial closes", door: "plain", answer: denied(codes.PermissionDenied, 403), want: []string{"asked: 1", "answered: 0", "upstream: nothing"}},
		{name: "a failure closes", door: "plain", err: broken, want: []string{"asked: 1", "answered: 0", "upstream: nothing"}},
		{name: "a failure allows if told so", door: "open", err: broken, want: []string{"asked: 1", "answered: 200"}},
		{name: "nothing at all allows", door: "plain", answer: &authv3.CheckResponse{}, want: []string{"answered: 200"}},
	})
	t.Run("nothing is asked before the client says something", func(t *testing.T) {
		l.will(allow(), nil)
		conn := l.connectTo(t, "plain")
		defer conn.Close()
		active := func() error {
			if n := l.stats(t, "listener.127.0.0.1_"+strconv.Itoa(l.port(t, "plain"))+".downstream_cx_active"); len(n) != 1 {
				return fmt.Errorf("%v", n)
			}
			return nil
		}
		eventually(t, "a connection that Envoy has accepted", active)
		if n := len(l.questions()); n != 0 {
			t.Errorf("Envoy asked %d times", n)
		}
		got := exchange(t, conn, []byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), 1)
		if len(got) != 1 || len(l.questions()) != 1 {
			t.Errorf("Envoy asked %d times, and there are %d answers", len(l.questions()), len(got))
		}
	})
}
