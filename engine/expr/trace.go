package expr

import (
	"slices"
	"strings"
	"unicode"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"

	"edict/engine/value"
)

// A Step is a part of an expression and what it gave when it was run.
type Step struct {
	Text   string // the part as it is written
	Line   int    // from 1, within the expression
	Column int    // from 1, within the expression
	Value  value.Value

	// InLoop tells that the part was run once for each element; Value is what
	// it gave for the last one that was looked at.
	InLoop bool
}

// Trace runs p as Eval does, and tells what its parts gave: in the order of the
// text, a part before what it is made of. What was not run is left out, as are
// constants and the beginnings of R.attr.x. The values are good as long as f is.
//
// It compiles the expression anew, to run it by cel-go with every value noted.
// It is for people who ask why, not for deciding.
func (p *Program) Trace(f *Frame) ([]Step, value.Value) {
	result := p.Eval(f)
	checked, issues := p.env.check(p.source)
	if len(issues) > 0 {
		return nil, result
	}
	program, err := p.env.program(checked.NativeRep(), cel.EvalOptions(cel.OptTrackState))
	if err != nil {
		return nil, result
	}
	// The steps of a trace are not those of the evaluation.
	left := f.steps
	f.steps = MaxSteps
	defer func() { f.steps = left }()
	// The error is a value of the expression itself, which is noted, too.
	_, details, _ := program.Eval(f)
	if details == nil || details.State() == nil {
		return nil, result
	}
	a := checked.NativeRep()
	t := tracer{text: newSourceText(p.source), info: a.SourceInfo(), given: func(id int64) (value.Value, bool) {
		v, ok := details.State().Value(id)
		if !ok || v == nil {
			return value.Value{}, false
		}
		return fromRef(v), true
	}}
	t.visit(a.Expr(), -1, false, false)
	slices.SortStableFunc(t.parts, func(a, b part) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	var steps []Step
	for i, s := range t.parts {
		if i > 0 && s.span == t.parts[i-1].span {
			continue // (a) is a
		}
		steps = append(steps, s.Step)
	}
	return steps, result
}

// A span is a stretch of the text, in runes.
type span struct{ start, end int }

func (s span) empty() bool { return s.end <= s.start }

// and gives the least span that has both.
func (s span) and(other span) span {
	switch {
	case s.empty():
		return other
	case other.empty():
		return s
	}
	return span{min(s.start, other.start), max(s.end, other.end)}
}

type part struct {
	span
	Step
}

type tracer struct {
	text  sourceText
	info  *ast.SourceInfo
	given func(id int64) (value.Value, bool)
	parts []part
}

// visit notes x and what it is made of, and gives its span. Where x is made by
// the macro at a place, only the outermost such part stands for the macro; the
// place is -1 elsewhere. A prefix is the beginning of a longer selection.
func (t *tracer) visit(x ast.Expr, macro int, inLoop, prefix bool) span {
	own, generated := t.place(x)
	hidden := prefix || generated && own.start == macro
	if generated {
		macro = own.start
	}
	var inner span
	EachMember(x, func(m ast.Expr) {
		loop := inLoop
		if x.Kind() == ast.ComprehensionKind {
			c := x.AsComprehension()
			// cel.bind is a loop that goes over nothing.
			over := c.IterRange().Kind() == ast.ListKind && c.IterRange().AsList().Size() == 0
			loop = loop || m == c.LoopStep() && !over
		}
		inner = inner.and(t.visit(m, macro, loop, m == operand(x) && isPath(m)))
	})
	var whole span
	switch {
	case generated && hidden:
		return inner
	case generated:
		whole = t.text.call(own.start).and(inner)
	case x.Kind() == ast.SelectKind:
		whole = inner.and(t.text.field(own))
	default:
		whole = inner.and(t.text.bracketed(own, x.Kind() == ast.CallKind && x.AsCall().FunctionName() != operators.Index))
	}
	whole = t.text.balanced(whole)
	if hidden || whole.empty() || isConstant(x) {
		return whole
	}
	if v, ok := t.given(x.ID()); ok {
		line, column := t.text.location(whole.start)
		t.parts = append(t.parts, part{whole, Step{
			Text: string(t.text.runes[whole.start:whole.end]), Line: line, Column: column, Value: v, InLoop: inLoop,
		}})
	}
	return whole
}

// place gives where an operator, a name or a literal stands. What a macro made
// has no width, and stands at the parenthesis after its name.
func (t *tracer) place(x ast.Expr) (s span, generated bool) {
	r, ok := t.info.GetOffsetRange(x.ID())
	if !ok {
		return span{}, false
	}
	n := len(t.text.runes)
	s = span{min(int(r.Start), n), min(int(r.Stop), n)}
	return s, r.Start == r.Stop
}

// operand gives a of a.b and a[b].
func operand(x ast.Expr) ast.Expr {
	switch x.Kind() {
	case ast.SelectKind:
		return x.AsSelect().Operand()
	case ast.CallKind:
		if x.AsCall().FunctionName() == operators.Index {
			return x.AsCall().Args()[0]
		}
	}
	return nil
}

// isPath tells whether x is a name or a selection from one.
func isPath(x ast.Expr) bool {
	for operand(x) != nil {
		x = operand(x)
	}
	return x.Kind() == ast.IdentKind
}

// isConstant tells whether x reads nothing.
func isConstant(x ast.Expr) bool {
	if x.Kind() == ast.IdentKind {
		return false
	}
	constant := true
	EachMember(x, func(m ast.Expr) { constant = constant && isConstant(m) })
	return constant
}

// A sourceText is the text of an expression.
type sourceText struct {
	runes []rune
	code  []bool // false: within a string or a comment
}

func newSourceText(source string) sourceText {
	s := sourceText{runes: []rune(source)}
	s.code = make([]bool, len(s.runes))
	at := func(i int, prefix string) bool {
		return strings.HasPrefix(string(s.runes[i:min(len(s.runes), i+len(prefix))]), prefix)
	}
	for i := 0; i < len(s.runes); {
		switch c := s.runes[i]; {
		case c == '"' || c == '\'' || c == '`':
			quote := string(c)
			if c != '`' && at(i, strings.Repeat(quote, 3)) {
				quote = strings.Repeat(quote, 3)
			}
			raw := c == '`' || s.isRaw(i)
			for i += len(quote); i < len(s.runes) && !at(i, quote); i++ {
				if s.runes[i] == '\\' && !raw {
					i++
				}
			}
			i += len(quote)
		case at(i, "//"):
			for i < len(s.runes) && s.runes[i] != '\n' {
				i++
			}
		default:
			s.code[i] = true
			i++
		}
	}
	return s
}

// isRaw tells whether the quote at i begins a raw string: r'...' or br'...'.
func (s sourceText) isRaw(i int) bool {
	for i > 0 && strings.ContainsRune("rRbB", s.runes[i-1]) {
		i--
		if s.runes[i] == 'r' || s.runes[i] == 'R' {
			return true
		}
	}
	return false
}

// is tells whether c stands at i, outside of strings.
func (s sourceText) is(i int, c string) bool {
	return i >= 0 && i < len(s.runes) && s.code[i] && strings.ContainsRune(c, s.runes[i])
}

// closing gives the place after the bracket that closes the one at i.
func (s sourceText) closing(i int) int {
	depth := 0
	for ; i < len(s.runes); i++ {
		switch {
		case s.is(i, "([{"):
			depth++
		case s.is(i, ")]}"):
			if depth--; depth <= 0 {
				return i + 1
			}
		}
	}
	return i
}

func (s sourceText) inName(i int) bool {
	return i >= 0 && i < len(s.runes) && s.code[i] && (s.runes[i] == '_' || unicode.IsLetter(s.runes[i]) || unicode.IsDigit(s.runes[i]))
}

// call gives the call whose parenthesis is at i, from the name of the function.
func (s sourceText) call(i int) span {
	start := i
	for s.inName(start-1) || s.is(start-1, ".") {
		start--
	}
	return span{start, s.closing(i)}
}

// bracketed widens the place of an operator that is a bracket to what the
// bracket holds and, for a call, to its name.
func (s sourceText) bracketed(own span, call bool) span {
	switch {
	case call && s.is(own.start, "("):
		return s.call(own.start)
	case s.is(own.start, "([{"):
		return span{own.start, s.closing(own.start)}
	}
	return own
}

// field widens the place of a dot to the name after it.
func (s sourceText) field(own span) span {
	i := own.end
	for i < len(s.runes) && unicode.IsSpace(s.runes[i]) {
		i++
	}
	if i < len(s.runes) && s.runes[i] == '`' {
		for i++; i < len(s.runes) && !s.code[i]; i++ {
		}
		return span{own.start, i}
	}
	for s.inName(i) {
		i++
	}
	return span{own.start, i}
}

// balanced widens a span to the parentheses that it has only one of.
func (s sourceText) balanced(at span) span {
	depth, missing := 0, 0
	for i := at.start; i < at.end; i++ {
		switch {
		case s.is(i, "("):
			depth++
		case s.is(i, ")"):
			if depth--; depth < 0 {
				depth, missing = 0, missing+1
			}
		}
	}
	for ; missing > 0 && at.start > 0; at.start-- {
		if s.is(at.start-1, "(") {
			missing--
		}
	}
	for ; depth > 0 && at.end < len(s.runes); at.end++ {
		if s.is(at.end, ")") {
			depth--
		}
	}
	return at
}

// location gives the line and the column of a place, from 1.
func (s sourceText) location(at int) (line, column int) {
	line, column = 1, 1
	for _, r := range s.runes[:at] {
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}
