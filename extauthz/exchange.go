package extauthz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/expr"
	"edict/engine/value"
	"edict/extauthz/routing"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// An exchange is one check: the request and all that is worked out about it.
// Exchanges are pooled; what they hold refers to the request's bytes.
type exchange struct {
	rev *Revision

	in     wire.Request
	target target.Target
	host   string
	match  routing.Match
	route  *route // nil: none matched
	index  int    // of the route

	source         int // of the identity: an index of Revision.sources; their number if there is none
	claims         value.Mapping
	headerAttrs    value.Values
	principalAttrs attributeSet
	resourceAttrs  attributeSet
	roles          []string
	actions        []string

	parsedBody value.Value // absent: not read yet
	frame      *expr.Frame
	req        engine.Request
	decision   engine.Decision

	// What a view found to be wrong with the request while an expression read
	// it. It stands whatever the expression made of the error.
	refused Outcome
	detail  string
	err     error

	headers  [2]wire.HeaderValue
	metadata [4]wire.MetadataValue
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
	x.rev = rev
	x.refused = noRefusal
	x.source = len(rev.sources)
	if err := x.in.Reset(b); err != nil {
		x.err, x.detail = err, "malformed_check"
		return BadRequest
	}
	if !x.in.HasHTTP() {
		return NotHTTP
	}
	if ctx.Err() != nil {
		return Timeout
	}
	for _, step := range [...]func() Outcome{x.readTarget, x.screen, x.findRoute, x.identify, x.makeRequest} {
		if o := step(); o != Allowed {
			return o
		}
	}
	rev.policies.Check(&x.req, &x.decision)
	switch {
	case ctx.Err() != nil: // an answer after the deadline is no answer
		return Timeout
	case x.refused != noRefusal: // found while a policy read the request
		return x.refused
	case x.decision.Allowed():
		return Allowed
	case x.source == len(rev.options.Identity):
		return NoIdentity // whoever that is might be allowed to
	default:
		return DeniedByPolicy
	}
}

