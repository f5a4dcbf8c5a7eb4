package oracle

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
)

// The words that policies and requests are made of. They are few, so that what
// one asks for the other mostly has.
var (
	kinds         = []string{"doc", "a:b", "item 1", "a.b"}
	requestKinds  = []string{"doc", "doc", "doc", "a:b", "a_b", "a-b", "a/b", "item 1", "item_1", "a.b", "other", "1doc"}
	versions      = []string{"default", "default", "v1", "20210210"}
	scopes        = []string{"acme", "acme.eu", "acme.eu.fr", "acme.eu.fr", "beta", "beta-1.x"}
	otherScopes   = []string{".", "acme.us", "acme.eu.de", "acme.eu.fr.x", "other", "beta", "acme"}
	principals    = []string{"amy", "amy", "bob", "a:b", "a_b", "owner"}
	narrowRoles   = []string{"user", "admin", "guest", "org:admin", "clerk", "chief"}
	inherited     = []string{"user", "admin", "guest", "org:admin", "clerk", "chief", "ad*", "usér", "nobody"}
	rulePatterns  = []string{"doc", "doc", "*", "*", "a:b", "a_b", "a*", "a:*", "d*", "item 1", "a.b", "other", "{doc,a_b}*", "do?"}
	allowances    = []string{"view", "edit", "delete", "view?", "{view,edit}", "view:x", "*", "v*", "view:*", "[a-x]*", "x", "nothing"}
	roles         = []string{"user", "admin", "guest", "org:admin", "org:user", "ad", "us?r", "*", "usér"}
	rolePatterns  = []string{"user", "user", "admin", "guest", "org:admin", "*", "*", "*", "org:*", "ad*", "*:admin", "us?r", "us?r*", "**", "{user,guest}*", "[ag]*", "o*:*r", "*é*"}
	actions       = []string{"view", "view", "edit", "delete", "view:x", "view:x:y", "view:", "x", "a:x", "axbq", "view?", "édit"}
	actionGlobs   = []string{"*", "*", "*", "view:*", "**:x", "a?b*", "view**", "*:x", "{view,edit}*", "[!v]*", "v[a-i]ew*", "v\\iew*", "view:*:y", "*i*", "?dit*", "a:**", "view?"}
	derivedRoles  = []string{"owner", "peer", "boss", "reader", "owner.eu", "peer-2"}
	variableNames = []string{"v0", "is_owner", "big", "bad", "all_of"}
	constantNames = []string{"limit", "names", "rec", "nothing", "on"}
	globalNames   = []string{"env", "n", "f", "teams", "rec", "absent"}
	jwtClaims     = []string{"sub", "level", "groups", "absent"}
	words         = []string{"amy", "bob", "", "a", "b", "red", "Red", "user", "admin", "doc", "owner", "x", "k", "n", "1", "3", "true", "é✓", "10.0.0.1", "test", "7.0", "-1", "1e3", "9223372036854775808", "NaN", "2024-05-01T10:00:00Z"}
	nestedKeys    = []string{"a", "b", "k", "n", "amy", "a-b"}
	addresses     = []string{"10.1.2.3", "192.168.1.1", "::1", "2001:db8::5", "::ffff:10.1.2.3", "010.0.0.1", "10.1.2", "nonsense", "fe80::1%eth0", ""}
	cidrs         = []string{"10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:10.0.0.0/104", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/08", "x/8"}
	times         = []string{"2024-05-01T10:00:00Z", "2024-05-01T12:00:00+02:00", "2024-05-02T10:00:00.123456789Z", "1970-01-01T00:00:00Z", "2024-05-01", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "soon"}
	periods       = []string{"1h", "90m", "-1s", "1.5h", "24h", "1d", ""}
	patterns      = []string{"^a", "m", ".*", "[", "(?i)AMY", "b$"}
	numbers       = []float64{0, 1, 2, 3, 7, -1, 1.5, 100, 1e300, 9007199254740993, math.Copysign(0, -1), 0.1}
)

// attributes are the names that attributes have, and what they mostly hold.
var attributes = []struct {
	name string
	of   func(*Generator) any
}{
	{"owner", (*Generator).word},
	{"team", (*Generator).word},
	{"text", (*Generator).word},
	{"key", func(g *Generator) any { return pick(g.random, "owner", "n", "tags", "flag", "nowhere") }},
	{"n", (*Generator).someNumber},
	{"level", (*Generator).someNumber},
	{"flag", func(g *Generator) any { return g.chance(60) }},
	{"tags", (*Generator).wordList},
	{"nums", func(g *Generator) any { return g.listOf((*Generator).someNumber) }},
	{"mixed", func(g *Generator) any { return g.listOf((*Generator).anything) }},
	{"nested", func(g *Generator) any { return g.object(3) }},
	{"ip", func(g *Generator) any { return pick(g.random, addresses...) }},
	{"block", func(g *Generator) any { return pick(g.random, cidrs...) }},
	{"when", func(g *Generator) any { return pick(g.random, times...) }},
	{"period", func(g *Generator) any { return pick(g.random, periods...) }},
	{"pattern", func(g *Generator) any { return pick(g.random, patterns...) }},
	{"nul", func(*Generator) any { return nil }},
}

// A Generator makes random policy sets and requests from a seed.
type Generator struct {
	random

	// Portable restricts the generator to what another system decides alike in
	// every run: no two conditions or rules that it takes for one, no reading
	// of derived roles where it has no order, nothing that depends on the
	// moment, requests that its API takes.
	Portable bool

	salt  int
	shop  *Workshop // to try expressions in; nil until it is needed
	table *Table    // whose rows expressions are about; nil: they are about any attribute
}

// Try makes the generator try its expressions in a workshop, so that they are
// compiled but once.
func (g *Generator) Try(w *Workshop) { g.shop = w }

func (g *Generator) env() *celEnv {
	if g.shop == nil {
		g.shop = NewWorkshop()
	}
	return g.shop.cel
}

// NewGenerator gives the generator of set number n of a seed.
func NewGenerator(seed, n uint64) *Generator {
	return &Generator{random: random{rand.New(rand.NewPCG(seed, n))}}
}

// plainOnly drops what is not ASCII, where Cerbos itself gets lost.
func (g *Generator) plainOnly(list []string) []string {
	if !g.Portable {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
	})
}

