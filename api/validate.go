package api

import (
	"maps"
	"slices"

	"edict/api/cerbospb"
	"edict/api/internal/refusal"
	"edict/engine"
	"edict/engine/value"
)

// mostPlanned is the number of actions that one plan may be about.
const mostPlanned = 20

var (
	ruleVersion   = refusal.Pattern(`^[\w]*$`)
	ruleScope     = refusal.Pattern(`^(^$|\.|[0-9a-zA-Z][\w\-]*(\.\w[\w\-]*)*)$`)
	rulePlanned   = refusal.AtMost(mostPlanned)
	ruleOneJWT    = refusal.Whole("AuxData.only_one_jwt_field", "Only one of the jwt or jwts fields must be set")
	ruleOneAction = refusal.Whole("exclusiveFieldsActionOrActions", "Exactly one of 'action' or 'actions' field must be set")
)

// violations are the rules that a request breaks.
type violations struct{ refusal.Violations }

// checkResources looks at the rules of a CheckResources request.
func (v *violations) checkResources(q *question) {
	v.principal(&refusal.Place{Number: 3, Name: "principal"}, q)
	v.entries(refusal.Place{Number: 4, Name: "resources"}, q.entries)
	v.tokens(&refusal.Place{Number: 5, Name: "aux_data"}, &q.tokens)
	v.annotations(&refusal.Place{Number: 6, Name: "request_context"}, q.annotations)
}

// checkResourceBatch looks at the rules of a CheckResourceBatch request.
func (v *violations) checkResourceBatch(q *question) {
	v.principal(&refusal.Place{Number: 2, Name: "principal"}, q)
	v.entries(refusal.Place{Number: 3, Name: "resources"}, q.entries)
	v.tokens(&refusal.Place{Number: 4, Name: "aux_data"}, &q.tokens)
}

// checkResourceSet looks at the rules of a CheckResourceSet request.
func (v *violations) checkResourceSet(q *question, actions []string, set *cerbospb.ResourceSet) {
	v.texts(&refusal.Place{Number: 2, Name: "actions", Text: true}, actions, 0)
	v.principal(&refusal.Place{Number: 3, Name: "principal"}, q)
	resource := &refusal.Place{Number: 4, Name: "resource"}
	if set == nil {
		v.Add(resource, refusal.Required())
	} else {
		v.Text(&refusal.Place{In: resource, Number: 1, Name: "kind", Text: true}, set.GetKind())
		v.version(&refusal.Place{In: resource, Number: 2, Name: "policy_version", Text: true}, set.GetPolicyVersion())
		if len(set.GetInstances()) == 0 {
			v.Add(&refusal.Place{In: resource, Number: 3, Name: "instances"}, refusal.Required())
		}
		v.scope(&refusal.Place{In: resource, Number: 4, Name: "scope", Text: true}, set.GetScope())
	}
	v.tokens(&refusal.Place{Number: 6, Name: "aux_data"}, &q.tokens)
}

// planResources looks at the rules of a PlanResources request.
func (v *violations) planResources(q *question, action string, actions []string, r *cerbospb.PlanResourcesInput_Resource) {
	if (action == "") == (len(actions) == 0) {
		v.Add(nil, ruleOneAction)
	}
	v.principal(&refusal.Place{Number: 3, Name: "principal"}, q)
	resource := &refusal.Place{Number: 4, Name: "resource"}
	if r == nil {
		v.Add(resource, refusal.Required())
	} else {
		v.Text(&refusal.Place{In: resource, Number: 1, Name: "kind", Text: true}, r.GetKind())
		v.version(&refusal.Place{In: resource, Number: 3, Name: "policy_version", Text: true}, r.GetPolicyVersion())
		v.scope(&refusal.Place{In: resource, Number: 4, Name: "scope", Text: true}, r.GetScope())
	}
	v.tokens(&refusal.Place{Number: 5, Name: "aux_data"}, &q.tokens)
	if len(actions) > 0 {
		v.texts(&refusal.Place{Number: 7, Name: "actions", Text: true}, actions, mostPlanned)
	}
	v.annotations(&refusal.Place{Number: 8, Name: "request_context"}, q.annotations)
}

