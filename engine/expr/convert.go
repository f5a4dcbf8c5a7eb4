package expr

import (
	"fmt"
	"reflect"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"edict/engine/value"
)

// structTypes are the declared structs by name. They are what it takes to show
// a Value to cel-go.
type structTypes map[string]Struct

// toRef gives v as cel-go sees it. Maps and lists stay lazy.
func (s structTypes) toRef(v value.Value) ref.Val {
	switch v.Kind() {
	case value.Null:
		return types.NullValue
	case value.Bool:
		return types.Bool(v.Bool())
	case value.Int:
		return types.Int(v.Int())
	case value.Uint:
		return types.Uint(v.Uint())
	case value.Double:
		return types.Double(v.Double())
	case value.String:
		return types.String(v.Str())
	case value.Bytes:
		return types.Bytes(v.Str())
	case value.Timestamp:
		return types.Timestamp{Time: v.Time()}
	case value.Duration:
		return types.Duration{Duration: v.Duration()}
	case value.List:
		list := v.Sequence()
		if l, ok := list.(refList); ok {
			return l.Lister
		}
		return &listVal{list, s}
	case value.Map:
		switch m := v.Mapping().(type) {
		case refMap:
			return m.Mapper
		case StructValue:
			return &structVal{m, s}
		default:
			return &mapVal{m, s}
		}
	case value.Error:
		return types.WrapErr(v.Err())
	case value.Opaque:
		if r, ok := v.Opaque().(ref.Val); ok {
			return r
		}
	}
	return types.NewErr("no such value")
}

// fromRef gives a result of cel-go as a Value.
func fromRef(r ref.Val) value.Value {
	switch t := r.(type) {
	case nil:
		return value.OfError(fmt.Errorf("no result"))
	case types.Bool:
		return value.OfBool(bool(t))
	case types.String:
		return value.OfString(string(t))
	case types.Double:
		return value.OfDouble(float64(t))
	case types.Int:
		return value.OfInt(int64(t))
	case types.Uint:
		return value.OfUint(uint64(t))
	case types.Bytes:
		return value.OfBytes(t)
	case types.Null:
		return value.OfNull()
	case types.Timestamp:
		return value.OfTime(t.Time)
	case types.Duration:
		return value.OfDuration(t.Duration)
	case *types.Err:
		return value.OfError(t)
	case *structVal:
		return value.OfMapping(t.m)
	case *mapVal:
		return value.OfMapping(t.m)
	case *listVal:
		return value.OfSequence(t.s)
	case traits.Lister:
		return value.OfSequence(refList{t})
	case traits.Mapper:
		return value.OfMapping(refMap{t})
	default:
		return value.OfOpaque(t)
	}
}

// refList is a list of cel-go as a Sequence.
type refList struct{ traits.Lister }

// Len implements value.Sequence.
func (l refList) Len() int { return int(l.Size().(types.Int)) }

// At implements value.Sequence.
func (l refList) At(i int) value.Value { return fromRef(l.Get(types.Int(i))) }

// refMap is a map of cel-go as a Mapping. Keys that are no strings are not
// seen through it.
type refMap struct{ traits.Mapper }

// Lookup implements value.Mapping.
func (m refMap) Lookup(key string) (value.Value, bool) {
	v, ok := m.Find(types.String(key))
	if !ok {
		return value.Value{}, false
	}
	return fromRef(v), true
}

// Len implements value.Mapping.
func (m refMap) Len() int { return int(m.Size().(types.Int)) }

// Range implements value.Mapping.
func (m refMap) Range(yield func(string, value.Value) bool) {
	for it := m.Iterator(); it.HasNext() == types.True; {
		k, ok := it.Next().(types.String)
		if !ok {
			continue
		}
		if v, ok := m.Lookup(string(k)); ok && !yield(string(k), v) {
			return
		}
	}
}

// listVal is a Sequence as a list of cel-go. An expression may read it once in
// each round of a loop, so it is not converted before its elements are.
type listVal struct {
	s       value.Sequence
	structs structTypes
}

var (
	_ traits.Lister   = (*listVal)(nil)
	_ traits.Foldable = (*listVal)(nil)
	_ traits.Zeroer   = (*listVal)(nil)
)

// whole gives the list with every element converted.
func (l *listVal) whole() traits.Lister {
	elems := make([]ref.Val, l.s.Len())
	for i := range elems {
		elems[i] = l.at(i)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, elems)
}

func (l *listVal) at(i int) ref.Val { return l.structs.toRef(l.s.At(i)) }

// Add implements traits.Adder.
func (l *listVal) Add(other ref.Val) ref.Val { return l.whole().Add(other) }

