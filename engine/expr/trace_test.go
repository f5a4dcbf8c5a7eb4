package expr

import (
	"fmt"
	"strings"
	"testing"
)

func TestTraceTellsWhatThePartsGave(t *testing.T) {
	e := newTestEnv(t)
	for _, tc := range []struct {
		source string
		want   []string // line:column text = value
	}{
		{`R.attr.ownerId == P.id`, []string{
			`1:1 R.attr.ownerId == P.id = true`, `1:1 R.attr.ownerId = "ann"`, `1:19 P.id = "ann"`}},
		{"(R.attr.amount > 10.0) &&\n  R.attr.status in [\"open\", R.attr.name]", []string{
			"1:1 (R.attr.amount > 10.0) &&\n  R.attr.status in [\"open\", R.attr.name] = true", `1:2 R.attr.amount > 10.0 = true`, `1:2 R.attr.amount = 50`,
			`2:3 R.attr.status in ["open", R.attr.name] = true`, `2:3 R.attr.status = "open"`, `2:20 ["open", R.attr.name] = [open alpha]`, `2:29 R.attr.name = "alpha"`}},
		{`has(R.attr.absent) || R.attr.gone == 1`, []string{
			`1:1 has(R.attr.absent) || R.attr.gone == 1 = error no such key: gone`, `1:1 has(R.attr.absent) = false`, `1:23 R.attr.gone == 1 = error no such key: gone`, `1:23 R.attr.gone = error no such key: gone`}},
		{`false && R.attr.gone == 1 || R.attr.x == "y"`, []string{
			`1:1 false && R.attr.gone == 1 || R.attr.x == "y" = true`, `1:1 false && R.attr.gone == 1 = false`, `1:30 R.attr.x == "y" = true`, `1:30 R.attr.x = "y"`}},
		{`R.attr.tags.exists(t, t == ")" || t in P.attr.tags) ? !R.attr.locked : size(R.attr.tags) > 1`, []string{
			`1:1 R.attr.tags.exists(t, t == ")" || t in P.attr.tags) ? !R.attr.locked : size(R.attr.tags) > 1 = true`,
			`1:1 R.attr.tags.exists(t, t == ")" || t in P.attr.tags) = true`, `1:1 R.attr.tags = [a b c]`,
			`1:23 t == ")" || t in P.attr.tags = true (loop)`, `1:23 t == ")" = false (loop)`, `1:23 t = "a" (loop)`, `1:35 t in P.attr.tags = true (loop)`, `1:35 t = "a" (loop)`, `1:40 P.attr.tags = [a b] (loop)`,
			`1:55 !R.attr.locked = true`, `1:56 R.attr.locked = false`}},
		{`timestamp(R.attr.createdAt).timeSince() < duration("24h")`, []string{
			`1:1 timestamp(R.attr.createdAt).timeSince() < duration("24h") = true`, `1:1 timestamp(R.attr.createdAt).timeSince() = 9h28m11.623456789s`,
			`1:1 timestamp(R.attr.createdAt) = 2024-05-01 01:02:03.5 +0000 UTC`, `1:11 R.attr.createdAt = "2024-05-01T01:02:03.5Z"`}},
		{`R.attr["geo"].city.startsWith("B") // é )`, []string{
			`1:1 R.attr["geo"].city.startsWith("B") = true`, `1:1 R.attr["geo"].city = "Bergen"`}},
		{`cel.bind(x, R.attr.amount, x > 1.0 && x < 100.0)`, []string{
			`1:1 cel.bind(x, R.attr.amount, x > 1.0 && x < 100.0) = true`, `1:13 R.attr.amount = 50`, `1:28 x > 1.0 && x < 100.0 = true`, `1:28 x > 1.0 = true`, `1:28 x = 50`, `1:39 x < 100.0 = true`, `1:39 x = 50`}},
		{`now() > timestamp("2024-01-01T00:00:00Z")`, []string{
			`1:1 now() > timestamp("2024-01-01T00:00:00Z") = true`, `1:1 now() = 2024-05-01 10:30:15.123456789 +0000 UTC`}},
		{`1 + 1 == 2`, nil},
	} {
		p := mustCompile(t, e, tc.source)
		f := policyFacts().frame(e)
		steps, result := p.Trace(f)
		var got []string
		for _, s := range steps {
			line := fmt.Sprintf("%d:%d %s = ", s.Line, s.Column, s.Text)
			if err := s.Value.Err(); err != nil {
				line += "error "
			}
			line += s.Value.String()
			if s.InLoop {
				line += " (loop)"
			}
			got = append(got, line)
		}
		if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
			t.Errorf("%s gives\n  %s\nwant\n  %s", tc.source, strings.Join(got, "\n  "), strings.Join(tc.want, "\n  "))
		}
		if !alike(result, p.Eval(f)) {
			t.Errorf("%s: the trace ends with %v, not %v", tc.source, result, p.Eval(f))
		}
	}
}
