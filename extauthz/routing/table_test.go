package routing_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edict/engine/value"
	"edict/extauthz/routing"
	"edict/extauthz/target"
)

func template(t testing.TB, s string) routing.Template {
	t.Helper()
	tmpl, err := routing.ParseTemplate(s)
	if err != nil {
		t.Fatalf("ParseTemplate(%q): %v", s, err)
	}
	return tmpl
}

// pattern reads "METHOD,METHOD host,host /template", "-" being none, and what
// follows: "upgrade=websocket", "h.name=exact" and "q.name=exact" with one of the
// signs of kinds.
func pattern(t testing.TB, id int, s string) routing.Pattern {
	t.Helper()
	f := strings.Fields(s)
	if len(f) < 3 {
		t.Fatalf("pattern %q", s)
	}
	split := func(s string) []string {
		if s == "-" {
			return nil
		}
		return strings.Split(s, ",")
	}
	p := routing.Pattern{ID: id, Name: s, Methods: split(f[0]), Hosts: split(f[1]), Path: template(t, f[2])}
	for _, c := range f[3:] {
		if u, ok := strings.CutPrefix(c, "upgrade="); ok {
			p.Upgrade = upgrades[u]
			continue
		}
		m := condition(t, c[2:])
		if c[0] == 'h' {
			p.Headers = append(p.Headers, m)
		} else {
			p.Query = append(p.Query, m)
		}
	}
	return p
}

var upgrades = map[string]routing.Upgrade{"none": routing.NoUpgrade, "websocket": routing.WebSocket, "any": routing.AnyUpgrade, "other": routing.OtherUpgrade}

// kinds are the signs of the kinds of matchers, in their order.
const kinds = "=^$*~+!"

func condition(t testing.TB, s string) routing.Matcher {
	t.Helper()
	i := strings.IndexAny(s, kinds)
	if i < 0 {
		t.Fatalf("condition %q", s)
	}
	return routing.Matcher{Name: s[:i], Kind: routing.MatcherKind(strings.IndexByte(kinds, s[i])), Text: s[i+1:]}
}

// match asks a table for a plain request without headers.
func match(table *routing.Table, host, method string, tgt *target.Target, m *routing.Match) bool {
	ok, _ := table.Match(&routing.Request{Host: host, Method: method, Target: tgt}, m)
	return ok
}

func compile(t testing.TB, patterns ...string) *routing.Table {
	t.Helper()
	var ps []routing.Pattern
	for i, s := range patterns {
		ps = append(ps, pattern(t, i, s))
	}
	table, conflicts := routing.New(ps)
	if len(conflicts) > 0 {
		t.Fatalf("conflicts: %v", conflicts)
	}
	return table
}

func parse(t testing.TB, path string) *target.Target {
	t.Helper()
	tgt := new(target.Target)
	if r := tgt.Parse(path); r != target.OK {
		t.Fatalf("Parse(%q) = %v", path, r)
	}
	return tgt
}

