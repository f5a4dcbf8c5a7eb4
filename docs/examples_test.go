package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"gopkg.in/yaml.v3"

	"edict/engine"
	"edict/engine/expr"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
	"edict/engine/value"
)

// The pages below docs/policies are run. What they show together belongs
// together: a section, which is all below one heading of the second level
// (##), is a folder of policies of its own.
//
//   - A block marked "yaml policy" is a file of that folder, and one marked
//     "json schema x.json" the file _schemas/x.json. They compile.
//   - A block marked "yaml config" is the configuration for the rest of the
//     section; its keys of engine and schema count.
//   - A table with the columns "action" and "answer" asks what stands above it
//     in the section: every row is a request and what is to come of it. The
//     columns are those of readCell and expectations. "strict" and "lenient"
//     stand for the answers of both ways of evaluation.
//   - A block marked "yaml request" is the request in which the expressions
//     after it on the page are evaluated.
//   - `expression` → `value` in the column "examples" of a table is evaluated,
//     and must give what the expression on its right gives. "error" and "does
//     not compile" can stand in place of the value, with a part of the message
//     behind.
//   - A table with the columns "pattern", "matches" and "does not match" is
//     about patterns of actions.
func TestPolicyPages(t *testing.T) {
	var ran counts
	for _, name := range pages(t) {
		if !strings.HasPrefix(name, "docs/policies/") {
			continue
		}
		t.Run(strings.TrimPrefix(name, "docs/policies/"), func(t *testing.T) {
			runPage(t, name, &ran)
		})
	}
	if ran.policies < 70 || ran.requests < 150 || ran.expressions < 380 || ran.patterns < 50 {
		t.Errorf("the pages hold too little, or it is not found: %+v", ran)
	}
}

// counts says how much was run.
type counts struct{ policies, requests, expressions, patterns int }

// A section is what a page has shown since its last heading of the second
// level.
type section struct {
	policies []*policy.Policy
	schemas  map[string][]byte
	options  engine.Options
	sets     map[bool]*engine.PolicySet // of what is shown so far, by lenient evaluation
}

func newSection() *section {
	s := &section{schemas: map[string][]byte{}}
	s.change()
	return s
}

// change makes the section compile anew.
func (s *section) change() { s.sets = map[bool]*engine.PolicySet{} }

func (s *section) compile(t *testing.T, where string, lenient bool) *engine.PolicySet {
	t.Helper()
	if set := s.sets[lenient]; set != nil {
		return set
	}
	options := s.options
	options.LenientEvaluation = lenient
	c, err := engine.NewCompiler(options)
	if err != nil {
		t.Fatal(err)
	}
	set, list := c.Compile(s.policies, schema.New(s.schemas))
	if len(list) > 0 {
		t.Fatalf("%s: the section does not compile:\n%s", where, list.Render())
	}
	s.sets[lenient] = set
	return set
}

// kind is the kind of resource that requests are about if they do not say so.
func (s *section) kind() string {
	for _, p := range s.policies {
		if p.Resource != nil {
			return p.Resource.Resource.Value
		}
	}
	return ""
}

func runPage(t *testing.T, name string, ran *counts) {
	shown := map[int]block{} // by the line after the block
	for _, b := range blocks(read(t, name)) {
		shown[b.line+strings.Count(b.text, "\n")+1] = b
	}
	current := newSection()
	ambient := request("{}")
	finish := func(where string) {
		if len(current.policies) > 0 {
			current.compile(t, where, current.options.LenientEvaluation)
		}
	}
	lines := strings.Split(read(t, name), "\n")
	for i := 0; i < len(lines); i++ {
		where := fmt.Sprintf("%s:%d", name, i+1)
		switch {
		case strings.HasPrefix(lines[i], "```"):
			i++
			for !strings.HasPrefix(lines[i], "```") {
				i++
			}
			b := shown[i+1]
			lang, kind, _ := strings.Cut(b.info, " ")
			switch {
			case b.info == "yaml policy":
				p, list := policyfile.Parse(fmt.Sprintf("%s:%d", name, b.line), []byte(b.text))
				if len(list) > 0 {
					t.Fatalf("%s:\n%s", where, list.Render())
				}
				current.policies = append(current.policies, p)
				current.change()
				ran.policies++
			case lang == "json" && strings.HasPrefix(kind, "schema "):
				current.schemas[strings.TrimPrefix(kind, "schema ")] = []byte(b.text)
				current.change()
			case b.info == "yaml config":
				configure(t, where, b.text, &current.options)
				current.change()
			case b.info == "yaml request":
				ambient = request(b.text)
			case lang == "yaml" && kind != "":
				t.Errorf("%s: nothing runs a block marked %q", where, b.info)
			}
		case strings.HasPrefix(lines[i], "## "):
			finish(where)
			current = newSection()
		case strings.HasPrefix(lines[i], "|"):
			first := i
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
				i++
			}
			runTable(t, name, first+1, lines[first:i+1], current, ambient, ran)
		}
	}
	finish(name)
}

