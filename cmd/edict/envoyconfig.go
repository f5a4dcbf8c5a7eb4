package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/envoyconfig"
	"edict/cmd/edict/internal/envoylint"
	"edict/cmd/edict/internal/listener"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/diag/report"
	"edict/engine/folder"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// newEnvoyConfig is `edict envoy-config`, which prints the configuration of the
// proxy that fits Edict's, and judges one that is there.
func newEnvoyConfig(environ []string, stderr io.Writer) *cobra.Command {
	var file, address string
	var sets []string
	target, format := "envoy", "yaml"
	c := &cobra.Command{
		Use:   "envoy-config",
		Short: "Print the configuration of Envoy that fits, and find what is wrong with one",
		Long: "Envoy-config reads the configuration, the policies and the route maps as `edict serve` would,\n" +
			"and prints what the proxy needs so that Edict gets all it reads, and nothing passes unchecked:\n" +
			"  envoy    a bootstrap of Envoy, with the filter, its cluster, and what they rely on\n" +
			"  http     the same with the HTTP variant of ext_authz\n" +
			"  network  a bootstrap with the filter for TCP\n" +
			"  istio    provider, policy and patches for a mesh\n" +
			"  gateway  policies of Envoy Gateway\n" +
			"What only you know, such as the issuer of tokens, has the domain example.com in it.",
		Example: "  edict envoy-config --config edict.yaml > envoy.yaml\n  edict envoy-config --for istio --address edict.edict.svc.cluster.local:9001\n" +
			"  edict envoy-config lint --config edict.yaml envoy.yaml\n  curl -s localhost:9901/config_dump | edict envoy-config lint -",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := named(c, "config", "address"); err != nil {
				return err
			}
			if !slices.Contains(envoyconfig.Targets(), target) {
				return suggest(fmt.Errorf("there is no proxy %q", target), target, envoyconfig.Targets())
			}
			if formats := []string{"yaml", "json"}; !slices.Contains(formats, format) {
				return suggest(fmt.Errorf("there is no format %q", format), format, formats)
			}
			cfg, err := loadSettings(file, environ, sets, stderr)
			if err != nil {
				return err
			}
			needs, err := proxyNeeds(cfg, stderr)
			if err != nil {
				return err
			}
			out, err := envoyconfig.Generate(target, envoyconfig.Edict{
				Needs: needs, Address: address, HTTPOptions: cfg.ExtAuthzHTTPOptions,
				GRPC: proxyListener(cfg.ExtAuthz, cfg.TLS.ExtAuthz), HTTP: proxyListener(cfg.ExtAuthzHTTP, cfg.TLS.ExtAuthzHTTP),
			})
			if err != nil {
				return statusError{exitUsage, err}
			}
			// What is printed is held to what is asked of others.
			fmt.Fprint(stderr, diag.Style{Severities: true}.Render(envoylint.Lint(
				[]envoylint.File{{Name: "envoy-config", Content: out}}, envoylint.Options{Needs: &needs}).Findings))
			if format == "json" {
				if out, err = envoyconfig.JSON(out); err != nil {
					return statusError{exitFailure, err}
				}
			}
			if _, err := c.OutOrStdout().Write(out); err != nil {
				return statusError{exitFailure, err}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "configuration file of Edict (YAML)")
	f.StringArrayVar(&sets, "set", nil, "set one key, as in --set body.limit=8192; may be repeated")
	f.StringVar(&target, "for", target, "envoy, http, network, istio or gateway")
	f.StringVar(&format, "format", format, "yaml or json")
	f.StringVar(&address, "address", "", "where the proxy reaches Edict, host:port or unix:/path; by default where Edict listens")
	c.AddCommand(newEnvoyLint(environ, stderr))
	return c
}

// proxyListener says how a listener is to be spoken to.
func proxyListener(address string, t *listener.TLS) envoyconfig.Listener {
	l := envoyconfig.Listener{Address: address}
	if t != nil {
		l.TLS, l.ClientTLS, l.TLS13 = true, t.ClientCA != "", t.MinVersion == tls.VersionTLS13
	}
	return l
}

// named refuses flags that were given and are empty.
func named(c *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return fmt.Errorf("--%s needs a value", name)
		}
	}
	return nil
}

