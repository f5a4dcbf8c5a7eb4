package policyfile

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// resource reads the kind of resource that a policy is for.
func (r *reader) resource(o yamldoc.Object) diag.Text {
	return r.subject(o, "resource", BadResource, "a policy is for one kind of resource", "write a policy for each kind")
}

// principal reads the id of the principal that a policy is for.
func (r *reader) principal(o yamldoc.Object) diag.Text {
	return r.subject(o, "principal", BadPrincipal, "a policy is for one principal", "write a policy for each principal, or resource policies with a role that they share")
}

// role reads the role that a policy is for.
func (r *reader) role(o yamldoc.Object) diag.Text {
	return r.subject(o, "role", BadRole, "a policy is for one role", "write a policy for each role")
}

// subject reads what a policy is for. It is no pattern.
func (r *reader) subject(o yamldoc.Object, field string, code diag.Code, why, hint string) diag.Text {
	t := r.requiredText(o, field)
	if i := strings.IndexAny(t.Value, "!*?[]{}"); i >= 0 {
		r.doc.Report(t.Pos, code, fmt.Sprintf("%s must not contain %q: %s, patterns are not possible here", field, t.Value[i], why), hint)
	}
	return t
}

func (r *reader) version(o yamldoc.Object) diag.Text {
	t := r.requiredText(o, "version")
	if bad, found := firstOutside(t.Value, isWord); found {
		r.doc.Report(t.Pos, BadVersion, fmt.Sprintf("version must not contain %q", bad), "a version consists of ASCII letters, digits and underscores, like default or v2_1")
	}
	return t
}

// scope reads the scope of a policy; the empty scope is the root.
func (r *reader) scope(o yamldoc.Object) diag.Text {
	t, ok := r.text(o, "scope")
	if !ok || t.Value == "" {
		return t
	}
	n, _ := o.Field("scope")
	const hint = "a scope is segments of ASCII letters, digits, underscores and dashes with dots between them, like emea.fr"
	if t.Value == "." {
		n.Report(BadScope, `the scope "." is only possible in requests`, "leave the scope out for the root scope")
		return t
	}
	for i, segment := range strings.Split(t.Value, ".") {
		if segment == "" {
			n.Report(BadScope, fmt.Sprintf("the scope %q has an empty segment", t.Value), hint)
			return t
		}
		if c := rune(segment[0]); c == '-' || i == 0 && c == '_' {
			n.Report(BadScope, fmt.Sprintf("a segment of the scope %q must not begin with %q", t.Value, c), hint)
			return t
		}
		if bad, found := firstOutside(segment, func(c rune) bool { return isWord(c) || c == '-' }); found {
			n.Report(BadScope, fmt.Sprintf("scope must not contain %q", bad), hint)
			return t
		}
	}
	return t
}

// scopePermissions reads how a policy stands to those of its parent scopes, by
// the name or by the number that it has in the protocol. A value that says
// nothing is as good as none.
func (r *reader) scopePermissions(o yamldoc.Object, allowed ...policy.ScopePermissions) policy.ScopePermissions {
	n, ok := o.Field("scopePermissions")
	if !ok {
		return policy.PermissionsUnspecified
	}
	values := make([]string, len(allowed))
	for i, p := range allowed {
		values[i] = p.String()
	}
	if n.IsInt() {
		if i, ok := n.Int(); ok {
			for _, p := range allowed {
				if int(p) == i {
					return p
				}
			}
			n.Report(yamldoc.UnknownValue, fmt.Sprintf("scopePermissions: %d is not a known value", i), "known values: "+strings.Join(values, ", "))
		}
		return policy.PermissionsUnspecified
	}
	name, ok := n.Enum(values...)
	if !ok {
		return policy.PermissionsUnspecified
	}
	return allowed[slices.Index(values, name)]
}

// ruleName reads the name of a rule, which may be absent or empty.
func (r *reader) ruleName(o yamldoc.Object) diag.Text {
	t, ok := r.text(o, "name")
	if !ok || t.Value == "" {
		return t
	}
	n, _ := o.Field("name")
	const hint = "a rule name begins with an ASCII letter and goes on with letters, digits and any of _ @ . -"
	if c := t.Value[0]; !isLetter(rune(c)) {
		n.Report(BadRuleName, fmt.Sprintf("the rule name %q must begin with a letter", t.Value), hint)
	} else if bad, found := firstOutside(t.Value, func(c rune) bool { return isWord(c) || strings.ContainsRune("@.-", c) }); found {
		n.Report(BadRuleName, fmt.Sprintf("a rule name must not contain %q", bad), hint)
	}
	return t
}

// requiredName reads the name of a set or of a derived role.
func (r *reader) requiredName(o yamldoc.Object) diag.Text {
	t := r.requiredText(o, "name")
	r.checkName("name", t)
	return t
}