func (v *violations) principal(at *refusal.Place, q *question) {
	if !q.hasPrincipal {
		v.Add(at, refusal.Required())
		return
	}
	p := &q.principal
	v.Text(&refusal.Place{In: at, Number: 1, Name: "id", Text: true}, p.ID)
	v.version(&refusal.Place{In: at, Number: 2, Name: "policy_version", Text: true}, p.PolicyVersion)
	v.texts(&refusal.Place{In: at, Number: 3, Name: "roles", Text: true}, p.Roles, 0)
	v.keys(refusal.Place{In: at, Number: 4, Name: "attr"}, p.Attr)
	v.scope(&refusal.Place{In: at, Number: 5, Name: "scope", Text: true}, p.Scope)
}

func (v *violations) entries(list refusal.Place, entries []entry) {
	if len(entries) == 0 {
		v.Add(&list, refusal.Required())
	}
	for i := range entries {
		at := list.At(i)
		v.texts(&refusal.Place{In: &at, Number: 1, Name: "actions", Text: true}, entries[i].actions, 0)
		resource := &refusal.Place{In: &at, Number: 2, Name: "resource"}
		if entries[i].hasResource {
			v.resource(resource, &entries[i].resource)
		} else {
			v.Add(resource, refusal.Required())
		}
	}
}

func (v *violations) resource(at *refusal.Place, r *engine.Resource) {
	v.Text(&refusal.Place{In: at, Number: 1, Name: "kind", Text: true}, r.Kind)
	v.version(&refusal.Place{In: at, Number: 2, Name: "policy_version", Text: true}, r.PolicyVersion)
	v.Text(&refusal.Place{In: at, Number: 3, Name: "id", Text: true}, r.ID)
	v.keys(refusal.Place{In: at, Number: 4, Name: "attr"}, r.Attr)
	v.scope(&refusal.Place{In: at, Number: 5, Name: "scope", Text: true}, r.Scope)
}

func (v *violations) tokens(at *refusal.Place, t *tokens) {
	if t.jwt != nil && len(t.jwts) > 0 {
		v.Add(at, ruleOneJWT)
	}
	if t.jwt != nil {
		jwt := &refusal.Place{In: at, Number: 1, Name: "jwt"}
		v.Text(&refusal.Place{In: jwt, Number: 1, Name: "token", Text: true}, t.jwt.Raw)
	}
	for _, name := range slices.Sorted(maps.Keys(t.jwts)) {
		jwt := refusal.Place{In: at, Number: 2, Name: "jwts"}.Under(name)
		if name == "" {
			v.Add(&jwt, refusal.Key())
		}
		v.Text(&refusal.Place{In: &jwt, Number: 1, Name: "token", Text: true}, t.jwts[name].Raw)
	}
}

func (v *violations) annotations(at *refusal.Place, m value.Mapping) {
	v.keys(refusal.Place{In: at, Number: 1, Name: "annotations"}, m)
}

// keys looks for a key that is empty.
func (v *violations) keys(at refusal.Place, m value.Mapping) {
	if m == nil {
		return
	}
	if _, has := m.Lookup(""); has {
		entry := at.Under("")
		v.Add(&entry, refusal.Key())
	}
}

// texts looks at a list of different texts, of which there must be one at least
// and, unless it is zero, at most so many.
func (v *violations) texts(at *refusal.Place, list []string, most int) {
	if len(list) == 0 {
		v.Add(at, refusal.Required())
		return
	}
	if !different(list) {
		v.Add(at, refusal.Unique())
	}
	if most > 0 && len(list) > most {
		v.Add(at, rulePlanned)
	}
	for i, s := range list {
		if s == "" {
			item := at.At(i)
			v.Add(&item, refusal.Item())
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

func (v *violations) version(at *refusal.Place, s string) {
	for i := range len(s) {
		if !word(s[i]) {
			v.Add(at, ruleVersion)
			return
		}
	}
}

func (v *violations) scope(at *refusal.Place, s string) {
	if s != "" && s != "." && !isScope(s) {
		v.Add(at, ruleScope)
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
