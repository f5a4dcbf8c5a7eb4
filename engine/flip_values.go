package engine

import (
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/parser"

	"edict/engine/expr"
	"edict/engine/schema"
	"edict/engine/value"
)

// A gatherer reads conditions for values that attributes could have instead. It
// need not be right about what a condition means: all it gives is tried.
type gatherer struct {
	st   *state
	list []candidate

	targets map[string]*target
	offered map[string]bool
	visited map[visitedText]bool
	asts    map[string]*parsedText

	roles     map[string]bool
	roleOrder []string
	depth     int // of variables that are read by variables
	evaluated int // parts of conditions
}

type visitedText struct {
	source string
	module *module
}

type parsedText struct {
	tree *ast.AST // nil: it does not compile
}

// A target is an attribute that conditions read.
type target struct {
	party  Party
	path   []string
	order  int
	actual value.Value // absent: it is not there
	offers int
}

// A use is how a condition reads a target: through functions, as a member of the
// list that the target is, as a field of that member.
type use struct {
	*target
	roles    bool // the roles of the principal, and no target
	wrappers []string
	element  bool
	fields   []string
}

// The bounds of what is offered.
const (
	maxOffers  = 48 // for one target
	maxMembers = 12 // of a list
	maxNesting = 20 // of variables

	// maxEvaluated is how many parts of conditions are compiled and run on their
	// own, to see what attributes are compared with.
	maxEvaluated = 1000
)

// Surroundings are what an expression stands in.
type surroundings struct {
	module *module
	info   *ast.SourceInfo
	bound  map[string]binding
}

// A binding is what a variable of a loop, or of cel.bind, stands for.
type binding struct {
	alias   ast.Expr      // of cel.bind
	within  *surroundings // of alias
	list    use           // that is gone through; its target is nil if it is none
	members []value.Value // of the list
}

func (c *surroundings) with(name string, b binding) *surroundings {
	inner := *c
	inner.bound = make(map[string]binding, len(c.bound)+1)
	for k, v := range c.bound {
		inner.bound[k] = v
	}
	inner.bound[name] = b
	return &inner
}

// text reads an expression of a module.
func (g *gatherer) text(source string, m *module, truth bool) {
	k := visitedText{source, m}
	if g.visited[k] {
		return
	}
	g.visited[k] = true
	if tree := g.parse(source); tree != nil {
		g.walk(tree.Expr(), &surroundings{module: m, info: tree.SourceInfo()}, truth)
	}
}

func (g *gatherer) parse(source string) *ast.AST {
	p := g.asts[source]
	if p == nil {
		tree, _ := g.st.set.env.Check(source)
		p = &parsedText{tree}
		g.asts[source] = p
	}
	return p.tree
}

// variable gives the definition of V.x, if x is one.
func (g *gatherer) variable(x ast.Expr, c *surroundings) (*ast.AST, string) {
	if x.Kind() != ast.SelectKind || c.module == nil || x.AsSelect().Operand().Kind() != ast.IdentKind {
		return nil, ""
	}
	if name := x.AsSelect().Operand().AsIdent(); name != "V" && name != "variables" {
		return nil, ""
	}
	i, ok := c.module.variables[x.AsSelect().FieldName()]
	if !ok {
		return nil, ""
	}
	source := c.module.programs[i].Source()
	return g.parse(source), source
}

