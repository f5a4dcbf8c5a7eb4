package policyfile_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"edict/engine/folder"
	"edict/engine/policy"
	"edict/engine/policyfile"
)

func TestReadFolder(t *testing.T) {
	fsys := fstest.MapFS{
		"a.yaml":                   {Data: []byte(file("a"))},
		"b/c.yaml":                 {Data: []byte(file("c"))},
		"_schemas/a.json":          {Data: []byte(`{"a": 1}`)},
		"_schemas/b/c.JSON":        {Data: []byte(`{"c": 1}`)},
		"_schemas/a_test.json":     {Data: []byte(`{}`)},
		"_schemas/testdata/x.json": {Data: []byte(`{}`)},
		"_schemas/_schemas/x.json": {Data: []byte(`{}`)},
		"_schemas/.x.json":         {Data: []byte(`{}`)},
		"_schemas/.x/x.json":       {Data: []byte(`{}`)},
		"_schemas/x.yaml":          {Data: []byte(`a: b`)},
		"_schemas/README":          {Data: []byte(`text`)},
		"testdata/_schemas/x.json": {Data: []byte(`{}`)},
		".git/_schemas/x.json":     {Data: []byte(`{}`)},
	}
	for _, name := range []string{"", "policies"} {
		f, list := policyfile.ReadFolder(fsys, name)
		if len(list) != 0 {
			t.Fatal(list)
		}
		names := func(files []folder.File) (names []string) {
			for _, f := range files {
				names = append(names, strings.TrimPrefix(f.Name, name+"/"))
			}
			return names
		}
		if got, want := names(f.Policies), []string{"a.yaml", "b/c.yaml"}; !slices.Equal(got, want) {
			t.Errorf("policies %q, want %q", got, want)
		}
		if got, want := names(f.Schemas), []string{"_schemas/_schemas/x.json", "_schemas/a.json", "_schemas/a_test.json", "_schemas/b/c.JSON", "_schemas/testdata/x.json"}; !slices.Equal(got, want) {
			t.Errorf("schemas %q, want %q", got, want)
		}
		contents := f.SchemaContents()
		if len(contents) != 5 || string(contents["a.json"]) != `{"a": 1}` || string(contents["b/c.JSON"]) != `{"c": 1}` {
			t.Errorf("schemas %q", contents)
		}
	}
}

func TestReadFolderReportsSchemasElsewhere(t *testing.T) {
	f, list := policyfile.ReadFolder(fstest.MapFS{
		"a.yaml":            {Data: []byte(file("a"))},
		"b/_schemas/c.json": {Data: []byte(`{}`)},
		"c/d/_schemas/x":    {Data: []byte(`{}`)},
		"e/_schemas":        {Data: []byte(`a file`)},
	}, "p")
	if len(list) != 2 || list[0].Pos.File != "p/b/_schemas" || list[1].Pos.File != "p/c/d/_schemas" || list[0].Code != policyfile.MisplacedSchemas || f.Schemas != nil || len(f.Policies) != 1 {
		t.Errorf("got %v, %v", f, list)
	}
}

// The results come in the order of the files, however many parse them.
func TestParseAllKeepsTheOrder(t *testing.T) {
	var files []folder.File
	var want []string
	for i := range 300 {
		kind := string(rune('a'+i%26)) + strings.Repeat("x", i%17) + string(rune('a'+i/26))
		content := file(kind)
		switch i % 50 {
		case 7:
			content = "disabled: true\n" + content
		case 8:
			content = strings.Replace(content, "version: default", "version: a-b", 1)
		default:
			want = append(want, kind)
		}
		files = append(files, folder.File{Name: kind + ".yaml", Content: []byte(content)})
	}
	for range 5 {
		policies, list := policyfile.ParseAll(files)
		if len(list) != 6 {
			t.Fatalf("%d diagnostics: %v", len(list), list)
		}
		for i, d := range list {
			if d.Pos.File != files[i*50+8].Name {
				t.Errorf("diagnostic %d is about %s", i, d.Pos.File)
			}
		}
		if got := kindsOf(policies); !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func kindsOf(policies []*policy.Policy) []string {
	var kinds []string
	for _, p := range policies {
		kinds = append(kinds, p.Resource.Resource.Value)
	}
	return kinds
}

// What did not change is the same policy as before, not an equal one.
func TestCacheKeepsPolicies(t *testing.T) {
	root := t.TempDir()
	var c policyfile.Cache
	load := func() map[string]*policy.Policy {
		t.Helper()
		f, list := c.ReadFolder(os.DirFS(root), "p")
		policies, more := c.ParseAll(f.Policies)
		plain, plainList := policyfile.Load(os.DirFS(root))
		if !slices.Equal(kindsOf(policies), kindsOf(plain)) || len(list)+len(more) != len(plainList) {
			t.Errorf("got %q, %v, %v; want %q, %v", kindsOf(policies), list, more, kindsOf(plain), plainList)
		}
		byFile := map[string]*policy.Policy{}
		for _, p := range policies {
			byFile[strings.TrimPrefix(p.Pos.File, "p/")] = p
		}
		return byFile
	}
	check := func(before, after map[string]*policy.Policy, changed ...string) {
		t.Helper()
		for name, p := range after {
			if same := before[name] == p; same == slices.Contains(changed, name) {
				t.Errorf("%s is the same: %v", name, same)
			}
		}
	}
	name := func(file string) string { return filepath.Join(root, file) }
	write(t, name("a.yaml"), file("a"))
	write(t, name("b.yaml"), file("b"))
	write(t, name("c.yaml"), file("c"))
	first := load()
	check(first, load())

	write(t, name("b.yaml"), file("other"))
	second := load()
	check(first, second, "b.yaml")

	age(t, name("a.yaml"), time.Minute) // touched, not changed
	check(second, load())

	write(t, name("c.yaml"), file("c*")) // a mistake, and its mend
	if third := load(); third["c.yaml"] != nil || third["a.yaml"] != second["a.yaml"] {
		t.Errorf("got %v", third)
	}
	load()
	write(t, name("c.yaml"), file("c"))
	check(second, load(), "c.yaml")

	if err := os.Rename(name("b.yaml"), name("d.yaml")); err != nil { // positions name the file
		t.Fatal(err)
	}
	check(second, load(), "c.yaml", "d.yaml")
}

// Schemas come and go like policies.
func TestCacheReadsSchemas(t *testing.T) {
	root := t.TempDir()
	var c policyfile.Cache
	for _, content := range []string{"", `{"a": 1}`, `{"a": 2}`, "", `{"a": 1}`} {
		name := filepath.Join(root, "_schemas", "a.json")
		if content == "" {
			if err := os.RemoveAll(filepath.Dir(name)); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, name, content)
		}
		f, list := c.ReadFolder(os.DirFS(root), "p")
		if got := string(f.SchemaContents()["a.json"]); got != content || list != nil {
			t.Errorf("got %q, %v; want %q", got, list, content)
		}
	}
}
