package spiffe_test

import (
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"edict/extauthz/spiffe"
)

type samples struct {
	Sound    []struct{ ID, Namespace, Account string }
	Refused  []string
	Patterns []struct {
		Pattern string
		Match   []string
		Others  []string
	}
	RefusedPatterns []string `yaml:"refusedPatterns"`
}

func load(t testing.TB) (out samples) {
	t.Helper()
	b, err := os.ReadFile("testdata/ids.yaml")
	if err == nil {
		err = yaml.Unmarshal(b, &out)
	}
	if err != nil || len(out.Refused) < 20 || len(out.Patterns) < 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	return out
}

func TestParseID(t *testing.T) {
	s := load(t)
	for _, want := range s.Sound {
		id, err := spiffe.ParseID(want.ID)
		if err != nil || id.String() != want.ID {
			t.Errorf("%s: got %v, %v", want.ID, id, err)
			continue
		}
		if namespace, account, ok := spiffe.Kubernetes(id); namespace != want.Namespace || account != want.Account || ok != (want.Account != "") {
			t.Errorf("%s: namespace %q, account %q", want.ID, namespace, account)
		}
	}
	for _, text := range append(s.Refused, "spiffe://prod.test/"+strings.Repeat("a", 2048)) {
		if id, err := spiffe.ParseID(text); err == nil {
			t.Errorf("%q: read as %v", text, id)
		}
	}
}

func TestPatterns(t *testing.T) {
	s := load(t)
	for _, tt := range s.Patterns {
		p, err := spiffe.ParsePattern(tt.Pattern)
		if err != nil {
			t.Errorf("%s: %v", tt.Pattern, err)
			continue
		}
		for i, text := range append(tt.Match, tt.Others...) {
			id, err := spiffe.ParseID(text)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := p.Match(id), i < len(tt.Match); got != want {
				t.Errorf("%s matches %s: %v", tt.Pattern, text, got)
			}
		}
	}
	for _, text := range s.RefusedPatterns {
		if p, err := spiffe.ParsePattern(text); err == nil {
			t.Errorf("%q: read as %v", text, p)
		}
	}
}

func TestTrustDomains(t *testing.T) {
	for name, sound := range map[string]bool{
		"prod.test": true, "a": true, "": false, "spiffe://prod.test": false, "Prod.test": false, "*.test": false, "a/b": false, "a:1": false,
	} {
		if err := spiffe.CheckTrustDomain(name); (err == nil) != sound {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// An ID that is read is written as it was, stands for itself as a pattern, and
// is no other's.
func FuzzParseID(f *testing.F) {
	s := load(f)
	for _, want := range s.Sound {
		f.Add(want.ID)
	}
	for _, text := range s.Refused {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := spiffe.ParseID(text)
		if err != nil {
			return
		}
		rest := strings.TrimPrefix(text, "spiffe://")
		if id.String() != text || rest == text || strings.ContainsAny(rest, ":?#%\\ @,;=\"\x00") || strings.Contains(rest, "//") {
			t.Fatalf("%q: read as %v", text, id)
		}
		p, err := spiffe.ParsePattern(text)
		if err != nil || !p.Match(id) {
			t.Fatalf("%q: does not match itself: %v", text, err)
		}
		if longer, err := spiffe.ParseID(text + "x"); err == nil && p.Match(longer) {
			t.Fatalf("%q matches %v", text, longer)
		}
	})
}
