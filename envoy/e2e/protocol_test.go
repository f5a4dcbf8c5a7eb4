package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A standIn stands where Edict does and answers as the test says, so that it is
// Envoy alone that is seen at work.
type standIn struct {
	authv3.UnimplementedAuthorizationServer

	mu     sync.Mutex
	answer func(context.Context) (*authv3.CheckResponse, error)
	asked  []asked
}

// asked is one question of Envoy's.
type asked struct {
	request  *authv3.CheckRequest
	metadata metadata.MD   // of the call
	left     time.Duration // until the deadline
	limited  bool          // there is a deadline
}

func (s *standIn) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	deadline, limited := ctx.Deadline()
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	s.asked = append(s.asked, asked{in, md, time.Until(deadline), limited})
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx)
}

// will sets the answer to all questions from now on, and forgets the earlier
// questions.
func (s *standIn) will(answer *authv3.CheckResponse, err error) {
	s.act(func(context.Context) (*authv3.CheckResponse, error) { return answer, err })
}

// act does so with what works the answer out.
func (s *standIn) act(answer func(context.Context) (*authv3.CheckResponse, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.asked = answer, nil
}

func (s *standIn) questions() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// only gives the one question that was asked.
func (s *standIn) only(t *testing.T) asked {
	t.Helper()
	q := s.questions()
	if len(q) != 1 {
		t.Fatalf("Envoy asked %d times, want once", len(q))
	}
	return q[0]
}

// startStandIn starts Envoy and the service with a standIn for Edict.
func startStandIn(t *testing.T, edits ...edit) (*rig, *standIn) {
	t.Helper()
	r := newRig(t, edits...)
	s := serveStandIn(t, r.authzAddress)
	r.startBackend(t)
	r.startEnvoy(t)
	r.waitServing(t)
	return r, s
}

// serveStandIn lets a standIn answer at an address. It allows until it is told
// otherwise.
func serveStandIn(t *testing.T, address string) *standIn {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{}
	s.will(allow(), nil)
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, s)
	healthy := health.NewServer()
	healthy.SetServingStatus("envoy.service.auth.v3.Authorization", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, healthy)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s
}

// allow is an OK that sets headers as Edict does, and removes some.
func allow(changes ...func(*authv3.OkHttpResponse)) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{set("x-edict-principal", "alice"), set("x-edict-roles", "employee")}}
	for _, change := range changes {
		change(ok)
	}
	return &authv3.CheckResponse{
		Status:       &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// denied is a denial with an HTTP status, and with changes.
func denied(code codes.Code, http typev3.StatusCode, changes ...func(*authv3.DeniedHttpResponse)) *authv3.CheckResponse {
	no := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: http}}
	for _, change := range changes {
		change(no)
	}
	return &authv3.CheckResponse{
		Status:       &statuspb.Status{Code: int32(code)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: no},
	}
}

func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func remove(names ...string) func(*authv3.OkHttpResponse) {
	return func(ok *authv3.OkHttpResponse) { ok.HeadersToRemove = names }
}

