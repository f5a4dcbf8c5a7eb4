package suite

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
)

// Options say how suites are run.
type Options struct {
	// Compile compiles the policies under the given options. It is called once
	// for each set of options that tests use, by several goroutines at a time.
	Compile func(engine.Options) (*engine.PolicySet, diag.List)

	// Engine is what tests are run under that do not say otherwise.
	Engine engine.Options

	// Strict makes evaluation strict even for tests that say otherwise.
	Strict bool

	// SkipBatching makes a call for each action. By default there is one call
	// for all actions of a principal on a resource.
	SkipBatching bool

	Filter Filter

	// Excluded holds keys of resource and principal policies. Checks that one
	// of them would decide are skipped.
	Excluded map[string]bool

	// Workers is the number of suites that run at a time; 0 means one for each
	// processor.
	Workers int

	// Trace, if there is one, hears of each request that was decided, from
	// several goroutines at a time.
	Trace func(*engine.PolicySet, *engine.Request)
}

// What results say that were skipped or could not be had, as Cerbos says it.
const (
	skippedByPattern  = "Test name did not match the provided pattern"
	skippedActions    = "No actions matched the test filter"
	excludedResource  = "Resource matched a policy that was excluded from the bundle"
	excludedPrincipal = "Principal matched a policy that was excluded from the bundle"
	clockHint         = `set the clock with options.now of the test or the suite, as in {now: "2026-03-02T10:00:00Z"}`
	clockWithoutNow   = "a policy used a time-based condition, but `now` was not provided in the test options"
)

// Run runs suites.
func Run(suites []*Suite, o Options) *Report {
	r := &runner{Options: o, sets: map[string]*compiledSet{}}
	report := &Report{Suites: make([]SuiteReport, len(suites))}
	workers := o.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(workers, len(suites)) {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(suites); i = int(next.Add(1)) - 1 {
				report.Suites[i] = r.suite(suites[i])
			}
		})
	}
	running.Wait()
	for i := range report.Suites {
		s := &report.Suites[i].Summary
		report.Summary.Overall = max(report.Summary.Overall, s.Overall)
		for status, n := range s.Counts {
			report.Summary.Counts[status] += n
		}
	}
	return report
}

type runner struct {
	Options

	mu   sync.Mutex
	sets map[string]*compiledSet // by key of the settings
}

// A compiledSet is the policies under one set of options.
type compiledSet struct {
	once    sync.Once
	options engine.Options
	set     *engine.PolicySet
	list    diag.List
}

// compiled gives the policies for the options of a test.
func (r *runner) compiled(s *settings) *compiledSet {
	key := s.key()
	r.mu.Lock()
	c := r.sets[key]
	if c == nil {
		c = new(compiledSet)
		r.sets[key] = c
	}
	r.mu.Unlock()
	c.once.Do(func() {
		c.options = s.over(r.Engine)
		if r.Strict {
			c.options.LenientEvaluation = false
		}
		c.set, c.list = r.Compile(c.options)
	})
	return c
}

func (r *runner) suite(s *Suite) SuiteReport {
	report := SuiteReport{Suite: s}
	switch {
	case len(s.Problems) > 0:
		report.Summary.Overall = Errored
		return report
	case s.Skip:
		report.Summary.Overall = Skipped
		return report
	}
	for _, t := range s.tests {
		c := r.compiled(&t.options)
		if c.set == nil {
			report.Suite = s.broken(t.name, c.list)
			report.Summary = Summary{Overall: Errored}
			report.Results = nil
			return report
		}
		for i := range t.cells {
			report.Results = r.cell(report.Results, s.Name, t, &t.cells[i], c)
		}
	}
	for i := range report.Results {
		report.Summary.add(&report.Results[i])
	}
	return report
}

// broken gives a copy of the suite that cannot be run for want of policies.
func (s *Suite) broken(test diag.Text, list diag.List) *Suite {
	b := *s
	b.Stage = "failed to compile the policies under the options of a test"
	b.Problems = append(diag.List{{Pos: test.Pos, Code: Uncompiled, Message: "the policies do not compile under the options of this test"}}, list...)
	return &b
}

// cell appends the results of one principal and one resource.
func (r *runner) cell(out []Result, suite string, t *test, c *cell, set *compiledSet) []Result {
	skip := func(actions []diag.Text, reason string, filtered, omitted bool) {
		for _, a := range actions {
			out = append(out, Result{
				Test: t.name.Value, Principal: c.principalName, Resource: c.resourceName, Action: a.Value,
				Status: Skipped, SkipReason: reason, Filtered: filtered, Omitted: omitted,
			})
		}
	}
	if !r.Filter.Wants(suite, t.name.Value, c.principalName, c.resourceName) {
		skip(t.actions, skippedByPattern, true, false)
		return out
	}
	if why := r.Filter.Omits(suite, t.name.Value, c.principalName, c.resourceName); why != "" {
		skip(t.actions, why, true, true)
		return out
	}
	var actions, others []diag.Text
	for _, a := range t.actions {
		if r.Filter.matches(byAction, a.Value) {
			actions = append(actions, a)
		} else {
			others = append(others, a)
		}
	}
	switch why := r.excluded(c, set); {
	case why != "":
		skip(actions, why, false, false)
	case t.skip:
		skip(actions, t.skipReason, false, false)
	case r.SkipBatching:
		for i := range actions {
			out = r.call(out, t, c, set, actions[i:i+1])
		}
	case len(actions) > 0:
		out = r.call(out, t, c, set, actions)
	}
	skip(others, skippedActions, true, true)
	return out
}

