package engine_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"edict/engine"
	"edict/engine/policy"
)

// fuzzedPolicies have a condition, an output or a scope for most of what a
// request can hold.
func fuzzedPolicies(t testing.TB) []*policy.Policy {
	return append(parse(t, abacRoles, abac), parse(t, `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: thing
  version: default
  variables:
    local:
      deep: R.attr.a.b.c
      list: 'R.attr.l.filter(x, x in P.attr.l)'
  rules:
    - {actions: ["*"], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {any: {of: [
        {expr: V.deep == P.attr.a.b.c}, {expr: size(V.list) > 2}, {expr: R.attr.s.matches(P.attr.s)},
        {expr: hierarchy(R.attr.h).ancestorOf(hierarchy(P.attr.h))}, {expr: 'timestamp(R.attr.t) < now()'},
        {expr: 'intersect(R.attr.l, P.attr.l) != except(R.attr.l, P.attr.l)'}, {expr: R.attr.ip.inIPAddrRange(P.attr.net)},
        {expr: R.attr.n / P.attr.n > 1.0}, {expr: "R.attr == P.attr || request.auxData.jwt == R.attr"}]}}},
        output: {when: {ruleActivated: R, conditionNotMet: "[V.list, P.attr, request.auxData.jwts]"}}}
    - {name: d, actions: [delete, "d*"], effect: EFFECT_DENY, roles: ["a*", user], condition: {match: {none: {of: [{expr: R.attr.ok}]}}}}
`, `
apiVersion: api.cerbos.dev/v1
resourcePolicy: {resource: thing, version: default, scope: a, scopePermissions: SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS,
  rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: "runtime.effectiveDerivedRoles == []"}}}]}
`, `
apiVersion: api.cerbos.dev/v1
rolePolicy: {role: clerk, version: default, scope: a, parentRoles: [user, clerk], rules: [{resource: "th*", allowActions: [view, "d*"], condition: {match: {expr: R.id != P.id}}}]}
`, `
apiVersion: api.cerbos.dev/v1
principalPolicy: {principal: zed, version: default, rules: [{resource: "*", actions: [{action: "v*", effect: EFFECT_DENY, condition: {match: {expr: R.attr.sealed}}}]}]}
`)...)
}

// No request makes a Check panic or decide in two ways, and Explain agrees.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"actions":["view","delete"],"principal":{"id":"zed","roles":["user","clerk"],"attr":{"l":[1,2,"x"],"a":{"b":{"c":null}},"net":"10.0.0.0/8"}},"resource":{"kind":"thing","id":"1","scope":"a","attr":{"l":[2,1],"ip":"10.1.2.3","n":1e308}}}`,
		`{"actions":["approve"],"principal":{"id":"bob","roles":["manager"],"attr":{"regions":["emea"],"approvalLimit":10}},"resource":{"kind":"expense","attr":{"amount":5,"region":"emea","state":"draft"}}}`,
		`{"actions":["d:x",""],"principal":{"roles":["a:b",""],"scope":"."},"resource":{"kind":"th-ing","scope":".a.b","policyVersion":"default","attr":{"h":"a.b","t":"2024-01-01T00:00:00Z"}}}`,
		`{"actions":["view"],"auxData":{"jwt":{"iss":"x"},"jwts":{"a":{"claims":{"b":[]}}}},"principal":{"id":"zed","roles":["clerk"]},"resource":{"kind":"thing","scope":"a"}}`,
	} {
		f.Add([]byte(seed))
	}
	policies := fuzzedPolicies(f)
	var sets [2]*engine.PolicySet
	for i := range sets {
		set, list := engine.Compile(policies, engine.Options{LenientEvaluation: i == 1, LenientScopeSearch: i == 1})
		fatalIfAny(f, list)
		sets[i] = set
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		var in caseInput
		if len(content) > 1<<16 || json.Unmarshal(content, &in) != nil || len(in.Actions) > 10 || len(in.Principal.Roles) > 10 {
			return
		}
		req := in.request()
		req.Now = noon
		for i, set := range sets {
			var once, again engine.Decision
			set.Check(req, &once)
			set.Check(req, &again)
			if got, want := decisionText(&again), decisionText(&once); !reflect.DeepEqual(got, want) {
				t.Errorf("set %d: first %q, then %q", i, want, got)
			}
			if got, want := decisionText(&set.Explain(req).Decision), decisionText(&once); !reflect.DeepEqual(got, want) {
				t.Errorf("set %d: decided %q, explained %q", i, want, got)
			}
			for _, r := range once.Results {
				if r.Allowed() && r.Rule == nil {
					t.Errorf("%s is allowed by no rule", r.Action)
				}
			}
		}
	})
}