// alone makes an expression one that nobody else has, if it must be portable:
// Cerbos takes conditions and outputs for the same if their expressions are,
// whatever they are for.
func (g *Generator) alone(expr string) string {
	if !g.Portable {
		return expr
	}
	g.salt++
	return fmt.Sprintf("%d != 0 ? dyn(%s) : dyn(null)", g.salt, expr)
}

// sound makes an expression that compiles and has a program: not one that takes
// the null of a literal for an index. A portable one holds no constant, either, of a type
// that it can't be converted to: Cerbos has no program for such a one.
func (g *Generator) sound(make func() string) string {
	for {
		text := make()
		if g.table != nil { // these are simpler, and there are many of them
			return text
		}
		if x := g.env().tryCompile(text); x != nil && x.failure == nil && !(x.unsound && g.Portable) {
			return text
		}
	}
}

// A Set is a random policy set that compiles, and the options to decide with.
type Set struct {
	Policies []*policy.Policy
	Options  Options
}

func (g *Generator) word() any { return pick(g.random, words...) }

func (g *Generator) someNumber() any {
	for {
		// Of constants, Cerbos reads those with an exponent as text, and -0 as 0.
		if x := pick(g.random, numbers...); x < 1e21 && !(x == 0 && math.Signbit(x)) || !g.Portable {
			return x
		}
	}
}

func (g *Generator) wordList() any {
	list := []any{}
	for _, w := range some(g.random, 0, 4, words) {
		list = append(list, w)
	}
	return list
}

