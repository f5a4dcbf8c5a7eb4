package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// checkConditions looks at the expressions of a policy.
func (l *linter) checkConditions(p *policy.Policy) {
	a := &analysis{linter: l, context: l.contextOf(p)}
	for _, c := range conditionsIn(p) {
		a.checkCondition(p, c)
	}
	for _, t := range outputsIn(p) {
		a.checkExpression(p, t)
	}
	variables, _ := p.Names()
	for _, v := range variables.Local {
		a.checkExpression(p, v.Expr)
	}
	if p.ExportVariables != nil {
		for _, v := range p.ExportVariables.Definitions {
			a.checkExpression(p, v.Expr)
		}
	}
}

// checkCondition looks at a condition and its members, and tells whether it
// warned. Of what a member is blamed for, the group is not blamed again.
func (a *analysis) checkCondition(p *policy.Policy, c *policy.Condition) bool {
	if c.Op == policy.Expr {
		return a.checkExpression(p, c.Expr) || a.checkLeaf(p, c.Expr)
	}
	warned := false
	for _, m := range c.Of {
		warned = a.checkCondition(p, m) || warned
	}
	if warned {
		return true
	}
	mend := ""
	switch c.Op {
	case policy.All:
		mend = "is any meant?"
	case policy.Any:
		mend = "is all meant?"
	}
	return a.judge(p, nil, c.Pos, "the condition", mend, a.condition(c))
}

// mendFor gives what is most likely wrong with an expression that has only one
// outcome.
func mendFor(x ast.Expr) string {
	if _, ok := call(x, operators.LogicalAnd); ok {
		return "is || meant?"
	}
	if _, ok := call(x, operators.LogicalOr); ok {
		return "is && meant?"
	}
	if args, ok := call(x, operators.Equals); ok && text(args[0]) == text(args[1]) {
		return fmt.Sprintf("to ask whether it is there, write has(%s)", text(args[0]))
	}
	return ""
}

// checkLeaf looks at what an expression of a condition amounts to.
func (a *analysis) checkLeaf(p *policy.Policy, t diag.Text) bool {
	tree := a.syntax.parse(t.Value)
	if tree.root == nil {
		return false
	}
	x := a.expand(tree.root)
	lines := []int{t.Pos.Line}
	pos := tree.at(t, tree.root)
	if k := a.kinds(x); k != 0 && k&(kindBool|kindOther) == 0 {
		a.warnIn(p, lines, pos, NotACondition, fmt.Sprintf("the expression gives %s, which never counts as met", k), "compare it with something")
		return true
	}
	if a.judge(p, lines, pos, "the condition", mendFor(tree.root), a.outcomes(x)) {
		return true
	}
	return a.checkParts(p, tree, t, tree.root)
}

// checkParts looks for members of && and || that do not matter. A constant or
// a variable by itself may be a switch that somebody turns.
func (a *analysis) checkParts(p *policy.Policy, tree parsed, t diag.Text, x ast.Expr) bool {
	warned := false
	for _, operator := range []string{operators.LogicalAnd, operators.LogicalOr} {
		if _, ok := call(x, operator); !ok {
			continue
		}
		for _, part := range operands(x, operator) {
			_, isConstant := field(part, "C")
			_, isVariable := field(part, "V")
			if isConstant || isVariable || part.Kind() == ast.LiteralKind {
				continue
			}
			if a.judge(p, []int{t.Pos.Line}, tree.at(t, part), "this part of the condition", mendFor(part), a.outcomes(a.expand(part))) {
				warned = true
			} else {
				warned = a.checkParts(p, tree, t, part) || warned
			}
		}
	}
	return warned
}

// judge warns if only one outcome is possible.
func (a *analysis) judge(p *policy.Policy, lines []int, pos diag.Position, what, mend string, o outcomes) bool {
	if mend == "" {
		mend = "mend it, or remove it"
	}
	switch {
	case o == fails:
		a.warnIn(p, lines, pos, ConditionAlwaysFalse, what+" always fails to evaluate", mend)
	case o&isTrue == 0:
		a.warnIn(p, lines, pos, ConditionAlwaysFalse, what+" can never hold", mend)
	case o&(isFalse|isOther) != 0:
		return false
	case o&fails == 0:
		a.warnIn(p, lines, pos, ConditionAlwaysTrue, what+" always holds", mend)
	default:
		a.warnIn(p, lines, pos, ConditionAlwaysTrue, what+" holds whenever it can be evaluated", mend)
	}
	return true
}

// A walker looks at the parts of one expression.
type walker struct {
	*analysis
	policy *policy.Policy
	text   diag.Text
	tree   parsed
	warned bool
}

