package routing_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"edict/extauthz/routing"
	"edict/extauthz/target"
)

// Templates that Envoy accepts, and what differs from it as package docs say.
var goodTemplates = map[string][]string{
	"/":                                   {},
	"/a":                                  {},
	"/a/":                                 {},
	"/**.m3u8":                            {},
	"/*_suf":                              {},
	"/{path=**}.m3u8":                     {"path"},
	"/{foo}/**.ts":                        {"foo"},
	"/media/*.m4s":                        {},
	"/media/{contentId=*}/**":             {"contentId"},
	"/api/*/*/":                           {},
	"/api/*/v1/**":                        {},
	"/{version=api/*}/*":                  {"version"},
	"/api/*/{resource=*}/{method=**}":     {"resource", "method"},
	"/api/{VERSION}/{version}/{verSION}":  {"VERSION", "version", "verSION"},
	"/media/{v=123/*/*}":                  {"v"},
	"/{v_1=*/abc/**}":                     {"v_1"},
	"/{v3=abc}":                           {"v3"},
	"/**/a/b":                             {},
	"/x/{v=**/def}":                       {"v"},
	"/**/":                                {},
	"/api/v{version}/users/{id}.json":     {"version", "id"},
	"/-._~%21!$&'()+,@=/x:y":              {},
	"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}":    {"a", "b", "c", "d", "e", "f", "g", "h"},
	"/{organizationMembershipIdentifier}": {"organizationMembershipIdentifier"},
	"/naïve/%C3%A9":                       {},
	"/%3Aid":                              {},
	"/{x}:cancel":                         {"x"},
	"/.{x}":                               {"x"},
	"/%2e{x}":                             {"x"},
	"/{x=*}..":                            {"x"},

	strings.Repeat("/a", target.MaxSegments):       {},
	strings.Repeat("/a", target.MaxSegments) + "/": {},
}

func TestTemplates(t *testing.T) {
	for s, want := range goodTemplates {
		tmpl, err := routing.ParseTemplate(s)
		if err != nil {
			t.Errorf("ParseTemplate(%q): %v", s, err)
			continue
		}
		if got := tmpl.Variables(); !slices.Equal(got, want) || tmpl.String() != s {
			t.Errorf("ParseTemplate(%q) is %s with the variables %q, want %q", s, tmpl, got, want)
		}
	}
}

var badTemplates = []struct {
	template string
	column   int
	part     string // of message or hint
}{
	{"", 1, "begin it with /"},
	{"media", 1, "begin it with /"},
	{"*", 1, "begin it with /"},
	{"//a", 2, "empty segment"},
	{"/a//b", 4, "empty segment"},
	{"/a//", 4, "empty segment"},
	{"/api/v*/1234", 7, "v{version}"},
	{"/link/asset*", 12, "v{version}"},
	{"/media/***", 10, "more than two *"},
	{"/**/*", 5, "last wildcard"},
	{"/**/{var}", 5, "last wildcard"},
	{"/**/{var=*}", 10, "last wildcard"},
	{"/{a=**}/{b=*}/c", 12, "last wildcard"},
	{"/media/**/*/**", 11, "last wildcard"},
	{"/*.js/x", 3, "must end the template"},
	{"/**.js/x", 4, "must end the template"},
	{"/**.js/", 4, "must end the template"},
	{"/{p=**}.js/x", 8, "must end the template"},
	{"/{p=a/*}.js/x", 9, "must end the template"},
	{"/{a}{b}", 5, "two wildcards in one segment"},
	{"/{a}-{b}", 6, "two wildcards in one segment"},
	{"/{a}*", 5, "two wildcards in one segment"},
	{"/media/*{*}*", 9, "two wildcards in one segment"},
	{"/x{p=**}", 2, "put a slash after it"},
	{"/x{p=a/*}", 2, "put a slash after it"},
	{"/x{p=abc}", 2, "put a slash after it"},
	{"/{var", 2, "close it with }"},
	{"/a/{v/b", 4, "close it with }"},
	{"/a}", 3, "open the variable"},
	{"/{a}}", 5, "open the variable"},
	{"/{a={b}}", 5, "variable within a variable"},
	{"/{}", 3, "no name"},
	{"/{=abc}", 3, "no name"},
	{"/{*}/", 3, "rest of the path"},
	{"/{*path}", 3, "{path=**}"},
	{"/{path...}", 3, "{path=**}"},
	{"/{1v}", 3, "not a variable name"},
	{"/{_v=*}", 3, "not a variable name"},
	{"/{v-a-r}", 4, "not a variable name"},
	{"/{id:int}", 5, "a variable has no type; write {id}"},
	{"/{p:path}", 4, "{p=**}"},
	{"/{version.major}", 10, "not a variable name"},
	{"/{" + strings.Repeat("a", 65) + "}", 3, "longer than 64"},
	{"/{version}/{version}", 13, "occurs twice"},
	{"/" + strings.Repeat("{a}/", 20), 7, "occurs twice"},
	{"/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}", 66, "more than 16 variables"},
	{"/{var=}", 7, "empty segment"},
	{"/{id=/*}/*", 6, "empty segment"},
	{"/{v=**/}", 8, "empty segment"},
	{"/{v=a//b}", 7, "empty segment"},
	{"/{var=***}", 9, "more than two *"},
	{"/{var=abc/a*}", 12, "before the opening brace"},
	{"/{version=v*}/1234", 12, "before the opening brace"},
	{"/{var=*def/abc}", 8, "after the closing brace"},
	{"/{var=abc=def}", 10, "%3D"},
	{"/{rc=||||(A+yl/}", 6, "%7C"},
	{"/a?b=1", 3, "no query"},
	{"/{var=*/abc?q=1}", 12, "no query"},
	{"/a#b", 3, "no fragment"},
	{"/a;b", 3, "semicolon"},
	{"/a b", 3, "%20"},
	{`/a"b`, 3, "%22"},
	{`/a\b`, 3, "no path that is accepted"},
	{"/a\x01", 3, "no path that is accepted"},
	{"/<id>", 2, "{name}"},
	{"/users/:id", 8, "{name}"},
	{"/..", 2, ". or .."},
	{"/a/./b", 4, ". or .."},
	{"/a/%2E%2e", 4, ". or .."},
	{"/{v=a/..}", 7, ". or .."},
	{"/a/b%2fc", 4, "encoded slash"},
	{"/a/x%2f{b}", 4, "encoded slash"},
	{"/%00", 2, "control character"},
	{"/a%zz", 2, "hexadecimal"},
	{"/%2{x}", 2, "hexadecimal"},
	{"/%252e", 2, "encoded twice"},
	{"/{v=%25}41", 5, "encoded twice"},
	{"/%ff", 2, "UTF-8"},
	{"/\xff", 2, "UTF-8"},
	{"/é\xff", 3, "UTF-8"},
	{"/％", 2, "NFKC"},
	{"/éé/é^", 6, "%5E"},
	{"/" + strings.Repeat("a", target.MaxPath), 1, "longer than any path"},
	{strings.Repeat("/a", target.MaxSegments+1), 1, "more segments"},
}

