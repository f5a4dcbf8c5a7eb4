package extauthz

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/value"
	"edict/extauthz/filtertoken"
	"edict/extauthz/wire"
)

// Filter says how the upstream is told which rows a request may see, on routes
// with plan: true.
type Filter struct {
	// Header has the token. It is removed from every other request that passes.
	// Empty means that it is not sent.
	Header string

	// Tokens makes the tokens. Nil means that nobody does. Without it, or without
	// a Header, every request of a route with plan: true is denied.
	Tokens *filtertoken.Issuer
}

// askRows asks the engine on which resources of the kind the actions are
// allowed. What can't be told exactly ends the request.
func (x *exchange) askRows(ctx context.Context) Outcome {
	if x.asked != 1 {
		return Internal
	}
	q := &x.questions[0].req
	plan, err := x.rev.policies.PlanRows(&engine.PlanRequest{
		Principal: q.Principal, Resource: q.Resource, Actions: q.Actions, AuxData: q.AuxData, Now: q.Now,
	})
	switch {
	case x.late(ctx): // an answer after the deadline is no answer
		return Timeout
	case x.refused != noRefusal: // found while the planner read the request
		return x.refused
	case err != nil:
		return x.unplannable("no_safe_filter", err)
	}
	x.plan = plan
	switch plan.Filter.Kind {
	case engine.AlwaysAllowed, engine.Conditional:
		if x.filter, err = narrow(plan.Filter, x.questions[0].attrs.own); err != nil {
			return x.unplannable("no_safe_filter", err)
		}
		return Planned
	}
	if !x.identified() {
		return NoIdentity // whoever that is might be allowed to
	}
	return DeniedByPolicy
}

func (x *exchange) unplannable(detail string, err error) Outcome {
	x.detail, x.err = detail, err
	return Unplannable
}

// narrow gives what the backend is told. The attributes that the route gives were
// taken for those of every resource, so that none may be shown of which they are
// not.
func narrow(f engine.Filter, given []attributeValue) (engine.Filter, error) {
	var all []engine.Operand
	for i := range given {
		constant, err := operandOf(given[i].value)
		if err != nil {
			return engine.Filter{}, fmt.Errorf("the attribute %s: %w", given[i].name, err)
		}
		all = append(all, expression("holds", expression("eq", engine.Operand{Variable: attributeVariable + given[i].name}, constant)))
	}
	if f.Kind == engine.Conditional {
		if f.Condition == nil {
			return engine.Filter{}, errors.New("the filter has no condition")
		}
		all = append(all, *f.Condition)
	}
	switch len(all) {
	case 0:
		return engine.Filter{Kind: engine.AlwaysAllowed}, nil
	case 1:
		return engine.Filter{Kind: engine.Conditional, Condition: &all[0]}, nil
	}
	and := expression("and", all...)
	return engine.Filter{Kind: engine.Conditional, Condition: &and}, nil
}

// AppendFilter appends a filter as tokens have it: {"kind": …} of all resources,
// {"kind": …, "condition": …} of some. It is an error if there are none, or if
// JSON can't hold a value.
func AppendFilter(dst []byte, f *engine.Filter) (_ []byte, err error) {
	switch {
	case f.Kind == engine.AlwaysAllowed && f.Condition == nil:
		return append(append(append(dst, `{"kind":"`...), f.Kind.String()...), `"}`...), nil
	case f.Kind == engine.Conditional && f.Condition != nil:
		dst = append(append(append(dst, `{"kind":"`...), f.Kind.String()...), `","condition":`...)
		dst, err = f.Condition.AppendJSON(dst)
		return append(dst, '}'), err
	}
	return dst, errors.New("there is nothing to be seen")
}

// attributeVariable begins the names of attributes in filters.
const attributeVariable = "request.resource.attr."

func expression(operator string, operands ...engine.Operand) engine.Operand {
	return engine.Operand{Expression: &engine.Expression{Operator: operator, Operands: operands}}
}

// maxExact is the largest integer that numbers of JSON can't mistake for
// another.
const maxExact = 1<<53 - 1

