package oracle

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
)

// errPrincipalStage is what reading the effective derived roles ends in where
// principal policies decide, who come before all derived roles.
var errPrincipalStage = errors.New("principal policies come before derived roles")

// readsRoles tells whether an expression of a policy reads the effective
// derived roles, itself or by variables.
func (e *entry) readsRoles(text string, of *source) bool {
	x := e.cel.compile(text)
	return x.runtime || slices.ContainsFunc(x.variables, func(name string) bool {
		return e.readsRoles(of.variable(name).Expr.Value, of)
	})
}

// conditionReadsRoles tells whether any expression of a condition does.
func (e *entry) conditionReadsRoles(c *policy.Condition, of *source) bool {
	return c != nil && (c.Op == policy.Expr && e.readsRoles(c.Expr.Value, of) ||
		slices.ContainsFunc(c.Of, func(m *policy.Condition) bool { return e.conditionReadsRoles(m, of) }))
}

// variable gives a variable of the policy.
func (s *source) variable(name string) *policy.Variable {
	for i := range s.variables {
		if s.variables[i].Name.Value == name {
			return &s.variables[i]
		}
	}
	panic(fmt.Sprintf("oracle: no variable %q in %s", name, s.key))
}

// conditionHolds evaluates a condition of a policy. Under strict evaluation an
// expression that fails is an error; otherwise it counts as false.
func (e *entry) conditionHolds(c *policy.Condition, names map[string]any) (bool, error) {
	if c == nil {
		return true, nil
	}
	switch c.Op {
	case policy.Expr:
		v, err := e.cel.eval(c.Expr.Value, names)
		if err != nil {
			if e.opts.LenientEvaluation {
				e.meet(FailedAndFalse)
				return false, nil
			}
			return false, err
		}
		return isTrue(v), nil
	case policy.All:
		for _, member := range c.Of {
			if held, err := e.conditionHolds(member, names); err != nil || !held {
				return false, err
			}
		}
		return true, nil
	case policy.Any, policy.None:
		for _, member := range c.Of {
			held, err := e.conditionHolds(member, names)
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
	tokens := map[string]any{}
	for name, claims := range e.req.AuxData.JWTs {
		token := &record{}
		token.set(plain(claims), "claims")
		tokens[name] = token
	}
	aux.set(tokens, "jwts")

	e.request.set(e.principal, "principal")
	e.request.set(e.resource, "resource")
	if e.req.AuxData.JWT == nil && e.req.AuxData.JWTs == nil {
		e.request.set(absentMessage{aux}, "auxData", "aux_data")
	} else {
		e.request.set(aux, "auxData", "aux_data")
	}
}

// names gives what the expressions of a policy see. While the list of derived
// roles is built under lenient evaluation, a variable that fails is null.
func (e *entry) names(of *source, seen *roleList, building bool) map[string]any {
	runtime := &record{}
	if seen.err != nil {
		runtime.set(seen.err, "effectiveDerivedRoles", "effective_derived_roles")
	} else {
		runtime.set(slices.Clone(seen.names), "effectiveDerivedRoles", "effective_derived_roles")
	}
	constants := map[string]any{}
	for _, c := range of.constants {
		constants[c.Name.Value] = c.Value.Native()
	}
	if of.imported.constants {
		e.meet(ConstantImported)
	}
	if building && len(seen.names) > 0 {
		e.meet(RolesReadWhileListing)
	}
	variables := &variables{entry: e, of: of, failedIsNull: building && e.opts.LenientEvaluation}
	variables.names = map[string]any{
		"request": e.request, "P": e.principal, "R": e.resource, "runtime": runtime,
		"V": variables, "variables": variables,
		"C": constants, "constants": constants,
		"G": e.globals, "globals": e.globals,
	}
	return variables.names
}

// variables is what V names. A variable is evaluated when it is read, every
// time. One that fails is not there.
type variables struct {
	entry        *entry
	of           *source
	names        map[string]any
	failedIsNull bool
}

var variablesType = types.NewObjectType("oracle.variables", traits.IndexerType|traits.FieldTesterType)

func (v *variables) eval(field ref.Val) (ref.Val, error) {
	name, _ := field.(types.String)
	d := v.of.variable(string(name))
	if v.of.imported.variables[d.Name.Value] {
		v.entry.meet(VariableImported)
	}
	x, err := v.entry.cel.eval(d.Expr.Value, v.names)
	if err == nil {
		return x, nil
	}
	if v.failedIsNull {
		v.entry.meet(VariableNull)
		return types.NullValue, nil
	}
	v.entry.meet(VariableMissing)
	return nil, err
}

func (v *variables) Get(field ref.Val) ref.Val {
	x, err := v.eval(field)
	if err != nil {
		return types.WrapErr(fmt.Errorf("undefined field %v: %w", field, err))
	}
	return x
}

func (v *variables) IsSet(field ref.Val) ref.Val {
	_, err := v.eval(field)
	return types.Bool(err == nil)
}

func (v *variables) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("oracle: variables do not convert to %v", t)
}

func (v *variables) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("oracle: variables do not convert to %v", t)
}

func (v *variables) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(v)) }
func (v *variables) Type() ref.Type              { return variablesType }
func (v *variables) Value() any                  { return v }

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
	out := []string{}
	for _, t := range list {
		out = append(out, t.Value)
	}
	return out
}

// asJSON gives a value as JSON has it: nil, bool, float64, string, []any or
// map[string]any. What JSON has no form for is an error.
func asJSON(v ref.Val) (any, error) {
	x, err := v.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err != nil {
		return nil, err
	}
	if !finite(x.(*structpb.Value)) { // AsInterface would make a text of it
		return nil, errors.New("a number that JSON has no form for")
	}
	return x.(*structpb.Value).AsInterface(), nil
}

func finite(x *structpb.Value) bool {
	switch x := x.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return !math.IsInf(x.NumberValue, 0) && !math.IsNaN(x.NumberValue)
	case *structpb.Value_ListValue:
		return !slices.ContainsFunc(x.ListValue.GetValues(), func(m *structpb.Value) bool { return !finite(m) })
	case *structpb.Value_StructValue:
		for _, m := range x.StructValue.GetFields() {
			if !finite(m) {
				return false
			}
		}
	}
	return true
}
