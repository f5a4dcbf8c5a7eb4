package repl

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
	"edict/engine/value"
)

// Options say what a session is about.
type Options struct {
	Policies string // folder or archive; empty: none
	Engine   engine.Options
	Out      io.Writer // for answers
	Err      io.Writer // for what is wrong
	Color    bool      // colours of ANSI terminals, and the types of values

	// File is what errors call the input, "" to leave it out: a person sees
	// the line just above.
	File string
}

// A Session is what one user has said and loaded so far. It is for one
// goroutine at a time.
type Session struct {
	Options
	style    diag.Style
	compiler *engine.Compiler
	env      *expr.Env // of policies, to look into expressions

	cache    policyfile.Cache
	folder   read
	loaded   []string // files of :load
	policies []*policy.Policy
	schemas  *schema.Set
	set      *engine.PolicySet
	imports  *engine.PolicySet // see view; nil: not made yet

	request *engine.Request
	chosen  string // key of :policy; empty: that of the request
	locals  []engine.Local
	rules   []execution // of :rules
	line    int         // of the input in the file, from 1
	quit    bool
}

// read is what a reading of the folder gave.
type read struct {
	policies []*policy.Policy
	digest   string // of the schemas
	list     diag.List
}

// New makes a session. The list says which policies are wrong, and where; the
// session is of use all the same, without policies. The error says that there
// can be no session.
func New(o Options) (*Session, diag.List, error) {
	s := &Session{Options: o, style: diag.Style{Severities: true, Color: o.Color}, request: new(engine.Request), line: 1}
	var err error
	if s.compiler, err = engine.NewCompiler(o.Engine); err != nil {
		return nil, nil, err
	}
	if s.env, err = engine.NewEnvironment(); err != nil {
		return nil, nil, err
	}
	set, list := s.compiler.Compile(nil, nil)
	if len(list) > 0 {
		return nil, nil, list
	}
	s.set = set
	_, list = s.reload(true)
	return s, list, nil
}

// Load reads a request from a file, or loads a policy from one.
func (s *Session) Load(file string) error { return s.load(input{}, file) }

// reload reads the policies again, and compiles them if something changed. What
// is wrong is in the list; then the session keeps what it has.
func (s *Session) reload(force bool) (changed bool, list diag.List) {
	var now read
	if s.Policies != "" {
		fsys, list := folder.Open(s.Policies)
		now.list = list
		if fsys != nil && len(list) == 0 {
			now = s.readFolder(fsys)
		}
	}
	extra, list := s.readLoaded()
	now.list = append(now.list, list...)
	now.policies = merged(now.policies, extra)
	if !force && reflect.DeepEqual(now.list, s.folder.list) && now.digest == s.folder.digest && slices.EqualFunc(now.policies, s.folder.policies, samePolicy) {
		return false, nil
	}
	s.folder = now
	if len(now.list) > 0 {
		return true, now.list
	}
	set, list := s.compiler.Compile(now.policies, s.schemas)
	if set == nil || len(list) > 0 {
		return true, list
	}
	s.set, s.policies, s.rules = set, now.policies, nil
	s.imports = nil
	if s.chosen != "" && !slices.Contains(s.keys(), s.chosen) {
		s.chosen = ""
	}
	return true, nil
}

func samePolicy(a, b *policy.Policy) bool {
	return a == b || slices.Equal(a.Source, b.Source) && a.Pos == b.Pos
}

func (s *Session) readFolder(fsys fs.FS) (now read) {
	in, list := s.cache.ReadFolder(fsys, filepath.ToSlash(filepath.Clean(s.Policies)))
	policies, more := s.cache.ParseAll(in.Policies)
	if s.schemas = schema.New(in.SchemaContents()); s.schemas != nil {
		now.digest = s.schemas.Digest()
	}
	now.policies, now.list = policies, append(list, more...)
	return now
}

