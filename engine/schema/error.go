package schema

import "edict/engine/diag"

// An Error says why a reference of a policy gives no schema.
type Error struct {
	Ref     string        // as the policy writes it
	Pos     diag.Position // the place in a schema; zero if the mistake is in the reference
	Message string        // what is wrong, in one line
	Hint    string        // how to mend it; may be empty
}

// Error gives position, message and hint in one line.
func (e *Error) Error() string {
	return diag.Diagnostic{Pos: e.Pos, Message: e.Message, Hint: e.Hint}.Error()
}
