package extauthz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edict/engine"
	"edict/engine/expr"
	"edict/engine/value"
)

// maxItems is how many checks forEach makes of one list.
const maxItems = 50

// A question is one check of a route, as the engine is asked it. Questions are
// pooled with their exchange.
type question struct {
	req      engine.Request
	attrs    attributeSet // of the resource
	actions  []string     // of actions that are computed
	decision engine.Decision
}

// next gives a question that is not in use, and counts it among those of the
// request.
func (x *exchange) next() *question {
	if x.asked == len(x.questions) {
		x.questions = append(x.questions, new(question))
	}
	q := x.questions[x.asked]
	x.asked++
	return q
}

// release lets go of what the question refers to.
func (q *question) release() {
	q.req = engine.Request{}
	q.attrs.reset()
	clear(q.actions)
	q.actions = q.actions[:0]
	clear(q.decision.Results)
	clear(q.decision.Outputs)
	q.decision.Results, q.decision.Outputs = q.decision.Results[:0], q.decision.Outputs[:0]
}

// ask asks the engine question by question, until one is denied. A request
// without a question is not allowed by anybody.
func (x *exchange) ask(ctx context.Context) Outcome {
	if x.route.plan {
		return x.askRows(ctx)
	}
	for i, q := range x.questions[:x.asked] {
		x.settling = i
		x.rev.policies.Check(&q.req, &q.decision)
		switch {
		case x.late(ctx): // an answer after the deadline is no answer
			return Timeout
		case x.refused != noRefusal: // found while a policy read the request
			return x.refused
		case q.decision.Allowed():
			continue
		}
		if !x.identified() {
			return NoIdentity // whoever that is might be allowed to
		}
		return DeniedByPolicy
	}
	x.settling = 0
	if x.asked == 0 {
		return Internal
	}
	return Allowed
}

// settled gives the question that settles the request: the first that is
// denied, otherwise the first. It is nil if the engine was not asked.
func (x *exchange) settled() *question {
	if x.asked == 0 || len(x.questions[x.settling].decision.Results) == 0 {
		return nil
	}
	return x.questions[x.settling]
}

// deciding gives the result that settles the request, nil if there is none.
func (x *exchange) deciding() *engine.Result {
	if q := x.settled(); q != nil {
		return q.decision.Deciding()
	}
	return nil
}

// makeRequest turns the request into questions for the engine: all of them,
// before the first is asked.
func (x *exchange) makeRequest() Outcome {
	r := x.route
	if x.frame == nil {
		x.frame = x.rev.env.NewFrame()
	}
	f := x.frame
	now := x.clock // one instant, for the route and for the policies
	if now.IsZero() {
		now = time.Now()
	}
	x.req.Now = now
	f.Reset(now)
	f.Set(slotRequest, value.OfMapping((*requestView)(x)))
	f.Set(slotPath, value.OfMapping(&x.match))
	f.Set(slotPrincipal, value.OfMapping((*identityView)(x)))
	if x.claims == nil {
		x.claims = value.Values(nil)
	}
	f.Set(slotClaims, value.OfMapping(x.claims))

	for i := range r.principalAttrs {
		if a := &r.principalAttrs[i]; a.origin.provenance == FromClient && x.brings(a.name) {
			continue // what the client says does not outweigh who it is
		}
		if err := x.attribute(&x.principalAttrs, &r.principalAttrs[i]); err != nil {
			return x.unmappable(err)
		}
	}
	f.Set(slotPrincipal, value.OfMapping((*principalView)(x)))
	for _, t := range [...]struct {
		what, pinned string
		dst          *string
		term         *term
	}{
		{"the principal's policyVersion", x.pins.principalVersion, &x.req.Principal.PolicyVersion, &r.principalVersion},
		{"the principal's scope", x.pins.principalScope, &x.req.Principal.Scope, &r.principalScope},
	} {
		if err := x.text(t.dst, t.pinned, t.term, false, t.what); err != nil {
			return x.unmappable(err)
		}
	}
	x.req.Principal.Attr = &x.principalAttrs
	x.req.AuxData.JWT = x.claims
	for i := range r.checks {
		if o := x.makeQuestions(&r.checks[i]); o != Allowed {
			return o
		}
	}
	if x.refused != noRefusal {
		return x.refused
	}
	return Allowed
}

// brings tells whether the identity has an attribute.
func (x *exchange) brings(name string) bool {
	if x.principalAttrs.base == nil {
		return false
	}
	_, ok := x.principalAttrs.base.Lookup(name)
	return ok
}

// makeQuestions makes the question of a check, or one of each item.
func (x *exchange) makeQuestions(c *routeCheck) Outcome {
	if c.forEach == nil {
		return x.makeQuestion(c)
	}
	items := c.forEach.eval(x.frame)
	switch {
	case items.Kind() == value.Error:
		return x.unmappable(fmt.Errorf("forEach: %w", items.Err()))
	case items.Kind() != value.List:
		return x.unmappable(fmt.Errorf("forEach: got a %s instead of a list", items.Kind()))
	}
	list := items.Sequence()
	switch n := list.Len(); {
	case n == 0: // nothing to ask is nothing that was allowed
		x.detail = "no_items"
		return BadRequest
	case n > maxItems:
		x.detail = "too_many_items"
		return BadRequest
	}
	for i := range list.Len() {
		x.frame.Set(slotItem, list.At(i))
		if o := x.makeQuestion(c); o != Allowed {
			return o
		}
	}
	return Allowed
}

func (x *exchange) makeQuestion(c *routeCheck) Outcome {
	if x.pins.kind != "" && !x.pinnable(c) {
		return x.badPin("trusted_attribute")
	}
	q := x.next()
	q.req = x.req
	for i := range c.attrs {
		if err := x.attribute(&q.attrs, &c.attrs[i]); err != nil {
			return x.unmappable(err)
		}
	}
	q.req.Resource.Attr = &q.attrs
	for _, t := range [...]struct {
		what, pinned string
		dst          *string
		term         *term
		required     bool
	}{
		{"the resource's kind", x.pins.kind, &q.req.Resource.Kind, &c.kind, true},
		{"the resource's id", "", &q.req.Resource.ID, &c.id, !x.route.plan},
		{"the resource's policyVersion", x.pins.version, &q.req.Resource.PolicyVersion, &c.version, false},
		{"the resource's scope", x.pins.scope, &q.req.Resource.Scope, &c.scope, false},
	} {
		if err := x.text(t.dst, t.pinned, t.term, t.required, t.what); err != nil {
			return x.unmappable(err)
		}
	}
	q.req.Actions = c.constantActions
	if q.req.Actions == nil {
		for i := range c.actions {
			s, err := c.actions[i].text(x.frame, true)
			if err != nil {
				return x.unmappable(fmt.Errorf("the action: %w", err))
			}
			q.actions = append(q.actions, s)
		}
		q.req.Actions = q.actions
	}
	return Allowed
}

// text sets dst to what is pinned or, if that is empty, to what the term gives.
func (x *exchange) text(dst *string, pinned string, t *term, required bool, what string) error {
	*dst = pinned
	if pinned != "" {
		return nil
	}
	s, err := t.text(x.frame, required)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	*dst = s
	return nil
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
