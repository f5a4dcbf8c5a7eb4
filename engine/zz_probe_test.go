package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"os"

	"edict/engine"
	"edict/engine/policyfile"
	"edict/engine/policy"
)

func TestProbe(t *testing.T) {
	const head = "apiVersion: api.cerbos.dev/v1\n"
	list := func(f string, n int) string {
		var b strings.Builder
		for i := range n { if i > 0 { b.WriteString(", ") }; fmt.Fprintf(&b, f, i) }
		return b.String()
	}
	rule := func(actions, roles, expr string) string {
		return head + "resourcePolicy: {resource: doc, version: default, rules: [{actions: [" + actions + "], effect: EFFECT_ALLOW, roles: [" + roles + "], condition: {match: {expr: '" + expr + "'}}}]}"
	}
	roles := func(n int) []string {
		var out []string
		for i := range n { out = append(out, fmt.Sprintf(head+"rolePolicy: {role: r%d, parentRoles: [r%d], rules: []}", i, (i+1)%n)) }
		return out
	}
	seg := strings.Repeat("a.", 9999) + "a"
	for name, texts := range map[string][]string{
		"actions": {rule(list("a%d", 100000), "u", "true")},
		"globs": {rule(list("a%d", 10000)+", "+list("'*x%d*'", 1000), "u", "true")},
		"globs2": {rule(list("'*x%d*y*{a,b,c}'", 3000), list("'r%d*z*'", 3000), "true")},
		"roles": {rule("a", list("r%d", 10000)+","+list("'*r%d*'", 500), "true")},
		"stars": {rule("'"+strings.Repeat("*a", 5000)+"'", "u", "true")},
		"braces": {rule("'*"+strings.Repeat("{a,b}", 5000)+"'", "u", "true")},
		"fold1": {rule("a", "u", "lists.range(100000).all(x, lists.range(1000).all(y, x + y >= 0))")},
		"fold2": {rule("a", "u", "lists.range(1000000).map(x, x * 2).size() > 0")},
		"fold3": {rule("a", "u", `cel.bind(a, "`+strings.Repeat("x", 1000)+`", cel.bind(b, a`+strings.Repeat("+a", 500)+`, cel.bind(c, b`+strings.Repeat("+b", 500)+`, c.size() > 0)))`)},
		"fold4": {rule("a", "u", `"`+strings.Repeat("x", 30000)+`".replace("", "`+strings.Repeat("y", 30000)+`").size() > 0`)},
		"scope": {head + "resourcePolicy: {resource: doc, version: default, scope: '"+seg+"', rules: []}"},
		"rolecycle2000": roles(2000),
		"rolecycle5000": roles(5000),
	} {
		if f := os.Getenv("PROBE"); f != "" && !strings.Contains(name, f) { continue }
		begin := time.Now()
		var ps []*policy.Policy
		msg := ""
		for i, text := range texts {
			p, l := policyfile.Parse(fmt.Sprint("p", i), []byte(text))
			if len(l) > 0 { msg = l[0].Message; break }
			ps = append(ps, p)
		}
		parsed := time.Since(begin)
		if msg == "" {
			_, l := engine.Compile(ps, engine.Options{})
			if len(l) > 0 { msg = fmt.Sprint(len(l), " ", l[0].Message) }
		}
		fmt.Printf("%-15s parse %v all %v %.150s\n", name, parsed.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), msg)
	}
}
