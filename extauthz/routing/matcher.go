package routing

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// The bounds of matchers.
const (
	MaxMatchers    = 8    // of a pattern
	MaxMatcherText = 1024 // bytes of a matcher's text
	MaxRegexInput  = 4096 // bytes of a value that a regular expression reads
	maxReads       = 16   // headers and parameters that tell the routes of one place apart
	maxTried       = 100  // routes of one place that are tried one after another
	regexHint      = "the syntax is that of RE2, and the whole value must match"
)

// An Upgrade says to what other protocol a request asks to change the
// connection.
type Upgrade uint8

// The upgrades. A Pattern takes requests of its own kind; one of AnyUpgrade
// takes all.
const (
	NoUpgrade    Upgrade = iota // a plain request
	WebSocket                   // a handshake of RFC 6455 or RFC 8441
	AnyUpgrade                  // of a Pattern: whatever it is
	OtherUpgrade                // of a Request: neither of the first two
)

// A MatcherKind says how a Matcher compares.
type MatcherKind uint8

// The kinds, from the most specific on.
const (
	Exact MatcherKind = iota
	Prefix
	Suffix
	Contains
	Regex   // RE2; the whole value must match
	Present // with whatever value
	Absent

	matcherKinds
)

// A Matcher is a condition on one header or one parameter of the query.
type Matcher struct {
	Name string // of a header in lower case
	Kind MatcherKind
	Text string // that is compared with; of Present and Absent empty
}

// Check tells what is wrong with a matcher of a header, or of a parameter;
// nil: nothing is.
func (m *Matcher) Check(header bool) error {
	switch {
	case m.Name == "":
		return errors.New("the name is empty")
	case m.Kind >= matcherKinds:
		return errors.New("the kind is unknown")
	case len(m.Text) > MaxMatcherText:
		return fmt.Errorf("the text is longer than %d bytes", MaxMatcherText)
	case header && strings.ToLower(m.Name) != m.Name:
		return fmt.Errorf("header %q: write its name in lower case", m.Name)
	case header && m.Name == "host", header && strings.HasPrefix(m.Name, ":"):
		return fmt.Errorf("header %q: hosts, methods and path have fields of their own", m.Name)
	case header && (m.Name == "upgrade" || m.Name == "connection"):
		return fmt.Errorf("header %q: match by upgrade instead", m.Name)
	case header && !wire.ValidHeader(m.Name, "x"):
		return fmt.Errorf("%q is not the name of a header", m.Name)
	case m.Kind != Exact && m.Kind < Present && m.Text == "":
		return errors.New("every value matches an empty text; write {present: true} if that is meant")
	case m.Kind == Regex:
		if _, err := m.regex(); err != nil {
			return fmt.Errorf("%w; %s", err, regexHint)
		}
	}
	return nil
}

func (m *Matcher) regex() (*regexp.Regexp, error) {
	// By itself first, so that a parenthesis too many can't undo the anchors.
	if _, err := regexp.Compile(m.Text); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + m.Text + `)\z`)
}

// A source is where a matcher reads.
type source struct {
	header bool // or else the query
	name   string
}

func (s source) String() string {
	if s.header {
		return "header " + s.name
	}
	return "parameter " + s.name
}

// A matcher is a Matcher, ready for use.
type matcher struct {
	source
	kind  MatcherKind
	text  string
	regex *regexp.Regexp
}

// takes tells whether a value that is there fits.
func (m *matcher) takes(value string) bool {
	switch m.kind {
	case Exact:
		return value == m.text
	case Prefix:
		return strings.HasPrefix(value, m.text)
	case Suffix:
		return strings.HasSuffix(value, m.text)
	case Contains:
		return strings.Contains(value, m.text)
	case Regex:
		return m.regex.MatchString(value)
	case Present:
		return true
	default:
		return false
	}
}

// contradicts tells whether it is certain that no value fits both.
func (m *matcher) contradicts(n *matcher) bool {
	if (m.kind == Absent) != (n.kind == Absent) {
		return true
	}
	switch {
	case m.kind == Exact:
		return !n.takes(m.text)
	case n.kind == Exact:
		return !m.takes(n.text)
	case m.kind == Prefix && n.kind == Prefix:
		return !strings.HasPrefix(m.text, n.text) && !strings.HasPrefix(n.text, m.text)
	case m.kind == Suffix && n.kind == Suffix:
		return !strings.HasSuffix(m.text, n.text) && !strings.HasSuffix(n.text, m.text)
	}
	return false
}

// entails tells whether it is certain that every value that fits m fits n.
func (m *matcher) entails(n *matcher) bool {
	switch {
	case m.kind == n.kind && m.text == n.text:
		return true
	case n.kind == Present:
		return m.kind != Absent
	case m.kind == Exact:
		return n.takes(m.text)
	case n.kind == Prefix:
		return m.kind == Prefix && strings.HasPrefix(m.text, n.text)
	case n.kind == Suffix:
		return m.kind == Suffix && strings.HasSuffix(m.text, n.text)
	case n.kind == Contains:
		return m.kind < Regex && strings.Contains(m.text, n.text)
	}
	return false
}

