package target

import (
	"strings"
	"unicode/utf8"
)

// FoldCase gives the same text for all texts that differ only in upper and lower
// case, character by character (as Express, .NET and most others compare who
// ignore it). Text of lower-case ASCII alone costs no allocation.
func FoldCase(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			return strings.ToLower(strings.ToUpper(s))
		}
	}
	return s
}

// Foldable tells whether the path can be compared without regard to case: no
// segment has a character whose other case is of another length, which those
// who ignore case do not agree about, such as a dotless i.
func (t *Target) Foldable() bool {
	for _, s := range t.segments[:t.count] {
		if len(FoldCase(s)) != len(s) {
			return false
		}
	}
	return true
}
