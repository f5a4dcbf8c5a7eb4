package engine

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/internal/parallel"
	"edict/engine/policy"
	"edict/engine/schema"
	"edict/engine/value"
)

// Options tunes how policies decide. The zero value is ready for production.
type Options struct {
	// DefaultPolicyVersion is the version of a principal or resource that
	// names none. Empty means "default".
	DefaultPolicyVersion string

	// DefaultScope is the scope of a principal or resource that names none.
	// One that names "." means the root scope.
	DefaultScope string

	// LenientScopeSearch lets a request in a scope without policies be decided
	// by the nearest scope above that has some.
	LenientScopeSearch bool

	// LenientEvaluation makes a condition that can't be evaluated count as
	// false, so that a DENY rule with an error does not apply. By default the
	// error denies the action (engine.strictEvaluation).
	LenientEvaluation bool

	// Globals are the values of globals.name and G.name. Nil means none.
	Globals value.Mapping

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

// String gives the level as the configuration writes it.
func (e SchemaEnforcement) String() string { return [...]string{"none", "warn", "reject"}[e] }

// A Compiler turns policies into PolicySets. It keeps what it made of the last
// ones, so that compiling policies of which most are the same, by pointer, is
// quick. It is safe for concurrent use; compilations take turns.
type Compiler struct {
	options Options
	env     *expr.Env

	mu         sync.Mutex
	programs   map[string]*compiledExpression // in use by built, by source text
	built      map[*policy.Policy]*built      // of the last PolicySet
	conditions map[string]*condition          // in use by built, by meaning

	programIDs, conditionIDs, moduleIDs ids

	// One string for all that are equal, among the names of actions and roles:
	// those that requests ask for are then likely at hand for the processor.
	strings map[string]string
}

// maxStrings bounds what is kept of the names in policies that are gone.
const maxStrings = 1 << 16

// same gives the one string that stands for all that are equal to s.
func (c *Compiler) same(s string) string {
	if one, ok := c.strings[s]; ok {
		return one
	}
	s = strings.Clone(s)
	c.strings[s] = s
	return s
}

type compiledExpression struct {
	id      int32
	source  string
	program *expr.Program // nil: it does not compile
	issues  []expr.Issue
	uses    int // by built
}

// ids hands out small numbers, and those again that were given back.
type ids struct {
	next int32
	free []int32
}

func (i *ids) take() int32 {
	if n := len(i.free); n > 0 {
		id := i.free[n-1]
		i.free = i.free[:n-1]
		return id
	}
	i.next++
	return i.next - 1
}

func (i *ids) give(id int32) { i.free = append(i.free, id) }

// NewCompiler prepares the CEL environment for Options.
func NewCompiler(options Options) (*Compiler, error) {
	env, err := NewEnvironment()
	if err != nil {
		return nil, fmt.Errorf("preparing the CEL environment: %w", err)
	}
	if options.DefaultPolicyVersion == "" {
		options.DefaultPolicyVersion = "default"
	}
	if options.Globals == nil {
		options.Globals = value.Values(nil)
	}
	return &Compiler{options: options, env: env, programs: map[string]*compiledExpression{}, conditions: map[string]*condition{}}, nil
}

// Compile compiles policies without schemas once; to compile again and again,
// keep a Compiler.
func Compile(policies []*policy.Policy, options Options) (*PolicySet, diag.List) {
	c, err := NewCompiler(options)
	if err != nil {
		return nil, diag.List{{Message: err.Error()}}
	}
	return c.Compile(policies, nil)
}

// Compile compiles policies to a PolicySet, or gives everything that is wrong
// with them: exactly one of the results is nil. Disabled policies are left out.
// The schemas are those that policies refer to; nil means that references are
// not looked at, which SchemaEnforcement forbids unless it is SchemaNone.
func (c *Compiler) Compile(policies []*policy.Policy, schemas *schema.Set) (*PolicySet, diag.List) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if schemas == nil && c.options.SchemaEnforcement != SchemaNone {
		schemas = schema.New(nil)
	}
	if c.strings == nil || len(c.strings) > maxStrings {
		c.strings = map[string]string{} // what policies are gone for did no harm so far
	}
	run := &compilation{
		Compiler: c,
		schemas:  schemas,
		library:  newLibrary(),
		before:   c.built,
		built:    make(map[*policy.Policy]*built, len(policies)),
	}
	run.gather(policies)
	run.precompile()
	run.build()
	if len(run.diagnostics) > 0 {
		run.release(run.built, c.built)
		run.forget()
		return nil, withoutRepetitions(run.diagnostics.Sorted())
	}
	parallel.Do(len(run.bindings), func(i int) { run.bindings[i]() })
	set := run.set()
	run.release(c.built, run.built)
	run.forget()
	c.built = run.built
	return set, nil
}

