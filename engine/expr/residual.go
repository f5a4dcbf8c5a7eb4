package expr

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/google/cel-go/common/operators"

	"edict/engine/value"
)

// A Residual is what is left of an expression of which not all operands are
// known: an operand of a filter, or, where they are not needed, a value. A Value
// of kind Error says that the evaluation fails, whatever is not known.
type Residual struct {
	Value   value.Value
	Operand *Operand // nil: the value is known
	Boolean bool     // Operand is true, false or an error

	// InText is what Cerbos makes of x in "text", if that is the whole of an
	// expression: an equality. Value is the error that it is.
	InText *Operand
}

// A Partial is what is known while expressions are evaluated in part. What paths
// stand for must not change as long as it is in use.
type Partial struct {
	// Frame has the values of the variables that are known. What is not known is
	// not read from it.
	Frame *Frame

	// Read tells what a path of names, selected one after the other from a declared
	// variable, stands for. It is asked for every beginning of a path, too.
	Read func(path []string) Reading

	// Name gives what filters call a path.
	Name func(path []string) string

	// Exact asks for residuals that say of every value of what is unknown what the
	// expression says: true, false, another value or an error. Otherwise they have
	// the form that Cerbos gives them, and hold for no value for which the
	// expression does not, also to those whose numbers are of one type.
	Exact bool

	// Lenient tells that an expression that fails is one that does not hold.
	Lenient bool

	// Faithful asks for residuals, if not for exact ones, that are neither true nor
	// false where the expression fails. What Cerbos takes for false in place of an
	// error stays what it is, or is an error on every resource.
	Faithful bool

	// Part tells that an expression is part of another one, so that more matters of
	// it than where it is true.
	Part bool

	programs map[*Program]bool // those that Known was asked about
}

// A Reading is what a path stands for: something that is known or not, or another
// expression. The zero Reading is for what can't be in a filter by itself.
type Reading struct {
	Known bool   // the Frame has it
	Name  string // of what is not known, and JSON: what filters call it

	// Always tells that what is not known is there on every resource, so that has()
	// asks whether it is empty.
	Always bool

	// Program is the expression that the path stands for. The Frame has its value,
	// if all that it reads is known.
	Program *Program

	// Residual gives what the path stands for, if it is neither known nor a program.
	Residual func() (Residual, error)
}

const (
	// stepsPerOperand is what an operand takes of a Frame's steps. An expression
	// may become many times as large by what its variables stand for.
	stepsPerOperand = 100

	// stepsPerConstant is what a member of a known list or map takes of them.
	stepsPerConstant = 20

	// maxUnrolled is how many members Cerbos unrolls a loop over.
	maxUnrolled = 10
)

// Residual evaluates the program as far as that is possible. The error says
// what can't be part of a filter. Operators are those of Cerbos' plans, and has;
// exact residuals have some more to themselves:
//
//	error(message)      an evaluation that fails
//	int(n), uint(n)     a number of that type, where the type matters
//	double(text)        a number that JSON has no form for
//	timeSince(t, now)   unlike sub(now, t) it does not fail if that is long ago
func (p *Program) Residual(k *Partial) (Residual, error) {
	root, err := p.parts()
	if err != nil {
		return Residual{}, err
	}
	r := reducer{Partial: k, root: root}
	if k.Part {
		r.root = nil
	}
	out, err := r.reduce(root)
	if err == nil && out.unknown && !k.Exact && !k.Faithful && !k.Part {
		out, err = r.turned(out)
	}
	switch {
	case err != nil:
		return Residual{}, err
	case out.unknown && !k.Exact && !k.Part && !out.kinds.has(boolKind|opaqueKind):
		return Residual{Value: r.never(value.OfNull())}, nil
	case out.unknown:
		return Residual{Operand: &out.op, Boolean: out.kinds.only(boolKind)}, nil
	}
	v := r.value(&out)
	if k.Frame.Spent() {
		return Residual{}, ErrTooManySteps
	}
	return Residual{Value: v, InText: out.inText}, nil
}

