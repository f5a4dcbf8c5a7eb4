package explanation

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
	"edict/engine/value"
)

// What stands for a value in an expression.
func TestWith(t *testing.T) {
	for _, tc := range []struct{ expr, want string }{
		{"R.attr.amount <= P.attr.limit", "1200 <= 1000"},
		{"R.attr.amount <= 1000", "1200 <= 1000"},
		{"R.attr.flag", ""}, // its outcome says it
		{"!R.attr.flag", "!false"},
		{"R.attr.amount <= P.attr.limit || R.attr.flag", "1200 <= 1000 || false → false || false"},
		{"R.attr.tags.exists(t, t == P.id)", `["a","b"].exists(t, t == "ann")`},
		{"size(R.attr.tags) > 2", `size(["a","b"]) > 2 → 2 > 2`},
		{"R.attr.absent == 1", ""},
		{"P.id == 'ann' &&\n  R.attr.amount > 0", `"ann" == 'ann' && 1200 > 0 → true && true`},
		{`R.attr["amount"] > 0 && "é" != P.id`, `1200 > 0 && "é" != "ann" → true && true`},
		{"1 == 2", ""},
		{"R.attr.long == ''", `"` + strings.Repeat("x", 57) + `…" == ''`},
	} {
		ps, list := engine.Compile(policies(t, tc.expr), engine.Options{})
		if ps == nil {
			t.Fatal(list.Render())
		}
		req := &engine.Request{
			Principal: engine.Principal{ID: "ann", Roles: []string{"x"}, Attr: value.Attributes{"limit": 1000}},
			Resource:  engine.Resource{Kind: "doc", Attr: value.Attributes{"amount": 1200, "flag": false, "tags": []any{"a", "b"}, "long": strings.Repeat("x", 100)}},
			Actions:   []string{"a"},
		}
		d := New(ps, req, ps.Explain(req), nil)
		if got := strings.Join(d.Actions[0].Steps[0].Rules[0].Condition.With, " → "); got != tc.want {
			t.Errorf("%s is shown with\n%s\nwant\n%s", tc.expr, got, tc.want)
		}
	}
}

func policies(t *testing.T, expr string) []*policy.Policy {
	t.Helper()
	quoted, err := json.Marshal(expr)
	if err != nil {
		t.Fatal(err)
	}
	p, list := policyfile.Parse("doc.yaml", []byte(`{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": {"resource": "doc", "version": "default", "rules": [
		{"actions": ["a"], "effect": "EFFECT_ALLOW", "roles": ["*"], "condition": {"match": {"expr": `+string(quoted)+`}}}]}}`))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return []*policy.Policy{p}
}

func TestPlain(t *testing.T) {
	for _, tc := range []struct {
		value value.Value
		want  string
	}{
		{value.OfInt(math.MaxInt64), "9223372036854775807"},
		{value.OfDouble(1.5), "1.5"},
		{value.OfDouble(math.NaN()), `"NaN"`},
		{value.OfDouble(math.Inf(-1)), `"-Inf"`},
		{value.OfTime(time.Date(2026, 3, 2, 10, 0, 0, 5, time.UTC)), `"2026-03-02T10:00:00.000000005Z"`},
		{value.OfDuration(90 * time.Minute), `"1h30m0s"`},
		{value.OfNull(), "null"},
		{value.OfOpaque("an address"), `"an address"`},
		{value.Of(map[string]any{"b": []any{true, nil, "<&>"}, "a": 1}), `{"a":1,"b":[true,null,"<&>"]}`},
	} {
		if got := short(plain(tc.value)); got != tc.want {
			t.Errorf("%v is %s, want %s", tc.value, got, tc.want)
		}
	}
}

func TestPathText(t *testing.T) {
	for want, path := range map[string][]string{
		"amount": {"amount"}, "geo.city": {"geo", "city"}, `"a-b"`: {"a-b"}, `limits["a b"].x`: {"limits", "a b", "x"},
	} {
		if got := pathText(path); got != want {
			t.Errorf("%q is written %s, want %s", path, got, want)
		}
	}
}

// Whatever policies and requests there are, the first lines of the text are the
// decisions, the JSON is well-formed and says the same, and both are the same
// every time.
func TestEveryDecisionCanBeShown(t *testing.T) {
	for n := range uint64(12) {
		generator := oracle.NewGenerator(20_261_125, n)
		set := generator.Set()
		compiler, err := engine.NewCompiler(engine.Options{
			LenientEvaluation: set.Options.LenientEvaluation, Globals: set.Options.Globals, SchemaEnforcement: set.Options.SchemaEnforcement,
		})
		if err != nil {
			t.Fatal(err)
		}
		ps, list := compiler.Compile(set.Policies, schema.New(oracle.SchemaFiles()))
		if ps == nil {
			t.Fatal(list.Render())
		}
		for range 4 {
			req := generator.Request(set)
			req.Now = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
			var forms [2]string
			for i := range forms {
				var searches []*engine.FlipSearch
				for _, action := range req.Actions {
					searches = append(searches, ps.Flips(req, action, engine.FlipLimits{Flips: 2, Checks: 50}))
				}
				d := New(ps, req, ps.Explain(req), searches)
				var text, form bytes.Buffer
				if err := Text(&text, []*Document{d}, TextOptions{}); err != nil {
					t.Fatal(err)
				}
				if err := JSON(&form, []*Document{d}); err != nil {
					t.Fatal(err)
				}
				var back struct{ Results []Document }
				if err := json.Unmarshal(form.Bytes(), &back); err != nil || len(back.Results) != 1 || len(back.Results[0].Actions) != len(req.Actions) {
					t.Fatalf("%v\n%s", err, form.String())
				}
				lines := strings.Split(text.String(), "\n")
				for j, a := range back.Results[0].Actions {
					effect := "is denied"
					if a.Effect == engine.Allow.String() {
						effect = "is allowed"
					}
					if !strings.HasPrefix(text.String(), back.Results[0].Actions[0].Summary) || !strings.Contains(a.Summary, effect) {
						t.Fatalf("%s is %s; the text is\n%s", a.Action, a.Effect, lines[j])
					}
				}
				forms[i] = text.String() + form.String()
			}
			if forms[0] != forms[1] {
				t.Fatalf("set %d: one time\n%s\nanother time\n%s", n, forms[0], forms[1])
			}
		}
	}
}
