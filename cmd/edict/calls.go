package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"edict/api"
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

// authzen gives what answers the calls of AuthZEN.
func (d *daemon) authzen() *authzen.Server {
	return &authzen.Server{API: d.calls, URL: d.config.APIURL}
}

func (d *daemon) serveCalls(l *listener.Listener) *server {
	return d.serveGRPC(l, api.ServerOptions(d.config.API.Message), d.calls.Register, d.authzen().Register)
}

// The times that a client may take over HTTP. Calls are short.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// serveCallsHTTP serves the API over HTTP, and over gRPC by the same listener.
func (d *daemon) serveCallsHTTP(l *listener.Listener) *server {
	calls := d.newGRPC(api.ServerOptions(d.config.API.Message), d.calls.Register, d.authzen().Register)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	mounted := d.authzen().Handlers()
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
