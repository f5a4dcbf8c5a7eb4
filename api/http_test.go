package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
	"edict/api/internal/transport"
	"edict/engine"
)

// get asks for something over HTTP.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const allowed = `{"principal":{"id":"ann","roles":["user"]},"resources":[{"actions":["view"],"resource":{"kind":"doc","id":"1"}}]}`

func TestServerInfo(t *testing.T) {
	s, _ := newServer(t)
	w := ask(s.Handler(HTTPOptions{}), "GET", "/api/server_info", "")
	const want = `{"version":"1.2.3","commit":"abc","buildDate":"2026-01-02T03:04:05Z"}`
	if w.Code != 200 || w.Body.String() != want || w.Header().Get("Grpc-Metadata-Cerbos-Version") != "0.55.0" {
		t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
	}
	out := new(cerbospb.ServerInfoResponse)
	if err := dial(t, s).Invoke(t.Context(), "/"+ServiceName+"/ServerInfo", new(cerbospb.ServerInfoRequest), out); err != nil || out.GetVersion() != "1.2.3" {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestPretty(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	const want = `{
  "code": 5,
  "message": "Not Found"
}`
	if got := ask(h, "GET", "/api/x?pretty", "").Body.String(); got != want {
		t.Errorf("got %s", got)
	}
	plain, pretty := ask(h, "POST", "/api/check/resources", allowed), ask(h, "POST", "/api/check/resources?pretty", allowed)
	var indented bytes.Buffer
	if err := json.Indent(&indented, plain.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	cut := func(s string) string { before, _, _ := strings.Cut(s, `"cerbosCallId"`); return before }
	if got := pretty.Body.String(); cut(got) != cut(indented.String()) {
		t.Errorf("got %s\nwant %s", got, indented.String())
	}
	// Spaces would be most of the answer.
	for _, attr := range []string{strings.Repeat("[", 70) + `"\"]"` + strings.Repeat("]", 70), `"` + strings.Repeat("x", 300<<10) + `"`} {
		w := ask(h, "POST", "/api/check/resources?pretty", `{"principal":{"id":"ann","roles":["user"],"attr":{"a":`+attr+`}},`+
			`"resources":[{"actions":["shout-1"],"resource":{"kind":"doc","id":"1"}}]}`)
		if w.Code != 200 || !json.Valid(w.Body.Bytes()) || strings.Contains(w.Body.String(), "\n") {
			t.Errorf("got %d %.300s", w.Code, w.Body)
		}
	}
	if strings.Contains(plain.Body.String(), " ") {
		t.Errorf("there is white space in %s", plain.Body)
	}
}

func TestPathsThatAreNotThere(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{Health: health.NewServer()})
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/api/nope", `{"code":5,"message":"Not Found"}`, 404},
		{"POST", "/api/check/resources/", `{"code":5,"message":"Not Found"}`, 404},
		{"POST", "/api/x/check/resources", `{"code":5,"message":"Not Found"}`, 404},
		{"GET", "/api/check/resources", `{"code":12,"message":"Method Not Allowed"}`, 501},
		{"PUT", "/api/plan/resources", `{"code":12,"message":"Method Not Allowed"}`, 501},
		{"OPTIONS", "/api/check", `{"code":12,"message":"Method Not Allowed"}`, 501},
		{"POST", "/api/server_info", `{"code":12,"message":"Method Not Allowed"}`, 501},
		{"POST", "/_cerbos/health", `{"code":12,"message":"Method Not Allowed"}`, 501},
		{"GET", "/admin/policies", `{"code":12,"message":"Admin service is disabled by the configuration"}`, 404},
		{"POST", "/api/playground/validate", `{"code":12,"message":"the playground is not part of this server"}`, 404},
		{"GET", "/", "404 page not found\n", 404},
		{"GET", "/_cerbos/nope", "404 page not found\n", 404},
	} {
		w := ask(h, tt.method, tt.path, allowed)
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s %s: got %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

// Other parts of Edict can be mounted, and take the place of what is refused.
func TestMounted(t *testing.T) {
	s, _ := newServer(t)
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, text) })
	}
	h := s.Handler(HTTPOptions{Mounted: map[string]http.Handler{"/admin/": say("admin"), "POST /edict/v1/take": say("taken")}})
	for path, want := range map[string]string{"/admin/policies": "admin", "/edict/v1/take": "taken"} {
		if got := ask(h, "POST", path, "").Body.String(); got != want {
			t.Errorf("%s: got %s", path, got)
		}
	}
}

