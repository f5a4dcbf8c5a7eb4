package expr

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"edict/engine/value"
)

// manyTexts gives a list of n different texts.
func manyTexts(prefix string, n int) value.Value {
	list := make(value.Slice, n)
	for i := range list {
		list[i] = value.OfString(fmt.Sprintf("%s%d", prefix, i))
	}
	return value.OfSequence(list)
}

// largeFacts is data of a size that nobody had in mind.
func largeFacts() *facts {
	return &facts{resource: value.Values{
		"a": manyTexts("a", 50_000), "b": manyTexts("b", 50_000), "s": value.OfString(strings.Repeat("a", 1<<20)),
		"pattern": value.OfString(strings.Repeat("a{1000}", 1000)),
		"lists":   value.OfSequence(value.Slice{manyTexts("a", 50_000), manyTexts("a", 50_000)}),
	}}
}

// What an evaluation may cost does not depend on the size of the data, however
// it is written. Each of these would take from seconds to hours.
func TestEvaluationsEnd(t *testing.T) {
	skipSequential(t)
	e := newTestEnv(t)
	x := largeFacts()
	for _, source := range []string{
		`R.attr.a.exists(x, R.attr.b.exists(y, x == y))`,
		`R.attr.a.all(x, !(x in R.attr.b))`,
		`R.attr.a.filter(x, R.attr.b.exists(y, y == x)).size() == 0`,
		`R.attr.a.exists_one(i, x, R.attr.b.exists(y, x == y))`,
		`R.attr.a.exists(x, R.attr.a == R.attr.lists[0] && x == "")`,
		`hasIntersection(R.attr.a, R.attr.b)`,
		`isSubset(R.attr.b, R.attr.a + R.attr.a)`,
		`R.attr.a.except(R.attr.b).size() == 0`,
		`R.attr.a.intersect(R.attr.b).size() > 0`,
		`sets.contains(R.attr.a, R.attr.b.map(x, "a1"))`,
		`sets.intersects(R.attr.a, R.attr.b)`,
		`R.attr.a.distinct().size() > 0`,
		`R.attr.s.replace("", R.attr.s).size() > 0`,
		`R.attr.a.join(R.attr.s).size() > 0`,
		`R.attr.s.matches("` + strings.Repeat("(a?a+){9}", 30) + `b")`,
		`R.attr.a.transformList(i, x, R.attr.b.transformList(j, y, x + y)).size() > 0`,
		`R.attr.a.transformList(i, x, R.attr.b.sort()[i]).size() > 0`,
		`R.attr.a.transformList(i, x, x in R.attr.b).size() > 0`,
		`R.attr.a.transformList(i, x, R.attr.a == R.attr.lists[0]).size() > 0`,
		`R.attr.a.transformList(i, x, (R.attr.b + [x])[i]).size() > 0`,
		`R.attr.a.map(x, lists.range(1000000 - x.size()).size()).size() > 0`,
		`cel.bind(x, R.attr.s + R.attr.s + R.attr.s + R.attr.s, cel.bind(y, x + x + x + x + x + x + x + x, y + y + y + y + y + y + y + y)).size() > 0`,
	} {
		p := mustCompile(t, e, source)
		for name, eval := range map[string]func(*Frame) value.Value{"native": p.Eval, "cel-go": p.evalCEL} {
			f := x.frame(e)
			f.steps /= 16 // of a second, since there are many
			if v := eval(f); !errors.Is(v.Err(), ErrTooManySteps) || !f.Spent() {
				t.Errorf("%s, %s: %.100v", source, name, v)
			}
			if v := mustCompile(t, e, "true || R.attr.a.size() == 1").Eval(f); !errors.Is(v.Err(), ErrTooManySteps) {
				t.Errorf("after %s the frame goes on: %v", source, v)
			}
			if f.Reset(testNow); f.Spent() {
				t.Errorf("%s: Reset gives no new steps", source)
			}
		}
	}
}

