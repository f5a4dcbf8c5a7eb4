package expr

import (
	"errors"
	"fmt"
	slashpath "path"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// pathFunctions declares the functions of file paths. They only look at the
// text, and do so alike on every operating system.
func pathFunctions() []cel.EnvOption {
	text := func(name string, f func(string) (string, error)) cel.EnvOption {
		return cel.Function(name, cel.Overload(name+"_string", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(p ref.Val) ref.Val { return textOr(f(string(p.(types.String)))) })))
	}
	// predicate is both a function and a member of paths.
	predicate := func(name string, arg *cel.Type, f func(p string, arg ref.Val) (bool, error)) cel.EnvOption {
		args := []*cel.Type{cel.StringType, arg}
		binding := cel.BinaryBinding(func(p, arg ref.Val) ref.Val {
			holds, err := f(string(p.(types.String)), arg)
			if err != nil {
				return types.WrapErr(err)
			}
			return types.Bool(holds)
		})
		return cel.Function(name,
			cel.Overload(name+"_string", args, cel.BoolType, binding),
			cel.MemberOverload("string_"+name, args, cel.BoolType, binding))
	}
	texts := cel.ListType(cel.StringType)
	return []cel.EnvOption{
		text("basePath", basePath),
		text("dirPath", dirPath),
		text("extPath", extPath),
		text("volumeName", func(p string) (string, error) { return volumeName(p), nil }),
		cel.Function("joinPath", cel.Overload("joinPath_list", []*cel.Type{texts}, cel.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val {
				elements, err := textsOf(v.(traits.Lister))
				if err != nil {
					return types.WrapErr(err)
				}
				return textOr(joinPath(elements))
			}))),
		cel.Function("relPath", cel.Overload("relPath_string_string", []*cel.Type{cel.StringType, cel.StringType}, cel.StringType,
			cel.BinaryBinding(func(base, target ref.Val) ref.Val {
				return textOr(relPath(string(base.(types.String)), string(target.(types.String))))
			}))),
		predicate("pathHasPrefix", cel.StringType, func(p string, prefix ref.Val) (bool, error) {
			return pathHasPrefix(p, string(prefix.(types.String)))
		}),
		predicate("pathMatch", cel.StringType, func(p string, pattern ref.Val) (bool, error) {
			return pathMatch(p, string(pattern.(types.String)))
		}),
		predicate("pathMatchAnyOf", texts, func(p string, list ref.Val) (bool, error) {
			patterns, err := textsOf(list.(traits.Lister))
			if err != nil {
				return false, err
			}
			for _, pattern := range patterns {
				if matches, err := pathMatch(p, pattern); matches || err != nil {
					return matches, err
				}
			}
			return false, nil
		}),
	}
}

func textOr(s string, err error) ref.Val {
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(s)
}

// A pathForm is the way a path is written.
type pathForm int

const (
	slashes     pathForm = iota // a/b, /a/b: Unix
	backslashes                 // a\b, \a\b: Windows without a volume
	drive                       // C:\a\b
	share                       // \\host\share\a\b
)

// A filePath is a path of any form.
type filePath struct {
	form pathForm

	// clean is the path in the form of Unix, without needless parts: C:\a\b is
	// /C:/a/b, and \\host\share\a is /host/share/a.
	clean string

	// root tells that the path is nothing but a volume.
	root bool
}

var errDrive = errors.New("unsupported Win32 path")

