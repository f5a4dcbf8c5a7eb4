package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
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

// requestTokens are the tokens of a request that are to be verified.
type requestTokens struct {
	jwt  *auxdata.Token
	jwts map[string]auxdata.Token
}

// readRequests reads a file with an entry {principal, resource, actions,
// auxData}, or with a CheckResources request of Cerbos, which has several
// resources. Tokens are nil if there are none to verify.
func readRequests(file string, content []byte) ([]*engine.Request, *requestTokens, diag.List) {
	doc := yamldoc.Parse(file, content)
	root, ok := doc.Root()
	if !ok {
		if list := doc.Diagnostics(); len(list) > 0 {
			return nil, nil, list
		}
		return nil, nil, diag.List{{Pos: diag.Position{File: file}, Code: yamldoc.MissingField, Message: "there is no request in the file",
			Hint: "write principal, resource and actions"}}
	}
	requests, tokens := readRequest(root)
	if list := doc.Diagnostics(); len(list) > 0 {
		return nil, nil, list
	}
	return requests, tokens, nil
}

func readRequest(n yamldoc.Node) (requests []*engine.Request, tokens *requestTokens) {
	o, ok := n.Object("requestId", "includeMeta", "principal", "resource", "actions", "resources", "auxData", "requestContext")
	if !ok {
		return nil, nil
	}
	base := engine.Request{}
	if p, ok := o.Required("principal"); ok {
		base.Principal = readPrincipal(p)
	}
	if a, ok := o.Field("auxData"); ok {
		base.AuxData, tokens = readAuxData(a)
	}
	name, _, ok := o.OneOf("resource", "resources")
	switch {
	case !ok:
	case name == "resource":
		requests = append(requests, readEntry(o, base))
	default:
		list, _ := o.Field("resources")
		entries, _ := list.List()
		for _, e := range entries {
			if entry, ok := e.Object("resource", "actions"); ok {
				requests = append(requests, readEntry(entry, base))
			}
		}
		if a, ok := o.Field("actions"); ok {
			a.Report(yamldoc.UnknownField, "actions stand beside each resource where there are several", "move them into the entries of resources")
		}
		if len(entries) == 0 {
			list.Report(yamldoc.MissingField, "resources is empty", "write at least one {resource, actions}")
		}
	}
	return requests, tokens
}

// readEntry reads the resource and the actions of an entry.
func readEntry(o yamldoc.Object, base engine.Request) *engine.Request {
	r := base
	if n, ok := o.Required("resource"); ok {
		r.Resource = readResource(n)
	}
	if n, ok := o.Required("actions"); ok {
		actions, _ := n.Texts()
		for _, a := range actions {
			r.Actions = append(r.Actions, a.Value)
		}
		if len(actions) == 0 {
			n.Report(yamldoc.MissingField, "actions is empty", "name at least one action")
		}
	}
	return &r
}

func readPrincipal(n yamldoc.Node) (p engine.Principal) {
	o, ok := n.Object("id", "policyVersion", "roles", "attr", "scope")
	if !ok {
		return p
	}
	p.ID = requiredText(o, "id")
	if n, ok := o.Required("roles"); ok {
		roles, _ := n.Texts()
		for _, r := range roles {
			p.Roles = append(p.Roles, r.Value)
		}
		if len(roles) == 0 {
			n.Report(yamldoc.MissingField, "roles is empty", "name at least one role: without any, everything is denied")
		}
	}
	p.Attr = readValues(o, "attr")
	p.PolicyVersion, p.Scope = optionalText(o, "policyVersion"), optionalText(o, "scope")
	return p
}

func readResource(n yamldoc.Node) (r engine.Resource) {
	o, ok := n.Object("kind", "policyVersion", "id", "attr", "scope")
	if !ok {
		return r
	}
	r.Kind, r.ID = requiredText(o, "kind"), optionalText(o, "id")
	r.Attr = readValues(o, "attr")
	r.PolicyVersion, r.Scope = optionalText(o, "policyVersion"), optionalText(o, "scope")
	return r
}

// readAuxData reads tokens to verify or claims that are decoded already. What
// has a member called token is a token.
func readAuxData(n yamldoc.Node) (data engine.AuxData, tokens *requestTokens) {
	o, ok := n.Object("jwt", "jwts")
	if !ok {
		return data, nil
	}
	if n, ok := o.Field("jwt"); ok {
		if t, ok := readToken(n); ok {
			tokens = &requestTokens{jwt: &t}
		} else {
			data.JWT = entriesOf(n)
		}
	}
	named, ok := o.Field("jwts")
	if !ok {
		return data, tokens
	}
	if _, both := o.Field("jwt"); both {
		named.Report(yamldoc.OneOfRepeated, "jwt and jwts exclude each other", "keep one of them")
	}
	entries, _ := named.Entries()
	for _, e := range entries {
		if t, ok := readToken(e.Value); ok {
			if tokens == nil {
				tokens = &requestTokens{jwts: map[string]auxdata.Token{}}
			}
			tokens.jwts[e.Key.Value] = t
			continue
		}
		o, ok := e.Value.Object("claims")
		if !ok {
			continue
		}
		if data.JWTs == nil {
			data.JWTs = map[string]value.Mapping{}
		}
		data.JWTs[e.Key.Value] = value.Values{}
		if claims := readValues(o, "claims"); claims != nil {
			data.JWTs[e.Key.Value] = claims
		}
	}
	if tokens != nil && len(data.JWTs) > 0 {
		named.Report(yamldoc.OneOfRepeated, "some of jwts are tokens and some are claims", "give the claims of all, or the tokens of all")
	}
	return data, tokens
}

// readToken reads {token, keySetId}, if n is that.
func readToken(n yamldoc.Node) (auxdata.Token, bool) {
	if !n.IsMapping() {
		return auxdata.Token{}, false
	}
	entries, _ := n.Entries()
	for _, e := range entries {
		if e.Key.Value == "token" {
			o, ok := n.Object("token", "keySetId")
			if !ok {
				return auxdata.Token{}, false
			}
			return auxdata.Token{Raw: requiredText(o, "token"), KeySetID: optionalText(o, "keySetId")}, true
		}
	}
	return auxdata.Token{}, false
}

func readValues(o yamldoc.Object, name string) value.Mapping {
	n, ok := o.Field(name)
	if !ok {
		return nil
	}
	return entriesOf(n)
}

// entriesOf gives a mapping with free keys as values.
func entriesOf(n yamldoc.Node) value.Mapping {
	out := value.Values{}
	entries, _ := n.Entries()
	for _, e := range entries {
		if v, ok := e.Value.Value(); ok {
			out[e.Key.Value] = v
		}
	}
	return out
}

func requiredText(o yamldoc.Object, name string) string {
	n, ok := o.Required(name)
	if !ok {
		return ""
	}
	t, _ := n.NonEmptyText()
	return t.Value
}

func optionalText(o yamldoc.Object, name string) string {
	n, ok := o.Field(name)
	if !ok {
		return ""
	}
	t, _ := n.Text()
	return t.Value
}
