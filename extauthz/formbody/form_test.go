package formbody_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"mime/multipart"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	valuepkg "edict/engine/value"
	"edict/extauthz/formbody"
)

type value = valuepkg.Value

func TestParseURLEncoded(t *testing.T) {
	for body, want := range map[string]map[string]any{
		"":                      {},
		"a=1":                   {"a": []any{"1"}},
		"a=1&b=2&&a=3&":         {"a": []any{"1", "3"}, "b": []any{"2"}},
		"a":                     {"a": []any{""}},
		"=1":                    {"": []any{"1"}},
		"a=b=c":                 {"a": []any{"b=c"}},
		"na%6De=x+y%2Bz%26&n[]": {"name": []any{"x y+z&"}, "n[]": []any{""}},
		"caf%C3%A9=é":           {"café": []any{"é"}},
		"a=%253B":               {"a": []any{"%3B"}},
		"_charset_=UTF-8&a=1":   {"_charset_": []any{"UTF-8"}, "a": []any{"1"}},
		"a=%0D%0A":              {"a": []any{"\r\n"}},
	} {
		f, err := formbody.ParseURLEncoded([]byte(body))
		if err != nil {
			t.Errorf("%q: %v", body, err)
			continue
		}
		got := map[string]any{}
		f.Lists().Range(func(name string, v value) bool { got[name] = v.Native(); return true })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", body, got, want)
		}
	}
	for body, want := range map[string]string{
		"a=1;b=2":                        "semicolon",
		"a=%zz":                          "without two hexadecimal",
		"%=1":                            "without two hexadecimal",
		"a=%ff":                          "not UTF-8",
		"a=\xff":                         "not UTF-8",
		"a=%00":                          "NUL",
		"a%00=1":                         "NUL",
		"a=1\r\n":                        "not encoded",
		"a=b c":                          "not encoded",
		"_charset_=utf-16&a=1":           "another charset",
		strings.Repeat("a=1&", 1_001):    "too many",
		strings.Repeat("&", 10) + "a=%4": "without two hexadecimal",
	} {
		if f, err := formbody.ParseURLEncoded([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, %v, want %s", body, f, err, want)
		}
	}
}

func TestRepeatedFields(t *testing.T) {
	f, err := formbody.ParseURLEncoded([]byte("a=1&b=2&a=3"))
	if err != nil {
		t.Fatal(err)
	}
	var repeated *formbody.Repeated
	if v, ok := f.Lookup("a"); !ok || !errors.As(v.Err(), &repeated) || repeated.Name != "a" {
		t.Errorf("a is %v", v)
	}
	if v, ok := f.Lookup("b"); !ok || v.Str() != "2" {
		t.Errorf("b is %v", v)
	}
	if v, ok := f.Lookup("c"); ok {
		t.Errorf("c is %v", v)
	}
	var names []string
	f.Range(func(name string, _ value) bool { names = append(names, name); return true })
	if !slices.Equal(names, []string{"a", "b"}) || f.Len() != 2 || f.Lists().Len() != 2 {
		t.Errorf("the names are %q", names)
	}
}

const boundary = "X-b.1"

// lines joins lines as a multipart body has them.
func lines(l ...string) string { return strings.Join(l, "\r\n") }

