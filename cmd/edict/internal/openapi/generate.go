package openapi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
	"edict/engine/yamldoc"
	"edict/extauthz/routemap"
	"edict/extauthz/routing"
)

// The diagnostics that reading an OpenAPI document can give, beside those of
// yamldoc.
const (
	// BadVersion is for a document that is not of OpenAPI 3.
	BadVersion diag.Code = "openapi-version"

	// BadServers is for servers whose addresses have different paths.
	BadServers diag.Code = "openapi-servers"

	// BadReference is for a reference that leads nowhere in the document.
	BadReference diag.Code = "openapi-reference"

	// BadPath is for a path that can't be a template of a route.
	BadPath diag.Code = "openapi-path"

	// Unmapped is for an operation of which nobody says what it is about.
	Unmapped diag.Code = "openapi-unmapped"

	// BadName is for two operations whose routes would have one name.
	BadName diag.Code = "openapi-name"

	// BadRoute is for an x-edict that makes no sound route.
	BadRoute diag.Code = "openapi-route"
)

// Extension is the name under which a document speaks to Edict.
const Extension = "x-edict"

// Options says what a document need not say itself.
type Options struct {
	Name   string   // of the route map; empty: x-edict.name at the top, or the title
	Hosts  []string // of the route map; empty: x-edict.hosts at the top
	Schema string   // of the first line, for editors; empty: there is none
	Prefix *string  // what stands before every path; nil: the path of the document's servers
}

// A RouteMap is what a document gives.
type RouteMap struct {
	Name    string
	Content []byte // YAML
	Routes  []Route
	Left    int // operations that are left out by word
}

// A Route is a route of a RouteMap.
type Route struct {
	Name   string
	Method string
	Path   string        // as the document has it
	Pos    diag.Position // of the operation

	line int // of Content, where it begins
}

// Generate makes a route map of an OpenAPI document in JSON or YAML. It is of
// use only if the list is empty.
func Generate(file string, content []byte, o Options) (*RouteMap, diag.List) {
	doc := yamldoc.Parse(file, content)
	root, ok := doc.Root()
	if !ok {
		if list := doc.Diagnostics(); len(list) > 0 {
			return nil, list
		}
		return nil, diag.List{{Pos: diag.Position{File: file}, Code: BadVersion, Message: "the document is empty", Hint: "give an OpenAPI document, in JSON or YAML"}}
	}
	g := &generator{doc: doc, root: root, options: o, out: new(RouteMap), named: map[string]diag.Position{}}
	g.run()
	if list := doc.Diagnostics(); len(list) > 0 {
		return nil, list
	}
	return g.out, nil
}

type generator struct {
	doc     *yamldoc.Document
	root    yamldoc.Node
	options Options
	prefix  string
	kind    bool // the route map has a default kind
	out     *RouteMap
	named   map[string]diag.Position
	routes  []*yaml.Node
}

func (g *generator) run() {
	if !g.root.IsMapping() {
		g.root.Expected("an OpenAPI document", "")
		return
	}
	if v := text(g.root, "openapi"); !strings.HasPrefix(v, "3.") {
		at := g.root
		if n, ok := field(g.root, "openapi"); ok {
			at = n
		}
		at.Report(BadVersion, "this is not an OpenAPI document of version 3", "convert a Swagger 2 document first; the file begins with openapi: 3.1.0 or the like")
		return
	}
	g.prefix = g.base()
	head := g.head()
	if paths, ok := field(g.root, "paths"); ok {
		items, _ := paths.Entries()
		for _, item := range items {
			g.path(item)
		}
	}
	if len(g.doc.Diagnostics()) > 0 {
		return
	}
	head = append(head, str("routes"), &yaml.Node{Kind: yaml.SequenceNode, Content: g.routes})
	g.write(head)
}

