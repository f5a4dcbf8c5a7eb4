package expr

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"edict/engine/value"
)

// TestNativeEqualsCELOnRandomExpressions compares random expressions on random
// frames: run natively, by cel-go over the views of this package, and by
// nothing but cel-go over plain maps. EDICT_PROPERTY_SEED changes the seed.
func TestNativeEqualsCELOnRandomExpressions(t *testing.T) {
	skipSequential(t)
	seed := uint64(20240501)
	if s := os.Getenv("EDICT_PROPERTY_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("EDICT_PROPERTY_SEED: %v", err)
		}
		seed = n
	}
	programs, frames := 3000, 75
	if raceEnabled {
		programs = 300
	}
	e, reference := newTestEnv(t), newPlain(t)
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}

	type world struct {
		*facts
		frame      *Frame
		activation map[string]any
	}
	worlds := make([]world, frames)
	for i := range worlds {
		x := g.facts()
		worlds[i] = world{x, x.frame(e), x.activation()}
	}

	var evaluations, native, punted, errors, bools, compared, failures int
	for compiled := 0; compiled < programs && failures < 10; {
		g.structs, g.ordered = false, false
		source := g.expression(1 + g.IntN(4))
		p, issues := e.Compile(source)
		if len(issues) > 0 {
			continue
		}
		compiled++
		if p.native != nil {
			native++
		}
		simple := reference.compile(source)
		if g.structs || g.ordered {
			simple = nil // a struct is no map, and there the order of a map is random
		}
		for _, w := range worlds {
			got, want := p.Eval(w.frame), p.evalCEL(w.frame)
			evaluations++
			if p.native != nil && punts(p.native.on(w.frame, p.loops, nil)) {
				punted++
			}
			switch got.Kind() {
			case value.Error:
				errors++
			case value.Bool:
				bools++
			}
			if got.Kind() == value.Error && want.Kind() == value.Error && !sameMessage(got.Err(), want.Err()) {
				failures++
				t.Errorf("seed %d: %s\n  native: %v\n  cel-go: %v\n  with %v", seed, source, got, want, w.facts)
				break
			}
			if !alike(got, want) {
				failures++
				t.Errorf("seed %d: %s\n  native: %v %v\n  cel-go: %v %v\n  with %v", seed, source, got.Kind(), got, want.Kind(), want, w.facts)
				break
			}
			if simple == nil {
				continue
			}
			compared++
			if plain := evalPlain(simple, w.activation); !alike(plain, want) {
				failures++
				t.Errorf("seed %d: %s\n  over views:      %v %v\n  over plain maps: %v %v\n  with %v", seed, source, want.Kind(), want, plain.Kind(), plain, w.facts)
				break
			}
		}
	}
	t.Logf("seed %d: %d evaluations (%d bools, %d errors), %d compared with plain maps; %d of %d programs native, which punted %d times",
		seed, evaluations, bools, errors, compared, native, programs, punted)
	if native < programs/3 || bools < evaluations/10 || errors > evaluations*9/10 {
		t.Error("the expressions are not what they should be")
	}
}

// sameMessage tells whether native code names an error as cel-go does. Only of
// operands of the wrong type cel-go says at times more.
func sameMessage(native, celgo error) bool {
	for _, short := range []string{"no such overload", "invalid qualifier type"} {
		if strings.HasPrefix(native.Error(), short) {
			return true
		}
	}
	return native.Error() == celgo.Error()
}

// TestBoundProgramsAnswerAlike compares programs with those that have their
// constants built in, natively and by cel-go, on constants of every kind.
func TestBoundProgramsAnswerAlike(t *testing.T) {
	e := newTestEnv(t)
	g := &generator{Rand: rand.New(rand.NewPCG(7, 7)), constants: true}
	programs := 3000
	if raceEnabled {
		programs = 300
	}
	bound := 0
	for n := 0; n < programs; {
		p, issues := e.Compile(g.expression(1 + g.IntN(4)))
		if len(issues) > 0 {
			continue
		}
		n++
		x := g.facts()
		x.constants = value.Values{"err": value.OfError(errors.New("bad")), "none": {}}
		for _, name := range varNames {
			if name != "gone" {
				x.constants[name] = g.variable(name)
			}
		}
		q := p.Bind(x.constants, "C")
		if q != p {
			bound++
		}
		for range 10 {
			f := x.frame(e)
			want, got := p.Eval(f), q.Eval(f)
			if !alike(got, want) || got.Kind() == value.Error && !sameMessage(got.Err(), want.Err()) {
				t.Fatalf("%s\n  unbound: %v %v\n  bound:   %v %v\n  with %v", p.source, want.Kind(), want, got.Kind(), got, x)
			}
			next := g.facts()
			x.principal, x.resource, x.variables = next.principal, next.resource, next.variables
		}
	}
	if bound < programs/4 {
		t.Errorf("only %d of %d programs had a constant to bind", bound, programs)
	}
}