// Known tells whether the value of the program is known without evaluating it in
// part: all that it reads is.
func (p *Program) Known(k *Partial) bool {
	if known, ok := k.programs[p]; ok {
		return known
	}
	root, err := p.parts()
	known := err == nil && (&reducer{Partial: k}).known(root)
	if k.programs == nil {
		k.programs = map[*Program]bool{}
	}
	k.programs[p] = known
	return known
}

// A reducer evaluates one expression in part.
type reducer struct {
	*Partial
	root   *fragment     // the whole; nil within loops, and of a part
	locals []value.Value // of loop variables; absent: unknown
	kinds  []kinds       // of loop variables that are unknown
}

// An outcome is what became of a part: a value, or an operand if it depends on
// what is unknown.
type outcome struct {
	unknown bool
	op      Operand
	kinds   kinds // that it may be of, if it is no error; 0: see kindsOf

	part     *fragment // where a value comes from; nil: from more than one
	v        value.Value
	computed bool     // v is there
	inText   *Operand // of Residual
}

func knownAs(v value.Value) outcome { return outcome{v: v, computed: true} }

// value gives the value of what is known.
func (r *reducer) value(o *outcome) value.Value {
	if !o.computed {
		o.v, o.computed = o.part.value(r.Frame, r.around(o.part)), true
	}
	return o.v
}

// failed tells whether an outcome is known to be an error.
func (r *reducer) failed(o *outcome) bool {
	return !o.unknown && r.value(o).Kind() == value.Error
}

// around gives the values of the loop variables around a part.
func (r *reducer) around(n *fragment) []value.Value {
	if len(r.locals) >= len(n.scope) {
		return slices.Clip(r.locals[:len(n.scope)])
	}
	return append(slices.Clip(r.locals), make([]value.Value, len(n.scope)-len(r.locals))...)
}

// within gives a reducer for what is in a loop, with values of its variables.
func (r *reducer) within(n *fragment, variables ...value.Value) *reducer {
	return &reducer{Partial: r.Partial, locals: append(r.around(n), variables...), kinds: r.kinds}
}

// among gives a reducer for what is in a loop of which the variables are not
// known.
func (r *reducer) among(n *fragment, over *outcome) *reducer {
	inner := r.within(n, value.Value{}, value.Value{})
	inner.kinds = make([]kinds, len(n.scope))
	copy(inner.kinds, r.kinds)
	inner.kinds = append(inner.kinds, r.loopKinds(over, n.two)...)
	return inner
}

// known tells whether all that a part reads is known.
func (r *reducer) known(n *fragment) bool {
	for _, i := range n.free {
		if i >= len(r.locals) || r.locals[i].Kind() == value.Absent {
			return false
		}
	}
	for _, b := range n.below {
		if !r.knows(b.path) {
			return false
		}
	}
	return true
}

// knows tells whether what a path stands for is known.
func (r *reducer) knows(path []string) bool {
	for n := range path {
		switch at := r.Read(path[:n+1]); {
		case at.Known:
			return true
		case at.Program != nil:
			return at.Program.Known(r.Partial)
		}
	}
	return false
}

var (
	errHas        = errors.New("has() of a variable that depends on unknown data can't be part of a filter")
	errBytes      = errors.New("bytes in a list or map can't be part of a filter")
	errNeverEqual = errors.New("a comparison of what is never equal can't be part of a filter")
)

// refuse says that something can't be in a filter.
func refuse(format string, args ...any) error {
	return fmt.Errorf(format+" can't be part of a filter", args...)
}

