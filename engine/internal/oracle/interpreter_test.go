package oracle

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/engine"
	"edict/engine/conformance"
	"edict/engine/policy"
	"edict/engine/value"
)

func TestPatterns(t *testing.T) {
	for _, tt := range []struct{ pattern, matching, other string }{
		{"*", "|a|a:b|a:b:c", ""},
		{"view:*", "view:|view:a", "view|view:a:b|viewx"},
		{"*:b", "x:b|:b", "b|x:y:b|x:bb"},
		{"a:*:d", "a:x:d|a::d", "a:d|a:x:y:d"},
		{"a:**", "a:|a:x:y", "a|b:"},
		{"{a,b}:*", "a:1|b:", "c:1|{a,b}:1"},
		{"a?b*", "axbq|axb", "ab|a:bq|axb:q"},
		{"**:x", "a:x|a:b:x|:x", "x|a:xx"},
		{"[ab]*", "a|bx", "c|"},
		{"[a-c]*", "a|bx", "d|"},
		{"[!a]*", "b|c1", "a|"},
		{`\**`, "*|*x", "x|"},
		{"view?", "view?", "viewx|view"},
		{"{p,q}", "{p,q}", "p|q"},
		{"é*", "é|éa", "e"},
		{"{bad*", "", "{bad*|bad|bad1"},
	} {
		for _, s := range strings.Split(tt.matching, "|") {
			if (s != "" || tt.pattern == "*") && !matchesPattern(tt.pattern, s) {
				t.Errorf("%q does not match %q", tt.pattern, s)
			}
		}
		for _, s := range strings.Split(tt.other, "|") {
			if s != "" && matchesPattern(tt.pattern, s) {
				t.Errorf("%q matches %q", tt.pattern, s)
			}
		}
	}
}

func TestKindsAreSanitised(t *testing.T) {
	for kind, want := range map[string]string{
		"invoice:line-item": "invoice_line_item", "warehouse/bin": "warehouse_bin", "warehouse:bin": "warehouse_bin",
		"invoice line": "invoice line", "1:a": "1:a", "a:": "a:", "a.b": "a.b", "a:1": "a:1", "a-:b": "a_b", "a*": "a*", "": "",
	} {
		if got := sanitize(kind); got != want {
			t.Errorf("sanitize(%q) = %q, want %q", kind, got, want)
		}
	}
}

// leaf, all, anyOf and none build conditions.
func leaf(expr string) *policy.Condition {
	return &policy.Condition{Op: policy.Expr, Expr: text(expr)}
}

func group(op policy.Operator, of ...*policy.Condition) *policy.Condition {
	return &policy.Condition{Op: op, Of: of}
}

func rule(effect policy.Effect, actions, roles string, c *policy.Condition) policy.Rule {
	return policy.Rule{Effect: effect, Actions: textList(strings.Fields(actions)), Roles: textList(strings.Fields(roles)), Condition: c}
}

func resource(kind, version string, rules ...policy.Rule) *policy.Policy {
	return &policy.Policy{Resource: &policy.ResourcePolicy{Resource: text(kind), Version: text(version), Rules: rules}}
}

func ask(action string, roles ...string) *engine.Request {
	return &engine.Request{
		Principal: engine.Principal{ID: "ana", Roles: roles},
		Resource:  engine.Resource{Kind: "doc", ID: "1"},
		Actions:   []string{action},
		Now:       time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC),
	}
}

// decide asks for the one action of req.
func decide(t *testing.T, policies []*policy.Policy, opts Options, req *engine.Request) Result {
	t.Helper()
	results := New(policies, opts).Check(req).Results
	if len(results) != 1 {
		t.Fatalf("%d results for one action", len(results))
	}
	return results[0]
}