// walk reads x and what it is made of. Truth tells that x is a truth value.
func (g *gatherer) walk(x ast.Expr, c *surroundings, truth bool) {
	if u, ok := g.use(x, c); ok && u.target != nil && !u.element {
		g.offerOthers(u.target, truth)
	}
	if tree, source := g.variable(x, c); tree != nil {
		g.text(source, c.module, truth)
		return
	}
	switch x.Kind() {
	case ast.SelectKind:
		g.walk(x.AsSelect().Operand(), c, false)
	case ast.ListKind:
		for _, member := range x.AsList().Elements() {
			g.walk(member, c, false)
		}
	case ast.CallKind:
		call := x.AsCall()
		var operands []ast.Expr
		if call.IsMemberFunction() {
			operands = append(operands, call.Target())
		}
		operands = append(operands, call.Args()...)
		f := call.FunctionName()
		g.relateAll(f, operands, c)
		for i, o := range operands {
			g.walk(o, c, f == operators.LogicalAnd || f == operators.LogicalOr || f == operators.LogicalNot || f == operators.Conditional && (i == 0 || truth))
		}
	case ast.ComprehensionKind:
		loop := x.AsComprehension()
		over := loop.IterRange()
		g.walk(over, c, false)
		inner := c
		if over.Kind() == ast.ListKind && over.AsList().Size() == 0 { // cel.bind
			g.walk(loop.AccuInit(), c, false)
			g.walk(loop.Result(), c.with(loop.AccuVar(), binding{alias: loop.AccuInit(), within: c}), truth)
			return
		}
		b := binding{members: g.members(g.values(over, c))}
		if u, ok := g.use(over, c); ok && !u.element && len(u.wrappers) == 0 {
			b.list = u
		}
		inner = inner.with(loop.IterVar(), b)
		if loop.HasIterVar2() {
			inner = inner.with(loop.IterVar2(), b)
		}
		g.walk(loop.LoopStep(), inner, true)
		g.walk(loop.Result(), inner, truth)
	}
}

// members gives the members of lists, and the keys of maps.
func (g *gatherer) members(values []value.Value) (out []value.Value) {
	for _, v := range values {
		if s := v.Sequence(); s != nil {
			for i := range min(s.Len(), maxMembers) {
				out = append(out, s.At(i))
			}
		}
		if m := v.Mapping(); m != nil {
			var keys []string
			m.Range(func(key string, _ value.Value) bool {
				keys = append(keys, key)
				return true
			})
			slices.Sort(keys) // not every map has an order
			for _, key := range keys[:min(len(keys), maxMembers)] {
				out = append(out, value.OfString(key))
			}
		}
	}
	return out
}

// transparent are the functions of one value whose result is enough like the
// value that what the result is compared with says something about the value.
var transparent = map[string]bool{
	"int": true, "uint": true, "double": true, "string": true, "dyn": true, "timestamp": true, "duration": true,
	"size": true, "lowerAscii": true, "upperAscii": true, "trim": true, "ip": true, "cidr": true, "id": true,
	"optional.of": true, "optional.ofNonZeroValue": true, "value": true, "orValue": true, "toSet": true, "distinct": true,
}

// use tells what x reads: an attribute, or the roles of the principal.
func (g *gatherer) use(x ast.Expr, c *surroundings) (use, bool) {
	if g.depth > maxNesting {
		return use{}, false
	}
	if tree, _ := g.variable(x, c); tree != nil {
		g.depth++
		defer func() { g.depth-- }()
		return g.use(tree.Expr(), &surroundings{module: c.module, info: tree.SourceInfo()})
	}
	switch x.Kind() {
	case ast.IdentKind:
		b, ok := c.bound[x.AsIdent()]
		switch {
		case !ok:
		case b.alias != nil:
			g.depth++
			defer func() { g.depth-- }()
			return g.use(b.alias, b.within)
		case b.list.target != nil:
			u := b.list
			u.element = true
			return u, true
		}
	case ast.SelectKind:
		if party, path, ok := g.attribute(x, c); ok {
			return use{target: g.target(party, path)}, true
		}
		operand, field := x.AsSelect().Operand(), x.AsSelect().FieldName()
		if of, ok := g.part(operand); ok && of == PartyPrincipal && field == "roles" {
			return use{roles: true}, true
		}
		if u, ok := g.use(operand, c); ok && u.element {
			u.fields = append(slices.Clone(u.fields), field)
			return u, true
		}
	case ast.CallKind:
		call := x.AsCall()
		if party, path, ok := g.attribute(x, c); ok {
			return use{target: g.target(party, path)}, true
		}
		if !transparent[call.FunctionName()] {
			break
		}
		inner := call.Target()
		if !call.IsMemberFunction() {
			if len(call.Args()) == 0 {
				break
			}
			inner = call.Args()[0]
		}
		if u, ok := g.use(inner, c); ok {
			u.wrappers = append(slices.Clone(u.wrappers), call.FunctionName())
			return u, true
		}
	}
	return use{}, false
}