// parsePath reads a path. One with a drive needs a backslash: C:a and C:/a have
// no meaning here.
func parsePath(p string) (filePath, error) {
	slashed := strings.ReplaceAll(p, `\`, "/")
	switch {
	case strings.HasPrefix(p, `\\`):
		return filePath{form: share, clean: slashpath.Clean(slashed), root: strings.Count(p[2:], `\`) == 1}, nil
	case hasDrive(p):
		if len(p) > 2 && slashed == p {
			return filePath{}, errDrive
		}
		return filePath{form: drive, clean: slashpath.Clean("/" + slashed), root: len(p) <= 3}, nil
	case slashed != p:
		return filePath{form: backslashes, clean: slashpath.Clean(slashed)}, nil
	}
	return filePath{form: slashes, clean: slashpath.Clean(p)}, nil
}

// hasDrive tells whether p begins with the letter of a drive.
func hasDrive(p string) bool {
	return len(p) >= 2 && p[1] == ':' && (p[0]|0x20) >= 'a' && (p[0]|0x20) <= 'z'
}

// text writes a path that is clean in the form of p.
func (p filePath) text(clean string) string {
	if p.form == slashes {
		return clean
	}
	clean = strings.ReplaceAll(clean, "/", `\`)
	switch p.form {
	case share:
		return `\` + clean
	case drive:
		return strings.TrimPrefix(clean, `\`)
	}
	return clean
}

// basePath gives the last element of p.
func basePath(p string) (string, error) {
	f, err := parsePath(p)
	if err != nil {
		return "", fmt.Errorf("failed to encode path %s: %w", p, err)
	}
	return slashpath.Base(f.clean), nil
}

// dirPath gives all but the last element of p.
func dirPath(p string) (string, error) {
	f, err := parsePath(p)
	if err != nil {
		return "", fmt.Errorf("failed to encode path %s: %w", p, err)
	}
	switch {
	case f.form == slashes:
		return slashpath.Dir(f.clean), nil
	case f.form == share && f.root:
		return f.text(f.clean), nil
	case f.form == drive && f.root:
		return f.text(f.clean) + `\`, nil
	}
	end := strings.LastIndexByte(f.clean, '/')
	if end < 0 {
		return "", fmt.Errorf("path %s has no directory", p)
	}
	return f.text(f.clean[:end]), nil
}

// extPath gives the extension of p with its dot.
func extPath(p string) (string, error) {
	f, err := parsePath(p)
	if err != nil {
		return "", fmt.Errorf("failed to encode path %s: %w", p, err)
	}
	return slashpath.Ext(f.clean), nil
}

// volumeName gives the volume of a path of Windows: C: or \\host\share.
func volumeName(p string) string {
	if hasDrive(p) {
		return p[:2]
	}
	if rest, ok := strings.CutPrefix(p, `\\`); ok {
		if parts := strings.SplitN(rest, `\`, 3); len(parts) > 1 && parts[0] != "" && parts[1] != "" {
			return `\\` + parts[0] + `\` + parts[1]
		}
	}
	return ""
}

// joinPath joins paths in the form of the first. One alone stays as it is.
func joinPath(paths []string) (string, error) {
	switch len(paths) {
	case 0:
		return "", nil
	case 1:
		return paths[0], nil
	}
	var first filePath
	joined := ""
	for i, p := range paths {
		f, err := parsePath(p)
		switch {
		case err != nil && i == 0:
			return "", fmt.Errorf("failed to encode first path %s: %w", p, err)
		case err != nil:
			return "", fmt.Errorf("failed to encode path %s: %w", p, err)
		case i == 0:
			first, joined = f, f.clean
			continue
		}
		joined = slashpath.Join(joined, f.clean)
	}
	return first.text(joined), nil
}

// relPath gives the way from one path to another, which has the form of the
// other. It does not know it if only one of them is absolute.
func relPath(base, target string) (string, error) {
	b, err := parsePath(base)
	if err != nil {
		return "", fmt.Errorf("failed to encode base path %s: %w", base, err)
	}
	t, err := parsePath(target)
	if err != nil {
		return "", fmt.Errorf("failed to encode target path %s: %w", target, err)
	}
	way, err := relative(b.clean, t.clean)
	switch {
	case err != nil:
		return "", fmt.Errorf("failed to determine relative path of %s: %w", target, err)
	case t.form == slashes:
		return way, nil
	}
	return strings.ReplaceAll(way, "/", `\`), nil
}

// relative gives the way from base to target, both of which are clean.
func relative(base, target string) (string, error) {
	if base == target {
		return ".", nil
	}
	unknown := fmt.Errorf("can't make %s relative to %s", target, base)
	if base == "." {
		base = ""
	}
	if strings.HasPrefix(base, "/") != strings.HasPrefix(target, "/") {
		return "", unknown
	}
	split := func(p string) []string {
		return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	}
	from, to := split(base), split(target)
	if target == "." {
		to = nil
	}
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	if len(from) > 0 && from[0] == ".." {
		return "", unknown
	}
	up := make([]string, len(from), len(from)+len(to))
	for i := range up {
		up[i] = ".."
	}
	return strings.Join(append(up, to...), "/"), nil
}

// pathHasPrefix tells whether a path is prefix or lies below it. One below
// whose next element begins with a dot counts as hidden.
func pathHasPrefix(p, prefix string) (bool, error) {
	if p == prefix {
		return true, nil
	}
	way, err := relPath(prefix, p)
	if err != nil {
		return false, err
	}
	return way != "" && way[0] != '.', nil
}

// pathMatch tells whether all of a path matches a pattern: * and ? do not match
// a slash.
func pathMatch(p, pattern string) (bool, error) {
	f, err := parsePath(p)
	if err != nil {
		return false, fmt.Errorf("failed to encode path %s: %w", p, err)
	}
	g, err := parsePath(pattern)
	if err != nil {
		return false, fmt.Errorf("failed to encode pattern %s: %w", pattern, err)
	}
	matches, err := slashpath.Match(g.clean, f.clean)
	if err != nil {
		return false, fmt.Errorf("failed to match pattern %q on path %q: %w", pattern, p, err)
	}
	return matches, nil
}
