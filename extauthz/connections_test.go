package extauthz

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/extauthz/routemap"
)

// The connections that the tests ask for: shops may connect to the orders'
// database, the port 9000 is anybody's, and the rest is known but nobody's.
const (
	databasePolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: database
  version: default
  rules:
    - name: shops
      actions: [connect]
      effect: EFFECT_ALLOW
      roles: [workload]
      condition: {match: {expr: 'R.id == "orders" && P.attr.namespace == "shop"'}}
    - name: open
      actions: [connect]
      effect: EFFECT_ALLOW
      roles: [anonymous]
      condition: {match: {expr: 'R.id == "open"'}}
`
	databaseRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: data
  connections:
    - name: orders
      match: {sni: [orders.db.example], destinationPorts: [5432, 5433]}
      resource: {kind: database, id: orders, attributes: {peer: {expr: request.source.principal}, sni: {expr: request.sni}}}
      action: connect
    - name: orders-other-ports
      match: {sni: [orders.db.example]}
      resource: {kind: database, id: closed}
      action: connect
    - name: any-db
      match: {sni: ["*.db.example"], destinationPorts: [5432]}
      resource: {kind: database, id: {expr: request.sni}}
      action: connect
    - name: deeper
      match: {sni: ["*.eu.db.example"]}
      resource: {kind: database, id: {expr: 'request.destination.port == 5432 ? "eu" : "eu-other"'}}
      action: connect
    - name: open
      match: {destinationPorts: [9000]}
      anonymous: true
      resource: {kind: database, id: open}
      action: connect
    - name: proxied
      match: {destinationPorts: [9001]}
      anonymous: true
      resource: {kind: database, id: {expr: 'request.metadata["envoy.filters.listener.proxy_protocol"].target'}}
      action: connect
`
)

// A testConnection builds a CheckRequest as Envoy's network filter sends it.
type testConnection struct {
	sni, principal string
	port           uint32
	noSession      bool // include_tls_session is off
	metadata       map[string]any
}

func (c testConnection) message(t *testing.T) *authv3.CheckRequest {
	t.Helper()
	address := func(ip string, port uint32) *corev3.Address {
		return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
	}
	a := &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address("10.1.2.3", 40000), Principal: c.principal},
		Destination: &authv3.AttributeContext_Peer{Address: address("10.0.0.1", c.port), Service: c.sni},
	}
	if !c.noSession {
		a.TlsSession = &authv3.AttributeContext_TLSSession{Sni: c.sni}
	}
	if c.metadata != nil {
		s, err := structpb.NewStruct(c.metadata)
		if err != nil {
			t.Fatal(err)
		}
		a.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.listener.proxy_protocol": s}}
	}
	return &authv3.CheckRequest{Attributes: a}
}

func connect(t *testing.T, s *Server, c testConnection) *authv3.CheckResponse {
	t.Helper()
	b, err := proto.Marshal(c.message(t))
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, s.AppendCheck(t.Context(), nil, b))
}

