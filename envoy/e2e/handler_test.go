package e2e

import (
	"net/http"
	"testing"
	"time"
)

// Of GET /expense/{number} the proxy judges who may open expenses at all, and
// the service asks Edict, by the Cerbos SDK, who may view this one.
func TestTwoDecisions(t *testing.T) {
	r := startRig(t, patient...)
	for _, tt := range []struct {
		name   string
		q      request
		status int
		view   string // what the service was told; "": it did not ask
		rule   string // at the proxy
	}{
		{"her own", request{as: "alice", path: "/expense/1"}, 200, "allow", "employees-open"},
		{"another's", request{as: "alice", path: "/expense/7"}, 403, "deny", "employees-open"},
		{"of their region", request{as: "bob", path: "/expense/2"}, 200, "allow", "employees-open"},
		{"a draft of another", request{as: "bob", path: "/expense/8"}, 403, "deny", "employees-open"},
		{"of no region", request{as: "bob", path: "/expense/10"}, 403, "deny", "employees-open"},
		{"approved, without region and day", request{as: "carol", path: "/expense/10"}, 200, "allow", "auditors-open-from-office"},
		{"small and of today", request{as: "carol", path: "/expense/7"}, 403, "deny", "auditors-open-from-office"},
		{"small and old", request{as: "carol", path: "/expense/9"}, 200, "allow", "auditors-open-from-office"},
		{"a draft without an amount", request{as: "carol", path: "/expense/8"}, 403, "deny", "auditors-open-from-office"},
		{"there is none", request{as: "alice", path: "/expense/99"}, 404, "", "employees-open"},
		{"regions of the client's own", request{as: "alice", path: "/expense/7", header: http.Header{"X-Edict-Regions": {"apac"}, "X-Edict-Roles": {"manager"}}}, 403, "deny", "employees-open"},
		{"nobody", request{path: "/expense/1"}, 401, "", ""},
		{"no number", request{as: "alice", path: "/expense/1e1"}, 422, "", "employees-open"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.mark(t)
			got := r.send(t, tt.q)
			if got.status != tt.status || got.header.Get("x-expenses-view") != tt.view {
				t.Errorf("status %d, view %q; want %d, %q: %s", got.status, got.header.Get("x-expenses-view"), tt.status, tt.view, got.body)
			}
			if line := r.logged(t, got.header.Get("x-request-id")); line.Edict.Rule != tt.rule {
				t.Errorf("the rule at the proxy is %q, want %q", line.Edict.Rule, tt.rule)
			}
			for _, wrong := range judge(r.since(t, before), caller{tt.q.as, office, time.Now()}) {
				t.Error(wrong)
			}
			var views int
			for _, o := range r.operations(t, before) {
				if o.Name == "view" {
					views++
				}
			}
			if want := map[bool]int{true: 1}[tt.view == "allow"]; views != want {
				t.Errorf("%d expenses were viewed, want %d", views, want)
			}
		})
	}
}

// Without an answer to its question the service lets nobody view anything. And the
// owner of a new expense is the caller by the name that policies know, however the
// header spells it: that spelling could be the name of another.
func TestServiceWithoutEdict(t *testing.T) {
	needTools(t)
	python(t, "-c", `
import sys
sys.path[:0] = ["envoy/demo", "python/edict-fastapi/src"]
from app.main import create_app
from fastapi.testclient import TestClient

with TestClient(create_app(":memory:", "http://127.0.0.1:1")) as client:
    for headers in ({}, {"x-edict-filter": "a.b.c"}):
        listed = client.get("/expenses", headers={"x-edict-principal": "alice", "x-edict-roles": "employee"} | headers)
        assert listed.status_code == 403, listed
        assert "amount" not in listed.text, listed.text
    answer = client.get("/expense/1", headers={"x-edict-principal": "alice", "x-edict-roles": "employee"})
    new = {"region": "emea", "department": "x", "amount": 1.5}
    for header, name in (("zo%C3%AB%20%E6%97%A5", "zoë 日"), ("a%2520b", "a%20b"), ("alice", "alice")):
        made = client.post("/expenses", json=new, headers={"x-edict-principal": header})
        assert (made.status_code, made.json()["ownerId"]) == (201, name), made.text
        assert made.headers["location"].split("/")[3] == header, made.headers
assert answer.status_code == 503, answer
assert "amount" not in answer.text, answer.text
`)
}
