package folder

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"edict/engine/diag"
	"edict/engine/internal/parallel"
	"edict/engine/yamldoc"
)

// The bounds of a folder tree.
const (
	// MaxDepth is how many levels deep folders may be nested.
	MaxDepth = 64

	// MaxFolders is how many folders are read.
	MaxFolders = 10_000
)

const testdata = "testdata"

// A File is a file that was read.
type File struct {
	Name    string // the folder's name, a slash, and Path: what diagnostics call the file
	Path    string // below the folder
	Content []byte
	digest  [sha256.Size]byte // of Content; zero if nobody asked yet
}

// Digest gives the SHA-256 of the content. Of files that a Cache gave it is
// known already.
func (f *File) Digest() [sha256.Size]byte {
	if f.digest == ([sha256.Size]byte{}) {
		return sha256.Sum256(f.Content)
	}
	return f.digest
}

// IsData tells whether a file of this name is YAML or JSON and neither hidden
// nor a test (*_test.yaml).
func IsData(file string) bool {
	if strings.HasPrefix(file, ".") {
		return false
	}
	ext := path.Ext(file)
	switch strings.ToLower(ext) {
	case ".yaml", ".yml", ".json":
		return !strings.HasSuffix(strings.ToLower(strings.TrimSuffix(file, ext)), "_test")
	}
	return false
}

// A Report tells what is wrong with a file or folder.
type Report func(code diag.Code, message, hint string)

// A Tree says what to read.
type Tree struct {
	FS fs.FS

	// Name stands before the paths of files, in File.Name and in diagnostics.
	// It may be empty.
	Name string

	// Wants tells whether to read a file of this name, which is no path.
	// Hidden files are never read.
	Wants func(file string) bool

	// Skip tells whether to leave out a folder, and may report why. It is
	// given the path below the tree.
	Skip func(folder string, report Report) bool
}

// Read reads the files of a tree that IsData, but for those in folders called
// testdata. The name stands before the paths of files, in File.Name and in
// diagnostics; it may be empty. A folder that skip answers true for is left
// out; skip may be nil, and may report.
func Read(fsys fs.FS, name string, skip func(folder string, report func(code diag.Code, message, hint string)) bool) ([]File, diag.List) {
	return new(Cache).Read(Data(fsys, name, skip))
}

// Data gives the Tree that Read reads.
func Data(fsys fs.FS, name string, skip func(folder string, report func(code diag.Code, message, hint string)) bool) Tree {
	return Tree{FS: fsys, Name: name, Wants: IsData, Skip: func(folder string, report Report) bool {
		return path.Base(folder) == testdata || skip != nil && skip(folder, report)
	}}
}

// A Cache remembers the files of a tree from one reading to the next, so that
// only those that changed are read again. The zero Cache is ready. It is for
// one tree, and for one goroutine at a time.
type Cache struct {
	files map[string]remembered // by path
}

// A remembered file was last read as file, when its state was info.
type remembered struct {
	info fs.FileInfo // nil: the file may have changed since without a trace
	file File
}

// settled is how old the last change of a file must be for a later one to show
// in its time. File systems keep times to two seconds at worst.
const settled = 2 * time.Second

// Read reads the files of the tree.
func (c *Cache) Read(t Tree) ([]File, diag.List) {
	r := reader{tree: t, now: time.Now(), before: c.files}
	info, err := fs.Stat(t.FS, ".")
	if err != nil {
		r.unreadable(".", err)
		return nil, r.list
	}
	r.folder(".", []fs.FileInfo{info})
	type outcome struct {
		remembered
		err error
	}
	outcomes := make([]outcome, len(r.found))
	parallel.Do(len(r.found), func(i int) { outcomes[i].remembered, outcomes[i].err = r.read(r.found[i]) })
	c.files = make(map[string]remembered, len(r.found))
	var files []File
	for i, o := range outcomes {
		if o.err != nil {
			r.unreadable(r.found[i].file.Path, o.err)
			continue
		}
		c.files[o.file.Path] = o.remembered
		files = append(files, o.file)
	}
	return files, r.list
}

type reader struct {
	tree    Tree
	now     time.Time
	before  map[string]remembered
	found   []found
	list    diag.List
	folders int // how many were read
}

// A found file is still to be read.
type found struct {
	file File // without content
	stat func() (fs.FileInfo, error)
}

// errNoFile is for a pipe, a device or the like.
var errNoFile = errors.New("this is not a file")