// part tells whether x is the principal or the resource.
func (g *gatherer) part(x ast.Expr) (Party, bool) {
	switch x.Kind() {
	case ast.IdentKind:
		switch x.AsIdent() {
		case "P":
			return PartyPrincipal, true
		case "R":
			return PartyResource, true
		}
	case ast.SelectKind:
		if o := x.AsSelect().Operand(); o.Kind() == ast.IdentKind && o.AsIdent() == "request" {
			switch x.AsSelect().FieldName() {
			case "principal":
				return PartyPrincipal, true
			case "resource":
				return PartyResource, true
			}
		}
	}
	return 0, false
}

// attribute tells which attribute x is, if it is one.
func (g *gatherer) attribute(x ast.Expr, c *surroundings) (Party, []string, bool) {
	var operand ast.Expr
	var key value.Value
	switch x.Kind() {
	case ast.SelectKind:
		operand, key = x.AsSelect().Operand(), value.OfString(x.AsSelect().FieldName())
	case ast.CallKind:
		call := x.AsCall()
		switch call.FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
		default:
			return 0, nil, false
		}
		operand = call.Args()[0]
		if keys := g.values(call.Args()[1], c); len(keys) > 0 {
			key = keys[0]
		}
	}
	if operand == nil || key.Kind() != value.String {
		return 0, nil, false
	}
	if operand.Kind() == ast.SelectKind && operand.AsSelect().FieldName() == "attr" {
		if party, ok := g.part(operand.AsSelect().Operand()); ok {
			return party, []string{key.Str()}, true
		}
	}
	party, path, ok := g.attribute(operand, c)
	return party, append(slices.Clip(path), key.Str()), ok
}

// target gives the target of a path.
func (g *gatherer) target(party Party, path []string) *target {
	k := targetKey(party, path)
	if t := g.targets[k]; t != nil {
		return t
	}
	t := &target{party: party, order: len(g.targets)}
	for _, p := range path {
		t.path = append(t.path, strings.Clone(p))
	}
	m := g.st.req.Resource.Attr
	if party == PartyPrincipal {
		m = g.st.req.Principal.Attr
	}
	for i, name := range path {
		if m == nil {
			break
		}
		v, ok := m.Lookup(name)
		if !ok {
			break
		}
		if i == len(path)-1 {
			t.actual = g.st.detached(v)
		}
		m = v.Mapping()
	}
	g.targets[k] = t
	return t
}

func targetKey(party Party, path []string) string { return fmt.Sprintf("%s %q", party, path) }

// values gives what x comes to for the request as it is: one value, or one for
// each member of the list that a loop goes over.
func (g *gatherer) values(x ast.Expr, c *surroundings) []value.Value {
	switch x.Kind() {
	case ast.IdentKind:
		if b, ok := c.bound[x.AsIdent()]; ok {
			if b.alias != nil {
				return g.values(b.alias, b.within)
			}
			return b.members
		}
	case ast.SelectKind:
		if !bindsNothing(x, c) {
			var out []value.Value
			for _, v := range g.values(x.AsSelect().Operand(), c) {
				if m := v.Mapping(); m != nil {
					if field, ok := m.Lookup(x.AsSelect().FieldName()); ok {
						out = append(out, field)
					}
				}
			}
			return out
		}
	}
	if !bindsNothing(x, c) {
		return nil
	}
	if g.evaluated++; g.evaluated > maxEvaluated {
		return nil
	}
	source, err := parser.Unparse(x, c.info)
	if err != nil {
		return nil
	}
	program, issues := g.st.set.env.Compile(respelt(source))
	if len(issues) > 0 {
		return nil
	}
	back := g.st.enter(c.module)
	v := program.Eval(g.st.frame)
	g.st.enter(back)
	if v.Kind() == value.Error || v.Kind() == value.Absent {
		return nil
	}
	if inner, ok := expr.Optional(v); ok && v.Kind() == value.Opaque {
		v = inner
	}
	return []value.Value{v}
}

