package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

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
	strictGiven  bool // it is no default
	verbose      bool
	filters      []string
	output       string // empty: as the format
}

// codeTestFailed is for a test whose outcome is not the expected one. Only
// formats that show diagnostics beside the source have it.
const codeTestFailed diag.Code = "test-failed"

// runTests runs the suites that lie beside the policies, which compile. There
// is no report if tests are not wanted.
func (r *compileRun) runTests() (*suite.Report, error) {
	if r.tests.skip {
		return nil, nil
	}
	suites, err := suite.Find(r.files.fsys, r.dir)
	if err != nil {
		return nil, err
	}
	options := r.cfg.Engine()
	options.SchemaEnforcement = engine.SchemaReject
	if r.files.schemas == nil {
		options.SchemaEnforcement = engine.SchemaNone
	}
	if r.tests.strictGiven {
		options.LenientEvaluation = !r.tests.strict
	}
	o := suite.Options{
		Engine: options, Strict: r.tests.strictGiven && r.tests.strict, SkipBatching: r.tests.skipBatching, Filter: r.filter,
		Compile: r.files.compileForTests,
	}
	for _, s := range suites {
		r.broken = append(r.broken, s.Problems...)
		if r.warnings || r.werror {
			r.list = append(r.list, s.Warnings...)
		}
	}
	return suite.Run(suites, o), nil
}

// failures gives the results that are not as expected, as diagnostics.
func failures(report *suite.Report) diag.List {
	var list diag.List
	if report == nil {
		return nil
	}
	for _, s := range report.Suites {
		for _, result := range s.Results {
			d := diag.Diagnostic{Pos: result.ExpectedAt, Code: codeTestFailed}
			switch {
			case result.Omitted || result.Status < suite.Failed:
				continue
			case result.Status == suite.Errored:
				d.Message = result.Err
			case result.Expected != result.Actual:
				d.Message = fmt.Sprintf("expected %v, got %v", result.Expected, result.Actual)
			default:
				d.Message = "an output is not as expected"
			}
			d.Message = fmt.Sprintf("%s: principal %s, resource %s, action %s: %s", result.Test, result.Principal, result.Resource, result.Action, d.Message)
			list = append(list, d)
		}
	}
	return list
}

// writeTests writes the outcome of tests in a format of its own.
func (r *compileRun) writeTests(w io.Writer, report *suite.Report, format string) error {
	switch format {
	case "json":
		return testreport.JSON(w, report, r.tests.verbose)
	case "junit":
		return testreport.JUnit(w, report, r.tests.verbose)
	case "tap":
		return testreport.TAP(w, report)
	}
	return testreport.Text(w, report, testreport.TextOptions{List: format == "list", Color: r.style.Color, Verbose: r.tests.verbose})
}

// A testedDocument is the answer in JSON if the policies compile: that of the
// tests, as Cerbos gives it. Scripts compare it with what they expect, so there
// is more in it only if that was asked for.
type testedDocument struct {
	Suites   json.RawMessage    `json:"suites,omitempty"`
	Summary  json.RawMessage    `json:"summary,omitempty"`
	Warnings *cerbosjson.Errors `json:"warnings,omitempty"`
}

// tested joins the outcome of tests and the warnings to one document.
func (r *compileRun) tested(report *suite.Report) (*testedDocument, error) {
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
	if r.warningsAsked {
		d.Warnings = cerbosjson.New(r.list, r.files.sources, r.pages).Warnings
	}
	return d, nil
}
