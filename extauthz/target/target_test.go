package target_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"edict/extauthz/target"

	"golang.org/x/text/unicode/norm"
)

// segments gives the decoded segments of an accepted Target.
func segments(t *target.Target) []string {
	var out []string
	for i := range t.Len() {
		out = append(out, t.Segment(i))
	}
	return out
}

func TestParseAccepts(t *testing.T) {
	var tgt target.Target // one for all: nothing of one path may show in the next
	for _, c := range []struct {
		raw      string
		segments []string
		trailing bool
		path     string
		query    string
	}{
		{"/", nil, true, "/", ""},
		{"/?", nil, true, "/", ""},
		{"/a", []string{"a"}, false, "/a", ""},
		{"/a/", []string{"a"}, true, "/a/", ""},
		{"/a/b?x=/../y?z", []string{"a", "b"}, false, "/a/b", "x=/../y?z"},
		{"/Admin", []string{"Admin"}, false, "/Admin", ""},
		{"/admin.", []string{"admin."}, false, "/admin.", ""},
		{"/admin%20", []string{"admin "}, false, "/admin ", ""},
		{"/...", []string{"..."}, false, "/...", ""},
		{"/.well-known/x", []string{".well-known", "x"}, false, "/.well-known/x", ""},
		{"/a%2Eb/%7e", []string{"a.b", "~"}, false, "/a.b/~", ""},
		{"/100%25", []string{"100%"}, false, "/100%", ""},
		{"/100%25%7Ax", []string{"100%zx"}, false, "/100%zx", ""},
		{"/caf%C3%A9/", []string{"café"}, true, "/café/", ""},
		{"/café", []string{"café"}, false, "/café", ""},
		{"/a=b,c&d@e:f!$'()*+", []string{"a=b,c&d@e:f!$'()*+"}, false, "/a=b,c&d@e:f!$'()*+", ""},
		{"/a|b[c]", []string{"a|b[c]"}, false, "/a|b[c]", ""},
		{"/+", []string{"+"}, false, "/+", ""},
	} {
		if r := tgt.Parse(c.raw); r != target.OK {
			t.Errorf("Parse(%q) = %v, want ok", c.raw, r)
			continue
		}
		if got := segments(&tgt); !slices.Equal(got, c.segments) || tgt.TrailingSlash() != c.trailing {
			t.Errorf("Parse(%q) gives %q, trailing slash %v; want %q, %v", c.raw, got, tgt.TrailingSlash(), c.segments, c.trailing)
		}
		if tgt.Path() != c.path || tgt.RawQuery() != c.query {
			t.Errorf("Parse(%q): path %q, query %q; want %q, %q", c.raw, tgt.Path(), tgt.RawQuery(), c.path, c.query)
		}
	}
}

// attack is one path, host or method of a kind that some proxies, frameworks
// or servers read differently from others.
type attack struct {
	name string
	raw  string
	want target.Reason
}

