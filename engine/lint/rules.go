package lint

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
)

// A rule is a rule of any kind of policy, for comparing it with others of the
// same policy.
type rule struct {
	pos       diag.Position
	name      string
	resource  string // pattern, of principal policies
	actions   []diag.Text
	roles     []string // patterns; * in principal policies
	derived   []string
	effect    policy.Effect
	condition *policy.Condition
	output    *policy.Output
}

// String names the rule for a person.
func (r *rule) String() string {
	if r.name != "" {
		return fmt.Sprintf("the rule %q", r.name)
	}
	return fmt.Sprintf("the rule in line %d", r.pos.Line)
}

// rulesOf gives the rules of a resource or principal policy.
func rulesOf(p *policy.Policy) []*rule {
	var out []*rule
	switch {
	case p.Resource != nil:
		for i := range p.Resource.Rules {
			r := &p.Resource.Rules[i]
			out = append(out, &rule{
				pos: r.Pos, name: r.Name.Value, actions: r.Actions, roles: textValues(r.Roles), derived: textValues(r.DerivedRoles),
				effect: r.Effect, condition: r.Condition, output: r.Output,
			})
		}
	case p.Principal != nil:
		for i := range p.Principal.Rules {
			block := &p.Principal.Rules[i]
			for j := range block.Actions {
				r := &block.Actions[j]
				out = append(out, &rule{
					pos: r.Pos, name: r.Name.Value, resource: block.Resource.Value, actions: []diag.Text{r.Action}, roles: []string{"*"},
					effect: r.Effect, condition: r.Condition, output: r.Output,
				})
			}
		}
	}
	return out
}

// checkRules compares the rules of a policy with each other.
func (l *linter) checkRules(p *policy.Policy) {
	if p.Role != nil {
		l.checkRoleRules(p)
		return
	}
	rules := rulesOf(p)
	consents := needsConsent(p)
	parents := l.definitions(p)
	for i, r := range rules {
		if l.checkDuplicate(p, rules[:i], r) {
			continue
		}
		if r.output == nil {
			if l.checkUnreachable(p, rules, r, parents) {
				continue
			}
			l.checkShadowed(p, rules, i, parents, consents)
		}
		l.checkWide(p, r, consents, parents)
	}
	if consents {
		l.checkConsent(p, rules)
	}
}

func needsConsent(p *policy.Policy) bool {
	return p.Resource != nil && p.Resource.Permissions == policy.RequireParentalConsent ||
		p.Principal != nil && p.Principal.Permissions == policy.RequireParentalConsent
}

// definitions gives the derived roles that a policy can name.
func (l *linter) definitions(p *policy.Policy) map[string]*policy.RoleDefinition {
	out := map[string]*policy.RoleDefinition{}
	if p.Resource == nil {
		return out
	}
	for _, name := range p.Resource.ImportDerivedRoles {
		set := l.roleSets[name.Value]
		if set == nil {
			continue
		}
		for i := range set.DerivedRoles.Definitions {
			d := &set.DerivedRoles.Definitions[i]
			out[d.Name.Value] = d
		}
	}
	return out
}

// applies tells whether wide applies to an action for every role of r when r
// does, conditions aside.
func applies(wide, r *rule, action string, parents map[string]*policy.RoleDefinition) bool {
	if !covers(wide.resource, r.resource) || !coveredBy(textValues(wide.actions), action) {
		return false
	}
	for _, role := range r.roles {
		if !coveredBy(wide.roles, role) {
			return false
		}
	}
	for _, name := range r.derived {
		if slices.Contains(wide.derived, name) {
			continue
		}
		d := parents[name]
		if d == nil {
			return false
		}
		for _, parent := range d.ParentRoles {
			if !coveredBy(wide.roles, parent.Value) {
				return false
			}
		}
	}
	return true
}

func coveredBy(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, s) })
}

// checkUnreachable looks for unconditional denials of what a rule allows.
func (l *linter) checkUnreachable(p *policy.Policy, rules []*rule, r *rule, parents map[string]*policy.RoleDefinition) bool {
	if r.effect != policy.Allow {
		return false
	}
	var dead []diag.Text
	var by []*rule
	for _, action := range r.actions {
		for _, other := range rules {
			if other.effect == policy.Deny && other.condition == nil && applies(other, r, action.Value, parents) {
				dead = append(dead, action)
				if !slices.Contains(by, other) {
					by = append(by, other)
				}
				break
			}
		}
	}
	if len(dead) == 0 {
		return false
	}
	if len(dead) == len(r.actions) {
		l.warn(p, r.pos, UnreachableRule, "the rule can never allow anything: "+sayRules(by, "denies", "deny")+" all of it, without condition",
			"remove one of the two, or give the denial a condition", relate(by, "this denies it")...)
		return true
	}
	for _, action := range dead {
		l.warn(p, action.Pos, UnreachableRule, fmt.Sprintf("the rule can never allow %q: %s it, without condition", action.Value, sayRules(by, "denies", "deny")),
			"remove the action here, or give the denial a condition", relate(by, "this denies it")...)
	}
	return false
}