func (g *Generator) listOf(member func(*Generator) any) any {
	list := []any{}
	for range g.IntN(4) {
		list = append(list, member(g))
	}
	return list
}

func (g *Generator) object(depth int) any {
	m := map[string]any{}
	for _, k := range some(g.random, 0, 3, nestedKeys) {
		if depth > 0 && g.chance(40) {
			m[k] = g.object(depth - 1)
		} else {
			m[k] = g.anything()
		}
	}
	return m
}

// anything gives a JSON value of any type.
func (g *Generator) anything() any {
	switch g.IntN(9) {
	case 0:
		return nil
	case 1:
		return g.chance(50)
	case 2, 3:
		return g.someNumber()
	case 4, 5:
		return g.word()
	case 6:
		return g.wordList()
	case 7:
		return g.object(1)
	default:
		return g.listOf((*Generator).someNumber)
	}
}

// A draft is a set in the making.
type draft struct {
	variables    []*policy.ExportVariables
	constants    []*policy.ExportConstants
	derivedRoles []*policy.DerivedRoles
	permissions  map[string]policy.ScopePermissions
	parents      map[string][]string // of a role, by scope and role
	keys         map[string]bool
	policies     []*policy.Policy
}

// Set makes a policy set.
func (g *Generator) Set() *Set {
	s := &Set{Options: Options{
		DefaultPolicyVersion: pick(g.random, "", "", "default", "v1"),
		DefaultScope:         pick(g.random, "", "", "", "acme", "acme.eu", "nowhere"),
		LenientScopeSearch:   g.chance(35),
		LenientEvaluation:    g.chance(40),
		Globals:              g.globals(),
		SchemaEnforcement:    pick(g.random, engine.SchemaNone, engine.SchemaNone, engine.SchemaWarn, engine.SchemaReject),
	}}
	d := &draft{
		permissions: map[string]policy.ScopePermissions{}, parents: map[string][]string{}, keys: map[string]bool{},
	}
	for _, scope := range scopes {
		d.permissions[scope] = pick(g.random, policy.PermissionsUnspecified, policy.PermissionsUnspecified, policy.OverrideParent,
			policy.RequireParentalConsent, policy.RequireParentalConsent)
	}
	if g.chance(6) {
		d.permissions[""] = pick(g.random, policy.OverrideParent, policy.RequireParentalConsent)
	}
	atRoot := d.permissions[""] == policy.PermissionsUnspecified // what counts as unspecified may be there
	if atRoot {
		for _, name := range some(g.random, 0, 2, []string{"shared", "more-vars"}) {
			d.variables = append(d.variables, g.exportVariables(name))
		}
		for _, name := range some(g.random, 0, 2, []string{"limits", "words.eu"}) {
			d.constants = append(d.constants, g.exportConstants(name))
		}
		for _, name := range some(g.random, 0, 3, []string{"base", "extra", "third.one"}) {
			d.derivedRoles = append(d.derivedRoles, g.derivedRoleSet(name, d))
		}
	}
	for _, v := range d.variables {
		d.policies = append(d.policies, &policy.Policy{ExportVariables: v})
	}
	for _, c := range d.constants {
		d.policies = append(d.policies, &policy.Policy{ExportConstants: c})
	}
	for _, r := range d.derivedRoles {
		d.policies = append(d.policies, &policy.Policy{DerivedRoles: r})
	}

	ofKind := some(g.random, 1, 2, kinds)
	for range 1 + g.IntN(4) {
		kind, version, scope := pick(g.random, ofKind...), pick(g.random, versions...), g.someScope(35)
		if kind == "a:b" && g.chance(50) {
			kind = pick(g.random, "a_b", "a-b", "a/b") // one kind with a:b
		}
		for _, scope := range upwards(scope) {
			p := g.resourcePolicy(d, kind, version, scope)
			d.add(g, &policy.Policy{Resource: p}, key("resource", kind, version, scope))
		}
	}
	for range g.IntN(4) {
		id, version := pick(g.random, principals...), pick(g.random, versions...)
		for _, scope := range upwards(g.someScope(50)) {
			p := g.principalPolicy(d, id, version, scope)
			d.add(g, &policy.Policy{Principal: p}, key("principal", id, version, scope))
		}
	}
	narrowed := map[string]bool{}
	for range pick(g.random, 0, 0, 1, 2, 3, 4, 5) {
		scope := g.someScope(35)
		if scope == "" && !atRoot || d.permissions[scope] != policy.PermissionsUnspecified && narrowed[scope] {
			continue
		}
		narrowed[scope] = true
		p := g.rolePolicy(d, pick(g.random, narrowRoles...), pick(g.random, versions...), scope)
		d.add(g, &policy.Policy{Role: p}, key("role", p.Role.Value, p.Version.Value, scope))
	}
	s.Policies = d.policies
	g.Shuffle(len(s.Policies), func(i, j int) { s.Policies[i], s.Policies[j] = s.Policies[j], s.Policies[i] })
	// A role policy counts as one of unspecified permissions, which may differ
	// from the others' of its scope only in the first file.
	slices.SortStableFunc(s.Policies, func(a, b *policy.Policy) int { return odd1st(a) - odd1st(b) })
	s.place()
	return s
}

