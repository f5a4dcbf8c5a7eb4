package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The environment variable that turns the tests on, and the one that makes the
// test binary the keeper of a folder.
const (
	enable     = "EDICT_E2E"
	beKeeper   = "EDICT_E2E_KEEPER"
	howEnabled = "the end-to-end tests need Envoy and the demo's service; run `make test`, " +
		"or `make venv` once and then `EDICT_E2E=1 go test -count=1 ./envoy/e2e`"
)

// tools are what every rig is made from. They are set once, before any test.
var tools struct {
	err    error  // why the rest is missing
	dir    string // for all that the tests make
	root   string // the repository's
	edict  string // built from this tree
	envoy  string
	python string // with the demo's requirements
	keeper *keeper
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(beKeeper); dir != "" {
		keep(os.Stdin, dir)
		return
	}
	if os.Getenv(enable) == "" {
		os.Exit(m.Run())
	}
	tools.err = findTools()
	status := m.Run()
	if tools.keeper != nil {
		tools.keeper.close()
	}
	os.Exit(status)
}

func findTools() error {
	// The name is short, since the path of a socket may have a hundred bytes.
	dir, err := os.MkdirTemp("", "edict-e2e-")
	if err != nil {
		return err
	}
	tools.dir = dir
	if tools.keeper, err = newKeeper(dir); err != nil {
		return err
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	tools.root = root
	venv := filepath.Join(root, ".venv", "bin")
	for _, tool := range []struct {
		path *string
		name string
	}{{&tools.envoy, "envoy"}, {&tools.python, "python"}} {
		*tool.path = filepath.Join(venv, tool.name)
		if _, err := os.Stat(*tool.path); err != nil {
			return fmt.Errorf("%w; install it with: make venv", err)
		}
	}
	tools.edict = filepath.Join(dir, "edict")
	build := exec.Command("go", "build", "-o", tools.edict, "./cmd/edict")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building edict: %w\n%s", err, out)
	}
	return nil
}

// needTools skips the test if the end-to-end tests are off, and fails it if
// they are on and something is missing.
func needTools(t *testing.T) {
	t.Helper()
	if os.Getenv(enable) == "" {
		t.Skip(howEnabled)
	}
	if tools.err != nil {
		t.Fatalf("%s is set, but: %v", enable, tools.err)
	}
}

// A keeper is a child process that ends all others when this one is gone, and
// removes what they left. It is told of them through a pipe, which closes
// however this process ends.
type keeper struct {
	mu   sync.Mutex
	pipe io.WriteCloser
	cmd  *exec.Cmd
}

func newKeeper(dir string) (*keeper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	k := &keeper{cmd: exec.Command(self)}
	k.cmd.Env = append(os.Environ(), beKeeper+"="+dir)
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	if k.pipe, err = k.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return k, k.cmd.Start()
}

func (k *keeper) watch(pid int)  { k.tell('+', pid) }
func (k *keeper) forget(pid int) { k.tell('-', pid) }

func (k *keeper) tell(sign rune, pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fmt.Fprintf(k.pipe, "%c%d\n", sign, pid)
}

func (k *keeper) close() {
	k.pipe.Close()
	_ = k.cmd.Wait()
}

// keep reads which process groups began (+pid) and ended (-pid), and at the end
// of the input ends those that are left and removes the folder.
func keep(in io.Reader, dir string) {
	alive := map[int]bool{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if pid, err := strconv.Atoi(strings.TrimLeft(lines.Text(), "+-")); err == nil && pid > 1 {
			alive[pid] = strings.HasPrefix(lines.Text(), "+")
		}
	}
	for pid, is := range alive {
		if is {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	}
	os.RemoveAll(dir)
}
