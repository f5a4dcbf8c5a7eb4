//go:build linux

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api"
	"edict/api/cerbospb"
)

// A result is what came of one turn of a server.
type result struct {
	requests int
	took     time.Duration
	p50, p99 time.Duration
	cpu      time.Duration // of the server's process
}

// An answer is what became of each action.
type answer map[string]cerbospb.Effect

// A client holds connections to one server.
type client struct {
	server      *server
	connections []*grpc.ClientConn
	streams     int
	requests    [][]byte
	expected    []answer // to each request
}

// dial connects to a server.
func dial(s *server, l load) (*client, error) {
	c := &client{server: s, streams: l.streams}
	for _, r := range requests() {
		b, err := proto.Marshal(r)
		if err != nil {
			return nil, err
		}
		c.requests = append(c.requests, b)
	}
	for range l.connections {
		connection, err := grpc.NewClient("passthrough:///"+s.address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
		if err != nil {
			return nil, err
		}
		c.connections = append(c.connections, connection)
	}
	return c, nil
}

func (c *client) close() {
	for _, c := range c.connections {
		c.Close()
	}
}

// ask sends each request once.
func (c *client) ask() (answers []answer, err error) {
	for i := range c.requests {
		b, err := c.call(c.connections[0], i)
		if err != nil {
			return nil, err
		}
		a, err := decode(b)
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}

func decode(b []byte) (answer, error) {
	var out cerbospb.CheckResourcesResponse
	if err := proto.Unmarshal(b, &out); err != nil {
		return nil, err
	}
	if len(out.GetResults()) != 1 || len(out.GetResults()[0].GetActions()) != len(actions) {
		return nil, fmt.Errorf("answered %v", &out)
	}
	return out.GetResults()[0].GetActions(), nil
}

func (c *client) call(connection *grpc.ClientConn, request int) ([]byte, error) {
	var answer []byte
	err := connection.Invoke(context.Background(), "/"+api.ServiceName+"/CheckResources", &c.requests[request], &answer)
	return answer, err
}

// run sends n requests, all kinds alike, with the same number of calls under way
// all the time.
func (c *client) run(n int) (result, error) {
	var (
		next    atomic.Int64
		failure atomic.Pointer[error]
		wg      sync.WaitGroup
		workers = len(c.connections) * c.streams
		taken   = make([][]time.Duration, workers)
	)
	before, err := c.server.used()
	if err != nil {
		return result{}, err
	}
	began := time.Now()
	for w := range workers {
		wg.Go(func() {
			for failure.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				request := i % len(c.requests)
				sent := time.Now()
				b, err := c.call(c.connections[w%len(c.connections)], request)
				taken[w] = append(taken[w], time.Since(sent))
				var a answer
				if err == nil {
					a, err = decode(b)
				}
				if err == nil && !maps.Equal(a, c.expected[request]) {
					err = fmt.Errorf("request %d: answered %v, expected %v", request, a, c.expected[request])
				}
				if err != nil {
					failure.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if f := failure.Load(); f != nil {
		return result{}, *f
	}
	after, err := c.server.used()
	if err != nil {
		return result{}, err
	}
	all := slices.Concat(taken...)
	slices.Sort(all)
	return result{requests: n, took: took, p50: all[len(all)/2], p99: all[len(all)*99/100], cpu: after - before}, nil
}

// actions are what is asked of each resource.
var actions = []string{"read", "list", "create", "approve"}

// requests are questions about the demo's expenses as a handler asks them that
// has the row at hand: some actions are allowed, some denied, by roles, derived
// roles and conditions.
func requests() (out []*cerbospb.CheckResourcesRequest) {
	for _, who := range []struct {
		id    string
		roles []string
		attr  map[string]any
	}{
		{"alice", []string{"employee"}, map[string]any{"regions": []any{"emea"}, "clientIp": "127.0.0.1"}},
		{"bob", []string{"employee", "manager"}, map[string]any{"regions": []any{"emea"}, "approvalLimit": 1000, "clientIp": "192.168.7.20"}},
		{"carol", []string{"auditor"}, map[string]any{"clientIp": "10.1.2.3"}},
		{"dave", []string{"employee", "manager"}, map[string]any{"regions": []any{"apac"}, "approvalLimit": 500, "clientIp": "127.0.0.1"}},
	} {
		for i, row := range []map[string]any{
			{"ownerId": "alice", "region": "emea", "amount": 420, "status": "submitted", "createdAt": "2026-03-02T10:00:00Z"},
			{"ownerId": "bob", "region": "emea", "amount": 80, "status": "approved", "createdAt": "2026-03-01T08:30:00Z"},
		} {
			out = append(out, &cerbospb.CheckResourcesRequest{
				RequestId: "4e6a0d6e-7a14-4f0b-9f0a-0d5f6c2d8f11",
				Principal: &cerbospb.Principal{Id: who.id, Roles: who.roles, Attr: attributes(who.attr)},
				Resources: []*cerbospb.CheckResourcesRequest_ResourceEntry{{
					Actions:  actions,
					Resource: &cerbospb.Resource{Kind: "expense", Id: fmt.Sprint(i + 1), Attr: attributes(row)},
				}},
			})
		}
	}
	return out
}

func attributes(m map[string]any) map[string]*structpb.Value {
	s, err := structpb.NewStruct(m)
	if err != nil {
		panic(err) // the attributes above are all of JSON's types
	}
	return s.GetFields()
}

// rawCodec hands messages on as the bytes that they are: as *[]byte.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
