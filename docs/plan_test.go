package docs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

// TestPlanPage plans the conditions of the page about plans, each row of a table
// as a policy.
func TestPlanPage(t *testing.T) {
	page := read(t, "docs/plan.md")
	var principal struct {
		ID    string
		Roles []string
		Attr  value.Attributes
	}
	for _, b := range blocks(page) {
		if b.info == "json principal" {
			if err := json.Unmarshal([]byte(b.text), &principal); err != nil {
				t.Fatal(err)
			}
		}
	}
	var columns []string
	planned := 0
	for _, line := range strings.Split(page, "\n") {
		row := cells(line)
		switch {
		case len(row) != len(columns):
			columns = nil
		case strings.HasPrefix(row[0], "-"):
			continue
		}
		if columns == nil {
			if slices.Contains(row, "plan") {
				columns = row
			}
			continue
		}
		planned++
		var rules []any
		want := ""
		for i, cell := range row {
			switch columns[i] {
			case "plan":
				want = cell
			case "condition", "allowed if", "also if":
				rules = append(rules, planRule("ALLOW", cell)...)
			case "denied if":
				rules = append(rules, planRule("DENY", cell)...)
			}
		}
		content, err := json.Marshal(map[string]any{"apiVersion": "api.cerbos.dev/v1",
			"resourcePolicy": map[string]any{"resource": "doc", "version": "default", "rules": rules}})
		if err != nil {
			t.Fatal(err)
		}
		parsed, diagnostics := policyfile.Parse("doc.json", content)
		if len(diagnostics) > 0 {
			t.Fatalf("%s: %s", row[0], diagnostics.Render())
		}
		set, diagnostics := engine.Compile([]*policy.Policy{parsed}, engine.Options{})
		if set == nil {
			t.Errorf("%s: %s", row[0], diagnostics.Render())
			continue
		}
		plan, err := set.Plan(t.Context(), &engine.PlanRequest{Principal: engine.Principal{ID: principal.ID, Roles: principal.Roles, Attr: principal.Attr},
			Resource: engine.Resource{Kind: "doc"}, Actions: []string{"list"}})
		switch refusal, refused := strings.CutPrefix(want, "refused: "); {
		case refused != (err != nil):
			t.Errorf("%s: got %v (%v), want %s", row[0], plan, err, want)
		case refused && !strings.Contains(err.Error(), refusal):
			t.Errorf("%s: got %v, want %s", row[0], err, refusal)
		case !refused && plan.Debug() != plain(want):
			t.Errorf("%s: got %s, want %s", row[0], plan.Debug(), want)
		}
	}
	if planned < 50 {
		t.Errorf("the page has %d plans", planned)
	}
}

// planRule is the rule of a condition, if a cell has one.
func planRule(effect, cell string) []any {
	if cell == "" {
		return nil
	}
	return []any{map[string]any{"actions": []string{"list"}, "roles": []string{"user"}, "effect": "EFFECT_" + effect,
		"condition": map[string]any{"match": map[string]any{"expr": plain(cell)}}}}
}
