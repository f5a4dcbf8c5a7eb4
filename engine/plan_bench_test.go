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

const demoPlanText = `(or (eq request.resource.attr.ownerId "bob") (in request.resource.attr.region ["emea","apac"]))`

// mostPlanAllocations bounds the allocations of the plan of demoPlan.
const mostPlanAllocations = 70

func TestPlanAllocations(t *testing.T) {
	if oracle.Race {
		t.Skip("the race detector makes pools forget what they hold, so that counts mean nothing; the run without it counts")
	}
	set, req := mustCompile(t, demoPolicies(t)), demoPlan()
	plan, err := set.Plan(t.Context(), req)
	if err != nil || plan.Debug() != demoPlanText {
		t.Fatalf("got %v %v, want %s", plan, err, demoPlanText)
	}
	n := testing.AllocsPerRun(200, func() { _, _ = set.Plan(t.Context(), req) })
	if n > mostPlanAllocations {
		t.Errorf("%v allocations, want at most %d", n, mostPlanAllocations)
	}
}

// The plan of what somebody may read with the demo's policies.
func BenchmarkPlan(b *testing.B) {
	set, req := mustCompile(b, demoPolicies(b)), demoPlan()
	b.ReportAllocs()
	for b.Loop() {
		if plan, err := set.Plan(b.Context(), req); err != nil || plan.Debug() != demoPlanText {
			b.Fatal(plan, err)
		}
	}
}
