package policyfile

import (
	"fmt"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// principalPolicy reads the rules for one principal.
func (r *reader) principalPolicy(n yamldoc.Node) *policy.PrincipalPolicy {
	o, ok := n.Object("principal", "version", "scope", "scopePermissions", "variables", "constants", "rules")
	if !ok {
		return nil
	}
	p := &policy.PrincipalPolicy{
		Pos:         o.Pos(),
		Principal:   r.principal(o),
		Version:     r.version(o),
		Scope:       r.scope(o),
		Permissions: r.scopePermissions(o, policy.PermissionsUnspecified, policy.OverrideParent, policy.RequireParentalConsent),
		Variables:   r.variables(o),
		Constants:   r.constants(o),
	}
	resources := map[string]diag.Position{}
	for _, n := range r.list(o, "rules") {
		rule, ok := r.principalRule(n)
		if !ok {
			continue
		}
		resource := rule.Resource
		if first, repeated := resources[resource.Value]; repeated && resource.Value != "" && !r.disabled {
			r.doc.ReportRelated(resource.Pos, DuplicateResource, fmt.Sprintf("two rules are for the resource %q", resource.Value),
				"put all actions on a resource into one rule", diag.Related{Pos: first, Message: "the first one"})
		} else {
			resources[resource.Value] = resource.Pos
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

func (r *reader) principalRule(n yamldoc.Node) (policy.PrincipalRule, bool) {
	o, ok := n.Object("resource", "actions")
	if !ok {
		return policy.PrincipalRule{}, false
	}
	rule := policy.PrincipalRule{Pos: o.Pos(), Resource: r.requiredText(o, "resource")}
	taken := names{}
	for _, n := range r.elements(o, "actions") {
		if action, ok := r.actionRule(n); ok {
			r.unique(taken, action.Name)
			rule.Actions = append(rule.Actions, action)
		}
	}
	return rule, true
}

func (r *reader) actionRule(n yamldoc.Node) (policy.ActionRule, bool) {
	o, ok := n.Object("name", "action", "effect", "condition", "output")
	if !ok {
		return policy.ActionRule{}, false
	}
	return policy.ActionRule{
		Pos:       o.Pos(),
		Name:      r.ruleName(o),
		Action:    r.requiredText(o, "action"),
		Effect:    r.effect(o),
		Condition: r.condition(o),
		Output:    r.output(o),
	}, true
}
