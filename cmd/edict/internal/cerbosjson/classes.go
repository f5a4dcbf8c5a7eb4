package cerbosjson

import (
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/engine/yamldoc"
)

// A section is a list of the document.
type section uint8

const (
	compileErrors section = iota
	loadFailures
	missingImports
	missingScopes
	duplicateDefs
	scopeConflicts
)

// An errorKind is the number in error_details.kind.
type errorKind int

const (
	noKind          errorKind = iota // rules that join fields, and files as a whole
	parseError                       // the file is not what its format demands
	validationError                  // a field has a value that it does not take
)

// A spot says which place position names, as Cerbos does.
type spot uint8

const (
	// fieldSpot is the key of the field that holds the mistake; of an element
	// of a list, or an entry of a mapping with free keys, it is the value.
	fieldSpot spot = iota

	// exactSpot is the very place of the diagnostic.
	exactSpot

	// fileSpot is the very place, too, of which no field can be named.
	fileSpot

	// listSpot is the key of the list that an element is in.
	listSpot

	// holderSpot is the mapping that holds the field.
	holderSpot

	// mappingSpot is the mapping that begins at the place.
	mappingSpot

	// mappingFieldSpot is the key of the field whose value begins there.
	mappingFieldSpot

	// holderFieldSpot is the key of the field that holds the mapping with the
	// field in it.
	holderFieldSpot
)

// A class is how Cerbos treats a kind of mistake.
type class struct {
	section section
	kind    errorKind
	error   string // the class of a compile error
	spot    spot
}

// classOf gives the class of a diagnostic in a policy file. Every code of the
// compiler that has no class of its own is a compile error.
func classOf(code diag.Code) class {
	switch code {
	case engine.CodeUnknownImport:
		return class{section: missingImports}
	case engine.CodeMissingScope:
		return class{section: missingScopes}
	case engine.CodeDuplicatePolicy:
		return class{section: duplicateDefs, spot: mappingSpot}
	case engine.CodeScopePermissions:
		return class{section: scopeConflicts}

	case engine.CodeInvalidExpression:
		return class{error: "invalid expression"}
	case engine.CodeUndefinedVariable:
		return class{error: "undefined variable"}
	case engine.CodeUndefinedConstant:
		return class{error: "undefined constant"}
	case engine.CodeCyclicVariables:
		return class{error: "cyclical variable definitions"}
	case engine.CodeUnknownDerivedRole:
		return class{error: "unknown derived role"}
	case engine.CodeAmbiguousDerivedRole:
		return class{error: "ambiguous derived role"}
	case engine.CodeInvalidSchema:
		return class{error: "invalid schema"}
	case engine.CodeInvalidName:
		return class{error: "invalid variable name", spot: exactSpot}
	case engine.CodeRedefined:
		return class{error: "variable redefined"}
	case policyfile.ScriptCondition:
		return class{error: "scripts in conditions are no longer supported", spot: holderFieldSpot}
	case policyfile.EmptyOutput:
		return class{error: "empty output", spot: mappingFieldSpot}

	case yamldoc.WrongType, yamldoc.UnknownValue, yamldoc.UnknownField, yamldoc.KeyNotString, yamldoc.RepeatedKey,
		yamldoc.OneOfRepeated, yamldoc.BadNumber, policyfile.EmptyCondition:
		return class{section: loadFailures, kind: parseError, spot: exactSpot}
	case yamldoc.SeveralDocuments, yamldoc.TooLarge:
		return class{section: loadFailures, spot: fileSpot}
	case yamldoc.MissingField, yamldoc.OneOfMissing:
		return class{section: loadFailures, kind: validationError, spot: mappingSpot}
	case yamldoc.NotUnique:
		return class{section: loadFailures, kind: validationError, spot: listSpot}
	case yamldoc.EmptyText, policyfile.BadAPIVersion, policyfile.BadResource, policyfile.BadPrincipal, policyfile.BadRole,
		policyfile.BadVersion, policyfile.BadScope, policyfile.BadName, policyfile.BadRuleName, policyfile.EmptyList:
		return class{section: loadFailures, kind: validationError}
	case policyfile.RuleWithoutRoles:
		return class{section: loadFailures, spot: mappingSpot}
	case policyfile.DuplicateRuleName, policyfile.DuplicateResource, policyfile.DuplicateDerivedRole:
		return class{section: loadFailures, spot: holderSpot}
	case policyfile.ExportWithVariables:
		return class{section: loadFailures, spot: exactSpot}
	case policyfile.MisplacedSchemas, folder.Unreadable, folder.TooManyFolders, folder.LinkLoop:
		return class{section: loadFailures}
	}
	if strings.HasPrefix(string(code), "yaml-") {
		return class{section: loadFailures, kind: parseError, spot: exactSpot}
	}
	return class{error: strings.ReplaceAll(string(code), "-", " ")}
}