var pathAttacks = []attack{
	{"dot segments", "/public/../admin", target.DotSegment},
	{"dot segment at the end", "/public/..", target.DotSegment},
	{"single dot segment", "/public/./admin", target.DotSegment},
	{"single dot segment before a slash", "/public/./", target.DotSegment},
	{"encoded dot segments", "/public/%2e%2e/admin", target.DotSegment},
	{"encoded dots in upper case", "/public/%2E%2E/admin", target.DotSegment},
	{"half-encoded dots", "/public/.%2e/admin", target.DotSegment},
	{"encoded single dot", "/public/%2e/admin", target.DotSegment},
	{"doubly encoded dots", "/public/%252e%252e/admin", target.DoubleEncoding},
	{"triply encoded dots", "/public/%25252e%25252e/admin", target.DoubleEncoding},
	{"doubly encoded slash", "/public%252fadmin", target.DoubleEncoding},
	{"doubly encoded letter", "/%2561dmin", target.DoubleEncoding},
	{"escape made of escapes", "/%25%36%31dmin", target.DoubleEncoding},
	{"encoded slash", "/public%2fadmin", target.EncodedSlash},
	{"encoded slash in upper case", "/items%2F42", target.EncodedSlash},
	{"encoded slash and dots", "/public%2f..%2fadmin", target.EncodedSlash},
	{"encoded backslash", "/public%5c..%5cadmin", target.EncodedBackslash},
	{"backslash", `/public\..\admin`, target.Backslash},
	{"backslash authority", `/\evil.example`, target.Backslash},
	{"double slash at the front", "//admin", target.DoubleSlash},
	{"only slashes", "//", target.DoubleSlash},
	{"double slash within", "/a//admin", target.EmptySegment},
	{"double slash at the end", "/a//", target.EmptySegment},
	{"path parameter", "/admin;x=1/users", target.PathParameter},
	{"path parameter that hides dots", "/public;/../admin", target.PathParameter},
	{"dots with a path parameter", "/public/..;/admin", target.PathParameter},
	{"encoded semicolon", "/public/..%3b/admin", target.EncodedDelimiter},
	{"NUL", "/x%00.png", target.ControlByte},
	{"line feed", "/x%0ay", target.ControlByte},
	{"carriage return", "/x%0D%0ASet-Cookie:y", target.ControlByte},
	{"tab", "/x%09y", target.ControlByte},
	{"DEL", "/x%7fy", target.ControlByte},
	{"raw NUL", "/x\x00y", target.ControlByte},
	{"raw line feed", "/x\ny", target.ControlByte},
	{"raw DEL", "/x\x7fy", target.ControlByte},
	{"C1 control", "/x%C2%85y", target.ControlByte},
	{"raw space", "/x y", target.RawSpace},
	{"raw space in the query", "/x?a=b c", target.RawSpace},
	{"raw line feed in the query", "/x?a=b\nc", target.ControlByte},
	{"raw NUL in the query", "/x?a=\x00", target.ControlByte},
	{"raw DEL in the query", "/x?a=\x7f", target.ControlByte},
	{"overlong dots", "/%c0%ae%c0%ae/admin", target.InvalidUTF8},
	{"overlong slash", "/a%c0%afadmin", target.InvalidUTF8},
	{"overlong slash in three bytes", "/a%e0%80%afadmin", target.InvalidUTF8},
	{"lone byte", "/%ff", target.InvalidUTF8},
	{"raw lone byte", "/\xff", target.InvalidUTF8},
	{"surrogate", "/%ed%a0%80", target.InvalidUTF8},
	{"full-width slash", "/%ef%bc%8fadmin", target.UnnormalizedText},
	{"full-width dots", "/%ef%bc%8e%ef%bc%8e/admin", target.UnnormalizedText},
	{"full-width letters, raw", "/ａdmin", target.UnnormalizedText},
	{"two dot leader", "/%e2%80%a5/admin", target.UnnormalizedText},
	{"decomposed letter", "/cafe%CC%81", target.UnnormalizedText},
	{"ligature", "/%ef%ac%81le", target.UnnormalizedText},
	{"fragment", "/admin#/public", target.Fragment},
	{"fragment in the query", "/admin?x#y", target.Fragment},
	{"encoded fragment", "/admin%23/public", target.EncodedDelimiter},
	{"encoded question mark", "/p%3Fadmin=1", target.EncodedDelimiter},
	{"broken escape", "/a%zz", target.BadEscape},
	{"cut escape", "/a%2", target.BadEscape},
	{"lone percent", "/100%", target.BadEscape},
	{"escape across a slash", "/a%2/f", target.BadEscape},
	{"IIS escape", "/a%u002e", target.BadEscape},
	{"no path (CONNECT)", "", target.EmptyPath},
	{"query without a path", "?x=1", target.EmptyPath},
	{"asterisk (OPTIONS *)", "*", target.AsteriskPath},
	{"absolute form", "http://host/x", target.NotAbsolute},
	{"no leading slash", "admin", target.NotAbsolute},
	{"no leading slash, gRPC", "pkg.Service/Method", target.NotAbsolute},
	{"encoded leading slash", "%2fadmin", target.NotAbsolute},
	{"leading space", " /admin", target.NotAbsolute},
	{"encoded slash in a gRPC path", "/pkg.Service%2FMethod", target.EncodedSlash},
	{"very long", "/" + strings.Repeat("a", target.MaxPath), target.PathTooLong},
	{"very deep", strings.Repeat("/a", target.MaxSegments+1), target.TooManySegments},
}

