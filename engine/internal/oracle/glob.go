package oracle

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// MatchesPattern tells whether text matches a pattern, for tests of patterns
// alone.
func MatchesPattern(pattern, text string) bool { return matchesPattern(pattern, text) }

// matchesPattern tells whether text matches a pattern of a policy. A string
// without * is no pattern at all but the text itself.
func matchesPattern(pattern, text string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == text
	}
	return matchesGlob(pattern, text)
}

// matchesGlob tells whether text matches a pattern, whether that has a * or not.
func matchesGlob(pattern, text string) bool {
	if pattern == "*" {
		return true
	}
	g := globParser{rest: pattern}
	nodes, ok := g.sequence(false)
	if !ok || g.rest != "" {
		return false // a malformed pattern matches nothing
	}
	return matchNodes(nodes, text)
}

// A globNode is one construct of a glob: exactly one field says which.
type globNode struct {
	literal rune
	any     bool // *
	super   bool // **
	single  bool // ?
	class   *globClass
	choice  [][]globNode // {a,b}
}

// A globClass is [ab], [a-z] or their negations.
type globClass struct {
	not    bool
	lo, hi rune
	list   string
}

func (c *globClass) contains(r rune) bool {
	in := strings.ContainsRune(c.list, r) || c.list == "" && c.lo <= r && r <= c.hi
	return in != c.not
}

type globParser struct{ rest string }

func (g *globParser) next() rune {
	r, n := utf8.DecodeRuneInString(g.rest)
	g.rest = g.rest[n:]
	return r
}

// sequence reads nodes up to the end of the pattern or, inside braces, up to
// the comma or brace that ends the alternative.
func (g *globParser) sequence(inBraces bool) (nodes []globNode, ok bool) {
	for g.rest != "" {
		if inBraces && (g.rest[0] == ',' || g.rest[0] == '}') {
			return nodes, true
		}
		switch r := g.next(); r {
		case '*':
			if strings.HasPrefix(g.rest, "*") {
				g.next()
				nodes = append(nodes, globNode{super: true})
			} else {
				nodes = append(nodes, globNode{any: true})
			}
		case '?':
			nodes = append(nodes, globNode{single: true})
		case '[':
			c, ok := g.class()
			if !ok {
				return nil, false
			}
			nodes = append(nodes, globNode{class: c})
		case '{':
			n, ok := g.choice()
			if !ok {
				return nil, false
			}
			nodes = append(nodes, n)
		case '\\':
			if g.rest == "" {
				return nil, false
			}
			nodes = append(nodes, globNode{literal: g.next()})
		default:
			nodes = append(nodes, globNode{literal: r})
		}
	}
	return nodes, !inBraces
}

func (g *globParser) choice() (globNode, bool) {
	var n globNode
	for {
		alternative, ok := g.sequence(true)
		if !ok {
			return n, false
		}
		n.choice = append(n.choice, alternative)
		if g.next() == '}' {
			return n, true
		}
	}
}

func (g *globParser) class() (*globClass, bool) {
	body, after, found := strings.Cut(g.rest, "]")
	if !found {
		return nil, false
	}
	g.rest = after
	c := &globClass{}
	if strings.HasPrefix(body, "!") {
		c.not, body = true, body[1:]
	}
	if r := []rune(body); len(r) == 3 && r[1] == '-' {
		c.lo, c.hi = r[0], r[2]
		return c, c.lo <= c.hi
	}
	c.list = body
	return c, body != ""
}

// matchNodes tries every way to split text.
func matchNodes(nodes []globNode, text string) bool {
	if len(nodes) == 0 {
		return text == ""
	}
	n, rest := nodes[0], nodes[1:]
	switch {
	case n.any || n.super:
		for i := 0; ; {
			if matchNodes(rest, text[i:]) {
				return true
			}
			if i == len(text) {
				return false
			}
			r, size := utf8.DecodeRuneInString(text[i:])
			if n.any && r == ':' {
				return false
			}
			i += size
		}
	case n.choice != nil:
		for _, alternative := range n.choice {
			both := append(append([]globNode{}, alternative...), rest...)
			if matchNodes(both, text) {
				return true
			}
		}
		return false
	}
	if text == "" {
		return false
	}
	r, size := utf8.DecodeRuneInString(text)
	switch {
	case n.single:
		return r != ':' && matchNodes(rest, text[size:])
	case n.class != nil:
		return n.class.contains(r) && matchNodes(rest, text[size:])
	default:
		return r == n.literal && matchNodes(rest, text[size:])
	}
}

// The regular expressions are the definition of sanitising, word by word.
var (
	sanitizable = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_@./-]*(:[A-Za-z][A-Za-z0-9_@./-]*)*$`)
	odd         = regexp.MustCompile(`[^A-Za-z0-9_.]+`)
)

func sanitize(name string) string {
	if !sanitizable.MatchString(name) {
		return name
	}
	return odd.ReplaceAllString(name, "_")
}

// key gives the key of a policy: what tells it from every other.
func key(kind, name, version, scope string) string {
	k := kind + "." + sanitize(name) + ".v" + version
	if scope != "" {
		k += "/" + scope
	}
	return k
}
