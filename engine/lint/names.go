package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/policy"
)

// A usage is what the expressions of a policy read of its names.
type usage struct {
	variables map[string]bool
	constants map[string]bool
	unknown   bool // an expression could not be read
}

// usageOf follows the expressions of a policy through its variables.
func (l *linter) usageOf(p *policy.Policy) usage {
	u := usage{variables: map[string]bool{}, constants: map[string]bool{}}
	c := l.contextOf(p)
	var read func(t diag.Text)
	read = func(t diag.Text) {
		program := l.syntax.compile(t.Value)
		if program == nil {
			u.unknown = true
			return
		}
		for _, s := range program.Selections() {
			switch s.Variable {
			case "V", "variables":
				if !u.variables[s.Field] {
					u.variables[s.Field] = true
					if d, ok := c.variables[s.Field]; ok {
						read(d.text)
					}
				}
			case "C", "constants":
				u.constants[s.Field] = true
			}
		}
	}
	for _, t := range expressionsIn(p) {
		read(t)
	}
	return u
}

// checkNames looks for sets, imports, derived roles, variables and constants
// that nothing uses.
func (l *linter) checkNames() {
	used := map[*policy.Policy]map[string]bool{} // of a set: what importers use of it
	told := map[*policy.Policy]int{}             // of a set: imports that use nothing of it
	unclear := map[*policy.Policy]bool{}         // of a set: an importer could not be read
	for _, p := range l.policies {
		if p.ExportVariables != nil || p.ExportConstants != nil {
			continue
		}
		u := l.usageOf(p)
		variables, constants := p.Names()
		for _, i := range l.importsOf(p) {
			if i.set == nil {
				continue
			}
			if u.unknown && i.set.DerivedRoles == nil {
				unclear[i.set] = true
				continue
			}
			if used[i.set] == nil {
				used[i.set] = map[string]bool{}
			}
			useful := false
			for _, name := range definedIn(i.set) {
				if l.uses(p, u, i.set, name.Value) {
					useful, used[i.set][name.Value] = true, true
				}
			}
			if !useful {
				told[i.set]++
				l.warn(p, i.name.Pos, UnusedImport, fmt.Sprintf("nothing in this policy uses what %q defines", i.name.Value), "remove the import",
					diag.Related{Pos: i.set.Pos, Message: "the set"})
			}
		}
		if u.unknown {
			continue
		}
		for _, v := range variables.Local {
			if !u.variables[v.Name.Value] {
				l.warn(p, v.Name.Pos, UnusedVariable, fmt.Sprintf("no condition and no output reads the variable %q", v.Name.Value), "remove it")
			}
		}
		// A constant may be read by a variable that nobody reads. To name the
		// variable is enough.
		for _, v := range variables.Local {
			if program := l.syntax.compile(v.Expr.Value); program != nil {
				for _, s := range program.Selections() {
					u.constants[s.Field] = u.constants[s.Field] || s.Variable == "C" || s.Variable == "constants"
				}
			}
		}
		for _, k := range constants.Local {
			if !u.constants[k.Name.Value] {
				l.warn(p, k.Name.Pos, UnusedConstant, fmt.Sprintf("no expression reads the constant %q", k.Name.Value), "remove it")
			}
		}
	}
	for _, p := range l.policies {
		importers := l.importers[p]
		switch {
		case p.DerivedRoles == nil && p.ExportVariables == nil && p.ExportConstants == nil:
			continue
		case len(importers) == 0:
			l.warn(p, p.Pos, UnusedSet, fmt.Sprintf("no policy imports %s", p.Key()), "import it where it is needed, or remove the file")
			continue
		case unclear[p] || told[p] == len(importers) || slices.ContainsFunc(importers, func(i *policy.Policy) bool { return i.Disabled }):
			continue
		}
		for _, name := range definedIn(p) {
			if used[p][name.Value] {
				continue
			}
			switch {
			case p.DerivedRoles != nil:
				l.warn(p, name.Pos, UnusedDerivedRole, fmt.Sprintf("no rule names the derived role %q", name.Value), "remove it, or name it under derivedRoles of a rule")
			case p.ExportVariables != nil:
				l.warn(p, name.Pos, UnusedVariable, fmt.Sprintf("no policy that imports the variable %q reads it", name.Value), "remove it")
			default:
				l.warn(p, name.Pos, UnusedConstant, fmt.Sprintf("no policy that imports the constant %q reads it", name.Value), "remove it")
			}
		}
	}
}