// reduce evaluates a part as far as possible.
func (r *reducer) reduce(n *fragment) (outcome, error) {
	if n.kind == literalFragment {
		return outcome{part: n, v: fromRef(n.expr.AsLiteral()), computed: true}, nil
	}
	if r.known(n) {
		return outcome{part: n}, nil
	}
	if n.path != nil {
		if out, ok, err := r.reading(n); ok || err != nil {
			return out, err
		}
	}
	switch n.kind {
	case identFragment:
		k := n.static
		if i := n.free[0]; i < len(r.kinds) {
			k = r.kinds[i].typed(n.static)
		}
		return r.operand(Operand{Variable: n.expr.AsIdent()}, k)
	case selectFragment:
		return r.selection(n)
	case callFragment:
		return r.call(n)
	case listFragment, mapFragment:
		return r.written(n)
	case loopFragment:
		return r.loop(n)
	}
	return outcome{}, refuse("%s", n.what())
}

// operand makes an outcome of an operand.
func (r *reducer) operand(op Operand, k kinds) (outcome, error) {
	if !r.Frame.Spend(stepsPerOperand) {
		return outcome{}, ErrTooManySteps
	}
	return outcome{unknown: true, op: op, kinds: k}, nil
}

func (r *reducer) expression(k kinds, operator string, operands ...Operand) (outcome, error) {
	return r.operand(expression(operator, operands...), k)
}

func expression(operator string, operands ...Operand) Operand {
	return Operand{Expression: &Expression{operator, operands}}
}

// reading gives what the path of a part stands for. It answers false if what the
// part is made of has to be looked at.
func (r *reducer) reading(n *fragment) (outcome, bool, error) {
	at := r.Read(n.path)
	switch {
	case n.test && (at.Program != nil || at.Residual != nil):
		return outcome{}, true, errHas
	case at.Program != nil:
		out, err := r.substituted(n, at.Program)
		return out, true, err
	case at.Residual != nil:
		res, err := at.Residual()
		if err != nil || res.Operand == nil {
			return knownAs(res.Value), true, err
		}
		k := n.static
		if res.Boolean {
			k = boolKind
		}
		out, err := r.operand(*res.Operand, k)
		return out, true, err
	case at.Name != "" && (n.kind != callFragment || r.Exact):
		variable := Operand{Variable: at.Name}
		if n.test && r.Exact && at.Always {
			out, err := r.expression(boolKind, "ne", variable, Operand{Value: value.OfString("")})
			return out, true, err
		}
		if n.test {
			out, err := r.expression(boolKind, "has", variable)
			return out, true, err
		}
		out, err := r.operand(variable, r.json(n))
		return out, true, err
	case n.kind == identFragment:
		return outcome{}, true, refuse("%s as a whole", n.path[0])
	}
	return outcome{}, false, nil
}

// substituted evaluates the program that stands in place of a part.
func (r *reducer) substituted(n *fragment, program *Program) (outcome, error) {
	root, err := program.parts()
	if err != nil {
		return outcome{}, err
	}
	if !r.Frame.Spend(stepsPerOperand) {
		return outcome{}, ErrTooManySteps
	}
	inner := reducer{Partial: r.Partial}
	if n == r.root {
		inner.root = root
	}
	out, err := inner.reduce(root)
	if err == nil && !out.unknown {
		inner.value(&out)
	}
	return out, err
}

func (r *reducer) selection(n *fragment) (outcome, error) {
	from, err := r.reduce(n.args[0])
	switch {
	case err != nil:
		return outcome{}, err
	case !from.unknown:
		return r.applied(n, from)
	case r.Exact || from.kinds.has(mapKind|opaqueKind):
	case !n.test:
		return knownAs(noOverload), nil
	case r.decides(n):
		return knownAs(r.never(isFalse)), nil
	default:
		return outcome{}, refuse("has() of what has no fields")
	}
	op, err := r.below(from.op, n.field)
	if err != nil {
		return outcome{}, err
	}
	if n.test {
		return r.has(n, op)
	}
	k := n.static
	if from.kinds&isJSON != 0 {
		k = r.json(n)
	}
	return r.operand(op, k)
}

