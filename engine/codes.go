package engine

import "edict/engine/diag"

// The diagnostics that compiling policies can give. Codes are stable: scripts
// may rely on them.
const (
	// CodeUnsupported is for a part of the policy language that the engine
	// does not decide yet. Loading it all the same could drop a denial.
	CodeUnsupported diag.Code = "unsupported"

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

	// CodeRuntimeInDerivedRole is for a derived role whose condition reads the
	// list of derived roles, which is not known before it is evaluated.
	CodeRuntimeInDerivedRole diag.Code = "runtime-in-derived-role"
)
