package parallel_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"edict/engine/internal/parallel"
)

// each runs a test on one processor and on several.
func each(t *testing.T, test func(t *testing.T)) {
	for _, processors := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d processors", processors), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
			test(t)
		})
	}
}

func TestEachNumberOnce(t *testing.T) {
	each(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 2, 1000} {
			calls := make([]atomic.Int32, n)
			parallel.Do(n, func(i int) { calls[i].Add(1) })
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Errorf("%d of %d: %d calls", i, n, got)
				}
			}
		}
	})
}

func TestPanicReachesTheCaller(t *testing.T) {
	each(t, func(t *testing.T) {
		defer func() {
			if p := recover(); !strings.Contains(fmt.Sprint(p), "number 7") {
				t.Errorf("recovered %v", p)
			}
		}()
		parallel.Do(100, func(i int) {
			if i == 7 {
				panic("number 7")
			}
		})
		t.Error("no panic")
	})
}
