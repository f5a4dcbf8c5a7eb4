package schema

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// lineColumn gives the place of a byte, both from 1, the column in characters.
func lineColumn(content []byte, offset int64) (line, column int) {
	before := content[:min(offset, int64(len(content)))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

// valueAfter gives the place of the value that follows offset, where a key or
// an element of an array ends.
func valueAfter(content []byte, offset int64) (line, column int) {
	rest := content[offset:]
	return lineColumn(content, offset+int64(len(rest)-len(bytes.TrimLeft(rest, " \t\r\n:,"))))
}

// locate gives the place of the value that a JSON pointer, percent-encoded as
// in a URL, leads to; zeroes if there is none.
func locate(content []byte, pointer string) (line, column int) {
	decoder := json.NewDecoder(bytes.NewReader(content))
	for _, step := range strings.Split(pointer, "/")[1:] {
		step, err := url.PathUnescape(step)
		if err != nil || !enter(decoder, strings.NewReplacer("~1", "/", "~0", "~").Replace(step)) {
			return 0, 0
		}
	}
	return valueAfter(content, decoder.InputOffset())
}

// enter moves the decoder into the object or array that comes next, to just
// before the member called name.
func enter(decoder *json.Decoder, name string) bool {
	open, err := decoder.Token()
	if err != nil {
		return false
	}
	var skipped json.RawMessage
	switch open {
	case json.Delim('{'):
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return false
			}
			if key == name {
				return true
			}
			if decoder.Decode(&skipped) != nil {
				return false
			}
		}
	case json.Delim('['):
		index, err := strconv.Atoi(name)
		if err != nil {
			return false
		}
		for ; decoder.More(); index-- {
			if index == 0 {
				return true
			}
			if decoder.Decode(&skipped) != nil {
				return false
			}
		}
	}
	return false
}

// locateRef gives the place of the first reference in a file that leads to
// target when it is resolved against base, zeroes if there is none.
func locateRef(content []byte, base, target string) (line, column int) {
	baseURL, err := url.Parse(base)
	if err != nil {
		return 0, 0
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	for {
		key, err := decoder.Token()
		if err != nil {
			return 0, 0
		}
		switch key {
		case "$ref", "$schema", "$dynamicRef", "$recursiveRef":
		default:
			continue
		}
		offset := decoder.InputOffset()
		value, err := decoder.Token()
		if err != nil {
			return 0, 0
		}
		ref, ok := value.(string)
		if !ok {
			continue
		}
		resolved, err := baseURL.Parse(ref)
		if err == nil && leadsTo(resolved, target) || ref == target {
			return valueAfter(content, offset)
		}
	}
}

// leadsTo tells whether u is target, whose fragment may be left out.
func leadsTo(u *url.URL, target string) bool {
	file, _, _ := strings.Cut(u.String(), "#")
	whole, err := url.PathUnescape(u.String())
	return file == target || err == nil && whole == target || u.String() == target
}
