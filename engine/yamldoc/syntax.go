package yamldoc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
)

// maxSearched is the size of the largest file in which the line of a syntax
// error is searched for by parsing again.
const maxSearched = 256 << 10

// explain reports why the parser gave up. The parser knows a line at best, and
// often only the line where the construct began that it was in, so the usual
// mistakes are looked for in the lines themselves; what the parser says is
// reported if none of them explains it.
func (d *Document) explain(err error) {
	problem, line, known := parserError(err)
	if d.json && d.explainJSON() {
		return
	}
	started := line
	from, to := line-1, line+1 // the lines that the problem may be on
	switch {
	case !known:
		from, to = 1, 0
	case !isStructural(problem): // the scanner is a line off at times
	case len(d.content) > maxSearched:
		to = len(d.lines)
	default:
		line = d.lineOf(err)
		from, to = line, line
	}
	if !d.json {
		explained := false
		for _, s := range findSuspects(d.lines) {
			if s.last < from {
				continue // the parser found no fault with it
			}
			d.Report(d.at(s.line, s.column), s.code, s.message, s.hint)
			explained = explained || s.line <= to
		}
		if explained {
			return
		}
	}
	d.explainProblem(problem, line, started)
}

// parserError takes the parser's error apart: what is wrong, and the line
// from 1. A problem on the first line, and some others, come without a line.
func parserError(err error) (problem string, line int, known bool) {
	problem = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(problem, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				problem, line = message, n
				if isStructural(problem) {
					line++ // the parser proper counts from 0 where the scanner counts from 1
				}
				return problem, line, true
			}
		}
	}
	return problem, 1, !strings.HasPrefix(problem, "unknown anchor")
}

// isStructural tells whether a problem was found by the parser proper, in the
// order of tokens, and not by the scanner, in characters.
func isStructural(problem string) bool {
	for _, p := range []string{
		"did not find expected key", "did not find expected '-' indicator", "did not find expected ',' or",
		"did not find expected node content", "did not find expected <", "found undefined tag handle",
		"found duplicate %", "found incompatible YAML",
	} {
		if strings.HasPrefix(problem, p) {
			return true
		}
	}
	return false
}

// lineOf finds the line that makes the parser fail with err: the last line of
// the shortest beginning of the file that fails in the same way.
func (d *Document) lineOf(err error) int {
	want := err.Error()
	return 1 + sort.Search(len(d.lines)-1, func(i int) bool {
		end := d.lines[i].start + len(d.lines[i].text)
		return failure(d.content[:end]+"\n") == want
	})
}

// failure gives what the parser says about a text, "" if it is content.
func failure(content string) (problem string) {
	defer func() {
		if p := recover(); p != nil {
			problem = fmt.Sprint(p)
		}
	}()
	decoder := yaml.NewDecoder(strings.NewReader(content))
	for {
		var doc yaml.Node
		if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
			return ""
		} else if err != nil {
			return err.Error()
		}
	}
}

// explainJSON reports why a file is not JSON, and tells whether it is not.
func (d *Document) explainJSON() bool {
	var v any
	err := json.Unmarshal([]byte(d.content), &v)
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return false
	}
	offset := min(max(0, int(syntax.Offset)-1), len(d.content))
	line := max(1, sort.Search(len(d.lines), func(i int) bool { return d.lines[i].start > offset }))
	column := 1
	if len(d.lines) > 0 {
		l := d.lines[line-1]
		column += utf8.RuneCountInString(l.text[:min(offset-l.start, len(l.text))])
	}
	hint := ""
	if offset == len(d.content)-1 && strings.Contains(syntax.Error(), "unexpected end") {
		d.Report(d.at(line, column), Unclosed, "the file ends where the JSON value in it does not", "close what is open: a string, a list or a mapping")
		return true
	}
	before := strings.TrimRight(d.content[:offset], " \t\r\n")
	switch at := d.content[offset:]; {
	case strings.HasSuffix(before, ",") && strings.IndexAny(at, "}]") == 0:
		hint = "remove the comma before it"
	case strings.HasPrefix(at, `"`) && before != "" && strings.IndexByte("{[,:", before[len(before)-1]) < 0:
		hint = "is there a comma missing before it?"
	case strings.HasPrefix(at, "'"):
		hint = `JSON strings stand in double quotes (")`
	case strings.HasPrefix(at, "/") || strings.HasPrefix(at, "#"):
		hint = "JSON has no comments"
	}
	d.Report(d.at(line, column), Syntax, "the file is not valid JSON: "+syntax.Error(), hint)
	return true
}