// respelt gives back their spelling to now() and timeSince(), which expand to
// names that no source text can spell.
func respelt(source string) string {
	if strings.Contains(source, "@timeSince") {
		source = strings.ReplaceAll(strings.ReplaceAll(source, ", @now)", ")"), "@timeSince", "timeSince")
	}
	return strings.ReplaceAll(source, "@now", "now()")
}

// bindsNothing tells whether x reads no variable of a loop around it.
func bindsNothing(x ast.Expr, c *surroundings) bool {
	free := true
	ast.PreOrderVisit(x, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			if _, bound := c.bound[e.AsIdent()]; bound {
				free = false
			}
		}
	}))
	return free
}

// relateAll relates each operand of a function or operator that reads an
// attribute to what the others come to.
func (g *gatherer) relateAll(f string, operands []ast.Expr, c *surroundings) {
	if f == operators.LogicalAnd || f == operators.LogicalOr || len(operands) < 2 {
		return
	}
	for i, o := range operands {
		u, direct := g.use(o, c)
		if !direct && !isComparison(f) {
			continue
		}
		for j, other := range operands {
			if i == j {
				continue
			}
			values := g.values(other, c)
			if len(values) == 0 && other.Kind() == ast.CallKind { // cidr("10.0.0.0/8") has no form in JSON; its text has
				for _, arg := range other.AsCall().Args() {
					values = append(values, g.values(arg, c)...)
				}
			}
			switch {
			case direct:
				for _, v := range values {
					g.relate(u, v, f == operators.In && i == 1)
				}
			case len(values) > 0:
				g.shift(o, values[0], c)
			}
		}
	}
}

func isComparison(f string) bool {
	switch f {
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return true
	}
	return false
}

// relate offers for a target what v suggests: v itself and what lies beside it.
// As a container the target should hold v.
func (g *gatherer) relate(u use, v value.Value, container bool) {
	plain := g.st.detached(v)
	if k := plain.Kind(); k == value.Error || k == value.Absent || k == value.Opaque {
		if cidr, err := netip.ParsePrefix(plain.String()); k == value.Opaque && err == nil {
			g.relate(u, value.OfString(cidr.String()), container)
		}
		return
	}
	switch {
	case u.roles:
		g.note(plain.Str())
		for _, member := range g.members([]value.Value{plain}) {
			g.note(member.Str())
		}
		return
	case u.target == nil:
		return
	case u.element:
		member := plain
		for _, field := range slices.Backward(u.fields) {
			member = value.OfMapping(value.Values{field: member})
		}
		g.offerMember(u.target, member)
		return
	case slices.Contains(u.wrappers, "size"):
		g.offerSizes(u.target, plain)
		return
	}
	t := u.target
	if t.actual.Kind() == value.List || container {
		if plain.Kind() != value.List {
			g.offerMember(t, plain)
			return
		}
	}
	if plain.Kind() == value.List || plain.Kind() == value.Map {
		for _, member := range g.members([]value.Value{plain}) {
			if t.actual.Kind() == value.List {
				g.offerMember(t, member)
			} else {
				g.offerAround(t, member)
			}
		}
		g.offer(t, plain, false)
		return
	}
	g.offerAround(t, plain)
}