// base gives what stands before every path: that of the servers, which must
// agree, since a route has one path.
func (g *generator) base() string {
	if g.options.Prefix != nil {
		return strings.TrimSuffix(*g.options.Prefix, "/")
	}
	servers, ok := field(g.root, "servers")
	if !ok {
		return ""
	}
	list, _ := servers.List()
	base := ""
	for i, s := range list {
		u, err := url.Parse(text(s, "url"))
		if err != nil || strings.ContainsAny(text(s, "url"), "{}") {
			s.Report(BadServers, "the address of a server can't be read", "say what stands before every path by --prefix")
			return ""
		}
		p := strings.TrimSuffix(u.EscapedPath(), "/")
		if i > 0 && p != base {
			s.Report(BadServers, fmt.Sprintf("the paths of this server begin with %q, those of the first with %q", p+"/", base+"/"),
				"say by --prefix what the path begins with where Envoy sees it")
			return ""
		}
		base = p
	}
	return base
}

// head gives the fields of the route map that stand before its routes.
func (g *generator) head() []*yaml.Node {
	var out []*yaml.Node
	extension, given := field(g.root, Extension)
	var entries []yamldoc.Entry
	if given {
		entries, _ = extension.Entries()
	}
	g.out.Name = g.options.Name
	if g.out.Name == "" && given {
		g.out.Name = text(extension, "name")
	}
	if g.out.Name == "" {
		if info, ok := field(g.root, "info"); ok {
			g.out.Name = plain(text(info, "title"))
		}
	}
	if g.out.Name == "" {
		g.out.Name = "api"
	}
	out = append(out, str("name"), str(g.out.Name))
	if len(g.options.Hosts) > 0 {
		out = append(out, str("hosts"), strs(g.options.Hosts...))
	}
	for _, e := range entries {
		switch name := e.Key.Value; {
		case name == "name", name == "hosts" && len(g.options.Hosts) > 0:
		case name == "routes":
			e.Value.Report(BadRoute, "the routes of a document are its operations", "write routes by hand into a route map of their own")
		default:
			out = append(out, str(name), g.node(e.Value))
		}
	}
	if defaults, ok := field(extension, "defaults"); given && ok {
		if r, ok := field(defaults, "resource"); ok {
			_, g.kind = field(r, "kind")
		}
	}
	return out
}

// The operations of a path item (OpenAPI 3.2 §4.9).
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}

// path makes the routes of a path item.
func (g *generator) path(item yamldoc.Entry) {
	if strings.HasPrefix(item.Key.Value, "x-") {
		return
	}
	n, ok := g.resolve(item.Value)
	if !ok || n.IsNull() {
		return
	}
	entries, _ := n.Entries()
	x, _ := field(n, Extension)
	shared := fieldsOf(x)
	if plan, ok := shared.get("plan"); ok {
		// What changes something must be checked.
		plan.Report(BadRoute, "plan is said of an operation, and not of all that a path has", "move it to the x-edict of the operation that lists")
		shared = shared.without("plan")
	}
	for _, e := range entries {
		switch {
		case slices.Contains(methods, e.Key.Value):
			g.operation(item.Key, strings.ToUpper(e.Key.Value), e, shared)
		case e.Key.Value == "additionalOperations":
			more, _ := e.Value.Entries()
			for _, m := range more {
				g.operation(item.Key, m.Key.Value, m, shared)
			}
		}
	}
}

// resolve follows the reference of a path item.
func (g *generator) resolve(n yamldoc.Node) (yamldoc.Node, bool) {
	for range 16 {
		ref, ok := field(n, "$ref")
		if !ok {
			return n, true
		}
		pointer, ok := strings.CutPrefix(text(n, "$ref"), "#/")
		at := g.root
		for _, step := range strings.Split(pointer, "/") {
			name := strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
			if ok {
				at, ok = field(at, name)
			}
		}
		if !ok {
			ref.Report(BadReference, fmt.Sprintf("the reference %q leads nowhere in this document", text(n, "$ref")), "bundle the document into one file; nothing is fetched")
			return n, false
		}
		n = at
	}
	n.Report(BadReference, "the references of a path lead in a circle", "")
	return n, false
}

