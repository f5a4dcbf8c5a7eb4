package routing

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"edict/extauthz/target"
)

// A Pattern says which requests a route is for.
type Pattern struct {
	ID      int      // given back by a Match; not negative; patterns may share it
	Name    string   // for messages
	Hosts   []string // exact names, "*.suffix" (one or more labels before it) or "*"; empty: any host
	Methods []string // exact, case-sensitive; empty: any but CONNECT
	Path    Template
	Upgrade Upgrade   // the zero value takes plain requests alone
	Headers []Matcher // all must fit, as those of Query; no name twice
	Query   []Matcher
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
	// Cells below mask+1 are those of literals, at their hash or behind it; see
	// cell.
	cells []cell
	mask  uint32
	seed  maphash.Seed
	long  map[int32]string // literals that cells are too small for, by index of the cell

	any                    int32 // where the patterns for every host begin
	hasHosts, hasWildcards bool

	methods map[string]uint16 // numbers of the methods that patterns list
	affixes []affixes
	more    [][]methodRef
	slots   []slot
	routes  []*route // by index of the pattern
	ids     []int32  // of the routes, where they are not looked at
}

// A route is what the table gives: the pattern, ready for use.
type route struct {
	id       int
	name     string
	index    int // of the pattern
	length   int // segments of the template, a trailing slash included
	rest     int // which of them is **; length if none is
	captures []capture
	segments []segment
	hosts    []string // canonical; "*" for any
	methods  []string // empty: any but CONNECT
	upgrade  Upgrade
	matchers []matcher // by source
	rank     rank
}

// A node stands for the pattern segments on the way to it, while the table is
// made. Below rest, the ways run backwards from the end of the path, over the
// literals after **.
type node struct {
	literals map[string]*node // "": the trailing slash
	affixes  map[affix]*node  // wildcards with text around them
	one      *node            // plain wildcard
	rest     *node            // **

	// For paths that end here.
	any     *slot // for every method but CONNECT; nil if no route is
	methods []methodSlot
}

type affix struct{ prefix, suffix string }

type affixLength struct{ prefix, suffix int }

type methodSlot struct {
	method string
	slot   *slot
}

// A slot holds the routes of one host, path and method.
type slot struct {
	only *route // the one that there is, without matchers
	ways []*way // otherwise; by the upgrade of the patterns, nil if none has it

	claims []*route // while the table is made
}

// New compiles patterns. If there are conflicts, it gives all of them, in the
// order of the patterns, and no Table.
func New(patterns []Pattern) (*Table, []Conflict) {
	b := builder{
		patterns: patterns,
		hosts:    map[string]*node{}, wildcards: map[string]*node{},
		reported: map[[2]int]bool{},
	}
	for i := range patterns {
		b.add(i)
	}
	for i := range b.slots {
		b.settle(&b.slots[i])
	}
	slices.SortStableFunc(b.conflicts, func(x, y Conflict) int { return cmp.Compare(x.Second, y.Second) })
	if len(b.conflicts) > 0 {
		return nil, b.conflicts
	}
	b.freeze()
	table := b.table // without what made it
	return &table, nil
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

	hosts     map[string]*node // by exact name
	wildcards map[string]*node // by what follows "*."
	any       *node            // for every host; nil if no pattern is
	nodes     []*node          // all
	slots     []placedSlot     // all
}

