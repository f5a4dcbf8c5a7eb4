package expr

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"

	"edict/engine/value"
)

// equal is == of cel-go for operands that are no errors. It does not know
// (ok is false) about maps, structs and values that only cel-go works with, nor
// where the steps of f are used up, which only lists take.
func equal(f *Frame, a, b value.Value) (same, ok bool) {
	if a.Kind() != b.Kind() {
		if special(a) || special(b) {
			return false, false
		}
		if number(a.Kind()) && number(b.Kind()) {
			n, nan := compareNumbers(a, b)
			return n == 0 && !nan, true
		}
		return false, true
	}
	switch a.Kind() {
	case value.Null:
		return true, true
	case value.Bool:
		return a.Bool() == b.Bool(), true
	case value.Int:
		return a.Int() == b.Int(), true
	case value.Uint:
		return a.Uint() == b.Uint(), true
	case value.Double:
		return a.Double() == b.Double(), true
	case value.String, value.Bytes:
		return a.Str() == b.Str(), true
	case value.Timestamp:
		return a.Time().Equal(b.Time()), true
	case value.Duration:
		return a.Duration() == b.Duration(), true
	case value.List:
		return equalLists(f, a.Sequence(), b.Sequence())
	}
	return false, false
}

func equalLists(f *Frame, a, b value.Sequence) (same, ok bool) {
	n := a.Len()
	if n != b.Len() {
		return false, true
	}
	for i := range n {
		if !f.Spend(1) {
			return false, false
		}
		x, y := a.At(i), b.At(i)
		if x.Kind() == value.Absent || y.Kind() == value.Absent {
			return false, false
		}
		if same, ok := equal(f, x, y); !same || !ok {
			return false, ok
		}
	}
	return true, true
}

// matches is equal for an element of a list, which may be an error: it equals
// nothing.
func matches(f *Frame, element, x value.Value) (same, ok bool) {
	for _, v := range [...]value.Value{element, x} {
		if v.Kind() == value.Error || v.Kind() == value.Absent {
			return false, true
		}
	}
	return equal(f, element, x)
}

func number(k value.Kind) bool { return k == value.Int || k == value.Uint || k == value.Double }

// hasOrder tells whether values of a kind have an order.
func hasOrder(k value.Kind) bool {
	switch k {
	case value.Bool, value.Int, value.Uint, value.Double, value.String, value.Bytes, value.Timestamp, value.Duration:
		return true
	}
	return false
}

// order compares a with b as < does. If there is a result already, there is
// nothing to compare: false for NaN, or an error.
func order(a, b value.Value) (n int, result value.Value) {
	if !hasOrder(a.Kind()) {
		return 0, noOverload
	}
	if isNaN(a) || isNaN(b) {
		return 0, isFalse
	}
	switch {
	case number(a.Kind()) && number(b.Kind()):
		n, _ := compareNumbers(a, b)
		return n, value.Value{}
	case a.Kind() != b.Kind():
		return 0, noOverload
	}
	switch a.Kind() {
	case value.Bool:
		switch {
		case a.Bool() == b.Bool():
			return 0, value.Value{}
		case b.Bool():
			return -1, value.Value{}
		}
		return 1, value.Value{}
	case value.String, value.Bytes:
		return strings.Compare(a.Str(), b.Str()), value.Value{}
	case value.Timestamp:
		return a.Time().Compare(b.Time()), value.Value{}
	default:
		return compareInts(int64(a.Duration()), int64(b.Duration())), value.Value{}
	}
}

func isNaN(v value.Value) bool { return v.Kind() == value.Double && v.Double() != v.Double() }

