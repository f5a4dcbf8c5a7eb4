package engine_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/internal/oracle"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

func mustParse(t testing.TB, files []folder.File) []*policy.Policy {
	t.Helper()
	policies, list := policyfile.ParseAll(files)
	fatalIfAny(t, list)
	return policies
}

func mustCompile(t testing.TB, policies []*policy.Policy) *engine.PolicySet {
	t.Helper()
	set, list := engine.Compile(policies, engine.Options{})
	fatalIfAny(t, list)
	return set
}

func fatalIfAny(t testing.TB, list diag.List) {
	t.Helper()
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
}

// demoPolicies are those of the demo: expenses, by roles and attributes.
func demoPolicies(t testing.TB) []*policy.Policy {
	t.Helper()
	files, list := folder.Read(os.DirFS("../policies"), "policies", policyfile.Skip)
	fatalIfAny(t, list)
	return mustParse(t, files)
}

// A question is a request with its one answer.
type question struct {
	name    string
	request *engine.Request
	allowed bool
	rule    string // empty: none decides
}

func (q *question) verify(t testing.TB, d *engine.Decision) {
	t.Helper()
	r := d.Deciding()
	rule := ""
	if r != nil && r.Rule != nil {
		rule = r.Rule.Name
	}
	if d.Allowed() != q.allowed || rule != q.rule {
		t.Fatalf("%s: allowed %v by rule %q, want %v by %q", q.name, d.Allowed(), rule, q.allowed, q.rule)
	}
}

// demoQuestions are what the demo's routes make of requests: from plain roles
// to conditions over networks, numbers and the clock.
func demoQuestions() []question {
	workday := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	ask := func(kind, action string, principal engine.Principal, attr value.Values) *engine.Request {
		return &engine.Request{
			Principal: principal,
			Resource:  engine.Resource{Kind: kind, ID: "1", Attr: attr},
			Actions:   []string{action},
			Now:       workday,
		}
	}
	person := func(id string, roles ...string) engine.Principal {
		return engine.Principal{ID: id, Roles: roles, Attr: value.Values{
			"regions": value.OfSequence(value.Strings{"emea"}), "approvalLimit": value.OfDouble(1000),
			"clientIp": value.OfString("192.168.7.20"),
		}}
	}
	expense := func(owner, region string, amount float64) value.Values {
		return value.Values{"ownerId": value.OfString(owner), "region": value.OfString(region), "amount": value.OfDouble(amount)}
	}
	alice, bob, carol := person("alice", "employee"), person("bob", "employee", "manager"), person("carol", "auditor")
	return []question{
		{"roles alone", ask("service", "whoami", alice, nil), true, "anybody-known-asks-who-they-are"},
		{"derived role", ask("expense", "read", alice, expense("alice", "emea", 420)), true, "owner-reads-own"},
		{"no rule", ask("expense", "read", alice, expense("dave", "apac", 420)), false, ""},
		{"networks", ask("expense", "read", carol, expense("alice", "emea", 420)), true, "auditor-reads-from-office"},
		{"many conditions", ask("expense", "approve", bob, expense("alice", "emea", 420)), true, "manager-approves-within-limit"},
		{"denied", ask("expense", "approve", bob, expense("bob", "emea", 420)), false, "nobody-approves-their-own"},
		{"clock", ask("expense", "delete", alice, expense("alice", "emea", 420)), true, "owner-deletes-in-working-hours"},
	}
}

// mostAllocations bounds the allocations of a Check with the demo's policies.
const mostAllocations = 5

func TestCheckAllocations(t *testing.T) {
	if oracle.Race {
		t.Skip("the race detector makes pools forget what they hold, so that counts mean nothing; the run without it counts")
	}
	set := mustCompile(t, demoPolicies(t))
	for _, q := range demoQuestions() {
		var d engine.Decision
		n := testing.AllocsPerRun(200, func() { set.Check(q.request, &d) })
		q.verify(t, &d)
		if n > mostAllocations {
			t.Errorf("%s: %v allocations, want at most %d", q.name, n, mostAllocations)
		}
	}
}

// A decision with the demo's policies.
func BenchmarkCheck(b *testing.B) {
	set := mustCompile(b, demoPolicies(b))
	for _, q := range demoQuestions() {
		b.Run(q.name, func(b *testing.B) {
			var d engine.Decision
			b.ReportAllocs()
			for b.Loop() {
				set.Check(q.request, &d)
			}
			q.verify(b, &d)
		})
	}
}

// The decision with the most conditions, on all cores at once.
func BenchmarkCheckParallel(b *testing.B) {
	set := mustCompile(b, demoPolicies(b))
	questions := demoQuestions()
	q := &questions[slices.IndexFunc(questions, func(q question) bool { return q.name == "many conditions" })]
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var d engine.Decision
		for pb.Next() {
			set.Check(q.request, &d)
		}
		if len(d.Results) > 0 && !d.Allowed() {
			b.Error("the decision is wrong")
		}
	})
}

