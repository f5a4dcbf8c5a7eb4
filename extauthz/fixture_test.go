package extauthz

import (
	"context"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/extauthz/routemap"
)

// The policies and routes that the tests ask. An album is read by its owner
// and by admins, listed by anybody with an identity, and previewed by anybody.
const (
	albumPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  rules:
    - name: admin-all
      actions: ["*"]
      effect: EFFECT_ALLOW
      roles: [admin]
    - name: owner-reads
      actions: [read]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.owner == P.id}}
    - name: list
      actions: [list]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: {match: {expr: '!("anonymous" in P.roles)'}}
    - name: preview
      actions: [preview]
      effect: EFFECT_ALLOW
      roles: ["*"]
    - name: small-upload
      actions: [upload]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.size < 100.0}}
    - name: broken
      actions: [broken]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.nothing == 1}}
`
	albumRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: albums
  routes:
    - name: list
      match: {methods: [GET], path: /albums}
      resource: {kind: album, id: all}
      action: list
    - name: read
      match: {methods: [GET], path: "/albums/{owner}/{id}"}
      resource: {kind: album, id: {expr: path.id}, attributes: {owner: {expr: path.owner}}}
      action: read
    - name: both
      match: {methods: [GET], path: "/both/{owner}"}
      resource: {kind: album, id: x, attributes: {owner: {expr: path.owner}}}
      actions: [list, read]
    - name: preview
      match: {methods: [GET], path: "/preview"}
      anonymous: true
      resource: {kind: album, id: preview}
      action: preview
    - name: anonymous-list
      match: {methods: [GET], path: "/open"}
      anonymous: true
      resource: {kind: album, id: all}
      action: list
    - name: upload
      match: {methods: [POST], path: /albums}
      resource: {kind: album, id: new, attributes: {size: {expr: request.body.size}}}
      action: upload
    - name: careless-upload
      match: {methods: [PUT], path: /albums}
      resource: {kind: album, id: new, attributes: {size: {expr: "has(request.body.size) || principal.id != \"\" ? 1.0 : 2.0"}}}
      action: upload
    - name: query
      match: {methods: [GET], path: /search}
      resource: {kind: album, id: {expr: request.query.id}}
      action: preview
    - name: claim
      match: {methods: [GET], path: /claim}
      resource: {kind: album, id: {expr: claims.tenant}}
      action: preview
    - name: broken
      match: {methods: [GET], path: /broken}
      resource: {kind: album, id: x}
      action: broken
    - name: grpc
      match: {grpc: {service: shop.v1.Albums, method: "*"}}
      resource: {kind: album, id: {expr: path.method}}
      action: list
`
)

var jwtOnly = Options{
	Identity:        []Source{{JWTMetadata: &JWTMetadata{}}},
	PrincipalHeader: "x-edict-principal",
	RolesHeader:     "x-edict-roles",
}

