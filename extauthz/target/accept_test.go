package target_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"edict/extauthz/target"
)

// acceptOf makes a set of names.
func acceptOf(t testing.TB, names string) (accept target.Accept) {
	t.Helper()
	for name := range strings.SplitSeq(names, ",") {
		a, ok := target.AcceptOf(name)
		if !ok {
			t.Fatalf("there is no option %q", name)
		}
		accept |= a
	}
	return accept
}

func TestParseAccepting(t *testing.T) {
	const all = "encoded-slash,empty-segments,path-parameters,encoded-delimiters,double-encoding,unnormalized-text"
	for _, c := range []struct {
		accept, raw string
		segments    []string // joined by | ; nil: refused
		trailing    bool
		path        string
		refused     target.Reason
	}{
		{accept: "encoded-slash", raw: "/p/group%2Fproject", segments: []string{"p", "group/project"}, path: "/p/group%2Fproject"},
		{accept: "encoded-slash", raw: "/p/a%2fb/c/", segments: []string{"p", "a/b", "c"}, trailing: true, path: "/p/a%2Fb/c/"},
		{accept: "encoded-slash", raw: "/p/caf%C3%A9%2Fb", segments: []string{"p", "café/b"}, path: "/p/café%2Fb"},
		{accept: "encoded-slash", raw: "/p/a%2Fb|c", refused: target.EncodedSlash},
		{accept: "encoded-slash", raw: "/é/a%2Fb", refused: target.EncodedSlash},
		{accept: "encoded-slash", raw: "/p/..%2Fadmin", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/a%2F%2e%2e%2Fadmin", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/a%2F.", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/%2Fetc", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/a%2F%2Fb", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/a%2F", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/a%2F%00", refused: target.ControlByte},
		{accept: "encoded-slash", raw: "/p/a%2F%5cb", refused: target.EncodedBackslash},
		{accept: "encoded-slash", raw: "/p/a%2Fb%3Fc", refused: target.EncodedDelimiter},
		{accept: "encoded-slash", raw: "/p/a%2F..;x", refused: target.PathParameter},
		{accept: "encoded-slash", raw: "//p/a%2Fb", refused: target.DoubleSlash},
		{accept: "encoded-slash", raw: "/p/a%2Fb/../c", refused: target.DotSegment},
		{accept: "encoded-slash", raw: "/p/a%2F%c0%af", refused: target.InvalidUTF8},
		{accept: "encoded-slash", raw: "/p/a%2Fb%zz", refused: target.BadEscape},

		{accept: "encoded-slash-decoded", raw: "/p/a%2Fb%2fc", segments: []string{"p", "a", "b", "c"}, path: "/p/a/b/c"},
		{accept: "encoded-slash-decoded", raw: "/p/a%2F", segments: []string{"p", "a"}, trailing: true, path: "/p/a/"},
		{accept: "encoded-slash-decoded", raw: "/p%2F..%2Fadmin", refused: target.DotSegment},
		{accept: "encoded-slash-decoded", raw: "/p%2F%2e%2e/admin", refused: target.DotSegment},
		{accept: "encoded-slash-decoded", raw: "/%2Fadmin", refused: target.DoubleSlash},
		{accept: "encoded-slash-decoded", raw: "/p/%2Fadmin", refused: target.EmptySegment},
		{accept: "encoded-slash-decoded", raw: "%2Fadmin", refused: target.NotAbsolute},
		{accept: "encoded-slash-decoded", raw: "/p/a%252Fb", refused: target.DoubleEncoding},
		{accept: "encoded-slash-decoded,merged-slashes", raw: "/p/%2F/admin", segments: []string{"p", "admin"}, path: "/p/admin"},

		{accept: "empty-segments", raw: "/b/a//c/", segments: []string{"b", "a", "", "c"}, trailing: true, path: "/b/a//c/"},
		{accept: "empty-segments", raw: "/b//", segments: []string{"b", ""}, trailing: true, path: "/b//"},
		{accept: "empty-segments", raw: "//b", refused: target.DoubleSlash},
		{accept: "empty-segments", raw: "/b//../c", refused: target.DotSegment},
		{accept: "merged-slashes", raw: "/b/a///c//", segments: []string{"b", "a", "c"}, trailing: true, path: "/b/a/c/"},
		{accept: "merged-slashes", raw: "//b", refused: target.DoubleSlash},
		{accept: "merged-slashes", raw: "/b//..//c", refused: target.DotSegment},

		{accept: "path-parameters", raw: "/a;v=1/b%3Bc", segments: []string{"a;v=1", "b;c"}, path: "/a;v=1/b;c"},
		{accept: "path-parameters", raw: "/a/..;/b", refused: target.DotSegment},
		{accept: "path-parameters", raw: "/a/.;x/b", refused: target.DotSegment},
		{accept: "path-parameters", raw: "/a/%2e%2e%3b/b", refused: target.DotSegment},
		{accept: "path-parameters-dropped", raw: "/a;v=1;w=2/b;/", segments: []string{"a", "b"}, trailing: true, path: "/a/b/"},
		{accept: "path-parameters-dropped", raw: "/caf%C3%A9;v=1", segments: []string{"café"}, path: "/café"},
		{accept: "path-parameters-dropped", raw: "/a/..;/b", refused: target.DotSegment},
		{accept: "path-parameters-dropped", raw: "/a/%2e%2e;x/b", refused: target.DotSegment},
		{accept: "path-parameters-dropped", raw: "/a/;x/b", refused: target.EmptySegment},
		{accept: "path-parameters-dropped", raw: "/;x/b", refused: target.EmptySegment},
		{accept: "path-parameters-dropped", raw: "/a;x=%2F/b", refused: target.PathParameter},
		{accept: "path-parameters-dropped", raw: `/a;x=\/b`, refused: target.PathParameter},
		{accept: "path-parameters-dropped", raw: "/a%3Bx/b", refused: target.EncodedDelimiter},
		{accept: "path-parameters-dropped,encoded-slash-decoded", raw: "/a;x%2F..%2Fadmin", refused: target.DotSegment},

		{accept: "encoded-delimiters", raw: "/tags/C%23/Who%3f", segments: []string{"tags", "C#", "Who?"}, path: "/tags/C#/Who?"},
		{accept: "encoded-delimiters", raw: "/tags/C%23?x=%3f", segments: []string{"tags", "C#"}, path: "/tags/C#"},
		{accept: "encoded-delimiters", raw: "/tags/C#", refused: target.Fragment},
		{accept: "encoded-delimiters", raw: "/a%3Bb", refused: target.EncodedDelimiter},

		{accept: "double-encoding", raw: "/to/https%253A%252F%252Fx.test", segments: []string{"to", "https%3A%2F%2Fx.test"}, path: "/to/https%3A%2F%2Fx.test"},
		{accept: "double-encoding", raw: "/a%2541", segments: []string{"a%41"}, path: "/a%41"},
		{accept: "double-encoding", raw: "/a/%252e%252e/b", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/%25252e%25252e/b", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/x%252F..%252Fb", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/x%252F%252e.%252F%25zz", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/%2500", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/%255c", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/%25c0%25ae", refused: target.DoubleEncoding},
		{accept: "double-encoding", raw: "/a/%" + strings.Repeat("25", 12) + "41", refused: target.DoubleEncoding},
		{accept: "double-encoding,encoded-slash", raw: "/a%2Fb/c%252Fd", refused: target.DoubleEncoding},

		{accept: "unnormalized-text", raw: "/cafe%CC%81/%ef%ac%81le", segments: []string{"cafe\u0301", "ﬁle"}, path: "/cafe\u0301/ﬁle"},
		{accept: "unnormalized-text", raw: "/wait%E2%80%A6", segments: []string{"wait…"}, path: "/wait…"},
		{accept: "unnormalized-text", raw: "/a%ef%bc%8fadmin", refused: target.UnnormalizedText},
		{accept: "unnormalized-text", raw: "/a/%ef%bc%8e%ef%bc%8e/admin", refused: target.UnnormalizedText},
		{accept: "unnormalized-text", raw: "/a/%e2%80%a5/admin", refused: target.UnnormalizedText},
		{accept: "unnormalized-text", raw: "/a%ef%bc%85%32e", refused: target.UnnormalizedText},
		{accept: "unnormalized-text", raw: "/a%ef%bc%9fb", refused: target.UnnormalizedText},

		{accept: all, raw: "/x\x00", refused: target.ControlByte},
		{accept: all, raw: "/a%0Ab", refused: target.ControlByte},
		{accept: all, raw: "/a%C2%85b;", refused: target.ControlByte},
		{accept: all, raw: "/a%5Cb", refused: target.EncodedBackslash},
		{accept: all, raw: `/a\b`, refused: target.Backslash},
		{accept: all, raw: "/a b", refused: target.RawSpace},
		{accept: all, raw: "/%ff;", refused: target.InvalidUTF8},
		{accept: all, raw: "/a/../b", refused: target.DotSegment},
		{accept: all, raw: "/a/%2e/b", refused: target.DotSegment},
		{accept: all, raw: "/%", refused: target.BadEscape},
		{accept: all, raw: "/;" + strings.Repeat("a/", target.MaxSegments) + "a", refused: target.TooManySegments},
	} {
		var tgt target.Target
		accept := acceptOf(t, c.accept)
		if r := tgt.Parse(c.raw); r == target.OK {
			t.Errorf("%q needs no option", c.raw)
		} else if c.segments != nil && !accept.Lifts(r) {
			t.Errorf("%q: %s does not say that it lifts %v", c.raw, c.accept, r)
		}
		r := tgt.ParseAccepting(c.raw, accept)
		if c.segments == nil {
			if r != c.refused || tgt.Len() != 0 || tgt.Met() != 0 {
				t.Errorf("%s %q: got %v %q, want %v", c.accept, c.raw, r, segments(&tgt), c.refused)
			}
			continue
		}
		if r != target.OK || !slices.Equal(segments(&tgt), c.segments) || tgt.TrailingSlash() != c.trailing || tgt.Path() != c.path {
			t.Errorf("%s %q: got %v %q %v, path %q; want %q %v, path %q", c.accept, c.raw, r, segments(&tgt), tgt.TrailingSlash(), tgt.Path(), c.segments, c.trailing, c.path)
		}
		if tgt.Met() != accept {
			t.Errorf("%s %q needed %s", c.accept, c.raw, tgt.Met())
		}
	}
}

