package expr

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"

	"edict/engine/value"
)

// Type is a CEL type.
type Type = cel.Type

// The types that declarations are made of.
var (
	Bool      = cel.BoolType
	Double    = cel.DoubleType
	Int       = cel.IntType
	String    = cel.StringType
	Timestamp = cel.TimestampType
	Dyn       = cel.DynType
	Strings   = cel.ListType(cel.StringType)
	Attrs     = cel.MapType(cel.StringType, cel.DynType)
	StringMap = cel.MapType(cel.StringType, cel.StringType)
)

// MapOf gives the type of maps from text to values of a type.
func MapOf(t *Type) *Type { return cel.MapType(cel.StringType, t) }

// Object gives the type of values that have the fields of the Struct called
// name.
func Object(name string) *Type { return cel.ObjectType(name) }

// A Struct declares a type with named fields. At run time such a value is a
// value.Mapping that gives every field, an unset one as the default of its
// type; has() tells, as in proto3, whether a field differs from its default.
type Struct struct {
	Name   string
	Fields map[string]*Type

	// Open structs have a field of any name, of type dyn: the names are not
	// known when an expression is compiled. There, has() tells whether the
	// Mapping has the key.
	Open bool
}

// A Variable declares a name and the Frame slot that holds its value. Several
// names may share a slot.
type Variable struct {
	Name string
	Type *Type
	Slot int
}

// An Env is a set of declared variables and types with the functions of the
// policy language. Building one is slow: build it once, and share it.
type Env struct {
	cel     *cel.Env
	slots   map[string]int
	size    int
	structs structTypes
	nodes   map[path]node // that all programs share

	overloads map[string][]overload // of functions by name
}

// nowVariable is what now() and timeSince() expand to. No source text can
// spell it.
const nowVariable = "@now"

// NewEnv builds an environment. It fails only on contradictory declarations,
// which are a mistake of the program, not of a user.
func NewEnv(variables []Variable, structs []Struct) (*Env, error) {
	e := &Env{slots: map[string]int{}, structs: structTypes{}}
	for _, s := range structs {
		e.structs[s.Name] = s
	}
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	for _, t := range []*cel.Type{hierarchyType, spiffeIDType, spiffeTrustDomainType, spiffeMatcherType} {
		if err := registry.RegisterType(t); err != nil {
			return nil, err
		}
	}
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(registry),
		cel.CustomTypeProvider(&provider{Registry: registry, structs: e.structs}),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EnableIdentifierEscapeSyntax(),
		cel.OptionalTypes(),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(),
			cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(),
		),
		ext.Bindings(),
		ext.Encoders(),
		ext.Lists(),
		ext.Math(),
		ext.Network(),
		ext.Regex(),
		ext.Sets(),
		ext.Strings(),
		ext.TwoVarComprehensions(),
		cel.Variable(nowVariable, cel.TimestampType),
	}
	options = append(options, functions()...)
	for _, v := range variables {
		if _, dup := e.slots[v.Name]; dup {
			return nil, fmt.Errorf("variable %s is declared twice", v.Name)
		}
		e.slots[v.Name] = v.Slot
		e.size = max(e.size, v.Slot+1)
		options = append(options, cel.Variable(v.Name, v.Type))
	}
	if e.cel, err = cel.NewEnv(options...); err != nil {
		return nil, err
	}
	e.overloads = overloadsOf(e.cel.Functions())
	e.commonNodes(variables)
	return e, nil
}

// Names gives the declared variables, sorted.
func (e *Env) Names() []string { return slices.Sorted(maps.Keys(e.slots)) }

// IsStruct tells whether values of a type are those of a declared Struct.
func (e *Env) IsStruct(t *Type) bool {
	_, ok := e.structs[t.TypeName()]
	return ok
}

// provider adds the declared structs to CEL's own types.
type provider struct {
	*types.Registry
	structs structTypes
}

// FindStructType implements types.Provider.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.structs[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if s, ok := p.structs[name]; ok {
		return slices.Sorted(maps.Keys(s.Fields)), true
	}
	return p.Registry.FindStructFieldNames(name)
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	s, ok := p.structs[name]
	if !ok {
		return p.Registry.FindStructFieldType(name, field)
	}
	t, ok := s.Fields[field]
	if !ok {
		if !s.Open {
			return nil, false
		}
		t = Dyn
	}
	return &types.FieldType{
		Type: t,
		IsSet: func(target any) bool {
			m, ok := target.(value.Mapping)
			return ok && isSet(m, field, s.Open)
		},
		GetFrom: func(target any) (any, error) {
			m, ok := target.(value.Mapping)
			if !ok {
				return nil, fmt.Errorf("no such field: %s", field)
			}
			v, ok := m.Lookup(field)
			if !ok {
				return nil, fmt.Errorf("undefined field '%s'", field)
			}
			if err := v.Err(); err != nil {
				return nil, err
			}
			return p.structs.toRef(v), nil
		},
	}, true
}

// NewValue implements types.Provider. Declared structs have no literals.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.structs[name]; ok {
		return types.NewErr("a %s can't be made in an expression", name)
	}
	return p.Registry.NewValue(name, fields)
}

// isSet is has() for a field of a declared struct.
func isSet(m value.Mapping, field string, open bool) bool {
	v, ok := m.Lookup(field)
	if !ok || v.Kind() == value.Error {
		return false
	}
	return open || !isDefault(v)
}

// isDefault tells whether a field of proto3 with this value counts as unset.
func isDefault(v value.Value) bool {
	switch v.Kind() {
	case value.Absent, value.Null:
		return true
	case value.Bool:
		return !v.Bool()
	case value.Int:
		return v.Int() == 0
	case value.Uint:
		return v.Uint() == 0
	case value.Double:
		return v.Double() == 0
	case value.String, value.Bytes:
		return v.Str() == ""
	case value.List:
		return v.Sequence().Len() == 0
	case value.Map:
		return v.Mapping().Len() == 0
	default:
		return false
	}
}
