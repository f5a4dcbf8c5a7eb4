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

	// Fold compares the path without regard to case. All templates of the table
	// must be folded, see Template.Fold. A Target that is not Foldable has no
	// route. What is captured is as it came.
	Fold bool
}

// A Match is the route that was found for a request, and what the variables of
// its path captured: as a value.Mapping, each name and its string. It reads the
// segments of the request's Target, so it is valid until that Target's next
// Parse or Reset. The zero Match is no match.
type Match struct {
	table  *Table
	index  int32 // of the route, plus one
	target *target.Target
}

// route gives the route; there must be one.
func (m *Match) route() *route { return m.table.routes[m.index-1] }

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
	s := search{Request: *r, table: t, length: r.length(), number: t.methods[r.Method]}
	if r.Method == "HEAD" {
		s.instead = t.methods["GET"]
	}
	found := s.find()
	if found <= 0 {
		return false, s.refused
	}
	*m = Match{table: t, index: found, target: r.Target}
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
	*m = Match{table: t, index: int32(index + 1), target: r.Target}
	return true, ""
}

// proper tells whether there is all of a request that a pattern asks for.
func (r *Request) proper() bool {
	return r.Host != "" && r.Method != "" && r.Target.OK() && (!r.Fold || r.Target.Foldable())
}

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

// A search is one walk through a table, from the most specific pattern to the
// least, until one has a route. The depth of a cell is the index of the segment
// that is read there, so no cell is visited twice.
type search struct {
	Request
	table   *Table
	number  uint16 // of the method; zero: no pattern lists it
	instead uint16 // of GET, for HEAD
	length  int    // see Request.length
	refused Refusal
}

// What a search finds is a route by its index plus one, or one of these.
const (
	nothing = 0
	refusal = -1 // the search ends, and found none
)

// find goes through the host patterns that fit, from the most specific one.
func (s *search) find() int32 {
	t := s.table
	if t.hasHosts {
		if c := t.child(hostParent, s.Host); c != 0 {
			if found := s.from(c, 0); found != nothing {
				return found
			}
		}
	}
	if t.hasWildcards {
		for rest := s.Host; ; {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				break
			}
			if c := t.child(wildcardParent, after); c != 0 {
				if found := s.from(c, 0); found != nothing {
					return found
				}
			}
			rest = after
		}
	}
	if t.any != 0 {
		return s.from(t.any, 0)
	}
	return nothing
}

// segment gives segment i of the path; that of a trailing slash is empty.
func (r *Request) segment(i int) string {
	if i == r.Target.Len() {
		return ""
	}
	if r.Fold {
		return target.FoldCase(r.Target.Segment(i))
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

// from finds the route for segments i and on, below a cell.
func (s *search) from(id int32, i int) int32 {
	t := s.table
	c := &t.cells[id-1]
	if i == s.length {
		return s.end(c)
	}
	text := s.segment(i)
	if c.literals {
		if to := t.child(id, text); to != 0 {
			if found := s.from(to, i+1); found != nothing {
				return found
			}
		}
	}
	if text != "" {
		if c.affixes != 0 {
			a := &t.affixes[c.affixes-1]
			for _, l := range a.lengths {
				if to := a.find(l, text); to != 0 && len(text) > l.prefix+l.suffix {
					if found := s.from(to, i+1); found != nothing {
						return found
					}
				}
			}
		}
		if c.one != 0 {
			if found := s.from(c.one, i+1); found != nothing {
				return found
			}
		}
	}
	if c.rest != 0 {
		return s.back(c.rest, i, s.length-1)
	}
	return nothing
}

// back finds the route of a ** that takes segments first to last, or fewer if
// the literals below the cell take some from the end. One is left to it at least.
func (s *search) back(id int32, first, last int) int32 {
	t := s.table
	c := &t.cells[id-1]
	text := s.segment(last)
	if last > first && c.literals {
		if to := t.child(id, text); to != 0 {
			if found := s.back(to, first, last-1); found != nothing {
				return found
			}
		}
	}
	if c.affixes != 0 {
		a := &t.affixes[c.affixes-1]
		for _, l := range a.lengths {
			if to := a.find(l, text); to != 0 {
				if found := s.end(&t.cells[to-1]); found != nothing {
					return found
				}
			}
		}
	}
	return s.end(c)
}

// end finds the route of a path that ends at a cell: by method, then by upgrade,
// then by headers and parameters.
func (s *search) end(c *cell) int32 {
	if found := s.listed(c, s.number); found != nothing {
		return found
	}
	if found := s.listed(c, s.instead); found != nothing {
		return found
	}
	if c.any == 0 || s.Method == "CONNECT" {
		return nothing
	}
	return s.among(c.any)
}

// listed finds the route of those that list a method.
func (s *search) listed(c *cell, method uint16) int32 {
	if method == 0 {
		return nothing
	}
	if c.method == method {
		return s.among(c.first)
	}
	if c.more != 0 {
		for _, m := range s.table.more[c.more-1] {
			if m.method == method {
				return s.among(m.routes)
			}
		}
	}
	return nothing
}

// among finds the route among those of one host, path and method.
func (s *search) among(routes routesRef) int32 {
	if routes > 0 {
		if s.Upgrade == NoUpgrade {
			return int32(routes)
		}
		return nothing
	}
	l := &s.table.slots[^routes]
	if l.only != nil {
		if l.only.upgrade.takes(s.Upgrade) {
			return int32(l.only.index + 1)
		}
		return nothing
	}
	for _, u := range [...]Upgrade{s.Upgrade, AnyUpgrade} {
		if u > AnyUpgrade || l.ways[u] == nil {
			continue
		}
		r, refused := l.ways[u].find(&s.Request)
		if refused != "" {
			s.refused = refused
			return refusal
		}
		if r != nil {
			return int32(r.index + 1)
		}
	}
	return nothing
}

// ID is the ID of the pattern, -1 if there is no match.
func (m *Match) ID() int {
	if m.index == 0 {
		return -1
	}
	return int(m.table.ids[m.index-1])
}

// Name is the name of the pattern, "" if there is no match.
func (m *Match) Name() string {
	if m.index == 0 {
		return ""
	}
	return m.route().name
}

// Len is the number of captures.
func (m *Match) Len() int {
	if m.index == 0 {
		return 0
	}
	return len(m.route().captures)
}

// Capture gives name and value of capture i, 0 <= i < Len(), in the order of
// the template. The value is the decoded text. A variable that takes, or could
// take, several segments has them as target.Target.Visible gives them, joined
// by '/', which none of them holds then; that alone allocates.
func (m *Match) Capture(i int) (name, val string) {
	c := &m.route().captures[i]
	return c.name, m.text(c)
}

// Get gives the value of the variable with this name, and whether there is one.
func (m *Match) Get(name string) (string, bool) {
	for i := range m.Len() {
		if c := &m.route().captures[i]; c.name == name {
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
	shift := s.length() - m.route().length // 0 unless there is a **
	first, last := c.first, c.last
	if first > m.route().rest {
		first += shift
	}
	if last >= m.route().rest {
		last += shift
	}
	if first == last {
		text := s.segment(first)
		if c.first == m.route().rest { // there might have been more segments
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
