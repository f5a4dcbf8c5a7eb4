package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"edict/api"
	"edict/cmd/edict/internal/config"
)

// Who does not read an answer holds no goroutine for ever, over HTTP/1.1 and HTTP/2,
// while a watch of health on the same listener goes on.
func TestAnswersThatNobodyReads(t *testing.T) {
	d := &daemon{config: new(config.Config), health: newHealthServer()}
	d.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	calls := d.newGRPC(nil)
	defer calls.Stop()
	failed := make(chan error, 1)
	large := make([]byte, 64<<20) // more than sockets and windows hold
	mounted := map[string]http.Handler{"/large": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, err := w.Write(large)
		failed <- err
	})}
	s := newHTTPServer(new(api.Server).Handler(api.HTTPOptions{GRPC: unhurried(calls), Mounted: mounted}), 100*time.Millisecond)
	socket := filepath.Join(tempDir(t), "api.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer s.Close()

	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(limited(t), new(grpc_health_v1.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", got, err)
	}
	for _, version := range []int{1, 2} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(version == 1)
		protocols.SetUnencryptedHTTP2(version == 2)
		transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://edict/large", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != version {
			t.Errorf("the answer is %s", resp.Proto)
		}
		select {
		case err := <-failed:
			if err == nil {
				t.Errorf("%s: the whole answer was sent", resp.Proto)
			}
		case <-limited(t).Done():
			t.Fatalf("%s: an answer that nobody reads is still being sent", resp.Proto)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
	}
	d.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if got, err := watch.Recv(); err != nil || got.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("the watch ended: got %v, %v", got, err)
	}
}
