package extauthz

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/extauthz/routemap"
)

// CodeRouteUntrusted is for a route that fills an attribute with what the
// client says, though a policy marks it as trusted.
const CodeRouteUntrusted diag.Code = "route-untrusted"

// Provenance says where something came from: the identity of a request, or an
// attribute.
type Provenance string

// The provenances, each weaker than the one before.
const (
	FromConfig  Provenance = "config"       // Edict's or Envoy's configuration
	MTLSPeer    Provenance = "mtls"         // the certificate of the connection's peer
	VerifiedJWT Provenance = "verified-jwt" // claims of a token that was verified
	Proxy       Provenance = "proxy"        // what a proxy vouches for
	FromClient  Provenance = "client"       // what whoever sends the request can choose
)

// The provenances of an identity that is none.
const (
	NoProvenance  Provenance = "none"      // nobody: no identity
	AnonymousUser Provenance = "anonymous" // no identity, where that is admitted
)

// rank orders provenances by strength. Nobody's identity is made up by the
// configuration.
func (p Provenance) rank() int {
	switch p {
	case FromConfig, NoProvenance, AnonymousUser:
		return 0
	case MTLSPeer:
		return 1
	case VerifiedJWT:
		return 2
	case Proxy:
		return 3
	}
	return 4
}

func (p Provenance) weakerThan(other Provenance) bool { return p.rank() > other.rank() }

// An origin is where an attribute of a route comes from: the weakest of all that
// its expression reads, whether or not evaluation gets there.
type origin struct {
	provenance Provenance // of what it reads beside the identity
	identity   bool       // it reads the identity, too
	reads      []string   // as the expression writes it, each once
	weakest    string     // the one that provenance is of
}

// of gives the provenance where the identity has the given one.
func (o *origin) of(identity Provenance) Provenance {
	if o.identity && identity.weakerThan(o.provenance) {
		if identity == NoProvenance || identity == AnonymousUser {
			return FromConfig
		}
		return identity
	}
	return o.provenance
}

// add takes in what else is read.
func (o *origin) add(other origin) {
	if other.provenance.weakerThan(o.provenance) {
		o.provenance, o.weakest = other.provenance, other.weakest
	}
	o.identity = o.identity || other.identity
	for _, r := range other.reads {
		if !slices.Contains(o.reads, r) {
			o.reads = append(o.reads, r)
		}
	}
}

// origins knows where what a route's expressions read comes from.
type origins struct {
	*Compiler
	principal []attribute // that the route adds to the principal; nil: not yet
	item      *origin     // of the list that forEach goes through
}

// of gives the origin of a term.
func (s *origins) of(t *term) origin {
	out := origin{provenance: FromConfig}
	if t.program == nil {
		return out
	}
	for _, sel := range t.program.Selections() {
		out.add(s.selection(&sel))
	}
	return out
}

func (s *origins) selection(sel *expr.Selection) origin {
	text := written(sel)
	out := origin{provenance: FromClient, reads: []string{text}, weakest: text}
	switch sel.Variable {
	case "request":
		out.provenance = s.ofRequest(sel.Field, sel.Below)
	case "claims":
		out.provenance, out.identity = FromConfig, true
	case "principal":
		out.provenance, out.identity = FromConfig, true
		if sel.Field == "attr" || sel.Field == "" {
			for i := range s.principal {
				if a := &s.principal[i]; len(sel.Below) == 0 || sel.Below[0] == a.name {
					out.add(a.origin)
				}
			}
		}
	case itemVariable:
		if s.item != nil {
			out.provenance = FromConfig
			out.add(*s.item)
		}
	}
	return out // path, and whatever may come: the client
}

// ofRequest gives the provenance of a part of the request. What is not known
// here is the client's.
func (s *origins) ofRequest(field string, below []string) Provenance {
	first := ""
	if len(below) > 0 {
		first = below[0]
	}
	switch field {
	case "id", "time":
		return Proxy // Envoy makes them
	case "contextExtensions", "routeMetadata":
		return FromConfig
	case "destination":
		if first != "" && first != "service" { // of a connection, the server name that the client asks for
			return FromConfig
		}
	case "source":
		switch first {
		case "address", "port", "pipe":
			return Proxy
		case "principal", "certificate":
			return MTLSPeer
		}
	case "metadata":
		if slices.ContainsFunc(s.options.Identity, func(o Source) bool { return o.JWTMetadata != nil && o.JWTMetadata.Namespace == first }) {
			return VerifiedJWT
		}
		return Proxy
	}
	return FromClient
}

var plainField = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// written gives a selection as an expression writes it.
func written(s *expr.Selection) string {
	var b strings.Builder
	b.WriteString(s.Variable)
	fields := s.Below
	if s.Field != "" {
		fields = append([]string{s.Field}, s.Below...)
	}
	for _, f := range fields {
		if plainField.MatchString(f) {
			b.WriteString("." + f)
		} else {
			b.WriteString("[" + strconv.Quote(f) + "]")
		}
	}
	return b.String()
}

// A FilledAttribute is an attribute that a route fills.
type FilledAttribute struct {
	Name       string // as policies write it, R.attr.owner
	Provenance Provenance
	Reads      []string // what the route's expression reads, as it writes it; none of a constant
}

