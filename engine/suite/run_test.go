package suite_test

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/policyfile"
	"edict/engine/schema"
	"edict/engine/suite"
)

func noPolicies(o engine.Options) (*engine.PolicySet, diag.List) { return compiled(nil, nil, o) }

func compiled(policies []*policy.Policy, schemas *schema.Set, o engine.Options) (*engine.PolicySet, diag.List) {
	c, err := engine.NewCompiler(o)
	if err != nil {
		return nil, diag.List{{Message: err.Error()}}
	}
	return c.Compile(policies, schemas)
}

// The policies of the tests below.
const docPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - name: see
      actions: [view]
      effect: EFFECT_ALLOW
      roles: [user]
      output: {when: {ruleActivated: '{"who": P.id, "n": 1, "list": [1, 2]}'}}
    - name: broken
      actions: [broken]
      effect: EFFECT_ALLOW
      roles: [user]
      output: {when: {ruleActivated: R.attr.nowhere}}
    - actions: [old]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: 'now() < timestamp("2030-01-01T00:00:00Z")'}}
    - actions: [strict]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {none: {of: [{expr: R.attr.nowhere == 1}]}}}
    - actions: [global]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: G.limit + 1.0 == 4.0}}
    - actions: [token]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: 'request.auxData.jwt.iss == "hr"'}}
`

const scopedPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: "2"
  rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user]}]
`

const acmePolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: "2"
  scope: acme
  rules: [{actions: [edit], effect: EFFECT_ALLOW, roles: [user]}]
`

const schemaPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: strictly
  version: default
  schemas: {resourceSchema: {ref: "cerbos:///strictly.json"}}
  rules: [{actions: [view], effect: EFFECT_ALLOW, roles: [user]}]
`

// compile gives the Compile of suite.Options for the policies above.
func compile(t testing.TB) func(engine.Options) (*engine.PolicySet, diag.List) {
	t.Helper()
	var policies []*policy.Policy
	for i, text := range []string{docPolicy, scopedPolicy, acmePolicy, schemaPolicy} {
		p, list := policyfile.Parse(fmt.Sprintf("p%d.yaml", i), []byte(text))
		if p == nil {
			t.Fatal(list.Render())
		}
		policies = append(policies, p)
	}
	schemas := schema.New(map[string][]byte{"strictly.json": []byte(`{"type": "object", "required": ["size"]}`)})
	return func(o engine.Options) (*engine.PolicySet, diag.List) {
		set, list := compiled(policies, schemas, o)
		if set == nil {
			t.Error(list.Render())
		}
		return set, list
	}
}

// fixtureHead begins the suites of the tests below.
const fixtureHead = `
name: Docs
principals:
  ann: {id: ann, roles: [user]}
  bob: {id: bob, roles: [guest]}
principalGroups: {both: {principals: [bob, ann]}}
resources:
  doc: {kind: doc, id: d}
  v2: {kind: doc, id: e, policyVersion: "2"}
  typed: {kind: strictly, id: f}
resourceGroups: {docs: {resources: [doc, v2]}}
auxData: {badge: {jwt: {iss: hr}}}
`

// results runs a suite, and gives a line for each result.
func results(t *testing.T, o suite.Options, files map[string]string) []string {
	t.Helper()
	suites, err := suite.Find(fsOf(files), "")
	if err != nil {
		t.Fatal(err)
	}
	if o.Compile == nil {
		o.Compile = compile(t)
	}
	return linesOf(suite.Run(suites, o))
}

