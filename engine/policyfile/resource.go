package policyfile

import (
	"fmt"
	"strings"

	"edict/engine/diag"
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
		Permissions:        r.scopePermissions(o),
		ImportDerivedRoles: r.names(o, "importDerivedRoles"),
		Variables:          r.variables(o),
		Constants:          r.constants(o),
		Schemas:            r.schemas(o),
	}
	if n, ok := o.Field("rules"); ok {
		p.Rules = r.rules(n)
	}
	return p
}

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
		if first, repeated := defined[definition.Name.Value]; repeated && definition.Name.Value != "" && !r.disabled {
			r.doc.ReportRelated(definition.Name.Pos, DuplicateDerivedRole, fmt.Sprintf("the derived role %q is defined twice", definition.Name.Value),
				"rename or remove one of the two", diag.Related{Pos: first, Message: "the first definition"})
			continue
		}
		defined[definition.Name.Value] = definition.Name.Pos
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

// rules reads the rules of a resource policy. Rules that name themselves must
// do so differently.
func (r *reader) rules(n yamldoc.Node) []policy.Rule {
	elements, _ := n.List()
	rules := make([]policy.Rule, 0, len(elements))
	named := map[string]diag.Position{}
	for _, e := range elements {
		rule, ok := r.rule(e)
		if !ok {
			continue
		}
		if name := rule.Name; name.Value != "" && !r.disabled {
			if first, repeated := named[name.Value]; repeated {
				r.doc.ReportRelated(name.Pos, DuplicateRuleName, fmt.Sprintf("two rules are named %q", name.Value),
					"give each rule a name of its own, or none", diag.Related{Pos: first, Message: "the first one"})
			} else {
				named[name.Value] = name.Pos
			}
		}
		rules = append(rules, rule)
	}
	return rules
}

func (r *reader) rule(n yamldoc.Node) (policy.Rule, bool) {
	o, ok := n.Object("name", "actions", "effect", "roles", "derivedRoles", "condition", "output")
	if !ok {
		return policy.Rule{}, false
	}
	rule := policy.Rule{
		Pos:          o.Pos(),
		Name:         r.ruleName(o),
		Actions:      r.requiredTexts(o, "actions"),
		Effect:       r.effect(o),
		DerivedRoles: r.names(o, "derivedRoles"),
		Condition:    r.condition(o),
		Output:       r.output(o),
	}
	if n, ok := o.Field("roles"); ok {
		rule.Roles, _ = n.Texts()
	}
	if r.isEmptyList(o, "roles") && r.isEmptyList(o, "derivedRoles") && !r.disabled {
		r.doc.Report(o.Pos(), RuleWithoutRoles, "the rule names no roles and no derived roles, so it is for nobody",
			`add roles: [...] or derivedRoles: [...]; roles: ["*"] is for everybody`)
	}
	return rule, true
}

// effect reads the effect of a rule, by its name or by the number that it has
// in the protocol.
func (r *reader) effect(o yamldoc.Object) policy.Effect {
	n, ok := o.Field("effect")
	if !ok {
		r.doc.Report(o.KeyPos("effect"), yamldoc.MissingField, "effect is required", "write effect: EFFECT_ALLOW or effect: EFFECT_DENY")
		return policy.NoEffect
	}
	allow, deny := policy.Allow.String(), policy.Deny.String()
	if n.IsInt() {
		switch i, _ := n.Int(); i {
		case 1:
			return policy.Allow
		case 2:
			return policy.Deny
		default:
			n.Report(yamldoc.UnknownValue, fmt.Sprintf("effect: %d is not a known value", i), "known values: "+allow+", "+deny)
			return policy.NoEffect
		}
	}
	if t, ok := n.Text(); ok {
		if full := "EFFECT_" + strings.ToUpper(t.Value); full == allow || full == deny {
			n.Report(yamldoc.UnknownValue, fmt.Sprintf("effect: %q is not a known value", t.Value), fmt.Sprintf("did you mean %q?", full))
			return policy.NoEffect
		}
		switch name, _ := n.Enum(allow, deny); name {
		case allow:
			return policy.Allow
		case deny:
			return policy.Deny
		}
	}
	return policy.NoEffect
}

