package expr

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"edict/engine/value"
)

// This file and its neighbours native_*.go run the expressions that most
// policies consist of without cel-go. Their one duty is to give what cel-go
// gives. Whatever they do not know for sure they leave to it: a shape that is
// not listed here makes compileNative answer nil, and operands that a node does
// not cover make it answer punt, whereupon the whole program runs by cel-go.
//
// A node never gives an absent value. An error may be told apart from cel-go's
// by its text, never by its presence.

// A node evaluates one node of an expression.
type node func(*Frame) value.Value

// A term is a compiled sub-expression. One that can't be compiled has no run.
type term struct {
	run node

	// constant tells that cel-go takes the term for a constant when it plans a
	// program: a literal, a list of constants, a conversion of one. Then value
	// is what run gives.
	constant bool

	// known tells that run always gives value, which is no error. All constants
	// are known; bound ones are not constant, since cel-go reads them.
	known bool
	value value.Value

	elements []term // of a list literal that is no constant
}

var (
	errPunt = errors.New("not covered")

	// punt is the answer of a node that does not know what cel-go would do.
	punt = value.OfError(errPunt)

	noOverload = value.OfError(errors.New("no such overload"))
	noValue    = value.OfError(errors.New("no such value"))
	isTrue     = value.OfBool(true)
	isFalse    = value.OfBool(false)
)

// punts tells whether v is punt.
func punts(v value.Value) bool { return v.Kind() == value.Error && v.Err() == errPunt }

// special tells whether v is an error or a value that only cel-go works with.
func special(v value.Value) bool { return v.Kind() >= value.Error }

// unsuited gives what an operation without an overload for v gives: the error
// that v is, punt for a value that only cel-go works with, or else noOverload.
func unsuited(v value.Value) value.Value {
	switch v.Kind() {
	case value.Error:
		return v
	case value.Opaque:
		return punt
	}
	return noOverload
}

// present gives v, or an error where the data has no value at all.
func present(v value.Value) value.Value {
	if v.Kind() == value.Absent {
		return noValue
	}
	return v
}

func errorf(format string, args ...any) value.Value {
	return value.OfError(fmt.Errorf(format, args...))
}

func constant(v value.Value) term {
	return term{run: func(*Frame) value.Value { return v }, constant: true, known: true, value: v}
}

// compileNative gives the expression as closures, or nil if it has a shape
// that only cel-go runs, and the number of the loop variables it needs.
//
// If constants are bound, they are read now.
func (e *Env) compileNative(a *ast.AST, bound *binding) (node, int) {
	c := &compiler{env: e, bound: bound, types: a.TypeMap(), refs: a.ReferenceMap()}
	return c.compile(a.Expr()).run, c.depth
}

// A binding is the constants that variables called names hold.
type binding struct {
	constants value.Mapping
	names     []string
}

type compiler struct {
	env   *Env
	bound *binding // nil: nothing is bound
	types map[int64]*types.Type
	refs  map[int64]*ast.ReferenceInfo
	loops []string // the loop variables in scope, from the outermost
	depth int      // the most that loops ever held
}

func (c *compiler) compile(e ast.Expr) term {
	switch e.Kind() {
	case ast.LiteralKind:
		v := fromRef(e.AsLiteral())
		if v.Kind() == value.Absent || special(v) {
			return term{}
		}
		return constant(v)
	case ast.IdentKind:
		return c.ident(e)
	case ast.SelectKind:
		return c.selection(e)
	case ast.CallKind:
		return c.call(e)
	case ast.ListKind:
		return c.list(e)
	case ast.MapKind:
		return c.mapping(e)
	case ast.ComprehensionKind:
		return c.comprehension(e)
	}
	return term{}
}

// known gives a term that always has value v.
func known(v value.Value) term {
	t := constant(v)
	t.constant = false
	return t
}

