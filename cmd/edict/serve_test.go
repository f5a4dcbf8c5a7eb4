package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"edict/cmd/edict/internal/config"
	"edict/extauthz"
)

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

// health fails the test unless the daemon reports this, for itself and for the
// service that Envoy asks.
func (s *served) health(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.t.Helper()
	for _, service := range []string{"", extauthz.ServiceName} {
		got, err := grpc_health_v1.NewHealthClient(s.conn).Check(limited(s.t), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || got.Status != want {
			s.t.Errorf("health of %q: got %v, %v; want %v", service, got.GetStatus(), err, want)
		}
	}
}

func TestServe(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := newServed(t)
			socket := filepath.Join(s.dir, "authz.sock")
			if network == "unix" {
				s.start("listen.extAuthz=unix:" + socket)
				info, err := os.Lstat(socket)
				if err != nil || info.Mode() != fs.ModeSocket|0o660 || s.authz != "unix:"+socket {
					t.Errorf("the socket %s is %v, %v", s.authz, info.Mode(), err)
				}
			} else {
				s.start()
			}
			s.health(serving)
			_, err := grpc_health_v1.NewHealthClient(s.conn).Check(limited(t), &grpc_health_v1.HealthCheckRequest{Service: "nobody"})
			if status.Code(err) != codes.NotFound {
				t.Errorf("health of a service that there is not: %v", err)
			}
			s.reflects()
			if code, body := s.get("/healthz"); code != 200 || body["status"] != "ok" {
				t.Errorf("/healthz: %d, %v", code, body)
			}
			revision := s.log.await(t, logInForce, 1).text("revision")
			if code, body := s.get("/readyz"); code != 200 || body["status"] != "ready" || body["revision"] != revision || body["policies"] != 1.0 || body["routes"] != 2.0 {
				t.Errorf("/readyz: %d, %v", code, body)
			}
			if code, _ := s.get("/"); code != 404 {
				t.Errorf("/: %d", code)
			}
			s.answers(aliceAsks, "allow", 200)
			s.answers(question{path: "/other", roles: []any{"user"}}, "deny", 403)
			s.answers(question{path: "/thing", roles: []any{"guest"}}, "deny", 403)
			s.answers(question{path: "/nowhere", roles: []any{"user"}}, "no_route", 403)
			s.answers(question{path: "/thing"}, "no_identity", 401)

			s.stop()
			if got := s.ended(); got != exitOK {
				t.Errorf("exit status %d", got)
			}
			if s.stdout.Len() > 0 {
				t.Errorf("standard output: %s", &s.stdout)
			}
			if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket is still there: %v", err)
			}
			if n := len(s.log.entries("")); n != strings.Count(s.log.String(), "\n") {
				t.Errorf("not every line of the log is JSON:\n%s", s.log)
			}
		})
	}
}