// A rank says how specific the matchers of a route are: how many there are, how
// many of them are of headers, and how many of each kind.
type rank [2 + matcherKinds]uint8

func rankOf(matchers []matcher) (r rank) {
	for i := range matchers {
		r[0]++
		if matchers[i].header {
			r[1]++
		}
		r[2+matchers[i].kind]++
	}
	return r
}

// disjoint tells whether it is certain that no request fits both.
func (r *route) disjoint(o *route) bool {
	for i := range r.matchers {
		for j := range o.matchers {
			if m, n := &r.matchers[i], &o.matchers[j]; m.source == n.source && m.contradicts(n) {
				return true
			}
		}
	}
	return false
}

// implies tells whether it is certain that every request that fits the
// matchers of r fits those of o.
func (r *route) implies(o *route) bool {
	return !slices.ContainsFunc(o.matchers, func(n matcher) bool {
		return !slices.ContainsFunc(r.matchers, func(m matcher) bool { return m.source == n.source && m.entails(&n) })
	})
}

// A way holds the routes of one host, path, method and upgrade. What tells them
// apart is headers and parameters. Each of these is read once; what is read
// settles whether the request can be read in one way only.
type way struct {
	reads  []read  // at most maxReads, by source
	shapes []shape // from the most specific on
	plain  *route  // without matchers; nil if there is none
}

// A read is a header or parameter that matchers of a way look at.
type read struct {
	source
	valued bool // some look at its value
	regex  bool // some by a regular expression
}

// A shape is the routes of a way whose matchers have the same names and kinds.
// They are found by the values of the exact ones, not searched.
type shape struct {
	rank  rank
	exact []int // indexes of reads
	root  *valueNode
	most  int // routes at one node
}

// A valueNode is reached by the values of some exact matchers of a shape.
type valueNode struct {
	next   map[string]*valueNode
	routes []tried // at the end, from the most specific on
}

// A tried is a route with its matchers that are not exact.
type tried struct {
	route *route
	rest  []indexed
}

type indexed struct {
	*matcher
	read int
}

// values are what a request has at the reads of a way.
type values struct {
	text [maxReads]string
	has  [maxReads]bool
}

// A Refusal says why a request can't be matched, in the words of logs. It is
// empty if it can.
type Refusal string

// The refusals, beside those that a query has; see target.Reason.
const (
	RepeatedHeader Refusal = "matched_header_repeated" // a matcher reads a header that came more than once
	JoinedHeader   Refusal = "matched_header_joined"   // it may have, since Envoy joined headers and it has a comma
	LongValue      Refusal = "matched_value_too_long"  // for a regular expression
)

// read gives what the request has at one read.
func (r *Request) read(d *read) (text string, has bool, refused Refusal) {
	if d.header {
		if r.Headers == nil {
			return "", false, ""
		}
		var count int
		text, count = r.Headers.Header(d.name)
		switch {
		case count > 1:
			return "", false, RepeatedHeader
		case d.valued && strings.IndexByte(text, ',') >= 0 && !r.Headers.RawHeaders():
			return "", false, JoinedHeader
		}
		has = count == 1
	} else {
		q, reason := r.Target.Query()
		if q == nil {
			return "", false, Refusal(reason.String())
		}
		var count int
		if text, count = q.Get(d.name); count > 1 {
			return "", false, Refusal(target.QueryDuplicate.String())
		}
		has = count == 1
	}
	if d.regex && len(text) > MaxRegexInput {
		return "", false, LongValue
	}
	return text, has, ""
}

// find gives the best route of a way for a request, nil if none fits.
func (w *way) find(r *Request) (*route, Refusal) {
	if len(w.reads) == 0 {
		return w.plain, ""
	}
	var v values
	for i := range w.reads {
		var refused Refusal
		if v.text[i], v.has[i], refused = r.read(&w.reads[i]); refused != "" {
			return nil, refused
		}
	}
	for i := range w.shapes {
		if found := w.shapes[i].find(&v); found != nil {
			return found, ""
		}
	}
	return w.plain, ""
}

func (s *shape) find(v *values) *route {
	n := s.root
	for _, i := range s.exact {
		if !v.has[i] {
			return nil
		}
		if n = n.next[v.text[i]]; n == nil {
			return nil
		}
	}
	for i := range n.routes {
		if t := &n.routes[i]; t.fits(v) {
			return t.route
		}
	}
	return nil
}

func (t *tried) fits(v *values) bool {
	for _, m := range t.rest {
		if v.has[m.read] == (m.kind == Absent) || m.kind != Absent && !m.takes(v.text[m.read]) {
			return false
		}
	}
	return true
}

// fits tells whether a request fits the matchers of one route.
func (r *route) fits(req *Request) (bool, Refusal) {
	ok := true
	for i := range r.matchers {
		m := &r.matchers[i]
		text, has, refused := req.read(&read{m.source, m.kind < Present, m.kind == Regex})
		if refused != "" {
			return false, refused
		}
		ok = ok && has != (m.kind == Absent) && (m.kind == Absent || m.takes(text))
	}
	return ok, ""
}
