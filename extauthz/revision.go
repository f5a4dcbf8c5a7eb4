package extauthz

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/schema"
	"edict/engine/value"
	"edict/extauthz/routemap"
	"edict/extauthz/routing"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// The diagnostics that compiling route maps can give.
const (
	// CodeRouteTemplate is for a path template, or a gRPC method, that can't
	// be parsed.
	CodeRouteTemplate diag.Code = "route-template"

	// CodeRouteHost is for a host that is neither a name nor a wildcard.
	CodeRouteHost diag.Code = "route-host"

	// CodeRouteMatcher is for a condition on a header or a parameter that can't
	// be compared with.
	CodeRouteMatcher diag.Code = "route-matcher"

	// CodeRouteConflict is for two routes that match one request with nothing
	// to choose between them.
	CodeRouteConflict diag.Code = "route-conflict"

	// CodeRouteExpression is for an expression that does not compile.
	CodeRouteExpression diag.Code = "route-expression"

	// CodeRouteCapture is for path.name with a name that the template does
	// not capture.
	CodeRouteCapture diag.Code = "route-capture"

	// CodeRouteAttribute is for an attribute that would be the request, a peer
	// or the principal as a whole.
	CodeRouteAttribute diag.Code = "route-attribute"

	// CodeRouteKind is for a constant resource kind that no policy is for: the
	// route would deny every request.
	CodeRouteKind diag.Code = "route-kind"

	// CodeRouteAction warns of a constant action on a constant kind that no rule
	// could allow: the route denies every request that asks for it.
	CodeRouteAction diag.Code = "route-action"

	// CodeRouteItem is for an expression that reads item where there is none.
	CodeRouteItem diag.Code = "route-item"

	// CodeNoPolicies is for a folder without policies. It is more often a
	// folder that was not mounted than a wish to deny everything.
	CodeNoPolicies diag.Code = "no-policies"

	// CodeRouteName is for two route maps of one name.
	CodeRouteName diag.Code = "route-map-name"
)

// A Revision is policies and routes that were loaded together, compiled and
// frozen, with every answer that can be prepared.
type Revision struct {
	id       string
	policies *engine.PolicySet
	table    *routing.Table
	routes   []route        // those of connections last
	byName   map[string]int // index of routes

	connections *connectionTable // nil: there are none

	env      *expr.Env
	options  Options
	sources  []identitySource
	marks    map[string][]mark // of attributes that policies trust, by kind
	readings []target.Accept   // of paths that are refused otherwise
	reads    []evaluation

	answers         *answers
	deny            *onDeny // of requests that no route matches; nil: in the plain way
	metadata        metadataNames
	allows          []wire.Prepared // per route and identity source; see prepared
	identityHeaders []string
	strippedQueries []string // parameters with tokens that are for Edict alone
}

// ID names the revision: a digest of what it was made from.
func (r *Revision) ID() string { return r.id }

// Policies is the number of policies that decide.
func (r *Revision) Policies() int { return r.policies.Len() }

// Routes is the number of routes.
func (r *Revision) Routes() int { return len(r.routes) }

// Public is the number of routes that pass whoever asks.
func (r *Revision) Public() int {
	n := 0
	for i := range r.routes {
		if r.routes[i].public {
			n++
		}
	}
	return n
}

// A route is a routemap.Route, compiled.
type route struct {
	name      string // route map and route
	public    bool
	plan      bool // there is one check, which has no id
	anonymous bool
	grpc      bool
	accept    target.Accept
	body      bodyRules
	identity  []int // sources in the order in which they are asked, indexes of Revision.sources
	either    bool  // these take API keys, and tokens, too

	principalVersion, principalScope term
	principalAttrs                   []attribute
	checks                           []routeCheck // none of a public route
	filled                           []filled     // attributes, for whoever explains

	responses
}

// A routeCheck is a routemap.Check, compiled.
type routeCheck struct {
	forEach         *term // nil: one question
	kind, id        term
	version, scope  term
	attrs           []attribute
	actions         []term
	constantActions []string // if all are constant
}

// A term is a routemap.Term, compiled. The zero term is the empty text.
type term struct {
	program  *expr.Program // nil: constant
	constant value.Value
}

type attribute struct {
	name   string
	term   term
	pos    diag.Position
	origin origin
}

// A Compiler turns policies and route maps into Revisions.
type Compiler struct {
	policies *engine.Compiler
	version  string // of the policies for a resource that names none
	env      *expr.Env
	options  Options
	sources  []identitySource
	metadata metadataNames
}

