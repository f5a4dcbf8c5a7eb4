package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/value"
)

// inPlace answers an encoded request as the server of gRPC does, and tells
// whether it was read in place.
func inPlace(s *Server, b []byte) (out *cerbospb.CheckResourcesResponse, read bool, err error) {
	m := &checkMessage{server: s, call: s.take()}
	defer m.release()
	c := newCodec()
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m); err != nil {
		return nil, false, err
	}
	read = m.decoded == nil
	answer, err := s.checkMessage(context.Background(), m)
	if err != nil {
		return nil, read, err
	}
	data, err := c.Marshal(answer)
	if err != nil {
		return nil, read, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	out = new(cerbospb.CheckResourcesResponse)
	return out, read, proto.Unmarshal(data.Materialize(), out)
}

// decoded answers an encoded request by the generated types alone.
func decoded(s *Server, b []byte) (*cerbospb.CheckResourcesResponse, error) {
	c := encoding.GetCodecV2("proto")
	in := new(cerbospb.CheckResourcesRequest)
	if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, in); err != nil {
		return nil, err
	}
	out, err := s.CheckResources(context.Background(), in)
	if err != nil {
		return nil, err
	}
	data, err := c.Marshal(out)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	out = new(cerbospb.CheckResourcesResponse)
	return out, proto.Unmarshal(data.Materialize(), out)
}

// checkSame fails unless a request is answered alike in both ways. It tells
// whether it was read in place.
func checkSame(t *testing.T, s *Server, b []byte) bool {
	t.Helper()
	got, read, gotErr := inPlace(s, b)
	want, wantErr := decoded(s, b)
	// The protobuf library varies the spaces in its errors on purpose.
	plain := func(err error) string {
		return strings.ReplaceAll(fmt.Sprint(status.Convert(err).Proto()), "\u00a0", " ")
	}
	if status.Code(gotErr) != status.Code(wantErr) || plain(gotErr) != plain(wantErr) {
		t.Fatalf("got %v\nwant %v\nrequest: %x", gotErr, wantErr, b)
	}
	if wantErr != nil {
		return read
	}
	if len(got.GetCerbosCallId()) != 26 {
		t.Errorf("the call's id is %q", got.GetCerbosCallId())
	}
	got.CerbosCallId, want.CerbosCallId = "", ""
	if !proto.Equal(got, want) {
		t.Fatalf("got %v\nwant %v\nrequest: %x", got, want, b)
	}
	return read
}

// encoded gives the requests of testdata/calls.yaml that are messages, encoded.
func encoded(t testing.TB) (out [][]byte) {
	seeds(t, "CheckResources", func(x *exchange, body string) {
		in := new(cerbospb.CheckResourcesRequest)
		if protojson.Unmarshal([]byte(body), in) == nil {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b)
		}
	})
	return append(out, everything(t, "view", "print", "none"), everything(t, "view", "edit"))
}

// everything is a request with all that is read in place, and these actions.
func everything(t testing.TB, actions ...string) []byte {
	t.Helper()
	attr, err := structpb.NewStruct(map[string]any{
		"n": -0.5, "yes": true, "no": false, "null": nil, "ü": "schön", "owner": "u1", "size": 1.0,
		"tags": map[string]any{"z": []any{"a", 1.0, []any{}, map[string]any{"z": 1.0, "a": "b"}}, "a": nil, "b": true},
	})
	if err != nil {
		t.Fatal(err)
	}
	in := &cerbospb.CheckResourcesRequest{
		RequestId: "r", IncludeMeta: true,
		Principal: &cerbospb.Principal{Id: "u1", PolicyVersion: "default", Roles: []string{"employee", "user", "admin"}, Attr: attr.GetFields()},
	}
	for _, scope := range []string{"", "emea"} {
		in.Resources = append(in.Resources, &cerbospb.CheckResourcesRequest_ResourceEntry{
			Actions:  actions,
			Resource: &cerbospb.Resource{Kind: "doc", Id: "1", PolicyVersion: "default", Scope: scope, Attr: attr.GetFields()},
		})
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Requests are answered alike whether they are read in place or decoded: as they
// are, cut anywhere, with a bit changed anywhere, and merged with others.
func TestInPlace(t *testing.T) {
	s, _ := newServer(t)
	random := rand.New(rand.NewPCG(1, 2))
	read := 0
	list := encoded(t)
	for _, b := range list {
		if checkSame(t, s, b) {
			read++
		}
		checkSame(t, s, append(b[:len(b):len(b)], list[random.IntN(len(list))]...))
		for i := 0; i < len(b); i += 1 + random.IntN(8) {
			checkSame(t, s, b[:i])
			bit := byte(1) << random.IntN(8)
			b[i] ^= bit
			checkSame(t, s, b)
			b[i] ^= bit
		}
	}
	s.Limits.Message = 100 // of the answer, too
	if b := everything(t, "edit"); !checkSame(t, s, b) {
		t.Error("a request is not read in place")
	}
	s.Policies = func() *engine.PolicySet { return nil }
	checkSame(t, s, list[0])
	if read < 3 {
		t.Errorf("only %d of %d requests are read in place", read, len(list))
	}
}

func FuzzInPlace(f *testing.F) {
	for _, b := range encoded(f) {
		f.Add(b)
	}
	s, _ := newServer(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) <= 1<<10 { // longer ones are made smaller for most of the time
			checkSame(t, s, b)
		}
	})
}

