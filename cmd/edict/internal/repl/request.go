package repl

import (
	"fmt"
	"strings"
	"time"

	"edict/cmd/edict/internal/request"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/value"
)

// readRequest reads a request, any part of which may be absent.
func readRequest(file string, content []byte) (*engine.Request, diag.List) {
	requests, _, list := request.Read(file, content, request.Options{Partial: true})
	if len(list) > 0 {
		return nil, list
	}
	return requests[0], nil
}

// readData reads a request, or the one part of it that is named, from JSON or
// YAML in braces.
func readData(text, part string) (*engine.Request, diag.List) {
	r, content := new(engine.Request), []byte(text)
	var list diag.List
	switch part {
	case "principal":
		r.Principal, list = request.Principal("", content)
	case "resource":
		r.Resource, list = request.Resource("", content)
	default:
		return readRequest("", content)
	}
	return r, list
}

// A fields value is a mapping in the order in which it was made.
type fields []item

func (f fields) Len() int { return len(f) }

func (f fields) Lookup(key string) (value.Value, bool) {
	for _, m := range f {
		if m.key == key {
			return m.value, true
		}
	}
	return value.Value{}, false
}

func (f fields) Range(yield func(string, value.Value) bool) {
	for _, m := range f {
		if !yield(m.key, m.value) {
			return
		}
	}
}

// add adds a field, unless it is unset.
func (f *fields) add(key string, v value.Value) {
	if !isUnset(v) && v.Kind() != value.Absent {
		*f = append(*f, item{key, v})
	}
}

func mapping(m value.Mapping) value.Value {
	if m == nil {
		return value.Value{}
	}
	return value.OfMapping(m)
}

// written gives a request in the form in which it is read.
func written(r *engine.Request) value.Value {
	var p, res, aux, all fields
	p.add("id", value.OfString(r.Principal.ID))
	p.add("roles", value.OfSequence(value.Strings(r.Principal.Roles)))
	p.add("attr", mapping(r.Principal.Attr))
	p.add("policyVersion", value.OfString(r.Principal.PolicyVersion))
	p.add("scope", value.OfString(r.Principal.Scope))
	res.add("kind", value.OfString(r.Resource.Kind))
	res.add("id", value.OfString(r.Resource.ID))
	res.add("attr", mapping(r.Resource.Attr))
	res.add("policyVersion", value.OfString(r.Resource.PolicyVersion))
	res.add("scope", value.OfString(r.Resource.Scope))
	aux.add("jwt", mapping(r.AuxData.JWT))
	named := value.Values{}
	for name, claims := range r.AuxData.JWTs {
		named[name] = value.OfMapping(value.Values{"claims": value.OfMapping(claims)})
	}
	aux.add("jwts", value.OfMapping(named))
	all.add("principal", value.OfMapping(p))
	all.add("resource", value.OfMapping(res))
	all.add("actions", value.OfSequence(value.Strings(r.Actions)))
	all.add("auxData", value.OfMapping(aux))
	if !r.Now.IsZero() {
		all.add("now", value.OfString(r.Now.Format(time.RFC3339Nano)))
	}
	return value.OfMapping(all)
}

// A path leads to a part of a request: principal attr level.
type path []string

// parsePath reads P.attr.a.b, R.id, request.principal.attr["a b"] and the
// like. The column of the error is that of the place, from 1.
func parsePath(s string) (path, int, error) {
	var p path
	for i := 0; i < len(s) || len(p) == 0; {
		start := i
		rest := s[i:]
		switch {
		case len(p) > 0 && strings.HasPrefix(rest, `["`), len(p) > 0 && strings.HasPrefix(rest, `['`):
			end, _ := quoted(rest[1:], false)
			name := rest[1 : 1+end]
			i += 1 + end
			if i >= len(s) || s[i] != ']' || len(name) < 2 || name[0] != name[len(name)-1] {
				return nil, start + 1, fmt.Errorf("the bracket is not closed")
			}
			i++
			p = append(p, name[1:len(name)-1])
			continue
		case len(p) > 0 && rest[0] == '.':
			i++
		case len(p) > 0:
			return nil, start + 1, fmt.Errorf("here a dot was expected")
		}
		rest = s[i:]
		if strings.HasPrefix(rest, "`") {
			end := strings.IndexByte(rest[1:], '`')
			if end < 1 {
				return nil, i + 1, fmt.Errorf("the name in backticks does not end")
			}
			p = append(p, rest[1:1+end])
			i += end + 2
			continue
		}
		n := 0
		for n < len(rest) && isNameByte(rest[n]) {
			n++
		}
		if n == 0 {
			return nil, i + 1, fmt.Errorf("here a name was expected")
		}
		p = append(p, rest[:n])
		i += n
	}
	switch {
	case p[0] == "P":
		p = append(path{"principal"}, p[1:]...)
	case p[0] == "R":
		p = append(path{"resource"}, p[1:]...)
	case p[0] == "request" && len(p) > 1:
		p = p[1:]
	}
	for i, name := range p[:min(2, len(p))] {
		switch name {
		case "aux_data":
			p[i] = "auxData"
		case "policy_version":
			p[i] = "policyVersion"
		}
	}
	return p, 0, nil
}

