package strictjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

var limits = Limits{Depth: 4, Tokens: 20}

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, text, refused string }{
		{"all kinds", `{"a": [null, true, false, -1.5e3, "x\u00e9"], "b": {}}`, ""},
		{"a scalar", ` 1 `, ""},
		{"as deep as allowed", `[[[[]]]]`, ""},
		{"the largest integer", `9007199254740991`, ""},
		{"too deep", `[[[[[]]]]]`, "too deep"},
		{"too many values", `[` + strings.Repeat("1,", 30) + `1]`, "too many values"},
		{"a name twice", `{"a":1,"a":2}`, "duplicate"},
		{"a name twice, once escaped", `{"a":1,"\u0061":2}`, "duplicate"},
		{"names in another case are others", `{"a":1,"A":2}`, ""},
		{"two values", `{} {}`, "follows"},
		{"a comma behind", `[1],`, "follows"},
		{"nothing", ``, "EOF"},
		{"cut off", `{"a":`, "EOF"},
		{"a number that is not exact", `9007199254740993`, "too large"},
		{"a huge number", `1e999`, "too large"},
		{"no UTF-8", "\"\xff\"", "UTF-8"},
		{"half a surrogate pair", `"\ud800"`, "surrogate"},
		{"a byte order mark", "\ufeff{}", "invalid"},
		{"NaN", `NaN`, "invalid"},
		{"a comment", `{} // x`, "follows"},
		{"a leading zero", `01`, "follows"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := Parse([]byte(test.text), limits)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("got %v, %v; want an error about %q", v.Native(), err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want any
			if err := json.Unmarshal([]byte(test.text), &want); err != nil {
				t.Fatal(err)
			}
			if got := v.Native(); !reflect.DeepEqual(got, want) {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

// What is taken means to encoding/json what it means here.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"a":[1,"b",null,true]}`, `{"a":1,"\u0061":2}`, `1e999`, `"\ud800"`, "\"\xff\"", `[[[[[[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Parse(text, Limits{Depth: 64, Tokens: 2000})
		if err != nil {
			return
		}
		var want any
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q is taken, and encoding/json says %v", text, err)
		}
		if got := v.Native(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %#v, want %#v", text, got, want)
		}
	})
}