// What is kept from one call for the next holds nothing of it.
func TestCallsAreForgotten(t *testing.T) {
	s, _ := newServer(t)
	c := s.take()
	in := new(cerbospb.CheckResourcesRequest)
	if err := proto.Unmarshal(everything(t, "view", "edit", "token"), in); err != nil {
		t.Fatal(err)
	}
	in.Resources[1].Actions = []string{"none"} // fewer than before
	in.AuxData = &cerbospb.AuxData{}
	if _, err := s.checkResources(t.Context(), c, in); err != nil {
		t.Fatal(err)
	}
	if d := &c.decision; cap(d.Results) < 3 || cap(d.Outputs) < 1 {
		t.Fatalf("nothing is to be forgotten: %+v", *d)
	}
	c.forget()
	for _, r := range c.decision.Results[:cap(c.decision.Results)] {
		if r != (engine.Result{}) {
			t.Errorf("a result is kept: %+v", r)
		}
	}
	for _, o := range c.decision.Outputs[:cap(c.decision.Outputs)] {
		if o.Src != "" || o.Action != "" || o.Err != "" || o.Val.Kind() != value.Absent {
			t.Errorf("an output is kept: %+v", o)
		}
	}
	for _, e := range c.question.entries[:cap(c.question.entries)] {
		if e.hasResource || e.actions != nil || e.resource != (engine.Resource{}) {
			t.Errorf("an entry is kept: %+v", e)
		}
	}
	if c.request.Actions != nil || c.question.principal.Roles != nil {
		t.Error("the request is kept")
	}
}

// What is read in place and answered allocates the answer, the id of the call, and
// what is told of derived roles.
func TestInPlaceAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget what they hold, so that counts mean nothing; the run without it counts")
	}
	s, _ := newServer(t)
	b := everything(t, "view", "print", "none")
	c := newCodec()
	m := new(checkMessage)
	n := testing.AllocsPerRun(100, func() {
		*m = checkMessage{server: s, call: s.take()}
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, m); err != nil || m.decoded != nil {
			t.Fatal("not read in place", err)
		}
		if _, err := s.checkMessage(context.Background(), m); err != nil {
			t.Fatal(err)
		}
		m.release()
	})
	if n > 7 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheckResources(b *testing.B) {
	s, _ := newServer(b)
	request := everything(b, "view", "print", "none")
	b.Run("in place", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := &checkMessage{server: s, call: s.take()}
			if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(request)}, m); err != nil {
				b.Fatal(err)
			}
			if _, err := s.checkMessage(context.Background(), m); err != nil {
				b.Fatal(err)
			}
			m.release()
		}
	})
	b.Run("decoded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in := new(cerbospb.CheckResourcesRequest)
			if err := proto.Unmarshal(request, in); err != nil {
				b.Fatal(err)
			}
			out, err := s.CheckResources(context.Background(), in)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := proto.Marshal(out); err != nil {
				b.Fatal(err)
			}
		}
	})
}
