//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"edict/extauthz"
	"edict/extauthz/internal/loopback/demo"
	"edict/internal/sidebyside"
)

// A server is one of those that are compared. The first is the yardstick.
type server struct {
	name   string
	make   func(root string) (*grpc.Server, error)
	verify func(*demo.Check, []byte) error
}

var servers = []server{
	{"always-OK", newAlwaysOK, isOK},
	{"gRPC alone", newFloor, isOK},
	{"Edict", newEdict, (*demo.Check).Verify},
}

// newAlwaysOK makes the server that go-control-plane's own types lead to.
func newAlwaysOK(string) (*grpc.Server, error) {
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, alwaysOK{})
	return s, nil
}

type alwaysOK struct {
	authv3.UnimplementedAuthorizationServer
}

func (alwaysOK) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.OK)}}, nil
}

// newFloor makes a server that reads no request and says OK: what gRPC costs,
// whatever is done with it.
func newFloor(string) (*grpc.Server, error) {
	s := grpc.NewServer(grpc.ForceServerCodecV2(sidebyside.RawCodec{}))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: extauthz.ServiceName,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Check",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var request []byte
				if err := decode(&request); err != nil {
					return nil, err
				}
				return &okBytes, nil
			},
		}},
	}, nil)
	return s, nil
}

// okBytes is a CheckResponse with an empty status, which is OK.
var okBytes = []byte{1<<3 | 2, 0}

// newEdict makes Edict's server as `edict serve` does.
func newEdict(root string) (*grpc.Server, error) {
	revision, err := demo.Revision(root)
	if err != nil {
		return nil, err
	}
	checks := &extauthz.Server{Panicked: func(v any, stack []byte) { fmt.Fprintf(os.Stderr, "panic: %v\n%s", v, stack) }}
	checks.Use(revision)
	s := grpc.NewServer(extauthz.ServerOptions()...)
	checks.Register(s)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	reflection.Register(s)
	return s, nil
}

// serveChild is the child's side: it says its address on standard output, and
// then what it has used so far for every line on standard input. The end of
// standard input ends it.
func serveChild(name, root, profiles string) error {
	for i := range servers {
		if servers[i].name != name {
			continue
		}
		s, err := servers[i].make(root)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(listener.Addr())
		go func() {
			if err := s.Serve(listener); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}()
		if profiles != "" {
			f, err := os.Create(filepath.Join(profiles, name+".pprof"))
			if err != nil {
				return err
			}
			defer f.Close()
			if err := pprof.StartCPUProfile(f); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
		}
		asked := bufio.NewScanner(os.Stdin)
		for asked.Scan() {
			u, err := used()
			if err != nil {
				return err
			}
			fmt.Println(int64(u.CPU), u.Bytes)
		}
		return asked.Err()
	}
	return fmt.Errorf("there is no server %q", name)
}

// used gives what this process has used since it began.
func used() (sidebyside.Usage, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return sidebyside.Usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return sidebyside.Usage{CPU: time.Duration(u.Utime.Nano() + u.Stime.Nano()), Bytes: int64(m.TotalAlloc)}, nil
}

// A child is a running server, seen from the parent.
type child struct {
	*server
	process *exec.Cmd
	stdin   io.WriteCloser
	answers *bufio.Scanner
	address string
}

func start(s *server, o options) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := exec.Command(self, "-serve", s.name, "-root", o.root, "-profiles", o.profiles)
	p.Stderr = os.Stderr
	stdin, err := p.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	c := &child{server: s, process: p, stdin: stdin, answers: bufio.NewScanner(stdout)}
	if !c.answers.Scan() {
		return nil, fmt.Errorf("the server did not start: %v", p.Wait())
	}
	c.address = c.answers.Text()
	return c, nil
}

// used asks the server what it has used.
func (c *child) used() (u sidebyside.Usage, err error) {
	if _, err := io.WriteString(c.stdin, "used\n"); err != nil {
		return sidebyside.Usage{}, err
	}
	if !c.answers.Scan() {
		return sidebyside.Usage{}, fmt.Errorf("the server does not tell what it used: %v", c.answers.Err())
	}
	var nanos int64
	_, err = fmt.Sscan(c.answers.Text(), &nanos, &u.Bytes)
	u.CPU = time.Duration(nanos)
	return u, err
}

func (c *child) stop() error {
	c.stdin.Close()
	return c.process.Wait()
}
