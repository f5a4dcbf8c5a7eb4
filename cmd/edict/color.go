package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// colors are the words that --color takes. The last two are those of `cerbos
// compile`, and mean always.
var colors = [...]string{"auto", "never", "always", "256", "16m"}

// colorFlags say whether to write colours.
type colorFlags struct {
	color   string
	noColor bool
}

func (o *colorFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.color, "color", "auto", "auto, never or always; never under NO_COLOR")
	f.BoolVar(&o.noColor, "no-color", false, "no colours, not even on a terminal")
}

func (o *colorFlags) check() error {
	if !slices.Contains(colors[:], o.color) {
		return suggest(fmt.Errorf("--color is auto, never or always, got %q", o.color), o.color, colors[:])
	}
	return nil
}

// colored tells whether to write colours to w: on a terminal, unless the
// environment or the flags say otherwise.
func (o *colorFlags) colored(w io.Writer, environ []string) bool {
	switch {
	case o.noColor || o.color == "never" || noColor(environ):
		return false
	case o.color == "auto":
		return isTerminal(w)
	}
	return true
}

func isTerminal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

// noColor tells whether the environment asks for no colours; see
// https://no-color.org.
func noColor(environ []string) bool {
	return slices.ContainsFunc(environ, func(v string) bool {
		value, ok := strings.CutPrefix(v, "NO_COLOR=")
		return ok && value != ""
	})
}
