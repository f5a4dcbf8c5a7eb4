package cerbosjson

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/policy"
)

// A Document is the answer of the command. Parts that are empty are left out.
type Document struct {
	LintErrors    *LintErrors `json:"lintErrors,omitempty"`
	CompileErrors *Errors     `json:"compileErrors,omitempty"`
	RouteErrors   *Errors     `json:"routeErrors,omitempty"` // not in Cerbos
	Warnings      *Errors     `json:"warnings,omitempty"`    // not in Cerbos
}

// LintErrors are the mistakes that Cerbos finds before it compiles.
type LintErrors struct {
	DuplicateDefs             []DuplicateDef  `json:"duplicate_defs,omitempty"`
	LoadFailures              []LoadFailure   `json:"load_failures,omitempty"`
	MissingImports            []MissingImport `json:"missing_imports,omitempty"`
	DisabledDefs              []DisabledDef   `json:"disabled_defs,omitempty"`
	MissingScopeDetails       []MissingScope  `json:"missing_scope_details,omitempty"`
	ScopePermissionsConflicts []ScopeConflict `json:"scope_permissions_conflicts,omitempty"`
}

// Errors is a list of mistakes.
type Errors struct {
	Errors []Error `json:"errors"`
}

// An Error is a mistake that Cerbos finds when it compiles.
type Error struct {
	File        string    `json:"file"`
	Error       string    `json:"error"`
	Description string    `json:"description"`
	Position    *Position `json:"position,omitempty"`
	Context     string    `json:"context,omitempty"`
	Extension
}

// A Position is a place in a file. Lines and columns count from 1.
type Position struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Path   string `json:"path,omitempty"`
}

// An Extension is what Cerbos does not tell.
type Extension struct {
	Code     diag.Code `json:"code,omitempty"`
	Severity string    `json:"severity,omitempty"`
	Message  string    `json:"message,omitempty"` // where no other field holds it
	Hint     string    `json:"hint,omitempty"`
	Docs     string    `json:"docs,omitempty"`
	Place    *Place    `json:"place,omitempty"`
	Related  []Related `json:"related,omitempty"`
}

// A Place is where exactly a mistake is.
type Place struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// A Related place helps to understand a mistake.
type Related struct {
	Place
	Message string `json:"message"`
}

// A DuplicateDef is a policy that another file defines already.
type DuplicateDef struct {
	File      string    `json:"file"`
	OtherFile string    `json:"other_file"`
	Policy    string    `json:"policy"`
	Position  *Position `json:"position,omitempty"`
	Extension
}

// A LoadFailure is a file that is no policy.
type LoadFailure struct {
	File    string       `json:"file"`
	Error   string       `json:"error"`
	Details ErrorDetails `json:"error_details"`
	Extension
}

// ErrorDetails tell more about a LoadFailure.
type ErrorDetails struct {
	Kind     errorKind `json:"kind,omitempty"`
	Position *Position `json:"position,omitempty"`
	Message  string    `json:"message"`
	Context  string    `json:"context,omitempty"`
}

// A MissingImport is an import of what does not exist.
type MissingImport struct {
	ImportingFile   string    `json:"importing_file"`
	Desc            string    `json:"desc"`
	ImportingPolicy string    `json:"importing_policy"`
	ImportKind      string    `json:"import_kind"`
	ImportName      string    `json:"import_name"`
	Position        *Position `json:"position,omitempty"`
	Context         string    `json:"context,omitempty"`
	Extension
}

// A DisabledDef is a policy that is disabled, which may explain the others.
type DisabledDef struct {
	File     string    `json:"file"`
	Policy   string    `json:"policy"`
	Position *Position `json:"position,omitempty"`
}

// A MissingScope is a policy that others need above them.
type MissingScope struct {
	MissingPolicy string   `json:"missing_policy"`
	Descendants   []string `json:"descendants"`
	Extension
}

// A ScopeConflict is a scope whose policies disagree about permissions.
type ScopeConflict struct {
	Scope string `json:"scope"`
	Extension
}

// Sources are the files that diagnostics are about.
type Sources struct {
	// Dir is the policy folder, as the positions of diagnostics begin with it.
	Dir string

	// Contents holds the content of each file that was read, by the name that
	// positions give it.
	Contents map[string][]byte

	// Policies are the policies that could be parsed, disabled ones among them.
	Policies []*policy.Policy

	// IsRoute tells whether a file is a route map.
	IsRoute func(file string) bool
}

// New makes the document for a list of diagnostics, which should be sorted.
func New(list diag.List, sources Sources, pages catalogue.Catalogue) *Document {
	w := &writer{Sources: sources, pages: pages,
		policies: map[string]*policy.Policy{}, enabled: map[string]bool{}, read: map[string]*file{}, scopes: map[string]*MissingScope{}}
	for _, p := range sources.Policies {
		w.policies[p.Pos.File] = p
		if !p.Disabled {
			w.enabled[p.Key()] = true
		}
	}
	for _, d := range list {
		w.add(d)
	}
	w.finish()
	return &w.document
}