// runTable runs a table, if it is one that is run.
func runTable(t *testing.T, page string, line int, rows []string, s *section, ambient *engine.Request, ran *counts) {
	head := cells(rows[0])
	for n, row := range rows[2:] {
		where := fmt.Sprintf("%s:%d", page, line+2+n)
		row := cells(row)
		if len(row) != len(head) {
			t.Errorf("%s: the row has %d cells, the head %d", where, len(row), len(head))
			continue
		}
		switch {
		case slices.Contains(head, "action") && slices.ContainsFunc(head, isAnswer):
			ask(t, where, head, row, s, ran)
		case slices.Equal(head[:min(3, len(head))], []string{"pattern", "matches", "does not match"}):
			matchPattern(t, where, row, ran)
		case slices.Contains(head, "examples"):
			cell := row[slices.Index(head, "examples")]
			for _, cell := range strings.Split(cell, " <br> ") {
				m := example.FindStringSubmatch(cell)
				if m == nil {
					t.Errorf("%s: %s is no example", where, cell)
					continue
				}
				evaluate(t, where, s, ambient, m[1], m[2], ran)
			}
		}
	}
}

func isAnswer(column string) bool {
	return column == "answer" || column == "strict" || column == "lenient"
}

var example = regexp.MustCompile("^`([^`]+)` → ((?:error|does not compile)(?:: `[^`]+`)?|`[^`]+`)$")

// cells gives the cells of a row of a table.
func cells(row string) []string {
	const bar = "\x00"
	row = strings.ReplaceAll(strings.TrimSpace(row), `\|`, bar)
	out := strings.Split(strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|"), "|")
	for i := range out {
		out[i] = strings.ReplaceAll(strings.TrimSpace(out[i]), bar, "|")
	}
	return out
}

// plain is a cell without the marks of code. A dash is an empty cell.
func plain(cell string) string {
	if cell == "–" {
		return ""
	}
	return strings.ReplaceAll(cell, "`", "")
}

// decoded reads YAML as an attribute value is read: all numbers are doubles.
func decoded(text string, into any) error {
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		return err
	}
	out, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}

// request reads a request.
func request(text string) *engine.Request {
	var r struct {
		Principal struct {
			ID, Scope, PolicyVersion string
			Roles                    []string
			Attr                     map[string]any
		}
		Resource struct {
			Kind, ID, Scope, PolicyVersion string
			Attr                           map[string]any
		}
		AuxData struct {
			JWT  map[string]any
			JWTs map[string]struct{ Claims map[string]any }
		}
		Now time.Time
	}
	if err := decoded(text, &r); err != nil {
		panic(fmt.Sprintf("%v in\n%s", err, text))
	}
	req := &engine.Request{
		Principal: engine.Principal{ID: r.Principal.ID, Roles: r.Principal.Roles, Attr: value.Attributes(r.Principal.Attr),
			PolicyVersion: r.Principal.PolicyVersion, Scope: r.Principal.Scope},
		Resource: engine.Resource{Kind: r.Resource.Kind, ID: r.Resource.ID, Attr: value.Attributes(r.Resource.Attr),
			PolicyVersion: r.Resource.PolicyVersion, Scope: r.Resource.Scope},
		Now:         r.Now,
		IncludeMeta: true,
	}
	if r.AuxData.JWT != nil {
		req.AuxData.JWT = value.Attributes(r.AuxData.JWT)
	}
	for name, token := range r.AuxData.JWTs {
		if req.AuxData.JWTs == nil {
			req.AuxData.JWTs = map[string]value.Mapping{}
		}
		req.AuxData.JWTs[name] = value.Attributes(token.Claims)
	}
	return req
}

