package oracle

import (
	"strings"
)

// IsPlain tells whether the condition of a row filter, in JSON, consists of what
// any query can say: of
// columns by their types, comparisons, lists of constants, sums and products of
// what is one type, and texts in texts.
func (t *Table) IsPlain(condition []byte) bool { return t.isPlain(readOperand(condition)) }

func (t *Table) isPlain(o *operand) bool {
	e := o.Expression
	switch e.Operator {
	case "holds", "errs":
		return t.plainType(&e.Operands[0]) != ""
	}
	for i := range e.Operands {
		if !t.isPlain(&e.Operands[i]) {
			return false
		}
	}
	return true
}

// The types that plain parts have, beside those of columns.
const (
	nullType     = "null"
	durationType = "duration"
	errorType    = "error"
	momentType   = "a timestamp, read from a column of timestamps"
)

// plainType gives the type of a plain part of a leaf; it is empty if the part is
// not plain.
func (t *Table) plainType(o *operand) string {
	switch {
	case o.Variable == "request.resource.id":
		return string(StringColumn)
	case o.Variable != "":
		if c := t.column(strings.TrimPrefix(o.Variable, "request.resource.attr.")); c != nil {
			return string(c.Type)
		}
		return ""
	case o.Expression == nil:
		return plainValue(o.value())
	}
	of := o.Expression.Operands
	types := make([]string, len(of))
	for i := range of {
		types[i] = t.plainType(&of[i])
	}
	all := func() bool {
		for i, plain := range types {
			// The text of a timestamp is nothing that a query knows.
			if plain == "" || plain == string(TimestampColumn) && of[i].Variable != "" {
				return false
			}
		}
		return true
	}
	when := func(is bool, plain string) string {
		if is {
			return plain
		}
		return ""
	}
	boolean := string(BoolColumn)
	switch o.Expression.Operator {
	case "error":
		return errorType
	case "has":
		return when(types[0] != "", boolean)
	case "eq", "ne":
		if types[0] == nullType || types[1] == nullType {
			return when(types[0] != "" && types[1] != "", boolean)
		}
		return when(all(), boolean)
	case "and", "or", "not", "lt", "le", "gt", "ge", "startsWith", "endsWith", "contains":
		return when(all(), boolean)
	case "in":
		types[1] = when(isPlainList(&of[1]), nullType)
		return when(all(), boolean)
	case "if":
		return when(all() && types[1] == types[2], types[1])
	case "size":
		return when(all(), string(IntColumn))
	case "int", "uint", "double":
		return when(of[0].Expression == nil && of[0].Variable == "", string(IntColumn))
	case "timestamp":
		column := of[0].Variable != "" && types[0] == string(TimestampColumn)
		return when(column || types[0] == string(StringColumn) && of[0].Expression == nil && of[0].Variable == "", momentType)
	case "duration":
		return when(types[0] == string(StringColumn) && of[0].Expression == nil && of[0].Variable == "", durationType)
	case "timeSince":
		return when(all(), durationType)
	case "add", "sub", "mult":
		switch {
		case !all():
		case types[0] == momentType && types[1] == momentType:
			return durationType
		case types[0] == momentType || types[1] == momentType:
			return momentType
		case types[0] == string(IntColumn) && types[1] == string(DoubleColumn):
			return string(DoubleColumn)
		default:
			return types[0]
		}
	}
	return ""
}

func plainValue(x any) string {
	switch x.(type) {
	case nil:
		return nullType
	case bool:
		return string(BoolColumn)
	case string:
		return string(StringColumn)
	case float64:
		return string(DoubleColumn)
	}
	return ""
}

func isPlainList(o *operand) bool {
	if o.Expression != nil || o.Variable != "" {
		return false
	}
	list, ok := o.value().([]any)
	for _, x := range list {
		ok = ok && plainValue(x) != ""
	}
	return ok
}
