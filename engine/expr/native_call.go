package expr

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"

	"edict/engine/value"
)

// call compiles the call of an operator or a function.
func (c *compiler) call(e ast.Expr) term {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]ast.Expr{call.Target()}, args...)
	}
	switch name := call.FunctionName(); len(args) {
	case 1:
		return c.call1(name, args[0])
	case 2:
		switch name {
		case operators.LogicalAnd, operators.LogicalOr:
			return c.logic(name, args)
		case operators.Index:
			return c.index(args)
		case operators.In:
			return c.in(e, args)
		}
		return c.call2(name, args)
	default:
		switch name {
		case operators.LogicalAnd, operators.LogicalOr:
			return c.logic(name, args)
		case operators.Conditional:
			return c.conditional(args)
		}
	}
	return term{}
}

func (c *compiler) call1(name string, arg ast.Expr) term {
	a := c.compile(arg)
	if a.run == nil {
		return term{}
	}
	if to, ok := conversions[name]; ok {
		if a.constant {
			// One that fails makes cel-go plan the program otherwise.
			v := to(a.value)
			if special(v) {
				return term{}
			}
			return constant(v)
		}
		return unary(a, to)
	}
	if name == overloads.TypeConvertDyn {
		return a
	}
	f, ok := functions1[name]
	if !ok {
		if part, ok := timeParts[name]; ok {
			f = part.in(time.UTC)
		}
	}
	return unary(a, f)
}

// unary applies f to what a gives, unless that is an error.
func unary(a term, f func(value.Value) value.Value) term {
	if f == nil || a.run == nil {
		return term{}
	}
	run := a.run
	return term{run: func(fr *Frame) value.Value {
		v := run(fr)
		switch {
		case special(v):
			return unsuited(v)
		case v.Kind() == value.String && !fr.Spend(len(v.Str())/bytesPerStep):
			return punt
		}
		return f(v)
	}}
}

// A function2 is a function of two operands that are no errors, on a frame whose
// steps it takes. Where they are used up it gives punt.
type function2 func(f *Frame, a, b value.Value) value.Value

// binary applies f to what a and b give, unless one is an error.
func binary(a, b node, f function2) term {
	return term{run: func(fr *Frame) value.Value {
		l := a(fr)
		if l.Kind() == value.Error {
			return l
		}
		r := b(fr)
		if special(r) {
			return unsuited(r)
		}
		if l.Kind() == value.Opaque {
			return punt
		}
		return f(fr, l, r)
	}}
}

func (c *compiler) call2(name string, args []ast.Expr) term {
	operands, ok := c.all(args)
	if !ok {
		return term{}
	}
	a, b := operands[0], operands[1]
	if b.known && name == overloads.Matches {
		return matchesPattern(a, b.value)
	}
	if b.known {
		if f := withConstant(name, b.value); f != nil {
			return unary(a, f)
		}
	}
	switch name {
	case operators.Equals:
		return term{run: equals(a, b, true)}
	case operators.NotEquals:
		return term{run: equals(a, b, false)}
	}
	if f, ok := functions2[name]; ok {
		return binary(a.run, b.run, f)
	}
	return term{}
}

// matchesPattern is matches with a pattern that is known.
func matchesPattern(a term, pattern value.Value) term {
	if pattern.Kind() != value.String {
		return term{}
	}
	compiled, err := regexp.Compile(pattern.Str())
	if err != nil {
		return term{}
	}
	n := instructions(pattern.Str())
	if n > MaxPattern { // it comes from a constant of the policy
		return term{}
	}
	return term{run: func(f *Frame) value.Value {
		v := a.run(f)
		switch {
		case v.Kind() != value.String:
			return unsuited(v)
		case !f.Spend(int(costOfMatch(n, len(v.Str())))):
			return punt
		}
		return value.OfBool(compiled.MatchString(v.Str()))
	}}
}

// withConstant gives the function name with a constant second argument, if
// there is something to prepare.
func withConstant(name string, arg value.Value) func(value.Value) value.Value {
	if arg.Kind() != value.String {
		return nil
	}
	switch name {
	case "inIPAddrRange":
		prefix, err := parseRange(arg.Str())
		if err != nil {
			return nil
		}
		return ofString(func(s string) value.Value {
			a, err := parseAddress(s)
			if err != nil {
				return value.OfError(err)
			}
			return value.OfBool(prefix.Contains(a))
		})
	}
	if part, ok := timeParts[name]; ok {
		loc, err := zone(arg.Str())
		if err != nil {
			return nil
		}
		part.ofDuration = nil // a duration is in no zone
		return part.in(loc)
	}
	return nil
}

