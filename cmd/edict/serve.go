package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/watch"
	"edict/engine/diag"
	"edict/extauthz"
)

func newServe(environ []string, stderr io.Writer) *cobra.Command {
	var file string
	var sets []string
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer Envoy's checks",
		Long: "Serve answers Envoy's external authorization checks until it gets SIGTERM or SIGINT.\n" +
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
	checks := &extauthz.Server{Panicked: func(v any, stack []byte) {
		log.Error().Interface("panic", v).Bytes("stack", stack).Msg("a check panicked and was denied")
	}}
	if log.GetLevel() <= zerolog.DebugLevel {
		c.Checks.Observe = both(c.Checks.Observe, logDecision(log))
	}
	d := &daemon{config: c, log: log, checks: checks, health: newHealthServer()}
	d.setServing(false)
	reloader, err := newReloader(c, checks, d.setServing, log)
	if err != nil {
		return statusError{exitUsage, err}
	}
	// Broken policies end a start at once: there is no older set to serve, and
	// whoever rolls them out should learn. Absent ones are waited for.
	var list diag.List
	if err := reloader.reload(); errors.As(err, &list) {
		return statusError{exitUncompiled, errors.New("the policies and routes were not loaded; the log says why")}
	}
	return d.run(ctx, reloader)
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

// logDecision logs every check, for development.
func logDecision(log zerolog.Logger) func(*extauthz.Record) {
	return func(r *extauthz.Record) {
		e := log.Debug().Stringer("outcome", r.Outcome).Str("route", r.Route).
			Str("principal", r.Principal).Str("provenance", string(r.Source)).
			Str("kind", r.Kind).Str("resource", r.Resource).
			Str("method", r.Method).Str("path", r.Path).Str("requestId", r.RequestID).Str("decision", r.ID).
			Str("revision", r.Revision)
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
	config *config.Config
	log    zerolog.Logger
	checks *extauthz.Server
	health *healthServer

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
}

func (d *daemon) isServing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.serving
}

func (d *daemon) run(ctx context.Context, reloader *reloader) error {
	authz, err := listen(d.config.ExtAuthz)
	if err != nil {
		return statusError{exitUsage, fmt.Errorf("listen.extAuthz: %w", err)}
	}
	defer authz.Close()
	admin, err := listen(d.config.Admin)
	if err != nil {
		return statusError{exitUsage, fmt.Errorf("listen.admin: %w", err)}
	}
	defer admin.Close()

	grpcServer := d.newGRPCServer()
	adminServer := &http.Server{Handler: newAdmin(d.checks, d.isServing), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- grpcServer.Serve(authz) }()
	go func() { failed <- adminServer.Serve(admin) }()
	defer adminServer.Close()
	defer grpcServer.Stop()

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
	d.log.Info().Str("extAuthz", address(authz)).Str("admin", address(admin)).Bool("ready", d.isServing()).Msg("listening")

	var failure error
	select {
	case err := <-failed:
		failure = statusError{exitFailure, fmt.Errorf("a listener failed: %w", err)}
	case <-ctx.Done():
		d.drain(grpcServer)
	}
	stopWatching()
	select {
	case <-watched:
	case <-time.After(d.config.ShutdownTimeout): // a reload that takes so long
	}
	return failure
}

// address gives where a listener listens, in the form of the configuration.
func address(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// drain stops the server without losing calls: it says that it is not serving,
// gives Envoy's health checks the time to see that, and lets calls that are
// under way end.
func (d *daemon) drain(s *grpc.Server) {
	d.log.Info().Stringer("delay", d.config.ShutdownDelay).Msg("shutting down; a second signal ends it at once")
	d.stopServing()
	time.Sleep(d.config.ShutdownDelay)
	close(d.health.closing)
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(d.config.ShutdownTimeout):
		d.log.Warn().Msg("calls under way were cut off")
		s.Stop()
		<-done
	}
	d.log.Info().Msg("stopped")
}

func (d *daemon) newGRPCServer() *grpc.Server {
	s := grpc.NewServer(extauthz.ServerOptions()...)
	d.checks.Register(s)
	grpc_health_v1.RegisterHealthServer(s, d.health)
	reflection.Register(s)
	return s
}
