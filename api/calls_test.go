package api

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
	"regexp"
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
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"gopkg.in/yaml.v3"

	"edict/api/cerbospb"
	"edict/api/internal/transport"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

// paths are where the calls are over HTTP.
var paths = map[string]string{
	"CheckResources": "/api/check/resources", "CheckResourceSet": "/api/check",
	"CheckResourceBatch": "/api/check_resource_batch", "PlanResources": "/api/plan/resources",
}

// methodOf describes a call.
func methodOf(t testing.TB, name string) protoreflect.MethodDescriptor {
	t.Helper()
	m := cerbospb.File_cerbos_svc_v1_svc_proto.Services().ByName("CerbosService").Methods().ByName(protoreflect.Name(name))
	if m == nil {
		t.Fatalf("there is no call %s", name)
	}
	return m
}

// newMessage gives an empty message of a type.
func newMessage(t testing.TB, d protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	m, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return m.New().Interface()
}

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

// policySet compiles the policies of testdata/policies.yaml.
func policySet(t testing.TB) *engine.PolicySet {
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
	ps, list := engine.Compile(policies, engine.Options{})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return ps
}

// issuer gives a set of one key, and a token that is signed with it.
func issuer(t testing.TB) (keys []byte, token string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	keys = fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"k","x":%q}]}`, encode(public))
	signed := encode([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." + encode([]byte(`{"customInt":42}`))
	return keys, signed + "." + encode(ed25519.Sign(private, []byte(signed)))
}

// verifier gives what verifies tokens by one key set, and a token that it takes.
func verifier(t testing.TB) (v *auxdata.Verifier, token string) {
	t.Helper()
	keys, token := issuer(t)
	v, err := auxdata.New(t.Context(), auxdata.Options{KeySets: []auxdata.KeySet{{ID: "tests", Local: &auxdata.Local{Data: keys}}}})
	if err != nil {
		t.Fatal(err)
	}
	return v, token
}

// unsigned is a token with the claims of a good one that nobody signed.
var unsigned = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"customInt":42}`)) + "."

// newServer gives a server with the policies and limits of the tests, and a token
// that it takes.
func newServer(t testing.TB) (s *Server, token string) {
	t.Helper()
	ps := policySet(t)
	v, token := verifier(t)
	return &Server{
		Policies: func() *engine.PolicySet { return ps },
		AuxData:  v,
		Limits:   Limits{Actions: 3, Resources: 2, Message: 1 << 20},
		Info:     Info{Version: "1.2.3", Commit: "abc", BuildDate: "2026-01-02T03:04:05Z"},
		Panicked: func(v any, stack []byte) { t.Errorf("a panic: %v\n%s", v, stack) },
	}, token
}

// dial serves a server over gRPC, and connects.
func dial(t testing.TB, s *Server) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer(ServerOptions(s.Limits.Message)...)
	s.Register(server)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///test", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
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
			v, ok := detail.(*cerbospb.Violations)
			if !ok {
				t.Fatalf("a detail is a %T", detail)
			}
			for _, v := range v.GetViolations() {
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
	want := newMessage(t, out.ProtoReflect().Descriptor())
	if err := protojson.Unmarshal(x.Want, want); err != nil {
		t.Fatal(err)
	}
	if field := out.ProtoReflect().Descriptor().Fields().ByName("cerbos_call_id"); field != nil {
		id := out.ProtoReflect().Get(field).String()
		if !ulid.MatchString(id) {
			t.Errorf("the call id is %q", id)
		}
		out.ProtoReflect().Clear(field)
	}
	if !proto.Equal(out, want) {
		t.Errorf("got\n%s\nwant\n%s", protojson.Format(out), protojson.Format(want))
	}
}

var ulid = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

// overHTTP makes a call over HTTP.
func overHTTP(t *testing.T, h http.Handler, path, body string, out proto.Message) (httpStatus int, err error) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
	if got := w.Header().Get("content-type"); got != "application/json" {
		t.Errorf("the content type is %q", got)
	}
	if w.Code == http.StatusOK {
		if got := w.Header().Get("grpc-metadata-cerbos-version"); got != CerbosVersion {
			t.Errorf("the version in the header is %q", got)
		}
		if err := protojson.Unmarshal(w.Body.Bytes(), out); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return w.Code, nil
	}
	st := new(spb.Status)
	if err := protojson.Unmarshal(w.Body.Bytes(), st); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return w.Code, status.ErrorProto(st)
}

// Both transports answer alike.
func TestCalls(t *testing.T) {
	var list []exchange
	readYAML(t, "testdata/calls.yaml", &list)
	s, token := newServer(t)
	h, conn := s.Handler(HTTPOptions{}), dial(t, s)
	for _, x := range list {
		t.Run(x.Name, func(t *testing.T) {
			method := methodOf(t, x.Call)
			body := x.body(token)
			out := newMessage(t, method.Output())
			code, err := overHTTP(t, h, paths[x.Call], body, out)
			x.judge(t, out, err)
			if want := transport.HTTPStatus(x.Code); code != want {
				t.Errorf("the HTTP status is %d, want %d", code, want)
			}
			if x.Text != nil {
				return
			}
			in, out := newMessage(t, method.Input()), newMessage(t, method.Output())
			if err := protojson.Unmarshal([]byte(body), in); err != nil {
				t.Fatal(err)
			}
			var header metadata.MD
			err = conn.Invoke(t.Context(), "/"+ServiceName+"/"+x.Call, in, out, grpc.Header(&header))
			x.judge(t, out, err)
			if got := header.Get("cerbos-version"); err == nil && !slices.Equal(got, []string{CerbosVersion}) {
				t.Errorf("the version in the header is %q", got)
			}
		})
	}
	if len(list) < 30 {
		t.Errorf("there are only %d calls", len(list))
	}
}
