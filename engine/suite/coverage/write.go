package coverage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Text writes a table with a line for each policy, and below it what is not
// covered.
func (c *Coverage) Text(w io.Writer) error {
	out := bufio.NewWriter(w)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "rules\tbranches\trole × action\t \n")
	for _, p := range c.Policies() {
		fmt.Fprintf(table, "%s\t%s\t%s\t %s\n", p.Rules, p.Branches, p.Cells, p.Policy)
	}
	all := c.Summary()
	fmt.Fprintf(table, "%s\t%s\t%s\t all\n", all.Rules, all.Branches, all.Cells)
	table.Flush()
	if missing := c.missing(); len(missing) > 0 {
		fmt.Fprint(out, "\nnot covered:\n")
		for _, m := range missing {
			fmt.Fprintf(out, "  %s\n", m)
		}
	}
	fmt.Fprintf(out, "\ncoverage of rules and branches: %.1f%%\n", all.Overall().Percent())
	if len(c.routes) > 0 {
		fmt.Fprintf(out, "coverage of routes: %s, %.1f%%\n", c.RouteShare(), c.RouteShare().Percent())
	}
	return out.Flush()
}

// String gives a share as in 3/4, and a dash if there is nothing to cover.
func (s Share) String() string {
	if s.Total == 0 {
		return "–"
	}
	return fmt.Sprintf("%d/%d", s.Covered, s.Total)
}

// missing gives a line for each rule and each expression that is not covered.
func (c *Coverage) missing() []string {
	var out []string
	for _, r := range c.Rules() {
		switch {
		case r.Activated > 0:
		case r.Visited > 0:
			out = append(out, fmt.Sprintf("%s: rule %s was tried, and its condition never held", r.Pos, r.Name))
		default:
			out = append(out, fmt.Sprintf("%s: rule %s was never tried", r.Pos, r.Name))
		}
	}
	for _, e := range c.Expressions() {
		if what := e.missing(); what != "" {
			out = append(out, fmt.Sprintf("%s: %s %s", e.Pos, shorten(e.Text), what))
		}
	}
	for _, r := range c.Routes() {
		switch {
		case r.Allowed+r.Denied == 0:
			out = append(out, fmt.Sprintf("%s: route %s was never taken", r.Pos, r.Name))
		case r.Allowed == 0:
			out = append(out, fmt.Sprintf("%s: route %s was taken, and nothing passed", r.Pos, r.Name))
		case r.Denied == 0:
			out = append(out, fmt.Sprintf("%s: route %s was taken, and nothing was denied", r.Pos, r.Name))
		}
	}
	return out
}

// missing says which outcomes of an expression were not seen, "" if none.
func (e *Expression) missing() string {
	switch {
	case e.True > 0 && e.False > 0:
		return ""
	case e.True > 0:
		return "was never false"
	case e.False > 0:
		return "was never true"
	case e.Failed > 0:
		return "could never be evaluated"
	default:
		return "was never evaluated"
	}
}

// shorten gives an expression in one line of a bounded length.
func shorten(text string) string {
	const most = 60
	r := []rune(strings.Join(strings.Fields(text), " "))
	if len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(r)
}

// LCOV writes the coverage as a trace file of lcov: for each file of policies
// its rules as functions, their lines, and the two branches of each
// expression.
func (c *Coverage) LCOV(w io.Writer) error {
	out := bufio.NewWriter(w)
	rules, expressions := c.Rules(), c.Expressions()
	for _, file := range c.files() {
		fmt.Fprintf(out, "TN:edict\nSF:%s\n", file)
		lines := map[int]int{}
		var order []int
		hit := func(line, n int) {
			if _, ok := lines[line]; !ok {
				order = append(order, line)
			}
			lines[line] = max(lines[line], n)
		}
		var functions, branches Share
		for _, r := range rules {
			if r.Pos.File == file {
				fmt.Fprintf(out, "FN:%d,%s\nFNDA:%d,%[2]s\n", r.Pos.Line, lcovName(r.Policy+"#"+r.Name), r.Activated)
				functions.count(r.Activated > 0)
				hit(r.Pos.Line, r.Activated)
			}
		}
		fmt.Fprintf(out, "FNF:%d\nFNH:%d\n", functions.Total, functions.Covered)
		block := 0
		for _, e := range expressions {
			if e.Pos.File != file {
				continue
			}
			evaluated := e.True + e.False + e.Failed
			for branch, taken := range []int{e.True, e.False} {
				count := fmt.Sprint(taken)
				if evaluated == 0 {
					count = "-" // never reached, as lcov has it
				}
				fmt.Fprintf(out, "BRDA:%d,%d,%d,%s\n", e.Pos.Line, block, branch, count)
				branches.count(taken > 0)
			}
			block++
			hit(e.Pos.Line, evaluated)
		}
		fmt.Fprintf(out, "BRF:%d\nBRH:%d\n", branches.Total, branches.Covered)
		var covered Share
		for _, line := range order {
			fmt.Fprintf(out, "DA:%d,%d\n", line, lines[line])
			covered.count(lines[line] > 0)
		}
		fmt.Fprintf(out, "LF:%d\nLH:%d\nend_of_record\n", covered.Total, covered.Covered)
	}
	return out.Flush()
}

// lcovName gives a name without what separates fields and lines.
func lcovName(s string) string {
	return strings.NewReplacer(",", "_", "\n", "_", "\r", "_").Replace(s)
}

// files gives the files that have something to cover, in order.
func (c *Coverage) files() []string {
	var out []string
	for _, p := range c.Policies() {
		if len(out) == 0 || out[len(out)-1] != p.File {
			out = append(out, p.File)
		}
	}
	return out
}

type place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// JSON writes all that is known.
func (c *Coverage) JSON(w io.Writer) error {
	type jsonSummary struct {
		Summary
		Percent float64 `json:"percent"` // of rules and branches
	}
	type jsonPolicy struct {
		Policy string `json:"policy"`
		File   string `json:"file"`
		jsonSummary
	}
	type jsonRule struct {
		place
		*Rule
	}
	type jsonExpression struct {
		place
		*Expression
	}
	type jsonMatrix struct {
		place
		*Matrix
	}
	type jsonRoute struct {
		place
		*Route
	}
	var out struct {
		Summary     jsonSummary      `json:"summary"`
		Policies    []jsonPolicy     `json:"policies"`
		Rules       []jsonRule       `json:"rules"`
		Expressions []jsonExpression `json:"expressions"`
		Matrices    []jsonMatrix     `json:"matrices"`
		Routes      []jsonRoute      `json:"routes,omitempty"`
	}
	with := func(s Summary) jsonSummary { return jsonSummary{s, s.Overall().Percent()} }
	out.Summary = with(c.Summary())
	for _, p := range c.Policies() {
		out.Policies = append(out.Policies, jsonPolicy{p.Policy, p.File, with(p.Summary)})
	}
	for _, r := range c.Rules() {
		out.Rules = append(out.Rules, jsonRule{place{r.Pos.File, r.Pos.Line, r.Pos.Column}, r})
	}
	for _, e := range c.Expressions() {
		out.Expressions = append(out.Expressions, jsonExpression{place{e.Pos.File, e.Pos.Line, e.Pos.Column}, e})
	}
	for _, m := range c.Matrices() {
		out.Matrices = append(out.Matrices, jsonMatrix{place{m.Pos.File, m.Pos.Line, m.Pos.Column}, m})
	}
	for _, r := range c.Routes() {
		out.Routes = append(out.Routes, jsonRoute{place{r.Pos.File, r.Pos.Line, r.Pos.Column}, r})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
