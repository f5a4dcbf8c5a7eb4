package expr

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	celfunctions "github.com/google/cel-go/common/functions"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	"edict/engine/value"
)

// What compiles is bounded on the assumption that data is of a usual size. This
// file is the bound that holds for any data: a Frame counts the steps of the
// programs that run on it, and ends them when there are too many. A step is what
// takes some twenty nanoseconds: a round of a native loop, comparing a member of
// a list, copying a few bytes.

// MaxSteps bounds the steps that all programs together may take on a Frame
// between two calls of Reset. They take about a second.
const MaxSteps = 20_000_000

// ErrTooManySteps is the error of evaluations that took more than MaxSteps, and
// of all that follow on the same Frame.
var ErrTooManySteps = errors.New("the evaluation takes too many steps for data of this size")

var tooManySteps = value.OfError(ErrTooManySteps)

const (
	stepsPerRound       = 10 // of a loop that cel-go runs
	stepsPerCopy        = 10 // of a value of an output, beside its text
	bytesPerStep        = 4  // that are written
	bytesPerComparison  = 8  // that are compared
	instructionsPerStep = 8  // of a regular expression, for each byte of text
)

// Spent tells whether the steps of f are used up. From then on every evaluation
// fails; and as an expression may have taken a part that failed for something
// else, such as a field that is not there, the result of the last one is not to
// be relied on, either.
func (f *Frame) Spent() bool { return f.steps < 0 }

// Spend takes n steps from those that f has left, and tells whether there were
// so many.
func (f *Frame) Spend(n int) bool {
	f.steps -= min(n, MaxSteps+1)
	return f.steps >= 0
}

// SpendOn takes a step for each value that v consists of, where it may be met
// more than once. What was made in a few steps may consist of more values than
// there is time to look at.
func (f *Frame) SpendOn(v value.Value) bool {
	switch v.Kind() {
	case value.List:
		s := v.Sequence()
		n := s.Len()
		for i := 0; i < n && f.Spend(1); i++ {
			f.SpendOn(s.At(i))
		}
	case value.Map:
		if _, ok := v.Mapping().(StructValue); ok {
			break // is computed as it is read, and then counts
		}
		v.Mapping().Range(func(_ string, member value.Value) bool { return f.Spend(1) && f.SpendOn(member) })
	}
	return f.steps >= 0
}

// frameVariable is the Frame for the nodes of cel-go that count. No source text
// can spell it.
const frameVariable = "@frame"

// program has cel-go plan a program that counts its steps.
func (e *Env) program(checked *ast.AST, options ...cel.ProgramOption) (cel.Program, error) {
	c := counting{env: e, rounds: map[int64]bool{}}
	c.find(checked.Expr())
	if len(c.rounds) > 0 || c.calls {
		options = append(options, cel.CustomDecoratorV2(c.decorate))
	}
	return e.cel.PlanProgram(checked, options...)
}

// counting finds what is to be counted, and replaces it by what counts.
type counting struct {
	env    *Env
	rounds map[int64]bool // ids of what loops do in each round
	calls  bool           // there is something of costs
}

func (c *counting) find(x ast.Expr) {
	switch x.Kind() {
	case ast.ComprehensionKind:
		l := x.AsComprehension()
		if over := l.IterRange(); over.Kind() != ast.ListKind || over.AsList().Size() > 0 { // cel.bind goes over nothing
			c.rounds[l.LoopStep().ID()] = true
		}
	case ast.CallKind:
		c.calls = c.calls || costs[x.AsCall().FunctionName()] != nil
	}
	EachMember(x, c.find)
}

func (c *counting) decorate(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	if call, ok := i.(interpreter.InterpretableCall); ok {
		if cost := costs[call.Function()]; cost != nil {
			apply, err := c.env.dispatcher(call.Function())
			if apply == nil || err != nil {
				return i, err
			}
			counted := &countedCall{call, call.Args(), cost, apply}
			if i = counted; writtenPattern(counted) {
				i = hidden{counted}
			}
		}
	}
	if c.rounds[i.ID()] {
		i = &round{i}
	}
	return i, nil
}

// hidden keeps cel-go from replacing a node by one that does not count.
type hidden struct{ interpreter.InterpretableV2 }