// with gives a request like r with a part of it replaced; the absent value
// removes it. The value is JSON.
func with(r *engine.Request, p path, v value.Value) (*engine.Request, error) {
	out := *r
	var err error
	switch {
	case p[0] == "principal" && len(p) > 1:
		err = set(p[1:], v, map[string]any{"id": &out.Principal.ID, "roles": &out.Principal.Roles, "attr": &out.Principal.Attr,
			"policyVersion": &out.Principal.PolicyVersion, "scope": &out.Principal.Scope})
	case p[0] == "resource" && len(p) > 1:
		err = set(p[1:], v, map[string]any{"kind": &out.Resource.Kind, "id": &out.Resource.ID, "attr": &out.Resource.Attr,
			"policyVersion": &out.Resource.PolicyVersion, "scope": &out.Resource.Scope})
	case p[0] == "auxData" && len(p) > 1:
		err = set(p[1:], v, map[string]any{"jwt": &out.AuxData.JWT})
	case len(p) == 1 && v.Kind() == value.Absent && p[0] == "principal":
		out.Principal = engine.Principal{}
	case len(p) == 1 && v.Kind() == value.Absent && p[0] == "resource":
		out.Resource = engine.Resource{}
	case len(p) == 1 && v.Kind() == value.Absent && p[0] == "auxData":
		out.AuxData = engine.AuxData{}
	default:
		err = fmt.Errorf("%s can't be set; set a field of P, R or request.auxData, such as P.attr.level", strings.Join(p, "."))
	}
	return &out, err
}

// set sets one of several fields, which are pointers to texts, lists of texts
// and attributes.
func set(p path, v value.Value, into map[string]any) error {
	names := make([]string, 0, len(into))
	for name := range into {
		names = append(names, name)
	}
	target, ok := into[p[0]]
	if !ok {
		hint := diag.DidYouMean(p[0], names)
		if hint == "" {
			if _, hasAttr := into["attr"]; hasAttr {
				hint = "attributes are under attr"
			}
		}
		return hinted{fmt.Sprintf("there is no field %q", p[0]), hint}
	}
	switch t := target.(type) {
	case *value.Mapping:
		if len(p) > 1 {
			inner, err := replaced(mapping(*t), p[1:], v)
			if err == nil {
				*t = inner.Mapping()
			}
			return err
		}
		if v.Kind() != value.Map && v.Kind() != value.Absent {
			return fmt.Errorf("%s is a map, got %s", p[0], typeOf(v))
		}
		*t = v.Mapping()
	case *string:
		if len(p) > 1 || v.Kind() != value.String && v.Kind() != value.Absent {
			return fmt.Errorf("%s is a text, got %s", p[0], typeOf(v))
		}
		*t = v.Str()
	case *[]string:
		var list []string
		ok := len(p) == 1 && (v.Kind() == value.List || v.Kind() == value.Absent)
		if ok && v.Kind() == value.List {
			for i := range v.Sequence().Len() {
				m := v.Sequence().At(i)
				ok = ok && m.Kind() == value.String
				list = append(list, m.Str())
			}
		}
		if !ok {
			return fmt.Errorf("%s is a list of texts, got %s", p[0], compact(v))
		}
		*t = list
	}
	return nil
}

// replaced gives a map like m with a part of it replaced. Maps that are not
// there yet are made.
func replaced(m value.Value, p path, v value.Value) (value.Value, error) {
	out := value.Values{}
	switch m.Kind() {
	case value.Map:
		m.Mapping().Range(func(key string, v value.Value) bool {
			out[key] = v
			return true
		})
	case value.Absent:
	default:
		return value.Value{}, fmt.Errorf("%q can't be set in a %s", p[0], typeOf(m))
	}
	if len(p) > 1 {
		inner, err := replaced(out[p[0]], p[1:], v)
		if err != nil {
			return value.Value{}, err
		}
		v = inner
	}
	if v.Kind() == value.Absent {
		delete(out, p[0])
	} else {
		out[p[0]] = v
	}
	return value.OfMapping(out), nil
}

// hinted is an error with its mend.
type hinted struct{ message, hint string }

func (e hinted) Error() string { return e.message }
