package routemap

import (
	"fmt"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// BadPort is for a port that is none, or that is named twice.
const BadPort diag.Code = "route-port"

// A Connection says which connections it is for, of those that Envoy's network
// filter asks about, and what they ask for. The principal and the defaults of
// the File are for its Routes alone.
type Connection struct {
	Pos       diag.Position
	Name      diag.Text   // no Route of the File has it
	SNI       []diag.Text // names or *.suffix; empty: any name, and none
	Ports     []Port      // of the destination; empty: any
	Anonymous bool        // the connection may come without an identity
	Identity  *Identity
	Principal Principal
	Checks    []Check // at least one; all must be allowed
}

// A Port is the number of a TCP port.
type Port struct {
	Pos    diag.Position
	Number uint32
}

func parseConnection(n yamldoc.Node) (Connection, bool) {
	c := Connection{Pos: n.Pos()}
	o, ok := n.Object("name", "description", "match", "anonymous", "identity", "principal", "resource", "action", "actions", "checks")
	if !ok {
		return c, false
	}
	if n, ok := o.Required("name"); ok {
		c.Name = name(n)
	}
	text(o, "description")
	if n, ok := o.Field("match"); ok {
		if m, ok := n.Object("sni", "destinationPorts"); ok {
			c.SNI = texts(m, "sni")
			c.Ports = ports(m, "destinationPorts")
		}
	}
	if n, ok := o.Field("anonymous"); ok {
		c.Anonymous, _ = n.Bool()
	}
	c.Identity = parseIdentity(o)
	c.Principal = parsePrincipal(o)
	c.Checks = parseChecks(o, defaults{})
	return c, true
}

func ports(o yamldoc.Object, field string) (out []Port) {
	n, ok := o.Field(field)
	if !ok {
		return nil
	}
	list, _ := n.List()
	seen := map[int]diag.Position{}
	for _, n := range list {
		i, ok := n.Int()
		if !ok {
			continue
		}
		if i < 1 || i > 65535 {
			n.Report(BadPort, fmt.Sprintf("%d is not a port", i), "write a number from 1 to 65535")
			continue
		}
		if first, twice := seen[i]; twice {
			n.ReportRelated(BadPort, fmt.Sprintf("the port %d is there twice", i), "name it once", diag.Related{Pos: first, Message: "the first one"})
			continue
		}
		seen[i] = n.Pos()
		out = append(out, Port{n.Pos(), uint32(i)})
	}
	return out
}