func TestHealth(t *testing.T) {
	s, _ := newServer(t)
	state := health.NewServer()
	h := s.Handler(HTTPOptions{Health: state})
	for _, tt := range []struct {
		status       grpc_health_v1.HealthCheckResponse_ServingStatus
		target, want string
		code         int
	}{
		{grpc_health_v1.HealthCheckResponse_SERVING, "/_cerbos/health", `{"status":"SERVING"}`, 200},
		{grpc_health_v1.HealthCheckResponse_SERVING, "/_cerbos/health?service=" + ServiceName, `{"status":"SERVING"}`, 200},
		{grpc_health_v1.HealthCheckResponse_NOT_SERVING, "/_cerbos/health", `{"code":14,"message":"NOT_SERVING"}`, 503},
		{grpc_health_v1.HealthCheckResponse_SERVING, "/_cerbos/health?service=other", `{"code":5,"message":"unknown service"}`, 404},
	} {
		state.SetServingStatus("", tt.status)
		state.SetServingStatus(ServiceName, tt.status)
		if w := ask(h, "GET", tt.target, ""); w.Code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s: got %d %s", tt.target, w.Code, w.Body)
		}
	}
}

// sized is a request of a length.
func sized(n int) string {
	const begin, end = `{"requestId":"`, `","principal":{"id":"ann","roles":["user"]},"resources":[{"actions":["view"],"resource":{"kind":"doc","id":"1"}}]}`
	return begin + strings.Repeat("x", n-len(begin)-len(end)) + end
}

func TestTooLarge(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	for _, known := range []bool{true, false} {
		for n, want := range map[int]int{s.Limits.Message: 200, s.Limits.Message + 1: 429, 10_000_000: 429} {
			r := httptest.NewRequest("POST", "/api/check/resources", strings.NewReader(sized(n)))
			size := fmt.Sprint(n)
			if !known {
				r.ContentLength, size = -1, "more"
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			message := fmt.Sprintf(`{"code":8,"message":"grpc: received message larger than max (%s vs. %d)"}`, size, s.Limits.Message)
			if w.Code != want || want != 200 && w.Body.String() != message {
				t.Errorf("%d bytes: got %d %.200s", n, w.Code, w.Body)
			}
		}
	}
	in := &cerbospb.CheckResourcesRequest{RequestId: strings.Repeat("x", 10_000_000)}
	err := dial(t, s).Invoke(t.Context(), "/"+ServiceName+"/CheckResources", in, new(cerbospb.CheckResourcesResponse))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("over gRPC: got %v", err)
	}
}

// A client that sends all of a long body before it reads learns why it is refused.
func TestTooLargeIsTold(t *testing.T) {
	s, _ := newServer(t)
	server := httptest.NewServer(s.Handler(HTTPOptions{}))
	defer server.Close()
	for _, chunked := range []bool{false, true} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := httptest.NewRequest("POST", server.URL+paths["CheckResources"], strings.NewReader(sized(10_000_000)))
		if chunked {
			r.ContentLength = -1
		}
		if err := r.Write(conn); err != nil {
			t.Errorf("chunked %v: the body is not taken: %v", chunked, err)
			continue
		}
		w, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			t.Errorf("chunked %v: got no answer: %v", chunked, err)
			continue
		}
		if w.StatusCode != http.StatusTooManyRequests {
			t.Errorf("chunked %v: got %s", chunked, w.Status)
		}
	}
}

func TestManyResources(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	entry := `{"actions":["view"],"resource":{"kind":"doc","id":"1"}},`
	body := `{"principal":{"id":"ann","roles":["user"]},"resources":[` + strings.TrimSuffix(strings.Repeat(entry, 10_000), ",") + `]}`
	w := ask(h, "POST", "/api/check/resources", body)
	const want = `{"code":3,"message":"number of resources in batch (10000) exceeds configured limit (2)"}`
	if w.Code != 400 || w.Body.String() != want {
		t.Errorf("got %d %.300s", w.Code, w.Body)
	}
	w = ask(h, "POST", "/api/check/resources", strings.ReplaceAll(body, `"kind":"doc",`, ""))
	if w.Code != 400 || w.Body.String() != want {
		t.Errorf("rules are looked at: got %d %.300s", w.Code, w.Body)
	}
	_, read, err := inPlace(s, []byte(strings.Repeat("\x22\x00", 10_000)))
	if read || !strings.Contains(want, status.Convert(err).Message()) {
		t.Errorf("over gRPC: got %v, %v", read, err)
	}
	roles := strings.TrimSuffix(strings.Repeat(`"",`, 10_000), ",")
	w = ask(h, "POST", "/api/check/resources", `{"principal":{"id":"ann","roles":[`+roles+`]},"resources":[`+strings.TrimSuffix(entry, ",")+`]}`)
	if w.Code != 400 || w.Body.Len() > 10_000 || !strings.Contains(w.Body.String(), "and 9991 more") {
		t.Errorf("got %d %.300s", w.Code, w.Body)
	}
}

// An error does not repeat all of what was sent.
func TestErrorsAreShort(t *testing.T) {
	s, _ := newServer(t)
	for _, body := range []string{
		`{"` + strings.Repeat("x", 100_000) + `":1}`,
		`{"requestId":` + strings.Repeat("7", 100_000) + `}`,
		`{"auxData":{"jwts":{"` + strings.Repeat("x", 100_000) + `":{}}}}`,
		"{\xb3", // is no text, and has to be one in the answer
		"{\"\xb3\":1}",
		"{\"" + strings.Repeat("\xb3", 100_000) + "\":1}",
	} {
		if w := ask(s.Handler(HTTPOptions{}), "POST", "/api/check/resources", body); w.Code != 400 || w.Body.Len() > 4_000 {
			t.Errorf("got %d with %d bytes", w.Code, w.Body.Len())
		}
	}
}

