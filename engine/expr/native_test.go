package expr

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"edict/engine/value"
)

// policyShapes are what conditions are mostly made of. They have to run
// natively and without allocation.
var policyShapes = []struct{ name, source string }{
	{"owner", `R.attr.ownerId == P.id`},
	{"limit", `R.attr.amount < C.limit`},
	{"memberOf", `R.attr.region in P.attr.regions`},
	{"role", `"admin" in P.roles`},
	{"hasAndEquals", `has(R.attr.x) && R.attr.x == "y"`},
	{"hasNot", `!has(R.attr.absent) || R.attr.absent == "y"`},
	{"oneOf", `R.attr.status in ["open","draft"]`},
	{"oneOfMany", `R.attr.status in ["a","b","c","d","e","f","g","h","i","j","k","open"]`},
	{"oneOfNumbers", `R.attr.amount in [1, 2, 3, 50]`},
	{"network", `P.attr.clientIp.inIPAddrRange("10.0.0.0/8")`},
	{"networks", `C.networks.exists(n, P.attr.clientIp.inIPAddrRange(n))`},
	{"hours", `now().getHours() >= 8 && now().getHours() < 18`},
	{"hoursZone", `now().getHours("-08:00") >= 8`},
	{"recent", `timestamp(R.attr.createdAt) > now() - duration("24h")`},
	{"since", `timestamp(R.attr.createdAt).timeSince() < duration("24h")`},
	{"text", `R.attr.name.startsWith("a") || size(R.attr.tags) > 2`},
	{"variable", `V.isSmall && !R.attr.locked`},
	{"allTags", `R.attr.tags.all(t, t in P.attr.tags)`},
	{"oneTag", `R.attr.tags.exists_one(t, t == "a")`},
	{"intersect", `hasIntersection(R.attr.tags, P.attr.tags) || R.attr.tags.isSubset(["a", "b", "c", "d"])`},
	{"nested", `R.attr.geo.country == "NO" && R.attr["geo"]["city"] != "Oslo"`},
	{"index", `R.attr.tags[0] == "a" && R.attr.tags[R.attr.zero] == "a"`},
	{"pattern", `R.attr.name.matches("^[a-z]+$")`},
	{"lower", `R.attr.name.lowerAscii() == "alpha"`},
	{"choice", `(R.attr.amount > 10 ? P.attr.level : 0) >= 3`},
	{"arithmetic", `R.attr.amount * 2.0 + 1.0 <= C.limit && int(R.attr.amount) % 2 == 0`},
	{"table", `{"open": ["ann"], "draft": ["bob"]}[R.attr.status][0] == P.id`},
	{"missing", `R.attr.absent == "x"`},
	{"request", `request.principal.id == R.attr.ownerId && request.auxData.jwt.iss == "me"`},
	{"amongFields", `P.id in [R.attr.ownerId, R.attr.name]`},
	{"nullable", `R.attr.nothing == null || R.attr.name != null`},
	{"derived", `"owner" in runtime.effectiveDerivedRoles`},
}

func policyFacts() *facts {
	return &facts{
		principal: deep(map[string]any{"regions": []any{"north", "south"}, "clientIp": "10.1.2.3", "tags": []any{"a", "b"}, "level": 3.0}).Mapping(),
		resource: deep(map[string]any{"ownerId": "ann", "amount": 50.0, "region": "south", "x": "y", "status": "open", "name": "alpha",
			"createdAt": "2024-05-01T01:02:03.5Z", "tags": []any{"a", "b", "c"}, "locked": false, "zero": 0.0, "nothing": nil,
			"geo": map[string]any{"country": "NO", "city": "Bergen"}}).Mapping(),
		roles:     []string{"user", "admin"},
		variables: value.Values{"isSmall": value.OfBool(true)},
		constants: value.Values{"limit": value.OfDouble(100), "networks": value.OfSequence(value.Strings{"192.168.0.0/16", "10.0.0.0/8"})},
		jwt:       value.Attributes{"iss": "me"},
		derived:   []string{"owner"},
	}
}

func TestPolicyShapesRunNatively(t *testing.T) {
	e, x := newTestEnv(t), policyFacts()
	for _, shape := range policyShapes {
		t.Run(shape.name, func(t *testing.T) {
			p := mustCompile(t, e, shape.source)
			if p.native == nil {
				t.Fatalf("%s is not compiled natively", shape.source)
			}
			f := x.frame(e)
			if v := p.native.on(f, p.loops, nil); punts(v) {
				t.Fatalf("%s is left to cel-go", shape.source)
			}
			v := sameBothWays(t, p, e, x)
			if shape.name != "missing" && shape.name != "pattern" && shape.name != "choice" && v.Kind() != value.Bool {
				t.Errorf("%s gives %v", shape.source, v)
			}
			if n := testing.AllocsPerRun(200, func() { p.Eval(f) }); n != 0 {
				t.Errorf("%s allocates %v times", shape.source, n)
			}
		})
	}
}