// configure sets the options that a configuration has.
func configure(t *testing.T, where, text string, o *engine.Options) {
	t.Helper()
	var c struct {
		Engine struct {
			DefaultPolicyVersion string         `yaml:"defaultPolicyVersion"`
			DefaultScope         string         `yaml:"defaultScope"`
			LenientScopeSearch   bool           `yaml:"lenientScopeSearch"`
			StrictEvaluation     *bool          `yaml:"strictEvaluation"`
			Globals              map[string]any `yaml:"globals"`
		}
		Schema struct{ Enforcement string }
	}
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	o.DefaultPolicyVersion, o.DefaultScope = c.Engine.DefaultPolicyVersion, c.Engine.DefaultScope
	o.LenientScopeSearch = c.Engine.LenientScopeSearch
	o.LenientEvaluation = c.Engine.StrictEvaluation != nil && !*c.Engine.StrictEvaluation
	globals := value.Values{}
	for name, v := range c.Engine.Globals {
		globals[name] = value.Of(v)
		if i, ok := v.(int); ok {
			globals[name] = value.OfInt(int64(i))
		}
	}
	o.Globals = globals
	o.SchemaEnforcement = map[string]engine.SchemaEnforcement{
		"warn": engine.SchemaWarn, "reject": engine.SchemaReject,
	}[c.Schema.Enforcement]
}

// readCell reads the cell of a column that says what a request holds.
func readCell(req *engine.Request, column, cell string) error {
	attributes := func(into *value.Mapping) error {
		var m map[string]any
		err := decoded("{"+cell+"}", &m)
		*into = value.Attributes(m)
		return err
	}
	list := func(into *[]string) error { return decoded("["+cell+"]", into) }
	text := func(into *string) error {
		*into = cell
		return nil
	}
	switch column {
	case "principal":
		return text(&req.Principal.ID)
	case "roles":
		return list(&req.Principal.Roles)
	case "`P.attr`":
		return attributes(&req.Principal.Attr)
	case "principal's scope":
		return text(&req.Principal.Scope)
	case "kind":
		return text(&req.Resource.Kind)
	case "id":
		return text(&req.Resource.ID)
	case "`R.attr`":
		return attributes(&req.Resource.Attr)
	case "scope":
		return text(&req.Resource.Scope)
	case "version":
		return text(&req.Resource.PolicyVersion)
	case "`request.auxData.jwt`":
		return attributes(&req.AuxData.JWT)
	case "now":
		var err error
		req.Now, err = time.Parse(time.RFC3339, cell)
		return err
	case "action": // one, or several that are asked for at once
		return list(&req.Actions)
	}
	return errUnknownColumn
}

var errUnknownColumn = fmt.Errorf("the column is not known")

// expectations are the columns that say what comes of a request. All that a
// table has are compared, empty cells, too.
var expectations = map[string]func(d *engine.Decision, r *engine.Result) any{
	"rule": func(_ *engine.Decision, r *engine.Result) any {
		if r.Rule == nil {
			return ""
		}
		return r.Rule.Name
	},
	"policy": func(_ *engine.Decision, r *engine.Result) any { return r.Policy },
	"reason": func(_ *engine.Decision, r *engine.Result) any { return r.Reason.String() },
	"decided in": func(_ *engine.Decision, r *engine.Result) any {
		if r.Scope == "" && r.Rule != nil {
			return "root"
		}
		return r.Scope
	},
	"derived roles": func(d *engine.Decision, _ *engine.Result) any { return strings.Join(d.EffectiveDerivedRoles, ", ") },
	"outputs": func(d *engine.Decision, _ *engine.Result) any {
		var all []any
		for _, o := range d.Outputs {
			_, rule, _ := strings.Cut(o.Src, "#")
			if o.Err != "" {
				all = append(all, rule+" fails")
				continue
			}
			all = append(all, map[string]any{rule: o.Val.Native()})
		}
		return all
	},
	"attributes are wrong": func(d *engine.Decision, _ *engine.Result) any {
		var all []string
		for _, e := range d.ValidationErrors {
			all = append(all, fmt.Sprintf("%s %s: %s", e.Source, e.Path, e.Message))
		}
		return strings.Join(all, "; ")
	},
}

