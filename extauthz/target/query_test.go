package target_test

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"edict/engine/value"
	"edict/extauthz/target"
)

var queryAttacks = []attack{
	{"semicolon as a separator", "a=1;role=admin", target.QuerySemicolon},
	{"semicolon in a later value", "a=1&b=2;c=3", target.QuerySemicolon},
	{"broken escape", "a=%zz", target.QueryBadEscape},
	{"cut escape", "a=%2", target.QueryBadEscape},
	{"broken escape in a name", "%zz=a", target.QueryBadEscape},
	{"invalid UTF-8", "a=%ff", target.QueryInvalidUTF8},
	{"overlong UTF-8 in a name", "%c0%ae=a", target.QueryInvalidUTF8},
	{"raw invalid UTF-8", "a=\xff", target.QueryInvalidUTF8},
	{"NUL in a value", "role=user%00admin", target.QueryNUL},
	{"NUL in a name", "role%00=admin", target.QueryNUL},
	{"very many pairs", strings.Repeat("a=1&", target.MaxPairs) + "a=1", target.QueryTooManyPairs},
}

func TestQueryAttacks(t *testing.T) {
	for _, a := range queryAttacks {
		t.Run(a.name, func(t *testing.T) {
			var tgt target.Target
			if r := tgt.Parse("/x?" + a.raw); r != target.OK {
				t.Fatalf("the path is refused for its query: %v", r)
			}
			for range 2 { // the kept answer is the same
				if q, r := tgt.Query(); r != a.want || q != nil {
					t.Fatalf("Query() of %.60q = %v, %v, want nil, %v", a.raw, q, r, a.want)
				}
			}
		})
	}
}

func TestQuery(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want map[string]any // as Lists gives it
	}{
		{"/x", map[string]any{}},
		{"/x?", map[string]any{}},
		{"/x?&&", map[string]any{}},
		{"/x?a=1", map[string]any{"a": []any{"1"}}},
		{"/x?a=1&b=2&a=3", map[string]any{"a": []any{"1", "3"}, "b": []any{"2"}}},
		{"/x?a=1&a=2&b=5&a=3&b=6&a=4", map[string]any{"a": []any{"1", "2", "3", "4"}, "b": []any{"5", "6"}}},
		{"/x?a&b=", map[string]any{"a": []any{""}, "b": []any{""}}},
		{"/x?a=b=c", map[string]any{"a": []any{"b=c"}}},
		{"/x?a=b+c%20d%2Be", map[string]any{"a": []any{"b c d+e"}}},
		{"/x?%72ole=admin&role=user", map[string]any{"role": []any{"admin", "user"}}},
		{"/x?a[]=1&a=2", map[string]any{"a[]": []any{"1"}, "a": []any{"2"}}},
		{"/x?Role=a&role=b", map[string]any{"Role": []any{"a"}, "role": []any{"b"}}},
		{"/x?a=1%26b=2", map[string]any{"a": []any{"1&b=2"}}},
		{"/x?a=1%3Bb", map[string]any{"a": []any{"1;b"}}},
		{"/x?a=%2561", map[string]any{"a": []any{"%61"}}}, // decoded once
		{"/x?a=http://h/p?q=1", map[string]any{"a": []any{"http://h/p?q=1"}}},
		{"/x?n=%C3%A9", map[string]any{"n": []any{"é"}}},
	} {
		var tgt target.Target
		if r := tgt.Parse(c.raw); r != target.OK {
			t.Fatalf("Parse(%q) = %v", c.raw, r)
		}
		q, r := tgt.Query()
		if r != target.OK {
			t.Errorf("Query() of %q = %v", c.raw, r)
			continue
		}
		if got := value.OfMapping(q.Lists()).Native(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: lists are %v, want %v", c.raw, got, c.want)
		}
		if q.Len() != len(c.want) || q.Lists().Len() != len(c.want) {
			t.Errorf("%q: %d names, want %d", c.raw, q.Len(), len(c.want))
		}
		for name, values := range c.want {
			list := values.([]any)
			first, count := q.Get(name)
			if first != list[0] || count != len(list) {
				t.Errorf("%q: Get(%q) = %q, %d", c.raw, name, first, count)
			}
		}
	}
}

