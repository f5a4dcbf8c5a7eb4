package grpcbody

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"edict/engine/value"
)

// The bounds of a message. A condition may compare each value with each other,
// so their number bounds what a client can make a check cost.
const (
	MaxDepth  = 64
	MaxValues = 2_000 // fields, elements and entries
)

// The errors for bodies that may be sound, and are not read.
var (
	ErrStreamed   = errors.New("the client of this method sends a stream of messages")
	ErrCompressed = errors.New("the message is compressed")
)

// Decode reads a body. Fields have their names of the .proto file. Scalars that
// a message may leave out without a trace (proto3) have their default then;
// fields with presence (optional ones, messages, those of a oneof) are there
// only if they are set, lists and maps always. Types become:
//
//	int32 … sint64             int
//	uint32 … fixed64           uint
//	float, double              double
//	enum                       the value's name, a string
//	map                        a map; keys that are no strings as text
//	google.protobuf.Timestamp  timestamp
//	google.protobuf.Duration   duration
//	google.protobuf.Struct, Value, ListValue and wrappers: the JSON value
//	google.protobuf.Any        the message in it, if the descriptors know its type
//
// With ignoreUnknown, fields that the descriptors do not know are left out.
func (m *Method) Decode(body []byte, ignoreUnknown bool) (value.Value, error) {
	none := value.Value{}
	if m.streamed {
		return none, ErrStreamed
	}
	const header = 5 // compressed or not, and the length
	switch {
	case len(body) < header:
		return none, errors.New("there is no whole frame")
	case body[0] == 1:
		return none, ErrCompressed
	case body[0] != 0:
		return none, errors.New("the frame has flags that nobody knows")
	case uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-header):
		return none, errors.New("the frame does not end where the body ends")
	}
	r := reader{types: m.types, ignoreUnknown: ignoreUnknown, left: MaxValues}
	return r.unmarshal(m.input, body[header:], MaxDepth)
}

type reader struct {
	types         *dynamicpb.Types
	ignoreUnknown bool
	left          int // values that may still follow
}

func (r *reader) unmarshal(d protoreflect.MessageDescriptor, b []byte, depth int) (value.Value, error) {
	if depth <= 0 {
		return value.Value{}, errTooDeep
	}
	// What takes too much memory to decode is not decoded. Of the fields that
	// are written, the most that become one value are the four of a time.
	if fields := 4 * r.left; !r.count(d, b, depth, &fields) {
		return value.Value{}, errTooMany
	}
	m := dynamicpb.NewMessage(d)
	if !r.read(m, b, depth) {
		return value.Value{}, fmt.Errorf("the message is no %s", d.FullName())
	}
	return r.message(m, depth)
}

// read fills a message from its bytes, and tells whether they are sound. On some
// malformed entries of maps the protobuf library panics; to a client's request
// that is no more than another malformed body.
func (r *reader) read(m proto.Message, b []byte, depth int) (sound bool) {
	defer func() {
		if recover() != nil {
			sound = false
		}
	}()
	return proto.UnmarshalOptions{Resolver: r.types, RecursionLimit: depth}.Unmarshal(b, m) == nil
}

// count takes the fields that are written in a message off how many there may
// be, and tells whether there are no more. Those that the descriptors do not know
// cost little and do not count, and what is malformed is for others to refuse.
func (r *reader) count(d protoreflect.MessageDescriptor, b []byte, depth int, left *int) bool {
	for len(b) > 0 && depth > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return true
		}
		b = b[n:]
		length := protowire.ConsumeFieldValue(number, kind, b)
		if length < 0 {
			return true
		}
		content := b[:length]
		b = b[length:]
		f := d.Fields().ByNumber(number)
		if f == nil {
			t, err := r.types.FindExtensionByNumber(d.FullName(), number)
			if err != nil {
				continue
			}
			f = t.TypeDescriptor()
		}
		if *left--; *left < 0 {
			return false
		}
		switch {
		case kind == protowire.BytesType && f.Kind() == protoreflect.MessageKind:
			content, _ = protowire.ConsumeBytes(content)
		case kind == protowire.StartGroupType && f.Kind() == protoreflect.GroupKind:
			content, _ = protowire.ConsumeGroup(number, content)
		default:
			continue
		}
		if !r.count(f.Message(), content, depth-1, left) {
			return false
		}
	}
	return true
}

var (
	errTooDeep  = errors.New("it is nested too deep")
	errTooMany  = errors.New("there are too many values")
	errNotUTF8  = errors.New("a text is not UTF-8")
	errBadTime  = errors.New("a time is not within the years 1 to 9999")
	errBadSpan  = errors.New("a duration is out of range")
	errBadValue = errors.New("a google.protobuf.Value holds nothing, or a number that is none")
)

