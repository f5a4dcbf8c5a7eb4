package extauthz

import (
	"context"
	"strings"
	"time"

	"edict/engine"
)

// An Explained check is what a Revision made of one CheckRequest, for people
// who ask why.
type Explained struct {
	Outcome    Outcome
	Detail     string // as in Record
	Err        error  // as in Record
	Method     string
	Host       string // without the port, in lower case; empty if it could not be read
	Path       string // as received, query excluded; also one that was refused
	Route      string // name of the route map and route, "" if none matched
	Identity   string // name of the source of the identity, "" if there is none
	Provenance Provenance
	Attributes []FilledAttribute // that the route fills; all others are the identity's

	// Answer is the encoded CheckResponse.
	Answer []byte

	// Requests are the questions for the engine, with the instant at which they
	// were asked. All must be allowed. None: the check ended before that.
	Requests []*engine.Request

	// Decision is that of the question that settled the check; nil if the
	// engine was not asked.
	Decision *engine.Decision

	// Plan is in place of a Decision, of a route with plan: true; its one request
	// asks about no resource in particular. Filter is what the backend is told:
	// the plan's, for resources with the attributes that the route gives.
	Plan   *engine.Plan
	Filter engine.Filter
}

// Explain answers an encoded CheckRequest as a Server with the Revision would,
// and tells how it was read. What it gives is its own: unlike a Record it stays
// good, as long as the bytes of the request are not changed.
func (r *Revision) Explain(ctx context.Context, request []byte) *Explained {
	return r.ExplainAt(ctx, request, time.Time{})
}

// ExplainAt is Explain at an instant: what now() gives in routes and policies.
// The zero Time is the present.
func (r *Revision) ExplainAt(ctx context.Context, request []byte, now time.Time) *Explained {
	x := &exchange{clock: now}
	outcome := x.decide(ctx, r, request)
	answer, outcome := x.answer(nil, outcome)
	e := &Explained{
		Outcome: outcome, Detail: x.detail, Err: x.err, Answer: answer,
		Method: x.in.Method(), Host: x.host, Path: x.target.RawPath(),
		Identity: x.sourceName(), Provenance: x.provenance(),
	}
	if e.Path == "" {
		e.Path, _, _ = strings.Cut(x.in.Path(), "?")
	}
	if x.route != nil {
		e.Route = x.route.name
		for i := range x.route.filled {
			f := &x.route.filled[i]
			e.Attributes = append(e.Attributes, FilledAttribute{f.name, f.origin.of(e.Provenance), f.origin.reads})
		}
	}
	if x.plan != nil {
		e.Plan, e.Filter, e.Requests = x.plan, x.filter, []*engine.Request{&x.questions[0].req}
	}
	if q := x.settled(); q != nil {
		e.Decision = &q.decision
		for _, q := range x.questions[:x.asked] {
			e.Requests = append(e.Requests, &q.req)
		}
	}
	return e
}

// PolicySet gives the policies that decide.
func (r *Revision) PolicySet() *engine.PolicySet { return r.policies }
