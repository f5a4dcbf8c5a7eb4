package folder

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// The bounds of an archive.
const (
	// MaxArchiveSize is the number of bytes of the largest archive that is
	// read, packed and unpacked.
	MaxArchiveSize = 128 << 20

	// MaxArchiveEntries is how many files and folders an archive may hold.
	MaxArchiveEntries = 100_000
)

// The endings of the names of archives.
var archiveEndings = [...]string{".zip", ".tar", ".tgz", ".tar.gz"}

// IsArchive tells whether a name is that of an archive: .zip, .tar, .tgz or
// .tar.gz, in small letters or capitals.
func IsArchive(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(archiveEndings[:], func(ending string) bool { return strings.HasSuffix(name, ending) })
}

// Open gives the files of a folder, or those of an archive that a Tree could
// be read from: the YAML and JSON files, as they are now. The answer is of use
// only if the list is empty.
func Open(name string) (fs.FS, diag.List) {
	a := archive{name: name}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		a.unreadable(err)
	case info.IsDir():
		return os.DirFS(name), nil
	case !IsArchive(name):
		a.report("", NotAFolder, "this is not a folder", "name a folder, or an archive that ends in .zip, .tar, .tgz or .tar.gz")
	case !info.Mode().IsRegular():
		a.report("", Unreadable, "this is not a file", "")
	default:
		return a.open()
	}
	return nil, a.list
}

// An archive is being unpacked. What of it is wanted goes into a zip in
// memory that is not compressed, since that can be read as a file system.
type archive struct {
	name string
	list diag.List

	content  bytes.Buffer
	unpacked *zip.Writer
	entries  int
	size     int64
	kinds    map[string]byte // aFile or aFolder, by path
}

// errStop says that unpacking ends here, for a reason that was reported.
var errStop = errors.New("stop")

func (a *archive) open() (fs.FS, diag.List) {
	a.unpacked, a.kinds = zip.NewWriter(&a.content), map[string]byte{}
	err := a.unpack()
	if err == nil {
		err = a.unpacked.Close()
	}
	var pathError *fs.PathError
	switch {
	case err == nil || errors.Is(err, errStop):
	case errors.As(err, &pathError):
		a.unreadable(err)
	default:
		a.report("", BadArchive, fmt.Sprintf("the archive is damaged: %v", err), "make it anew")
	}
	if len(a.list) > 0 {
		return nil, a.list
	}
	fsys, err := zip.NewReader(bytes.NewReader(a.content.Bytes()), int64(a.content.Len()))
	if err != nil {
		a.report("", BadArchive, fmt.Sprintf("the archive cannot be unpacked: %v", err), "")
		return nil, a.list
	}
	return fsys, nil
}

