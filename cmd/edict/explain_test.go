package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/explanation"
)

var updateExplain = flag.Bool("update-explain", false, "write the expected explanations below testdata/explain anew")

// Each folder of testdata/explain is a request, the policies that it is decided
// by, if they are not the demo's, and what is said about it.
func TestExplainGolden(t *testing.T) {
	folders, err := filepath.Glob("testdata/explain/*")
	if err != nil || len(folders) < 8 {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	for _, dir := range folders {
		dir = filepath.ToSlash(dir)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			var args []string
			if b, err := os.ReadFile(filepath.Join(dir, "args")); err == nil {
				args = strings.Fields(string(b))
			}
			if _, err := os.Stat(filepath.Join(dir, "policies")); err == nil {
				args = append(args, "--policies", dir+"/policies")
			}
			files, _ := filepath.Glob(filepath.Join(dir, "request.*"))
			if len(files) == 1 {
				args = append(args, filepath.ToSlash(files[0]))
			} else {
				args = append(args, "--check-request", dir+"/check.json")
			}
			text := explained(t, append(args, "--format", "text"))
			golden(t, dir+"/text.golden", text)
			form := explained(t, append(args, "--format", "json"))
			golden(t, dir+"/json.golden", form)

			// The JSON is of the documented form, and says what the text says.
			var answer struct {
				Results []explanation.Document `json:"results"`
			}
			d := json.NewDecoder(strings.NewReader(form))
			d.DisallowUnknownFields()
			if err := d.Decode(&answer); err != nil {
				t.Fatal(err)
			}
			for _, r := range answer.Results {
				for _, a := range r.Actions {
					if !strings.Contains(text, a.Summary+"\n") {
						t.Errorf("the text does not say %q", a.Summary)
					}
					if a.Rule != nil && a.Reason != "denied" && !strings.Contains(a.Summary, a.Rule.At.String()) {
						t.Errorf("%q does not name the place %s", a.Summary, a.Rule.At)
					}
				}
			}
		})
	}
}

func explained(t *testing.T, args []string) string {
	t.Helper()
	status, out, log := command(nil, append([]string{"explain"}, args...)...)
	if status != exitOK || log != "" {
		t.Fatalf("%s: status %d, %s", strings.Join(args, " "), status, log)
	}
	return out
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *updateExplain {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test ./cmd/edict -run TestExplainGolden -args -update-explain writes it anew): got\n%s", file, got)
	}
}

// A request by flags is the request of a file.
func TestExplainByFlags(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "request.yaml", `
principal: {id: bob, roles: [employee, manager], attr: {regions: [emea], approvalLimit: 1000}, scope: acme, policyVersion: default}
resource: {kind: expense, id: "17", attr: {ownerId: alice, region: emea, amount: 1200}}
actions: [approve, read]
`)
	const policies, now = "../../policies", "2026-03-02T10:00:00Z"
	want := explained(t, []string{filepath.Join(dir, "request.yaml"), "--policies", policies, "--now", now, "--format", "json"})
	got := explained(t, []string{"--principal", "bob", "--role", "employee", "--role", "manager", "--principal-attr", `regions=["emea"]`, "--principal-attr", "approvalLimit=1000",
		"--principal-scope", "acme", "--principal-version", "default",
		"--resource", "expense:17", "--resource-attr", `ownerId="alice"`, "--resource-attr", `region="emea"`, "--resource-attr", "amount=1200",
		"--action", "approve", "--action", "read", "--policies", policies, "--now", now, "--format", "json"})
	if got != want {
		t.Errorf("by flags:\n%s\nby file:\n%s", got, want)
	}
}

func TestExplainReadsStandardInput(t *testing.T) {
	root := newRoot(nil, os.Stderr)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetIn(strings.NewReader(`{"principal": {"id": "a", "roles": ["x"]}, "resource": {"kind": "service", "id": "1"}, "actions": ["health"]}`))
	root.SetArgs([]string{"explain", "-", "--policies", "../../policies"})
	if err := root.ExecuteContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := `"health" is allowed to the role x by the rule anybody-asks-for-health at `; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %s", out.String())
	}
}