// A placedSlot is a slot and where it is, for messages.
type placedSlot struct {
	slot         *slot
	host, method string // of any method: empty
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
	if p.Upgrade > AnyUpgrade {
		b.fault(i, "name one of none, websocket and any", "the upgrade is unknown")
	}
	matchers := b.matchers(i)
	if len(b.conflicts) > before {
		return
	}
	r := &route{
		id: p.ID, name: p.Name, index: i, captures: p.Path.captures, length: len(p.Path.segments), rest: len(p.Path.segments),
		segments: p.Path.segments, hosts: hosts, methods: p.Methods, upgrade: p.Upgrade, matchers: matchers, rank: rankOf(matchers),
	}
	if k := slices.IndexFunc(p.Path.segments, func(s segment) bool { return s.kind == rest }); k >= 0 {
		r.rest = k
	}
	b.table.routes = append(b.table.routes, r)
	for _, h := range hosts {
		leaf := b.grow(b.root(h), p.Path.segments)
		if len(p.Methods) == 0 {
			b.claim(&leaf.any, r, h, "")
		}
		for _, m := range p.Methods {
			at := slices.IndexFunc(leaf.methods, func(s methodSlot) bool { return s.method == m })
			if at < 0 {
				at = len(leaf.methods)
				leaf.methods = append(leaf.methods, methodSlot{method: m})
			}
			b.claim(&leaf.methods[at].slot, r, h, m)
		}
	}
}

// matchers makes the matchers of pattern i ready for use.
func (b *builder) matchers(i int) []matcher {
	p := &b.patterns[i]
	var out []matcher
	for _, header := range []bool{true, false} {
		list := p.Query
		if header {
			list = p.Headers
		}
		for _, m := range list {
			if err := m.Check(header); err != nil {
				b.fault(i, "", "%v", err)
				continue
			}
			ready := matcher{source: source{header, m.Name}, kind: m.Kind, text: m.Text}
			if m.Kind == Regex {
				ready.regex, _ = m.regex() // Check has seen that it compiles
			}
			if slices.ContainsFunc(out, func(o matcher) bool { return o.source == ready.source }) {
				b.fault(i, "name it once", "the %s is there twice", ready.source)
			}
			out = append(out, ready)
		}
	}
	if len(out) > MaxMatchers {
		b.fault(i, "", "there are more than %d headers and parameters", MaxMatchers)
	}
	slices.SortFunc(out, func(x, y matcher) int { return x.source.compare(y.source) })
	return out
}

// root gives the node where the patterns of a canonical host begin.
func (b *builder) root(host string) *node {
	if host == "*" {
		return b.child(&b.any)
	}
	if name, ok := strings.CutPrefix(host, "*."); ok {
		return b.entry(&b.wildcards, name)
	}
	return b.entry(&b.hosts, host)
}

// claim puts a route into a slot.
func (b *builder) claim(at **slot, r *route, host, method string) {
	if *at == nil {
		*at = new(slot)
		b.slots = append(b.slots, placedSlot{*at, host, method})
	}
	if s := *at; !slices.Contains(s.claims, r) { // it may say a host or a method twice
		s.claims = append(s.claims, r)
	}
}

// settle puts the routes of a slot in order.
func (b *builder) settle(p *placedSlot) {
	s := p.slot
	claims := s.claims
	s.claims = nil
	if len(claims) == 1 && len(claims[0].matchers) == 0 {
		s.only = claims[0]
		return
	}
	s.ways = make([]*way, AnyUpgrade+1)
	for upgrade := range s.ways {
		var routes []*route
		for _, r := range claims {
			if r.upgrade == Upgrade(upgrade) {
				routes = append(routes, r)
			}
		}
		if len(routes) > 0 {
			s.ways[upgrade] = b.way(p, routes)
		}
	}
}

