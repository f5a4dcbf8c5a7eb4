package engine_test

import (
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/value"
)

// evaluated are policies of every kind that decides.
var evaluated = []string{`
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  importDerivedRoles: [roles]
  constants: {local: {limit: 10, tags: [a, b]}}
  variables: {local: {isBig: R.attr.photos > C.limit, isMine: R.attr.owner == P.id, seen: runtime.effectiveDerivedRoles}}
  rules: [{actions: ["*"], effect: EFFECT_ALLOW, derivedRoles: [owner]}]
`, `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  scope: eu
  importDerivedRoles: [roles]
  variables: {local: {fromEU: "true"}}
  rules: [{actions: ["*"], effect: EFFECT_ALLOW, derivedRoles: [guest]}]
`, `
apiVersion: api.cerbos.dev/v1
derivedRoles:
  name: roles
  variables: {local: {mine: R.attr.owner == P.id}}
  definitions:
    - {name: owner, parentRoles: [user], condition: {match: {expr: V.mine}}}
    - {name: guest, parentRoles: [user], condition: {match: {expr: "!V.mine"}}}
`, `
apiVersion: api.cerbos.dev/v1
principalPolicy:
  principal: ann
  version: default
  constants: {local: {level: 3}}
  rules: [{resource: album, actions: [{action: view, effect: EFFECT_ALLOW}]}]
`, `
apiVersion: api.cerbos.dev/v1
rolePolicy:
  role: user
  version: default
  variables: {local: {always: "true"}}
  rules: [{resource: album, allowActions: [view]}]
`}

func evaluatedSet(t *testing.T) *engine.PolicySet {
	t.Helper()
	var policies []*policy.Policy
	for _, text := range evaluated {
		p, list := policyfile.Parse("p.yaml", []byte(text))
		if len(list) > 0 {
			t.Fatal(list.Render())
		}
		policies = append(policies, p)
	}
	set, list := engine.Compile(policies, engine.Options{Globals: value.Values{"env": value.OfString("test")}})
	if len(list) > 0 {
		t.Fatal(list.Render())
	}
	return set
}

const (
	albumKey = "resource.album.vdefault"
	euKey    = "resource.album.vdefault/eu"
	annKey   = "principal.ann.vdefault"
	userKey  = "role.user.vdefault"
)

func TestEvaluate(t *testing.T) {
	set := evaluatedSet(t)
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	ann := engine.Principal{ID: "ann", Roles: []string{"user"}}
	album := func(owner, scope string) engine.Resource {
		return engine.Resource{Kind: "album", ID: "1", Scope: scope, Attr: value.Attributes{"photos": 12, "owner": owner}}
	}
	hers := &engine.Request{Principal: ann, Resource: album("ann", ""), Now: now}
	eu := &engine.Request{Principal: ann, Resource: album("bob", "eu"), Now: now}
	for _, test := range []struct {
		name, key, source string
		req               *engine.Request
		want, typ         string // want of an error: its text
	}{
		{"arithmetic", "", "1 + 1", hers, "2", "int"},
		{"attribute", "", "R.attr.photos", hers, "12", "dyn"},
		{"data", "", `{"a": [P.id]}`, hers, "map[a:[ann]]", "map(string, list(string))"},
		{"no form in JSON", "", `hierarchy("a.b")`, hers, "a.b", "cerbos.lib.hierarchy"},
		{"variable", albumKey, "V.isBig && V.isMine", hers, "true", "bool"},
		{"constant", albumKey, "C.tags", hers, "[a b]", "dyn"},
		{"global", "", "G.env", hers, `"test"`, "dyn"},
		{"clock", "", "now()", hers, `"2026-01-31T08:00:00Z"`, "google.protobuf.Timestamp"},
		{"derived roles", albumKey, "runtime.effectiveDerivedRoles", hers, "[owner]", "list(string)"},
		{"derived roles by a variable", albumKey, "V.seen", hers, "[owner]", "dyn"},
		{"derived roles of the scope", euKey, "runtime.effectiveDerivedRoles", eu, "[guest]", "list(string)"},
		{"derived roles of the policy above", albumKey, "runtime.effectiveDerivedRoles", eu, "[]", "list(string)"},
		{"variable of the scope", euKey, "V.fromEU", eu, "true", "dyn"},
		{"principal policy", annKey, "C.level", hers, "3", "dyn"},
		{"derived roles in a principal policy", annKey, "runtime.effectiveDerivedRoles", hers, "error: a principal policy can't read", "list(string)"},
		{"role policy", userKey, "V.always", hers, "true", "dyn"},
		{"error", albumKey, "V.isBig", &engine.Request{}, "error: no such key: photos", "dyn"},
		{"no policy about the request", albumKey, "C.limit", &engine.Request{}, "10", "dyn"},
		{"no policy, no request", "", "P.id", &engine.Request{}, `""`, "string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, issues := set.Evaluate(test.req, test.key, test.source)
			if len(issues) > 0 {
				t.Fatal(issues)
			}
			got := e.Text
			if e.Err != nil {
				got = "error: " + e.Err.Error()
			}
			if got != test.want && !(e.Err != nil && strings.HasPrefix(got, test.want)) || e.Type != test.typ {
				t.Errorf("got %s of type %s, want %s of type %s", got, e.Type, test.want, test.typ)
			}
		})
	}
}