func TestAcceptQuerySemicolon(t *testing.T) {
	var tgt target.Target
	tgt.Parse("/x?a=1;b=2&c=3")
	if q, r := tgt.Query(); q != nil || r != target.QuerySemicolon {
		t.Fatalf("got %v", r)
	}
	tgt.Admit(target.AcceptQuerySemicolon)
	q, r := tgt.Query()
	if r != target.OK {
		t.Fatal(r)
	}
	if v, n := q.Get("a"); v != "1;b=2" || n != 1 {
		t.Errorf("a is %q, %d times", v, n)
	}
	tgt.Parse("/x?a=1;b=2") // the next request is another's
	if _, r := tgt.Query(); r != target.QuerySemicolon {
		t.Errorf("got %v", r)
	}
}

func TestAcceptSets(t *testing.T) {
	var all target.Accept
	for _, name := range target.AcceptNames() {
		a, ok := target.AcceptOf(name)
		if !ok || a.String() != name || all&a != 0 {
			t.Errorf("%s is %v", name, a)
		}
		all |= a
	}
	readings := all.Readings()
	if len(readings) != 8 {
		t.Errorf("%d readings: %v", len(readings), readings)
	}
	var union target.Accept
	for _, r := range readings {
		if first, second := r.Conflict(); first|second != 0 {
			t.Errorf("%v has a conflict", r)
		}
		union |= r
	}
	if union|target.AcceptQuerySemicolon != all {
		t.Errorf("together they are %v", union)
	}
	if got := target.AcceptQuerySemicolon.Readings(); got != nil {
		t.Errorf("for the query alone: %v", got)
	}
	if first, second := acceptOf(t, "encoded-slash,encoded-slash-decoded").Conflict(); first.String() != "encoded-slash" || second.String() != "encoded-slash-decoded" {
		t.Errorf("the conflict is %v, %v", first, second)
	}
}

