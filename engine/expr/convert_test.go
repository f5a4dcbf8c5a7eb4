package expr

import (
	"reflect"
	"testing"

	"edict/engine/value"
)

// TestViewsAnswerAsPlainMaps asks of the lazily wrapped attributes what cel-go
// answers of a map[string]any, and of structs what it answers of a proto
// message. Nothing of it is compiled natively, or else it is run by cel-go too.
func TestViewsAnswerAsPlainMaps(t *testing.T) {
	e := newTestEnv(t)
	attrs := map[string]any{"m": map[string]any{"a": 1, "b": []any{1, "x", nil}}, "same": map[string]any{"b": []any{1, "x", nil}, "a": 1}, "other": map[string]any{"a": 2},
		"empty": map[string]any{}, "list": []any{map[string]any{"a": 1}, "z"}, "s": "text", "nothing": nil, "n": 1.0}
	x := &facts{resource: value.Attributes(attrs), principal: deep(attrs).Mapping(), roles: []string{"user", "admin"},
		variables: value.Values{"p": {}, "m": deep(attrs["m"]), "one": value.OfInt(1)}}
	x.variables["p"] = value.OfMapping(x.objects()[slotP])
	for _, tc := range []struct {
		source string
		want   any // nil: an error
	}{
		// Maps.
		{`R.attr.m == R.attr.same`, true},
		{`R.attr.m == P.attr.m`, true},
		{`R.attr.m != R.attr.other`, true},
		{`R.attr.m == {"a": 1, "b": [1, "x", null]}`, true},
		{`{"a": 1, "b": [1, "x", null]} == R.attr.m`, true},
		{`R.attr.m == {"a": 1}`, false},
		{`R.attr.m == 1`, false},
		{`R.attr.m == V.m`, true},
		{`[R.attr.m] == [R.attr.same]`, true},
		{`R.attr.m in [R.attr.other, R.attr.same]`, true},
		{`R.attr.m in ["text", "z"]`, false},
		{`R.attr.m in [1, 2]`, false},
		{`{"a": 1} in R.attr.list`, true},
		{`R.attr.list == P.attr.list`, true},
		{`"a" in R.attr.m && !("c" in R.attr.m) && !(1 in R.attr.m)`, true},
		{`R.attr.m.map(k, k)`, []any{"a", "b"}},
		{`R.attr.m.filter(k, R.attr.m[k] == 1)`, []any{"a"}},
		{`R.attr.m.all(k, v, k == "a" || v == [1, "x", null])`, true},
		{`R.attr.m.transformMap(k, v, k)`, map[string]any{"a": "a", "b": "b"}},
		{`size(R.attr.m) + size(R.attr.empty)`, int64(2)},
		{`type(R.attr.m) == map`, true},
		{`dyn(R.attr.m) == R.attr.m`, true},
		{`R.attr.m[1]`, nil},
		{`R.attr.m.c`, nil},
		{`R.attr.s.c`, nil},
		{`string(R.attr.m)`, nil},
		{`R.attr.m < R.attr.same`, nil},
		{`R.attr.m + R.attr.m`, nil},
		{`{R.attr.s: 1}["text"]`, int64(1)},
		{`json.encode(R.attr.other)`, `{"a":2}`},
		{`"%s".format([R.attr.other])`, `{a: 2}`},
		// Optional selection.
		{`R.attr.?m.?a.orValue(7)`, 1.0},
		{`R.attr.?gone.?a.orValue(7)`, int64(7)},
		{`R.attr[?"n"].value()`, 1.0},
		{`R.attr[?"gone"].hasValue()`, false},
		{`R.attr.?s.?x.hasValue()`, false},
		{`R.attr.m.b[?1].orValue("none")`, "x"},
		{`R.attr.m.b[?9].orValue("none")`, "none"},
		{`optional.ofNonZeroValue(R.attr.empty).hasValue()`, false},
		{`optional.ofNonZeroValue(R.attr.m).hasValue()`, true},
		{`optional.ofNonZeroValue(dyn(request.auxData)).hasValue()`, false},
		{`optional.ofNonZeroValue(dyn(P)).hasValue()`, true},
		// Structs.
		{`P == P`, true},
		{`P == request.principal`, true},
		{`P == V.p`, true},
		{`V.p != P`, false},
		{`dyn(P) == dyn(R)`, false},
		{`dyn(P) == dyn(P.attr)`, false},
		{`dyn(P.attr) == dyn(P)`, false},
		{`P in [P]`, true},
		{`V.p.id`, "ann"},
		{`V.p.attr.n`, 1.0},
		{`V.p["id"]`, "ann"},
		{`has(V.p.id)`, true},
		{`has(V.p.scope)`, false},
		{`has(P.scope)`, false},
		{`has(P.roles) && has(R.scope) && has(R.attr)`, true},
		{`V.p.nope`, nil},
		{`has(V.p.nope)`, nil},
		{`V.p[1]`, nil},
		{`V.p.?id.orValue("none")`, "ann"},
		{`V.p.?scope.orValue("none")`, "none"},
		{`P.?id.orValue("none")`, "ann"},
		{`P.?attr.?n.orValue(7)`, 1.0},
		{`P.?scope.hasValue()`, false},
		{`V.?one.orValue(7)`, int64(1)},
		{`V.?gone.orValue(7)`, int64(7)},
		{`dyn(V).one`, int64(1)},
		{`has(dyn(V).gone)`, false},
		{`"id" in dyn(P)`, nil},
		{`size(dyn(P))`, nil},
		{`dyn(P).exists(f, f == "id")`, nil},
		{`dyn(P).all(k, v, true)`, nil},
		{`dyn(P) + dyn(P)`, nil},
		{`type(P) == type(V.p)`, true},
		{`type(P) == type(R)`, false},
		{`type(dyn(P)) == map`, false},
		{`[P, R].exists(x, x.id == "d1")`, true},
		{`json.encode(P.roles)`, `["user","admin"]`},
	} {
		p := mustCompile(t, e, tc.source)
		got := sameBothWays(t, p, e, x)
		if tc.want == nil {
			if got.Kind() != value.Error {
				t.Errorf("%s = %v, want an error", tc.source, got)
			}
		} else if n := got.Native(); !reflect.DeepEqual(n, tc.want) {
			t.Errorf("%s = %#v, want %#v", tc.source, n, tc.want)
		}
	}
}