// TestEnvoyChangesHeaders confirms what Edict relies on to tell the service who
// asks: what it sets replaces what the client sent, and what it removes is gone,
// also if the client names it as an option of the connection.
func TestEnvoyChangesHeaders(t *testing.T) {
	r, s := startStandIn(t, concat(patient, soft)...)
	for _, tt := range []struct {
		name   string
		answer *authv3.CheckResponse
		lines  []string
		want   map[string][]string // at the service
	}{
		{"overwrites what the client sent", allow(), []string{"x-edict-principal: bob", "X-Edict-Roles: manager"},
			map[string][]string{"x-edict-principal": {"alice"}, "x-edict-roles": {"employee"}}},
		{"overwrites what the client sent twice", allow(), []string{"x-edict-principal: bob", "x-edict-principal: carol"},
			map[string][]string{"x-edict-principal": {"alice"}}},
		{"adds what the client did not send", allow(), nil,
			map[string][]string{"x-edict-principal": {"alice"}, "x-edict-roles": {"employee"}}},
		{"removes", allow(remove("x-edict-note")), []string{"x-edict-note: bob", "X-Edict-Note: carol"},
			map[string][]string{"x-edict-note": nil}},
		{"removes what the client names in Connection", allow(remove("x-edict-note")),
			[]string{"Connection: close, x-edict-note", "x-edict-note: bob"},
			map[string][]string{"x-edict-note": nil}},
		{"overwrites what the client names in Connection", allow(),
			[]string{"Connection: close, x-edict-principal", "x-edict-principal: bob"},
			map[string][]string{"x-edict-principal": {"alice"}, "connection": nil}},
		{"keeps what it sets although the client names it in Connection", allow(),
			[]string{"Connection: x-edict-principal, close"},
			map[string][]string{"x-edict-principal": {"alice"}, "connection": nil}},
		{"removes last", allow(remove("x-edict-principal")), nil,
			map[string][]string{"x-edict-principal": nil, "x-edict-roles": {"employee"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.will(tt.answer, nil)
			lines := append([]string{"GET /healthz HTTP/1.1", "Host: expenses.example"}, tt.lines...)
			if !strings.Contains(strings.Join(lines, "\n"), "Connection:") {
				lines = append(lines, "Connection: close")
			}
			before := r.mark(t)
			got := r.sendRaw(t, office, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"), 1)
			if len(got) != 1 || got[0].status != http.StatusOK {
				t.Fatalf("answered %+v, want 200", got)
			}
			reached := r.requests(t, before)[0]
			for name, want := range tt.want {
				if values := reached.values(name); !slices.Equal(values, want) {
					t.Errorf("the service gets %s: %q, want %q", name, values, want)
				}
			}
		})
	}
	t.Run("a header that the rules do not admit is an error", func(t *testing.T) {
		s.will(allow(func(ok *authv3.OkHttpResponse) { ok.Headers = append(ok.Headers, set("x-other", "1")) }), nil)
		before := r.mark(t)
		if got := r.send(t, request{path: "/healthz"}); got.status != http.StatusInternalServerError || len(r.requests(t, before)) > 0 {
			t.Errorf("answered %d, want 500 and no request at the service", got.status)
		}
	})
}

// TestEnvoyTakesForDenial confirms which answers let a request pass: a status
// of 0 and nothing else.
func TestEnvoyTakesForDenial(t *testing.T) {
	r, s := startStandIn(t, patient...)
	deny := func(code codes.Code, http typev3.StatusCode) *authv3.CheckResponse {
		return &authv3.CheckResponse{
			Status: &statuspb.Status{Code: int32(code)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: http}, Body: "no",
				Headers: []*corev3.HeaderValueOption{set("www-authenticate", "Bearer")},
			}},
		}
	}
	withOK := allow()
	withOK.Status = &statuspb.Status{Code: int32(codes.PermissionDenied)}
	for _, tt := range []struct {
		name    string
		answer  *authv3.CheckResponse
		err     error
		status  int
		details string
	}{
		{"status 0", allow(), nil, 200, "via_upstream"},
		{"nothing at all passes, so Edict must never answer that", &authv3.CheckResponse{}, nil, 401, "via_upstream"},
		{"status 0 with a denial passes, so Edict must never answer that", deny(codes.OK, 403), nil, 401, "via_upstream"},
		{"7", deny(codes.PermissionDenied, 403), nil, 403, "ext_authz_denied"},
		{"16 with 401", deny(codes.Unauthenticated, 401), nil, 401, "ext_authz_denied"},
		{"3 with 400", deny(codes.InvalidArgument, 400), nil, 400, "ext_authz_denied"},
		{"14 with 503", deny(codes.Unavailable, 503), nil, 503, "ext_authz_denied"},
		{"4 with 403", deny(codes.DeadlineExceeded, 403), nil, 403, "ext_authz_denied"},
		{"a code that gRPC does not know", deny(4711, 403), nil, 403, "ext_authz_denied"},
		{"a negative code", deny(^codes.Code(0), 403), nil, 403, "ext_authz_denied"},
		{"7 and no more", &authv3.CheckResponse{Status: &statuspb.Status{Code: int32(codes.PermissionDenied)}}, nil, 403, "ext_authz_denied"},
		{"7 with an OK", withOK, nil, 403, "ext_authz_denied"},
		{"an error of gRPC", nil, status.Error(codes.PermissionDenied, "no"), 503, "ext_authz_error"},
		{"another error of gRPC", nil, status.Error(codes.Unknown, "no"), 503, "ext_authz_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.will(tt.answer, tt.err)
			before := r.mark(t)
			got := r.send(t, request{path: "/whoami"})
			if got.status != tt.status {
				t.Errorf("answered %d, want %d", got.status, tt.status)
			}
			passed := len(r.requests(t, before)) > 0
			if want := tt.details == "via_upstream"; passed != want {
				t.Errorf("the service was reached: %t, want %t", passed, want)
			}
			if l := r.logged(t, got.header.Get("X-Request-Id")); l.Details != tt.details {
				t.Errorf("the access log has details %q, want %q", l.Details, tt.details)
			}
		})
	}
}

