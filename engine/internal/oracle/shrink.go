package oracle

import (
	"slices"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
)

// A Case is a policy set and a request on it.
type Case struct {
	Set     *Set
	Request *engine.Request
}

// Shrink makes a case smaller for as long as the smaller one still fails. It
// drops policies, rules, conditions, parts of expressions, definitions, roles,
// actions and attributes, one at a time.
func Shrink(c Case, fails func(Case) bool) Case {
	const enough = 4000 // attempts
	for attempts := 0; attempts < enough; {
		smaller := false
		for _, change := range reductions(c) {
			if attempts++; attempts > enough {
				break
			}
			next := c.clone()
			change(&next)
			if !fails(next) {
				continue
			}
			c, smaller = next, true
			break
		}
		if !smaller {
			break
		}
	}
	c.Set.place()
	return c
}

// reductions gives every single step that makes c smaller, the big ones first.
func reductions(c Case) []func(*Case) {
	var steps []func(*Case)
	add := func(step func(*Case)) { steps = append(steps, step) }

	for i := range c.Request.Actions {
		if len(c.Request.Actions) > 1 {
			add(func(c *Case) { c.Request.Actions = c.Request.Actions[i : i+1] })
		}
	}
	for i := range c.Set.Policies {
		add(func(c *Case) { c.Set.Policies = slices.Delete(c.Set.Policies, i, i+1) })
	}
	for i, p := range c.Set.Policies {
		switch {
		case p.Resource != nil:
			at := func(c *Case) *policy.ResourcePolicy { return c.Set.Policies[i].Resource }
			for j := range p.Resource.Rules {
				add(func(c *Case) { at(c).Rules = slices.Delete(at(c).Rules, j, j+1) })
			}
			for j, rule := range p.Resource.Rules {
				dropTexts(add, rule.Actions, func(c *Case) *[]diag.Text { return &at(c).Rules[j].Actions }, 1)
				dropTexts(add, rule.Roles, func(c *Case) *[]diag.Text { return &at(c).Rules[j].Roles }, min(1, 1-len(rule.DerivedRoles)))
				dropTexts(add, rule.DerivedRoles, func(c *Case) *[]diag.Text { return &at(c).Rules[j].DerivedRoles }, min(1, 1-len(rule.Roles)))
				reduceCondition(add, rule.Condition, func(c *Case) **policy.Condition { return &at(c).Rules[j].Condition })
			}
			dropTexts(add, p.Resource.ImportDerivedRoles, func(c *Case) *[]diag.Text { return &at(c).ImportDerivedRoles }, 0)
			reduceDefinitions(add, p.Resource.Variables.Local, p.Resource.Constants.Local,
				func(c *Case) (*policy.Variables, *policy.Constants) { return &at(c).Variables, &at(c).Constants })
		case p.DerivedRoles != nil:
			at := func(c *Case) *policy.DerivedRoles { return c.Set.Policies[i].DerivedRoles }
			for j := range p.DerivedRoles.Definitions {
				if len(p.DerivedRoles.Definitions) > 1 {
					add(func(c *Case) { at(c).Definitions = slices.Delete(at(c).Definitions, j, j+1) })
				}
			}
			for j, def := range p.DerivedRoles.Definitions {
				dropTexts(add, def.ParentRoles, func(c *Case) *[]diag.Text { return &at(c).Definitions[j].ParentRoles }, 1)
				reduceCondition(add, def.Condition, func(c *Case) **policy.Condition { return &at(c).Definitions[j].Condition })
			}
			reduceDefinitions(add, p.DerivedRoles.Variables.Local, p.DerivedRoles.Constants.Local,
				func(c *Case) (*policy.Variables, *policy.Constants) { return &at(c).Variables, &at(c).Constants })
		}
	}
	for i := range c.Request.Principal.Roles {
		if len(c.Request.Principal.Roles) > 1 {
			add(func(c *Case) { c.Request.Principal.Roles = slices.Delete(c.Request.Principal.Roles, i, i+1) })
		}
	}
	dropKeys(add, c.Request.Principal.Attr, func(c *Case) *value.Mapping { return &c.Request.Principal.Attr })
	dropKeys(add, c.Request.Resource.Attr, func(c *Case) *value.Mapping { return &c.Request.Resource.Attr })
	if c.Request.AuxData.JWT != nil {
		add(func(c *Case) { c.Request.AuxData.JWT = nil })
	}
	if c.Set.Options.Globals != nil {
		add(func(c *Case) { c.Set.Options.Globals = nil })
	}
	return steps
}

// dropTexts drops one member at a time, down to least members.
func dropTexts(add func(func(*Case)), list []diag.Text, at func(*Case) *[]diag.Text, least int) {
	if len(list) <= least {
		return
	}
	for i := range list {
		add(func(c *Case) { *at(c) = slices.Delete(*at(c), i, i+1) })
	}
}

