package routemap

import (
	"fmt"
	"regexp"
	"slices"

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

	// BadChecks is for a list of checks that is empty or too long, and for a
	// resource or an action beside it.
	BadChecks diag.Code = "route-checks"

	// BadPublic is for a public route that also says what it asks for.
	BadPublic diag.Code = "route-public"

	// BadPlan is for a route with plan: true that says what a plan can't have.
	BadPlan diag.Code = "route-plan"
)

// MaxChecks is the number of checks that a route may list.
const MaxChecks = 20

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
	o, ok := body.Object("name", "hosts", "principal", "defaults", "routes", "connections")
	if !ok {
		return f
	}
	if n, ok := o.Required("name"); ok {
		f.Name = name(n)
	}
	f.Hosts = texts(o, "hosts")
	f.Principal = parsePrincipal(o)
	base := parseDefaults(o)
	f.OnAllow, f.OnDeny = base.onAllow, base.onDeny
	n, ok := o.Field("routes")
	if _, other := o.Field("connections"); !ok && !other {
		o.Required("routes")
		return f
	}
	named := map[string]diag.Position{}
	once := func(name diag.Text, what string) {
		if first, dup := named[name.Value]; dup && name.Value != "" {
			doc.ReportRelated(name.Pos, RepeatedRoute, fmt.Sprintf("the %s %q is there twice", what, name.Value),
				fmt.Sprintf("give every %s a name of its own", what), diag.Related{Pos: first, Message: "first used here"})
		}
		named[name.Value] = name.Pos
	}
	if ok {
		routes, _ := n.List()
		for _, n := range routes {
			if r, ok := parseRoute(n, base); ok {
				once(r.Name, "route")
				f.Routes = append(f.Routes, r)
			}
		}
	}
	if n, ok := o.Field("connections"); ok {
		list, _ := n.List()
		for _, n := range list {
			if c, ok := parseConnection(n); ok {
				once(c.Name, "connection")
				f.Connections = append(f.Connections, c)
			}
		}
	}
	return f
}

// defaults are what the routes of a file have unless they say otherwise.
type defaults struct {
	identity *Identity
	accept   *Names
	resource Resource // its Kind has no position if there is none
	onAllow  *OnAllow
	onDeny   *OnDeny
}

func parseDefaults(o yamldoc.Object) (d defaults) {
	n, ok := o.Field("defaults")
	if !ok {
		return d
	}
	if o, ok = n.Object("identity", "accept", "resource", "onAllow", "onDeny"); !ok {
		return d
	}
	d.identity = parseIdentity(o)
	d.accept = names(o, "accept")
	d.onAllow, d.onDeny = parseResponses(o)
	if n, ok = o.Field("resource"); !ok {
		return d
	}
	if o, ok = n.Object("kind", "policyVersion", "scope", "attributes"); !ok {
		return d
	}
	if t := optionalTerm(o, "kind"); t != nil {
		d.resource.Kind = *t
	}
	d.resource.PolicyVersion = optionalTerm(o, "policyVersion")
	d.resource.Scope = optionalTerm(o, "scope")
	d.resource.Attributes = attributes(o)
	return d
}

