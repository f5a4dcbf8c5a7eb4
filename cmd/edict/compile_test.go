package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edict/cmd/edict/internal/cerbosjson"
)

// inFolder makes a folder with files the working folder, so that paths are as
// short as a user would write them.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	dir := tempDir(t)
	for name, content := range files {
		write(t, dir, name, content)
	}
	t.Chdir(dir)
}

const misspelt = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: thing
  version: default
  rules:
    - actions: [a]
      effect: EFFECT_ALOW
      roles: [user]
      condition:
        match:
          expr: R.attr.owner = P.id
`

const unimported = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: thing
  version: default
  importDerivedRoles: [people]
  rules:
    - actions: [a]
      effect: EFFECT_ALLOW
      roles: [user]
      condition:
        match:
          expr: |-
            P.id == "x" &&
              R.attr.owner = P.id
`

const thingSuite = `name: things
principals: {alice: {id: alice, roles: [user]}}
resources: {one: {kind: thing, id: one}}
tests:
  - name: using
    input: {principals: [alice], resources: [one], actions: [a]}
    expected:
      - {principal: alice, resource: one, actions: {a: EFFECT_ALLOW}}
`

func TestCompileSaysWhatIsWrong(t *testing.T) {
	inFolder(t, map[string]string{"policies/sub/thing.yaml": unimported, "policies/bad.yaml": misspelt})
	status, stdout, stderr := command(nil, "compile", "./policies/")
	if want := `policies/bad.yaml:7:15: error: effect: "EFFECT_ALOW" is not a known value [unknown-value]
    7 |       effect: EFFECT_ALOW
      |               ^
      hint: did you mean "EFFECT_ALLOW"?
      see: edict compile --explain unknown-value
policies/sub/thing.yaml:14:28: error: Syntax error: token recognition error at: '= ' [invalid-expression]
   14 |               R.attr.owner = P.id
      |                            ^
      hint: CEL compares with ==
      see: edict compile --explain invalid-expression
`; status != exitUncompiled || stdout != want {
		t.Errorf("got status %d and\n%s\nwant\n%s", status, stdout, want)
	}
	if want := "edict: the policies do not compile: 2 errors\n"; stderr != want {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

// What is missing is told once nothing could hide it any more.
func TestCompileSaysWhatIsMissing(t *testing.T) {
	inFolder(t, map[string]string{"thing.yaml": unimported})
	status, stdout, _ := command(nil, "compile", ".")
	if status != exitUncompiled || !strings.HasPrefix(stdout, "thing.yaml:5:24: error: there is no set of derived roles called \"people\" [unknown-import]\n") ||
		!strings.Contains(stdout, "thing.yaml:14:28: error: ") {
		t.Errorf("got status %d and\n%s", status, stdout)
	}
}

func TestCompileIsDone(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("a"), "p/old.yaml": "disabled: true\n" + policy("a"), "r/things.yaml": strings.ReplaceAll(routes("a"), "action: other", "action: a"),
		"p/_schemas/x.json": "{}", "p/README.md": "no policy"})
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"p"}, "p compiled: 1 policy\n"},
		{[]string{"p", "--routes", "r"}, "p compiled: 1 policy, 1 route map\n"},
		{[]string{"p", "-o", "tree"}, "p compiled: 1 policy\n"},
		{[]string{"p", "-o", "json"}, "{\n  \"summary\": {}\n}\n"},
		{[]string{"p", "-o", "json", "--skip-tests"}, "{}\n"},
		{[]string{"p", "--format", "github"}, ""},
	} {
		status, stdout, stderr := command(nil, append([]string{"compile"}, test.args...)...)
		if status != exitOK || stdout != test.want || stderr != "" {
			t.Errorf("%q: got %d, %q, %q; want %q", test.args, status, stdout, stderr, test.want)
		}
	}
}

