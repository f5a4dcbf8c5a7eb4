package expr

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"edict/engine/value"
)

// A residualForm is an expression taken apart, so that each part can be run by
// itself. It is made when it is first needed.
type residualForm struct {
	once    sync.Once
	root    *fragment
	failure error // why there is no root
}

// parts gives the root of the expression taken apart.
func (p *Program) parts() (*fragment, error) {
	f := &p.residual
	f.once.Do(func() {
		checked, issues := p.env.check(p.source)
		if len(issues) > 0 {
			f.failure = errors.New(issues[0].Message)
			return
		}
		t := takingApart{env: p.env, tree: fold(p.env.cel, checked).NativeRep()}
		f.root = t.fragment(t.tree.Expr())
	})
	return f.root, f.failure
}

type fragmentKind uint8

const (
	literalFragment fragmentKind = iota
	identFragment
	selectFragment
	callFragment
	listFragment
	mapFragment
	loopFragment
	foreignFragment // what no filter can have
)

// A fragment is a node of an expression.
type fragment struct {
	kind fragmentKind
	env  *Env
	tree *ast.AST
	expr ast.Expr

	// The names that are selected one after the other from a declared variable, as
	// in Paths; nil of all else. Below are the parts with a path that this one is
	// made of, of each the longest only.
	path  []string
	below []*fragment

	scope []string // the loop variables around the part, from the outermost
	free  []int    // those of them that the part reads

	op     string      // of a call
	args   []*fragment // operands; keys and values of a map by turns; of a loop its range, predicate, element
	field  string      // of a selection
	test   bool        // has()
	static kinds       // of the static type
	macro  string      // of a loop, as filters name it
	two    bool        // the loop has two variables

	whole  piece // runs the part
	joints piece // runs the part on values of its args
}

// takingApart makes the fragments of an expression.
type takingApart struct {
	env   *Env
	tree  *ast.AST
	scope []string
}

func (t *takingApart) fragment(x ast.Expr) *fragment {
	n := &fragment{env: t.env, tree: t.tree, expr: x, scope: slices.Clone(t.scope)}
	static := t.tree.GetType(x.ID())
	n.static = staticKinds(static)
	if static != nil && static.Kind() == types.OpaqueKind && static.TypeName() == optionalType {
		n.kind = foreignFragment
		t.gather(n, x)
		return n
	}
	n.path = t.path(x)
	switch x.Kind() {
	case ast.LiteralKind:
		n.kind = literalFragment
	case ast.IdentKind:
		n.kind = identFragment
		if i := lastIndex(t.scope, x.AsIdent()); i >= 0 {
			n.free = []int{i}
			t.tree.SetType(x.ID(), named(static))
		}
	case ast.SelectKind:
		s := x.AsSelect()
		n.kind, n.field, n.test = selectFragment, s.FieldName(), s.IsTestOnly()
		t.add(n, s.Operand())
	case ast.CallKind:
		n.kind, n.op = callFragment, x.AsCall().FunctionName()
		if x.AsCall().IsMemberFunction() {
			t.add(n, x.AsCall().Target())
		}
		t.add(n, x.AsCall().Args()...)
	case ast.ListKind:
		n.kind = listFragment
		if len(x.AsList().OptionalIndices()) > 0 {
			n.kind = foreignFragment
		}
		t.add(n, x.AsList().Elements()...)
	case ast.MapKind:
		n.kind = mapFragment
		for _, entry := range x.AsMap().Entries() {
			e := entry.AsMapEntry()
			if e.IsOptional() {
				n.kind = foreignFragment
			}
			t.add(n, e.Key(), e.Value())
		}
	case ast.ComprehensionKind:
		t.loop(n, x.AsComprehension())
	default:
		n.kind = foreignFragment
		t.gather(n, x)
	}
	if n.path != nil {
		n.below = []*fragment{n}
	}
	return n
}

func lastIndex(names []string, name string) int {
	for i, n := range slices.Backward(names) {
		if n == name {
			return i
		}
	}
	return -1
}

// add makes parts of operands.
func (t *takingApart) add(n *fragment, operands ...ast.Expr) {
	for _, x := range operands {
		a := t.fragment(x)
		n.args = append(n.args, a)
		n.reads(a, len(n.scope))
	}
}

// reads notes that n reads what a does, the loop variables aside that n declares.
func (n *fragment) reads(a *fragment, scope int) {
	n.below = append(n.below, a.below...)
	for _, i := range a.free {
		if i < scope && !slices.Contains(n.free, i) {
			n.free = append(n.free, i)
		}
	}
}