// boundTerm gives the constant that a selection reads, if it is bound.
func (c *compiler) boundTerm(s ast.SelectExpr) (term, bool) {
	if c.bound == nil || s.Operand().Kind() != ast.IdentKind || slices.Contains(c.loops, s.Operand().AsIdent()) {
		return term{}, false
	}
	r, ok := c.refs[s.Operand().ID()]
	if !ok || r.Value != nil || !slices.Contains(c.bound.names, r.Name) {
		return term{}, false
	}
	v, ok := c.bound.constants.Lookup(s.FieldName())
	switch {
	case ok && (v.Kind() == value.Absent || special(v)):
		return term{}, false
	case s.IsTestOnly():
		return known(value.OfBool(ok)), true
	}
	return known(v), ok
}

// all compiles several expressions, or none: ok tells which.
func (c *compiler) all(exprs []ast.Expr) (terms []term, ok bool) {
	terms = make([]term, len(exprs))
	for i, e := range exprs {
		if terms[i] = c.compile(e); terms[i].run == nil {
			return nil, false
		}
	}
	return terms, true
}

func (c *compiler) ident(e ast.Expr) term {
	for i, name := range slices.Backward(c.loops) {
		if name == e.AsIdent() {
			return term{run: func(f *Frame) value.Value { return f.locals[f.base+i] }}
		}
	}
	r, ok := c.refs[e.ID()]
	if !ok || r.Value != nil {
		return term{}
	}
	if r.Name == nowVariable {
		return term{run: func(f *Frame) value.Value {
			f.clock = true
			return value.OfTime(f.now)
		}}
	}
	return term{run: c.env.nodes[path{r.Name, ""}]}
}

// A path is a variable, or a field of one that is a declared struct.
type path struct{ variable, field string }

// commonNodes makes the nodes that most expressions have, so that they share
// them.
func (e *Env) commonNodes(variables []Variable) {
	e.nodes = map[path]node{}
	for _, v := range variables {
		run := variable(v)
		e.nodes[path{v.Name, ""}] = run
		if decl, ok := e.structs[v.Type.TypeName()]; ok {
			for name := range decl.Fields {
				e.nodes[path{v.Name, name}] = field(run, name)
			}
		}
	}
}

// variable reads a declared variable.
func variable(v Variable) node {
	slot, missing := v.Slot, errorf("no such attribute(s): %s", v.Name)
	return func(f *Frame) value.Value {
		v := f.slots[slot]
		if v.Kind() == value.Absent {
			return missing
		}
		return v
	}
}

// selection compiles operand.field and has(operand.field).
func (c *compiler) selection(e ast.Expr) term {
	if _, qualified := c.refs[e.ID()]; qualified {
		return term{} // the name of a type or a constant with dots in it
	}
	s := e.AsSelect()
	if t, ok := c.boundTerm(s); ok {
		return t
	}
	operand, t := c.compile(s.Operand()), c.types[s.Operand().ID()]
	if operand.run == nil || t == nil {
		return term{}
	}
	switch t.Kind() {
	case types.StructKind:
		decl, ok := c.env.structs[t.TypeName()]
		if !ok {
			return term{}
		}
		if s.IsTestOnly() {
			return term{run: hasField(operand.run, s.FieldName(), decl.Open)}
		}
		if x := s.Operand(); x.Kind() == ast.IdentKind && !slices.Contains(c.loops, x.AsIdent()) {
			if run := c.env.nodes[path{c.refs[x.ID()].Name, s.FieldName()}]; run != nil {
				return term{run: run}
			}
		}
		return term{run: field(operand.run, s.FieldName())}
	case types.MapKind, types.DynKind:
		if s.IsTestOnly() {
			return term{run: (&selector{operand.run, s.FieldName()}).has}
		}
		return term{run: (&selector{operand.run, s.FieldName()}).get}
	}
	return term{}
}

// list compiles a list literal.
func (c *compiler) list(e ast.Expr) term {
	l := e.AsList()
	if len(l.OptionalIndices()) > 0 {
		return term{}
	}
	elements, ok := c.all(l.Elements())
	if !ok {
		return term{}
	}
	constants := value.Slice{}
	for _, element := range elements {
		if !element.constant {
			return term{run: newList(elements), elements: elements}
		}
		constants = append(constants, element.value)
	}
	return constant(value.OfSequence(constants))
}

