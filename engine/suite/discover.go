package suite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// testdata is the folder of fixtures beside a suite. It holds no suites.
const testdata = "testdata"

// Find reads every suite of a folder tree, in the lexical order of their
// paths: files called *_test.yaml, .yml or .json outside of folders called
// testdata, hidden ones included. Links to folders are not followed. The name
// stands before the paths in diagnostics; it may be empty. The error is that
// of a folder that cannot be read: a caller must not take the rest for all.
func Find(fsys fs.FS, name string) ([]*Suite, error) {
	f := finder{fsys: fsys, name: name, shared: map[string]*sharedFixtures{}}
	var suites []*Suite
	err := fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if d.Name() == testdata {
				return fs.SkipDir
			}
		case isSuite(d.Name()) && !f.isFolder(file, d):
			suites = append(suites, f.suite(file))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path.Join(name, "."), err)
	}
	return suites, nil
}

// Parse reads one suite, without fixtures beside it.
func Parse(file string, content []byte) *Suite {
	return parse(file, file, content).finish(&sharedFixtures{fixtures: newFixtures()})
}

// isSuite tells whether a file of this name is a suite.
func isSuite(file string) bool {
	base, ok := cutExtension(file)
	return ok && strings.HasSuffix(strings.ToLower(base), "_test")
}

func cutExtension(file string) (base string, ok bool) {
	ext := path.Ext(file)
	switch strings.ToLower(ext) {
	case ".yaml", ".yml", ".json":
		return strings.TrimSuffix(file, ext), true
	}
	return "", false
}

type finder struct {
	fsys   fs.FS
	name   string
	shared map[string]*sharedFixtures // by folder
}

// isFolder tells whether an entry is a link to a folder.
func (f *finder) isFolder(file string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return false
	}
	info, err := fs.Stat(f.fsys, file)
	return err == nil && info.IsDir()
}

func (f *finder) suite(file string) *Suite {
	display := path.Join(f.name, file)
	content, problem := f.read(file)
	if problem != nil {
		return &Suite{File: file, Name: UnknownName, Stage: "failed to load test suite", Problems: diag.List{*problem}}
	}
	return parse(file, display, content).finish(f.fixturesOf(path.Dir(file)))
}

// read gives just enough of a file that is too large for whoever parses it to
// see that it is.
func (f *finder) read(file string) ([]byte, *diag.Diagnostic) {
	problem := func(err error) *diag.Diagnostic {
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err // the position names the file already
		}
		return &diag.Diagnostic{Pos: diag.Position{File: path.Join(f.name, file)}, Code: Unreadable, Message: fmt.Sprintf("cannot be read: %v", err)}
	}
	r, err := f.fsys.Open(file)
	if err != nil {
		return nil, problem(err)
	}
	defer r.Close()
	info, err := r.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("this is not a file")
	}
	if err != nil {
		return nil, problem(err)
	}
	content, err := io.ReadAll(io.LimitReader(r, yamldoc.MaxSize+1))
	if err != nil {
		return nil, problem(err)
	}
	return content, nil
}

// sharedFixtures are those of the folder testdata beside some suites.
type sharedFixtures struct {
	*fixtures
	folder   string
	problems diag.List
	warnings diag.List
}

// The names of files of fixtures, the ones that win first.
var fixtureFiles = []struct {
	names  []string
	fields []string
	read   func(*fixtures, yamldoc.Object)
}{
	{[]string{"principals"}, []string{"$schema", "principals", "principalGroups"}, (*fixtures).readPrincipals},
	{[]string{"resources"}, []string{"$schema", "resources", "resourceGroups"}, (*fixtures).readResources},
	{[]string{"auxdata", "auxData", "aux_data"}, []string{"$schema", "auxData"}, (*fixtures).readAuxData},
}

// fixturesOf reads the fixtures beside the suites of a folder.
func (f *finder) fixturesOf(dir string) *sharedFixtures {
	if s := f.shared[dir]; s != nil {
		return s
	}
	s := &sharedFixtures{fixtures: newFixtures(), folder: path.Join(dir, testdata)}
	f.shared[dir] = s
	files, err := fs.ReadDir(f.fsys, s.folder)
	if err != nil {
		info, statErr := fs.Stat(f.fsys, s.folder)
		if statErr == nil && info.IsDir() || statErr != nil && !errors.Is(statErr, fs.ErrNotExist) {
			s.problems = append(s.problems, diag.Diagnostic{Pos: diag.Position{File: path.Join(f.name, s.folder)}, Code: Unreadable, Message: fmt.Sprintf("cannot be read: %v", err)})
		}
		return s
	}
	var docs []*yamldoc.Document
	for _, kind := range fixtureFiles {
		file := f.pick(s, files, kind.names)
		if file == "" {
			continue
		}
		content, problem := f.read(file)
		if problem != nil {
			s.problems = append(s.problems, *problem)
			continue
		}
		doc := yamldoc.Parse(path.Join(f.name, file), content)
		docs = append(docs, doc)
		if root, ok := doc.Root(); ok {
			if o, ok := root.Object(kind.fields...); ok {
				kind.read(s.fixtures, o)
			}
		}
	}
	scope{s.fixtures}.checkGroups()
	for _, doc := range docs {
		s.problems = append(s.problems, doc.Diagnostics()...)
	}
	return s
}

// pick gives the file that holds one kind of fixtures, "" if there is none.
// Only one is read; of the others there is a warning.
func (f *finder) pick(s *sharedFixtures, files []fs.DirEntry, names []string) string {
	picked := ""
	for _, name := range names {
		for _, d := range files {
			if base, ok := cutExtension(d.Name()); !ok || base != name {
				continue
			}
			file := path.Join(s.folder, d.Name())
			if picked == "" {
				picked = file
				continue
			}
			s.warnings = append(s.warnings, diag.Diagnostic{
				Pos: diag.Position{File: path.Join(f.name, file)}, Severity: diag.Warning, Code: Shadowed,
				Message: fmt.Sprintf("the file is not read: %s takes its place", path.Base(picked)), Hint: "put all fixtures of a kind into one file",
			})
		}
	}
	return picked
}

func sorted(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}
