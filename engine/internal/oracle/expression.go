package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// random makes the choices of a generator.
type random struct{ *rand.Rand }

// chance is true n times of a hundred.
func (r random) chance(n int) bool { return r.IntN(100) < n }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

// oneOf makes one of the alternatives.
func (r random) oneOf(makers ...func() string) string { return pick(r, makers...)() }

// some gives from lo to hi different members, in a random order.
func some[T any](r random, lo, hi int, from []T) []T {
	n := min(lo+r.IntN(hi-lo+1), len(from))
	out := make([]T, 0, n)
	for _, i := range r.Perm(len(from))[:n] {
		out = append(out, from[i])
	}
	return out
}

// The static types that the grammar keeps apart, because CEL refuses at
// compile time to compare what can never be equal. A value of an attribute, a
// variable or a constant is dyn, which goes with everything.
const (
	typeDyn       = "dyn"
	typeBool      = "bool"
	typeInt       = "int"
	typeUint      = "uint"
	typeDouble    = "double"
	typeString    = "string"
	typeTimestamp = "timestamp"
	typeDuration  = "duration"
	typeStrings   = "list(string)"
	typeList      = "list(dyn)"
	typeMap       = "map(string, dyn)"
)

var allTypes = []string{typeDyn, typeDyn, typeBool, typeInt, typeUint, typeDouble, typeString, typeString,
	typeTimestamp, typeDuration, typeStrings, typeList, typeMap}

// A grammar derives random expressions, all of which compile in an environment
// where P, R, request and runtime are messages and attributes are map(string,
// dyn).
type grammar struct {
	random
	variables []string // that may be named
	constants []string
	runtime   bool     // whether runtime may be named
	derived   []string // roles that it may list
	noNow     bool     // whether the moment is of no concern
	loops     []loopVariable
	table     *Table // of Generator
}

// A loopVariable is bound by a macro around the expression.
type loopVariable struct{ name, static string }

// of derives an expression of a static type, in parentheses if it has parts.
func (g *grammar) of(static string, depth int) string {
	switch static {
	case typeBool:
		return g.boolean(depth)
	case typeInt, typeUint, typeDouble:
		return g.number(static, depth)
	case typeString:
		return g.text(depth)
	case typeTimestamp:
		return g.timestamp(depth)
	case typeDuration:
		return g.duration(depth)
	case typeStrings:
		return g.strings(depth)
	case typeList:
		return g.list(depth)
	case typeMap:
		return g.mapping(depth)
	default:
		return g.dynamic(depth)
	}
}

// condition derives the text of a leaf: mostly a truth, now and then a value
// that is none.
func (g *grammar) condition() string {
	depth := g.IntN(4)
	switch {
	case g.runtime && g.chance(12):
		return g.ofDerivedRoles()
	case g.table != nil:
		return g.ofRows(g.IntN(3))
	case g.chance(30):
		return g.everyday()
	case g.chance(88):
		return g.anyBoolean(depth)
	case g.chance(30):
		return pick(g.random, g.subject()+".attr.?"+field(g.attributeName()), g.subject()+".attr[?"+quote(g.attributeName())+"]",
			g.subject()+".attr.?nested.?"+field(pick(g.random, nestedKeys...)), "optional.of("+g.truth(depth)+")", "optional.none()")
	default:
		return g.of(pick(g.random, allTypes...), depth)
	}
}

