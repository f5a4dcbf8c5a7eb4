package extauthz

import (
	"context"
	"runtime"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that Codec hands all other messages to
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"

	"edict/extauthz/wire"
)

// ServiceName is the full name of the service, as health checks ask for it.
const ServiceName = "envoy.service.auth.v3.Authorization"

// ServerOptions gives the options of a gRPC server that Envoy asks.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(NewCodec()),
		// Beyond this a check is an error of gRPC, which Server.Limits is there
		// to be ahead of.
		grpc.MaxRecvMsgSize(MaxMessage),
		// TLS and the first frames; a client that is slower holds memory.
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.MaxConcurrentStreams(1024),
		// Envoy's calls have few headers of their own. A few bytes of compressed ones
		// can stand for megabytes.
		grpc.MaxHeaderListSize(64 << 10),
		// Goroutines that are kept have a stack of the size that a check
		// needs; new ones would have to grow theirs every time.
		grpc.NumStreamWorkers(uint32(workersPerCore * runtime.GOMAXPROCS(0))),
		// Envoy pings more often than gRPC allows by default, and would be
		// sent away.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// Connections end now and then, so that load spreads over new replicas.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 10 * time.Second,
			MaxConnectionAge: 10 * time.Minute, MaxConnectionAgeGrace: 10 * time.Second,
		}),
	}
}

// MaxMessage is the length of the longest message that is received at all, in
// bytes. Limits.Message must be less: a check beyond that is received and
// denied, one beyond this is an error.
const MaxMessage = 64 << 20

// workersPerCore is how many calls per core are answered by goroutines that are
// kept. Calls beyond them have a goroutine of their own.
const workersPerCore = 16

// Register adds the Authorization service to a gRPC server, which must have
// been made with ServerOptions, or at least grpc.ForceServerCodecV2(NewCodec()).
func (s *Server) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Check",
			Handler:    s.handle,
		}},
		Metadata: authv3.File_envoy_service_auth_v3_external_auth_proto.Path(),
	}, s)
}

// handle serves one call of Check.
func (s *Server) handle(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	m := &checkMessage{limit: s.Limits.Message}
	if err := decode(m); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return s.check(ctx, m)
	}
	info := &grpc.UnaryServerInfo{Server: s, FullMethod: "/" + ServiceName + "/Check"}
	return interceptor(ctx, m, info, s.check)
}

func (s *Server) check(ctx context.Context, request any) (any, error) {
	m, ok := request.(*checkMessage)
	if !ok {
		return &checkMessage{answer: wire.Response{}.Bytes()}, nil
	}
	if m.tooLarge {
		m.answer = s.refuse(nil, TooLarge, "")
		return m, nil
	}
	m.answer = s.AppendCheck(ctx, make([]byte, 0, answerSize), m.request.ReadOnlyData())
	m.request.Free()
	return m, nil
}

// answerSize is what most answers fit into, in bytes.
const answerSize = 512

// A checkMessage is a CheckRequest as received, and the answer to it.
type checkMessage struct {
	limit    int // of the request's length; 0: none
	tooLarge bool
	request  mem.Buffer
	answer   []byte
}

// NewCodec gives the codec that a server with this service needs: it passes
// the bytes of checks through, since they are read in place, and leaves all
// other messages to gRPC's own codec.
func NewCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*checkMessage); ok {
		if len(m.answer) == 0 { // the empty message would allow
			return mem.BufferSlice{mem.SliceBuffer(wire.Response{}.Bytes())}, nil
		}
		return mem.BufferSlice{mem.SliceBuffer(m.answer)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*checkMessage); ok {
		if m.limit > 0 && data.Len() > m.limit {
			m.tooLarge = true // one copy of it in memory is enough
			return nil
		}
		m.request = data.MaterializeToBuffer(mem.DefaultBufferPool())
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
