package coverage

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/policy"
)

// A Coverage gathers what tests try of some policies. It is safe for
// concurrent use until its results are read.
type Coverage struct {
	mu       sync.Mutex
	rules    map[diag.Position]*Rule
	leaves   map[diag.Position]*Expression
	matrices map[string]*Matrix // by policy key
	sources  map[string][]string
	routes   map[string]*Route // by name
}

// A Route is a way by which requests come to be asked about.
type Route struct {
	Name    string        `json:"name"`
	Pos     diag.Position `json:"-"`
	Allowed int           `json:"allowed"` // requests that took it, and passed
	Denied  int           `json:"denied"`
}

// A Rule is one rule: of a resource policy, a principal policy or a role
// policy.
type Rule struct {
	Policy    string        `json:"policy"` // key
	Name      string        `json:"name"`
	Pos       diag.Position `json:"-"`
	Visited   int           `json:"visited"`   // how often it was looked at
	Activated int           `json:"activated"` // how often it matched and its condition held
}

// An Expression is one CEL expression of a condition.
type Expression struct {
	Policy string        `json:"policy"` // key
	Text   string        `json:"expression"`
	Pos    diag.Position `json:"-"`
	True   int           `json:"true"`
	False  int           `json:"false"`
	Failed int           `json:"failed"` // how often it could not be evaluated
}

// A Matrix is the table of the roles and actions that the rules of a resource
// policy name, patterns among them as they are written.
type Matrix struct {
	Policy  string        `json:"policy"` // key
	Pos     diag.Position `json:"-"`
	Roles   []string      `json:"roles"`
	Actions []string      `json:"actions"`
	Decided [][]int       `json:"decided"` // how often, by role and action
	roles   []pattern
	actions []pattern
}

// A pattern is a name of a policy, which matches names of requests.
type pattern struct {
	literal string
	glob    *glob.Pattern
}

func (p pattern) match(name string) bool {
	if p.glob != nil {
		return p.glob.Match(name)
	}
	return p.literal == name
}

func patterns(names []string) []pattern {
	out := make([]pattern, len(names))
	for i, n := range names {
		out[i].literal = n
		if glob.IsPattern(n) {
			if g, err := glob.Compile(n); err == nil { // the policies compile, so there is none
				out[i].glob = &g
			}
		}
	}
	return out
}

// Outcome is what an expression came to.
type Outcome uint8

// The outcomes.
const (
	True Outcome = iota
	False
	Failed
)

// New gives a Coverage of which nothing is covered.
func New(policies []*policy.Policy) *Coverage {
	c := &Coverage{rules: map[diag.Position]*Rule{}, leaves: map[diag.Position]*Expression{}, matrices: map[string]*Matrix{}, sources: map[string][]string{}}
	for _, p := range policies {
		if p.Disabled {
			continue
		}
		c.sources[p.Pos.File] = p.Source
		c.add(p)
	}
	return c
}

// add lists what there is to cover of a policy.
func (c *Coverage) add(p *policy.Policy) {
	key := p.Key()
	rule := func(name string, pos diag.Position, condition *policy.Condition) {
		c.rules[pos] = &Rule{Policy: key, Name: name, Pos: pos}
		c.addCondition(key, condition)
	}
	numbered := func(name diag.Text, i int) string {
		if name.Value != "" {
			return name.Value
		}
		return fmt.Sprintf("rule-%03d", i+1)
	}
	switch {
	case p.Resource != nil:
		for i, r := range p.Resource.Rules {
			rule(numbered(r.Name, i), r.Pos, r.Condition)
		}
		c.addMatrix(p.Resource)
	case p.Principal != nil:
		for _, r := range p.Principal.Rules {
			for i, a := range r.Actions {
				name := a.Name.Value
				if name == "" {
					name = r.Resource.Value + "_" + numbered(a.Name, i)
				}
				rule(name, a.Pos, a.Condition)
			}
		}
	case p.Role != nil:
		for i, r := range p.Role.Rules {
			rule(numbered(r.Name, i), r.Pos, r.Condition)
		}
	case p.DerivedRoles != nil:
		for _, d := range p.DerivedRoles.Definitions {
			c.addCondition(key, d.Condition)
		}
	}
}

func (c *Coverage) addCondition(key string, condition *policy.Condition) {
	if condition == nil {
		return
	}
	if condition.Op == policy.Expr {
		c.leaves[condition.Expr.Pos] = &Expression{Policy: key, Text: condition.Expr.Value, Pos: condition.Expr.Pos}
	}
	for _, member := range condition.Of {
		c.addCondition(key, member)
	}
}

func (c *Coverage) addMatrix(p *policy.ResourcePolicy) {
	var roles, actions []string
	gather := func(list *[]string, texts []diag.Text) {
		for _, t := range texts {
			if !slices.Contains(*list, t.Value) {
				*list = append(*list, t.Value)
			}
		}
	}
	for _, r := range p.Rules {
		gather(&roles, r.Roles)
		gather(&roles, r.DerivedRoles)
		gather(&actions, r.Actions)
	}
	if len(roles) == 0 || len(actions) == 0 {
		return
	}
	m := &Matrix{Policy: p.Key(), Pos: p.Pos, Roles: roles, Actions: actions, roles: patterns(roles), actions: patterns(actions)}
	for range roles {
		m.Decided = append(m.Decided, make([]int, len(actions)))
	}
	c.matrices[m.Policy] = m
}

