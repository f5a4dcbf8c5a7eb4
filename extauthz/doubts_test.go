package extauthz

import (
	"fmt"
	"slices"
	"testing"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/extauthz/routemap"
)

// What no rule could allow is doubtful, and what only a request can tell is not.
func TestDoubts(t *testing.T) {
	const head = "apiVersion: api.cerbos.dev/v1\n"
	var policies []*policy.Policy
	for i, text := range []string{
		`resourcePolicy: {resource: "shop:book", version: default, rules: [{actions: [lend, "copy:*"], effect: EFFECT_ALLOW, roles: [user]}, {actions: [burn], effect: EFFECT_DENY, roles: ["*"]}]}`,
		`resourcePolicy: {resource: "shop:book", version: default, scope: acme, rules: [{actions: [sell], effect: EFFECT_ALLOW, roles: [clerk]}]}`,
		`resourcePolicy: {resource: "shop:book", version: beta, rules: [{actions: [scan], effect: EFFECT_ALLOW, roles: [user]}]}`,
		`resourcePolicy: {resource: album, version: default, rules: [{actions: ["*"], effect: EFFECT_ALLOW, roles: [admin]}]}`,
		`principalPolicy: {principal: ann, version: v7, rules: [{resource: "shop*", actions: [{action: shelve, effect: EFFECT_ALLOW}, {action: tear, effect: EFFECT_DENY}]}]}`,
		`principalPolicy: {principal: ben, version: v7, rules: [{resource: "shop:book", actions: [{action: "bind*", effect: EFFECT_ALLOW}]}]}`,
		`rolePolicy: {role: clerk, rules: [{resource: "*", allowActions: ["*"]}]}`,
	} {
		p, list := policyfile.Parse(fmt.Sprintf("p%d.yaml", i), []byte(head+text))
		if len(list) > 0 {
			t.Fatal(list)
		}
		policies = append(policies, p)
	}
	for _, test := range []struct {
		check   string // of a route
		version string // by default
		want    []string
	}{
		{`resource: {kind: "shop:book", id: x}, action: lend`, "", nil},
		{`resource: {kind: "shop:book", id: x}, action: lnd`, "", []string{`lnd: did you mean "lend"?`}},
		{`resource: {kind: "shop:book", id: x}, actions: [lend, lnd, Sell]`, "", []string{`lnd: did you mean "lend"?`, `Sell: did you mean "sell"?`}},
		{`resource: {kind: "shop:book", id: x}, action: "copy:page"`, "", nil},
		{`resource: {kind: "shop:book", id: x}, action: copy`, "", []string{"copy: add a rule that allows it"}},
		{`resource: {kind: "shop:book", id: x}, action: burn`, "", []string{"burn: add a rule that allows it"}},
		{`resource: {kind: "shop:book", id: x}, action: sell`, "", nil},
		{`resource: {kind: "shop:book", id: x, scope: other}, action: sell`, "", nil},
		{`resource: {kind: "shop:book", id: x}, action: scan`, "", []string{"scan: add a rule that allows it"}},
		{`resource: {kind: "shop:book", id: x}, action: scan`, "beta", nil},
		{`resource: {kind: "shop:book", id: x, policyVersion: beta}, action: scan`, "", nil},
		{`resource: {kind: "shop:book", id: x, policyVersion: beta}, action: lend`, "", []string{"lend: add a rule that allows it"}},
		{`resource: {kind: "shop:book", id: x, policyVersion: {expr: "request.headers.v"}}, action: scan`, "", nil},
		{`resource: {kind: "shop:book", id: x, policyVersion: {expr: "request.headers.v"}}, action: scam`, "", []string{`scam: did you mean "scan"?`}},
		{`resource: {kind: "shop:book", id: x}, action: shelve`, "", nil},
		{`resource: {kind: "shop:book", id: x}, action: rebind`, "", []string{"rebind: add a rule that allows it"}},
		{`resource: {kind: "shop:book", id: x}, action: binding`, "", nil},
		{`resource: {kind: "shop:book", id: x}, action: tear`, "", []string{"tear: add a rule that allows it"}},
		{`resource: {kind: album, id: x}, action: shelve`, "", nil},
		{`resource: {kind: {expr: "request.headers.k"}, id: x}, action: lnd`, "", nil},
		{`resource: {kind: "shop:book", id: x}, action: {expr: "request.headers.a"}`, "", nil},
		{`plan: true, resource: {kind: "shop:book"}, action: lnd`, "", []string{`lnd: did you mean "lend"?`}},
		{`checks: [{resource: {kind: "shop:book", id: x}, action: lend}, {resource: {kind: "shop:book", id: x}, action: lnd}]`, "", []string{`lnd: did you mean "lend"?`}},
		{"resource: {kind: \"shop:book\", id: x},\n # edict:ignore route-action none is lent yet\n action: lnd", "", nil},
		{"resource: {kind: \"shop:book\", id: x},\n # edict:ignore route-kind none is lent yet\n action: lnd", "", []string{`lnd: did you mean "lend"?`}},
		{`public: true`, "", nil},
	} {
		c, err := NewCompiler(engine.Options{DefaultPolicyVersion: test.version}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		f, list := routemap.Parse("r.yaml", []byte("apiVersion: edict.dev/v1\nrouteMap: {name: a, routes: [{name: b, match: {methods: [GET], path: /b}, "+test.check+"}]}\n"))
		if len(list) > 0 {
			t.Fatal(list)
		}
		files := []*routemap.File{f}
		if _, list := c.Compile("x", policies, nil, files); len(list) > 0 {
			t.Fatalf("%s: %v", test.check, list)
		}
		var got []string
		for _, d := range c.Doubts(policies, files) {
			line := []rune(d.Source)[d.Pos.Column-1:]
			word := string(line[:slices.IndexFunc(line, func(r rune) bool { return r == ',' || r == ']' || r == '}' })])
			got = append(got, word+": "+d.Hint)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s, version %q: got %q, want %q", test.check, test.version, got, test.want)
		}
	}
}
