package sdktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	enable     = "EDICT_E2E"
	howEnabled = "the tests with Cerbos' SDKs need what `make venv sdks` installs; after that: " + enable + "=1 go test -count=1 ./api/sdktest"
)

var (
	cerbos = flag.String("cerbos", "", "ask this Cerbos binary instead of Edict")
	record = flag.Bool("record", false, "with -cerbos: write its answers to testdata/answers.json")
)

// TestSDKs starts Edict, lets the SDKs ask it, and holds what they got against
// what Cerbos said.
func TestSDKs(t *testing.T) {
	if *record && *cerbos == "" {
		t.Fatal("-record needs -cerbos: Edict's own answers are not the measure")
	}
	l := newLab(t)
	t.Run("table", l.runTable)
	if *cerbos == "" {
		t.Run("docs/fastapi.md", l.runPage)
		t.Run("docs/api.md", l.runAPIPage)
	}
}

// runTable makes the calls of the table.
func (l *lab) runTable(t *testing.T) {
	table := readTable(t)
	servers := l.start(t)
	got := answers{}
	ran := map[string]bool{}
	for _, runner := range []struct {
		language string
		command  func(t *testing.T) []string
	}{
		{"python", func(t *testing.T) []string { return []string{python(t, l.root), "testdata/runner.py"} }},
		{"js", func(t *testing.T) []string { return javaScript(t, l.root) }},
	} {
		t.Run(runner.language, func(t *testing.T) {
			for _, a := range run(t, runner.command(t), servers["tls"].CA, work{servers, nowhere(t), table.Tokens, table.Cases}) {
				got.add(t, table.named(t, a.Case), a)
			}
			ran[runner.language] = true
		})
	}
	if !*record {
		got.compare(t, table, readAnswers(t, "testdata/answers.json"), ran)
		return
	}
	if t.Failed() || len(ran) != 2 {
		t.Fatal("nothing is recorded: not every runner ended well")
	}
	got.write(t, "testdata/answers.json")
}

// A target is a server as clients are told of it.
type target struct {
	HTTP string `json:"http"`
	GRPC string `json:"grpc,omitempty"`
	CA   string `json:"ca,omitempty"` // file

	// Whole has all cases made, not only those that say "everywhere".
	Whole bool `json:"whole,omitempty"`

	// Admin opens the Admin API, and only cases that say "admin" are made. Nil: all
	// others are.
	Admin *credentials `json:"admin,omitempty"`
}

// credentials are those of the Admin API.
type credentials struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// work is what a runner does.
type work struct {
	Targets map[string]target `json:"targets"` // by transport
	Nowhere target            `json:"nowhere"` // where nobody listens
	Tokens  map[string]string `json:"tokens"`
	Cases   []testCase        `json:"cases"`
}

// An answer is what one client got over one transport.
type answer struct {
	Client, Transport, Case string
	Answer                  any
}

// nowhere gives addresses where nobody listens.
func nowhere(t *testing.T) target {
	// Port 1 is not one that programs are given, and nobody serves there.
	return target{HTTP: "http://127.0.0.1:1", GRPC: "unix:" + filepath.Join(t.TempDir(), "nobody.sock")}
}

func run(t *testing.T, command []string, ca string, w work) []answer {
	t.Helper()
	in, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(in)
	// A proxy of the machine is not for loopback.
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, &errs)
	}
	var list []answer
	for d := json.NewDecoder(&out); ; {
		var a answer
		if err := d.Decode(&a); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%s wrote what is no JSON: %v", command, err)
		}
		list = append(list, a)
	}
}

// python gives a Python with the Cerbos SDK.
func python(t *testing.T, root string) string {
	t.Helper()
	python := filepath.Join(root, ".venv", "bin", "python")
	if out, err := exec.Command(python, "-c", "import cerbos.sdk.client").CombinedOutput(); err != nil {
		t.Fatalf("the Cerbos SDK of Python is missing; install it with: make venv\n%v\n%s", err, out)
	}
	return python
}

// javaScript gives the command of the JavaScript runner. Where there is no npm
// to install the SDKs with, the test is skipped.
func javaScript(t *testing.T, root string) []string {
	t.Helper()
	modules := filepath.Join(root, ".tools", "sdk")
	if _, err := os.Stat(filepath.Join(modules, "node_modules")); err != nil {
		if _, noNPM := exec.LookPath("npm"); noNPM != nil {
			t.Skip("SKIPPED: the Cerbos SDKs of JavaScript, since there is no npm")
		}
		t.Fatalf("the Cerbos SDKs of JavaScript are missing; install them with: make sdks\n%v", err)
	}
	return []string{"node", "testdata/runner.mjs", modules}
}

// language gives that of a client: the first word of its name.
func language(client string) string {
	word, _, _ := strings.Cut(client, " ")
	return word
}
