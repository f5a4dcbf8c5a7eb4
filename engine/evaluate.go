package engine

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/value"
)

// An Evaluation is what an expression came to.
type Evaluation struct {
	Value value.Value // as JSON where it has such a form; otherwise as CEL has it
	Text  string      // the value for people to read
	Type  string      // the static CEL type of the expression
	Steps []expr.Step // values of the parts, in the order of the text
	Err   error       // why there is no value
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

// Evaluate runs an expression as the policy with a key would see it in a
// request: its variables, its constants, and the derived roles of the policies
// that the request is decided by. With an empty key there are no variables and
// no constants. The issues say why the expression does not compile. It is made
// for tools: it compiles the expression each time.
func (ps *PolicySet) Evaluate(req *Request, key, source string) (*Evaluation, []expr.Issue) {
	program, issues := ps.env.Compile(source)
	if len(issues) > 0 {
		return nil, issues
	}
	names := ps.NamesOf(key)
	for _, s := range program.Selections() {
		known, what := []string(nil), ""
		switch s.Variable {
		case "V", "variables":
			known, what = names.Variables, "variable"
		case "C", "constants":
			known, what = names.Constants, "constant"
		default:
			continue
		}
		if !slices.Contains(known, s.Field) {
			issues = append(issues, expr.Issue{Line: s.Line, Column: s.Column,
				Message: fmt.Sprintf("there is no %s %q", what, s.Field),
				Hint:    orElse(diag.DidYouMean(s.Field, known), "known are: "+strings.Join(known, ", "))})
		}
	}
	if len(issues) > 0 {
		return nil, issues
	}
	st := newState(ps)
	var d Decision
	st.decision = &d
	st.begin(req)
	if st.frame.Now().IsZero() { // nothing is about the request, so that begin did not begin
		st.show(req)
	}
	defer st.end()
	if len(st.steps) > 0 {
		st.at = 0
	}
	if m := ps.moduleOf(key); m != nil {
		st.enter(m)
	}
	steps, result := program.Trace(st.frame)
	e := &Evaluation{Type: program.ResultType().String(), Steps: steps, Err: result.Err()}
	if e.Err == nil {
		e.Text = result.String()
		if v, err := st.frame.Detach(result); err == nil {
			e.Value, e.Text = v, v.String()
		}
	}
	return e, nil
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
	for _, scopes := range ps.resources {
		for _, u := range scopes {
			visit(u.key, u.module)
		}
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
	for _, scopes := range ps.resources {
		for _, u := range scopes {
			byKey[u.key] = u.source
		}
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
