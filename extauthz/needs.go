package extauthz

import (
	"slices"

	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// Needs says what a Revision needs of the proxy's configuration: what it reads
// of a check beyond what is always there, and what it changes in a request.
type Needs struct {
	// Claims are the places that verified claims are looked for in, in the
	// order of the sources of identity.
	Claims []Claims

	// Namespaces are the namespaces of dynamic metadata that are read, those of
	// Claims among them, sorted. With AnyNamespace there are more, which only
	// a request tells. RouteNamespaces are those of the route's metadata.
	Namespaces      []string
	AnyNamespace    bool
	RouteNamespaces []string

	// BodyRoutes names the routes that read the body: route map and route.
	// BodyLimit is what Options say that it is cut at, 0 if they do not.
	BodyRoutes []string
	BodyLimit  int

	// StreamRoutes names the routes for gRPC that do not read the body, whose
	// calls may be streams.
	StreamRoutes []string

	// PlannedRoutes names the routes whose requests carry a token for the path and
	// the host that the upstream gets.
	PlannedRoutes []string

	SNI    bool // the server name that the client asked for
	Labels bool // the labels of the proxy (destination.labels)

	// Peer tells that identity is taken from the peer of the connection, which
	// has one only if the listener asks for a client certificate. Certificate
	// tells that more of it is read than its principal.
	Peer        bool
	Certificate bool

	// EncodedSlashes and EmptySegments tell that some route admits %2F, or
	// several slashes, so that the proxy has to leave them as they are.
	EncodedSlashes bool
	EmptySegments  bool

	// Headers are the request headers that are read by name, in lower case,
	// sorted. With AnyHeader there are more.
	Headers   []string
	AnyHeader bool

	// IdentityHeaders are those among Headers that identity is taken from as
	// it stands, TokenHeaders those with tokens that Edict verifies.
	IdentityHeaders []string
	TokenHeaders    []string

	// Upstream are the headers that an allow can set in a request or remove
	// from it, sorted. Set are those among them that it sets whatever the client
	// sent, so that the upstream may take them for Edict's word.
	Upstream []string
	Set      []string
}

// Claims is a place of verified claims in dynamic metadata.
type Claims struct {
	Namespace string // of the filter that wrote them
	Key       string // payload_in_metadata of jwt_authn
	Failure   string // failed_status_in_metadata of jwt_authn
}

// An evaluation is an expression that a route evaluates.
type evaluation struct {
	route  int
	source string
}

// Needs gives what the revision needs of the proxy's configuration.
func (r *Revision) Needs() Needs {
	n := Needs{BodyLimit: r.options.BodyLimit, IdentityHeaders: r.sourceHeaders(), Set: r.setHeaders()}
	n.Upstream = slices.Concat(n.Set, r.changedHeaders())
	for _, s := range r.options.Identity {
		switch {
		case s.JWTMetadata != nil:
			n.claims(s.JWTMetadata)
		case s.MTLS != nil:
			n.Peer = true
			n.Certificate = n.Certificate || s.MTLS.ID == CommonName // the others are in the principal, too
		}
	}
	for i := range r.sources {
		n.TokenHeaders = append(n.TokenHeaders, r.sources[i].tokenHeaders...)
	}
	n.Headers = slices.Concat(n.IdentityHeaders, n.TokenHeaders)
	for _, read := range r.reads {
		for _, path := range r.env.Paths(read.source) {
			if path[0] == "request" {
				n.request(r.routes[read.route].name, path[1:])
			}
		}
	}
	for _, list := range []*[]string{&n.Namespaces, &n.RouteNamespaces, &n.BodyRoutes, &n.Headers, &n.TokenHeaders, &n.Upstream, &n.Set} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, a := range r.readings {
		n.EncodedSlashes = n.EncodedSlashes || a.Lifts(target.EncodedSlash)
		n.EmptySegments = n.EmptySegments || a.Lifts(target.EmptySegment)
	}
	for i := range r.routes {
		if r.routes[i].plan {
			n.PlannedRoutes = append(n.PlannedRoutes, r.routes[i].name)
		}
		if route := &r.routes[i]; route.grpc && !slices.Contains(n.BodyRoutes, route.name) {
			n.StreamRoutes = append(n.StreamRoutes, route.name)
		}
	}
	return n
}

// claims notes where verified claims are looked for.
func (n *Needs) claims(m *JWTMetadata) {
	n.Namespaces = append(n.Namespaces, m.Namespace)
	for i, key := range m.Keys {
		n.Claims = append(n.Claims, Claims{m.Namespace, key, m.failureKeys[min(i, len(m.failureKeys)-1)]})
	}
}

// setHeaders lists the headers that an allow sets in a request whatever the
// client sent.
func (r *Revision) setHeaders() []string {
	var out []string
	for _, h := range []string{r.options.PrincipalHeader, r.options.RolesHeader, r.options.DecisionHeader, r.options.Filter.Header} {
		if h != "" {
			out = append(out, h)
		}
	}
	for i := range r.routes {
		a := r.routes[i].allow
		if a == nil {
			continue
		}
		for _, h := range a.headers {
			if h.action == wire.Overwrite {
				out = append(out, h.name)
			}
		}
		for _, h := range a.constant.Headers {
			out = append(out, h.Name)
		}
	}
	return out
}

// changedHeaders lists the headers that an allow removes from a request, or sets
// if the client sent them or did not.
func (r *Revision) changedHeaders() []string {
	out := r.sourceHeaders()
	for i := range r.sources {
		if r.sources[i].strip {
			out = append(out, r.sources[i].tokenHeaders...)
		}
	}
	for i := range r.routes {
		a := r.routes[i].allow
		if a == nil {
			continue
		}
		for _, h := range a.headers {
			if h.action != wire.Overwrite {
				out = append(out, h.name)
			}
		}
		out = slices.Concat(out, a.removeHeaders, a.constant.RemoveHeaders)
	}
	return out
}

// request notes what a route reads of the request: names that are selected from
// it one after the other.
func (n *Needs) request(route string, path []string) {
	if len(path) == 0 {
		return // no whole request can become an attribute
	}
	switch field, rest := path[0], path[1:]; field {
	case "body", "bodyLists":
		n.BodyRoutes = append(n.BodyRoutes, route)
	case "sni":
		n.SNI = true
	case "source":
		n.Certificate = n.Certificate || len(rest) > 0 && rest[0] == "certificate"
	case "cookies":
		n.Headers = append(n.Headers, "cookie")
	case "destination":
		n.Labels = n.Labels || len(rest) > 0 && rest[0] == "labels"
	case "metadata":
		n.AnyNamespace = n.AnyNamespace || len(rest) == 0
		n.Namespaces = append(n.Namespaces, rest[:min(1, len(rest))]...)
	case "routeMetadata":
		n.RouteNamespaces = append(n.RouteNamespaces, rest[:min(1, len(rest))]...)
	case "headers", "headerLists":
		n.AnyHeader = n.AnyHeader || len(rest) == 0
		n.Headers = append(n.Headers, rest[:min(1, len(rest))]...)
	}
}
