package engine

import (
	"fmt"
	"sync"

	"edict/engine/diag"
	"edict/engine/expr"
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

	// DefaultScope is the scope of a principal or resource that names none.
	// One that names "." means the root scope.
	DefaultScope string

	// LenientScopeSearch lets a request in a scope without policies be decided
	// by the nearest scope above that has some.
	LenientScopeSearch bool

	// SchemaEnforcement says what becomes of attributes that break a schema.
	SchemaEnforcement SchemaEnforcement
}

// SchemaEnforcement says what becomes of attributes that break a schema.
type SchemaEnforcement uint8

// The levels of enforcement.
const (
	SchemaNone   SchemaEnforcement = iota // schemas are not looked at
	SchemaWarn                            // Decision.ValidationErrors says so; nothing else changes
	SchemaReject                          // every action is denied, too
)

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
			r.unsupported(p, p.Pos, "this kind of policy")
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

func (r *compilation) unsupported(p *policy.Policy, pos diag.Position, what string) {
	r.report(p, pos, CodeUnsupported, what+" is not supported yet", "remove it; Edict refuses to load what it can't decide")
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
