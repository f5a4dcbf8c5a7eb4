package suite

import "edict/engine/diag"

// The codes of what can be wrong with a suite or its fixtures, beside those of
// package yamldoc.
const (
	// Unreadable occurs when a suite or a file of fixtures cannot be read.
	Unreadable diag.Code = "test-unreadable"

	// EmptySuite occurs when a suite's file holds nothing but comments.
	EmptySuite diag.Code = "test-empty-suite"

	// EmptyList occurs when a list or mapping must have an entry and has none:
	// tests, expected, actions, the members of a group.
	EmptyList diag.Code = "test-empty-list"

	// NobodyNamed occurs when a test's input, or an expectation, names no
	// principals or no resources.
	NobodyNamed diag.Code = "test-nobody-named"

	// BothForms occurs when an expectation has principal and principals, or
	// resource and resources.
	BothForms diag.Code = "test-both-forms"

	// BadTime occurs when options.now is not an instant in the form of
	// RFC 3339.
	BadTime diag.Code = "test-bad-time"

	// BadScope occurs when the scope of a fixture cannot be one.
	BadScope diag.Code = "test-bad-scope"

	// BadVersion occurs when the policyVersion of a fixture cannot be one.
	BadVersion diag.Code = "test-bad-version"

	// BadEffect occurs when an expected effect is neither EFFECT_ALLOW nor
	// EFFECT_DENY.
	BadEffect diag.Code = "test-bad-effect"

	// DuplicateTest occurs when two tests of a suite have the same name.
	DuplicateTest diag.Code = "test-duplicate-name"

	// UnknownFixture occurs when a principal, a resource, auxData or a group
	// is named that neither the suite nor the fixtures beside it define.
	UnknownFixture diag.Code = "test-unknown-fixture"

	// OutsideInput occurs when an expectation names a principal, a resource or
	// an action that the test's input does not.
	OutsideInput diag.Code = "test-outside-input"

	// Contradiction occurs when two expectations say different things of the
	// same action or output.
	Contradiction diag.Code = "test-contradiction"

	// Shadowed occurs when an expectation of an output, or a file of fixtures,
	// has no effect since another takes its place. It is a warning.
	Shadowed diag.Code = "test-shadowed"

	// Uncompiled occurs when the policies do not compile under the options of
	// a test, though they do under the defaults.
	Uncompiled diag.Code = "test-policies-do-not-compile"
)
