package expr

import (
	"fmt"
	"regexp/syntax"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// The bounds of what compiles. They are far above what people write, and below
// what takes all of the memory or the time there is.
const (
	// MaxSource bounds the length of an expression, in bytes.
	MaxSource = 64 << 10

	// MaxLoops bounds how deep loops nest, in one another and in what they go
	// over. cel.bind counts, too. The types in an expression can double at each
	// level, so that a few levels more would take all memory to check.
	MaxLoops = 8

	// MaxPattern bounds a regular expression that is written out, in the
	// instructions it compiles to: a{1000} has about a thousand.
	MaxPattern = 10_000

	// MaxCost bounds the steps that an expression may take, where data is taken
	// to have sizeOfCollection members: four loops in one another over
	// attributes, but not five.
	MaxCost = 10_000_000_000

	sizeOfCollection = 100

	// maxRange is the longest list that lists.range makes.
	maxRange = 1_000_000
)

// tooDeep tells whether loops nest too deep.
func (e *Env) tooDeep(a *ast.AST) *Issue {
	n := loops(a.Expr())
	if n <= MaxLoops {
		return nil
	}
	return &Issue{Line: 1, Column: 1, Message: fmt.Sprintf("loops nest %d deep; at most %d are allowed", n, MaxLoops),
		Hint: "give parts of the expression a name as variables"}
}

// loops gives how deep the loops of an expression nest.
func loops(x ast.Expr) int {
	deepest := 0
	EachMember(x, func(m ast.Expr) { deepest = max(deepest, loops(m)) })
	if x.Kind() == ast.ComprehensionKind {
		deepest++
	}
	return deepest
}

// tooCostly finds what would take too long or too much memory to run.
func (e *Env) tooCostly(checked *cel.Ast) []Issue {
	var issues []Issue
	a := checked.NativeRep()
	at := func(x ast.Expr, message, hint string) {
		place := a.SourceInfo().GetStartLocation(x.ID())
		issues = append(issues, Issue{Line: max(1, place.Line()), Column: max(0, place.Column()) + 1, Message: message, Hint: hint})
	}
	var walk func(ast.Expr)
	walk = func(x ast.Expr) {
		if pattern := patternOf(x); pattern != nil {
			if n := instructions(string(pattern.AsLiteral().(types.String))); n > MaxPattern {
				at(pattern, fmt.Sprintf("the regular expression compiles to %d instructions; at most %d are allowed", n, MaxPattern),
					"repeat fewer times, or compare without a regular expression")
			}
		}
		EachMember(x, walk)
	}
	walk(a.Expr())
	if len(issues) > 0 {
		return issues
	}
	if _, cost := steps(a.Expr()); cost > MaxCost {
		at(a.Expr(), fmt.Sprintf("the loops of the expression may take more than %d steps", int64(MaxCost)),
			"nest fewer loops: in, hasIntersection and isSubset look through lists, too")
	}
	return issues
}

// steps estimates how many members the result of an expression has, if it is a
// collection, and how many steps it takes. Both are floats so that they can't
// overflow.
func steps(x ast.Expr) (size, cost float64) {
	size, cost = sizeOfCollection, 1
	switch x.Kind() {
	case ast.ListKind:
		size = float64(x.AsList().Size())
	case ast.MapKind:
		size = float64(x.AsMap().Size())
	case ast.CallKind:
		return stepsOfCall(x.AsCall())
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		over, first := steps(c.IterRange())
		_, init := steps(c.AccuInit())
		_, condition := steps(c.LoopCondition())
		_, step := steps(c.LoopStep())
		_, result := steps(c.Result())
		return max(over, sizeOfCollection), first + init + over*(condition+step) + result
	}
	EachMember(x, func(m ast.Expr) {
		_, n := steps(m)
		cost += n
	})
	return size, cost
}

func stepsOfCall(call ast.CallExpr) (size, cost float64) {
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	sizes := make([]float64, len(args))
	size, cost = sizeOfCollection, 1
	for i, a := range args {
		var n float64
		sizes[i], n = steps(a)
		cost += n
		size = max(size, sizes[i])
	}
	switch name := call.FunctionName(); {
	case name == "lists.range":
		size = maxRange
		if n, ok := args[0].AsLiteral().(types.Int); ok && args[0].Kind() == ast.LiteralKind {
			size = float64(n)
		}
		cost += size
	case name == operators.In:
		cost += sizes[1]
	case name == operators.Add:
		size = sizes[0] + sizes[1]
	case len(args) == 2 && comparesLists[name]:
		cost += sizes[0] * sizes[1]
	}
	return size, cost
}

// comparesLists are the functions that compare each member of a list with each
// of another.
var comparesLists = map[string]bool{
	"hasIntersection": true, "has_intersection": true, "isSubset": true, "is_subset": true, "intersect": true, "except": true,
	"sets.contains": true, "sets.equivalent": true, "sets.intersects": true,
}

// patternOf gives the regular expression of a call, if it is written out.
func patternOf(x ast.Expr) ast.Expr {
	if x.Kind() != ast.CallKind {
		return nil
	}
	args := x.AsCall().Args()
	switch name := x.AsCall().FunctionName(); {
	case name == overloads.Matches && len(args) > 0:
		x = args[len(args)-1]
	case strings.HasPrefix(name, "regex.") && len(args) > 1:
		x = args[1]
	default:
		return nil
	}
	if x.Kind() != ast.LiteralKind || x.AsLiteral().Type() != ref.Type(types.StringType) {
		return nil
	}
	return x
}

// instructions gives the size of a regular expression, 0 of an invalid one.
func instructions(pattern string) int {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0
	}
	return len(program.Inst)
}