// ask sends the request of a row and compares what comes of it.
func ask(t *testing.T, where string, head, row []string, s *section, ran *counts) {
	t.Helper()
	req := request("{principal: {id: ann, roles: [user]}, resource: {id: x}}")
	req.Resource.Kind = s.kind()
	for i, column := range head {
		_, expected := expectations[column]
		switch {
		case expected || column == "because":
		case isAnswer(column):
		case plain(row[i]) == "" && column != "roles":
		default:
			if err := readCell(req, column, plain(row[i])); err != nil {
				t.Errorf("%s: %s: %v", where, column, err)
			}
		}
	}
	if len(req.Actions) == 0 {
		t.Errorf("%s: no action", where)
	}
	for i, column := range head {
		lenient := s.options.LenientEvaluation
		if !isAnswer(column) {
			continue
		}
		if column != "answer" {
			lenient = column == "lenient"
		}
		ran.requests++
		var d engine.Decision
		s.compile(t, where, lenient).Check(req, &d)
		for j := range d.Results {
			r := &d.Results[j]
			got := "deny"
			if r.Allowed() {
				got = "allow"
			}
			if got != plain(row[i]) {
				t.Errorf("%s: %s is %s (%s, %+v, %v), the page says %s", where, r.Action, got, r.Reason, r.Rule, r.Err, row[i])
			}
			for k, column := range head {
				if want := expectations[column]; want != nil {
					compare(t, where, column, want(&d, r), plain(row[k]))
				}
			}
		}
	}
}

func compare(t *testing.T, where, column string, got any, want string) {
	t.Helper()
	list, ok := got.([]any)
	if !ok {
		if got != want {
			t.Errorf("%s: %s is %q, the page says %q", where, column, got, want)
		}
		return
	}
	var wanted []any
	if err := decoded("["+want+"]", &wanted); err != nil {
		t.Fatalf("%s: %s: %v", where, column, err)
	}
	if len(list)+len(wanted) > 0 && !reflect.DeepEqual(list, wanted) {
		t.Errorf("%s: %s are %v, the page says %v", where, column, list, wanted)
	}
}

// evaluate runs an expression and compares what it gives.
func evaluate(t *testing.T, where string, s *section, req *engine.Request, source, want string, ran *counts) {
	t.Helper()
	ran.expressions++
	set := s.compile(t, where, s.options.LenientEvaluation)
	key := set.PolicyFor(req)
	e, issues := set.Evaluate(req, key, source)
	kind, message, _ := strings.Cut(want, ": ")
	message = plain(message)
	var said []string
	for _, i := range issues {
		said = append(said, i.Message)
	}
	switch kind {
	case "does not compile":
		if len(issues) == 0 || !strings.Contains(strings.Join(said, "\n"), message) {
			t.Errorf("%s: %s: issues %q, the page says %q", where, source, said, message)
		}
		return
	case "error":
		if len(issues) > 0 || e.Err == nil || !strings.Contains(e.Err.Error(), message) {
			t.Errorf("%s: %s: %q, %+v, the page says error %q", where, source, said, e, message)
		}
		return
	}
	if len(issues) > 0 || e.Err != nil {
		t.Errorf("%s: %s: %q, %+v", where, source, said, e)
		return
	}
	w, issues := set.Evaluate(req, key, plain(want))
	if len(issues) > 0 || w.Err != nil {
		t.Errorf("%s: %s: %v, %+v", where, want, issues, w)
		return
	}
	same := e.Result.Kind() == w.Result.Kind() && reflect.DeepEqual(e.Value.Native(), w.Value.Native())
	if e.Result.Kind() == value.Opaque {
		both, issues := set.Evaluate(req, key, fmt.Sprintf("(%s) == (%s)", source, plain(want)))
		same = len(issues) == 0 && both.Err == nil && both.Result.Bool()
	}
	if !same {
		t.Errorf("%s: %s is %v (%s), the page says %s", where, source, e.Text, e.Result.Kind(), want)
	}
}

