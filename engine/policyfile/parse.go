package policyfile

import (
	"fmt"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/yamldoc"
)

// The kinds of policies, as the fields that hold their bodies.
const (
	resourcePolicy  = "resourcePolicy"
	derivedRoles    = "derivedRoles"
	principalPolicy = "principalPolicy"
	rolePolicy      = "rolePolicy"
	exportVariables = "exportVariables"
	exportConstants = "exportConstants"
)

// Parse reads the policy in a file. It gives the policy, or what is wrong with
// the file in the order of its lines, or neither if the file is empty or holds
// only comments. The name is only used in positions, but for its extension:
// with .json, mistakes are explained in the terms of JSON.
func Parse(file string, content []byte) (*policy.Policy, diag.List) {
	doc := yamldoc.Parse(file, content)
	var p *policy.Policy
	if root, ok := doc.Root(); ok {
		r := reader{doc: doc}
		p = r.policy(root)
	}
	if list := doc.Diagnostics(); len(list) > 0 {
		return nil, list
	}
	return p, nil
}

// A reader reads one policy. Its methods report what is wrong to the document
// and give what is left, which nobody uses once something was reported.
type reader struct {
	doc      *yamldoc.Document
	disabled bool // rules that span several fields do not bind a disabled policy
}

// policy reads the fields that all kinds of policies share, and the body.
func (r *reader) policy(root yamldoc.Node) *policy.Policy {
	o, ok := root.Object("apiVersion", "disabled", "description", "metadata", "variables", "$schema",
		resourcePolicy, derivedRoles, principalPolicy, rolePolicy, exportVariables, exportConstants)
	if !ok {
		return nil
	}
	p := &policy.Policy{Pos: o.Pos(), Source: r.doc.Lines()}
	r.apiVersion(o)
	if n, ok := o.Field("disabled"); ok {
		r.disabled, _ = n.Bool()
		p.Disabled = r.disabled
	}
	for _, name := range []string{"description", "$schema"} {
		if n, ok := o.Field(name); ok {
			n.Text()
		}
	}
	if n, ok := o.Field("metadata"); ok {
		r.metadata(n)
	}
	var variables []policy.Variable
	if n, ok := o.Field("variables"); ok {
		variables = r.localVariables(n)
	}
	kind, body, ok := o.OneOf(resourcePolicy, derivedRoles, principalPolicy, rolePolicy, exportVariables, exportConstants)
	if !ok {
		return p
	}
	switch kind {
	case resourcePolicy:
		p.Resource = r.resourcePolicy(body)
		if p.Resource != nil {
			p.Resource.Variables.Local = append(p.Resource.Variables.Local, variables...)
		}
	case derivedRoles:
		p.DerivedRoles = r.derivedRoles(body)
		if p.DerivedRoles != nil {
			p.DerivedRoles.Variables.Local = append(p.DerivedRoles.Variables.Local, variables...)
		}
	case principalPolicy:
		p.Principal = &policy.PrincipalPolicy{Pos: body.Pos()}
	case rolePolicy:
		p.Role = &policy.RolePolicy{Pos: body.Pos()}
	case exportVariables:
		p.ExportVariables = &policy.ExportVariables{Pos: body.Pos()}
	case exportConstants:
		p.ExportConstants = &policy.ExportConstants{Pos: body.Pos()}
	}
	if kind == exportVariables || kind == exportConstants {
		if _, ok := o.Field("variables"); ok && !r.disabled {
			r.doc.Report(o.KeyPos("variables"), ExportWithVariables, fmt.Sprintf("%s cannot stand beside variables at the top level", kind),
				"move the variables to the definitions of an exportVariables policy")
		}
	}
	return p
}

func (r *reader) apiVersion(o yamldoc.Object) {
	const hint = "write apiVersion: " + policy.APIVersion
	n, ok := o.Field("apiVersion")
	if !ok {
		r.doc.Report(o.KeyPos("apiVersion"), yamldoc.MissingField, "apiVersion is required",
			hint+"; a file that is no policy must not lie in the policy folder")
		return
	}
	if t, ok := n.Text(); ok && t.Value != policy.APIVersion {
		n.Report(BadAPIVersion, fmt.Sprintf("apiVersion must be %s, got %q", policy.APIVersion, t.Value), hint)
	}
}

// metadata checks the shape of what tools write about a policy. None of it has
// a part in decisions.
func (r *reader) metadata(n yamldoc.Node) {
	o, ok := n.Object("annotations", "sourceAttributes", "sourceFile", "hash", "storeIdentifier", "storeIdentifer")
	if !ok {
		return
	}
	if n, ok := o.Field("annotations"); ok {
		entries, _ := n.Entries()
		for _, e := range entries {
			e.Value.Text()
		}
	}
	if n, ok := o.Field("sourceAttributes"); ok {
		if attributes, ok := n.Object("attributes"); ok {
			if n, ok := attributes.Field("attributes"); ok {
				if !n.IsMapping() {
					n.Entries() // reports what n is instead
				} else {
					n.Value()
				}
			}
		}
	}
	for _, name := range []string{"sourceFile", "hash", "storeIdentifier", "storeIdentifer"} {
		if n, ok := o.Field(name); ok {
			n.Text()
		}
	}
}
