package diag

// A Text is a string in a file and its place.
type Text struct {
	Value string
	Pos   Position

	// Indent and Block place the lines of a text of several lines. In a block
	// scalar (| or >) the text's first line is the line after Pos and starts
	// Indent characters in; elsewhere it starts at Pos.
	Indent int
	Block  bool
}

// At gives the position of line and column (both from 1) within the text: the
// place in the file that a CEL error at that place of the expression means.
// It is exact for plain, quoted and literal (|) scalars of one line per line;
// a folded (>) scalar has lost its line breaks, so there only the line of the
// scalar is exact.
func (t Text) At(line, column int) Position {
	p := t.Pos
	if t.Block {
		p.Line += line
		p.Column = t.Indent + column
		return p
	}
	if line == 1 {
		p.Column += column - 1
		return p
	}
	p.Line += line - 1
	p.Column = column
	return p
}
