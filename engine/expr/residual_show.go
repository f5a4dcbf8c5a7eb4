package expr

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/traits"

	"edict/engine/value"
)

// This file shows what is known as operands of filters.

// below gives what is selected by a name from an operand.
func (r *reducer) below(op Operand, field string) (Operand, error) {
	if Ambiguous(field) {
		if r.Exact {
			return Operand{}, refuse("the name %q", field)
		}
		return expression("index", op, Operand{Value: value.OfString(field)}), nil
	}
	if op.Variable != "" {
		return Operand{Variable: op.Variable + "." + field}, nil
	}
	return expression("get-field", op, Operand{Variable: field}), nil
}

// Ambiguous tells whether a name can't be told from several ones in a path.
func Ambiguous(name string) bool { return name == "" || strings.Contains(name, ".") }

// has gives a test of what is selected.
func (r *reducer) has(n *fragment, op Operand) (outcome, error) {
	if Ambiguous(n.field) {
		return outcome{}, refuse("has() of the name %q", n.field)
	}
	return r.expression(boolKind, "has", op)
}

// joined gives a call with its operands, which may be of some kinds.
func (r *reducer) joined(n *fragment, k kinds, list []outcome) (outcome, error) {
	operator := n.operatorName()
	operands := make([]Operand, len(list))
	for i := range list {
		var err error
		if n.op == operators.In && i == 1 && !list[1].unknown {
			operands[i], err = r.keys(&list[i])
		} else {
			operands[i], err = r.shown(&list[i], comparisons[operator])
		}
		if err != nil {
			return outcome{}, err
		}
	}
	if n.op == sinceFunction && !r.Exact {
		operands = operands[:1]
	}
	return r.expression(k, operator, operands...)
}

// collected gives a list or a map with its operands.
func (r *reducer) collected(n *fragment, list []outcome) (outcome, error) {
	operands := make([]Operand, len(list))
	for i := range list {
		var err error
		if operands[i], err = r.shown(&list[i], false); err != nil {
			return outcome{}, err
		}
		if operands[i].Value.Kind() == value.Bytes {
			return outcome{}, errBytes
		}
	}
	if n.kind == listFragment {
		return r.expression(listKind, "list", operands...)
	}
	return r.expression(mapKind, "struct", setFields(operands)...)
}

// setFields makes pairs of keys and values the operands of a struct.
func setFields(pairs []Operand) []Operand {
	fields := make([]Operand, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		fields = append(fields, expression("set-field", pairs[i], pairs[i+1]))
	}
	return fields
}

// lambda gives a loop as an operator on a collection.
func (r *reducer) lambda(n *fragment, over outcome) (outcome, error) {
	inner := r.among(n, &over)
	var lambda []Operand
	for i, a := range n.args[1:] {
		o, err := inner.reduce(a)
		if err != nil {
			return outcome{}, err
		}
		op, err := inner.shown(&o, false)
		switch {
		case err != nil:
			return outcome{}, err
		case i == 0 && n.tests() && !r.Exact && !inner.kindsOf(&o).has(boolKind):
			return outcome{}, refuse("a loop whose condition is no boolean")
		}
		lambda = append(lambda, op)
	}
	c := n.expr.AsComprehension()
	lambda = append(lambda, Operand{Variable: c.IterVar()})
	if n.two {
		lambda = append(lambda, Operand{Variable: c.IterVar2()})
	}
	var target Operand
	var err error
	if over.unknown || n.two {
		target, err = r.shown(&over, false)
	} else {
		target, err = r.keys(&over)
	}
	if err != nil {
		return outcome{}, err
	}
	return r.expression(n.static, n.macro, target, expression("lambda", lambda...))
}

// tests tells whether a loop has a condition, which is what comes first in it.
func (n *fragment) tests() bool {
	return len(n.args) > 2 || n.macro == "exists" || n.macro == "all" || n.macro == "exists_one" || n.macro == "filter"
}

// shown gives an outcome as an operand. Where it is compared, numbers of all
// types are alike.
func (r *reducer) shown(o *outcome, compared bool) (Operand, error) {
	if o.unknown {
		return o.op, nil
	}
	if !r.Frame.Spend(stepsPerOperand) {
		return Operand{}, ErrTooManySteps
	}
	v := r.value(o)
	if v.Kind() == value.Error && r.Exact {
		return expression("error", Operand{Value: value.OfString(strings.ToValidUTF8(v.Err().Error(), "?"))}), nil
	}
	op, ok := r.constant(v, compared)
	switch {
	case r.Frame.Spent():
		return Operand{}, ErrTooManySteps
	case ok:
		return op, nil
	case v.Kind() == value.Error:
		return Operand{}, refuse("a part that fails on every resource (%s)", v.Err())
	case o.part == nil:
		return Operand{}, refuse("%s", v)
	}
	out, err := r.taken(o.part)
	return out.op, err
}

