package policyfile

import (
	"fmt"
	"strings"

	"edict/engine/diag"
	"edict/engine/policy"
)

// BadAnnotation is for an annotation that begins as Edict's own do and is none
// of them, or that says what it can't say.
const BadAnnotation diag.Code = "bad-annotation"

// trusted reads what an annotation says of trusted attributes, if it is the one
// that does.
func (r *reader) trusted(a policy.Annotation) []policy.TrustedAttribute {
	if a.Name.Value != policy.TrustedAnnotation {
		if strings.HasPrefix(a.Name.Value, policy.AnnotationPrefix) {
			r.doc.Report(a.Name.Pos, BadAnnotation, fmt.Sprintf("there is no annotation %q", a.Name.Value),
				fmt.Sprintf("did you mean %q?", policy.TrustedAnnotation))
		}
		return nil
	}
	const hint = `write, for example, "P.attr.team R.attr.tenant"`
	var out []policy.TrustedAttribute
	for i, line := range strings.Split(a.Value.Value, "\n") {
		column := 1
		for line != "" {
			word := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
			column, line = column+len(word), line[len(word):]
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			if word = line[:end]; word != "" {
				pos := a.Value.At(i+1, column)
				attribute, ok := trustedAttribute(word)
				if !ok {
					r.doc.Report(pos, BadAnnotation, fmt.Sprintf("%q is no attribute of the principal or of the resource", word), hint)
				}
				attribute.Pos = pos
				out = append(out, attribute)
			}
			column, line = column+end, line[end:]
		}
	}
	if len(out) == 0 {
		r.doc.Report(a.Value.Pos, BadAnnotation, "the annotation marks no attribute as trusted", hint)
	}
	return out
}

// trustedAttribute reads P.attr.name and R.attr.name.
func trustedAttribute(word string) (policy.TrustedAttribute, bool) {
	name, ofPrincipal := strings.CutPrefix(word, "P.attr.")
	if !ofPrincipal {
		var ok bool
		if name, ok = strings.CutPrefix(word, "R.attr."); !ok {
			return policy.TrustedAttribute{}, false
		}
	}
	return policy.TrustedAttribute{OfPrincipal: ofPrincipal, Name: name}, name != "" && !strings.ContainsAny(name, `.[]"'`)
}
