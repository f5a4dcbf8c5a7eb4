package repl

import (
	"strings"
	"unicode/utf8"
)

// An input is what the user wrote for one answer, which may be several lines.
type input struct {
	text      string // without the backslashes that continue a line
	directive string // without its colon; empty: an expression
	arg       string // of the directive, or the expression
	offset    int    // of arg in text, in bytes
}

// parse takes the text of an input apart. There is nothing in it if both the
// directive and the argument are empty: it is blank, or a comment.
func parse(text string) input {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if i < len(lines)-1 && strings.HasSuffix(line, `\`) {
			lines[i] = line[:len(line)-1] + " "
		}
	}
	in := input{text: strings.Join(lines, "\n")}
	trimmed := strings.TrimLeft(in.text, " \t\n")
	in.offset = len(in.text) - len(trimmed)
	switch {
	case strings.HasPrefix(trimmed, "#"):
		in.offset = len(in.text)
		return in
	case strings.HasPrefix(trimmed, ":"):
		name := trimmed[1:]
		if end := strings.IndexAny(name, " \t\n"); end >= 0 {
			name = name[:end]
		}
		in.directive = name
		in.offset += 1 + len(name)
		if name == "" {
			in.directive = " " // no directive has this name
		}
	case commentsOnly(trimmed):
		in.offset = len(in.text)
		return in
	}
	rest := in.text[in.offset:]
	in.arg = strings.TrimRight(strings.TrimLeft(rest, " \t\n"), " \t\r\n")
	in.offset += len(rest) - len(strings.TrimLeft(rest, " \t\n"))
	return in
}

func commentsOnly(text string) bool {
	return strings.HasPrefix(text, "//") && !scan(text).hasCode
}

// from gives the input whose argument begins n bytes later.
func (in input) from(n int) input {
	rest := in.arg[n:]
	trimmed := strings.TrimLeft(rest, " \t\n")
	in.offset += n + len(rest) - len(trimmed)
	in.arg = trimmed
	return in
}

// place gives the line and column in the text of a place in the argument; all
// are counted from 1, columns in characters.
func (in input) place(line, column int) (int, int) {
	before := in.text[:min(in.offset, len(in.text))]
	breaks := strings.Count(before, "\n")
	if line == 1 {
		column += utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	}
	return breaks + line, column
}

// line gives a line of the text, counted from 1, or "".
func (in input) line(n int) string {
	lines := strings.Split(in.text, "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return strings.TrimRight(lines[n-1], "\r")
}

// takesExpression tells whether the argument of a directive is CEL or ends in it.
func takesExpression(directive string) bool {
	switch directive {
	case "", "let", "set", "type", "steps":
		return true
	}
	return false
}

// unfinished tells whether an input goes on in the next line: a bracket or a
// text in three quotes is open, or the last line ends with a backslash or, in
// CEL, with an operator. An ordinary text can't be continued in CEL, nor here.
func unfinished(text string) bool {
	if strings.HasSuffix(text, `\`) {
		return true
	}
	in := parse(text)
	switch {
	case in.arg == "":
		return false
	case takesExpression(in.directive):
		s := scan(in.arg)
		return s.open || s.operator
	case strings.HasPrefix(in.arg, "{") || strings.HasPrefix(in.arg, "["):
		return scan(in.arg).open
	}
	return false
}

// A scanned text is what its end tells.
type scanned struct {
	hasCode  bool // there is more than comments
	open     bool // a bracket or a text in three quotes is open
	operator bool // it ends with an operator that needs another operand
}

// scan looks through CEL, or JSON, as far as it has to be known where texts
// and comments end.
func scan(text string) scanned {
	var s scanned
	depth, last := 0, "" // last: the code at the end, without blanks
	for i := 0; i < len(text); {
		rest := text[i:]
		switch c := text[i]; {
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			i += end
			continue
		case c == '"' || c == '\'' || c == '`':
			end, open := quoted(rest, isRaw(text[:i]))
			if open {
				s.open, s.hasCode = true, true
				return s
			}
			s.hasCode = true
			last = `""`
			i += end
			continue
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			depth--
		}
		if c := text[i]; c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			last += " "
		} else {
			s.hasCode = true
			last += string(c)
		}
		i++
	}
	s.open = depth > 0
	last = strings.TrimRight(last, " ")
	if last == "in" || strings.HasSuffix(last, " in") {
		s.operator = true
	}
	if last != "" && strings.ContainsRune("&|+-*/%=<>?:!", rune(last[len(last)-1])) {
		s.operator = true
	}
	return s
}

// quoted gives the length of the text in quotes that begins s. It is open if
// three quotes begin it and none end it; an ordinary text ends with its line.
func quoted(s string, raw bool) (length int, open bool) {
	quote := s[:1]
	if quote != "`" && strings.HasPrefix(s, strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	for i := len(quote); i < len(s); i++ {
		switch {
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote), false
		case s[i] == '\\' && !raw && quote != "`":
			i++
		case s[i] == '\n' && len(quote) == 1:
			return i, false
		}
	}
	return len(s), len(quote) == 3
}

// isRaw tells whether a text that follows is a raw one: r"..." or br"...".
func isRaw(before string) bool {
	i := len(before)
	for i > 0 && strings.IndexByte("rRbB", before[i-1]) >= 0 {
		i--
	}
	if i > 0 && isNameByte(before[i-1]) {
		return false
	}
	return strings.ContainsAny(before[i:], "rR")
}

func isNameByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
