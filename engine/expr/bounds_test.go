package expr

import (
	"fmt"
	"strings"
	"testing"
)

func TestBoundsRefuseWhatTakesTooLong(t *testing.T) {
	e := newTestEnv(t)
	nested := func(loops int, over string) string {
		source := "true"
		for i := range loops {
			source = fmt.Sprintf("%s.exists(x%d, %s)", over, i, source)
		}
		return source
	}
	numbers := "[" + strings.Repeat("1,", 9999) + "1]"
	for name, tc := range map[string]struct {
		source string
		want   string // part of the message; empty: it compiles
	}{
		"four loops over attributes":           {nested(4, "R.attr.tags"), ""},
		"five loops over attributes":           {nested(5, "R.attr.tags"), "more than 10000000000 steps"},
		"eight loops over short lists":         {nested(8, "[1, 2]"), ""},
		"too many loops":                       {nested(9, "[1]"), "loops nest 9 deep; at most 8"},
		"loops over a long list":               {nested(1, numbers), ""},
		"loops over a long list in each other": {nested(2, "lists.range(500000)"), "more than 10000000000 steps"},
		"a range in loops":                     {nested(2, "R.attr.tags") + " && " + nested(2, "lists.range(int(R.attr.n))"), "more than 10000000000 steps"},
		"comparing lists in loops":             {`R.attr.a.all(a, R.attr.b.all(b, R.attr.c.all(c, hasIntersection(R.attr.d, R.attr.e))))`, "more than 10000000000 steps"},
		"sorting":                              {`R.attr.a.sortBy(x, x.n).map(x, x.n) == R.attr.b.filter(x, x in R.attr.c)`, ""},
		"a pattern":                            {`R.attr.s.matches("^[a-z]{1,200}@example[.]com$")`, ""},
		"a huge pattern":                       {`R.attr.s.matches("` + strings.Repeat("a{1000}", 11) + `")`, "the regular expression compiles to"},
		"a huge pattern to extract":            {`regex.extract(R.attr.s, "` + strings.Repeat("[a-f]{900}", 12) + `").hasValue()`, "the regular expression compiles to"},
		"a long expression":                    {"true" + strings.Repeat(" || true", MaxSource/8), "bytes; at most"},
	} {
		t.Run(name, func(t *testing.T) {
			p, issues := e.Compile(tc.source)
			switch {
			case tc.want == "" && p == nil:
				t.Errorf("refused: %v", issues)
			case tc.want != "" && p != nil:
				t.Error("compiles")
			case tc.want != "" && (!strings.Contains(issues[0].Message, tc.want) || issues[0].Line != 1 || issues[0].Column < 1):
				t.Errorf("the issue is %+v, want %q", issues[0], tc.want)
			}
		})
	}
}

func TestIssueOfAPatternStandsAtThePattern(t *testing.T) {
	e := newTestEnv(t)
	_, issues := e.Check("R.attr.a == 1 &&\n  R.attr.s.matches(\"" + strings.Repeat("a{1000}", 11) + "\")")
	if len(issues) != 1 || issues[0].Line != 2 || issues[0].Column != 20 || issues[0].Hint == "" {
		t.Errorf("the issues are %+v", issues)
	}
}

func TestFrameTellsThatTheClockWasRead(t *testing.T) {
	e := newTestEnv(t)
	for source, want := range map[string]bool{
		`now() > timestamp("2024-01-01T00:00:00Z")`:         true,
		`timestamp(R.attr.createdAt).timeSince() > V.x`:     true,
		`R.attr.tags.transformList(i, t, now()).size() > 1`: true, // by cel-go
		`R.attr.ownerId == P.id`:                            false,
		`R.attr.ownerId == P.id || now() > now()`:           false, // not reached
		`timestamp("2024-01-01T00:00:00Z").getHours() == 0`: false,
	} {
		f := policyFacts().frame(e)
		p := mustCompile(t, e, source)
		if p.Eval(f); f.ReadClock() != want {
			t.Errorf("%s reads the clock: %v, want %v", source, f.ReadClock(), want)
		}
		if f.Reset(testNow); f.ReadClock() {
			t.Errorf("%s: the clock counts as read after Reset", source)
		}
	}
}

func TestCheckGivesTheTypesOfTheParts(t *testing.T) {
	e := newTestEnv(t)
	a, issues := e.Check(`size(R.attr.tags) > 1`)
	if len(issues) > 0 {
		t.Fatal(issues)
	}
	if got := a.GetType(a.Expr().ID()); got != Bool {
		t.Errorf("the type is %v", got)
	}
	if a, issues := e.Check(`R.nope`); a != nil || len(issues) != 1 || issues[0].Column != 2 {
		t.Errorf("what does not check gives %v, %+v", a, issues)
	}
}
