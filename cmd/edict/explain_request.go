package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"edict/engine"
	"edict/engine/value"
)

// requestFlags ask for one decision.
type requestFlags struct {
	principal, principalScope, principalVersion string
	resource, resourceScope, resourceVersion    string
	roles, actions                              []string
	principalAttr, resourceAttr                 []string
}

func (r *requestFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.principal, "principal", "", "id of the principal")
	f.StringArrayVar(&r.roles, "role", nil, "role of the principal; may be repeated")
	f.StringArrayVar(&r.principalAttr, "principal-attr", nil, "attribute of the principal as name=JSON, like regions='[\"emea\"]'; may be repeated")
	f.StringVar(&r.principalScope, "principal-scope", "", "scope of the principal")
	f.StringVar(&r.principalVersion, "principal-version", "", "policy version of the principal")
	f.StringVar(&r.resource, "resource", "", "resource as kind or kind:id; what follows the last colon is the id")
	f.StringArrayVar(&r.resourceAttr, "resource-attr", nil, "attribute of the resource as name=JSON, like amount=1200; may be repeated")
	f.StringVar(&r.resourceScope, "resource-scope", "", "scope of the resource")
	f.StringVar(&r.resourceVersion, "resource-version", "", "policy version of the resource")
	f.StringArrayVar(&r.actions, "action", nil, "action to decide; may be repeated")
}

// given names a flag of the request that was given, "" if there is none.
func (r *requestFlags) given(f *pflag.FlagSet) string {
	for _, name := range []string{"principal", "role", "principal-attr", "principal-scope", "principal-version",
		"resource", "resource-attr", "resource-scope", "resource-version", "action"} {
		if f.Changed(name) {
			return name
		}
	}
	return ""
}

func (r *requestFlags) request() (*engine.Request, error) {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"principal", r.principal == ""}, {"role", len(r.roles) == 0}, {"resource", r.resource == ""}, {"action", len(r.actions) == 0},
	} {
		if f.missing {
			return nil, fmt.Errorf("--%s is missing: a request takes --principal, --role, --resource and --action", f.name)
		}
	}
	kind, id := r.resource, ""
	if i := strings.LastIndexByte(r.resource, ':'); i >= 0 {
		kind, id = r.resource[:i], r.resource[i+1:]
	}
	if kind == "" {
		return nil, fmt.Errorf("--resource: %q names no kind; write kind or kind:id", r.resource)
	}
	out := &engine.Request{
		Principal: engine.Principal{ID: r.principal, Roles: r.roles, Scope: r.principalScope, PolicyVersion: r.principalVersion},
		Resource:  engine.Resource{Kind: kind, ID: id, Scope: r.resourceScope, PolicyVersion: r.resourceVersion},
		Actions:   r.actions,
	}
	var err error
	if out.Principal.Attr, err = attributeFlags("principal-attr", r.principalAttr); err != nil {
		return nil, err
	}
	out.Resource.Attr, err = attributeFlags("resource-attr", r.resourceAttr)
	return out, err
}

// attributeFlags reads attributes given as name=JSON.
func attributeFlags(flag string, given []string) (value.Mapping, error) {
	attr := make(value.Values, len(given))
	for _, g := range given {
		name, text, ok := strings.Cut(g, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s: %q is not of the form name=JSON", flag, g)
		}
		if _, twice := attr[name]; twice {
			return nil, fmt.Errorf("--%s: the attribute %q is there twice", flag, name)
		}
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, fmt.Errorf(`--%s: the value of %s is not JSON: %w; a text is written %s='"text"'`, flag, name, err, name)
		}
		attr[name] = value.Of(v)
	}
	return attr, nil
}