// readTarget reads host, method and path, and refuses what can be read in
// more than one way. Of these steps, Allowed means: go on.
func (x *exchange) readTarget() Outcome {
	if r := x.target.Parse(x.in.Path()); r != target.OK {
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
	if !x.rev.table.Match(x.host, x.in.Method(), &x.target, &x.match) {
		return NoRoute
	}
	x.index = x.match.ID()
	x.route = &x.rev.routes[x.index]
	if x.route.grpc {
		return x.checkGRPCPath()
	}
	return Allowed
}

// makeRequest turns the request into a question for the engine.
func (x *exchange) makeRequest() Outcome {
	r := x.route
	if x.frame == nil {
		x.frame = x.rev.env.NewFrame()
	}
	f := x.frame
	now := time.Now() // one instant, for the route and for the policies
	x.req.Now = now
	f.Reset(now)
	f.Set(slotRequest, value.OfMapping((*requestView)(x)))
	f.Set(slotPath, value.OfMapping(&x.match))
	f.Set(slotPrincipal, value.OfMapping((*identityView)(x)))
	if x.claims == nil {
		x.claims = value.Values(nil)
	}
	f.Set(slotClaims, value.OfMapping(x.claims))

	req := &x.req
	for i := range r.principalAttrs {
		if err := x.attribute(&x.principalAttrs, &r.principalAttrs[i]); err != nil {
			return x.unmappable(err)
		}
	}
	f.Set(slotPrincipal, value.OfMapping((*principalView)(x)))
	for i := range r.resourceAttrs {
		if err := x.attribute(&x.resourceAttrs, &r.resourceAttrs[i]); err != nil {
			return x.unmappable(err)
		}
	}
	for _, t := range [...]struct {
		what     string
		dst      *string
		term     *term
		required bool
	}{
		{"the resource's kind", &req.Resource.Kind, &r.kind, true},
		{"the resource's id", &req.Resource.ID, &r.id, true},
		{"the resource's policyVersion", &req.Resource.PolicyVersion, &r.version, false},
		{"the resource's scope", &req.Resource.Scope, &r.scope, false},
		{"the principal's policyVersion", &req.Principal.PolicyVersion, &r.principalVersion, false},
		{"the principal's scope", &req.Principal.Scope, &r.principalScope, false},
	} {
		s, err := t.term.text(f, t.required)
		if err != nil {
			return x.unmappable(fmt.Errorf("%s: %w", t.what, err))
		}
		*t.dst = s
	}
	req.Actions = r.constantActions
	if req.Actions == nil {
		for i := range r.actions {
			s, err := r.actions[i].text(f, true)
			if err != nil {
				return x.unmappable(fmt.Errorf("the action: %w", err))
			}
			x.actions = append(x.actions, s)
		}
		req.Actions = x.actions
	}
	if x.refused != noRefusal {
		return x.refused
	}
	req.Principal.Attr = &x.principalAttrs
	req.Resource.Attr = &x.resourceAttrs
	req.AuxData.JWT = x.claims
	return Allowed
}

// unmappable ends a request that an expression failed on: as what a view
// found wrong with it, if that is the reason.
func (x *exchange) unmappable(err error) Outcome {
	x.err = err
	if x.refused != noRefusal {
		return x.refused
	}
	return Unmappable
}

// attribute evaluates an attribute and adds it to a set. An optional without a
// value adds nothing.
func (x *exchange) attribute(set *attributeSet, a *attribute) error {
	v := a.term.eval(x.frame)
	if v.Kind() == value.Opaque {
		var ok bool
		if v, ok = expr.Optional(v); !ok {
			return nil
		}
	}
	switch v.Kind() {
	case value.Error:
		return fmt.Errorf("the attribute %s: %w", a.name, v.Err())
	case value.Absent, value.Opaque:
		return fmt.Errorf("the attribute %s is of a type that no attribute has", a.name)
	}
	set.own = append(set.own, attributeValue{a.name, v})
	return nil
}

func (t *term) eval(f *expr.Frame) value.Value {
	if t.program == nil {
		return t.constant
	}
	return t.program.Eval(f)
}

// text evaluates a term that must be text.
func (t *term) text(f *expr.Frame, required bool) (string, error) {
	v := t.eval(f)
	switch {
	case v.Kind() == value.Error:
		return "", v.Err()
	case v.Kind() != value.String:
		return "", fmt.Errorf("got a %s instead of a text", v.Kind())
	case required && v.Str() == "":
		return "", errors.New("got an empty text")
	}
	return v.Str(), nil
}

// answer encodes the outcome.
func (x *exchange) answer(dst []byte, o Outcome) ([]byte, Outcome) {
	more := x.dynamic()
	if o == Allowed {
		headers, err := x.upstreamHeaders()
		if err == nil {
			out, ok := wire.AppendAllowed(dst, &wire.Allow{
				Prepared: x.rev.prepared(x.index, x.source),
				Headers:  headers,
				Metadata: more[1:], // the route is prepared
			})
			if ok {
				return out, Allowed
			}
			err = errors.New("the principal can't be sent upstream in a header")
		}
		o, x.err = BadIdentity, err
	}
	prepared := &x.rev.answers.http
	if isGRPC(&x.in) {
		prepared = &x.rev.answers.grpc
	}
	return prepared[o].Append(dst, more), o
}

// dynamic gives the dynamic metadata that depends on the request: route,
// principal, policy and rule, as far as they are known.
func (x *exchange) dynamic() []wire.MetadataValue {
	if x.route == nil {
		return nil
	}
	more := append(x.metadata[:0], wire.MetadataValue{Key: "route", Value: x.route.name})
	if x.req.Principal.ID != "" {
		more = append(more, wire.MetadataValue{Key: "principal", Value: x.req.Principal.ID})
	}
	if r := x.decision.Deciding(); r != nil {
		more = append(more, wire.MetadataValue{Key: "policy", Value: r.Policy})
		if r.Rule != nil {
			more = append(more, wire.MetadataValue{Key: "rule", Value: r.Rule.Name})
		}
	}
	return more
}

// upstreamHeaders gives the headers that tell the upstream who asks. One
// without a value is removed from the request.
func (x *exchange) upstreamHeaders() ([]wire.HeaderValue, error) {
	headers := x.headers[:0]
	if name := x.rev.options.PrincipalHeader; name != "" {
		v, err := headerText(x.req.Principal.ID, false)
		if err != nil {
			return nil, err
		}
		headers = append(headers, wire.HeaderValue{Name: name, Value: v})
	}
	if name := x.rev.options.RolesHeader; name != "" {
		v, err := headerList(x.req.Principal.Roles)
		if err != nil {
			return nil, err
		}
		headers = append(headers, wire.HeaderValue{Name: name, Value: v})
	}
	return headers, nil
}

func headerList(texts []string) (string, error) {
	if len(texts) == 1 {
		return headerText(texts[0], true)
	}
	size := 0
	for _, s := range texts {
		size += len(s) + 1
	}
	var b strings.Builder
	b.Grow(size)
	for i, s := range texts {
		v, err := headerText(s, true)
		if err != nil {
			return "", err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// headerText gives s as a header carries it: bytes that are not printable
// ASCII, '%', and in a list ',' too are percent-encoded (RFC 3986 §2.1), so
// that decoding gives s again. Control characters are an error: nobody's name
// has one, but an attack on whoever reads the header might.
func headerText(s string, inList bool) (string, error) {
	const hex = "0123456789ABCDEF"
	plain := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return "", errors.New("the principal holds a control character")
		case c == ' ' || c == '%' || c > '~' || c == ',' && inList:
			plain = false
		}
	}
	if plain {
		return s, nil
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c == ' ' || c == '%' || c > '~' || c == ',' && inList {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

// isGRPC tells whether the client speaks gRPC.
func isGRPC(in *wire.Request) bool {
	const grpc = "application/grpc"
	t, _ := in.Header("content-type")
	return len(t) >= len(grpc) && strings.EqualFold(t[:len(grpc)], grpc)
}

// release lets go of the request, so that the pool keeps nothing of it alive.
func (x *exchange) release() {
	x.rev, x.route, x.err, x.claims, x.headerAttrs = nil, nil, nil, nil, nil
	x.match = routing.Match{}
	x.target.Reset()
	_ = x.in.Reset(nil)
	x.principalAttrs.reset()
	x.resourceAttrs.reset()
	clear(x.roles)
	clear(x.actions)
	x.roles, x.actions = x.roles[:0], x.actions[:0]
	x.host, x.detail, x.parsedBody = "", "", value.Value{}
	if x.frame != nil {
		x.frame.Reset(time.Time{})
	}
	x.req = engine.Request{}
	clear(x.decision.Results)
	x.decision.Results = x.decision.Results[:0]
	x.headers, x.metadata = [2]wire.HeaderValue{}, [4]wire.MetadataValue{}
}
