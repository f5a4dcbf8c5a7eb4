package conformance

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Dir gives the folder of the data, or skips the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("CONFORMANCE_DIR")
	if dir == "" {
		dir = filepath.Join(root(t), "..", "shared", "conformance")
	}
	if _, err := os.Stat(filepath.Join(dir, "MANIFEST.json")); err != nil {
		t.Skipf("SKIPPED: no conformance data in %s", dir)
	}
	return dir
}

// root gives the folder of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no go.mod above the test")
		}
	}
}

// Count gives the number of cases that a folder of the data has, as the
// manifest says.
func Count(t testing.TB, folder string) int {
	t.Helper()
	var manifest struct{ Cases map[string]int }
	content, err := os.ReadFile(filepath.Join(Dir(t), "MANIFEST.json"))
	if err == nil {
		err = json.Unmarshal(content, &manifest)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, ok := manifest.Cases[folder]
	if !ok {
		t.Fatalf("the manifest has no folder %s", folder)
	}
	return n
}

// A File is one member of an Archive.
type File struct {
	Name    string
	Content []byte
}

// Archive reads a text archive, in which a line "-- name --" begins a file.
func Archive(t testing.TB, path string) []File {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var files []File
	for line := range bytes.Lines(content) {
		trimmed := bytes.TrimSpace(line)
		if name, ok := bytes.CutPrefix(trimmed, []byte("-- ")); ok && bytes.HasSuffix(name, []byte(" --")) {
			files = append(files, File{Name: string(bytes.TrimSpace(bytes.TrimSuffix(name, []byte(" --"))))})
		} else if n := len(files); n > 0 {
			files[n-1].Content = append(files[n-1].Content, line...)
		}
	}
	return files
}
