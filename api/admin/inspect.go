package admin

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/status"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/diag"
	"edict/engine/policy"
)

// inspectPolicies tells of policies which actions, attributes, derived roles,
// variables and constants they are about.
func (s *Server) inspectPolicies(ctx context.Context, store *Store, in *cerbospb.InspectPoliciesRequest) (*cerbospb.InspectPoliciesResponse, error) {
	list, err := chosen(store, in)
	if err != nil {
		return nil, err
	}
	sets := map[string]*policy.Policy{} // by key, of what others import
	for _, p := range store.policies {
		if p.DerivedRoles != nil || p.ExportVariables != nil || p.ExportConstants != nil {
			sets[p.Key()] = p.Policy
		}
	}
	out := &cerbospb.InspectPoliciesResponse{Results: make(map[string]*cerbospb.InspectPoliciesResponse_Result, len(list))}
	for _, p := range list {
		if err := ctx.Err(); err != nil {
			return nil, status.FromContextError(err).Err()
		}
		i := &inspection{server: s, sets: sets, key: p.Key(), used: map[string]bool{}, attributes: map[attribute]bool{}}
		r, err := i.inspect(p)
		if err != nil {
			return nil, err
		}
		out.Results[i.key] = r
	}
	return out, nil
}

type attribute struct {
	name string
	kind cerbospb.InspectPoliciesResponse_Attribute_Kind
}

// An inspection finds what one policy is about.
type inspection struct {
	server *Server
	sets   map[string]*policy.Policy
	key    string

	used       map[string]bool // V.name, C.name
	attributes map[attribute]bool
}

