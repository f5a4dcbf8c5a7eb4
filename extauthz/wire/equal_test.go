package wire

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine/value"
)

// checkEqual fails unless r reads b as the protobuf library does: both refuse
// it, or every accessor gives what the decoded message holds. It tells whether
// the message was accepted.
func checkEqual(t *testing.T, r *Request, b []byte) bool {
	t.Helper()
	before := bytes.Clone(b)
	var m authv3.CheckRequest
	wantErr := proto.Unmarshal(b, &m)
	err := r.Reset(b)
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("Reset says %v, the protobuf library says %v\nmessage: %x", err, wantErr, b)
	}
	if err != nil {
		m.Reset() // after an error r must be empty
	}
	if diff := difference(r, &m); diff != "" {
		t.Fatalf("%s\nmessage: %x", diff, b)
	}
	if !bytes.Equal(b, before) {
		t.Fatalf("the message's bytes were changed\nmessage: %x", before)
	}
	return err == nil
}

// difference tells where r differs from the decoded message, "" if nowhere.
func difference(r *Request, m *authv3.CheckRequest) string {
	a := m.GetAttributes()
	h := a.GetRequest().GetHttp()
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"HasHTTP", r.HasHTTP(), h != nil},
		{"ID", r.ID(), h.GetId()},
		{"Method", r.Method(), h.GetMethod()},
		{"Path", r.Path(), h.GetPath()},
		{"Host", r.Host(), h.GetHost()},
		{"Scheme", r.Scheme(), h.GetScheme()},
		{"Query", r.Query(), h.GetQuery()},
		{"Fragment", r.Fragment(), h.GetFragment()},
		{"Protocol", r.Protocol(), h.GetProtocol()},
		{"Size", r.Size(), h.GetSize()},
		{"RawHeaders", r.RawHeaders(), h.GetHeaderMap() != nil},
		{"SNI", r.SNI(), a.GetTlsSession().GetSni()},
	} {
		if c.got != c.want {
			return fmt.Sprintf("%s is %#v, want %#v", c.what, c.got, c.want)
		}
	}
	body := h.GetRawBody()
	if len(body) == 0 {
		body = []byte(h.GetBody())
	}
	if got, raw := r.Body(); !bytes.Equal(got, body) || raw != (len(h.GetRawBody()) > 0) {
		return fmt.Sprintf("Body is %q, raw %v, want %q", got, raw, body)
	}
	ts := a.GetRequest().GetTime()
	if got, ok := r.Time(); ok != (ts != nil && ts.IsValid()) || ok && !got.Equal(ts.AsTime()) {
		return fmt.Sprintf("Time is %v, %v, want %v", got, ok, ts)
	}
	if diff := headersDifference(r, h); diff != "" {
		return diff
	}
	if diff := textsDifference("context extensions", r.ContextExtensions, r.ContextExtension, a.GetContextExtensions()); diff != "" {
		return diff
	}
	if diff := peerDifference("Source", r.Source(), a.GetSource()); diff != "" {
		return diff
	}
	if diff := peerDifference("Destination", r.Destination(), a.GetDestination()); diff != "" {
		return diff
	}
	if diff := metadataDifference("FilterMetadata", r.FilterMetadata, r.FilterMetadataNamespaces, a.GetMetadataContext()); diff != "" {
		return diff
	}
	return metadataDifference("RouteMetadata", r.RouteMetadata, r.RouteMetadataNamespaces, a.GetRouteMetadataContext())
}

