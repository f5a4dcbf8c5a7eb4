package value

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unsafe"
)

// Kind tells which kind of value a Value holds. The names are CEL's.
type Kind uint8

// The kinds. Absent is the zero Value: no value at all, as opposed to Null.
// Error and Opaque occur only as results of expressions: Error carries the
// evaluation error, Opaque a CEL value that has no kind of its own here.
const (
	Absent Kind = iota
	Null
	Bool
	Int
	Uint
	Double
	String
	Bytes
	List
	Map
	Timestamp
	Duration
	Error
	Opaque
)

var kindNames = [...]string{"absent", "null", "bool", "int", "uint", "double", "string", "bytes",
	"list", "map", "timestamp", "duration", "error", "opaque"}

// String gives the name of the kind as CEL writes it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", k)
}

// A Value is one value of any Kind. The kinds that conditions mostly compare
// (bool, numbers, string, time) need no allocation, and the whole is four words
// of four fields: the most that the compiler keeps in registers.
//
// Values can't be compared with ==, which would compare the addresses of texts.
type Value struct {
	_   [0]func()
	ref any    // Sequence, Mapping, *time.Location, error, the opaque value, or unsafe.Pointer to the text of String and Bytes
	num uint64 // Bool 0/1, Int, Uint, Double bits, Duration nanoseconds, Timestamp Unix seconds, length of String and Bytes
	tag
}

type tag struct {
	kind Kind
	nano uint32 // Timestamp: nanoseconds within the second
}

// A Sequence is a list of values.
type Sequence interface {
	// Len is the number of elements.
	Len() int
	// At gives element i, 0 <= i < Len().
	At(i int) Value
}

// A Mapping is a string-keyed map of values: attributes, claims, headers.
type Mapping interface {
	// Lookup gives the value under key, and whether the key is present.
	Lookup(key string) (Value, bool)
	// Len is the number of keys.
	Len() int
	// Range calls yield for each key until yield answers false.
	Range(yield func(key string, v Value) bool)
}

// OfNull is CEL's null.
func OfNull() Value { return Value{tag: tag{kind: Null}} }

// OfBool wraps a bool.
func OfBool(b bool) Value {
	if b {
		return Value{tag: tag{kind: Bool}, num: 1}
	}
	return Value{tag: tag{kind: Bool}}
}

// OfInt wraps a CEL int.
func OfInt(i int64) Value { return Value{tag: tag{kind: Int}, num: uint64(i)} }

// OfUint wraps a CEL uint.
func OfUint(u uint64) Value { return Value{tag: tag{kind: Uint}, num: u} }

// OfDouble wraps a CEL double.
func OfDouble(f float64) Value { return Value{tag: tag{kind: Double}, num: math.Float64bits(f)} }

// OfString wraps a string, which should be valid UTF-8.
func OfString(s string) Value {
	return Value{tag: tag{kind: String}, ref: unsafe.Pointer(unsafe.StringData(s)), num: uint64(len(s))}
}

// OfBytes wraps a copy of b.
func OfBytes(b []byte) Value {
	v := OfString(string(b))
	v.kind = Bytes
	return v
}

// OfTime wraps a point in time with its location. A reading of the monotonic
// clock is dropped.
func OfTime(t time.Time) Value {
	return Value{tag: tag{kind: Timestamp, nano: uint32(t.Nanosecond())}, num: uint64(t.Unix()), ref: t.Location()}
}

// OfDuration wraps a duration.
func OfDuration(d time.Duration) Value { return Value{tag: tag{kind: Duration}, num: uint64(d)} }

// OfSequence wraps a list.
func OfSequence(s Sequence) Value { return Value{tag: tag{kind: List}, ref: s} }

// OfMapping wraps a map.
func OfMapping(m Mapping) Value { return Value{tag: tag{kind: Map}, ref: m} }

// OfError wraps an evaluation error. A nil error gives the absent Value.
func OfError(err error) Value {
	if err == nil {
		return Value{}
	}
	return Value{tag: tag{kind: Error}, ref: err}
}

// OfOpaque wraps a value that only CEL itself can work with.
func OfOpaque(v any) Value { return Value{tag: tag{kind: Opaque}, ref: v} }

// Kind tells what v holds.
func (v Value) Kind() Kind { return v.kind }

// Bool gives the boolean of a Bool, false of all else.
func (v Value) Bool() bool { return v.kind == Bool && v.num == 1 }

// Int gives the integer of an Int, 0 of all else.
func (v Value) Int() int64 {
	if v.kind != Int {
		return 0
	}
	return int64(v.num)
}

// Uint gives the integer of a Uint, 0 of all else.
func (v Value) Uint() uint64 {
	if v.kind != Uint {
		return 0
	}
	return v.num
}

// Double gives the number of a Double, 0 of all else.
func (v Value) Double() float64 {
	if v.kind != Double {
		return 0
	}
	return math.Float64frombits(v.num)
}

// Str gives the text of a String and the content of Bytes, "" of all else.
func (v Value) Str() string {
	if v.kind != String && v.kind != Bytes {
		return ""
	}
	return unsafe.String((*byte)(v.ref.(unsafe.Pointer)), v.num)
}

