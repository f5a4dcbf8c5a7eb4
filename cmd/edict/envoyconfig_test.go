package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"edict/cmd/edict/internal/envoylint"
)

// demoSettings is the demo's configuration, found from the folder of the tests.
var demoSettings = []string{"--config", "../../envoy/edict.yaml", "--set", "policies.dir=../../policies", "--set", "routes.dir=../../envoy/routes"}

// What is printed for the demo is as good to the linter as the demo's own
// bootstrap is, and is the same in both formats.
func TestEnvoyConfig(t *testing.T) {
	status, yaml, stderr := command(nil, append([]string{"envoy-config"}, demoSettings...)...)
	if status != exitOK || stderr != "" {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	for _, want := range []string{
		"metadata_context_namespaces: [envoy.filters.http.jwt_authn]", "payload_in_metadata: jwt",
		"with_request_body: {max_request_bytes: 8192", "# For expenses/approve-expense, expenses/create-expense",
		`address: "127.0.0.1", port_value: 9001`, `"^x-edict-[a-z0-9-]+$"`,
	} {
		if !strings.Contains(yaml, want) {
			t.Errorf("there is no %s", want)
		}
	}
	status, text, _ := command(nil, append([]string{"envoy-config", "--format", "json"}, demoSettings...)...)
	var parsed struct {
		Static struct {
			Clusters []struct{ Name string } `json:"clusters"`
		} `json:"static_resources"`
	}
	if err := json.Unmarshal([]byte(text), &parsed); err != nil || status != exitOK || len(parsed.Static.Clusters) != 3 || parsed.Static.Clusters[0].Name != "edict" {
		t.Errorf("%v: status %d, %s", err, status, text)
	}
	if r := envoylint.Lint([]envoylint.File{{Name: "printed.json", Content: []byte(text)}}, envoylint.Options{}); len(r.Findings) > 0 {
		t.Error(r.Findings.Render())
	}
}

// Several documents are a list in JSON.
func TestEnvoyConfigForTheMesh(t *testing.T) {
	args := append([]string{"envoy-config", "--for", "istio", "--format", "json", "--set", "identity.sources=[{headers: {id: x-user}}]"}, demoSettings...)
	status, out, stderr := command(nil, args...)
	var documents []map[string]any
	if err := json.Unmarshal([]byte(out), &documents); err != nil || status != exitOK || len(documents) != 4 {
		t.Fatalf("%v: status %d, %d documents\n%s%s", err, status, len(documents), out, stderr)
	}
}

func TestEnvoyConfigRefuses(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "policies", "album.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: album, version: default, rules: [{actions: [a], effect: EFFECT_ALLOW}]}\n")
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"an argument", []string{"x"}, exitUsage, `there is no command "x"`},
		{"another proxy", append([]string{"--for", "istoi"}, demoSettings...), exitUsage, `did you mean "istio"?`},
		{"another format", append([]string{"--format", "jsn"}, demoSettings...), exitUsage, `did you mean "json"?`},
		{"no address", append([]string{"--address", ""}, demoSettings...), exitUsage, "--address needs a value"},
		{"a bad address", append([]string{"--address", "edict"}, demoSettings...), exitUsage, "neither host:port nor unix:/path"},
		{"a bad port", append([]string{"--address", "edict:grpc"}, demoSettings...), exitUsage, "neither host:port nor unix:/path"},
		{"no configuration", []string{"--config", filepath.Join(dir, "none.yaml")}, exitUsage, "config-unreadable"},
		{"no policies", []string{"--set", "policies.dir=" + filepath.Join(dir, "none")}, exitUsage, "none"},
		{"broken policies", []string{"--set", "policies.dir=" + filepath.Join(dir, "policies")}, exitUncompiled, "what they need of the proxy is not known"},
		{"claims in a mesh", append([]string{"--for", "istio"}, demoSettings...), exitUsage, "let Edict verify tokens"},
		{"claims in a gateway", append([]string{"--for", "gateway"}, demoSettings...), exitUsage, "let Edict verify tokens"},
		{"HTTP is off", append([]string{"--for", "http", "--set", "identity.sources=[]"}, demoSettings...), exitUsage, "the HTTP variant is off"},
		{"claims over HTTP", append([]string{"--for", "http", "--address", "127.0.0.1:9003"}, demoSettings...), exitUsage, "the HTTP variant does not send"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := command(nil, append([]string{"envoy-config"}, tt.args...)...)
			if status != tt.status || stdout != "" || !strings.Contains(stderr, tt.says) {
				t.Errorf("status %d, want %d and %q\n%s%s", status, tt.status, tt.says, stdout, stderr)
			}
		})
	}
}

const goodFilter = `name: envoy.filters.http.ext_authz
typed_config:
  "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
  grpc_service: {timeout: 0.2s, envoy_grpc: {cluster_name: edict}}
  status_on_error: {code: ServiceUnavailable}
  encode_raw_headers: true
  validate_mutations: true
  decoder_header_mutation_rules: {disallow_all: true, allow_expression: {regex: "^x-edict-[a-z0-9-]+$"}}
`