// generator makes expressions and the frames to run them on. Its expressions
// know of types only so much that most of them compile and some of them do not
// fail.
type generator struct {
	*rand.Rand
	loops   []string
	structs bool // the expression has a struct where plain cel-go has a map
	ordered bool // the result may depend on the order of a map

	constants bool // read constants more often
}

func pick[T any](g *generator, of ...T) T { return of[g.IntN(len(of))] }

// Every name has values of one kind in most frames, so that comparisons make
// sense often enough.
var (
	attrNames = []string{"text", "word", "num", "count", "flag", "tags", "nums", "obj", "when", "ip", "nothing", "gone", "mixed"}
	varNames  = []string{"int", "uint", "time", "span", "text", "tags", "flag", "num", "obj", "bytes", "gone", "nothing"}
	texts     = []string{"", "a", "b", "abc", "text", "10.0.0.1", "10.0.0.0/8", "::1", "fe80::1%eth0", "2024-05-01T10:00:00Z", "2024-05-01T10:00:00+02:00", "2024-02-30T10:00:00Z",
		"1h", "-90s", "1", "-7", "1.5", "true", "é", "a\xffb", "ABC", "UTC", "x-y"}
	numbers = []float64{0, 1, -1, 2, 3, 7, 0.5, -2.5, 1e300, 9007199254740992, 9223372036854775808, 18446744073709551616, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 1714557615}
	ints    = []int64{0, 1, -1, 2, 7, math.MaxInt64, math.MinInt64, 9007199254740993, 1714557615}
)

func (g *generator) expression(depth int) string {
	if g.IntN(5) == 0 {
		return g.any(depth)
	}
	return g.bool(depth)
}

func (g *generator) bool(depth int) string {
	if depth <= 0 {
		switch g.IntN(6) {
		case 0:
			return pick(g, "true", "false")
		case 1:
			return "has(" + g.selection() + ")"
		case 2:
			return g.any(0) + " == " + g.any(0)
		case 3:
			return g.path() + " in " + g.literalList()
		default:
			return pick(g, "R", "P") + ".attr.flag"
		}
	}
	d := depth - 1
	switch g.IntN(24) {
	case 0, 1, 2:
		return "(" + g.bool(d) + " && " + g.bool(d) + ")"
	case 3, 4, 5:
		return "(" + g.bool(d) + " || " + g.bool(d) + ")"
	case 6:
		return "!" + g.bool(d)
	case 7:
		return "(" + g.bool(d) + " ? " + g.bool(d) + " : " + g.bool(d) + ")"
	case 8, 9:
		return "(" + g.any(d) + pick(g, " == ", " != ") + g.any(d) + ")"
	case 10:
		return "(" + g.num(d) + pick(g, " < ", " <= ", " > ", " >= ", " == ") + g.num(d) + ")"
	case 11:
		return "(" + g.any(d) + pick(g, " < ", " <= ", " > ", " >= ") + g.any(d) + ")"
	case 12:
		return "(" + g.any(d) + " in " + pick(g, g.list(d), g.list(d), g.any(d), "R.attr.obj", `{"a": 1, "abc": 2}`) + ")"
	case 13:
		return "has(" + g.selection() + ")"
	case 14:
		return g.text(d) + pick(g, ".startsWith(", ".endsWith(", ".contains(") + g.text(d) + ")"
	case 15:
		return g.text(d) + ".matches(" + pick(g, `"^a"`, `"[0-9]+"`, `"^$"`, "R.attr.word") + ")"
	case 16:
		return g.text(d) + ".inIPAddrRange(" + pick(g, `"10.0.0.0/8"`, `"::/0"`, `"bad"`, g.text(d)) + ")"
	case 17, 18, 19:
		return g.list(d) + pick(g, ".exists(", ".all(", ".exists_one(") + g.loop(d)
	case 20:
		return pick(g, "hasIntersection(", "isSubset(") + g.list(d) + ", " + g.list(d) + ")"
	case 21:
		return "(" + g.time(d) + pick(g, " < ", " >= ", " == ") + g.time(d) + ")"
	case 22:
		return "(" + g.span(d) + pick(g, " < ", " >= ", " == ") + g.span(d) + ")"
	default:
		return g.any(d)
	}
}

