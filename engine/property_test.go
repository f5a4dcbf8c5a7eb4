package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/internal/glob"
	"edict/engine/internal/oracle"
	"edict/engine/policy"
	"edict/engine/schema"
)

// propertyPairs is how many pairs of a policy set and a request the property
// test compares: EDICT_PROPERTY_PAIRS if it is set.
func propertyPairs(t *testing.T) int {
	switch n := environmentNumber(t, "EDICT_PROPERTY_PAIRS"); {
	case n > 0:
		return int(n)
	case oracle.Race:
		return 3_000
	case testing.Short():
		return 10_000
	default:
		return 200_000
	}
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
// interpreter of the same policies answers. A failure prints policies and
// request, made as small as they get.
func TestCheckEqualsReference(t *testing.T) {
	const reported = 3
	requestsPerSet := 500
	if n := environmentNumber(t, "EDICT_PROPERTY_REQUESTS"); n > 0 {
		requestsPerSet = int(n) // more of them make a long run shorter
	}
	seed := uint64(20_240_501)
	if n := environmentNumber(t, "EDICT_PROPERTY_SEED"); n > 0 {
		seed = n
	}
	sets := (propertyPairs(t) + requestsPerSet - 1) / requestsPerSet
	t.Logf("seed %d, %d pairs; EDICT_PROPERTY_SEED and EDICT_PROPERTY_PAIRS change them", seed, sets*requestsPerSet)

	var (
		workers  sync.WaitGroup
		next     atomic.Uint64
		failures atomic.Int64
		mu       sync.Mutex
		outcomes = map[engine.Reason]int{}
		met      = map[oracle.Feature]int{}
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			workshop := oracle.NewWorkshop()
			var d engine.Decision // one for all, as a server does
			for failures.Load() < reported {
				n := next.Add(1) - 1
				if n >= uint64(sets) {
					return
				}
				generator := oracle.NewGenerator(seed, n)
				generator.Try(workshop)
				set := generator.Set()
				compiled, diagnostics := compile(set)
				if compiled == nil {
					t.Errorf("seed %d, set %d does not compile:\n%s\n%s", seed, n, diagnostics, set.YAML())
					failures.Add(1)
					continue
				}
				reference := workshop.New(set.Policies, set.Options)
				reasons := map[engine.Reason]int{}
				for i := range requestsPerSet {
					req := generator.Request(set)
					compiled.Check(req, &d)
					for i := range d.Results {
						reasons[d.Results[i].Reason]++
					}
					if difference(req, reference.Check(req), &d) == "" {
						continue
					}
					if failures.Add(1) > reported {
						return
					}
					small := oracle.Shrink(oracle.Case{Set: set, Request: req}, 4000, differs)
					t.Errorf("seed %d, set %d, request %d; made smaller:\n%s# %+v\n%s\n%s", seed, n, i,
						small.Set.YAML(), small.Set.Options, oracle.RequestJSON(small.Request), answers(small))
					break
				}
				mu.Lock()
				for reason, times := range reasons {
					outcomes[reason] += times
				}
				for feature, times := range reference.Met() {
					met[feature] += times
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()

	t.Logf("actions by outcome: %v", outcomes)
	for _, r := range []engine.Reason{engine.ReasonAllowed, engine.ReasonDenied, engine.ReasonNoRule, engine.ReasonNoPolicy, engine.ReasonError, engine.ReasonSchema} {
		if outcomes[r] == 0 && sets >= 500 {
			t.Errorf("no action ended as %v: the test does not see enough", r)
		}
	}
	var seen []string
	for _, f := range oracle.Features() {
		seen = append(seen, fmt.Sprintf("%v: %d", f, met[f]))
		if met[f] == 0 && sets >= 500 {
			t.Errorf("never met: %v", f)
		}
	}
	t.Logf("met, as often as the reference saw it: %s", strings.Join(seen, ", "))
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
	compiler, err := engine.NewCompiler(engine.Options{
		DefaultPolicyVersion: set.Options.DefaultPolicyVersion,
		DefaultScope:         set.Options.DefaultScope,
		LenientScopeSearch:   set.Options.LenientScopeSearch,
		LenientEvaluation:    set.Options.LenientEvaluation,
		Globals:              set.Options.Globals,
		SchemaEnforcement:    set.Options.SchemaEnforcement,
	})
	if err != nil {
		return nil, err.Error()
	}
	compiled, diagnostics := compiler.Compile(set.Policies, schema.New(oracle.SchemaFiles()))
	return compiled, diagnostics.Render()
}

// difference says how the engine's answer differs from the reference's; it is
// empty if it does not. Of outputs, the order is free.
func difference(req *engine.Request, want *oracle.Answer, got *engine.Decision) string {
	var w, g []string
	for i := range want.Results {
		w = append(w, describe(&want.Results[i]))
	}
	for i := range got.Results {
		g = append(g, describeEngine(&got.Results[i]))
	}
	results := len(w)
	for _, o := range want.Outputs {
		w = append(w, describeOutput(o.Src, o.Action, o.Val, o.Failed))
	}
	for i := range got.Outputs {
		o := &got.Outputs[i]
		var val any
		if o.Err == "" {
			val = o.Val.Native()
		}
		g = append(g, describeOutput(o.Src, o.Action, val, o.Err != ""))
	}
	slices.Sort(w[results:])
	slices.Sort(g[min(results, len(g)):])
	if req.IncludeMeta {
		w = append(w, fmt.Sprintf("derived roles: %q", want.EffectiveDerivedRoles))
		g = append(g, fmt.Sprintf("derived roles: %q", got.EffectiveDerivedRoles))
	}
	w = append(w, fmt.Sprintf("schemas broken: by the principal %v, by the resource %v", want.PrincipalInvalid, want.ResourceInvalid))
	g = append(g, fmt.Sprintf("schemas broken: by the principal %v, by the resource %v", invalid(got, engine.SourcePrincipal), invalid(got, engine.SourceResource)))
	if slices.Equal(w, g) {
		return ""
	}
	text := fmt.Sprintf("engine:\n%s\nreference:\n%s\n", strings.Join(g, "\n"), strings.Join(w, "\n"))
	for i := range got.Results {
		if err := got.Results[i].Err; err != nil {
			text += fmt.Sprintf("engine's error: %v\n", err)
		}
	}
	return text
}

func invalid(d *engine.Decision, source engine.ValidationSource) bool {
	return slices.ContainsFunc(d.ValidationErrors, func(e engine.ValidationError) bool { return e.Source == source })
}

func describeOutput(src, action string, val any, failed bool) string {
	if failed {
		return fmt.Sprintf("output of %s for %s: an error", src, action)
	}
	return fmt.Sprintf("output of %s for %s: %#v", src, action, val)
}

func describe(r *oracle.Result) string {
	reason := engine.ReasonNoRule
	switch {
	case r.Errored:
		reason = engine.ReasonError
	case r.Invalid:
		reason = engine.ReasonSchema
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
func differs(c oracle.Case) bool { return answers(c) != "" }

func answers(c oracle.Case) string {
	compiled, _ := compile(c.Set)
	if compiled == nil {
		return ""
	}
	var d engine.Decision
	compiled.Check(c.Request, &d)
	return difference(c.Request, oracle.New(c.Set.Policies, c.Set.Options).Check(c.Request), &d)
}
