package expr

import (
	"runtime"
	"testing"
)

// BenchmarkShapes times the conditions that policies mostly consist of: run
// natively, by cel-go over the views of this package, and by nothing but
// cel-go over plain maps.
func BenchmarkShapes(b *testing.B) {
	e, reference, x := newTestEnv(b), newPlain(b), policyFacts()
	for _, shape := range policyShapes {
		p := mustCompile(b, e, shape.source)
		f := x.frame(e)
		b.Run(shape.name+"/native", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Eval(f)
			}
		})
		b.Run(shape.name+"/celgo", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.evalCEL(f)
			}
		})
		b.Run(shape.name+"/plain", func(b *testing.B) {
			simple, activation := reference.compile(shape.source), x.activation()
			if simple == nil {
				b.Fatalf("%s does not compile with dyn variables", shape.source)
			}
			b.ReportAllocs()
			for b.Loop() {
				evalPlain(simple, activation)
			}
		})
	}
}

// BenchmarkCompile times the compiling of the shapes, and measures what a
// program keeps.
func BenchmarkCompile(b *testing.B) {
	e := newTestEnv(b)
	for _, shape := range policyShapes {
		b.Run(shape.name, func(b *testing.B) {
			var kept []*Program
			var before, after runtime.MemStats
			mustCompile(b, e, shape.source) // what cel-go's parser keeps for good
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				p := mustCompile(b, e, shape.source)
				if len(kept) < 1000 {
					kept = append(kept, p)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(kept)), "B/program")
			runtime.KeepAlive(kept)
		})
	}
}
