package extauthz

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/extauthz/wire"
)

// A Server answers Envoy's checks by the Revision that is in force. The zero
// Server has none, and denies. It is safe for concurrent use.
type Server struct {
	// Panicked is called with the value and the stack of a panic that a check
	// recovered from. Nil means nobody looks.
	Panicked func(value any, stack []byte)

	revision  atomic.Pointer[Revision]
	exchanges sync.Pool // of *exchange
}

// Use puts a Revision in force. Checks that are under way end by the one that
// they began with.
func (s *Server) Use(r *Revision) { s.revision.Store(r) }

// Revision gives the Revision in force, nil if there is none.
func (s *Server) Revision() *Revision { return s.revision.Load() }

// Check answers a CheckRequest in the generated types, for servers that are
// set up with authv3.RegisterAuthorizationServer. It gives no error. Register
// sets up a server that does the same at a fraction of the cost.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	b, err := proto.Marshal(in)
	if err != nil {
		b = nil
	}
	out := new(authv3.CheckResponse)
	if err := proto.Unmarshal(s.AppendCheck(ctx, nil, b), out); err != nil {
		// The bytes are this package's own, so this can't happen. If it does,
		// the answer is still a denial.
		out = new(authv3.CheckResponse)
		_ = proto.Unmarshal(wire.Response{}.Bytes(), out)
	}
	return out, nil
}

// AppendCheck answers a CheckRequest, encoded, by appending the encoded
// CheckResponse to dst. It does not keep request.
func (s *Server) AppendCheck(ctx context.Context, dst, request []byte) (answer []byte) {
	rev := s.revision.Load()
	if rev == nil {
		return append(dst, notReady...)
	}
	x, _ := s.exchanges.Get().(*exchange)
	if x == nil {
		x = new(exchange)
	}
	defer func() {
		// An exchange that panicked is not used again.
		if p := recover(); p != nil {
			answer = rev.answers[formProblem][Internal].Append(dst, nil, nil)
			s.tellPanic(rev, p)
		}
	}()
	outcome := x.decide(ctx, rev, request)
	answer, outcome = x.answer(dst, outcome)
	rev.observe(x, outcome, x.err)
	x.release()
	s.exchanges.Put(x)
	return answer
}

// tellPanic tells of a panic. What listens may itself be what panics.
func (s *Server) tellPanic(rev *Revision, p any) {
	defer func() { _ = recover() }()
	if s.Panicked != nil {
		s.Panicked(p, debug.Stack())
	}
	rev.observe(nil, Internal, fmt.Errorf("panic: %v", p))
}

// notReady is the answer as long as there is no Revision.
var notReady = unready()

func unready() []byte {
	var o Options
	o.Respond.MetadataKeys = DefaultMetadataKeys
	names, _ := o.Respond.metadataNames() // of known keys
	return prepareAnswers("", &o, &names)[formProblem][NotReady].Bytes()
}

// observe tells the observer, if there is one, of a finished check.
func (r *Revision) observe(x *exchange, o Outcome, err error) {
	if r.options.Observe == nil {
		return
	}
	record := Record{Outcome: o, Err: err, Revision: r.id}
	if x != nil {
		record.ID = x.id.String()
		record.Detail = x.detail
		record.Principal = x.req.Principal.ID
		record.Source = x.provenance()
		record.RequestID, _ = x.in.Header("x-request-id")
		record.Method = x.in.Method()
		record.Path = x.target.RawPath()
		record.Check = x.in.Bytes()
		if x.route != nil {
			record.Route = x.route.name
		}
		if q := x.settled(); q != nil {
			record.Kind, record.Resource = q.req.Resource.Kind, q.req.Resource.ID
			record.Decision = &q.decision
		}
	}
	r.options.Observe(&record)
}
