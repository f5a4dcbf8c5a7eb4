package yamldoc

import "edict/engine/diag"

// The codes of what can be wrong with a file before its content is looked at.
const (
	// TooLarge occurs when a file has more than MaxSize bytes.
	TooLarge diag.Code = "yaml-too-large"

	// TooManyProblems occurs when MaxProblems things were reported about a
	// file. What else is wrong with it is not listed.
	TooManyProblems diag.Code = "yaml-too-many-problems"

	// BadEncoding occurs when a file is not UTF-8, or holds a control
	// character that YAML does not allow.
	BadEncoding diag.Code = "yaml-bad-encoding"

	// Syntax occurs when a file is not YAML (or, under the name .json, not
	// JSON), and no more telling code applies.
	Syntax diag.Code = "yaml-syntax"

	// TabIndentation occurs when a line of a file that cannot be parsed is
	// indented with a tab.
	TabIndentation diag.Code = "yaml-tab-indentation"

	// TextAfterQuote occurs when a value begins with a quoted string and goes
	// on after the closing quote: expr: "GB" in R.attr.countries.
	TextAfterQuote diag.Code = "yaml-text-after-quote"

	// NeedsQuotes occurs when a plain value begins with a character, or holds
	// a colon and a space, that YAML gives a meaning of its own.
	NeedsQuotes diag.Code = "yaml-needs-quotes"

	// Unclosed occurs when a quote or a bracket is opened and never closed.
	Unclosed diag.Code = "yaml-unclosed"

	// BadEscape occurs when a double-quoted string holds a backslash sequence
	// that YAML does not know.
	BadEscape diag.Code = "yaml-bad-escape"

	// SeveralDocuments occurs when a file holds more than one document.
	SeveralDocuments diag.Code = "yaml-several-documents"

	// BadTag occurs when a value has a tag (!name) that is not one of !!str,
	// !!int, !!float, !!bool, !!map and !!seq, or does not fit the value. A
	// plain value that begins with an exclamation mark is read as one:
	// expr: !R.attr.sealed.
	BadTag diag.Code = "yaml-bad-tag"

	// UnknownAnchor occurs when an alias (*name) has no anchor (&name) before it.
	UnknownAnchor diag.Code = "yaml-unknown-anchor"

	// DuplicateAnchor occurs when two nodes have the same anchor.
	DuplicateAnchor diag.Code = "yaml-duplicate-anchor"

	// RecursiveAnchor occurs when an alias stands inside the node it refers to.
	RecursiveAnchor diag.Code = "yaml-recursive-anchor"

	// TooDeep occurs when nodes are nested more than MaxDepth levels deep.
	TooDeep diag.Code = "yaml-too-deep"

	// TooManyAliases occurs when aliases repeat more than MaxAliasNodes nodes.
	TooManyAliases diag.Code = "yaml-too-many-aliases"

	// BadMerge occurs when the value of a merge key (<<) is neither a mapping
	// nor a list of mappings.
	BadMerge diag.Code = "yaml-bad-merge"
)

// The codes of what can be wrong with the shape of the content.
const (
	// WrongType occurs when a value is of another type than its field takes.
	WrongType diag.Code = "wrong-type"

	// KeyNotString occurs when a key of a mapping is not a string: 1: one.
	KeyNotString diag.Code = "key-not-string"

	// RepeatedKey occurs when a mapping has the same key twice, or the same
	// field in both spellings (apiVersion and api_version).
	RepeatedKey diag.Code = "repeated-key"

	// UnknownField occurs when a mapping has a key that is none of its fields.
	UnknownField diag.Code = "unknown-field"

	// MissingField occurs when a required field is absent or null.
	MissingField diag.Code = "missing-field"

	// OneOfMissing occurs when none of several fields is there, and one must be.
	OneOfMissing diag.Code = "one-of-missing"

	// OneOfRepeated occurs when several fields are there that exclude each other.
	OneOfRepeated diag.Code = "one-of-repeated"

	// EmptyText occurs when a string is empty that must not be.
	EmptyText diag.Code = "empty-text"

	// NotUnique occurs when a list holds the same string twice.
	NotUnique diag.Code = "not-unique"

	// UnknownValue occurs when a string is none of the values its field takes.
	UnknownValue diag.Code = "unknown-value"

	// BadNumber occurs when a number is out of the range its field takes, and
	// when a free value is a number to some readers of YAML only: 1e3, 08.
	BadNumber diag.Code = "bad-number"

	// BadDuration occurs when a string is not a duration like 250ms or 1h30m.
	BadDuration diag.Code = "bad-duration"
)
