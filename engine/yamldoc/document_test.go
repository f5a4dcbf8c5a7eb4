package yamldoc_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/diag/diagtest"
	"edict/engine/yamldoc"
)

// readAll reads a document as something that has a field of every type.
func readAll(d *yamldoc.Document) {
	root, ok := d.Root()
	if !ok {
		return
	}
	o, ok := root.Object("text", "nonEmpty", "flag", "count", "wait", "list", "texts", "entries", "value", "choice",
		"snakeCase", "left", "middle", "right", "$schema")
	if !ok {
		return
	}
	if n, ok := o.Required("nonEmpty"); ok {
		n.NonEmptyText()
	}
	for _, field := range []struct {
		name string
		read func(yamldoc.Node)
	}{
		{"text", func(n yamldoc.Node) { n.Text() }},
		{"$schema", func(n yamldoc.Node) { n.Text() }},
		{"snakeCase", func(n yamldoc.Node) { n.Text() }},
		{"flag", func(n yamldoc.Node) { n.Bool() }},
		{"count", func(n yamldoc.Node) { n.Int() }},
		{"wait", func(n yamldoc.Node) { n.Duration() }},
		{"list", func(n yamldoc.Node) { n.List() }},
		{"texts", func(n yamldoc.Node) { n.Texts() }},
		{"entries", func(n yamldoc.Node) { n.Entries() }},
		{"value", func(n yamldoc.Node) { n.Value() }},
		{"choice", func(n yamldoc.Node) { n.Enum("green", "blue") }},
	} {
		if n, ok := o.Field(field.name); ok {
			field.read(n)
		}
	}
	if _, n, ok := o.OneOf("left", "middle", "right"); ok {
		if inner, ok := n.Object("text"); ok {
			if n, ok := inner.Field("text"); ok {
				n.Text()
			}
		}
	}
}

// readValue reads a document as a free value.
func readValue(d *yamldoc.Document) {
	if root, ok := d.Root(); ok {
		root.Value()
	}
}

func TestMarkedFiles(t *testing.T) {
	for _, file := range []struct {
		name string
		read func(*yamldoc.Document)
	}{
		{"syntax.yaml", readValue},
		{"shape.yaml", readAll},
	} {
		for _, c := range diagtest.Read(t, filepath.Join("testdata", file.name)) {
			t.Run(file.name+"/"+c.Name, func(t *testing.T) {
				d := yamldoc.Parse(c.File, c.Content)
				file.read(d)
				c.Check(t, d.Diagnostics())
			})
		}
	}
}

