//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"edict/internal/sidebyside"
)

// A server is one of those that are compared, running.
type server struct {
	name    string
	address string
	process *exec.Cmd
	log     bytes.Buffer // what it said
	ended   chan error
}

func startCerbos(o options) (*server, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	return start("Cerbos", ports[0], exec.Command(o.cerbos, "server", "--log-level=error",
		"--set=server.grpcListenAddr="+ports[0], "--set=server.httpListenAddr="+ports[1],
		"--set=storage.driver=disk", "--set=storage.disk.directory="+filepath.Join(o.root, "policies"), "--set=storage.disk.watchForChanges=false",
		"--set=audit.enabled=false", "--set=telemetry.disabled=true"))
}

func startEdict(o options) (*server, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	return start("Edict", ports[0], exec.Command(o.edict, "serve", "--config", filepath.Join(o.root, "envoy", "edict.yaml"),
		"--set", "policies.dir="+filepath.Join(o.root, "policies"), "--set", "routes.dir="+filepath.Join(o.root, "envoy", "routes"),
		"--set", "listen.apiGRPC="+ports[0], "--set", "listen.apiHTTP="+ports[1],
		"--set", "listen.extAuthz="+ports[2], "--set", "listen.admin="+ports[3], "--set", "log.level=error"))
}

// freePorts gives addresses on the loopback interface where nobody listens.
func freePorts(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// startTime is how long a server may take to listen.
const startTime = 30 * time.Second

// start starts a server and waits until it listens.
func start(name, address string, process *exec.Cmd) (*server, error) {
	s := &server{name: name, address: address, process: process, ended: make(chan error, 1)}
	process.Stdout, process.Stderr = &s.log, &s.log
	if err := process.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { s.ended <- process.Wait() }()
	for until := time.Now().Add(startTime); time.Now().Before(until); {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return s, nil
		}
		select {
		case err := <-s.ended:
			return nil, fmt.Errorf("%s ended: %w\n%s", name, err, s.log.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.stop()
	return nil, fmt.Errorf("%s does not listen\n%s", name, s.log.Bytes())
}

func (s *server) stop() {
	_ = s.process.Process.Kill() // it has nothing to save
	<-s.ended
}

// tick is the unit in which Linux tells CPU times, USER_HZ; it is the same on
// all of Go's architectures.
const tick = 10 * time.Millisecond

// used gives the CPU time that the server has used, in user space and kernel
// (proc_pid_stat(5)).
func (s *server) used() (sidebyside.Usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.Process.Pid))
	if err != nil {
		return sidebyside.Usage{}, err
	}
	// The name, in parentheses, may hold anything. utime and stime are the
	// fields 14 and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return sidebyside.Usage{}, errors.New("/proc/PID/stat is not as it should be")
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return sidebyside.Usage{}, err
		}
		ticks += n
	}
	return sidebyside.Usage{CPU: time.Duration(ticks) * tick}, nil
}
