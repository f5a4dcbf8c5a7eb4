package protovalue

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine/value"
)

// checkEqual fails unless a scan of b, a google.protobuf.Struct, gives what the
// protobuf library decodes, refuses it as the library does, or leaves it to it.
func checkEqual(t *testing.T, s *Scan, b []byte) {
	t.Helper()
	var want structpb.Struct
	err := proto.Unmarshal(b, &want)
	s.Reset(b)
	block, f := s.Struct(0, len(b), MaxDepth)
	switch {
	case f == Repeated:
	case (f != OK) != (err != nil):
		t.Fatalf("the scan says %q, the protobuf library says %v\nmessage: %x", f, err, b)
	case f == OK:
		got, want := fmt.Sprintf("%#v", value.OfMapping(s.Mapping(block)).Native()), fmt.Sprintf("%#v", native(structpb.NewStructValue(&want)))
		if got != want {
			t.Fatalf("got %s, want %s\nmessage: %x", got, want, b)
		}
	}
}

// native gives a value as Go has it. Value.AsInterface gives numbers that JSON
// has not as texts.
func native(v *structpb.Value) any {
	switch k := v.GetKind().(type) {
	case *structpb.Value_NumberValue:
		return k.NumberValue
	case *structpb.Value_ListValue:
		out := make([]any, 0, len(k.ListValue.GetValues()))
		for _, e := range k.ListValue.GetValues() {
			out = append(out, native(e))
		}
		return out
	case *structpb.Value_StructValue:
		out := map[string]any{}
		for name, e := range k.StructValue.GetFields() {
			out[name] = native(e)
		}
		return out
	}
	return v.AsInterface()
}

func encode(t testing.TB, fields map[string]any) []byte {
	t.Helper()
	m, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func samples(t testing.TB) [][]byte {
	return [][]byte{
		nil,
		encode(t, map[string]any{"": nil, "a": true, "b": false, "n": -0.5, "s": "text", "ü": "schön", "long": strings.Repeat("x", 127), "longer": strings.Repeat("x", 128), "longest": strings.Repeat("x", 20000)}),
		encode(t, map[string]any{"list": []any{1.0, "two", []any{}, map[string]any{}, nil}, "map": map[string]any{"k": map[string]any{"k": "v"}}}),
	}
}

// Every prefix of a message, and the message with a bit changed in any of its
// bytes, is read as the protobuf library reads it.
func TestDamagedMessages(t *testing.T) {
	var s Scan
	for _, b := range samples(t) {
		checkEqual(t, &s, b)
		for i := 0; i < len(b); i += 1 + len(b)/300 {
			checkEqual(t, &s, b[:i])
			b[i] ^= 1 << (i % 8)
			checkEqual(t, &s, b)
			b[i] ^= 1 << (i % 8)
		}
	}
}

func TestDepth(t *testing.T) {
	field := func(num protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), v)
	}
	// 4998 lists in one another use up the depth exactly.
	var v []byte
	for lists := 1; lists <= 5000; lists++ {
		if v = field(6, field(1, v)); lists >= 4996 {
			checkEqual(t, new(Scan), field(1, field(2, v)))
		}
	}
}

// Many keys are told apart and found as few are, in a time that grows no faster
// than their number, and the memory for them is not kept.
func TestManyKeys(t *testing.T) {
	fields := map[string]any{}
	for i := range 5_000 {
		fields[fmt.Sprint("same-begin-", i, "-same-end")] = i
	}
	var s Scan
	b := encode(t, fields)
	checkEqual(t, &s, b)
	s.Reset(b)
	at, _ := s.Struct(0, len(b), MaxDepth)
	if places := s.blocks[at].places; len(places) != len(fields) {
		t.Errorf("the places of %d of %d keys are known", len(places), len(fields))
	}
	m := s.Mapping(at)
	for key, want := range fields {
		if v, ok := m.Lookup(key); !ok || v.Double() != float64(want.(int)) {
			t.Errorf("%s: got %v, %v", key, v, ok)
		}
	}
	if _, ok := m.Lookup("none"); ok {
		t.Error("a key is found that is not there")
	}
	again := append(b, encode(t, map[string]any{"same-begin-7-same-end": 1.0})...)
	s.Reset(again)
	if _, f := s.Struct(0, len(again), MaxDepth); f != Repeated {
		t.Errorf("a key that occurs again: got %q", f)
	}
	if s.Reset(nil); cap(s.entries) > keptEntries || cap(s.open) > keptEntries {
		t.Errorf("the memory of a huge message is kept: %d entries", cap(s.entries))
	}
}

func TestValidUTF8(t *testing.T) {
	for n := range 40 {
		for at := range n + 1 {
			for _, odd := range []string{"", "ü", "\xff", "\x80", "€", "\xed\xa0\x80"} {
				text := strings.Repeat("a", at) + odd + strings.Repeat("a", n-at)
				if got := ValidText(text); got != utf8.ValidString(text) {
					t.Errorf("%q: got %v", text, got)
				}
			}
		}
	}
}

func FuzzStruct(f *testing.F) {
	for _, b := range samples(f) {
		f.Add(b[:min(len(b), maxFuzzed)])
	}
	f.Add(encode(f, map[string]any{"inf": math.Inf(1)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) <= maxFuzzed {
			checkEqual(t, new(Scan), b)
		}
	})
}

// maxFuzzed bounds the messages that are fuzzed, in bytes.
const maxFuzzed = 512