// newList makes a list when it is run.
func newList(elements []term) node {
	return func(f *Frame) value.Value {
		list := make(value.Slice, len(elements))
		for i := range elements {
			v := elements[i].run(f)
			if v.Kind() == value.Error {
				return v
			}
			list[i] = v
		}
		return value.OfSequence(list)
	}
}

// mapping compiles a map literal if it is a constant with text as keys: a table
// that is looked up in.
func (c *compiler) mapping(e ast.Expr) term {
	entries := value.Values{}
	for _, entry := range e.AsMap().Entries() {
		m := entry.AsMapEntry()
		if m.IsOptional() {
			return term{}
		}
		k, v := c.compile(m.Key()), c.compile(m.Value())
		if !k.constant || !v.constant || k.value.Kind() != value.String {
			return term{}
		}
		entries[k.value.Str()] = v.value
	}
	return constant(value.OfMapping(entries))
}

// A selector selects from what its operand gives by name. It is the error, too,
// that there is no such thing, so that making one costs nothing.
type selector struct {
	operand node
	name    string
}

type (
	noSuchKey    selector
	noSuchField  selector
	unknownField selector
)

func (s *noSuchKey) Error() string    { return "no such key: " + s.name }
func (s *noSuchField) Error() string  { return "no such field: " + s.name }
func (s *unknownField) Error() string { return "undefined field '" + s.name + "'" }

// field reads a field of a declared struct.
func field(operand node, name string) node {
	s := &selector{operand, name}
	return func(f *Frame) value.Value {
		v := s.operand(f)
		if special(v) {
			return unsuited(v)
		}
		m := v.Mapping()
		if m == nil {
			return value.OfError((*noSuchField)(s))
		}
		e, ok := m.Lookup(s.name)
		if !ok {
			return value.OfError((*unknownField)(s))
		}
		return present(e)
	}
}

// hasField tells whether a field of a declared struct is set.
func hasField(operand node, name string, open bool) node {
	return func(f *Frame) value.Value {
		v := operand(f)
		if special(v) {
			return unsuited(v)
		}
		m := v.Mapping()
		return value.OfBool(m != nil && isSet(m, name, open))
	}
}

var textIndex = value.OfError(errors.New("unsupported index type 'string' in list"))

// plainMap gives the entries of v unless it is a struct: there cel-go goes by
// the declaration.
func plainMap(v value.Value) (value.Mapping, bool) {
	m := v.Mapping()
	if _, ok := m.(StructValue); ok {
		return nil, false
	}
	return m, true
}

// get reads what a map has under the name.
func (s *selector) get(f *Frame) value.Value {
	v := s.operand(f)
	switch v.Kind() {
	case value.Map:
		m, ok := plainMap(v)
		if !ok {
			return punt
		}
		e, ok := m.Lookup(s.name)
		if !ok {
			return value.OfError((*noSuchKey)(s))
		}
		return present(e)
	case value.List:
		return textIndex
	case value.Error:
		return v
	case value.Opaque:
		return punt
	}
	return value.OfError((*noSuchKey)(s))
}

// has tells whether a map has the name as a key.
func (s *selector) has(f *Frame) value.Value {
	v := s.operand(f)
	switch v.Kind() {
	case value.Map:
		m, ok := plainMap(v)
		if !ok {
			return punt
		}
		e, ok := m.Lookup(s.name)
		if e = present(e); ok && e.Kind() == value.Error {
			return e
		}
		return value.OfBool(ok)
	case value.List:
		return textIndex
	case value.Error:
		return v
	case value.Opaque:
		return punt
	}
	return isFalse
}

