package expr

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// hierarchyType has the name that conditions in the Cerbos format know it by.
var hierarchyType = types.NewObjectType("cerbos.lib.hierarchy", traits.IndexerType, traits.SizerType, traits.ReceiverType)

// hierarchyRelations are what one hierarchy can be to another.
var hierarchyRelations = map[string]func(h, other hierarchy) bool{
	"ancestorOf":   func(h, other hierarchy) bool { return len(h) < len(other) && h.begins(other) },
	"descendentOf": func(h, other hierarchy) bool { return len(other) < len(h) && other.begins(h) },
	"immediateParentOf": func(h, other hierarchy) bool {
		return len(h)+1 == len(other) && h.begins(other)
	},
	"immediateChildOf": func(h, other hierarchy) bool {
		return len(other)+1 == len(h) && other.begins(h)
	},
	// A hierarchy is its own sibling.
	"siblingOf": func(h, other hierarchy) bool {
		return len(h) == len(other) && (len(h) == 0 || slices.Equal(h[:len(h)-1], other[:len(h)-1]))
	},
	"overlaps": func(h, other hierarchy) bool { return h.begins(other) || other.begins(h) },
}

const commonAncestors = "commonAncestors"

// hierarchyFunctions declares hierarchies. Their members have no binding here:
// cel-go has the value itself answer them, by Receive.
func hierarchyFunctions() []cel.EnvOption {
	options := []cel.EnvOption{
		cel.Function("hierarchy",
			cel.Overload("hierarchy_string", []*cel.Type{cel.StringType}, hierarchyType, cel.UnaryBinding(toHierarchy)),
			cel.Overload("hierarchy_string_string", []*cel.Type{cel.StringType, cel.StringType}, hierarchyType,
				cel.BinaryBinding(func(text, delimiter ref.Val) ref.Val {
					return hierarchy(strings.Split(string(text.(types.String)), string(delimiter.(types.String))))
				})),
			cel.Overload("hierarchy_list", []*cel.Type{cel.ListType(cel.StringType)}, hierarchyType, cel.UnaryBinding(toHierarchy))),
		cel.Function(commonAncestors,
			cel.MemberOverload(commonAncestors, []*cel.Type{hierarchyType, hierarchyType}, hierarchyType)),
		cel.Function(overloads.Size,
			cel.MemberOverload("hierarchy_size", []*cel.Type{hierarchyType}, cel.IntType)),
		cel.Function(operators.Index,
			cel.Overload("hierarchy_index", []*cel.Type{hierarchyType, cel.IntType}, cel.StringType)),
	}
	for name := range hierarchyRelations {
		options = append(options, cel.Function(name,
			cel.MemberOverload(name, []*cel.Type{hierarchyType, hierarchyType}, cel.BoolType)))
	}
	return options
}

// toHierarchy makes a hierarchy of text with dots between its levels, or of a
// list of levels.
func toHierarchy(v ref.Val) ref.Val {
	switch t := v.(type) {
	case types.String:
		return hierarchy(strings.Split(string(t), "."))
	case traits.Lister:
		levels, err := textsOf(t)
		if err != nil {
			return types.WrapErr(err)
		}
		return hierarchy(levels)
	}
	return types.MaybeNoSuchOverloadErr(v)
}

// textsOf gives the elements of a list, which all have to be text.
func textsOf(l traits.Lister) ([]string, error) {
	texts, err := l.ConvertToNative(reflect.TypeFor[[]string]())
	if err != nil {
		return nil, fmt.Errorf("failed to convert list to string slice: %w", err)
	}
	return texts.([]string), nil
}

// A hierarchy is a position in a tree: its levels from the root, such as
// region, country and town.
type hierarchy []string

var (
	_ traits.Indexer  = hierarchy(nil)
	_ traits.Sizer    = hierarchy(nil)
	_ traits.Receiver = hierarchy(nil)
)

// begins tells whether other has the levels of h first.
func (h hierarchy) begins(other hierarchy) bool {
	return len(h) <= len(other) && slices.Equal(h, other[:len(h)])
}

// common gives the levels that h and other begin with. Of two that are equally
// deep the last level is no ancestor.
func (h hierarchy) common(other hierarchy) hierarchy {
	n := min(len(h), len(other))
	if len(h) == len(other) {
		n--
	}
	shared := hierarchy{}
	for i := 0; i < n && h[i] == other[i]; i++ {
		shared = append(shared, h[i])
	}
	return shared
}

// Receive implements traits.Receiver: the members of hierarchies.
func (h hierarchy) Receive(function, _ string, args []ref.Val) ref.Val {
	if len(args) != 1 {
		return types.NoSuchOverloadErr()
	}
	relation := hierarchyRelations[function]
	if relation == nil && function != commonAncestors {
		return types.NoSuchOverloadErr()
	}
	other, ok := args[0].(hierarchy)
	switch {
	case !ok:
		return types.MaybeNoSuchOverloadErr(args[0])
	case relation != nil:
		return types.Bool(relation(h, other))
	case len(h) == 0 && len(other) == 0:
		return types.NewErr("commonAncestors: neither hierarchy has a level")
	}
	return h.common(other)
}

// Get implements traits.Indexer.
func (h hierarchy) Get(index ref.Val) ref.Val {
	i, ok := index.(types.Int)
	if !ok {
		return types.ValOrErr(index, "unsupported index type '%s'", index.Type())
	}
	if i < 0 || int64(i) >= int64(len(h)) {
		return types.NewErr("index out of range")
	}
	return types.String(h[i])
}

// Size implements traits.Sizer.
func (h hierarchy) Size() ref.Val { return types.Int(len(h)) }

// Equal implements ref.Val: a hierarchy equals hierarchies only, and comparing
// it with anything else is an error.
func (h hierarchy) Equal(other ref.Val) ref.Val {
	o, ok := other.(hierarchy)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Bool(slices.Equal(h, o))
}

// ConvertToNative implements ref.Val.
func (h hierarchy) ConvertToNative(t reflect.Type) (any, error) {
	return textual(h, h.String(), t)
}

// ConvertToType implements ref.Val.
func (h hierarchy) ConvertToType(t ref.Type) ref.Val {
	return convertTextual(h, h.String(), t)
}

// Type implements ref.Val.
func (h hierarchy) Type() ref.Type { return hierarchyType }

// Value implements ref.Val.
func (h hierarchy) Value() any { return []string(h) }

// String is the hierarchy in messages.
func (h hierarchy) String() string { return strings.Join(h, ".") }

// textual converts a value that has text to stand for it to Go's strings, or to
// an interface that it is.
func textual(v ref.Val, text string, t reflect.Type) (any, error) {
	switch {
	case t.Kind() == reflect.String:
		return text, nil
	case t.Kind() == reflect.Interface && reflect.TypeOf(v.Value()).Implements(t):
		return v.Value(), nil
	case reflect.TypeOf(v).AssignableTo(t):
		return v, nil
	}
	return nil, fmt.Errorf("unsupported native conversion from %s to '%v'", v.Type().TypeName(), t)
}

// convertTextual converts a value that has text to stand for it to text, and to
// its type.
func convertTextual(v ref.Val, text string, t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(text)
	case types.TypeType:
		return v.Type().(ref.Val)
	}
	return types.NewErr("type conversion error from '%s' to '%s'", v.Type(), t)
}