// names reads a list of names of sets or of derived roles; none if it is
// absent.
func (r *reader) names(o yamldoc.Object, field string) []diag.Text {
	texts := r.texts(o, field)
	for _, t := range texts {
		r.checkName(field, t)
	}
	return texts
}

func (r *reader) checkName(field string, t diag.Text) {
	if bad, found := firstOutside(t.Value, func(c rune) bool { return isWord(c) || c == '-' || c == '.' }); found {
		r.doc.Report(t.Pos, BadName, fmt.Sprintf("%s: the name %q must not contain %q", field, t.Value, bad), "a name consists of ASCII letters, digits, underscores, dashes and dots")
	}
}

func (r *reader) variables(o yamldoc.Object) policy.Variables {
	n, ok := o.Given("variables")
	if !ok {
		return policy.Variables{}
	}
	v, ok := n.Object("import", "local")
	if !ok {
		return policy.Variables{}
	}
	return policy.Variables{Import: r.names(v, "import"), Local: r.localVariables(v, "local")}
}

// localVariables reads a mapping of names to expressions; none if it is absent.
func (r *reader) localVariables(o yamldoc.Object, field string) []policy.Variable {
	n, ok := o.Given(field)
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	variables := make([]policy.Variable, 0, len(entries))
	for _, e := range entries {
		expr, _ := e.Value.Text()
		variables = append(variables, policy.Variable{Name: e.Key, Expr: expr})
	}
	return variables
}

func (r *reader) constants(o yamldoc.Object) policy.Constants {
	n, ok := o.Given("constants")
	if !ok {
		return policy.Constants{}
	}
	c, ok := n.Object("import", "local")
	if !ok {
		return policy.Constants{}
	}
	return policy.Constants{Import: r.names(c, "import"), Local: r.localConstants(c, "local")}
}

// localConstants reads a mapping of names to values; none if it is absent.
func (r *reader) localConstants(o yamldoc.Object, field string) []policy.Constant {
	n, ok := o.Given(field)
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	constants := make([]policy.Constant, 0, len(entries))
	for _, e := range entries {
		v, _ := e.Value.Value()
		constants = append(constants, policy.Constant{Name: e.Key, Value: v})
	}
	return constants
}

// text reads a string that may be absent or empty. The answer is false if
// there is something else.
func (r *reader) text(o yamldoc.Object, name string) (diag.Text, bool) {
	n, ok := o.Field(name)
	if !ok {
		return diag.Text{}, true
	}
	return n.Text()
}

// requiredText reads a string that must be there and not be empty.
func (r *reader) requiredText(o yamldoc.Object, name string) diag.Text {
	n, ok := o.Required(name)
	if !ok {
		return diag.Text{}
	}
	t, _ := n.NonEmptyText()
	return t
}

// texts reads a list of strings; none if it is absent.
func (r *reader) texts(o yamldoc.Object, name string) []diag.Text {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	texts, _ := n.Texts()
	return texts
}

// requiredTexts reads a list of strings that must have an element.
func (r *reader) requiredTexts(o yamldoc.Object, name string) []diag.Text {
	n, ok := o.Required(name)
	if !ok {
		return nil
	}
	texts, _ := n.Texts()
	r.notEmpty(o, name)
	return texts
}

// list reads a list; none if it is absent.
func (r *reader) list(o yamldoc.Object, name string) []yamldoc.Node {
	n, ok := o.Given(name)
	if !ok {
		return nil
	}
	elements, _ := n.List()
	return elements
}

// elements reads a list that must have an element.
func (r *reader) elements(o yamldoc.Object, name string) []yamldoc.Node {
	n, ok := o.Required(name)
	if !ok {
		return nil
	}
	elements, _ := n.List()
	r.notEmpty(o, name)
	return elements
}

// notEmpty reports a list without elements.
func (r *reader) notEmpty(o yamldoc.Object, name string) {
	if r.isEmptyList(o, name) {
		n, _ := o.Field(name)
		n.Report(EmptyList, fmt.Sprintf("%s needs at least one element", name), "")
	}
}

// isEmptyList tells whether a field is absent or a list without elements.
func (r *reader) isEmptyList(o yamldoc.Object, name string) bool {
	n, ok := o.Given(name)
	if !ok {
		return true
	}
	if !n.IsSequence() {
		return false
	}
	elements, _ := n.List()
	return len(elements) == 0
}

// firstOutside gives the first character of s that is not allowed.
func firstOutside(s string, allowed func(rune) bool) (rune, bool) {
	for _, c := range s {
		if !allowed(c) {
			return c, true
		}
	}
	return 0, false
}

func isWord(c rune) bool { return isLetter(c) || '0' <= c && c <= '9' || c == '_' }

func isLetter(c rune) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