// index compiles a[b].
func (c *compiler) index(args []ast.Expr) term {
	t := c.types[args[0].ID()]
	if t == nil || t.Kind() != types.MapKind && t.Kind() != types.ListKind && t.Kind() != types.DynKind {
		return term{}
	}
	operands, ok := c.all(args)
	if !ok {
		return term{}
	}
	a, b := operands[0].run, operands[1]
	if b.constant && !indexes(b.value.Kind()) {
		return term{} // cel-go can't plan it
	}
	if b.known && b.value.Kind() == value.String {
		return term{run: (&selector{a, b.value.Str()}).get}
	}
	return term{run: func(f *Frame) value.Value {
		v := a(f)
		if special(v) {
			return unsuited(v)
		}
		k := b.run(f)
		if special(k) {
			return unsuited(k)
		}
		return at(v, k)
	}}
}

// indexes tells whether values of a kind can be an index or a key.
func indexes(k value.Kind) bool {
	switch k {
	case value.String, value.Int, value.Uint, value.Double, value.Bool:
		return true
	}
	return false
}

// at gives v[k].
func at(v, k value.Value) value.Value {
	if !indexes(k.Kind()) {
		return errorf("invalid qualifier type: %v", k.Kind())
	}
	switch v.Kind() {
	case value.Map:
		m, ok := plainMap(v)
		if !ok {
			return punt
		}
		if k.Kind() == value.String {
			if e, ok := m.Lookup(k.Str()); ok {
				return present(e)
			}
		} else if _, ok := m.(refMap); ok {
			return punt // its keys may be numbers
		}
	case value.List:
		i, ok := position(k)
		switch {
		case !number(k.Kind()):
			return errorf("unsupported index type '%v' in list", k.Kind())
		case !ok:
			return errorf("unsupported index value %v in list", k)
		}
		s := v.Sequence()
		if i < 0 || i >= int64(s.Len()) {
			return errorf("index out of bounds: %v", k)
		}
		return present(s.At(int(i)))
	}
	return errorf("no such key: %v", k.Native())
}

// position gives k as the index of a list: any number without a fraction.
func position(k value.Value) (int64, bool) {
	switch k.Kind() {
	case value.Int:
		return k.Int(), true
	case value.Uint:
		return int64(k.Uint()), k.Uint() <= maxInt
	case value.Double:
		i, ok := truncated(k.Double())
		return i, ok && float64(i) == k.Double()
	}
	return 0, false
}

// comprehension compiles exists, all and exists_one with one and two loop
// variables, map and filter, which it knows by what the macros expand to.
func (c *compiler) comprehension(e ast.Expr) term {
	l := e.AsComprehension()
	over := c.compile(l.IterRange())
	if over.run == nil {
		return term{}
	}
	first := len(c.loops)
	c.loops = append(c.loops, l.IterVar())
	if l.IterVar2() != "" {
		c.loops = append(c.loops, l.IterVar2())
	}
	c.depth = max(c.depth, len(c.loops))
	defer func() { c.loops = c.loops[:first] }()
	g := members{over.run, first, l.IterVar2() != ""}
	if loop, ok := loopStep(l); ok {
		if predicate := c.compile(loop.predicate); predicate.run != nil {
			return term{run: quantify(g, predicate.run, loop.quantifier)}
		}
		return term{}
	}
	loop, ok := collectStep(l)
	if !ok || g.two {
		return term{}
	}
	var predicate term
	if loop.predicate != nil {
		if predicate = c.compile(loop.predicate); predicate.run == nil {
			return term{}
		}
	}
	element := c.compile(loop.element)
	if element.run == nil {
		return term{}
	}
	return term{run: collect(g, predicate.run, element.run)}
}

// members goes over the elements of a list or the keys of a map, which it puts
// into the loop variable at slot. With two variables the first has the index or
// the key, and the second the element or the value.
type members struct {
	over node
	slot int
	two  bool
}

// set puts a member into the loop variables.
func (g *members) set(f *Frame, key, member value.Value) {
	if g.two {
		f.locals[f.base+g.slot+1] = member
		member = key
	}
	f.locals[f.base+g.slot] = member
}

