package policyfile

import (
	"io/fs"
	"path"

	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policy"
)

const schemasFolder = "_schemas"

// Load reads the policies of a folder, in the lexical order of their paths;
// see ParseAll for what it gives.
func Load(fsys fs.FS) ([]*policy.Policy, diag.List) {
	files, list := folder.Read(fsys, "", Skip)
	policies, more := ParseAll(files)
	return policies, append(list, more...).Sorted()
}

// ParseAll parses the files of a policy folder. Disabled policies are checked
// and left out. The policies are all there are only if the list is empty: a
// caller must not decide with a part of them.
func ParseAll(files []folder.File) ([]*policy.Policy, diag.List) {
	var policies []*policy.Policy
	var list diag.List
	for _, f := range files {
		p, l := Parse(f.Name, f.Content)
		list = append(list, l...)
		if p != nil && !p.Disabled {
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
