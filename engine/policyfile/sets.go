package policyfile

import (
	"fmt"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// derivedRoles reads a set of derived role definitions.
func (r *reader) derivedRoles(n yamldoc.Node) *policy.DerivedRoles {
	o, ok := n.Object("name", "variables", "constants", "definitions")
	if !ok {
		return nil
	}
	d := &policy.DerivedRoles{
		Pos:       o.Pos(),
		Name:      r.requiredName(o),
		Variables: r.variables(o),
		Constants: r.constants(o),
	}
	defined := map[string]diag.Position{}
	for _, n := range r.elements(o, "definitions") {
		definition, ok := r.roleDefinition(n)
		if !ok {
			continue
		}
		name := definition.Name
		if first, repeated := defined[name.Value]; repeated && name.Value != "" && !r.disabled {
			r.doc.ReportRelated(name.Pos, DuplicateDerivedRole, fmt.Sprintf("the derived role %q is defined twice", name.Value),
				"rename or remove one of the two", diag.Related{Pos: first, Message: "the first definition"})
			continue
		}
		defined[name.Value] = name.Pos
		d.Definitions = append(d.Definitions, definition)
	}
	return d
}

func (r *reader) roleDefinition(n yamldoc.Node) (policy.RoleDefinition, bool) {
	o, ok := n.Object("name", "parentRoles", "condition")
	if !ok {
		return policy.RoleDefinition{}, false
	}
	return policy.RoleDefinition{
		Pos:         o.Pos(),
		Name:        r.requiredName(o),
		ParentRoles: r.requiredTexts(o, "parentRoles"),
		Condition:   r.condition(o),
	}, true
}

// exportVariables reads a set of variables for policies to import.
func (r *reader) exportVariables(n yamldoc.Node) *policy.ExportVariables {
	o, ok := n.Object("name", "definitions")
	if !ok {
		return nil
	}
	return &policy.ExportVariables{Pos: o.Pos(), Name: r.requiredName(o), Definitions: r.localVariables(o, "definitions")}
}

// exportConstants reads a set of constants for policies to import.
func (r *reader) exportConstants(n yamldoc.Node) *policy.ExportConstants {
	o, ok := n.Object("name", "definitions")
	if !ok {
		return nil
	}
	return &policy.ExportConstants{Pos: o.Pos(), Name: r.requiredName(o), Definitions: r.localConstants(o, "definitions")}
}
