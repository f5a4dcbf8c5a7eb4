package api

import (
	"context"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"edict/api/cerbospb"
)

// ServiceName is the full name of the service, as health checks ask for it.
const ServiceName = "cerbos.svc.v1.CerbosService"

// ServerOptions gives the options of a gRPC server for the API. A message may
// have so many bytes.
func ServerOptions(message int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(message),
		// TLS and the first frames; a client that is slower holds memory.
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.MaxConcurrentStreams(1024),
		// Clients of Cerbos may ping as often as this.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// Connections end now and then, so that load spreads over new replicas.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 10 * time.Second,
			MaxConnectionAge: 10 * time.Minute, MaxConnectionAgeGrace: 10 * time.Second,
		}),
	}
}

// versionHeader goes with every answer.
var versionHeader = metadata.Pairs("cerbos-version", CerbosVersion)

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("CheckResourceSet", s.CheckResourceSet),
			unary("CheckResourceBatch", s.CheckResourceBatch),
			unary("CheckResources", s.CheckResources),
			unary("ServerInfo", s.ServerInfo),
			unary("PlanResources", s.PlanResources),
		},
		Metadata: cerbospb.File_cerbos_svc_v1_svc_proto.Path(),
	}, s)
}

// ServerInfo tells which server answers.
func (s *Server) ServerInfo(context.Context, *cerbospb.ServerInfoRequest) (*cerbospb.ServerInfoResponse, error) {
	return &cerbospb.ServerInfoResponse{Version: s.Info.Version, Commit: s.Info.Commit, BuildDate: s.Info.BuildDate}, nil
}

// unary describes a method with one request and one answer.
func unary[In, Out any](name string, answer func(context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			in := new(In)
			if err := decode(in); err != nil {
				return nil, err
			}
			_ = grpc.SetHeader(ctx, versionHeader) // it fails only once there was an answer
			if interceptor == nil {
				return answer(ctx, in)
			}
			info := &grpc.UnaryServerInfo{Server: server, FullMethod: "/" + ServiceName + "/" + name}
			return interceptor(ctx, in, info, func(ctx context.Context, in any) (any, error) { return answer(ctx, in.(*In)) })
		},
	}
}
