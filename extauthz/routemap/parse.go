package routemap

import (
	"fmt"
	"regexp"

	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

// The diagnostics that parsing a route map can give, beside those of yamldoc.
const (
	// BadAPIVersion is for an apiVersion other than APIVersion.
	BadAPIVersion diag.Code = "route-api-version"

	// RepeatedRoute is for two routes of one name in one file.
	RepeatedRoute diag.Code = "route-repeated-name"

	// BadRouteName is for a route name that is no plain name.
	BadRouteName diag.Code = "route-bad-name"

	// BadMethod is for an HTTP method that is no token, or not in capitals
	// though it is a registered one.
	BadMethod diag.Code = "route-bad-method"

	// GRPCWithMethods is for methods beside grpc: gRPC calls are all POST.
	GRPCWithMethods diag.Code = "route-grpc-methods"

	// NoActions is for an empty list of actions.
	NoActions diag.Code = "route-no-actions"
)

var routeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// Parse reads a route map. An empty file gives neither a File nor diagnostics.
func Parse(file string, content []byte) (*File, diag.List) {
	doc := yamldoc.Parse(file, content)
	root, ok := doc.Root()
	if !ok {
		return nil, doc.Diagnostics()
	}
	f := parseFile(doc, root)
	if list := doc.Diagnostics(); len(list) > 0 {
		return nil, list
	}
	return f, nil
}

func parseFile(doc *yamldoc.Document, root yamldoc.Node) *File {
	f := &File{Pos: root.Pos(), Source: doc.Lines()}
	envelope, ok := root.Object("apiVersion", "description", "routeMap", "$schema")
	if !ok {
		return f
	}
	if n, ok := envelope.Required("apiVersion"); ok {
		if t, ok := n.Text(); ok && t.Value != APIVersion {
			n.Report(BadAPIVersion, fmt.Sprintf("the apiVersion of a route map is %s, not %q", APIVersion, t.Value), "write apiVersion: "+APIVersion+"; a file that is no route map must not lie in the folder of routes")
		}
	}
	text(envelope, "description")
	text(envelope, "$schema")
	body, ok := envelope.Required("routeMap")
	if !ok {
		return f
	}
	o, ok := body.Object("name", "hosts", "principal", "routes")
	if !ok {
		return f
	}
	if n, ok := o.Required("name"); ok {
		f.Name = name(n)
	}
	f.Hosts = texts(o, "hosts")
	f.Principal = parsePrincipal(o)
	n, ok := o.Required("routes")
	if !ok {
		return f
	}
	routes, _ := n.List()
	named := map[string]diag.Position{}
	for _, n := range routes {
		r, ok := parseRoute(n)
		if !ok {
			continue
		}
		if first, dup := named[r.Name.Value]; dup && r.Name.Value != "" {
			doc.ReportRelated(r.Name.Pos, RepeatedRoute, fmt.Sprintf("the route %q is there twice", r.Name.Value),
				"give every route a name of its own", diag.Related{Pos: first, Message: "first used here"})
		}
		named[r.Name.Value] = r.Name.Pos
		f.Routes = append(f.Routes, r)
	}
	return f
}

func parseRoute(n yamldoc.Node) (Route, bool) {
	r := Route{Pos: n.Pos()}
	o, ok := n.Object("name", "description", "match", "anonymous", "identity", "principal", "resource", "action", "actions")
	if !ok {
		return r, false
	}
	if n, ok := o.Required("name"); ok {
		r.Name = name(n)
	}
	text(o, "description")
	if n, ok := o.Required("match"); ok {
		r.Match = parseMatch(n)
	}
	if n, ok := o.Field("anonymous"); ok {
		r.Anonymous, _ = n.Bool()
	}
	r.Identity = parseIdentity(o)
	r.Principal = parsePrincipal(o)
	if n, ok := o.Required("resource"); ok {
		r.Resource = parseResource(n)
	}
	switch field, n, ok := o.OneOf("action", "actions"); {
	case !ok:
	case field == "action":
		if t, ok := textTerm(n); ok {
			r.Actions = []Term{t}
		}
	default:
		list, ok := n.List()
		if ok && len(list) == 0 {
			n.Report(NoActions, "the route asks for no action", "name at least one action")
		}
		for _, n := range list {
			if t, ok := textTerm(n); ok {
				r.Actions = append(r.Actions, t)
			}
		}
	}
	return r, true
}

// parseIdentity reads the names of sources; that of a source is of the form of
// every other name.
func parseIdentity(o yamldoc.Object) *Identity {
	n, ok := o.Field("identity")
	if !ok {
		return nil
	}
	list, ok := n.List()
	if !ok {
		return nil
	}
	i := &Identity{Pos: n.Pos()}
	for _, n := range list {
		i.Names = append(i.Names, name(n))
	}
	return i
}

func parseMatch(n yamldoc.Node) Match {
	m := Match{Pos: n.Pos()}
	o, ok := n.Object("hosts", "methods", "path", "grpc")
	if !ok {
		return m
	}
	m.Hosts = texts(o, "hosts")
	m.Methods = texts(o, "methods")
	for _, t := range m.Methods {
		if hint := methodHint(t.Value); hint != "" {
			n.Document().Report(t.Pos, BadMethod, fmt.Sprintf("%q is not an HTTP method", t.Value), hint)
		}
	}
	switch field, n, ok := o.OneOf("path", "grpc"); {
	case !ok:
	case field == "path":
		m.Path, _ = n.NonEmptyText()
	default:
		m.GRPC = parseGRPC(n)
		if methods, ok := o.Field("methods"); ok {
			methods.Report(GRPCWithMethods, "methods can't stand beside grpc: every gRPC call is a POST", "remove methods")
		}
	}
	return m
}

func parseGRPC(n yamldoc.Node) *GRPC {
	g := &GRPC{Pos: n.Pos()}
	o, ok := n.Object("service", "method")
	if !ok {
		return g
	}
	if n, ok := o.Required("service"); ok {
		g.Service, _ = n.NonEmptyText()
	}
	if n, ok := o.Required("method"); ok {
		g.Method, _ = n.NonEmptyText()
	}
	return g
}

func parsePrincipal(o yamldoc.Object) Principal {
	var p Principal
	n, ok := o.Field("principal")
	if !ok {
		return p
	}
	if o, ok = n.Object("policyVersion", "scope", "attributes"); !ok {
		return p
	}
	p.PolicyVersion = optionalTerm(o, "policyVersion")
	p.Scope = optionalTerm(o, "scope")
	p.Attributes = attributes(o)
	return p
}

func parseResource(n yamldoc.Node) Resource {
	r := Resource{Pos: n.Pos()}
	o, ok := n.Object("kind", "id", "policyVersion", "scope", "attributes")
	if !ok {
		return r
	}
	if n, ok := o.Required("kind"); ok {
		r.Kind, _ = textTerm(n)
	}
	if n, ok := o.Required("id"); ok {
		r.ID, _ = textTerm(n)
	}
	r.PolicyVersion = optionalTerm(o, "policyVersion")
	r.Scope = optionalTerm(o, "scope")
	r.Attributes = attributes(o)
	return r
}

func attributes(o yamldoc.Object) []Attribute {
	n, ok := o.Field("attributes")
	if !ok {
		return nil
	}
	var out []Attribute
	entries, _ := n.Entries()
	for _, e := range entries {
		if t, ok := term(e.Value); ok {
			out = append(out, Attribute{Name: e.Key, Term: t})
		}
	}
	return out
}

// term reads a Term: {expr: …}, or any JSON value as a constant.
func term(n yamldoc.Node) (Term, bool) {
	if isExpr(n) {
		return expression(n)
	}
	v, ok := n.Value()
	return Term{Pos: n.Pos(), Constant: v}, ok
}

// textTerm reads a Term whose constant must be a text that is not empty.
func textTerm(n yamldoc.Node) (Term, bool) {
	if n.IsMapping() {
		return expression(n)
	}
	t, ok := n.NonEmptyText()
	return Term{Pos: n.Pos(), Constant: value.OfString(t.Value)}, ok
}

func optionalTerm(o yamldoc.Object, field string) *Term {
	n, ok := o.Field(field)
	if !ok {
		return nil
	}
	t, ok := textTerm(n)
	if !ok {
		return nil
	}
	return &t
}

// isExpr tells whether n is a mapping whose only key is expr.
func isExpr(n yamldoc.Node) bool {
	if !n.IsMapping() {
		return false
	}
	entries, ok := n.Entries()
	return ok && len(entries) == 1 && entries[0].Key.Value == "expr"
}

func expression(n yamldoc.Node) (Term, bool) {
	o, ok := n.Object("expr")
	if !ok {
		return Term{}, false
	}
	e, ok := o.Required("expr")
	if !ok {
		return Term{}, false
	}
	t, ok := e.NonEmptyText()
	return Term{Pos: n.Pos(), IsExpr: true, Expr: t}, ok
}

// IsName tells whether a text is a plain name, as route maps, routes and sources
// of identity have: a letter, and then letters, digits and _ . -.
func IsName(s string) bool { return routeName.MatchString(s) }

func name(n yamldoc.Node) diag.Text {
	t, ok := n.NonEmptyText()
	if ok && !IsName(t.Value) {
		n.Report(BadRouteName, fmt.Sprintf("%q is not a plain name", t.Value), "begin with a letter and go on with letters, digits and _ . -")
	}
	return t
}

func text(o yamldoc.Object, field string) {
	if n, ok := o.Field(field); ok {
		n.Text()
	}
}

func texts(o yamldoc.Object, field string) []diag.Text {
	n, ok := o.Field(field)
	if !ok {
		return nil
	}
	t, _ := n.Texts()
	return t
}

// methodHint says how to mend an HTTP method, "" if there is nothing to mend.
// Methods are case-sensitive (RFC 9110 §9.1), so that "get" would match no GET.
func methodHint(m string) string {
	for i := range len(m) {
		if c := m[i]; c < 'A' || c > 'Z' {
			if c != '-' && c != '_' && (c < '0' || c > '9') {
				return "methods are written in capitals, like GET; leave methods out for any method"
			}
		}
	}
	return ""
}
