package routing_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"edict/extauthz/routing"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// The numbers of routes that are compared.
const (
	few  = 10
	many = 10_000
)

// A shape is a way in which the routes of a service differ. Make gives pattern i
// and a request for it, as pattern and ask read them.
var shapes = []struct {
	name string
	make func(i int) (pattern, request string)
}{
	{"literals", func(i int) (string, string) {
		return fmt.Sprintf("GET - /literal-%d", i), fmt.Sprintf("GET h /literal-%d", i)
	}},
	{"OpenAPI", func(i int) (string, string) {
		k := i / 10
		of := [][2]string{
			{"GET - /api/v1/kind%d", "GET h /api/v1/kind%d"}, {"POST - /api/v1/kind%d", "POST h /api/v1/kind%d"},
			{"GET - /api/v1/kind%d/{id}", "GET h /api/v1/kind%d/42"}, {"PUT,PATCH - /api/v1/kind%d/{id}", "PUT h /api/v1/kind%d/42"},
			{"DELETE - /api/v1/kind%d/{id}", "DELETE h /api/v1/kind%d/42"},
			{"GET - /api/v1/kind%d/{id}/parts/{part}", "GET h /api/v1/kind%d/42/parts/7"},
			{"GET - /api/v1/kind%d/{id}/files/{path=**}", "GET h /api/v1/kind%d/42/files/a/b/c"},
			{"GET - /api/v1/kind%d/{id}.json", "GET h /api/v1/kind%d/42.json"},
			{"GET - /download/kind%d/**.zip", "GET h /download/kind%d/a.zip"},
			{"POST - /api/v1/kind%d/{id}:cancel", "POST h /api/v1/kind%d/42:cancel"},
		}[i%10]
		return fmt.Sprintf(of[0], k), fmt.Sprintf(of[1], k)
	}},
	{"hosts", func(i int) (string, string) {
		if i%2 == 0 {
			return fmt.Sprintf("GET h%d.example.com /items/{id}", i), fmt.Sprintf("GET h%d.example.com /items/42", i)
		}
		return fmt.Sprintf("GET *.h%d.example.com /items/{id}", i), fmt.Sprintf("GET a.h%d.example.com /items/42", i)
	}},
	{"headers", func(i int) (string, string) {
		return fmt.Sprintf("GET - /items/{id} h.x-tenant=t%d h.x-version^2", i), fmt.Sprintf("GET h /items/42 x-tenant=t%d x-version=2.1", i)
	}},
}

// A manyRoutes is a table of n routes of a shape, and requests for them.
type manyRoutes struct {
	table    *routing.Table
	requests []*input
	encoded  [][]byte // CheckRequests with the headers
	bytes    int      // that the table holds
}

func newManyRoutes(t testing.TB, make func(i int) (string, string), n int) *manyRoutes {
	t.Helper()
	m := new(manyRoutes)
	var ps []routing.Pattern
	for i := range n {
		p, r := make(i)
		ps = append(ps, pattern(t, i, p))
		m.requests = append(m.requests, ask(t, r))
		m.encoded = append(m.encoded, m.requests[i].encoded(t))
	}
	heap := func() int {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int(s.HeapAlloc)
	}
	before := heap()
	table, conflicts := routing.New(ps)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	m.table, m.bytes = table, heap()-before
	runtime.KeepAlive(ps)
	return m
}

// A received request is in the processor's caches, since it was just read.
type receivedRequest struct {
	id     int
	path   string
	req    routing.Request
	header wire.Request
}

// receive makes requests ready that are for the first n routes, in no order.
func (m *manyRoutes) receive(t testing.TB, r *rand.Rand, n int, into []receivedRequest) {
	for k := range into {
		q := &into[k]
		q.id = r.IntN(n)
		in := m.requests[q.id]
		q.path = strings.Clone(in.tgt.Path())
		q.req = routing.Request{Host: strings.Clone(in.host), Method: in.method}
		if len(in.headers) > 0 {
			if err := q.header.Reset(m.encoded[q.id]); err != nil {
				t.Fatal(err)
			}
			q.req.Headers = &q.header
		}
	}
}

// find reads the path of a request and finds its route, as a check does.
func (m *manyRoutes) find(t testing.TB, q *receivedRequest, tgt *target.Target) {
	tgt.Parse(q.path)
	q.req.Target = tgt
	var found routing.Match
	if ok, _ := m.table.Match(&q.req, &found); !ok || found.ID() != q.id {
		t.Fatalf("request %d goes to %d", q.id, found.ID())
	}
}

// What it costs to read a path and to find its route among ten thousand, as a
// multiple of what it costs among ten. Both are timed in turns, so that whatever
// else the machine does slows down both. "few" asks for the same few routes
// again and again; "all" asks for all of them, in no order: what that costs
// beyond are the misses of the processor's caches.
func BenchmarkManyRoutes(b *testing.B) {
	for _, shape := range shapes {
		small, large := newManyRoutes(b, shape.make, few), newManyRoutes(b, shape.make, many)
		r := rand.New(rand.NewPCG(1, 2))
		for _, asked := range []struct {
			name string
			of   int // the first so many routes
		}{{"few", few}, {"all", many}} {
			b.Run(shape.name+"/"+asked.name, func(b *testing.B) {
				const turn = 32
				var tgt target.Target
				requests := make([]receivedRequest, turn)
				run := func(m *manyRoutes, of int) float64 {
					m.receive(b, r, of, requests)
					began := time.Now()
					for i := range requests {
						m.find(b, &requests[i], &tgt)
					}
					return float64(time.Since(began)) / turn
				}
				var ratios, costs []float64
				for b.Loop() {
					among10, amongMany := run(small, few), run(large, asked.of)
					ratios, costs = append(ratios, amongMany/among10), append(costs, amongMany)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(costs), "ns/request")
				b.ReportMetric(median(ratios), "x-of-10-routes")
				b.ReportMetric(float64(large.bytes)/many, "B/route")
			})
		}
	}
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