// Problems that a comment in the file cannot stand beside.
func TestUnmarkedProblems(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 8; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	for _, test := range []struct {
		name, file, content string
		line, column        int
		code                diag.Code
		text                string
	}{
		{"too large", "a.yaml", "a: " + strings.Repeat("x", yamldoc.MaxSize), 1, 1, yamldoc.TooLarge, "more than 4194304 bytes"},
		{"not UTF-8", "a.yaml", "a: b\nc: \xff\n", 2, 4, yamldoc.BadEncoding, "not UTF-8"},
		{"UTF-16", "a.yaml", "\xff\xfea\x00", 1, 1, yamldoc.BadEncoding, "not UTF-8"},
		{"a bell", "a.yaml", "a: é\x07\n", 1, 5, yamldoc.BadEncoding, "U+0007"},
		{"a zero byte", "a.yaml", "a: b\n\x00", 2, 1, yamldoc.BadEncoding, "U+0000"},
		{"nested lists", "a.yaml", strings.Repeat("[", 101) + strings.Repeat("]", 101), 1, 101, yamldoc.TooDeep, "more than 100 levels"},
		{"very nested lists", "a.yaml", strings.Repeat("[", 20000), 1, 1, yamldoc.TooDeep, "more than 100 levels"},
		{"nested aliases", "a.yaml", "a: &a " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "\nb: " + strings.Repeat("[", 60) + "*a" + strings.Repeat("]", 60),
			2, 64, yamldoc.TooDeep, "aliases written out"},
		{"a billion laughs", "a.yaml", laughs, 5, 0, yamldoc.TooManyAliases, "more than 100000 values"},
		{"merged laughs", "a.yaml", strings.ReplaceAll(laughs, "[x", "[{}, x"), 5, 0, yamldoc.TooManyAliases, "more than 100000 values"},
		{"an open quote", "a.yaml", "x: y\na: \"foo\nb: c\n", 2, 4, yamldoc.Unclosed, "not closed"},
		{"an open quote that another one closes", "a.yaml", "x: y\na: 'foo\nb: 'bar'\n", 2, 4, yamldoc.Unclosed, "ends on line 3, and text follows"},
		{"an open quote in brackets", "a.yaml", "x: y\na: [\"foo]\nb: c\n", 2, 5, yamldoc.Unclosed, "not closed"},
		{"JSON without a comma", "a.json", "{\n  \"a\": 1\n  \"b\": 2\n}\n", 3, 3, yamldoc.Syntax, "comma missing before it"},
		{"JSON with a comma too many", "a.JSON", "{\n  \"a\": [1,,]\n}\n", 2, 11, yamldoc.Syntax, "not valid JSON"},
		{"JSON that ends early", "a.json", "{\n  \"a\": [1", 2, 9, yamldoc.Unclosed, "close what is open"},
		{"an escaped slash", "a.yaml", "\"é\": \"\\/\"", 1, 7, yamldoc.BadEscape, "without the backslash"},
		{"half a pair of surrogates", "a.json", `{"a": "\/ \ud83d"}`, 1, 8, yamldoc.BadEscape, ""},
		{"the wrong half", "a.json", `{"a": "\ude00\ud83d"}`, 1, 8, yamldoc.BadEscape, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := yamldoc.Parse(test.file, []byte(test.content))
			list := d.Diagnostics()
			if len(list) != 1 {
				t.Fatalf("%d diagnostics:\n%.1000s", len(list), list.Error())
			}
			got := list[0]
			if got.Pos.File != test.file || got.Pos.Line != test.line || test.column != 0 && got.Pos.Column != test.column || got.Code != test.code {
				t.Errorf("got %.300s", got.Error())
			}
			if !strings.Contains(got.Message+"; "+got.Hint, test.text) {
				t.Errorf("got %q, %q; want %q", got.Message, got.Hint, test.text)
			}
			if _, ok := d.Root(); ok {
				t.Error("there is a root")
			}
		})
	}
}

func TestNoRoot(t *testing.T) {
	for _, content := range []string{"", " ", "\n\n", "# only\n# comments\n", "---\n", "---\n# a\n---\n...\n", "\uFEFF"} {
		d := yamldoc.Parse("a.yaml", []byte(content))
		if _, ok := d.Root(); ok || len(d.Diagnostics()) != 0 {
			t.Errorf("%q: root %v, diagnostics %v", content, ok, d.Diagnostics())
		}
	}
}

func TestByteOrderMark(t *testing.T) {
	d := yamldoc.Parse("a.yaml", []byte("\uFEFFa: [b]\n"))
	root, _ := d.Root()
	entries, ok := root.Entries()
	if !ok || len(entries) != 1 || entries[0].Key.Value != "a" || entries[0].Key.Pos.Column != 1 {
		t.Errorf("got %+v, %v", entries, d.Diagnostics())
	}
}

// The parser counts lines by the breaks of YAML 1.1; so do positions.
func TestLineBreaks(t *testing.T) {
	content := "a: 1\r\nb: 2\rc: 3\u0085d: 4\u2028e: 5\u2029f: é 6\nf: 7\n"
	d := yamldoc.Parse("a.yaml", []byte(content))
	if want := []string{"a: 1", "b: 2", "c: 3", "d: 4", "e: 5", "f: é 6", "f: 7"}; !slices.Equal(d.Lines(), want) {
		t.Errorf("lines %q", d.Lines())
	}
	root, _ := d.Root()
	root.Entries()
	list := d.Diagnostics()
	if len(list) != 1 || list[0].Pos.Line != 7 || list[0].Source != "f: 7" || list[0].Related[0].Pos.Line != 6 {
		t.Errorf("got %v", list)
	}
}

