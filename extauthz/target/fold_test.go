package target_test

import (
	"strings"
	"testing"

	"edict/extauthz/target"
)

func TestFoldCase(t *testing.T) {
	for _, same := range [][]string{{"admin", "ADMIN", "aDmIn"}, {"é", "É"}, {"σ", "ς", "Σ"}, {"ǆ", "ǅ", "Ǆ"}, {"a-1/%", "A-1/%"}} {
		for _, s := range same {
			if target.FoldCase(s) != target.FoldCase(same[0]) {
				t.Errorf("%q and %q differ", s, same[0])
			}
		}
	}
	for _, pair := range [][2]string{{"a", "b"}, {"@", "`"}, {"[", "{"}, {"e", "é"}, {"ss", "ß"}} {
		if target.FoldCase(pair[0]) == target.FoldCase(pair[1]) {
			t.Errorf("%q and %q are the same", pair[0], pair[1])
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if target.FoldCase("expenses-2026") != "expenses-2026" {
			t.Error("lower case is folded")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var tgt target.Target
	for raw, want := range map[string]bool{"/Admin/%C3%89": true, "/ad%C4%B1min": false, "/%E1%BA%9E": false} {
		if r := tgt.Parse(raw); r != target.OK || tgt.Foldable() != want {
			t.Errorf("%s: %v, foldable: %v", raw, r, tgt.Foldable())
		}
	}
}

// Texts that Go takes for equal but for case fold to the same.
func FuzzFoldCase(f *testing.F) {
	f.Add("Admin", "aDMIN")
	f.Add("ſ", "S")
	f.Fuzz(func(t *testing.T, a, b string) {
		if target.FoldCase(target.FoldCase(a)) != target.FoldCase(a) {
			t.Fatalf("folding %q again gives %q", a, target.FoldCase(target.FoldCase(a)))
		}
		if strings.EqualFold(a, b) && target.FoldCase(a) != target.FoldCase(b) {
			t.Fatalf("%q and %q fold to %q and %q", a, b, target.FoldCase(a), target.FoldCase(b))
		}
	})
}
