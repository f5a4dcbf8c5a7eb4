package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The files of the tests below.
const (
	testedPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  schemas: {resourceSchema: {ref: "cerbos:///doc.json"}}
  rules:
    - {name: readers, actions: [view], effect: EFFECT_ALLOW, roles: [user]}
    - name: lenient
      actions: [guess]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {none: {of: [{expr: R.attr.nowhere == 1}]}}}
`
	testedSchema = `{"type": "object", "properties": {"size": {"type": "number"}}}`
	testedSuite  = `name: Docs
principals: {ann: {id: ann, roles: [user]}, bob: {id: bob, roles: [guest]}}
resources: {doc: {kind: doc, id: d, attr: {size: 1}}}
tests:
  - name: reading
    input: {principals: [ann, bob], resources: [doc], actions: [view]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
`
)

// folderOf writes files, by name and content in turn, into a new folder.
func folderOf(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestTestCommand(t *testing.T) {
	good := []string{"doc.yaml", testedPolicy, "_schemas/doc.json", testedSchema, "doc_test.yaml", testedSuite}
	with := func(more ...string) []string { return append(slices.Clone(good), more...) }
	replaced := func(name, old, new string) []string {
		out := slices.Clone(good)
		i := slices.Index(out, name)
		out[i+1] = strings.ReplaceAll(out[i+1], old, new)
		return out
	}
	guessing := with("guess_test.yaml", `name: Guessing
principals: {ann: {id: ann, roles: [user]}}
resources: {doc: {kind: doc, id: d, attr: {size: 1}}}
tests:
  - name: by default
    input: {principals: [ann], resources: [doc], actions: [guess]}
    expected: [{principal: ann, resource: doc, actions: {guess: EFFECT_ALLOW}}]
  - name: strictly
    options: {strictEvaluation: true}
    input: {principals: [ann], resources: [doc], actions: [guess]}
    expected: [{principal: ann, resource: doc, actions: {guess: EFFECT_DENY}}]
`)
	for _, c := range []struct {
		name    string
		files   []string
		args    []string // after the folder
		environ []string
		status  int
		out     string // a part of standard output
		err     string // a part of standard error
	}{
		{name: "all is well", files: good, out: "2 results [2 passed]\n"},
		{name: "a test fails", files: replaced("doc_test.yaml", "EFFECT_ALLOW", "EFFECT_DENY"), status: exitTests,
			out: "doc_test.yaml:7:58\n", err: "edict: tests failed\n"},
		{name: "a suite is broken", files: with("broken_test.yaml", "name: x\n"), status: exitTests, out: "tests is required"},
		{name: "a suite is broken, and filtered", files: with("broken_test.yaml", "name: x\n"), args: []string{"--test-filter", "suite=Docs"}, status: exitTests, out: "tests is required"},
		{name: "policies do not compile", files: with("x.yaml", "apiVersion: nonsense\n"), status: exitUncompiled, err: "no test was run"},
		{name: "policies do not compile, in JSON", files: with("x.yaml", "apiVersion: nonsense\n"), args: []string{"--format=json"}, status: exitUncompiled, out: `"load_failures"`, err: "no test was run"},
		{name: "there are no tests", files: []string{"doc.yaml", testedPolicy, "_schemas/doc.json", testedSchema}, err: "edict: no tests were found in "},
		{name: "there are no tests, in JSON", files: []string{"doc.yaml", testedPolicy, "_schemas/doc.json", testedSchema}, args: []string{"--format=json"}, out: "{", err: "edict: no tests were found in "},
		{name: "a filter leaves none", files: good, args: []string{"--test-filter=principal=nobody"}, out: "0 results\n", err: "no test has what --test-filter asks for"},
		{name: "all is skipped", files: replaced("doc_test.yaml", "name: Docs", "name: Docs\nskip: true"), out: "[skipped]"},

		{name: "attributes break a schema", files: replaced("doc_test.yaml", "size: 1", "size: big"), status: exitTests, out: "SOURCE_RESOURCE/size"},
		{name: "and schemas are ignored", files: replaced("doc_test.yaml", "size: 1", "size: big"), args: []string{"--ignore-schemas"}, out: "[2 passed]"},
		{name: "a schema is missing", files: replaced("doc.yaml", "doc.json", "gone.json"), status: exitUncompiled, err: "gone.json"},
		{name: "a schema is missing, and ignored", files: replaced("doc.yaml", "doc.json", "gone.json"), args: []string{"--ignore-schemas"}, out: "[2 passed]"},

		{name: "evaluation is strict by default", files: guessing, status: exitTests, out: "hint: under strict evaluation an error denies; "},
		{name: "evaluation is lenient by flag", files: guessing, args: []string{"--strict-evaluation=false"}, out: "[4 passed]"},
		{name: "evaluation is lenient by configuration", files: guessing, args: []string{"--set", "engine.strictEvaluation=false"}, out: "[4 passed]"},
		{name: "evaluation is lenient by environment", files: guessing, environ: []string{"EDICT_ENGINE_STRICTEVALUATION=false"}, out: "[4 passed]"},
		{name: "the flag outweighs the configuration", files: guessing, args: []string{"--set", "engine.strictEvaluation=false", "--strict-evaluation"}, status: exitTests, out: "[1 passed, 1 failed]"},

		{name: "run", files: good, args: []string{"--run", "^writing$"}, out: "[2 skipped]"},
		{name: "filter", files: good, args: []string{"--test-filter=principal=ann"}, out: "1 result [1 passed]"},
		{name: "a call for each action", files: good, args: []string{"--skip-batching"}, out: "[2 passed]"},
		{name: "verbose", files: good, args: []string{"--verbose"}, out: "decided by rule readers of resource.doc.vdefault"},
		{name: "list", files: good, args: []string{"-o", "list", "--verbose"}, out: "\n  reading\n    ann\n"},
		{name: "tap", files: good, args: []string{"--format=tap"}, out: "TAP version 14\n1..2\n"},
		{name: "junit, as Cerbos spells it", files: good, args: []string{"--test-output=junit"}, out: `<testsuites errors="0" failures="0" skipped="0" tests="2">`},
		{name: "colours", files: good, args: []string{"--color=always"}, out: "\x1b[32m2 passed\x1b[0m"},
		{name: "no colours after all", files: good, args: []string{"--color=always", "--no-color"}, out: "[2 passed]"},

		{name: "coverage", files: good, args: []string{"--coverage"}, out: "coverage of rules and branches: 25.0%\n"},
		{name: "coverage beside JSON", files: good, args: []string{"--coverage", "-o", "json"}, out: `"RESULT_PASSED"`, err: "coverage of rules and branches: 25.0%\n"},
		{name: "enough is covered", files: good, args: []string{"--min=25"}, out: "[2 passed]"},
		{name: "too little is covered", files: good, args: []string{"--min=25.1"}, status: exitGate, out: "[2 passed]", err: "25.0% of rules and branches are covered, less than 25.1%"},
		{name: "failures come before the gate", files: replaced("doc_test.yaml", "EFFECT_ALLOW", "EFFECT_DENY"), args: []string{"--min=100"}, status: exitTests},

		{name: "colours under NO_COLOR", files: good, args: []string{"--color=always"}, environ: []string{"NO_COLOR=1"}, out: "[2 passed]"},
		{name: "two formats", files: good, args: []string{"--format=json", "--output=tap"}, status: exitUsage, err: "--format and --output are the same"},
		{name: "an unknown format", files: good, args: []string{"--format=jsn"}, status: exitUsage, err: `there is no format "jsn"; did you mean "json"?`},
		{name: "a bad filter", files: good, args: []string{"--test-filter=tests=a"}, status: exitUsage, err: `there is no dimension "tests"; did you mean "test"?`},
		{name: "a bad pattern", files: good, args: []string{"--run=("}, status: exitUsage, err: "--run: error parsing regexp"},
		{name: "a bad gate", files: good, args: []string{"--min=101"}, status: exitUsage, err: "from 0 to 100"},
		{name: "a bad colour", files: good, args: []string{"--color=red"}, status: exitUsage, err: "--color is auto, never or always"},
		{name: "watching in JSON", files: good, args: []string{"--watch", "--format=json"}, status: exitUsage, err: "--watch shows text"},
		{name: "a bad configuration", files: good, args: []string{"--set=engine.strictEvaluation=maybe"}, status: exitUsage, err: "engine.strictEvaluation"},
		{name: "no such policies", files: good, args: []string{"--policies=/nowhere"}, status: exitUsage, err: "edict: /nowhere: cannot be read: no such file or directory"},
		{name: "two folders", files: good, args: []string{"other"}, status: exitUsage, err: `takes one folder, got also "other"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folderOf(t, c.files...)
			status, out, err := command(c.environ, append([]string{"test", dir}, c.args...)...)
			if status != c.status {
				t.Errorf("got the status %d, want %d", status, c.status)
			}
			if !strings.Contains(out, c.out) {
				t.Errorf("standard output lacks %q:\n%s", c.out, out)
			}
			if !strings.Contains(err, c.err) {
				t.Errorf("standard error lacks %q:\n%s", c.err, err)
			}
			if c.err == "" && c.status == exitOK && err != "" {
				t.Errorf("standard error:\n%s", err)
			}
			if asJSON := slices.Contains(c.args, "--format=json") || slices.Contains(c.args, "json"); asJSON && c.status != exitUsage && !json.Valid([]byte(out)) {
				t.Errorf("standard output is not JSON:\n%s", out)
			}
		})
	}
}

