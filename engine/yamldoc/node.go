package yamldoc

import (
	"fmt"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
)

// Kind is what a node is, as far as its shape goes.
type Kind uint8

// The kinds. A null is no scalar: fields treat it as absent.
const (
	Null Kind = iota
	Scalar
	Sequence
	Mapping
)

// The tags that the parser gives to scalars.
const (
	nullTag      = "!!null"
	boolTag      = "!!bool"
	intTag       = "!!int"
	floatTag     = "!!float"
	stringTag    = "!!str"
	timestampTag = "!!timestamp" // a string that looks like a date; it is read as a string
	mergeTag     = "!!merge"     // <<, which is a string anywhere but as a key
)

// A Node is a value in a document, aliases resolved. It is small, and is
// passed by value. The zero Node is not a value; no method gives one with true.
type Node struct {
	doc  *Document
	y    *yaml.Node
	via  *yaml.Node // the alias that led here; nil if none did
	name string     // what messages call it: roles, roles[2]; empty for the root
}

// called gives n with a name for messages.
func (n Node) called(name string) Node {
	n.name = name
	return n
}

func (d *Document) node(y *yaml.Node) Node {
	if y.Kind == yaml.AliasNode {
		return Node{doc: d, y: y.Alias, via: y}
	}
	return Node{doc: d, y: y}
}

// Pos gives the place where the value is written. For an alias that is the
// place of the value with the anchor.
func (n Node) Pos() diag.Position { return n.doc.at(n.y.Line, n.y.Column) }

// Document gives the document that n is a value of.
func (n Node) Document() *Document { return n.doc }

// Kind tells the shape of n.
func (n Node) Kind() Kind {
	switch {
	case n.y.Kind == yaml.MappingNode:
		return Mapping
	case n.y.Kind == yaml.SequenceNode:
		return Sequence
	case n.y.ShortTag() == nullTag:
		return Null
	default:
		return Scalar
	}
}

// IsNull tells whether n is null: null, ~ or nothing at all.
func (n Node) IsNull() bool { return n.Kind() == Null }

// IsScalar tells whether n is a string, a number or a boolean.
func (n Node) IsScalar() bool { return n.Kind() == Scalar }

// IsSequence tells whether n is a list.
func (n Node) IsSequence() bool { return n.Kind() == Sequence }

// IsMapping tells whether n is a mapping.
func (n Node) IsMapping() bool { return n.Kind() == Mapping }

// IsInt tells whether n is an unquoted integer.
func (n Node) IsInt() bool { return n.IsScalar() && n.y.ShortTag() == intTag }

// Report adds a diagnostic about n.
func (n Node) Report(code diag.Code, message, hint string) { n.ReportRelated(code, message, hint) }

// ReportRelated adds a diagnostic about n that involves other places too.
func (n Node) ReportRelated(code diag.Code, message, hint string, related ...diag.Related) {
	if n.via != nil {
		related = append(related, diag.Related{Pos: n.usePos(), Message: "used by this alias"})
	}
	n.doc.ReportRelated(n.Pos(), code, message, hint, related...)
}

// usePos gives the place where n is used: that of the alias, if one led here.
func (n Node) usePos() diag.Position {
	if n.via != nil {
		return n.doc.at(n.via.Line, n.via.Column)
	}
	return n.Pos()
}

// Expected reports that n is not what is wanted, such as "a mapping".
func (n Node) Expected(want, hint string) {
	if !n.doc.hasAllowedTag(n.y) {
		return // which was reported, and is why the type is wrong
	}
	n.Report(WrongType, fmt.Sprintf("%sexpected %s, got %s", n.prefix(), want, n.describe()), hint)
}

// wrongType reports that n is not what is wanted, with the mend of what is
// often written instead.
func (n Node) wrongType(want string) {
	hint := ""
	if want == "a string" && (n.y.ShortTag() == floatTag || n.y.ShortTag() == intTag || n.y.ShortTag() == boolTag) {
		hint = "write it in quotes: " + quote(n.y.Value)
	}
	if want == "a boolean" {
		hint = "write true or false, without quotes"
	}
	if want == "a list" && n.Kind() == Scalar {
		hint = fmt.Sprintf("a list of one is written [%s]", quote(n.y.Value))
	}
	if n.IsNull() {
		hint = "give it a value, or remove it"
	}
	n.Expected(want, hint)
}

// prefix begins a message about n with its name, if it has one.
func (n Node) prefix() string {
	if n.name == "" {
		return ""
	}
	return n.name + ": "
}

// describe names what n is, for messages.
func (n Node) describe() string {
	switch n.Kind() {
	case Mapping:
		return "a mapping"
	case Sequence:
		return "a list"
	case Null:
		return "null"
	}
	switch n.y.ShortTag() {
	case boolTag:
		return "the boolean " + clip(n.y.Value)
	case intTag, floatTag:
		return "the number " + clip(n.y.Value)
	default:
		return "the string " + quote(n.y.Value)
	}
}

// List gives the elements of a sequence.
func (n Node) List() ([]Node, bool) {
	if !n.IsSequence() {
		n.wrongType("a list")
		return nil, false
	}
	elements := make([]Node, len(n.y.Content))
	for i, y := range n.y.Content {
		elements[i] = n.doc.node(y).called(fmt.Sprintf("%s[%d]", n.name, i))
	}
	return elements, true
}

// An Entry is a key of a mapping with free keys, and its value.
type Entry struct {
	Key   diag.Text
	Value Node
}

