package engine

import (
	"fmt"
	"maps"
	"slices"

	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/policy"
)

// compileResource compiles a resource policy to a unit.
func (r *compilation) compileResource(p *policy.Policy) {
	rp := p.Resource
	if rp.Schemas != nil || rp.Scope.Value != "" || rp.Permissions != 0 {
		r.unsupported(p, rp.Pos, "this field")
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
	if r.Output != nil {
		b.unsupported(b.policy, r.Output.Pos, "output")
	}
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
