package config

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/extauthz"
)

var update = flag.Bool("update", false, "write the table of docs/configuration.md anew")

const (
	root = "../../../.."
	page = root + "/docs/configuration.md"
)

func readPage(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The table of docs/configuration.md is that of Keys;
// go test ./cmd/edict/internal/config -update writes it.
func TestKeysAreDocumented(t *testing.T) {
	keys := "\n| key | default | meaning |\n| --- | --- | --- |\n"
	for _, k := range Keys() {
		keys += fmt.Sprintf("| `%s` | `%s` | %s |\n", k.Path, k.Default, strings.ReplaceAll(k.Doc, "|", `\|`))
	}
	got := readPage(t, page)
	const mark = "<!-- keys -->"
	before, rest, ok := strings.Cut(got, mark)
	_, after, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok || !ok2 {
		t.Fatalf("%s has no place %s … <!-- end -->", page, mark)
	}
	want := before + mark + "\n" + keys + "\n<!-- end -->" + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the table of docs/configuration.md is not what the keys are; run go test ./cmd/edict/internal/config -update")
	}
}

// A block is a fenced block of a page.
type block struct {
	info, text string
	line       int
}

func blocks(page string) []block {
	var out []block
	var open *block
	for i, line := range strings.Split(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{info: info, line: i + 1}
		case fence:
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return out
}

// check fails the test unless a configuration is one that `edict serve` takes.
func check(t *testing.T, where string, c *Config, unknown []string, list diag.List) {
	t.Helper()
	if len(list) > 0 || len(unknown) > 0 {
		t.Errorf("%s: unknown variables %q\n%s", where, unknown, list.Render())
		return
	}
	if _, err := extauthz.NewCompiler(c.Engine(), c.Checks); err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// Every block of the documentation that is marked as a configuration loads, and
// so does the demo's configuration.
func TestExamplesLoad(t *testing.T) {
	found := map[string]int{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		for _, b := range blocks(readPage(t, name)) {
			if b.info != "yaml config" {
				continue
			}
			found[filepath.Base(name)]++
			l := newLoader()
			l.setVariables(nil)
			l.document(name, []byte(b.text))
			check(t, fmt.Sprintf("%s:%d", name, b.line), l.config, nil, l.list)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found["configuration.md"] < 5 || found["identity.md"] < 2 {
		t.Errorf("found only %v examples", found)
	}
	c, unknown, list := Load(root+"/envoy/edict.yaml", nil, nil)
	check(t, "envoy/edict.yaml", c, unknown, list)
	if c.PoliciesDir != "policies" || c.RoutesDir != "envoy/routes" || len(c.Checks.Identity) != 1 || c.Checks.Identity[0].JWTMetadata == nil {
		t.Errorf("envoy/edict.yaml says %+v", c)
	}
}

// Every command and every variable that docs/configuration.md shows is taken.
func TestCommandsLoad(t *testing.T) {
	commands, variables := 0, 0
	for _, b := range blocks(readPage(t, page)) {
		if b.info != "sh" {
			continue
		}
		for i, line := range strings.Split(strings.TrimSpace(b.text), "\n") {
			where := fmt.Sprintf("docs/configuration.md:%d", b.line+1+i)
			words := shellWords(t, where, line)
			var environ, sets []string
			for len(words) > 0 && strings.HasPrefix(words[0], "EDICT_") {
				environ, words = append(environ, words[0]), words[1:]
				variables++
			}
			for i := 0; i+1 < len(words); i++ {
				if words[i] == "--set" {
					sets = append(sets, words[i+1])
				}
			}
			if len(words) > 0 {
				commands++
			}
			c, unknown, list := Load("", environ, sets)
			check(t, where, c, unknown, list)
			if want := defaults(); len(environ)+len(sets) > 0 && equal(*c, want) {
				t.Errorf("%s: the line sets nothing", where)
			}
		}
	}
	if commands < 3 || variables < 4 {
		t.Errorf("found only %d commands and %d variables", commands, variables)
	}
}

// shellWords splits a command as a shell does, as far as blanks and single
// quotes go.
func shellWords(t *testing.T, where, line string) []string {
	t.Helper()
	for i, part := range strings.Split(line, "'") {
		if i%2 == 0 && strings.ContainsAny(part, "\"\\$`") {
			t.Fatalf("%s: this test can't read %s", where, line)
		}
	}
	var words []string
	word, quoted := "", false
	for _, r := range line + " " {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word != "" {
				words = append(words, word)
			}
			word = ""
		default:
			word += string(r)
		}
	}
	return words
}

// The mistake that docs/configuration.md shows is told as it says.
func TestMistakeIsToldAsDocumented(t *testing.T) {
	for _, b := range blocks(readPage(t, page)) {
		if b.info != "text" {
			continue
		}
		l := newLoader()
		l.document("edict.yaml", []byte("listen:\n  extAuth: 127.0.0.1:9001\n"))
		if got := l.list.Render(); got != b.text {
			t.Errorf("got\n%s\ndocs/configuration.md:%d shows\n%s", got, b.line, b.text)
		}
		return
	}
	t.Error("docs/configuration.md shows no mistake")
}