// definedIn gives the names that a set defines.
func definedIn(set *policy.Policy) []diag.Text {
	var out []diag.Text
	switch {
	case set.DerivedRoles != nil:
		for i := range set.DerivedRoles.Definitions {
			out = append(out, set.DerivedRoles.Definitions[i].Name)
		}
	case set.ExportVariables != nil:
		for i := range set.ExportVariables.Definitions {
			out = append(out, set.ExportVariables.Definitions[i].Name)
		}
	case set.ExportConstants != nil:
		for i := range set.ExportConstants.Definitions {
			out = append(out, set.ExportConstants.Definitions[i].Name)
		}
	}
	return out
}

// uses tells whether a policy uses a name of a set.
func (l *linter) uses(p *policy.Policy, u usage, set *policy.Policy, name string) bool {
	switch {
	case set.ExportVariables != nil:
		return u.variables[name]
	case set.ExportConstants != nil:
		return u.constants[name]
	}
	for i := range p.Resource.Rules {
		if slices.Contains(textValues(p.Resource.Rules[i].DerivedRoles), name) {
			return true
		}
	}
	return false
}

// checkScopes looks for parent roles that requests in scopes below do not see.
func (l *linter) checkScopes() {
	parents := map[string]bool{} // role and scope
	for _, p := range l.policies {
		if p.Role != nil && len(p.Role.ParentRoles) > 0 {
			parents[p.Role.Role.Value+"/"+p.Role.Scope.Value] = true
		}
	}
	for _, p := range l.policies {
		if p.Role == nil || len(p.Role.ParentRoles) == 0 {
			continue
		}
		for _, other := range l.policies {
			if other.Resource == nil || !concerns(p.Role, other.Resource.Resource.Value) {
				continue
			}
			scope := other.Resource.Scope
			if !isBelow(scope.Value, p.Role.Scope.Value) || parents[p.Role.Role.Value+"/"+scope.Value] {
				continue
			}
			l.warn(p, p.Role.ParentRoles[0].Pos, ParentRolesOutOfReach,
				fmt.Sprintf("for resources in the scope %q the role %q has none of these parent roles: they come from role policies in exactly the scope of the resource", scope.Value, p.Role.Role.Value),
				fmt.Sprintf("add a role policy for %q with parentRoles in the scope %q", p.Role.Role.Value, scope.Value),
				diag.Related{Pos: scope.Pos, Message: "a policy in the scope"})
			break
		}
	}
}

// concerns tells whether a role policy has a rule for a kind of resource, or no
// rules and so all that its parents have.
func concerns(r *policy.RolePolicy, kind string) bool {
	return len(r.Rules) == 0 || slices.ContainsFunc(r.Rules, func(rule policy.RoleRule) bool { return covers(rule.Resource.Value, policy.Sanitize(kind)) })
}

// isBelow tells whether a scope has another among its ancestors.
func isBelow(scope, ancestor string) bool {
	return scope != "" && scope != ancestor && (ancestor == "" || strings.HasPrefix(scope, ancestor+"."))
}

// A mention is a place that names a role.
type mention struct {
	policy *policy.Policy
	pos    diag.Position
}

