package engine_test

import (
	"fmt"
	"runtime"
	"testing"

	"edict/engine"
	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/value"
)

// tenRules gives n policies of ten rules each, in as many files: what teams
// write for a resource with an owner, a state and an amount. The numbers in
// them are their own, so that half of the conditions are like no other's.
func tenRules(n int) []folder.File {
	files := make([]folder.File, n)
	for i := range files {
		files[i] = folder.File{Name: fmt.Sprintf("policies/kind%05d.yaml", i), Content: fmt.Appendf(nil, `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: kind%05[1]d
  version: default
  importDerivedRoles: [people]
  variables:
    local:
      isOpen: R.attr.state in ["draft", "open-%[1]d"]
  rules:
    - {name: list, actions: [list], effect: EFFECT_ALLOW, roles: [user, manager, auditor]}
    - {name: create, actions: [create], effect: EFFECT_ALLOW, roles: [user]}
    - {name: read-own, actions: [read, export], effect: EFFECT_ALLOW, derivedRoles: [owner]}
    - {name: read-team, actions: [read], effect: EFFECT_ALLOW, roles: [manager], condition: {match: {expr: R.attr.team in P.attr.teams}}}
    - {name: update-own, actions: [update], effect: EFFECT_ALLOW, derivedRoles: [owner], condition: {match: {expr: V.isOpen}}}
    - name: approve
      actions: [approve]
      effect: EFFECT_ALLOW
      roles: [manager]
      condition:
        match:
          all:
            of:
              - expr: R.attr.amount <= %[1]d.5
              - expr: R.attr.amount <= P.attr.limit
    - {name: not-own, actions: [approve], effect: EFFECT_DENY, roles: ["*"], condition: {match: {expr: R.attr.ownerId == P.id}}}
    - {name: audit, actions: [read, "audit:*"], effect: EFFECT_ALLOW, roles: [auditor], condition: {match: {expr: P.attr.ip.inIPAddrRange("10.%[2]d.0.0/16")}}}
    - {name: delete, actions: [delete], effect: EFFECT_ALLOW, roles: [admin], condition: {match: {expr: R.attr.state == "archived-%[1]d"}}}
    - {name: frozen, actions: [update, delete], effect: EFFECT_DENY, roles: ["*"], condition: {match: {expr: R.attr.frozen == true && R.attr.amount > %[1]d.0}}}
`, i, i%256)}
	}
	return append(files, folder.File{Name: "policies/people.yaml", Content: []byte(`apiVersion: api.cerbos.dev/v1
derivedRoles:
  name: people
  definitions:
    - {name: owner, parentRoles: [user], condition: {match: {expr: R.attr.ownerId == P.id}}}
`)})
}

// Ten thousand policies of ten rules: from the text of files to a set in
// force, what a policy takes of memory, and a reload after one file changed.
func BenchmarkTenThousandPolicies(b *testing.B) {
	const n = 10_000
	files := tenRules(n)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			mustCompile(b, mustParse(b, files))
		}
		b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/load")
	})
	b.Run("memory", func(b *testing.B) {
		policies := mustParse(b, files)
		for b.Loop() {
			before := heap()
			set := mustCompile(b, policies)
			b.ReportMetric(float64(heap()-before)/n/1024, "compiled-KiB/policy")
			runtime.KeepAlive(set)
		}
		before := heap()
		again := mustParse(b, files)
		b.ReportMetric(float64(heap()-before)/n/1024, "parsed-KiB/policy")
		runtime.KeepAlive(again)
		runtime.KeepAlive(policies)
	})
	b.Run("reload", func(b *testing.B) {
		policies := mustParse(b, files)
		compiler, err := engine.NewCompiler(engine.Options{})
		if err != nil {
			b.Fatal(err)
		}
		_, list := compiler.Compile(policies, nil)
		fatalIfAny(b, list)
		changed := tenRules(n)[n/2]
		i := 0
		for b.Loop() {
			i++
			other := changed
			other.Content = append(fmt.Appendf(nil, "# edit %d\n", i), changed.Content...)
			next := append([]*policy.Policy(nil), policies...)
			next[n/2] = mustParse(b, []folder.File{other})[0]
			_, list := compiler.Compile(next, nil)
			fatalIfAny(b, list)
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/reload")
	})
}

// What does not change, by pointer, is not compiled again; what imports
// something that changed is.
func TestCompileAgain(t *testing.T) {
	files := tenRules(3)
	compiler, err := engine.NewCompiler(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(set *engine.PolicySet, kind, owner string) bool {
		var d engine.Decision
		set.Check(&engine.Request{
			Principal: engine.Principal{ID: "ann", Roles: []string{"user", "manager"}},
			Resource: engine.Resource{Kind: kind, Attr: value.Values{
				"ownerId": value.OfString(owner), "state": value.OfString("draft"),
			}},
			Actions: []string{"read"},
		}, &d)
		return d.Allowed()
	}
	policies := mustParse(t, files)
	first, list := compiler.Compile(policies, nil)
	fatalIfAny(t, list)
	for round := range 5 {
		// The set of derived roles is another, and so is what it says.
		swapped := append([]*policy.Policy(nil), policies...)
		swapped[3] = parse(t, `
apiVersion: api.cerbos.dev/v1
derivedRoles: {name: people, definitions: [{name: owner, parentRoles: [user], condition: {match: {expr: R.attr.ownerId == "ben"}}}]}`)[0]
		second, list := compiler.Compile(swapped, nil)
		fatalIfAny(t, list)
		third, list := compiler.Compile(policies, nil)
		fatalIfAny(t, list)
		broken := append(policies[:3:3], parse(t, `
apiVersion: api.cerbos.dev/v1
derivedRoles: {name: people, definitions: [{name: owner, parentRoles: [user], condition: {match: {expr: nobody}}}]}`)...)
		if set, list := compiler.Compile(broken, nil); set != nil || len(list) != 1 {
			t.Fatalf("broken policies: %v %v", set, list)
		}
		for _, kind := range []string{"kind00000", "kind00001", "kind00002"} {
			for _, x := range []struct {
				set   *engine.PolicySet
				owner string
				want  bool
			}{{first, "ann", true}, {first, "ben", false}, {second, "ann", false}, {second, "ben", true}, {third, "ann", true}, {third, "ben", false}} {
				if got := ask(x.set, kind, x.owner); got != x.want {
					t.Errorf("round %d, %s of %s: allowed %v, want %v", round, kind, x.owner, got, x.want)
				}
			}
		}
	}
}
