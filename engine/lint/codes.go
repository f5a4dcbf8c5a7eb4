package lint

import "edict/engine/diag"

// The codes of what Check warns about. Each comment says exactly when.
//
// A rule covers another if it is in the same policy and applies whenever the
// other does, conditions aside: its patterns match every action and every role
// that the other is for. Derived roles are covered by themselves, and by roles
// that cover all their parent roles.

// Rules that do nothing, or something else than it seems.
const (
	// UnreachableRule occurs when each action of an ALLOW rule is denied, for
	// each of its roles, by a DENY rule without condition that covers it. If
	// that is so for some of its actions only, those are named. Rules with an
	// output are passed over.
	UnreachableRule diag.Code = "unreachable-rule"

	// ShadowedRule occurs when each action of a rule is decided in the same
	// way, for each of its roles, by another rule that covers it and has no
	// condition, or the same one. Rules with an output are passed over. Of the
	// ALLOW rules of scopes that need parental consent, where a condition
	// restricts, only those with the same condition are compared.
	ShadowedRule diag.Code = "shadowed-rule"

	// DuplicateRule occurs when two rules of a policy have the same actions,
	// roles, derived roles or resources, the same effect, condition and output.
	DuplicateRule diag.Code = "duplicate-rule"

	// SwallowedPattern occurs when a list of actions or roles has an entry that
	// a pattern in the same list matches, too.
	SwallowedPattern diag.Code = "swallowed-pattern"

	// NotAPattern occurs when an action, role or resource pattern holds ? or
	// a pair of [] or {} and no *: without a * all characters stand for
	// themselves. The actions of a role policy are patterns even so.
	NotAPattern diag.Code = "not-a-pattern"

	// AllowAllToEverybody occurs when a rule allows the action * to the role *
	// without condition; in a principal policy, on the resource *.
	AllowAllToEverybody diag.Code = "allow-all-to-everybody"

	// AllowAllActions occurs when a rule allows the action * without condition
	// to roles other than *. Derived roles count only if they have no condition.
	AllowAllActions diag.Code = "allow-all-actions"

	// UnmatchableResource occurs when the resource of a rule in a role or
	// principal policy has one of : - / and @: kinds are compared with these
	// written as _, and such a pattern is not. In a principal policy only
	// patterns with * are concerned. Kinds that stay as they are, such as those
	// with a space, can match, so that patterns with other characters than
	// these, letters, digits and _ . * are passed over.
	UnmatchableResource diag.Code = "unmatchable-resource"

	// SchemaIgnored occurs when a resource policy with a scope names schemas:
	// those of the policy at the root scope apply to the whole chain.
	SchemaIgnored diag.Code = "schema-ignored"
)

// Scopes and role policies.
const (
	// ConsentAtRoot occurs when a policy without scope needs parental consent
	// and has an ALLOW rule: there is no parent to consent.
	ConsentAtRoot diag.Code = "consent-at-root"

	// ConsentWithoutEffect occurs when a policy that needs parental consent has
	// an ALLOW rule without a condition of its own and without output: it
	// neither allows nor restricts anything. Policies at the root scope have
	// ConsentAtRoot.
	ConsentWithoutEffect diag.Code = "consent-without-effect"

	// ConsentReversesOutput occurs when a policy that needs parental consent
	// has an ALLOW rule with a condition and an output: ruleActivated is
	// evaluated when the condition does not hold, conditionNotMet when it does.
	ConsentReversesOutput diag.Code = "consent-reverses-output"

	// ParentRolesOutOfReach occurs when a role policy has parentRoles and, in a
	// scope below, there is a resource policy for a kind that its rules are
	// for, or for any kind if it has no rules: requests there know the parents
	// only from a role policy in exactly that scope. Scopes where the role has
	// a policy with parentRoles do not count.
	ParentRolesOutOfReach diag.Code = "parent-roles-out-of-reach"

	// RoleRulesCombine occurs when two rules of a role policy are for one
	// action on one resource, and one of them has a condition: every such
	// condition must hold, whatever the other rule says.
	RoleRulesCombine diag.Code = "role-rules-combine"
)

