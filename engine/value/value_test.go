package value

import (
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestOfConvertsPlainData(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   any
		kind Kind
		want any // of Native
	}{
		{"nil", nil, Null, nil},
		{"bool", true, Bool, true},
		{"string", "é", String, "é"},
		{"float64", 1.5, Double, 1.5},
		{"float32", float32(1.5), Double, 1.5},
		{"int", 7, Double, 7.0},
		{"int32", int32(-7), Double, -7.0},
		{"int64", int64(7), Double, 7.0},
		{"uint", uint(7), Double, 7.0},
		{"uint32", uint32(7), Double, 7.0},
		{"uint64", uint64(7), Double, 7.0},
		{"list", []any{1, "a", nil, []any{true}}, List, []any{1.0, "a", nil, []any{true}}},
		{"strings", []string{"a", "b"}, List, []any{"a", "b"}},
		{"map", map[string]any{"a": map[string]any{"b": 1}}, Map, map[string]any{"a": map[string]any{"b": 1.0}}},
		{"sequence", Slice{OfInt(1)}, List, []any{int64(1)}},
		{"mapping", Values{"a": OfUint(1)}, Map, map[string]any{"a": uint64(1)}},
		{"value", OfInt(3), Int, int64(3)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Of(tc.in)
			if v.Kind() != tc.kind {
				t.Fatalf("Of(%v) is a %v, want %v", tc.in, v.Kind(), tc.kind)
			}
			if got := v.Native(); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("Of(%v).Native() = %#v, want %#v", tc.in, got, tc.want)
			}
		})
	}
}

func TestOfRefusesWhatIsNoJSON(t *testing.T) {
	for _, in := range []any{struct{}{}, make(chan int), complex(1, 1), []int{1}, time.Second} {
		v := Of(in)
		if v.Kind() != Error || v.Err() == nil {
			t.Errorf("Of(%T) = %v, want an error", in, v)
		}
	}
	// It is found where it is read, and it does not hide the rest.
	m := Attributes{"bad": make(chan int), "good": true}
	if v, ok := m.Lookup("bad"); !ok || v.Kind() != Error {
		t.Errorf("a bad member reads as %v, %v", v, ok)
	}
	if v, _ := m.Lookup("good"); !v.Bool() {
		t.Errorf("the good member reads as %v", v)
	}
}

func TestZeroValueIsAbsent(t *testing.T) {
	var v Value
	if v.Kind() != Absent || v.Bool() || v.Err() != nil || v.Native() != nil {
		t.Errorf("the zero Value is %v (%v)", v, v.Kind())
	}
	if OfNull().Kind() == Absent {
		t.Error("null is absent")
	}
	if v := OfError(nil); v.Kind() != Absent {
		t.Errorf("OfError(nil) is %v", v.Kind())
	}
}

func TestOnlyTrueIsTrue(t *testing.T) {
	for _, v := range []Value{{}, OfNull(), OfBool(false), OfInt(1), OfUint(1), OfDouble(1), OfString("true"),
		OfBytes([]byte{1}), OfTime(time.Unix(1, 0)), OfDuration(1), OfSequence(Slice{OfBool(true)}),
		OfMapping(Values{"a": OfBool(true)}), OfError(errors.New("x")), OfOpaque(true)} {
		if v.Bool() {
			t.Errorf("%v (%v) is true", v, v.Kind())
		}
	}
	if !OfBool(true).Bool() {
		t.Error("true is not true")
	}
}

// TestAccessorsGiveNothingOfAnotherKind guards against reading the bits of one
// kind as another.
func TestAccessorsGiveNothingOfAnotherKind(t *testing.T) {
	all := []Value{{}, OfNull(), OfBool(true), OfInt(-1), OfUint(1), OfDouble(1), OfString("s"), OfBytes([]byte("b")),
		OfSequence(Slice{}), OfMapping(Values{}), OfTime(time.Unix(1, 2)), OfDuration(3), OfError(errors.New("x")), OfOpaque(4)}
	for _, v := range all {
		for _, read := range []struct {
			kind Kind
			zero bool
		}{
			{Bool, !v.Bool()},
			{Int, v.Int() == 0},
			{Uint, v.Uint() == 0},
			{Double, v.Double() == 0},
			{Timestamp, v.Time().Equal(time.Time{})},
			{Duration, v.Duration() == 0},
			{List, v.Sequence() == nil},
			{Map, v.Mapping() == nil},
			{Error, v.Err() == nil},
			{Opaque, v.Opaque() == nil},
		} {
			if read.zero != (v.Kind() != read.kind) {
				t.Errorf("a %v read as a %v: zero is %v", v.Kind(), read.kind, read.zero)
			}
		}
	}
}

