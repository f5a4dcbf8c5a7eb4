package routing_test

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"edict/extauthz/routing"
	"edict/extauthz/target"
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
	case len(l.Methods) == 0:
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

// conflict tells whether a and b have the same path shape, a host pattern in
// common, and a method in common.
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
	return slices.Equal(a.parts, b.parts) && overlap(a.Hosts, b.Hosts, "*") && overlap(a.Methods, b.Methods, "")
}

// best gives the pattern that a request goes to, nil if there is none.
func best(patterns []listed, host, method, path string) *listed {
	var found *listed
	for i := range patterns {
		p := &patterns[i]
		if !p.matches(host, method, path) {
			continue
		}
		if found == nil || cmp.Or(
			-cmp.Compare(p.hostRank(host), found.hostRank(host)),
			comparePaths(p, found),
			-cmp.Compare(p.methodRank(method), found.methodRank(method)),
		) < 0 {
			found = p
		}
	}
	return found
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
func difference(table *routing.Table, patterns []listed, host, method string, tgt *target.Target) string {
	want := best(patterns, host, method, tgt.Path())
	var m routing.Match
	ok := table.Match(host, method, tgt, &m)
	request := fmt.Sprintf("%s %s%s", method, host, tgt.Path())
	switch {
	case !ok && want == nil:
		return ""
	case !ok:
		return fmt.Sprintf("%s: no match, want %d %s", request, want.ID, want.Path)
	case want == nil:
		return fmt.Sprintf("%s: matched by %d, want no match", request, m.ID())
	case m.ID() != want.ID:
		return fmt.Sprintf("%s: matched by %d, want %d %s", request, m.ID(), want.ID, want.Path)
	}
	captures := want.captures(tgt.Path())
	if m.Len() != len(captures) {
		return fmt.Sprintf("%s: %d captures by %s, want %q", request, m.Len(), want.Path, captures)
	}
	for name, val := range captures {
		if got, ok := m.Get(name); !ok || got != val {
			return fmt.Sprintf("%s: %s captures %s=%q, want %q", request, want.Path, name, got, val)
		}
	}
	return ""
}