// ofDerivedRoles derives a truth about runtime.effectiveDerivedRoles, alone or
// with names of the policy before and after.
func (g *grammar) ofDerivedRoles() string {
	list := pick(g.random, "runtime.effectiveDerivedRoles", "runtime.effective_derived_roles")
	role := func() string {
		if len(g.derived) > 0 && g.chance(90) {
			return quote(pick(g.random, g.derived...))
		}
		return quote(pick(g.random, derivedRoles...))
	}
	truth := g.oneOf(
		func() string { return role() + " in " + list },
		func() string { return list + ".exists(r, r == " + role() + ")" },
		func() string { return list + "[0] == " + role() },
		func() string { return list + " == [" + role() + ", " + role() + "]" },
		func() string { return "size(" + list + ") " + g.relation() + " " + strconv.Itoa(g.IntN(3)) },
		func() string { return list + " == " + list + ".sort()" },
	)
	if len(g.variables) > 0 && g.chance(20) {
		// The policy's variables under another name, read after a derived
		// role's own may have been.
		name := pick(g.random, g.variables...)
		return "[1].exists(v, (" + truth + " || true) && " + pick(g.random, "V."+name, "optional.of(V."+name+").value()") + " == " + g.dynamic(0) + ")"
	}
	for range g.IntN(3) {
		truth = g.dynamic(0) + pick(g.random, " == ", " != ") + g.dynamic(0) + pick(g.random, " && ", " || ") + "(" + truth + ")"
		if g.chance(50) {
			truth = "(" + truth + ")" + pick(g.random, " && ", " || ") + g.dynamic(0) + " == " + g.literal(g.scalarType())
		}
	}
	return truth
}

// everyday derives what policies mostly say.
func (g *grammar) everyday() string {
	if g.table != nil {
		return g.ofRow()
	}
	attr := g.attribute
	return g.oneOf(
		func() string { return attr() + " == P.id" },
		func() string { return attr() + " != R.id" },
		func() string { return attr() + " == " + attr() },
		func() string { return attr() + " == " + g.literal(g.scalarType()) },
		func() string { return attr() + " != " + g.literal(g.scalarType()) },
		func() string { return g.literal(g.scalarType()) + " == " + attr() },
		func() string { return attr() + " " + g.relation() + " " + g.literal(g.scalarType()) },
		func() string { return attr() + " " + g.relation() + " " + attr() },
		func() string { return attr() },
		func() string { return "!" + attr() },
		func() string { return g.quoted() + " in " + attr() },
		func() string { return attr() + " in " + g.literalStrings() },
		func() string { return attr() + " in " + attr() },
		func() string { return "P.id in " + attr() },
		func() string { return g.quoted() + " in P.roles" },
		func() string { return "has(" + g.attributePath() + ")" },
		func() string {
			p := g.attributePath()
			return "has(" + p + ") && " + p + " == " + g.literal(g.scalarType())
		},
		func() string { return attr() + ".startsWith(" + g.quoted() + ")" },
		func() string {
			return attr() + pick(g.random, ".exists(x, x == ", ".all(x, x != ", ".exists_one(x, x == ") + g.literal(g.scalarType()) + ")"
		},
		func() string { return attr() + ".inIPAddrRange(" + g.cidr() + ")" },
		func() string { return "size(" + attr() + ") " + g.relation() + " " + strconv.Itoa(g.IntN(4)) },
		func() string { return "timestamp(" + attr() + ") " + g.relation() + " now()" },
		func() string { return "now() - timestamp(" + attr() + ") < duration(\"24h\")" },
	)
}

func (g *grammar) scalarType() string {
	return pick(g.random, typeBool, typeInt, typeDouble, typeString, typeString, typeUint, "null")
}

func (g *grammar) relation() string { return pick(g.random, "<", "<=", ">", ">=") }

// literal gives a literal of a type.
func (g *grammar) literal(static string) string {
	switch static {
	case typeBool:
		return pick(g.random, "true", "false")
	case typeInt:
		return pick(g.random, "0", "1", "2", "3", "-1", "7", "100", "0x10", "9223372036854775807", "-9223372036854775808", "9007199254740993")
	case typeUint:
		return pick(g.random, "0u", "1u", "3u", "0x7u", "9007199254740993u", "18446744073709551615u")
	case typeDouble:
		return pick(g.random, "0.0", "1.0", "1.5", "2.0", "-1.0", "3.0", "1e300", "9007199254740993.0", "-0.0", "0.1", `double("NaN")`, "(1.0 / 0.0)", "(-1.0 / 0.0)")
	case typeString:
		return g.quoted()
	case typeDuration:
		return "duration(" + pick(g.random, `"90m"`, `"24h"`, `"-3s"`, `"0s"`) + ")"
	case typeTimestamp:
		return "timestamp(" + pick(g.random, `"2024-02-29T12:30:45.678Z"`, `"2024-06-01T00:00:00+02:00"`, `"1969-12-31T23:59:59Z"`) + ")"
	case "null":
		return "null"
	default:
		panic("oracle: no literal of " + static)
	}
}

