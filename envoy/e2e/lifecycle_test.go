package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// everything is a request of each kind: such as are allowed, denied, and open
// to everybody.
var everything = []request{
	{as: "alice", path: "/expenses/emea/alice/1"},
	{as: "alice", path: "/expenses/apac/dave/7"},
	{as: "bob", method: "POST", path: "/expenses/emea/alice/1/approve", body: `{"amount":420}`},
	{path: "/healthz"},
	{path: "/admin"},
	{as: "alice", path: "/whoami", http2: true},
}

// refused checks that every request gets 503 and none reaches the service.
func (r *rig) refused(t *testing.T, when string) {
	t.Helper()
	before := r.mark(t)
	for range 5 {
		for _, q := range everything {
			if got := r.send(t, q); got.status != http.StatusServiceUnavailable {
				t.Errorf("%s: %s answered %d, want 503", when, q.path, got.status)
			} else if l := r.logged(t, got.header.Get("X-Request-Id")); l.Details != "ext_authz_error" {
				t.Errorf("%s: the access log has details %q, want ext_authz_error", when, l.Details)
			}
		}
	}
	if reached := r.requests(t, before); len(reached) > 0 {
		t.Errorf("%s: %d requests reached the service, the first: %+v", when, len(reached), reached[0])
	}
}

// decided checks that an allow is an allow again, and a denial a denial.
func (r *rig) decided(t *testing.T, when string) {
	t.Helper()
	for path, want := range map[string]int{"/expenses/emea/alice/1": 200, "/expenses/apac/dave/7": 403} {
		if got := r.send(t, request{as: "alice", path: path}); got.status != want {
			t.Errorf("%s: %s answered %d, want %d", when, path, got.status, want)
		}
	}
}

func TestEdictIsKilled(t *testing.T) {
	r := startRig(t, patient...)
	r.decided(t, "before")
	r.edict.kill()
	r.refused(t, "while there is no Edict")
	r.startEdict(t)
	r.waitServing(t)
	r.decided(t, "once it is back")
}

// TestEdictIsSlow stops Edict without ending it: its connections stay open and
// nothing answers. Envoy has the demo's own timeouts here.
func TestEdictIsSlow(t *testing.T) {
	r := startRig(t)
	before := r.stat(t, "cluster.edict.upstream_rq_timeout")
	r.edict.signal(t, syscall.SIGSTOP)
	eventually(t, "an Edict that has stopped", func() error { // which it does a moment after the signal
		if got := r.send(t, request{path: "/healthz"}); got.status == http.StatusOK {
			return errors.New("it answers")
		}
		return nil
	})
	if after := r.stat(t, "cluster.edict.upstream_rq_timeout"); after == before {
		t.Errorf("Envoy counts %s timeouts before and after, so that is not why it refused", after)
	}
	r.refused(t, "while Edict does not answer")
	r.edict.signal(t, syscall.SIGCONT)
	r.waitServing(t)
	// A machine that is busy may need more than the demo's quarter of a second
	// now and then; a refusal is all that may come of it.
	eventually(t, "an allow again", func() error {
		if got := r.send(t, request{as: "alice", path: "/expenses/emea/alice/1"}); got.status != http.StatusOK {
			return fmt.Errorf("answered %d", got.status)
		}
		return nil
	})
	if got := r.send(t, request{as: "alice", path: "/expenses/apac/dave/7"}); got.status == http.StatusOK {
		t.Errorf("afterwards a denied request is answered with 200")
	}
}

// stat gives one of Envoy's counters.
func (r *rig) stat(t *testing.T, name string) string {
	t.Helper()
	client := http.Client{Transport: &r.http1, Timeout: patience}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/stats?filter=^%s$", r.adminPort, regexp.QuoteMeta(name)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	value, ok := strings.CutPrefix(string(text), name+": ")
	if !ok {
		t.Fatalf("Envoy has no counter %s: %q", name, text)
	}
	return strings.TrimSpace(value)
}

