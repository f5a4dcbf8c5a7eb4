package extauthz

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/value"
	"edict/extauthz/routemap"
	"edict/extauthz/target"
	"edict/extauthz/wire"
)

// A class is the outcomes that clients are mostly told of in one way.
type class string

const (
	classUnauthenticated class = "unauthenticated" // who are you?
	classForbidden       class = "forbidden"       // not you, or not this
	classInvalid         class = "invalid"         // not like this
	classUnavailable     class = "unavailable"     // not now
)

var classes = []class{classUnauthenticated, classForbidden, classInvalid, classUnavailable}

// class gives the class of a denial.
func (o Outcome) class() class {
	switch row := &outcomes[o]; {
	case row.Code == codes.Unauthenticated:
		return classUnauthenticated
	case row.Code == codes.PermissionDenied:
		return classForbidden
	case row.Code == codes.InvalidArgument, row.Status == http.StatusRequestEntityTooLarge:
		return classInvalid
	default:
		return classUnavailable
	}
}

// onDeny is how clients are told of each outcome; nil: in the plain way.
type onDeny [outcomeCount]*denial

// A denial is a routemap.Denial, compiled.
type denial struct {
	status   *term // nil: that of the outcome
	headers  []header
	problem  *problem
	text     *term
	html     *page
	message  *term
	redirect *redirect
	metadata []attribute

	// The answers, if they don't depend on the request; a redirect does.
	prepared *answers
}

type problem struct {
	kind, title, detail, instance *term
	members                       []attribute
}

// A page is a template of HTML. It is executed with texts alone, which the
// template escapes for the place where they stand.
type page struct {
	template *template.Template
	values   []attribute
}

type redirect struct {
	status int
	to     string // up to and with the name of the parameter for the path
	plain  string // without it
	next   bool
}

// onDeny compiles what a route, a file or the configuration says of denials.
// What it says nothing about is inherited.
func (t terms) onDeny(from *routemap.OnDeny, base *onDeny) *onDeny {
	if from == nil {
		return base
	}
	named := map[string]*denial{}
	for i := range from.Denials {
		d := &from.Denials[i]
		if !slices.Contains(denialNames(), d.Class.Value) {
			t.report(t.file, d.Class.Pos, CodeRouteResponse, fmt.Sprintf("no denial is called %q", d.Class.Value),
				orDefault(diag.DidYouMean(d.Class.Value, denialNames()), "write default, unauthenticated, forbidden, invalid, unavailable, or the label of an outcome"))
		}
		named[d.Class.Value] = t.denial(d)
	}
	out := new(onDeny)
	for o := range outcomeCount {
		if o.Passes() {
			continue
		}
		for _, name := range []string{o.String(), string(o.class()), routemap.DefaultClass} {
			if d, ok := named[name]; ok {
				out[o] = d
				break
			}
		}
		if out[o] == nil && base != nil {
			out[o] = base[o]
		}
	}
	return out
}

// denialNames lists what an entry of onDeny can be for.
func denialNames() []string {
	out := []string{routemap.DefaultClass}
	for _, c := range classes {
		out = append(out, string(c))
	}
	for o := range outcomeCount {
		if !o.Passes() {
			out = append(out, o.String())
		}
	}
	return out
}

func (t terms) denial(from *routemap.Denial) *denial {
	optional := func(from *routemap.Term) *term {
		if from == nil {
			return nil
		}
		out := t.term(from, noItem)
		return &out
	}
	d := &denial{
		status:   optional(from.Status),
		headers:  t.headers(from.Headers, t.reservedOfDenials),
		text:     optional(from.Text),
		message:  optional(from.Message),
		metadata: t.metadata(from.Metadata),
	}
	t.tooMany(from.Pos, len(d.headers))
	if from.Hide {
		if from.Status != nil || from.Redirect != nil {
			t.report(t.file, from.Pos, CodeRouteResponse, "hide can't stand beside status or redirect, since it answers 404", "keep one of them")
		}
		d.status = &term{constant: value.OfDouble(http.StatusNotFound)}
	} else if s := d.status; s != nil && s.program == nil {
		if _, err := denialStatus(s.constant); err != nil {
			t.report(t.file, from.Status.Pos, CodeRouteResponse, fmt.Sprintf("the status of a denial: %v", err), "write a status from 400 to 599 that Envoy knows")
		}
	}
	if p := from.Problem; p != nil {
		d.problem = &problem{
			kind: optional(p.Type), title: optional(p.Title), detail: optional(p.Detail), instance: optional(p.Instance),
			members: t.attributes(p.Members, noItem),
		}
		for _, m := range p.Members {
			if slices.Contains(problemMembers, m.Name.Value) {
				t.report(t.file, m.Name.Pos, CodeRouteResponse, fmt.Sprintf("the member %q has a meaning of its own", m.Name.Value), "write it beside members, or choose another name")
			}
		}
	}
	if from.HTML != nil {
		d.html = t.page(from.HTML)
	}
	if from.Redirect != nil {
		d.redirect = t.redirect(from.Redirect)
	}
	return d
}

