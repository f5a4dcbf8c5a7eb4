package lint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edict/engine/conformance"
	"edict/engine/diag"
	"edict/engine/lint"
	"edict/engine/policyfile"
)

func lintFolder(t *testing.T, dir string) diag.List {
	t.Helper()
	policies, list := policyfile.Load(os.DirFS(dir))
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	if len(policies) == 0 {
		t.Fatalf("%s holds no policies", dir)
	}
	return lint.Check(policies, nil, environment(t))
}

// The policies of the demo are an example to follow.
func TestTheDemoIsClean(t *testing.T) {
	if list := lintFolder(t, filepath.Join("..", "..", "policies")); len(list) > 0 {
		t.Error(list.Render())
	}
}

// Each warning about the policies that Cerbos is tested with was judged: it
// says something true. A new one is to be judged, and written down here.
func TestWarningsAboutConformancePolicies(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "judged.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var judged []string
	for line := range strings.Lines(string(golden)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			judged = append(judged, line)
		}
	}
	var got []string
	for _, dir := range []string{"store", "query_planner/policies", "verify_junit/store"} {
		for _, d := range lintFolder(t, filepath.Join(conformance.Dir(t), dir)) {
			line := fmt.Sprintf("%s/%s %s", dir, d.Pos, d.Code)
			got = append(got, line)
			if !slices.Contains(judged, line) {
				t.Errorf("not judged: %s\n%s", line, d.Render())
			}
		}
	}
	for _, line := range judged {
		if !slices.Contains(got, line) {
			t.Errorf("not reported: %s", line)
		}
	}
}
