package policyfile_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/diag/diagtest"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

func markedCases(t testing.TB) []diagtest.Case {
	t.Helper()
	var cases []diagtest.Case
	files, err := filepath.Glob(filepath.Join("testdata", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		cases = append(cases, diagtest.Read(t, file)...)
	}
	return cases
}

func TestMarkedFiles(t *testing.T) {
	for _, c := range markedCases(t) {
		t.Run(filepath.Base(c.File)+"/"+c.Name, func(t *testing.T) {
			p, list := policyfile.Parse(c.File, c.Content)
			c.Check(t, list)
			if (p != nil) == (len(list) > 0) {
				t.Errorf("policy %v beside %d diagnostics", p, len(list))
			}
		})
	}
}

// Every code of the catalogue is provoked by a test in this package.
func TestCatalogue(t *testing.T) {
	provoked := []diag.Code{policyfile.MisplacedSchemas} // load_test.go
	for _, c := range markedCases(t) {
		provoked = append(provoked, c.Codes()...)
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		codes++
		name := spec.Names[0].Name
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if spec.Doc == nil || !strings.HasPrefix(spec.Doc.Text(), name+" occurs when") {
			t.Errorf("the comment of %s does not say when it occurs", name)
		}
		if !slices.Contains(provoked, diag.Code(code)) {
			t.Errorf("no test provokes %s (%s)", name, code)
		}
		return true
	})
	if codes == 0 {
		t.Error("codes.go declares no codes")
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, content := range []string{"", "\n  \n", "# a\n", "---\n# a\n"} {
		if p, list := policyfile.Parse("a.yaml", []byte(content)); p != nil || list != nil {
			t.Errorf("%q: got %v and %v", content, p, list)
		}
	}
}

// dump writes a policy out for comparison: what it says, and where.
func dump(p *policy.Policy) string {
	var b strings.Builder
	line := func(pos diag.Position, format string, args ...any) {
		fmt.Fprintf(&b, "%d:%d %s\n", pos.Line, pos.Column, fmt.Sprintf(format, args...))
	}
	text := func(name string, t diag.Text) {
		if t != (diag.Text{}) {
			line(t.Pos, "%s %q", name, t.Value)
		}
	}
	texts := func(name string, list []diag.Text) {
		for _, t := range list {
			text(name, t)
		}
	}
	var condition func(prefix string, c *policy.Condition)
	condition = func(prefix string, c *policy.Condition) {
		if c == nil {
			return
		}
		if c.Op == policy.Expr {
			line(c.Expr.Pos, "%s %s %q", prefix, c.Op, c.Expr.Value)
			return
		}
		line(c.Pos, "%s %s", prefix, c.Op)
		for _, member := range c.Of {
			condition(prefix+"  ", member)
		}
	}
	variables := func(list []policy.Variable) {
		for _, d := range list {
			line(d.Name.Pos, "variable %q", d.Name.Value)
			text("  is", d.Expr)
		}
	}
	constants := func(list []policy.Constant) {
		for _, d := range list {
			line(d.Name.Pos, "constant %q %s %v", d.Name.Value, d.Value.Kind(), d.Value)
		}
	}
	definitions := func(v policy.Variables, c policy.Constants) {
		texts("import variables", v.Import)
		variables(v.Local)
		texts("import constants", c.Import)
		constants(c.Local)
	}
	output := func(o *policy.Output) {
		if o != nil {
			line(o.Pos, "  output")
			text("    activated", o.RuleActivated)
			text("    not met", o.ConditionNotMet)
		}
	}
	schema := func(name string, s *policy.SchemaRef) {
		if s != nil {
			line(s.Pos, "%s", name)
			text("  ref", s.Ref)
			texts("  ignore", s.IgnoreActions)
		}
	}
	line(p.Pos, "policy disabled=%v", p.Disabled)
	for _, a := range p.Metadata.Annotations {
		line(a.Name.Pos, "annotation %q", a.Name.Value)
		text("  is", a.Value)
	}
	for _, a := range p.Metadata.Trusted {
		line(a.Pos, "trusted %s", a)
	}
	if p.Metadata.SourceAttributes != nil {
		line(p.Pos, "source attributes %v", value.OfMapping(p.Metadata.SourceAttributes))
	}
	if r := p.Resource; r != nil {
		line(r.Pos, "resource policy %s", r.Permissions)
		text("resource", r.Resource)
		text("version", r.Version)
		text("scope", r.Scope)
		texts("import", r.ImportDerivedRoles)
		definitions(r.Variables, r.Constants)
		if r.Schemas != nil {
			line(r.Schemas.Pos, "schemas")
			schema("  of the principal", r.Schemas.Principal)
			schema("  of the resource", r.Schemas.Resource)
		}
		for _, rule := range r.Rules {
			line(rule.Pos, "rule %s", rule.Effect)
			text("  name", rule.Name)
			texts("  action", rule.Actions)
			texts("  role", rule.Roles)
			texts("  derived role", rule.DerivedRoles)
			condition(" ", rule.Condition)
			output(rule.Output)
		}
	}
	if r := p.Principal; r != nil {
		line(r.Pos, "principal policy %s", r.Permissions)
		text("principal", r.Principal)
		text("version", r.Version)
		text("scope", r.Scope)
		definitions(r.Variables, r.Constants)
		for _, rule := range r.Rules {
			line(rule.Pos, "rule")
			text("  resource", rule.Resource)
			for _, action := range rule.Actions {
				line(action.Pos, "  action %s", action.Effect)
				text("    name", action.Name)
				text("    action", action.Action)
				condition("   ", action.Condition)
				output(action.Output)
			}
		}
	}
	if r := p.Role; r != nil {
		line(r.Pos, "role policy")
		text("role", r.Role)
		text("version", r.Version)
		text("scope", r.Scope)
		texts("parent", r.ParentRoles)
		definitions(r.Variables, r.Constants)
		for _, rule := range r.Rules {
			line(rule.Pos, "rule")
			text("  name", rule.Name)
			text("  resource", rule.Resource)
			texts("  action", rule.AllowActions)
			condition(" ", rule.Condition)
			output(rule.Output)
		}
	}
	if d := p.DerivedRoles; d != nil {
		line(d.Pos, "derived roles")
		text("name", d.Name)
		definitions(d.Variables, d.Constants)
		for _, def := range d.Definitions {
			line(def.Pos, "definition")
			text("  name", def.Name)
			texts("  parent", def.ParentRoles)
			condition(" ", def.Condition)
		}
	}
	if e := p.ExportVariables; e != nil {
		line(e.Pos, "exported variables")
		text("name", e.Name)
		variables(e.Definitions)
	}
	if e := p.ExportConstants; e != nil {
		line(e.Pos, "exported constants")
		text("name", e.Name)
		constants(e.Definitions)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, content, want string }{
		{"a resource policy", `
apiVersion: api.cerbos.dev/v1
variables: {old: R.id}
resourcePolicy:
  resource: invoice:line
  version: 20210210
  scope: emea.fr
  scopePermissions: 2
  importDerivedRoles: [finance]
  variables:
    import: [shared]
    local:
      small: |
        R.attr.amount < 5
      none:
  constants:
    import: [limits]
    local: {n: 1, l: [a, null, {b: true}], s: "1"}
  schemas:
    principalSchema: {ref: "cerbos:///p.json", ignoreWhen: {actions: [create, "draft:*"]}}
    resourceSchema: {ref: "cerbos:///r.json"}
  rules:
    - name: pay
      actions: [pay, "export:*", 7]
      effect: EFFECT_DENY
      roles: ["*"]
      derivedRoles: [owner]
      condition:
        match:
          any:
            of:
              - expr: V.small
              - none: {of: [expr: "R.a"]}
              - all: {of: [{expr: "1"}, {expr: "2"}]}
      output: {expr: '"x"', when: {conditionNotMet: '"y"'}}
    - {actions: [a], effect: 1, roles: [b], output: {expr: '"x"', when: {ruleActivated: '"z"'}}}
    - {actions: [a], effect: 1, roles: [b], output: {expr: '"x"'}}
metadata:
  annotations: {owner: team, reviewed: true, edict.dev/trusted: "R.attr.x  P.attr.y-z"}
  sourceAttributes: {attributes: {n: 1}}
  hash: "12"
`, `2:1 policy disabled=false
39:17 annotation "owner"
39:24   is "team"
39:30 annotation "reviewed"
39:40   is "true"
39:46 annotation "edict.dev/trusted"
39:65   is "R.attr.x  P.attr.y-z"
39:66 trusted R.attr.x
39:76 trusted P.attr.y-z
2:1 source attributes map[n:1]
5:3 resource policy SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS
5:13 resource "invoice:line"
6:12 version "20210210"
7:10 scope "emea.fr"
9:24 import "finance"
11:14 import variables "shared"
13:7 variable "small"
13:14   is "R.attr.amount < 5\n"
15:7 variable "none"
15:12   is ""
3:13 variable "old"
3:18   is "R.id"
17:14 import constants "limits"
18:13 constant "n" double 1
18:19 constant "l" list [a <nil> map[b:true]]
18:44 constant "s" string "1"
20:5 schemas
20:22   of the principal
20:28   ref "cerbos:///p.json"
20:71   ignore "create"
20:79   ignore "draft:*"
21:21   of the resource
21:27   ref "cerbos:///r.json"
23:7 rule EFFECT_DENY
23:13   name "pay"
24:17   action "pay"
24:22   action "export:*"
24:34   action "7"
26:15   role "*"
27:22   derived role "owner"
30:11   any
32:23     expr "V.small"
33:17     none
33:35       expr "R.a"
34:17     all
34:35       expr "1"
34:48       expr "2"
35:15   output
35:22     activated "\"x\""
35:53     not met "\"y\""
36:7 rule EFFECT_ALLOW
36:18   action "a"
36:41   role "b"
36:53   output
36:89     activated "\"z\""
37:7 rule EFFECT_ALLOW
37:18   action "a"
37:41   role "b"
37:53   output
37:60     activated "\"x\""
`},
		{"derived roles", `{"apiVersion": "api.cerbos.dev/v1", "disabled": true,
 "variables": {"a": "1"},
 "derivedRoles": {"name": "x", "variables": {"local": {"b": "2"}}, "constants": {"local": {"c": 3}},
  "definitions": [{"name": "y", "parentRoles": ["z", "w"]},
   {"name": "v", "parentRoles": ["z"], "condition": {"match": {"expr": "true"}}}]}}`, `1:1 policy disabled=true
3:18 derived roles
3:27 name "x"
3:56 variable "b"
3:61   is "2"
2:16 variable "a"
2:21   is "1"
3:92 constant "c" double 3
4:19 definition
4:28   name "y"
4:49   parent "z"
4:54   parent "w"
5:4 definition
5:13   name "v"
5:34   parent "z"
5:72   expr "true"
`},
		{"merge keys", `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: a
  version: &v b
  scope: *v
  rules:
    - &base
      actions: [c]
      effect: EFFECT_ALLOW
      roles: [d]
    - <<: *base
      actions: [e, f]
    - <<: [{effect: EFFECT_DENY}, *base]
`, `2:1 policy disabled=false
4:3 resource policy SCOPE_PERMISSIONS_UNSPECIFIED
4:13 resource "a"
5:15 version "b"
5:15 scope "b"
8:7 rule EFFECT_ALLOW
9:17   action "c"
11:15   role "d"
12:7 rule EFFECT_ALLOW
13:17   action "e"
13:20   action "f"
11:15   role "d"
14:7 rule EFFECT_DENY
9:17   action "c"
11:15   role "d"
`},
		{"a principal policy", `
apiVersion: api.cerbos.dev/v1
variables: {old: R.id}
principalPolicy:
  principal: Dr. Øsei
  version: v1
  scope: clinic
  scopePermissions: 1
  variables: {import: [shared], local: {a: "1"}}
  constants: {import: [limits], local: {b: 2}}
  rules:
    - resource: "chart*"
      actions:
        - {name: n, action: "read:*", effect: EFFECT_ALLOW, condition: {match: {expr: V.a}}}
        - action: x
          effect: 2
          output: {when: {ruleActivated: '"y"'}}
`, `2:1 policy disabled=false
5:3 principal policy SCOPE_PERMISSIONS_OVERRIDE_PARENT
5:14 principal "Dr. Øsei"
6:12 version "v1"
7:10 scope "clinic"
9:24 import variables "shared"
9:41 variable "a"
9:44   is "1"
3:13 variable "old"
3:18   is "R.id"
10:24 import constants "limits"
10:41 constant "b" double 2
12:7 rule
12:17   resource "chart*"
14:11   action EFFECT_ALLOW
14:18     name "n"
14:29     action "read:*"
14:87     expr "V.a"
15:11   action EFFECT_DENY
15:19     action "x"
17:19   output
17:42     activated "\"y\""
`},
		{"a role policy", `
apiVersion: api.cerbos.dev/v1
variables: {old: R.id}
rolePolicy:
  role: auditor
  scope: a
  scopePermissions: 2
  parentRoles: [employee]
  variables: {import: [shared], local: {a: "1"}}
  constants: {import: [limits], local: {b: 2}}
  rules:
    - resource: item
      allowActions: [view, "count:*"]
    - name: recount
      resource: item
      allowActions: [recount]
      condition: {match: {all: {of: [expr: V.a]}}}
      output: {when: {conditionNotMet: '"y"'}}
`, `2:1 policy disabled=false
5:3 role policy
5:9 role "auditor"
5:3 version "default"
6:10 scope "a"
8:17 parent "employee"
9:24 import variables "shared"
9:41 variable "a"
9:44   is "1"
3:13 variable "old"
3:18   is "R.id"
10:24 import constants "limits"
10:41 constant "b" double 2
12:7 rule
12:17   resource "item"
13:22   action "view"
13:28   action "count:*"
14:7 rule
14:13   name "recount"
15:17   resource "item"
16:22   action "recount"
17:26   all
17:44     expr "V.a"
18:15   output
18:40     not met "\"y\""
`},
		{"exported variables", "apiVersion: api.cerbos.dev/v1\nexportVariables: {name: a, definitions: {x: R.id, y: V.x}}\n", `1:1 policy disabled=false
2:18 exported variables
2:25 name "a"
2:42 variable "x"
2:45   is "R.id"
2:51 variable "y"
2:54   is "V.x"
`},
		{"exported constants", "apiVersion: api.cerbos.dev/v1\nexport_constants: {name: a, definitions: {x: 1, y: [b, {c: ~}]}}\n", `1:1 policy disabled=false
2:19 exported constants
2:26 name "a"
2:43 constant "x" double 1
2:49 constant "y" list [b map[c:<nil>]]
`},
		{"what says nothing", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: a, version: b, scope: ~, scopePermissions: 0, schemas: {}, rules: []}\n",
			"1:1 policy disabled=false\n2:17 resource policy SCOPE_PERMISSIONS_UNSPECIFIED\n2:28 resource \"a\"\n2:40 version \"b\"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, list := policyfile.Parse("a.yaml", []byte(test.content))
			if len(list) != 0 {
				t.Fatal(list.Render())
			}
			if got := dump(p); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if p.Pos.File != "a.yaml" || p.Line(1) != strings.SplitN(test.content, "\n", 2)[0] {
				t.Errorf("position %v, line 1 %q", p.Pos, p.Line(1))
			}
		})
	}
}

