package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"edict/engine/diag"
	"edict/engine/suite"
	"edict/engine/value"
)

// The shape of the JSON. Zero values are left out, as protobuf does.
type (
	jsonReport struct {
		Suites  []jsonSuite `json:"suites,omitempty"`
		Summary jsonSummary `json:"summary"`
	}
	jsonSummary struct {
		OverallResult string      `json:"overallResult,omitempty"`
		TestsCount    int         `json:"testsCount,omitempty"`
		ResultCounts  []jsonCount `json:"resultCounts,omitempty"`
	}
	jsonCount struct {
		Result string `json:"result"`
		Count  int    `json:"count"`
	}
	jsonSuite struct {
		File        string        `json:"file"`
		Name        string        `json:"name"`
		Summary     jsonSummary   `json:"summary"`
		Error       string        `json:"error,omitempty"`
		TestCases   []jsonTest    `json:"testCases,omitempty"`
		Description string        `json:"description,omitempty"`
		SkipReason  string        `json:"skipReason,omitempty"`
		Diagnostics []jsonProblem `json:"diagnostics,omitempty"` // verbose
	}
	jsonProblem struct {
		jsonPosition
		Code    string `json:"code"`
		Message string `json:"message"`
		Hint    string `json:"hint,omitempty"`
	}
	jsonPosition struct {
		File   string `json:"file,omitempty"`
		Line   int    `json:"line,omitempty"`
		Column int    `json:"column,omitempty"`
	}
	jsonTest struct {
		Name       string          `json:"name"`
		Principals []jsonPrincipal `json:"principals"`
	}
	jsonPrincipal struct {
		Name      string         `json:"name"`
		Resources []jsonResource `json:"resources"`
	}
	jsonResource struct {
		Name    string       `json:"name"`
		Actions []jsonAction `json:"actions"`
	}
	jsonAction struct {
		Name    string      `json:"name"`
		Details jsonDetails `json:"details"`
	}
	jsonDetails struct {
		Result     string        `json:"result"`
		Success    *jsonSuccess  `json:"success,omitempty"`
		Failure    *jsonFailure  `json:"failure,omitempty"`
		Error      *string       `json:"error,omitempty"`
		SkipReason *string       `json:"skipReason,omitempty"`
		Decision   *jsonDecision `json:"decision,omitempty"` // verbose
	}
	jsonSuccess struct {
		Effect  string       `json:"effect"`
		Outputs []jsonOutput `json:"outputs,omitempty"`
	}
	jsonOutput struct {
		Src    string `json:"src,omitempty"`
		Val    *any   `json:"val,omitempty"`
		Action string `json:"action,omitempty"`
		Error  string `json:"error,omitempty"`
	}
	jsonFailure struct {
		Expected string         `json:"expected"`
		Actual   string         `json:"actual"`
		Outputs  []jsonMismatch `json:"outputs,omitempty"`
	}
	jsonMismatch struct {
		Src        string      `json:"src,omitempty"`
		Mismatched *jsonValues `json:"mismatched,omitempty"`
		Missing    *jsonValues `json:"missing,omitempty"`
		Errored    *jsonValues `json:"errored,omitempty"`
	}
	jsonValues struct {
		Expected *any   `json:"expected,omitempty"`
		Actual   *any   `json:"actual,omitempty"`
		Error    string `json:"error,omitempty"`
	}
	jsonDecision struct {
		Reason        string        `json:"reason"`
		MatchedPolicy string        `json:"matchedPolicy"`
		MatchedScope  string        `json:"matchedScope,omitempty"`
		Rule          string        `json:"rule,omitempty"`
		RuleAt        *jsonPosition `json:"ruleAt,omitempty"`
		ExpectedAt    *jsonPosition `json:"expectedAt,omitempty"`
		Error         string        `json:"error,omitempty"`
	}
)