func TestExplainEndsWith(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "policies", "broken.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: x, version: default, rules: [{actions: [a], effect: EFFECT_ALLOW, roles: [r], condition: {match: {expr: R.attr.}}}]}\n")
	write(t, dir, "denied.yaml", "principal: {id: a, roles: [x]}\nresource: {kind: service, id: '1'}\nactions: [whoami]\n")
	write(t, dir, "twice.yaml", "principal: {id: a, roles: [x]}\nresource: {kind: service, id: '1'}\nresources: []\nactions: [whoami]\n")
	write(t, dir, "typo.yaml", "principle: {id: a, roles: [x]}\nresource: {kind: service, id: '1'}\nactions: [whoami]\n")
	write(t, dir, "token.yaml", "principal: {id: a, roles: [x]}\nresource: {kind: service, id: '1'}\nactions: [whoami]\nauxData: {jwt: {token: abc}}\n")
	write(t, dir, "empty.yaml", "")
	write(t, dir, "check.json", "{}")
	at := func(name string) string { return filepath.Join(dir, name) }
	const demo = "--policies=../../policies"
	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{at("denied.yaml"), demo}, exitOK, ""},
		{[]string{at("denied.yaml"), demo, "--exit-code"}, exitGate, "something is denied"},
		{[]string{demo}, exitUsage, "no request was given"},
		{[]string{"a", "b"}, exitUsage, "takes one file"},
		{[]string{at("denied.yaml"), demo, "--format", "jsn"}, exitUsage, `did you mean "json"?`},
		{[]string{at("denied.yaml"), "--action", "x"}, exitUsage, "--action does not go together with a file"},
		{[]string{"--principal", "x"}, exitUsage, "--role is missing"},
		{[]string{"--principal", "x", "--role", "r", "--resource", ":1", "--action", "a"}, exitUsage, "names no kind"},
		{[]string{"--principal", "x", "--role", "r", "--resource", "k", "--action", "a", "--resource-attr", "n=x"}, exitUsage, `a text is written n='"text"'`},
		{[]string{at("denied.yaml"), "--now", "today"}, exitUsage, "is not an instant"},
		{[]string{at("denied.yaml"), "--routes", "x"}, exitUsage, "only with --check-request"},
		{[]string{at("denied.yaml"), "--policies", at("policies")}, exitUncompiled, "broken.yaml:2:"},
		{[]string{at("denied.yaml"), "--policies", at("nowhere")}, exitUsage, "edict: " + at("nowhere")},
		{[]string{"--check-request", at("check.json"), demo, "--routes", at("nowhere")}, exitUsage, "edict: " + at("nowhere")},
		{[]string{at("denied.yaml"), demo, "--color", "alway"}, exitUsage, `did you mean "always"?`},
		{[]string{at("absent.yaml"), demo}, exitUsage, "absent.yaml"},
		{[]string{at("empty.yaml"), demo}, exitUsage, "there is no request"},
		{[]string{at("typo.yaml"), demo}, exitUsage, `did you mean "principal"?`},
		{[]string{at("twice.yaml"), demo}, exitUsage, "resources"},
		{[]string{at("token.yaml"), demo}, exitUsage, "its token is not valid"},
		{[]string{"--check-request", at("denied.yaml"), demo, "--routes=../../envoy/routes"}, exitUsage, "is not a CheckRequest"},
	} {
		status, out, log := command(nil, append([]string{"explain"}, tc.args...)...)
		if status != tc.status || !strings.Contains(log, tc.says) {
			t.Errorf("%q ends with %d, want %d; it says %s", tc.args, status, tc.status, log)
		}
		if (status == exitOK || status == exitGate) != (out != "") {
			t.Errorf("%q writes %q to standard output", tc.args, out)
		}
	}
}

// Tokens and claims of auxData are what conditions see of them.
func TestExplainAuxData(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "policies", "p.yaml", `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - {actions: [read], effect: EFFECT_ALLOW, roles: [x], condition: {match: {expr: request.auxData.jwt.tenant == "acme"}}}
    - {actions: [edit], effect: EFFECT_ALLOW, roles: [x], condition: {match: {expr: request.auxData.jwts.other.claims.tenant == "acme"}}}
`)
	const unsigned = "eyJhbGciOiJub25lIn0.eyJ0ZW5hbnQiOiJhY21lIn0."
	for _, tc := range []struct{ aux, allowed string }{
		{"{jwt: {tenant: acme}}", "read"},
		{"{jwt: {token: " + unsigned + "}}", "read"},
		{"{jwts: {other: {claims: {tenant: acme}}}}", "edit"},
		{"{jwts: {other: {token: " + unsigned + "}}}", "edit"},
	} {
		write(t, dir, "request.yaml", "principal: {id: a, roles: [x]}\nresource: {kind: doc, id: '1'}\nactions: [read, edit]\nauxData: "+tc.aux+"\n")
		_, out, log := command(nil, "explain", filepath.Join(dir, "request.yaml"), "--policies", filepath.Join(dir, "policies"), "--format", "json", "--set", "auxData.jwt.disableVerification=true")
		var answer struct {
			Results []explanation.Document `json:"results"`
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("%s: %v %s", tc.aux, err, log)
		}
		for _, a := range answer.Results[0].Actions {
			if (a.Effect == engine.Allow.String()) != (a.Action == tc.allowed) {
				t.Errorf("%s: %s", tc.aux, a.Summary)
			}
		}
	}
}