// loop is the variable and the predicate of a macro.
func (g *generator) loop(depth int) string {
	name := pick(g, "x", "y", "P")
	g.loops = append(g.loops, name)
	body := g.bool(depth)
	if g.IntN(2) == 0 {
		body = name + pick(g, " == ", " in ", " != ", " < ") + g.any(depth)
	}
	g.loops = g.loops[:len(g.loops)-1]
	return name + ", " + body + ")"
}

func (g *generator) any(depth int) string {
	if depth <= 0 {
		switch g.IntN(10) {
		case 0, 1, 2:
			return pick(g, `""`, `"a"`, `"abc"`, `"10.0.0.1"`, "0", "1", "-1", "7u", "1.0", "0.5", "9007199254740993", "true", "false", "null", "b'a'", "[]", `["a", 1]`)
		case 3:
			return g.whole()
		default:
			return g.path()
		}
	}
	d := depth - 1
	switch g.IntN(13) {
	case 0:
		return g.num(d)
	case 1:
		return g.text(d)
	case 2:
		return g.list(d)
	case 3:
		return g.time(d)
	case 4:
		return g.span(d)
	case 5:
		return g.bool(d)
	case 6:
		return "(" + g.bool(d) + " ? " + g.any(d) + " : " + g.any(d) + ")"
	case 7:
		return g.path() + "[" + g.any(d) + "]"
	case 8:
		return "dyn(" + g.any(d) + ")"
	case 9:
		return `{"a": ` + g.any(d) + `, "b": 1}` + pick(g, "", ".a", `["b"]`, ".c")
	case 10:
		return g.rare(d)
	default:
		return g.path()
	}
}

// rare is what few expressions have, and what is left to cel-go.
func (g *generator) rare(depth int) string {
	switch g.IntN(12) {
	case 9:
		return pick(g, "intersect(", "except(") + g.list(depth) + ", " + g.list(depth) + ")"
	case 10:
		return g.list(depth) + pick(g, ".exists(k, ", ".all(k, ", ".existsOne(k, ") + g.loop(depth)
	case 11:
		return g.list(depth) + ".map(x, x" + pick(g, " == ", " != ", " < ") + g.any(depth) + ", " + g.any(depth) + ")"
	case 0:
		return g.selection() + ".orValue(" + g.any(depth) + ")"
	case 1:
		return "R.attr.?" + pick(g, attrNames...) + ".orValue(" + g.any(depth) + ")"
	case 2:
		return "R.attr[?" + g.text(depth) + "].hasValue()"
	case 3:
		g.ordered = true
		return g.list(depth) + pick(g, ".filter(", ".map(") + g.loop(depth)
	case 4:
		return "cel.bind(b, " + g.any(depth) + ", b == " + g.any(depth) + ")"
	case 5:
		return "R.attr.obj.all(k, v, v == " + g.any(depth) + ")"
	case 6:
		return "type(" + g.any(depth) + ")"
	case 7:
		return "optional.ofNonZeroValue(" + g.any(depth) + ")"
	default:
		return "math.greatest(" + g.num(depth) + ", " + g.num(depth) + ")"
	}
}

func (g *generator) num(depth int) string {
	if depth <= 0 {
		return pick(g, "R.attr.num", "P.attr.count", "V.int", "V.uint", "V.num", "C.num", "0", "1", "-1", "2.5", "3u", g.path())
	}
	d := depth - 1
	switch g.IntN(5) {
	case 0:
		return "(" + g.num(d) + pick(g, " + ", " - ", " * ", " / ", " % ") + g.num(d) + ")"
	case 1:
		return "size(" + pick(g, g.list(d), g.text(d), "R.attr.obj", g.any(d)) + ")"
	case 2:
		return pick(g, "int(", "double(", "uint(", "-(") + g.any(d) + ")"
	case 3:
		return g.time(d) + pick(g, ".getHours()", ".getFullYear()", ".getMonth()", ".getDayOfWeek()", ".getDayOfYear()", ".getDate()", ".getMilliseconds()", `.getHours("+05:30")`, `.getMinutes("America/New_York")`, ".getHours(R.attr.word)")
	default:
		return g.num(0)
	}
}

