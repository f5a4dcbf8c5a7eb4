package repl

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

// A directive is a line that begins with a colon.
type directive struct {
	names []string // the first is the one to show
	form  string   // of the argument; empty: there is none
	what  string
	run   func(*Session, input) error
}

// directives gives every directive, in the order of the help.
func directives() []directive {
	return []directive{
		{[]string{"help", "h"}, "[directive or function]", "show this, or tell about one of them", (*Session).help},
		{[]string{"quit", "exit", "q"}, "", "end the session", func(s *Session, _ input) error { s.quit = true; return nil }},

		{[]string{"let"}, "name = expression", "keep a value under a name, or set P, R or request by JSON", (*Session).let},
		{[]string{"vars"}, "", "show what is kept; _ is the last result", (*Session).vars},
		{[]string{"reset"}, "", "forget the request, what is kept and the chosen policy", (*Session).reset},
		{[]string{"type"}, "expression", "tell the type, without evaluating", (*Session).typeOf},
		{[]string{"steps"}, "expression", "show what each part came to", (*Session).steps},

		{[]string{"principal"}, "[JSON]", "show or set the principal, as in {id: ann, roles: [user]}", (*Session).principal},
		{[]string{"resource"}, "[JSON]", "show or set the resource, as in {kind: album, id: a1}", (*Session).resource},
		{[]string{"request"}, "[JSON or file]", "show or set the request: principal, resource, actions, auxData", (*Session).setRequest},
		{[]string{"set"}, "P.attr.x = expression", "set a part of the request", (*Session).assign},
		{[]string{"unset"}, "P.attr.x", "remove a part of the request", (*Session).unset},
		{[]string{"now"}, "[timestamp or clock]", "show or set the instant that now() gives", (*Session).now},

		{[]string{"load"}, "file", "load a request or a policy; a policy takes the place of that of its key", (*Session).loadFile},
		{[]string{"reload"}, "", "read the policies again", (*Session).reloadNow},
		{[]string{"policies"}, "", "list the policies", (*Session).listPolicies},
		{[]string{"policy"}, "[key or -]", "choose whose V and C expressions see; - lets the request choose", (*Session).policy},
		{[]string{"globals"}, "", "show the globals", (*Session).globals},
		{[]string{"rules"}, "[text]", "list the rules and derived roles, those whose line has the text", (*Session).listRules},
		{[]string{"exec"}, "#number", "evaluate the condition of a rule of :rules", (*Session).exec},
		{[]string{"check"}, "[action...]", "decide, and name the rule", (*Session).check},
		{[]string{"explain"}, "action", "decide, and tell how", (*Session).explain},
	}
}

func directiveNames() (out []string) {
	for _, d := range directives() {
		out = append(out, d.names...)
	}
	return out
}

func (s *Session) help(in input) error {
	if topic := strings.TrimPrefix(in.arg, ":"); topic != "" {
		return s.helpOn(in, topic)
	}
	fmt.Fprint(s.Out, "A line is a CEL expression, or a directive:\n")
	for _, d := range directives() {
		fmt.Fprintf(s.Out, "  %-32s %s\n", strings.TrimSpace(":"+strings.Join(d.names, ", :")+" "+d.form), d.what)
	}
	fmt.Fprint(s.Out, "An open bracket, or an operator or a backslash at the end, goes on in the next line; # begins a comment.\n")
	return nil
}

func (s *Session) helpOn(in input, topic string) error {
	known := directiveNames()
	for _, d := range directives() {
		if slices.Contains(d.names, topic) {
			fmt.Fprintf(s.Out, "%s\n  %s\n", strings.TrimSpace(":"+strings.Join(d.names, ", :")+" "+d.form), d.what)
			return nil
		}
	}
	found := false
	for _, f := range functions() {
		if f.name == topic {
			fmt.Fprintf(s.Out, "%s\n", f.signature())
			found = true
		}
		known = append(known, f.name)
	}
	if !found {
		return s.at(in, fmt.Sprintf("there is no directive or function %q", topic), cmp.Or(diag.DidYouMean(topic, known), ":help lists the directives"))
	}
	return nil
}

