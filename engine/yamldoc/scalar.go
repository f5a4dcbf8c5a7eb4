package yamldoc

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
	"edict/engine/value"
)

// Text gives a string. An integer and a boolean become their text, null the
// empty string; a float is refused, since its text depends on how it is
// printed. For the same reason an integer or a boolean must be written as it
// would be printed: 42 and true, but not 0x2A, 042 or True.
func (n Node) Text() (diag.Text, bool) {
	switch n.Kind() {
	case Null:
		return diag.Text{Pos: n.Pos()}, true
	case Scalar:
		switch n.y.ShortTag() {
		case stringTag, timestampTag, mergeTag:
			return n.text(n.y.Value), true
		case intTag:
			if isPlainInt(n.y.Value) {
				return n.text(n.y.Value), true
			}
		case boolTag:
			if n.y.Value == "true" || n.y.Value == "false" {
				return n.text(n.y.Value), true
			}
		}
	}
	n.wrongType("a string")
	return diag.Text{}, false
}

// Raw gives the text of a scalar as the file has it, whatever its type is, and
// without quotes. The answer is false, and nothing reported, if n is no scalar.
func (n Node) Raw() (string, bool) {
	if n.Kind() != Scalar {
		return "", false
	}
	return n.y.Value, true
}

// isPlainInt tells whether s is an integer as it would be printed.
func isPlainInt(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || digits[0] == '0' && s != "0" {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// text gives the Text of a scalar, with the place where its text begins.
func (n Node) text(s string) diag.Text {
	pos, raw := n.Pos(), n.doc.content[n.doc.offset(n.y.Line, n.y.Column):]
	for strings.HasPrefix(raw, "&") || strings.HasPrefix(raw, "!") { // no plain scalar begins so
		pos, raw = skipProperty(pos, raw)
	}
	return diag.NewText(s, pos, raw)
}

// skipProperty passes over the anchor or the tag that raw begins with, and over
// the white space and comments behind it.
func skipProperty(pos diag.Position, raw string) (diag.Position, string) {
	inProperty, inComment := true, false
	name := 0 // the length of an anchor; a tag ends at white space
	if raw[0] == '&' {
		name = 1 + nameEnd(raw[1:])
	}
	for i, r := range raw {
		if name > 0 && i == name {
			inProperty = false
		}
		switch {
		case r == '\n' || r == '\r' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			inProperty, inComment = false, false
			if r != '\r' || !strings.HasPrefix(raw[i+1:], "\n") {
				pos.Line, pos.Column = pos.Line+1, 1
			}
			continue
		case inComment:
		case r == ' ' || r == '\t':
			inProperty = false
		case inProperty:
		case r == '#':
			inComment = true
		default:
			return pos, raw[i:]
		}
		pos.Column++
	}
	return pos, ""
}

// NonEmptyText gives a string that is not empty.
func (n Node) NonEmptyText() (diag.Text, bool) {
	t, ok := n.Text()
	if ok && t.Value == "" {
		n.Report(EmptyText, n.prefix()+"the text must not be empty", "")
		return diag.Text{}, false
	}
	return t, ok
}

// Bool gives a boolean: true or false, not a string that reads so.
func (n Node) Bool() (bool, bool) {
	var b bool
	if !n.IsScalar() || n.y.ShortTag() != boolTag || n.y.Decode(&b) != nil {
		n.wrongType("a boolean")
		return false, false
	}
	return b, true
}

// Int gives an integer.
func (n Node) Int() (int, bool) {
	if !n.IsInt() {
		n.wrongType("an integer")
		return 0, false
	}
	var i int
	if n.y.Decode(&i) != nil {
		n.Report(BadNumber, fmt.Sprintf("%sthe number %s is out of range", n.prefix(), clip(n.y.Value)), "")
		return 0, false
	}
	return i, true
}

// Duration gives a duration, written as Go writes them: 250ms, 1h30m.
func (n Node) Duration() (time.Duration, bool) {
	const hint = "write a number and a unit (ms, s, m or h), like 250ms or 1h30m"
	if n.Kind() != Scalar || n.y.ShortTag() != stringTag {
		n.Report(WrongType, fmt.Sprintf("%sexpected a duration, got %s", n.prefix(), n.describe()), hint)
		return 0, false
	}
	d, err := time.ParseDuration(n.y.Value)
	if err != nil {
		n.Report(BadDuration, fmt.Sprintf("%s%s is not a duration", n.prefix(), quote(n.y.Value)), hint)
		return 0, false
	}
	return d, true
}

// Texts gives a list of strings that are not empty, each of which may be there
// once. If some are wrong it gives the others, and false.
func (n Node) Texts() ([]diag.Text, bool) {
	elements, ok := n.List()
	texts := make([]diag.Text, 0, len(elements))
	seen := make(map[string]diag.Position, len(elements))
	for _, e := range elements {
		t, sound := e.NonEmptyText()
		if !sound {
			ok = false
			continue
		}
		if first, repeated := seen[t.Value]; repeated {
			ok = false
			n.doc.ReportRelated(e.usePos(), NotUnique, fmt.Sprintf("%s%s is there twice; the list must contain unique items", e.prefix(), quote(t.Value)),
				"remove one of the two", diag.Related{Pos: first, Message: "the first one"})
			continue
		}
		seen[t.Value] = e.usePos()
		texts = append(texts, t)
	}
	return texts, ok
}

// Enum gives one of the names.
func (n Node) Enum(names ...string) (string, bool) {
	if n.Kind() != Scalar || n.y.ShortTag() != stringTag {
		n.Report(WrongType, fmt.Sprintf("%sexpected one of %s, got %s", n.prefix(), strings.Join(names, ", "), n.describe()), "")
		return "", false
	}
	if slices.Contains(names, n.y.Value) {
		return n.y.Value, true
	}
	hint := nearest(n.y.Value, names)
	if hint == "" {
		hint = "known values: " + strings.Join(names, ", ")
	}
	n.Report(UnknownValue, fmt.Sprintf("%s%s is not a known value", n.prefix(), quote(n.y.Value)), hint)
	return "", false
}

// Value gives n as a free JSON value: every number is a double, and a date is
// a string. What JSON has no place for is refused: an infinite number, a tag
// of the file's own.
func (n Node) Value() (value.Value, bool) {
	switch n.Kind() {
	case Null:
		return value.OfNull(), true
	case Sequence, Mapping:
		return n.composite(Node.Value)
	}
	switch tag := n.y.ShortTag(); tag {
	case stringTag, timestampTag, mergeTag:
		if tag == stringTag && n.isPlain() && isHugeFloat(n.y.Value) {
			n.Report(BadNumber, fmt.Sprintf("%s%s is not a number that JSON can hold", n.prefix(), clip(n.y.Value)), "write it in quotes if it is meant as a string")
			return value.Value{}, false
		}
		return value.OfString(n.y.Value), true
	case boolTag:
		b, ok := n.Bool()
		return value.OfBool(b), ok
	case intTag, floatTag:
		if n.isPlain() && isDisputed(n.y.Value) {
			n.Report(BadNumber, fmt.Sprintf("%s%s is a number to some and a string to others", n.prefix(), clip(n.y.Value)),
				"write it in quotes if it is meant as a string, and otherwise in full, with a decimal point if it is long or has an exponent: 1500, 1.5e3")
			return value.Value{}, false
		}
		if f, ok := n.number(); ok {
			return value.OfDouble(f), true
		}
		n.Report(BadNumber, fmt.Sprintf("%s%s is not a number that JSON can hold", n.prefix(), clip(n.y.Value)), "write it in quotes if it is meant as a string")
		return value.Value{}, false
	}
	n.wrongType("a JSON value")
	return value.Value{}, false
}

// composite gives a list or a mapping with free keys, the members of which are
// read by read.
func (n Node) composite(read func(Node) (value.Value, bool)) (value.Value, bool) {
	if n.Kind() == Sequence {
		elements, ok := n.List()
		list := make(value.Slice, 0, len(elements))
		for _, e := range elements {
			v, sound := read(e)
			ok = ok && sound
			list = append(list, v)
		}
		return value.OfSequence(list), ok
	}
	entries, ok := n.Entries()
	members := make(value.Values, len(entries))
	for _, e := range entries {
		v, sound := read(e.Value)
		ok = ok && sound
		members[e.Key.Value] = v
	}
	return value.OfMapping(members), ok
}

// number gives the finite number that a scalar stands for.
func (n Node) number() (float64, bool) {
	// Decimal digits are read as they stand. The parser would take a path
	// through int64 that rounds twice for very large ones.
	if f, err := strconv.ParseFloat(n.y.Value, 64); err == nil && isPlainInt(n.y.Value) {
		return f, true
	}
	var f float64
	if n.y.Decode(&f) != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// isPlain tells whether a scalar is written without quotes and without a tag,
// so that its looks alone say what it is.
func (n Node) isPlain() bool {
	const other = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle | yaml.TaggedStyle
	return n.y.Style&other == 0
}

// isHugeFloat tells whether s is a number beyond the largest double. The parser
// takes it for a string.
func isHugeFloat(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return errors.Is(err, strconv.ErrRange)
}

// isDisputed tells whether Cerbos reads a plain scalar as a string that the
// parser takes for a number: one with an exponent and no point, an integer of
// more than 64 bits, and one with the prefix of a base in capitals or with one
// that its digits do not fit.
func isDisputed(s string) bool {
	s = strings.ReplaceAll(s, "_", "")
	negative := strings.HasPrefix(s, "-")
	digits := strings.TrimLeft(s, "+-")
	if strings.ContainsRune(digits, '.') {
		return false
	}
	if len(digits) > 1 && digits[0] == '0' && strings.ContainsRune("XBO", rune(digits[1])) {
		return true
	}
	u, err := strconv.ParseUint(digits, 0, 64) // 0 stands for the base that the prefix says
	return err != nil || negative && u > 1<<63
}
