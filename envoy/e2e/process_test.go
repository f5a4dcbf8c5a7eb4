package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long the tests wait for what ought to happen soon. It is
// long, since it only matters when something is broken.
const patience = 30 * time.Second

// eventually asks again and again until the answer is nil, and fails the test
// if that takes too long.
func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v; last: %v", what, patience, err)
		}
	}
}

// A process is one that a test started, with the group that it leads.
type process struct {
	name     string
	cmd      *exec.Cmd
	out, err string        // files with what it writes
	done     chan struct{} // closed once it has ended
}

// launch starts a process in dir. It is killed when the test ends.
func launch(t *testing.T, name, dir string, env []string, command ...string) *process {
	t.Helper()
	p := &process{
		name: name,
		out:  filepath.Join(dir, name+".out"),
		err:  filepath.Join(dir, name+".err"),
		done: make(chan struct{}),
	}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Dir = dir
	// Our own variables are none of its settings.
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "EDICT_") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.OpenFile(p.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	errs, err := os.OpenFile(p.err, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, errs
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	tools.keeper.watch(p.cmd.Process.Pid)
	go func() {
		_ = p.cmd.Wait() // the status is in ProcessState
		tools.keeper.forget(p.cmd.Process.Pid)
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

// signal sends a signal to the process and all that it started.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil {
		t.Fatalf("sending %v to %s: %v", s, p.name, err)
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // gone is as good
		<-p.done
	}
}

// ended waits for the process to end by itself and gives its exit status.
func (p *process) ended(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s did not end within %v", p.name, patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

// alive gives an error if the process has ended.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v", p.name, p.cmd.ProcessState)
	default:
		return nil
	}
}

// log gives all that the process and its predecessors of the same name wrote to
// standard error.
func (p *process) log() string {
	b, err := os.ReadFile(p.err)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// tail gives the last lines that the process wrote.
func (p *process) tail() string {
	var b strings.Builder
	for file, most := range map[string]int{p.err: 20, p.out: 5} {
		content, _ := os.ReadFile(file)
		lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
		fmt.Fprintf(&b, "--- the end of %s\n%s\n", filepath.Base(file), bytes.Join(lines[max(0, len(lines)-most):], []byte("\n")))
	}
	return b.String()
}
