package engine

import (
	"time"

	"edict/engine/policy"
	"edict/engine/value"
)

// A Principal is who asks.
type Principal struct {
	ID            string
	Roles         []string
	Attr          value.Mapping // nil: no attributes
	PolicyVersion string        // empty: the default version
	Scope         string
}

// A Resource is what the principal wants to act on.
type Resource struct {
	Kind          string
	ID            string
	Attr          value.Mapping // nil: no attributes
	PolicyVersion string        // empty: the default version
	Scope         string
}

// AuxData is verified data that belongs neither to the principal nor to the
// resource: the claims of the request's token.
type AuxData struct {
	JWT  value.Mapping            // nil: none
	JWTs map[string]value.Mapping // claims by the name of the token; nil: none
}

// A Request asks whether a principal may perform actions on a resource. The
// engine only reads it, and keeps nothing of it after Check returns.
type Request struct {
	Principal Principal
	Resource  Resource
	Actions   []string
	AuxData   AuxData

	// Now is the instant that now() gives throughout the request. The zero
	// time means the moment at which Check was called.
	Now time.Time

	// IncludeMeta asks for Decision.EffectiveDerivedRoles. Without it, derived
	// roles that no decision needs are not evaluated.
	IncludeMeta bool

	// NoOutputs asks for no Decision.Outputs. They are not evaluated then.
	NoOutputs bool

	// MaxOutputs bounds the values and errors of Decision.Outputs together, in bytes:
	// those of texts and keys, and four for each value, which is no more than they have
	// as messages of Cerbos' API. If they are more, all actions are refused; see
	// Decision.Err. Zero means that they may be of any length.
	MaxOutputs int
}

// Effect is Allow, Deny, or neither (the zero Effect).
type Effect = policy.Effect

// The effects of a decision.
const (
	Allow = policy.Allow
	Deny  = policy.Deny
)
