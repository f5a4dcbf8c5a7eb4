package suite

import (
	"fmt"
	"reflect"
	"strings"

	"edict/engine/diag"
	"edict/engine/value"
)

// resolve looks up what the tests name, and lays out what they expect.
func (d *draft) resolve(names scope) []*test {
	var tests []*test
	first := map[string]diag.Position{}
	for i := range d.tests {
		t := &d.tests[i]
		if t.name.Value != "" {
			if pos, ok := first[t.name.Value]; ok {
				d.doc.ReportRelated(t.name.Pos, DuplicateTest, fmt.Sprintf("another test is called %q", t.name.Value), "give each test a name of its own",
					diag.Related{Pos: pos, Message: "the first one"})
			} else {
				first[t.name.Value] = t.name.Pos
			}
		}
		if !t.broken {
			d.resolveTest(t, names)
		}
		tests = append(tests, &t.test)
	}
	return tests
}

func (d *draft) resolveTest(t *testDraft, names scope) {
	if t.aux.Value != "" {
		a, known := names.aux(t.aux.Value)
		if a == nil {
			d.unknown(t.aux, "auxData", known)
		}
		t.test.aux = a
	}
	who := d.members(t.principals, principals, names)
	what := d.members(t.resources, resources, names)
	cells := map[[2]string]*cell{}
	t.cells = make([]cell, 0, len(who)*len(what))
	for _, p := range who {
		for _, r := range what {
			t.cells = append(t.cells, cell{
				principalName: p.Value, resourceName: r.Value,
				principal: names.principal(p.Value), resource: names.resource(r.Value),
			})
			cells[[2]string{p.Value, r.Value}] = &t.cells[len(t.cells)-1]
		}
	}
	for i := range t.expected {
		e := &t.expected[i]
		d.checkActions(t, e)
		people := d.within(d.members(e.principals, principals, names), who, principals)
		things := d.within(d.members(e.resources, resources, names), what, resources)
		for _, p := range people {
			for _, r := range things {
				d.expect(cells[[2]string{p.Value, r.Value}], e)
			}
		}
	}
}

func (d *draft) unknown(name diag.Text, what string, known []string) {
	d.doc.Report(name.Pos, UnknownFixture, fmt.Sprintf("there is no %s called %q", what, name.Value), didYouMean(name.Value, known))
}

// didYouMean hints at what may have been meant, or at all there is.
func didYouMean(name string, known []string) string {
	if hint := diag.DidYouMean(name, known); hint != "" {
		return hint
	}
	if len(known) == 0 || len(known) > 8 {
		return "define it in the suite, or in the folder testdata beside it"
	}
	return "known: " + strings.Join(sorted(known), ", ")
}

// members gives the names of a selection, then those of its groups that are
// not among them. Names that nothing defines are reported and left out.
func (d *draft) members(s selection, of side, names scope) []diag.Text {
	var out []diag.Text
	seen := map[string]bool{}
	for _, n := range s.names {
		if !names.has(of, n.Value) {
			d.unknown(n, of.String(), names.names(of))
			continue
		}
		seen[n.Value] = true
		out = append(out, n)
	}
	for _, g := range s.groups {
		found, known, ok := names.group(of, g.Value)
		if !ok {
			d.unknown(g, of.String()+" group", known)
			continue
		}
		for _, m := range found.members {
			if !seen[m.Value] && names.has(of, m.Value) { // reported where the group is defined
				seen[m.Value] = true
				out = append(out, diag.Text{Value: m.Value, Pos: g.Pos})
			}
		}
	}
	return out
}

// within leaves out, and reports, what the input of the test does not have.
func (d *draft) within(expected, input []diag.Text, of side) []diag.Text {
	known := plain(input)
	out := expected[:0:0]
	for _, e := range expected {
		if contains(input, e.Value) {
			out = append(out, e)
			continue
		}
		d.doc.Report(e.Pos, OutsideInput, fmt.Sprintf("the input of the test has no %s %q", of, e.Value), outsideHint(e.Value, known, of.plural()))
	}
	return out
}

func outsideHint(name string, known []string, where string) string {
	if hint := diag.DidYouMean(name, known); hint != "" {
		return hint
	}
	return fmt.Sprintf("add it to input.%s, or remove the expectation", where)
}

func (d *draft) checkActions(t *testDraft, e *expectation) {
	check := func(a diag.Text) {
		if a.Value != "" && !contains(t.actions, a.Value) {
			d.doc.Report(a.Pos, OutsideInput, fmt.Sprintf("the input of the test has no action %q", a.Value), outsideHint(a.Value, plain(t.actions), "actions"))
		}
	}
	for _, a := range e.actions {
		check(a.action)
	}
	for _, o := range e.outputs {
		check(o.action)
	}
}

// expect adds an expectation to a cell. Saying the same thing twice is fine.
func (d *draft) expect(c *cell, e *expectation) {
	if c.expected == nil {
		c.expected = &expected{effects: map[string]expectedEffect{}, outputs: map[string][]*expectedOutput{}}
	}
	for _, a := range e.actions {
		before, ok := c.expected.effects[a.action.Value]
		if ok && before.effect != a.effect {
			d.contradiction(a.pos, fmt.Sprintf("%s of %s on %s is expected to be %s and %s", a.action.Value, c.principalName, c.resourceName, before.effect, a.effect), before.pos)
			continue
		}
		if !ok {
			c.expected.effects[a.action.Value] = a.expectedEffect
		}
	}
	for _, o := range e.outputs {
		for _, out := range o.outputs {
			d.expectOutput(c, o.action.Value, out)
		}
	}
}

func (d *draft) expectOutput(c *cell, action string, out *expectedOutput) {
	for _, before := range c.expected.outputs[action] {
		if before.src == out.src {
			if !equal(before.val, out.val) {
				d.contradiction(out.pos, fmt.Sprintf("the output %s of %s by %s on %s is expected to be two things", out.src, action, c.principalName, c.resourceName), before.pos)
			}
			return
		}
	}
	c.expected.outputs[action] = append(c.expected.outputs[action], out)
}

func (d *draft) contradiction(pos diag.Position, message string, before diag.Position) {
	d.doc.ReportRelated(pos, Contradiction, message, "keep one of the two", diag.Related{Pos: before, Message: "the other expectation"})
}

// equal tells whether two JSON values are the same. An absent value is equal
// to an absent one alone.
func equal(a, b value.Value) bool {
	return (a.Kind() == value.Absent) == (b.Kind() == value.Absent) && reflect.DeepEqual(a.Native(), b.Native())
}

func contains(list []diag.Text, s string) bool {
	for _, t := range list {
		if t.Value == s {
			return true
		}
	}
	return false
}

func plain(list []diag.Text) []string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = t.Value
	}
	return out
}