func TestConditionTruth(t *testing.T) {
	const failing = "R.attr.missing == 1"
	for name, tt := range map[string]struct {
		condition *policy.Condition
		lenient   bool // whether it holds when errors are false
		strict    string
	}{
		"true":                       {leaf("true"), true, "allow"},
		"a string":                   {leaf(`"true"`), false, "deny"},
		"a number":                   {leaf("1"), false, "deny"},
		"null":                       {leaf("null"), false, "deny"},
		"an optional that is true":   {leaf("optional.of(true)"), true, "allow"},
		"an empty optional":          {leaf("optional.none()"), false, "deny"},
		"an error":                   {leaf(failing), false, "error"},
		"not of an error":            {leaf("!(" + failing + ")"), false, "error"},
		"error or true":              {leaf(failing + " || true"), true, "allow"},
		"error and false":            {leaf(failing + " && false"), false, "deny"},
		"none of an error":           {group(policy.None, leaf(failing)), true, "error"},
		"any of an error, true":      {group(policy.Any, leaf(failing), leaf("true")), true, "error"},
		"any of true, an error":      {group(policy.Any, leaf("true"), leaf(failing)), true, "allow"},
		"all of false, an error":     {group(policy.All, leaf("false"), leaf(failing)), false, "deny"},
		"none of true, an error":     {group(policy.None, leaf("true"), leaf(failing)), false, "deny"},
		"all of any of none":         {group(policy.All, group(policy.Any, group(policy.None, leaf("false")))), true, "allow"},
		"missing is not null":        {leaf("R.attr.missing == null"), false, "error"},
		"null is null":               {leaf("R.attr.nothing == null"), true, "allow"},
		"attributes are doubles":     {leaf("R.attr.n + 1.0 == 8.0"), true, "allow"},
		"and not ints":               {leaf("R.attr.n + 1 == 8"), false, "error"},
		"but compare with them":      {leaf("R.attr.n > 6 && R.attr.n == 7 && R.attr.n == 7u"), true, "allow"},
		"kinds do not equal":         {leaf(`R.attr.n == "7"`), false, "deny"},
		"kinds have no order":        {leaf(`R.attr.n < "7"`), false, "error"},
		"integral double index":      {leaf(`R.attr.list[1.0] == "b"`), true, "allow"},
		"has of an empty field":      {leaf("has(R.scope)"), false, "deny"},
		"has of a field":             {leaf("has(R.id) && has(R.attr)"), true, "allow"},
		"has of no token":            {leaf("has(request.auxData)"), false, "deny"},
		"claim without a token":      {leaf(`request.auxData.jwt.iss == "x"`), false, "error"},
		"leading zeros":              {leaf(`"010.0.0.1".inIPAddrRange("10.0.0.0/8")`), false, "error"},
		"no prefix length":           {leaf(`"10.0.0.1".inIPAddrRange("10.0.0.1")`), false, "error"},
		"mapped address":             {leaf(`"::ffff:10.0.0.1".inIPAddrRange("10.0.0.0/8")`), true, "allow"},
		"other family":               {leaf(`"::1".inIPAddrRange("10.0.0.0/8")`), false, "deny"},
		"intersect keeps the short":  {leaf("intersect([1, 2, 2, 3], [2, 3]) == [2, 3] && intersect([3, 2, 1], [1, 2]) == [1, 2]"), true, "allow"},
		"except keeps repetitions":   {leaf("[1, 1, 2].except([2]) == [1, 1]"), true, "allow"},
		"the empty set is a subset":  {leaf("[].isSubset([1]) && !hasIntersection([], [])"), true, "allow"},
		"accessors are in UTC":       {leaf(`timestamp("2024-01-01T10:00:20-05:00").getHours() == 15`), true, "allow"},
		"now is the request's":       {leaf(`now() == timestamp("2024-05-01T10:00:00Z") && timeSince(now()) == duration("0s")`), true, "allow"},
		"unset global":               {leaf("has(G.x)"), false, "deny"},
		"reading an unset global":    {leaf("G.x == 1"), false, "error"},
		"no effective derived roles": {leaf("runtime.effectiveDerivedRoles == []"), true, "allow"},
	} {
		policies := []*policy.Policy{resource("doc", "default", rule(policy.Allow, "view", "user", tt.condition))}
		req := ask("view", "user")
		req.Resource.Attr = value.Attributes{"nothing": nil, "n": 7.0, "list": []any{"a", "b"}}
		got := decide(t, policies, Options{LenientEvaluation: true}, req)
		if (got.Effect == policy.Allow) != tt.lenient || got.Errored {
			t.Errorf("%s: lenient: %+v, want it to hold: %v", name, got, tt.lenient)
		}
		got = decide(t, policies, Options{}, req)
		is := "deny"
		switch {
		case got.Errored:
			is = "error"
		case got.Effect == policy.Allow:
			is = "allow"
		}
		if is != tt.strict {
			t.Errorf("%s: strict: %+v, want %s", name, got, tt.strict)
		}
	}
}

