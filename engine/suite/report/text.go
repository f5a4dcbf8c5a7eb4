package report

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/suite"
)

// TextOptions say how Text shows a report.
type TextOptions struct {
	List    bool // indents in place of the branches of a tree
	Verbose bool // shows what passed, too
	Color   bool
}

// Text writes a report for people to read: a line for each suite, and below it
// all that failed or could not be had.
func Text(w io.Writer, r *suite.Report, o TextOptions) error {
	t := &text{options: o}
	for i := range r.Suites {
		t.suite(&r.Suites[i])
	}
	out := bufio.NewWriter(w)
	if len(r.Suites) == 0 {
		fmt.Fprintln(out, "no tests were found")
		return out.Flush()
	}
	for _, n := range t.roots {
		n.clean(o.Color)
		n.write(out, "", "", o.List)
	}
	if len(t.roots) > 0 {
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out, strings.TrimRight(plural(r.Summary.Tests(), "result")+" "+t.counts(&r.Summary, broken(r)), " "))
	return out.Flush()
}

// broken counts the suites that could not be run.
func broken(r *suite.Report) int {
	n := 0
	for i := range r.Suites {
		if len(r.Suites[i].Problems) > 0 {
			n++
		}
	}
	return n
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// A node is a line of the tree, with the lines below it.
type node struct {
	label    string
	details  []string // lines that belong to the label
	children []*node
}

// child gives the last child if it has the label, otherwise a new one.
func (n *node) child(label string) *node {
	if k := len(n.children); k > 0 && n.children[k-1].label == label {
		return n.children[k-1]
	}
	c := &node{label: label}
	n.children = append(n.children, c)
	return c
}

// ownColor is what colors text here.
var ownColor = regexp.MustCompile("\x1b\\[[0-9]+m")

// clean takes out of a node what would steer a terminal, or begin a line that
// is no line of the tree. All its texts but the colors are other people's.
func (n *node) clean(colored bool) {
	plain := func(s string) string { return strings.ReplaceAll(diag.Printable(s), "\n", "\uFFFD") }
	clean := func(s string) string {
		var b strings.Builder
		if colored {
			for at := ownColor.FindStringIndex(s); at != nil; at = ownColor.FindStringIndex(s) {
				b.WriteString(plain(s[:at[0]]) + s[at[0]:at[1]])
				s = s[at[1]:]
			}
		}
		return b.String() + plain(s)
	}
	n.label = clean(n.label)
	for i, d := range n.details {
		n.details[i] = clean(d)
	}
	for _, c := range n.children {
		c.clean(colored)
	}
}

// write writes a node. The label stands behind head, all below it behind tail.
func (n *node) write(w io.Writer, head, tail string, list bool) {
	fmt.Fprintf(w, "%s%s\n", head, n.label)
	for _, d := range n.details {
		bar := "    "
		if len(n.children) > 0 && !list {
			bar = "│   "
		}
		fmt.Fprintf(w, "%s\n", strings.TrimRight(tail+bar+d, " "))
	}
	for i, c := range n.children {
		switch {
		case list:
			c.write(w, tail+"  ", tail+"  ", list)
		case i == len(n.children)-1:
			c.write(w, tail+"└─ ", tail+"   ", list)
		default:
			c.write(w, tail+"├─ ", tail+"│  ", list)
		}
	}
}

type text struct {
	options TextOptions
	roots   []*node
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

func (t *text) color(code, s string) string {
	if !t.options.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// counts gives how many results ended how, as in [2 passed, 1 failed].
func (t *text) counts(s *suite.Summary, broken int) string {
	var parts []string
	add := func(n int, what, code string) {
		if n > 0 {
			parts = append(parts, t.color(code, fmt.Sprintf("%d %s", n, what)))
		}
	}
	add(s.Counts[suite.Passed], "passed", green)
	add(s.Counts[suite.Skipped], "skipped", yellow)
	add(s.Counts[suite.Failed], "failed", red)
	add(s.Counts[suite.Errored], "errored", red)
	if broken > 0 {
		parts = append(parts, t.color(red, plural(broken, "suite")+" could not be run"))
	}
	if len(parts) == 0 {
		return ""
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (t *text) suite(s *suite.SuiteReport) {
	if isOmitted(s) && !t.options.Verbose {
		return
	}
	root := &node{label: t.color(bold, s.Name) + " " + t.color(faint, "("+s.File+")")}
	if s.Name == suite.UnknownName {
		root.label = t.color(bold, s.File)
	}
	t.roots = append(t.roots, root)
	switch {
	case len(s.Problems) > 0:
		root.label += " " + t.color(red, "[could not be run]")
		root.details = append(root.details, s.Stage+":")
		for _, p := range s.Problems {
			root.details = append(root.details, lines(p.Render())...)
		}
		return
	case s.Skip:
		root.label += " " + t.color(yellow, "[skipped]") + because(s.SkipReason)
		return
	}
	root.label += " " + t.counts(&s.Summary, 0)
	for i := range s.Results {
		r := &s.Results[i]
		if r.Omitted || !t.options.Verbose && (r.Status == suite.Passed || r.Filtered) {
			continue
		}
		n := root.child(r.Test).child(r.Principal).child(r.Resource)
		leaf := &node{label: r.Action + " " + t.status(r)}
		leaf.details = t.result(r)
		n.children = append(n.children, leaf)
	}
}

// isOmitted tells whether a filter left all of a suite out.
func isOmitted(s *suite.SuiteReport) bool {
	return len(s.Results) > 0 && s.Summary.Tests() == 0
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + oneLine(reason)
}

func lines(s string) []string { return strings.Split(strings.TrimRight(s, "\n"), "\n") }

func (t *text) status(r *suite.Result) string {
	switch r.Status {
	case suite.Passed:
		return t.color(green, "[passed]")
	case suite.Skipped:
		return t.color(yellow, "[skipped]") + because(r.SkipReason)
	case suite.Failed:
		return t.color(red, "[failed]")
	default:
		return t.color(red, "[errored]")
	}
}

// result gives the lines below a result.
func (t *text) result(r *suite.Result) []string {
	switch r.Status {
	case suite.Skipped:
		return nil
	case suite.Errored:
		out := lines(r.Err)
		if r.Hint != "" {
			out = append(out, "hint: "+r.Hint)
		}
		return out
	case suite.Passed:
		out := []string{"effect " + r.Actual.String()}
		for _, o := range r.Outputs {
			actual := compact(o.Val)
			if o.Err != "" {
				actual = "error: " + o.Err
			}
			out = append(out, "output "+o.Src+" "+actual)
		}
		return append(out, explain(r)...)
	}
	var out []string
	if r.Actual != r.Expected {
		out = append(out, t.color(green, "- expected "+r.Expected.String())+"  "+t.color(faint, expectedBy(r)),
			t.color(red, "+ actual   "+r.Actual.String()))
	}
	for _, m := range r.Mismatches {
		out = append(out, fmt.Sprintf("output %s  %s", m.Src, t.color(faint, "expected at "+m.At.String())))
		for _, d := range diffOf(m) {
			code := green
			if strings.HasPrefix(d, "+") {
				code = red
			}
			out = append(out, "  "+t.color(code, d))
		}
	}
	for _, line := range explain(r) {
		out = append(out, t.color(faint, line))
	}
	if r.Reason == engine.ReasonError && r.Expected == engine.Allow {
		// Cerbos does not deny here by default, so tests that came from there
		// may fail for this alone.
		out = append(out, "hint: under strict evaluation an error denies; guard the condition with has(…), or test with --strict-evaluation=false")
	}
	return out
}

// expectedBy says where the file expects what it expects.
func expectedBy(r *suite.Result) string {
	if r.Named {
		return "at " + r.ExpectedAt.String()
	}
	return fmt.Sprintf("since no expectation of the test at %s names it", r.ExpectedAt)
}

// explain says how a decision came about.
func explain(r *suite.Result) []string {
	var out []string
	where := ""
	if r.Scope != "" {
		where = " in scope " + r.Scope
	}
	switch {
	case r.Rule != nil:
		out = append(out, fmt.Sprintf("decided by rule %s of %s%s (%s)", r.Rule.Name, r.Rule.Policy, where, r.Rule.Pos))
	case r.Reason == engine.ReasonNoPolicy:
		out = append(out, "denied, since no policy is about this kind of resource in this version and scope")
	case r.Reason == engine.ReasonNoRule:
		out = append(out, fmt.Sprintf("denied, since no rule of %s%s allows it", r.Policy, where))
	case r.Reason == engine.ReasonSchema:
		out = append(out, fmt.Sprintf("denied, since attributes break the schema of %s", r.Policy))
	case r.Reason == engine.ReasonError:
		out = append(out, fmt.Sprintf("denied, since a condition could not be evaluated (%s%s)", r.Policy, where))
	case r.Policy != "":
		out = append(out, fmt.Sprintf("decided by %s%s", r.Policy, where))
	}
	if r.Cause != nil {
		out = append(out, "error: "+oneLine(r.Cause.Error()))
	}
	for _, v := range r.Violations {
		out = append(out, fmt.Sprintf("%s%s: %s", v.Source, v.Path, v.Message))
	}
	return out
}