// Contains implements traits.Container.
func (l *listVal) Contains(x ref.Val) ref.Val {
	for i, n := 0, l.s.Len(); i < n; i++ {
		if x.Equal(l.at(i)) == types.True {
			return types.True
		}
	}
	return types.False
}

// Equal implements ref.Val.
func (l *listVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	if !ok || o.Size() != l.Size() {
		return types.False
	}
	for i, n := 0, l.s.Len(); i < n; i++ {
		if types.Equal(l.at(i), o.Get(types.Int(i))) == types.False {
			return types.False
		}
	}
	return types.True
}

// Get implements traits.Indexer.
func (l *listVal) Get(index ref.Val) ref.Val {
	i, err := types.IndexOrError(index)
	if err != nil {
		return types.ValOrErr(index, "%v", err)
	}
	if i < 0 || i >= l.s.Len() {
		return types.NewErr("index '%d' out of range in list size '%d'", i, l.s.Len())
	}
	return l.at(i)
}

// Size implements traits.Sizer.
func (l *listVal) Size() ref.Val { return types.Int(l.s.Len()) }

// IsZeroValue implements traits.Zeroer.
func (l *listVal) IsZeroValue() bool { return l.s.Len() == 0 }

// Fold implements traits.Foldable.
func (l *listVal) Fold(f traits.Folder) {
	for i, n := 0, l.s.Len(); i < n && f.FoldEntry(types.Int(i), l.at(i)); i++ {
	}
}

// Iterator implements traits.Iterable.
func (l *listVal) Iterator() traits.Iterator { return &listIterator{list: l, end: l.s.Len()} }

// ConvertToNative implements ref.Val.
func (l *listVal) ConvertToNative(t reflect.Type) (any, error) { return l.whole().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (l *listVal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.ListType:
		return l
	case types.TypeType:
		return types.ListType
	}
	return types.NewErr("type conversion error from '%s' to '%s'", types.ListType, t)
}

// Type implements ref.Val.
func (l *listVal) Type() ref.Type { return types.ListType }

// Value implements ref.Val.
func (l *listVal) Value() any { return l.whole().Value() }

// String is the list in messages of cel-go.
func (l *listVal) String() string { return value.OfSequence(l.s).String() }

// A listIterator goes over a listVal.
type listIterator struct {
	list *listVal
	next int
	end  int
}

var _ traits.Iterator = (*listIterator)(nil)

// HasNext implements traits.Iterator.
func (it *listIterator) HasNext() ref.Val { return types.Bool(it.next < it.end) }

// Next implements traits.Iterator.
func (it *listIterator) Next() ref.Val {
	if it.next >= it.end {
		return nil
	}
	it.next++
	return it.list.at(it.next - 1)
}

// ConvertToNative implements ref.Val.
func (it *listIterator) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("type conversion on iterators not supported")
}

// ConvertToType implements ref.Val.
func (it *listIterator) ConvertToType(ref.Type) ref.Val { return types.NewErr("no such overload") }

// Equal implements ref.Val.
func (it *listIterator) Equal(ref.Val) ref.Val { return types.NewErr("no such overload") }

// Type implements ref.Val.
func (it *listIterator) Type() ref.Type { return types.IteratorType }

// Value implements ref.Val.
func (it *listIterator) Value() any { return nil }

// mapVal is a Mapping as a map of cel-go: map(string, dyn). It is used by
// pointer, since cel-go takes values as keys of Go maps, and not every Mapping
// could be one.
type mapVal struct {
	m       value.Mapping
	structs structTypes
}

var (
	_ traits.Mapper = (*mapVal)(nil)
	_ traits.Zeroer = (*mapVal)(nil)
)

// whole gives the map with every entry converted, for the operations that are
// too rare to be worth doing lazily.
func (v *mapVal) whole() traits.Mapper {
	entries := make(map[ref.Val]ref.Val, v.m.Len())
	v.m.Range(func(k string, e value.Value) bool {
		entries[types.String(k)] = v.structs.toRef(e)
		return true
	})
	return types.NewRefValMap(types.DefaultTypeAdapter, entries)
}

// Find implements traits.Mapper.
func (v *mapVal) Find(key ref.Val) (ref.Val, bool) {
	k, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	e, ok := v.m.Lookup(string(k))
	if !ok {
		return nil, false
	}
	return v.structs.toRef(e), true
}

// Get implements traits.Indexer.
func (v *mapVal) Get(key ref.Val) ref.Val {
	e, ok := v.Find(key)
	if !ok {
		return types.ValOrErr(e, "no such key: %v", key)
	}
	return e
}

// Contains implements traits.Container.
func (v *mapVal) Contains(key ref.Val) ref.Val {
	_, ok := v.Find(key)
	return types.Bool(ok)
}

// Size implements traits.Sizer.
func (v *mapVal) Size() ref.Val { return types.Int(v.m.Len()) }