func odd1st(p *policy.Policy) int {
	if p.Role != nil {
		return 0
	}
	return 1
}

// add adds a policy unless its key is taken.
func (d *draft) add(g *Generator, p *policy.Policy, key string) {
	if d.keys[key] {
		if g.chance(20) {
			p.Disabled = true
			d.policies = append(d.policies, p)
		}
		return
	}
	d.keys[key] = true
	d.policies = append(d.policies, p)
}

// someScope gives the root scope in so many cases of a hundred.
func (g *Generator) someScope(root int) string {
	if g.chance(root) {
		return ""
	}
	return pick(g.random, scopes...)
}

// upwards gives a scope and all above it.
func upwards(scope string) []string {
	out := []string{scope}
	for scope != "" {
		scope = scope[:max(0, strings.LastIndexByte(scope, '.'))]
		out = append(out, scope)
	}
	return out
}

func (g *Generator) globals() value.Mapping {
	if g.chance(25) {
		return nil
	}
	return value.Values{
		"env":   value.OfString(pick(g.random, "test", "prod")),
		"n":     value.OfInt(int64(g.IntN(5))),
		"f":     value.OfDouble(1.5),
		"teams": value.Of([]any{"red", "amy"}),
		"rec":   value.OfMapping(value.Values{"a": value.OfInt(3), "b": value.OfString("x")}),
	}
}

func text(s string) diag.Text { return diag.Text{Value: s} }

func textList(list []string) (out []diag.Text) {
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}

func (g *Generator) resourcePolicy(d *draft, kind, version, scope string) *policy.ResourcePolicy {
	p := &policy.ResourcePolicy{Resource: text(kind), Version: text(version), Scope: text(scope), Permissions: d.permissions[scope]}
	if g.chance(25) {
		if s := (policy.Schemas{Principal: g.schemaRef(), Resource: g.schemaRef()}); s.Principal != nil || s.Resource != nil {
			p.Schemas = &s
		}
	}
	times := map[string]int{}
	for _, set := range some(g.random, 0, 3, d.derivedRoles) {
		p.ImportDerivedRoles = append(p.ImportDerivedRoles, text(set.Name.Value))
		for _, def := range set.Definitions {
			times[def.Name.Value]++
		}
	}
	var referable []string // a name that two imports define is ambiguous
	for _, name := range derivedRoles {
		if times[name] == 1 {
			referable = append(referable, name)
		}
	}
	gr := &grammar{random: g.random, table: g.table, runtime: true, derived: referable, noNow: g.Portable}
	p.Variables, p.Constants = g.definitions(gr, d)
	names := g.names("zero", "rule-002", "x.y@z", "allow-all")
	most := 8
	if scope != "" {
		most = 5
	}
	for range g.IntN(most + 1) {
		r := policy.Rule{Effect: policy.Allow}
		if g.chance(35) {
			r.Effect = policy.Deny
		}
		r.Name = names(25)
		patterns := slices.Concat(actions, actionGlobs)
		r.Actions = textList(distinct(some(g.random, 1, 3, g.plainOnly(patterns))))
		r.Roles = textList(distinct(some(g.random, 0, 3, g.plainOnly(rolePatterns))))
		r.DerivedRoles = textList(some(g.random, 0, 3, referable))
		if len(r.Roles)+len(r.DerivedRoles) == 0 {
			r.Roles = textList([]string{pick(g.random, "*", "user", "clerk")})
		}
		r.Condition = g.condition(gr, 30)
		r.Output = g.output(gr, 25)
		p.Rules = append(p.Rules, r)
	}
	return p
}

