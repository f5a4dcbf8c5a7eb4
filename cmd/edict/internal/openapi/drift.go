package openapi

import (
	"fmt"
	"reflect"
	"slices"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// The diagnostics of a route map that has drifted from its document.
const (
	// DriftMissing is for an operation that the route map has no route for.
	DriftMissing diag.Code = "openapi-drift-missing"

	// DriftExtra is for a route of which the document has no operation.
	DriftExtra diag.Code = "openapi-drift-extra"

	// DriftChanged is for a route that is not what the document says.
	DriftChanged diag.Code = "openapi-drift-changed"
)

// again is how every drift is mended.
const again = "make the route map anew: edict routes from-openapi"

// Drift tells where a route map, a file with its content, is not what the
// document gives. The document's place is where a missing operation is. The
// order of routes, and descriptions, do not count.
func Drift(want *RouteMap, document, file string, content []byte) diag.List {
	wanted, list := readRoutes(document, want.Content)
	if len(list) > 0 {
		return list
	}
	have, list := readRoutes(file, content)
	if len(list) > 0 {
		return list
	}
	var out diag.List
	report := func(pos diag.Position, code diag.Code, message string, related ...diag.Related) {
		source := ""
		if pos.File == file && pos.Line > 0 {
			source = have.lines[pos.Line-1]
		}
		out = append(out, diag.Diagnostic{Pos: pos, Code: code, Message: message, Hint: again, Source: source, Related: related})
	}
	if at := difference("", wanted.head, have.head); at != "" {
		report(have.pos, DriftChanged, fmt.Sprintf("%s of the route map %s is not what the document says", at, want.Name), diag.Related{Pos: diag.Position{File: document}, Message: "the document"})
	}
	for _, r := range want.Routes {
		h, ok := have.routes[r.Name]
		if !ok {
			report(r.Pos, DriftMissing, fmt.Sprintf("%s %s has no route %s in %s", r.Method, r.Path, r.Name, file), diag.Related{Pos: have.pos, Message: "the route map"})
			continue
		}
		if at := difference("", wanted.routes[r.Name].value, h.value); at != "" {
			report(h.pos, DriftChanged, fmt.Sprintf("%s of the route %s is not what the document says", at, r.Name), diag.Related{Pos: r.Pos, Message: "the operation"})
		}
	}
	for _, name := range have.order {
		if _, ok := wanted.routes[name]; !ok {
			report(have.routes[name].pos, DriftExtra, fmt.Sprintf("the document has no operation for the route %s", name), diag.Related{Pos: diag.Position{File: document}, Message: "the document"})
		}
	}
	return out
}

// routes are a route map as plain values.
type routes struct {
	pos    diag.Position
	lines  []string
	head   any // all but the routes
	routes map[string]placed
	order  []string
}

type placed struct {
	pos   diag.Position
	value any
}

// readRoutes reads a route map that is known to be sound.
func readRoutes(file string, content []byte) (*routes, diag.List) {
	doc := yamldoc.Parse(file, content)
	root, ok := doc.Root()
	if !ok {
		return nil, doc.Diagnostics()
	}
	out := &routes{pos: root.Pos(), lines: doc.Lines(), routes: map[string]placed{}}
	body, _ := field(root, "routeMap")
	head := map[string]any{}
	for _, f := range fieldsOf(body) {
		if f.Key.Value == "routes" {
			list, _ := f.Value.List()
			for _, n := range list {
				v, _ := n.Value()
				name := text(n, "name")
				out.routes[name] = placed{n.Pos(), withoutDescription(v.Native())}
				out.order = append(out.order, name)
			}
			continue
		}
		v, _ := f.Value.Value()
		head[f.Key.Value] = v.Native()
	}
	out.head = withoutDescription(head)
	return out, doc.Diagnostics()
}

func withoutDescription(v any) any {
	if m, ok := v.(map[string]any); ok {
		delete(m, "description")
	}
	return v
}

// difference names the first part in which two values differ, in the order of
// names; "" if they do not.
func difference(at string, a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	x, ok := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if !ok || !ok2 {
		return at
	}
	var names []string
	for name := range x {
		names = append(names, name)
	}
	for name := range y {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		below := name
		if at != "" {
			below = at + "." + name
		}
		one, has := x[name]
		other, has2 := y[name]
		if has != has2 {
			return below
		}
		if d := difference(below, one, other); d != "" {
			return d
		}
	}
	return at
}
