package engine

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/internal/glob"
	"edict/engine/policy"
	"edict/engine/value"
)

// condition compiles a condition tree; nil in gives nil, which always holds.
func (r *compilation) condition(p *policy.Policy, n names, c *policy.Condition, inDerivedRole bool) *conditionNode {
	if c == nil {
		return nil
	}
	node := &conditionNode{op: c.Op}
	if c.Op == policy.Expr {
		node.program = r.expression(p, n, c.Expr)
		if inDerivedRole {
			r.refuseRuntime(p, c.Expr, node.program)
		}
		return node
	}
	for _, member := range c.Of {
		node.of = append(node.of, r.condition(p, n, member, inDerivedRole))
	}
	return node
}

// refuseRuntime reports an expression of a set of derived roles that reads
// runtime. The list of derived roles is what such expressions decide.
func (r *compilation) refuseRuntime(p *policy.Policy, text diag.Text, program *expr.Program) {
	if program == nil {
		return
	}
	for _, s := range program.Selections() {
		if s.Variable == "runtime" {
			r.report(p, text.At(s.Line, s.Column), CodeRuntimeInDerivedRole,
				"a set of derived roles can't read runtime: the list of derived roles is not known yet",
				"move the test to the condition of a rule")
		}
	}
}

// names are the variables and constants that expressions of a policy may use.
type names struct {
	variables map[string]diag.Text // name to expression
	order     []string             // names of variables, in the order of the file
	constants value.Values
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

var reserved = []string{"true", "false", "null", "in"}

// namesOf gathers the variables and constants of a policy.
func (r *compilation) namesOf(p *policy.Policy, vars policy.Variables, consts policy.Constants) names {
	n := names{variables: map[string]diag.Text{}, constants: value.Values{}}
	for _, i := range slices.Concat(vars.Import, consts.Import) {
		r.unsupported(p, i.Pos, "an import of variables or constants")
	}
	first := map[string]diag.Position{}
	accept := func(what string, name diag.Text) bool {
		if !identifier.MatchString(name.Value) || slices.Contains(reserved, name.Value) {
			r.report(p, name.Pos, CodeInvalidName, fmt.Sprintf("%q can't be the name of a %s", name.Value, what),
				"use letters, digits and _, not beginning with a digit, and none of true, false, null, in")
			return false
		}
		if at, dup := first[what+name.Value]; dup {
			r.report(p, name.Pos, CodeRedefined, fmt.Sprintf("the %s %q is defined twice", what, name.Value),
				"remove or rename one of the two", diag.Related{Pos: at, Message: "first defined here"})
			return false
		}
		first[what+name.Value] = name.Pos
		return true
	}
	for _, v := range vars.Local {
		if accept("variable", v.Name) {
			n.variables[v.Name.Value] = v.Expr
			n.order = append(n.order, v.Name.Value)
		}
	}
	for _, c := range consts.Local {
		if accept("constant", c.Name) {
			n.constants[c.Name.Value] = c.Value
		}
	}
	return n
}

// module compiles the variables of a policy.
func (r *compilation) module(p *policy.Policy, n names) *module {
	m := &module{variables: map[string]int32{}, constants: n.constants}
	uses := map[string][]string{}
	for i, name := range n.order {
		program := r.expression(p, n, n.variables[name])
		m.variables[name] = int32(i)
		m.programs = append(m.programs, program)
		if program == nil {
			continue
		}
		for _, s := range program.Selections() {
			if s.Variable == "V" || s.Variable == "variables" {
				uses[name] = append(uses[name], s.Field)
			}
		}
	}
	r.reportCycles(p, n, uses)
	return m
}

// reportCycles reports each cycle among variables once.
func (r *compilation) reportCycles(p *policy.Policy, n names, uses map[string][]string) {
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
			text := n.variables[name]
			message := fmt.Sprintf("the variable %q is defined by itself", name)
			if len(cycle) > 1 {
				message = fmt.Sprintf("the variables %q are defined by each other", cycle)
			}
			r.report(p, text.Pos, CodeCyclicVariables, message, "break the circle")
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

// expression compiles CEL text, or gives nil after reporting what is wrong
// with it. Equal texts are compiled once.
func (r *compilation) expression(p *policy.Policy, n names, text diag.Text) *expr.Program {
	compiled, ok := r.programs[text.Value]
	if !ok {
		if compiled, ok = r.before[text.Value]; !ok {
			compiled.program, compiled.issues = r.env.Compile(text.Value)
		}
		r.programs[text.Value] = compiled
	}
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
					orElse(diag.DidYouMean(s.Field, n.order), "define it under variables.local of this policy"))
			}
		case "C", "constants":
			if _, ok := n.constants[s.Field]; !ok {
				r.report(p, text.At(s.Line, s.Column), CodeUndefinedConstant,
					fmt.Sprintf("there is no constant %q", s.Field),
					orElse(diag.DidYouMean(s.Field, slices.Collect(maps.Keys(n.constants))), "define it under constants.local of this policy"))
			}
		}
	}
	return compiled.program
}

// checkPatterns reports wildcard patterns that can't be parsed.
func (r *compilation) checkPatterns(p *policy.Policy, patterns []diag.Text) {
	for _, t := range patterns {
		if !glob.IsPattern(t.Value) {
			continue
		}
		if _, err := glob.Compile(t.Value); err != nil {
			r.report(p, t.Pos, CodeBadPattern, err.Error(), `mend the pattern, or write \ before a character that stands for itself`)
		}
	}
}