// problemMembers are the members that RFC 9457 and Edict give a meaning to.
var problemMembers = []string{"type", "title", "status", "detail", "instance", "reason", "cause", "policy", "rule", "decision"}

func (t terms) page(from *routemap.HTML) *page {
	p := &page{values: t.attributes(from.Values, noItem)}
	t.scalars(from.Values)
	names := map[string]string{"title": "", "status": ""}
	for _, v := range from.Values {
		if _, own := names[v.Name.Value]; own {
			t.report(t.file, v.Name.Pos, CodeRouteResponse, fmt.Sprintf("the value %q is there already", v.Name.Value), "choose another name")
		}
		names[v.Name.Value] = ""
	}
	var err error
	if p.template, err = template.New("html").Option("missingkey=error").Parse(from.Template.Value); err == nil {
		err = p.template.Execute(io.Discard, names) // finds names that there are not, and escapes once
	}
	if err != nil {
		t.report(t.file, from.Template.Pos, CodeRouteResponse, fmt.Sprintf("the template: %v", err),
			"it is one of Go's html/template, which knows .title, .status and what stands under values, all of them texts")
		return nil
	}
	return p
}

func (t terms) redirect(from *routemap.Redirect) *redirect {
	r := &redirect{status: from.Status, to: from.To.Value}
	switch from.Status {
	case 0:
		r.status = http.StatusFound
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	default:
		t.report(t.file, from.Pos, CodeRouteResponse, fmt.Sprintf("the status %d does not lead to a login", from.Status), "write 302, 303 or 307")
	}
	if !goodTarget(r.to) {
		t.report(t.file, from.To.Pos, CodeRouteResponse, fmt.Sprintf("%q is not where a redirect can lead", r.to),
			"write an address like https://login.example.com/start, or a path that begins with one /")
	}
	r.plain = r.to
	if name := from.Next.Value; name != "" {
		separator := "?"
		if strings.Contains(r.to, "?") {
			separator = "&"
		}
		r.to, r.next = r.to+separator+string(wire.AppendEscaped(nil, name))+"=", true
	}
	return r
}

