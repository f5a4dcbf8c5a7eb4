package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"edict/engine/conformance"
	"edict/engine/value"

	"go.yaml.in/yaml/v3"
)

// A recorded case is a reference with the files it is looked up in, and what
// Cerbos 0.55.0 said: that the schema doesn't load, or the validation errors
// for attributes.
type recorded struct {
	Name, Ref string
	Files     map[string]string
	Refused   bool
	Checks    []struct {
		Attr map[string]any
		Want [][2]string // path and message
	}
}

func readRecorded(t testing.TB) []recorded {
	t.Helper()
	content, err := os.ReadFile("testdata/cerbos.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []recorded
	if err := json.Unmarshal(content, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func setOf(files map[string]string) *Set {
	contents := make(map[string][]byte)
	for name, text := range files {
		contents[name] = []byte(text)
	}
	return New(contents)
}

func mustCompile(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := setOf(map[string]string{"s.json": text}).Compile("cerbos:///s.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refusedHere is what Cerbos loads and Edict does not: a reference with a host,
// which Cerbos drops silently.
var refusedHere = []string{"r_host2"}

func TestAsCerbos(t *testing.T) {
	cases := readRecorded(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			s, err := setOf(c.Files).Compile(c.Ref)
			if c.Refused || slices.Contains(refusedHere, c.Name) {
				if err == nil {
					t.Fatalf("%s compiles, Cerbos refuses it", c.Ref)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, check := range c.Checks {
				var attrs value.Mapping
				if check.Attr != nil {
					attrs = value.Attributes(check.Attr)
				}
				assertFailures(t, fmt.Sprintf("check %d", i), s.Validate(attrs, false), check.Want)
				// One attribute alone, so that a rule cannot lean on the others.
				for name, v := range check.Attr {
					alone := value.Attributes{name: v}
					if got, want := s.Validate(alone, false), s.failures(alone, false); !slices.Equal(got, want) {
						t.Errorf("%v gives %v, want %v as the library says", alone, got, want)
					}
				}
			}
		})
	}
	if len(cases) < 80 {
		t.Errorf("only %d cases", len(cases))
	}
}

func assertFailures(t *testing.T, what string, got []Failure, want [][2]string) {
	t.Helper()
	key := func(f Failure) string { return f.Path + ": " + f.Message }
	var gotKeys, wantKeys []string
	for _, f := range got {
		gotKeys = append(gotKeys, key(f))
	}
	for _, w := range want {
		wantKeys = append(wantKeys, w[0]+": "+w[1])
	}
	slices.Sort(gotKeys)
	slices.Sort(wantKeys)
	if !slices.Equal(gotKeys, wantKeys) {
		t.Errorf("%s:\n got %q\nwant %q", what, gotKeys, wantKeys)
	}
}

func TestConformance(t *testing.T) {
	dir := filepath.Join(conformance.Dir(t), "schema")
	files := make(map[string][]byte)
	root := filepath.Join(dir, "fs", Folder)
	if err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	set := New(files)
	paths, err := filepath.Glob(filepath.Join(dir, "test_cases", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, "schema/test_cases"); len(paths) != want {
		t.Errorf("%d cases, want %d", len(paths), want)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			type input struct {
				Principal, Resource struct{ Attr map[string]any }
				Actions             []string
			}
			var c struct {
				SchemaRefs map[string]struct {
					Ref        string
					IgnoreWhen struct{ Actions []string } `yaml:"ignoreWhen"`
				} `yaml:"schemaRefs"`
				CheckInput *input `yaml:"checkInput"`
				PlanInput  *input `yaml:"planResourcesInput"`
				Want       []struct {
					Path, Message, Source string
				} `yaml:"wantValidationErrors"`
			}
			if err := yaml.Unmarshal(content, &c); err != nil {
				t.Fatal(err)
			}
			in := c.CheckInput
			if in == nil {
				in = c.PlanInput
			}
			for key, attrs := range map[string]map[string]any{"principalSchema": in.Principal.Attr, "resourceSchema": in.Resource.Attr} {
				ref, ok := c.SchemaRefs[key]
				if !ok || len(ref.IgnoreWhen.Actions) > 0 {
					continue // which schemas apply is decided by the engine
				}
				source := "SOURCE_" + strings.ToUpper(strings.TrimSuffix(key, "Schema"))
				var want [][2]string
				refused := ""
				for _, w := range c.Want {
					if w.Source != source {
						continue
					}
					if w.Path == "" {
						_, refused, _ = strings.Cut(w.Message, ref.Ref+"\": ")
					}
					want = append(want, [2]string{w.Path, w.Message})
				}
				s, err := set.Compile(ref.Ref)
				if refused != "" {
					if err == nil {
						t.Errorf("%s compiles, want an error", ref.Ref)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				assertFailures(t, key, s.Validate(value.Attributes(attrs), c.PlanInput != nil && key == "resourceSchema"), want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	files := map[string]string{
		"visit.json":    "{}",
		"syntax.json":   "{\"type\": \"object\",\n  \"properties\": {,}\n}",
		"trailing.json": "{}\n {}",
		"empty.json":    "",
		"bom.json":      "\ufeff{}",
		"type.json":     "{\n  \"properties\": {\"é\": {\"enum\": [1]}, \"a/b\": {\"anyOf\": [{}, {\"type\": \"strin\"}]}}}",
		"regex.json":    "{\n  \"pattern\": \"(?!a)\"\n}",
		"pointer.json":  "{\"properties\": {\n  \"a\": {\"$ref\": \"#/$defs/nope\"}}}",
		"anchor.json":   "{\"properties\": {\n  \"a\": {\"$ref\": \"#nope\"}}}",
		"inner.json":    "{\"properties\": {\n  \"a\": {\"$ref\": \"visitt.json\"}}}",
		"outer.json":    "{\"$ref\": \"inner.json\"}",
		"http.json":     "{\n\"$ref\": \"https://example.com/x.json\"}",
		"file.json":     "{\n\"$ref\": \"file:///etc/passwd\"}",
		"draft.json":    "{\"$schema\": \"https://json-schema.org/draft/2030-12/schema\"}",
		"deep.json":     strings.Repeat("{\"not\":\n", 300) + "{}" + strings.Repeat("}", 300),
		"loop.json":     "{\"allOf\": [{\"$ref\": \"#\"}]}",
	}
	set := setOf(files)
	for _, test := range []struct{ ref, want string }{
		{"cerbos:///visitt.json", `schema _schemas/visitt.json doesn't exist; did you mean "cerbos:///visit.json"?`},
		{"cerbos:///quite/else.json", `schema _schemas/quite/else.json doesn't exist; the path of a reference begins below _schemas`},
		{"visit.json", `"visit.json" does not say where the schema is; write "cerbos:///visit.json" for the file _schemas/visit.json`},
		{"/visit.json", `"/visit.json" does not say where the schema is; write "cerbos:///visit.json" for the file _schemas/visit.json`},
		{"cerbos://visit.json", `schema cerbos://visit.json has a host; write three slashes: "cerbos:///visit.json"`},
		{"cerbos://a/visit.json", `schema cerbos://a/visit.json has a host; write three slashes: "cerbos:///a/visit.json"`},
		{"cerbos:///a/../visit.json", `schema cerbos:///a/../visit.json leads out of its folder; write the path from _schemas on, without ".."`},
		{"cerbos:///%zz", `"cerbos:///%zz" is not a URL; write cerbos:///path, the path below _schemas`},
		{"https://example.com/x.json", `schema https://example.com/x.json doesn't exist below _schemas, and nothing is fetched from elsewhere; put the schema below _schemas and refer to it as cerbos:///path`},
		{"cerbos:///syntax.json", `_schemas/syntax.json:2:18: not JSON: invalid character ',' looking for beginning of object key string`},
		{"cerbos:///trailing.json", `_schemas/trailing.json:2:2: not JSON: "{" after the end of the schema`},
		{"cerbos:///empty.json", `_schemas/empty.json:1:1: not JSON: the file ends too early`},
		{"cerbos:///bom.json", `_schemas/bom.json:1:1: not JSON: a byte order mark at the start; save the file as UTF-8 without one`},
		{"cerbos:///type.json", `_schemas/type.json:2:69: not a valid JSON schema: /properties/a~1b/anyOf/1/type: value must be one of "array", "boolean", "integer", "null", "number", "object", "string", or expected array, but got string`},
		{"cerbos:///regex.json", `_schemas/regex.json:2:14: not a valid JSON schema: /pattern: '(?!a)' is not valid 'regex'; patterns are regular expressions in the syntax of RE2, without look-around and back-references`},
		{"cerbos:///pointer.json", `_schemas/pointer.json:2:17: there is no schema cerbos:///pointer.json#/$defs/nope`},
		{"cerbos:///anchor.json", `_schemas/anchor.json:2:17: there is no schema cerbos:///anchor.json#nope`},
		{"cerbos:///visit.json#/nope", `there is no schema cerbos:///visit.json#/nope`},
		{"cerbos:///inner.json", `_schemas/inner.json:2:17: schema _schemas/visitt.json referenced by cerbos:///inner.json doesn't exist; did you mean "cerbos:///visit.json"?`},
		{"cerbos:///outer.json", `_schemas/inner.json:2:17: schema _schemas/visitt.json referenced by cerbos:///outer.json doesn't exist; did you mean "cerbos:///visit.json"?`},
		{"cerbos:///http.json", `_schemas/http.json:2:9: schema https://example.com/x.json referenced by cerbos:///http.json doesn't exist below _schemas, and nothing is fetched from elsewhere; put the schema below _schemas and refer to it as cerbos:///path`},
		{"cerbos:///file.json", `_schemas/file.json:2:9: schema file:///etc/passwd referenced by cerbos:///file.json doesn't exist below _schemas, and nothing is fetched from elsewhere; put the schema below _schemas and refer to it as cerbos:///path`},
		{"cerbos:///draft.json", `_schemas/draft.json:1:13: schema https://json-schema.org/draft/2030-12/schema referenced by cerbos:///draft.json doesn't exist below _schemas, and nothing is fetched from elsewhere; the drafts known are 4, 6, 7, 2019-09 and 2020-12`},
		{"cerbos:///deep.json", `_schemas/deep.json:201:1: the schema is nested deeper than 200 levels; move inner schemas to $defs and refer to them by $ref`},
		{"cerbos:///loop.json", `_schemas/loop.json: the schema refers to itself without end: cerbos:///loop.json#/allOf/0/$ref; a schema may refer to itself only for a part of the value`},
	} {
		s, err := set.Compile(test.ref)
		if err == nil {
			t.Errorf("%s: compiles to %v, want %q", test.ref, s, test.want)
			continue
		}
		if err.Error() != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.ref, err, test.want)
		}
		if e, ok := err.(*Error); !ok || e.Ref != test.ref {
			t.Errorf("%s: the error is %#v, want an *Error with that reference", test.ref, err)
		}
	}
}

func TestNilSet(t *testing.T) {
	var none *Set
	if _, err := none.Compile("cerbos:///a.json"); err == nil {
		t.Error("a nil set has a schema")
	}
	if none.Digest() != New(nil).Digest() {
		t.Error("a nil set is not the same as one without files")
	}
}

func TestDigest(t *testing.T) {
	base := map[string]string{"a": "1", "b": "2"}
	seen := map[string]string{setOf(base).Digest(): "base"}
	if setOf(base).Digest() != setOf(map[string]string{"b": "2", "a": "1"}).Digest() {
		t.Error("the same files have different digests")
	}
	for name, files := range map[string]map[string]string{
		"changed": {"a": "1", "b": "3"}, "renamed": {"a": "1", "c": "2"}, "removed": {"a": "1"},
		"added": {"a": "1", "b": "2", "c": ""}, "shifted": {"a": "1b", "": "2"}, "swapped": {"a": "2", "b": "1"}, "none": {},
	} {
		d := setOf(files).Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
}

func TestCompileOnce(t *testing.T) {
	set := setOf(map[string]string{"a.json": `{"required": ["x"]}`})
	first, err := set.Compile("cerbos:///a.json")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			s, err := set.Compile("cerbos:///a.json")
			if err != nil || s != first {
				t.Errorf("another schema %p (%v), want %p", s, err, first)
			}
			if got := s.Validate(value.Attributes{}, false); len(got) != 1 {
				t.Errorf("got %v, want one failure", got)
			}
		})
	}
	group.Wait()
}

func TestIgnoreMissing(t *testing.T) {
	s := mustCompile(t, `{"required": ["a"], "properties": {
		"b": {"required": ["c"], "properties": {"c": {"type": "string"}}},
		"required": false,
		"any": {"anyOf": [{"required": ["x"]}, {"type": "string"}]}}}`)
	attrs := value.Attributes{"b": map[string]any{}, "required": 1, "any": map[string]any{}}
	assertFailures(t, "checked", s.Validate(attrs, false), [][2]string{
		{"/", "missing properties: 'a'"}, {"/b", "missing properties: 'c'"}, {"/required", "not allowed"},
		{"/any", "missing properties: 'x'"}, {"/any", "expected string, but got object"},
	})
	assertFailures(t, "planned", s.Validate(attrs, true), [][2]string{
		{"/required", "not allowed"}, {"/any", "expected string, but got object"},
	})
}

func TestFailuresAreInOrder(t *testing.T) {
	s := mustCompile(t, `{"additionalProperties": false, "properties": {"x": {"type": "string"}, "y": {"type": "string", "enum": ["a"]}}}`)
	attrs := value.Attributes{"x": 1, "y": 2, "d": 1, "a'b": 1, "c', 'b": 1, "b": 1}
	want := []Failure{
		{"/", `additionalProperties 'a\'b', 'b', 'c\', \'b', 'd' not allowed`},
		{"/x", "expected string, but got number"},
		{"/y", "expected string, but got number"},
	}
	for range 20 {
		if got := s.Validate(attrs, false); !slices.Equal(got, want) {
			t.Fatalf("\n got %q\nwant %q", got, want)
		}
	}
}

func TestOnlyJSON(t *testing.T) {
	s := mustCompile(t, `{"properties": {"a/b": {"items": {}}}}`)
	for _, test := range []struct {
		name string
		v    value.Value
		want string
	}{
		{"int", value.OfInt(1), ""},
		{"uint", value.OfUint(math.MaxUint64), ""},
		{"not a number", value.OfDouble(math.NaN()), "NaN is not a number in JSON"},
		{"infinity", value.OfDouble(math.Inf(-1)), "-Inf is not a number in JSON"},
		{"bytes", value.OfBytes([]byte("x")), "expected a JSON value, but got bytes"},
		{"timestamp", value.OfTime(time.Unix(0, 0)), "expected a JSON value, but got timestamp"},
		{"duration", value.OfDuration(1), "expected a JSON value, but got duration"},
		{"error", value.OfError(os.ErrClosed), "expected a JSON value, but got error"},
		{"absent", value.Value{}, "expected a JSON value, but got absent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := s.Validate(value.Values{"a/b": value.OfSequence(value.Slice{value.OfNull(), test.v})}, false)
			var want [][2]string
			if test.want != "" {
				want = [][2]string{{"/a~1b/1", test.want}}
			}
			assertFailures(t, test.name, got, want)
		})
	}
}

func TestHugeAttributes(t *testing.T) {
	s := mustCompile(t, `{"properties": {"deep": {"$ref": "#"}, "many": {"items": {"type": "string"}, "uniqueItems": true}}}`)
	deep := value.OfNull()
	for range 100_000 {
		deep = value.OfMapping(value.Values{"deep": deep})
	}
	got := s.Validate(value.Values{"deep": deep}, false)
	if len(got) != 1 || got[0].Message != "nested deeper than 500 levels" {
		t.Errorf("deep attributes give %d failures, want that they are too deep", len(got))
	}
	many := make(value.Slice, 100_000)
	for i := range many {
		many[i] = value.OfDouble(1)
	}
	if got := s.Validate(value.Values{"many": value.OfSequence(many)}, false); len(got) != maxFailures {
		t.Errorf("%d failures, want %d", len(got), maxFailures)
	}
	// Each failure would repeat the name.
	below := value.Values{}
	for i := range 1000 {
		below[strconv.Itoa(i)] = value.OfDouble(1)
	}
	s = mustCompile(t, `{"additionalProperties": {"additionalProperties": {"type": "string"}}}`)
	got = s.Validate(value.Values{strings.Repeat("x", 100<<10): value.OfMapping(below)}, false)
	if len(got) != 1 || got[0].Path != "/" || got[0].Message != "the paths to all values take more than 33554432 bytes" {
		t.Errorf("long names give %d failures, want that they are too long", len(got))
	}
	if got := s.Validate(value.Values{strings.Repeat("x", 1<<10): value.OfMapping(below)}, false); len(got) != 1000 || got[0].Message != "expected string, but got number" {
		t.Errorf("shorter names give %d failures", len(got))
	}
}
