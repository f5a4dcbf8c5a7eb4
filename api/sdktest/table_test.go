package sdktest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A table is cases.yaml.
type table struct {
	Tokens map[string]string
	Cases  []testCase
}

// A testCase is one call. Its fields are for the runners, which are given them
// as they are; these are looked at here.
type testCase struct {
	fields map[string]any

	Name       string
	Nowhere    bool   // where nobody listens
	AnyMessage bool   `yaml:"anyMessage"` // of an error the code counts alone
	Edict      any    // the members of Edict's answer that are not those of Cerbos
	Why        string // where that is documented: page.md#heading
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *testCase) UnmarshalYAML(n *yaml.Node) error {
	type plain testCase
	if err := n.Decode((*plain)(c)); err != nil {
		return err
	}
	return n.Decode(&c.fields)
}

// MarshalJSON implements json.Marshaler.
func (c testCase) MarshalJSON() ([]byte, error) { return json.Marshal(c.fields) }

func readTable(t *testing.T) *table {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out table
	if err := yaml.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, c := range out.Cases {
		if c.Name == "" || names[c.Name] {
			t.Fatalf("the name %q is empty, or there twice", c.Name)
		}
		names[c.Name] = true
		if (c.Edict == nil) != (c.Why == "") {
			t.Errorf("%s: \"edict\" and \"why\" belong together", c.Name)
		}
		if c.Why == "" {
			continue
		}
		page, heading, _ := strings.Cut(c.Why, "#")
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.ToLower(string(text)), "\n## "+heading+"\n") {
			t.Errorf("%s: %s has no heading %q", c.Name, page, heading)
		}
	}
	return &out
}

func (tb *table) named(t *testing.T, name string) *testCase {
	t.Helper()
	for i := range tb.Cases {
		if tb.Cases[i].Name == name {
			return &tb.Cases[i]
		}
	}
	t.Fatalf("a runner answered %q, which is no case", name)
	return nil
}

// answers are those of every client, by case and client.
type answers map[string]map[string]any

// add takes an answer, in canonical form. Over every transport it must be the
// same.
func (as answers) add(t *testing.T, c *testCase, a answer) {
	t.Helper()
	if m, ok := a.Answer.(map[string]any); ok && (c.Nowhere || c.AnyMessage) {
		delete(m, "message") // where nobody listens it is the client's own
	}
	a.Answer = canonical(a.Answer)
	if as[a.Case] == nil {
		as[a.Case] = map[string]any{}
	}
	if before, ok := as[a.Case][a.Client]; ok && !reflect.DeepEqual(before, a.Answer) {
		t.Errorf("%s, %s: over %s another answer than before\ngot  %s\nwant %s", a.Case, a.Client, a.Transport, text(a.Answer), text(before))
		return
	}
	as[a.Case][a.Client] = a.Answer
}

// compare fails the test where answers of Edict are not what the table wants,
// or missing. Clients of languages that did not run are left out.
func (as answers) compare(t *testing.T, tb *table, want answers, ran map[string]bool) {
	t.Helper()
	for _, c := range tb.Cases {
		clients := maps.Clone(want[c.Name])
		for client := range as[c.Name] {
			if _, ok := clients[client]; !ok {
				t.Errorf("%s, %s: an answer that was never recorded: %s", c.Name, client, text(as[c.Name][client]))
			}
		}
		for _, client := range slices.Sorted(maps.Keys(clients)) {
			if !ran[language(client)] {
				continue
			}
			wanted := clients[client]
			if c.Edict != nil && *cerbos == "" {
				wanted = overlaid(wanted, canonical(c.Edict))
			}
			got, ok := as[c.Name][client]
			if !ok {
				t.Errorf("%s, %s: no answer", c.Name, client)
			} else if !reflect.DeepEqual(got, wanted) {
				t.Errorf("%s, %s:\ngot  %s\nwant %s", c.Name, client, text(got), text(wanted))
			}
		}
		if len(clients) == 0 {
			t.Errorf("%s: no answers were recorded", c.Name)
		}
	}
	for name := range want {
		if !slices.ContainsFunc(tb.Cases, func(c testCase) bool { return c.Name == name }) {
			t.Errorf("%s: recorded, but no case", name)
		}
	}
}

// overlaid gives an answer of Cerbos with those members changed that Edict
// answers in its own way. A member that the client does not show is left out,
// and null stands for one that Edict leaves out.
func overlaid(answer, edict any) any {
	from, ok := answer.(map[string]any)
	changes, both := edict.(map[string]any)
	if !ok || !both {
		return edict
	}
	out := maps.Clone(from)
	for member, change := range changes {
		if _, shown := out[member]; !shown {
			continue
		}
		if out[member] = change; change == nil {
			delete(out, member)
		}
	}
	return out
}

// canonical gives an answer in a form in which equal ones are deeply equal:
// what has no order is sorted.
func canonical(v any) any {
	b, err := json.Marshal(v)
	if err == nil {
		v = nil
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		panic(fmt.Sprintf("an answer is no JSON: %v", err)) // it was JSON or YAML
	}
	sortUnordered(v)
	return v
}

func sortUnordered(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			sortUnordered(e)
		}
	case map[string]any:
		for _, e := range v {
			sortUnordered(e)
		}
		for _, key := range []string{"validationErrors", "effectiveDerivedRoles"} {
			if list, ok := v[key].([]any); ok {
				slices.SortFunc(list, byText)
			}
		}
		switch operands, _ := v["operands"].([]any); v["operator"] {
		case "and", "or", "eq", "ne", "add", "mult":
			slices.SortFunc(operands, byText)
		}
	}
}

func byText(a, b any) int { return cmp.Compare(text(a), text(b)) }

func text(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// A group is an answer with the clients that got it, as answers.json has it.
type group struct {
	Clients []string `json:"clients"`
	Answer  any      `json:"answer"`
}

func readAnswers(t *testing.T, name string) answers {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var groups map[string][]group
	if err := json.Unmarshal(b, &groups); err != nil {
		t.Fatal(err)
	}
	out := answers{}
	for name, list := range groups {
		out[name] = map[string]any{}
		for _, g := range list {
			for _, client := range g.Clients {
				out[name][client] = g.Answer
			}
		}
	}
	return out
}

// write writes the answers with one line for each group.
func (as answers) write(t *testing.T, file string) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("{")
	for i, name := range slices.Sorted(maps.Keys(as)) {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n  %s: [", text(name))
		var groups []group
		for _, client := range slices.Sorted(maps.Keys(as[name])) {
			answer := as[name][client]
			at := slices.IndexFunc(groups, func(g group) bool { return reflect.DeepEqual(g.Answer, answer) })
			if at < 0 {
				at, groups = len(groups), append(groups, group{Answer: answer})
			}
			groups[at].Clients = append(groups[at].Clients, client)
		}
		for i, g := range groups {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "\n    %s", text(g))
		}
		b.WriteString("\n  ]")
	}
	b.WriteString("\n}\n")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
