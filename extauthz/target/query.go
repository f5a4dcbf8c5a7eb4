package target

import (
	"strings"
	"unicode/utf8"

	"edict/engine/value"
)

// A Query is the parameters of a request's query. Pairs are separated by '&'
// alone; names and values are decoded once, '+' being a space; a name without
// '=' has the value ""; nothing between two '&' is no pair. Names are compared
// exactly, after decoding: "%72ole" is "role", "Role" and "role[]" are others.
//
// As a value.Mapping each name has the one value it came with, a string, and a
// name that came more than once has an Error instead: backends disagree about
// whether the first or the last one counts, so a condition that reads it must
// fail. Lists gives all values of every name.
//
// A Query belongs to its Target and is valid until the next Parse or Reset.
type Query struct {
	pairs []pair // in the order of the query
}

type pair struct {
	name, value string
	next        int  // index of the next pair of the same name, 0 if none
	count       int  // of the first pair of a name: how often the name occurs
	last        int  // of the first pair of a name: index of its last pair
	first       bool // no earlier pair has this name
}

// Query reads the query. The answer is kept: reading it again costs nothing.
// Unless the Reason is OK, the Query is nil. A refused Target has no query.
func (t *Target) Query() (*Query, Reason) {
	if t.state != OK {
		return nil, t.state
	}
	if t.queryReason == Unread {
		t.queryReason = t.query.parse(t.RawQuery(), t.admitted)
	}
	if t.queryReason != OK {
		return nil, t.queryReason
	}
	return &t.query, OK
}

func (q *Query) reset() {
	clear(q.pairs)
	q.pairs = q.pairs[:0]
}

func (q *Query) parse(raw string, accept Accept) Reason {
	q.reset()
	if r := q.read(raw, accept); r != OK {
		q.reset()
		return r
	}
	return OK
}

func (q *Query) read(raw string, accept Accept) Reason {
	if accept&AcceptQuerySemicolon == 0 && strings.IndexByte(raw, ';') >= 0 {
		return QuerySemicolon
	}
	for more := true; more; {
		var item string
		item, raw, more = strings.Cut(raw, "&")
		if item == "" {
			continue
		}
		if len(q.pairs) == MaxPairs {
			return QueryTooManyPairs
		}
		name, val, _ := strings.Cut(item, "=")
		name, r := unescapeQuery(name)
		if r != OK {
			return r
		}
		if val, r = unescapeQuery(val); r != OK {
			return r
		}
		q.add(name, val)
	}
	return OK
}

func unescapeQuery(raw string) (string, Reason) {
	s, ok := unescape(raw, true)
	switch {
	case !ok:
		return "", QueryBadEscape
	case strings.IndexByte(s, 0) >= 0:
		return "", QueryNUL
	case !utf8.ValidString(s):
		return "", QueryInvalidUTF8
	}
	return s, OK
}

// add appends a pair and chains it to earlier ones of its name. MaxPairs keeps
// the search for those short.
func (q *Query) add(name, val string) {
	i := len(q.pairs)
	head := q.find(name)
	q.pairs = append(q.pairs, pair{name: name, value: val})
	if head < 0 {
		q.pairs[i].first, q.pairs[i].count, q.pairs[i].last = true, 1, i
		return
	}
	q.pairs[q.pairs[head].last].next = i
	q.pairs[head].last = i
	q.pairs[head].count++
}

// find gives the index of the first pair of a name, -1 if there is none.
func (q *Query) find(name string) int {
	for i := range q.pairs {
		if q.pairs[i].name == name {
			return i
		}
	}
	return -1
}

// Get gives the first value of a name and how many there are; 0 means that the
// name is absent. Lookup is for where a second value must
// not go unnoticed.
func (q *Query) Get(name string) (first string, count int) {
	i := q.find(name)
	if i < 0 {
		return "", 0
	}
	return q.pairs[i].value, q.pairs[i].count
}

// All calls yield with each pair in the order of the query until yield answers
// false.
func (q *Query) All(yield func(name, val string) bool) {
	for i := range q.pairs {
		if !yield(q.pairs[i].name, q.pairs[i].value) {
			return
		}
	}
}

// Len is the number of different names.
func (q *Query) Len() int {
	n := 0
	for i := range q.pairs {
		if q.pairs[i].first {
			n++
		}
	}
	return n
}

// Lookup implements value.Mapping: the value of a name that occurs once, an
// Error of a name that occurs more than once.
func (q *Query) Lookup(name string) (value.Value, bool) {
	i := q.find(name)
	if i < 0 {
		return value.Value{}, false
	}
	return q.single(i), true
}

// Range implements value.Mapping, in the order of first occurrence.
func (q *Query) Range(yield func(string, value.Value) bool) {
	for i := range q.pairs {
		if q.pairs[i].first && !yield(q.pairs[i].name, q.single(i)) {
			return
		}
	}
}

func (q *Query) single(i int) value.Value {
	if q.pairs[i].count > 1 {
		return value.OfError(&Refusal{Reason: QueryDuplicate, Name: q.pairs[i].name})
	}
	return value.OfString(q.pairs[i].value)
}

// Lists gives the query as a map from each name to the list of its values, a
// list also where there is one value.
func (q *Query) Lists() value.Mapping { return lists{q} }

type lists struct{ q *Query }

// Lookup implements value.Mapping.
func (l lists) Lookup(name string) (value.Value, bool) {
	i := l.q.find(name)
	if i < 0 {
		return value.Value{}, false
	}
	return l.values(i), true
}

// Len implements value.Mapping.
func (l lists) Len() int { return l.q.Len() }

// Range implements value.Mapping, in the order of first occurrence.
func (l lists) Range(yield func(string, value.Value) bool) {
	for i := range l.q.pairs {
		if l.q.pairs[i].first && !yield(l.q.pairs[i].name, l.values(i)) {
			return
		}
	}
}

// values collects the values of the name whose first pair is pair i.
func (l lists) values(i int) value.Value {
	out := make(value.Strings, 0, l.q.pairs[i].count)
	for {
		out = append(out, l.q.pairs[i].value)
		if i = l.q.pairs[i].next; i == 0 {
			return value.OfSequence(out)
		}
	}
}
