package engine

import (
	"fmt"
	"time"

	"edict/engine/diag"
	"edict/engine/expr"
)

// A PlanRequest asks on which resources of a kind a principal may perform
// actions.
type PlanRequest struct {
	Principal Principal

	// Resource says what is known of all of them. Its ID and PolicyVersion select
	// policies at most: to expressions they are unknown, as are the attributes
	// that are not in Attr.
	Resource Resource

	Actions []string // a conjunction: all of them
	AuxData AuxData

	// Now is the instant that now() gives. The zero time means the moment of the
	// call.
	Now time.Time
}

// A Plan answers a PlanRequest.
type Plan struct {
	Filter Filter

	// MatchedScopes has, for each action, the scope whose policy had the last say.
	MatchedScopes map[string]string

	// ValidationErrors say how the attributes that are known break the schemas of
	// the policy, if Options.SchemaEnforcement asks for that.
	ValidationErrors []ValidationError

	unmatched bool // no rule is about any of the actions
}

// Debug gives the filter as text, as meta.filterDebug of the Cerbos API has it. It
// is made anew each time, and may be as long as the filter.
func (p *Plan) Debug() string {
	if p.unmatched {
		return NoMatch
	}
	return p.Filter.String()
}

// FilterKind tells the three kinds of filters apart.
type FilterKind uint8

// The kinds of filters. The zero kind lets nothing through.
const (
	AlwaysDenied FilterKind = iota
	AlwaysAllowed
	Conditional
)

// String gives the kind as the Cerbos API shows it.
func (k FilterKind) String() string {
	switch k {
	case AlwaysAllowed:
		return "KIND_ALWAYS_ALLOWED"
	case Conditional:
		return "KIND_CONDITIONAL"
	}
	return "KIND_ALWAYS_DENIED"
}

// A Filter tells which resources are let through. The zero Filter lets none
// through.
type Filter struct {
	Kind      FilterKind
	Condition *Operand // of Conditional; nil of the others
}

// String gives the filter as text: (true), (false) or its condition.
func (f *Filter) String() string {
	switch {
	case f.Kind == AlwaysAllowed:
		return "(true)"
	case f.Kind != Conditional || f.Condition == nil:
		return "(false)"
	}
	return f.Condition.String()
}

// An Operand is a node of a filter: a value, a variable or an expression.
type Operand = expr.Operand

// An Expression is an operator with its operands.
type Expression = expr.Expression

// A PlanError says why a plan can't be made: an expression on unknown data has
// a part that no filter can have. Who gets it must let nothing through.
type PlanError struct {
	Expression string        // the text of the condition
	Rule       string        // name of the rule that has it; empty if no rule is at hand
	Policy     string        // key of the policy of the rule
	Pos        diag.Position // of the rule
	Message    string        // what can't be planned
}

// Error gives the whole in one line.
func (e *PlanError) Error() string {
	text := e.Message
	if e.Expression != "" {
		text = e.Expression + ": " + text
	}
	switch {
	case e.Rule != "":
		text = fmt.Sprintf("rule %s of %s: %s", e.Rule, e.Policy, text)
	case e.Policy != "":
		text = e.Policy + ": " + text
	}
	return text
}