// reflects fails the test unless reflection tells of the services.
func (s *served) reflects() {
	s.t.Helper()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(s.conn).ServerReflectionInfo(limited(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	ask := func(r *grpc_reflection_v1.ServerReflectionRequest) *grpc_reflection_v1.ServerReflectionResponse {
		if err := stream.Send(r); err != nil {
			s.t.Fatal(err)
		}
		out, err := stream.Recv()
		if err != nil {
			s.t.Fatal(err)
		}
		return out
	}
	var names []string
	list := ask(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	for _, service := range list.GetListServicesResponse().GetService() {
		names = append(names, service.Name)
	}
	for _, want := range []string{extauthz.ServiceName, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} {
		if !slices.Contains(names, want) {
			s.t.Errorf("reflection lists %q, and not %s", names, want)
		}
	}
	files := ask(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: extauthz.ServiceName}}).
		GetFileDescriptorResponse().GetFileDescriptorProto()
	if len(files) == 0 {
		s.t.Fatal("reflection has no file for the service")
	}
	var file descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(files[0], &file); err != nil || len(file.Service) != 1 || file.Service[0].GetName() != "Authorization" {
		s.t.Errorf("reflection describes %v, %v", file.Service, err)
	}
	if err := stream.CloseSend(); err != nil {
		s.t.Error(err)
	}
}

func TestBrokenAtStart(t *testing.T) {
	s := newServed(t)
	s.write("policies/thing.yaml", strings.Replace(policy("a"), "EFFECT_ALLOW", "EFFECT_ALOW", 1))
	s.write("policies/sub/other.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: other, version: default, rulez: []}\n")
	s.write("routes/things.yaml", routes("a")+"      acton: x\n")
	status, stdout, stderr := command(nil, s.args()...)
	if status != exitUncompiled || stdout != "" {
		t.Errorf("got status %d, standard output %q", status, stdout)
	}
	if !strings.Contains(stderr, "edict: the policies and routes were not loaded; the log says why\n") || strings.Contains(stderr, logListening) {
		t.Errorf("got\n%s", stderr)
	}
	log := newJournal()
	_, _ = log.Write([]byte(stderr))
	for at, want := range map[string]string{
		"policies/thing.yaml:8:15":     "EFFECT_ALOW",
		"policies/sub/other.yaml:2:53": "rulez",
		"routes/things.yaml:13:7":      "acton",
	} {
		found := false
		for _, e := range log.entries("") {
			found = found || e.text("at") == filepath.Join(s.dir, at) && e.text("level") == "error" && e.text("code") != "" &&
				strings.Contains(e.text("message")+e.text("hint"), want)
		}
		if !found {
			t.Errorf("the log does not say that %s is wrong at %s:\n%s", want, at, stderr)
		}
	}
	if e := log.await(t, logNotLoaded, 1); e["problems"] != 3.0 || e["oldPoliciesStayInForce"] != false {
		t.Errorf("got %v", e)
	}
}

func TestDoesNotCompile(t *testing.T) {
	for name, test := range map[string]struct{ file, content, at, want string }{
		"condition": {"policies/thing.yaml", policy("a") + "      condition: {match: {expr: R.attr.x ==}}\n", "policies/thing.yaml:10:", "yntax"},
		"route":     {"routes/things.yaml", strings.Replace(routes("a"), "/thing}", "\"/{}\"}", 1), "routes/things.yaml:6:40", "no name"},
		"kind":      {"routes/things.yaml", strings.Replace(routes("a"), "kind: thing", "kind: thign", 1), "routes/things.yaml:7:24", `did you mean "thing"?`},
		"not YAML":  {"routes/things.yaml", "routeMap: [", "routes/things.yaml:1:11", "bracket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServed(t)
			s.write(test.file, test.content)
			status, _, stderr := command(nil, s.args()...)
			log := newJournal()
			_, _ = log.Write([]byte(stderr))
			found := false
			for _, e := range log.entries("") {
				found = found || strings.HasPrefix(e.text("at"), filepath.Join(s.dir, test.at)) && strings.Contains(e.text("message")+e.text("hint"), test.want)
			}
			if status != exitUncompiled || !found {
				t.Errorf("got %d\n%s", status, stderr)
			}
		})
	}
}

func TestRoutesFolderThatWasNamedIsAbsent(t *testing.T) {
	s := newServed(t)
	s.remove("routes")
	status, _, stderr := command(nil, s.args()...)
	if status != exitUncompiled || !strings.Contains(stderr, `"at":"`+filepath.Join(s.dir, "routes")+`"`) {
		t.Errorf("got %d\n%s", status, stderr)
	}
}

// Filters are signed with the key of the file, or with none: a start without it
// would deny every list.
func TestFilterKeyMustBeThere(t *testing.T) {
	s := newServed(t)
	write(t, s.dir, "filter.pem", "no key")
	for file, says := range map[string]string{"absent.pem": "no such file", "filter.pem": "PRIVATE KEY"} {
		status, stdout, stderr := command(nil, s.args("filter.keyFile="+filepath.Join(s.dir, file))...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, "edict: filter.keyFile: ") || !strings.Contains(stderr, says) {
			t.Errorf("%s: status %d, %s\n%s", file, status, stdout, stderr)
		}
	}
}

func TestAddressIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for key, other := range map[string]string{"listen.extAuthz": "listen.admin", "listen.admin": "listen.extAuthz",
		"listen.apiGRPC": "listen.extAuthz", "listen.apiHTTP": "listen.apiGRPC"} {
		s := newServed(t)
		socket := filepath.Join(s.dir, "s.sock")
		status, stdout, stderr := command(nil, s.args(key+"="+l.Addr().String(), other+"=unix:"+socket)...)
		want := fmt.Sprintf("edict: %s: listen tcp %s: bind: address already in use\n", key, l.Addr())
		if status != exitUsage || stdout != "" || !strings.HasSuffix(stderr, want) {
			t.Errorf("got %d, %q\n%s\nwant %s", status, stdout, stderr, want)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the other listener's socket is left behind: %v", err)
		}
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	s := newServed(t)
	socket := filepath.Join(s.dir, "s.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as if its process had been killed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.start("listen.extAuthz=unix:" + socket)
	s.answers(aliceAsks, "allow", 200)
}

func TestSocketsThatAreRefused(t *testing.T) {
	dir := tempDir(t)
	live := filepath.Join(dir, "live.sock")
	l, err := net.Listen("unix", live)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file := filepath.Join(dir, "file")
	write(t, file, "precious")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(live, link); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 200))
	for path, want := range map[string]string{
		live:                               "another process listens on " + live,
		file:                               file + " exists and is not a socket",
		link:                               link + " exists and is not a socket",
		dir:                                dir + " exists and is not a socket",
		long:                               "the path of a socket can't be longer than 107 bytes: " + long,
		filepath.Join(dir, "no", "x.sock"): "listen unix " + filepath.Join(dir, "no", "x.sock") + ": bind: no such file or directory",
	} {
		s := newServed(t)
		status, _, stderr := command(nil, s.args("listen.extAuthz=unix:"+path)...)
		if status != exitUsage || !strings.HasSuffix(stderr, "edict: listen.extAuthz: "+want+"\n") {
			t.Errorf("%s: got %d\n%s", path, status, stderr)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file now holds %q, %v", b, err)
	}
	if c, err := net.Dial("unix", live); err != nil {
		t.Errorf("the live socket does not answer any more: %v", err)
	} else {
		c.Close()
	}
}

