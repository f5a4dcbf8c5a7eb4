package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// doubling is a policy whose variables each hold the one before twice.
func doubling(levels int, rule string) string {
	var b strings.Builder
	b.WriteString("apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: doc\n  version: default\n  variables:\n    local:\n      v0: '[R.id, P.id]'\n      s0: R.id + P.id\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "      v%d: '[V.v%d, V.v%d]'\n      s%d: V.s%d + V.s%d\n", i, i-1, i-1, i, i-1, i-1)
	}
	fmt.Fprintf(&b, "  rules:\n    - {actions: [a], effect: EFFECT_ALLOW, roles: [u], %s}\n", rule)
	return b.String()
}

// askDoc checks one action on a doc.
func askDoc(set *engine.PolicySet, action string, attr value.Mapping, role string) engine.Result {
	var d engine.Decision
	set.Check(&engine.Request{
		Principal: engine.Principal{ID: "p", Roles: []string{role}},
		Resource:  engine.Resource{Kind: "doc", ID: "1", Attr: attr},
		Actions:   []string{action},
	}, &d)
	return d.Results[0]
}

// Variables that hold each other twice end in an error, whatever is done with
// them, instead of taking all the memory and the time there is.
func TestDoubledVariablesEnd(t *testing.T) {
	oracle.SkipSequential(t)
	for _, rule := range []string{
		"condition: {match: {expr: V.v60 == V.v60}}",
		"condition: {match: {expr: V.v60.size() == 2}}",
		"condition: {match: {expr: V.s60 != ''}}",
		"condition: {match: {expr: 'V.v60.transformList(i, x, x) == V.v60'}}",
		"condition: {match: {expr: 'hasIntersection(V.v60, V.v60)'}}",
		"condition: {match: {expr: '!has(V.v60)'}}",
		"condition: {match: {expr: 'true || V.v60.size() == 1 || !(V.s60 == R.id)'}}",
	} {
		for _, lenient := range []bool{false, true} {
			set := compileTexts(t, engine.Options{LenientEvaluation: lenient}, doubling(60, rule))
			r := askDoc(set, "a", nil, "u")
			if strings.Contains(rule, "true ||") {
				if !r.Allowed() { // what is not reached costs nothing
					t.Errorf("%s: %v %v", rule, r.Reason, r.Err)
				}
				continue
			}
			if r.Reason != engine.ReasonError || !errors.Is(r.Err, expr.ErrTooManySteps) {
				t.Errorf("lenient %v, %s: %v %v", lenient, rule, r.Reason, r.Err)
			}
		}
	}
	set := compileTexts(t, engine.Options{}, doubling(60, "output: {when: {ruleActivated: V.v60}}"), strings.Replace(doubling(16, "output: {when: {ruleActivated: V.v16}}"), "doc", "small", 1))
	var d engine.Decision
	for kind, ok := range map[string]bool{"doc": false, "small": true} {
		set.Check(&engine.Request{Principal: engine.Principal{ID: "p", Roles: []string{"u"}}, Resource: engine.Resource{Kind: kind}, Actions: []string{"a"}}, &d)
		if len(d.Outputs) != 1 || (d.Outputs[0].Err == "") != ok {
			t.Errorf("%s: %d outputs, %.100v", kind, len(d.Outputs), d.Outputs)
		}
	}
}

