package policyfile

import (
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// rolePolicy reads all that a role may do. Its rules may share names and
// resources, other than those of the other kinds.
func (r *reader) rolePolicy(n yamldoc.Node) *policy.RolePolicy {
	o, ok := n.Object("role", "version", "scope", "scopePermissions", "parentRoles", "variables", "constants", "rules")
	if !ok {
		return nil
	}
	p := &policy.RolePolicy{
		Pos:         o.Pos(),
		Role:        r.role(o),
		Version:     r.optionalVersion(o),
		Scope:       r.scope(o),
		ParentRoles: r.texts(o, "parentRoles"),
		Variables:   r.variables(o),
		Constants:   r.constants(o),
	}
	// They change nothing, since a role policy allows nothing by itself.
	r.scopePermissions(o, policy.PermissionsUnspecified, policy.RequireParentalConsent)
	for _, n := range r.list(o, "rules") {
		if rule, ok := r.roleRule(n); ok {
			p.Rules = append(p.Rules, rule)
		}
	}
	return p
}

// optionalVersion reads the version of a role policy, "default" if it has none.
func (r *reader) optionalVersion(o yamldoc.Object) diag.Text {
	if t, ok := r.text(o, "version"); ok && t.Value == "" {
		return diag.Text{Value: "default", Pos: o.KeyPos("version")}
	}
	return r.version(o)
}

func (r *reader) roleRule(n yamldoc.Node) (policy.RoleRule, bool) {
	o, ok := n.Object("name", "resource", "allowActions", "condition", "output")
	if !ok {
		return policy.RoleRule{}, false
	}
	return policy.RoleRule{
		Pos:          o.Pos(),
		Name:         r.ruleName(o),
		Resource:     r.requiredText(o, "resource"),
		AllowActions: r.requiredTexts(o, "allowActions"),
		Condition:    r.condition(o),
		Output:       r.output(o),
	}, true
}
