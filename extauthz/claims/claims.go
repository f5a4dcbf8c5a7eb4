package claims

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"edict/engine/value"
)

// A Mapping says how claims become a principal. Claims are named by paths; see
// the documentation of identity sources.
type Mapping struct {
	// ID names claims with the principal's id; the first one that is there
	// counts. Empty: sub.
	ID []string

	// Roles names claims with roles; the roles of all that are there count.
	// Empty: roles.
	Roles []Roles

	// DefaultRoles are the roles of a token that has none of those claims.
	DefaultRoles []string

	// RoleMap replaces roles by others, which may be several. A role that it
	// does not name stays as it is.
	RoleMap map[string][]string

	// AllowedRoles are the roles that count, after RoleMap; others are left
	// out. Nil: all count.
	AllowedRoles []string

	// Attributes are the attributes of the principal. Nil: every claim is one,
	// under its own name.
	Attributes []Attribute
}

// Roles is a claim with roles: a list of texts.
type Roles struct {
	Claim string

	// Separator lets the claim be a text, too, in which it stands between
	// roles. Empty: a space if the claim is called scope or scp, as OAuth
	// writes them (RFC 8693 §4.2), and otherwise the claim must be a list.
	Separator string

	StripPrefix string // taken off; roles that do not begin with it are left out
	AddPrefix   string // put in front
}

// An Attribute is an attribute that a claim gives.
type Attribute struct {
	Name     string
	Claim    string
	Type     Type // what it must be
	Required bool // it must be there
}

// A Type is what a claim must be, by the names of JSON Schema. The empty Type is
// anything.
type Type string

// The types.
const (
	Any     Type = ""
	String  Type = "string"
	Number  Type = "number"
	Integer Type = "integer"
	Boolean Type = "boolean"
	Array   Type = "array"
	Object  Type = "object"
	Strings Type = "strings" // an array of strings
)

// Types lists the types that have a name.
func Types() []string {
	return []string{string(String), string(Number), string(Integer), string(Boolean), string(Array), string(Object), string(Strings)}
}

// maxRoles bounds the roles of one token.
const maxRoles = 1000

// A Mapper is a Mapping, compiled. It is safe for concurrent use.
type Mapper struct {
	id           []path
	roles        []roles
	defaultRoles []string
	roleMap      map[string][]string
	allowed      map[string]bool // nil: all
	attributes   []attribute     // nil: all claims
	all          bool
}

type roles struct {
	path
	separator, strip, add string
}

type attribute struct {
	path
	name     string
	kind     Type
	required bool
}

// Compile makes a Mapping ready for use, or tells what is wrong with it.
func Compile(m Mapping) (*Mapper, error) {
	out := &Mapper{defaultRoles: m.DefaultRoles, roleMap: m.RoleMap, all: m.Attributes == nil}
	if len(m.ID) == 0 {
		m.ID = []string{"sub"}
	}
	for _, name := range m.ID {
		p, err := parsePath(name)
		if err != nil {
			return nil, err
		}
		out.id = append(out.id, p)
	}
	if len(m.Roles) == 0 {
		m.Roles = []Roles{{Claim: "roles"}}
	}
	for _, r := range m.Roles {
		p, err := parsePath(r.Claim)
		if err != nil {
			return nil, err
		}
		if r.Separator == "" && (r.Claim == "scope" || r.Claim == "scp") {
			r.Separator = " "
		}
		out.roles = append(out.roles, roles{p, r.Separator, r.StripPrefix, r.AddPrefix})
	}
	for _, from := range slices.Sorted(maps.Keys(m.RoleMap)) {
		if slices.Contains(m.RoleMap[from], "") || from == "" {
			return nil, errors.New("a role of the role map is empty")
		}
	}
	if slices.Contains(m.DefaultRoles, "") || slices.Contains(m.AllowedRoles, "") {
		return nil, errors.New("a role is empty")
	}
	if m.AllowedRoles != nil {
		out.allowed = make(map[string]bool, len(m.AllowedRoles))
		for _, r := range m.AllowedRoles {
			out.allowed[r] = true
		}
	}
	for _, a := range m.Attributes {
		p, err := parsePath(a.Claim)
		if err != nil {
			return nil, fmt.Errorf("the attribute %s: %w", a.Name, err)
		}
		if a.Type != Any && !slices.Contains(Types(), string(a.Type)) {
			return nil, fmt.Errorf("the attribute %s: there is no type %q", a.Name, a.Type)
		}
		out.attributes = append(out.attributes, attribute{p, a.Name, a.Type, a.Required})
	}
	return out, nil
}