func TestExplainColors(t *testing.T) {
	dir := tempDir(t)
	write(t, dir, "request.yaml", "principal: {id: a, roles: [x]}\nresource: {kind: service, id: '1'}\nactions: [whoami]\n")
	for _, tc := range []struct {
		flags, environ []string
		colored        bool
	}{
		{nil, nil, false},
		{[]string{"--color=always"}, nil, true},
		{[]string{"--color=always", "--no-color"}, nil, false},
		{[]string{"--color=always"}, []string{"NO_COLOR=1"}, false},
	} {
		_, out, log := command(tc.environ, append([]string{"explain", filepath.Join(dir, "request.yaml"), "--policies=../../policies"}, tc.flags...)...)
		if out == "" || strings.Contains(out, "\x1b[") != tc.colored {
			t.Errorf("%q, %q: %q %s", tc.flags, tc.environ, out, log)
		}
	}
}

// A place in a schema is one that an editor finds.
func TestExplainNamesTheFolderOfSchemas(t *testing.T) {
	inFolder(t, map[string]string{
		"p/thing.yaml":          strings.Replace(policy("a"), "  rules:", "  schemas:\n    resourceSchema: {ref: \"cerbos:///thing.json\"}\n  rules:", 1),
		"p/_schemas/thing.json": `{"type": "objct"}`,
		"r/README.md":           "no routes yet", "request.yaml": "principal: {id: a, roles: [x]}\nresource: {kind: thing}\nactions: [a]\n", "check.json": "{}",
	})
	for _, args := range []string{"explain request.yaml", "explain --check-request check.json --routes r"} {
		status, _, log := command(nil, append(strings.Fields(args), "--policies=p", "--set=schema.enforcement=reject")...)
		if status != exitUncompiled || !strings.Contains(log, "\n      p/_schemas/thing.json:1:10: here in the schema\n") {
			t.Errorf("%s: got %d, %s", args, status, log)
		}
	}
}

// What begins like a setting and is none is told by every command that reads
// settings.
func TestMisspeltVariableIsWarnedOf(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("a"), "request.yaml": "principal: {id: a, roles: [x]}\nresource: {kind: thing}\nactions: [a]\n"})
	for _, args := range []string{"compile p", "test p", "explain request.yaml --policies p", "repl --policies p"} {
		status, out, log := command([]string{"EDICT_ENGIN_GLOBALS={}", "EDICT_HISTORY=h"}, strings.Fields(args)...)
		const want = "edict: warning: the environment variable EDICT_ENGIN_GLOBALS begins like a setting and is none\n"
		if status != exitOK || !strings.HasPrefix(log, want) || strings.Contains(log, "EDICT_HISTORY") || strings.Contains(out, "EDICT_") {
			t.Errorf("%s: got %d, %s, %s", args, status, out, log)
		}
	}
}

const explainingPage = "../../docs/policies/explaining.md"

// The commands of docs/policies/explaining.md print what the page says, over the
// demo's policies. go test ./cmd/edict -run TestExplainingPage -args
// -update-explain writes it.
func TestExplainingPage(t *testing.T) {
	page, err := filepath.Abs(explainingPage)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	demo, err := filepath.Abs("../../policies")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(demo, "policies"); err != nil {
		t.Fatal(err)
	}
	commands := 0
	block := regexp.MustCompile("(?ms)^```(yaml|console)\n(?:# (\\S+)|\\$ edict (.+?))\n(.*?)^```$")
	out := block.ReplaceAllStringFunc(string(content), func(b string) string {
		m := block.FindStringSubmatch(b)
		if m[1] == "yaml" {
			if err := os.WriteFile(m[2], []byte(m[4]), 0o644); err != nil {
				t.Fatal(err)
			}
			return b
		}
		commands++
		_, stdout, stderr := command(nil, strings.Fields(m[3])...)
		return "```console\n$ edict " + m[3] + "\n" + stdout + stderr + "```"
	})
	if commands < 2 {
		t.Errorf("found only %d commands", commands)
	}
	switch {
	case *updateExplain:
		if err := os.WriteFile(page, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	case out != string(content):
		t.Errorf("%s should be\n%s", explainingPage, out)
	}
	// The table of the JSON form names every field.
	seen := map[reflect.Type]bool{}
	var fields func(reflect.Type)
	fields = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || seen[of] {
			return
		}
		seen[of] = true
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name != "" && !strings.Contains(out, "`"+name+"`") {
				t.Errorf("%s does not name the field %s of %s", explainingPage, name, of)
			}
			fields(f.Type)
		}
	}
	fields(reflect.TypeFor[explanation.Document]())
	if len(seen) < 12 {
		t.Errorf("only %d types were seen", len(seen))
	}
}