func TestCompileRoutes(t *testing.T) {
	inFolder(t, map[string]string{
		"p/thing.yaml":   strings.ReplaceAll(policy("a"), "resource: thing", "resource: thin"),
		"r/things.yaml":  routes("a"),
		"r2/things.yaml": strings.ReplaceAll(routes("a"), "methods: [GET]", "methods: [get]"),
	})
	status, stdout, stderr := command(nil, "compile", "p", "--routes", "r")
	if status != exitUncompiled || strings.Count(stdout, "[route-kind]\n") != 2 || !strings.Contains(stdout, `did you mean "thin"?`) || stderr != "edict: the policies and routes do not compile: 2 errors\n" {
		t.Errorf("got %d, %q and\n%s", status, stderr, stdout)
	}
	if status, stdout, _ := command(nil, "compile", "p", "--routes", "r2"); status != exitUncompiled || strings.Count(stdout, "\nr2/things.yaml:")+1 != 2 || strings.Contains(stdout, "[route-kind]") {
		t.Errorf("got %d and\n%s", status, stdout)
	}
	var answer cerbosjson.Document
	_, stdout, _ = command(nil, "compile", "p", "--routes", "r", "--format", "json")
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || answer.CompileErrors != nil || len(answer.RouteErrors.Errors) != 2 {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	e := answer.RouteErrors.Errors[0]
	if e.File != "r/things.yaml" || e.Code != "route-kind" || e.Position.Line != 7 || !strings.HasSuffix(e.Position.Path, ".resource.kind") {
		t.Errorf("got %+v", e)
	}
}

// An action that no rule could allow is doubtful: the route denies everybody.
func TestCompileDoubtsRoutes(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("others"), "p/old.yaml": "disabled: true\n" + policy("a"), "r/things.yaml": routes("\"o:*\"")})
	status, stdout, stderr := command(nil, "compile", "p", "--routes", "r")
	if want := `r/things.yaml:8:15: warning: no rule allows anybody the action "o:*" on the resource kind "thing" [route-action]
    8 |       action: "o:*"
      |               ^
      hint: add a rule that allows it
      see: edict compile --explain route-action
r/things.yaml:12:15: warning: no rule allows anybody the action "other" on the resource kind "thing" [route-action]
   12 |       action: other
      |               ^
      hint: did you mean "others"?
p compiled: 1 policy, 1 route map
`; status != exitOK || stdout != want || stderr != "" {
		t.Errorf("got %d, %q and\n%s", status, stderr, stdout)
	}
	if status, stdout, _ := command(nil, "compile", "p", "--routes", "r", "--warnings=false"); status != exitOK || strings.Contains(stdout, "route-action") {
		t.Errorf("got %d and\n%s", status, stdout)
	}
	if status, _, _ := command(nil, "compile", "p", "--routes", "r", "--werror"); status != exitUncompiled {
		t.Errorf("got %d", status)
	}
}

func TestCompileWarns(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": strings.ReplaceAll(policy("a"), "actions: [a]", "actions: [a, \"a*\"]")})
	status, stdout, stderr := command(nil, "compile", "p")
	if status != exitOK || !strings.Contains(stdout, "p/thing.yaml:7:17: warning: ") || !strings.HasSuffix(stdout, "p compiled: 1 policy\n") || stderr != "" {
		t.Errorf("got %d, %q and\n%s", status, stderr, stdout)
	}
	if status, stdout, stderr := command(nil, "compile", "p", "--warnings=false"); status != exitOK || stdout != "p compiled: 1 policy\n" {
		t.Errorf("got %d, %q, %q", status, stdout, stderr)
	}
	status, _, stderr = command(nil, "compile", "p", "--werror")
	if status != exitUncompiled || !strings.HasPrefix(stderr, "edict: the policies compile, but --werror takes warnings for errors: ") {
		t.Errorf("got %d, %q", status, stderr)
	}
	var answer struct{ Warnings cerbosjson.Errors }
	_, stdout, stderr = command(nil, "compile", "p", "--format", "json")
	if stdout != "{\n  \"summary\": {}\n}\n" || !strings.HasPrefix(stderr, "p/thing.yaml:7:17: warning: ") {
		t.Errorf("unasked, warnings are not for scripts; got %s, %s", stdout, stderr)
	}
	_, stdout, _ = command(nil, "compile", "p", "--format", "json", "--warnings")
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || len(answer.Warnings.Errors) == 0 || answer.Warnings.Errors[0].Severity != "warning" {
		t.Errorf("%v:\n%s", err, stdout)
	}
	if _, stdout, _ := command(nil, "compile", "p", "--format", "github"); !strings.HasPrefix(stdout, "::warning file=p/thing.yaml,line=7,col=17,title=") {
		t.Errorf("got %s", stdout)
	}
}

// A folder without policies is valid, as for Cerbos, and deserves a word.
func TestCompileNothing(t *testing.T) {
	inFolder(t, map[string]string{"p/README.md": "none yet"})
	status, stdout, _ := command(nil, "compile", "p")
	if status != exitOK || !strings.HasPrefix(stdout, "p: warning: there are no policies [no-policies]\n") {
		t.Errorf("got %d, %s", status, stdout)
	}
}

