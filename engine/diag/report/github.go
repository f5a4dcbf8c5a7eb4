package report

import (
	"fmt"
	"io"
	"strings"

	"edict/engine/diag"
)

// The escapes of workflow commands: in a message, and in the value of a
// property, which also ends at a comma or a colon.
var (
	escapeMessage  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// GitHub writes each diagnostic as a workflow command of GitHub Actions, a line
// each, which a pull request shows beside the file. The error is that of w.
//
// See "Workflow commands for GitHub Actions" in GitHub's documentation.
func GitHub(w io.Writer, list diag.List) error {
	var b strings.Builder
	for _, d := range list {
		b.WriteString("::" + d.Severity.String())
		separator := " "
		property := func(name, value string) {
			b.WriteString(separator + name + "=" + diag.Printable(escapeProperty.Replace(value)))
			separator = ","
		}
		if d.Pos.IsValid() {
			property("file", d.Pos.File)
		}
		if d.Pos.Line > 0 {
			property("line", fmt.Sprint(d.Pos.Line))
		}
		if d.Pos.Column > 0 {
			property("col", fmt.Sprint(d.Pos.Column))
		}
		if d.Code != "" {
			property("title", string(d.Code))
		}
		b.WriteString("::" + diag.Printable(escapeMessage.Replace(withHint(d))) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// withHint gives the message of a diagnostic and, on lines of their own, its
// hint and related places.
func withHint(d diag.Diagnostic) string {
	text := d.Message
	for _, r := range d.Related {
		text += "\n" + r.Pos.String() + ": " + r.Message
	}
	if d.Hint != "" {
		text += "\nhint: " + d.Hint
	}
	return text
}
