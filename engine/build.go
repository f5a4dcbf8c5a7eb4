package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/policy"
	"edict/engine/schema"
)

// A roleSet is a set of derived roles. It is compiled once for all that import
// it, unless what it says depends on who does.
type roleSet struct {
	source *policy.Policy
	names  names
	module *module

	// Some variable of the set, or some condition, reads the list of derived
	// roles, which is another for each importer and scope.
	perImporter bool
}

// buildRoleSet compiles a set of derived roles, imported or not: broken CEL is
// an error wherever it stands.
func (r *compilation) buildRoleSet(p *policy.Policy, b *built) {
	set := p.DerivedRoles
	n := r.namesOf(p, set.Variables, set.Constants)
	b.roleSet = &roleSet{source: p, names: n, module: r.module(b, p, &n)}
	b.roleSet.perImporter = len(n.runtime) > 0
	for i := range set.Definitions {
		d := &set.Definitions[i]
		r.checkPatterns(p, d.ParentRoles)
		if c := r.condition(b, p, n, b.roleSet.module, d.Condition); c != nil && c.readsRuntime {
			b.roleSet.perImporter = true
		}
	}
}

// buildResource compiles a resource policy to a unit.
func (r *compilation) buildResource(p *policy.Policy, into *built) {
	rp := p.Resource
	n := r.namesOf(p, rp.Variables, rp.Constants)
	m := r.module(into, p, &n)
	b := &unitBuilder{
		compilation: r,
		policy:      p,
		built:       into,
		names:       n,
		unit:        &unit{key: rp.Key(), source: p, module: m},
		derived:     map[string]bool{},
		roleBits:    map[string]int{},
		modules:     map[*roleSet]*[2]*module{},
		index:       patternIndexer{same: r.same},
	}
	into.unit = b.unit
	b.imports()
	b.internRoles()
	for i := range rp.Rules {
		b.rule(i, &rp.Rules[i])
	}
	b.indexRoles()
	b.unit.actions = b.index.index()
	b.unit.anyRow = b.newBits()
	for i := range b.unit.rows {
		b.unit.anyRow.add(b.unit.rows[i].roles)
	}
	if rp.Schemas != nil && r.schemas != nil {
		b.unit.schemas = [2]*schemaCheck{b.schema(rp.Schemas.Principal), b.schema(rp.Schemas.Resource)}
	}
}

// A unitBuilder compiles one resource policy.
type unitBuilder struct {
	*compilation
	policy *policy.Policy
	built  *built
	unit   *unit
	names  names

	imported []*roleSet
	derived  map[string]bool // roles in use, by name
	roleBits map[string]int  // role patterns in use
	modules  map[*roleSet]*[2]*module
	index    patternIndexer // of actions
	slab     []uint64       // memory of sets of roles
}

// imports resolves importDerivedRoles. What is missing was reported.
func (b *unitBuilder) imports() {
	for _, name := range b.policy.Resource.ImportDerivedRoles {
		if p := b.roleSets[name.Value]; p != nil {
			b.imported = append(b.imported, b.compilation.built[p].roleSet)
		}
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
		d.parents = b.bitsOf(d.literal)
		d.anyRole = slices.Contains(d.literal, "*")
	}
}

func (b *unitBuilder) internPatterns(patterns []diag.Text) {
	for _, p := range patterns {
		if _, ok := b.roleBits[p.Value]; !ok {
			b.roleBits[p.Value] = len(b.roleBits)
		}
	}
}

func (b *unitBuilder) bitsOf(patterns []string) bits {
	set := b.newBits()
	for _, p := range patterns {
		set.set(b.roleBits[p])
	}
	return set
}

// newBits makes an empty set. The sets of a unit lie side by side in memory.
func (b *unitBuilder) newBits() bits {
	words := b.unit.roles.words
	if len(b.slab)+words > cap(b.slab) {
		b.slab = make([]uint64, 0, 16*words)
	}
	n := len(b.slab)
	b.slab = b.slab[:n+words]
	return b.slab[n : n+words : n+words]
}

