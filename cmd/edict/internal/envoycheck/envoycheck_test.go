package envoycheck_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"edict/cmd/edict/internal/envoycheck"
	"edict/engine/value"
	"edict/extauthz"
	"edict/extauthz/wire"
)

func TestMessage(t *testing.T) {
	r := envoycheck.Request{
		Target: "https://API.example:8443/a%2fb?x=1&x=2", Headers: []string{"X-One:  1 ", "x-one: 2"}, Body: []byte(`{"a": 1}`),
		Extensions: map[string]string{"k": "v"}, Source: "192.0.2.1:99", SourcePrincipal: "spiffe://td/a", SourceCertificate: "-----BEGIN +/=",
		Destination: "unix:/run/x", SNI: "api.example", Time: time.Unix(7, 0),
	}
	r.AddMetadata("ns", "jwt", map[string]any{"sub": "alice"})
	m, err := r.Message()
	if err != nil {
		t.Fatal(err)
	}
	at, http := m.GetAttributes(), m.GetAttributes().GetRequest().GetHttp()
	if http.Method != "POST" || http.Path != "/a%2fb?x=1&x=2" || http.Host != "API.example:8443" || http.Scheme != "https" || string(http.RawBody) != `{"a": 1}` {
		t.Errorf("the request is %v", http)
	}
	var lines []string
	for _, h := range http.GetHeaderMap().GetHeaders() {
		lines = append(lines, h.Key+"="+string(h.RawValue))
	}
	if want := []string{":authority=API.example:8443", ":path=/a%2fb?x=1&x=2", ":method=POST", ":scheme=https", "x-one=1", "x-one=2",
		"content-type=application/json", "content-length=8", "x-envoy-auth-partial-body=false"}; !slices.Equal(lines, want) {
		t.Errorf("the headers are %q", lines)
	}
	if at.Source.GetAddress().GetSocketAddress().GetPortValue() != 99 || at.Source.Principal != "spiffe://td/a" || strings.Contains(at.Source.Certificate, "+/") ||
		at.Destination.GetAddress().GetPipe().GetPath() != "/run/x" || at.TlsSession.GetSni() != "api.example" || at.Request.Time.AsTime().Unix() != 7 ||
		at.ContextExtensions["k"] != "v" || at.MetadataContext.GetFilterMetadata()["ns"].GetFields()["jwt"].GetStructValue().GetFields()["sub"].GetStringValue() != "alice" {
		t.Errorf("the rest is %v", at)
	}
	for _, bad := range []envoycheck.Request{{}, {Target: "/x", Headers: []string{"a b: c"}}, {Target: "/x", Source: "here"}, {Target: "/x", Source: "1.2.3.4:x"},
		{Target: "/x", Metadata: map[string]map[string]any{"n": {"x": make(chan int)}}}} {
		if m, err := bad.Message(); err == nil {
			t.Errorf("%+v gives %v", bad, m)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	denied, err := envoycheck.ReadAnswer(wire.Denied(7, 404, []wire.HeaderValue{{Name: "x-a", Value: "b"}}, "no", []wire.MetadataValue{{Key: "reason", Value: value.OfString("deny")}}).Bytes())
	if err != nil || denied.Allowed || denied.Status != 404 || denied.Code != 7 || denied.Body != "no" || denied.Metadata["reason"] != "deny" {
		t.Errorf("a denial is %+v, %v", denied, err)
	}
	if v, ok := denied.Response("x-a"); !ok || v != "b" {
		t.Error("its header is missing")
	}
	b, _ := wire.AppendAllowed(nil, &wire.Allow{Headers: []wire.HeaderValue{{Name: "x-who", Value: "alice"}}, RemoveHeaders: []string{"x-no"}})
	allowed, err := envoycheck.ReadAnswer(b)
	if err != nil || !allowed.Allowed || !slices.Equal(allowed.RemovedHeaders, []string{"x-no"}) {
		t.Errorf("an allow is %+v, %v", allowed, err)
	}
	if v, ok := allowed.Upstream("x-who"); !ok || v != "alice" {
		t.Error("its header is missing")
	}
	if a, err := envoycheck.ReadAnswer([]byte{0xff}); err == nil {
		t.Errorf("rubbish is %+v", a)
	}
}

func checkRequest(t testing.TB) *authv3.CheckRequest {
	r := envoycheck.Request{
		Target:  "/a?id=1&Access_Token=s3cret&x=2",
		Headers: []string{"Authorization: Bearer s3cret", "authorization: s3cret", "Cookie: a=s3cret", "X-Session-Id: s3cret", "X-Custom: s3cret", "Accept: text/html", "Referer: https://x/?code=1&api_key=s3cret"},
		Body:    []byte("s3cret"),
	}
	r.AddMetadata("ns", "jwt", map[string]any{"sub": "alice", "email": "s3cret", "deep": map[string]any{"list": []any{map[string]any{"email": "s3cret"}}}})
	m, err := r.Message()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRedact(t *testing.T) {
	in := checkRequest(t)
	in.Attributes.Request.Http.Headers = map[string]string{"cookie": "s3cret", ":path": in.Attributes.Request.Http.Path, "x-ok": "fine"}
	before := proto.Clone(in)
	d := envoycheck.Redactor{Headers: []string{"x-custom"}, Claims: []string{"email"}}
	out, taken := d.Redact(in)
	if !proto.Equal(in, before) {
		t.Error("the check itself was changed")
	}
	if holds(out, "s3cret") {
		t.Errorf("a credential is left: %v", out)
	}
	for _, kept := range []string{"alice", "text/html", "Bearer", "id=1", "fine"} {
		if !holds(out, kept) {
			t.Errorf("%q was taken, too", kept)
		}
	}
	slices.Sort(taken)
	if want := []string{"body", "claim email", "header authorization", "header cookie", "header x-custom", "header x-session-id", "query Access_Token", "query api_key"}; !slices.Equal(taken, want) {
		t.Errorf("it says that it took %q", taken)
	}
	d.Bodies = true
	if out, _ := d.Redact(in); string(out.GetAttributes().GetRequest().GetHttp().GetRawBody()) != "s3cret" {
		t.Error("the body was to be kept")
	}
}

// holds tells whether a text is anywhere in a message.
func holds(m proto.Message, text string) bool {
	b, _ := proto.Marshal(m)
	return strings.Contains(string(b), text)
}

func TestReadAndWrite(t *testing.T) {
	r := &envoycheck.Record{At: time.Unix(1_700_000_000, 0).UTC(), Request: checkRequest(t), Redacted: []string{"body"}, Outcome: "deny", Route: "a/b", Revision: "r1"}
	b, err := r.Write()
	if err != nil {
		t.Fatal(err)
	}
	got, err := envoycheck.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got.Request, r.Request) {
		t.Errorf("the request is %v", got.Request)
	}
	got.Request, r.Request = nil, nil
	if !reflect.DeepEqual(got, r) {
		t.Errorf("got %+v, want %+v", got, r)
	}
	bare, err := protojson.Marshal(checkRequest(t))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := envoycheck.Read(bare); err != nil || !proto.Equal(got.Request, checkRequest(t)) || got.Outcome != "" {
		t.Errorf("a bare request is %+v, %v", got, err)
	}
	for _, bad := range []string{"", "[]", "{", `{"attributes": 1}`, `{"nope": 1}`, `{"apiVersion": "edict.dev/v1"}`, `{"recordedCheck": {}}`,
		`{"apiVersion": "edict.dev/v1", "recordedCheck": {}}`, `{"apiVersion": "edict.dev/v1", "recordedCheck": {"request": {}, "x": 1}}`} {
		if r, err := envoycheck.Read([]byte(bad)); err == nil {
			t.Errorf("%s is read as %+v", bad, r)
		}
	}
}

// Whatever is in a file, it is a check or an error; and a check that is
// redacted, written and read holds no header called authorization.
func FuzzRead(f *testing.F) {
	bare, _ := protojson.Marshal(checkRequest(f))
	f.Add(bare)
	b, _ := (&envoycheck.Record{Request: checkRequest(f)}).Write()
	f.Add(b)
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := envoycheck.Read(content)
		if (r == nil) == (err == nil) {
			t.Fatal(r, err)
		}
		if err != nil {
			return
		}
		r.Request, r.Redacted = (&envoycheck.Redactor{}).Redact(r.Request)
		for _, h := range r.Request.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
			if strings.EqualFold(h.GetKey(), "authorization") && !strings.HasSuffix(string(h.GetRawValue()), "[redacted]") {
				t.Fatal(h)
			}
		}
		if b, err := r.Write(); err == nil {
			if _, err := envoycheck.Read(b); err != nil {
				t.Fatalf("what was written can't be read: %v\n%s", err, b)
			}
		}
	})
}