func fsOf(files map[string]string) fs.FS {
	out := fstest.MapFS{}
	for name, content := range files {
		out[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return out
}

func linesOf(r *suite.Report) []string {
	var out []string
	for _, s := range r.Suites {
		if len(s.Problems) > 0 {
			out = append(out, fmt.Sprintf("%s %s: %s: %v", s.File, s.Name, s.Stage, s.Problems))
		}
		if s.Skip {
			out = append(out, fmt.Sprintf("%s skipped: %s", s.File, s.SkipReason))
		}
		for _, r := range s.Results {
			line := fmt.Sprintf("%s/%s/%s/%s %s", r.Test, r.Principal, r.Resource, r.Action, strings.ToLower(strings.TrimPrefix(r.Status.String(), "RESULT_")))
			if r.SkipReason != "" {
				line += ": " + r.SkipReason
			}
			if r.Omitted {
				line += " (omitted)"
			}
			if r.Err != "" {
				line += ": " + r.Err
			}
			if r.Status == suite.Failed && r.Expected != r.Actual {
				line += fmt.Sprintf(": expected %s", r.Expected)
			}
			for _, m := range r.Mismatches {
				line += fmt.Sprintf(" [%s %s: %v, %v %s]", m.Src, [...]string{"different", "missing", "broken"}[m.Kind], m.Expected, m.Actual, m.Err)
			}
			out = append(out, line)
		}
	}
	return out
}

func TestRun(t *testing.T) {
	const noNow = "a policy used a time-based condition, but `now` was not provided in the test options"
	for _, c := range []struct {
		name    string
		suite   string // after fixtureHead
		options suite.Options
		want    []string
	}{
		{
			name: "what nothing names is expected to be denied",
			suite: `
tests:
  - name: t
    input: {principals: [ann, bob], resources: [doc], actions: [view, broken]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
`,
			want: []string{"t/ann/doc/view passed", "t/ann/doc/broken failed: expected EFFECT_DENY", "t/bob/doc/view passed", "t/bob/doc/broken passed"},
		},
		{
			name: "lists come before groups, and nothing comes twice",
			suite: `
tests:
  - name: t
    input: {principals: [ann], principalGroups: [both], resources: [v2], resourceGroups: [docs], actions: [view]}
    expected: [{principals: [ann], resourceGroups: [docs], actions: {view: EFFECT_ALLOW}}]
`,
			want: []string{"t/ann/v2/view passed", "t/ann/doc/view passed", "t/bob/v2/view passed", "t/bob/doc/view passed"},
		},
		{
			name: "the clock of one action makes errors of the whole call",
			suite: `
tests:
  - name: t
    input: {principals: [ann, bob], resources: [doc], actions: [view, old]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW, old: EFFECT_ALLOW}}]
`,
			want: []string{"t/ann/doc/view errored: " + noNow, "t/ann/doc/old errored: " + noNow, "t/bob/doc/view passed", "t/bob/doc/old passed"},
		},
		{
			name:    "but of its own call alone without batching",
			options: suite.Options{SkipBatching: true},
			suite: `
tests:
  - name: t
    input: {principals: [ann], resources: [doc], actions: [view, old]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW, old: EFFECT_ALLOW}}]
`,
			want: []string{"t/ann/doc/view passed", "t/ann/doc/old errored: " + noNow},
		},
		{
			name: "a deny that used the clock is an error, too",
			suite: `
tests:
  - name: t
    options: {now: "2031-01-01T00:00:00Z"}
    input: {principals: [ann], resources: [doc], actions: [old]}
    expected: [{principal: ann, resource: doc, actions: {old: EFFECT_DENY}}]
  - name: u
    input: {principals: [ann], resources: [doc], actions: [old]}
    expected: [{principal: ann, resource: doc, actions: {old: EFFECT_DENY}}]
`,
			want: []string{"t/ann/doc/old passed", "u/ann/doc/old errored: " + noNow},
		},
		{
			name: "options of a test replace those of the suite as a whole",
			suite: `
options: {now: "2029-01-01T00:00:00Z", globals: {limit: 3}}
tests:
  - name: t
    input: {principals: [ann], resources: [doc], actions: [old, global]}
    expected: [{principal: ann, resource: doc, actions: {old: EFFECT_ALLOW, global: EFFECT_ALLOW}}]
  - name: u
    options: {globals: {limit: 3}}
    input: {principals: [ann], resources: [doc], actions: [old]}
    expected: [{principal: ann, resource: doc, actions: {old: EFFECT_ALLOW}}]
  - name: v
    options: {}
    input: {principals: [ann], resources: [doc], actions: [global]}
    expected: [{principal: ann, resource: doc, actions: {global: EFFECT_DENY}}]
`,
			want: []string{"t/ann/doc/old passed", "t/ann/doc/global passed", "u/ann/doc/old errored: " + noNow, "v/ann/doc/global passed"},
		},
		{
			name: "strict evaluation is the default, and tests may say otherwise",
			suite: `
tests:
  - name: t
    input: {principals: [ann], resources: [doc], actions: [strict]}
    expected: [{principal: ann, resource: doc, actions: {strict: EFFECT_DENY}}]
  - name: u
    options: {strictEvaluation: false}
    input: {principals: [ann], resources: [doc], actions: [strict]}
    expected: [{principal: ann, resource: doc, actions: {strict: EFFECT_ALLOW}}]
`,
			want: []string{"t/ann/doc/strict passed", "u/ann/doc/strict passed"},
		},
		{
			name:    "unless it is forced",
			options: suite.Options{Strict: true, Engine: engine.Options{LenientEvaluation: true}},
			suite: `
tests:
  - name: u
    options: {strictEvaluation: false}
    input: {principals: [ann], resources: [doc], actions: [strict]}
    expected: [{principal: ann, resource: doc, actions: {strict: EFFECT_ALLOW}}]
`,
			want: []string{"u/ann/doc/strict failed: expected EFFECT_ALLOW"},
		},
		{
			name:    "lenient evaluation as the default, and strict tests",
			options: suite.Options{Engine: engine.Options{LenientEvaluation: true}},
			suite: `
tests:
  - name: t
    input: {principals: [ann], resources: [doc], actions: [strict]}
    expected: [{principal: ann, resource: doc, actions: {strict: EFFECT_ALLOW}}]
  - name: u
    options: {strictEvaluation: true}
    input: {principals: [ann], resources: [doc], actions: [strict]}
    expected: [{principal: ann, resource: doc, actions: {strict: EFFECT_DENY}}]
`,
			want: []string{"t/ann/doc/strict passed", "u/ann/doc/strict passed"},
		},
		{
			name: "versions and scopes",
			suite: `
tests:
  - name: default version
    options: {defaultPolicyVersion: "2"}
    input: {principals: [ann], resources: [doc], actions: [view, edit]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
  - name: default scope
    options: {defaultScope: acme}
    input: {principals: [ann], resources: [v2], actions: [view, edit]}
    expected: [{principal: ann, resource: v2, actions: {view: EFFECT_ALLOW, edit: EFFECT_ALLOW}}]
  - name: a scope below, strictly
    options: {defaultScope: acme.hr}
    input: {principals: [ann], resources: [v2], actions: [view]}
    expected: [{principal: ann, resource: v2, actions: {view: EFFECT_DENY}}]
  - name: a scope below, leniently
    options: {defaultScope: acme.hr, lenientScopeSearch: true}
    input: {principals: [ann], resources: [v2], actions: [view]}
    expected: [{principal: ann, resource: v2, actions: {view: EFFECT_ALLOW}}]
`,
			want: []string{
				"default version/ann/doc/view passed", "default version/ann/doc/edit passed",
				"default scope/ann/v2/view passed", "default scope/ann/v2/edit passed",
				"a scope below, strictly/ann/v2/view passed", "a scope below, leniently/ann/v2/view passed",
			},
		},
		{
			name:    "schemas are enforced if the run says so",
			options: suite.Options{Engine: engine.Options{SchemaEnforcement: engine.SchemaReject}},
			suite: `
tests:
  - name: t
    input: {principals: [ann], resources: [typed], actions: [view]}
    expected: [{principal: ann, resource: typed, actions: {view: EFFECT_DENY}}]
`,
			want: []string{"t/ann/typed/view passed"},
		},
		{
			name: "auxData",
			suite: `
tests:
  - name: with
    input: {principals: [ann], resources: [doc], actions: [token], auxData: badge}
    expected: [{principal: ann, resource: doc, actions: {token: EFFECT_ALLOW}}]
  - name: without
    input: {principals: [ann], resources: [doc], actions: [token]}
    expected: [{principal: ann, resource: doc, actions: {token: EFFECT_DENY}}]
`,
			want: []string{"with/ann/doc/token passed", "without/ann/doc/token passed"},
		},
		{
			name: "outputs",
			suite: `
tests:
  - name: same
    input: {principals: [ann], resources: [doc], actions: [view]}
    expected:
      - principal: ann
        resource: doc
        actions: {view: EFFECT_ALLOW}
        outputs: [{action: view, expected: [{src: resource.doc.vdefault#see, val: {who: ann, n: 1, list: [1, 2]}}]}]
  - name: others
    input: {principals: [ann], resources: [doc], actions: [view, broken]}
    expected:
      - principal: ann
        resource: doc
        actions: {view: EFFECT_ALLOW, broken: EFFECT_ALLOW}
        outputs:
          - action: view
            expected:
              - {src: resource.doc.vdefault#see, val: {who: ann, n: 1, list: [2, 1]}}
              - {src: resource.doc.vdefault#gone, val: 1}
          - action: broken
            expected: [{src: resource.doc.vdefault#broken, val: 1}]
  - name: not compared, since the effect is wrong
    input: {principals: [bob], resources: [doc], actions: [view]}
    expected:
      - principal: bob
        resource: doc
        actions: {view: EFFECT_ALLOW}
        outputs: [{action: view, expected: [{src: resource.doc.vdefault#see, val: 1}]}]
  - name: no value expected
    input: {principals: [ann], resources: [doc], actions: [view]}
    expected:
      - principal: ann
        resource: doc
        actions: {view: EFFECT_ALLOW}
        outputs: [{action: view, expected: [{src: resource.doc.vdefault#see}]}]
`,
			want: []string{
				"same/ann/doc/view passed",
				`others/ann/doc/view failed [resource.doc.vdefault#see different: map[list:[2 1] n:1 who:ann], map[list:[1 2] n:1 who:ann] ] [resource.doc.vdefault#gone missing: 1, absent ]`,
				`others/ann/doc/broken failed [resource.doc.vdefault#broken broken: 1, absent no such key: nowhere]`,
				"not compared, since the effect is wrong/bob/doc/view failed: expected EFFECT_ALLOW",
				"no value expected/ann/doc/view failed [resource.doc.vdefault#see different: absent, map[list:[1 2] n:1 who:ann] ]",
			},
		},
		{
			name: "skips",
			suite: `
tests:
  - name: t
    skip: true
    skipReason: not yet
    input: {principals: [ann], resources: [doc], actions: [view, old]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_DENY}}]
`,
			want: []string{"t/ann/doc/view skipped: not yet", "t/ann/doc/old skipped: not yet"},
		},
		{
			name:    "policies that are excluded",
			options: suite.Options{Excluded: map[string]bool{"resource.doc.v2": true, "principal.bob.vdefault": true}},
			suite: `
tests:
  - name: t
    skip: true
    input: {principals: [ann, bob], resources: [doc, v2], actions: [view]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
`,
			want: []string{
				"t/ann/doc/view skipped",
				"t/ann/v2/view skipped: Resource matched a policy that was excluded from the bundle",
				"t/bob/doc/view skipped: Principal matched a policy that was excluded from the bundle",
				"t/bob/v2/view skipped: Resource matched a policy that was excluded from the bundle",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := results(t, c.options, map[string]string{"a_test.yaml": fixtureHead + c.suite})
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// everything is a suite that reaches all that filters tell apart.
const everything = fixtureHead + `
tests:
  - name: reading
    input: {principals: [ann, bob], resources: [doc, v2], actions: [view, "view:all"]}
    expected: [{principal: ann, resources: [doc, v2], actions: {view: EFFECT_ALLOW}}]
  - name: writing
    skip: true
    skipReason: later
    input: {principals: [ann], resources: [v2], actions: [edit]}
    expected: [{principal: ann, resource: v2, actions: {edit: EFFECT_DENY}}]
`

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		name    string
		run     string
		filters []string
		counted []string // the others are skipped
		reason  string   // of one that is
	}{
		{name: "nothing", filters: []string{""}, counted: []string{
			"reading/ann/doc/view", "reading/ann/doc/view:all", "reading/ann/v2/view", "reading/ann/v2/view:all",
			"reading/bob/doc/view", "reading/bob/doc/view:all", "reading/bob/v2/view", "reading/bob/v2/view:all", "writing/ann/v2/edit"}},
		{name: "all dimensions", filters: []string{"suite=D*;test=read*;principal=ann;resource=doc;action=view"},
			counted: []string{"reading/ann/doc/view"}, reason: "Resource did not match the test filter"},
		{name: "several patterns", filters: []string{"principal=bob,zed;resource=doc"},
			counted: []string{"reading/bob/doc/view", "reading/bob/doc/view:all"}, reason: "Principal did not match the test filter"},
		{name: "several filters add up", filters: []string{"principal=bob", "principal=a*;action=view:**"},
			counted: []string{"reading/ann/doc/view:all", "reading/ann/v2/view:all", "reading/bob/doc/view:all", "reading/bob/v2/view:all"}, reason: "No actions matched the test filter"},
		{name: "a star stops at a colon", filters: []string{"action=v*"},
			counted: []string{"reading/ann/doc/view", "reading/ann/v2/view", "reading/bob/doc/view", "reading/bob/v2/view"}, reason: "No actions matched the test filter"},
		{name: "braces, as on the command line of Cerbos", filters: []string{`resource={v2\,zzz};principal=ann\,bob;action=view`},
			counted: []string{"reading/ann/v2/view", "reading/bob/v2/view"}, reason: "Resource did not match the test filter"},
		{name: "another suite", filters: []string{"suite=zzz"}, reason: "Suite did not match the test filter"},
		{name: "a test", filters: []string{" test = writing ; "}, counted: []string{"writing/ann/v2/edit"}, reason: "Test did not match the test filter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := suite.Options{Compile: compile(t)}
			for _, f := range c.filters {
				if err := o.Filter.Add(f); err != nil {
					t.Fatal(err)
				}
			}
			suites, err := suite.Find(fsOf(map[string]string{"a_test.yaml": everything}), "")
			if err != nil {
				t.Fatal(err)
			}
			r := suite.Run(suites, o)
			var counted, reasons []string
			for _, result := range r.Suites[0].Results {
				if result.Omitted {
					reasons = append(reasons, result.SkipReason)
					continue
				}
				counted = append(counted, strings.Join([]string{result.Test, result.Principal, result.Resource, result.Action}, "/"))
			}
			if !slices.Equal(counted, c.counted) {
				t.Errorf("got %q", counted)
			}
			if len(reasons) != 9-len(counted) || c.reason != "" && !slices.Contains(reasons, c.reason) {
				t.Errorf("the others: %q", reasons)
			}
			if r.Summary.Tests() != len(counted) {
				t.Errorf("%d results count", r.Summary.Tests())
			}
		})
	}
}

func TestRunPattern(t *testing.T) {
	for pattern, want := range map[string]int{
		"reading": 8, "^reading$": 8, "read": 8, "ing": 9, "^Docs/reading/ann/doc$": 2, "Docs/writing": 1, "bob": 4, "nothing": 0,
	} {
		suites, err := suite.Find(fsOf(map[string]string{"a_test.yaml": everything}), "")
		if err != nil {
			t.Fatal(err)
		}
		r := suite.Run(suites, suite.Options{Compile: compile(t), Filter: suite.Filter{Run: regexp.MustCompile(pattern)}})
		got := 0
		for _, result := range r.Suites[0].Results {
			if result.SkipReason != "Test name did not match the provided pattern" {
				got++
			}
		}
		if got != want || r.Summary.Tests() != 9 {
			t.Errorf("%s: %d results were run and %d count, want %d and 9", pattern, got, r.Summary.Tests(), want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for expression, want := range map[string]string{
		"principle=a":  `there is no dimension "principle"; did you mean "principal"?`,
		"zzz=a":        `there is no dimension "zzz"; there are suite, test, principal, resource, action`,
		"test":         `"test" is not of the form dimension=glob,glob`,
		"test=":        `"test=" has no pattern; write as in test=album*`,
		"test=[a":      "opens '['",
		"test=a;other": `"other" is not of the form`,
	} {
		var f suite.Filter
		if err := f.Add(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got the error %v, want %s", expression, err, want)
		}
	}
}

// Whatever the number of goroutines, the report is the same.
func TestOrderDoesNotMatter(t *testing.T) {
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("s%02d_test.yaml", i)] = everything
	}
	files["broken_test.yaml"] = "name: ["
	one := results(t, suite.Options{Workers: 1}, files)
	for _, workers := range []int{2, 7, 50} {
		if got := results(t, suite.Options{Workers: workers}, files); !slices.Equal(got, one) {
			t.Errorf("with %d workers the report differs", workers)
		}
	}
}

// Policies are compiled once for each set of options.
func TestPoliciesAreCompiledOnce(t *testing.T) {
	files := map[string]string{}
	for i := range 10 {
		files[fmt.Sprintf("s%02d_test.yaml", i)] = everything + `
  - name: other options
    options: {globals: {limit: 3}}
    input: {principals: [ann], resources: [doc], actions: [global]}
    expected: [{principal: ann, resource: doc, actions: {global: EFFECT_ALLOW}}]
  - name: the same, at another time
    options: {globals: {limit: 3}, now: "2026-03-02T10:00:00Z"}
    input: {principals: [ann], resources: [doc], actions: [global]}
    expected: [{principal: ann, resource: doc, actions: {global: EFFECT_ALLOW}}]
`
	}
	var mu sync.Mutex
	n, inner := 0, compile(t)
	results(t, suite.Options{Compile: func(o engine.Options) (*engine.PolicySet, diag.List) {
		mu.Lock()
		n++
		mu.Unlock()
		return inner(o)
	}}, files)
	if n != 2 {
		t.Errorf("the policies were compiled %d times", n)
	}
}

// A set of options that the policies do not compile under is an error of the
// suites that use it, and of no other.
func TestPoliciesThatDoNotCompile(t *testing.T) {
	inner := compile(t)
	got := results(t, suite.Options{Compile: func(o engine.Options) (*engine.PolicySet, diag.List) {
		if o.DefaultScope != "" {
			return nil, diag.List{{Message: "no such scope"}}
		}
		return inner(o)
	}}, map[string]string{
		"a_test.yaml": everything + `
  - name: elsewhere
    options: {defaultScope: acme}
    input: {principals: [ann], resources: [doc], actions: [view]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_DENY}}]
`,
		"b_test.yaml": everything,
	})
	if len(got) != 10 || !strings.Contains(got[0], "a_test.yaml:24:11: the policies do not compile under the options of this test") || !strings.Contains(got[0], "no such scope") {
		t.Errorf("got %q", got)
	}
}

// A check that panics is an error, whatever is expected, and no other is.
func TestPanic(t *testing.T) {
	got := results(t, suite.Options{Trace: func(_ *engine.PolicySet, r *engine.Request) {
		if r.Principal.ID == "bob" {
			panic("on fire")
		}
	}}, map[string]string{"a_test.yaml": fixtureHead + `
tests:
  - name: t
    input: {principals: [bob, ann], resources: [doc], actions: [view, edit]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
`})
	want := []string{
		"t/bob/doc/view errored: the engine panicked: on fire", "t/bob/doc/edit errored: the engine panicked: on fire",
		"t/ann/doc/view passed", "t/ann/doc/edit passed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	results(t, suite.Options{Trace: func(_ *engine.PolicySet, r *engine.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf("%s %s %v", r.Principal.ID, r.Resource.ID, r.Actions))
	}}, map[string]string{"a_test.yaml": everything})
	want := []string{"ann d [view view:all]", "ann e [view view:all]", "bob d [view view:all]", "bob e [view view:all]"}
	if !slices.Equal(seen, want) {
		t.Errorf("got %q", seen)
	}
}
