package catalogue

import (
	_ "embed" // for the data
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"edict/engine/diag"
)

// BaseURL is where the pages are published. The page of a code is BaseURL
// followed by the code.
const BaseURL = "https://edict.dev/docs/diagnostics/"

//go:embed catalogue.yaml
var data []byte

// A Catalogue holds the entries of all codes, sorted by code.
type Catalogue struct{ entries []Entry }

// An Entry is what is to be said about a code.
type Entry struct {
	Code     diag.Code
	Title    string
	Group    string // what the mistake is in: see Groups
	Severity diag.Severity
	Means    string // what is wrong, in a paragraph
	Why      string // why it is not let pass, in a paragraph

	// Example gives the code, and Mended gives nothing. Both are empty if
	// NoExample says why no file can show the mistake.
	Example, Mended []File
	NoExample       string
}

// A File is a file of an example.
type File struct {
	Name    string // relative to the folder of the example
	Content string
}

// A Group is a part of the index.
type Group struct{ Name, Title string }

// Groups gives the groups, in the order of the index.
func Groups() []Group {
	return []Group{
		{"yaml", "Any file: syntax"},
		{"shape", "Any file: shape"},
		{"policy", "Policies: fields"},
		{"compile", "Policies: as a whole"},
		{"lint", "Policies: warnings"},
		{"test", "Tests of policies"},
		{"route", "Route maps"},
		{"routetest", "Tests of routes"},
		{"openapi", "OpenAPI documents"},
		{"folder", "Folders"},
		{"config", "Configuration"},
		{"envoy", "Envoy, Istio and Envoy Gateway"},
	}
}