// applied runs a part on values of its operands, all of which are known.
func (r *reducer) applied(n *fragment, operands ...outcome) (outcome, error) {
	values := make([]value.Value, len(operands))
	for i := range operands {
		if values[i] = r.value(&operands[i]); values[i].Kind() == value.Error {
			return outcome{part: n, v: values[i], computed: true}, nil
		}
	}
	return outcome{part: n, v: n.apply(r.Frame, r.around(n), values), computed: true}, nil
}

// all reduces several parts.
func (r *reducer) all(parts []*fragment) (list []outcome, unknown bool, err error) {
	list = make([]outcome, len(parts))
	for i, a := range parts {
		if list[i], err = r.reduce(a); err != nil {
			return nil, false, err
		}
		unknown = unknown || list[i].unknown
	}
	return list, unknown, nil
}

func (r *reducer) call(n *fragment) (outcome, error) {
	if n.op == operators.Conditional {
		return r.choice(n)
	}
	if out, ok, err := r.byKey(n); ok || err != nil {
		return out, err
	}
	if n.op == operators.LogicalAnd || n.op == operators.LogicalOr {
		return r.logical(n, n.op == operators.LogicalAnd)
	}
	if n.op == operators.In && n.args[1].kind == listFragment && len(n.args[1].args) == 0 {
		return knownAs(isFalse), nil // evaluation does not look at the operand, either
	}
	list, unknown, err := r.all(n.args)
	switch {
	case err != nil:
		return outcome{}, err
	case !unknown:
		return r.applied(n, list...)
	}
	for i := range list {
		if r.failed(&list[i]) {
			return list[i], nil
		}
	}
	k := r.resultKinds(n, list)
	if n.op == operators.In && !r.Exact && !list[1].unknown && isEmpty(r.value(&list[1])) {
		if r.decides(n) && !r.Faithful {
			return knownAs(isFalse), nil // or an error, but never true
		}
		return r.joined(n, k, list)
	}
	if k.only(0) {
		out := knownAs(noOverload)
		if n.op == operators.In && n == r.root && list[0].unknown && !list[1].unknown && r.kindsOf(&list[1]).has(stringKind) {
			text, err := r.shown(&list[1], true)
			if err != nil {
				return outcome{}, err
			}
			equality := expression("eq", list[0].op, text)
			out.inText = &equality
		}
		return out, nil
	}
	switch err := r.unsafe(n, list); {
	case err == errNeverEqual && n == r.root && n.op != operators.NotEquals:
		return knownAs(r.never(isFalse)), nil
	case err != nil:
		return outcome{}, err
	}
	return r.joined(n, k, list)
}

// logical is && or ||. What can't be part of a filter does not matter if another
// operand decides.
func (r *reducer) logical(n *fragment, and bool) (outcome, error) {
	list := make([]outcome, 0, len(n.args))
	var refused error
	for _, a := range n.args {
		o, err := r.reduce(a)
		switch {
		case err == ErrTooManySteps:
			return outcome{}, err
		case err != nil:
			refused = cmp.Or(refused, err)
			continue
		case !o.unknown && r.value(&o).Kind() == value.Bool && o.v.Bool() != and:
			return knownAs(o.v), nil
		}
		list = append(list, o)
	}
	sound := list
	if !r.Exact && slices.ContainsFunc(list, r.fails) && r.decides(n) {
		sound = slices.DeleteFunc(slices.Clone(list), r.fails)
	}
	switch {
	case and && len(sound) < len(list):
		return knownAs(noOverload), nil // false or an error, but never true
	case refused != nil:
		return outcome{}, refused
	case r.Lenient:
		list = sound // of ||, a member that fails is one that does not hold
	}
	out, err := r.logic(and, list)
	if err == nil && !r.Exact && out.unknown && !out.kinds.only(boolKind) &&
		!isBelow(r.root, n, operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot) {
		return outcome{}, refuse("&& or || of what may be no boolean")
	}
	return out, err
}

// never gives what stands for an expression that may fail, but is never true: what
// it is if it does not fail, or the error.
func (r *reducer) never(otherwise value.Value) value.Value {
	if r.Faithful {
		return neverTrue
	}
	return otherwise
}

