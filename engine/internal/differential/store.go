package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/internal/oracle"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

// A store is a folder of policies that people wrote, with the words that
// requests to it are made of.
type store struct {
	policies []*policy.Policy
	random   *rand.Rand

	roles, principals, scopes, versions []string
	targets                             []target
	attributes                          []string // paths: manager.id
	values                              []value.Value
}

// A target is a kind of resource with what can be done with it.
type target struct {
	kind, version, scope string
	actions              []string
}

var (
	attributePath = regexp.MustCompile(`\battr\.(\w+(?:\.\w+)*)`)
	literal       = regexp.MustCompile(`"([^"\\]*)"|'([^'\\]*)'|\b(\d+(?:\.\d+)?)\b`)
)

func readStore(dir string, seed, n uint64) (*store, error) {
	policies, list := policyfile.Load(os.DirFS(dir))
	if len(list) > 0 {
		return nil, fmt.Errorf("%s: %s", dir, list.Render())
	}
	policies = slices.DeleteFunc(policies, tellsTheTime)
	s := &store{policies: policies, random: rand.New(rand.NewPCG(seed, n))}
	s.values = []value.Value{value.OfNull(), value.OfBool(true), value.OfBool(false), value.OfDouble(0), value.OfDouble(-1.5), value.OfString("")}
	for _, p := range policies {
		s.read(p)
	}
	for _, words := range []*[]string{&s.roles, &s.principals, &s.scopes, &s.versions, &s.attributes} {
		slices.Sort(*words)
		*words = slices.Compact(*words)
	}
	return s, nil
}

// tellsTheTime tells whether an output of a policy may hold the present instant,
// which no two systems share.
func tellsTheTime(p *policy.Policy) bool {
	if p.Resource == nil {
		return false
	}
	return slices.ContainsFunc(p.Resource.Rules, func(r policy.Rule) bool {
		return r.Output != nil && strings.Contains(r.Output.RuleActivated.Value+r.Output.ConditionNotMet.Value, "now()")
	})
}

func (s *store) read(p *policy.Policy) {
	texts := func(list []diag.Text) (out []string) {
		for _, t := range list {
			out = append(out, strings.ReplaceAll(t.Value, "*", "x"))
		}
		return out
	}
	switch {
	case p.Resource != nil:
		t := target{kind: p.Resource.Resource.Value, version: p.Resource.Version.Value, scope: p.Resource.Scope.Value}
		for _, r := range p.Resource.Rules {
			t.actions = append(t.actions, texts(r.Actions)...)
			s.roles = append(s.roles, texts(r.Roles)...)
		}
		s.targets = append(s.targets, t)
		s.scopes, s.versions = append(s.scopes, t.scope), append(s.versions, t.version)
	case p.Principal != nil:
		s.principals = append(s.principals, p.Principal.Principal.Value)
		s.scopes = append(s.scopes, p.Principal.Scope.Value)
		for _, r := range p.Principal.Rules {
			t := target{kind: strings.ReplaceAll(r.Resource.Value, "*", "x"), version: p.Principal.Version.Value}
			for _, a := range r.Actions {
				t.actions = append(t.actions, strings.ReplaceAll(a.Action.Value, "*", "x"))
			}
			s.targets = append(s.targets, t)
		}
	case p.Role != nil:
		s.roles = append(append(s.roles, p.Role.Role.Value), texts(p.Role.ParentRoles)...)
		s.scopes = append(s.scopes, p.Role.Scope.Value)
	case p.DerivedRoles != nil:
		for _, d := range p.DerivedRoles.Definitions {
			s.roles = append(s.roles, texts(d.ParentRoles)...)
		}
	}
	for _, line := range p.Source {
		for _, m := range attributePath.FindAllStringSubmatch(line, -1) {
			s.attributes = append(s.attributes, m[1])
		}
		if !strings.Contains(line, "attr") {
			continue
		}
		for _, m := range literal.FindAllStringSubmatch(line, -1) {
			if m[3] == "" {
				s.values = append(s.values, value.OfString(m[1]+m[2]))
				continue
			}
			var number float64
			if _, err := fmt.Sscan(m[3], &number); err == nil {
				s.values = append(s.values, value.OfDouble(number))
			}
		}
	}
}

// set gives the policies with options by chance.
func (s *store) set() *oracle.Set {
	return &oracle.Set{Policies: s.policies, Options: oracle.Options{
		LenientEvaluation:  s.random.IntN(2) == 0,
		LenientScopeSearch: s.random.IntN(2) == 0,
		Globals:            value.Values{"environment": value.OfString("test")},
	}}
}

// batch gives requests of one principal.
func (s *store) batch(n int) []*engine.Request {
	principal := engine.Principal{
		ID: s.one(s.principals, "nobody"), Roles: s.some(append(slices.Clone(s.roles), "stranger")),
		Attr: s.attr(), PolicyVersion: s.rarely(s.versions), Scope: s.rarely(s.scopes),
	}
	out := make([]*engine.Request, n)
	for i := range out {
		out[i] = s.request(principal)
	}
	return out
}

func (s *store) request(principal engine.Principal) *engine.Request {
	t := s.targets[s.random.IntN(len(s.targets))]
	req := &engine.Request{
		Principal: principal,
		Resource:  engine.Resource{Kind: t.kind, ID: s.one(s.principals, "XX125"), PolicyVersion: t.version, Scope: t.scope, Attr: s.attr()},
	}
	if s.random.IntN(6) == 0 {
		req.Resource.Scope = s.one(s.scopes, "no.such.scope")
	}
	req.Actions = s.some(append(slices.Clone(t.actions), "view", "other:thing"))
	return req
}

func (s *store) one(words []string, other string) string {
	if i := s.random.IntN(len(words) + 1); i < len(words) {
		return words[i]
	}
	return other
}

func (s *store) rarely(words []string) string {
	if s.random.IntN(3) > 0 {
		return ""
	}
	return s.one(words, "")
}

// some gives one to three words, each once.
func (s *store) some(words []string) []string {
	s.random.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	var out []string
	for _, w := range words {
		if !slices.Contains(out, w) && w != "" {
			out = append(out, w)
		}
	}
	return out[:min(len(out), 1+s.random.IntN(3))]
}

// attr gives attributes of names that the policies read.
func (s *store) attr() value.Values {
	root := value.Values{}
	for _, path := range s.attributes {
		if s.random.IntN(3) == 0 {
			continue
		}
		at, names := root, strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			inner, ok := at[name].Mapping().(value.Values)
			if !ok {
				inner = value.Values{}
				at[name] = value.OfMapping(inner)
			}
			at = inner
		}
		at[names[len(names)-1]] = s.value()
	}
	return root
}

func (s *store) value() value.Value {
	pick := func() value.Value { return s.values[s.random.IntN(len(s.values))] }
	if s.random.IntN(5) > 0 {
		return pick()
	}
	list := make(value.Slice, s.random.IntN(4))
	for i := range list {
		list[i] = pick()
	}
	return value.OfSequence(list)
}