// each calls round for each member of v until it answers false. If there is a
// result already, there is nothing to go over.
func (g *members) each(f *Frame, v value.Value, round func() bool) (result value.Value) {
	switch v.Kind() {
	case value.List:
		s := v.Sequence()
		for i, n := 0, s.Len(); i < n; i++ {
			if !f.Spend(1) {
				return punt
			}
			if g.set(f, value.OfInt(int64(i)), present(s.At(i))); !round() {
				break
			}
		}
		return value.Value{}
	case value.Map:
		m, ok := plainMap(v)
		if !ok {
			return punt
		}
		if _, ok := m.(refMap); ok {
			return punt // its keys may be numbers
		}
		m.Range(func(key string, member value.Value) bool {
			if !f.Spend(1) {
				result = punt
				return false
			}
			k := value.OfString(key)
			if !g.two {
				member = k
			}
			g.set(f, k, present(member))
			return round()
		})
		return result
	}
	return unsuited(v)
}

// collect makes a list of what element gives for the members for which predicate
// holds, or for all of them if it is nil. Of several errors it gives the one
// that cel-go does: the first of an element, but the last of a predicate.
func collect(g members, predicate, element node) node {
	return func(f *Frame) value.Value {
		out := value.Slice{}
		var failure value.Value
		result := g.each(f, g.over(f), func() bool {
			if predicate != nil {
				p := predicate(f)
				if p.Kind() != value.Bool {
					failure = unsuited(p)
					return !punts(failure)
				}
				if !p.Bool() {
					return true
				}
			}
			if failure.Kind() == value.Error {
				return true
			}
			x := element(f)
			if x.Kind() == value.Error {
				failure = x
				return !punts(x)
			}
			out = append(out, x)
			return true
		})
		switch {
		case result.Kind() != value.Absent:
			return result
		case failure.Kind() == value.Error:
			return failure
		}
		return value.OfSequence(out)
	}
}

// A quantifier starts with a value and takes in that of the predicate for one
// element after the other.
type quantifier struct {
	start value.Value

	// step gives the value with one more predicate, and whether it is final.
	step func(sum, predicate value.Value) (value.Value, bool)

	// result gives the result of the last value.
	result func(sum value.Value) value.Value
}

// quantify runs a quantifier over the members of a collection.
func quantify(g members, predicate node, q quantifier) node {
	return func(f *Frame) value.Value {
		v := g.over(f)
		if v.Kind() == value.List {
			return q.overList(f, &g, v.Sequence(), predicate)
		}
		sum, done := q.start, false
		result := g.each(f, v, func() bool {
			sum, done = q.step(sum, predicate(f))
			return !done
		})
		switch {
		case result.Kind() != value.Absent:
			return result
		case done:
			return sum
		}
		return q.result(sum)
	}
}

// overList is each for what is most common, and allocates nothing.
func (q quantifier) overList(f *Frame, g *members, s value.Sequence, predicate node) value.Value {
	sum, done := q.start, false
	for i, n := 0, s.Len(); i < n; i++ {
		if !f.Spend(1) {
			return punt
		}
		g.set(f, value.OfInt(int64(i)), present(s.At(i)))
		if sum, done = q.step(sum, predicate(f)); done {
			return sum
		}
	}
	return q.result(sum)
}

func same(sum value.Value) value.Value { return sum }

// The quantifiers. An error counts only if no other element decides.
var (
	exists = quantifier{start: isFalse, step: untilBool(true), result: same}
	every  = quantifier{start: isTrue, step: untilBool(false), result: same}

	// existsOne looks at every element: the last error is the result.
	existsOne = quantifier{
		start: value.OfInt(0),
		step: func(sum, p value.Value) (value.Value, bool) {
			switch {
			case p.Kind() != value.Bool:
				p = unsuited(p)
				return p, punts(p)
			case p.Bool() && sum.Kind() == value.Int:
				return value.OfInt(sum.Int() + 1), false
			}
			return sum, false
		},
		result: func(sum value.Value) value.Value {
			if sum.Kind() == value.Error {
				return sum
			}
			return value.OfBool(sum.Int() == 1)
		},
	}
)

