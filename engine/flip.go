package engine

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"edict/engine/policy"
	"edict/engine/value"
)

// Party says whose attributes, scope or version a Change is about.
type Party uint8

// The parties to a request.
const (
	PartyResource Party = iota
	PartyPrincipal
)

// String gives resource or principal.
func (p Party) String() string { return [...]string{"resource", "principal"}[p] }

// ChangeKind says what a Change does.
type ChangeKind uint8

// The kinds of changes.
const (
	SetAttribute ChangeKind = iota
	RemoveAttribute
	AddRole
	RemoveRole
	SetScope
	SetVersion
)

// String gives the kind in two words.
func (k ChangeKind) String() string {
	return [...]string{"set attribute", "remove attribute", "add role", "remove role", "set scope", "set version"}[k]
}

// A Change is one thing about a request that could be otherwise.
type Change struct {
	Kind ChangeKind
	Of   Party
	Path []string // of an attribute: its name, and the names that lead on from it

	// Old is what the request has, New what it would have: the value of an
	// attribute, the name of a role, a scope or a version. Absent is nothing.
	Old, New value.Value
}

// apply changes r, which shares attributes and roles with another request.
func (c *Change) apply(r *Request) {
	attr := &r.Resource.Attr
	if c.Of == PartyPrincipal {
		attr = &r.Principal.Attr
	}
	switch c.Kind {
	case SetAttribute, RemoveAttribute:
		*attr = replaced(*attr, c.Path, c.New)
	case AddRole:
		r.Principal.Roles = append(slices.Clone(r.Principal.Roles), c.New.Str())
	case RemoveRole:
		r.Principal.Roles = slices.DeleteFunc(slices.Clone(r.Principal.Roles), func(role string) bool { return role == c.Old.Str() })
	case SetScope:
		r.Resource.Scope = c.New.Str()
	case SetVersion:
		r.Resource.PolicyVersion = c.New.Str()
	}
}

// replaced gives attributes that have v at path, and nothing if v is absent.
// Where the path leads through what is no map, there will be one.
func replaced(m value.Mapping, path []string, v value.Value) value.Mapping {
	out := value.Values{}
	if m != nil {
		m.Range(func(key string, member value.Value) bool {
			out[key] = member
			return true
		})
	}
	switch {
	case len(path) > 1:
		inner := out[path[0]].Mapping()
		if inner == nil && v.Kind() == value.Absent {
			return m
		}
		out[path[0]] = value.OfMapping(replaced(inner, path[1:], v))
	case v.Kind() == value.Absent:
		delete(out, path[0])
	default:
		out[path[0]] = v
	}
	return out
}

// A Flip is a change to a request that turns the decision about an action
// around. It was tried: Result is what Check gave.
type Flip struct {
	Changes []Change // one; two where no single change was found
	Result  Result   // of the action after the changes
}

// Apply gives the request with the changes made. It shares with req what is not
// changed.
func (f *Flip) Apply(req *Request) *Request {
	r := *req
	for i := range f.Changes {
		f.Changes[i].apply(&r)
	}
	return &r
}

// FlipLimits bound the search for flips.
type FlipLimits struct {
	// Flips is how many are wanted, each of another attribute or role; 0 means 1.
	Flips int

	// Checks is how often the engine is asked at most; 0 means 10,000.
	Checks int

	// Time ends the search, whatever it has found by then; 0 means that it takes
	// its time. What is found depends on the machine if it ends the search.
	Time time.Duration
}

// A FlipSearch is what looking for flips has found.
type FlipSearch struct {
	Before Result // of the action, without any change
	Flips  []Flip // the smallest first
	Checks int    // how many changes were tried
	Cut    bool   // FlipLimits.Checks or Time ended the search early
}

// Flips looks for the smallest change to req that would turn the decision about
// an action around: would allow what is denied, and deny what is allowed.
//
// What is tried comes from the rules that are about the action, whether they
// had a say or not: what their conditions compare an attribute with, that value
// and its neighbours, the roles that they name, and the values that a schema
// lists. Of these, single changes come first: an attribute of the resource
// before one of the principal, and that before a role, since that is the order
// of how much else a change brings about. An attribute that is there is changed
// rather than one added, and one added rather than one removed; a value that a
// rule speaks of comes before one that is merely different, and the nearer
// number before the farther. If none of them turns the decision, other scopes
// and versions of the resource are tried, and after that pairs of the changes
// before.
//
// Every flip was verified by Check, on the whole request and at one instant.
// That there is none means only that none of the changes that were tried is one:
// no search can try all values. The same policies and request give the same
// flips in the same order, but for a request without Now and limits of time.
func (ps *PolicySet) Flips(req *Request, action string, limits FlipLimits) *FlipSearch {
	r := *req
	r.IncludeMeta = false
	if r.Now.IsZero() {
		r.Now = time.Now()
	}
	at := slices.Index(r.Actions, action)
	if at < 0 {
		at = len(r.Actions)
		r.Actions = append(slices.Clone(r.Actions), action)
	}
	s := &flipSearch{set: ps, request: &r, at: at, limits: limits, began: time.Now(), found: &FlipSearch{}}
	if s.limits.Flips <= 0 {
		s.limits.Flips = 1
	}
	if s.limits.Checks <= 0 {
		s.limits.Checks = 10_000
	}
	s.found.Before = s.check(&r)
	s.run(ps.candidates(&r, action))
	s.found.Before.Err = detachedError(s.found.Before.Err)
	s.found.Before.Action = strings.Clone(s.found.Before.Action)
	return s.found
}

