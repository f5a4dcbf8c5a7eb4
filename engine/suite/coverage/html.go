package coverage

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
)

//go:embed page.html
var page string

// HTML writes one page, without references to anything outside of it: the
// table of policies, the tables of roles and actions, and every file with its
// rules and expressions marked.
func (c *Coverage) HTML(w io.Writer) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return err
	}
	var data struct {
		Overall  string
		Summary  Summary
		Policies []PolicySummary
		Matrices []htmlMatrix
		Files    []htmlFile
	}
	data.Summary = c.Summary()
	data.Overall = fmt.Sprintf("%.1f%%", data.Summary.Overall().Percent())
	data.Policies = c.Policies()
	for _, m := range c.Matrices() {
		data.Matrices = append(data.Matrices, m.html())
	}
	for _, file := range c.files() {
		data.Files = append(data.Files, c.htmlFile(file))
	}
	return t.Execute(w, data)
}

type htmlMatrix struct {
	Policy  string
	Actions []string
	Rows    []htmlRow
}

type htmlRow struct {
	Role  string
	Cells []int
}

func (m *Matrix) html() htmlMatrix {
	out := htmlMatrix{Policy: m.Policy, Actions: m.Actions}
	for i, role := range m.Roles {
		out.Rows = append(out.Rows, htmlRow{role, m.Decided[i]})
	}
	return out
}

type htmlFile struct {
	Name  string
	Lines []htmlLine
}

// classes are those of lines, the best first. A line without anything to cover
// has none.
var classes = []string{"", "covered", "partly", "missed"}

// An htmlLine is a line of a file.
type htmlLine struct {
	Number int
	Text   string
	Class  string
	Note   string
}

func (c *Coverage) htmlFile(file string) htmlFile {
	out := htmlFile{Name: file}
	for i, line := range c.sources[file] {
		out.Lines = append(out.Lines, htmlLine{Number: i + 1, Text: line})
	}
	// note marks a line. Of several marks the worse one wins.
	note := func(line int, class, text string) {
		if line < 1 || line > len(out.Lines) {
			return
		}
		l := &out.Lines[line-1]
		if slices.Index(classes, class) > slices.Index(classes, l.Class) {
			l.Class = class
		}
		if l.Note != "" {
			l.Note += " · "
		}
		l.Note += text
	}
	for _, r := range c.Rules() {
		if r.Pos.File != file {
			continue
		}
		class := "covered"
		if r.Activated == 0 {
			class = "missed"
		}
		note(r.Pos.Line, class, fmt.Sprintf("%s: activated %d×, tried %d×", r.Name, r.Activated, r.Visited))
	}
	for _, e := range c.Expressions() {
		if e.Pos.File != file {
			continue
		}
		class := "missed"
		switch {
		case e.True > 0 && e.False > 0:
			class = "covered"
		case e.True > 0 || e.False > 0:
			class = "partly"
		}
		text := fmt.Sprintf("true %d×, false %d×", e.True, e.False)
		if e.Failed > 0 {
			text += fmt.Sprintf(", failed %d×", e.Failed)
		}
		note(e.Pos.Line, class, text)
	}
	return out
}
