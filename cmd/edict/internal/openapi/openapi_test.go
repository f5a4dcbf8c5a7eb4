package openapi_test

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"edict/cmd/edict/internal/openapi"
	"edict/engine/diag"
	"edict/extauthz/routemap"
)

const head = "openapi: 3.1.0\ninfo: {title: A shop, version: '1'}\n"

type document struct {
	Name     string
	Document string
	Options  struct {
		Name   string
		Hosts  []string
		Prefix *string
	}
	Routes, Head string
	Problems     []string
}

func documents(t testing.TB) []document {
	t.Helper()
	content, err := os.ReadFile("testdata/documents.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []document
	decoder := yaml.NewDecoder(strings.NewReader(string(content)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGenerate(t *testing.T) {
	for _, d := range documents(t) {
		t.Run(d.Name, func(t *testing.T) {
			made, list := openapi.Generate("api.yaml", []byte(head+d.Document), openapi.Options{Name: d.Options.Name, Hosts: d.Options.Hosts, Prefix: d.Options.Prefix})
			var problems []string
			for _, p := range list {
				problems = append(problems, fmt.Sprintf("%d:%d %s", p.Pos.Line, p.Pos.Column, p.Code))
			}
			slices.Sort(problems)
			slices.Sort(d.Problems)
			if !slices.Equal(problems, d.Problems) {
				t.Fatalf("the problems are %q, want %q\n%s", problems, d.Problems, list.Render())
			}
			if len(list) > 0 {
				if made != nil {
					t.Error("there is a route map, too")
				}
				return
			}
			var got struct {
				RouteMap map[string]any `yaml:"routeMap"`
			}
			if err := yaml.Unmarshal(made.Content, &got); err != nil {
				t.Fatal(err)
			}
			if _, list := routemap.Parse("made.yaml", made.Content); len(list) > 0 {
				t.Error(list)
			}
			if d.Routes != "" {
				var want []any
				if err := yaml.Unmarshal([]byte(d.Routes), &want); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got.RouteMap["routes"], any(want)) {
					t.Errorf("the routes are\n%s", made.Content)
				}
			}
			if d.Head != "" {
				var want map[string]any
				if err := yaml.Unmarshal([]byte(d.Head), &want); err != nil {
					t.Fatal(err)
				}
				delete(got.RouteMap, "routes")
				if !reflect.DeepEqual(got.RouteMap, want) {
					t.Errorf("the route map begins\n%s", made.Content)
				}
			}
		})
	}
}

// What a document makes has not drifted from it; what is changed has.
func TestDrift(t *testing.T) {
	const paths = `paths:
  /orders: {get: {operationId: list, x-edict: {resource: {kind: order}}}}
  /orders/{id}: {get: {operationId: read, summary: Read, x-edict: {resource: {kind: order}}}}
`
	made, list := openapi.Generate("api.yaml", []byte(head+paths), openapi.Options{})
	if len(list) > 0 {
		t.Fatal(list)
	}
	text := string(made.Content)
	swapped := func() string {
		before, routes, _ := strings.Cut(text, "  routes:\n")
		first, second, _ := strings.Cut(routes, "    - name: read\n")
		return before + "  routes:\n    - name: read\n" + second + first
	}
	for _, c := range []struct {
		name, content string
		want          []string
	}{
		{"nothing", text, nil},
		{"a description", strings.Replace(text, "description: Read", "description: Of old", 1), nil},
		{"the order", swapped(), nil},
		{"an action", strings.Replace(text, "action: read", "action: view", 1), []string{"openapi-drift-changed action of the route read"}},
		{"an id", strings.Replace(text, "expr: path.id", "expr: path.uid", 1), []string{"openapi-drift-changed resource.id.expr of the route read"}},
		{"more", strings.Replace(text, "action: read", "action: read\n      anonymous: true", 1), []string{"openapi-drift-changed anonymous of the route read"}},
		{"a name", strings.Replace(text, "name: list", "name: all", 1), []string{"openapi-drift-extra the document has no operation for the route all", "openapi-drift-missing GET /orders has no route list"}},
		{"hosts", strings.Replace(text, "  routes:", "  hosts: [a.example]\n  routes:", 1), []string{"openapi-drift-changed hosts of the route map A-shop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "nothing" && c.content == text {
				t.Fatal("nothing was changed")
			}
			list := openapi.Drift(made, "api.yaml", "routes.yaml", []byte(c.content))
			var got []string
			for _, d := range list {
				got = append(got, string(d.Code)+" "+d.Message)
				if d.Pos.Line == 0 || d.Hint == "" {
					t.Errorf("%s lacks a place or a mend", d.Error())
				}
			}
			slices.Sort(got)
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], c.want[i]) {
					t.Errorf("got %q, want %q", got[i], c.want[i])
				}
			}
		})
	}
}

// Whatever a document holds, the answer is a route map that can be read, or
// diagnostics, never both and never neither.
func FuzzGenerate(f *testing.F) {
	for _, d := range documents(f) {
		f.Add([]byte(head + d.Document))
	}
	f.Add([]byte(`{"openapi": "3.1.0", "paths": {"/a": {"get": {"x-edict": {"public": true}}}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		made, list := openapi.Generate("api.yaml", content, openapi.Options{})
		if (made == nil) != (len(list) > 0) {
			t.Fatalf("%v and %v", made, list)
		}
		if made == nil {
			return
		}
		if _, list := routemap.Parse("made.yaml", made.Content); len(list) > 0 {
			t.Fatalf("%v\n%s", list, made.Content)
		}
		if list := openapi.Drift(made, "api.yaml", "made.yaml", made.Content); len(list) > 0 {
			t.Fatalf("it drifts from itself: %v", list)
		}
		var pos diag.Position
		for _, r := range made.Routes {
			if r.Pos == pos {
				t.Fatal("two routes have one place")
			}
			pos = r.Pos
		}
	})
}