// logic compiles && and ||, which an error only decides if no operand does.
func (c *compiler) logic(name string, args []ast.Expr) term {
	operands, ok := c.all(args)
	if !ok {
		return term{}
	}
	run := operands[0].run
	for _, next := range operands[1:] {
		run = decide(run, next.run, name == operators.LogicalOr)
	}
	return term{run: run}
}

// decide is || if decides is true, and && if it is false.
func decide(a, b node, decides bool) node {
	return func(f *Frame) value.Value {
		l := a(f)
		if l.Kind() == value.Bool {
			if l.Bool() == decides {
				return l
			}
			r := b(f)
			if r.Kind() == value.Bool {
				return r
			}
			return unsuited(r)
		}
		if l = unsuited(l); punts(l) {
			return l
		}
		r := b(f)
		if r.Kind() == value.Bool {
			if r.Bool() == decides {
				return r
			}
		} else if r.Kind() == value.Opaque || punts(r) {
			return punt
		}
		return l
	}
}

func (c *compiler) conditional(args []ast.Expr) term {
	if len(args) != 3 {
		return term{}
	}
	operands, ok := c.all(args)
	if !ok {
		return term{}
	}
	condition, then, other := operands[0].run, operands[1].run, operands[2].run
	return term{run: func(f *Frame) value.Value {
		v := condition(f)
		if v.Kind() != value.Bool {
			return unsuited(v)
		}
		if v.Bool() {
			return then(f)
		}
		return other(f)
	}}
}

// equals compiles == and, if want is false, !=.
func equals(a, b term, want bool) node {
	if a.known {
		a, b = b, a
	}
	x, y := a.run, b.run
	if b.known && b.value.Kind() == value.String {
		text := b.value.Str()
		return func(f *Frame) value.Value {
			v := x(f)
			if v.Kind() == value.String {
				return value.OfBool((v.Str() == text) == want)
			}
			if special(v) {
				return unsuited(v)
			}
			return value.OfBool(!want)
		}
	}
	return binary(x, y, func(f *Frame, l, r value.Value) value.Value {
		same, ok := equal(f, l, r)
		if !ok {
			return punt
		}
		return value.OfBool(same == want)
	}).run
}

// in compiles a in b.
func (c *compiler) in(e ast.Expr, args []ast.Expr) term {
	x, over := c.compile(args[0]), c.compile(args[1])
	if over.run == nil {
		return term{}
	}
	if ids := c.refs[e.ID()]; over.constant && ids != nil && slices.Equal(ids.OverloadIDs, []string{overloads.InList}) {
		// cel-go makes a set of such a list, and of an empty one the constant
		// false, whatever a is.
		elements, _ := over.value.Sequence().(value.Slice)
		if len(elements) == 0 {
			return constant(isFalse)
		}
		if s, ok := newSet(elements); ok {
			return unary(x, s.has)
		}
	}
	if x.run == nil {
		return term{}
	}
	if over.known && !over.constant {
		if texts, ok := textsIn(over.value); ok {
			return unary(x, func(v value.Value) value.Value { return value.OfBool(v.Kind() == value.String && texts.has(v).Bool()) })
		}
	}
	if over.elements != nil {
		return term{run: among(x.run, over.elements)}
	}
	return binary(x.run, over.run, contained)
}

// textsIn gives a list of nothing but text as a set. Unlike that of a list of
// constants it answers as the list would.
func textsIn(list value.Value) (*set, bool) {
	s := list.Sequence()
	if s == nil || s.Len() == 0 {
		return nil, false
	}
	elements := make(value.Slice, s.Len())
	for i := range elements {
		if elements[i] = s.At(i); elements[i].Kind() != value.String {
			return nil, false
		}
	}
	return newSet(elements)
}

// among is a in [b, c ...] without making the list. As there, every element is
// evaluated, and any error is the result.
func among(x node, elements []term) node {
	return func(f *Frame) value.Value {
		v := x(f)
		if special(v) {
			return unsuited(v)
		}
		found := false
		for i := range elements {
			element := elements[i].run(f)
			if special(element) {
				return unsuited(element)
			}
			same, ok := equal(f, v, element)
			if !ok {
				return punt
			}
			found = found || same
		}
		return value.OfBool(found)
	}
}

