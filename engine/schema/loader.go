package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"edict/engine/diag"
)

// A loader finds what one reference of a policy needs, and says what went wrong.
type loader struct {
	set *Set
	ref string // as the policy writes it
	// loaded is the files read so far with their URLs, the last one being that
	// which a mistake without a place is in.
	loaded []source
}

type source struct {
	url, file string
	content   []byte
}

// load gives the document at a URL to the library, which asks for each once and
// has those of json-schema.org itself.
func (l *loader) load(ref string) (io.ReadCloser, error) {
	file, err := l.find(ref)
	if err != nil {
		l.place(err, ref)
		return nil, err
	}
	content := l.set.files[file]
	if err := checkJSON(file, content); err != nil {
		return nil, err
	}
	l.loaded = append(l.loaded, source{url: ref, file: file, content: content})
	return io.NopCloser(bytes.NewReader(content)), nil
}

// find gives the file that a URL names.
func (l *loader) find(ref string) (string, *Error) {
	u, err := url.Parse(ref)
	if err != nil {
		return "", &Error{Message: fmt.Sprintf("%q is not a URL", ref)}
	}
	file := strings.TrimPrefix(u.Path, "/")
	by := ""
	if len(l.loaded) > 0 {
		by = " referenced by " + l.ref
	}
	switch {
	case u.Scheme != scheme:
		e := &Error{
			Message: fmt.Sprintf("schema %s%s doesn't exist below %s, and nothing is fetched from elsewhere", ref, by, Folder),
			Hint:    fmt.Sprintf("put the schema below %s and refer to it as %s:///path", Folder, scheme),
		}
		if u.Host == "json-schema.org" {
			e.Hint = "the drafts known are 4, 6, 7, 2019-09 and 2020-12"
		}
		return "", e
	case u.Host != "":
		return "", &Error{
			Message: fmt.Sprintf("schema %s%s has a host", ref, by),
			Hint:    fmt.Sprintf("write three slashes: %q", refTo(path.Join(u.Host, file))),
		}
	case slices.Contains(strings.Split(file, "/"), ".."):
		return "", &Error{
			Message: fmt.Sprintf("schema %s%s leads out of its folder", ref, by),
			Hint:    fmt.Sprintf("write the path from %s on, without \"..\"", Folder),
		}
	}
	if _, ok := l.set.files[file]; ok {
		return file, nil
	}
	hint := fmt.Sprintf("the path of a reference begins below %s", Folder)
	if near := diag.Nearest(file, slices.Collect(maps.Keys(l.set.files))); near != "" {
		hint = fmt.Sprintf("did you mean %q?", refTo(near))
	}
	return "", &Error{Message: fmt.Sprintf("schema %s%s doesn't exist", path.Join(Folder, file), by), Hint: hint}
}

// place says where the reference to target stands, if it is in a schema.
func (l *loader) place(e *Error, target string) {
	for _, s := range l.loaded {
		if line, column := locateRef(s.content, s.url, target); line > 0 {
			e.Pos = diag.Position{File: path.Join(Folder, s.file), Line: line, Column: column}
			return
		}
	}
}

// explain turns what the library says into an Error.
func (l *loader) explain(err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	var last source
	e := &Error{}
	if len(l.loaded) > 0 {
		last = l.loaded[len(l.loaded)-1]
		e.Pos.File = path.Join(Folder, last.file)
	}
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		at, messages := deepest(invalid)
		e.Pos.Line, e.Pos.Column = locate(last.content, at)
		e.Message = fmt.Sprintf("not a valid JSON schema: %s: %s", pointerOrRoot(at), strings.Join(messages, ", or "))
		if strings.HasSuffix(e.Message, "is not valid 'regex'") {
			e.Hint = "patterns are regular expressions in the syntax of RE2, without look-around and back-references"
		}
		return e
	}
	if schemaErr, ok := errors.AsType[*jsonschema.SchemaError](err); ok && schemaErr.Err != nil {
		err = schemaErr.Err
	}
	message := strings.TrimPrefix(err.Error(), "jsonschema: ")
	switch target, notFound := strings.CutSuffix(message, " not found"); {
	case notFound:
		e.Pos = diag.Position{}
		e.Message = fmt.Sprintf("there is no schema %s", target)
		l.place(e, target)
	case strings.HasPrefix(message, "infinite loop"):
		e.Message = "the schema refers to itself without end:" + strings.TrimPrefix(message, "infinite loop")
		e.Hint = "a schema may refer to itself only for a part of the value"
	default:
		e.Message = "not a valid JSON schema: " + message
	}
	return e
}

// deepest gives the innermost place that a schema is wrong at, which is where
// the author has to look, and all that is said about it.
func deepest(e *jsonschema.ValidationError) (at string, messages []string) {
	depth := -1
	for leaf := range causes(e) {
		d := strings.Count(leaf.InstanceLocation, "/")
		if d > depth || d == depth && leaf.InstanceLocation < at {
			depth, at, messages = d, leaf.InstanceLocation, nil
		}
		if leaf.InstanceLocation == at && !slices.Contains(messages, leaf.Message) {
			messages = append(messages, leaf.Message)
		}
	}
	return at, messages
}

// checkJSON tells where a file stops being JSON.
func checkJSON(file string, content []byte) *Error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	var document json.RawMessage
	err := decoder.Decode(&document)
	offset := decoder.InputOffset()
	if err == nil {
		rest := bytes.TrimLeft(content[offset:], " \t\r\n")
		if len(rest) == 0 {
			return checkNesting(file, content)
		}
		offset = int64(len(content) - len(rest))
		_, n := utf8.DecodeRune(rest)
		err = fmt.Errorf("%q after the end of the schema", rest[:n])
	} else if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = max(syntax.Offset-1, 0)
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset = int64(len(content))
		err = errors.New("the file ends too early")
	}
	e := &Error{Pos: diag.Position{File: path.Join(Folder, file)}, Message: "not JSON: " + err.Error()}
	e.Pos.Line, e.Pos.Column = lineColumn(content, offset)
	if bytes.HasPrefix(content, []byte("\xef\xbb\xbf")) {
		e.Message, e.Hint = "not JSON: a byte order mark at the start", "save the file as UTF-8 without one"
	}
	return e
}

// maxNesting is how deep the JSON of a schema may be nested. The time that the
// library takes grows with a high power of it.
const maxNesting = 200

// checkNesting refuses a schema, which is JSON, that is nested too deep.
func checkNesting(file string, content []byte) *Error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	for depth := 0; ; {
		token, err := decoder.Token()
		if err != nil {
			return nil // the end
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxNesting {
			e := &Error{
				Pos:     diag.Position{File: path.Join(Folder, file)},
				Message: fmt.Sprintf("the schema is nested deeper than %d levels", maxNesting),
				Hint:    "move inner schemas to $defs and refer to them by $ref",
			}
			e.Pos.Line, e.Pos.Column = lineColumn(content, decoder.InputOffset()-1)
			return e
		}
	}
}