var neverTrue = value.OfError(errors.New("an expression that may fail, and is never true"))

// decides tells whether all that matters of a part is where it is true.
func (r *reducer) decides(n *fragment) bool {
	return isBelow(r.root, n, operators.LogicalAnd, operators.LogicalOr)
}

// isBelow tells whether a part of the whole is below nothing but some operators.
func isBelow(whole, n *fragment, through ...string) bool {
	switch {
	case whole == nil || whole == n:
		return whole != nil
	case slices.Contains(through, whole.op):
		return slices.ContainsFunc(whole.args, func(a *fragment) bool { return isBelow(a, n, through...) })
	}
	return false
}

// fails tells whether an operand of && or || is known to be no boolean.
func (r *reducer) fails(o outcome) bool {
	if o.unknown {
		return !o.kinds.has(boolKind)
	}
	return r.value(&o).Kind() != value.Bool
}

// byKey is R.attr[key] as R.attr.name, and key in R.attr as has(R.attr.name), if
// the key is known. Cerbos' plans have no such form.
func (r *reducer) byKey(n *fragment) (out outcome, ok bool, err error) {
	if !r.Exact || n.op != operators.Index && n.op != operators.In {
		return outcome{}, false, nil
	}
	data, key := n.args[0], n.args[1]
	if n.op == operators.In {
		data, key = key, data
	}
	if data.path == nil {
		return outcome{}, false, nil
	}
	if at := r.Read(data.path); at.Known || at.Name != "" || at.Program != nil || at.Residual != nil {
		return outcome{}, false, nil
	}
	k, err := r.reduce(key)
	if err != nil || k.unknown || r.value(&k).Kind() != value.String {
		return outcome{}, false, err
	}
	switch at := r.Read(append(slices.Clone(data.path), k.v.Str())); {
	case at.Known && n.op == operators.In:
		return knownAs(isTrue), true, nil
	case at.Known:
		return outcome{part: n}, true, nil
	case at.Name != "" && n.op == operators.In:
		out, err = r.expression(boolKind, "has", Operand{Variable: at.Name})
		return out, true, err
	case at.Name != "":
		out, err = r.operand(Operand{Variable: at.Name}, n.static)
		return out, true, err
	}
	return outcome{}, false, nil
}

func isEmpty(v value.Value) bool {
	return v.Kind() == value.List && v.Sequence().Len() == 0 || v.Kind() == value.Map && v.Mapping().Len() == 0
}

// logic is && or ||: an operand that is known decides, is of no interest, or is
// an error unless another one decides.
func (r *reducer) logic(and bool, list []outcome) (outcome, error) {
	name, neutral := "or", isFalse
	if and {
		name, neutral = "and", isTrue
	}
	var kept []outcome
	var failure *outcome
	for _, o := range list {
		if o.unknown && o.kinds.has(boolKind) {
			kept = append(kept, o)
			continue
		}
		if o.unknown {
			o = knownAs(noOverload)
		}
		switch v := r.value(&o); {
		case v.Kind() == value.Bool && v.Bool() != and:
			return knownAs(v), nil
		case v.Kind() != value.Bool && failure == nil: // one is as good as two
			if v.Kind() != value.Error {
				o.v = noOverload
			}
			failure = &o
		}
	}
	switch {
	case len(kept) == 0 && failure != nil:
		return *failure, nil
	case len(kept) == 0:
		return knownAs(neutral), nil
	case failure != nil:
		kept = append(kept, *failure)
	case len(kept) == 1 && (kept[0].kinds.only(boolKind) || !r.Exact):
		return kept[0], nil
	case len(kept) == 1: // x && true is an error if x is no boolean
		kept = append(kept, knownAs(neutral))
	}
	operands := make([]Operand, len(kept))
	for i := range kept {
		var err error
		if operands[i], err = r.shown(&kept[i], false); err != nil {
			return outcome{}, err
		}
	}
	return r.expression(boolKind, name, operands...)
}

