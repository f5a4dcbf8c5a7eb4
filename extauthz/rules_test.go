package extauthz

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"edict/engine"
	"edict/extauthz/wire"
)

// dial serves s over gRPC in memory, as the daemon does, and gives a client
// with the generated types, as Envoy has.
func dial(t testing.TB, s *Server) authv3.AuthorizationClient {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.ForceServerCodecV2(NewCodec()))
	s.Register(g)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

// denials are requests that end in each of the ways that a client can bring
// about.
func denials() map[string]testRequest {
	return map[string]testRequest{
		"deny":             get("/albums/bob/1").as("alice", "user"),
		"no_route":         get("/nowhere").as("alice", "user"),
		"no_identity":      get("/albums"),
		"bad_token":        get("/albums").with("authorization: Bearer x.y.z"),
		"bad_identity":     get("/albums").as(""),
		"bad_request":      get("/albums/../admin").as("alice", "user"),
		"body_missing":     post("/albums", "").as("alice", "user"),
		"body_incomplete":  post("/albums", `{"size": 1}`, "content-length: 99").as("alice", "user"),
		"body_unsupported": post("/albums", `{"size": 1}`, "content-length: 11", "content-encoding: gzip").as("alice", "user"),
		"unmappable":       get("/claim").as("alice", "user"),
	}
}

func TestRule01DenyIsAGRPCSuccess(t *testing.T) {
	client := dial(t, newServer(t, jwtOnly))
	for want, r := range denials() {
		out, err := client.Check(context.Background(), r.message(t))
		if err != nil {
			t.Errorf("%s: the call failed: %v", want, err)
			continue
		}
		got, status := reason(out)
		if got != want || status < 400 || out.GetStatus().GetCode() == 0 || out.GetDeniedResponse() == nil {
			t.Errorf("%s: got reason %s, HTTP %d, %v", want, got, status, out)
		}
	}
	// What is not about HTTP at all, and what is not a CheckRequest.
	for name, in := range map[string]*authv3.CheckRequest{
		"empty":      {},
		"attributes": {Attributes: &authv3.AttributeContext{}},
		"connection": {Attributes: &authv3.AttributeContext{Source: &authv3.AttributeContext_Peer{Principal: "spiffe://td/x"}}},
	} {
		out, err := client.Check(context.Background(), in)
		if err != nil || out.GetStatus().GetCode() == 0 {
			t.Errorf("%s: got %v, %v", name, out, err)
		}
	}
}

