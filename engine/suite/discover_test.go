package suite_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"edict/engine/suite"
)

// oneTest is a suite whose fixtures lie beside it.
const oneTest = `
name: Docs
tests:
  - name: t
    input: {principals: [ann], resources: [doc], actions: [view]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
`

const (
	sharedPrincipals = "principals: {ann: {id: ann, roles: [user]}}\n"
	sharedResources  = "resources: {doc: {kind: doc, id: d}}\n"
)

func TestFind(t *testing.T) {
	files := map[string]string{"p.yaml": "not read", "notes_test.txt": "not read", "test.yaml": "not read", "contest.yaml": "not read"}
	want := []string{
		".hidden/a_test.yaml", ".hidden_test.yaml", "UPPER_TEST.YAML", "_schemas/a_test.yaml", "_test.yaml",
		"a_test.json", "a_test.yaml", "a_test.yml", "sub/deep/a_test.yaml",
	}
	for _, name := range want {
		files[name] = oneTest
	}
	files["testdata/a_test.yaml"] = "name: ["
	files["sub/testdata/deep/a_test.yaml"] = "name: ["
	suites, err := suite.Find(fsOf(files), "tests")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range suites {
		got = append(got, s.File)
		if !strings.HasPrefix(s.Problems[0].Pos.File, "tests/"+s.File) {
			t.Errorf("%s: the problem is at %s", s.File, s.Problems[0].Pos)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestFixtures(t *testing.T) {
	shared := func(more ...string) map[string]string {
		files := map[string]string{"s/a_test.yaml": oneTest, "s/testdata/principals.yaml": sharedPrincipals, "s/testdata/resources.yaml": sharedResources}
		for i := 0; i < len(more); i += 2 {
			if more[i+1] == "" {
				delete(files, more[i])
			} else {
				files[more[i]] = more[i+1]
			}
		}
		return files
	}
	passed := []string{"t/ann/doc/view passed"}
	withToken := strings.ReplaceAll(strings.Replace(oneTest, "actions: [view]", "actions: [token], auxData: badge", 1), "view:", "token:")
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string // a part of each line
	}{
		{"of all kinds of files", shared(
			"s/testdata/principals.yaml", "", "s/testdata/principals.json", `{"principals": {"ann": {"id": "ann", "roles": ["user"]}}}`,
			"s/testdata/resources.yaml", "", "s/testdata/resources.YML", sharedResources), passed},
		{"of other names are not read", shared("s/testdata/people.yaml", "principals: ["), passed},
		{"in sub-folders are not read", shared("s/testdata/principals.yaml", "", "s/testdata/sub/principals.yaml", sharedPrincipals), []string{`no principal called "ann"`}},
		{"above are not read", map[string]string{"s/a_test.yaml": oneTest, "testdata/principals.yaml": sharedPrincipals, "testdata/resources.yaml": sharedResources}, []string{`no principal called "ann"`}},
		{"a suite's own come first", shared("s/a_test.yaml", oneTest+"principals: {ann: {id: ann, roles: [guest]}}\n"), []string{"t/ann/doc/view failed"}},
		{"also for members of shared groups", shared(
			"s/testdata/principals.yaml", sharedPrincipals+"principalGroups: {all: {principals: [ann]}}\n",
			"s/a_test.yaml", strings.Replace(oneTest, "principals: [ann]", "principalGroups: [all]", 1)+"principals: {ann: {id: ann, roles: [guest]}}\n"), []string{"t/ann/doc/view failed"}},
		{"shared groups hold shared fixtures", shared(
			"s/testdata/principals.yaml", sharedPrincipals+"principalGroups: {all: {principals: [bob]}}\n",
			"s/a_test.yaml", oneTest+"principals: {bob: {id: bob, roles: [guest]}}\n"), []string{`s/testdata/principals.yaml:2:38: there is no principal called "bob"`}},
		{"groups of a suite may hold shared fixtures", shared(
			"s/a_test.yaml", strings.Replace(oneTest, "principals: [ann]", "principalGroups: [all]", 1)+"principalGroups: {all: {principals: [ann]}}\n"), passed},
		{"auxData", shared("s/testdata/auxdata.yaml", "auxData: {badge: {jwt: {iss: hr}}}\n", "s/a_test.yaml", withToken), []string{"t/ann/doc/token passed"}},
		{"auxData in another spelling", shared("s/testdata/auxData.yaml", "aux_data: {badge: {jwt: {iss: hr}}}\n", "s/a_test.yaml", withToken), []string{"t/ann/doc/token passed"}},
		{"auxData in the third spelling", shared("s/testdata/aux_data.yml", "auxData: {badge: {jwt: {iss: hr}}}\n", "s/a_test.yaml", withToken), []string{"t/ann/doc/token passed"}},
		{"broken ones break every suite beside them, skipped ones too", shared(
			"s/testdata/resources.yaml", "resources: {doc: {id: d}}\n", "s/b_test.yaml", oneTest+"skip: true\n", "c_test.yaml", fixtureHead+`
tests:
  - name: t
    input: {principals: [ann], resources: [doc], actions: [view]}
    expected: [{principal: ann, resource: doc, actions: {view: EFFECT_ALLOW}}]
`), []string{
			"t/ann/doc/view passed",
			"s/a_test.yaml Docs: failed to load test fixtures from s/testdata: s/testdata/resources.yaml:1:18: kind is required",
			"s/b_test.yaml Docs: failed to load test fixtures", "s/b_test.yaml skipped",
		}},
		{"may be empty", shared("s/testdata/auxdata.yaml", "# nothing yet\n"), passed},
		{"may be missing", map[string]string{"s/a_test.yaml": strings.Replace(everything, "name: Docs", "name: Other", 1), "s/testdata": "a file"}, slices.Repeat([]string{""}, 9)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := results(t, suite.Options{}, c.files)
			ok := len(got) == len(c.want)
			for i := range got {
				ok = ok && strings.Contains(got[i], c.want[i])
			}
			if !ok {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

// Of two files of fixtures of one kind only one is read. The other is told.
func TestShadowedFixtures(t *testing.T) {
	suites, err := suite.Find(fsOf(map[string]string{
		"a_test.yaml": oneTest, "testdata/resources.yaml": sharedResources,
		"testdata/principals.json": `{"principals": {"ann": {"id": "ann", "roles": ["user"]}}}`, "testdata/principals.yaml": "principals: [",
		"testdata/auxdata.yaml": "auxData: {}\n", "testdata/auxData.yaml": "auxData: [",
	}), "")
	if err != nil {
		t.Fatal(err)
	}
	const want = "testdata/auxData.yaml: the file is not read: auxdata.yaml takes its place [test-shadowed]; put all fixtures of a kind into one file\n" +
		"testdata/principals.yaml: the file is not read: principals.json takes its place [test-shadowed]; put all fixtures of a kind into one file"
	if got := suites[0].Warnings.Error(); got != want || len(suites[0].Problems) > 0 {
		t.Errorf("got\n%s\n%v", got, suites[0].Problems)
	}
}

func TestEmptySuite(t *testing.T) {
	for _, content := range []string{"", "# nothing yet\n", "---\n"} {
		s := suite.Parse("a_test.yaml", []byte(content))
		if len(s.Problems) != 1 || s.Problems[0].Code != suite.EmptySuite || s.Name != "Unknown" {
			t.Errorf("%q: got %v", content, s.Problems)
		}
	}
}

// A file that cannot be read is an error of its suite, a folder that cannot be
// read one of the run.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "a_test.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "b_test.yaml"), make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	suites, err := suite.Find(os.DirFS(dir), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(suites) != 2 || suites[0].Problems[0].Code != suite.Unreadable || suites[1].Problems[0].Code != "yaml-too-large" {
		t.Errorf("got %v", linesOf(suite.Run(suites, suite.Options{Compile: compile(t)})))
	}
	if _, err := suite.Find(brokenFolder{fstest.MapFS{"sub/a_test.yaml": {Data: []byte(oneTest)}, "b_test.yaml": {Data: []byte(oneTest)}}}, "here"); err == nil || !strings.Contains(err.Error(), "here") {
		t.Errorf("a folder that cannot be read gave the error %v", err)
	}
}

type brokenFolder struct{ fstest.MapFS }

func (f brokenFolder) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "sub" {
		return nil, errors.New("the disk is on fire")
	}
	return f.MapFS.ReadDir(name)
}