// explainProblem reports a problem in the words of a person who edits the
// file. The construct that it was found in began on the line started.
func (d *Document) explainProblem(problem string, line, started int) {
	line, started = d.clamp(line), d.clamp(started)
	report := func(line, column int, code diag.Code, message, hint string) {
		d.Report(d.at(line, column), code, message, hint)
	}
	text := d.line(line)
	first := 1 + indentOf(text)
	whence := "above it"
	if started < line {
		whence = fmt.Sprintf("that begins on line %d", started)
	}
	switch {
	case strings.HasPrefix(problem, "unknown anchor '"):
		d.explainAlias(strings.TrimSuffix(strings.TrimPrefix(problem, "unknown anchor '"), "' referenced"))
	case strings.HasPrefix(problem, "did not find expected key"):
		report(line, first, Syntax, "this does not continue the mapping "+whence,
			"check the indentation: the keys of one mapping begin in the same column")
	case strings.HasPrefix(problem, "did not find expected '-' indicator"):
		report(line, first, Syntax, "this does not continue the list "+whence,
			"check the indentation: the elements of one list begin with - in the same column")
	case strings.HasPrefix(problem, "did not find expected ',' or"), strings.HasPrefix(problem, "did not find expected node content"):
		if i := strings.IndexAny(d.line(started), "[{"); i >= 0 {
			column := 1 + utf8.RuneCountInString(d.line(started)[:i])
			report(started, column, Unclosed, "the bracket that is opened here is not closed, or a comma is missing behind it", "")
			break
		}
		report(line, first, Unclosed, "a bracket that is opened above is not closed, or a comma is missing before this", "")
	case strings.HasPrefix(problem, "found unexpected end of stream"), strings.HasPrefix(problem, "found unexpected document indicator"):
		column := first
		if i := strings.IndexAny(text, `"'`); i >= 0 {
			column = 1 + utf8.RuneCountInString(text[:i])
		}
		report(line, column, Unclosed, "the quote that is opened here is not closed", "")
	case strings.HasPrefix(problem, "found unknown escape character"),
		strings.HasPrefix(problem, "did not find expected hexdecimal number"),
		strings.HasPrefix(problem, "found invalid Unicode character escape code"):
		d.explainEscape(line)
	case strings.HasPrefix(problem, "could not find expected ':'"):
		report(line, first, Syntax, "this is neither a key and a value nor part of the value above it",
			"check for a missing colon, and the indentation")
	case strings.HasPrefix(problem, "mapping values are not allowed"):
		report(line, first, Syntax, "a key cannot stand here", "check the indentation, and that the line above is complete; a value with a colon and a space in it must be quoted")
	case strings.HasPrefix(problem, "block sequence entries are not allowed"):
		report(line, first, Syntax, "an element of a list cannot stand here", "begin the list on a line of its own; a value that begins with - must be quoted")
	case strings.HasPrefix(problem, "found a tab character"):
		report(line, first, TabIndentation, "the line is indented with a tab", "indent with spaces")
	case strings.HasPrefix(problem, "exceeded max depth"):
		report(line, first, TooDeep, fmt.Sprintf("values are nested more than %d levels deep", MaxDepth), "")
	case strings.Contains(problem, "tag"), strings.HasPrefix(problem, "did not find expected '!'"),
		strings.HasPrefix(problem, "did not find expected whitespace or line break"):
		report(line, first, BadTag, "a tag (!) on this line is not valid", "a value that begins with ! must be quoted")
	case strings.HasPrefix(problem, "found character that cannot start any token"):
		report(line, first, Syntax, "a character on this line cannot begin a value", "quote the value")
	case strings.HasPrefix(problem, "did not find expected <document start>"):
		report(line, first, Syntax, "the document ends above this line", "check the indentation")
	default:
		report(line, first, Syntax, "the file is not valid YAML: "+problem, "")
	}
}