// JSON writes a report in the shape of `cerbos compile --test-output=json`.
// Verbose adds where suites are broken, and how each decision came about.
func JSON(w io.Writer, r *suite.Report, verbose bool) error {
	out := jsonReport{Summary: summary(&r.Summary)}
	for i := range r.Suites {
		out.Suites = append(out.Suites, suiteJSON(&r.Suites[i], verbose))
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func summary(s *suite.Summary) jsonSummary {
	var out jsonSummary
	if s.Overall != suite.None {
		out.OverallResult = s.Overall.String()
	}
	out.TestsCount = s.Tests()
	for _, status := range suite.Statuses {
		if n := s.Counts[status]; n > 0 {
			out.ResultCounts = append(out.ResultCounts, jsonCount{status.String(), n})
		}
	}
	return out
}

func suiteJSON(s *suite.SuiteReport, verbose bool) jsonSuite {
	out := jsonSuite{File: s.File, Name: s.Name, Description: s.Description, Summary: summary(&s.Summary), Error: suiteError(s)}
	if s.Summary.Overall == suite.Skipped && s.Skip {
		out.SkipReason = s.SkipReason
	}
	if verbose {
		for _, p := range s.Problems {
			out.Diagnostics = append(out.Diagnostics, jsonProblem{position(p.Pos), string(p.Code), p.Message, p.Hint})
		}
	}
	for i := range s.Results {
		r := &s.Results[i]
		last := &out.TestCases
		if n := len(*last); n == 0 || (*last)[n-1].Name != r.Test {
			*last = append(*last, jsonTest{Name: r.Test})
		}
		people := &(*last)[len(*last)-1].Principals
		if n := len(*people); n == 0 || (*people)[n-1].Name != r.Principal {
			*people = append(*people, jsonPrincipal{Name: r.Principal})
		}
		things := &(*people)[len(*people)-1].Resources
		if n := len(*things); n == 0 || (*things)[n-1].Name != r.Resource {
			*things = append(*things, jsonResource{Name: r.Resource})
		}
		actions := &(*things)[len(*things)-1].Actions
		*actions = append(*actions, jsonAction{r.Action, details(r, verbose)})
	}
	return out
}

// suiteError gives why a suite could not be run, in several lines, or "".
func suiteError(s *suite.SuiteReport) string {
	if len(s.Problems) == 0 {
		return ""
	}
	lines := []string{s.Stage + ":"}
	for _, p := range s.Problems {
		lines = append(lines, p.Error())
	}
	return strings.Join(lines, "\n")
}

func details(r *suite.Result, verbose bool) jsonDetails {
	d := jsonDetails{Result: r.Status.String()}
	switch r.Status {
	case suite.Skipped:
		d.SkipReason = &r.SkipReason
		return d
	case suite.Errored:
		d.Error = &r.Err
		return d
	case suite.Passed:
		d.Success = &jsonSuccess{Effect: r.Actual.String()}
		for _, o := range r.Outputs {
			d.Success.Outputs = append(d.Success.Outputs, jsonOutput{o.Src, jsonValue(o.Val), o.Action, o.Err})
		}
	case suite.Failed:
		d.Failure = &jsonFailure{Expected: r.Expected.String(), Actual: r.Actual.String()}
		for _, m := range r.Mismatches {
			d.Failure.Outputs = append(d.Failure.Outputs, mismatch(m))
		}
	}
	if verbose {
		d.Decision = decision(r)
	}
	return d
}

func mismatch(m suite.Mismatch) jsonMismatch {
	out := jsonMismatch{Src: m.Src}
	v := &jsonValues{Expected: jsonValue(m.Expected)}
	switch m.Kind {
	case suite.Missing:
		out.Missing = v
	case suite.Broken:
		v.Error = m.Err
		out.Errored = v
	default:
		v.Actual = jsonValue(m.Actual)
		out.Mismatched = v
	}
	return out
}

func decision(r *suite.Result) *jsonDecision {
	d := &jsonDecision{Reason: r.Reason.String(), MatchedPolicy: r.Policy, MatchedScope: r.Scope}
	if r.Rule != nil {
		at := position(r.Rule.Pos)
		d.Rule, d.RuleAt = r.Rule.Policy+"#"+r.Rule.Name, &at
	}
	at := position(r.ExpectedAt)
	d.ExpectedAt = &at
	if r.Cause != nil {
		d.Error = r.Cause.Error()
	}
	return d
}

func position(p diag.Position) jsonPosition { return jsonPosition{p.File, p.Line, p.Column} }

// jsonValue gives a value for encoding, nil if there is none.
func jsonValue(v value.Value) *any {
	if v.Kind() == value.Absent {
		return nil
	}
	x := finite(v.Native())
	return &x
}

// finite makes texts of what JSON has no place for.
func finite(x any) any {
	switch t := x.(type) {
	case nil, bool, string:
		return t
	case float64:
		if math.IsNaN(t) || math.IsInf(t, 0) {
			return fmt.Sprint(t)
		}
		return t
	case []any:
		for i := range t {
			t[i] = finite(t[i])
		}
		return t
	case map[string]any:
		for k := range t {
			t[k] = finite(t[k])
		}
		return t
	default:
		return fmt.Sprint(t)
	}
}

// compact gives a value as JSON in one line, keys sorted; null if there is none.
func compact(v value.Value) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(finite(v.Native())); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}