// TestNoPoliciesYet starts Edict over a folder without policies: it denies and
// says that it can't serve, and serves once there are some.
func TestNoPoliciesYet(t *testing.T) {
	needTools(t)
	for _, tt := range []struct {
		name  string
		empty func(folder string) error
	}{
		{"the folder is empty", func(folder string) error { return os.MkdirAll(folder, 0o755) }},
		{"there is no folder", func(string) error { return nil }},
		{"other files only", func(folder string) error {
			return errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(folder+"/README.md", []byte("# Policies\n"), 0o644))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, patient...)
			policies := readFolder(t, r.path("policies"))
			if err := os.RemoveAll(r.path("policies")); err != nil {
				t.Fatal(err)
			}
			if err := tt.empty(r.path("policies")); err != nil {
				t.Fatal(err)
			}
			r.startBackend(t)
			r.startEdict(t)
			r.startEnvoy(t)
			r.waitEnvoy(t)
			eventually(t, "the service", func() error { return r.status(r.service, "/healthz", http.StatusOK) })

			if got := r.waitReadiness(t, http.StatusServiceUnavailable); got.Reason != "no policies are loaded" {
				t.Errorf("/readyz says %+v", got)
			}
			if err := r.status(r.ready, "/healthz", http.StatusOK); err != nil {
				t.Errorf("it is alive all the same: %v", err)
			}
			conn := r.dial(t)
			if got, err := healthOf(conn); got != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
				t.Errorf("its health is %v (%v), want NOT_SERVING", got, err)
			}
			answer, err := authv3.NewAuthorizationClient(conn).Check(soon(t), &authv3.CheckRequest{})
			if err != nil || answer.GetStatus().GetCode() != int32(codes.Unavailable) || answer.GetDeniedResponse().GetStatus().GetCode() != 503 {
				t.Errorf("it answers %v (%v), want a denial with 503", answer, err)
			}
			r.refused(t, "without policies")
			if !strings.Contains(r.edict.log(), "there are no policies; put some into the folder") {
				t.Errorf("the log does not say so:\n%s", r.edict.log())
			}

			for name, content := range policies {
				r.write(t, "policies/"+name, content)
			}
			r.waitReadiness(t, http.StatusOK)
			if got, err := healthOf(conn); got != grpc_health_v1.HealthCheckResponse_SERVING {
				t.Errorf("with policies its health is %v (%v), want SERVING", got, err)
			}
			r.waitServing(t)
			r.decided(t, "with policies")
		})
	}
}

// TestBrokenAtStart starts Edict over what does not compile: it ends at once,
// with a status for scripts and every place that is wrong.
func TestBrokenAtStart(t *testing.T) {
	needTools(t)
	for _, tt := range []struct {
		name string
		edit func(t *testing.T, r *rig)
		at   []string // file:line:column
	}{
		{"broken YAML", func(t *testing.T, r *rig) {
			r.edit(t, "policies/expenses/service.yaml", edit{"roles: [employee, manager, auditor]", "roles: [employee, manager, auditor"})
		}, []string{"policies/expenses/service.yaml:"}},
		{"a function that does not exist", func(t *testing.T, r *rig) {
			r.edit(t, "policies/expenses/expense.yaml", edit{"expr: V.fromOffice\n", "expr: fromOffice(P.id)\n"})
		}, []string{
			// CEL has a call begin at its parenthesis.
			place(t, "policies/expenses/expense.yaml", "expr: V.fromOffice\n", len("expr: fromOffice"), 0),
			place(t, "policies/expenses/expense.yaml", "expr: V.fromOffice\n", len("expr: fromOffice"), 1),
		}},
		{"misspelt keys in three files", func(t *testing.T, r *rig) {
			r.edit(t, "policies/expenses/service.yaml", edit{"effect: EFFECT_ALLOW", "efect: EFFECT_ALLOW"})
			r.edit(t, "policies/expenses/expense.yaml", edit{"importDerivedRoles: ", "importDerivedRole: "})
			r.edit(t, "envoy/routes/expenses.yaml", edit{"anonymous: true", "anonymus: true"})
		}, []string{
			place(t, "policies/expenses/service.yaml", "effect: EFFECT_ALLOW", 0, 0),
			place(t, "policies/expenses/service.yaml", "effect: EFFECT_ALLOW", 0, 1),
			place(t, "policies/expenses/expense.yaml", "importDerivedRoles: ", 0, 0),
			place(t, "envoy/routes/expenses.yaml", "anonymous: true", 0, 0),
		}},
		{"a derived role that nobody defines", func(t *testing.T, r *rig) {
			r.edit(t, "policies/expenses/expense.yaml", edit{"derivedRoles: [regional_manager]", "derivedRoles: [regional_boss]"})
		}, []string{
			place(t, "policies/expenses/expense.yaml", "derivedRoles: [regional_manager]", len("derivedRoles: ["), 0),
			place(t, "policies/expenses/expense.yaml", "derivedRoles: [regional_manager]", len("derivedRoles: ["), 1),
		}},
		{"a route for a kind that no policy is for", func(t *testing.T, r *rig) {
			r.edit(t, "envoy/routes/expenses.yaml", edit{"kind: service, id: expenses", "kind: servise, id: expenses"})
		}, []string{place(t, "envoy/routes/expenses.yaml", "kind: service, id: expenses", len("kind: "), 0)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			tt.edit(t, r)
			r.startEdict(t)
			if status := r.edict.ended(t); status != 3 {
				t.Errorf("it ended with status %d, want 3", status)
			}
			places := regexp.MustCompile(`"at":"([^"]*:\d+:\d+)"`).FindAllStringSubmatch(r.edict.log(), -1)
			for _, at := range tt.at {
				if !slices.ContainsFunc(places, func(m []string) bool { return m[1] == at || strings.HasSuffix(at, ":") && strings.HasPrefix(m[1], at) }) {
					t.Errorf("nothing is said of %s; the log:\n%s", at, r.edict.log())
				}
			}
		})
	}
}