// oddFacts has a value of every kind where conditions could stumble.
func oddFacts() *facts {
	return &facts{
		principal: value.Attributes{"tags": []any{"a", 1.0, nil, true, []any{1.0}}, "m": map[string]any{"a": 1.0, "b": []any{}}, "s": "text", "n": 1.0},
		resource: value.Attributes{"n": 1.0, "half": 0.5, "neg": -1.0, "nan": math.NaN(), "inf": math.Inf(1), "huge": 1e300, "two53": 9007199254740992.0,
			"two63": 9223372036854775808.0, "s": "text", "empty": "", "uni": "héllo", "bad": "a\xffB", "t": true, "f": false, "nothing": nil, "tags": []any{"a", "b", nil, 2.0},
			"m": map[string]any{"a": 1.0, "b": []any{}}, "deep": map[string]any{"x": map[string]any{"y": "z"}}, "list": []any{}, "time": "2024-05-01T12:00:00+02:00",
			"badtime": "2024-13-01T00:00:00Z", "ip": "10.0.0.1", "ip6": "::ffff:10.0.0.1", "zoned": "fe80::1%eth0", "cidr": "10.0.0.0/8", "dur": "90m", "wrong": make(chan int)},
		roles: []string{"user"},
		variables: value.Values{"i": value.OfInt(7), "min": value.OfInt(math.MinInt64), "max": value.OfInt(math.MaxInt64), "u": value.OfUint(7), "umax": value.OfUint(math.MaxUint64),
			"b": value.OfBytes([]byte("text")), "at": value.OfTime(testNow.In(time.FixedZone("", 7200))), "d": value.OfDuration(90 * time.Minute), "err": value.OfError(errors.New("bad")),
			"big": value.OfInt(9007199254740993), "list": value.OfSequence(value.Slice{value.OfInt(1), value.OfError(errors.New("bad")), {}}), "nil": value.OfNull(), "none": {},
			"far": value.OfTime(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)), "dmin": value.OfDuration(math.MinInt64), "dmax": value.OfDuration(math.MaxInt64), "t": value.OfBool(true)},
	}
}

