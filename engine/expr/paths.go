package expr

import (
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// Paths gives every use of a declared variable in an expression that compiles,
// in the order of the text, with the names that are selected from it one after
// the other: request.metadata["a.b"].c gives [request metadata a.b c]. A name
// that only evaluation would tell ends the path.
func (e *Env) Paths(source string) [][]string {
	checked, issues := e.Check(source)
	if len(issues) > 0 {
		return nil
	}
	p := paths{env: e}
	p.walk(checked.Expr())
	return p.found
}

// paths looks for chains of selections.
type paths struct {
	env   *Env
	found [][]string
}

func (p *paths) walk(x ast.Expr) {
	path, ok := p.chain(x)
	if ok {
		p.found = append(p.found, path)
		return
	}
	if operand, _, ok := selected(x); ok {
		p.walk(operand)
		return
	}
	EachMember(x, p.walk)
}

// chain gives the names of a chain of selections from a declared variable.
func (p *paths) chain(x ast.Expr) ([]string, bool) {
	if x.Kind() == ast.IdentKind {
		variable := strings.TrimPrefix(x.AsIdent(), ".")
		_, declared := p.env.slots[variable]
		return []string{variable}, declared
	}
	operand, name, ok := selected(x)
	if !ok {
		return nil, false
	}
	path, ok := p.chain(operand)
	return append(slices.Clip(path), name), ok
}

// selected takes a selection of a constant name apart: a.b, a.?b, a["b"] and
// a[?"b"].
func selected(x ast.Expr) (operand ast.Expr, name string, ok bool) {
	switch x.Kind() {
	case ast.SelectKind:
		return x.AsSelect().Operand(), x.AsSelect().FieldName(), true
	case ast.CallKind:
		c := x.AsCall()
		switch c.FunctionName() {
		case operators.OptSelect, operators.Index, operators.OptIndex:
			if len(c.Args()) == 2 && c.Args()[1].Kind() == ast.LiteralKind {
				name, ok := c.Args()[1].AsLiteral().(types.String)
				return c.Args()[0], string(name), ok
			}
		}
	}
	return nil, "", false
}
