package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"edict/api"
	"edict/api/admin"
	"edict/api/apidoc"
	"edict/api/authzen"
	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/listener"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/extauthz"
	"edict/extauthz/filtertoken"
)

// newCalls makes the server that answers calls of Cerbos' API by the policies
// that checks are decided by. Keys of issuers are renewed until ctx ends.
func newCalls(ctx context.Context, c *config.Config, checks *extauthz.Server, log zerolog.Logger) (*api.Server, error) {
	options := c.AuxData
	options.Warn = func(err error) { log.Warn().Err(err).Msg("the keys of an issuer could not be renewed") }
	verifier, err := auxdata.New(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("auxData.jwt: %w", err)
	}
	limits := c.API
	limits.InFlight = inFlight(limits.InFlight)
	refused, overloaded, unplanned := flood(log), flood(log), flood(log)
	return &api.Server{
		Policies: func() *engine.PolicySet {
			if r := checks.Revision(); r != nil {
				return r.PolicySet()
			}
			return nil
		},
		AuxData: verifier,
		Limits:  limits,
		Info:    info(),
		Refused: func(err error) { refused().Err(err).Msg("a call was refused since its auxData is invalid") },
		Overloaded: func(reason string) {
			overloaded().Str("reason", reason).Int("inFlight", limits.InFlight).Msg("calls are refused, since there are too many")
		},
		Unplanned: func(err error) { unplanned().Err(err).Msg("a plan can't be made safely") },
		Panicked: func(v any, stack []byte) {
			log.Error().Interface("panic", v).Bytes("stack", stack).Msg("a call panicked and was refused")
		},
	}, nil
}

// info tells what was built, when and of what.
func info() api.Info {
	out := api.Info{Version: strings.TrimPrefix(version, "v"), Commit: "unknown"}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				out.Commit = s.Value
			case "vcs.time":
				out.BuildDate = s.Value // the nearest that is known
			}
		}
	}
	return out
}

// A service is one that is served beside that of the SDKs.
type service interface {
	Register(grpc.ServiceRegistrar)
	Handlers() map[string]http.Handler
}

// newServices gives the services beside that of the SDKs. Store gives what is in
// force.
func newServices(c *config.Config, calls *api.Server, store func() *admin.Store) ([]service, error) {
	out := []service{&authzen.Server{API: calls, URL: c.APIURL}}
	if !c.AdminAPI {
		return out, nil
	}
	a, err := admin.New(calls, store, c.AdminAPICredentials)
	if err != nil {
		return nil, fmt.Errorf("api.admin: %w", err)
	}
	return append(out, a), nil
}

// registers gives what adds all services to a gRPC server.
func (d *daemon) registers() []func(grpc.ServiceRegistrar) {
	out := []func(grpc.ServiceRegistrar){d.calls.Register}
	for _, s := range d.services {
		out = append(out, s.Register)
	}
	return out
}

// describeCalls gives the OpenAPI document of what is served over HTTP.
func describeCalls() ([]byte, error) {
	return apidoc.Document("Edict", version, slices.Concat(api.Operations(), authzen.Operations(), admin.Operations(), filterOperations()))
}

// filterOperations describes what the backends of planned routes ask.
func filterOperations() []apidoc.Operation {
	type object = map[string]any
	text := object{"type": "string"}
	return []apidoc.Operation{
		{
			Method: "GET", Path: filtertoken.KeysPath, ID: "Filters_Keys", Tag: "Filters",
			Summary: "Get the keys that filters of rows are verified with, as a JWK set (RFC 7517)",
			Plain: &apidoc.Plain{
				MediaType: "application/jwk-set+json",
				Answer:    object{"type": "object", "required": []string{"keys"}, "properties": object{"keys": object{"type": "array", "items": object{"type": "object"}}}},
			},
		},
		{
			Method: "POST", Path: filtertoken.TakePath, ID: "Filters_Take", Tag: "Filters",
			Summary: "Take a filter of rows that its token did not hold; it can be taken once",
			Plain: &apidoc.Plain{
				MediaType: "application/json",
				Body:      object{"type": "object", "required": []string{"handle"}, "properties": object{"handle": text}, "additionalProperties": false},
				Answer: object{"type": "object", "required": []string{"flt"}, "properties": object{"flt": object{
					"type": "object", "required": []string{"kind"}, "properties": object{"kind": text, "condition": object{"type": "object"}},
				}}},
			},
		},
	}
}

// mounted gives the handlers of all services over HTTP, and what describes them.
func (d *daemon) mounted() map[string]http.Handler {
	out := map[string]http.Handler{apidoc.Path: apidoc.Handler(d.document)}
	for _, s := range d.services {
		maps.Copy(out, s.Handlers())
	}
	return out
}

func (d *daemon) serveCalls(l *listener.Listener) *server {
	return d.serveGRPC(l, api.ServerOptions(d.config.API.Message), d.registers()...)
}

// The times that a client may take over HTTP. Calls are short.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// newHTTPServer gives a server to which a request and its answer may take so long.
// Who does not read the answer by then loses it, since a goroutine holds it.
func newHTTPServer(h http.Handler, whole time.Duration) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      whole, // of each stream of HTTP/2
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		// Of a connection of HTTP/2, which holds many streams.
		HTTP2: &http.HTTP2Config{WriteByteTimeout: writeTimeout, SendPingTimeout: time.Minute, PingTimeout: 10 * time.Second},
	}
}

// unhurried gives a gRPC server as part of one of HTTP. Its streams, such as watches
// of health, last longer than answers may take.
func unhurried(s *grpc.Server) http.Handler {
	streams := map[string]bool{}
	for service, info := range s.GetServiceInfo() {
		for _, m := range info.Methods {
			streams["/"+service+"/"+m.Name] = m.IsClientStream || m.IsServerStream
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if streams[r.URL.Path] {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // HTTP/2 knows how to
		}
		s.ServeHTTP(w, r)
	})
}

// serveCallsHTTP serves the API over HTTP, and over gRPC by the same listener.
func (d *daemon) serveCallsHTTP(l *listener.Listener) *server {
	calls := d.newGRPC(api.ServerOptions(d.config.API.Message), d.registers()...)
	mounted := d.mounted()
	filters := d.filters.Handler()
	mounted[filtertoken.KeysPath], mounted[filtertoken.TakePath] = filters, filters
	handler := d.calls.Handler(api.HTTPOptions{CORS: d.config.CORS, GRPC: unhurried(calls), Health: d.health, Mounted: mounted})
	s := d.serveHTTP(l, newHTTPServer(handler, readTimeout+d.config.API.Time+writeTimeout), "h2", "http/1.1")
	stop := s.stop
	s.stop = func() {
		stop()
		calls.Stop()
	}
	return s
}
