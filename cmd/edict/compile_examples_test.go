package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"edict/engine/diag"
	"edict/engine/diag/catalogue"
)

// Each example of the catalogue gives its code and no other, and its mended
// form gives nothing.
func TestExamplesOfTheCatalogue(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, in which the race detector, which runs with -short, has nothing to find; the run without it tries this")
	}
	pages, err := catalogue.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range pages.Entries() {
		if e.NoExample != "" {
			continue
		}
		t.Run(string(e.Code), func(t *testing.T) {
			if got, out := codesOf(t, e, e.Example); !slices.Equal(got, []string{string(e.Code)}) {
				t.Errorf("the example gives %q:\n%s", got, out)
			}
			if got, out := codesOf(t, e, e.Mended); len(got) > 0 {
				t.Errorf("the mended form gives %q:\n%s", got, out)
			}
		})
	}
}

// codeOfLine finds the code of a line that tells a mistake: one that begins with
// a file, or with anything else that has a colon behind it.
var codeOfLine = regexp.MustCompile(`(?m)^[│├└─ ]*(?:\s*\S+\.(?:yaml|json):|\S+: ).* \[([a-z-]+)\]$`)

// codesOf gives the codes that `edict compile`, or what else the group of an entry
// is about, gives for files, each once, and all it said. The configuration is in
// edict.yaml, route maps are below routes.
func codesOf(t *testing.T, e catalogue.Entry, files []catalogue.File) ([]string, string) {
	t.Helper()
	group := e.Group
	dir := tempDir(t)
	if group == "routetest" {
		for _, f := range files {
			write(t, dir, f.Name, f.Content)
		}
		write(t, dir, "policies/album.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy: {resource: album, version: default}\n")
		write(t, dir, "routes/albums.yaml", "apiVersion: edict.dev/v1\nrouteMap: {name: albums, routes: []}\n")
		_, stdout, stderr := command(nil, "test", filepath.Join(dir, "policies"), "--routes", filepath.Join(dir, "routes"))
		return codesIn(stdout + stderr)
	}
	if group == "envoy" {
		return codesOfProxy(t, dir, files)
	}
	if group == "openapi" {
		return codesOfOpenAPI(t, dir, files)
	}
	args := []string{"compile", filepath.Join(dir, "policies")}
	if e.Severity != diag.Warning {
		args = append(args, "--warnings=false")
	}
	if group != "test" {
		args = append(args, "--skip-tests")
	}
	for _, f := range files {
		switch {
		case f.Name == "edict.yaml":
			write(t, dir, f.Name, f.Content)
			args = append(args, "--config", filepath.Join(dir, f.Name))
		case strings.HasPrefix(f.Name, "routes/"):
			write(t, dir, f.Name, f.Content)
			if !slices.Contains(args, "--routes") {
				args = append(args, "--routes", filepath.Join(dir, "routes"))
			}
		default:
			write(t, dir, "policies", f.Name, f.Content)
		}
	}
	write(t, dir, "policies", "README", "so that there is a folder")
	_, stdout, stderr := command(nil, args...)
	return codesIn(stdout + stderr)
}

// codesOfOpenAPI makes a route map of openapi.yaml, or compares the two if the
// example has a route map.
func codesOfOpenAPI(t *testing.T, dir string, files []catalogue.File) ([]string, string) {
	t.Helper()
	document := filepath.Join(dir, "openapi.yaml")
	args := []string{"routes", "from-openapi", document}
	for _, f := range files {
		write(t, dir, f.Name, f.Content)
		if strings.HasPrefix(f.Name, "routes/") {
			args = []string{"routes", "check", "--openapi", document, "--routes", filepath.Join(dir, "routes"), "--policies", filepath.Join(dir, "policies")}
		}
	}
	_, stdout, stderr := command(nil, args...)
	return codesIn(stdout + stderr)
}

// codesOfProxy judges configurations of proxies.
func codesOfProxy(t *testing.T, dir string, files []catalogue.File) ([]string, string) {
	t.Helper()
	args := []string{"envoy-config", "lint"}
	for _, f := range files {
		write(t, dir, f.Name, f.Content)
		args = append(args, filepath.Join(dir, f.Name))
	}
	_, stdout, stderr := command(nil, args...)
	return codesIn(stdout + stderr)
}

// codesIn gives the codes of what a command said, each once, and all it said.
func codesIn(said string) ([]string, string) {
	var codes []string
	for _, m := range codeOfLine.FindAllStringSubmatch(said, -1) {
		codes = append(codes, m[1])
	}
	slices.Sort(codes)
	return slices.Compact(codes), said
}