// choice is test ? yes : no.
func (r *reducer) choice(n *fragment) (outcome, error) {
	test, err := r.reduce(n.args[0])
	if err != nil {
		return outcome{}, err
	}
	if !test.unknown {
		v := r.value(&test)
		switch {
		case v.Kind() == value.Error:
			return outcome{part: n, v: v, computed: true}, nil
		case v.Kind() != value.Bool:
			return outcome{part: n, v: noOverload, computed: true}, nil
		case v.Bool():
			return r.reduce(n.args[1])
		}
		return r.reduce(n.args[2])
	}
	if !test.kinds.has(boolKind) {
		return knownAs(noOverload), nil
	}
	list, _, err := r.all(n.args[1:])
	if err != nil {
		return outcome{}, err
	}
	k := r.kindsOf(&list[0]).or(r.kindsOf(&list[1]))
	if k.only(0) {
		return list[0], nil // both fail
	}
	operands := []Operand{test.op, {}, {}}
	for i := range list {
		if operands[i+1], err = r.shown(&list[i], false); err != nil {
			return outcome{}, err
		}
	}
	return r.expression(k, "if", operands...)
}

// written is a list or a map that is written out.
func (r *reducer) written(n *fragment) (outcome, error) {
	list, unknown, err := r.all(n.args)
	switch {
	case err != nil:
		return outcome{}, err
	case !unknown:
		return r.applied(n, list...)
	}
	for i := range list {
		if r.failed(&list[i]) {
			return list[i], nil
		}
	}
	return r.collected(n, list)
}

// loop is a macro that goes over a collection.
func (r *reducer) loop(n *fragment) (outcome, error) {
	over, err := r.reduce(n.args[0])
	switch {
	case err != nil:
		return outcome{}, err
	case r.failed(&over):
		return over, nil
	case !over.unknown && over.v.Kind() != value.List && over.v.Kind() != value.Map:
		return knownAs(noOverload), nil
	case !over.unknown && isEmpty(over.v):
		return knownAs(overNothing(n.macro)), nil
	case !over.unknown && (n.macro == "exists" || n.macro == "all"):
		if out, ok, err := r.unroll(n, &over); ok || err != nil {
			return out, err
		}
	}
	return r.lambda(n, over)
}

// overNothing gives what a loop over an empty collection gives, whatever is in it.
func overNothing(macro string) value.Value {
	switch macro {
	case "all":
		return isTrue
	case "exists", "exists_one":
		return isFalse
	case "transformMap", "transformMapEntry":
		return value.OfMapping(value.Values{})
	}
	return value.OfSequence(value.Slice{})
}

// unroll evaluates a loop over a known collection, for one member after the
// other. It answers false where Cerbos leaves the loop as it is.
func (r *reducer) unroll(n *fragment, over *outcome) (outcome, bool, error) {
	v := r.value(over)
	var keys, members []value.Value
	switch v.Kind() {
	case value.List:
		s := v.Sequence()
		for i := range s.Len() {
			keys, members = append(keys, value.OfInt(int64(i))), append(members, s.At(i))
		}
	case value.Map:
		keys, members = entries(v.Mapping())
	default:
		return outcome{part: n, v: noOverload, computed: true}, true, nil
	}
	and := n.macro == "all"
	var list []outcome
	failed, unknown := false, false
	for i := range keys {
		if !r.Frame.Spend(1) {
			return outcome{}, false, ErrTooManySteps
		}
		var inner *reducer
		switch {
		case n.two:
			inner = r.within(n, keys[i], members[i])
		case v.Kind() == value.Map:
			inner = r.within(n, keys[i])
		default:
			inner = r.within(n, members[i])
		}
		o, err := inner.reduce(n.args[1])
		if err != nil {
			return outcome{}, false, err
		}
		if !o.unknown { // only the inner reducer knows the loop variables
			known := inner.value(&o)
			if known.Kind() == value.Bool && known.Bool() != and {
				return knownAs(known), true, nil
			}
			failed = failed || known.Kind() != value.Bool
			o = knownAs(known)
		}
		unknown = unknown || o.unknown
		list = append(list, o)
	}
	if r.Exact || !unknown {
		out, err := r.logic(and, list)
		return out, true, err
	}
	if n != r.root || len(list) > maxUnrolled || failed {
		return outcome{}, false, nil
	}
	out, err := r.chain(and, list)
	return out, true, err
}

