package routetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"edict/cmd/edict/internal/envoycheck"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// The diagnostics that reading a route test can give, beside those of yamldoc.
const (
	// BadAPIVersion is for an apiVersion other than that of route maps.
	BadAPIVersion diag.Code = "route-test-api-version"

	// Empty is for a file without tests, or a test that expects nothing.
	Empty diag.Code = "route-test-empty"

	// UnknownIdentity is for a request as somebody that the file does not have.
	UnknownIdentity diag.Code = "route-test-identity"

	// BadRequest is for a request that Envoy could not send.
	BadRequest diag.Code = "route-test-request"

	// BadExpectation is for an expectation that no answer can meet.
	BadExpectation diag.Code = "route-test-expectation"
)

// A File is one file of tests.
type File struct {
	Name        string // of the file, below the folder
	Title       string
	Description string
	Skip        bool
	SkipReason  string
	Clock       time.Time // what now() gives; zero: the present
	Tests       []Test

	Problems diag.List // why it can't be run; if there are any, there are no Tests
}

// A Test is one request and what is expected of the answer.
type Test struct {
	Pos        diag.Position
	Name       string
	Skip       bool
	SkipReason string
	As         string // name of the identity; empty: nobody's
	Request    envoycheck.Request
	Identity   *Identity
	Recorded   *envoycheck.Record // in place of the request

	Expect   map[string]any // by name
	expected map[string]diag.Position
	order    []string // of the file
}

// An Identity is who asks, as the sources of identity get to know it.
type Identity struct {
	Source    string         // name of the source of tokens; empty: the first one
	Claims    map[string]any // that the source found, or verified
	Principal string         // of the certificate
	Headers   []string       // "Name: value"
}

// Find reads the tests of a folder of route maps: files called *_test.yaml,
// .yml or .json outside of folders called testdata. The name stands before the
// paths in diagnostics.
func Find(fsys fs.FS, name string) ([]*File, error) {
	var out []*File
	err := fs.WalkDir(fsys, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		base := strings.TrimSuffix(file, path.Ext(file))
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(file)) || !strings.HasSuffix(base, "_test") {
			return nil
		}
		content, err := fs.ReadFile(fsys, file)
		if err != nil {
			return err
		}
		beside := func(name string) ([]byte, error) { return fs.ReadFile(fsys, path.Join(path.Dir(file), name)) }
		f := Parse(path.Join(name, file), content, beside)
		f.Name = file
		out = append(out, f)
		return nil
	})
	return out, err
}

// Parse reads a file of tests. Beside reads a file that it names.
func Parse(file string, content []byte, beside func(string) ([]byte, error)) *File {
	p := &parser{doc: yamldoc.Parse(file, content), beside: beside, out: &File{Name: file, Title: file}, identities: map[string]*Identity{}}
	if root, ok := p.doc.Root(); ok {
		p.file(root)
	} else if len(p.doc.Diagnostics()) == 0 {
		p.doc.Report(diag.Position{File: file}, Empty, "the file is empty", "a test of routes has apiVersion, and routeTest with tests")
	}
	if p.out.Problems = p.doc.Diagnostics(); len(p.out.Problems) > 0 {
		p.out.Tests = nil
	}
	return p.out
}

type parser struct {
	doc        *yamldoc.Document
	beside     func(string) ([]byte, error)
	out        *File
	identities map[string]*Identity
}

func (p *parser) file(root yamldoc.Node) {
	envelope, ok := root.Object("apiVersion", "routeTest", "$schema")
	if !ok {
		return
	}
	if n, ok := envelope.Required("apiVersion"); ok {
		if t, ok := n.Text(); ok && t.Value != routemap.APIVersion {
			n.Report(BadAPIVersion, fmt.Sprintf("the apiVersion of a test of routes is %s, not %q", routemap.APIVersion, t.Value), "write apiVersion: "+routemap.APIVersion)
		}
	}
	body, ok := envelope.Required("routeTest")
	if !ok {
		return
	}
	o, ok := body.Object("name", "description", "skip", "skipReason", "clock", "identities", "tests")
	if !ok {
		return
	}
	p.out.Title = cmp.Or(text(o, "name"), p.out.Title)
	p.out.Description = text(o, "description")
	p.out.Skip, p.out.SkipReason = flag(o, "skip"), text(o, "skipReason")
	if n, ok := o.Field("clock"); ok {
		if t, ok := n.Text(); ok {
			at, err := time.Parse(time.RFC3339Nano, t.Value)
			if err != nil {
				n.Report(BadExpectation, fmt.Sprintf("%q is not an instant", t.Value), "write it as in 2026-03-02T10:00:00Z")
			}
			p.out.Clock = at
		}
	}
	if n, ok := o.Field("identities"); ok {
		entries, _ := n.Entries()
		for _, e := range entries {
			p.identities[e.Key.Value] = p.identity(e.Value)
		}
	}
	n, ok := o.Required("tests")
	if !ok {
		return
	}
	tests, ok := n.List()
	if ok && len(tests) == 0 {
		n.Report(Empty, "there are no tests", "add one, or remove the file")
	}
	for _, n := range tests {
		p.test(n)
	}
}

