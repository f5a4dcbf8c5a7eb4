package sidebyside

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// A client holds connections to one server.
type client struct {
	server      *Server
	method      string
	deadline    time.Duration
	connections []*grpc.ClientConn
	streams     int
	calls       []Call
}

// A result is what came of one turn of a server.
type result struct {
	calls    int
	took     time.Duration
	p50, p99 time.Duration
	used     Usage
}

func dial(s *Server, c *Comparison, l Load) (*client, error) {
	k := &client{server: s, method: c.Method, deadline: c.Deadline, streams: l.Streams}
	for range l.Connections {
		connection, err := grpc.NewClient("passthrough:///"+s.Address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(RawCodec{})))
		if err != nil {
			k.close()
			return nil, err
		}
		k.connections = append(k.connections, connection)
	}
	var err error
	if k.calls, err = s.Calls(func(request []byte) ([]byte, error) { return k.call(k.connections[0], &request) }); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *client) close() {
	for _, c := range k.connections {
		c.Close()
	}
}

func (k *client) call(c *grpc.ClientConn, request *[]byte) ([]byte, error) {
	ctx := context.Background()
	if k.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.deadline)
		defer cancel()
	}
	var answer []byte
	err := c.Invoke(ctx, k.method, request, &answer)
	return answer, err
}

// run makes n calls, all kinds alike, with the same number of them under way all
// the time.
func (k *client) run(n int) (result, error) {
	var (
		next    atomic.Int64
		failure atomic.Pointer[error]
		wg      sync.WaitGroup
		workers = len(k.connections) * k.streams
		taken   = make([][]time.Duration, workers)
	)
	before, err := k.server.Used()
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
				call := &k.calls[i%len(k.calls)]
				sent := time.Now()
				answer, err := k.call(k.connections[w%len(k.connections)], &call.Request)
				taken[w] = append(taken[w], time.Since(sent))
				if err == nil {
					err = call.Verify(answer)
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
	after, err := k.server.Used()
	if err != nil {
		return result{}, err
	}
	all := slices.Concat(taken...)
	slices.Sort(all)
	return result{calls: n, took: took, p50: all[len(all)/2], p99: all[len(all)*99/100],
		used: Usage{CPU: after.CPU - before.CPU, Bytes: after.Bytes - before.Bytes}}, nil
}

// RawCodec hands messages on as the bytes that they are: as *[]byte.
type RawCodec struct{}

// Name implements encoding.CodecV2.
func (RawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (RawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

// Unmarshal implements encoding.CodecV2.
func (RawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
