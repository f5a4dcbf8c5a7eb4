package formbody

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"edict/engine/value"
	"edict/extauthz/target"
)

// The bounds of a form.
const (
	MaxFields = 1_000
	MaxText   = 64 << 10 // bytes of a text field of a multipart body
)

// A Form is the fields of a form. As a value.Mapping each name has its value: a
// string, or of a file a map of filename, contentType and size. A name that is
// there more than once has an Error instead, a *Repeated.
type Form struct {
	names  []string // each once, in the order of the body
	fields map[string]value.Slice
}

// Repeated is the error of a name that is there more than once.
type Repeated struct{ Name string }

// Error names the field.
func (r *Repeated) Error() string { return fmt.Sprintf("the form has several fields %q", r.Name) }

// Lookup implements value.Mapping.
func (f *Form) Lookup(name string) (value.Value, bool) {
	values := f.fields[name]
	switch len(values) {
	case 0:
		return value.Value{}, false
	case 1:
		return values[0], true
	}
	return value.OfError(&Repeated{name}), true
}

// Len is the number of different names.
func (f *Form) Len() int { return len(f.names) }

// Range implements value.Mapping, in the order of the body.
func (f *Form) Range(yield func(string, value.Value) bool) {
	for _, name := range f.names {
		if v, _ := f.Lookup(name); !yield(name, v) {
			return
		}
	}
}

// Lists gives the form as a map from each name to the list of its values, a
// list also where there is one value.
func (f *Form) Lists() value.Mapping { return (*lists)(f) }

type lists Form

func (l *lists) Lookup(name string) (value.Value, bool) {
	values, ok := l.fields[name]
	if !ok {
		return value.Value{}, false
	}
	return value.OfSequence(values), true
}

func (l *lists) Len() int { return len(l.names) }

func (l *lists) Range(yield func(string, value.Value) bool) {
	for _, name := range l.names {
		if !yield(name, value.OfSequence(l.fields[name])) {
			return
		}
	}
}

var errTooMany = errors.New("there are too many fields")

func (f *Form) add(name string, v value.Value) {
	if f.fields == nil {
		f.fields = map[string]value.Slice{}
	}
	if _, ok := f.fields[name]; !ok {
		f.names = append(f.names, name)
	}
	f.fields[name] = append(f.fields[name], v)
}

// charsetField is the name of a field that tells some backends in which charset
// the others are (HTML §4.10.21.7).
const charsetField = "_charset_"

// sound checks a name, and the value that it has as text.
func sound(name, text string) error {
	switch {
	case !utf8.ValidString(name) || !utf8.ValidString(text):
		return errors.New("a field is not UTF-8")
	case strings.IndexByte(name, 0) >= 0 || strings.IndexByte(text, 0) >= 0:
		return errors.New("a field holds a NUL")
	case name == charsetField && !strings.EqualFold(text, "utf-8"):
		return errors.New("the fields are said to be in another charset than UTF-8")
	}
	return nil
}

// ParseURLEncoded reads an application/x-www-form-urlencoded body: pairs
// separated by '&' alone; a name without '=' has the value "", and nothing
// between two '&' is no pair.
func ParseURLEncoded(body []byte) (*Form, error) {
	text := string(body)
	for i := range len(text) {
		switch c := text[i]; {
		case c == ';':
			return nil, errors.New("it holds a semicolon, which separates fields for some parsers")
		case c <= ' ' || c == 0x7f:
			return nil, errors.New("it holds a space or control character that is not encoded")
		}
	}
	f, fields := new(Form), 0
	for more := true; more; {
		var pair string
		if pair, text, more = strings.Cut(text, "&"); pair == "" {
			continue
		}
		if fields++; fields > MaxFields {
			return nil, errTooMany
		}
		name, val, _ := strings.Cut(pair, "=")
		name, ok := target.UnescapeForm(name)
		val, ok2 := target.UnescapeForm(val)
		if !ok || !ok2 {
			return nil, errors.New("it holds a % without two hexadecimal digits")
		}
		if err := sound(name, val); err != nil {
			return nil, err
		}
		f.add(name, value.OfString(val))
	}
	return f, nil
}
