package folder_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/yamldoc"
)

// A countingFS notes which files are opened to be read.
type countingFS struct {
	fs.FS
	opened *sync.Map
}

func (c countingFS) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	return countingFile{f, func() { c.opened.Store(name, true) }}, err
}

func (c countingFS) Stat(name string) (fs.FileInfo, error)      { return fs.Stat(c.FS, name) }
func (c countingFS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(c.FS, name) }

type countingFile struct {
	fs.File
	count func()
}

func (f countingFile) Close() error {
	f.count()
	return f.File.Close()
}

// A tree is a folder on disk that is read again and again.
type tree struct {
	t     *testing.T
	root  string
	cache folder.Cache
}

func newTree(t *testing.T) *tree { return &tree{t: t, root: t.TempDir()} }

func (r *tree) path(name string) string { return filepath.Join(r.root, filepath.FromSlash(name)) }

// must ends the test if something did not work.
func (r *tree) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// write writes a file that was last changed so long ago.
func (r *tree) write(name, content string, ago time.Duration) {
	r.t.Helper()
	r.must(os.MkdirAll(filepath.Dir(r.path(name)), 0o777))
	r.must(os.WriteFile(r.path(name), []byte(content), 0o666))
	then := time.Now().Add(-ago)
	r.must(os.Chtimes(r.path(name), then, then))
}

// read compares what the cache gives with what reading anew gives, and gives
// the files that were opened.
func (r *tree) read() []string {
	r.t.Helper()
	fsys := countingFS{os.DirFS(r.root), new(sync.Map)}
	files, list := r.cache.Read(folder.Data(fsys, "x", nil))
	want, wantList := folder.Read(os.DirFS(r.root), "x", nil)
	if !slices.EqualFunc(files, want, func(a, b folder.File) bool {
		return a.Name == b.Name && a.Path == b.Path && string(a.Content) == string(b.Content) && a.Digest() == b.Digest()
	}) || list.Error() != wantList.Error() {
		r.t.Errorf("got %v, %v; want %v, %v", files, list, want, wantList)
	}
	var opened []string
	for name := range fsys.opened.Range {
		opened = append(opened, name.(string))
	}
	slices.Sort(opened)
	return opened
}

func (r *tree) expect(opened ...string) {
	r.t.Helper()
	if got := r.read(); !slices.Equal(got, opened) {
		r.t.Errorf("opened %q, want %q", got, opened)
	}
}

const long = time.Hour

func TestCacheReadsWhatChanged(t *testing.T) {
	r := newTree(t)
	r.write("a.yaml", "a", long)
	r.write("b/c.yaml", "c", long)
	r.write("b/d.json", "d", long)
	r.expect("a.yaml", "b/c.yaml", "b/d.json")
	r.expect()
	r.write("b/c.yaml", "C", 2*long)
	r.expect("b/c.yaml")
	r.write("b/d.json", "longer", long)
	r.expect("b/d.json")
	r.write("new.yaml", "n", long)
	r.expect("new.yaml")
	r.must(os.Remove(r.path("a.yaml")))
	r.expect()
	r.write("a.yaml", "again", long)
	r.expect("a.yaml")
	r.must(os.Rename(r.path("b/c.yaml"), r.path("b/e.yaml")))
	r.expect("b/e.yaml")
	r.expect()
}

// A file with the size and the time of the old one is a new file all the same.
func TestCacheSeesAFilePutInThePlaceOfAnother(t *testing.T) {
	r := newTree(t)
	r.write("a.yaml", "old", long)
	r.write("b.txt", "new", long)
	old, err := os.Stat(r.path("a.yaml"))
	r.must(err)
	r.must(os.Chtimes(r.path("b.txt"), old.ModTime(), old.ModTime()))
	r.expect("a.yaml")
	r.must(os.Rename(r.path("b.txt"), r.path("a.yaml")))
	r.expect("a.yaml")
}