func TestEnvoyLint(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "good.yaml", goodFilter)
	write(t, dir, "open.yaml", goodFilter+"  failure_mode_allow: true\n")
	write(t, dir, "warning.yaml", goodFilter+"  clear_route_cache: true\n")
	write(t, dir, "unknown.yaml", "a: b\n")
	write(t, dir, "deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\n")
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct {
		name       string
		args       []string
		status     int
		out, error string
	}{
		{"clean", []string{file("good.yaml")}, exitOK, "nothing to mend\n", ""},
		{"an error", []string{file("open.yaml")}, exitGate, "[envoy-fail-open]", "1 error"},
		{"a warning", []string{file("warning.yaml")}, exitOK, "[envoy-clear-route-cache]", ""},
		{"a warning that counts", []string{"--werror", file("warning.yaml")}, exitGate, "[envoy-clear-route-cache]", "1 warning"},
		{"a warning untold", []string{"--warnings=false", file("warning.yaml")}, exitOK, "nothing to mend\n", ""},
		{"several files", []string{file("good.yaml"), file("open.yaml"), file("warning.yaml")}, exitGate, "[envoy-fail-open]", "1 error, 1 warning"},
		{"github", []string{"--format", "github", file("open.yaml")}, exitGate, "::error file=" + filepath.ToSlash(file("open.yaml")) + ",line=9,col=3,title=envoy-fail-open::", "1 error"},
		{"sarif", []string{"--format", "sarif", file("open.yaml")}, exitGate, `"ruleId": "envoy-fail-open"`, "1 error"},
		{"what Edict reads", append([]string{file("good.yaml")}, demoSettings...), exitGate, "[envoy-metadata-missing]", "1 error"},
		{"no file", nil, exitUsage, "", "needs a file"},
		{"a file that is not there", []string{file("none.yaml")}, exitUsage, "", "none.yaml"},
		{"an unknown file", []string{file("unknown.yaml")}, exitUsage, "[envoy-unknown-document]", "not everything could be understood"},
		{"nothing to judge", []string{file("deployment.yaml")}, exitUsage, "nothing to mend", "nothing in these files says how Edict is asked"},
		{"another format", []string{"--format", "xml", file("good.yaml")}, exitUsage, "", `there is no format "xml"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := command(nil, append([]string{"envoy-config", "lint"}, tt.args...)...)
			if status != tt.status || !strings.Contains(stdout, tt.out) || !strings.Contains(stderr, tt.error) || tt.error == "" && stderr != "" {
				t.Errorf("status %d, want %d, %q and %q\n%s%s", status, tt.status, tt.out, tt.error, stdout, stderr)
			}
		})
	}
}

// The rules that are printed for a configuration let Edict remove the keys of
// that one; with others a key would reach the backend.
func TestEnvoyLintMutations(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "keys.yaml", "apiVersion: edict.dev/v1\napiKeys:\n  - {id: robot, hash: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}\n")
	config := func(header string) []string {
		return append([]string{"--set", "identity.sources=[{apiKey: {file: " + filepath.ToSlash(filepath.Join(dir, "keys.yaml")) + ", from: [{header: " + header + "}]}}]"}, demoSettings...)
	}
	status, printed, stderr := command(nil, append([]string{"envoy-config"}, config("x-api-key")...)...)
	if status != exitOK {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	for _, tt := range []struct {
		name, old, new, header string
		status                 int
		says                   string
	}{
		{"as printed", "", "", "x-api-key", exitOK, "nothing to mend"},
		{"without the key", "|x-api-key)$", ")$", "x-api-key", exitGate, "answered with 500 [envoy-mutations-refused]"},
		{"without the key, in silence", "|x-api-key)$\"}\n                        disallow_is_error: true", ")$\"}", "x-api-key", exitGate, "the backend gets the key or token that the client sent in x-api-key [envoy-mutations-refused]"},
		{"of another configuration", "", "", "x-service-key", exitGate, `hint: write decoder_header_mutation_rules: {disallow_all: true, allow_expression: {regex: "^(x-edict-[a-z0-9-]+|x-service-key)$"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(printed, tt.old) {
				t.Fatalf("there is no %q in\n%s", tt.old, printed)
			}
			write(t, dir, "envoy.yaml", strings.Replace(printed, tt.old, tt.new, 1))
			status, stdout, stderr := command(nil, append([]string{"envoy-config", "lint", filepath.Join(dir, "envoy.yaml")}, config(tt.header)...)...)
			if status != tt.status || !strings.Contains(stdout, tt.says) {
				t.Errorf("status %d, want %d and %q\n%s%s", status, tt.status, tt.says, stdout, stderr)
			}
		})
	}
}

func TestEnvoyLintJSON(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "open.yaml", goodFilter+"  failure_mode_allow: true\n")
	name := filepath.ToSlash(filepath.Join(dir, "open.yaml"))
	status, stdout, _ := command(nil, "envoy-config", "lint", "--format", "json", name)
	var got lintReport
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != exitGate || len(got.Findings) != 1 {
		t.Fatalf("%v: status %d\n%s", err, status, stdout)
	}
	f := got.Findings[0]
	if f.Code != "envoy-fail-open" || f.Severity != "error" || f.Place != (lintPlace{name, 9, 3}) || f.Message == "" || f.Hint == "" ||
		!strings.HasSuffix(f.Docs, "/envoy-fail-open") || got.Summary != (lintSummary{1, 0}) {
		t.Errorf("got %+v", got)
	}
	if status, stdout, _ := command(nil, "envoy-config", "lint", "--format", "json", "../../envoy/envoy.yaml"); status != exitOK || !strings.Contains(stdout, `"findings": []`) {
		t.Errorf("status %d\n%s", status, stdout)
	}
}
