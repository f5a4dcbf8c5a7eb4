package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// unsafeString gives memory as a text, as readers do that do not copy.
func unsafeString(memory []byte) string { return unsafe.String(&memory[0], len(memory)) }

// Every flip turns the decision around, by the second opinion as well, and is
// one change unless there are two.
func TestFlipsFlip(t *testing.T) {
	oracle.SkipSequential(t)
	found := map[string]int{}
	forEachCase(t, 40, 4, func(name string, ps *engine.PolicySet, reference *oracle.Interpreter, req *engine.Request) {
		for i, action := range req.Actions {
			search := ps.Flips(req, action, engine.FlipLimits{Flips: 3, Checks: 300})
			was := reference.Check(req).Results[i].Effect
			if search.Before.Effect != was {
				t.Fatalf("%s: %s is %v before, not %v", name, action, search.Before.Effect, was)
			}
			if len(search.Flips) == 0 {
				found["none"]++
			}
			if again := ps.Flips(req, action, engine.FlipLimits{Flips: 3, Checks: 300}); fmt.Sprint(flipsText(again)) != fmt.Sprint(flipsText(search)) && !req.Now.IsZero() {
				t.Fatalf("%s: %s: one search gives %v, another %v", name, action, flipsText(search), flipsText(again))
			}
			for _, f := range search.Flips {
				found[f.Changes[0].Kind.String()]++
				changed := f.Apply(req)
				is := reference.Check(changed).Results[i].Effect
				if is == was || is != f.Result.Effect {
					t.Fatalf("%s: %s: with %s it is %v, the flip says %v, before it was %v\n%s", name, action, changesText(f.Changes), is, f.Result.Effect, was, oracle.RequestJSON(changed))
				}
			}
		}
	})
	t.Logf("changes by kind: %v", found)
	for _, kind := range []engine.ChangeKind{engine.SetAttribute, engine.RemoveAttribute, engine.AddRole, engine.RemoveRole, engine.SetScope, engine.SetVersion} {
		if found[kind.String()] == 0 {
			t.Errorf("no flip is to %v: the test does not see enough", kind)
		}
	}
}

func flipsText(s *engine.FlipSearch) (out []string) {
	for _, f := range s.Flips {
		out = append(out, changesText(f.Changes))
	}
	return out
}

func changesText(changes []engine.Change) string {
	var parts []string
	for _, c := range changes {
		switch c.Kind {
		case engine.AddRole:
			parts = append(parts, "+"+c.New.Str())
		case engine.RemoveRole:
			parts = append(parts, "-"+c.Old.Str())
		case engine.RemoveAttribute:
			parts = append(parts, fmt.Sprintf("-%c.%s", c.Of.String()[0], strings.Join(c.Path, ".")))
		case engine.SetAttribute:
			parts = append(parts, fmt.Sprintf("%c.%s=%v", c.Of.String()[0], strings.Join(c.Path, "."), c.New))
		case engine.SetScope:
			parts = append(parts, fmt.Sprintf("scope=%q", c.New.Str()))
		case engine.SetVersion:
			parts = append(parts, fmt.Sprintf("version=%q", c.New.Str()))
		}
	}
	return strings.Join(parts, " ")
}

