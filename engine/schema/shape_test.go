package schema

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"edict/engine/value"
)

func TestLookup(t *testing.T) {
	s := mustCompile(t, `{
		"type": "object",
		"additionalProperties": false,
		"properties": {
			"name": {"type": "string"},
			"age": {"type": "integer", "minimum": 0},
			"score": {"type": "number"},
			"flag": {"type": ["boolean", "null"]},
			"state": {"enum": ["open", "closed", 3, 2.5, null]},
			"mixed": {"enum": ["a", [1]]},
			"kind": {"const": "x"},
			"free": {},
			"never": false,
			"owner": {"$ref": "#/$defs/person"},
			"tree": {"$ref": "#/$defs/tree"},
			"tags": {"type": "array", "items": {"type": "string"}},
			"pair": {"prefixItems": [{"type": "string"}, {"type": "null"}], "items": false, "type": "array"},
			"choice": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/person"}]},
			"one": {"anyOf": [{"const": "a"}, {"enum": ["b", "a"]}]},
			"both": {"allOf": [{"enum": ["a", "b", "c"]}, {"enum": ["b", "c", "d"]}, {"not": {"const": "c"}}]},
			"merged": {"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"enum": ["x", 1]}, "b": {}}}]},
			"impossible": {"type": "string", "enum": [1]},
			"open": {"type": "object", "properties": {"a": {}}},
			"map": {"type": "object", "additionalProperties": {"type": "integer"}},
			"patterned": {"type": "object", "patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": false},
			"conditional": {"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"type": "null"}}
		},
		"$defs": {
			"person": {"type": "object", "additionalProperties": false, "properties": {"id": {"type": "string"}}},
			"tree": {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree"}, "v": {"type": "integer"}}}
		}}`)
	const open, closed = false, true
	for _, test := range []struct {
		path   string
		types  string // "" if nothing can be there
		enum   string
		closed bool
		names  string
	}{
		{"name", "string", "", open, ""},
		{"nmae", "", "", open, ""},
		{"name.first", "", "", open, ""},
		{"age", "integer", "", open, ""},
		{"score", "number", "", open, ""},
		{"flag", "boolean or null", "", open, ""},
		{"state", "string or number or null", "open closed 3 2.5 null", open, ""},
		{"mixed", "string or array", "", open, ""},
		{"kind", "string", "x", open, ""},
		{"free", "anything", "", open, ""},
		{"free.at.all", "anything", "", open, ""},
		{"never", "", "", open, ""},
		{"owner", "object", "", closed, "id"},
		{"owner.id", "string", "", open, ""},
		{"owner.di", "", "", open, ""},
		{"tree.next.next.next.v", "integer", "", open, ""},
		{"tree.next.more", "anything", "", open, ""},
		{"tags", "array", "", open, ""},
		{"tags.[]", "string", "", open, ""},
		{"tags.x", "", "", open, ""},
		{"pair.[]", "string or null", "", open, ""},
		{"choice", "object or null", "", closed, "id"},
		{"choice.id", "string", "", open, ""},
		{"one", "string", "a b", open, ""},
		{"both", "string", "b c", open, ""},
		{"merged", "anything", "", open, "a b"},
		{"merged.a", "string", "x", open, ""},
		{"impossible", "", "", open, ""},
		{"open", "object", "", open, "a"},
		{"open.b", "anything", "", open, ""},
		{"map.any", "integer", "", open, ""},
		{"patterned", "object", "", open, ""},
		{"patterned.x_a", "string", "", open, ""},
		{"patterned.a", "", "", open, ""},
		{"conditional", "anything", "", open, ""},
	} {
		got, ok := lookup(s, strings.Split(test.path, "."))
		if ok != (test.types != "") {
			t.Errorf("%s: known to be possible: %v", test.path, ok)
			continue
		}
		if !ok {
			continue
		}
		var enum []string
		for _, v := range got.Enum {
			enum = append(enum, strings.Trim(v.String(), `"`))
		}
		if got.Types.String() != test.types || strings.Join(enum, " ") != test.enum ||
			got.Closed != test.closed || strings.Join(got.Properties, " ") != test.names {
			t.Errorf("%s: %s, enum %q, closed %v, properties %q, want %+v", test.path, got.Types, enum, got.Closed, got.Properties, test)
		}
	}
	if root, ok := s.Lookup(); !ok || root.Types != Object || !root.Closed || slices.Contains(root.Properties, "never") || !slices.Contains(root.Properties, "name") {
		t.Errorf("the attributes as a whole: %+v", root)
	}
}

// lookup is Lookup in which "[]" is any element of a list.
func lookup(s *Schema, path []string) (Shape, bool) {
	shape, ok := s.Lookup()
	for _, name := range path {
		if name == "[]" {
			shape, ok = shape.Element()
		} else {
			shape, ok = shape.Property(name)
		}
		if !ok {
			return shape, false
		}
	}
	return shape, ok
}

// Schemas that refer to each other so that following all would take for ever.
func TestShapeOfTangledSchemas(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {`)
	for i := range 60 {
		fmt.Fprintf(&b, `"d%d": {"allOf": [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}]},`, i, i+1, i+1)
	}
	b.WriteString(`"d60": {"type": "string"}}}`)
	shape, ok := mustCompile(t, b.String()).Lookup("a")
	if !ok || shape.Types&String == 0 {
		t.Errorf("got %v, want that a string is possible", shape.Types)
	}
}

// admits tells whether a shape lets v pass, all the way down. It is what
// "never narrower than the schema" means.
func admits(s Shape, v value.Value) error {
	types := map[value.Kind]Types{
		value.Null: Null, value.Bool: Boolean, value.Double: Integer | Number,
		value.String: String, value.List: Array, value.Map: Object,
	}[v.Kind()]
	if v.Kind() == value.Double {
		types = typeOf(v)
	}
	if s.Types&types == 0 {
		return fmt.Errorf("%v is not %s", v, s.Types)
	}
	if s.Enum != nil && !contains(s.Enum, v) {
		return fmt.Errorf("%v is not in %v", v, s.Enum)
	}
	switch v.Kind() {
	case value.List:
		for i := range v.Sequence().Len() {
			e, ok := s.Element()
			if !ok {
				return fmt.Errorf("%v can't have elements", v)
			}
			if err := admits(e, v.Sequence().At(i)); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
	case value.Map:
		for name, member := range v.Mapping().Range {
			p, ok := s.Property(name)
			if !ok || s.Closed && !slices.Contains(s.Properties, name) {
				return fmt.Errorf("%v can't have the property %q", v, name)
			}
			if err := admits(p, member); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}