// schemaRef names a schema, sometimes.
func (g *Generator) schemaRef() *policy.SchemaRef {
	if g.chance(30) {
		return nil
	}
	ref := &policy.SchemaRef{Ref: text(schemaScheme + pick(g.random, jsonSchemas...).name)}
	if g.chance(40) {
		ref.IgnoreActions = textList(some(g.random, 1, 3, g.plainOnly(allowances)))
	}
	return ref
}

func (g *Generator) principalPolicy(d *draft, id, version, scope string) *policy.PrincipalPolicy {
	p := &policy.PrincipalPolicy{Principal: text(id), Version: text(version), Scope: text(scope), Permissions: d.permissions[scope]}
	gr := &grammar{random: g.random, table: g.table, runtime: !g.Portable && g.chance(25), noNow: g.Portable}
	p.Variables, p.Constants = g.definitions(gr, d)
	for i, pattern := range distinct(some(g.random, 0, 4, rulePatterns)) {
		block := policy.PrincipalRule{Resource: text(pattern)}
		names := g.names("one", "two", "rule-001", "three")
		if g.Portable {
			names = g.names(fmt.Sprintf("one%d", i), fmt.Sprintf("two%d", i))
		}
		for range 1 + g.IntN(3) {
			r := policy.ActionRule{Effect: policy.Allow, Name: names(25), Action: text(pick(g.random, g.plainOnly(slices.Concat(actions, actionGlobs))...))}
			if g.chance(45) {
				r.Effect = policy.Deny
			}
			r.Condition = g.condition(gr, 20)
			r.Output = g.output(gr, 25)
			block.Actions = append(block.Actions, r)
		}
		p.Rules = append(p.Rules, block)
	}
	return p
}

func (g *Generator) rolePolicy(d *draft, role, version, scope string) *policy.RolePolicy {
	p := &policy.RolePolicy{Role: text(role), Version: text(version), Scope: text(scope)}
	gr := &grammar{random: g.random, table: g.table, runtime: true, noNow: g.Portable}
	p.Variables, p.Constants = g.definitions(gr, d)
	parents, ok := d.parents[scope+"/"+role]
	if !ok || g.chance(30) { // versions of a role policy may differ in this
		parents = some(g.random, 0, 3, g.plainOnly(inherited))
		d.parents[scope+"/"+role] = parents
	}
	p.ParentRoles = textList(parents)
	names := g.names("one", "two", "one", "three")
	if g.Portable {
		names = g.names("one", "two", "three", "four", "five")
	}
	patterns := rulePatterns
	if g.Portable { // rules of different resources, when they match one kind, are mixed up
		patterns = []string{"doc", "doc", "a_b", "a.b", "item 1", "other", "a:b"}
		if g.chance(40) {
			patterns = []string{pick(g.random, rulePatterns...)}
		}
	}
	for range pick(g.random, 0, 1, 1, 2, 3, 4, 5) {
		r := policy.RoleRule{Name: names(100), Resource: text(pick(g.random, patterns...)), AllowActions: textList(some(g.random, 1, 4, allowances))}
		r.Condition = g.condition(gr, 50)
		r.Output = g.output(gr, 35)
		p.Rules = append(p.Rules, r)
	}
	return p
}