func (g *grammar) quoted() string {
	w := pick(g.random, words...)
	switch {
	case g.chance(92):
		return quote(w)
	case g.chance(50):
		return "'" + w + "'"
	default:
		return `r"` + w + `"`
	}
}

func (g *grammar) cidr() string {
	if g.chance(15) {
		return "R.attr.block"
	}
	return quote(pick(g.random, cidrs...))
}

// quote gives a string as a CEL literal.
func quote(s string) string { return strconv.Quote(s) }

// subject gives one of the spellings of the principal or the resource.
func (g *grammar) subject() string {
	return pick(g.random, "P", "R", "P", "R", "request.principal", "request.resource")
}

// attributePath gives a path of fields below an attribute map, fit for has().
func (g *grammar) attributePath() string {
	path := g.subject() + ".attr." + field(g.attributeName())
	for g.chance(15) {
		path += "." + field(pick(g.random, nestedKeys...))
	}
	return path
}

func (g *grammar) attributeName() string {
	if g.chance(4) {
		return pick(g.random, "nowhere", "missing", "a-b")
	}
	return pick(g.random, attributes...).name
}

// field gives a field's name, in back-ticks if it needs them.
func field(name string) string {
	if strings.ContainsAny(name, "-./ ") {
		return "`" + name + "`"
	}
	return name
}

// attribute gives a read of an attribute, in one of its spellings.
func (g *grammar) attribute() string {
	switch {
	case g.chance(75):
		return g.attributePath()
	case g.chance(60):
		return g.subject() + ".attr[" + quote(g.attributeName()) + "]"
	case g.chance(50):
		return g.subject() + ".attr[" + pick(g.random, "P.id", "R.kind", `R.attr["key"]`, "string(P.attr.key)") + "]"
	default:
		return "request." + pick(g.random, "auxData", "aux_data") + ".jwt." + pick(g.random, jwtClaims...)
	}
}

// dynamic derives an expression of type dyn.
func (g *grammar) dynamic(depth int) string { return parenthesized(g.anyDynamic(depth)) }

func (g *grammar) anyDynamic(depth int) string {
	if depth <= 0 || g.chance(40) {
		makers := []func() string{g.attribute, g.attribute, g.attribute, func() string { return "G." + pick(g.random, globalNames...) }}
		if len(g.variables) > 0 {
			makers = append(makers, func() string { return pick(g.random, "V.", "V.", "variables.") + pick(g.random, g.variables...) })
		}
		if len(g.constants) > 0 {
			makers = append(makers, func() string { return pick(g.random, "C.", "C.", "constants.") + pick(g.random, g.constants...) })
		}
		if v := g.loopVariable(typeDyn); v != "" {
			makers = append(makers, func() string { return v }, func() string { return v })
		}
		return g.oneOf(makers...)
	}
	d := depth - 1
	return g.oneOf(
		func() string { return g.dynamic(d) + "[" + strconv.Itoa(g.IntN(4)-1) + "]" },
		func() string { return g.dynamic(d) + "[" + g.attribute() + "]" },
		func() string { return g.attribute() + "[" + quote(pick(g.random, nestedKeys...)) + "]" },
		func() string { return g.list(d) + "[" + strconv.Itoa(g.IntN(3)) + "]" },
		func() string { return "dyn(" + g.of(pick(g.random, allTypes...), d) + ")" },
		func() string { return g.ternary(typeDyn, d) },
		func() string { return g.dynamic(d) + pick(g.random, " + ", " - ") + g.dynamic(d) },
		func() string { return g.attribute() + pick(g.random, " % ", " * ", " / ") + g.attribute() },
		func() string { return "-" + g.attribute() },
		func() string {
			return g.subject() + ".attr.?" + field(g.attributeName()) + ".orValue(" + g.of(pick(g.random, allTypes...), d) + ")"
		},
		func() string {
			return g.subject() + ".attr[?" + quote(g.attributeName()) + "].orValue(" + g.attribute() + ")"
		},
		func() string { return g.mapping(d) + "[" + quote(pick(g.random, nestedKeys...)) + "]" },
		func() string {
			return g.dynamic(d) + "[" + pick(g.random, "0.0", "1.5", "1u", "true", `"a"`, "double(\"NaN\")") + "]"
		},
		func() string { return `{1: dyn("x"), 2: dyn(2.0), 3: dyn(null)}[` + g.dynamic(0) + "]" },
		func() string { return `{true: dyn("x"), 2u: dyn(true), "a": dyn([1])}[` + g.dynamic(0) + "]" },
	)
}

