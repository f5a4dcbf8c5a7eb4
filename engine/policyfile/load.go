package policyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// The bounds of a folder of policies.
const (
	// MaxFolderDepth is how many levels deep folders may be nested.
	MaxFolderDepth = 64

	// MaxFolders is how many folders are read.
	MaxFolders = 10_000
)

const (
	schemasFolder  = "_schemas"
	testdataFolder = "testdata"
)

// IsPolicyFile tells whether Load takes the file at path for a policy. The
// path has slashes and is relative to the policy folder. Files and folders
// whose names begin with a dot are not searched, nor are folders called
// testdata and _schemas; files called *_test are tests of policies.
func IsPolicyFile(name string) bool {
	folder, file := path.Split(path.Clean(name))
	for _, element := range strings.Split(strings.TrimSuffix(folder, "/"), "/") {
		if strings.HasPrefix(element, ".") || element == testdataFolder || element == schemasFolder {
			return false
		}
	}
	return isPolicyName(file)
}

// isPolicyName tells whether a file of this name is a policy, wherever it lies.
func isPolicyName(file string) bool {
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

// Load reads the policies of a folder, in the lexical order of their paths.
// Symbolic links are followed, so that folders that Kubernetes mounts can be
// read. Disabled policies are checked and left out. The policies are all there
// are only if the list is empty: a caller must not decide with a part of them.
func Load(fsys fs.FS) ([]*policy.Policy, diag.List) {
	l := loader{fsys: fsys}
	info, err := fs.Stat(fsys, ".")
	if err != nil {
		l.unreadable(".", err)
		return nil, l.list
	}
	l.folder(".", []fs.FileInfo{info})
	return l.policies, l.list
}

type loader struct {
	fsys     fs.FS
	policies []*policy.Policy
	list     diag.List
	folders  int // how many were read
}

// folder reads one folder. The chain is the folder itself and those that it
// was reached through, the root first.
func (l *loader) folder(name string, chain []fs.FileInfo) {
	l.folders++
	const hint = "is the policy folder the right one?"
	switch {
	case l.folders > MaxFolders+1: // reported once
		return
	case l.folders > MaxFolders:
		l.report(name, TooManyFolders, fmt.Sprintf("there are more than %d folders", MaxFolders), hint)
		return
	case len(chain) > MaxFolderDepth:
		l.report(name, TooManyFolders, fmt.Sprintf("folders are nested more than %d levels deep", MaxFolderDepth), hint)
		return
	}
	entries, err := fs.ReadDir(l.fsys, name)
	if err != nil {
		l.unreadable(name, err)
		return
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			l.entry(path.Join(name, entry.Name()), entry, chain)
		}
	}
}

func (l *loader) entry(name string, entry fs.DirEntry, chain []fs.FileInfo) {
	isPolicy := isPolicyName(entry.Name())
	isLink := entry.Type()&fs.ModeSymlink != 0
	if !isPolicy && !isLink && !entry.IsDir() {
		return
	}
	info, err := fs.Stat(l.fsys, name) // follows links, as the entry does not
	switch {
	case err != nil:
		l.unreadable(name, err)
	case !info.IsDir() && !isPolicy:
	case info.Mode().IsRegular():
		l.file(name)
	case !info.IsDir():
		l.report(name, Unreadable, "this is not a file", "")
	case entry.Name() == testdataFolder:
	case entry.Name() == schemasFolder:
		if len(chain) > 1 {
			l.report(name, MisplacedSchemas, "the folder _schemas must lie directly in the policy folder", "move it there")
		}
	case isLink && isAmong(info, chain):
		l.report(name, LinkLoop, "the link leads to a folder that holds it", "remove the link")
	default:
		l.folder(name, append(chain[:len(chain):len(chain)], info))
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

func (l *loader) file(name string) {
	content, err := l.read(name)
	if err != nil {
		l.unreadable(name, err)
		return
	}
	p, list := Parse(name, content)
	l.list = append(l.list, list...)
	if p != nil && !p.Disabled {
		l.policies = append(l.policies, p)
	}
}

// read gives the content of a file, and of one that is too large just enough
// for Parse to see that it is.
func (l *loader) read(name string) ([]byte, error) {
	f, err := l.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, yamldoc.MaxSize+1))
}

func (l *loader) unreadable(name string, err error) {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err // the position names the file already
	}
	l.report(name, Unreadable, fmt.Sprintf("cannot be read: %v", err), "")
}

func (l *loader) report(name string, code diag.Code, message, hint string) {
	l.list = append(l.list, diag.Diagnostic{Pos: diag.Position{File: name}, Code: code, Message: message, Hint: hint})
}