func (g *generator) text(depth int) string {
	if depth <= 0 {
		return pick(g, "R.attr.text", "R.attr.word", "P.attr.text", "P.attr.ip", "V.text", "P.id", "R.kind", "R.scope", `"abc"`, `"a"`, `""`, `"10.0.0.1"`, g.path())
	}
	d := depth - 1
	switch g.IntN(4) {
	case 0:
		return "(" + g.text(d) + " + " + g.text(d) + ")"
	case 1:
		return g.text(d) + pick(g, ".lowerAscii()", ".upperAscii()", ".trim()")
	case 2:
		return "string(" + g.any(d) + ")"
	default:
		return g.text(0)
	}
}

func (g *generator) list(depth int) string {
	if depth <= 0 || g.IntN(3) > 0 {
		return pick(g, "R.attr.tags", "P.attr.tags", "P.roles", "R.attr.nums", "V.tags", "C.tags", "R.attr.obj", "R.attr.mixed", g.literalList(), g.path())
	}
	elements := make([]string, g.IntN(4))
	for i := range elements {
		elements[i] = g.any(depth - 1)
	}
	return "[" + strings.Join(elements, ", ") + "]"
}

func (g *generator) literalList() string {
	return pick(g, "[]", `["a"]`, `["a", "b", "abc"]`, "[1, 2, 3]", "[0.0, 1.0, 2.5]", `["a", 1, 2u, true]`, "[null]", "[9007199254740993, 1]", "[9007199254740992.0]", "[[1], [2]]", `["a","b","c","d","e","f","g","h","text"]`)
}

func (g *generator) time(depth int) string {
	if depth <= 0 {
		return pick(g, "now()", "V.time", `timestamp("2024-05-01T10:00:00+02:00")`, "timestamp(R.attr.when)", "timestamp(V.int)")
	}
	return pick(g, "now()", "("+g.time(depth-1)+pick(g, " + ", " - ")+g.span(depth-1)+")", "timestamp("+g.any(depth-1)+")")
}

func (g *generator) span(depth int) string {
	if depth <= 0 {
		return pick(g, "V.span", `duration("24h")`, `duration("-1ns")`, "duration(R.attr.word)")
	}
	return pick(g, "timeSince("+g.time(depth-1)+")", "("+g.time(depth-1)+" - "+g.time(depth-1)+")", "("+g.span(depth-1)+" + "+g.span(depth-1)+")")
}

// selection is a.b, as has() takes it.
func (g *generator) selection() string {
	if g.constants && g.IntN(3) == 0 {
		return "C." + pick(g, varNames...)
	}
	switch g.IntN(6) {
	case 0:
		return "V." + pick(g, varNames...)
	case 1:
		g.structs = true
		return pick(g, "P.attr", "R.scope", "P.roles", "request.auxData", "R.policyVersion", "request.principal.id", "dyn(P).scope", "dyn(R).nope")
	case 2:
		return "R.attr.obj." + pick(g, attrNames...)
	case 3:
		return g.path() + "." + pick(g, attrNames...)
	default:
		return pick(g, "R", "P", "request.resource") + ".attr." + pick(g, attrNames...)
	}
}

// whole is a struct.
func (g *generator) whole() string {
	g.structs = true
	return pick(g, "P", "R", "request.principal", "dyn(P)", "dyn(R).attr", "dyn(P).nope", "dyn(request).auxData")
}

func (g *generator) path() string {
	if len(g.loops) > 0 && g.IntN(3) == 0 {
		return pick(g, g.loops...)
	}
	if g.constants && g.IntN(3) == 0 {
		return "C." + pick(g, append(varNames, "err", "none")...)
	}
	switch g.IntN(12) {
	case 0:
		return "V." + pick(g, varNames...)
	case 1:
		return "P.attr." + pick(g, attrNames...)
	case 2:
		return `R.attr["` + pick(g, attrNames...) + `"]`
	case 3:
		return "R.attr.obj." + pick(g, attrNames...)
	case 4:
		return "R.attr.tags[" + pick(g, "0", "1", "0.0", "9", "-1", "1u", `"a"`, "V.int", "R.attr.num") + "]"
	case 5:
		return pick(g, "C.num", "C.tags", "G.num", "P.id", "R.kind", "P.roles", "request.auxData.jwt.iss", "runtime.effectiveDerivedRoles")
	default:
		return "R.attr." + pick(g, attrNames...)
	}
}

