package wire

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func decode(t *testing.T, b []byte) *authv3.CheckResponse {
	t.Helper()
	var m authv3.CheckResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		t.Fatalf("the response does not parse: %v\n%x", err, b)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		t.Fatalf("the response has unknown fields: %x", b)
	}
	return &m
}

func wantMessage(t *testing.T, b []byte, want *authv3.CheckResponse) {
	t.Helper()
	if got := decode(t, b); !proto.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", prototext.Format(got), prototext.Format(want))
	}
}

func options(hs ...HeaderValue) (out []*corev3.HeaderValueOption) {
	for _, h := range hs {
		out = append(out, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value},
			//lint:ignore SA1019 Envoy before 1.37 obeys this field alone
			Append:       wrapperspb.Bool(false),
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

func metadataOf(kv ...string) *structpb.Struct {
	if len(kv) == 0 {
		return nil
	}
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i < len(kv); i += 2 {
		s.Fields[kv[i]] = structpb.NewStringValue(kv[i+1])
	}
	return s
}

func deny(code int32, httpStatus int32, body string, hs ...HeaderValue) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &status.Status{Code: code},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode(httpStatus)}, Headers: options(hs...), Body: body,
		}},
	}
}

func with(m *authv3.CheckResponse, metadata *structpb.Struct) *authv3.CheckResponse {
	m.DynamicMetadata = metadata
	return m
}

func allow(metadata *structpb.Struct, remove []string, hs ...HeaderValue) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: options(hs...), HeadersToRemove: remove,
		}},
		DynamicMetadata: metadata,
	}
}

func TestZeroResponseDenies(t *testing.T) {
	var r Response
	wantMessage(t, r.Bytes(), deny(7, 403, ""))
	wantMessage(t, r.Append(nil, nil), deny(7, 403, ""))
	wantMessage(t, r.Append(nil, []MetadataValue{{"id", "1"}}), with(deny(7, 403, ""), metadataOf("id", "1")))
	r.Bytes()[3] = 0 // must not reach other zero Responses
	wantMessage(t, Response{}.Bytes(), deny(7, 403, ""))
}

func TestDenied(t *testing.T) {
	location := HeaderValue{"location", "https://id.example.com/"}
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		name string
		got  Response
		want *authv3.CheckResponse
	}{
		{"bare", Denied(7, 403, nil, "", nil), deny(7, 403, "")},
		{"full", Denied(16, 302, []HeaderValue{location, {"set-cookie", "a=1"}, {"set-cookie", "b=2"}}, "moved", []MetadataValue{{"policy", "p"}, {"rule", ""}}),
			with(deny(16, 302, "moved", location, HeaderValue{"set-cookie", "a=1"}, HeaderValue{"set-cookie", "b=2"}), metadataOf("policy", "p", "rule", ""))},
		{"lengths of two bytes", Denied(7, 403, []HeaderValue{{"x-long", long}}, long, []MetadataValue{{long, long}}),
			with(deny(7, 403, long, HeaderValue{"x-long", long}), metadataOf(long, long))},
		{"code 0 would allow", Denied(0, 401, nil, "", nil), deny(7, 401, "")},
		{"negative code", Denied(-1, 401, nil, "", nil), deny(7, 401, "")},
		{"unknown code", Denied(17, 401, nil, "", nil), deny(7, 401, "")},
		{"status 0", Denied(3, 0, nil, "", nil), deny(3, 403, "")},
		{"unknown status", Denied(3, 299, nil, "", nil), deny(3, 403, "")},
		{"status that goes on", Denied(3, 100, nil, "", nil), deny(3, 403, "")},
		{"extreme numbers", Denied(math.MinInt32, math.MaxInt32, nil, "", nil), deny(7, 403, "")},
		{"invalid headers are left out", Denied(7, 403, []HeaderValue{{"a", "x\r\nb: y"}, {"", "x"}, {":status", "200"}, {"empty", ""}, {"c", "ok"}}, "", nil),
			deny(7, 403, "", HeaderValue{"c", "ok"})},
		{"body not UTF-8", Denied(7, 403, nil, "a\xffb", []MetadataValue{{"k\xff", "\xff"}}), with(deny(7, 403, "a\uFFFDb"), metadataOf("k\uFFFD", "\uFFFD"))},
	} {
		t.Run(c.name, func(t *testing.T) { wantMessage(t, c.got.Bytes(), c.want) })
	}
}

// Lengths around those at which the length itself grows by a byte.
func TestLengths(t *testing.T) {
	for _, around := range []int{1 << 7, 1 << 14, 1 << 21} {
		for n := around - 32; n < around+8; n++ {
			body := strings.Repeat("b", n)
			wantMessage(t, Denied(7, 403, nil, body, nil).Bytes(), deny(7, 403, body))
		}
	}
}