// taken gives a known part by what it is made of. It is for values that no operand
// can be, such as hierarchies.
func (r *reducer) taken(n *fragment) (outcome, error) {
	if n.path != nil && n.kind != callFragment {
		at := r.Read(n.path)
		switch {
		case at.Program != nil:
			root, err := at.Program.parts()
			if err != nil {
				return outcome{}, err
			}
			return (&reducer{Partial: r.Partial}).taken(root)
		case r.Exact || slices.ContainsFunc(n.path, Ambiguous):
			return outcome{}, refuse("%s as a whole", strings.Join(n.path, "."))
		case n.test:
			return r.expression(boolKind, "has", Operand{Variable: r.Name(n.path)})
		}
		return r.operand(Operand{Variable: r.Name(n.path)}, n.static)
	}
	if n.kind == loopFragment {
		over, err := r.reduce(n.args[0])
		if err != nil {
			return outcome{}, err
		}
		return r.lambda(n, over)
	}
	list, _, err := r.all(n.args)
	if err != nil {
		return outcome{}, err
	}
	switch n.kind {
	case literalFragment:
		return outcome{}, refuse("the literal %s", fromRef(n.expr.AsLiteral()))
	case identFragment:
		switch name := n.expr.AsIdent(); {
		case name == nowVariable:
			return outcome{}, refuse("now() as a condition")
		case r.Exact || len(n.free) > 0: // a loop variable, outside of its loop
			return outcome{}, refuse("%s", name)
		}
		return r.operand(Operand{Variable: n.expr.AsIdent()}, n.static)
	case selectFragment:
		from, err := r.shown(&list[0], false)
		if err != nil {
			return outcome{}, err
		}
		op, err := r.below(from, n.field)
		if err != nil {
			return outcome{}, err
		}
		if n.test {
			return r.has(n, op)
		}
		return r.operand(op, n.static)
	case callFragment:
		return r.joined(n, n.static, list)
	case listFragment, mapFragment:
		return r.collected(n, list)
	}
	return outcome{}, refuse("%s", n.what())
}

// keys gives a known collection as the list that "in" looks at and that loops
// with one variable go over: of a map, its keys.
func (r *reducer) keys(o *outcome) (Operand, error) {
	v := r.value(o)
	if v.Kind() != value.Map {
		return r.shown(o, true)
	}
	if _, ok := plainMap(v); !ok {
		return r.shown(o, true)
	}
	if !r.Frame.Spend(v.Mapping().Len() * stepsPerConstant) {
		return Operand{}, ErrTooManySteps
	}
	keys, _ := entries(v.Mapping())
	list := knownAs(value.OfSequence(value.Slice(keys)))
	return r.shown(&list, true)
}

// entries gives the keys and values of a map, in the order of the keys.
func entries(m value.Mapping) (keys, values []value.Value) {
	if of, ok := m.(refMap); ok {
		for it := of.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			keys, values = append(keys, fromRef(key)), append(values, fromRef(of.Get(key)))
		}
	} else {
		m.Range(func(key string, v value.Value) bool {
			keys, values = append(keys, value.OfString(key)), append(values, v)
			return true
		})
	}
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := keys[i], keys[j]
		switch kind := cmp.Compare(a.Kind(), b.Kind()); {
		case kind != 0:
			return kind
		case a.Kind() == value.String:
			return cmp.Compare(a.Str(), b.Str())
		}
		return cmp.Compare(a.String(), b.String())
	})
	return picked(keys, order), picked(values, order)
}

func picked(list []value.Value, order []int) []value.Value {
	out := make([]value.Value, len(list))
	for i, at := range order {
		out[i] = list[at]
	}
	return out
}

// constant gives a value as an operand, if it has such a form and there are steps
// for its text, which goes into the filter wherever it is shown.
func (r *reducer) constant(v value.Value, compared bool) (Operand, bool) {
	call := func(operator, text string) (Operand, bool) {
		return expression(operator, Operand{Value: value.OfString(text)}), true
	}
	switch v.Kind() {
	case value.Null, value.Bool:
		return Operand{Value: v}, true
	case value.String:
		return Operand{Value: v}, r.Frame.Spend(len(v.Str())/bytesPerStep) && utf8.ValidString(v.Str())
	case value.Bytes:
		return Operand{Value: v}, r.Frame.Spend(len(v.Str())/bytesPerStep) && !r.Exact
	case value.Double:
		switch n := v.Double(); {
		case !math.IsNaN(n) && !math.IsInf(n, 0):
			return Operand{Value: v}, true
		case r.Exact:
			return call("double", strconv.FormatFloat(n, 'g', -1, 64))
		}
		return Operand{}, false
	case value.Int:
		return r.integer("int", strconv.FormatInt(v.Int(), 10), float64(v.Int()), compared)
	case value.Uint:
		return r.integer("uint", strconv.FormatUint(v.Uint(), 10), float64(v.Uint()), compared)
	case value.Timestamp:
		return call("timestamp", convert(v, types.StringType).Str())
	case value.Duration:
		return call("duration", seconds(v.Duration()))
	case value.List:
		return r.constantList(v.Sequence(), compared)
	case value.Map:
		if _, ok := plainMap(v); ok {
			return r.constantMap(v.Mapping(), compared)
		}
	}
	return Operand{}, false
}

