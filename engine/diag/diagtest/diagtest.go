// Package diagtest checks what is reported about files that say in comments
// what should be reported about them.
//
// A marked file consists of cases. Each begins with a line "#### name", and is
// a file of its own, whose lines are counted as those of the whole file. A
// comment says what belongs to its line:
//
//	roles: user   # want wrong-type "expected a list"
//
// The word after want is the code, the string a regular expression for the
// message and the hint, as they are on one line with "; " between them. The
// column can be said with want:12, another line, counted from the comment's,
// with want@-1 or want@+2, and both with want@-1:12. A comment may hold several
// expectations. A case without any must be clean.
//
// What always holds here:
//
//  1. A case passes only if each expectation meets one diagnostic of its line
//     and each diagnostic meets one expectation.
//  2. A file without cases fails.
package diagtest

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"edict/engine/diag"
)

// A Case is one case of a marked file.
type Case struct {
	Name    string
	File    string // the marked file
	Content []byte // empty lines stand for the cases above it
	wants   []want
}

type want struct {
	line, column int // a column of 0 means any
	code         diag.Code
	text         *regexp.Regexp
}

// Read gives the cases of a marked file.
func Read(t testing.TB, file string) []Case {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mark := regexp.MustCompile(`want(?:@([-+]\d+))?(?::(\d+))? ([a-z-]+) "((?:[^"\\]|\\.)*)"`)
	var cases []Case
	for i, line := range strings.SplitAfter(string(content), "\n") {
		if name, ok := strings.CutPrefix(line, "#### "); ok {
			cases = append(cases, Case{Name: strings.TrimSpace(name), File: file, Content: []byte(strings.Repeat("\n", i+1))})
			continue
		}
		if len(cases) == 0 {
			continue
		}
		c := &cases[len(cases)-1]
		c.Content = append(c.Content, line...)
		_, comment, ok := strings.Cut(line, "# want")
		if !ok {
			continue
		}
		matches := mark.FindAllStringSubmatch("want"+comment, -1)
		if len(matches) == 0 {
			t.Fatalf("%s:%d: the comment says nothing: %s", file, i+1, comment)
		}
		for _, m := range matches {
			offset, _ := strconv.Atoi(m[1])
			column, _ := strconv.Atoi(m[2])
			text, err := regexp.Compile(m[4])
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			c.wants = append(c.wants, want{line: i + 1 + offset, column: column, code: diag.Code(m[3]), text: text})
		}
	}
	if len(cases) == 0 {
		t.Fatalf("%s holds no cases", file)
	}
	return cases
}

// Codes gives the codes that a case expects.
func (c Case) Codes() []diag.Code {
	codes := make([]diag.Code, len(c.wants))
	for i, w := range c.wants {
		codes[i] = w.code
	}
	return codes
}

// Check compares what was reported about the case with what it expects.
func (c Case) Check(t testing.TB, list diag.List) {
	t.Helper()
	met := make([]bool, len(list))
	for _, w := range c.wants {
		found := false
		for i, d := range list {
			if !met[i] && w.meets(d) {
				met[i], found = true, true
				break
			}
		}
		if !found {
			t.Errorf("%s: not reported: [%s] %q", diag.Position{File: c.File, Line: w.line, Column: w.column}, w.code, w.text)
		}
	}
	for i, d := range list {
		if !met[i] {
			t.Errorf("reported and not expected:\n%s", d.Render())
		}
	}
}

func (w want) meets(d diag.Diagnostic) bool {
	return d.Pos.Line == w.line && (w.column == 0 || d.Pos.Column == w.column) && d.Code == w.code &&
		w.text.MatchString(d.Message+"; "+d.Hint)
}
