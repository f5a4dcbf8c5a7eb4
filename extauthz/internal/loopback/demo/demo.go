// Package demo gives the checks that Envoy sends in the demo, and the policies
// and routes that answer them. It is what the benchmarks work with.
//
// What always holds here:
//
//  1. Each Check says how it must be answered, so that whoever measures can
//     verify every answer: a server that denies everything is quick.
//  2. The answer depends on no clock: it is the same at any hour.
package demo

import (
	"fmt"
	"os"
	"path/filepath"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// Policies reads the demo's policies. Root is the folder of the repository.
func Policies(root string) ([]*policy.Policy, error) {
	name := filepath.Join(root, "policies")
	files, list := folder.Read(os.DirFS(name), name, policyfile.Skip)
	policies, more := policyfile.ParseAll(files)
	return policies, asError(append(list, more...))
}

// Revision compiles the demo's policies and routes with the options of
// envoy/edict.yaml. Root is the folder of the repository.
func Revision(root string) (*extauthz.Revision, error) {
	policies, err := Policies(root)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(root, "envoy", "routes")
	files, list := folder.Read(os.DirFS(name), name, nil)
	routes, more := routemap.ParseAll(files)
	if err := asError(append(list, more...)); err != nil {
		return nil, err
	}
	compiler, err := extauthz.NewCompiler(engine.Options{}, extauthz.Options{
		Identity:        []extauthz.Source{{JWTMetadata: &extauthz.JWTMetadata{}}},
		PrincipalHeader: "x-edict-principal",
		RolesHeader:     "x-edict-roles",
	})
	if err != nil {
		return nil, err
	}
	revision, list := compiler.Compile("demo", policies, nil, routes)
	return revision, asError(list)
}

func asError(list diag.List) error {
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("the demo's policies and routes do not load:\n%s", list.Render())
}

// A Check is a CheckRequest and how it must be answered.
type Check struct {
	Name    string
	Request []byte // encoded
	Code    codes.Code
	Reason  string // in the answer's metadata
	Rule    string // that decides; empty if none does
}

// Verify tells what is wrong with the answer to the check, an encoded
// CheckResponse.
func (c *Check) Verify(answer []byte) error {
	var r authv3.CheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("%s: the answer cannot be decoded: %w", c.Name, err)
	}
	if r.Status == nil {
		return fmt.Errorf("%s: the answer has no status", c.Name)
	}
	metadata := r.GetDynamicMetadata().GetFields()
	code, reason, rule := codes.Code(r.Status.Code), metadata["reason"].GetStringValue(), metadata["rule"].GetStringValue()
	if code != c.Code || reason != c.Reason || rule != c.Rule {
		return fmt.Errorf("%s: answered %v, reason %q, rule %q; want %v, reason %q, rule %q",
			c.Name, code, reason, rule, c.Code, c.Reason, c.Rule)
	}
	if allowed := r.GetOkResponse() != nil; allowed != (c.Code == codes.OK) {
		return fmt.Errorf("%s: status %v with the response of the other kind", c.Name, code)
	}
	return nil
}

// Checks gives checks as Envoy sends them with the demo's configuration. Raw
// headers come as header_map, as with encode_raw_headers, which the demo sets;
// others as a map.
func Checks(rawHeaders bool) []Check {
	alice := person{"alice", []any{"employee"}, []any{"emea"}, 0}
	bob := person{"bob", []any{"employee", "manager"}, []any{"emea"}, 1000}
	carol := person{"carol", []any{"auditor"}, nil, 0}
	const denied = codes.PermissionDenied
	out := []Check{
		{Name: "owner reads", Code: codes.OK, Rule: "owner-reads-own",
			Request: encode(rawHeaders, &alice, "GET", "/expenses/emea/alice/1", "")},
		{Name: "manager totals", Code: codes.OK, Rule: "manager-reads-own-region",
			Request: encode(rawHeaders, &bob, "GET", "/totals?region=emea", "")},
		{Name: "auditor reads", Code: codes.OK, Rule: "auditor-reads-from-office",
			Request: encode(rawHeaders, &carol, "GET", "/expenses/apac/dave/7", "")},
		{Name: "employee creates", Code: codes.OK, Rule: "employee-creates-in-own-region",
			Request: encode(rawHeaders, &alice, "POST", "/expenses", `{"region":"emea","department":"engineering","amount":64.2}`)},
		{Name: "manager approves", Code: codes.OK, Rule: "manager-approves-within-limit",
			Request: encode(rawHeaders, &bob, "POST", "/expenses/emea/alice/2/approve", `{"amount":260}`)},
		{Name: "stranger reads", Code: denied,
			Request: encode(rawHeaders, &alice, "GET", "/expenses/apac/dave/7", "")},
		{Name: "owner approves", Code: denied, Rule: "nobody-approves-their-own",
			Request: encode(rawHeaders, &bob, "POST", "/expenses/emea/bob/3/approve", `{"amount":80}`)},
		{Name: "nobody reads", Code: codes.Unauthenticated, Reason: "no_identity",
			Request: encode(rawHeaders, nil, "GET", "/expenses/emea/alice/1", "")},
	}
	for i := range out {
		c := &out[i]
		if c.Reason == "" {
			c.Reason = extauthz.DeniedByPolicy.String()
		}
		if c.Code == codes.OK {
			c.Reason = extauthz.Allowed.String()
		}
	}
	return out
}

