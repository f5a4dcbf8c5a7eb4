package folder_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/yamldoc"
)

// A packed entry is one of an archive.
type packed struct {
	name    string
	content string
	kind    byte // of tar
	target  string
}

// A packer makes an archive of one format.
type packer struct {
	ending string
	pack   func(t testing.TB, entries []packed) []byte
}

var packers = []packer{
	{".zip", packZip},
	{".TAR", packTar},
	{".tgz", func(t testing.TB, entries []packed) []byte { return compress(t, packTar(t, entries)) }},
	{".tar.gz", func(t testing.TB, entries []packed) []byte { return compress(t, packTar(t, entries)) }},
}

func packZip(t testing.TB, entries []packed) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Store}
		if len(e.content) > 1000 {
			header.Method = zip.Deflate
		}
		switch e.kind {
		case tar.TypeSymlink, tar.TypeLink:
			header.SetMode(os.ModeSymlink | 0o777)
			e.content = e.target
		case tar.TypeFifo:
			header.SetMode(os.ModeNamedPipe | 0o666)
		}
		f, err := w.CreateHeader(header)
		if err == nil && !strings.HasSuffix(e.name, "/") {
			_, err = f.Write([]byte(e.content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packTar(t testing.TB, entries []packed) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 && strings.HasSuffix(e.name, "/") {
			e.kind = tar.TypeDir
		}
		err := w.WriteHeader(&tar.Header{Name: e.name, Size: int64(len(e.content)), Mode: 0o666, Typeflag: e.kind, Linkname: e.target})
		if err == nil {
			_, err = w.Write([]byte(e.content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// open puts content into a file and opens that. The list has the name "x" for
// the file.
func open(t *testing.T, ending string, content []byte) (names []string, list diag.List) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x"+ending)
	if err := os.WriteFile(name, content, 0o666); err != nil {
		t.Fatal(err)
	}
	fsys, list := folder.Open(name)
	var files []folder.File
	if len(list) == 0 {
		files, list = folder.Read(fsys, name, nil)
	}
	for i := range list {
		list[i].Pos.File = strings.Replace(list[i].Pos.File, name, "x", 1)
	}
	for _, f := range files {
		names = append(names, f.Path+"="+string(f.Content))
	}
	return names, list
}

func TestArchives(t *testing.T) {
	entries := []packed{
		{name: "./"}, {name: "b/"}, {name: "b/c.yaml", content: "1"}, {name: "./a.json", content: "2"},
		{name: "d/e/f.YML", content: "3"}, {name: "notes.txt", content: "x"}, {name: "a_test.yaml", content: "x"},
		{name: "testdata/x.yaml", content: "x"}, {name: ".git/x.yaml", content: "x"}, {name: "b/._c.yaml", content: "x"},
		{name: "b/"}, {name: ".hidden/link.yaml", kind: tar.TypeSymlink, target: "/etc/passwd"},
	}
	for _, p := range packers {
		names, list := open(t, p.ending, p.pack(t, entries))
		if want := []string{"a.json=2", "b/c.yaml=1", "d/e/f.YML=3"}; len(list) != 0 || !slices.Equal(names, want) {
			t.Errorf("%s: got %q, %v; want %q", p.ending, names, list, want)
		}
	}
}

func TestBadArchives(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries []packed
		want    []string
	}{
		{"a way out", []packed{{name: "../a.yaml"}, {name: "/b.yaml"}, {name: "b/../../c.yaml"}, {name: "ok.yaml"}},
			[]string{"x bad-archive-entry", "x bad-archive-entry", "x bad-archive-entry"}},
		{"a way out of Windows", []packed{{name: `..\a.yaml`}}, []string{"x bad-archive-entry"}},
		{"a link", []packed{{name: "a.yaml", kind: tar.TypeSymlink, target: "/etc/passwd"}}, []string{"x/a.yaml bad-archive-entry"}},
		{"a link to a folder", []packed{{name: "b", kind: tar.TypeSymlink, target: "/etc"}}, []string{"x/b bad-archive-entry"}},
		{"a second name", []packed{{name: "a.yaml"}, {name: "b.yaml", kind: tar.TypeLink, target: "a.yaml"}}, []string{"x/b.yaml bad-archive-entry"}},
		{"a pipe", []packed{{name: "a.yaml", kind: tar.TypeFifo}}, []string{"x/a.yaml bad-archive-entry"}},
		{"a file twice", []packed{{name: "a.yaml", content: "1"}, {name: "./a.yaml", content: "2"}}, []string{"x/a.yaml bad-archive-entry"}},
		{"a file that is a folder", []packed{{name: "a.yaml"}, {name: "a.yaml/b/c.yaml"}}, []string{"x/a.yaml bad-archive-entry"}},
		{"a folder that is a file", []packed{{name: "a.yaml/b/c.yaml"}, {name: "a.yaml"}}, []string{"x/a.yaml bad-archive-entry"}},
		{"a deep path", []packed{{name: strings.Repeat("a/", 64) + "b.yaml"}}, []string{"x/" + strings.Repeat("a/", 64) + "b.yaml too-many-folders"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, p := range packers {
				names, list := open(t, p.ending, p.pack(t, test.entries))
				if got := codes(list); !slices.Equal(got, test.want) {
					t.Errorf("%s: got %q and %v, want %q", p.ending, names, list, test.want)
				}
			}
		})
	}
}

// An archive that unpacks to more than anybody needs is not unpacked.
func TestArchivesAreBounded(t *testing.T) {
	var bomb, many []packed
	big := strings.Repeat(" ", yamldoc.MaxSize)
	for i := range folder.MaxArchiveSize/len(big) + 1 {
		bomb = append(bomb, packed{name: strings.Repeat("a", i+1) + ".yaml", content: big})
	}
	for i := range folder.MaxArchiveEntries + 1 {
		many = append(many, packed{name: string(rune('a'+i%26)) + strings.Repeat("/a", i%7)})
	}
	for _, test := range []struct {
		name    string
		entries []packed
		text    string
	}{{"bytes", bomb, "unpacked bytes"}, {"entries", many, "files and folders"}} {
		for _, p := range packers {
			if p.ending == ".tgz" || p.ending == ".TAR" {
				continue // as .tar.gz, which packs the bomb small
			}
			_, list := open(t, p.ending, p.pack(t, test.entries))
			if len(list) != 1 || list[0].Code != folder.ArchiveTooLarge || !strings.Contains(list[0].Message, test.text) {
				t.Errorf("%s%s: %v", test.name, p.ending, list)
			}
		}
	}
	// One file that is too large is for its parser to report.
	names, list := open(t, ".zip", packZip(t, []packed{{name: "a.yaml", content: big + "x"}, {name: "b.txt", content: big + big}}))
	if len(list) != 0 || len(names) != 1 || len(names[0]) != len("a.yaml=")+yamldoc.MaxSize+1 {
		t.Errorf("one large file: %d names, %v", len(names), list)
	}
}

func TestDamagedArchives(t *testing.T) {
	for _, p := range packers {
		whole := p.pack(t, []packed{{name: "a.yaml", content: strings.Repeat("abc", 1000)}})
		for _, content := range [][]byte{nil, []byte("apiVersion: x\n"), whole[:len(whole)/2]} {
			if p.ending == ".TAR" && len(content) == 0 {
				continue // which is an archive of nothing
			}
			names, list := open(t, p.ending, content)
			if len(list) != 1 || list[0].Code != folder.BadArchive || names != nil {
				t.Errorf("%s of %d bytes: got %q, %v", p.ending, len(content), names, list)
			}
		}
	}
}

func TestOpenOfNoArchive(t *testing.T) {
	if names, list := open(t, ".yaml", []byte("a: b")); names != nil || len(list) != 1 || list[0].Code != folder.NotAFolder {
		t.Errorf("a file: %q, %v", names, list)
	}
	if fsys, list := folder.Open(filepath.Join(t.TempDir(), "absent")); fsys != nil || len(list) != 1 || list[0].Code != folder.Unreadable || !strings.Contains(list[0].Message, "no such file") {
		t.Errorf("nothing: %v, %v", fsys, list)
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "x.zip"), 0o777); err != nil {
		t.Fatal(err)
	}
	if fsys, list := folder.Open(filepath.Join(root, "x.zip")); fsys == nil || list != nil {
		t.Errorf("a folder that is called like an archive: %v", list)
	}
}

func FuzzArchive(f *testing.F) {
	entries := []packed{{name: "a.yaml", content: "a: b"}, {name: "b/c.json", content: "{}"}, {name: "../x.yaml"}, {name: "l.yaml", kind: tar.TypeSymlink, target: "a.yaml"}}
	for i, p := range packers {
		f.Add(i, p.pack(f, entries))
	}
	f.Fuzz(func(t *testing.T, ending int, content []byte) {
		if ending < 0 || ending >= len(packers) {
			return
		}
		names, list := open(t, packers[ending].ending, content)
		for _, name := range names {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name, "/../") || strings.HasPrefix(name, ".") {
				t.Errorf("a file outside: %q", name)
			}
		}
		for _, d := range list {
			if d.Code == "" || d.Message == "" || !strings.HasPrefix(d.Pos.File, "x") {
				t.Errorf("an incomplete diagnostic: %s", d.Error())
			}
		}
	})
}
