package extauthz

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// trusted takes identity from headers: the one source that Envoy's HTTP variant
// can carry in a test without tokens.
var trusted = Options{
	Identity:        []Source{{Headers: &TrustedHeaders{ID: "x-user", Roles: "x-roles"}}},
	PrincipalHeader: "x-edict-principal", RolesHeader: "x-edict-roles",
}

// overHTTP serves the HTTP variant, and gives what sends bytes and reads one
// answer. The answer is nil if the connection just ends. With end nothing can
// follow the bytes.
func overHTTP(t testing.TB, s *Server, o HTTPOptions) func(raw string, end ...bool) *http.Response {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := s.NewHTTPServer(o)
	server.ErrorLog = log.New(io.Discard, "", 0)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return func(raw string, end ...bool) *http.Response {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil
		}
		defer conn.Close()
		go func() { // the server may answer before it has read all
			_, _ = io.WriteString(conn, raw)
			if len(end) > 0 {
				_ = conn.(*net.TCPConn).CloseWrite()
			}
		}()
		method, _, _ := strings.Cut(raw, " ")
		response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			return nil
		}
		body, _ := io.ReadAll(response.Body)
		response.Body = io.NopCloser(bytes.NewReader(body))
		return response
	}
}

func bodyOf(r *http.Response) string {
	b, _ := io.ReadAll(r.Body)
	return string(b)
}