// goodTarget tells whether an address is absolute, or a path of this site, and
// can be sent as it is.
func goodTarget(to string) bool {
	if !wire.ValidHeader("location", to) || strings.ContainsAny(to, ` #\`) {
		return false
	}
	rest, secure := strings.CutPrefix(to, "https://")
	if !secure {
		if rest, secure = strings.CutPrefix(to, "http://"); !secure {
			return sitePath(to)
		}
	}
	host := rest
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host = rest[:i]
	}
	_, reason := target.Host(host)
	return reason == target.OK
}

// sitePath tells whether every browser takes s, as it stands in an address, for
// a path of the site it is at.
func sitePath(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return staysOnSite(s)
}

// staysOnSite tells whether a path begins with one slash. What begins with // or
// /\ is an address elsewhere, and browsers take every \ for a /.
func staysOnSite(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && !strings.Contains(s, `\`)
}

// prepare writes the answers beforehand, if they don't depend on the request.
func (d *denial) prepare(r *Revision) {
	if d.prepared != nil || !d.constant() || r.options.Respond.FullDetail {
		return
	}
	x := &exchange{rev: r, frame: r.env.NewFrame()}
	a := new(answers)
	for o := range outcomeCount {
		if o.Passes() {
			continue
		}
		for f := range formCount {
			var err error
			if a[f][o], err = x.makeDenial(d, f, o); err != nil {
				return // the plain one is given each time
			}
		}
	}
	d.prepared = a
}

func (d *denial) constant() bool {
	terms := []*term{d.status, d.text, d.message}
	lists := [][]attribute{d.metadata}
	if p := d.problem; p != nil {
		terms = append(terms, p.kind, p.title, p.detail, p.instance)
		lists = append(lists, p.members)
	}
	if d.html != nil {
		lists = append(lists, d.html.values)
	}
	for i := range d.headers {
		terms = append(terms, &d.headers[i].value)
	}
	for _, list := range lists {
		for i := range list {
			terms = append(terms, &list[i].term)
		}
	}
	return !slices.ContainsFunc(terms, func(t *term) bool { return t != nil && t.program != nil })
}

// denial gives how the client is to be told of an outcome; nil: in the plain
// way.
func (x *exchange) denial(o Outcome) *denial {
	by := x.rev.deny
	if x.route != nil {
		by = x.route.deny
	}
	if by == nil {
		return nil
	}
	return by[o]
}

// deny appends the answer of a denial to dst.
func (x *exchange) deny(dst []byte, o Outcome) []byte {
	f := x.form()
	plain := &x.rev.answers[f][o]
	d := x.denial(o)
	switch {
	case d == nil && !x.rev.options.Respond.FullDetail:
		return plain.Append(dst, x.headers, x.metadata)
	case d == nil:
		d = new(denial)
	}
	if d.redirect != nil && f == formHTML && (x.in.Method() == http.MethodGet || x.in.Method() == http.MethodHead) {
		return x.sendElsewhere(d.redirect, o).Append(dst, x.headers, x.metadata)
	}
	if d.prepared != nil {
		return d.prepared[f][o].Append(dst, x.headers, x.metadata)
	}
	x.show(o)
	out, err := x.makeDenial(d, f, o)
	if err != nil {
		return plain.Append(dst, x.headers, x.metadata)
	}
	return out.Append(dst, x.headers, x.metadata)
}

// sendElsewhere makes a redirect. The path that was asked for goes with it if
// it is one beyond doubt; whoever sends the client back reads it decoded once.
func (x *exchange) sendElsewhere(r *redirect, o Outcome) wire.Response {
	location := r.plain
	if raw := x.target.RawPath(); r.next && x.target.OK() && sitePath(raw) && staysOnSite(x.target.Path()) {
		if long := r.to + string(wire.AppendEscaped(nil, raw)); len(long) <= wire.MaxHeaderLen {
			location = long
		}
	}
	return wire.Denied(int32(outcomes[o].Code), int32(r.status),
		[]wire.HeaderValue{{Name: "location", Value: location}, {Name: "cache-control", Value: "no-store"}}, "",
		x.rev.metadata.prepared("deny", outcomes[o].Label, x.rev.id))
}

// errTooLarge is for an answer that is larger than clients are sent.
var errTooLarge = errors.New("the answer is too large")

// makeDenial makes the answer that d asks for. On an error the client is told
// in the plain way.
func (x *exchange) makeDenial(d *denial, f form, o Outcome) (wire.Response, error) {
	status := outcomes[o].Status
	if d.status != nil {
		var err error
		if status, err = denialStatus(d.status.eval(x.frame)); err != nil {
			return wire.Response{}, err
		}
	}
	headers := denialHeaders(f, o, status, &x.rev.options)
	size := 0
	for i := range d.headers {
		h := &d.headers[i]
		text, failed, err := h.text(h.value.eval(x.frame))
		if failed {
			return wire.Response{}, err
		}
		if err != nil || text == "" {
			continue // a client can do without
		}
		if size += len(h.name) + len(text); size > maxHeaderBytes {
			return wire.Response{}, errTooLarge
		}
		headers = slices.DeleteFunc(headers, func(own wire.HeaderValue) bool { return own.Name == h.name })
		headers = append(headers, wire.HeaderValue{Name: h.name, Value: text})
	}
	body, err := x.denialBody(d, f, o, status)
	if err != nil {
		return wire.Response{}, err
	}
	if len(body) > maxBody {
		return wire.Response{}, errTooLarge
	}
	metadata, err := x.evalMetadata(x.rev.metadata.prepared("deny", outcomes[o].Label, x.rev.id), d.metadata)
	if err != nil {
		return wire.Response{}, err
	}
	return wire.Denied(int32(outcomes[o].Code), int32(status), headers, body, metadata), nil
}

// denialStatus reads the HTTP status of a denial, from 400 on: nothing that a
// client or the backend's own clients could take for success.
func denialStatus(v value.Value) (int, error) {
	n := 0
	switch v.Kind() {
	case value.Error:
		return 0, v.Err()
	case value.Int:
		n = int(min(max(v.Int(), 0), 1000))
	case value.Uint:
		n = int(min(v.Uint(), 1000))
	case value.Double:
		if d := v.Double(); d >= 0 && d <= 1000 && d == float64(int(d)) {
			n = int(d)
		}
	}
	if n < 400 || n > 599 || !wire.KnownStatus(n) {
		return 0, fmt.Errorf("%s is none", v)
	}
	return n, nil
}

func (x *exchange) denialBody(d *denial, f form, o Outcome, status int) (string, error) {
	switch f {
	case formProblem:
		return x.problemBody(d.problem, o, status)
	case formHTML:
		if d.html != nil {
			return x.pageBody(d.html, status)
		}
	case formText:
		if d.text != nil {
			text, _, err := scalarText(d.text.eval(x.frame))
			return text, err
		}
	default:
		if d.message != nil {
			text, _, err := scalarText(d.message.eval(x.frame))
			return text, err
		}
	}
	body := plainBody(f, status)
	if x.rev.options.Respond.FullDetail {
		body = withDetail(body, f, x.fullDetail(o))
	}
	return body, nil
}

func (x *exchange) pageBody(p *page, status int) (string, error) {
	values := map[string]string{"title": http.StatusText(status), "status": fmt.Sprint(status)}
	for i := range p.values {
		text, _, err := scalarText(p.values[i].term.eval(x.frame))
		if err != nil {
			return "", err
		}
		values[p.values[i].name] = text
	}
	var b bytes.Buffer
	err := p.template.Execute(&b, values)
	return b.String(), err
}

// problemBody makes problem details (RFC 9457 §3.1).
func (x *exchange) problemBody(p *problem, o Outcome, status int) (string, error) {
	if p == nil {
		p = new(problem)
	}
	b := []byte{'{'}
	add := func(name string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(append(b, '"'), name...), `":`...), text...)
		return nil
	}
	for _, m := range []struct {
		name    string
		term    *term
		without any // what stands there without a term
	}{
		{"type", p.kind, nil}, {"title", p.title, http.StatusText(status)}, {"status", nil, status},
		{"detail", p.detail, nil}, {"instance", p.instance, nil},
	} {
		v := m.without
		if m.term != nil {
			text, there, err := scalarText(m.term.eval(x.frame))
			if err != nil {
				return "", err
			}
			if there {
				v = text
			}
		}
		if v != nil {
			if err := add(m.name, v); err != nil {
				return "", err
			}
		}
	}
	for i := range p.members {
		m := &p.members[i]
		v, there := expr.Optional(m.term.eval(x.frame))
		if !there {
			continue
		}
		v, err := x.frame.Detach(v)
		if err != nil {
			return "", err
		}
		name, err := json.Marshal(m.name)
		if err == nil {
			err = add(strings.Trim(string(name), `"`), v.Native())
		}
		if err != nil {
			return "", err
		}
	}
	if x.rev.options.Respond.FullDetail {
		for _, d := range x.fullDetail(o) {
			if err := add(d[0], d[1]); err != nil {
				return "", err
			}
		}
	}
	return string(append(b, "}\n"...)), nil
}