// checkExpression looks at the parts of an expression and tells whether it
// warned of something that makes the whole pointless.
func (a *analysis) checkExpression(p *policy.Policy, t diag.Text) bool {
	tree := a.syntax.parse(t.Value)
	if tree.root == nil {
		return false
	}
	w := &walker{analysis: a, policy: p, text: t, tree: tree}
	w.visit(tree.root)
	return w.warned
}

func (w *walker) warn(x ast.Expr, code diag.Code, message, hint string) {
	w.warned = true
	w.warnIn(w.policy, []int{w.text.Pos.Line}, w.tree.at(w.text, x), code, message, hint)
}

func (w *walker) visit(x ast.Expr) {
	if of, path, _, ok := attribute(x); ok {
		w.attribute(x, of, path)
		return
	}
	expr.EachMember(x, w.visit)
	if x.Kind() == ast.SelectKind && isIdent(x.AsSelect().Operand(), "runtime") {
		w.runtime(x)
	}
	if x.Kind() != ast.CallKind || x.AsCall().IsMemberFunction() {
		return
	}
	args := x.AsCall().Args()
	switch f := x.AsCall().FunctionName(); f {
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo:
		w.arithmetic(x, f, args[0], args[1])
	case operators.Equals, operators.NotEquals:
		if !w.equality(x, f, args[0], args[1]) {
			w.nullCheck(x, args[0], args[1])
			w.nullCheck(x, args[1], args[0])
		}
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		left, right := w.kinds(w.expand(args[0])), w.kinds(w.expand(args[1]))
		if left != 0 && right != 0 && !mayOrder(left, right) {
			w.warn(x, WrongOperands, fmt.Sprintf("%s is %s and %s is %s: they cannot be compared", text(args[0]), left, text(args[1]), right), "compare values of one type")
		}
	case operators.In:
		w.in(x, args[0], args[1])
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot:
		for _, arg := range args {
			if k := w.kinds(w.expand(arg)); k != 0 && k&(kindBool|kindOther) == 0 {
				w.warn(arg, WrongOperands, fmt.Sprintf("%s is %s and no truth value", text(arg), k), "compare it with something")
			}
		}
	}
}

// arithmetic looks for operands that the operator has no use for.
func (w *walker) arithmetic(x ast.Expr, operator string, left, right ast.Expr) {
	l, r := w.expand(left), w.expand(right)
	kl, kr := w.kinds(l), w.kinds(r)
	if kl == 0 || kr == 0 {
		return // told already
	}
	fails := apply(operator, kl, kr) == 0
	if !fails {
		// An attribute is what JSON can say, but for those that route maps
		// make. Integers beside them are a slip, whatever the attribute is.
		w.json = true
		kl, kr = w.kinds(l), w.kinds(r)
		w.json = false
		if kl == 0 || kr == 0 || apply(operator, kl, kr) != 0 {
			return
		}
	}
	symbol := strings.Trim(operator, "_")
	switch {
	case kr == kindInt && kl&kindDouble != 0 && kl&kindInt == 0:
		w.warn(x, IntegerArithmetic, fmt.Sprintf("%s fails: numbers of attributes and constants are doubles, and %s is an int", text(x), text(right)), integerHint(symbol, left, right))
	case kl == kindInt && kr&kindDouble != 0 && kr&kindInt == 0:
		w.warn(x, IntegerArithmetic, fmt.Sprintf("%s fails: numbers of attributes and constants are doubles, and %s is an int", text(x), text(left)), integerHint(symbol, right, left))
	case fails:
		w.warn(x, WrongOperands, fmt.Sprintf("%s is %s and %s is %s: there is no %s of these", text(left), kl, text(right), kr, symbol), "convert one of them")
	}
}

func integerHint(symbol string, number, integer ast.Expr) string {
	if symbol == "%" {
		return fmt.Sprintf("%% is for integers: write int(%s)", text(number))
	}
	if integer.Kind() == ast.LiteralKind {
		return fmt.Sprintf("write %s.0, or int(%s)", text(integer), text(number))
	}
	return fmt.Sprintf("write double(%s)", text(integer))
}

// equality looks for == and != whose sides are never equal, and tells whether
// it warned.
func (w *walker) equality(x ast.Expr, operator string, left, right ast.Expr) bool {
	l, r := w.expand(left), w.expand(right)
	kl, kr := w.kinds(l), w.kinds(r)
	always := "never holds"
	if operator == operators.NotEquals {
		always = "always holds"
	}
	switch {
	case kl == 0 || kr == 0:
		return false
	case !mayEqual(kl, kr):
		w.warn(x, NeverEqual, fmt.Sprintf("%s is %s and %s is %s: %s %s", text(left), kl, text(right), kr, strings.Trim(operator, "_"), always), "compare values of one type")
	case w.outsideEnum(l, r):
		w.notInEnum(x, left, l, r, always)
	case w.outsideEnum(r, l):
		w.notInEnum(x, right, r, l, always)
	default:
		return false
	}
	return true
}

