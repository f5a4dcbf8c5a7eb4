package schema

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"edict/engine/value"
)

// FuzzSchema gives any schema and any attributes: nothing may panic, and what
// conforms must fit the shape.
func FuzzSchema(f *testing.F) {
	for _, c := range readRecorded(f) {
		for _, text := range c.Files {
			f.Add(text, `{"a": 1, "b": [null, 1.5, "x"], "c": {"x": {}}}`)
			for _, check := range c.Checks {
				if attrs, err := json.Marshal(check.Attr); err == nil && len(attrs) < 500 {
					f.Add(text, string(attrs))
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, text, attrs string) {
		s, err := setOf(map[string]string{"s.json": text}).Compile("cerbos:///s.json")
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		var document map[string]any
		if json.Unmarshal([]byte(attrs), &document) != nil {
			return
		}
		assertFits(t, s, text, document)
	})
}

// FuzzRef gives any reference; a file of the set is all that it can lead to.
func FuzzRef(f *testing.F) {
	for _, c := range readRecorded(f) {
		f.Add(c.Ref)
	}
	set := setOf(map[string]string{"s.json": "{}", "a/b.json": `{"$ref": "../s.json"}`})
	f.Fuzz(func(t *testing.T, ref string) {
		s, err := set.Compile(ref)
		if (s == nil) == (err == nil) {
			t.Errorf("%q: schema %v, error %v", ref, s, err)
		}
	})
}

func assertFits(t *testing.T, s *Schema, text string, document map[string]any) {
	t.Helper()
	attrs := value.Attributes(document)
	got, want := s.Validate(attrs, false), s.failures(attrs, false)
	if !slices.Equal(got, want) {
		t.Errorf("%s\n%v gives %v, want %v as the library says", text, document, got, want)
	}
	if len(got) > 0 {
		return
	}
	if planned := s.Validate(attrs, true); len(planned) > 0 {
		t.Errorf("%s\n%v conforms, but not for planning: %v", text, document, planned)
	}
	shape, ok := s.Lookup()
	if !ok {
		t.Fatalf("%s\n%v conforms, but the shape says that nothing can", text, document)
	}
	if err := admits(shape, value.OfMapping(attrs)); err != nil {
		t.Errorf("%s\n%v conforms, but its shape does not admit it: %v", text, document, err)
	}
}

// Random schemas over few names and values, so that many documents conform.
func TestShapesAdmitWhatConforms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	conforming := 0
	for range 4000 {
		text, err := json.Marshal(withoutRef(randomSchema(random, 4)))
		if err != nil {
			t.Fatal(err)
		}
		s, compileErr := setOf(map[string]string{"s.json": string(text)}).Compile("cerbos:///s.json")
		if compileErr != nil {
			t.Fatalf("%s: %v", text, compileErr)
		}
		for range 5 {
			document, _ := randomValue(random, 4).(map[string]any)
			if document == nil {
				document = map[string]any{}
			}
			if len(s.Validate(value.Attributes(document), false)) == 0 {
				conforming++
			}
			assertFits(t, s, string(text), document)
		}
		if t.Failed() {
			return
		}
	}
	if conforming < 2000 {
		t.Errorf("only %d documents conform", conforming)
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomName(r *rand.Rand) string { return pick(r, "a", "b", "xc") }

func randomValue(r *rand.Rand, depth int) any {
	n := 7
	if depth == 0 {
		n = 5
	}
	switch r.IntN(n) {
	case 0:
		return nil
	case 1:
		return r.IntN(2) == 0
	case 2:
		return pick(r, 1, 2, 2.5)
	case 3, 4:
		return pick(r, "x", "y")
	case 5:
		list := make([]any, r.IntN(3))
		for i := range list {
			list[i] = randomValue(r, depth-1)
		}
		return list
	default:
		object := make(map[string]any)
		for range r.IntN(4) {
			object[randomName(r)] = randomValue(r, depth-1)
		}
		return object
	}
}

func randomSchema(r *rand.Rand, depth int) any {
	if depth == 0 || r.IntN(8) == 0 {
		return pick[any](r, true, true, false, map[string]any{}, map[string]any{"$ref": "#"}, map[string]any{"type": "string"})
	}
	sub := func() any { return randomSchema(r, depth-1) }
	list := func() []any {
		schemas := make([]any, 1+r.IntN(3))
		for i := range schemas {
			schemas[i] = sub()
		}
		return schemas
	}
	s := make(map[string]any)
	for range 1 + r.IntN(3) {
		switch r.IntN(16) {
		case 14:
			s[pick(r, "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")] = pick(r, 1, 2, 2.5)
		case 15:
			s[pick(r, "minProperties", "maxProperties", "minItems", "maxItems", "minLength", "maxLength")] = r.IntN(3)
		case 0:
			s["type"] = pick[any](r, "string", "integer", "number", "null", "boolean", "array", "object", []string{"object", "null"}, []string{"number", "string"})
		case 1:
			s["enum"] = []any{randomValue(r, 1), randomValue(r, 0), randomValue(r, 0)}
		case 2:
			s["const"] = randomValue(r, 1)
		case 3, 4, 5:
			s["properties"] = map[string]any{randomName(r): sub(), randomName(r): sub()}
		case 6:
			s["patternProperties"] = map[string]any{pick(r, "^x", "a"): sub()}
		case 7:
			s["additionalProperties"] = pick(r, any(false), sub())
		case 8:
			s["items"] = sub()
		case 9:
			s["prefixItems"] = list()
		case 10:
			s[pick(r, "anyOf", "oneOf")] = inPlace(list())
		case 11:
			s["allOf"] = inPlace(list())
		case 12:
			s[pick(r, "not", "if", "then", "else", "unevaluatedProperties", "contains")] = inPlace([]any{sub()})[0]
		case 13:
			s["required"] = []string{randomName(r)}
		}
	}
	return s
}

// inPlace takes references to the root out of schemas that speak of the same
// value, since those go in circles.
func inPlace(schemas []any) []any {
	for i, s := range schemas {
		schemas[i] = withoutRef(s)
	}
	return schemas
}

func withoutRef(s any) any {
	m, ok := s.(map[string]any)
	if !ok {
		return s
	}
	if _, ok := m["$ref"]; ok {
		return true
	}
	return m
}

func BenchmarkValidate(b *testing.B) {
	s := mustCompile(b, `{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"type": "object",
		"required": ["owner", "state", "amount"],
		"properties": {
			"owner": {"type": "string"},
			"state": {"enum": ["draft", "open", "closed"]},
			"amount": {"type": "number", "minimum": 0},
			"created": {"type": "string", "format": "date-time"},
			"tags": {"type": "array", "items": {"type": "string"}},
			"address": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["city"]}
		}}`)
	good := value.Values{
		"owner": value.OfString("alice"), "state": value.OfString("open"), "amount": value.OfDouble(120.5),
		"created": value.OfString("2026-11-24T02:40:00Z"),
		"tags":    value.OfSequence(value.Strings{"a", "b", "c"}),
		"address": value.OfMapping(value.Values{"city": value.OfString("Bern"), "zip": value.OfString("30000")}),
	}
	bad := value.Values{"owner": value.OfDouble(1), "state": value.OfString("gone")}
	for _, c := range []struct {
		name  string
		attrs value.Mapping
		want  int
	}{{"conforming", good, 0}, {"failing", bad, 3}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := s.Validate(c.attrs, false); len(got) != c.want {
					b.Fatal(fmt.Sprint(got))
				}
			}
		})
	}
}