// proxyNeeds loads the policies and route maps of a configuration, and gives
// what they need of the proxy. What is wrong with them has been told.
func proxyNeeds(cfg *config.Config, stderr io.Writer) (extauthz.Needs, error) {
	files, err := readPolicies(filepath.ToSlash(filepath.Clean(cfg.PoliciesDir)), cfg.SchemaEnforcement == engine.SchemaNone)
	if err != nil {
		return extauthz.Needs{}, err
	}
	list := files.broken
	var routes []*routemap.File
	if cfg.RoutesGiven || exists(cfg.RoutesDir) {
		dir := filepath.ToSlash(filepath.Clean(cfg.RoutesDir))
		fsys, problems := folder.Open(dir)
		if len(problems) > 0 {
			return extauthz.Needs{}, statusError{exitUsage, problems}
		}
		read, problems := folder.Read(fsys, dir, nil)
		parsed, more := routemap.ParseAll(read)
		routes, list = parsed, slices.Concat(list, problems, more)
	}
	if len(list) == 0 {
		c, err := extauthz.NewCompiler(cfg.Engine(), cfg.Checks)
		if err != nil {
			return extauthz.Needs{}, statusError{exitUsage, err}
		}
		var revision *extauthz.Revision
		if revision, list = c.Compile("", files.sources.Policies, files.schemas, routes); revision != nil {
			return revision.Needs(), nil
		}
	}
	fmt.Fprint(stderr, list.Sorted().Render())
	return extauthz.Needs{}, statusError{exitUncompiled, errors.New("the policies and routes do not compile, so that what they need of the proxy is not known")}
}

// lintFormats are the words that --format of `edict envoy-config lint` takes.
var lintFormats = [...]string{"text", "json", "sarif", "github"}

// lintOptions are the flags of `edict envoy-config lint`.
type lintOptions struct {
	config   string
	sets     []string
	format   string
	warnings bool
	werror   bool
	colorFlags
}

func newEnvoyLint(environ []string, stderr io.Writer) *cobra.Command {
	o := lintOptions{format: "text"}
	c := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Find what would make enforcement leak or fail",
		Long: "Lint reads bootstraps and config dumps of Envoy, manifests of Istio and Envoy Gateway, and single parts\n" +
			"of them, in YAML or JSON, and says what would let requests pass unchecked, let clients forge what Edict\n" +
			"relies on, or make checks fail. - stands for standard input. With --config it knows what Edict reads.\n" +
			"Several files of Istio or Envoy Gateway are judged together; each Envoy has a file of its own.\n" +
			"It ends with 0 if there are no errors, with 5 if there are (with --werror, also if there are warnings),\n" +
			"and with 2 if a file can't be read or understood. `edict compile --explain CODE` tells more about a code.",
		Example: "  edict envoy-config lint envoy.yaml\n  edict envoy-config lint --config edict.yaml envoy/istio/*.yaml\n" +
			"  curl -s localhost:9901/config_dump | edict envoy-config lint --format sarif - > envoy.sarif",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("`%s` needs a file, or - for standard input", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := named(c, "config"); err != nil {
				return err
			}
			if !slices.Contains(lintFormats[:], o.format) {
				return suggest(fmt.Errorf("there is no format %q", o.format), o.format, lintFormats[:])
			}
			if err := o.colorFlags.check(); err != nil {
				return err
			}
			var options envoylint.Options
			if o.config != "" || len(o.sets) > 0 {
				cfg, err := loadSettings(o.config, environ, o.sets, stderr)
				if err != nil {
					return err
				}
				needs, err := proxyNeeds(cfg, stderr)
				if err != nil {
					return err
				}
				options.Needs = &needs
			}
			files, err := lintFiles(c.InOrStdin(), args)
			if err != nil {
				return statusError{exitUsage, err}
			}
			return o.report(c.OutOrStdout(), environ, envoylint.Lint(files, options))
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "configuration file of Edict (YAML), for what Edict reads")
	f.StringArrayVar(&o.sets, "set", nil, "set one key of it, as in --set body.limit=8192; may be repeated")
	f.StringVar(&o.format, "format", o.format, "text, json, sarif or github")
	f.BoolVar(&o.warnings, "warnings", true, "tell warnings, too")
	f.BoolVar(&o.werror, "werror", false, "end with 5 if there are warnings")
	o.colorFlags.add(f)
	return c
}