// way orders the routes of one host, path, method and upgrade.
func (b *builder) way(p *placedSlot, routes []*route) *way {
	w := new(way)
	var matched []*route
	for _, r := range routes {
		switch {
		case len(r.matchers) > 0:
			matched = append(matched, r)
			for i := range r.matchers {
				w.reads = addRead(w.reads, &r.matchers[i])
			}
		case w.plain == nil:
			w.plain = r
		default:
			b.clash(p, w.plain, r)
		}
	}
	if len(w.reads) > maxReads {
		b.fault(matched[len(matched)-1].index, "give them paths or hosts of their own",
			"together with other routes of its path it is told apart by more than %d headers and parameters", maxReads)
		return w
	}
	slices.SortFunc(w.reads, func(x, y read) int { return x.source.compare(y.source) })
	// The more specific first; between two of one rank that both fit some
	// request, the one that fits less has the longer texts.
	slices.SortStableFunc(matched, func(x, y *route) int {
		return cmp.Or(slices.Compare(y.rank[:], x.rank[:]), slices.CompareFunc(x.matchers, y.matchers, compareShapes),
			cmp.Compare(textLength(y.matchers), textLength(x.matchers)))
	})
	first := 0 // shape of this rank
	var members [][]*route
	for len(matched) > 0 {
		r := matched[0]
		n := 1
		for n < len(matched) && matched[n].rank == r.rank && slices.CompareFunc(matched[n].matchers, r.matchers, compareShapes) == 0 {
			n++
		}
		if k := len(w.shapes); k > 0 && w.shapes[k-1].rank != r.rank {
			first = k
		}
		for k := first; k < len(w.shapes); k++ {
			b.compare(p, members[k], matched[:n])
		}
		w.shapes = append(w.shapes, b.shape(p, w.reads, matched[:n]))
		members = append(members, matched[:n])
		matched = matched[n:]
	}
	tried := 0
	for i := range w.shapes {
		tried += w.shapes[i].most
	}
	if tried > maxTried {
		b.fault(routes[len(routes)-1].index, "tell them apart by exact values, or by paths or hosts of their own",
			"it is one of %d routes of its path that have to be tried one after another, more than %d", tried, maxTried)
	}
	return w
}

// shape makes the shape of routes whose matchers have the same names and kinds.
func (b *builder) shape(p *placedSlot, reads []read, routes []*route) shape {
	s := shape{rank: routes[0].rank, root: new(valueNode)}
	index := func(m *matcher) int {
		return slices.IndexFunc(reads, func(d read) bool { return d.source == m.source })
	}
	for i := range routes[0].matchers {
		if m := &routes[0].matchers[i]; m.kind == Exact {
			s.exact = append(s.exact, index(m))
		}
	}
	for _, r := range routes {
		n, t := s.root, tried{route: r}
		for i := range r.matchers {
			m := &r.matchers[i]
			if m.kind != Exact {
				t.rest = append(t.rest, indexed{m, index(m)})
				continue
			}
			if n.next == nil {
				n.next = map[string]*valueNode{}
			}
			to := n.next[m.text]
			if to == nil {
				to = new(valueNode)
				n.next[m.text] = to
			}
			n = to
		}
		for i := range n.routes {
			b.compareTwo(p, n.routes[i].route, r)
		}
		n.routes = append(n.routes, t)
		s.most = max(s.most, len(n.routes))
	}
	return s
}

// compare reports which of the routes of two shapes of one rank may fit one
// request. Those whose exact matchers of one name differ need no look.
func (b *builder) compare(p *placedSlot, xs, ys []*route) {
	key := func(r, o *route) string {
		var key strings.Builder
		for i := range r.matchers {
			for j := range o.matchers {
				if m, n := &r.matchers[i], &o.matchers[j]; m.source == n.source && m.kind == Exact && n.kind == Exact {
					fmt.Fprintf(&key, "%d:%s", len(m.text), m.text)
				}
			}
		}
		return key.String()
	}
	same := map[string][]*route{}
	for _, x := range xs {
		k := key(x, ys[0])
		same[k] = append(same[k], x)
	}
	for _, y := range ys {
		for _, x := range same[key(y, xs[0])] {
			if b.compareTwo(p, x, y) {
				break // one is enough to mend it
			}
		}
	}
}

// compareTwo reports two routes of one rank that may fit one request, if
// neither fits less than the other. It tells whether it did.
func (b *builder) compareTwo(p *placedSlot, x, y *route) bool {
	if x.disjoint(y) || x.implies(y) != y.implies(x) {
		return false
	}
	b.clash(p, x, y)
	return true
}

