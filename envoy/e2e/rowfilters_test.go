package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The page about row filters is followed from an empty folder to its answers: its
// files, its commands, the real Envoy. Ports are others, and the packages that it
// installs are those of the tests.
func TestRowFiltersPage(t *testing.T) {
	needTools(t)
	dir, err := os.MkdirTemp(tools.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var moved []edit // what the page has in one way, and the test in another
	ports := map[string]int{}
	for _, port := range []string{"10000", "9901", "9001", "9002", "8000", "3592"} {
		ports[port] = freePort(t)
	}
	env := []string{ // for all commands
		"PATH=" + strings.Join([]string{tools.dir, filepath.Dir(tools.python), os.Getenv("PATH")}, ":"),
		"PYTHONPATH=" + filepath.Join(tools.root, "python", "edict-fastapi", "src"), "PYTHONDONTWRITEBYTECODE=1",
		fmt.Sprintf("EDICT_LISTEN_EXTAUTHZ=127.0.0.1:%d", ports["9001"]), fmt.Sprintf("EDICT_LISTEN_ADMIN=127.0.0.1:%d", ports["9002"]),
		fmt.Sprintf("EDICT_LISTEN_APIHTTP=127.0.0.1:%d", ports["3592"]), "EDICT_LISTEN_APIGRPC=",
	}
	for _, port := range []string{"10000", "9901", "8000"} {
		moved = append(moved, edit{"port_value: " + port + "}", fmt.Sprintf("port_value: %d}", ports[port])})
	}

	var prepare, terminals, asked []string
	page := readFile(t, filepath.Join(tools.root, "docs", "row-filters.md"))
	files := map[string]bool{}
	for _, m := range regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		info, text := m[1], m[2]
		name := regexp.MustCompile(`\A# (\S+)\n`).FindStringSubmatch(text)
		switch {
		case name != nil:
			text = strings.ReplaceAll(text, "127.0.0.1:3592", fmt.Sprintf("127.0.0.1:%d", ports["3592"]))
			writeFile(t, filepath.Join(dir, name[1]), text)
			files[name[1]] = true
		case info == "sh":
			for line := range strings.Lines(text) {
				switch line = strings.TrimSpace(line); strings.Fields(line)[0] {
				case "make", "mkdir", "python3", "pip": // has been done
				case "python":
					prepare = append(prepare, line)
				case "edict", "envoy", "uvicorn":
					if strings.Contains(line, ">") {
						prepare = append(prepare, line)
						break
					}
					terminals = append(terminals, line)
				default:
					t.Errorf("this test does not know what to do with %q", line)
				}
			}
		case info == "console":
			asked = append(asked, strings.Split("\n"+text, "\n$ ")[1:]...)
		}
	}
	if len(files) != 6 || len(prepare) != 2 || len(terminals) != 3 || len(asked) != 5 {
		t.Fatalf("the page has the files %v, and the commands %q, %q and %q", names(files), prepare, terminals, asked)
	}

	for _, line := range prepare {
		c := exec.Command("bash", "-c", line)
		c.Dir, c.Env = dir, env
		if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	bootstrap := filepath.Join(dir, "envoy.yaml")
	writeFile(t, bootstrap, apply(t, "what edict envoy-config prints", readFile(t, bootstrap), concat(moved, patient)...))
	var running []*process
	for _, line := range terminals {
		command := strings.Fields(line)
		switch command[0] {
		case "edict":
			command[0] = tools.edict
		case "envoy":
			command = append(command, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
			command[0] = tools.envoy
		case "uvicorn":
			command = append([]string{tools.python, "-m"}, append(command, "--port", strconv.Itoa(ports["8000"]))...)
		}
		running = append(running, launch(t, strings.Fields(line)[0], dir, env, command...))
	}

	var client http.Client
	defer client.CloseIdleConnections()
	ask := func(port, key string) (int, string, error) {
		q, err := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/expenses", ports[port]), nil)
		if err != nil {
			return 0, "", err
		}
		if key != "" {
			q.Header.Set("x-api-key", key)
		}
		resp, err := client.Do(q)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	eventually(t, "a list that passes all three", func() error {
		for _, p := range running {
			if err := p.alive(); err != nil {
				t.Fatalf("%v\n%s", err, p.tail())
			}
		}
		status, body, err := ask("10000", "made-up-to-try-alice")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("answered %d: %s", status, body)
		}
		return err
	})
	for _, a := range asked {
		command, want, _ := strings.Cut(strings.TrimSpace(a), "\n")
		m := regexp.MustCompile(`^curl (?:-H 'x-api-key: (\S+)'|(-so /dev/null -w '%\{http_code\}')) localhost:(\d+)/expenses$`).FindStringSubmatch(command)
		if m == nil {
			t.Errorf("this test can't read %q", command)
			continue
		}
		status, got, err := ask(m[3], m[1])
		if m[2] != "" {
			got = strconv.Itoa(status)
		}
		if err != nil || got != want {
			t.Errorf("%s\nprints  %s (%d, %v)\nand not %s", command, got, status, err, want)
		}
	}
	if t.Failed() {
		for _, p := range running {
			t.Log(p.tail())
		}
	}
}
