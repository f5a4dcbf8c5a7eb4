package extauthz

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

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

	// Refused is called for a check that is denied unread, since it is too
	// large or one too many, or not what Envoy sends. The detail is that of
	// Record. Nil means nobody looks.
	Refused func(o Outcome, detail string)

	// Limits bounds what checks may take. They must not change once the
	// Server answers.
	Limits Limits

	revision  atomic.Pointer[Revision]
	exchanges sync.Pool // of *exchange
	inFlight  atomic.Int64
}

// Limits bounds what checks may take. What is beyond a limit is denied. Zero
// means that there is no such limit.
type Limits struct {
	InFlight int           // checks that are answered at once
	Message  int           // the length of a CheckRequest, in bytes
	Time     time.Duration // that a check may take, if its deadline is no sooner
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
	if max := s.Limits.Message; max > 0 && len(request) > max {
		return s.refuse(dst, TooLarge, "")
	}
	defer s.inFlight.Add(-1)
	if n := s.inFlight.Add(1); s.Limits.InFlight > 0 && n > int64(s.Limits.InFlight) {
		return s.refuse(dst, Overloaded, "")
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
	x.due = due(ctx, s.Limits.Time)
	outcome := x.decide(ctx, rev, request)
	answer, outcome = x.answer(dst, outcome)
	if !outcome.Passes() && !wire.Denies(answer[len(dst):]) {
		// No outcome is written so. A mistake that made one must not allow.
		answer, outcome = append(answer[:len(dst)], wire.Response{}.Bytes()...), Internal
	}
	rev.observe(x, outcome, x.err)
	x.release()
	s.exchanges.Put(x)
	return answer
}

// refuse appends the denial of a check that is not read, and tells of it. It is a
// plain text, which is as fit for gRPC clients as for others: nobody knows which
// of the two asks.
func (s *Server) refuse(dst []byte, o Outcome, detail string) (answer []byte) {
	rev := s.revision.Load()
	if rev == nil {
		return append(dst, notReady...)
	}
	answer = rev.answers[formText][o].Append(dst, nil, nil)
	defer func() {
		if p := recover(); p != nil {
			s.tellPanic(rev, p)
		}
	}()
	if s.Refused != nil {
		s.Refused(o, detail)
	}
	rev.observeUnread(o, detail)
	return answer
}

// headroom is how long before its deadline a check must be decided, so that the
// answer arrives in time. What arrives late is an error to Envoy, which may be
// set to let the request pass then.
const headroom = 10 * time.Millisecond

// due gives the instant until which a check must be decided: headroom before
// the deadline, or a fifth of the time that is left if that is less, and no
// later than limit from now. It is zero if there is neither.
func due(ctx context.Context, limit time.Duration) (at time.Time) {
	deadline, limited := ctx.Deadline()
	if !limited && limit <= 0 {
		return at
	}
	now := time.Now()
	if limited {
		at = deadline.Add(-min(headroom, deadline.Sub(now)/5))
	}
	if limit > 0 && (!limited || at.Sub(now) > limit) {
		at = now.Add(limit)
	}
	return at
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

// observeUnread tells the observer, if there is one, of a check that was denied
// unread.
func (r *Revision) observeUnread(o Outcome, detail string) {
	if r.options.Observe != nil {
		r.options.Observe(&Record{Outcome: o, Detail: detail, Revision: r.id})
	}
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
		record.Identity = x.sourceName()
		record.RequestID, _ = x.in.Header("x-request-id")
		record.Method = x.in.Method()
		record.Path = x.target.RawPath()
		record.Check = x.in.Bytes()
		if x.identified() && x.rev.sources[x.source].verifies {
			record.Verified, record.VerifiedBy = x.claims, x.rev.sources[x.source].name
		}
		if x.route != nil {
			record.route, record.Route = x.route, x.route.name
		}
		if q := x.settled(); q != nil {
			record.Kind, record.Resource = q.req.Resource.Kind, q.req.Resource.ID
			record.Decision = &q.decision
		}
		if x.plan != nil {
			record.Kind, record.Plan = x.questions[0].req.Resource.Kind, x.plan
		}
	}
	r.options.Observe(&record)
}