// facts makes a frame. Most names have what their name says.
func (g *generator) facts() *facts {
	attrs := func() map[string]any {
		m := map[string]any{}
		for _, name := range attrNames {
			if name == "gone" || g.IntN(12) == 0 {
				continue
			}
			m[name] = g.data(name, 2)
		}
		return m
	}
	variables := value.Values{}
	for _, name := range varNames {
		if name != "gone" && g.IntN(12) > 0 {
			variables[name] = g.variable(name)
		}
	}
	x := &facts{
		principal: deep(attrs()).Mapping(),
		resource:  value.Attributes(attrs()),
		variables: variables,
		constants: value.Values{"num": value.OfDouble(pick(g, numbers...)), "tags": value.Of(g.data("tags", 1))},
		globals:   value.Values{"num": value.OfInt(pick(g, ints...))},
		now:       time.Unix(1714557615+int64(g.IntN(1e8)), int64(g.IntN(1e9))).In(pick(g, time.UTC, time.FixedZone("", 7200))),
	}
	for range g.IntN(4) {
		x.roles = append(x.roles, pick(g, texts...))
		x.derived = append(x.derived, pick(g, texts...))
	}
	if g.IntN(2) == 0 {
		x.jwt = value.Attributes{"iss": pick(g, texts...)}
	}
	return x
}

func (g *generator) data(name string, depth int) any {
	if g.IntN(8) == 0 {
		name = pick(g, attrNames...)
	}
	list := func(of string) []any {
		l := []any{}
		for range g.IntN(4) {
			l = append(l, g.data(of, depth-1))
		}
		return l
	}
	switch name {
	case "num", "count":
		return pick(g, numbers...)
	case "flag":
		return g.IntN(2) == 0
	case "when":
		return pick(g, "2024-05-01T10:00:00Z", "2023-01-01T23:59:59.999-08:00", "2024-13-01T00:00:00Z", "yesterday")
	case "ip":
		return pick(g, "10.0.0.1", "192.168.1.1", "::1", "::ffff:10.1.1.1", "10.0.0.1 ", "010.0.0.1")
	case "nothing", "gone":
		return nil
	case "tags":
		if depth > 0 {
			return list("text")
		}
	case "nums":
		if depth > 0 {
			return list("num")
		}
	case "mixed":
		if depth > 0 {
			return list(pick(g, attrNames...))
		}
	case "obj":
		m := map[string]any{}
		for range g.IntN(4) {
			if depth > 0 {
				m[pick(g, append(texts, attrNames...)...)] = g.data(pick(g, attrNames...), depth-1)
			}
		}
		return m
	}
	return pick(g, texts...)
}

func (g *generator) variable(name string) value.Value {
	if g.IntN(8) == 0 {
		name = pick(g, varNames...)
	}
	switch name {
	case "int":
		return value.OfInt(pick(g, ints...))
	case "uint":
		return value.OfUint(pick(g, uint64(0), 1, 7, math.MaxUint64, 9007199254740993))
	case "time":
		return value.OfTime(time.Unix(pick(g, int64(0), 1714557615, -62135596800, 253402300799), int64(g.IntN(1e9))).In(pick(g, time.UTC, time.FixedZone("", -3600))))
	case "span":
		return value.OfDuration(time.Duration(pick(g, append(ints, int64(24*time.Hour), int64(90*time.Second))...)))
	case "bytes":
		return value.OfBytes([]byte(pick(g, texts...)))
	case "nothing", "gone":
		return value.OfNull()
	case "num":
		return value.OfDouble(pick(g, numbers...))
	}
	return value.Of(g.data(name, 1))
}

// TestGeneratorRepeats guards the seeds: what they print must be what they ran.
func TestGeneratorRepeats(t *testing.T) {
	run := func() string {
		g := &generator{Rand: rand.New(rand.NewPCG(1, 1))}
		return fmt.Sprint(g.facts(), g.expression(4))
	}
	if a, b := run(), run(); a != b {
		t.Errorf("the same seed gives\n%s\nand\n%s", a, b)
	}
}