// checkShadowed looks for rules that say all that a rule says.
func (l *linter) checkShadowed(p *policy.Policy, rules []*rule, index int, parents map[string]*policy.RoleDefinition, consents bool) {
	r := rules[index]
	if consents && r.effect == policy.Allow && r.condition == nil {
		return // it does nothing anyhow
	}
	var by []*rule
	for _, action := range r.actions {
		found := false
		for i, other := range rules {
			if i == index || other.effect != r.effect || !applies(other, r, action.Value, parents) {
				continue
			}
			same := l.conditionKey(other.condition) == l.conditionKey(r.condition)
			if other.condition != nil && !same {
				continue
			}
			if consents && r.effect == policy.Allow && !same {
				continue // a condition restricts there
			}
			if same && i > index && isMutual(r, other, parents) {
				continue // the later one of the two is told
			}
			found = true
			if !slices.Contains(by, other) {
				by = append(by, other)
			}
			break
		}
		if !found {
			return
		}
	}
	if len(by) == 0 {
		return // it has no actions
	}
	one, several := "allows", "allow"
	if r.effect == policy.Deny {
		one, several = "denies", "deny"
	}
	l.warn(p, r.pos, ShadowedRule, fmt.Sprintf("the rule adds nothing: %s all of it already", sayRules(by, one, several)),
		"remove the rule, or narrow the other", relate(by, "this "+one+" it already")...)
}

// isMutual tells whether each of two rules applies when the other does.
func isMutual(r, other *rule, parents map[string]*policy.RoleDefinition) bool {
	for _, action := range other.actions {
		if !applies(r, other, action.Value, parents) {
			return false
		}
	}
	return true
}

// checkDuplicate looks for an earlier rule that is the same.
func (l *linter) checkDuplicate(p *policy.Policy, earlier []*rule, r *rule) bool {
	for _, other := range earlier {
		if other.effect == r.effect && other.resource == r.resource &&
			sameSet(textValues(other.actions), textValues(r.actions)) && sameSet(other.roles, r.roles) && sameSet(other.derived, r.derived) &&
			l.conditionKey(other.condition) == l.conditionKey(r.condition) && outputKey(other.output) == outputKey(r.output) {
			l.duplicate(p, r.pos, other.pos)
			return true
		}
	}
	return false
}

func (l *linter) duplicate(p *policy.Policy, pos, first diag.Position) {
	l.warn(p, pos, DuplicateRule, fmt.Sprintf("the rule says the same as the one in line %d", first.Line), "remove one of the two",
		diag.Related{Pos: first, Message: "the first one"})
}

// checkWide looks for rules that allow all actions.
func (l *linter) checkWide(p *policy.Policy, r *rule, consents bool, parents map[string]*policy.RoleDefinition) {
	if consents || r.effect != policy.Allow || r.condition != nil || !slices.ContainsFunc(r.actions, func(t diag.Text) bool { return t.Value == "*" || t.Value == "**" }) {
		return
	}
	everybody := slices.Contains(r.roles, "*") || slices.Contains(r.roles, "**")
	if p.Principal != nil {
		if r.resource == "*" || r.resource == "**" {
			l.warn(p, r.pos, AllowAllToEverybody, "the principal may do everything with every resource, whatever other policies say", "name resources or actions, or add a condition")
		}
		return
	}
	for _, name := range r.derived {
		if d := parents[name]; d == nil || d.Condition != nil {
			continue
		} else if slices.ContainsFunc(d.ParentRoles, func(t diag.Text) bool { return t.Value == "*" }) {
			everybody = true
		}
	}
	unconditional := len(r.roles) > 0 || slices.ContainsFunc(r.derived, func(name string) bool { return parents[name] != nil && parents[name].Condition == nil })
	switch {
	case everybody:
		l.warn(p, r.pos, AllowAllToEverybody, "everybody may do everything: action *, role *, no condition", "name the actions or the roles, or add a condition")
	case unconditional:
		l.warn(p, r.pos, AllowAllActions, "all actions are allowed without condition, those that do not exist yet as well", "name the actions, or add a condition")
	}
}

