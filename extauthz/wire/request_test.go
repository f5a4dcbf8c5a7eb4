package wire

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/engine/value"
)

// lenField writes a length-delimited field.
func lenField(num protowire.Number, content ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(content, nil))
}

func varintField(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func str(s string) []byte { return []byte(s) }

// attributes, http and metadata wrap fields so that they stand in a CheckRequest.
func attributes(fields ...[]byte) []byte { return lenField(1, fields...) }
func http(fields ...[]byte) []byte {
	return attributes(lenField(4, lenField(2, fields...)))
}
func metadataKey(key string, val ...[]byte) []byte {
	return attributes(lenField(11, lenField(1, lenField(1, str("ns")),
		lenField(2, lenField(1, lenField(1, str(key)), lenField(2, val...))))))
}

// nested is a claim that is n lists in one another.
func nested(n int) []byte {
	var v []byte
	for range n {
		v = lenField(6, lenField(1, v))
	}
	return metadataKey("k", v)
}

// nestedStructs is a claim that is n structs in one another. The outermost lies
// in a list, which makes n=3331 use up the depth exactly. innermost holds the
// fields of the innermost.
func nestedStructs(n int, innermost []byte) []byte {
	s := innermost
	for range n {
		v := lenField(5, s)
		if n--; n == 0 {
			v = lenField(6, lenField(1, v))
		}
		s = lenField(1, lenField(2, v))
	}
	return attributes(lenField(11, lenField(1, lenField(2, s))))
}

type testCase struct {
	name    string
	message []byte
	valid   bool
}

// manyKeys is from how many keys on a map is searched in another way.
const manyKeys = 64

// cases holds messages that Envoy does not send.
func cases() []testCase {
	manyHeaders := func(last string) []byte {
		var fields [][]byte
		for i := range 3 * manyKeys {
			fields = append(fields, lenField(3, lenField(1, str(fmt.Sprint("h", i))), lenField(2, str("v"))))
		}
		return http(append(fields, lenField(3, lenField(1, str(last)), lenField(2, str("last"))))...)
	}
	return []testCase{
		{"empty", nil, true},
		{"attributes empty", attributes(), true},
		{"http empty", http(), true},
		{"scalar twice, the last counts", http(lenField(2, str("GET")), lenField(2, str("POST"))), true},
		{"scalar twice, the last is empty", http(lenField(2, str("GET")), lenField(2)), true},
		{"number twice", http(varintField(9, 1), varintField(9, 0)), true},
		{"message twice is merged", bytes.Join([][]byte{http(lenField(2, str("GET"))), http(lenField(4, str("/")))}, nil), true},
		{"message twice, malformed the second time", bytes.Join([][]byte{http(), http([]byte{0x12, 9})}, nil), false},
		{"header twice in the map", http(lenField(3, lenField(1, str("a")), lenField(2, str("1"))), lenField(3, lenField(1, str("a")), lenField(2, str("2")))), true},
		{"many headers in the map", manyHeaders("other"), true},
		{"many headers in the map, one twice", manyHeaders("h7"), true},
		{"many headers in the map, a late one twice", manyHeaders(fmt.Sprint("h", 2*manyKeys)), true},
		{"header map twice is merged", http(lenField(13, lenField(1, lenField(1, str("a")), lenField(3, str("1")))), lenField(13, lenField(1, lenField(1, str("a")), lenField(3, str("2"))))), true},
		{"map entry with two values", http(lenField(3, lenField(1, str("a")), lenField(2, str("1")), lenField(2, str("2")))), true},
		{"map entry with value before key", http(lenField(3, lenField(2, str("1")), lenField(1, str("a")))), true},
		{"map entry without key or value", http(lenField(3)), true},
		{"map entry with further fields", http(lenField(3, lenField(1, str("a")), varintField(3, 7), lenField(2, str("1")))), true},
		{"map entry, key of another wire type", http(lenField(3, varintField(1, 1), lenField(2, str("1")))), true},
		{"map entry, malformed", http(lenField(3, []byte{0x0a, 9})), false},
		{"oneof, the last member counts", attributes(lenField(1, lenField(1, lenField(1, lenField(2, str("1.2.3.4"))), lenField(2, lenField(1, str("/sock")))))), true},
		{"oneof, one message member twice is merged", attributes(lenField(1, lenField(1, lenField(1, lenField(2, str("1.2.3.4"))), lenField(1, varintField(3, 80))))), true},
		{"port, number then name", attributes(lenField(1, lenField(1, lenField(1, varintField(3, 80), lenField(4, str("http")))))), true},
		{"port beyond 32 bits is cut", attributes(lenField(1, lenField(1, lenField(1, varintField(3, 1<<40+80))))), true},
		{"value of two kinds", metadataKey("k", lenField(3, str("text")), varintField(4, 1)), true},
		{"value, two structs merged", metadataKey("k", lenField(5, lenField(1, lenField(1, str("a")))), lenField(5, lenField(1, lenField(1, str("b"))))), true},
		{"value of an unknown null", metadataKey("k", varintField(1, 7)), true},
		{"value, bool of 2", metadataKey("k", varintField(4, 2)), true},
		{"value, number as varint is unknown", metadataKey("k", varintField(2, 2)), true},
		{"metadata without struct", attributes(lenField(11, lenField(1, lenField(1, str("ns"))))), true},
		{"namespace twice, the last counts", attributes(lenField(11, lenField(1, lenField(1, str("ns")), lenField(2, lenField(1, lenField(1, str("a"))))), lenField(1, lenField(1, str("ns")), lenField(2, lenField(1, lenField(1, str("b"))))))), true},
		{"wrong wire type is unknown", http(varintField(2, 5)), true},
		{"unknown field", http(lenField(99, str("\xff")), lenField(2, str("GET"))), true},
		{"unknown group", http([]byte{0x9b, 0x06, 0x08, 0x01, 0x9c, 0x06}, lenField(2, str("GET"))), true},
		{"known field as group", http([]byte{0x13, 0x14}, lenField(4, str("/"))), true},
		{"group left open", http([]byte{0x9b, 0x06, 0x08, 0x01}), false},
		{"group closed by another number", http([]byte{0x9b, 0x06, 0x94, 0x06}), false},
		{"end of no group", http([]byte{0x9c, 0x06}), false},
		{"tag longer than needed", http([]byte{0x92, 0x80, 0x00, 0x03, 'G', 'E', 'T'}), true},
		{"length longer than needed", http([]byte{0x12, 0x83, 0x80, 0x00, 'G', 'E', 'T'}), true},
		{"field number 0", http([]byte{0x02, 0x00}), false},
		{"field number too large", http(protowire.AppendVarint(nil, (1<<29)<<3)), false},
		{"field number too large in a group", http([]byte{0x9b, 0x06}, protowire.AppendVarint(nil, (1<<29)<<3), []byte{0x00, 0x9c, 0x06}), true},
		{"reserved wire type", http([]byte{0x16, 0x00}), false},
		{"varint of 11 bytes", http(append([]byte{0x48}, append(bytes.Repeat([]byte{0x80}, 10), 1)...)), false},
		{"varint beyond 64 bits", http(append([]byte{0x48}, append(bytes.Repeat([]byte{0xff}, 9), 2)...)), false},
		{"length past the end", http([]byte{0x12, 0x05, 'G'}), false},
		{"length past the end of the inner message", attributes(lenField(4, []byte{0x12, 0x06}), lenField(10, str(""))), false},
		{"huge length", http([]byte{0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}), false},
		{"tag alone", []byte{0x0a}, false},
		{"invalid UTF-8 in the path", http(lenField(4, str("/\xff"))), false},
		{"invalid UTF-8 in a header's name", http(lenField(3, lenField(1, str("\xff")))), false},
		{"invalid UTF-8 in a header's value", http(lenField(3, lenField(2, str("\xff")))), false},
		{"invalid UTF-8 in a raw header's name", http(lenField(13, lenField(1, lenField(1, str("\xff"))))), false},
		{"invalid UTF-8 in a raw header's text value", http(lenField(13, lenField(1, lenField(2, str("\xff"))))), false},
		{"any bytes in a raw header's value", http(lenField(13, lenField(1, lenField(3, str("\xff"))))), true},
		{"any bytes in the raw body", http(lenField(12, str("\xff"))), true},
		{"invalid UTF-8 in the body", http(lenField(11, str("\xff"))), false},
		{"invalid UTF-8 in a claim's name", metadataKey("\xff"), false},
		{"invalid UTF-8 in a claim", metadataKey("k", lenField(3, str("\xff"))), false},
		{"invalid UTF-8 in a listed claim", metadataKey("k", lenField(6, lenField(1, lenField(3, str("\xff"))))), false},
		{"malformed deep in a claim", metadataKey("k", lenField(5, lenField(1, lenField(2, lenField(6, []byte{0x0a}))))), false},
		{"malformed typed metadata", attributes(lenField(11, lenField(2, lenField(2, []byte{0x0a})))), false},
		{"invalid UTF-8 in a resolver's name", attributes(lenField(2, lenField(1, lenField(1, lenField(5, str("\xff")))))), false},
	}
}

// deepCases holds messages that are nested as deep as a message may be, and
// deeper. They are large, and take a while to make.
func deepCases() []testCase {
	return []testCase{
		{"lists nested to the limit", nested(4996), true},
		{"lists nested over the limit", nested(4997), false},
		{"structs nested to the limit", nestedStructs(3331, nil), true},
		{"structs nested over the limit", nestedStructs(3332, nil), false},
		{"unknown field at the limit", nestedStructs(3331, varintField(2, 0)), true},
		{"map of another wire type at the limit", nestedStructs(3331, varintField(1, 0)), false},
	}
}

func TestCases(t *testing.T) {
	var r Request
	for _, c := range append(cases(), deepCases()...) {
		t.Run(c.name, func(t *testing.T) {
			if got := checkEqual(t, &r, c.message); got != c.valid {
				t.Errorf("accepted is %v, want %v", got, c.valid)
			}
		})
	}
}

// Every prefix of a message, and the message with a bit changed in any of its
// bytes, must be read as the protobuf library reads it.
func TestDamagedMessages(t *testing.T) {
	var r Request
	b := marshal(t, odd())
	for i := range b {
		checkEqual(t, &r, b[:i])
		b[i] ^= 1 << (i % 8)
		checkEqual(t, &r, b)
		b[i] ^= 1 << (i % 8)
	}
}

func TestRead(t *testing.T) {
	for _, raw := range []bool{false, true} {
		t.Run(fmt.Sprintf("raw headers %v", raw), func(t *testing.T) {
			var r Request
			if err := r.Reset(marshal(t, realistic(raw))); err != nil {
				t.Fatal(err)
			}
			ua, n := r.Header("user-agent")
			if !strings.HasPrefix(ua, "Mozilla/5.0") || n != 1 {
				t.Errorf("user-agent is %q, %d times", ua, n)
			}
			if v, n := r.Header("User-Agent"); v != "" || n != 0 {
				t.Errorf("User-Agent is %q, %d times; names are compared exactly", v, n)
			}
			m, ok := r.FilterMetadata(jwtNamespace)
			if !ok {
				t.Fatal("no claims")
			}
			jwt, _ := m.Lookup("jwt")
			want := map[string]any{
				"iss": "https://id.example.com", "sub": "alice", "aud": []any{"shop", "billing"},
				"exp": 1790000000.0, "iat": 1789996400.0, "email": "alice@example.com", "email_verified": true,
				"groups": []any{"employees", "sales", "eu"}, "scope": "orders:read orders:write", "act": nil,
				"realm_access": map[string]any{"roles": []any{"user", "manager"}},
			}
			if got := jwt.Native(); !reflect.DeepEqual(got, want) {
				t.Errorf("claims are %v, want %v", got, want)
			}
			if p := r.Source(); p.Address() != "203.0.113.7" || p.Port() != 51234 || p.Principal() != "spiffe://example.com/ns/shop/sa/web" {
				t.Errorf("source is %s:%d, %s", p.Address(), p.Port(), p.Principal())
			}
			if v, ok := r.Destination().Label("app"); v != "orders" || !ok {
				t.Errorf("label app of the destination is %q, %v", v, ok)
			}
			if v, ok := r.ContextExtension("route"); v != "orders" || !ok {
				t.Errorf("context extension route is %q, %v", v, ok)
			}
		})
	}
}

// A later Reset must not leave anything of the earlier message behind.
func TestResetForgets(t *testing.T) {
	var r Request
	for _, next := range [][]byte{nil, attributes(), http(), marshal(t, realistic(true)), {0xff}} {
		if err := r.Reset(marshal(t, odd())); err != nil {
			t.Fatal(err)
		}
		checkEqual(t, &r, next)
	}
}

func TestMalformedLeavesNothing(t *testing.T) {
	var r Request
	err := r.Reset(append(marshal(t, realistic(false)), 0xff))
	if err == nil || !strings.Contains(err.Error(), "malformed CheckRequest") || !strings.Contains(err.Error(), "at byte") {
		t.Errorf("error is %v", err)
	}
	if r.HasHTTP() || r.Path() != "" {
		t.Error("after an error the request is still there")
	}
}

// A message with very many keys must be read in a time that grows no faster
// than its length; a quadratic scan would take minutes.
func TestManyKeys(t *testing.T) {
	var b []byte
	for i := range 300_000 {
		b = append(b, lenField(10, lenField(1, str(fmt.Sprint("same-begin-", i, "-same-end"))))...)
	}
	var r Request
	if err := r.Reset(lenField(1, b)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for range r.ContextExtensions {
		n++
	}
	if n != 300_000 {
		t.Errorf("%d keys", n)
	}
}

// The schema that the scan works from must be that of the generated types,
// also after an update of those.
func TestSchema(t *testing.T) {
	kinds := map[protoreflect.Kind]kind{
		protoreflect.StringKind: text, protoreflect.BytesKind: octets, protoreflect.MessageKind: message,
		protoreflect.BoolKind: varint, protoreflect.EnumKind: varint,
		protoreflect.Int32Kind: varint, protoreflect.Int64Kind: varint, protoreflect.Uint32Kind: varint,
	}
	maps := map[string]kind{
		"string": texts, "google.protobuf.Struct": structs, "google.protobuf.Any": anys,
	}
	// The messages whose shape is code: their fields as the code takes them.
	inCode := map[protoreflect.FullName]string{
		"envoy.config.core.v3.HeaderValue": "1 string key, 2 string value, 3 bytes raw_value",
		"google.protobuf.Struct":           "1 message fields",
		"google.protobuf.Value":            "1 enum null_value, 2 double number_value, 3 string string_value, 4 bool bool_value, 5 message struct_value, 6 message list_value",
		"google.protobuf.ListValue":        "1 message values",
	}
	visited := map[protoreflect.FullName]messageType{}
	visitInCode := func(md protoreflect.MessageDescriptor) {
		var fields []string
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			fields = append(fields, fmt.Sprintf("%d %s %s", fd.Number(), fd.Kind(), fd.Name()))
		}
		if got := strings.Join(fields, ", "); got != inCode[md.FullName()] {
			t.Errorf("%s: fields are %s; the code is for %s", md.FullName(), got, inCode[md.FullName()])
		}
	}
	var visit func(md protoreflect.MessageDescriptor, m messageType)
	visit = func(md protoreflect.MessageDescriptor, m messageType) {
		if seen, ok := visited[md.FullName()]; ok {
			if seen != m {
				t.Errorf("%s is scanned as message %d and as %d", md.FullName(), seen, m)
			}
			return
		}
		visited[md.FullName()] = m
		known := 0
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if int(fd.Number()) >= len(schema[m]) {
				t.Errorf("%s is not in the schema", fd.FullName())
				continue
			}
			known++
			got := schema[m][fd.Number()]
			want := fieldType{kind: kinds[fd.Kind()], slot: got.slot, shift: got.shift, sub: got.sub}
			if o := fd.ContainingOneof(); o != nil && o.Fields().Len() > 1 {
				want.oneof = uint8(o.Fields().Get(0).Number())
			}
			switch {
			case fd.IsMap():
				v := fd.MapValue()
				name := v.Kind().String()
				if v.Message() != nil {
					name = string(v.Message().FullName())
				}
				if fd.MapKey().Kind() != protoreflect.StringKind {
					t.Errorf("%s has keys of kind %s", fd.FullName(), fd.MapKey().Kind())
				}
				want.kind, want.sub = maps[name], 0
				switch want.kind {
				case structs:
					visitInCode(v.Message())
					entry := v.Message().Fields().ByNumber(1).MapValue()
					visitInCode(entry.Message())
					visitInCode(entry.Message().Fields().ByNumber(6).Message())
				case anys:
					visit(v.Message(), anyMessage)
				}
			case fd.IsList():
				want.kind, want.sub = headers, 0
				visitInCode(fd.Message())
			case fd.Message() != nil:
				visit(fd.Message(), got.sub)
			}
			if got != want || want.kind == unknown {
				t.Errorf("%s: the schema has %+v, want %+v", fd.FullName(), got, want)
			}
			if fd.Kind() == protoreflect.StringKind && fd.ParentFile().Syntax() != protoreflect.Proto3 {
				t.Errorf("%s is not proto3: its UTF-8 may not be checked", fd.FullName())
			}
		}
		for _, f := range schema[m] {
			if f.kind != unknown {
				known--
			}
		}
		if known != 0 {
			t.Errorf("%s: the schema has fields that the message has not", md.FullName())
		}
	}
	visit(checkRequestDescriptor, checkRequest)
	if len(visited) != int(messageTypes) {
		t.Errorf("%d messages are scanned, the schema has %d", len(visited), messageTypes)
	}
}

