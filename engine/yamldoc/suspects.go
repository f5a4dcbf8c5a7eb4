package yamldoc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"edict/engine/diag"
)

// A suspect is a place that looks like one of the mistakes people make in YAML.
type suspect struct {
	line, column  int
	last          int // the line on which it shows
	code          diag.Code
	message, hint string
}

const blockHint = "put the value into a block scalar: write | after the colon and the value, indented, on the next line"

// findSuspects looks for the usual mistakes in the lines of a file that cannot
// be parsed. It knows just enough of YAML to leave alone what stands in block
// scalars, in comments and in strings of several lines.
func findSuspects(lines []sourceLine) []suspect {
	var found []suspect
	block := -1 // indentation of the line that began a block scalar, -1 outside
	var open openQuote
	flow := false // the document is in brackets, where indentation means nothing
	for _, l := range lines {
		if content := strings.TrimLeft(l.text, " \t"); content != "" {
			flow = content[0] == '{' || content[0] == '['
			break
		}
	}
	for i := range lines {
		text, number := lines[i].text, i+1
		report := func(offset int, code diag.Code, message, hint string) {
			column := 1 + utf8.RuneCountInString(text[:offset])
			found = append(found, suspect{line: number, column: column, last: number, code: code, message: message, hint: hint})
		}
		content := strings.TrimLeft(text, " \t")
		if content == "" {
			continue
		}
		if open.quote != 0 {
			if end := closingQuote(text, open.quote); end >= 0 {
				if continues(text[end+1:]) {
					found = append(found, suspect{line: open.line, column: open.column, last: number, code: Unclosed,
						message: fmt.Sprintf("the quote that is opened here ends on line %d, and text follows it there", number),
						hint:    "close the quote where the value ends"})
				}
				open = openQuote{}
			}
			continue
		}
		indent := indentOf(text)
		if block >= 0 {
			if indent > block {
				continue
			}
			block = -1
		}
		if content[0] == '#' {
			continue
		}
		if strings.Contains(text[:indent], "\t") && !flow {
			report(strings.IndexByte(text, '\t'), TabIndentation, "the line is indented with a tab", "indent with spaces")
			continue
		}
		start := valueStart(text)
		v := text[start:]
		if v == "" {
			continue
		}
		switch c := v[0]; c {
		case '|', '>':
			if rest := strings.TrimSpace(strings.TrimLeft(v[1:], "+-0123456789")); rest == "" || rest[0] == '#' {
				block = indent
			} else {
				report(start, NeedsQuotes, fmt.Sprintf("a value that begins with %c must be quoted; the text of a block scalar begins on the next line", c), blockHint)
			}
		case '"', '\'':
			end := closingQuote(v[1:], c)
			if end < 0 {
				open = openQuote{quote: c, line: number, column: 1 + utf8.RuneCountInString(text[:start])}
			} else if continues(v[end+2:]) {
				report(start, TextAfterQuote, "the value begins with a quoted string and goes on after its closing quote", blockHint)
			}
		case '@', '`', '%':
			report(start, NeedsQuotes, fmt.Sprintf("a value that begins with %c must be quoted", c), blockHint)
		case '*', '&':
			if nameEnd(v[1:]) == 0 {
				report(start, NeedsQuotes, fmt.Sprintf("a value that begins with %c must be quoted", c), fmt.Sprintf(`write "%c"`, c))
			}
		case '[', '{':
			if at := bareSign(v); at >= 0 {
				report(start+at, NeedsQuotes, fmt.Sprintf("a value that begins with %c must be quoted", v[at]), fmt.Sprintf(`write "%c"`, v[at]))
			}
		case '!':
			if !strings.HasPrefix(v, "!!") {
				report(start, NeedsQuotes, "a value that begins with ! must be quoted", blockHint)
			}
		case '-', '?':
			if strings.HasPrefix(v[1:], " ") && start > indent {
				report(start, Syntax, fmt.Sprintf("%c cannot stand behind a key", c), "begin the list on a line of its own, or quote the value")
			}
		case '#':
		default:
			plain, _, _ := strings.Cut(v, " #")
			if at := strings.Index(plain, ": "); at >= 0 && start > indent {
				report(start, NeedsQuotes, "a value with a colon and a space in it must be quoted", blockHint)
			}
		}
	}
	if open.quote != 0 {
		found = append(found, suspect{line: open.line, column: open.column, last: len(lines), code: Unclosed, message: "the quote that is opened here is not closed"})
	}
	return found
}

// An openQuote is a quoted string that goes on over several lines.
type openQuote struct {
	quote        byte // 0: there is none
	line, column int
}

// valueStart gives the offset of the value on a line: what stands behind the
// dashes of list elements and behind a key.
func valueStart(text string) int {
	at := indentOf(text)
	for strings.HasPrefix(text[at:], "- ") {
		at++
		at += indentOf(text[at:])
	}
	rest := text[at:]
	if rest == "" || rest == "-" {
		return len(text)
	}
	key := 0
	switch rest[0] {
	case '"', '\'':
		end := closingQuote(rest[1:], rest[0])
		if end < 0 {
			return at
		}
		key = end + 2
	case '[', '{', '|', '>', '@', '`', '%', '*', '&', '!', '#':
		return at
	default:
		colon := strings.Index(rest, ":")
		for colon >= 0 && colon+1 < len(rest) && rest[colon+1] != ' ' && rest[colon+1] != '\t' {
			next := strings.Index(rest[colon+1:], ":")
			if next < 0 {
				return at
			}
			colon += 1 + next
		}
		if colon < 0 || strings.Contains(rest[:colon], " #") {
			return at
		}
		key = colon
	}
	if !strings.HasPrefix(rest[key:], ":") {
		return at
	}
	at += key + 1
	return at + indentOf(text[at:])
}

// closingQuote gives the offset of the quote that ends a string, whose opening
// quote is left out of s, or -1.
func closingQuote(s string, quote byte) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote && quote == '\'' && strings.HasPrefix(s[i+1:], "'"):
			i++
		case s[i] == quote:
			return i
		}
	}
	return -1
}

// continues tells whether what stands behind a closing quote belongs to the
// value: it is no comment, no key's colon and no part of a list or mapping in
// brackets.
func continues(rest string) bool {
	trimmed := strings.TrimLeft(rest, " \t")
	return trimmed != "" && strings.IndexByte("#:,]}", trimmed[0]) < 0
}

// bareSign gives the offset of a lone * or & among values in brackets, or of
// one that begins with a character that cannot begin a value; -1 if there is
// none.
func bareSign(s string) int {
	begins := false // a value may begin here
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '[', '{', ',':
			begins = true
		case ' ', '\t':
		case '#':
			if i > 0 && s[i-1] == ' ' {
				return -1
			}
			begins = false
		case '"', '\'':
			if !begins {
				break
			}
			end := closingQuote(s[i+1:], c)
			if end < 0 {
				return -1
			}
			i += end + 1
			begins = false
		case '*', '&':
			if begins && nameEnd(s[i+1:]) == 0 {
				return i
			}
			begins = false
		case '@', '`', '%':
			if begins {
				return i
			}
		case ':':
			begins = strings.HasPrefix(s[i+1:], " ")
		default:
			begins = false
		}
	}
	return -1
}

// nameEnd is the length of the anchor name that s begins with.
func nameEnd(s string) int {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return i
		}
	}
	return len(s)
}
