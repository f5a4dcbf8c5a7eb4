package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"edict/engine/value"
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

// textsOf gives metadata of keys and texts.
func textsOf(kv ...string) (out []MetadataValue) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, TextValue(kv[i], kv[i+1]))
	}
	return out
}

// nestedValue gives a value of maps and lists, as many levels as asked for.
func nestedValue(levels int) value.Value {
	v := value.OfNull()
	for i := range levels {
		if i%2 == 0 {
			v = value.OfMapping(value.Values{"k": v})
		} else {
			v = value.OfSequence(value.Slice{v})
		}
	}
	return v
}

func TestZeroResponseDenies(t *testing.T) {
	var r Response
	wantMessage(t, r.Bytes(), deny(7, 403, ""))
	wantMessage(t, r.Append(nil, nil, nil), deny(7, 403, ""))
	wantMessage(t, r.Append(nil, nil, textsOf("id", "1")), with(deny(7, 403, ""), metadataOf("id", "1")))
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
		{"full", Denied(16, 302, []HeaderValue{location, {"set-cookie", "a=1"}, {"set-cookie", "b=2"}}, "moved", textsOf("policy", "p", "rule", "")),
			with(deny(16, 302, "moved", location, HeaderValue{"set-cookie", "a=1"}, HeaderValue{"set-cookie", "b=2"}), metadataOf("policy", "p", "rule", ""))},
		{"lengths of two bytes", Denied(7, 403, []HeaderValue{{"x-long", long}}, long, textsOf(long, long)),
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
		{"body not UTF-8", Denied(7, 403, nil, "a\xffb", textsOf("k\xff", "\xff")), with(deny(7, 403, "a\uFFFDb"), metadataOf("k\uFFFD", "\uFFFD"))},
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
	r := Denied(7, 403, nil, "no", textsOf("policy", "p", "id", "?"))
	dst := []byte("before")
	got := r.Append(dst, nil, textsOf("id", "42"))
	if !bytes.HasPrefix(got, dst) {
		t.Fatal("what was in dst is gone")
	}
	wantMessage(t, got[len(dst):], with(deny(7, 403, "no"), metadataOf("policy", "p", "id", "42")))
	wantMessage(t, r.Append(nil, nil, nil), with(deny(7, 403, "no"), metadataOf("policy", "p", "id", "?")))
	wantMessage(t, Denied(7, 403, nil, "no", nil).Append(nil, nil, textsOf("id", "42")), with(deny(7, 403, "no"), metadataOf("id", "42")))
	if !bytes.Equal(r.Append(nil, nil, nil), r.Bytes()) {
		t.Error("Append with no more metadata differs from Bytes")
	}
}

func TestAppendAddsHeaders(t *testing.T) {
	id, bad := HeaderValue{"x-id", "42"}, []HeaderValue{{"a", "b\r\nc: d"}, {"empty", ""}}
	wantMessage(t, Response{}.Append(nil, []HeaderValue{id}, textsOf("k", "v")), with(deny(7, 403, "", id), metadataOf("k", "v")))
	for _, body := range []string{"", "no", strings.Repeat("b", 120), strings.Repeat("b", 20_000)} {
		r := Denied(16, 401, []HeaderValue{{"x-a", "1"}}, body, textsOf("p", "q"))
		wantMessage(t, r.Append([]byte{}, append(bad, id), nil), with(deny(16, 401, body, HeaderValue{"x-a", "1"}, id), metadataOf("p", "q")))
		if !bytes.Equal(r.Append(nil, bad, nil), r.Bytes()) {
			t.Error("what is not valid changes the message")
		}
	}
}

func TestAllowed(t *testing.T) {
	prepared, ok := Prepare(&Allow{Headers: []HeaderValue{{"x-bundle", "7"}, {"x-stale", ""}}, RemoveHeaders: []string{"x-user"}, Metadata: textsOf("policy", "p", "id", "?")})
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
		{"full", &Allow{Prepared: prepared, Headers: []HeaderValue{{"x-sub", "alice"}, {"x-empty", ""}}, RemoveHeaders: []string{"authorization"}, Metadata: textsOf("id", "42")},
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

// Every field that an allow can have, against the generated types.
func TestMutations(t *testing.T) {
	got, allowed := AppendAllowed(nil, &Allow{
		Headers:       []HeaderValue{{"x-set", "1"}},
		AppendHeaders: []HeaderValue{{"x-more", "2"}},
		ResponseHeaders: []ResponseHeader{
			{"x-a", "1", Overwrite}, {"x-b", "2", Append}, {"x-c", "3", AddIfAbsent}, {"x-d", "4", OverwriteIfExists}, {"x-empty", "", Append},
		},
		SetQuery:    []Parameter{{"tenant", "acme"}, {"a b", "\u00e4&=+~"}, {"empty", ""}, {"long", strings.Repeat("x", 200)}},
		RemoveQuery: []string{"debug", "%64ebug", "a+b"},
	})
	if !allowed {
		t.Fatal("refused")
	}
	more := options(HeaderValue{"x-more", "2"})[0]
	//lint:ignore SA1019 Envoy before 1.37 obeys this field alone
	more.Append = wrapperspb.Bool(true)
	more.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	want := allow(nil, nil, HeaderValue{"x-set", "1"})
	ok := want.GetOkResponse()
	ok.Headers = append(ok.Headers, more)
	for i, action := range []corev3.HeaderValueOption_HeaderAppendAction{
		corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
		corev3.HeaderValueOption_ADD_IF_ABSENT, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS,
	} {
		ok.ResponseHeadersToAdd = append(ok.ResponseHeadersToAdd, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: "x-" + string(rune('a'+i)), Value: string(rune('1' + i))}, AppendAction: action,
		})
	}
	for _, p := range [][2]string{{"tenant", "acme"}, {"a%20b", "%C3%A4%26%3D%2B~"}, {"empty", ""}, {"long", strings.Repeat("x", 200)}} {
		ok.QueryParametersToSet = append(ok.QueryParametersToSet, &corev3.QueryParameter{Key: p[0], Value: p[1]})
	}
	ok.QueryParametersToRemove = []string{"debug", "%64ebug", "a+b"}
	wantMessage(t, got, want)
}

// Values of every kind, against the generated types.
func TestMetadataKinds(t *testing.T) {
	values := map[string]any{
		"null": nil, "true": true, "false": false, "number": -1.5, "text": "t", "empty": "",
		"list": []any{1.0, "a", []any{}, map[string]any{"k": nil}},
		"map":  map[string]any{"a": map[string]any{"b": []any{true, "\u00e4"}}, "long": strings.Repeat("x", 300)},
		"none": map[string]any{},
	}
	want, err := structpb.NewStruct(values)
	if err != nil {
		t.Fatal(err)
	}
	var md []MetadataValue
	for k, v := range values {
		md = append(md, MetadataValue{k, value.Of(v)})
	}
	md = append(md, MetadataValue{"int", value.OfInt(-7)}, MetadataValue{"uint", value.OfUint(7)}, MetadataValue{"deep", nestedValue(MaxMetadataDepth)})
	want.Fields["int"], want.Fields["uint"] = structpb.NewNumberValue(-7), structpb.NewNumberValue(7)
	if want.Fields["deep"], err = structpb.NewValue(nestedValue(MaxMetadataDepth).Native()); err != nil {
		t.Fatal(err)
	}
	got, allowed := AppendAllowed(nil, &Allow{Metadata: md})
	if !allowed {
		t.Fatal("refused")
	}
	wantMessage(t, got, allow(want, nil))
	// A denial does without what is not valid.
	bad := []MetadataValue{{"bad", nestedValue(MaxMetadataDepth + 1)}, {"worse", value.OfTime(time.Now())}}
	wantMessage(t, Denied(7, 403, nil, "", append(bad, md...)).Append(nil, nil, bad), with(deny(7, 403, ""), want))
}

func TestInvalidAllowDenies(t *testing.T) {
	for name, a := range map[string]*Allow{
		"nil":                nil,
		"header value":       {Headers: []HeaderValue{{"x-ok", "1"}, {"x-user", "a\r\nx-admin: 1"}}},
		"header name":        {Headers: []HeaderValue{{"x user", "a"}}},
		"removed name":       {RemoveHeaders: []string{"x-ok", "a\nb"}},
		"removed pseudo":     {RemoveHeaders: []string{":path"}},
		"not ASCII":          {Headers: []HeaderValue{{"x-user", "jürgen"}}},
		"token too long":     {Token: HeaderValue{"x-token", strings.Repeat("a", MaxTokenLen+1)}},
		"token without name": {Token: HeaderValue{"", "a"}},
		"token without text": {Token: HeaderValue{"x-token", ""}},
		"too long":           {Headers: []HeaderValue{{"x-user", strings.Repeat("a", MaxHeaderLen+1)}}},
		"empty, but no name": {Headers: []HeaderValue{{"", ""}}},
		"appended":           {AppendHeaders: []HeaderValue{{"x-user", "a\nb"}}},
		"appended nothing":   {AppendHeaders: []HeaderValue{{"x-user", ""}}},
		"response header":    {ResponseHeaders: []ResponseHeader{{"x-user", "a\x00b", Overwrite}}},
		"response action":    {ResponseHeaders: []ResponseHeader{{"x-user", "a", actionCount}}},
		"parameter name":     {SetQuery: []Parameter{{"", "x"}}},
		"parameter too long": {SetQuery: []Parameter{{"x", strings.Repeat(" ", MaxHeaderLen/3+1)}}},
		"removed parameter":  {RemoveQuery: []string{"a&b"}},
		"removed, not ASCII": {RemoveQuery: []string{"\u00e4"}},
		"removed, no name":   {RemoveQuery: []string{""}},
		"metadata too deep":  {Metadata: []MetadataValue{{"d", nestedValue(MaxMetadataDepth + 1)}}},
		"metadata, no JSON":  {Metadata: []MetadataValue{{"d", value.OfError(errors.New("failed"))}}},
		"metadata, no value": {Metadata: []MetadataValue{{Key: "d"}}},
		"metadata infinite":  {Metadata: []MetadataValue{{"d", value.OfSequence(value.Slice{value.OfDouble(math.Inf(1))})}}},
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
	if p, ok := Prepare(&Allow{Headers: []HeaderValue{{"a", "\x00"}}}); ok || p.ok != nil {
		t.Error("Prepare accepted a header that is not valid")
	}
	if _, ok := Prepare(&Allow{RemoveHeaders: []string{""}}); ok {
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
		md := textsOf(key, val)
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

// An allow parses whatever goes in. Parameters arrive as they were after
// decoding, and metadata as JSON reads it.
func FuzzAllowed(f *testing.F) {
	f.Add("x-user", "alice", "x-b", "1", uint8(1), "tenant", "a b", "%64ebug", `{"a": [1, null, {"b": "c"}]}`)
	f.Add("a\r\n", "\x00", ":path", "/", uint8(9), "", "\xff", "a=b", `[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]`)
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string, action uint8, name, text, removed, metadata string) {
		var plain any
		if json.Unmarshal([]byte(metadata), &plain) != nil {
			plain = metadata
		}
		a := &Allow{
			AppendHeaders: []HeaderValue{{n1, v1}}, ResponseHeaders: []ResponseHeader{{n2, v2, Action(action)}},
			SetQuery: []Parameter{{name, text}}, RemoveQuery: []string{removed}, Metadata: []MetadataValue{{"m", value.Of(plain)}},
		}
		b, allowed := AppendAllowed(nil, a)
		m := decode(t, b)
		prepared, valid := Prepare(a)
		if valid != allowed || allowed != (m.GetStatus().GetCode() == 0) {
			t.Fatalf("allowed is %v, prepared %v, status %d", allowed, valid, m.GetStatus().GetCode())
		}
		if !allowed {
			return
		}
		if again, ok := AppendAllowed(nil, &Allow{Prepared: prepared}); !ok || !proto.Equal(decode(t, again), m) {
			t.Fatalf("prepared it differs: %v", decode(t, again))
		}
		ok := m.GetOkResponse()
		noControls(t, ok.GetHeaders())
		noControls(t, ok.GetResponseHeadersToAdd())
		p := ok.GetQueryParametersToSet()[0]
		gotName, err1 := url.QueryUnescape(p.GetKey())
		gotText, err2 := url.QueryUnescape(p.GetValue())
		if err1 != nil || err2 != nil || gotName != name || gotText != text || strings.ContainsAny(p.GetKey()+p.GetValue(), "&=+#;? ") {
			t.Fatalf("the parameter %q=%q is sent as %v", name, text, p)
		}
		if got := ok.GetQueryParametersToRemove(); len(got) != 1 || got[0] != removed {
			t.Fatalf("removes %q, want %q", got, removed)
		}
		if text, isText := plain.(string); isText {
			plain = strings.ToValidUTF8(text, "\uFFFD")
		}
		want, err := structpb.NewValue(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.GetDynamicMetadata().GetFields()["m"]; !proto.Equal(got, want) {
			t.Fatalf("metadata is %v, want %v", got, want)
		}
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
	prepared, _ := Prepare(&Allow{RemoveHeaders: []string{"x-user", "x-roles"}, Metadata: textsOf("bundle", "7")})
	a := &Allow{Prepared: prepared, Headers: []HeaderValue{{"x-user", "alice"}, {"x-roles", "user,manager"}}, RemoveHeaders: []string{"cookie"},
		ResponseHeaders: []ResponseHeader{{"vary", "authorization", Append}}, SetQuery: []Parameter{{"tenant", "a b"}}, RemoveQuery: []string{"debug"},
		Metadata: append(textsOf("id", "42", "policy", "orders"), MetadataValue{"limit", value.OfDouble(2)})}
	denied := Denied(7, 403, nil, "no", nil)
	buf := make([]byte, 0, 1024)
	allocs := testing.AllocsPerRun(100, func() {
		buf, _ = AppendAllowed(buf[:0], a)
		buf = denied.Append(buf[:0], a.Headers, a.Metadata)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkAppendAllowed(b *testing.B) {
	prepared, _ := Prepare(&Allow{RemoveHeaders: []string{"x-user", "x-roles"}, Metadata: textsOf("bundle", "7")})
	a := &Allow{Prepared: prepared, Headers: []HeaderValue{{"x-user", "alice"}, {"x-roles", "user,manager"}}, Metadata: textsOf("id", "42", "policy", "orders")}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = AppendAllowed(buf[:0], a)
	}
}
