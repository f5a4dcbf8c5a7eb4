package admin

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api"
	"edict/api/cerbospb"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
)

// messageOf gives a policy as a message.
func messageOf(p stored) (*cerbospb.Policy, error) {
	c := &converter{}
	out := &cerbospb.Policy{
		ApiVersion:  policy.APIVersion,
		Description: p.Description.Value,
		Metadata:    c.metadata(p),
	}
	switch {
	case p.Resource != nil:
		out.PolicyType = &cerbospb.Policy_ResourcePolicy{ResourcePolicy: c.resource(p.Resource)}
	case p.Principal != nil:
		out.PolicyType = &cerbospb.Policy_PrincipalPolicy{PrincipalPolicy: c.principal(p.Principal)}
	case p.Role != nil:
		out.PolicyType = &cerbospb.Policy_RolePolicy{RolePolicy: c.role(p.Role)}
	case p.DerivedRoles != nil:
		d := &cerbospb.DerivedRoles{Name: p.DerivedRoles.Name.Value, Variables: variables(p.DerivedRoles.Variables), Constants: c.constants(p.DerivedRoles.Constants)}
		for i := range p.DerivedRoles.Definitions {
			r := &p.DerivedRoles.Definitions[i]
			d.Definitions = append(d.Definitions, &cerbospb.RoleDef{Name: r.Name.Value, ParentRoles: texts(r.ParentRoles), Condition: condition(r.Condition)})
		}
		out.PolicyType = &cerbospb.Policy_DerivedRoles{DerivedRoles: d}
	case p.ExportVariables != nil:
		out.PolicyType = &cerbospb.Policy_ExportVariables{ExportVariables: &cerbospb.ExportVariables{
			Name: p.ExportVariables.Name.Value, Definitions: expressions(p.ExportVariables.Definitions),
		}}
	case p.ExportConstants != nil:
		out.PolicyType = &cerbospb.Policy_ExportConstants{ExportConstants: &cerbospb.ExportConstants{
			Name: p.ExportConstants.Name.Value, Definitions: c.values(p.ExportConstants.Definitions),
		}}
	}
	if c.err != nil {
		return nil, status.Error(codes.Internal, fmt.Sprintf("the policy %s can't be told: %v", p.id, c.err))
	}
	return out, nil
}

// A converter makes messages, and keeps the first error of a value.
type converter struct{ err error }

func (c *converter) value(v value.Value) *structpb.Value {
	m, err := api.MessageOf(v)
	if err != nil && c.err == nil {
		c.err = err
	}
	return m
}

func (c *converter) metadata(p stored) *cerbospb.Metadata {
	out := &cerbospb.Metadata{
		SourceFile: p.id, StoreIdentifer: p.id, StoreIdentifier: p.id,
		SourceAttributes: &cerbospb.SourceAttributes{Attributes: map[string]*structpb.Value{}},
	}
	for k, v := range p.Metadata.SourceAttributes {
		out.SourceAttributes.Attributes[k] = c.value(v)
	}
	out.SourceAttributes.Attributes["driver"] = structpb.NewStringValue("disk")
	out.SourceAttributes.Attributes["source"] = structpb.NewStringValue(p.id)
	for _, a := range p.Metadata.Annotations {
		if out.Annotations == nil {
			out.Annotations = map[string]string{}
		}
		out.Annotations[a.Name.Value] = a.Value.Value
	}
	return out
}

func (c *converter) resource(p *policy.ResourcePolicy) *cerbospb.ResourcePolicy {
	out := &cerbospb.ResourcePolicy{
		Resource: p.Resource.Value, Version: p.Version.Value, Scope: p.Scope.Value,
		ImportDerivedRoles: texts(p.ImportDerivedRoles),
		ScopePermissions:   cerbospb.ScopePermissions(p.Permissions),
		Variables:          variables(p.Variables), Constants: c.constants(p.Constants),
	}
	if s := p.Schemas; s != nil {
		out.Schemas = &cerbospb.Schemas{PrincipalSchema: schemaRef(s.Principal), ResourceSchema: schemaRef(s.Resource)}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		out.Rules = append(out.Rules, &cerbospb.ResourceRule{
			Name: r.Name.Value, Actions: texts(r.Actions), Roles: texts(r.Roles), DerivedRoles: texts(r.DerivedRoles),
			Effect: effect(r.Effect), Condition: condition(r.Condition), Output: output(r.Output),
		})
	}
	return out
}