// Each case is patterns and, per request, the pattern that it goes to.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		want     map[string]string // "METHOD host path" to a pattern, or to ""
	}{
		{
			name:     "trailing slashes are exact",
			patterns: []string{"- - /a", "- - /b/", "- - /c/**", "- - /d/*", "- - /e/*/", "- - /"},
			want: map[string]string{
				"GET h /a": "- - /a", "GET h /a/": "",
				"GET h /b/": "- - /b/", "GET h /b": "",
				"GET h /c": "", "GET h /c/": "- - /c/**", "GET h /c/x": "- - /c/**", "GET h /c/x/": "- - /c/**", "GET h /c/x/y": "- - /c/**",
				"GET h /d": "", "GET h /d/": "", "GET h /d/x": "- - /d/*", "GET h /d/x/": "", "GET h /d/x/y": "",
				"GET h /e/x": "", "GET h /e/x/": "- - /e/*/",
				"GET h /": "- - /",
			},
		},
		{
			name: "literal, text around a wildcard, wildcard, rest",
			patterns: []string{"- - /v/new", "- - /v/ne{x}", "- - /v/n{x}w", "- - /v/n{x}", "- - /v/{x}ew", "- - /v/{x}w",
				"- - /v/*", "- - /v/**"},
			want: map[string]string{
				"GET h /v/new": "- - /v/new", "GET h /v/nex": "- - /v/ne{x}", "GET h /v/now": "- - /v/n{x}w", "GET h /v/nix": "- - /v/n{x}",
				"GET h /v/few": "- - /v/{x}ew", "GET h /v/low": "- - /v/{x}w", "GET h /v/x": "- - /v/*", "GET h /v/": "- - /v/**",
				"GET h /v/new/": "- - /v/**", "GET h /v/n": "- - /v/*", "GET h /v/ne": "- - /v/n{x}", "GET h /v/nw": "- - /v/n{x}",
				"GET h /v/New": "- - /v/{x}ew", "GET h /v/ew": "- - /v/{x}w",
			},
		},
		{
			name:     "the left segment decides",
			patterns: []string{"- - /a/*/*", "- - /*/b/c", "- - /*/b/**", "- - /a/**"},
			want: map[string]string{
				"GET h /a/b/c": "- - /a/*/*", "GET h /x/b/c": "- - /*/b/c", "GET h /a/b": "- - /a/**",
				"GET h /a/b/c/d": "- - /a/**", "GET h /x/b/d": "- - /*/b/**", "GET h /x/y/z": "",
			},
		},
		{
			name: "rest with an end",
			patterns: []string{"- - /m/**", "- - /m/**.mpd", "- - /m/**d", "- - /m/**/raw", "- - /m/**/x/raw", "- - /m/**/raw/",
				"- - /m/{path=**}.ts"},
			want: map[string]string{
				"GET h /m/a/b.mpd": "- - /m/**.mpd", "GET h /m/.mpd": "- - /m/**.mpd", "GET h /m/end": "- - /m/**d",
				"GET h /m/raw": "- - /m/**", "GET h /m/a/raw": "- - /m/**/raw", "GET h /m/a/b/raw": "- - /m/**/raw",
				"GET h /m/x/raw": "- - /m/**/raw", "GET h /m/a/x/raw": "- - /m/**/x/raw", "GET h /m/a/raw/": "- - /m/**/raw/",
				"GET h /m/": "- - /m/**", "GET h /m/a.mpd/": "- - /m/**", "GET h /m/a.ts": "- - /m/{path=**}.ts", "GET h /m": "",
			},
		},
		{
			name:     "hosts",
			patterns: []string{"- - /x", "- api.example.com /x", "- *.example.com /x", "- *.api.example.com /x", "- [::1] /x", "- a.test,*.b.test /y"},
			want: map[string]string{
				"GET api.example.com /x": "- api.example.com /x", "GET www.example.com /x": "- *.example.com /x",
				"GET a.b.example.com /x": "- *.example.com /x", "GET v1.api.example.com /x": "- *.api.example.com /x",
				"GET example.com /x": "- - /x", "GET notexample.com /x": "- - /x", "GET [::1] /x": "- [::1] /x",
				"GET a.test /y": "- a.test,*.b.test /y", "GET c.b.test /y": "- a.test,*.b.test /y", "GET b.test /y": "",
			},
		},
		{
			name:     "host before path before method",
			patterns: []string{"GET - /a/b", "- api.test /**", "POST api.test /a/*"},
			want: map[string]string{
				"GET api.test /a/b": "- api.test /**", "POST api.test /a/b": "POST api.test /a/*", "GET h /a/b": "GET - /a/b", "POST h /a/b": "",
			},
		},
		{
			name:     "a better path without the method gives way",
			patterns: []string{"GET - /a/b", "POST - /a/*", "PUT,DELETE - /*/b", "- - /a/**", "PATCH api.test /a/b"},
			want: map[string]string{
				"GET h /a/b": "GET - /a/b", "POST h /a/b": "POST - /a/*", "PUT h /a/b": "- - /a/**", "DELETE h /x/b": "PUT,DELETE - /*/b",
				"GET api.test /a/b": "GET - /a/b", "PATCH api.test /a/b": "PATCH api.test /a/b", "get h /x/b": "",
			},
		},
		{
			name:     "HEAD",
			patterns: []string{"GET - /a", "HEAD - /b", "GET - /b", "- - /c", "GET - /c", "POST - /d", "HEAD - /**", "- - /e"},
			want: map[string]string{
				"HEAD h /a": "GET - /a", "HEAD h /b": "HEAD - /b", "HEAD h /c": "GET - /c", "POST h /c": "- - /c",
				"HEAD h /d": "HEAD - /**", "HEAD h /e": "- - /e", "GET h /d": "",
			},
		},
		{
			name:     "OPTIONS is a method like others, CONNECT is listed",
			patterns: []string{"GET - /a", "OPTIONS,CONNECT - /b", "- - /c"},
			want: map[string]string{
				"OPTIONS h /a": "", "CONNECT h /a": "", "OPTIONS h /b": "OPTIONS,CONNECT - /b", "CONNECT h /b": "OPTIONS,CONNECT - /b", "OPTIONS h /c": "- - /c", "CONNECT h /c": "",
			},
		},
		{
			name:     "literals are compared decoded, and exactly",
			patterns: []string{"- - /caf%C3%A9", "- - /a%20b", "- - /%7Eme", "- - /Admin", "- - /50%25", "- - /naïve"},
			want: map[string]string{
				"GET h /café": "- - /caf%C3%A9", "GET h /caf%c3%a9": "- - /caf%C3%A9", "GET h /a%20b": "- - /a%20b", "GET h /a+b": "",
				"GET h /~me": "- - /%7Eme", "GET h /%7eme": "- - /%7Eme", "GET h /admin": "", "GET h /%41dmin": "- - /Admin",
				"GET h /50%25": "- - /50%25", "GET h /na%C3%AFve": "- - /naïve",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := compile(t, c.patterns...)
			for _, request := range slices.Sorted(maps.Keys(c.want)) {
				f := strings.Fields(request)
				var m routing.Match
				ok := match(table, f[1], f[0], parse(t, f[2]), &m)
				if want := c.want[request]; m.Name() != want || ok != (want != "") {
					t.Errorf("%s goes to %q (%v), want %q", request, m.Name(), ok, want)
				}
			}
		})
	}
}