func TestPathAttacks(t *testing.T) {
	var tgt target.Target
	for _, a := range pathAttacks {
		t.Run(a.name, func(t *testing.T) {
			if r := tgt.Parse("/before?a=b"); r != target.OK {
				t.Fatal(r)
			}
			if r := tgt.Parse(a.raw); r != a.want {
				t.Fatalf("Parse(%.60q) = %v, want %v", a.raw, r, a.want)
			}
			mustBeEmpty(t, &tgt, a.want)
		})
	}
}

func mustBeEmpty(t *testing.T, tgt *target.Target, want target.Reason) {
	t.Helper()
	if tgt.OK() || tgt.Reason() != want || tgt.Len() != 0 || tgt.TrailingSlash() || tgt.Path() != "" || tgt.RawPath() != "" || tgt.RawQuery() != "" {
		t.Errorf("a refused target is not empty: %v %q %q %q", segments(tgt), tgt.Path(), tgt.RawPath(), tgt.RawQuery())
	}
	if q, r := tgt.Query(); q != nil || r != want {
		t.Errorf("a refused target has a query: %v %v", q, r)
	}
}

func TestBounds(t *testing.T) {
	var tgt target.Target
	for _, raw := range []string{
		"/" + strings.Repeat("a", target.MaxPath-1),
		"/" + strings.Repeat("a", target.MaxPath-1) + "?" + strings.Repeat("q", 2*target.MaxPath),
		strings.Repeat("/a", target.MaxSegments),
		strings.Repeat("/a", target.MaxSegments) + "/",
	} {
		if r := tgt.Parse(raw); r != target.OK {
			t.Errorf("Parse(%.20q, %d bytes) = %v, want ok", raw, len(raw), r)
		}
	}
}

func TestZeroIsRefused(t *testing.T) {
	var tgt target.Target
	mustBeEmpty(t, &tgt, target.Unread)
	tgt.Parse("/a/b?c=d")
	tgt.Query()
	tgt.Reset()
	mustBeEmpty(t, &tgt, target.Unread)
	if target.Unread.Err() == nil {
		t.Error("the zero Reason is taken for a success")
	}
	if target.OK.Err() != nil {
		t.Error("OK is taken for a refusal")
	}
}

