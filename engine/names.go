package engine

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// names are the variables and constants that expressions of a policy may use,
// its own and the imported ones.
type names struct {
	variables map[string]definition
	order     []string // names of variables, in the order of definition
	constants value.Values
	runtime   map[string]bool // variables that read the list of derived roles, themselves or by others
}

// A definition is the expression of a variable, and the policy it stands in.
type definition struct {
	policy *policy.Policy
	expr   diag.Text
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

var reserved = []string{"true", "false", "null", "in"}

// namesOf gathers the variables and constants of a policy.
func (r *compilation) namesOf(p *policy.Policy, vars policy.Variables, consts policy.Constants) names {
	n := names{variables: map[string]definition{}, constants: value.Values{}, runtime: map[string]bool{}}
	first := map[string]diag.Position{}
	accept := func(owner *policy.Policy, what string, name diag.Text) bool {
		if !identifier.MatchString(name.Value) || slices.Contains(reserved, name.Value) {
			r.report(owner, name.Pos, CodeInvalidName, fmt.Sprintf("%q can't be the name of a %s", name.Value, what),
				"use letters, digits and _, not beginning with a digit, and none of true, false, null, in")
			return false
		}
		if at, dup := first[what+name.Value]; dup {
			related := []diag.Related{{Pos: at, Message: "first defined here"}}
			if owner != p {
				related = append(related, diag.Related{Pos: p.Pos, Message: "both are in force here"})
			}
			r.report(owner, name.Pos, CodeRedefined, fmt.Sprintf("the %s %q is defined twice", what, name.Value),
				"remove or rename one of the two", related...)
			return false
		}
		first[what+name.Value] = name.Pos
		return true
	}
	variables := func(owner *policy.Policy, list []policy.Variable) {
		for _, v := range list {
			if accept(owner, "variable", v.Name) {
				n.variables[v.Name.Value] = definition{owner, v.Expr}
				n.order = append(n.order, v.Name.Value)
			}
		}
	}
	constants := func(owner *policy.Policy, list []policy.Constant) {
		for _, c := range list {
			if accept(owner, "constant", c.Name) {
				n.constants[c.Name.Value] = c.Value
			}
		}
	}
	for _, i := range vars.Import {
		if set := r.variables[i.Value]; set != nil {
			variables(set, set.ExportVariables.Definitions)
		}
	}
	variables(p, vars.Local)
	for _, i := range consts.Import {
		if set := r.constants[i.Value]; set != nil {
			constants(set, set.ExportConstants.Definitions)
		}
	}
	constants(p, consts.Local)
	return n
}

// module compiles the variables of a policy.
func (r *compilation) module(b *built, p *policy.Policy, n *names) *module {
	m := &module{id: r.moduleIDs.take(), variables: map[string]int32{}, constants: n.constants}
	b.modules = append(b.modules, m)
	uses := map[string][]string{}
	programs := make([]*expr.Program, len(n.order))
	for i, name := range n.order {
		d := n.variables[name]
		program := r.expression(b, d.policy, n, d.expr)
		m.variables[name] = int32(i)
		programs[i] = program
		if program == nil {
			continue
		}
		r.bind(&programs[i], n.constants)
		for _, s := range program.Selections() {
			switch s.Variable {
			case "V", "variables":
				uses[name] = append(uses[name], s.Field)
			case "runtime":
				n.runtime[name] = true
			}
		}
	}
	m.programs = programs
	r.reportCycles(*n, uses)
	for again := true; again; { // until no variable comes to read runtime by others
		again = false
		for name, used := range uses {
			if !n.runtime[name] && slices.ContainsFunc(used, func(u string) bool { return n.runtime[u] }) {
				n.runtime[name], again = true, true
			}
		}
	}
	return m
}

// condition compiles a condition tree; nil in gives nil, which always holds.
// Its variables are those of the module. Conditions that mean the same are the
// same, whichever policy they stand in.
func (r *compilation) condition(b *built, p *policy.Policy, n names, m *module, c *policy.Condition) *condition {
	if c == nil {
		return nil
	}
	built := condition{module: m}
	usesNames := false
	var key strings.Builder
	var build func(c *policy.Condition) *conditionNode
	build = func(c *policy.Condition) *conditionNode {
		node := &conditionNode{op: c.Op}
		if c.Op == policy.Expr {
			if node.program = r.expression(b, p, &n, c.Expr); node.program != nil {
				r.bind(&node.program, n.constants)
				key.WriteString(strconv.Itoa(int(r.programs[c.Expr.Value].id)))
				names, runtime := n.reads(node.program)
				usesNames = usesNames || names
				built.readsRuntime = built.readsRuntime || runtime
			}
			return node
		}
		key.WriteString(c.Op.String())
		key.WriteByte('(')
		for _, member := range c.Of {
			node.of = append(node.of, build(member))
			key.WriteByte(' ')
		}
		key.WriteByte(')')
		return node
	}
	built.root = build(c)
	if usesNames || built.readsRuntime {
		fmt.Fprintf(&key, "@%d", m.id)
	} else {
		built.module = nil
	}
	built.early = built.readsRuntime && p.Principal != nil
	built.key = key.String()
	return r.intern(b, built)
}

// bind has a program that reads constants replaced by one that has read them.
func (r *compilation) bind(program **expr.Program, constants value.Values) {
	for _, s := range (*program).Selections() {
		if s.Variable == "C" || s.Variable == "constants" {
			r.bindings = append(r.bindings, func() { *program = (*program).Bind(constants, "C", "constants") })
			return
		}
	}
}

// intern gives the condition that means the same as c.
func (r *compilation) intern(b *built, c condition) *condition {
	same := r.conditions[c.key]
	if same == nil {
		same = &c
		same.id = r.conditionIDs.take()
		r.conditions[c.key] = same
	}
	same.uses++
	b.conditions = append(b.conditions, same)
	return same
}

// conditionID gives an id that no condition has, for something else that a
// Check remembers.
func (r *compilation) conditionID(b *built) int32 {
	id := r.conditionIDs.take()
	b.conditions = append(b.conditions, &condition{id: id, key: fmt.Sprintf("#%d", id), uses: 1})
	return id
}

// output compiles the output of a rule; nil in gives nil.
func (r *compilation) output(b *built, p *policy.Policy, n names, m *module, rule *Rule, o *policy.Output) *output {
	if o == nil {
		return nil
	}
	out := &output{module: m, src: rule.Policy + "#" + rule.Name, visited: -1}
	compile := func(text diag.Text) (*expr.Program, bool) {
		if text.Value == "" {
			return nil, false
		}
		program := r.expression(b, p, &n, text)
		_, readsRuntime := n.reads(program)
		return program, readsRuntime && p.Principal != nil
	}
	out.activated, out.activatedEarly = compile(o.RuleActivated)
	out.unmet, out.unmetEarly = compile(o.ConditionNotMet)
	return out
}

// reads tells whether a program reads variables or constants, and whether it
// reads the list of derived roles, itself or by variables.
func (n *names) reads(p *expr.Program) (names, runtime bool) {
	if p == nil {
		return false, false
	}
	for _, s := range p.Selections() {
		switch s.Variable {
		case "V", "variables":
			names, runtime = true, runtime || n.runtime[s.Field]
		case "C", "constants":
			names = true
		case "runtime":
			runtime = true
		}
	}
	return names, runtime
}

// reportCycles reports each cycle among variables once.
func (r *compilation) reportCycles(n names, uses map[string][]string) {
	const (
		unseen = iota
		inProgress
		done
	)
	seen := map[string]int{}
	var path []string
	var visit func(name string)
	visit = func(name string) {
		switch seen[name] {
		case done:
			return
		case inProgress:
			cycle := path[slices.Index(path, name):]
			at := n.variables[name]
			message := fmt.Sprintf("the variable %q is defined by itself", name)
			if len(cycle) > 1 {
				message = fmt.Sprintf("the variables %q are defined by each other", cycle)
			}
			r.report(at.policy, at.expr.Pos, CodeCyclicVariables, message, "break the circle")
			return
		}
		seen[name] = inProgress
		path = append(path, name)
		for _, used := range uses[name] {
			visit(used)
		}
		path = path[:len(path)-1]
		seen[name] = done
	}
	for _, name := range n.order {
		visit(name)
	}
}

// openVariables are those that stand for names, not for values: what they hold
// is known by name, and a use of the whole could hide a circle.
var openVariables = []string{"V", "variables", "C", "constants", "G", "globals"}

// expression gives the program of CEL text, or nil after reporting what is
// wrong with it. Equal texts are compiled once.
func (r *compilation) expression(b *built, p *policy.Policy, n *names, text diag.Text) *expr.Program {
	compiled := r.programs[text.Value]
	if compiled == nil { // a definition that nobody imported when the expressions were gathered
		compiled = &compiledExpression{id: r.programIDs.take(), source: text.Value}
		r.programs[text.Value] = compiled
		r.fresh = append(r.fresh, compiled)
		r.compileOne(compiled)
	}
	compiled.uses++
	b.expressions = append(b.expressions, compiled)
	for _, issue := range compiled.issues {
		r.report(p, text.At(issue.Line, issue.Column), CodeInvalidExpression, issue.Message, issue.Hint)
	}
	if compiled.program == nil {
		return nil
	}
	for _, s := range compiled.program.Selections() {
		if s.Field == "" && slices.Contains(openVariables, s.Variable) {
			r.report(p, text.At(s.Line, s.Column), CodeInvalidExpression,
				fmt.Sprintf("%s can only be read by name", s.Variable), fmt.Sprintf("write %s.name or has(%s.name)", s.Variable, s.Variable))
			continue
		}
		switch s.Variable {
		case "V", "variables":
			if _, ok := n.variables[s.Field]; !ok {
				r.report(p, text.At(s.Line, s.Column), CodeUndefinedVariable,
					fmt.Sprintf("there is no variable %q", s.Field),
					orElse(diag.DidYouMean(s.Field, n.order), "define it under variables.local of this policy, or import a set that does"))
			}
		case "C", "constants":
			if _, ok := n.constants[s.Field]; !ok {
				r.report(p, text.At(s.Line, s.Column), CodeUndefinedConstant,
					fmt.Sprintf("there is no constant %q", s.Field),
					orElse(diag.DidYouMean(s.Field, slices.Collect(maps.Keys(n.constants))), "define it under constants.local of this policy, or import a set that does"))
			}
		}
	}
	return compiled.program
}
