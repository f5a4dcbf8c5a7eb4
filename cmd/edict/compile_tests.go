package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"edict/cmd/edict/internal/cerbosjson"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/suite"
	testreport "edict/engine/suite/report"
)

// testOutputs are the words that --test-output takes; tree and list mean text.
var testOutputs = [...]string{"text", "json", "junit", "tap", "tree", "list"}

// testOptions are the flags about the tests that `edict compile` runs.
type testOptions struct {
	skip         bool
	skipBatching bool
	strict       bool
	verbose      bool
	filters      []string
	output       string // empty: as the format
}

// errTests is why the command ends if tests failed.
var errTests = errors.New("tests failed")

// runTests runs the suites that lie beside the policies, which compile. There
// is no report if tests are not wanted.
func (r *compileRun) runTests(fsys fs.FS) (*suite.Report, error) {
	if r.tests.skip {
		return nil, nil
	}
	suites, err := suite.Find(fsys, r.dir)
	if err != nil {
		return nil, err
	}
	options := r.cfg.Engine()
	options.SchemaEnforcement = engine.SchemaReject
	if r.schemas == nil {
		options.SchemaEnforcement = engine.SchemaNone
	}
	o := suite.Options{
		Engine: options, Strict: r.tests.strict, SkipBatching: r.tests.skipBatching, Filter: r.filter,
		Compile: func(o engine.Options) (*engine.PolicySet, diag.List) {
			c, err := engine.NewCompiler(o)
			if err != nil {
				return nil, diag.List{{Message: err.Error()}}
			}
			return c.Compile(r.sources.Policies, r.schemas)
		},
	}
	for _, s := range suites {
		r.list = append(r.list, s.Problems...)
		if r.warnings || r.werror {
			r.list = append(r.list, s.Warnings...)
		}
	}
	return suite.Run(suites, o), nil
}

// writeTests writes the outcome of tests in a format of its own.
func (r *compileRun) writeTests(report *suite.Report, format string) error {
	switch format {
	case "json":
		return testreport.JSON(r.out, report, r.tests.verbose)
	case "junit":
		return testreport.JUnit(r.out, report, r.tests.verbose)
	case "tap":
		return testreport.TAP(r.out, report)
	}
	return testreport.Text(r.out, report, testreport.TextOptions{Color: r.style.Color, Verbose: r.tests.verbose})
}

// A testedDocument is the answer in JSON if the policies compile: that of the
// tests, as Cerbos gives it, with what Cerbos does not tell.
type testedDocument struct {
	Suites   json.RawMessage    `json:"suites,omitempty"`
	Summary  json.RawMessage    `json:"summary,omitempty"`
	Warnings *cerbosjson.Errors `json:"warnings,omitempty"`
}

// tested joins the outcome of tests and the warnings to one document.
func (r *compileRun) tested(report *suite.Report, warnings *cerbosjson.Errors) (*testedDocument, error) {
	d := &testedDocument{}
	if report != nil {
		var b bytes.Buffer
		if err := testreport.JSON(&b, report, r.tests.verbose); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b.Bytes(), d); err != nil {
			return nil, fmt.Errorf("the report of the tests is no JSON: %w", err)
		}
	}
	d.Warnings = warnings
	return d, nil
}
