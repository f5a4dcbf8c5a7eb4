package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"edict/engine"
)

// An operand is a node of a row filter, read from its JSON.
type operand struct {
	Value      *json.RawMessage `json:"value"`
	Variable   string           `json:"variable"`
	Expression *struct {
		Operator string    `json:"operator"`
		Operands []operand `json:"operands"`
	} `json:"expression"`
}

// Lets tells whether the condition of a row filter, in JSON, lets a resource
// through. It reads the rule level itself; leaves it turns back into CEL, which
// CEL evaluates. What is no such filter makes it panic.
func (w *Workshop) Lets(condition []byte, r *engine.Resource) bool {
	e := &entry{req: &engine.Request{Resource: *r}}
	e.read()
	return w.lets(readOperand(condition), map[string]any{"request": e.request})
}

// Holds tells whether the condition of a filter as Cerbos makes them, in JSON, is
// true of a request: it is one CEL expression.
func (w *Workshop) Holds(condition []byte, req *engine.Request) bool {
	e := &entry{req: req}
	e.read()
	w.cel.now = req.Now
	v, err := w.cel.eval(readOperand(condition).source(), map[string]any{"request": e.request})
	return err == nil && isTrue(v)
}

func readOperand(condition []byte) *operand {
	var o operand
	if err := json.Unmarshal(condition, &o); err != nil {
		panic(fmt.Sprintf("oracle: no filter: %v: %s", err, condition))
	}
	return &o
}

func (w *Workshop) lets(o *operand, names map[string]any) bool {
	if o.Expression == nil {
		panic("oracle: a value or a variable at the level of rules")
	}
	of := o.Expression.Operands
	lets := func(o operand) bool { return w.lets(&o, names) }
	switch op := o.Expression.Operator; {
	case op == "and" && len(of) > 0:
		return !slices.ContainsFunc(of, func(o operand) bool { return !lets(o) })
	case op == "or" && len(of) > 0:
		return slices.ContainsFunc(of, lets)
	case op == "not" && len(of) == 1:
		return !lets(of[0])
	case op == "holds" && len(of) == 1:
		v, err := w.cel.eval(of[0].source(), names)
		return err == nil && isTrue(v)
	case op == "errs" && len(of) == 1:
		_, err := w.cel.eval(of[0].source(), names)
		return err != nil
	default:
		panic(fmt.Sprintf("oracle: %s of %d at the level of rules", op, len(of)))
	}
}

// infix are the operators that CEL writes between their operands.
var infix = map[string]string{"and": "&&", "or": "||", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
	"in": "in", "add": "+", "sub": "-", "mult": "*", "div": "/", "mod": "%"}

// methods are the functions that CEL writes after their first operand.
var methods = []string{"startsWith", "endsWith", "contains", "matches", "lowerAscii", "upperAscii", "trim", "reverse", "substring",
	"charAt", "replace", "indexOf", "lastIndexOf", "split", "join", "format", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek",
	"getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds", "inIPAddrRange", "hasIntersection", "intersect", "except", "isSubset",
	"orValue", "value", "hasValue", "or_", "sort", "slice", "flatten", "distinct", "first", "last"}

// source gives a leaf, or a part of one, as CEL. All is of no static type, so that
// nothing is refused that only a run would tell.
func (o *operand) source() string {
	switch {
	case o.Variable != "":
		return variableSource(o.Variable)
	case o.Expression == nil:
		return "dyn(" + literalOf(o.value()) + ")"
	case o.Expression.Operator == "lambda" || o.Expression.Operator == "set-field":
		return o.call()
	default:
		return "dyn(" + o.call() + ")"
	}
}

