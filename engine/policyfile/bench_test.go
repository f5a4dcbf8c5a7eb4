package policyfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"edict/engine/policyfile"
)

// manyFiles makes a folder of n policies that have long been as they are.
func manyFiles(t testing.TB, n int) string {
	t.Helper()
	root := t.TempDir()
	for i := range n {
		write(t, filepath.Join(root, fmt.Sprintf("team%02d", i%100), fmt.Sprintf("kind%05d.yaml", i)), rules(fmt.Sprintf("kind%05d", i)))
	}
	return root
}

// rules gives a policy of an ordinary size for a kind of resource.
func rules(kind string) string {
	text := "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: " + kind + "\n  version: default\n  importDerivedRoles: [common]\n  rules:\n"
	for i := range 8 {
		text += fmt.Sprintf("    - name: rule%d\n      actions: [view, \"edit:*\"]\n      effect: EFFECT_ALLOW\n      roles: [user, admin]\n      condition:\n        match:\n          all:\n            of:\n              - expr: R.attr.owner == P.id\n              - expr: P.attr.level > %d\n", i, i)
	}
	return text
}

// write writes a file that seems to have been left alone for an hour.
func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	age(t, name, time.Hour)
}

// age sets the time of the last change of a file back.
func age(t testing.TB, name string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(name, then, then); err != nil {
		t.Fatal(err)
	}
}

// The first load of 10,000 policies, and a reload when one of them changed:
// what a server does when somebody saves a file. It reads twice, to see that
// the folder is at rest.
func BenchmarkLoad10000(b *testing.B) {
	root := manyFiles(b, 10_000)
	load := func(b *testing.B, c *policyfile.Cache) {
		c.ReadFolder(os.DirFS(root), "policies")
		f, list := c.ReadFolder(os.DirFS(root), "policies")
		policies, more := c.ParseAll(f.Policies)
		if len(list) > 0 || len(more) > 0 || len(policies) != 10_000 {
			b.Fatal(len(policies), list, more)
		}
	}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			load(b, new(policyfile.Cache))
		}
	})
	b.Run("one changed", func(b *testing.B) {
		var c policyfile.Cache
		load(b, &c)
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			write(b, filepath.Join(root, "team00", "kind00000.yaml"), rules(fmt.Sprintf("kind%d", i)))
			b.StartTimer()
			load(b, &c)
		}
	})
}