// fill gives the attributes that a route fills, with the origin of each: of one
// that several checks fill, the weakest.
func (r *route) fill() []filled {
	var out []filled
	add := func(name string, o origin) {
		if i := slices.IndexFunc(out, func(f filled) bool { return f.name == name }); i >= 0 {
			o.reads = slices.Clone(o.reads)
			o.add(out[i].origin)
			out[i].origin = o
			return
		}
		out = append(out, filled{name, o})
	}
	for i := range r.principalAttrs {
		add("P.attr."+r.principalAttrs[i].name, r.principalAttrs[i].origin)
	}
	for i := range r.checks {
		for j := range r.checks[i].attrs {
			a := &r.checks[i].attrs[j]
			add("R.attr."+a.name, a.origin)
		}
	}
	return out
}

// A filled attribute is one that a route fills.
type filled struct {
	name   string
	origin origin
}

// A mark is a policy's word that an attribute is trusted.
type mark struct {
	policy.TrustedAttribute
	by string // key of the policy that decides
}

// marks finds the attributes that policies trust: by the kind of the resource,
// and those of policies that are for every kind.
func marks(policies []*policy.Policy) map[string][]mark {
	if !slices.ContainsFunc(policies, func(p *policy.Policy) bool { return len(p.Metadata.Trusted) > 0 }) {
		return nil
	}
	sets := map[string]*policy.Policy{}
	for _, p := range policies {
		if !p.Disabled {
			sets[p.Key()] = p
		}
	}
	out := map[string][]mark{}
	for _, p := range policies {
		if p.Disabled {
			continue
		}
		kind := everyKind
		switch {
		case p.Resource != nil:
			kind = policy.Sanitize(p.Resource.Resource.Value)
		case p.Principal == nil && p.Role == nil:
			continue // counts with those that import it
		}
		seen := map[*policy.Policy]bool{}
		var add func(*policy.Policy)
		add = func(from *policy.Policy) {
			if from == nil || seen[from] {
				return
			}
			seen[from] = true
			for _, t := range from.Metadata.Trusted {
				out[kind] = append(out[kind], mark{t, p.Key()})
			}
			for _, key := range imports(from) {
				add(sets[key])
			}
		}
		add(p)
	}
	return out
}

// imports gives the keys of the derived roles, variables and constants that a
// policy imports.
func imports(p *policy.Policy) (keys []string) {
	var variables policy.Variables
	var constants policy.Constants
	switch {
	case p.Resource != nil:
		for _, name := range p.Resource.ImportDerivedRoles {
			keys = append(keys, (&policy.DerivedRoles{Name: name}).Key())
		}
		variables, constants = p.Resource.Variables, p.Resource.Constants
	case p.Principal != nil:
		variables, constants = p.Principal.Variables, p.Principal.Constants
	case p.Role != nil:
		variables, constants = p.Role.Variables, p.Role.Constants
	case p.DerivedRoles != nil:
		variables, constants = p.DerivedRoles.Variables, p.DerivedRoles.Constants
	}
	for _, name := range variables.Import {
		keys = append(keys, (&policy.ExportVariables{Name: name}).Key())
	}
	for _, name := range constants.Import {
		keys = append(keys, (&policy.ExportConstants{Name: name}).Key())
	}
	return keys
}

// everyKind stands for the policies that are for resources of every kind.
const everyKind = ""

// trusted gives the marks that concern a check: all of them if its kind is an
// expression.
func (c *compilation) trusted(kind *routemap.Term) []mark {
	if kind.IsExpr {
		var out []mark
		for _, name := range slices.Sorted(maps.Keys(c.marks)) {
			out = append(out, c.marks[name]...)
		}
		return out
	}
	return slices.Concat(c.marks[policy.Sanitize(kind.Constant.Str())], c.marks[everyKind])
}

// checkTrusted reports the attributes that policies trust and that a check of
// the route has from the client.
func (c *compilation) checkTrusted(f *routemap.File, route *route, from *routemap.Check, check *routeCheck) {
	identity := FromConfig
	for _, i := range route.identity {
		if p := c.sources[i].provenance; p.weakerThan(identity) {
			identity = p
		}
	}
	for _, m := range c.trusted(&from.Resource.Kind) {
		if a := m.brokenBy(route, check, identity); a != nil {
			c.report(f, a.pos, CodeRouteUntrusted,
				fmt.Sprintf("the route %s fills %s from %s, which the client can choose, and %s trusts it", route.name, m.TrustedAttribute, a.origin.weakest, m.by),
				"fill it from the identity, from Envoy's configuration or from what a proxy vouches for",
				diag.Related{Pos: m.Pos, Message: "marked as trusted here"})
		}
	}
}

// brokenBy gives the attribute that is marked, if a check has it from the client.
func (m *mark) brokenBy(route *route, check *routeCheck, identity Provenance) *attribute {
	list := check.attrs
	if m.OfPrincipal {
		list = route.principalAttrs
	}
	for i := range list {
		if a := &list[i]; a.name == m.Name && a.origin.of(identity) == FromClient {
			return a
		}
	}
	return nil
}

// pinnable tells whether the policies of the kind that Envoy's configuration
// pins may have the attributes of a check. Of the kind that the route names that
// was found out when it was loaded.
func (x *exchange) pinnable(check *routeCheck) bool {
	marks := x.rev.marks[policy.Sanitize(x.pins.kind)]
	for i := range marks {
		if marks[i].brokenBy(x.route, check, x.provenance()) != nil {
			return false
		}
	}
	return true
}
