package api

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/value"
)

// What a message holds is what it held after a way through the engine's values.
func TestValues(t *testing.T) {
	in := new(structpb.Value)
	const text = `{"a": null, "b": true, "c": -0.5, "d": "x", "e": [], "f": {}, "g": [{"h": [1, "2", false, null]}]}`
	if err := protojson.Unmarshal([]byte(text), in); err != nil {
		t.Fatal(err)
	}
	out, err := MessageOf(valueOf(in))
	if err != nil || !proto.Equal(in, out) {
		t.Errorf("got %v, %v", out, err)
	}
	if v, ok := attributes(in.GetStructValue().GetFields()).Lookup("nope"); ok || v.Kind() != value.Null {
		t.Errorf("got %v, %v of what is not there", v, ok)
	}
	for name, v := range map[string]*structpb.Value{"nothing": nil, "a value that says nothing": {}} {
		if got := valueOf(v); got.Kind() != value.Null {
			t.Errorf("%s is %v", name, got)
		}
	}
}

// What fits into an answer is never longer than the engine lets outputs be.
func TestOutputsThatFit(t *testing.T) {
	s, _ := newServer(t)
	for _, text := range []string{
		`{}`, `{"": null}`, `{"a": ""}`, `{"a": "x", "b": [null, null, 0, false, "", [], {}], "c": {"": {"": [[""]]}, "d": {}}}`,
		`{"n": [1, 2.5, -3, 1e300], "long": "` + strings.Repeat("ü", 300) + `"}`,
	} {
		in := new(structpb.Struct)
		if err := protojson.Unmarshal([]byte(text), in); err != nil {
			t.Fatal(err)
		}
		size := proto.Size(&cerbospb.OutputEntry{Val: structpb.NewStructValue(in)})
		var d engine.Decision
		s.Policies().Check(&engine.Request{
			Principal: engine.Principal{ID: "ann", Roles: []string{"user"}, Attr: attributes(in.GetFields())}, Resource: engine.Resource{Kind: "doc"},
			Actions: []string{"shout-a", "shout-b"}, MaxOutputs: 2 * size,
		}, &d)
		if d.Err != nil || len(d.Outputs) != 2 || !d.Allowed() {
			t.Errorf("%.100s: %v, %d outputs of %d bytes", text, d.Err, len(d.Outputs), size)
		}
	}
}

func TestValuesOfOtherKinds(t *testing.T) {
	for _, tt := range []struct {
		in   value.Value
		want string // JSON; empty: an error
	}{
		{value.OfInt(-3), "-3"}, {value.OfUint(3), "3"}, {value.OfBytes([]byte{0, 255}), `"AP8="`},
		{value.OfTime(time.Now()), ""}, {value.OfDuration(1), ""}, {value.OfError(errors.New("x")), ""}, {value.Value{}, ""},
		{value.OfSequence(value.Slice{value.OfDuration(1)}), ""}, {value.OfMapping(value.Values{"a": value.OfDuration(1)}), ""},
	} {
		out, err := MessageOf(tt.in)
		if (err != nil) != (tt.want == "") {
			t.Errorf("%v: got %v, %v", tt.in, out, err)
			continue
		}
		if got, _ := protojson.Marshal(out); tt.want != "" && string(got) != tt.want {
			t.Errorf("%v: got %s", tt.in, got)
		}
	}
}

// A filter that can't be told is an error, and one that says nothing denies.
func TestFilters(t *testing.T) {
	eq := &engine.Operand{Expression: &engine.Expression{Operator: "eq", Operands: []engine.Operand{
		{Variable: "request.resource.attr.owner"}, {Value: value.OfString("ann")},
	}}}
	for _, tt := range []struct {
		in   engine.Filter
		want string // empty: an error
	}{
		{engine.Filter{}, `{"kind":"KIND_ALWAYS_DENIED"}`},
		{engine.Filter{Kind: engine.Conditional}, `{"kind":"KIND_ALWAYS_DENIED"}`},
		{engine.Filter{Kind: 77}, `{"kind":"KIND_ALWAYS_DENIED"}`},
		{engine.Filter{Kind: engine.AlwaysAllowed}, `{"kind":"KIND_ALWAYS_ALLOWED"}`},
		{engine.Filter{Kind: engine.Conditional, Condition: eq}, `{"kind":"KIND_CONDITIONAL","condition":{"expression":{"operator":"eq","operands":[{"variable":"request.resource.attr.owner"},{"value":"ann"}]}}}`},
		{engine.Filter{Kind: engine.Conditional, Condition: &engine.Operand{Value: value.OfDuration(1)}}, ""},
		{engine.Filter{Kind: engine.Conditional, Condition: &engine.Operand{Expression: &engine.Expression{Operator: "not", Operands: []engine.Operand{{}}}}}, ""},
	} {
		out, err := filterOf(&tt.in)
		if (err != nil) != (tt.want == "") {
			t.Errorf("%v: got %v, %v", tt.in, out, err)
			continue
		}
		if tt.want == "" {
			continue
		}
		b, err := protojson.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		var x, y structpb.Value
		if protojson.Unmarshal(b, &x) != nil || protojson.Unmarshal([]byte(tt.want), &y) != nil || !proto.Equal(&x, &y) {
			t.Errorf("got %s\nwant %s", b, tt.want)
		}
	}
}

// A number that JSON can't hold fails the answer over HTTP, and allows nothing.
func TestAnswerWithoutJSON(t *testing.T) {
	if got, err := protojson.Marshal(structpb.NewNumberValue(math.NaN())); err == nil {
		t.Fatalf("got %s", got)
	}
	v, err := MessageOf(value.OfDouble(math.NaN()))
	if err != nil {
		t.Fatal(err)
	}
	w := ask(answering(v), "GET", "/", "")
	if w.Code != 500 || w.Body.String() != `{"code":13,"message":"the answer has no form in JSON"}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestCallIDs(t *testing.T) {
	at := time.UnixMilli(1_780_000_000_123)
	id, later := newCallID(at), newCallID(at.Add(time.Millisecond))
	if !ulid.MatchString(id) || id >= later || id[:10] == later[:10] {
		t.Errorf("got %s, then %s", id, later)
	}
	// The time comes back out of it.
	ms := int64(0)
	for _, c := range id[:10] {
		for i := range crockford {
			if rune(crockford[i]) == c {
				ms = ms<<5 | int64(i)
			}
		}
	}
	if ms != at.UnixMilli() {
		t.Errorf("%s says %d", id, ms)
	}
	seen := map[string]bool{}
	for range 1000 {
		seen[newCallID(at)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("there are only %d different ids", len(seen))
	}
}
