package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"gopkg.in/yaml.v3"

	"edict/engine"
	"edict/engine/conformance"
	"edict/engine/diag"
	"edict/engine/policyfile"
	"edict/engine/suite"
	"edict/engine/suite/report"
)

// compileFunc gives the Compile of suite.Options for the policies of a folder,
// schemas ignored.
func compileFunc(t *testing.T, dir string) func(engine.Options) (*engine.PolicySet, diag.List) {
	t.Helper()
	files, list := policyfile.ReadFolder(os.DirFS(dir), "")
	policies, more := policyfile.ParseAll(files.Policies)
	if list = append(list, more...); len(list) > 0 {
		t.Fatal(list.Render())
	}
	return func(o engine.Options) (*engine.PolicySet, diag.List) {
		c, err := engine.NewCompiler(o)
		if err != nil {
			return nil, diag.List{{Message: err.Error()}}
		}
		return c.Compile(policies, nil)
	}
}

// conformanceCases runs every case of a folder.
func conformanceCases(t *testing.T, folder, store string, render func(io.Writer, *suite.Report) error, compare func(t *testing.T, golden, got []byte)) {
	dir := conformance.Dir(t)
	cases, err := filepath.Glob(filepath.Join(dir, folder, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if want := conformance.Count(t, folder); len(cases) != want {
		t.Fatalf("found %d cases, the manifest has %d", len(cases), want)
	}
	compile := compileFunc(t, filepath.Join(dir, store))
	for _, file := range cases {
		// The cases hold under strict evaluation as under the lenient one that
		// they were recorded with.
		for mode, lenient := range map[string]bool{"strict": false, "lenient": true} {
			t.Run(filepath.Base(file)+"/"+mode, func(t *testing.T) {
				o := suite.Options{Compile: compile, Engine: engine.Options{LenientEvaluation: lenient}}
				readConfig(t, file, &o)
				files := fstest.MapFS{}
				for _, f := range conformance.Archive(t, file+".input") {
					files[f.Name] = &fstest.MapFile{Data: f.Content}
				}
				suites, err := suite.Find(files, "")
				if err != nil {
					t.Fatal(err)
				}
				golden, err := os.ReadFile(file + ".golden")
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				if err := render(&got, suite.Run(suites, o)); err != nil {
					t.Fatal(err)
				}
				compare(t, golden, got.Bytes())
			})
		}
	}
}

// readConfig reads what restricts the run of a case.
func readConfig(t *testing.T, file string, o *suite.Options) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Description string
		Config      map[string]any
	}
	if err := yaml.Unmarshal(content, &c); err != nil {
		t.Fatal(err)
	}
	for key, v := range c.Config {
		switch key {
		case "includedTestNamesRegexp":
			o.Filter.Run = regexp.MustCompile(v.(string))
		case "excludedResourcePolicyFqns", "excludedPrincipalPolicyFqns":
			o.Excluded = map[string]bool{}
			for _, name := range v.([]any) {
				o.Excluded[strings.TrimPrefix(name.(string), "cerbos.")] = true
			}
		default:
			t.Fatalf("the case is configured by %s, which this test does not know", key)
		}
	}
}

func TestConformanceJSON(t *testing.T) {
	render := func(w io.Writer, r *suite.Report) error { return report.JSON(w, r, false) }
	conformanceCases(t, "verify/cases", "store", render, func(t *testing.T, golden, got []byte) {
		want, have := decodeJSON(t, golden), decodeJSON(t, got)
		dropErrors(want)
		dropErrors(have)
		if !reflect.DeepEqual(want, have) {
			t.Errorf("got\n%s\nwant\n%s", got, golden)
		}
	})
}

func decodeJSON(t *testing.T, b []byte) any {
	t.Helper()
	var x any
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatalf("%v in %s", err, b)
	}
	return x
}

// dropErrors leaves of errors only that there is one: their words are ours.
func dropErrors(x any) {
	switch t := x.(type) {
	case []any:
		for _, e := range t {
			dropErrors(e)
		}
	case map[string]any:
		for k, v := range t {
			if _, isText := v.(string); isText && k == "error" {
				t[k] = "there is one"
			}
			dropErrors(v)
		}
	}
}

func TestConformanceJUnit(t *testing.T) {
	render := func(w io.Writer, r *suite.Report) error { return report.JUnit(w, r, false) }
	conformanceCases(t, "verify_junit/cases", "verify_junit/store", render, func(t *testing.T, golden, got []byte) {
		want, have := flatXML(t, golden), flatXML(t, got)
		if !reflect.DeepEqual(want, have) {
			t.Errorf("got\n%s\nwant\n%s", got, golden)
		}
	})
}

// flatXML gives the elements, attributes and texts of a document in order.
func flatXML(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		switch e := token.(type) {
		case xml.StartElement:
			out = append(out, "<"+e.Name.Local)
			attributes := map[string]string{}
			for _, a := range e.Attr {
				attributes[a.Name.Local] = a.Value
			}
			line, _ := json.Marshal(attributes)
			out = append(out, string(line))
		case xml.EndElement:
			out = append(out, ">")
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); strings.HasPrefix(s, "Failed to evaluate") {
				out = append(out, "Failed to evaluate")
			} else if s != "" {
				out = append(out, s)
			}
		}
	}
}
