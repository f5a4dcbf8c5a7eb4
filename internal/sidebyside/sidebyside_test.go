package sidebyside

import (
	"bytes"
	"context"
	"errors"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// echo starts a server that answers with what it is asked. Each turn takes it cpu
// and heap, as it says.
func echo(t *testing.T, name string, cpu time.Duration, heap int64) Server {
	t.Helper()
	s := grpc.NewServer(grpc.ForceServerCodecV2(RawCodec{}))
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Say",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			err := decode(&request)
			return &request, err
		},
	}}}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }() // Stop ends it
	t.Cleanup(s.Stop)
	var looks time.Duration
	return Server{
		Name: name, Address: l.Addr().String(),
		Used: func() (Usage, error) {
			looks++ // before a turn, and behind it
			return Usage{CPU: looks * cpu, Bytes: int64(looks) * heap}, nil
		},
		Calls: func(ask func([]byte) ([]byte, error)) ([]Call, error) {
			first, err := ask([]byte("x"))
			return []Call{{Request: []byte("x"), Verify: func(answer []byte) error {
				if !bytes.Equal(answer, first) {
					return errors.New("another answer")
				}
				return nil
			}}}, err
		},
	}
}

var load = Load{Name: "at work", Connections: 2, Streams: 3, Calls: 50}

func TestRun(t *testing.T) {
	servers := []Server{echo(t, "plain", 5*time.Millisecond, 1000), echo(t, "quick", 2*time.Millisecond, 3000)}
	c := Comparison{Method: "/echo/Say", Unit: "call", Rounds: 2, Heap: true, Deadline: time.Minute}
	var out strings.Builder
	if err := c.Run(&out, load, servers); err != nil {
		t.Fatal(err)
	}
	time := `\d+ +×\d+\.\d\d +`
	for _, want := range []string{
		`^\nat work: 2 connections with 3 calls under way each, 2 rounds of 50 calls, all answers verified\n\n`,
		`\n *server +calls/s +ratio +p50 µs +ratio +p99 µs +ratio +heap B/call +ratio +CPU µs/call +ratio +range\n`,
		`\n *plain +\d+ +×1.00 +\d+ +×1.00 +\d+ +×1.00 +20 +×1.00 +100.0 +×1.00 +1.00–1.00\n`,
		`\n *quick +` + time + time + time + `60 +×3.00 +40.0 +×0.40 +0.40–0.40\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
}

// One wrong answer among many ends the run.
func TestWrongAnswer(t *testing.T) {
	wrong := echo(t, "wrong", 1, 1)
	var answers atomic.Int64
	wrong.Calls = func(func([]byte) ([]byte, error)) ([]Call, error) {
		return []Call{{Request: []byte("x"), Verify: func([]byte) error {
			if answers.Add(1) == 70 {
				return errors.New("another answer")
			}
			return nil
		}}}, nil
	}
	var out strings.Builder
	err := (&Comparison{Method: "/echo/Say", Unit: "call", Rounds: 2}).Run(&out, load, []Server{echo(t, "plain", 1, 1), wrong})
	if err == nil || err.Error() != "wrong: another answer" || out.Len() > 0 {
		t.Errorf("got %v, printed %q", err, out.String())
	}
}

// The table has medians of rounds, and medians of ratios within rounds.
func TestTable(t *testing.T) {
	turn := func(took, p50, p99, cpu time.Duration) result {
		return result{calls: 1000, took: took, p50: p50, p99: p99, used: Usage{CPU: cpu}}
	}
	const ms, us = time.Millisecond, time.Microsecond
	var out strings.Builder
	err := (&Comparison{Unit: "request"}).printTable(&out, []Server{{Name: "old"}, {Name: "new"}}, [][]result{
		{turn(100*ms, 10*us, 100*us, 50*ms), turn(200*ms, 20*us, 200*us, 60*ms), turn(400*ms, 40*us, 900*us, 100*ms)},
		{turn(50*ms, 5*us, 100*us, 30*ms), turn(50*ms, 5*us, 100*us, 30*ms), turn(400*ms, 40*us, 100*us, 90*ms)},
	})
	const want = `
  server  requests/s  ratio  p50 µs  ratio  p99 µs  ratio  CPU µs/request  ratio      range
     old        5000  ×1.00      20  ×1.00     200  ×1.00            60.0  ×1.00  1.00–1.00
     new       20000  ×2.00       5  ×0.50     100  ×0.50            30.0  ×0.60  0.50–0.90
`
	if got := "\n" + out.String(); err != nil || got != want {
		t.Errorf("%v, printed%s", err, got)
	}
}
