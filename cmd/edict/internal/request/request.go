package request

import (
	"fmt"
	"time"

	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/diag"
	"edict/engine/value"
	"edict/engine/yamldoc"
)

// Options say which requests are taken.
type Options struct {
	// Partial takes one request that is still being put together: every part
	// may be absent, and now, an instant of RFC 3339, may be there.
	Partial bool

	// Tokens takes tokens in place of claims.
	Tokens bool
}

// Tokens are the tokens of a request that are to be verified: one, or several
// by name.
type Tokens struct {
	JWT  *auxdata.Token
	JWTs map[string]auxdata.Token
}

// Read reads the requests of a file; a partial one is always one. Tokens are
// nil if there are none to verify.
func Read(file string, content []byte, options Options) (requests []*engine.Request, tokens *Tokens, list diag.List) {
	list = document(file, content, func(n yamldoc.Node) { requests, tokens = reader{options}.requests(n) })
	if len(list) > 0 {
		return nil, nil, list
	}
	return requests, tokens, nil
}

// Principal reads a principal alone, any field of which may be absent.
func Principal(file string, content []byte) (p engine.Principal, list diag.List) {
	list = document(file, content, func(n yamldoc.Node) { p = reader{Options{Partial: true}}.principal(n) })
	return p, list
}

// Resource reads a resource alone, any field of which may be absent.
func Resource(file string, content []byte) (r engine.Resource, list diag.List) {
	list = document(file, content, func(n yamldoc.Node) { r = reader{Options{Partial: true}}.resource(n) })
	return r, list
}

// document reads a file whose content may not be empty.
func document(file string, content []byte, read func(yamldoc.Node)) diag.List {
	doc := yamldoc.Parse(file, content)
	if root, ok := doc.Root(); ok {
		read(root)
	} else if len(doc.Diagnostics()) == 0 {
		doc.Report(diag.Position{File: file, Line: 1, Column: 1}, yamldoc.MissingField, "there is no request", "write principal, resource and actions")
	}
	return doc.Diagnostics()
}

type reader struct{ Options }

func (r reader) requests(n yamldoc.Node) (out []*engine.Request, tokens *Tokens) {
	names := []string{"requestId", "includeMeta", "principal", "resource", "actions", "resources", "auxData", "requestContext"}
	if r.Partial {
		names = append(names, "now")
	}
	o, ok := n.Object(names...)
	if !ok {
		return nil, nil
	}
	var base engine.Request
	if p, ok := r.field(o, "principal"); ok {
		base.Principal = r.principal(p)
	}
	if a, ok := o.Field("auxData"); ok {
		base.AuxData, tokens = r.auxData(a)
	}
	if at, ok := o.Field("now"); ok {
		base.Now = instant(at)
	}
	list, several := o.Field("resources")
	if !several && r.Partial {
		return []*engine.Request{r.entry(o, base)}, tokens
	}
	switch name, _, ok := o.OneOf("resource", "resources"); {
	case !ok:
	case name == "resource":
		out = append(out, r.entry(o, base))
	default:
		out = r.entries(list, base)
		if a, ok := o.Field("actions"); ok {
			a.Report(yamldoc.UnknownField, "actions stand beside each resource where there are several", "move them into the entries of resources")
		}
	}
	return out, tokens
}

// entries reads the list of resources with their actions.
func (r reader) entries(n yamldoc.Node, base engine.Request) (out []*engine.Request) {
	list, ok := n.List()
	switch {
	case !ok:
		return nil
	case r.Partial && len(list) != 1:
		n.Report(yamldoc.WrongType, fmt.Sprintf("resources has %d entries, but only one resource can be taken", len(list)), "keep one of them")
	case len(list) == 0:
		n.Report(yamldoc.MissingField, "resources is empty", "write at least one {resource, actions}")
	}
	for _, e := range list {
		if o, ok := e.Object("resource", "actions"); ok {
			out = append(out, r.entry(o, base))
		}
	}
	return out
}

// entry reads a resource and the actions beside it.
func (r reader) entry(o yamldoc.Object, base engine.Request) *engine.Request {
	if n, ok := r.field(o, "resource"); ok {
		base.Resource = r.resource(n)
	}
	base.Actions = r.texts(o, "actions", "name at least one action")
	return &base
}

func (r reader) principal(n yamldoc.Node) (p engine.Principal) {
	if o, ok := n.Object("id", "policyVersion", "roles", "attr", "scope"); ok {
		p.ID = r.text(o, "id")
		p.Roles = r.texts(o, "roles", "name at least one role: without any, everything is denied")
		p.Attr = attributes(o, "attr")
		p.PolicyVersion, p.Scope = optionalText(o, "policyVersion"), optionalText(o, "scope")
	}
	return p
}

