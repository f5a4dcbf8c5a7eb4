package config

import (
	"fmt"
	"regexp"
	"strings"

	"edict/engine/yamldoc"
)

func (l *loader) setVariables(environ []string) {
	l.variables = make(map[string]string, len(environ))
	for _, e := range environ {
		name, text, _ := strings.Cut(e, "=")
		l.variables[name] = text
	}
}

// reference is what stands for something else in a value: $$ for a dollar
// sign, ${NAME}, ${NAME:default} and $NAME for an environment variable. Any
// other dollar sign stands for itself.
var reference = regexp.MustCompile(`\$\$|\$\{[^}]*\}|\$[A-Za-z_][A-Za-z0-9_]*`)

// expand replaces the references in the values of a document, as Cerbos does
// in its configuration, but for two things: what a variable holds is always
// text of the one value, never more YAML; and keys are left alone.
func (l *loader) expand(doc *yamldoc.Document) {
	if l.variables == nil {
		return
	}
	doc.Expand(func(n yamldoc.Node, text string) (string, bool) {
		if !strings.Contains(text, "$") {
			return "", false
		}
		expanded := reference.ReplaceAllStringFunc(text, func(r string) string {
			if r == "$$" {
				return "$"
			}
			name, fallback, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(r[1:], "{"), "}"), ":")
			if text, ok := l.variables[name]; ok {
				return text
			}
			switch fallback {
			case "":
				n.Report(CodeUnsetVariable, fmt.Sprintf("the environment variable %q is not set", name),
					fmt.Sprintf("give it a default, as in ${%s:default}, or write $$ for a dollar sign", name))
			case `""`:
				return ""
			}
			return fallback
		})
		return expanded, expanded != text
	})
}