// withoutRepetitions drops what was found by several ways: a set of derived
// roles, for example, is looked at for each policy that imports it.
func withoutRepetitions(list diag.List) diag.List {
	return slices.CompactFunc(list, func(a, b diag.Diagnostic) bool {
		return a.Pos == b.Pos && a.Code == b.Code && a.Message == b.Message
	})
}

// A compilation is one run of Compile.
type compilation struct {
	*Compiler
	*library
	schemas *schema.Set

	before map[*policy.Policy]*built // of the last run
	built  map[*policy.Policy]*built // of this one
	fresh  []*compiledExpression     // that this run has compiled

	bindings []func() // what is left to do once all policies are sound

	diagnostics diag.List
}

// built is what became of one policy, and what it was made of.
type built struct {
	from    []*policy.Policy // the sets that the policy imports, and theirs
	schemas string           // digest of the schemas at hand

	roleSet  *roleSet   // of derived roles
	unit     *unit      // of a resource policy
	override *override  // of a principal policy
	list     *allowList // of a role policy

	expressions []*compiledExpression
	conditions  []*condition
	modules     []*module
}

// reuse gives what the last run made of a policy, if nothing that it was made
// of has changed.
func (r *compilation) reuse(p *policy.Policy) *built {
	b := r.before[p]
	if b == nil || b.schemas != r.digest(p) {
		return nil
	}
	from := r.imports(p)
	if len(from) != len(b.from) {
		return nil
	}
	for i := range from {
		if from[i] != b.from[i] {
			return nil
		}
	}
	return b
}

// digest tells one state of the schemas that a policy refers to from others.
func (r *compilation) digest(p *policy.Policy) string {
	if p.Resource == nil || p.Resource.Schemas == nil || r.schemas == nil {
		return ""
	}
	return r.schemas.Digest()
}

// precompile compiles the expressions that are new, on all processors.
func (r *compilation) precompile() {
	for _, p := range r.order {
		if r.reuse(p) != nil {
			continue
		}
		EachExpression(p, func(t diag.Text) {
			if r.programs[t.Value] == nil {
				c := &compiledExpression{id: r.programIDs.take(), source: t.Value}
				r.programs[t.Value] = c
				r.fresh = append(r.fresh, c)
			}
		})
	}
	parallel.Do(len(r.fresh), func(i int) { r.compileOne(r.fresh[i]) })
}

// compileOne compiles one expression. Should that panic, the expression is at
// fault, and not all of them.
func (r *compilation) compileOne(c *compiledExpression) {
	defer func() {
		if p := recover(); p != nil {
			c.program, c.issues = nil, []expr.Issue{{Line: 1, Column: 1,
				Message: fmt.Sprintf("compiling the expression panicked: %v", p), Hint: "this is a defect of Edict; please report it"}}
		}
	}()
	c.program, c.issues = r.env.Compile(c.source)
}

// release gives back the ids of what is in old and not in kept.
func (r *compilation) release(old, kept map[*policy.Policy]*built) {
	for p, b := range old {
		if kept[p] == b {
			continue
		}
		for _, c := range b.conditions {
			if c.uses--; c.uses == 0 {
				delete(r.conditions, c.key)
				r.conditionIDs.give(c.id)
			}
		}
		for _, m := range b.modules {
			r.moduleIDs.give(m.id)
		}
		for _, e := range b.expressions {
			if e.uses--; e.uses == 0 {
				r.drop(e)
			}
		}
	}
}

func (r *compilation) drop(e *compiledExpression) {
	delete(r.programs, e.source)
	r.programIDs.give(e.id)
}

// forget drops the expressions of this run that nothing came to use.
func (r *compilation) forget() {
	for _, e := range r.fresh {
		if e.uses == 0 && r.programs[e.source] == e {
			r.drop(e)
		}
	}
}

// build makes of each policy what a PolicySet holds, or takes it from the last
// run.
func (r *compilation) build() {
	for _, p := range r.order { // sets of derived roles first: others import them
		if p.DerivedRoles != nil {
			r.buildOne(p, r.buildRoleSet)
		}
	}
	for _, p := range r.order {
		switch {
		case p.Resource != nil:
			r.buildOne(p, r.buildResource)
		case p.Principal != nil:
			r.buildOne(p, r.buildPrincipal)
		case p.Role != nil:
			r.buildOne(p, r.buildRole)
		}
	}
}

