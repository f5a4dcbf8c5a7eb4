package routing

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"edict/extauthz/target"
)

// A Pattern says which requests a route is for.
type Pattern struct {
	ID      int      // given back by a Match; not negative; patterns may share it
	Name    string   // for messages
	Hosts   []string // exact names, "*.suffix" (one or more labels before it) or "*"; empty: any host
	Methods []string // exact, case-sensitive; empty: any method
	Path    Template
}

// A Conflict is a fault that patterns have. The order of the two is theirs.
type Conflict struct {
	First, Second int    // indexes of the patterns; equal if one alone is at fault
	Message       string // what is wrong; names the patterns
	Hint          string // how to mend it; may be empty
}

// Error gives message and hint.
func (c Conflict) Error() string {
	if c.Hint == "" {
		return c.Message
	}
	return c.Message + "; " + c.Hint
}

// A Table is a set of patterns, compiled. It is immutable.
type Table struct {
	hosts     map[string]*node // by exact name
	wildcards map[string]*node // by what follows "*."
	any       *node            // for every host; nil if no pattern is
	routes    []*route         // by index of the pattern
}

// A route is what a leaf of the table gives: the pattern, ready for use.
type route struct {
	id       int
	name     string
	index    int // of the pattern
	length   int // segments of the template, a trailing slash included
	rest     int // which of them is **; length if none is
	captures []capture
	segments []segment
	hosts    []string // canonical; "*" for any
	methods  []string // empty: any
}

// A node stands for the pattern segments on the way to it. Below rest, the ways
// run backwards from the end of the path, over the literals after **.
type node struct {
	literals map[string]*node // "": the trailing slash
	affixes  affixes          // wildcards with text around them
	one      *node            // plain wildcard
	rest     *node            // **
	leaf     leaf             // for paths that end here
}

// affixes are the wildcards with text before or after them at one place.
type affixes struct {
	lengths []affixLength // different ones, in the order in which they are tried
	nodes   map[affix]*node
}

type affix struct{ prefix, suffix string }

type affixLength struct{ prefix, suffix int }

// A leaf holds the routes of one path shape.
type leaf struct {
	methods map[string]*route
	any     *route
}

// New compiles patterns. If there are conflicts, it gives all of them, in the
// order of the patterns, and no Table.
func New(patterns []Pattern) (*Table, []Conflict) {
	b := builder{
		table:    Table{hosts: map[string]*node{}, wildcards: map[string]*node{}},
		patterns: patterns,
		reported: map[[2]int]bool{},
	}
	for i := range patterns {
		b.add(i)
	}
	if len(b.conflicts) > 0 {
		return nil, b.conflicts
	}
	return &b.table, nil
}

// CheckHost tells what is wrong with a host of a Pattern; nil: nothing is.
func CheckHost(pattern string) error {
	_, err := hostPattern(pattern)
	return err
}

// hostPattern gives the canonical form of a host of a Pattern.
func hostPattern(pattern string) (string, error) {
	if pattern == "*" {
		return "*", nil
	}
	prefix, name := "", pattern
	if strings.HasPrefix(pattern, "*.") {
		prefix, name = "*.", pattern[2:]
	}
	host, r := target.Host(name)
	switch {
	case strings.Contains(name, "*"):
		return "", fmt.Errorf("host %q: a wildcard stands for whole labels at the front; write *.example.com or *", pattern)
	case r != target.OK:
		return "", fmt.Errorf("host %q: %s; write a name such as api.example.com, without a port", pattern, r.Message())
	case host[0] == '[' && prefix != "":
		return "", fmt.Errorf("host %q: an address has no wildcard; write the address or *", pattern)
	case host[0] == '[' && !strings.HasSuffix(name, "]"), host[0] != '[' && strings.Contains(name, ":"):
		return "", fmt.Errorf("host %q: a pattern has no port, since ports are dropped before matching; write %s", pattern, prefix+host)
	}
	return prefix + host, nil
}

// CheckMethod tells what is wrong with a method of a Pattern; nil: nothing is.
func CheckMethod(method string) error {
	switch r := target.Method(method); {
	case method == "*":
		return fmt.Errorf("method %q: leave methods out for any method", method)
	case r != target.OK:
		return fmt.Errorf("method %q: %s; write a method such as GET", method, r.Message())
	}
	if upper := strings.ToUpper(method); upper != method && slices.Contains(standardMethods, upper) {
		return fmt.Errorf("method %q: methods are case-sensitive; write %s", method, upper)
	}
	return nil
}

