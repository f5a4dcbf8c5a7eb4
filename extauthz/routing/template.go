package routing

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"edict/extauthz/target"
)

// The bounds of a template.
const (
	MaxVariables    = 16 // variables of a template
	MaxVariableName = 64 // characters of a variable's name
)

// A Template is a parsed path pattern. It is immutable. The zero Template
// matches nothing, and New refuses it.
//
// It differs from Envoy's path templates in these points. A literal is compared
// decoded: %20 in a template and in a path are the same space. A wildcard takes
// any segment that a target.Target accepts, where Envoy's takes only certain
// ASCII characters. Literals may hold non-ASCII text. There may be MaxVariables
// variables (Envoy: 5) with names of up to MaxVariableName characters (16).
// Literals that no accepted path has, such as "..", and a segment that begins
// with ':' (a variable in other routers; write %3A for a literal one) are
// errors.
type Template struct {
	source   string
	segments []segment
	captures []capture
}

// A segment of a pattern. A trailing slash is a literal segment without text.
type segment struct {
	kind   kind
	text   string // literal: the segment; one: what it begins with
	suffix string // one, rest: what it ends with
}

type kind uint8

const (
	literal kind = iota
	one          // exactly one segment, not empty
	rest         // one or more; at most once in a pattern, before literals only
)

// A capture names a run of pattern segments, first to last. skip and trim are
// the bytes of literal text that the run's ends have and the variable has not.
type capture struct {
	name        string
	first, last int
	skip, trim  int
}

// A TemplateError says what is wrong with a template and where.
type TemplateError struct {
	Column  int    // from 1, in characters of the template
	Message string // what is wrong
	Hint    string // how to mend it; may be empty
}

