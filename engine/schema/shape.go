package schema

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"edict/engine/value"
)

// Types is a set of JSON types.
type Types uint8

// The JSON types. Integer is the numbers without a fraction and Number those
// with one, so that "number" in a schema gives both and "integer" the first.
const (
	Null Types = 1 << iota
	Boolean
	Integer
	Number
	String
	Array
	Object
	// Anything is every type.
	Anything = Null | Boolean | Integer | Number | String | Array | Object
)

// String lists the types as a schema names them: "string or null".
func (t Types) String() string {
	switch t {
	case 0:
		return "nothing"
	case Anything:
		return "anything"
	}
	var names []string
	for _, named := range []struct {
		types Types
		name  string
	}{
		{String, "string"}, {Number | Integer, "number"}, {Boolean, "boolean"},
		{Object, "object"}, {Array, "array"}, {Null, "null"},
	} {
		switch t & named.types {
		case 0:
		case Integer:
			names = append(names, "integer")
		default:
			names = append(names, named.name)
		}
	}
	return strings.Join(names, " or ")
}

// A Shape is what attributes that conform to a schema may hold at one place. It
// is never narrower than the schema; where a schema is hard to foresee, it is
// wider.
type Shape struct {
	// Types is the types that the value may have; none if there can be no value.
	Types Types
	// Enum lists all values that it may have, nil if they are not known.
	Enum []value.Value
	// Closed tells that an object has no names but those in Properties.
	Closed bool
	// Properties lists the names that the schema speaks of, sorted.
	Properties []string

	property func(name string) Shape // nil: anything
	element  func() Shape            // nil: anything
}

// Property gives the shape of a property of an object. It answers false if no
// value of this shape can have it.
func (s Shape) Property(name string) (Shape, bool) {
	p := s.propertyOf(name).named()
	return p, p.Types != 0
}

// Element gives a shape that every element of an array has. It answers false if
// no value of this shape can have elements.
func (s Shape) Element() (Shape, bool) {
	e := s.elementOf().named()
	return e, e.Types != 0
}

// Lookup gives the shape of the attribute at path, of the attributes as a whole
// without one. It answers false if attributes that conform to the schema can
// hold nothing there.
func (s *Schema) Lookup(path ...string) (Shape, bool) {
	shape, ok := s.root, s.root.Types != 0
	for _, name := range path {
		if !ok {
			return Shape{}, false
		}
		shape, ok = shape.Property(name)
	}
	return shape, ok
}

func anything() Shape { return Shape{Types: Anything} }

// nothing is the shape that no value has.
func nothing() Shape { return Shape{} }

// only narrows s to types.
func (s Shape) only(types Types) Shape {
	s.Types &= types
	if s.Enum != nil {
		s.Enum = slices.DeleteFunc(slices.Clone(s.Enum), func(v value.Value) bool { return typeOf(v)&types == 0 })
		s.Types &= typesIn(s.Enum)
	}
	return s
}

// named takes out of Properties the names that no value can have. Only what is
// handed out needs that, and doing it any earlier would follow schemas that
// contain themselves without end.
func (s Shape) named() Shape {
	s.Properties = slices.DeleteFunc(slices.Clone(s.Properties), func(name string) bool { return s.propertyOf(name).Types == 0 })
	return s
}

func (s Shape) propertyOf(name string) Shape {
	switch {
	case s.Types&Object == 0:
		return nothing()
	case s.property == nil:
		return anything()
	default:
		return s.property(name)
	}
}

func (s Shape) elementOf() Shape {
	switch {
	case s.Types&Array == 0:
		return nothing()
	case s.element == nil:
		return anything()
	default:
		return s.element()
	}
}

// meet gives the shape of values that have both shapes.
func meet(a, b Shape) Shape {
	m := Shape{Closed: a.Closed || b.Closed, Properties: union(a.Properties, b.Properties)}
	switch {
	case a.Enum == nil:
		m.Enum = b.Enum
	case b.Enum == nil:
		m.Enum = a.Enum
	default:
		m.Enum = slices.DeleteFunc(slices.Clone(a.Enum), func(v value.Value) bool { return !contains(b.Enum, v) })
	}
	m.Types = Anything
	m = m.only(a.Types & b.Types)
	switch {
	case a.property == nil:
		m.property = b.property
	case b.property == nil:
		m.property = a.property
	default:
		m.property = func(name string) Shape { return meet(a.property(name), b.property(name)) }
	}
	switch {
	case a.element == nil:
		m.element = b.element
	case b.element == nil:
		m.element = a.element
	default:
		m.element = func() Shape { return meet(a.element(), b.element()) }
	}
	return m
}

// join gives the shape of values that have one of two shapes.
func join(a, b Shape) Shape {
	if a.Types == 0 {
		return b
	}
	if b.Types == 0 {
		return a
	}
	j := Shape{Types: a.Types | b.Types, Properties: union(a.Properties, b.Properties)}
	// A shape without objects does not open the one with them.
	j.Closed = (a.Closed || a.Types&Object == 0) && (b.Closed || b.Types&Object == 0) && (a.Closed || b.Closed)
	if a.Enum != nil && b.Enum != nil {
		j.Enum = slices.Clone(a.Enum)
		for _, v := range b.Enum {
			if !contains(j.Enum, v) {
				j.Enum = append(j.Enum, v)
			}
		}
	}
	j.property = func(name string) Shape { return join(a.propertyOf(name), b.propertyOf(name)) }
	j.element = func() Shape { return join(a.elementOf(), b.elementOf()) }
	return j
}

// maxSchemas bounds how many schemas are looked at for one place. They can refer
// to each other in ways that would take for ever to follow; what is left out
// could only narrow the shape.
const maxSchemas = 256