// names gives some of the rules of a policy a name, in so many cases of a
// hundred, as long as there are any left.
func (g *Generator) names(names ...string) func(chance int) diag.Text {
	return func(chance int) diag.Text {
		if len(names) == 0 || !g.chance(chance) {
			return diag.Text{}
		}
		name := names[0]
		names = names[1:]
		if g.Portable {
			name = strings.ReplaceAll(name, "rule-", "named-")
		}
		return text(name)
	}
}

// definitions makes the variables and constants of a policy, and lets the
// grammar name them from then on.
func (g *Generator) definitions(gr *grammar, d *draft) (v policy.Variables, c policy.Constants) {
	for _, set := range d.constants {
		if g.chance(35) {
			c.Import = append(c.Import, text(set.Name.Value))
			for _, def := range set.Definitions {
				gr.constants = append(gr.constants, def.Name.Value)
			}
		}
	}
	c.Local = g.constants(constantNames)
	for _, local := range c.Local {
		gr.constants = append(gr.constants, local.Name.Value)
	}
	for _, set := range d.variables {
		if g.chance(35) {
			v.Import = append(v.Import, text(set.Name.Value))
			for _, def := range set.Definitions {
				gr.variables = append(gr.variables, def.Name.Value)
			}
		}
	}
	v.Local = g.variables(gr, variableNames)
	return v, c
}

func (g *Generator) exportVariables(name string) *policy.ExportVariables {
	gr := &grammar{random: g.random, table: g.table, noNow: g.Portable}
	return &policy.ExportVariables{Name: text(name), Definitions: g.variables(gr, []string{name[:4] + "_a", name[:4] + "_bad", name[:4] + "_c"})}
}

func (g *Generator) exportConstants(name string) *policy.ExportConstants {
	return &policy.ExportConstants{Name: text(name), Definitions: g.constants([]string{name[:4] + "_limit", name[:4] + "_list", name[:4] + "_x"})}
}

// output makes the outputs of a rule, in so many cases of a hundred.
func (g *Generator) output(gr *grammar, chance int) *policy.Output {
	if !g.chance(chance) {
		return nil
	}
	o := &policy.Output{}
	both := g.IntN(3)
	if both != 1 {
		o.RuleActivated = text(g.alone(g.sound(func() string { return g.outputExpression(gr) })))
	}
	if both != 0 {
		o.ConditionNotMet = text(g.alone(g.sound(func() string { return g.outputExpression(gr) })))
	}
	return o
}

func (g *Generator) outputExpression(gr *grammar) string {
	value := func() string {
		return gr.oneOf(gr.quoted, gr.attribute, gr.attribute, func() string { return gr.text(1) }, func() string { return gr.dynamic(0) },
			func() string {
				return pick(g.random, "1 + 1", "3u", "9007199254740993", "-9007199254740993", "null", "1.5", "true", `b"abc"`,
					`duration("90m")`, `timestamp("2024-06-01T00:00:00.5+02:00")`, "optional.of(1)", "optional.none()", "{1: 2}", "type(1)",
					"P.roles", "R.attr.?owner", "1 / 0", `duration("1.5s")`, `timestamp("2024-06-01T00:00:00Z")`)
			})
	}
	if gr.runtime && g.chance(20) {
		return "runtime.effectiveDerivedRoles"
	}
	switch g.IntN(4) {
	case 0:
		return `{"a": dyn(` + value() + `), "b": [dyn(` + value() + "), dyn(" + value() + ")]}"
	case 1:
		return gr.everyday()
	default:
		return value()
	}
}

func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (g *Generator) derivedRoleSet(name string, draft *draft) *policy.DerivedRoles {
	d := &policy.DerivedRoles{Name: text(name)}
	gr := &grammar{random: g.random, table: g.table, runtime: g.chance(30), noNow: g.Portable}
	d.Variables, d.Constants = g.definitions(gr, draft)
	for _, role := range some(g.random, 1, 3, derivedRoles) {
		d.Definitions = append(d.Definitions, policy.RoleDefinition{
			Name:        text(role),
			ParentRoles: textList(distinct(some(g.random, 1, 4, g.plainOnly(rolePatterns)))),
			Condition:   g.condition(gr, 45),
		})
	}
	return d
}

