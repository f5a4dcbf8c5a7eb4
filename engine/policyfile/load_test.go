package policyfile_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policyfile"
)

// file gives a small policy for a kind of resource.
func file(kind string) string {
	return "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: " + kind + ", version: default}\n"
}

// kinds gives the kinds of resources that the policies of a folder are for, in
// the order of the policies.
func kinds(t *testing.T, fsys fs.FS) ([]string, diag.List) {
	t.Helper()
	policies, list := policyfile.Load(fsys)
	var kinds []string
	for _, p := range policies {
		kinds = append(kinds, p.Resource.Resource.Value)
	}
	return kinds, list
}

func TestLoad(t *testing.T) {
	root := fstest.MapFS{}
	for name, content := range map[string]string{
		"b.yaml":                 file("b"),
		"a/z.YML":                file("a_z"),
		"a/b/c.Json":             `{"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": {"resource": "a_b_c", "version": "v"}}`,
		"a.yaml":                 file("a"),
		"c/disabled.yaml":        "disabled: true\n" + file("disabled"),
		"c/empty.yaml":           "# nothing yet\n",
		"c/test.yaml":            file("test"),
		"testdata.yaml":          file("testdata"),
		"_other/x.yaml":          file("other"),
		"notes.txt":              "not: [a policy",
		"yaml":                   "not: [a policy",
		"a/x_test.yaml":          "not: a policy",
		"a/x_test.YML":           "not: a policy",
		"x_test.json":            "{}",
		".hidden.yaml":           "not: a policy",
		".git/x.yaml":            "not: a policy",
		"a/.hidden/x.yaml":       "not: a policy",
		"testdata/x.yaml":        "not: a policy",
		"a/testdata/x.yaml":      "not: a policy",
		"_schemas/x.json":        "{}",
		"_schemas/x.yaml":        "not: a policy",
		"_schemas/a/_schemas/.x": "",
	} {
		root[name] = &fstest.MapFile{Data: []byte(content)}
	}
	got, list := kinds(t, root)
	if len(list) != 0 {
		t.Error(list)
	}
	// Lexical order, folders among the files.
	if want := []string{"other", "a_b_c", "a_z", "a", "b", "test", "testdata"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoadGivesEveryDiagnostic(t *testing.T) {
	root := fstest.MapFS{
		"a.yaml":            {Data: []byte(file("a*"))},
		"b.yaml":            {Data: []byte(file("b"))},
		"c/_schemas/x.json": {Data: []byte("{}")},
		"c/d.yaml":          {Data: []byte("a: b\nc: [")},
		"d.yaml":            {Data: []byte("disabled: true\nx: y\n" + file("d"))},
		"e.yaml":            {Data: []byte(strings.Repeat("#", 5<<20))},
		"f.yaml":            {Mode: fs.ModeNamedPipe},
	}
	_, list := policyfile.Load(root)
	var got []string
	for _, d := range list {
		got = append(got, fmt.Sprintf("%s %s", d.Pos, d.Code))
	}
	want := []string{"a.yaml:2:28 bad-resource", "c/_schemas misplaced-schemas", "c/d.yaml:2:4 yaml-unclosed", "d.yaml:2:1 unknown-field", "e.yaml:1:1 yaml-too-large", "f.yaml unreadable"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLoadOfNoFolder(t *testing.T) {
	policies, list := policyfile.Load(os.DirFS(filepath.Join(t.TempDir(), "absent")))
	if policies != nil || len(list) != 1 || list[0].Code != folder.Unreadable || !strings.Contains(list[0].Message, "no such file") {
		t.Errorf("got %v, %v", policies, list)
	}
	if policies, list := policyfile.Load(fstest.MapFS{}); policies != nil || list != nil {
		t.Errorf("an empty folder gives %v, %v", policies, list)
	}
}

// tree makes a folder from a list of paths: files with a policy for the kind
// behind the equals sign, and links to what is behind an arrow.
func tree(t *testing.T, paths ...string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: symbolic links need a privilege on Windows")
	}
	root := t.TempDir()
	for _, p := range paths {
		name, target, isLink := strings.Cut(p, " -> ")
		name, kind, _ := strings.Cut(name, " = ")
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(target, name)
		} else {
			err = os.WriteFile(name, []byte(file(kind)), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Kubernetes mounts a ConfigMap as links through a hidden folder, which is
// replaced as a whole.
func TestLoadFollowsLinks(t *testing.T) {
	root := tree(t,
		"..2026_01_01/a.yaml = a",
		"..2026_01_01/sub/b.yaml = b",
		"..data -> ..2026_01_01",
		"a.yaml -> ..data/a.yaml",
		"sub -> ..data/sub",
		"x/c.yaml = c",
		"x/_schemas.d/d.yaml = d",
	)
	got, list := kinds(t, os.DirFS(root))
	if want := []string{"a", "b", "d", "c"}; len(list) != 0 || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, list, want)
	}
}

func TestLoadReportsBadLinks(t *testing.T) {
	root := tree(t,
		"a.yaml -> absent.yaml",
		"b.yaml = b",
		"c/d/loop -> ..",
		"c/d/e.yaml = e",
		"c/root -> ..",
		"f/g -> ../h",
		"h/i -> ../f",
	)
	_, list := policyfile.Load(os.DirFS(root))
	var got []string
	for _, d := range list {
		got = append(got, fmt.Sprintf("%s %s", d.Pos, d.Code))
	}
	want := []string{"a.yaml unreadable", "c/d/loop link-loop", "c/root link-loop", "f/g/i link-loop", "h/i/g link-loop"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Links that double the number of folders at each level end in a diagnostic
// and not in a walk without end.
func TestLoadIsBounded(t *testing.T) {
	var doubling []string
	for i := range 30 {
		doubling = append(doubling, fmt.Sprintf("%d/a -> ../%d", i, i+1), fmt.Sprintf("%d/b -> ../%d", i, i+1))
	}
	root := tree(t, append(doubling, "30/x.yaml = x")...)
	_, list := policyfile.Load(os.DirFS(root))
	if len(list) != 1 || list[0].Code != folder.TooManyFolders {
		t.Errorf("doubling: %d diagnostics, %v", len(list), list[:min(len(list), 3)])
	}
	deep := fstest.MapFS{strings.Repeat("a/", 70) + "x.yaml": {Data: []byte(file("x"))}}
	_, list = policyfile.Load(deep)
	if len(list) != 1 || list[0].Code != folder.TooManyFolders || !strings.Contains(list[0].Message, "64 levels") {
		t.Errorf("deep: %v", list)
	}
}

// A folder that cannot be read is not an empty one.
func TestLoadReportsUnreadableFolders(t *testing.T) {
	root := brokenFS{fstest.MapFS{"a.yaml": {Data: []byte(file("a"))}, "b/c.yaml": {Data: []byte(file("c"))}}, "b"}
	got, list := kinds(t, root)
	if len(list) != 1 || list[0].Code != folder.Unreadable || list[0].Pos.File != "b" || !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q, %v", got, list)
	}
	root.broken = "b/c.yaml"
	got, list = kinds(t, root)
	if len(list) != 1 || list[0].Code != folder.Unreadable || list[0].Pos.File != "b/c.yaml" || !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q, %v", got, list)
	}
}

// A brokenFS refuses to open one name.
type brokenFS struct {
	fstest.MapFS
	broken string
}

func (b brokenFS) Open(name string) (fs.File, error) {
	if name == b.broken {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return b.MapFS.Open(name)
}

func (b brokenFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == b.broken {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return b.MapFS.ReadDir(name)
}