// matchPattern compares what the pattern of a row matches as an action.
func matchPattern(t *testing.T, where string, row []string, ran *counts) {
	t.Helper()
	code := regexp.MustCompile("`([^`]*)`")
	pattern := plain(row[0])
	quoted, err := json.Marshal(pattern)
	if err != nil {
		t.Fatal(err)
	}
	p, list := policyfile.Parse("pattern.yaml", fmt.Appendf(nil, `apiVersion: api.cerbos.dev/v1
resourcePolicy: {resource: thing, version: default, rules: [{actions: [%s], effect: EFFECT_ALLOW, roles: [user]}]}`, quoted))
	if len(list) > 0 {
		t.Errorf("%s:\n%s", where, list.Render())
		return
	}
	set, list := engine.Compile([]*policy.Policy{p}, engine.Options{})
	if len(list) > 0 {
		t.Errorf("%s:\n%s", where, list.Render())
		return
	}
	for i, want := range []bool{true, false} {
		for _, m := range code.FindAllStringSubmatch(row[1+i], -1) {
			ran.patterns++
			req := request("{principal: {id: ann, roles: [user]}, resource: {kind: thing, id: x}}")
			req.Actions = []string{m[1]}
			var d engine.Decision
			if set.Check(req, &d); d.Allowed() != want {
				t.Errorf("%s: %s matches %q: %v, the page says %v", where, pattern, m[1], d.Allowed(), want)
			}
		}
	}
}

// Every function and every name that an expression can use stands in an
// example.
func TestEveryFunctionHasAnExample(t *testing.T) {
	page := read(t, "docs/policies/functions.md")
	var examples []string
	for _, line := range strings.Split(page, "\n") {
		if row := cells(line); strings.HasPrefix(line, "|") {
			for _, cell := range strings.Split(row[len(row)-1], " <br> ") {
				if m := example.FindStringSubmatch(cell); m != nil {
					examples = append(examples, m[1])
				}
			}
		}
	}
	env, err := engine.NewEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	// What CEL brings, as long as Edict has it; and all that the sources of
	// Edict's own functions name, as long as it is a function.
	library, err := cel.NewEnv(cel.OptionalTypes(), ext.Bindings(), ext.Encoders(), ext.Lists(), ext.Math(),
		ext.Network(), ext.Regex(), ext.Sets(), ext.Strings(), ext.TwoVarComprehensions())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for name := range library.Functions() {
		names[name] = true
	}
	for _, m := range library.Macros() {
		name := m.Function()
		if name == "bind" || name == "greatest" || name == "least" {
			name = map[string]string{"bind": "cel.bind", "greatest": "math.greatest", "least": "math.least"}[name]
		}
		names[name] = true
	}
	sources, err := filepath.Glob(filepath.Join(root, "engine/expr/functions*.go"))
	if err != nil || len(sources) < 5 {
		t.Fatal(sources, err)
	}
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"([a-zA-Z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	found := 0
	identifier := regexp.MustCompile(`^[a-zA-Z][\w.]*$`)
	for name := range names {
		if name == "in" || !identifier.MatchString(name) || !calls(env, name) { // in is an operator
			continue
		}
		found++
		call := regexp.MustCompile(`(^|[^\w.]|\.)` + regexp.QuoteMeta(name) + `\(`)
		if !slices.ContainsFunc(examples, call.MatchString) {
			t.Errorf("docs/policies/functions.md has no example of %s", name)
		}
	}
	for _, name := range env.Names() {
		if !slices.ContainsFunc(examples, regexp.MustCompile(`\b`+name+`\b`).MatchString) {
			t.Errorf("docs/policies/functions.md has no example of %s", name)
		}
	}
	if found < 130 {
		t.Errorf("only %d functions were found", found)
	}
}

// calls tells whether an environment has a function or a member of a name.
func calls(env *expr.Env, name string) bool {
	for _, source := range []string{name + "()", name + "(P.attr.x)", "P.attr.x." + name + "()"} {
		_, issues := env.Check(source)
		if !slices.ContainsFunc(issues, func(i expr.Issue) bool { return strings.Contains(i.Message, "undeclared reference") }) {
			return true
		}
	}
	return false
}