func TestCompileSchemas(t *testing.T) {
	withSchema := strings.Replace(policy("a"), "  rules:", "  schemas:\n    resourceSchema: {ref: \"cerbos:///thing.json\"}\n  rules:", 1)
	inFolder(t, map[string]string{"p/thing.yaml": withSchema, "q/thing.yaml": withSchema, "q/_schemas/thing.json": `{"type": "object"}`,
		"broken/thing.yaml": withSchema, "broken/_schemas/thing.json": `{"type": "objct"}`, "r/README.md": "no routes yet"})
	for _, args := range []string{"compile broken", "compile broken --routes r", "test broken"} {
		status, stdout, stderr := command(nil, strings.Fields(args)...)
		if status != exitUncompiled || !strings.Contains(stdout+stderr, "\n      broken/_schemas/thing.json:1:10: here in the schema\n") {
			t.Errorf("%s: got %d, %s, %s", args, status, stdout, stderr)
		}
	}
	status, stdout, _ := command(nil, "compile", "p")
	if status != exitUncompiled || !strings.HasPrefix(stdout, "p/thing.yaml:6:27: error: ") || !strings.Contains(stdout, "[invalid-schema]") {
		t.Errorf("got %d, %s", status, stdout)
	}
	for _, args := range [][]string{{"p", "--ignore-schemas"}, {"q"}} {
		if status, stdout, stderr := command(nil, append([]string{"compile"}, args...)...); status != exitOK {
			t.Errorf("%q: got %d, %s, %s", args, status, stdout, stderr)
		}
	}
}

func TestCompileTests(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("a"), "p/thing_test.yaml": strings.ReplaceAll(thingSuite, "ALLOW", "DENY"),
		"q/thing.yaml": policy("a"), "q/thing_test.yaml": thingSuite})
	for _, test := range []struct {
		args   []string
		status int
	}{
		{[]string{"p"}, 4},
		{[]string{"p", "--skip-tests"}, exitOK},
		{[]string{"p", "--test-filter", "test=other"}, exitOK},
		{[]string{"p", "--format", "github"}, 4},
		{[]string{"q"}, exitOK},
		{[]string{"q", "--skip-batching", "--strict-evaluation", "--verbose"}, exitOK},
	} {
		status, stdout, stderr := command(nil, append([]string{"compile"}, test.args...)...)
		if status != test.status || (stderr == "edict: tests failed\n") != (status == 4) {
			t.Errorf("%q: got status %d, want %d:\n%s\n%s", test.args, status, test.status, stdout, stderr)
		}
	}
	_, stdout, _ := command(nil, "compile", "p", "--format", "github")
	if want := "::error file=p/thing_test.yaml,line=8,col=53,title=test-failed::using: principal alice, resource one, action a: expected EFFECT_DENY, got EFFECT_ALLOW\n"; stdout != want {
		t.Errorf("got %s", stdout)
	}
	var answer struct {
		Suites  []struct{ File string }
		Summary struct{ OverallResult string }
	}
	status, stdout, _ := command(nil, "compile", "p", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || status != 4 || answer.Suites[0].File != "thing_test.yaml" || answer.Summary.OverallResult != "RESULT_FAILED" {
		t.Errorf("%v: got %d:\n%s", err, status, stdout)
	}
	status, stdout, stderr := command(nil, "compile", "p", "-o", "json", "--test-output", "junit")
	if err := xml.Unmarshal([]byte(stdout), new(struct{ XMLName xml.Name })); err != nil || status != 4 {
		t.Errorf("%v: got %d, %q:\n%s", err, status, stderr, stdout)
	}
}

// Whatever the policies are, JSON and SARIF are valid, and two runs say the
// same.
func TestCompileAnswersAreValid(t *testing.T) {
	inFolder(t, map[string]string{
		"p/a.yaml": misspelt, "p/b.yaml": unimported, "p/c.json": `{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": {"resource": "x", "version": "default", "rules": [{"actions": [], "x": 1}]}}`,
		"p/d.yaml": "a: [", "p/e.yaml": "\xff", "p/f.yaml": "a: \"\x1b[2J<&>\"\n", "p/sub/_schemas/x.json": "", "p/g.yaml": "- a\n---\nb", "p/ü b.yaml": "ü: ü",
	})
	for _, format := range []string{"text", "json", "sarif", "github"} {
		status, stdout, stderr := command(nil, "compile", "p", "--format", format)
		if again, stdout2, stderr2 := command(nil, "compile", "p", "--format", format); status != exitUncompiled || status != again || stdout != stdout2 || stderr != stderr2 {
			t.Errorf("%s: two runs give %d and %d:\n%s\n%s", format, status, again, stdout, stdout2)
		}
		if (format == "json" || format == "sarif") != json.Valid([]byte(stdout)) {
			t.Errorf("%s:\n%s", format, stdout)
		}
		if strings.Contains(stdout, "\x1b") {
			t.Errorf("%s lets an escape through:\n%s", format, stdout)
		}
	}
}

