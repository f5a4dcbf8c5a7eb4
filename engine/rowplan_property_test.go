package engine_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// rowPairs is how many pairs of a filter and a row the property test of row
// filters looks at: EDICT_ROW_PAIRS if it is set.
func rowPairs(t *testing.T) int {
	switch n := environmentNumber(t, "EDICT_ROW_PAIRS"); {
	case n > 0:
		return int(n)
	case oracle.Race || testing.Short():
		return 1_000
	default:
		return 8_000
	}
}

// The filter of PlanRows lets through exactly the rows that Check allows: for
// random policies and requests, and rows of tables as well as resources of any
// attributes, of which some are known when the filter is made. The filter is read
// by an evaluator of its own, from its JSON.
func TestRowFiltersEqualCheck(t *testing.T) {
	const (
		plansPerSet = 40
		rowsPerPlan = 10
		reported    = 3
	)
	seed := uint64(20_240_501)
	if n := environmentNumber(t, "EDICT_PROPERTY_SEED"); n > 0 {
		seed = n
	}
	sets := (rowPairs(t) + plansPerSet*rowsPerPlan - 1) / (plansPerSet * rowsPerPlan)
	var (
		workers  sync.WaitGroup
		next     atomic.Uint64
		failures atomic.Int64
		mu       sync.Mutex
		seen     = map[string]int{}
		refusals = map[string]int{}
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			workshop := oracle.NewWorkshop()
			for failures.Load() < reported {
				n := next.Add(1) - 1
				if n >= uint64(sets) {
					return
				}
				r := newRowTrial(workshop, seed, n)
				counts, refused := map[string]int{}, map[string]int{}
				for i := range plansPerSet {
					plan := r.generator.PlanRequest(r.set)
					rows := r.rows(plan, rowsPerPlan)
					problem := r.compare(r.compiled, plan, rows, counts, refused)
					if problem == "" {
						continue
					}
					if failures.Add(1) > reported {
						return
					}
					t.Errorf("seed %d, set %d, plan %d:\n%s", seed, n, i, r.smaller(plan, rows))
					break
				}
				mu.Lock()
				for what, times := range counts {
					seen[what] += times
				}
				for why, times := range refused {
					refusals[why] += times
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	t.Logf("seed %d, %d sets: %v; EDICT_PROPERTY_SEED and EDICT_ROW_PAIRS change them", seed, sets, seen)
	if testing.Verbose() {
		var lines []string
		for why, times := range refusals {
			lines = append(lines, fmt.Sprintf("%6d %s", times, why))
		}
		slices.Sort(lines)
		slices.Reverse(lines)
		t.Log("not planned:\n" + strings.Join(lines[:min(len(lines), 30)], "\n"))
	}
	if sets < 20 {
		return // too few to see all
	}
	for _, what := range []string{"KIND_ALWAYS_ALLOWED", "KIND_ALWAYS_DENIED", "conditional true", "conditional false"} {
		if seen[what] < sets {
			t.Errorf("%s: %d times in %d sets: the test does not see enough", what, seen[what], sets)
		}
	}
	if planned := seen["rows"] / rowsPerPlan; seen["not planned"] > planned/4 {
		t.Errorf("%d requests can't be planned, beside %d that can", seen["not planned"], planned)
	}
}

// A rowTrial is a set of policies, and what filters are made for.
type rowTrial struct {
	workshop  *oracle.Workshop
	generator *oracle.Generator
	set       *oracle.Set
	table     *oracle.Table // nil: rows have any attributes
	compiled  *engine.PolicySet
}

func newRowTrial(workshop *oracle.Workshop, seed, n uint64) *rowTrial {
	r := &rowTrial{workshop: workshop, generator: oracle.NewGenerator(seed, n)}
	r.generator.Try(workshop)
	if n%3 > 0 {
		r.table = r.generator.Table()
	}
	r.set = r.generator.Set()
	var diagnostics string
	if r.compiled, diagnostics = compile(r.set); r.compiled == nil {
		panic(diagnostics)
	}
	return r
}

// rows makes resources for a request, of which they have what is known.
func (r *rowTrial) rows(plan *engine.PlanRequest, n int) (out []engine.Resource) {
	if r.table != nil {
		for _, row := range r.generator.Rows(n) {
			out = append(out, r.table.Resource(plan.Resource, row))
		}
		return out
	}
	for range n {
		row := plan.Resource
		row.ID = fmt.Sprint("r", len(out))
		attr := value.Values{}
		for _, from := range []value.Mapping{r.generator.Request(r.set).Resource.Attr, plan.Resource.Attr} {
			if from != nil {
				from.Range(func(name string, v value.Value) bool {
					attr[name] = v
					return true
				})
			}
		}
		row.Attr = attr
		out = append(out, row)
	}
	return out
}

// compare says how the filter for a request differs from what Check says of
// rows. It is empty if it does not.
func (r *rowTrial) compare(policies *engine.PolicySet, req *engine.PlanRequest, rows []engine.Resource, counts, refused map[string]int) string {
	plan, err := policies.PlanRows(context.Background(), req)
	if err != nil {
		counts["not planned"]++
		_, why, _ := strings.Cut(err.Error(), ": ")
		refused[why]++
		return ""
	}
	counts[plan.Filter.Kind.String()]++
	var condition []byte
	if c := plan.Filter.Condition; c != nil {
		if condition, err = c.AppendJSON(nil); err != nil {
			return err.Error()
		}
		counts["bytes"] += len(condition)
	}
	var d engine.Decision
	for i := range rows {
		policies.Check(&engine.Request{Principal: req.Principal, Resource: rows[i], Actions: req.Actions, AuxData: req.AuxData, Now: req.Now}, &d)
		lets := plan.Filter.Kind == engine.AlwaysAllowed
		if condition != nil {
			lets = r.workshop.Lets(condition, &rows[i])
			counts[fmt.Sprint("conditional ", lets)]++
		}
		if lets != d.Allowed() {
			return fmt.Sprintf("filter: %v, check: %v (%+v) of %v\n%s", lets, d.Allowed(), d.Results, value.OfMapping(rows[i].Attr), plan.Debug())
		}
		counts["rows"]++
	}
	return ""
}

// smaller gives a difference, made as small as it gets.
func (r *rowTrial) smaller(plan *engine.PlanRequest, rows []engine.Resource) string {
	for i := range rows {
		one := rows[i : i+1]
		if r.compare(r.compiled, plan, one, map[string]int{}, map[string]int{}) == "" {
			continue
		}
		known := func(req *engine.Request) *engine.PlanRequest {
			p := &engine.PlanRequest{Principal: req.Principal, Resource: req.Resource, Actions: req.Actions, AuxData: req.AuxData, Now: req.Now}
			p.Resource.Attr = nil
			attr := value.Values{}
			if plan.Resource.Attr != nil && req.Resource.Attr != nil {
				req.Resource.Attr.Range(func(name string, v value.Value) bool {
					if _, ok := plan.Resource.Attr.Lookup(name); ok {
						attr[name] = v
					}
					return true
				})
				p.Resource.Attr = attr
			}
			return p
		}
		answer := func(c oracle.Case) string {
			compiled, _ := compile(c.Set)
			if compiled == nil {
				return ""
			}
			return r.compare(compiled, known(c.Request), []engine.Resource{c.Request.Resource}, map[string]int{}, map[string]int{})
		}
		req := &engine.Request{Principal: plan.Principal, Resource: one[0], Actions: plan.Actions, AuxData: plan.AuxData, Now: plan.Now}
		small := oracle.Shrink(oracle.Case{Set: r.set, Request: req}, 3000, func(c oracle.Case) bool { return answer(c) != "" })
		return fmt.Sprintf("%s# %+v\n%s\nknown: %v\n%s", small.Set.YAML(), small.Set.Options, oracle.RequestJSON(small.Request), known(small.Request).Resource.Attr, answer(small))
	}
	return "no single row differs"
}

// What a plan as Cerbos makes them lets through, Check allows if a condition that
// fails counts as one that does not hold, and as long as it follows the schemas.
func TestPlansLetThroughNoMoreThanCheck(t *testing.T) {
	sets := uint64(max(5, rowPairs(t)/400))
	workshop := oracle.NewWorkshop()
	seen := map[string]int{}
	for n := range sets {
		r := newRowTrial(workshop, 20_240_502, n)
		plain := *r.set
		plain.Options.SchemaEnforcement = engine.SchemaNone
		planner, _ := compile(&plain)
		plain.Options.LenientEvaluation = true
		reference, _ := compile(&plain)
		for range 40 {
			plan := r.generator.PlanRequest(r.set)
			filter, err := planner.Plan(t.Context(), plan)
			if err != nil || inexact.MatchString(filter.Debug()) {
				continue
			}
			var condition []byte
			if c := filter.Filter.Condition; c != nil {
				if condition, err = c.AppendJSON(nil); err != nil {
					continue
				}
			}
			var d engine.Decision
			for _, row := range r.rows(plan, 5) {
				req := &engine.Request{Principal: plan.Principal, Resource: row, Actions: plan.Actions, AuxData: plan.AuxData, Now: plan.Now}
				lets := filter.Filter.Kind == engine.AlwaysAllowed || condition != nil && workshop.Holds(condition, req)
				reference.Check(req, &d)
				seen[fmt.Sprintf("%v: let through %v, allowed %v", filter.Filter.Kind, lets, d.Allowed())]++
				if lets && !d.Allowed() {
					t.Fatalf("set %d: %s\n%+v\n%s%s", n, filter.Debug(), d.Results, r.set.YAML(), oracle.RequestJSON(req))
				}
			}
		}
	}
	t.Logf("%d sets: %v", sets, seen)
}