// Load reads the catalogue, which is part of the program.
func Load() (Catalogue, error) {
	var raw []struct {
		Code, Title, Group, Severity, Means, Why, Example, Mended string
		NoExample                                                 string `yaml:"noExample"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&raw); err != nil {
		return Catalogue{}, fmt.Errorf("the catalogue of diagnostics cannot be read: %w", err)
	}
	var c Catalogue
	for _, r := range raw {
		e := Entry{
			Code: diag.Code(r.Code), Title: r.Title, Group: r.Group,
			Means: paragraph(r.Means), Why: paragraph(r.Why),
			Example: files(r.Example), Mended: files(r.Mended), NoExample: paragraph(r.NoExample),
		}
		if r.Severity == diag.Warning.String() {
			e.Severity = diag.Warning
		}
		c.entries = append(c.entries, e)
	}
	slices.SortFunc(c.entries, func(a, b Entry) int { return strings.Compare(string(a.Code), string(b.Code)) })
	return c, nil
}

// paragraph joins the lines of a text of the data.
func paragraph(s string) string { return strings.Join(strings.Fields(s), " ") }

// files splits a text into its files. A line "-- name --" begins a file; a text
// without one is the file policy.yaml.
func files(text string) []File {
	if text == "" {
		return nil
	}
	if !strings.HasPrefix(text, "-- ") {
		return []File{{"policy.yaml", text}}
	}
	var out []File
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(trimmed, "-- "); ok && strings.HasSuffix(name, " --") {
			out = append(out, File{Name: strings.TrimSuffix(name, " --")})
			continue
		}
		out[len(out)-1].Content += line
	}
	return out
}

// Entries gives all entries, sorted by code.
func (c Catalogue) Entries() []Entry { return slices.Clone(c.entries) }

// Entry gives the entry of a code.
func (c Catalogue) Entry(code diag.Code) (Entry, bool) {
	i, found := slices.BinarySearchFunc(c.entries, code, func(e Entry, code diag.Code) int {
		return strings.Compare(string(e.Code), string(code))
	})
	if !found {
		return Entry{}, false
	}
	return c.entries[i], true
}

// Codes gives the codes, sorted.
func (c Catalogue) Codes() []string {
	codes := make([]string, len(c.entries))
	for i, e := range c.entries {
		codes[i] = string(e.Code)
	}
	return codes
}

// URL gives the address of the published page.
func (e Entry) URL() string { return BaseURL + string(e.Code) }

// Markdown gives the page of the entry.
func (e Entry) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s: %s\n\n%s\n\n**Why it matters.** %s\n", e.Code, capitalised(e.Severity.String()), e.Title, wrap(e.Means), wrap(e.Why))
	if e.NoExample != "" {
		fmt.Fprintf(&b, "\n## No example\n\n%s\n", wrap(e.NoExample))
		return b.String()
	}
	b.WriteString("\n## Example\n")
	fences(&b, e.Example)
	b.WriteString("\n## Mended\n")
	fences(&b, e.Mended)
	return b.String()
}

func fences(b *strings.Builder, files []File) {
	for _, f := range files {
		lang := "yaml"
		if strings.HasSuffix(f.Name, ".json") {
			lang = "json"
		}
		fmt.Fprintf(b, "\n`%s`\n\n```%s\n%s```\n", f.Name, lang, f.Content)
	}
}

// Plain gives the page of the entry for a terminal.
func (e Entry) Plain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n%s\n\n%s\n\nWhy it matters: %s\n", e.Code, e.Title, e.Severity, wrap(e.Means), wrap(e.Why))
	if e.NoExample != "" {
		fmt.Fprintf(&b, "\nNo example: %s\n", wrap(e.NoExample))
		return b.String()
	}
	for _, part := range []struct {
		title string
		files []File
	}{{"Example", e.Example}, {"Mended", e.Mended}} {
		for _, f := range part.files {
			fmt.Fprintf(&b, "\n%s, %s:\n\n", part.title, f.Name)
			for line := range strings.Lines(f.Content) {
				b.WriteString("    " + line)
			}
		}
	}
	return b.String()
}

// indexHead is the text above the lists of the index.
const indexHead = `# Diagnostics

Every mistake that Edict reports has a code, in brackets behind the message. Codes are
stable, so scripts may match them.

    edict compile policies --routes routes        what is wrong, for a person
    edict compile policies --format json          in the JSON of cerbos compile
    edict compile policies --format sarif         for code scanning
    edict compile policies --format github        for GitHub Actions
    edict compile --explain unknown-import        a page of this folder

The exit status is 0 if all is well, 2 for wrong usage, 3 if something does not compile (with
--werror, also if there are warnings), and 4 if tests of the policies failed. A warning is
silenced by a comment that says why: # edict:ignore CODE reason.

The JSON has the names and the nesting of Cerbos: lintErrors, compileErrors, suites, summary.
Beside them Edict writes routeErrors and, if --warnings is given, warnings, lists like
compileErrors. Each mistake also has code, severity, hint, docs, related, and place: position is the field that
holds the mistake, as in Cerbos, and place is where in it the mistake is.
`

// Index gives the page that lists all codes.
func (c Catalogue) Index() string {
	var b strings.Builder
	b.WriteString(indexHead)
	for _, g := range Groups() {
		rows := ""
		for _, e := range c.entries {
			if e.Group == g.Name {
				rows += fmt.Sprintf("| [`%s`](%s.md) | %s | %s |\n", e.Code, e.Code, e.Severity, e.Title)
			}
		}
		if rows != "" {
			fmt.Fprintf(&b, "\n## %s\n\n| code | severity | what it says |\n| --- | --- | --- |\n%s", g.Title, rows)
		}
	}
	return b.String()
}

func capitalised(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// wrap breaks a paragraph into lines that read well in a terminal.
func wrap(s string) string {
	const width = 88
	var b strings.Builder
	n := 0
	for _, word := range strings.Fields(s) {
		switch length := len([]rune(word)); {
		case n == 0:
			n = length
		case n+1+length > width:
			b.WriteByte('\n')
			n = length
		default:
			b.WriteByte(' ')
			n += 1 + length
		}
		b.WriteString(word)
	}
	return b.String()
}