// IsZeroValue implements traits.Zeroer.
func (v *mapVal) IsZeroValue() bool { return v.m.Len() == 0 }

// Iterator implements traits.Iterable, in the order of Range: a list made of the
// keys is the same in every run, which it is not over a map of cel-go.
func (v *mapVal) Iterator() traits.Iterator {
	keys := make([]string, 0, v.m.Len())
	v.m.Range(func(k string, _ value.Value) bool {
		keys = append(keys, k)
		return true
	})
	return types.NewStringList(types.DefaultTypeAdapter, keys).Iterator()
}

// Equal implements ref.Val.
func (v *mapVal) Equal(other ref.Val) ref.Val { return v.whole().Equal(other) }

// ConvertToNative implements ref.Val.
func (v *mapVal) ConvertToNative(t reflect.Type) (any, error) { return v.whole().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (v *mapVal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.MapType:
		return v
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("type conversion error from '%s' to '%s'", types.MapType, t)
}

// Type implements ref.Val.
func (v *mapVal) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (v *mapVal) Value() any { return v.m }

// String is the map in messages of cel-go.
func (v *mapVal) String() string { return value.OfMapping(v.m).String() }

// A StructValue is a Mapping whose CEL type is a declared Struct.
type StructValue interface {
	value.Mapping

	// StructName is the Name of the Struct.
	StructName() string
}

// structVal is a StructValue for cel-go: not a map, so neither `in`, size()
// nor a comprehension works on it. Where its type is known when an expression
// is compiled, cel-go reads it through the provider instead of these methods.
type structVal struct {
	m       StructValue
	structs structTypes
}

var (
	_ traits.Indexer     = (*structVal)(nil)
	_ traits.FieldTester = (*structVal)(nil)
	_ traits.Zeroer      = (*structVal)(nil)
)

// field gives the name of a field of v, or an error.
func (v *structVal) field(name ref.Val) (string, ref.Val) {
	s, ok := name.(types.String)
	if !ok {
		return "", types.MaybeNoSuchOverloadErr(name)
	}
	decl := v.structs[v.m.StructName()]
	if _, ok := decl.Fields[string(s)]; !ok && !decl.Open {
		return "", types.NewErr("no such field '%s'", string(s))
	}
	return string(s), nil
}

// Get implements traits.Indexer.
func (v *structVal) Get(name ref.Val) ref.Val {
	field, err := v.field(name)
	if err != nil {
		return err
	}
	e, ok := v.m.Lookup(field)
	if !ok {
		return types.NewErr("undefined field '%s'", field)
	}
	return v.structs.toRef(e)
}

// IsSet implements traits.FieldTester.
func (v *structVal) IsSet(name ref.Val) ref.Val {
	field, err := v.field(name)
	if err != nil {
		return err
	}
	return types.Bool(isSet(v.m, field, v.structs[v.m.StructName()].Open))
}

// asMap gives the fields that are set as a map.
func (v *structVal) asMap() traits.Mapper {
	entries := map[ref.Val]ref.Val{}
	open := v.structs[v.m.StructName()].Open
	v.m.Range(func(k string, e value.Value) bool {
		if open || !isDefault(e) {
			entries[types.String(k)] = v.structs.toRef(e)
		}
		return true
	})
	return types.NewRefValMap(types.DefaultTypeAdapter, entries)
}

// IsZeroValue implements traits.Zeroer: no field is set.
func (v *structVal) IsZeroValue() bool { return v.asMap().Size() == types.IntZero }

// Equal implements ref.Val.
func (v *structVal) Equal(other ref.Val) ref.Val {
	o, ok := other.(*structVal)
	if !ok || o.m.StructName() != v.m.StructName() {
		return types.False
	}
	return v.asMap().Equal(o.asMap())
}

// ConvertToNative implements ref.Val.
func (v *structVal) ConvertToNative(t reflect.Type) (any, error) { return v.asMap().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (v *structVal) ConvertToType(t ref.Type) ref.Val {
	switch {
	case t == types.TypeType:
		return types.NewObjectType(v.m.StructName())
	case t.TypeName() == v.m.StructName():
		return v
	}
	return types.NewErr("type conversion error from '%s' to '%s'", v.m.StructName(), t)
}

// Type implements ref.Val.
func (v *structVal) Type() ref.Type { return types.NewObjectType(v.m.StructName()) }

// Value implements ref.Val.
func (v *structVal) Value() any { return v.m }

// String is the struct in messages of cel-go.
func (v *structVal) String() string { return v.m.StructName() + value.OfMapping(v.m).String() }

// durationSince is timeSince: what has passed at now since t.
func durationSince(now, t time.Time) ref.Val {
	return types.Duration{Duration: now.Sub(t)}
}