func TestConnections(t *testing.T) {
	const shop, other = "spiffe://mesh.example/ns/shop/sa/web", "spiffe://mesh.example/ns/other/sa/web"
	s := new(Server)
	s.Use(compile(t, Options{Identity: []Source{
		{MTLS: &MTLS{Workload{TrustDomains: []string{"mesh.example"}, DefaultRoles: []string{"workload"}}}},
		{Headers: &TrustedHeaders{ID: "x-user"}},
	}, PrincipalHeader: "x-edict-principal"}, databasePolicy, databaseRoutes))
	for _, tt := range []struct {
		name   string
		c      testConnection
		reason string
		route  string
	}{
		{"allowed", testConnection{sni: "orders.db.example", port: 5432, principal: shop}, "allow", "data/orders"},
		{"the name as the service alone", testConnection{sni: "orders.db.example", port: 5433, principal: shop, noSession: true}, "allow", "data/orders"},
		{"in capitals", testConnection{sni: "Orders.DB.Example", port: 5432, principal: shop}, "allow", "data/orders"},
		{"another workload", testConnection{sni: "orders.db.example", port: 5432, principal: other}, "deny", "data/orders"},
		{"another trust domain", testConnection{sni: "orders.db.example", port: 5432, principal: "spiffe://evil.example/ns/shop/sa/web"}, "bad_identity", "data/orders"},
		{"no certificate", testConnection{sni: "orders.db.example", port: 5432}, "no_identity", "data/orders"},
		{"another port", testConnection{sni: "orders.db.example", port: 1, principal: shop}, "deny", "data/orders-other-ports"},
		{"suffix", testConnection{sni: "a.db.example", port: 5432, principal: shop}, "deny", "data/any-db"},
		{"suffix of two labels", testConnection{sni: "b.a.db.example", port: 5432, principal: shop}, "deny", "data/any-db"},
		{"the longest suffix", testConnection{sni: "a.eu.db.example", port: 5432, principal: shop}, "deny", "data/deeper"},
		{"the suffix itself is no name below it", testConnection{sni: "db.example", port: 5432, principal: shop}, "no_route", ""},
		{"suffix, another port", testConnection{sni: "a.db.example", port: 1, principal: shop}, "no_route", ""},
		{"within a label", testConnection{sni: "xorders.db.example.evil", port: 5432, principal: shop}, "no_route", ""},
		{"no name", testConnection{port: 5432, principal: shop}, "no_route", ""},
		{"anonymous", testConnection{port: 9000}, "allow", "data/open"},
		{"anonymous, by name", testConnection{sni: "anything.example", port: 9000}, "allow", "data/open"},
		{"known, on an anonymous route", testConnection{port: 9000, principal: shop}, "deny", "data/open"},
		{"metadata", testConnection{port: 9001, metadata: map[string]any{"target": "open"}}, "allow", "data/proxied"},
		{"other metadata", testConnection{port: 9001, metadata: map[string]any{"target": "closed"}}, "no_identity", "data/proxied"},
		{"no metadata", testConnection{port: 9001}, "unmappable", "data/proxied"},
		{"a name that is none", testConnection{sni: "a b", port: 9000}, "bad_request", ""},
		{"a name with a port", testConnection{sni: "orders.db.example:443", port: 9000}, "bad_request", ""},
		{"an address", testConnection{sni: "[::1]", port: 9000}, "bad_request", ""},
	} {
		out := connect(t, s, tt.c)
		if got, _ := reason(out); got != tt.reason || metadata(out, "route") != tt.route {
			t.Errorf("%s: got %s by %q, want %s by %q", tt.name, got, metadata(out, "route"), tt.reason, tt.route)
		}
		if allowed := out.GetStatus().GetCode() == 0; allowed != (tt.reason == "allow") {
			t.Errorf("%s: the answer contradicts itself: %v", tt.name, out)
		}
	}
	// The two kinds of checks have routes of their own.
	if got, _ := reason(check(t, s, get("/"))); got != "no_route" {
		t.Errorf("a request: got %s", got)
	}
	pinned := get("/")
	pinned.extensions = map[string]string{"edict.route": "data/open"}
	if got, status := reason(check(t, s, pinned)); got == "allow" || status == 200 {
		t.Errorf("a request whose route is pinned to a connection's: got %s", got)
	}
	if got, _ := reason(connect(t, newServer(t, jwtOnly), testConnection{port: 9000})); got != "not_http" {
		t.Errorf("without connections: got %s", got)
	}
	if got, _ := reason(decoded(t, s.AppendCheck(t.Context(), nil, nil))); got != "no_route" {
		t.Errorf("an empty check: got %s", got)
	}
}