// A regular expression out of data is held to the bound of one that is written.
func TestPatternsOfDataAreBounded(t *testing.T) {
	e := newTestEnv(t)
	for pattern, want := range map[string]string{
		strings.Repeat("a{1000}", 11):      "compiles to 11002 instructions; at most 10000",
		strings.Repeat("a", MaxSource+1):   "has 65537 bytes; at most 65536",
		"(":                                "missing closing )",
		strings.Repeat("a{1000}", 9) + "b": "",
	} {
		x := &facts{resource: value.Values{"s": value.OfString("a"), "pattern": value.OfString(pattern)}}
		for _, source := range []string{`R.attr.s.matches(R.attr.pattern)`, `regex.extract(R.attr.s, R.attr.pattern).hasValue()`} {
			v := mustCompile(t, e, source).Eval(x.frame(e))
			if want == "" && v.Kind() != value.Bool || want != "" && (v.Err() == nil || !strings.Contains(v.Err().Error(), want)) {
				t.Errorf("%s with %.20s: %v, want %q", source, pattern, v, want)
			}
		}
	}
}

// What is linear in the data may still be run on data as large.
func TestLargeDataCanBeUsed(t *testing.T) {
	skipSequential(t)
	e := newTestEnv(t)
	x := largeFacts()
	x.now = testNow
	for source, want := range map[string]bool{
		`"a49999" in R.attr.a`:                                               true,
		`R.attr.a.exists(x, x == "a49999")`:                                  true,
		`R.attr.a.map(x, x + "!").size() == 50000`:                           true,
		`R.attr.a.transformList(i, x, R.attr.b[i]).size() == 50000`:          true, // an element of a list is reached in one step
		`R.attr.a.transformList(i, x, x + "!").size() == 50000`:              true,
		`R.attr.a == R.attr.lists[0]`:                                        true,
		`R.attr.a.sort()[1] == "a1"`:                                         true,
		`R.attr.s.matches("^a*$")`:                                           true,
		`(R.attr.s + R.attr.s).size() == 2097152`:                            true,
		`R.attr.s.replace("a", "b").startsWith("bb")`:                        true,
		`hasIntersection(["a1", "b1"], R.attr.b)`:                            true,
		`R.attr.b.except(["b1"]).size() == 49999`:                            true,
		`R.attr.a.join(",").contains("a49999")`:                              true,
		`lists.range(1000000).exists(x, x == 999999)`:                        true,
		`R.attr.lists.exists(l, l.exists(x, x == "a49999"))`:                 true,
		`R.attr.lists.transformList(i, l, l.filter(x, x == "")) == [[], []]`: true,
	} {
		p := mustCompile(t, e, source)
		for name, eval := range map[string]func(*Frame) value.Value{"native": p.Eval, "cel-go": p.evalCEL} {
			if v := eval(x.frame(e)); v.Kind() != value.Bool || v.Bool() != want {
				t.Errorf("%s, %s: %.100v", source, name, v)
			}
		}
	}
}

// Values that hold each other twice are small to make and large to look at.
func TestDoubledValuesEnd(t *testing.T) {
	skipSequential(t)
	e := newTestEnv(t)
	v := value.OfSequence(value.Slice{value.OfInt(1)})
	for range 60 {
		v = value.OfSequence(value.Slice{v, v})
	}
	x := &facts{variables: value.Values{"v": v, "w": value.OfSequence(value.Slice{v, v})}}
	f := x.frame(e)
	if f.SpendOn(v) {
		t.Error("there are steps for 2^60 values")
	}
	if _, err := x.frame(e).Detach(v); !errors.Is(err, ErrTooManySteps) {
		t.Errorf("Detach gives %v", err)
	}
	for _, source := range []string{`V.v == V.w[0]`, `V.v in [V.w[1]]`, `V.w.exists(x, x == V.v)`, `hasIntersection([V.v], V.w)`} {
		if got := mustCompile(t, e, source).Eval(x.frame(e)); !errors.Is(got.Err(), ErrTooManySteps) {
			t.Errorf("%s = %.100v", source, got)
		}
	}
}

func BenchmarkSteps(b *testing.B) {
	e := newTestEnv(b)
	x := &facts{resource: value.Values{"a": manyTexts("a", 100), "b": manyTexts("b", 100), "s": value.OfString("someone@example.com")}}
	for _, source := range []string{
		`R.attr.a.exists(x, x == "a99")`,
		`"a99" in R.attr.a`,
		`R.attr.s.matches("^[a-z]+@example[.]com$")`,
		`R.attr.s + "!" == "someone@example.com!"`,
		`R.attr.a.transformList(i, x, x + "!").size() == 100`,
		`sets.intersects(R.attr.a, R.attr.b)`,
	} {
		p := mustCompile(b, e, source)
		f := x.frame(e)
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.steps = MaxSteps
				p.Eval(f)
			}
		})
	}
}