// operation makes the route of an operation.
func (g *generator) operation(path diag.Text, method string, e yamldoc.Entry, shared fields) {
	own, _ := field(e.Value, Extension)
	x := merge(shared, fieldsOf(own))
	if exposed, ok := x.bool("exposed"); ok && !exposed {
		g.out.Left++
		return
	}
	template, variables, ok := g.template(path, x)
	if !ok {
		return
	}
	name := x.text("name")
	if name == "" {
		name = operationName(text(e.Value, "operationId"), path.Value, method)
	}
	if first, taken := g.named[name]; taken {
		g.doc.ReportRelated(e.Key.Pos, BadName, fmt.Sprintf("the name of this route would be %q, which another has", name),
			"give one of them a name of its own in x-edict", diag.Related{Pos: first, Message: "the other operation"})
		return
	}
	g.named[name] = e.Key.Pos

	route := &yaml.Node{Kind: yaml.MappingNode}
	add := func(key string, v *yaml.Node) { route.Content = append(route.Content, str(key), v) }
	add("name", str(name))
	if d := cmp.Or(x.text("description"), text(e.Value, "summary")); d != "" {
		add("description", str(d))
	}
	match := mapping(str("methods"), flow(strs(method)), str("path"), str(template))
	if m, ok := x.get("match"); ok {
		entries, _ := m.Entries()
		for _, e := range entries {
			if e.Key.Value != "path" {
				match.Content = append(match.Content, str(e.Key.Value), g.node(e.Value))
			}
		}
	}
	add("match", match)
	public, _ := x.bool("public")
	_, several := x.get("checks")
	mapped := !public && !several
	for _, f := range x {
		switch f.Key.Value {
		case "name", "description", "match", "exposed":
		case "resource", "action", "actions":
			if !mapped {
				add(f.Key.Value, g.node(f.Value)) // a mistake, which the route map's reader tells
			}
		default:
			add(f.Key.Value, g.node(f.Value))
		}
	}
	if mapped {
		g.mapped(e, x, shared, method, path.Value, variables, add)
	}
	for i := 1; i < len(route.Content); i += 2 {
		compact(route.Content[i])
	}
	g.routes = append(g.routes, route)
	g.out.Routes = append(g.out.Routes, Route{Name: name, Method: method, Path: path.Value, Pos: e.Key.Pos})
}

// template gives the path template of an operation, and its variables. A
// template that x-edict gives must be that of the document but for what the
// document can't say: that a variable takes several segments.
func (g *generator) template(path diag.Text, x fields) (string, []string, bool) {
	// A star is itself in OpenAPI, and a wildcard in a template.
	literal := strings.ReplaceAll(path.Value, "*", "%2A")
	template := g.prefix + variable.ReplaceAllStringFunc(literal, func(v string) string {
		return "{" + identifier(v[1:len(v)-1]) + "}"
	})
	if m, ok := x.get("match"); ok {
		if own, ok := field(m, "path"); ok {
			given := text(m, "path")
			if severalSegments.ReplaceAllString(given, "{$1}") != template {
				own.Report(BadPath, fmt.Sprintf("the path of this route is not %q, which the document says", template),
					"of the path x-edict may say only that a variable takes several segments, as in {rest=**}")
				return "", nil, false
			}
			template = given
		}
	}
	t, err := routing.ParseTemplate(template)
	if err != nil {
		g.doc.Report(path.Pos, BadPath, fmt.Sprintf("the path %q can't be the template of a route: %v", template, err), "")
		return "", nil, false
	}
	return template, t.Variables(), true
}

var (
	variable        = regexp.MustCompile(`\{[^{}/]*\}`)
	severalSegments = regexp.MustCompile(`\{([A-Za-z][A-Za-z0-9_]*)=\*\*\}`)
	unusual         = regexp.MustCompile(`[^A-Za-z0-9_]`)
)

