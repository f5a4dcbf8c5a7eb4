package engine_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/value"
)

// A world is a set of files that changes at random. Every file is one of a few
// variants, so that edits are undone, too, and texts are shared.
type world struct {
	random *rand.Rand
	files  map[string]string
	parsed map[string]*policy.Policy // by text, as the cache of a folder keeps them
}

func (w *world) pick(of ...string) string { return of[w.random.IntN(len(of))] }

// expression gives a condition, from few, so that policies share some.
func (w *world) expression() string {
	return w.pick("R.attr.n > 1", "R.attr.n > 2", "P.id == R.attr.owner", "V.own", "V.own || V.large", "R.attr.n > C.limit", `"owner" in runtime.effectiveDerivedRoles`,
		"R.attr.gone", "V.large && R.attr.n < C.limit")
}

func (w *world) match() string {
	return w.pick(
		"{match: {expr: '"+w.expression()+"'}}",
		"{match: {all: {of: [{expr: '"+w.expression()+"'}, {expr: '"+w.expression()+"'}]}}}",
		"{match: {none: {of: [{expr: '"+w.expression()+"'}, {expr: '"+w.expression()+"'}]}}}")
}

func (w *world) text(name string) string {
	const head = "apiVersion: api.cerbos.dev/v1\n"
	names := "variables: {import: [vars], local: {large: R.attr.n > " + w.pick("1", "3") + "}}, constants: {import: [consts]}"
	effect := w.pick("EFFECT_ALLOW", "EFFECT_ALLOW", "EFFECT_DENY")
	switch kind, rest, _ := strings.Cut(name, "-"); kind {
	case "vars":
		return head + "exportVariables: {name: vars, definitions: {own: " + w.pick("P.id == R.attr.owner", "R.attr.n > 1", "'R.attr.owner == \"bob\"'") + "}}"
	case "consts":
		return head + "exportConstants: {name: consts, definitions: {limit: " + w.pick("1", "2", "3") + "}}"
	case "roles":
		return head + "derivedRoles: {name: roles, " + names + ", definitions: [{name: owner, parentRoles: [" + w.pick("user", "'*'", "us*") + "], condition: " + w.match() + "}]}"
	case "resource":
		scope := w.pick("")
		if rest == "scoped" {
			rest, scope = "a", "scope: x, "
		}
		return head + "resourcePolicy: {resource: " + rest + ", version: default, " + scope + "importDerivedRoles: [roles], " + names + ", rules: [" +
			"{actions: [read], effect: " + effect + ", roles: [user], condition: " + w.match() + ", output: {when: {ruleActivated: 'C.limit'}}}," +
			"{actions: ['*'], effect: EFFECT_ALLOW, derivedRoles: [owner]}," +
			"{actions: [write, 'd*'], effect: EFFECT_DENY, roles: [" + w.pick("user", "admin", "'*'") + "], condition: " + w.match() + "}]}"
	case "principal":
		return head + "principalPolicy: {principal: ann, version: default, " + names + ", rules: [{resource: " + w.pick("a", "'*'") + ", actions: [{action: " + w.pick("read", "'*'") + ", effect: " + effect + ", condition: " + w.match() + "}]}]}"
	case "role":
		return head + "rolePolicy: {role: user, scope: " + w.pick("x", "''") + ", " + names + ", rules: [{resource: '*', allowActions: [" + w.pick("read", "'*'") + "], condition: " + w.match() + "}]}"
	default:
		return w.pick(
			head+"resourcePolicy: {resource: broken, version: default, rules: [{actions: [read], effect: EFFECT_ALLOW, roles: [user], condition: {match: {expr: 'V.own && R.attr.n > 2'}}}]}",
			head+"resourcePolicy: {resource: broken, version: default, importDerivedRoles: [nope], rules: [{actions: [read], effect: EFFECT_ALLOW, roles: [user]}]}",
			head+"exportVariables: {name: broken, definitions: {a: 'R.attr.n +'}}",
			head+"resourcePolicy: {resource: a, version: default, variables: {local: {q: V.q}}, rules: []}")
	}
}

var worldFiles = []string{"vars", "consts", "roles", "resource-a", "resource-b", "resource-scoped", "principal", "role", "broken"}