func TestTimeKeepsInstantAndLocation(t *testing.T) {
	east := time.FixedZone("east", 5*3600+1800)
	for _, want := range []time.Time{
		{},
		time.Unix(0, 0).UTC(),
		time.Unix(1234567890, 999999999).UTC(),
		time.Unix(-1, 1).In(east),
		time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, east),
		time.Unix(math.MaxInt32, 5).In(time.Local),
	} {
		got := OfTime(want).Time()
		if !got.Equal(want) || got.Format(time.RFC3339Nano) != want.Format(time.RFC3339Nano) || got.Location() != want.Location() {
			t.Errorf("OfTime(%v).Time() = %v", want, got)
		}
		if native := OfTime(want).Native(); !native.(time.Time).Equal(want) {
			t.Errorf("OfTime(%v).Native() = %v", want, native)
		}
	}
}

func TestBytesAreCopied(t *testing.T) {
	b := []byte("abc")
	v := OfBytes(b)
	b[0] = 'x'
	if v.Str() != "abc" {
		t.Errorf("the bytes changed to %q", v.Str())
	}
}

// TestTextIsKept reads texts of every length, parts of texts and texts that
// nothing else refers to.
func TestTextIsKept(t *testing.T) {
	if v := OfString(""); v.Str() != "" || v.Kind() != String {
		t.Errorf("the empty text is %v %q", v.Kind(), v.Str())
	}
	if v := OfBytes(nil); v.Str() != "" || v.Kind() != Bytes {
		t.Errorf("no bytes are %v %q", v.Kind(), v.Str())
	}
	long := strings.Repeat("abcdefgh", 100)
	for i := range len(long) {
		if got := OfString(long[i:]).Str(); got != long[i:] {
			t.Fatalf("the text from byte %d is %q", i, got)
		}
		if got := OfString(long[:i]).Str(); got != long[:i] {
			t.Fatalf("the text up to byte %d is %q", i, got)
		}
	}
	values := make([]Value, 1000)
	for i := range values {
		values[i] = OfString(strings.Repeat(string(rune('a'+i%26)), i))
	}
	runtime.GC()
	for i, v := range values {
		if got, want := v.Str(), strings.Repeat(string(rune('a'+i%26)), i); got != want {
			t.Fatalf("text %d became %q", i, got)
		}
	}
	for _, v := range []Value{{}, OfNull(), OfInt(3), OfError(errors.New("x")), OfSequence(Slice{}), OfOpaque("text")} {
		if v.Str() != "" {
			t.Errorf("a %v has the text %q", v.Kind(), v.Str())
		}
	}
}

func TestRangeIsOrdered(t *testing.T) {
	for _, m := range []Mapping{
		Attributes{"b": 1, "c": 2, "a": 3, "d": 4},
		Values{"b": OfInt(1), "c": OfInt(2), "a": OfInt(3), "d": OfInt(4)},
	} {
		var keys string
		m.Range(func(k string, _ Value) bool {
			keys += k
			return k != "c"
		})
		if keys != "abc" {
			t.Errorf("%T ranges over %q, want %q", m, keys, "abc")
		}
	}
}

func TestScalarsDoNotAllocate(t *testing.T) {
	now := time.Now()
	east := now.In(time.FixedZone("", 3600))
	s := string([]byte("text"))
	var sink Value
	for name, f := range map[string]func(){
		"null":     func() { sink = OfNull() },
		"bool":     func() { sink = OfBool(true) },
		"int":      func() { sink = OfInt(1 << 40) },
		"uint":     func() { sink = OfUint(1 << 40) },
		"double":   func() { sink = OfDouble(1e40) },
		"string":   func() { sink = OfString(s) },
		"time":     func() { sink = OfTime(now) },
		"zoned":    func() { sink = OfTime(east); _ = sink.Time() },
		"duration": func() { sink = OfDuration(time.Hour) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	_ = sink
}
