package routing_test

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/extauthz/routing"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// A listed pattern is one of the slow list, the second opinion on the table:
// every pattern is tried, and the best of those that match is taken. It shares
// no code with the table. Paths are matched by the regular expression that
// Envoy makes of the template, and the order works on the template's text.
type listed struct {
	routing.Pattern
	re    *regexp.Regexp
	parts []string // the template's segments without braces and names
}

var variables = regexp.MustCompile(`\{([A-Za-z][A-Za-z0-9_]*)(?:=([^}]*))?\}`)

func list(p routing.Pattern) listed {
	source := p.Path.String()
	bare := variables.ReplaceAllStringFunc(source, func(v string) string {
		if m := variables.FindStringSubmatch(v)[2]; m != "" {
			return m
		}
		return "*"
	})
	var re strings.Builder
	re.WriteString(`(?s)^`)
	for last := 0; ; {
		at := variables.FindStringSubmatchIndex(source[last:])
		if at == nil {
			re.WriteString(glob(source[last:]))
			break
		}
		re.WriteString(glob(source[last : last+at[0]]))
		name, match := source[last+at[2]:last+at[3]], "*"
		if at[4] >= 0 {
			match = source[last+at[4] : last+at[5]]
		}
		fmt.Fprintf(&re, "(?P<%s>%s)", name, glob(match))
		last += at[1]
	}
	re.WriteString(`$`)
	parts := strings.Split(bare[1:], "/")
	for i := range parts {
		parts[i] = unescape(parts[i])
	}
	return listed{Pattern: p, re: regexp.MustCompile(re.String()), parts: parts}
}

func unescape(s string) string {
	text, err := url.PathUnescape(s)
	if err != nil {
		panic(err)
	}
	return text
}

// glob turns text with * and ** into a regular expression.
func glob(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '*')
		if i < 0 {
			i = len(s)
		}
		b.WriteString(regexp.QuoteMeta(unescape(s[:i])))
		s = s[i:]
		switch {
		case strings.HasPrefix(s, "**"):
			b.WriteString(`.*`)
			s = s[2:]
		case s != "":
			b.WriteString(`[^/]+`)
			s = s[1:]
		}
	}
	return b.String()
}

func (l *listed) matches(host, method, path string) bool {
	return l.hostRank(host) > 0 && l.methodRank(method) > 0 && l.re.MatchString(path)
}

// hostRank gives how specifically the pattern names the host; 0: not at all.
func (l *listed) hostRank(host string) int {
	best := 0
	if len(l.Hosts) == 0 {
		best = 1
	}
	for _, h := range l.Hosts {
		switch {
		case h == "*":
			best = max(best, 1)
		case h == host:
			best = max(best, 1000)
		case strings.HasPrefix(h, "*") && strings.HasSuffix(host, h[1:]) && len(host) > len(h)-1:
			best = max(best, len(h))
		}
	}
	return best
}

func (l *listed) methodRank(method string) int {
	switch {
	case slices.Contains(l.Methods, method):
		return 3
	case method == "HEAD" && slices.Contains(l.Methods, "GET"):
		return 2
	case len(l.Methods) == 0 && method != "CONNECT":
		return 1
	}
	return 0
}

// comparePaths is negative if a's path comes before b's. Both match one path.
func comparePaths(a, b *listed) int {
	class := func(part string) int {
		return min(strings.Count(part, "*"), 2) // literal 0, one 1, rest 2
	}
	for i := range min(len(a.parts), len(b.parts)) {
		x, y := a.parts[i], b.parts[i]
		if c := cmp.Compare(class(x), class(y)); c != 0 {
			return c
		}
		switch class(x) {
		case 1:
			xPrefix, xSuffix, _ := strings.Cut(x, "*")
			yPrefix, ySuffix, _ := strings.Cut(y, "*")
			if c := cmp.Or(cmp.Compare(len(yPrefix), len(xPrefix)), cmp.Compare(len(ySuffix), len(xSuffix))); c != 0 {
				return c
			}
		case 2:
			return cmp.Or(cmp.Compare(len(b.parts), len(a.parts)), cmp.Compare(len(y), len(x)))
		}
	}
	return cmp.Compare(len(a.parts), len(b.parts))
}

// conflict tells whether a and b have the same path shape and upgrade, a host
// pattern in common, a method in common, and matchers that may both fit with
// nothing to choose.
func conflict(a, b *listed) bool {
	overlap := func(x, y []string, none string) bool {
		if len(x) == 0 {
			x = []string{none}
		}
		if len(y) == 0 {
			y = []string{none}
		}
		return slices.ContainsFunc(x, func(s string) bool { return slices.Contains(y, s) })
	}
	return slices.Equal(a.parts, b.parts) && a.Upgrade == b.Upgrade && overlap(a.Hosts, b.Hosts, "*") && overlap(a.Methods, b.Methods, "") &&
		a.mayMeet(b) && a.compareRanks(b) == 0 && a.entails(b) == b.entails(a)
}

// An input is a request, as simply as can be.
type input struct {
	host, method string
	upgrade      routing.Upgrade
	tgt          *target.Target
	headers      [][2]string
	joined       bool // headers of one name came as one, as without encode_raw_headers
}