// The place of an error in an expression is found in each way to write it.
func TestPlacesInExpressions(t *testing.T) {
	const head = "apiVersion: api.cerbos.dev/v1\nderivedRoles:\n  name: a\n  definitions:\n    - name: b\n      parentRoles: [c]\n      condition:\n        match:\n"
	for _, test := range []struct {
		expr         string
		line, column int // in the expression
		want         string
	}{
		{"          expr: R.a == 1\n", 1, 5, "a.yaml:9:21"},
		{"          expr: \"R.a == \\\"x\\\" && b\"\n", 1, 15, "a.yaml:9:34"},
		{"          expr: |-\n            R.a ==\n              1\n", 2, 3, "a.yaml:11:15"},
		{"          expr: >\n            R.a ==\n            1\n", 1, 8, "a.yaml:11:13"},
	} {
		p, list := policyfile.Parse("a.yaml", []byte(head+test.expr))
		if len(list) != 0 {
			t.Fatal(list)
		}
		expr := p.DerivedRoles.Definitions[0].Condition.Expr
		if got := expr.At(test.line, test.column).String(); got != test.want {
			t.Errorf("%d:%d of %q is put at %s, not %s", test.line, test.column, expr.Value, got, test.want)
		}
	}
}

// Numbers of constants are doubles, however they are written.
func TestConstantsAreDoubles(t *testing.T) {
	for literal, want := range map[string]float64{"1": 1, "-7": -7, "0x10": 16, "1.5": 1.5, "1.e3": 1000, ".5e1": 5, "9007199254740993": 9007199254740992, "18446744073709551615": 1 << 64, "010": 8, "1_0": 10} {
		p, list := policyfile.Parse("a.yaml", []byte("apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: a, version: b, constants: {local: {c: "+literal+"}}}\n"))
		if len(list) != 0 {
			t.Fatal(list)
		}
		if got := p.Resource.Constants.Local[0].Value; got.Kind() != value.Double || got.Double() != want {
			t.Errorf("%s: got %s %v", literal, got.Kind(), got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range markedCases(f) {
		f.Add([]byte(strings.TrimLeft(string(c.Content), "\n")))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		p, list := policyfile.Parse("a.yaml", content)
		if p != nil && len(list) > 0 {
			t.Errorf("a policy beside diagnostics: %v", list)
		}
		if p != nil {
			bodies := 0
			for _, present := range []bool{p.Resource != nil, p.DerivedRoles != nil, p.Principal != nil, p.Role != nil, p.ExportVariables != nil, p.ExportConstants != nil} {
				if present {
					bodies++
				}
			}
			if bodies != 1 {
				t.Errorf("%d bodies", bodies)
			}
			checkSound(t, p)
		}
		for _, d := range list {
			if d.Pos.File != "a.yaml" || d.Pos.Line < 1 || d.Pos.Column < 1 || d.Code == "" || d.Message == "" {
				t.Errorf("an incomplete diagnostic: %s", d.Error())
			}
		}
	})
}

// checkSound checks what the engine relies on in a policy that was given.
func checkSound(t *testing.T, p *policy.Policy) {
	t.Helper()
	var condition func(c *policy.Condition)
	condition = func(c *policy.Condition) {
		if c == nil {
			return
		}
		if c.Op == policy.Expr && (c.Expr.Value == "" && !p.Disabled || len(c.Of) > 0) || c.Op != policy.Expr && len(c.Of) == 0 {
			t.Errorf("a condition without members: %+v", c)
		}
		for _, member := range c.Of {
			if member == nil {
				t.Fatal("a nil condition")
			}
			condition(member)
		}
	}
	output := func(o *policy.Output) {
		if o != nil && o.RuleActivated.Value == "" && o.ConditionNotMet.Value == "" && !p.Disabled {
			t.Errorf("an output of nothing: %+v", o)
		}
	}
	if r := p.Resource; r != nil {
		if r.Resource.Value == "" || r.Version.Value == "" || r.Scope.Value == "." {
			t.Errorf("no identity: %q", r.Key())
		}
		for _, rule := range r.Rules {
			if rule.Effect == policy.NoEffect || len(rule.Actions) == 0 || !p.Disabled && len(rule.Roles)+len(rule.DerivedRoles) == 0 {
				t.Errorf("a rule that says nothing: %+v", rule)
			}
			condition(rule.Condition)
			output(rule.Output)
		}
		if s := r.Schemas; s != nil {
			if s.Principal == nil && s.Resource == nil {
				t.Error("schemas of nothing")
			}
			for _, ref := range []*policy.SchemaRef{s.Principal, s.Resource} {
				if ref != nil && ref.Ref.Value == "" {
					t.Error("a schema without a name")
				}
			}
		}
	}
	if r := p.Principal; r != nil {
		if r.Principal.Value == "" || r.Version.Value == "" || r.Scope.Value == "." {
			t.Errorf("no identity: %q", r.Key())
		}
		for _, rule := range r.Rules {
			if rule.Resource.Value == "" || len(rule.Actions) == 0 {
				t.Errorf("a rule that says nothing: %+v", rule)
			}
			for _, action := range rule.Actions {
				if action.Effect == policy.NoEffect || action.Action.Value == "" {
					t.Errorf("an action that says nothing: %+v", action)
				}
				condition(action.Condition)
				output(action.Output)
			}
		}
	}
	if r := p.Role; r != nil {
		if r.Role.Value == "" || r.Version.Value == "" || r.Scope.Value == "." {
			t.Errorf("no identity: %q", r.Key())
		}
		for _, rule := range r.Rules {
			if rule.Resource.Value == "" || len(rule.AllowActions) == 0 {
				t.Errorf("a rule that says nothing: %+v", rule)
			}
			condition(rule.Condition)
			output(rule.Output)
		}
	}
	if e := p.ExportVariables; e != nil && e.Name.Value == "" || p.ExportConstants != nil && p.ExportConstants.Name.Value == "" {
		t.Error("an export without a name")
	}
	if d := p.DerivedRoles; d != nil {
		if d.Name.Value == "" || len(d.Definitions) == 0 {
			t.Errorf("nothing defined: %q", d.Key())
		}
		for _, def := range d.Definitions {
			if def.Name.Value == "" || len(def.ParentRoles) == 0 {
				t.Errorf("a derived role of nobody: %+v", def)
			}
			condition(def.Condition)
		}
	}
}
