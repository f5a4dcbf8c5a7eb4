package suite

import (
	"encoding/json"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/value"
)

// A Suite is one file of tests, read and checked.
type Suite struct {
	File        string // below the folder of tests, with slashes
	Name        string // UnknownName if the file has mistakes
	Description string
	Skip        bool
	SkipReason  string

	// Problems say why the suite cannot be run. They are empty if it can.
	Problems diag.List

	// Stage says, in a few words, what failed if there are Problems.
	Stage string

	// Warnings are doubts about the suite, which do not keep it from running.
	Warnings diag.List

	tests []*test
}

// UnknownName is the Name of a suite whose file has mistakes, as Cerbos reports
// it.
const UnknownName = "Unknown"

// Tests is the number of tests in the suite; 0 if it has Problems.
func (s *Suite) Tests() int { return len(s.tests) }

// A test checks every principal of its input against every resource.
type test struct {
	name        diag.Text
	description string
	skip        bool
	skipReason  string
	options     settings
	actions     []diag.Text
	aux         *engine.AuxData // nil: none
	cells       []cell
}

// A cell is one principal, one resource, and what is expected of them.
type cell struct {
	principalName, resourceName string
	principal                   *engine.Principal
	resource                    *engine.Resource
	expected                    *expected // nil: a deny of everything
}

// expected is what all the expectations of a test together say of one cell.
type expected struct {
	effects map[string]expectedEffect    // by action
	outputs map[string][]*expectedOutput // by action, one per source
}

type expectedEffect struct {
	effect engine.Effect
	pos    diag.Position
}

// An expectedOutput is what an output should be. Its value is absent if the
// file gives none; no output is equal to that.
type expectedOutput struct {
	src string
	val value.Value
	pos diag.Position
}

// settings are the options of a suite or a test. What the file does not name
// is nil, and taken from the options of the run.
type settings struct {
	now          time.Time // zero: the tests do not set the clock
	globals      value.Values
	version      *string
	scope        *string
	lenientScope *bool
	strict       *bool
}

// over gives base with what the settings change.
func (s *settings) over(base engine.Options) engine.Options {
	if s.globals != nil {
		base.Globals = s.globals
	}
	if s.version != nil {
		base.DefaultPolicyVersion = *s.version
	}
	if s.scope != nil {
		base.DefaultScope = *s.scope
	}
	if s.lenientScope != nil {
		base.LenientScopeSearch = *s.lenientScope
	}
	if s.strict != nil {
		base.LenientEvaluation = !*s.strict
	}
	return base
}

// key tells settings apart that need policies of their own.
func (s *settings) key() string {
	k, _ := json.Marshal([]any{value.OfMapping(s.globals).Native(), s.globals != nil, s.version, s.scope, s.lenientScope, s.strict})
	return string(k) // cannot fail: globals are JSON values
}
