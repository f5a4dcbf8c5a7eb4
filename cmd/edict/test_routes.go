package main

import (
	"errors"
	"fmt"

	"edict/cmd/edict/internal/routetest"
	"edict/engine/diag"
	"edict/engine/folder"
	"edict/engine/suite"
	"edict/engine/suite/coverage"
	"edict/extauthz"
	"edict/extauthz/routemap"
)

// runRoutes runs the tests of routes, if there are any, and adds their outcome
// to that of the others. What is wrong with the routes has been told if there is
// an error.
func (t *testRun) runRoutes(p *policyFiles, covered *coverage.Coverage, result *suite.Report) error {
	if t.routes == "" {
		return nil
	}
	fsys, list := folder.Open(t.routes)
	if len(list) > 0 {
		return statusError{exitUsage, list}
	}
	files, err := routetest.Find(fsys, t.routes)
	if err != nil {
		return statusError{exitFailure, err}
	}
	if len(files) == 0 {
		return nil
	}
	contents, list := folder.Read(fsys, t.routes, nil)
	routes, more := routemap.ParseAll(contents)
	list = append(list, more...)
	options := t.engine
	options.SchemaEnforcement = t.cfg.SchemaEnforcement // as requests are answered
	checks := t.cfg.Checks
	checks.Assume = true // of tokens, tests give the claims
	if err := signForShow(t.cfg, &checks); err != nil {
		return err
	}
	compiler, err := extauthz.NewCompiler(options, checks)
	if err != nil {
		return statusError{exitUsage, err}
	}
	var revision *extauthz.Revision
	if len(list) == 0 {
		revision, list = compiler.Compile("tested", p.sources.Policies, p.schemas, routes)
		p.locate(list)
	}
	if revision == nil {
		fmt.Fprint(t.err, diag.Style{Severities: true}.Render(list.Sorted()))
		return statusError{exitUncompiled, errors.New("the routes do not compile; no test of routes was run")}
	}
	o := routetest.Options{Revision: revision, Filter: t.filter, Place: func(source string) (string, string, bool) {
		return claimsPlace(t.cfg.Checks.Identity, source)
	}}
	if covered != nil {
		for _, f := range routes {
			for i := range f.Routes {
				covered.AddRoute(f.Name.Value+"/"+f.Routes[i].Name.Value, f.Routes[i].Pos)
			}
		}
		o.Asked = func(told *extauthz.Explained) {
			covered.Take(told.Route, told.Outcome.Passes())
			if told.Plan != nil {
				return // no rule was asked about one resource
			}
			for _, q := range told.Requests {
				covered.Explain(revision.PolicySet().Explain(q))
			}
		}
	}
	for _, f := range files {
		r := routetest.Run(f, o)
		result.Suites = append(result.Suites, r)
		result.Summary.Overall = max(result.Summary.Overall, r.Summary.Overall)
		for status, n := range r.Summary.Counts {
			result.Summary.Counts[status] += n
		}
	}
	return nil
}