// manyPolicies gives n policies in as many files, for n kinds of resource. Their
// conditions are alike, as those of policies mostly are, or no two are: then
// each has numbers of its own.
func manyPolicies(n int, alike bool) []folder.File {
	files := make([]folder.File, n)
	for i := range files {
		own := i
		if alike {
			own = 0
		}
		files[i] = folder.File{Name: fmt.Sprintf("policies/kind%05d.yaml", i), Content: fmt.Appendf(nil, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: kind%05[1]d
  version: default
  variables:
    local:
      isOwner: R.attr.ownerId == P.id && R.id != "%[2]d"
  rules:
    - name: owner
      actions: [read, update, delete]
      roles: [user]
      effect: EFFECT_ALLOW
      condition: {match: {expr: V.isOwner}}
    - name: manager
      actions: [read, "approve:*"]
      roles: [manager]
      effect: EFFECT_ALLOW
      condition:
        match:
          all:
            of:
              - expr: R.attr.region in P.attr.regions
              - expr: R.attr.amount < %[2]d.0 + 10000.0
    - name: frozen
      actions: [update, delete]
      roles: ["*"]
      effect: EFFECT_DENY
      condition: {match: {expr: R.attr.state == "frozen" && R.attr.amount > %[2]d.0}}
`, i, own)}
	}
	return files
}

// askMany gives n requests for kinds of resource, of as many of the kinds that
// manyPolicies(of) has as there are requests.
func askMany(n, of int) []question {
	out := make([]question, n)
	for i := range out {
		kind := i % of * max(1, of/n)
		out[i] = question{"generated", &engine.Request{
			Principal: engine.Principal{ID: "bob", Roles: []string{"user", "manager"}, Attr: value.Values{
				"regions": value.OfSequence(value.Strings{"emea", "apac"})}},
			Resource: engine.Resource{Kind: fmt.Sprintf("kind%05d", kind), ID: "x", Attr: value.Values{
				"ownerId": value.OfString("alice"), "region": value.OfString("apac"), "amount": value.OfDouble(100)}},
			Actions: []string{"read"},
		}, true, "manager"}
	}
	return out
}

// A decision among many policies. The metric x10policies is the cost as a
// multiple of that of the same number of requests among ten policies, measured
// by turns and at the best of each. The requests are for ten kinds of resource,
// however many there are; or a thousand requests for as many kinds, one after
// the other, so that the processor's caches hold little of the policy that is
// next, and least if no two conditions are alike.
func BenchmarkManyPolicies(b *testing.B) {
	for _, of := range []struct {
		name     string
		requests int
		alike    bool
	}{
		{"ten kinds", 10, true},
		{"all kinds", 1_000, true},
		{"all kinds, no conditions alike", 1_000, false},
	} {
		few := mustCompile(b, mustParse(b, manyPolicies(10, of.alike)))
		fewQuestions := askMany(of.requests, 10)
		for _, n := range []int{10, 100, 1_000, 10_000} {
			set := mustCompile(b, mustParse(b, manyPolicies(n, of.alike)))
			questions := askMany(of.requests, n)
			var d engine.Decision
			for i := range questions {
				set.Check(questions[i].request, &d)
				questions[i].verify(b, &d)
			}
			b.Run(fmt.Sprintf("%s/%d", of.name, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					set.Check(questions[i].request, &d)
					if i++; i == len(questions) {
						i = 0
					}
				}
				b.StopTimer()
				own, ten := compare(
					func(i int) { set.Check(questions[i%len(questions)].request, &d) },
					func(i int) { few.Check(fewQuestions[i%len(fewQuestions)].request, &d) })
				b.ReportMetric(float64(own)/float64(ten), "x10policies")
			})
		}
	}
}

// compare gives the least time that each of two functions takes for some
// thousand calls. They take turns, so that the machine's moods meet both.
func compare(f, g func(i int)) (time.Duration, time.Duration) {
	const rounds, calls = 60, 4_000
	run := func(f func(int)) time.Duration {
		began := time.Now()
		for i := range calls {
			f(i)
		}
		return time.Since(began)
	}
	least := [2]time.Duration{run(f), run(g)}
	for range rounds {
		least[0], least[1] = min(least[0], run(f)), min(least[1], run(g))
	}
	return least[0], least[1]
}

// Loading: from the text of files to a set in force, and what a policy takes of
// memory once it is loaded. "Compile again" is what a reload does with policies
// that did not change.
func BenchmarkLoad(b *testing.B) {
	const n = 1_000
	perPolicy := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/policy")
	}
	for _, of := range []struct {
		name  string
		alike bool
	}{{"conditions alike", true}, {"no conditions alike", false}} {
		files := manyPolicies(n, of.alike)
		policies := mustParse(b, files)
		b.Run(of.name+"/parse", func(b *testing.B) {
			for b.Loop() {
				mustParse(b, files)
			}
			perPolicy(b)
		})
		b.Run(of.name+"/compile", func(b *testing.B) {
			for b.Loop() {
				mustCompile(b, policies)
			}
			perPolicy(b)
			before := heap()
			set := mustCompile(b, policies)
			b.ReportMetric(float64(heap()-before)/n, "heap-B/policy")
			runtime.KeepAlive(set)
		})
		b.Run(of.name+"/compile again", func(b *testing.B) {
			compiler, err := engine.NewCompiler(engine.Options{})
			if err != nil {
				b.Fatal(err)
			}
			_, list := compiler.Compile(policies, nil)
			fatalIfAny(b, list)
			for b.Loop() {
				_, list := compiler.Compile(policies, nil)
				fatalIfAny(b, list)
			}
			perPolicy(b)
		})
	}
}

// heap gives the bytes that are reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
