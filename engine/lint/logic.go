package lint

import (
	"cmp"
	"slices"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"

	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// outcomes is a set of ways in which evaluating an expression may end.
type outcomes uint8

const (
	isTrue outcomes = 1 << iota
	isFalse
	fails
	isOther // a value that is no truth value

	anyOutcome = isTrue | isFalse | fails | isOther
)

// outcomes gives the ways in which evaluating x may end, and more where it is
// not clear.
func (a *analysis) outcomes(x ast.Expr) outcomes {
	if v, ok := a.fold(x); ok {
		switch v.Kind() {
		case value.Bool:
			if v.Bool() {
				return isTrue
			}
			return isFalse
		case value.Error:
			return fails
		case value.Opaque:
			return anyOutcome // an optional may hold true
		}
		return isOther
	}
	if x.Kind() != ast.CallKind {
		return a.ofKinds(x)
	}
	args := x.AsCall().Args()
	switch f := x.AsCall().FunctionName(); f {
	case operators.LogicalNot:
		return negate(a.outcomes(args[0]))
	case operators.LogicalAnd:
		return a.and(operands(x, f))
	case operators.LogicalOr:
		return a.or(operands(x, f))
	case operators.Conditional:
		test := a.outcomes(args[0])
		var out outcomes
		if test&isTrue != 0 {
			out |= a.outcomes(args[1])
		}
		if test&isFalse != 0 {
			out |= a.outcomes(args[2])
		}
		if test&(fails|isOther) != 0 {
			out |= fails
		}
		return out
	case operators.Equals, operators.NotEquals:
		out := isTrue | isFalse | fails
		left, right := a.kinds(args[0]), a.kinds(args[1])
		switch {
		case left == 0 || right == 0:
			return fails
		case text(args[0]) == text(args[1]):
			if !a.mayBeNaN(args[0]) {
				out &^= isFalse
			}
		case !mayEqual(left, right) || a.outsideEnum(args[0], args[1]) || a.outsideEnum(args[1], args[0]):
			out &^= isTrue
		}
		if f == operators.NotEquals {
			return negate(out)
		}
		return out
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		left, right := a.kinds(args[0]), a.kinds(args[1])
		switch {
		case left == 0 || right == 0 || !mayOrder(left, right):
			return fails
		case text(args[0]) != text(args[1]) || a.mayBeNaN(args[0]):
			return isTrue | isFalse | fails
		case f == operators.LessEquals || f == operators.GreaterEquals:
			return isTrue | fails
		default:
			return isFalse | fails
		}
	case operators.In:
		if a.neverIn(args[0], args[1]) {
			return isFalse | fails
		}
		return isTrue | isFalse | fails
	}
	return a.ofKinds(x)
}

// mayBeNaN tells whether x may be, or hold, the number that is not equal to
// itself: JSON has none, and computing can make one.
func (a *analysis) mayBeNaN(x ast.Expr) bool {
	if a.kinds(x)&(kindDouble|kindList|kindMap|kindOther) == 0 {
		return false
	}
	if x.Kind() == ast.CallKind {
		switch x.AsCall().FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
		default:
			return true
		}
	}
	found := false
	expr.EachMember(x, func(m ast.Expr) { found = found || a.mayBeNaN(m) })
	return found
}

// ofKinds gives the outcomes that the types of x allow.
func (a *analysis) ofKinds(x ast.Expr) outcomes {
	k := a.kinds(x)
	out := fails
	if k&(kindBool|kindOther) != 0 {
		out |= isTrue | isFalse
	}
	if k&^kindBool != 0 {
		out |= isOther
	}
	return out
}

func negate(o outcomes) outcomes {
	out := o & fails
	if o&isTrue != 0 {
		out |= isFalse
	}
	if o&isFalse != 0 {
		out |= isTrue
	}
	if o&isOther != 0 {
		out |= fails
	}
	return out
}

// and gives the outcomes of a conjunction. What fails, or is no truth value,
// gives way to a false.
func (a *analysis) and(list []ast.Expr) outcomes {
	out := isTrue
	facts := make([]fact, 0, len(list))
	for _, x := range list {
		o := a.outcomes(x)
		if o == isFalse {
			return isFalse
		}
		if o&isTrue == 0 {
			out &^= isTrue
		}
		out |= o & (isFalse | fails)
		if o&isOther != 0 {
			out |= fails
		}
		if f, ok := a.fact(x); ok {
			facts = append(facts, f)
		}
	}
	if contradict(facts) {
		out = out&^isTrue | isFalse
	}
	return out
}