func TestFailed(t *testing.T) {
	failed := func(code, httpStatus int32) *authv3.CheckResponse {
		return &authv3.CheckResponse{
			Status: &status.Status{Code: code},
			HttpResponse: &authv3.CheckResponse_ErrorResponse{ErrorResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode(httpStatus)}, Headers: options(HeaderValue{"retry-after", "1"}), Body: "down",
			}},
		}
	}
	hs := []HeaderValue{{"retry-after", "1"}}
	wantMessage(t, Failed(13, 500, hs, "down", nil).Bytes(), failed(13, 500))
	wantMessage(t, Failed(0, 0, hs, "down", nil).Bytes(), failed(14, 503))
}

func TestAppendAddsMetadata(t *testing.T) {
	r := Denied(7, 403, nil, "no", []MetadataValue{{"policy", "p"}, {"id", "?"}})
	dst := []byte("before")
	got := r.Append(dst, []MetadataValue{{"id", "42"}})
	if !bytes.HasPrefix(got, dst) {
		t.Fatal("what was in dst is gone")
	}
	wantMessage(t, got[len(dst):], with(deny(7, 403, "no"), metadataOf("policy", "p", "id", "42")))
	wantMessage(t, r.Append(nil, nil), with(deny(7, 403, "no"), metadataOf("policy", "p", "id", "?")))
	wantMessage(t, Denied(7, 403, nil, "no", nil).Append(nil, []MetadataValue{{"id", "42"}}), with(deny(7, 403, "no"), metadataOf("id", "42")))
	if !bytes.Equal(r.Append(nil, nil), r.Bytes()) {
		t.Error("Append with no more metadata differs from Bytes")
	}
}

func TestAllowed(t *testing.T) {
	prepared, ok := Prepare([]HeaderValue{{"x-bundle", "7"}, {"x-stale", ""}}, []string{"x-user"}, []MetadataValue{{"policy", "p"}, {"id", "?"}})
	if !ok {
		t.Fatal("Prepare refused valid headers")
	}
	for _, c := range []struct {
		name string
		give *Allow
		want *authv3.CheckResponse
	}{
		{"bare", &Allow{}, allow(nil, nil)},
		{"prepared", &Allow{Prepared: prepared}, allow(metadataOf("policy", "p", "id", "?"), []string{"x-stale", "x-user"}, HeaderValue{"x-bundle", "7"})},
		{"full", &Allow{prepared, []HeaderValue{{"x-sub", "alice"}, {"x-empty", ""}}, []string{"authorization"}, []MetadataValue{{"id", "42"}}},
			allow(metadataOf("policy", "p", "id", "42"), []string{"x-stale", "x-user", "x-empty", "authorization"}, HeaderValue{"x-bundle", "7"}, HeaderValue{"x-sub", "alice"})},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := []byte("before")
			got, allowed := AppendAllowed(dst, c.give)
			if !allowed || !bytes.HasPrefix(got, dst) {
				t.Fatalf("allowed is %v, bytes %q", allowed, got)
			}
			wantMessage(t, got[len(dst):], c.want)
		})
	}
}

func TestInvalidAllowDenies(t *testing.T) {
	for name, a := range map[string]*Allow{
		"nil":                nil,
		"header value":       {Headers: []HeaderValue{{"x-ok", "1"}, {"x-user", "a\r\nx-admin: 1"}}},
		"header name":        {Headers: []HeaderValue{{"x user", "a"}}},
		"removed name":       {RemoveHeaders: []string{"x-ok", "a\nb"}},
		"removed pseudo":     {RemoveHeaders: []string{":path"}},
		"not ASCII":          {Headers: []HeaderValue{{"x-user", "jürgen"}}},
		"too long":           {Headers: []HeaderValue{{"x-user", strings.Repeat("a", MaxHeaderLen+1)}}},
		"empty, but no name": {Headers: []HeaderValue{{"", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			dst := []byte("before")
			got, allowed := AppendAllowed(dst, a)
			if allowed || !bytes.HasPrefix(got, dst) {
				t.Fatalf("allowed is %v, bytes %q", allowed, got)
			}
			wantMessage(t, got[len(dst):], deny(7, 403, ""))
		})
	}
	if p, ok := Prepare([]HeaderValue{{"a", "\x00"}}, nil, nil); ok || p.ok != nil {
		t.Error("Prepare accepted a header that is not valid")
	}
	if _, ok := Prepare(nil, []string{""}, nil); ok {
		t.Error("Prepare accepted the removal of a header without name")
	}
}

func TestValidHeader(t *testing.T) {
	long := strings.Repeat("a", MaxHeaderLen)
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"x-user", "alice", true},
		{"X-User", "a b", true},
		{"!#$%&'*+-.^_`|~09", "~ !", true},
		{"x-user", "", true},
		{long, long, true},
		{"", "a", false},
		{long + "a", "a", false},
		{"a", long + "a", false},
		{":path", "/", false},
		{"a b", "c", false},
		{"a:", "c", false},
		{"ä", "c", false},
		{"a", "ä", false},
		{"a", "b\n", false},
		{"a", "b\rc", false},
		{"a", "b\x00c", false},
		{"a", "b\tc", false},
		{"a", "b\x7f", false},
		{"a", " b", false},
		{"a", "b ", false},
		{"a\n", "b", false},
	} {
		if got := ValidHeader(c.name, c.value); got != c.want {
			t.Errorf("ValidHeader(%.30q, %.30q) is %v", c.name, c.value, got)
		}
	}
}

