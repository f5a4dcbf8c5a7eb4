package engine

import "testing"

func TestZeroPlanLetsNothingThrough(t *testing.T) {
	if p := (Plan{}); p.Filter.Kind.String() != "KIND_ALWAYS_DENIED" || p.Filter.String() != "(false)" {
		t.Errorf("the zero filter is %s %s", p.Filter.Kind, p.Filter.String())
	}
}
