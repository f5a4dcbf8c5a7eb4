package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// listFunctions declares the functions that take lists for sets.
func listFunctions() []cel.EnvOption {
	listA := cel.ListType(cel.TypeParamType("A"))
	var options []cel.EnvOption
	lists := []struct {
		names  []string
		result *cel.Type
		apply  func(a, b traits.Lister) ref.Val
	}{
		{[]string{"hasIntersection", "has_intersection"}, cel.BoolType, hasIntersection},
		{[]string{"isSubset", "is_subset"}, cel.BoolType, isSubset},
		{[]string{"intersect"}, listA, intersect},
		{[]string{"except"}, listA, except},
	}
	for _, f := range lists {
		binding := cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			la, ok := a.(traits.Lister)
			if !ok {
				return types.MaybeNoSuchOverloadErr(a)
			}
			lb, ok := b.(traits.Lister)
			if !ok {
				return types.MaybeNoSuchOverloadErr(b)
			}
			return f.apply(la, lb)
		})
		for _, name := range f.names {
			options = append(options, cel.Function(name,
				cel.Overload(name+"_list_list", []*cel.Type{listA, listA}, f.result, binding),
				cel.MemberOverload("list_"+name+"_list", []*cel.Type{listA, listA}, f.result, binding)))
		}
	}
	return options
}

// contains tells whether x equals an element of a list. Whose Equal is asked
// matters where a value equals text, but text does not equal it.
func contains(l traits.Lister, x ref.Val) bool {
	for it := l.Iterator(); it.HasNext() == types.True; {
		if x.Equal(it.Next()) == types.True {
			return true
		}
	}
	return false
}

// keep gives the elements of l that are, or are not, in other, in order.
func keep(l, other traits.Lister, in bool) []ref.Val {
	out := []ref.Val{}
	for it := l.Iterator(); it.HasNext() == types.True; {
		if x := it.Next(); contains(other, x) == in {
			out = append(out, x)
		}
	}
	return out
}

func hasIntersection(a, b traits.Lister) ref.Val { return types.Bool(len(keep(a, b, true)) > 0) }

func isSubset(a, b traits.Lister) ref.Val { return types.Bool(len(keep(a, b, false)) == 0) }

// intersect keeps the order and the repetitions of the shorter list, of the
// first if both are equally long.
func intersect(a, b traits.Lister) ref.Val {
	if b.Size().(types.Int) < a.Size().(types.Int) {
		a, b = b, a
	}
	return types.NewRefValList(types.DefaultTypeAdapter, keep(a, b, true))
}

func except(a, b traits.Lister) ref.Val {
	return types.NewRefValList(types.DefaultTypeAdapter, keep(a, b, false))
}