// operandOf gives a value as an operand of eq, where numbers are compared
// whatever their type.
func operandOf(v value.Value) (engine.Operand, error) {
	text := func(function, s string) (engine.Operand, error) {
		return expression(function, engine.Operand{Value: value.OfString(s)}), nil
	}
	switch v.Kind() {
	case value.Timestamp:
		return text("timestamp", v.Time().UTC().Format(time.RFC3339Nano))
	case value.Duration:
		return text("duration", strconv.FormatFloat(v.Duration().Seconds(), 'f', -1, 64)+"s")
	case value.Int:
		if n := v.Int(); n > maxExact || n < -maxExact {
			return text("int", strconv.FormatInt(n, 10))
		}
	case value.Uint:
		if n := v.Uint(); n > maxExact {
			return text("uint", strconv.FormatUint(n, 10))
		}
	default:
		if err := isPlain(v); err != nil {
			return engine.Operand{}, err
		}
	}
	return engine.Operand{Value: v}, nil
}

// isPlain tells why a value is not the same once it was JSON.
func isPlain(v value.Value) (err error) {
	switch v.Kind() {
	case value.Null, value.Bool, value.String:
		return nil
	case value.Int:
		if n := v.Int(); n <= maxExact && n >= -maxExact {
			return nil
		}
	case value.Uint:
		if v.Uint() <= maxExact {
			return nil
		}
	case value.Double:
		if n := v.Double(); !math.IsNaN(n) && !math.IsInf(n, 0) {
			return nil
		}
	case value.List:
		for i := range v.Sequence().Len() {
			if err := isPlain(v.Sequence().At(i)); err != nil {
				return err
			}
		}
		return nil
	case value.Map:
		v.Mapping().Range(func(_ string, member value.Value) bool {
			err = isPlain(member)
			return err == nil
		})
		return err
	}
	return fmt.Errorf("a %s like this can't be part of a filter", v.Kind())
}

// sendFilter adds the header with the filter to an allow that is complete but
// for it.
func (x *exchange) sendFilter() Outcome {
	o := &x.rev.options.Filter
	if o.Tokens == nil || o.Header == "" {
		return x.unplannable("no_filter_tokens", nil)
	}
	filter, err := AppendFilter(nil, &x.filter)
	if err != nil {
		return x.unplannable("no_safe_filter", err)
	}
	q := &x.questions[0].req
	c := filtertoken.Claims{
		ID: x.id.String(), Subject: q.Principal.ID,
		Method: x.in.Method(), Path: x.target.RawPath(), Query: x.upstreamQuery(), Host: strings.ToLower(x.in.Host()),
		Kind: q.Resource.Kind, Actions: q.Actions, Filter: filter,
	}
	if x.pins.upstreamPath != "" {
		c.Path = x.pins.upstreamPath
	}
	if x.pins.upstreamHost != "" {
		c.Host = strings.ToLower(x.pins.upstreamHost)
	}
	token, err := o.Tokens.Append(nil, &c, time.Now())
	switch {
	case errors.Is(err, filtertoken.ErrTooLarge):
		return x.unplannable("filter_too_large", err)
	case errors.Is(err, filtertoken.ErrFull):
		return x.unplannable("too_many_filters", err)
	case err != nil:
		return x.unplannable("filter_token", err)
	}
	x.reply.Headers = append(x.reply.Headers, wire.HeaderValue{Name: o.Header, Value: string(token)})
	return Allowed
}

// upstreamQuery gives the query as Envoy sends it on. One that it is told to
// change it writes anew: sorted by the names as they are spelled, each with an
// equals sign, and those of one name in the order in which they came.
func (x *exchange) upstreamQuery() string {
	raw := x.target.RawQuery()
	if len(x.reply.SetQuery)+len(x.reply.RemoveQuery) == 0 {
		return raw
	}
	type parameter struct{ name, text string }
	var all []parameter
	without := func(name string) {
		all = slices.DeleteFunc(all, func(p parameter) bool { return p.name == name })
	}
	for rest := raw; rest != ""; {
		var item string
		item, rest, _ = strings.Cut(rest, "&")
		name, text, _ := strings.Cut(item, "=")
		all = append(all, parameter{name, text})
	}
	for _, p := range x.reply.SetQuery {
		name := string(wire.AppendEscaped(nil, p.Name))
		without(name)
		all = append(all, parameter{name, string(wire.AppendEscaped(nil, p.Value))})
	}
	for _, name := range x.reply.RemoveQuery {
		without(name)
	}
	slices.SortStableFunc(all, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	var b strings.Builder
	for i, p := range all {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.name + "=" + p.text)
	}
	return b.String()
}