// assignment takes the left side of name = expression off the argument.
func (s *Session) assignment(in input, form string) (string, input, error) {
	left, right, ok := strings.Cut(in.arg, "=")
	if !ok || strings.HasPrefix(right, "=") {
		return "", in, s.at(in, "here an assignment was expected", "write it as in "+form)
	}
	return strings.TrimSpace(left), in.from(len(left) + 1), nil
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (s *Session) let(in input) error {
	name, right, err := s.assignment(in, ":let x = 1 + 2")
	if err != nil {
		return err
	}
	switch name {
	case "P", "request.principal":
		return s.principal(right)
	case "R", "request.resource":
		return s.resource(right)
	case "request":
		return s.part(right, "", func(r, read *engine.Request) { *r = *read })
	}
	both := []string{name}
	for _, alias := range [][]string{{"V", "variables"}, {"C", "constants"}, {"G", "globals"}} {
		if slices.Contains(alias, name) {
			both = alias // which hides what the policy has
		}
	}
	switch {
	case name == "_":
		return s.at(in, "_ is the last result, and can't be set", "")
	case !identifier.MatchString(name) || slices.Contains([]string{"true", "false", "null", "in", "cel"}, name):
		return s.at(in, fmt.Sprintf("%q can't be a name", name), "use letters, digits and _, not beginning with a digit; :set sets parts of the request")
	case len(both) == 1 && slices.Contains(s.env.Names(), name):
		return s.at(in, fmt.Sprintf("%s belongs to the policies, and can't be set", name), "choose another name")
	}
	e, err := s.eval(right)
	if err != nil {
		return err
	}
	if len(both) > 1 && e.Result.Kind() != value.Map {
		return s.at(right, fmt.Sprintf("%s holds names, but this is a value of type %s", name, typeOf(e.Result)), `write it as in {"level": 3}`)
	}
	for _, name := range both {
		s.keep(name, e)
	}
	s.print(name+" = ", e.Result, e.Type)
	return nil
}

func (s *Session) vars(input) error {
	locals := slices.Clone(s.locals)
	slices.SortFunc(locals, func(a, b engine.Local) int { return cmp.Compare(a.Name, b.Name) })
	for _, l := range locals {
		s.print(l.Name+" = ", l.Value, l.Type)
	}
	return nil
}

func (s *Session) reset(input) error {
	s.request, s.locals, s.chosen = new(engine.Request), nil, ""
	return nil
}

func (s *Session) typeOf(in input) error {
	if in.arg == "" {
		return s.at(in, "here an expression was expected", "")
	}
	e, issues := s.compute(s.policyKey(), in.arg)
	if len(issues) > 0 {
		return s.issues(in, issues)
	}
	if i := slices.IndexFunc(s.locals, func(l engine.Local) bool { return l.Name == in.arg }); i >= 0 {
		e.Type = s.locals[i].Type // CEL is not told of all types
	}
	fmt.Fprintln(s.Out, e.Type)
	return nil
}

func (s *Session) steps(in input) error {
	e, err := s.eval(in)
	if e != nil {
		s.printSteps("", e.Steps)
	}
	if err == nil {
		s.keep("_", e)
		if len(e.Steps) == 0 || e.Steps[0].Text != in.arg {
			s.print("", e.Result, e.Type)
		}
	}
	return err
}

func (s *Session) principal(in input) error {
	if in.arg == "" {
		p, _ := written(s.request).Mapping().Lookup("principal")
		return s.printData(p)
	}
	return s.part(in, "principal", func(r, read *engine.Request) { r.Principal = read.Principal })
}

func (s *Session) resource(in input) error {
	if in.arg == "" {
		p, _ := written(s.request).Mapping().Lookup("resource")
		return s.printData(p)
	}
	return s.part(in, "resource", func(r, read *engine.Request) { r.Resource = read.Resource })
}

// part sets the request, or the part of it with a name, to the data that is the
// argument.
func (s *Session) part(in input, name string, copy func(r, read *engine.Request)) error {
	read, err := s.readData(in, name)
	if err != nil {
		return err
	}
	r := *s.request
	copy(&r, read)
	s.request = &r
	return nil
}

func (s *Session) setRequest(in input) error {
	switch {
	case in.arg == "":
		return s.printData(written(s.request))
	case !strings.HasPrefix(in.arg, "{"):
		return s.load(in, in.arg)
	}
	return s.part(in, "", func(r, read *engine.Request) { *r = *read })
}

func (s *Session) printData(v value.Value) error {
	if v.Kind() == value.Absent {
		v = value.OfMapping(value.Values{})
	}
	fmt.Fprintln(s.Out, format(v))
	return nil
}

// readData reads the request, or the one part of it with a name, that is the
// argument. What stands before it is blanked, so that places are right.
func (s *Session) readData(in input, part string) (*engine.Request, error) {
	if !strings.HasPrefix(in.arg, "{") {
		return nil, s.at(in, "here an object was expected", "write it in braces, as JSON: {\"id\": \"ann\", \"roles\": [\"user\"]}")
	}
	r, list := readData(in.arg, part)
	for i := range list {
		d := &list[i]
		line, column := in.place(d.Pos.Line, d.Pos.Column)
		d.Pos, d.Source = diag.Position{File: s.File, Line: s.line + line - 1, Column: column}, in.line(line)
	}
	if len(list) > 0 {
		return nil, list
	}
	return r, nil
}

func (s *Session) assign(in input) error {
	name, right, err := s.assignment(in, `:set P.attr.level = 3.0`)
	if err != nil {
		return err
	}
	p, column, err := parsePath(name)
	if err != nil {
		return s.placed(in, 1, column, err.Error(), "write it as in P.attr.level")
	}
	e, err := s.eval(right)
	if err != nil {
		return err
	}
	data, err := s.data(right, e)
	if err != nil {
		return err
	}
	return s.replace(in, p, data)
}

// data gives a result as JSON, which is all that requests hold.
func (s *Session) data(in input, e *engine.Evaluation) (value.Value, error) {
	if !isPlain(e.Value) {
		return value.Value{}, s.at(in, fmt.Sprintf("%s has no form in JSON, which requests are made of", compact(e.Result)), "")
	}
	return e.Value, nil
}

// isPlain tells whether a value is JSON through and through.
func isPlain(v value.Value) bool {
	ok := true
	switch v.Kind() {
	case value.Null, value.Bool, value.String:
	case value.Double:
		return !math.IsNaN(v.Double()) && !math.IsInf(v.Double(), 0)
	case value.List:
		for i := range v.Sequence().Len() {
			ok = ok && isPlain(v.Sequence().At(i))
		}
	case value.Map:
		v.Mapping().Range(func(_ string, m value.Value) bool {
			ok = isPlain(m)
			return ok
		})
	default:
		return false
	}
	return ok
}

func (s *Session) replace(in input, p path, v value.Value) error {
	r, err := with(s.request, p, v)
	if err != nil {
		var hint string
		if h, ok := err.(hinted); ok {
			hint = h.hint
		}
		return s.at(in, err.Error(), hint)
	}
	s.request = r
	return nil
}

func (s *Session) unset(in input) error {
	p, column, err := parsePath(in.arg)
	if err != nil {
		return s.placed(in, 1, column, err.Error(), "write it as in P.attr.level")
	}
	return s.replace(in, p, value.Value{})
}

func (s *Session) now(in input) error {
	switch in.arg {
	case "":
		if s.request.Now.IsZero() {
			fmt.Fprintln(s.Out, "the clock")
			return nil
		}
		fmt.Fprintln(s.Out, s.request.Now.Format(time.RFC3339Nano))
		return nil
	case "clock":
		return s.setNow(time.Time{})
	}
	text := strings.Trim(in.arg, `"'`)
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return s.setNow(t)
		}
	}
	return s.at(in, fmt.Sprintf("%q is not a timestamp", text), "write it as in 2026-01-31T08:00:00Z, or clock for what the clock says")
}

