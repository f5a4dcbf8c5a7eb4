package engine

import (
	"slices"
	"strings"
	"sync"

	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/schema"
	"edict/engine/value"
)

// A PolicySet is many policies, compiled together and frozen.
type PolicySet struct {
	env     *expr.Env
	options Options

	resources  map[kindKey]scopedUnits
	principals map[string]map[unitKey]*override // by id
	roles      map[unitKey]*roleLayer

	resourceScopes  map[string]*scope // of resource and role policies
	principalScopes map[string]*scope // of principal policies

	// By scope and role, every role that the role inherits by role policies of
	// that very scope, its parents first.
	inherited map[string]map[string][]string

	policies   int
	conditions int // condition ids are below this
	modules    int // module ids are below this

	states *sync.Pool // of *state, the working memory of a Check
}

// Rules gives every rule of the set, in the order of policy keys, and of the
// file within a policy.
func (ps *PolicySet) Rules() []*Rule {
	var out []*Rule
	for _, units := range ps.resources {
		units.each(func(u *unit) { out = append(out, u.rules...) })
	}
	for _, units := range ps.principals {
		for _, o := range units {
			out = append(out, o.rules...)
		}
	}
	for _, layer := range ps.roles {
		for _, a := range layer.lists {
			out = append(out, a.rules...)
		}
	}
	slices.SortStableFunc(out, func(a, b *Rule) int { return strings.Compare(a.Policy, b.Policy) })
	return out
}

// Len is the number of policies that requests are decided by.
func (ps *PolicySet) Len() int { return ps.policies }

// Kinds gives the kinds of resource that there is a policy for, sorted, in the
// form that policy keys carry.
func (ps *PolicySet) Kinds() []string {
	var out []string
	for k := range ps.resources {
		out = append(out, k.kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// kindKey finds the resource policies that a request is decided by. The kind
// is sanitised.
type kindKey struct{ kind, version string }

// scopedUnits are the policies for one kind and version. Most have no scope;
// the one that has none is at hand.
type scopedUnits struct {
	root   *unit
	scoped map[string]*unit
}

func (s *scopedUnits) at(scope string) *unit {
	if scope == "" {
		return s.root
	}
	return s.scoped[scope]
}

func (s *scopedUnits) each(visit func(*unit)) {
	if s.root != nil {
		visit(s.root)
	}
	for _, u := range s.scoped {
		visit(u)
	}
}

// unitKey finds what one version of a policy says in one scope.
type unitKey struct{ version, scope string }

// A scope is one that some policy uses. Whether there is a policy for the kind
// of a request in it is another question.
type scope struct {
	name    string
	parent  *scope // the nearest above that is used; nil if there is none
	consent bool   // an ALLOW in it does not decide: a parent must allow, too
	ruled   bool   // it has policies of resources or principals, and not of roles alone

	// Of principal policies: the versions that some policy in the scope has.
	versions []string
}

// A unit is one resource policy, compiled. Its rows are what the semantics
// call rows, folded: one for the roles of a rule and one for each derived role
// that the rule names, whatever the number of actions and roles. Rules with
// outputs are not folded, since they speak once per row.
type unit struct {
	key     string
	source  *policy.Policy
	module  *module
	rows    []row
	rules   []*Rule
	actions patternIndex // to rows
	roles   roleIndex
	anyRow  bits // the roles of all rows together
	derived []derivedRole
	schemas [2]*schemaCheck // of the principal and the resource; nil: none
}

// A row says: for one of these roles (and with this derived role) the effect
// applies if the condition holds.
type row struct {
	roles     bits         // patterns of unit.roles; not of principal policies
	derived   *derivedRole // nil: none
	condition *condition   // nil: always
	negated   bool         // the effect applies if the condition does not hold
	effect    Effect
	rule      *Rule
	output    *output           // nil: none
	written   *policy.Condition // what condition was made of
}

// An output is what a row tells.
type output struct {
	src              string
	module           *module
	activated, unmet *expr.Program // nil: nothing

	// They read the list of derived roles in a principal policy, where there
	// is none yet.
	activatedEarly, unmetEarly bool

	// Condition id that says whether a row of the rule and its derived role
	// was met before; -1 if that is of no interest.
	visited int32
}

// A derivedRole is one definition in use by a unit.
type derivedRole struct {
	name      string
	parents   bits
	literal   []string // parents that are no patterns; nil if anyRole
	anyRole   bool
	condition *condition // as rules that name the role see it; nil: always
	listed    *condition // as the list of derived roles sees it

	definition *policy.RoleDefinition
}

// An override is one principal policy, compiled. A row belongs to one block of
// the policy and one action in it.
type override struct {
	key       string
	source    *policy.Policy
	module    *module
	rows      []row
	rules     []*Rule
	resources patternIndex // to rows
	actions   patternIndex // to rows
}

// A roleLayer holds the role policies of one version in one scope.
type roleLayer struct {
	lists map[string]*allowList // by role
	kinds patternIndex          // of resources that some of them is about
}

// An allowList is one role policy, compiled: all that a role may do.
type allowList struct {
	key       string
	source    *policy.Policy
	module    *module
	rows      []row   // per rule; the effect is Deny, negated, or none
	rules     []*Rule // per rule, and the last stands for what no rule lists
	resources patternIndex
	actions   patternIndex
}

// unlisted is the rule that stands for what no rule lists.
func (a *allowList) unlisted() *Rule { return a.rules[len(a.rules)-1] }

// A condition is a compiled tree, the module it reads its variables from, and
// the id under which a Check remembers its outcome. Conditions that mean the
// same are the same.
type condition struct {
	id     int32
	root   *conditionNode
	module *module // nil: it reads no variables and no constants

	key  string // what it means
	uses int    // units of the compiler that hold it

	readsRuntime bool // the list of derived roles, itself or by variables
	early        bool // it does so in a principal policy, where there is none yet
}

type conditionNode struct {
	op      policy.Operator
	program *expr.Program    // of policy.Expr
	of      []*conditionNode // of the others
}

// A module is a policy's own name space: its variables and constants.
type module struct {
	id        int32
	variables map[string]int32
	programs  []*expr.Program
	constants value.Values

	// A variable that can't be evaluated is null here, and so are its uses.
	// Otherwise it is an error.
	nullErrors bool
}

// A schemaCheck is a schema that attributes must follow.
type schemaCheck struct {
	schema *schema.Schema
	ignore []patternOrText // actions it is not for
}
