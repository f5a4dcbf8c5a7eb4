package yamldoc

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
)

// bounds measures a tree before anything else reads it, so that nothing else
// has to count. Each node is visited once, however many aliases lead to it.
type bounds struct {
	doc      *Document
	anchors  map[string]*yaml.Node
	measured map[*yaml.Node]extent // anchored nodes
	open     map[*yaml.Node]bool   // anchored nodes that contain the one being visited
	repeated int                   // nodes that aliases repeat
	bounded  bool                  // no bound was passed
}

// hasAllowedTag tells whether a file may write the tag that n has, if it has
// one. The parser drops a lone exclamation mark, which is a tag as well, so
// that is looked for in the file: expr: ! R.attr.sealed must not be read as
// R.attr.sealed.
func (d *Document) hasAllowedTag(n *yaml.Node) bool {
	if d.isIgnored(n) || n.Kind == yaml.MappingNode && n.Style&yaml.TaggedStyle == 0 && len(n.Content) > 0 && d.isIgnored(n.Content[0]) {
		return true // a mapping begins where its first key does
	}
	if n.Style&yaml.TaggedStyle == 0 {
		raw := d.content[d.offset(n.Line, n.Column):]
		if strings.HasPrefix(raw, "&") {
			_, raw = skipProperty(diag.Position{}, raw)
		}
		return !strings.HasPrefix(raw, "!")
	}
	switch n.ShortTag() {
	case stringTag, intTag, floatTag, boolTag:
		return n.Kind == yaml.ScalarNode
	case "!!map":
		return n.Kind == yaml.MappingNode
	case "!!seq":
		return n.Kind == yaml.SequenceNode
	}
	return false
}

// isIgnored tells whether n is a key of a stream whose entry Envoy ignores.
func (d *Document) isIgnored(n *yaml.Node) bool {
	return d.stream && n.Kind == yaml.ScalarNode && n.Tag == "!ignore"
}

// extent is the size of a subtree with its aliases written out.
type extent struct{ nodes, depth int }

// checkBounds tells whether the trees are finite, not too deep and not too large
// with their aliases written out.
func (d *Document) checkBounds() bool {
	b := &bounds{
		doc:      d,
		measured: map[*yaml.Node]extent{},
		open:     map[*yaml.Node]bool{},
		bounded:  true,
	}
	for _, root := range d.roots {
		b.anchors = map[string]*yaml.Node{} // those of one document mean nothing in the next
		b.measure(root, 1)
	}
	return b.bounded
}

func (b *bounds) measure(n *yaml.Node, level int) extent {
	if !b.bounded {
		return extent{}
	}
	if n.Kind == yaml.AliasNode {
		return b.alias(n, level)
	}
	if level > MaxDepth {
		return b.stop(n, TooDeep, fmt.Sprintf("values are nested more than %d levels deep", MaxDepth), "")
	}
	if n.Anchor != "" {
		if first, ok := b.anchors[n.Anchor]; ok {
			b.doc.ReportRelated(b.doc.at(n.Line, n.Column), DuplicateAnchor, fmt.Sprintf("the anchor %s is there twice", quote("&"+n.Anchor)),
				"give each anchor a name of its own", diag.Related{Pos: b.doc.at(first.Line, first.Column), Message: "the other one"})
		} else {
			b.anchors[n.Anchor] = n
		}
		b.open[n] = true
	}
	if !b.doc.hasAllowedTag(n) {
		b.doc.Report(b.doc.at(n.Line, n.Column), BadTag, "the tag that begins with ! does not belong here",
			"quote a value that begins with an exclamation mark, or put it in a block scalar (|)")
	}
	size := extent{nodes: 1}
	for _, child := range n.Content {
		c := b.measure(child, level+1)
		size.nodes = min(size.nodes+c.nodes, MaxAliasNodes+1)
		size.depth = max(size.depth, c.depth)
	}
	size.depth++
	if n.Anchor != "" {
		delete(b.open, n)
		b.measured[n] = size
	}
	return size
}

func (b *bounds) alias(n *yaml.Node, level int) extent {
	if b.open[n.Alias] {
		return b.stop(n, RecursiveAnchor, fmt.Sprintf("the alias %s stands inside the value it refers to", quote("*"+n.Value)), "")
	}
	size := b.measured[n.Alias]
	if level+size.depth-1 > MaxDepth {
		return b.stop(n, TooDeep, fmt.Sprintf("values are nested more than %d levels deep with the aliases written out", MaxDepth), "")
	}
	b.repeated += size.nodes
	if b.repeated > MaxAliasNodes {
		return b.stop(n, TooManyAliases, fmt.Sprintf("aliases repeat more than %d values", MaxAliasNodes), "write fewer aliases of large values")
	}
	return size
}

func (b *bounds) stop(n *yaml.Node, code diag.Code, message, hint string) extent {
	b.bounded = false
	b.doc.Report(b.doc.at(n.Line, n.Column), code, message, hint)
	return extent{}
}
