// Package folder reads the files of a folder tree: policies, route maps.
//
// What always holds here:
//
//  1. Files come in the lexical order of their paths, so that what is loaded
//     does not depend on the file system.
//  2. Names that begin with a dot, and folders called testdata, are not read.
//  3. Symbolic links are followed, since Kubernetes mounts folders of links. A
//     link to a folder that holds it is reported, not followed.
//  4. What can't be read is a diagnostic. A caller must not go on with a part
//     of a folder.
package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// The bounds of a folder tree.
const (
	// MaxDepth is how many levels deep folders may be nested.
	MaxDepth = 64

	// MaxFolders is how many folders are read.
	MaxFolders = 10_000
)

// The diagnostics that reading a folder can give.
const (
	// Unreadable is for a file, folder or link that can't be read.
	Unreadable diag.Code = "unreadable"

	// TooManyFolders is for a tree that is too deep or has too many folders.
	TooManyFolders diag.Code = "too-many-folders"

	// LinkLoop is for a link to a folder that holds it.
	LinkLoop diag.Code = "link-loop"
)

const testdata = "testdata"

// A File is a file that was read.
type File struct {
	Name    string // the folder's name, a slash, and the path below it
	Content []byte
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
		return !strings.HasSuffix(strings.TrimSuffix(file, ext), "_test")
	}
	return false
}

// Read reads the files of a tree that IsData. The name stands before the paths
// of files, in File.Name and in diagnostics; it may be empty. A folder that
// skip answers true for is left out; skip may be nil, and may report.
func Read(fsys fs.FS, name string, skip func(folder string, report func(code diag.Code, message, hint string)) bool) ([]File, diag.List) {
	r := reader{fsys: fsys, name: name, skip: skip}
	info, err := fs.Stat(fsys, ".")
	if err != nil {
		r.unreadable(".", err)
		return nil, r.list
	}
	r.folder(".", []fs.FileInfo{info})
	return r.files, r.list
}

type reader struct {
	fsys    fs.FS
	name    string
	skip    func(string, func(diag.Code, string, string)) bool
	files   []File
	list    diag.List
	folders int // how many were read
}

// folder reads one folder. The chain is the folder itself and those that it
// was reached through, the root first.
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
	entries, err := fs.ReadDir(r.fsys, name)
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
	isData := IsData(entry.Name())
	isLink := entry.Type()&fs.ModeSymlink != 0
	if !isData && !isLink && !entry.IsDir() {
		return
	}
	info, err := fs.Stat(r.fsys, name) // follows links, as the entry does not
	switch {
	case err != nil:
		r.unreadable(name, err)
	case !info.IsDir() && !isData:
	case info.Mode().IsRegular():
		r.file(name)
	case !info.IsDir():
		r.report(name, Unreadable, "this is not a file", "")
	case entry.Name() == testdata:
	case r.skip != nil && r.skip(name, func(code diag.Code, message, hint string) { r.report(name, code, message, hint) }):
	case isLink && isAmong(info, chain):
		r.report(name, LinkLoop, "the link leads to a folder that holds it", "remove the link")
	default:
		r.folder(name, append(chain[:len(chain):len(chain)], info))
	}
}

// isAmong tells whether a folder is one of the chain.
func isAmong(info fs.FileInfo, chain []fs.FileInfo) bool {
	for _, above := range chain {
		if os.SameFile(info, above) {
			return true
		}
	}
	return false
}

func (r *reader) file(name string) {
	f, err := r.fsys.Open(name)
	if err != nil {
		r.unreadable(name, err)
		return
	}
	defer f.Close()
	// Of a file that is too large, just enough for whoever parses it to see
	// that it is.
	content, err := io.ReadAll(io.LimitReader(f, yamldoc.MaxSize+1))
	if err != nil {
		r.unreadable(name, err)
		return
	}
	r.files = append(r.files, File{path.Join(r.name, name), content})
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
		Pos: diag.Position{File: path.Join(r.name, name)}, Code: code, Message: message, Hint: hint,
	})
}
