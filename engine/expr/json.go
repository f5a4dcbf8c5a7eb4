package expr

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
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
// shares nothing with f but texts: null, bool, double, string, and value.Slice and
// value.Values of such. An integer becomes a number, or text if a double may
// not hold it; a timestamp text of RFC 3339 with the offset it has, a duration
// its seconds as in "5400s", bytes base64; an optional becomes what it holds,
// and a struct a map of its fields that are set.
//
// The error is that of the evaluation, or names what JSON has no form for:
// numbers that are infinite or NaN, text that is not UTF-8, maps whose keys are
// not text, empty optionals, types, and values such as hierarchies and SPIFFE
// IDs. What is small to make may be large to look at, so this takes steps.
func (f *Frame) Detach(v value.Value) (value.Value, error) {
	return detacher{frame: f, structs: f.env.structs}.detach(v)
}

// ErrNoRoom is the error of Copy for data that is longer than there is room for.
var ErrNoRoom = errors.New("the data is longer than it may be")

// Copy is Detach that copies texts, too, so that the data shares nothing with f.
// Unless it is nil, room is how many bytes the data may have still, and what it has is
// taken from it: those of texts and keys, and four for each value, which is no more
// than it has encoded as a google.protobuf.Value of another message. If there is too
// little, the error is ErrNoRoom and room is negative.
func (f *Frame) Copy(v value.Value, room *int) (value.Value, error) {
	return detacher{f, f.env.structs, true, room}.detach(v)
}

type detacher struct {
	frame   *Frame
	structs structTypes
	copies  bool // texts
	room    *int // nil: any
}

func (d detacher) detach(v value.Value) (value.Value, error) {
	if err := d.take(1, 0); err != nil {
		return value.Value{}, err
	}
	return d.of(v)
}

// roomPerValue is what a value takes of room beside its text, in bytes.
const roomPerValue = 4

// take takes what values and bytes of text need, before any of them is copied.
func (d detacher) take(values, bytes int) error {
	if !d.frame.Spend(stepsPerCopy*values + bytes/bytesPerStep) {
		return ErrTooManySteps
	}
	if d.room == nil {
		return nil
	}
	if *d.room -= roomPerValue*values + bytes; *d.room < 0 {
		return ErrNoRoom
	}
	return nil
}

// text gives a text, for which it takes what it needs.
func (d detacher) text(s string) (string, error) {
	err := d.take(0, len(s))
	if err == nil && d.copies {
		s = strings.Clone(s)
	}
	return s, err
}

// fewMembers is how many members of a map have memory before they are counted.
const fewMembers = 64

func noForm(format string, args ...any) error {
	return fmt.Errorf("%s has no form in JSON", fmt.Sprintf(format, args...))
}

// of copies a value, whose steps and room, but for its text and its members, are
// taken.
func (d detacher) of(v value.Value) (value.Value, error) {
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
		text, err := d.text(v.Str())
		return value.OfString(text), err
	case value.Bytes:
		if err := d.take(0, base64.StdEncoding.EncodedLen(len(v.Str()))); err != nil {
			return value.Value{}, err
		}
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
	if err := d.take(s.Len(), 0); err != nil {
		return value.Value{}, err
	}
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
	out := make(value.Values, min(m.Len(), fewMembers)) // of many, there may be too many
	put := func(key string, v value.Value) bool {
		if !utf8.ValidString(key) {
			err = noForm("the key %q, which is not UTF-8,", key)
			return false
		}
		if err = d.take(1, 0); err == nil {
			key, err = d.text(key)
		}
		if err == nil {
			out[key], err = d.of(v)
		}
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