func TestSourceOfDiagnostics(t *testing.T) {
	d := yamldoc.Parse("a.yaml", []byte("a: b\nc: d\n"))
	d.Report(diag.Position{File: "a.yaml", Line: 2}, "x", "m", "")
	d.Report(diag.Position{File: "other.yaml", Line: 2}, "x", "m", "")
	d.Report(diag.Position{File: "a.yaml", Line: 9}, "x", "m", "")
	var sources []string
	for _, got := range d.Diagnostics() {
		sources = append(sources, got.Source)
	}
	if want := []string{"c: d", "", ""}; !slices.Equal(sources, want) {
		t.Errorf("got %q", sources)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	d := yamldoc.Parse("a.yaml", []byte(strings.Repeat("a: b\n", 2*yamldoc.MaxProblems)))
	readValue(d)
	list := d.Diagnostics()
	if last := list[len(list)-1]; len(list) != yamldoc.MaxProblems+1 || last.Code != yamldoc.TooManyProblems || last.Pos.Line != yamldoc.MaxProblems+2 {
		t.Errorf("%d diagnostics, the last is %v", len(list), last)
	}
}

// Every code of the catalogue is provoked by a test in this package.
func TestCatalogue(t *testing.T) {
	provoked := []diag.Code{yamldoc.TooLarge, yamldoc.BadEncoding, yamldoc.TooDeep, yamldoc.TooManyAliases, yamldoc.TooManyProblems} // in Go tests
	for _, file := range []string{"syntax.yaml", "shape.yaml"} {
		for _, c := range diagtest.Read(t, filepath.Join("testdata", file)) {
			provoked = append(provoked, c.Codes()...)
		}
	}
	for name, code := range catalogue(t, "codes.go") {
		if !slices.Contains(provoked, code) {
			t.Errorf("no test provokes %s (%s)", name, code)
		}
	}
}

// catalogue gives the codes that a file declares, by name, and complains about
// those whose comment does not say when they occur.
func catalogue(t *testing.T, file string) map[string]diag.Code {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]diag.Code{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) == 0 {
			return true
		}
		name := spec.Names[0].Name
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if spec.Doc == nil || !strings.HasPrefix(spec.Doc.Text(), name+" occurs when") {
			t.Errorf("the comment of %s does not say when it occurs", name)
		}
		codes[name] = diag.Code(value)
		return true
	})
	if len(codes) == 0 {
		t.Fatalf("%s declares no codes", file)
	}
	return codes
}

// JSON has escapes that YAML has not. The places of what comes after them stay
// right.
func TestEscapesOfJSON(t *testing.T) {
	const content = `{"a\/b": "\/\ud83d\uDE00\u0041\\/\"", "c": ["\ud83d\ude00!", 1], "d": "x"}`
	var want any
	if err := json.Unmarshal([]byte(content), &want); err != nil {
		t.Fatal(err)
	}
	d := yamldoc.Parse("a.json", []byte(content))
	root, _ := d.Root()
	v, ok := root.Value()
	if !ok {
		t.Fatal(d.Diagnostics())
	}
	if got := v.Native(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, text := range texts(d) {
		checkPlaces(t, d.Lines(), text)
		if text.Value == "😀!" {
			if p := text.At(1, 2); p.Column != 1+strings.Index(content, "!") {
				t.Errorf("the exclamation mark is put at %s", p)
			}
		}
		if text.Value == "d" && text.Pos.Column != 1+strings.Index(content, `"d"`) {
			t.Errorf("the last key is put at %s", text.Pos)
		}
	}
}

// A stream holds several documents, whose anchors are their own, and leaves out
// what Envoy ignores.
func TestStream(t *testing.T) {
	doc := yamldoc.ParseStream("f.yaml", []byte("!ignore shared: &a {x: 1}\nb: *a\n---\n# nothing\n---\nc: &a 2\n!ignore d: 3\n"))
	if list := doc.Diagnostics(); len(list) > 0 {
		t.Fatal(list.Render())
	}
	var got []any
	for _, root := range doc.Roots() {
		v, ok := root.TypedValue()
		if !ok {
			t.Fatal(doc.Diagnostics().Render())
		}
		got = append(got, v.Native())
	}
	want := []any{map[string]any{"b": map[string]any{"x": int64(1)}}, map[string]any{"c": int64(2)}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for content, code := range map[string]diag.Code{
		"a: 1\n---\nb: [": yamldoc.Unclosed, "!own a: 1": yamldoc.BadTag, "a: !ignore {b: 1}": yamldoc.BadTag,
	} {
		doc := yamldoc.ParseStream("f.yaml", []byte(content))
		for _, root := range doc.Roots() {
			root.TypedValue()
		}
		if list := doc.Diagnostics(); !slices.ContainsFunc(list, func(d diag.Diagnostic) bool { return d.Code == code }) {
			t.Errorf("%q: want %s, got:\n%s", content, code, list.Render())
		}
	}
	if doc := yamldoc.Parse("f.yaml", []byte("!ignore a: 1\n")); len(doc.Diagnostics()) == 0 {
		t.Error("a file of our own has a key that is ignored")
	}
}
