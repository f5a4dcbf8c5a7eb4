package extauthz

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"edict/extauthz/grpcbody"
)

// shopDescriptors are those of grpcbody's tests.
func shopDescriptors(t testing.TB) *grpcbody.Methods {
	t.Helper()
	b, err := os.ReadFile("grpcbody/testdata/shop.binpb")
	if err != nil {
		t.Fatal(err)
	}
	m, err := grpcbody.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// orderOf is the frame of an Order with an id and a number.
func orderOf(id string, number uint64) string {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), id)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), number)
	return string(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...))
}

func TestBodies(t *testing.T) {
	const (
		jsonType  = "application/json"
		formType  = "application/x-www-form-urlencoded"
		multipart = "multipart/form-data; boundary=b"
		grpcType  = "application/grpc"
		place     = "/shop.v1.Orders/Place"
	)
	parts := "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
	many := `{"role": "user"`
	for i := range 30 {
		many += fmt.Sprintf(`, "k%d": 1`, i)
	}
	order := orderOf("o1", 9007199254740993)
	for _, tt := range []struct {
		name, contentType, body, expr, want string
		rules                               string // of the route
		path                                string
		headers                             []string // instead of a content-length
		extensions                          map[string]string
	}{
		{name: "JSON", contentType: jsonType, body: `{"a": {"b": ["x"]}}`, expr: "request.body.a.b[0]", want: "x"},
		{name: "a name in another case alone", contentType: jsonType, body: `{"Role": "admin"}`, expr: `request.body.?role.orValue("user")`, want: "body_malformed body_name_case"},
		{name: "a name in two cases", contentType: jsonType, body: `{"role": "user", "ROLE": "admin"}`, expr: "request.body.role", want: "body_malformed body_name_case"},
		{name: "a name with a letter that folds", contentType: jsonType, body: `{"kind": "user", "` + "\u212a" + `ind": "admin"}`, expr: "request.body.kind", want: "body_malformed body_name_case"},
		{name: "two cases further down", contentType: jsonType, body: `{"a": [{"role": "user", "Role": "admin"}]}`, expr: "request.body.a[0].role", want: "body_malformed body_name_case"},
		{name: "two cases of a name that nobody reads", contentType: jsonType, body: `{"a": "x", "role": "user", "Role": "admin"}`, expr: "request.body.a", want: "x"},
		{name: "two cases among many names", contentType: jsonType, body: many + `, "Role": "admin"}`, expr: "request.body.role", want: "body_malformed body_name_case"},
		{name: "another case among many names", contentType: jsonType, body: many + `}`, expr: `request.body.?Role.orValue("user")`, want: "body_malformed body_name_case"},
		{name: "many names", contentType: jsonType, body: many + `}`, expr: "request.body.role", want: "user"},
		{name: "two cases, has()", contentType: jsonType, body: `{"Role": "admin"}`, expr: `has(request.body.role) ? "some" : "none"`, want: "body_malformed body_name_case"},
		{name: "a name twice, once escaped", contentType: jsonType, body: `{"role": "user", "\u0072ole": "admin"}`, expr: "request.body.role", want: "body_malformed body_malformed"},
		{name: "a byte order mark", contentType: jsonType, body: "\ufeff" + `{"a": "x"}`, expr: "request.body.a", want: "body_malformed body_malformed"},
		{name: "JSON by another name", contentType: "application/merge-patch+json", body: `{"a": "x"}`, expr: "request.body.a", want: "body_unsupported body_unsupported"},
		{name: "JSON by a name that the route has", contentType: "application/merge-patch+json", body: `{"a": "x"}`, expr: "request.body.a", want: "x",
			rules: "body: {format: json, contentTypes: [application/merge-patch+json]}"},
		{name: "JSON where the route reads forms", contentType: jsonType, body: `{"a": "x"}`, expr: "request.body.a", want: "body_unsupported body_unsupported", rules: "body: {format: form}"},
		{name: "lists of JSON", contentType: jsonType, body: `{"a": "x"}`, expr: "request.bodyLists.a[0]", want: "body_unsupported body_unsupported"},

		{name: "a form", contentType: formType, body: "a=x+y&b=%C3%A9", expr: "request.body.a + request.body.b", want: "x yé"},
		{name: "a form in UTF-8", contentType: formType + "; charset=UTF-8", body: "a=x", expr: "request.body.a", want: "x"},
		{name: "a form in another charset", contentType: formType + "; charset=latin1", body: "a=x", expr: "request.body.a", want: "body_unsupported body_unsupported"},
		{name: "a field twice", contentType: formType, body: "a=1&a=2", expr: `request.body.?a.orValue("none")`, want: "body_malformed body_field_repeated"},
		{name: "a field twice that nobody reads", contentType: formType, body: "a=1&a=2&b=x", expr: "request.body.b", want: "x"},
		{name: "a field twice, as a list", contentType: formType, body: "a=1&a=2", expr: `request.bodyLists.a.join("|")`, want: "1|2"},
		{name: "no such field", contentType: formType, body: "a=1", expr: `request.body.?b.orValue("none")`, want: "none"},
		{name: "a form with a semicolon", contentType: formType, body: "a=1;b=2", expr: "request.body.a", want: "body_malformed body_malformed"},
		{name: "a form where the route reads JSON", contentType: formType, body: "a=1", expr: "request.body.a", want: "body_unsupported body_unsupported", rules: "body: {format: json}"},
		{name: "a form of parts", contentType: multipart, body: parts, expr: `request.body.a + request.body.f.filename + string(request.body.f.size)`, want: "1x.txt5"},
		{name: "a form of parts, quoted boundary", contentType: `multipart/form-data; boundary="b"`, body: parts, expr: `request.bodyLists.a[0]`, want: "1"},
		{name: "a form of parts without a boundary", contentType: "multipart/form-data", body: parts, expr: `request.body.a`, want: "body_unsupported body_unsupported"},
		{name: "a form of parts with two boundaries", contentType: "multipart/form-data; boundary=b; boundary=c", body: parts, expr: `request.body.a`, want: "body_unsupported body_unsupported"},
		{name: "a form of parts, cut", contentType: multipart, body: parts[:60], expr: `request.body.a`, want: "body_malformed body_malformed"},
		{name: "a form of parts, something before", contentType: multipart, body: "x\r\n" + parts, expr: `request.body.a`, want: "body_malformed body_malformed"},

		{name: "gRPC", contentType: grpcType, path: place, body: order, expr: `request.body.id + " " + string(request.body.number) + " " + request.body.state`, want: "o1 9007199254740993 STATE_UNKNOWN"},
		{name: "gRPC, by its longer name", contentType: grpcType + "+proto", path: place, body: order, expr: "request.body.id", want: "o1"},
		{name: "gRPC in JSON", contentType: grpcType + "+json", path: place, body: order, expr: "request.body.id", want: "body_unsupported body_unsupported"},
		{name: "gRPC, for browsers", contentType: grpcType + "-web", path: place, body: order, expr: "request.body.id", want: "body_unsupported body_unsupported"},
		{name: "gRPC that nobody described", contentType: grpcType, path: "/shop.v1.Orders/Cancel", body: order, expr: "request.body.id", want: "body_unsupported body_unsupported"},
		{name: "gRPC, compressed", contentType: grpcType, path: place, body: "\x01" + order[1:], expr: "request.body.id", want: "body_unsupported body_unsupported"},
		{name: "gRPC, streamed", contentType: grpcType, path: "/shop.v1.Orders/Upload", body: order, expr: "request.body.id", want: "body_unsupported body_unsupported"},
		{name: "gRPC, two messages", contentType: grpcType, path: place, body: order + order, expr: "request.body.id", want: "body_malformed body_malformed"},
		{name: "gRPC, cut", contentType: grpcType, path: place, body: order[:8], expr: "request.body.id", want: "body_malformed body_malformed"},
		{name: "gRPC, an unknown field", contentType: grpcType, path: place, body: "\x00\x00\x00\x00\x03\x98\x06\x01", expr: "request.body.id", want: "body_malformed body_malformed"},
		{name: "gRPC, an unknown field that is ignored", contentType: grpcType, path: place, body: "\x00\x00\x00\x00\x06\x98\x06\x01\x0a\x01x", expr: "request.body.id", want: "x",
			rules: "body: {format: grpc, unknownFields: ignore}"},
		{name: "gRPC of unknown length", contentType: grpcType, path: place, body: order, expr: "request.body.id", want: "body_incomplete body_incomplete", headers: []string{}},
		{name: "gRPC below the limit", contentType: grpcType, path: place, body: order, expr: "request.body.id", want: "o1", headers: []string{}, rules: "body: {limit: 100}"},
		{name: "gRPC at the limit", contentType: grpcType, path: place, body: order, expr: "request.body.id", want: "body_incomplete body_incomplete", headers: []string{},
			rules: fmt.Sprintf("body: {limit: %d}", len(order))},
		{name: "gRPC that Envoy cut", contentType: grpcType, path: place, body: order, expr: "request.body.id", want: "body_incomplete body_incomplete",
			headers: []string{"x-envoy-auth-partial-body: true"}, rules: "body: {limit: 100}"},
		{name: "a limit of the Envoy route that outweighs", contentType: formType, body: "a=x", expr: "request.body.a", want: "body_incomplete body_incomplete", headers: []string{},
			rules: "body: {limit: 100}", extensions: map[string]string{"body_limit": "3"}},
		{name: "a form of unknown length", contentType: formType, body: "a=x", expr: "request.body.a", want: "body_incomplete body_incomplete", headers: []string{}},
		{name: "no body", contentType: formType, expr: "request.body.a", want: "body_missing body_missing"},
		{name: "an encoded form", contentType: formType, body: "a=x", expr: "request.body.a", want: "body_unsupported body_unsupported", headers: []string{"content-length: 3", "content-encoding: gzip"}},
		{name: "no content-type", body: "a=x", expr: "request.body.a", want: "body_unsupported body_unsupported"},
	} {
		r := testRequest{method: "POST", path: "/x", body: tt.body, headers: tt.headers, extensions: tt.extensions}
		if tt.path != "" {
			r.path = tt.path
		}
		if tt.headers == nil {
			r.headers = []string{fmt.Sprintf("content-length: %d", len(tt.body))}
		}
		if tt.contentType != "" {
			r = r.with("content-type: " + tt.contentType)
		}
		if got := readWith(t, Options{Descriptors: shopDescriptors(t)}, tt.expr, tt.rules, r.message(t)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What can be known of bodies when a route is loaded is known then.
func TestBodyDiagnostics(t *testing.T) {
	described := Options{Descriptors: shopDescriptors(t)}
	for name, tt := range map[string]struct {
		o             Options
		match, more   string
		message, hint string
	}{
		"no descriptors": {Options{}, "grpc: {service: shop.v1.Orders, method: Place}", "",
			"the messages of gRPC calls can't be read without descriptors", "name a descriptor set in the configuration: body.protoDescriptors"},
		"unknown service": {described, "grpc: {service: shop.v1.Order, method: '*'}", "",
			"no descriptor set has the service shop.v1.Order", "add the set that has it to body.protoDescriptors"},
		"unknown method": {described, "grpc: {service: shop.v1.Orders, method: Cancel}", "",
			"the service shop.v1.Orders has no method Cancel in the descriptor sets", "correct the method, or make the descriptor set anew"},
		"stream": {described, "grpc: {service: shop.v1.Orders, method: Upload}", "",
			"the client of Upload sends a stream of messages, which are not read", "decide by what the call begins with: its path and headers"},
		"another format": {described, "grpc: {service: shop.v1.Orders, method: Place}", "body: {format: json}, ",
			"a gRPC method has no body in the format json", "remove format"},
		"content-types of forms": {described, "path: /a", "body: {format: form, contentTypes: [text/x]}, ",
			"content-types can be added to those of JSON alone", "write format: json, or remove contentTypes"},
		"unknown fields of JSON": {described, "path: /a", "body: {format: json, unknownFields: ignore}, ",
			"unknownFields is about gRPC messages, and the route reads others", "write format: grpc, or remove unknownFields"},
		"sound":             {described, "grpc: {service: shop.v1.Orders, method: Place}", "body: {unknownFields: ignore}, ", "", ""},
		"sound, all":        {described, "grpc: {service: shop.v1.Orders, method: '*'}", "", "", ""},
		"sound, by path":    {described, "path: /shop.v1.Orders/Place", "body: {format: grpc, unknownFields: refuse}, ", "", ""},
		"an unknown format": {described, "path: /a", "body: {format: jsn}, ", `format can't be "jsn"`, `did you mean "json"?`},
		"no limit":          {described, "path: /a", "body: {limit: 0}, ", "the limit is a number of bytes, at least 1", "write Envoy's max_request_bytes, or leave it out"},
		"no media type": {described, "path: /a", "body: {format: json, contentTypes: [JSON]}, ", `"JSON" is not a media type`,
			"write type and subtype in lower case, without parameters, as in application/merge-patch+json"},
	} {
		list := compileErrors(t, tt.o, "apiVersion: edict.dev/v1\nrouteMap:\n  name: x\n  routes:\n    - {name: r, match: {"+tt.match+"}, "+tt.more+
			"resource: {kind: album, id: {expr: request.body.id}}, action: list}\n")
		if tt.message == "" {
			if len(list) > 0 {
				t.Errorf("%s: got\n%s", name, list.Render())
			}
			continue
		}
		if len(list) != 1 || list[0].Message != tt.message || list[0].Hint != tt.hint || list[0].Pos.Line != 5 {
			t.Errorf("%s: got\n%s", name, list.Render())
		}
	}
}