// excluded says why a cell is left out with an excluded policy, "" if it is
// not.
func (r *runner) excluded(c *cell, set *compiledSet) string {
	if len(r.Excluded) == 0 {
		return ""
	}
	address := func(version, scope string) (string, string) {
		if version == "" {
			version = set.options.DefaultPolicyVersion
		}
		if version == "" {
			version = "default"
		}
		if scope == "" {
			scope = set.options.DefaultScope
		}
		if scope == "." {
			scope = ""
		}
		return version, scope
	}
	version, scope := address(c.resource.PolicyVersion, c.resource.Scope)
	if r.Excluded[policy.ResourceKey(c.resource.Kind, version, scope)] {
		return excludedResource
	}
	version, scope = address(c.principal.PolicyVersion, c.principal.Scope)
	if r.Excluded[policy.PrincipalKey(c.principal.ID, version, scope)] {
		return excludedPrincipal
	}
	return ""
}

// call asks the engine, and appends a result for each action.
func (r *runner) call(out []Result, t *test, c *cell, set *compiledSet, actions []diag.Text) []Result {
	request := &engine.Request{Principal: *c.principal, Resource: *c.resource, Actions: plain(actions), Now: t.options.now}
	if t.aux != nil {
		request.AuxData = *t.aux
	}
	var decision engine.Decision
	failure := r.check(set.set, request, &decision)
	switch {
	case failure != "":
	case decision.UsedNow && t.options.now.IsZero():
		failure = clockWithoutNow
	case len(decision.Results) != len(actions):
		failure = fmt.Sprintf("the engine gave %d results for %d actions", len(decision.Results), len(actions))
	}
	for i, a := range actions {
		result := Result{Test: t.name.Value, Principal: c.principalName, Resource: c.resourceName, Action: a.Value}
		if failure != "" {
			result.Status, result.Err = Errored, failure
			if failure == clockWithoutNow {
				result.Hint = clockHint
			}
		} else {
			result.judge(t, c, &decision, &decision.Results[i])
		}
		out = append(out, result)
	}
	return out
}

// check is Check of the engine, and says so if it panics, or what traces it.
func (r *runner) check(set *engine.PolicySet, request *engine.Request, d *engine.Decision) (failure string) {
	defer func() {
		if p := recover(); p != nil {
			failure = fmt.Sprintf("the engine panicked: %v", p)
		}
	}()
	set.Check(request, d)
	if r.Trace != nil {
		r.Trace(set, request)
	}
	return ""
}

// judge compares a decision with what is expected.
func (r *Result) judge(t *test, c *cell, d *engine.Decision, actual *engine.Result) {
	r.Expected, r.ExpectedAt = engine.Deny, t.name.Pos
	if c.expected != nil {
		if e, ok := c.expected.effects[r.Action]; ok {
			r.Expected, r.ExpectedAt, r.Named = e.effect, e.pos, true
		}
	}
	r.Actual = actual.Effect
	r.Reason, r.Policy, r.Scope, r.Rule, r.Cause = actual.Reason, actual.Policy, actual.Scope, actual.Rule, actual.Err
	r.Violations = d.ValidationErrors
	for _, o := range d.Outputs {
		if o.Action == r.Action {
			r.Outputs = append(r.Outputs, o)
		}
	}
	r.Status = Passed
	if r.Actual != r.Expected {
		r.Status = Failed
		return
	}
	if c.expected == nil {
		return
	}
	for _, e := range c.expected.outputs[r.Action] {
		if m, ok := r.mismatch(e); ok {
			r.Status = Failed
			r.Mismatches = append(r.Mismatches, m)
		}
	}
}

// mismatch compares an output with what is expected of it. Of several outputs
// of one source the last counts.
func (r *Result) mismatch(e *expectedOutput) (Mismatch, bool) {
	m := Mismatch{Src: e.src, Kind: Missing, Expected: e.val, At: e.pos}
	for _, o := range r.Outputs {
		if o.Src != e.src {
			continue
		}
		switch {
		case o.Err != "":
			m.Kind, m.Err = Broken, o.Err
		default:
			m.Kind, m.Actual = Different, o.Val
		}
	}
	return m, m.Kind != Different || !equal(m.Actual, e.val)
}