func (p *parser) identity(n yamldoc.Node) *Identity {
	id := new(Identity)
	o, ok := n.Object("source", "claims", "principal", "headers")
	if !ok {
		return id
	}
	id.Source = text(o, "source")
	id.Principal = text(o, "principal")
	id.Headers = headers(o)
	if n, ok := o.Field("claims"); ok {
		id.Claims, _ = object(n)
	}
	return id
}

func (p *parser) test(n yamldoc.Node) {
	t := Test{Pos: n.Pos(), expected: map[string]diag.Position{}}
	o, ok := n.Object("name", "description", "skip", "skipReason", "request", "expect")
	if !ok {
		return
	}
	if n, ok := o.Required("name"); ok {
		name, _ := n.NonEmptyText()
		t.Name = name.Value
	}
	text(o, "description")
	t.Skip, t.SkipReason = flag(o, "skip"), text(o, "skipReason")
	if n, ok := o.Required("request"); ok {
		p.request(&t, n)
	}
	if n, ok := o.Required("expect"); ok {
		p.expect(&t, n)
	}
	p.out.Tests = append(p.out.Tests, t)
}

func (p *parser) request(t *Test, n yamldoc.Node) {
	o, ok := n.Object("method", "path", "host", "headers", "body", "as", "source", "sourcePrincipal", "destination", "destinationPrincipal",
		"sni", "contextExtensions", "metadata", "routeMetadata", "recorded")
	if !ok {
		return
	}
	if as, ok := o.Field("as"); ok {
		name, _ := as.NonEmptyText()
		t.As = name.Value
		id, known := p.identities[name.Value]
		if !known && name.Value != "" {
			var names []string
			for name := range p.identities {
				names = append(names, name)
			}
			as.Report(UnknownIdentity, fmt.Sprintf("the file has no identity %q", name.Value), cmp.Or(diag.DidYouMean(name.Value, names), "add it under identities"))
		}
		t.Identity = id
	}
	if n, ok := o.Field("recorded"); ok {
		p.recorded(t, n)
		for _, name := range []string{"as", "method", "path", "host", "headers", "body", "source", "sourcePrincipal", "destination", "destinationPrincipal", "sni", "contextExtensions", "metadata", "routeMetadata"} {
			if other, ok := o.Field(name); ok {
				other.Report(BadRequest, name+" does not go together with recorded", "remove one of the two")
			}
		}
		return
	}
	r := &t.Request
	if n, ok := o.Required("path"); ok {
		target, _ := n.NonEmptyText()
		r.Target = target.Value
	}
	r.Method, r.Host = text(o, "method"), text(o, "host")
	r.Source, r.SourcePrincipal = text(o, "source"), text(o, "sourcePrincipal")
	r.Destination, r.DestinationName = text(o, "destination"), text(o, "destinationPrincipal")
	r.SNI = text(o, "sni")
	r.Headers = headers(o)
	r.Time = p.out.Clock
	if n, ok := o.Field("body"); ok {
		if n.IsMapping() || n.IsSequence() {
			v, _ := n.Value()
			r.Body, _ = json.Marshal(v.Native())
		} else if t, ok := n.Text(); ok {
			r.Body = []byte(t.Value)
		}
	}
	if n, ok := o.Field("contextExtensions"); ok {
		entries, _ := n.Entries()
		r.Extensions = map[string]string{}
		for _, e := range entries {
			t, _ := e.Value.Text()
			r.Extensions[e.Key.Value] = t.Value
		}
	}
	r.Metadata, r.RouteMetadata = namespaces(o, "metadata"), namespaces(o, "routeMetadata")
	if _, err := r.Message(); err != nil && r.Target != "" {
		n.Report(BadRequest, fmt.Sprintf("Envoy could not ask this: %v", err), "")
	}
}