// reads are what a decision mostly asks of a request.
func reads(r *Request) (n int) {
	n = len(r.Method()) + len(r.Path()) + len(r.Host())
	for _, h := range []string{"authorization", "cookie", "x-forwarded-for", "x-request-id"} {
		v, _ := r.Header(h)
		n += len(v)
	}
	m, _ := r.FilterMetadata(jwtNamespace)
	jwt, _ := m.Lookup("jwt")
	claims := jwt.Mapping()
	sub, _ := claims.Lookup("sub")
	groups, _ := claims.Lookup("groups")
	for i := range groups.Sequence().Len() {
		n += len(groups.Sequence().At(i).Str())
	}
	return n + len(sub.Str())
}

func TestReadingAllocatesNothing(t *testing.T) {
	for _, raw := range []bool{false, true} {
		b := marshal(t, realistic(raw))
		var r Request
		n := 0
		allocs := testing.AllocsPerRun(100, func() {
			if err := r.Reset(b); err != nil {
				t.Fatal(err)
			}
			n = reads(&r)
			ts, _ := r.Time()
			body, _ := r.Body()
			n += ts.Year() + len(r.Source().Principal()) + len(body)
			for name := range r.Headers {
				n += len(name)
			}
		})
		if allocs != 0 || n == 0 {
			t.Errorf("raw headers %v: %v allocations (n=%d)", raw, allocs, n)
		}
	}
}

