package policyfile

import "edict/engine/diag"

// The codes of what can be wrong with a policy file. Mistakes in its YAML, and
// fields that are unknown, missing or of the wrong type, have the codes of
// package yamldoc.
const (
	// BadAPIVersion occurs when apiVersion is not api.cerbos.dev/v1.
	BadAPIVersion diag.Code = "bad-api-version"

	// BadResource occurs when the resource of a resource policy holds a
	// character that patterns are made of: a policy is for one kind.
	BadResource diag.Code = "bad-resource"

	// BadPrincipal occurs when the principal of a principal policy holds a
	// character that patterns are made of: a policy is for one principal.
	BadPrincipal diag.Code = "bad-principal"

	// BadRole occurs when the role of a role policy holds a character that
	// patterns are made of: a policy is for one role.
	BadRole diag.Code = "bad-role"

	// BadVersion occurs when a version holds anything but ASCII letters,
	// digits and underscores.
	BadVersion diag.Code = "bad-version"

	// BadScope occurs when a scope is not a list of segments between dots,
	// like emea.fr, or is a single dot.
	BadScope diag.Code = "bad-scope"

	// BadName occurs when the name of a derived role or of a set of derived
	// roles, variables or constants, or the import of one, holds anything but
	// ASCII letters, digits, underscores, dashes and dots.
	BadName diag.Code = "bad-name"

	// BadRuleName occurs when the name of a rule does not begin with an ASCII
	// letter, or goes on with anything but letters, digits and _@.-
	BadRuleName diag.Code = "bad-rule-name"

	// EmptyList occurs when a list is empty that needs an element: the actions
	// of a rule, the definitions of derived roles and their parent roles, the
	// of list of a condition.
	EmptyList diag.Code = "empty-list"

	// RuleWithoutRoles occurs when a rule names neither roles nor derived roles.
	RuleWithoutRoles diag.Code = "rule-without-roles"

	// DuplicateRuleName occurs when two rules of a resource policy have the
	// same name, or two actions of one rule of a principal policy.
	DuplicateRuleName diag.Code = "duplicate-rule-name"

	// DuplicateResource occurs when two rules of a principal policy are for the
	// same resource.
	DuplicateResource diag.Code = "duplicate-resource"

	// DuplicateDerivedRole occurs when a set defines a derived role twice.
	DuplicateDerivedRole diag.Code = "duplicate-derived-role"

	// EmptyCondition occurs when the key condition has nothing below it.
	EmptyCondition diag.Code = "empty-condition"

	// EmptyOutput occurs when an output holds no expression.
	EmptyOutput diag.Code = "empty-output"

	// ScriptCondition occurs when a condition holds a script, which Cerbos
	// once had and removed.
	ScriptCondition diag.Code = "script-condition"

	// ExportWithVariables occurs when an export of variables or constants
	// stands beside the deprecated variables at the top level.
	ExportWithVariables diag.Code = "export-with-variables"
)

// The codes of what can be wrong with a folder of policies.
const (
	// MisplacedSchemas occurs when a folder called _schemas does not lie
	// directly in the policy folder.
	MisplacedSchemas diag.Code = "misplaced-schemas"
)
