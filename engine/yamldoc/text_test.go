package yamldoc_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// texts gives all strings of a document, keys included.
func texts(d *yamldoc.Document) []diag.Text {
	var found []diag.Text
	var visit func(yamldoc.Node)
	visit = func(n yamldoc.Node) {
		switch n.Kind() {
		case yamldoc.Mapping:
			entries, _ := n.Entries()
			for _, e := range entries {
				found = append(found, e.Key)
				visit(e.Value)
			}
		case yamldoc.Sequence:
			elements, _ := n.List()
			for _, e := range elements {
				visit(e)
			}
		default:
			if t, ok := n.Text(); ok {
				found = append(found, t)
			}
		}
	}
	if root, ok := d.Root(); ok {
		visit(root)
	}
	return found
}

// checkPlaces compares the characters of a text with those that the file has
// at the places where At puts them. White space may be folded, so only the
// other characters have a place of their own; an escape is its backslash.
func checkPlaces(t testing.TB, lines []string, text diag.Text) {
	t.Helper()
	line, column := 1, 1
	for _, r := range text.Value {
		if r == '\n' {
			line, column = line+1, 1
			continue
		}
		if !strings.ContainsRune(" \t\r\u0085\u2028\u2029", r) {
			p := text.At(line, column)
			if got := runeAt(lines, p); got != r && got != '\\' {
				t.Errorf("%d:%d of %q is put at %s, where %q stands for %q", line, column, text.Value, p, got, r)
				return
			}
		}
		column++
	}
}

func runeAt(lines []string, p diag.Position) rune {
	if p.Line < 1 || p.Line > len(lines) {
		return 0
	}
	rest := lines[p.Line-1]
	for range p.Column - 1 {
		_, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
	}
	r, _ := utf8.DecodeRuneInString(rest)
	return r
}

// The place of an exclamation mark in each way to write a string.
func TestPlacesInTexts(t *testing.T) {
	for _, test := range []struct {
		name, content string
		line, column  int
	}{
		{"plain", "a: b!c\n", 1, 5},
		{"plain after other characters", "é: bé!c\n", 1, 6},
		{"plain with an anchor", "a: &x  b!c\n", 1, 9},
		{"plain with an anchor and a tag", "a: &x !!str  b!c\n", 1, 15},
		{"plain below its anchor", "a: &x # comment !\n  # !\n  b!c\n", 3, 4},
		{"plain of two lines", "a: b\n   c!d\n", 2, 5},
		{"plain of two paragraphs", "a: b\n\n\n  c d !e\n", 4, 7},
		{"double-quoted", "a: \"b!c\"\n", 1, 6},
		{"double-quoted with escapes", `a: "\"b\" \x41\u0041\U00000041!c"` + "\n", 1, 31},
		{"double-quoted with an escaped break", "a: \"b\\n!c\"\n", 1, 8},
		{"double-quoted of two lines", "a: \"b\n  c!d\"\n", 2, 4},
		{"double-quoted with a continued line", "a: \"b\\\n  \\  c!d\"\n", 2, 7},
		{"double-quoted with an escaped tab", "a: \"b\\\tc\\t!d\"\n", 1, 11},
		{"single-quoted", "a: 'b!c'\n", 1, 6},
		{"single-quoted with quotes", "a: 'b''c''!d'\n", 1, 11},
		{"single-quoted of two lines", "a: 'b''\n\n c!d'\n", 3, 3},
		{"literal", "a: |\n  b\n    c!d\n", 3, 6},
		{"literal with chomping", "a: |-\n     b\n\n     c!d\n\n", 4, 7},
		{"literal with blank first lines", "a: |+\n\n \n  b!c\n", 4, 4},
		{"literal with indentation of its own", "a: |2\n    b\n  c!d\n", 3, 4},
		{"literal with an anchor", "a: &x |\n  b!c\n", 2, 4},
		{"literal with a comment", "a: | # comment !\n  b!c\n", 2, 4},
		{"literal in a list", "- - |\n    b!c\n", 2, 6},
		{"literal with Windows breaks", "a: |\r\n  b\r\n  c!d\r\n", 3, 4},
		{"folded", "a: >\n  b\n  c!d\n", 3, 4},
		{"folded with chomping", "a: >-\n\n   b\n\n   c\n   d!e\n", 6, 5},
		{"folded with lines that are not", "a: >\n  b\n    c!d\n  e\n", 3, 6},
		{"folded that begins with a quote", "a: >\n  'b'\n  c!d\n", 3, 4},
		{"in brackets", "a: [b, {c: d!e}]\n", 1, 13},
		{"in brackets of two lines", "a: [b\n c!d, e]\n", 2, 3},
		{"JSON", "{\"a\":\n  \"b \\\"!c\\\"\"}\n", 2, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := yamldoc.Parse("a.yaml", []byte(test.content))
			if list := d.Diagnostics(); len(list) != 0 {
				t.Fatal(list)
			}
			found := 0
			for _, text := range texts(d) {
				checkPlaces(t, d.Lines(), text)
				before, _, ok := strings.Cut(text.Value, "!")
				if !ok {
					continue
				}
				found++
				line := 1 + strings.Count(before, "\n")
				column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
				if got := text.At(line, column); got.Line != test.line || got.Column != test.column {
					t.Errorf("%d:%d of %q is put at %s, not %d:%d", line, column, text.Value, got, test.line, test.column)
				}
			}
			if found != 1 {
				t.Errorf("%d exclamation marks", found)
			}
		})
	}
}

