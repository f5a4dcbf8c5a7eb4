package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"edict/engine/diag"
	"edict/engine/yamldoc"
	"edict/extauthz/wire"
)

// The diagnostics that a configuration can give, beside those of yamldoc.
const (
	// CodeUnreadable is for a file that can't be read.
	CodeUnreadable diag.Code = "config-unreadable"

	// CodeBadSet is for a --set that is not key.path=value.
	CodeBadSet diag.Code = "config-bad-set"

	// CodeUnknownKey is for a key that does not exist.
	CodeUnknownKey diag.Code = "config-unknown-key"

	// CodeTwice is for two environment variables that set one key.
	CodeTwice diag.Code = "config-set-twice"

	// CodeUnsetVariable is for a value that takes up an environment variable
	// that is not set.
	CodeUnsetVariable diag.Code = "config-unset-variable"

	// CodeNoEffect warns of a key that is taken and changes nothing.
	CodeNoEffect diag.Code = "config-no-effect"

	// CodeInsecure warns of a setting that weakens what others rely on.
	CodeInsecure diag.Code = "config-insecure"
)

// Load makes the configuration of a file ("" for none), of environment
// variables in the form of os.Environ, and of overrides in the form
// key.path=value. In the file and in overrides, ${NAME} stands for an environment
// variable. It also gives the names of variables that begin like Edict's and
// are none. The Config is of use only if the list is empty.
func Load(file string, environ, sets []string) (*Config, []string, diag.List) {
	l := newLoader()
	l.setVariables(environ)
	if file != "" {
		l.file(file)
	}
	unknown := l.environment(environ)
	for _, s := range sets {
		l.override(s)
	}
	for path, n := range l.places {
		l.warn(path, n)
	}
	l.config.Warnings = l.config.Warnings.Sorted()
	return l.config, unknown, l.list.Sorted()
}

type loader struct {
	keys   []Key
	config *Config
	given  bool // what is set now was asked for, and is no default
	list   diag.List

	variables map[string]string       // the environment; nil: ${NAME} is not replaced
	places    map[string]yamldoc.Node // where each key that was asked for was set last
}

// newLoader gives a loader with every key at its default.
func newLoader() *loader {
	l := &loader{keys: Keys(), config: new(Config), places: map[string]yamldoc.Node{}}
	for i := range l.keys {
		l.text("default of "+l.keys[i].Path, l.keys[i].Path, l.keys[i].Default)
	}
	l.given = true
	return l
}

func (l *loader) file(name string) {
	content, err := os.ReadFile(name)
	if err != nil {
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err // the position names the file already
		}
		l.report(name, CodeUnreadable, fmt.Sprintf("the configuration can't be read: %v", err), "")
		return
	}
	l.document(name, content)
}

func (l *loader) document(name string, content []byte) {
	doc := yamldoc.Parse(name, content)
	l.expand(doc)
	if root, ok := doc.Root(); ok {
		l.node("", root)
	}
	l.list = append(l.list, doc.Diagnostics()...)
}

// text sets a key from YAML text. The origin stands for the file name.
func (l *loader) text(origin, path, text string) {
	doc := yamldoc.Parse(origin, []byte(text))
	if strings.HasPrefix(origin, "--set ") { // the value of a variable is final
		l.expand(doc)
	}
	root, ok := doc.Root()
	if ok && len(doc.Diagnostics()) == 0 { // else a reference failed, and there is no value
		l.node(path, root)
	}
	list := doc.Diagnostics()
	if !ok && len(list) == 0 { // key= is the empty text
		l.text(origin, path, `""`)
	}
	for _, d := range list {
		if !ok && d.Hint == "" {
			d.Hint = `the value is read as YAML, and must be quoted if YAML reads it in another way: '"[::1]:9001"'`
		}
		l.list = append(l.list, d)
	}
}

