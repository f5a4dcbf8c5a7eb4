package engine_test

import (
	"testing"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// demoPlan asks what a manager may read in the demo.
func demoPlan() *engine.PlanRequest {
	return &engine.PlanRequest{
		Principal: engine.Principal{ID: "bob", Roles: []string{"employee", "manager"}, Attr: value.Attributes{
			"regions": []any{"emea", "apac"}, "approvalLimit": 1000.0, "clientIp": "127.0.0.1"}},
		Resource: engine.Resource{Kind: "expense"},
		Actions:  []string{"read"},
	}
}

// demoPlans are its answers, and the most allocations that each may take.
var demoPlans = []struct {
	name        string
	lenient     bool
	plan        string
	allocations float64
}{
	{"lenient", true, `(or (eq request.resource.attr.ownerId "bob") (in request.resource.attr.region ["emea","apac"]))`, 70},
	{"strict", false, `(and (or (eq request.resource.attr.ownerId "bob") (not (eq request.resource.attr.ownerId "bob")))` +
		` (or (eq request.resource.attr.ownerId "bob") (in request.resource.attr.region ["emea","apac"])))`, 450},
}

func TestPlanAllocations(t *testing.T) {
	if oracle.Race {
		t.Skip("the race detector makes pools forget what they hold, so that counts mean nothing; the run without it counts")
	}
	for _, test := range demoPlans {
		set, list := engine.Compile(demoPolicies(t), engine.Options{LenientEvaluation: test.lenient})
		fatalIfAny(t, list)
		req := demoPlan()
		plan, err := set.Plan(t.Context(), req)
		if err != nil || plan.Debug() != test.plan {
			t.Fatalf("%s: got %v %v, want %s", test.name, plan, err, test.plan)
		}
		if n := testing.AllocsPerRun(200, func() { _, _ = set.Plan(t.Context(), req) }); n > test.allocations {
			t.Errorf("%s: %v allocations, want at most %v", test.name, n, test.allocations)
		}
	}
}

// The plan of what somebody may read with the demo's policies.
func BenchmarkPlan(b *testing.B) {
	for _, test := range demoPlans {
		b.Run(test.name, func(b *testing.B) {
			set, list := engine.Compile(demoPolicies(b), engine.Options{LenientEvaluation: test.lenient})
			fatalIfAny(b, list)
			req := demoPlan()
			b.ReportAllocs()
			for b.Loop() {
				if plan, err := set.Plan(b.Context(), req); err != nil || plan.Debug() != test.plan {
					b.Fatal(plan, err)
				}
			}
		})
	}
}
