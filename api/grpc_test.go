package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api/cerbospb"
)

// asSent is the codec of a client that sends bytes as they are.
type asSent struct{}

func (asSent) Marshal(v any) ([]byte, error)   { return v.([]byte), nil }
func (asSent) Unmarshal(_ []byte, _ any) error { return nil }
func (asSent) Name() string                    { return "proto" }

func TestBytesThatAreNoMessage(t *testing.T) {
	s, _ := newServer(t)
	conn := dial(t, s)
	for name, tt := range map[string]struct {
		sent string
		want codes.Code
	}{
		"nothing":                    {"", codes.InvalidArgument},
		"no message":                 {"\xff\xff", codes.Internal},
		"a field that is cut off":    {"\x0a\x09abc", codes.Internal},
		"a text that is no UTF-8":    {"\x0a\x01\xff", codes.Internal},
		"an unknown field":           {"\xf8\x7f\x01", codes.InvalidArgument},
		"a wrong type of a field":    {"\x08\x01", codes.InvalidArgument}, // protobuf takes it for an unknown one
		"a text where there is none": {"\x1a\x02\xff\xff", codes.Internal},
	} {
		err := conn.Invoke(t.Context(), "/"+ServiceName+"/CheckResources", []byte(tt.sent), new(emptypb.Empty), grpc.ForceCodec(asSent{}))
		if status.Code(err) != tt.want {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
	if err := conn.Invoke(t.Context(), "/"+ServiceName+"/Nope", []byte(nil), nil, grpc.ForceCodec(asSent{})); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
}

// Interceptors see the calls.
func TestInterceptor(t *testing.T) {
	s, _ := newServer(t)
	var seen []string
	r := new(recorder)
	s.Register(r)
	for _, m := range r.desc.Methods {
		_, err := m.Handler(s, t.Context(), func(any) error { return nil }, func(ctx context.Context, in any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			seen = append(seen, info.FullMethod)
			return h(ctx, in)
		})
		if m.MethodName != "ServerInfo" && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", m.MethodName, err)
		}
	}
	methods := cerbospb.File_cerbos_svc_v1_svc_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		if want := "/" + ServiceName + "/" + string(methods.Get(i).Name()); i >= len(seen) || seen[i] != want {
			t.Errorf("seen are %q, and not %s", seen, want)
		}
	}
}

type recorder struct{ desc *grpc.ServiceDesc }

func (r *recorder) RegisterService(d *grpc.ServiceDesc, _ any) { r.desc = d }

// Headers are bounded as they are over HTTP.
func TestManyHeaders(t *testing.T) {
	s, _ := newServer(t)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", 100<<10))
	if err := dial(t, s).Invoke(ctx, "/"+ServiceName+"/ServerInfo", new(cerbospb.ServerInfoRequest), new(cerbospb.ServerInfoResponse)); err == nil {
		t.Error("100 KiB of headers are taken")
	}
}

// Each of many requests may tell the same attributes and the same id, and what they
// tell together is bounded. Without meta they tell no outputs.
func TestOutputsOfEach(t *testing.T) {
	s, _ := newServer(t)
	s.Limits.Message = 1000
	ask := func(n int, id string, meta bool) error {
		var list []*cerbospb.CheckResourcesRequest
		for i := range n {
			list = append(list, &cerbospb.CheckResourcesRequest{
				RequestId: id, IncludeMeta: meta,
				Principal: &cerbospb.Principal{Id: "ann", Roles: []string{"user"}, Attr: map[string]*structpb.Value{"a": structpb.NewStringValue(strings.Repeat("x", 300))}},
				Resources: []*cerbospb.CheckResourcesRequest_ResourceEntry{{
					Actions: []string{fmt.Sprint("shout-", i)}, Resource: &cerbospb.Resource{Kind: "doc", Id: "1"},
				}},
			})
		}
		out, err := s.CheckEach(t.Context(), list)
		for _, r := range out {
			if got := len(r.GetResults()[0].GetOutputs()) > 0; got != meta {
				t.Errorf("there are outputs: %v, with meta %v", got, meta)
			}
		}
		return err
	}
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		n    int
		id   string
		meta bool
		want codes.Code
	}{
		{2, "", true, codes.OK}, {3, "", true, codes.ResourceExhausted}, {3, "", false, codes.OK},
		{2, long, false, codes.OK}, {4, long, false, codes.ResourceExhausted},
	} {
		if err := ask(tt.n, tt.id, tt.meta); status.Code(err) != tt.want {
			t.Errorf("%d, %d bytes of id, meta %v: got %v, want %s", tt.n, len(tt.id), tt.meta, err, tt.want)
		}
	}
}
