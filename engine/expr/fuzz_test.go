package expr

import (
	"strings"
	"testing"
	"unicode/utf8"

	"edict/engine/value"
)

// seeds are expressions of every kind, also such as do not compile.
func seeds() []string {
	s := []string{
		"", " ", "1", "R.attr.x ==", "R.attr.x = 1", "a and b", "now()", "timeSince(now())", "has(R.attr.a.b)", "R.attr.?x.orValue(1)", "R.attr[?'x'].hasValue()",
		"cel.bind(x, R.attr.n, x == x)", "R.attr.tags.filter(t, t != null).map(t, [t])", "R.attr.m.all(k, v, k != v)", "type(R) == type(P)", "P == P && dyn(P) != dyn(R)", "optional.of(1) == optional.none()",
		"b'a' < b'b'", "1u + 2u", "-(-9223372036854775808)", "9223372036854775807 * 2", "1 / 0 == 1 || true", "'a' + string(1.5)", "{'a': 1}['b']", "[[1, 2u, 3.0], ['a']] == [[1.0, 2, 3u], ['a']]",
		"string(timestamp('2024-01-01T00:00:00Z')).startsWith('2024')", "duration('1h') + now() > now()", "R.attr.`a-b` == 1", "'a'.matches('(a+)+$')", "V.i in [1, 2] || V.u in [7.0]", "[1, 2, 3].exists_one(x, x > 2)",
		"[0].all(x, [1].exists(y, [2].exists_one(z, x < y && y < z)))", "math.greatest(1, 2)", "'a,b'.split(',')[1]", "json.encode(R.attr.m)", "runtime.effectiveDerivedRoles.isSubset(P.roles)",
		"R.attr.tags.filter(t, t != null).map(t, t == 'a', [t])", "R.attr.m.exists(k, v, k == v)", "2 in [1 + 1, R.attr.gone]", "hierarchy('a.b').ancestorOf(hierarchy(R.attr.s))", "spiffeID(R.attr.s).path()", "relPath(R.attr.s, '/a')",
		"'\\u00e9)' == (R.attr.s) // (", "(R.attr.`s`) == r'\\('", "intersect(R.attr.tags, P.attr.tags).size() == 1",
		"[1].exists(P, P == 1)", ".R.attr.n == 1.0", "[1].all(R, .R.attr.n == R)", "x.y.z", "R.nope", "int('x') == 1", "'x' in []",
	}
	for _, shape := range policyShapes {
		s = append(s, shape.source)
	}
	return s
}

// FuzzNative compares what compiles natively with cel-go.
func FuzzNative(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	e := newTestEnv(f)
	worlds := []*facts{policyFacts(), oddFacts(), {}}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 2000 || strings.Count(source, "(") > 60 {
			return // loops in loops take long, both ways
		}
		p, issues := e.Compile(source)
		if len(issues) > 0 || p.native == nil {
			return
		}
		for _, x := range worlds {
			frame := x.frame(e)
			if got := p.native.on(frame, p.loops, nil); !punts(got) {
				if want := p.evalCEL(frame); !alike(got, want) {
					t.Errorf("%s\n  native: %v %v\n  cel-go: %v %v\n  with %v", source, got.Kind(), got, want.Kind(), want, x)
				}
			}
			if frame.base != 0 || frame.top != 0 {
				t.Errorf("%s leaves loop variables behind", source)
			}
		}
	})
}

// FuzzCompile looks for text that the compiler can't cope with.
func FuzzCompile(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	e := newTestEnv(f)
	frame := oddFacts().frame(e)
	f.Fuzz(func(t *testing.T, source string) {
		p, issues := e.Compile(source)
		if (p == nil) != (len(issues) > 0) {
			t.Fatalf("%q gives a program %v and %d issues", source, p != nil, len(issues))
		}
		for _, issue := range issues {
			if issue.Line < 1 || issue.Column < 1 || issue.Message == "" {
				t.Errorf("%q: an issue says %+v", source, issue)
			}
			if utf8.ValidString(source) && !utf8.ValidString(issue.Message+issue.Hint) {
				t.Errorf("%q: the message %q is no text", source, issue.Message+issue.Hint)
			}
		}
		if p == nil {
			return
		}
		if again, issues := e.Check(source); again == nil || len(issues) > 0 {
			t.Errorf("%q compiles, but does not check", source)
		}
		for _, s := range p.Selections() {
			if s.Line < 1 || s.Column < 1 || s.Variable == "" {
				t.Errorf("%q: a selection is %+v", source, s)
			}
		}
		if len(source) < 200 {
			v := p.Eval(frame)
			if v.Kind() == value.Absent {
				t.Errorf("%q has no result", source)
			}
			if out, err := frame.Detach(v); err == nil && special(out) {
				t.Errorf("%q as an output is %v", source, out)
			}
			if p.planned(nil); p.failure != nil {
				t.Errorf("%q compiles, but cel-go can't plan it: %v", source, p.failure)
			}
			steps, result := p.Trace(frame)
			if !alike(result, v) && !frame.ReadClock() {
				t.Errorf("%q is %v, but its trace ends with %v", source, v, result)
			}
			for _, s := range steps {
				if s.Line < 1 || s.Column < 1 || s.Text == "" || !strings.Contains(source, s.Text) && utf8.ValidString(source) {
					t.Errorf("%q: a step is %+v", source, s)
				}
			}
		}
	})
}