type flipSearch struct {
	set      *PolicySet
	request  *Request
	at       int // of the action
	limits   FlipLimits
	began    time.Time
	decision Decision
	found    *FlipSearch
}

func (s *flipSearch) check(r *Request) Result {
	s.set.Check(r, &s.decision)
	return s.decision.Results[s.at]
}

// run tries single changes, and pairs if none of them is a flip.
func (s *flipSearch) run(c *candidates) {
	for _, list := range [][]candidate{c.list, c.elsewhere} {
		if s.each(list); len(s.found.Flips) > 0 || s.found.Cut {
			return
		}
	}
	s.pairs(c.list)
}

// each tries single changes, at most one flip for each target.
func (s *flipSearch) each(list []candidate) {
	done := map[string]bool{}
	for i := range list {
		c := &list[i]
		if done[c.target] {
			continue
		}
		if done[c.target] = s.try(c.change); s.enough() {
			return
		}
	}
}

// Pairs are made of the first candidates for each target, since almost all of
// the others are variations of them.
const pairedPerTarget = 3

// pairs tries pairs of changes of different targets. Those whose members are
// early in the list come first. One flip will do.
func (s *flipSearch) pairs(list []candidate) {
	var first []candidate
	count := map[string]int{}
	for _, c := range list {
		if count[c.target]++; count[c.target] <= pairedPerTarget {
			first = append(first, c)
		}
	}
	for sum := 1; sum <= 2*len(first)-3; sum++ {
		for i := max(0, sum-len(first)+1); i < sum-i; i++ {
			a, b := &first[i], &first[sum-i]
			if a.target == b.target {
				continue
			}
			if s.try(a.change, b.change) || s.found.Cut {
				return
			}
		}
	}
}

func (s *flipSearch) enough() bool { return s.found.Cut || len(s.found.Flips) == s.limits.Flips }

// try verifies changes, and keeps them if they are a flip.
func (s *flipSearch) try(changes ...Change) bool {
	if s.found.Checks == s.limits.Checks || s.limits.Time > 0 && time.Since(s.began) > s.limits.Time {
		s.found.Cut = true
		return false
	}
	s.found.Checks++
	f := Flip{Changes: changes}
	f.Result = s.check(f.Apply(s.request))
	if f.Result.Allowed() == s.found.Before.Allowed() {
		return false
	}
	f.Result.Err = detachedError(f.Result.Err)
	f.Result.Action = strings.Clone(f.Result.Action)
	s.found.Flips = append(s.found.Flips, f)
	return true
}

// A candidate is a change that may be a flip.
type candidate struct {
	change Change
	target string // what is changed, so that changes of one thing can be told
	rank   rank
	order  int     // of the target, among those of the same rank
	cost   float64 // how far the new value is from the old
}

// A rank says how much a change brings about, the least first.
type rank uint8

const (
	setResource rank = iota
	setResourceOther
	addToResource
	addToResourceOther
	removeFromResource
	setPrincipal
	setPrincipalOther
	addToPrincipal
	addToPrincipalOther
	removeFromPrincipal
	addRole
	removeRole
	elsewhere
)

// candidates are the changes to try, in their order.
type candidates struct {
	list      []candidate
	elsewhere []candidate // if none of list is a flip
}

// candidates gathers the changes that could turn the decision about an action.
func (ps *PolicySet) candidates(r *Request, action string) *candidates {
	st := newState(ps)
	st.decision = &Decision{Results: make([]Result, len(r.Actions))}
	g := &gatherer{st: st, targets: map[string]*target{}, offered: map[string]bool{}, visited: map[visitedText]bool{}, asts: map[string]*parsedText{}, roles: map[string]bool{}}
	st.begin(r)
	if st.resource.exists || st.principal.exists {
		g.gather(action)
	}
	g.gatherRoles()
	c := &candidates{list: g.list, elsewhere: g.elsewhere()}
	slices.SortStableFunc(c.list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.order, b.order), cmp.Compare(a.cost, b.cost))
	})
	return c
}

