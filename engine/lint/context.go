package lint

import (
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/schema"
	"edict/engine/value"
)

// A context is what the expressions of a policy can name, and what is known
// about the attributes that they read.
type context struct {
	policy    *policy.Policy
	variables map[string]definition
	constants map[string]value.Value
	schemas   map[string]*schema.Schema // by P and R; none: nothing is known
	asked     map[string]bool           // attributes that an expression asks has() of
}

// A definition is a variable and the policy that it stands in.
type definition struct {
	text   diag.Text
	policy *policy.Policy
}

// contextOf gives the context of a policy, and of a set of variables the
// variables of that set alone: what it reads beyond them depends on the policy
// that imports it.
func (l *linter) contextOf(p *policy.Policy) *context {
	if c, ok := l.contexts[p]; ok {
		return c
	}
	c := &context{policy: p, variables: map[string]definition{}, constants: map[string]value.Value{}, asked: map[string]bool{}}
	l.contexts[p] = c
	define := func(in *policy.Policy, list []policy.Variable) {
		for _, v := range list {
			c.variables[v.Name.Value] = definition{v.Expr, in}
		}
	}
	variables, constants := p.Names()
	define(p, variables.Local)
	for _, name := range variables.Import {
		if set := l.variableSets[name.Value]; set != nil {
			define(set, set.ExportVariables.Definitions)
		}
	}
	if p.ExportVariables != nil {
		define(p, p.ExportVariables.Definitions)
	}
	for _, k := range constants.Local {
		c.constants[k.Name.Value] = k.Value
	}
	for _, name := range constants.Import {
		if set := l.constantSets[name.Value]; set != nil {
			for _, k := range set.ExportConstants.Definitions {
				c.constants[k.Name.Value] = k.Value
			}
		}
	}
	c.schemas = l.schemasFor(p)
	for _, t := range expressionsIn(p) {
		l.guards(c, t)
	}
	for _, d := range c.variables {
		l.guards(c, d.text)
	}
	return c
}

// guards notes the attributes that an expression asks has() of, or reads as an
// optional.
func (l *linter) guards(c *context, t diag.Text) {
	parsed := l.syntax.parse(t.Value)
	if parsed.root == nil {
		return
	}
	var visit func(ast.Expr)
	visit = func(x ast.Expr) {
		if args, ok := call(x, operators.Has); ok {
			for _, a := range args {
				c.asked[text(a)] = true
			}
		}
		if args, ok := call(x, operators.In); ok { // "x" in R.attr
			if name, ok := stringLiteral(args[0]); ok {
				c.asked[text(l.syntax.factory.NewSelect(0, args[1], name))] = true
			}
		}
		expr.EachMember(x, visit)
	}
	visit(parsed.root)
}

// schemasFor gives the schemas that the attributes in expressions of a policy
// follow, where that is one for all requests.
func (l *linter) schemasFor(p *policy.Policy) map[string]*schema.Schema {
	out := map[string]*schema.Schema{}
	if l.schemas == nil {
		return out
	}
	var principal, resource string
	switch {
	case p.Resource != nil:
		principal, resource = l.schemaRefs(p.Resource)
	case p.DerivedRoles != nil && len(l.importers[p]) > 0:
		for i, importer := range l.importers[p] {
			a, b := "", ""
			if importer.Resource != nil {
				a, b = l.schemaRefs(importer.Resource)
			}
			if i == 0 {
				principal, resource = a, b
			}
			if a != principal {
				principal = ""
			}
			if b != resource {
				resource = ""
			}
		}
	}
	for name, ref := range map[string]string{"P": principal, "R": resource} {
		if ref == "" {
			continue
		}
		if s, err := l.schemas.Compile(ref); err == nil {
			out[name] = s
		}
	}
	return out
}

// schemaRefs gives the schemas that the policy at the root of the scopes names.
func (l *linter) schemaRefs(r *policy.ResourcePolicy) (principal, resource string) {
	top := l.roots[policy.ResourceKey(r.Resource.Value, r.Version.Value, "")]
	if top == nil || top.Schemas == nil {
		return "", ""
	}
	if s := top.Schemas.Principal; s != nil {
		principal = s.Ref.Value
	}
	if s := top.Schemas.Resource; s != nil {
		resource = s.Ref.Value
	}
	return principal, resource
}

// conditionsIn gives the conditions of a policy.
func conditionsIn(p *policy.Policy) []*policy.Condition {
	var out []*policy.Condition
	add := func(c *policy.Condition) {
		if c != nil {
			out = append(out, c)
		}
	}
	switch {
	case p.Resource != nil:
		for i := range p.Resource.Rules {
			add(p.Resource.Rules[i].Condition)
		}
	case p.Principal != nil:
		for i := range p.Principal.Rules {
			for j := range p.Principal.Rules[i].Actions {
				add(p.Principal.Rules[i].Actions[j].Condition)
			}
		}
	case p.Role != nil:
		for i := range p.Role.Rules {
			add(p.Role.Rules[i].Condition)
		}
	case p.DerivedRoles != nil:
		for i := range p.DerivedRoles.Definitions {
			add(p.DerivedRoles.Definitions[i].Condition)
		}
	}
	return out
}

// outputsIn gives the expressions of outputs in a policy.
func outputsIn(p *policy.Policy) []diag.Text {
	var out []diag.Text
	add := func(o *policy.Output) {
		if o == nil {
			return
		}
		for _, t := range []diag.Text{o.RuleActivated, o.ConditionNotMet} {
			if t.Value != "" {
				out = append(out, t)
			}
		}
	}
	switch {
	case p.Resource != nil:
		for i := range p.Resource.Rules {
			add(p.Resource.Rules[i].Output)
		}
	case p.Principal != nil:
		for i := range p.Principal.Rules {
			for j := range p.Principal.Rules[i].Actions {
				add(p.Principal.Rules[i].Actions[j].Output)
			}
		}
	case p.Role != nil:
		for i := range p.Role.Rules {
			add(p.Role.Rules[i].Output)
		}
	}
	return out
}

// leaves gives the expressions of a condition.
func leaves(c *policy.Condition) []diag.Text {
	if c == nil {
		return nil
	}
	if c.Op == policy.Expr {
		return []diag.Text{c.Expr}
	}
	var out []diag.Text
	for _, m := range c.Of {
		out = append(out, leaves(m)...)
	}
	return out
}

// expressionsIn gives the expressions of conditions and outputs in a policy.
func expressionsIn(p *policy.Policy) []diag.Text {
	var out []diag.Text
	for _, c := range conditionsIn(p) {
		out = append(out, leaves(c)...)
	}
	return append(out, outputsIn(p)...)
}