// Reading changes nothing, which the race detector sees here.
func TestConcurrentReads(t *testing.T) {
	var r Request
	if err := r.Reset(marshal(t, realistic(false))); err != nil {
		t.Fatal(err)
	}
	want := reads(&r)
	done := make(chan int)
	for range 4 {
		go func() { done <- reads(&r) }()
	}
	for range 4 {
		if n := <-done; n != want {
			t.Errorf("a concurrent read gives %d, want %d", n, want)
		}
	}
}

func TestYieldStops(t *testing.T) {
	var r Request
	if err := r.Reset(marshal(t, odd())); err != nil {
		t.Fatal(err)
	}
	m, _ := r.FilterMetadata("kinds")
	for name, each := range map[string]func(func() bool){
		"Headers":                  func(f func() bool) { r.Headers(func(_, _ string) bool { return f() }) },
		"ContextExtensions":        func(f func() bool) { r.ContextExtensions(func(_, _ string) bool { return f() }) },
		"Labels":                   func(f func() bool) { r.Destination().Labels(func(_, _ string) bool { return f() }) },
		"FilterMetadataNamespaces": func(f func() bool) { r.FilterMetadataNamespaces(func(string) bool { return f() }) },
		"Range":                    func(f func() bool) { m.Range(func(string, value.Value) bool { return f() }) },
	} {
		n := 0
		each(func() bool { n++; return false })
		if n != 1 {
			t.Errorf("%s: yield was called %d times after it had answered false", name, n)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, raw := range []bool{false, true} {
		msg := marshal(b, realistic(raw))
		name := "headers"
		if raw {
			name = "raw_headers"
		}
		b.Run(name+"/view", func(b *testing.B) {
			var r Request
			b.ReportAllocs()
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				if r.Reset(msg) != nil || reads(&r) == 0 {
					b.Fatal("not read")
				}
			}
		})
		b.Run(name+"/view_reset_only", func(b *testing.B) {
			var r Request
			b.ReportAllocs()
			for b.Loop() {
				if r.Reset(msg) != nil {
					b.Fatal("not read")
				}
			}
		})
		b.Run(name+"/generated_types", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(msg)))
			for b.Loop() {
				var m authv3.CheckRequest
				if proto.Unmarshal(msg, &m) != nil || readsGenerated(&m) == 0 {
					b.Fatal("not read")
				}
			}
		})
	}
}

func readsGenerated(m *authv3.CheckRequest) (n int) {
	h := m.GetAttributes().GetRequest().GetHttp()
	n = len(h.GetMethod()) + len(h.GetPath()) + len(h.GetHost())
	for _, name := range []string{"authorization", "cookie", "x-forwarded-for", "x-request-id"} {
		n += len(h.GetHeaders()[name])
		for _, v := range h.GetHeaderMap().GetHeaders() {
			if v.GetKey() == name {
				n += len(v.GetRawValue())
				break
			}
		}
	}
	claims := m.GetAttributes().GetMetadataContext().GetFilterMetadata()[jwtNamespace].GetFields()["jwt"].GetStructValue().GetFields()
	for _, g := range claims["groups"].GetListValue().GetValues() {
		n += len(g.GetStringValue())
	}
	return n + len(claims["sub"].GetStringValue())
}
