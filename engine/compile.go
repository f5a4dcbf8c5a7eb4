package engine

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/internal/glob"
	"edict/engine/policy"
	"edict/engine/value"
)

// Options tunes how policies decide. The zero value is ready for production.
type Options struct {
	// DefaultPolicyVersion is the version of a principal or resource that
	// names none. Empty means "default".
	DefaultPolicyVersion string

	// LenientEvaluation makes a condition that can't be evaluated count as
	// false, so that a DENY rule with an error does not apply. By default the
	// error denies the action (engine.strictEvaluation).
	LenientEvaluation bool

	// Globals are the values of globals.name and G.name. Nil means none.
	Globals value.Mapping
}

// A Compiler turns policies into PolicySets. It keeps the programs of the last
// set, so that compiling a set that differs little is quick. It is safe for
// concurrent use; compilations take turns.
type Compiler struct {
	options Options
	env     *expr.Env

	mu       sync.Mutex
	programs map[string]compiledExpression
}

type compiledExpression struct {
	program *expr.Program
	issues  []expr.Issue
}

// NewCompiler prepares the CEL environment for Options.
func NewCompiler(options Options) (*Compiler, error) {
	env, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("preparing the CEL environment: %w", err)
	}
	if options.DefaultPolicyVersion == "" {
		options.DefaultPolicyVersion = "default"
	}
	return &Compiler{options: options, env: env}, nil
}

// Compile compiles policies once; to compile again and again, keep a Compiler.
func Compile(policies []*policy.Policy, options Options) (*PolicySet, diag.List) {
	c, err := NewCompiler(options)
	if err != nil {
		return nil, diag.List{{Message: err.Error()}}
	}
	return c.Compile(policies)
}

// Compile compiles policies to a PolicySet, or gives everything that is wrong
// with them: exactly one of the results is nil. Disabled policies are left out.
func (c *Compiler) Compile(policies []*policy.Policy) (*PolicySet, diag.List) {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := &compilation{
		Compiler: c,
		before:   c.programs,
		programs: make(map[string]compiledExpression, len(c.programs)),
		roleSets: map[string]*roleSet{},
		units:    map[unitKey]*unit{},
	}
	run.compile(policies)
	if len(run.diagnostics) > 0 {
		return nil, run.diagnostics.Sorted()
	}
	c.programs = run.programs
	ps := &PolicySet{
		env:            c.env,
		defaultVersion: c.options.DefaultPolicyVersion,
		strict:         !c.options.LenientEvaluation,
		globals:        c.options.Globals,
		units:          run.units,
		rules:          run.rules,
	}
	if ps.globals == nil {
		ps.globals = value.Values(nil)
	}
	ps.states = &sync.Pool{New: func() any { return newState(ps) }}
	return ps, nil
}

// A compilation is one run of Compile.
type compilation struct {
	*Compiler
	before, programs map[string]compiledExpression // by source text

	diagnostics diag.List
	roleSets    map[string]*roleSet
	units       map[unitKey]*unit
	rules       []*Rule
}

// A roleSet is a set of derived roles, compiled once for all that import it.
type roleSet struct {
	source     *policy.Policy
	names      names
	module     *module
	conditions []*conditionNode // per definition; nil: always
}

func (r *compilation) compile(policies []*policy.Policy) {
	var resources []*policy.Policy
	defined := map[string]diag.Position{}
	for _, p := range policies {
		if p.Disabled {
			continue
		}
		var key string
		switch {
		case p.Resource != nil:
			key = p.Resource.Key()
		case p.DerivedRoles != nil:
			key = p.DerivedRoles.Key()
		default:
			for _, u := range []*policy.Unsupported{p.Principal, p.Role, p.ExportVariables, p.ExportConstants} {
				r.unsupported(p, u)
			}
			continue
		}
		if first, dup := defined[key]; dup {
			r.report(p, p.Pos, CodeDuplicatePolicy, fmt.Sprintf("%s is defined twice", key),
				"keep one of the two, or give one another version",
				diag.Related{Pos: first, Message: "first defined here"})
			continue
		}
		defined[key] = p.Pos
		if p.DerivedRoles != nil {
			r.compileRoleSet(p)
		} else {
			resources = append(resources, p)
		}
	}
	for _, p := range resources {
		r.compileResource(p)
	}
}

// report adds a diagnostic about a place in p.
func (r *compilation) report(p *policy.Policy, pos diag.Position, code diag.Code, message, hint string, related ...diag.Related) {
	r.diagnostics = append(r.diagnostics, diag.Diagnostic{
		Pos: pos, Code: code, Message: message, Hint: hint, Source: p.Line(pos.Line), Related: related,
	})
}

func (r *compilation) unsupported(p *policy.Policy, u *policy.Unsupported) {
	if u != nil {
		r.report(p, u.Pos, CodeUnsupported, u.Kind+" is not supported yet", "remove it; Edict refuses to load what it can't decide")
	}
}