// offerAround offers a scalar and its neighbours.
func (g *gatherer) offerAround(t *target, v value.Value) {
	prefix, err := netip.ParsePrefix(v.Str())
	isPrefix := err == nil && v.Kind() == value.String
	if !isPrefix {
		g.offer(t, asJSON(v), false)
	}
	switch v.Kind() {
	case value.Int, value.Uint, value.Double:
		n := asJSON(v).Double()
		g.offer(t, value.OfDouble(n-1), false)
		g.offer(t, value.OfDouble(n+1), false)
	case value.Bool:
		g.offer(t, value.OfBool(!v.Bool()), false)
	case value.Timestamp:
		for _, d := range []time.Duration{-time.Second, time.Second} {
			g.offer(t, value.OfString(v.Time().Add(d).UTC().Format(time.RFC3339Nano)), false)
		}
	case value.Duration:
		for _, d := range []time.Duration{-time.Second, time.Second} {
			g.offer(t, value.OfString((v.Duration() + d).String()), false)
		}
	case value.String:
		if isPrefix {
			g.offerAddresses(t, prefix)
			g.offer(t, v, true)
		}
		if at, err := time.Parse(time.RFC3339Nano, v.Str()); err == nil {
			for _, d := range []time.Duration{-time.Second, time.Second} {
				g.offer(t, value.OfString(at.Add(d).Format(time.RFC3339Nano)), false)
			}
		}
	}
}

// offerAddresses offers an address within a network and one without.
func (g *gatherer) offerAddresses(t *target, network netip.Prefix) {
	inside := network.Masked().Addr()
	if next := inside.Next(); next.IsValid() && network.Contains(next) {
		inside = next
	}
	g.offer(t, value.OfString(inside.String()), false)
	for _, outside := range []string{"203.0.113.1", "2001:db8::1"} { // for documentation: RFC 5737, RFC 3849
		if !network.Contains(netip.MustParseAddr(outside)) {
			g.offer(t, value.OfString(outside), true)
		}
	}
}

// asJSON gives a scalar as attributes have it: every number a double, instants
// and durations texts.
func asJSON(v value.Value) value.Value {
	switch v.Kind() {
	case value.Int:
		return value.OfDouble(float64(v.Int()))
	case value.Uint:
		return value.OfDouble(float64(v.Uint()))
	case value.Timestamp:
		return value.OfString(v.Time().UTC().Format(time.RFC3339Nano))
	case value.Duration:
		return value.OfString(v.Duration().String())
	case value.Bytes:
		return value.OfString(v.Str())
	}
	return v
}

// offerMember offers a list with a member more, or without that member.
func (g *gatherer) offerMember(t *target, v value.Value) {
	v = asJSON(v)
	var without, with value.Slice
	if s := t.actual.Sequence(); s != nil {
		for i := range s.Len() {
			with = append(with, s.At(i))
			if !sameValue(s.At(i), v) {
				without = append(without, s.At(i))
			}
		}
		if len(without) < len(with) {
			g.offer(t, value.OfSequence(without), false)
			return
		}
	} else if t.actual.Kind() == value.Map && v.Kind() == value.String {
		m := value.Values{v.Str(): value.OfBool(true)}
		t.actual.Mapping().Range(func(key string, member value.Value) bool {
			m[key] = member
			return true
		})
		g.offer(t, value.OfMapping(m), false)
		return
	}
	g.offer(t, value.OfSequence(append(with, v)), false)
}

// offerSizes offers lists and texts of about n members.
func (g *gatherer) offerSizes(t *target, n value.Value) {
	const most = 64
	size := asJSON(n).Double()
	if n.Kind() != value.Int && n.Kind() != value.Uint && n.Kind() != value.Double || size > most {
		return
	}
	for _, size := range []int{int(size), int(size) - 1, int(size) + 1} {
		switch {
		case size < 0:
		case t.actual.Kind() == value.String:
			r := []rune(t.actual.Str())
			for len(r) < size {
				r = append(r, 'x')
			}
			g.offer(t, value.OfString(string(r[:size])), true)
		default:
			var list value.Slice
			for i := range size {
				if s := t.actual.Sequence(); s != nil && i < s.Len() {
					list = append(list, s.At(i))
				} else {
					list = append(list, value.OfString(fmt.Sprintf("other-%d", i+1)))
				}
			}
			g.offer(t, value.OfSequence(list), true)
		}
	}
}

