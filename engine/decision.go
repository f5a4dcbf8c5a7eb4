package engine

import (
	"edict/engine/diag"
)

// Reason says why an action ended as it did.
type Reason uint8

// The reasons. The zero Reason belongs to an action that was never decided,
// which is refused like all the others but ReasonAllowed.
const (
	ReasonUndecided Reason = iota // nothing was evaluated
	ReasonAllowed                 // a rule allowed it
	ReasonDenied                  // a rule denied it
	ReasonNoRule                  // there is a policy, but no rule of it allowed the action
	ReasonNoPolicy                // no policy for this kind, version and scope
	ReasonError                   // a condition could not be evaluated (strict evaluation)
)

var reasonNames = [...]string{"undecided", "allowed", "denied", "no_rule", "no_policy", "condition_error"}

// String gives the reason as logs and metrics show it.
func (r Reason) String() string { return reasonNames[r] }

// NoMatch is the Policy of a result that no policy had a part in.
const NoMatch = "NO_MATCH"

// A Rule names one rule of a PolicySet. There is one Rule value per rule and
// set, so that pointers to it can be compared.
type Rule struct {
	ID     int           // dense, from 0; an index into tables prepared per rule
	Name   string        // as written, or rule-NNN by position
	Policy string        // key of the policy that holds the rule
	Pos    diag.Position // of the rule in its file
}

// A Result is the decision about one action. The zero Result refuses.
type Result struct {
	Action string
	Effect Effect // Allow or Deny; never neither once decided
	Reason Reason
	Policy string // key of the policy that was consulted, or NoMatch
	Scope  string // scope that decided; empty for the root scope
	Rule   *Rule  // the rule that decided; nil if none did
	Err    error  // of ReasonError: what failed
}

// Allowed tells whether the action may be performed.
func (r *Result) Allowed() bool { return r.Effect == Allow && r.Reason == ReasonAllowed }

// A Decision answers a Request: one Result per action, in the order of the
// request. The zero Decision refuses. Its memory is reused by the next Check
// that it is handed to.
type Decision struct {
	Results []Result
}

// Allowed tells whether there is at least one action and all are allowed.
func (d *Decision) Allowed() bool {
	for i := range d.Results {
		if !d.Results[i].Allowed() {
			return false
		}
	}
	return len(d.Results) > 0
}

// Deciding gives the result that settles the request as a whole: the first
// that is refused, otherwise the first. It is nil if there are none.
func (d *Decision) Deciding() *Result {
	for i := range d.Results {
		if !d.Results[i].Allowed() {
			return &d.Results[i]
		}
	}
	if len(d.Results) == 0 {
		return nil
	}
	return &d.Results[0]
}