// Outputs are bounded as they grow: by the steps of a check, and by what whoever asks
// has room for. What has no room refuses everything.
func TestLargeOutputs(t *testing.T) {
	set := compileTexts(t, engine.Options{}, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - {actions: [plain], effect: EFFECT_ALLOW, roles: [u]}
    - {actions: ["tell-*"], effect: EFFECT_ALLOW, roles: [u], output: {when: {ruleActivated: R.attr.t}}}
    - {actions: [many], effect: EFFECT_ALLOW, roles: [u], output: {when: {ruleActivated: "R.attr.n.map(x, R.attr.t)"}}}
    - {actions: [members], effect: EFFECT_ALLOW, roles: [u], output: {when: {ruleActivated: "{'t': R.attr.t, 'b': bytes('abcd')}"}}}
    - {actions: [wrong], effect: EFFECT_ALLOW, roles: [u], output: {when: {ruleActivated: "R.attr[R.attr.t]"}}}
`)
	ask := func(text string, list, most int, actions ...string) (d engine.Decision) {
		n := make(value.Slice, list)
		for i := range n {
			n[i] = value.OfDouble(float64(i))
		}
		set.Check(&engine.Request{
			Principal: engine.Principal{ID: "p", Roles: []string{"u"}}, Actions: actions, MaxOutputs: most,
			Resource: engine.Resource{Kind: "doc", ID: "1", Attr: value.Values{"t": value.OfString(text), "n": value.OfSequence(n)}},
		}, &d)
		return d
	}
	text := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		actions []string
		size    int // of all outputs
		outputs int
	}{
		{[]string{"plain", "tell-1", "tell-2"}, 2 * 1004, 2},
		{[]string{"tell-1", "plain"}, 1004, 1},
		{[]string{"many"}, 4 + 100*1004, 1},
		{[]string{"members"}, 4 + (4 + 1 + 1000) + (4 + 1 + 8), 1},
		{[]string{"wrong"}, 4 + len("no such key: ") + 1000, 1},
	} {
		for _, most := range []int{0, tt.size} {
			if d := ask(text, 100, most, tt.actions...); d.Err != nil || !d.Allowed() || len(d.Outputs) != tt.outputs {
				t.Errorf("%s, at most %d bytes: %v with %d outputs, %v", tt.actions, most, d.Allowed(), len(d.Outputs), d.Err)
			}
		}
		d := ask(text, 100, tt.size-1, tt.actions...)
		if d.Err != engine.ErrOutputs || len(d.Outputs) != 0 || len(d.Results) != len(tt.actions) {
			t.Errorf("%s, with a byte too little: %v with %d outputs", tt.actions, d.Err, len(d.Outputs))
		}
		for i := range d.Results {
			if r := &d.Results[i]; r.Allowed() || r.Action != tt.actions[i] || r.Reason != engine.ReasonError || r.Err != engine.ErrOutputs {
				t.Errorf("%s, with a byte too little: %+v", tt.actions, *r)
			}
		}
	}

	var d engine.Decision
	set.Check(&engine.Request{
		Principal: engine.Principal{ID: "p", Roles: []string{"u"}}, Resource: engine.Resource{Kind: "doc"}, Actions: []string{"tell-1"},
		NoOutputs: true, MaxOutputs: 1,
	}, &d)
	if !d.Allowed() || len(d.Outputs) != 0 {
		t.Errorf("without outputs: %+v", d)
	}

	large := strings.Repeat("x", 1<<20)
	for most, bound := range map[int]uint64{4 << 20: 8 << 20, 0: 200 << 20} { // of the 1000 times 1 MiB that are asked for
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d := ask(large, 1000, most, "many")
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > bound && !oracle.Race { // the race detector takes memory of its own
			t.Errorf("at most %d bytes: %d were taken", most, got)
		}
		if most == 0 && (len(d.Outputs) != 1 || d.Outputs[0].Err != expr.ErrTooManySteps.Error()) || most > 0 && d.Err != engine.ErrOutputs {
			t.Errorf("at most %d bytes: %v, %.200v", most, d.Err, d.Outputs)
		}
	}
}

// A principal may have many roles, and not so many that looking at them takes longer
// than anything else may.
func TestRolesWithoutEnd(t *testing.T) {
	oracle.SkipSequential(t)
	const actions = 50
	set := compileTexts(t, engine.Options{LenientEvaluation: true}, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - {actions: ["*"], effect: EFFECT_ALLOW, roles: [last, "never-*"]}
`)
	req := &engine.Request{Principal: engine.Principal{ID: "p"}, Resource: engine.Resource{Kind: "doc", ID: "1"}}
	for i := range actions {
		req.Actions = append(req.Actions, fmt.Sprint("a", i))
	}
	for n, want := range map[int]bool{1000: true, 10_000: true, 300_000: false} {
		req.Principal.Roles = nil
		for i := range n {
			req.Principal.Roles = append(req.Principal.Roles, fmt.Sprint("r", i))
		}
		req.Principal.Roles = append(req.Principal.Roles, "last")
		var d engine.Decision
		set.Check(req, &d)
		last := &d.Results[actions-1]
		if d.Allowed() != want || !want && (last.Reason != engine.ReasonError || !errors.Is(last.Err, expr.ErrTooManySteps)) {
			t.Errorf("%d roles: %v, %v", n, d.Allowed(), last.Err)
		}
	}
}