// fullDetail gives what developers are told of a denial, and nobody else: how
// the check ended, and which rule decided. It holds nothing that the client or
// its token said.
func (x *exchange) fullDetail(o Outcome) [][2]string {
	out := [][2]string{{"reason", outcomes[o].Label}}
	cause := x.detail
	r := x.deciding()
	if cause == "" && r != nil {
		cause = r.Reason.String()
	}
	if cause != "" {
		out = append(out, [2]string{"cause", cause})
	}
	if r != nil {
		out = append(out, [2]string{"policy", r.Policy})
		if r.Rule != nil {
			out = append(out, [2]string{"rule", r.Rule.Name})
		}
	}
	return append(out, [2]string{"decision", x.id.String()})
}

// withDetail adds details to a plain body that is no problem details.
func withDetail(body string, f form, details [][2]string) string {
	var b strings.Builder
	switch f {
	case formHTML:
		before, after, _ := strings.Cut(body, "</body>")
		b.WriteString(before + "<dl>")
		for _, d := range details {
			fmt.Fprintf(&b, "<dt>%s</dt><dd>%s</dd>", d[0], template.HTMLEscapeString(d[1]))
		}
		b.WriteString("</dl></body>" + after)
	case formText:
		b.WriteString(body)
		for _, d := range details {
			fmt.Fprintf(&b, "%s: %s\n", d[0], d[1])
		}
	default:
		b.WriteString(body)
		for i, d := range details {
			separator := "; "
			if i == 0 {
				separator = ": "
			}
			fmt.Fprintf(&b, "%s%s %s", separator, d[0], d[1])
		}
	}
	return b.String()
}