func TestBadTemplates(t *testing.T) {
	for _, c := range badTemplates {
		tmpl, err := routing.ParseTemplate(c.template)
		var te *routing.TemplateError
		if !errors.As(err, &te) {
			t.Errorf("ParseTemplate(%q) = %s, %v, want an error about %q", c.template, tmpl, err, c.part)
			continue
		}
		if te.Column != c.column || !strings.Contains(te.Error(), c.part) {
			t.Errorf("ParseTemplate(%.70q): %v, want column %d, %q", c.template, te, c.column, c.part)
		}
		if tmpl.String() != "" || len(tmpl.Variables()) != 0 {
			t.Errorf("ParseTemplate(%q) gives an error and %s", c.template, tmpl)
		}
	}
}

func FuzzParseTemplate(f *testing.F) {
	for s := range goodTemplates {
		f.Add(s)
	}
	for _, c := range badTemplates {
		if len(c.template) < 200 {
			f.Add(c.template)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		tmpl, err := routing.ParseTemplate(s)
		if err != nil {
			var te *routing.TemplateError
			if !errors.As(err, &te) || te.Message == "" || te.Column < 1 || te.Column > utf8.RuneCountInString(s)+1 {
				t.Fatalf("ParseTemplate(%q): %#v", s, err)
			}
			return
		}
		if !strings.HasPrefix(s, "/") || tmpl.String() != s || len(tmpl.Variables()) > routing.MaxVariables {
			t.Fatalf("ParseTemplate(%q) = %s, %q", s, tmpl, tmpl.Variables())
		}
		p := routing.Pattern{ID: 7, Path: tmpl}
		table, conflicts := routing.New([]routing.Pattern{p})
		if len(conflicts) > 0 {
			t.Fatalf("%q alone: %v", s, conflicts)
		}
		// A template matches what it becomes with a word for each wildcard:
		// none is accepted that no path could match.
		bare := variables.ReplaceAllStringFunc(s, func(v string) string {
			if m := variables.FindStringSubmatch(v)[2]; m != "" {
				return m
			}
			return "*"
		})
		example := strings.ReplaceAll(strings.ReplaceAll(bare, "**", "x/y"), "*", "x")
		var tgt target.Target
		if r := tgt.Parse(example); r != target.OK {
			// The word may join the text around it to something that is refused.
			if r != target.UnnormalizedText && r != target.PathTooLong && r != target.TooManySegments && r != target.DoubleEncoding {
				t.Fatalf("ParseTemplate(%q) is accepted, but its example %q is refused: %v", s, example, r)
			}
			return
		}
		if d := difference(t, table, []listed{list(p)}, &input{host: "h", method: "GET", tgt: &tgt}); d != "" {
			t.Fatalf("%q: %s", s, d)
		}
		var m routing.Match
		if !match(table, "h", "GET", &tgt, &m) {
			t.Fatalf("%q does not match its example %q", s, example)
		}
	})
}