// Error gives column, message and hint.
func (e *TemplateError) Error() string {
	s := fmt.Sprintf("column %d: %s", e.Column, e.Message)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// ParseTemplate reads a path template. Its errors are *TemplateError.
//
//	template = "/" [ part *( "/" part ) [ "/" ] ]
//	part     = literal / wildcard [ literal ] / [ literal ] variable [ literal ]
//	wildcard = "*" / "**"
//	variable = "{" name [ "=" match ] "}"
//	match    = ( literal / wildcard ) *( "/" ( literal / wildcard ) )
//	name     = letter *( letter / digit / "_" )
//
// A literal is letters, digits, non-ASCII characters, percent escapes and any
// of -._~!$&'()+,:@=. Within a match it has no "=". After "**" come literals
// only. Text around a variable goes with {name} and {name=*}; text after any
// other wildcard or variable ends the template.
func ParseTemplate(s string) (Template, error) {
	p := parser{src: s}
	if err := p.template(); err != nil {
		return Template{}, err
	}
	return Template{source: s, segments: p.segments, captures: p.captures}, nil
}

// GRPC is the pattern of a gRPC method, or of all methods of a service if
// method is "*". It matches what the template /service/method matches, so it
// stands in one order with templates, and captures both as "service" and
// "method". The service is the full name: package, dot, service.
func GRPC(service, method string) (Template, error) {
	m := segment{kind: one}
	if method != "*" {
		m = segment{kind: literal, text: method}
	}
	if _, _, ok := target.GRPCMethod("/" + service + "/X"); !ok {
		return Template{}, &TemplateError{Column: 1, Message: fmt.Sprintf("%q is not the full name of a gRPC service", service),
			Hint: "write it as in the .proto file, such as shop.v1.Orders"}
	}
	if _, _, ok := target.GRPCMethod("/X/" + method); !ok && m.kind == literal {
		return Template{}, &TemplateError{Column: 1, Message: fmt.Sprintf("%q is not a gRPC method", method),
			Hint: "write it as in the .proto file, such as GetOrder, or * for all methods of the service"}
	}
	return Template{
		source:   "/" + service + "/" + method,
		segments: []segment{{kind: literal, text: service}, m},
		captures: []capture{{name: "service"}, {name: "method", first: 1, last: 1}},
	}, nil
}

// String gives the template as written, "" of the zero Template.
func (t Template) String() string { return t.source }

// Variables gives the names of the variables, from left to right.
func (t Template) Variables() []string {
	names := make([]string, len(t.captures))
	for i := range t.captures {
		names[i] = t.captures[i].name
	}
	return names
}

// Fold gives the template for requests whose paths are compared without regard
// to case, and tells whether its text can be compared so; see Request.Fold.
func (t Template) Fold() (folded Template, ok bool) {
	folded = t
	folded.segments = slices.Clone(t.segments)
	for i := range folded.segments {
		s := &folded.segments[i]
		text, suffix := target.FoldCase(s.text), target.FoldCase(s.suffix)
		if len(text) != len(s.text) || len(suffix) != len(s.suffix) {
			return Template{}, false
		}
		s.text, s.suffix = text, suffix
	}
	return folded, true
}

// parser reads a template from left to right.
type parser struct {
	src      string
	pos      int // byte offset of what is read next
	segments []segment
	captures []capture
	sawRest  bool
}

func (p *parser) errorAt(pos int, hint, format string, args ...any) error {
	return &TemplateError{
		Column:  utf8.RuneCountInString(p.src[:pos]) + 1,
		Message: fmt.Sprintf(format, args...),
		Hint:    hint,
	}
}

func (p *parser) done() bool { return p.pos == len(p.src) }

func (p *parser) at(c byte) bool { return p.pos < len(p.src) && p.src[p.pos] == c }

func (p *parser) template() error {
	switch {
	case !p.at('/'):
		return p.errorAt(0, "begin it with /", "a path template begins with a slash")
	case len(p.src) > target.MaxPath:
		return p.errorAt(0, "", "the template is longer than any path that is accepted (%d bytes)", target.MaxPath)
	}
	if bad := invalidUTF8(p.src); bad >= 0 {
		return p.errorAt(bad, "", "the template is not UTF-8")
	}
	for p.at('/') {
		p.pos++
		if p.done() { // "/", or a trailing slash
			p.segments = append(p.segments, segment{})
			break
		}
		if err := p.part(); err != nil {
			return err
		}
	}
	if !p.done() { // part reads up to a slash or to the end
		return p.unexpected()
	}
	count := len(p.segments)
	if p.segments[count-1] == (segment{}) {
		count--
	}
	if count > target.MaxSegments {
		return p.errorAt(0, "", "the template has more segments than any path that is accepted (%d)", target.MaxSegments)
	}
	return nil
}

func invalidUTF8(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return -1
}

// part reads what is between two slashes, or more than that if a variable
// spans several segments.
func (p *parser) part() error {
	start := p.pos
	if p.at('/') {
		return p.errorAt(p.pos, "remove one slash; paths with empty segments are refused", "empty segment")
	}
	if p.at(':') {
		return p.errorAt(p.pos, "write {name} for a variable, or %3A for a literal colon here", "a segment begins with a colon")
	}
	text, err := p.literal(false)
	if err != nil {
		return err
	}
	switch {
	case p.at('*'):
		if text != "" {
			return p.errorAt(p.pos, "name the wildcard, as in v{version}", "text before *")
		}
		w, err := p.wildcard()
		if err != nil {
			return err
		}
		p.segments = append(p.segments, segment{kind: w})
		_, err = p.suffix(true)
		return err
	case p.at('{'):
		return p.variable(start, text)
	default:
		p.segments = append(p.segments, segment{text: text})
		return p.whole(start)
	}
}

// whole checks that the literal segment just read is one that a path can have.
func (p *parser) whole(start int) error {
	raw := p.src[start:p.pos]
	if raw == "" {
		return p.unexpected()
	}
	if _, r := target.DecodeSegment(raw); r != target.OK {
		return p.errorAt(start, "", "no accepted path has the segment %q: %s", raw, r.Message())
	}
	return nil
}

// wildcard reads * or **.
func (p *parser) wildcard() (kind, error) {
	start := p.pos
	for p.at('*') {
		p.pos++
	}
	n := p.pos - start
	switch {
	case n > 2:
		return 0, p.errorAt(start+2, "write * for one segment, ** for the rest of the path", "more than two *")
	case p.sawRest:
		return 0, p.errorAt(start, "** must be the last wildcard; put it at the end", "a wildcard after **")
	case n == 2:
		p.sawRest = true
		return rest, nil
	}
	return one, nil
}

// suffix reads the literal text after a wildcard or variable, and adds it to
// the last segment. It gives the number of bytes of that text once decoded.
func (p *parser) suffix(endsTemplate bool) (int, error) {
	start := p.pos
	text, err := p.literal(false)
	if err != nil {
		return 0, err
	}
	if p.at('{') || p.at('*') {
		return 0, p.errorAt(p.pos, "put a slash between them, or make them one variable", "two wildcards in one segment")
	}
	if text != "" && endsTemplate && !p.done() {
		return 0, p.errorAt(start, "make it a variable of one segment, as in {name}.json", "text after this wildcard must end the template")
	}
	last := &p.segments[len(p.segments)-1]
	if last.kind == literal {
		last.text += text
	} else {
		last.suffix = text
	}
	return len(text), nil
}

// variable reads {name} or {name=match}; text is the literal before it, which
// begins at start.
func (p *parser) variable(start int, text string) error {
	open := p.pos
	end := strings.IndexByte(p.src[open:], '}')
	if end < 0 {
		return p.errorAt(open, "close it with }", "the variable has no end")
	}
	end += open
	p.pos++
	name, err := p.name(end)
	if err != nil {
		return err
	}
	if len(p.captures) == MaxVariables {
		return p.errorAt(open, "", "more than %d variables", MaxVariables)
	}
	c := capture{name: name, first: len(p.segments)}
	matchStart := p.pos
	if p.at('=') {
		p.pos++
		matchStart = p.pos
		if err := p.match(end); err != nil {
			return err
		}
	} else {
		if p.sawRest {
			return p.errorAt(open, "** must be the last wildcard; put it at the end", "a wildcard after **")
		}
		p.segments = append(p.segments, segment{kind: one})
	}
	p.pos = end + 1
	c.last = len(p.segments) - 1
	single := c.first == c.last && p.segments[c.first].kind == one
	if text != "" {
		if !single {
			return p.errorAt(start, "put a slash after it", "text before a variable that is not one segment")
		}
		p.segments[c.first].text, c.skip = text, len(text)
	}
	if c.trim, err = p.suffix(!single); err != nil {
		return err
	}
	if p.segments[c.last].kind == literal && c.trim > 0 {
		raw := p.src[matchStart:end] + p.src[end+1:p.pos]
		raw = raw[strings.LastIndexByte(raw, '/')+1:]
		if _, r := target.DecodeSegment(raw); r != target.OK {
			return p.errorAt(matchStart, "", "no accepted path has the segment %q: %s", raw, r.Message())
		}
	}
	p.captures = append(p.captures, c)
	return nil
}

// name reads a variable's name; end is the offset of the closing brace.
func (p *parser) name(end int) (string, error) {
	start := p.pos
	for p.pos < end && p.src[p.pos] != '=' {
		p.pos++
	}
	name := p.src[start:p.pos]
	hint := "a name is a letter followed by letters, digits and _"
	switch {
	case name == "":
		return "", p.errorAt(start, hint, "the variable has no name")
	case strings.HasPrefix(name, "*"):
		return "", p.errorAt(start, "write {"+strings.TrimLeft(name, "*")+"=**} for the rest of the path", "%q is not a variable name", name)
	case strings.HasSuffix(name, "..."):
		return "", p.errorAt(start, "write {"+strings.TrimRight(name, ".")+"=**} for the rest of the path", "%q is not a variable name", name)
	}
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if letter || i > 0 && (c == '_' || '0' <= c && c <= '9') {
			continue
		}
		if c == ':' && i > 0 {
			hint = fmt.Sprintf("a variable has no type; write {%s}, or {%s=**} for the rest of the path", name[:i], name[:i])
		}
		return "", p.errorAt(start+i, hint, "%q is not a variable name", name)
	}
	if len(name) > MaxVariableName {
		return "", p.errorAt(start, "", "the variable name is longer than %d characters", MaxVariableName)
	}
	for _, c := range p.captures {
		if c.name == name {
			return "", p.errorAt(start, "give each variable its own name", "the variable %s occurs twice", name)
		}
	}
	return name, nil
}

