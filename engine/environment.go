package engine

import (
	"edict/engine/expr"
	"edict/engine/value"
)

// The slots of a condition's frame.
const (
	slotPrincipal = iota
	slotResource
	slotRequest
	slotVariables
	slotConstants
	slotGlobals
	slotRuntime
)

// NewEnvironment builds the CEL environment of policies: what conditions,
// variables and outputs can read.
func NewEnvironment() (*expr.Env, error) {
	openStruct := func(name string) expr.Struct { return expr.Struct{Name: name, Open: true} }
	return expr.NewEnv(
		[]expr.Variable{
			{Name: "request", Type: expr.Object("Request"), Slot: slotRequest},
			{Name: "P", Type: expr.Object("Principal"), Slot: slotPrincipal},
			{Name: "R", Type: expr.Object("Resource"), Slot: slotResource},
			{Name: "V", Type: expr.Object("Variables"), Slot: slotVariables},
			{Name: "variables", Type: expr.Object("Variables"), Slot: slotVariables},
			{Name: "C", Type: expr.Object("Constants"), Slot: slotConstants},
			{Name: "constants", Type: expr.Object("Constants"), Slot: slotConstants},
			{Name: "G", Type: expr.Object("Globals"), Slot: slotGlobals},
			{Name: "globals", Type: expr.Object("Globals"), Slot: slotGlobals},
			{Name: "runtime", Type: expr.Object("Runtime"), Slot: slotRuntime},
		},
		[]expr.Struct{
			{Name: "Request", Fields: map[string]*expr.Type{
				"principal": expr.Object("Principal"),
				"resource":  expr.Object("Resource"),
				"auxData":   expr.Object("AuxData"),
				"aux_data":  expr.Object("AuxData"),
			}},
			{Name: "Principal", Fields: map[string]*expr.Type{
				"id":             expr.String,
				"roles":          expr.Strings,
				"attr":           expr.Attrs,
				"policyVersion":  expr.String,
				"policy_version": expr.String,
				"scope":          expr.String,
			}},
			{Name: "Resource", Fields: map[string]*expr.Type{
				"kind":           expr.String,
				"id":             expr.String,
				"attr":           expr.Attrs,
				"policyVersion":  expr.String,
				"policy_version": expr.String,
				"scope":          expr.String,
			}},
			{Name: "AuxData", Fields: map[string]*expr.Type{
				"jwt":  expr.Attrs,
				"jwts": expr.MapOf(expr.Object("NamedJWT")),
			}},
			{Name: "NamedJWT", Fields: map[string]*expr.Type{"claims": expr.Attrs}},
			{Name: "Runtime", Fields: map[string]*expr.Type{
				"effectiveDerivedRoles":   expr.Strings,
				"effective_derived_roles": expr.Strings,
			}},
			openStruct("Variables"), openStruct("Constants"), openStruct("Globals"),
		})
}

// The views below show a request to expressions without copying it.

type principalView struct{ *Principal }

func (principalView) StructName() string { return "Principal" }
func (principalView) Len() int           { return 5 }

func (v principalView) Lookup(field string) (value.Value, bool) {
	switch field {
	case "attr":
		return attributes(v.Attr), true
	case "id":
		return value.OfString(v.ID), true
	case "roles":
		return value.OfSequence((*roleList)(v.Principal)), true
	case "policyVersion", "policy_version":
		return value.OfString(v.PolicyVersion), true
	case "scope":
		return value.OfString(plainScope(v.Scope)), true
	}
	return value.Value{}, false
}

func (v principalView) Range(yield func(string, value.Value) bool) {
	rangeFields(v, yield, "id", "roles", "attr", "policyVersion", "scope")
}

// roleList is a principal's roles as a list. It is a view of the principal so
// that making one allocates nothing.
type roleList Principal

func (l *roleList) Len() int             { return len(l.Roles) }
func (l *roleList) At(i int) value.Value { return value.OfString(l.Roles[i]) }

type resourceView struct{ *Resource }

func (resourceView) StructName() string { return "Resource" }
func (resourceView) Len() int           { return 5 }

func (v resourceView) Lookup(field string) (value.Value, bool) {
	switch field {
	case "attr":
		return attributes(v.Attr), true
	case "kind":
		return value.OfString(v.Kind), true
	case "id":
		return value.OfString(v.ID), true
	case "policyVersion", "policy_version":
		return value.OfString(v.PolicyVersion), true
	case "scope":
		return value.OfString(plainScope(v.Scope)), true
	}
	return value.Value{}, false
}

func (v resourceView) Range(yield func(string, value.Value) bool) {
	rangeFields(v, yield, "kind", "id", "attr", "policyVersion", "scope")
}

type requestView struct{ *Request }

func (requestView) StructName() string { return "Request" }
func (requestView) Len() int           { return 3 }

func (v requestView) Lookup(field string) (value.Value, bool) {
	switch field {
	case "principal":
		return value.OfMapping(principalView{&v.Principal}), true
	case "resource":
		return value.OfMapping(resourceView{&v.Resource}), true
	case "auxData", "aux_data":
		return value.OfMapping(auxDataView{&v.AuxData}), true
	}
	return value.Value{}, false
}

func (v requestView) Range(yield func(string, value.Value) bool) {
	rangeFields(v, yield, "principal", "resource", "auxData")
}

type auxDataView struct{ *AuxData }

func (auxDataView) StructName() string { return "AuxData" }

// Len is 0 without any data, so that has(request.auxData) is false then.
func (v auxDataView) Len() int {
	if v.JWT == nil && len(v.JWTs) == 0 {
		return 0
	}
	return 2
}

func (v auxDataView) Lookup(field string) (value.Value, bool) {
	switch field {
	case "jwt":
		return attributes(v.JWT), true
	case "jwts":
		return value.OfMapping(namedTokens(v.JWTs)), true
	}
	return value.Value{}, false
}

func (v auxDataView) Range(yield func(string, value.Value) bool) {
	rangeFields(v, yield, "jwt", "jwts")
}

type namedTokens map[string]value.Mapping

func (t namedTokens) Len() int { return len(t) }

func (t namedTokens) Lookup(name string) (value.Value, bool) {
	claims, ok := t[name]
	if !ok {
		return value.Value{}, false
	}
	return value.OfMapping(namedToken{claims}), true
}

func (t namedTokens) Range(yield func(string, value.Value) bool) {
	for name, claims := range t {
		if !yield(name, value.OfMapping(namedToken{claims})) {
			return
		}
	}
}

type namedToken struct{ claims value.Mapping }

func (namedToken) StructName() string { return "NamedJWT" }
func (namedToken) Len() int           { return 1 }

func (v namedToken) Lookup(field string) (value.Value, bool) {
	if field == "claims" {
		return attributes(v.claims), true
	}
	return value.Value{}, false
}

func (v namedToken) Range(yield func(string, value.Value) bool) { rangeFields(v, yield, "claims") }

// attributes gives m, or an empty map where there is none.
func attributes(m value.Mapping) value.Value {
	if m == nil {
		return value.OfMapping(value.Values(nil))
	}
	return value.OfMapping(m)
}

func rangeFields(m value.Mapping, yield func(string, value.Value) bool, fields ...string) {
	for _, f := range fields {
		if v, ok := m.Lookup(f); ok && !yield(f, v) {
			return
		}
	}
}

// plainScope is a scope without the leading dot that requests may write.
func plainScope(scope string) string {
	if len(scope) > 0 && scope[0] == '.' {
		return scope[1:]
	}
	return scope
}
