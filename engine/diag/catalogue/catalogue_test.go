package catalogue_test

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/diag/catalogue"
)

var update = flag.Bool("update", false, "write the pages below docs/diagnostics anew")

const (
	root  = "../../.."
	pages = root + "/docs/diagnostics"
)

func load(t *testing.T) catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEntries(t *testing.T) {
	var groups []string
	for _, g := range catalogue.Groups() {
		groups = append(groups, g.Name)
	}
	seen := map[diag.Code]bool{}
	for _, e := range load(t).Entries() {
		if seen[e.Code] {
			t.Errorf("%s is there twice", e.Code)
		}
		seen[e.Code] = true
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(string(e.Code)) || !slices.Contains(groups, e.Group) {
			t.Errorf("%q is in the group %q", e.Code, e.Group)
		}
		if e.Title == "" || strings.HasSuffix(e.Title, ".") || strings.ToUpper(e.Title[:1]) == e.Title[:1] && !strings.HasPrefix(e.Title, "--") {
			t.Errorf("%s: the title is %q", e.Code, e.Title)
		}
		for _, text := range []string{e.Means, e.Why} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is no sentence", e.Code, text)
			}
		}
		if (e.NoExample == "") != (len(e.Example) > 0 && len(e.Mended) > 0) || (e.NoExample != "") != (len(e.Example)+len(e.Mended) == 0) {
			t.Errorf("%s has %d and %d files of examples, and says %q", e.Code, len(e.Example), len(e.Mended), e.NoExample)
		}
		if e.Group == "lint" && e.Severity != diag.Warning {
			t.Errorf("%s is a warning by its group, and an error by its severity", e.Code)
		}
	}
}

// Every code that the source defines has an entry, and the other way round.
func TestEntriesAreOfTheCodes(t *testing.T) {
	defined := codes(t)
	c := load(t)
	for code, where := range defined {
		if _, ok := c.Entry(diag.Code(code)); !ok {
			t.Errorf("%s: the code %q has no entry in catalogue.yaml", where, code)
		}
	}
	for _, code := range c.Codes() {
		if defined[code] == "" {
			t.Errorf("the entry %q is of no code", code)
		}
	}
}

// codes gives the codes that constants of the source define, and where.
func codes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || spec.Type == nil {
				return true
			}
			named, _ := spec.Type.(*ast.SelectorExpr)
			if named == nil || named.Sel.Name != "Code" {
				return true
			}
			if x, _ := named.X.(*ast.Ident); x == nil || x.Name != "diag" {
				return true
			}
			for _, v := range spec.Values {
				if literal, ok := v.(*ast.BasicLit); ok {
					if code, err := strconv.Unquote(literal.Value); err == nil {
						found[code] = files.Position(literal.Pos()).String()
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 50 {
		t.Fatalf("only %d codes were found", len(found))
	}
	return found
}

// The pages are those that the entries give, no more and no fewer.
func TestPages(t *testing.T) {
	c := load(t)
	want := map[string]string{"index.md": c.Index()}
	for _, e := range c.Entries() {
		want[string(e.Code)+".md"] = e.Markdown()
	}
	have, err := filepath.Glob(pages + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		for _, page := range have {
			if want[filepath.Base(page)] == "" {
				if err := os.Remove(page); err != nil {
					t.Fatal(err)
				}
			}
		}
		for name, content := range want {
			if err := os.WriteFile(filepath.Join(pages, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	const mend = "go test ./engine/diag/catalogue -update writes the pages anew"
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(pages, name)); err != nil || string(got) != content {
			t.Errorf("docs/diagnostics/%s is not what the catalogue gives; %s", name, mend)
		}
	}
	for _, page := range have {
		if want[filepath.Base(page)] == "" {
			t.Errorf("docs/diagnostics/%s belongs to no entry; %s", filepath.Base(page), mend)
		}
	}
}

func TestPlainAndMarkdownTellTheSame(t *testing.T) {
	for _, e := range load(t).Entries() {
		plain, markdown := e.Plain(), e.Markdown()
		for _, text := range []string{string(e.Code), e.Title, e.Severity.String()} {
			if !strings.Contains(plain, text) || !strings.Contains(strings.ToLower(markdown), strings.ToLower(text)) {
				t.Errorf("%s: a page lacks %q", e.Code, text)
			}
		}
		for _, f := range append(slices.Clone(e.Example), e.Mended...) {
			if !strings.Contains(markdown, f.Content) || !strings.Contains(plain, "    "+strings.SplitAfter(f.Content, "\n")[0]) {
				t.Errorf("%s: a page lacks %s", e.Code, f.Name)
			}
		}
	}
}