// Whoever reads one value of a name that came twice gets an error: first-wins
// and last-wins backends would each see a different request.
func TestQueryDuplicates(t *testing.T) {
	var tgt target.Target
	tgt.Parse("/x?owner=me&size=1&%6fwner=you")
	q, r := tgt.Query()
	if r != target.OK {
		t.Fatal(r)
	}
	v, ok := q.Lookup("owner")
	var refusal *target.Refusal
	if !ok || !errors.As(v.Err(), &refusal) || refusal.Reason != target.QueryDuplicate || refusal.Name != "owner" || !strings.Contains(v.Err().Error(), `"owner"`) {
		t.Errorf("Lookup of a duplicate gives %v, %v", v, ok)
	}
	if v, ok := q.Lookup("size"); v.Str() != "1" || !ok {
		t.Errorf("Lookup = %v, %v", v, ok)
	}
	if v, ok := q.Lookup("absent"); ok || v.Kind() != value.Absent {
		t.Errorf("Lookup of an absent name = %v, %v", v, ok)
	}
	if _, n := q.Get("absent"); n != 0 {
		t.Errorf("Get counts %d of an absent name", n)
	}
	var names []string
	q.Range(func(name string, v value.Value) bool {
		names = append(names, name)
		if (v.Err() != nil) != (name == "owner") {
			t.Errorf("Range gives %s: %v", name, v)
		}
		return true
	})
	if !reflect.DeepEqual(names, []string{"owner", "size"}) {
		t.Errorf("Range gives the names %v", names)
	}
}

// The next request on the same Target sees nothing of the last one's query.
func TestQueryIsPerRequest(t *testing.T) {
	var tgt target.Target
	tgt.Parse("/x?role=admin")
	tgt.Query()
	tgt.Parse("/x")
	if q, r := tgt.Query(); r != target.OK || q.Len() != 0 {
		t.Errorf("a request without query has %v, %v", q, r)
	}
	tgt.Parse("/x?a=1;b")
	tgt.Query()
	tgt.Parse("/x?c=1")
	if q, r := tgt.Query(); r != target.OK || q.Len() != 1 {
		t.Errorf("after a refused query: %v, %v", q, r)
	}
}

func FuzzQuery(f *testing.F) {
	for _, a := range queryAttacks {
		f.Add(a.raw)
	}
	for _, s := range []string{"", "a=1&b=2&a=3", "a", "=", "&", "a=b+c", "%72ole=admin&role=user", "a[]=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		var tgt target.Target
		if tgt.Parse("/?"+raw) != target.OK {
			return
		}
		q, r := tgt.Query()
		if (r == target.OK) != (q != nil) {
			t.Fatalf("%q: %v, %v", raw, q, r)
		}
		// The standard library reads what is accepted in the same way.
		want, err := url.ParseQuery(raw)
		if r != target.OK {
			return
		}
		if err != nil {
			t.Fatalf("%q is accepted, but: %v", raw, err)
		}
		if q.Len() != len(want) {
			t.Fatalf("%q: %d names, want %v", raw, q.Len(), want)
		}
		q.Lists().Range(func(name string, v value.Value) bool {
			var got []string
			for i := range v.Sequence().Len() {
				got = append(got, v.Sequence().At(i).Str())
			}
			if !reflect.DeepEqual(got, want[name]) {
				t.Fatalf("%q: %q is %q, want %q", raw, name, got, want[name])
			}
			one, _ := q.Lookup(name)
			if (len(got) == 1) != (one.Kind() == value.String) || (len(got) > 1) != (one.Kind() == value.Error) {
				t.Fatalf("%q: %q occurs %d times and reads as %v", raw, name, len(got), one)
			}
			return true
		})
	})
}
