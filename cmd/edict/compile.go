package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edict/cmd/edict/internal/cerbosjson"
	"edict/cmd/edict/internal/config"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/diag/report"
	"edict/engine/folder"
	"edict/engine/lint"
	"edict/engine/suite"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// compileOptions are the flags of `edict compile`.
type compileOptions struct {
	config   string
	sets     []string
	routes   string
	format   string
	explain  string
	warnings bool
	werror   bool

	warningsAsked bool // --warnings was given, and is no default

	ignoreSchemas bool

	tests  testOptions
	filter suite.Filter // of tests.filters

	colorFlags
}

// compileFormats are the words that --format takes. The last two are those of
// `cerbos compile` for people; both mean text.
var compileFormats = [...]string{"text", "json", "sarif", "github", "tree", "list"}

func newCompile(environ []string, stderr io.Writer) *cobra.Command {
	o := compileOptions{format: "text"}
	c := &cobra.Command{
		Use:   "compile DIR",
		Short: "Compile policies, say what is wrong with them, and test them",
		Long: "Compile reads the policies of a folder as `edict serve` would, and says what is wrong with them,\n" +
			"all at once. With --routes it reads route maps, too: both are one revision.\n" +
			"Then it runs the tests that lie beside the policies, unless --skip-tests is given.\n" +
			"It ends with 0 if all is well, with 3 if the policies or routes do not compile, and with 4 if tests failed.",
		Example: "  edict compile policies --routes routes\n  edict compile policies --format sarif > edict.sarif\n  edict compile --explain unknown-import",
		Args:    compileArgs,
		RunE: func(c *cobra.Command, args []string) (err error) {
			defer func() {
				// No file that anybody writes may make the exit status lie.
				if p := recover(); p != nil {
					fmt.Fprintf(stderr, "%s", debug.Stack())
					err = statusError{exitFailure, fmt.Errorf("compiling panicked: %v", p)}
				}
			}()
			if err := o.check(c.Flags()); err != nil {
				return err
			}
			pages, err := catalogue.Load()
			if err != nil {
				return statusError{exitFailure, err}
			}
			o.tests.strictGiven = c.Flags().Changed("strict-evaluation")
			o.warningsAsked = o.warnings && c.Flags().Changed("warnings")
			if c.Flags().Changed("explain") {
				return explain(c.OutOrStdout(), pages, o.explain)
			}
			cfg, err := loadSettings(o.config, environ, o.sets, stderr)
			if err != nil {
				return err
			}
			run := &compileRun{compileOptions: o, cfg: cfg, pages: pages, dir: filepath.ToSlash(filepath.Clean(args[0])), out: c.OutOrStdout(), stderr: stderr}
			run.style = diag.Style{
				Color:      o.colored(run.out, environ),
				Severities: true,
				Explain:    run.explanation,
			}
			return run.run()
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "configuration file (YAML), for what changes decisions")
	f.StringArrayVar(&o.sets, "set", nil, "set one key, as in --set engine.globals='{env: test}'; may be repeated")
	f.StringVar(&o.routes, "routes", "", "folder of route maps, to compile with the policies")
	f.StringVar(&o.format, "format", "text", "text, json, sarif or github")
	f.StringVarP(&o.format, "output", "o", "text", "the same as --format; tree and list mean text")
	f.StringVar(&o.explain, "explain", "", "say what a code means, and how it is mended")
	f.BoolVar(&o.warnings, "warnings", true, "tell warnings, too; if given, also in JSON")
	f.BoolVar(&o.werror, "werror", false, "end with 3 if there are warnings")
	f.BoolVar(&o.ignoreSchemas, "ignore-schemas", false, "do not look at the JSON schemas that policies refer to")
	f.BoolVar(&o.tests.skip, "skip-tests", false, "do not run the tests of the policies")
	f.BoolVar(&o.tests.skipBatching, "skip-batching", false, "test each action by a call of its own")
	f.BoolVar(&o.tests.strict, "strict-evaluation", true, "deny what a condition with an error could decide; if given, also for tests that say otherwise")
	f.BoolVar(&o.tests.verbose, "verbose", false, "tell more about the tests")
	f.StringArrayVar(&o.tests.filters, "test-filter", nil, "run some tests only, as in 'suite=albums;action=view,edit'; may be repeated")
	f.StringVar(&o.tests.output, "test-output", "", "text, json, junit or tap; by default that of --format")
	o.colorFlags.add(f)
	return c
}

// compileArgs takes one folder, or none beside --explain.
func compileArgs(c *cobra.Command, args []string) error {
	switch explain := c.Flags().Changed("explain"); {
	case explain && len(args) == 0, !explain && len(args) == 1 && args[0] != "":
		return nil
	case explain:
		return fmt.Errorf("--explain takes no folder, got %q", args[0])
	case len(args) > 1:
		return fmt.Errorf("`%s` takes one folder, got also %q", c.CommandPath(), args[1])
	}
	return fmt.Errorf("`%s` needs the folder of the policies", c.CommandPath())
}

func (o *compileOptions) check(flags *pflag.FlagSet) error {
	for _, name := range []string{"config", "routes"} {
		if flags.Changed(name) && flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s needs a name", name)
		}
	}
	if flags.Changed("format") && flags.Changed("output") {
		return errors.New("--format and --output are the same; give one of them")
	}
	if !slices.Contains(compileFormats[:], o.format) {
		return suggest(fmt.Errorf("there is no format %q", o.format), o.format, compileFormats[:])
	}
	if err := o.colorFlags.check(); err != nil {
		return err
	}
	if o.tests.output != "" && !slices.Contains(testOutputs[:], o.tests.output) {
		return suggest(fmt.Errorf("there is no format %q for tests", o.tests.output), o.tests.output, testOutputs[:])
	}
	for _, expression := range o.tests.filters {
		if err := o.filter.Add(expression); err != nil {
			return fmt.Errorf("--test-filter: %w", err)
		}
	}
	return nil
}