// Whatever goes in, a response parses, has a status, carries no header that
// could split a message, and allows only if every header went in unchanged.
func FuzzResponse(f *testing.F) {
	f.Add(int32(7), int32(403), "x-user", "alice", "x-b", "1", "body", "key", "value")
	f.Add(int32(0), int32(0), "a\r\n", "\x00", "", "", "\xff", "\xff", "\xff")
	f.Add(int32(-1), int32(99), ":path", " x", "host", "\u00fc", strings.Repeat("b", 200), "", strings.Repeat("v", 20000))
	f.Fuzz(func(t *testing.T, code, httpStatus int32, n1, v1, n2, v2, body, key, val string) {
		hs := []HeaderValue{{n1, v1}, {n2, v2}}
		md := []MetadataValue{{key, val}}
		wantMD := metadataOf(strings.ToValidUTF8(key, "\uFFFD"), strings.ToValidUTF8(val, "\uFFFD"))
		for _, r := range []Response{Denied(code, httpStatus, hs, body, md), Failed(code, httpStatus, hs, body, md)} {
			m := decode(t, r.Bytes())
			if m.GetStatus().GetCode() == 0 {
				t.Fatal("a deny has status 0")
			}
			d := m.GetDeniedResponse()
			if d == nil {
				d = m.GetErrorResponse()
			}
			if d.GetStatus().GetCode() < 200 {
				t.Fatalf("HTTP status is %d", d.GetStatus().GetCode())
			}
			var want []HeaderValue
			for _, h := range hs {
				if h.Value != "" && ValidHeader(h.Name, h.Value) {
					want = append(want, h)
				}
			}
			if !slices.EqualFunc(d.GetHeaders(), options(want...), func(a, b *corev3.HeaderValueOption) bool { return proto.Equal(a, b) }) {
				t.Fatalf("headers are %v, want %v", d.GetHeaders(), want)
			}
			if d.GetBody() != strings.ToValidUTF8(body, "\uFFFD") || !utf8.ValidString(d.GetBody()) {
				t.Fatalf("body is %q", d.GetBody())
			}
			if !proto.Equal(m.GetDynamicMetadata(), wantMD) {
				t.Fatalf("metadata is %v", m.GetDynamicMetadata())
			}
			noControls(t, d.GetHeaders())
		}
		b, allowed := AppendAllowed(nil, &Allow{Headers: hs[:1], RemoveHeaders: []string{n2}, Metadata: md})
		m := decode(t, b)
		if allowed != (ValidHeader(n1, v1) && ValidHeader(n2, "")) || allowed != (m.GetStatus().GetCode() == 0) {
			t.Fatalf("allowed is %v, status %d", allowed, m.GetStatus().GetCode())
		}
		if !allowed {
			return
		}
		want := allow(wantMD, []string{n2}, hs[0])
		if v1 == "" {
			want = allow(wantMD, []string{n1, n2})
		}
		if !proto.Equal(m, want) {
			t.Fatalf("got %s\nwant %s", prototext.Format(m), prototext.Format(want))
		}
		noControls(t, m.GetOkResponse().GetHeaders())
	})
}

func noControls(t *testing.T, hs []*corev3.HeaderValueOption) {
	t.Helper()
	for _, h := range hs {
		if strings.ContainsAny(h.GetHeader().GetKey()+h.GetHeader().GetValue(), "\r\n\x00") {
			t.Fatalf("header %q has a control byte", h)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	prepared, _ := Prepare(nil, []string{"x-user", "x-roles"}, []MetadataValue{{"bundle", "7"}})
	a := &Allow{prepared, []HeaderValue{{"x-user", "alice"}, {"x-roles", "user,manager"}}, []string{"cookie"}, []MetadataValue{{"id", "42"}, {"policy", "orders"}}}
	denied := Denied(7, 403, nil, "no", nil)
	buf := make([]byte, 0, 1024)
	allocs := testing.AllocsPerRun(100, func() {
		buf, _ = AppendAllowed(buf[:0], a)
		buf = denied.Append(buf[:0], a.Metadata)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkAppendAllowed(b *testing.B) {
	prepared, _ := Prepare(nil, []string{"x-user", "x-roles"}, []MetadataValue{{"bundle", "7"}})
	a := &Allow{prepared, []HeaderValue{{"x-user", "alice"}, {"x-roles", "user,manager"}}, nil, []MetadataValue{{"id", "42"}, {"policy", "orders"}}}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendAllowed(buf[:0], a)
	}
}