// untilBool stops at the first predicate that gives decides, and else keeps the
// first error.
func untilBool(decides bool) func(sum, p value.Value) (value.Value, bool) {
	return func(sum, p value.Value) (value.Value, bool) {
		if p.Kind() == value.Bool {
			if p.Bool() == decides {
				return p, true
			}
			return sum, false
		}
		if p = unsuited(p); punts(p) {
			return p, true
		}
		if sum.Kind() == value.Error {
			return sum, false
		}
		return p, false
	}
}

// A loop is a comprehension that is known: a quantifier with a predicate, or a
// list of elements, for which a predicate may have to hold.
type loop struct {
	macro      string // that the quantifier is of, as filters name it
	quantifier quantifier
	predicate  ast.Expr
	element    ast.Expr
}

// isCall gives the operands of a call of name with n of them.
func isCall(e ast.Expr, name string, n int) ([]ast.Expr, bool) {
	if e.Kind() != ast.CallKind || e.AsCall().IsMemberFunction() || e.AsCall().FunctionName() != name || len(e.AsCall().Args()) != n {
		return nil, false
	}
	return e.AsCall().Args(), true
}

func isLiteral(e ast.Expr, v any) bool { return e.Kind() == ast.LiteralKind && e.AsLiteral() == v }

func isAccu(l ast.ComprehensionExpr, e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && e.AsIdent() == l.AccuVar()
}

// loopStep tells which quantifier a comprehension is, and its predicate.
func loopStep(l ast.ComprehensionExpr) (loop, bool) {
	start, condition, step, result := l.AccuInit(), l.LoopCondition(), l.LoopStep(), l.Result()

	if strict, ok := isCall(condition, operators.NotStrictlyFalse, 1); ok && isAccu(l, result) {
		if step, ok := isCall(step, operators.LogicalAnd, 2); ok && isLiteral(start, types.True) && isAccu(l, strict[0]) && isAccu(l, step[0]) {
			return loop{macro: "all", quantifier: every, predicate: step[1]}, true
		}
		not, ok := isCall(strict[0], operators.LogicalNot, 1)
		if step, or := isCall(step, operators.LogicalOr, 2); ok && or && isLiteral(start, types.False) && isAccu(l, not[0]) && isAccu(l, step[0]) {
			return loop{macro: "exists", quantifier: exists, predicate: step[1]}, true
		}
		return loop{}, false
	}
	choice, ok := isCall(step, operators.Conditional, 3)
	if !ok || !isLiteral(start, types.IntZero) || !isLiteral(condition, types.True) || !isAccu(l, choice[2]) {
		return loop{}, false
	}
	sum, ok := isCall(choice[1], operators.Add, 2)
	if !ok || !isAccu(l, sum[0]) || !isLiteral(sum[1], types.IntOne) {
		return loop{}, false
	}
	is, ok := isCall(result, operators.Equals, 2)
	if !ok || !isAccu(l, is[0]) || !isLiteral(is[1], types.IntOne) {
		return loop{}, false
	}
	return loop{macro: "exists_one", quantifier: existsOne, predicate: choice[0]}, true
}

// collectStep tells what map or filter collects.
func collectStep(l ast.ComprehensionExpr) (loop, bool) {
	start := l.AccuInit()
	if start.Kind() != ast.ListKind || start.AsList().Size() > 0 || !isLiteral(l.LoopCondition(), types.True) || !isAccu(l, l.Result()) {
		return loop{}, false
	}
	var found loop
	step := l.LoopStep()
	if choice, ok := isCall(step, operators.Conditional, 3); ok {
		if !isAccu(l, choice[2]) {
			return loop{}, false
		}
		found.predicate, step = choice[0], choice[1]
	}
	sum, ok := isCall(step, operators.Add, 2)
	if !ok || !isAccu(l, sum[0]) || sum[1].Kind() != ast.ListKind || sum[1].AsList().Size() != 1 || len(sum[1].AsList().OptionalIndices()) > 0 {
		return loop{}, false
	}
	found.element = sum[1].AsList().Elements()[0]
	return found, true
}