// clash reports two routes with nothing to choose between them.
func (b *builder) clash(p *placedSlot, x, y *route) {
	first, second := min(x.index, y.index), max(x.index, y.index)
	if b.reported[[2]int{first, second}] {
		return // known from another method or host
	}
	b.reported[[2]int{first, second}] = true
	what := "any method"
	if p.method != "" {
		what = p.method
	}
	if p.host != "*" {
		what += " on " + p.host
	}
	message, hint := "match the same requests", "make their hosts, paths or methods differ, or join them"
	if len(x.matchers) > 0 {
		message, hint = "can match the same request", "let one say more about headers or query than the other, or exclude what the other takes"
	}
	b.conflicts = append(b.conflicts, Conflict{First: first, Second: second,
		Message: fmt.Sprintf("%s and %s %s (%s), and neither comes first", b.label(first), b.label(second), message, what), Hint: hint})
}

// addRead notes what a matcher looks at.
func addRead(reads []read, m *matcher) []read {
	i := slices.IndexFunc(reads, func(d read) bool { return d.source == m.source })
	if i < 0 {
		i = len(reads)
		reads = append(reads, read{source: m.source})
	}
	reads[i].valued = reads[i].valued || m.kind < Present
	reads[i].regex = reads[i].regex || m.kind == Regex
	return reads
}

func (s source) compare(o source) int {
	if s.header != o.header {
		if s.header {
			return -1
		}
		return 1
	}
	return cmp.Compare(s.name, o.name)
}

func compareShapes(x, y matcher) int {
	return cmp.Or(x.source.compare(y.source), cmp.Compare(x.kind, y.kind))
}

// textLength is the length of the texts that are parts of values.
func textLength(matchers []matcher) (n int) {
	for i := range matchers {
		if k := matchers[i].kind; k == Prefix || k == Suffix || k == Contains {
			n += len(matchers[i].text)
		}
	}
	return n
}

// grow gives the node at the end of the segments, making what is missing.
func (b *builder) grow(n *node, segments []segment) *node {
	for i, s := range segments {
		switch {
		case s.kind == rest:
			n = b.child(&n.rest)
			for j := len(segments) - 1; j > i; j-- {
				n = b.entry(&n.literals, segments[j].text)
			}
			if s.suffix != "" {
				n = b.around(n, affix{suffix: s.suffix})
			}
			return n
		case s.kind == literal:
			n = b.entry(&n.literals, s.text)
		case s.text == "" && s.suffix == "":
			n = b.child(&n.one)
		default:
			n = b.around(n, affix{s.text, s.suffix})
		}
	}
	return n
}

// child gives the node at a place, making it if it is missing.
func (b *builder) child(at **node) *node {
	if *at == nil {
		*at = &node{}
		b.nodes = append(b.nodes, *at)
	}
	return *at
}

// entry gives the node under a key, making it if it is missing.
func (b *builder) entry(m *map[string]*node, key string) *node {
	if *m == nil {
		*m = map[string]*node{}
	}
	n := (*m)[key]
	(*m)[key] = b.child(&n)
	return n
}

// around gives the node of a wildcard with text around it.
func (b *builder) around(n *node, key affix) *node {
	if n.affixes == nil {
		n.affixes = map[affix]*node{}
	}
	to := n.affixes[key]
	n.affixes[key] = b.child(&to)
	return to
}

// addLength adds lengths to those that are tried: the longer text before the
// wildcard first, then the longer one after it.
func addLength(list []affixLength, length affixLength) []affixLength {
	at, found := slices.BinarySearchFunc(list, length, func(x, y affixLength) int {
		return cmp.Or(cmp.Compare(y.prefix, x.prefix), cmp.Compare(y.suffix, x.suffix))
	})
	if found {
		return list
	}
	return slices.Insert(list, at, length)
}