func TestRule02TheZeroValueDenies(t *testing.T) {
	decode := func(b []byte) *authv3.CheckResponse {
		out := new(authv3.CheckResponse)
		if err := proto.Unmarshal(b, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	unset, err := NewCodec().Marshal(new(checkMessage))
	if err != nil {
		t.Fatal(err)
	}
	var none exchange
	none.rev = compile(t, jwtOnly, albumPolicy, albumRoutes)
	var zero Outcome
	fromZero, _ := none.answer(nil, zero)
	for name, b := range map[string][]byte{
		"zero Response":          wire.Response{}.Bytes(),
		"zero Server":            new(Server).AppendCheck(context.Background(), nil, get("/preview").bytes(t)),
		"a message never filled": unset.Materialize(),
		"zero Outcome":           fromZero,
	} {
		if len(b) == 0 {
			t.Errorf("%s: an empty message, which allows", name)
		} else if out := decode(b); out.GetStatus().GetCode() == 0 || out.GetDeniedResponse() == nil {
			t.Errorf("%s: allows: %v", name, out)
		}
	}
	if r, err := dial(t, new(Server)).Check(context.Background(), get("/preview").message(t)); err != nil || r.GetStatus().GetCode() == 0 {
		t.Errorf("a server without a revision: got %v, %v", r, err)
	}
}

func TestRule03NothingAClientSendsIsAnError(t *testing.T) {
	s := newServer(t, jwtOnly)
	client := dial(t, s)
	odd := map[string]testRequest{
		"no path":              {method: "GET"},
		"bad escape":           get("/albums/%zz"),
		"NUL":                  get("/albums/%00"),
		"overlong dots":        get("/%c0%ae%c0%ae/admin"),
		"absolute form":        get("http://evil/albums"),
		"asterisk":             {method: "OPTIONS", path: "*"},
		"connect":              {method: "CONNECT", host: "h:443"},
		"custom method":        {method: "P\x7fWN", path: "/albums"},
		"host with userinfo":   {method: "GET", path: "/albums", host: "a@b"},
		"huge path":            get("/" + strings.Repeat("a", 1<<20)),
		"many headers":         get("/albums/bob/1").with(slices.Repeat([]string{"x-a: b"}, 5000)...),
		"header not UTF-8":     get("/albums/bob/1").with("x-a: \xff\xfe"),
		"query twice":          get("/search?id=1&id=2"),
		"query with semicolon": get("/search?id=1;a=b"),
		"query without":        get("/search"),
		"deep JSON":            post("/albums", strings.Repeat("[", 10000)),
		"duplicate JSON key":   post("/albums", `{"size":1,"size":2}`, "content-length: 19"),
		"JSON not UTF-8":       post("/albums", "{\"size\":\"\xff\"}", "content-length: 12"),
		"huge token":           get("/albums/bob/1").with("authorization: Bearer " + strings.Repeat("a", 1<<20)),
		"gRPC odd path":        {method: "POST", path: "/shop.v1.Albums/Get/", headers: []string{"content-type: application/grpc"}},
	}
	for name, r := range odd {
		r = r.as("alice", "user")
		out, err := client.Check(context.Background(), r.message(t))
		if err != nil {
			t.Errorf("%s: the call failed: %v", name, err)
		} else if out.GetStatus().GetCode() == 0 {
			t.Errorf("%s: allowed", name)
		}
	}
	// Bytes that are no message at all do not even fail to decode.
	for _, b := range [][]byte{nil, {0xff}, []byte("GET / HTTP/1.1\r\n\r\n"), {10, 200, 1}} {
		out := new(authv3.CheckResponse)
		if err := proto.Unmarshal(s.AppendCheck(context.Background(), nil, b), out); err != nil || out.GetStatus().GetCode() == 0 {
			t.Errorf("%x: got %v, %v", b, out, err)
		}
	}
}

func TestRule04PanicsAndDeadlinesDeny(t *testing.T) {
	t.Run("panic", func(t *testing.T) {
		s := new(Server)
		rev := compile(t, jwtOnly, albumPolicy, albumRoutes)
		rev.policies = nil // asking it panics
		s.Use(rev)
		var seen []any
		s.Panicked = func(v any, stack []byte) { seen = append(seen, v, len(stack)) }
		for range 3 {
			out := check(t, s, get("/preview").as("alice", "admin"))
			if got, status := reason(out); got != "internal" || status != 403 || out.GetStatus().GetCode() == 0 {
				t.Errorf("got %s, HTTP %d", got, status)
			}
		}
		if len(seen) != 6 {
			t.Errorf("three panics were told as %v", seen)
		}
		s.Use(compile(t, jwtOnly, albumPolicy, albumRoutes))
		if _, status := reason(check(t, s, get("/preview"))); status != 200 {
			t.Errorf("after the panics: HTTP %d", status)
		}
	})
	t.Run("panic of a listener", func(t *testing.T) {
		o := jwtOnly
		o.Observe = func(*Record) { panic("observer") }
		s := newServer(t, o)
		s.Panicked = func(any, []byte) { panic("listener") }
		if got, _ := reason(check(t, s, get("/preview").as("alice", "admin"))); got != "internal" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("deadline before", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
		defer cancel()
		if got, _ := reason(checkContext(ctx, t, newServer(t, jwtOnly), get("/preview"))); got != "timeout" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("deadline during", func(t *testing.T) {
		ctx := &expiring{Context: context.Background(), after: 1}
		if got, _ := reason(checkContext(ctx, t, newServer(t, jwtOnly), get("/preview"))); got != "timeout" {
			t.Errorf("got %s: a decision after the deadline counted", got)
		}
	})
}

// expiring is a context whose deadline passes after its error was asked for a
// number of times.
type expiring struct {
	context.Context
	after int
}

func (e *expiring) Err() error {
	if e.after--; e.after < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func TestRule05WithoutPoliciesEverythingIsDenied(t *testing.T) {
	out := check(t, new(Server), get("/preview"))
	if got, status := reason(out); got != "not_ready" || status != 503 {
		t.Errorf("got %s, HTTP %d", got, status)
	}
	c, err := NewCompiler(engine.Options{}, jwtOnly)
	if err != nil {
		t.Fatal(err)
	}
	if rev, list := c.Compile("empty", nil, nil, nil); rev != nil || len(list) != 1 || list[0].Code != CodeNoPolicies {
		t.Errorf("an empty set of policies: got %v, %v", rev, list)
	}
}

func TestRule06TargetsAreNotParsedAsURLs(t *testing.T) {
	for _, path := range []string{"//admin/x", "/a//b", "/a/./b", "/a/%2e%2e/b", "/a%2fb", "/a%5cb", `/a\b`, "/a;b", "/a#b", "/a%3fb=1", "/%252e%252e/a"} {
		if got, status := reason(check(t, newServer(t, jwtOnly), get(path).as("root", "admin"))); got != "bad_request" || status != 400 {
			t.Errorf("%s: got %s, HTTP %d", path, got, status)
		}
	}
	// Nothing on the way of a check imports net/url, whose idea of //host/path
	// and of escapes is not a proxy's. The URLs of key sets are the
	// configuration's, and those of testca are of certificates for tests.
	exempt := []string{filepath.Join("token", "issuer.go"), filepath.Join("testca", "testca.go")}
	err := filepath.WalkDir(".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			if i.Path.Value == `"net/url"` && !slices.Contains(exempt, name) {
				t.Errorf("%s imports net/url", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRule07IdentityHeadersAreOverwrittenOrRemoved(t *testing.T) {
	o := jwtOnly
	o.Identity = append(slices.Clone(o.Identity), Source{Headers: &TrustedHeaders{ID: "x-user", Roles: "x-user-roles"}})
	forged := []string{"x-edict-principal: root", "x-edict-roles: admin"}
	tests := map[string]struct {
		request testRequest
		set     map[string]string
		removed []string
	}{
		"claims": {
			get("/albums").as("alice", "user", "editor").with("x-user: root", "x-user-roles: admin"),
			map[string]string{"x-edict-principal": "alice", "x-edict-roles": "user,editor"},
			[]string{"x-user", "x-user-roles"},
		},
		"no roles claim": {
			testRequest{method: "GET", path: "/preview", claims: map[string]any{"sub": "alice"}},
			nil, nil, // no roles: nothing is allowed
		},
		"trusted headers": {
			get("/albums").with("x-user: bob", "x-user-roles: user"),
			map[string]string{"x-edict-principal": "bob", "x-edict-roles": "user"},
			nil,
		},
		"anonymous": {
			get("/preview"),
			map[string]string{"x-edict-principal": "anonymous", "x-edict-roles": "anonymous"},
			[]string{"x-user", "x-user-roles"},
		},
		"odd names": {
			get("/albums").as("Zoë, 100%", "a,b", "ü"),
			map[string]string{"x-edict-principal": "Zo%C3%AB,%20100%25", "x-edict-roles": "a%2Cb,%C3%BC"},
			nil,
		},
	}
	s := newServer(t, o)
	for name, tt := range tests {
		out := check(t, s, tt.request.with(forged...))
		if tt.set == nil {
			if out.GetStatus().GetCode() == 0 {
				t.Errorf("%s: allowed", name)
			}
			continue
		}
		if out.GetStatus().GetCode() != 0 {
			t.Errorf("%s: denied: %v", name, out)
			continue
		}
		set, removed := upstream(out)
		for k, v := range tt.set {
			if set[k] != v {
				t.Errorf("%s: %s is %q, want %q", name, k, set[k], v)
			}
		}
		if len(set) != len(tt.set) {
			t.Errorf("%s: set %v", name, set)
		}
		for _, h := range tt.removed {
			if !slices.Contains(removed, h) {
				t.Errorf("%s: %s is not removed: %v", name, h, removed)
			}
		}
		for _, h := range out.GetOkResponse().GetHeaders() {
			//lint:ignore SA1019 Envoy before 1.37 obeys this field alone
			if h.GetAppend() == nil || h.GetAppend().GetValue() || h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
				t.Errorf("%s: %s may be added to the client's own: %v", name, h.GetHeader().GetKey(), h)
			}
			if slices.Contains(removed, h.GetHeader().GetKey()) {
				t.Errorf("%s: %s is set and removed", name, h.GetHeader().GetKey())
			}
		}
	}
	// Other spellings, which many backends take for the same, are refused.
	for _, h := range []string{"x_edict_principal", "x-edict_principal", "x_edict-principal", "x_edict_roles", "x_user", "x-user_roles"} {
		if got, status := reason(check(t, s, get("/albums").as("alice", "user").with(h+": root"))); got != "bad_request" || status != 400 {
			t.Errorf("%s: got %s, HTTP %d", h, got, status)
		}
	}
	if _, status := reason(check(t, s, get("/albums").as("alice", "user").with("x_other: 1"))); status != 200 {
		t.Errorf("another header with an underscore: HTTP %d", status)
	}
	// Without a value the header is removed: an identity without roles, where
	// a rule for it exists, must not let the client's roles through.
	rev := compile(t, o, albumPolicy, albumRoutes)
	x := &exchange{rev: rev, route: &rev.routes[0], source: 0}
	x.req.Principal.ID = "alice"
	b, outcome := x.answer(nil, Allowed)
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(b, out); err != nil || outcome != Allowed {
		t.Fatal(outcome, err)
	}
	if _, removed := upstream(out); !slices.Contains(removed, "x-edict-roles") {
		t.Errorf("no roles: x-edict-roles is not removed: %v", removed)
	}
	// Control characters in a verified claim are an attack on whoever reads
	// the header.
	for _, id := range []string{"a\r\nx-edict-roles: admin", "a\x00b", "a\x7f"} {
		if got, _ := reason(check(t, s, get("/albums").as(id, "user"))); got != "bad_identity" {
			t.Errorf("%q: got %s", id, got)
		}
	}
}

func TestRule08ATokenThatNobodyVerifiedIsNoIdentity(t *testing.T) {
	s := newServer(t, jwtOnly)
	// As in Istio, where the check runs before jwt_authn: a token and no claims.
	const unverified = "authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290Iiwicm9sZXMiOlsiYWRtaW4iXX0."
	for _, path := range []string{"/albums/bob/1", "/preview", "/open"} {
		out := check(t, s, get(path).with(unverified))
		if got, status := reason(out); got != "bad_token" || status != 401 {
			t.Errorf("%s: got %s, HTTP %d", path, got, status)
		}
		challenge := ""
		for _, h := range out.GetDeniedResponse().GetHeaders() {
			if h.GetHeader().GetKey() == "www-authenticate" {
				challenge = h.GetHeader().GetValue()
			}
		}
		if challenge != `Bearer error="invalid_token"` {
			t.Errorf("%s: the challenge is %q", path, challenge)
		}
	}
	// jwt_authn may have taken the rejected token away; it says so.
	failed := testRequest{method: "GET", path: "/preview", metadata: map[string]any{"jwt_failure": map[string]any{"code": 4.0, "message": "Jwt verification fails"}}}
	if got, _ := reason(check(t, s, failed)); got != "bad_token" {
		t.Errorf("a rejected token: got %s", got)
	}
	missing := testRequest{method: "GET", path: "/preview", metadata: map[string]any{"jwt_failure": map[string]any{"code": 1.0, "message": "Jwt is missing"}}}
	if _, status := reason(check(t, s, missing)); status != 200 {
		t.Errorf("no token: HTTP %d", status)
	}
}

func TestRule09IdentityHasAProvenance(t *testing.T) {
	var got Record
	o := jwtOnly
	o.Observe = func(r *Record) { got = *r }
	o.Identity = append(slices.Clone(o.Identity), Source{Headers: &TrustedHeaders{ID: "x-user"}})
	s := newServer(t, o)
	for _, tt := range []struct {
		request testRequest
		want    Provenance
	}{
		{get("/albums").as("alice", "user"), VerifiedJWT},
		{get("/albums").with("x-user: alice"), Proxy},
		{get("/preview"), AnonymousUser},
		{get("/albums"), NoProvenance},
		{get("/albums").with("x-edict-principal: root"), NoProvenance},
	} {
		check(t, s, tt.request)
		if got.Source != tt.want {
			t.Errorf("%v: provenance %s, want %s", tt.request.headers, got.Source, tt.want)
		}
	}
	// Headers that no configuration trusts give no identity.
	plain := newServer(t, jwtOnly)
	if got, _ := reason(check(t, plain, get("/albums").with("x-user: root", "x-user-roles: admin"))); got != "no_identity" {
		t.Errorf("an untrusted header: got %s", got)
	}
	// A source in the wrong shape does not give way to the next.
	for name, claims := range map[string]map[string]any{
		"roles as text":   {"sub": "alice", "roles": "admin,user"},
		"roles as map":    {"sub": "alice", "roles": map[string]any{"0": "admin"}},
		"role not a text": {"sub": "alice", "roles": []any{1.0}},
		"sub a list":      {"sub": []any{"alice"}, "roles": []any{"user"}},
		"sub missing":     {"roles": []any{"user"}},
	} {
		r := get("/albums").with("x-user: alice")
		r.claims = claims
		if got, _ := reason(check(t, s, r)); got != "bad_identity" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestRule10TruncatedIsUnknown(t *testing.T) {
	s := newServer(t, jwtOnly)
	const body = `{"size": 1}`
	limit := map[string]string{"body_limit": "64"}
	atLimit := `{"size": 1, "pad": "` + strings.Repeat("x", 64-22) + `"}`
	if len(atLimit) != 64 {
		t.Fatalf("the body has %d bytes", len(atLimit))
	}
	for name, tt := range map[string]struct {
		body       string
		headers    []string
		extensions map[string]string
		want       string
	}{
		"length agrees":             {body, []string{"content-length: 11", "x-envoy-auth-partial-body: false"}, nil, "allow"},
		"below the limit":           {body, []string{"x-envoy-auth-partial-body: false"}, limit, "allow"},
		"partial":                   {body, []string{"content-length: 11", "x-envoy-auth-partial-body: true"}, limit, "body_incomplete"},
		"length is more":            {body, []string{"content-length: 12", "x-envoy-auth-partial-body: false"}, limit, "body_incomplete"},
		"length is less":            {body, []string{"content-length: 10"}, limit, "body_incomplete"},
		"length is no number":       {body, []string{"content-length: +11"}, limit, "body_incomplete"},
		"at the limit":              {atLimit, []string{"x-envoy-auth-partial-body: false"}, limit, "body_incomplete"},
		"at the limit, length says": {atLimit, []string{"content-length: 64", "x-envoy-auth-partial-body: false"}, limit, "allow"},
		"limit unknown":             {body, []string{"x-envoy-auth-partial-body: false"}, nil, "body_incomplete"},
		"limit unreadable":          {body, nil, map[string]string{"body_limit": "64k"}, "body_incomplete"},
		"missing":                   {"", nil, limit, "body_missing"},
		"not JSON":                  {"size=1", nil, limit, "body_malformed"},
		"two values":                {`{"size": 1} {}`, nil, limit, "body_malformed"},
		"key twice":                 {`{"size": 1, "\u0073ize": 2}`, nil, limit, "body_malformed"},
		"number out of range":       {`{"size": 1e999}`, nil, limit, "body_malformed"},
		"deep":                      {strings.Repeat("[", 70) + strings.Repeat("]", 70), nil, map[string]string{"body_limit": "999"}, "body_malformed"},
	} {
		r := post("/albums", tt.body, tt.headers...).as("alice", "user")
		r.extensions = tt.extensions
		if got, _ := reason(check(t, s, r)); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
		// An expression that shrugs at the error decides nothing either.
		r.method = "PUT"
		if got, _ := reason(check(t, s, r)); got != tt.want {
			t.Errorf("%s, careless route: got %s, want %s", name, got, tt.want)
		}
	}
	for contentType, want := range map[string]string{
		"application/json":                   "allow",
		"application/json; charset=UTF-8":    "allow",
		"application/json; charset=utf-16":   "body_unsupported",
		"text/plain; application/json":       "body_unsupported",
		"application/json, text/plain":       "body_unsupported",
		"application/x-www-form-urlencoded":  "body_malformed",
		"application/vnd.api+json":           "body_unsupported",
		"multipart/mixed; boundary=whatever": "body_unsupported",
	} {
		r := testRequest{method: "POST", path: "/albums", body: body, extensions: limit, headers: []string{"content-type: " + contentType}}
		if got, _ := reason(check(t, s, r.as("alice", "user"))); got != want {
			t.Errorf("%s: got %s, want %s", contentType, got, want)
		}
	}
}

func TestRule11RepeatedSingletonsAreRefused(t *testing.T) {
	s := newServer(t, jwtOnly)
	for _, h := range [][]string{
		{"authorization: Bearer a", "authorization: Bearer b"},
		{"content-length: 1", "content-length: 2"},
		{"content-type: application/json", "content-type: text/plain"},
		{"host: a", "host: b"},
		{"x-envoy-auth-partial-body: false", "x-envoy-auth-partial-body: true"},
		{"connection: close, x-edict-principal"},
		{"x-http-method-override: DELETE"},
		{"x-method-override: delete"},
	} {
		for _, asMap := range []bool{false, true} {
			r := get("/albums").as("alice", "user").with(h...)
			r.asMap = asMap
			if got, status := reason(check(t, s, r)); got != "bad_request" || status != 400 {
				t.Errorf("%v, as map %v: got %s, HTTP %d", h, asMap, got, status)
			}
		}
	}
	for _, h := range []string{
		"connection: keep-alive, Upgrade", "x-http-method-override: GET", "accept: a, b",
		"authorization: Digest username=a, realm=b", "cookie: a=b, c=d",
	} {
		for _, asMap := range []bool{false, true} {
			r := get("/albums").as("alice", "user").with(h, "x-many: a", "x-many: b")
			r.asMap = asMap
			if _, status := reason(check(t, s, r)); status != 200 {
				t.Errorf("%s, as map %v: HTTP %d", h, asMap, status)
			}
		}
	}
}

func TestRule12TheCallersDeadlineIsKept(t *testing.T) {
	// Over the wire: a deadline that has passed never becomes an allow. gRPC
	// itself may answer first; that is an error, which Envoy denies.
	client := dial(t, newServer(t, jwtOnly))
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	out, err := client.Check(ctx, get("/preview").message(t))
	if err == nil && out.GetStatus().GetCode() == 0 {
		t.Errorf("allowed after the deadline: %v", out)
	}
	if err != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("got %v before the deadline", err)
	}
	// A cancelled client gets no allow either.
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	if got, _ := reason(checkContext(cancelled, t, newServer(t, jwtOnly), get("/preview"))); got != "timeout" {
		t.Errorf("cancelled: got %s", got)
	}
}