func TestCaptures(t *testing.T) {
	for _, c := range []struct {
		template, path string
		want           []string // name, value, ...
	}{
		{"/albums/{id}", "/albums/42", []string{"id", "42"}},
		{"/albums/{id=*}/", "/albums/42/", []string{"id", "42"}},
		{"/a/{x}/b/{y}", "/a/1/b/2", []string{"x", "1", "y", "2"}},
		{"/v{version}/{id}.json", "/v2/x.y.json", []string{"version", "2", "id", "x.y"}},
		{"/a-{x}-b/c", "/a-1-b/c", []string{"x", "1"}},
		{"/f/{path=**}", "/f/a/b/c", []string{"path", "a/b/c"}},
		{"/f/{path=**}", "/f/a/b/", []string{"path", "a/b/"}},
		{"/f/{path=**}", "/f/", []string{"path", ""}},
		{"/f/{path=**}", "/f/a", []string{"path", "a"}},
		{"/{path=**}.m3u8", "/media/12/x.m3u8", []string{"path", "media/12/x"}},
		{"/{path=**}.m3u8", "/.m3u8", []string{"path", ""}},
		{"/{version=api/*}/*", "/api/v1/9", []string{"version", "api/v1"}},
		{"/{name=shops/*}/items/{item}", "/shops/3/items/4", []string{"name", "shops/3", "item", "4"}},
		{"/{v=videos/**}", "/videos/a/b", []string{"v", "videos/a/b"}},
		{"/{v=videos/**}", "/videos/", []string{"v", "videos/"}},
		{"/{v=**/end}", "/a/b/end", []string{"v", "a/b/end"}},
		{"/x/{v=**}/end/{w=last}", "/x/a/b/end/last", []string{"v", "a/b", "w", "last"}},
		{"/{a}/{v=**/e}/", "/1/2/3/e/", []string{"a", "1", "v", "2/3/e"}},
		{"/m/%20/{v1=*/%10%31}_s", "", nil},
		{"/m/{v=*/x}_s", "/m/1/x_s", []string{"v", "1/x"}},
		{"/{v=abc}", "/abc", []string{"v", "abc"}},
		{"/{v=abc}.x", "/abc.x", []string{"v", "abc"}},
		{"/caf%C3%A9-{x}", "/caf%C3%A9-%C3%A9%20", []string{"x", "é "}},
		{"/f/{path=**}", "/f/%C3%A9/b%20c", []string{"path", "é/b c"}},
		{"/{x}:cancel", "/42:cancel", []string{"x", "42"}},
		{"/.{x}", "/.env", []string{"x", "env"}},
	} {
		if c.path == "" {
			if _, err := routing.ParseTemplate(c.template); err == nil {
				t.Errorf("ParseTemplate(%q) accepts a control byte", c.template)
			}
			continue
		}
		table := compile(t, "- - "+c.template)
		var m routing.Match
		if !match(table, "h", "GET", parse(t, c.path), &m) {
			t.Errorf("%s does not match %s", c.template, c.path)
			continue
		}
		var got []string
		for i := range m.Len() {
			name, val := m.Capture(i)
			got = append(got, name, val)
			if v, ok := m.Lookup(name); !ok || v.Str() != val || v.Kind() != value.String {
				t.Errorf("%s: Lookup(%s) = %v, %v, want %q", c.template, name, v, ok, val)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s captures %q of %s, want %q", c.template, got, c.path, c.want)
		}
		if _, ok := m.Lookup("absent"); ok {
			t.Errorf("%s captures a variable that it does not have", c.template)
		}
		names := 0
		value.OfMapping(&m).Mapping().Range(func(name string, v value.Value) bool {
			if name != c.want[2*names] || v.Str() != c.want[2*names+1] {
				t.Errorf("%s: Range gives %s=%v", c.template, name, v)
			}
			names++
			return true
		})
		if names != m.Len() {
			t.Errorf("%s: Range gives %d names of %d", c.template, names, m.Len())
		}
	}
}

func TestGRPC(t *testing.T) {
	grpc := func(service, method string) routing.Template {
		tmpl, err := routing.GRPC(service, method)
		if err != nil {
			t.Fatal(err)
		}
		return tmpl
	}
	table, conflicts := routing.New([]routing.Pattern{
		{ID: 1, Path: grpc("shop.v1.Orders", "GetOrder")},
		{ID: 2, Path: grpc("shop.v1.Orders", "*")},
		{ID: 3, Path: template(t, "/**")},
	})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	for path, want := range map[string]int{
		"/shop.v1.Orders/GetOrder":   1,
		"/shop.v1.Orders/List":       2,
		"/shop.v1.orders/List":       3,
		"/shop.v1.Orders/getOrder":   2,
		"/shop.v1.Orders/GetOrder/":  3,
		"/shop.v1.Orders":            3,
		"/shop.v1.Orders/":           3,
		"/grpc.health.v1.Health/Get": 3,
		// A backend that decodes would serve this, so it is the same resource.
		"/shop%2Ev1.Orders/GetOrder": 1,
	} {
		var m routing.Match
		match(table, "h", "POST", parse(t, path), &m)
		if m.ID() != want {
			t.Errorf("%s goes to %d, want %d", path, m.ID(), want)
		}
		if want > 2 {
			continue
		}
		service, _ := m.Get("service")
		method, _ := m.Get("method")
		if "/"+service+"/"+method != strings.ReplaceAll(path, "%2E", ".") {
			t.Errorf("%s captures service %q, method %q", path, service, method)
		}
	}
	for _, bad := range [][2]string{{"", "X"}, {"a/b", "X"}, {"a..b", "X"}, {".a", "X"}, {"*", "X"}, {"a", ""}, {"a", "X/Y"}, {"a", "**"}, {"a", "x.y"}, {"/a", "X"}, {"a%2e", "X"}} {
		if tmpl, err := routing.GRPC(bad[0], bad[1]); err == nil {
			t.Errorf("GRPC(%q, %q) = %s", bad[0], bad[1], tmpl)
		}
	}
	if _, conflicts := routing.New([]routing.Pattern{
		{ID: 1, Path: grpc("a.B", "C")}, {ID: 2, Path: template(t, "/a.B/C")},
	}); len(conflicts) != 1 {
		t.Errorf("a gRPC method and the template of its path give the conflicts %v", conflicts)
	}
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		name     string
		patterns []string
		want     []string // "first second part of the message"
	}{
		{"same path", []string{"- - /a", "- - /a"}, []string{"0 1 any method"}},
		{"names do not matter", []string{"- - /a/{x}/**", "- - /a/{y=*}/{z=**}"}, []string{"0 1 any method"}},
		{"overlapping methods", []string{"GET,PUT - /a", "POST,PUT - /a"}, []string{"0 1 (PUT)"}},
		{"overlapping hosts", []string{"- a.test,b.test /a", "- b.test,c.test /a"}, []string{"0 1 any method on b.test"}},
		{"hosts are compared in canonical form", []string{"- A.test. /a", "- a.TEST /a"}, []string{"0 1 on a.test"}},
		{"no host and *", []string{"- - /a", "- * /a"}, []string{"0 1 any method"}},
		{"escapes do not matter", []string{"- - /a~", "- - /a%7e"}, []string{"0 1 any method"}},
		{"same rest", []string{"- - /**/a.x", "- - /{p=**/a.x}"}, []string{"0 1 any method"}},
		{"same end", []string{"- - /**.x", "- - /{p=**}.x"}, []string{"0 1 any method"}},
		{"same text around a wildcard", []string{"- - /a{x}b", "- - /a{y}b"}, []string{"0 1 any method"}},
		{"each pair once", []string{"GET,PUT a.test,b.test /a", "GET,PUT a.test,b.test /a", "- - /b", "- - /b"}, []string{"0 1 ", "2 3 "}},
		{"different paths", []string{"- - /a", "- - /b", "- - /a/", "- - /*", "- - /**", "- - /a{x}", "- - /{x}a", "- - /**/a"}, nil},
		{"different methods", []string{"GET - /a", "PUT - /a", "- - /a", "HEAD - /a"}, nil},
		{"different hosts", []string{"- a.test /a", "- *.test /a", "- - /a", "- *.a.test /a"}, nil},
		{"said twice in one pattern", []string{"GET,GET a.test,A.test /a"}, nil},
		{"wildcard within a label", []string{"- api*.test /a"}, []string{"0 0 write *.example.com"}},
		{"wildcard in the middle", []string{"- a.*.test /a"}, []string{"0 0 write *.example.com"}},
		{"host with a port", []string{"- a.test:443 /a"}, []string{"0 0 write a.test"}},
		{"wildcard host with a port", []string{"- *.a.test:443 /a"}, []string{"0 0 write *.a.test"}},
		{"address with a port", []string{"- [::1]:443 /a"}, []string{"0 0 write [::1]"}},
		{"address with a wildcard", []string{"- *.[::1] /a"}, []string{"0 0 an address has no wildcard"}},
		{"bad host", []string{"- http://a.test /a"}, []string{"0 0 without a port"}},
		{"lower-case method", []string{"get - /a"}, []string{"0 0 write GET"}},
		{"method that is no token", []string{"GET/ - /a"}, []string{"0 0 not a token"}},
		{"any method by a star", []string{"* - /a"}, []string{"0 0 leave methods out"}},
		{"all faults at once", []string{"get a.test:1,b.*.test /a", "put - /b"}, []string{"0 0 write GET", "0 0 write a.test", "0 0 b.*.test", "1 1 write PUT"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ps []routing.Pattern
			for i, s := range c.patterns {
				ps = append(ps, pattern(t, i, s))
			}
			table, conflicts := routing.New(ps)
			if (table == nil) != (len(c.want) > 0) {
				t.Errorf("table %v with the conflicts %v", table, conflicts)
			}
			if len(conflicts) != len(c.want) {
				t.Fatalf("conflicts %v, want %q", conflicts, c.want)
			}
			for i, got := range conflicts {
				first, second, part := 0, 0, ""
				fmt.Sscan(c.want[i], &first, &second)
				part = c.want[i][4:]
				if got.First != first || got.Second != second || !strings.Contains(got.Error(), part) {
					t.Errorf("conflict %d %d %q, want %q", got.First, got.Second, got.Error(), c.want[i])
				}
				for _, k := range []int{first, second} {
					if !strings.Contains(got.Message, fmt.Sprintf("%q", c.patterns[k])) {
						t.Errorf("the conflict does not name pattern %d: %s", k, got.Message)
					}
				}
			}
		})
	}
	for name, p := range map[string]routing.Pattern{
		"no path":     {ID: 1},
		"negative ID": {ID: -1, Path: template(t, "/a")},
	} {
		if table, conflicts := routing.New([]routing.Pattern{p}); table != nil || len(conflicts) != 1 {
			t.Errorf("%s: %v, %v", name, table, conflicts)
		}
	}
}

