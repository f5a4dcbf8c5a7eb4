package expr_test

import (
	"reflect"
	"testing"

	"edict/engine/expr"
)

func TestPaths(t *testing.T) {
	env, err := expr.NewEnv([]expr.Variable{{Name: "v", Type: expr.Attrs}, {Name: "w", Type: expr.Attrs, Slot: 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string][][]string{
		`v.a.b == 1`:                         {{"v", "a", "b"}},
		`v["a.b"].c == w.d`:                  {{"v", "a.b", "c"}, {"w", "d"}},
		`has(v.a.b) && v.?a.orValue(1) == 1`: {{"v", "a", "b"}, {"v", "a"}},
		`v[?"a"].hasValue()`:                 {{"v", "a"}},
		`v[w.x].y == 1`:                      {{"v"}, {"w", "x"}},
		`"a" in v`:                           {{"v"}},
		`v.list.exists(i, i.w == w.z)`:       {{"v", "list"}, {"w", "z"}},
		`{"k": [v.a]} == {"k": [1]}`:         {{"v", "a"}},
		`1 == 1`:                             nil,
		`nonsense(`:                          nil,
	} {
		if got := env.Paths(source); !reflect.DeepEqual(got, want) {
			t.Errorf("%s gives %q, want %q", source, got, want)
		}
	}
}