// explainAlias reports an alias whose anchor there is not.
func (d *Document) explainAlias(name string) {
	var anchors []string
	line, column := 1, 1
	for i := len(d.lines) - 1; i >= 0; i-- {
		text := d.lines[i].text
		for rest := text; ; {
			_, after, found := strings.Cut(rest, "&")
			if !found {
				break
			}
			if end := nameEnd(after); end > 0 {
				anchors = append(anchors, after[:end])
			}
			rest = after
		}
		// A line may also hold the name inside a longer one.
		for from := 0; ; {
			at := strings.Index(text[from:], "*"+name)
			if at < 0 {
				break
			}
			at += from
			from = at + 1
			if nameEnd(text[from:]) == len(name) {
				line, column = i+1, 1+utf8.RuneCountInString(text[:at])
				break
			}
		}
	}
	hint := nearest(name, anchors)
	if hint == "" {
		hint = "a value that begins with * must be quoted"
	}
	d.Report(d.at(line, column), UnknownAnchor, fmt.Sprintf("there is no anchor %s before this alias", quote("&"+name)), hint)
}

// explainEscape reports the first escape from line on that YAML does not know.
func (d *Document) explainEscape(line int) {
	hint := `write \\ for a backslash, or use single quotes or a block scalar (|)`
	for i := line; i <= len(d.lines); i++ {
		text := d.line(i)
		for at := 0; at < len(text); at++ {
			if text[at] != '\\' {
				continue
			}
			if at+1 < len(text) && strings.IndexByte("0abtnvfre \"'\\N_LPx\tuU", text[at+1]) >= 0 && !badHex(text[at+1:]) {
				at++
				continue
			}
			if at+1 == len(text) && i < len(d.lines) {
				continue // an escaped line break
			}
			_, size := utf8.DecodeRuneInString(text[min(at+1, len(text)):])
			switch strings.ToLower(text[at : at+1+size]) {
			case `\/`:
				hint = "write / without the backslash"
			case `\u`:
				hint = `write the character itself, or \u and four hexadecimal digits, or \U and eight`
			}
			d.Report(d.at(i, 1+utf8.RuneCountInString(text[:at])), BadEscape, fmt.Sprintf("%s is not an escape that YAML knows", text[at:at+1+size]), hint)
			return
		}
	}
	d.Report(d.at(line, 1+indentOf(d.line(line))), BadEscape, "a double-quoted string holds an escape that YAML does not know", hint)
}

// badHex tells whether an escape, given without its backslash, is one of the
// hexadecimal ones and does not name a character.
func badHex(escape string) bool {
	digits := 0
	switch escape[0] {
	case 'x':
		digits = 2
	case 'u':
		digits = 4
	case 'U':
		digits = 8
	default:
		return false
	}
	if len(escape) < 1+digits {
		return true
	}
	n, err := strconv.ParseUint(escape[1:1+digits], 16, 32)
	return err != nil || n > utf8.MaxRune || n >= 0xD800 && n <= 0xDFFF
}

func (d *Document) clamp(line int) int { return max(1, min(line, len(d.lines))) }

// line gives line n, "" if there is none.
func (d *Document) line(n int) string {
	if n < 1 || n > len(d.lines) {
		return ""
	}
	return d.lines[n-1].text
}

// indentOf is the number of blanks that a line begins with.
func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " \t")) }
