package policyfile

import (
	"fmt"
	"strconv"

	"edict/engine/diag"
	"edict/engine/policy"
	"edict/engine/value"
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
	if n, ok := o.Given("disabled"); ok {
		r.disabled, _ = n.Bool()
		p.Disabled = r.disabled
	}
	p.Description, _ = r.text(o, "description")
	r.text(o, "$schema")
	if n, ok := o.Given("metadata"); ok {
		p.Metadata = r.metadata(n)
	}
	old := r.localVariables(o, "variables")
	kind, body, ok := o.OneGiven(resourcePolicy, derivedRoles, principalPolicy, rolePolicy, exportVariables, exportConstants)
	if !ok {
		return p
	}
	r.body(p, kind, body, old)
	if (kind == exportVariables || kind == exportConstants) && len(old) > 0 && !r.disabled {
		r.doc.Report(o.KeyPos("variables"), ExportWithVariables, fmt.Sprintf("%s cannot stand beside variables at the top level", kind),
			"move the variables to the definitions of an exportVariables policy")
	}
	return p
}

// body reads the body of a policy. The variables that an old policy has at the
// top level join those of the body, last.
func (r *reader) body(p *policy.Policy, kind string, body yamldoc.Node, old []policy.Variable) {
	join := func(v *policy.Variables) { v.Local = append(v.Local, old...) }
	switch kind {
	case resourcePolicy:
		if p.Resource = r.resourcePolicy(body); p.Resource != nil {
			join(&p.Resource.Variables)
		}
	case derivedRoles:
		if p.DerivedRoles = r.derivedRoles(body); p.DerivedRoles != nil {
			join(&p.DerivedRoles.Variables)
		}
	case principalPolicy:
		if p.Principal = r.principalPolicy(body); p.Principal != nil {
			join(&p.Principal.Variables)
		}
	case rolePolicy:
		if p.Role = r.rolePolicy(body); p.Role != nil {
			join(&p.Role.Variables)
		}
	case exportVariables:
		p.ExportVariables = r.exportVariables(body)
	case exportConstants:
		p.ExportConstants = r.exportConstants(body)
	}
}

func (r *reader) apiVersion(o yamldoc.Object) {
	const hint = "write apiVersion: " + policy.APIVersion + "; a file that is no policy must not lie in the policy folder"
	n, ok := o.Field("apiVersion")
	if !ok {
		if o.Misspelt("apiVersion") {
			return
		}
		r.doc.Report(o.KeyPos("apiVersion"), yamldoc.MissingField, "apiVersion is required", hint)
		return
	}
	if t, ok := n.Text(); ok && t.Value != policy.APIVersion {
		n.Report(BadAPIVersion, fmt.Sprintf("apiVersion must be %s, got %q", policy.APIVersion, t.Value), hint)
	}
}

// metadata reads what people and tools write about a policy. What the store of
// Cerbos writes there (sourceFile, hash, storeIdentifier) is checked and left.
func (r *reader) metadata(n yamldoc.Node) policy.Metadata {
	var m policy.Metadata
	o, ok := n.Object("annotations", "sourceAttributes", "sourceFile", "hash", "storeIdentifier", "storeIdentifer")
	if !ok {
		return m
	}
	if n, ok := o.Given("annotations"); ok {
		entries, _ := n.Entries()
		for _, e := range entries {
			t, _ := e.Value.Text()
			a := policy.Annotation{Name: e.Key, Value: t}
			m.Annotations = append(m.Annotations, a)
			m.Trusted = append(m.Trusted, r.trusted(a)...)
		}
	}
	if n, ok := o.Given("sourceAttributes"); ok {
		m.SourceAttributes = r.sourceAttributes(n)
	}
	for _, name := range []string{"sourceFile", "storeIdentifier", "storeIdentifer"} {
		r.text(o, name)
	}
	if n, ok := o.Given("hash"); ok {
		if t, ok := n.Text(); ok {
			if _, err := strconv.ParseUint(t.Value, 10, 64); err != nil {
				n.Report(yamldoc.BadNumber, fmt.Sprintf("hash: %q is not an integer from 0 to 2^64-1", t.Value), "remove it; nothing reads it")
			}
		}
	}
	return m
}

func (r *reader) sourceAttributes(n yamldoc.Node) value.Values {
	o, ok := n.Object("attributes")
	if !ok {
		return nil
	}
	n, ok = o.Given("attributes")
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	attributes := make(value.Values, len(entries))
	for _, e := range entries {
		attributes[e.Key.Value], _ = e.Value.Value()
	}
	return attributes
}