// Whatever is admitted, no reading has what no reading may have.
func FuzzParseAccepting(f *testing.F) {
	for _, a := range pathAttacks {
		if len(a.raw) < 200 {
			for _, accept := range []uint16{0, 0x155, 0x1ff, 0x2aa} {
				f.Add(a.raw, accept)
			}
		}
	}
	f.Add("/p/a%2Fb;x=1//c%252F%3F", uint16(0x1d5))
	f.Fuzz(func(t *testing.T, raw string, bits uint16) {
		accept := target.Accept(bits)
		if first, _ := accept.Conflict(); first != 0 {
			accept &^= first
		}
		if first, _ := accept.Conflict(); first != 0 {
			accept &^= first
		}
		if first, _ := accept.Conflict(); first != 0 {
			accept &^= first
		}
		var strict, tgt target.Target
		was := strict.Parse(raw)
		r := tgt.ParseAccepting(raw, accept)
		if r != target.OK {
			mustBeEmpty(t, &tgt, r)
			if was == target.OK {
				t.Fatalf("%q is refused with %v alone", raw, accept)
			}
			return
		}
		if !accept.Has(tgt.Met()) || (was == target.OK) != (tgt.Met() == 0) {
			t.Fatalf("%q with %v met %v; without: %v", raw, accept, tgt.Met(), was)
		}
		if was == target.OK && !slices.Equal(segments(&tgt), segments(&strict)) {
			t.Fatalf("%q reads otherwise with %v", raw, accept)
		}
		var again target.Target
		if r := again.ParseAccepting(raw, tgt.Met()); r != target.OK || !slices.Equal(segments(&again), segments(&tgt)) || again.Path() != tgt.Path() {
			t.Fatalf("%q reads otherwise with %v alone", raw, tgt.Met())
		}
		if strings.HasPrefix(tgt.Path(), "//") {
			t.Fatalf("%q gives %q", raw, tgt.Path())
		}
		for i, s := range segments(&tgt) {
			for part := range strings.SplitSeq(s, "/") {
				if name, _, _ := strings.Cut(part, ";"); name == "." || name == ".." {
					t.Fatalf("%q gives the segment %q", raw, s)
				}
			}
			if s == "" && tgt.Met()&target.AcceptEmptySegments == 0 || strings.ContainsRune(s, '\\') || !utf8.ValidString(s) ||
				strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }) {
				t.Fatalf("%q gives the segment %q", raw, s)
			}
			if strings.Contains(tgt.Visible(i), "/") {
				t.Fatalf("%q shows the segment %q", raw, tgt.Visible(i))
			}
		}
	})
}
