package lint

import (
	"fmt"
	"strings"
	"unicode"

	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/policy"
)

// matches tells whether a text is what a rule names, or matches its pattern.
func matches(pattern, text string) bool {
	if pattern == text || !glob.IsPattern(pattern) {
		return pattern == text
	}
	g, err := glob.Compile(pattern)
	return err == nil && g.Match(text)
}

// covers tells whether a pattern surely matches all that another matches.
func covers(wide, narrow string) bool {
	if wide == narrow || wide == "*" || wide == "**" {
		return true
	}
	if !glob.IsPattern(wide) {
		return false
	}
	if glob.IsPattern(narrow) {
		// prefix** matches whatever begins so.
		prefix, ok := strings.CutSuffix(wide, "**")
		return ok && !strings.ContainsAny(prefix, `*?[]{}\,`) && strings.HasPrefix(narrow, prefix)
	}
	return matches(wide, narrow)
}

// coversAction is covers for the actions of role policies, where every text is
// tried as a pattern and as itself.
func coversAction(wide, narrow string) bool {
	if covers(wide, narrow) {
		return true
	}
	if strings.ContainsAny(narrow, `*?[]{}\`) {
		return false
	}
	g, err := glob.Compile(wide)
	return err == nil && g.Match(narrow)
}

// checkPatterns looks at the lists of actions and roles of a policy.
func (l *linter) checkPatterns(p *policy.Policy) {
	list := func(texts []diag.Text, what string, covers func(string, string) bool) {
		for i, t := range texts {
			for j, other := range texts {
				if i != j && t.Value != other.Value && covers(other.Value, t.Value) {
					l.warn(p, t.Pos, SwallowedPattern, fmt.Sprintf("%q matches the %s %q already", other.Value, what, t.Value), fmt.Sprintf("remove %q or the wider pattern", t.Value))
					break
				}
			}
		}
	}
	literal := func(what string, texts ...diag.Text) {
		for _, t := range texts {
			if looksLikePattern(t.Value) {
				l.warn(p, t.Pos, NotAPattern, fmt.Sprintf("the %s %q stands for itself: without a * it is no pattern", what, t.Value),
					"write every alternative as an entry of its own, or a pattern with *")
			}
		}
	}
	switch {
	case p.Resource != nil:
		for i := range p.Resource.Rules {
			r := &p.Resource.Rules[i]
			list(r.Actions, "action", covers)
			list(r.Roles, "role", covers)
			literal("action", r.Actions...)
			literal("role", r.Roles...)
		}
		if s := p.Resource.Schemas; s != nil && p.Resource.Scope.Value != "" {
			l.warn(p, s.Pos, SchemaIgnored, "the schemas of a policy with a scope are not looked at", "name them in the policy without scope: they apply to all scopes below")
		}
	case p.DerivedRoles != nil:
		for i := range p.DerivedRoles.Definitions {
			list(p.DerivedRoles.Definitions[i].ParentRoles, "role", covers)
			literal("role", p.DerivedRoles.Definitions[i].ParentRoles...)
		}
	case p.Principal != nil:
		for i := range p.Principal.Rules {
			r := &p.Principal.Rules[i]
			literal("resource", r.Resource)
			if glob.IsPattern(r.Resource.Value) {
				l.checkResource(p, r.Resource)
			}
			for j := range r.Actions {
				literal("action", r.Actions[j].Action)
			}
		}
	case p.Role != nil:
		for i := range p.Role.Rules {
			r := &p.Role.Rules[i]
			list(r.AllowActions, "action", coversAction)
			literal("resource", r.Resource)
			l.checkResource(p, r.Resource)
		}
	}
}

// looksLikePattern tells whether a text without * has the look of a pattern.
func looksLikePattern(s string) bool {
	if glob.IsPattern(s) {
		return false
	}
	pair := func(opening, closing string) bool {
		_, rest, ok := strings.Cut(s, opening)
		return ok && strings.Contains(rest, closing)
	}
	return strings.Contains(s, "?") || pair("[", "]") || pair("{", "}")
}

// checkResource looks for characters that no kind of resource has when it is
// compared with a pattern.
func (l *linter) checkResource(p *policy.Policy, resource diag.Text) {
	s := resource.Value
	if strings.ContainsAny(s, `?[]{}\,`) {
		return
	}
	bad := strings.IndexAny(s, ":-/@")
	if bad < 0 {
		return
	}
	if !glob.IsPattern(s) {
		if policy.Sanitize(s) == s {
			return // kinds like this one stay as they are
		}
	} else {
		for i, c := range s {
			ordinary := c == '*' || c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) || strings.ContainsRune("_.:-/@", c)
			if !ordinary || i == 0 && c != '*' && !unicode.IsLetter(c) {
				return // a kind that this matches stays as it is
			}
		}
	}
	mend := strings.NewReplacer(":", "_", "-", "_", "/", "_", "@", "_").Replace(s)
	l.warn(p, resource.Pos, UnmatchableResource,
		fmt.Sprintf("%q does not match the kind %q: kinds are compared with %q written as \"_\"", s, strings.NewReplacer("**", "x", "*", "x").Replace(s), string(s[bad])),
		fmt.Sprintf("write %q", mend))
}