func (w *world) edit() {
	for range 1 + w.random.IntN(3) {
		name := w.pick(worldFiles...)
		if _, there := w.files[name]; there && w.random.IntN(4) == 0 || name == "broken" && there {
			delete(w.files, name)
		} else {
			w.files[name] = w.text(name)
		}
	}
	for _, name := range []string{"vars", "consts", "roles"} { // the others mostly need them
		if _, there := w.files[name]; !there && w.random.IntN(3) > 0 {
			w.files[name] = w.text(name)
		}
	}
}

func (w *world) policies(t *testing.T) []*policy.Policy {
	var out []*policy.Policy
	for _, name := range worldFiles {
		text, ok := w.files[name]
		if !ok {
			continue
		}
		p := w.parsed[text]
		if p == nil || w.random.IntN(20) == 0 { // or read anew
			p = parse(t, text)[0]
			w.parsed[text] = p
		}
		out = append(out, p)
	}
	w.random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func worldRequests() []*engine.Request {
	var out []*engine.Request
	for _, kind := range []string{"a", "b"} {
		for _, id := range []string{"ann", "bob"} {
			for n := range 4 {
				for _, scope := range []string{"", "x"} {
					out = append(out, &engine.Request{
						Principal: engine.Principal{ID: id, Roles: []string{"user", "admin"}[n%2:]},
						Resource:  engine.Resource{Kind: kind, Scope: scope, Attr: value.Values{"n": value.OfDouble(float64(n)), "owner": value.OfString("ann")}},
						Actions:   []string{"read", "write", "delete"}, IncludeMeta: true, Now: time.Unix(1, 0),
					})
				}
			}
		}
	}
	return out
}

// answer is a decision as text, to be compared and kept.
func answer(d *engine.Decision) string {
	var b strings.Builder
	for _, r := range d.Results {
		name := ""
		if r.Rule != nil {
			name = r.Rule.Policy + "#" + r.Rule.Name
		}
		fmt.Fprintf(&b, "%s %v %v %s %q %s %v\n", r.Action, r.Effect, r.Reason, r.Policy, r.Scope, name, r.Err)
	}
	for _, o := range d.Outputs {
		fmt.Fprintf(&b, "%s %s %v %s\n", o.Src, o.Action, o.Val, o.Err)
	}
	fmt.Fprintf(&b, "%q %v", d.EffectiveDerivedRoles, d.UsedNow)
	return b.String()
}

func decisions(set *engine.PolicySet, requests []*engine.Request) []string {
	var d engine.Decision
	var out []string
	for _, r := range requests {
		set.Check(r, &d)
		out = append(out, answer(&d))
	}
	return out
}

// A kept Compiler gives, after any edits and broken states, what a new one
// would; and the sets that it gave before answer as they did.
func TestKeptCompilerEqualsFresh(t *testing.T) {
	requests := worldRequests()
	seeds := uint64(12)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		o := engine.Options{LenientEvaluation: seed%2 == 0}
		kept, err := engine.NewCompiler(o)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{rand.New(rand.NewPCG(seed, 7)), map[string]string{}, map[string]*policy.Policy{}}
		var old *engine.PolicySet
		var oldAnswers []string
		good := 0
		for step := range 60 {
			w.edit()
			policies := w.policies(t)
			var busy sync.WaitGroup
			if old != nil {
				set, want := old, oldAnswers
				busy.Go(func() {
					if got := decisions(set, requests); !reflect.DeepEqual(got, want) {
						t.Errorf("seed %d, step %d: the set before changed its mind", seed, step)
					}
				})
			}
			set, diags := kept.Compile(policies, nil)
			busy.Wait()
			fresh, freshDiags := engine.Compile(policies, o)
			if fmt.Sprint(diags) != fmt.Sprint(freshDiags) || (set == nil) != (fresh == nil) {
				t.Fatalf("seed %d, step %d: kept gives %v, fresh %v", seed, step, diags, freshDiags)
			}
			if set == nil {
				continue
			}
			good++
			got, want := decisions(set, requests), decisions(fresh, requests)
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("seed %d, step %d, %+v: kept\n%s\nfresh\n%s", seed, step, requests[i], got[i], want[i])
				}
			}
			old, oldAnswers = set, got
		}
		if good < 10 {
			t.Errorf("seed %d: only %d of the states compile", seed, good)
		}
	}
}
