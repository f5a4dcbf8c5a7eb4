package engine

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// An Evaluation is what an expression came to.
type Evaluation struct {
	Result value.Value // as CEL has it; it may refer to the request
	Value  value.Value // as JSON where it has such a form; otherwise as CEL has it
	Text   string      // the value for people to read
	Type   string      // the static CEL type of the expression
	Steps  []expr.Step // values of the parts, in the order of the text
	Err    error       // why there is no value
}

// A Local is a value that an expression handed to Evaluate can read by its
// name, which must be an identifier. In the expression itself it hides what
// policies call by the same name, such as V, but not in variables of policies.
type Local struct {
	Name  string
	Value value.Value // an Evaluation.Result, or any other
	Type  string      // the Evaluation.Type that belongs to it; empty: not known
}

// Names are the variables and constants that expressions of a policy can read.
type Names struct {
	Variables []string
	Constants []string
}

// Policies gives the keys of the policies of the set, sorted.
func (ps *PolicySet) Policies() []string {
	var keys []string
	ps.eachModule(func(key string, _ *module) { keys = append(keys, key) })
	slices.Sort(keys)
	return keys
}

// NamesOf gives the names of a policy, sorted. The key is one of Policies;
// any other has no names.
func (ps *PolicySet) NamesOf(key string) Names {
	var n Names
	if m := ps.moduleOf(key); m != nil {
		for name := range m.variables {
			n.Variables = append(n.Variables, name)
		}
		for name := range m.constants {
			n.Constants = append(n.Constants, name)
		}
	}
	slices.Sort(n.Variables)
	slices.Sort(n.Constants)
	return n
}

// PolicyFor gives the key of the resource policy that a request is decided by
// first: that of the most specific scope that has one. It is empty if there is
// none.
func (ps *PolicySet) PolicyFor(req *Request) string {
	st := newState(ps)
	st.req = req
	st.kind = policy.Sanitize(req.Resource.Kind)
	st.resource = ps.stage(req.Resource.PolicyVersion, req.Resource.Scope, ps.resourceScopes)
	st.findResource()
	for i := range st.steps {
		if u := st.steps[i].unit; u != nil {
			return u.key
		}
	}
	return ""
}

// Evaluate runs an expression as the policy with a key would see it in a
// request: its variables, its constants, and the derived roles of the policies
// that the request is decided by. With an empty key there are no variables and
// no constants. The issues say why the expression does not compile. It is made
// for tools: it compiles the expression each time. The values that it gives are
// good as long as the request is not changed.
func (ps *PolicySet) Evaluate(req *Request, key, source string, locals ...Local) (*Evaluation, []expr.Issue) {
	text, issues := ps.bind(source, locals)
	if len(issues) > 0 {
		return nil, issues
	}
	program, issues := ps.env.Compile(text.source)
	if len(issues) == 0 {
		issues = ps.unknownNames(program, key, text.locals)
	}
	if len(issues) > 0 {
		return nil, text.issues(issues, locals)
	}
	st := ps.stateFor(req, key)
	if len(text.locals) > 0 {
		st.frame.Set(slotGlobals, value.OfMapping(&localsView{(*globalsView)(st), text.locals}))
	}
	steps, result := program.Trace(st.frame)
	e := &Evaluation{Result: result, Value: result, Type: program.ResultType().String(), Steps: text.steps(steps), Err: result.Err()}
	if e.Err == nil {
		if v, err := st.frame.Detach(result); err == nil {
			e.Value = v
		}
		e.Text = e.Value.String()
	}
	return e, nil
}

// stateFor gives a state that shows a request as the policy with a key sees
// it. Values may refer to the state, so it is never pooled.
func (ps *PolicySet) stateFor(req *Request, key string) *state {
	st := newState(ps)
	st.decision = new(Decision)
	if !st.begin(req) && st.check == 0 { // nothing is about the request, so that begin did not begin
		st.check, st.at = 1, -1
		st.show(req)
	}
	for i := range st.steps {
		if u := st.steps[i].unit; i == 0 || u != nil && u.key == key {
			st.at = i
		}
	}
	for _, units := range ps.principals {
		for _, o := range units {
			st.isOverride = st.isOverride || o.key == key
		}
	}
	st.enter(ps.moduleOf(key))
	return st
}

// unknownNames reports the uses of variables and constants that the policy
// with a key does not have, those aside that locals hide.
func (ps *PolicySet) unknownNames(program *expr.Program, key string, locals value.Values) (issues []expr.Issue) {
	names := ps.NamesOf(key)
	for _, s := range program.Selections() {
		if _, hidden := locals.Lookup(localPrefix + s.Variable); hidden {
			continue
		}
		if s.Field == "" && slices.Contains(openVariables, s.Variable) {
			issues = append(issues, expr.Issue{Line: s.Line, Column: s.Column,
				Message: fmt.Sprintf("%s can only be read by name", s.Variable),
				Hint:    fmt.Sprintf("write %s.name or has(%s.name)", s.Variable, s.Variable)})
			continue
		}
		var known []string
		var what string
		switch s.Variable {
		case "V", "variables":
			known, what = names.Variables, "variable"
		case "C", "constants":
			known, what = names.Constants, "constant"
		default:
			continue
		}
		if slices.Contains(known, s.Field) {
			continue
		}
		issue := expr.Issue{Line: s.Line, Column: s.Column, Message: fmt.Sprintf("there is no %s %q", what, s.Field)}
		switch {
		case key == "":
			issue.Hint = "only policies have " + what + "s, and none is chosen"
		case len(known) == 0:
			issue.Hint = fmt.Sprintf("%s has no %ss", key, what)
		default:
			issue.Hint = cmp.Or(diag.DidYouMean(s.Field, known), fmt.Sprintf("%s has %s", key, strings.Join(known, ", ")))
		}
		issues = append(issues, issue)
	}
	return issues
}