// TestResultsGoBackIntoExpressions puts results of expressions into a frame, as
// variables are.
func TestResultsGoBackIntoExpressions(t *testing.T) {
	e := newTestEnv(t)
	for _, tc := range []struct{ variable, use string }{
		{`[1, "a", null, 2u, 1.5, b"x"]`, `V.v == [1, "a", null, 2u, 1.5, b"x"] && V.v[3] == 2u && size(V.v) == 6`},
		{`R.attr.tags.map(t, [t])`, `V.v[0] == ["a"] && ["a"] in V.v && V.v.exists(l, "b" in l)`},
		{`{"a": {"b": [1]}}`, `V.v.a.b[0] == 1 && has(V.v.a.b) && !has(V.v.c) && "a" in V.v && V.v == {"a": {"b": [1]}}`},
		{`{1: "x", 2u: "y", true: "z"}`, `V.v[1] == "x" && V.v[1u] == "x" && V.v[1.0] == "x" && V.v[2] == "y" && V.v[true] == "z" && 1 in V.v && !("1" in V.v) && size(V.v) == 3 && V.v.exists(k, k == 2)`},
		{`R.attr.m`, `V.v == R.attr.m && V.v.a == 1`},
		{`P`, `V.v == P && V.v.id == P.id && has(V.v.roles)`},
		{`optional.of(R.attr.m)`, `V.v.hasValue() && V.v.value().a == 1`},
		{`optional.none()`, `!V.v.hasValue() && V.v == optional.none()`},
		{`type(1)`, `V.v == int`},
		{`duration("90m")`, `V.v == duration("1h30m") && V.v.getMinutes() == 90`},
		{`timestamp("2024-05-01T10:00:00+02:00")`, `string(V.v) == "2024-05-01T10:00:00+02:00" && V.v.getHours() == 8`},
		{`[R.attr.m, P.roles]`, `V.v[0] == R.attr.m && V.v[1] == P.roles`},
		{`[optional.of(1)]`, `V.v[0].value() == 1`},
		{`"a" + R.attr.tags[0]`, `V.v == "aa"`},
		{`ip("10.0.0.1")`, `V.v.family() == 4 && string(V.v) == "10.0.0.1" && V.v == ip("10.0.0.1")`},
		{`R.attr.gone`, `!has(V.v) || true`},
	} {
		x := &facts{resource: value.Attributes{"tags": []any{"a", "b"}, "m": map[string]any{"a": 1}}, roles: []string{"user"}}
		variable, use := mustCompile(t, e, tc.variable), mustCompile(t, e, tc.use)
		for _, v := range []value.Value{variable.Eval(x.frame(e)), variable.evalCEL(x.frame(e))} {
			x.variables = value.Values{"v": v}
			if got := sameBothWays(t, use, e, x); !got.Bool() {
				t.Errorf("with V.v = %s: %s = %v", tc.variable, tc.use, got)
			}
		}
	}
}

func TestTruth(t *testing.T) {
	e := newTestEnv(t)
	for _, tc := range []struct {
		source string
		want   bool
		fails  bool
	}{
		{`true`, true, false},
		{`false`, false, false},
		{`"true"`, false, false},
		{`1`, false, false},
		{`null`, false, false},
		{`[true]`, false, false},
		{`R.attr.t`, true, false},
		{`R.attr.s`, false, false},
		{`optional.of(true)`, true, false},
		{`optional.of("true")`, false, false},
		{`optional.none()`, false, false},
		{`R.attr.?t`, true, false},
		{`R.attr.?gone`, false, false},
		{`R.attr.gone`, false, true},
		{`!R.attr.gone`, false, true},
		{`R.attr.gone || true`, true, false},
	} {
		got, err := mustCompile(t, e, tc.source).Truth(oddFacts().frame(e))
		if got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%s holds: %v, %v; want %v, an error: %v", tc.source, got, err, tc.want, tc.fails)
		}
	}
}