// elsewhere gives changes of the resource's scope and version: to those that
// there is a policy for its kind in.
func (g *gatherer) elsewhere() (out []candidate) {
	st := g.st
	var scopes, versions []string
	for k, units := range st.set.resources {
		if k.kind != st.kind {
			continue
		}
		if k.version != st.resource.version {
			versions = append(versions, k.version)
			continue
		}
		units.each(func(u *unit) {
			if name := u.source.Resource.Scope.Value; name != st.resource.exact {
				scopes = append(scopes, name)
			}
		})
	}
	slices.Sort(scopes)
	slices.Sort(versions)
	for _, name := range scopes {
		if name == "" && st.set.options.DefaultScope != "" {
			name = "." // an empty one would be the default
		}
		out = append(out, candidate{rank: elsewhere, target: "scope", change: Change{Kind: SetScope, Old: value.OfString(strings.Clone(st.resource.exact)), New: value.OfString(name)}})
	}
	for _, name := range versions {
		out = append(out, candidate{rank: elsewhere, target: "version", change: Change{Kind: SetVersion, Old: value.OfString(strings.Clone(st.resource.version)), New: value.OfString(name)}})
	}
	return out
}

// gatherRoles adds candidates for the roles that were noted, and for those that
// the principal has.
func (g *gatherer) gatherRoles() {
	has := g.st.req.Principal.Roles
	for i, role := range g.roleOrder {
		if !slices.Contains(has, role) {
			g.list = append(g.list, candidate{rank: addRole, order: i, target: "role " + role, change: Change{Kind: AddRole, Of: PartyPrincipal, New: value.OfString(role)}})
		}
	}
	for i, role := range has {
		if slices.Index(has, role) == i && len(has) > 1 { // somebody without roles may do nothing anyway
			g.list = append(g.list, candidate{rank: removeRole, order: i, target: "role " + role, change: Change{Kind: RemoveRole, Of: PartyPrincipal, Old: value.OfString(strings.Clone(role))}})
		}
	}
}

// note takes a role into account.
func (g *gatherer) note(roles ...string) {
	for _, role := range roles {
		if role != "" && !strings.ContainsAny(role, "*?[]{}") && !g.roles[role] {
			g.roles[role] = true
			g.roleOrder = append(g.roleOrder, strings.Clone(role))
		}
	}
}

// gather goes through every row that is about the action, in the order in which
// they are asked.
func (g *gatherer) gather(action string) {
	st := g.st
	st.isOverride, st.at = true, -1
	for _, o := range st.overrides {
		for _, i := range intersect(o.resources.find(st.kind, &st.kinds), o.actions.find(action, &st.rows), nil) {
			g.row(&o.rows[i])
		}
	}
	st.isOverride = false
	for n := range st.steps {
		s := &st.steps[n]
		st.at = n
		if s.layer != nil {
			g.layer(s.layer, action)
		}
		if s.unit == nil {
			continue
		}
		for _, i := range s.unit.actions.find(action, &st.rows) {
			r := &s.unit.rows[i]
			if at := slices.Index(s.unit.rules, r.rule); at >= 0 && r.derived == nil {
				g.note(textValues(s.unit.source.Resource.Rules[at].Roles)...)
			}
			g.row(r)
		}
		for i := range s.unit.derived { // the list of derived roles can be read
			g.derived(&s.unit.derived[i])
		}
	}
	g.schemas()
}

// layer goes through the role policies of a scope, by role.
func (g *gatherer) layer(l *roleLayer, action string) {
	var roles []string
	for role := range l.lists {
		roles = append(roles, role)
	}
	slices.Sort(roles)
	for _, role := range roles {
		a := l.lists[role]
		g.note(role)
		g.note(textValues(a.source.Role.ParentRoles)...)
		for _, i := range intersect(a.resources.find(g.st.kind, &g.st.kinds), a.actions.find(action, &g.st.rows), nil) {
			g.row(&a.rows[i])
		}
	}
}

func (g *gatherer) row(r *row) {
	if r.derived != nil {
		g.derived(r.derived)
	}
	if r.condition != nil && !r.condition.early {
		g.condition(r.written, r.condition.module)
	}
}

func (g *gatherer) derived(d *derivedRole) {
	g.note(d.literal...)
	if d.condition != nil {
		g.condition(d.definition.Condition, d.condition.module)
	}
}

func (g *gatherer) condition(c *policy.Condition, m *module) {
	if c.Op == policy.Expr {
		g.text(c.Expr.Value, m, true)
	}
	for _, member := range c.Of {
		g.condition(member, m)
	}
}
