package lint

import (
	"slices"

	"edict/engine/internal/glob"
	"edict/engine/policy"
)

// Grants are the actions that some ALLOW rule could allow on a kind of resource,
// to whomever and on whatever condition. What is not among them is denied to
// everybody.
type Grants struct {
	patterns []string
}

// GrantsOf gathers what policies could allow on a kind of resource in a version;
// nil stands for any version. Scopes are not told apart, nor are principals.
// Role policies only narrow what others allow, and have no say.
func GrantsOf(policies []*policy.Policy, kind string, version *string) *Grants {
	g := &Grants{}
	kind = policy.Sanitize(kind)
	for _, p := range policies {
		switch r := p.Resource; {
		case p.Disabled:
		case r != nil:
			if policy.Sanitize(r.Resource.Value) != kind || version != nil && r.Version.Value != *version {
				continue
			}
			for i := range r.Rules {
				if r.Rules[i].Effect == policy.Allow {
					g.patterns = append(g.patterns, textValues(r.Rules[i].Actions)...)
				}
			}
		case p.Principal != nil:
			for i := range p.Principal.Rules {
				g.addPrincipal(&p.Principal.Rules[i], kind)
			}
		}
	}
	return g
}

func (g *Grants) addPrincipal(r *policy.PrincipalRule, kind string) {
	resource := r.Resource.Value
	if !glob.IsPattern(resource) {
		resource = policy.Sanitize(resource)
	}
	if !matches(resource, kind) {
		return
	}
	for i := range r.Actions {
		if r.Actions[i].Effect == policy.Allow {
			g.patterns = append(g.patterns, r.Actions[i].Action.Value)
		}
	}
}

// Has tells whether some rule could allow the action.
func (g *Grants) Has(action string) bool {
	return slices.ContainsFunc(g.patterns, func(p string) bool { return matches(p, action) })
}

// Names gives the actions that rules name, without the patterns.
func (g *Grants) Names() []string {
	return slices.DeleteFunc(slices.Clone(g.patterns), glob.IsPattern)
}