func headersDifference(r *Request, h *authv3.AttributeContext_HttpRequest) string {
	type header struct{ name, value string }
	var want, got []header
	for _, v := range h.GetHeaderMap().GetHeaders() {
		if len(v.GetRawValue()) > 0 {
			want = append(want, header{v.GetKey(), string(v.GetRawValue())})
		} else {
			want = append(want, header{v.GetKey(), v.GetValue()})
		}
	}
	raw := len(want)
	for _, k := range slices.Sorted(maps.Keys(h.GetHeaders())) {
		want = append(want, header{k, h.GetHeaders()[k]})
	}
	for n, v := range r.Headers {
		got = append(got, header{n, v})
	}
	if len(got) >= raw { // the order of a map is the message's
		slices.SortFunc(got[raw:], func(a, b header) int { return bytes.Compare([]byte(a.name), []byte(b.name)) })
	}
	if !slices.Equal(got, want) {
		return fmt.Sprintf("Headers gives %q, want %q", got, want)
	}
	names := []string{"", "no such header"}
	for _, w := range want {
		names = append(names, w.name)
	}
	for _, name := range names {
		first, count := "", 0
		for _, w := range want {
			if w.name == name {
				if count == 0 {
					first = w.value
				}
				count++
			}
		}
		if v, n := r.Header(name); v != first || n != count {
			return fmt.Sprintf("Header(%q) is %q, %d, want %q, %d", name, v, n, first, count)
		}
	}
	return ""
}

func textsDifference(what string, all func(func(k, v string) bool), get func(string) (string, bool), want map[string]string) string {
	got := map[string]string{}
	n := 0
	for k, v := range all {
		got[k] = v
		n++
	}
	if !maps.Equal(got, want) || n != len(want) {
		return fmt.Sprintf("%s are %q (%d), want %q", what, got, n, want)
	}
	for k := range want {
		if v, ok := get(k); v != want[k] || !ok {
			return fmt.Sprintf("%s: %q is %q, %v, want %q", what, k, v, ok, want[k])
		}
	}
	if v, ok := get("no such key"); ok {
		return fmt.Sprintf("%s: a missing key is %q", what, v)
	}
	return ""
}

func peerDifference(what string, p Peer, want *authv3.AttributeContext_Peer) string {
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"Address", p.Address(), want.GetAddress().GetSocketAddress().GetAddress()},
		{"Port", p.Port(), want.GetAddress().GetSocketAddress().GetPortValue()},
		{"Pipe", p.Pipe(), want.GetAddress().GetPipe().GetPath()},
		{"Service", p.Service(), want.GetService()},
		{"Principal", p.Principal(), want.GetPrincipal()},
		{"Certificate", p.Certificate(), want.GetCertificate()},
	} {
		if c.got != c.want {
			return fmt.Sprintf("%s().%s is %#v, want %#v", what, c.what, c.got, c.want)
		}
	}
	return textsDifference(what+" labels", p.Labels, p.Label, want.GetLabels())
}

func metadataDifference(what string, get func(string) (value.Mapping, bool), all func(func(string) bool), want *corev3.Metadata) string {
	var got []string
	for ns := range all {
		got = append(got, ns)
	}
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(maps.Keys(want.GetFilterMetadata()))) {
		return fmt.Sprintf("%s has the namespaces %q, want those of %v", what, got, want)
	}
	for ns, s := range want.GetFilterMetadata() {
		m, ok := get(ns)
		if !ok {
			return fmt.Sprintf("%s(%q) is missing", what, ns)
		}
		if diff := structDifference(m, s); diff != "" {
			return fmt.Sprintf("%s(%q)%s", what, ns, diff)
		}
	}
	if m, ok := get("no such namespace"); ok || m != nil {
		return what + " has a namespace that is not there"
	}
	return ""
}

func structDifference(m value.Mapping, want *structpb.Struct) string {
	n := 0
	var diff string
	m.Range(func(k string, v value.Value) bool {
		n++
		w, ok := want.GetFields()[k]
		if !ok {
			diff = fmt.Sprintf(": %q should not be there", k)
			return false
		}
		if d := valueDifference(v, w); d != "" {
			diff = fmt.Sprintf(".%q%s", k, d)
			return false
		}
		if v, ok := m.Lookup(k); !ok || v.Kind() == value.Map && v.Mapping().Len() != len(w.GetStructValue().GetFields()) {
			diff = fmt.Sprintf(": Lookup(%q) gives %v, %v", k, v, ok)
			return false
		}
		return true
	})
	if diff == "" && (n != len(want.GetFields()) || m.Len() != n) {
		diff = fmt.Sprintf(": %d keys in Range, Len %d, want %d", n, m.Len(), len(want.GetFields()))
	}
	return diff
}

