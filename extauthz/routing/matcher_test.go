package routing_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"edict/extauthz/routing"
)

// ask reads "METHOD host /path?query" and what follows: "upgrade=websocket",
// "joined", and "name=value" for each header.
func ask(t testing.TB, s string) *input {
	t.Helper()
	f := strings.Fields(s)
	in := &input{method: f[0], host: f[1], tgt: parse(t, f[2])}
	for _, h := range f[3:] {
		name, value, ok := strings.Cut(h, "=")
		switch {
		case h == "joined":
			in.joined = true
		case name == "upgrade":
			in.upgrade = upgrades[value]
		case ok:
			in.headers = append(in.headers, [2]string{name, value})
		default:
			t.Fatalf("request %q", s)
		}
	}
	return in
}

// Each case is patterns and, per request, the pattern that it goes to, or why
// it is refused.
func TestMatchers(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		want     map[string]string
	}{
		{
			name: "kinds",
			patterns: []string{"- - /x h.v=v2", "- - /x h.v^v", "- - /x h.v$beta", "- - /x h.v*rc", "- - /x h.v~[0-9]+",
				"- - /x h.v+", "- - /x h.v!", "- - /x"},
			want: map[string]string{
				"GET h /x v=v2": "- - /x h.v=v2", "GET h /x v=v21": "- - /x h.v^v", "GET h /x v=2beta": "- - /x h.v$beta",
				"GET h /x v=1rc2": "- - /x h.v*rc", "GET h /x v=12": "- - /x h.v~[0-9]+", "GET h /x v=12a": "- - /x h.v+",
				"GET h /x v=": "- - /x h.v+", "GET h /x": "- - /x h.v!", "GET h /x V=v2": "- - /x h.v!",
				"GET h /x v=v-rc-beta": "- - /x h.v^v", "GET h /x v=rc-beta": "- - /x h.v$beta", "GET h /x v=V2": "- - /x h.v+",
			},
		},
		{
			name:     "a regular expression matches the whole value",
			patterns: []string{"- - /x h.v~a|b", "- - /y h.v~(?i)abc", "- - /z h.v~"},
			want: map[string]string{
				"GET h /x v=a": "- - /x h.v~a|b", "GET h /x v=b": "- - /x h.v~a|b", "GET h /x v=ab": "", "GET h /x v=xa": "", "GET h /x v=ax": "",
				"GET h /y v=aBc": "- - /y h.v~(?i)abc",
			},
		},
		{
			name:     "query",
			patterns: []string{"- - /x q.mode=fast", "- - /x q.debug+", "- - /x q.debug!", "- - /y q.a="},
			want: map[string]string{
				"GET h /x?mode=fast": "- - /x q.mode=fast", "GET h /x?mode=fast&debug": "- - /x q.mode=fast", "GET h /x?mode=slow&debug": "- - /x q.debug+",
				"GET h /x": "- - /x q.debug!", "GET h /x?m%6fde=f%61st": "- - /x q.mode=fast", "GET h /x?Mode=fast": "- - /x q.debug!",
				"GET h /y?a": "- - /y q.a=", "GET h /y?a=": "- - /y q.a=", "GET h /y": "",
				"GET h /x?mode=fast&mode=slow": "query_duplicate", "GET h /x?mode=fast;debug": "query_semicolon", "GET h /x?debug&debug": "query_duplicate",
				"GET h /x?other=1&other=2": "- - /x q.debug!",
			},
		},
		{
			name:     "more matchers first, headers before query, exact first",
			patterns: []string{"- - /x h.a=1 q.p=1", "- - /x h.a=1", "- - /x q.p=1", "- - /x h.a+ h.b+", "- - /x h.b=1 q.q+"},
			want: map[string]string{
				"GET h /x?p=1 a=1": "- - /x h.a=1 q.p=1", "GET h /x a=1": "- - /x h.a=1", "GET h /x?p=1": "- - /x q.p=1", "GET h /x?p=1 a=2": "- - /x q.p=1",
				"GET h /x?p=1 a=1 b=2": "- - /x h.a+ h.b+", "GET h /x?q b=1": "- - /x h.b=1 q.q+", "GET h /x?q b=1 a=0": "- - /x h.a+ h.b+",
			},
		},
		{
			name:     "the narrower of one kind first",
			patterns: []string{"- - /x h.a^a", "- - /x h.a^ab", "- - /x h.a^abc", "- - /y h.a^a h.b$z", "- - /y h.a^ab h.b$z"},
			want: map[string]string{
				"GET h /x a=abcd": "- - /x h.a^abc", "GET h /x a=abd": "- - /x h.a^ab", "GET h /x a=ad": "- - /x h.a^a", "GET h /x a=d": "",
				"GET h /y a=ab b=z": "- - /y h.a^ab h.b$z", "GET h /y a=ac b=z": "- - /y h.a^a h.b$z",
			},
		},
		{
			name:     "host, path, method and upgrade come before headers",
			patterns: []string{"- - /x h.a=1", "- h.t /x", "GET - /y", "- - /y h.a=1", "- - /z/* h.a=1", "- - /z/z"},
			want: map[string]string{
				"GET h.t /x a=1": "- h.t /x", "GET h /x a=1": "- - /x h.a=1", "GET h /y a=1": "GET - /y", "PUT h /y a=1": "- - /y h.a=1",
				"GET h /z/z a=1": "- - /z/z", "GET h /z/y a=1": "- - /z/* h.a=1", "GET h /z/y": "",
			},
		},
		{
			name:     "a better path whose headers do not fit gives way",
			patterns: []string{"- - /x h.a=1", "- - /*", "GET - /x h.a=2", "HEAD - /x h.a=3"},
			want: map[string]string{
				"GET h /x": "- - /*", "GET h /x a=1": "- - /x h.a=1", "GET h /x a=2": "GET - /x h.a=2", "HEAD h /x a=2": "GET - /x h.a=2",
				"HEAD h /x a=3": "HEAD - /x h.a=3", "HEAD h /x a=1": "- - /x h.a=1", "PUT h /x a=2": "- - /*",
			},
		},
		{
			name:     "upgrades",
			patterns: []string{"- - /plain", "- - /ws upgrade=websocket", "- - /all upgrade=any", "- - /both", "- - /both upgrade=websocket", "GET - /all upgrade=websocket h.origin=o"},
			want: map[string]string{
				"GET h /plain": "- - /plain", "GET h /plain upgrade=websocket": "", "GET h /plain upgrade=other": "",
				"GET h /ws": "", "GET h /ws upgrade=websocket": "- - /ws upgrade=websocket", "GET h /ws upgrade=other": "",
				"GET h /all": "- - /all upgrade=any", "GET h /all upgrade=websocket": "- - /all upgrade=any", "GET h /all upgrade=other": "- - /all upgrade=any",
				"GET h /all upgrade=websocket origin=o": "GET - /all upgrade=websocket h.origin=o",
				"GET h /both":                           "- - /both", "GET h /both upgrade=websocket": "- - /both upgrade=websocket", "GET h /both upgrade=other": "",
			},
		},
		{
			name:     "repeated headers",
			patterns: []string{"- - /x h.a=1", "- - /x h.b+", "- - /x", "- - /** h.c!", "- t /x"},
			want: map[string]string{
				"GET h /x a=1 a=1": "matched_header_repeated", "GET h /x a=1 a=2": "matched_header_repeated", "GET h /x b=1 b=2": "matched_header_repeated",
				"GET h /x a=1 b=1 b=2": "matched_header_repeated", "GET h /x c=1 c=1": "- - /x", "GET h /y c=1 c=1": "matched_header_repeated",
				"GET t /x a=1 a=2": "- t /x", "GET h /x d=1 d=2": "- - /x",
				"GET h /x a=1 a=2 joined": "matched_header_joined", "GET h /x a=1,2 joined": "matched_header_joined", "GET h /x a=1,2": "- - /x",
				"GET h /x b=1 b=2 joined": "- - /x h.b+", "GET h /y c=1 c=2 joined": "",
			},
		},
		{
			name:     "long values",
			patterns: []string{"- - /x h.a~.*", "- - /y h.a^1"},
			want: map[string]string{
				"GET h /x a=" + strings.Repeat("1", 4096): "- - /x h.a~.*", "GET h /x a=" + strings.Repeat("1", 4097): "matched_value_too_long",
				"GET h /y a=" + strings.Repeat("1", 4097): "- - /y h.a^1",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			patterns := slices.DeleteFunc(slices.Clone(c.patterns), func(s string) bool { return strings.HasSuffix(s, "~") })
			table := compile(t, patterns...)
			for _, request := range slices.Sorted(maps.Keys(c.want)) {
				var m routing.Match
				ok, refused := table.Match(ask(t, request).request(t), &m)
				got := m.Name()
				if refused != "" {
					got = string(refused)
				}
				if want := c.want[request]; got != want || ok != (refused == "" && want != "") {
					t.Errorf("%.60s goes to %q (%v), want %q", request, got, ok, want)
				}
			}
		})
	}
}

