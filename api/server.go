package api

import (
	"context"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"edict/api/internal/transport"
	"edict/engine"
	"edict/engine/auxdata"
)

// CerbosVersion is the version of Cerbos whose API this is. Every answer carries
// it in the header cerbos-version.
const CerbosVersion = transport.CerbosVersion

// A Server answers the calls of cerbos.svc.v1.CerbosService. Its fields must not
// change once it answers. It is safe for concurrent use.
type Server struct {
	// Policies gives the policies in force, nil if there are none yet.
	Policies func() *engine.PolicySet

	// AuxData verifies the tokens of requests. Nil believes none.
	AuxData *auxdata.Verifier

	Limits Limits
	Info   Info

	// Refused is told why a token was refused, which the client does not learn.
	// Nil means nobody looks.
	Refused func(error)

	// Overloaded is told of each call that was refused since it was one too many, and
	// of what. Nil means nobody looks.
	Overloaded func(reason string)

	// Unplanned is told why a plan can't be made, which may quote the policies, so
	// that the client does not learn it. Nil means nobody looks.
	Unplanned func(error)

	// Panicked is called with the value and the stack of a panic that a call
	// recovered from. Nil means nobody looks.
	Panicked func(value any, stack []byte)

	calls    sync.Pool // of *call
	inFlight atomic.Int64
	waiting  atomic.Int64 // of those in flight: that wait for keys
	arriving atomic.Int64 // bytes of bodies
}

// mostArriving bounds the bodies that are arriving at once, in messages of the
// greatest length: what waits for slow clients takes memory, but no place of a call.
const mostArriving = 16

// Limits bounds what calls may ask. Zero means that there is no such limit.
type Limits struct {
	Actions   int           // of each resource
	Resources int           // of a request
	Message   int           // the length of a request, and of an answer, in bytes
	InFlight  int           // calls that are read and answered at once, batches counting as one
	Time      time.Duration // that a call may take, if its deadline is no sooner
}

// Info is what ServerInfo tells.
type Info struct {
	Version   string
	Commit    string
	BuildDate string // RFC 3339
}

// A call is the working memory of a call.
type call struct {
	scanner  scanner // of questions that are read in place
	question question
	request  engine.Request
	decision engine.Decision
	limited  limited // the context of the call, if it must not take too long
}

// forget lets go of the request, and keeps memory.
func (c *call) forget() {
	c.question.reset()
	c.scanner.forget()
	c.request = engine.Request{}
	d := &c.decision // the longest one as well as the last
	clear(d.Results[:cap(d.Results)])
	clear(d.Outputs[:cap(d.Outputs)])
	clear(d.ValidationErrors[:cap(d.ValidationErrors)])
	c.limited = limited{}
}

// take gives a call to work with.
func (s *Server) take() *call {
	if c, ok := s.calls.Get().(*call); ok {
		return c
	}
	return new(call)
}

// mostEntries bounds what a call keeps for the next one.
const mostEntries = 64

// release gives a call back.
func (s *Server) release(c *call) {
	if d := &c.decision; max(cap(c.question.entries), cap(d.Results), cap(d.Outputs), cap(d.ValidationErrors)) > mostEntries {
		return
	}
	c.forget()
	s.calls.Put(c)
}

// policies gives the policies that a call is answered by.
func (s *Server) policies() (*engine.PolicySet, error) {
	if ps := s.Policies(); ps != nil {
		return ps, nil
	}
	return nil, status.Error(codes.Unavailable, "no policies are loaded")
}

// Bounds gives what calls are let in by, those of other services that ask this one
// included.
func (s *Server) Bounds() transport.Bounds {
	return transport.Bounds{Message: s.Limits.Message, Enter: s.enter, Leave: s.leave, Hold: s.hold, Release: s.letGo}
}

// enter counts a call in, unless it is one too many.
func (s *Server) enter() error {
	if n := s.inFlight.Add(1); s.Limits.InFlight <= 0 || n <= int64(s.Limits.InFlight) {
		return nil
	}
	s.leave()
	return s.overloaded("too many calls are being answered")
}

// overloaded gives the error of a call that is one too many, and tells of it.
func (s *Server) overloaded(reason string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = status.Error(codes.Internal, "internal error")
			s.tellPanic(p)
		}
	}()
	if s.Overloaded != nil {
		s.Overloaded(reason)
	}
	// Clients that try again do so after this code, and wait before.
	return status.Error(codes.Unavailable, reason)
}

// leave counts out a call that was let in.
func (s *Server) leave() { s.inFlight.Add(-1) }

// await counts a call, which is in flight, among those that wait for the keys of
// tokens, unless it is one too many. They are half of all calls at most, but one may
// always wait: an issuer that does not answer must not keep out who brings no tokens.
func (s *Server) await() error {
	if n := s.waiting.Add(1); s.Limits.InFlight <= 0 || n <= int64(max(s.Limits.InFlight/2, 1)) {
		return nil
	}
	s.waiting.Add(-1)
	return s.overloaded("too many calls are waiting for the keys of tokens")
}

// hold counts in bytes of a body that is arriving, unless they are too many.
func (s *Server) hold(bytes int) error {
	if n := s.arriving.Add(int64(bytes)); s.Limits.Message <= 0 || n <= mostArriving*int64(s.Limits.Message) {
		return nil
	}
	s.letGo(bytes)
	return s.overloaded("too many bodies are arriving")
}

// letGo counts out bytes that were held.
func (s *Server) letGo(bytes int) { s.arriving.Add(-int64(bytes)) }

// due bounds the time of a call.
func (s *Server) due(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Limits.Time <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.Limits.Time)
}

// inTime gives the error of a call whose time is over.
func inTime(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}

// answer answers a call by f, which has working memory for itself.
func answer[In, Out any](s *Server, ctx context.Context, in *In, f func(context.Context, *call, *In) (*Out, error)) (*Out, error) {
	return Do(s, ctx, in, func(ctx context.Context, in *In) (*Out, error) {
		c := s.take()
		out, err := f(ctx, c, in)
		s.release(c) // which a call that panicked does not get to
		return out, err
	})
}

// Do does a call, of this service or of another one, in the time that calls have.
// A panic is an error.
func Do[In, Out any](s *Server, ctx context.Context, in *In, f func(context.Context, *In) (*Out, error)) (out *Out, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, status.Error(codes.Internal, "internal error")
			s.tellPanic(p)
		}
	}()
	ctx, cancel := s.due(ctx)
	defer cancel()
	return f(ctx, in)
}

// tellPanic tells of a panic. What listens may itself be what panics.
func (s *Server) tellPanic(p any) {
	defer func() { _ = recover() }()
	if s.Panicked != nil {
		s.Panicked(p, debug.Stack())
	}
}
