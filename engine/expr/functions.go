package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/parser"
)

// sinceFunction is what timeSince expands to; no source text can spell it.
const sinceFunction = "@timeSince"

// functions declares what the policy language adds to CEL.
func functions() []cel.EnvOption {
	options := []cel.EnvOption{
		// now() reads a variable of the frame, so that a whole request sees
		// one instant and an expression stays a function of its frame.
		cel.Macros(
			parser.NewGlobalMacro("now", 0, func(h parser.ExprHelper, _ ast.Expr, _ []ast.Expr) (ast.Expr, *cel.Error) {
				return h.NewIdent(nowVariable), nil
			}),
			parser.NewGlobalMacro("timeSince", 1, func(h parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
				return h.NewCall(sinceFunction, args[0], h.NewIdent(nowVariable)), nil
			}),
			parser.NewReceiverMacro("timeSince", 0, func(h parser.ExprHelper, target ast.Expr, _ []ast.Expr) (ast.Expr, *cel.Error) {
				return h.NewCall(sinceFunction, target, h.NewIdent(nowVariable)), nil
			}),
		),
		cel.Function(sinceFunction,
			cel.Overload("timeSince_timestamp", []*cel.Type{cel.TimestampType, cel.TimestampType}, cel.DurationType,
				cel.BinaryBinding(func(t, now ref.Val) ref.Val {
					return durationSince(now.(types.Timestamp).Time, t.(types.Timestamp).Time)
				}))),
		cel.Function("id",
			cel.Overload("id_dyn", []*cel.Type{cel.DynType}, cel.DynType,
				cel.UnaryBinding(func(v ref.Val) ref.Val { return v }))),
	}
	for _, topic := range [][]cel.EnvOption{listFunctions(), networkFunctions(), hierarchyFunctions(), spiffeFunctions(), pathFunctions()} {
		options = append(options, topic...)
	}
	return options
}