// A boundText is an expression with the locals that it reads bound around it:
// cel.bind on a line of its own before the expression, so that columns stay
// what they are. The locals are read as globals of a name that no policy can
// have given a global.
type boundText struct {
	source string
	lines  int // of the expression itself
	locals value.Values
}

const localPrefix = "let "

// cast gives the function that converts values of a type to that type, which
// leaves them as they are and tells CEL the type. It is empty for most types.
func cast(typ string) string {
	switch typ {
	case "bool", "int", "uint", "double", "string", "bytes":
		return typ
	case "google.protobuf.Timestamp":
		return "timestamp"
	case "google.protobuf.Duration":
		return "duration"
	}
	return ""
}

// bind binds the locals that an expression mentions. The issues are those of
// the syntax: of an expression that has such, nothing may be made.
func (ps *PolicySet) bind(source string, locals []Local) (boundText, []expr.Issue) {
	t := boundText{source: source, lines: 1 + strings.Count(source, "\n")}
	locals = slices.DeleteFunc(slices.Clone(locals), func(l Local) bool {
		return !regexp.MustCompile(`\b` + regexp.QuoteMeta(l.Name) + `\b`).MatchString(source)
	})
	if len(locals) == 0 {
		return t, nil
	}
	_, issues := ps.env.Check(source)
	unknown := slices.ContainsFunc(issues, func(i expr.Issue) bool { return strings.HasPrefix(i.Message, undeclared) })
	hiding := len(issues) == 0 && slices.ContainsFunc(locals, func(l Local) bool { return slices.Contains(ps.env.Names(), l.Name) })
	if !unknown && !hiding { // the names stand for something else
		return t, issues
	}
	t.locals = value.Values{}
	var before strings.Builder
	for _, l := range locals {
		read := "globals.`" + localPrefix + l.Name + "`"
		if convert := cast(l.Type); convert != "" {
			read = convert + "(" + read + ")"
		}
		fmt.Fprintf(&before, "cel.bind(%s, %s, ", l.Name, read)
		t.locals[localPrefix+l.Name] = l.Value
	}
	t.source = before.String() + "\n" + source + "\n" + strings.Repeat(")", len(locals))
	return t, nil
}

// issues places issues about the text in the expression itself. Locals are
// among what an unknown name may be meant for.
func (t *boundText) issues(issues []expr.Issue, locals []Local) []expr.Issue {
	var names []string
	for _, l := range locals {
		names = append(names, l.Name)
	}
	for i := range issues {
		if len(t.locals) > 0 {
			issues[i].Line = max(1, min(issues[i].Line-1, t.lines))
		}
		if rest, ok := strings.CutPrefix(issues[i].Message, undeclared); ok {
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, " to '"), "'")
			issues[i].Hint = cmp.Or(diag.DidYouMean(name, names), issues[i].Hint)
		}
	}
	return issues
}

// undeclared begins the message of CEL about a name that there is not.
const undeclared = "undeclared reference"

// steps gives the steps of the expression itself.
func (t *boundText) steps(steps []expr.Step) []expr.Step {
	if len(t.locals) == 0 {
		return steps
	}
	var own []expr.Step
	for _, s := range steps {
		if s.Line > 1 {
			s.Line--
			own = append(own, s)
		}
	}
	return own
}

// localsView is the globals with locals beside them.
type localsView struct {
	*globalsView
	locals value.Values
}

func (v *localsView) Lookup(name string) (value.Value, bool) {
	if local, ok := v.locals[name]; ok {
		return local, true
	}
	return v.globalsView.Lookup(name)
}

func (ps *PolicySet) moduleOf(key string) *module {
	var found *module
	ps.eachModule(func(k string, m *module) {
		if k == key {
			found = m
		}
	})
	return found
}

// eachModule visits the policies of the set with what they read their names
// from.
func (ps *PolicySet) eachModule(visit func(key string, m *module)) {
	for _, units := range ps.resources {
		units.each(func(u *unit) { visit(u.key, u.module) })
	}
	for _, units := range ps.principals {
		for _, o := range units {
			visit(o.key, o.module)
		}
	}
	for _, layer := range ps.roles {
		for _, a := range layer.lists {
			visit(a.key, a.module)
		}
	}
}

// Sources gives the policies that the set was compiled from, without disabled
// ones and without sets that only others import, in the order of their keys.
func (ps *PolicySet) Sources() []*policy.Policy {
	byKey := map[string]*policy.Policy{}
	for _, units := range ps.resources {
		units.each(func(u *unit) { byKey[u.key] = u.source })
	}
	for _, units := range ps.principals {
		for _, o := range units {
			byKey[o.key] = o.source
		}
	}
	for _, layer := range ps.roles {
		for _, a := range layer.lists {
			byKey[a.key] = a.source
		}
	}
	var out []*policy.Policy
	for _, key := range ps.Policies() {
		out = append(out, byKey[key])
	}
	return out
}
