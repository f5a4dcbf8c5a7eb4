package extauthz_test

import (
	"context"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/extauthz"
	"edict/extauthz/internal/loopback/demo"
)

// newDemoServer gives a Server that answers by the demo's policies and routes.
func newDemoServer(t testing.TB) *extauthz.Server {
	t.Helper()
	revision, err := demo.Revision("..")
	if err != nil {
		t.Fatal(err)
	}
	s := &extauthz.Server{Panicked: func(v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }}
	s.Use(revision)
	return s
}

// headerForms are the two forms in which Envoy can send headers.
var headerForms = []struct {
	name string
	raw  bool
}{{"raw", true}, {"map", false}}

// The checks that benchmarks work with get the answers that they should.
func TestDemoChecks(t *testing.T) {
	s := newDemoServer(t)
	for _, form := range headerForms {
		for _, c := range demo.Checks(form.raw) {
			if err := c.Verify(s.AppendCheck(t.Context(), nil, c.Request)); err != nil {
				t.Errorf("%s headers: %v", form.name, err)
			}
		}
	}
}

// A check allocates next to nothing, from the bytes of the request to the
// bytes of the answer. What is left is the reading of JSON bodies and the
// joining of several roles for the upstream.
func TestCheckAllocations(t *testing.T) {
	if extauthz.RaceDetector() {
		t.Skip("the race detector makes pools forget what they hold, so that counts mean nothing; the run without it counts")
	}
	most := map[string]float64{"manager totals": 2, "employee creates": 20, "manager approves": 14, "owner approves": 12}
	s := newDemoServer(t)
	for _, form := range headerForms {
		for _, c := range demo.Checks(form.raw) {
			dst := make([]byte, 0, 4096)
			n := testing.AllocsPerRun(200, func() { s.AppendCheck(context.Background(), dst, c.Request) })
			if n > most[c.Name] {
				t.Errorf("%s headers, %s: %v allocations, want at most %v", form.name, c.Name, n, most[c.Name])
			}
		}
	}
}

// A whole check in process, from bytes to bytes.
func BenchmarkCheck(b *testing.B) {
	s := newDemoServer(b)
	for _, form := range headerForms {
		for _, c := range demo.Checks(form.raw) {
			b.Run(form.name+"/"+c.Name, func(b *testing.B) {
				dst := make([]byte, 0, 4096)
				var answer []byte
				b.ReportAllocs()
				for b.Loop() {
					answer = s.AppendCheck(b.Context(), dst, c.Request)
				}
				if err := c.Verify(answer); err != nil {
					b.Error(err)
				}
			})
		}
	}
}

// The same on all cores at once.
func BenchmarkCheckParallel(b *testing.B) {
	s := newDemoServer(b)
	c := demo.Checks(true)[0]
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]byte, 0, 4096)
		var answer []byte
		for pb.Next() {
			answer = s.AppendCheck(context.Background(), dst, c.Request)
		}
		if answer != nil {
			if err := c.Verify(answer); err != nil {
				b.Error(err)
			}
		}
	})
}

// What a server with the generated types does before it can begin to decide:
// the yardstick of BenchmarkCheck.
func BenchmarkUnmarshal(b *testing.B) {
	for _, form := range headerForms {
		c := demo.Checks(form.raw)[0]
		b.Run(form.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := proto.Unmarshal(c.Request, new(authv3.CheckRequest)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