func (s *Session) setNow(t time.Time) error {
	r := *s.request
	r.Now = t
	s.request = &r
	return nil
}

func (s *Session) loadFile(in input) error {
	if in.arg == "" {
		return s.at(in, "here the name of a file was expected", "")
	}
	return s.load(in, in.arg)
}

// load loads a file: a policy if it says so, otherwise a request.
func (s *Session) load(in input, file string) error {
	if home, err := os.UserHomeDir(); err == nil && strings.HasPrefix(file, "~/") {
		file = filepath.Join(home, file[2:])
	}
	content, err := os.ReadFile(file)
	if err != nil {
		if in.text == "" {
			return fmt.Errorf("%s cannot be read: %w", file, cause(err))
		}
		return s.at(in, fmt.Sprintf("%s cannot be read: %v", file, cause(err)), "")
	}
	if !isPolicy(file, content) {
		r, list := readRequest(file, content)
		if len(list) > 0 {
			return list
		}
		s.request = r
		return nil
	}
	p, list := policyfile.Parse(file, content)
	if len(list) > 0 {
		return list
	}
	before := slices.Clone(s.loaded)
	if !slices.Contains(s.loaded, file) {
		s.loaded = append(s.loaded, file)
	}
	if _, list := s.reload(true); len(list) > 0 {
		s.loaded = before
		_, _ = s.reload(true)
		return list
	}
	fmt.Fprintf(s.Out, "loaded %s\n", p.Key())
	s.chosen = p.Key()
	return nil
}

