package yamldoc

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
)

// An Object is a mapping whose keys are known fields.
type Object struct {
	node   Node
	fields map[string]pair
	meant  []string // the fields that unknown ones are likely meant to be
}

// Object reads n as a mapping whose keys are all among fields, which are named
// in lowerCamelCase. A file may write a field in snake_case too, but not in
// both ways at once. A diagnostic about a field leaves the other fields of the
// Object as they are, so the answer is false only if n is no mapping.
func (n Node) Object(fields ...string) (Object, bool) {
	if !n.IsMapping() {
		n.wrongType("a mapping")
		return Object{}, false
	}
	pairs, _ := n.pairs(func(key string) string {
		for _, field := range fields {
			if key == snake(field) {
				return field
			}
		}
		return key
	})
	o := Object{node: n, fields: make(map[string]pair, len(pairs))}
	for _, p := range pairs {
		if !slices.Contains(fields, p.name) {
			hint := nearest(p.name, fields)
			if hint == "" {
				hint = "known fields: " + strings.Join(fields, ", ")
			} else {
				o.meant = append(o.meant, diag.Nearest(p.name, fields))
			}
			p.key.Report(UnknownField, fmt.Sprintf("unknown field %s", quote(p.name)), hint)
			continue
		}
		o.fields[p.name] = p
	}
	return o, true
}

// Pos gives the place of the mapping.
func (o Object) Pos() diag.Position { return o.node.Pos() }

// Node gives the mapping itself.
func (o Object) Node() Node { return o.node }

// Field gives the value of a field, if it is there and not null.
func (o Object) Field(name string) (Node, bool) {
	p, ok := o.fields[name]
	if !ok || p.value.IsNull() {
		return Node{}, false
	}
	return p.value.called(name), true
}

// Given gives the value of a field if it is there, null or not.
func (o Object) Given(name string) (Node, bool) {
	p, ok := o.fields[name]
	return p.value.called(name), ok
}

// KeyPos gives the place of the key of a field, and that of the mapping if the
// field is absent.
func (o Object) KeyPos(name string) diag.Position {
	if p, ok := o.fields[name]; ok {
		return p.key.Pos()
	}
	return o.Pos()
}

// Misspelt tells whether a field is absent, but an unknown one, which has been
// reported, is likely meant to be it. That it is missing need not be told then.
func (o Object) Misspelt(name string) bool {
	_, given := o.fields[name]
	return !given && slices.Contains(o.meant, name)
}

// Required gives the value of a field, and reports if it is absent or null, but
// not if it is misspelt.
func (o Object) Required(name string) (Node, bool) {
	n, ok := o.Field(name)
	if !ok && !o.Misspelt(name) {
		o.node.doc.Report(o.KeyPos(name), MissingField, fmt.Sprintf("%s is required", name), "")
	}
	return n, ok
}

// OneOf gives the one of several fields that is there and not null, with its
// name. It reports if several are there, or none is and none is misspelt.
func (o Object) OneOf(names ...string) (string, Node, bool) { return o.oneOf(o.Field, names) }

// OneGiven is OneOf for fields that count if they are null, too.
func (o Object) OneGiven(names ...string) (string, Node, bool) { return o.oneOf(o.Given, names) }

func (o Object) oneOf(field func(string) (Node, bool), names []string) (string, Node, bool) {
	var present []string
	for _, name := range names {
		if _, ok := field(name); ok {
			present = append(present, name)
		}
	}
	list := strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
	switch len(present) {
	case 0:
		if slices.ContainsFunc(names, o.Misspelt) {
			return "", Node{}, false
		}
		o.node.doc.Report(o.Pos(), OneOfMissing, fmt.Sprintf("one of %s is required", list), "")
		return "", Node{}, false
	case 1:
		return present[0], o.fields[present[0]].value.called(present[0]), true
	}
	slices.SortFunc(present, func(a, b string) int {
		p, q := o.KeyPos(a), o.KeyPos(b)
		if p.Line != q.Line {
			return p.Line - q.Line
		}
		return p.Column - q.Column
	})
	for _, name := range present[1:] {
		o.node.doc.ReportRelated(o.KeyPos(name), OneOfRepeated, fmt.Sprintf("%s cannot stand beside %s", name, present[0]),
			"keep exactly one of "+list, diag.Related{Pos: o.KeyPos(present[0]), Message: present[0] + " is here"})
	}
	return "", Node{}, false
}

// snake gives the snake_case spelling of a lowerCamelCase name.
func snake(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			b.WriteByte(c - 'A' + 'a')
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
