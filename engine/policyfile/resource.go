package policyfile

import (
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// resourcePolicy reads the rules for one kind of resource.
func (r *reader) resourcePolicy(n yamldoc.Node) *policy.ResourcePolicy {
	o, ok := n.Object("resource", "version", "scope", "scopePermissions", "importDerivedRoles",
		"variables", "constants", "schemas", "rules")
	if !ok {
		return nil
	}
	p := &policy.ResourcePolicy{
		Pos:                o.Pos(),
		Resource:           r.resource(o),
		Version:            r.version(o),
		Scope:              r.scope(o),
		Permissions:        r.scopePermissions(o, policy.PermissionsUnspecified, policy.OverrideParent, policy.RequireParentalConsent),
		Schemas:            r.schemas(o),
		ImportDerivedRoles: r.names(o, "importDerivedRoles"),
		Variables:          r.variables(o),
		Constants:          r.constants(o),
	}
	taken := names{}
	for _, n := range r.list(o, "rules") {
		if rule, ok := r.resourceRule(n); ok {
			r.unique(taken, rule.Name)
			p.Rules = append(p.Rules, rule)
		}
	}
	return p
}

func (r *reader) resourceRule(n yamldoc.Node) (policy.Rule, bool) {
	o, ok := n.Object("name", "actions", "effect", "roles", "derivedRoles", "condition", "output")
	if !ok {
		return policy.Rule{}, false
	}
	rule := policy.Rule{
		Pos:          o.Pos(),
		Name:         r.ruleName(o),
		Actions:      r.requiredTexts(o, "actions"),
		Effect:       r.effect(o),
		Roles:        r.texts(o, "roles"),
		DerivedRoles: r.names(o, "derivedRoles"),
		Condition:    r.condition(o),
		Output:       r.output(o),
	}
	nobody := r.isEmptyList(o, "roles") && r.isEmptyList(o, "derivedRoles") && !o.Misspelt("roles") && !o.Misspelt("derivedRoles")
	if nobody && !r.disabled {
		r.doc.Report(o.Pos(), RuleWithoutRoles, "the rule names no roles and no derived roles, so it is for nobody",
			`add roles: [...] or derivedRoles: [...]; roles: ["*"] is for everybody`)
	}
	return rule, true
}

// schemas reads which schemas attributes must follow; nil if there are none.
func (r *reader) schemas(o yamldoc.Object) *policy.Schemas {
	n, ok := o.Given("schemas")
	if !ok {
		return nil
	}
	body, ok := n.Object("principalSchema", "resourceSchema")
	if !ok {
		return nil
	}
	s := &policy.Schemas{
		Pos:       n.Pos(),
		Principal: r.schema(body, "principalSchema"),
		Resource:  r.schema(body, "resourceSchema"),
	}
	if s.Principal == nil && s.Resource == nil {
		return nil
	}
	return s
}

func (r *reader) schema(o yamldoc.Object, field string) *policy.SchemaRef {
	n, ok := o.Given(field)
	if !ok {
		return nil
	}
	body, ok := n.Object("ref", "ignoreWhen")
	if !ok {
		return nil
	}
	s := &policy.SchemaRef{Pos: n.Pos(), Ref: r.requiredText(body, "ref")}
	if n, ok := body.Given("ignoreWhen"); ok {
		if ignore, ok := n.Object("actions"); ok {
			s.IgnoreActions = r.requiredTexts(ignore, "actions")
		}
	}
	return s
}
