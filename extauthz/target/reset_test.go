package target

import "testing"

// A Target in a pool must not keep the last request's strings from being
// collected, which only its own fields show.
func TestResetDropsTheRequest(t *testing.T) {
	var tgt Target
	tgt.Parse("/a/b%20c/d?e=f&e=g&h=i")
	tgt.Query()
	tgt.Parse("/a?x=y")
	tgt.Query()
	tgt.Reset()
	for i, s := range tgt.segments {
		if s != "" {
			t.Errorf("segment %d is still %q", i, s)
		}
	}
	for i, p := range tgt.query.pairs[:cap(tgt.query.pairs)] {
		if p != (pair{}) {
			t.Errorf("pair %d is still %v", i, p)
		}
	}
	if tgt.raw != "" {
		t.Errorf("the path is still %q", tgt.raw)
	}
}
