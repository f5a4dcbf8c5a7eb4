package extauthz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/extauthz/routemap"
	"edict/extauthz/routing"
	"edict/extauthz/target"
)

// CodeRouteConnection is for an expression of a connection that reads what only
// a request has.
const CodeRouteConnection diag.Code = "route-connection"

// connectionFields are the fields of request that a connection has.
var connectionFields = []string{"source", "destination", "sni", "metadata"}

// A connectionTable finds the route of a connection, by its server name and the
// port that it is for. What that costs hangs on the labels of the name, and not
// on the number of routes.
type connectionTable struct {
	// names has exact names, suffixes of whole labels with the dot that they
	// begin with, and "" for any name and none.
	names map[string]*portTable
}

// A portTable holds indexes of Revision.routes.
type portTable struct {
	ports  map[uint32]int
	any    int // of any other port
	hasAny bool
}

func (p *portTable) find(port uint32) (int, bool) {
	if p == nil {
		return 0, false
	}
	if i, ok := p.ports[port]; ok {
		return i, true
	}
	return p.any, p.hasAny
}

// find gives the most specific route: by the name, exact before the longest
// suffix before any, and then by the port, listed before any.
func (t *connectionTable) find(sni string, port uint32) (int, bool) {
	if sni != "" {
		if i, ok := t.names[sni].find(port); ok {
			return i, true
		}
		for at := 0; ; {
			dot := strings.IndexByte(sni[at:], '.')
			if dot < 0 {
				break
			}
			at += dot
			if i, ok := t.names[sni[at:]].find(port); ok {
				return i, true
			}
			at++
		}
	}
	return t.names[""].find(port)
}

// add adds a route. It gives the one that is for the same, if there is one.
func (t *connectionTable) add(name string, ports []routemap.Port, index int) (other int, conflict bool) {
	p := t.names[name]
	if p == nil {
		p = &portTable{ports: map[uint32]int{}}
		t.names[name] = p
	}
	if len(ports) == 0 {
		if p.hasAny {
			return p.any, true
		}
		p.any, p.hasAny = index, true
		return 0, false
	}
	for _, port := range ports {
		if first, taken := p.ports[port.Number]; taken {
			return first, true
		}
		p.ports[port.Number] = index
	}
	return 0, false
}

// connections compiles the connections of all files. There is no table if there
// are none.
func (c *compilation) connections(files []*routemap.File) *connectionTable {
	t := &connectionTable{names: map[string]*portTable{}}
	written := map[int]*routemap.Connection{} // by the index of the route
	for _, f := range files {
		for i := range f.Connections {
			from := &f.Connections[i]
			index := len(c.routes)
			written[index] = from
			c.routes = append(c.routes, c.connection(f, from))
			for _, name := range c.serverNames(f, from) {
				if other, conflict := t.add(name, from.Ports, index); conflict {
					c.report(f, from.Name.Pos, CodeRouteConflict,
						fmt.Sprintf("the connections %s and %s are for the same server name and port", c.routes[other].name, c.routes[index].name),
						"tell them apart by match.sni or match.destinationPorts", diag.Related{Pos: written[other].Name.Pos, Message: "the other connection"})
					break
				}
			}
		}
	}
	if len(written) == 0 {
		return nil
	}
	return t
}

// serverNames gives the keys of a connectionTable that a connection is for.
func (c *compilation) serverNames(f *routemap.File, from *routemap.Connection) []string {
	if len(from.SNI) == 0 {
		return []string{""}
	}
	var out []string
	for _, t := range from.SNI {
		name, wild := strings.CutPrefix(t.Value, "*.")
		host, ok := serverName(name)
		if !ok || routing.CheckHost(t.Value) != nil {
			c.report(f, t.Pos, CodeRouteHost, fmt.Sprintf("%q is not a server name", t.Value), "write a name or *.suffix, and leave sni out for any")
			continue
		}
		if wild {
			host = "." + host
		}
		out = append(out, host)
	}
	return out
}

// serverName gives a server name in the form that it is compared in. A name has
// no port, and is no address (RFC 6066 §3).
func serverName(s string) (string, bool) {
	if s == "*" || strings.ContainsAny(s, ":[") {
		return "", false
	}
	host, r := target.Host(s)
	return host, r == target.OK
}

func (c *compilation) connection(f *routemap.File, from *routemap.Connection) route {
	t := terms{compilation: c, file: f, known: true, origins: origins{Compiler: c.Compiler}, connection: true}
	out := route{
		name:             f.Name.Value + "/" + from.Name.Value,
		anonymous:        from.Anonymous,
		identity:         c.identity(f, &routemap.Route{Anonymous: from.Anonymous, Identity: from.Identity}),
		principalVersion: t.term(from.Principal.PolicyVersion, noItem),
		principalScope:   t.term(from.Principal.Scope, noItem),
		principalAttrs:   t.attributes(from.Principal.Attributes, noItem),
	}
	t.origins.principal = out.principalAttrs
	for i := range from.Checks {
		out.checks = append(out.checks, t.check(&from.Checks[i]))
		c.checkTrusted(f, &out, &from.Checks[i], &out.checks[i])
	}
	out.filled = out.fill()
	return out
}

// checkConnection reports what an expression of a connection can't read.
func (t terms) checkConnection(s expr.Selection, at diag.Position) {
	switch {
	case s.Variable == "path":
		t.report(t.file, at, CodeRouteConnection, "a connection has no path", "read "+readable())
	case s.Variable == "request" && !slices.Contains(connectionFields, s.Field):
		t.report(t.file, at, CodeRouteConnection, fmt.Sprintf("a connection has no %s", orDefault(s.Field, "request as a whole")), "read "+readable())
	}
}

func readable() string {
	return "request." + strings.Join(connectionFields, ", request.")
}

// decideConnection is decide for a check of Envoy's network filter, which has no
// request.
func (x *exchange) decideConnection(ctx context.Context) Outcome {
	if x.rev.connections == nil {
		return NotHTTP
	}
	if x.late(ctx) {
		return Timeout
	}
	for _, step := range [...]func() Outcome{x.findConnection, x.identify, x.makeRequest} {
		if o := step(); o != Allowed {
			return o
		}
	}
	return x.ask(ctx)
}

// findConnection finds the route that the connection is for.
func (x *exchange) findConnection() Outcome {
	sni := x.sni()
	if sni != "" {
		name, ok := serverName(sni)
		if !ok {
			x.detail = "server_name"
			return BadRequest
		}
		sni = name
	}
	i, ok := x.rev.connections.find(sni, x.in.Destination().Port())
	if !ok {
		return NoRoute
	}
	x.index, x.route = i, &x.rev.routes[i]
	return Allowed
}

// sni gives the server name that the client asked for. Of a connection Envoy
// tells it as the destination's service, too, also without include_tls_session.
func (x *exchange) sni() string {
	if s := x.in.SNI(); s != "" || x.in.HasHTTP() {
		return s
	}
	return x.in.Destination().Service()
}