// NewCompiler prepares a Compiler. The error names the option that is wrong.
func NewCompiler(policies engine.Options, options Options) (*Compiler, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	env, err := newEnv()
	if err != nil {
		return nil, fmt.Errorf("preparing the CEL environment of routes: %w", err)
	}
	c, err := engine.NewCompiler(policies)
	if err != nil {
		return nil, err
	}
	names, err := options.Respond.metadataNames()
	if err != nil {
		return nil, err
	}
	sources, err := options.compileSources()
	if err != nil {
		return nil, err
	}
	out := &Compiler{policies: c, version: cmp.Or(policies.DefaultPolicyVersion, "default"), env: env, options: options, sources: sources, metadata: names}
	if list := out.check(); len(list) > 0 {
		return nil, list
	}
	return out, nil
}

// Compile compiles policies and route maps to a Revision called id, or gives
// everything that is wrong with them: exactly one of the results is nil. The
// schemas are those that policies refer to; nil leaves references unchecked.
func (c *Compiler) Compile(id string, policies []*policy.Policy, schemas *schema.Set, files []*routemap.File) (*Revision, diag.List) {
	set, list := c.policies.Compile(policies, schemas)
	run := &compilation{Compiler: c, set: set, diagnostics: list}
	if set != nil {
		run.kinds = set.Kinds()
	}
	run.marks = marks(policies)
	run.compile(files)
	if len(policies) == 0 && len(list) == 0 {
		run.diagnostics = append(run.diagnostics, diag.Diagnostic{Code: CodeNoPolicies,
			Message: "there are no policies", Hint: "is the policy folder the right one, and is it mounted?"})
	}
	if len(run.diagnostics) > 0 {
		// What is wrong with the defaults of a file is so for each of its routes.
		return nil, slices.CompactFunc(run.diagnostics.Sorted(), func(a, b diag.Diagnostic) bool {
			return a.Pos == b.Pos && a.Code == b.Code && a.Message == b.Message
		})
	}
	r := &Revision{
		id: id, policies: set, table: run.table, routes: run.routes, connections: run.forConnections, reads: run.reads,
		env: c.env, options: c.options, sources: c.sources, marks: run.marks,
		metadata: c.metadata, answers: prepareAnswers(id, &c.options, &c.metadata),
	}
	r.byName = make(map[string]int, len(r.routes))
	for i := range r.routes {
		r.byName[r.routes[i].name] = i
	}
	r.readings = readings(r.routes)
	r.identityHeaders = c.identityHeaders()
	r.strippedQueries = c.strippedQueries()
	r.deny = run.base.deny
	r.prepareAllows()
	r.prepareDenials()
	return r, nil
}

type compilation struct {
	*Compiler
	set         *engine.PolicySet // nil if the policies don't compile
	kinds       []string          // that there is a policy for, sorted
	marks       map[string][]mark // of attributes that policies trust
	diagnostics diag.List

	base     responses // of the configuration
	table    *routing.Table
	routes   []route
	reads    []evaluation
	patterns []routing.Pattern

	forConnections *connectionTable

	places []place // per pattern
}

// A place is where a pattern was written.
type place struct {
	file  *routemap.File
	match *routemap.Match
}

func (c *compilation) report(f *routemap.File, pos diag.Position, code diag.Code, message, hint string, related ...diag.Related) {
	c.diagnostics = append(c.diagnostics, diag.Diagnostic{
		Pos: pos, Code: code, Message: message, Hint: hint, Source: f.Line(pos.Line), Related: related,
	})
}

func (c *compilation) compile(files []*routemap.File) {
	named := map[string]diag.Position{}
	c.base = c.ofConfiguration()
	for _, f := range files {
		if first, dup := named[f.Name.Value]; dup {
			c.report(f, f.Name.Pos, CodeRouteName, fmt.Sprintf("the route map %q is there twice", f.Name.Value),
				"give every route map a name of its own", diag.Related{Pos: first, Message: "first used here"})
		}
		named[f.Name.Value] = f.Name.Pos
		base := terms{compilation: c, file: f}.responses(f.OnAllow, f.OnDeny, c.base)
		for i := range f.Routes {
			c.route(f, &f.Routes[i], base)
		}
	}
	table, conflicts := routing.New(c.patterns)
	for _, k := range conflicts {
		s := c.places[k.Second]
		var related []diag.Related
		if k.First != k.Second {
			related = []diag.Related{{Pos: matchPos(c.places[k.First].match), Message: "the other route"}}
		}
		c.report(s.file, matchPos(s.match), CodeRouteConflict, k.Message, k.Hint, related...)
	}
	c.table = table
	c.forConnections = c.connections(files)
}

