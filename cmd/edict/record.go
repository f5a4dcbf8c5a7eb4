package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"edict/cmd/edict/internal/envoycheck"
	"edict/extauthz"
)

// newRecord is `edict record`: `edict serve` that also writes down what it is
// asked.
func newRecord(environ []string, stderr io.Writer) *cobra.Command {
	var file, output string
	var sets []string
	var o envoycheck.RecorderOptions
	c := &cobra.Command{
		Use:   "record",
		Short: "Answer Envoy's checks, and write them down for `edict check` and tests",
		Long: "Record answers as `edict serve` does, by the same configuration, and writes each check to a file that\n" +
			"`edict check --check-request` and route tests can replay. Credentials are taken out before anything is\n" +
			"written: headers, cookies and query parameters that hold them by their name, and bodies unless --bodies\n" +
			"is given. Claims that Envoy verified stay, since decisions hang on them; name those that must not.\n" +
			"Answers never wait for a file: what can't be written in time is left out and counted.",
		Example: "  edict record --config edict.yaml --output recorded --max 200\n" +
			"  edict record --output recorded --outcome deny --redact-claim email",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				return errors.New("--output names the folder to write to, and is missing")
			}
			if o.Max < 0 || o.Every < 0 {
				return errors.New("--max and --every can't be negative")
			}
			for _, label := range o.Outcomes {
				if labels := extauthz.OutcomeLabels(); !slices.Contains(labels, label) {
					return suggest(fmt.Errorf("there is no outcome %q; known: %s", label, strings.Join(labels, ", ")), label, labels)
				}
			}
			cfg, log, err := loadServe(file, c.Flags().Changed("config"), environ, sets, stderr)
			if err != nil {
				return err
			}
			o.Failed = func(err error) { log.Warn().Err(err).Msg("a check could not be recorded") }
			o.Redactor.Know(cfg.Checks.Identity)
			recorder, err := envoycheck.NewRecorder(output, o)
			if err != nil {
				return statusError{exitUsage, fmt.Errorf("--output: %w", err)}
			}
			cfg.Checks.Observe = recorder.Observe
			err = serve(c.Context(), cfg, log)
			written, dropped := recorder.Close()
			log.Info().Str("folder", output).Int64("written", written).Int64("leftOut", dropped).Msg("recorded")
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "configuration file (YAML)")
	f.StringArrayVar(&sets, "set", nil, "set one key, as in --set log.level=debug; may be repeated")
	f.StringVarP(&output, "output", "o", "", "folder to write to; it is made if it is missing")
	f.IntVar(&o.Max, "max", 1000, "write so many files at most; 0: no bound")
	f.IntVar(&o.Every, "every", 1, "of every so many checks write one")
	f.StringArrayVar(&o.Outcomes, "outcome", nil, "write only checks that end so, as in deny; may be repeated")
	f.StringArrayVar(&o.Routes, "route", nil, "write only checks of this route, as in shop/read, or shop/*; may be repeated")
	f.BoolVar(&o.Redactor.Bodies, "bodies", false, "write bodies, too")
	f.StringArrayVar(&o.Redactor.Headers, "redact-header", nil, "take out this header, too; may be repeated")
	f.StringArrayVar(&o.Redactor.Claims, "redact-claim", nil, "take out the claims, and whatever metadata, of this name; may be repeated")
	return c
}
