package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

// deadline is how long a test waits for what ought to happen soon. It is long,
// since it only matters when something is broken.
const deadline = 30 * time.Second

// childVariable makes the test binary behave as edict itself.
const childVariable = "RUN_AS_THE_EDICT_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// command runs the command to its end.
func command(environ []string, args ...string) (status int, stdout, stderr string) {
	var out bytes.Buffer
	log := newJournal()
	status = run(context.Background(), args, environ, &out, log)
	return status, out.String(), log.String()
}

// A journal is a standard error that tests can wait for.
type journal struct {
	mu    sync.Mutex
	text  []byte
	lines []entry
	grown chan struct{} // closed when there is more
}

// An entry is a line of the log, as JSON gives it.
type entry map[string]any

func (e entry) text(key string) string { s, _ := e[key].(string); return s }

func newJournal() *journal { return &journal{grown: make(chan struct{})} }

// Write implements io.Writer. The log writes whole lines.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, b...)
	j.lines = j.lines[:0:0]
	for _, line := range bytes.Split(j.text, []byte("\n")) {
		var e entry
		if json.Unmarshal(line, &e) == nil {
			j.lines = append(j.lines, e)
		}
	}
	close(j.grown)
	j.grown = make(chan struct{})
	return len(b), nil
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}

// entries gives the entries with a message, "" for all.
func (j *journal) entries(message string) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []entry
	for _, e := range j.lines {
		if message == "" || e.text("message") == message {
			out = append(out, e)
		}
	}
	return out
}

// await waits until there are n entries with a message, and gives the n-th.
func (j *journal) await(t *testing.T, message string, n int) entry {
	t.Helper()
	late := time.After(deadline)
	for {
		j.mu.Lock()
		grown := j.grown
		j.mu.Unlock()
		if all := j.entries(message); len(all) >= n {
			return all[n-1]
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("not logged %d times: %s; the log is\n%s", n, message, j)
		}
	}
}

// What the daemon logs that tests wait for.
const (
	logListening  = "listening"
	logInForce    = "policies and routes are in force"
	logNotLoaded  = "the policies and routes were not loaded"
	logNoPolicies = "there are no policies; put some into the folder"
	logNoRoutes   = "there are no routes any more; put some into the folder"
	logCheck      = "check"
)

// policy and routes give a set in which GET /thing asks for an action that
// users may perform, and GET /other for one that nobody may.
func policy(action string) string {
	return fmt.Sprintf(`apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: thing
  version: default
  rules:
    - name: users-%[1]s
      actions: [%[1]s]
      effect: EFFECT_ALLOW
      roles: [user]
`, action)
}

func routes(action string) string {
	return fmt.Sprintf(`apiVersion: edict.dev/v1
routeMap:
  name: things
  routes:
    - name: thing
      match: {methods: [GET], path: /thing}
      resource: {kind: thing, id: one}
      action: %s
    - name: other
      match: {methods: [GET], path: /other}
      resource: {kind: thing, id: two}
      action: other
`, action)
}

// A daemon under test, started by `edict serve` in this process.
type served struct {
	command []string // serve, unless a test says otherwise
	t       *testing.T
	dir     string // holds policies and routes
	log     *journal

	authz, admin string // where it listens, as it says
	conn         *grpc.ClientConn
	client       authv3.AuthorizationClient

	stop   context.CancelFunc
	status chan int
	stdout bytes.Buffer
}

// tempDir gives a folder whose path is short enough for sockets.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "edict")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path ...string) {
	t.Helper()
	name, content := filepath.Join(path[:len(path)-1]...), path[len(path)-1]
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	// By renaming, as editors do, so that nobody reads half a file.
	if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// newServed gives a daemon that is not started yet, with a set that allows
// users to do "a".
func newServed(t *testing.T) *served {
	s := &served{t: t, command: []string{"serve"}, dir: tempDir(t), log: newJournal(), status: make(chan int, 1)}
	s.write("policies/thing.yaml", policy("a"))
	s.write("routes/things.yaml", routes("a"))
	return s
}

func (s *served) write(path, content string) { s.t.Helper(); write(s.t, s.dir, path, content) }