// or gives the outcomes of a disjunction: by De Morgan, those of and.
func (a *analysis) or(list []ast.Expr) outcomes {
	out := isFalse
	facts := make([]fact, 0, len(list))
	for _, x := range list {
		o := a.outcomes(x)
		if o == isTrue {
			return isTrue
		}
		if o&isFalse == 0 {
			out &^= isFalse
		}
		out |= o & (isTrue | fails)
		if o&isOther != 0 {
			out |= fails
		}
		if f, ok := a.fact(x); ok {
			if f, ok = f.negated(); ok {
				facts = append(facts, f)
			}
		}
	}
	if contradict(facts) {
		out = out&^isFalse | isTrue
	}
	return out
}

// condition gives the outcomes of a condition. A leaf that is no truth value
// is not met.
func (a *analysis) condition(c *policy.Condition) outcomes {
	switch c.Op {
	case policy.Expr:
		p := a.syntax.parse(c.Expr.Value)
		if p.root == nil {
			return anyOutcome
		}
		o := a.outcomes(a.expand(p.root))
		if o&isOther != 0 {
			o = o&^isOther | isFalse
		}
		return o
	case policy.All:
		out := isTrue
		for _, m := range c.Of {
			o := a.condition(m)
			if o&isTrue == 0 {
				out &^= isTrue
			}
			out |= o & (isFalse | fails)
		}
		if out&isTrue != 0 && contradict(a.facts(c, policy.All)) {
			out = out&^isTrue | isFalse
		}
		return out
	case policy.Any:
		out := isFalse
		for _, m := range c.Of {
			o := a.condition(m)
			if o&isFalse == 0 && o&fails == 0 {
				out &^= isFalse
			}
			out |= o & (isTrue | fails)
		}
		if out&isFalse != 0 && contradict(a.facts(c, policy.Any)) {
			out = out&^isFalse | isTrue
		}
		return out
	default: // none; a member that fails counts as not met, or ends all
		out := isTrue
		for _, m := range c.Of {
			o := a.condition(m)
			if o == isTrue {
				out &^= isTrue
			}
			if o&isTrue != 0 {
				out |= isFalse
			}
			out |= o & fails
		}
		return out
	}
}

// facts gathers what the members of a group say: of all, what must hold; of
// any, what must not if the group is not to hold.
func (a *analysis) facts(c *policy.Condition, group policy.Operator) []fact {
	var out []fact
	switch c.Op {
	case policy.Expr:
		p := a.syntax.parse(c.Expr.Value)
		if p.root == nil {
			return nil
		}
		operator := operators.LogicalAnd
		if group == policy.Any {
			operator = operators.LogicalOr
		}
		members := operands(a.expand(p.root), operator)
		for _, x := range members {
			f, ok := a.fact(x)
			if ok && group == policy.Any {
				// By itself, what is no truth value does not fail.
				f.plain = f.plain && len(members) > 1
				f, ok = f.negated()
			}
			if ok {
				out = append(out, f)
			}
		}
	case group:
		for _, m := range c.Of {
			out = append(out, a.facts(m, group)...)
		}
	}
	return out
}

// A fact is what holds of an expression where a condition holds: it is one of
// some values, or none of them, or beyond a bound.
type fact struct {
	of    string // the expression
	in    []value.Value
	not   []value.Value
	low   *bound // what it is above
	high  *bound // what it is below
	plain bool   // it is a truth value as it stands, since evaluation fails otherwise
	nan   bool   // the expression may be a number that is beyond no bound
}

type bound struct {
	value    value.Value
	included bool
}

// fact reads a comparison with a constant, or anything else as a truth value.
func (a *analysis) fact(x ast.Expr) (fact, bool) {
	if args, ok := call(x, operators.LogicalNot); ok {
		f, ok := a.fact(args[0])
		if !ok {
			return fact{}, false
		}
		return f.negated()
	}
	if x.Kind() == ast.CallKind {
		args := x.AsCall().Args()
		switch f := x.AsCall().FunctionName(); f {
		case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
			if v, ok := a.simple(args[1]); ok {
				return a.compared(args[0], f, v), true
			}
			if v, ok := a.simple(args[0]); ok {
				return a.compared(args[1], mirrored[f], v), true
			}
		case operators.In:
			list, ok := a.fold(args[1])
			if !ok || list.Kind() != value.List {
				break
			}
			f := fact{of: text(args[0]), in: []value.Value{}}
			for i := range list.Sequence().Len() {
				e := list.Sequence().At(i)
				if !isSimple(e) {
					return fact{}, false
				}
				f.in = append(f.in, e)
			}
			return f, true
		}
	}
	s := text(x)
	return fact{of: s, in: []value.Value{value.OfBool(true)}, plain: true}, s != ""
}

var mirrored = map[string]string{
	operators.Equals: operators.Equals, operators.NotEquals: operators.NotEquals,
	operators.Less: operators.Greater, operators.LessEquals: operators.GreaterEquals,
	operators.Greater: operators.Less, operators.GreaterEquals: operators.LessEquals,
}

