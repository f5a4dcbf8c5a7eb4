package report

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"edict/engine/suite"
	"edict/engine/value"
)

// maxDifferences is how many differences of one output are shown.
const maxDifferences = 20

// diffOf gives what differs between an output and what was expected, in lines
// that begin with - for what was expected and with + for what came.
func diffOf(m suite.Mismatch) []string {
	switch m.Kind {
	case suite.Missing:
		return []string{"- " + compact(m.Expected), "+ nothing: no rule gave this output"}
	case suite.Broken:
		return []string{"- " + compact(m.Expected), "+ error: " + oneLine(m.Err)}
	}
	if m.Expected.Kind() == value.Absent {
		return []string{"- nothing: the expectation has no val", "+ " + compact(m.Actual)}
	}
	var d differences
	d.compare("", m.Expected.Native(), m.Actual.Native())
	if len(d) > maxDifferences {
		d = append(d[:maxDifferences:maxDifferences], "  and more")
	}
	return d
}

// differences are lines about places in two JSON values.
type differences []string

func (d *differences) compare(path string, expected, actual any) {
	switch e := expected.(type) {
	case map[string]any:
		if a, ok := actual.(map[string]any); ok {
			d.compareMaps(path, e, a)
			return
		}
	case []any:
		if a, ok := actual.([]any); ok {
			d.compareLists(path, e, a)
			return
		}
	}
	if a, b := show(expected), show(actual); a != b {
		d.add("-", path, a)
		d.add("+", path, b)
	}
}

func (d *differences) compareMaps(path string, expected, actual map[string]any) {
	keys := slices.Collect(maps.Keys(expected))
	for k := range actual {
		if _, ok := expected[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		e, expects := expected[k]
		a, has := actual[k]
		d.member(path+"."+k, e, a, expects, has)
	}
}

func (d *differences) compareLists(path string, expected, actual []any) {
	for i := range max(len(expected), len(actual)) {
		var e, a any
		if i < len(expected) {
			e = expected[i]
		}
		if i < len(actual) {
			a = actual[i]
		}
		d.member(path+"["+strconv.Itoa(i)+"]", e, a, i < len(expected), i < len(actual))
	}
}

func (d *differences) member(path string, expected, actual any, expects, has bool) {
	switch {
	case expects && has:
		d.compare(path, expected, actual)
	case expects:
		d.add("-", path, show(expected))
	default:
		d.add("+", path, show(actual))
	}
}

func (d *differences) add(sign, path, text string) {
	if path != "" {
		text = path + ": " + text
	}
	*d = append(*d, fmt.Sprintf("%s %s", sign, text))
}

func show(x any) string { return compact(value.Of(x)) }
