package oracle

import (
	"reflect"
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

// Shrink makes a case smaller for as long as the smaller one still fails, in
// so many attempts at most. It drops policies, rules, conditions, parts of
// expressions, definitions, roles, actions and attributes, one at a time. What
// it tries may name variables that there are no more.
func Shrink(c Case, attempts int, fails func(Case) bool) Case {
	f := &reducer{parts: map[string][]string{}}
	for smaller := true; smaller; {
		smaller = false
		for i := 0; i < len(f.reductions(c.clone())) && attempts > 0; attempts-- {
			next := c.clone()
			f.reductions(next)[i].apply()
			if next.wellFormed() && fails(next) {
				c, smaller = next, true // and what was the next step is now the i-th
			} else {
				i++
			}
		}
	}
	c.Set.place()
	return c
}

// A reduction is one step that makes a case smaller, by changing it.
type reduction struct {
	depth int // of the place within the case: what is far up holds much
	apply func()
}

// reductions gives every step that makes c smaller, the big ones first.
func (f *reducer) reductions(c Case) []reduction {
	f.steps = nil
	f.visit(reflect.ValueOf(&c.Request.Actions).Elem(), 0, false)
	f.visit(reflect.ValueOf(c.Set).Elem(), 0, false)
	f.visit(reflect.ValueOf(c.Request).Elem(), 6, false)
	slices.SortStableFunc(f.steps, func(a, b reduction) int { return a.depth - b.depth })
	return f.steps
}

// A reducer walks a case and collects what there is to drop.
type reducer struct {
	steps []reduction
	parts map[string][]string // of expressions
}

func (f *reducer) add(depth int, apply func()) {
	f.steps = append(f.steps, reduction{depth, apply})
}

// set is the step that gives a place another content.
func (f *reducer) set(depth int, place reflect.Value, x any) {
	f.add(depth, func() { place.Set(reflect.ValueOf(x)) })
}

// visit collects the steps within a place. A member of a list is never nil.
func (f *reducer) visit(v reflect.Value, depth int, member bool) {
	if !v.CanSet() {
		return
	}
	switch x := v.Interface().(type) {
	case diag.Position, value.Value, policy.Metadata:
		return
	case value.Mapping:
		f.visitMapping(v, x, depth)
		return
	case diag.Text: // a name, which many things must have
		return
	case policy.Variable:
		f.visitExpression(v.FieldByName("Expr"), depth)
		return
	case *policy.Condition:
		if x == nil {
			return
		}
		for _, member := range x.Of {
			f.set(depth, v, member)
		}
		if x.Op == policy.Expr {
			f.visitExpression(v.Elem().FieldByName("Expr"), depth)
		}
	case *policy.Output:
		if x == nil {
			return
		}
		f.visitExpression(v.Elem().FieldByName("RuleActivated"), depth)
		f.visitExpression(v.Elem().FieldByName("ConditionNotMet"), depth)
	}
	switch v.Kind() {
	case reflect.Slice:
		if n := v.Len(); n > 1 {
			if v.Type() != reflect.TypeFor[[]*policy.Condition]() {
				f.add(depth, v.SetZero)
			}
			f.add(depth, func() { v.Set(v.Slice(0, n/2)) })
			f.add(depth, func() { v.Set(v.Slice(n/2, n)) })
		}
		for i := range v.Len() {
			if v.Len() == 1 && v.Type() == reflect.TypeFor[[]*policy.Condition]() {
				break // a group has a member
			}
			f.add(depth, func() {
				v.Set(reflect.AppendSlice(v.Slice(0, i), v.Slice(i+1, v.Len())))
			})
		}
		for i := range v.Len() {
			f.visit(v.Index(i), depth+1, true)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if !member {
			f.add(depth, v.SetZero)
		}
		f.visit(v.Elem(), depth+1, false)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "Source" { // the text of a policy follows from the rest
				f.visit(v.Field(i), depth+1, false)
			}
		}
	case reflect.String, reflect.Bool:
		if !v.IsZero() {
			f.add(depth, v.SetZero)
		}
	}
}

func (f *reducer) visitExpression(text reflect.Value, depth int) {
	whole := text.FieldByName("Value").String()
	smaller, known := f.parts[whole]
	if !known {
		smaller = parts(whole)
		f.parts[whole] = smaller
	}
	for _, smaller := range smaller {
		f.add(depth+2, func() { text.FieldByName("Value").SetString(smaller) })
	}
}

func (f *reducer) visitMapping(v reflect.Value, m value.Mapping, depth int) {
	f.add(depth, v.SetZero)
	m.Range(func(key string, _ value.Value) bool {
		f.add(depth+1, func() {
			rest := value.Values{}
			m.Range(func(k string, x value.Value) bool {
				if k != key {
					rest[k] = x
				}
				return true
			})
			v.Set(reflect.ValueOf(rest))
		})
		return true
	})
}

// namespaces are names that nobody writes alone.
var namespaces = []string{"runtime", "V", "variables", "C", "constants", "G", "globals"}

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
		s, err := cel.ExprToString(e, root.SourceInfo())
		if err == nil && len(s) < len(text) && !slices.Contains(namespaces, s) {
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

// wellFormed tells whether nothing lacks what it must have: the policies would
// be read, and what they import and the policies above them are there.
func (c Case) wellFormed() bool {
	if len(c.Request.Actions) == 0 || len(c.Request.Principal.Roles) == 0 {
		return false
	}
	lib := newLibrary(c.Set.Policies)
	keys := map[string]bool{}
	above := []string{}
	imports := func(v policy.Variables, k policy.Constants) bool {
		return !slices.ContainsFunc(v.Import, func(t diag.Text) bool { return lib.variables[t.Value] == nil }) &&
			!slices.ContainsFunc(k.Import, func(t diag.Text) bool { return lib.constants[t.Value] == nil })
	}
	for _, p := range c.Set.Policies {
		if d := p.DerivedRoles; d != nil && !imports(d.Variables, d.Constants) {
			return false
		}
	}
	for _, p := range c.Set.Policies {
		ok := true
		switch {
		case p.Disabled:
		case p.Resource != nil:
			r := p.Resource
			ok = imports(r.Variables, r.Constants) &&
				!slices.ContainsFunc(r.Rules, func(rule policy.Rule) bool {
					return len(rule.Actions) == 0 || len(rule.Roles)+len(rule.DerivedRoles) == 0 ||
						slices.ContainsFunc(rule.DerivedRoles, func(t diag.Text) bool { return lib.derivedRole(r, t.Value) == nil })
				}) &&
				!slices.ContainsFunc(r.ImportDerivedRoles, func(t diag.Text) bool { return lib.derivedRoles[t.Value] == nil })
			for _, scope := range upwards(r.Scope.Value) {
				above = append(above, key("resource", r.Resource.Value, r.Version.Value, scope))
			}
			keys[key("resource", r.Resource.Value, r.Version.Value, r.Scope.Value)] = true
		case p.Principal != nil:
			r := p.Principal
			ok = imports(r.Variables, r.Constants) && !slices.ContainsFunc(r.Rules, func(rule policy.PrincipalRule) bool { return len(rule.Actions) == 0 })
			for _, scope := range upwards(r.Scope.Value) {
				above = append(above, key("principal", r.Principal.Value, r.Version.Value, scope))
			}
			keys[key("principal", r.Principal.Value, r.Version.Value, r.Scope.Value)] = true
		case p.Role != nil:
			ok = imports(p.Role.Variables, p.Role.Constants) &&
				!slices.ContainsFunc(p.Role.Rules, func(rule policy.RoleRule) bool { return len(rule.AllowActions) == 0 })
		case p.DerivedRoles != nil:
			ok = len(p.DerivedRoles.Definitions) > 0 &&
				!slices.ContainsFunc(p.DerivedRoles.Definitions, func(d policy.RoleDefinition) bool { return len(d.ParentRoles) == 0 })
		}
		if !ok {
			return false
		}
	}
	return !slices.ContainsFunc(above, func(k string) bool { return !keys[k] })
}

// clone copies what the reductions change.
func (c Case) clone() Case {
	return Case{Set: deepCopy(reflect.ValueOf(c.Set)).Interface().(*Set), Request: deepCopy(reflect.ValueOf(c.Request)).Interface().(*engine.Request)}
}

// deepCopy copies what pointers and slices lead to. Maps and interfaces are
// shared: nothing changes them.
func deepCopy(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(deepCopy(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(deepCopy(v.Index(i)))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(deepCopy(v.Field(i)))
			}
		}
	}
	return out
}