// Patterns of one path that may fit one request, and have nothing to choose
// between them, are no table.
func TestMatcherConflicts(t *testing.T) {
	for _, c := range []struct {
		patterns string // two, one below the other
		conflict bool
	}{
		{"h.a=1\nh.a=2", false},
		{"h.a=1\nh.a=1", true},
		{"h.a=1\nh.b=1", true},
		{"h.a=1\nq.a=1", false}, // a header comes before a parameter
		{"h.a=1\nh.a!", false},
		{"h.a+\nh.a!", false},
		{"h.a+\nh.a+", true},
		{"h.a!\nh.b!", true},
		{"h.a^x\nh.a^y", false},
		{"h.a^x\nh.a^xy", false},
		{"h.a^x\nh.b^x", true},
		{"h.a$x\nh.a$yx", false},
		{"h.a^x\nh.a$x", false}, // a prefix comes before a suffix
		{"h.a*x\nh.a*xy", false},
		{"h.a*x\nh.a*y", true},
		{"h.a~x\nh.a~y", true}, // nobody looks into them
		{"h.a~x+\nh.a=xx", false},
		{"h.a=1 h.b+\nh.a=1 h.c+", true},
		{"h.a=1 h.b+\nh.a=2 h.c+", false},
		{"h.a^x h.b^yy\nh.a^xx h.b^y", true}, // xx and yy fit both
		{"h.a^x h.b^y\nh.a^xx h.b^yy", false},
		{"h.a=1 upgrade=websocket\nh.a=1", false},
		{"h.a=1 upgrade=any\nh.a=1", false},
		{"h.a=1 upgrade=any\nh.a=1 upgrade=any", true},
		{"upgrade=websocket\nupgrade=websocket", true},
		{"h.a=1\n", false},
	} {
		t.Run(c.patterns, func(t *testing.T) {
			var ps []routing.Pattern
			for i, s := range strings.Split(c.patterns, "\n") {
				ps = append(ps, pattern(t, i, "GET - /x "+s))
			}
			table, conflicts := routing.New(ps)
			if (len(conflicts) > 0) != c.conflict || (table == nil) != c.conflict {
				t.Fatalf("conflicts %v, want some: %v", conflicts, c.conflict)
			}
			for _, k := range conflicts {
				for _, p := range ps {
					if k.First != 0 || k.Second != 1 || !strings.Contains(k.Message, fmt.Sprintf("%q", p.Name)) || k.Hint == "" {
						t.Errorf("the conflict does not name %s: %v", p.Name, k)
					}
				}
			}
		})
	}
}