// Each reason has a name of its own and a message, and is the answer to some
// input of the tables here, so that none is dead.
func TestReasons(t *testing.T) {
	produced := map[target.Reason]bool{target.Unread: true, target.OK: true, target.QueryDuplicate: true}
	for _, table := range [][]attack{pathAttacks, queryAttacks, hostAttacks, methodAttacks} {
		for _, a := range table {
			produced[a.want] = true
		}
	}
	seen := map[string]bool{}
	var r target.Reason
	for ; !strings.HasPrefix(r.String(), "reason("); r++ {
		if r.String() == "" || r.Message() == "" || seen[r.String()] {
			t.Errorf("reason %d: name %q, message %q", r, r, r.Message())
		}
		seen[r.String()] = true
		if !produced[r] {
			t.Errorf("no test makes %v happen", r)
		}
	}
	if r < 30 {
		t.Errorf("only %d reasons were looked at", r)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	var tgt target.Target
	tgt.Parse("/%41") // which allocates; the next path does not
	for name, raw := range map[string]string{
		"plain":    "/api/v1/albums/1234/photos?size=large&owner=me",
		"trailing": "/api/v1/",
		"refused":  "/api/../x",
	} {
		if n := testing.AllocsPerRun(100, func() {
			tgt.Parse(raw)
			tgt.Path()
			for i := range tgt.Len() {
				tgt.Segment(i)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	tgt.Parse("/?size=large&owner=me")
	tgt.Query() // the first use makes room for the pairs
	if n := testing.AllocsPerRun(100, func() {
		tgt.Parse("/?size=large&owner=me")
		if q, _ := tgt.Query(); q != nil {
			q.Lookup("owner")
		}
	}); n != 0 {
		t.Errorf("query: %v allocations", n)
	}
}

// encode writes segments as a path, every byte that is not a letter or digit
// as an escape.
func encode(segments []string, trailing bool) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		for i := range len(s) {
			if c := s[i]; 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
				b.WriteByte(c)
			} else {
				b.WriteByte('%')
				b.WriteByte("0123456789ABCDEF"[c>>4])
				b.WriteByte("0123456789abcdef"[c&15])
			}
		}
	}
	if trailing {
		b.WriteByte('/')
	}
	return b.String()
}

// naiveUnescape decodes valid escapes and leaves the rest alone, as a lenient
// backend does.
func naiveUnescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi := strings.IndexByte("0123456789abcdef", s[i+1]|0x20)
			lo := strings.IndexByte("0123456789abcdef", s[i+2]|0x20)
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	for _, a := range pathAttacks {
		if len(a.raw) < 200 {
			f.Add(a.raw)
		}
	}
	for _, s := range []string{"/", "/a", "/a/", "/a/b?c", "/caf%C3%A9", "/100%25", "/%F0%9F%98%80", "/a%25%7Ax"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var tgt target.Target
		if r := tgt.Parse(raw); r != target.OK {
			mustBeEmpty(t, &tgt, r)
			return
		}
		segs := segments(&tgt)
		for _, s := range segs {
			if s == "" || s == "." || s == ".." || strings.ContainsAny(s, "/\\?#;\x7f") || !utf8.ValidString(s) || norm.NFKC.String(s) != s {
				t.Fatalf("Parse(%q) accepts the segment %q", raw, s)
			}
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }) {
				t.Fatalf("Parse(%q) accepts a control character in %q", raw, s)
			}
			if again := naiveUnescape(s); again != s {
				t.Fatalf("Parse(%q): decoding %q again gives %q", raw, s, again)
			}
		}
		// A lenient backend that decodes the whole path before it splits, or
		// splits before it decodes, arrives at the same segments.
		path, _, _ := strings.Cut(raw, "?")
		want := strings.Join(segs, "/")
		if got := strings.Trim(naiveUnescape(path), "/"); got != want {
			t.Fatalf("Parse(%q) gives %q, decoding first gives %q", raw, want, got)
		}
		if tgt.RawPath() != path || strings.Trim(tgt.Path(), "/") != want || strings.HasSuffix(tgt.Path(), "/") != tgt.TrailingSlash() {
			t.Fatalf("Parse(%q): path %q, raw %q, segments %q", raw, tgt.Path(), tgt.RawPath(), segs)
		}
		encoded := encode(segs, tgt.TrailingSlash())
		if len(segs) == 0 || len(encoded) > target.MaxPath {
			return
		}
		var twin target.Target
		if r := twin.Parse(encoded); r != target.OK || !slices.Equal(segments(&twin), segs) || twin.TrailingSlash() != tgt.TrailingSlash() {
			t.Fatalf("Parse(%q) gives %q; its encoding %q gives %v %q", raw, segs, encoded, r, segments(&twin))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var tgt target.Target
	for name, raw := range map[string]string{
		"plain":   "/api/v1/albums/1234/photos?size=large",
		"escaped": "/api/v1/albums/caf%C3%A9/photos",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tgt.Parse(raw)
			}
		})
	}
}
