package extauthz

import (
	"context"
	"errors"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/expr"
	"edict/engine/value"
	"edict/extauthz/formbody"
	"edict/extauthz/routing"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// An exchange is one check: the request and all that is worked out about it.
// Exchanges are pooled; what they hold refers to the request's bytes.
type exchange struct {
	ctx   context.Context // of the call, while it lasts
	rev   *Revision
	clock time.Time // of explanations that are not of the present
	due   time.Time // when it must be decided; zero: whenever ctx ends

	in        wire.Request
	target    target.Target
	host      string
	handshake routing.Upgrade
	match     routing.Match
	route     *route // nil: none matched
	index     int    // of the route

	source         int // of the identity: an index of Revision.sources; their number if there is none
	claims         value.Mapping
	unverified     string // why a token was nobody's; empty: there is no such token
	headerAttrs    value.Values
	principalAttrs attributeSet
	roles          []string
	pins           pins

	parsedBody value.Value    // absent: not read yet
	fields     *formbody.Form // of parsedBody, if it is one
	objects    [2]jsonObject  // of parsedBody
	peer       readCertificate
	frame      *expr.Frame
	req        engine.Request // what all questions have in common: who asks, and when
	questions  []*question    // the first asked of them are of this request
	asked      int
	settling   int // the question that settles the request

	plan   *engine.Plan  // of a route that is planned; nil: not yet, or none
	filter engine.Filter // what the backend is told: the plan's, for what the route gives

	// What a view found to be wrong with the request while an expression read
	// it. It stands whatever the expression made of the error.
	refused Outcome
	detail  string
	err     error

	id       decisionID
	outcome  Outcome            // as expressions see it
	reply    wire.Allow         // memory of the answer
	headers  []wire.HeaderValue // of the answer to the client
	metadata []wire.MetadataValue
}

// noRefusal is the value of refused as long as nothing is wrong.
const noRefusal = Allowed

// refuse notes that the request can't be decided, and gives an error for the
// expression that asked.
func (x *exchange) refuse(o Outcome, detail string) error {
	if x.refused == noRefusal {
		x.refused, x.detail = o, detail
	}
	return errors.New(detail)
}

// decide works out the outcome of a check whose bytes are b. The steps are in
// the order of the package's picture; the first that can't be done ends it.
func (x *exchange) decide(ctx context.Context, rev *Revision, b []byte) Outcome {
	x.ctx, x.rev = ctx, rev
	x.refused = noRefusal
	x.source = len(rev.sources)
	if err := x.in.Reset(b); err != nil {
		x.err, x.detail = err, "malformed_check"
		return BadRequest
	}
	if !x.in.HasHTTP() {
		return x.decideConnection(ctx)
	}
	if x.late(ctx) {
		return Timeout
	}
	for _, step := range steps {
		if o := step(x); o != Allowed {
			return o
		}
	}
	return x.ask(ctx)
}

// steps are what is done to a request before the engine is asked.
var steps = [...]func(*exchange) Outcome{
	(*exchange).readTarget, (*exchange).screen, (*exchange).readPins, (*exchange).findRoute, (*exchange).identify, (*exchange).makeRequest,
}

// late tells whether it is too late for an allow.
func (x *exchange) late(ctx context.Context) bool {
	return ctx.Err() != nil || !x.due.IsZero() && !time.Now().Before(x.due)
}

// readTarget reads host, method and path, and refuses what can be read in
// more than one way. Of these steps, Allowed means: go on.
func (x *exchange) readTarget() Outcome {
	if r := x.target.Parse(x.in.Path()); r != target.OK && !x.rev.lifts(r) {
		x.detail = r.String()
		return BadRequest
	}
	if r := target.Method(x.in.Method()); r != target.OK {
		x.detail = r.String()
		return BadRequest
	}
	host, r := target.Host(x.in.Host())
	if r != target.OK {
		x.detail = r.String()
		return BadRequest
	}
	x.host = host
	if isGRPC(&x.in) {
		return x.checkGRPCPath()
	}
	return Allowed
}

// checkGRPCPath refuses a path that is not exactly that of a gRPC method: a
// gRPC server finds the method by it, so nothing else may pass for one.
func (x *exchange) checkGRPCPath() Outcome {
	if _, _, ok := target.GRPCMethod(x.in.Path()); !ok {
		x.detail = "grpc_path"
		return BadRequest
	}
	return Allowed
}

// findRoute finds the route that the request is for.
func (x *exchange) findRoute() Outcome {
	var found bool
	var refused routing.Refusal
	if name := x.pins.route; name != "" {
		i, ok := x.rev.byName[name]
		switch {
		case !ok:
			return x.badPin("no_such_route")
		case !x.target.OK() && !x.rereadFor(&x.rev.routes[i]):
			return BadRequest
		}
		request := x.routingRequest()
		if found, refused = x.rev.table.MatchPattern(i, &request, &x.match); !found && refused == "" {
			return x.badPin("not_of_this_route")
		}
	} else if !x.target.OK() {
		if o := x.reread(); o != Allowed {
			return o
		}
		found = true
	} else {
		found, refused = x.lookUp()
	}
	switch {
	case refused != "":
		x.detail = string(refused)
		return BadRequest
	case !found:
		return NoRoute
	}
	x.index = x.match.ID()
	x.route = &x.rev.routes[x.index]
	x.target.Admit(x.route.accept)
	if x.route.grpc {
		if o := x.checkGRPCPath(); o != Allowed {
			return o
		}
	}
	if x.route.public {
		if x.pins.any() {
			return x.badPin("public_route")
		}
		return Public
	}
	return Allowed
}

// lookUp finds the best route for the path as it was read last.
func (x *exchange) lookUp() (bool, routing.Refusal) {
	request := x.routingRequest()
	return x.rev.table.Match(&request, &x.match)
}

// routingRequest is what routes are told apart by.
func (x *exchange) routingRequest() routing.Request {
	r := routing.Request{Host: x.host, Method: x.in.Method(), Upgrade: x.handshake, Target: &x.target, Headers: &x.in, Fold: x.rev.options.IgnoreCase}
	if x.handshake == routing.WebSocket {
		r.Method = "GET" // as over HTTP/1.1; over HTTP/2 it is CONNECT
	}
	return r
}

// isGRPC tells whether the client speaks gRPC.
func isGRPC(in *wire.Request) bool {
	const grpc = "application/grpc"
	t, _ := in.Header("content-type")
	return len(t) >= len(grpc) && strings.EqualFold(t[:len(grpc)], grpc)
}

// release lets go of the request, so that the pool keeps nothing of it alive.
func (x *exchange) release() {
	x.due, x.unverified = time.Time{}, ""
	x.ctx, x.rev, x.route, x.err, x.claims, x.headerAttrs = nil, nil, nil, nil, nil, nil
	x.match, x.handshake = routing.Match{}, routing.NoUpgrade
	x.target.Reset()
	_ = x.in.Reset(nil)
	x.principalAttrs.reset()
	clear(x.roles)
	x.roles, x.pins = x.roles[:0], pins{}
	for _, q := range x.questions[:x.asked] {
		q.release()
	}
	x.asked, x.settling = 0, 0
	x.plan, x.filter = nil, engine.Filter{}
	x.host, x.detail = "", ""
	x.parsedBody, x.fields, x.peer = value.Value{}, nil, readCertificate{}
	x.objects = [2]jsonObject{}
	if x.frame != nil {
		x.frame.Reset(time.Time{})
	}
	x.req = engine.Request{}
	x.forgetAnswer()
}