// standardMethods are those of RFC 9110 §9.3 and RFC 5789.
var standardMethods = []string{"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}

type builder struct {
	table     Table
	patterns  []Pattern
	conflicts []Conflict
	reported  map[[2]int]bool // pairs of patterns
}

// label names pattern i in messages.
func (b *builder) label(i int) string {
	p := &b.patterns[i]
	if p.Name != "" {
		return fmt.Sprintf("route %q (%s)", p.Name, p.Path)
	}
	return fmt.Sprintf("route %d (%s)", p.ID, p.Path)
}

func (b *builder) fault(i int, hint, format string, args ...any) {
	b.conflicts = append(b.conflicts, Conflict{First: i, Second: i,
		Message: b.label(i) + ": " + fmt.Sprintf(format, args...), Hint: hint})
}

func (b *builder) add(i int) {
	p := &b.patterns[i]
	before := len(b.conflicts)
	if p.ID < 0 {
		b.fault(i, "number routes from 0", "the ID %d is negative", p.ID)
	}
	if len(p.Path.segments) == 0 {
		b.fault(i, "give it one", "there is no path")
	}
	for _, m := range p.Methods {
		if err := CheckMethod(m); err != nil {
			b.fault(i, "", "%v", err)
		}
	}
	hosts := []string{"*"}
	if len(p.Hosts) > 0 {
		hosts = hosts[:0]
	}
	for _, h := range p.Hosts {
		canonical, err := hostPattern(h)
		if err != nil {
			b.fault(i, "", "%v", err)
		}
		hosts = append(hosts, canonical)
	}
	if len(b.conflicts) > before {
		return
	}
	r := &route{
		id: p.ID, name: p.Name, index: i, captures: p.Path.captures, length: len(p.Path.segments), rest: len(p.Path.segments),
		segments: p.Path.segments, hosts: hosts, methods: p.Methods,
	}
	if k := slices.IndexFunc(p.Path.segments, func(s segment) bool { return s.kind == rest }); k >= 0 {
		r.rest = k
	}
	b.table.routes = append(b.table.routes, r)
	for _, h := range hosts {
		leaf := &b.root(h).grow(p.Path.segments).leaf
		if len(p.Methods) == 0 {
			b.claim(&leaf.any, r, h, "")
		}
		for _, m := range p.Methods {
			if leaf.methods == nil {
				leaf.methods = map[string]*route{}
			}
			at := leaf.methods[m]
			b.claim(&at, r, h, m)
			leaf.methods[m] = at
		}
	}
}

// root gives the node where the patterns of a canonical host begin.
func (b *builder) root(host string) *node {
	if host == "*" {
		return child(&b.table.any)
	}
	if name, ok := strings.CutPrefix(host, "*."); ok {
		return entry(b.table.wildcards, name)
	}
	return entry(b.table.hosts, host)
}

// claim takes a place in a leaf, or reports who has it already.
func (b *builder) claim(at **route, r *route, host, method string) {
	if *at == nil {
		*at = r
		return
	}
	first, second := (*at).index, r.index
	if first == second || b.reported[[2]int{first, second}] {
		return // listed twice in one pattern, or known from another method or host
	}
	b.reported[[2]int{first, second}] = true
	what := "any method"
	if method != "" {
		what = method
	}
	if host != "*" {
		what += " on " + host
	}
	b.conflicts = append(b.conflicts, Conflict{First: first, Second: second,
		Message: fmt.Sprintf("%s and %s match the same requests (%s), and neither comes first", b.label(first), b.label(second), what),
		Hint:    "make their hosts, paths or methods differ, or join them"})
}

// grow gives the node at the end of the segments, making what is missing.
func (n *node) grow(segments []segment) *node {
	for i, s := range segments {
		switch {
		case s.kind == rest:
			n = child(&n.rest)
			for j := len(segments) - 1; j > i; j-- {
				n = n.literal(segments[j].text)
			}
			if s.suffix != "" {
				n = n.affixes.grow(affix{suffix: s.suffix})
			}
			return n
		case s.kind == literal:
			n = n.literal(s.text)
		case s.text == "" && s.suffix == "":
			n = child(&n.one)
		default:
			n = n.affixes.grow(affix{s.text, s.suffix})
		}
	}
	return n
}

func (n *node) literal(text string) *node {
	if n.literals == nil {
		n.literals = map[string]*node{}
	}
	return entry(n.literals, text)
}

func (a *affixes) grow(key affix) *node {
	if a.nodes == nil {
		a.nodes = map[affix]*node{}
	}
	length := affixLength{len(key.prefix), len(key.suffix)}
	at, found := slices.BinarySearchFunc(a.lengths, length, func(x, y affixLength) int {
		return cmp.Or(cmp.Compare(y.prefix, x.prefix), cmp.Compare(y.suffix, x.suffix))
	})
	if !found {
		a.lengths = slices.Insert(a.lengths, at, length)
	}
	return entry(a.nodes, key)
}

// child gives the node at a place, making it if it is missing.
func child(at **node) *node {
	if *at == nil {
		*at = &node{}
	}
	return *at
}

// entry gives the node under a key, making it if it is missing.
func entry[K comparable](m map[K]*node, key K) *node {
	n := m[key]
	if n == nil {
		n = &node{}
		m[key] = n
	}
	return n
}