// node sets the key at path, or all keys below it.
func (l *loader) node(path string, n yamldoc.Node) {
	if k := l.key(path); k != nil {
		k.set(l.config, n)
		if l.given {
			l.config.RoutesGiven = l.config.RoutesGiven || path == "routes.dir"
			l.places[path] = n
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

// warn notes what deserves a word about the key at path, which was set last by
// n, in the light of all other keys.
func (l *loader) warn(path string, n yamldoc.Node) {
	code, message, hint := warning(path, l.config)
	if code == "" {
		return
	}
	pos := n.Pos()
	l.config.Warnings = append(l.config.Warnings, diag.Diagnostic{
		Pos: pos, Severity: diag.Warning, Code: code, Message: message, Hint: hint, Source: n.Document().Lines()[pos.Line-1],
	})
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

// above gives the key that path is a part of the value of.
func (l *loader) above(path string) *Key {
	for i := range l.keys {
		if strings.HasPrefix(path, l.keys[i].Path+".") || strings.HasPrefix(path, l.keys[i].Path+"[") {
			return &l.keys[i]
		}
	}
	return nil
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
		if k := l.above(path); k != nil {
			l.report("--set "+set, CodeUnknownKey, fmt.Sprintf("%s is set as a whole", k.Path), fmt.Sprintf("write --set '%s=…'", k.Path))
			return
		}
		l.report("--set "+set, CodeUnknownKey, fmt.Sprintf("there is no key %q", path), l.instead(path))
		return
	}
	l.text("--set "+path, path, text)
}

// instead says what may have been meant by a path that is no key. The nearest
// need not be it, so that its neighbours are named, too.
func (l *loader) instead(path string) string {
	guess := diag.DidYouMean(path, l.paths())
	if dot := strings.LastIndexByte(path, '.'); dot > 0 {
		if names := l.below(path[:dot]); len(names) > 0 {
			return strings.TrimSpace(fmt.Sprintf("%s %s has %s", guess, path[:dot], strings.Join(names, ", ")))
		}
	}
	return cmp.Or(guess, "known keys: "+strings.Join(l.paths(), ", "))
}

// environment sets keys from variables: EDICT_LISTEN_EXTAUTHZ, or with an
// underscore before each capital EDICT_LISTEN_EXT_AUTHZ, is listen.extAuthz.
func (l *loader) environment(environ []string) (unknown []string) {
	plain := func(s string) string { return strings.NewReplacer("_", "", ".", "").Replace(strings.ToLower(s)) }
	names := map[int]string{} // by the key that they set
	for _, e := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(e, "=")
		rest, ok := strings.CutPrefix(name, "EDICT_")
		if !ok || name == "EDICT_HISTORY" { // that of `edict repl` is no setting
			continue
		}
		i := slices.IndexFunc(l.keys, func(k Key) bool { return plain(k.Path) == plain(rest) })
		if i < 0 {
			// Not an error: Kubernetes makes up EDICT_PORT and the like for a
			// service called edict.
			unknown = append(unknown, name)
			continue
		}
		if other, ok := names[i]; ok {
			l.report(name, CodeTwice, fmt.Sprintf("%s sets %s too", other, l.keys[i].Path), "keep one of the two variables")
			continue
		}
		names[i] = name
		l.text(name, l.keys[i].Path, text)
	}
	return unknown
}

func (l *loader) report(file string, code diag.Code, message, hint string) {
	l.list = append(l.list, diag.Diagnostic{Pos: diag.Position{File: file}, Code: code, Message: message, Hint: hint})
}

// folder sets the name of a folder.
func folder(set func(*Config, string)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		if t, ok := n.NonEmptyText(); ok {
			set(c, t.Value)
		}
	}
}

// address sets where to listen. Without a check here an empty address would be
// a free port on every interface.
func address(set func(*Config, string)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		const hint = "write host:port, like 127.0.0.1:9001, or unix:/path"
		t, ok := n.NonEmptyText()
		if !ok {
			return
		}
		if path, ok := strings.CutPrefix(t.Value, "unix:"); ok {
			if path == "" || path[0] == '@' {
				n.Report(CodeBadValue, fmt.Sprintf("%q names no file for the socket", t.Value), hint)
				return
			}
			set(c, t.Value)
			return
		}
		_, port, err := net.SplitHostPort(t.Value)
		if err != nil {
			n.Report(CodeBadValue, fmt.Sprintf("%q is not an address to listen on", t.Value), hint)
			return
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			n.Report(CodeBadValue, fmt.Sprintf("%q is not a port", port), "write a number from 1 to 65535, or 0 for any free port")
			return
		}
		set(c, t.Value)
	}
}

// header sets the name of a header, or "" for none.
func header(set func(*Config, string)) func(*Config, yamldoc.Node) {
	return func(c *Config, n yamldoc.Node) {
		if t, ok := n.Text(); ok && (t.Value == "" || isHeader(n, t.Value)) {
			set(c, t.Value)
		}
	}
}

// isHeader tells whether name is the name of a header, and reports if not.
func isHeader(n yamldoc.Node, name string) bool {
	switch lower := strings.ToLower(name); {
	case !wire.ValidHeader(name, ""):
		n.Report(CodeBadValue, fmt.Sprintf("%q is not the name of a header", name), "")
	case name != lower:
		n.Report(CodeBadValue, fmt.Sprintf("%q is not in lower case, as Envoy gives names of headers", name), "write "+lower)
	default:
		return true
	}
	return false
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