func TestExplain(t *testing.T) {
	status, stdout, stderr := command(nil, "compile", "--explain", "unknown-import")
	if status != exitOK || stderr != "" || !strings.HasPrefix(stdout, "unknown-import: an import names a set that does not exist\nerror\n") || !strings.Contains(stdout, "\nMended, album.yaml:\n") {
		t.Errorf("got %d, %q:\n%s", status, stderr, stdout)
	}
	if status := run(context.Background(), []string{"compile", "--explain", "unknown-import"}, nil, brokenWriter{}, newJournal()); status != exitFailure {
		t.Errorf("got %d", status)
	}
}

func TestCompileUsage(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("a"), "edict.yaml": "log: {level: loud}\n"})
	for _, test := range []struct {
		args []string
		want string // the begin of standard error
	}{
		{nil, "edict: `edict compile` needs the folder of the policies; see `edict compile --help`\n"},
		{[]string{"p", "q"}, "edict: `edict compile` takes one folder, got also \"q\""},
		{[]string{"nowhere"}, "edict: nowhere: cannot be read: no such file or directory"},
		{[]string{"p/thing.yaml"}, "edict: p/thing.yaml: this is not a folder"},
		{[]string{"p", "--routes", "nowhere"}, "edict: nowhere: cannot be read"},
		{[]string{"p", "--routes", ""}, "edict: --routes needs a name"},
		{[]string{"p", "--format", "jsn"}, "edict: there is no format \"jsn\"; did you mean \"json\"?"},
		{[]string{"p", "--format", "json", "-o", "text"}, "edict: --format and --output are the same"},
		{[]string{"p", "--test-output", "xml"}, "edict: there is no format \"xml\" for tests"},
		{[]string{"p", "--test-filter", "tests=x"}, "edict: --test-filter: "},
		{[]string{"p", "--config", "edict.yaml"}, "edict.yaml:1:14: level: \"loud\" is not a known value"},
		{[]string{"--explain", "unknown-imports"}, "edict: there is no code \"unknown-imports\"; did you mean \"unknown-import\"?"},
		{[]string{"--explain", "unknown-import", "p"}, "edict: --explain takes no folder"},
		{[]string{"p", "--skip-test"}, "edict: unknown flag: --skip-test; did you mean \"--skip-tests\"?"},
	} {
		status, stdout, stderr := command(nil, append([]string{"compile"}, test.args...)...)
		if status != exitUsage || stdout != "" || !strings.HasPrefix(stderr, test.want) {
			t.Errorf("%q: got %d, %q, %q", test.args, status, stdout, stderr)
		}
	}
}

func TestCompileCannotWrite(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("a")})
	for _, format := range []string{"text", "json", "sarif"} {
		if status := run(context.Background(), []string{"compile", "p", "--format", format}, nil, brokenWriter{}, newJournal()); status != exitFailure {
			t.Errorf("%s: got %d", format, status)
		}
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if isTerminal(file) || isTerminal(brokenWriter{}) {
		t.Error("a file is no terminal")
	}
	for _, test := range []struct {
		o       colorFlags
		environ []string
		want    bool
	}{
		{colorFlags{color: "auto"}, nil, false},
		{colorFlags{color: "always"}, nil, true},
		{colorFlags{color: "256"}, nil, true},
		{colorFlags{color: "always", noColor: true}, nil, false},
		{colorFlags{color: "always"}, []string{"NO_COLOR=1"}, false},
		{colorFlags{color: "never"}, nil, false},
	} {
		if got := test.o.colored(file, test.environ); got != test.want {
			t.Errorf("%q, %q: got %v", test.o.color, test.environ, got)
		}
	}
	if noColor([]string{"NO_COLOR=", "X=NO_COLOR=1"}) || !noColor([]string{"A=b", "NO_COLOR=1"}) {
		t.Error("NO_COLOR counts if it is not empty")
	}
}
