package expr

import (
	"maps"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
)

// fold computes what is constant in an expression as Cerbos does. That is not
// for speed: it decides what is a list of constants, which the in operator
// takes for a set, and 2 in [1, 2, R.attr.x] is true then even where there is
// no R.attr.x. An expression that reads the clock stays as it is, as does one
// with a constant that has no literal, such as a hierarchy, and one with a
// constant that takes long to compute or is large: nothing counts the steps here.
func fold(env *cel.Env, checked *cel.Ast) *cel.Ast {
	f := folding{}
	if f.look(checked.NativeRep().Expr()); !f.worthwhile || f.clock || f.costly {
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
	costly     bool
}

// maxFolded bounds the steps that it takes to compute a constant, and its size in
// bytes of text and members of collections.
const maxFolded = 100_000

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
	EachMember(x, func(m ast.Expr) {
		members++
		constant = f.look(m) && constant
	})
	switch x.Kind() {
	case ast.CallKind:
		_, conversion := conversions[x.AsCall().FunctionName()]
		f.worthwhile = f.worthwhile || constant && !conversion || f.prunes(x.AsCall())
		f.costly = f.costly || constant && weight(x, nil) > maxFolded
	case ast.SelectKind:
		f.worthwhile = f.worthwhile || constant
	case ast.ListKind:
		f.worthwhile = f.worthwhile || len(x.AsList().OptionalIndices()) > 0
	case ast.ComprehensionKind:
		// What it goes over may be all it reads.
		if f.look(x.AsComprehension().IterRange()) {
			f.worthwhile = true
			_, cost := steps(x)
			f.costly = f.costly || cost > maxFolded || weight(x, nil) > maxFolded
		}
	}
	return constant && (x.Kind() != ast.StructKind || members > 0)
}

// weight estimates how large the result of an expression is at most, given that
// of some variables. Data weighs nothing, since it is no part of a constant.
func weight(x ast.Expr, variables map[string]float64) float64 {
	sum := 1.0
	switch x.Kind() {
	case ast.LiteralKind:
		return 1 + textLength(x.AsLiteral())
	case ast.IdentKind:
		return 1 + variables[x.AsIdent()]
	case ast.CallKind:
		call := x.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		weights := make([]float64, len(args))
		for i, a := range args {
			weights[i] = weight(a, variables)
			sum += weights[i]
		}
		switch name := call.FunctionName(); {
		case name == "lists.range":
			n, _ := stepsOfCall(call)
			return n
		case name == "replace" && len(args) > 2:
			return sum + weights[0]*weights[2]
		case name == "join" && len(args) > 1:
			return sum + weights[0]*weights[1]
		}
		return sum
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		with := maps.Clone(variables)
		if with == nil {
			with = map[string]float64{}
		}
		over := weight(c.IterRange(), variables)
		with[c.AccuVar()] = weight(c.AccuInit(), variables)
		if c.IterRange().Kind() == ast.ListKind && c.IterRange().AsList().Size() == 0 { // cel.bind
			return weight(c.Result(), with)
		}
		rounds, _ := steps(c.IterRange())
		with[c.IterVar()] = over / max(1, rounds)
		with[c.IterVar2()] = over / max(1, rounds)
		return rounds * weight(c.LoopStep(), with)
	}
	EachMember(x, func(m ast.Expr) { sum += weight(m, variables) })
	return sum
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