type writer struct {
	Sources
	pages    catalogue.Catalogue
	policies map[string]*policy.Policy // by file
	enabled  map[string]bool           // by key
	read     map[string]*file          // by name
	scopes   map[string]*MissingScope  // by missing policy
	lint     LintErrors
	document Document
}

func (w *writer) add(d diag.Diagnostic) {
	if d.Severity == diag.Warning {
		w.document.Warnings = w.appendError(w.document.Warnings, d, class{error: w.title(d.Code)})
		return
	}
	if w.IsRoute != nil && w.IsRoute(d.Pos.File) {
		w.document.RouteErrors = w.appendError(w.document.RouteErrors, d, class{error: w.title(d.Code), spot: exactSpot})
		return
	}
	c := classOf(d.Code)
	p := w.policies[d.Pos.File]
	if p == nil && c.section != compileErrors {
		c.section = loadFailures // the other sections name the policy
	}
	switch c.section {
	case loadFailures:
		position, _ := w.position(d, c.spot)
		w.lint.LoadFailures = append(w.lint.LoadFailures, LoadFailure{
			File: w.relative(d.Pos.File), Error: d.Message,
			Details:   ErrorDetails{Kind: c.kind, Position: position, Message: d.Message, Context: w.context(d)},
			Extension: w.extension(d),
		})
	case missingImports:
		position, found := w.position(d, c.spot)
		kind, name := "derived roles", ""
		if found != nil {
			name = found.value.Value
			switch {
			case strings.Contains(found.path, ".variables."):
				kind = "variables"
			case strings.Contains(found.path, ".constants."):
				kind = "constants"
			}
		}
		w.lint.MissingImports = append(w.lint.MissingImports, MissingImport{
			ImportingFile: w.relative(d.Pos.File), ImportingPolicy: p.Key(), ImportKind: kind, ImportName: name,
			Desc:     fmt.Sprintf("cannot find %s '%s' imported by policy %s", kind, name, p.Key()),
			Position: position, Context: w.context(d), Extension: w.extension(d),
		})
	case missingScopes:
		w.addMissingScopes(p, d)
	case duplicateDefs:
		other := ""
		if len(d.Related) > 0 {
			other = w.relative(d.Related[0].Pos.File)
		}
		position := w.root(p)
		w.lint.DuplicateDefs = append(w.lint.DuplicateDefs, DuplicateDef{
			File: w.relative(d.Pos.File), OtherFile: other, Policy: p.Key(), Position: position, Extension: w.extensionWithMessage(d),
		})
	case scopeConflicts:
		w.lint.ScopePermissionsConflicts = append(w.lint.ScopePermissionsConflicts, ScopeConflict{Scope: scopeOf(p), Extension: w.extensionWithMessage(d)})
	default:
		w.document.CompileErrors = w.appendError(w.document.CompileErrors, d, c)
	}
}

func (w *writer) appendError(list *Errors, d diag.Diagnostic, c class) *Errors {
	if list == nil {
		list = &Errors{}
	}
	position, _ := w.position(d, c.spot)
	if position != nil && (strings.Contains(position.Path, ".constants.") || strings.HasPrefix(position.Path, "$.exportConstants")) {
		switch c.error {
		case "invalid variable name":
			c.error = "invalid constant name"
		case "variable redefined":
			c.error = "constant redefined"
		}
	}
	list.Errors = append(list.Errors, Error{
		File: w.relative(d.Pos.File), Error: c.error, Description: d.Message,
		Position: position, Context: w.context(d), Extension: w.extension(d),
	})
	return list
}

// addMissingScopes adds the policies that p lacks above it.
func (w *writer) addMissingScopes(p *policy.Policy, d diag.Diagnostic) {
	key := func(scope string) string { return p.Key() }
	switch {
	case p.Resource != nil:
		key = func(scope string) string {
			return policy.ResourceKey(p.Resource.Resource.Value, p.Resource.Version.Value, scope)
		}
	case p.Principal != nil:
		key = func(scope string) string {
			return policy.PrincipalKey(p.Principal.Principal.Value, p.Principal.Version.Value, scope)
		}
	}
	for scope := scopeOf(p); scope != ""; {
		scope = scope[:max(0, strings.LastIndexByte(scope, '.'))]
		missing := key(scope)
		if w.enabled[missing] {
			continue
		}
		s := w.scopes[missing]
		if s == nil {
			s = &MissingScope{MissingPolicy: missing, Extension: w.extensionWithMessage(d)}
			w.scopes[missing] = s
		}
		if !slices.Contains(s.Descendants, p.Key()) {
			s.Descendants = append(s.Descendants, p.Key())
		}
	}
}

func scopeOf(p *policy.Policy) string {
	switch {
	case p.Resource != nil:
		return p.Resource.Scope.Value
	case p.Principal != nil:
		return p.Principal.Scope.Value
	case p.Role != nil:
		return p.Role.Scope.Value
	}
	return ""
}

