package diag

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A Text is a string in a file and its place.
type Text struct {
	Value string
	Pos   Position

	// Indent and Block place the lines of a text of several lines. In a block
	// scalar (| or >) the text's first line is the line after Pos and starts
	// Indent characters in; elsewhere it starts Indent characters after Pos,
	// which is 1 if Pos is an opening quote.
	Indent int
	Block  bool

	// Raw is the text as the file writes it, from Pos on, if that is not
	// Value line for line: if there are escapes in it or folded lines.
	Raw string
}

// NewText gives the Text of a YAML scalar. Its value is value, and raw is the
// file from pos on, where the scalar begins: with its quote, with the | or >
// of a block scalar, or with the text itself. What follows the scalar in raw
// does not matter.
func NewText(value string, pos Position, raw string) Text {
	t := Text{Value: value, Pos: pos}
	if raw == "" {
		return t
	}
	switch raw[0] {
	case '"', '\'':
		t.Indent = 1
	case '|', '>':
		t.Block = true
		t.Indent = blockIndent(value, raw)
		if raw[0] == '|' {
			return t
		}
	}
	w := newWalk(raw)
	for rest := value; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		if !w.match(r) {
			return t
		}
		rest = rest[size:]
	}
	if w.folded || w.escaped {
		t.Raw = raw[:w.next]
	}
	return t
}

// At gives the position of line and column (both from 1) within the text: the
// place in the file that a CEL error at that place of the expression means.
// A place past the end of the text gives the place where the text ends.
func (t Text) At(line, column int) Position {
	if t.Raw != "" {
		return t.walkTo(line, column)
	}
	p := t.Pos
	if t.Block {
		p.Line += line
		p.Column = t.Indent + column
		return p
	}
	if line == 1 {
		p.Column += t.Indent + column - 1
		return p
	}
	p.Line += line - 1
	p.Column = column
	return p
}

// walkTo follows the text and Raw side by side up to the place in the text.
func (t Text) walkTo(line, column int) Position {
	w := newWalk(t.Raw)
	atLine, atColumn := 1, 1
	for _, r := range t.Value {
		if !w.match(r) || atLine == line && atColumn == column {
			return w.position(t.Pos, w.start)
		}
		if r == '\n' {
			if atLine == line { // the place is past the end of its line
				return w.position(t.Pos, w.start)
			}
			atLine, atColumn = atLine+1, 1
		} else {
			atColumn++
		}
	}
	return w.position(t.Pos, w.next)
}

// blockIndent is the number of characters by which the lines of a block
// scalar are indented: what the first line that is not blank has in the file
// and not in the text.
func blockIndent(value, raw string) int {
	_, raw, _ = cutLine(raw)
	for value != "" {
		var line, source string
		line, value, _ = cutLine(value)
		source, raw, _ = cutLine(raw)
		if strings.TrimLeft(line, " ") != "" {
			return max(0, leadingSpaces(source)-leadingSpaces(line))
		}
	}
	return 0
}

func leadingSpaces(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }

// A walk follows a scalar through the file, one character of its value at a
// time. Folding only ever changes white space, so white space of the one side
// is skipped where the other side has none.
type walk struct {
	raw     string
	quote   byte // the quote, or 0
	start   int  // offset of what the last matched character was written as
	next    int  // offset of what comes after
	folded  bool // a line break was passed over
	escaped bool // an escape was passed over
}

func newWalk(raw string) *walk {
	w := &walk{raw: raw}
	switch raw[0] {
	case '"', '\'':
		w.quote, w.next = raw[0], 1
	case '>':
		_, rest, _ := cutLine(raw)
		w.next = len(raw) - len(rest)
	}
	w.start = w.next
	return w
}

