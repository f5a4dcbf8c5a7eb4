package policyfile

import (
	"crypto/sha256"
	"io/fs"
	"path"
	"strings"

	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/internal/parallel"
	"edict/engine/policy"
)

const schemasFolder = "_schemas"

// A Folder is what a policy folder holds.
type Folder struct {
	Policies []folder.File // in the lexical order of their paths
	Schemas  []folder.File // those of _schemas, likewise
}

// SchemaContents gives the schemas by their paths below _schemas: what
// cerbos:///path in a policy refers to.
func (f Folder) SchemaContents() map[string][]byte {
	contents := make(map[string][]byte, len(f.Schemas))
	for _, s := range f.Schemas {
		contents[s.Path] = s.Content
	}
	return contents
}

// Load reads the policies of a folder, in the lexical order of their paths;
// see ParseAll for what it gives.
func Load(fsys fs.FS) ([]*policy.Policy, diag.List) {
	files, list := folder.Read(fsys, "", Skip)
	policies, more := ParseAll(files)
	return policies, append(list, more...).Sorted()
}

// ReadFolder reads the policies and the schemas of a folder. The name stands
// before the paths of files, in File.Name and in diagnostics; it may be empty.
// What was read is all there is only if the list is empty.
func ReadFolder(fsys fs.FS, name string) (Folder, diag.List) {
	return new(Cache).ReadFolder(fsys, name)
}

// ParseAll parses the files of a policy folder. Disabled policies are checked
// and left out. The policies are in the order of their files, and are all
// there are only if the list is empty: a caller must not decide with a part of
// them.
func ParseAll(files []folder.File) ([]*policy.Policy, diag.List) {
	return new(Cache).ParseAll(files)
}

// A Cache remembers a policy folder from one reading to the next, so that only
// the files that changed are read and parsed again. It gives what ReadFolder
// and ParseAll would give, and gives a file that has not changed the very
// *policy.Policy that it had before. The zero Cache is ready. It is for one
// folder, and for one goroutine at a time.
type Cache struct {
	policies, schemas folder.Cache
	parsed            map[string]parsed // by the names of files
}

// parsed is what a file with this content says.
type parsed struct {
	digest [sha256.Size]byte
	policy *policy.Policy
	list   diag.List
}

// ReadFolder reads the policies and the schemas of a folder.
func (c *Cache) ReadFolder(fsys fs.FS, name string) (Folder, diag.List) {
	hasSchemas := false
	policies, list := c.policies.Read(folder.Data(fsys, name, func(below string, report func(diag.Code, string, string)) bool {
		hasSchemas = hasSchemas || below == schemasFolder
		return Skip(below, report)
	}))
	if !hasSchemas {
		c.schemas = folder.Cache{}
		return Folder{Policies: policies}, list
	}
	below, err := fs.Sub(fsys, schemasFolder)
	if err != nil {
		// It cannot be, of a valid path.
		panic(err)
	}
	schemas, more := c.schemas.Read(folder.Tree{FS: below, Name: path.Join(name, schemasFolder), Wants: isSchema})
	return Folder{policies, schemas}, append(list, more...)
}

// isSchema tells whether a file below _schemas is a schema.
func isSchema(file string) bool { return strings.EqualFold(path.Ext(file), ".json") }

// ParseAll parses the files of a policy folder.
func (c *Cache) ParseAll(files []folder.File) ([]*policy.Policy, diag.List) {
	results := make([]parsed, len(files))
	parallel.Do(len(files), func(i int) {
		f := &files[i]
		digest := f.Digest()
		if before, ok := c.parsed[f.Name]; ok && before.digest == digest {
			results[i] = before
			return
		}
		p, list := Parse(f.Name, f.Content)
		results[i] = parsed{digest, p, list}
	})
	c.parsed = make(map[string]parsed, len(files))
	var policies []*policy.Policy
	var list diag.List
	for i, result := range results {
		c.parsed[files[i].Name] = result
		list = append(list, result.list...)
		if p := result.policy; p != nil && !p.Disabled {
			policies = append(policies, p)
		}
	}
	return policies, list
}

// Skip tells folder.Read which folders hold no policies: _schemas holds JSON
// schemas. It must lie at the top.
func Skip(name string, report func(code diag.Code, message, hint string)) bool {
	if path.Base(name) != schemasFolder {
		return false
	}
	if name != schemasFolder {
		report(MisplacedSchemas, "the folder _schemas must lie directly in the policy folder", "move it there")
	}
	return true
}