// shift offers, for the numbers and instants that x is computed from, what
// would bring x to v if they were added or multiplied.
func (g *gatherer) shift(x ast.Expr, v value.Value, c *surroundings) {
	values := g.values(x, c)
	if len(values) == 0 {
		return
	}
	is, should := values[0], v
	var inside []use
	seen := map[*target]bool{}
	ast.PreOrderVisit(x, ast.NewExprVisitor(func(e ast.Expr) {
		if u, ok := g.use(e, c); ok && u.target != nil && !u.element && !seen[u.target] {
			seen[u.target] = true
			inside = append(inside, u)
		}
	}))
	for _, u := range inside {
		if is.Kind() == value.Duration && should.Kind() == value.Duration || is.Kind() == value.Timestamp && should.Kind() == value.Timestamp {
			by := should.Duration() - is.Duration()
			if is.Kind() == value.Timestamp {
				by = should.Time().Sub(is.Time())
			}
			at, err := time.Parse(time.RFC3339Nano, u.actual.Str())
			if err != nil {
				at = g.st.frame.Now() // of nothing better is known
			}
			for _, d := range []time.Duration{by, -by} {
				for _, near := range []time.Duration{0, -time.Second, time.Second} {
					g.offer(u.target, value.OfString(at.Add(d+near).UTC().Format(time.RFC3339Nano)), false)
				}
			}
			continue
		}
		if !isNumber(is) || !isNumber(should) || !isNumber(u.actual) {
			continue
		}
		from, to, n := asJSON(is).Double(), asJSON(should).Double(), asJSON(u.actual).Double()
		shifted := []float64{n + to - from, n - to + from}
		if from != 0 {
			shifted = append(shifted, math.Floor(n*to/from))
		}
		for _, s := range shifted {
			g.offerAround(u.target, value.OfDouble(s))
		}
	}
}

func isNumber(v value.Value) bool {
	return v.Kind() == value.Int || v.Kind() == value.Uint || v.Kind() == value.Double
}

// offerOthers offers what no rule need speak of: nothing at all, and a value
// that is merely different.
func (g *gatherer) offerOthers(t *target, truth bool) {
	switch t.actual.Kind() {
	case value.Absent:
		g.offer(t, value.OfBool(true), !truth)
		g.offer(t, value.OfBool(false), !truth)
		g.offer(t, value.OfString("other"), true)
		return
	case value.Bool:
		g.offer(t, value.OfBool(!t.actual.Bool()), false)
	case value.List:
		s := t.actual.Sequence()
		for i := range min(s.Len(), maxMembers) {
			g.offerMember(t, s.At(i))
		}
		g.offer(t, value.OfSequence(value.Slice{}), true)
	case value.Int, value.Uint, value.Double:
		n := asJSON(t.actual).Double()
		g.offer(t, value.OfDouble(n+1), true)
		g.offer(t, value.OfDouble(n-1), true)
	case value.String:
		other := "other"
		if t.actual.Str() == other {
			other = "another"
		}
		g.offer(t, value.OfString(other), true)
	}
	g.offer(t, value.Value{}, true)
}

// offer adds a candidate. An absent value removes the attribute. Other tells
// that no rule speaks of the value.
func (g *gatherer) offer(t *target, v value.Value, other bool) {
	if d := v.Double(); math.IsNaN(d) || math.IsInf(d, 0) || sameValue(v, t.actual) || t.offers >= maxOffers {
		return
	}
	key := targetKey(t.party, t.path)
	k := key + v.Kind().String() + v.String()
	if g.offered[k] {
		return
	}
	g.offered[k] = true
	t.offers++
	c := candidate{target: key, order: t.order, cost: distance(t.actual, v), change: Change{Kind: SetAttribute, Of: t.party, Path: t.path, Old: t.actual, New: v}}
	switch {
	case v.Kind() == value.Absent:
		c.change.Kind, c.rank = RemoveAttribute, removeFromResource
	case t.actual.Kind() == value.Absent:
		c.rank = addToResource
	}
	if other && v.Kind() != value.Absent {
		c.rank++
	}
	if t.party == PartyPrincipal {
		c.rank += setPrincipal
	}
	g.list = append(g.list, c)
}