// TestEnvoyAsks confirms what a question holds.
func TestEnvoyAsks(t *testing.T) {
	r, s := startStandIn(t, concat(patient, soft)...)
	ask := func(t *testing.T, lines ...string) asked {
		t.Helper()
		s.will(allow(), nil)
		raw := strings.Join(append([]string{"GET /expenses%2femea/../x//y?a=1&a=%zz HTTP/1.1", "Host: Expenses.example.:443", "Connection: close"}, lines...), "\r\n")
		r.sendRaw(t, office, []byte(raw+"\r\n\r\n"), 1)
		return s.only(t)
	}
	header := func(q asked, name string) (out []string) {
		for _, h := range q.request.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
			if h.Key == name {
				out = append(out, string(h.RawValue))
				if h.Value != "" {
					out = append(out, "and as text: "+h.Value)
				}
			}
		}
		return out
	}
	t.Run("with the deadline of the bootstrap", func(t *testing.T) {
		q := ask(t)
		if !q.limited || q.left > 10*time.Second {
			t.Errorf("the deadline is there: %t; %v are left of 10s", q.limited, q.left)
		}
	})
	t.Run("with the target as it was sent", func(t *testing.T) {
		http := ask(t).request.GetAttributes().GetRequest().GetHttp()
		if http.Path != "/expenses%2femea/../x//y?a=1&a=%zz" || http.Host != "Expenses.example.:443" || http.Method != "GET" {
			t.Errorf("it has method %q, host %q, path %q", http.Method, http.Host, http.Path)
		}
	})
	t.Run("with headers as bytes, in order, repeated", func(t *testing.T) {
		q := ask(t, "X-Twice: one", "x-other: \xff\x80,\xc3\xa9", "x-twice: two")
		http := q.request.GetAttributes().GetRequest().GetHttp()
		if len(http.Headers) > 0 || http.HeaderMap == nil {
			t.Errorf("headers has %d, header_map is there: %t", len(http.Headers), http.HeaderMap != nil)
		}
		if got := header(q, "x-twice"); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("x-twice is %q", got)
		}
		if got := header(q, "x-other"); !slices.Equal(got, []string{"\xff\x80,\xc3\xa9"}) {
			t.Errorf("x-other is %q", got)
		}
		if got := header(q, ":path"); len(got) != 1 {
			t.Errorf(":path is %q", got)
		}
	})
	t.Run("with a repeated token joined, though headers are raw", func(t *testing.T) {
		if got := header(ask(t, "Authorization: Basic a", "Authorization: Basic b"), "authorization"); !slices.Equal(got, []string{"Basic a,Basic b"}) {
			t.Errorf("authorization is %q", got)
		}
	})
	t.Run("with verified claims, and without the token", func(t *testing.T) {
		q := ask(t, "Authorization: Bearer "+r.issuer.token("bob"))
		claims := q.request.GetAttributes().GetMetadataContext().GetFilterMetadata()["envoy.filters.http.jwt_authn"].GetFields()["jwt"].GetStructValue().GetFields()
		if claims["sub"].GetStringValue() != "bob" || claims["approvalLimit"].GetNumberValue() != 1000 || len(claims["roles"].GetListValue().GetValues()) != 2 {
			t.Errorf("the claims are %v", claims)
		}
		if got := header(q, "authorization"); len(got) > 0 {
			t.Errorf("authorization is %q", got)
		}
	})
	t.Run("without claims for a bad token", func(t *testing.T) {
		q := ask(t, "Authorization: Bearer "+newIssuer(t).token("bob"))
		fields := q.request.GetAttributes().GetMetadataContext().GetFilterMetadata()["envoy.filters.http.jwt_authn"].GetFields()
		if fields["jwt"] != nil || fields["jwt_failure"] == nil {
			t.Errorf("the metadata is %v; want jwt_failure and no claims", fields)
		}
	})
	t.Run("with the peer's own address", func(t *testing.T) {
		q := ask(t, "X-Forwarded-For: 10.0.0.1", "X-Envoy-External-Address: 10.0.0.1", "Forwarded: for=10.0.0.1")
		if got := q.request.GetAttributes().GetSource().GetAddress().GetSocketAddress().GetAddress(); got != office {
			t.Errorf("the source is %q", got)
		}
	})
	t.Run("without what the client says of the body", func(t *testing.T) {
		if got := header(ask(t, "x-envoy-auth-partial-body: false"), "x-envoy-auth-partial-body"); len(got) > 0 {
			t.Errorf("x-envoy-auth-partial-body is %q", got)
		}
	})
}

