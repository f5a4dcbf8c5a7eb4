package lint_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/lint"
	"edict/engine/policy"
	"edict/engine/value"
)

// What Check says of a condition holds for every request: random conditions
// are decided for random attributes, and none is met that was said never to be,
// or the other way round.
func TestClaimsHold(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	env := environment(t)
	claims := map[diag.Code]int{}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 7))
		g := generator{rng, env}
		p, roots := g.policy(150)
		said := map[int]diag.Diagnostic{} // by rule
		for _, d := range lint.Check([]*policy.Policy{p}, nil, env) {
			whole := strings.HasPrefix(d.Message, "the condition ") || strings.HasPrefix(d.Message, "the expression ")
			if d.Pos.Line < 1000 && (whole || d.Code == roots[d.Pos.Line-1]) {
				said[d.Pos.Line-1] = d
				claims[d.Code]++
			}
		}
		for _, lenient := range []bool{false, true} {
			ps, list := engine.Compile([]*policy.Policy{p}, engine.Options{LenientEvaluation: lenient})
			if len(list) > 0 {
				t.Fatal(list.Render())
			}
			for range 60 {
				in := engine.Request{
					Principal: engine.Principal{ID: "ana", Roles: []string{"user"}},
					Resource:  engine.Resource{Kind: "invoice", ID: "1", Attr: g.attributes()},
				}
				for rule := range said {
					in.Actions = append(in.Actions, fmt.Sprint("a", rule))
				}
				var out engine.Decision
				ps.Check(&in, &out)
				for i := range out.Results {
					r := &out.Results[i]
					var rule int
					fmt.Sscanf(r.Action, "a%d", &rule)
					d := said[rule]
					never := d.Code != lint.ConditionAlwaysTrue
					if never && r.Allowed() || !never && !r.Allowed() && r.Err == nil && !lenient {
						t.Errorf("%s\nbut with %v the effect is %v", d.Render(), in.Resource.Attr, r.Effect)
						delete(said, rule)
					}
				}
			}
		}
	}
	for _, code := range []diag.Code{lint.ConditionAlwaysTrue, lint.ConditionAlwaysFalse, lint.NotACondition, lint.NeverEqual, lint.WrongOperands, lint.IntegerArithmetic} {
		if claims[code] < rounds/2 {
			t.Errorf("only %d claims of %s were tried", claims[code], code)
		}
	}
}

// A generator makes random conditions over a few attributes, so that they
// often contradict themselves.
type generator struct {
	*rand.Rand
	env *expr.Env
}

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// policy gives a policy whose n-th rule stands in line n+1, and for each rule
// the code that would be about its whole expression.
func (g generator) policy(n int) (*policy.Policy, []diag.Code) {
	rp := &policy.ResourcePolicy{
		Resource: diag.Text{Value: "invoice"}, Version: diag.Text{Value: "default"},
		Constants: policy.Constants{Local: []policy.Constant{
			{Name: diag.Text{Value: "one"}, Value: value.OfDouble(1)},
			{Name: diag.Text{Value: "word"}, Value: value.OfString("x")},
			{Name: diag.Text{Value: "words"}, Value: value.OfSequence(value.Strings{"x", "y"})},
			{Name: diag.Text{Value: "on"}, Value: value.OfBool(true)},
		}},
		Variables: policy.Variables{Local: []policy.Variable{
			{Name: diag.Text{Value: "a"}, Expr: diag.Text{Value: "R.attr.a"}},
			{Name: diag.Text{Value: "isX"}, Expr: diag.Text{Value: `R.attr.a == "x"`}},
			{Name: diag.Text{Value: "sum"}, Expr: diag.Text{Value: "R.attr.b + C.one"}},
		}},
	}
	roots := make([]diag.Code, n)
	source := make([]string, n)
	for i := range n {
		pos := diag.Position{File: "x.yaml", Line: i + 1, Column: 1}
		var c *policy.Condition
		if g.IntN(4) > 0 {
			var text string
			text, roots[i] = g.root()
			for p, _ := g.env.Compile(text); p == nil; p, _ = g.env.Compile(text) {
				text, roots[i] = g.root()
			}
			c = &policy.Condition{Pos: pos, Expr: diag.Text{Value: text, Pos: pos}}
			source[i] = text
		} else {
			c = g.group(pos, 2)
		}
		rp.Rules = append(rp.Rules, policy.Rule{
			Pos: diag.Position{File: "x.yaml", Line: 1000 + i, Column: 1}, Actions: []diag.Text{{Value: fmt.Sprint("a", i)}},
			Effect: policy.Allow, Roles: []diag.Text{{Value: "user"}}, Condition: c,
		})
	}
	return &policy.Policy{Resource: rp, Source: source}, roots
}

