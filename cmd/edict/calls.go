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
	refused := log.Sample(&zerolog.BurstSampler{Burst: 1, Period: 10 * time.Second})
	return &api.Server{
		Policies: func() *engine.PolicySet {
			if r := checks.Revision(); r != nil {
				return r.PolicySet()
			}
			return nil
		},
		AuxData: verifier,
		Limits:  c.API,
		Info:    info(),
		Refused: func(err error) { refused.Warn().Err(err).Msg("a call was refused since its auxData is invalid") },
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
	return apidoc.Document("Edict", version, slices.Concat(api.Operations(), authzen.Operations(), admin.Operations()))
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
	idleTimeout       = 2 * time.Minute
)

// serveCallsHTTP serves the API over HTTP, and over gRPC by the same listener.
func (d *daemon) serveCallsHTTP(l *listener.Listener) *server {
	calls := d.newGRPC(api.ServerOptions(d.config.API.Message), d.registers()...)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	mounted := d.mounted()
	filters := d.filters.Handler()
	mounted[filtertoken.KeysPath], mounted[filtertoken.TakePath] = filters, filters
	s := d.serveHTTP(l, &http.Server{
		Handler:           d.calls.Handler(api.HTTPOptions{CORS: d.config.CORS, GRPC: calls, Health: d.health, Mounted: mounted}),
		Protocols:         protocols,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
	}, "h2", "http/1.1")
	stop := s.stop
	s.stop = func() {
		stop()
		calls.Stop()
	}
	return s
}
