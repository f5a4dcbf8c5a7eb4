package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/schema"
)

// Check gives what is doubtful about the policies of a folder, in the order of
// the files. The policies are all of the folder and compile; schemas may be
// nil, env is the environment of their conditions. What a comment in a file
// silences is left out.
func Check(policies []*policy.Policy, schemas *schema.Set, env *expr.Env) diag.List {
	l := &linter{
		syntax:   newSyntax(env),
		schemas:  schemas,
		contexts: map[*policy.Policy]*context{},
		told:     map[place]bool{},
	}
	l.gather(policies)
	for _, p := range l.policies {
		l.checkRules(p)
		l.checkPatterns(p)
		l.checkConditions(p)
	}
	l.checkScopes()
	l.checkNames()
	l.checkRoles()
	return l.unsilenced().Sorted()
}

// A linter is one run of Check.
type linter struct {
	syntax   *syntax
	schemas  *schema.Set
	policies []*policy.Policy // but for those that are disabled
	contexts map[*policy.Policy]*context

	roleSets     map[string]*policy.Policy
	variableSets map[string]*policy.Policy
	constantSets map[string]*policy.Policy
	importers    map[*policy.Policy][]*policy.Policy // of a set
	roots        map[string]*policy.ResourcePolicy   // without scope, by key

	findings []finding
	told     map[place]bool
}

// A finding is a warning that a comment may still silence.
type finding struct {
	diag.Diagnostic
	policy *policy.Policy
	lines  []int // where a comment may be besides the line of the position
}

type place struct {
	pos  diag.Position
	code diag.Code
}

// gather sorts the policies by what they are.
func (l *linter) gather(policies []*policy.Policy) {
	l.roleSets = map[string]*policy.Policy{}
	l.variableSets = map[string]*policy.Policy{}
	l.constantSets = map[string]*policy.Policy{}
	l.importers = map[*policy.Policy][]*policy.Policy{}
	l.roots = map[string]*policy.ResourcePolicy{}
	for _, p := range policies {
		switch {
		case p.Disabled:
			continue
		case p.Resource != nil && p.Resource.Scope.Value == "":
			l.roots[p.Resource.Key()] = p.Resource
		case p.DerivedRoles != nil:
			l.roleSets[p.DerivedRoles.Name.Value] = p
		case p.ExportVariables != nil:
			l.variableSets[p.ExportVariables.Name.Value] = p
		case p.ExportConstants != nil:
			l.constantSets[p.ExportConstants.Name.Value] = p
		}
		l.policies = append(l.policies, p)
	}
	for _, p := range policies {
		for _, i := range l.importsOf(p) {
			if i.set != nil {
				l.importers[i.set] = append(l.importers[i.set], p)
			}
		}
	}
}

// An imported is an import and what it leads to.
type imported struct {
	name diag.Text
	set  *policy.Policy // nil: there is none
}

// importsOf gives all imports of a policy.
func (l *linter) importsOf(p *policy.Policy) []imported {
	var out []imported
	add := func(names []diag.Text, sets map[string]*policy.Policy) {
		for _, n := range names {
			out = append(out, imported{n, sets[n.Value]})
		}
	}
	if p.Resource != nil {
		add(p.Resource.ImportDerivedRoles, l.roleSets)
	}
	variables, constants := p.Names()
	add(variables.Import, l.variableSets)
	add(constants.Import, l.constantSets)
	return out
}

// warn adds a warning about a place in p.
func (l *linter) warn(p *policy.Policy, pos diag.Position, code diag.Code, message, hint string, related ...diag.Related) {
	l.warnIn(p, nil, pos, code, message, hint, related...)
}

// warnIn is warn for a place within an expression. A comment may stand at the
// key of the expression, since there is no place for one in a block scalar.
func (l *linter) warnIn(p *policy.Policy, lines []int, pos diag.Position, code diag.Code, message, hint string, related ...diag.Related) {
	if l.told[place{pos, code}] {
		return
	}
	l.told[place{pos, code}] = true
	l.findings = append(l.findings, finding{
		policy: p,
		lines:  lines,
		Diagnostic: diag.Diagnostic{
			Pos: pos, Severity: diag.Warning, Code: code, Message: message, Hint: hint,
			Source: p.Line(pos.Line), Related: related,
		},
	})
}

// ignoreComment is the comment that silences warnings:
//
//	# edict:ignore code[, code...] reason
var ignoreComment = regexp.MustCompile(`(?:^|\s)# ?edict:ignore\s+([a-z-]+(?:\s*,\s*[a-z-]+)*)`)

// An ignore is one code of such a comment.
type ignore struct {
	line   int // of the comment
	column int
	code   diag.Code
	used   bool
}

// unsilenced gives the findings that no comment silences, and a warning for
// each comment that silences nothing.
func (l *linter) unsilenced() diag.List {
	var out diag.List
	comments := map[*policy.Policy][]ignore{}
	for _, p := range l.policies {
		comments[p] = ignoresIn(p.Source)
	}
	for _, f := range l.findings {
		silenced := false
		ignores := comments[f.policy]
		for i := range ignores {
			if ignores[i].code == f.Code && slices.ContainsFunc(append(f.lines, f.Pos.Line), func(line int) bool { return reaches(f.policy.Source, ignores[i].line, line) }) {
				ignores[i].used, silenced = true, true
			}
		}
		if !silenced {
			out = append(out, f.Diagnostic)
		}
	}
	for p, ignores := range comments {
		for _, i := range ignores {
			if i.used {
				continue
			}
			message, hint := fmt.Sprintf("there is no warning %s here to ignore", i.code), "remove it from the comment"
			if !slices.Contains(Codes(), i.code) {
				message = fmt.Sprintf("there is no warning called %s", i.code)
				if mend := diag.DidYouMean(string(i.code), codeNames()); mend != "" {
					hint = mend
				}
			}
			out = append(out, diag.Diagnostic{
				Pos:      diag.Position{File: p.Pos.File, Line: i.line, Column: i.column},
				Severity: diag.Warning, Code: UnusedIgnore, Message: message, Hint: hint, Source: p.Line(i.line),
			})
		}
	}
	return out
}

func codeNames() []string {
	var out []string
	for _, c := range Codes() {
		out = append(out, string(c))
	}
	return out
}

// Ignored tells whether a comment in a file, given by its lines, silences a code
// in a line, counted from 1.
func Ignored(source []string, line int, code diag.Code) bool {
	return slices.ContainsFunc(ignoresIn(source), func(i ignore) bool { return i.code == code && reaches(source, i.line, line) })
}

// ignoresIn finds the comments of a file.
func ignoresIn(source []string) []ignore {
	var out []ignore
	for i, line := range source {
		if !strings.Contains(line, "edict:ignore") {
			continue
		}
		m := ignoreComment.FindStringSubmatchIndex(line)
		if m == nil {
			continue
		}
		column := len([]rune(line[:strings.Index(line[m[0]:], "#")+m[0]])) + 1
		for _, code := range strings.Split(line[m[2]:m[3]], ",") {
			out = append(out, ignore{line: i + 1, column: column, code: diag.Code(strings.TrimSpace(code))})
		}
	}
	return out
}

// reaches tells whether a comment in one line is about another: it is in it,
// or above it with nothing but comments between.
func reaches(source []string, comment, line int) bool {
	for ; comment < line; comment++ {
		if comment > len(source) || !strings.HasPrefix(strings.TrimSpace(source[comment-1]), "#") {
			return false
		}
	}
	return comment == line
}
