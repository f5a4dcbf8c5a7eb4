package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"edict/cmd/edict/internal/openapi"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/diag/report"
	"edict/engine/folder"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// newRoutes is `edict routes`, whose subcommands are about route maps.
func newRoutes(environ []string, stderr io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "routes",
		Short: "Make route maps from OpenAPI documents, and check them",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	c.AddCommand(newFromOpenAPI(stderr), newRoutesCheck(environ, stderr))
	return c
}

// openAPIFlags say what an OpenAPI document need not say itself.
type openAPIFlags struct {
	name   string
	hosts  []string
	prefix string
}

func (o *openAPIFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&o.name, "name", "", "name of the route map; by default x-edict.name at the top of the document, or its title")
	c.Flags().StringArrayVar(&o.hosts, "host", nil, "host of the route map; may be repeated; by default x-edict.hosts at the top of the document")
	c.Flags().StringVar(&o.prefix, "prefix", "", "what stands before every path; by default the path of the document's servers")
}

func (o *openAPIFlags) options(c *cobra.Command) openapi.Options {
	out := openapi.Options{Name: o.name, Hosts: o.hosts}
	if c.Flags().Changed("prefix") {
		out.Prefix = &o.prefix
	}
	return out
}

// newFromOpenAPI is `edict routes from-openapi`.
func newFromOpenAPI(stderr io.Writer) *cobra.Command {
	var o openAPIFlags
	var output, schema string
	c := &cobra.Command{
		Use:   "from-openapi FILE",
		Short: "Make a route map from an OpenAPI document",
		Long: "From-openapi reads an OpenAPI 3 document (- for standard input), in JSON or YAML, and writes the route map that\n" +
			"it describes. What a route needs beyond method and path stands in the document under x-edict; see docs/openapi.md.\n" +
			"An operation of which nothing says what it is about is an error: every operation is mapped, public by word,\n" +
			"or left out by word. It ends with 3 if there is one.",
		Example: "  edict routes from-openapi openapi.json > routes/shop.yaml\n" +
			"  python -c 'import json, app; print(json.dumps(app.app.openapi(), indent=1))' | edict routes from-openapi - --name shop",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return fmt.Errorf("`%s` takes one file, or - for standard input", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			name, content, err := readInput(c.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			options := o.options(c)
			options.Schema = schema
			made, list := openapi.Generate(name, content, options)
			if len(list) > 0 {
				fmt.Fprint(stderr, list.Render())
				return statusError{exitUncompiled, errors.New("there is no route map, since the document is not sound")}
			}
			if output != "" {
				if err := os.WriteFile(output, made.Content, 0o666); err != nil {
					return statusError{exitFailure, err}
				}
			} else if _, err := c.OutOrStdout().Write(made.Content); err != nil {
				return statusError{exitFailure, err}
			}
			left := ""
			if made.Left > 0 {
				left = fmt.Sprintf(", %d left out by word", made.Left)
			}
			fmt.Fprintf(stderr, "%s: %s%s\n", made.Name, plural(len(made.Routes), "route", "routes"), left)
			return nil
		},
	}
	o.add(c)
	c.Flags().StringVar(&schema, "schema", "", "begin with a line that tells editors where the schema of route maps is")
	c.Flags().StringVarP(&output, "output", "o", "", "write the route map to this file")
	return c
}

// routesCheck are the flags of `edict routes check`.
type routesCheck struct {
	config           string
	sets             []string
	policies, routes string
	document         string // OpenAPI
	openAPIFlags
	format string
}

var routesFormats = [...]string{"text", "json", "sarif", "github"}

// newRoutesCheck is `edict routes check`.
func newRoutesCheck(environ []string, stderr io.Writer) *cobra.Command {
	var o routesCheck
	c := &cobra.Command{
		Use:   "check",
		Short: "Compile route maps, and tell if one has drifted from its OpenAPI document",
		Long: "Check compiles the route maps with the policies as `edict serve` would. With --openapi it makes the route map\n" +
			"of the document anew, too, and compares it with the one of that name in the folder.\n" +
			"It ends with 0 if all is well, with 3 if something does not compile, and with 5 if the two differ.",
		Example: "  edict routes check\n  edict routes check --openapi openapi.json --routes envoy/routes",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(routesFormats[:], o.format) {
				return suggest(fmt.Errorf("there is no format %q", o.format), o.format, routesFormats[:])
			}
			for _, name := range []string{"config", "policies", "routes", "openapi"} {
				if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return fmt.Errorf("--%s needs a name", name)
				}
			}
			return o.run(c, environ, stderr)
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "configuration file (YAML)")
	f.StringArrayVar(&o.sets, "set", nil, "set one key; may be repeated")
	f.StringVar(&o.policies, "policies", "", "folder of the policies; by default policies.dir of the configuration")
	f.StringVar(&o.routes, "routes", "", "folder of the route maps; by default routes.dir of the configuration")
	f.StringVar(&o.document, "openapi", "", "OpenAPI document that a route map was made from, or - for standard input")
	o.add(c)
	f.StringVar(&o.format, "format", "text", "text, json, sarif or github")
	return c
}

