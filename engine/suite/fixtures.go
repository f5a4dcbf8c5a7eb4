package suite

import (
	"fmt"
	"maps"
	"slices"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

// fixtures are principals, resources and auxData by the names that tests call
// them. A name whose definition has mistakes is there too, so that nobody is
// told that it does not exist.
type fixtures struct {
	principals map[string]*engine.Principal
	resources  map[string]*engine.Resource
	auxData    map[string]*engine.AuxData
	groups     [2]map[string]group // by side
}

// A side is what a group is a group of.
type side int

const (
	principals side = iota
	resources
)

func (s side) String() string { return [...]string{"principal", "resource"}[s] }

func (s side) plural() string { return s.String() + "s" }

func (s side) groups() string { return s.String() + "Groups" }

// A group is a name for several principals, or several resources.
type group struct {
	doc     *yamldoc.Document
	members []diag.Text
}

func newFixtures() *fixtures {
	f := &fixtures{principals: map[string]*engine.Principal{}, resources: map[string]*engine.Resource{}, auxData: map[string]*engine.AuxData{}}
	for s := range f.groups {
		f.groups[s] = map[string]group{}
	}
	return f
}

// readPrincipals adds what the fields principals and principalGroups define.
func (f *fixtures) readPrincipals(o yamldoc.Object) {
	for _, e := range entries(o, principals.plural()) {
		f.principals[e.Key.Value] = readPrincipal(e.Value)
	}
	f.readGroups(o, principals)
}

func readPrincipal(n yamldoc.Node) *engine.Principal {
	p := new(engine.Principal)
	o, ok := n.Object("id", "policyVersion", "roles", "attr", "scope")
	if !ok {
		return p
	}
	p.ID = requiredText(o, "id").Value
	for _, r := range requiredTexts(o, "roles") {
		p.Roles = append(p.Roles, r.Value)
	}
	p.Attr = mapping(values(o, "attr", false))
	p.PolicyVersion, p.Scope = address(o)
	return p
}

// readResources adds what the fields resources and resourceGroups define.
func (f *fixtures) readResources(o yamldoc.Object) {
	for _, e := range entries(o, resources.plural()) {
		f.resources[e.Key.Value] = readResource(e.Value)
	}
	f.readGroups(o, resources)
}

func readResource(n yamldoc.Node) *engine.Resource {
	r := new(engine.Resource)
	o, ok := n.Object("kind", "policyVersion", "id", "attr", "scope")
	if !ok {
		return r
	}
	r.Kind = requiredText(o, "kind").Value
	r.ID = requiredText(o, "id").Value
	r.Attr = mapping(values(o, "attr", false))
	r.PolicyVersion, r.Scope = address(o)
	return r
}

// readAuxData adds what the field auxData defines.
func (f *fixtures) readAuxData(o yamldoc.Object) {
	for _, e := range entries(o, "auxData") {
		a := new(engine.AuxData)
		f.auxData[e.Key.Value] = a
		o, ok := e.Value.Object("jwt", "jwts")
		if !ok {
			continue
		}
		a.JWT = mapping(values(o, "jwt", true))
		for _, e := range entries(o, "jwts") {
			if e.Key.Value == "" {
				e.Value.Document().Report(e.Key.Pos, yamldoc.EmptyText, "jwts: the name of a token must not be empty", "")
			}
			o, ok := e.Value.Object("claims")
			if !ok {
				continue
			}
			if a.JWTs == nil {
				a.JWTs = map[string]value.Mapping{}
			}
			claims := values(o, "claims", true)
			if claims == nil {
				claims = value.Values{}
			}
			a.JWTs[e.Key.Value] = claims
		}
	}
}

func (f *fixtures) readGroups(o yamldoc.Object, of side) {
	for _, e := range entries(o, of.groups()) {
		g := group{doc: e.Value.Document()}
		if o, ok := e.Value.Object(of.plural()); ok {
			g.members = requiredTexts(o, of.plural())
		}
		f.groups[of][e.Key.Value] = g
	}
}

// has tells whether a principal or a resource of this name is defined.
func (f *fixtures) has(of side, name string) bool {
	if of == principals {
		return f.principals[name] != nil
	}
	return f.resources[name] != nil
}

// names gives the names of the principals or resources that are defined.
func (f *fixtures) names(of side) []string {
	if of == principals {
		return slices.Collect(maps.Keys(f.principals))
	}
	return slices.Collect(maps.Keys(f.resources))
}

// A scope is where names are looked up: the suite, then the fixtures beside it.
type scope []*fixtures

func (s scope) has(of side, name string) bool {
	return slices.ContainsFunc(s, func(f *fixtures) bool { return f.has(of, name) })
}

func (s scope) names(of side) (names []string) {
	for _, f := range s {
		names = append(names, f.names(of)...)
	}
	return names
}

func (s scope) principal(name string) *engine.Principal {
	for _, f := range s {
		if p := f.principals[name]; p != nil {
			return p
		}
	}
	return nil
}

func (s scope) resource(name string) *engine.Resource {
	for _, f := range s {
		if r := f.resources[name]; r != nil {
			return r
		}
	}
	return nil
}

func (s scope) aux(name string) (*engine.AuxData, []string) {
	var names []string
	for _, f := range s {
		if a := f.auxData[name]; a != nil {
			return a, nil
		}
		names = append(names, slices.Collect(maps.Keys(f.auxData))...)
	}
	return nil, names
}

func (s scope) group(of side, name string) (group, []string, bool) {
	var names []string
	for _, f := range s {
		if g, ok := f.groups[of][name]; ok {
			return g, nil, true
		}
		names = append(names, slices.Collect(maps.Keys(f.groups[of]))...)
	}
	return group{}, names, false
}

// checkGroups reports the members of the first fixtures' groups that nothing
// in the scope defines.
func (s scope) checkGroups() {
	for of := range s[0].groups {
		for _, g := range s[0].groups[of] {
			for _, m := range g.members {
				if !s.has(side(of), m.Value) {
					g.doc.Report(m.Pos, UnknownFixture, fmt.Sprintf("there is no %s called %q", side(of), m.Value), diag.DidYouMean(m.Value, s.names(side(of))))
				}
			}
		}
	}
}