func (o *operand) call() string {
	of := o.Expression.Operands
	args := make([]string, len(of))
	for i := range of {
		args[i] = of[i].source()
	}
	op := o.Expression.Operator
	if sign := infix[op]; sign != "" {
		if len(args) < 2 && op != "and" && op != "or" || len(args) > 2 && op != "and" && op != "or" || len(args) == 0 {
			panic(fmt.Sprintf("oracle: %s of %d", op, len(args)))
		}
		return "(" + strings.Join(args, " "+sign+" ") + ")"
	}
	switch op {
	case "has":
		if below := of[0].Expression; below != nil {
			return "has(" + below.Operands[0].source() + "." + field(below.Operands[1].Variable) + ")"
		}
		return presenceSource(of[0].Variable)
	case "not":
		return "!(" + args[0] + ")"
	case "-_":
		return "-(" + args[0] + ")"
	case "error":
		return "request.nothing" // which fails
	case "timeSince":
		if len(args) == 1 {
			break
		}
		return "since(" + strings.Join(args, ", ") + ")"
	case "if":
		return "(" + args[0] + " ? " + args[1] + " : " + args[2] + ")"
	case "index":
		return args[0] + "[" + args[1] + "]"
	case "list":
		return "[" + strings.Join(args, ", ") + "]"
	case "get-field":
		return args[0] + "." + field(of[1].Variable)
	case "set-field":
		return args[0] + ": " + args[1]
	case "struct":
		return "{" + strings.Join(args, ", ") + "}"
	case "math.@max":
		return "math.greatest(" + strings.Join(args, ", ") + ")"
	case "math.@min":
		return "math.least(" + strings.Join(args, ", ") + ")"
	case "exists", "all", "exists_one", "filter", "map", "transformList", "transformMap", "transformMapEntry":
		return args[0] + "." + op + "(" + args[1] + ")"
	case "lambda":
		return strings.Join(append(args[1:], args[0]), ", ")
	}
	if slices.Contains(methods, op) {
		return args[0] + "." + op + "(" + strings.Join(args[1:], ", ") + ")"
	}
	return op + "(" + strings.Join(args, ", ") + ")"
}

// variableSource gives a variable: request, and the names of what is selected from
// it.
func variableSource(path string) string {
	names := strings.Split(path, ".")
	if names[0] != "request" {
		return path // a loop's
	}
	source := strings.Join(names[:min(3, len(names))], ".")
	for _, name := range names[min(3, len(names)):] {
		source += "[" + quote(name) + "]"
	}
	return source
}

// presenceSource gives the test whether there is such a variable.
func presenceSource(path string) string {
	last := strings.LastIndexByte(path, '.')
	if selectable.MatchString(path[last+1:]) {
		return "has(" + variableSource(path[:last]) + ".`" + path[last+1:] + "`)"
	}
	return quote(path[last+1:]) + " in " + variableSource(path[:last])
}

// selectable are the names that can be selected by, in back-ticks.
var selectable = regexp.MustCompile(`^[a-zA-Z0-9_./ -]+$`)

// value gives the value that an operand is.
func (o *operand) value() (x any) {
	if o.Value != nil {
		if err := json.Unmarshal(*o.Value, &x); err != nil {
			panic(fmt.Sprintf("oracle: %v", err))
		}
	}
	return x
}

// literalOf gives a JSON value as CEL. Its numbers are doubles.
func literalOf(x any) string {
	switch x := x.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(x)
	case float64:
		return "double(" + quote(strconv.FormatFloat(x, 'g', -1, 64)) + ")"
	case string:
		return quote(x)
	case []any:
		if len(x) == 0 {
			return "(request == null ? [dyn(null)] : [])" // of [] itself, CEL does not look at x in x in []
		}
		members := make([]string, len(x))
		for i := range x {
			members[i] = "dyn(" + literalOf(x[i]) + ")"
		}
		return "[" + strings.Join(members, ", ") + "]"
	case map[string]any:
		var entries []string
		for _, k := range slices.Sorted(maps.Keys(x)) {
			entries = append(entries, quote(k)+": dyn("+literalOf(x[k])+")")
		}
		return "{" + strings.Join(entries, ", ") + "}"
	}
	panic(fmt.Sprintf("oracle: a value of type %T", x))
}