// gather notes what a part reads that is not taken apart.
func (t *takingApart) gather(n *fragment, x ast.Expr) {
	EachMember(x, func(m ast.Expr) {
		before := len(t.scope)
		if x.Kind() == ast.ComprehensionKind {
			c := x.AsComprehension()
			t.scope = append(t.scope, c.AccuVar(), c.IterVar(), c.IterVar2())
		}
		n.reads(t.fragment(m), before)
		t.scope = t.scope[:before]
	})
}

// loop takes a comprehension apart, if it is one of the known macros.
func (t *takingApart) loop(n *fragment, c ast.ComprehensionExpr) {
	var predicate, element ast.Expr
	n.two = c.IterVar2() != ""
	if l, ok := loopStep(c); ok {
		n.macro, predicate = l.macro, l.predicate
	} else if l, ok := collectStep(c); ok {
		predicate, element = l.predicate, l.element
		plain := element.Kind() == ast.IdentKind && element.AsIdent() == c.IterVar()
		switch {
		case predicate == nil && n.two:
			n.macro = "transformList"
		case predicate == nil:
			n.macro = "map"
		case plain && !n.two:
			n.macro, element = "filter", nil
		default:
			n.macro = "transformList"
		}
	} else if macro, filter, result, ok := insertStep(c); ok {
		n.macro, predicate, element = macro, filter, result
	} else {
		n.kind = foreignFragment
		t.gather(n, n.expr)
		return
	}
	n.kind = loopFragment
	t.add(n, c.IterRange())
	before := len(t.scope)
	t.scope = append(t.scope, c.IterVar())
	if n.two {
		t.scope = append(t.scope, c.IterVar2())
	}
	for _, x := range []ast.Expr{predicate, element} {
		if x != nil {
			a := t.fragment(x)
			n.args = append(n.args, a)
			n.reads(a, before)
		}
	}
	t.scope = t.scope[:before]
}

// insertFunction is what the macros that make maps expand to.
const insertFunction = "cel.@mapInsert"

// insertStep tells which macro that makes a map a comprehension is, its
// condition, if it has one, and what it makes of an entry.
func insertStep(c ast.ComprehensionExpr) (macro string, predicate, element ast.Expr, ok bool) {
	if c.AccuInit().Kind() != ast.MapKind || c.AccuInit().AsMap().Size() > 0 || !isAccu(c, c.Result()) || !isLiteral(c.LoopCondition(), types.True) {
		return "", nil, nil, false
	}
	step := c.LoopStep()
	if choice, ok := isCall(step, operators.Conditional, 3); ok && isAccu(c, choice[2]) {
		predicate, step = choice[0], choice[1]
	}
	if args, ok := isCall(step, insertFunction, 3); ok && isAccu(c, args[0]) {
		return "transformMap", predicate, args[2], true
	}
	if args, ok := isCall(step, insertFunction, 2); ok && isAccu(c, args[0]) {
		return "transformMapEntry", predicate, args[1], true
	}
	return "", nil, nil, false
}

// path gives the names of a chain of selections from a declared variable, or
// nil. It goes through x["name"] as through x.name, but not through optional
// selections.
func (t *takingApart) path(x ast.Expr) []string {
	switch x.Kind() {
	case ast.IdentKind:
		name := strings.TrimPrefix(x.AsIdent(), ".")
		_, declared := t.env.slots[name]
		if r := t.tree.ReferenceMap()[x.ID()]; !declared || r != nil && r.Value != nil || lastIndex(t.scope, x.AsIdent()) >= 0 {
			return nil
		}
		return []string{name}
	case ast.SelectKind, ast.CallKind:
		if x.Kind() == ast.CallKind && x.AsCall().FunctionName() != operators.Index {
			return nil
		}
		operand, name, ok := selected(x)
		if !ok {
			return nil
		}
		if path := t.path(operand); path != nil {
			return append(slices.Clip(path), name)
		}
	}
	return nil
}

// A piece runs a part of an expression, given values for the loop variables
// around it.
type piece struct {
	once   sync.Once
	env    *Env
	tree   *ast.AST
	names  []string
	native node
	loops  int

	planning sync.Once
	celgo    cel.Program
	failure  error // why there is no celgo
}

// prepare makes the piece run x.
func (p *piece) prepare(env *Env, tree *ast.AST, names []string) {
	p.env, p.tree, p.names = env, tree, names
	c := &compiler{env: env, types: tree.TypeMap(), refs: tree.ReferenceMap(), loops: slices.Clone(names), depth: len(names)}
	p.native = c.compile(tree.Expr()).run
	p.loops = c.depth
}

