package repl

import (
	"cmp"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
)

// policyKey gives the key of the policy whose names expressions see.
func (s *Session) policyKey() string {
	return cmp.Or(s.chosen, s.set.PolicyFor(s.request))
}

// keys gives the keys of all policies, those that only others import included.
func (s *Session) keys() []string {
	var out []string
	for _, p := range s.policies {
		out = append(out, p.Key())
	}
	slices.Sort(out)
	return out
}

// compute evaluates an expression as the policy with a key sees it.
func (s *Session) compute(key, source string) (*engine.Evaluation, []expr.Issue) {
	set, at := s.view(key)
	e, issues := set.Evaluate(s.request, at, source, s.locals...)
	for i := range issues {
		issues[i].Hint = strings.ReplaceAll(issues[i].Hint, at, key)
	}
	return e, issues
}

// names gives the names that the policy with a key can read.
func (s *Session) names(key string) engine.Names {
	set, at := s.view(key)
	return set.NamesOf(at)
}

// view gives the set and the key by which expressions of a policy are
// evaluated. Policies that only others import are in no set by themselves:
// there is one more set, in which each has a resource policy with its names.
func (s *Session) view(key string) (*engine.PolicySet, string) {
	if key == "" || slices.Contains(s.set.Policies(), key) {
		return s.set, key
	}
	if s.imports == nil {
		policies := slices.Clone(s.policies)
		for _, p := range s.policies {
			if stand := standIn(p); stand != nil {
				policies = append(policies, &policy.Policy{Pos: p.Pos, Source: p.Source, Resource: stand})
			}
		}
		set, list := engine.Compile(policies, s.Engine)
		if set == nil || len(list) > 0 {
			return s.set, ""
		}
		s.imports = set
	}
	return s.imports, policy.ResourceKey(key, standInVersion, "")
}

const standInVersion = "default"

// standIn gives a resource policy that can read the names that a policy which
// is only imported can read; nil for others.
func standIn(p *policy.Policy) *policy.ResourcePolicy {
	r := &policy.ResourcePolicy{Pos: p.Pos, Resource: diag.Text{Value: p.Key(), Pos: p.Pos}, Version: diag.Text{Value: standInVersion, Pos: p.Pos}}
	switch {
	case p.DerivedRoles != nil:
		r.Variables, r.Constants = p.DerivedRoles.Variables, p.DerivedRoles.Constants
	case p.ExportVariables != nil:
		r.Variables.Import = []diag.Text{p.ExportVariables.Name}
	case p.ExportConstants != nil:
		r.Constants.Import = []diag.Text{p.ExportConstants.Name}
	default:
		return nil
	}
	return r
}
