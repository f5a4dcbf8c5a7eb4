package schema

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// Folder is the name of the folder of the schemas, directly below the root of
// the policies.
const Folder = "_schemas"

// scheme is that of the URLs that name a file of the folder: cerbos:///a/b.json
// is _schemas/a/b.json.
const scheme = "cerbos"

// A Set is the schemas of one revision of the policies: the files below
// _schemas. It is safe for concurrent use. A nil Set holds no files.
type Set struct {
	files  map[string][]byte
	digest string

	mu       sync.Mutex
	compiled map[string]outcome // by the reference as it is written
}

// An outcome is what compiling a reference gave: a schema or an error.
type outcome struct {
	schema *Schema
	err    error
}

// New makes a set of files: their paths below _schemas, separated by slashes,
// with their content, which must not change any more.
func New(files map[string][]byte) *Set {
	return &Set{files: maps.Clone(files), digest: digestOf(files), compiled: make(map[string]outcome)}
}

// Digest identifies the content of the set: two sets have the same digest if
// they hold the same files. A nil set has that of a set without files.
func (s *Set) Digest() string {
	if s == nil {
		return digestOf(nil)
	}
	return s.digest
}

// digestOf gives the SHA-256 over the files in the order of their paths, each
// path and content with its length before it.
func digestOf(files map[string][]byte) string {
	sum := sha256.New()
	write := func(b []byte) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		sum.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		write([]byte(name))
		write(files[name])
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Compile gives the schema that a policy refers to, such as
// "cerbos:///clinic/visit.json", which may end in a fragment. The same
// reference gives the same schema every time. The error is an *Error.
func (s *Set) Compile(ref string) (*Schema, error) {
	if s == nil {
		s = New(nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.compiled[ref]; ok {
		return o.schema, o.err
	}
	var o outcome
	if compiled, err := s.compile(ref); err != nil {
		err.Ref = ref
		o.err = err
	} else {
		o.schema = newSchema(compiled)
	}
	s.compiled[ref] = o
	return o.schema, o.err
}

// compile compiles with the library and the settings that Cerbos uses: draft
// 2020-12 unless the schema says otherwise, formats and contents asserted.
func (s *Set) compile(ref string) (compiled *jsonschema.Schema, failed *Error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, &Error{
			Message: fmt.Sprintf("%q is not a URL", ref),
			Hint:    fmt.Sprintf("write %s:///path, the path below %s", scheme, Folder),
		}
	}
	if u.Scheme == "" {
		return nil, &Error{
			Message: fmt.Sprintf("%q does not say where the schema is", ref),
			Hint:    fmt.Sprintf("write %q for the file %s", refTo(u.Path), path.Join(Folder, u.Path)),
		}
	}
	l := loader{set: s, ref: ref}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat = true
	compiler.AssertContent = true
	compiler.LoadURL = l.load
	// The library panics where its metaschemas let pass what it can't handle.
	defer func() {
		if r := recover(); r != nil {
			compiled, failed = nil, l.explain(fmt.Errorf("%v", r))
		}
	}()
	compiled, err = compiler.Compile(ref)
	if err != nil {
		return nil, l.explain(err)
	}
	return compiled, nil
}

// refTo gives the reference to a file of the set.
func refTo(file string) string { return scheme + ":///" + strings.TrimPrefix(file, "/") }