// ternary derives c ? a : b with both of one type.
func (g *grammar) ternary(static string, depth int) string {
	return "(" + g.truth(depth) + " ? " + g.of(static, depth) + " : " + g.of(static, depth) + ")"
}

// truth derives something that && and || take: a bool, or a dyn that may be one.
func (g *grammar) truth(depth int) string {
	if g.chance(12) {
		return g.dynamic(depth)
	}
	return g.boolean(depth)
}

// boolean derives an expression of type bool.
func (g *grammar) boolean(depth int) string { return parenthesized(g.anyBoolean(depth)) }

// parenthesized puts parentheses around what may have an operator of its own.
func parenthesized(expr string) string {
	if strings.HasPrefix(expr, "(") || strings.ContainsAny(expr, " -!") {
		return "(" + expr + ")"
	}
	return expr
}

func (g *grammar) anyBoolean(depth int) string {
	if depth <= 0 {
		return g.oneOf(
			func() string { return g.literal(typeBool) },
			func() string { return "has(" + g.presence() + ")" },
			func() string { return g.dynamic(0) + " == " + g.of(g.comparable(), 0) },
			func() string { return g.of(g.comparable(), 0) + " != " + g.dynamic(0) },
			func() string { return g.dynamic(0) + " " + g.relation() + " " + g.of(g.ordered(), 0) },
			func() string { return g.text(0) + " in " + g.dynamic(0) },
			func() string { return g.dynamic(0) + " in " + g.strings(0) },
		)
	}
	d := depth - 1
	return g.oneOf(
		func() string { return g.truth(d) + " && " + g.truth(d) },
		func() string { return g.truth(d) + " || " + g.truth(d) },
		func() string { return "!" + g.truth(d) },
		func() string { return g.ternary(typeBool, d) },
		func() string { return g.equality(d) },
		func() string { return g.equality(d) },
		func() string { return g.ordering(d) },
		func() string { return g.ordering(d) },
		func() string { return g.membership(d) },
		func() string { return g.membership(d) },
		func() string { return g.macro(d) },
		func() string { return g.macro(d) },
		func() string { return g.listPredicate(d) },
		func() string {
			return g.text(d) + "." + pick(g.random, "startsWith", "endsWith", "contains") + "(" + g.text(0) + ")"
		},
		func() string {
			return g.dynamic(d) + "." + pick(g.random, "startsWith", "contains") + "(" + g.quoted() + ")"
		},
		func() string { return g.text(d) + ".matches(" + g.pattern() + ")" },
		func() string { return "matches(" + g.dynamic(d) + ", " + g.pattern() + ")" },
		func() string {
			return pick(g.random, g.dynamic(d), g.attribute(), quote(pick(g.random, addresses...))) + ".inIPAddrRange(" + g.cidr() + ")"
		},
		func() string {
			return "type(" + g.dynamic(d) + ") == " + pick(g.random, "string", "double", "bool", "list", "map", "null_type", "int")
		},
		func() string { return "bool(" + g.dynamic(d) + ")" },
		func() string {
			name := g.loopName("b")
			return "cel.bind(" + name + ", " + g.dynamic(d) + ", " + g.within(loopVariable{name, typeDyn}, func() string { return g.boolean(d) }) + ")"
		},
		func() string { return "isIP(string(" + g.dynamic(0) + "))" },
		func() string { return "bytes(" + g.dynamic(d) + ") " + pick(g.random, "==", "<", "!=") + ` b"amy"` },
		func() string { return g.dynamic(d) + ".all(x, x in " + g.dynamic(d) + ")" },
		func() string { return "request.principal" + pick(g.random, " == P", " != P") },
		func() string { return g.boolean(0) },
	)
}