func valueDifference(v value.Value, want *structpb.Value) string {
	var w value.Value
	switch k := want.GetKind().(type) {
	case *structpb.Value_BoolValue:
		w = value.OfBool(k.BoolValue)
	case *structpb.Value_NumberValue:
		w = value.OfDouble(k.NumberValue)
	case *structpb.Value_StringValue:
		w = value.OfString(k.StringValue)
	case *structpb.Value_StructValue:
		if v.Kind() != value.Map {
			return fmt.Sprintf(" is %v, want a map", v)
		}
		return structDifference(v.Mapping(), k.StructValue)
	case *structpb.Value_ListValue:
		if v.Kind() != value.List || v.Sequence().Len() != len(k.ListValue.GetValues()) {
			return fmt.Sprintf(" is %v, want a list of %d", v, len(k.ListValue.GetValues()))
		}
		for i, e := range k.ListValue.GetValues() {
			if d := valueDifference(v.Sequence().At(i), e); d != "" {
				return fmt.Sprintf("[%d]%s", i, d)
			}
		}
		return ""
	default:
		w = value.OfNull()
	}
	if v.Kind() != w.Kind() || v.Str() != w.Str() || v.Bool() != w.Bool() || math.Float64bits(v.Double()) != math.Float64bits(w.Double()) {
		return fmt.Sprintf(" is %v, want %v", v, w)
	}
	return ""
}

// A generator writes random messages that follow a descriptor mostly, and
// break its rules now and then.
type generator struct {
	*rand.Rand
	oddity float64 // how often a rule is broken, 0 to 1
}

func (g *generator) odd() bool { return g.Float64() < g.oddity }

func (g *generator) message(md protoreflect.MessageDescriptor, depth int) []byte {
	var b []byte
	fields := md.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		n := 1
		switch {
		case fd.ContainingOneof() != nil:
			n = 0 // below
		case fd.IsList() || fd.IsMap():
			n = g.IntN(4)
		case g.IntN(4) == 0:
			n = 0
		}
		if g.odd() {
			n = g.IntN(3)
		}
		for range n {
			b = g.field(b, fd, depth)
		}
	}
	for i := range md.Oneofs().Len() {
		members := md.Oneofs().Get(i).Fields()
		b = g.field(b, members.Get(g.IntN(members.Len())), depth)
		for g.odd() {
			b = g.field(b, members.Get(g.IntN(members.Len())), depth)
		}
	}
	for g.odd() {
		b = g.unknown(b, protowire.Number(g.IntN(40)), 3)
	}
	if g.rare() && len(b) > 0 {
		if g.IntN(2) == 0 {
			b = b[:g.IntN(len(b))]
		} else {
			b[g.IntN(len(b))] ^= 1 << g.IntN(8)
		}
	}
	return b
}

func (g *generator) field(b []byte, fd protoreflect.FieldDescriptor, depth int) []byte {
	if g.odd() {
		return g.unknown(b, fd.Number(), 3)
	}
	typ := protowire.BytesType
	switch fd.Kind() {
	case protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind:
		typ = protowire.VarintType
	case protoreflect.DoubleKind:
		typ = protowire.Fixed64Type
	}
	b = g.varint(b, uint64(fd.Number())<<3|uint64(typ))
	switch fd.Kind() {
	case protoreflect.MessageKind:
		if depth <= 0 {
			return g.varint(b, 0)
		}
		return g.bytes(b, g.message(fd.Message(), depth-1))
	case protoreflect.StringKind, protoreflect.BytesKind:
		s := g.text()
		if g.odd() {
			s += "\xff"
		}
		return g.bytes(b, []byte(s))
	case protoreflect.DoubleKind:
		return protowire.AppendFixed64(b, math.Float64bits(g.NormFloat64()))
	default:
		return g.varint(b, g.Uint64()>>g.IntN(64))
	}
}

func (g *generator) text() string {
	switch g.IntN(8) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("key-%d", g.Uint32())
	case 2:
		return fmt.Sprintf("%0*d", 100+g.IntN(100), 7)
	case 3:
		return "schön"
	default:
		return []string{"a", "b", "ab", "cookie", "x-request-id", "jwt"}[g.IntN(6)]
	}
}