func (w *walker) notInEnum(x, written, attribute, constant ast.Expr, always string) {
	enum := w.enum(attribute)
	v, _ := w.simple(constant)
	var names []string
	for _, e := range enum {
		if e.Kind() == value.String {
			names = append(names, e.Str())
		}
	}
	hint := diag.DidYouMean(v.Str(), names)
	if hint == "" {
		hint = sayEnum(enum)
	}
	w.warn(x, NeverEqual, fmt.Sprintf("by its schema %s is never %s, so that this %s", text(written), v, always), hint)
}

// nullCheck looks for attributes that are compared with null to find out
// whether they are there.
func (w *walker) nullCheck(x, operand, other ast.Expr) {
	_, path, optional, ok := attribute(operand)
	if !ok || optional || len(path) == 0 || other.Kind() != ast.LiteralKind || w.kinds(other) != kindNull || w.context.asked[text(operand)] {
		return
	}
	warned := w.warned
	w.warn(x, NullCheck, fmt.Sprintf("the comparison fails where %s is missing", text(operand)), fmt.Sprintf("ask has(%s) first, or instead", text(operand)))
	w.warned = warned
}

// in looks for values that are in no such list.
func (w *walker) in(x, left, right ast.Expr) {
	l, r := w.expand(left), w.expand(right)
	kl, kr := w.kinds(l), w.kinds(r)
	if args := right; kl != 0 && kr != 0 && kr&(kindList|kindMap|kindOther) == 0 {
		w.warn(x, WrongOperands, fmt.Sprintf("%s is %s, and in looks into lists and maps", text(args), kr), "compare with ==, or name a list")
		return
	}
	if name, ok := w.simple(l); ok && isRoleList(r) {
		w.derivedRole(x, name)
		return
	}
	if kl == 0 || !w.neverIn(l, r) {
		return
	}
	if elements := w.elements(r); elements == 0 {
		w.warn(x, NeverEqual, fmt.Sprintf("%s is empty: nothing is in it", text(right)), "remove the comparison, or fill the list")
	} else if !mayEqual(kl, elements) {
		w.warn(x, NeverEqual, fmt.Sprintf("%s is %s, and what is in %s is %s: it is never in it", text(left), kl, text(right), elements), "compare values of one type")
	} else {
		w.warn(x, NeverEqual, fmt.Sprintf("by its schema %s is none of %s", text(left), text(right)), sayEnum(w.enum(l)))
	}
}

func isRoleList(x ast.Expr) bool {
	name, ok := field(x, "runtime")
	return ok && name == "effectiveDerivedRoles"
}

// derivedRole looks for a derived role that is never active in a resource
// policy.
func (w *walker) derivedRole(x ast.Expr, name value.Value) {
	r := w.context.policy.Resource
	if r == nil || name.Kind() != value.String {
		return
	}
	var named []string
	for i := range r.Rules {
		named = append(named, textValues(r.Rules[i].DerivedRoles)...)
	}
	if slices.Contains(named, name.Str()) {
		return
	}
	hint := diag.DidYouMean(name.Str(), named)
	if hint == "" {
		hint = "only the derived roles that rules of this policy name become active"
	}
	w.warn(x, DerivedRoleNeverActive, fmt.Sprintf("no rule of the policy has the derived role %q, so that it is never active", name.Str()), hint)
}

// runtime looks for a use of runtime where nothing is known yet.
func (w *walker) runtime(x ast.Expr) {
	switch p := w.context.policy; {
	case p.Principal != nil:
		w.warn(x, RuntimeTooEarly, "a principal policy cannot read the derived roles: it decides before they are known, and reading them fails", "move the test to a resource policy")
	case p.DerivedRoles != nil:
		w.warn(x, RuntimeTooEarly, "the derived roles are not known while a derived role is found out: the list is empty then, or that of a scope below", "move the test to the condition of a rule")
	}
}

// attribute looks for an attribute that the schema rules out.
func (w *walker) attribute(x ast.Expr, of string, path []string) {
	s := w.context.schemas[of]
	if s == nil {
		return
	}
	for n := 1; n <= len(path); n++ {
		if _, ok := s.Lookup(path[:n]...); ok {
			continue
		}
		above, _ := s.Lookup(path[:n-1]...)
		hint := diag.DidYouMean(path[n-1], above.Properties)
		switch {
		case hint != "":
		case len(above.Properties) > 0:
			hint = "known: " + strings.Join(above.Properties, ", ")
		default:
			hint = "mend the name, or add it to the schema"
		}
		w.warn(x, UnknownAttribute, fmt.Sprintf("the schema has no attribute %s.attr.%s", of, strings.Join(path[:n], ".")), hint)
		return
	}
}

func textValues(texts []diag.Text) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = t.Value
	}
	return out
}