// Entries gives the entries of a mapping with free keys, those of merge keys
// last. Keys that are no strings are reported and left out, as are repeated
// ones; the answer is then false, with the entries that are sound.
func (n Node) Entries() ([]Entry, bool) {
	pairs, ok := n.pairs(func(key string) string { return key })
	entries := make([]Entry, len(pairs))
	for i, p := range pairs {
		entries[i] = Entry{Key: p.key.text(p.key.y.Value), Value: p.value.called(label(p.name))}
	}
	return entries, ok
}

// Key finds a key of a mapping, its own or one of its merge keys, without
// reading the rest: it reports nothing. The answer is false if n is no mapping.
func (n Node) Key(name string) (Node, bool) {
	if !n.IsMapping() {
		return Node{}, false
	}
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		key, sources := n.doc.node(n.y.Content[i]), []Node{n.doc.node(n.y.Content[i+1])}
		if key.y.Kind != yaml.ScalarNode || key.y.ShortTag() != mergeTag {
			if key.IsScalar() && key.y.Value == name {
				return key, true
			}
			continue
		}
		if sources[0].IsSequence() {
			sources, _ = sources[0].List()
		}
		for _, source := range sources {
			if key, ok := source.Key(name); ok {
				return key, true
			}
		}
	}
	return Node{}, false
}

// A pair is an entry of a mapping.
type pair struct {
	name  string // the key in the spelling that keys are compared in
	key   Node
	value Node
}

// pairs gives the entries of a mapping, its own in the order of the file, then
// those of its merge keys that its own do not replace. Keys are equal if their
// canonical spellings are. The answer is false if something was left out.
func (n Node) pairs(canonical func(string) string) ([]pair, bool) {
	if !n.IsMapping() {
		n.wrongType("a mapping")
		return nil, false
	}
	ok := true
	var pairs []pair
	var merges []Node
	seen := make(map[string]Node, len(n.y.Content)/2)
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		key, value := n.doc.node(n.y.Content[i]), n.doc.node(n.y.Content[i+1])
		isMerge := key.y.Kind == yaml.ScalarNode && key.y.ShortTag() == mergeTag
		name := key.y.Value
		switch {
		case n.doc.isIgnored(key.y):
			continue
		case isMerge:
			merges = append(merges, value)
		case !key.isKey():
			ok = false
			continue
		default:
			name = canonical(name)
		}
		if first, repeated := seen[name]; repeated {
			ok = false
			message := fmt.Sprintf("%s is there twice", quote(key.y.Value))
			if first.y.Value != key.y.Value {
				message = fmt.Sprintf("%s is the same field as %s, which is there too", quote(key.y.Value), quote(first.y.Value))
			}
			key.ReportRelated(RepeatedKey, message, "keep one of the two", diag.Related{Pos: first.Pos(), Message: "the first one"})
			continue
		}
		seen[name] = key
		if !isMerge {
			pairs = append(pairs, pair{name: name, key: key, value: value})
		}
	}
	for _, merge := range merges {
		for _, source := range merge.mergeSources(&ok) {
			merged, sound := source.pairs(canonical)
			ok = ok && sound
			for _, p := range merged {
				if _, replaced := seen[p.name]; replaced {
					continue
				}
				seen[p.name] = p.key
				pairs = append(pairs, p)
			}
		}
	}
	return pairs, ok
}

// isKey tells whether n can be a key, and reports it if not.
func (n Node) isKey() bool {
	if n.IsScalar() && (n.y.ShortTag() == stringTag || n.y.ShortTag() == timestampTag) {
		return true
	}
	hint := ""
	if n.y.Kind == yaml.ScalarNode {
		hint = "write the key in quotes: " + quote(n.y.Value)
	} else {
		hint = "a value that begins with { or [ must be quoted"
	}
	n.Report(KeyNotString, fmt.Sprintf("a key must be a string, got %s", n.describe()), hint)
	return false
}

// mergeSources gives the mappings that the value of a merge key stands for,
// the more important ones first.
func (n Node) mergeSources(ok *bool) []Node {
	sources := []Node{n}
	if n.IsSequence() {
		sources = sources[:0]
		for _, y := range n.y.Content {
			sources = append(sources, n.doc.node(y))
		}
	}
	mappings := sources[:0]
	for _, source := range sources {
		if !source.IsMapping() {
			*ok = false
			source.Report(BadMerge, fmt.Sprintf("the merge key << takes a mapping or a list of mappings, got %s", source.describe()), `a key that is really called << must be quoted: "<<"`)
			continue
		}
		mappings = append(mappings, source)
	}
	return mappings
}

// The number of characters of a value that messages show.
const shown = 64

// clip shortens a value for a message.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= shown {
		return s
	}
	return string([]rune(s)[:shown]) + "…"
}

// quote puts a value into quotes for a message.
func quote(s string) string { return fmt.Sprintf("%q", clip(s)) }

// label gives a key as the name of its value: as it is, unless that would not
// fit into a line of text.
func label(key string) string {
	if quoted := quote(key); key == "" || quoted != `"`+key+`"` {
		return quoted
	}
	return key
}

// nearest gives a hint for a name that is none of the candidates, "" if
// nothing is near. A long name is nobody's slip.
func nearest(name string, candidates []string) string {
	if len(name) > shown {
		return ""
	}
	return diag.DidYouMean(name, candidates)
}
