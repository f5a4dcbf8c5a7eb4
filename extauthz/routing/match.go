package routing

import (
	"slices"
	"strings"

	"edict/engine/value"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// A Request is what a route is looked for. The host must be canonical, as
// target.Host gives it. The method of a handshake of WebSocket over HTTP/2 is
// GET, as it is over HTTP/1.1.
type Request struct {
	Host, Method string
	Upgrade      Upgrade
	Target       *target.Target
	Headers      *wire.Request // where headers are read; nil: there are none
}

// A Match is the route that was found for a request, and what the variables of
// its path captured: as a value.Mapping, each name and its string. It reads the
// segments of the request's Target, so it is valid until that Target's next
// Parse or Reset. The zero Match is no match.
type Match struct {
	route  *route
	target *target.Target
}

// Match finds the best pattern for a request and tells whether there is one.
// There is none, and a Refusal, if a header or parameter that would have to be
// looked at can be read in more than one way. m is overwritten in any case, and
// is the zero Match if there is none.
//
// A gRPC call is matched by its path like any other request; that the path of
// one is well-formed is for the caller to check, see target.GRPCMethod.
func (t *Table) Match(r *Request, m *Match) (bool, Refusal) {
	*m = Match{}
	if t == nil || !r.proper() {
		return false, ""
	}
	s := search{Request: *r, length: r.length(), stop: t.stop}
	found := t.find(&s)
	if found == nil || s.refused != "" {
		return false, s.refused
	}
	*m = Match{route: found, target: r.Target}
	return true, ""
}

// MatchPattern tells whether the pattern with this index, in the order in which
// New got them, matches a request, whichever others do. It answers as Match.
func (t *Table) MatchPattern(index int, r *Request, m *Match) (bool, Refusal) {
	*m = Match{}
	if t == nil || index < 0 || index >= len(t.routes) || !r.proper() {
		return false, ""
	}
	s := search{Request: *r, length: r.length()}
	found := t.routes[index]
	if !found.takesHost(r.Host) || !found.takesMethod(r.Method) || !found.upgrade.takes(r.Upgrade) || !found.takesPath(&s) {
		return false, ""
	}
	if fits, refused := found.fits(r); !fits {
		return false, refused
	}
	*m = Match{route: found, target: r.Target}
	return true, ""
}

// proper tells whether there is all of a request that a pattern asks for.
func (r *Request) proper() bool { return r.Host != "" && r.Method != "" && r.Target.OK() }

// length is the number of segments, a trailing slash counted as one more.
func (r *Request) length() int {
	if r.Target.TrailingSlash() {
		return r.Target.Len() + 1
	}
	return r.Target.Len()
}

// takes tells whether a pattern of the upgrade takes a request of another.
func (u Upgrade) takes(request Upgrade) bool {
	return u == AnyUpgrade || u == request && u != OtherUpgrade
}

func (r *route) takesHost(host string) bool {
	for _, h := range r.hosts {
		if h == host || h == "*" {
			return true
		}
		if suffix, ok := strings.CutPrefix(h, "*"); ok && len(host) > len(suffix) && strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

func (r *route) takesMethod(method string) bool {
	return len(r.methods) == 0 && method != "CONNECT" || slices.Contains(r.methods, method) || method == "HEAD" && slices.Contains(r.methods, "GET")
}

// takesPath compares the segments from the left up to **, and those after it
// from the right.
func (r *route) takesPath(s *search) bool {
	for i := range r.segments[:r.rest] {
		if i >= s.length || !r.segments[i].takes(s.segment(i)) {
			return false
		}
	}
	if r.rest == r.length {
		return s.length == r.length
	}
	after := r.segments[r.rest+1:]
	first := s.length - len(after) // of those after **
	if first <= r.rest {
		return false // nothing is left for **
	}
	for i := range after {
		if !after[i].takes(s.segment(first + i)) {
			return false
		}
	}
	return strings.HasSuffix(s.segment(first-1), r.segments[r.rest].suffix)
}

// takes tells whether a pattern segment other than ** matches a segment.
func (p *segment) takes(text string) bool {
	if p.kind == literal {
		return p.text == text
	}
	return len(text) > len(p.text)+len(p.suffix) && strings.HasPrefix(text, p.text) && strings.HasSuffix(text, p.suffix)
}

// find goes through the host patterns that fit, from the most specific one.
func (t *Table) find(s *search) *route {
	host := s.Host
	if n := t.hosts[host]; n != nil {
		if r := s.from(n, 0); r != nil {
			return r
		}
	}
	if len(t.wildcards) > 0 {
		for rest := host; ; {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			if n := t.wildcards[after]; n != nil {
				if r := s.from(n, 0); r != nil {
					return r
				}
			}
			rest = after
		}
	}
	if t.any != nil {
		return s.from(t.any, 0)
	}
	return nil
}

// A search is one walk through a table, from the most specific pattern to the
// least, until one has a route. The depth of a node is the index of the segment
// that is read there, so no node is visited twice.
type search struct {
	Request
	length  int // see Request.length
	refused Refusal
	stop    *route // what is found if the request is refused; nobody sees it
}

// segment gives segment i of the path; that of a trailing slash is empty.
func (r *Request) segment(i int) string {
	if i == r.Target.Len() {
		return ""
	}
	return r.Target.Segment(i)
}

// visible gives segment i as target.Target.Visible does.
func (r *Request) visible(i int) string {
	if i == r.Target.Len() {
		return ""
	}
	return r.Target.Visible(i)
}

// from finds the route for segments i and on, below n.
func (s *search) from(n *node, i int) *route {
	if i == s.length {
		return n.leaf.route(s)
	}
	text := s.segment(i)
	if c := n.literals[text]; c != nil {
		if r := s.from(c, i+1); r != nil {
			return r
		}
	}
	if text != "" {
		for _, l := range n.affixes.lengths {
			if c := n.affixes.find(l, text); c != nil && len(text) > l.prefix+l.suffix {
				if r := s.from(c, i+1); r != nil {
					return r
				}
			}
		}
		if n.one != nil {
			if r := s.from(n.one, i+1); r != nil {
				return r
			}
		}
	}
	if n.rest != nil {
		return s.back(n.rest, i, s.length-1)
	}
	return nil
}

// back finds the route of a ** that takes segments first to last, or fewer if
// the literals below n take some from the end. One is left to it at least.
func (s *search) back(n *node, first, last int) *route {
	text := s.segment(last)
	if last > first {
		if c := n.literals[text]; c != nil {
			if r := s.back(c, first, last-1); r != nil {
				return r
			}
		}
	}
	for _, l := range n.affixes.lengths {
		if c := n.affixes.find(l, text); c != nil {
			if r := c.leaf.route(s); r != nil {
				return r
			}
		}
	}
	return n.leaf.route(s)
}

// find gives the node of the affix of these lengths that text has.
func (a *affixes) find(l affixLength, text string) *node {
	if len(text) < l.prefix+l.suffix {
		return nil
	}
	return a.nodes[affix{text[:l.prefix], text[len(text)-l.suffix:]}]
}

// route finds the route of a path: by method, then by upgrade, then by headers
// and parameters. A request that is refused ends the search.
func (l *leaf) route(s *search) *route {
	for i := range l.methods {
		if l.methods[i].method == s.Method {
			if r := l.methods[i].slot.route(s); r != nil {
				return r
			}
			break
		}
	}
	if s.Method == "HEAD" {
		for i := range l.methods {
			if l.methods[i].method == "GET" {
				if r := l.methods[i].slot.route(s); r != nil {
					return r
				}
				break
			}
		}
	}
	if l.any == nil || s.Method == "CONNECT" {
		return nil
	}
	return l.any.route(s)
}

func (l *slot) route(s *search) *route {
	if l.only != nil {
		if l.only.upgrade.takes(s.Upgrade) {
			return l.only
		}
		return nil
	}
	for _, u := range [...]Upgrade{s.Upgrade, AnyUpgrade} {
		if u > AnyUpgrade || l.ways[u] == nil {
			continue
		}
		r, refused := l.ways[u].find(&s.Request)
		if refused != "" {
			s.refused = refused
			return s.stop
		}
		if r != nil {
			return r
		}
	}
	return nil
}

// ID is the ID of the pattern, -1 if there is no match.
func (m *Match) ID() int {
	if m.route == nil {
		return -1
	}
	return m.route.id
}

// Name is the name of the pattern, "" if there is no match.
func (m *Match) Name() string {
	if m.route == nil {
		return ""
	}
	return m.route.name
}

// Len is the number of captures.
func (m *Match) Len() int {
	if m.route == nil {
		return 0
	}
	return len(m.route.captures)
}

// Capture gives name and value of capture i, 0 <= i < Len(), in the order of
// the template. The value is the decoded text. A variable that takes, or could
// take, several segments has them as target.Target.Visible gives them, joined
// by '/', which none of them holds then; that alone allocates.
func (m *Match) Capture(i int) (name, val string) {
	c := &m.route.captures[i]
	return c.name, m.text(c)
}

// Get gives the value of the variable with this name, and whether there is one.
func (m *Match) Get(name string) (string, bool) {
	for i := range m.Len() {
		if c := &m.route.captures[i]; c.name == name {
			return m.text(c), true
		}
	}
	return "", false
}

// Lookup implements value.Mapping; see Get.
func (m *Match) Lookup(name string) (value.Value, bool) {
	s, ok := m.Get(name)
	if !ok {
		return value.Value{}, false
	}
	return value.OfString(s), true
}

// Range implements value.Mapping, in the order of the template.
func (m *Match) Range(yield func(string, value.Value) bool) {
	for i := range m.Len() {
		if name, val := m.Capture(i); !yield(name, value.OfString(val)) {
			return
		}
	}
}

// text gives what a capture took. Pattern segments up to ** stand at their own
// index in the path, those after it at the same distance from the path's end.
func (m *Match) text(c *capture) string {
	s := Request{Target: m.target}
	shift := s.length() - m.route.length // 0 unless there is a **
	first, last := c.first, c.last
	if first > m.route.rest {
		first += shift
	}
	if last >= m.route.rest {
		last += shift
	}
	if first == last {
		text := s.segment(first)
		if c.first == m.route.rest { // there might have been more segments
			text = s.visible(first)
		}
		return text[c.skip : len(text)-c.trim]
	}
	var b strings.Builder
	for i := first; i <= last; i++ {
		if i > first {
			b.WriteByte('/')
		}
		b.WriteString(s.visible(i))
	}
	return b.String()[c.skip : b.Len()-c.trim]
}
