package glob

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern  string
		match    []string
		mismatch []string
	}{
		{"*", []string{"", "a", "a:b"}, nil},
		{"**", []string{"", "a", "a:b"}, nil},
		{"view:*", []string{"view:", "view:a"}, []string{"view", "view:a:b", "xview:a"}},
		{"*:b", []string{"x:b", ":b"}, []string{"b", "x:y:b", "x:bc"}},
		{"a:*:d", []string{"a:x:d", "a::d"}, []string{"a:d", "a:x:y:d"}},
		{"a:**", []string{"a:", "a:x:y"}, []string{"a", "b:x"}},
		{"{a,b}:*", []string{"a:1", "b:"}, []string{"c:1", "{a,b}:1"}},
		{"a?b*", []string{"axbq", "axb"}, []string{"a:bq", "ab", "axb:c"}},
		{"[ab]*", []string{"a", "bc"}, []string{"c", "a:b"}},
		{"[!ab]*", []string{"c", "cd"}, []string{"a", ""}},
		{"[a-c]x*", []string{"bxy"}, []string{"dx"}},
		{`a\**`, []string{"a*", "a*b"}, []string{"ab"}},
		{"{x,{y,z}}*", []string{"x", "yq", "z"}, []string{"q"}},
		{"a.c*", []string{"a.cd"}, []string{"abcd"}},
		{"[!a-c]*", []string{"d", ":"}, []string{"a", "b"}},
		{"[ab-d]*", []string{"a", "b", "-", "d"}, []string{"c"}},
		{"[-a]*", []string{"-", "a"}, []string{"b"}},
		{"[^a]*", []string{"^", "a"}, []string{"b"}},
		{`[a\-b]*`, []string{"a", "-", "b"}, []string{"c"}},
		{"{a,}*", []string{"", "ab", "b"}, []string{":"}},
		{"a}*", []string{"a}b"}, []string{"a"}},
		{"a]*", []string{"a]b"}, []string{"a"}},
		{"a,b*", []string{"a,bc"}, []string{"a", "b"}},
		{"[*]", []string{"*"}, []string{"a"}},
		{"***", []string{"", "a:b"}, nil},
		{"é*", []string{"étude"}, []string{"etude"}},
		{"us?r*", []string{"user", "usér"}, []string{"usr"}}, // gobwas matches no é here
		{"us[é]r*", []string{"usér"}, []string{"user"}},
	}
	for _, tt := range tests {
		p, err := Compile(tt.pattern)
		if err != nil {
			t.Errorf("Compile(%q): %v", tt.pattern, err)
			continue
		}
		for _, s := range tt.match {
			if !p.Match(s) {
				t.Errorf("%q should match %q", tt.pattern, s)
			}
		}
		for _, s := range tt.mismatch {
			if p.Match(s) {
				t.Errorf("%q should not match %q", tt.pattern, s)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for pattern, want := range map[string]string{
		"{bad*":     "without closing",
		"[bad*":     "without closing",
		"[]*":       "empty []",
		"[a-]*":     "stand alone",
		"[a-zA-Z]*": "stand alone",
		"[z-a]*":    "which is empty",
		`*a\`:       "lone",
		strings.Repeat("{", 40) + "*" + strings.Repeat("}", 40): "deep",
	} {
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%q): got %v, want an error with %q", pattern, err, want)
		}
	}
}

func TestZeroPatternMatchesNothing(t *testing.T) {
	var p Pattern
	if p.Match("") || p.Match("a") {
		t.Error("the zero Pattern matched")
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"*", "view:*", "{a,b}:*", "[!a-z]*", `a\*`, "{bad*", "a**b"} {
		f.Add(s, "view:a")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := Compile(pattern)
		if err != nil {
			return
		}
		p.Match(text)
		// A pattern without special characters stands for itself.
		if !strings.ContainsAny(pattern, `*?[]{}\`) && strings.ToValidUTF8(pattern, "") == pattern && !p.Match(pattern) {
			t.Errorf("%q does not match itself", pattern)
		}
	})
}
