package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
)

// A library is all enabled policies, by what others find them by.
type library struct {
	order     []*policy.Policy // as given, without the disabled and the repeated
	disabled  []*policy.Policy
	keys      map[string]*policy.Policy
	roleSets  map[string]*policy.Policy
	variables map[string]*policy.Policy
	constants map[string]*policy.Policy
	consent   map[string]bool // scopes where an ALLOW needs the parents' consent
	ruled     map[string]bool // scopes that have more than role policies

	// By scope and role, every role that the role inherits by role policies of
	// that very scope, its parents first.
	inherited map[string]map[string][]string
}

func newLibrary() *library {
	return &library{
		keys:      map[string]*policy.Policy{},
		roleSets:  map[string]*policy.Policy{},
		variables: map[string]*policy.Policy{},
		constants: map[string]*policy.Policy{},
		consent:   map[string]bool{},
		ruled:     map[string]bool{},
		inherited: map[string]map[string][]string{},
	}
}

// gather fills the library and makes the checks that concern policies as a
// whole.
func (r *compilation) gather(policies []*policy.Policy) {
	for _, p := range policies {
		if p.Disabled {
			r.disabled = append(r.disabled, p)
			continue
		}
		key := p.Key()
		if first, dup := r.keys[key]; dup {
			r.report(p, p.Pos, CodeDuplicatePolicy, fmt.Sprintf("%s is defined twice", key),
				"keep one of the two, or give one another version",
				diag.Related{Pos: first.Pos, Message: "first defined here"})
			continue
		}
		r.keys[key] = p
		r.order = append(r.order, p)
		switch {
		case p.DerivedRoles != nil:
			r.roleSets[p.DerivedRoles.Name.Value] = p
		case p.ExportVariables != nil:
			r.variables[p.ExportVariables.Name.Value] = p
		case p.ExportConstants != nil:
			r.constants[p.ExportConstants.Name.Value] = p
		}
	}
	for _, p := range r.order {
		r.checkImports(p)
		r.checkAncestors(p)
	}
	r.checkPermissions()
	r.inherit()
}

// inherit finds out what roles inherit.
func (r *compilation) inherit() {
	parents := map[string]map[string][]string{} // by scope and role
	first := map[string]*policy.Policy{}
	for _, p := range r.order {
		rp := p.Role
		if rp == nil {
			continue
		}
		at := rp.Scope.Value
		if parents[at] == nil {
			parents[at], first[at] = map[string][]string{}, p
		}
		// Versions of a role policy may differ in this. As in Cerbos, the last
		// file counts for all.
		parents[at][rp.Role.Value] = textValues(rp.ParentRoles)
	}
	for at, direct := range parents {
		var ok bool
		if r.inherited[at], ok = closure(direct); !ok {
			r.report(first[at], first[at].Pos, CodeTooManyParents,
				fmt.Sprintf("the roles of the scope %q inherit more than %d roles in total", at, maxInherited),
				"give roles fewer parents, directly and by others")
		}
	}
}

// importLists gives what a policy imports.
func importLists(p *policy.Policy) (roleSets []diag.Text, variables policy.Variables, constants policy.Constants) {
	switch {
	case p.Resource != nil:
		return p.Resource.ImportDerivedRoles, p.Resource.Variables, p.Resource.Constants
	case p.Principal != nil:
		return nil, p.Principal.Variables, p.Principal.Constants
	case p.Role != nil:
		return nil, p.Role.Variables, p.Role.Constants
	case p.DerivedRoles != nil:
		return nil, p.DerivedRoles.Variables, p.DerivedRoles.Constants
	}
	return nil, policy.Variables{}, policy.Constants{}
}

// imports gives the sets that a policy imports, and those that they import, in
// a fixed order. What does not exist is left out.
func (r *compilation) imports(p *policy.Policy) []*policy.Policy {
	roleSets, variables, constants := importLists(p)
	if len(roleSets)+len(variables.Import)+len(constants.Import) == 0 {
		return nil
	}
	var out []*policy.Policy
	add := func(sets map[string]*policy.Policy, names []diag.Text) {
		for _, name := range names {
			if set := sets[name.Value]; set != nil {
				out = append(out, set)
			}
		}
	}
	add(r.roleSets, roleSets)
	for _, set := range out {
		out = append(out, r.imports(set)...)
	}
	add(r.variables, variables.Import)
	add(r.constants, constants.Import)
	return out
}

// checkImports reports imports of what is not there.
func (r *compilation) checkImports(p *policy.Policy) {
	roleSets, variables, constants := importLists(p)
	check := func(names []diag.Text, sets map[string]*policy.Policy, what, kind string) {
		for _, name := range names {
			if sets[name.Value] != nil {
				continue
			}
			hint := orElse(diag.DidYouMean(name.Value, slices.Collect(maps.Keys(sets))),
				fmt.Sprintf("add a file with %s of that name, or remove the import", kind))
			var related []diag.Related
			for _, d := range r.disabled {
				if d.Key() == setKey(kind, name.Value) {
					hint = "enable it, or remove the import"
					related = append(related, diag.Related{Pos: d.Pos, Message: "it is disabled here"})
				}
			}
			r.report(p, name.Pos, CodeUnknownImport, fmt.Sprintf("there is no set of %s called %q", what, name.Value), hint, related...)
		}
	}
	check(roleSets, r.roleSets, "derived roles", "derivedRoles")
	check(variables.Import, r.variables, "variables", "exportVariables")
	check(constants.Import, r.constants, "constants", "exportConstants")
}

