package e2e

import (
	"fmt"
	"net/http"
	"os"
	"testing"
)

// TestUnixSocket lets Envoy ask through a Unix socket, as sidecars do, also
// after an Edict that left its socket behind.
func TestUnixSocket(t *testing.T) {
	r := newRig(t, patient...)
	socket := r.path("authz.sock")
	r.authzAddress = "unix:" + socket
	r.edit(t, "envoy/envoy.yaml", edit{
		fmt.Sprintf("{socket_address: {address: 127.0.0.1, port_value: %d}}", r.authz),
		fmt.Sprintf("{pipe: {path: %q}}", socket),
	})
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	ask := func(t *testing.T) {
		for _, tt := range []struct {
			q      request
			status int
			rule   string
		}{
			{request{as: "alice", path: "/expenses/emea/alice/1"}, 200, "owner-reads-own"},
			{request{as: "alice", path: "/expenses/apac/dave/7"}, 403, ""},
			{request{path: "/whoami"}, 401, ""},
		} {
			got := r.send(t, tt.q)
			if got.status != tt.status {
				t.Errorf("%s: answered %d, want %d", tt.q.path, got.status, tt.status)
			}
			if l := r.logged(t, got.header.Get("X-Request-Id")); l.Edict.Rule != tt.rule || l.Edict.Revision == "" {
				t.Errorf("%s: the access log says %+v, want the rule %q", tt.q.path, l.Edict, tt.rule)
			}
		}
	}
	t.Run("first", ask)
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o660 {
		t.Errorf("the socket's mode is %o, want 660: its group may connect and nobody else", mode)
	}

	r.edict.kill()
	if _, err := os.Stat(socket); err != nil {
		t.Fatalf("a killed Edict should have left its socket: %v", err)
	}
	if got := r.send(t, request{path: "/healthz"}); got.status != http.StatusServiceUnavailable {
		t.Errorf("without Edict: answered %d, want 503", got.status)
	}
	r.startEdict(t)
	r.waitServing(t)
	t.Run("after the restart", ask)

	t.Run("a second Edict leaves the socket alone", func(t *testing.T) {
		second := launch(t, "second", r.dir, nil, tools.edict, "serve", "--config", "envoy/edict.yaml",
			"--set", "listen.extAuthz="+r.authzAddress, "--set", fmt.Sprintf("listen.admin=127.0.0.1:%d", freePort(t)),
			"--set", "listen.apiGRPC=", "--set", "listen.apiHTTP=")
		if status := second.ended(t); status != 2 {
			t.Errorf("it ended with status %d, want 2: %s", status, second.log())
		}
		ask(t)
	})
}
