package expr

import "edict/engine/value"

// Step and Trace are placeholders: helper B, delete this file when you add
// yours (the engine uses them as they are declared here).
type Step struct {
	Text         string // of the sub-expression
	Line, Column int    // from 1, within the expression
	Value        value.Value
}

// Trace is a placeholder.
func (p *Program) Trace(f *Frame) ([]Step, value.Value) { return nil, p.Eval(f) }
