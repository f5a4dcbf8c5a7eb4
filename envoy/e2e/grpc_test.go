package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// grpcRoutes are routes for gRPC calls, beside those of the demo, which has
// none. Auditing is denied to all.
const grpcRoutes = `apiVersion: edict.dev/v1
routeMap:
  name: rpc
  hosts: ["*"]
  routes:
    - name: who
      match: {grpc: {service: demo.v1.Expenses, method: Who}}
      resource: {kind: service, id: expenses}
      action: whoami
    - name: audit
      match: {grpc: {service: demo.v1.Expenses, method: Audit}}
      resource: {kind: service, id: expenses}
      action: audit
`

// TestGRPCClient calls through Envoy with a gRPC client: a denial must reach it
// as a status of gRPC, not as HTTP.
func TestGRPCClient(t *testing.T) {
	r := newRig(t, patient...)
	r.write(t, "envoy/routes/rpc.yaml", grpcRoutes)
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)
	conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(r.port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, tt := range []struct {
		name, as, method string
		want             codes.Code
		message          string
		reached          bool
	}{
		{"denied by policy", "alice", "/demo.v1.Expenses/Audit", codes.PermissionDenied, "forbidden", false},
		{"unknown method", "alice", "/demo.v1.Expenses/Delete", codes.PermissionDenied, "forbidden", false},
		{"unknown service", "alice", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", codes.PermissionDenied, "forbidden", false},
		{"no token", "", "/demo.v1.Expenses/Who", codes.Unauthenticated, "unauthorized", false},
		{"a path that is no method", "alice", "/expenses/emea/alice/1", codes.InvalidArgument, "bad request", false},
		{"case counts", "alice", "/demo.v1.expenses/Who", codes.PermissionDenied, "forbidden", false},
		// The service speaks no gRPC, so that an allowed call ends there, with
		// what the client makes of its 404.
		{"allowed", "alice", "/demo.v1.Expenses/Who", codes.Unimplemented, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := soon(t)
			if tt.as != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+r.issuer.token(tt.as))
			}
			before := r.mark(t)
			err := conn.Invoke(ctx, tt.method, &emptypb.Empty{}, &emptypb.Empty{})
			s := status.Convert(err)
			if s.Code() != tt.want || tt.message != "" && s.Message() != tt.message {
				t.Errorf("the client gets %v %q, want %v %q", s.Code(), s.Message(), tt.want, tt.message)
			}
			if reached := len(r.requests(t, before)) > 0; reached != tt.reached {
				t.Errorf("the service was reached: %t, want %t", reached, tt.reached)
			}
		})
	}
	for _, tt := range []struct{ as, status string }{{"alice", "7"}, {"", "16"}} {
		t.Run("on the wire, grpc-status "+tt.status, func(t *testing.T) {
			path := map[string]string{"alice": "/demo.v1.Expenses/Audit", "": "/demo.v1.Expenses/Who"}[tt.as]
			got := r.send(t, request{as: tt.as, method: http.MethodPost, path: path, http2: true,
				header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}, body: "\x00\x00\x00\x00\x00"})
			if got.status != http.StatusOK || got.header.Get("Grpc-Status") != tt.status || got.body != "" {
				t.Errorf("answered %d with grpc-status %q and body %q; want 200, %s in the headers and no body",
					got.status, got.header.Get("Grpc-Status"), got.body, tt.status)
			}
			if ct := got.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/grpc") {
				t.Errorf("the content-type is %q", ct)
			}
		})
	}
}
