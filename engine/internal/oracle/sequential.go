package oracle

import "testing"

// SkipSequential skips a long test of one goroutine in the run with the race
// detector, which is a -short one.
func SkipSequential(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine, in which the race detector has nothing to find; the run without it tries this")
	}
}
