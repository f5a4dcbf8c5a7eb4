package expr

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"edict/engine/value"
)

// samples has values of every kind. NaN is not among them: JSON has no such
// number, and cel-go takes any comparison with it for false instead of an error.
func samples() []value.Value {
	return []value.Value{
		value.OfNull(), value.OfBool(true), value.OfInt(1), value.OfUint(1), value.OfDouble(1), value.OfString("a"), value.OfString("1"),
		value.OfBytes([]byte("a")), value.OfSequence(value.Slice{value.OfDouble(1), value.OfString("a")}), value.OfSequence(value.Strings{"a"}),
		value.OfMapping(value.Values{"a": value.OfDouble(1)}), value.OfTime(testNow), value.OfDuration(time.Second), value.OfOpaque(types.StringType),
	}
}

// callText gives a call of a function with operands, behind the first one if it
// is a member, or nothing if it is called by macros only.
func callText(name string, member bool, args []string) string {
	symbol, isOperator := operators.FindReverse(name)
	switch {
	case name == operators.Index:
		return args[0] + "[" + args[1] + "]"
	case isOperator && len(args) == 1:
		return symbol + args[0]
	case isOperator && len(args) == 2 && symbol != "":
		return args[0] + " " + symbol + " " + args[1]
	case strings.ContainsAny(name, "@_"):
		return ""
	case member:
		return args[0] + "." + name + "(" + strings.Join(args[1:], ", ") + ")"
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// What no kinds are said to come of always fails, and what comes of the rest is of
// the kinds that it is said to be: of every function, called with values of every
// kind.
func TestResultKinds(t *testing.T) {
	e := newTestEnv(t)
	frame := (&facts{}).frame(e)
	r := &reducer{Partial: &Partial{Frame: frame}}
	operands := []string{"V.a", "V.b", "V.c"}
	functions, calls, failing := 0, 0, 0
	for _, name := range slices.Sorted(maps.Keys(e.overloads)) {
		tried := map[string]bool{}
		for i := range 2 * len(e.overloads[name]) {
			args := len(e.overloads[name][i/2].args)
			if args == 0 || args > 3 || name == operators.LogicalAnd || name == operators.LogicalOr {
				continue
			}
			text := callText(name, i%2 == 1, operands[:args])
			if text == "" || tried[text] {
				continue
			}
			tried[text] = true
			p, issues := e.Compile(text)
			if len(issues) > 0 {
				continue
			}
			root, err := p.parts()
			if err != nil || root.kind != callFragment || root.op != name {
				continue // optional values, which no filter has
			}
			functions++
			of := samples()
			total := 1
			for range args {
				total *= len(of)
			}
			for at := range total {
				list, values := make([]outcome, args), make([]value.Value, args)
				for i := range list {
					values[i] = of[at%len(of)]
					list[i] = knownAs(values[i])
					at /= len(of)
				}
				frame.Reset(testNow)
				k, got := r.resultKinds(root, list), root.apply(frame, nil, values)
				calls++
				if k.only(0) {
					failing++
				}
				if got.Kind() != value.Error && !k.has(1<<got.Kind()) {
					t.Errorf("%s of %v gives %v %v, which is none of %b", text, values, got.Kind(), got, k)
				}
			}
		}
	}
	t.Logf("%d functions, %d calls, of which %d always fail", functions, calls, failing)
	if functions < 100 || failing < calls/2 {
		t.Error("the test does not see enough")
	}
}
