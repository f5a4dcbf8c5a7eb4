package envoylint

import (
	"strconv"
	"strings"
	"time"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// A node is a value of a configuration, with its place. The nil *node is a value
// that is not there: every method can be called on it, and finds nothing.
type node struct {
	pos    diag.Position // of its key, or of the value itself in a list
	text   diag.Text     // of a scalar
	scalar bool
	names  []string // of the fields, in the order of the file
	fields map[string]*node
	items  []*node
}

// build reads a value. What yamldoc reports on the way is in the document.
func build(n yamldoc.Node, pos diag.Position) *node {
	out := &node{pos: pos}
	switch n.Kind() {
	case yamldoc.Null:
		return nil
	case yamldoc.Scalar:
		raw, _ := n.Raw()
		out.scalar, out.text = true, diag.Text{Value: raw, Pos: n.Pos()}
		if strings.Contains(raw, "\n") { // a file in the file, whose lines have places
			out.text, _ = n.Text()
		}
	case yamldoc.Sequence:
		list, _ := n.List()
		for _, item := range list {
			if b := build(item, item.Pos()); b != nil {
				out.items = append(out.items, b)
			}
		}
	case yamldoc.Mapping:
		entries, _ := n.Entries()
		out.fields = make(map[string]*node, len(entries))
		for _, e := range entries {
			if b := build(e.Value, e.Key.Pos); b != nil {
				out.names = append(out.names, e.Key.Value)
				out.fields[e.Key.Value] = b
			}
		}
	}
	return out
}

// get goes down from field to field. Names are those of the documentation; a
// snake_case name finds the lowerCamelCase spelling, too, since the JSON form of
// protobuf has both.
func (n *node) get(path ...string) *node {
	for _, name := range path {
		if n == nil {
			return nil
		}
		next := n.fields[name]
		if next == nil {
			next = n.fields[camel(name)]
		}
		n = next
	}
	return n
}

// has tells whether a field is there.
func (n *node) has(path ...string) bool { return n.get(path...) != nil }

// list gives the elements of a list at path.
func (n *node) list(path ...string) []*node {
	if n = n.get(path...); n == nil {
		return nil
	}
	return n.items
}

// str gives the text of the scalar at path, "" if there is none.
func (n *node) str(path ...string) string {
	if n = n.get(path...); n == nil {
		return ""
	}
	return n.text.Value
}

// isTrue tells whether the value at path is true. The value may be wrapped, as
// google.protobuf.BoolValue is in some dumps.
func (n *node) isTrue(path ...string) bool {
	n = n.get(path...)
	if n.has("value") {
		n = n.get("value")
	}
	return isTrue(n.str())
}

// isTrue tells whether a scalar is true to Envoy, whose YAML is that of YAML 1.1.
func isTrue(s string) bool {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "y":
		return true
	}
	return false
}

// texts gives the scalars of a list at path.
func (n *node) texts(path ...string) []string {
	var out []string
	for _, item := range n.list(path...) {
		if item.scalar {
			out = append(out, item.text.Value)
		}
	}
	return out
}

// number gives the number at path.
func (n *node) number(path ...string) (float64, bool) {
	n = n.get(path...)
	if n.has("value") {
		n = n.get("value")
	}
	f, err := strconv.ParseFloat(n.str(), 64)
	return f, err == nil
}

// duration gives the duration at path, in the form of protobuf (0.25s) or of Go
// (250ms, 1m30s).
func (n *node) duration(path ...string) (time.Duration, bool) {
	n = n.get(path...)
	if n.has("seconds") || n.has("nanos") {
		seconds, _ := n.number("seconds")
		nanos, _ := n.number("nanos")
		return time.Duration(seconds*float64(time.Second)) + time.Duration(nanos), true
	}
	d, err := time.ParseDuration(n.str())
	return d, err == nil
}

// any tells whether a value below n, n among them, satisfies f.
func (n *node) any(f func(*node) bool) bool {
	if n == nil {
		return false
	}
	if f(n) {
		return true
	}
	for _, child := range n.children() {
		if child.any(f) {
			return true
		}
	}
	return false
}

// children gives the values of the fields or of the list.
func (n *node) children() []*node {
	if n == nil {
		return nil
	}
	out := n.items
	for _, name := range n.names {
		out = append(out, n.fields[name])
	}
	return out
}

// typeName gives the protobuf type that @type names, and the message: for a
// TypedStruct those that are in it.
func (n *node) typeName() (string, *node) {
	name := n.str("@type")
	name = name[strings.LastIndexByte(name, '/')+1:]
	if strings.HasSuffix(name, ".TypedStruct") {
		inner := n.str("type_url")
		return inner[strings.LastIndexByte(inner, '/')+1:], n.get("value")
	}
	return name, n
}

// camel gives the lowerCamelCase spelling of a snake_case name.
func camel(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	var b strings.Builder
	up := false
	for _, r := range name {
		switch {
		case r == '_':
			up = true
		case up:
			b.WriteString(strings.ToUpper(string(r)))
			up = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
