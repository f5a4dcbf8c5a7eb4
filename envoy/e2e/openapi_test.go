package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The demo's route map is what its service's OpenAPI document says.
func TestRouteMapIsThatOfTheService(t *testing.T) {
	needTools(t)
	document := python(t, "envoy/demo/demo.py", "openapi")
	check := exec.Command(tools.edict, "routes", "check", "--openapi", "-", "--policies", "policies", "--routes", "envoy/routes")
	check.Dir = tools.root
	check.Stdin = strings.NewReader(document)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v; make routes makes it anew\n%s", err, out)
	}
	// It would tell if the service had one operation more.
	more := strings.Replace(document, `"/whoami"`, `"/whoami/{x}"`, 1)
	check = exec.Command(tools.edict, "routes", "check", "--openapi", "-", "--policies", "policies", "--routes", "envoy/routes")
	check.Dir = tools.root
	check.Stdin = strings.NewReader(more)
	if out, err := check.CombinedOutput(); check.ProcessState.ExitCode() != 5 || !strings.Contains(string(out), "no operation for the route whoami") {
		t.Errorf("a path that changed gives %v\n%s", err, out)
	}
}

// The page about OpenAPI shows what FastAPI and Edict make of its example.
func TestOpenAPIPage(t *testing.T) {
	needTools(t)
	page := readFile(t, filepath.Join(tools.root, "docs", "openapi.md"))
	block := func(info string) string {
		m := regexp.MustCompile("(?s)```" + info + "\n(.*?)```").FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("the page has no block %q", info)
		}
		return m[1]
	}
	document := python(t, "-c", block("python")+"\nimport json; print(json.dumps(app.openapi(), indent=1))")
	made := exec.Command(tools.edict, "routes", "from-openapi", "-")
	made.Stdin = strings.NewReader(document)
	out, err := made.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := block("yaml routes"); string(out) != want {
		t.Errorf("the example makes\n%s", out)
	}
}

// python runs a program from the repository's root and gives what it prints.
func python(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command(tools.python, args...)
	c.Dir = tools.root
	c.Env = append(c.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var complaint strings.Builder
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaint.String())
	}
	return string(out)
}