func (o *routesCheck) run(c *cobra.Command, environ []string, stderr io.Writer) error {
	var d document
	if o.document != "" {
		// First of all, so that what writes it into a pipe can always end.
		var err error
		if d.name, d.content, err = readInput(c.InOrStdin(), o.document); err != nil {
			return err
		}
	}
	cfg, err := loadSettings(o.config, environ, o.sets, stderr)
	if err != nil {
		return err
	}
	policies, routes := cleaned(cmp.Or(o.policies, cfg.PoliciesDir)), cleaned(cmp.Or(o.routes, cfg.RoutesDir))
	p, err := readPolicies(policies, cfg.SchemaEnforcement == engine.SchemaNone)
	if err != nil {
		return err
	}
	fsys, missing := folder.Open(routes)
	if len(missing) > 0 {
		return statusError{exitUsage, missing}
	}
	files, list := folder.Read(fsys, routes, nil)
	parsed, more := routemap.ParseAll(files)
	list = slices.Concat(p.broken, list, more)
	compiler, err := extauthz.NewCompiler(cfg.Engine(), cfg.Checks)
	if err != nil {
		return statusError{exitUsage, err}
	}
	compiled := 0
	var doubts diag.List
	if len(list) == 0 {
		var revision *extauthz.Revision
		if revision, list = compiler.Compile("checked", p.sources.Policies, p.schemas, parsed); revision != nil {
			compiled = revision.Routes()
			doubts = compiler.Doubts(p.sources.Policies, parsed)
		}
		p.locate(list)
	}
	status, complaint := exitUncompiled, "the policies and routes do not compile"
	well := fmt.Sprintf("%s compiled: %s in %s\n", routes, plural(compiled, "route", "routes"), plural(len(parsed), "route map", "route maps"))
	if len(list) == 0 && o.document != "" {
		var made *openapi.RouteMap
		made, list = o.drift(c, d, files, parsed)
		status, complaint = exitGate, "the route map is not what the document says"
		if slices.ContainsFunc(list, func(d diag.Diagnostic) bool { return !drifted[d.Code] }) {
			status, complaint = exitUncompiled, "the document is not sound"
		}
		if len(list) == 0 {
			well += fmt.Sprintf("%s agrees with the route map %s: %s\n", d.name, made.Name, plural(len(made.Routes)+made.Left, "operation", "operations"))
		}
	}
	failed := len(list) > 0
	if err := o.write(c.OutOrStdout(), slices.Concat(list, doubts).Sorted(), well); err != nil {
		return statusError{exitFailure, err}
	}
	if failed {
		return statusError{status, errors.New(complaint)}
	}
	return nil
}

var drifted = map[diag.Code]bool{openapi.DriftMissing: true, openapi.DriftExtra: true, openapi.DriftChanged: true}

// A document is an OpenAPI document as it was read.
type document struct {
	name    string
	content []byte
}

// drift makes the route map of the document, nil if it is not sound, and
// compares it with the one of its name.
func (o *routesCheck) drift(c *cobra.Command, d document, files []folder.File, parsed []*routemap.File) (*openapi.RouteMap, diag.List) {
	made, list := openapi.Generate(d.name, d.content, o.options(c))
	if len(list) > 0 {
		return nil, list
	}
	for _, f := range parsed {
		if f.Name.Value != made.Name {
			continue
		}
		for i := range files {
			if files[i].Name == f.Name.Pos.File {
				return made, openapi.Drift(made, d.name, files[i].Name, files[i].Content)
			}
		}
	}
	return made, diag.List{{Pos: diag.Position{File: d.name}, Code: openapi.DriftMissing,
		Message: fmt.Sprintf("there is no route map called %s", made.Name), Hint: "make it: edict routes from-openapi"}}
}

// write writes what is wrong or doubtful, and, if nothing is wrong, that all is
// well.
func (o *routesCheck) write(w io.Writer, list diag.List, well string) error {
	switch o.format {
	case "json":
		type problem struct {
			File     string `json:"file"`
			Line     int    `json:"line,omitempty"`
			Column   int    `json:"column,omitempty"`
			Severity string `json:"severity"`
			Code     string `json:"code"`
			Message  string `json:"message"`
			Hint     string `json:"hint,omitempty"`
		}
		out := struct {
			Problems []problem `json:"problems"`
		}{[]problem{}}
		for _, d := range list {
			out.Problems = append(out.Problems, problem{d.Pos.File, d.Pos.Line, d.Pos.Column, d.Severity.String(), string(d.Code), d.Message, d.Hint})
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	case "sarif", "github":
		pages, err := catalogue.Load()
		if err != nil {
			return err
		}
		if o.format == "sarif" {
			return report.SARIF(w, list, version, pages)
		}
		return report.GitHub(w, list)
	}
	text := diag.Style{Severities: true}.Render(list)
	if list.Count(diag.Error) == 0 {
		text += well
	}
	_, err := io.WriteString(w, text)
	return err
}
