package extauthz

import (
	"fmt"

	"edict/engine/diag"
	"edict/engine/lint"
	"edict/engine/policy"
	"edict/extauthz/routemap"
)

// Doubts gives warnings about route maps that compile with the policies: what is
// sound and still most likely not meant. It says nothing of what only a request
// can tell, nor of what a comment in the file silences:
//
//	# edict:ignore route-action reason
func (c *Compiler) Doubts(policies []*policy.Policy, files []*routemap.File) diag.List {
	d := doubts{version: c.version, policies: policies, grants: map[grantKey]*lint.Grants{}}
	for _, f := range files {
		for i := range f.Routes {
			d.checks(f, f.Routes[i].Checks)
		}
		for i := range f.Connections {
			d.checks(f, f.Connections[i].Checks)
		}
	}
	return d.list.Sorted()
}

// doubts is one run of Compiler.Doubts.
type doubts struct {
	version  string // of the policies for a resource that names none
	policies []*policy.Policy
	grants   map[grantKey]*lint.Grants
	list     diag.List
}

type grantKey struct {
	kind, version string
	anyVersion    bool
}

// checks warns of constant actions that no rule could allow.
func (d *doubts) checks(f *routemap.File, checks []routemap.Check) {
	for i := range checks {
		r := &checks[i].Resource
		if r.Kind.IsExpr {
			continue
		}
		kind := r.Kind.Constant.Str()
		may := d.grantsOf(kind, r.PolicyVersion)
		for _, a := range checks[i].Actions {
			if a.IsExpr || may.Has(a.Constant.Str()) || lint.Ignored(f.Source, a.Pos.Line, CodeRouteAction) {
				continue
			}
			name := a.Constant.Str()
			d.list = append(d.list, diag.Diagnostic{
				Pos: a.Pos, Severity: diag.Warning, Code: CodeRouteAction, Source: f.Line(a.Pos.Line),
				Message: fmt.Sprintf("no rule allows anybody the action %q on the resource kind %q", name, kind),
				Hint:    orDefault(diag.DidYouMean(name, may.Names()), "add a rule that allows it"),
			})
		}
	}
}

func (d *doubts) grantsOf(kind string, version *routemap.Term) *lint.Grants {
	key := grantKey{kind: kind, version: d.version}
	switch {
	case version == nil:
	case version.IsExpr:
		key.version, key.anyVersion = "", true
	case version.Constant.Str() != "":
		key.version = version.Constant.Str()
	}
	g := d.grants[key]
	if g == nil {
		in := &key.version
		if key.anyVersion {
			in = nil
		}
		g = lint.GrantsOf(d.policies, kind, in)
		d.grants[key] = g
	}
	return g
}
