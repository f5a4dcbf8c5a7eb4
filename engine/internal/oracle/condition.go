package oracle

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
)

// conditionHolds evaluates a condition of a policy. Under strict evaluation an
// expression that fails is an error; otherwise it counts as false.
func (e *entry) conditionHolds(c *policy.Condition, of *source, effective []string, effectiveErr error) (bool, error) {
	if c == nil {
		return true, nil
	}
	return e.holdsIn(c, e.names(of, effective, effectiveErr))
}

func (e *entry) holdsIn(c *policy.Condition, names map[string]any) (bool, error) {
	switch c.Op {
	case policy.Expr:
		v, err := e.cel.eval(c.Expr.Value, names)
		if err != nil {
			if e.opts.LenientEvaluation {
				return false, nil
			}
			return false, err
		}
		return isTrue(v), nil
	case policy.All:
		for _, member := range c.Of {
			if held, err := e.holdsIn(member, names); err != nil || !held {
				return false, err
			}
		}
		return true, nil
	case policy.Any, policy.None:
		for _, member := range c.Of {
			held, err := e.holdsIn(member, names)
			if err != nil {
				return false, err
			}
			if held {
				return c.Op == policy.Any, nil
			}
		}
		return c.Op == policy.None, nil
	default:
		panic(fmt.Sprintf("oracle: operator %d", c.Op))
	}
}

// read takes the request apart for expressions to read. They change nothing
// of it, so that once is enough.
func (e *entry) read() {
	p, r := &e.req.Principal, &e.req.Resource
	e.principal, e.resource, e.request = &record{}, &record{}, &record{}
	e.principal.set(p.ID, "id")
	e.principal.set(p.Roles, "roles")
	e.principal.set(plain(p.Attr), "attr")
	e.principal.set(p.PolicyVersion, "policyVersion", "policy_version")
	e.principal.set(strings.TrimPrefix(p.Scope, "."), "scope")

	e.resource.set(r.Kind, "kind")
	e.resource.set(r.ID, "id")
	e.resource.set(plain(r.Attr), "attr")
	e.resource.set(r.PolicyVersion, "policyVersion", "policy_version")
	e.resource.set(strings.TrimPrefix(r.Scope, "."), "scope")

	aux := &record{}
	aux.set(plain(e.req.AuxData.JWT), "jwt")
	aux.set(map[string]any{}, "jwts")

	e.request.set(e.principal, "principal")
	e.request.set(e.resource, "resource")
	if e.req.AuxData.JWT == nil {
		e.request.set(absentMessage{aux}, "auxData", "aux_data")
	} else {
		e.request.set(aux, "auxData", "aux_data")
	}
	e.globals = plain(e.opts.Globals)
}

// names gives what the expressions of a policy see.
func (e *entry) names(of *source, effective []string, effectiveErr error) map[string]any {
	runtime := &record{}
	if effectiveErr != nil {
		runtime.set(effectiveErr, "effectiveDerivedRoles", "effective_derived_roles")
	} else {
		runtime.set(effective, "effectiveDerivedRoles", "effective_derived_roles")
	}
	constants := map[string]any{}
	for _, c := range of.constants {
		constants[c.Name.Value] = c.Value.Native()
	}
	variables := map[string]any{}
	names := map[string]any{
		"request": e.request, "P": e.principal, "R": e.resource, "runtime": runtime,
		"V": variables, "variables": variables,
		"C": constants, "constants": constants,
		"G": e.globals, "globals": e.globals,
	}
	e.evalVariables(of.variables, names, variables)
	return names
}

// evalVariables evaluates variables, those that others use before these. One
// that fails stays unset.
func (e *entry) evalVariables(defs []policy.Variable, names, variables map[string]any) {
	done := map[string]bool{}
	var eval func(name string)
	eval = func(name string) {
		if done[name] {
			return
		}
		done[name] = true
		i := slices.IndexFunc(defs, func(v policy.Variable) bool { return v.Name.Value == name })
		if i < 0 {
			panic(fmt.Sprintf("oracle: no variable %q", name))
		}
		text := defs[i].Expr.Value
		for _, used := range e.cel.compile(text).variables {
			eval(used)
		}
		if v, err := e.cel.eval(text, names); err == nil {
			variables[name] = v
		}
	}
	for _, v := range defs {
		eval(v.Name.Value)
	}
}

// plain gives a mapping as plain Go data; nil is empty.
func plain(m value.Mapping) map[string]any {
	out := map[string]any{}
	if m != nil {
		m.Range(func(k string, v value.Value) bool {
			out[k] = v.Native()
			return true
		})
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