func TestParseMultipart(t *testing.T) {
	body := lines("--"+boundary, `Content-Disposition: form-data; name="title"`, "", "Hello", "World",
		"--"+boundary, `content-disposition: form-data; name="café"`, "Content-Type: text/plain; charset=UTF-8", "", "é",
		"--"+boundary, `Content-Disposition: form-data; name="doc"; filename="a b.pdf"`, "Content-Type: application/pdf", "", "\x00\xff12",
		"--"+boundary, `Content-Disposition: form-data; name="empty"`, "", "",
		"--"+boundary, `Content-Disposition: form-data; name="title"`, "", "twice",
		"--"+boundary+"--", "")
	f, err := formbody.ParseMultipart([]byte(body), boundary)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"title": []any{"Hello\r\nWorld", "twice"}, "café": []any{"é"}, "empty": []any{""},
		"doc": []any{map[string]any{"filename": "a b.pdf", "contentType": "application/pdf", "size": int64(4)}},
	}
	got := map[string]any{}
	f.Lists().Range(func(name string, v value) bool { got[name] = v.Native(); return true })
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, body := range map[string]string{
		"nothing":                      "",
		"no part":                      "--" + boundary + "--",
		"a preamble":                   "x\r\n" + body,
		"a line before it":             "\r\n" + body,
		"an epilogue":                  body + "x",
		"no end":                       strings.TrimSuffix(body, "--\r\n"),
		"cut":                          body[:len(body)/2],
		"another boundary":             strings.ReplaceAll(body, boundary, "Y"),
		"a longer boundary":            strings.ReplaceAll(body, "--"+boundary+"--", "--"+boundary+"x--"),
		"space after a boundary":       strings.Replace(body, boundary+"\r\n", boundary+" \r\n", 1),
		"LF alone":                     strings.ReplaceAll(body, "\r\n", "\n"),
		"one LF alone":                 strings.Replace(body, "\"title\"\r\n", "\"title\"\n", 1),
		"a folded header":              strings.Replace(body, "form-data; name=\"title\"", "form-data;\r\n name=\"title\"", 1),
		"another header":               strings.Replace(body, "Content-Type: text/plain", "Content-Transfer-Encoding: base64", 1),
		"a header twice":               strings.Replace(body, "Content-Type: text/plain", `Content-Disposition: form-data; name="x"`, 1),
		"no name":                      strings.Replace(body, `; name="title"`, "", 1),
		"two names":                    strings.Replace(body, `name="title"`, `name="a"; name="b"`, 1),
		"an unquoted name":             strings.Replace(body, `name="title"`, `name=title`, 1),
		"an escaped quote":             strings.Replace(body, `name="title"`, `name="ti\"tle"`, 1),
		"an encoded quote":             strings.Replace(body, `name="title"`, `name="ti%22tle"`, 1),
		"an extended filename":         strings.Replace(body, `filename="a b.pdf"`, `filename*=UTF-8''a.pdf`, 1),
		"two filenames":                strings.Replace(body, `filename="a b.pdf"`, `filename="a"; filename="b"`, 1),
		"a content without a filename": strings.Replace(body, `filename="a b.pdf"`, `filename=""`, 1),
		"an attachment":                strings.Replace(body, "form-data;", "attachment;", 1),
		"something after the name":     strings.Replace(body, `name="title"`, `name="title" x`, 1),
		"a semicolon after the name":   strings.Replace(body, `name="title"`, `name="title";`, 1),
		"a part without content":       "--" + boundary + "\r\nContent-Disposition: form-data; name=\"a\"\r\n--" + boundary + "--",
		"a part that is JSON":          strings.Replace(body, "text/plain; charset=UTF-8", "application/json", 1),
		"a part in another charset":    strings.Replace(body, "charset=UTF-8", "charset=utf-16", 1),
		"a part of parts":              strings.Replace(body, "text/plain; charset=UTF-8", "multipart/mixed; boundary=b", 1),
		"a text that is not UTF-8":     strings.Replace(body, "Hello", "\xff", 1),
		"a text with a NUL":            strings.Replace(body, "Hello", "\x00", 1),
		"a name that is not UTF-8":     strings.Replace(body, `"title"`, "\"\xff\"", 1),
		"a filename that is not UTF-8": strings.Replace(body, "a b.pdf", "\xff", 1),
		"a NUL in a filename":          strings.Replace(body, "a b.pdf", "a.pdf\x00.txt", 1),
		"another charset":              strings.Replace(body, `"title"`+"\r\n\r\nHello", `"_charset_"`+"\r\n\r\nutf-7", 1),
		"a long text":                  strings.Replace(body, "Hello", strings.Repeat("x", formbody.MaxText+1), 1),
		"too many fields":              strings.Repeat(lines("--"+boundary, `Content-Disposition: form-data; name="a"`, "", "", ""), formbody.MaxFields+1) + "--" + boundary + "--",
	} {
		if f, err := formbody.ParseMultipart([]byte(body), boundary); err == nil && name != "no part" {
			t.Errorf("%s: read as %v", name, f)
		}
	}
	for _, b := range []string{"", "a b", `a"b`, "a\r\nb", strings.Repeat("x", 71)} {
		if _, err := formbody.ParseMultipart([]byte("--"+b+"--"), b); err == nil {
			t.Errorf("the boundary %q is taken", b)
		}
	}
}

// What is read is what Go's own parser reads.
func FuzzParseURLEncoded(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "a=%20+&a", "%", "a;b", "&&=", "_charset_=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := formbody.ParseURLEncoded([]byte(body))
		if err != nil {
			return
		}
		want, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("%q: read, but net/url says %v", body, err)
		}
		got := url.Values{}
		form.Lists().Range(func(name string, v value) bool {
			for i := range v.Sequence().Len() {
				got.Add(name, v.Sequence().At(i).Str())
			}
			return true
		})
		if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
			t.Fatalf("%q: %v, for net/url %v", body, got, want)
		}
	})
}

func FuzzParseMultipart(f *testing.F) {
	f.Add(lines("--b", `Content-Disposition: form-data; name="a"`, "", "1", "--b", `Content-Disposition: form-data; name="f"; filename="x"`, "Content-Type: a/b", "", "\x00", "--b--", ""), "b")
	f.Add("--b--", "b")
	f.Add(lines("--b", `Content-Disposition: form-data; name=a`, "", "1", "--b--"), "b")
	f.Fuzz(func(t *testing.T, body, boundary string) {
		form, err := formbody.ParseMultipart([]byte(body), boundary)
		if err != nil || form.Len() == 0 {
			return
		}
		in := multipart.NewReader(bytes.NewReader([]byte(body)), boundary)
		count := 0
		for {
			part, err := in.NextRawPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%q: read, but mime/multipart says %v", body, err)
			}
			content, err := io.ReadAll(part)
			if err != nil {
				t.Fatal(err)
			}
			count++
			v, ok := form.Lists().Lookup(part.FormName())
			if !ok {
				t.Fatalf("%q: there is no %q", body, part.FormName())
			}
			found := false
			for i := range v.Sequence().Len() {
				e := v.Sequence().At(i)
				if m := e.Mapping(); m != nil {
					size, _ := m.Lookup("size")
					found = found || size.Int() == int64(len(content))
				} else {
					found = found || e.Str() == string(content)
				}
			}
			if !found {
				t.Fatalf("%q: %q is %v, for mime/multipart %q", body, part.FormName(), v, content)
			}
		}
		total := 0
		form.Lists().Range(func(_ string, v value) bool { total += v.Sequence().Len(); return true })
		if total != count {
			t.Fatalf("%q: %d fields, for mime/multipart %d", body, total, count)
		}
	})
}