// writtenPattern tells whether a call has a regular expression that is written
// out, and then has it compiled once.
func writtenPattern(call *countedCall) bool {
	args := call.Args()
	if call.Function() != overloads.Matches || len(args) != 2 {
		return false
	}
	constant, ok := args[1].(interpreter.InterpretableConst)
	if !ok {
		return false
	}
	text, ok := constant.Value().(types.String)
	if !ok {
		return false
	}
	pattern, err := regexp.Compile(string(text))
	if err != nil {
		return false // and an error each time
	}
	n := instructions(string(text))
	call.cost = func(args []ref.Val) (float64, error) { return costOfMatch(n, int(textLength(args[0]))), nil }
	call.apply = func(args ...ref.Val) ref.Val {
		s, ok := args[0].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		return types.Bool(pattern.MatchString(string(s)))
	}
	return true
}

// dispatcher gives what applies a function to operands of any type that it has
// an overload for.
func (e *Env) dispatcher(name string) (celfunctions.FunctionOp, error) {
	switch name { // cel-go has no function for these
	case operators.Equals:
		return func(args ...ref.Val) ref.Val { return types.Equal(args[0], args[1]) }, nil
	case operators.NotEquals:
		return func(args ...ref.Val) ref.Val { return types.Bool(types.Equal(args[0], args[1]) != types.True) }, nil
	}
	f := e.cel.Functions()[name]
	if f == nil {
		return nil, nil
	}
	bindings, err := f.Bindings()
	if err != nil {
		return nil, err
	}
	for _, b := range bindings {
		if b.Operator != name {
			continue
		}
		return func(args ...ref.Val) ref.Val {
			switch {
			case b.OperandTrait != 0 && !args[0].Type().HasTrait(b.OperandTrait):
			case len(args) == 1 && b.Unary != nil:
				return b.Unary(args[0])
			case len(args) == 2 && b.Binary != nil:
				return b.Binary(args[0], args[1])
			case b.Function != nil:
				return b.Function(args...)
			}
			return types.MaybeNoSuchOverloadErr(args[0])
		}, nil
	}
	return nil, nil
}

// counted gives the frame that counts; nil where a constant is computed.
func counted(frame *interpreter.ExecutionFrame) *Frame {
	f, _ := frame.ResolveName(frameVariable)
	own, _ := f.(*Frame)
	return own
}

// spend takes steps, and ends the whole program if there are too few.
func spend(frame *interpreter.ExecutionFrame, n int) {
	if f := counted(frame); f != nil && !f.Spend(n) {
		panic(interpreter.EvalCancelledError{Message: ErrTooManySteps.Error(), Cause: interpreter.CostLimitExceeded})
	}
}

// A round is what a loop does for each member.
type round struct{ interpreter.InterpretableV2 }

// Exec implements interpreter.InterpretableV2.
func (r *round) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	spend(frame, stepsPerRound)
	return r.InterpretableV2.Exec(frame)
}

// Eval implements interpreter.Interpretable.
func (r *round) Eval(a interpreter.Activation) ref.Val { return r.Exec(interpreter.AsFrame(a)) }

// A countedCall is a call that takes more steps the larger its operands are.
type countedCall struct {
	interpreter.InterpretableCall
	operands []interpreter.InterpretableV2
	cost     cost
	apply    celfunctions.FunctionOp
}

// Exec implements interpreter.InterpretableV2.
func (c *countedCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	args := make([]ref.Val, len(c.operands))
	var unknown ref.Val
	for i, operand := range c.operands {
		args[i] = operand.Exec(frame)
		switch {
		case types.IsError(args[i]):
			return args[i]
		case types.IsUnknown(args[i]):
			unknown = args[i]
		}
	}
	if unknown != nil {
		return unknown
	}
	n, err := c.cost(args)
	if err != nil {
		return types.WrapErr(err)
	}
	spend(frame, int(max(0, min(n, MaxSteps+1))))
	return types.LabelErrNode(c.ID(), c.apply(args...))
}

// Eval implements interpreter.Interpretable.
func (c *countedCall) Eval(a interpreter.Activation) ref.Val { return c.Exec(interpreter.AsFrame(a)) }

// A cost gives the steps of a call, which are a float so that they can't overflow.
// In args it may put what is quicker to work with.
type cost func(args []ref.Val) (float64, error)

