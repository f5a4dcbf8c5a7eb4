package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"edict/engine/value"
)

// An Operand is a node of a filter: a value, a variable or an expression. It is
// an expression if Expression is not nil, else a variable if Variable is not
// empty, and else a value.
type Operand struct {
	Value      value.Value // what JSON can hold
	Variable   string      // request.resource.attr.x, or what a lambda declares
	Expression *Expression
}

// An Expression is an operator with its operands.
type Expression struct {
	Operator string
	Operands []Operand
}

// AppendJSON appends the operand as JSON: {"expression":{"operator":...,
// "operands":[...]}}, {"value":...} or {"variable":...}. It fails if a value is
// none of JSON, such as a number that is infinite.
func (o *Operand) AppendJSON(dst []byte) ([]byte, error) {
	var err error
	switch {
	case o.Expression != nil:
		dst = append(dst, `{"expression":{"operator":`...)
		dst = appendText(dst, o.Expression.Operator)
		dst = append(dst, `,"operands":[`...)
		for i := range o.Expression.Operands {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = o.Expression.Operands[i].AppendJSON(dst); err != nil {
				return dst, err
			}
		}
		return append(dst, `]}}`...), nil
	case o.Variable != "":
		dst = appendText(append(dst, `{"variable":`...), o.Variable)
	default:
		if dst, err = appendValue(append(dst, `{"value":`...), o.Value); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// String gives the operand as text, in prefix notation: (eq
// request.resource.attr.owner "anna").
func (o *Operand) String() string { return string(o.appendDebug(nil)) }

func (o *Operand) appendDebug(dst []byte) []byte {
	switch {
	case o.Expression != nil:
		dst = append(append(dst, '('), o.Expression.Operator...)
		for i := range o.Expression.Operands {
			dst = o.Expression.Operands[i].appendDebug(append(dst, ' '))
		}
		return append(dst, ')')
	case o.Variable != "":
		return append(dst, o.Variable...)
	}
	with, err := appendValue(dst, o.Value)
	if err != nil {
		return append(dst, o.Value.String()...)
	}
	return with
}

// appendValue appends a value as JSON. Bytes are base64.
func appendValue(dst []byte, v value.Value) ([]byte, error) {
	switch v.Kind() {
	case value.Null:
		return append(dst, "null"...), nil
	case value.Bool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case value.Int:
		return appendNumber(dst, float64(v.Int()))
	case value.Uint:
		return appendNumber(dst, float64(v.Uint()))
	case value.Double:
		return appendNumber(dst, v.Double())
	case value.String:
		return appendText(dst, v.Str()), nil
	case value.Bytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, []byte(v.Str()))
		return append(dst, '"'), nil
	case value.List:
		var err error
		s := v.Sequence()
		dst = append(dst, '[')
		for i, n := 0, s.Len(); i < n && err == nil; i++ {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst, err = appendValue(dst, s.At(i))
		}
		return append(dst, ']'), err
	case value.Map:
		var err error
		first := true
		dst = append(dst, '{')
		v.Mapping().Range(func(key string, member value.Value) bool {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst, err = appendValue(append(appendText(dst, key), ':'), member)
			return err == nil
		})
		return append(dst, '}'), err
	}
	return dst, fmt.Errorf("a value of kind %s has no form in JSON", v.Kind())
}

// appendNumber appends a number in the form that JavaScript gives it.
func appendNumber(dst []byte, n float64) ([]byte, error) {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return dst, fmt.Errorf("the number %v has no form in JSON", n)
	}
	if a := math.Abs(n); a != 0 && (a < 1e-6 || a >= 1e21) {
		b := strconv.AppendFloat(nil, n, 'e', -1, 64)
		// 1e-09 is 1e-9.
		if i := bytes.LastIndexAny(b, "+-"); i > 0 && i+1 < len(b)-1 && b[i+1] == '0' {
			b = append(b[:i+1], b[i+2:]...)
		}
		return append(dst, b...), nil
	}
	return strconv.AppendFloat(dst, n, 'f', -1, 64), nil
}

// appendText appends text as JSON, with < and & as they are.
func appendText(dst []byte, s string) []byte {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(dst, '"'), s...), '"')
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return append(dst, `""`...) // can't happen: every string has a form
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// Equal tells whether two operands say the same in the same way.
func (o *Operand) Equal(other *Operand) bool {
	switch {
	case o.Expression == nil || other.Expression == nil:
		return o.Expression == other.Expression && o.Variable == other.Variable && (o.Variable != "" || sameValue(o.Value, other.Value))
	case o.Expression == other.Expression:
		return true
	case o.Expression.Operator != other.Expression.Operator || len(o.Expression.Operands) != len(other.Expression.Operands):
		return false
	}
	for i := range o.Expression.Operands {
		if !o.Expression.Operands[i].Equal(&other.Expression.Operands[i]) {
			return false
		}
	}
	return true
}

// sameValue tells whether two values of JSON, none of which is a map, are the same.
func sameValue(a, b value.Value) bool {
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case value.Null:
		return true
	case value.Bool:
		return a.Bool() == b.Bool()
	case value.Double:
		return a.Double() == b.Double()
	case value.String, value.Bytes:
		return a.Str() == b.Str()
	case value.List:
		x, y := a.Sequence(), b.Sequence()
		if x.Len() != y.Len() {
			return false
		}
		for i := range x.Len() {
			if !sameValue(x.At(i), y.At(i)) {
				return false
			}
		}
		return true
	}
	return false
}