const flipRules = `
resourcePolicy:
  resource: doc
  version: default
  importDerivedRoles: [people]
  constants: {local: {nets: [10.1.0.0/16, 192.168.0.0/16], small: 100}}
  variables: {local: {office: 'C.nets.exists(n, P.attr.ip.inIPAddrRange(n))', cheap: R.attr.amount <= C.small}}
  rules:
    - {actions: [limit], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.amount <= P.attr.limit}}}
    - {actions: [above], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.amount > 2000}}}
    - {actions: [flag], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: "!R.attr.locked"}}}
    - {actions: [in], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'R.attr.state in ["open", "new"]'}}}
    - {actions: [member], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.region in P.attr.regions}}}
    - {actions: [tags], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'hasIntersection(R.attr.tags, ["public"])'}}}
    - {actions: [shared], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'R.attr.shares.exists(s, s.with == P.id)'}}}
    - {actions: [net], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: V.office}}}
    - {actions: [cheap], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: V.cheap}}}
    - {actions: [nested], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'R.attr.geo.city == "Bergen"'}}}
    - {actions: [sum], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.amount + R.attr.fee <= 1000.0}}}
    - {actions: [recent], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'timestamp(R.attr.created).timeSince() < duration("24h")'}}}
    - {actions: [until], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: 'now() < timestamp(R.attr.until)'}}}
    - {actions: [has], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: has(R.attr.approvedBy)}}}
    - {actions: [absent], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: "!has(R.attr.locked)"}}}
    - {actions: [differs], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.region != "emea"}}}
    - {actions: [size], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: size(R.attr.tags) >= 3}}}
    - {actions: [role], effect: EFFECT_ALLOW, roles: [editor, "chief:*"]}
    - {actions: [derived], effect: EFFECT_ALLOW, derivedRoles: [owner]}
    - {actions: [excluded], effect: EFFECT_ALLOW, roles: ["*"]}
    - {actions: [excluded], effect: EFFECT_DENY, roles: ["*"], condition: {match: {expr: '"auditor" in P.roles'}}}
    - {actions: [named], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: '"boss" in P.roles'}}}
    - {actions: [two], effect: EFFECT_ALLOW, roles: [editor], condition: {match: {expr: 'R.attr.state == "open"'}}}
    - {actions: [three], effect: EFFECT_ALLOW, roles: [editor], condition: {match: {all: {of: [{expr: 'R.attr.state == "open"'}, {expr: 'R.attr.region == "apac"'}]}}}}
    - {actions: [never], effect: EFFECT_DENY, roles: ["*"]}
    - {actions: [error], effect: EFFECT_ALLOW, roles: ["*"], condition: {match: {expr: R.attr.unknown == 7}}}
`

const flipPeople = `
derivedRoles:
  name: people
  definitions:
    - {name: owner, parentRoles: [user], condition: {match: {expr: R.attr.owner == P.id}}}
`

// The smallest change is the one that somebody would make.
func TestTheSmallestFlip(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, header+flipRules, header+flipPeople)
	req := &engine.Request{
		Principal: engine.Principal{ID: "ann", Roles: []string{"user", "auditor"}, Attr: value.Attributes{"limit": 1000, "regions": []any{"apac"}, "ip": "8.8.8.8"}},
		Resource: engine.Resource{Kind: "doc", ID: "1", Attr: value.Attributes{
			"amount": 1200, "fee": 50, "locked": true, "state": "closed", "region": "emea", "tags": []any{"x"}, "owner": "bob",
			"geo": map[string]any{"city": "Oslo"}, "created": "2026-03-01T09:00:00Z", "until": "2026-03-01T00:00:00Z", "shares": []any{map[string]any{"with": "cid"}},
		}},
		Now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
	}
	for _, tc := range []struct{ action, want string }{
		{"limit", "r.amount=1000 | p.limit=1200"},
		{"above", "r.amount=2001"},
		{"flag", "r.locked=false"},
		{"in", `r.state="open"`},
		{"member", `r.region="apac" | p.regions=[apac emea]`},
		{"tags", "r.tags=[x public]"},
		{"shared", "r.shares=[map[with:cid] map[with:ann]]"},
		{"net", `p.ip="10.1.0.1"`},
		{"cheap", "r.amount=100"},
		{"nested", `r.geo.city="Bergen"`},
		{"sum", "r.amount=950"},
		{"recent", `r.created="2026-03-01T10:00:01Z"`},
		{"until", `r.until="2026-03-02T10:00:01Z"`},
		{"has", "r.approvedBy=true"},
		{"absent", "-r.locked"},
		{"differs", `r.region="other"`},
		{"size", "r.tags=[x other-2 other-3]"},
		{"role", "+editor"},
		{"derived", `r.owner="ann"`},
		{"excluded", "-auditor"},
		{"named", "+boss"},
		{"two", `r.state="open" +editor`},
		{"three", ""},
		{"never", ""},
		{"error", "r.unknown=7"},
		{"unheard-of", ""},
	} {
		search := ps.Flips(req, tc.action, engine.FlipLimits{Flips: 2})
		var got []string
		for _, f := range search.Flips {
			got = append(got, changesText(f.Changes))
			if !f.Result.Allowed() {
				t.Errorf("%s: %s does not allow", tc.action, changesText(f.Changes))
			}
		}
		if len(got) > 0 && !strings.Contains(tc.want, " | ") {
			got = got[:1]
		}
		if text := strings.Join(got, " | "); text != tc.want {
			t.Errorf("%s: got %s, want %s", tc.action, text, tc.want)
		}
		if search.Cut {
			t.Errorf("%s: the search was cut off after %d checks", tc.action, search.Checks)
		}
	}
}

