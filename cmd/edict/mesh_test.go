package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"edict/engine/explanation"
)

// The sample for a whole mesh compiles, its tests pass, and it decides about
// what sidecars ask.
func TestMeshSample(t *testing.T) {
	const mesh = "../../envoy/mesh/"
	with := []string{"--config", mesh + "edict.yaml", "--routes", mesh + "routes"}
	if status, out, stderr := command(nil, append([]string{"compile", mesh + "policies", "--werror"}, with...)...); status != 0 || !strings.Contains(out, "1 route map") {
		t.Fatalf("it ends with %d:\n%s%s", status, out, stderr)
	}
	if status, out, stderr := command(nil, append([]string{"test", mesh + "policies"}, with...)...); status != 0 || !strings.Contains(out, "the mesh (mesh_test.yaml) [4 passed]") {
		t.Fatalf("it ends with %d:\n%s%s", status, out, stderr)
	}
	const orders, books = "spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/catalogue/sa/books"
	for _, tt := range []struct {
		name                  string
		from, to              string
		method, path, upgrade string
		outcome, rule, id     string
	}{
		{"reads the catalogue", orders, books, "GET", "/books/7", "", "allow", "shop-reads-catalogue", books},
		{"changes the catalogue", orders, books, "PUT", "/books/7", "", "deny", "", books},
		{"of its own namespace", books, books, "PUT", "/books/7", "", "allow", "same-namespace", books},
		{"administers", orders, orders, "POST", "/admin/keys", "", "deny", "admin-paths", orders},
		{"administers in other words", orders, orders, "POST", "/%61dmin/keys", "", "deny", "admin-paths", orders},
		{"opens a WebSocket", orders, orders, "GET", "/live", "websocket", "allow", "same-namespace", orders},
		{"opens a WebSocket elsewhere", orders, books, "GET", "/live", "websocket", "deny", "", books},
		{"changes to another protocol", orders, orders, "GET", "/live", "smoke", "no_route", "", ""},
		{"has no certificate", "", books, "GET", "/books/7", "", "no_identity", "", ""},
		{"is of another trust domain", "spiffe://evil.example/ns/shop/sa/orders", books, "GET", "/books/7", "", "bad_identity", "", ""},
		{"asks a workload without a certificate", orders, "", "GET", "/books/7", "", "unmappable", "", ""},
		{"asks a workload of another form", orders, "spiffe://cluster.local/books", "GET", "/books/7", "", "unmappable", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			headers := map[string]string{}
			if tt.upgrade != "" {
				headers = map[string]string{"upgrade": tt.upgrade, "connection": "upgrade"}
			}
			request, err := json.Marshal(map[string]any{"attributes": map[string]any{
				"source":      map[string]any{"principal": tt.from},
				"destination": map[string]any{"principal": tt.to},
				"request":     map[string]any{"http": map[string]any{"method": tt.method, "path": tt.path, "host": "books.catalogue", "headers": headers}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			dir := tempDir(t)
			write(t, dir, "check.json", string(request))
			status, out, stderr := command(nil, append([]string{"explain", "--format", "json", "--policies", mesh + "policies",
				"--check-request", filepath.Join(dir, "check.json")}, with...)...)
			var all struct{ Results []explanation.Document }
			if err := json.Unmarshal([]byte(out), &all); err != nil || status != 0 || len(all.Results) != 1 {
				t.Fatalf("it ends with %d: %v\n%s%s", status, err, out, stderr)
			}
			got := all.Results[0]
			rule, id := "", ""
			if len(got.Actions) > 0 {
				id = got.Resource.ID
				if r := got.Actions[0].Rule; r != nil {
					rule = r.Name
				}
			}
			said := fmt.Sprintf("%s by %q", got.Check.Outcome, rule)
			if want := fmt.Sprintf("%s by %q", tt.outcome, tt.rule); said != want || id != tt.id {
				t.Errorf("got %s about %q, want %s about %q\n%s", said, id, want, tt.id, out)
			}
		})
	}
}

// A route with several checks is explained by each, and a public one by none.
func TestExplainSeveralChecks(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "policies/account.yaml", `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: account
  version: default
  rules:
    - {name: debit, actions: [debit], effect: EFFECT_ALLOW, roles: ["*"]}
    - {name: closed, actions: [credit], effect: EFFECT_DENY, roles: ["*"], condition: {match: {expr: R.id == "closed"}}}
    - {name: credit, actions: [credit], effect: EFFECT_ALLOW, roles: ["*"]}
`)
	write(t, dir, "routes/bank.yaml", `apiVersion: edict.dev/v1
routeMap:
  name: bank
  defaults: {resource: {kind: account}}
  routes:
    - name: transfer
      match: {path: "/{from}/{to}"}
      anonymous: true
      checks:
        - {resource: {id: {expr: path.from}}, action: debit}
        - {resource: {id: {expr: path.to}}, action: credit}
    - {name: logo, match: {path: /logo}, public: true}
`)
	for _, tt := range []struct {
		path    string
		outcome string
		effects string
		status  int
	}{
		{"/1/2", "allow", "1 EFFECT_ALLOW, 2 EFFECT_ALLOW", 0},
		{"/1/closed", "no_identity", "1 EFFECT_ALLOW, closed EFFECT_DENY", exitGate},
		{"/logo", "public", "", 0},
		{"/a/b/c", "no_route", "", exitGate},
	} {
		write(t, dir, "check.json", `{"attributes": {"request": {"http": {"method": "GET", "path": "`+tt.path+`", "host": "bank.test"}}}}`)
		args := []string{"explain", "--policies", filepath.Join(dir, "policies"), "--routes", filepath.Join(dir, "routes"),
			"--check-request", filepath.Join(dir, "check.json"), "--exit-code"}
		status, out, stderr := command(nil, append(args, "--format", "json")...)
		var all struct{ Results []explanation.Document }
		if err := json.Unmarshal([]byte(out), &all); err != nil || status != tt.status {
			t.Fatalf("%s: it ends with %d: %v\n%s%s", tt.path, status, err, out, stderr)
		}
		var effects []string
		for i, d := range all.Results {
			if d.Check.Outcome != tt.outcome {
				t.Errorf("%s: the outcome is %s", tt.path, d.Check.Outcome)
			}
			if len(d.Actions) == 0 {
				continue
			}
			effects = append(effects, d.Resource.ID+" "+d.Actions[0].Effect)
			if d.Check.Question != i+1 || d.Check.Questions != 2 {
				t.Errorf("%s: it is check %d of %d", tt.path, d.Check.Question, d.Check.Questions)
			}
		}
		if got := strings.Join(effects, ", "); got != tt.effects {
			t.Errorf("%s: got %q, want %q", tt.path, got, tt.effects)
		}
		_, out, _ = command(nil, args...)
		if told := strings.Contains(out, "Check      2 of 2, all of which must be allowed"); told != (tt.effects != "") {
			t.Errorf("%s: the text is\n%s", tt.path, out)
		}
	}
}

// Of a route that is planned there is no decision to explain: the plan is shown,
// and what the backend is told.
func TestExplainPlan(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "policies/album.yaml", `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  rules:
    - {name: own, actions: [list], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: R.attr.owner == P.id}}}
`)
	write(t, dir, "routes/albums.yaml", `apiVersion: edict.dev/v1
routeMap:
  name: albums
  routes:
    - {name: list, match: {methods: [GET], path: "/{year}/albums"}, plan: true, resource: {kind: album, attributes: {year: {expr: path.year}}}, action: list}
`)
	args := func(role string, more ...string) []string {
		return append([]string{"check", "--policies", filepath.Join(dir, "policies"), "--routes", filepath.Join(dir, "routes"),
			"/2026/albums?sort=date", "--claims", `{"sub": "alice", "roles": ["` + role + `"]}`, "--exit-code"}, more...)
	}
	const filter = `(and (holds (eq request.resource.attr.year "2026")) (holds (eq request.resource.attr.owner "alice")))`
	status, out, log := command(nil, args("user")...)
	rest := out
	for _, part := range []string{"GET /2026/albums: allow (planned)\n", "upstream   + x-edict-filter: a token of ", `reason: "planned"`,
		"Outcome    planned (200)", "Plan       KIND_CONDITIONAL " + filter, "Token      {", `"pth":"/2026/albums"`, "Principal  alice", "Resource   album", "Action     list"} {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("status %d, %s: %q is missing or out of order:\n%s", status, log, part, out)
		}
		rest = after
	}
	if status != exitOK {
		t.Errorf("status %d, %s", status, log)
	}
	var all struct{ Explanation []explanation.Document }
	status, out, _ = command(nil, args("user", "--format", "json")...)
	if err := json.Unmarshal([]byte(out), &all); err != nil || status != exitOK || len(all.Explanation) != 1 {
		t.Fatalf("status %d, %v\n%s", status, err, out)
	}
	d := all.Explanation[0]
	var claims struct{ Mth, Pth, Sub, Qsh string }
	if err := json.Unmarshal(d.Check.Plan.Claims, &claims); err != nil || claims.Mth != "GET" || claims.Pth != "/2026/albums" || claims.Sub != "alice" || claims.Qsh == "" {
		t.Errorf("the claims are %s", d.Check.Plan.Claims)
	}
	if d.Check.Plan.Kind != "KIND_CONDITIONAL" || d.Check.Plan.Filter != filter || len(d.Actions) != 0 || d.Resource.Kind != "album" {
		t.Errorf("the explanation is %s", out)
	}
	status, out, _ = command(nil, args("guest")...)
	if status != exitGate || !strings.Contains(out, "deny, 403 Forbidden (deny)") || !strings.Contains(out, "Plan       KIND_ALWAYS_DENIED (false)\n") || strings.Contains(out, "Token ") {
		t.Errorf("of a guest: status %d\n%s", status, out)
	}
}