func (a *archive) unpack() error {
	f, err := os.Open(a.name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > MaxArchiveSize {
		return a.tooLarge("bytes", MaxArchiveSize)
	}
	name := strings.ToLower(a.name)
	if strings.HasSuffix(name, ".zip") {
		return a.unpackZip(f, info.Size())
	}
	stream := io.Reader(f)
	if !strings.HasSuffix(name, ".tar") {
		zipped, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		stream = zipped
	}
	return a.unpackTar(stream)
}

func (a *archive) unpackZip(f io.ReaderAt, size int64) error {
	in, err := zip.NewReader(f, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // each entry is looked at below
		return err
	}
	for _, entry := range in.File {
		wanted, err := a.entry(entry.Name, entry.Mode())
		if err != nil {
			return err
		}
		if !wanted {
			continue
		}
		content, err := entry.Open()
		if err == nil {
			err = a.add(entry.Name, content)
			content.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) unpackTar(stream io.Reader) error {
	// What is not wanted has to be unpacked, too, to reach what is.
	bounded := &io.LimitedReader{R: stream, N: MaxArchiveSize + 1}
	in := tar.NewReader(bounded)
	for {
		entry, err := in.Next()
		if bounded.N == 0 {
			return a.tooLarge("unpacked bytes", MaxArchiveSize)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // each entry is looked at below
			return err
		}
		mode := entry.FileInfo().Mode()
		if entry.Typeflag == tar.TypeLink {
			mode |= fs.ModeIrregular // a second name of a file
		}
		wanted, err := a.entry(entry.Name, mode)
		if err != nil {
			return err
		}
		if wanted {
			if err := a.add(entry.Name, in); err != nil {
				if bounded.N == 0 {
					return a.tooLarge("unpacked bytes", MaxArchiveSize)
				}
				return err
			}
		}
	}
}

// entry tells whether an entry is a file to unpack. A folder is made at once.
func (a *archive) entry(name string, mode fs.FileMode) (bool, error) {
	if a.entries++; a.entries > MaxArchiveEntries {
		return false, a.tooLarge("files and folders", MaxArchiveEntries)
	}
	clean := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if clean == "" || clean == "." {
		return false, nil // the folder that was packed
	}
	if !fs.ValidPath(clean) || strings.ContainsAny(clean, "\\\x00") {
		a.report("", BadArchiveEntry, fmt.Sprintf("the entry %q is not a path inside the archive", name), "pack the folder from inside it, with relative paths")
		return false, nil
	}
	if strings.Count(clean, "/") >= MaxDepth {
		a.report(clean, TooManyFolders, fmt.Sprintf("folders are nested more than %d levels deep", MaxDepth), "")
		return false, nil
	}
	if strings.HasPrefix(clean, ".") || strings.Contains(clean, "/.") {
		return false, nil
	}
	if mode.IsDir() {
		if a.kinds[clean] == aFolder || !a.claim(clean, aFolder) {
			return false, nil
		}
		_, err := a.unpacked.Create(clean + "/")
		return false, err
	}
	isLink := mode&fs.ModeSymlink != 0
	switch strings.ToLower(path.Ext(clean)) {
	case ".yaml", ".yml", ".json":
	default:
		if !isLink { // which may stand for a folder of policies
			return false, nil
		}
	}
	switch {
	case isLink || mode&fs.ModeIrregular != 0:
		a.report(clean, BadArchiveEntry, "links in archives are not followed", "pack the files that the links lead to")
	case !mode.IsRegular():
		a.report(clean, BadArchiveEntry, "this is not a file", "")
	default:
		return a.claim(clean, aFile), nil
	}
	return false, nil
}

// The kinds of entries.
const (
	aFile   = 'f'
	aFolder = 'd'
)

// claim notes what a path and those above it stand for, and reports if it
// stands for something already.
func (a *archive) claim(name string, kind byte) bool {
	if a.kinds[name] != 0 {
		a.report(name, BadArchiveEntry, "the archive holds this file twice", "make it anew")
		return false
	}
	a.kinds[name] = kind
	for above := path.Dir(name); above != "." && a.kinds[above] != aFolder; above = path.Dir(above) {
		if a.kinds[above] == aFile {
			a.report(above, BadArchiveEntry, "the archive holds this as a file and as a folder", "make it anew")
			return false
		}
		a.kinds[above] = aFolder
	}
	return true
}

// add unpacks a file: of one that is too large, just enough to see that it is.
func (a *archive) add(name string, content io.Reader) error {
	w, err := a.unpacked.CreateHeader(&zip.FileHeader{Name: strings.TrimPrefix(name, "./"), Method: zip.Store})
	if err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(content, yamldoc.MaxSize+1))
	if a.size += n; a.size > MaxArchiveSize {
		return a.tooLarge("unpacked bytes", MaxArchiveSize)
	}
	return err
}

func (a *archive) tooLarge(what string, most int) error {
	a.report("", ArchiveTooLarge, fmt.Sprintf("the archive has more than %d %s", most, what), "unpack it, and name the folder")
	return errStop
}

func (a *archive) unreadable(err error) {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	a.report("", Unreadable, fmt.Sprintf("cannot be read: %v", err), "")
}

func (a *archive) report(entry string, code diag.Code, message, hint string) {
	a.list = append(a.list, diag.Diagnostic{Pos: diag.Position{File: path.Join(a.name, entry)}, Code: code, Message: message, Hint: hint})
}
