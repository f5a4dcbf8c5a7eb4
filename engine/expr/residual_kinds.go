package expr

import (
	"github.com/google/cel-go/common/decls"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"

	"edict/engine/value"
)

// This file tells of which kinds a value can be that is not known, and so what
// never holds or always fails, whatever it is. A database that a filter is for
// knows less of types than CEL, and would find rows.

// kinds is a set of kinds of values.
type kinds uint32

const (
	nullKind      = kinds(1) << value.Null
	boolKind      = kinds(1) << value.Bool
	intKind       = kinds(1) << value.Int
	uintKind      = kinds(1) << value.Uint
	doubleKind    = kinds(1) << value.Double
	stringKind    = kinds(1) << value.String
	bytesKind     = kinds(1) << value.Bytes
	listKind      = kinds(1) << value.List
	mapKind       = kinds(1) << value.Map
	timestampKind = kinds(1) << value.Timestamp
	durationKind  = kinds(1) << value.Duration
	opaqueKind    = kinds(1) << value.Opaque

	numberKinds = intKind | uintKind | doubleKind
	anyKind     = nullKind | boolKind | numberKinds | stringKind | bytesKind | listKind | mapKind | timestampKind | durationKind | opaqueKind

	// isJSON tells that the values are JSON with all that is in them.
	isJSON   kinds = 1 << 31
	jsonKind       = isJSON | nullKind | boolKind | doubleKind | stringKind | listKind | mapKind
)

// has tells whether a value may be of one of some kinds.
func (k kinds) has(some kinds) bool { return k&some&^isJSON != 0 }

// only tells whether a value can be of no other kinds than some.
func (k kinds) only(some kinds) bool { return k&^some&^isJSON == 0 }

// or is the union.
func (k kinds) or(other kinds) kinds { return (k|other)&^isJSON | k&other&isJSON }

// typed gives those of the kinds that values of a static type may have.
func (k kinds) typed(static kinds) kinds { return k & (static | isJSON) }

// equals tells whether a value may be equal to one of other kinds. Numbers of all
// types may.
func (k kinds) equals(other kinds) bool {
	return k.has(other) || k.has(numberKinds) && other.has(numberKinds)
}

// staticKinds gives the kinds of the values of a static type.
func staticKinds(t *types.Type) kinds {
	if t == nil {
		return anyKind
	}
	switch t.Kind() {
	case types.NullTypeKind:
		return nullKind
	case types.BoolKind:
		return boolKind
	case types.IntKind:
		return intKind
	case types.UintKind:
		return uintKind
	case types.DoubleKind:
		return doubleKind
	case types.StringKind:
		return stringKind
	case types.BytesKind:
		return bytesKind
	case types.ListKind:
		return listKind
	case types.MapKind:
		return mapKind
	case types.TimestampKind:
		return timestampKind
	case types.DurationKind:
		return durationKind
	case types.StructKind:
		return mapKind | opaqueKind
	case types.OpaqueKind, types.TypeKind:
		return opaqueKind
	}
	return anyKind
}

// An overload is one way to call a function. Whether it is written behind its first
// operand does not matter to evaluation.
type overload struct {
	args   []kinds
	result kinds
}

// overloadsOf gives the overloads of all functions.
func overloadsOf(functions map[string]*decls.FunctionDecl) map[string][]overload {
	out := make(map[string][]overload, len(functions))
	for name, f := range functions {
		for _, d := range f.OverloadDecls() {
			o := overload{result: staticKinds(d.ResultType())}
			for _, t := range d.ArgTypes() {
				o.args = append(o.args, staticKinds(t)|opaqueKind) // of what is in there, nothing is known
			}
			out[name] = append(out[name], o)
		}
	}
	out[operators.Negate] = append(out[operators.Negate], overload{[]kinds{durationKind}, durationKind}) // which is not declared
	return out
}

// kindsOf gives the kinds that an outcome may be of.
func (r *reducer) kindsOf(o *outcome) kinds {
	if !o.unknown && o.kinds == 0 {
		o.kinds = r.kindsOfValue(r.value(o))
	}
	return o.kinds
}

// kindsOfValue gives the kind of a value; none of an error.
func (r *reducer) kindsOfValue(v value.Value) kinds {
	switch k := kinds(1) << v.Kind(); v.Kind() {
	case value.Error:
		return isJSON
	case value.Null, value.Bool, value.Double, value.String:
		return k | isJSON
	case value.List, value.Map:
		return k | r.memberKinds(v)&isJSON
	default:
		return k
	}
}

