package cookie_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"edict/extauthz/cookie"
)

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		header, name, want string
		err                error
		absent             bool
	}{
		{header: "a=1", name: "a", want: "1"},
		{header: "a=1; b=2;c=3", name: "b", want: "2"},
		{header: "a=1; b=2;c=3", name: "c", want: "3"},
		{header: " a=1 ", name: "a", want: "1"},
		{header: "a=", name: "a", want: ""},
		{header: "a=b=c", name: "a", want: "b=c"},
		{header: "a=%22x%22", name: "a", want: "%22x%22"},
		{header: "a=1; A=2", name: "a", want: "1"},
		{header: "xa=1; a=2; a1=3; __Host-a=4", name: "a", want: "2"},
		{header: `junk={"x":"y,z"}; a=1; nameless`, name: "a", want: "1"},
		{header: "b=a; a=1", name: "a", want: "1"},

		{header: "", name: "a", absent: true},
		{header: "b=1", name: "a", absent: true},
		{header: "A=1", name: "a", absent: true},
		{header: "b=a", name: "a", absent: true},
		{header: "b=1", name: "", absent: true},
		{header: "a b=1", name: "a b", absent: true},

		{header: "a=1; a=2", name: "a", err: cookie.ErrRepeated},
		{header: "a=1; a=1", name: "a", err: cookie.ErrRepeated},
		{header: `a=1; b="x; a=2"`, name: "a", err: cookie.ErrRepeated},
		{header: "b=1,a=2; a=3", name: "a", err: cookie.ErrRepeated},
		{header: "b=1,a=2", name: "a", err: cookie.ErrRepeated},
		{header: "a=1; a", name: "a", err: cookie.ErrRepeated},
		{header: "a=1; a =2", name: "a", err: cookie.ErrRepeated},
		{header: "a=1 a=2", name: "a", err: cookie.ErrRepeated},
		{header: "a=1; b=a=2", name: "a", err: cookie.ErrRepeated},
		{header: "a", name: "a", err: cookie.ErrBadValue},
		{header: "a =1", name: "a", err: cookie.ErrBadValue},
		{header: "a= 1", name: "a", err: cookie.ErrBadValue},
		{header: `a="1"`, name: "a", err: cookie.ErrBadValue},
		{header: "a=1,2", name: "a", err: cookie.ErrBadValue},
		{header: "a=1 2", name: "a", err: cookie.ErrBadValue},
		{header: `a=1\2`, name: "a", err: cookie.ErrBadValue},
		{header: "a=é", name: "a", err: cookie.ErrBadValue},
		{header: "a=1\x00", name: "a", err: cookie.ErrBadValue},
	} {
		got, found, err := cookie.Lookup(c.header, c.name)
		if got != c.want || found == (c.absent || c.err != nil) || !errors.Is(err, c.err) {
			t.Errorf("%q of %q: got %q, %v, %v", c.name, c.header, got, found, err)
		}
	}
}

func TestNames(t *testing.T) {
	var got []string
	cookie.Names("a=1; b ; =x; c=2;;a=3", func(n string) bool { got = append(got, n); return true })
	if want := []string{"a", "b", "c", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is read is what Go's own parser finds, and finds once.
func FuzzLookup(f *testing.F) {
	for _, s := range []string{"a=1", "a=1; a=2", `b="; a=1"`, "a=1,b=2", "a", " a = 1 ;b", "xa=1;a=2", `a=";"`} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, header, name string) {
		got, found, err := cookie.Lookup(header, name)
		if found == (err != nil) && found {
			t.Fatalf("%q, %v, %v", got, found, err)
		}
		if !found && got != "" {
			t.Fatalf("a value without a cookie: %q", got)
		}
		if strings.ContainsAny(header, "\r\n") {
			return // no header
		}
		var others []string
		for _, c := range (&http.Request{Header: http.Header{"Cookie": {header}}}).Cookies() {
			if c.Name == name {
				others = append(others, c.Value)
			}
		}
		switch {
		case found && (len(others) != 1 || others[0] != got):
			t.Fatalf("%q of %q is %q, for net/http %q", name, header, got, others)
		case !found && err == nil && len(others) > 0:
			t.Fatalf("%q is not found in %q, but net/http finds %q", name, header, others)
		}
	})
}