// simple gives the value of a constant that facts can be about.
func (a *analysis) simple(x ast.Expr) (value.Value, bool) {
	v, ok := a.fold(x)
	return v, ok && isSimple(v)
}

func isSimple(v value.Value) bool {
	switch v.Kind() {
	case value.Bool, value.Int, value.Double, value.String:
		return true
	}
	return false
}

func (a *analysis) compared(x ast.Expr, operator string, v value.Value) fact {
	f := fact{of: text(x), nan: a.mayBeNaN(x)}
	switch operator {
	case operators.Equals:
		f.in = []value.Value{v}
	case operators.NotEquals:
		f.not = []value.Value{v}
	case operators.Less:
		f.high = &bound{v, false}
	case operators.LessEquals:
		f.high = &bound{v, true}
	case operators.Greater:
		f.low = &bound{v, false}
	case operators.GreaterEquals:
		f.low = &bound{v, true}
	}
	return f
}

// negated gives the fact that holds where f does not, unless evaluation failed.
func (f fact) negated() (fact, bool) {
	switch {
	case f.in != nil:
		if f.plain {
			return fact{of: f.of, in: []value.Value{value.OfBool(!f.in[0].Bool())}, plain: true}, true
		}
		return fact{of: f.of, not: f.in}, true
	case f.not != nil:
		return fact{of: f.of, in: f.not}, true
	case f.nan:
	case f.low != nil:
		return fact{of: f.of, high: &bound{f.low.value, !f.low.included}}, true
	case f.high != nil:
		return fact{of: f.of, low: &bound{f.high.value, !f.high.included}}, true
	}
	return fact{}, false
}

// contradict tells whether two of the facts cannot hold at once.
func contradict(facts []fact) bool {
	for i, f := range facts {
		for _, g := range facts[:i] {
			if f.of == g.of && f.of != "" && (f.excludes(g) || g.excludes(f)) {
				return true
			}
		}
	}
	return false
}

func (f fact) excludes(g fact) bool {
	has := func(list []value.Value, v value.Value) bool {
		return slices.ContainsFunc(list, func(w value.Value) bool { return order(v, w) == 0 })
	}
	switch {
	case f.in != nil:
		// Every value that f leaves is ruled out by g.
		for _, v := range f.in {
			if g.in != nil && has(g.in, v) || g.not != nil && !has(g.not, v) || g.low != nil && g.low.admits(v, 1) || g.high != nil && g.high.admits(v, -1) {
				return false
			}
		}
		return true
	case f.low != nil && g.high != nil:
		d := order(f.low.value, g.high.value)
		return d == 1 || d == 0 && !(f.low.included && g.high.included)
	}
	return false
}

// admits tells whether v may lie on a side of the bound: 1 above, -1 below.
// What cannot be compared with the bound fails there.
func (b *bound) admits(v value.Value, side int) bool {
	d := order(v, b.value)
	return d == side || d == 0 && b.included
}

// incomparable is the order of values of different types.
const incomparable = 2

// order gives -1, 0, 1 or incomparable.
func order(v, w value.Value) int {
	number := func(v value.Value) (float64, bool) {
		switch v.Kind() {
		case value.Int:
			return float64(v.Int()), true
		case value.Double:
			return v.Double(), true
		}
		return 0, false
	}
	if a, ok := number(v); ok {
		if b, ok := number(w); ok {
			return cmp.Compare(a, b)
		}
		return incomparable
	}
	switch {
	case v.Kind() != w.Kind():
		return incomparable
	case v.Kind() == value.String:
		return cmp.Compare(v.Str(), w.Str())
	case v.Kind() == value.Bool:
		switch {
		case v.Bool() == w.Bool():
			return 0
		case w.Bool():
			return -1
		default:
			return 1
		}
	}
	return incomparable
}

// outsideEnum tells whether the schema lists the values of an attribute, and
// what it is compared with is a constant that is none of them.
func (a *analysis) outsideEnum(x, other ast.Expr) bool {
	enum := a.enum(x)
	if enum == nil {
		return false
	}
	v, ok := a.simple(other)
	return ok && !slices.ContainsFunc(enum, func(e value.Value) bool { return order(e, v) == 0 })
}

// neverIn tells whether x can never be in a list, or be a key of a map.
func (a *analysis) neverIn(x, list ast.Expr) bool {
	k, elements := a.kinds(x), a.elements(list)
	if k == 0 {
		return false
	}
	if elements == 0 || !mayEqual(k, elements) {
		return true
	}
	enum := a.enum(x)
	if enum == nil || list.Kind() != ast.ListKind {
		return false
	}
	for _, e := range list.AsList().Elements() {
		v, ok := a.simple(e)
		if !ok || slices.ContainsFunc(enum, func(w value.Value) bool { return order(v, w) == 0 }) {
			return false
		}
	}
	return true
}