// compileRoleSet compiles a set of derived roles, imported or not: broken CEL
// is an error wherever it stands.
func (r *compilation) compileRoleSet(p *policy.Policy) {
	set := p.DerivedRoles
	n := r.namesOf(p, set.Variables, set.Constants)
	compiled := &roleSet{source: p, names: n, module: r.module(p, n)}
	for i, name := range n.order {
		r.refuseRuntime(p, n.variables[name], compiled.module.programs[i])
	}
	for i := range set.Definitions {
		d := &set.Definitions[i]
		r.checkPatterns(p, d.ParentRoles)
		compiled.conditions = append(compiled.conditions, r.condition(p, n, d.Condition, true))
	}
	r.roleSets[set.Name.Value] = compiled
}

// compileResource compiles a resource policy to a unit.
func (r *compilation) compileResource(p *policy.Policy) {
	rp := p.Resource
	r.unsupported(p, rp.Schemas)
	for _, field := range []struct {
		name string
		text diag.Text
	}{{"scope", rp.Scope}, {"scopePermissions", rp.ScopePermissions}} {
		if field.text.Value != "" {
			r.unsupported(p, &policy.Unsupported{Pos: field.text.Pos, Kind: field.name})
		}
	}
	b := &unitBuilder{
		compilation: r,
		policy:      p,
		unit:        &unit{key: rp.Key(), literal: map[string][]int32{}},
		names:       r.namesOf(p, rp.Variables, rp.Constants),
		derived:     map[string]int32{},
		roleBits:    map[string]int{},
		modules:     map[*roleSet]int32{},
	}
	b.unit.modules = []*module{r.module(p, b.names)}
	b.imports()
	b.internRoles()
	for i := range rp.Rules {
		b.rule(i, &rp.Rules[i])
	}
	b.indexRoles()
	b.indexActions()
	r.units[unitKey{policy.Sanitize(rp.Resource.Value), rp.Version.Value, rp.Scope.Value}] = b.unit
}

// A unitBuilder compiles one resource policy.
type unitBuilder struct {
	*compilation
	policy *policy.Policy
	unit   *unit
	names  names

	imported []*roleSet
	derived  map[string]int32 // derived roles in use, by name
	roleBits map[string]int   // role patterns in use
	modules  map[*roleSet]int32
	actions  [][]diag.Text // per row
}

// imports resolves importDerivedRoles.
func (b *unitBuilder) imports() {
	for _, name := range b.policy.Resource.ImportDerivedRoles {
		set, ok := b.roleSets[name.Value]
		if !ok {
			b.report(b.policy, name.Pos, CodeUnknownImport,
				fmt.Sprintf("there is no set of derived roles called %q", name.Value),
				orElse(diag.DidYouMean(name.Value, slices.Collect(maps.Keys(b.roleSets))),
					"add a file with derivedRoles of that name, or remove the import"))
			continue
		}
		b.imported = append(b.imported, set)
	}
}

// internRoles gives every role pattern of the policy, and of the derived roles
// that it uses, a bit.
func (b *unitBuilder) internRoles() {
	for i := range b.policy.Resource.Rules {
		rule := &b.policy.Resource.Rules[i]
		b.checkPatterns(b.policy, rule.Roles)
		b.checkPatterns(b.policy, rule.Actions)
		b.internPatterns(rule.Roles)
		for _, name := range rule.DerivedRoles {
			b.useDerivedRole(name)
		}
	}
	words := (len(b.roleBits) + 63) / 64
	b.unit.roles.words = words
	for i := range b.unit.derived {
		d := &b.unit.derived[i]
		d.parents = b.bitsOf(words, d.literal)
		d.anyRole = slices.Contains(d.literal, "*")
		d.literal = slices.DeleteFunc(slices.Clone(d.literal), glob.IsPattern)
	}
}

func (b *unitBuilder) internPatterns(patterns []diag.Text) {
	for _, p := range patterns {
		if _, ok := b.roleBits[p.Value]; !ok {
			b.roleBits[p.Value] = len(b.roleBits)
		}
	}
}

func (b *unitBuilder) bitsOf(words int, patterns []string) bits {
	set := make(bits, words)
	for _, p := range patterns {
		set.set(b.roleBits[p])
	}
	return set
}

