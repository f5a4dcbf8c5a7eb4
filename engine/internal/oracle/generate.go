package oracle

import (
	"math"
	"math/rand/v2"
	"slices"
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
type Generator struct{ random }

// NewGenerator gives the generator of set number n of a seed.
func NewGenerator(seed, n uint64) *Generator {
	return &Generator{random{rand.New(rand.NewPCG(seed, n))}}
}

// A Set is a random policy set that compiles, and the options to decide with.
type Set struct {
	Policies []*policy.Policy
	Options  Options
}

func (g *Generator) word() any       { return pick(g.random, words...) }
func (g *Generator) someNumber() any { return pick(g.random, numbers...) }

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

// Set makes a policy set.
func (g *Generator) Set() *Set {
	s := &Set{Options: Options{
		DefaultPolicyVersion: pick(g.random, "", "", "default", "v1"),
		LenientEvaluation:    g.chance(40),
		Globals:              g.globals(),
	}}
	var sets []*policy.DerivedRoles
	for _, name := range some(g.random, 0, 3, []string{"base", "extra", "third.one"}) {
		d := g.derivedRoleSet(name)
		sets = append(sets, d)
		s.Policies = append(s.Policies, &policy.Policy{DerivedRoles: d})
	}
	seen := map[string]bool{}
	for range 1 + g.IntN(4) {
		p := g.resourcePolicy(sets)
		key := resourceKey(p.Resource.Value, p.Version.Value, "")
		disabled := g.chance(5)
		if seen[key] && !disabled {
			continue
		}
		seen[key] = seen[key] || !disabled
		s.Policies = append(s.Policies, &policy.Policy{Resource: p, Disabled: disabled})
	}
	g.Shuffle(len(s.Policies), func(i, j int) { s.Policies[i], s.Policies[j] = s.Policies[j], s.Policies[i] })
	s.place()
	return s
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

func (g *Generator) resourcePolicy(sets []*policy.DerivedRoles) *policy.ResourcePolicy {
	p := &policy.ResourcePolicy{
		Resource: text(pick(g.random, kinds...)),
		Version:  text(pick(g.random, versions...)),
	}
	if g.chance(20) {
		p.Resource.Value = pick(g.random, "a_b", "a-b", "a/b") // one kind with a:b
	}
	times := map[string]int{}
	for _, set := range some(g.random, 0, 3, sets) {
		p.ImportDerivedRoles = append(p.ImportDerivedRoles, text(set.Name.Value))
		for _, d := range set.Definitions {
			times[d.Name.Value]++
		}
	}
	var referable []string // a name that two imports define is ambiguous
	for _, name := range derivedRoles {
		if times[name] == 1 {
			referable = append(referable, name)
		}
	}
	p.Constants.Local = g.constants()
	gr := &grammar{random: g.random, constants: constantsOf(p.Constants), runtime: true, derived: referable}
	p.Variables.Local = g.variables(gr)
	names := []string{"zero", "rule-002", "x.y@z", "allow-all"}
	for range pick(g.random, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8) {
		r := policy.Rule{Effect: policy.Allow}
		if g.chance(35) {
			r.Effect = policy.Deny
		}
		if len(names) > 0 && g.chance(25) {
			r.Name, names = text(names[0]), names[1:]
		}
		patterns := slices.Concat(actions, actionGlobs)
		r.Actions = textList(distinct(some(g.random, 1, 3, patterns)))
		r.Roles = textList(distinct(some(g.random, 0, 3, rolePatterns)))
		r.DerivedRoles = textList(some(g.random, 0, 3, referable))
		if len(r.Roles)+len(r.DerivedRoles) == 0 {
			r.Roles = textList([]string{pick(g.random, "*", "user")})
		}
		r.Condition = g.condition(gr, 30)
		p.Rules = append(p.Rules, r)
	}
	return p
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

func (g *Generator) derivedRoleSet(name string) *policy.DerivedRoles {
	d := &policy.DerivedRoles{Name: text(name)}
	d.Constants.Local = g.constants()
	gr := &grammar{random: g.random, constants: constantsOf(d.Constants)}
	d.Variables.Local = g.variables(gr)
	for _, role := range some(g.random, 1, 3, derivedRoles) {
		d.Definitions = append(d.Definitions, policy.RoleDefinition{
			Name:        text(role),
			ParentRoles: textList(distinct(some(g.random, 1, 4, rolePatterns))),
			Condition:   g.condition(gr, 45),
		})
	}
	return d
}

func constantsOf(c policy.Constants) (names []string) {
	for _, local := range c.Local {
		names = append(names, local.Name.Value)
	}
	return names
}

func (g *Generator) constants() []policy.Constant {
	var out []policy.Constant
	for _, name := range some(g.random, 0, 4, constantNames) {
		v := value.Of(g.anything())
		switch {
		case name == "limit" && g.chance(80):
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
func (g *Generator) variables(gr *grammar) []policy.Variable {
	var out []policy.Variable
	for _, name := range some(g.random, 0, 4, variableNames) {
		v := policy.Variable{Name: text(name)}
		switch {
		case name == "bad":
			v.Expr = text("R.attr.missing.deeper == 1")
		case g.chance(40):
			v.Expr = text(gr.everyday())
		default:
			v.Expr = text(gr.of(pick(g.random, allTypes...), g.IntN(3)))
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
	return g.conditionTree(gr, pick(g.random, 0, 0, 1, 2, 3))
}

func (g *Generator) conditionTree(gr *grammar, depth int) *policy.Condition {
	if depth == 0 {
		return &policy.Condition{Op: policy.Expr, Expr: text(gr.condition())}
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
		Principal: engine.Principal{
			ID:            pick(g.random, "amy", "bob", "owner", "n"),
			Roles:         some(g.random, 1, 4, roles),
			Attr:          g.attributes(),
			PolicyVersion: pick(g.random, "", "", "default", "v1"),
			Scope:         pick(g.random, "", "", "acme", "."),
		},
		Resource: engine.Resource{
			Kind:          pick(g.random, requestKinds...),
			ID:            pick(g.random, "1", "amy", "doc"),
			Attr:          g.attributes(),
			PolicyVersion: pick(g.random, "", "", "", "default", "v1", "20210210", "unknown"),
			Scope:         pick(g.random, "", "", "", ".", "acme", ".acme", "acme.eu"),
		},
		Actions: distinct(some(g.random, 1, 5, actions)),
		Now:     time.Date(2024, 5, 1+g.IntN(2), 10, 0, 0, g.IntN(2)*123456789, time.UTC),
	}
	var targets []*policy.ResourcePolicy
	for _, p := range s.Policies {
		if p.Resource != nil && (!p.Disabled || g.chance(5)) {
			targets = append(targets, p.Resource)
		}
	}
	if len(targets) > 0 && g.chance(90) {
		target := pick(g.random, targets...)
		req.Resource.Kind = target.Resource.Value
		if sanitize(target.Resource.Value) == "a_b" {
			req.Resource.Kind = pick(g.random, "a:b", "a_b", "a-b", "a/b", "a:/b")
		}
		req.Resource.PolicyVersion = target.Version.Value
		if target.Version.Value == s.Options.DefaultPolicyVersion || s.Options.DefaultPolicyVersion == "" && target.Version.Value == "default" {
			req.Resource.PolicyVersion = pick(g.random, "", req.Resource.PolicyVersion)
		}
		req.Resource.Scope = ""
		if g.chance(8) {
			req.Resource.Scope = pick(g.random, ".", "acme", ".acme", "..")
		}
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
