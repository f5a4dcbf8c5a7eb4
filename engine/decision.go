package engine

import (
	"errors"

	"edict/engine/diag"
	"edict/engine/value"
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
	ReasonError                   // a condition could not be evaluated (strict evaluation), or Decision.Err
	ReasonSchema                  // attributes break a schema, and enforcement rejects that
)

var reasonNames = [...]string{"undecided", "allowed", "denied", "no_rule", "no_policy", "condition_error", "schema"}

// String gives the reason as logs and metrics show it.
func (r Reason) String() string { return reasonNames[r] }

// NoMatch is the Policy of a result that no policy had a part in.
const NoMatch = "NO_MATCH"

// A Rule names one rule of a PolicySet. There is one Rule value per rule and
// set, so that pointers to it can be compared. That a role may not do what its
// role policy does not list is a Rule, too, at the place of the policy.
type Rule struct {
	Name   string        // as written, or one by position; empty of a role policy's that has none
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

	// Outputs are what rules told, in the order in which they were visited.
	// Their values share nothing with the request.
	Outputs []Output

	// ValidationErrors say how the attributes break the schemas of the policy,
	// if Options.SchemaEnforcement asks for that.
	ValidationErrors []ValidationError

	// EffectiveDerivedRoles are the derived roles of the policies that were
	// visited, sorted, if Request.IncludeMeta asks for them.
	EffectiveDerivedRoles []string

	// UsedNow tells whether some evaluated expression read the clock.
	UsedNow bool

	// Err is ErrOutputs if there were more outputs than Request.MaxOutputs lets. Then
	// nothing was decided: every action is refused, and there are no outputs. It is nil
	// otherwise.
	Err error
}

// ErrOutputs says that the outputs of a decision are longer than they may be.
var ErrOutputs = errors.New("the outputs are longer than they may be")

// An Output is what the output expression of a rule gave.
type Output struct {
	Src    string // policy key, #, name of the rule
	Action string
	Val    value.Value // JSON: null, bool, double, string, list, map. Absent if there is an error
	Err    string      // why there is no value; empty if there is one
}

// A ValidationError is one way in which attributes break a schema.
type ValidationError struct {
	Path    string // JSON pointer into the attributes; "/" for the whole
	Message string
	Source  ValidationSource
}

// ValidationSource says whose attributes break a schema.
type ValidationSource uint8

// The sources of validation errors.
const (
	SourcePrincipal ValidationSource = iota + 1
	SourceResource
)

// String gives the source as the Cerbos API shows it.
func (s ValidationSource) String() string {
	return [...]string{"SOURCE_UNSPECIFIED", "SOURCE_PRINCIPAL", "SOURCE_RESOURCE"}[s]
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