// memberKinds gives the kinds of the members of a list, or of the values of a map.
func (r *reducer) memberKinds(v value.Value) kinds {
	k := isJSON
	if s := v.Sequence(); s != nil {
		for i := 0; i < s.Len() && k != anyKind; i++ {
			k = r.with(k, s.At(i))
		}
		return k
	}
	m := v.Mapping()
	if _, ok := m.(refMap); ok {
		return anyKind // not all keys can be seen
	}
	m.Range(func(_ string, member value.Value) bool {
		k = r.with(k, member)
		return k != anyKind
	})
	return k
}

// with adds the kind of a member.
func (r *reducer) with(k kinds, member value.Value) kinds {
	if !r.Frame.Spend(1) {
		return anyKind
	}
	return k.or(r.kindsOfValue(member))
}

// resultKinds gives the kinds that a call may give for operands. There are none
// if it fails for all of them.
func (r *reducer) resultKinds(n *fragment, list []outcome) kinds {
	if r.Exact {
		return n.static
	}
	var few [3]kinds // which take no memory of their own
	args := few[:0]
	for i := range list {
		args = append(args, r.kindsOf(&list[i]))
	}
	switch n.op {
	case operators.Index:
		return indexed(args[0], args[1]).typed(n.static)
	case overloads.TypeConvertDyn:
		return args[0]
	}
	declared := n.env.overloads[n.op]
	if declared == nil {
		return n.static
	}
	var result kinds
	for _, o := range declared {
		matches := len(o.args) == len(args)
		for i := 0; matches && i < len(args); i++ {
			matches = args[i].has(o.args[i])
		}
		if matches {
			result |= o.result
		}
	}
	return result
}

// indexed gives the kinds of x[key]. Any number may be the index of a list.
func indexed(x, key kinds) kinds {
	switch {
	case !x.has(listKind | mapKind | opaqueKind), x.only(listKind) && !key.has(numberKinds):
		return 0
	case x&isJSON != 0:
		return jsonKind
	}
	return anyKind
}

// loopKinds gives the kinds of the variables of a loop over a collection.
func (r *reducer) loopKinds(over *outcome, two bool) []kinds {
	k := r.kindsOf(over)
	member, key := anyKind, anyKind
	switch {
	case !over.unknown && r.value(over).Kind() == value.List:
		member, key = r.memberKinds(over.v), intKind
	case k&isJSON != 0:
		member, key = jsonKind, intKind|stringKind
	}
	if two {
		return []kinds{key, member}
	}
	return []kinds{member}
}

// unsafe tells why a call can't be part of a filter, although it may give
// something: those who evaluate filters, whose numbers are of one type and whose
// timestamps may be texts, could find that it holds where it does not.
func (r *reducer) unsafe(n *fragment, list []outcome) error {
	if r.Exact {
		return nil
	}
	switch n.op {
	case operators.Equals, operators.NotEquals:
		if !r.kindsOf(&list[0]).equals(r.kindsOf(&list[1])) {
			return errNeverEqual
		}
	case operators.In:
		if !r.kindsOf(&list[0]).equals(r.searched(&list[1])) {
			return errNeverEqual
		}
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate:
		var types kinds
		for i := range list {
			types |= r.kindsOf(&list[i]) & numberKinds
		}
		switch {
		case types != 0 && !types.only(intKind) && !types.only(uintKind) && !types.only(doubleKind):
			return refuse("arithmetic on numbers of which the types are not known")
		case n.op == operators.Divide && types.has(intKind|uintKind):
			return refuse("division of whole numbers, which leaves out the remainder,")
		case n.op == operators.Subtract && types.has(uintKind):
			return refuse("subtraction of uints, which fails below zero,")
		}
	}
	return nil
}

// searched gives the kinds of what "in" looks at.
func (r *reducer) searched(o *outcome) kinds {
	switch k := r.kindsOf(o); {
	case k&isJSON != 0:
		return jsonKind
	case !o.unknown && r.value(o).Kind() == value.List:
		return r.memberKinds(o.v)
	}
	return anyKind
}

// json gives the kinds of a part that is JSON, if it is there.
func (r *reducer) json(n *fragment) kinds {
	if r.Exact {
		return n.static
	}
	return jsonKind.typed(n.static)
}