// distance says how far two values are apart: numbers by their difference, lists
// by the members that only one has, all else not at all.
func distance(a, b value.Value) float64 {
	if isNumber(a) && isNumber(b) {
		return math.Abs(asJSON(a).Double() - asJSON(b).Double())
	}
	s, t := a.Sequence(), b.Sequence()
	if s == nil || t == nil {
		return 0
	}
	has := func(l value.Sequence, v value.Value) bool {
		for i := range l.Len() {
			if sameValue(l.At(i), v) {
				return true
			}
		}
		return false
	}
	n := 0
	for i := range s.Len() {
		if !has(t, s.At(i)) {
			n++
		}
	}
	for i := range t.Len() {
		if !has(s, t.At(i)) {
			n++
		}
	}
	return float64(n)
}

// sameValue compares values of the JSON model by what they would be written as.
func sameValue(a, b value.Value) bool {
	a, b = asJSON(a), asJSON(b)
	return a.Kind() == b.Kind() && a.String() == b.String()
}

// schemas offers the values that the schemas list, and what could mend
// attributes that break them.
func (g *gatherer) schemas() {
	if len(g.st.steps) == 0 {
		return
	}
	unit := g.st.steps[len(g.st.steps)-1].unit
	if unit == nil {
		return
	}
	parties := [...]Party{PartyPrincipal, PartyResource} // in the order of unit.schemas
	for i, check := range unit.schemas {
		if check == nil {
			continue
		}
		for _, e := range g.st.decision.ValidationErrors {
			if e.Source == SourcePrincipal+ValidationSource(i) {
				g.mend(parties[i], check.schema, pointer(e.Path))
			}
		}
		known := make([]*target, len(g.targets))
		for _, t := range g.targets {
			known[t.order] = t
		}
		for _, t := range known {
			if shape, ok := check.schema.Lookup(t.path...); ok && t.party == parties[i] {
				for _, v := range shape.Enum[:min(len(shape.Enum), maxMembers)] {
					g.offer(t, v, false)
				}
			}
		}
	}
}

// mend offers other values for what breaks a schema at a path, and values for
// what may be missing there.
func (g *gatherer) mend(party Party, s *schema.Schema, path []string) {
	if len(path) > 0 {
		t := g.target(party, path)
		if shape, ok := s.Lookup(path...); ok {
			g.fill(t, shape)
		}
		g.offer(t, value.Value{}, true)
	}
	if shape, ok := s.Lookup(path...); ok {
		for _, name := range shape.Properties {
			t := g.target(party, append(slices.Clone(path), name))
			if property, ok := shape.Property(name); ok && t.actual.Kind() == value.Absent {
				g.fill(t, property)
			}
		}
	}
}

// fill offers a value for each type that a shape has.
func (g *gatherer) fill(t *target, shape schema.Shape) {
	for _, v := range shape.Enum[:min(len(shape.Enum), maxMembers)] {
		g.offer(t, v, false)
	}
	for _, sample := range []struct {
		types schema.Types
		value value.Value
	}{
		{schema.String, value.OfString("other")},
		{schema.Integer | schema.Number, value.OfDouble(1)},
		{schema.Boolean, value.OfBool(true)},
		{schema.Array, value.OfSequence(value.Slice{})},
		{schema.Object, value.OfMapping(value.Values{})},
	} {
		if shape.Types&sample.types != 0 {
			g.offer(t, sample.value, true)
		}
	}
}

// pointer reads a JSON pointer as ValidationError gives it.
func pointer(path string) (out []string) {
	for name := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		if name != "" {
			out = append(out, strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
		}
	}
	return out
}