// match reads what follows '=' in a variable.
func (p *parser) match(end int) error {
	for {
		start := p.pos
		if p.at('*') {
			w, err := p.wildcard()
			if err != nil {
				return err
			}
			p.segments = append(p.segments, segment{kind: w})
			if p.pos < end && !p.at('/') {
				return p.errorAt(p.pos, "put the text after the closing brace", "text after * within a variable")
			}
		} else {
			text, err := p.literal(true)
			if err != nil {
				return err
			}
			switch {
			case p.at('*'):
				return p.errorAt(p.pos, "put the text before the opening brace", "text before * within a variable")
			case start == p.pos && (p.pos == end || p.at('/')):
				return p.errorAt(p.pos, "write *, **, or segments and wildcards with slashes between them", "the variable matches an empty segment")
			}
			if err := p.whole(start); err != nil {
				return err
			}
			p.segments = append(p.segments, segment{text: text})
		}
		if p.pos == end {
			return nil
		}
		if !p.at('/') {
			return p.unexpected()
		}
		p.pos++
	}
}

// literal reads literal text, perhaps none, and gives it decoded.
func (p *parser) literal(inVariable bool) (string, error) {
	start := p.pos
	for p.pos < len(p.src) && isLiteral(p.src[p.pos]) && !(inVariable && p.src[p.pos] == '=') {
		p.pos++
	}
	if p.pos < len(p.src) && strings.IndexByte("/*{}", p.src[p.pos]) < 0 {
		return "", p.unexpected()
	}
	raw := p.src[start:p.pos]
	if raw == "" || raw == "." || raw == ".." { // fine as a part of a segment
		return raw, nil
	}
	text, r := target.DecodeSegment(raw)
	if r == target.DotSegment {
		return strings.ReplaceAll(strings.ToLower(raw), "%2e", "."), nil
	}
	if r != target.OK {
		return "", p.errorAt(start, "", "no accepted path has the text %q: %s", raw, r.Message())
	}
	return text, nil
}

