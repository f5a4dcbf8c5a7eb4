package admin

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"google.golang.org/grpc/peer"
)

// proofs is how many passwords are looked at at a time.
const proofs = 2

// mostWaiting is how many calls of a client have a turn or wait for it. What they bring
// takes memory before anybody knows who they are.
const mostWaiting = 32

// errCrowd is the error of a call that is one too many of its client.
var errCrowd = errors.New("too many calls are waiting for their credentials to be looked at")

// turns say whose password is looked at next: one of each client at a time, so that
// who guesses keeps others waiting for one guess, and not for all of them.
type turns struct {
	proofs chan struct{} // holds an item for each proof under way

	mu sync.Mutex
	of map[string]*turn // by client; none of who does not ask
}

// A turn is that of one client.
type turn struct {
	taken chan struct{} // holds an item if it is
	calls int           // that have it or wait for it
}

func newTurns() *turns {
	return &turns{proofs: make(chan struct{}, proofs), of: map[string]*turn{}}
}

// wait waits for the turn of a client, which ends with done. An error is errCrowd, or
// that of the context.
func (t *turns) wait(ctx context.Context, client string) (done func(), err error) {
	own := t.join(client)
	if own == nil {
		return nil, errCrowd
	}
	if err := take(ctx, own.taken); err != nil {
		t.leave(client)
		return nil, err
	}
	if err := take(ctx, t.proofs); err != nil {
		<-own.taken
		t.leave(client)
		return nil, err
	}
	return func() {
		<-t.proofs
		<-own.taken
		t.leave(client)
	}, nil
}

func take(ctx context.Context, from chan<- struct{}) error {
	select {
	case from <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join counts a call of a client, and gives its turn; nil: it is one too many.
func (t *turns) join(client string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.of[client]
	if own == nil {
		own = &turn{taken: make(chan struct{}, 1)}
		t.of[client] = own
	}
	if own.calls == mostWaiting {
		return nil
	}
	own.calls++
	return own
}

func (t *turns) leave(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.of[client]
	if own.calls--; own.calls == 0 {
		delete(t.of, client)
	}
}

// networkOfOne is what somebody with IPv6 has for themselves, in bits.
const networkOfOne = 64

// clientOf tells clients apart by their addresses, of IPv6 by the network. All that
// have none, as on Unix sockets, are one.
func clientOf(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	at, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return ""
	}
	address := at.Addr().Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	network, err := address.Prefix(networkOfOne)
	if err != nil {
		return ""
	}
	return network.String()
}

// An address is that of a client over HTTP. It implements net.Addr.
type address string

// Network implements net.Addr.
func (address) Network() string { return "tcp" }

// String implements net.Addr.
func (a address) String() string { return string(a) }
