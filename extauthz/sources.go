package extauthz

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/extauthz/routemap"
)

// The diagnostics about the sources of identity that a route names.
const (
	// CodeRouteIdentity is for a name that is that of no source, or of several,
	// or that is there twice.
	CodeRouteIdentity diag.Code = "route-identity"

	// CodeRouteNobody is for a route that asks no source and admits nobody
	// without an identity: it would deny every request.
	CodeRouteNobody diag.Code = "route-nobody"
)

// identity gives the sources of identity of a route in the order in which they
// are asked: those that it names or, if it does not say, all.
func (c *compilation) identity(f *routemap.File, r *routemap.Route) []int {
	if r.Identity == nil {
		out := make([]int, len(c.sources))
		for i := range out {
			out[i] = i
		}
		return out
	}
	var out []int
	for n, name := range r.Identity.Names {
		switch i, count := c.source(name.Value); {
		case name.Value == "": // reported
		case count == 0:
			names := c.sourceNames()
			hint := orDefault(diag.DidYouMean(name.Value, names), fmt.Sprintf("identity.sources of the configuration has %s", orDefault(strings.Join(names, ", "), "none")))
			c.report(f, name.Pos, CodeRouteIdentity, fmt.Sprintf("there is no source of identity %q", name.Value), hint)
		case count > 1:
			c.report(f, name.Pos, CodeRouteIdentity, fmt.Sprintf("there are %d sources of identity %q", count, name.Value),
				"give each a name of its own under identity.sources of the configuration")
		case slices.Contains(out, i):
			first := slices.IndexFunc(r.Identity.Names[:n], func(t diag.Text) bool { return t.Value == name.Value })
			c.report(f, name.Pos, CodeRouteIdentity, fmt.Sprintf("the source of identity %q is there twice", name.Value),
				"name it once", diag.Related{Pos: r.Identity.Names[first].Pos, Message: "first named here"})
		default:
			out = append(out, i)
		}
	}
	if len(r.Identity.Names) == 0 && !r.Anonymous && !c.options.Anonymous {
		c.report(f, r.Identity.Pos, CodeRouteNobody, "nobody has an identity here, and the route is for nobody without one",
			"name a source of identity, or add anonymous: true")
	}
	return out
}

// source finds a source by its name, and tells how many have it.
func (c *compilation) source(name string) (index, count int) {
	for i := range c.sources {
		if c.sources[i].name == name {
			index = i
			count++
		}
	}
	return index, count
}

func (c *compilation) sourceNames() []string {
	var out []string
	for i := range c.sources {
		out = append(out, c.sources[i].name)
	}
	return out
}