// What is not a proper request matches nothing, even where everything matches.
func TestNothingMatches(t *testing.T) {
	table := compile(t, "- - /**")
	good := parse(t, "/a")
	refused := new(target.Target)
	refused.Parse("/a/../b")
	m := routing.Match{}
	for name, ok := range map[string]bool{
		"nil table":      match(nil, "h", "GET", good, &m),
		"zero table":     match(new(routing.Table), "h", "GET", good, &m),
		"no host":        match(table, "", "GET", good, &m),
		"no method":      match(table, "h", "", good, &m),
		"zero target":    match(table, "h", "GET", new(target.Target), &m),
		"refused target": match(table, "h", "GET", refused, &m),
	} {
		if ok {
			t.Errorf("%s: there is a match", name)
		}
	}
	if !match(table, "h", "GET", good, &m) || m.ID() != 0 {
		t.Fatal("no match for a good request")
	}
	if match(table, "h", "GET", refused, &m) || m.ID() != -1 || m.Name() != "" || m.Len() != 0 {
		t.Errorf("a Match keeps the one before: %d %q %d", m.ID(), m.Name(), m.Len())
	}
	if _, ok := m.Lookup("x"); ok {
		t.Error("no match has a capture")
	}
}

// randomPatterns makes patterns over a few segments, so that many overlap. Those
// that are alike have few paths, and differ by headers and query.
func randomPatterns(r *rand.Rand, n int, alike bool) []routing.Pattern {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	var out []routing.Pattern
	for id := range n {
		var b strings.Builder
		names, sawRest := 0, false
		name := func() string { names++; return fmt.Sprintf("v%d", names) }
		for depth := r.IntN(5); depth > 0; depth-- {
			b.WriteByte('/')
			if sawRest {
				b.WriteString(pick("a", "b", "ab"))
				continue
			}
			switch r.IntN(13) {
			case 0, 1, 2, 3, 4:
				b.WriteString(pick("a", "b", "ab", "ba", "aba"))
			case 5, 6:
				b.WriteString("*")
			case 7:
				b.WriteString("{" + name() + "}")
			case 8, 9:
				b.WriteString(pick("", "a", "b", "ab") + "{" + name() + pick("", "=*") + "}" + pick("", "a", "b", "ab"))
			case 10:
				b.WriteString("{" + name() + "=" + pick("a", "*/b", "a/*", "*/*") + "}")
			case 11:
				b.WriteString("**")
				sawRest = true
			case 12:
				b.WriteString("{" + name() + "=" + pick("**", "a/**", "*/**", "**/b", "a/**/b/a") + "}")
				sawRest = true
			}
			if depth == 1 && r.IntN(4) == 0 {
				b.WriteString(pick("a", "b"))
			}
		}
		if b.Len() == 0 || r.IntN(5) == 0 {
			b.WriteByte('/')
		}
		if alike {
			b.Reset()
			b.WriteString(pick("/a", "/a", "/*", "/**"))
		}
		tmpl, err := routing.ParseTemplate(b.String())
		if err != nil {
			continue // such as text after a literal-only variable that is split
		}
		p := routing.Pattern{ID: id, Path: tmpl}
		if r.IntN(2) == 0 {
			p.Methods = strings.Split(pick("GET", "HEAD", "POST", "GET,POST", "PUT"), ",")
		}
		if r.IntN(3) == 0 {
			p.Hosts = strings.Split(pick("a.t", "b.a.t", "*.t", "*.a.t", "*", "a.t,*.a.t"), ",")
		}
		if r.IntN(4) == 0 {
			p.Upgrade = routing.Upgrade(r.IntN(3))
		}
		if alike || r.IntN(4) == 0 {
			for _, name := range []string{"x-a", "x-b", "p"} {
				if r.IntN(2) > 0 {
					continue
				}
				m := routing.Matcher{Name: name, Kind: routing.MatcherKind(r.IntN(len(kinds)))}
				switch m.Kind {
				case routing.Regex:
					m.Text = pick("a.*", "(a|b)+", ".*b", "a|ab")
				case routing.Present, routing.Absent:
				default:
					m.Text = pick("a", "b", "ab", "ba", "aa")
				}
				if name == "p" {
					p.Query = append(p.Query, m)
				} else {
					p.Headers = append(p.Headers, m)
				}
			}
		}
		out = append(out, p)
	}
	return out
}

