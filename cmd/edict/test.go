package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"edict/cmd/edict/internal/cerbosjson"
	"edict/cmd/edict/internal/config"
	"edict/cmd/edict/internal/watch"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/folder"
	"edict/engine/suite"
	"edict/engine/suite/coverage"
	"edict/engine/suite/report"
)

// testFlags are the flags of `edict test`.
type testFlags struct {
	config   string
	sets     []string
	policies string
	routes   string

	format  string
	verbose bool
	colorFlags

	run          string
	filters      []string
	skipBatching bool
	strict       bool

	ignoreSchemas bool
	watch         bool

	coverage                                 bool
	coverageHTML, coverageLCOV, coverageJSON string
	min                                      float64
}

// testFormats are the words that --format takes. Tree and list are those of
// `cerbos compile`; tree is text.
var testFormats = [...]string{"text", "tree", "list", "json", "junit", "tap"}

func newTest(environ []string, stderr io.Writer) *cobra.Command {
	var o testFlags
	c := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run the tests of policies",
		Long: "Test runs the tests of a folder, files called *_test.yaml, over the policies of the same folder\n" +
			"(by default policies.dir of the configuration), as `edict serve` would decide. Files called *_test.yaml among\n" +
			"the route maps are tests of routes: a request in, and what Envoy is told out. They are run, too.\n" +
			"It ends with 0 if no test failed, 3 if the policies do not compile, 4 if a test failed or could\n" +
			"not be run, and 5 if less is covered than --min asks for.",
		Example: "  edict test policies\n  edict test policies --test-filter 'principal=alice;action=view,edit'\n" +
			"  edict test policies --format junit > report.xml\n  edict test policies --coverage --min 80",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("`%s` takes one folder, got also %q", c.CommandPath(), args[1])
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) (err error) {
			defer func() {
				// No file that anybody writes may make the exit status lie.
				if p := recover(); p != nil {
					fmt.Fprintf(stderr, "%s", debug.Stack())
					err = statusError{exitFailure, fmt.Errorf("testing panicked: %v", p)}
				}
			}()
			t := &testRun{testFlags: o, out: c.OutOrStdout(), err: stderr}
			if err := t.prepare(c.Flags(), environ, args); err != nil {
				return err
			}
			if o.watch {
				return t.keepRunning(c.Context())
			}
			return t.once()
		},
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "configuration file (YAML), for what changes decisions")
	f.StringArrayVar(&o.sets, "set", nil, "set one key, as in --set engine.strictEvaluation=false; may be repeated")
	f.StringVar(&o.policies, "policies", "", "folder of the policies, if it is not that of the tests")
	f.StringVar(&o.routes, "routes", "", "folder of the route maps and their tests; by default routes.dir of the configuration, if it exists")
	f.StringVar(&o.format, "format", "text", "text, list, json, junit or tap")
	f.StringVarP(&o.format, "output", "o", "text", "the same as --format")
	f.StringVar(&o.format, "test-output", "text", "the same as --format")
	f.BoolVar(&o.verbose, "verbose", false, "show what passed, and how each decision came about")
	o.colorFlags.add(f)
	f.StringVar(&o.run, "run", "", "run only the tests whose name, or suite/test/principal/resource, holds this regular expression")
	f.StringArrayVar(&o.filters, "test-filter", nil, "show only what matches: dimension=glob,glob;... with the dimensions suite, test, principal, resource, action; may be repeated")
	f.BoolVar(&o.skipBatching, "skip-batching", false, "decide each action in a call of its own")
	f.BoolVar(&o.strict, "strict-evaluation", true, "deny what a condition with an error could decide; if given, also for tests that say otherwise")
	f.BoolVar(&o.ignoreSchemas, "ignore-schemas", false, "do not look at the JSON schemas that policies refer to")
	f.BoolVar(&o.watch, "watch", false, "run again after each change of policies or tests")
	f.BoolVar(&o.coverage, "coverage", false, "show what of the policies the tests have tried")
	f.StringVar(&o.coverageHTML, "coverage-html", "", "write the coverage as a web page to this file")
	f.StringVar(&o.coverageLCOV, "coverage-lcov", "", "write the coverage for lcov to this file")
	f.StringVar(&o.coverageJSON, "coverage-json", "", "write the coverage as JSON to this file")
	f.Float64Var(&o.min, "min", 0, "fail unless this percentage of rules and branches is covered")
	return c
}