// shapeOf gives the shape that a schema describes. Keywords that it does not
// know of (not, if, dependentSchemas, …) can only narrow it.
func shapeOf(s *jsonschema.Schema) Shape {
	budget := maxSchemas
	return shapeWithin(s, &budget)
}

func shapeWithin(s *jsonschema.Schema, budget *int) Shape {
	*budget--
	switch {
	case *budget < 0:
		return anything()
	case s.Always != nil && !*s.Always:
		return nothing()
	case s.Always != nil:
		return anything()
	}
	shape := Shape{Types: typesOf(s)}
	if s.Enum != nil {
		shape = meet(shape, oneOf(s.Enum))
	}
	if s.Constant != nil {
		shape = meet(shape, oneOf(s.Constant))
	}
	if s.Properties != nil || s.PatternProperties != nil || s.AdditionalProperties != nil {
		shape = meet(shape, objectOf(s))
	}
	if s.Items != nil || s.Items2020 != nil || s.PrefixItems != nil {
		shape = meet(shape, arrayOf(s))
	}
	if s.Ref != nil {
		shape = meet(shape, shapeWithin(s.Ref, budget))
	}
	for _, part := range s.AllOf {
		shape = meet(shape, shapeWithin(part, budget))
	}
	for _, choices := range [][]*jsonschema.Schema{s.AnyOf, s.OneOf} {
		if len(choices) == 0 {
			continue
		}
		joined := nothing()
		for _, choice := range choices {
			joined = join(joined, shapeWithin(choice, budget))
		}
		shape = meet(shape, joined)
	}
	return shape
}

func typesOf(s *jsonschema.Schema) Types {
	if len(s.Types) == 0 {
		return Anything
	}
	var types Types
	for _, name := range s.Types {
		switch name {
		case "null":
			types |= Null
		case "boolean":
			types |= Boolean
		case "integer":
			types |= Integer
		case "number":
			types |= Integer | Number
		case "string":
			types |= String
		case "array":
			types |= Array
		case "object":
			types |= Object
		}
	}
	return types
}

// oneOf gives the shape of values that a schema lists. The values are known if
// none is an object, an array or a number beyond doubles.
func oneOf(listed []any) Shape {
	shape := Shape{Enum: make([]value.Value, 0, len(listed))}
	known := true
	for _, item := range listed {
		switch item := item.(type) {
		case []any:
			shape.Types |= Array
			known = false
		case map[string]any:
			shape.Types |= Object
			known = false
		case json.Number:
			f, err := item.Float64()
			if err != nil {
				shape.Types |= Integer | Number
				known = false
				continue
			}
			shape.Enum = append(shape.Enum, value.OfDouble(f))
		default:
			shape.Enum = append(shape.Enum, value.Of(item))
		}
	}
	shape.Types |= typesIn(shape.Enum)
	if !known {
		shape.Enum = nil
	}
	return shape
}

// objectOf gives what a schema says about properties. It says nothing about
// values that are no objects.
func objectOf(s *jsonschema.Schema) Shape {
	shape := anything()
	shape.Properties = slices.Sorted(maps.Keys(s.Properties))
	if allowed, ok := s.AdditionalProperties.(bool); ok && !allowed && len(s.PatternProperties) == 0 {
		shape.Closed = true
	}
	shape.property = func(name string) Shape {
		p, known := anything(), false
		if property, ok := s.Properties[name]; ok {
			p, known = shapeOf(property), true
		}
		for pattern, property := range s.PatternProperties {
			if pattern.MatchString(name) {
				p, known = meet(p, shapeOf(property)), true
			}
		}
		if known {
			return p
		}
		switch additional := s.AdditionalProperties.(type) {
		case bool:
			if !additional {
				return nothing()
			}
		case *jsonschema.Schema:
			return shapeOf(additional)
		}
		return p
	}
	return shape
}

// arrayOf gives what a schema says about elements.
func arrayOf(s *jsonschema.Schema) Shape {
	shape := anything()
	shape.element = func() Shape {
		prefix, rest := s.PrefixItems, anything()
		if s.Items2020 != nil {
			rest = shapeOf(s.Items2020)
		}
		switch items := s.Items.(type) {
		case *jsonschema.Schema:
			rest = shapeOf(items)
		case []*jsonschema.Schema:
			prefix = items
			switch additional := s.AdditionalItems.(type) {
			case bool:
				if !additional {
					rest = nothing()
				}
			case *jsonschema.Schema:
				rest = shapeOf(additional)
			}
		}
		joined := rest
		for _, item := range prefix {
			joined = join(joined, shapeOf(item))
		}
		return joined
	}
	return shape
}

// typesIn gives the types of scalars that a schema lists.
func typesIn(list []value.Value) Types {
	var types Types
	for _, v := range list {
		types |= typeOf(v)
	}
	return types
}

func typeOf(v value.Value) Types {
	switch v.Kind() {
	case value.Null:
		return Null
	case value.Bool:
		return Boolean
	case value.Double:
		if f := v.Double(); f != math.Trunc(f) {
			return Number
		}
		return Integer
	default:
		return String
	}
}

// contains tells whether list holds the scalar v.
func contains(list []value.Value, v value.Value) bool {
	return slices.ContainsFunc(list, func(w value.Value) bool {
		return v.Kind() == w.Kind() && v.Bool() == w.Bool() && v.Double() == w.Double() && v.Str() == w.Str()
	})
}

// union gives the names of both sorted lists, sorted.
func union(a, b []string) []string {
	if len(a) == 0 {
		return slices.Clone(b)
	}
	all := append(slices.Clone(a), b...)
	slices.Sort(all)
	return slices.Compact(all)
}
