package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"edict/api"
	"edict/api/admin"
	"edict/api/authzen"
	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/listener"
	"edict/cmd/edict/internal/watch"
	"edict/engine/diag"
	"edict/extauthz"
	"edict/extauthz/filtertoken"
)

func newServe(environ []string, stderr io.Writer) *cobra.Command {
	var file string
	var sets []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer Envoy's checks, and the API of Cerbos",
		Long: "Serve answers Envoy's external authorization checks, and applications that use an SDK of Cerbos,\n" +
			"until it gets SIGTERM or SIGINT.\n" +
			"Without a configuration it serves ./policies and ./routes on loopback.",
		Example: "  edict serve\n  edict serve --config edict.yaml --set log.level=debug\n  edict serve --set listen.extAuthz=unix:/run/edict/authz.sock",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, log, err := loadServe(file, c.Flags().Changed("config"), environ, sets, stderr)
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg, log)
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file (YAML)")
	c.Flags().StringArrayVar(&sets, "set", nil, "set one key, as in --set log.level=debug; may be repeated")
	return c
}

// loadServe loads the configuration of a command that serves, and makes its log,
// where it tells what is to be warned of. The file was asked for if it is given.
func loadServe(file string, given bool, environ, sets []string, stderr io.Writer) (*config.Config, zerolog.Logger, error) {
	if file == "" && given {
		return nil, zerolog.Logger{}, errors.New("--config needs the name of a file")
	}
	cfg, unknown, list := config.Load(file, environ, sets)
	if len(list) > 0 {
		fmt.Fprint(stderr, list.Render())
		return nil, zerolog.Logger{}, statusError{status: exitUsage}
	}
	log := newLogger(stderr, cfg)
	for _, w := range cfg.Warnings {
		log.Warn().Stringer("at", w.Pos).Str("code", string(w.Code)).Str("hint", w.Hint).Msg(w.Message)
	}
	for _, name := range unknown {
		log.Warn().Str("variable", name).Msg("this environment variable begins like a setting and is none")
	}
	return cfg, log, nil
}

