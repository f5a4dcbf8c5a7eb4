package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"
	"gopkg.in/yaml.v3"

	"edict/api"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

// password has as many bytes as a password may.
var password = strings.Repeat("pass-word", 8)

// hash gives a hash of a password.
func hash(t testing.TB, password string, cost int) []byte {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// newServer gives a server about the policies in testdata/store. Its hash is cheap.
func newServer(t testing.TB) *Server {
	t.Helper()
	files, list := policyfile.ReadFolder(os.DirFS("testdata/store"), "some/folder")
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	policies, list := policyfile.ParseAll(files.Policies)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	store := NewStore("some/folder", policies, files.SchemaContents())
	a := &api.Server{Panicked: func(v any, stack []byte) { t.Errorf("a panic: %v\n%s", v, stack) }}
	s, err := New(a, func() *Store { return store }, Credentials{Username: "root", PasswordHash: hash(t, password, leastCost)})
	if err != nil {
		t.Fatal(err)
	}
	s.credentials.PasswordHash = hash(t, password, bcrypt.MinCost)
	return s
}

func basic(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

func ask(s *Server, method, target string, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	w := httptest.NewRecorder()
	s.api.Handler(api.HTTPOptions{Mounted: s.Handlers()}).ServeHTTP(w, r)
	return w
}

func TestCalls(t *testing.T) {
	content, err := os.ReadFile("testdata/calls.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Get    string
		Status int
		Want   map[string]any
	}
	if err := yaml.Unmarshal(content, &list); err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	for _, x := range list {
		if x.Status == 0 {
			x.Status = 200
		}
		w := ask(s, "GET", x.Get, basic("root", password))
		text, err := json.Marshal(x.Want)
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v: %s", x.Get, err, w.Body)
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if want["details"] == "…" && got["details"] != nil {
			want["details"] = got["details"]
		}
		if w.Code != x.Status || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %d %s\nwant %d %s", x.Get, w.Code, w.Body, x.Status, text)
		}
		if w.Header().Get("cache-control") != "no-store" {
			t.Errorf("%s: the answer may be stored", x.Get)
		}
	}
	if len(list) < 20 {
		t.Errorf("there are only %d calls", len(list))
	}
}

// However the configuration spells the folder, the id of a policy is its path in
// it.
func TestIDsArePathsInTheFolder(t *testing.T) {
	read := func(file string) []*policy.Policy {
		p, list := policyfile.Parse(file, []byte("apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: x, version: default}\n"))
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		return []*policy.Policy{p}
	}
	for folder, file := range map[string]string{
		"./policies": "policies/x/y.yaml", "policies/": "policies/x/y.yaml", "policies": "policies/x/y.yaml", "a//b/../policies": "a/policies/x/y.yaml",
		"../policies": "../policies/x/y.yaml", "/etc/policies/": "/etc/policies/x/y.yaml", "/": "/x/y.yaml", ".": "x/y.yaml", "policies.zip": "policies.zip/x/y.yaml",
	} {
		if got := NewStore(folder, read(file), nil).policies[0].id; got != "x/y.yaml" {
			t.Errorf("in %s the policy of %s has the id %s", folder, file, got)
		}
	}
}

// Nobody is told anything without the credentials, whatever is asked.
func TestCredentials(t *testing.T) {
	s := newServer(t)
	right := basic("root", password)
	for _, tt := range []struct {
		name          string
		authorization []string
		message       string // empty: let in
	}{
		{"right", []string{right}, ""},
		{"the scheme in lower case", []string{"basic" + strings.TrimPrefix(right, "Basic")}, ""},
		{"none", nil, "authentication required"},
		{"a bearer token", []string{"Bearer x"}, "unsupported authentication method"},
		{"empty", []string{""}, "unsupported authentication method"},
		{"no base64", []string{"Basic ???"}, "incorrect credentials"},
		{"no colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("root"))}, "incorrect credentials"},
		{"another name", []string{basic("admin", password)}, "incorrect credentials"},
		{"no name", []string{basic("", password)}, "incorrect credentials"},
		{"another password", []string{basic("root", "x")}, "incorrect credentials"},
		{"no password", []string{basic("root", "")}, "incorrect credentials"},
		{"the hash", []string{basic("root", string(s.credentials.PasswordHash))}, "incorrect credentials"},
		{"a longer password, of which bcrypt would take the beginning", []string{basic("root", password+"x")}, "incorrect credentials"},
		{"two, one of which is right", []string{right, basic("root", "x")}, "incorrect credentials"},
	} {
		for _, target := range []string{"GET /admin/policies", "GET /admin/policy?id=doc.yaml", "GET /admin/policies/inspect?includeDisabled=x", "GET /admin/schemas", "GET /admin/schema", "POST /admin/policy", "GET /admin/nope"} {
			method, path, _ := strings.Cut(target, " ")
			w := ask(s, method, path, tt.authorization...)
			if tt.message == "" {
				if w.Code == 401 {
					t.Errorf("%s, %s: got %d %s", tt.name, target, w.Code, w.Body)
				}
				continue
			}
			if want := `{"code":16,"message":"` + tt.message + `"}`; w.Code != 401 || w.Body.String() != want || w.Header().Get("www-authenticate") != `Basic realm="Edict", charset="UTF-8"` {
				t.Errorf("%s, %s: got %d %v %s", tt.name, target, w.Code, w.Header(), w.Body)
			}
		}
	}
	for _, target := range []string{"PUT /admin/policy", "POST /admin/policy", "DELETE /admin/policy", "POST /admin/policy/disable", "DELETE /admin/schema?id=doc.json", "POST /admin/policies"} {
		method, path, _ := strings.Cut(target, " ")
		if w := ask(s, method, path, right); w.Code != 501 {
			t.Errorf("%s: got %d %s", target, w.Code, w.Body)
		}
	}
	for _, name := range []string{"ListPolicies", "GetPolicy", "InspectPolicies", "ListSchemas", "GetSchema"} {
		for authorization, want := range map[string]codes.Code{"": codes.Unauthenticated, basic("root", "x"): codes.Unauthenticated, right: codes.OK} {
			if strings.HasPrefix(name, "Get") && want == codes.OK {
				want = codes.InvalidArgument // nothing is asked for
			}
			ctx := t.Context()
			if authorization != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
			}
			err := dial(t, s).Invoke(ctx, "/"+ServiceName+"/"+name, new(emptypb.Empty), new(emptypb.Empty))
			if status.Code(err) != want {
				t.Errorf("%s: got %v, want %s", name, err, want)
			}
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", right)
	if err := dial(t, s).Invoke(ctx, "/"+ServiceName+"/AddOrUpdatePolicy", new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.Unimplemented {
		t.Errorf("a call that writes: got %v", err)
	}
}

// dial serves a server over gRPC, and connects.
func dial(t testing.TB, s *Server) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
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

// Who guesses waits for others who guess, no longer than calls take, and an
// answer without a proof is a refusal.
func TestGuessesWait(t *testing.T) {
	s := newServer(t)
	var end []func()
	for i := range proofs {
		done, err := s.turns.wait(t.Context(), fmt.Sprint("192.0.2.", 10+i))
		if err != nil {
			t.Fatal(err)
		}
		end = append(end, done)
	}
	s.api.Limits.Time = time.Millisecond
	if w := ask(s, "GET", "/admin/policies", basic("root", password)); w.Code != http.StatusGatewayTimeout {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	s.api.Limits.Time = 0
	for _, done := range end {
		done()
	}
	for range 2 * proofs {
		ask(s, "GET", "/admin/policies", basic("root", "x"))
	}
	if w := ask(s, "GET", "/admin/policies", basic("root", password)); w.Code != 200 {
		t.Errorf("proofs are not given back: got %d %s", w.Code, w.Body)
	}
}

// Who guesses from one address keeps nobody at another one waiting, and is forgotten.
func TestGuessesOfOneAddress(t *testing.T) {
	s := newServer(t)
	done, err := s.turns.wait(t.Context(), "192.0.2.77") // a guess that takes for ever
	if err != nil {
		t.Fatal(err)
	}
	waiting, giveUp := context.WithCancel(t.Context())
	var guesses sync.WaitGroup
	for range 20 {
		guesses.Go(func() {
			if end, err := s.turns.wait(waiting, "192.0.2.77"); err == nil {
				end()
				t.Error("an address has two turns")
			}
		})
	}
	if w := ask(s, "GET", "/admin/policies", basic("root", password)); w.Code != 200 { // from 192.0.2.1
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	giveUp()
	guesses.Wait()
	done()
	if len(s.turns.of) != 0 || len(s.turns.proofs) != 0 {
		t.Errorf("%d addresses are remembered, and %d proofs are under way", len(s.turns.of), len(s.turns.proofs))
	}
}

// Calls of one client that wait are bounded, since they take memory.
func TestCrowds(t *testing.T) {
	s := newServer(t)
	const client = "192.0.2.1" // of ask
	for range mostWaiting {
		s.turns.join(client)
	}
	const crowded = `{"code":14,"message":"too many calls are waiting for their credentials to be looked at"}`
	if w := ask(s, "GET", "/admin/policies", basic("root", password)); w.Code != 503 || w.Body.String() != crowded {
		t.Errorf("one too many: got %d %s", w.Code, w.Body)
	}
	for range mostWaiting {
		s.turns.leave(client)
	}
	if w := ask(s, "GET", "/admin/policies", basic("root", password)); w.Code != 200 {
		t.Errorf("afterwards: got %d %s", w.Code, w.Body)
	}
	if len(s.turns.of) != 0 {
		t.Errorf("%d addresses are remembered", len(s.turns.of))
	}
}

func TestClients(t *testing.T) {
	for addr, want := range map[net.Addr]string{
		address("192.0.2.1:1234"):                            "192.0.2.1",
		address("[::ffff:192.0.2.1]:1"):                      "192.0.2.1",
		address("[2001:db8:1:2:3::4]:5"):                     "2001:db8:1:2::/64",
		address("[fe80::1%eth0]:5"):                          "fe80::/64",
		address("@"):                                         "",
		address(""):                                          "",
		&net.UnixAddr{Name: "/run/x"}:                        "",
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4321}: "192.0.2.1",
	} {
		if got := clientOf(peer.NewContext(t.Context(), &peer.Peer{Addr: addr})); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
	if got := clientOf(t.Context()); got != "" {
		t.Errorf("without an address: got %q", got)
	}
}

func TestBeforePolicies(t *testing.T) {
	s := newServer(t)
	s.store = func() *Store { return nil }
	if w := ask(s, "GET", "/admin/policies", basic("root", password)); w.Code != 503 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestCredentialsThatGuardNothing(t *testing.T) {
	for name, c := range map[string]Credentials{
		"none":                {},
		"no name":             {PasswordHash: hash(t, password, leastCost)},
		"no hash":             {Username: "root"},
		"a colon in the name": {Username: "ro:ot", PasswordHash: hash(t, password, leastCost)},
		"no hash of bcrypt":   {Username: "root", PasswordHash: []byte("5f4dcc3b5aa765d61d8327deb882cf99")},
		"a cheap hash":        {Username: "root", PasswordHash: hash(t, password, leastCost-1)},
		"a costly hash":       {Username: "root", PasswordHash: []byte(strings.Replace(string(hash(t, password, leastCost)), "$10$", "$15$", 1))},
	} {
		if s, err := New(new(api.Server), nil, c); err == nil || s != nil {
			t.Errorf("%s: got %v", name, s)
		}
	}
}