// Within the grain of its times a file may change and show nothing. One that
// changed just before it was read is read again, and so is one whose time lies
// in the future.
func TestCacheTrustsNoFreshFile(t *testing.T) {
	for _, ago := range []time.Duration{0, time.Second, -long} {
		r := newTree(t)
		r.write("a.yaml", "old", ago)
		r.expect("a.yaml")
		info, err := os.Stat(r.path("a.yaml"))
		r.must(err)
		r.must(os.WriteFile(r.path("a.yaml"), []byte("new"), 0o666))
		r.must(os.Chtimes(r.path("a.yaml"), info.ModTime(), info.ModTime()))
		r.expect("a.yaml")
	}
}

// Kubernetes replaces the folder that all links lead through, and may give the
// new files any time.
func TestCacheFollowsLinks(t *testing.T) {
	r := newTree(t)
	r.write("..1/a.yaml", "a1", long)
	r.write("..1/b.yaml", "b", long)
	r.write("..1/sub/c.yaml", "c1", long)
	r.write("..2/a.yaml", "a2", long)
	r.must(os.Link(r.path("..1/b.yaml"), r.path("..2/b.yaml")))
	r.write("..2/sub/c.yaml", "c2", long)
	for link, target := range map[string]string{"..data": "..1", "a.yaml": "..data/a.yaml", "b.yaml": "..data/b.yaml", "sub": "..data/sub"} {
		r.must(os.Symlink(target, r.path(link)))
	}
	r.expect("a.yaml", "b.yaml", "sub/c.yaml")
	r.expect()
	r.must(os.Symlink("..2", r.path("..new")))
	r.must(os.Rename(r.path("..new"), r.path("..data")))
	r.expect("a.yaml", "sub/c.yaml")
	r.expect()
}

// A file that could not be read is tried again.
func TestCacheForgetsWhatFailed(t *testing.T) {
	r := newTree(t)
	r.write("target", "x", long)
	r.must(os.Symlink("target", r.path("a.yaml")))
	r.expect("a.yaml")
	r.must(os.Rename(r.path("target"), r.path("elsewhere")))
	r.expect()
	r.must(os.Rename(r.path("elsewhere"), r.path("target")))
	r.expect("a.yaml")
}

// What a file system does not tell apart is read each time.
func TestCacheOfAnotherFileSystem(t *testing.T) {
	fsys := fstest.MapFS{"a.yaml": {Data: []byte("old"), ModTime: time.Unix(0, 0)}}
	var c folder.Cache
	for _, content := range []string{"old", "new"} {
		fsys["a.yaml"].Data = []byte(content)
		files, list := c.Read(folder.Data(fsys, "", nil))
		if len(files) != 1 || string(files[0].Content) != content || list != nil {
			t.Errorf("got %v, %v; want %q", files, list, content)
		}
	}
}

// Of a file beyond all bounds no more is read than shows that it is.
func TestReadIsBounded(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 4096, yamldoc.MaxSize, yamldoc.MaxSize + 1, yamldoc.MaxSize + 5} {
		fsys := fstest.MapFS{"a.yaml": {Data: []byte(strings.Repeat("x", size))}}
		for _, fsys := range []fs.FS{fsys, liar{fsys}} {
			files, list := folder.Read(fsys, "", nil)
			if want := min(size, yamldoc.MaxSize+1); list != nil || len(files) != 1 || len(files[0].Content) != want {
				t.Errorf("%d bytes: read %d files, %v", size, len(files), list)
			}
		}
	}
}

// A liar says that all files are empty, as some file systems do of files that
// are made when they are read.
type liar struct{ fstest.MapFS }

func (l liar) Open(name string) (fs.File, error) {
	f, err := l.MapFS.Open(name)
	if info, statErr := fs.Stat(l.MapFS, name); statErr != nil || info.IsDir() {
		return f, err
	}
	return lyingFile{f}, err
}

type lyingFile struct{ fs.File }

func (l lyingFile) Stat() (fs.FileInfo, error) {
	info, err := l.File.Stat()
	return emptyInfo{info}, err
}

type emptyInfo struct{ fs.FileInfo }

func (emptyInfo) Size() int64 { return 0 }

// codes lists what was reported.
func codes(list diag.List) []string {
	var got []string
	for _, d := range list {
		got = append(got, fmt.Sprintf("%s %s", d.Pos, d.Code))
	}
	return got
}