// newLogger makes the log: JSON, or readable lines on a terminal.
func newLogger(w io.Writer, c *config.Config) zerolog.Logger {
	f, isFile := w.(*os.File)
	terminal := isFile && term.IsTerminal(int(f.Fd()))
	if c.LogFormat == "console" || c.LogFormat == "auto" && terminal {
		noColor := !terminal || os.Getenv("NO_COLOR") != ""
		w = zerolog.ConsoleWriter{Out: w, NoColor: noColor, TimeFormat: time.TimeOnly}
	}
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

// serve runs the daemon until ctx ends. What is started is stopped in reverse.
func serve(ctx context.Context, c *config.Config, log zerolog.Logger) error {
	checks := newChecks(c, log)
	if log.GetLevel() <= zerolog.DebugLevel {
		c.Checks.Observe = both(c.Checks.Observe, logDecision(log))
	}
	c.Checks.Warn = func(err error) { log.Warn().Err(err).Msg("the keys of an issuer could not be renewed") }
	background, stop := context.WithCancel(ctx)
	defer stop()
	calls, err := newCalls(background, c, checks, log)
	if err != nil {
		return statusError{exitUsage, err}
	}
	filters, err := filtertoken.New(c.Filters)
	if err != nil {
		return statusError{exitUsage, fmt.Errorf("filter.keyFile: %w", err)}
	}
	c.Checks.Filter.Tokens = filters
	log.Info().Str("key", filters.KeyID()).Bool("made", c.Filters.KeyFile == "").Msg("the key that filters are signed with is there")
	d := &daemon{config: c, log: log, checks: checks, calls: calls, filters: filters, health: newHealthServer()}
	d.setServing(false)
	reloader, err := newReloader(c, checks, d.setServing, log)
	if err != nil {
		return statusError{exitUsage, err}
	}
	if d.services, err = newServices(c, calls, reloader.store.Load); err != nil {
		return statusError{exitUsage, err}
	}
	if d.document, err = describeCalls(); err != nil {
		return err
	}
	d.missingKeys = reloader.compiler.MissingKeys
	var running sync.WaitGroup
	running.Go(func() { reloader.compiler.Run(background) })
	running.Go(func() { filters.Run(background, logFilterKey(log)) })
	defer func() { stop(); running.Wait() }()
	// Broken policies end a start at once: there is no older set to serve, and
	// whoever rolls them out should learn. Absent ones are waited for.
	var list diag.List
	if err := reloader.reload(); errors.As(err, &list) {
		return statusError{exitUncompiled, errors.New("the policies and routes were not loaded; the log says why")}
	}
	return d.run(ctx, reloader)
}

// logFilterKey tells what becomes of the file of the key that filters are signed
// with.
func logFilterKey(log zerolog.Logger) func(string, error) {
	return func(key string, err error) {
		if err != nil {
			log.Error().Err(err).Msg("the key that filters are signed with was not read again; the old one stays in use")
			return
		}
		log.Info().Str("key", key).Msg("filters are signed with a new key")
	}
}

// both gives an observer that calls two, of which the first may be nil.
func both(first, second func(*extauthz.Record)) func(*extauthz.Record) {
	if first == nil {
		return second
	}
	return func(r *extauthz.Record) {
		first(r)
		second(r)
	}
}

// inFlightPerCore is how many checks, and how many calls of the API, are answered at
// once by default. They wait for nothing but tokens' keys, so that they are few where
// all is well.
const inFlightPerCore = 64

// inFlight gives how many may be answered at once, as it is configured.
func inFlight(configured int) int {
	if configured == 0 {
		return inFlightPerCore * runtime.GOMAXPROCS(0)
	}
	return configured
}

// flood gives warnings of what may happen very often: one now and then, with the
// number of all so far.
func flood(log zerolog.Logger) func() *zerolog.Event {
	sampled := log.Sample(&zerolog.BurstSampler{Burst: 1, Period: 10 * time.Second})
	var n atomic.Uint64
	return func() *zerolog.Event { return sampled.Warn().Uint64("soFar", n.Add(1)) }
}

// newChecks makes the server that answers checks, without policies as yet.
func newChecks(c *config.Config, log zerolog.Logger) *extauthz.Server {
	limits := c.Limits
	limits.InFlight = inFlight(limits.InFlight)
	refused := flood(log)
	return &extauthz.Server{
		Limits: limits,
		Panicked: func(v any, stack []byte) {
			log.Error().Interface("panic", v).Bytes("stack", stack).Msg("a check panicked and was denied")
		},
		Refused: func(o extauthz.Outcome, detail string) {
			e := refused().Stringer("outcome", o)
			if detail != "" {
				e = e.Str("detail", detail)
			}
			e.Msg("checks are denied unread")
		},
	}
}

// logDecision logs every check, for development.
func logDecision(log zerolog.Logger) func(*extauthz.Record) {
	return func(r *extauthz.Record) {
		e := log.Debug().Stringer("outcome", r.Outcome).Str("route", r.Route).
			Str("principal", r.Principal).Str("provenance", string(r.Source)).Str("identity", r.Identity).
			Str("kind", r.Kind).Str("resource", r.Resource).
			Str("method", r.Method).Str("path", r.Path).Str("requestId", r.RequestID).Str("decision", r.ID).
			Str("revision", r.Revision)
		attributes := zerolog.Dict()
		r.Attributes(func(name string, p extauthz.Provenance) bool {
			attributes = attributes.Str(name, string(p))
			return true
		})
		e = e.Dict("attributes", attributes)
		if r.Detail != "" {
			e = e.Str("detail", r.Detail)
		}
		if r.Decision != nil {
			if d := r.Decision.Deciding(); d != nil {
				e = e.Str("action", d.Action).Stringer("effect", d.Effect).Stringer("reason", d.Reason).Str("policy", d.Policy)
				if d.Rule != nil {
					e = e.Str("rule", d.Rule.Name).Stringer("at", d.Rule.Pos)
				}
			}
		}
		if r.Plan != nil {
			e = e.Stringer("filter", r.Plan.Filter.Kind)
		}
		if r.Err != nil {
			e = e.Str("error", ownWords(r.Err))
		}
		e.Msg("check")
	}
}

// ownWords gives what Edict says about a failure, without the failure itself:
// "the attribute owner", but not why it can't be evaluated, since that may
// quote a token, a query or a body.
func ownWords(err error) string {
	if _, several := err.(interface{ Unwrap() []error }); several {
		return ""
	}
	cause := errors.Unwrap(err)
	if cause == nil {
		return err.Error()
	}
	own, ok := strings.CutSuffix(err.Error(), ": "+cause.Error())
	if !ok {
		return "" // the cause is somewhere in it
	}
	return own
}

// A daemon is the running process.
type daemon struct {
	config   *config.Config
	log      zerolog.Logger
	checks   *extauthz.Server
	calls    *api.Server
	filters  *filtertoken.Issuer
	health   *healthServer
	services []service
	document []byte // of the API

	missingKeys func() []string // issuers whose tokens can't be verified

	mu      sync.Mutex
	serving bool
	stopped bool // it will not serve again
}

// setServing tells those who ask for health whether checks are decided.
func (d *daemon) setServing(serving bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return
	}
	d.tell(serving)
}

