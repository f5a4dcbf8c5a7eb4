package expr

import (
	"strings"
	"testing"
	"time"

	"edict/engine/value"
)

// What goes over a text over and over is counted, by whoever does it: a client
// that sends long texts can't make an evaluation long.
func TestSearchesAreCounted(t *testing.T) {
	env, err := NewEnv([]Variable{{Name: "s", Type: String, Slot: 0}, {Name: "t", Type: String, Slot: 1}, {Name: "items", Type: Dyn, Slot: 2}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	items := make(value.Slice, 1900)
	for i := range items {
		items[i] = value.OfDouble(float64(i))
	}
	for _, text := range []string{
		"s.indexOf(t) >= 0", "s.lastIndexOf(t) >= 0",
		"items.exists(x, s.upperAscii() == 'x')", "items.exists(x, s.contains(t))", "items.exists(x, s.lowerAscii() == string(x))",
	} {
		t.Run(text, func(t *testing.T) {
			program, issues := env.Compile(text)
			if program == nil {
				t.Fatal(issues)
			}
			ask := func(n int) *Frame {
				f := env.NewFrame()
				f.Reset(time.Unix(0, 0))
				f.Set(0, value.OfString(strings.Repeat("a", n)))
				f.Set(1, value.OfString(strings.Repeat("a", n/2)+"b"))
				f.Set(2, value.OfSequence(items))
				program.Eval(f)
				return f
			}
			if !ask(1_000_000).Spent() {
				t.Error("a million bytes do not use up the steps")
			}
			if ask(20).Spent() {
				t.Error("twenty bytes do")
			}
		})
	}
}