// randomInput makes a request that such patterns may fit.
func randomInput(t testing.TB, r *rand.Rand, alike bool) *input {
	t.Helper()
	path := randomPath(r)
	if alike {
		path = []string{"/a", "/a", "/b"}[r.IntN(3)]
	}
	value := func() string { return []string{"a", "b", "ab", "ba", "aa", "aab", ""}[r.IntN(7)] }
	for i := range []int{0, 0, 0, 0, 1, 1, 1, 2}[r.IntN(8)] {
		path += string("?&"[i]) + "p=" + value()
	}
	in := &input{
		host:    []string{"a.t", "b.a.t", "c.b.a.t", "t", "x"}[r.IntN(5)],
		method:  []string{"GET", "GET", "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT"}[r.IntN(8)],
		upgrade: []routing.Upgrade{routing.NoUpgrade, routing.NoUpgrade, routing.NoUpgrade, routing.NoUpgrade, routing.WebSocket, routing.OtherUpgrade}[r.IntN(6)],
		tgt:     parse(t, path),
		joined:  r.IntN(3) == 0,
	}
	for _, name := range []string{"x-a", "x-b"} {
		for range []int{0, 1, 1, 1, 1, 1, 1, 1, 1, 2}[r.IntN(10)] {
			in.headers = append(in.headers, [2]string{name, value()})
		}
	}
	return in
}