// useDerivedRole finds the definition of a derived role that a rule names and
// takes it into the unit.
func (b *unitBuilder) useDerivedRole(name diag.Text) {
	if _, ok := b.derived[name.Value]; ok {
		return
	}
	var found *roleSet
	var at int
	var names []string
	for _, set := range b.imported {
		definitions := set.source.DerivedRoles.Definitions
		for i := range definitions {
			d := &definitions[i]
			names = append(names, d.Name.Value)
			if d.Name.Value != name.Value {
				continue
			}
			if found != nil {
				b.report(b.policy, name.Pos, CodeAmbiguousDerivedRole,
					fmt.Sprintf("the derived role %q is defined by more than one imported set", name.Value),
					"import only one of them, or rename one definition",
					diag.Related{Pos: found.source.DerivedRoles.Definitions[at].Name.Pos, Message: "defined here"},
					diag.Related{Pos: d.Name.Pos, Message: "and here"})
				return
			}
			found, at = set, i
		}
	}
	if found == nil {
		b.report(b.policy, name.Pos, CodeUnknownDerivedRole,
			fmt.Sprintf("no imported set defines the derived role %q", name.Value),
			orElse(diag.DidYouMean(name.Value, names), "define it in a derivedRoles file and name that file's set under importDerivedRoles"))
		return
	}
	module, ok := b.modules[found]
	if !ok {
		module = int32(len(b.unit.modules))
		b.modules[found] = module
		b.unit.modules = append(b.unit.modules, found.module)
	}
	definition := &found.source.DerivedRoles.Definitions[at]
	b.internPatterns(definition.ParentRoles)
	b.derived[name.Value] = int32(len(b.unit.derived))
	b.unit.derived = append(b.unit.derived, derivedRole{
		name:      name.Value,
		literal:   textValues(definition.ParentRoles),
		condition: b.identify(found.conditions[at], module),
	})
}

// identify gives a condition an id within the unit.
func (b *unitBuilder) identify(root *conditionNode, module int32) condition {
	c := condition{root: root, module: module, id: int32(b.unit.conditions)}
	b.unit.conditions++
	return c
}

// rule adds the rows of one rule.
func (b *unitBuilder) rule(index int, r *policy.Rule) {
	b.unsupported(b.policy, r.Output)
	rule := &Rule{ID: len(b.rules), Name: r.Name.Value, Policy: b.unit.key, Pos: r.Pos}
	if rule.Name == "" {
		rule.Name = fmt.Sprintf("rule-%03d", index+1)
	}
	b.rules = append(b.rules, rule)
	proto := row{
		derived:   -1,
		condition: b.identify(b.condition(b.policy, b.names, r.Condition, false), 0),
		effect:    r.Effect,
		rule:      rule,
	}
	add := func(roles bits, derived int32) {
		proto.roles, proto.derived = roles, derived
		b.unit.rows = append(b.unit.rows, proto)
		b.actions = append(b.actions, r.Actions)
	}
	if len(r.Roles) > 0 {
		add(b.bitsOf(b.unit.roles.words, textValues(r.Roles)), -1)
	}
	for _, name := range r.DerivedRoles {
		if d, ok := b.derived[name.Value]; ok {
			add(b.unit.derived[d].parents, d)
		}
	}
}

// indexRoles prepares, for each role that the unit names, the patterns that
// match it.
func (b *unitBuilder) indexRoles() {
	x := &b.unit.roles
	x.literal = map[string]bits{}
	x.other = make(bits, x.words)
	for _, pattern := range slices.Sorted(maps.Keys(b.roleBits)) {
		switch {
		case pattern == "*":
			x.other.set(b.roleBits[pattern])
		case glob.IsPattern(pattern):
			if g, err := glob.Compile(pattern); err == nil {
				x.globs = append(x.globs, rolePattern{g, b.roleBits[pattern]})
			}
		}
	}
	for pattern, bit := range b.roleBits {
		if glob.IsPattern(pattern) {
			continue
		}
		set := make(bits, x.words)
		x.match(pattern, set)
		set.set(bit)
		x.literal[pattern] = set
	}
}

// indexActions prepares, for each action that the unit names, the rows that it
// meets.
func (b *unitBuilder) indexActions() {
	u := b.unit
	for i, actions := range b.actions {
		for _, a := range actions {
			if !glob.IsPattern(a.Value) {
				u.literal[a.Value] = nil
			} else if g, err := glob.Compile(a.Value); err == nil {
				u.patterns = append(u.patterns, actionPattern{g, int32(i)})
			}
		}
	}
	for action := range u.literal {
		rows := u.matchPatterns(action, nil)
		for i, actions := range b.actions {
			if slices.ContainsFunc(actions, func(t diag.Text) bool { return t.Value == action }) {
				rows = append(rows, int32(i))
			}
		}
		slices.Sort(rows)
		u.literal[action] = slices.Compact(rows)
	}
}

// matchPatterns appends the rows that a pattern leads an action to, each once,
// in order.
func (u *unit) matchPatterns(action string, rows []int32) []int32 {
	for i := range u.patterns {
		p := &u.patterns[i]
		if n := len(rows); n > 0 && rows[n-1] == p.row {
			continue
		}
		if p.glob.Match(action) {
			rows = append(rows, p.row)
		}
	}
	return rows
}

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
		r.unsupported(p, &policy.Unsupported{Pos: i.Pos, Kind: "an import of variables or constants"})
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

func textValues(texts []diag.Text) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = t.Value
	}
	return out
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}
