package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// thingsDocument has one operation that needs policy("read"), and one that is
// left out.
const thingsDocument = `openapi: 3.1.0
info: {title: things, version: "1"}
paths:
  /things/{id}:
    get: {operationId: read, x-edict: {resource: {kind: thing}}, responses: {}}
    delete: {operationId: drop, x-edict: {exposed: false}, responses: {}}
`

func TestRoutesCheckSaysWhatAgrees(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("read"), "things.yaml": thingsDocument, "r/README": "so that there is a folder"})
	if status, _, stderr := command(nil, "routes", "from-openapi", "things.yaml", "--output", "r/things.yaml"); status != exitOK {
		t.Fatalf("got %d, %s", status, stderr)
	}
	status, stdout, stderr := command(nil, "routes", "check", "--policies", "p", "--routes", "r", "--openapi", "things.yaml")
	if want := "r compiled: 1 route in 1 route map\nthings.yaml agrees with the route map things: 2 operations\n"; status != exitOK || stdout != want || stderr != "" {
		t.Errorf("got %d, %q, %q; want %q", status, stdout, stderr, want)
	}
	status, stdout, _ = command(nil, "routes", "check", "--policies", "p", "--routes", "r", "--openapi", "things.yaml", "--name", "other")
	if status != exitGate || !strings.HasPrefix(stdout, "things.yaml: error: there is no route map called other [openapi-drift-missing]\n") || strings.Contains(stdout, "agrees") || strings.Contains(stdout, "compiled:") {
		t.Errorf("got %d and\n%s", status, stdout)
	}
}

// A doubt is told, and changes nothing else.
func TestRoutesCheckDoubts(t *testing.T) {
	inFolder(t, map[string]string{"p/thing.yaml": policy("read"), "r/things.yaml": routes("reed")})
	status, stdout, stderr := command(nil, "routes", "check", "--policies", "p", "--routes", "r")
	if status != exitOK || stderr != "" || !strings.HasPrefix(stdout, `r/things.yaml:8:15: warning: no rule allows anybody the action "reed" on the resource kind "thing" [route-action]`) ||
		!strings.Contains(stdout, `hint: did you mean "read"?`) || !strings.HasSuffix(stdout, "\nr compiled: 2 routes in 1 route map\n") {
		t.Errorf("got %d, %q and\n%s", status, stderr, stdout)
	}
	var answer struct {
		Problems []struct{ Severity, Code string }
	}
	status, stdout, _ = command(nil, "routes", "check", "--policies", "p", "--routes", "r", "--format", "json")
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || status != exitOK || len(answer.Problems) != 2 || answer.Problems[0].Severity != "warning" || answer.Problems[0].Code != "route-action" {
		t.Errorf("got %d, %v and\n%s", status, err, stdout)
	}
}

// Whoever writes the document into a pipe is not left with a broken one.
func TestRoutesCheckReadsTheDocumentFirst(t *testing.T) {
	inFolder(t, map[string]string{"p/bad.yaml": misspelt, "r/things.yaml": routes("a"), "bad.yaml": "log: {level: loud}\n"})
	for _, args := range [][]string{
		{"--policies", "p", "--routes", "r"},
		{"--policies", "absent", "--routes", "r"},
		{"--policies", "p", "--routes", "absent"},
		{"--config", "bad.yaml"},
	} {
		document := bytes.NewBufferString(thingsDocument)
		root := newRoot(nil, io.Discard)
		root.SetOut(io.Discard)
		root.SetIn(document)
		root.SetArgs(append([]string{"routes", "check", "--openapi", "-"}, args...))
		if err := root.ExecuteContext(t.Context()); err == nil || document.Len() > 0 {
			t.Errorf("%q: got %v, with %d bytes of the document unread", args, err, document.Len())
		}
	}
}

// Nothing is doubtful about what the repository shows.
func TestRoutesOfTheRepositoryAreNotDoubtful(t *testing.T) {
	for _, args := range [][]string{
		{"--config", "../../envoy/edict.yaml", "--policies", "../../policies", "--routes", "../../envoy/routes"},
		{"--config", "../../envoy/mesh/edict.yaml", "--policies", "../../envoy/mesh/policies", "--routes", "../../envoy/mesh/routes"},
	} {
		if status, stdout, stderr := command(nil, append([]string{"routes", "check"}, args...)...); status != exitOK || strings.Contains(stdout, "warning") {
			t.Errorf("%q: got %d, %s\n%s", args, status, stderr, stdout)
		}
	}
}