// Time gives the instant of a Timestamp in its location, the zero time of all
// else.
func (v Value) Time() time.Time {
	if v.kind != Timestamp {
		return time.Time{}
	}
	return time.Unix(int64(v.num), int64(v.nano)).In(v.ref.(*time.Location))
}

// Duration gives the length of a Duration, 0 of all else.
func (v Value) Duration() time.Duration {
	if v.kind != Duration {
		return 0
	}
	return time.Duration(v.num)
}

// Sequence gives the elements of a List, nil of all else.
func (v Value) Sequence() Sequence {
	if v.kind != List {
		return nil
	}
	s, _ := v.ref.(Sequence)
	return s
}

// Mapping gives the entries of a Map, nil of all else.
func (v Value) Mapping() Mapping {
	if v.kind != Map {
		return nil
	}
	m, _ := v.ref.(Mapping)
	return m
}

// Err gives the error of an Error, nil of all else.
func (v Value) Err() error {
	if v.kind != Error {
		return nil
	}
	return v.ref.(error)
}

// Opaque gives the wrapped value of an Opaque, nil of all else.
func (v Value) Opaque() any {
	if v.kind != Opaque {
		return nil
	}
	return v.ref
}

// String renders v for people: logs, diagnostics, tests.
func (v Value) String() string {
	switch v.kind {
	case Absent, Null:
		return v.kind.String()
	case String:
		return fmt.Sprintf("%q", v.Str())
	default:
		return fmt.Sprint(v.Native())
	}
}

// Native gives v as plain Go data: nil, bool, int64, uint64, float64, string,
// []byte, []any, map[string]any, time.Time, time.Duration, error, or the
// opaque value itself. It copies.
func (v Value) Native() any {
	switch v.kind {
	case Bool:
		return v.Bool()
	case Int:
		return v.Int()
	case Uint:
		return v.num
	case Double:
		return v.Double()
	case String:
		return v.Str()
	case Bytes:
		return []byte(v.Str())
	case Duration:
		return v.Duration()
	case List:
		s := v.Sequence()
		out := make([]any, s.Len())
		for i := range out {
			out[i] = s.At(i).Native()
		}
		return out
	case Map:
		m := v.Mapping()
		out := make(map[string]any, m.Len())
		m.Range(func(k string, e Value) bool {
			out[k] = e.Native()
			return true
		})
		return out
	case Timestamp:
		return v.Time()
	case Error, Opaque:
		return v.ref
	default:
		return nil
	}
}

// Of converts plain Go data, as decoders of JSON and YAML produce it, to a
// Value. Every Go number becomes a Double, since attributes are JSON values
// (google.protobuf.Value). A type outside the JSON model gives an Error value,
// so that a condition over it fails instead of holding by accident.
func Of(x any) Value {
	switch t := x.(type) {
	case Value:
		return t
	case nil:
		return OfNull()
	case bool:
		return OfBool(t)
	case string:
		return OfString(t)
	case float64:
		return OfDouble(t)
	case float32:
		return OfDouble(float64(t))
	case int:
		return OfDouble(float64(t))
	case int32:
		return OfDouble(float64(t))
	case int64:
		return OfDouble(float64(t))
	case uint:
		return OfDouble(float64(t))
	case uint32:
		return OfDouble(float64(t))
	case uint64:
		return OfDouble(float64(t))
	case []any:
		return OfSequence(anyList(t))
	case []string:
		return OfSequence(Strings(t))
	case map[string]any:
		return OfMapping(Attributes(t))
	case Sequence:
		return OfSequence(t)
	case Mapping:
		return OfMapping(t)
	default:
		return OfError(fmt.Errorf("a value of Go type %T is not an attribute value", x))
	}
}

// Attributes is a Mapping over plain Go data; see Of for how members convert.
type Attributes map[string]any

// Lookup implements Mapping.
func (a Attributes) Lookup(key string) (Value, bool) {
	x, ok := a[key]
	if !ok {
		return Value{}, false
	}
	return Of(x), true
}

// Len implements Mapping.
func (a Attributes) Len() int { return len(a) }

// Range implements Mapping, in the order of the keys.
func (a Attributes) Range(yield func(string, Value) bool) {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if !yield(k, Of(a[k])) {
			return
		}
	}
}

// Values is a Mapping over Values.
type Values map[string]Value

// Lookup implements Mapping.
func (m Values) Lookup(key string) (Value, bool) {
	v, ok := m[key]
	return v, ok
}

// Len implements Mapping.
func (m Values) Len() int { return len(m) }

// Range implements Mapping, in the order of the keys.
func (m Values) Range(yield func(string, Value) bool) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !yield(k, m[k]) {
			return
		}
	}
}

// Strings is a Sequence of strings.
type Strings []string

// Len implements Sequence.
func (s Strings) Len() int { return len(s) }

// At implements Sequence.
func (s Strings) At(i int) Value { return OfString(s[i]) }

// Slice is a Sequence of Values.
type Slice []Value

// Len implements Sequence.
func (s Slice) Len() int { return len(s) }

// At implements Sequence.
func (s Slice) At(i int) Value { return s[i] }

type anyList []any

func (l anyList) Len() int       { return len(l) }
func (l anyList) At(i int) Value { return Of(l[i]) }