func (p *parser) recorded(t *Test, n yamldoc.Node) {
	name, ok := n.NonEmptyText()
	if !ok {
		return
	}
	content, err := p.beside(name.Value)
	if err != nil {
		n.Report(BadRequest, fmt.Sprintf("the recorded check can't be read: %v", err), "name a file beside this one")
		return
	}
	if t.Recorded, err = envoycheck.Read(content); err != nil {
		n.Report(BadRequest, fmt.Sprintf("%s: %v", name.Value, err), "write it by edict record")
	}
}

func (p *parser) expect(t *Test, n yamldoc.Node) {
	if _, ok := n.Object("outcome", "effect", "status", "detail", "route", "provenance",
		"principal", "resource", "actions", "checks", "policy", "rule", "filter",
		"upstreamHeaders", "removedHeaders", "query", "removedQuery", "responseHeaders", "body", "metadata"); !ok {
		return
	}
	entries, _ := n.Entries()
	if len(entries) == 0 {
		n.Report(Empty, "nothing is expected", "write at least outcome: allow, or outcome: deny")
	}
	t.Expect = map[string]any{}
	for _, e := range entries {
		v, _ := e.Value.Value()
		name := e.Key.Value
		if name == "filter" {
			expectFilter(e.Value)
		}
		t.Expect[name] = native(v)
		t.expected[name] = e.Key.Pos
		t.order = append(t.order, name)
		if name == "outcome" && v.Kind() == value.String && !slices.Contains(extauthz.OutcomeLabels(), v.Str()) {
			e.Value.Report(BadExpectation, fmt.Sprintf("there is no outcome %q", v.Str()),
				cmp.Or(diag.DidYouMean(v.Str(), extauthz.OutcomeLabels()), "the outcomes are "+strings.Join(extauthz.OutcomeLabels(), ", ")))
		}
	}
}

// expectFilter reports what no filter is.
func expectFilter(n yamldoc.Node) {
	if n.IsNull() {
		return
	}
	o, ok := n.Object("kind", "text", "condition")
	if !ok {
		return
	}
	if kind, ok := o.Field("kind"); ok {
		kind.Enum(engine.AlwaysAllowed.String(), engine.AlwaysDenied.String(), engine.Conditional.String())
	}
}

func native(v value.Value) any {
	if v.Kind() == value.Null {
		return nil
	}
	return v.Native()
}

func text(o yamldoc.Object, name string) string {
	n, ok := o.Field(name)
	if !ok {
		return ""
	}
	t, _ := n.Text()
	return t.Value
}

func flag(o yamldoc.Object, name string) bool {
	n, ok := o.Field(name)
	if !ok {
		return false
	}
	b, _ := n.Bool()
	return b
}

// headers reads a mapping of names to a value or a list of values.
func headers(o yamldoc.Object) []string {
	n, ok := o.Field("headers")
	if !ok {
		return nil
	}
	var out []string
	entries, _ := n.Entries()
	for _, e := range entries {
		if e.Value.IsSequence() {
			texts, _ := e.Value.Texts()
			for _, t := range texts {
				out = append(out, e.Key.Value+": "+t.Value)
			}
			continue
		}
		t, _ := e.Value.Text()
		out = append(out, e.Key.Value+": "+t.Value)
	}
	return out
}

func object(n yamldoc.Node) (map[string]any, bool) {
	if !n.IsMapping() {
		n.Expected("a mapping", "")
		return nil, false
	}
	v, ok := n.Value()
	m, isMap := v.Native().(map[string]any)
	return m, ok && isMap
}

func namespaces(o yamldoc.Object, name string) map[string]map[string]any {
	n, ok := o.Field(name)
	if !ok {
		return nil
	}
	out := map[string]map[string]any{}
	entries, _ := n.Entries()
	for _, e := range entries {
		out[e.Key.Value], _ = object(e.Value)
	}
	return out
}
