package repl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	prompt     = "> "
	morePrompt = "… "

	ctrlC = 0x03
)

// Interactive lets a person work at a terminal until the end of input, :quit or
// the end of ctx. What the session writes to its writers goes to the terminal.
// The history is that of a file, "" for none.
func (s *Session) Interactive(ctx context.Context, in, out *os.File, historyFile string) error {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return err
	}
	defer term.Restore(fd, before)
	keys := newKeyboard(ctx, in)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{keys, out}, prompt)
	past, err := openHistory(historyFile)
	t.History = terminal{past}
	s.Out, s.Err = t, t
	fmt.Fprintf(t, "CEL as policies see it, with %s; :help lists what else there is.\n", counted(len(s.policies), "policy", "policies"))
	if err != nil {
		fmt.Fprintf(t, "The history is not kept: %v\n", err)
	}
	var text []string // of the input so far
	t.AutoCompleteCallback = func(line string, at int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		return s.tab(t, strings.Join(text, "\n"), line, at)
	}
	t.SetBracketedPasteMode(true)
	defer t.SetBracketedPasteMode(false)
	for !s.quit {
		if width, height, err := term.GetSize(int(out.Fd())); err == nil && width > 0 {
			_ = t.SetSize(width, height) // it fails if the terminal is gone, as the next line will
		}
		t.SetPrompt(prompt)
		if len(text) > 0 {
			t.SetPrompt(morePrompt)
		} else {
			s.refreshQuietly()
		}
		line, err := t.ReadLine()
		if errors.Is(err, term.ErrPasteIndicator) {
			err = nil
		}
		switch {
		case keys.interrupted():
			text = nil
			continue
		case errors.Is(err, io.EOF):
			fmt.Fprintln(t)
			return ctx.Err()
		case err != nil:
			return err
		}
		blank := strings.TrimSpace(line) == ""
		if !blank || len(text) == 0 {
			text = append(text, line)
		}
		if whole := strings.Join(text, "\n"); blank || !unfinished(whole) {
			past.addInput(text)
			text = nil
			s.attempt(keys, whole)
		}
	}
	return nil
}

// attempt answers an input on a copy of the session, so that an answer that
// the user does not wait for can be left to itself.
func (s *Session) attempt(keys *keyboard, text string) {
	trial, terminal := *s, s.Out
	trial.locals = slices.Clone(s.locals)
	g := &gate{w: terminal}
	trial.Out, trial.Err = g, g
	if keys.during(func() { trial.Run(text) }) {
		*s = trial
	} else {
		g.close()
		fmt.Fprintln(terminal, "interrupted")
	}
	s.Out, s.Err = terminal, terminal
}

// A gate writes until it is closed.
type gate struct {
	mu     sync.Mutex
	w      io.Writer
	closed bool
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return len(p), nil
	}
	return g.w.Write(p)
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (s *Session) refreshQuietly() {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(s.Err, "reading the policies made Edict panic, which is a mistake of Edict: %v\n", p)
		}
	}()
	s.Refresh()
}

// tab completes a line, the cursor being at an offset in bytes. If there is
// nothing to add, it lists what there could be.
func (s *Session) tab(w io.Writer, earlier, line string, at int) (newLine string, newAt int, ok bool) {
	defer func() {
		if recover() != nil { // no completion is worth the session
			newLine, newAt, ok = line, at, true
		}
	}()
	whole := line
	if earlier != "" {
		whole = earlier + "\n" + line
	}
	shift := len(whole) - len(line)
	start, found := s.complete(whole, shift+at)
	start -= shift
	if len(found) == 0 || start < 0 {
		return line, at, true
	}
	if add := commonPrefix(found); len(add) > at-start || len(found) == 1 {
		line = line[:start] + add + line[at:]
		return line, start + len(add), true
	}
	list(w, found)
	return line, at, true
}

// maxListed is how many candidates are listed.
const maxListed = 60

// list writes candidates, one to a line with what is known about it.
func list(w io.Writer, found []candidate) {
	width := 0
	for _, c := range found {
		width = max(width, min(32, utf8.RuneCountInString(c.text)))
	}
	var b strings.Builder
	for i, c := range found {
		if i == maxListed {
			fmt.Fprintf(&b, "  … and %d more\n", len(found)-maxListed)
			break
		}
		fmt.Fprintf(&b, "  %s\n", strings.TrimRight(fmt.Sprintf("%-*s  %s", width, c.text, c.detail), " "))
	}
	io.WriteString(w, b.String())
}

// A keyboard reads what is typed. Ctrl-C, which the terminal does not turn into
// a signal while it is raw, becomes keys that clear the line and end it.
type keyboard struct {
	ctx     context.Context
	typed   chan []byte
	pending []byte
	cleared bool // Ctrl-C was read since interrupted was asked
}

func newKeyboard(ctx context.Context, in io.Reader) *keyboard {
	k := &keyboard{ctx: ctx, typed: make(chan []byte)}
	go func() {
		defer close(k.typed)
		for {
			buffer := make([]byte, 256)
			n, err := in.Read(buffer)
			if n > 0 {
				select {
				case k.typed <- buffer[:n]:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return k
}

// Read implements io.Reader. It ends with the context.
func (k *keyboard) Read(p []byte) (int, error) {
	if len(k.pending) == 0 {
		select {
		case typed, ok := <-k.typed:
			if !ok {
				return 0, io.EOF
			}
			k.take(typed)
		case <-k.ctx.Done():
			return 0, io.EOF
		}
	}
	n := copy(p, k.pending)
	k.pending = k.pending[n:]
	return n, nil
}

// take queues what was typed.
func (k *keyboard) take(typed []byte) {
	if i := bytes.LastIndexByte(typed, ctrlC); i >= 0 {
		const toTheEnd, clearToStart, enter = 0x05, 0x15, 0x0d
		k.cleared = true
		k.pending = append([]byte{toTheEnd, clearToStart, enter}, typed[i+1:]...)
		return
	}
	k.pending = append(k.pending, typed...)
}

// interrupted tells whether the line that was just read was cleared.
func (k *keyboard) interrupted() bool {
	was := k.cleared
	k.cleared = false
	return was
}

// patience is how long work goes on after a Ctrl-C.
const patience = 200 * time.Millisecond

// during does work while keys are watched. It is false if the user, by Ctrl-C,
// or the end of the context did not let the work end: it goes on by itself.
func (k *keyboard) during(work func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	var giveUp <-chan time.Time
	typed := k.typed
	for {
		select {
		case <-done:
			return true
		case keys, ok := <-typed:
			if !ok {
				typed = nil
				continue
			}
			if bytes.IndexByte(keys, ctrlC) >= 0 {
				k.pending = nil
				giveUp = time.After(patience)
				continue
			}
			k.pending = append(k.pending, keys...)
		case <-giveUp:
			return false
		case <-k.ctx.Done():
			giveUp = time.After(patience)
			<-giveUp
			return false
		}
	}
}