// stopServing is the last that is told of health.
func (d *daemon) stopServing() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell(false)
	d.stopped = true
}

func (d *daemon) tell(serving bool) {
	d.serving = serving
	status := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if serving {
		status = grpc_health_v1.HealthCheckResponse_SERVING
	}
	d.health.SetServingStatus("", status)
	d.health.SetServingStatus(extauthz.ServiceName, status)
	d.health.SetServingStatus(api.ServiceName, status)
	d.health.SetServingStatus(authzen.ServiceName, status)
	if d.config.AdminAPI {
		d.health.SetServingStatus(admin.ServiceName, status)
	}
}

func (d *daemon) isServing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.serving
}

// A server answers on a listener until it is stopped.
type server struct {
	key      string // below listen
	listener *listener.Listener
	serve    func() error
	drain    func(context.Context) error // lets what is under way end; nil: it need not
	stop     func()
}

func (d *daemon) run(ctx context.Context, reloader *reloader) error {
	servers, err := d.open()
	defer func() {
		for _, s := range servers {
			s.stop()
			s.listener.Close()
		}
	}()
	if err != nil {
		return err
	}
	failed := make(chan error, len(servers))
	for _, s := range servers {
		go func() { failed <- s.serve() }()
	}

	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch.Folders(watching, []string{d.config.PoliciesDir, d.config.RoutesDir}, watch.Options{
			Debounce: d.config.ReloadDebounce,
			Poll:     d.config.ReloadPoll,
			Failed:   func(err error) { d.log.Warn().Err(err).Msg("watching the folders failed; polling goes on") },
		}, func() { _ = reloader.reload() }) // it has logged what is wrong
	}()
	line := d.log.Info()
	var renewals sync.WaitGroup
	defer renewals.Wait()
	for _, s := range servers {
		line = line.Str(s.key, s.listener.Address())
		if s.listener.Certificates != nil {
			renewals.Go(func() { d.renew(watching, s) })
		}
	}
	line.Bool("ready", d.isServing()).Msg("listening")

	var failure error
	select {
	case err := <-failed:
		failure = statusError{exitFailure, fmt.Errorf("a listener failed: %w", err)}
	case <-ctx.Done():
		d.drain(servers)
	}
	stopWatching()
	select {
	case <-watched:
	case <-time.After(d.config.ShutdownTimeout): // a reload that takes so long
	}
	return failure
}

// open opens the listeners. Those that it gives with an error must be closed,
// too.
func (d *daemon) open() ([]*server, error) {
	c := d.config
	var servers []*server
	open := func(key, address string, secure *listener.TLS, serve func(*listener.Listener) *server) error {
		refused := d.log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Minute})
		l, err := listener.Open(listener.Options{
			Address: address, Socket: c.Socket, TLS: secure,
			Refused: func(err error) { refused.Warn().Err(err).Str("listener", key).Msg("a connection was closed") },
		})
		if err != nil {
			return statusError{exitUsage, fmt.Errorf("%s: %w", settingOf(key, err), err)}
		}
		s := serve(l)
		s.key, s.listener = key, l
		servers = append(servers, s)
		return nil
	}
	if err := open("extAuthz", c.ExtAuthz, c.TLS.ExtAuthz, d.serveChecks); err != nil {
		return servers, err
	}
	if c.ExtAuthzHTTP != "" {
		if err := open("extAuthzHTTP", c.ExtAuthzHTTP, c.TLS.ExtAuthzHTTP, func(l *listener.Listener) *server {
			return d.serveHTTP(l, d.checks.NewHTTPServer(c.ExtAuthzHTTPOptions), "http/1.1")
		}); err != nil {
			return servers, err
		}
	}
	if c.APIGRPC != "" {
		if err := open("apiGRPC", c.APIGRPC, c.TLS.APIGRPC, d.serveCalls); err != nil {
			return servers, err
		}
	}
	if c.APIHTTP != "" {
		if err := open("apiHTTP", c.APIHTTP, c.TLS.APIHTTP, d.serveCallsHTTP); err != nil {
			return servers, err
		}
	}
	err := open("admin", c.Admin, c.TLS.Admin, func(l *listener.Listener) *server {
		s := d.serveHTTP(l, &http.Server{Handler: newAdmin(d.checks, d.isServing, d.missingKeys, c.RequireKeys), ReadHeaderTimeout: 5 * time.Second}, "h2", "http/1.1")
		s.drain = nil // it tells how far the others are
		return s
	})
	return servers, err
}

// settingOf names the setting of a listener that an error is about.
func settingOf(key string, err error) string {
	var wrong *listener.TLSError
	if errors.As(err, &wrong) {
		return "listen.tls." + key
	}
	return "listen." + key
}

