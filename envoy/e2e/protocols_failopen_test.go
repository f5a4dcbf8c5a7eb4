package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// lettingPass is what no bootstrap should say: what is no answer lets the request
// pass. With it, a denial that was an error would show.
var lettingPass = edit{"failure_mode_allow: false  ", "failure_mode_allow: true  "}

// A wayIn is a request that Edict denies, and the status of the denial.
type wayIn struct {
	name   string
	line   string   // method and target
	header []string // beside the identity; a name behind - takes one away
	body   string
	status int
}

// denies sends requests, and fails the test if one passes or is answered with
// another status.
func (r *rig) denies(t *testing.T, identity http.Header, ways []wayIn) {
	t.Helper()
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			lines := []string{w.line + " HTTP/1.1", "Host: expenses.example", "Connection: close"}
			for name, values := range identity {
				for _, v := range values {
					taken := false
					for _, h := range w.header {
						taken = taken || h == "-"+strings.ToLower(name)
					}
					if !taken {
						lines = append(lines, name+": "+v)
					}
				}
			}
			for _, h := range w.header {
				if !strings.HasPrefix(h, "-") {
					lines = append(lines, h)
				}
			}
			if w.body != "" {
				lines = append(lines, fmt.Sprintf("Content-Length: %d", len(w.body)))
			}
			before := r.mark(t)
			got := r.sendRaw(t, office, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"+w.body), 1)
			if len(got) != 1 || got[0].status != w.status {
				t.Errorf("answered %+v, want %d", got, w.status)
			}
			if reached := r.requests(t, before); len(reached) > 0 {
				t.Errorf("the service was reached: %+v", reached)
			}
		})
	}
}

// TestNoDenialFailsOpen has an Envoy that lets requests pass when Edict fails,
// and every way in which a client can be denied.
func TestNoDenialFailsOpen(t *testing.T) {
	needTools(t)
	r := newRig(t, concat(patient, soft, []edit{lettingPass, healthUnasked, {"max_request_bytes: 8192", "max_request_bytes: 200000"}})...)
	r.startBackend(t)
	r.startEdict(t, "--set", "limits.messageBytes=100000")
	r.startEnvoy(t)
	r.waitServing(t)
	alice := http.Header{"Authorization": {"Bearer " + r.issuer.token("alice")}}
	json := []string{"content-type: application/json"}
	r.denies(t, alice, []wayIn{
		{"deny", "GET /expenses/apac/dave/7", nil, "", 403},
		{"no_route", "GET /nowhere", nil, "", 403},
		{"no_identity", "GET /whoami", []string{"-authorization"}, "", 401},
		{"bad_token", "GET /whoami", []string{"-authorization", "Authorization: Bearer x.y.z"}, "", 401},
		{"bad_request, path", "GET /expenses%2femea/alice/1", nil, "", 400},
		{"bad_request, another method in a header", "GET /expenses/emea/alice/1", []string{"x-http-method-override: DELETE"}, "", 400},
		{"bad_request, query twice", "GET /totals?region=emea&region=apac", nil, "", 400},
		{"bad_request, not UTF-8", "GET /expenses/emea/alice/%ff", nil, "", 400},
		{"unmappable", "GET /totals", nil, "", 403},
		{"body_missing", "POST /expenses", json, "", 400},
		{"body_malformed", "POST /expenses", json, "{\"region\": \"emea\", \"region\": \"apac\"}", 400},
		{"body_malformed, not UTF-8", "POST /expenses", json, "{\"region\": \"\xff\"}", 400},
		{"body_malformed, deep", "POST /expenses", json, strings.Repeat("[", 5000), 400},
		{"body_unsupported", "POST /expenses", append([]string{"content-encoding: gzip"}, json...), "{}", 415},
		{"too_large, by its body", "POST /expenses", json, padded(150_000), 413},
		{"custom verb", "POST /expenses/emea/alice/1", nil, "", 403},
	})
	t.Run("too_large, by its headers", func(t *testing.T) {
		// Within Envoy's own limits of 60 KiB Edict's is reached with a body.
		before := r.mark(t)
		got := r.sendRaw(t, office, []byte(r.posting("alice", "x-large: "+strings.Repeat("a", 50_000), "Content-Length: 60000")+padded(60_000)), 1)
		if len(got) != 1 || got[0].status != http.StatusRequestEntityTooLarge || len(r.requests(t, before)) > 0 {
			t.Errorf("answered %+v, want 413", got)
		}
	})
	t.Run("not_ready", func(t *testing.T) {
		r.edict.kill()
		r.startEdict(t, "--set", "policies.dir="+r.path("nothing-there"))
		r.waitReadiness(t, http.StatusServiceUnavailable)
		eventually(t, "a denial", func() error { return r.status(r.port, "/healthz", http.StatusServiceUnavailable) })
		if l := r.logged(t, r.send(t, request{path: "/healthz"}).header.Get("X-Request-Id")); l.Details != "ext_authz_denied" || l.Edict.Reason != "not_ready" {
			t.Errorf("the access log says %+v", l)
		}
	})
	t.Run("and what is no answer passes, so the test can fail", func(t *testing.T) {
		r.edict.kill()
		if got := r.send(t, request{path: "/healthz"}); got.status != http.StatusOK {
			t.Errorf("without Edict: answered %d", got.status)
		}
	})
}