// TestDeepNestingIsBounded compiles text as deep as its length allows.
func TestDeepNestingIsBounded(t *testing.T) {
	skipSequential(t)
	e := newTestEnv(t)
	const n = 20000
	rep := strings.Repeat
	for name, source := range map[string]string{
		"parentheses": rep("(", n) + "1" + rep(")", n),
		"lists":       rep("[", n) + rep("]", n),
		"indexes":     "R.attr.m" + rep("[0]", n),
		"fields":      "R.attr" + rep(".m", n),
		"sums":        "1" + rep("+1", n),
		"choices":     rep("true?1:", n/2) + "1",
		"macros":      rep("[1].all(x,", n/4) + "true" + rep(")", n/4),
		"calls":       rep("dyn(", n/4) + "1" + rep(")", n/4),
		"open":        rep("(", n),
		"maps":        rep("{1:", n/4) + "1" + rep("}", n/4),
		"long":        rep("x", MaxSource+1),
	} {
		t.Run(name, func(t *testing.T) {
			p, issues := e.Compile(source)
			if p != nil || len(issues) == 0 {
				t.Errorf("%d levels compile", n)
			}
			for _, issue := range issues {
				if len(issue.Message) > 1000 {
					t.Errorf("a message has %d bytes", len(issue.Message))
				}
			}
		})
	}
}

// TestNestingCostsNoMoreThanItsDepth hangs if some form compiles or runs its
// operands more than once.
func TestNestingCostsNoMoreThanItsDepth(t *testing.T) {
	e, x := newTestEnv(t), oddFacts()
	for _, form := range []string{"1 in [2, %]", "% in [true, R.attr.t]", "[R.attr.t, %][1]", "!(%)", "(% && R.attr.t)", "(R.attr.f || %)", "(% == true)", "(R.attr.t == %)", "(% ? true : R.attr.t)",
		"(R.attr.f ? false : %)", "[%].exists(x, x)", "[R.attr.t].all(x, %)", "dyn(%)", "bool(string(%))", "hasIntersection([%], [true])", "{'a': %}.a", "R.attr.m.exists_one(k, k == 'a' && %)", "(R.attr.gone || %)"} {
		source := "R.attr.t"
		levels := 40
		if strings.Contains(form, "exists") || strings.Contains(form, ".all(") {
			levels = 4 // more cost too much
		}
		for range levels {
			source = strings.Replace(form, "%", source, 1)
		}
		p, issues := e.Compile(source)
		if len(issues) > 0 {
			t.Errorf("%s: %s", form, issues[0].Message)
			continue
		}
		sameBothWays(t, p, e, x)
	}
}

// TestWideExpressionsRun has no deep nesting, only many operands.
func TestWideExpressionsRun(t *testing.T) {
	skipSequential(t)
	e := newTestEnv(t)
	x := oddFacts()
	for _, source := range []string{
		strings.Repeat(`R.attr.f || `, 3000) + "R.attr.t",
		strings.Repeat(`R.attr.t && `, 3000) + "R.attr.t",
		`"zz" in [` + strings.Repeat(`"a", `, 5000) + `"zz"]`,
		strings.Repeat("!", 20000) + "true",
	} {
		p := mustCompile(t, e, source)
		if p.native == nil {
			t.Errorf("%.40s... is not native", source)
		}
		if v := sameBothWays(t, p, e, x); !v.Bool() {
			t.Errorf("%.40s... = %v", source, v)
		}
	}
}