func (s *served) remove(path string) {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, path)); err != nil {
		s.t.Fatal(err)
	}
}

// args are those of a daemon on free ports that is quick to reload and to stop.
func (s *served) args(more ...string) []string {
	args := slices.Concat(s.command, []string{
		"--set", "listen.extAuthz=127.0.0.1:0", "--set", "listen.admin=127.0.0.1:0",
		"--set", "listen.apiGRPC=127.0.0.1:0", "--set", "listen.apiHTTP=127.0.0.1:0",
		"--set", "policies.dir=" + filepath.Join(s.dir, "policies"), "--set", "routes.dir=" + filepath.Join(s.dir, "routes"),
		"--set", "reload.debounce=2ms", "--set", "shutdown.delay=0s",
	})
	for _, set := range more {
		args = append(args, "--set", set)
	}
	return args
}

// start starts the daemon and waits until it listens.
func (s *served) start(sets ...string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.status <- run(ctx, s.args(sets...), nil, &s.stdout, s.log)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-ended
	})
	s.listening()
}

// listening waits until the daemon listens, and connects.
func (s *served) listening() {
	s.t.Helper()
	line := s.log.await(s.t, logListening, 1)
	s.authz, s.admin = line.text("extAuthz"), line.text("admin")
	target := s.authz
	if !strings.HasPrefix(target, "unix:") {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	s.conn, s.client = conn, authv3.NewAuthorizationClient(conn)
}

// ended waits for the daemon to end by itself, and gives its exit status.
func (s *served) ended() int {
	s.t.Helper()
	select {
	case status := <-s.status:
		return status
	case <-time.After(deadline):
		s.t.Fatalf("the daemon did not end; the log is\n%s", s.log)
		return -1
	}
}

// limited gives the context of a call.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// A question is a request as Envoy tells of it.
type question struct {
	method, path, body string
	headers            []string // "name: value"
	roles              []any    // of alice; nil: no identity
}

func (q question) message(t *testing.T) *authv3.CheckRequest {
	t.Helper()
	if q.method == "" {
		q.method = "GET"
	}
	http := &authv3.AttributeContext_HttpRequest{Method: q.method, Path: q.path, Host: "api.example.test", Scheme: "https",
		RawBody: []byte(q.body), HeaderMap: &corev3.HeaderMap{}}
	if q.body != "" {
		q.headers = append(slices.Clone(q.headers), fmt.Sprintf("content-length: %d", len(q.body)))
	}
	for _, h := range append([]string{":method: " + q.method, ":path: " + q.path, ":authority: api.example.test"}, q.headers...) {
		i := strings.Index(h[1:], ": ") + 1
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: h[:i], RawValue: []byte(h[i+2:])})
	}
	in := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}}
	if q.roles != nil {
		claims, err := structpb.NewStruct(map[string]any{"jwt": map[string]any{"sub": "alice", "roles": q.roles}})
		if err != nil {
			t.Fatal(err)
		}
		in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.filters.http.jwt_authn": claims}}
	}
	return in
}

// ask gives the reason in the answer to a question, and the HTTP status that
// the client would see; 200 for an allow.
func (s *served) ask(q question) (reason string, status int) {
	s.t.Helper()
	out, err := s.client.Check(limited(s.t), q.message(s.t))
	if err != nil {
		s.t.Fatalf("%s %s: %v; the log is\n%s", q.method, q.path, err, s.log)
	}
	status = int(out.GetDeniedResponse().GetStatus().GetCode())
	if out.GetStatus().GetCode() == 0 && out.GetDeniedResponse() == nil {
		status = http.StatusOK
	}
	return out.GetDynamicMetadata().GetFields()["reason"].GetStringValue(), status
}

var aliceAsks = question{path: "/thing", roles: []any{"user"}}

// answers fails the test unless a question is answered so.
func (s *served) answers(q question, reason string, status int) {
	s.t.Helper()
	if r, st := s.ask(q); r != reason || st != status {
		s.t.Errorf("%s %s as %v: got %s, %d; want %s, %d", q.method, q.path, q.roles, r, st, reason, status)
	}
}

