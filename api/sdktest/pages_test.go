package sdktest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// runPage runs the page about FastAPI: its policy by Edict, its Python by the
// SDK and FastAPI, unchanged but for the addresses. Its commands must print
// what it says.
func (l *lab) runPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(l.root, "docs", "fastapi.md"))
	if err != nil {
		t.Fatal(err)
	}
	// The first line of a file is a comment with its name.
	files := map[string]string{}
	var commands, want []string
	for _, m := range regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		switch info, text := m[1], m[2]; info {
		case "python", "yaml policy":
			name, ok := strings.CutPrefix(strings.SplitN(text, "\n", 2)[0], "# ")
			if !ok {
				t.Fatalf("a block does not name its file:\n%s", text)
			}
			files[name] = text
		case "console":
			for _, part := range strings.Split("\n"+text, "\n$ ")[1:] {
				command, output, _ := strings.Cut(part, "\n")
				commands, want = append(commands, command), append(want, strings.TrimSuffix(output, "\n"))
			}
		}
	}
	if len(files) != 4 || len(commands) != 5 {
		t.Fatalf("the page has %d files and %d commands that are found", len(files), len(commands))
	}
	l = l.within(t, "page")
	l.write(t, "policies/expense.yaml", files["policies/expense.yaml"])
	at := l.edict(t, "edict", "127.0.0.1:0", "127.0.0.1:0", with{})
	for name, text := range files {
		if strings.HasSuffix(name, ".py") {
			l.write(t, name, strings.NewReplacer("localhost:3592", at.http, "localhost:3593", at.grpc).Replace(text))
		}
	}
	driver, err := os.ReadFile("testdata/page.py")
	if err != nil {
		t.Fatal(err)
	}
	l.write(t, "page.py", string(driver))

	in, err := json.Marshal(commands)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python(t, l.root), "page.py")
	cmd.Dir = l.dir
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &errs)
	}
	var got []string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got) != len(want) {
		t.Fatalf("%v: %s", err, &out)
	}
	for i := range want {
		if strings.TrimSpace(got[i]) != strings.TrimSpace(want[i]) {
			t.Errorf("%s\nprints  %s\nand not %s", commands[i], got[i], want[i])
		}
	}
}

// runAPIPage runs the Python of the page about the API, unchanged but for the
// address, by the first policy that the page shows.
func (l *lab) runAPIPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(l.root, "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := func(info string) string {
		m := regexp.MustCompile("(?ms)^```" + info + "\n(.*?)^```$").FindStringSubmatch(string(page))
		if m == nil {
			t.Fatalf("the page has no block %q", info)
		}
		return m[1]
	}
	l = l.within(t, "api")
	l.write(t, "policies/expense.yaml", block("yaml policy"))
	at := l.edict(t, "edict", "127.0.0.1:0", "127.0.0.1:0", with{})
	cmd := exec.CommandContext(t.Context(), python(t, l.root), "-c", strings.ReplaceAll(block("python"), "127.0.0.1:3592", at.http))
	cmd.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "True\n" {
		t.Errorf("%v, printed %q", err, out)
	}
}
