package engine_test

import (
	"fmt"
	"regexp"
	"testing"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// inexact finds what the interpreter reads otherwise: timeSince, as filters do not
// say when now is, type, since numbers are all of one type in JSON, bytes, since what
// they are compared with is base64, and an index, which may be none.
var inexact = regexp.MustCompile(`\((timeSince|type|bytes|index) `)

// A plan lets through no row that Check denies: for random policies and requests,
// of which some attributes of the resource are known. The filter is read as CEL
// reads an expression, where an error lets nothing through. Every other set is
// evaluated leniently. Schemas are not looked at, since a filter of this form says
// nothing of what is wrong with a row.
func TestPlansGrantNoMoreThanCheck(t *testing.T) {
	const (
		plansPerSet = 40
		rowsPerPlan = 8
	)
	sets := uint64(16)
	if oracle.Race || testing.Short() {
		sets = 4
	}
	seed := uint64(20_261_130)
	if n := environmentNumber(t, "EDICT_PROPERTY_SEED"); n > 0 {
		seed = n
	}
	if n := environmentNumber(t, "EDICT_PLAN_SETS"); n > 0 {
		sets = n
	}
	workshop := oracle.NewWorkshop()
	seen := map[string]int{}
	for n := range sets {
		r := newRowTrial(workshop, seed, n)
		lenient := n%2 == 1
		r.set.Options.LenientEvaluation, r.set.Options.SchemaEnforcement = lenient, engine.SchemaNone
		compiled, diagnostics := compile(r.set)
		if compiled == nil {
			t.Fatal(diagnostics)
		}
		for range plansPerSet {
			req := r.generator.PlanRequest(r.set)
			plan, err := compiled.Plan(t.Context(), req)
			if err != nil {
				seen["refused"]++
				continue
			}
			seen[plan.Filter.Kind.String()]++
			if inexact.MatchString(plan.Debug()) {
				seen["not compared"]++
				continue
			}
			var condition []byte
			if c := plan.Filter.Condition; c != nil {
				holds := engine.Operand{Expression: &engine.Expression{Operator: "holds", Operands: []engine.Operand{*c}}}
				if condition, err = holds.AppendJSON(nil); err != nil {
					t.Fatal(err)
				}
			}
			var d engine.Decision
			for _, row := range r.rows(req, rowsPerPlan) {
				compiled.Check(&engine.Request{Principal: req.Principal, Resource: row, Actions: req.Actions, AuxData: req.AuxData, Now: req.Now}, &d)
				lets := plan.Filter.Kind == engine.AlwaysAllowed || condition != nil && workshop.Lets(condition, &row)
				seen[fmt.Sprintf("lenient %v: plan %v, check %v", lenient, lets, d.Allowed())]++
				if lets && !d.Allowed() {
					t.Errorf("seed %d, set %d: the plan lets through what is denied: %s\n%+v\nof %v\n%+v", seed, n, plan.Debug(), req, value.OfMapping(row.Attr), d.Results)
					break
				}
			}
		}
	}
	t.Log(seen)
	for _, lenient := range []bool{false, true} {
		rows := func(plan, check bool) int {
			return seen[fmt.Sprintf("lenient %v: plan %v, check %v", lenient, plan, check)]
		}
		few := sets < 10 // to compare how often plans and checks agree
		if rows(true, true) < int(sets) || rows(false, false) < int(sets) || !few && rows(false, true) > rows(true, true) {
			t.Errorf("lenient %v: the test does not see enough", lenient)
		}
	}
}
