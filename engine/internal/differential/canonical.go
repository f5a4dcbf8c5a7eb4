package main

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/value"
)

// A node is an operand of a filter, as JSON.
type node = map[string]any

// always fails, in canonical forms.
var failure = node{"expression": node{"operator": "error", "operands": []any(nil)}}

// A reader brings filters for a request into canonical form. All that it does
// leaves a filter with the meaning that it has in CEL, for every resource: the
// forms of two filters are the same only if they let through the same. Where it
// is not sure, it leaves things as they are.
type reader struct {
	req     *engine.PlanRequest
	globals value.Mapping
}

// canonical gives an operand in one of the forms that mean the same. Where a truth
// is asked for, no other value is told from an error.
func (r reader) canonical(x any, truth bool) any {
	m, _ := x.(node)
	if name, ok := m["variable"].(string); ok {
		return r.variable(name)
	}
	e, _ := m["expression"].(node)
	if e == nil {
		return x
	}
	operator, _ := e["operator"].(string)
	list, _ := e["operands"].([]any)
	operands := []any{}
	for i, o := range list {
		if operator == "get-field" && i == 1 { // which is a name
			operands = append(operands, o)
			continue
		}
		o = r.canonical(o, operator == "and" || operator == "or" || operator == "not")
		if inner := operandsOf(o, operator); inner != nil && (operator == "and" || operator == "or") {
			operands = append(operands, inner...)
		} else {
			operands = append(operands, o)
		}
	}
	if fails(operator, operands) {
		return failure
	}
	switch operator {
	case "and", "or":
		return joined(operator, operands, truth)
	case "not":
		if inner := operandsOf(operands[0], "not"); inner != nil && truth {
			return inner[0]
		}
		if v, ok := constant(operands[0]).(bool); ok {
			return node{"value": !v}
		}
	case "dyn": // gives what it is given
		return operands[0]
	case "if":
		if v, ok := constant(operands[0]).(bool); ok && v {
			return operands[1]
		} else if ok {
			return operands[2]
		}
	case "eq", "ne", "lt", "le", "gt", "ge":
		if v, ok := compared(operator, operands); ok {
			return v
		}
	case "get-field":
		if fields := operandsOf(operands[0], "struct"); fields != nil {
			return selected(fields, operands[1])
		}
	case "struct": // the order of fields is of no concern
		sortByText(operands)
	case "timestamp":
		text, _ := constant(operands[0]).(string)
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil && time.Since(at).Abs() < time.Hour {
			operands = []any{node{"value": "now()"}} // the clocks of the two are not one
		}
	}
	return node{"expression": node{"operator": operator, "operands": operands}}
}

// operandsOf gives the operands of an expression with an operator, and nil of all
// else.
func operandsOf(x any, operator string) []any {
	e, _ := x.(node)["expression"].(node)
	if e == nil || e["operator"] != operator {
		return nil
	}
	return e["operands"].([]any)
}

// joined is a conjunction or disjunction, of which the order does not matter and
// repetition neither. A constant decides, whatever stands beside it, or is left
// out. One operand alone is itself where a truth is asked for.
func joined(operator string, operands []any, truth bool) any {
	sortByText(operands)
	operands = slices.CompactFunc(operands, func(a, b any) bool { return jsonText(a) == jsonText(b) })
	decides := node{"value": operator == "or"}
	neutral := node{"value": operator == "and"}
	if slices.ContainsFunc(operands, func(o any) bool { return reflect.DeepEqual(o, decides) }) {
		return decides
	}
	for i, o := range operands { // a value that is no boolean is as good as an error
		if v, ok := o.(node)["value"]; ok {
			if _, boolean := v.(bool); !boolean {
				operands[i] = failure
			}
		}
	}
	kept := slices.DeleteFunc(slices.Clone(operands), func(o any) bool { return reflect.DeepEqual(o, neutral) })
	switch {
	case len(kept) == 0:
		return neutral
	case len(kept) > 1:
		operands = kept
	case truth:
		return kept[0]
	}
	return node{"expression": node{"operator": operator, "operands": operands}}
}

// fails tells whether an operator fails for sure, as it does if one of its operands
// does, unless it need not look at that.
func fails(operator string, operands []any) bool {
	switch operator {
	case "and", "or", "lambda":
		return false
	case "get-field":
		switch v, ok := operands[0].(node)["value"]; v.(type) {
		case nil, bool, float64, string:
			return ok // it is a value, which has no fields
		}
	case "if", "exists", "all", "exists_one", "filter", "map", "transformList", "transformMap", "transformMapEntry":
		operands = operands[:1]
	}
	return slices.ContainsFunc(operands, func(o any) bool { return reflect.DeepEqual(o, failure) })
}

// selected gives a field of a map that is written out, of which the keys are plain.
func selected(fields []any, name any) any {
	for _, f := range fields {
		set := operandsOf(f, "set-field")
		key, ok := constant(set[0]).(string)
		if !ok {
			return node{"expression": node{"operator": "get-field", "operands": []any{
				node{"expression": node{"operator": "struct", "operands": fields}}, name}}}
		}
		if key == name.(node)["variable"] {
			return set[1]
		}
	}
	return failure
}

// constant gives a value, if an operand is one that is not null.
func constant(x any) any { return x.(node)["value"] }

