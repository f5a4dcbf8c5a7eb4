package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateTesting = flag.Bool("update-testing", false, "write the output of the commands of docs/policies/testing.md anew")

const testingPage = "../../docs/policies/testing.md"

// The commands of docs/policies/testing.md print what the page says. The files
// are its blocks of YAML that begin with their name; each command sees those
// above it. go test ./cmd/edict -run TestTestingPage -update-testing writes it.
func TestTestingPage(t *testing.T) {
	page, err := filepath.Abs(testingPage)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var out []string
	files, commands := 0, 0
	lines := strings.Split(string(content), "\n")
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		info, fence := strings.CutPrefix(lines[i], "```")
		if !fence {
			continue
		}
		end := i + 1
		for lines[end] != "```" {
			end++
		}
		body := lines[i+1 : end]
		name, isFile := strings.CutPrefix(body[0], "# ")
		commandLine, isCommand := strings.CutPrefix(body[0], "$ edict ")
		switch {
		case info == "console" && isCommand:
			commands++
			_, stdout, stderr := command(nil, strings.Fields(commandLine)...)
			want := body[1:]
			body = append([]string{body[0]}, strings.Split(strings.TrimRight(stdout+stderr, "\n"), "\n")...)
			if got := body[1:]; !*updateTesting && strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s:%d: %s prints\n%s", testingPage, i+2, body[0], strings.Join(got, "\n"))
			}
		case strings.HasPrefix(info, "yaml") && isFile:
			files++
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(strings.Join(body, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		case info != "sh":
			t.Errorf("%s:%d: the block is neither a file nor a command", testingPage, i+1)
		}
		out = append(append(out, body...), "```")
		i = end
	}
	if files < 6 || commands < 4 {
		t.Errorf("found only %d files and %d commands", files, commands)
	}
	if *updateTesting {
		if err := os.WriteFile(page, []byte(strings.Join(out, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
