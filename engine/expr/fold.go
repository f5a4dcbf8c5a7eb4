package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
)

// fold computes what is constant in an expression as Cerbos does. That is not
// for speed: it decides what is a list of constants, which the in operator
// takes for a set, and 2 in [1, 2, R.attr.x] is true then even where there is
// no R.attr.x. An expression that reads the clock stays as it is, as does one
// with a constant that has no literal, such as a hierarchy.
func fold(env *cel.Env, checked *cel.Ast) *cel.Ast {
	f := folding{}
	if f.look(checked.NativeRep().Expr()); !f.worthwhile || f.clock {
		return checked
	}
	optimizer, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		return checked
	}
	static, err := cel.NewStaticOptimizer(optimizer)
	if err != nil {
		return checked
	}
	folded, issues := static.Optimize(env, checked)
	if issues.Err() != nil {
		return checked
	}
	return folded
}

// folding looks for something to compute, as that takes time and is rare.
type folding struct {
	worthwhile bool
	clock      bool
}

// look tells whether x is constant.
func (f *folding) look(x ast.Expr) bool {
	constant := true
	switch x.Kind() {
	case ast.LiteralKind:
		return true
	case ast.IdentKind:
		f.clock = f.clock || x.AsIdent() == nowVariable
		return false
	}
	members := 0
	eachMember(x, func(m ast.Expr) {
		members++
		constant = f.look(m) && constant
	})
	switch x.Kind() {
	case ast.CallKind:
		_, conversion := conversions[x.AsCall().FunctionName()]
		f.worthwhile = f.worthwhile || constant && !conversion || f.prunes(x.AsCall())
	case ast.SelectKind:
		f.worthwhile = f.worthwhile || constant
	case ast.ListKind:
		f.worthwhile = f.worthwhile || len(x.AsList().OptionalIndices()) > 0
	case ast.ComprehensionKind:
		// What it goes over may be all it reads.
		f.worthwhile = f.worthwhile || f.look(x.AsComprehension().IterRange())
	}
	return constant && (x.Kind() != ast.StructKind || members > 0)
}

// prunes tells whether a call may be decided by one constant operand.
func (f *folding) prunes(call ast.CallExpr) bool {
	args := call.Args()
	literal := func(x ast.Expr) bool { return x.Kind() == ast.LiteralKind }
	switch call.FunctionName() {
	case operators.LogicalAnd, operators.LogicalOr:
		for _, a := range args {
			if literal(a) {
				return true
			}
		}
	case operators.Conditional:
		return literal(args[0])
	case operators.In:
		return args[1].Kind() == ast.ListKind && (literal(args[0]) || args[0].Kind() == ast.IdentKind)
	case operators.Add:
		return len(args) == 2 && args[0].Kind() == ast.ListKind && args[1].Kind() == ast.ListKind
	}
	return false
}