// A CEL error at the end of an expression is put behind its last character.
func TestPlacePastTheEnd(t *testing.T) {
	for content, want := range map[string]string{
		"a: bc\n":            "a.yaml:1:6",
		"a: 'bc'\n":          "a.yaml:1:7",
		"a: \"b\\x41\"\n":    "a.yaml:1:10",
		"a: |\n  bc\n":       "a.yaml:2:5",
		"a: >-\n  bc\n  d\n": "a.yaml:3:4",
	} {
		d := yamldoc.Parse("a.yaml", []byte(content))
		text := texts(d)[1]
		value := strings.TrimSuffix(text.Value, "\n")
		if got := text.At(1, 1+len(value)).String(); got != want {
			t.Errorf("%q: the end of %q is put at %s, not %s", content, value, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "a: b", "a: &x {b: 1}\nc: {<<: *x, d: >\n e\n f}\n", "{\"a\": [1, \"\\u0041\"]}", "- |\n  x\n- >2-\n   y\n\n   z\n",
		"a: 'b''\n  c'\n", "a: \"b\\\n  c \\\n\n d\"\n", "--- a\n---\nb", "a: [*]\nb: \"x\" y\n", "? - a\n: b\n1: 2\n", "a: !!str &b 5\nc: *b",
		"%YAML 1.1\n---\na: b\r\n...\n", "a:\n\tb: c\n", "\uFEFFé: \u2028 x",
		`{"a\/": "\ud83d\ude00 \\/ \u0041", "b": ["\/", 1e400]}`, "a: [1e3, 0X1, 1e400, 08, 123456789012345678901234567890]",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, content []byte, json bool) {
		file := "a.yaml"
		if json {
			file = "a.json"
		}
		d := yamldoc.Parse(file, content)
		readAll(d)
		readValue(d)
		lines := d.Lines()
		if _, ok := d.Root(); !ok && len(d.Diagnostics()) == 0 {
			for _, line := range lines {
				if line = strings.TrimSpace(line); line != "" && !strings.ContainsRune("#-.%", rune(line[0])) {
					t.Errorf("%q is taken for nothing", line)
				}
			}
		}
		for _, text := range texts(d) {
			checkPlaces(t, lines, text)
		}
		for _, got := range d.Diagnostics() {
			if got.Pos.File != file || got.Pos.Line < 1 || got.Pos.Line > max(1, len(lines)) || got.Pos.Column < 1 {
				t.Errorf("no place in the file: %s", got.Error())
			}
			if got.Code == "" || got.Message == "" || strings.Contains(got.Error(), "\n") {
				t.Errorf("not a message: %q", got.Error())
			}
			if got.Pos.Line <= len(lines) && got.Source != lines[got.Pos.Line-1] {
				t.Errorf("line %d is shown as %q", got.Pos.Line, got.Source)
			}
		}
	})
}