func TestConnectionsThatDoNotLoad(t *testing.T) {
	c, err := NewCompiler(engine.Options{}, jwtOnly)
	if err != nil {
		t.Fatal(err)
	}
	policies, list := policyfile.ParseAll([]folder.File{{Name: "p.yaml", Content: []byte(databasePolicy)}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	const first = "    - {name: a, match: {sni: [db.example], destinationPorts: [1, 2]}, resource: {kind: database, id: x}, action: connect}\n"
	for name, tt := range map[string]struct {
		connections string
		want        []string
	}{
		"sound":                    {first + "    - {name: b, match: {sni: [db.example], destinationPorts: [3]}, resource: {kind: database, id: x}, action: connect}\n", nil},
		"sound: a suffix beside":   {first + "    - {name: b, match: {sni: ['*.db.example'], destinationPorts: [1]}, resource: {kind: database, id: x}, action: connect}\n", nil},
		"sound: any port beside":   {first + "    - {name: b, match: {sni: [db.example]}, resource: {kind: database, id: x}, action: connect}\n", nil},
		"sound: everything":        {"    - {name: b, resource: {kind: database, id: x}, action: connect}\n", nil},
		"same name and port":       {first + "    - {name: b, match: {sni: [other.example, DB.example], destinationPorts: [2]}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-conflict"}},
		"everything twice":         {"    - {name: a, resource: {kind: database, id: x}, action: connect}\n    - {name: b, match: {}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-conflict"}},
		"one name":                 {first + first, []string{"route-repeated-name"}},
		"a port that is none":      {"    - {name: a, match: {destinationPorts: [0]}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-port"}},
		"a port twice":             {"    - {name: a, match: {destinationPorts: [1, 1]}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-port"}},
		"a name that is none":      {"    - {name: a, match: {sni: ['*']}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-host"}},
		"a name with a port":       {"    - {name: a, match: {sni: ['db.example:1']}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-host"}},
		"a kind without policies":  {"    - {name: a, resource: {kind: databse, id: x}, action: connect}\n", []string{"route-kind"}},
		"the path":                 {"    - {name: a, resource: {kind: database, id: {expr: path.id}}, action: connect}\n", []string{"route-connection"}},
		"the request's path":       {"    - {name: a, resource: {kind: database, id: {expr: request.path}}, action: connect}\n", []string{"route-connection"}},
		"the request's headers":    {"    - {name: a, resource: {kind: database, id: x, attributes: {h: {expr: 'request.headers[\"a\"]'}}}, action: connect}\n", []string{"route-connection"}},
		"the principal's part":     {"    - {name: a, principal: {attributes: {h: {expr: request.host}}}, resource: {kind: database, id: x}, action: connect}\n", []string{"route-connection"}},
		"the request as a whole":   {"    - {name: a, resource: {kind: database, id: {expr: 'cel.bind(r, request, r.path)'}}, action: connect}\n", []string{"route-connection"}},
		"a field that there isn't": {"    - {name: a, match: {path: /x}, resource: {kind: database, id: x}, action: connect}\n", []string{"unknown-field"}},
		"public":                   {"    - {name: a, public: true, resource: {kind: database, id: x}, action: connect}\n", []string{"unknown-field"}},
		"nobody":                   {"    - {name: a, identity: [], resource: {kind: database, id: x}, action: connect}\n", []string{"route-nobody"}},
	} {
		files, list := routemap.ParseAll([]folder.File{{Name: "r.yaml", Content: []byte("apiVersion: edict.dev/v1\nrouteMap:\n  name: m\n  connections:\n" + tt.connections)}})
		if len(list) == 0 {
			_, list = c.Compile("x", policies, nil, files)
		}
		var got []string
		for _, d := range list {
			got = append(got, string(d.Code))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v\n%s", name, got, tt.want, list.Render())
		}
	}
	if _, list := routemap.Parse("r.yaml", []byte("apiVersion: edict.dev/v1\nrouteMap: {name: m}\n")); len(list) != 1 {
		t.Errorf("neither routes nor connections: got %v", list)
	}
}

// What a connection costs does not hang on the number of routes.
func TestManyConnections(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: edict.dev/v1\nrouteMap:\n  name: m\n  connections:\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "    - {name: c%d, match: {sni: [\"n%d.example\", \"*.n%d.example\"], destinationPorts: [%d]}, anonymous: true, resource: {kind: database, id: open}, action: connect}\n", i, i, i, i+1)
	}
	s := new(Server)
	s.Use(compile(t, Options{}, databasePolicy, b.String()))
	for sni, port := range map[string]uint32{"n7.example": 8, "a.b.n1999.example": 2000} {
		if got, _ := reason(connect(t, s, testConnection{sni: sni, port: port})); got != "allow" {
			t.Errorf("%s: got %s", sni, got)
		}
	}
	if RaceDetector() {
		return // it makes pools forget what they hold, so that counts mean nothing
	}
	m, err := proto.Marshal(testConnection{sni: "a.b.n1999.example", port: 2000}.message(t))
	if err != nil {
		t.Fatal(err)
	}
	if RaceDetector() {
		return // it makes pools forget what they hold
	}
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(200, func() { s.AppendCheck(t.Context(), dst, m) }); n > 2 && !RaceDetector() {
		t.Errorf("a connection costs %v allocations", n)
	}
}

// Tokens in the query are of requests; connections have none.
func TestConnectionsHaveNoQuery(t *testing.T) {
	const routes = `
apiVersion: edict.dev/v1
routeMap:
  name: data
  connections:
    - name: any
      anonymous: true
      resource: {kind: album, id: preview}
      action: preview
`
	s := new(Server)
	s.Use(compile(t, Options{Identity: []Source{{APIKeys: &APIKeys{File: "none", From: []TokenPlace{{Query: "key"}}}}}}, albumPolicy, routes))
	out, _ := s.Check(context.Background(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Destination: &authv3.AttributeContext_Peer{Service: "db.example"}}})
	if out.GetStatus().GetCode() != 0 || out.GetOkResponse() == nil {
		t.Errorf("the answer is %v", out)
	}
}
