package cerbosjson_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"edict/cmd/edict/internal/cerbosjson"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/lint"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

// document parses a file, compiles it, and tells what is wrong.
func document(name, content string) *cerbosjson.Document {
	sources := cerbosjson.Sources{Dir: "dir", Contents: map[string][]byte{name: []byte(content)}}
	p, list := policyfile.Parse(name, []byte(content))
	if p != nil {
		sources.Policies = []*policy.Policy{p}
		_, list = engine.Compile(sources.Policies, engine.Options{})
	}
	return cerbosjson.New(list.Sorted(), sources, catalogue.Catalogue{})
}

const broken = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: thing
  version: default
  constants:
    local:
      "a.b": 1
  rules:
    - actions: [a]
      effect: EFFECT_ALLOW
      roles: [user]
      condition:
        match:
          any:
            of:
              - expr: |-
                  R.attr.a ==
                    nobody
`

func TestPositionPlaceAndContext(t *testing.T) {
	d := document("dir/sub/a.yaml", broken)
	if d.LintErrors != nil || d.CompileErrors == nil || len(d.CompileErrors.Errors) != 2 {
		t.Fatalf("got %+v", d)
	}
	name, expr := d.CompileErrors.Errors[0], d.CompileErrors.Errors[1]
	if name.Error != "invalid constant name" || *name.Position != (cerbosjson.Position{Line: 7, Column: 7, Path: "$.resourcePolicy.constants.local.'a.b'"}) {
		t.Errorf("got %+v at %+v", name, name.Position)
	}
	if expr.File != "sub/a.yaml" || expr.Error != "invalid expression" || expr.Code != "invalid-expression" || expr.Severity != "error" || expr.Hint == "" {
		t.Errorf("got %+v", expr)
	}
	if want := (cerbosjson.Position{Line: 16, Column: 17, Path: "$.resourcePolicy.rules[0].condition.match.any.of[0].expr"}); *expr.Position != want {
		t.Errorf("the position is %+v, want %+v", *expr.Position, want)
	}
	if want := (cerbosjson.Place{File: "dir/sub/a.yaml", Line: 18, Column: 21}); *expr.Place != want {
		t.Errorf("the place is %+v, want %+v", *expr.Place, want)
	}
	if want := `  15 |             of:
  16 |               - expr: |-
  17 |                   R.attr.a ==
> 18 |                     nobody
                           ^
`; expr.Context != want {
		t.Errorf("the context is\n%s\nwant\n%s", expr.Context, want)
	}
}

// Every diagnostic is in the document, whatever is known about it.
func TestNothingIsLost(t *testing.T) {
	codes := append(lint.Codes(), engine.CodeUnknownImport, engine.CodeMissingScope, engine.CodeDuplicatePolicy, engine.CodeScopePermissions,
		engine.CodeInvalidExpression, policyfile.EmptyList, "yaml-syntax", "no-such-code", "")
	for _, severity := range []diag.Severity{diag.Error, diag.Warning} {
		for _, code := range codes {
			for _, pos := range []diag.Position{{}, {File: "a.yaml"}, {File: "a.yaml", Line: 900, Column: 1}} {
				list := diag.List{{Pos: pos, Code: code, Severity: severity, Message: "the message"}}
				b, err := json.Marshal(cerbosjson.New(list, cerbosjson.Sources{}, catalogue.Catalogue{}))
				if err != nil || !strings.Contains(string(b), "the message") {
					t.Errorf("%s %q at %v: %s, %v", severity, code, pos, b, err)
				}
			}
		}
	}
}

// Whatever a file holds, the document is JSON and names places in the file.
func FuzzNew(f *testing.F) {
	f.Add(broken)
	f.Add("{\"apiVersion\": \"api.cerbos.dev/v1\",\r\n\"resourcePolicy\": {}}")
	f.Add("a: &a [*a, <<, \xff")
	f.Add("? [a]\n: b\n\"\": \"\"\n'x''y': 1")
	f.Fuzz(func(t *testing.T, content string) {
		d := document("dir/a.yaml", content)
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var again cerbosjson.Document
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(d, document("dir/a.yaml", content)) {
			t.Error("two documents for one file differ")
		}
		if d.LintErrors == nil {
			return
		}
		lines := strings.Count(content, "\n") + strings.Count(content, "\r") + strings.Count(content, "\u0085") +
			strings.Count(content, "\u2028") + strings.Count(content, "\u2029") + 1
		for _, failure := range d.LintErrors.LoadFailures {
			if p := failure.Details.Position; p != nil && (p.Line < 1 || p.Line > lines || p.Column < 1) {
				t.Errorf("a place outside of the file: %+v", p)
			}
		}
	})
}