func parseRoute(n yamldoc.Node, base defaults) (Route, bool) {
	r := Route{Pos: n.Pos()}
	o, ok := n.Object("name", "description", "match", "public", "plan", "anonymous", "identity", "accept", "body", "principal", "resource", "action", "actions", "checks", "onAllow", "onDeny")
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
	if r.Accept = names(o, "accept"); r.Accept == nil && r.Match.GRPC == nil {
		r.Accept = base.accept // of a gRPC method there is one spelling
	}
	r.OnAllow, r.OnDeny = parseResponses(o)
	if n, ok := o.Field("public"); ok {
		r.Public, _ = n.Bool()
	}
	if r.Public {
		for _, field := range []string{"plan", "anonymous", "identity", "body", "principal", "resource", "action", "actions", "checks"} {
			if n, ok := o.Given(field); ok {
				n.Report(BadPublic, fmt.Sprintf("%s can't stand beside public: true, which lets every request pass unasked", field),
					"remove one of the two; anonymous: true lets requests without an identity ask the policies")
			}
		}
		return r, true
	}
	if n, ok := o.Field("anonymous"); ok {
		r.Anonymous, _ = n.Bool()
	}
	if r.Identity = parseIdentity(o); r.Identity == nil {
		r.Identity = base.identity
	}
	r.Body = parseBody(o)
	r.Principal = parsePrincipal(o)
	if n, ok := o.Field("plan"); ok {
		r.Plan, _ = n.Bool()
	}
	if !r.Plan {
		r.Checks = parseChecks(o, base)
		return r, true
	}
	checkPlan(o, &r.Match)
	if _, ok := o.Given("checks"); !ok {
		c := parseCheck(o, base, aboutAll)
		for _, a := range c.Resource.Attributes {
			if !variableName.MatchString(a.Name.Value) {
				o.Node().Document().Report(a.Name.Pos, BadPlan, fmt.Sprintf("the attribute %q can't be part of a filter", a.Name.Value),
					"its name is to begin with a letter and go on with letters, digits and _")
			}
		}
		r.Checks = []Check{c}
	}
	return r, true
}

// variableName is what a filter can name an attribute by.
var variableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// checkPlan reports what can't stand beside plan: true. A route that named no
// methods would let pass what changes something, which nobody was asked about.
func checkPlan(o yamldoc.Object, m *Match) {
	report := func(pos diag.Position, message, hint string) {
		o.Node().Document().Report(pos, BadPlan, message, hint)
	}
	if n, ok := o.Given("checks"); ok {
		report(n.Pos(), "checks can't stand beside plan: true, which makes one filter", "write resource and actions; all actions are planned together")
	}
	switch {
	case m.GRPC != nil:
		report(m.GRPC.Pos, "a gRPC method can't be planned", "check it, or plan a route with a path")
	case len(m.Methods) == 0 && m.Pos.IsValid():
		report(m.Pos, "a route that is planned must name its methods", "write methods: [GET], or whatever lists what there is; a plan says nothing about changes")
	}
	if m.Upgrade != "" && m.Upgrade != "none" {
		report(m.Pos, "a route that is planned can't be upgraded: a filter is for one request", "give upgrades a route of their own that is checked")
	}
	for _, t := range m.Methods {
		if t.Value == "CONNECT" {
			report(t.Pos, "a CONNECT can't be planned", "remove it")
		}
	}
}

// parseChecks reads what a route asks for: checks, or the one check that its
// own fields make.
func parseChecks(o yamldoc.Object, base defaults) []Check {
	n, ok := o.Field("checks")
	if !ok {
		return []Check{parseCheck(o, base, aboutOne)}
	}
	for _, field := range []string{"resource", "action", "actions"} {
		if beside, ok := o.Given(field); ok {
			beside.Report(BadChecks, field+" can't stand beside checks", "move it into the list as one of the checks")
		}
	}
	list, ok := n.List()
	if ok && (len(list) == 0 || len(list) > MaxChecks) {
		n.Report(BadChecks, fmt.Sprintf("the route has %d checks", len(list)),
			fmt.Sprintf("name at least one and at most %d; forEach makes one of each item of a list", MaxChecks))
	}
	var out []Check
	for _, n := range list {
		o, ok := n.Object("forEach", "resource", "action", "actions")
		if !ok {
			continue
		}
		c := parseCheck(o, base, aboutOne)
		if n, ok := o.Field("forEach"); ok {
			if t, ok := expression(n); ok {
				c.ForEach = &t
			}
		}
		out = append(out, c)
	}
	return out
}

// What a resource is: one thing with an id, or all that there are of a kind.
type about bool

const (
	aboutOne about = false
	aboutAll about = true
)