// useDerivedRole finds the definition of a derived role that a rule names and
// takes it into the unit.
func (b *unitBuilder) useDerivedRole(name diag.Text) {
	if b.derived[name.Value] {
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
		near := diag.DidYouMean(name.Value, names)
		if near == "" && len(b.imported) < len(b.policy.Resource.ImportDerivedRoles) {
			return // it may be in the set that is missing, which was reported
		}
		b.report(b.policy, name.Pos, CodeUnknownDerivedRole,
			fmt.Sprintf("no imported set defines the derived role %q", name.Value),
			orElse(near, "define it in a derivedRoles file and name that file's set under importDerivedRoles"))
		return
	}
	definition := &found.source.DerivedRoles.Definitions[at]
	b.internPatterns(definition.ParentRoles)
	modules := b.modulesOf(found)
	d := derivedRole{
		name:      name.Value,
		literal:   textValues(definition.ParentRoles),
		condition: b.condition(b.built, found.source, found.names, modules[0], definition.Condition),
		listed:    b.condition(b.built, found.source, found.names, modules[1], definition.Condition),

		definition: definition,
	}
	// Slices of derived roles are not appended to once a row points to one.
	b.unit.derived = append(b.unit.derived, d)
	b.derived[name.Value] = true
}

// modulesOf gives the modules in which the conditions of a set of derived
// roles are evaluated: for rules that name the role, and for the list.
func (b *unitBuilder) modulesOf(set *roleSet) *[2]*module {
	if m := b.modules[set]; m != nil {
		return m
	}
	m := &[2]*module{set.module, set.module}
	if set.perImporter {
		m[0] = b.instance(set.module)
		m[1] = b.instance(set.module)
	}
	if b.options.LenientEvaluation && len(set.module.programs) > 0 {
		m[1] = b.instance(set.module)
		m[1].nullErrors = true
	}
	b.modules[set] = m
	return m
}

// instance makes a module whose variables are evaluated apart.
func (b *unitBuilder) instance(m *module) *module {
	other := *m
	other.id = b.moduleIDs.take()
	b.built.modules = append(b.built.modules, &other)
	return &other
}

// rule adds the rows of one rule.
func (b *unitBuilder) rule(index int, r *policy.Rule) {
	rule := &Rule{Name: r.Name.Value, Policy: b.unit.key, Pos: r.Pos}
	if rule.Name == "" {
		rule.Name = fmt.Sprintf("rule-%03d", index+1)
	}
	b.unit.rules = append(b.unit.rules, rule)
	proto := row{
		condition: b.condition(b.built, b.policy, b.names, b.unit.module, r.Condition),
		effect:    r.Effect,
		rule:      rule,
		written:   r.Condition,
	}
	if b.policy.Resource.Permissions == policy.RequireParentalConsent {
		proto.needConsent(r.Condition)
	}
	out := b.output(b.built, b.policy, b.names, b.unit.module, rule, r.Output)
	ways := b.ways(r)
	if out == nil {
		for _, w := range ways {
			proto.derived, proto.roles = w.derived, b.bitsOf(w.patterns)
			b.addRow(proto, wildcards(r.Actions))
		}
		return
	}
	// A rule with an output speaks once for each of its actions with each of
	// its roles, in that order.
	outputs := make([]*output, len(ways))
	for i, w := range ways {
		o := *out
		if w.derived != nil && w.derived.condition != nil {
			o.visited = b.conditionID(b.built)
		}
		outputs[i] = &o
	}
	for _, action := range r.Actions {
		for i, w := range ways {
			proto.derived, proto.output = w.derived, outputs[i]
			for _, p := range w.patterns {
				proto.roles = b.bitsOf([]string{p})
				b.addRow(proto, []patternOrText{wildcard(action.Value)})
			}
		}
	}
}

// A way is one way for a rule to be for somebody: by its roles, or by a derived
// role and its parents.
type way struct {
	patterns []string
	derived  *derivedRole // nil: by roles
}

func (b *unitBuilder) ways(r *policy.Rule) []way {
	var out []way
	if len(r.Roles) > 0 {
		out = append(out, way{patterns: collapse(textValues(r.Roles))})
	}
	for _, name := range r.DerivedRoles {
		for i := range b.unit.derived {
			if d := &b.unit.derived[i]; d.name == name.Value {
				out = append(out, way{collapse(d.literal), d})
			}
		}
	}
	return out
}

func (b *unitBuilder) addRow(r row, actions []patternOrText) {
	b.index.add(int32(len(b.unit.rows)), actions...)
	b.unit.rows = append(b.unit.rows, r)
}

// needConsent makes the row what it is in a scope where an ALLOW needs the
// parents' consent: if it has a condition, a DENY of what does not meet it.
func (r *row) needConsent(c *policy.Condition) {
	if r.effect == Allow && c != nil {
		r.effect, r.negated = Deny, true
	}
}

// collapse gives patterns of roles, or "*" alone if it is among them.
func collapse(patterns []string) []string {
	if slices.Contains(patterns, "*") {
		return []string{"*"}
	}
	return patterns
}

