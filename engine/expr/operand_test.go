package expr

import (
	"testing"

	"edict/engine/value"
)

func TestOperandText(t *testing.T) {
	of := func(operator string, operands ...Operand) Operand {
		return Operand{Expression: &Expression{operator, operands}}
	}
	variable := Operand{Variable: "request.resource.attr.x"}
	known := func(v any) Operand { return Operand{Value: value.Of(v)} }
	for _, test := range []struct {
		operand     Operand
		json, debug string
	}{
		{variable, `{"variable":"request.resource.attr.x"}`, "request.resource.attr.x"},
		{known("a\"<é\n"), `{"value":"a\"<é\n"}`, `"a\"<é\n"`},
		{known(nil), `{"value":null}`, "null"},
		{known(1e21), `{"value":1e+21}`, "1e+21"},
		{known(1e-9), `{"value":1e-9}`, "1e-9"},
		{known(-12.5), `{"value":-12.5}`, "-12.5"},
		{Operand{Value: value.OfInt(3)}, `{"value":3}`, "3"},
		{Operand{Value: value.OfBytes([]byte("abc"))}, `{"value":"YWJj"}`, `"YWJj"`},
		{known([]any{true, map[string]any{"b": 1, "a": []any{}}}), `{"value":[true,{"a":[],"b":1}]}`, `[true,{"a":[],"b":1}]`},
		{
			of("and", of("eq", variable, known("a")), of("not", variable)),
			`{"expression":{"operator":"and","operands":[{"expression":{"operator":"eq","operands":[{"variable":"request.resource.attr.x"},{"value":"a"}]}},{"expression":{"operator":"not","operands":[{"variable":"request.resource.attr.x"}]}}]}}`,
			`(and (eq request.resource.attr.x "a") (not request.resource.attr.x))`,
		},
	} {
		got, err := test.operand.AppendJSON(nil)
		if err != nil || string(got) != test.json {
			t.Errorf("JSON: got %s (%v), want %s", got, err, test.json)
		}
		if got := test.operand.String(); got != test.debug {
			t.Errorf("text: got %s, want %s", got, test.debug)
		}
	}
	if _, err := (&Operand{Value: value.OfError(errPunt)}).AppendJSON(nil); err == nil {
		t.Error("an error was written as JSON")
	}
}
