package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"edict/cmd/edict/internal/repl"
	"edict/engine/diag"
	"edict/engine/folder"
)

// replFlags are the flags of `edict repl`.
type replFlags struct {
	config   string
	sets     []string
	policies string
	request  string
}

func newREPL(environ []string, stderr io.Writer) *cobra.Command {
	var o replFlags
	c := &cobra.Command{
		Use:   "repl",
		Short: "Try CEL expressions and policies, line by line",
		Long: "Repl evaluates CEL as the conditions of policies do, with their variables and constants, and decides\n" +
			"by the policies: at a terminal with completion and history, elsewhere as a script.\n" +
			"A script ends with 0 if every line was right, with 1 if one was not, and with 3 if the policies do\n" +
			"not compile.",
		Example: "  edict repl --policies policies --request request.json\n  echo '1 + 1' | edict repl",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.run(c, environ, stderr)
		},
	}
	f := c.Flags()
	f.StringVar(&o.policies, "policies", "", "folder of the policies (default: policies.dir of the configuration, if it is there)")
	f.StringVar(&o.config, "config", "", "configuration file (YAML), for what changes decisions")
	f.StringArrayVar(&o.sets, "set", nil, "set one key, as in --set engine.globals='{env: test}'; may be repeated")
	f.StringVar(&o.request, "request", "", "file with the request to begin with, as JSON or YAML")
	return c
}

func (o *replFlags) run(c *cobra.Command, environ []string, stderr io.Writer) error {
	for _, name := range []string{"config", "policies", "request"} {
		if c.Flags().Changed(name) && c.Flags().Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s needs a name", name)
		}
	}
	cfg, err := loadSettings(o.config, environ, o.sets, stderr)
	if err != nil {
		return err
	}
	dir := cmp.Or(o.policies, cfg.PoliciesDir)
	if o.policies == "" && !exists(dir) {
		dir = "" // expressions alone will do
	} else if _, list := folder.Open(dir); len(list) > 0 {
		return statusError{exitUsage, list}
	}
	in, isFile := c.InOrStdin().(*os.File)
	person := isFile && term.IsTerminal(int(in.Fd())) && isTerminal(c.OutOrStdout())
	options := repl.Options{Policies: dir, Engine: cfg.Engine(), Out: c.OutOrStdout(), Err: stderr}
	if person {
		options.Color = !noColor(environ)
	} else {
		options.File = "stdin"
	}
	s, list, err := repl.New(options)
	if err != nil {
		return statusError{exitUsage, err}
	}
	if len(list) > 0 {
		fmt.Fprint(stderr, diag.Style{Severities: true, Color: options.Color}.Render(list.Sorted()))
		if !person {
			return statusError{exitUncompiled, errors.New("the policies do not compile")}
		}
		fmt.Fprintln(stderr, "edict: the policies do not compile; they are read again when they change")
	}
	if o.request != "" {
		if err := s.Load(o.request); err != nil {
			var list diag.List
			if errors.As(err, &list) {
				fmt.Fprint(stderr, list.Render())
				return statusError{status: exitUsage}
			}
			return statusError{exitUsage, fmt.Errorf("--request: %w", err)}
		}
	}
	if person {
		err := s.Interactive(c.Context(), in, c.OutOrStdout().(*os.File), repl.HistoryFile(environ))
		if err != nil && !errors.Is(err, context.Canceled) {
			return statusError{exitFailure, err}
		}
		return nil
	}
	ok, err := s.Script(c.Context(), c.InOrStdin())
	switch {
	case err != nil:
		return statusError{exitFailure, err}
	case !ok:
		return statusError{status: exitFailure}
	}
	return nil
}
