package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edict/cmd/edict/internal/schemas"
)

func TestSchema(t *testing.T) {
	for _, kind := range schemas.Names() {
		status, stdout, stderr := command(nil, "schema", kind)
		if status != exitOK || stderr != "" || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, "/"+kind+".schema.json") {
			t.Errorf("schema %s: status %d, %q, %.80q…", kind, status, stderr, stdout)
		}
	}
	status, stdout, stderr := command(nil, "schema", "--list")
	if lines := strings.Split(strings.TrimSpace(stdout), "\n"); status != exitOK || stderr != "" || len(lines) != len(schemas.Names()) || lines[0] != "policy      policies, of every kind" {
		t.Errorf("--list: status %d, %q, %q", status, stderr, stdout)
	}
}

func TestSchemaOutput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	status, stdout, stderr := command(nil, "schema", "--output", dir)
	if status != exitOK || stdout != "" || stderr != "" {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	for _, kind := range schemas.Names() {
		_, want, _ := command(nil, "schema", kind)
		got, err := os.ReadFile(filepath.Join(dir, kind+".schema.json"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, or not what `edict schema %s` prints", kind, err, kind)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	status, _, stderr = command(nil, "schema", "--output", filepath.Join(dir, "file", "x"))
	if status != exitFailure || !strings.Contains(stderr, "not a directory") {
		t.Errorf("below a file: status %d, %q", status, stderr)
	}
}

func TestSchemaUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "takes a KIND: policy, test,"},
		{"polcy", `there is no schema "polcy"; known: policy, test, principals, resources, auxdata, routes, routetest, config; did you mean "policy"?`},
		{"nothing", `there is no schema "nothing"; known:`},
		{"policy test", `takes one KIND, got also "test"`},
		{"--list policy", "`edict schema --list` takes no KIND, got \"policy\""},
		{"policy -o policy.json", "one alone goes to a file by `edict schema policy > FILE`"},
		{"--list --output x", "--list and --output do not go together"},
		{"--lst", `did you mean "--list"?`},
	} {
		status, stdout, stderr := command(nil, append([]string{"schema"}, strings.Fields(c.args)...)...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("schema %s: status %d, %q, %q", c.args, status, stdout, stderr)
		}
	}
}