// Policies that are not there yet are waited for. Until then nothing is
// allowed and nobody is told that Edict is ready.
func TestPoliciesComeLater(t *testing.T) {
	for _, start := range []string{"empty", "absent"} {
		t.Run(start, func(t *testing.T) {
			t.Parallel()
			s := newServed(t)
			s.remove("policies")
			if start == "empty" {
				if err := os.Mkdir(filepath.Join(s.dir, "policies"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			s.start()
			if e := s.log.await(t, logNoPolicies, 1); e["exists"] != (start == "empty") || e["oldPoliciesStayInForce"] != false {
				t.Errorf("got %v", e)
			}
			if s.log.await(t, logListening, 1)["ready"] != false {
				t.Error("it says that it is ready")
			}
			s.health(notServing)
			if code, body := s.get("/readyz"); code != 503 || body["reason"] != "no policies are loaded" {
				t.Errorf("/readyz: %d, %v", code, body)
			}
			if code, _ := s.get("/healthz"); code != 200 {
				t.Errorf("/healthz: %d", code)
			}
			s.answers(aliceAsks, "not_ready", 503)

			s.write("policies/thing.yaml", policy("a"))
			s.log.await(t, logInForce, 1)
			s.health(serving)
			if code, body := s.get("/readyz"); code != 200 {
				t.Errorf("/readyz: %d, %v", code, body)
			}
			s.answers(aliceAsks, "allow", 200)
		})
	}
}

// Health says NOT_SERVING while calls are still answered, and calls that are
// under way are let end.
func TestDrain(t *testing.T) {
	t.Run("calls end", func(t *testing.T) {
		s := newServed(t)
		s.start("shutdown.delay=1s", "shutdown.timeout=1h")
		watch := s.watchHealth() // which does not hold it up
		s.expectHealth(watch, serving)
		end := s.holdCall()
		s.stop()
		s.expectHealth(watch, notServing)
		end()
		if status := s.ended(); status != exitOK {
			t.Errorf("exit status %d", status)
		}
		s.log.await(t, "stopped", 1)
		if len(s.log.entries("calls under way were cut off")) > 0 {
			t.Error("the call was cut off")
		}
	})
	t.Run("calls don't end", func(t *testing.T) {
		s := newServed(t)
		s.start("shutdown.timeout=1ms")
		s.holdCall()
		s.stop()
		if status := s.ended(); status != exitOK {
			t.Errorf("exit status %d", status)
		}
		s.log.await(t, "calls under way were cut off", 1)
	})
	t.Run("before it listens", func(t *testing.T) {
		s := newServed(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if status := run(ctx, s.args(), nil, &s.stdout, s.log); status != exitOK {
			t.Errorf("exit status %d:\n%s", status, s.log)
		}
	})
}

type healthStream = interface {
	Recv() (*grpc_health_v1.HealthCheckResponse, error)
}

// watchHealth is told of every change of health.
func (s *served) watchHealth() healthStream {
	s.t.Helper()
	watch, err := grpc_health_v1.NewHealthClient(s.conn).Watch(limited(s.t), &grpc_health_v1.HealthCheckRequest{Service: extauthz.ServiceName})
	if err != nil {
		s.t.Fatal(err)
	}
	return watch
}

// holdCall begins a call that lasts, and gives what ends it.
func (s *served) holdCall() context.CancelFunc {
	s.t.Helper()
	ctx, cancel := context.WithCancel(limited(s.t))
	stream, err := grpc_reflection_v1.NewServerReflectionClient(s.conn).ServerReflectionInfo(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil { // it is under way
		s.t.Fatal(err)
	}
	return cancel
}

func (s *served) expectHealth(watch healthStream, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	s.t.Helper()
	got, err := watch.Recv()
	if err != nil || got.Status != want {
		s.t.Fatalf("health: got %v, %v; want %v", got.GetStatus(), err, want)
	}
}

func TestNotReadyWhileStopping(t *testing.T) {
	s := newServed(t)
	s.start("shutdown.delay=1s", "shutdown.timeout=1h")
	watch := s.watchHealth()
	s.expectHealth(watch, serving)
	end := s.holdCall()
	s.stop()
	s.expectHealth(watch, notServing)
	if code, body := s.get("/readyz"); code != 503 || body["reason"] != "shutting down" {
		t.Errorf("/readyz: %d, %v", code, body)
	}
	end()
	s.ended()
}

// A reload that ends late does not make a daemon serve again that stops.
func TestStoppedStaysStopped(t *testing.T) {
	d := &daemon{config: new(config.Config), health: newHealthServer()}
	d.setServing(true)
	if !d.isServing() {
		t.Fatal("it does not serve")
	}
	d.stopServing()
	d.setServing(true)
	got, err := d.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if d.isServing() || err != nil || got.Status != notServing {
		t.Errorf("it serves again: %v, %v", got, err)
	}
}

func TestLogFormats(t *testing.T) {
	s := newServed(t)
	s.remove("routes")
	if err := os.Mkdir(filepath.Join(s.dir, "routes"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("policies/thing.yaml", "apiVersion: api.cerbos.dev/v1\n")
	_, _, console := command(nil, s.args("log.format=console")...)
	if !regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d ERR the policies and routes were not loaded .*problems=1$`).MatchString(console) || strings.Contains(console, "\x1b") {
		t.Errorf("got\n%q", console)
	}
	for _, format := range []string{"auto", "json"} { // this is no terminal
		_, _, stderr := command(nil, s.args("log.format="+format)...)
		log := newJournal()
		_, _ = log.Write([]byte(stderr))
		log.await(t, logNotLoaded, 1)
	}
	_, _, quiet := command([]string{"EDICT_PORT=tcp://10.0.0.1:9001"}, s.args()...)
	if !strings.Contains(quiet, `"variable":"EDICT_PORT"`) {
		t.Errorf("the log does not name the variable:\n%s", quiet)
	}
}
