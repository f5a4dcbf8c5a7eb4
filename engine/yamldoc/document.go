package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
)

// The bounds of a document.
const (
	// MaxSize is the number of bytes of the largest file that is read.
	MaxSize = 4 << 20

	// MaxStreamSize is the number of bytes of the largest file of several
	// documents that is read. What proxies dump of themselves is large.
	MaxStreamSize = 64 << 20

	// MaxDepth is how many levels deep nodes may be nested, aliases included.
	MaxDepth = 100

	// MaxAliasNodes is how many nodes all the aliases and merge keys of a
	// document may repeat.
	MaxAliasNodes = 100_000

	// MaxProblems is how many diagnostics of a document are kept.
	MaxProblems = 1000
)

// A Document is one file: its nodes, its lines and what is wrong with it. It
// is not safe for use by several goroutines.
type Document struct {
	file    string
	content string
	json    bool
	stream  bool // it may hold several YAML documents
	lines   []sourceLine
	roots   []*yaml.Node // more than one only if it is a stream
	list    diag.List
}

// A sourceLine is one line of a file, without its line break.
type sourceLine struct {
	text   string
	start  int   // offset of the line in the content
	places []int // offset of each character, if they are not all ASCII and were asked for
	ascii  bool
}

// Parse reads content, which must hold at most one YAML document. A file that
// is empty or holds only comments gives a Document without a root. Parse never
// gives nil; what is wrong is in Diagnostics.
func Parse(file string, content []byte) *Document {
	return parse(&Document{file: file}, content, MaxSize)
}

// ParseStream reads content as Parse does, but takes files that other programs
// are configured by as these programs do: they may hold several documents
// (Roots), be large (MaxStreamSize), and have entries whose key is tagged
// !ignore, where Envoy's files keep anchors. Such entries are left out.
func ParseStream(file string, content []byte) *Document {
	return parse(&Document{file: file, stream: true}, content, MaxStreamSize)
}

func parse(d *Document, content []byte, maxSize int) *Document {
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	d.json = strings.EqualFold(path.Ext(d.file), ".json")
	if len(content) > maxSize {
		d.Report(d.at(1, 1), TooLarge, fmt.Sprintf("the file has more than %d bytes", maxSize), "split the file")
		return d
	}
	d.content = string(content)
	d.lines = splitLines(d.content)
	if !d.checkEncoding() {
		return d
	}
	masked := d.maskJSON()
	if masked == nil {
		d.roots = d.parse(content)
	} else {
		d.roots = d.parse(masked)
		for _, root := range d.roots {
			d.unmaskJSON(root)
		}
	}
	if !d.checkBounds() {
		d.roots = nil
	}
	return d
}

// parse gives the roots of the documents that are not empty, at most one if d
// is no stream, and none if the file cannot be parsed at all.
func (d *Document) parse(content []byte) (roots []*yaml.Node) {
	// The parser has panicked on malformed files before. A file that makes it
	// do so is as unreadable as any other.
	defer func() {
		if p := recover(); p != nil {
			d.Report(d.at(1, 1), Syntax, fmt.Sprintf("the file cannot be parsed: %v", p), "")
			roots = nil
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	several := false
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.explain(err)
			break
		}
		if d.isEmpty(&doc) {
			continue
		}
		if len(roots) == 0 || d.stream {
			roots = append(roots, doc.Content[0])
			continue
		}
		if !several {
			several = true
			d.ReportRelated(d.at(doc.Line, doc.Column), SeveralDocuments, "the file holds more than one YAML document",
				"move each document to a file of its own", diag.Related{Pos: d.at(roots[0].Line, roots[0].Column), Message: "the first document begins here"})
		}
	}
	return roots
}

// isEmpty tells whether a document consists of its markers and comments alone.
func (d *Document) isEmpty(doc *yaml.Node) bool {
	if len(doc.Content) == 0 {
		return true
	}
	n := doc.Content[0]
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0 && n.Anchor == "" && d.hasAllowedTag(n)
}