// seconds gives a duration as text to the nanosecond, which conversion in CEL
// does not.
func seconds(d time.Duration) string {
	sign, n := "", uint64(d)
	if d < 0 {
		sign, n = "-", -n
	}
	text := fmt.Sprintf("%s%d.%09d", sign, n/uint64(time.Second), n%uint64(time.Second))
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + "s"
}

// integer gives a whole number, in an exact residual so that its type and all its
// digits are kept where they matter. Others can't have one that is no double.
func (r *reducer) integer(typ, text string, n float64, compared bool) (Operand, bool) {
	switch {
	case r.Exact && math.Abs(n) > maxSafeInteger:
		return expression(typ, Operand{Value: value.OfString(text)}), true
	case r.Exact && !compared:
		return expression(typ, Operand{Value: value.OfDouble(n)}), true
	}
	return Operand{Value: value.OfDouble(n)}, r.Exact || strconv.FormatFloat(n, 'f', 0, 64) == text
}

// member is constant for what is in a list or map, which an attribute may be as a
// whole: the base64 text of bytes would be found there.
func (r *reducer) member(v value.Value, compared bool) (Operand, bool) {
	if v.Kind() == value.Bytes {
		return Operand{}, false
	}
	return r.constant(v, compared)
}

// constantList gives a list as a value if its members are simple, and otherwise
// as an operator on them.
func (r *reducer) constantList(s value.Sequence, compared bool) (Operand, bool) {
	if !r.Frame.Spend(s.Len() * stepsPerConstant) {
		return Operand{}, false
	}
	simple := true
	operands, values := make([]Operand, s.Len()), make(value.Slice, s.Len())
	for i := range operands {
		var ok bool
		if operands[i], ok = r.member(s.At(i), compared); !ok {
			return Operand{}, false
		}
		values[i] = operands[i].Value
		simple = simple && isScalar(operands[i])
	}
	if simple {
		return Operand{Value: value.OfSequence(values)}, true
	}
	return expression("list", operands...), true
}

func (r *reducer) constantMap(m value.Mapping, compared bool) (Operand, bool) {
	if !r.Frame.Spend(2 * m.Len() * stepsPerConstant) {
		return Operand{}, false
	}
	keys, values := entries(m)
	pairs := make([]Operand, 2*len(keys))
	for i := range pairs {
		x := keys[i/2]
		if i%2 == 1 {
			x = values[i/2]
		}
		var ok bool
		if pairs[i], ok = r.member(x, compared); !ok {
			return Operand{}, false
		}
	}
	return expression("struct", setFields(pairs)...), true
}

// plainValue gives the value of a constant operand, if JSON has it.
func plainValue(op Operand) (value.Value, bool) {
	switch {
	case op.Variable != "":
		return value.Value{}, false
	case op.Expression == nil:
		return op.Value, true
	}
	switch op.Expression.Operator {
	case "list":
		list := make(value.Slice, len(op.Expression.Operands))
		for i, o := range op.Expression.Operands {
			var ok bool
			if list[i], ok = plainValue(o); !ok {
				return value.Value{}, false
			}
		}
		return value.OfSequence(list), true
	case "struct":
		fields := value.Values{}
		for _, set := range op.Expression.Operands {
			key, v := set.Expression.Operands[0], set.Expression.Operands[1]
			member, ok := plainValue(v)
			if !ok || key.Value.Kind() != value.String {
				return value.Value{}, false
			}
			fields[key.Value.Str()] = member
		}
		return value.OfMapping(fields), true
	}
	return value.Value{}, false
}

// compares tells whether a comparison of JSON values holds. What can't be compared
// does not.
func compares(operator string, a, b value.Value) bool {
	x, y := structTypes(nil).toRef(a), structTypes(nil).toRef(b)
	switch operator {
	case "eq":
		return types.Equal(x, y) == types.True
	case "ne":
		return types.Equal(x, y) != types.True
	case "in":
		container, ok := x.(traits.Container)
		return ok && container.Contains(y) == types.True
	}
	comparer, ok := x.(traits.Comparer)
	if !ok {
		return false
	}
	order, ok := comparer.Compare(y).(types.Int)
	if !ok {
		return false
	}
	switch operator {
	case "lt":
		return order < 0
	case "le":
		return order <= 0
	case "gt":
		return order > 0
	}
	return order >= 0
}