// costs are those of the functions whose work, or whose result, is not bounded
// by a small multiple of the size of their operands.
var costs = map[string]cost{
	operators.In:  func(args []ref.Val) (float64, error) { return 2 * listLength(args[1]), nil },
	operators.Add: costOfAdd,
	"distinct": func(args []ref.Val) (float64, error) {
		convertLists(args)
		return listLength(args[0]) * listLength(args[0]) / 4, nil
	},
	"join":             costOfJoin,
	"replace":          costOfReplace,
	"indexOf":          costOfSearch,
	"lastIndexOf":      costOfSearch,
	overloads.Matches:  costOfPattern,
	"regex.extract":    costOfPattern,
	"regex.extractAll": costOfPattern,
	"regex.replace":    costOfPattern,
	"hasIntersection":  eachWithEach, "has_intersection": eachWithEach,
	"isSubset": eachWithEach, "is_subset": eachWithEach,
	"intersect": eachWithEach, "except": eachWithEach,
	"sets.contains": eachWithEach, "sets.equivalent": eachWithEach, "sets.intersects": eachWithEach,

	operators.Equals: once, operators.NotEquals: once,
	"sort": costOfSort, "@sortByAssociatedKeys": costOfSort, "flatten": once, "reverse": once, "slice": once,
	"split": once, "format": once, "lowerAscii": once, "upperAscii": once, "trim": once, "substring": once,
	"charAt": once, "strings.quote": once, overloads.Contains: once,
	"base64.encode": once, "base64.decode": once, overloads.TypeConvertString: once, overloads.TypeConvertBytes: once,
	"lists.range": func(args []ref.Val) (float64, error) {
		n, _ := args[0].(types.Int)
		return float64(n) / 2, nil
	},
}

// once is the cost of what goes over its operands once.
func once(args []ref.Val) (float64, error) {
	n := 0.0
	for _, a := range args {
		n += 4*listLength(a) + textLength(a)/bytesPerStep
	}
	return n, nil
}

// costOfSearch is the cost of comparing a text with each part of another.
func costOfSearch(args []ref.Val) (float64, error) {
	n, err := once(args)
	return n + textLength(args[0])*textLength(args[1])/bytesPerComparison, err
}

func costOfSort(args []ref.Val) (float64, error) {
	convertLists(args)
	return 64 * listLength(args[0]), nil
}

// convertLists converts the elements of lists that are read more than once.
func convertLists(args []ref.Val) {
	for i, a := range args {
		if l, ok := a.(*listVal); ok {
			args[i] = l.whole()
		}
	}
}

func eachWithEach(args []ref.Val) (float64, error) {
	if n := listLength(args[0]) * listLength(args[1]); n > MaxSteps {
		return n, nil
	}
	convertLists(args)
	return listLength(args[0]) * listLength(args[1]), nil
}

func costOfAdd(args []ref.Val) (float64, error) {
	switch args[0].(type) {
	case *listVal: // is converted
		return listLength(args[0]) + listLength(args[1]), nil
	case traits.Lister: // is kept, or appended to
		return listLength(args[1]), nil
	}
	return (textLength(args[0]) + textLength(args[1])) / bytesPerStep, nil
}

func costOfJoin(args []ref.Val) (float64, error) {
	l, ok := args[0].(traits.Lister)
	if !ok {
		return 0, nil
	}
	n := 0.0
	for it := l.Iterator(); it.HasNext() == types.True; {
		n += textLength(it.Next())
	}
	if len(args) > 1 {
		n += listLength(l) * textLength(args[1])
	}
	return listLength(l) + n/bytesPerStep, nil
}

func costOfReplace(args []ref.Val) (float64, error) {
	if len(args) < 3 {
		return 0, nil
	}
	times := textLength(args[0])/max(1, textLength(args[1])) + 1
	return (textLength(args[0]) + times*textLength(args[2])) / bytesPerStep, nil
}

// costOfPattern is that of a regular expression, which may come out of data.
func costOfPattern(args []ref.Val) (float64, error) {
	pattern, ok := args[min(1, len(args)-1)].(types.String)
	if !ok {
		return 0, nil
	}
	if len(pattern) > MaxSource {
		return 0, fmt.Errorf("the regular expression has %d bytes; at most %d are allowed", len(pattern), MaxSource)
	}
	n := instructions(string(pattern))
	if n > MaxPattern {
		return 0, fmt.Errorf("the regular expression compiles to %d instructions; at most %d are allowed", n, MaxPattern)
	}
	return float64(n) + costOfMatch(n, int(textLength(args[0]))), nil
}

// costOfMatch is that of a regular expression of so many instructions for a text
// of so many bytes.
func costOfMatch(instructions, bytes int) float64 {
	return float64(instructions) * float64(bytes) / instructionsPerStep
}

// listLength gives the number of members of a list, 0 of anything else.
func listLength(v ref.Val) float64 {
	if l, ok := v.(traits.Lister); ok {
		if n, ok := l.Size().(types.Int); ok {
			return float64(n)
		}
	}
	return 0
}

// textLength gives the number of bytes of text, 0 of anything else.
func textLength(v ref.Val) float64 {
	switch v := v.(type) {
	case types.String:
		return float64(len(v))
	case types.Bytes:
		return float64(len(v))
	}
	return 0
}