// A testRun is one call of `edict test`.
type testRun struct {
	testFlags
	out, err io.Writer
	inColor  bool
	pages    catalogue.Catalogue

	cfg    *config.Config
	tests  string         // folder of the tests, cleaned, with slashes
	filter suite.Filter   // of --run and --test-filter
	engine engine.Options // what tests run under that say nothing
	force  bool           // strict evaluation, whatever tests say
	covers bool           // coverage is asked for
}

// prepare checks the flags, and reads the configuration.
func (t *testRun) prepare(flags *pflag.FlagSet, environ, args []string) error {
	for _, name := range []string{"config", "policies", "routes", "coverage-html", "coverage-lcov", "coverage-json"} {
		if flags.Changed(name) && flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s needs a name", name)
		}
	}
	if flags.Changed("format") && flags.Changed("output") {
		return errors.New("--format and --output are the same; give one of them")
	}
	if !slices.Contains(testFormats[:], t.format) {
		return suggest(fmt.Errorf("there is no format %q", t.format), t.format, testFormats[:])
	}
	if err := t.colorFlags.check(); err != nil {
		return err
	}
	if t.min < 0 || t.min > 100 || t.min != t.min {
		return fmt.Errorf("--min is a percentage from 0 to 100, got %v", t.min)
	}
	if t.watch && !t.isText() {
		return fmt.Errorf("--watch shows text, not %s", t.format)
	}
	if t.run != "" {
		run, err := regexp.Compile(t.run)
		if err != nil {
			return fmt.Errorf("--run: %w", err)
		}
		t.filter.Run = run
	}
	for _, f := range t.filters {
		if err := t.filter.Add(f); err != nil {
			return fmt.Errorf("--test-filter: %w", err)
		}
	}
	var err error
	if t.pages, err = catalogue.Load(); err != nil {
		return statusError{exitFailure, err}
	}
	cfg, err := loadSettings(t.config, environ, t.sets, t.err)
	if err != nil {
		return err
	}
	t.cfg, t.engine = cfg, cfg.Engine()
	t.engine.SchemaEnforcement = engine.SchemaReject
	if t.ignoreSchemas {
		t.engine.SchemaEnforcement = engine.SchemaNone
	}
	if flags.Changed("strict-evaluation") {
		t.engine.LenientEvaluation, t.force = !t.strict, t.strict
	}
	t.tests = filepath.ToSlash(filepath.Clean(cfg.PoliciesDir))
	if len(args) > 0 {
		t.tests = filepath.ToSlash(filepath.Clean(args[0]))
	}
	if t.policies == "" {
		t.policies = t.tests
	}
	t.policies = filepath.ToSlash(filepath.Clean(t.policies))
	if t.routes == "" && exists(cfg.RoutesDir) {
		t.routes = cfg.RoutesDir
	}
	if t.routes != "" {
		t.routes = cleaned(t.routes)
	}
	t.covers = t.coverage || t.coverageHTML != "" || t.coverageLCOV != "" || t.coverageJSON != "" || t.min > 0
	t.inColor = t.colored(t.out, environ)
	return nil
}

func (t *testRun) isText() bool {
	return t.format == "text" || t.format == "tree" || t.format == "list"
}

// keepRunning runs the tests after each change, until ctx ends.
func (t *testRun) keepRunning(ctx context.Context) error {
	folders := []string{t.tests}
	if t.policies != t.tests {
		folders = append(folders, t.policies)
	}
	if t.routes != "" {
		folders = append(folders, t.routes)
	}
	watch.Folders(ctx, folders, watch.Options{
		Debounce: 100 * time.Millisecond,
		Poll:     2 * time.Second,
		Failed:   func(err error) { fmt.Fprintf(t.err, "edict: watching failed; polling goes on: %v\n", err) },
	}, func() {
		fmt.Fprintf(t.out, "—— %s\n", time.Now().Format(time.TimeOnly))
		if err := t.once(); err != nil {
			var status statusError
			if errors.As(err, &status) && status.err == nil {
				return // it has been told
			}
			fmt.Fprintf(t.err, "edict: %v\n", err)
		}
	})
	return nil
}

