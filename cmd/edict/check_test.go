package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// demo are the flags for the demo's policies and routes.
var demoCheck = []string{"check", "--policies=../../policies", "--routes=../../envoy/routes"}

func TestCheck(t *testing.T) {
	const alice = `--claims={"sub": "alice", "roles": ["employee"], "regions": ["emea"]}`
	dir := tempDir(t)
	write(t, dir, "body.json", `{"region": "emea", "amount": 12}`)
	write(t, dir, "claims.json", `{"sub": "alice", "roles": ["employee"]}`)
	for _, tc := range []struct {
		name string
		args []string
		says []string // parts of the output, in order
	}{
		{"allowed", []string{"/expenses/emea/alice/1", alice}, []string{
			"GET /expenses/emea/alice/1: allow\n", "upstream   + x-edict-principal: alice", `rule: "owner-reads-own"`,
			`"read" is allowed`, "Route      expenses/read-expense at ../../envoy/routes/expenses.yaml:", "Identity   a token that was verified"}},
		{"denied", []string{"/expenses/emea/bob/1", alice}, []string{
			"deny, 403 Forbidden (deny)\n", "response   + content-type: application/problem+json", `body         {"title":"Forbidden","status":403}`, "To allow it"}},
		{"nobody", []string{"/expenses/emea/bob/1"}, []string{"deny, 401 Unauthorized (no_identity)", "www-authenticate: Bearer"}},
		{"a URL", []string{"https://api.example/expenses/emea/alice/1", alice}, []string{"allow\n", "at api.example"}},
		{"another host", []string{"https://api.example/expenses/emea/alice/1", alice, "-H", "Host: other.example:8443"}, []string{"at other.example\n"}},
		{"no route", []string{"PUT", "/expenses", alice}, []string{"PUT /expenses: deny, 403 Forbidden (no_route)"}},
		{"a bad path", []string{"/expenses/../x", alice}, []string{"GET /expenses/../x: deny, 400 Bad Request (bad_request)", "\n\nGET /expenses/../x\n", "dot_segment"}},
		{"a bad path with a query", []string{"DELETE", "/expenses/\u202e/../x?token=y", alice}, []string{"DELETE %2Fexpenses%2F%E2%80%AE%2F..%2Fx: deny, 400", "\n\nDELETE /expenses/\ufffd/../x\n"}},
		{"a body", []string{"/expenses", alice, "-d", `{"region": "emea", "amount": 12}`}, []string{"POST /expenses: allow"}},
		{"a body in a file", []string{"-X", "POST", "/expenses", alice, "-d", "@" + dir + "/body.json"}, []string{"POST /expenses: allow"}},
		{"claims in a file", []string{"/expenses/emea/alice/1", "--claims", "@" + dir + "/claims.json"}, []string{"allow\n"}},
		{"a body that is cut", []string{"/expenses", alice, "-d", `{"region": "emea", "amount": 12}`, "-H", "Content-Length: 900"}, []string{"deny, 413"}},
		{"a verified token", []string{"/expenses/emea/alice/1", "--token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsInJvbGVzIjpbImVtcGxveWVlIl19.c2ln"}, []string{"allow\n"}},
		{"an unverified token", []string{"/expenses/emea/alice/1", "-H", "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln"}, []string{"deny, 401", "bad_token", `error="invalid_token"`}},
		{"metadata", []string{"/expenses/emea/alice/1", "--metadata", `envoy.filters.http.jwt_authn={"jwt": {"sub": "alice", "roles": ["employee"]}}`}, []string{"allow\n"}},
		{"an auditor at home", []string{"/expenses/emea/alice/1", `--claims={"sub": "carol", "roles": ["auditor"]}`, "--source", "203.0.113.9:1234"}, []string{"deny, 403", `clientIp: "203.0.113.9"`}},
		{"in short", []string{"/expenses/emea/alice/1", alice, "--short"}, []string{"allow\n", "metadata"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, out, log := command(nil, slices.Concat(demoCheck, tc.args)...)
			if status != exitOK || log != "" {
				t.Fatalf("status %d, %s", status, log)
			}
			rest := out
			for _, part := range tc.says {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("%q is missing or out of order:\n%s", part, out)
				}
				rest = after
			}
			// The JSON says what the text says.
			status, form, log := command(nil, slices.Concat(demoCheck, tc.args, []string{"--format", "json"})...)
			if status != exitOK || log != "" {
				t.Fatalf("status %d, %s", status, log)
			}
			var answer struct {
				Answer struct {
					Allowed  bool
					Status   int
					Metadata map[string]any
				}
				Explanation []json.RawMessage
			}
			if err := json.Unmarshal([]byte(form), &answer); err != nil {
				t.Fatal(err)
			}
			if answer.Answer.Allowed != strings.Contains(out, ": allow\n") || (answer.Explanation == nil) != slices.Contains(tc.args, "--short") || answer.Answer.Metadata["reason"] == "" {
				t.Errorf("the JSON is %s", form)
			}
		})
	}
}