// isLiteral tells whether c stands for itself in a literal, or is part of an
// escape or of a character that is not ASCII.
func isLiteral(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c >= utf8.RuneSelf || strings.IndexByte("-._~%!$&'()+,:@=", c) >= 0
}

// unexpected is the error of a character that has no place where it stands.
func (p *parser) unexpected() error {
	if p.done() {
		return p.errorAt(p.pos, "", "the template ends too early")
	}
	r, _ := utf8.DecodeRuneInString(p.src[p.pos:])
	switch r {
	case '?':
		return p.errorAt(p.pos, "remove it; conditions can read the query", "a path template has no query")
	case '#':
		return p.errorAt(p.pos, "remove it", "a path template has no fragment")
	case ';':
		return p.errorAt(p.pos, "remove it", "paths with a semicolon are refused")
	case '}':
		return p.errorAt(p.pos, "open the variable with {", "a closing brace without an opening one")
	case '{':
		return p.errorAt(p.pos, "close the first one with } before it", "a variable within a variable")
	case '<':
		return p.errorAt(p.pos, "write {name} for a variable", "unexpected %q", r)
	}
	escape := fmt.Sprintf("%%%02X", r)
	if _, reason := target.DecodeSegment(escape); reason != target.OK {
		return p.errorAt(p.pos, "remove it", "%q, raw or encoded, is in no path that is accepted", r)
	}
	return p.errorAt(p.pos, "write "+escape, "unexpected %q", r)
}