// message converts a message, which may be one of the known types.
func (r *reader) message(m protoreflect.Message, depth int) (value.Value, error) {
	none := value.Value{}
	if depth <= 0 {
		return none, errTooDeep
	}
	d := m.Descriptor()
	if len(m.GetUnknown()) > 0 && !r.ignoreUnknown {
		return none, fmt.Errorf("a %s has a field that the descriptors do not know", d.FullName())
	}
	get := func(name protoreflect.Name) protoreflect.Value { return m.Get(d.Fields().ByName(name)) }
	switch d.FullName() {
	case "google.protobuf.Timestamp":
		t := timestamppb.Timestamp{Seconds: get("seconds").Int(), Nanos: int32(get("nanos").Int())}
		if !t.IsValid() {
			return none, errBadTime
		}
		return value.OfTime(t.AsTime()), nil
	case "google.protobuf.Duration":
		p := durationpb.Duration{Seconds: get("seconds").Int(), Nanos: int32(get("nanos").Int())}
		const longest = int64(1<<63-1) / int64(time.Second) // what a duration of CEL holds
		if !p.IsValid() || p.Seconds >= longest || p.Seconds <= -longest {
			return none, errBadSpan
		}
		return value.OfDuration(p.AsDuration()), nil
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value", "google.protobuf.UInt64Value",
		"google.protobuf.Int32Value", "google.protobuf.UInt32Value", "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		f := d.Fields().ByName("value")
		return r.single(f, m.Get(f), depth)
	case "google.protobuf.Struct":
		f := d.Fields().ByName("fields")
		return r.field(f, m.Get(f), depth)
	case "google.protobuf.ListValue":
		f := d.Fields().ByName("values")
		return r.field(f, m.Get(f), depth)
	case "google.protobuf.Value":
		return r.jsonValue(m, depth)
	case "google.protobuf.Any":
		return r.any(get("type_url").String(), get("value").Bytes(), depth)
	}
	fields := value.Values{}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.HasPresence() && !m.Has(f) {
			continue
		}
		v, err := r.field(f, m.Get(f), depth)
		if err != nil {
			return none, err
		}
		fields[string(f.Name())] = v
	}
	var failed error
	m.Range(func(f protoreflect.FieldDescriptor, pv protoreflect.Value) bool {
		if f.IsExtension() {
			fields[string(f.FullName())], failed = r.field(f, pv, depth)
		}
		return failed == nil
	})
	return value.OfMapping(fields), failed
}

// jsonValue converts a google.protobuf.Value, which must hold something.
func (r *reader) jsonValue(m protoreflect.Message, depth int) (value.Value, error) {
	f := m.WhichOneof(m.Descriptor().Oneofs().ByName("kind"))
	switch {
	case f == nil:
		return value.Value{}, errBadValue
	case f.Kind() == protoreflect.EnumKind:
		return value.OfNull(), nil
	case f.Kind() == protoreflect.DoubleKind:
		if n := m.Get(f).Float(); n-n != 0 { // no JSON has NaN and the infinities
			return value.Value{}, errBadValue
		}
	}
	return r.field(f, m.Get(f), depth)
}

// any converts the message that an Any holds.
func (r *reader) any(url string, b []byte, depth int) (value.Value, error) {
	if url == "" && len(b) == 0 {
		return value.OfMapping(value.Values(nil)), nil
	}
	t, err := r.types.FindMessageByURL(url)
	if err != nil {
		return value.Value{}, errors.New("an Any holds a type that the descriptors do not know")
	}
	return r.unmarshal(t.Descriptor(), b, depth-1)
}

func (r *reader) take() error {
	if r.left--; r.left < 0 {
		return errTooMany
	}
	return nil
}

func (r *reader) field(f protoreflect.FieldDescriptor, v protoreflect.Value, depth int) (value.Value, error) {
	if err := r.take(); err != nil {
		return value.Value{}, err
	}
	switch {
	case f.IsMap():
		out := value.Values{}
		var failed error
		v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
			if failed = r.take(); failed == nil {
				out[k.String()], failed = r.single(f.MapValue(), e, depth)
			}
			return failed == nil
		})
		return value.OfMapping(out), failed
	case f.IsList():
		list := v.List()
		if list.Len() > r.left {
			return value.Value{}, errTooMany
		}
		out := make(value.Slice, list.Len())
		for i := range out {
			if err := r.take(); err != nil {
				return value.Value{}, err
			}
			var err error
			if out[i], err = r.single(f, list.Get(i), depth); err != nil {
				return value.Value{}, err
			}
		}
		return value.OfSequence(out), nil
	}
	return r.single(f, v, depth)
}

func (r *reader) single(f protoreflect.FieldDescriptor, v protoreflect.Value, depth int) (value.Value, error) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return value.OfBool(v.Bool()), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return value.OfInt(v.Int()), nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return value.OfUint(v.Uint()), nil
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return value.OfDouble(v.Float()), nil
	case protoreflect.StringKind:
		if !utf8.ValidString(v.String()) { // proto2 lets it be
			return value.Value{}, errNotUTF8
		}
		return value.OfString(v.String()), nil
	case protoreflect.BytesKind:
		return value.OfBytes(v.Bytes()), nil
	case protoreflect.EnumKind:
		e := f.Enum().Values().ByNumber(v.Enum())
		if e == nil {
			return value.Value{}, fmt.Errorf("the enum %s has no value %s that the descriptors know", f.Enum().FullName(), strconv.Itoa(int(v.Enum())))
		}
		return value.OfString(string(e.Name())), nil
	default: // a message or group
		return r.message(v.Message(), depth-1)
	}
}
