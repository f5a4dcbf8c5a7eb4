// Package glob matches the patterns of policies: actions, roles, resources.
//
// What always holds here:
//
//  1. The dialect is that of gobwas/glob with ':' as the separator, since that
//     is what Cerbos policies are written in.
//  2. Matching takes time linear in the text, whatever the pattern: a Pattern
//     becomes an RE2 expression unless it is of a simpler shape.
//  3. A malformed pattern is an error, never a Pattern.
package glob

import (
	"fmt"
	"regexp"
	"strings"
)

const separator = ':'

// IsPattern tells whether policies take s for a pattern. All other strings
// stand for themselves, even with other special characters in them.
func IsPattern(s string) bool { return strings.Contains(s, "*") }

// A Pattern is a compiled pattern. The zero Pattern matches nothing.
type Pattern struct {
	text   string
	all    bool           // "*": anything at all
	prefix string         // of a pattern that is a literal and one * at its end
	isPre  bool           //
	re     *regexp.Regexp // all other shapes
}

// Compile parses a pattern:
//
//   - any run of characters other than ':'; alone, anything at all
//     **     any run of characters
//     ?      one character other than ':'
//     [ab-]  one of the characters, - among them; [!ab] any other
//     [a-z]  one of a range, which stands alone in its brackets; [!a-z]
//     {x,y}  one of the alternatives
//     \c     the character c
func Compile(text string) (Pattern, error) {
	if text == "*" || text == "**" {
		return Pattern{text: text, all: true}, nil
	}
	if body, ok := strings.CutSuffix(text, "*"); ok && !strings.ContainsAny(body, `*?[]{}\,`) {
		return Pattern{text: text, prefix: body, isPre: true}, nil
	}
	p := parser{rest: []rune(text)}
	expr, err := p.sequence(0)
	if err != nil {
		return Pattern{}, fmt.Errorf("the pattern %q %w", text, err)
	}
	re, err := regexp.Compile(`(?s)\A(?:` + expr + `)\z`)
	if err != nil {
		return Pattern{}, fmt.Errorf("the pattern %q can't be compiled: %w", text, err)
	}
	return Pattern{text: text, re: re}, nil
}

// String is the text of the pattern.
func (p *Pattern) String() string { return p.text }

// Match tells whether the whole of s matches.
func (p *Pattern) Match(s string) bool {
	switch {
	case p.all:
		return true
	case p.isPre:
		rest, ok := strings.CutPrefix(s, p.prefix)
		return ok && strings.IndexByte(rest, separator) < 0
	case p.re != nil:
		return p.re.MatchString(s)
	default:
		return false
	}
}

// parser turns a pattern into an RE2 expression.
type parser struct {
	rest []rune
}

// sequence parses up to the end, or inside braces up to ',' or '}', which it
// leaves in place.
func (p *parser) sequence(depth int) (string, error) {
	const maxDepth = 16
	if depth > maxDepth {
		return "", fmt.Errorf("nests braces more than %d deep", maxDepth)
	}
	var b strings.Builder
	for len(p.rest) > 0 {
		r := p.rest[0]
		if depth > 0 && (r == ',' || r == '}') {
			return b.String(), nil
		}
		p.rest = p.rest[1:]
		switch r {
		case '*':
			if len(p.rest) > 0 && p.rest[0] == '*' {
				for len(p.rest) > 0 && p.rest[0] == '*' {
					p.rest = p.rest[1:]
				}
				b.WriteString(`.*`)
			} else {
				b.WriteString(`[^:]*`)
			}
		case '?':
			b.WriteString(`[^:]`)
		case '[':
			class, err := p.class()
			if err != nil {
				return "", err
			}
			b.WriteString(class)
		case '{':
			alternatives, err := p.alternatives(depth + 1)
			if err != nil {
				return "", err
			}
			b.WriteString(alternatives)
		case '\\':
			if len(p.rest) == 0 {
				return "", fmt.Errorf(`ends in a lone \`)
			}
			b.WriteString(regexp.QuoteMeta(string(p.rest[0])))
			p.rest = p.rest[1:]
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if depth > 0 {
		return "", fmt.Errorf("opens '{' without closing it")
	}
	return b.String(), nil
}

func (p *parser) alternatives(depth int) (string, error) {
	var parts []string
	for {
		part, err := p.sequence(depth)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
		if p.rest[0] == '}' {
			p.rest = p.rest[1:]
			return "(?:" + strings.Join(parts, "|") + ")", nil
		}
		p.rest = p.rest[1:] // the comma
	}
}

// class parses what follows '['.
func (p *parser) class() (string, error) {
	var b strings.Builder
	b.WriteByte('[')
	if len(p.rest) > 0 && p.rest[0] == '!' {
		b.WriteByte('^')
		p.rest = p.rest[1:]
	}
	if len(p.rest) > 1 && p.rest[1] == '-' {
		if len(p.rest) < 4 || p.rest[3] != ']' || p.rest[2] == ']' {
			return "", fmt.Errorf("has a range in [] that does not stand alone there")
		}
		lo, hi := p.rest[0], p.rest[2]
		if lo > hi {
			return "", fmt.Errorf("has a range from %q to %q, which is empty", lo, hi)
		}
		p.rest = p.rest[4:]
		writeClassRune(&b, lo)
		b.WriteByte('-')
		writeClassRune(&b, hi)
		b.WriteByte(']')
		return b.String(), nil
	}
	for n := 0; len(p.rest) > 0; n++ {
		r := p.rest[0]
		p.rest = p.rest[1:]
		switch r {
		case ']':
			if n == 0 {
				return "", fmt.Errorf("has an empty []")
			}
			b.WriteByte(']')
			return b.String(), nil
		case '\\':
			if len(p.rest) == 0 {
				return "", fmt.Errorf(`ends in a lone \`)
			}
			writeClassRune(&b, p.rest[0])
			p.rest = p.rest[1:]
		default:
			writeClassRune(&b, r)
		}
	}
	return "", fmt.Errorf("opens '[' without closing it")
}

func writeClassRune(b *strings.Builder, r rune) {
	if strings.ContainsRune(`\^-[]`, r) {
		b.WriteByte('\\')
	}
	b.WriteRune(r)
}
