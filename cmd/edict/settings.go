package main

import (
	"fmt"
	"io"

	"edict/cmd/edict/internal/config"
	"edict/engine/diag"
	"edict/extauthz"
	"edict/extauthz/filtertoken"
)

// signForShow gives the checks of a command that answers none of Envoy's what
// signs filters as `edict serve` does, but with a key that nobody knows.
func signForShow(cfg *config.Config, checks *extauthz.Options) error {
	o := cfg.Filters
	o.KeyFile = ""
	tokens, err := filtertoken.New(o)
	if err != nil {
		return statusError{exitUsage, fmt.Errorf("filter: %w", err)}
	}
	checks.Filter.Tokens = tokens
	return nil
}

// loadSettings loads the configuration of a command that ends by itself, and
// writes what is to be warned of. The error, of status exitUsage, has been told.
func loadSettings(file string, environ, sets []string, stderr io.Writer) (*config.Config, error) {
	cfg, unknown, list := config.Load(file, environ, sets)
	if len(list) > 0 {
		fmt.Fprint(stderr, list.Render())
		return nil, statusError{status: exitUsage}
	}
	fmt.Fprint(stderr, diag.Style{Severities: true}.Render(cfg.Warnings))
	for _, name := range unknown {
		fmt.Fprintf(stderr, "edict: warning: the environment variable %s begins like a setting and is none\n", name)
	}
	return cfg, nil
}