// identifier gives the name of a path parameter as a template can have it.
func identifier(s string) string {
	s = unusual.ReplaceAllString(s, "_")
	if s == "" || s[0] < 'A' || s[0] > 'Z' && s[0] < 'a' || s[0] > 'z' {
		return "p" + s
	}
	return s
}

// mapped adds resource and action: what x-edict says, and defaults for the
// rest, by method and path.
func (g *generator) mapped(e yamldoc.Entry, x, shared fields, method, path string, variables []string, add func(string, *yaml.Node)) {
	verb, item := shape(path)
	resource := &yaml.Node{Kind: yaml.MappingNode}
	given := overlay(shared.below("resource"), x.below("resource"))
	put := func(name string, otherwise *yaml.Node) {
		if n, ok := given.get(name); ok {
			resource.Content = append(resource.Content, str(name), g.node(n))
		} else if otherwise != nil {
			resource.Content = append(resource.Content, str(name), otherwise)
		}
	}
	if _, ok := given.get("kind"); !ok && !g.kind {
		g.doc.Report(e.Key.Pos, Unmapped, fmt.Sprintf("nothing says what %s %s is about", method, path),
			"give it x-edict with resource: {kind: …}, or public: true, or exposed: false; at the path or at the top it counts for all operations below")
		return
	}
	plan, _ := x.bool("plan")
	id := str("all")
	switch {
	case plan: // of all that there are
		id, item = nil, false
	case len(variables) > 0 && item:
		id = expression("path." + variables[len(variables)-1])
	case method == "POST":
		id = str("new")
	}
	put("kind", nil)
	put("id", id)
	attributes := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range overlay(shared.below("resource").below("attributes"), x.below("resource").below("attributes")) {
		attributes.Content = append(attributes.Content, str(f.Key.Value), g.node(f.Value))
	}
	if _, ok := given.get("attributes"); !ok {
		for i, v := range variables {
			if !item || i < len(variables)-1 { // the last is the id
				attributes.Content = append(attributes.Content, str(v), expression("path."+v))
			}
		}
	}
	for _, f := range given {
		if name := f.Key.Value; name != "kind" && name != "id" && name != "attributes" {
			put(name, nil)
		}
	}
	if len(attributes.Content) > 0 {
		resource.Content = append(resource.Content, str("attributes"), attributes)
	}
	add("resource", resource)
	if actions, ok := x.get("actions"); ok {
		add("actions", g.node(actions))
		return
	}
	if action, ok := x.get("action"); ok {
		add("action", g.node(action))
		return
	}
	action, ok := defaultAction(method, verb, item)
	if plan {
		action, ok = defaultAction(method, "", false)
		ok = ok && action == "list"
	}
	if !ok {
		g.doc.Report(e.Key.Pos, Unmapped, fmt.Sprintf("there is no usual action for %s %s", method, path), "give it x-edict with action: …")
		return
	}
	add("action", str(action))
}

// shape tells what the end of a path says: whether it is about one thing, and
// the word behind that, as approve in /expenses/{id}/approve.
func shape(path string) (verb string, item bool) {
	segments := strings.Split(strings.Trim(path, "/"), "/")
	last := len(segments) - 1
	switch {
	case strings.Contains(segments[last], "{"):
		return "", true
	case last > 0 && strings.Contains(segments[last-1], "{"):
		return segments[last], true
	}
	return "", false
}

// defaultAction gives the action of an operation that names none.
func defaultAction(method, verb string, item bool) (string, bool) {
	switch {
	case verb != "" && method == "POST" && routeName(verb):
		return verb, true
	case method == "GET" || method == "HEAD" || method == "QUERY":
		if item && verb == "" {
			return "read", true
		}
		return "list", true
	case method == "POST" && !item:
		return "create", true
	case method == "PUT" || method == "PATCH":
		return "update", true
	case method == "DELETE":
		return "delete", true
	}
	return "", false
}

func routeName(s string) bool { return plain(s) == s }

