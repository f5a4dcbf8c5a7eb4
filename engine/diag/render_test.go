package diag_test

import (
	"strings"
	"testing"

	"edict/engine/diag"
)

func at(line, column int) diag.Position {
	return diag.Position{File: "a.yaml", Line: line, Column: column}
}

func TestRender(t *testing.T) {
	long := `{"a": "` + strings.Repeat("x", 500) + `", "effect": "EFFECT_ALOW", "b": "` + strings.Repeat("y", 500) + `"}`
	column := strings.Index(long, `"EFFECT`) + 1
	for _, test := range []struct {
		name  string
		style diag.Style
		in    diag.Diagnostic
		want  string
	}{
		{"all of it", diag.Style{Severities: true},
			diag.Diagnostic{Pos: at(12, 9), Code: "c", Message: "wrong", Hint: "mend it", Source: "  expr: P.ix", Related: []diag.Related{{Pos: at(3, 1), Message: "see here"}}},
			"a.yaml:12:9: error: wrong [c]\n   12 |   expr: P.ix\n      |         ^\n      a.yaml:3:1: see here\n      hint: mend it\n"},
		{"plain", diag.Style{}, diag.Diagnostic{Pos: at(0, 0), Code: "c", Message: "wrong"}, "a.yaml: wrong [c]\n"},
		{"no file", diag.Style{Severities: true}, diag.Diagnostic{Severity: diag.Warning, Message: "none"}, "warning: none\n"},
		{"tabs", diag.Style{}, diag.Diagnostic{Pos: at(1, 2), Message: "m", Source: "\ta"}, "a.yaml:1:2: m\n    1 |     a\n      |     ^\n"},
		{"past the end", diag.Style{}, diag.Diagnostic{Pos: at(1, 40), Message: "m", Source: "a:"}, "a.yaml:1:40: m\n    1 | a:\n      |   ^\n"},
		{"characters, not bytes", diag.Style{}, diag.Diagnostic{Pos: at(1, 4), Message: "m", Source: "äö: x"}, "a.yaml:1:4: m\n    1 | äö: x\n      |    ^\n"},
		{"what steers a terminal", diag.Style{}, diag.Diagnostic{Pos: at(1, 4), Message: "m\x1b[2J", Source: "a\x1b\u202e: x", Hint: "\x07"},
			"a.yaml:1:4: m\uFFFD[2J\n    1 | a\uFFFD\uFFFD: x\n      |    ^\n      hint: \uFFFD\n"},
		{"a long line", diag.Style{}, diag.Diagnostic{Pos: at(1, column), Message: "m", Source: long},
			"a.yaml:1:521: m\n    1 | …" + strings.Repeat("x", 47) + `", "effect": "EFFECT_ALOW", "b": "` + strings.Repeat("y", 59) + "…\n      | " + strings.Repeat(" ", 61) + "^\n"},
		{"a long line from its begin", diag.Style{}, diag.Diagnostic{Pos: at(1, 2), Message: "m", Source: strings.Repeat("z", 200)},
			"a.yaml:1:2: m\n    1 | " + strings.Repeat("z", 140) + "…\n      |  ^\n"},
		{"a long line to its end", diag.Style{}, diag.Diagnostic{Pos: at(1, 201), Message: "m", Source: strings.Repeat("z", 200)},
			"a.yaml:1:201: m\n    1 | …" + strings.Repeat("z", 140) + "\n      | " + strings.Repeat(" ", 141) + "^\n"},
		{"colours", diag.Style{Color: true, Severities: true}, diag.Diagnostic{Pos: at(1, 1), Code: "c", Message: "m", Hint: "h", Source: "x"},
			"\x1b[1ma.yaml:1:1\x1b[0m: \x1b[1;31merror\x1b[0m: m \x1b[2m[c]\x1b[0m\n\x1b[2m    1 | \x1b[0mx\n\x1b[2m      | \x1b[0m\x1b[1;31m^\x1b[0m\n      \x1b[32mhint:\x1b[0m h\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.style.Render(diag.List{test.in}); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// Where a code is explained is told once.
func TestRenderExplains(t *testing.T) {
	style := diag.Style{Explain: func(c diag.Code) string {
		if c == "unknown" {
			return ""
		}
		return "page of " + string(c)
	}}
	got := style.Render(diag.List{{Message: "1", Code: "a"}, {Message: "2", Code: "unknown"}, {Message: "3", Code: "a"}, {Message: "4", Code: "b"}})
	want := "1 [a]\n      see: page of a\n2 [unknown]\n3 [a]\n4 [b]\n      see: page of b\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCount(t *testing.T) {
	l := diag.List{{}, {Severity: diag.Warning}, {}}
	if e, w := l.Count(diag.Error), l.Count(diag.Warning); e != 2 || w != 1 {
		t.Errorf("got %d errors, %d warnings", e, w)
	}
}

// Whatever the line and the column, the caret is below what is shown.
func FuzzExcerpt(f *testing.F) {
	f.Add("  expr: R.id", 9)
	f.Add("\t\x1b", 1)
	f.Add(strings.Repeat("ä", 300), 200)
	f.Add("\xff", 1<<40)
	f.Fuzz(func(t *testing.T, line string, column int) {
		text, caret := diag.Excerpt(line, column)
		cells := len([]rune(text))
		if caret < 0 || caret > cells || cells > 4*140+2 {
			t.Errorf("%q, %d: %q with a caret at %d", line, column, text, caret)
		}
		if strings.ContainsAny(text, "\x1b\x07\t\r") {
			t.Errorf("%q: %q", line, text)
		}
	})
}

func TestNearest(t *testing.T) {
	for _, test := range []struct {
		name       string
		candidates []string
		want       string
	}{
		{"roels", []string{"rules", "roles"}, "roles"},
		{"Roles", []string{"roles"}, "roles"},
		{"x", []string{"a", "b"}, ""},
		{"X", []string{"x"}, "x"},
		{"is", []string{"it"}, "it"},
		{"roles", []string{"roles"}, ""},
		{"", []string{"a"}, ""},
		{"something", []string{"else"}, ""},
	} {
		if got := diag.Nearest(test.name, test.candidates); got != test.want {
			t.Errorf("%q among %q: got %q, want %q", test.name, test.candidates, got, test.want)
		}
	}
}
