package expr

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"

	"edict/engine/value"
)

// The environment of these tests is like that of conditions.
const (
	slotP = iota
	slotR
	slotRequest
	slotV
	slotC
	slotG
	slotRuntime
)

var testNow = time.Date(2024, 5, 1, 10, 30, 15, 123456789, time.UTC)

// skipSequential skips a long test of one goroutine in the run with the race
// detector, which is a -short one.
func skipSequential(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine, in which the race detector has nothing to find; the run without it tries this")
	}
}

func newTestEnv(t testing.TB) *Env {
	t.Helper()
	party := func(name, extra string) Struct {
		return Struct{Name: name, Fields: map[string]*Type{
			"id": String, extra: Strings, "attr": Attrs, "policyVersion": String, "policy_version": String, "scope": String,
		}}
	}
	e, err := NewEnv(
		[]Variable{
			{Name: "request", Type: Object("Request"), Slot: slotRequest},
			{Name: "P", Type: Object("Principal"), Slot: slotP},
			{Name: "R", Type: Object("Resource"), Slot: slotR},
			{Name: "V", Type: Object("Variables"), Slot: slotV},
			{Name: "variables", Type: Object("Variables"), Slot: slotV},
			{Name: "C", Type: Object("Constants"), Slot: slotC},
			{Name: "G", Type: Object("Globals"), Slot: slotG},
			{Name: "runtime", Type: Object("Runtime"), Slot: slotRuntime},
		},
		[]Struct{
			{Name: "Request", Fields: map[string]*Type{
				"principal": Object("Principal"), "resource": Object("Resource"),
				"auxData": Object("AuxData"), "aux_data": Object("AuxData"),
			}},
			party("Principal", "roles"),
			{Name: "Resource", Fields: map[string]*Type{
				"kind": String, "id": String, "attr": Attrs, "policyVersion": String, "policy_version": String, "scope": String,
			}},
			{Name: "AuxData", Fields: map[string]*Type{"jwt": Attrs, "jwts": MapOf(Object("NamedJWT"))}},
			{Name: "NamedJWT", Fields: map[string]*Type{"claims": Attrs}},
			{Name: "Runtime", Fields: map[string]*Type{"effectiveDerivedRoles": Strings}},
			{Name: "Variables", Open: true}, {Name: "Constants", Open: true}, {Name: "Globals", Open: true},
		})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// object is a struct of the tests.
type object struct {
	name string
	value.Values
}

func (o *object) StructName() string { return o.name }

// facts is what a frame of the tests shows.
type facts struct {
	principal value.Mapping // P.attr
	resource  value.Mapping // R.attr
	roles     []string
	variables value.Values
	constants value.Values
	globals   value.Values
	jwt       value.Mapping // nil: none was sent
	now       time.Time     // zero: testNow
	derived   []string
	omit      []int // slots to leave absent
}

func mapping(m value.Mapping) value.Value {
	if m == nil {
		return value.OfMapping(value.Values{})
	}
	return value.OfMapping(m)
}

// deep converts plain data once and for all. Unlike value.Of, it leaves nothing
// to be made when the value is read.
func deep(x any) value.Value {
	switch x := x.(type) {
	case map[string]any:
		m := value.Values{}
		for k, e := range x {
			m[k] = deep(e)
		}
		return value.OfMapping(m)
	case []any:
		var s value.Slice
		for _, e := range x {
			s = append(s, deep(e))
		}
		return value.OfSequence(s)
	}
	return value.Of(x)
}

// objects gives what the slots hold.
func (x *facts) objects() [7]*object {
	principal := &object{"Principal", value.Values{
		"id": value.OfString("ann"), "roles": value.OfSequence(value.Strings(x.roles)), "attr": mapping(x.principal),
		"policyVersion": value.OfString("default"), "policy_version": value.OfString("default"), "scope": value.OfString(""),
	}}
	resource := &object{"Resource", value.Values{
		"id": value.OfString("d1"), "kind": value.OfString("doc"), "attr": mapping(x.resource),
		"policyVersion": value.OfString(""), "policy_version": value.OfString(""), "scope": value.OfString("a.b"),
	}}
	aux := &object{"AuxData", value.Values{}}
	if x.jwt != nil {
		aux.Values["jwt"] = value.OfMapping(x.jwt)
	}
	return [7]*object{
		slotP: principal,
		slotR: resource,
		slotRequest: {"Request", value.Values{"principal": value.OfMapping(principal), "resource": value.OfMapping(resource),
			"auxData": value.OfMapping(aux), "aux_data": value.OfMapping(aux)}},
		slotV:       {"Variables", x.variables},
		slotC:       {"Constants", x.constants},
		slotG:       {"Globals", x.globals},
		slotRuntime: {"Runtime", value.Values{"effectiveDerivedRoles": value.OfSequence(value.Strings(x.derived))}},
	}
}

func (x *facts) instant() time.Time {
	if x.now.IsZero() {
		return testNow
	}
	return x.now
}

// frame fills a new frame of e.
func (x *facts) frame(e *Env) *Frame {
	f := e.NewFrame()
	f.Reset(x.instant())
	for slot, o := range x.objects() {
		f.Set(slot, value.OfMapping(o))
	}
	for _, slot := range x.omit {
		f.Set(slot, value.Value{})
	}
	return f
}

func (x *facts) String() string {
	return fmt.Sprintf("P.attr=%v R.attr=%v roles=%v V=%v C=%v G=%v jwt=%v now=%v omit=%v",
		mapping(x.principal), mapping(x.resource), x.roles, mapping(x.variables), mapping(x.constants), mapping(x.globals), x.jwt, x.instant(), x.omit)
}

// plain is the same environment made with nothing but cel-go: every variable is
// dyn and holds a map[string]any. It tells whether the views of this package
// change what cel-go answers.
type plain struct{ env *cel.Env }

func newPlain(t testing.TB) plain {
	t.Helper()
	options := []cel.EnvOption{
		cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true), cel.EnableIdentifierEscapeSyntax(), cel.OptionalTypes(),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
		ext.Bindings(), ext.Encoders(), ext.Lists(), ext.Math(), ext.Network(), ext.Regex(), ext.Sets(), ext.Strings(), ext.TwoVarComprehensions(),
		cel.Variable(nowVariable, cel.TimestampType),
	}
	for _, name := range []string{"request", "P", "R", "V", "variables", "C", "G", "runtime"} {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(append(options, functions()...)...)
	if err != nil {
		t.Fatal(err)
	}
	return plain{env}
}

// compile gives nil for what does not compile.
func (p plain) compile(source string) cel.Program {
	checked, issues := p.env.Compile(source)
	if issues.Err() != nil {
		return nil
	}
	program, err := p.env.Program(fold(p.env, checked), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil
	}
	return program
}

func (x *facts) activation() map[string]any {
	o := x.objects()
	native := func(slot int) any { return value.OfMapping(o[slot]).Native() }
	v := native(slotV)
	return map[string]any{"P": native(slotP), "R": native(slotR), "request": native(slotRequest), "V": v, "variables": v,
		"C": native(slotC), "G": native(slotG), "runtime": native(slotRuntime), nowVariable: x.instant()}
}

func evalPlain(program cel.Program, activation map[string]any) value.Value {
	out, _, err := program.Eval(activation)
	if err != nil {
		return value.OfError(err)
	}
	return fromRef(out)
}

// alike tells whether a and b are the same to the bit. All errors are alike.
func alike(a, b value.Value) bool {
	a, b = present(a), present(b)
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case value.Error:
		return true
	case value.Double:
		return math.Float64bits(a.Double()) == math.Float64bits(b.Double()) || a.Double() != a.Double() && b.Double() != b.Double()
	case value.Timestamp:
		return a.Time().Equal(b.Time()) && a.Time().Format(time.RFC3339Nano) == b.Time().Format(time.RFC3339Nano)
	case value.List:
		x, y := a.Sequence(), b.Sequence()
		if x.Len() != y.Len() {
			return false
		}
		for i := range x.Len() {
			if !alike(x.At(i), y.At(i)) {
				return false
			}
		}
		return true
	case value.Map:
		x, y := a.Mapping(), b.Mapping()
		if x.Len() != y.Len() {
			return false
		}
		same := true
		x.Range(func(k string, v value.Value) bool {
			w, ok := y.Lookup(k)
			same = ok && alike(v, w)
			return same
		})
		return same
	case value.Opaque:
		if x, isOptional := a.Opaque().(*types.Optional); isOptional {
			y, ok := b.Opaque().(*types.Optional)
			return ok && x.HasValue() == y.HasValue() && (!x.HasValue() || alike(fromRef(x.GetValue()), fromRef(y.GetValue())))
		}
		x, ok := a.Opaque().(ref.Val)
		y, ok2 := b.Opaque().(ref.Val)
		return ok && ok2 && x.Type() == y.Type() && fmt.Sprint(x) == fmt.Sprint(y)
	case value.String, value.Bytes:
		return a.Str() == b.Str()
	}
	same, ok := equal(nil, a, b)
	return same && ok
}

// mustCompile compiles source or fails the test.
func mustCompile(t testing.TB, e *Env, source string) *Program {
	t.Helper()
	p, issues := e.Compile(source)
	if len(issues) > 0 {
		t.Fatalf("%s does not compile: %+v", source, issues)
	}
	return p
}

// sameBothWays runs p natively and by cel-go and complains about a difference.
func sameBothWays(t testing.TB, p *Program, e *Env, x *facts) value.Value {
	t.Helper()
	want := p.evalCEL(x.frame(e))
	got := p.Eval(x.frame(e))
	if !alike(got, want) {
		t.Errorf("%s\n  native: %v %v\n  cel-go: %v %v\n  with %v", p.source, got.Kind(), got, want.Kind(), want, x)
	}
	return got
}
