package docs

import (
	"encoding/json"
	"strings"
	"testing"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

// TestPlanPage plans the conditions of the page about plans, each as that of the
// only rule.
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
	table, planned := false, 0
	for _, line := range strings.Split(page, "\n") {
		row := cells(line)
		if len(row) < 2 || len(row) > 3 {
			table = false
			continue
		}
		if row[0] == "condition" && row[1] == "plan" { // and why
			table = true
			continue
		}
		if !table || strings.HasPrefix(row[0], "-") {
			continue
		}
		planned++
		rule := map[string]any{"actions": []string{"list"}, "roles": []string{"user"}, "effect": "EFFECT_ALLOW",
			"condition": map[string]any{"match": map[string]any{"expr": plain(row[0])}}}
		content, err := json.Marshal(map[string]any{"apiVersion": "api.cerbos.dev/v1",
			"resourcePolicy": map[string]any{"resource": "doc", "version": "default", "rules": []any{rule}}})
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
		switch refusal, refused := strings.CutPrefix(row[1], "refused: "); {
		case refused != (err != nil):
			t.Errorf("%s: got %v (%v), want %s", row[0], plan, err, row[1])
		case refused && !strings.Contains(err.Error(), refusal):
			t.Errorf("%s: got %v, want %s", row[0], err, refusal)
		case !refused && plan.Debug() != plain(row[1]):
			t.Errorf("%s: got %s, want %s", row[0], plan.Debug(), row[1])
		}
	}
	if planned < 20 {
		t.Errorf("the page has %d plans", planned)
	}
}
