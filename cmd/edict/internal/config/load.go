package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// The diagnostics that a configuration can give, beside those of yamldoc.
const (
	// CodeUnreadable is for a file that can't be read.
	CodeUnreadable diag.Code = "config-unreadable"

	// CodeBadSet is for a --set that is not key.path=value.
	CodeBadSet diag.Code = "config-bad-set"

	// CodeUnknownKey is for a key that does not exist.
	CodeUnknownKey diag.Code = "config-unknown-key"

	// CodeReserved is for a key that is not supported yet.
	CodeReserved diag.Code = "config-reserved"
)

// Load makes the configuration of a file ("" for none), of environment
// variables in the form of os.Environ, and of overrides in the form
// key.path=value. It also gives the names of variables that begin like
// Edict's and are none. The Config is of use only if the list is empty.
func Load(file string, environ, sets []string) (*Config, []string, diag.List) {
	l := &loader{keys: Keys(), config: new(Config)}
	for i := range l.keys {
		if k := &l.keys[i]; k.Supported() {
			l.text("default of "+k.Path, k.Path, k.Default)
		}
	}
	if file != "" {
		l.file(file)
	}
	unknown := l.environment(environ)
	for _, s := range sets {
		l.override(s)
	}
	return l.config, unknown, l.list.Sorted()
}

type loader struct {
	keys   []Key
	config *Config
	list   diag.List
}

func (l *loader) file(name string) {
	content, err := os.ReadFile(name)
	if err != nil {
		l.report(name, CodeUnreadable, fmt.Sprintf("the configuration can't be read: %v", err), "")
		return
	}
	doc := yamldoc.Parse(name, content)
	if root, ok := doc.Root(); ok {
		l.node("", root)
	}
	l.list = append(l.list, doc.Diagnostics()...)
}

// text sets a key from YAML text. The origin stands for the file name.
func (l *loader) text(origin, path, text string) {
	doc := yamldoc.Parse(origin, []byte(text))
	if root, ok := doc.Root(); ok {
		l.node(path, root)
	} else if len(doc.Diagnostics()) == 0 { // key= is the empty text
		l.text(origin, path, `""`)
	}
	l.list = append(l.list, doc.Diagnostics()...)
}

// node sets the key at path, or all keys below it.
func (l *loader) node(path string, n yamldoc.Node) {
	if k := l.key(path); k != nil {
		if !k.Supported() {
			n.Report(CodeReserved, path+" is not supported yet", "remove it")
			return
		}
		k.set(l.config, n)
		if path == "routes.dir" && !strings.HasPrefix(n.Pos().File, "default of ") {
			l.config.RoutesGiven = true
		}
		return
	}
	below := l.below(path)
	o, ok := n.Object(below...)
	if !ok {
		return
	}
	for _, name := range below {
		if n, ok := o.Field(name); ok {
			l.node(join(path, name), n)
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (l *loader) key(path string) *Key {
	for i := range l.keys {
		if l.keys[i].Path == path {
			return &l.keys[i]
		}
	}
	return nil
}

// below lists the names that may follow path, in the order of the keys.
func (l *loader) below(path string) []string {
	var out []string
	for i := range l.keys {
		rest := l.keys[i].Path
		if path != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(rest, path+"."); !ok {
				continue
			}
		}
		name, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (l *loader) paths() []string {
	var out []string
	for i := range l.keys {
		out = append(out, l.keys[i].Path)
	}
	return out
}

// override sets one key from the command line.
func (l *loader) override(set string) {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		l.report("--set "+set, CodeBadSet, "this is not of the form key.path=value", "write, for example, --set log.level=debug")
		return
	}
	if l.key(path) == nil && len(l.below(path)) == 0 {
		hint := diag.DidYouMean(path, l.paths())
		if hint == "" {
			hint = "known keys: " + strings.Join(l.paths(), ", ")
		}
		l.report("--set "+set, CodeUnknownKey, fmt.Sprintf("there is no key %q", path), hint)
		return
	}
	l.text("--set "+path, path, text)
}

// environment sets keys from variables: EDICT_LISTEN_EXTAUTHZ, or with an
// underscore before each capital EDICT_LISTEN_EXT_AUTHZ, is listen.extAuthz.
func (l *loader) environment(environ []string) (unknown []string) {
	plain := func(s string) string { return strings.NewReplacer("_", "", ".", "").Replace(strings.ToLower(s)) }
	for _, e := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(e, "=")
		rest, ok := strings.CutPrefix(name, "EDICT_")
		if !ok {
			continue
		}
		i := slices.IndexFunc(l.keys, func(k Key) bool { return plain(k.Path) == plain(rest) })
		if i < 0 {
			// Not an error: Kubernetes makes up EDICT_PORT and the like for a
			// service called edict.
			unknown = append(unknown, name)
			continue
		}
		l.text(name, l.keys[i].Path, text)
	}
	return unknown
}

func (l *loader) report(file string, code diag.Code, message, hint string) {
	l.list = append(l.list, diag.Diagnostic{Pos: diag.Position{File: file}, Code: code, Message: message, Hint: hint})
}

func text(set func(*Config, string)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		if t, ok := n.Text(); ok {
			set(c, t.Value)
		}
	}
}

func boolean(set func(*Config, bool)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		if b, ok := n.Bool(); ok {
			set(c, b)
		}
	}
}

func duration(set func(*Config, time.Duration)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		d, ok := n.Duration()
		if ok && d < 0 {
			n.Report(CodeBadValue, "a duration can't be negative here", "")
			return
		}
		if ok {
			set(c, d)
		}
	}
}

func enum(set func(*Config, string), names ...string) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		if s, ok := n.Enum(names...); ok {
			set(c, s)
		}
	}
}