// bodyLimit is max_request_bytes in envoy.yaml.
const bodyLimit = 8192

// padded gives a JSON body of an expense that is n bytes long.
func padded(n int) string {
	body := `{"region":"emea","department":"engineering","amount":64.2}`
	return body + strings.Repeat(" ", n-len(body))
}

// posting gives the head of a request that creates an expense, with further
// lines, up to the body.
func (r *rig) posting(as string, lines ...string) string {
	return strings.Join(append([]string{
		"POST /expenses HTTP/1.1", "Host: expenses.example", "Connection: close",
		"Content-Type: application/json", "Authorization: Bearer " + r.issuer.token(as),
	}, lines...), "\r\n") + "\r\n\r\n"
}

func chunk(s string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(s), s) }

// allowPartial makes Envoy hand on the beginning of bodies that are too long,
// as a careless bootstrap would.
var allowPartial = edit{"allow_partial_message: false", "allow_partial_message: true"}

// TestEnvoyHandsOnBodies confirms what a question says of the body, and why its
// word that the body is whole is not enough.
func TestEnvoyHandsOnBodies(t *testing.T) {
	needTools(t)
	for _, mode := range []struct {
		name  string
		edits []edit
	}{{"whole bodies only", nil}, {"cut bodies too", []edit{allowPartial}}} {
		t.Run(mode.name, func(t *testing.T) {
			r, s := startStandIn(t, concat(patient, mode.edits)...)
			partial := mode.edits != nil
			for _, tt := range []struct {
				name    string
				lines   []string
				body    string
				asked   bool
				length  int
				partial string
			}{
				{"short", []string{"Content-Length: 100"}, padded(100), true, 100, "false"},
				{"short, in chunks", []string{"Transfer-Encoding: chunked"}, chunk(padded(100)) + chunk(""), true, 100, "false"},
				{"of the limit's length", []string{"Content-Length: 8192"}, padded(bodyLimit), true, bodyLimit, "false"},
				{"of the limit's length, in chunks", []string{"Transfer-Encoding: chunked"}, chunk(padded(bodyLimit)) + chunk(""), true, bodyLimit, "false"},
				{"one byte longer", []string{"Content-Length: 8193"}, padded(bodyLimit + 1), partial, bodyLimit, "true"},
				{"one byte longer, in chunks", []string{"Transfer-Encoding: chunked"}, chunk(padded(bodyLimit+1)) + chunk(""), partial, bodyLimit, "true"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					s.will(&authv3.CheckResponse{Status: &statuspb.Status{Code: int32(codes.PermissionDenied)}}, nil)
					got := r.sendRaw(t, office, []byte(r.posting("alice", tt.lines...)+tt.body), 1)
					if !tt.asked {
						if len(got) != 1 || got[0].status != http.StatusRequestEntityTooLarge || len(s.questions()) != 0 {
							t.Errorf("answered %+v after %d questions, want 413 without any", got, len(s.questions()))
						}
						return
					}
					checkBody(t, s.only(t), tt.length, tt.partial)
				})
			}
			if !partial {
				return
			}
			// The case that makes the header worthless at the limit: the buffer
			// is full, more is on its way, and Envoy says that nothing was cut.
			t.Run("of the limit's length so far", func(t *testing.T) {
				s.will(&authv3.CheckResponse{Status: &statuspb.Status{Code: int32(codes.PermissionDenied)}}, nil)
				got := r.sendRaw(t, office, []byte(r.posting("alice", "Transfer-Encoding: chunked")+chunk(padded(bodyLimit))), 1)
				if len(got) != 1 || got[0].status != http.StatusForbidden {
					t.Fatalf("answered %+v, want 403 before the body's end", got)
				}
				checkBody(t, s.only(t), bodyLimit, "false")
			})
		})
	}
}