func randomPath(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString("/" + []string{"a", "b", "ab", "ba", "aba", "abab", "c", "%61"}[r.IntN(8)])
	}
	if b.Len() == 0 || r.IntN(5) == 0 {
		b.WriteByte('/')
	}
	return b.String()
}

// The table gives the answer of the slow list for every request, whatever the
// order of the patterns, and finds the same conflicts.
func TestTableAgainstList(t *testing.T) {
	requests, matched, told, unclear, conflicting := 0, 0, 0, 0, 0
	for seed := range uint64(250) {
		r := rand.New(rand.NewPCG(seed, 1))
		alike := seed%3 == 0
		var patterns []listed
		var all, kept []routing.Pattern
		clashes := 0
		for _, p := range randomPatterns(r, 2+r.IntN(40), alike) {
			l := list(p)
			all = append(all, p)
			clash := slices.ContainsFunc(patterns, func(o listed) bool { return conflict(&o, &l) })
			if clash {
				clashes++
				continue
			}
			patterns, kept = append(patterns, l), append(kept, p)
		}
		if _, conflicts := routing.New(all); (len(conflicts) > 0) != (clashes > 0) {
			t.Fatalf("seed %d: conflicts %v, want %d", seed, conflicts, clashes)
		}
		conflicting += min(clashes, 1)
		var tables []*routing.Table
		for range 3 {
			table, conflicts := routing.New(kept)
			if len(conflicts) > 0 {
				t.Fatalf("seed %d: %v", seed, conflicts)
			}
			tables = append(tables, table)
			r.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
		}
		for range 60 {
			in := randomInput(t, r, alike)
			for _, table := range tables {
				if d := difference(t, table, patterns, in); d != "" {
					t.Fatalf("seed %d: %s\npatterns: %+v", seed, d, all)
				}
			}
			if d := ownDifference(t, tables[0], patterns, in); d != "" {
				t.Fatalf("seed %d: %s\npatterns: %+v", seed, d, all)
			}
			requests++
			switch found, refused := best(patterns, in); {
			case refused:
				unclear++
			case found != nil:
				matched++
				if len(found.Headers)+len(found.Query) > 0 {
					told++
				}
			}
		}
	}
	// The comparison means something only if all outcomes are common.
	if matched < requests/4 || matched > requests*9/10 || told < requests/20 || unclear < requests/50 || conflicting < 50 {
		t.Errorf("of %d requests %d matched, %d of them by headers or query, and %d were refused; %d tables had conflicts",
			requests, matched, told, unclear, conflicting)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("GET - /a/{x}\n- *.t /a/**\n- - /{p=**}.js", "a.t", "GET", "/a/b.js")
	f.Add("- - /v{x}\n- - /{x}.json\n- - /*", "h", "HEAD", "/v1.json")
	f.Add("GET - /a\nHEAD - /**\n- - /**/a", "h", "HEAD", "/x/a")
	f.Add("- - /caf%C3%A9/{x}\n- - /{y=*/b}", "h", "GET", "/caf%c3%a9/b")
	f.Add("- - /{a=x/**/y}/\n- - /x/**/\n- - /x/**/y/", "h", "GET", "/x/1/2/y/")
	f.Fuzz(func(t *testing.T, lines, host, method, path string) {
		var tgt target.Target
		host, r := target.Host(host)
		if r != target.OK || target.Method(method) != target.OK || tgt.Parse(path) != target.OK || len(lines) > 500 {
			return
		}
		var patterns []listed
		var ps []routing.Pattern
		for id, line := range strings.Split(lines, "\n") {
			f := strings.Fields(line)
			if len(f) != 3 {
				continue
			}
			tmpl, err := routing.ParseTemplate(f[2])
			if err != nil || len(ps) == 8 {
				continue
			}
			p := routing.Pattern{ID: id, Path: tmpl}
			if f[0] != "-" && routing.CheckMethod(f[0]) == nil {
				p.Methods = f[:1]
			}
			if h := f[1]; routing.CheckHost(h) == nil && h == strings.TrimSuffix(strings.ToLower(h), ".") && !strings.Contains(h, "[") {
				p.Hosts = f[1:2]
			}
			l := list(p)
			if slices.ContainsFunc(patterns, func(o listed) bool { return conflict(&o, &l) }) {
				continue
			}
			patterns, ps = append(patterns, l), append(ps, p)
		}
		table, conflicts := routing.New(ps)
		if len(conflicts) > 0 {
			t.Fatalf("%q: %v", lines, conflicts)
		}
		in := &input{host: host, method: method, tgt: &tgt}
		if d := difference(t, table, patterns, in) + ownDifference(t, table, patterns, in); d != "" {
			t.Fatalf("%q: %s", lines, d)
		}
	})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := compile(t, "GET - /albums/{id}", "- *.test /v{v}/{id}.json", "- - /files/{path=**}", "GET a.test /albums/{id}/x")
	for _, c := range []struct{ host, path, capture string }{
		{"a.test", "/albums/42", "id"},
		{"a.b.test", "/v1/x.json", "id"},
		{"h", "/files/a/b/c", ""},
		{"h", "/files/a", "path"},
		{"h", "/nothing/here", ""},
	} {
		tgt := parse(t, c.path)
		var m routing.Match
		if n := testing.AllocsPerRun(100, func() {
			match(table, c.host, "GET", tgt, &m)
			if c.capture != "" {
				if v, ok := value.OfMapping(&m).Mapping().Lookup(c.capture); !ok || v.Str() == "" {
					t.Fatalf("%s has no %s", c.path, c.capture)
				}
			}
		}); n != 0 {
			t.Errorf("%s%s: %v allocations", c.host, c.path, n)
		}
	}
}

// hostile makes the table on which a walk turns back most often: every way to
// write depth segments as the literal a or *, each with its own ending.
func hostile(t testing.TB, depth int) []routing.Pattern {
	t.Helper()
	var ps []routing.Pattern
	for i := range 1 << depth {
		var b strings.Builder
		for bit := range depth {
			b.WriteString([]string{"/a", "/*"}[i>>bit&1])
		}
		fmt.Fprintf(&b, "/**/end%d", i)
		ps = append(ps, pattern(t, i, "- - "+b.String()))
	}
	return ps
}

// A walk that has to try every branch ends, and finds the one that fits: its
// cost is bounded by the table, not by the number of ways through the path.
func TestHostilePath(t *testing.T) {
	const depth = 10
	ps := hostile(t, depth)
	table, conflicts := routing.New(ps)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	long := strings.Repeat("/a", target.MaxSegments-1)
	for end, want := range map[string]int{"/end0": 0, "/end1023": 1023, "/end5": 5, "/end": -1, "/": -1} {
		var m routing.Match
		match(table, "h", "GET", parse(t, long+end), &m)
		if m.ID() != want {
			t.Errorf("…%s goes to %d, want %d", end, m.ID(), want)
		}
	}
}

func BenchmarkHostilePath(b *testing.B) {
	for _, depth := range []int{2, 10} {
		table, _ := routing.New(hostile(b, depth))
		for _, length := range []int{16, 127} {
			tgt := parse(b, strings.Repeat("/a", length))
			b.Run(fmt.Sprintf("routes=%d/segments=%d", 1<<depth, length), func(b *testing.B) {
				var m routing.Match
				for b.Loop() {
					match(table, "h", "GET", tgt, &m)
				}
			})
		}
	}
}
