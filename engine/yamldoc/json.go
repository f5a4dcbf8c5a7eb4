package yamldoc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maskJSON gives the content with the escapes replaced that JSON has and the
// YAML parser does not know: \/ and pairs of surrogates (\ud83d\ude00). Each is
// replaced by as many other characters, so that all places stay as they are,
// and unmaskJSON puts the strings right. The answer is nil if the content is
// not JSON, or holds no such escape.
func (d *Document) maskJSON() []byte {
	c := d.content
	if !strings.Contains(c, `\/`) && !strings.Contains(c, `\ud`) && !strings.Contains(c, `\uD`) ||
		strings.ContainsAny(c, "\u0085\u2028\u2029") || // which break lines in YAML and not in JSON
		!json.Valid([]byte(c)) {
		return nil
	}
	masked := []byte(c)
	for i := 0; i < len(c); i++ {
		if c[i] != '\\' { // in JSON it begins an escape wherever it stands
			continue
		}
		switch size := surrogatePair(c[i:]); {
		case size > 0:
			copy(masked[i:], bytes.Repeat([]byte("x"), size))
			i += size - 1
		case c[i+1] == '/':
			copy(masked[i:], "xx")
			i++
		default:
			i++
		}
	}
	return masked
}

// surrogatePair gives the length of the two escapes for one character that s
// begins with, 0 if it begins with something else.
func surrogatePair(s string) int {
	const size = len(`\ud83d\ude00`)
	if len(s) < size || s[:2] != `\u` || s[6:8] != `\u` {
		return 0
	}
	high, err := strconv.ParseUint(s[2:6], 16, 32)
	low, err2 := strconv.ParseUint(s[8:12], 16, 32)
	if err != nil || err2 != nil || utf16.DecodeRune(rune(high), rune(low)) == utf8.RuneError {
		return 0
	}
	return size
}

// unmaskJSON gives the strings below n the text that the file gives them.
func (d *Document) unmaskJSON(n *yaml.Node) {
	for _, child := range n.Content {
		d.unmaskJSON(child)
	}
	if n.Kind != yaml.ScalarNode || n.Style&yaml.DoubleQuotedStyle == 0 {
		return
	}
	quoted := d.content[d.offset(n.Line, n.Column):]
	end := 1
	for ; quoted[end] != '"'; end++ {
		if quoted[end] == '\\' {
			end++
		}
	}
	var text string
	if json.Unmarshal([]byte(quoted[:end+1]), &text) == nil {
		n.Value = text
	}
}
