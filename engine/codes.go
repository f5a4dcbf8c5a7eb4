package engine

import "edict/engine/diag"

// The diagnostics that compiling policies can give. Codes are stable: scripts
// may rely on them.
const (
	// CodeDuplicatePolicy is for two files that define the same policy: the
	// same kind, name, version and scope.
	CodeDuplicatePolicy diag.Code = "duplicate-policy"

	// CodeUnknownImport is for an import of a set that does not exist.
	CodeUnknownImport diag.Code = "unknown-import"

	// CodeUnknownDerivedRole is for a rule that names a derived role which no
	// imported set defines.
	CodeUnknownDerivedRole diag.Code = "unknown-derived-role"

	// CodeAmbiguousDerivedRole is for a rule that names a derived role which
	// several imported sets define.
	CodeAmbiguousDerivedRole diag.Code = "ambiguous-derived-role"

	// CodeBadPattern is for a wildcard pattern that can't be parsed.
	CodeBadPattern diag.Code = "bad-pattern"

	// CodeInvalidExpression is for a CEL expression that does not parse or
	// type-check.
	CodeInvalidExpression diag.Code = "invalid-expression"

	// CodeInvalidName is for a variable or constant whose name is no
	// identifier.
	CodeInvalidName diag.Code = "invalid-name"

	// CodeRedefined is for a variable or constant defined more than once in
	// one policy.
	CodeRedefined diag.Code = "redefined"

	// CodeUndefinedVariable is for V.name or variables.name with a name that
	// the policy does not define.
	CodeUndefinedVariable diag.Code = "undefined-variable"

	// CodeUndefinedConstant is for C.name or constants.name with a name that
	// the policy does not define.
	CodeUndefinedConstant diag.Code = "undefined-constant"

	// CodeCyclicVariables is for variables that are defined by each other.
	CodeCyclicVariables diag.Code = "cyclic-variables"

	// CodeMissingScope is for a policy in a scope above which there is no
	// policy of the same name and version.
	CodeMissingScope diag.Code = "missing-scope"

	// CodeTooManyParents is for role policies by which roles inherit more roles
	// than can be looked at.
	CodeTooManyParents diag.Code = "too-many-parent-roles"

	// CodeScopePermissions is for policies of one scope that differ in
	// scopePermissions.
	CodeScopePermissions diag.Code = "scope-permissions-conflict"

	// CodeInvalidSchema is for a reference to a JSON Schema that does not exist
	// or is no valid schema.
	CodeInvalidSchema diag.Code = "invalid-schema"
)