func matchPos(m *routemap.Match) diag.Position {
	if m.Path.Pos.IsValid() {
		return m.Path.Pos
	}
	return m.Pos
}

func (c *compilation) route(f *routemap.File, r *routemap.Route, base responses) {
	template, ok := c.template(f, &r.Match)
	if ok && c.options.IgnoreCase {
		if template, ok = template.Fold(); !ok {
			c.report(f, matchPos(&r.Match), CodeRouteTemplate, "the template has a letter that can't be compared without regard to case", "write it so that upper and lower case have the same length in UTF-8")
		}
	}
	hosts := r.Match.Hosts
	if len(hosts) == 0 {
		hosts = f.Hosts
	}
	pattern := routing.Pattern{ID: len(c.routes), Name: f.Name.Value + "/" + r.Name.Value, Path: template}
	for _, h := range hosts {
		if err := routing.CheckHost(h.Value); err != nil {
			c.report(f, h.Pos, CodeRouteHost, err.Error(), "write a name, *.suffix or *")
			ok = false
		}
		pattern.Hosts = append(pattern.Hosts, h.Value)
	}
	for _, m := range r.Match.Methods {
		pattern.Methods = append(pattern.Methods, m.Value)
	}
	if r.Match.GRPC != nil {
		pattern.Methods = []string{"POST"}
	}
	pattern.Upgrade = upgrades[r.Match.Upgrade]
	matchers := func(from []routemap.Matcher, header bool) (out []routing.Matcher) {
		for i := range from {
			m := routing.Matcher{Name: from[i].Name.Value, Kind: matcherKinds[from[i].Kind], Text: from[i].Text.Value}
			if err := m.Check(header); err != nil {
				c.report(f, from[i].Name.Pos, CodeRouteMatcher, err.Error(), "")
				ok = false
			}
			out = append(out, m)
		}
		return out
	}
	pattern.Headers, pattern.Query = matchers(r.Match.Headers, true), matchers(r.Match.Query, false)
	matchable := ok && len(pattern.Headers)+len(pattern.Query) <= routing.MaxMatchers
	if ok && !matchable {
		c.report(f, r.Match.Pos, CodeRouteMatcher, fmt.Sprintf("the route names %d headers and parameters", len(pattern.Headers)+len(pattern.Query)),
			fmt.Sprintf("name at most %d; conditions of policies can read them, too", routing.MaxMatchers))
	}
	if matchable {
		c.patterns = append(c.patterns, pattern)
		c.places = append(c.places, place{f, &r.Match})
	}
	captures := template.Variables()
	if !ok {
		captures = nil
	}
	t := terms{compilation: c, file: f, route: r, captures: captures, known: ok, origins: origins{Compiler: c.Compiler}}
	out := route{
		name:             pattern.Name,
		public:           r.Public,
		plan:             r.Plan,
		anonymous:        r.Anonymous,
		identity:         c.identity(f, r),
		grpc:             r.Match.GRPC != nil,
		accept:           c.accept(f, r),
		body:             c.bodyRules(f, r),
		principalVersion: t.term(firstOf(r.Principal.PolicyVersion, f.Principal.PolicyVersion), noItem),
		principalScope:   t.term(firstOf(r.Principal.Scope, f.Principal.Scope), noItem),
		principalAttrs:   t.attributes(r.Principal.Attributes, noItem),
	}
	for _, a := range t.attributes(f.Principal.Attributes, noItem) {
		if !slices.ContainsFunc(out.principalAttrs, func(own attribute) bool { return own.name == a.name }) {
			out.principalAttrs = append(out.principalAttrs, a)
		}
	}
	out.either = c.takesEither(out.identity)
	t.origins.principal = out.principalAttrs
	for i := range r.Checks {
		out.checks = append(out.checks, t.check(&r.Checks[i]))
		c.checkTrusted(f, &out, &r.Checks[i], &out.checks[i])
	}
	out.responses = t.responses(r.OnAllow, r.OnDeny, base)
	t.checkAllow(r, out.allow)
	out.allow = out.allow.prepare()
	out.filled = out.fill()
	c.routes = append(c.routes, out)
}

