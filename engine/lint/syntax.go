package lint

import (
	"slices"

	"github.com/google/cel-go/common"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/parser"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/value"
)

// A syntax reads expressions as they were written. Macros stay the calls that
// they look like, so that a place in the tree is one in the text.
type syntax struct {
	env      *expr.Env
	names    []string // that the environment declares, sorted
	parser   *parser.Parser
	factory  ast.ExprFactory
	parsed   map[string]parsed
	compiled map[string]*expr.Program // nil: does not compile
}

type parsed struct {
	root ast.Expr // nil: passed over
	info *ast.SourceInfo
}

func newSyntax(env *expr.Env) *syntax {
	p, err := parser.NewParser(parser.EnableOptionalSyntax(true), parser.EnableIdentEscapeSyntax(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return &syntax{env: env, names: env.Names(), parser: p, factory: ast.NewExprFactory(), parsed: map[string]parsed{}, compiled: map[string]*expr.Program{}}
}

// parse gives the tree of an expression that compiles. Long names are replaced
// by the short ones for the same, so that equal things look equal.
func (s *syntax) parse(text string) parsed {
	p, ok := s.parsed[text]
	if ok {
		return p
	}
	if s.compile(text) != nil {
		if tree, errs := s.parser.Parse(common.NewTextSource(text)); len(errs.GetErrors()) == 0 {
			p = parsed{tree.Expr(), tree.SourceInfo()}
			if hidesNames(p.root) {
				p = parsed{}
			} else {
				s.shorten(p.root)
			}
		}
	}
	s.parsed[text] = p
	return p
}

func (s *syntax) compile(text string) *expr.Program {
	p, ok := s.compiled[text]
	if !ok {
		p, _ = s.env.Compile(text)
		s.compiled[text] = p
	}
	return p
}

// long names the declared variables and fields by their shorter names.
var long = map[string]string{"variables": "V", "constants": "C", "globals": "G"}

func (s *syntax) shorten(x ast.Expr) {
	expr.EachMember(x, s.shorten)
	switch x.Kind() {
	case ast.IdentKind:
		if short, ok := long[x.AsIdent()]; ok {
			x.SetKindCase(s.factory.NewIdent(x.ID(), short))
		}
	case ast.SelectKind:
		sel := x.AsSelect()
		if isIdent(sel.Operand(), "request") {
			switch sel.FieldName() {
			case "principal":
				x.SetKindCase(s.factory.NewIdent(x.ID(), "P"))
			case "resource":
				x.SetKindCase(s.factory.NewIdent(x.ID(), "R"))
			case "aux_data":
				x.SetKindCase(s.factory.NewSelect(x.ID(), sel.Operand(), "auxData"))
			}
		}
		switch sel.FieldName() {
		case "effective_derived_roles":
			x.SetKindCase(s.factory.NewSelect(x.ID(), sel.Operand(), "effectiveDerivedRoles"))
		case "policy_version":
			if isIdent(sel.Operand(), "P") || isIdent(sel.Operand(), "R") {
				x.SetKindCase(s.factory.NewSelect(x.ID(), sel.Operand(), "policyVersion"))
			}
		}
	}
}

// hidesNames tells whether a loop variable has the name of a declared one.
func hidesNames(x ast.Expr) bool {
	for _, name := range loopVariables(x) {
		switch name {
		case "request", "P", "R", "V", "C", "G", "variables", "constants", "globals", "runtime":
			return true
		}
	}
	found := false
	expr.EachMember(x, func(m ast.Expr) { found = found || hidesNames(m) })
	return found
}

// loopVariables gives the names that a macro binds in its last arguments.
func loopVariables(x ast.Expr) []string {
	if x.Kind() != ast.CallKind {
		return nil
	}
	c := x.AsCall()
	switch c.FunctionName() {
	case "all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap", "transformMapEntry",
		"sortBy", "bind", "optMap", "optFlatMap":
	default:
		return nil
	}
	var out []string
	for _, a := range c.Args()[:max(0, len(c.Args())-1)] {
		if a.Kind() == ast.IdentKind {
			out = append(out, a.AsIdent())
		}
	}
	return out
}

// text gives the expression in one way of writing it: equal texts mean the
// same.
func text(x ast.Expr) string {
	s, err := parser.Unparse(x, ast.NewSourceInfo(nil))
	if err != nil {
		return ""
	}
	return s
}

// at gives the place in the file where x begins in the text of an expression.
func (p parsed) at(t diag.Text, x ast.Expr) diag.Position {
	start := p.info.GetStartLocation(x.ID())
	var visit func(ast.Expr)
	visit = func(m ast.Expr) {
		if at := p.info.GetStartLocation(m.ID()); at.Line() > 0 && (at.Line() < start.Line() || at.Line() == start.Line() && at.Column() < start.Column()) {
			start = at
		}
		expr.EachMember(m, visit)
	}
	visit(x)
	return t.At(max(1, start.Line()), max(0, start.Column())+1)
}

func isIdent(x ast.Expr, name string) bool {
	return x.Kind() == ast.IdentKind && (x.AsIdent() == name || x.AsIdent() == "."+name)
}

// field gives the name that is selected from a declared variable: x of V.x and
// V.?x.
func field(x ast.Expr, variable string) (string, bool) {
	switch x.Kind() {
	case ast.SelectKind:
		return x.AsSelect().FieldName(), isIdent(x.AsSelect().Operand(), variable)
	case ast.CallKind:
		if c := x.AsCall(); c.FunctionName() == operators.OptSelect && isIdent(c.Args()[0], variable) {
			return stringLiteral(c.Args()[1])
		}
	}
	return "", false
}

func stringLiteral(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().(types.String)
	return string(s), ok
}

// call gives the arguments of an operator or a function that is no method.
func call(x ast.Expr, function string) ([]ast.Expr, bool) {
	if x.Kind() != ast.CallKind || x.AsCall().IsMemberFunction() || x.AsCall().FunctionName() != function {
		return nil, false
	}
	return x.AsCall().Args(), true
}

// operands gives the members of a chain of && or ||, parentheses aside.
func operands(x ast.Expr, operator string) []ast.Expr {
	args, ok := call(x, operator)
	if !ok {
		return []ast.Expr{x}
	}
	var out []ast.Expr
	for _, a := range args {
		out = append(out, operands(a, operator)...)
	}
	return out
}

// attribute gives the path to an attribute: R.attr.a["b"] is R, [a b]. It is
// an optional if .? or [?] are on the way.
func attribute(x ast.Expr) (of string, path []string, optional, ok bool) {
	switch x.Kind() {
	case ast.SelectKind:
		s := x.AsSelect()
		if s.FieldName() == "attr" {
			for _, name := range []string{"P", "R"} {
				if isIdent(s.Operand(), name) {
					return name, nil, false, true
				}
			}
		}
		of, path, optional, ok = attribute(s.Operand())
		return of, append(slices.Clip(path), s.FieldName()), optional, ok
	case ast.CallKind:
		c := x.AsCall()
		switch c.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			name, isName := stringLiteral(c.Args()[1])
			of, path, optional, ok = attribute(c.Args()[0])
			return of, append(slices.Clip(path), name), optional || c.FunctionName() != operators.Index, ok && isName
		}
	}
	return "", nil, false, false
}

// literal gives a value as an expression; nil if there is none for it.
func (s *syntax) literal(id int64, v value.Value) ast.Expr {
	simple := func(r ref.Val) ast.Expr { return s.factory.NewLiteral(id, r) }
	switch v.Kind() {
	case value.Null:
		return simple(types.NullValue)
	case value.Bool:
		return simple(types.Bool(v.Bool()))
	case value.Int:
		return simple(types.Int(v.Int()))
	case value.Double:
		return simple(types.Double(v.Double()))
	case value.String:
		return simple(types.String(v.Str()))
	case value.List:
		list := v.Sequence()
		elements := make([]ast.Expr, list.Len())
		for i := range elements {
			if elements[i] = s.literal(id, list.At(i)); elements[i] == nil {
				return nil
			}
		}
		return s.factory.NewList(id, elements, nil)
	case value.Map:
		var entries []ast.EntryExpr
		complete := true
		v.Mapping().Range(func(k string, e value.Value) bool {
			x := s.literal(id, e)
			if x == nil {
				complete = false
				return false
			}
			entries = append(entries, s.factory.NewMapEntry(id, simple(types.String(k)), x, false))
			return true
		})
		if !complete {
			return nil
		}
		return s.factory.NewMap(id, entries)
	}
	return nil
}
