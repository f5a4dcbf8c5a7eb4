package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/internal/oracle"
	"edict/engine/policy"
)

// propertyPairs is how many pairs of a policy set and a request the property
// test compares: EDICT_PROPERTY_PAIRS if it is set.
func propertyPairs(t *testing.T) int {
	if n := environmentNumber(t, "EDICT_PROPERTY_PAIRS"); n > 0 {
		return int(n)
	}
	if testing.Short() || oracle.Race {
		return 3_000
	}
	return 40_000
}

func environmentNumber(t *testing.T, name string) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// On random policies and requests, the engine answers what a slow and obvious
// interpreter of the same policies answers.
func TestCheckEqualsReference(t *testing.T) {
	const requestsPerSet, reported = 40, 5
	seed := uint64(20_240_501)
	if n := environmentNumber(t, "EDICT_PROPERTY_SEED"); n > 0 {
		seed = n
	}
	pairs := propertyPairs(t)
	t.Logf("seed %d, %d pairs; EDICT_PROPERTY_SEED and EDICT_PROPERTY_PAIRS change them", seed, pairs)

	failures := 0
	var d engine.Decision // one for all, as a server does
	outcomes := map[engine.Reason]int{}
	for n := uint64(0); int(n)*requestsPerSet < pairs; n++ {
		generator := oracle.NewGenerator(seed, n)
		set := generator.Set()
		compiled, diagnostics := compile(set)
		if compiled == nil {
			t.Errorf("seed %d, set %d does not compile:\n%s", seed, n, diagnostics)
			if failures++; failures == reported {
				t.FailNow()
			}
			continue
		}
		reference := oracle.New(set.Policies, set.Options)
		for i := range requestsPerSet {
			req := generator.Request(set)
			compiled.Check(req, &d)
			if difference(reference.Check(req).Results, d.Results) == "" {
				for i := range d.Results {
					outcomes[d.Results[i].Reason]++
				}
				continue
			}
			small := oracle.Shrink(oracle.Case{Set: set, Request: req}, 4000, differs)
			t.Errorf("seed %d, set %d, request %d; made smaller:\n%s%s\n%s\n%s", seed, n, i,
				small.Set.YAML(), optionsText(small.Set.Options), oracle.RequestJSON(small.Request), answers(small))
			if failures++; failures == reported {
				t.Fatalf("stopped after %d differences", failures)
			}
			break
		}
	}
	t.Logf("actions by outcome: %v", outcomes)
	for _, r := range []engine.Reason{engine.ReasonAllowed, engine.ReasonDenied, engine.ReasonNoRule, engine.ReasonNoPolicy, engine.ReasonError} {
		if outcomes[r] == 0 {
			t.Errorf("no action ended as %v: the test does not see enough", r)
		}
	}
}

// A policy's variables stay its own even where the expression that reads them,
// under another name, makes derived roles be evaluated half-way, whose set has
// a variable of the same name.
func TestVariablesAreNotMixedUp(t *testing.T) {
	text := func(s string) diag.Text { return diag.Text{Value: s} }
	list := func(s string) []diag.Text { return []diag.Text{text(s)} }
	local := func(expr string) policy.Variables {
		return policy.Variables{Local: []policy.Variable{{Name: text("flag"), Expr: text(expr)}}}
	}
	leaf := func(expr string) *policy.Condition { return &policy.Condition{Op: policy.Expr, Expr: text(expr)} }
	for _, expr := range []string{
		"size(runtime.effectiveDerivedRoles) > 0 && V.flag",
		"size(runtime.effectiveDerivedRoles) > 0 && optional.of(V.flag).value()",
		"[1].exists(v, size(runtime.effectiveDerivedRoles) > 0 && optional.of(V.flag).value())",
	} {
		set := &oracle.Set{Policies: []*policy.Policy{
			{DerivedRoles: &policy.DerivedRoles{Name: text("base"), Variables: local("true"), Definitions: []policy.RoleDefinition{
				{Name: text("owner"), ParentRoles: list("*"), Condition: leaf("optional.of(V.flag).value()")},
			}}},
			{Resource: &policy.ResourcePolicy{Resource: text("doc"), Version: text("default"), ImportDerivedRoles: list("base"), Variables: local("false"), Rules: []policy.Rule{
				{Actions: list("read"), Effect: policy.Allow, DerivedRoles: list("owner")},
				{Actions: list("edit"), Effect: policy.Allow, Roles: list("*"), Condition: leaf(expr)},
			}}},
		}}
		req := &engine.Request{
			Principal: engine.Principal{ID: "amy", Roles: []string{"user"}},
			Resource:  engine.Resource{Kind: "doc", ID: "1"},
			Actions:   []string{"edit", "read"},
			Now:       time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC),
		}
		if c := (oracle.Case{Set: set, Request: req}); differs(c) {
			t.Errorf("%s\n%s", expr, answers(c))
		}
	}
}

