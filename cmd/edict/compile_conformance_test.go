package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"edict/cmd/edict/internal/cerbosjson"
	"edict/engine/conformance"
)

// A mistake is one that a case of the conformance data expects.
type mistake struct {
	File, Error string
	Position    cerbosjson.Position
}

func (m mistake) String() string {
	return fmt.Sprintf("%s:%d:%d %s <%s>", m.File, m.Position.Line, m.Position.Column, m.Position.Path, m.Error)
}

// Each case of the folder compile either compiles, or fails with the mistakes
// that Cerbos finds: file, position, path and kind, one for one.
func TestConformanceCompile(t *testing.T) {
	dir := conformance.Dir(t)
	cases, err := filepath.Glob(filepath.Join(dir, "compile", "*.input"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "compile"); len(cases) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(cases), want)
	}
	// What Cerbos does not find by these files, since it looks for missing
	// ancestors first, as Edict does.
	atIndex := map[string]string{"scoped_rp_missing_import": "resource.leave_request.v20210210"}
	for _, input := range cases {
		name := strings.TrimSuffix(filepath.Base(input), ".yaml.input")
		t.Run(name, func(t *testing.T) {
			var want struct {
				WantErrors []mistake `yaml:"wantErrors"`
			}
			readYAML(t, strings.TrimSuffix(input, ".input"), &want)
			policies := tempDir(t)
			for _, f := range conformance.Archive(t, input) {
				write(t, policies, f.Name, string(f.Content))
			}
			if err := os.CopyFS(filepath.Join(policies, "_schemas"), os.DirFS(filepath.Join(dir, "schema", "fs", "_schemas"))); err != nil {
				t.Fatal(err)
			}
			status, answer := compileJSON(t, policies)
			if len(want.WantErrors) == 0 {
				if status != exitOK || answer.LintErrors != nil || answer.CompileErrors != nil {
					t.Errorf("got status %d, %+v, %+v", status, answer.LintErrors, answer.CompileErrors)
				}
				return
			}
			if status != exitUncompiled {
				t.Fatalf("got status %d", status)
			}
			if missing := atIndex[name]; missing != "" {
				if answer.LintErrors == nil || len(answer.LintErrors.MissingScopeDetails) != 1 || answer.LintErrors.MissingScopeDetails[0].MissingPolicy != missing {
					t.Errorf("got %+v, want that %s is missing", answer.LintErrors, missing)
				}
				return
			}
			if answer.CompileErrors == nil {
				t.Fatalf("got %+v", answer)
			}
			var got []mistake
			for _, e := range answer.CompileErrors.Errors {
				m := mistake{File: e.File, Error: e.Error}
				if e.Position != nil {
					m.Position = *e.Position
				}
				got = append(got, m)
			}
			compareMistakes(t, got, want.WantErrors)
		})
	}
}

// compareMistakes compares two lists of mistakes. Where Cerbos gives no
// position, Edict may.
func compareMistakes(t *testing.T, got, want []mistake) {
	t.Helper()
	for _, w := range want {
		i := slices.IndexFunc(got, func(g mistake) bool {
			if w.Position == (cerbosjson.Position{}) {
				g.Position = w.Position
			}
			return g == w
		})
		if i < 0 {
			t.Errorf("not reported: %v", w)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	for _, g := range got {
		t.Errorf("reported and not expected: %v", g)
	}
}

// Each case of the folder index either loads, or fails with the problems that
// Cerbos finds.
func TestConformanceIndex(t *testing.T) {
	dir := conformance.Dir(t)
	cases, err := filepath.Glob(filepath.Join(dir, "index", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "index"); len(cases) != want {
		t.Errorf("there are %d cases, the manifest says %d", len(cases), want)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var c struct {
				Files map[string]string
				Want  struct {
					MissingImports []struct {
						ImportingFile, ImportingPolicy, ImportKind, ImportName, Desc string
						Position                                                     cerbosjson.Position
					}
					DuplicateDefs []struct {
						File, OtherFile, Policy string
						Position                cerbosjson.Position
					}
					LoadFailures []struct {
						File         string
						ErrorDetails struct{ Position cerbosjson.Position }
					}
				} `json:"wantErrList"`
			}
			readJSONish(t, file, &c)
			policies := tempDir(t)
			for name, content := range c.Files {
				write(t, policies, name, content)
			}
			status, answer := compileJSON(t, policies)
			if status != exitUncompiled {
				t.Fatalf("got status %d", status) // even valid_files holds a script
			}
			var got cerbosjson.LintErrors
			if answer.LintErrors != nil {
				got = *answer.LintErrors
			}
			if len(got.MissingImports) != len(c.Want.MissingImports) || len(got.DuplicateDefs) != len(c.Want.DuplicateDefs) ||
				len(got.LoadFailures) != len(c.Want.LoadFailures) || len(got.MissingScopeDetails)+len(got.ScopePermissionsConflicts) > 0 {
				t.Fatalf("got %+v, want %+v", got, c.Want)
			}
			for i, want := range c.Want.MissingImports {
				g := got.MissingImports[i]
				if g.ImportingFile != want.ImportingFile || g.ImportingPolicy != want.ImportingPolicy || g.ImportKind != want.ImportKind ||
					g.ImportName != want.ImportName || g.Desc != want.Desc || *g.Position != want.Position {
					t.Errorf("got %+v, want %+v", g, want)
				}
			}
			for i, want := range c.Want.DuplicateDefs {
				g := got.DuplicateDefs[i]
				if g.File != want.File || g.OtherFile != want.OtherFile || g.Policy != want.Policy || *g.Position != want.Position {
					t.Errorf("got %+v, want %+v", g, want)
				}
			}
			for i, want := range c.Want.LoadFailures {
				g := got.LoadFailures[i]
				if g.File != want.File || *g.Details.Position != want.ErrorDetails.Position {
					t.Errorf("got %+v, want %+v", g, want)
				}
			}
			if answer.LintErrors == nil {
				if e := answer.CompileErrors.Errors; len(e) != 1 || e[0].Error != "scripts in conditions are no longer supported" ||
					*e[0].Position != (cerbosjson.Position{Line: 14, Column: 7, Path: "$.derivedRoles.definitions[2].condition"}) {
					t.Errorf("got %+v", e)
				}
			}
		})
	}
}

// compileJSON runs `edict compile` and reads its answer.
func compileJSON(t *testing.T, dir string, more ...string) (int, cerbosjson.Document) {
	t.Helper()
	status, stdout, stderr := command(nil, append([]string{"compile", "-o", "json", "--warnings=false", dir}, more...)...)
	var answer cerbosjson.Document
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
		t.Fatalf("status %d: %v\n%s\n%s", status, err, stdout, stderr)
	}
	return status, answer
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readJSONish reads YAML by the rules of JSON, which match the names of fields
// whatever their case.
func readJSONish(t *testing.T, file string, into any) {
	t.Helper()
	var any any
	readYAML(t, file, &any)
	content, err := json.Marshal(any)
	if err == nil {
		err = json.Unmarshal(content, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
