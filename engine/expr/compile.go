package expr

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"edict/engine/diag"
	"edict/engine/value"
)

// A Program is a compiled expression.
type Program struct {
	env        *Env
	source     string
	native     node // nil: run by cel-go
	loops      int  // how many loop variables native needs
	selections []Selection
	resultType *Type

	// cel-go's own form of the program takes more memory than native. Where there
	// is native, it is made when it is first needed, which is seldom.
	once    sync.Once
	celgo   cel.Program
	failure error // why there is no celgo

	residual residualForm
}

// A Selection is a use of a declared variable: V.isSmall, has(V.isSmall) and
// V.?isSmall select isSmall from V. It is found in the text, so it is there even
// where evaluation would never reach it.
type Selection struct {
	Variable string
	Field    string // empty: the variable is used as a whole

	// Below is what is selected from the field, and from that, as far as the text
	// says it: request.headers["x-a"].size() has x-a below headers.
	Below []string

	Line   int // from 1, within the expression
	Column int // from 1, within the expression
}

// An Issue is one reason why an expression does not compile.
type Issue struct {
	Line, Column int // from 1, within the expression
	Message      string
	Hint         string // the mend, where one can be guessed
}

// Compile parses and checks source. It returns a Program, or else at least one
// Issue.
func (e *Env) Compile(source string) (*Program, []Issue) {
	checked, issues := e.check(source)
	if len(issues) > 0 {
		return nil, issues
	}
	folded := fold(e.cel, checked)
	p := &Program{
		env:        e,
		source:     source,
		selections: e.selectionsOf(checked.NativeRep()),
		resultType: checked.OutputType(),
	}
	p.native, p.loops = e.compileNative(folded.NativeRep(), nil)
	if p.native != nil {
		return p, nil
	}
	if p.planned(folded); p.failure != nil {
		return nil, []Issue{{Line: 1, Column: 1, Message: p.failure.Error()}}
	}
	return p, nil
}

// Bind gives a program that answers as p does as long as the slots of the named
// variables hold constants, and that has read those already where p reads them
// each time. The names are those of an open struct, such as C and constants.
func (p *Program) Bind(constants value.Mapping, names ...string) *Program {
	if p.native == nil || !slices.ContainsFunc(p.selections, func(s Selection) bool { return slices.Contains(names, s.Variable) }) {
		return p
	}
	checked, issues := p.env.check(p.source)
	if len(issues) > 0 {
		return p
	}
	bound := &Program{env: p.env, source: p.source, selections: p.selections, resultType: p.resultType}
	bound.native, bound.loops = p.env.compileNative(fold(p.env.cel, checked).NativeRep(), &binding{constants, names})
	if bound.native == nil {
		return p
	}
	return bound
}

// Check parses and checks source without making a Program. It returns what the
// source says, with the types and the places of its parts, or else at least one
// Issue.
func (e *Env) Check(source string) (*ast.AST, []Issue) {
	checked, issues := e.check(source)
	if len(issues) > 0 {
		return nil, issues
	}
	return checked.NativeRep(), nil
}

func (e *Env) check(source string) (*cel.Ast, []Issue) {
	if strings.TrimSpace(source) == "" {
		return nil, []Issue{{Line: 1, Column: 1, Message: "the expression is empty"}}
	}
	if len(source) > MaxSource {
		return nil, []Issue{{Line: 1, Column: 1,
			Message: fmt.Sprintf("the expression has %d bytes; at most %d are allowed", len(source), MaxSource)}}
	}
	if !utf8.ValidString(source) {
		return nil, []Issue{{Line: 1, Column: 1, Message: "the expression is not UTF-8"}}
	}
	parsed, issues := e.cel.Parse(source)
	checked := parsed
	if issues.Err() == nil {
		if issue := e.tooDeep(parsed.NativeRep()); issue != nil {
			return nil, []Issue{*issue}
		}
		checked, issues = e.cel.Check(parsed)
	}
	if issues.Err() != nil {
		var out []Issue
		for _, err := range issues.Errors() {
			if len(out) > 0 && strings.HasPrefix(out[0].Message, syntaxError) {
				break // what follows a syntax error is mostly its consequence
			}
			out = append(out, Issue{
				Line:    max(1, err.Location.Line()),
				Column:  max(0, err.Location.Column()) + 1,
				Message: shortened(strings.TrimSuffix(err.Message, " (in container '')")),
				Hint:    e.hint(err.Message, source),
			})
		}
		return nil, out
	}
	if issues := e.tooCostly(checked); len(issues) > 0 {
		return nil, issues
	}
	return checked, nil
}

// planned has cel-go plan the program, once. If there is no checked expression
// at hand, it is made of the source: as that compiled before, it does again.
func (p *Program) planned(checked *cel.Ast) {
	p.once.Do(func() {
		if checked == nil {
			again, issues := p.env.check(p.source)
			if len(issues) > 0 {
				p.failure = errors.New(issues[0].Message)
				return
			}
			checked = fold(p.env.cel, again)
		}
		p.celgo, p.failure = p.env.optimized(checked.NativeRep())
	})
}

