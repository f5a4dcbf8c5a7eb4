package authzen

import (
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"edict/api"
	"edict/api/authzenpb"
	"edict/api/internal/transport"
)

// ServiceName is the full name of the service over gRPC.
const ServiceName = "authzen.authorization.v1.AuthorizationService"

// Where the calls are over HTTP. The specification leaves the first two to the
// metadata, which are at MetadataPath.
const (
	EvaluationPath  = "/access/v1/evaluation"
	EvaluationsPath = "/access/v1/evaluations"
	MetadataPath    = "/.well-known/authzen-configuration"
)

// A Server answers the calls of authzen.authorization.v1.AuthorizationService. It
// is safe for concurrent use.
type Server struct {
	// API decides. Its limits are those of the calls.
	API *api.Server

	// URL is where clients find the HTTP side, like https://pdp.example.org. Empty:
	// the metadata say what each request for them says.
	URL string
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	bounds := s.API.Bounds()
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			transport.Unary(ServiceName, "Metadata", transport.Bounds{}, s.Metadata),
			transport.Unary(ServiceName, "AccessEvaluation", bounds, s.AccessEvaluation),
			transport.Unary(ServiceName, "AccessEvaluationBatch", bounds, s.AccessEvaluationBatch),
		},
		Metadata: authzenpb.File_authzen_authorization_v1_svc_proto.Path(),
	}, s)
}

// Handlers gives the HTTP side, by the patterns of http.ServeMux.
func (s *Server) Handlers() map[string]http.Handler {
	bounds := s.API.Bounds()
	out := map[string]http.Handler{
		EvaluationPath:  transport.Handle(bounds, s.AccessEvaluation),
		EvaluationsPath: transport.Handle(bounds, s.AccessEvaluationBatch),
		"/access/":      transport.Refused(codes.NotFound, http.StatusNotFound, "Not Found"),
		MetadataPath:    transport.Only(http.MethodGet, s.metadata),
	}
	for pattern, h := range out {
		out[pattern] = named(h)
	}
	return out
}

// mostID bounds the length of an id that is repeated, in bytes.
const mostID = 256

// named repeats the id of a request in the answer, as the specification says
// (section 10.1.3).
func named(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("x-request-id"); id != "" && len(id) <= mostID && visible(id) {
			w.Header().Set("X-Request-Id", id)
		}
		h.ServeHTTP(w, r)
	})
}

// visible tells whether a text is of visible characters of ASCII and spaces.
func visible(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
