package suite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edict/engine/diag/diagtest"
	"edict/engine/suite"
)

// Whatever a file holds, reading and running it ends, without a panic, and a
// file with problems is an error of the run.
func FuzzSuite(f *testing.F) {
	for _, c := range diagtest.Read(f, "testdata/problems.yaml") {
		f.Add(string(c.Content))
	}
	f.Add(everything)
	f.Add(oneTest)
	examples, err := filepath.Glob("../../policies/*_test.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range examples {
		content, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(content))
	}
	c := compile(f)
	f.Fuzz(func(t *testing.T, content string) {
		if len(content) > 4096 {
			t.Skip("long files only cost time")
		}
		s := suite.Parse("a_test.yaml", []byte(content))
		r := suite.Run([]*suite.Suite{s}, suite.Options{Compile: c, Workers: 1})
		for _, p := range append(s.Problems, s.Warnings...) {
			if p.Pos.File != "a_test.yaml" || p.Pos.Line < 1 || p.Message == "" || p.Code == "" || strings.Contains(p.Message, "\n") {
				t.Errorf("a diagnostic lacks something: %+v", p)
			}
		}
		overall := r.Summary.Overall
		switch {
		case len(s.Problems) > 0 && (overall != suite.Errored || r.Summary.Tests() > 0):
			t.Errorf("a broken suite ended as %v with %d results", overall, r.Summary.Tests())
		case len(s.Problems) == 0 && s.Tests() == 0 && !s.Skip:
			t.Error("a suite without tests has no problem")
		case len(s.Problems) == 0 && !s.Skip && len(r.Suites[0].Results) == 0:
			t.Error("a suite without problems gave no results")
		}
		for _, result := range r.Suites[0].Results {
			if result.Status == suite.Passed && (result.Expected != result.Actual || len(result.Mismatches) > 0) {
				t.Errorf("%+v passed", result)
			}
		}
	})
}

// Whatever a filter says, it is a filter or an error, and a result that it
// lets through is one of those without a filter.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "test=a", "principal=alice,bob;action=view*", `test={a\,b},[c-d]`, "suite=;", "=", ";;", "test=\\", "action=**,?"} {
		f.Add(s)
	}
	suites := []*suite.Suite{suite.Parse("a_test.yaml", []byte(everything))}
	c := compile(f)
	all := suite.Run(suites, suite.Options{Compile: c}).Summary
	f.Fuzz(func(t *testing.T, expression string) {
		if len(expression) > 200 {
			t.Skip("long patterns only cost time")
		}
		o := suite.Options{Compile: c, Workers: 1}
		if o.Filter.Add(expression) != nil {
			return
		}
		r := suite.Run(suites, o)
		for status, n := range r.Summary.Counts {
			if n > all.Counts[status] {
				t.Errorf("%q: %d results are %v, without the filter %d", expression, n, suite.Status(status), all.Counts[status])
			}
		}
		if len(r.Suites[0].Results) != all.Tests() {
			t.Errorf("%q: %d results are shown", expression, len(r.Suites[0].Results))
		}
	})
}