// presence gives what has() is asked about.
func (g *grammar) presence() string {
	switch {
	case g.chance(70):
		return g.attributePath()
	case g.chance(25):
		return g.subject() + "." + pick(g.random, "attr", "scope", "policyVersion", "policy_version", "id")
	case g.chance(30) && len(g.variables) > 0:
		return "V." + pick(g.random, g.variables...)
	case g.chance(30) && len(g.constants) > 0:
		return "C." + pick(g.random, g.constants...)
	case g.chance(50):
		return pick(g.random, "G.", "globals.") + pick(g.random, globalNames...)
	case g.chance(30):
		return "request.auxData"
	default:
		return "request.auxData.jwt." + pick(g.random, jwtClaims...)
	}
}

// comparable gives a type to compare a dyn with.
func (g *grammar) comparable() string {
	return pick(g.random, typeDyn, typeDyn, typeBool, typeInt, typeUint, typeDouble, typeString, typeString, typeStrings, typeList, typeMap)
}

// ordered gives a type that has an order, with dyn.
func (g *grammar) ordered() string {
	return pick(g.random, typeDyn, typeDyn, typeBool, typeInt, typeInt, typeUint, typeDouble, typeDouble, typeString, typeTimestamp, typeDuration)
}

func (g *grammar) equality(d int) string {
	op := pick(g.random, " == ", " == ", " != ")
	switch {
	case g.chance(10):
		return g.dynamic(d) + op + "null"
	case g.chance(30):
		static := pick(g.random, allTypes...)
		return g.of(static, d) + op + g.of(static, d)
	case g.chance(50):
		return g.of(pick(g.random, allTypes...), d) + op + g.dynamic(d)
	default:
		return g.dynamic(d) + op + g.of(pick(g.random, allTypes...), d)
	}
}

func (g *grammar) ordering(d int) string {
	op := " " + g.relation() + " "
	static := g.ordered()
	switch {
	case g.chance(30):
		return g.dynamic(d) + op + g.of(static, d)
	case g.chance(30):
		return g.of(static, d) + op + g.dynamic(d)
	case g.chance(50):
		numbers := []string{typeInt, typeUint, typeDouble}
		return g.number(pick(g.random, numbers...), d) + op + g.number(pick(g.random, numbers...), d)
	default:
		return g.of(static, d) + op + g.of(static, d)
	}
}

func (g *grammar) membership(d int) string {
	return g.oneOf(
		func() string { return g.dynamic(d) + " in " + g.strings(d) },
		func() string { return g.text(d) + " in " + g.strings(d) },
		func() string { return g.of(pick(g.random, allTypes...), d) + " in " + g.dynamic(d) },
		func() string { return g.of(pick(g.random, allTypes...), d) + " in " + g.list(d) },
		func() string { return g.text(d) + " in " + g.mapping(d) },
		func() string { return g.dynamic(d) + " in " + g.mapping(d) },
		func() string {
			return g.dynamic(d) + " in [" + g.literal(typeInt) + ", " + g.literal(typeInt) + "]"
		},
		func() string {
			return g.dynamic(d) + " in [" + g.literal(typeDouble) + ", " + g.literal(typeDouble) + "]"
		},
		func() string { return g.text(d) + " in " + g.subject() + ".attr" },
		func() string { return g.dynamic(d) + " in {1: true, 3: false}" },
		func() string { return g.dynamic(d) + ` in {"a": 1, dyn(2): 2, true: 3}` },
	)
}

