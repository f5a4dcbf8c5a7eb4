package authzen

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"gopkg.in/yaml.v3"

	"edict/api"
	"edict/api/authzenpb"
	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/conformance"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
)

// readYAML reads a file of YAML into plain JSON values.
func readYAML(t testing.TB, name string, into any) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := yaml.Unmarshal(content, &plain); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	b, err := json.Marshal(plain)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// newServer gives a server with the policies and limits of the tests, and a token
// that it takes.
func newServer(t testing.TB) (s *Server, token string) {
	t.Helper()
	var texts []json.RawMessage
	readYAML(t, "testdata/policies.yaml", &texts)
	var policies []*policy.Policy
	for _, text := range texts {
		p, list := policyfile.Parse("policies.yaml", text)
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		policies = append(policies, p)
	}
	ps, list := engine.Compile(policies, engine.Options{LenientEvaluation: true})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	v, err := auxdata.New(t.Context(), auxdata.Options{KeySets: []auxdata.KeySet{{ID: "tests", Local: &auxdata.Local{
		Data: fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"k","x":%q}]}`, encode(public)),
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	signed := encode([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." + encode([]byte(`{"customInt":42}`))
	return &Server{API: &api.Server{
		Policies: func() *engine.PolicySet { return ps },
		AuxData:  v,
		Limits:   api.Limits{Actions: 3, Resources: 2, Message: 1 << 20},
		Panicked: func(v any, stack []byte) { t.Errorf("a panic: %v\n%s", v, stack) },
	}}, signed + "." + encode(ed25519.Sign(private, []byte(signed)))
}

// handler gives the HTTP side of a server as it is served.
func handler(s *Server) http.Handler {
	return s.API.Handler(api.HTTPOptions{Mounted: s.Handlers()})
}

func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// dial serves a server over gRPC, and connects.
func dial(t testing.TB, s *Server) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer(api.ServerOptions(s.API.Limits.Message)...)
	s.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///pdp.example.org:7", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// calls are the calls with evaluations, and where they are over HTTP.
var calls = map[string]string{"AccessEvaluation": EvaluationPath, "AccessEvaluationBatch": EvaluationsPath}

// messages gives an empty request and an empty answer of a call.
func messages(t testing.TB, call string) (in, out proto.Message) {
	t.Helper()
	for name, m := range map[string]*proto.Message{"Request": &in, "Response": &out} {
		found, err := protoregistry.GlobalTypes.FindMessageByURL("authzen.authorization.v1." + call + name)
		if err != nil {
			t.Fatal(err)
		}
		*m = found.New().Interface()
	}
	return in, out
}

// An exchange is a call of testdata/calls.yaml and what it is answered.
type exchange struct {
	Name, Call string
	Send       json.RawMessage
	Text       *string
	Want       json.RawMessage
	Code       codes.Code
	Message    string
	Rules      []string
}

// unsigned is a token with the claims of a good one that nobody signed.
var unsigned = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"customInt":42}`)) + "."

func (x *exchange) body(token string) string {
	if x.Text != nil {
		return *x.Text
	}
	return strings.NewReplacer(`"GOOD"`, `"`+token+`"`, `"UNSIGNED"`, `"`+unsigned+`"`).Replace(string(x.Send))
}

// judge looks at an answer, which is a message or an error.
func (x *exchange) judge(t *testing.T, out proto.Message, err error) {
	t.Helper()
	if x.Want == nil {
		st := status.Convert(err)
		if err == nil || st.Code() != x.Code || st.Message() != x.Message {
			t.Errorf("got %v, %v\nwant %s: %s", out, err, x.Code, x.Message)
		}
		var rules []string
		for _, detail := range st.Details() {
			for _, v := range detail.(*cerbospb.Violations).GetViolations() {
				rules = append(rules, v.GetRuleId())
			}
		}
		if x.Rules != nil && !slices.Equal(rules, x.Rules) {
			t.Errorf("the broken rules are %q\nwant %q", rules, x.Rules)
		}
		return
	}
	if err != nil {
		t.Fatalf("got %v", err)
	}
	want := out.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(x.Want, want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(out, want) {
		t.Errorf("got\n%s\nwant\n%s", protojson.Format(out), protojson.Format(want))
	}
}

// overHTTP makes a call over HTTP.
func overHTTP(t *testing.T, h http.Handler, path, body string, out proto.Message) (*httptest.ResponseRecorder, error) {
	t.Helper()
	w := ask(h, "POST", path, body)
	if got := w.Header().Get("content-type"); got != "application/json" {
		t.Errorf("the content type is %q", got)
	}
	into, st := out, new(spb.Status)
	if w.Code != http.StatusOK {
		into = st
	}
	if err := protojson.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return w, status.ErrorProto(st)
}

// Both transports answer alike.
func TestCalls(t *testing.T) {
	var list []exchange
	readYAML(t, "testdata/calls.yaml", &list)
	s, token := newServer(t)
	h, conn := handler(s), dial(t, s)
	for _, x := range list {
		t.Run(x.Name, func(t *testing.T) {
			in, out := messages(t, x.Call)
			w, err := overHTTP(t, h, calls[x.Call], x.body(token), out)
			x.judge(t, out, err)
			if want := map[codes.Code]int{codes.OK: 200, codes.InvalidArgument: 400}[x.Code]; w.Code != want {
				t.Errorf("the HTTP status is %d, want %d", w.Code, want)
			}
			if x.Text != nil {
				return
			}
			if err := protojson.Unmarshal([]byte(x.body(token)), in); err != nil {
				t.Fatal(err)
			}
			_, out = messages(t, x.Call)
			var header metadata.MD
			err = conn.Invoke(t.Context(), "/"+ServiceName+"/"+x.Call, in, out, grpc.Header(&header))
			x.judge(t, out, err)
			if got := header.Get("cerbos-version"); err == nil && !slices.Equal(got, []string{api.CerbosVersion}) {
				t.Errorf("the version in the header is %q", got)
			}
		})
	}
	if len(list) < 50 {
		t.Errorf("there are only %d calls", len(list))
	}
}

// A denial is told, and not left out.
func TestDenialIsTold(t *testing.T) {
	s, _ := newServer(t)
	w := ask(handler(s), "POST", EvaluationPath, `{"subject":{"type":"user","id":"ann"},"resource":{"type":"doc","id":"1"},"action":{"name":"delete"}}`)
	if w.Code != 200 || w.Body.String() != `{"decision":false}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// All evaluations of a call are decided by the same policies, and a call without
// any policies is refused.
func TestPolicies(t *testing.T) {
	s, _ := newServer(t)
	asked, policies := 0, s.API.Policies
	s.API.Policies = func() *engine.PolicySet { asked++; return policies() }
	const body = `{"subject":{"type":"user","id":"ann"},"resource":{"type":"doc","id":"1"},"action":{"name":"view"}`
	if w := ask(handler(s), "POST", EvaluationsPath, body+`,"evaluations":[{},{},{}]}`); w.Code != 200 || asked != 1 {
		t.Errorf("got %d %s, asked %d times", w.Code, w.Body, asked)
	}
	s.API.Policies = func() *engine.PolicySet { return nil }
	for path, body := range map[string]string{EvaluationPath: body + "}", EvaluationsPath: body + `,"evaluations":[{}]}`} {
		if w := ask(handler(s), "POST", path, body); w.Code != 503 || w.Body.String() != `{"code":14,"message":"no policies are loaded"}` {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
}

// Calls are among those that may be answered at once, a batch being one, and
// metadata are not.
func TestCallsBeyondTheLimit(t *testing.T) {
	s, _ := newServer(t)
	s.API.Limits.InFlight = 1
	h, policies := handler(s), s.API.Policies
	const body = `{"subject":{"type":"user","id":"ann"},"resource":{"type":"doc","id":"1"},"action":{"name":"view"}`
	bodies := map[string]string{EvaluationPath: body + "}", EvaluationsPath: body + `,"evaluations":[{},{},{}]}`}
	for path := range bodies {
		s.API.Policies = func() *engine.PolicySet { // while a call is under way
			for path, body := range bodies {
				if w := ask(h, "POST", path, body); w.Code != 503 || w.Body.String() != `{"code":14,"message":"too many calls are being answered"}` {
					t.Errorf("%s, one too many: got %d %s", path, w.Code, w.Body)
				}
			}
			if w := ask(h, "GET", MetadataPath, ""); w.Code != 200 {
				t.Errorf("the metadata: got %d %s", w.Code, w.Body)
			}
			return policies()
		}
		if w := ask(h, "POST", path, bodies[path]); w.Code != 200 {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
}

// What an answer says of each evaluation is bounded, and so is what it takes to refuse
// too many of them.
func TestAnswersAreBounded(t *testing.T) {
	s, _ := newServer(t)
	s.API.Limits.Actions, s.API.Limits.Resources = 50, 50
	h := handler(s)
	body := func(bytes, evaluations int) string {
		list := make([]string, evaluations)
		for i := range list {
			list[i] = fmt.Sprintf(`{"resource":{"type":"doc","id":"%d"}}`, i)
		}
		return `{"subject":{"type":"user","id":"ann"},"action":{"name":"view"},"context":{"cerbos.includeMeta":true,"cerbos.requestId":"` +
			strings.Repeat("x", bytes) + `"},"evaluations":[` + strings.Join(list, ",") + `]}`
	}
	for evaluations, want := range map[int]int{2: 200, 4: 429} {
		w := ask(h, "POST", EvaluationsPath, body(300<<10, evaluations))
		if w.Code != want || want == 429 && w.Body.String() != `{"code":8,"message":"the answer is longer than it may be (1048576)"}` {
			t.Errorf("%d evaluations: got %d %.200s, want %d", evaluations, w.Code, w.Body, want)
		}
	}
	// As values of JSON answers are several times as long as those of CheckResources.
	s.API.Limits.Message = 5_000
	for evaluations, want := range map[int]int{10: 200, 45: 429} {
		if w := ask(h, "POST", EvaluationsPath, body(0, evaluations)); w.Code != want || w.Body.Len() > 5_000 {
			t.Errorf("%d evaluations: got %d with %d bytes, want %d", evaluations, w.Code, w.Body.Len(), want)
		}
	}

	in := &authzenpb.AccessEvaluationBatchRequest{
		Subject:  &authzenpb.Subject{Type: "user", Id: "ann"},
		Resource: &authzenpb.Resource{Type: "doc", Id: "1"},
		Action:   &authzenpb.Action{Name: "view"},
	}
	in.Evaluations = slices.Repeat([]*authzenpb.AccessEvaluationBatchRequest_Evaluation{{}}, 1_000_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.AccessEvaluationBatch(t.Context(), in)
	runtime.ReadMemStats(&after)
	if want := "number of evaluations (1000000) exceeds configured limit (2500)"; status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("it takes %d bytes to refuse", got)
	}
}

// A panic is an error, and is told of.
func TestPanic(t *testing.T) {
	s, _ := newServer(t)
	var told any
	s.API.Panicked = func(v any, _ []byte) { told = v }
	s.API.Policies = func() *engine.PolicySet { panic("a bug") }
	w := ask(handler(s), "POST", EvaluationPath, `{"subject":{"type":"user","id":"ann"},"resource":{"type":"doc","id":"1"},"action":{"name":"view"}}`)
	if w.Code != 500 || w.Body.String() != `{"code":13,"message":"internal error"}` || told != "a bug" {
		t.Errorf("got %d %s, told of %v", w.Code, w.Body, told)
	}
}

func TestHTTP(t *testing.T) {
	s, _ := newServer(t)
	h := handler(s)
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", EvaluationPath, "", 501, `{"code":12,"message":"Method Not Allowed"}`},
		{"PUT", EvaluationsPath, "", 501, `{"code":12,"message":"Method Not Allowed"}`},
		{"POST", MetadataPath, "", 501, `{"code":12,"message":"Method Not Allowed"}`},
		{"POST", "/access/v1/nope", "", 404, `{"code":5,"message":"Not Found"}`},
		{"POST", EvaluationPath + "/", "", 404, `{"code":5,"message":"Not Found"}`},
		{"GET", "/.well-known/nope", "", 404, "404 page not found\n"},
		{"POST", EvaluationPath, strings.Repeat(" ", 1<<20+1), 429, `{"code":8,"message":"grpc: received message larger than max (1048577 vs. 1048576)"}`},
	} {
		if w := ask(h, tt.method, tt.path, tt.body); w.Code != tt.status || w.Body.String() != tt.want {
			t.Errorf("%s %s: got %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

func TestRequestID(t *testing.T) {
	s, _ := newServer(t)
	h := handler(s)
	for id, want := range map[string]string{
		"bfe9eb29-ab87-4ca3-be83-a1d5d8305716": "bfe9eb29-ab87-4ca3-be83-a1d5d8305716",
		"":                                     "",
		"a\x01b":                               "",
		"ä":                                    "",
		strings.Repeat("x", mostID):            strings.Repeat("x", mostID),
		strings.Repeat("x", mostID+1):          "",
	} {
		for _, path := range []string{EvaluationPath, EvaluationsPath, MetadataPath, "/access/v1/nope"} {
			if w := ask(h, "POST", path, "{}", "X-Request-ID", id); w.Header().Get("x-request-id") != want {
				t.Errorf("%s: %q is answered with %q", path, id, w.Header())
			}
		}
	}
}

func TestMetadata(t *testing.T) {
	s, _ := newServer(t)
	for _, tt := range []struct {
		name, url, target string
		headers           []string
		want              string // empty: an error
	}{
		{"by the host", "", "http://127.0.0.1:3592", nil, "http://127.0.0.1:3592"},
		{"over TLS", "", "https://pdp.example.org", nil, "https://pdp.example.org"},
		{"as proxies say", "", "http://10.0.0.1", []string{"X-Forwarded-Host", "pdp.example.org:8443", "X-Forwarded-Proto", "https"}, "https://pdp.example.org:8443"},
		{"an IPv6 address", "", "http://[::1]:3592", nil, "http://[::1]:3592"},
		{"the first of two proxies", "", "http://10.0.0.1", []string{"X-Forwarded-Host", "a.example, b.example", "X-Forwarded-Proto", "HTTPS,http"}, "https://a.example"},
		{"the first of two headers", "", "http://10.0.0.1", []string{"X-Forwarded-Host", "a.example", "X-Forwarded-Host", "b.example"}, "http://a.example"},
		{"a scheme that is none", "", "http://10.0.0.1", []string{"X-Forwarded-Proto", "javascript"}, "http://10.0.0.1"},
		{"a path in place of a host", "", "http://10.0.0.1", []string{"X-Forwarded-Host", "evil.example/x?"}, "http://10.0.0.1"},
		{"a user in place of a host", "", "http://10.0.0.1", []string{"X-Forwarded-Host", "pdp.example.org@evil.example"}, "http://10.0.0.1"},
		{"markup in place of a host", "", "http://10.0.0.1", []string{"X-Forwarded-Host", `"><b`}, "http://10.0.0.1"},
		{"as configured, whatever requests say", "https://pdp.example.org/v1", "http://10.0.0.1", []string{"X-Forwarded-Host", "a.example"}, "https://pdp.example.org/v1"},
	} {
		s.URL = tt.url
		w := ask(handler(s), "GET", tt.target+MetadataPath, "", tt.headers...)
		var got map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || w.Header().Get("cache-control") != "no-store" {
			t.Errorf("%s: got %d %v %s", tt.name, w.Code, w.Header(), w.Body)
		}
		if len(got) != 3 || got["policy_decision_point"] != tt.want ||
			got["access_evaluation_endpoint"] != tt.want+"/access/v1/evaluation" || got["access_evaluations_endpoint"] != tt.want+"/access/v1/evaluations" {
			t.Errorf("%s: got %s", tt.name, w.Body)
		}
	}
	s.URL = ""
	r := httptest.NewRequest("GET", MetadataPath, nil)
	r.Host = ""
	w := httptest.NewRecorder()
	handler(s).ServeHTTP(w, r)
	if w.Code != 400 {
		t.Errorf("without a host: got %d %s", w.Code, w.Body)
	}
	for host, want := range map[string]string{"": "http://pdp.example.org:7", "other.example": "https://other.example"} {
		ctx := t.Context()
		if host != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "x-forwarded-host", host, "x-forwarded-proto", "https")
		}
		out := new(authzenpb.MetadataResponse)
		if err := dial(t, s).Invoke(ctx, "/"+ServiceName+"/Metadata", new(authzenpb.MetadataRequest), out); err != nil || out.GetPolicyDecisionPoint() != want {
			t.Errorf("over gRPC: got %v, %v", out, err)
		}
	}
}

// The page about AuthZEN is true: its policy answers its requests as it says.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/authzen.md")
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler
	var got *httptest.ResponseRecorder
	answers := 0
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+ [^\n]+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		kind, text := m[1], m[2]
		switch words := strings.Fields(kind); {
		case kind == "yaml policy":
			p, list := policyfile.Parse("authzen.md", []byte(text))
			if len(list) > 0 {
				t.Fatal(list.Render())
			}
			ps, list := engine.Compile([]*policy.Policy{p}, engine.Options{})
			if len(list) > 0 {
				t.Fatal(list.Render())
			}
			h = handler(&Server{API: &api.Server{Policies: func() *engine.PolicySet { return ps }}, URL: "https://pdp.example.org"})
		case len(words) == 3 && words[0] == "json":
			got = ask(h, words[1], words[2], text)
		case kind == "json answer":
			var a, b any
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(got.Body.Bytes(), &b); err != nil || got.Code != 200 || !reflect.DeepEqual(a, b) {
				t.Errorf("got %d %s\nwant %s", got.Code, got.Body, text)
			}
			answers++
		}
	}
	if answers != 3 {
		t.Errorf("there are %d answers", answers)
	}
}

// The cases of Cerbos' own server are answered as there.
func TestConformance(t *testing.T) {
	dir := conformance.Dir(t)
	store, list := policyfile.ReadFolder(os.DirFS(filepath.Join(dir, "store")), "")
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	policies, list := policyfile.ParseAll(store.Policies)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	compiler, err := engine.NewCompiler(engine.Options{LenientEvaluation: true, SchemaEnforcement: engine.SchemaReject})
	if err != nil {
		t.Fatal(err)
	}
	ps, list := compiler.Compile(policies, schema.New(store.SchemaContents()))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	v, err := auxdata.New(t.Context(), auxdata.Options{KeySets: []auxdata.KeySet{{
		ID: "cerbos", Local: &auxdata.Local{File: filepath.Join(dir, "auxdata", "verify_key.jwk")},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	h := handler(&Server{API: &api.Server{
		Policies: func() *engine.PolicySet { return ps }, AuxData: v,
		Limits: api.Limits{Actions: 5, Resources: 5, Message: 4 << 20},
	}})
	const cases = "server/authzen"
	files, err := filepath.Glob(filepath.Join(dir, cases, "*", "*.yaml"))
	if err != nil || len(files) != conformance.Count(t, cases) {
		t.Errorf("there are %d cases, want %d, %v", len(files), conformance.Count(t, cases), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var c struct {
				WantStatus                              struct{ HTTPStatusCode int }
				AccessEvaluation, AccessEvaluationBatch *struct{ Input, WantResponse json.RawMessage }
			}
			readYAML(t, file, &c)
			call, x := "AccessEvaluation", c.AccessEvaluation
			if c.AccessEvaluationBatch != nil {
				call, x = "AccessEvaluationBatch", c.AccessEvaluationBatch
			}
			w := ask(h, "POST", calls[call], string(x.Input))
			if w.Code != c.WantStatus.HTTPStatusCode {
				t.Fatalf("the HTTP status is %d, want %d: %s", w.Code, c.WantStatus.HTTPStatusCode, w.Body)
			}
			if w.Code != 200 {
				return
			}
			type decisions struct {
				Decision    *bool
				Evaluations []struct{ Decision *bool }
			}
			var got, want decisions
			for _, d := range []struct {
				text []byte
				into *decisions
			}{{w.Body.Bytes(), &got}, {x.WantResponse, &want}} {
				if err := json.Unmarshal(d.text, d.into); err != nil {
					t.Fatal(err)
				}
			}
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			if string(a) != string(b) {
				t.Errorf("got %s\nwant %s", a, b)
			}
		})
	}
}

// Whatever the body is, the answer is JSON with a status of the documented ones,
// and a decision of a batch is that of the evaluation alone.
func FuzzBodies(f *testing.F) {
	var list []exchange
	readYAML(f, "testdata/calls.yaml", &list)
	for _, x := range list {
		f.Add(x.Call == "AccessEvaluationBatch", []byte(x.body("token")))
	}
	s, _ := newServer(f)
	h := handler(s)
	f.Fuzz(func(t *testing.T, batch bool, body []byte) {
		path := EvaluationPath
		if batch {
			path = EvaluationsPath
		}
		w := ask(h, "POST", path, string(body))
		if !json.Valid(w.Body.Bytes()) || w.Code != 200 && w.Code != 400 && w.Code != 429 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if w.Code != 200 || !batch {
			return
		}
		in, out := new(authzenpb.AccessEvaluationBatchRequest), new(authzenpb.AccessEvaluationBatchResponse)
		if err := protojson.Unmarshal(body, in); err != nil {
			t.Fatal(err)
		}
		if err := protojson.Unmarshal(w.Body.Bytes(), out); err != nil {
			t.Fatal(err)
		}
		for i, d := range out.GetEvaluations() {
			e := in.GetEvaluations()[i]
			one := &authzenpb.AccessEvaluationRequest{Subject: e.Subject, Resource: e.Resource, Action: e.Action, Context: e.Context}
			if one.Subject == nil {
				one.Subject = in.Subject
			}
			if one.Resource == nil {
				one.Resource = in.Resource
			}
			if one.Action == nil {
				one.Action = in.Action
			}
			if len(one.Context) == 0 {
				one.Context = in.Context
			}
			if alone, err := s.AccessEvaluation(t.Context(), one); err != nil || alone.GetDecision() != d.GetDecision() {
				t.Errorf("evaluation %d is %v, alone %v, %v", i, d, alone, err)
			}
		}
	})
}