// compareNumbers compares numbers of any two types. A double is compared to an
// integer as a double, so large integers that are different may be equal to the
// same double.
func compareNumbers(a, b value.Value) (n int, nan bool) {
	if isNaN(a) || isNaN(b) {
		return 0, true
	}
	switch a.Kind() {
	case value.Int:
		switch b.Kind() {
		case value.Int:
			return compareInts(a.Int(), b.Int()), false
		case value.Uint:
			return compareIntUint(a.Int(), b.Uint()), false
		}
		return -compareDoubleInt(b.Double(), a.Int()), false
	case value.Uint:
		switch b.Kind() {
		case value.Int:
			return -compareIntUint(b.Int(), a.Uint()), false
		case value.Uint:
			return compareInts(a.Uint(), b.Uint()), false
		}
		return -compareDoubleUint(b.Double(), a.Uint()), false
	}
	switch b.Kind() {
	case value.Int:
		return compareDoubleInt(a.Double(), b.Int()), false
	case value.Uint:
		return compareDoubleUint(a.Double(), b.Uint()), false
	}
	return compareInts(a.Double(), b.Double()), false
}

// compareInts compares numbers that are not NaN.
func compareInts[T int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func compareIntUint(i int64, u uint64) int {
	if i < 0 || u > maxInt {
		return -1
	}
	return compareInts(i, int64(u))
}

func compareDoubleInt(d float64, i int64) int {
	if d < math.MinInt64 {
		return -1
	}
	if d > math.MaxInt64 {
		return 1
	}
	return compareInts(d, float64(i))
}

func compareDoubleUint(d float64, u uint64) int {
	if d < 0 {
		return -1
	}
	if d > math.MaxUint64 {
		return 1
	}
	return compareInts(d, float64(u))
}

const (
	maxInt = math.MaxInt64
	minInt = math.MinInt64

	// The instants that a timestamp of CEL can be, in seconds since 1970.
	minTime = -62135596800
	maxTime = 253402300799
)

var (
	intOverflow  = value.OfError(errors.New("integer overflow"))
	uintOverflow = value.OfError(errors.New("unsigned integer overflow"))
	divideByZero = value.OfError(errors.New("division by zero"))
	moduloByZero = value.OfError(errors.New("modulus by zero"))
	timeOverflow = value.OfError(errors.New("timestamp overflow"))
)

// truncated gives d without its fraction as an integer, if that is in range.
func truncated(d float64) (int64, bool) {
	if !(d > minInt && d < maxInt) {
		return 0, false
	}
	return int64(d), true
}

func addInts(x, y int64) (int64, bool) {
	sum := x + y
	return sum, (sum > x) == (y > 0)
}

func subtractInts(x, y int64) (int64, bool) {
	difference := x - y
	return difference, (difference < x) == (y > 0)
}

func multiplyInts(x, y int64) (int64, bool) {
	if x == 0 || y == 0 {
		return 0, true
	}
	if x == -1 && y == minInt || y == -1 && x == minInt {
		return 0, false
	}
	product := x * y
	return product, product/y == x
}

func negateInt(x int64) value.Value {
	if x == minInt {
		return intOverflow
	}
	return value.OfInt(-x)
}

// intOr gives i, or an overflow.
func intOr(i int64, ok bool) value.Value {
	if !ok {
		return intOverflow
	}
	return value.OfInt(i)
}

func add(f *Frame, a, b value.Value) value.Value {
	switch {
	case a.Kind() == b.Kind():
		switch a.Kind() {
		case value.Double:
			return value.OfDouble(a.Double() + b.Double())
		case value.Int:
			return intOr(addInts(a.Int(), b.Int()))
		case value.Uint:
			if a.Uint() > math.MaxUint64-b.Uint() {
				return uintOverflow
			}
			return value.OfUint(a.Uint() + b.Uint())
		case value.String:
			if !f.Spend((len(a.Str()) + len(b.Str())) / bytesPerStep) {
				return punt
			}
			return value.OfString(a.Str() + b.Str())
		case value.Duration:
			return durationOr(addInts(int64(a.Duration()), int64(b.Duration())))
		case value.Bytes, value.List, value.Map:
			return punt
		}
	case a.Kind() == value.Timestamp && b.Kind() == value.Duration:
		return addTime(a.Time(), b.Duration())
	case a.Kind() == value.Duration && b.Kind() == value.Timestamp:
		return addTime(b.Time(), a.Duration())
	}
	return noOverload
}

func subtract(_ *Frame, a, b value.Value) value.Value {
	switch {
	case a.Kind() == b.Kind():
		switch a.Kind() {
		case value.Double:
			return value.OfDouble(a.Double() - b.Double())
		case value.Int:
			return intOr(subtractInts(a.Int(), b.Int()))
		case value.Uint:
			if b.Uint() > a.Uint() {
				return uintOverflow
			}
			return value.OfUint(a.Uint() - b.Uint())
		case value.Duration:
			return durationOr(subtractInts(int64(a.Duration()), int64(b.Duration())))
		case value.Timestamp:
			return between(b.Time(), a.Time())
		}
	case a.Kind() == value.Timestamp && b.Kind() == value.Duration:
		if b.Duration() == minInt {
			return intOverflow
		}
		return addTime(a.Time(), -b.Duration())
	}
	return noOverload
}

func multiply(_ *Frame, a, b value.Value) value.Value {
	if a.Kind() == b.Kind() {
		switch a.Kind() {
		case value.Double:
			return value.OfDouble(a.Double() * b.Double())
		case value.Int:
			return intOr(multiplyInts(a.Int(), b.Int()))
		case value.Uint:
			if b.Uint() != 0 && a.Uint() > math.MaxUint64/b.Uint() {
				return uintOverflow
			}
			return value.OfUint(a.Uint() * b.Uint())
		}
	}
	return noOverload
}

func divide(_ *Frame, a, b value.Value) value.Value {
	if a.Kind() == b.Kind() {
		switch a.Kind() {
		case value.Double:
			return value.OfDouble(a.Double() / b.Double())
		case value.Int:
			switch {
			case b.Int() == 0:
				return divideByZero
			case a.Int() == minInt && b.Int() == -1:
				return intOverflow
			}
			return value.OfInt(a.Int() / b.Int())
		case value.Uint:
			if b.Uint() == 0 {
				return divideByZero
			}
			return value.OfUint(a.Uint() / b.Uint())
		}
	}
	return noOverload
}

func modulo(_ *Frame, a, b value.Value) value.Value {
	if a.Kind() == b.Kind() {
		switch a.Kind() {
		case value.Int:
			switch {
			case b.Int() == 0:
				return moduloByZero
			case a.Int() == minInt && b.Int() == -1:
				return intOverflow
			}
			return value.OfInt(a.Int() % b.Int())
		case value.Uint:
			if b.Uint() == 0 {
				return moduloByZero
			}
			return value.OfUint(a.Uint() % b.Uint())
		}
	}
	return noOverload
}

// durationOr gives a duration of ns nanoseconds, or an overflow.
func durationOr(ns int64, ok bool) value.Value {
	if !ok {
		return intOverflow
	}
	return value.OfDuration(time.Duration(ns))
}

// addTime gives t + d in the location of t.
func addTime(t time.Time, d time.Duration) value.Value {
	// The seconds of a duration are few, so that only those of a time that is
	// no timestamp of CEL could overflow.
	if !inRange(t.Unix()) {
		return punt
	}
	sum := t.Add(d)
	if !inRange(sum.Unix()) {
		return timeOverflow
	}
	return value.OfTime(sum)
}

func inRange(seconds int64) bool { return minTime <= seconds && seconds <= maxTime }

// between gives the time from a to b.
func between(a, b time.Time) value.Value {
	if !inRange(a.Unix()) || !inRange(b.Unix()) {
		return punt
	}
	ns, ok := multiplyInts(b.Unix()-a.Unix(), int64(time.Second))
	if !ok {
		return intOverflow
	}
	return durationOr(addInts(ns, int64(b.Nanosecond()-a.Nanosecond())))
}

// conversions are the functions that convert between types.
var conversions = map[string]func(value.Value) value.Value{
	overloads.TypeConvertBool: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Bool:
			return v
		case value.String:
			return convert(v, types.BoolType)
		}
		return unsuited(v)
	},
	overloads.TypeConvertInt: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Int:
			return v
		case value.Uint:
			return intOr(int64(v.Uint()), v.Uint() <= maxInt)
		case value.Double:
			return intOr(truncated(v.Double()))
		case value.String:
			i, err := strconv.ParseInt(v.Str(), 10, 64)
			if err != nil {
				return convert(v, types.IntType)
			}
			return value.OfInt(i)
		case value.Timestamp:
			return value.OfInt(v.Time().Unix())
		case value.Duration:
			return value.OfInt(int64(v.Duration()))
		}
		return unsuited(v)
	},
	overloads.TypeConvertUint: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Uint:
			return v
		case value.Int, value.Double, value.String:
			return convert(v, types.UintType)
		}
		return unsuited(v)
	},
	overloads.TypeConvertDouble: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Double:
			return v
		case value.Int:
			return value.OfDouble(float64(v.Int()))
		case value.Uint:
			return value.OfDouble(float64(v.Uint()))
		case value.String:
			d, err := strconv.ParseFloat(v.Str(), 64)
			if err != nil {
				return convert(v, types.DoubleType)
			}
			return value.OfDouble(d)
		}
		return unsuited(v)
	},
	overloads.TypeConvertString: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.String:
			return v
		case value.Bool, value.Int, value.Uint, value.Double, value.Bytes, value.Timestamp, value.Duration:
			return convert(v, types.StringType)
		}
		return unsuited(v)
	},
	overloads.TypeConvertTimestamp: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Timestamp:
			return v
		case value.String:
			return parseTime(v.Str())
		case value.Int:
			return convert(v, types.TimestampType)
		}
		return unsuited(v)
	},
	overloads.TypeConvertDuration: func(v value.Value) value.Value {
		switch v.Kind() {
		case value.Duration:
			return v
		case value.String:
			d, err := time.ParseDuration(v.Str())
			if err != nil {
				return convert(v, types.DurationType)
			}
			return value.OfDuration(d)
		}
		return unsuited(v)
	},
}