func (g *Generator) constants(names []string) []policy.Constant {
	var out []policy.Constant
	for _, name := range some(g.random, 0, 4, names) {
		v := value.Of(g.anything())
		switch {
		case strings.HasSuffix(name, "limit") && g.chance(80):
			v = value.Of(g.someNumber())
		case name == "names" && g.chance(80):
			v = value.Of(g.wordList())
		case name == "rec" && g.chance(80):
			v = value.Of(g.object(1))
		case name == "nothing":
			v = value.OfNull()
		case name == "on" && g.chance(80):
			v = value.OfBool(true)
		}
		out = append(out, policy.Constant{Name: text(name), Value: v})
	}
	return out
}

// variables makes variables that use each other without a cycle, written in
// any order, and lets the grammar name them from then on.
func (g *Generator) variables(gr *grammar, names []string) []policy.Variable {
	var out []policy.Variable
	for _, name := range some(g.random, 0, 4, names) {
		v := policy.Variable{Name: text(name)}
		switch {
		case strings.HasSuffix(name, "bad"):
			v.Expr = text("R.attr.missing.deeper == 1")
		case g.chance(40):
			v.Expr = text(g.sound(gr.everyday))
		default:
			v.Expr = text(g.sound(func() string { return gr.of(pick(g.random, allTypes...), g.IntN(3)) }))
		}
		out = append(out, v)
		gr.variables = append(gr.variables, name)
	}
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// condition makes a condition, or none at all in so many cases of a hundred.
func (g *Generator) condition(gr *grammar, none int) *policy.Condition {
	if g.chance(none) {
		return nil
	}
	if g.Portable {
		c := g.conditionTree(gr, pick(g.random, 0, 0, 1, 2, 3))
		first := c
		for first.Op != policy.Expr {
			first = first.Of[0]
		}
		first.Expr.Value = g.alone(first.Expr.Value)
		return c
	}
	return g.conditionTree(gr, pick(g.random, 0, 0, 1, 2, 3))
}

func (g *Generator) conditionTree(gr *grammar, depth int) *policy.Condition {
	if depth == 0 {
		return &policy.Condition{Op: policy.Expr, Expr: text(g.sound(gr.condition))}
	}
	c := &policy.Condition{Op: pick(g.random, policy.All, policy.Any, policy.None)}
	for range 1 + g.IntN(3) {
		c.Of = append(c.Of, g.conditionTree(gr, g.IntN(depth)))
	}
	return c
}

// Request makes a request: mostly for a policy of the set, sometimes for none.
func (g *Generator) Request(s *Set) *engine.Request {
	req := &engine.Request{
		Principal: g.principal(s),
		Resource:  g.resource(s),
		Actions:   distinct(some(g.random, 1, 5, g.plainOnly(actions))),
		Now:       time.Date(2024, 5, 1+g.IntN(2), 10, 0, 0, g.IntN(2)*123456789, time.UTC),

		IncludeMeta: g.chance(70),
	}
	if g.chance(50) {
		req.AuxData.JWT = value.Attributes{
			"sub":    g.word(),
			"level":  g.someNumber(),
			"groups": g.wordList(),
		}
	}
	return req
}

// Batch makes requests that differ in resource and actions only.
func (g *Generator) Batch(s *Set, n int) (out []*engine.Request) {
	first := g.Request(s)
	for range n {
		next := *first
		next.Resource, next.Actions = g.resource(s), distinct(some(g.random, 1, 5, g.plainOnly(actions)))
		out = append(out, &next)
	}
	return out
}

func (g *Generator) principal(s *Set) engine.Principal {
	p := engine.Principal{
		ID:            pick(g.random, "amy", "bob", "owner", "n"),
		Roles:         some(g.random, 1, 4, g.plainOnly(roles)),
		Attr:          g.attributes(),
		PolicyVersion: pick(g.random, "", "", "default", "v1"),
		Scope:         pick(g.random, "", "", "acme", ".", "acme.eu"),
	}
	var targets []*policy.PrincipalPolicy
	for _, of := range s.Policies {
		if of.Principal != nil {
			targets = append(targets, of.Principal)
		}
		if of.Role != nil && g.chance(30) && !slices.Contains(p.Roles, of.Role.Role.Value) {
			p.Roles = append(p.Roles, of.Role.Role.Value)
			if g.chance(50) {
				p.Roles = p.Roles[len(p.Roles)-1:]
			}
		}
	}
	if len(targets) > 0 && g.chance(60) {
		target := pick(g.random, targets...)
		p.ID, p.PolicyVersion = target.Principal.Value, g.orNone(s, target.Version.Value)
		p.Scope = g.near(target.Scope.Value)
	}
	return p
}

// orNone gives a version, or sometimes none if that means the same.
func (g *Generator) orNone(s *Set, version string) string {
	if version == s.Options.DefaultPolicyVersion || s.Options.DefaultPolicyVersion == "" && version == "default" {
		return pick(g.random, "", version)
	}
	return version
}

// near gives the scope of a policy as a request may name it, or one nearby.
func (g *Generator) near(scope string) string {
	switch {
	case g.chance(12):
		scope = pick(g.random, otherScopes...)
	case g.chance(10) && scope != "":
		scope += ".deeper"
	case g.chance(10):
		scope = pick(g.random, upwards(scope)...)
	}
	if scope == "" && g.chance(50) {
		scope = "."
	}
	if !g.Portable && g.chance(5) {
		scope = "." + scope
	}
	return scope
}

func (g *Generator) resource(s *Set) engine.Resource {
	r := engine.Resource{
		Kind:          pick(g.random, requestKinds...),
		ID:            pick(g.random, "1", "amy", "doc"),
		Attr:          g.attributes(),
		PolicyVersion: pick(g.random, "", "", "", "default", "v1", "20210210", "unknown"),
		Scope:         g.near(""),
	}
	var targets []*policy.ResourcePolicy
	var versions []string
	for _, p := range s.Policies {
		if p.Resource != nil && (!p.Disabled || g.chance(5)) {
			targets = append(targets, p.Resource)
		}
		if p.Principal != nil {
			versions = append(versions, p.Principal.Version.Value)
		}
	}
	if len(targets) > 0 && g.chance(92) {
		target := pick(g.random, targets...)
		r.Kind = target.Resource.Value
		if sanitize(target.Resource.Value) == "a_b" {
			r.Kind = pick(g.random, "a:b", "a_b", "a-b", "a/b", "a:/b")
		}
		r.PolicyVersion = g.orNone(s, target.Version.Value)
		r.Scope = g.near(target.Scope.Value)
	}
	if len(versions) > 0 && g.chance(15) {
		r.PolicyVersion = g.orNone(s, pick(g.random, versions...))
	}
	return r
}

// attributes makes an attribute map: most names present, most of them with
// what policies expect there.
func (g *Generator) attributes() value.Mapping {
	if g.chance(5) {
		if g.chance(50) {
			return nil
		}
		return value.Attributes{}
	}
	m := value.Attributes{}
	for _, a := range attributes {
		switch {
		case g.chance(15):
		case g.chance(15):
			m[a.name] = g.anything()
		default:
			m[a.name] = a.of(g)
		}
	}
	if g.chance(30) {
		m["a-b"] = g.anything()
	}
	for _, id := range []string{"amy", "doc"} {
		if g.chance(20) {
			m[id] = g.anything()
		}
	}
	if g.chance(70) {
		return m
	}
	values := value.Values{}
	for k, v := range m {
		values[k] = value.Of(v)
	}
	return values
}
