package api

import (
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"edict/api/cerbospb"
	"edict/api/internal/transport"
)

// HTTPOptions says what the HTTP side has beside the calls themselves.
type HTTPOptions struct {
	CORS CORS

	// GRPC answers gRPC that arrives over HTTP/2. Nil: nobody does.
	GRPC http.Handler

	// Health answers GET /_cerbos/health. Nil: there is no such path.
	Health grpc_health_v1.HealthServer

	// Mounted are further handlers by the patterns of http.ServeMux.
	Mounted map[string]http.Handler
}

// Handler gives the HTTP side of the API: the calls as JSON, and what the
// options add.
func (s *Server) Handler(o HTTPOptions) http.Handler {
	mux, bounds := http.NewServeMux(), s.Bounds()
	mux.Handle("/api/check/resources", transport.Handle(bounds, s.CheckResources))
	mux.Handle("/api/plan/resources", transport.Handle(bounds, s.PlanResources))
	mux.Handle("/api/check", transport.Handle(bounds, s.CheckResourceSet))
	mux.Handle("/api/check_resource_batch", transport.Handle(bounds, s.CheckResourceBatch))
	mux.Handle("/api/server_info", transport.Only(http.MethodGet, func(w http.ResponseWriter, r *http.Request) {
		out, err := s.ServerInfo(r.Context(), new(cerbospb.ServerInfoRequest))
		transport.Respond(w, r, out, err)
	}))
	mux.Handle("/api/", transport.Refused(codes.NotFound, http.StatusNotFound, "Not Found"))
	mux.Handle("/api/playground/", transport.Refused(codes.Unimplemented, http.StatusNotFound, "the playground is not part of this server"))
	if o.Health != nil {
		mux.Handle("/_cerbos/health", transport.Only(http.MethodGet, healthOf(o.Health)))
	}
	for pattern, h := range o.Mounted {
		mux.Handle(pattern, h)
	}
	if _, there := o.Mounted["/admin/"]; !there {
		mux.Handle("/admin/", transport.Refused(codes.Unimplemented, http.StatusNotFound, "Admin service is disabled by the configuration"))
	}
	plain := o.CORS.wrap(mux)
	if o.GRPC == nil {
		return plain
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
			o.GRPC.ServeHTTP(w, r)
			return
		}
		plain.ServeHTTP(w, r)
	})
}

// healthOf tells of the health of a service, that of all if none is named.
func healthOf(server grpc_health_v1.HealthServer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := server.Check(r.Context(), &grpc_health_v1.HealthCheckRequest{Service: r.URL.Query().Get("service")})
		if err == nil && out.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			err = status.Error(codes.Unavailable, out.GetStatus().String())
		}
		if err != nil {
			st := status.Convert(err)
			transport.Fail(w, r, st, transport.HTTPStatus(st.Code()))
			return
		}
		transport.WriteMessage(w, r, http.StatusOK, out)
	}
}