// parseCheck reads resource and actions.
func parseCheck(o yamldoc.Object, base defaults, what about) Check {
	c := Check{Pos: o.Pos()}
	if n, ok := o.Required("resource"); ok {
		c.Resource = parseResource(n, base.resource, what)
	}
	switch field, n, ok := o.OneOf("action", "actions"); {
	case !ok:
	case field == "action":
		if t, ok := textTerm(n); ok {
			c.Actions = []Term{t}
		}
	default:
		list, ok := n.List()
		if ok && len(list) == 0 {
			n.Report(NoActions, "the route asks for no action", "name at least one action")
		}
		for _, n := range list {
			if t, ok := textTerm(n); ok {
				c.Actions = append(c.Actions, t)
			}
		}
	}
	return c
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
	o, ok := n.Object("hosts", "methods", "path", "grpc", "headers", "query", "upgrade")
	if !ok {
		return m
	}
	m.Headers = parseMatchers(o, "headers")
	m.Query = parseMatchers(o, "query")
	if n, ok := o.Field("upgrade"); ok {
		m.Upgrade, _ = n.Enum("none", "websocket", "any")
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

// parseMatchers reads a map from names to matchers: a text that is the exact
// value, or a mapping with one of the kinds.
func parseMatchers(o yamldoc.Object, field string) []Matcher {
	n, ok := o.Field(field)
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	var out []Matcher
	for _, e := range entries {
		if m, ok := parseMatcher(e.Value); ok {
			m.Name = e.Key
			out = append(out, m)
		}
	}
	return out
}

func parseMatcher(n yamldoc.Node) (m Matcher, ok bool) {
	if !n.IsMapping() {
		m.Kind = "exact"
		m.Text, ok = n.Text()
		return m, ok
	}
	o, ok := n.Object("exact", "prefix", "suffix", "contains", "regex", "present")
	if !ok {
		return m, false
	}
	if m.Kind, n, ok = o.OneOf("exact", "prefix", "suffix", "contains", "regex", "present"); !ok {
		return m, false
	}
	if m.Kind != "present" {
		m.Text, ok = n.Text()
		return m, ok
	}
	present, ok := n.Bool()
	if !present {
		m.Kind = "absent"
	}
	m.Text.Pos = n.Pos()
	return m, ok
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

// parseResource reads a resource; what it does not say is that of base.
func parseResource(n yamldoc.Node, base Resource, what about) Resource {
	r := base
	r.Pos = n.Pos()
	o, ok := n.Object("kind", "id", "policyVersion", "scope", "attributes")
	if !ok {
		return r
	}
	if t := optionalTerm(o, "kind"); t != nil {
		r.Kind = *t
	} else if !base.Kind.Pos.IsValid() {
		o.Required("kind")
	}
	if what == aboutAll {
		if id, ok := o.Given("id"); ok {
			id.Report(BadPlan, "resource.id can't stand beside plan: true, which is about all resources of the kind", "remove it, or remove plan to check this one")
		}
	} else if n, ok := o.Required("id"); ok {
		r.ID, _ = textTerm(n)
	}
	if t := optionalTerm(o, "policyVersion"); t != nil {
		r.PolicyVersion = t
	}
	if t := optionalTerm(o, "scope"); t != nil {
		r.Scope = t
	}
	r.Attributes = attributes(o)
	for _, a := range base.Attributes {
		if !slices.ContainsFunc(r.Attributes, func(own Attribute) bool { return own.Name.Value == a.Name.Value }) {
			r.Attributes = append(r.Attributes, a)
		}
	}
	return r
}

func attributes(o yamldoc.Object) []Attribute { return namedTerms(o, "attributes") }

func namedTerms(o yamldoc.Object, field string) []Attribute {
	n, ok := o.Field(field)
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

// names reads a list of names that may be empty; nil if it is not there.
func names(o yamldoc.Object, field string) *Names {
	n, ok := o.Field(field)
	if !ok {
		return nil
	}
	t, _ := n.Texts()
	return &Names{Pos: n.Pos(), Names: t}
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
