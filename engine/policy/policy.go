package policy

import (
	"strings"

	"edict/engine/diag"
	"edict/engine/value"
)

// APIVersion is the only apiVersion there is.
const APIVersion = "api.cerbos.dev/v1"

// A Policy is one policy file. Exactly one of the bodies is not nil.
type Policy struct {
	Pos         diag.Position
	Disabled    bool
	Description diag.Text // may be empty

	Resource        *ResourcePolicy
	Principal       *PrincipalPolicy
	Role            *RolePolicy
	DerivedRoles    *DerivedRoles
	ExportVariables *ExportVariables
	ExportConstants *ExportConstants

	Metadata Metadata

	// Source holds the lines of the file, for diagnostics to show.
	Source []string
}

// Metadata is what a policy says about itself. It has no part in decisions.
type Metadata struct {
	Annotations      []Annotation
	Trusted          []TrustedAttribute // by the annotation TrustedAnnotation
	SourceAttributes value.Values       // nil: none
}

// An Annotation is a name with a text.
type Annotation struct{ Name, Value diag.Text }

// The annotations that Edict reads begin with AnnotationPrefix. TrustedAnnotation
// lists attributes that clients must have no say in, as in
// "P.attr.team R.attr.tenant".
const (
	AnnotationPrefix  = "edict.dev/"
	TrustedAnnotation = AnnotationPrefix + "trusted"
)

// A TrustedAttribute is an attribute that clients must have no say in.
type TrustedAttribute struct {
	Pos         diag.Position
	OfPrincipal bool // else of the resource
	Name        string
}

// String gives the attribute as policies write it.
func (a TrustedAttribute) String() string {
	if a.OfPrincipal {
		return "P.attr." + a.Name
	}
	return "R.attr." + a.Name
}

// Key is the policy key: what tells the policy from every other.
func (p *Policy) Key() string {
	switch {
	case p.Resource != nil:
		return p.Resource.Key()
	case p.Principal != nil:
		return p.Principal.Key()
	case p.Role != nil:
		return p.Role.Key()
	case p.DerivedRoles != nil:
		return p.DerivedRoles.Key()
	case p.ExportVariables != nil:
		return p.ExportVariables.Key()
	case p.ExportConstants != nil:
		return p.ExportConstants.Key()
	}
	return ""
}

// Names gives the variables and constants that a policy declares. A set of
// exported ones declares none.
func (p *Policy) Names() (Variables, Constants) {
	switch {
	case p.Resource != nil:
		return p.Resource.Variables, p.Resource.Constants
	case p.Principal != nil:
		return p.Principal.Variables, p.Principal.Constants
	case p.Role != nil:
		return p.Role.Variables, p.Role.Constants
	case p.DerivedRoles != nil:
		return p.DerivedRoles.Variables, p.DerivedRoles.Constants
	}
	return Variables{}, Constants{}
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
	Permissions        ScopePermissions
	Schemas            *Schemas // nil: none
	ImportDerivedRoles []diag.Text
	Variables          Variables
	Constants          Constants
	Rules              []Rule
}

// Key is the policy key: resource.<kind>.v<version>, and /<scope> if there is one.
func (p *ResourcePolicy) Key() string {
	return ResourceKey(p.Resource.Value, p.Version.Value, p.Scope.Value)
}

// ScopePermissions says what an ALLOW in the policy's scope is worth.
type ScopePermissions uint8

// The scope permissions. What is not specified counts as OverrideParent.
const (
	PermissionsUnspecified ScopePermissions = iota
	OverrideParent                          // it decides
	RequireParentalConsent                  // the parent scope must allow, too
)

// String gives the permissions as policies write them.
func (s ScopePermissions) String() string {
	return [...]string{
		"SCOPE_PERMISSIONS_UNSPECIFIED",
		"SCOPE_PERMISSIONS_OVERRIDE_PARENT",
		"SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS",
	}[s]
}

// Schemas says which JSON Schemas attributes must follow.
type Schemas struct {
	Pos       diag.Position
	Principal *SchemaRef // nil: any attributes will do
	Resource  *SchemaRef // likewise
}

// A SchemaRef names a schema.
type SchemaRef struct {
	Pos           diag.Position
	Ref           diag.Text
	IgnoreActions []diag.Text // patterns of ignoreWhen.actions
}

// PrincipalPolicy holds the rules for one principal.
type PrincipalPolicy struct {
	Pos         diag.Position
	Principal   diag.Text // id
	Version     diag.Text
	Scope       diag.Text
	Permissions ScopePermissions
	Variables   Variables
	Constants   Constants
	Rules       []PrincipalRule
}

// Key is the policy key: principal.<id>.v<version>, and /<scope> if there is one.
func (p *PrincipalPolicy) Key() string {
	return PrincipalKey(p.Principal.Value, p.Version.Value, p.Scope.Value)
}

// A PrincipalRule holds what the principal may and may not do with resources
// whose kind matches a pattern.
type PrincipalRule struct {
	Pos      diag.Position
	Resource diag.Text // pattern
	Actions  []ActionRule
}

// An ActionRule allows or denies an action.
type ActionRule struct {
	Pos       diag.Position
	Name      diag.Text // may be empty
	Action    diag.Text // pattern
	Effect    Effect
	Condition *Condition // nil: always
	Output    *Output    // nil: none
}

// RolePolicy lists all that a role may do. It narrows what resource policies
// allow, and allows nothing by itself.
type RolePolicy struct {
	Pos         diag.Position
	Role        diag.Text
	Version     diag.Text // "default" where the file has none
	Scope       diag.Text
	ParentRoles []diag.Text
	Variables   Variables
	Constants   Constants
	Rules       []RoleRule
}

// Key is the policy key: role.<role>.v<version>, and /<scope> if there is one.
func (p *RolePolicy) Key() string {
	return RoleKey(p.Role.Value, p.Version.Value, p.Scope.Value)
}

// A RoleRule lets a role perform actions on resources whose kind matches a
// pattern.
type RoleRule struct {
	Pos          diag.Position
	Name         diag.Text   // may be empty
	Resource     diag.Text   // pattern
	AllowActions []diag.Text // patterns
	Condition    *Condition  // nil: always
	Output       *Output     // nil: none
}

// ExportVariables is a named set of variables for policies to import.
type ExportVariables struct {
	Pos         diag.Position
	Name        diag.Text
	Definitions []Variable
}

// Key is the policy key: export_variables.<name>.
func (e *ExportVariables) Key() string { return "export_variables." + e.Name.Value }

// ExportConstants is a named set of constants for policies to import.
type ExportConstants struct {
	Pos         diag.Position
	Name        diag.Text
	Definitions []Constant
}

// Key is the policy key: export_constants.<name>.
func (e *ExportConstants) Key() string { return "export_constants." + e.Name.Value }

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
	Output       *Output    // nil: none
}

// An Output is what a rule tells besides its effect: CEL expressions, of which
// at least one is not empty.
type Output struct {
	Pos             diag.Position
	RuleActivated   diag.Text // evaluated when the rule matched and its condition holds
	ConditionNotMet diag.Text // evaluated when the rule matched and its condition does not hold
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

// PrincipalKey builds the policy key of a principal policy.
func PrincipalKey(id, version, scope string) string {
	return key("principal", id, version, scope)
}

// RoleKey builds the policy key of a role policy.
func RoleKey(role, version, scope string) string {
	return key("role", role, version, scope)
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
