package repl

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"edict/engine/policy"
	"edict/engine/schema"
	"edict/engine/value"
)

// A candidate is one way to complete what stands before the cursor.
type candidate struct {
	text   string // in place of the word
	detail string // a signature, a type or the like; may be empty
}

// complete gives the ways to complete the word before the cursor, which is at
// an offset in bytes, and where that word begins.
func (s *Session) complete(line string, cursor int) (start int, candidates []candidate) {
	before := line[:cursor]
	trimmed := strings.TrimLeft(before, " \t")
	if name, isDirective := strings.CutPrefix(trimmed, ":"); isDirective {
		end := strings.IndexAny(name, " \t")
		if end < 0 {
			return cursor - len(name), among(directiveCandidates(), name)
		}
		if name := name[:end]; !takesExpression(name) || name == "set" && !strings.Contains(before, "=") {
			word := lastWord(before)
			return cursor - len(word), among(s.arguments(name, word), word)
		}
	}
	return s.completeExpression(before)
}

func lastWord(text string) string { return text[strings.LastIndexAny(text, " \t")+1:] }

// among keeps the candidates that begin with the prefix, sorted, each once.
func among(candidates []candidate, prefix string) []candidate {
	var out []candidate
	for _, c := range candidates {
		if strings.HasPrefix(c.text, prefix) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.detail, b.detail)) })
	return slices.Compact(out)
}

func directiveCandidates() (out []candidate) {
	for _, d := range directives() {
		for _, name := range d.names {
			if len(name) > 1 {
				out = append(out, candidate{name, cmp.Or(d.form, d.what)})
			}
		}
	}
	return out
}

func candidates(texts []string) (out []candidate) {
	for _, t := range texts {
		out = append(out, candidate{text: t})
	}
	return out
}

// arguments completes what a directive takes that is no expression.
func (s *Session) arguments(directive, word string) []candidate {
	switch directive {
	case "policy":
		return candidates(s.keys())
	case "load":
		return files(word)
	case "request":
		if !strings.HasPrefix(word, "{") {
			return files(word)
		}
	case "check", "explain":
		return candidates(s.knownActions())
	case "now":
		return candidates([]string{"clock"})
	case "exec":
		var out []candidate
		for _, e := range s.executions() {
			number, rest, _ := strings.Cut(e.line, " ")
			out = append(out, candidate{number, rest})
		}
		return out
	case "help", "h":
		out := directiveCandidates()
		for _, f := range functions() {
			out = append(out, candidate{f.name, f.signature()})
		}
		return out
	case "set", "unset":
		base, _ := splitPath(word)
		if base == "" {
			return candidates([]string{"P", "R", "request"})
		}
		var out []candidate
		for _, c := range s.members(base) {
			out = append(out, candidate{base + "." + c.text, c.detail})
		}
		return out
	}
	return nil
}

// knownActions gives the actions that policies of the request's kind name.
func (s *Session) knownActions() (out []string) {
	for _, p := range s.policies {
		if p.Resource == nil || s.request.Resource.Kind != "" && policy.Sanitize(p.Resource.Resource.Value) != policy.Sanitize(s.request.Resource.Kind) {
			continue
		}
		for _, r := range p.Resource.Rules {
			for _, a := range r.Actions {
				if !strings.ContainsAny(a.Value, "*?{[") && !slices.Contains(out, a.Value) {
					out = append(out, a.Value)
				}
			}
		}
	}
	return out
}

// files gives the files and folders that a path can become.
func files(word string) (out []candidate) {
	dir, _ := filepath.Split(word)
	at := cmp.Or(dir, ".")
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(at, "~/") {
		at = filepath.Join(home, at[2:])
	}
	entries, err := os.ReadDir(at)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name := e.Name()
		if info, err := os.Stat(filepath.Join(at, name)); err == nil && info.IsDir() {
			name += "/"
		}
		if !strings.HasPrefix(name, ".") {
			out = append(out, candidate{text: dir + name})
		}
	}
	return out
}