func TestEvaluateRefuses(t *testing.T) {
	set := evaluatedSet(t)
	locals := []engine.Local{{Name: "total", Value: value.OfInt(3), Type: "int"}}
	for _, test := range []struct {
		key, source  string
		line, column int
		message      string
		hint         string
	}{
		{albumKey, "1 +", 1, 4, "Syntax error: the expression ends too early", ""},
		{albumKey, "total + (", 1, 10, "Syntax error: the expression ends too early", ""},
		{albumKey, "1 == )", 1, 6, `Syntax error: unexpected ")"`, ""},
		{albumKey, "size([1, 2", 1, 11, "Syntax error: mismatched input '<EOF>' expecting {']', ','}", ""},
		{albumKey, "[1,,]", 1, 4, "Syntax error: extraneous input ',' expecting ']'", ""},
		{albumKey, "resource.attr.photos", 1, 1, "undeclared reference to 'resource'", `did you mean "R"?`},
		{albumKey, "principal.id", 1, 1, "undeclared reference to 'principal'", `did you mean "P"?`},
		{albumKey, "user.id", 1, 1, "undeclared reference to 'user'", `did you mean "P"?`},
		{albumKey, "1), total", 1, 2, "Syntax error", ""},
		{albumKey, "V.isBg", 1, 1, `there is no variable "isBg"`, `did you mean "isBig"?`},
		{albumKey, "total > 1 &&\n C.limt", 2, 2, `there is no constant "limt"`, `did you mean "limit"?`},
		{"", "V.isBig", 1, 1, `there is no variable "isBig"`, "only policies have variables, and none is chosen"},
		{userKey, "C.limit", 1, 1, `there is no constant "limit"`, userKey + " has no constants"},
		{albumKey, "V", 1, 1, "V can only be read by name", "write V.name or has(V.name)"},
		{albumKey, "totl", 1, 1, "undeclared reference to 'totl'", `did you mean "total"?`},
		{albumKey, "total ==\n\"x\"", 1, 7, "found no matching overload", ""},
		{albumKey, "", 1, 1, "the expression is empty", ""},
	} {
		_, issues := set.Evaluate(&engine.Request{}, test.key, test.source, locals...)
		if len(issues) == 0 {
			t.Errorf("%q compiles", test.source)
			continue
		}
		i := issues[0]
		if i.Line != test.line || i.Column != test.column || !strings.HasPrefix(i.Message, test.message) || test.hint != "" && i.Hint != test.hint {
			t.Errorf("%q: got %+v", test.source, i)
		}
	}
}

