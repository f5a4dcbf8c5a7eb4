package api

import (
	"maps"
	"slices"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/value"
)

// mostPlanned is the number of actions that one plan may be about.
const mostPlanned = 20

// checkResources looks at the rules of a CheckResources request.
func (v *violations) checkResources(q *question) {
	v.principal(&place{number: 3, name: "principal"}, q)
	v.entries(place{number: 4, name: "resources"}, q.entries)
	v.tokens(&place{number: 5, name: "aux_data"}, &q.tokens)
	v.annotations(&place{number: 6, name: "request_context"}, q.annotations)
}

// checkResourceBatch looks at the rules of a CheckResourceBatch request.
func (v *violations) checkResourceBatch(q *question) {
	v.principal(&place{number: 2, name: "principal"}, q)
	v.entries(place{number: 3, name: "resources"}, q.entries)
	v.tokens(&place{number: 4, name: "aux_data"}, &q.tokens)
}

// checkResourceSet looks at the rules of a CheckResourceSet request.
func (v *violations) checkResourceSet(q *question, actions []string, set *cerbospb.ResourceSet) {
	v.texts(&place{number: 2, name: "actions", text: true}, actions, 0)
	v.principal(&place{number: 3, name: "principal"}, q)
	resource := &place{number: 4, name: "resource"}
	if set == nil {
		v.add(resource, &ruleRequired)
	} else {
		v.text(&place{in: resource, number: 1, name: "kind", text: true}, set.GetKind())
		v.version(&place{in: resource, number: 2, name: "policy_version", text: true}, set.GetPolicyVersion())
		if len(set.GetInstances()) == 0 {
			v.add(&place{in: resource, number: 3, name: "instances"}, &ruleRequired)
		}
		v.scope(&place{in: resource, number: 4, name: "scope", text: true}, set.GetScope())
	}
	v.tokens(&place{number: 6, name: "aux_data"}, &q.tokens)
}

// planResources looks at the rules of a PlanResources request.
func (v *violations) planResources(q *question, action string, actions []string, r *cerbospb.PlanResourcesInput_Resource) {
	if (action == "") == (len(actions) == 0) {
		v.add(nil, &ruleOneAction)
	}
	v.principal(&place{number: 3, name: "principal"}, q)
	resource := &place{number: 4, name: "resource"}
	if r == nil {
		v.add(resource, &ruleRequired)
	} else {
		v.text(&place{in: resource, number: 1, name: "kind", text: true}, r.GetKind())
		v.version(&place{in: resource, number: 3, name: "policy_version", text: true}, r.GetPolicyVersion())
		v.scope(&place{in: resource, number: 4, name: "scope", text: true}, r.GetScope())
	}
	v.tokens(&place{number: 5, name: "aux_data"}, &q.tokens)
	if len(actions) > 0 {
		v.texts(&place{number: 7, name: "actions", text: true}, actions, mostPlanned)
	}
	v.annotations(&place{number: 8, name: "request_context"}, q.annotations)
}

func (v *violations) principal(at *place, q *question) {
	if !q.hasPrincipal {
		v.add(at, &ruleRequired)
		return
	}
	p := &q.principal
	v.text(&place{in: at, number: 1, name: "id", text: true}, p.ID)
	v.version(&place{in: at, number: 2, name: "policy_version", text: true}, p.PolicyVersion)
	v.texts(&place{in: at, number: 3, name: "roles", text: true}, p.Roles, 0)
	v.keys(place{in: at, number: 4, name: "attr"}, p.Attr)
	v.scope(&place{in: at, number: 5, name: "scope", text: true}, p.Scope)
}

func (v *violations) entries(list place, entries []entry) {
	if len(entries) == 0 {
		v.add(&list, &ruleRequired)
	}
	for i := range entries {
		at := list.at(i)
		v.texts(&place{in: &at, number: 1, name: "actions", text: true}, entries[i].actions, 0)
		resource := &place{in: &at, number: 2, name: "resource"}
		if entries[i].hasResource {
			v.resource(resource, &entries[i].resource)
		} else {
			v.add(resource, &ruleRequired)
		}
	}
}