// completeExpression completes the last name of an expression.
func (s *Session) completeExpression(before string) (int, []candidate) {
	if inText(before) {
		return len(before), nil
	}
	start := len(before)
	for start > 0 && isNameByte(before[start-1]) {
		start--
	}
	word := before[start:]
	if start == 0 || before[start-1] != '.' {
		return start, among(s.topNames(), word)
	}
	receiver := operandBefore(before[:start-1])
	found := s.members(receiver)
	if len(found) == 0 {
		found = s.memberFunctions(receiver)
	} else if typ, _ := s.staticType(receiver); typ == "" || strings.HasPrefix(typ, "map(") {
		found = append(found, s.memberFunctions(receiver)...)
	}
	for _, f := range functions() { // math.abs
		if namespace, name, ok := strings.Cut(f.name, "."); ok && namespace == receiver {
			found = append(found, candidate{name + "(", f.signature()})
		}
	}
	return start, among(found, word)
}

// inText tells whether the end of an expression stands within quotes.
func inText(code string) bool {
	for i := 0; i < len(code); i++ {
		if c := code[i]; c == '"' || c == '\'' || c == '`' {
			end, open := quoted(code[i:], isRaw(code[:i]))
			if open || i+end >= len(code) && (end < 2 || code[len(code)-1] != c) {
				return true
			}
			i += end - 1
		}
	}
	return false
}

// topNames gives what an operand can begin with.
func (s *Session) topNames() []candidate {
	var out []candidate
	for _, name := range s.env.Names() {
		out = append(out, candidate{name, map[string]string{"P": "principal", "R": "resource", "V": "variables", "C": "constants", "G": "globals"}[name]})
	}
	for _, l := range s.locals {
		out = append(out, candidate{l.Name, "= " + short(compact(l.Value))})
	}
	for _, f := range functions() {
		if f.receiver == "" {
			out = append(out, candidate{f.name + "(", f.signature()})
		}
	}
	return append(out, candidates([]string{"true", "false", "null"})...)
}

func short(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return text
}

// memberFunctions gives the members that are functions of an operand.
func (s *Session) memberFunctions(operand string) (out []candidate) {
	typ, ok := s.staticType(operand)
	if !ok {
		return nil
	}
	for _, f := range functions() {
		if f.fits(typ) {
			out = append(out, candidate{f.name + "(", f.signature()})
		}
	}
	return out
}

// staticType gives the type of an operand. Of an attribute it is that of the
// value which the request has, if there is one.
func (s *Session) staticType(operand string) (string, bool) {
	if operand == "" {
		return "", false
	}
	e, issues := s.compute(s.policyKey(), operand)
	if len(issues) > 0 {
		return "", false
	}
	if e.Type == "dyn" && e.Err == nil {
		return typeOf(e.Result), true
	}
	return e.Type, true
}

// operandBefore gives the operand that an expression ends with: names, calls
// and brackets joined by dots.
func operandBefore(code string) string {
	i := len(code)
	for i > 0 {
		switch c := code[i-1]; {
		case isNameByte(c) || c == '.':
			i--
			continue
		case c == ')' || c == ']' || c == '}':
			if open := openingOf(code[:i]); open >= 0 {
				i = open
				continue
			}
		case c == '"' || c == '\'':
			if open := strings.LastIndexByte(code[:i-1], c); open >= 0 {
				i = open
				continue
			}
		}
		break
	}
	return code[i:]
}

// openingOf gives the place of the bracket that the last byte closes, or -1.
func openingOf(code string) int {
	var open []int
	for i := 0; i < len(code); i++ {
		switch c := code[i]; c {
		case '"', '\'', '`':
			end, _ := quoted(code[i:], isRaw(code[:i]))
			i += end - 1
		case '(', '[', '{':
			open = append(open, i)
		case ')', ']', '}':
			if len(open) == 0 {
				return -1
			}
			if i == len(code)-1 {
				return open[len(open)-1]
			}
			open = open[:len(open)-1]
		}
	}
	return -1
}

// splitPath parts a path from the name that is being written.
func splitPath(word string) (base, name string) {
	i := strings.LastIndexByte(word, '.')
	if i < 0 {
		return "", word
	}
	return word[:i], word[i+1:]
}