// upgrades and matcherKinds are the words of route maps for those of routing.
var (
	upgrades = map[string]routing.Upgrade{
		"": routing.NoUpgrade, "none": routing.NoUpgrade, "websocket": routing.WebSocket, "any": routing.AnyUpgrade,
	}
	matcherKinds = map[string]routing.MatcherKind{
		"exact": routing.Exact, "prefix": routing.Prefix, "suffix": routing.Suffix, "contains": routing.Contains,
		"regex": routing.Regex, "present": routing.Present, "absent": routing.Absent,
	}
)

// terms compiles the terms of a route.
type terms struct {
	*compilation
	file     *routemap.File
	route    *routemap.Route
	captures []string // of the path
	known    bool     // what the path captures
	origins  origins

	connection bool // there is no request
	responding bool // the terms are of onAllow or onDeny, and know the decision
}

// noItem is for terms that can't read the item of forEach.
const noItem = false

func (t terms) check(c *routemap.Check) routeCheck {
	item := c.ForEach != nil
	var each *term
	if item {
		list := t.term(c.ForEach, noItem)
		from := t.origins.of(&list)
		each, t.origins.item = &list, &from
	}
	id := &c.Resource.ID
	if t.route != nil && t.route.Plan {
		id = nil
	}
	out := routeCheck{
		forEach: each,
		kind:    t.term(&c.Resource.Kind, item),
		id:      t.term(id, item),
		version: t.term(c.Resource.PolicyVersion, item),
		scope:   t.term(c.Resource.Scope, item),
		attrs:   t.attributes(c.Resource.Attributes, item),
	}
	for i := range c.Actions {
		out.actions = append(out.actions, t.term(&c.Actions[i], item))
	}
	if !slices.ContainsFunc(out.actions, func(t term) bool { return t.program != nil }) {
		for _, a := range out.actions {
			out.constantActions = append(out.constantActions, a.constant.Str())
		}
	}
	t.checkKind(t.file, &c.Resource.Kind)
	return out
}

func (t terms) attributes(list []routemap.Attribute, item bool) []attribute {
	var out []attribute
	for i := range list {
		a := attribute{name: list[i].Name.Value, term: t.term(&list[i].Term, item), pos: list[i].Term.Pos}
		a.origin = t.origins.of(&a.term)
		if p := a.term.program; p != nil && t.env.IsStruct(p.ResultType()) {
			t.report(t.file, list[i].Term.Expr.Pos, CodeRouteAttribute,
				fmt.Sprintf("the attribute %s would be a whole %s, which no condition can read", a.name, p.ResultType().TypeName()),
				"name the field that is meant, as in request.source.address")
		}
		out = append(out, a)
	}
	return out
}

// checkKind reports a constant kind that no policy is for.
func (c *compilation) checkKind(f *routemap.File, kind *routemap.Term) {
	if c.set == nil || kind.IsExpr {
		return
	}
	name := kind.Constant.Str()
	if _, found := slices.BinarySearch(c.kinds, policy.Sanitize(name)); !found {
		c.report(f, kind.Pos, CodeRouteKind, fmt.Sprintf("no policy is for the resource kind %q, so the route would deny everything", name),
			orDefault(diag.DidYouMean(name, c.kinds), "add a resource policy for it"))
	}
}

func firstOf(a, b *routemap.Term) *routemap.Term {
	if a != nil {
		return a
	}
	return b
}

func (c *compilation) template(f *routemap.File, m *routemap.Match) (routing.Template, bool) {
	if m.GRPC != nil {
		t, err := routing.GRPC(m.GRPC.Service.Value, m.GRPC.Method.Value)
		if err != nil {
			c.templateError(f, diag.Text{Pos: m.GRPC.Pos}, err)
		}
		return t, err == nil
	}
	t, err := routing.ParseTemplate(m.Path.Value)
	if err != nil {
		c.templateError(f, m.Path, err)
	}
	return t, err == nil
}

func (c *compilation) templateError(f *routemap.File, at diag.Text, err error) {
	var te *routing.TemplateError
	if errors.As(err, &te) {
		c.report(f, at.At(1, te.Column), CodeRouteTemplate, te.Message, te.Hint)
		return
	}
	c.report(f, at.Pos, CodeRouteTemplate, err.Error(), "")
}