// compared gives what a comparison of two plain values gives, which does not depend
// on the types of numbers as long as doubles have all their digits.
func compared(operator string, operands []any) (any, bool) {
	order := 0
	switch a := constant(operands[0]).(type) {
	case bool:
		b, ok := constant(operands[1]).(bool)
		if !ok {
			return nil, false
		}
		order = cmp.Compare(number(a), number(b))
	case float64:
		b, ok := constant(operands[1]).(float64)
		if !ok || max(a, b, -a, -b) > 1<<53 {
			return nil, false
		}
		order = cmp.Compare(a, b)
	case string:
		b, ok := constant(operands[1]).(string)
		if !ok {
			return nil, false
		}
		order = strings.Compare(a, b)
	default:
		return nil, false
	}
	holds := map[string]bool{"eq": order == 0, "ne": order != 0, "lt": order < 0, "le": order <= 0, "gt": order > 0, "ge": order >= 0}
	return node{"value": holds[operator]}, true
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// variable gives a variable by its short name, or what it stands for if that is
// known: a value, or an error if there is no such attribute or global.
func (r reader) variable(name string) any {
	switch name {
	case "request.resource.kind":
		return node{"value": r.req.Resource.Kind}
	case "request.principal.id":
		return node{"value": r.req.Principal.ID}
	case "request.principal.roles":
		roles := []any{}
		for _, role := range r.req.Principal.Roles {
			roles = append(roles, role)
		}
		return node{"value": roles}
	}
	if after, ok := strings.CutPrefix(name, "constants."); ok {
		name = "C." + after
	}
	if after, ok := strings.CutPrefix(name, "globals."); ok {
		name = "G." + after
	}
	var known value.Mapping
	path, found := "", false
	for prefix, of := range map[string]value.Mapping{"request.principal.attr.": r.req.Principal.Attr, "G.": r.globals,
		"request.auxData.jwt.": r.req.AuxData.JWT, "request.aux_data.jwt.": r.req.AuxData.JWT} {
		if after, ok := strings.CutPrefix(name, prefix); ok {
			known, path, found = of, after, true
		}
	}
	if !found {
		return node{"variable": name}
	}
	at := value.OfMapping(value.Values{})
	if known != nil {
		at = value.OfMapping(known)
	}
	for _, field := range strings.Split(path, ".") {
		m := at.Mapping()
		if m == nil {
			return failure
		}
		dotted := false
		m.Range(func(name string, _ value.Value) bool {
			dotted = dotted || strings.Contains(name, ".")
			return true
		})
		if dotted { // which of the names is meant is not clear
			return node{"variable": name}
		}
		var ok bool
		if at, ok = m.Lookup(field); !ok {
			return failure
		}
	}
	switch at.Kind() {
	case value.Bool, value.Double, value.String:
		return node{"value": at.Native()}
	}
	return node{"variable": name}
}

func sortByText(list []any) {
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(jsonText(a), jsonText(b)) })
}

func jsonText(x any) string {
	text, err := json.Marshal(x)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// filter gives the kind of an answer and its condition in canonical form. What
// always holds is a filter of that kind, as is what never does.
func (r reader) filter(a *planAnswer) (kind string, condition any) {
	if a.condition == nil {
		return a.kind, nil
	}
	switch condition = r.canonical(a.condition, true); {
	case reflect.DeepEqual(condition, node{"value": true}):
		return engine.AlwaysAllowed.String(), nil
	case reflect.DeepEqual(condition, node{"value": false}), reflect.DeepEqual(condition, failure):
		return engine.AlwaysDenied.String(), nil
	}
	return a.kind, condition
}

// same tells whether two answers are the same, with filters that mean the same.
func (r reader) same(a, b *planAnswer) bool {
	switch {
	case a.failure != "" || b.failure != "":
		return a.failure != "" && b.failure != ""
	case len(a.scopes) != 0 || len(b.scopes) != 0:
		if !reflect.DeepEqual(a.scopes, b.scopes) {
			return false
		}
	}
	return r.sameFilter(a, b) && slices.Equal(a.invalid, b.invalid) && (a.debug == "NO_MATCH") == (b.debug == "NO_MATCH")
}

func (r reader) sameFilter(a, b *planAnswer) bool {
	kind, condition := r.filter(a)
	otherKind, otherCondition := r.filter(b)
	return kind == otherKind && reflect.DeepEqual(condition, otherCondition)
}

// withoutFailures leaves out what fails, or is no boolean, from conjunctions and
// disjunctions in canonical form.
func withoutFailures(condition any) any {
	for _, operator := range []string{"and", "or", "not"} {
		operands := operandsOf(condition, operator)
		if operands == nil {
			continue
		}
		kept := []any{}
		for _, o := range operands {
			if !reflect.DeepEqual(o, failure) {
				kept = append(kept, withoutFailures(o))
			}
		}
		if operator != "not" && len(kept) > 0 {
			return joined(operator, kept, true)
		}
		return node{"expression": node{"operator": operator, "operands": kept}}
	}
	return condition
}

// leaves gives the parts of a condition that and, or and not join, as text.
func leaves(condition any, into map[string]bool) map[string]bool {
	for _, operator := range []string{"and", "or", "not"} {
		if operands := operandsOf(condition, operator); operands != nil {
			for _, o := range operands {
				leaves(o, into)
			}
			return into
		}
	}
	into[jsonText(condition)] = true
	return into
}