// members gives the fields that a path of names can be followed by.
func (s *Session) members(of string) []candidate {
	names := strings.Split(of, ".")
	switch names[0] {
	case "P":
		names = append([]string{"request", "principal"}, names[1:]...)
	case "R":
		names = append([]string{"request", "resource"}, names[1:]...)
	}
	switch names[0] {
	case "V", "variables":
		if len(names) == 1 {
			return candidates(s.names(s.policyKey()).Variables)
		}
	case "C", "constants":
		if len(names) == 1 {
			return candidates(s.names(s.policyKey()).Constants)
		}
	case "G", "globals":
		if len(names) == 1 && s.Engine.Globals != nil {
			return keysOf(value.OfMapping(s.Engine.Globals))
		}
	case "runtime":
		if len(names) == 1 {
			return candidates([]string{"effectiveDerivedRoles"})
		}
	case "request":
		if found, ok := s.requestMembers(names[1:]); ok {
			return found
		}
	}
	if slices.ContainsFunc(names, func(n string) bool { return !identifier.MatchString(n) }) {
		return nil
	}
	// The rest is what a value has.
	e, issues := s.compute(s.policyKey(), of)
	if len(issues) > 0 || e.Err != nil {
		return nil
	}
	return keysOf(e.Result)
}

func keysOf(v value.Value) (out []candidate) {
	if m := v.Mapping(); m != nil {
		m.Range(func(key string, e value.Value) bool {
			if identifier.MatchString(key) {
				out = append(out, candidate{key, "= " + short(compact(e))})
			}
			return true
		})
	}
	return out
}

// requestMembers gives the fields of parts of the request: those that it has by
// its type, those that it happens to have, and those that schemas know.
func (s *Session) requestMembers(names []string) ([]candidate, bool) {
	if len(names) == 0 {
		return candidates([]string{"principal", "resource", "auxData"}), true
	}
	r := s.request
	var attr value.Mapping
	switch names[0] {
	case "principal":
		attr = r.Principal.Attr
	case "resource":
		attr = r.Resource.Attr
	case "auxData", "aux_data":
		if len(names) == 1 {
			return candidates([]string{"jwt", "jwts"}), true
		}
		return nil, false
	default:
		return nil, false
	}
	if len(names) == 1 {
		fields := []string{"id", "roles", "attr", "policyVersion", "scope"}
		if names[0] == "resource" {
			fields[1] = "kind"
		}
		return candidates(fields), true
	}
	if names[1] != "attr" {
		return nil, false
	}
	at := mapping(attr)
	for _, name := range names[2:] {
		if m := at.Mapping(); m != nil {
			at, _ = m.Lookup(name)
		} else {
			at = value.Value{}
		}
	}
	out := keysOf(at)
	for _, known := range s.schemaNames(names[0], names[2:]) {
		if !slices.ContainsFunc(out, func(c candidate) bool { return c.text == known.text }) {
			out = append(out, known)
		}
	}
	return out, true
}

// schemaNames gives the attributes below a path that schemas of the policies
// speak of: those of the policy at hand, or else of all.
func (s *Session) schemaNames(of string, path []string) (out []candidate) {
	key := s.policyKey()
	for _, p := range s.policies {
		if p.Resource == nil || p.Resource.Schemas == nil || s.schemas == nil || key != "" && p.Key() != key {
			continue
		}
		ref := p.Resource.Schemas.Resource
		if of == "principal" {
			ref = p.Resource.Schemas.Principal
		}
		if ref == nil {
			continue
		}
		compiled, err := s.schemas.Compile(ref.Ref.Value)
		if err != nil {
			continue
		}
		shape, ok := compiled.Lookup(path...)
		if !ok {
			continue
		}
		for _, name := range shape.Properties {
			if property, ok := shape.Property(name); ok && identifier.MatchString(name) {
				out = append(out, candidate{name, shapeText(property)})
			}
		}
	}
	return out
}

func shapeText(s schema.Shape) string {
	if len(s.Enum) == 0 {
		return s.Types.String()
	}
	texts := make([]string, len(s.Enum))
	for i, v := range s.Enum {
		texts[i] = compact(v)
	}
	return short(strings.Join(texts, " or "))
}

func names(candidates []candidate) []string {
	out := make([]string, len(candidates))
	for i, c := range candidates {
		out[i] = c.text
	}
	return out
}

// commonPrefix gives what all candidates begin with.
func commonPrefix(candidates []candidate) string {
	prefix := candidates[0].text
	for _, c := range candidates[1:] {
		n := 0
		for n < len(prefix) && n < len(c.text) && prefix[n] == c.text[n] {
			n++
		}
		prefix = prefix[:n]
	}
	return strings.ToValidUTF8(prefix, "")
}