// TestNativeEqualsCELOnOddOperands puts every odd value where any operator and
// function may get it. The operands are variables, so that their types are only
// known when the expression runs, and constants.
func TestNativeEqualsCELOnOddOperands(t *testing.T) {
	skipSequential(t)
	e, x := newTestEnv(t), oddFacts()
	operands := []string{"R.attr.n", "R.attr.half", "R.attr.neg", "R.attr.nan", "R.attr.inf", "R.attr.huge", "R.attr.two53", "R.attr.two63", "R.attr.s", "R.attr.empty", "R.attr.uni", "R.attr.bad",
		"R.attr.t", "R.attr.nothing", "R.attr.tags", "R.attr.m", "R.attr.list", "R.attr.time", "R.attr.wrong", "R.attr.missing", "V.i", "V.min", "V.max", "V.u", "V.umax", "V.b", "V.at", "V.d", "V.err",
		"V.big", "V.list", "V.nil", "V.none", "V.far", "V.dmin", "V.dmax", "P.attr.tags", "P.attr.m", "P", "R", "type(1)", "optional.of(1)", "optional.none()", "b'text'", "1", "1u", "1.0", "'text'",
		"true", "null", "[1, 2]", "{'a': 1.0}", "{1: 1}", "{'a': 1, 'b': 2}", "duration('1h')", "timestamp('2024-05-01T12:00:00Z')", "timestamp('0001-01-01T00:00:00Z')", "timestamp('9999-12-31T23:59:59.5Z')", "[[1], [2]]", "[[1.0], [2u]]", "[P]", "[R.attr.m, 1]", "[optional.of(1)]"}
	literals := []string{"'text'", "'a'", "1", "2u", "0.0", "1.5", "true", "null", "[]", "[1, 2.0, 'text']", "['a', null]", "{'a': 1}", "b'text'", "duration('1h')", "-9223372036854775807", "9007199254740993", "-1", "duration('1s')", "duration('-1s')"}
	binary := []string{"%s == %s", "%s != %s", "%s < %s", "%s <= %s", "%s > %s", "%s >= %s", "%s in %s", "%s && %s", "%s || %s", "%s + %s", "%s - %s", "%s * %s", "%s / %s", "%s %% %s",
		"%s[%s]", "%s.startsWith(%s)", "%s.endsWith(%s)", "%s.contains(%s)", "%s.inIPAddrRange(%s)", "hasIntersection(%s, %s)", "isSubset(%s, %s)", "%s.has_intersection(%s)", "%s.is_subset(%s)", "%s ? %s : 1", "[%s].all(x, %s)", "[%s, %s].exists(x, x == 'text')",
		"%s in [%s, 'text']", "%s.exists(x, x == %s)", "%s.all(x, x != %s)", "%s.exists_one(x, x == %s)", "%s.exists(x, %s)", "%s.matches(%s)", "%s.getHours(%s)"}
	unary := []string{"!%s", "-%s", "size(%s)", "int(%s)", "uint(%s)", "double(%s)", "string(%s)", "bool(%s)", "timestamp(%s)", "duration(%s)", "dyn(%s)", "%s.size()", "has(%s.a)", "%s.a", "has(%s.id)", "%s.id", "%s['a']", "%s[0]",
		"%s[1u]", "%s[0.0]", "%s[0.5]", "%s[true]", "%s.lowerAscii()", "%s.upperAscii()", "('@AZ[`az{' + %s).lowerAscii()", "('@AZ[`az{' + %s).upperAscii()", "%s.matches('^t.x')", "%s.inIPAddrRange('10.0.0.0/8')", "%s.getHours()", "%s.getHours('America/New_York')", "%s.getMinutes('05:30')", "%s.getMinutes('-00:20')", "%s.getMinutes('-05:45')",
		"%s.getFullYear()", "%s.getMonth()", "%s.getDayOfYear()", "%s.getDayOfMonth()", "%s.getDate()", "%s.getDayOfWeek()", "%s.getMinutes()", "%s.getSeconds()", "%s.getMilliseconds()", "%s.timeSince()",
		"%s in []", "%s in [1, 2u, 3.0]", "%s in ['text', true, 1]", "%s in [9007199254740993, 0]", "%s in [null, 1]", "%s in [9007199254740992.0, 1e300, -1.0]", "%s in [18446744073709551615u]", "%s in [-1, -9223372036854775807]", "%s in {'text': 1}",
		"%s in ['a','b','c','d','e','f','g','h','i','text']", "%s in dyn([1, 'text'])", "%s.all(x, x)", "%s.exists(x, x)", "%s.exists_one(x, x)", "%s.exists_one(x, x > 1)", "%s.exists(x, 'a' in P.attr.tags)",
		"[1].exists(y, %s.exists(x, x == y))", "%s == [1.0, 2]", "{'text': 1}[%s]", "[1,2][%s]", "{'a': {'b': [1]}}.a.b == %s", "%s", "[%s]"}

	var values []value.Value
	for _, o := range operands {
		values = append(values, mustCompile(t, e, o).evalCEL(x.frame(e)))
	}
	evaluated, native := 0, 0
	check := func(source string, a, b value.Value) {
		p, issues := e.Compile(source)
		if issues != nil {
			return
		}
		f := x.frame(e)
		try := func() {
			f.Set(slotV, value.OfMapping(&object{"Variables", value.Values{"a": a, "b": b}}))
			got, want := p.Eval(f), p.evalCEL(f)
			evaluated++
			if p.native != nil && !punts(p.native.on(f, p.loops, nil)) {
				native++
			}
			if !alike(got, want) {
				t.Errorf("%s with V.a = %v %v, V.b = %v %v\n  native: %v %v\n  cel-go: %v %v", source, a.Kind(), a, b.Kind(), b, got.Kind(), got, want.Kind(), want)
			}
		}
		for _, a = range values {
			if !strings.Contains(source, "V.b") {
				try()
				continue
			}
			for _, b = range values {
				try()
			}
		}
	}
	for _, form := range unary {
		check(expand(form, "V.a"), value.Value{}, value.Value{})
	}
	for _, form := range binary {
		check(expand(form, "V.a", "V.b"), value.Value{}, value.Value{})
		for _, l := range literals {
			check(expand(form, "V.a", l), value.Value{}, value.Value{})
			check(expand(form, l, "V.a"), value.Value{}, value.Value{})
		}
	}
	t.Logf("%d evaluations, %d of them native", evaluated, native)
	if native < evaluated/2 {
		t.Errorf("only %d of %d evaluations were native", native, evaluated)
	}
}

