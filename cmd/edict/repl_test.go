package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script runs `edict repl` with a script on standard input.
func script(t *testing.T, input string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString(input); err != nil {
		t.Fatal(err)
	}
	w.Close()
	before := os.Stdin
	os.Stdin = r
	defer func() { os.Stdin = before }()
	var out, errs bytes.Buffer
	status = run(context.Background(), append([]string{"repl"}, args...), nil, &out, &errs)
	return status, out.String(), errs.String()
}

func TestREPLRunsScripts(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	policies := filepath.Dir(file("policies/a.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: album\n  version: default\n  rules:\n    - {name: r, actions: [view], effect: EFFECT_ALLOW, roles: [user]}\n"))
	broken := filepath.Dir(file("broken/a.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: a, version: default, rules: [{actions: [b]}]}\n"))
	request := file("request.json", `{"principal": {"id": "a", "roles": ["user"]}, "resource": {"kind": "album", "id": "b"}, "actions": ["view"]}`)
	badRequest := file("bad.json", `{"principal": {"id": "a", "role": ["user"]}}`)
	config := file("edict.yaml", "policies: {dir: "+policies+"}\nengine: {globals: {env: test}}\n")
	for _, test := range []struct {
		name, input string
		args        []string
		status      int
		out, err    string // err: a part of it
	}{
		{"expressions alone", "1 + 1\n", nil, exitOK, "2\n", ""},
		{"nothing", "", nil, exitOK, "", ""},
		{"a line fails", "1 +* 1\n2\n", nil, exitFailure, "2\n", "stdin:1:4: error: Syntax error"},
		{"policies and a request", ":check\n", []string{"--policies", policies, "--request", request}, exitOK, "view: EFFECT_ALLOW by r, " + filepath.ToSlash(policies) + "/a.yaml:6:7\n", ""},
		{"configuration", "G.env\n:check view\n", []string{"--config", config, "--request", request}, exitOK, "\"test\"\nview: EFFECT_ALLOW by r, " + filepath.ToSlash(policies) + "/a.yaml:6:7\n", ""},
		{"policies that do not compile", "1\n", []string{"--policies", broken}, exitUncompiled, "", "a.yaml:2:"},
		{"no such folder", "1\n", []string{"--policies", filepath.Join(dir, "nowhere")}, exitUsage, "", "nowhere: cannot be read: no such file or directory"},
		{"no folder", "1\n", []string{"--policies", request}, exitUsage, "", "this is not a folder"},
		{"no such request", "1\n", []string{"--request", filepath.Join(dir, "nowhere")}, exitUsage, "", "nowhere"},
		{"a wrong request", "1\n", []string{"--request", badRequest}, exitUsage, "", "bad.json:1:27"},
		{"a wrong configuration", "1\n", []string{"--set", "engine.global=1"}, exitUsage, "", "engine.global"},
		{"arguments", "1\n", []string{"x"}, exitUsage, "", "takes no arguments"},
		{"no name", "1\n", []string{"--policies", ""}, exitUsage, "", "--policies needs a name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, out, errs := script(t, test.input, test.args...)
			if status != test.status || out != test.out || !strings.Contains(errs, test.err) || test.err == "" && errs != "" {
				t.Errorf("got %d\n%s\n%s", status, out, errs)
			}
		})
	}
}
