package report_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/diag/catalogue"
	"edict/engine/diag/report"
)

var list = diag.List{
	{Message: "there are no policies", Code: "no-policies"},
	{Pos: diag.Position{File: "dir/a b.yaml", Line: 3, Column: 7}, Code: "unknown-field", Message: `unknown field "rolez"`,
		Hint: `did you mean "roles"?`, Source: "      rolez: [ü, x]", Related: []diag.Related{{Pos: diag.Position{File: "dir/b.yaml", Line: 1}, Message: "100% here"}}},
	{Pos: diag.Position{File: "/abs/c:d,e.yaml"}, Severity: diag.Warning, Code: "not-in-the-catalogue", Message: "a::b\r\n::error::100%"},
}

func TestGitHub(t *testing.T) {
	var b bytes.Buffer
	if err := report.GitHub(&b, list); err != nil {
		t.Fatal(err)
	}
	want := `::error title=no-policies::there are no policies
::error file=dir/a b.yaml,line=3,col=7,title=unknown-field::unknown field "rolez"%0Adir/b.yaml:1: 100%25 here%0Ahint: did you mean "roles"?
::warning file=/abs/c%3Ad%2Ce.yaml,title=not-in-the-catalogue::a::b%0D%0A::error::100%25
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// The log has what the schema of SARIF 2.1.0 requires, and what code scanning
// needs to show a result beside its line.
func TestSARIF(t *testing.T) {
	pages, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.SARIF(&b, list, "v1", pages); err != nil {
		t.Fatal(err)
	}
	var log map[string]any
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log["runs"].([]any)[0].(map[string]any)
	driver := run["tool"].(map[string]any)["driver"].(map[string]any)
	if log["version"] != "2.1.0" || driver["name"] != "edict" || driver["version"] != "v1" || run["columnKind"] != "unicodeCodePoints" {
		t.Errorf("got %v, %v, %v", log["version"], driver, run["columnKind"])
	}
	rules := driver["rules"].([]any)
	results := run["results"].([]any)
	if len(rules) != 3 || len(results) != len(list) {
		t.Fatalf("got %d rules and %d results", len(rules), len(results))
	}
	for i, r := range results {
		result := r.(map[string]any)
		rule := rules[int(result["ruleIndex"].(float64))].(map[string]any)
		if rule["id"] != result["ruleId"] || rule["id"] != string(list[i].Code) {
			t.Errorf("result %d is of the rule %v", i, rule["id"])
		}
		if result["level"] != list[i].Severity.String() || !strings.HasPrefix(result["message"].(map[string]any)["text"].(string), list[i].Message) {
			t.Errorf("got %v", result)
		}
	}
	for _, r := range rules {
		rule := r.(map[string]any)
		if rule["id"] == "not-in-the-catalogue" {
			continue
		}
		u, err := url.Parse(rule["helpUri"].(string))
		if err != nil || !u.IsAbs() || !strings.HasSuffix(u.Path, "/"+rule["id"].(string)) {
			t.Errorf("the help of %v is at %v", rule["id"], rule["helpUri"])
		}
		help := rule["help"].(map[string]any)
		if help["text"] == "" || !strings.HasPrefix(help["markdown"].(string), "# ") || rule["shortDescription"].(map[string]any)["text"] == "" {
			t.Errorf("got %v", rule)
		}
	}
	where := func(i int) (map[string]any, map[string]any) {
		locations, _ := results[i].(map[string]any)["locations"].([]any)
		if len(locations) == 0 {
			return nil, nil
		}
		p := locations[0].(map[string]any)["physicalLocation"].(map[string]any)
		region, _ := p["region"].(map[string]any)
		return p["artifactLocation"].(map[string]any), region
	}
	if artifact, _ := where(0); artifact != nil {
		t.Errorf("what is about no file is at %v", artifact)
	}
	artifact, region := where(1)
	if artifact["uri"] != "dir/a%20b.yaml" || artifact["uriBaseId"] != "%SRCROOT%" || region["startLine"] != 3.0 || region["startColumn"] != 7.0 {
		t.Errorf("got %v, %v", artifact, region)
	}
	artifact, region = where(2)
	if artifact["uri"] != "file:///abs/c:d,e.yaml" || region != nil {
		t.Errorf("got %v, %v", artifact, region)
	}
	related := results[1].(map[string]any)["relatedLocations"].([]any)
	if len(related) != 1 || related[0].(map[string]any)["message"].(map[string]any)["text"] != "100% here" {
		t.Errorf("got %v", related)
	}
}

// With nothing to tell there is still a run, with lists that are empty.
func TestSARIFOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := report.SARIF(&b, nil, "v1", catalogue.Catalogue{}); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.Contains(s, `"results": []`) || !strings.Contains(s, `"rules": []`) {
		t.Errorf("got %s", s)
	}
}
