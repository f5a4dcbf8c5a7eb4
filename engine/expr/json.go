package expr

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine/value"
)

// maxSafeInteger is the largest integer that every reader of JSON takes for the
// same number.
const maxSafeInteger = 1<<53 - 1

// Detach gives a result of a program on f as plain data of the JSON model that
// shares nothing with f: null, bool, double, string, and value.Slice and
// value.Values of such. An integer becomes a number, or text if a double may
// not hold it; a timestamp text of RFC 3339 with the offset it has, a duration
// its seconds as in "5400s", bytes base64; an optional becomes what it holds,
// and a struct a map of its fields that are set.
//
// The error is that of the evaluation, or names what JSON has no form for:
// numbers that are infinite or NaN, text that is not UTF-8, maps whose keys are
// not text, empty optionals, types, and values such as hierarchies and SPIFFE
// IDs.
func (f *Frame) Detach(v value.Value) (value.Value, error) {
	return detacher{f, f.env.structs}.of(v)
}

type detacher struct {
	frame   *Frame
	structs structTypes
}

func noForm(format string, args ...any) error {
	return fmt.Errorf("%s has no form in JSON", fmt.Sprintf(format, args...))
}

func (d detacher) of(v value.Value) (value.Value, error) {
	if !d.frame.Spend(stepsPerCopy) {
		return value.Value{}, ErrTooManySteps
	}
	switch v.Kind() {
	case value.Null, value.Bool:
		return v, nil
	case value.Int:
		if i := v.Int(); i < -maxSafeInteger || i > maxSafeInteger {
			return value.OfString(strconv.FormatInt(i, 10)), nil
		}
		return value.OfDouble(float64(v.Int())), nil
	case value.Uint:
		if u := v.Uint(); u > maxSafeInteger {
			return value.OfString(strconv.FormatUint(u, 10)), nil
		}
		return value.OfDouble(float64(v.Uint())), nil
	case value.Double:
		if n := v.Double(); math.IsNaN(n) || math.IsInf(n, 0) {
			return value.Value{}, noForm("the number %v", n)
		}
		return v, nil
	case value.String:
		if !utf8.ValidString(v.Str()) {
			return value.Value{}, noForm("the text %q, which is not UTF-8,", v.Str())
		}
		return v, nil
	case value.Bytes:
		return value.OfString(base64.StdEncoding.EncodeToString([]byte(v.Str()))), nil
	case value.Timestamp, value.Duration:
		return convert(v, types.StringType), nil
	case value.List:
		return d.list(v.Sequence())
	case value.Map:
		return d.object(v.Mapping())
	case value.Error:
		return value.Value{}, v.Err()
	case value.Opaque:
		return d.opaque(v.Opaque())
	}
	return value.Value{}, fmt.Errorf("no such value")
}

func (d detacher) list(s value.Sequence) (value.Value, error) {
	out := make(value.Slice, s.Len())
	for i := range out {
		var err error
		if out[i], err = d.of(s.At(i)); err != nil {
			return value.Value{}, err
		}
	}
	return value.OfSequence(out), nil
}

func (d detacher) object(m value.Mapping) (value.Value, error) {
	var err error
	out := make(value.Values, m.Len())
	put := func(key string, v value.Value) bool {
		if !utf8.ValidString(key) {
			err = noForm("the key %q, which is not UTF-8,", key)
			return false
		}
		out[key], err = d.of(v)
		return err == nil
	}
	switch m := m.(type) {
	case refMap:
		for it := m.Iterator(); it.HasNext() == types.True && err == nil; {
			key := it.Next()
			text, ok := key.(types.String)
			if !ok {
				return value.Value{}, noForm("a map with a key of type %s", key.Type().TypeName())
			}
			put(string(text), fromRef(m.Get(key)))
		}
	case StructValue:
		open := d.structs[m.StructName()].Open
		m.Range(func(field string, v value.Value) bool {
			if !open && isDefault(v) {
				return true
			}
			return put(field, v)
		})
	default:
		m.Range(put)
	}
	if err != nil {
		return value.Value{}, err
	}
	return value.OfMapping(out), nil
}

func (d detacher) opaque(v any) (value.Value, error) {
	switch t := v.(type) {
	case *types.Optional:
		if !t.HasValue() {
			return value.Value{}, noForm("an empty optional")
		}
		return d.of(fromRef(t.GetValue()))
	case ref.Val:
		// Messages of protobuf know their form.
		if p, err := t.ConvertToNative(types.JSONValueType); err == nil {
			return d.of(value.Of(p.(*structpb.Value).AsInterface()))
		}
		return value.Value{}, noForm("a value of type %s", t.Type().TypeName())
	}
	return value.Value{}, noForm("a %T", v)
}
