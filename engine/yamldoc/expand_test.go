package yamldoc

import (
	"reflect"
	"strings"
	"testing"

	"edict/engine/value"
)

// What Expand puts in is read as a scalar without quotes, wherever it stands.
func TestExpand(t *testing.T) {
	doc := Parse("f.yaml", []byte(`
a: ^1
b: "^1"
c: !!str ^1
d: ["^true", '^', x, {k: "^a: b # c"}]
"^1": "^{x: 1}"
e: &anchor "^2"
f: *anchor
g: {<<: &more {h: "^3"}}
`[1:]))
	var places []string
	doc.Expand(func(n Node, text string) (string, bool) {
		rest, ok := strings.CutPrefix(text, "^")
		if ok {
			places = append(places, n.Pos().String())
		}
		return rest, ok
	})
	root, ok := doc.Root()
	if !ok {
		t.Fatal(doc.Diagnostics().Render())
	}
	got, ok := root.TypedValue()
	if !ok {
		t.Fatal(doc.Diagnostics().Render())
	}
	want := map[string]any{
		"a": int64(1), "b": int64(1), "c": "1",
		"d":  []any{true, nil, "x", map[string]any{"k": "a: b # c"}},
		"^1": "{x: 1}", "e": int64(2), "f": int64(2), "g": map[string]any{"h": int64(3)},
	}
	if !reflect.DeepEqual(got.Native(), want) {
		t.Errorf("got  %#v\nwant %#v", got.Native(), want)
	}
	if len(places) != 9 || places[0] != "f.yaml:1:4" {
		t.Errorf("replaced at %v", places)
	}
}

func TestExpandNothing(t *testing.T) {
	for _, content := range []string{"", "# nothing", "a: [", "a: b"} {
		doc := Parse("f.yaml", []byte(content))
		doc.Expand(func(Node, string) (string, bool) { return "x", false })
		if root, ok := doc.Root(); ok {
			if v, _ := root.TypedValue(); !reflect.DeepEqual(v.Native(), map[string]any{"a": "b"}) {
				t.Errorf("%s became %v", content, v)
			}
		}
	}
}

func TestTypedValue(t *testing.T) {
	for text, want := range map[string]value.Value{
		"5": value.OfInt(5), "-5": value.OfInt(-5), "0x10": value.OfInt(16), "0b11": value.OfInt(3), "1_000": value.OfInt(1000),
		"9223372036854775807": value.OfInt(1<<63 - 1), "9223372036854775808": value.OfUint(1 << 63),
		"5.0": value.OfDouble(5), "1.5e3": value.OfDouble(1500), "!!float 5": value.OfDouble(5),
		"'5'": value.OfString("5"), "yesterday": value.OfString("yesterday"), "'yes'": value.OfString("yes"), "!!str no": value.OfString("no"),
		"2026-01-01": value.OfString("2026-01-01"), "true": value.OfBool(true), "~": value.OfNull(),
		"[1, [2.5]]": value.OfSequence(value.Slice{value.OfInt(1), value.OfSequence(value.Slice{value.OfDouble(2.5)})}),
		"{a: 1}":     value.OfMapping(value.Values{"a": value.OfInt(1)}),
	} {
		doc := Parse("f.yaml", []byte(text))
		root, ok := doc.Root()
		if !ok {
			t.Fatal(doc.Diagnostics().Render())
		}
		got, ok := root.TypedValue()
		if !ok || got.Kind() != want.Kind() || !reflect.DeepEqual(got.Native(), want.Native()) {
			t.Errorf("%s gives %s %v, want %s\n%s", text, got.Kind(), got, want.Kind(), doc.Diagnostics().Render())
		}
	}
	for text, want := range map[string]string{
		"yes": "f.yaml:1:1: yes is a boolean to some readers", "[a, OFF]": "f.yaml:1:5: [1]: OFF is a boolean", "{a: {b: N}}": "f.yaml:1:9: b: N is a boolean",
		"[.inf]": "f.yaml:1:2: [0]: .inf is not a number", "!own x": "f.yaml:1:1: ",
	} {
		doc := Parse("f.yaml", []byte(text))
		if root, ok := doc.Root(); ok {
			if v, ok := root.TypedValue(); ok {
				t.Errorf("%s gives %v", text, v)
			}
		}
		if list := doc.Diagnostics(); len(list) != 1 || !strings.HasPrefix(list[0].Error(), want) {
			t.Errorf("%s: got %v, want %s", text, list, want)
		}
	}
}