// macro derives all, exists and exists_one over lists and maps.
func (g *grammar) macro(d int) string {
	name := g.loopName("x")
	switch {
	case g.chance(5): // a loop variable may hide a name of the environment
		return pick(g.random, "P.roles.exists(R, R == ", "R.attr.tags.all(P, P != ", "P.attr.tags.exists_one(request, request == ", "P.attr.mixed.exists(G, G == ") +
			pick(g.random, g.quoted(), `"user"`) + ")"
	case g.chance(10):
		other := g.loopName("y")
		return g.dynamic(d) + "." + pick(g.random, "all", "exists", "existsOne") + "(" + name + ", " + other + ", " +
			g.within(loopVariable{name, typeDyn}, func() string {
				return g.within(loopVariable{other, typeDyn}, func() string { return g.truth(d) })
			}) + ")"
	}
	over, static := g.collection(d)
	return over + "." + pick(g.random, "all", "exists", "exists", "exists_one") + "(" + name + ", " +
		g.within(loopVariable{name, static}, func() string { return g.truth(d) }) + ")"
}

// collection derives something to loop over, and the type of its members.
func (g *grammar) collection(d int) (over, member string) {
	switch g.IntN(5) {
	case 0:
		return g.strings(d), typeString
	case 1:
		return g.list(d), typeDyn
	case 2:
		return g.mapping(d), typeString
	default:
		return g.dynamic(d), typeDyn
	}
}

// loopName gives a name for a loop variable: mostly a new one, sometimes one
// that may hide an outer variable.
func (g *grammar) loopName(letter string) string {
	if g.chance(15) {
		return letter
	}
	return letter + strconv.Itoa(len(g.loops))
}

func (g *grammar) within(v loopVariable, body func() string) string {
	g.loops = append(g.loops, v)
	defer func() { g.loops = g.loops[:len(g.loops)-1] }()
	return body()
}