func (v *violations) resource(at *place, r *engine.Resource) {
	v.text(&place{in: at, number: 1, name: "kind", text: true}, r.Kind)
	v.version(&place{in: at, number: 2, name: "policy_version", text: true}, r.PolicyVersion)
	v.text(&place{in: at, number: 3, name: "id", text: true}, r.ID)
	v.keys(place{in: at, number: 4, name: "attr"}, r.Attr)
	v.scope(&place{in: at, number: 5, name: "scope", text: true}, r.Scope)
}

func (v *violations) tokens(at *place, t *tokens) {
	if t.jwt != nil && len(t.jwts) > 0 {
		v.add(at, &ruleOneJWT)
	}
	if t.jwt != nil {
		jwt := &place{in: at, number: 1, name: "jwt"}
		v.text(&place{in: jwt, number: 1, name: "token", text: true}, t.jwt.Raw)
	}
	for _, name := range slices.Sorted(maps.Keys(t.jwts)) {
		jwt := place{in: at, number: 2, name: "jwts"}.under(name)
		if name == "" {
			v.add(&jwt, &ruleKey)
		}
		v.text(&place{in: &jwt, number: 1, name: "token", text: true}, t.jwts[name].Raw)
	}
}

func (v *violations) annotations(at *place, m value.Mapping) {
	v.keys(place{in: at, number: 1, name: "annotations"}, m)
}

// keys looks for a key that is empty.
func (v *violations) keys(at place, m value.Mapping) {
	if m == nil {
		return
	}
	if _, has := m.Lookup(""); has {
		entry := at.under("")
		v.add(&entry, &ruleKey)
	}
}

// text looks at a text that must not be empty.
func (v *violations) text(at *place, s string) {
	if s == "" {
		v.add(at, &ruleRequired)
	}
}

// texts looks at a list of different texts, of which there must be one at least
// and, unless it is zero, at most so many.
func (v *violations) texts(at *place, list []string, most int) {
	if len(list) == 0 {
		v.add(at, &ruleRequired)
		return
	}
	if !different(list) {
		v.add(at, &ruleUnique)
	}
	if most > 0 && len(list) > most {
		v.add(at, &rulePlanned)
	}
	for i, s := range list {
		if s == "" {
			item := at.at(i)
			v.add(&item, &ruleItem)
		}
	}
}

// fewTexts are compared each with each, which is faster than a set.
const fewTexts = 16

// different tells whether no text is there twice.
func different(list []string) bool {
	if len(list) <= fewTexts {
		for i, s := range list {
			if slices.Contains(list[:i], s) {
				return false
			}
		}
		return true
	}
	seen := make(map[string]struct{}, len(list))
	for _, s := range list {
		seen[s] = struct{}{}
	}
	return len(seen) == len(list)
}

func (v *violations) version(at *place, s string) {
	for i := range len(s) {
		if !word(s[i]) {
			v.add(at, &ruleVersion)
			return
		}
	}
}

func (v *violations) scope(at *place, s string) {
	if s != "" && s != "." && !isScope(s) {
		v.add(at, &ruleScope)
	}
}

// isScope tells whether a text is segments with dots between them. A segment
// begins with a word character, which in the first one is no underscore, and
// goes on with word characters and dashes.
func isScope(s string) bool {
	start := true
	for i := range len(s) {
		c := s[i]
		switch {
		case start:
			if !word(c) || i == 0 && c == '_' {
				return false
			}
			start = false
		case c == '.':
			start = true
		case !word(c) && c != '-':
			return false
		}
	}
	return !start
}

// word tells whether a byte is a word character, as regular expressions call it.
func word(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '_'
}
