package lint

import (
	"fmt"
	"os"
	"testing"

	"edict/engine"
	"edict/engine/policyfile"
)

func TestDump(t *testing.T) {
	env, err := engine.NewEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"../../policies", "/work/shared/conformance/store", "/work/shared/conformance/query_planner/policies", "/work/shared/conformance/verify_junit/store"} {
		ps, list := policyfile.Load(os.DirFS(d))
		fmt.Println("=====", d, len(ps), len(list))
		for _, x := range list[:min(3, len(list))] {
			fmt.Println("   ", x.Error())
		}
		out := Check(ps, nil, env)
		fmt.Println(out.Render())
		counts := map[string]int{}
		for _, x := range out {
			counts[string(x.Code)]++
		}
		fmt.Println(counts)
	}
}