// condition reads the condition of a rule or of a derived role; nil if there
// is none.
func (r *reader) condition(o yamldoc.Object) *policy.Condition {
	n, ok := o.Field("condition")
	if !ok {
		if o.Has("condition") {
			// Taken for absent it would make the rule unconditional, which is
			// not what whoever wrote the key meant.
			o.Node().Document().Report(o.KeyPos("condition"), EmptyCondition, "the condition is empty", "write match: and an expression below it, or remove the key")
		}
		return nil
	}
	c, ok := n.Object("match", "script")
	if !ok {
		return nil
	}
	kind, body, ok := c.OneOf("match", "script")
	if !ok {
		return nil
	}
	if kind == "script" {
		if !r.disabled {
			r.doc.Report(c.KeyPos("script"), ScriptCondition, "scripts are not supported in conditions", "write the condition in CEL: match: {expr: ...}")
		}
		return nil
	}
	return r.match(body)
}

// match reads one node of a condition.
func (r *reader) match(n yamldoc.Node) *policy.Condition {
	o, ok := n.Object("all", "any", "none", "expr")
	if !ok {
		return nil
	}
	op, body, ok := o.OneOf("all", "any", "none", "expr")
	if !ok {
		return nil
	}
	c := &policy.Condition{Pos: o.Pos()}
	switch op {
	case "expr":
		c.Op = policy.Expr
		c.Expr, _ = body.NonEmptyText()
		return c
	case "all":
		c.Op = policy.All
	case "any":
		c.Op = policy.Any
	case "none":
		c.Op = policy.None
	}
	list, ok := body.Object("of")
	if !ok {
		return nil
	}
	for _, e := range r.elements(list, "of") {
		if member := r.match(e); member != nil {
			c.Of = append(c.Of, member)
		}
	}
	return c
}

// output keeps the place of the output of a rule; nil if there is none.
func (r *reader) output(o yamldoc.Object) *policy.Output {
	n, ok := o.Field("output")
	if !ok {
		return nil
	}
	out, ok := n.Object("expr", "when")
	if !ok {
		return nil
	}
	filled := r.isFilled(out, "expr")
	if n, ok := out.Field("when"); ok {
		when, ok := n.Object("ruleActivated", "conditionNotMet")
		if !ok {
			return nil
		}
		activated, notMet := r.isFilled(when, "ruleActivated"), r.isFilled(when, "conditionNotMet")
		filled = filled || activated || notMet
	}
	if !filled && !r.disabled {
		r.doc.Report(o.KeyPos("output"), EmptyOutput, "the output holds no expression", "write when: {ruleActivated: ...} or remove the output")
	}
	return &policy.Output{Pos: n.Pos()}
}

// isFilled tells whether a field holds text, or something that was reported
// because it is no text.
func (r *reader) isFilled(o yamldoc.Object, name string) bool {
	n, ok := o.Field(name)
	if !ok {
		return false
	}
	t, ok := n.Text()
	return !ok || t.Value != ""
}

// schemas keeps the place of the schemas of a resource policy; nil if there
// are none.
func (r *reader) schemas(o yamldoc.Object) *policy.Schemas {
	n, ok := o.Field("schemas")
	if !ok {
		return nil
	}
	schemas, ok := n.Object("principalSchema", "resourceSchema")
	if !ok {
		return nil
	}
	present := false
	for _, name := range []string{"principalSchema", "resourceSchema"} {
		if n, ok := schemas.Field(name); ok {
			present = true
			r.schema(n)
		}
	}
	if !present {
		return nil
	}
	return &policy.Schemas{Pos: n.Pos()}
}

func (r *reader) schema(n yamldoc.Node) {
	o, ok := n.Object("ref", "ignoreWhen")
	if !ok {
		return
	}
	if n, ok := o.Required("ref"); ok {
		n.NonEmptyText()
	}
	if n, ok := o.Field("ignoreWhen"); ok {
		if ignore, ok := n.Object("actions"); ok {
			r.requiredTexts(ignore, "actions")
		}
	}
}
