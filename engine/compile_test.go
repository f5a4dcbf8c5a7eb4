package engine_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/diagtest"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
)

// parse reads policies given as text, each of which must be sound.
func parse(t testing.TB, texts ...string) []*policy.Policy {
	t.Helper()
	var out []*policy.Policy
	for i, text := range texts {
		p, list := policyfile.Parse("policy"+strconv.Itoa(i)+".yaml", []byte(text))
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		out = append(out, p)
	}
	return out
}

func compileTexts(t testing.TB, o engine.Options, texts ...string) *engine.PolicySet {
	t.Helper()
	ps, list := engine.Compile(parse(t, texts...), o)
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return ps
}

const people = `
apiVersion: api.cerbos.dev/v1
derivedRoles:
  name: people
  definitions:
    - {name: owner, parentRoles: [user], condition: {match: {expr: R.attr.owner == P.id}}}
    - {name: manager, parentRoles: ["manager:*"]}
`

const more = `
apiVersion: api.cerbos.dev/v1
derivedRoles:
  name: more
  definitions:
    - {name: owner, parentRoles: [admin]}
`

func TestCompileDiagnostics(t *testing.T) {
	provoked := []diag.Code{engine.CodeTooManyParents} // by a test of its own
	for _, c := range diagtest.Read(t, "testdata/compile.yaml") {
		provoked = append(provoked, c.Codes()...)
		t.Run(c.Name, func(t *testing.T) {
			p, list := policyfile.Parse(c.File, c.Content)
			if len(list) > 0 {
				t.Fatal(list.Render())
			}
			compiler, err := engine.NewCompiler(engine.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ps, list := compiler.Compile(append(parse(t, people, more), p), schema.New(nil))
			c.Check(t, list)
			if (ps != nil) == (len(list) > 0) {
				t.Errorf("a set %v beside %d diagnostics", ps != nil, len(list))
			}
			for _, d := range list {
				if d.Source == "" || d.Pos.Column == 0 || d.Hint == "" {
					t.Errorf("no line, column or mend: %s", d.Render())
				}
			}
		})
	}
	f, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			code, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if !slices.Contains(provoked, diag.Code(code)) {
				t.Errorf("no case provokes %s", code)
			}
		}
		return true
	})
}

// A set with one mistake gives no PolicySet, however much of it is sound.
func TestCompileIsAllOrNothing(t *testing.T) {
	sound := "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: album, version: default, rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user]}]}\n"
	broken := strings.ReplaceAll(sound, "resource: album", "resource: book, importDerivedRoles: [nothing]")
	ps, list := engine.Compile(parse(t, sound, broken), engine.Options{})
	if ps != nil || len(list) != 1 || list[0].Code != engine.CodeUnknownImport {
		t.Errorf("got %v, %v", ps, list)
	}
}
