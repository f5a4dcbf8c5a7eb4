package routetest_test

import (
	"errors"
	"os"
	"testing"

	"edict/cmd/edict/internal/routetest"
)

// Whatever is in a file, it has tests or problems, never both and never
// neither; and what can be run is a request that Envoy could send.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"../../../../envoy/routes/expenses_test.yaml", "../../../../envoy/mesh/mesh_test.yaml"} {
		if content, err := os.ReadFile(name); err == nil {
			f.Add(content)
		}
	}
	const head = "apiVersion: edict.dev/v1\nrouteTest:\n  tests:\n    - name: a\n      request: "
	for _, seed := range []string{
		"", "routeTest: {tests: []}", head + "{path: /x}\n      expect: {outcome: deny}\n", head + "{path: /x, headers: {a: [b, c]}, body: {d: 1}}\n      expect: {}\n",
		head + "{recorded: x.json}\n      expect: {status: 403}\n", head + "{path: '', as: nobody, source: x}\n      expect: {colour: red}\n",
	} {
		f.Add([]byte(seed))
	}
	beside := func(string) ([]byte, error) { return nil, errors.New("there is none") }
	f.Fuzz(func(t *testing.T, content []byte) {
		file := routetest.Parse("x_test.yaml", content, beside)
		if (len(file.Tests) > 0) == (len(file.Problems) > 0) {
			t.Fatalf("%d tests and %d problems", len(file.Tests), len(file.Problems))
		}
		for i := range file.Tests {
			if len(file.Tests[i].Expect) == 0 {
				t.Errorf("the test %q expects nothing", file.Tests[i].Name)
			}
			if _, err := file.Tests[i].Request.Message(); err != nil {
				t.Errorf("the test %q can't be asked: %v", file.Tests[i].Name, err)
			}
		}
	})
}
