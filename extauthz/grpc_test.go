package extauthz

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	grpcmeta "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// A call of Envoy's may have the headers of one request of a client in its own, and
// no more.
func TestHeadersOfCallsAreBounded(t *testing.T) {
	s := newServer(t, jwtOnly)
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer(ServerOptions()...)
	s.Register(g)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for size, fits := range map[int]bool{60 << 10: true, 100 << 10: false} {
		ctx := grpcmeta.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", size))
		out, err := authv3.NewAuthorizationClient(conn).Check(ctx, get("/preview").message(t))
		if (err == nil) != fits {
			t.Errorf("%d bytes of headers: got %v, %v", size, out, err)
		}
	}
}
