package xfcc_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"edict/extauthz/xfcc"
)

// A sample is a header, and what it says or what is wrong with it.
type sample struct {
	Name     string
	Header   string
	Error    string // a part of it
	Elements []struct {
		By                         []string
		Hash, Cert, Chain, Subject string
		URI                        []string `yaml:"uri"`
		DNS                        []string `yaml:"dns"`
	}
}

func samples(t testing.TB) (out []sample) {
	t.Helper()
	b, err := os.ReadFile("testdata/headers.yaml")
	if err == nil {
		err = yaml.Unmarshal(b, &out)
	}
	if err != nil || len(out) < 30 {
		t.Fatalf("%d samples, %v", len(out), err)
	}
	return out
}

func TestParse(t *testing.T) {
	for _, s := range samples(t) {
		got, err := xfcc.Parse(s.Header)
		switch {
		case s.Error != "":
			if err == nil || !strings.Contains(err.Error(), s.Error) || got != nil {
				t.Errorf("%s: got %v, %v; want an error with %q", s.Name, got, err, s.Error)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		var want []xfcc.Element
		for _, e := range s.Elements {
			want = append(want, xfcc.Element{By: e.By, Hash: e.Hash, Cert: e.Cert, Chain: e.Chain, Subject: e.Subject, URI: e.URI, DNS: e.DNS})
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", s.Name, got, want)
		}
	}
}

// write gives the header that says what elements do, as a proxy that quotes
// everything would write it.
func write(elements []xfcc.Element) string {
	var out []string
	for _, e := range elements {
		var pairs []string
		add := func(key, value string) {
			value = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value)
			pairs = append(pairs, key+`="`+value+`"`)
		}
		for _, by := range e.By {
			add("By", by)
		}
		add("Hash", e.Hash)
		add("Cert", e.Cert)
		add("Chain", e.Chain)
		add("Subject", e.Subject)
		for _, uri := range e.URI {
			add("URI", uri)
		}
		for _, dns := range e.DNS {
			add("DNS", dns)
		}
		out = append(out, strings.Join(pairs, ";"))
	}
	return strings.Join(out, ",")
}

// What is read can be written and is then read as the same; and an element that
// a proxy adds changes nothing about those that are there.
func FuzzParse(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.Header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := xfcc.Parse(header)
		if err != nil {
			if got != nil {
				t.Fatalf("%q: both %v and %v", header, got, err)
			}
			return
		}
		if len(got) == 0 || len(got) > xfcc.MaxElements {
			t.Fatalf("%q: %d elements", header, len(got))
		}
		again, err := xfcc.Parse(write(got))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q: got %+v, and written again %+v, %v", header, got, again, err)
		}
		if len(got) == xfcc.MaxElements {
			return
		}
		more, err := xfcc.Parse(header + ",By=spiffe://own.test/proxy;Hash=00;URI=spiffe://own.test/peer")
		if err != nil || !reflect.DeepEqual(more[:len(more)-1], got) || more[len(more)-1].URI[0] != "spiffe://own.test/peer" {
			t.Fatalf("%q: with one more element: %+v, %v", header, more, err)
		}
	})
}