// The engine's patterns match what the reference's match. Classes are of the
// two written forms, [ab] and [a-z], each of them possibly negated.
func TestPatternsEqualReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"*", "*", "**", "?", "a", "b", ":", "é", "[ab]", "[!a]", "[a-c]", "[!b-d]", "{a,b:}", "{a*,**:b}", "{b,{a,:}}", `\*`, `\a`, ".", "+", "$"}
	letters := []string{"a", "b", "c", ":", ":", "é", "*", ".", "+", "\n"}
	build := func(from []string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	matched := 0
	for range 20_000 {
		pattern := build(pieces, 1+r.IntN(5))
		if strings.Contains(pattern, "***") || !glob.IsPattern(pattern) {
			continue
		}
		p, err := glob.Compile(pattern)
		if err != nil {
			t.Fatalf("the pattern %q: %v", pattern, err)
		}
		for range 10 {
			text := build(letters, r.IntN(6))
			want := oracle.MatchesPattern(pattern, text)
			if got := p.Match(text); got != want {
				t.Fatalf("the pattern %q matches %q: %v, want %v", pattern, text, got, want)
			}
			if want {
				matched++
			}
		}
	}
	if matched < 1000 {
		t.Errorf("only %d matches", matched)
	}
}

func compile(set *oracle.Set) (*engine.PolicySet, string) {
	compiled, diagnostics := engine.Compile(set.Policies, engine.Options{
		DefaultPolicyVersion: set.Options.DefaultPolicyVersion,
		LenientEvaluation:    set.Options.LenientEvaluation,
		Globals:              set.Options.Globals,
	})
	return compiled, diagnostics.Render()
}

// difference says how the engine's answer differs from the reference's; it is
// empty if it does not.
func difference(want []oracle.Result, got []engine.Result) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d results, want %d", len(got), len(want))
	}
	var b strings.Builder
	for i := range want {
		if w, g := describe(&want[i]), describeEngine(&got[i]); w != g {
			fmt.Fprintf(&b, "engine:    %s\nreference: %s\n", g, w)
			if got[i].Err != nil {
				fmt.Fprintf(&b, "engine's error: %v\n", got[i].Err)
			}
		}
	}
	return b.String()
}

func describe(r *oracle.Result) string {
	reason := engine.ReasonNoRule
	switch {
	case r.Errored:
		reason = engine.ReasonError
	case r.Effect == engine.Allow:
		reason = engine.ReasonAllowed
	case r.Denied:
		reason = engine.ReasonDenied
	case r.Policy == engine.NoMatch:
		reason = engine.ReasonNoPolicy
	}
	return fmt.Sprintf("%s %v (%v) by %s in scope %q, rule %q", r.Action, r.Effect, reason, r.Policy, r.Scope, r.Rule)
}

func describeEngine(r *engine.Result) string {
	rule := ""
	if r.Rule != nil {
		rule = r.Rule.Name
	}
	text := fmt.Sprintf("%s %v (%v) by %s in scope %q, rule %q", r.Action, r.Effect, r.Reason, r.Policy, r.Scope, rule)
	if (r.Err != nil) != (r.Reason == engine.ReasonError) {
		text += fmt.Sprintf(", error %v", r.Err)
	}
	if r.Allowed() != (r.Effect == engine.Allow) {
		text += fmt.Sprintf(", Allowed() = %v", r.Allowed())
	}
	return text
}

// differs tells whether a case compiles and is answered in two ways.
func differs(c oracle.Case) bool {
	compiled, _ := compile(c.Set)
	if compiled == nil {
		return false
	}
	var d engine.Decision
	compiled.Check(c.Request, &d)
	return difference(oracle.New(c.Set.Policies, c.Set.Options).Check(c.Request).Results, d.Results) != ""
}

func answers(c oracle.Case) string {
	compiled, diagnostics := compile(c.Set)
	if compiled == nil {
		return diagnostics
	}
	var d engine.Decision
	compiled.Check(c.Request, &d)
	return difference(oracle.New(c.Set.Policies, c.Set.Options).Check(c.Request).Results, d.Results)
}

func optionsText(o oracle.Options) string {
	var globals []string
	if o.Globals != nil {
		for _, name := range []string{"env", "n", "f", "teams", "rec"} {
			if v, ok := o.Globals.Lookup(name); ok {
				globals = append(globals, fmt.Sprintf("%s: %v", name, v))
			}
		}
	}
	slices.Sort(globals)
	return fmt.Sprintf("# default version %q, lenient %v, globals %v", o.DefaultPolicyVersion, o.LenientEvaluation, globals)
}
