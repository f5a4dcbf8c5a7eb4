package coverage_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/suite/coverage"
	"edict/engine/value"
)

var update = flag.Bool("update", false, "write the expected reports anew")

// load gives the policies of testdata/policies, and the engine over them.
func load(t *testing.T) ([]*policy.Policy, *engine.PolicySet) {
	t.Helper()
	policies, list := policyfile.Load(os.DirFS("testdata/policies"))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	c, err := engine.NewCompiler(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	set, list := c.Compile(policies, nil)
	if set == nil {
		t.Fatal(list.Render())
	}
	return policies, set
}

// ask gives a request in one line: id roles kind action attr.
func ask(id, roles, kind, action string, attr value.Values) *engine.Request {
	return &engine.Request{
		Principal: engine.Principal{ID: id, Roles: strings.Split(roles, ",")},
		Resource:  engine.Resource{Kind: kind, ID: "1", Attr: attr},
		Actions:   []string{action},
	}
}

// state gives all that is noted, a line for each thing that was touched.
func state(c *coverage.Coverage) []string {
	var out []string
	for _, r := range c.Rules() {
		if r.Visited > 0 {
			out = append(out, fmt.Sprintf("rule %s#%s %d/%d", r.Policy, r.Name, r.Activated, r.Visited))
		}
	}
	for _, e := range c.Expressions() {
		if e.True+e.False+e.Failed > 0 {
			out = append(out, fmt.Sprintf("%s: %d true, %d false, %d failed", e.Text, e.True, e.False, e.Failed))
		}
	}
	for _, m := range c.Matrices() {
		for i, role := range m.Roles {
			for j, action := range m.Actions {
				if m.Decided[i][j] > 0 {
					out = append(out, fmt.Sprintf("cell %s %s×%s", m.Policy, role, action))
				}
			}
		}
	}
	return out
}

func TestExplain(t *testing.T) {
	policies, set := load(t)
	for _, c := range []struct {
		name    string
		request *engine.Request
		want    []string
	}{
		{"a rule without a condition", ask("a", "user", "doc", "view", nil), []string{
			"rule resource.doc.vdefault#see 1/1", "cell resource.doc.vdefault user×view"}},
		{"a rule for other roles", ask("a", "guest", "doc", "view", nil), nil},
		{"a condition that holds: the rest of any is not reached", ask("a", "user", "doc", "edit", value.Values{"owner": value.OfString("a"), "open": value.OfBool(true)}), []string{
			"rule resource.doc.vdefault#rule-002 1/1", "R.attr.owner == P.id: 1 true, 0 false, 0 failed", "cell resource.doc.vdefault user×edit"}},
		{"a condition that does not hold", ask("a", "user", "doc", "edit", value.Values{"owner": value.OfString("b"), "open": value.OfBool(false)}), []string{
			"rule resource.doc.vdefault#rule-002 0/1", "R.attr.owner == P.id: 0 true, 1 false, 0 failed", "R.attr.open: 0 true, 1 false, 0 failed", "cell resource.doc.vdefault user×edit"}},
		{"a condition that fails", ask("a", "user", "doc", "edit", nil), []string{
			"rule resource.doc.vdefault#rule-002 0/1", "R.attr.owner == P.id: 0 true, 0 false, 1 failed", "cell resource.doc.vdefault user×edit"}},
		{"a pattern of actions", ask("a", "admin", "doc", "print:all", nil), []string{
			"rule resource.doc.vdefault#printers 1/1", "cell resource.doc.vdefault admin×print:*"}},
		{"a principal policy decides alone", ask("root", "guest", "doc", "view", nil), []string{
			"rule principal.root.vdefault#doc_rule-001 1/1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			covered := coverage.New(policies)
			covered.Explain(set.Explain(c.request))
			if got := state(covered); !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// Of derived roles the expressions count, and the cells of those that are
// active.
func TestDerivedRoles(t *testing.T) {
	policies, set := load(t)
	covered := coverage.New(policies)
	covered.Explain(set.Explain(ask("a", "user", "doc", "delete", value.Values{"owner": value.OfString("a")})))
	covered.Explain(set.Explain(ask("a", "user", "doc", "delete", value.Values{"owner": value.OfString("b")})))
	got := state(covered)
	for _, want := range []string{"rule resource.doc.vdefault#owners 1/2", "cell resource.doc.vdefault owner×delete"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is missing in\n  %s", want, strings.Join(got, "\n  "))
		}
	}
	for _, e := range covered.Expressions() {
		if e.Policy == "derived_roles.roles" && (e.True == 0 || e.False == 0) {
			t.Errorf("of the derived role is noted %+v", e)
		}
	}
}

// What there is to cover does not depend on what was run.
func TestNothingRun(t *testing.T) {
	policies, _ := load(t)
	c := coverage.New(policies)
	s := c.Summary()
	if s.Rules != (coverage.Share{Total: 6}) || s.Branches != (coverage.Share{Total: 6}) || s.Cells.Covered != 0 || s.Cells.Total == 0 || s.Overall().Percent() != 0 {
		t.Errorf("got %+v", s)
	}
	if got := coverage.New(nil).Summary().Overall().Percent(); got != 100 {
		t.Errorf("of nothing, %v%% are covered", got)
	}
	// Places that hold nothing are not noted.
	c.Visit(policies[0].Pos, true)
	c.Evaluate(policies[0].Pos, coverage.True)
	c.Decide("resource.none.vdefault", "user", "view")
	if got := state(c); got != nil {
		t.Errorf("noted %q", got)
	}
}

// The reports are the files in testdata;
// go test ./engine/suite/coverage -update writes them.
func TestFormats(t *testing.T) {
	policies, set := load(t)
	c := coverage.New(policies)
	for _, r := range []*engine.Request{
		ask("a", "user", "doc", "view", nil),
		ask("a", "user", "doc", "edit", value.Values{"owner": value.OfString("b"), "open": value.OfBool(true)}),
		ask("a", "user", "doc", "edit", nil),
		ask("a", "user", "doc", "delete", value.Values{"owner": value.OfString("a")}),
	} {
		c.Explain(set.Explain(r))
	}
	for name, write := range map[string]func(*bytes.Buffer) error{
		"coverage.txt":  func(b *bytes.Buffer) error { return c.Text(b) },
		"coverage.json": func(b *bytes.Buffer) error { return c.JSON(b) },
		"coverage.lcov": func(b *bytes.Buffer) error { return c.LCOV(b) },
		"coverage.html": func(b *bytes.Buffer) error { return c.HTML(b) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("the report is not %s; got\n%s", file, got.Bytes())
		}
	}
	var b bytes.Buffer
	if err := c.JSON(&b); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("JSON: %v", err)
	}
}