func expand(form string, operands ...string) string {
	var out []byte
	for i := 0; i < len(form); i++ {
		if form[i] != '%' {
			out = append(out, form[i])
			continue
		}
		i++
		if form[i] == '%' {
			out = append(out, '%')
			continue
		}
		out = append(out, operands[0]...)
		operands = operands[1:]
	}
	return string(out)
}

func TestNativeResults(t *testing.T) {
	e := newTestEnv(t)
	for _, tc := range []struct {
		source string
		want   any // error: any error
	}{
		{`R.attr.missing == 1`, errors.New("no such key: missing")},
		{`P.attr.tags[9]`, errors.New("index out of bounds: 9")},
		{`R.attr.s < 1`, errors.New("no such overload")},
		{`V.gone`, errors.New("undefined field 'gone'")},
		{`R.attr.missing == 1 || true`, true},
		{`R.attr.missing == 1 && false`, false},
		{`true || R.attr.s`, true},
		{`false || R.attr.s`, errors.New("no such overload")},
		{`R.attr.s && false`, false},
		{`has(R.attr.missing)`, false},
		{`has(R.attr.nothing)`, true},
		{`has(V.err)`, false},
		{`has(P.attr)`, true},
		{`has(R.policyVersion)`, false},
		{`has(R.scope)`, true},
		{`has(request.auxData)`, false},
		{`has(R.attr.n.x)`, false},
		{`has(R.attr.tags.x)`, errors.New("unsupported index type 'string' in list")},
		{`R.attr.nan == R.attr.nan`, false},
		{`R.attr.nan != R.attr.nan`, true},
		{`R.attr.nan < 1.0`, false},
		{`R.attr.s < R.attr.nan`, false},
		{`V.big == R.attr.two53`, true},
		{`V.big in [9007199254740992.0]`, false},
		{`R.attr.missing in []`, false},
		{`V.max + 1`, errors.New("integer overflow")},
		{`V.min - 1`, errors.New("integer overflow")},
		{`V.min * -1`, errors.New("integer overflow")},
		{`-V.min`, errors.New("integer overflow")},
		{`R.attr.n + 1`, errors.New("no such overload")},
		{`R.attr.n / 0.0 > 1.0`, true},
		{`1 / 0`, errors.New("division by zero")},
		{`size("héllo")`, int64(5)},
		{`R.attr.uni.upperAscii()`, "HéLLO"},
		{`string(R.attr.n)`, "1"},
		{`string(timestamp(R.attr.time))`, "2024-05-01T12:00:00+02:00"},
		{`timestamp(R.attr.time).getHours()`, int64(10)},
		{`timestamp(R.attr.time).getHours("+02:00")`, int64(12)},
		{`timestamp(R.attr.badtime)`, errors.New("")},
		{`timestamp(R.attr.s)`, errors.New(`invalid RFC 3339 timestamp "text"`)},
		{`timestamp(R.attr.time) - timestamp("2024-05-01T09:00:00Z")`, time.Hour},
		{`timestamp("9999-12-31T00:00:00Z") + duration("24h")`, errors.New("timestamp overflow")},
		{`"::ffff:10.0.0.1".inIPAddrRange(R.attr.cidr)`, true},
		{`"010.0.0.1".inIPAddrRange(R.attr.cidr)`, errors.New(`inIPAddrRange: "010.0.0.1" is not an IP address`)},
		{`"10.0.0.1".inIPAddrRange("10.0.0.0")`, errors.New(`inIPAddrRange: "10.0.0.0" is not a CIDR range`)},
		{`[1, 2, 3].exists(x, x / 0 == 1)`, errors.New("division by zero")},
		{`[1, 0].exists(x, 1 / x == 1)`, true},
		{`[0, 1].all(x, 1 / x == 2)`, false},
		{`[0, 1].all(x, 1 / x == 1)`, errors.New("division by zero")},
		{`[[1, 2], [3]].all(x, x.exists(y, y > 1))`, true},
		{`[1, 2].exists(x, [x].exists(x, x == 2) && x == 2)`, true},
		{`R.attr.m.exists(k, k == "b")`, true},
		{`int("x") == 1 || true`, true},
		{`int("x") == 1`, errors.New("")},
	} {
		p := mustCompile(t, e, tc.source)
		got := sameBothWays(t, p, e, oddFacts())
		if want, ok := tc.want.(error); ok {
			if got.Kind() != value.Error || want.Error() != "" && got.Err().Error() != want.Error() {
				t.Errorf("%s = %v, want the error %v", tc.source, got, want)
			}
		} else if got.Native() != tc.want {
			t.Errorf("%s = %v, want %v", tc.source, got, tc.want)
		}
	}
}

