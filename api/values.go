package api

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine/value"
)

// attributes is the attributes of a message as the engine reads them.
type attributes map[string]*structpb.Value

// Lookup implements value.Mapping.
func (a attributes) Lookup(key string) (value.Value, bool) {
	v, ok := a[key]
	return valueOf(v), ok
}

// Len implements value.Mapping.
func (a attributes) Len() int { return len(a) }

// Range implements value.Mapping, in the order of the keys.
func (a attributes) Range(yield func(string, value.Value) bool) {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if !yield(k, valueOf(a[k])) {
			return
		}
	}
}

// elements is a list of a message as the engine reads it.
type elements []*structpb.Value

// Len implements value.Sequence.
func (e elements) Len() int { return len(e) }

// At implements value.Sequence.
func (e elements) At(i int) value.Value { return valueOf(e[i]) }

// valueOf gives a JSON value of a message. One that says nothing is null.
func valueOf(v *structpb.Value) value.Value {
	switch k := v.GetKind().(type) {
	case *structpb.Value_BoolValue:
		return value.OfBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		return value.OfDouble(k.NumberValue)
	case *structpb.Value_StringValue:
		return value.OfString(k.StringValue)
	case *structpb.Value_ListValue:
		return value.OfSequence(elements(k.ListValue.GetValues()))
	case *structpb.Value_StructValue:
		return value.OfMapping(attributes(k.StructValue.GetFields()))
	}
	return value.OfNull()
}

// MessageOf gives a value as part of a message. Bytes are base64, as in JSON.
// What JSON can't hold is an error.
func MessageOf(v value.Value) (*structpb.Value, error) {
	switch v.Kind() {
	case value.Null:
		return structpb.NewNullValue(), nil
	case value.Bool:
		return structpb.NewBoolValue(v.Bool()), nil
	case value.Int:
		return structpb.NewNumberValue(float64(v.Int())), nil
	case value.Uint:
		return structpb.NewNumberValue(float64(v.Uint())), nil
	case value.Double:
		return structpb.NewNumberValue(v.Double()), nil
	case value.String:
		return structpb.NewStringValue(v.Str()), nil
	case value.Bytes:
		return structpb.NewStringValue(base64.StdEncoding.EncodeToString([]byte(v.Str()))), nil
	case value.List:
		list := v.Sequence()
		out := &structpb.ListValue{Values: make([]*structpb.Value, list.Len())}
		for i := range out.Values {
			var err error
			if out.Values[i], err = MessageOf(list.At(i)); err != nil {
				return nil, err
			}
		}
		return structpb.NewListValue(out), nil
	case value.Map:
		var err error
		out := &structpb.Struct{Fields: make(map[string]*structpb.Value, v.Mapping().Len())}
		v.Mapping().Range(func(key string, v value.Value) bool {
			out.Fields[key], err = MessageOf(v)
			return err == nil
		})
		return structpb.NewStructValue(out), err
	}
	return nil, fmt.Errorf("a %s is no JSON value", v.Kind())
}
