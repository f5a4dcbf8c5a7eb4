package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"edict/engine/diag"
	"edict/engine/suite"
)

// TAP writes a report in the Test Anything Protocol, version 14: a test point
// for each result, and one for each suite that could not be run. Results that
// a filter left out have none.
func TAP(w io.Writer, r *suite.Report) error {
	var points []string
	for i := range r.Suites {
		s := &r.Suites[i]
		switch {
		case len(s.Problems) > 0:
			lines := []string{"stage: " + quoteYAML(s.Stage), "problems:"}
			for _, p := range s.Problems {
				lines = append(lines, "  - "+quoteYAML(p.Error()))
			}
			points = append(points, point(false, s.File, "", lines))
		case s.Skip:
			points = append(points, point(true, s.File+" "+s.Name, skipDirective(s.SkipReason), nil))
		}
		for i := range s.Results {
			if r := &s.Results[i]; !r.Omitted {
				points = append(points, resultPoint(s, r))
			}
		}
	}
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "TAP version 14\n1..%d\n", len(points))
	for i, p := range points {
		fmt.Fprintf(out, p, i+1)
	}
	return out.Flush()
}

func resultPoint(s *suite.SuiteReport, r *suite.Result) string {
	name := strings.Join([]string{s.Name, r.Test, r.Principal, r.Resource, r.Action}, " / ")
	switch r.Status {
	case suite.Skipped:
		return point(true, name, skipDirective(r.SkipReason), nil)
	case suite.Passed:
		return point(true, name, "", nil)
	case suite.Errored:
		return point(false, name, "", []string{"file: " + quoteYAML(s.File), "error: " + quoteYAML(r.Err)})
	}
	lines := []string{"at: " + quoteYAML(r.ExpectedAt.String()), "expected: " + r.Expected.String(), "actual: " + r.Actual.String()}
	if len(r.Mismatches) > 0 {
		lines = append(lines, "outputs:")
		for _, m := range r.Mismatches {
			expected, actual := values(m)
			lines = append(lines, "  - src: "+quoteYAML(m.Src), "    expected: "+quoteYAML(expected), "    actual: "+quoteYAML(actual))
		}
	}
	lines = append(lines, "why:")
	for _, line := range explain(r) {
		lines = append(lines, "  - "+quoteYAML(line))
	}
	return point(false, name, "", lines)
}

func skipDirective(reason string) string { return strings.TrimSpace(" # SKIP " + oneLine(reason)) }

// point gives the format of a test point, which lacks its number.
func point(ok bool, name, directive string, yaml []string) string {
	var b strings.Builder
	if !ok {
		b.WriteString("not ")
	}
	b.WriteString("ok %d - ")
	text := strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(oneLine(name))
	if directive != "" {
		text += " " + directive
	}
	b.WriteString(strings.ReplaceAll(text, "%", "%%"))
	b.WriteByte('\n')
	if len(yaml) > 0 {
		b.WriteString("  ---\n")
		for _, line := range yaml {
			b.WriteString("  " + strings.ReplaceAll(line, "%", "%%") + "\n")
		}
		b.WriteString("  ...\n")
	}
	return b.String()
}

// oneLine gives text on one line, without what would steer a terminal.
func oneLine(s string) string { return diag.Printable(strings.Join(strings.Fields(s), " ")) }

// quoteYAML gives a text as a double-quoted YAML scalar in one line.
func quoteYAML(s string) string { return fmt.Sprintf("%q", s) }
