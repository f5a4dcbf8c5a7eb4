package expr

import (
	"fmt"
	"slices"
	"testing"
)

// Selections tell what an expression reads, as far as its text says it.
func TestSelections(t *testing.T) {
	env := newTestEnv(t)
	for source, want := range map[string][]string{
		`R.attr.owner == P.id`:            {"R attr [owner] 1:1", "P id [] 1:17"},
		`R.attr["a b"].c.?d`:              {"R attr [a b c d] 1:1"},
		`R.attr[?"a"].hasValue()`:         {"R attr [a] 1:1"},
		`R.attr[P.id].x`:                  {"R attr [] 1:1", "P id [] 1:8"},
		`R.attr.list[0].x`:                {"R attr [list] 1:1"},
		`[R].map(r, r.attr.x)`:            {"R  [] 1:2"},
		`has(R.attr.x) && !has(R.attr.y)`: {"R attr [x] 1:5", "R attr [y] 1:23"},
		`R.attr.x.startsWith(P.attr.y) ? [P.id] : {"a": [R.id]}.a`: {"R attr [x] 1:1", "P attr [y] 1:21", "P id [] 1:34", "R id [] 1:49"},
	} {
		program, issues := env.Compile(source)
		if len(issues) > 0 {
			t.Errorf("%s: %v", source, issues)
			continue
		}
		var got []string
		for _, s := range program.Selections() {
			got = append(got, fmt.Sprintf("%s %s %v %d:%d", s.Variable, s.Field, s.Below, s.Line, s.Column))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}