// asks gives the bytes of a request as Envoy sends it.
func asks(line string, headers ...string) string {
	all := append([]string{line + " HTTP/1.1", "host: api.example.test"}, headers...)
	if !strings.Contains(strings.Join(headers, "\n"), "content-length") {
		all = append(all, "content-length: 0")
	}
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

func TestHTTPVariant(t *testing.T) {
	s := newServer(t, trusted)
	var last Record
	s.Use(compile(t, func() Options {
		o := trusted
		o.BodyLimit = 64
		o.Observe = func(r *Record) { last = *r }
		return o
	}(), albumPolicy, albumRoutes))
	ask := overHTTP(t, s, HTTPOptions{PathPrefix: "/v1/ext", RawHeaders: true})
	alice := []string{"x-user: alice", "x-roles: user"}
	with := func(more ...string) []string { return append(slices.Clone(alice), more...) }
	for _, tt := range []struct {
		name   string
		raw    string
		reason string
		status int
	}{
		{"allowed", asks("GET /v1/ext/albums/alice/1", alice...), "allow", 200},
		{"denied", asks("GET /v1/ext/albums/bob/1", alice...), "deny", 403},
		{"without identity", asks("GET /v1/ext/albums"), "no_identity", 401},
		{"public", asks("GET /v1/ext/preview"), "allow", 200},
		{"no route", asks("GET /v1/ext/nowhere", alice...), "no_route", 403},
		{"custom verb", asks("FROB /v1/ext/albums/alice/1", alice...), "no_route", 403},
		{"HEAD as GET", asks("HEAD /v1/ext/albums/alice/1", alice...), "allow", 200},
		{"query", asks("GET /v1/ext/search?id=1", alice...), "allow", 200},
		{"query twice", asks("GET /v1/ext/search?id=1&id=2", alice...), "bad_request", 400},
		{"raw path with dots", asks("GET /v1/ext/albums/../preview", alice...), "bad_request", 400},
		{"raw path with an encoded slash", asks("GET /v1/ext/albums%2falice/1", alice...), "bad_request", 400},
		{"raw path with two slashes", asks("GET /v1/ext//albums", alice...), "bad_request", 400},
		{"prefix once", asks("GET /v1/ext/v1/ext/preview", alice...), "no_route", 403},
		{"prefix alone", asks("GET /v1/ext", alice...), "bad_request", 400},
		{"another prefix", asks("GET /preview", alice...), "bad_request", 400},
		{"prefix in capitals", asks("GET /V1/ext/preview", alice...), "bad_request", 400},
		{"prefix after an encoded slash", asks("GET /v1%2fext/preview", alice...), "bad_request", 400},
		{"asterisk", asks("OPTIONS *"), "bad_request", 400},
		{"authority", asks("CONNECT api.example.test:443"), "bad_request", 400},
		{"absolute form", asks("GET http://evil.example/v1/ext/preview"), "bad_request", 400},
		{"body", asks("POST /v1/ext/albums", with("content-type: application/json", "x-envoy-auth-partial-body: false", "content-length: 11")...) + `{"size": 9}`, "allow", 200},
		{"body, too large for the policy", asks("POST /v1/ext/albums", with("content-type: application/json", "content-length: 13")...) + `{"size": 900}`, "deny", 403},
		{"body that Envoy cut", asks("POST /v1/ext/albums", with("content-type: application/json", "x-envoy-auth-partial-body: true", "content-length: 11")...) + `{"size": 9}`, "body_incomplete", 413},
		{"body of the limit's length, whose length is Envoy's word", asks("POST /v1/ext/albums", with("content-type: application/json", "x-envoy-auth-partial-body: false", "content-length: 64")...) + `{"size": 9}` + strings.Repeat(" ", 53), "body_incomplete", 413},
		{"no body", asks("POST /v1/ext/albums", with("content-type: application/json")...), "body_missing", 400},
		{"repeated singleton", asks("GET /v1/ext/albums/alice/1", with("authorization: Basic a", "authorization: Basic b")...), "bad_request", 400},
		{"repeated identity", asks("GET /v1/ext/albums/alice/1", with("x-user: root")...), "bad_identity", 403},
		{"twin of identity", asks("GET /v1/ext/albums/alice/1", with("x_user: root")...), "bad_request", 400},
		{"method override", asks("GET /v1/ext/albums/alice/1", with("x-http-method-override: DELETE")...), "bad_request", 400},
	} {
		last = Record{}
		got := ask(tt.raw)
		if got == nil || got.StatusCode != tt.status || last.Outcome.String() != tt.reason {
			t.Errorf("%s: got %+v, %v %s; want %d, %s", tt.name, got, last.Outcome, last.Detail, tt.status, tt.reason)
		}
	}
}

func TestHTTPVariantHeaders(t *testing.T) {
	s := newServer(t, trusted)
	ask := overHTTP(t, s, HTTPOptions{RawHeaders: true})
	got := ask(asks("GET /albums/alice/1", "x-user: alice", "x-roles: user, guest"))
	if got.StatusCode != 200 || got.Header.Get("x-edict-principal") != "alice" || got.Header.Get("x-edict-roles") != "user,guest" ||
		len(got.Header[http.CanonicalHeaderKey(headersToRemove)]) > 0 || bodyOf(got) != "" {
		t.Errorf("allow: got %v", got.Header)
	}
	for name := range got.Header {
		if strings.HasPrefix(strings.ToLower(name), DecisionPrefix) {
			t.Errorf("nobody wants %s", name)
		}
	}
	// Nobody asked: what would have told of the identity is removed.
	got = ask(asks("GET /preview"))
	if got.StatusCode != 200 || got.Header.Get(headersToRemove) != "x-roles,x-user" && got.Header.Get(headersToRemove) != "x-user,x-roles" || got.Header.Get("x-edict-principal") != "anonymous" {
		t.Errorf("anonymous: got %v", got.Header)
	}
	got = ask(asks("GET /albums"))
	if got.StatusCode != 401 || got.Header.Get("www-authenticate") != "Bearer" || got.Header.Get("content-type") != "application/problem+json" || bodyOf(got) != `{"title":"Unauthorized","status":401}`+"\n" {
		t.Errorf("deny: got %v", got.Header)
	}
	got = ask(asks("POST /shop.v1.Albums/Drop", "content-type: application/grpc", "x-user: alice", "x-roles: anonymous"))
	if got.StatusCode != 403 || bodyOf(got) != "forbidden" || got.Header.Get("content-type") != "" {
		t.Errorf("deny to a gRPC client: got %v", got.Header)
	}

	decided := overHTTP(t, s, HTTPOptions{RawHeaders: true, DecisionHeaders: true})
	got = decided(asks("GET /albums/alice/1", "x-user: alice", "x-roles: user"))
	for name, want := range map[string]string{"effect": "allow", "reason": "allow", "route": "albums/read", "rule": "owner-reads", "principal": "alice", "revision": "test"} {
		if h := got.Header.Get(DecisionPrefix + name); h != want {
			t.Errorf("decision header %s: got %q, want %q", name, h, want)
		}
	}
	if got := decided(asks("GET /nowhere", "x-user: alice")); got.Header.Get(DecisionPrefix+"reason") != "no_route" {
		t.Errorf("got %v", got.Header)
	}
}

// Without raw headers Envoy has joined what came twice, so that a proxy's
// header is not to be told from a client's.
func TestHTTPVariantWithJoinedHeaders(t *testing.T) {
	s := newServer(t, trusted)
	ask := overHTTP(t, s, HTTPOptions{})
	for raw, want := range map[string]int{
		asks("GET /preview"): 200,
		asks("GET /albums/alice/1", "x-user: alice", "x-roles: user"):                403,
		asks("GET /preview", "authorization: Basic a,Basic b"):                       400,
		asks("GET /preview", "authorization: Basic a", "authorization: Basic b"):     400,
		asks("GET /preview", "content-type: application/json", "content-type: a/b"):  400,
		asks("GET /preview", "x-other: \xff\xfe", "x-twice: a", "x-twice: b"):        200,
		asks("GET /preview", "x-envoy-internal: true", "x-context-extensions: a: b"): 200,
		asks("GET /preview", "x-envoy-expected-rq-timeout-ms: 2000"):                 200,
		asks("GET /preview", "x-envoy-expected-rq-timeout-ms: 0"):                    403,
		asks("GET /preview", "x-envoy-expected-rq-timeout-ms: -1"):                   200,
	} {
		if got := ask(raw); got == nil || got.StatusCode != want {
			t.Errorf("%q: got %+v, want %d", raw, got, want)
		}
	}
}

// What only Envoy's configuration or its filters can say has no way in.
func TestHTTPVariantBringsNothingElse(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, Options{Identity: []Source{{JWTMetadata: &JWTMetadata{}}}}, albumPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: m
  routes:
    - name: r
      match: {path: /x}
      anonymous: true
      resource:
        kind: album
        id: {expr: "[request.contextExtensions.size() == 0, request.metadata.size() == 0, request.routeMetadata.size() == 0, request.source.principal == '', request.source.address == '', request.sni == '', request.headers['x-mine'] == 'a,b', !('x-envoy-internal' in request.headers), !('content-length' in request.headers), request.headers[':path'] == '/x'].all(e, e) ? 'x' : ''"}
      action: preview
`))
	for _, raw := range []bool{true, false} {
		ask := overHTTP(t, s, HTTPOptions{PathPrefix: "/v1", RawHeaders: raw})
		got := ask(asks("GET /v1/x", "x-mine: a", "x-mine: b", "x-envoy-internal: true", "metadata-context: a",
			"x-forwarded-client-cert: URI=spiffe://a/b", "x-forwarded-for: 10.0.0.1"))
		want := 200
		if raw {
			// expressions join what is apart with ", "
			got, want = ask(asks("GET /v1/x", "x-mine: a,b")), 200
		}
		if got.StatusCode != want {
			t.Errorf("raw %v: got %d", raw, got.StatusCode)
		}
	}
}

// Whatever ends a check, the answer is no 5xx, which Envoy may be set to let
// pass, and none but an allow is 200.
func TestHTTPVariantNeverFails(t *testing.T) {
	o := trusted
	panics := false
	o.Observe = func(*Record) {
		if panics {
			panic("an observer that is broken")
		}
	}
	s := new(Server)
	ask := overHTTP(t, s, HTTPOptions{})
	preview := asks("GET /preview")
	status := func(raw string, end ...bool) int {
		t.Helper()
		got := ask(raw, end...)
		if got == nil {
			return 0
		}
		return got.StatusCode
	}
	if got := status(preview); got != 403 {
		t.Errorf("without policies: got %d", got)
	}
	s.Limits = Limits{Message: 2048}
	s.Use(compile(t, o, albumPolicy, albumRoutes))
	if got := status(preview); got != 200 {
		t.Errorf("got %d", got)
	}
	panics = true
	if got := status(preview); got != 403 {
		t.Errorf("a panic: got %d", got)
	}
	panics = false
	s.Limits.InFlight = 1
	s.inFlight.Add(1)
	if got := status(preview); got != 403 {
		t.Errorf("overloaded: got %d", got)
	}
	s.inFlight.Add(-1)
	if got := status(asks("POST /albums", "content-length: 30")+"x", true); got != 400 {
		t.Errorf("body cut off: got %d", got)
	}
	for name, tt := range map[string]struct {
		raw  string
		want []int
	}{
		"body too large":          {asks("POST /albums", "content-length: 3000") + strings.Repeat("x", 3000), []int{413}},
		"headers too large":       {asks("GET /preview", "x-a: "+strings.Repeat("a", 2000)), []int{413}},
		"headers far too large":   {asks("GET /preview", "x-a: "+strings.Repeat("a", 2<<20)), []int{431, 0}},
		"bad escape":              {asks("GET /%zz"), []int{400}},
		"path not UTF-8":          {asks("GET /\xff"), []int{400}},
		"two lengths":             {asks("GET /preview", "content-length: 1", "content-length: 2") + "x", []int{400}},
		"two hosts":               {asks("GET /preview", "host: b"), []int{400}},
		"no host":                 {"GET /preview HTTP/1.1\r\n\r\n", []int{400}},
		"no host, old":            {"GET /preview HTTP/1.0\r\n\r\n", []int{400}},
		"odd method":              {asks("G(T /preview"), []int{400}},
		"a header without a name": {asks("GET /preview", ": x"), []int{400}},
		"folded header":           {asks("GET /preview", "x-a: b\r\n c"), []int{200, 400}},
		"unknown expectation":     {asks("GET /preview", "expect: wonders"), []int{417}},
		"rubbish":                 {"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", []int{400}},
	} {
		if got := status(tt.raw); !slices.Contains(tt.want, got) {
			t.Errorf("%s: got %d, want %v", name, got, tt.want)
		}
	}
}

// An answer that HTTP can't carry denies, and so does a status that would mean
// something else to Envoy.
func TestHTTPVariantStatuses(t *testing.T) {
	for o := range outcomeCount {
		if o.Passes() {
			continue
		}
		got := overHTTPAnswer(t, o)
		want := o.Status()
		if want >= 500 {
			want = 403
		}
		if got.status != want || strings.Contains(got.body, strconv.Itoa(o.Status())) != (want == o.Status()) {
			t.Errorf("%v: got %+v, want %d", o, got, want)
		}
	}
}

func overHTTPAnswer(t *testing.T, o Outcome) httpAnswer {
	t.Helper()
	h := &httpVariant{server: new(Server)}
	return h.answer(decoded(t, compile(t, trusted, albumPolicy, albumRoutes).answers[formProblem][o].Bytes()))
}

func TestExpectedTimeoutIsADeadline(t *testing.T) {
	for text, limited := range map[string]bool{"2000": true, "1": true, "": false, "x": false, "-5": false, "99999999999": false} {
		r := &http.Request{Header: http.Header{expectedTimeout: {text}}}
		ctx, cancel := withExpectedTimeout(r)
		if _, ok := ctx.Deadline(); ok != limited {
			t.Errorf("%q: a deadline is there: %v", text, ok)
		}
		cancel()
	}
}

func FuzzHTTPVariant(f *testing.F) {
	for _, raw := range []string{
		asks("GET /v1/albums"), asks("GET /v1/albums/alice/1", "x-user: alice", "x-roles: user"), asks("OPTIONS *"), asks("CONNECT a:1"),
		asks("POST /v1/albums", "content-type: application/json", "content-length: 11", "x-user: alice", "x-roles: user") + `{"size": 9}`,
		asks("GET /v1/%zz"), asks("GET http://a/v1/albums"), "GET / HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		asks("GET /v1/albums", "transfer-encoding: gzip"), asks("GET /v1/albums", "expect: x"),
	} {
		f.Add(raw)
	}
	// Nobody may do anything, so that 200 is wrong whatever the bytes are.
	s := new(Server)
	s.Use(compile(f, trusted, "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: album, version: default}\n", albumRoutes))
	ask := overHTTP(f, s, HTTPOptions{PathPrefix: "/v1", RawHeaders: true})
	f.Fuzz(func(t *testing.T, raw string) {
		got := ask(raw+"\r\n\r\n", true)
		if got == nil {
			return
		}
		// net/http itself says 501 and 505 to what Envoy never sends: other
		// transfer codings, which it refuses on its own, and other versions.
		own := got.StatusCode == 501 && strings.Contains(strings.ToLower(raw), "transfer-encoding") || got.StatusCode == 505
		if got.StatusCode < 300 || got.StatusCode >= 500 && !own {
			t.Errorf("%q: got %d", raw, got.StatusCode)
		}
	})
}
