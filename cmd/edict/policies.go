package main

import (
	"io/fs"
	"path"
	"strings"

	"edict/cmd/edict/internal/cerbosjson"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/policyfile"
	"edict/engine/schema"
)

// policyFiles are the policies of a folder, as `edict compile`, `edict test` and
// `edict explain` read them.
type policyFiles struct {
	fsys    fs.FS
	sources cerbosjson.Sources
	schemas *schema.Set // nil: they are not looked at
	broken  diag.List   // what can't be read or parsed
}

// readPolicies reads and parses the policies of a folder or an archive, whose
// name is cleaned and has slashes. The error, of status exitUsage, says that it
// is none.
func readPolicies(dir string, ignoreSchemas bool) (*policyFiles, error) {
	fsys, list := folder.Open(dir)
	if len(list) > 0 {
		return nil, statusError{exitUsage, list}
	}
	files, list := policyfile.ReadFolder(fsys, dir)
	p := &policyFiles{fsys: fsys, broken: list, sources: cerbosjson.Sources{Dir: dir, Contents: map[string][]byte{}}}
	for _, f := range files.Policies {
		p.sources.Contents[f.Name] = f.Content
		parsed, more := policyfile.Parse(f.Name, f.Content)
		p.broken = append(p.broken, more...)
		if parsed != nil {
			p.sources.Policies = append(p.sources.Policies, parsed)
		}
	}
	if !ignoreSchemas {
		p.schemas = schema.New(files.SchemaContents())
	}
	return p, nil
}

// compile compiles what could be parsed. The error names an option that is
// wrong.
func (p *policyFiles) compile(o engine.Options) (*engine.PolicySet, diag.List, error) {
	c, err := engine.NewCompiler(o)
	if err != nil {
		return nil, nil, err
	}
	set, list := c.Compile(p.sources.Policies, p.schemas)
	p.locate(list)
	return set, list, nil
}

// locate puts the folder before the names of schemas, which compilers know by
// their place in it alone.
func (p *policyFiles) locate(list diag.List) {
	for _, d := range list {
		for i := range d.Related {
			if at := &d.Related[i].Pos; strings.HasPrefix(at.File, schema.Folder+"/") {
				at.File = path.Join(p.sources.Dir, at.File)
			}
		}
	}
}

// compileForTests is the Compile of suite.Options.
func (p *policyFiles) compileForTests(o engine.Options) (*engine.PolicySet, diag.List) {
	set, list, err := p.compile(o)
	if err != nil {
		return nil, diag.List{{Message: err.Error()}}
	}
	return set, list
}
