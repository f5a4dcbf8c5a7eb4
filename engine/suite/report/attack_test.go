package report_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"

	"edict/engine/suite"
	"edict/engine/suite/report"
)

// Names are other people's text. None of them steers a terminal, or begins a
// line that means something to who reads the output.
func TestNamesSteerNothing(t *testing.T) {
	const evil = "x\x1b]0;pwn\a\u009b31m\u202e\r\n::error::x"
	r := &suite.Report{Suites: []suite.SuiteReport{{
		Suite:   &suite.Suite{Name: evil, File: evil},
		Results: []suite.Result{{Test: evil, Principal: evil, Resource: evil, Action: evil, Status: suite.Errored, Err: evil}},
	}}}
	r.Suites[0].Summary.Counts[suite.Errored]++
	r.Summary = r.Suites[0].Summary
	for name, write := range map[string]func(*bytes.Buffer) error{
		"text":    func(b *bytes.Buffer) error { return report.Text(b, r, report.TextOptions{}) },
		"list":    func(b *bytes.Buffer) error { return report.Text(b, r, report.TextOptions{List: true}) },
		"colored": func(b *bytes.Buffer) error { return report.Text(b, r, report.TextOptions{Color: true}) },
		"tap":     func(b *bytes.Buffer) error { return report.TAP(b, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if name == "colored" {
			if !strings.Contains(out, "\x1b[31m") {
				t.Error("there are no colors")
			}
			for _, code := range []string{"0", "1", "2", "31"} {
				out = strings.ReplaceAll(out, "\x1b["+code+"m", "")
			}
		}
		for _, c := range out {
			if c != '\n' && unicode.IsControl(c) || c == '\u202e' {
				t.Errorf("%s has %U: %q", name, c, out)
				break
			}
		}
		if strings.Contains(out, "\n::error") || !strings.Contains(out, "31m") {
			t.Errorf("%s: %q", name, out)
		}
	}
}
