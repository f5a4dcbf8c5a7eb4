package engine

import (
	"slices"
	"strings"

	"edict/engine/diag"
	"edict/engine/internal/glob"
)

// bits is a set of small integers. All sets of a unit have the same length.
type bits []uint64

func (b bits) set(i int) { b[i/64] |= 1 << (i % 64) }

func (b bits) intersects(c bits) bool {
	for i := range b {
		if b[i]&c[i] != 0 {
			return true
		}
	}
	return false
}

func (b bits) add(c bits) {
	for i := range b {
		b[i] |= c[i]
	}
}

// A roleIndex gives, for a role of a request, the role patterns of a unit that
// match it.
type roleIndex struct {
	words   int
	literal map[string]bits // per role that the unit names, patterns included
	other   bits            // of any role it does not name: those of "*"
	globs   []rolePattern   // to try on roles that it does not name
}

type rolePattern struct {
	glob glob.Pattern
	bit  int
}

// match adds the patterns that match role to dst, which has x.words words.
func (x *roleIndex) match(role string, dst bits) {
	if b, ok := x.literal[role]; ok {
		dst.add(b)
		return
	}
	dst.add(x.other)
	for i := range x.globs {
		if x.globs[i].glob.Match(role) {
			dst.set(x.globs[i].bit)
		}
	}
}

// A patternIndex leads from a text to the rows whose patterns match it. A text
// that some pattern names literally is looked up; only others are matched.
type patternIndex struct {
	literal  map[string][]int32 // per text that is named, patterns included
	patterns []patternRow       // in the order of rows
}

type patternRow struct {
	glob glob.Pattern
	row  int32
}

// find gives the rows that a text leads to, in ascending order, once per
// pattern that matches. They may be in the memory of buffer, or not be the
// caller's to change.
func (x *patternIndex) find(text string, buffer *[]int32) []int32 {
	if rows, ok := x.literal[text]; ok {
		return rows
	}
	*buffer = x.match(text, (*buffer)[:0])
	return *buffer
}

func (x *patternIndex) match(text string, rows []int32) []int32 {
	for i := range x.patterns {
		if p := &x.patterns[i]; p.glob.Match(text) {
			rows = append(rows, p.row)
		}
	}
	return rows
}

// A patternIndexer builds a patternIndex.
type patternIndexer struct {
	same     func(string) string // gives one string for all equal ones
	texts    []indexedText
	patterns []patternRow
}

type indexedText struct {
	text string
	row  int32
}

// add makes texts and patterns lead to a row. Rows are added in ascending
// order. Malformed patterns were reported; they match nothing.
func (x *patternIndexer) add(row int32, patterns ...patternOrText) {
	for _, p := range patterns {
		if p.isText {
			x.texts = append(x.texts, indexedText{x.same(p.text), row})
		}
		if p.isPattern {
			x.patterns = append(x.patterns, patternRow{p.glob, row})
		}
	}
}

// index finishes.
func (x *patternIndexer) index() patternIndex {
	index := patternIndex{literal: make(map[string][]int32, len(x.texts)), patterns: x.patterns}
	for _, t := range x.texts {
		index.literal[t.text] = append(index.literal[t.text], t.row)
	}
	if len(x.patterns) > 0 {
		for text, rows := range index.literal {
			rows = index.match(text, rows)
			slices.Sort(rows)
			index.literal[text] = rows
		}
	}
	// The lists lie side by side in memory, as one of them is wanted at a time.
	n := 0
	for _, rows := range index.literal {
		n += len(rows)
	}
	all := make([]int32, 0, n)
	for text, rows := range index.literal {
		begin := len(all)
		all = append(all, rows...)
		index.literal[text] = all[begin:len(all):len(all)]
	}
	return index
}

// A patternOrText is a text, a pattern, or both.
type patternOrText struct {
	text              string
	glob              glob.Pattern
	isText, isPattern bool
}

// match tells whether a text is the text or matches the pattern.
func (p *patternOrText) match(text string) bool {
	return p.isText && p.text == text || p.isPattern && p.glob.Match(text)
}

// wildcard reads a text that is a pattern only if it holds a *.
func wildcard(t string) patternOrText {
	if !glob.IsPattern(t) {
		return patternOrText{text: t, isText: true}
	}
	g, err := glob.Compile(t)
	return patternOrText{text: t, glob: g, isPattern: err == nil}
}

// always reads a text that is tried as a pattern whatever it holds.
func always(t string) patternOrText {
	p := wildcard(t)
	p.isText = true
	if !p.isPattern && strings.ContainsAny(t, `?[]{}\`) {
		g, err := glob.Compile(t)
		p.glob, p.isPattern = g, err == nil
	}
	return p
}

func wildcards(texts []diag.Text) []patternOrText { return eachText(texts, wildcard) }

func eachText(texts []diag.Text, read func(string) patternOrText) []patternOrText {
	out := make([]patternOrText, len(texts))
	for i, t := range texts {
		out[i] = read(t.Value)
	}
	return out
}

// intersect gives the numbers that are in both ascending lists, in place of
// dst. A repetition in a is kept.
func intersect(a, b, dst []int32) []int32 {
	dst = dst[:0]
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			dst = append(dst, a[0])
			a = a[1:]
		}
	}
	return dst
}