// Every keyword that can make attributes fail, each alone: a rule that forgot
// one would let them pass.
func TestEveryKeywordCounts(t *testing.T) {
	for _, test := range []struct{ keyword, attrs string }{
		{`"type": "array"`, `{}`},
		{`"const": {"a": 1}`, `{"a": 2}`},
		{`"enum": [{"a": 1}]`, `{"a": 2}`},
		{`"not": {}`, `{}`},
		{`"allOf": [{"type": "string"}]`, `{}`},
		{`"anyOf": [{"type": "string"}, {"required": ["a"]}]`, `{}`},
		{`"oneOf": [{}, {}]`, `{}`},
		{`"if": {}, "then": false`, `{}`},
		{`"if": false, "else": false`, `{}`},
		{`"$ref": "#/$defs/never", "$defs": {"never": false}`, `{}`},
		{`"$dynamicRef": "#never", "$defs": {"n": {"$dynamicAnchor": "never", "type": "string"}}`, `{}`},
		{`"required": ["a"]`, `{}`},
		{`"minProperties": 1`, `{}`},
		{`"maxProperties": 0`, `{"a": 1}`},
		{`"properties": {"a": false}`, `{"a": 1}`},
		{`"patternProperties": {"a": false}`, `{"a": 1}`},
		{`"additionalProperties": false`, `{"a": 1}`},
		{`"additionalProperties": {"type": "string"}`, `{"a": 1}`},
		{`"propertyNames": {"maxLength": 1}`, `{"aa": 1}`},
		{`"dependentRequired": {"a": ["b"]}`, `{"a": 1}`},
		{`"dependentSchemas": {"a": false}`, `{"a": 1}`},
		{`"unevaluatedProperties": false`, `{"a": 1}`},
		{`"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"]}`, `{"a": 1}`},
		{`"$schema": "https://json-schema.org/draft/2019-09/schema", "properties": {"a": {"$recursiveRef": "#"}}, "maxProperties": 1`, `{"a": {"b": 1, "c": 1}}`},
		{`"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"items": [true], "additionalItems": false}}`, `{"a": [1, 2]}`},
		{`"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"items": {"type": "string"}}}`, `{"a": [1]}`},
		{`"properties": {"a": {"prefixItems": [false]}}`, `{"a": [1]}`},
		{`"properties": {"a": {"items": false}}`, `{"a": [1]}`},
		{`"properties": {"a": {"minItems": 2}}`, `{"a": [1]}`},
		{`"properties": {"a": {"maxItems": 0}}`, `{"a": [1]}`},
		{`"properties": {"a": {"uniqueItems": true}}`, `{"a": [1, 1]}`},
		{`"properties": {"a": {"contains": {"type": "string"}}}`, `{"a": [1]}`},
		{`"properties": {"a": {"contains": true, "minContains": 0, "maxContains": 1}}`, `{"a": [1, 1]}`},
		{`"properties": {"a": {"unevaluatedItems": false}}`, `{"a": [1]}`},
		{`"properties": {"a": {"minLength": 2}}`, `{"a": "ä"}`},
		{`"properties": {"a": {"maxLength": 0}}`, `{"a": "x"}`},
		{`"properties": {"a": {"pattern": "y"}}`, `{"a": "x"}`},
		{`"properties": {"a": {"format": "email"}}`, `{"a": "x"}`},
		{`"properties": {"a": {"contentEncoding": "base64"}}`, `{"a": "?"}`},
		{`"properties": {"a": {"contentMediaType": "application/json"}}`, `{"a": "?"}`},
		{`"properties": {"a": {"contentMediaType": "application/json", "contentSchema": false}}`, `{"a": "1"}`},
		{`"properties": {"a": {"minimum": 2}}`, `{"a": 1}`},
		{`"properties": {"a": {"exclusiveMinimum": 1}}`, `{"a": 1}`},
		{`"properties": {"a": {"maximum": 0}}`, `{"a": 1}`},
		{`"properties": {"a": {"exclusiveMaximum": 1}}`, `{"a": 1}`},
		{`"properties": {"a": {"minimum": 0, "exclusiveMinimum": 1}}`, `{"a": 1}`},
		{`"properties": {"a": {"multipleOf": 2}}`, `{"a": 1}`},
		{`"properties": {"a": {"minimum": 0.10000000000000000000000000001}}`, `{"a": 0.1}`},
		{`"properties": {"a": {"const": 0.10000000000000000000000000001}}`, `{"a": 0.1}`},
		{`"properties": {"a": {"type": "integer"}}`, `{"a": 1.5}`},
	} {
		s := mustCompile(t, "{"+test.keyword+"}")
		var attrs map[string]any
		if err := json.Unmarshal([]byte(test.attrs), &attrs); err != nil {
			t.Fatal(err)
		}
		if got := s.Validate(value.Attributes(attrs), false); len(got) == 0 {
			t.Errorf("{%s} lets %s pass", test.keyword, test.attrs)
		}
	}
}