func (r reader) resource(n yamldoc.Node) (out engine.Resource) {
	if o, ok := n.Object("kind", "policyVersion", "id", "attr", "scope"); ok {
		out.Kind, out.ID = r.text(o, "kind"), optionalText(o, "id")
		out.Attr = attributes(o, "attr")
		out.PolicyVersion, out.Scope = optionalText(o, "policyVersion"), optionalText(o, "scope")
	}
	return out
}

// auxData reads claims, or tokens to verify. What has a member called token is
// a token.
func (r reader) auxData(n yamldoc.Node) (data engine.AuxData, tokens *Tokens) {
	o, ok := n.Object("jwt", "jwts")
	if !ok {
		return data, nil
	}
	one, hasOne := o.Field("jwt")
	if hasOne {
		if t, ok := r.token(one); ok {
			tokens = &Tokens{JWT: &t}
		} else {
			data.JWT = attributes(o, "jwt")
		}
	}
	named, ok := o.Field("jwts")
	if !ok {
		return data, tokens
	}
	if hasOne {
		named.Report(yamldoc.OneOfRepeated, "jwt and jwts exclude each other", "keep one of them")
	}
	entries, _ := named.Entries()
	for _, e := range entries {
		if t, ok := r.token(e.Value); ok {
			if tokens == nil {
				tokens = &Tokens{JWTs: map[string]auxdata.Token{}}
			}
			tokens.JWTs[e.Key.Value] = t
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
		if claims := attributes(o, "claims"); claims != nil {
			data.JWTs[e.Key.Value] = claims
		}
	}
	if tokens != nil && len(data.JWTs) > 0 {
		named.Report(yamldoc.OneOfRepeated, "some of jwts are tokens and some are claims", "give the claims of all, or the tokens of all")
	}
	return data, tokens
}

// token reads {token, keySetId}, if n is that.
func (r reader) token(n yamldoc.Node) (t auxdata.Token, ok bool) {
	if _, ok := n.Key("token"); !ok {
		return t, false
	}
	if !r.Tokens {
		n.Report(yamldoc.WrongType, "tokens are not verified here", "write the claims themselves")
		return t, true
	}
	if o, ok := n.Object("token", "keySetId"); ok {
		t.KeySetID = optionalText(o, "keySetId")
		if n, ok := o.Required("token"); ok {
			raw, _ := n.NonEmptyText()
			t.Raw = raw.Value
		}
	}
	return t, true
}

// field gives a field that only a partial request may lack.
func (r reader) field(o yamldoc.Object, name string) (yamldoc.Node, bool) {
	if r.Partial {
		return o.Field(name)
	}
	return o.Required(name)
}

// text gives a text that only a partial request may lack.
func (r reader) text(o yamldoc.Object, name string) string {
	if r.Partial {
		return optionalText(o, name)
	}
	n, ok := o.Required(name)
	if !ok {
		return ""
	}
	t, _ := n.NonEmptyText()
	return t.Value
}

// texts gives a list that only a partial request may lack or have empty.
func (r reader) texts(o yamldoc.Object, name, hint string) (out []string) {
	n, ok := r.field(o, name)
	if !ok {
		return nil
	}
	list, sound := n.Texts()
	for _, t := range list {
		out = append(out, t.Value)
	}
	if sound && len(list) == 0 && !r.Partial {
		n.Report(yamldoc.MissingField, name+" is empty", hint)
	}
	return out
}

func optionalText(o yamldoc.Object, name string) string {
	n, ok := o.Field(name)
	if !ok {
		return ""
	}
	t, _ := n.Text()
	return t.Value
}

// attributes gives a field that is a mapping with free keys; nil if it is
// absent.
func attributes(o yamldoc.Object, name string) value.Mapping {
	n, ok := o.Field(name)
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	out := make(value.Values, len(entries))
	for _, e := range entries {
		if v, ok := e.Value.Value(); ok {
			out[e.Key.Value] = v
		}
	}
	return out
}

func instant(n yamldoc.Node) time.Time {
	t, ok := n.Text()
	at, err := time.Parse(time.RFC3339Nano, t.Value)
	if ok && err != nil {
		n.Report(yamldoc.WrongType, fmt.Sprintf("now: %q is not a timestamp", t.Value), "write it as in 2026-01-31T08:00:00Z")
	}
	return at
}
