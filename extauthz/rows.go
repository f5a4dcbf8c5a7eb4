package extauthz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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
	known, err := rowValues(x.questions[0].attrs.own)
	switch {
	case x.refused != noRefusal: // found while the attributes were read
		return x.refused
	case err != nil:
		return x.unplannable("no_safe_filter", err)
	}
	resource := q.Resource
	resource.Attr = known
	if !x.due.IsZero() {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, x.due)
		defer end()
	}
	plan, err := x.rev.policies.PlanRows(ctx, &engine.PlanRequest{
		Principal: q.Principal, Resource: resource, Actions: q.Actions, AuxData: q.AuxData, Now: q.Now,
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
		if x.filter, err = narrow(plan.Filter, known); err != nil {
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

// narrow gives what the backend is told. What is known was taken for that of every
// resource, so that none may be shown of which it is not.
func narrow(f engine.Filter, known value.Values) (engine.Filter, error) {
	var all []engine.Operand
	for _, name := range slices.Sorted(maps.Keys(known)) {
		all = append(all, expression("holds", expression("eq", engine.Operand{Variable: attributeVariable + name}, engine.Operand{Value: known[name]})))
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

// maxExact is the largest integer that a double can't mistake for another.
const maxExact = 1<<53 - 1

// rowValues gives attributes as those of a row are: values of JSON, whose numbers
// are doubles. What JSON does not have would be another value there.
func rowValues(given []attributeValue) (value.Values, error) {
	out := make(value.Values, len(given))
	for i := range given {
		v, err := rowValue(given[i].value)
		if err != nil {
			return nil, fmt.Errorf("the attribute %s: %w", given[i].name, err)
		}
		out[given[i].name] = v
	}
	return out, nil
}

func rowValue(v value.Value) (value.Value, error) {
	switch v.Kind() {
	case value.Null, value.Bool:
		return v, nil
	case value.String:
		if utf8.ValidString(v.Str()) {
			return v, nil
		}
	case value.Int:
		if n := v.Int(); n <= maxExact && n >= -maxExact {
			return value.OfDouble(float64(n)), nil
		}
	case value.Uint:
		if n := v.Uint(); n <= maxExact {
			return value.OfDouble(float64(n)), nil
		}
	case value.Double:
		if n := v.Double(); n == 0 {
			return value.OfDouble(0), nil // and not the negative one, which equals it
		} else if !math.IsNaN(n) && !math.IsInf(n, 0) {
			return v, nil
		}
	case value.List:
		out := make(value.Slice, v.Sequence().Len())
		for i := range out {
			var err error
			if out[i], err = rowValue(v.Sequence().At(i)); err != nil {
				return v, err
			}
		}
		return value.OfSequence(out), nil
	case value.Map:
		var err error
		out := value.Values{}
		v.Mapping().Range(func(name string, member value.Value) bool {
			out[name], err = rowValue(member)
			if err == nil && !utf8.ValidString(name) {
				err = errors.New("a name that is no text can't be part of a filter")
			}
			return err == nil
		})
		return value.OfMapping(out), err
	}
	return v, fmt.Errorf("a %s like this can't be part of a filter", v.Kind())
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
	x.reply.Token = wire.HeaderValue{Name: o.Header, Value: string(token)}
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
