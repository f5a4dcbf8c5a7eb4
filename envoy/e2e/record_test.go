package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What the real Envoy asks is written down without credentials, and is answered
// from the file as it was answered to Envoy.
func TestRecordedChecks(t *testing.T) {
	r := newRig(t, patient...)
	r.startBackend(t)
	recorded := r.path("recorded")
	r.edict = launch(t, "edict", r.dir, nil, tools.edict, "record", "--output", recorded, "--bodies", "--route", "expenses/*",
		"--config", "envoy/edict.yaml", "--set", "listen.extAuthz="+r.authzAddress, "--set", fmt.Sprintf("listen.admin=127.0.0.1:%d", r.ready),
		"--set", "listen.apiGRPC=", "--set", "listen.apiHTTP=", "--set", "shutdown.delay=0s")
	r.startEnvoy(t)
	r.waitServing(t)
	for _, q := range []request{
		{as: "alice", path: "/expenses/emea/alice/1?token=s3cret", header: http.Header{"Cookie": {"sid=s3cret"}}},
		{as: "alice", path: "/expenses/apac/dave/7"},
		{as: "alice", method: "POST", path: "/expenses", body: `{"region":"emea","department":"engineering","amount":64.2}`},
		{path: "/expenses/emea/alice/1", header: http.Header{"Authorization": {"Bearer s3cret.s3cret.s3cret"}}},
	} {
		r.send(t, q)
	}
	r.edict.signal(t, syscall.SIGTERM)
	if status := r.edict.ended(t); status != 0 {
		t.Fatalf("edict record ends with %d\n%s", status, r.edict.tail())
	}
	files, err := filepath.Glob(recorded + "/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("the files are %q, %v", files, err)
	}
	outcomes := map[string]int{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "s3cret") || strings.Contains(string(content), "czNjcmV0") { // the same in base64
			t.Errorf("%s holds a credential:\n%s", file, content)
		}
		var record struct {
			Check struct{ Outcome, Route string } `json:"recordedCheck"`
		}
		if err := json.Unmarshal(content, &record); err != nil {
			t.Fatal(err)
		}
		outcomes[record.Check.Outcome]++
		check := exec.Command(tools.edict, "check", "--check-request", file, "--config", "envoy/edict.yaml", "--format", "json")
		check.Dir = r.dir
		out, err := check.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var again struct {
			Answer struct {
				Metadata map[string]any
			}
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatal(err)
		}
		if got := again.Answer.Metadata; got["reason"] != record.Check.Outcome || got["route"] != record.Check.Route {
			t.Errorf("%s was answered with %+v, and now with %v", file, record.Check, got)
		}
	}
	if outcomes["allow"] < 2 || outcomes["deny"] != 1 || outcomes["bad_token"] != 1 {
		t.Errorf("the outcomes are %v", outcomes)
	}
}
