package cerbosjson

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"edict/engine/yamldoc"
)

// A place is a value in a file: an entry of a mapping or an element of a list.
type place struct {
	path   string     // as in $.resourcePolicy.rules[0].effect
	key    *yaml.Node // nil for the root and for elements
	value  *yaml.Node
	holder *place // nil for the root
}

// places gives the values of a file in the order of the file, the root first.
// It gives none if the file cannot be parsed.
func places(content []byte) (all []*place) {
	defer func() {
		if recover() != nil { // the parser has panicked on malformed files before
			all = nil
		}
	}()
	var doc yaml.Node
	if yaml.Unmarshal(content, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}
	var walk func(p *place, depth int)
	walk = func(p *place, depth int) {
		all = append(all, p)
		if depth == yamldoc.MaxDepth {
			return // what lies deeper is an error, and would make paths long
		}
		switch p.value.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(p.value.Content); i += 2 {
				key := p.value.Content[i]
				walk(&place{path: p.path + "." + selector(key.Value), key: key, value: p.value.Content[i+1], holder: p}, depth+1)
			}
		case yaml.SequenceNode:
			for i, element := range p.value.Content {
				walk(&place{path: fmt.Sprintf("%s[%d]", p.path, i), value: element, holder: p}, depth+1)
			}
		}
	}
	walk(&place{path: "$", value: doc.Content[0]}, 0)
	return all
}

// selector writes a key as a part of a path. Keys that hold characters of paths
// are quoted, as the YAML library that Cerbos uses does it.
func selector(key string) string {
	if strings.ContainsAny(key, "$*.[]") {
		return "'" + key + "'"
	}
	return key
}

// start gives where a place begins: at its key if it has one.
func (p *place) start() *yaml.Node {
	if p.key != nil {
		return p.key
	}
	return p.value
}

func isBefore(n *yaml.Node, line, column int) bool {
	return n.Line < line || n.Line == line && n.Column <= column
}

// innermost gives the last place that begins at or before a line and column,
// nil if there is none.
func innermost(all []*place, line, column int) *place {
	var found *place
	for _, p := range all {
		if isBefore(p.start(), line, column) {
			found = p
		}
	}
	return found
}

// beginningAt gives the outermost place whose value begins at a line and
// column. Without one it gives the innermost place.
func beginningAt(all []*place, line, column int) *place {
	for _, p := range all {
		if p.value.Line == line && p.value.Column == column {
			return p
		}
	}
	return innermost(all, line, column)
}

// isFree tells whether the keys of a mapping are names that the file chooses,
// and not fields.
func (p *place) isFree() bool {
	for _, free := range []string{
		"$.variables", "$.metadata.annotations",
		"$.exportVariables.definitions", "$.export_variables.definitions",
		"$.exportConstants.definitions", "$.export_constants.definitions",
	} {
		if p.path == free {
			return true
		}
	}
	return strings.HasSuffix(p.path, ".variables.local") || strings.HasSuffix(p.path, ".constants.local")
}

// beginning gives the line and column of a value as Cerbos counts them: a
// mapping in block style begins at its first colon.
func beginning(n *yaml.Node, lines []string) (line, column int) {
	if n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0 || len(n.Content) == 0 || n.Line > len(lines) {
		return n.Line, n.Column
	}
	key := n.Content[0]
	length := utf8.RuneCountInString(key.Value)
	if key.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		length += 2
	}
	text := []rune(lines[n.Line-1])
	for i := key.Column - 1 + length; i < len(text); i++ {
		if text[i] == ':' {
			return n.Line, i + 1
		}
	}
	return n.Line, n.Column
}