// checkRoles looks for roles and resources that seem to be misspelt.
func (l *linter) checkRoles() {
	roles := map[string][]mention{}
	kinds := map[string]bool{}
	parents := map[string]bool{}
	add := func(p *policy.Policy, texts ...diag.Text) {
		for _, t := range texts {
			if !glob.IsPattern(t.Value) {
				roles[t.Value] = append(roles[t.Value], mention{p, t.Pos})
			}
		}
	}
	for _, p := range l.policies {
		switch {
		case p.Resource != nil:
			kinds[policy.Sanitize(p.Resource.Resource.Value)] = true
			for i := range p.Resource.Rules {
				add(p, p.Resource.Rules[i].Roles...)
			}
		case p.DerivedRoles != nil:
			for i := range p.DerivedRoles.Definitions {
				add(p, p.DerivedRoles.Definitions[i].ParentRoles...)
				for _, t := range p.DerivedRoles.Definitions[i].ParentRoles {
					parents[t.Value] = true
				}
			}
		case p.Role != nil:
			add(p, p.Role.Role)
			add(p, p.Role.ParentRoles...)
			for _, t := range p.Role.ParentRoles {
				parents[t.Value] = true
			}
			parents[p.Role.Role.Value] = true
		}
	}
	names := slices.Sorted(maps.Keys(roles))
	for _, name := range names {
		mentions := roles[name]
		if len(mentions) != 1 {
			continue
		}
		for _, other := range names {
			if places := roles[other]; len(places) > 1 && isMisspelt(name, other) {
				l.warn(mentions[0].policy, mentions[0].pos, MisspeltRole, fmt.Sprintf("the role %q is named here alone, and %q in %d places", name, other, len(places)),
					fmt.Sprintf("did you mean %q?", other), diag.Related{Pos: places[0].pos, Message: "one of the places"})
				break
			}
		}
	}
	l.checkKinds(kinds)
	l.checkDerivedAsRoles(parents)
}

// checkKinds looks for misspelt resources in principal and role policies.
func (l *linter) checkKinds(kinds map[string]bool) {
	check := func(p *policy.Policy, t diag.Text) {
		if glob.IsPattern(t.Value) || kinds[policy.Sanitize(t.Value)] {
			return
		}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			if isMisspelt(policy.Sanitize(t.Value), kind) {
				l.warn(p, t.Pos, MisspeltResource, fmt.Sprintf("there is no resource policy for %q", t.Value), fmt.Sprintf("did you mean %q?", kind))
				return
			}
		}
	}
	for _, p := range l.policies {
		switch {
		case p.Principal != nil:
			for i := range p.Principal.Rules {
				check(p, p.Principal.Rules[i].Resource)
			}
		case p.Role != nil:
			for i := range p.Role.Rules {
				check(p, p.Role.Rules[i].Resource)
			}
		}
	}
}

// checkDerivedAsRoles looks for derived roles under roles.
func (l *linter) checkDerivedAsRoles(parents map[string]bool) {
	for _, p := range l.policies {
		if p.Resource == nil {
			continue
		}
		definitions := l.definitions(p)
		named := map[string]bool{}
		for i := range p.Resource.Rules {
			for _, t := range p.Resource.Rules[i].DerivedRoles {
				named[t.Value] = true
			}
		}
		for i := range p.Resource.Rules {
			for _, t := range p.Resource.Rules[i].Roles {
				if d := definitions[t.Value]; d != nil && !named[t.Value] && !parents[t.Value] {
					l.warn(p, t.Pos, DerivedRoleAsRole, fmt.Sprintf("%q is a derived role, and under roles it means a role that a request brings", t.Value),
						"move it to derivedRoles", diag.Related{Pos: d.Name.Pos, Message: "the derived role"})
				}
			}
		}
	}
}

// isMisspelt tells whether a name looks like another with a slip of the pen.
func isMisspelt(name, meant string) bool {
	const shortest = 5
	a, b := []rune(name), []rune(meant)
	if name == meant || len(a) < shortest || len(b) < shortest {
		return false
	}
	plain := strings.NewReplacer("-", "", "_", "", ".", "", " ", "")
	if strings.EqualFold(plain.Replace(name), plain.Replace(meant)) {
		return true
	}
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	da, db := a[start:len(a)-end], b[start:len(b)-end] // what differs
	if slices.ContainsFunc(slices.Concat(da, db), func(r rune) bool { return !unicode.IsLetter(r) }) {
		return false
	}
	switch {
	case len(da) == 2 && len(db) == 2:
		return da[0] == db[1] && da[1] == db[0]
	case len(da)+len(db) == 1: // a letter inside that is missing or too many
		longer := a
		if len(db) == 1 {
			longer = b
		}
		d := slices.Concat(da, db)[0]
		// The last place where it may be missing decides: of a doubled letter
		// either one may be.
		isDoubled := start > 0 && longer[start-1] == d
		return start > 0 && (end > 0 || isDoubled)
	case len(da) == 1 && len(db) == 1:
		return start > 0 && end > 0 && strings.ContainsRune("aeiou", da[0]) && strings.ContainsRune("aeiou", db[0])
	}
	return false
}