func (c *converter) principal(p *policy.PrincipalPolicy) *cerbospb.PrincipalPolicy {
	out := &cerbospb.PrincipalPolicy{
		Principal: p.Principal.Value, Version: p.Version.Value, Scope: p.Scope.Value,
		ScopePermissions: cerbospb.ScopePermissions(p.Permissions),
		Variables:        variables(p.Variables), Constants: c.constants(p.Constants),
	}
	for i := range p.Rules {
		r := &cerbospb.PrincipalRule{Resource: p.Rules[i].Resource.Value}
		for j := range p.Rules[i].Actions {
			a := &p.Rules[i].Actions[j]
			r.Actions = append(r.Actions, &cerbospb.PrincipalRule_Action{
				Name: a.Name.Value, Action: a.Action.Value, Effect: effect(a.Effect), Condition: condition(a.Condition), Output: output(a.Output),
			})
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}

func (c *converter) role(p *policy.RolePolicy) *cerbospb.RolePolicy {
	out := &cerbospb.RolePolicy{
		PolicyType: &cerbospb.RolePolicy_Role{Role: p.Role.Value}, Version: p.Version.Value, Scope: p.Scope.Value,
		ParentRoles: texts(p.ParentRoles), Variables: variables(p.Variables), Constants: c.constants(p.Constants),
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		out.Rules = append(out.Rules, &cerbospb.RoleRule{
			Name: r.Name.Value, Resource: r.Resource.Value, AllowActions: texts(r.AllowActions), Condition: condition(r.Condition), Output: output(r.Output),
		})
	}
	return out
}

func (c *converter) constants(from policy.Constants) *cerbospb.Constants {
	if len(from.Import)+len(from.Local) == 0 {
		return nil
	}
	return &cerbospb.Constants{Import: texts(from.Import), Local: c.values(from.Local)}
}

func (c *converter) values(list []policy.Constant) map[string]*structpb.Value {
	out := make(map[string]*structpb.Value, len(list))
	for _, x := range list {
		out[x.Name.Value] = c.value(x.Value)
	}
	return out
}

func variables(from policy.Variables) *cerbospb.Variables {
	if len(from.Import)+len(from.Local) == 0 {
		return nil
	}
	return &cerbospb.Variables{Import: texts(from.Import), Local: expressions(from.Local)}
}

func expressions(list []policy.Variable) map[string]string {
	out := make(map[string]string, len(list))
	for _, v := range list {
		out[v.Name.Value] = v.Expr.Value
	}
	return out
}

func texts(list []diag.Text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.Value)
	}
	return out
}

func effect(e policy.Effect) cerbospb.Effect {
	switch e {
	case policy.Allow:
		return cerbospb.Effect_EFFECT_ALLOW
	case policy.Deny:
		return cerbospb.Effect_EFFECT_DENY
	}
	return cerbospb.Effect_EFFECT_UNSPECIFIED
}

func condition(c *policy.Condition) *cerbospb.Condition {
	if c == nil {
		return nil
	}
	return &cerbospb.Condition{Condition: &cerbospb.Condition_Match{Match: match(c)}}
}

func match(c *policy.Condition) *cerbospb.Match {
	if c.Op == policy.Expr {
		return &cerbospb.Match{Op: &cerbospb.Match_Expr{Expr: c.Expr.Value}}
	}
	list := new(cerbospb.Match_ExprList)
	for _, m := range c.Of {
		list.Of = append(list.Of, match(m))
	}
	switch c.Op {
	case policy.Any:
		return &cerbospb.Match{Op: &cerbospb.Match_Any{Any: list}}
	case policy.None:
		return &cerbospb.Match{Op: &cerbospb.Match_None{None: list}}
	}
	return &cerbospb.Match{Op: &cerbospb.Match_All{All: list}}
}

func output(o *policy.Output) *cerbospb.Output {
	if o == nil {
		return nil
	}
	return &cerbospb.Output{When: &cerbospb.Output_When{RuleActivated: o.RuleActivated.Value, ConditionNotMet: o.ConditionNotMet.Value}}
}

func schemaRef(r *policy.SchemaRef) *cerbospb.Schemas_Schema {
	if r == nil {
		return nil
	}
	out := &cerbospb.Schemas_Schema{Ref: r.Ref.Value}
	if len(r.IgnoreActions) > 0 {
		out.IgnoreWhen = &cerbospb.Schemas_IgnoreWhen{Actions: texts(r.IgnoreActions)}
	}
	return out
}