// explain prints the page of a code.
func explain(w io.Writer, pages catalogue.Catalogue, code string) error {
	e, ok := pages.Entry(diag.Code(code))
	if !ok {
		return suggest(fmt.Errorf("there is no code %q", code), code, pages.Codes())
	}
	if _, err := io.WriteString(w, e.Plain()); err != nil {
		return statusError{exitFailure, err}
	}
	return nil
}

// A compileRun is one run of `edict compile`.
type compileRun struct {
	compileOptions
	cfg   *config.Config
	pages catalogue.Catalogue
	style diag.Style
	dir   string // of the policies, cleaned, with slashes
	out   io.Writer

	stderr io.Writer // for what is not the answer

	files    *policyFiles
	policies int              // that are enabled
	routeMap []*routemap.File // nil without --routes
	isRoute  map[string]bool  // by file
	list     diag.List
	broken   diag.List // of suites of tests
}

func (r *compileRun) run() error {
	if err := r.load(); err != nil {
		return err
	}
	if err := r.compile(); err != nil {
		return statusError{exitUsage, err}
	}
	var tests *suite.Report
	if r.list.Count(diag.Error) == 0 {
		var err error
		if tests, err = r.runTests(); err != nil {
			return statusError{exitFailure, err}
		}
	}
	r.list, r.broken = r.list.Sorted(), r.broken.Sorted()
	if err := r.write(tests); err != nil {
		return statusError{exitFailure, err}
	}
	errs, warnings := r.list.Count(diag.Error), r.list.Count(diag.Warning)
	switch {
	case errs > 0:
		return statusError{exitUncompiled, fmt.Errorf("%s do not compile: %s", r.what(), counted(errs, warnings))}
	case warnings > 0 && r.werror:
		return statusError{exitUncompiled, fmt.Errorf("%s compile, but --werror takes warnings for errors: %s", r.what(), counted(0, warnings))}
	case tests != nil && tests.Summary.Overall >= suite.Failed:
		return statusError{exitTests, errors.New("tests failed")}
	}
	return nil
}

// what names what was compiled, for the last line.
func (r *compileRun) what() string {
	if r.routes != "" {
		return "the policies and routes"
	}
	return "the policies"
}

func counted(errs, warnings int) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{errs, "error"}, {warnings, "warning"}} {
		if p.n > 0 {
			parts = append(parts, plural(p.n, p.what, p.what+"s"))
		}
	}
	return strings.Join(parts, ", ")
}

// load reads and parses the files. The error says which folder is none.
func (r *compileRun) load() error {
	var err error
	if r.files, err = readPolicies(r.dir, r.ignoreSchemas); err != nil {
		return err
	}
	r.list = append(r.list, r.files.broken...)
	r.isRoute = map[string]bool{}
	r.files.sources.IsRoute = func(file string) bool { return r.isRoute[file] }
	if r.routes == "" {
		return nil
	}
	dir := filepath.ToSlash(filepath.Clean(r.routes))
	fsys, list := folder.Open(dir)
	if len(list) > 0 {
		return statusError{exitUsage, list}
	}
	routes, list := folder.Read(fsys, dir, nil)
	r.list = append(r.list, list...)
	for _, f := range routes {
		r.files.sources.Contents[f.Name], r.isRoute[f.Name] = f.Content, true
	}
	parsed, list := routemap.ParseAll(routes)
	r.routeMap, r.list = parsed, append(r.list, list...)
	return nil
}

