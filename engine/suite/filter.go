package suite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/internal/glob"
)

// A Filter says which results are wanted. The zero Filter wants all.
type Filter struct {
	// Run must be found in the name of the test, or in
	// suite/test/principal/resource. Results that it leaves out are skipped,
	// and counted. Nil means any.
	Run *regexp.Regexp

	// By dimension, the patterns of which one must match. Results that they
	// leave out are skipped, and not counted.
	globs [len(dimensions)][]glob.Pattern
}

var dimensions = [...]string{"suite", "test", "principal", "resource", "action"}

// The dimensions of a Filter, as indices.
const (
	bySuite = iota
	byTest
	byPrincipal
	byResource
	byAction
)

// Add narrows the filter by an expression: dimension=glob,glob;dimension=glob.
// The dimensions are suite, test, principal, resource and action. Patterns of
// one dimension add up, also over several calls.
func (f *Filter) Add(expression string) error {
	found := false
	for _, part := range strings.Split(expression, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, list, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%q is not of the form dimension=glob,glob", part)
		}
		name = strings.TrimSpace(name)
		i := slices.Index(dimensions[:], name)
		if i < 0 {
			hint := diag.DidYouMean(name, dimensions[:])
			if hint == "" {
				hint = "there are " + strings.Join(dimensions[:], ", ")
			}
			return fmt.Errorf("there is no dimension %q; %s", name, hint)
		}
		for _, text := range splitPatterns(list) {
			p, err := glob.Compile(text)
			if err != nil {
				return err
			}
			f.globs[i] = append(f.globs[i], p)
			found = true
		}
	}
	if !found && strings.TrimSpace(expression) != "" {
		return fmt.Errorf("%q has no pattern; write as in test=album*", expression)
	}
	return nil
}

// splitPatterns splits at the commas outside of braces. A backslash before a
// comma changes nothing: on the command line of Cerbos there must be one.
func splitPatterns(list string) []string {
	list = strings.ReplaceAll(list, `\,`, ",")
	var out []string
	depth, start := 0, 0
	add := func(end int) {
		if p := strings.TrimSpace(list[start:end]); p != "" {
			out = append(out, p)
		}
		start = end + 1
	}
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth <= 0 {
				add(i)
			}
		}
	}
	add(len(list))
	return out
}

func (f *Filter) matches(dimension int, name string) bool {
	if len(f.globs[dimension]) == 0 {
		return true
	}
	return slices.ContainsFunc(f.globs[dimension], func(p glob.Pattern) bool { return p.Match(name) })
}

// Wants tells whether a cell is one that Run wants.
func (f *Filter) Wants(suite, test, principal, resource string) bool {
	return f.Run == nil || f.Run.MatchString(test) ||
		f.Run.MatchString(suite+"/"+test+"/"+principal+"/"+resource)
}

// Omits says why the patterns leave a cell out, or one action of it if that is
// given; "" if they do not.
func (f *Filter) Omits(suite, test, principal, resource string, action ...string) string {
	for i, name := range append([]string{suite, test, principal, resource}, action...) {
		if !f.matches(i, name) {
			return [...]string{"Suite", "Test", "Principal", "Resource", "Action"}[i] + " did not match the test filter"
		}
	}
	return ""
}