// root gives an expression, and the code that would be about the whole of it.
func (g generator) root() (string, diag.Code) {
	switch g.IntN(9) {
	case 0:
		return fmt.Sprintf("%s == %s", g.operand(), g.operand()), lint.NeverEqual
	case 1:
		return fmt.Sprintf("(%s %s %s) == %s", g.operand(), g.pick("+", "-", "*"), g.operand(), g.operand()), lint.WrongOperands
	case 2:
		return fmt.Sprintf("%s + %s > 0.0", g.pick("R.attr.a", "V.a", "C.one"), g.pick("1", "2")), lint.IntegerArithmetic
	case 3:
		return g.pick("C.one", "C.word", "V.sum + 1.0", "size(C.words)", "[R.attr.a]"), lint.NotACondition
	default:
		return g.expression(g.IntN(4)), ""
	}
}

// group gives a condition of several members, which stand elsewhere.
func (g generator) group(pos diag.Position, depth int) *policy.Condition {
	c := &policy.Condition{Pos: pos, Op: policy.All + policy.Operator(g.IntN(3))}
	elsewhere := diag.Position{File: "x.yaml", Line: 2000, Column: 1}
	for range 2 + g.IntN(2) {
		if depth > 1 && g.IntN(4) == 0 {
			c.Of = append(c.Of, g.group(elsewhere, depth-1))
		} else {
			c.Of = append(c.Of, &policy.Condition{Pos: elsewhere, Expr: diag.Text{Value: g.expression(g.IntN(2)), Pos: elsewhere}})
		}
	}
	return c
}

func (g generator) operand() string {
	return g.pick("R.attr.a", "R.attr.b", "V.a", "C.one", "C.word", "1", "2.0", `"x"`, `"y"`, "true", "null", "V.sum", "size(C.words)", "[1]")
}

func (g generator) constant() string {
	return g.pick("1", "2", "3.0", `"x"`, `"y"`, "C.one", "C.word", "true", "false")
}

func (g generator) expression(depth int) string {
	if depth > 0 {
		switch g.IntN(5) {
		case 0, 1:
			return fmt.Sprintf("(%s && %s)", g.expression(depth-1), g.expression(depth-1))
		case 2, 3:
			return fmt.Sprintf("(%s || %s)", g.expression(depth-1), g.expression(depth-1))
		default:
			return "!(" + g.expression(depth-1) + ")"
		}
	}
	attribute := g.pick("R.attr.a", "R.attr.a", "R.attr.b", "V.a")
	switch g.IntN(9) {
	case 0, 1:
		return fmt.Sprintf("%s == %s", attribute, g.constant())
	case 2, 3:
		return fmt.Sprintf("%s != %s", attribute, g.constant())
	case 4:
		return fmt.Sprintf("%s %s %s", attribute, g.pick("<", "<=", ">", ">="), g.constant())
	case 5:
		return fmt.Sprintf("%s in %s", attribute, g.pick(`["x"]`, "[1, 2]", "C.words", `["x", true, 1]`))
	case 6:
		return fmt.Sprintf("has(%s)", g.pick("R.attr.a", "R.attr.b"))
	case 7:
		return fmt.Sprintf("(%s ? %s : %s)", g.pick("R.attr.a", "V.isX", "C.on"), g.pick("true", "V.isX", "R.attr.b"), g.pick("false", "R.attr.b"))
	default:
		return g.pick("R.attr.a", "R.attr.a", "V.isX", "C.on", "true", "false", "C.one", "V.a == R.attr.a", "R.attr.b <= R.attr.b", "1 > 2")
	}
}

func (g generator) attributes() value.Attributes {
	out := value.Attributes{}
	for _, name := range []string{"a", "b"} {
		switch g.IntN(9) {
		case 0: // absent
		case 1:
			out[name] = true
		case 2:
			out[name] = false
		case 3:
			out[name] = 1.0
		case 4:
			out[name] = 2.0
		case 5:
			out[name] = float64(g.IntN(5)) / 2
		case 6:
			out[name] = g.pick("x", "y", "z")
		case 7:
			out[name] = nil
		case 8:
			out[name] = []any{1.0, "x"}
		}
	}
	return out
}
