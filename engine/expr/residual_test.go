package expr

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"

	"edict/engine/value"
)

// A testPlan is what a principal knows of resources: some of their attributes.
type testPlan struct {
	env       *Env
	facts     *facts
	supplied  value.Values
	variables map[string]*Program // V.name that are expressions
}

// lazyVariables are the variables of a frame, of which some are expressions.
type lazyVariables struct {
	values   value.Values
	programs map[string]*Program
	frame    *Frame
}

func (v *lazyVariables) StructName() string { return "Variables" }
func (v *lazyVariables) Len() int           { return len(v.values) + len(v.programs) }

func (v *lazyVariables) Lookup(name string) (value.Value, bool) {
	if p := v.programs[name]; p != nil {
		return p.Eval(v.frame), true
	}
	return v.values.Lookup(name)
}

func (v *lazyVariables) Range(yield func(string, value.Value) bool) {
	for name := range maps.Keys(v.programs) {
		if x, _ := v.Lookup(name); !yield(name, x) {
			return
		}
	}
	v.values.Range(yield)
}

// frame shows resource attributes.
func (p *testPlan) frame(resource value.Mapping) *Frame {
	x := *p.facts
	x.resource = resource
	f := x.frame(p.env)
	f.Set(slotV, value.OfMapping(&lazyVariables{x.variables, p.variables, f}))
	return f
}

// A testForm is one of the forms that residuals have.
type testForm struct{ exact, faithful bool }

func (p *testPlan) partial(form testForm) *Partial {
	exact := form.exact
	name := func(path []string) string { return strings.Join(path, ".") }
	return &Partial{Frame: p.frame(p.supplied), Exact: exact, Faithful: form.faithful, Lenient: !form.faithful, Name: name, Read: func(path []string) Reading {
		switch path[0] {
		case "V", "variables":
			switch {
			case len(path) == 1:
				return Reading{}
			case len(path) == 2 && p.variables[path[1]] != nil:
				return Reading{Program: p.variables[path[1]]}
			case p.variables[path[1]] != nil:
				return Reading{}
			}
		case "request":
			if len(path) == 1 {
				return Reading{Name: map[bool]string{false: "request"}[exact]}
			}
			if path[1] == "resource" {
				return p.resource(path[2:], exact)
			}
		case "R":
			return p.resource(path[1:], exact)
		}
		return Reading{Known: true, Name: strings.Join(path, ".")}
	}}
}

func (p *testPlan) resource(path []string, exact bool) Reading {
	if exact && slices.ContainsFunc(path, func(name string) bool { return name == "" || strings.Contains(name, ".") }) {
		return Reading{}
	}
	name := strings.Join(append([]string{"request.resource"}, path...), ".")
	switch {
	case len(path) == 0 || len(path) == 1 && path[0] == "attr":
		if exact {
			return Reading{}
		}
	case path[0] == "kind" || path[0] == "scope":
		return Reading{Known: true, Name: name}
	case path[0] == "attr" && len(path) > 1:
		if _, ok := p.supplied[path[1]]; ok {
			return Reading{Known: true, Name: name}
		}
	default:
		return Reading{Name: name, Always: true}
	}
	return Reading{Name: name}
}

// celText gives an operand as CEL, so that the answer of a residual can be
// compared with that of what it is a residual of.
func celText(t *testing.T, o Operand) string {
	if o.Expression == nil {
		if o.Variable != "" {
			return o.Variable
		}
		return celValue(o.Value)
	}
	x := o.Expression.Operands
	arg := func(i int) string { return "dyn(" + celText(t, x[i]) + ")" }
	all := func(operands []Operand) []string {
		var out []string
		for _, o := range operands {
			out = append(out, celText(t, o))
		}
		return out
	}
	infix := map[string]string{"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "in": "in",
		"add": "+", "sub": "-", "mult": "*", "div": "/", "mod": "%", "and": "&&", "or": "||"}
	switch op := o.Expression.Operator; op {
	case "not":
		return "!" + arg(0)
	case "-_":
		return "-" + arg(0)
	case "if":
		return arg(0) + "?" + arg(1) + ":" + arg(2)
	case "index":
		return arg(0) + "[" + arg(1) + "]"
	case "get-field":
		return arg(0) + "." + x[1].Variable
	case "has":
		return "has(" + celText(t, x[0]) + ")"
	case "timeSince": // by now(), which is what the second operand says
		return "timeSince(" + arg(0) + ")"
	case "error":
		return "dyn(dyn(1) + dyn('a'))"
	case "list":
		return "[" + strings.Join(all(x), ", ") + "]"
	case "struct":
		var fields []string
		for _, f := range x {
			fields = append(fields, celText(t, f.Expression.Operands[0])+": "+celText(t, f.Expression.Operands[1]))
		}
		return "{" + strings.Join(fields, ", ") + "}"
	case "exists", "all", "exists_one", "map", "filter", "transformList":
		lambda := x[1].Expression.Operands
		var vars, bodies []string
		for _, l := range lambda[1:] {
			if l.Expression == nil && l.Variable != "" && !strings.Contains(l.Variable, ".") {
				vars = append(vars, l.Variable)
			}
		}
		for _, l := range lambda[:len(lambda)-len(vars)] {
			bodies = append(bodies, `(R.kind == "" ? dyn(null) : dyn(`+celText(t, l)+`))`) // no constant, of which folding makes something else
		}
		if op == "transformList" && len(vars) == 1 {
			op = "map"
		}
		if op == "exists_one" && len(vars) == 2 {
			op = "existsOne"
		}
		return arg(0) + "." + op + "(" + strings.Join(append(vars, bodies...), ", ") + ")"
	default:
		if sign := infix[op]; sign != "" {
			var operands []string
			for i := range x {
				operands = append(operands, arg(i))
			}
			return strings.Join(operands, " "+sign+" ")
		}
		if op == "math.@max" {
			return "math.greatest(dyn(" + strings.Join(all(x), "), dyn(") + "))"
		}
		for i := range x {
			x[i] = Operand{Variable: "dyn(" + celText(t, x[i]) + ")"}
		}
		switch op {
		case "size", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "dyn", "type":
			return op + "(" + strings.Join(all(x), ", ") + ")"
		}
		if strings.Contains(op, ".") {
			return op + "(" + strings.Join(all(x), ", ") + ")"
		}
		return x[0].Variable + "." + op + "(" + strings.Join(all(x[1:]), ", ") + ")"
	}
}

