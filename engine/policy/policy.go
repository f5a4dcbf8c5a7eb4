package policy

import (
	"strings"

	"edict/engine/diag"
	"edict/engine/value"
)

// APIVersion is the only apiVersion there is.
const APIVersion = "api.cerbos.dev/v1"

// A Policy is one policy file.
type Policy struct {
	Pos      diag.Position
	Disabled bool

	Resource        *ResourcePolicy
	DerivedRoles    *DerivedRoles
	Principal       *Unsupported
	Role            *Unsupported
	ExportVariables *Unsupported
	ExportConstants *Unsupported

	// Source holds the lines of the file, for diagnostics to show.
	Source []string
}

// Unsupported stands for a body of a kind that the engine does not decide yet.
// It is kept, and refused when policies are compiled, so that no rule that
// could deny is ever dropped in silence.
type Unsupported struct {
	Pos  diag.Position
	Kind string // the field name, e.g. principalPolicy
}

// Line gives line n of the file, counted from 1, or "".
func (p *Policy) Line(n int) string {
	if n < 1 || n > len(p.Source) {
		return ""
	}
	return p.Source[n-1]
}

// ResourcePolicy holds the rules for one kind of resource.
type ResourcePolicy struct {
	Pos                diag.Position
	Resource           diag.Text // kind
	Version            diag.Text
	Scope              diag.Text
	ScopePermissions   diag.Text
	Schemas            *Unsupported
	ImportDerivedRoles []diag.Text
	Variables          Variables
	Constants          Constants
	Rules              []Rule
}

// Key is the policy key: resource.<kind>.v<version>, and /<scope> if there is one.
func (p *ResourcePolicy) Key() string {
	return ResourceKey(p.Resource.Value, p.Version.Value, p.Scope.Value)
}

// DerivedRoles is a named set of derived role definitions.
type DerivedRoles struct {
	Pos         diag.Position
	Name        diag.Text
	Variables   Variables
	Constants   Constants
	Definitions []RoleDefinition
}

// Key is the policy key: derived_roles.<name>.
func (d *DerivedRoles) Key() string { return "derived_roles." + d.Name.Value }

// A RoleDefinition activates a derived role for principals that have one of
// the parent roles, if the condition holds.
type RoleDefinition struct {
	Pos         diag.Position
	Name        diag.Text
	ParentRoles []diag.Text
	Condition   *Condition // nil: always
}

// Effect is what a rule does when it applies.
type Effect uint8

// The effects. The zero Effect is neither, and decides nothing.
const (
	NoEffect Effect = iota
	Allow
	Deny
)

// String gives the effect as policies write it.
func (e Effect) String() string {
	switch e {
	case Allow:
		return "EFFECT_ALLOW"
	case Deny:
		return "EFFECT_DENY"
	default:
		return "EFFECT_UNSPECIFIED"
	}
}

// A Rule allows or denies actions to roles and derived roles.
type Rule struct {
	Pos          diag.Position
	Name         diag.Text // may be empty; see RuleName
	Actions      []diag.Text
	Effect       Effect
	Roles        []diag.Text
	DerivedRoles []diag.Text
	Condition    *Condition // nil: always
	Output       *Unsupported
}

// Operator says how the members of a Condition combine.
type Operator uint8

// The operators. Expr is a leaf: a CEL expression.
const (
	Expr Operator = iota
	All
	Any
	None
)

// String gives the operator as policies write it.
func (o Operator) String() string { return [...]string{"expr", "all", "any", "none"}[o] }

// A Condition is a tree of CEL expressions.
type Condition struct {
	Pos  diag.Position
	Op   Operator
	Expr diag.Text    // of a leaf
	Of   []*Condition // of all, any and none; never empty there
}

// Variables are named CEL expressions.
type Variables struct {
	Import []diag.Text
	Local  []Variable
}

// A Variable is a named CEL expression.
type Variable struct {
	Name diag.Text
	Expr diag.Text
}

// Constants are named literal values.
type Constants struct {
	Import []diag.Text
	Local  []Constant
}

// A Constant is a named literal JSON value; its numbers are doubles.
type Constant struct {
	Name  diag.Text
	Value value.Value
}

// ResourceKey builds the policy key of a resource policy.
func ResourceKey(kind, version, scope string) string {
	return key("resource", kind, version, scope)
}

func key(prefix, name, version, scope string) string {
	k := prefix + "." + Sanitize(name) + ".v" + version
	if scope != "" {
		k += "/" + scope
	}
	return k
}

// Sanitize gives the form of a name that policy keys carry and that resource
// kinds are compared in. In a name of colon-separated parts, each a letter
// followed by letters, digits and any of _@.-/, every run of characters other
// than letters, digits, _ and . becomes one _. Any other name stays as it is.
func Sanitize(name string) string {
	if !needsSanitizing(name) {
		return name
	}
	var b strings.Builder
	b.Grow(len(name))
	inRun := false
	for i := range len(name) {
		if c := name[i]; isKeyByte(c) {
			b.WriteByte(c)
			inRun = false
		} else if !inRun {
			b.WriteByte('_')
			inRun = true
		}
	}
	return b.String()
}

// needsSanitizing tells whether the name has the shape of colon-separated
// parts and holds a character that keys do not.
func needsSanitizing(name string) bool {
	partStart, odd := true, false
	for i := range len(name) {
		c := name[i]
		switch {
		case partStart:
			if !isLetter(c) {
				return false
			}
			partStart = false
		case c == ':':
			partStart, odd = true, true
		case isKeyByte(c):
		case c == '@' || c == '-' || c == '/':
			odd = true
		default:
			return false
		}
	}
	return odd && !partStart
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isKeyByte(c byte) bool {
	return isLetter(c) || '0' <= c && c <= '9' || c == '_' || c == '.'
}