// A set is a list of constants as cel-go prepares it for the in operator. A
// number stands for the equal numbers of other types only if they are exact
// there, which is stricter than ==.
type set struct {
	texts   []string
	scalars map[scalar]struct{}
}

// scalar is a bool or a number as a key.
type scalar struct {
	kind value.Kind
	bits uint64
}

func scalarOf(v value.Value) (scalar, bool) {
	switch v.Kind() {
	case value.Bool:
		if v.Bool() {
			return scalar{value.Bool, 1}, true
		}
		return scalar{value.Bool, 0}, true
	case value.Int:
		return scalar{value.Int, uint64(v.Int())}, true
	case value.Uint:
		return scalar{value.Uint, v.Uint()}, true
	case value.Double:
		d := v.Double()
		if d == 0 {
			d = 0 // -0 is 0
		}
		return scalar{value.Double, math.Float64bits(d)}, d == d
	}
	return scalar{}, false
}

// newSet gives the elements as a set, or false if they are not all text, bools
// and numbers.
func newSet(elements value.Slice) (*set, bool) {
	s := &set{}
	add := func(v value.Value) {
		if k, ok := scalarOf(v); ok {
			if s.scalars == nil {
				s.scalars = map[scalar]struct{}{}
			}
			s.scalars[k] = struct{}{}
		}
	}
	for _, v := range elements {
		switch v.Kind() {
		case value.String:
			s.texts = append(s.texts, v.Str())
		case value.Bool:
			add(v)
		case value.Double:
			add(v)
			for _, to := range []string{overloads.TypeConvertInt, overloads.TypeConvertUint} {
				if n := conversions[to](v); !special(n) {
					if same, ok := equal(nil, n, v); ok && same {
						add(n)
					}
				}
			}
		case value.Int, value.Uint:
			add(v)
			for _, to := range []string{overloads.TypeConvertInt, overloads.TypeConvertUint, overloads.TypeConvertDouble} {
				if n := conversions[to](v); !special(n) {
					add(n)
				}
			}
		default:
			return nil, false
		}
	}
	slices.Sort(s.texts)
	s.texts = slices.Compact(s.texts)
	return s, true
}

func (s *set) has(v value.Value) value.Value {
	switch v.Kind() {
	case value.String:
		if len(s.texts) > fewTexts {
			_, ok := slices.BinarySearch(s.texts, v.Str())
			return value.OfBool(ok)
		}
		return value.OfBool(slices.Contains(s.texts, v.Str()))
	case value.Bytes:
		return punt // cel-go can't look bytes up
	}
	k, ok := scalarOf(v)
	if !ok {
		return isFalse
	}
	_, ok = s.scalars[k]
	return value.OfBool(ok)
}

// fewTexts is up to how many texts are compared one after the other.
const fewTexts = 8

// contained is a in b.
func contained(f *Frame, x, over value.Value) value.Value {
	switch over.Kind() {
	case value.List:
		s := over.Sequence()
		for i, n := 0, s.Len(); i < n; i++ {
			same, ok := matches(f, s.At(i), x)
			if !ok || !f.Spend(1) {
				return punt
			}
			if same {
				return isTrue
			}
		}
		return isFalse
	case value.Map:
		m, ok := plainMap(over)
		if !ok {
			return punt
		}
		if x.Kind() == value.String {
			_, ok := m.Lookup(x.Str())
			return value.OfBool(ok)
		}
		if _, ok := m.(refMap); ok || x.Kind() == value.Bytes {
			return punt // keys may be numbers; bytes can't be looked up
		}
		return isFalse
	}
	return noOverload
}

// ofString makes a function of strings one of values.
func ofString(f func(string) value.Value) func(value.Value) value.Value {
	return func(v value.Value) value.Value {
		if v.Kind() != value.String {
			return unsuited(v)
		}
		return f(v.Str())
	}
}

