package main

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A healthServer is gRPC's own, whose watchers can be sent away: an open watch
// is a call under way, and would hold up the end of the process.
type healthServer struct {
	*health.Server
	closing chan struct{} // closed when watchers have to go
}

func newHealthServer() *healthServer {
	return &healthServer{health.NewServer(), make(chan struct{})}
}

// Watch implements grpc_health_v1.HealthServer.
func (h *healthServer) Watch(in *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() {
		select {
		case <-h.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return h.Server.Watch(in, watchStream{stream, ctx})
}

type watchStream struct {
	grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s watchStream) Context() context.Context { return s.ctx }