// isPolicy tells whether a file means to be a policy.
func isPolicy(file string, content []byte) bool {
	root, ok := yamldoc.Parse(file, content).Root()
	if !ok || !root.IsMapping() {
		return false
	}
	entries, _ := root.Entries()
	return slices.ContainsFunc(entries, func(e yamldoc.Entry) bool { return e.Key.Value == "apiVersion" || e.Key.Value == "api_version" })
}

func (s *Session) reloadNow(input) error {
	if _, list := s.reload(true); len(list) > 0 {
		return list.Sorted()
	}
	fmt.Fprintln(s.Out, counted(len(s.policies), "policy", "policies"))
	return nil
}

func (s *Session) listPolicies(input) error {
	key := s.policyKey()
	for _, p := range s.sorted() {
		mark := "  "
		if p.Key() == key {
			mark = "* "
		}
		fmt.Fprintf(s.Out, "%s%s  %s\n", mark, p.Key(), s.faint(p.Pos.File))
	}
	return nil
}

// sorted gives the policies by their keys.
func (s *Session) sorted() []*policy.Policy {
	return slices.SortedFunc(slices.Values(s.policies), func(a, b *policy.Policy) int { return cmp.Compare(a.Key(), b.Key()) })
}

func (s *Session) faint(text string) string {
	if !s.Color {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}

func (s *Session) policy(in input) error {
	keys := s.keys()
	switch {
	case in.arg == "":
	case in.arg == "-":
		s.chosen = ""
	case slices.Contains(keys, in.arg):
		s.chosen = in.arg
	default:
		var hint string
		if like := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.Contains(k, in.arg) }); len(like) == 1 {
			hint = fmt.Sprintf("did you mean %q?", like[0])
		}
		return s.at(in, fmt.Sprintf("there is no policy %q", in.arg), cmp.Or(hint, diag.DidYouMean(in.arg, keys), ":policies lists them"))
	}
	return s.showNames(in)
}

// showNames shows what V and C hold.
func (s *Session) showNames(input) error {
	key := s.policyKey()
	if key == "" {
		fmt.Fprintln(s.Out, "no policy")
		return nil
	}
	fmt.Fprintln(s.Out, key)
	names := s.names(key)
	for _, n := range names.Constants {
		s.show("C." + n)
	}
	for _, n := range names.Variables {
		s.show("V." + n)
	}
	return nil
}

// show writes the value of a name, or why there is none.
func (s *Session) show(name string) {
	e, issues := s.compute(s.policyKey(), name)
	if len(issues) > 0 {
		fmt.Fprintf(s.Out, "  %s: %s\n", name, issues[0].Message)
		return
	}
	s.print("  "+name+" = ", e.Result, e.Type)
}

func (s *Session) globals(input) error {
	if s.Engine.Globals == nil || s.Engine.Globals.Len() == 0 {
		fmt.Fprintln(s.Out, "no globals")
		return nil
	}
	s.Engine.Globals.Range(func(name string, v value.Value) bool {
		s.print("G."+name+" = ", v, "")
		return true
	})
	return nil
}

// An execution is a rule or a derived role that :exec can try.
type execution struct {
	policy    string // its key
	pos       diag.Position
	what      string
	condition *policy.Condition
	line      string // of the listing
}