func celValue(v value.Value) string {
	switch v.Kind() {
	case value.String:
		return strconv.Quote(v.Str())
	case value.Double:
		return fmt.Sprintf("double(%q)", strconv.FormatFloat(v.Double(), 'g', -1, 64))
	case value.List:
		var out []string
		for i := range v.Sequence().Len() {
			out = append(out, celValue(v.Sequence().At(i)))
		}
		if len(out) == 0 {
			return `(R.kind == "" ? [null] : [])` // x in [] is false even if x is an error
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	return v.String()
}

// An exact residual says what the expression says, on every resource.
func TestExactResiduals(t *testing.T) {
	compareResiduals(t, testForm{exact: true}, 1000, sameAnswer)
}

// What is left in the form of Cerbos holds only where the expression does, also to
// those who take every number for a double.
func TestResidualsHoldNowhereElse(t *testing.T) {
	compareResiduals(t, testForm{}, 500, func(got, want value.Value) bool { return !IsTrue(got) || IsTrue(want) })
}

// A faithful residual is true or false only where the expression is, too.
func TestFaithfulResiduals(t *testing.T) {
	compareResiduals(t, testForm{faithful: true}, 500, func(got, want value.Value) bool {
		return got.Kind() != value.Bool || want.Kind() == value.Bool && got.Bool() == want.Bool()
	})
}

// compareResiduals compares residuals of random expressions with the expressions
// themselves, on random resources.
func compareResiduals(t *testing.T, form testForm, programs int, agree func(got, want value.Value) bool) {
	rows := 10
	if raceEnabled {
		programs = 150
	}
	e := newTestEnv(t)
	g := &generator{Rand: rand.New(rand.NewPCG(20261130, 1))}
	pool := make([]*facts, 60)
	for i := range pool {
		pool[i] = g.facts()
	}
	var known, residual, refused, compared, errors, holding, failures int
	reasons := map[string]int{}
	for n := 0; n < programs && failures < 10; {
		p := &testPlan{env: e, facts: pick(g, pool...), supplied: value.Values{}, variables: map[string]*Program{}}
		p.facts.resource.Range(func(name string, v value.Value) bool {
			if g.IntN(4) == 0 {
				p.supplied[name] = v
			}
			return true
		})
		for _, name := range []string{"num", "text", "tags", "bool"} {
			source := g.expression(2)
			if g.IntN(2) == 0 && !strings.Contains(source, "V.") && !strings.Contains(source, "V)") {
				if program, issues := e.Compile(source); len(issues) == 0 {
					p.variables[name] = program
				}
			}
		}
		source := g.expression(1 + g.IntN(3))
		program, issues := e.Compile(source)
		if len(issues) > 0 {
			continue
		}
		n++
		res, err := program.Residual(p.partial(form))
		if err != nil {
			refused++
			reasons[err.Error()]++
			continue
		}
		text := ""
		var again *Program
		if res.Operand == nil {
			known++
		} else {
			residual++
			text = celText(t, *res.Operand)
			again, issues = e.Compile(text)
			if len(issues) > 0 && strings.HasPrefix(issues[0].Message, "invalid qualifier type") {
				continue // an error on every resource
			}
			if len(issues) > 0 {
				failures++
				t.Errorf("the residual of %s is %s, which is %s: %v", source, res.Operand, text, issues)
				continue
			}
		}
		for range rows {
			resource := maps.Clone(p.supplied)
			pick(g, pool...).resource.Range(func(name string, v value.Value) bool {
				if _, ok := p.supplied[name]; !ok {
					resource[name] = v
				}
				return true
			})
			want, got := program.Eval(p.frame(resource)), res.Value
			if again != nil {
				got = again.Eval(p.frame(resource))
			}
			compared++
			if want.Kind() == value.Error {
				errors++
			}
			if IsTrue(got) {
				holding++
			}
			if !agree(got, want) {
				failures++
				t.Errorf("%s\n  gives    %v %v\n  residual %v %v: %s %s\n  with %v, known R.attr %v, R.attr %v, V %v", source, want.Kind(), want, got.Kind(), got,
					res.Operand, text, p.facts, p.supplied, resource, sources(p.variables))
				break
			}
		}
	}
	t.Logf("%d known, %d residuals, %d refused; %d answers compared, %d of them errors; %d residuals hold", known, residual, refused, compared, errors, holding)
	for _, r := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%5d %s", reasons[r], r)
	}
	if residual < programs/5 || refused > programs/3 || holding < compared/50 {
		t.Error("the expressions are not what they should be")
	}
}

func sources(programs map[string]*Program) map[string]string {
	out := map[string]string{}
	for name, p := range programs {
		out[name] = p.Source()
	}
	return out
}

// sameAnswer is alike, but for numbers: a residual that is a number by itself has
// it as JSON does.
func sameAnswer(a, b value.Value) bool {
	if a.Kind() != value.Error && b.Kind() != value.Error {
		if types.Equal(structTypes(nil).toRef(a), structTypes(nil).toRef(b)) == types.True {
			return true
		}
	}
	return alike(a, b)
}
