package extauthz

import (
	"fmt"
	"unicode/utf8"

	"edict/engine"
	"edict/engine/expr"
	"edict/engine/value"
	"edict/extauthz/routing"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// itemVariable is the item of forEach that a check is made of.
const itemVariable = "item"

// The slots of a route expression's frame.
const (
	slotRequest = iota
	slotPath
	slotClaims
	slotPrincipal
	slotItem
	slotDecision
)

// newEnv declares what the expressions of route maps can read. An item of
// forEach is known only to the check that has it, and the decision only to
// onAllow and onDeny.
func newEnv() (*expr.Env, error) {
	return expr.NewEnv(
		[]expr.Variable{
			{Name: "request", Type: expr.Object("HTTPRequest"), Slot: slotRequest},
			{Name: "path", Type: expr.StringMap, Slot: slotPath},
			{Name: "claims", Type: expr.Attrs, Slot: slotClaims},
			{Name: "principal", Type: expr.Object("RoutePrincipal"), Slot: slotPrincipal},
			{Name: itemVariable, Type: expr.Dyn, Slot: slotItem},
			{Name: decisionVariable, Type: expr.Object("Decision"), Slot: slotDecision},
		},
		[]expr.Struct{
			{Name: "Decision", Fields: decisionFields},
			{Name: "HTTPRequest", Fields: map[string]*expr.Type{
				"id":                expr.String,
				"method":            expr.String,
				"path":              expr.String,
				"rawPath":           expr.String,
				"size":              expr.Int,
				"upgrade":           expr.String,
				"cookies":           expr.StringMap,
				"headerLists":       expr.MapOf(expr.Strings),
				"query":             expr.Attrs,
				"queryLists":        expr.Attrs,
				"host":              expr.String,
				"scheme":            expr.String,
				"protocol":          expr.String,
				"headers":           expr.StringMap,
				"body":              expr.Dyn,
				"bodyLists":         expr.Attrs,
				"time":              expr.Timestamp,
				"sni":               expr.String,
				"source":            expr.Object("Source"),
				"destination":       expr.Object("Peer"),
				"contextExtensions": expr.StringMap,
				"metadata":          expr.Attrs,
				"routeMetadata":     expr.Attrs,
			}},
			{Name: "Source", Fields: map[string]*expr.Type{
				"address":     expr.String,
				"port":        expr.Int,
				"pipe":        expr.String,
				"principal":   expr.String,
				"service":     expr.String,
				"labels":      expr.StringMap,
				"certificate": expr.Object("Certificate"),
			}},
			{Name: "Peer", Fields: map[string]*expr.Type{
				"address":   expr.String,
				"port":      expr.Int,
				"pipe":      expr.String,
				"principal": expr.String,
				"service":   expr.String,
				"labels":    expr.StringMap,
			}},
			{Name: "Certificate", Fields: map[string]*expr.Type{
				"subject":     expr.String,
				"issuer":      expr.String,
				"serial":      expr.String,
				"fingerprint": expr.String,
				"uris":        expr.Strings,
				"dnsNames":    expr.Strings,
				"emails":      expr.Strings,
				"ips":         expr.Strings,
				"notBefore":   expr.Timestamp,
				"notAfter":    expr.Timestamp,
			}},
			{Name: "RoutePrincipal", Fields: map[string]*expr.Type{
				"id":    expr.String,
				"roles": expr.Strings,
				"attr":  expr.Attrs,
			}},
		})
}

// The views below show an exchange to expressions. Each is the exchange under
// another type, so that showing it allocates nothing.

type requestView exchange

func (*requestView) StructName() string { return "HTTPRequest" }
func (*requestView) Len() int           { return 1 }

func (v *requestView) Lookup(field string) (value.Value, bool) {
	x := (*exchange)(v)
	switch field {
	case "id":
		return value.OfString(x.in.ID()), true
	case "method":
		return value.OfString(x.in.Method()), true
	case "path":
		return value.OfString(x.target.Path()), true
	case "rawPath":
		return value.OfString(x.target.RawPath()), true
	case "size":
		return value.OfInt(x.in.Size()), true
	case "upgrade":
		return value.OfString(x.upgrade()), true
	case "cookies":
		return value.OfMapping((*cookieView)(x)), true
	case "headerLists":
		return value.OfMapping((*headerListsView)(x)), true
	case "query", "queryLists":
		q, reason := x.target.Query()
		switch {
		case q == nil:
			return value.OfError(x.refuse(BadRequest, reason.String())), true
		case field == "query":
			return value.OfMapping((*queryView)(x)), true
		default:
			return value.OfMapping(q.Lists()), true
		}
	case "host":
		return value.OfString(x.host), true
	case "scheme":
		return value.OfString(x.in.Scheme()), true
	case "protocol":
		return value.OfString(x.in.Protocol()), true
	case "headers":
		return value.OfMapping((*headersView)(x)), true
	case "body":
		return x.body(), true
	case "bodyLists":
		return x.bodyLists(), true
	case "time":
		t, ok := x.in.Time()
		if !ok {
			return value.OfError(fmt.Errorf("the check has no time")), true
		}
		return value.OfTime(t), true
	case "sni":
		return value.OfString(x.sni()), true
	case "source":
		return value.OfMapping((*sourceView)(x)), true
	case "destination":
		return value.OfMapping((*destinationView)(x)), true
	case "contextExtensions":
		return value.OfMapping((*extensionsView)(x)), true
	case "metadata":
		return value.OfMapping((*metadataView)(x)), true
	case "routeMetadata":
		return value.OfMapping((*routeMetadataView)(x)), true
	}
	return value.Value{}, false
}

func (v *requestView) Range(yield func(string, value.Value) bool) {
	for _, f := range []string{"id", "method", "path", "host", "scheme", "protocol", "headers", "source", "destination"} {
		if e, ok := v.Lookup(f); ok && !yield(f, e) {
			return
		}
	}
}

// queryView shows a query that was read. To ask for the one value of a name
// that is there more than once refuses the request, whatever the expression
// makes of the error.
type queryView exchange

func (v *queryView) query() *target.Query {
	q, _ := v.target.Query() // its reader has seen that it is sound
	return q
}

func (v *queryView) Lookup(name string) (value.Value, bool) {
	e, ok := v.query().Lookup(name)
	if e.Kind() == value.Error {
		(*exchange)(v).refuse(BadRequest, target.QueryDuplicate.String())
	}
	return e, ok
}

func (v *queryView) Len() int { return v.query().Len() }

func (v *queryView) Range(yield func(string, value.Value) bool) {
	v.query().Range(func(name string, _ value.Value) bool {
		e, _ := v.Lookup(name)
		return yield(name, e)
	})
}

// headersView shows headers by their lower-case name. A header that came more
// than once is one list of values, joined by commas (RFC 9110 §5.3).
type headersView exchange

func (v *headersView) Lookup(name string) (value.Value, bool) {
	text, count := v.in.Header(name)
	switch {
	case count == 0:
		return value.Value{}, false
	case count > 1:
		joined := ""
		v.in.Headers(func(n, s string) bool {
			if n == name {
				if joined != "" {
					joined += ", "
				}
				joined += s
			}
			return true
		})
		text = joined
	}
	if !utf8.ValidString(text) {
		return value.OfError((*exchange)(v).refuse(BadRequest, "header_not_utf8")), true
	}
	return value.OfString(text), true
}

func (v *headersView) Len() int { return count(v.Range) }

func (v *headersView) Range(yield func(string, value.Value) bool) {
	v.names(func(name string) bool {
		e, _ := v.Lookup(name)
		return yield(name, e)
	})
}

// names yields the name of each header once.
func (v *headersView) names(yield func(string) bool) {
	seen := map[string]bool{}
	v.in.Headers(func(name, _ string) bool {
		if seen[name] {
			return true
		}
		seen[name] = true
		return yield(name)
	})
}

func count(all func(func(string, value.Value) bool)) int {
	n := 0
	all(func(string, value.Value) bool {
		n++
		return true
	})
	return n
}

type sourceView exchange

func (*sourceView) StructName() string { return "Source" }
func (*sourceView) Len() int           { return 1 }
func (v *sourceView) Lookup(field string) (value.Value, bool) {
	if field == "certificate" {
		return (*exchange)(v).certificate(), true
	}
	return peerField(v.in.Source(), field)
}
func (v *sourceView) Range(yield func(string, value.Value) bool) { rangePeer(v.in.Source(), yield) }

type destinationView exchange

func (*destinationView) StructName() string { return "Peer" }
func (*destinationView) Len() int           { return 1 }
func (v *destinationView) Lookup(field string) (value.Value, bool) {
	return peerField(v.in.Destination(), field)
}
func (v *destinationView) Range(yield func(string, value.Value) bool) {
	rangePeer(v.in.Destination(), yield)
}

func peerField(p wire.Peer, field string) (value.Value, bool) {
	switch field {
	case "address":
		return value.OfString(p.Address()), true
	case "port":
		return value.OfInt(int64(p.Port())), true
	case "pipe":
		return value.OfString(p.Pipe()), true
	case "principal":
		return value.OfString(p.Principal()), true
	case "service":
		return value.OfString(p.Service()), true
	case "labels":
		labels := value.Values{}
		p.Labels(func(k, s string) bool {
			labels[k] = value.OfString(s)
			return true
		})
		return value.OfMapping(labels), true
	}
	return value.Value{}, false
}

func rangePeer(p wire.Peer, yield func(string, value.Value) bool) {
	for _, f := range []string{"address", "port", "pipe", "principal", "service", "labels"} {
		if v, _ := peerField(p, f); !yield(f, v) {
			return
		}
	}
}

type extensionsView exchange

func (v *extensionsView) Lookup(key string) (value.Value, bool) {
	s, ok := v.in.ContextExtension(key)
	return value.OfString(s), ok
}

func (v *extensionsView) Len() int { return count(v.Range) }

func (v *extensionsView) Range(yield func(string, value.Value) bool) {
	v.in.ContextExtensions(func(k, s string) bool { return yield(k, value.OfString(s)) })
}

type metadataView exchange

func (v *metadataView) Lookup(namespace string) (value.Value, bool) {
	m, ok := v.in.FilterMetadata(namespace)
	if !ok {
		return value.Value{}, false
	}
	return value.OfMapping(m), true
}

func (v *metadataView) Len() int { return count(v.Range) }

func (v *metadataView) Range(yield func(string, value.Value) bool) {
	v.in.FilterMetadataNamespaces(func(ns string) bool {
		m, _ := v.in.FilterMetadata(ns)
		return yield(ns, value.OfMapping(m))
	})
}

type routeMetadataView exchange

func (v *routeMetadataView) Lookup(namespace string) (value.Value, bool) {
	m, ok := v.in.RouteMetadata(namespace)
	if !ok {
		return value.Value{}, false
	}
	return value.OfMapping(m), true
}

func (v *routeMetadataView) Len() int { return count(v.Range) }

func (v *routeMetadataView) Range(yield func(string, value.Value) bool) {
	v.in.RouteMetadataNamespaces(func(ns string) bool {
		m, _ := v.in.RouteMetadata(ns)
		return yield(ns, value.OfMapping(m))
	})
}

type principalView exchange

func (*principalView) StructName() string { return "RoutePrincipal" }
func (*principalView) Len() int           { return 3 }

func (v *principalView) Lookup(field string) (value.Value, bool) {
	switch field {
	case "id":
		return value.OfString(v.req.Principal.ID), true
	case "roles":
		return value.OfSequence((*rolesView)(&v.req.Principal)), true
	case "attr":
		return value.OfMapping(&v.principalAttrs), true
	}
	return value.Value{}, false
}

func (v *principalView) Range(yield func(string, value.Value) bool) {
	for _, f := range []string{"id", "roles", "attr"} {
		if e, _ := v.Lookup(f); !yield(f, e) {
			return
		}
	}
}

// identityView is the principal as its identity alone makes it. Expressions of
// principal.attributes see this one: with principalView an attribute could be
// made of all attributes, itself among them.
type identityView exchange

func (*identityView) StructName() string { return "RoutePrincipal" }
func (*identityView) Len() int           { return 3 }

func (v *identityView) Lookup(field string) (value.Value, bool) {
	if field == "attr" {
		if v.principalAttrs.base == nil {
			return value.OfMapping(value.Values(nil)), true
		}
		return value.OfMapping(v.principalAttrs.base), true
	}
	return (*principalView)(v).Lookup(field)
}

func (v *identityView) Range(yield func(string, value.Value) bool) {
	for _, f := range []string{"id", "roles", "attr"} {
		if e, _ := v.Lookup(f); !yield(f, e) {
			return
		}
	}
}

type rolesView engine.Principal

func (v *rolesView) Len() int             { return len(v.Roles) }
func (v *rolesView) At(i int) value.Value { return value.OfString(v.Roles[i]) }

// attributeSet is a few named values, over the entries of another map that
// they hide.
type attributeSet struct {
	own  []attributeValue
	base value.Mapping // may be nil
}

type attributeValue struct {
	name  string
	value value.Value
}

func (s *attributeSet) Lookup(name string) (value.Value, bool) {
	for i := range s.own {
		if s.own[i].name == name {
			return s.own[i].value, true
		}
	}
	if s.base == nil {
		return value.Value{}, false
	}
	return s.base.Lookup(name)
}

func (s *attributeSet) Len() int {
	if s.base == nil {
		return len(s.own)
	}
	return count(s.Range)
}

func (s *attributeSet) Range(yield func(string, value.Value) bool) {
	for i := range s.own {
		if !yield(s.own[i].name, s.own[i].value) {
			return
		}
	}
	if s.base == nil {
		return
	}
	s.base.Range(func(k string, v value.Value) bool {
		for i := range s.own {
			if s.own[i].name == k {
				return true
			}
		}
		return yield(k, v)
	})
}

func (s *attributeSet) reset() {
	clear(s.own)
	s.own, s.base = s.own[:0], nil
}

var _ value.Mapping = (*routing.Match)(nil)