// optimized has cel-go plan a program with its constants computed.
func (e *Env) optimized(checked *ast.AST) (cel.Program, error) {
	if program, err := e.program(checked, cel.EvalOptions(cel.OptOptimize)); err == nil {
		return program, nil
	}
	// A constant that can't be converted, such as int("x"), fails when it is
	// folded. That is an error of evaluation, and may never be reached.
	return e.program(checked)
}

// Source is the text that the program was compiled from.
func (p *Program) Source() string { return p.source }

// Selections gives every use of a declared variable, in the order of the text.
func (p *Program) Selections() []Selection { return p.selections }

// ResultType is the static type of the result.
func (p *Program) ResultType() *Type { return p.resultType }

// Eval runs the program. A failure is a Value of kind Error; one of them is
// ErrTooManySteps.
func (p *Program) Eval(f *Frame) value.Value {
	if f.Spent() {
		return tooManySteps
	}
	if p.native != nil {
		v := p.native.on(f, p.loops, nil)
		switch {
		case f.Spent(): // maybe in a part whose failure was taken for something else
			return tooManySteps
		case !punts(v):
			return v
		}
	}
	return p.evalCEL(f)
}

// on runs a node that is no part of another. It has so many loop variables, of
// which the first may have values. The answer is punt if cel-go has to run it:
// where native code does not know the answer, or panicked.
func (n node) on(f *Frame, loops int, values []value.Value) (v value.Value) {
	// A variable of a policy is a program that may run while a loop of another
	// runs on the same frame: each has loop variables of its own.
	base, top := f.base, f.top
	f.base, f.top = top, top+loops
	for len(f.locals) < f.top {
		f.locals = append(f.locals, value.Value{})
	}
	copy(f.locals[f.base:f.top], values)
	defer func() {
		clear(f.locals[f.base:f.top])
		f.base, f.top = base, top
		if recover() != nil {
			v = punt
		}
	}()
	return n(f)
}

// evalCEL runs the program by cel-go.
func (p *Program) evalCEL(f *Frame) value.Value {
	if f.Spent() {
		return tooManySteps
	}
	if p.planned(nil); p.failure != nil {
		return value.OfError(p.failure)
	}
	out, _, err := p.celgo.Eval(f)
	switch {
	case f.Spent():
		return tooManySteps
	case err != nil:
		return value.OfError(err)
	}
	return fromRef(out)
}

// Truth runs the program as a condition: it holds only if the result is the
// boolean true, or an optional that has it. The error is that of the
// evaluation; a condition with an error does not hold.
func (p *Program) Truth(f *Frame) (bool, error) {
	v := p.Eval(f)
	return IsTrue(v), v.Err()
}

// IsTrue tells whether a condition with a result holds.
func IsTrue(v value.Value) bool {
	switch v.Kind() {
	case value.Bool:
		return v.Bool()
	case value.Opaque:
		if opt, ok := v.Opaque().(*types.Optional); ok && opt.HasValue() {
			return opt.GetValue() == types.True
		}
	}
	return false
}

// syntaxError begins the messages of CEL's parser.
const syntaxError = "Syntax error"

var (
	undeclared     = regexp.MustCompile(`^undeclared reference to '([^']+)'`)
	undefinedField = regexp.MustCompile(`^undefined field '([^']+)'`)
)

// tokens finds what the parser says of where it stopped, and the list of every
// token that could stand there instead.
var tokens = regexp.MustCompile(`(?s)^` + syntaxError + `: (?:mismatched|extraneous) input '(.*)' expecting (\{.*\})$`)

// shortened gives a complaint of CEL without a list of tokens that is too long to
// be of help.
func shortened(message string) string {
	m := tokens.FindStringSubmatch(message)
	switch {
	case m == nil || len(m[2]) <= 60:
		return message
	case m[1] == "<EOF>":
		return syntaxError + ": the expression ends too early"
	}
	return fmt.Sprintf("%s: unexpected %q", syntaxError, m[1])
}

// foreign are the names that other languages of policies have for variables.
var foreign = map[string]string{"principal": "P", "user": "P", "resource": "R"}

// hint guesses the mend for a complaint of CEL.
func (e *Env) hint(message, source string) string {
	if m := undeclared.FindStringSubmatch(message); m != nil {
		if name := foreign[m[1]]; name != "" && slices.Contains(e.Names(), name) {
			return fmt.Sprintf("did you mean %q?", name)
		}
		known := append(e.Names(), slices.Collect(maps.Keys(e.cel.Functions()))...)
		// Of a single letter every other one is as near.
		if hint := diag.DidYouMean(m[1], known); hint != "" && len(m[1]) > 1 {
			return hint
		}
		return "known variables are " + strings.Join(e.Names(), ", ") + "; text stands in quotes"
	}
	if m := undefinedField.FindStringSubmatch(message); m != nil {
		var fields []string
		hasAttr := false
		for _, s := range e.structs {
			for f := range s.Fields {
				fields = append(fields, f)
				hasAttr = hasAttr || f == "attr"
			}
		}
		if hint := diag.DidYouMean(m[1], fields); hint != "" {
			return hint
		}
		if hasAttr {
			return fmt.Sprintf("attributes are under attr: write R.attr.%s or P.attr.%s", m[1], m[1])
		}
	}
	switch {
	case strings.HasPrefix(message, syntaxError) && lone.MatchString(source):
		return "CEL compares with =="
	case strings.HasPrefix(message, syntaxError) && words.MatchString(source):
		return "CEL writes && for and, || for or, ! for not"
	case strings.HasPrefix(message, syntaxError):
		return "look for a missing quote, parenthesis or operator around here"
	case strings.HasPrefix(message, "found no matching overload"):
		return "the operator or function does not take values of these types"
	case strings.HasPrefix(message, "invalid timestamp"):
		return `write it as in timestamp("2026-01-31T08:00:00Z")`
	case strings.HasPrefix(message, "invalid duration"):
		return `write it as in duration("1h30m")`
	case strings.HasPrefix(message, "invalid matches"):
		return "patterns are RE2: no look-around, no back-references"
	}
	return "see the CEL language definition, https://cel.dev"
}