func checkBody(t *testing.T, q asked, length int, partial string) {
	t.Helper()
	http := q.request.GetAttributes().GetRequest().GetHttp()
	if len(http.GetRawBody()) != length || http.GetBody() != "" {
		t.Errorf("Envoy hands on %d bytes and %d as text, want %d and none", len(http.GetRawBody()), len(http.GetBody()), length)
	}
	var said []string
	for _, h := range http.GetHeaderMap().GetHeaders() {
		if h.Key == "x-envoy-auth-partial-body" {
			said = append(said, string(h.RawValue))
		}
	}
	if !slices.Equal(said, []string{partial}) {
		t.Errorf("Envoy says of the body being partial: %q, want %q", said, partial)
	}
	if limit := q.request.GetAttributes().GetContextExtensions()["body_limit"]; limit != fmt.Sprint(bodyLimit) {
		t.Errorf("the context extension body_limit is %q", limit)
	}
}

// TestBodyOfTheLimitsLength lets Edict judge bodies around the length at which
// Envoy cuts, whether Envoy hands on cut ones or not: one that may go on is
// denied, one that is whole by its declared length is judged.
func TestBodyOfTheLimitsLength(t *testing.T) {
	needTools(t)
	for _, mode := range []struct {
		name  string
		edits []edit
	}{{"whole bodies only", nil}, {"cut bodies too", []edit{allowPartial}}} {
		t.Run(mode.name, func(t *testing.T) {
			r := startRig(t, concat(patient, mode.edits)...)
			for _, tt := range []struct {
				name  string
				lines []string
				body  string
				want  int
			}{
				{"one byte shorter", []string{"Content-Length: 8191"}, padded(bodyLimit - 1), 201},
				{"one byte shorter, in chunks", []string{"Transfer-Encoding: chunked"}, chunk(padded(bodyLimit-1)) + chunk(""), 201},
				{"of the limit's length", []string{"Content-Length: 8192"}, padded(bodyLimit), 201},
				{"of the limit's length, in chunks", []string{"Transfer-Encoding: chunked"}, chunk(padded(bodyLimit)) + chunk(""), 413},
				{"one byte longer", []string{"Content-Length: 8193"}, padded(bodyLimit + 1), 413},
				{"one byte longer, in chunks", []string{"Transfer-Encoding: chunked"}, chunk(padded(bodyLimit)) + chunk(" ") + chunk(""), 413},
				{"one byte longer, and the client says it is whole", []string{"Content-Length: 8193", "x-envoy-auth-partial-body: false"}, padded(bodyLimit + 1), 413},
			} {
				t.Run(tt.name, func(t *testing.T) {
					before := r.mark(t)
					got := r.sendRaw(t, office, []byte(r.posting("alice", tt.lines...)+tt.body), 1)
					if len(got) != 1 || got[0].status != tt.want {
						t.Fatalf("answered %+v, want %d", got, tt.want)
					}
					if ran := len(r.operations(t, before)); (ran == 1) != (tt.want == http.StatusCreated) {
						t.Errorf("the service ran %d operations", ran)
					}
				})
			}
			if mode.edits == nil {
				return
			}
			t.Run("of the limit's length so far, and then another amount", func(t *testing.T) {
				// Whole JSON by itself, and 64000.00 if the rest counts.
				first := `{"region":"emea","department":"engineering","amount":64` + strings.Repeat(" ", bodyLimit)
				first = first[:bodyLimit-1] + "}"
				conn := r.connect(t, office)
				defer conn.Close()
				before := r.mark(t)
				if _, err := conn.Write([]byte(r.posting("alice", "Transfer-Encoding: chunked") + chunk(first))); err != nil {
					t.Fatal(err)
				}
				got, err := readAnswer(bufio.NewReader(conn), http.MethodPost)
				if err != nil || got.status != http.StatusRequestEntityTooLarge {
					t.Errorf("answered %+v (%v), want 413", got, err)
				}
				if ran := r.operations(t, before); len(ran) > 0 {
					t.Errorf("the service ran %v", ran)
				}
			})
		})
	}
}
