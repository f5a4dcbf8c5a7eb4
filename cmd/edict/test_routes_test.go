package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// pageBlock gives the first fenced block of a page that is marked so.
func pageBlock(t *testing.T, page, info string) string {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + info + "\n(.*?)```").FindSubmatch(content)
	if m == nil {
		t.Fatalf("%s has no block %q", page, info)
	}
	return string(m[1])
}

// The tests of docs/route-tests.md pass, and what they show would be missed.
func TestRouteTestsPage(t *testing.T) {
	const page = "../../docs/route-tests.md"
	tests := pageBlock(t, page, "yaml routetest")
	for _, tc := range []struct {
		name, old, new string
		status         int
		says           string
	}{
		{"as they stand", "", "", exitOK, "5 results [5 passed]"},
		{"another rule", "rule: owner-reads", "rule: somebody-reads", exitTests, `- "somebody-reads"`},
		{"another id", `id: "7"`, `id: "8"`, exitTests, "output resource.id"},
		{"another attribute", "attr: {owner: alice}", "attr: {owner: alice, more: 1}", exitTests, "output resource.attr.more"},
		{"another effect", "effect: deny", "effect: allow", exitTests, "expected EFFECT_ALLOW"},
		{"another outcome", "outcome: deny", "outcome: allow", exitTests, "expected EFFECT_ALLOW"},
		{"another status", "status: 401", "status: 403", exitTests, "output status"},
		{"another role", "roles: [user]}\n        resource", "roles: [user, admin]}\n        resource", exitTests, "output principal.roles"},
		{"a role twice", "roles: [user]}\n        resource", "roles: [user, user]}\n        resource", exitTests, "output principal.roles"},
		{"another header", "{x-edict-principal: alice}", "{x-edict-principal: bob}", exitTests, "output upstreamHeaders.x-edict-principal"},
		{"no header", "{x-edict-principal: alice}", "{x-edict-principal: null}", exitTests, "output upstreamHeaders.x-edict-principal"},
		{"a null that is there", "rule: owner-reads", "rule: null", exitTests, "output rule"},
		{"another body", "{title: Forbidden}", "{title: No}", exitTests, "output body.title"},
		{"another filter", `owner "alice"))'`, `owner "bob"))'`, exitTests, "output filter.text"},
		{"another kind of filter", "kind: KIND_CONDITIONAL", "kind: KIND_ALWAYS_ALLOWED", exitTests, "output filter.kind"},
		{"no filter", `filter: {kind: KIND_CONDITIONAL, text: '(holds (eq request.resource.attr.owner "alice"))'}`, "filter: null", exitTests, "output filter"},
		{"a kind that is none", "kind: KIND_CONDITIONAL", "kind: CONDITIONAL", exitTests, "unknown-value"},
		{"a mistake", "outcome: bad_request", "outcome: bad-request", exitTests, "route-test-expectation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			changed := tests
			if tc.old != "" {
				if changed = strings.Replace(tests, tc.old, tc.new, 1); changed == tests {
					t.Fatalf("the page has no %q", tc.old)
				}
			}
			dir := tempDir(t)
			write(t, dir, "policies/album.yaml", pageBlock(t, page, "yaml policy"))
			write(t, dir, "routes/albums.yaml", pageBlock(t, page, "yaml routes"))
			write(t, dir, "routes/albums_test.yaml", changed)
			status, out, log := command(nil, "test", dir+"/policies", "--routes", dir+"/routes")
			if status != tc.status || !strings.Contains(out+log, tc.says) {
				t.Errorf("status %d, want %d and %q:\n%s%s", status, tc.status, tc.says, out, log)
			}
		})
	}
}