// loopVariable gives a bound variable of the type, or "".
func (g *grammar) loopVariable(static string) string {
	var names []string
	for i, v := range g.loops {
		hidden := slices.ContainsFunc(g.loops[i+1:], func(inner loopVariable) bool { return inner.name == v.name })
		if v.static == static && !hidden {
			names = append(names, v.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return pick(g.random, names...)
}

func (g *grammar) listPredicate(d int) string {
	name := pick(g.random, "hasIntersection", "has_intersection", "isSubset", "is_subset")
	a, b := g.dynamic(d), g.strings(d)
	if g.chance(20) {
		return pick(g.random, "sets.contains", "sets.intersects", "sets.equivalent") + "(" + a + ", " + b + ")"
	}
	switch g.IntN(4) {
	case 0:
		return name + "(" + a + ", " + b + ")"
	case 1:
		return a + "." + name + "(" + g.dynamic(d) + ")"
	case 2:
		return b + "." + name + "(" + a + ")"
	default:
		return b + "." + name + "(" + g.strings(d) + ")"
	}
}

// pattern gives a regular expression: literals are valid, since CEL refuses
// others when it compiles; attributes need not be.
func (g *grammar) pattern() string {
	if g.chance(30) {
		return g.subject() + ".attr.pattern"
	}
	return quote(pick(g.random, "^a", "b$", "[a-z]+", "", "^(amy|bob)$", "e.*e", `\d`))
}

// number derives an int, a uint or a double.
func (g *grammar) number(static string, depth int) string {
	if depth <= 0 || g.chance(30) {
		if static == typeInt && g.chance(30) {
			return "size(" + pick(g.random, g.attribute(), "P.id", "P.roles") + ")"
		}
		return g.literal(static)
	}
	d := depth - 1
	arithmetic := func() string {
		op := pick(g.random, " + ", " - ", " * ", " / ")
		if static != typeDouble && g.chance(20) {
			op = " % "
		}
		return "(" + g.oneOf(
			func() string { return g.number(static, d) + op + g.number(static, d) },
			func() string { return g.attribute() + op + g.literal(static) },
			func() string { return g.literal(static) + op + g.attribute() },
		) + ")"
	}
	convert := func() string { return static + "(" + g.dynamic(d) + ")" }
	if static != typeInt {
		return g.oneOf(arithmetic, convert, func() string { return g.ternary(static, d) })
	}
	return g.oneOf(arithmetic, arithmetic, convert, convert,
		func() string { return g.ternary(static, d) },
		func() string {
			return g.timestamp(d) + "." + pick(g.random, "getFullYear", "getMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes", "getMilliseconds") +
				pick(g.random, "()", "()", `("+05:30")`, `("America/New_York")`, "("+g.attribute()+")")
		},
		func() string { return "int(" + g.timestamp(d) + ")" },
		func() string { return "-" + parenthesized(g.number(typeInt, d)) },
		func() string { return "size(" + pick(g.random, g.mapping(d), g.text(d), g.list(d)) + ")" },
		func() string { return g.duration(d) + "." + pick(g.random, "getHours", "getSeconds") + "()" },
		func() string { return "size(" + g.strings(d) + ")" },
		func() string { return g.text(d) + ".size()" },
		func() string { return g.text(d) + ".indexOf(" + g.text(0) + ")" },
		func() string { return "math.greatest(" + g.number(typeInt, d) + ", " + g.number(typeInt, d) + ")" },
	)
}

// text derives a string.
func (g *grammar) text(depth int) string {
	if depth <= 0 || g.chance(40) {
		if v := g.loopVariable(typeString); v != "" && g.chance(50) {
			return v
		}
		return pick(g.random, g.quoted(), g.quoted(), "P.id", "R.id", "R.kind", "R.scope", "P.policyVersion",
			"request.resource.policy_version", "request.principal.id")
	}
	d := depth - 1
	return g.oneOf(
		func() string {
			return "string(" + g.of(pick(g.random, typeDyn, typeDyn, typeInt, typeUint, typeDouble, typeBool, typeString, typeTimestamp, typeDuration), d) + ")"
		},
		func() string { return "(" + g.text(d) + " + " + g.text(d) + ")" },
		func() string { return "(" + g.text(0) + " + " + g.dynamic(d) + ")" },
		func() string { return "P.roles[" + strconv.Itoa(g.IntN(3)) + "]" },
		func() string {
			return g.text(d) + pick(g.random, ".lowerAscii()", ".upperAscii()", ".trim()", ".reverse()")
		},
		func() string { return g.text(d) + ".substring(" + strconv.Itoa(g.IntN(4)) + ")" },
		func() string { return g.text(d) + ".charAt(" + strconv.Itoa(g.IntN(3)) + ")" },
		func() string { return g.text(d) + ".replace(" + g.quoted() + ", " + g.quoted() + ")" },
		func() string { return g.strings(d) + ".join(\",\")" },
		func() string { return g.ternary(typeString, d) },
	)
}

func (g *grammar) timestamp(depth int) string {
	if depth <= 0 {
		return pick(g.random, g.moment(), "timestamp("+g.attribute()+")", g.literal(typeTimestamp), "timestamp(R.attr.when)")
	}
	d := depth - 1
	return g.oneOf(
		func() string { return g.timestamp(0) },
		func() string { return "timestamp(" + g.dynamic(d) + ")" },
		func() string { return "timestamp(int(" + g.dynamic(d) + "))" },
		func() string { return "(" + g.timestamp(d) + " + " + g.duration(d) + ")" },
		func() string { return "(" + g.moment() + " - " + g.duration(d) + ")" },
	)
}

func (g *grammar) duration(depth int) string {
	if depth <= 0 {
		return pick(g.random, g.literal(typeDuration), "duration("+g.attribute()+")", "duration(P.attr.period)")
	}
	d := depth - 1
	return g.oneOf(
		func() string { return g.duration(0) },
		func() string { return "duration(" + g.dynamic(d) + ")" },
		g.sinceThen(d), g.sinceThen(d), g.sinceThen(d),
		func() string { return "(" + g.duration(d) + pick(g.random, " + ", " - ") + g.duration(d) + ")" },
	)
}

// strings derives a list(string).
func (g *grammar) strings(depth int) string {
	if depth <= 0 || g.chance(40) {
		if g.runtime && g.chance(30) {
			return pick(g.random, "runtime.effectiveDerivedRoles", "runtime.effective_derived_roles")
		}
		return pick(g.random, "P.roles", "request.principal.roles", g.literalStrings(), g.literalStrings())
	}
	d := depth - 1
	name := g.loopName("s")
	return g.oneOf(
		func() string {
			return g.strings(d) + ".filter(" + name + ", " + g.within(loopVariable{name, typeString}, func() string { return g.truth(d) }) + ")"
		},
		func() string {
			over, static := g.collection(d)
			return over + ".map(" + name + ", " + g.within(loopVariable{name, static}, func() string { return g.text(d) }) + ")"
		},
		func() string { return g.text(d) + ".split(" + pick(g.random, `","`, `":"`, `""`) + ")" },
		func() string {
			return g.strings(d) + "." + pick(g.random, "except", "intersect") + "(" + g.strings(0) + ")"
		},
		func() string { return "[" + g.text(d) + ", " + g.text(0) + "]" },
		func() string { return "(" + g.strings(d) + " + " + g.strings(0) + ")" },
	)
}

// literalStrings is a literal list of at least one string. There is no empty
// literal: what x in [] gives for an x that fails depends on whether constants
// are folded before.
func (g *grammar) literalStrings() string {
	list := some(g.random, 1, 4, words)
	for i := range list {
		list[i] = quote(list[i])
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// list derives a list(dyn).
func (g *grammar) list(depth int) string {
	members := []string{"dyn(" + g.quoted() + ")"}
	for range g.IntN(3) {
		members = append(members, g.literal(g.scalarType()))
	}
	if depth > 0 {
		members = append(members, g.dynamic(depth-1))
		name := g.loopName("m")
		if g.chance(40) {
			over, static := g.collection(depth - 1)
			return over + ".map(" + name + ", dyn(" + g.within(loopVariable{name, static}, func() string {
				return g.of(pick(g.random, allTypes...), depth-1)
			}) + "))"
		}
	}
	return "[" + strings.Join(members, ", ") + "]"
}

// mapping derives a map(string, dyn).
func (g *grammar) mapping(depth int) string {
	if depth > 0 && g.chance(40) {
		return g.subject() + ".attr"
	}
	var entries []string
	for i, key := range some(g.random, 1, 3, nestedKeys) {
		v := g.literal(g.scalarType())
		if i == 0 {
			v = "dyn(" + v + ")"
		} else if depth > 0 {
			v = g.dynamic(depth - 1)
		}
		entries = append(entries, fmt.Sprintf("%s: %s", quote(key), v))
	}
	return "{" + strings.Join(entries, ", ") + "}"
}

// moment gives the moment of the request, if that is of any concern.
func (g *grammar) moment() string {
	if g.noNow {
		return `timestamp("2024-05-01T10:00:00Z")`
	}
	return "now()"
}

func (g *grammar) sinceThen(d int) func() string {
	if g.noNow {
		return func() string { return "(" + g.moment() + " - " + g.timestamp(d) + ")" }
	}
	return func() string {
		return pick(g.random, "timeSince("+g.timestamp(d)+")", g.timestamp(d)+".timeSince()", "(now() - "+g.timestamp(d)+")")
	}
}