func (in *input) String() string {
	return fmt.Sprintf("%s %s%s?%s upgrade %d %q joined %v", in.method, in.host, in.tgt.Path(), in.tgt.RawQuery(), in.upgrade, in.headers, in.joined)
}

func (in *input) request(t testing.TB) *routing.Request {
	t.Helper()
	view := new(wire.Request)
	if err := view.Reset(in.encoded(t)); err != nil {
		t.Fatal(err)
	}
	return &routing.Request{Host: in.host, Method: in.method, Upgrade: in.upgrade, Target: in.tgt, Headers: view}
}

// encoded gives the CheckRequest of an input, as far as headers go.
func (in *input) encoded(t testing.TB) []byte {
	t.Helper()
	http := &authv3.AttributeContext_HttpRequest{Method: in.method, Host: in.host, Path: "/"}
	if in.joined {
		http.Headers = map[string]string{}
		for _, h := range in.headers {
			if before, ok := http.Headers[h[0]]; ok {
				http.Headers[h[0]] = before + "," + h[1]
			} else {
				http.Headers[h[0]] = h[1]
			}
		}
	} else {
		http.HeaderMap = &corev3.HeaderMap{}
		for _, h := range in.headers {
			http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
		}
	}
	b, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// values gives the values of a header or parameter.
func (in *input) values(header bool, name string) (out []string) {
	if header {
		for _, h := range in.headers {
			if h[0] == name {
				out = append(out, h[1])
			}
		}
		if in.joined && len(out) > 0 {
			out = []string{strings.Join(out, ",")}
		}
		return out
	}
	query, err := url.ParseQuery(in.tgt.RawQuery())
	if err != nil {
		panic(err)
	}
	return query[name]
}

// all yields the matchers of a pattern.
func (l *listed) all(yield func(header bool, m routing.Matcher) bool) {
	for _, m := range l.Headers {
		if !yield(true, m) {
			return
		}
	}
	for _, m := range l.Query {
		if !yield(false, m) {
			return
		}
	}
}

// valueFits tells whether the values of a header or parameter fit a matcher.
func valueFits(m routing.Matcher, values []string) bool {
	if len(values) != 1 {
		return m.Kind == routing.Absent && len(values) == 0
	}
	v := values[0]
	switch m.Kind {
	case routing.Exact:
		return v == m.Text
	case routing.Prefix:
		return strings.HasPrefix(v, m.Text)
	case routing.Suffix:
		return strings.HasSuffix(v, m.Text)
	case routing.Contains:
		return strings.Contains(v, m.Text)
	case routing.Regex:
		return wholly(m.Text, v)
	}
	return m.Kind == routing.Present
}

// wholly tells whether a regular expression matches all of a text.
func wholly(expression, s string) bool {
	re := compiled[expression]
	if re == nil {
		re = regexp.MustCompile(expression)
		re.Longest()
		compiled[expression] = re
	}
	at := re.FindStringIndex(s)
	return at != nil && at[0] == 0 && at[1] == len(s)
}

var compiled = map[string]*regexp.Regexp{}

// words are the values that matchers are compared with: all of a few letters.
var words = func() (out []string) {
	out = []string{""}
	for i := 0; i < len(out) && len(out[i]) < 6; i++ {
		out = append(out, out[i]+"a", out[i]+"b")
	}
	return out
}()

// somewhere tells whether a value, or none, makes both answers what is wanted.
func somewhere(m, n routing.Matcher, wantM, wantN bool) bool {
	for i := -1; i < len(words); i++ {
		var values []string
		if i >= 0 {
			values = words[i : i+1]
		}
		if valueFits(m, values) == wantM && valueFits(n, values) == wantN {
			return true
		}
	}
	return false
}

// mayMeet tells whether a request may fit the matchers of both: names are
// independent of each other. A regular expression is not looked into.
func (l *listed) mayMeet(o *listed) bool {
	for header, m := range l.all {
		for other, n := range o.all {
			closed := m.Kind == routing.Regex && n.Kind != routing.Exact && n.Kind != routing.Absent ||
				n.Kind == routing.Regex && m.Kind != routing.Exact && m.Kind != routing.Absent
			if header == other && m.Name == n.Name && !closed && !somewhere(m, n, true, true) {
				return false
			}
		}
	}
	return true
}

// entails tells whether what fits the matchers of l fits those of o.
func (l *listed) entails(o *listed) bool {
	for header, n := range o.all {
		found := false
		for other, m := range l.all {
			if header == other && m.Name == n.Name {
				closed := (m.Kind == routing.Regex || n.Kind == routing.Regex) && m != n && m.Kind != routing.Exact && n.Kind != routing.Present
				found = m == n || !closed && !somewhere(m, n, true, false)
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// compareRanks is negative if the matchers of l come before those of o by their
// number and kinds.
func (l *listed) compareRanks(o *listed) int {
	count := func(l *listed) (out [9]int) {
		for header, m := range l.all {
			out[0]--
			if header {
				out[1]--
			}
			out[2+m.Kind]--
		}
		return out
	}
	x, y := count(l), count(o)
	return slices.Compare(x[:], y[:])
}

func (l *listed) upgradeRank(u routing.Upgrade) int {
	switch l.Upgrade {
	case routing.AnyUpgrade:
		return 1
	case u:
		return 2
	}
	return 0
}

func (l *listed) fits(in *input) bool {
	for header, m := range l.all {
		if !valueFits(m, in.values(header, m.Name)) {
			return false
		}
	}
	return true
}

// unclear tells whether a matcher reads what can be read in more than one way.
func (l *listed) unclear(in *input) bool {
	for header, m := range l.all {
		values := in.values(header, m.Name)
		valued := m.Kind != routing.Present && m.Kind != routing.Absent
		if len(values) > 1 || header && in.joined && valued && len(values) == 1 && strings.Contains(values[0], ",") {
			return true
		}
	}
	return false
}

// best gives the pattern that a request goes to, nil if there is none or if it
// is refused.
func best(patterns []listed, in *input) (found *listed, refused bool) {
	var fitting []*listed
	for i := range patterns {
		if p := &patterns[i]; p.matches(in.host, in.method, in.tgt.Path()) && p.upgradeRank(in.upgrade) > 0 {
			fitting = append(fitting, p)
		}
	}
	compare := func(p, o *listed) int {
		return cmp.Or(
			-cmp.Compare(p.hostRank(in.host), o.hostRank(in.host)),
			comparePaths(p, o),
			-cmp.Compare(p.methodRank(in.method), o.methodRank(in.method)),
			-cmp.Compare(p.upgradeRank(in.upgrade), o.upgradeRank(in.upgrade)),
		)
	}
	for len(fitting) > 0 {
		first := slices.MinFunc(fitting, compare)
		var group, rest []*listed
		for _, p := range fitting {
			if compare(p, first) == 0 {
				group = append(group, p)
			} else {
				rest = append(rest, p)
			}
		}
		for _, p := range group {
			if p.unclear(in) {
				return nil, true
			}
		}
		for _, p := range group {
			if p.fits(in) && (found == nil || p.compareRanks(found) < 0 || p.compareRanks(found) == 0 && p.entails(found)) {
				found = p
			}
		}
		if found != nil {
			return found, false
		}
		fitting = rest
	}
	return nil, false
}

// captures gives what the pattern's variables take of a path.
func (l *listed) captures(path string) map[string]string {
	out := map[string]string{}
	for i, s := range l.re.FindStringSubmatch(path) {
		if name := l.re.SubexpNames()[i]; name != "" {
			out[name] = s
		}
	}
	return out
}

// difference says how the table's answer to a request differs from the list's,
// "" if it does not.
func difference(t testing.TB, table *routing.Table, patterns []listed, in *input) string {
	t.Helper()
	want, wantRefused := best(patterns, in)
	var m routing.Match
	ok, refused := table.Match(in.request(t), &m)
	switch {
	case (refused != "") != wantRefused || ok && wantRefused:
		return fmt.Sprintf("%s: refused %q, matched %v, want refused %v", in, refused, ok, wantRefused)
	case !ok && want == nil:
		return ""
	case !ok:
		return fmt.Sprintf("%s: no match, want %d %s", in, want.ID, want.Path)
	case want == nil:
		return fmt.Sprintf("%s: matched by %d, want no match", in, m.ID())
	case m.ID() != want.ID:
		return fmt.Sprintf("%s: matched by %d, want %d %s", in, m.ID(), want.ID, want.Path)
	}
	return captureDifference(want, &m, in)
}

// ownDifference is difference for each pattern alone, which the table has in the
// order of the list.
func ownDifference(t testing.TB, table *routing.Table, patterns []listed, in *input) string {
	t.Helper()
	for i := range patterns {
		p := &patterns[i]
		basics := p.matches(in.host, in.method, in.tgt.Path()) && p.upgradeRank(in.upgrade) > 0
		wantRefused := basics && p.unclear(in)
		want := basics && !wantRefused && p.fits(in)
		var m routing.Match
		ok, refused := table.MatchPattern(i, in.request(t), &m)
		switch {
		case ok != want || (refused != "") != wantRefused && !want:
			return fmt.Sprintf("%s: %s alone: matched %v, refused %q, want %v, %v", in, p.Path, ok, refused, want, wantRefused)
		case !ok:
		case m.ID() != p.ID:
			return fmt.Sprintf("%s: %s alone: got the pattern %d", in, p.Path, m.ID())
		default:
			if d := captureDifference(p, &m, in); d != "" {
				return d
			}
		}
	}
	return ""
}

func captureDifference(want *listed, m *routing.Match, in *input) string {
	captures := want.captures(in.tgt.Path())
	if m.Len() != len(captures) {
		return fmt.Sprintf("%s: %d captures by %s, want %q", in, m.Len(), want.Path, captures)
	}
	for name, val := range captures {
		if got, ok := m.Get(name); !ok || got != val {
			return fmt.Sprintf("%s: %s captures %s=%q, want %q", in, want.Path, name, got, val)
		}
	}
	return ""
}