// Names.
const (
	// UnusedSet occurs when no policy imports a set of derived roles,
	// variables or constants.
	UnusedSet diag.Code = "unused-set"

	// UnusedImport occurs when a policy imports a set and uses nothing of it.
	UnusedImport diag.Code = "unused-import"

	// UnusedDerivedRole occurs when a set of derived roles is imported, and no
	// rule of an importing policy names one of its roles. With UnusedImport on
	// every import of the set it is not told again.
	UnusedDerivedRole diag.Code = "unused-derived-role"

	// UnusedVariable occurs when no condition and no output reads a variable,
	// directly or by other variables. A variable of a set counts as used if one
	// importing policy uses it.
	UnusedVariable diag.Code = "unused-variable"

	// UnusedConstant is the same for a constant.
	UnusedConstant diag.Code = "unused-constant"

	// MisspeltRole occurs when a role is named in one place of the folder only,
	// and differs from one that is named in several by two letters that changed
	// places, one letter inside the word that is missing, doubled or another
	// vowel, by case, or by - _ and . between words. Words of fewer than five
	// letters, and differences in digits, are passed over.
	MisspeltRole diag.Code = "misspelt-role"

	// MisspeltResource is the same for the resource of a rule in a principal or
	// role policy, for which the folder has no resource policy.
	MisspeltResource diag.Code = "misspelt-resource"

	// DerivedRoleAsRole occurs when a rule names under roles what is a derived
	// role of an imported set, which no rule of the policy names under
	// derivedRoles, and which is nobody's parent role.
	DerivedRoleAsRole diag.Code = "derived-role-as-role"
)

// Conditions.
const (
	// ConditionAlwaysTrue occurs when a condition, or a member of one, holds
	// whenever it can be evaluated.
	ConditionAlwaysTrue diag.Code = "condition-always-true"

	// ConditionAlwaysFalse occurs when a condition, or a member of one, can
	// never hold.
	ConditionAlwaysFalse diag.Code = "condition-always-false"

	// NotACondition occurs when an expression of a condition can give no truth
	// value. It counts as not met then.
	NotACondition diag.Code = "not-a-condition"

	// NeverEqual occurs when the two sides of == or != can never be equal, or
	// a value can never be in a list: by their types, or by the types and the
	// enum that a schema gives an attribute.
	NeverEqual diag.Code = "never-equal"

	// WrongOperands occurs when an operator fails for every value that its
	// operands can have.
	WrongOperands diag.Code = "wrong-operands"

	// IntegerArithmetic occurs when an attribute or a constant, whose numbers
	// are doubles, is an operand of + - * / or % beside an integer: that
	// fails.
	IntegerArithmetic diag.Code = "integer-arithmetic"

	// NullCheck occurs when an attribute is compared with null and the
	// condition does not ask has() of it: where the attribute is missing, the
	// comparison fails.
	NullCheck diag.Code = "null-check"

	// UnknownAttribute occurs when an expression reads an attribute that the
	// schema, by additionalProperties: false or by its type, rules out.
	UnknownAttribute diag.Code = "unknown-attribute"

	// DerivedRoleNeverActive occurs when a resource policy looks in
	// runtime.effectiveDerivedRoles for a name that no rule of it has under
	// derivedRoles: only those become active.
	DerivedRoleNeverActive diag.Code = "derived-role-never-active"

	// RuntimeTooEarly occurs when a principal policy or a set of derived roles
	// reads runtime.effectiveDerivedRoles, which is not known yet then: in a
	// principal policy evaluation fails, and derived roles see an empty list or
	// that of another scope while they are found out.
	RuntimeTooEarly diag.Code = "runtime-too-early"
)

// UnusedIgnore occurs when a comment # edict:ignore silences nothing.
const UnusedIgnore diag.Code = "unused-ignore"

// Codes gives every code of this package.
func Codes() []diag.Code {
	return []diag.Code{
		UnreachableRule, ShadowedRule, DuplicateRule, SwallowedPattern, NotAPattern,
		AllowAllToEverybody, AllowAllActions, UnmatchableResource, SchemaIgnored,
		ConsentAtRoot, ConsentWithoutEffect, ConsentReversesOutput, ParentRolesOutOfReach, RoleRulesCombine,
		UnusedSet, UnusedImport, UnusedDerivedRole, UnusedVariable, UnusedConstant,
		MisspeltRole, MisspeltResource, DerivedRoleAsRole,
		ConditionAlwaysTrue, ConditionAlwaysFalse, NotACondition, NeverEqual, WrongOperands,
		IntegerArithmetic, NullCheck, UnknownAttribute, DerivedRoleNeverActive, RuntimeTooEarly,
		UnusedIgnore,
	}
}