// What a matcher can't be made of is a fault of its pattern.
func TestBadMatchers(t *testing.T) {
	for want, p := range map[string]routing.Pattern{
		"the name is empty":                  {Query: []routing.Matcher{{}}},
		"lower case":                         {Headers: []routing.Matcher{{Name: "X-A"}}},
		"fields of their own":                {Headers: []routing.Matcher{{Name: ":path"}}},
		"have fields of their own":           {Headers: []routing.Matcher{{Name: "host"}}},
		"match by upgrade":                   {Headers: []routing.Matcher{{Name: "upgrade"}}},
		"not the name of a header":           {Headers: []routing.Matcher{{Name: "x a"}}},
		"every value matches":                {Query: []routing.Matcher{{Name: "a", Kind: routing.Prefix}}},
		"missing closing )":                  {Query: []routing.Matcher{{Name: "a", Kind: routing.Regex, Text: "("}}},
		"unexpected )":                       {Query: []routing.Matcher{{Name: "a", Kind: routing.Regex, Text: "a)|(b"}}},
		"longer than 1024":                   {Query: []routing.Matcher{{Name: "a", Text: strings.Repeat("a", 1025)}}},
		"the kind is unknown":                {Query: []routing.Matcher{{Name: "a", Kind: 99}}},
		"the parameter a is there twice":     {Query: []routing.Matcher{{Name: "a"}, {Name: "a", Kind: routing.Present}}},
		"the upgrade is unknown":             {Upgrade: routing.OtherUpgrade},
		"more than 8 headers and parameters": {Query: manyMatchers(9)},
	} {
		p.Path, p.Name = template(t, "/a"), "the pattern"
		table, conflicts := routing.New([]routing.Pattern{p})
		if table != nil || len(conflicts) != 1 || !strings.Contains(conflicts[0].Error(), want) || !strings.Contains(conflicts[0].Message, "the pattern") {
			t.Errorf("want %q, got %v", want, conflicts)
		}
	}
}