// get asks the admin listener.
func (s *served) get(path string) (status int, body map[string]any) {
	s.t.Helper()
	client := http.Client{Timeout: deadline}
	response, err := client.Get("http://" + s.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	defer client.CloseIdleConnections()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if json.Unmarshal(b, &body) == nil && response.Header.Get("content-type") != "application/json" {
		s.t.Errorf("%s: content-type %q", path, response.Header.Get("content-type"))
	}
	return response.StatusCode, body
}

func TestVersion(t *testing.T) {
	status, stdout, stderr := command(nil, "version")
	if status != exitOK || stderr != "" || !regexp.MustCompile(`^edict dev \(commit \w+, go1\.\S+, \w+/\w+\)\n$`).MatchString(stdout) {
		t.Errorf("got %d, %q, %q", status, stdout, stderr)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// An answer that can't be written is no wrong usage.
func TestVersionCannotBeWritten(t *testing.T) {
	log := newJournal()
	if status := run(context.Background(), []string{"version"}, nil, brokenWriter{}, log); status != exitFailure || log.String() != "edict: no space left\n" {
		t.Errorf("got %d, %q", status, log)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"help"}, {"serve", "--help"}} {
		status, stdout, stderr := command(nil, args...)
		if status != exitOK || stderr != "" || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%q: got %d, %q, %q", args, status, stdout, stderr)
		}
		if slices.Contains(args, "serve") != strings.Contains(stdout, "--set stringArray") {
			t.Errorf("%q: got %s", args, stdout)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string // all of standard error, save "edict: " and the line break
	}{
		{[]string{"srve"}, "there is no command \"srve\"; did you mean \"serve\"?; see `edict --help`"},
		{[]string{"frobnicate"}, "there is no command \"frobnicate\"; see `edict --help`"},
		{[]string{"serve", "now"}, "`edict serve` takes no arguments, got \"now\"; see `edict serve --help`"},
		{[]string{"version", "x"}, "`edict version` takes no arguments, got \"x\"; see `edict version --help`"},
		{[]string{"serve", "--confg", "x"}, "unknown flag: --confg; did you mean \"--config\"?; see `edict serve --help`"},
		{[]string{"serve", "--frobnicate"}, "unknown flag: --frobnicate; see `edict serve --help`"},
		{[]string{"--verbose"}, "unknown flag: --verbose; see `edict --help`"},
		{[]string{"serve", "--config"}, "flag needs an argument: --config; see `edict serve --help`"},
		{[]string{"serve", "--config", ""}, "--config needs the name of a file; see `edict serve --help`"},
	} {
		status, stdout, stderr := command(nil, test.args...)
		if status != exitUsage || stdout != "" || stderr != "edict: "+test.want+"\n" {
			t.Errorf("%q: got %d, %q, %q", test.args, status, stdout, stderr)
		}
	}
}

func TestWrongConfiguration(t *testing.T) {
	s := newServed(t)
	s.write("bad.yaml", "log:\n  level: loud\nlisten:\n  extAuth: x\n")
	bad := filepath.Join(s.dir, "bad.yaml")
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"serve", "--config", bad, "--set", "log.format=pretty"}, []string{
			bad + `:2:10: level: "loud" is not a known value`, "    2 |   level: loud\n", "hint: known values: trace, debug, info, warn, error",
			bad + `:4:3: unknown field "extAuth"`, `hint: did you mean "extAuthz"?`,
			`--set log.format:1:1: "pretty" is not a known value`,
		}},
		{[]string{"serve", "--config", bad + "x"}, []string{bad + "x: the configuration can't be read: no such file or directory"}},
		{s.args("upstream={principalHeader: x-who, rolesHeader: x-who}"), []string{`edict: upstream.rolesHeader: "x-who" is upstream.principalHeader already`}},
		{s.args("identity={sources: [{headers: {id: x-edict-principal}}]}"), []string{"edict: identity.sources[0].headers: \"x-edict-principal\" is also sent upstream"}},
	} {
		status, stdout, stderr := command(nil, test.args...)
		if status != exitUsage || stdout != "" {
			t.Errorf("%q: got status %d, standard output %q", test.args, status, stdout)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q: standard error lacks %q:\n%s", test.args, want, stderr)
			}
		}
	}
}
