package suite

import (
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/value"
)

// Status is how a result, a suite or a run ended. The greater one is worse.
type Status uint8

// The statuses. The zero Status is that of a run without suites.
const (
	None Status = iota
	Skipped
	Passed
	Failed
	Errored
)

// String gives the status as Cerbos' JSON spells it.
func (s Status) String() string {
	return [...]string{"RESULT_UNSPECIFIED", "RESULT_SKIPPED", "RESULT_PASSED", "RESULT_FAILED", "RESULT_ERRORED"}[s]
}

// Statuses are all statuses that results can have, the best first.
var Statuses = [...]Status{Skipped, Passed, Failed, Errored}

// A Report is the outcome of a run.
type Report struct {
	Suites  []SuiteReport // in the order in which the suites were given
	Summary Summary
}

// A Summary counts results. Results that a filter left out do not count.
type Summary struct {
	Overall Status
	Counts  [Errored + 1]int // by status
}

// Tests is the number of results that count.
func (s *Summary) Tests() int {
	n := 0
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// add counts a result.
func (s *Summary) add(r *Result) {
	s.Overall = max(s.Overall, r.Status)
	if !r.Omitted {
		s.Counts[r.Status]++
	}
}

// A SuiteReport is the outcome of a suite.
type SuiteReport struct {
	*Suite
	Summary Summary
	Results []Result // of one principal and resource in a row; none if the suite could not be run
}

// A Result is the outcome of one action of one principal on one resource.
type Result struct {
	Test, Principal, Resource, Action string

	Status     Status
	Filtered   bool   // Options.Filter left it out
	Omitted    bool   // likewise, and it does not count
	SkipReason string // of Skipped
	Err        string // of Errored: why there is nothing to compare
	Hint       string // of Errored: how to mend it; may be empty

	Expected   engine.Effect
	ExpectedAt diag.Position // of the expectation; of the test if nothing names the action
	Named      bool          // an expectation names the action
	Actual     engine.Effect

	// Outputs are those of the action, in the order of the engine.
	Outputs []engine.Output

	// Mismatches are the expected outputs that were not met, in the order of
	// the file. They are looked at only if the effect is the expected one.
	Mismatches []Mismatch

	// Why the engine decided so: see engine.Result.
	Reason        engine.Reason
	Policy, Scope string
	Rule          *engine.Rule // nil: no rule decided
	Cause         error        // of an error in a condition
	Violations    []engine.ValidationError
}

// A Mismatch is an expected output that is not what was told.
type Mismatch struct {
	Src      string
	Kind     MismatchKind
	Expected value.Value // absent if the file gives none
	Actual   value.Value // of Different
	Err      string      // of Broken: why there is no value
	At       diag.Position
}

// MismatchKind says how an output is not what is expected.
type MismatchKind uint8

// The kinds of Mismatch.
const (
	Different MismatchKind = iota // it is something else
	Missing                       // there is no such output
	Broken                        // its expression could not be evaluated
)
