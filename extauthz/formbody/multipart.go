package formbody

import (
	"errors"
	"mime"
	"strings"

	"edict/engine/value"
)

// ParseMultipart reads a multipart/form-data body whose parts are set apart by
// a boundary. A part with a filename is a file; all others are texts in UTF-8.
//
// It refuses what parsers disagree about: text before the first part or behind
// the last one, lines that end in LF alone, headers other than
// Content-Disposition and Content-Type, folded or repeated ones, encodings,
// parameters other than name and filename, and escapes in these.
func ParseMultipart(body []byte, boundary string) (*Form, error) {
	if !validBoundary(boundary) {
		return nil, errors.New("the boundary is malformed")
	}
	dashes := "--" + boundary
	rest, ok := strings.CutPrefix(string(body), dashes)
	if !ok {
		return nil, errors.New("it does not begin with its boundary")
	}
	f, fields := new(Form), 0
	for {
		// rest follows a boundary.
		if end, ok := strings.CutPrefix(rest, "--"); ok {
			if end != "" && end != "\r\n" {
				return nil, errors.New("something follows the last part")
			}
			return f, nil
		}
		if rest, ok = strings.CutPrefix(rest, "\r\n"); !ok {
			return nil, errors.New("a boundary is not followed by the end of its line")
		}
		if fields++; fields > MaxFields {
			return nil, errTooMany
		}
		part, after, ok := strings.Cut(rest, "\r\n"+dashes)
		if !ok {
			return nil, errors.New("a part has no end")
		}
		if err := f.addPart(part); err != nil {
			return nil, err
		}
		rest = after
	}
}

// addPart reads a part: headers, an empty line, content.
func (f *Form) addPart(part string) error {
	var disposition, contentType string
	for {
		line, rest, ok := strings.Cut(part, "\r\n")
		if !ok {
			return errors.New("a part has no content")
		}
		part = rest
		if line == "" {
			break
		}
		name, text, ok := strings.Cut(line, ":")
		if text = strings.Trim(text, " \t"); !ok || text == "" || strings.ContainsFunc(line, isControl) {
			return errors.New("a part has a malformed header")
		}
		switch {
		case strings.EqualFold(name, "content-disposition") && disposition == "":
			disposition = text
		case strings.EqualFold(name, "content-type") && contentType == "":
			contentType = text
		default:
			return errors.New("a part has a header that is not looked at, or one twice")
		}
	}
	name, filename, isFile, err := fieldName(disposition)
	if err != nil {
		return err
	}
	if isFile {
		if filename == "" && part != "" {
			// Go and others take it for a text. Of a field for a file that was
			// left empty browsers send nothing behind it.
			return errors.New("a part has a content and an empty filename")
		}
		if err := sound(name, filename); err != nil {
			return err
		}
		f.add(name, value.OfMapping(value.Values{
			"filename":    value.OfString(filename),
			"contentType": value.OfString(contentType),
			"size":        value.OfInt(int64(len(part))),
		}))
		return nil
	}
	if contentType != "" && !plainText(contentType) {
		return errors.New("a part is neither a file nor plain text in UTF-8")
	}
	if len(part) > MaxText {
		return errors.New("a text is too long")
	}
	if err := sound(name, part); err != nil {
		return err
	}
	f.add(name, value.OfString(part))
	return nil
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// fieldName reads a Content-Disposition as browsers write it:
//
//	form-data; name="field"; filename="file.txt"
func fieldName(disposition string) (name, filename string, isFile bool, err error) {
	bad := errors.New("a part has a Content-Disposition that is not as browsers write it")
	kind, rest, _ := strings.Cut(disposition, ";")
	if !strings.EqualFold(strings.TrimRight(kind, " "), "form-data") {
		return "", "", false, bad
	}
	named := false
	for {
		key, after, ok := strings.Cut(strings.TrimLeft(rest, " "), "=\"")
		if !ok {
			return "", "", false, bad
		}
		text, after, ok := strings.Cut(after, `"`)
		// %22 and \" are quotes to some parsers, and two or three characters to
		// others.
		if !ok || strings.ContainsAny(text, `\%`) {
			return "", "", false, bad
		}
		switch {
		case strings.EqualFold(key, "name") && !named:
			name, named = text, true
		case strings.EqualFold(key, "filename") && !isFile:
			filename, isFile = text, true
		default:
			return "", "", false, bad
		}
		if after == "" {
			break
		}
		if rest, ok = strings.CutPrefix(after, ";"); !ok {
			return "", "", false, bad
		}
	}
	if !named {
		return "", "", false, bad
	}
	return name, filename, isFile, nil
}

// plainText tells whether a content-type is text/plain in UTF-8.
func plainText(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "text/plain" {
		return false
	}
	for name, v := range params {
		if name != "charset" || !strings.EqualFold(v, "utf-8") {
			return false
		}
	}
	return true
}

// validBoundary tells whether s may be a boundary (RFC 2046 §5.1.1). Those with
// a space are left out.
func validBoundary(s string) bool {
	if s == "" || len(s) > 70 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') && strings.IndexByte("'()+_,-./:=?", c) < 0 {
			return false
		}
	}
	return true
}