// Visit notes that the rule at a place was looked at, and whether it was
// activated. Places without a rule are not noted.
func (c *Coverage) Visit(rule diag.Position, activated bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.rules[rule]; r != nil {
		r.Visited++
		if activated {
			r.Activated++
		}
	}
}

// Evaluate notes what the expression at a place came to.
func (c *Coverage) Evaluate(expression diag.Position, o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.leaves[expression]
	switch {
	case e == nil:
	case o == True:
		e.True++
	case o == False:
		e.False++
	default:
		e.Failed++
	}
}

// Decide notes that a resource policy was asked about an action for a
// principal in a role, which may be a derived one.
func (c *Coverage) Decide(policy, role, action string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.matrices[policy]
	if m == nil {
		return
	}
	for i := range m.roles {
		for j := range m.actions {
			if m.roles[i].match(role) && m.actions[j].match(action) {
				m.Decided[i][j]++
			}
		}
	}
}

// AddRoute adds a route that requests may take.
func (c *Coverage) AddRoute(name string, pos diag.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.routes == nil {
		c.routes = map[string]*Route{}
	}
	c.routes[name] = &Route{Name: name, Pos: pos}
}

// Take notes that a request took a route. One that took none is passed over.
func (c *Coverage) Take(route string, allowed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.routes[route]
	switch {
	case r == nil:
	case allowed:
		r.Allowed++
	default:
		r.Denied++
	}
}

// Routes gives every route that was added, in the order of the files.
func (c *Coverage) Routes() []*Route {
	return inOrder(c.routes, func(r *Route) diag.Position { return r.Pos })
}

// RouteShare is the share of routes that a request took.
func (c *Coverage) RouteShare() Share {
	var s Share
	for _, r := range c.routes {
		s.count(r.Allowed+r.Denied > 0)
	}
	return s
}

// Rules gives every rule, in the order of the files.
func (c *Coverage) Rules() []*Rule {
	return inOrder(c.rules, func(r *Rule) diag.Position { return r.Pos })
}

// Expressions gives every expression of conditions, in the order of the files.
func (c *Coverage) Expressions() []*Expression {
	return inOrder(c.leaves, func(e *Expression) diag.Position { return e.Pos })
}

// Matrices gives the tables of resource policies, in the order of the files.
func (c *Coverage) Matrices() []*Matrix {
	return inOrder(c.matrices, func(m *Matrix) diag.Position { return m.Pos })
}

func inOrder[K comparable, T any](items map[K]*T, pos func(*T) diag.Position) []*T {
	out := make([]*T, 0, len(items))
	for _, x := range items {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b *T) int {
		p, q := pos(a), pos(b)
		return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
	})
	return out
}

// A Share is how much of something is covered.
type Share struct {
	Covered int `json:"covered"`
	Total   int `json:"total"`
}

// Percent gives the share in percent, from 0 to 100.
func (s Share) Percent() float64 {
	if s.Total == 0 {
		return 100
	}
	return 100 * float64(s.Covered) / float64(s.Total)
}

func (s Share) plus(t Share) Share { return Share{s.Covered + t.Covered, s.Total + t.Total} }

func (s *Share) count(covered bool) {
	s.Total++
	if covered {
		s.Covered++
	}
}

// A Summary is how much is covered of a policy, or of all.
type Summary struct {
	Rules    Share `json:"rules"`
	Branches Share `json:"branches"` // two for each expression
	Cells    Share `json:"cells"`
}

// Overall is the share of rules and branches together. Cells have no part in
// it: a table has cells that nobody needs.
func (s Summary) Overall() Share { return s.Rules.plus(s.Branches) }

// A PolicySummary is how much is covered of one policy.
type PolicySummary struct {
	Policy string // key
	File   string
	Summary
}

// Policies gives what is covered of each policy that has something to cover,
// in the order of the files.
func (c *Coverage) Policies() []PolicySummary {
	var out []PolicySummary
	at := map[string]int{}
	of := func(key, file string) *Summary {
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out = append(out, PolicySummary{Policy: key, File: file})
		}
		return &out[i].Summary
	}
	for _, r := range c.Rules() {
		of(r.Policy, r.Pos.File).Rules.count(r.Activated > 0)
	}
	for _, e := range c.Expressions() {
		s := of(e.Policy, e.Pos.File)
		s.Branches.count(e.True > 0)
		s.Branches.count(e.False > 0)
	}
	for _, m := range c.Matrices() {
		s := of(m.Policy, m.Pos.File)
		for _, row := range m.Decided {
			for _, n := range row {
				s.Cells.count(n > 0)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b PolicySummary) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Policy, b.Policy))
	})
	return out
}

// Summary gives what is covered of all policies together.
func (c *Coverage) Summary() Summary {
	var all Summary
	for _, p := range c.Policies() {
		all.Rules = all.Rules.plus(p.Rules)
		all.Branches = all.Branches.plus(p.Branches)
		all.Cells = all.Cells.plus(p.Cells)
	}
	return all
}