// once reads everything and runs the tests.
func (t *testRun) once() error {
	p, set, err := t.load()
	if err != nil {
		return err
	}
	suites, err := t.find()
	if err != nil {
		return err
	}
	for _, s := range suites {
		fmt.Fprint(t.err, diag.Style{Severities: true}.Render(s.Warnings))
	}
	compile := func(o engine.Options) (*engine.PolicySet, diag.List) {
		if reflect.DeepEqual(o, t.engine) {
			return set, nil
		}
		return p.compileForTests(o)
	}
	options := suite.Options{Compile: compile, Engine: t.engine, Strict: t.force, SkipBatching: t.skipBatching, Filter: t.filter}
	var covered *coverage.Coverage
	if t.covers {
		covered = coverage.New(p.sources.Policies)
		options.Trace = func(set *engine.PolicySet, r *engine.Request) { covered.Explain(set.Explain(r)) }
	}
	result := suite.Run(suites, options)
	if err := t.runRoutes(p, covered, result); err != nil {
		return err
	}
	if err := t.write(result); err != nil {
		return statusError{exitFailure, err}
	}
	switch {
	case len(result.Suites) == 0:
		fmt.Fprintf(t.err, "edict: no tests were found in %s; tests are files called *_test.yaml\n", t.tests)
	case result.Summary.Tests() == 0 && len(t.filters) > 0:
		fmt.Fprintln(t.err, "edict: no test has what --test-filter asks for")
	}
	if covered != nil {
		if err := t.writeCoverage(covered); err != nil {
			return statusError{exitFailure, err}
		}
	}
	if result.Summary.Overall >= suite.Failed {
		return statusError{exitTests, errors.New("tests failed")}
	}
	if covered != nil {
		if percent := covered.Summary().Overall().Percent(); percent < t.min {
			return statusError{exitGate, fmt.Errorf("%.1f%% of rules and branches are covered, less than %v%%", percent, t.min)}
		}
		if percent := covered.RouteShare().Percent(); percent < t.min {
			return statusError{exitGate, fmt.Errorf("%.1f%% of routes are covered, less than %v%%", percent, t.min)}
		}
	}
	return nil
}

// find reads the tests.
func (t *testRun) find() ([]*suite.Suite, error) {
	fsys, list := folder.Open(t.tests)
	if len(list) > 0 {
		return nil, statusError{exitUsage, list}
	}
	suites, err := suite.Find(fsys, t.tests)
	if err != nil {
		return nil, statusError{exitFailure, err}
	}
	return suites, nil
}

// load reads and compiles the policies. What is wrong with them has been told
// if there is an error.
func (t *testRun) load() (*policyFiles, *engine.PolicySet, error) {
	p, err := readPolicies(t.policies, t.ignoreSchemas)
	if err != nil {
		return nil, nil, err
	}
	list := p.broken
	if len(list) == 0 {
		set, wrong, err := p.compile(t.engine)
		if err != nil {
			return nil, nil, statusError{exitUsage, err}
		}
		if set != nil {
			return p, set, nil
		}
		list = wrong
	}
	list = list.Sorted()
	if t.format == "json" {
		if err := encodeJSON(t.out, cerbosjson.New(list, p.sources, t.pages)); err != nil {
			return nil, nil, statusError{exitFailure, err}
		}
	}
	fmt.Fprint(t.err, diag.Style{Severities: true}.Render(list))
	return nil, nil, statusError{exitUncompiled, errors.New("the policies do not compile; no test was run")}
}

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// write writes the report to standard output.
func (t *testRun) write(r *suite.Report) error {
	switch t.format {
	case "json":
		return report.JSON(t.out, r, t.verbose)
	case "junit":
		return report.JUnit(t.out, r, t.verbose)
	case "tap":
		return report.TAP(t.out, r)
	}
	if len(r.Suites) == 0 {
		return nil // which once tells
	}
	return report.Text(t.out, r, report.TextOptions{List: t.format == "list", Verbose: t.verbose, Color: t.inColor})
}

// writeCoverage writes the coverage where it is asked for: the table to
// standard output, or to standard error if that carries another format.
func (t *testRun) writeCoverage(c *coverage.Coverage) error {
	if t.coverage {
		w := t.err
		if t.isText() {
			w = t.out
			fmt.Fprintln(w)
		}
		if err := c.Text(w); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{{t.coverageHTML, c.HTML}, {t.coverageLCOV, c.LCOV}, {t.coverageJSON, c.JSON}} {
		if f.name == "" {
			continue
		}
		var b bytes.Buffer
		if err := f.write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(f.name, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
