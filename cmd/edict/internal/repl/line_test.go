package repl

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ text, directive, arg, at string }{
		{"1 + 1", "", "1 + 1", "1 + 1"},
		{"  1  ", "", "1", "1  "},
		{":let x = 1", "let", "x = 1", "x = 1"},
		{" :check  a b ", "check", "a b", "a b "},
		{":", " ", "", ""},
		{": x", " ", "x", "x"},
		{":vars", "vars", "", ""},
		{"", "", "", ""},
		{"# 1", "", "", ""},
		{"// 1", "", "", ""},
		{"// 1\n2", "", "// 1\n2", "// 1\n2"},
		{":check a \\\nb", "check", "a  \nb", "a  \nb"},
	} {
		in := parse(test.text)
		if in.directive != test.directive || in.arg != test.arg || in.text[in.offset:] != test.at {
			t.Errorf("%q: got %+v", test.text, in)
		}
	}
}

func TestUnfinished(t *testing.T) {
	for text, want := range map[string]bool{
		"1":                      false,
		"1 +":                    true,
		"a &&  ":                 true,
		"a ||\n":                 true,
		"x in":                   true,
		"within":                 false,
		"a ? b :":                true,
		"!":                      true,
		"(1":                     true,
		"(1)":                    false,
		"(1))":                   false,
		"[1, {":                  true,
		`"("`:                    false,
		`"a`:                     false,
		`"a\"(`:                  false,
		`"""a`:                   true,
		`"""a"""`:                false,
		`r"\"`:                   false,
		`r'''\`:                  true,
		"1 // + (":               false,
		"1 + // one":             true,
		"1 \\":                   true,
		"# (":                    false,
		":let x = (":             true,
		":let x =":               true,
		":set P.id =":            true,
		":check *":               false,
		":check (":               false,
		":load a/":               false,
		":principal {":           true,
		":principal {a: b}":      false,
		":principal {a: \"}\"":   true,
		":type 1 <":              true,
		":help +":                false,
		"":                       false,
		"(\n":                    true,
		"R.attr.x == \"a+\"":     false,
		"R.attr.x == 'a' + ''":   false,
		"[1].map(x,\n\nx * 2) -": true,
	} {
		if got := unfinished(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestPlace(t *testing.T) {
	for _, test := range []struct {
		text                   string
		line, column, wantLine int
		wantColumn             int
	}{
		{":let ä = foo", 1, 1, 1, 10},
		{":let x =\n  foo", 1, 1, 2, 3},
		{"foo +\n bar", 2, 2, 2, 2},
		{"\n foo", 1, 1, 2, 2},
	} {
		in := parse(test.text)
		if i := strings.Index(in.arg, "foo"); i >= 0 {
			in = in.from(i)
		}
		if line, column := in.place(test.line, test.column); line != test.wantLine || column != test.wantColumn {
			t.Errorf("%q: got %d:%d", test.text, line, column)
		}
	}
}

// Whatever is written, it is taken apart without loss, a place in it is a place
// in the text, and completing it changes only what stands before the cursor.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{":let x = [1,\n2]", "R.attr.x + \"a\\\"\"", "'''a\n'''", ":set P.attr.`a b`.c[\"d\"] = 1", "// a\n1 +\\\n2", ":principal {\"id\": \"a\"}", "hierarchy(\"a.b\").anc", ":load /t"} {
		f.Add(seed)
	}
	s, _ := newSession(f, "testdata/policies")
	f.Fuzz(func(t *testing.T, text string) {
		in := parse(text)
		if in.offset > len(in.text) || !strings.HasPrefix(in.text[in.offset:], in.arg) {
			t.Fatalf("%q: %+v", text, in)
		}
		if line, column := in.place(1, 1); in.arg != "" && (line > 1+strings.Count(in.text, "\n") || column > 1+utf8.RuneCountInString(in.line(line))) {
			t.Errorf("%q: the argument is at %d:%d", text, line, column)
		}
		if !strings.HasSuffix(text, `\`) && unfinished(text) != unfinished(text+" ") {
			t.Errorf("%q: a blank at the end makes a difference", text)
		}
		if p, column, err := parsePath(in.arg); err == nil && len(p) == 0 || err != nil && column > len(in.arg)+1 {
			t.Errorf("%q: %q, %d, %v", in.arg, p, column, err)
		}
		if !utf8.ValidString(text) || len(text) > 200 {
			return
		}
		start, found := s.complete(text, len(text))
		if start < 0 || start > len(text) {
			t.Errorf("%q is completed from %d on", text, start)
		}
		for _, c := range found {
			if !strings.HasPrefix(c.text, text[start:]) {
				t.Errorf("%q: %q does not begin as what was typed", text, c.text)
			}
		}
	})
}

// Any line has an answer, and the session goes on after it.
func FuzzRun(f *testing.F) {
	for _, seed := range []string{":let x = 1", "R.attr.photos + x", ":set R.attr.x = {1: 2}", ":now 1", ":exec #1", ":explain view", ":steps [1].map(x, x)", ":unset P", ":principal {id: 1}", ":let V = {}", ":type _"} {
		f.Add(seed)
	}
	s, out := newSession(f, "testdata/policies")
	f.Fuzz(func(t *testing.T, text string) {
		if name := parse(text).directive; name == "load" || name == "request" || strings.Count(text, "map") > 1 || len(text) > 300 {
			return // no files, and nothing that takes long
		}
		s.Run(":request testdata/request.json")
		out.Reset()
		if ok := s.Run(text); !ok && out.Len() == 0 {
			t.Errorf("%q fails without a word", text)
		}
		if strings.Contains(out.String(), "a mistake of Edict") {
			t.Errorf("%q: %s", text, out)
		}
		s.quit = false
		out.Reset()
		if !s.Run("1 + 1") || out.String() != "2\n" {
			t.Errorf("after %q: %s", text, out)
		}
	})
}

// Ctrl-C clears the line and ends it; what was typed after it stays.
func TestCtrlC(t *testing.T) {
	r, w := io.Pipe()
	k := newKeyboard(context.Background(), r)
	go func() {
		w.Write([]byte("abc"))
		w.Write([]byte("d\x03e"))
		w.Close()
	}()
	typed, err := io.ReadAll(k)
	if string(typed) != "abc\x05\x15\re" || err != nil {
		t.Errorf("got %q, %v", typed, err)
	}
	if !k.interrupted() || k.interrupted() {
		t.Error("an interruption is told once")
	}
}

// Work that does not end is left to itself at Ctrl-C, and what it says then is
// not heard. What was typed besides is kept.
func TestCtrlCWhileWorking(t *testing.T) {
	r, w := io.Pipe()
	k := newKeyboard(context.Background(), r)
	if !k.during(func() {}) {
		t.Error("work that ends is cut off")
	}
	release, released := make(chan struct{}), make(chan struct{})
	var out bytes.Buffer
	g := &gate{w: &out}
	go w.Write([]byte("x\x03"))
	if k.during(func() {
		<-release
		io.WriteString(g, "late")
		close(released)
	}) {
		t.Error("work that does not end is waited for")
	}
	g.close()
	close(release)
	<-released
	if out.Len() > 0 {
		t.Errorf("got %q", &out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newKeyboard(ctx, r).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("reading goes on after the end: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		newKeyboard(ctx, r).during(func() { select {} })
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("the end of the context does not end the work")
	}
}
