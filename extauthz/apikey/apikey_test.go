package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edict/engine/diag/diagtest"
)

func TestFiles(t *testing.T) {
	for _, c := range diagtest.Read(t, "testdata/files.yaml") {
		t.Run(c.Name, func(t *testing.T) {
			keys, list := parse(c.File, c.Content, false)
			c.Check(t, list)
			if (keys == nil) == (len(list) == 0) {
				t.Errorf("both keys and mistakes, or neither: %v", list)
			}
			for _, d := range list {
				if text := d.Render(); strings.Contains(text, "9f86d081884c7d65") {
					t.Errorf("a hash is shown: %s", text)
				}
			}
		})
	}
	for _, empty := range []string{"", "# nothing\n"} {
		if _, list := parse("keys.yaml", []byte(empty), false); len(list) != 1 || list[0].Code != BadFile {
			t.Errorf("%q: %v", empty, list)
		}
	}
}

func hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	const good, rotated, expiring, disabled = "good-0123456789abcdef", "next-0123456789abcdef", "soon-0123456789abcdef", "gone-0123456789abcdef"
	s := &Store{File: filepath.Join(t.TempDir(), "keys.yaml")}
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	if s.Find(good, now) != nil || s.Loaded() {
		t.Error("a store that has read nothing knows a key")
	}
	if _, list := s.Reload(); len(list) == 0 || s.Loaded() {
		t.Errorf("a file that is not there: %v", list)
	}
	file := "apiVersion: edict.dev/v1\napiKeys:\n" +
		"  - {id: robot, hash: \"" + hash(good) + "\", roles: [batch], attributes: {team: billing}}\n" +
		"  - {id: robot, hash: \"" + hash(rotated) + "\"}\n" +
		"  - {id: robot, hash: \"" + hash(expiring) + "\", expires: \"2026-06-01T12:00:01Z\"}\n" +
		"  - {id: robot, hash: \"" + hash(disabled) + "\", disabled: true}\n" +
		"  - {id: robot, hash: \"" + hash("short") + "\"}\n"
	write(t, s.File, file)
	if n, list := s.Reload(); n != 5 || len(list) > 0 {
		t.Fatalf("%d keys, %v", n, list)
	}
	for key, known := range map[string]bool{
		good: true, rotated: true, expiring: true, disabled: false, "": false, "short": false, good + "x": false, good[1:]: false,
		strings.ToUpper(good): false, "unknown-0123456789abcdef": false, strings.Repeat("a", 513): false, hash(good): false,
	} {
		if got := s.Find(key, now); (got != nil) != known {
			t.Errorf("%q: got %+v", key, got)
		}
	}
	if k := s.Find(good, now); k.ID != "robot" || len(k.Roles) != 1 || k.Attributes["team"].Str() != "billing" {
		t.Errorf("got %+v", k)
	}
	if s.Find(expiring, now.Add(time.Second)) != nil {
		t.Error("a key is good at the instant at which it expires")
	}
	// A bad file changes nothing, a good one everything.
	write(t, s.File, strings.Replace(file, "roles:", "rolls:", 1))
	if _, list := s.Reload(); len(list) == 0 || s.Find(good, now) == nil {
		t.Errorf("after a bad file: %v", list)
	}
	write(t, s.File, strings.Replace(file, "{id: robot, hash: \""+hash(good), "{disabled: true, id: robot, hash: \""+hash(good), 1))
	if _, list := s.Reload(); len(list) > 0 || s.Find(good, now) != nil || s.Find(rotated, now) == nil {
		t.Errorf("after a good file: %v", list)
	}
}

func TestPepper(t *testing.T) {
	const key, pepper = "good-0123456789abcdef", "secret"
	mac := hmac.New(sha256.New, []byte(pepper))
	mac.Write([]byte(key))
	s := &Store{File: filepath.Join(t.TempDir(), "keys.yaml"), Pepper: pepper}
	write(t, s.File, "apiVersion: edict.dev/v1\napiKeys: [{id: robot, hash: \"hmac-sha256:"+hex.EncodeToString(mac.Sum(nil))+"\"}]\n")
	if _, list := s.Reload(); len(list) > 0 || s.Find(key, time.Now()) == nil {
		t.Errorf("with the pepper: %v", list)
	}
	other := &Store{File: s.File, Pepper: "another"}
	if other.Reload(); other.Find(key, time.Now()) != nil {
		t.Error("with another pepper the key is known")
	}
	write(t, s.File, "apiVersion: edict.dev/v1\napiKeys: [{id: robot, hash: \""+hash(key)+"\"}]\n")
	if _, list := s.Reload(); len(list) == 0 {
		t.Error("with a pepper, a plain hash is taken")
	}
}

func FuzzParse(f *testing.F) {
	content, err := os.ReadFile("testdata/files.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, part := range strings.Split(string(content), "####") {
		_, file, _ := strings.Cut(part, "\n")
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		keys, list := parse("keys.yaml", content, false)
		if (keys == nil) == (len(list) == 0) {
			t.Fatalf("%v, %v", keys, list)
		}
		for d, k := range keys {
			if k == nil || k.ID == "" || d == (digest{}) && !strings.Contains(string(content), strings.Repeat("0", 64)) {
				t.Fatalf("%x: %+v", d, k)
			}
		}
	})
}