// operationName gives the name of a route: the operationId, without what
// FastAPI adds to the name of the function, or else method and path.
func operationName(id, path, method string) string {
	if generated := unusual.ReplaceAllString(path, "_") + "_" + strings.ToLower(method); strings.HasSuffix(id, generated) && id != generated {
		id = strings.ReplaceAll(strings.TrimSuffix(id, generated), "_", "-")
	}
	if name := plain(id); name != "" {
		return name
	}
	return plain(strings.ToLower(method) + "-" + strings.ReplaceAll(strings.Trim(path, "/"), "/", "-"))
}

// plain gives the name that a text makes: letters, digits and _ . - alone,
// with a letter at its beginning.
func plain(s string) string {
	s = strings.Trim(regexp.MustCompile(`[^A-Za-z0-9_.]+`).ReplaceAllString(s, "-"), "-_.")
	if s != "" && (s[0] >= '0' && s[0] <= '9') {
		return "n" + s
	}
	return s
}

// write encodes the route map, and reads it again as any other: what is wrong
// with it is told at the operation that it came from.
func (g *generator) write(head []*yaml.Node) {
	root := mapping(str("apiVersion"), str(routemap.APIVersion), str("routeMap"), mapping(head...))
	var b bytes.Buffer
	if g.options.Schema != "" {
		fmt.Fprintf(&b, "# yaml-language-server: $schema=%s\n", g.options.Schema)
	}
	b.WriteString("# Made by `edict routes from-openapi`. Change the document instead, and make it anew;\n" +
		"# `edict routes check --openapi` tells if the two differ.\n")
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(root), encoder.Close()); err != nil {
		g.root.Report(BadRoute, fmt.Sprintf("the route map can't be written: %v", err), "")
		return
	}
	g.out.Content = b.Bytes()
	var written yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &written); err != nil {
		g.root.Report(BadRoute, fmt.Sprintf("the route map can't be read again: %v", err), "")
		return
	}
	body := written.Content[0].Content[3].Content
	for i, n := range body[len(body)-1].Content {
		g.out.Routes[i].line = n.Line
	}
	_, list := routemap.Parse("routes", b.Bytes())
	for _, d := range list {
		message := "the route that this makes is not sound: " + d.Message
		if pos := g.out.operationAt(d.Pos.Line); pos.IsValid() {
			g.doc.Report(pos, BadRoute, message, d.Hint)
			continue
		}
		at := g.root
		if n, ok := field(g.root, Extension); ok {
			at = n
		}
		at.Report(BadRoute, "the route map that this makes is not sound: "+d.Message, d.Hint)
	}
}

// operationAt gives the place of the operation whose route is at a line of
// Content.
func (m *RouteMap) operationAt(line int) (pos diag.Position) {
	for _, r := range m.Routes {
		if r.line > line {
			break
		}
		pos = r.Pos
	}
	return pos
}

// node gives a part of the document as a part of the route map.
func (g *generator) node(n yamldoc.Node) *yaml.Node {
	switch n.Kind() {
	case yamldoc.Sequence:
		out := &yaml.Node{Kind: yaml.SequenceNode}
		list, _ := n.List()
		for _, e := range list {
			out.Content = append(out.Content, g.node(e))
		}
		if !slices.ContainsFunc(out.Content, func(n *yaml.Node) bool { return n.Kind != yaml.ScalarNode }) {
			out.Style = yaml.FlowStyle
		}
		return out
	case yamldoc.Mapping:
		out := &yaml.Node{Kind: yaml.MappingNode}
		entries, _ := n.Entries()
		for _, e := range entries {
			out.Content = append(out.Content, str(e.Key.Value), g.node(e.Value))
		}
		if len(entries) == 1 && entries[0].Key.Value == "expr" {
			out.Style = yaml.FlowStyle
		}
		return out
	}
	v, ok := n.Value()
	if !ok {
		return str("")
	}
	out := new(yaml.Node)
	if err := out.Encode(v.Native()); err != nil {
		n.Report(BadRoute, fmt.Sprintf("this can't be written into a route map: %v", err), "")
	}
	return out
}