// What is allowed is flipped to denied; limits hold; the request stays as it is.
func TestFlipsOfWhatIsAllowed(t *testing.T) {
	ps := compileTexts(t, engine.Options{}, header+flipRules, header+flipPeople)
	attr := value.Attributes{"amount": 900, "geo": map[string]any{"city": "Bergen", "zip": 1}}
	req := &engine.Request{
		Principal: engine.Principal{ID: "ann", Roles: []string{"user", "editor"}, Attr: value.Attributes{"limit": 1000}},
		Resource:  engine.Resource{Kind: "doc", ID: "1", Attr: attr},
		Actions:   []string{"limit", "nested", "role"},
		Now:       time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC),
	}
	for action, want := range map[string]string{"limit": "r.amount=1001", "nested": `r.geo.city="other"`, "role": "-editor"} {
		search := ps.Flips(req, action, engine.FlipLimits{})
		if len(search.Flips) != 1 || changesText(search.Flips[0].Changes) != want || search.Flips[0].Result.Allowed() {
			t.Errorf("%s: got %+v, want %s", action, search.Flips, want)
		}
	}
	if fmt.Sprint(attr) != "map[amount:900 geo:map[city:Bergen zip:1]]" || len(req.Actions) != 3 {
		t.Errorf("the request was changed: %v", attr)
	}
	if search := ps.Flips(req, "three", engine.FlipLimits{Checks: 2}); !search.Cut || search.Checks != 2 || len(search.Flips) > 0 {
		t.Errorf("two checks allow %d, and %d flips", search.Checks, len(search.Flips))
	}
	if search := ps.Flips(req, "three", engine.FlipLimits{Time: 1}); !search.Cut || search.Checks > 1 {
		t.Errorf("a nanosecond allows %d checks", search.Checks)
	}
}

func TestFlipsElsewhere(t *testing.T) {
	ps := compileTexts(t, engine.Options{},
		header+"resourcePolicy: {resource: doc, version: default, rules: [{actions: [a], effect: EFFECT_DENY, roles: ['*']}]}",
		header+"resourcePolicy: {resource: doc, version: default, scope: acme, rules: [{actions: [a], effect: EFFECT_ALLOW, roles: ['*']}]}",
		header+"resourcePolicy: {resource: doc, version: next, rules: [{actions: [b], effect: EFFECT_ALLOW, roles: ['*']}]}",
		header+"resourcePolicy: {resource: doc, version: default, scope: cons, scopePermissions: SCOPE_PERMISSIONS_REQUIRE_PARENTAL_CONSENT_FOR_ALLOWS, rules: [{actions: [a], effect: EFFECT_ALLOW, roles: ['*']}]}",
		header+"rolePolicy: {role: clerk, scope: acme, rules: [{resource: doc, allowActions: [c]}]}",
	)
	for _, tc := range []struct{ scope, version, action, want string }{
		{"", "", "a", `scope="acme"`},
		{"cons", "", "a", `scope="acme"`},
		{"", "", "b", `version="next"`},
		{"nowhere", "", "a", `scope="acme"`},
		{"", "none", "a", ""}, // it takes two: a version and a scope
	} {
		req := &engine.Request{
			Principal: engine.Principal{ID: "ann", Roles: []string{"user"}}, Actions: []string{tc.action},
			Resource: engine.Resource{Kind: "doc", ID: "1", Scope: tc.scope, PolicyVersion: tc.version},
		}
		got := ""
		for _, f := range ps.Flips(req, tc.action, engine.FlipLimits{}).Flips {
			got += changesText(f.Changes)
		}
		if got != tc.want {
			t.Errorf("%+v: got %q", tc, got)
		}
	}
}