// term compiles a term; nil gives the empty text.
func (t terms) term(from *routemap.Term, item bool) term {
	switch {
	case from == nil:
		return term{constant: value.OfString("")}
	case !from.IsExpr:
		return term{constant: from.Constant}
	}
	program, issues := t.env.Compile(from.Expr.Value)
	for _, i := range issues {
		t.report(t.file, from.Expr.At(i.Line, i.Column), CodeRouteExpression, i.Message, i.Hint)
	}
	if program == nil {
		return term{}
	}
	for _, s := range program.Selections() {
		at := from.Expr.At(s.Line, s.Column)
		if t.connection {
			t.checkConnection(s, at)
		}
		switch {
		case s.Variable == itemVariable && !item:
			t.report(t.file, at, CodeRouteItem, "there is no item here", "items are read within a check that has forEach")
		case s.Variable == decisionVariable && !t.responding:
			t.report(t.file, at, CodeRouteExpression, "there is no decision yet", "the decision is read in onAllow and onDeny")
		case s.Variable == "request" && s.Field == "body" && t.route != nil:
			if message, hint := t.noBody(t.route); message != "" {
				t.report(t.file, at, CodeRouteBody, message, hint)
			}
		case s.Variable == "path" && s.Field != "" && t.known && !t.connection && !slices.Contains(t.captures, s.Field):
			// Of path as a whole nothing is known before there is a request.
			t.report(t.file, at, CodeRouteCapture, fmt.Sprintf("the path captures no %q", s.Field),
				orDefault(diag.DidYouMean(s.Field, t.captures), fmt.Sprintf("write {%s} in the path template", s.Field)))
		}
	}
	t.reads = append(t.reads, evaluation{route: len(t.routes), source: program.Source()})
	return term{program: program}
}

// sourceHeaders lists the headers that sources of identity read, each once.
func (r *Revision) sourceHeaders() []string {
	var out []string
	for i := range r.sources {
		out = append(out, r.sources[i].headers...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// strippedQueries lists the parameters that tokens are taken out of, each once.
func (c *Compiler) strippedQueries() (out []string) {
	for i := range c.sources {
		if c.sources[i].strip {
			out = append(out, c.sources[i].tokenQueries...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// identityHeaders lists the headers that speak of identity: those that are sent
// upstream and those that sources read. No header is both.
func (c *Compiler) identityHeaders() []string {
	var out []string
	for i := range c.sources {
		out = append(out, c.sources[i].headers...)
		out = append(out, c.sources[i].tokenHeaders...)
	}
	for _, h := range []string{c.options.PrincipalHeader, c.options.RolesHeader, c.options.DecisionHeader, c.options.Filter.Header} {
		if h != "" {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// removals lists the headers that a request loses whose identity came from a
// source, an index of sources or their number: those that only other sources
// would have read, and those with tokens that are for Edict alone. Of the headers that are sent upstream, one that has no value
// to send is removed when the answer is made.
func (r *Revision) removals(source int) []string {
	var used []string
	if source < len(r.sources) {
		used = r.sources[source].headers
	}
	out := slices.DeleteFunc(r.sourceHeaders(), func(h string) bool { return slices.Contains(used, h) })
	for i := range r.sources {
		if r.sources[i].strip {
			out = append(out, r.sources[i].tokenHeaders...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// prepareAllows encodes the parts of an allow that do not depend on the
// request.
func (r *Revision) prepareAllows() {
	remove := make([][]string, len(r.sources)+1)
	for source := range remove {
		remove[source] = r.removals(source)
	}
	for i := range r.routes {
		reason, filter := Allowed, []string{r.options.Filter.Header}
		switch {
		case r.routes[i].public:
			reason = Public
		case r.routes[i].plan:
			reason, filter = Planned, nil // the header is set
		}
		if r.options.Filter.Header == "" {
			filter = nil
		}
		for _, headers := range remove {
			var a wire.Allow
			if on := r.routes[i].allow; on != nil {
				a = on.constant
			}
			a.RemoveHeaders = slices.Concat(headers, filter, a.RemoveHeaders)
			a.Metadata = slices.Concat(r.metadata.text(r.metadata.prepared("allow", reason.String(), r.id), metaRoute, r.routes[i].name), a.Metadata)
			p, ok := wire.Prepare(&a)
			if !ok {
				panic("what was seen to be valid can't be sent") // and must not be left out
			}
			r.allows = append(r.allows, p)
		}
	}
}

// prepared gives the prepared part of an allow. The source is an index of
// sources, or their number if the request has no identity.
func (r *Revision) prepared(route, source int) wire.Prepared {
	return r.allows[route*(len(r.sources)+1)+source]
}