// Under lenient evaluation a condition that fails counts as false. Who sends so
// much data that a DENY rule can't be evaluated must not get away with it.
func TestLargeRequestsAreNotExcused(t *testing.T) {
	oracle.SkipSequential(t)
	set := compileTexts(t, engine.Options{LenientEvaluation: true}, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  variables: {local: {bad: "R.attr.a.exists(x, R.attr.b.exists(y, x == y))"}}
  rules:
    - {actions: ["*"], effect: EFFECT_ALLOW, roles: [u]}
    - {actions: [plain], effect: EFFECT_DENY, roles: [u], condition: {match: {expr: "R.attr.a.exists(x, R.attr.b.exists(y, x == y))"}}}
    - {actions: [has], effect: EFFECT_DENY, roles: [u], condition: {match: {expr: "has(V.bad) && V.bad"}}}
    - {actions: [none], effect: EFFECT_DENY, roles: [u], condition: {match: {none: {of: [{expr: "!V.bad"}]}}}}
    - {actions: [celgo], effect: EFFECT_DENY, roles: [u], condition: {match: {expr: "R.attr.a.transformList(i, x, R.attr.b.exists(y, x == y)).exists(x, x)"}}}
`)
	list := func(prefix string, n int) value.Value {
		out := make(value.Slice, n)
		for i := range out {
			out[i] = value.OfString(prefix + fmt.Sprint(i))
		}
		return value.OfSequence(out)
	}
	for _, action := range []string{"plain", "has", "none", "celgo"} {
		if r := askDoc(set, action, value.Values{"a": list("a", 10_000), "b": list("b", 10_000)}, "u"); r.Reason != engine.ReasonError {
			t.Errorf("%s with much data: %v", action, r.Reason)
		}
		if r := askDoc(set, action, value.Values{"a": list("a", 100), "b": list("b", 100)}, "u"); !r.Allowed() {
			t.Errorf("%s with little data: %v", action, r.Reason)
		}
		if r := askDoc(set, action, value.Values{"a": list("a", 1), "b": list("a", 1)}, "u"); r.Reason != engine.ReasonDenied {
			t.Errorf("%s: %v", action, r.Reason)
		}
	}
}

// Policies made to take long end in errors, or compile, soon. A test that hangs
// here has found one that does not.
func TestHostilePoliciesCompileOrNot(t *testing.T) {
	oracle.SkipSequential(t)
	rule := func(expression string) string {
		return "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: doc\n  version: default\n  rules:\n    - {actions: [a], effect: EFFECT_ALLOW, roles: [u], condition: {match: {expr: '" + expression + "'}}}"
	}
	var circle []string
	for i := range 2000 {
		circle = append(circle, fmt.Sprintf("apiVersion: api.cerbos.dev/v1\nrolePolicy: {role: r%d, parentRoles: [r%d], rules: []}", i, (i+1)%2000))
	}
	for name, tc := range map[string]struct {
		texts []string
		want  diag.Code
	}{
		"loops over constants": {[]string{rule("lists.range(100000).all(x, lists.range(1000).all(y, x + y >= 0))")}, ""},
		"large constants":      {[]string{rule(`"` + strings.Repeat("x", 30_000) + `".replace("", "` + strings.Repeat("y", 30_000) + `").size() > 0`)}, ""},
		"a list of a million":  {[]string{rule("lists.range(1000000).map(x, [x, x]).size() > 0")}, ""},
		"doubled constants": {[]string{rule(`cel.bind(a, "` + strings.Repeat("x", 1000) + `", cel.bind(b, a` + strings.Repeat("+a", 99) +
			`, cel.bind(c, b` + strings.Repeat("+b", 99) + `, cel.bind(d, c` + strings.Repeat("+c", 99) + `, d.size() > 0))))`)}, ""},
		"a circle of roles": {circle, engine.CodeTooManyParents},
		"a deep scope": {[]string{"apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: doc, version: default, scope: '" + strings.Repeat("a.", 5000) + "a', rules: []}"},
			engine.CodeMissingScope},
	} {
		set, diags := engine.Compile(parse(t, tc.texts...), engine.Options{})
		if tc.want == "" && set == nil || tc.want != "" && (len(diags) == 0 || diags[0].Code != tc.want) || len(diags) > 20 {
			t.Errorf("%s: %d diagnostics, %.300v", name, len(diags), diags)
		}
	}
}

// What was in a Decision before does not show in the next, however that ends.
func TestDecisionsAreNotMixed(t *testing.T) {
	set := compileTexts(t, engine.Options{}, `apiVersion: api.cerbos.dev/v1
derivedRoles: {name: d, definitions: [{name: owner, parentRoles: [u]}]}
`, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  importDerivedRoles: [d]
  rules:
    - {actions: [a], effect: EFFECT_ALLOW, derivedRoles: [owner], condition: {match: {expr: now() > timestamp("2000-01-01T00:00:00Z")}}, output: {when: {ruleActivated: R.id}}}
    - {actions: [b], effect: EFFECT_ALLOW, roles: [u], condition: {match: {expr: R.attr.gone}}}
`)
	full := &engine.Request{Principal: engine.Principal{ID: "p", Roles: []string{"u"}}, Resource: engine.Resource{Kind: "doc", ID: "1"}, Actions: []string{"a", "b"}, IncludeMeta: true}
	var d engine.Decision
	for name, req := range map[string]*engine.Request{
		"another kind":   {Principal: full.Principal, Resource: engine.Resource{Kind: "other"}, Actions: []string{"a", "b"}, IncludeMeta: true},
		"no roles":       {Resource: engine.Resource{Kind: "doc"}, Actions: []string{"a", "b"}},
		"no actions":     {Principal: full.Principal, Resource: full.Resource, IncludeMeta: true},
		"another scope":  {Principal: full.Principal, Resource: engine.Resource{Kind: "doc", Scope: "x"}, Actions: []string{"a"}},
		"nothing at all": {},
	} {
		set.Check(full, &d)
		if !d.Results[0].Allowed() || d.Results[1].Err == nil || len(d.Outputs) != 1 || len(d.EffectiveDerivedRoles) != 1 || !d.UsedNow {
			t.Fatalf("the full request: %+v", d)
		}
		kept := d.Outputs[0]
		set.Check(req, &d)
		var fresh engine.Decision
		set.Check(req, &fresh)
		if answer(&d) != answer(&fresh) || len(d.ValidationErrors) > 0 {
			t.Errorf("%s: %s, but in a new Decision %s", name, answer(&d), answer(&fresh))
		}
		if d.Allowed() {
			t.Errorf("%s is allowed", name)
		}
		if kept.Val.Str() != "1" {
			t.Errorf("%s: an output that was read out before changed: %v", name, kept.Val)
		}
	}
}