// renew keeps the certificates of a listener up to date until ctx ends.
func (d *daemon) renew(ctx context.Context, s *server) {
	s.listener.Certificates.Watch(ctx, d.config.ReloadCertificates, func(err error) {
		if err != nil {
			d.log.Error().Err(err).Str("listener", s.key).Msg("the certificates in use are the old ones")
			return
		}
		d.log.Info().Str("listener", s.key).Time("expires", s.listener.Certificates.Expiry()).Msg("new certificates are in use")
	})
}

func (d *daemon) serveChecks(l *listener.Listener) *server {
	return d.serveGRPC(l, extauthz.ServerOptions(), d.checks.Register)
}

// serveGRPC serves a service of gRPC, beside health and reflection.
func (d *daemon) serveGRPC(l *listener.Listener, options []grpc.ServerOption, register ...func(grpc.ServiceRegistrar)) *server {
	if l.Certificates != nil {
		config := l.Certificates.Config("h2")
		options = append(options, grpc.Creds(serverTLS{credentials.NewTLS(config), config, d.failures()}))
	}
	s := d.newGRPC(options, register...)
	return &server{
		serve: func() error { return s.Serve(l.Listener) },
		stop:  s.Stop,
		drain: func(ctx context.Context) error {
			// GracefulStop waits as long as calls take.
			defer context.AfterFunc(ctx, s.Stop)()
			s.GracefulStop()
			return ctx.Err()
		},
	}
}

// newGRPC gives a gRPC server with services, health and reflection.
func (d *daemon) newGRPC(options []grpc.ServerOption, register ...func(grpc.ServiceRegistrar)) *grpc.Server {
	s := grpc.NewServer(options...)
	for _, r := range register {
		r(s)
	}
	grpc_health_v1.RegisterHealthServer(s, d.health)
	reflection.Register(s)
	return s
}

// failures gives what tells of connections that come to nothing, now and then.
func (d *daemon) failures() func(error) {
	log := d.log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Minute})
	return func(err error) { log.Warn().Err(err).Msg("a connection failed") }
}

// serverTLS is TLS for gRPC that takes clients which name no protocol (ALPN).
// Envoy names none unless its alpn_protocols say so, and gRPC's own credentials
// would refuse it. One that names others is refused. It tells of handshakes that
// fail, of which gRPC says nothing.
type serverTLS struct {
	credentials.TransportCredentials // for what a server does not ask
	config                           *tls.Config
	failed                           func(error)
}

// ServerHandshake implements credentials.TransportCredentials.
func (c serverTLS) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn := tls.Server(raw, c.config)
	if err := conn.Handshake(); err != nil { // gRPC has set a deadline
		raw.Close()
		c.failed(fmt.Errorf("TLS handshake with %s: %w", raw.RemoteAddr(), err))
		return nil, nil, err
	}
	info := credentials.TLSInfo{State: conn.ConnectionState()}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	return conn, info, nil
}

// toldWriter takes what net/http has to say.
type toldWriter func(error)

// Write implements io.Writer.
func (tell toldWriter) Write(line []byte) (int, error) {
	tell(errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// serveHTTP serves HTTP of the protocols, as ALPN names them.
func (d *daemon) serveHTTP(l *listener.Listener, s *http.Server, protocols ...string) *server {
	s.ErrorLog = stdlog.New(toldWriter(d.failures()), "", 0)
	serve := func() error { return s.Serve(l.Listener) }
	if l.Certificates != nil {
		s.TLSConfig = l.Certificates.Config(protocols...)
		serve = func() error { return s.ServeTLS(l.Listener, "", "") }
	}
	return &server{serve: serve, drain: s.Shutdown, stop: func() { _ = s.Close() }}
}

// drain stops the servers without losing calls: it says that it is not serving,
// gives Envoy's health checks the time to see that, and lets calls that are
// under way end.
func (d *daemon) drain(servers []*server) {
	d.log.Info().Stringer("delay", d.config.ShutdownDelay).Msg("shutting down; a second signal ends it at once")
	d.stopServing()
	time.Sleep(d.config.ShutdownDelay)
	close(d.health.closing)
	ctx, cancel := context.WithTimeout(context.Background(), d.config.ShutdownTimeout)
	defer cancel()
	var drained sync.WaitGroup
	for _, s := range servers {
		drained.Go(func() {
			if s.drain != nil && s.drain(ctx) != nil {
				d.log.Warn().Str("listener", s.key).Msg("calls under way were cut off")
			}
		})
	}
	drained.Wait()
	d.log.Info().Msg("stopped")
}
