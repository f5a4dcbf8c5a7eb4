package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/internal/oracle"
)

// An answer is what one of the systems says to a request, as lines to compare:
// the results in the order of the actions, all else sorted.
type answer struct {
	results, outputs []string
	derivedRoles     string
	broken           [2]bool // whether the principal's and the resource's attributes break a schema

	// failures are how they do. The interpreter does not tell.
	failures []string
}

func (a *answer) result(action, effect, policy, scope string) {
	a.results = append(a.results, fmt.Sprintf("%s: %s by %s in scope %q", action, effect, policy, scope))
}

func (a *answer) output(src, action string, val any, failed bool) {
	text := "an error"
	if !failed {
		b, err := json.Marshal(val)
		if err != nil {
			panic(fmt.Sprintf("no JSON of %v: %v", val, err))
		}
		text = string(b)
	}
	a.outputs = append(a.outputs, fmt.Sprintf("output of %s for %s: %s", src, action, text))
	slices.Sort(a.outputs)
}

func (a *answer) roles(names []string) {
	names = slices.Clone(names)
	slices.Sort(names)
	a.derivedRoles = fmt.Sprintf("derived roles %q", names)
}

// sources is how Cerbos calls those whose attributes break a schema.
var sources = [2]string{"SOURCE_PRINCIPAL", "SOURCE_RESOURCE"}

func (a *answer) invalid(source, path, message string) {
	if i := slices.Index(sources[:], source); i >= 0 {
		a.broken[i] = true
	}
	a.failures = append(a.failures, fmt.Sprintf("%s %s: %s", source, path, message))
	slices.Sort(a.failures)
}

func (a *answer) String() string {
	schemas := fmt.Sprintf("schemas broken by the principal %v, by the resource %v", a.broken[0], a.broken[1])
	return strings.Join(slices.Concat(a.results, a.outputs, []string{a.derivedRoles, schemas}), "\n")
}

// of gives what the answer says about one action.
func (a *answer) of(action int, name string) string {
	lines := []string{a.results[action]}
	for _, o := range a.outputs {
		if strings.Contains(o, " for "+name+": ") {
			lines = append(lines, o)
		}
	}
	return strings.Join(lines, "\n")
}

// reference is the interpreter of a set.
type reference struct {
	workshop *oracle.Workshop
	set      *oracle.Set
	plain    *oracle.Interpreter
}

func newReference(w *oracle.Workshop, set *oracle.Set) *reference {
	return &reference{w, set, w.New(set.Policies, set.Options)}
}

func answerOf(it *oracle.Interpreter, req *engine.Request) *answer {
	got := it.Check(req)
	a := &answer{}
	for _, r := range got.Results {
		a.result(r.Action, r.Effect.String(), r.Policy, r.Scope)
	}
	for _, o := range got.Outputs {
		a.output(o.Src, o.Action, o.Val, o.Failed)
	}
	a.roles(got.EffectiveDerivedRoles)
	a.broken = [2]bool{got.PrincipalInvalid, got.ResourceInvalid}
	return a
}

// agrees tells whether the interpreter answers likewise: with some order of
// inherited roles, for each action.
func (r *reference) agrees(req *engine.Request, got *answer) (want *answer, ok bool) {
	want = answerOf(r.plain, req)
	if want.String() == got.String() {
		return want, true
	}
	if want.derivedRoles != got.derivedRoles || want.broken != got.broken {
		return want, false
	}
	open := map[string]int{}
	for i, action := range req.Actions {
		open[action] = i
	}
	options := r.set.Options
	for options.Order = 1; options.Order < 60 && len(open) > 0; options.Order++ {
		other := answerOf(r.workshop.New(r.set.Policies, options), req)
		for action, i := range open {
			if other.of(i, action) == got.of(i, action) {
				delete(open, action)
			}
		}
	}
	return want, len(open) == 0
}
