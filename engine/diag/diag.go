package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Position is a place in a file. The zero Position is no place at all.
type Position struct {
	File   string // as the user named it, relative to the folder that was loaded
	Line   int    // from 1; 0 means the file as a whole
	Column int    // from 1, in characters
}

// String gives file:line:column, leaving out what is not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// IsValid tells whether p names a file.
func (p Position) IsValid() bool { return p.File != "" }

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// A Code names one kind of mistake. Codes are stable: scripts may match them.
type Code string

// Severity tells a mistake from a doubt.
type Severity uint8

// The severities. With an Error nothing is loaded; a Warning is only told.
const (
	Error Severity = iota
	Warning
)

// String gives error or warning.
func (s Severity) String() string { return [...]string{"error", "warning"}[s] }

// A Diagnostic is one thing wrong with one place in a file.
type Diagnostic struct {
	Pos      Position
	Severity Severity
	Code     Code
	Message  string    // what is wrong, in one line
	Hint     string    // how to mend it; may be empty
	Source   string    // the line at Pos, without its line break; may be empty
	Related  []Related // other places that the mistake involves
}

// A Related place helps to understand a Diagnostic: "also defined here".
type Related struct {
	Pos     Position
	Message string
}

// Error gives the diagnostic in one line: position, message, code, hint.
func (d Diagnostic) Error() string {
	var b strings.Builder
	if d.Pos.IsValid() {
		b.WriteString(d.Pos.String())
		b.WriteString(": ")
	}
	b.WriteString(d.Message)
	if d.Code != "" {
		fmt.Fprintf(&b, " [%s]", d.Code)
	}
	if d.Hint != "" {
		b.WriteString("; ")
		b.WriteString(d.Hint)
	}
	return b.String()
}

// A List is every diagnostic of one load, in the order of the files.
type List []Diagnostic

// Error gives every diagnostic, a line each.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// Count gives the number of diagnostics of a severity.
func (l List) Count(severity Severity) int {
	n := 0
	for _, d := range l {
		if d.Severity == severity {
			n++
		}
	}
	return n
}

// Sorted gives the list by file, line, column and text, each diagnostic once.
func (l List) Sorted() List {
	out := slices.Clone(l)
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(a.Pos.compare(b.Pos), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(out, func(a, b Diagnostic) bool {
		return a.Pos == b.Pos && a.Code == b.Code && a.Message == b.Message
	})
}

// Err gives the list as an error, nil if it is empty.
func (l List) Err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// DidYouMean gives `did you mean "x"?` for the candidate nearest to name, or
// "" if none is near enough to have been meant.
func DidYouMean(name string, candidates []string) string {
	if best := Nearest(name, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// Nearest gives the candidate that name is most likely a misspelling of, or "".
func Nearest(name string, candidates []string) string {
	length := utf8.RuneCountInString(name)
	// Of a name of one letter a change of one leaves nothing to recognise.
	best, bestDistance := "", min(length, max(1, length/3)+1)
	lower := strings.ToLower(name)
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if c == name {
			continue
		}
		if d := distance(lower, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours, one each.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	rows := [3][]int{make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)}
	before, prev, cur := rows[0], rows[1], rows[2]
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(s); i++ {
		cur[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(t)]
}