// checkConsent looks at the rules of a policy that needs parental consent.
func (l *linter) checkConsent(p *policy.Policy, rules []*rule) {
	root := p.Resource != nil && p.Resource.Scope.Value == "" || p.Principal != nil && p.Principal.Scope.Value == ""
	for _, r := range rules {
		switch {
		case r.effect != policy.Allow:
		case root:
			l.warn(p, r.pos, ConsentAtRoot, "the rules of this policy can never allow anything: it needs the consent of a parent scope, and the root scope has none",
				"remove scopePermissions, or give the policy a scope")
			return
		case r.condition == nil && r.output == nil:
			l.warn(p, r.pos, ConsentWithoutEffect, "the rule does nothing: where parents must consent, an ALLOW without a condition neither allows nor restricts",
				"give the rule a condition, or remove it; parents decide what this policy does not deny")
		case r.condition != nil && r.output != nil:
			l.warn(p, r.output.Pos, ConsentReversesOutput, "where parents must consent, the outputs of a conditional ALLOW are reversed: ruleActivated comes when the condition does not hold",
				"exchange the two expressions, or move the output to the parent scope")
		}
	}
}

// checkRoleRules compares the rules of a role policy with each other.
func (l *linter) checkRoleRules(p *policy.Policy) {
	rules := p.Role.Rules
	for i := range rules {
		r := &rules[i]
		for j := range i {
			other := &rules[j]
			if other.Resource.Value == r.Resource.Value && sameSet(textValues(other.AllowActions), textValues(r.AllowActions)) &&
				l.conditionKey(other.Condition) == l.conditionKey(r.Condition) && outputKey(other.Output) == outputKey(r.Output) {
				l.duplicate(p, r.Pos, other.Pos)
				break
			}
			if r.Condition == nil && other.Condition == nil || l.conditionKey(r.Condition) == l.conditionKey(other.Condition) ||
				!covers(r.Resource.Value, other.Resource.Value) && !covers(other.Resource.Value, r.Resource.Value) {
				continue
			}
			if action, ok := shared(r.AllowActions, other.AllowActions); ok {
				message := "both conditions must hold for it"
				if r.Condition == nil || other.Condition == nil {
					message = "the condition must hold for it, whatever the rule without a condition says"
				}
				l.warn(p, action.Pos, RoleRulesCombine, fmt.Sprintf("%q is in an earlier rule, too: %s", action.Value, message),
					"write one rule whose condition has any: and both", diag.Related{Pos: other.Pos, Message: "the earlier rule"})
				break
			}
		}
	}
}

// shared gives an action of the first list that the second list names, too.
func shared(list, other []diag.Text) (diag.Text, bool) {
	for _, a := range list {
		for _, b := range other {
			if coversAction(a.Value, b.Value) || coversAction(b.Value, a.Value) {
				return a, true
			}
		}
	}
	return diag.Text{}, false
}

// conditionKey gives a text that is equal for conditions that mean the same.
func (l *linter) conditionKey(c *policy.Condition) string {
	if c == nil {
		return ""
	}
	if c.Op == policy.Expr {
		if p := l.syntax.parse(c.Expr.Value); p.root != nil {
			return "expr:" + text(p.root)
		}
		return "text:" + c.Expr.Value
	}
	members := make([]string, len(c.Of))
	for i, m := range c.Of {
		members[i] = l.conditionKey(m)
	}
	return c.Op.String() + "(" + strings.Join(members, "; ") + ")"
}

func outputKey(o *policy.Output) string {
	if o == nil {
		return ""
	}
	return o.RuleActivated.Value + "\x00" + o.ConditionNotMet.Value
}

func sameSet(a, b []string) bool {
	sorted := func(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }
	return slices.Equal(sorted(a), sorted(b))
}

// sayRules names rules and what they do: "the rule a and the rule b deny".
func sayRules(rules []*rule, one, several string) string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.String()
	}
	verb := one
	if len(rules) > 1 {
		verb = several
	}
	return strings.Join(names, " and ") + " " + verb
}

func relate(rules []*rule, message string) []diag.Related {
	out := make([]diag.Related, len(rules))
	for i, r := range rules {
		out[i] = diag.Related{Pos: r.pos, Message: message}
	}
	return out
}