// chain is logic by two operands at a time, as Cerbos unrolls loops.
func (r *reducer) chain(and bool, list []outcome) (outcome, error) {
	if len(list) == 0 {
		return knownAs(value.OfBool(and)), nil
	}
	out := list[len(list)-1]
	for _, o := range slices.Backward(list[:len(list)-1]) {
		var err error
		if out, err = r.logic(and, []outcome{o, out}); err != nil {
			return outcome{}, err
		}
	}
	return out, nil
}

// turned makes of a comparison with an entry of a known map, which is chosen by
// what is not known, a choice of keys. Cerbos does so where the comparison is
// the whole of an expression.
func (r *reducer) turned(out outcome) (outcome, error) {
	e := out.op.Expression
	if e == nil || len(e.Operands) != 2 || !comparisons[e.Operator] || e.Operator == "index" {
		return out, nil
	}
	entry, constant := e.Operands[0], e.Operands[1]
	if e.Operator == "in" {
		entry, constant = constant, entry
	}
	field := ""
	if x := entry.Expression; x != nil && x.Operator == "get-field" {
		entry, field = x.Operands[0], x.Operands[1].Variable
	}
	x := entry.Expression
	if !isScalar(constant) || x == nil || x.Operator != "index" || x.Operands[1].Variable == "" {
		return out, nil
	}
	table := x.Operands[0].Expression
	if table == nil || table.Operator != "struct" {
		return out, nil
	}
	var list []outcome
	for _, set := range table.Operands {
		key := set.Expression.Operands[0]
		member, ok := plainValue(set.Expression.Operands[1])
		if !ok {
			return out, nil
		}
		if field != "" {
			if m := member.Mapping(); m == nil {
				continue // an error
			} else if member, ok = m.Lookup(field); !ok {
				continue
			}
		}
		if !compares(e.Operator, member, constant.Value) {
			continue
		}
		eq, err := r.expression(boolKind, "eq", x.Operands[1], key)
		if err != nil {
			return outcome{}, err
		}
		list = append(list, eq)
	}
	return r.chain(false, list)
}

func isScalar(op Operand) bool {
	return op.Expression == nil && op.Variable == "" && op.Value.Kind() != value.List
}

// what names a part that is foreign to filters.
func (n *fragment) what() string {
	if t := n.tree.GetType(n.expr.ID()); t != nil && t.TypeName() == optionalType {
		return "an optional value that depends on unknown data"
	}
	return "a construct such as cel.bind or sortBy on unknown data"
}

// optionalType is the name of the type of optional values.
const optionalType = "optional_type"

// operatorNames are the operators whose name in filters is not that of CEL.
var operatorNames = map[string]string{
	operators.LogicalAnd: "and", operators.LogicalOr: "or", operators.LogicalNot: "not",
	operators.Equals: "eq", operators.NotEquals: "ne",
	operators.Less: "lt", operators.LessEquals: "le", operators.Greater: "gt", operators.GreaterEquals: "ge",
	operators.In: "in", operators.Index: "index", operators.Conditional: "if",
	operators.Add: "add", operators.Subtract: "sub", operators.Multiply: "mult", operators.Divide: "div", operators.Modulo: "mod",
	sinceFunction: "timeSince",
}

// comparisons are the operators for which numbers of all types are alike.
var comparisons = map[string]bool{"eq": true, "ne": true, "lt": true, "le": true, "gt": true, "ge": true, "in": true, "index": true}

// operatorName gives the name of an operator in filters.
func (n *fragment) operatorName() string { return cmp.Or(operatorNames[n.op], n.op) }
