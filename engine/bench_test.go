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

// manyPolicies gives n policies in as many files, for n kinds of resource. All
// conditions differ, so that none is compiled once for many.
func manyPolicies(n int) []folder.File {
	files := make([]folder.File, n)
	for i := range files {
		files[i] = folder.File{Name: fmt.Sprintf("policies/kind%05d.yaml", i), Content: fmt.Appendf(nil, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: kind%05[1]d
  version: default
  variables:
    local:
      isOwner: R.attr.ownerId == P.id && R.id != "%[1]d"
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
              - expr: R.attr.amount < %[1]d.0 + 10000.0
    - name: frozen
      actions: [update, delete]
      roles: ["*"]
      effect: EFFECT_DENY
      condition: {match: {expr: R.attr.state == "frozen" && R.attr.amount > %[1]d.0}}
`, i)}
	}
	return files
}

// askMany gives requests for n kinds spread over those of manyPolicies(of).
func askMany(n, of int) []question {
	out := make([]question, n)
	for i := range out {
		kind := i * of / n
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
// multiple of that among ten, measured by turns and at the best of each. With
// "ten kinds" the requests are for ten kinds of resource, however many there
// are; with "all kinds" for a thousand, or all there are, one after the other,
// which shows what it costs to fetch policies that were not used of late from
// memory.
func BenchmarkManyPolicies(b *testing.B) {
	few := mustCompile(b, mustParse(b, manyPolicies(10)))
	fewQuestions := askMany(10, 10)
	for _, n := range []int{10, 100, 1_000, 10_000} {
		set := mustCompile(b, mustParse(b, manyPolicies(n)))
		for _, spread := range []struct {
			name  string
			kinds int
		}{{"ten kinds", 10}, {"all kinds", min(n, 1_000)}} {
			questions := askMany(spread.kinds, n)
			var d engine.Decision
			for i := range questions {
				set.Check(questions[i].request, &d)
				questions[i].verify(b, &d)
			}
			b.Run(fmt.Sprintf("%d/%s", n, spread.name), func(b *testing.B) {
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

// Loading: from the text of a file to a set in force, and what a policy takes
// of memory once it is loaded.
func BenchmarkLoad(b *testing.B) {
	const n = 1_000
	files := manyPolicies(n)
	policies := mustParse(b, files)
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			mustParse(b, files)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/policy")
	})
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			mustCompile(b, policies)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/policy")
		b.StopTimer()
		before := heap()
		set := mustCompile(b, policies)
		b.ReportMetric(float64(heap()-before)/float64(n), "heap-B/policy")
		runtime.KeepAlive(set)
	})
	b.Run("compile again", func(b *testing.B) {
		compiler, err := engine.NewCompiler(engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		_, list := compiler.Compile(policies)
		fatalIfAny(b, list)
		for b.Loop() {
			_, list := compiler.Compile(policies)
			fatalIfAny(b, list)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/policy")
	})
}

// heap gives the bytes that are reachable.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first empties pools into their second generation only
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
