package engine

import (
	"slices"
	"sync"

	"edict/engine/expr"
	"edict/engine/internal/glob"
	"edict/engine/policy"
	"edict/engine/value"
)

// A PolicySet is many policies, compiled together and frozen.
type PolicySet struct {
	env            *expr.Env
	defaultVersion string
	strict         bool
	globals        value.Mapping

	units map[unitKey]*unit
	rules []*Rule

	states *sync.Pool // of *state, the working memory of a Check
}

// Rules gives every rule of the set; Rule.ID is the index. The caller must not
// change the slice.
func (ps *PolicySet) Rules() []*Rule { return ps.rules }

// Len is the number of policies that requests are decided by.
func (ps *PolicySet) Len() int { return len(ps.units) }

// Kinds gives the kinds of resource that there is a policy for, sorted, in the
// form that policy keys carry.
func (ps *PolicySet) Kinds() []string {
	var out []string
	for k := range ps.units {
		out = append(out, k.kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unitKey finds the unit that a request is decided by. The kind is sanitised.
type unitKey struct{ kind, version, scope string }

// A unit is one resource policy, compiled. Its rows are what the semantics
// call rows, folded: one for the roles of a rule and one for each derived role
// that the rule names, whatever the number of actions and roles.
type unit struct {
	key  string
	rows []row

	// Per action that some rule names literally, the indices of the rows that
	// it meets, patterns included, in the order of the rules. An action that
	// no rule names can only meet the rows of patterns.
	literal  map[string][]int32
	patterns []actionPattern

	roles   roleIndex
	derived []derivedRole
	modules []*module // 0: the policy itself; then the imported sets in use

	conditions int // number of condition ids
}

// A row says: for one of these roles (and with this derived role) the effect
// applies if the condition holds.
type row struct {
	roles     bits // patterns of unit.roles
	derived   int32
	condition condition
	effect    Effect
	rule      *Rule
}

type actionPattern struct {
	glob glob.Pattern
	row  int32
}

// A derivedRole is one definition in use by a unit.
type derivedRole struct {
	name      string
	parents   bits
	literal   []string // parents that are no patterns; nil if anyRole
	anyRole   bool
	condition condition
}

// A condition is a compiled tree, the module it reads its variables from, and
// the id under which a Check remembers its outcome. A nil root always holds.
type condition struct {
	root   *conditionNode
	module int32
	id     int32
}

type conditionNode struct {
	op      policy.Operator
	program *expr.Program    // of policy.Expr
	of      []*conditionNode // of the others
}

// A module is a policy's own name space: its variables and constants.
type module struct {
	variables map[string]int32
	programs  []*expr.Program
	constants value.Values
}

// bits is a set of small integers. All sets of a unit have the same length.
type bits []uint64

func (b bits) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b bits) intersects(c bits) bool {
	for i := range b {
		if b[i]&c[i] != 0 {
			return true
		}
	}
	return false
}

// A roleIndex gives, for a role of a request, the role patterns of a unit that
// match it.
type roleIndex struct {
	words   int
	literal map[string]bits // per role that the unit names, patterns included
	other   bits            // of any role it does not name: those of "*"
	globs   []rolePattern   // to try on roles that it does not name
}

type rolePattern struct {
	glob glob.Pattern
	bit  int
}

// match writes the patterns that match role into dst, which has x.words words.
func (x *roleIndex) match(role string, dst bits) {
	if b, ok := x.literal[role]; ok {
		copy(dst, b)
		return
	}
	copy(dst, x.other)
	for i := range x.globs {
		if x.globs[i].glob.Match(role) {
			dst.set(x.globs[i].bit)
		}
	}
}