// compile compiles what could be parsed. The error names an option of the
// configuration that is wrong.
func (r *compileRun) compile() error {
	unparsed := slices.ContainsFunc(r.list, func(d diag.Diagnostic) bool { return !r.isRoute[d.Pos.File] })
	options := r.cfg.Engine()
	if r.files.schemas == nil {
		options.SchemaEnforcement = engine.SchemaNone
	}
	enabled := r.files.sources.Policies[:0:0]
	for _, p := range r.files.sources.Policies {
		if !p.Disabled {
			enabled = append(enabled, p)
		}
	}
	r.policies = len(enabled)
	var list diag.List
	var routes *extauthz.Compiler // nil: routes are not looked at
	if r.routes != "" && len(r.list) == 0 {
		var err error
		if routes, err = extauthz.NewCompiler(options, r.cfg.Checks); err != nil {
			return err
		}
		_, list = routes.Compile("", enabled, r.files.schemas, r.routeMap)
		r.files.locate(list)
	} else {
		var err error
		if _, list, err = r.files.compile(options); err != nil {
			return err
		}
	}
	for _, d := range list {
		if !d.Pos.IsValid() {
			d.Pos.File = r.dir // code scanning shows nothing without a place
		}
		if !unparsed || !isAboutAbsence(d.Code) {
			r.list = append(r.list, d)
		}
	}
	if len(r.list) > 0 || !r.warnings && !r.werror {
		return nil
	}
	env, err := engine.NewEnvironment()
	if err != nil {
		return err
	}
	r.list = lint.Check(enabled, r.files.schemas, env)
	if routes != nil {
		r.list = append(r.list, routes.Doubts(enabled, r.routeMap)...)
	}
	if r.policies == 0 {
		r.list = append(r.list, diag.Diagnostic{Pos: diag.Position{File: r.dir}, Severity: diag.Warning, Code: extauthz.CodeNoPolicies,
			Message: "there are no policies", Hint: "is the folder the right one?"})
	}
	return nil
}

// isAboutAbsence tells whether a mistake may be that a file which has mistakes
// of its own could not be read.
func isAboutAbsence(code diag.Code) bool {
	switch code {
	case engine.CodeUnknownImport, engine.CodeUnknownDerivedRole, engine.CodeUndefinedVariable, engine.CodeUndefinedConstant,
		engine.CodeMissingScope, engine.CodeScopePermissions, extauthz.CodeRouteKind, extauthz.CodeNoPolicies:
		return true
	}
	return false
}

// explanation says where more is told about a code.
func (r *compileRun) explanation(code diag.Code) string {
	if _, ok := r.pages.Entry(code); !ok {
		return ""
	}
	return "edict compile --explain " + string(code)
}

// write writes the answer: what is wrong, and the outcome of the tests, if there
// were any. Tests in a format of their own are the answer alone; what else there
// is to say goes to standard error.
func (r *compileRun) write(tests *suite.Report) error {
	plain := r.style
	plain.Color = false // it was standard output that is a terminal
	if output := r.tests.output; tests != nil && output != "" && output != r.format {
		if _, err := io.WriteString(r.stderr, plain.Render(slices.Concat(r.list, r.broken))); err != nil {
			return err
		}
		return r.writeTests(r.out, tests, output)
	}
	compiles := r.list.Count(diag.Error) == 0
	switch r.format {
	case "sarif":
		return report.SARIF(r.out, r.everything(tests), version, r.pages)
	case "github":
		return report.GitHub(r.out, r.everything(tests))
	case "json":
		if !compiles {
			return encodeJSON(r.out, cerbosjson.New(r.list, r.files.sources, r.pages))
		}
		if !r.warningsAsked {
			if _, err := io.WriteString(r.stderr, plain.Render(r.list)); err != nil {
				return err
			}
		}
		document, err := r.tested(tests)
		if err != nil {
			return err
		}
		return encodeJSON(r.out, document)
	}
	text := r.style.Render(r.list)
	if compiles {
		text += fmt.Sprintf("%s compiled: %s", r.dir, plural(r.policies, "policy", "policies"))
		if r.routes != "" {
			text += ", " + plural(len(r.routeMap), "route map", "route maps")
		}
		text += "\n"
	}
	if _, err := io.WriteString(r.out, text); err != nil {
		return err
	}
	if tests == nil || len(tests.Suites) == 0 {
		return nil
	}
	return r.writeTests(r.out, tests, r.format)
}

// everything gives all that is wrong, tests included.
func (r *compileRun) everything(tests *suite.Report) diag.List {
	return append(slices.Concat(r.list, r.broken), failures(tests)...).Sorted()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
