package transport

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// versionHeader goes with every answer.
var versionHeader = metadata.Pairs("cerbos-version", CerbosVersion)

// SetVersion adds the header that goes with every answer.
func SetVersion(ctx context.Context) {
	_ = grpc.SetHeader(ctx, versionHeader) // it fails only once there was an answer
}

// Unary describes a method of a service with one request and one answer.
func Unary[In, Out any](service, name string, b Bounds, answer func(context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			if err := b.enter(); err != nil {
				return nil, err
			}
			defer b.leave()
			in := new(In)
			if err := decode(in); err != nil {
				return nil, err
			}
			SetVersion(ctx)
			if interceptor == nil {
				return answer(ctx, in)
			}
			info := &grpc.UnaryServerInfo{Server: server, FullMethod: "/" + service + "/" + name}
			return interceptor(ctx, in, info, func(ctx context.Context, in any) (any, error) { return answer(ctx, in.(*In)) })
		},
	}
}