// maxLinted is the size of the largest file that is read.
const maxLinted = 64<<20 + 1

// lintFiles reads the files to judge.
func lintFiles(stdin io.Reader, names []string) ([]envoylint.File, error) {
	var out []envoylint.File
	for _, name := range names {
		f := envoylint.File{Name: filepath.ToSlash(name)}
		in := stdin
		if name == "-" {
			f.Name = "stdin"
		} else {
			opened, err := os.Open(name)
			if err != nil {
				return nil, err
			}
			defer opened.Close()
			in = opened
		}
		content, err := io.ReadAll(io.LimitReader(in, maxLinted))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		f.Content = content
		out = append(out, f)
	}
	return out, nil
}

// report writes the answer and gives the exit status.
func (o *lintOptions) report(out io.Writer, environ []string, result envoylint.Result) error {
	errs, warnings := result.Findings.Count(diag.Error), result.Findings.Count(diag.Warning)
	list := result.Findings
	if !o.warnings {
		list = slices.DeleteFunc(slices.Clone(list), func(d diag.Diagnostic) bool { return d.Severity == diag.Warning })
	}
	if err := o.write(out, environ, list); err != nil {
		return statusError{exitFailure, err}
	}
	switch {
	case result.Unreadable:
		return statusError{exitUsage, fmt.Errorf("not everything could be understood: %s", counted(errs, warnings))}
	case result.Judged == 0:
		return statusError{exitUsage, errors.New("nothing in these files says how Edict is asked")}
	case errs > 0:
		return statusError{exitGate, fmt.Errorf("enforcement leaks or fails: %s", counted(errs, warnings))}
	case warnings > 0 && o.werror:
		return statusError{exitGate, fmt.Errorf("--werror takes warnings for errors: %s", counted(0, warnings))}
	}
	return nil
}

func (o *lintOptions) write(out io.Writer, environ []string, list diag.List) error {
	pages, err := catalogue.Load()
	if err != nil {
		return err
	}
	switch o.format {
	case "sarif":
		return report.SARIF(out, list, version, pages)
	case "github":
		return report.GitHub(out, list)
	case "json":
		return encodeJSON(out, lintJSON(list, pages))
	}
	style := diag.Style{Color: o.colored(out, environ), Severities: true, Explain: func(code diag.Code) string {
		return "edict compile --explain " + string(code)
	}}
	text := style.Render(list)
	if len(list) == 0 {
		text = "nothing to mend\n"
	}
	_, err = io.WriteString(out, text)
	return err
}

// The JSON of `edict envoy-config lint`.
type (
	lintReport struct {
		Findings []lintFinding `json:"findings"`
		Summary  lintSummary   `json:"summary"`
	}
	lintFinding struct {
		Code     diag.Code   `json:"code"`
		Severity string      `json:"severity"`
		Place    lintPlace   `json:"place"`
		Message  string      `json:"message"`
		Hint     string      `json:"hint,omitempty"`
		Docs     string      `json:"docs,omitempty"`
		Related  []lintOther `json:"related,omitempty"`
	}
	lintPlace struct {
		File   string `json:"file"`
		Line   int    `json:"line,omitempty"`
		Column int    `json:"column,omitempty"`
	}
	lintOther struct {
		Place   lintPlace `json:"place"`
		Message string    `json:"message"`
	}
	lintSummary struct {
		Errors   int `json:"errors"`
		Warnings int `json:"warnings"`
	}
)

func lintJSON(list diag.List, pages catalogue.Catalogue) lintReport {
	out := lintReport{Findings: []lintFinding{}, Summary: lintSummary{list.Count(diag.Error), list.Count(diag.Warning)}}
	for _, d := range list {
		f := lintFinding{Code: d.Code, Severity: d.Severity.String(), Place: lintPlace(d.Pos), Message: d.Message, Hint: d.Hint}
		if e, ok := pages.Entry(d.Code); ok {
			f.Docs = e.URL()
		}
		for _, r := range d.Related {
			f.Related = append(f.Related, lintOther{lintPlace(r.Pos), r.Message})
		}
		out.Findings = append(out.Findings, f)
	}
	return out
}
