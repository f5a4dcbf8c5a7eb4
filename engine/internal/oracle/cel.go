package oracle

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
	"google.golang.org/protobuf/types/known/structpb"
)

// celEnv compiles and runs CEL over plain maps. It is not safe for concurrent
// use: now is a field, which Check sets.
type celEnv struct {
	env      *cel.Env
	compiled map[string]*expression
	now      time.Time
}

func newCELEnv() *celEnv {
	c := &celEnv{compiled: map[string]*expression{}}
	opts := c.language()
	for _, name := range []string{"request", "P", "R", "runtime", "V", "variables", "C", "constants", "G", "globals"} {
		opts = append(opts, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		panic(fmt.Sprintf("oracle: CEL environment: %v", err))
	}
	c.env = env
	return c
}

// language is the environment but for its variables.
func (c *celEnv) language() []cel.EnvOption {
	return append([]cel.EnvOption{
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EnableIdentifierEscapeSyntax(),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		cel.OptionalTypes(),
		ext.Bindings(), ext.Encoders(), ext.Lists(), ext.Math(), ext.Network(), ext.Regex(), ext.Sets(),
		ext.Strings(), ext.TwoVarComprehensions(),
	}, c.functions()...)
}

// functions are the ones that CEL does not have by itself.
func (c *celEnv) functions() []cel.EnvOption {
	list := cel.ListType(cel.TypeParamType("A"))
	twoLists := func(name string, result *cel.Type, f func(a, b traits.Lister) ref.Val) cel.EnvOption {
		call := cel.BinaryBinding(func(a, b ref.Val) ref.Val { return f(a.(traits.Lister), b.(traits.Lister)) })
		return cel.Function(name,
			cel.Overload(name+"_lists", []*cel.Type{list, list}, result, call),
			cel.MemberOverload("list_"+name, []*cel.Type{list, list}, result, call))
	}
	since := cel.UnaryBinding(func(t ref.Val) ref.Val {
		return types.Duration{Duration: c.now.Sub(t.(types.Timestamp).Time)}
	})
	return []cel.EnvOption{
		// What filters have in place of timeSince. Policies have no such function.
		cel.Function("since", cel.Overload("since_timestamps", []*cel.Type{cel.TimestampType, cel.TimestampType}, cel.DurationType,
			cel.BinaryBinding(func(t, now ref.Val) ref.Val {
				return types.Duration{Duration: now.(types.Timestamp).Sub(t.(types.Timestamp).Time)}
			}))),
		cel.Function("now", cel.Overload("now", nil, cel.TimestampType,
			cel.FunctionBinding(func(...ref.Val) ref.Val { return types.Timestamp{Time: c.now} }))),
		cel.Function("timeSince",
			cel.Overload("timeSince_timestamp", []*cel.Type{cel.TimestampType}, cel.DurationType, since),
			cel.MemberOverload("timestamp_timeSince", []*cel.Type{cel.TimestampType}, cel.DurationType, since)),
		cel.Function("inIPAddrRange", cel.MemberOverload("string_inIPAddrRange", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(inIPAddrRange))),
		twoLists("hasIntersection", cel.BoolType, hasIntersection),
		twoLists("has_intersection", cel.BoolType, hasIntersection),
		twoLists("isSubset", cel.BoolType, isSubset),
		twoLists("is_subset", cel.BoolType, isSubset),
		twoLists("intersect", list, intersect),
		twoLists("except", list, except),
	}
}

func inIPAddrRange(address, block ref.Val) ref.Val {
	ip := net.ParseIP(string(address.(types.String)))
	if ip == nil {
		return types.NewErr("invalid IP address: %v", address)
	}
	_, network, err := net.ParseCIDR(string(block.(types.String)))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(network.Contains(ip))
}

func elements(l traits.Lister) []ref.Val {
	var out []ref.Val
	for i := types.Int(0); i < l.Size().(types.Int); i++ {
		out = append(out, l.Get(i))
	}
	return out
}

func contains(l traits.Lister, x ref.Val) bool {
	for _, e := range elements(l) {
		if e.Equal(x) == types.True {
			return true
		}
	}
	return false
}

func hasIntersection(a, b traits.Lister) ref.Val {
	return types.Bool(intersect(a, b).(traits.Lister).Size().(types.Int) > 0)
}

func isSubset(a, b traits.Lister) ref.Val {
	return types.Bool(except(a, b).(traits.Lister).Size().(types.Int) == 0)
}

// intersect keeps the order and the repetitions of the shorter list.
func intersect(a, b traits.Lister) ref.Val {
	if b.Size().(types.Int) < a.Size().(types.Int) {
		a, b = b, a
	}
	return filtered(a, func(x ref.Val) bool { return contains(b, x) })
}

func except(a, b traits.Lister) ref.Val {
	return filtered(a, func(x ref.Val) bool { return !contains(b, x) })
}

func filtered(l traits.Lister, keep func(ref.Val) bool) ref.Val {
	out := []ref.Val{}
	for _, e := range elements(l) {
		if keep(e) {
			out = append(out, e)
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, out)
}

// An expression is CEL text, compiled.
type expression struct {
	program cel.Program
	unsound bool  // it could not be optimised
	failure error // it has no program even so

	runtime   bool     // it names runtime
	variables []string // that it names: every field selected from V or variables
}

// compile compiles text, once. Text that does not compile is a mistake of the
// test that brought it, so that it panics.
func (c *celEnv) compile(text string) *expression {
	x := c.tryCompile(text)
	if x == nil {
		panic(fmt.Sprintf("oracle: the expression %q does not compile", text))
	}
	return x
}

// tryCompile compiles text, once; nil if it does not compile.
func (c *celEnv) tryCompile(text string) *expression {
	if x := c.compiled[text]; x != nil {
		return x
	}
	checked, issues := c.env.Compile(text)
	if issues.Err() != nil {
		return nil
	}
	written := checked
	checked = fold(c.env, checked)
	// Cerbos optimises, which is seen in corners: a constant list after `in` is a
	// set, in which 9007199254740993 is not 9007199254740993.0 although == says
	// so. A constant that can't be converted stops the optimiser, and is left to
	// fail when it is evaluated.
	p, err := c.env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	x := &expression{unsound: err != nil}
	if err != nil {
		p, x.failure = c.env.Program(checked)
	}
	x.program = p
	for _, e := range ast.MatchDescendants(ast.NavigateAST(written.NativeRep()), ast.AllMatcher()) {
		switch e.Kind() {
		case ast.IdentKind:
			x.runtime = x.runtime || e.AsIdent() == "runtime"
		case ast.SelectKind:
			s := e.AsSelect()
			if o := s.Operand(); o.Kind() == ast.IdentKind && (o.AsIdent() == "V" || o.AsIdent() == "variables") {
				x.variables = append(x.variables, s.FieldName())
			}
		}
	}
	c.compiled[text] = x
	return x
}

// fold computes what is constant, as Cerbos does, which is seen in corners,
// too: [1].all(x, true) is null then. It leaves alone what reads the clock.
func fold(env *cel.Env, checked *cel.Ast) *cel.Ast {
	calls := ast.MatchDescendants(ast.NavigateAST(checked.NativeRep()), ast.KindMatcher(ast.CallKind))
	if slices.ContainsFunc(calls, func(e ast.NavigableExpr) bool {
		name := e.AsCall().FunctionName()
		return name == "now" || name == "timeSince"
	}) {
		return checked
	}
	folding, err := cel.NewConstantFoldingOptimizer()
	if err != nil {
		panic("oracle: " + err.Error())
	}
	optimizer, err := cel.NewStaticOptimizer(folding)
	if err != nil {
		panic("oracle: " + err.Error())
	}
	if folded, issues := optimizer.Optimize(env, checked); issues.Err() == nil {
		return folded
	}
	return checked
}

// eval gives the value of an expression or the error that it ends in.
func (c *celEnv) eval(text string, names map[string]any) (ref.Val, error) {
	x := c.compile(text)
	if x.failure != nil {
		panic(fmt.Sprintf("oracle: the expression %q has no program: %v", text, x.failure))
	}
	v, _, err := x.program.Eval(names)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// isTrue tells whether a condition holds that gave v: true itself, or an
// optional that holds true.
func isTrue(v ref.Val) bool {
	if o, ok := v.(*types.Optional); ok {
		return o.HasValue() && isTrue(o.GetValue())
	}
	return v == types.True
}

// A record is a message: fields that are all declared, whatever their value,
// of which has() finds those that are not empty.
type record struct {
	fields map[string]any
	names  []string // of the fields, in JSON
}

// set gives a field its value, under each of its names. JSON has the first.
func (r *record) set(x any, names ...string) {
	if r.fields == nil {
		r.fields = map[string]any{}
	}
	r.names = append(r.names, names[0])
	for _, name := range names {
		r.fields[name] = x
	}
}

// absentMessage is a field of a message type that was not set: has() does not
// find it, and reading it gives the empty message.
type absentMessage struct{ *record }

var recordType = types.NewObjectType("oracle.record", traits.IndexerType|traits.FieldTesterType)

func (r *record) Get(field ref.Val) ref.Val {
	name, _ := field.(types.String)
	x, declared := r.fields[string(name)]
	if !declared {
		return types.NewErr("no such field: %v", field)
	}
	if err, ok := x.(error); ok {
		return types.WrapErr(err)
	}
	return types.DefaultTypeAdapter.NativeToValue(x)
}

func (r *record) IsSet(field ref.Val) ref.Val {
	switch v := r.Get(field).(type) {
	case *types.Err:
		return v
	case absentMessage:
		return types.False
	case types.String:
		return types.Bool(v != "")
	case traits.Sizer:
		return types.Bool(v.Size().(types.Int) > 0)
	default:
		return types.True
	}
}

// ConvertToNative gives JSON, in which empty fields are left out.
func (r *record) ConvertToNative(t reflect.Type) (any, error) {
	if t == reflect.TypeFor[*structpb.Value]() {
		object := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for _, name := range r.names {
			if set := r.IsSet(types.String(name)); set == types.False {
				continue
			}
			x, err := r.Get(types.String(name)).ConvertToNative(t)
			if err != nil {
				return nil, err
			}
			object.Fields[name] = x.(*structpb.Value)
		}
		return structpb.NewStructValue(object), nil
	}
	return nil, fmt.Errorf("oracle: a record does not convert to %v", t)
}

func (r *record) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return recordType
	}
	return types.NewErr("oracle: a record does not convert to %v", t)
}

func (r *record) Equal(other ref.Val) ref.Val {
	o, ok := other.(*record)
	return types.Bool(ok && reflect.DeepEqual(r, o))
}

func (r *record) Type() ref.Type { return recordType }
func (r *record) Value() any     { return r }
