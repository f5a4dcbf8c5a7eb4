//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"edict/extauthz/internal/loopback/demo"
)

// A result is what came of one turn of a server.
type result struct {
	requests int
	took     time.Duration
	p50, p99 time.Duration
	cpu      time.Duration // of the server's process
	bytes    int64         // that it allocated
}

// A client holds connections to one server.
type client struct {
	child       *child
	connections []*grpc.ClientConn
	streams     int
	checks      []demo.Check
	answers     []verified // to each check
}

// A verified answer is what all later ones to the check must be, but for the id of
// the decision in the middle, of which there may be none.
type verified struct{ before, after []byte }

func verifiedAnswer(answer []byte) (verified, error) {
	var r authv3.CheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return verified{}, err
	}
	id := r.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	if at := bytes.Index(answer, []byte(id)); id != "" && at >= 0 {
		return verified{answer[:at], answer[at+len(id):]}, nil
	}
	return verified{before: answer}, nil
}

func (v *verified) equals(answer []byte) bool {
	id := len(answer) - len(v.before) - len(v.after)
	return id >= 0 && (id > 0) == (v.after != nil) && bytes.HasPrefix(answer, v.before) && bytes.HasSuffix(answer, v.after)
}

// dial connects to a server and verifies its answer to each check.
func dial(c *child, l load) (*client, error) {
	k := &client{child: c, streams: l.streams, checks: demo.Checks(true)}
	for range l.connections {
		connection, err := grpc.NewClient("passthrough:///"+c.address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
		if err != nil {
			return nil, err
		}
		k.connections = append(k.connections, connection)
	}
	for i := range k.checks {
		answer, err := k.call(k.connections[0], i)
		if err == nil {
			err = c.verify(&k.checks[i], answer)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		v, err := verifiedAnswer(answer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		k.answers = append(k.answers, v)
	}
	return k, nil
}

func (k *client) close() {
	for _, c := range k.connections {
		c.Close()
	}
}

func (k *client) call(c *grpc.ClientConn, check int) ([]byte, error) {
	// Envoy sends a deadline with every check. This one is long, for busy
	// machines; to the server any costs the same.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var answer []byte
	err := c.Invoke(ctx, authv3.Authorization_Check_FullMethodName, &k.checks[check].Request, &answer)
	return answer, err
}

// run sends n checks, all kinds alike, with the same number of calls under way
// all the time.
func (k *client) run(n int) (result, error) {
	var (
		next    atomic.Int64
		failure atomic.Pointer[error]
		wg      sync.WaitGroup
		workers = len(k.connections) * k.streams
		taken   = make([][]time.Duration, workers)
	)
	before, err := k.child.used()
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
				check := i % len(k.checks)
				sent := time.Now()
				answer, err := k.call(k.connections[w%len(k.connections)], check)
				taken[w] = append(taken[w], time.Since(sent))
				if err == nil && !k.answers[check].equals(answer) {
					err = fmt.Errorf("%s: the answer is not the one of before", k.checks[check].Name)
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
	after, err := k.child.used()
	if err != nil {
		return result{}, err
	}
	all := slices.Concat(taken...)
	slices.Sort(all)
	return result{requests: n, took: took, p50: all[len(all)/2], p99: all[len(all)*99/100],
		cpu: after.cpu - before.cpu, bytes: after.bytes - before.bytes}, nil
}

// isOK verifies an answer that says OK to everything.
func isOK(_ *demo.Check, answer []byte) error {
	var r authv3.CheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return err
	}
	if r.Status == nil || codes.Code(r.Status.Code) != codes.OK {
		return fmt.Errorf("answered %v", r.Status)
	}
	return nil
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
