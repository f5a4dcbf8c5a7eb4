package yamldoc

import (
	"strings"

	"gopkg.in/yaml.v3"

	"edict/engine/value"
)

// Expand puts something else in the place of scalar values: of every scalar
// that is no key, replace is asked for the text to read instead, and false
// leaves it as it is. The new text is read as a scalar without quotes is, so it
// may turn out to be a number or null, but never a list or a mapping; with the
// tag !!str it is a string whatever it looks like. Expand is for use before
// anything else is read from the document.
func (d *Document) Expand(replace func(n Node, text string) (string, bool)) {
	for _, root := range d.roots {
		d.expand(root, replace)
	}
}

func (d *Document) expand(y *yaml.Node, replace func(Node, string) (string, bool)) {
	switch y.Kind {
	case yaml.SequenceNode:
		for _, element := range y.Content {
			d.expand(element, replace)
		}
	case yaml.MappingNode:
		for i := 1; i < len(y.Content); i += 2 {
			d.expand(y.Content[i], replace)
		}
	case yaml.ScalarNode:
		if text, ok := replace(d.node(y), y.Value); ok {
			tagged := y.Style&yaml.TaggedStyle != 0
			y.Value, y.Style = text, y.Style&yaml.TaggedStyle
			if !tagged {
				y.Tag = ""
			}
		}
	}
}

// TypedValue gives n as Value does, but an integer stays one: an int, or a
// uint if it is too large for that. A word that is a boolean in YAML 1.1 and a
// string in YAML 1.2 is refused, since readers differ over it.
func (n Node) TypedValue() (value.Value, bool) {
	if n.IsSequence() || n.IsMapping() {
		return n.composite(Node.TypedValue)
	}
	if n.IsInt() {
		var signed int64
		var unsigned uint64
		switch {
		case n.y.Decode(&signed) == nil:
			return value.OfInt(signed), true
		case n.y.Decode(&unsigned) == nil:
			return value.OfUint(unsigned), true
		}
	}
	if n.IsScalar() && n.y.Style == 0 && n.y.ShortTag() == stringTag {
		switch strings.ToLower(n.y.Value) {
		case "y", "n", "yes", "no", "on", "off":
			n.Report(WrongType, n.prefix()+n.y.Value+" is a boolean to some readers of YAML and a string to others",
				"write true or false, or put the word in quotes")
			return value.Value{}, false
		}
	}
	return n.Value()
}