func TestAbsentSlotIsAnError(t *testing.T) {
	e := newTestEnv(t)
	for _, source := range []string{`R.attr.n == 1`, `has(R.attr.n)`, `R == R`, `V.x`, `[1].exists(x, x == R.attr.n)`} {
		x := oddFacts()
		x.omit = []int{slotR, slotV}
		if v := sameBothWays(t, mustCompile(t, e, source), e, x); v.Kind() != value.Error {
			t.Errorf("%s = %v, want an error", source, v)
		}
	}
}

// programs is a Mapping whose members are programs over the frame, as the
// variables of a policy are.
type programs struct {
	frame *Frame
	of    map[string]*Program
	panic bool
}

func (*programs) StructName() string                         { return "Variables" }
func (p *programs) Len() int                                 { return len(p.of) }
func (p *programs) Range(func(k string, v value.Value) bool) {}
func (p *programs) Lookup(name string) (value.Value, bool) {
	q, ok := p.of[name]
	if !ok && p.panic {
		panic("no such variable")
	}
	if !ok {
		return value.Value{}, false
	}
	return q.Eval(p.frame), true
}

// TestLoopsOfVariablesAreTheirOwn runs a program in the middle of another's
// loop, on the same frame.
func TestLoopsOfVariablesAreTheirOwn(t *testing.T) {
	e := newTestEnv(t)
	f := oddFacts().frame(e)
	vars := &programs{frame: f, of: map[string]*Program{}}
	f.Set(slotV, value.OfMapping(vars))
	for name, source := range map[string]string{
		"inner": `[10, 20, 30].exists(y, y == 20 && [y].exists(z, z == 20))`,
		"outer": `[1, 2].exists(x, V.inner && x == 2)`,
		"fails": `[1].exists(x, V.nothing == x)`,
	} {
		vars.of[name] = mustCompile(t, e, source)
	}
	for source, want := range map[string]bool{
		`[1, 2, 3].exists(a, [4, 5].exists(b, V.outer && a == 3 && b == 5))`: true,
		`[1, 2, 3].all(a, V.inner && a < 3)`:                                 false,
		`[1, 2, 3].exists(a, V.fails || a == 3)`:                             true,
	} {
		vars.panic = false
		if got := mustCompile(t, e, source).Eval(f); got.Kind() != value.Bool || got.Bool() != want {
			t.Errorf("%s = %v, want %v", source, got, want)
		}
		vars.panic = true // in the middle of a loop of fails
		if got := mustCompile(t, e, source).Eval(f); got.Kind() != value.Bool || got.Bool() != want {
			t.Errorf("with a panic, %s = %v, want %v", source, got, want)
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	e := newTestEnv(t)
	f := oddFacts().frame(e)
	f.Set(slotV, value.OfMapping(&programs{frame: f, panic: true}))
	p := mustCompile(t, e, `V.x == 1`)
	if p.native == nil {
		t.Fatal("not native")
	}
	if v := p.Eval(f); v.Kind() != value.Error {
		t.Errorf("a panic gives %v", v)
	}
	if ok, err := p.Truth(f); ok || err == nil {
		t.Errorf("as a condition, a panic gives %v, %v", ok, err)
	}
}

// TestParseTimeEqualsCEL compares the reading of timestamps on text that is
// nearly one.
func TestParseTimeEqualsCEL(t *testing.T) {
	const good = "2024-02-29T23:59:59.25+05:30"
	texts := []string{"", good, "2024-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-01:00",
		"2024-01-01T00:00:60Z", "2024-01-01t00:00:00z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z", "2024-01-01T0:00:00Z", "2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+23:59", "2024-01-01T00:00:00+2359",
		"2024-01-01T00:00:00", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00.1234567891Z", "2024-01-01T00:00:00-00:00"}
	for i := range good {
		texts = append(texts, good[:i], good[i:], good[:i]+good[i+1:])
		for _, c := range []string{"9", "0", "Z", "T", "-", ":", ".", "x", "é", "K"} {
			texts = append(texts, good[:i]+c+good[i+1:])
		}
	}
	e := newTestEnv(t)
	p := mustCompile(t, e, `timestamp(R.attr.time)`)
	for _, text := range texts {
		sameBothWays(t, p, e, &facts{resource: value.Attributes{"time": text}})
	}
}