// executions lists the rules and derived roles of all policies.
func (s *Session) executions() []execution {
	if s.rules != nil {
		return s.rules
	}
	for _, p := range s.sorted() {
		add := func(pos diag.Position, c *policy.Condition, name, what string) {
			e := execution{policy: p.Key(), pos: pos, what: name, condition: c}
			e.line = strings.Join(strings.Fields(fmt.Sprintf("#%d %s %s %s %s", len(s.rules), p.Key(), name, what, pos)), " ")
			s.rules = append(s.rules, e)
		}
		switch {
		case p.Resource != nil:
			for i, r := range p.Resource.Rules {
				add(r.Pos, r.Condition, nameOr(r.Name, "", i), fmt.Sprintf("%s %s for %s", effect(r.Effect), joinTexts(r.Actions), joinTexts(slices.Concat(r.Roles, r.DerivedRoles))))
			}
		case p.Principal != nil:
			for _, r := range p.Principal.Rules {
				for i, a := range r.Actions {
					add(a.Pos, a.Condition, nameOr(a.Name, r.Resource.Value+"_", i), fmt.Sprintf("%s %s on %s", effect(a.Effect), a.Action.Value, r.Resource.Value))
				}
			}
		case p.Role != nil:
			for i, r := range p.Role.Rules {
				add(r.Pos, r.Condition, nameOr(r.Name, "", i), fmt.Sprintf("allows %s on %s", joinTexts(r.AllowActions), r.Resource.Value))
			}
		case p.DerivedRoles != nil:
			for _, d := range p.DerivedRoles.Definitions {
				add(d.Pos, d.Condition, d.Name.Value, "for "+joinTexts(d.ParentRoles))
			}
		}
	}
	return s.rules
}

// nameOr gives the name of a rule, or that which decisions call it by.
func nameOr(name diag.Text, of string, i int) string {
	if name.Value != "" {
		return name.Value
	}
	return fmt.Sprintf("%srule-%03d", of, i+1)
}

func effect(e policy.Effect) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), "EFFECT_"))
}

func joinTexts(texts []diag.Text) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = t.Value
	}
	return strings.Join(out, ",")
}

func (s *Session) listRules(in input) error {
	for _, e := range s.executions() {
		if strings.Contains(e.line, in.arg) {
			fmt.Fprintln(s.Out, e.line)
		}
	}
	return nil
}

func (s *Session) exec(in input) error {
	number := strings.TrimPrefix(strings.TrimPrefix(in.arg, "#"), "rule_")
	n, err := strconv.Atoi(number)
	rules := s.executions()
	switch {
	case err != nil:
		return s.at(in, fmt.Sprintf("%q is not the number of a rule", in.arg), "write it as in :exec #1; :rules lists them")
	case n < 0 || n >= len(rules):
		return s.at(in, fmt.Sprintf("there is no rule #%d", n), fmt.Sprintf("there are %s, from #0 on; :rules lists them", counted(len(rules), "rule", "rules")))
	}
	e := rules[n]
	fmt.Fprintln(s.Out, e.line)
	if e.condition == nil {
		fmt.Fprintln(s.Out, "  no condition")
		return nil
	}
	outcome := s.condition(e, e.condition, "  ")
	fmt.Fprintf(s.Out, "  the condition %s\n", map[truth]string{isTrue: "holds", isFalse: "does not hold", isFailed: "could not be evaluated"}[outcome])
	return nil
}

// A truth is what a condition came to.
type truth int

const (
	isFalse truth = iota
	isTrue
	isFailed
)

// condition evaluates every part of a condition, and writes what it came to.
func (s *Session) condition(e execution, c *policy.Condition, margin string) truth {
	if c.Op == policy.Expr {
		return s.leaf(e, c, margin)
	}
	fmt.Fprintf(s.Out, "%s%s:\n", margin, c.Op)
	// The engine stops at the first member that settles it. Here all are shown,
	// and those after it change nothing.
	settledBy, settled := isTrue, truthOf(c.Op == policy.Any)
	outcome, done := truthOf(c.Op != policy.Any), false
	if c.Op == policy.All {
		settledBy = isFalse
	}
	for _, member := range c.Of {
		m := s.condition(e, member, margin+"  ")
		if m == isFailed && s.Engine.LenientEvaluation {
			m = isFalse
		}
		switch {
		case done:
		case m == isFailed:
			outcome, done = isFailed, true
		case m == settledBy:
			outcome, done = settled, true
		}
	}
	return outcome
}

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

func (s *Session) leaf(e execution, c *policy.Condition, margin string) truth {
	text := strings.Join(strings.Fields(c.Expr.Value), " ")
	result, issues := s.compute(e.policy, c.Expr.Value)
	if len(issues) > 0 {
		fmt.Fprintf(s.Out, "%s%s: error: %s\n", margin, text, issues[0].Message)
		return isFailed
	}
	s.print(margin+text+" = ", result.Result, result.Type)
	if len(result.Steps) > 1 {
		s.printSteps(margin+"  ", result.Steps[1:])
	}
	if result.Err != nil {
		return isFailed
	}
	return truthOf(result.Value.Bool())
}
