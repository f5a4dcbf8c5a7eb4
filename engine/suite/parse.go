package suite

import (
	"fmt"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// A draft is a suite as its file says it, before names are looked up.
type draft struct {
	suite    *Suite
	doc      *yamldoc.Document
	fixtures *fixtures
	tests    []testDraft
	warnings diag.List
}

// A testDraft is a test of which nothing has been looked up.
type testDraft struct {
	test
	aux        diag.Text // empty: none
	principals selection
	resources  selection
	expected   []expectation
	broken     bool // there are mistakes in it, so that names cannot be judged
}

// A selection is who or what is meant: by name, and by group.
type selection struct {
	names, groups []diag.Text
}

func (s selection) empty() bool { return len(s.names) == 0 && len(s.groups) == 0 }

type expectation struct {
	principals, resources selection
	actions               []expectedAction
	outputs               []actionOutputs
}

type expectedAction struct {
	action diag.Text
	expectedEffect
}

type actionOutputs struct {
	action  diag.Text
	outputs []*expectedOutput
}

// parse reads the file of a suite. What is wrong with it is in the document.
func parse(file, display string, content []byte) *draft {
	d := &draft{
		suite:    &Suite{File: file, Name: UnknownName},
		doc:      yamldoc.Parse(display, content),
		fixtures: newFixtures(),
	}
	root, ok := d.doc.Root()
	if !ok {
		if len(d.doc.Diagnostics()) == 0 {
			d.doc.Report(diag.Position{File: display, Line: 1, Column: 1}, EmptySuite, "the file holds no tests", "write some, or remove it")
		}
		return d
	}
	// $schema tells editors which JSON Schema the file follows.
	o, ok := root.Object("$schema", "name", "description", "skip", "skipReason", "options",
		"principals", "principalGroups", "resources", "resourceGroups", "auxData", "tests")
	if !ok {
		return d
	}
	d.suite.Name = requiredText(o, "name").Value
	d.suite.Description = text(o, "description")
	d.suite.Skip = flag(o, "skip")
	d.suite.SkipReason = text(o, "skipReason")
	d.fixtures.readPrincipals(o)
	d.fixtures.readResources(o)
	d.fixtures.readAuxData(o)
	options := readSettings(o)
	for _, n := range objects(o, "tests", "a suite without tests proves nothing; remove the file, or skip the suite with skip: true") {
		before := len(d.doc.Diagnostics())
		if t, ok := d.readTest(n, options); ok {
			t.broken = len(d.doc.Diagnostics()) > before
			d.tests = append(d.tests, t)
		}
	}
	return d
}

// readSettings reads the field options, which may be absent.
func readSettings(o yamldoc.Object) settings {
	var s settings
	n, ok := o.Given("options")
	if !ok {
		return s
	}
	o, ok = n.Object("now", "globals", "defaultPolicyVersion", "defaultScope", "lenientScopeSearch", "strictEvaluation")
	if !ok {
		return s
	}
	if n, ok := o.Given("now"); ok {
		s.now = instant(n)
	}
	s.globals = values(o, "globals", true)
	s.version = optionalText(o, "defaultPolicyVersion")
	s.scope = optionalText(o, "defaultScope")
	s.lenientScope = optionalBool(o, "lenientScopeSearch")
	s.strict = optionalBool(o, "strictEvaluation")
	return s
}

// readTest reads a test. Its options replace those of the suite as a whole.
func (d *draft) readTest(n yamldoc.Node, options settings) (testDraft, bool) {
	var t testDraft
	o, ok := n.Object("name", "description", "skip", "skipReason", "options", "input", "expected")
	if !ok {
		return t, false
	}
	t.name = requiredText(o, "name")
	t.description = text(o, "description")
	t.skip = flag(o, "skip")
	t.skipReason = text(o, "skipReason")
	t.options = options
	if _, ok := o.Given("options"); ok {
		t.options = readSettings(o)
	}
	if n, ok := o.Required("input"); ok {
		d.readInput(n, &t)
	}
	for _, n := range objects(o, "expected", "say at least what is denied: {principal: …, resource: …, actions: {view: EFFECT_DENY}}") {
		t.expected = append(t.expected, d.readExpectation(n))
	}
	return t, true
}

func (d *draft) readInput(n yamldoc.Node, t *testDraft) {
	o, ok := n.Object("principals", "principalGroups", "resources", "resourceGroups", "actions", "auxData")
	if !ok {
		return
	}
	for of, s := range map[side]*selection{principals: &t.principals, resources: &t.resources} {
		s.names, s.groups = texts(o, of.plural()), texts(o, of.groups())
		if s.empty() && isSound(o, of.plural()) && isSound(o, of.groups()) {
			n.Report(NobodyNamed, fmt.Sprintf("the input names no %s", of.plural()), fmt.Sprintf("add %s or %s", of.plural(), of.groups()))
		}
	}
	t.actions = requiredTexts(o, "actions")
	if n, ok := o.Field("auxData"); ok {
		t.aux, _ = n.Text()
	}
}

// isSound tells whether a list that gave no texts has none, as opposed to
// mistakes, which have been reported.
func isSound(o yamldoc.Object, name string) bool {
	n, ok := o.Given(name)
	if !ok {
		return true
	}
	if !n.IsSequence() {
		return false
	}
	list, _ := n.List()
	return len(list) == 0
}

func (d *draft) readExpectation(n yamldoc.Node) expectation {
	var e expectation
	o, ok := n.Object("principal", "principals", "principalGroups", "resource", "resources", "resourceGroups", "actions", "outputs")
	if !ok {
		return e
	}
	e.principals = readSelection(o, principals)
	e.resources = readSelection(o, resources)
	if n, ok := o.Required("actions"); ok {
		list, sound := n.Entries()
		if sound && len(list) == 0 {
			n.Report(EmptyList, "actions: at least one is required", "write as in {view: EFFECT_ALLOW}")
		}
		for _, a := range list {
			if a.Key.Value == "" {
				d.doc.Report(a.Key.Pos, yamldoc.EmptyText, "actions: an action must not be empty", "")
			}
			e.actions = append(e.actions, expectedAction{a.Key, expectedEffect{effect(a.Value), a.Key.Pos}})
		}
	}
	if n, ok := o.Given("outputs"); ok {
		list, _ := n.List()
		for _, n := range list {
			e.outputs = d.addOutputs(e.outputs, n)
		}
	}
	return e
}

func readSelection(o yamldoc.Object, of side) selection {
	s := selection{names: texts(o, of.plural()), groups: texts(o, of.groups())}
	sound := isSound(o, of.plural()) && isSound(o, of.groups())
	if n, ok := o.Field(of.String()); ok {
		t, isText := n.Text()
		sound = sound && isText
		switch {
		case t.Value == "":
		case len(s.names) > 0:
			n.Report(BothForms, fmt.Sprintf("%s and %s may not both be present", of, of.plural()), fmt.Sprintf("move %q into %s", t.Value, of.plural()))
		default:
			s.names = []diag.Text{t}
		}
	}
	if s.empty() && sound {
		o.Node().Report(NobodyNamed, fmt.Sprintf("the expectation names no %s", of), fmt.Sprintf("add %s, %s or %s", of, of.plural(), of.groups()))
	}
	return s
}

// addOutputs reads what outputs of one action should be. Of several entries
// for one action, or one source, the last counts.
func (d *draft) addOutputs(all []actionOutputs, n yamldoc.Node) []actionOutputs {
	o, ok := n.Object("action", "expected")
	if !ok {
		return all
	}
	a := actionOutputs{action: requiredText(o, "action")}
	for _, n := range objects(o, "expected", "write as in {src: …, val: …}") {
		o, ok := n.Object("src", "val", "action", "error")
		if !ok {
			continue
		}
		out := &expectedOutput{src: text(o, "src"), pos: n.Pos()}
		if n, ok := o.Given("val"); ok {
			out.val, _ = n.Value()
		}
		for i, before := range a.outputs {
			if before.src == out.src {
				d.shadowed(before.pos, "this output", out.pos)
				a.outputs = append(a.outputs[:i], a.outputs[i+1:]...)
				break
			}
		}
		a.outputs = append(a.outputs, out)
	}
	for i, before := range all {
		if before.action.Value == a.action.Value {
			d.shadowed(before.action.Pos, "these outputs", a.action.Pos)
			all = append(all[:i], all[i+1:]...)
			break
		}
	}
	return append(all, a)
}

func (d *draft) shadowed(pos diag.Position, what string, by diag.Position) {
	d.warnings = append(d.warnings, diag.Diagnostic{
		Pos: pos, Severity: diag.Warning, Code: Shadowed,
		Message: fmt.Sprintf("%s is not compared: a later entry of the same expectation takes its place", what),
		Hint:    "keep one of the two", Related: []diag.Related{{Pos: by, Message: "the later entry"}},
	})
}

// finish looks up all names and gives the suite, with its problems.
func (d *draft) finish(shared *sharedFixtures) *Suite {
	s := d.suite
	names := scope{d.fixtures, shared.fixtures}
	broken := len(d.doc.Diagnostics()) > 0
	names.checkGroups()
	var tests []*test
	if !s.Skip { // of a suite that is skipped, only the form must be right
		tests = d.resolve(names)
	}
	s.Warnings = append(d.warnings, shared.warnings...).Sorted()
	s.Problems = d.doc.Diagnostics()
	switch {
	case broken:
		s.Name, s.Description, s.Stage = UnknownName, "", "failed to load test suite"
	case len(shared.problems) > 0:
		s.Stage = "failed to load test fixtures from " + shared.folder
	case len(s.Problems) > 0:
		s.Stage = "failed to load the test suite"
	default:
		s.tests = tests
	}
	s.Problems = append(s.Problems, shared.problems...).Sorted()
	return s
}
