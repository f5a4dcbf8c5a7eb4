package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"edict/engine"
	"edict/engine/suite"
	"edict/engine/suite/report"
)

var update = flag.Bool("update", false, "write the expected reports anew")

// example runs the suites of testdata/example over its policies.
func example(t *testing.T) *suite.Report {
	t.Helper()
	const dir = "testdata/example"
	suites, err := suite.Find(os.DirFS(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	o := suite.Options{Compile: compileFunc(t, dir)}
	if err := o.Filter.Add("action=view,edit,secret,old"); err != nil {
		t.Fatal(err)
	}
	return suite.Run(suites, o)
}

// The reports of testdata/example are the files beside it;
// go test ./engine/suite/report -update writes them.
func TestFormats(t *testing.T) {
	r := example(t)
	for name, render := range map[string]func(io.Writer) error{
		"text.txt":     func(w io.Writer) error { return report.Text(w, r, report.TextOptions{}) },
		"list.txt":     func(w io.Writer) error { return report.Text(w, r, report.TextOptions{List: true}) },
		"verbose.txt":  func(w io.Writer) error { return report.Text(w, r, report.TextOptions{Verbose: true}) },
		"report.json":  func(w io.Writer) error { return report.JSON(w, r, false) },
		"verbose.json": func(w io.Writer) error { return report.JSON(w, r, true) },
		"junit.xml":    func(w io.Writer) error { return report.JUnit(w, r, false) },
		"verbose.xml":  func(w io.Writer) error { return report.JUnit(w, r, true) },
		"report.tap":   func(w io.Writer) error { return report.TAP(w, r) },
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := render(&got); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("the report is not %s; got\n%s", file, got.Bytes())
			}
		})
	}
}

// Every failure and every error is in every format.
func TestNothingIsLost(t *testing.T) {
	r := example(t)
	for name, render := range map[string]func(io.Writer) error{
		"text":  func(w io.Writer) error { return report.Text(w, r, report.TextOptions{}) },
		"json":  func(w io.Writer) error { return report.JSON(w, r, false) },
		"junit": func(w io.Writer) error { return report.JUnit(w, r, false) },
		"tap":   func(w io.Writer) error { return report.TAP(w, r) },
	} {
		var b bytes.Buffer
		if err := render(&b); err != nil {
			t.Fatal(err)
		}
		for i := range r.Suites {
			s := &r.Suites[i]
			if len(s.Problems) > 0 && !strings.Contains(b.String(), s.File) {
				t.Errorf("%s: the broken suite %s is missing", name, s.File)
			}
			for _, result := range s.Results {
				if result.Status >= suite.Failed && !strings.Contains(b.String(), result.Test) {
					t.Errorf("%s: %s of %s is missing", name, result.Test, s.File)
				}
			}
		}
	}
}

// Verbose adds to JSON, and changes nothing that was there.
func TestVerboseOnlyAdds(t *testing.T) {
	r := example(t)
	var plain, verbose bytes.Buffer
	if err := report.JSON(&plain, r, false); err != nil {
		t.Fatal(err)
	}
	if err := report.JSON(&verbose, r, true); err != nil {
		t.Fatal(err)
	}
	var within func(a, b any, path string)
	within = func(a, b any, path string) {
		switch x := a.(type) {
		case map[string]any:
			y, _ := b.(map[string]any)
			for k := range x {
				within(x[k], y[k], path+"."+k)
			}
		case []any:
			y, _ := b.([]any)
			if len(x) != len(y) {
				t.Errorf("%s has %d elements, then %d", path, len(x), len(y))
				return
			}
			for i := range x {
				within(x[i], y[i], path+"[]")
			}
		default:
			if a != b {
				t.Errorf("%s is %v, then %v", path, a, b)
			}
		}
	}
	within(decodeJSON(t, plain.Bytes()), decodeJSON(t, verbose.Bytes()), "$")
}

// What users write reaches a report as text, and nothing else.
func TestHostileNames(t *testing.T) {
	const hostile = "a%d # SKIP \u00e9\n]]><x>&\" \\"
	name, _ := json.Marshal(hostile)
	content := `{"name": ` + string(name) + `, "principals": {` + string(name) + `: {"id": "p", "roles": ["u"]}},
		"resources": {"r": {"kind": "k", "id": "r"}},
		"tests": [{"name": ` + string(name) + `, "input": {"principals": [` + string(name) + `], "resources": ["r"], "actions": ["x", "y"]},
		"expected": [{"principal": ` + string(name) + `, "resource": "r", "actions": {"x": "EFFECT_ALLOW"}}]}]}`
	suites, err := suite.Find(fstest.MapFS{"a_test.json": {Data: []byte(content)}}, "")
	if err != nil {
		t.Fatal(err)
	}
	r := suite.Run(suites, suite.Options{Compile: compileFunc(t, "testdata/example"), Engine: engine.Options{}})
	if got := r.Summary.Counts; got[suite.Failed] != 1 || got[suite.Passed] != 1 {
		t.Fatalf("got %v of %v", got, r.Suites[0].Problems)
	}
	var b bytes.Buffer
	if err := report.JUnit(&b, r, true); err != nil {
		t.Fatal(err)
	}
	var x struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Name string `xml:"name,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b.Bytes(), &x); err != nil || len(x.Suites[0].Cases) != 2 || x.Suites[0].Name != hostile {
		t.Errorf("JUnit: %v, %+v", err, x)
	}
	b.Reset()
	if err := report.JSON(&b, r, false); err != nil || !json.Valid(b.Bytes()) {
		t.Errorf("JSON: %v in %s", err, b.String())
	}
	b.Reset()
	if err := report.TAP(&b, r); err != nil {
		t.Fatal(err)
	}
	if points := strings.Count(b.String(), "\nok ") + strings.Count(b.String(), "\nnot ok "); points != 2 || strings.Contains(b.String(), " # SKIP") || !strings.Contains(b.String(), "a%d") {
		t.Errorf("TAP: got\n%s", b.String())
	}
}

func TestNoSuites(t *testing.T) {
	r := suite.Run(nil, suite.Options{})
	var b bytes.Buffer
	if err := report.Text(&b, r, report.TextOptions{}); err != nil || b.String() != "no tests were found\n" {
		t.Errorf("text: %v %q", err, b.String())
	}
	b.Reset()
	if err := report.JSON(&b, r, false); err != nil || b.String() != "{\n  \"summary\": {}\n}\n" {
		t.Errorf("JSON: %v %q", err, b.String())
	}
	b.Reset()
	if err := report.TAP(&b, r); err != nil || b.String() != "TAP version 14\n1..0\n" {
		t.Errorf("TAP: %v %q", err, b.String())
	}
	b.Reset()
	if err := report.JUnit(&b, r, false); err != nil || !strings.HasPrefix(b.String(), `<testsuites errors="0" failures="0" skipped="0" tests="0">`) {
		t.Errorf("JUnit: %v %q", err, b.String())
	}
}

// A writer that fails is an error: a report that was cut short must not look
// like one.
func TestWriterFails(t *testing.T) {
	r := example(t)
	for name, render := range map[string]func(io.Writer) error{
		"text":  func(w io.Writer) error { return report.Text(w, r, report.TextOptions{}) },
		"json":  func(w io.Writer) error { return report.JSON(w, r, false) },
		"junit": func(w io.Writer) error { return report.JUnit(w, r, false) },
		"tap":   func(w io.Writer) error { return report.TAP(w, r) },
	} {
		if err := render(full{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
