// Command edict decides, for Envoy, who may do what.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edict/engine/diag"
)

// The exit statuses. Scripts rely on them.
const (
	exitOK         = 0
	exitFailure    = 1 // something unexpected
	exitUsage      = 2 // wrong usage or configuration
	exitUncompiled = 3 // policies or routes do not compile
	exitTests      = 4 // tests failed, or could not be run
	exitGate       = 5 // a gate was not met
)

func main() {
	ctx, stop := untilSignalled(context.Background(), os.Stderr)
	status := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// untilSignalled gives a context that ends with the first SIGINT or SIGTERM.
// The second signal ends the process at once.
func untilSignalled(parent context.Context, stderr io.Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		fmt.Fprintln(stderr, "edict: second signal, not waiting any longer")
		os.Exit(exitFailure)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}

// run is the whole command: its arguments and streams in, its exit status out.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(environ, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var status statusError
	if !errors.As(err, &status) {
		// What cobra itself complains about is wrong usage.
		status = statusError{exitUsage, fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
	}
	if status.err != nil {
		fmt.Fprintf(stderr, "edict: %v\n", status.err)
	}
	return status.status
}

// noArgs refuses arguments. To a command with subcommands an argument is a
// subcommand that there is not.
func noArgs(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !c.HasAvailableSubCommands():
		return fmt.Errorf("`%s` takes no arguments, got %q", c.CommandPath(), args[0])
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return suggest(fmt.Errorf("there is no command %q", args[0]), args[0], names)
}

// flagError names the flag that an unknown one may have been meant for.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return suggest(err, "--"+unknown.GetSpecifiedName(), names)
}

func suggest(err error, name string, candidates []string) error {
	if hint := diag.DidYouMean(name, candidates); hint != "" {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}

// A statusError ends the command with a status. A nil err has been told
// already.
type statusError struct {
	status int
	err    error
}

func (e statusError) Error() string { return fmt.Sprint(e.err) }

func (e statusError) Unwrap() error { return e.err }

func newRoot(environ []string, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "edict",
		Version:       version,
		Short:         "Edict decides, at the proxy, who may do what",
		Long:          "Edict answers Envoy's external authorization checks by policies in the Cerbos format.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newCheck(environ, stderr), newCompile(environ, stderr), newEnvoyConfig(environ, stderr), newExplain(environ, stderr), newSchema(), newREPL(environ, stderr), newRecord(environ, stderr), newRoutes(environ, stderr), newServe(environ, stderr), newTest(environ, stderr), newVersion())
	return root
}