func (i *inspection) inspect(p stored) (*cerbospb.InspectPoliciesResponse_Result, error) {
	engine.EachExpression(p.Policy, i.read)
	read := maps.Clone(i.used)
	out := &cerbospb.InspectPoliciesResponse_Result{PolicyId: p.id, Actions: actions(p.Policy), DerivedRoles: i.derivedRoles(p.Policy)}
	c := new(converter)
	variables, constants := p.Policy.Names()
	local, exported := cerbospb.InspectPoliciesResponse_Variable_KIND_LOCAL, cerbospb.InspectPoliciesResponse_Variable_KIND_EXPORTED
	for _, v := range variables.Local {
		i.variable(out, v, local, i.key)
	}
	if p.ExportVariables != nil {
		for _, v := range p.ExportVariables.Definitions {
			i.variable(out, v, exported, i.key)
		}
	}
	// Of what is imported, what the policy itself reads. Attributes are those of
	// its variables, too.
	for _, name := range variables.Import {
		key := "export_variables." + name.Value
		if set := i.sets[key]; set != nil {
			for _, v := range set.ExportVariables.Definitions {
				if read["V."+v.Name.Value] {
					i.read(v.Expr)
					i.variable(out, v, cerbospb.InspectPoliciesResponse_Variable_KIND_IMPORTED, key)
				}
			}
		}
	}
	for _, x := range constants.Local {
		i.constant(out, c, x, cerbospb.InspectPoliciesResponse_Constant_KIND_LOCAL, i.key)
	}
	if p.ExportConstants != nil {
		for _, x := range p.ExportConstants.Definitions {
			i.constant(out, c, x, cerbospb.InspectPoliciesResponse_Constant_KIND_EXPORTED, i.key)
		}
	}
	for _, name := range constants.Import {
		key := "export_constants." + name.Value
		if set := i.sets[key]; set != nil {
			for _, x := range set.ExportConstants.Definitions {
				if read["C."+x.Name.Value] {
					i.constant(out, c, x, cerbospb.InspectPoliciesResponse_Constant_KIND_IMPORTED, key)
				}
			}
		}
	}
	i.undefined(out, read)
	for _, a := range slices.SortedFunc(maps.Keys(i.attributes), func(a, b attribute) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	}) {
		out.Attributes = append(out.Attributes, &cerbospb.InspectPoliciesResponse_Attribute{Name: a.name, Kind: a.kind})
	}
	slices.SortFunc(out.Variables, func(a, b *cerbospb.InspectPoliciesResponse_Variable) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	slices.SortFunc(out.Constants, func(a, b *cerbospb.InspectPoliciesResponse_Constant) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	return out, c.err
}

// undefined adds what the policy itself reads and nobody here defines: a set that
// others import reads what they have.
func (i *inspection) undefined(out *cerbospb.InspectPoliciesResponse_Result, read map[string]bool) {
	read = maps.Clone(read)
	for _, v := range out.Variables {
		delete(read, "V."+v.GetName())
	}
	for _, x := range out.Constants {
		delete(read, "C."+x.GetName())
	}
	for name := range read {
		switch kind, name, _ := strings.Cut(name, "."); {
		case name == "": // all of them, as a whole
		case kind == "V":
			out.Variables = append(out.Variables, &cerbospb.InspectPoliciesResponse_Variable{
				Name: name, Value: "null", Kind: cerbospb.InspectPoliciesResponse_Variable_KIND_UNDEFINED, Used: true,
			})
		default:
			out.Constants = append(out.Constants, &cerbospb.InspectPoliciesResponse_Constant{
				Name: name, Kind: cerbospb.InspectPoliciesResponse_Constant_KIND_UNDEFINED, Used: true,
			})
		}
	}
}

// read notes what an expression reads.
func (i *inspection) read(t diag.Text) {
	program, issues := i.server.env.Compile(t.Value)
	if len(issues) > 0 { // it did compile with the policy, so this can't happen
		return
	}
	for _, s := range program.Selections() {
		path := append([]string{s.Variable, s.Field}, s.Below...)
		of := s.Variable
		if of == "request" {
			of, path = s.Field, path[1:]
		}
		switch of {
		case "V", "variables":
			i.used["V."+s.Field] = true
		case "C", "constants":
			i.used["C."+s.Field] = true
		case "P", "principal":
			i.attribute(path, cerbospb.InspectPoliciesResponse_Attribute_KIND_PRINCIPAL_ATTRIBUTE)
		case "R", "resource":
			i.attribute(path, cerbospb.InspectPoliciesResponse_Attribute_KIND_RESOURCE_ATTRIBUTE)
		}
	}
}

func (i *inspection) attribute(path []string, kind cerbospb.InspectPoliciesResponse_Attribute_Kind) {
	if len(path) > 2 && path[1] == "attr" {
		i.attributes[attribute{path[2], kind}] = true
	}
}

func (i *inspection) variable(out *cerbospb.InspectPoliciesResponse_Result, v policy.Variable, kind cerbospb.InspectPoliciesResponse_Variable_Kind, source string) {
	out.Variables = append(out.Variables, &cerbospb.InspectPoliciesResponse_Variable{
		Name: v.Name.Value, Value: v.Expr.Value, Kind: kind, Source: source, Used: i.used["V."+v.Name.Value],
	})
}

func (i *inspection) constant(out *cerbospb.InspectPoliciesResponse_Result, c *converter, x policy.Constant, kind cerbospb.InspectPoliciesResponse_Constant_Kind, source string) {
	out.Constants = append(out.Constants, &cerbospb.InspectPoliciesResponse_Constant{
		Name: x.Name.Value, Value: c.value(x.Value), Kind: kind, Source: source, Used: i.used["C."+x.Name.Value],
	})
}

// derivedRoles gives the derived roles that a policy defines, or names in rules,
// sorted.
func (i *inspection) derivedRoles(p *policy.Policy) []*cerbospb.InspectPoliciesResponse_DerivedRole {
	var out []*cerbospb.InspectPoliciesResponse_DerivedRole
	switch {
	case p.DerivedRoles != nil:
		for _, d := range p.DerivedRoles.Definitions {
			out = append(out, &cerbospb.InspectPoliciesResponse_DerivedRole{
				Name: d.Name.Value, Kind: cerbospb.InspectPoliciesResponse_DerivedRole_KIND_EXPORTED, Source: i.key,
			})
		}
	case p.Resource != nil:
		sources := map[string]string{}
		for _, name := range p.Resource.ImportDerivedRoles {
			key := "derived_roles." + name.Value
			if set := i.sets[key]; set != nil {
				for _, d := range set.DerivedRoles.Definitions {
					sources[d.Name.Value] = key
				}
			}
		}
		seen := map[string]bool{}
		for _, r := range p.Resource.Rules {
			for _, name := range r.DerivedRoles {
				if seen[name.Value] {
					continue
				}
				seen[name.Value] = true
				d := &cerbospb.InspectPoliciesResponse_DerivedRole{
					Name: name.Value, Kind: cerbospb.InspectPoliciesResponse_DerivedRole_KIND_UNDEFINED, Source: sources[name.Value],
				}
				if d.Source != "" {
					d.Kind = cerbospb.InspectPoliciesResponse_DerivedRole_KIND_IMPORTED
				}
				out = append(out, d)
			}
		}
	}
	slices.SortFunc(out, func(a, b *cerbospb.InspectPoliciesResponse_DerivedRole) int {
		return strings.Compare(a.GetName(), b.GetName())
	})
	return out
}

// actions gives the actions and patterns of a policy's rules, sorted.
func actions(p *policy.Policy) []string {
	var out []string
	switch {
	case p.Resource != nil:
		for _, r := range p.Resource.Rules {
			out = append(out, texts(r.Actions)...)
		}
	case p.Principal != nil:
		for _, r := range p.Principal.Rules {
			for _, a := range r.Actions {
				out = append(out, a.Action.Value)
			}
		}
	case p.Role != nil:
		for _, r := range p.Role.Rules {
			out = append(out, texts(r.AllowActions)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