// place gives where text stands in a file of the repository, for the n-th time
// from 0, as file:line:column with the column of the byte at offset into it.
func place(t *testing.T, file, text string, offset, n int) string {
	t.Helper()
	content := readFile(t, tools.root+"/"+file)
	at := -1
	for range n + 1 {
		next := strings.Index(content[at+1:], text)
		if next < 0 {
			t.Fatalf("%s does not have %q %d times", file, text, n+1)
		}
		at += 1 + next
	}
	before := content[:at+offset]
	return fmt.Sprintf("%s:%d:%d", file, 1+strings.Count(before, "\n"), len(before)-strings.LastIndex(before, "\n"))
}

// TestTerminated sends SIGTERM: Edict says that it is not serving while it still
// answers, and then ends with status 0.
func TestTerminated(t *testing.T) {
	r := startRig(t, patient...)
	conn := r.dial(t)
	ctx, stopWatching := context.WithCancel(soon(t))
	defer stopWatching()
	watching, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	next := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
		t.Helper()
		answer, err := watching.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer.GetStatus()
	}
	if got := next(); got != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("its health is %v, want SERVING", got)
	}
	r.edict.signal(t, syscall.SIGTERM)
	if got := next(); got != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("after SIGTERM its health is %v, want NOT_SERVING", got)
	}
	stopWatching() // a call under way, which Edict would wait for
	// Checks are still answered, also over connections that begin only now.
	if got, err := r.readiness(); err != nil || got.code != http.StatusServiceUnavailable || got.Reason != "shutting down" {
		t.Errorf("after SIGTERM /readyz says %+v (%v)", got, err)
	}
	answer, err := authv3.NewAuthorizationClient(r.dial(t)).Check(soon(t), &authv3.CheckRequest{})
	if err != nil || answer.GetStatus().GetCode() == 0 || answer.GetDeniedResponse() == nil {
		t.Errorf("after SIGTERM it answers %v (%v), want an answer, which for an empty check is a denial", answer, err)
	}
	if status := r.edict.ended(t); status != 0 {
		t.Errorf("it ended with status %d, want 0; log:\n%s", status, r.edict.log())
	}
	r.refused(t, "after SIGTERM")
}

// TestTerminatedTwice sends a second signal to an Edict that waits for long.
func TestTerminatedTwice(t *testing.T) {
	r := newRig(t)
	r.startEdict(t, "--set", "shutdown.delay=1h")
	r.waitReadiness(t, http.StatusOK)
	r.edict.signal(t, syscall.SIGTERM)
	eventually(t, "a log that tells of the shutdown", func() error {
		if !strings.Contains(r.edict.log(), "shutting down") {
			return errors.New("it does not")
		}
		return nil
	})
	if err := r.edict.alive(); err != nil {
		t.Fatalf("one signal ended it before its delay was over: %v", err)
	}
	r.edict.signal(t, syscall.SIGTERM)
	if status := r.edict.ended(t); status != 1 {
		t.Errorf("it ended with status %d, want 1; log:\n%s", status, r.edict.log())
	}
}