// checkEncoding reports the first thing that makes the file something else
// than text in UTF-8.
func (d *Document) checkEncoding() bool {
	for i, line := range d.lines {
		column := 0
		for offset, r := range line.text {
			column++
			if r == utf8.RuneError {
				if _, size := utf8.DecodeRuneInString(line.text[offset:]); size == 1 {
					d.Report(d.at(i+1, column), BadEncoding, "the file is not UTF-8", "save it as UTF-8")
					return false
				}
			}
			if isControl(r) {
				d.Report(d.at(i+1, column), BadEncoding, fmt.Sprintf("the control character %U is not allowed", r), "remove it, or write it as an escape in a double-quoted string")
				return false
			}
		}
	}
	return true
}

// isControl tells whether YAML forbids r in a file.
func isControl(r rune) bool {
	switch {
	case r == '\t', r >= 0x20 && r <= 0x7E, r >= 0xA0 && r <= 0xD7FF, r >= 0xE000 && r <= 0xFFFD && r != 0xFEFF, r >= 0x10000:
		return false
	}
	return true
}

// Root gives the root node. There is none if the file is empty or could not
// be parsed; Diagnostics tells which.
func (d *Document) Root() (Node, bool) {
	if len(d.roots) == 0 {
		return Node{}, false
	}
	return d.node(d.roots[0]), true
}

// Roots gives the root nodes of all documents of a stream that are not empty.
func (d *Document) Roots() []Node {
	roots := make([]Node, len(d.roots))
	for i, y := range d.roots {
		roots[i] = d.node(y)
	}
	return roots
}

// File gives the name that the document was parsed under.
func (d *Document) File() string { return d.file }

// Lines gives the lines of the file, without their breaks.
func (d *Document) Lines() []string {
	lines := make([]string, len(d.lines))
	for i, line := range d.lines {
		lines[i] = line.text
	}
	return lines
}

// Diagnostics gives what was reported so far, in the order of the file, each
// thing once.
func (d *Document) Diagnostics() diag.List { return d.list.Sorted() }

// Report adds a diagnostic about a place in the document.
func (d *Document) Report(pos diag.Position, code diag.Code, message, hint string) {
	d.ReportRelated(pos, code, message, hint)
}

// ReportRelated adds a diagnostic that involves other places too.
func (d *Document) ReportRelated(pos diag.Position, code diag.Code, message, hint string, related ...diag.Related) {
	switch {
	case len(d.list) > MaxProblems:
		return
	case len(d.list) == MaxProblems:
		code, message, hint, related = TooManyProblems, "the file has more problems, which are not listed", "", nil
	}
	report := diag.Diagnostic{Pos: pos, Code: code, Message: message, Hint: hint, Related: related}
	if pos.File == d.file && pos.Line >= 1 && pos.Line <= len(d.lines) {
		report.Source = d.lines[pos.Line-1].text
	}
	d.list = append(d.list, report)
}

// at gives the position of a line and column that the parser named.
func (d *Document) at(line, column int) diag.Position {
	return diag.Position{File: d.file, Line: max(1, line), Column: max(1, column)}
}

// offset gives the offset of a line and column in the content.
func (d *Document) offset(line, column int) int {
	if line < 1 || line > len(d.lines) {
		return len(d.content)
	}
	l := &d.lines[line-1]
	if l.ascii {
		return l.start + min(column-1, len(l.text))
	}
	if l.places == nil {
		for i := range l.text {
			l.places = append(l.places, i)
		}
	}
	if column > len(l.places) {
		return l.start + len(l.text)
	}
	return l.start + l.places[column-1]
}

// splitLines splits content at the line breaks of YAML 1.1, which the parser
// counts lines by.
func splitLines(content string) []sourceLine {
	var lines []sourceLine
	start, ascii := 0, true
	add := func(end int) {
		lines = append(lines, sourceLine{text: content[start:end], start: start, ascii: ascii})
	}
	for i, r := range content {
		switch r {
		case '\r':
			if strings.HasPrefix(content[i+1:], "\n") {
				continue // the break is both characters; they end the line together
			}
			fallthrough
		case '\n', '\u0085', '\u2028', '\u2029':
			end := i
			if r == '\n' && i > start && content[i-1] == '\r' {
				end--
			}
			add(end)
			start, ascii = i+utf8.RuneLen(r), true
		default:
			ascii = ascii && r < utf8.RuneSelf
		}
	}
	if start < len(content) {
		add(len(content))
	}
	return lines
}
