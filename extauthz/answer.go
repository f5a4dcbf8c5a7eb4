package extauthz

import (
	"errors"
	"strings"
	"time"

	"edict/extauthz/wire"
)

// answer encodes the outcome, and gives the one that was encoded: an allow that
// can't be sent is a denial.
func (x *exchange) answer(dst []byte, o Outcome) ([]byte, Outcome) {
	now := x.req.Now
	if now.IsZero() { // it ended before the request was mapped
		now = time.Now()
	}
	x.id.set(now)
	if o.Passes() {
		failed := x.makeAllow(o)
		if failed == Allowed {
			if out, ok := wire.AppendAllowed(dst, &x.reply); ok {
				return out, o
			}
			failed, x.err = BadAnswer, errors.New("the answer can't be sent to Envoy")
		}
		o = failed
	}
	if name := x.rev.options.Respond.DecisionHeader; name != "" {
		x.headers = append(x.headers, wire.HeaderValue{Name: name, Value: x.id.String()})
	}
	x.metadata = x.metadata[:0]
	if x.route != nil {
		x.metadata = x.rev.metadata.text(x.metadata, metaRoute, x.route.name)
	}
	x.metadata = x.tell(x.metadata)
	return x.deny(dst, o), o
}

// makeAllow puts the allow together in x.reply. Of the outcomes, Allowed means
// that this could be done.
func (x *exchange) makeAllow(o Outcome) Outcome {
	a := &x.reply
	a.Prepared = x.rev.prepared(x.index, x.source)
	if err := x.upstreamHeaders(); err != nil {
		x.err = err
		return BadIdentity
	}
	if name := x.rev.options.Respond.DecisionHeader; name != "" {
		a.ResponseHeaders = append(a.ResponseHeaders, wire.ResponseHeader{Name: name, Value: x.id.String()})
	}
	a.Metadata = x.tell(a.Metadata)
	if o := x.stripQuery(); o != Allowed {
		return o
	}
	if on := x.route.allow; on != nil && !on.static() {
		x.show(o)
		if err := on.apply(x); err != nil || x.refused != noRefusal {
			return x.unanswerable(err)
		}
	}
	if x.route.plan {
		return x.sendFilter()
	}
	return Allowed
}

// unanswerable ends a request that is allowed, but not in the way that its route
// asks for: as what a view found wrong with it, if that is the reason.
func (x *exchange) unanswerable(err error) Outcome {
	x.err = err
	if x.refused != noRefusal {
		return x.refused
	}
	return BadAnswer
}

// forgetAnswer lets go of what the answer was made of, and keeps its memory.
func (x *exchange) forgetAnswer() {
	a := &x.reply
	clear(a.Headers)
	clear(a.AppendHeaders)
	clear(a.ResponseHeaders)
	clear(a.SetQuery)
	clear(a.RemoveQuery)
	clear(a.Metadata)
	*a = wire.Allow{
		Headers: a.Headers[:0], AppendHeaders: a.AppendHeaders[:0], ResponseHeaders: a.ResponseHeaders[:0],
		SetQuery: a.SetQuery[:0], RemoveQuery: a.RemoveQuery[:0], Metadata: a.Metadata[:0],
	}
	clear(x.headers)
	clear(x.metadata)
	x.headers, x.metadata = x.headers[:0], x.metadata[:0]
}

// upstreamHeaders sets the headers that tell the upstream who asks. One without
// a value is removed from the request.
func (x *exchange) upstreamHeaders() error {
	a := &x.reply
	if name := x.rev.options.PrincipalHeader; name != "" {
		v, err := headerText(x.req.Principal.ID, false)
		if err != nil {
			return err
		}
		a.Headers = append(a.Headers, wire.HeaderValue{Name: name, Value: v})
	}
	if name := x.rev.options.RolesHeader; name != "" {
		v, err := headerList(x.req.Principal.Roles)
		if err != nil {
			return err
		}
		a.Headers = append(a.Headers, wire.HeaderValue{Name: name, Value: v})
	}
	if name := x.rev.options.DecisionHeader; name != "" {
		a.Headers = append(a.Headers, wire.HeaderValue{Name: name, Value: x.id.String()})
	}
	return nil
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
			return "", errors.New("a control character can't be sent in a header")
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
