package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"edict/engine/expr"
	"edict/engine/schema"
	"edict/engine/value"
)

// kinds is a set of types that a value may have; none if there is no value,
// because evaluation always fails.
type kinds uint16

const (
	kindNull kinds = 1 << iota
	kindBool
	kindInt
	kindUint
	kindDouble
	kindString
	kindBytes
	kindList
	kindMap
	kindTimestamp
	kindDuration
	kindOther

	anyKind = kindOther<<1 - 1
	numbers = kindInt | kindUint | kindDouble
	jsonOf  = kindNull | kindBool | kindDouble | kindString | kindList | kindMap
)

var kindNames = []string{"null", "a truth value", "an int", "a uint", "a double", "a text", "bytes", "a list", "a map", "a timestamp", "a duration", "something else"}

// String names the kinds: "a text or a list".
func (k kinds) String() string {
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// wide adds the kinds that values of these may equal: numbers of all types can
// be equal to each other.
func (k kinds) wide() kinds {
	if k&numbers != 0 {
		k |= numbers
	}
	return k
}

// A signature is one way to apply an operator.
type signature struct{ left, right, result kinds }

var arithmetic = map[string][]signature{
	operators.Add: {
		{kindInt, kindInt, kindInt}, {kindUint, kindUint, kindUint}, {kindDouble, kindDouble, kindDouble},
		{kindString, kindString, kindString}, {kindBytes, kindBytes, kindBytes}, {kindList, kindList, kindList},
		{kindTimestamp, kindDuration, kindTimestamp}, {kindDuration, kindTimestamp, kindTimestamp}, {kindDuration, kindDuration, kindDuration},
		{kindOther, anyKind, anyKind}, {anyKind, kindOther, anyKind},
	},
	operators.Subtract: {
		{kindInt, kindInt, kindInt}, {kindUint, kindUint, kindUint}, {kindDouble, kindDouble, kindDouble},
		{kindTimestamp, kindTimestamp, kindDuration}, {kindTimestamp, kindDuration, kindTimestamp}, {kindDuration, kindDuration, kindDuration},
	},
	operators.Multiply: {{kindInt, kindInt, kindInt}, {kindUint, kindUint, kindUint}, {kindDouble, kindDouble, kindDouble}},
	operators.Divide:   {{kindInt, kindInt, kindInt}, {kindUint, kindUint, kindUint}, {kindDouble, kindDouble, kindDouble}},
	operators.Modulo:   {{kindInt, kindInt, kindInt}, {kindUint, kindUint, kindUint}},
}

// apply gives what an operator can give for operands of these kinds.
func apply(operator string, left, right kinds) kinds {
	var out kinds
	for _, s := range arithmetic[operator] {
		if left&s.left != 0 && right&s.right != 0 {
			out |= s.result
		}
	}
	return out
}

// An analysis finds out about expressions of one context. The trees that it is
// given are expanded: see expand.
type analysis struct {
	*linter
	context *context

	// json takes attributes to be what JSON has. A route map can make other
	// values of them, such as timestamps.
	json bool
}

// kinds gives the types that the value of x may have.
func (a *analysis) kinds(x ast.Expr) kinds {
	switch x.Kind() {
	case ast.LiteralKind:
		switch x.AsLiteral().(type) {
		case types.Null:
			return kindNull
		case types.Bool:
			return kindBool
		case types.Int:
			return kindInt
		case types.Uint:
			return kindUint
		case types.Double:
			return kindDouble
		case types.String:
			return kindString
		case types.Bytes:
			return kindBytes
		}
		return anyKind
	case ast.ListKind:
		return kindList
	case ast.MapKind:
		return kindMap
	case ast.CallKind:
		c := x.AsCall()
		switch f := c.FunctionName(); f {
		case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Equals, operators.NotEquals,
			operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals, operators.In:
			return kindBool
		case operators.Conditional:
			return a.kinds(c.Args()[1]) | a.kinds(c.Args()[2])
		case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
			return apply(f, a.kinds(c.Args()[0]), a.kinds(c.Args()[1]))
		case operators.Negate:
			return a.kinds(c.Args()[0]) & (kindInt | kindDouble | kindOther)
		}
	}
	if isClaim(x) {
		return a.attributeKinds()
	}
	if of, path, optional, ok := attribute(x); ok && !optional && len(path) > 0 {
		k := a.attributeKinds()
		if shape, ok := a.shape(of, path); ok {
			k &= kindsOf(shape)
		}
		return k
	}
	return a.static(x)
}

func (a *analysis) attributeKinds() kinds {
	if a.json {
		return jsonOf
	}
	return anyKind
}

// isClaim tells whether x is a claim of a token.
func isClaim(x ast.Expr) bool {
	for x.Kind() == ast.SelectKind {
		x = x.AsSelect().Operand()
		if x.Kind() == ast.SelectKind && x.AsSelect().FieldName() == "jwt" && x.AsSelect().Operand().Kind() == ast.SelectKind &&
			x.AsSelect().Operand().AsSelect().FieldName() == "auxData" {
			return true
		}
	}
	return false
}

// static gives what CEL's checker says about x.
func (a *analysis) static(x ast.Expr) kinds {
	s := text(x)
	if s == "" {
		return anyKind
	}
	program := a.syntax.compile(s)
	if program == nil {
		return anyKind // a loop variable, most likely
	}
	switch program.ResultType().Kind() {
	case types.BoolKind:
		return kindBool
	case types.IntKind:
		return kindInt
	case types.UintKind:
		return kindUint
	case types.DoubleKind:
		return kindDouble
	case types.StringKind:
		return kindString
	case types.BytesKind:
		return kindBytes
	case types.ListKind:
		return kindList
	case types.MapKind:
		return kindMap
	case types.TimestampKind:
		return kindTimestamp
	case types.DurationKind:
		return kindDuration
	}
	return anyKind
}

// shape gives what the schema says about an attribute. It answers false if
// there is no schema, or if the schema rules the attribute out.
func (a *analysis) shape(of string, path []string) (schema.Shape, bool) {
	s := a.context.schemas[of]
	if s == nil {
		return schema.Shape{}, false
	}
	return s.Lookup(path...)
}

// kindsOf gives the kinds of values that conform to a shape. What a schema
// calls an integer is a double, unless a route map made it.
func kindsOf(s schema.Shape) kinds {
	if s.Types == schema.Anything {
		return anyKind
	}
	var out kinds
	for t, k := range map[schema.Types]kinds{
		schema.Null: kindNull, schema.Boolean: kindBool, schema.Number: numbers, schema.Integer: numbers,
		schema.String: kindString, schema.Array: kindList, schema.Object: kindMap,
	} {
		if s.Types&t != 0 {
			out |= k
		}
	}
	return out
}

// maxExpanded bounds the size of an expression with its variables put in.
const maxExpanded = 4000

// expand gives a copy of x with variables and constants replaced by what they
// stand for, except within has(), which asks whether they are there.
func (a *analysis) expand(x ast.Expr) ast.Expr {
	budget := maxExpanded
	out := a.syntax.factory.CopyExpr(x)
	a.expandIn(out, &budget, nil)
	return out
}

func (a *analysis) expandIn(x ast.Expr, budget *int, within []string) {
	*budget--
	if _, ok := call(x, operators.Has); ok || *budget < 0 {
		return
	}
	if x.Kind() == ast.SelectKind {
		if name, ok := field(x, "C"); ok {
			if v, ok := a.context.constants[name]; ok {
				if literal := a.syntax.literal(x.ID(), v); literal != nil {
					x.SetKindCase(literal)
				}
			}
			return
		}
		if name, ok := field(x, "V"); ok {
			d, ok := a.context.variables[name]
			if !ok || slices.Contains(within, name) {
				return
			}
			if p := a.syntax.parse(d.text.Value); p.root != nil {
				value := a.syntax.factory.CopyExpr(p.root)
				a.expandIn(value, budget, append(within, name))
				if *budget > 0 {
					x.SetKindCase(value)
				}
			}
			return
		}
	}
	expr.EachMember(x, func(m ast.Expr) { a.expandIn(m, budget, within) })
}

// fold gives the value of an expression that reads nothing of a request.
func (a *analysis) fold(x ast.Expr) (value.Value, bool) {
	if !a.isClosed(x, nil) {
		return value.Value{}, false
	}
	program := a.syntax.compile(text(x))
	if program == nil {
		return value.Value{}, false
	}
	return program.Eval(a.syntax.env.NewFrame()), true
}

// isClosed tells whether x reads nothing but its own loop variables. What is
// big by itself, as lists.range can be, is no constant here.
func (a *analysis) isClosed(x ast.Expr, bound []string) bool {
	switch x.Kind() {
	case ast.IdentKind:
		name := strings.TrimPrefix(x.AsIdent(), ".")
		return slices.Contains(bound, name) || !slices.Contains(a.syntax.names, name)
	case ast.CallKind:
		switch x.AsCall().FunctionName() {
		case "now", "timeSince", "range":
			return false
		}
		bound = append(slices.Clip(bound), loopVariables(x)...)
	}
	closed := true
	expr.EachMember(x, func(m ast.Expr) { closed = closed && a.isClosed(m, bound) })
	return closed
}

// elements gives the kinds of what is in a list, or of the keys of a map.
func (a *analysis) elements(x ast.Expr) kinds {
	var out kinds
	switch x.Kind() {
	case ast.ListKind:
		if len(x.AsList().OptionalIndices()) > 0 {
			return anyKind
		}
		for _, e := range x.AsList().Elements() {
			out |= a.kinds(e)
		}
		return out
	case ast.MapKind:
		for _, e := range x.AsMap().Entries() {
			out |= a.kinds(e.AsMapEntry().Key())
		}
		return out
	}
	if of, path, optional, ok := attribute(x); ok && !optional {
		if shape, ok := a.shape(of, path); ok && shape.Types == schema.Array {
			if element, ok := shape.Element(); ok {
				return kindsOf(element)
			}
		}
		return anyKind
	}
	if program := a.syntax.compile(text(x)); program != nil {
		if t := program.ResultType(); t.Kind() == types.ListKind && t.Parameters()[0].IsExactType(expr.String) {
			return kindString
		}
	}
	return anyKind
}

// mayEqual tells whether values of these kinds can be equal.
func mayEqual(left, right kinds) bool {
	return (left|right)&kindOther != 0 || left.wide()&right.wide() != 0
}

// mayOrder tells whether values of these kinds can be compared with <.
func mayOrder(left, right kinds) bool {
	const ordered = kindBool | numbers | kindString | kindBytes | kindTimestamp | kindDuration
	return (left|right)&kindOther != 0 || left.wide()&right.wide()&ordered != 0
}

// enum gives the values that the schema lists for an attribute.
func (a *analysis) enum(x ast.Expr) []value.Value {
	of, path, optional, ok := attribute(x)
	if !ok || optional {
		return nil
	}
	shape, ok := a.shape(of, path)
	if !ok {
		return nil
	}
	return shape.Enum
}

// sayEnum lists the values of an enum.
func sayEnum(enum []value.Value) string {
	var out []string
	for _, v := range enum {
		out = append(out, v.String())
	}
	return fmt.Sprintf("the schema lists %s", strings.Join(out, ", "))
}
