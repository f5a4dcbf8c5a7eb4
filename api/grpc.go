package api

import (
	"context"
	"runtime"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/keepalive"

	"edict/api/cerbospb"
	"edict/api/internal/transport"
)

// ServiceName is the full name of the service, as health checks ask for it.
const ServiceName = "cerbos.svc.v1.CerbosService"

// ServerOptions gives the options of a gRPC server for the API. A message may
// have so many bytes.
func ServerOptions(message int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(message),
		// TLS and the first frames; a client that is slower holds memory.
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.MaxConcurrentStreams(1024),
		// As over HTTP. A few bytes of compressed headers can stand for megabytes.
		grpc.MaxHeaderListSize(64 << 10),
		// Goroutines that are kept have a stack of the size that a call needs; new
		// ones would have to grow theirs every time.
		grpc.NumStreamWorkers(uint32(workersPerCore * runtime.GOMAXPROCS(0))),
		// Clients of Cerbos may ping as often as this.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// Connections end now and then, so that load spreads over new replicas.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 10 * time.Second,
			MaxConnectionAge: 10 * time.Minute, MaxConnectionAgeGrace: 10 * time.Second,
		}),
	}
}

// workersPerCore is how many calls per core are answered by goroutines that are
// kept. Calls beyond them have a goroutine of their own.
const workersPerCore = 16

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	bounds := s.Bounds()
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			transport.Unary(ServiceName, "CheckResourceSet", bounds, s.CheckResourceSet),
			transport.Unary(ServiceName, "CheckResourceBatch", bounds, s.CheckResourceBatch),
			s.checkMethod(),
			transport.Unary(ServiceName, "ServerInfo", transport.Bounds{}, s.ServerInfo),
			transport.Unary(ServiceName, "PlanResources", bounds, s.PlanResources),
		},
		Metadata: cerbospb.File_cerbos_svc_v1_svc_proto.Path(),
	}, s)
}

// ServerInfo tells which server answers.
func (s *Server) ServerInfo(context.Context, *cerbospb.ServerInfoRequest) (*cerbospb.ServerInfoResponse, error) {
	return &cerbospb.ServerInfoResponse{Version: s.Info.Version, Commit: s.Info.Commit, BuildDate: s.Info.BuildDate}, nil
}
