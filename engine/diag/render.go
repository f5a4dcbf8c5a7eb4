package diag

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Style says how diagnostics are shown to a person. The zero Style is plain.
type Style struct {
	// Color tells whether to use the colours of ANSI terminals.
	Color bool

	// Severities tells whether each diagnostic begins with error or warning.
	Severities bool

	// Explain gives where more is said about a code, "" for nowhere. It is
	// told with the first diagnostic of each code. It may be nil.
	Explain func(Code) string
}

// Render gives the diagnostic as a few lines for a person: position and
// message, the source line with a caret under the place, the hint.
func (d Diagnostic) Render() string { return Style{}.Render(List{d}) }

// Render gives every diagnostic for a person to read.
func (l List) Render() string { return Style{}.Render(l) }

// Render gives every diagnostic of a list for a person to read.
func (s Style) Render(l List) string {
	var b strings.Builder
	explained := map[Code]bool{}
	for _, d := range l {
		s.render(&b, d)
		if s.Explain == nil || explained[d.Code] {
			continue
		}
		explained[d.Code] = true
		if where := s.Explain(d.Code); where != "" {
			fmt.Fprintf(&b, "%s%s\n", margin, s.paint(faint, "see: "+where))
		}
	}
	return b.String()
}

// margin stands before the lines about a diagnostic that are no source.
const margin = "      "

func (s Style) render(b *strings.Builder, d Diagnostic) {
	if d.Pos.IsValid() {
		fmt.Fprintf(b, "%s: ", s.paint(bold, place(d.Pos)))
	}
	emphasis := red
	if d.Severity == Warning {
		emphasis = yellow
	}
	if s.Severities {
		fmt.Fprintf(b, "%s: ", s.paint(emphasis, d.Severity.String()))
	}
	b.WriteString(Printable(d.Message))
	if d.Code != "" {
		fmt.Fprintf(b, " %s", s.paint(faint, "["+string(d.Code)+"]"))
	}
	b.WriteByte('\n')
	if d.Source != "" && d.Pos.Line > 0 {
		gutter := fmt.Sprintf("%5d | ", d.Pos.Line)
		text, caret := Excerpt(d.Source, d.Pos.Column)
		fmt.Fprintf(b, "%s%s\n", s.paint(faint, gutter), text)
		if d.Pos.Column > 0 {
			fmt.Fprintf(b, "%s%s%s\n", s.paint(faint, strings.Repeat(" ", len(gutter)-2)+"| "), strings.Repeat(" ", caret), s.paint(emphasis, "^"))
		}
	}
	for _, r := range d.Related {
		fmt.Fprintf(b, "%s%s: %s\n", margin, place(r.Pos), Printable(r.Message))
	}
	if d.Hint != "" {
		fmt.Fprintf(b, "%s%s %s\n", margin, s.paint(green, "hint:"), Printable(d.Hint))
	}
}

// The colours, as parameters of the ANSI sequence "select graphic rendition".
const (
	bold   = "1"
	faint  = "2"
	red    = "1;31"
	green  = "32"
	yellow = "1;33"
)

func (s Style) paint(color, text string) string {
	if !s.Color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

const (
	tabWidth = 4

	// maxExcerpt is how many characters of a line are shown. What is longer,
	// such as JSON on a single line, is cut around the place that is meant.
	maxExcerpt = 140

	// beforeCaret is how many characters before the place a cut line keeps.
	beforeCaret = 60
)

// Excerpt gives a line as a terminal should show it, and the number of cells
// before its column-th character. Tabs are spaces, characters that do not show
// are marks, and of a long line only the part around the column is kept. A
// column of 0 is none.
func Excerpt(line string, column int) (text string, caret int) {
	runes := []rune(line)
	at := max(column, 1) - 1
	first, last := 0, len(runes)
	if len(runes) > maxExcerpt {
		first = max(0, min(at-beforeCaret, len(runes)-maxExcerpt))
		last = first + maxExcerpt
	}
	var b strings.Builder
	cells := 0
	add := func(s string) {
		b.WriteString(s)
		cells += utf8.RuneCountInString(s)
	}
	if first > 0 {
		add("…")
	}
	for i := first; i < last; i++ {
		if i == at {
			caret = cells
		}
		if runes[i] == '\t' {
			add(strings.Repeat(" ", tabWidth))
		} else {
			add(Printable(string(runes[i])))
		}
	}
	if at >= last {
		caret = cells // a place past the end of the line is its end
	}
	if last < len(runes) {
		add("…")
	}
	return b.String(), caret
}

// place gives a position on one line, whatever the file is called: a line that
// begins with :: would be a command to some who read the output.
func place(p Position) string { return strings.ReplaceAll(Printable(p.String()), "\n", "\uFFFD") }

// Printable gives text without the characters that would steer a terminal or
// change the order in which text is read: there is U+FFFD in their place. Only
// newlines stay.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return '\uFFFD'
		}
		return r
	}, s)
}