// The worked example's root policy, over the rows that need nothing else.
func TestWorkedExample(t *testing.T) {
	policies := []*policy.Policy{resource("stock_item", "default",
		rule(policy.Allow, "view", "picker manager", nil),
		rule(policy.Allow, "move", "manager", nil),
		rule(policy.Deny, "move", "picker", leaf("R.attr.frozen")),
		rule(policy.Allow, "report:*", "*", nil),
	)}
	for _, tt := range []struct {
		roles  string
		attr   value.Attributes
		scope  string
		action string
		want   Result
	}{
		{"picker", value.Attributes{"frozen": false}, "", "move", Result{Effect: policy.Deny, Policy: "resource.stock_item.vdefault"}},
		{"manager picker", value.Attributes{"frozen": true}, "", "move", Result{Effect: policy.Allow, Policy: "resource.stock_item.vdefault", Rule: "rule-002"}},
		{"picker", nil, "", "move", Result{Effect: policy.Deny, Policy: "resource.stock_item.vdefault"}},
		{"picker", value.Attributes{"frozen": true}, "", "move", Result{Effect: policy.Deny, Policy: "resource.stock_item.vdefault", Denied: true, Rule: "rule-003"}},
		{"guest", nil, "", "report:daily", Result{Effect: policy.Allow, Policy: "resource.stock_item.vdefault", Rule: "rule-004"}},
		{"guest", nil, "", "report:daily:pdf", Result{Effect: policy.Deny, Policy: "resource.stock_item.vdefault"}},
		{"trainee", nil, ".", "view", Result{Effect: policy.Deny, Policy: "resource.stock_item.vdefault"}},
		{"manager", nil, "paris", "view", Result{Effect: policy.Deny, Policy: "NO_MATCH"}},
	} {
		req := ask(tt.action, strings.Fields(tt.roles)...)
		req.Resource.Kind, req.Resource.Attr, req.Resource.Scope = "stock_item", tt.attr, tt.scope
		tt.want.Action = tt.action
		if got := decide(t, policies, Options{LenientEvaluation: true}, req); got != tt.want {
			t.Errorf("%s %s %v in %q: %+v, want %+v", tt.roles, tt.action, tt.attr, tt.scope, got, tt.want)
		}
	}
}

func TestStrictEvaluationFollowsTheOrderOfRoles(t *testing.T) {
	policies := []*policy.Policy{resource("doc", "default",
		rule(policy.Allow, "view", "admin", nil),
		rule(policy.Allow, "view", "user", leaf("R.attr.missing")),
	)}
	if got := decide(t, policies, Options{}, ask("view", "admin", "user")); got.Effect != policy.Allow {
		t.Errorf("admin first: %+v", got)
	}
	if got := decide(t, policies, Options{}, ask("view", "user", "admin")); got.Effect != policy.Deny || !got.Errored || got.Rule != "rule-002" {
		t.Errorf("user first: %+v", got)
	}
	if got := decide(t, policies, Options{LenientEvaluation: true}, ask("view", "user", "admin")); got.Effect != policy.Allow {
		t.Errorf("user first, lenient: %+v", got)
	}
}