// Tests may lie elsewhere, and the configuration may name the folder.
func TestTestFolders(t *testing.T) {
	policies := folderOf(t, "doc.yaml", testedPolicy, "_schemas/doc.json", testedSchema)
	tests := folderOf(t, "doc_test.yaml", testedSuite)
	for _, args := range [][]string{
		{"test", tests, "--policies", policies},
		{"test", "--policies", policies, "--set", "policies.dir=" + tests},
	} {
		if status, out, err := command(nil, args...); status != exitOK || !strings.Contains(out, "[2 passed]") {
			t.Errorf("%q: status %d\n%s%s", args, status, out, err)
		}
	}
	if status, _, err := command(nil, "test", filepath.Join(tests, "none"), "--policies", policies); status != exitUsage || !strings.Contains(err, "none") {
		t.Errorf("a folder that is not there: status %d, %s", status, err)
	}
}

func TestCoverageFiles(t *testing.T) {
	dir := folderOf(t, "doc.yaml", testedPolicy, "_schemas/doc.json", testedSchema, "doc_test.yaml", testedSuite)
	to := t.TempDir()
	file := func(name string) string { return filepath.Join(to, name) }
	status, out, err := command(nil, "test", dir, "--coverage-html", file("c.html"), "--coverage-lcov", file("c.info"), "--coverage-json", file("c.json"))
	if status != exitOK || strings.Contains(out, "coverage") {
		t.Fatalf("status %d\n%s%s", status, out, err)
	}
	for name, want := range map[string]string{
		"c.html": "<td>resource.doc.vdefault</td><td>1/2</td>",
		"c.info": "SF:" + filepath.ToSlash(dir) + "/doc.yaml\n",
		"c.json": `"percent": 25`,
	} {
		content, err := os.ReadFile(file(name))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(content), want) {
			t.Errorf("%s lacks %q:\n%s", name, want, content)
		}
	}
	if status, _, _ := command(nil, "test", dir, "--coverage-html", filepath.Join(to, "none", "c.html")); status != exitFailure {
		t.Errorf("a file that cannot be written ended with the status %d", status)
	}
}

// With --watch the tests are run at the start, and after each change.
func TestTestWatch(t *testing.T) {
	dir := folderOf(t, "doc.yaml", testedPolicy, "_schemas/doc.json", testedSchema, "doc_test.yaml", testedSuite)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	out, ended := newJournal(), make(chan int)
	go func() { ended <- run(ctx, []string{"test", dir, "--watch"}, nil, out, newJournal()) }()
	await := func(want string) {
		t.Helper()
		for !strings.Contains(out.String(), want) {
			out.mu.Lock()
			grown := out.grown
			out.mu.Unlock()
			if strings.Contains(out.String(), want) {
				return
			}
			select {
			case <-grown:
			case <-ctx.Done():
				t.Fatalf("waited in vain for %q in\n%s", want, out)
			}
		}
	}
	await("[2 passed]")
	broken := strings.ReplaceAll(testedSuite, "EFFECT_ALLOW", "EFFECT_DENY")
	if err := os.WriteFile(filepath.Join(dir, "doc_test.yaml"), []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	await("[1 passed, 1 failed]")
	cancel()
	if status := <-ended; status != exitOK {
		t.Errorf("watching ended with the status %d", status)
	}
}