// indexRoles prepares, for each role that the unit names, the patterns that
// match it.
func (b *unitBuilder) indexRoles() {
	x := &b.unit.roles
	x.literal = map[string]bits{}
	x.other = b.newBits()
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
		set := b.newBits()
		x.match(pattern, set)
		set.set(bit)
		x.literal[b.same(pattern)] = set
	}
}

// schema finds a schema that the policy refers to; nil if it names none.
func (b *unitBuilder) schema(ref *policy.SchemaRef) *schemaCheck {
	if ref == nil {
		return nil
	}
	b.checkPatterns(b.policy, ref.IgnoreActions)
	s, err := b.schemas.Compile(ref.Ref.Value)
	if err != nil {
		b.badSchema(ref, err)
		return nil
	}
	return &schemaCheck{schema: s, ignore: eachText(ref.IgnoreActions, always)}
}

// badSchema reports a reference to a schema that is not there or not valid.
func (b *unitBuilder) badSchema(ref *policy.SchemaRef, err error) {
	bad, ok := errors.AsType[*schema.Error](err)
	if !ok {
		b.report(b.policy, ref.Ref.Pos, CodeInvalidSchema, err.Error(), "mend the schema, or the reference to it")
		return
	}
	var related []diag.Related
	if bad.Pos.IsValid() {
		related = []diag.Related{{Pos: bad.Pos, Message: "here in the schema"}}
	}
	b.report(b.policy, ref.Ref.Pos, CodeInvalidSchema, bad.Message, bad.Hint, related...)
}

// buildPrincipal compiles a principal policy.
func (r *compilation) buildPrincipal(p *policy.Policy, b *built) {
	pp := p.Principal
	n := r.namesOf(p, pp.Variables, pp.Constants)
	m := r.module(b, p, &n)
	o := &override{key: pp.Key(), source: p, module: m}
	b.override = o
	resources, actions := patternIndexer{same: r.same}, patternIndexer{same: r.same}
	for i := range pp.Rules {
		block := &pp.Rules[i]
		r.checkPatterns(p, []diag.Text{block.Resource})
		resource := block.Resource.Value
		if !glob.IsPattern(resource) {
			resource = policy.Sanitize(resource)
		}
		for j := range block.Actions {
			a := &block.Actions[j]
			r.checkPatterns(p, []diag.Text{a.Action})
			rule := &Rule{Name: a.Name.Value, Policy: o.key, Pos: a.Pos}
			if rule.Name == "" {
				rule.Name = fmt.Sprintf("%s_rule-%03d", block.Resource.Value, j+1)
			}
			o.rules = append(o.rules, rule)
			row := row{
				condition: r.condition(b, p, n, m, a.Condition),
				effect:    a.Effect,
				rule:      rule,
				output:    r.output(b, p, n, m, rule, a.Output),
				written:   a.Condition,
			}
			if pp.Permissions == policy.RequireParentalConsent {
				row.needConsent(a.Condition)
			}
			resources.add(int32(len(o.rows)), wildcard(resource))
			actions.add(int32(len(o.rows)), wildcard(a.Action.Value))
			o.rows = append(o.rows, row)
		}
	}
	o.resources, o.actions = resources.index(), actions.index()
}

// buildRole compiles a role policy.
func (r *compilation) buildRole(p *policy.Policy, b *built) {
	rp := p.Role
	n := r.namesOf(p, rp.Variables, rp.Constants)
	m := r.module(b, p, &n)
	a := &allowList{key: rp.Key(), source: p, module: m}
	b.list = a
	resources, actions := patternIndexer{same: r.same}, patternIndexer{same: r.same}
	for i := range rp.Rules {
		allow := &rp.Rules[i]
		r.checkPatterns(p, []diag.Text{allow.Resource})
		r.checkPatterns(p, allow.AllowActions)
		rule := &Rule{Name: allow.Name.Value, Policy: a.key, Pos: allow.Pos}
		a.rules = append(a.rules, rule)
		row := row{
			condition: r.condition(b, p, n, m, allow.Condition),
			rule:      rule,
			output:    r.output(b, p, n, m, rule, allow.Output),
			written:   allow.Condition,
		}
		if row.condition != nil {
			// The row denies what does not meet the condition. Its outputs
			// change places, to say what whoever wrote them meant.
			row.effect, row.negated = Deny, true
			if o := row.output; o != nil {
				o.activated, o.unmet = o.unmet, o.activated
			}
		}
		resources.add(int32(i), wildcard(allow.Resource.Value))
		actions.add(int32(i), eachText(allow.AllowActions, always)...)
		a.rows = append(a.rows, row)
	}
	a.rules = append(a.rules, &Rule{Policy: a.key, Pos: rp.Pos})
	a.resources, a.actions = resources.index(), actions.index()
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
