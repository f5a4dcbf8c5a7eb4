package repl

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"edict/engine/expr"
	"edict/engine/value"
)

// lineWidth is how wide data may be to stand on one line, in characters.
const lineWidth = 80

// format gives a value for people to read: what is data as JSON, anything else
// as CEL writes it. Data that is too wide for a line takes several.
func format(v value.Value) string { return formatAt("", v) }

// formatAt is format for a value that follows a text on its line.
func formatAt(before string, v value.Value) string {
	if v.Kind() == value.Double {
		return double(v.Double()) // alone, it must not look like an int
	}
	if one := compact(v); utf8.RuneCountInString(before+one) <= lineWidth {
		return one
	}
	return indented(v, before[:len(before)-len(strings.TrimLeft(before, " "))], lineWidth-utf8.RuneCountInString(before))
}

// compact gives a value on one line.
func compact(v value.Value) string {
	switch v.Kind() {
	case value.Int:
		return strconv.FormatInt(v.Int(), 10)
	case value.Uint:
		return strconv.FormatUint(v.Uint(), 10) + "u"
	case value.Double:
		if f := v.Double(); f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return strconv.FormatFloat(f, 'f', -1, 64)
		}
		return double(v.Double())
	case value.String:
		return quote(v.Str())
	case value.Bytes:
		return "b" + quoteBytes(v.Str())
	case value.Timestamp:
		return fmt.Sprintf("timestamp(%q)", v.Time().Format(time.RFC3339Nano))
	case value.Duration:
		return fmt.Sprintf("duration(%q)", v.Duration())
	case value.List:
		return joined("[", "]", items(v))
	case value.Map:
		if text, ok := otherKeys(v); ok {
			return text
		}
		return joined("{", "}", items(v))
	case value.Error:
		return "error: " + v.Err().Error()
	case value.Opaque:
		if inner, ok := expr.Optional(v); !ok {
			return "optional.none()"
		} else if _, isOptional := v.Opaque().(*types.Optional); isOptional {
			return "optional.of(" + compact(inner) + ")"
		}
		return opaque(v.Opaque())
	}
	return v.String() // null, true, false
}

// indented gives a value on as many lines as it needs, which have a margin but
// for the first. The room is what there is for it if it is to be one line.
func indented(v value.Value, margin string, room int) string {
	open, end := "[", "]"
	if v.Kind() == value.Map {
		open, end = "{", "}"
	}
	one := compact(v)
	if v.Kind() != value.List && v.Kind() != value.Map || utf8.RuneCountInString(one) <= room {
		return one
	}
	if _, ok := otherKeys(v); ok {
		return one
	}
	inner := margin + "  "
	var lines []string
	for _, m := range items(v) {
		lines = append(lines, inner+m.key+indented(m.value, inner, lineWidth-utf8.RuneCountInString(inner+m.key)))
	}
	return open + "\n" + strings.Join(lines, ",\n") + "\n" + margin + end
}

// An item is a member of a list or, with a key, of a map.
type item struct {
	key   string // as JSON, with its colon
	value value.Value
}

func items(v value.Value) []item {
	var out []item
	if list := v.Sequence(); list != nil {
		for i := range list.Len() {
			out = append(out, item{"", list.At(i)})
		}
		return out
	}
	_, isStruct := v.Mapping().(expr.StructValue)
	v.Mapping().Range(func(key string, m value.Value) bool {
		if !isStruct || !isUnset(m) {
			out = append(out, item{quote(key) + ": ", m})
		}
		return true
	})
	return out
}

// isUnset tells whether a field holds the default that it has unset.
func isUnset(v value.Value) bool {
	switch v.Kind() {
	case value.Null:
		return true
	case value.String:
		return v.Str() == ""
	case value.List:
		return v.Sequence().Len() == 0
	case value.Map:
		return v.Mapping().Len() == 0
	}
	return false
}

func joined(open, end string, items []item) string {
	texts := make([]string, len(items))
	for i, m := range items {
		texts[i] = m.key + compact(m.value)
	}
	return open + strings.Join(texts, ", ") + end
}

// otherKeys gives a map some key of which is no text, as CEL writes it.
func otherKeys(v value.Value) (string, bool) {
	m, ok := v.Mapping().(traits.Mapper)
	if !ok {
		return "", false
	}
	for it := m.Iterator(); it.HasNext() == types.True; {
		if _, isText := it.Next().(types.String); !isText {
			return types.Format(m), true
		}
	}
	return "", false
}

// opaque gives a value that only CEL knows, such as a hierarchy or a type: as
// the call that would make it, if it is made of text.
func opaque(v any) string {
	r, ok := v.(ref.Val)
	if !ok {
		return fmt.Sprint(v)
	}
	if t, isType := v.(*types.Type); isType {
		return t.TypeName()
	}
	name := shortType(r.Type().TypeName())
	switch inner := r.Value().(type) {
	case []string:
		return name + "(" + quote(strings.Join(inner, ".")) + ")"
	case fmt.Stringer:
		return name + "(" + quote(inner.String()) + ")"
	}
	return name
}

// shortType gives the name of the function that makes values of a type.
func shortType(name string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	if name == strings.ToUpper(name) { // IP, CIDR
		return strings.ToLower(name)
	}
	return name
}

// typeOf gives the CEL type of a value.
func typeOf(v value.Value) string {
	switch v.Kind() {
	case value.Null:
		return "null_type"
	case value.Timestamp:
		return "google.protobuf.Timestamp"
	case value.Duration:
		return "google.protobuf.Duration"
	case value.Map:
		if s, ok := v.Mapping().(expr.StructValue); ok {
			return s.StructName()
		}
	case value.Opaque:
		if r, ok := v.Opaque().(ref.Val); ok {
			return r.Type().TypeName()
		}
	}
	return v.Kind().String()
}

// double writes a double so that it can't be taken for an int.
func double(f float64) string {
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if math.Abs(f) < 1e15 && math.Abs(f) >= 1e-4 || f == 0 {
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	if f == math.Trunc(f) && !strings.ContainsAny(text, ".eIN") {
		text += ".0"
	}
	return text
}

// quote writes text in quotes, as JSON and CEL both read it. What does not show
// is escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case !strconv.IsPrint(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case !strconv.IsPrint(r):
			hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteBytes(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteString(`\` + string(c))
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