func manyMatchers(n int) (out []routing.Matcher) {
	for i := range n {
		out = append(out, routing.Matcher{Name: fmt.Sprintf("n%d", i), Kind: routing.Present})
	}
	return out
}

// However many routes of one path there are, few of them have to be tried: they
// are found by exact values, or there is no table.
func TestManyRoutesOfOnePath(t *testing.T) {
	build := func(n int, conditions string) (*routing.Table, []routing.Conflict) {
		var ps []routing.Pattern
		for i := range n {
			ps = append(ps, pattern(t, i, "GET - /x "+strings.ReplaceAll(conditions, "%", fmt.Sprint(1000+i))))
		}
		return routing.New(ps)
	}
	for _, c := range []struct {
		n          int
		conditions string
		request    string
		want       int // 0: too many
	}{
		{5000, "h.tenant=%", "GET h /x tenant=5999", 4999},
		{5000, "h.tenant=% q.mode^f", "GET h /x?mode=fast tenant=1007", 7},
		{100, "h.tenant^%-", "GET h /x tenant=1099-a", 99},
		{101, "h.tenant^%-", "", 0},
	} {
		table, conflicts := build(c.n, c.conditions)
		if c.want == 0 {
			if len(conflicts) != 1 || !strings.Contains(conflicts[0].Message, "one of 101 routes of its path") {
				t.Errorf("%s: conflicts %v", c.conditions, conflicts)
			}
			continue
		}
		if len(conflicts) > 0 {
			t.Errorf("%s: %v", c.conditions, conflicts)
			continue
		}
		var m routing.Match
		if ok, refused := table.Match(ask(t, c.request).request(t), &m); !ok || m.ID() != c.want {
			t.Errorf("%s: %s goes to %d, %q", c.conditions, c.request, m.ID(), refused)
		}
	}
	// Too many different names at one place.
	var ps []routing.Pattern
	for i := range 17 {
		ps = append(ps, pattern(t, i, fmt.Sprintf("GET - /x h.a=%d h.b%d+", i, i)))
	}
	if _, conflicts := routing.New(ps); len(conflicts) != 1 || !strings.Contains(conflicts[0].Message, "more than 16 headers") {
		t.Errorf("17 names: %v", conflicts)
	}
}

func TestMatchersDoNotAllocate(t *testing.T) {
	table := compile(t, "- - /x h.a=1 h.b^v q.p~[a-z]+", "- - /x h.a=1", "- - /x")
	for request, want := range map[string]int{"GET h /x?p=abc a=1 b=v2": 0, "GET h /x?p=1 a=1 b=v2": 1, "GET h /x": 2} {
		r := ask(t, request).request(t)
		var m routing.Match
		if n := testing.AllocsPerRun(100, func() { table.Match(r, &m) }); n != 0 || m.ID() != want {
			t.Errorf("%s goes to %d, with %v allocations", request, m.ID(), n)
		}
	}
}
