package diag_test

import (
	"strings"
	"testing"

	"edict/engine/diag"
)

// The name of a file is somebody else's text: it begins no line of its own.
func TestFileNamesStayOnTheirLine(t *testing.T) {
	const name = "a\n::error::b\x1b[31m.yaml"
	list := diag.List{{Pos: diag.Position{File: name, Line: 1, Column: 1}, Message: "no", Related: []diag.Related{{Pos: diag.Position{File: name, Line: 2, Column: 1}, Message: "here"}}}}
	if out := list.Render(); strings.Contains(out, "\n::") || strings.Contains(out, "\x1b") || strings.Count(out, "::error::b") != 2 {
		t.Errorf("%q", out)
	}
}