type person struct {
	id      string
	roles   []any
	regions []any
	limit   float64
}

// claims are those of an identity provider's access token: the ones the
// policies read, among others.
func (p *person) claims() *structpb.Struct {
	claims := map[string]any{
		"iss": "https://idp.edict.example/", "aud": "expenses", "sub": p.id,
		"iat": 1790000000.0, "exp": 1790028800.0, "nbf": 1790000000.0,
		"jti": "3f0c9c7e-7f3f-4c5e-9c58-6c0f3b6c2b11", "azp": "expenses-web", "scope": "openid profile email",
		"email": p.id + "@edict.example", "email_verified": true,
		"roles": p.roles,
	}
	if p.regions != nil {
		claims["regions"] = p.regions
	}
	if p.limit > 0 {
		claims["approvalLimit"] = p.limit
	}
	s, err := structpb.NewStruct(claims)
	if err != nil {
		panic(err) // the claims above are all of JSON's types
	}
	return s
}

// encode gives the check about a browser's request. A nil person has no token;
// an empty body is not sent.
func encode(rawHeaders bool, who *person, method, path, body string) []byte {
	headers := [][2]string{
		{":authority", "expenses.edict.example"},
		{":path", path},
		{":method", method},
		{":scheme", "http"},
		{"accept", "application/json, text/plain, */*"},
		{"accept-encoding", "gzip, deflate, br, zstd"},
		{"accept-language", "en-GB,en;q=0.9,de;q=0.8"},
		{"cache-control", "no-cache"},
		{"cookie", "session=0f4b1b0e2a7d4a2c9a0e; theme=dark"},
		{"origin", "http://expenses.edict.example"},
		{"referer", "http://expenses.edict.example/overview"},
		{"sec-fetch-mode", "cors"},
		{"sec-fetch-site", "same-origin"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		{"x-forwarded-for", "127.0.0.1"},
		{"x-forwarded-proto", "http"},
		{"x-envoy-internal", "true"},
		{"x-request-id", "4e6a0d6e-7a14-4f0b-9f0a-0d5f6c2d8f11"},
	}
	http := &authv3.AttributeContext_HttpRequest{
		Id: "10229384756271839401", Method: method, Path: path, Host: headers[0][1], Scheme: "http", Protocol: "HTTP/1.1",
	}
	context := map[string]string(nil)
	if body != "" {
		headers = append(headers, [2]string{"content-type", "application/json"}, [2]string{"content-length", fmt.Sprint(len(body))},
			[2]string{"x-envoy-auth-partial-body", "false"})
		http.RawBody, http.Size = []byte(body), int64(len(body))
		context = map[string]string{"body_limit": "8192"}
	}
	if rawHeaders {
		http.HeaderMap = new(corev3.HeaderMap)
		for _, h := range headers {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
		}
	} else {
		http.Headers = make(map[string]string)
		for _, h := range headers {
			http.Headers[h[0]] = h[1]
		}
	}
	attributes := &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: socket(45012)},
		Destination: &authv3.AttributeContext_Peer{Address: socket(10000)},
		Request: &authv3.AttributeContext_Request{
			Time: &timestamppb.Timestamp{Seconds: 1790000100, Nanos: 123456000}, Http: http,
		},
		ContextExtensions:    context,
		MetadataContext:      new(corev3.Metadata),
		RouteMetadataContext: new(corev3.Metadata),
	}
	if who != nil {
		attributes.MetadataContext.FilterMetadata = map[string]*structpb.Struct{
			"envoy.filters.http.jwt_authn": {Fields: map[string]*structpb.Value{"jwt": structpb.NewStructValue(who.claims())}},
		}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&authv3.CheckRequest{Attributes: attributes})
	if err != nil {
		panic(err) // the message above is complete and all text
	}
	return b
}

func socket(port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
}
