package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"edict/cmd/edict/internal/cerbosjson"
)

// The answers in JSON are those that Cerbos gave for the same folders, as far
// as both have the field.
func TestCompileAnswersAsCerbos(t *testing.T) {
	var cases []struct {
		Name   string
		Files  map[string]string
		Cerbos []string
		Edict  []string // if it is something else
		Why    string
	}
	readYAML(t, "testdata/compile.yaml", &cases)
	if len(cases) < 25 {
		t.Fatalf("there are %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			dir := tempDir(t)
			for name, content := range c.Files {
				write(t, dir, name, content)
			}
			want := c.Cerbos
			if c.Why != "" {
				want = c.Edict
			}
			status, answer := compileJSON(t, dir, "--skip-tests")
			if (status == exitUncompiled) != (len(want) > 0) {
				t.Errorf("got status %d", status)
			}
			got := findings(answer)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// findings gives a line for each thing that an answer finds.
func findings(answer cerbosjson.Document) []string {
	var out []string
	at := func(file string, p *cerbosjson.Position) string {
		if p == nil {
			return file
		}
		return strings.TrimSpace(fmt.Sprintf("%s:%d:%d %s", file, p.Line, p.Column, p.Path))
	}
	if l := answer.LintErrors; l != nil {
		for _, f := range l.LoadFailures {
			out = append(out, fmt.Sprintf("load failure %s kind %d", at(f.File, f.Details.Position), f.Details.Kind))
		}
		for _, f := range l.MissingImports {
			out = append(out, fmt.Sprintf("missing_imports %s %s", at(f.ImportingFile, f.Position), f.Desc))
		}
		for _, f := range l.DuplicateDefs {
			out = append(out, fmt.Sprintf("duplicate_defs %s %s", at(f.File, f.Position), f.Policy))
		}
		for _, f := range l.DisabledDefs {
			out = append(out, fmt.Sprintf("disabled_defs %s %s", at(f.File, f.Position), f.Policy))
		}
		for _, f := range l.MissingScopeDetails {
			out = append(out, fmt.Sprintf("missing scope %s for %s", f.MissingPolicy, strings.Join(f.Descendants, ", ")))
		}
		for _, f := range l.ScopePermissionsConflicts {
			out = append(out, "scope conflict "+f.Scope)
		}
	}
	if answer.CompileErrors != nil {
		for _, e := range answer.CompileErrors.Errors {
			out = append(out, fmt.Sprintf("%s %s", e.Error, at(e.File, e.Position)))
		}
	}
	return out
}
