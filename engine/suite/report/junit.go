package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"edict/engine/suite"
)

// The shape of the XML.
type (
	xmlReport struct {
		XMLName  xml.Name   `xml:"testsuites"`
		Errors   int        `xml:"errors,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Tests    int        `xml:"tests,attr"`
		Suites   []xmlSuite `xml:"testsuite"`
	}
	xmlSuite struct {
		Description string    `xml:"description,attr,omitempty"`
		Name        string    `xml:"name,attr"`
		File        string    `xml:"file,attr"`
		Errors      int       `xml:"errors,attr"`
		Failures    int       `xml:"failures,attr"`
		Skipped     int       `xml:"skipped,attr"`
		Tests       int       `xml:"tests,attr"`
		Error       *xmlError `xml:"error"`
		Properties  struct{}  `xml:"properties"`
		Cases       []xmlCase `xml:"testcase"`
	}
	xmlError struct {
		Type string `xml:"type,attr"`
		Text string `xml:",chardata"`
	}
	xmlCase struct {
		File       string        `xml:"file,attr"`
		Class      string        `xml:"classname,attr"`
		Name       string        `xml:"name,attr"`
		Skipped    *xmlSkipped   `xml:"skipped"`
		Error      *xmlError     `xml:"error"`
		Failure    *xmlOutcome   `xml:"failure"`
		Success    *xmlOutcome   `xml:"success"`
		Properties []xmlProperty `xml:"properties>property"`
		SystemOut  string        `xml:"system-out,omitempty"` // verbose
	}
	xmlSkipped struct {
		Message string `xml:"message,attr"`
	}
	xmlOutcome struct {
		Type     string      `xml:"type,attr"`
		Message  string      `xml:"message,attr,omitempty"`
		Outputs  *xmlOutputs `xml:"outputs"`
		Actual   string      `xml:"actual"`
		Expected string      `xml:"expected"`
	}
	xmlOutputs struct {
		Output []xmlOutput `xml:"output"`
	}
	xmlOutput struct {
		Src      string   `xml:"src,attr"`
		Expected xmlCData `xml:"expected"`
		Actual   xmlCData `xml:"actual"`
	}
	xmlCData struct {
		Text string `xml:",cdata"`
	}
	xmlProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:",chardata"`
	}
)

// JUnit writes a report in the shape of `cerbos compile --test-output=junit`.
// As there, a suite with a result that could not be had is an error as a whole
// and lists no test cases; what is wrong with them is the text of the error.
// Verbose adds how each decision came about.
func JUnit(w io.Writer, r *suite.Report, verbose bool) error {
	out := xmlReport{
		Errors: r.Summary.Counts[suite.Errored], Failures: r.Summary.Counts[suite.Failed],
		Skipped: r.Summary.Counts[suite.Skipped], Tests: r.Summary.Tests(),
	}
	for i := range r.Suites {
		s := suiteXML(&r.Suites[i], verbose)
		switch r.Suites[i].Summary.Overall {
		case suite.Errored:
			out.Errors++
		case suite.Skipped:
			out.Skipped++
		}
		out.Suites = append(out.Suites, s)
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func suiteXML(s *suite.SuiteReport, verbose bool) xmlSuite {
	out := xmlSuite{Description: s.Description, Name: s.Name, File: s.File, Tests: s.Summary.Tests()}
	switch s.Summary.Overall {
	case suite.Errored:
		out.Errors, out.Error = 1, &xmlError{suite.Errored.String(), allErrors(s)}
		return out
	case suite.Skipped:
		out.Skipped = 1
		return out
	}
	for i := range s.Results {
		r := &s.Results[i]
		switch r.Status {
		case suite.Failed:
			out.Failures++
		case suite.Skipped:
			out.Skipped++
		}
		out.Cases = append(out.Cases, caseXML(s.File, r, verbose))
	}
	return out
}

// allErrors gives why a suite is an error: its own problems, or the results
// that could not be had and, since there is no other place for them, those
// that failed.
func allErrors(s *suite.SuiteReport) string {
	if text := suiteError(s); text != "" {
		return text
	}
	var lines []string
	for i := range s.Results {
		r := &s.Results[i]
		switch r.Status {
		case suite.Errored:
			lines = append(lines, fmt.Sprintf("%s: %s: %s", r.Test, class(r), r.Err))
		case suite.Failed:
			lines = append(lines, fmt.Sprintf("%s: %s: expected %s, got %s", r.Test, class(r), r.Expected, r.Actual))
			for _, m := range r.Mismatches {
				expected, actual := values(m)
				lines = append(lines, fmt.Sprintf("  %s: expected %s, got %s", m.Src, expected, actual))
			}
		}
	}
	return strings.Join(lines, "\n")
}

func class(r *suite.Result) string { return r.Principal + "." + r.Resource + "." + r.Action }

func caseXML(file string, r *suite.Result, verbose bool) xmlCase {
	c := xmlCase{File: file, Class: class(r), Name: r.Test, Properties: []xmlProperty{
		{"principal", r.Principal}, {"resource", r.Resource}, {"action", r.Action},
	}}
	switch r.Status {
	case suite.Skipped:
		c.Skipped = &xmlSkipped{"This test was skipped"}
		return c
	case suite.Errored:
		c.Error = &xmlError{r.Status.String(), r.Err}
		return c
	case suite.Passed:
		c.Success = &xmlOutcome{Type: r.Status.String(), Actual: r.Actual.String(), Expected: r.Expected.String()}
		for _, o := range r.Outputs {
			actual := compact(o.Val)
			if o.Err != "" {
				actual = brokenOutput + o.Err
			}
			c.Success.add(xmlOutput{o.Src, cdata(compact(o.Val)), cdata(actual)})
		}
	case suite.Failed:
		c.Failure = &xmlOutcome{Type: r.Status.String(), Message: "Effect expectation unsatisfied", Actual: r.Actual.String(), Expected: r.Expected.String()}
		for _, m := range r.Mismatches {
			c.Failure.Message = "Output expectation unsatisfied"
			expected, actual := values(m)
			if m.Kind == suite.Missing {
				actual = ""
			}
			c.Failure.add(xmlOutput{m.Src, cdata(expected), cdata(actual)})
		}
	}
	if verbose {
		c.SystemOut = strings.Join(explain(r), "\n")
	}
	return c
}

const brokenOutput = "Failed to evaluate output expression: "

// values gives both sides of a mismatch as JSON.
func values(m suite.Mismatch) (expected, actual string) {
	switch m.Kind {
	case suite.Missing:
		return compact(m.Expected), "nothing"
	case suite.Broken:
		return compact(m.Expected), brokenOutput + m.Err
	default:
		return compact(m.Expected), compact(m.Actual)
	}
}

func (o *xmlOutcome) add(output xmlOutput) {
	if o.Outputs == nil {
		o.Outputs = new(xmlOutputs)
	}
	o.Outputs.Output = append(o.Outputs.Output, output)
}

func cdata(text string) xmlCData { return xmlCData{text} }