// A credential is taken out wherever a source of identity reads one, and in
// whatever spelling its name has.
func TestRedactWhatSourcesRead(t *testing.T) {
	var d envoycheck.Redactor
	d.Know([]extauthz.Source{
		{APIKeys: &extauthz.APIKeys{From: []extauthz.TokenPlace{{Header: "x-robot"}, {Query: "r"}}}},
		{JWT: &extauthz.JWT{From: []extauthz.TokenPlace{{Header: "x-person", Prefix: "Bearer"}}}},
	})
	path := "/a?r=s3cret&%72=s3cret&%74oken=s3cret&a=1;access_%74oken=s3cret&key=s3cret&x=fine"
	r := envoycheck.Request{Target: path, Headers: []string{
		"X-Robot: s3cret", "X-Person: Bearer s3cret", "X-Original-Url: " + path, "X-Forwarded-Uri: " + path,
		"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.s3cret", "X-Some-Key: s3cret",
	}}
	in, err := r.Message()
	if err != nil {
		t.Fatal(err)
	}
	in.Attributes.Request.Http.Headers = map[string]string{"x-robot": "s3cret", "x-original-url": path, "x-some-key": "s3cret"}
	out, taken := d.Redact(in)
	if holds(out, "s3cret") || !holds(out, "x=fine") {
		t.Errorf("what is left is %v; it says that it took %q", out, taken)
	}
}
