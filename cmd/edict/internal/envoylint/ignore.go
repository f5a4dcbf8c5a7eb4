package envoylint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/lint"
)

// ignoreComment is the comment that silences warnings, on their line or above it:
//
//	# edict:ignore code[, code...] reason
var ignoreComment = regexp.MustCompile(`(?:^|\s)# ?edict:ignore\s+([a-z-]+(?:\s*,\s*[a-z-]+)*)`)

// silence takes out the warnings that comments silence, and adds one for each
// comment that silences nothing.
func (l *linter) silence() {
	used := map[diag.Position]bool{}
	l.list = slices.DeleteFunc(l.list, func(d diag.Diagnostic) bool {
		if d.Severity != diag.Warning {
			return false
		}
		lines := l.lines[d.Pos.File]
		for line := d.Pos.Line; line >= 1 && line <= len(lines); line-- {
			if line < d.Pos.Line && !strings.HasPrefix(strings.TrimSpace(lines[line-1]), "#") {
				break
			}
			if slices.Contains(ignored(lines[line-1]), string(d.Code)) {
				used[diag.Position{File: d.Pos.File, Line: line}] = true
				return true
			}
		}
		return false
	})
	for file, lines := range l.lines {
		for i, line := range lines {
			codes := ignored(line)
			if len(codes) > 0 && !used[diag.Position{File: file, Line: i + 1}] {
				l.list = append(l.list, diag.Diagnostic{
					Pos:      diag.Position{File: file, Line: i + 1, Column: len([]rune(line[:ignoreComment.FindStringIndex(line)[0]])) + 1},
					Severity: diag.Warning, Code: lint.UnusedIgnore, Source: line,
					Message: fmt.Sprintf("there is no warning %s here to ignore", strings.Join(codes, " or ")), Hint: "remove the comment; errors are not silenced",
				})
			}
		}
	}
}

// ignored gives the codes that a comment in a line silences.
func ignored(line string) []string {
	m := ignoreComment.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	var out []string
	for _, code := range strings.Split(m[1], ",") {
		out = append(out, strings.TrimSpace(code))
	}
	return out
}