// compile makes a Revision of policies and routes given as text.
func compile(t testing.TB, o Options, policies, routes string) *Revision {
	t.Helper()
	c, err := NewCompiler(engine.Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return compileWith(t, c, policies, routes)
}

func compileWith(t testing.TB, c *Compiler, policies, routes string) *Revision {
	t.Helper()
	p := parsePolicies(t, policies)
	r, list := routemap.ParseAll([]folder.File{{Name: "routes.yaml", Content: []byte(routes)}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	rev, list := c.Compile("test", p, nil, r)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return rev
}

// parsePolicies reads policies, with a line --- between one and the next.
func parsePolicies(t testing.TB, text string) []*policy.Policy {
	t.Helper()
	var files []folder.File
	for i, content := range strings.Split(text, "\n---\n") {
		files = append(files, folder.File{Name: strings.Repeat("more-", i) + "album.yaml", Content: []byte(content)})
	}
	p, list := policyfile.ParseAll(files)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return p
}

func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	s := new(Server)
	s.Use(compile(t, o, albumPolicy, albumRoutes))
	return s
}

// A testRequest builds a CheckRequest as Envoy would send it.
type testRequest struct {
	method, path, host string
	headers            []string // "name: value"
	asMap              bool     // headers as a map, as without encode_raw_headers
	claims             map[string]any
	metadata           map[string]any // of jwt_authn, beside the claims
	body               string
	extensions         map[string]string
	source             string // address
	principal          string // of the peer's certificate
	certificate        string // of the peer, percent-encoded PEM
}

func get(path string) testRequest { return testRequest{method: "GET", path: path} }

func post(path, body string, headers ...string) testRequest {
	return testRequest{method: "POST", path: path, body: body, headers: append([]string{"content-type: application/json"}, headers...)}
}

// as gives the request the verified claims of a principal.
func (r testRequest) as(id string, roles ...any) testRequest {
	r.claims = map[string]any{"sub": id, "roles": roles, "iss": "https://idp.example.test"}
	return r
}

func (r testRequest) with(headers ...string) testRequest {
	r.headers = append(append([]string{}, r.headers...), headers...)
	return r
}

func (r testRequest) message(t testing.TB) *authv3.CheckRequest {
	t.Helper()
	if r.host == "" {
		r.host = "api.example.test"
	}
	http := &authv3.AttributeContext_HttpRequest{
		Id: "1", Method: r.method, Path: r.path, Host: r.host, Scheme: "https", Protocol: "HTTP/1.1", RawBody: []byte(r.body),
	}
	headers := append([]string{":method: " + r.method, ":path: " + r.path, ":authority: " + r.host, ":scheme: https"}, r.headers...)
	if r.asMap {
		http.Headers = map[string]string{}
	} else {
		http.HeaderMap = &corev3.HeaderMap{}
	}
	for _, h := range headers {
		name, text, ok := strings.Cut(h[1:], ": ")
		if !ok {
			t.Fatalf("header %q", h)
		}
		name = h[:1] + name
		if !r.asMap {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(text)})
		} else if before, dup := http.Headers[name]; dup {
			http.Headers[name] = before + "," + text // as Envoy joins them
		} else {
			http.Headers[name] = text
		}
	}
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request:           &authv3.AttributeContext_Request{Http: http},
		ContextExtensions: r.extensions,
	}}
	if r.source+r.principal+r.certificate != "" {
		in.Attributes.Source = &authv3.AttributeContext_Peer{
			Principal: r.principal, Certificate: r.certificate,
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: r.source}}},
		}
	}
	namespace := map[string]any{}
	if r.claims != nil {
		namespace["jwt"] = r.claims
	}
	for k, v := range r.metadata {
		namespace[k] = v
	}
	if len(namespace) > 0 {
		s, err := structpb.NewStruct(namespace)
		if err != nil {
			t.Fatal(err)
		}
		in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": s}}
	}
	return in
}

func (r testRequest) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.message(t))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check asks the server.
func check(t testing.TB, s *Server, r testRequest) *authv3.CheckResponse {
	t.Helper()
	return checkContext(context.Background(), t, s, r)
}

func checkContext(ctx context.Context, t testing.TB, s *Server, r testRequest) *authv3.CheckResponse {
	t.Helper()
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(s.AppendCheck(ctx, nil, r.bytes(t)), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// reason gives the reason in an answer's metadata, and its HTTP status: 200 of
// an allow.
func reason(out *authv3.CheckResponse) (string, int) {
	status := int(out.GetDeniedResponse().GetStatus().GetCode())
	if out.GetStatus().GetCode() == 0 {
		status = 200
	}
	return out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), status
}

func metadata(out *authv3.CheckResponse, key string) string {
	return out.GetDynamicMetadata().GetFields()[key].GetStringValue()
}

// upstream gives the headers that an allow sets, and those that it removes.
func upstream(out *authv3.CheckResponse) (set map[string]string, removed []string) {
	set = map[string]string{}
	for _, h := range out.GetOkResponse().GetHeaders() {
		set[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return set, out.GetOkResponse().GetHeadersToRemove()
}

// RaceDetector tells whether the test was built with -race.
func RaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}