// ofStrings makes a predicate of strings a function of values.
func ofStrings(f func(a, b string) bool) function2 {
	return func(fr *Frame, a, b value.Value) value.Value {
		switch {
		case a.Kind() != value.String || b.Kind() != value.String:
			return noOverload
		case !fr.Spend((len(a.Str()) + len(b.Str())) / bytesPerStep):
			return punt
		}
		return value.OfBool(f(a.Str(), b.Str()))
	}
}

// functions1 are the functions and operators with one operand.
var functions1 = map[string]func(value.Value) value.Value{
	operators.LogicalNot: func(v value.Value) value.Value {
		if v.Kind() != value.Bool {
			return unsuited(v)
		}
		return value.OfBool(!v.Bool())
	},
	operators.Negate: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Double:
			return value.OfDouble(-v.Double())
		case value.Int:
			return negateInt(v.Int())
		}
		return punt
	},
	overloads.Size: size,
	"lowerAscii":   ofString(func(s string) value.Value { return value.OfString(mapASCII(s, 'A', 'Z', 'a'-'A')) }),
	"upperAscii":   ofString(func(s string) value.Value { return value.OfString(mapASCII(s, 'a', 'z', 'A'-'a')) }),
}

func size(v value.Value) value.Value {
	switch v.Kind() {
	case value.String:
		return value.OfInt(int64(utf8.RuneCountInString(v.Str())))
	case value.Bytes:
		return value.OfInt(int64(len(v.Str())))
	case value.List:
		return value.OfInt(int64(v.Sequence().Len()))
	case value.Map:
		m, ok := plainMap(v)
		if !ok {
			return punt
		}
		return value.OfInt(int64(m.Len()))
	}
	return unsuited(v)
}

// mapASCII shifts the ASCII letters from a to z by some distance. What is not
// UTF-8 becomes U+FFFD, as in cel-go.
func mapASCII(s string, a, z byte, by int32) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] < utf8.RuneSelf && (s[i] < a || s[i] > z)
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		if rune(a) <= r && r <= rune(z) {
			return r + by
		}
		return r
	}, s)
}

// functions2 are the functions and operators with two operands.
var functions2 = map[string]function2{
	operators.Less:          ordered(true, false, false),
	operators.LessEquals:    ordered(true, true, false),
	operators.Greater:       ordered(false, false, true),
	operators.GreaterEquals: ordered(false, true, true),
	operators.Add:           add,
	operators.Subtract:      subtract,
	operators.Multiply:      multiply,
	operators.Divide:        divide,
	operators.Modulo:        modulo,
	overloads.StartsWith:    ofStrings(strings.HasPrefix),
	overloads.EndsWith:      ofStrings(strings.HasSuffix),
	overloads.Contains:      ofStrings(strings.Contains),
	"inIPAddrRange": func(_ *Frame, a, b value.Value) value.Value {
		if a.Kind() != value.String || b.Kind() != value.String {
			return noOverload
		}
		in, err := inIPAddrRange(a.Str(), b.Str())
		if err != nil {
			return value.OfError(err)
		}
		return value.OfBool(in)
	},
	sinceFunction: func(_ *Frame, t, now value.Value) value.Value {
		if t.Kind() != value.Timestamp || now.Kind() != value.Timestamp {
			return noOverload
		}
		return value.OfDuration(now.Time().Sub(t.Time()))
	},
	"hasIntersection":  intersects,
	"has_intersection": intersects,
	"isSubset":         subset,
	"is_subset":        subset,
	"intersect": func(f *Frame, a, b value.Value) value.Value {
		if a.Kind() == value.List && b.Kind() == value.List && b.Sequence().Len() < a.Sequence().Len() {
			a, b = b, a
		}
		return kept(f, a, b, true)
	},
	"except": func(f *Frame, a, b value.Value) value.Value { return kept(f, a, b, false) },
}

// ordered makes a comparison that holds if the left operand is less, equal or
// more. Whatever is compared to NaN, it does not hold.
func ordered(less, same, more bool) function2 {
	return func(_ *Frame, a, b value.Value) value.Value {
		if a.Kind() == value.Double && b.Kind() == value.Double {
			x, y := a.Double(), b.Double()
			return value.OfBool(less && x < y || same && x == y || more && x > y)
		}
		n, result := order(a, b)
		switch {
		case result.Kind() != value.Absent:
			return result
		case n < 0:
			return value.OfBool(less)
		case n > 0:
			return value.OfBool(more)
		}
		return value.OfBool(same)
	}
}