func TestVersionsAndKinds(t *testing.T) {
	policies := []*policy.Policy{
		resource("a:b", "default", rule(policy.Allow, "view", "*", nil)),
		resource("a:b", "v2"),
	}
	for _, tt := range []struct {
		kind, version, defaultVersion string
		effect                        policy.Effect
		policy                        string
	}{
		{"a_b", "", "", policy.Allow, "resource.a_b.vdefault"},
		{"a-b", "default", "v2", policy.Allow, "resource.a_b.vdefault"},
		{"a/b", "", "v2", policy.Deny, "resource.a_b.vv2"},
		{"a b", "", "", policy.Deny, "NO_MATCH"},
		{"a:b", "v3", "", policy.Deny, "NO_MATCH"},
	} {
		req := ask("view", "user")
		req.Resource.Kind, req.Resource.PolicyVersion = tt.kind, tt.version
		got := decide(t, policies, Options{DefaultPolicyVersion: tt.defaultVersion}, req)
		if got.Effect != tt.effect || got.Policy != tt.policy {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

func TestDerivedRoles(t *testing.T) {
	set := &policy.Policy{DerivedRoles: &policy.DerivedRoles{
		Name: text("base"),
		Definitions: []policy.RoleDefinition{
			{Name: text("owner"), ParentRoles: textList([]string{"user"}), Condition: leaf("R.attr.owner == P.id")},
			{Name: text("lead"), ParentRoles: textList([]string{"lead:*"})},
			{Name: text("anyone"), ParentRoles: textList([]string{"x", "*"})},
			{Name: text("unused"), ParentRoles: textList([]string{"*"})},
		},
	}}
	p := resource("doc", "default",
		policy.Rule{Effect: policy.Allow, Actions: textList([]string{"edit"}), DerivedRoles: textList([]string{"owner"})},
		policy.Rule{Effect: policy.Allow, Actions: textList([]string{"lead"}), DerivedRoles: textList([]string{"lead"})},
		policy.Rule{Effect: policy.Allow, Actions: textList([]string{"read"}), DerivedRoles: textList([]string{"anyone"})},
		rule(policy.Allow, "list", "*", leaf(`runtime.effectiveDerivedRoles == ["anyone", "owner"]`)),
	)
	p.Resource.ImportDerivedRoles = textList([]string{"base"})
	policies := []*policy.Policy{p, set}
	for _, tt := range []struct {
		action, role, owner string
		want                policy.Effect
	}{
		{"edit", "user", "ana", policy.Allow},
		{"edit", "user", "bob", policy.Deny},
		{"edit", "owner", "ana", policy.Deny}, // a request's role is no derived role
		{"lead", "lead:x", "bob", policy.Allow},
		{"lead", "lead", "bob", policy.Deny},
		{"read", "whoever", "bob", policy.Allow},
		{"list", "user", "ana", policy.Allow},
		{"list", "lead:x", "ana", policy.Deny},
	} {
		req := ask(tt.action, tt.role)
		req.Resource.Attr = value.Attributes{"owner": tt.owner}
		if got := decide(t, policies, Options{}, req); got.Effect != tt.want || got.Errored {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
	req := ask("list", "user") // without an owner
	if got := decide(t, policies, Options{}, req); !got.Errored {
		t.Errorf("reading derived roles that failed: %+v, want an error", got)
	}
	if got := decide(t, policies, Options{LenientEvaluation: true}, req); got.Effect != policy.Deny || got.Errored {
		t.Errorf("reading derived roles that failed, lenient: %+v", got)
	}
}

func TestVariablesAndConstants(t *testing.T) {
	p := resource("doc", "default",
		rule(policy.Allow, "a", "*", leaf("V.z && variables.b == 3.5")),
		rule(policy.Allow, "bad", "*", leaf("V.bad")),
		rule(policy.Allow, "unused", "*", leaf("true")),
		rule(policy.Allow, "has", "*", leaf("has(V.z) && !has(V.bad)")),
		rule(policy.Allow, "int", "*", leaf("C.limit + 1 > 0")),
		rule(policy.Allow, "global", "*", leaf("G.n + 1 == 4")),
		rule(policy.Allow, "global-double", "*", leaf("globals.n + 1.0 == 4.0")),
	)
	p.Resource.Variables.Local = []policy.Variable{
		{Name: text("z"), Expr: text("V.b > C.limit")},
		{Name: text("b"), Expr: text("C.limit + 1.0")},
		{Name: text("bad"), Expr: text("R.attr.missing.deeper")},
	}
	p.Resource.Constants.Local = []policy.Constant{{Name: text("limit"), Value: value.Of(2.5)}}
	opts := Options{Globals: value.Values{"n": value.OfInt(3)}}
	for action, want := range map[string]string{
		"a": "allow", "bad": "error", "unused": "allow", "has": "allow", "int": "error", "global": "allow", "global-double": "error",
	} {
		got := decide(t, []*policy.Policy{p}, opts, ask(action, "user"))
		if is := got.Effect.String() + strconv.FormatBool(got.Errored); is != map[string]string{
			"allow": "EFFECT_ALLOWfalse", "error": "EFFECT_DENYtrue",
		}[want] {
			t.Errorf("%s: %+v, want %s", action, got, want)
		}
	}
}

// What no messages tell from plain maps: P and R as messages of known fields.
type typedSubject struct {
	ID       string                     `cel:"id"`
	Kind     string                     `cel:"kind"`
	Roles    []string                   `cel:"roles"`
	Attr     map[string]*structpb.Value `cel:"attr"`
	Version  string                     `cel:"policyVersion"`
	Version2 string                     `cel:"policy_version"`
	Scope    string                     `cel:"scope"`
}

type typedAux struct {
	JWT map[string]*structpb.Value `cel:"jwt"`
}

type typedRequest struct {
	Principal typedSubject `cel:"principal"`
	Resource  typedSubject `cel:"resource"`
	Aux       typedAux     `cel:"auxData"`
	Aux2      typedAux     `cel:"aux_data"`
}

type typedRuntime struct {
	Roles  []string `cel:"effectiveDerivedRoles"`
	Roles2 []string `cel:"effective_derived_roles"`
}

// The grammar must not derive what CEL refuses when P, R, request and runtime
// are messages: such a policy would not load, and so test nothing.
func TestGeneratedExpressionsCompile(t *testing.T) {
	SkipSequential(t)
	object := func(x any) *cel.Type { return cel.ObjectType("oracle." + reflect.TypeOf(x).Name()) }
	opts := append((&celEnv{}).language(),
		ext.NativeTypes(reflect.TypeFor[typedSubject](), reflect.TypeFor[typedAux](), reflect.TypeFor[typedRequest](),
			reflect.TypeFor[typedRuntime](), ext.ParseStructTags(true)),
		cel.Variable("request", object(typedRequest{})), cel.Variable("P", object(typedSubject{})),
		cel.Variable("R", object(typedSubject{})), cel.Variable("runtime", object(typedRuntime{})))
	for _, name := range []string{"V", "variables", "C", "constants", "G", "globals"} {
		opts = append(opts, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		t.Fatal(err)
	}
	const sets = uint64(300)
	tried, refused := 0, 0
	for n := range sets {
		for _, p := range NewGenerator(99, n).Set().Policies {
			for _, expr := range expressions(p) {
				tried++
				if _, issues := env.Compile(expr); issues.Err() != nil {
					refused++
					if refused <= 10 {
						t.Errorf("set %d: %s\n%v", n, expr, issues.Err())
					}
				}
			}
		}
	}
	t.Logf("%d expressions, %d refused", tried, refused)
	if tried < 1000 {
		t.Errorf("only %d expressions", tried)
	}
}

// expressions gives all CEL of a policy.
func expressions(p *policy.Policy) (out []string) {
	var walk func(c *policy.Condition)
	walk = func(c *policy.Condition) {
		switch {
		case c == nil:
		case c.Op == policy.Expr:
			out = append(out, c.Expr.Value)
		default:
			for _, m := range c.Of {
				walk(m)
			}
		}
	}
	if r := p.Resource; r != nil {
		for _, v := range r.Variables.Local {
			out = append(out, v.Expr.Value)
		}
		for _, rule := range r.Rules {
			walk(rule.Condition)
		}
	}
	if d := p.DerivedRoles; d != nil {
		for _, v := range d.Variables.Local {
			out = append(out, v.Expr.Value)
		}
		for _, def := range d.Definitions {
			walk(def.Condition)
		}
	}
	return out
}

func TestGeneratorIsAFunctionOfItsSeed(t *testing.T) {
	make := func(seed, n uint64) string {
		g := NewGenerator(seed, n)
		s := g.Set()
		return fmt.Sprintf("%s%+v%s%s", s.YAML(), s.Options, RequestJSON(g.Request(s)), RequestJSON(g.Request(s)))
	}
	if first, again := make(1, 2), make(1, 2); first != again {
		t.Error("the same seed and number give two different sets")
	}
	if make(1, 2) == make(1, 3) || make(1, 2) == make(2, 2) {
		t.Error("different seeds or numbers give the same set")
	}
}

// A generator that hardly ever allows, or never fails, tests little.
func TestGeneratedRequestsMeetEveryOutcome(t *testing.T) {
	SkipSequential(t)
	outcomes := map[string]int{}
	total := 0
	for n := range uint64(100) {
		g := NewGenerator(7, n)
		s := g.Set()
		it := New(s.Policies, s.Options)
		for range 20 {
			for _, r := range it.Check(g.Request(s)).Results {
				total++
				switch {
				case r.Errored:
					outcomes["failed"]++
				case r.Effect == policy.Allow:
					outcomes["allowed"]++
				case r.Denied:
					outcomes["denied"]++
				case r.Policy == engine.NoMatch:
					outcomes["no policy"]++
				default:
					outcomes["no rule"]++
				}
			}
		}
	}
	t.Logf("%d results: %v", total, outcomes)
	for _, name := range []string{"failed", "allowed", "denied", "no policy", "no rule"} {
		if outcomes[name] < total/50 {
			t.Errorf("%s: %d of %d results", name, outcomes[name], total)
		}
	}
}

func TestShrinkFindsTheSmallestCase(t *testing.T) {
	SkipSequential(t)
	fails := func(c Case) bool { // any rule with edit and an expression that reads R.attr.owner
		for _, p := range c.Set.Policies {
			if p.Resource == nil {
				continue
			}
			for _, r := range p.Resource.Rules {
				for _, e := range expressions(&policy.Policy{Resource: &policy.ResourcePolicy{Rules: []policy.Rule{r}}}) {
					if strings.Contains(e, "R.attr.owner") && slices.Contains(texts(r.Actions), "edit") {
						return true
					}
				}
			}
		}
		return false
	}
	for n := uint64(0); ; n++ {
		g := NewGenerator(3, n)
		s := g.Set()
		c := Case{Set: s, Request: g.Request(s)}
		if !fails(c) {
			continue
		}
		before := c.Set.YAML()
		c = Shrink(c, 4000, fails)
		rules := 0
		for _, p := range c.Set.Policies {
			if p.Resource == nil {
				continue
			}
			for _, r := range p.Resource.Rules {
				rules++
				if len(r.Actions) != 1 || r.Condition.Op != policy.Expr || r.Condition.Expr.Value != "R.attr.owner" || len(r.Roles)+len(r.DerivedRoles) != 1 {
					t.Fatalf("not small:\n%s", c.Set.YAML())
				}
			}
		}
		if c.Set.YAML() == before || rules != 1 || len(c.Request.Actions) != 1 || len(c.Request.Principal.Roles) != 1 || c.Request.Resource.Attr != nil {
			t.Fatalf("not small:\n%s%s", c.Set.YAML(), RequestJSON(c.Request))
		}
		return
	}
}

// The oracle is worth something only as long as it decides by itself.
func TestOracleSharesNoCode(t *testing.T) {
	allowed := []string{"edict/engine", "edict/engine/diag", "edict/engine/policy", "edict/engine/value"}
	data := map[string][]string{ // of packages that also decide, what may be named
		"engine": {"Request", "PlanRequest", "Principal", "Resource", "NoMatch", "SchemaEnforcement", "SchemaNone", "SchemaWarn", "SchemaReject"},
		"policy": {"Policy", "ResourcePolicy", "DerivedRoles", "RoleDefinition", "Rule", "Condition", "Variables", "Variable",
			"Constants", "Constant", "ExportVariables", "ExportConstants", "PrincipalPolicy", "PrincipalRule", "ActionRule", "RolePolicy", "RoleRule",
			"ScopePermissions", "PermissionsUnspecified", "OverrideParent", "RequireParentalConsent", "Output", "Metadata", "Schemas", "SchemaRef", "Effect", "NoEffect", "Allow", "Deny", "Operator", "Expr", "All", "Any", "None", "APIVersion"},
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		seen++
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(path, "edict/") && !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", fset.Position(i.Pos()), path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := s.X.(*ast.Ident)
			if ok && data[pkg.Name] != nil && !slices.Contains(data[pkg.Name], s.Sel.Name) {
				t.Errorf("%s uses %s.%s", fset.Position(n.Pos()), pkg.Name, s.Sel.Name)
			}
			return true
		})
	}
	if seen < 5 {
		t.Errorf("looked at %d files", seen)
	}
}

// The oracle's CEL environment against values that were recorded from the
// system whose policies these are.
func TestCELAgainstRecordedValues(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(conformance.Dir(t), "cel_own", "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Context struct {
			JWT                 map[string]any
			Principal, Resource struct {
				ID    string
				Roles []string
				Attr  map[string]any
			}
		}
		Cases []struct {
			Name, Expr, Kind string
			Condition        string
			Value            json.RawMessage
			Error            string
			CompileError     bool
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	of := &source{
		variables: []policy.Variable{
			{Name: text("big_amount"), Expr: text("R.attr.amount > 1000.0")},
			{Name: text("broken"), Expr: text("P.attr.absent.deeper == 1")},
			{Name: text("chained"), Expr: text("V.is_owner && V.big_amount")},
			{Name: text("is_owner"), Expr: text("R.attr.owner == P.id")},
		},
		constants: []policy.Constant{
			{Name: text("limit"), Value: value.Of(10)},
			{Name: text("list"), Value: value.Of([]any{1, 2, 3})},
			{Name: text("record"), Value: value.Of(map[string]any{"n": 1, "name": "rec"})},
		},
	}
	compared, skipped := 0, 0
	for _, tt := range file.Cases {
		if tt.CompileError || strings.Contains(tt.Expr, "hierarchy") || strings.Contains(tt.Expr, "spiffe") ||
			strings.Contains(strings.ToLower(tt.Expr), "path") {
			skipped++ // what the generator does not write, the oracle does not know
			continue
		}
		it := New(nil, Options{LenientEvaluation: true, Globals: value.Values{"environment": value.OfString("test")}})
		it.cel.now = time.Date(2024, 5, 1, 10, 0, 0, 0, time.UTC)
		e := &entry{Interpreter: it, req: &engine.Request{
			Principal: engine.Principal{ID: file.Context.Principal.ID, Roles: file.Context.Principal.Roles, Attr: value.Attributes(file.Context.Principal.Attr)},
			Resource:  engine.Resource{Kind: tt.Kind, ID: file.Context.Resource.ID, Attr: value.Attributes(file.Context.Resource.Attr)},
			AuxData:   engine.AuxData{JWT: value.Attributes(file.Context.JWT)},
		}}
		e.read()
		v, err := it.cel.eval(tt.Expr, e.names(of, &roleList{names: []string{"owner"}}, false))
		compared++
		if held := err == nil && isTrue(v); held != (tt.Condition == "EFFECT_ALLOW") {
			t.Errorf("%s: %s: gives %v, %v, want %s", tt.Name, tt.Expr, v, err, tt.Condition)
		}
		if tt.Value == nil {
			continue
		}
		var want any
		if err := json.Unmarshal(tt.Value, &want); err != nil {
			t.Fatal(err)
		}
		var got any
		if err == nil {
			got, err = asJSON(v)
		}
		if err != nil {
			if !strings.Contains(tt.Expr, "optional") {
				t.Errorf("%s: %s: error %v, want %s", tt.Name, tt.Expr, err, tt.Value)
			}
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s = %v, want %s", tt.Name, tt.Expr, got, tt.Value)
		}
	}
	t.Logf("%d compared, %d not known to the oracle", compared, skipped)
	if compared < 100 {
		t.Errorf("only %d cases compared", compared)
	}
}
