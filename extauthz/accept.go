package extauthz

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/extauthz/routemap"
	"edict/extauthz/routing"
	"edict/extauthz/target"
)

// CodeRouteAccept is for a list of accepted spellings that names one that there
// is not, or two that contradict each other.
const CodeRouteAccept diag.Code = "route-accept"

// AcceptedSpellings makes a set of the names of options. The error says which
// name is wrong, by its index, and the hint how to mend it.
func AcceptedSpellings(names []string) (accept target.Accept, bad int, message, hint string) {
	for i, name := range names {
		a, ok := target.AcceptOf(name)
		if !ok {
			known := target.AcceptNames()
			return 0, i, fmt.Sprintf("%q is not a spelling that can be accepted", name),
				orDefault(diag.DidYouMean(name, known), fmt.Sprintf("the names are %s", strings.Join(known, ", ")))
		}
		accept |= a
		if first, second := accept.Conflict(); first != 0 {
			return 0, i, fmt.Sprintf("%s and %s give one spelling two meanings", first, second),
				"name the one that the backend of the route agrees with"
		}
	}
	return accept, -1, "", ""
}

// accept gives the spellings that a route admits: those that it names, or
// those of the configuration. Of a gRPC method there is one spelling.
func (c *compilation) accept(f *routemap.File, r *routemap.Route) target.Accept {
	if r.Accept == nil {
		if r.Match.GRPC != nil {
			return 0
		}
		return c.options.Accept
	}
	var names []string
	for _, n := range r.Accept.Names {
		names = append(names, n.Value)
	}
	if r.Match.GRPC != nil && len(names) > 0 {
		c.report(f, r.Accept.Pos, CodeRouteAccept, "a gRPC method has one spelling, and no other can be accepted", "remove accept")
		return 0
	}
	accept, bad, message, hint := AcceptedSpellings(names)
	if bad >= 0 {
		c.report(f, r.Accept.Names[bad].Pos, CodeRouteAccept, message, hint)
	}
	return accept
}

// readings gives the sets of options that a path must be parsed with, if it is
// refused without any, so that every route has its reading.
func readings(routes []route) []target.Accept {
	var union target.Accept
	for i := range routes {
		union |= routes[i].accept
	}
	return union.Readings()
}

// lifts tells whether some route may admit what is refused for a reason.
func (r *Revision) lifts(reason target.Reason) bool {
	return slices.ContainsFunc(r.readings, func(a target.Accept) bool { return a.Lifts(reason) })
}

// reread finds the route of a path that is refused as it stands, but that some
// route may admit. That must be the route that the path has when it is read so:
// a spelling that the best route does not admit is not for the next best. Where
// two routes admit the path in two readings, neither counts.
func (x *exchange) reread() Outcome {
	strict := x.target.Reason()
	path := x.in.Path()
	var found target.Accept
	for _, reading := range x.rev.readings {
		if x.target.ParseAccepting(path, reading) != target.OK {
			continue
		}
		ok, refused := x.lookUp()
		if refused != "" {
			found = 0
			break
		}
		if !ok {
			continue
		}
		met := x.target.Met()
		if !x.rev.routes[x.match.ID()].accept.Has(met) || met == found {
			continue
		}
		if found != 0 {
			found = 0
			break
		}
		found = met
	}
	if found == 0 {
		x.match = routing.Match{}
		x.target.Parse(path)
		x.detail = strict.String()
		return BadRequest
	}
	x.target.ParseAccepting(path, found)
	x.lookUp()
	return Allowed
}

// rereadFor reads a path that is refused as it stands as the one route that it
// can be for admits it.
func (x *exchange) rereadFor(r *route) bool {
	strict := x.target.Reason()
	if x.target.ParseAccepting(x.in.Path(), r.accept) == target.OK {
		return true
	}
	x.detail = strict.String()
	return false
}
