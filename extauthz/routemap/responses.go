package routemap

import (
	"edict/engine/diag"
	"edict/engine/yamldoc"
)

// An OnAllow says what becomes of a request that is allowed, and of the response
// to it.
type OnAllow struct {
	Pos             diag.Position
	Headers         []Header // of the request
	RemoveHeaders   []diag.Text
	ResponseHeaders []Header
	SetQuery        []Attribute
	RemoveQuery     []diag.Text
	Metadata        []Attribute // dynamic metadata

	// Source holds the lines of the file, for diagnostics to show.
	Source []string
}

// A Header is a header to set. The empty Action is HeaderSet.
type Header struct {
	Name   diag.Text
	Value  Term
	Action string
	Encode bool // percent-encode what a header can't carry
}

// The actions of a Header: what becomes of headers of that name that are there.
const (
	HeaderSet               = "set"
	HeaderAppend            = "append"
	HeaderAddIfAbsent       = "addIfAbsent"
	HeaderOverwriteIfExists = "overwriteIfExists"
)

// An OnDeny says how clients are told of denials.
type OnDeny struct {
	Pos     diag.Position
	Denials []Denial

	// Source holds the lines of the file, for diagnostics to show.
	Source []string
}

// A Denial is how clients are told of the denials of a class.
type Denial struct {
	Pos      diag.Position
	Class    diag.Text // a class, the label of an outcome, or DefaultClass
	Hide     bool      // as if there were nothing: 404
	Status   *Term
	Headers  []Header
	Problem  *Problem
	Text     *Term
	HTML     *HTML
	Message  *Term // of a gRPC status
	Redirect *Redirect
	Metadata []Attribute // dynamic metadata
}

// DefaultClass is the Class of a Denial for what has none of its own.
const DefaultClass = "default"

// A Problem is a body of problem details (RFC 9457).
type Problem struct {
	Pos                           diag.Position
	Type, Title, Detail, Instance *Term
	Members                       []Attribute // further ones
}

// An HTML is a template of html/template, and what it shows by name.
type HTML struct {
	Template diag.Text
	Values   []Attribute
}

// A Redirect sends browsers elsewhere, to log in.
type Redirect struct {
	Pos    diag.Position
	To     diag.Text
	Status int       // 0: not given
	Next   diag.Text // the parameter that holds the path that was asked for; empty: none
}

// ParseOnAllow reads an OnAllow.
func ParseOnAllow(n yamldoc.Node) *OnAllow {
	o, ok := n.Object("headers", "removeHeaders", "responseHeaders", "setQuery", "removeQuery", "metadata")
	if !ok {
		return nil
	}
	return &OnAllow{
		Pos:             n.Pos(),
		Headers:         parseHeaders(o, "headers"),
		RemoveHeaders:   texts(o, "removeHeaders"),
		ResponseHeaders: parseHeaders(o, "responseHeaders"),
		SetQuery:        namedTerms(o, "setQuery"),
		RemoveQuery:     texts(o, "removeQuery"),
		Metadata:        namedTerms(o, "metadata"),
		Source:          n.Document().Lines(),
	}
}

// ParseOnDeny reads an OnDeny.
func ParseOnDeny(n yamldoc.Node) *OnDeny {
	entries, ok := n.Entries()
	if !ok {
		return nil
	}
	out := &OnDeny{Pos: n.Pos(), Source: n.Document().Lines()}
	for _, e := range entries {
		if d, ok := parseDenial(e.Value); ok {
			d.Class = e.Key
			out.Denials = append(out.Denials, d)
		}
	}
	return out
}

func parseDenial(n yamldoc.Node) (Denial, bool) {
	d := Denial{Pos: n.Pos()}
	o, ok := n.Object("hide", "status", "headers", "problem", "text", "html", "message", "redirect", "metadata")
	if !ok {
		return d, false
	}
	if n, ok := o.Field("hide"); ok {
		d.Hide, _ = n.Bool()
	}
	if n, ok := o.Field("status"); ok {
		if t, ok := term(n); ok {
			d.Status = &t
		}
	}
	d.Headers = parseHeaders(o, "headers")
	if n, ok := o.Field("problem"); ok {
		d.Problem = parseProblem(n)
	}
	d.Text = optionalTerm(o, "text")
	if n, ok := o.Field("html"); ok {
		d.HTML = parseHTML(n)
	}
	d.Message = optionalTerm(o, "message")
	if n, ok := o.Field("redirect"); ok {
		d.Redirect = parseRedirect(n)
	}
	d.Metadata = namedTerms(o, "metadata")
	return d, true
}

func parseHeaders(o yamldoc.Object, field string) (out []Header) {
	n, ok := o.Field(field)
	if !ok {
		return nil
	}
	entries, _ := n.Entries()
	for _, e := range entries {
		if h, ok := parseHeader(e.Value); ok {
			h.Name = e.Key
			out = append(out, h)
		}
	}
	return out
}

// parseHeader reads a text, {expr: …}, or {value: …} with more beside it.
func parseHeader(n yamldoc.Node) (Header, bool) {
	var h Header
	if !n.IsMapping() || isExpr(n) {
		t, ok := textTerm(n)
		h.Value = t
		return h, ok
	}
	o, ok := n.Object("value", "action", "encode")
	if !ok {
		return h, false
	}
	v, ok := o.Required("value")
	if ok {
		h.Value, ok = textTerm(v)
	}
	if n, given := o.Field("action"); given {
		h.Action, _ = n.Enum(HeaderSet, HeaderAppend, HeaderAddIfAbsent, HeaderOverwriteIfExists)
	}
	if n, given := o.Field("encode"); given {
		_, h.Encode = n.Enum("percent")
	}
	return h, ok
}

func parseProblem(n yamldoc.Node) *Problem {
	o, ok := n.Object("type", "title", "detail", "instance", "members")
	if !ok {
		return nil
	}
	return &Problem{
		Pos:  n.Pos(),
		Type: optionalTerm(o, "type"), Title: optionalTerm(o, "title"),
		Detail: optionalTerm(o, "detail"), Instance: optionalTerm(o, "instance"),
		Members: namedTerms(o, "members"),
	}
}

// parseHTML reads a template, or {template: …, values: …}.
func parseHTML(n yamldoc.Node) *HTML {
	if !n.IsMapping() {
		t, ok := n.NonEmptyText()
		if !ok {
			return nil
		}
		return &HTML{Template: t}
	}
	o, ok := n.Object("template", "values")
	if !ok {
		return nil
	}
	h := &HTML{Values: namedTerms(o, "values")}
	if n, ok = o.Required("template"); ok {
		h.Template, ok = n.NonEmptyText()
	}
	if !ok {
		return nil
	}
	return h
}

func parseRedirect(n yamldoc.Node) *Redirect {
	o, ok := n.Object("to", "status", "next")
	if !ok {
		return nil
	}
	r := &Redirect{Pos: n.Pos()}
	if n, ok := o.Required("to"); ok {
		r.To, _ = n.NonEmptyText()
	}
	if n, ok := o.Field("status"); ok {
		r.Status, _ = n.Int()
	}
	if n, ok := o.Field("next"); ok {
		r.Next, _ = n.NonEmptyText()
	}
	return r
}

// parseResponses reads what a route or the defaults of a file say of answers.
func parseResponses(o yamldoc.Object) (allow *OnAllow, deny *OnDeny) {
	if n, ok := o.Field("onAllow"); ok {
		allow = ParseOnAllow(n)
	}
	if n, ok := o.Field("onDeny"); ok {
		deny = ParseOnDeny(n)
	}
	return allow, deny
}