func TestDeadlines(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	for timeout, want := range map[string]int{"1n": 504, "10S": 200, "99999999H": 200, "zz": 400, "S": 400, "1": 400, "-1S": 400, "123456789S": 400} {
		if w := ask(h, "POST", "/api/check/resources", allowed, "Grpc-Timeout", timeout); w.Code != want {
			t.Errorf("%s: got %d %s", timeout, w.Code, w.Body)
		}
	}
	s.Limits.Time = time.Nanosecond
	if w := ask(h, "POST", "/api/check/resources", allowed); w.Code != 504 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Limits.Time = 0
	for name, call := range map[string]func() error{
		"check": func() error {
			_, err := s.CheckResources(ctx, &cerbospb.CheckResourcesRequest{
				Principal: &cerbospb.Principal{Id: "ann", Roles: []string{"user"}},
				Resources: []*cerbospb.CheckResourcesRequest_ResourceEntry{{Actions: []string{"view"}, Resource: &cerbospb.Resource{Kind: "doc", Id: "1"}}},
			})
			return err
		},
		"plan": func() error {
			_, err := s.PlanResources(ctx, &cerbospb.PlanResourcesRequest{
				Principal: &cerbospb.Principal{Id: "ann", Roles: []string{"user"}}, Action: "view", Resource: &cerbospb.PlanResourcesInput_Resource{Kind: "doc"},
			})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.Canceled {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWithoutPolicies(t *testing.T) {
	s, _ := newServer(t)
	s.Policies = func() *engine.PolicySet { return nil }
	for path, body := range map[string]string{
		"/api/check/resources": allowed,
		"/api/plan/resources":  `{"principal":{"id":"ann","roles":["user"]},"action":"view","resource":{"kind":"doc"}}`,
	} {
		if w := ask(s.Handler(HTTPOptions{}), "POST", path, body); w.Code != 503 || w.Body.String() != `{"code":14,"message":"no policies are loaded"}` {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
}

// A panic is an error, is told of, and leaves nothing behind.
func TestPanic(t *testing.T) {
	s, _ := newServer(t)
	told := 0
	s.Panicked = func(v any, stack []byte) {
		if told++; v != "a bug" || len(stack) == 0 {
			t.Errorf("told of %v", v)
		}
		panic("nobody looks")
	}
	policies := s.Policies
	s.Policies = func() *engine.PolicySet { panic("a bug") }
	h := s.Handler(HTTPOptions{})
	if w := ask(h, "POST", "/api/check/resources", allowed); w.Code != 500 || w.Body.String() != `{"code":13,"message":"internal error"}` || told != 1 {
		t.Errorf("got %d %s, told %d times", w.Code, w.Body, told)
	}
	s.Policies = policies
	if w := ask(h, "POST", "/api/check/resources", allowed); w.Code != 200 || !strings.Contains(w.Body.String(), "EFFECT_ALLOW") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// answering gives a handler that answers with a message.
func answering(m proto.Message) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { transport.Respond(w, r, m, nil) })
}

// Attributes may be nested as deeply as JSON can be read, and no deeper.
func TestDeepAttributes(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	for depth, want := range map[int]int{100: 200, 2_000: 200, 3_300: 200, 100_000: 400} {
		nested := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		body := `{"principal":{"id":"ann","roles":["user"]},"resources":[{"actions":["edit"],"resource":{"kind":"doc","id":"1","attr":{"owner":"ann","size":1,"tags":` + nested + `}}}]}`
		if w := ask(h, "POST", "/api/check/resources", body); w.Code != want || want == 200 && !strings.Contains(w.Body.String(), nested) {
			t.Errorf("%d deep: got %d %.300s", depth, w.Code, w.Body)
		}
	}
}

// What rules tell of the attributes can't make the answer many times as long as
// the request.
func TestOutputsAreBounded(t *testing.T) {
	s, _ := newServer(t)
	h := s.Handler(HTTPOptions{})
	entry := `{"actions":["shout-a","shout-b"],"resource":{"kind":"doc","id":"1"}}`
	for entries, want := range map[string]int{entry: 200, entry + "," + entry: 429} {
		body := `{"principal":{"id":"ann","roles":["user"],"attr":{"a":"` + strings.Repeat("x", s.Limits.Message/3) + `"}},"resources":[` + entries + `]}`
		w := ask(h, "POST", "/api/check/resources", body)
		const refused = `{"code":8,"message":"the answer is longer than it may be (1048576)"}`
		if w.Code != want || want != 200 && w.Body.String() != refused {
			t.Errorf("got %d %.200s, want %d", w.Code, w.Body, want)
		}
	}
}