// A result can be handed back under a name, whatever it is.
func TestEvaluateLocals(t *testing.T) {
	set := evaluatedSet(t)
	req := &engine.Request{Principal: engine.Principal{ID: "ann", Roles: []string{"user"}}, Resource: engine.Resource{Kind: "album", Attr: value.Attributes{"photos": 12, "owner": "ann"}}}
	var locals []engine.Local
	for _, l := range []struct{ name, source string }{
		{"i", "1"}, {"u", "1u"}, {"d", "1.0"}, {"s", `"x"`}, {"b", `b"x"`}, {"n", "null"}, {"t", `timestamp("2026-01-31T08:00:00Z")`},
		{"for_", `duration("1h")`}, {"list", "[1, 2]"}, {"m", `{1: "one"}`}, {"h", `hierarchy("a.b")`}, {"p", "P"}, {"o", "optional.of(1)"},
		{"kind", "type(1)"}, {"roles", "runtime.effectiveDerivedRoles"}, {"_", "2"}, {"V", `{"isBig": "no"}`},
	} {
		e, issues := set.Evaluate(req, albumKey, l.source)
		if len(issues) > 0 || e.Err != nil {
			t.Fatal(l.source, issues, e)
		}
		locals = append(locals, engine.Local{Name: l.name, Value: e.Result, Type: e.Type})
	}
	for source, want := range map[string]string{
		"i + 1": "2", "u + 1u": "2", "d + 1.0": "2", `s + s`: `"xx"`, "b.size()": "1", "n == null": "true", "t.getHours()": "8", "for_ < duration(\"2h\")": "true",
		"list[1] + i": "3", "m[1]": `"one"`, `h.ancestorOf(hierarchy("a.b.c"))`: "true", "p.id": `"ann"`, "o.value()": "1", "type(i) == kind": "true",
		"roles": "[owner]", "_ * _": "4", "V.isBig": `"no"`, "[3].map(i, i + 1)": "[4]", `"i"`: `"i"`, "i // i": "1", "P.id + s\n+ s": `"annxx"`,
		"roles.size() + runtime.effectiveDerivedRoles.size() + i": "3", "G.env": `"test"`,
	} {
		e, issues := set.Evaluate(req, albumKey, source, locals...)
		if len(issues) > 0 || e.Err != nil || e.Text != want {
			t.Errorf("%q: got %+v, %v, want %s", source, e, issues, want)
		}
	}
	// Its steps are those of the expression alone.
	e, _ := set.Evaluate(req, albumKey, "i > 0 &&\n s == P.id", locals...)
	var steps []string
	for _, s := range e.Steps {
		steps = append(steps, s.Text)
		if s.Text == "P.id" && (s.Line != 2 || s.Column != 7) {
			t.Errorf("P.id is at %d:%d", s.Line, s.Column)
		}
	}
	if got := strings.Join(steps, "; "); got != "i > 0 &&\n s == P.id; i > 0; i; s == P.id; s; P.id" {
		t.Errorf("got steps %q", got)
	}
}

func TestNamesAndPolicies(t *testing.T) {
	set := evaluatedSet(t)
	if got, want := strings.Join(set.Policies(), " "), strings.Join([]string{annKey, albumKey, euKey, userKey}, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := set.NamesOf(albumKey); strings.Join(n.Variables, " ") != "isBig isMine seen" || strings.Join(n.Constants, " ") != "limit tags" {
		t.Errorf("got %v", n)
	}
	if n := set.NamesOf("resource.nobody.vdefault"); len(n.Variables)+len(n.Constants) > 0 {
		t.Errorf("got %v", n)
	}
	for i, p := range set.Sources() {
		if p.Key() != set.Policies()[i] {
			t.Errorf("source %d is %s", i, p.Key())
		}
	}
	for scope, want := range map[string]string{"": albumKey, "eu": euKey, "eu.fr": ""} {
		if got := set.PolicyFor(&engine.Request{Resource: engine.Resource{Kind: "album", Scope: scope}}); got != want {
			t.Errorf("scope %q: got %q, want %q", scope, got, want)
		}
	}
}
