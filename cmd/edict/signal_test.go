package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"
)

// startProcess starts the daemon as a process of its own, and gives what sends
// it a signal. Its exit status comes as that of one in this process does.
func (s *served) startProcess(sets ...string) (signal func(syscall.Signal)) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := exec.Command(self, s.args(sets...)...)
	p.Env = []string{childVariable + "=1"}
	p.Stdout, p.Stderr = &s.stdout, s.log
	if err := p.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var exit *exec.ExitError
		switch err := p.Wait(); {
		case err == nil, errors.As(err, &exit):
			s.status <- p.ProcessState.ExitCode()
		default:
			s.t.Errorf("waiting for the process: %v", err)
		}
	}()
	s.t.Cleanup(func() {
		_ = p.Process.Kill() // gone is as good
		<-ended
	})
	s.listening()
	return func(signal syscall.Signal) {
		s.t.Helper()
		if err := p.Process.Signal(signal); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestOneSignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := newServed(t)
			send := s.startProcess()
			s.answers(aliceAsks, "allow", 200)
			send(signal)
			if status := s.ended(); status != exitOK {
				t.Errorf("exit status %d; the log is\n%s", status, s.log)
			}
			s.log.await(t, "stopped", 1)
			if s.stdout.Len() > 0 {
				t.Errorf("standard output: %s", &s.stdout)
			}
		})
	}
}

// After the first signal Edict says that it is not serving and answers on, for
// as long as it was told to; the second signal ends that.
func TestTwoSignals(t *testing.T) {
	s := newServed(t)
	send := s.startProcess("shutdown.delay=1h")
	watch := s.watchHealth()
	s.expectHealth(watch, serving)
	send(syscall.SIGTERM)
	s.expectHealth(watch, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	s.health(notServing)
	s.answers(aliceAsks, "allow", 200)
	s.answers(question{path: "/other", roles: []any{"user"}}, "deny", 403)
	if code, body := s.get("/readyz"); code != 503 || body["reason"] != "shutting down" {
		t.Errorf("/readyz: %d, %v", code, body)
	}
	if code, _ := s.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	select {
	case <-s.status:
		t.Fatal("it ended after one signal")
	default:
	}
	send(syscall.SIGTERM)
	if status := s.ended(); status != exitFailure {
		t.Errorf("exit status %d", status)
	}
	if !strings.HasSuffix(s.log.String(), "edict: second signal, not waiting any longer\n") {
		t.Errorf("the log ends with\n%s", s.log)
	}
}
