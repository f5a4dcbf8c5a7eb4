package openapi

import (
	"slices"

	"gopkg.in/yaml.v3"

	"edict/engine/yamldoc"
)

// fields are the entries of a mapping, in order.
type fields []yamldoc.Entry

// fieldsOf gives the entries of a mapping, none of anything else.
func fieldsOf(n yamldoc.Node) fields {
	if n == (yamldoc.Node{}) || !n.IsMapping() {
		return nil
	}
	out, _ := n.Entries()
	return out
}

func (f fields) get(name string) (yamldoc.Node, bool) {
	for _, e := range f {
		if e.Key.Value == name && !e.Value.IsNull() {
			return e.Value, true
		}
	}
	return yamldoc.Node{}, false
}

// below gives the fields of a mapping among the fields.
func (f fields) below(name string) fields {
	n, _ := f.get(name)
	return fieldsOf(n)
}

func (f fields) text(name string) string {
	if n, ok := f.get(name); ok {
		if t, ok := n.Text(); ok {
			return t.Value
		}
	}
	return ""
}

func (f fields) bool(name string) (value, ok bool) {
	n, ok := f.get(name)
	if !ok {
		return false, false
	}
	return n.Bool()
}

// overlay gives the fields of own, and those of shared that it does not have.
func overlay(shared, own fields) fields {
	out := slices.Clone(own)
	for _, e := range shared {
		if _, has := own.get(e.Key.Value); !has {
			out = append(out, e)
		}
	}
	return out
}

// The fields that say what a route asks for. An operation that says it in one
// form has no use for what its path says in another.
var subject = []string{"resource", "action", "actions", "checks", "public"}

// merge gives what x-edict says of an operation: its own fields, and of those
// that it does not have the ones of its path.
func merge(shared, own fields) fields {
	says := func(f fields, names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			n, ok := f.get(name)
			if ok && name == "public" {
				public, _ := n.Bool()
				return public
			}
			return ok
		})
	}
	switch {
	case says(own, "checks", "public"):
		shared = shared.without(subject...)
	case says(own, "action", "actions"):
		shared = shared.without("action", "actions", "checks", "public")
	case says(own, "resource"):
		shared = shared.without("checks", "public")
	}
	return overlay(shared, own)
}

func (f fields) without(names ...string) fields {
	return slices.DeleteFunc(slices.Clone(f), func(e yamldoc.Entry) bool { return slices.Contains(names, e.Key.Value) })
}

func field(n yamldoc.Node, name string) (yamldoc.Node, bool) { return fieldsOf(n).get(name) }

func text(n yamldoc.Node, name string) string { return fieldsOf(n).text(name) }

// The parts of a YAML tree.

func str(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	return n
}

func strs(texts ...string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, s := range texts {
		n.Content = append(n.Content, str(s))
	}
	return n
}

func mapping(content ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: content}
}

func flow(n *yaml.Node) *yaml.Node {
	n.Style = yaml.FlowStyle
	return n
}

// expression gives {expr: …}.
func expression(e string) *yaml.Node { return flow(mapping(str("expr"), str(e))) }

// compact lets a mapping stand on one line if it is short and simple.
func compact(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	size := 0
	for _, c := range n.Content {
		if c.Kind == yaml.MappingNode && c.Style != yaml.FlowStyle {
			return
		}
		size += len(c.Value) + len(": ")
		for _, c := range c.Content {
			size += len(c.Value) + len(", ")
		}
	}
	if size <= 80 {
		n.Style = yaml.FlowStyle
	}
}