// Every format has the tests of routes in it, and coverage counts them.
func TestRouteTestsInEveryFormat(t *testing.T) {
	args := []string{"test", "../../policies", "--routes", "../../envoy/routes", "--config", "../../envoy/edict.yaml"}
	for format, says := range map[string]string{
		"text": "the expenses service (expenses_test.yaml) [", "json": `"name": "the expenses service"`, "junit": `name="an owner reads what is hers"`,
		"tap": "an owner reads what is hers", "list": "the expenses service",
	} {
		status, out, log := command(nil, append(args, "--format", format)...)
		if status != exitOK || !strings.Contains(out, says) {
			t.Errorf("%s: status %d, no %q in\n%s%s", format, status, says, out, log)
		}
	}
	file := tempDir(t) + "/coverage.json"
	status, out, log := command(nil, append(args, "--coverage", "--coverage-json", file, "--min", "100")...)
	if status != exitGate || !strings.Contains(log, "of routes are covered") || !strings.Contains(out, "route expenses/whoami was never taken") || !strings.Contains(out, "coverage of routes: ") {
		t.Errorf("coverage: status %d\n%s%s", status, out, log)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var coverage struct {
		Routes []struct {
			Name            string
			Line            int
			Allowed, Denied int
		}
	}
	if err := json.Unmarshal(content, &coverage); err != nil || len(coverage.Routes) < 7 || coverage.Routes[0].Line == 0 {
		t.Errorf("coverage.json has %+v, %v", coverage, err)
	}
	// Filters are those of other tests.
	status, out, _ = command(nil, append(args, "--run", "auditor reads from the office")...)
	if status != exitOK || !strings.Contains(out, "the expenses service (expenses_test.yaml) [1 passed") {
		t.Errorf("--run: status %d\n%s", status, out)
	}
	status, out, _ = command(nil, append(args, "--test-filter", "suite=the expenses service;principal=bob")...)
	if status != exitOK || !strings.Contains(out, "3 results [3 passed]") {
		t.Errorf("--test-filter: status %d\n%s", status, out)
	}
}

func TestRouteTestsThatCannotRun(t *testing.T) {
	const head = "apiVersion: edict.dev/v1\nrouteTest:\n  tests:\n    - name: a\n      request: "
	for _, tc := range []struct {
		name, tests, routes string
		status              int
		says                string
	}{
		{"broken routes", head + "{path: /x}\n      expect: {effect: deny}\n", "nonsense", exitUncompiled, "routes.yaml:1:1"},
		{"no source of tokens", "apiVersion: edict.dev/v1\nrouteTest:\n  identities: {a: {source: other, claims: {}}}\n  tests:\n    - name: a\n      request: {path: /x, as: a}\n      expect: {effect: deny}\n",
			"", exitTests, `no source of tokens "other"`},
		{"a recorded check as somebody else", strings.Replace(head, "  tests:", "  identities: {bob: {claims: {sub: bob}}}\n  tests:", 1) + "{recorded: x.json, as: bob}\n      expect: {effect: deny}\n", "", exitTests, "as does not go together with recorded"},
		{"a recorded check that is not there", head + "{recorded: x.json}\n      expect: {effect: deny}\n", "", exitTests, "can't be read"},
		{"an unknown field", head + "{path: /x, colour: red}\n      expect: {effect: deny}\n", "", exitTests, `unknown field "colour"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := tempDir(t)
			write(t, dir, "policies/album.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: album, version: default}\n")
			write(t, dir, "routes/routes_test.yaml", tc.tests)
			if tc.routes != "" {
				write(t, dir, "routes/routes.yaml", tc.routes)
			}
			status, out, log := command(nil, "test", dir+"/policies", "--routes", dir+"/routes")
			if status != tc.status || !strings.Contains(out+log, tc.says) {
				t.Errorf("status %d, want %d and %q:\n%s%s", status, tc.status, tc.says, out, log)
			}
		})
	}
}

// What Envoy asked once can be asked again by a test.
func TestRecordedRouteTest(t *testing.T) {
	s := newServed(t)
	s.command = []string{"record", "--output", s.dir + "/routes"}
	s.start()
	s.ask(aliceAsks)
	s.stop()
	if status := s.ended(); status != exitOK {
		t.Fatal(s.log)
	}
	entries, err := os.ReadDir(s.dir + "/routes")
	if err != nil {
		t.Fatal(err)
	}
	var recorded string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			recorded = e.Name()
		}
	}
	if err := os.MkdirAll(s.dir+"/routes/testdata", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.dir+"/routes/"+recorded, s.dir+"/routes/testdata/one.json"); err != nil {
		t.Fatal(err)
	}
	s.write("routes/things_test.yaml", "apiVersion: edict.dev/v1\nrouteTest:\n  tests:\n    - name: again\n      request: {recorded: testdata/one.json}\n      expect: {outcome: allow, principal: {id: alice}}\n")
	status, out, log := command(nil, "test", s.dir+"/policies", "--routes", s.dir+"/routes")
	if status != exitOK || !strings.Contains(out, "1 results [1 passed]") && !strings.Contains(out, "1 result") {
		t.Errorf("status %d\n%s%s", status, out, log)
	}
}
