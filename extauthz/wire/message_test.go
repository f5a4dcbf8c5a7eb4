package wire

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const jwtNamespace = "envoy.filters.http.jwt_authn"

// realistic gives a message as Envoy sends one for a browser's API call over
// mutual TLS, after jwt_authn, with the headers in either form.
func realistic(rawHeaders bool) *authv3.CheckRequest {
	fields := [][2]string{
		{":authority", "shop.example.com"},
		{":method", "GET"},
		{":path", "/api/v1/orders/8f14e45f?expand=items&lang=de"},
		{":scheme", "https"},
		{"accept", "application/json, text/plain, */*"},
		{"accept-encoding", "gzip, deflate, br, zstd"},
		{"accept-language", "de-DE,de;q=0.9,en;q=0.8"},
		{"authorization", "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UifQ.c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU"},
		{"content-length", "0"},
		{"cookie", "session=0f4b1b0e2a; theme=dark; consent=all"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
		{"x-envoy-external-address", "203.0.113.7"},
		{"x-forwarded-client-cert", "By=spiffe://example.com/ns/shop/sa/orders;Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688;URI=spiffe://example.com/ns/shop/sa/web"},
		{"x-forwarded-for", "203.0.113.7"},
		{"x-forwarded-proto", "https"},
		{"x-request-id", "4e6a0d6e-7a14-4f0b-9f0a-0d5f6c2d8f11"},
	}
	claims, err := structpb.NewStruct(map[string]any{
		"iss": "https://id.example.com", "sub": "alice", "aud": []any{"shop", "billing"},
		"exp": 1790000000.0, "iat": 1789996400.0, "email": "alice@example.com", "email_verified": true,
		"groups": []any{"employees", "sales", "eu"}, "scope": "orders:read orders:write", "act": nil,
		"realm_access": map[string]any{"roles": []any{"user", "manager"}},
	})
	if err != nil {
		panic(err)
	}
	http := &authv3.AttributeContext_HttpRequest{
		Id: "10229384756", Method: "GET", Path: fields[2][1], Host: fields[0][1], Scheme: "https", Protocol: "HTTP/2",
	}
	if rawHeaders {
		http.HeaderMap = &corev3.HeaderMap{}
		for _, f := range fields {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: f[0], RawValue: []byte(f[1])})
		}
	} else {
		http.Headers = map[string]string{}
		for _, f := range fields {
			http.Headers[f[0]] = f[1]
		}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{
			Address: socket("203.0.113.7", 51234), Principal: "spiffe://example.com/ns/shop/sa/web",
			Certificate: "-----BEGIN%20CERTIFICATE-----%0AMIIB%2Bzc%0A-----END%20CERTIFICATE-----%0A",
		},
		Destination: &authv3.AttributeContext_Peer{
			Address: socket("10.0.0.4", 8443), Principal: "spiffe://example.com/ns/shop/sa/orders",
			Labels: map[string]string{"app": "orders", "version": "v2"},
		},
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.New(time.Date(2026, 9, 1, 12, 0, 0, 123456789, time.UTC)), Http: http,
		},
		ContextExtensions:    map[string]string{"route": "orders", "body_limit": "8192"},
		MetadataContext:      &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{jwtNamespace: {Fields: map[string]*structpb.Value{"jwt": structpb.NewStructValue(claims)}}}},
		RouteMetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"edict": {Fields: map[string]*structpb.Value{"owner": structpb.NewStringValue("orders-team")}}}},
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: "shop.example.com"},
	}}
}

func socket(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
}

// odd gives a message that uses what realistic ones leave out.
func odd() *authv3.CheckRequest {
	m := realistic(true)
	a := m.Attributes
	a.Source.Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/run/envoy.sock", Mode: 0o600}}}
	a.Source.Service = "web"
	a.Destination.Address = &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
		AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "inner"}, EndpointId: "e"}}}
	h := a.Request.Http
	h.Headers = map[string]string{"cookie": "map=1", "x-only-in-map": "ü", "": "no name"}
	h.HeaderMap.Headers = append(h.HeaderMap.Headers,
		&corev3.HeaderValue{Key: "cookie", RawValue: []byte("second=\xff")},
		&corev3.HeaderValue{Key: "x-text", Value: "text"},
		&corev3.HeaderValue{Key: "x-both", Value: "text", RawValue: []byte("raw")},
		&corev3.HeaderValue{})
	h.Query, h.Fragment, h.Size, h.Body, h.RawBody = "q", "f", -1, "text", []byte{0, 0xff}
	a.Request.Time = &timestamppb.Timestamp{Seconds: -1, Nanos: 1}
	a.MetadataContext.FilterMetadata["empty"] = &structpb.Struct{}
	a.MetadataContext.FilterMetadata["kinds"] = &structpb.Struct{Fields: map[string]*structpb.Value{
		"unset": {}, "empty list": structpb.NewListValue(&structpb.ListValue{}), "empty struct": structpb.NewStructValue(&structpb.Struct{}),
		"false": structpb.NewBoolValue(false), "": structpb.NewStringValue(""), "zero": structpb.NewNumberValue(0),
		"lists": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
			structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{{}, structpb.NewBoolValue(true)}}),
			structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"a": structpb.NewNumberValue(-0.5)}}),
			structpb.NewNullValue(),
		}}),
	}}
	a.MetadataContext.TypedFilterMetadata = map[string]*anypb.Any{"typed": {TypeUrl: "type.example/t", Value: []byte{0xff}}}
	return m
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