func dropKeys(add func(func(*Case)), m value.Mapping, at func(*Case) *value.Mapping) {
	if m == nil {
		return
	}
	add(func(c *Case) { *at(c) = nil })
	m.Range(func(key string, _ value.Value) bool {
		add(func(c *Case) {
			rest := value.Values{}
			(*at(c)).Range(func(k string, v value.Value) bool {
				if k != key {
					rest[k] = v
				}
				return true
			})
			*at(c) = rest
		})
		return true
	})
}

func reduceDefinitions(add func(func(*Case)), variables []policy.Variable, constants []policy.Constant,
	at func(*Case) (*policy.Variables, *policy.Constants),
) {
	for i := range variables {
		add(func(c *Case) { v, _ := at(c); v.Local = slices.Delete(v.Local, i, i+1) })
		for _, smaller := range parts(variables[i].Expr.Value) {
			add(func(c *Case) { v, _ := at(c); v.Local[i].Expr.Value = smaller })
		}
	}
	for i := range constants {
		add(func(c *Case) { _, k := at(c); k.Local = slices.Delete(k.Local, i, i+1) })
	}
}

// reduceCondition drops the condition, puts a member in the place of a group,
// drops members, and puts parts in the place of expressions.
func reduceCondition(add func(func(*Case)), c *policy.Condition, at func(*Case) **policy.Condition) {
	if c == nil {
		return
	}
	add(func(cs *Case) { *at(cs) = nil })
	reduceTree(add, c, at)
}

func reduceTree(add func(func(*Case)), c *policy.Condition, at func(*Case) **policy.Condition) {
	for _, smaller := range parts(c.Expr.Value) {
		add(func(cs *Case) { (*at(cs)).Expr.Value = smaller })
	}
	for i, member := range c.Of {
		add(func(cs *Case) { *at(cs) = (*at(cs)).Of[i] })
		if len(c.Of) > 1 {
			add(func(cs *Case) { (*at(cs)).Of = slices.Delete((*at(cs)).Of, i, i+1) })
		}
		reduceTree(add, member, func(cs *Case) **policy.Condition { return &(*at(cs)).Of[i] })
	}
}

// parts gives the expressions within an expression, and the expression with
// one of its parts replaced by a part of that part or by a short literal.
func parts(text string) []string {
	if text == "" {
		return nil
	}
	env, err := cel.NewEnv(cel.OptionalTypes(), cel.ClearMacros(), cel.EnableIdentifierEscapeSyntax())
	if err != nil {
		panic("oracle: " + err.Error())
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil
	}
	root := parsed.NativeRep()
	var out []string
	print := func(e ast.Expr) {
		if s, err := cel.ExprToString(e, root.SourceInfo()); err == nil && len(s) < len(text) {
			out = append(out, s)
		}
	}
	nodes := ast.MatchDescendants(ast.NavigateAST(root), ast.AllMatcher())
	for _, e := range nodes {
		print(e)
	}
	factory := ast.NewExprFactory()
	for _, e := range nodes {
		original := factory.CopyExpr(e)
		replacements := []ast.Expr{}
		for _, child := range ast.NavigateExpr(root, e).Children() {
			replacements = append(replacements, factory.CopyExpr(child))
		}
		for _, replacement := range replacements {
			expr := ast.Expr(e)
			expr.SetKindCase(replacement)
			print(root.Expr())
			expr.SetKindCase(original)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return len(a) - len(b) })
	return slices.Compact(out)
}

// clone copies what the reductions change.
func (c Case) clone() Case {
	set := *c.Set
	set.Policies = nil
	for _, p := range c.Set.Policies {
		q := *p
		if p.Resource != nil {
			r := *p.Resource
			r.ImportDerivedRoles = slices.Clone(r.ImportDerivedRoles)
			r.Variables.Local = slices.Clone(r.Variables.Local)
			r.Constants.Local = slices.Clone(r.Constants.Local)
			r.Rules = slices.Clone(r.Rules)
			for i := range r.Rules {
				rule := &r.Rules[i]
				rule.Actions = slices.Clone(rule.Actions)
				rule.Roles = slices.Clone(rule.Roles)
				rule.DerivedRoles = slices.Clone(rule.DerivedRoles)
				rule.Condition = cloneCondition(rule.Condition)
			}
			q.Resource = &r
		}
		if p.DerivedRoles != nil {
			d := *p.DerivedRoles
			d.Variables.Local = slices.Clone(d.Variables.Local)
			d.Constants.Local = slices.Clone(d.Constants.Local)
			d.Definitions = slices.Clone(d.Definitions)
			for i := range d.Definitions {
				def := &d.Definitions[i]
				def.ParentRoles = slices.Clone(def.ParentRoles)
				def.Condition = cloneCondition(def.Condition)
			}
			q.DerivedRoles = &d
		}
		set.Policies = append(set.Policies, &q)
	}
	req := *c.Request
	req.Principal.Roles = slices.Clone(req.Principal.Roles)
	return Case{Set: &set, Request: &req}
}

func cloneCondition(c *policy.Condition) *policy.Condition {
	if c == nil {
		return nil
	}
	out := *c
	out.Of = nil
	for _, m := range c.Of {
		out.Of = append(out.Of, cloneCondition(m))
	}
	return &out
}