func setKey(kind, name string) string {
	switch kind {
	case "derivedRoles":
		return (&policy.DerivedRoles{Name: diag.Text{Value: name}}).Key()
	case "exportVariables":
		return (&policy.ExportVariables{Name: diag.Text{Value: name}}).Key()
	default:
		return (&policy.ExportConstants{Name: diag.Text{Value: name}}).Key()
	}
}

// maxMissing bounds how many missing policies are reported for one.
const maxMissing = 20

// checkAncestors reports a policy in a scope above which one is missing. Cerbos
// lets a role policy stand in the gap, and then drops the policy below without
// a word; here that is a mistake, too.
func (r *compilation) checkAncestors(p *policy.Policy) {
	var at diag.Text
	var key func(scope string) string
	switch {
	case p.Resource != nil:
		at = p.Resource.Scope
		key = func(s string) string {
			return policy.ResourceKey(p.Resource.Resource.Value, p.Resource.Version.Value, s)
		}
	case p.Principal != nil:
		at = p.Principal.Scope
		key = func(s string) string {
			return policy.PrincipalKey(p.Principal.Principal.Value, p.Principal.Version.Value, s)
		}
	default:
		return
	}
	for s, reported := at.Value, 0; s != "" && reported < maxMissing; {
		s = parentScope(s)
		missing := key(s)
		if r.keys[missing] != nil {
			continue
		}
		reported++
		var related []diag.Related
		for _, d := range r.disabled {
			if d.Key() == missing {
				related = append(related, diag.Related{Pos: d.Pos, Message: "it is disabled here"})
			}
		}
		where := fmt.Sprintf("the scope %q", s)
		if s == "" {
			where = "the root scope"
		}
		r.report(p, at.Pos, CodeMissingScope, fmt.Sprintf("there is no policy %s, which %s needs above it", missing, p.Key()),
			fmt.Sprintf("add a policy for %s; it may have no rules", where), related...)
	}
}

// checkPermissions reports scopes whose policies do not agree on scope
// permissions, by the rule of Cerbos: all kinds of policies count, those that
// say nothing count as saying so, and the first in each scope does not count.
func (r *compilation) checkPermissions() {
	type said struct {
		p     *policy.Policy
		value policy.ScopePermissions
		pos   diag.Position
	}
	first, second := map[string]bool{}, map[string]said{}
	reported := map[string]bool{}
	for _, p := range r.order {
		s := said{p: p, pos: p.Pos}
		name := ""
		switch {
		case p.Resource != nil:
			s.value, s.pos, name = p.Resource.Permissions, p.Resource.Pos, p.Resource.Scope.Value
		case p.Principal != nil:
			s.value, s.pos, name = p.Principal.Permissions, p.Principal.Pos, p.Principal.Scope.Value
		case p.Role != nil:
			name = p.Role.Scope.Value
		}
		// Where the check lets different ones pass, the stricter counts.
		if s.value == policy.RequireParentalConsent {
			r.consent[name] = true
		}
		if p.Resource != nil || p.Principal != nil {
			r.ruled[name] = true
		}
		other, again := second[name]
		switch {
		case !first[name]:
			first[name] = true
		case !again:
			second[name] = s
		case other.value != s.value && !reported[name]:
			reported[name] = true
			r.report(p, s.pos, CodeScopePermissions,
				fmt.Sprintf("policies in the scope %q differ in scopePermissions: %s here, %s in %s", name, s.value, other.value, other.p.Key()),
				"give all policies of the scope the same scopePermissions",
				diag.Related{Pos: other.pos, Message: "the other one"})
		}
	}
}

// report adds a diagnostic about a place in p.
func (r *compilation) report(p *policy.Policy, pos diag.Position, code diag.Code, message, hint string, related ...diag.Related) {
	r.diagnostics = append(r.diagnostics, diag.Diagnostic{
		Pos: pos, Code: code, Message: message, Hint: hint, Source: p.Line(pos.Line), Related: related,
	})
}

// EachExpression visits every CEL expression that a policy holds.
func EachExpression(p *policy.Policy, visit func(diag.Text)) {
	var condition func(*policy.Condition)
	condition = func(c *policy.Condition) {
		if c == nil {
			return
		}
		if c.Op == policy.Expr {
			visit(c.Expr)
		}
		for _, m := range c.Of {
			condition(m)
		}
	}
	out := func(o *policy.Output) {
		if o == nil {
			return
		}
		for _, t := range []diag.Text{o.RuleActivated, o.ConditionNotMet} {
			if strings.TrimSpace(t.Value) != "" {
				visit(t)
			}
		}
	}
	_, variables, _ := importLists(p)
	for _, v := range variables.Local {
		visit(v.Expr)
	}
	switch {
	case p.Resource != nil:
		for i := range p.Resource.Rules {
			condition(p.Resource.Rules[i].Condition)
			out(p.Resource.Rules[i].Output)
		}
	case p.Principal != nil:
		for i := range p.Principal.Rules {
			for j := range p.Principal.Rules[i].Actions {
				condition(p.Principal.Rules[i].Actions[j].Condition)
				out(p.Principal.Rules[i].Actions[j].Output)
			}
		}
	case p.Role != nil:
		for i := range p.Role.Rules {
			condition(p.Role.Rules[i].Condition)
			out(p.Role.Rules[i].Output)
		}
	case p.DerivedRoles != nil:
		for i := range p.DerivedRoles.Definitions {
			condition(p.DerivedRoles.Definitions[i].Condition)
		}
	case p.ExportVariables != nil:
		for _, v := range p.ExportVariables.Definitions {
			visit(v.Expr)
		}
	}
}