// finish completes the lint errors, if there are any.
func (w *writer) finish() {
	for _, s := range w.scopes {
		slices.Sort(s.Descendants)
		w.lint.MissingScopeDetails = append(w.lint.MissingScopeDetails, *s)
	}
	slices.SortFunc(w.lint.MissingScopeDetails, func(a, b MissingScope) int { return cmp.Compare(a.MissingPolicy, b.MissingPolicy) })
	l := &w.lint
	if len(l.DuplicateDefs)+len(l.LoadFailures)+len(l.MissingImports)+len(l.MissingScopeDetails)+len(l.ScopePermissionsConflicts) == 0 {
		return
	}
	for _, p := range w.Policies {
		if p.Disabled {
			l.DisabledDefs = append(l.DisabledDefs, DisabledDef{File: w.relative(p.Pos.File), Policy: p.Key(), Position: w.root(p)})
		}
	}
	w.document.LintErrors = l
}

// root gives the position of a policy as a whole.
func (w *writer) root(p *policy.Policy) *Position {
	f := w.file(p.Pos.File)
	if len(f.places) == 0 {
		return nil
	}
	line, column := beginning(f.places[0].value, f.lines)
	return &Position{Line: line, Column: column}
}

// position gives the position of a diagnostic as Cerbos would name it, nil if
// the file as a whole is meant, and the place in the file, if it can be found.
func (w *writer) position(d diag.Diagnostic, s spot) (*Position, *place) {
	if d.Pos.Line == 0 {
		return nil, nil
	}
	exact := &Position{Line: d.Pos.Line, Column: d.Pos.Column}
	if s == fileSpot {
		return exact, nil
	}
	f := w.file(d.Pos.File)
	find := innermost
	if s == mappingSpot || s == mappingFieldSpot {
		find = beginningAt
	}
	found := find(f.places, d.Pos.Line, d.Pos.Column)
	if found == nil {
		return exact, nil
	}
	p := found
	switch s {
	case exactSpot:
		exact.Path = p.path
		return exact, found
	case listSpot, holderSpot, holderFieldSpot:
		p = or(p.holder, p)
	}
	position := &Position{Path: p.path}
	isField := s == fieldSpot || s == listSpot || s == mappingFieldSpot || s == holderFieldSpot
	if isField && p.key != nil && !p.holder.isFree() {
		position.Line, position.Column = p.key.Line, p.key.Column
	} else {
		position.Line, position.Column = beginning(p.value, f.lines)
	}
	return position, found
}

func or(p, q *place) *place {
	if p != nil {
		return p
	}
	return q
}

// A file is a source, taken apart.
type file struct {
	lines  []string
	places []*place
}

func (w *writer) file(name string) *file {
	f := w.read[name]
	if f == nil {
		content := w.Contents[name]
		f = &file{lines: strings.Split(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n"), places: places(content)}
		w.read[name] = f
	}
	return f
}

// contextLines is how many lines before and after a place are shown with it.
const contextLines = 3

// context gives the lines around the place of a diagnostic, with a caret.
func (w *writer) context(d diag.Diagnostic) string {
	all := w.file(d.Pos.File).lines
	if d.Pos.Line < 1 || d.Pos.Line > len(all) {
		return ""
	}
	if all[len(all)-1] == "" && d.Pos.Line < len(all) {
		all = all[:len(all)-1] // what follows the last line break
	}
	var b strings.Builder
	for i := max(1, d.Pos.Line-contextLines); i <= min(len(all), d.Pos.Line+contextLines); i++ {
		if i != d.Pos.Line {
			text, _ := diag.Excerpt(all[i-1], 0)
			fmt.Fprintf(&b, "  %2d | %s\n", i, text)
			continue
		}
		gutter := fmt.Sprintf("> %2d | ", i)
		text, caret := diag.Excerpt(all[i-1], d.Pos.Column)
		fmt.Fprintf(&b, "%s%s\n%s^\n", gutter, text, strings.Repeat(" ", len(gutter)+caret))
	}
	return b.String()
}

func (w *writer) extension(d diag.Diagnostic) Extension {
	e := Extension{Code: d.Code, Severity: d.Severity.String(), Hint: d.Hint}
	if entry, ok := w.pages.Entry(d.Code); ok {
		e.Docs = entry.URL()
	}
	if d.Pos.Line > 0 {
		e.Place = &Place{File: d.Pos.File, Line: d.Pos.Line, Column: d.Pos.Column}
	}
	for _, r := range d.Related {
		e.Related = append(e.Related, Related{Place{r.Pos.File, r.Pos.Line, r.Pos.Column}, r.Message})
	}
	return e
}

func (w *writer) extensionWithMessage(d diag.Diagnostic) Extension {
	e := w.extension(d)
	e.Message = d.Message
	return e
}

// title says what a code is about, in a few words.
func (w *writer) title(code diag.Code) string {
	if e, ok := w.pages.Entry(code); ok {
		return e.Title
	}
	return string(code)
}

// relative gives the name of a file as Cerbos gives it.
func (w *writer) relative(file string) string {
	if w.Dir == "." || w.Dir == "" {
		return file
	}
	return strings.TrimPrefix(strings.TrimPrefix(file, w.Dir), "/")
}
