package repl

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxHistory is how many lines are remembered.
const maxHistory = 1000

// A history is the lines that were entered, the newest last. It keeps them in a
// file as long as it can.
type history struct {
	lines []string
	file  string // empty: they are kept for the session only
}

// HistoryFile gives the file that keeps the lines of a user: EDICT_HISTORY, or
// else edict/history in the user's state folder ($XDG_STATE_HOME, by default
// ~/.local/state). It is empty if there is to be none: EDICT_HISTORY is set to
// nothing, or there is no home. See the XDG Base Directory Specification.
func HistoryFile(environ []string) string {
	env := map[string]string{}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok {
			env[name] = value
		}
	}
	if file, ok := env["EDICT_HISTORY"]; ok {
		return file
	}
	state := env["XDG_STATE_HOME"]
	if !filepath.IsAbs(state) { // which the specification says to ignore
		if env["HOME"] == "" {
			return ""
		}
		state = filepath.Join(env["HOME"], ".local", "state")
	}
	return filepath.Join(state, "edict", "history")
}

// openHistory reads the lines of a file, which need not be there. The error
// says why the file can't be used; the history then goes on without.
func openHistory(file string) (*history, error) {
	h := &history{}
	if file == "" {
		return h, nil
	}
	content, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return h, fmt.Errorf("%s: %w", file, cause(err))
	}
	lines := bufio.NewScanner(strings.NewReader(string(content)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		h.remember(lines.Text())
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return h, fmt.Errorf("%s: %w", file, cause(err))
	}
	// What is too old leaves the file. Lines may hold what is nobody else's.
	if err := os.WriteFile(file, []byte(joinLines(h.lines)), 0o600); err != nil {
		return h, fmt.Errorf("%s: %w", file, cause(err))
	}
	h.file = file
	return h, nil
}

func joinLines(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// remember takes a line, and tells whether it is worth it.
func (h *history) remember(line string) bool {
	if strings.TrimSpace(line) == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return false
	}
	h.lines = append(h.lines, line)
	h.lines = h.lines[max(0, len(h.lines)-maxHistory):]
	return true
}

// addInput adds an input: as one line if it means the same so, since a line is
// what can be called back.
func (h *history) addInput(lines []string) {
	whole := strings.Join(lines, "\n")
	if strings.Contains(whole, "//") || strings.Contains(whole, `"""`) || strings.Contains(whole, "'''") {
		for _, line := range lines {
			h.add(line)
		}
		return
	}
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.TrimSuffix(line, `\`))
	}
	h.add(strings.Join(lines, " "))
}

func (h *history) add(line string) {
	if !h.remember(line) || h.file == "" {
		return
	}
	f, err := os.OpenFile(h.file, os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		_ = f.Close() // the line is of little worth
	}
	if err != nil {
		h.file = "" // and so is the file from now on
	}
}

// A terminal shows a history to term.Terminal as a term.History. What that adds
// is left out: a line may be a part of an input.
type terminal struct{ *history }

// Add implements term.History.
func (terminal) Add(string) {}

// Len implements term.History.
func (t terminal) Len() int { return len(t.lines) }

// At implements term.History: 0 is the newest.
func (t terminal) At(i int) string { return t.lines[len(t.lines)-1-i] }