// A check of Envoy's in a file is answered like any other.
func TestCheckOfAFile(t *testing.T) {
	status, out, log := command(nil, append(demoCheck, "--check-request", "testdata/explain/check/check.json")...)
	if status != exitOK || log != "" || !strings.Contains(out, "POST /expenses/emea/bob/17/approve: ") {
		t.Errorf("status %d, %s\n%s", status, log, out)
	}
}

func TestCheckEndsWith(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "x.json", `{"apiVersion": "edict.dev/v2", "recordedCheck": {}}`)
	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, exitUsage, "no request was given"},
		{[]string{"GET", "/x", "y"}, exitUsage, `got also "y"`},
		{[]string{"GET", "/x", "-X", "GET"}, exitUsage, "either before the target or by --request"},
		{[]string{"/x", "--exit-code"}, exitGate, "the request is denied"},
		{[]string{"/healthz", "--exit-code"}, exitOK, ""},
		{[]string{"/x", "-H", "nonsense"}, exitUsage, "write Name: value"},
		{[]string{"/x", "--claims", "[]"}, exitUsage, "not a JSON object"},
		{[]string{"/x", "--claims", "{}", "--token", "x"}, exitUsage, "either --claims or --token"},
		{[]string{"/x", "--token", "x"}, exitUsage, "not a signed token"},
		{[]string{"/x", "--claims", "{}", "--set", "identity.sources=[]"}, exitUsage, "neither jwtMetadata nor jwt"},
		{[]string{"/x", "--context-extension", "x"}, exitUsage, "key=value"},
		{[]string{"/x", "--metadata", "x={"}, exitUsage, "namespace="},
		{[]string{"/x", "--source", "nowhere"}, exitUsage, "not an address"},
		{[]string{"/x", "-d", "@" + dir + "/absent"}, exitUsage, "--data"},
		{[]string{"/x", "--check-request", dir + "/x.json"}, exitUsage, "either a request or --check-request"},
		{[]string{"-d", "x", "--check-request", dir + "/x.json"}, exitUsage, "--data does not go together"},
		{[]string{"--check-request", dir + "/x.json"}, exitUsage, "apiVersion: edict.dev/v1"},
		{[]string{"--check-request", dir + "/absent.json"}, exitUsage, "absent.json"},
		{[]string{"/x", "--format", "jsn"}, exitUsage, `did you mean "json"?`},
		{[]string{"/x", "--policies", dir + "/absent"}, exitUsage, "absent"},
	} {
		status, out, log := command(nil, slices.Concat(demoCheck, tc.args)...)
		if status != tc.status || !strings.Contains(log, tc.says) {
			t.Errorf("%q ends with %d, want %d; it says %s", tc.args, status, tc.status, log)
		}
		if status == exitUsage && out != "" {
			t.Errorf("%q writes %q to standard output", tc.args, out)
		}
	}
}
