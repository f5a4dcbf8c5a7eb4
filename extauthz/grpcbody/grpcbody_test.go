package grpcbody_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"edict/extauthz/grpcbody"
)

func shop(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/shop.binpb")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t testing.TB) *grpcbody.Methods {
	t.Helper()
	m, err := grpcbody.Load(shop(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// order makes the bytes of an Order of its ProtoJSON.
func order(t testing.TB, json string) []byte {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(shop(t), &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("shop.v1.Order")
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(d.(protoreflect.MessageDescriptor))
	if err := (protojson.UnmarshalOptions{Resolver: dynamicpb.NewTypes(files)}).Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// empty is what an Order is that says nothing.
func empty() map[string]any {
	return map[string]any{
		"id": "", "number": int64(0), "serial": uint64(0), "weight": 0.0, "urgent": false, "token": []byte{}, "state": "STATE_UNKNOWN",
		"tags": []any{}, "parts": []any{}, "labels": map[string]any{}, "by_shelf": map[string]any{}, "history": []any{},
		"shelf": int64(0), "crc": uint64(0), "rate": 0.0,
	}
}

func TestDecode(t *testing.T) {
	place := load(t).Method("/shop.v1.Orders/Place")
	for name, tt := range map[string]struct {
		json string
		want map[string]any // beside empty
	}{
		"nothing": {`{}`, nil},
		"scalars": {`{"id": "o1", "number": "-9223372036854775808", "serial": "18446744073709551615", "weight": 1.5, "urgent": true, "token": "AAE=", "shelf": -3, "crc": 7, "rate": 0.5}`,
			map[string]any{"id": "o1", "number": int64(-9223372036854775808), "serial": uint64(18446744073709551615), "weight": 1.5, "urgent": true,
				"token": []byte{0, 1}, "shelf": int64(-3), "crc": uint64(7), "rate": 0.5}},
		"an integer that no double holds": {`{"number": "9007199254740993"}`, map[string]any{"number": int64(9007199254740993)}},
		"enums":                           {`{"state": "STATE_PAID", "history": ["STATE_OPEN", "STATE_UNKNOWN"]}`, map[string]any{"state": "STATE_PAID", "history": []any{"STATE_OPEN", "STATE_UNKNOWN"}}},
		"messages": {`{"total": {"currency": "EUR", "units": 5}, "parts": [{}, {"units": 1}]}`,
			map[string]any{"total": map[string]any{"currency": "EUR", "units": int64(5)},
				"parts": []any{map[string]any{"currency": "", "units": int64(0)}, map[string]any{"currency": "", "units": int64(1)}}}},
		"maps": {`{"labels": {"a": "b"}, "byShelf": {"-1": {"units": 1}}}`,
			map[string]any{"labels": map[string]any{"a": "b"}, "by_shelf": map[string]any{"-1": map[string]any{"currency": "", "units": int64(1)}}}},
		"presence":        {`{"discount": 0}`, map[string]any{"discount": int64(0)}},
		"a oneof":         {`{"card": ""}`, map[string]any{"card": ""}},
		"the other oneof": {`{"cash": {}}`, map[string]any{"cash": map[string]any{"currency": "", "units": int64(0)}}},
		"known types": {`{"placedAt": "2026-01-02T03:04:05.5Z", "ttl": "90s", "note": "", "extra": {"a": [1, null, {"b": true}]}, "anything": "x"}`,
			map[string]any{"placed_at": time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC), "ttl": 90 * time.Second, "note": "",
				"extra": map[string]any{"a": []any{1.0, nil, map[string]any{"b": true}}}, "anything": "x"}},
		"an Any": {`{"detail": {"@type": "type.googleapis.com/shop.v1.Money", "units": "3"}}`,
			map[string]any{"detail": map[string]any{"currency": "", "units": int64(3)}}},
		"an Any of a known type": {`{"detail": {"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "1970-01-01T00:00:01Z"}}`,
			map[string]any{"detail": time.Unix(1, 0).UTC()}},
		"an Any of nothing": {`{"detail": {}}`, map[string]any{"detail": map[string]any{}}},
	} {
		want := empty()
		for k, v := range tt.want {
			want[k] = v
		}
		got, err := place.Decode(frame(order(t, tt.json)), false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got.Native(), any(want)) {
			t.Errorf("%s: got %v\nwant %v", name, got.Native(), want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	methods := load(t)
	sound := order(t, `{"id": "o1"}`)
	field := func(n protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	varint := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	deep := []byte{}
	for range grpcbody.MaxDepth {
		deep = field(21, deep)
	}
	known := func(seconds, nanos uint64) []byte { return append(varint(1, seconds), varint(2, nanos)...) }
	for name, tt := range map[string]struct {
		body []byte
		want string
		err  error
	}{
		"nothing":                       {nil, "no whole frame", nil},
		"a cut header":                  {frame(sound)[:4], "no whole frame", nil},
		"a cut message":                 {frame(sound)[:len(frame(sound))-1], "does not end", nil},
		"compressed":                    {append([]byte{1}, frame(sound)[1:]...), "", grpcbody.ErrCompressed},
		"another flag":                  {append([]byte{0x80}, frame(sound)[1:]...), "flags", nil},
		"two frames":                    {append(frame(sound), frame(sound)...), "does not end", nil},
		"a byte after the frame":        {append(frame(sound), 0), "does not end", nil},
		"a length beyond everything":    {[]byte{0, 0xff, 0xff, 0xff, 0xff}, "does not end", nil},
		"no message":                    {frame([]byte{0xff, 0xff}), "is no shop.v1.Order", nil},
		"a field of another type":       {frame(varint(1, 7)), "do not know", nil},
		"an unknown field":              {frame(varint(99, 1)), "a shop.v1.Order has a field that the descriptors do not know", nil},
		"an unknown field further down": {frame(field(8, varint(99, 1))), "a shop.v1.Money has a field", nil},
		"an unknown field of a time":    {frame(field(16, varint(99, 1))), "google.protobuf.Timestamp has a field", nil},
		"an unknown enum value":         {frame(varint(7, 9)), "shop.v1.State has no value 9", nil},
		"text that is not UTF-8":        {frame(field(1, []byte{0xff})), "is no shop.v1.Order", nil},
		"too deep":                      {frame(deep), "", nil},
		"too many values":               {frame([]byte(strings.Repeat(string(field(9, []byte("x"))), grpcbody.MaxValues))), "too many", nil},
		"too many values, packed":       {frame(field(22, make([]byte, grpcbody.MaxValues))), "too many", nil},
		"a time out of range":           {frame(field(16, known(1<<62, 0))), "a time is not", nil},
		"nanoseconds out of range":      {frame(field(16, known(0, 2_000_000_000))), "a time is not", nil},
		"a duration out of range":       {frame(field(17, known(300_000_000_000, 0))), "a duration", nil},
		"a Value that holds nothing":    {frame(field(26, nil)), "google.protobuf.Value", nil},
		"a Value that is no number":     {frame(field(26, protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 0x7ff8000000000000))), "google.protobuf.Value", nil},
		"an Any of an unknown type":     {frame(field(20, field(1, []byte("type.googleapis.com/x.Y")))), "an Any holds", nil},
		"an Any that holds something else": {frame(field(20, append(field(1, []byte("type.googleapis.com/shop.v1.Money")),
			field(2, []byte{0xff})...))), "is no shop.v1.Money", nil},
	} {
		v, err := methods.Method("/shop.v1.Orders/Place").Decode(tt.body, false)
		switch {
		case err == nil:
			t.Errorf("%s: read as %v", name, v)
		case tt.err != nil && !errors.Is(err, tt.err), !strings.Contains(err.Error(), tt.want):
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	if _, err := methods.Method("/shop.v1.Orders/Upload").Decode(frame(sound), false); !errors.Is(err, grpcbody.ErrStreamed) {
		t.Errorf("a stream: %v", err)
	}
	if _, err := methods.Method("/shop.v1.Orders/Watch").Decode(frame(sound), false); err != nil {
		t.Errorf("a stream of answers: %v", err)
	}
	v, err := methods.Method("/shop.v1.Orders/Place").Decode(frame(append(sound, varint(99, 1)...)), true)
	if err != nil {
		t.Fatalf("ignoring unknown fields: %v", err)
	}
	if id, _ := v.Mapping().Lookup("id"); id.Str() != "o1" {
		t.Errorf("ignoring unknown fields: %v", v)
	}
}

func TestMethods(t *testing.T) {
	m := load(t)
	for _, path := range []string{"/shop.v1.Orders/place", "/shop.v1.Orders/Place/", "shop.v1.Orders/Place", "/shop.v1.Order/Place", ""} {
		if m.Method(path) != nil {
			t.Errorf("%s is a method", path)
		}
	}
	if !m.HasService("shop.v1.Orders") || m.HasService("shop.v1.Order") {
		t.Error("the services are wrong")
	}
	var none *grpcbody.Methods
	if none.Method("/shop.v1.Orders/Place") != nil || none.HasService("shop.v1.Orders") {
		t.Error("there are methods where nothing was loaded")
	}
}

func TestLoad(t *testing.T) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(shop(t), &set); err != nil {
		t.Fatal(err)
	}
	marshal := func(edit func(*descriptorpb.FileDescriptorSet)) []byte {
		s := proto.Clone(&set).(*descriptorpb.FileDescriptorSet)
		edit(s)
		b, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	own := func(s *descriptorpb.FileDescriptorSet) *descriptorpb.FileDescriptorProto {
		return s.File[len(s.File)-1]
	}
	alone := marshal(func(s *descriptorpb.FileDescriptorSet) { s.File = s.File[len(s.File)-1:] })
	if _, err := grpcbody.Load(alone, shop(t)); err != nil {
		t.Errorf("without the files of protobuf, and twice: %v", err)
	}
	for name, tt := range map[string]struct {
		sets [][]byte
		want string
	}{
		"no descriptor set": {[][]byte{[]byte("syntax = \"proto3\";")}, "not a descriptor set"},
		"empty":             {[][]byte{{}}, "is empty"},
		"two versions": {[][]byte{shop(t), marshal(func(s *descriptorpb.FileDescriptorSet) { own(s).Service[0].Method[0].Name = proto.String("Put") })},
			"shop.proto is there twice, with different contents"},
		"an import that is missing": {[][]byte{marshal(func(s *descriptorpb.FileDescriptorSet) {
			own(s).Dependency = append(own(s).Dependency, "bank.proto")
		})}, "bank.proto, which shop.proto imports, is missing"},
		"a type that is missing": {[][]byte{marshal(func(s *descriptorpb.FileDescriptorSet) {
			own(s).Service[0].Method[0].InputType = proto.String(".shop.v1.Nothing")
		})}, "contradictory"},
		"no service": {[][]byte{marshal(func(s *descriptorpb.FileDescriptorSet) { own(s).Service = nil })}, "no gRPC method"},
	} {
		if _, err := grpcbody.Load(tt.sets...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
}

// A body gives a value or an error; what gives a value stays within bounds.
func FuzzDecode(f *testing.F) {
	methods := load(f)
	for _, json := range []string{`{}`, `{"id": "o1", "number": 7, "state": "STATE_PAID"}`, `{"extra": {"a": [1, null]}, "placedAt": "2026-01-02T03:04:05Z"}`,
		`{"detail": {"@type": "type.googleapis.com/shop.v1.Money", "units": "3"}}`, `{"parent": {"parent": {"byShelf": {"1": {}}}}}`} {
		f.Add(frame(order(f, json)), false)
	}
	f.Add([]byte{1, 0, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, body []byte, ignore bool) {
		v, err := methods.Method("/shop.v1.Orders/Place").Decode(body, ignore)
		if err != nil {
			return
		}
		if v.Mapping() == nil {
			t.Fatalf("%x gives %v", body, v)
		}
		if string(frame(body[5:])) != string(body) {
			t.Fatalf("%x is not one plain frame", body)
		}
		v.Native()
	})
}

// A message that holds far more than is read is refused before it is decoded,
// which would take hundreds of times its size.
func TestDecodeIsBounded(t *testing.T) {
	place := load(t).Method("/shop.v1.Orders/Place")
	for _, number := range []byte{8, 9, 10, 11, 12, 21} { // a message, texts, messages, maps, the message itself
		body := frame(bytes.Repeat([]byte{number<<3 | 2, 0}, 1<<20))
		if number >= 16 {
			body = frame(bytes.Repeat([]byte{number<<3&0x7f | 2 | 0x80, number >> 4, 0}, 1<<20))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := place.Decode(body, true)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || !strings.Contains(err.Error(), "too many values") || used > 1<<20 {
			t.Errorf("field %d: %v, with %d bytes", number, err, used)
		}
	}
	// As many values as there may be are read, of whatever kind.
	part := []byte{10<<3 | 2, 7, 1<<3 | 2, 3, 'E', 'U', 'R', 2 << 3, 7}
	if _, err := place.Decode(frame(bytes.Repeat(part, grpcbody.MaxValues/3-20)), false); err != nil {
		t.Errorf("many parts: %v", err)
	}
}