// folder looks through one folder. The chain is the folder itself and those
// that it was reached through, the root first.
func (r *reader) folder(name string, chain []fs.FileInfo) {
	r.folders++
	const hint = "is the folder the right one?"
	switch {
	case r.folders > MaxFolders+1: // reported once
		return
	case r.folders > MaxFolders:
		r.report(name, TooManyFolders, fmt.Sprintf("there are more than %d folders", MaxFolders), hint)
		return
	case len(chain) > MaxDepth:
		r.report(name, TooManyFolders, fmt.Sprintf("folders are nested more than %d levels deep", MaxDepth), hint)
		return
	}
	entries, err := fs.ReadDir(r.tree.FS, name)
	if err != nil {
		r.unreadable(name, err)
		return
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			r.entry(path.Join(name, entry.Name()), entry, chain)
		}
	}
}

func (r *reader) entry(name string, entry fs.DirEntry, chain []fs.FileInfo) {
	wanted := r.tree.Wants(entry.Name())
	switch {
	case entry.Type().IsRegular():
		if wanted {
			r.found = append(r.found, found{stat: entry.Info, file: File{Name: path.Join(r.tree.Name, name), Path: name}})
		}
		return
	case entry.IsDir(), entry.Type()&fs.ModeSymlink != 0:
	default:
		if wanted {
			r.report(name, Unreadable, "this is not a file", "")
		}
		return
	}
	info, err := fs.Stat(r.tree.FS, name) // follows links, as the entry does not
	switch {
	case err != nil:
		r.unreadable(name, err)
	case !info.IsDir():
		if wanted {
			r.found = append(r.found, found{stat: func() (fs.FileInfo, error) { return info, nil }, file: File{Name: path.Join(r.tree.Name, name), Path: name}})
		}
	case r.tree.Skip != nil && r.tree.Skip(name, func(code diag.Code, message, hint string) { r.report(name, code, message, hint) }):
	case !entry.IsDir() && slices.ContainsFunc(chain, func(above fs.FileInfo) bool { return os.SameFile(info, above) }):
		r.report(name, LinkLoop, "the link leads to a folder that holds it", "remove the link")
	default:
		r.folder(name, append(chain[:len(chain):len(chain)], info))
	}
}

// read gives a file that was found with its content: what it had before, if it
// is unchanged.
func (r *reader) read(f found) (remembered, error) {
	info, err := f.stat()
	if err != nil {
		return remembered{}, err
	}
	if before, ok := r.before[f.file.Path]; ok && before.info != nil && unchanged(before.info, info) {
		before.file.Name = f.file.Name
		return before, nil
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait
		return remembered{}, errNoFile
	}
	opened, err := r.tree.FS.Open(f.file.Path)
	if err != nil {
		return remembered{}, err
	}
	defer opened.Close()
	// The state from before the reading, so that a change while it lasts shows.
	if info, err = opened.Stat(); err != nil {
		return remembered{}, err
	}
	if !info.Mode().IsRegular() {
		return remembered{}, errNoFile
	}
	// Of a file that is too large, just enough for whoever parses it to see
	// that it is.
	file := f.file
	file.Content, err = readUpTo(opened, info.Size(), yamldoc.MaxSize+1)
	if err != nil {
		return remembered{}, err
	}
	file.digest = sha256.Sum256(file.Content)
	if r.now.Sub(info.ModTime()) < settled {
		info = nil
	}
	return remembered{info, file}, nil
}

// readUpTo reads at most limit bytes. The size is what to expect.
func readUpTo(from io.Reader, size, limit int64) ([]byte, error) {
	content := make([]byte, 0, min(max(size, 0), limit)+1)
	for {
		n, err := from.Read(content[len(content):min(int64(cap(content)), limit)])
		content = content[:len(content)+n]
		switch {
		case err == io.EOF || int64(len(content)) == limit:
			return content, nil
		case err != nil:
			return nil, err
		case len(content) == cap(content):
			content = slices.Grow(content, 512)
		}
	}
}

// unchanged tells whether a file is the one that it was.
func unchanged(before, now fs.FileInfo) bool {
	return before.Size() == now.Size() && before.ModTime().Equal(now.ModTime()) && os.SameFile(before, now)
}

func (r *reader) unreadable(name string, err error) {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the position names the file already
	}
	r.report(name, Unreadable, fmt.Sprintf("cannot be read: %v", err), "")
}

func (r *reader) report(name string, code diag.Code, message, hint string) {
	r.list = append(r.list, diag.Diagnostic{
		Pos: diag.Position{File: path.Join(r.tree.Name, name)}, Code: code, Message: message, Hint: hint,
	})
}
