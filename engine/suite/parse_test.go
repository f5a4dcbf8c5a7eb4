package suite_test

import (
	"testing"

	"edict/engine/diag/diagtest"
	"edict/engine/suite"
)

func TestProblems(t *testing.T) {
	for _, c := range diagtest.Read(t, "testdata/problems.yaml") {
		t.Run(c.Name, func(t *testing.T) {
			s := suite.Parse(c.File, c.Content)
			c.Check(t, append(s.Problems, s.Warnings...).Sorted())
			if len(s.Problems) > 0 && s.Tests() > 0 {
				t.Errorf("a suite with problems offers %d tests", s.Tests())
			}
			r := suite.Run([]*suite.Suite{s}, suite.Options{Compile: noPolicies})
			if broken := len(s.Problems) > 0; broken != (r.Summary.Overall == suite.Errored) {
				t.Errorf("with %d problems the run ended as %v", len(s.Problems), r.Summary.Overall)
			}
		})
	}
}