// match passes over what the file has for r, and tells whether it has it.
func (w *walk) match(r rune) bool {
	if w.quote == '"' {
		w.skipContinuations()
	}
	if isWhite(r) {
		c, size := utf8.DecodeRuneInString(w.raw[w.next:])
		if isWhite(c) {
			w.take(size)
			w.folded = w.folded || isBreak(c)
			return true
		}
		if w.quote != '"' || c != '\\' {
			// Folding ends a text with a line break that the end of the file
			// need not have.
			w.start = w.next
			return true
		}
	}
	if w.quote == '"' && strings.HasPrefix(w.raw[w.next:], `\`) {
		return w.takeEscape()
	}
	for {
		c, size := utf8.DecodeRuneInString(w.raw[w.next:])
		if !isWhite(c) {
			break
		}
		w.folded = w.folded || isBreak(c)
		w.next += size
	}
	if w.quote == '"' && strings.HasPrefix(w.raw[w.next:], `\`) {
		w.skipContinuations()
		if strings.HasPrefix(w.raw[w.next:], `\`) {
			return w.takeEscape()
		}
	}
	c, size := utf8.DecodeRuneInString(w.raw[w.next:])
	if c != r || size == 0 {
		return false
	}
	if w.quote == '\'' && r == '\'' {
		w.escaped = true
		size = 2
		if !strings.HasPrefix(w.raw[w.next:], "''") {
			return false
		}
	}
	w.take(size)
	return true
}

func (w *walk) take(size int) {
	w.start = w.next
	w.next += size
}

// takeEscape passes over one backslash sequence of a double-quoted scalar.
func (w *walk) takeEscape() bool {
	w.escaped = true
	_, size := utf8.DecodeRuneInString(w.raw[w.next+1:])
	size++
	switch w.raw[min(w.next+1, len(w.raw)-1)] {
	case 'x':
		size = 4
	case 'u':
		size = 6
		if isSurrogatePair(w.raw[w.next:]) {
			size = 12
		}
	case 'U':
		size = 10
	}
	if w.next+size > len(w.raw) {
		return false
	}
	w.take(size)
	return true
}

// isSurrogatePair tells whether s begins with two escapes for one character,
// as JSON has them: \ud83d\ude00.
func isSurrogatePair(s string) bool {
	if len(s) < 12 || s[6:8] != `\u` {
		return false
	}
	high, err := strconv.ParseUint(s[2:6], 16, 32)
	low, err2 := strconv.ParseUint(s[8:12], 16, 32)
	return err == nil && err2 == nil && utf16.DecodeRune(rune(high), rune(low)) != utf8.RuneError
}

// skipContinuations passes over escaped line breaks, which stand for nothing,
// and the indentation of the line that they continue.
func (w *walk) skipContinuations() {
	for strings.HasPrefix(w.raw[w.next:], `\`) {
		c, size := utf8.DecodeRuneInString(w.raw[w.next+1:])
		if !isBreak(c) {
			return
		}
		w.folded, w.escaped = true, true
		w.next += 1 + size
		if c == '\r' && strings.HasPrefix(w.raw[w.next:], "\n") {
			w.next++
		}
		for w.next < len(w.raw) && (w.raw[w.next] == ' ' || w.raw[w.next] == '\t') {
			w.next++
		}
	}
}

// position is the place of an offset into the file from p on.
func (w *walk) position(p Position, offset int) Position {
	passed := w.raw[:min(offset, len(w.raw))]
	for {
		line, rest, found := cutLine(passed)
		if !found {
			p.Column += utf8.RuneCountInString(line)
			return p
		}
		p.Line, p.Column = p.Line+1, 1
		passed = rest
	}
}

// cutLine splits s after its first line, whose break is left out. The breaks
// are those of YAML 1.1, which the YAML parser counts lines by.
func cutLine(s string) (line, rest string, found bool) {
	for i, r := range s {
		if !isBreak(r) {
			continue
		}
		end := i + utf8.RuneLen(r)
		if r == '\r' && strings.HasPrefix(s[end:], "\n") {
			end++
		}
		return s[:i], s[end:], true
	}
	return s, "", false
}

func isBreak(r rune) bool {
	return r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029'
}

func isWhite(r rune) bool { return r == ' ' || r == '\t' || isBreak(r) }
