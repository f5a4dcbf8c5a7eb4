package extauthz

import (
	"time"

	"edict/engine/expr"
	"edict/engine/value"
)

// decisionVariable is what onAllow and onDeny know of the decision.
const decisionVariable = "decision"

// decisionFields are the fields of the decision.
var decisionFields = map[string]*expr.Type{
	"id":       expr.String,
	"effect":   expr.String, // allow or deny
	"outcome":  expr.String, // how the check ended: the label
	"status":   expr.Int,    // that a client sees by default
	"reason":   expr.String, // why the action ended so
	"action":   expr.String,
	"policy":   expr.String,
	"rule":     expr.String,
	"scope":    expr.String,
	"revision": expr.String,
	"route":    expr.String,
	"outputs":  expr.Attrs, // by the name of the rule
}

// show makes the frame show the request with the decision about it. The check
// may have ended before there was a frame, or with one that shows half of it.
func (x *exchange) show(o Outcome) {
	x.outcome = o
	if x.frame == nil {
		x.frame = x.rev.env.NewFrame()
	}
	f := x.frame
	if f.Get(slotRequest).Kind() == value.Absent {
		f.Reset(time.Now())
		f.Set(slotRequest, value.OfMapping((*requestView)(x)))
		f.Set(slotPath, value.OfMapping(&x.match))
		if x.claims == nil {
			x.claims = value.Values(nil)
		}
		f.Set(slotClaims, value.OfMapping(x.claims))
	}
	f.Set(slotPrincipal, value.OfMapping((*principalView)(x)))
	f.Set(slotDecision, value.OfMapping((*decisionView)(x)))
}

type decisionView exchange

func (*decisionView) StructName() string { return "Decision" }
func (*decisionView) Len() int           { return len(decisionFields) }

func (v *decisionView) Lookup(field string) (value.Value, bool) {
	x := (*exchange)(v)
	switch field {
	case "id":
		return value.OfString(x.id.String()), true
	case "effect":
		if x.outcome.Passes() {
			return value.OfString("allow"), true
		}
		return value.OfString("deny"), true
	case "outcome":
		return value.OfString(x.outcome.String()), true
	case "status":
		return value.OfInt(int64(x.outcome.Status())), true
	case "revision":
		return value.OfString(x.rev.id), true
	case "route":
		if x.route == nil {
			return value.OfString(""), true
		}
		return value.OfString(x.route.name), true
	case "outputs":
		return value.OfMapping((*outputsView)(x)), true
	}
	if _, known := decisionFields[field]; !known {
		return value.Value{}, false
	}
	text := ""
	if r := x.deciding(); r != nil {
		switch field {
		case "reason":
			text = r.Reason.String()
		case "action":
			text = r.Action
		case "policy":
			text = r.Policy
		case "scope":
			text = r.Scope
		case "rule":
			if r.Rule != nil {
				text = r.Rule.Name
			}
		}
	}
	return value.OfString(text), true
}

func (v *decisionView) Range(yield func(string, value.Value) bool) {
	for f := range decisionFields {
		if e, _ := v.Lookup(f); !yield(f, e) {
			return
		}
	}
}