// convert has cel-go convert a scalar.
func convert(v value.Value, to *types.Type) value.Value {
	return fromRef(structTypes(nil).toRef(v).ConvertToType(to))
}

// parseTime reads a timestamp of RFC 3339. Unlike time.Parse it takes nothing
// else.
func parseTime(s string) value.Value {
	if !looksRFC3339(s) {
		return errorf("invalid RFC 3339 timestamp %q", s)
	}
	t, err := time.Parse(time.RFC3339, s)
	switch {
	case err != nil:
		return convert(value.OfString(s), types.TimestampType)
	case !inRange(t.Unix()):
		return timeOverflow
	}
	return value.OfTime(t)
}

// looksRFC3339 tells whether s is a date-time by the grammar of RFC 3339. Its
// day may be beyond the end of the month.
func looksRFC3339(s string) bool {
	const shape = "0000-00-00T00:00:00"
	if len(s) <= len(shape) {
		return false
	}
	for i := range len(shape) {
		switch shape[i] {
		case '0':
			if s[i] < '0' || s[i] > '9' {
				return false
			}
		case 'T':
			if s[i] != 'T' && s[i] != 't' {
				return false
			}
		default:
			if s[i] != shape[i] {
				return false
			}
		}
	}
	two := func(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }
	month, day, hour, minute, second := two(s[5:]), two(s[8:]), two(s[11:]), two(s[14:]), two(s[17:])
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return false
	}
	s = s[len(shape):]
	if s[0] == '.' {
		digits := s[1:]
		s = strings.TrimLeft(digits, "0123456789")
		if len(s) == len(digits) {
			return false
		}
	}
	switch {
	case s == "Z" || s == "z":
		return true
	case len(s) != 6 || s[0] != '+' && s[0] != '-' || s[3] != ':':
		return false
	}
	for _, i := range []int{1, 2, 4, 5} {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return two(s[1:]) <= 23 && two(s[4:]) <= 59
}