// Map gives the id and the attributes of the principal with these claims, and
// appends its roles to roles.
func (m *Mapper) Map(claims value.Mapping, roles []string) (id string, _ []string, attributes value.Mapping, err error) {
	if id, err = m.idOf(claims); err != nil {
		return "", roles, nil, err
	}
	if roles, err = m.rolesOf(claims, roles); err != nil {
		return "", roles, nil, err
	}
	attributes = claims
	if !m.all {
		if attributes, err = m.attributesOf(claims); err != nil {
			return "", roles, nil, err
		}
	}
	return id, roles, attributes, nil
}

func (m *Mapper) idOf(claims value.Mapping) (string, error) {
	for i := range m.id {
		p := &m.id[i]
		v, ok, err := p.find(claims)
		switch {
		case err != nil:
			return "", err
		case !ok:
			continue
		case v.Kind() != value.String || v.Str() == "":
			return "", fmt.Errorf("the claim %s is not a text", p.text)
		}
		return v.Str(), nil
	}
	return "", fmt.Errorf("the claim %s is not there", m.id[0].text)
}

func (m *Mapper) rolesOf(claims value.Mapping, to []string) ([]string, error) {
	before, there := len(to), false
	for i := range m.roles {
		r := &m.roles[i]
		v, ok, err := r.find(claims)
		switch {
		case err != nil:
			return to, err
		case !ok:
			continue
		case v.Kind() == value.String && r.separator != "":
			for role := range strings.SplitSeq(v.Str(), r.separator) {
				if role != "" {
					to = m.addRole(to, before, r, role)
				}
			}
		case v.Kind() != value.List:
			return to, fmt.Errorf("the claim %s is not a list", r.text)
		default:
			list := v.Sequence()
			for i := range list.Len() {
				role := list.At(i)
				if role.Kind() != value.String || role.Str() == "" {
					return to, fmt.Errorf("the claim %s holds something that is not a text", r.text)
				}
				if to = m.addRole(to, before, r, role.Str()); len(to)-before > maxRoles {
					break
				}
			}
		}
		there = true
		if len(to)-before > maxRoles {
			return to, fmt.Errorf("the claim %s leads to more than %d roles", r.text, maxRoles)
		}
	}
	if !there {
		to = append(to, m.defaultRoles...)
	}
	return to, nil
}

// addRole appends what becomes of a role to the roles, which begin at from.
func (m *Mapper) addRole(to []string, from int, r *roles, role string) []string {
	role, ok := strings.CutPrefix(role, r.strip)
	if !ok || role == "" {
		return to
	}
	if r.add != "" {
		role = r.add + role
	}
	mapped, ok := m.roleMap[role]
	if !ok {
		return m.addAllowed(to, from, role)
	}
	for _, role := range mapped {
		to = m.addAllowed(to, from, role)
	}
	return to
}

func (m *Mapper) addAllowed(to []string, from int, role string) []string {
	if m.allowed != nil && !m.allowed[role] || len(to)-from > maxRoles || slices.Contains(to[from:], role) {
		return to
	}
	return append(to, role)
}

func (m *Mapper) attributesOf(claims value.Mapping) (value.Mapping, error) {
	out := make(value.Values, len(m.attributes))
	for i := range m.attributes {
		a := &m.attributes[i]
		v, ok, err := a.find(claims)
		switch {
		case err != nil:
			return nil, err
		case !ok && a.required:
			return nil, fmt.Errorf("the claim %s is not there", a.text)
		case !ok:
			continue
		case !a.kind.holds(v):
			return nil, fmt.Errorf("the claim %s is not of the type %s", a.text, a.kind)
		}
		out[a.name] = v
	}
	return out, nil
}

// holds tells whether a value is of the type.
func (t Type) holds(v value.Value) bool {
	switch t {
	case Any:
		return true
	case String:
		return v.Kind() == value.String
	case Number:
		return v.Kind() == value.Double
	case Integer:
		return v.Kind() == value.Double && v.Double() == math.Trunc(v.Double())
	case Boolean:
		return v.Kind() == value.Bool
	case Array:
		return v.Kind() == value.List
	case Object:
		return v.Kind() == value.Map
	case Strings:
		if v.Kind() != value.List {
			return false
		}
		list := v.Sequence()
		for i := range list.Len() {
			if list.At(i).Kind() != value.String {
				return false
			}
		}
		return true
	}
	return false
}
