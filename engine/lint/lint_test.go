package lint_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/diagtest"
	"edict/engine/expr"
	"edict/engine/lint"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
)

func environment(t testing.TB) *expr.Env {
	t.Helper()
	env, err := engine.NewEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// policiesOf parses the files of a case, between which there is a line ---.
func policiesOf(t testing.TB, c diagtest.Case) []*policy.Policy {
	t.Helper()
	var out []*policy.Policy
	lines := 0
	for _, file := range bytes.Split(c.Content, []byte("\n---\n")) {
		content := append(bytes.Repeat([]byte("\n"), lines), file...)
		lines += bytes.Count(file, []byte("\n")) + 2
		p, list := policyfile.Parse(c.File, content)
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		out = append(out, p)
	}
	return out
}

var marked = []string{"rules.yaml", "scopes.yaml", "names.yaml", "conditions.yaml", "schemas.yaml", "silence.yaml"}

func TestMarkedFiles(t *testing.T) {
	env := environment(t)
	schemas := schema.New(map[string][]byte{
		"invoice.json": []byte(`{
			"type": "object",
			"properties": {
				"amount": {"type": "number"},
				"count": {"type": "integer"},
				"status": {"enum": ["open", "paid"]},
				"tags": {"type": "array", "items": {"type": "string"}},
				"note": {"type": ["string", "null"]},
				"owner": {"type": "object", "properties": {"id": {"type": "string"}}, "additionalProperties": false}
			},
			"additionalProperties": false
		}`),
		"open.json": []byte(`{"type": "object", "properties": {"amount": {"type": "number"}}}`),
	})
	for _, file := range marked {
		for _, c := range diagtest.Read(t, filepath.Join("testdata", file)) {
			t.Run(file+"/"+c.Name, func(t *testing.T) {
				list := lint.Check(policiesOf(t, c), schemas, env)
				if file == "rules.yaml" || file == "scopes.yaml" || file == "conditions.yaml" {
					// Cases about rules need not be about names.
					list = slices.DeleteFunc(list, isAboutNames)
				}
				c.Check(t, list)
				for _, d := range list {
					if d.Severity != diag.Warning || d.Source == "" || d.Hint == "" {
						t.Errorf("%v: a warning has a source line and a mend", d)
					}
				}
			})
		}
	}
}

func isAboutNames(d diag.Diagnostic) bool {
	switch d.Code {
	case lint.UnusedSet, lint.UnusedImport, lint.UnusedDerivedRole, lint.UnusedVariable, lint.UnusedConstant:
		return true
	}
	return false
}

// Every code of the catalogue is in Codes, and provoked by a case.
func TestCatalogue(t *testing.T) {
	var provoked []diag.Code
	for _, file := range marked {
		for _, c := range diagtest.Read(t, filepath.Join("testdata", file)) {
			provoked = append(provoked, c.Codes()...)
		}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		declared++
		if code := diag.Code(text); !slices.Contains(provoked, code) {
			t.Errorf("no case provokes %s", code)
		} else if !slices.Contains(lint.Codes(), code) {
			t.Errorf("Codes does not give %s", code)
		}
		return true
	})
	if declared != len(lint.Codes()) {
		t.Errorf("%d codes are declared, Codes gives %d", declared, len(lint.Codes()))
	}
}

// The page about warnings names every code, and shows what its example gives.
func TestDocumentation(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "docs", "policies", "linting.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	table, _, _ := strings.Cut(page, "## Silence a warning")
	for _, code := range lint.Codes() {
		if !strings.Contains(table, "\n| `"+string(code)+"`") && !strings.Contains(table, ", `"+string(code)+"` |") {
			t.Errorf("the page does not name %s", code)
		}
	}
	check := func(text string) string {
		p, list := policyfile.Parse("invoice.yaml", []byte(text))
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		// As `edict compile` shows it.
		style := diag.Style{Severities: true, Explain: func(c diag.Code) string { return "edict compile --explain " + string(c) }}
		return style.Render(lint.Check([]*policy.Policy{p}, nil, environment(t)))
	}
	var examples []string
	for _, part := range strings.Split(page, "```yaml policy\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		examples = append(examples, text)
	}
	if len(examples) != 2 {
		t.Fatalf("found %d examples", len(examples))
	}
	_, after, _ := strings.Cut(page, "```text\n")
	want, _, _ := strings.Cut(after, "```")
	if got := check(examples[0]); got != want {
		t.Errorf("the example gives\n%s\nthe page says\n%s", got, want)
	}
	if got := check(examples[1]); got != "" {
		t.Errorf("the comment does not silence\n%s", got)
	}
}