// Requests are no patterns, and odd names are names like any other.
func TestOddNames(t *testing.T) {
	set := compileTexts(t, engine.Options{}, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - {actions: ["view", "a:b"], effect: EFFECT_ALLOW, roles: [user]}
    - {actions: ["x:*"], effect: EFFECT_ALLOW, roles: ["team:*"]}
`, `apiVersion: api.cerbos.dev/v1
resourcePolicy: {resource: doc, version: default, scope: a, rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user]}]}
`)
	long := strings.Repeat("x", 1<<20)
	for _, tc := range []struct {
		kind, scope, version, role, action string
		allowed                            bool
	}{
		{"doc", "", "", "user", "view", true},
		{"doc", ".", "", "user", "view", true}, // Cerbos drops a leading dot
		{"doc", ".a", "", "user", "view", true},
		{"doc", "..a", "", "user", "view", false},
		{"doc", "..", "", "user", "view", false},
		{"doc", "a.", "", "user", "view", false},
		{"doc", "a..", "", "user", "view", false},
		{"doc", "a\x00", "", "user", "view", false},
		{"doc", "\u0430", "", "user", "view", false}, // a Cyrillic a
		{"doc", "A", "", "user", "view", false},
		{"doc", "", "default\x00", "user", "view", false},
		{"doc", "", "*", "user", "view", false},
		{"*", "", "", "user", "view", false},
		{"do*", "", "", "user", "view", false},
		{"", "", "", "user", "view", false},
		{"doc", "", "", "*", "view", false},
		{"doc", "", "", "us*", "view", false},
		{"doc", "", "", "", "view", false},
		{"doc", "", "", "user\x00", "view", false},
		{"doc", "", "", "user", "*", false},
		{"doc", "", "", "user", "", false},
		{"doc", "", "", "user", "a:*", false},
		{"doc", "", "", "user", "a", false},
		{"doc", "", "", "team:x", "x:y", true},
		{"doc", "", "", "team:*", "x:*", true}, // literally that
		{"doc", "", "", "team:x:y", "x:y", false},
		{"doc", "", "", "team:x", "x:y:z", false},
		{"doc", "", "", "team:\xff", "x:\xff", true},
		{long, "", "", "user", "view", false},
		{"doc", long, "", "user", "view", false},
		{"doc", "", "", long, "view", false},
		{"doc", "", "", "user", long, false},
		{"doc", "", "", "team:" + long, "x:" + long, true},
		{"doc", strings.Repeat("a.", 1<<19) + "a", "", "user", "view", false},
	} {
		var d engine.Decision
		set.Check(&engine.Request{
			Principal: engine.Principal{ID: long, Roles: []string{tc.role}},
			Resource:  engine.Resource{Kind: tc.kind, ID: "\x00", Scope: tc.scope, PolicyVersion: tc.version},
			Actions:   []string{tc.action}, IncludeMeta: true,
		}, &d)
		if d.Allowed() != tc.allowed {
			t.Errorf("kind %.20q scope %.20q version %.20q role %.20q action %.20q: allowed %v, want %v", tc.kind, tc.scope, tc.version, tc.role, tc.action, d.Allowed(), tc.allowed)
		}
	}
}

// One set decides for many at once, also where expressions run by cel-go, fail,
// or use up their steps.
func TestManyChecksAtOnce(t *testing.T) {
	set := compileTexts(t, engine.Options{}, doubling(30, "condition: {match: {expr: 'R.attr.n.transformList(i, x, x + 1.0) == [2.0] || R.attr.n == [3.0] && V.v30.size() > 0'}}, output: {when: {ruleActivated: '[R.id, V.v0]', conditionNotMet: R.attr.gone}}"))
	requests := make([]*engine.Request, 8)
	var want [8]string
	for i := range requests {
		requests[i] = &engine.Request{
			Principal: engine.Principal{ID: fmt.Sprint("p", i), Roles: []string{"u"}},
			Resource:  engine.Resource{Kind: "doc", ID: fmt.Sprint("r", i), Attr: value.Values{"n": value.OfSequence(value.Slice{value.OfDouble(float64(i % 4))})}},
			Actions:   []string{"a"}, IncludeMeta: true, Now: time.Unix(1, 0),
		}
		var d engine.Decision
		set.Check(requests[i], &d)
		want[i] = answer(&d)
	}
	if want[0] == want[1] || want[1] == want[3] {
		t.Fatalf("the requests are all alike: %v", want)
	}
	rounds := len(requests)
	if testing.Short() {
		rounds = 2
	}
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			var d engine.Decision
			for n := range rounds {
				i := (n + worker) % len(requests)
				if set.Check(requests[i], &d); answer(&d) != want[i] {
					t.Errorf("request %d: %s, want %s", i, answer(&d), want[i])
				}
			}
		})
	}
	group.Wait()
}

// comparing is a policy with rules that compare attributes with what the principal
// sends.
func comparing(rules int) string {
	var b strings.Builder
	b.WriteString("apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: doc\n  version: default\n  rules:\n")
	for i := range rules {
		fmt.Fprintf(&b, "    - {actions: ['*'], effect: EFFECT_ALLOW, roles: [u], condition: {match: {any: {of: [{expr: R.attr.a%d == P.id}, {expr: R.attr.b%d in P.attr.list}]}}}}\n", i, i)
	}
	return b.String()
}

// What a principal sends goes into a filter once for each condition and action. Who
// sends much gets none, before it is made.
func TestLargePlansEnd(t *testing.T) {
	set := compileTexts(t, engine.Options{}, comparing(30))
	actions := make([]string, 20)
	for i := range actions {
		actions[i] = fmt.Sprintf("a%d", i)
	}
	long := func(n int) value.Value { return value.OfString(strings.Repeat("é", n/2)) }
	few := value.OfSequence(value.Strings{"a", "b"})
	for _, test := range []struct {
		name    string
		id      int // its length
		list    value.Value
		actions int
		fits    bool
	}{
		{name: "usual", list: few, id: 100, actions: 20, fits: true},
		{name: "a long id", list: few, id: 100_000, actions: 1, fits: true},
		{name: "a long id, many actions", list: few, id: 100_000, actions: 20},
		{name: "a huge id", list: few, id: 4_000_000, actions: 1},
		{name: "a long member", list: value.OfSequence(value.Slice{long(4_000_000)}), actions: 1},
		{name: "a long key", list: value.OfMapping(value.Values{strings.Repeat("k", 4_000_000): value.OfBool(true)}), actions: 1},
		{name: "a thousand members", list: value.OfSequence(value.Slice(slices.Repeat([]value.Value{long(10)}, 1000))), actions: 1, fits: true},
		{name: "a usual list, many actions", list: value.OfSequence(value.Slice(slices.Repeat([]value.Value{long(10)}, 100))), actions: 20, fits: true},
		{name: "many members", list: value.OfSequence(value.Slice(slices.Repeat([]value.Value{value.OfInt(1)}, 100_000))), actions: 1},
	} {
		principal := engine.Principal{ID: strings.Repeat("x", max(test.id, 1)), Roles: []string{"u"}, Attr: value.Values{"list": test.list}}
		req := &engine.PlanRequest{Principal: principal, Resource: engine.Resource{Kind: "doc"}, Actions: actions[:test.actions]}
		plan, err := set.Plan(t.Context(), req)
		planError, refused := errors.AsType[*engine.PlanError](err)
		switch {
		case test.fits && (err != nil || plan.Filter.Kind != engine.Conditional):
			t.Errorf("%s: got %v", test.name, err)
		case !test.fits && (!refused || len(planError.Error()) > 1000):
			t.Errorf("%s: got %.1000v", test.name, err)
		}
	}
}

func TestPlanEndsWithItsContext(t *testing.T) {
	set := compileTexts(t, engine.Options{}, comparing(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := set.Plan(ctx, &engine.PlanRequest{Principal: engine.Principal{ID: "p", Roles: []string{"u"}}, Resource: engine.Resource{Kind: "doc"}, Actions: []string{"a"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