// readLoaded reads the files of :load again.
func (s *Session) readLoaded() (policies []*policy.Policy, list diag.List) {
	for _, file := range s.loaded {
		content, err := os.ReadFile(file)
		if err != nil {
			list = append(list, diag.Diagnostic{Pos: diag.Position{File: file}, Message: fmt.Sprintf("cannot be read: %v", cause(err))})
			continue
		}
		p, more := policyfile.Parse(file, content)
		list = append(list, more...)
		if p != nil && !p.Disabled {
			policies = append(policies, p)
		}
	}
	return policies, list
}

// merged gives the policies with others added. One of the same key gives way.
func merged(policies, others []*policy.Policy) []*policy.Policy {
	for _, p := range others {
		policies = append(slices.DeleteFunc(slices.Clone(policies), func(q *policy.Policy) bool { return q.Key() == p.Key() }), p)
	}
	return policies
}

// cause is an error without the name of the file.
func cause(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

// Refresh reads the policies again if their files changed, and tells.
func (s *Session) Refresh() {
	changed, list := s.reload(false)
	switch {
	case !changed:
	case len(list) > 0:
		fmt.Fprint(s.Err, s.style.Render(list.Sorted()))
		fmt.Fprintln(s.Err, "the policies changed and do not compile; those from before stay")
	default:
		fmt.Fprintf(s.Err, "the policies changed: %s\n", counted(len(s.policies), "policy", "policies"))
	}
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Script runs the lines of r, and tells whether all went well. It goes on after
// a line that failed.
func (s *Session) Script(ctx context.Context, r io.Reader) (ok bool, err error) {
	ok = true
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	var text []string
	number := 0
	run := func() {
		if len(text) > 0 {
			s.line = number - len(text) + 1
			ok = s.Run(strings.Join(text, "\n")) && ok
			text = nil
		}
	}
	for !s.quit && ctx.Err() == nil && lines.Scan() {
		number++
		line := strings.TrimRight(lines.Text(), "\r")
		if strings.TrimSpace(line) == "" && len(text) > 0 {
			number-- // a blank line ends what is unfinished, and is no part of it
			run()
			number++
			continue
		}
		text = append(text, line)
		if !unfinished(strings.Join(text, "\n")) {
			run()
		}
	}
	if !s.quit {
		run()
	}
	return ok, cmp.Or(lines.Err(), ctx.Err())
}

// Run answers one input, and tells whether it was right. Whatever happens, the
// session goes on.
func (s *Session) Run(text string) (ok bool) {
	in := parse(text)
	defer func() {
		if p := recover(); p != nil {
			s.tell(in, fmt.Errorf("this made Edict panic, which is a mistake of Edict: %v", p))
			ok = false
		}
	}()
	err := s.run(in)
	if err != nil {
		s.tell(in, err)
	}
	return err == nil
}

func (s *Session) run(in input) error {
	if in.directive == "" {
		if in.arg == "" {
			return nil
		}
		return s.evaluate(in)
	}
	for _, d := range directives() {
		if slices.Contains(d.names, in.directive) {
			if d.form == "" && in.arg != "" {
				return s.at(in, fmt.Sprintf(":%s takes nothing", in.directive), "")
			}
			return d.run(s, in)
		}
	}
	in.offset = strings.IndexByte(in.text, ':') + 1
	return s.at(in, fmt.Sprintf("there is no directive %q", ":"+strings.TrimSpace(in.directive)), cmp.Or(diag.DidYouMean(in.directive, directiveNames()), ":help lists them"))
}

// at makes an error about the beginning of the argument.
func (s *Session) at(in input, message, hint string) error { return s.placed(in, 1, 1, message, hint) }

// placed makes an error about a place in the argument.
func (s *Session) placed(in input, line, column int, message, hint string) error {
	line, column = in.place(line, column)
	return diag.List{{Pos: diag.Position{File: s.File, Line: s.line + line - 1, Column: column}, Message: message, Hint: hint, Source: in.line(line)}}
}

// issues makes an error of what is wrong with the expression that is the
// argument.
func (s *Session) issues(in input, issues []expr.Issue) error {
	var list diag.List
	for _, i := range issues {
		var one diag.List
		errors.As(s.placed(in, i.Line, i.Column, i.Message, i.Hint), &one)
		list = append(list, one...)
	}
	return list
}

// tell writes an error.
func (s *Session) tell(in input, err error) {
	var list diag.List
	if errors.As(err, &list) {
		fmt.Fprint(s.Err, s.style.Render(list))
		return
	}
	d := diag.Diagnostic{Message: err.Error()}
	var h hinted
	if errors.As(err, &h) {
		d.Hint = h.hint
	}
	if s.File != "" {
		d.Pos = diag.Position{File: s.File, Line: s.line, Column: 1}
		d.Source = in.line(1)
	}
	fmt.Fprint(s.Err, s.style.Render(diag.List{d}))
}

// eval evaluates the expression that is the argument. The error has its place.
func (s *Session) eval(in input) (*engine.Evaluation, error) {
	if in.arg == "" {
		return nil, s.at(in, "here an expression was expected", "")
	}
	e, issues := s.compute(s.policyKey(), in.arg)
	if len(issues) > 0 {
		return nil, s.issues(in, issues)
	}
	if e.Err != nil {
		return e, s.failure(in, e)
	}
	return e, nil
}

// failure makes an error of an evaluation that failed, at the smallest part
// that did.
func (s *Session) failure(in input, e *engine.Evaluation) error {
	message := strings.TrimSpace(e.Err.Error())
	line, column, hint := 1, 1, ""
	smallest := -1
	for i, step := range e.Steps {
		if err := step.Value.Err(); err != nil && (smallest < 0 || len(step.Text) <= len(e.Steps[smallest].Text)) {
			smallest = i
		}
	}
	if smallest >= 0 {
		step := e.Steps[smallest]
		line, column = step.Line, step.Column
		if key, ok := strings.CutPrefix(message, "no such key: "); ok {
			if i := strings.LastIndex(step.Text, "."+key); i > 0 {
				hint = diag.DidYouMean(key, names(s.members(step.Text[:i])))
				if !strings.Contains(step.Text, "\n") {
					column += len([]rune(step.Text[:i+1]))
				}
			}
		}
	}
	switch {
	case hint != "":
	case strings.HasPrefix(message, "no such key"):
		hint = "has(…) tells whether it is there"
	case strings.Contains(message, "no such overload"):
		hint = "the numbers of attributes are doubles: write 1.0, or convert with int(…); :steps shows the parts"
	}
	return s.placed(in, line, column, message, hint)
}

// evaluate answers an expression.
func (s *Session) evaluate(in input) error {
	if kept := slices.ContainsFunc(s.locals, func(l engine.Local) bool { return l.Name == in.arg }); kept {
		// It hides what the policy calls so.
	} else if names := in.arg; names == "V" || names == "variables" || names == "C" || names == "constants" {
		return s.showNames(in)
	} else if names == "G" || names == "globals" {
		return s.globals(in)
	}
	e, err := s.eval(in)
	if err != nil {
		return err
	}
	s.keep("_", e)
	s.print("", e.Result, e.Type)
	return nil
}

// keep makes a result a variable.
func (s *Session) keep(name string, e *engine.Evaluation) {
	local := engine.Local{Name: name, Value: e.Result, Type: e.Type}
	for i := range s.locals {
		if s.locals[i].Name == name {
			s.locals[i] = local
			return
		}
	}
	s.locals = append(s.locals, local)
}

// print writes a value with, on a terminal, its type.
func (s *Session) print(before string, v value.Value, static string) {
	if v.Kind() == value.Error {
		fmt.Fprintf(s.Out, "%s: %s\n", strings.TrimSuffix(before, " = "), compact(v))
		return
	}
	text := before + formatAt(before, v)
	if s.Color {
		if static == "" || static == "dyn" {
			static = typeOf(v)
		}
		text += "  " + s.faint(static)
	}
	fmt.Fprintln(s.Out, text)
}