func intersects(f *Frame, a, b value.Value) value.Value {
	return both(f, a, b, true, isTrue)
}

func subset(f *Frame, a, b value.Value) value.Value {
	return both(f, a, b, false, isFalse)
}

// both gives result if some element of list a is, or is not, in list b, and
// else its opposite.
func both(f *Frame, a, b value.Value, in bool, result value.Value) value.Value {
	if a.Kind() != value.List || b.Kind() != value.List {
		return noOverload
	}
	s, other := a.Sequence(), b.Sequence()
	for i, n := 0, s.Len(); i < n; i++ {
		found := occurs(f, s.At(i), other)
		if punts(found) {
			return found
		}
		if found.Bool() == in {
			return result
		}
	}
	return value.OfBool(!result.Bool())
}

// kept gives the elements of list a that are, or are not, in list b.
func kept(f *Frame, a, b value.Value, in bool) value.Value {
	if a.Kind() != value.List || b.Kind() != value.List {
		return noOverload
	}
	s, other := a.Sequence(), b.Sequence()
	out := value.Slice{}
	for i, n := 0, s.Len(); i < n; i++ {
		x := s.At(i)
		found := occurs(f, x, other)
		if punts(found) || special(x) || x.Kind() == value.Absent {
			return punt
		}
		if found.Bool() == in {
			out = append(out, x)
		}
	}
	return value.OfSequence(out)
}

// occurs tells whether a list has an element equal to x, if native code knows.
func occurs(f *Frame, x value.Value, in value.Sequence) value.Value {
	for i, n := 0, in.Len(); i < n; i++ {
		same, ok := matches(f, in.At(i), x)
		switch {
		case !ok || !f.Spend(1):
			return punt
		case same:
			return isTrue
		}
	}
	return isFalse
}

// A timePart is a part of a timestamp and, for some, of a duration.
type timePart struct {
	ofTime     func(time.Time) int
	ofDuration func(time.Duration) int64
}

var timeParts = map[string]timePart{
	overloads.TimeGetFullYear:     {time.Time.Year, nil},
	overloads.TimeGetMonth:        {func(t time.Time) int { return int(t.Month()) - 1 }, nil},
	overloads.TimeGetDayOfYear:    {func(t time.Time) int { return t.YearDay() - 1 }, nil},
	overloads.TimeGetDayOfMonth:   {func(t time.Time) int { return t.Day() - 1 }, nil},
	overloads.TimeGetDate:         {time.Time.Day, nil},
	overloads.TimeGetDayOfWeek:    {func(t time.Time) int { return int(t.Weekday()) }, nil},
	overloads.TimeGetHours:        {time.Time.Hour, func(d time.Duration) int64 { return int64(d.Hours()) }},
	overloads.TimeGetMinutes:      {time.Time.Minute, func(d time.Duration) int64 { return int64(d.Minutes()) }},
	overloads.TimeGetSeconds:      {time.Time.Second, func(d time.Duration) int64 { return int64(d.Seconds()) }},
	overloads.TimeGetMilliseconds: {func(t time.Time) int { return t.Nanosecond() / 1e6 }, time.Duration.Milliseconds},
}

// in reads the part of a timestamp in a time zone.
func (p timePart) in(loc *time.Location) func(value.Value) value.Value {
	return func(v value.Value) value.Value {
		switch {
		case v.Kind() == value.Timestamp:
			return value.OfInt(int64(p.ofTime(v.Time().In(loc))))
		case v.Kind() == value.Duration && p.ofDuration != nil:
			return value.OfInt(p.ofDuration(v.Duration()))
		}
		return unsuited(v)
	}
}

// zone gives the time zone that a text names: a name of the time zone database
// or an offset from UTC such as -08:00.
func zone(name string) (*time.Location, error) {
	hours, minutes, offset := strings.Cut(name, ":")
	if !offset {
		return time.LoadLocation(name)
	}
	h, err := strconv.Atoi(hours)
	if err != nil {
		return nil, err
	}
	m, err := strconv.Atoi(minutes)
	if err != nil {
		return nil, err
	}
	if h < -23 || h > 23 || m < 0 || m > 59 {
		return nil, fmt.Errorf("time zone offset %s is out of range", name)
	}
	if hours[0] == '-' {
		m = -m
	}
	return time.FixedZone("", (h*60+m)*60), nil
}