// run runs the piece with values for its names.
func (p *piece) run(f *Frame, values []value.Value) value.Value {
	if f.Spent() {
		return tooManySteps
	}
	if p.native != nil {
		if v := p.native.on(f, p.loops, values); !punts(v) && !f.Spent() {
			return v
		}
	}
	if f.Spent() {
		return tooManySteps
	}
	p.planning.Do(func() { p.celgo, p.failure = p.env.optimized(p.tree) })
	if p.failure != nil {
		return value.OfError(p.failure)
	}
	out, _, err := p.celgo.Eval(&namedFrame{f, p.names, values})
	switch {
	case f.Spent():
		return tooManySteps
	case err != nil:
		return value.OfError(err)
	}
	return fromRef(out)
}

// A namedFrame is a Frame with values for some names more.
type namedFrame struct {
	*Frame
	names  []string
	values []value.Value
}

// ResolveName implements cel.Activation.
func (f *namedFrame) ResolveName(name string) (any, bool) {
	if i := lastIndex(f.names, name); i >= 0 && f.values[i].Kind() != value.Absent {
		return f.env.structs.toRef(f.values[i]), true
	}
	return f.Frame.ResolveName(name)
}

// value runs the part as a whole. All that it reads has to be known.
func (n *fragment) value(f *Frame, locals []value.Value) value.Value {
	n.whole.once.Do(func() {
		tree := ast.NewCheckedAST(ast.NewAST(n.expr, n.tree.SourceInfo()), n.tree.TypeMap(), n.tree.ReferenceMap())
		n.whole.prepare(n.env, tree, n.scope)
	})
	return n.whole.run(f, locals)
}

// apply runs the part on values of its operands.
func (n *fragment) apply(f *Frame, locals, operands []value.Value) value.Value {
	n.joints.once.Do(func() {
		tree, names := n.jointed()
		n.joints.prepare(n.env, tree, append(slices.Clip(n.scope), names...))
	})
	return n.joints.run(f, append(slices.Clip(locals), operands...))
}

// named gives the type by which a name is declared that stands for a value of a
// type: cel-go takes one that is declared as a type for the name of a type.
func named(t *types.Type) *types.Type {
	if t == nil || t.Kind() == types.TypeKind {
		return types.DynType
	}
	return t
}

// jointed gives the part with a name in place of each operand.
func (n *fragment) jointed() (*ast.AST, []string) {
	factory := ast.NewExprFactory()
	refs, static := maps.Clone(n.tree.ReferenceMap()), maps.Clone(n.tree.TypeMap())
	var names []string
	joint := func(x ast.Expr) ast.Expr {
		name := "@" + string(rune('a'+len(names)%26)) + strings.Repeat("'", len(names)/26) // no source text can spell it
		names = append(names, name)
		refs[x.ID()] = ast.NewIdentReference(name, nil)
		static[x.ID()] = named(static[x.ID()])
		return factory.NewIdent(x.ID(), name)
	}
	joints := func(list []ast.Expr) []ast.Expr {
		out := make([]ast.Expr, len(list))
		for i, x := range list {
			out[i] = joint(x)
		}
		return out
	}
	x := n.expr
	switch n.kind {
	case selectFragment:
		s := x.AsSelect()
		if s.IsTestOnly() {
			x = factory.NewPresenceTest(x.ID(), joint(s.Operand()), s.FieldName())
		} else {
			x = factory.NewSelect(x.ID(), joint(s.Operand()), s.FieldName())
		}
	case callFragment:
		c := x.AsCall()
		if c.IsMemberFunction() {
			target := joint(c.Target())
			x = factory.NewMemberCall(x.ID(), c.FunctionName(), target, joints(c.Args())...)
		} else {
			x = factory.NewCall(x.ID(), c.FunctionName(), joints(c.Args())...)
		}
	case listFragment:
		x = factory.NewList(x.ID(), joints(x.AsList().Elements()), nil)
	case mapFragment:
		var entries []ast.EntryExpr
		for _, entry := range x.AsMap().Entries() {
			e := entry.AsMapEntry()
			key := joint(e.Key())
			entries = append(entries, factory.NewMapEntry(entry.ID(), key, joint(e.Value()), false))
		}
		x = factory.NewMap(x.ID(), entries)
	}
	return ast.NewCheckedAST(ast.NewAST(x, n.tree.SourceInfo()), static, refs), names
}