var (
	lone  = regexp.MustCompile(`[^=!<>]=[^=]`)
	words = regexp.MustCompile(`(?i)\b(and|or|not)\b`)
)

// Optional gives the value inside an optional result of an expression, and
// whether it has one.
func Optional(v value.Value) (value.Value, bool) {
	opt, ok := v.Opaque().(*types.Optional)
	if !ok {
		return v, true
	}
	if !opt.HasValue() {
		return value.Value{}, false
	}
	return fromRef(opt.GetValue()), true
}

// selectionsOf lists the uses of declared variables.
func (e *Env) selectionsOf(a *ast.AST) []Selection {
	u := uses{env: e, info: a.SourceInfo()}
	u.walk(a.Expr())
	return slices.Clone(u.found) // no room to spare
}

// uses looks for declared variables in an expression.
type uses struct {
	env   *Env
	info  *ast.SourceInfo
	bound []string // loop variables that the place is within
	found []Selection
}

func (u *uses) add(ident ast.Expr, field string, below []string) {
	variable := strings.TrimPrefix(ident.AsIdent(), ".") // .V is V, whatever a loop calls V
	if _, declared := u.env.slots[variable]; !declared {
		return
	}
	at := u.info.GetStartLocation(ident.ID())
	u.found = append(u.found, Selection{
		Variable: variable,
		Field:    field,
		Below:    below,
		Line:     max(1, at.Line()),
		Column:   max(0, at.Column()) + 1,
	})
}

// selection notes a field that is selected from operand, and what is selected
// below it. A loop variable of the same name does not hide the declared one
// here: it would be a riddle.
func (u *uses) selection(operand ast.Expr, field string, below []string) {
	if operand.Kind() == ast.IdentKind {
		slices.Reverse(below)
		u.add(operand, field, below)
		return
	}
	if inner, outer, ok := selected(operand); ok && !byIndex(operand, inner) {
		u.selection(inner, outer, append(below, field))
		return
	}
	u.walk(operand)
}

// byIndex tells whether x takes an entry of a variable by its index. Of V["b"]
// nobody knows whether V has fields, so that V counts as a whole.
func byIndex(x, operand ast.Expr) bool {
	return operand.Kind() == ast.IdentKind && x.Kind() == ast.CallKind && x.AsCall().FunctionName() != operators.OptSelect
}

func (u *uses) walk(x ast.Expr) {
	switch x.Kind() {
	case ast.IdentKind:
		if !slices.Contains(u.bound, x.AsIdent()) {
			u.add(x, "", nil)
		}
	case ast.SelectKind, ast.CallKind:
		if operand, field, ok := selected(x); ok && !byIndex(x, operand) {
			u.selection(operand, field, nil)
			return
		}
		EachMember(x, u.walk)
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		u.walk(c.IterRange())
		u.walk(c.AccuInit())
		outer := len(u.bound)
		u.bound = append(u.bound, c.AccuVar())
		u.walk(c.Result())
		u.bound = append(u.bound, c.IterVar(), c.IterVar2())
		u.walk(c.LoopCondition())
		u.walk(c.LoopStep())
		u.bound = u.bound[:outer]
	default:
		EachMember(x, u.walk)
	}
}

// EachMember visits the expressions that an expression is directly made of.
func EachMember(x ast.Expr, visit func(ast.Expr)) {
	switch x.Kind() {
	case ast.CallKind:
		c := x.AsCall()
		if c.IsMemberFunction() {
			visit(c.Target())
		}
		for _, a := range c.Args() {
			visit(a)
		}
	case ast.SelectKind:
		visit(x.AsSelect().Operand())
	case ast.ListKind:
		for _, m := range x.AsList().Elements() {
			visit(m)
		}
	case ast.MapKind:
		for _, m := range x.AsMap().Entries() {
			visit(m.AsMapEntry().Key())
			visit(m.AsMapEntry().Value())
		}
	case ast.StructKind:
		for _, m := range x.AsStruct().Fields() {
			visit(m.AsStructField().Value())
		}
	case ast.ComprehensionKind:
		c := x.AsComprehension()
		for _, m := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			visit(m)
		}
	}
}
