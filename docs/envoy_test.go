package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// docs/envoy.md has a table for each message that Envoy and Edict exchange,
// with a row for every field, and each row names a test that there is or says
// why the field is unused.
func TestEveryFieldOfEnvoysMessagesIsDocumented(t *testing.T) {
	page := read(t, "docs/envoy.md")
	tests := testNames(t)
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| .* \\| (.*) \\| (.*) \\|$")
	test := regexp.MustCompile("`(Test\\w+)`")
	for _, m := range []proto.Message{
		&authv3.CheckRequest{}, &authv3.AttributeContext{}, &authv3.AttributeContext_Peer{}, &authv3.AttributeContext_Request{},
		&authv3.AttributeContext_HttpRequest{}, &authv3.AttributeContext_TLSSession{},
		&authv3.CheckResponse{}, &authv3.OkHttpResponse{}, &authv3.DeniedHttpResponse{},
		&corev3.HeaderValueOption{}, &corev3.HeaderValue{}, &corev3.QueryParameter{},
	} {
		md := m.ProtoReflect().Descriptor()
		name := string(md.Name())
		if parent, ok := md.Parent().(protoreflect.MessageDescriptor); ok {
			name = string(parent.Name()) + "." + name
		}
		_, section, found := strings.Cut(page, "\n### "+name+"\n")
		if !found {
			t.Errorf("docs/envoy.md has no section for %s", name)
			continue
		}
		section, _, _ = strings.Cut(section, "\n#")
		documented := map[string]bool{}
		for _, r := range row.FindAllStringSubmatch(section, -1) {
			documented[r[1]] = true
			if md.Fields().ByName(protoreflect.Name(r[1])) == nil {
				t.Errorf("docs/envoy.md has a row for %s.%s, which does not exist", name, r[1])
			}
			if !test.MatchString(r[2]) && !strings.HasPrefix(r[3], "unused") {
				t.Errorf("docs/envoy.md: the row for %s.%s neither names a test nor says why the field is unused", name, r[1])
			}
		}
		for i := range md.Fields().Len() {
			if field := string(md.Fields().Get(i).Name()); !documented[field] {
				t.Errorf("docs/envoy.md has no row for %s.%s", name, field)
			}
		}
	}
	named := test.FindAllStringSubmatch(page, -1)
	if len(named) < 50 {
		t.Errorf("docs/envoy.md names only %d tests", len(named))
	}
	for _, m := range named {
		if !tests[m[1]] {
			t.Errorf("docs/envoy.md names %s, which does not exist", m[1])
		}
	}
	// And what the end-to-end tests find out about Envoy is written down.
	for name := range testsOf(t, "envoy/e2e") {
		if strings.HasPrefix(name, "TestEnvoy") && !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/envoy.md does not name %s", name)
		}
	}
}

// testNames gives the test functions of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	dirs := map[string]bool{}
	walk(t, func(name string, _ fs.DirEntry) {
		if strings.HasSuffix(name, "_test.go") {
			dirs[filepath.ToSlash(filepath.Dir(name))] = true
		}
	})
	for dir := range dirs {
		for name := range testsOf(t, dir) {
			out[name] = true
		}
	}
	return out
}

// testsOf gives the test functions of a package.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				out[fn.Name.Name] = true
			}
		}
	}
	return out
}