func (r *compilation) buildOne(p *policy.Policy, build func(*policy.Policy, *built)) {
	if b := r.reuse(p); b != nil {
		r.built[p] = b
		return
	}
	b := &built{from: r.imports(p), schemas: r.digest(p)}
	r.built[p] = b
	build(p, b)
}

// set assembles the PolicySet.
func (r *compilation) set() *PolicySet {
	ps := &PolicySet{
		env:             r.env,
		options:         r.options,
		resources:       make(map[kindKey]scopedUnits, len(r.order)),
		principals:      map[string]map[unitKey]*override{},
		roles:           map[unitKey]*roleLayer{},
		resourceScopes:  map[string]*scope{},
		principalScopes: map[string]*scope{},
		inherited:       r.inherited,
		conditions:      int(r.conditionIDs.next),
		modules:         int(r.moduleIDs.next),
	}
	for _, p := range r.order {
		b := r.built[p]
		switch {
		case p.Resource != nil:
			rp := p.Resource
			k := kindKey{policy.Sanitize(rp.Resource.Value), rp.Version.Value}
			units := ps.resources[k]
			if rp.Scope.Value == "" {
				units.root = b.unit
			} else {
				if units.scoped == nil {
					units.scoped = map[string]*unit{}
				}
				units.scoped[rp.Scope.Value] = b.unit
			}
			ps.resources[k] = units
			r.useScope(ps.resourceScopes, rp.Scope.Value)
		case p.Principal != nil:
			pp := p.Principal
			if ps.principals[pp.Principal.Value] == nil {
				ps.principals[pp.Principal.Value] = make(map[unitKey]*override, 1)
			}
			ps.principals[pp.Principal.Value][unitKey{pp.Version.Value, pp.Scope.Value}] = b.override
			s := r.useScope(ps.principalScopes, pp.Scope.Value)
			s.versions = append(s.versions, pp.Version.Value)
		case p.Role != nil:
			rp := p.Role
			at := rp.Scope.Value
			if len(rp.Rules) == 0 {
				break // it narrows nothing: the role is another name for its parents
			}
			k := unitKey{rp.Version.Value, at}
			if ps.roles[k] == nil {
				ps.roles[k] = &roleLayer{lists: map[string]*allowList{}}
			}
			ps.roles[k].lists[rp.Role.Value] = b.list
			r.useScope(ps.resourceScopes, at)
		default:
			continue
		}
		ps.policies++
	}
	for _, layer := range ps.roles {
		kinds := patternIndexer{same: r.same}
		for _, a := range layer.lists {
			for i := range a.source.Role.Rules {
				kinds.add(0, wildcard(a.source.Role.Rules[i].Resource.Value))
			}
		}
		layer.kinds = kinds.index()
	}
	for _, scopes := range []map[string]*scope{ps.resourceScopes, ps.principalScopes} {
		for name, s := range scopes {
			s.parent = nearest(scopes, name)
		}
	}
	ps.states = &sync.Pool{New: func() any { return newState(ps) }}
	return ps
}

// useScope notes that some policy is in a scope.
func (r *compilation) useScope(scopes map[string]*scope, name string) *scope {
	s := scopes[name]
	if s == nil {
		s = &scope{name: name, consent: r.consent[name], ruled: r.ruled[name]}
		scopes[name] = s
	}
	return s
}

// nearest gives the nearest scope above name that is used, or nil.
func nearest(scopes map[string]*scope, name string) *scope {
	for name != "" {
		name = parentScope(name)
		if s := scopes[name]; s != nil {
			return s
		}
	}
	return nil
}

// parentScope cuts the last segment off a scope.
func parentScope(name string) string {
	return name[:max(0, strings.LastIndexByte(name, '.'))]
}

// maxInherited bounds how many roles the roles of a scope inherit, in total.
// Whoever needs more has a cycle or a chain of thousands.
const maxInherited = 1_000_000

// closure gives all that each role inherits, given its parents, or false if that
// is too much: a parent, all that it inherits, the next parent. Roles may
// inherit each other in circles, and then inherit themselves.
func closure(parents map[string][]string) (map[string][]string, bool) {
	all := make(map[string][]string, len(parents))
	total := 0
	for role := range parents {
		seen := map[string]bool{}
		var out []string
		todo := reversed(parents[role]) // the next one last
		for len(todo) > 0 {
			next := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[next] {
				continue
			}
			seen[next] = true
			out = append(out, next)
			if total++; total > maxInherited {
				return nil, false
			}
			todo = append(todo, reversed(parents[next])...)
		}
		all[role] = out
	}
	return all, true
}

func reversed(s []string) []string {
	out := slices.Clone(s)
	slices.Reverse(out)
	return out
}
