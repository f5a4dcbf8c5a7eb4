package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"edict/api"
	"edict/api/cerbospb"
	"edict/api/internal/refusal"
	"edict/api/internal/transport"
	"edict/engine"
	"edict/engine/expr"
)

// ServiceName is the full name of the service over gRPC.
const ServiceName = "cerbos.svc.v1.CerbosAdminService"

// A Server answers the read calls of cerbos.svc.v1.CerbosAdminService. It is safe
// for concurrent use.
type Server struct {
	api         *api.Server
	store       func() *Store
	credentials Credentials
	turns       *turns
	env         *expr.Env
}

// New gives a server. Calls take as long as those of the API may, and store
// gives what is in force, nil if there is nothing yet. An error means that the
// credentials would guard nothing.
func New(a *api.Server, store func() *Store, c Credentials) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	env, err := engine.NewEnvironment()
	if err != nil {
		return nil, err
	}
	return &Server{api: a, store: store, credentials: c, turns: newTurns(), env: env}, nil
}

// guarded gives a call that is done for who has the credentials.
func guarded[In, Out any](s *Server, f func(context.Context, *Store, *In) (*Out, error)) func(context.Context, *In) (*Out, error) {
	return func(ctx context.Context, in *In) (*Out, error) {
		return api.Do(s.api, ctx, in, func(ctx context.Context, in *In) (*Out, error) {
			if err := s.verify(ctx); err != nil {
				return nil, err
			}
			store := s.store()
			if store == nil {
				return nil, status.Error(codes.Unavailable, "no policies are loaded")
			}
			return f(ctx, store, in)
		})
	}
}

// Register adds the service to a gRPC server. Calls that write are unknown to it.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	// Whoever has no password waits for a proof, and would keep checks out.
	unbounded := transport.Bounds{}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			transport.Unary(ServiceName, "InspectPolicies", unbounded, guarded(s, s.inspectPolicies)),
			transport.Unary(ServiceName, "ListPolicies", unbounded, guarded(s, listPolicies)),
			transport.Unary(ServiceName, "GetPolicy", unbounded, guarded(s, getPolicy)),
			transport.Unary(ServiceName, "ListSchemas", unbounded, guarded(s, listSchemas)),
			transport.Unary(ServiceName, "GetSchema", unbounded, guarded(s, getSchema)),
		},
		Metadata: cerbospb.File_cerbos_svc_v1_svc_proto.Path(),
	}, s)
}

// Handlers gives the HTTP side, by the patterns of http.ServeMux.
func (s *Server) Handlers() map[string]http.Handler {
	mux := http.NewServeMux()
	handle(mux, "GET /admin/policies/inspect", guarded(s, s.inspectPolicies))
	handle(mux, "GET /admin/policies", guarded(s, listPolicies))
	handle(mux, "GET /admin/policy", guarded(s, getPolicy))
	handle(mux, "GET /admin/schemas", guarded(s, listSchemas))
	handle(mux, "GET /admin/schema", guarded(s, getSchema))
	handle(mux, "/admin/", guarded(s, func(context.Context, *Store, *cerbospb.ListSchemasRequest) (*cerbospb.ListSchemasResponse, error) {
		return nil, status.Error(codes.Unimplemented, "the Admin API reads policies and schemas, and does nothing else")
	}))
	return map[string]http.Handler{"/admin/": mux}
}

// A message is a pointer to a generated type.
type message[T any] interface {
	*T
	proto.Message
}

// handle adds a call, whose request is in the query, to those of HTTP.
func handle[In, Out any, PIn message[In], POut message[Out]](mux *http.ServeMux, pattern string, call func(context.Context, PIn) (POut, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		ctx := peer.NewContext(r.Context(), &peer.Peer{Addr: address(r.RemoteAddr)})
		ctx = metadata.NewIncomingContext(ctx, metadata.MD{"authorization": r.Header.Values("authorization")})
		in := PIn(new(In))
		unread := readQuery(r.URL.Query(), in.ProtoReflect())
		if unread != nil {
			in = new(In) // who may not ask is told so, and not what is wrong with the question
		}
		out, err := call(ctx, in)
		if unread != nil && status.Code(err) != codes.Unauthenticated {
			err = unread
		}
		if status.Code(err) == codes.Unauthenticated {
			w.Header().Set("WWW-Authenticate", `Basic realm="Edict", charset="UTF-8"`)
		}
		transport.Respond(w, r, out, err)
	})
}

// readQuery reads a request from a query, whose names are those of JSON or of the
// schema. Others are not looked at.
func readQuery(q url.Values, in protoreflect.Message) error {
	fields := in.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		values := q[f.JSONName()]
		if f.JSONName() != string(f.Name()) {
			values = append(values, q[string(f.Name())]...)
		}
		for _, text := range values {
			switch {
			case f.IsList():
				in.Mutable(f).List().Append(protoreflect.ValueOfString(text))
			case f.Kind() == protoreflect.BoolKind:
				b, err := strconv.ParseBool(text)
				if err != nil {
					return status.Error(codes.InvalidArgument, fmt.Sprintf("parsing field %q: %q is not a boolean", f.Name(), refusal.Clip(text)))
				}
				in.Set(f, protoreflect.ValueOfBool(b))
			default:
				in.Set(f, protoreflect.ValueOfString(text))
			}
		}
	}
	return nil
}