// rare is true a fraction of the times that odd is.
func (g *generator) rare() bool {
	first, second := g.odd(), g.odd()
	return first && second
}

func (g *generator) varint(b []byte, v uint64) []byte {
	b = protowire.AppendVarint(b, v)
	if g.rare() {
		for range 1 + g.IntN(9) { // longer than it need be, perhaps too long
			b[len(b)-1] |= 0x80
			b = append(b, 0)
		}
	}
	return b
}

func (g *generator) bytes(b, v []byte) []byte {
	n := uint64(len(v))
	if g.rare() {
		n++
	}
	return append(g.varint(b, n), v...)
}

func (g *generator) unknown(b []byte, num protowire.Number, depth int) []byte {
	typ := protowire.Type(g.IntN(6))
	if typ == protowire.EndGroupType && g.IntN(20) != 0 {
		typ = protowire.VarintType
	}
	if g.IntN(50) == 0 {
		num = protowire.MaxValidNumber + 1
	}
	b = g.varint(b, uint64(num)<<3|uint64(typ))
	switch typ {
	case protowire.VarintType:
		return g.varint(b, g.Uint64())
	case protowire.Fixed32Type:
		return append(b, 1, 2, 3, 4)
	case protowire.Fixed64Type:
		return append(b, 1, 2, 3, 4, 5, 6, 7, 8)
	case protowire.BytesType:
		return g.bytes(b, []byte{0xff, 0, 1}[:g.IntN(4)])
	case protowire.StartGroupType:
		for depth > 0 && g.IntN(2) == 0 {
			b = g.unknown(b, protowire.Number(1+g.IntN(20)), depth-1)
		}
		return g.varint(b, uint64(num)<<3|uint64(protowire.EndGroupType))
	}
	return b
}

var checkRequestDescriptor = (&authv3.CheckRequest{}).ProtoReflect().Descriptor()

func TestGeneratedMessages(t *testing.T) {
	n := 12000
	if testing.Short() {
		n = 2000
	}
	var r Request
	for _, oddity := range []float64{0, 0.003, 0.03, 0.2} {
		g := &generator{rand.New(rand.NewPCG(1, math.Float64bits(oddity))), oddity}
		accepted := 0
		for range n / 4 {
			if checkEqual(t, &r, g.message(checkRequestDescriptor, 9)) {
				accepted++
			}
		}
		if accepted < n/200 || oddity > 0.01 && accepted == n/4 {
			t.Errorf("oddity %v: %d of %d messages were accepted, which tests little", oddity, accepted, n/4)
		}
	}
}

func FuzzGenerated(f *testing.F) {
	for i := range uint64(8) {
		f.Add(i, i*97, uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed1, seed2 uint64, oddity uint8) {
		g := &generator{rand.New(rand.NewPCG(seed1, seed2)), float64(oddity) / 1024}
		var r Request
		for range 4 {
			checkEqual(t, &r, g.message(checkRequestDescriptor, 9))
		}
	})
}

// maxFuzzed bounds the messages that are fuzzed, in bytes. Mutation makes them
// longer and longer otherwise, and the engine spends its time on making them
// short again.
const maxFuzzed = 512

// The seeds reach nearly all that there is to reach: for each message that
// reaches something new the engine takes as long as -fuzzminimizetime says to
// make it smaller, and does not count what it runs for that.
func FuzzRequest(f *testing.F) {
	b := marshal(f, odd())
	f.Add(b[:min(len(b), maxFuzzed)])
	for _, c := range cases() {
		if len(c.message) <= maxFuzzed {
			f.Add(c.message)
		}
	}
	for _, oddity := range []float64{0.003, 0.03, 0.2} {
		g := &generator{rand.New(rand.NewPCG(2, math.Float64bits(oddity))), oddity}
		for range 50 {
			for b = nil; len(b) == 0 || len(b) > maxFuzzed; {
				b = g.message(checkRequestDescriptor, 9)
			}
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxFuzzed {
			return
		}
		var r Request
		checkEqual(t, &r, b)
	})
}
