package extauthz

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"edict/engine/diag"
	"edict/engine/expr"
	"edict/engine/value"
	"edict/extauthz/routemap"
	"edict/extauthz/wire"
)

// The diagnostics that onAllow and onDeny can give, beside those of their
// expressions.
const (
	// CodeRouteHeader is for a header that routes can't set or remove.
	CodeRouteHeader diag.Code = "route-header"

	// CodeRouteResponse is for what an answer can't be.
	CodeRouteResponse diag.Code = "route-response"
)

// The most that routes may add to a message, in number and in bytes. Envoy
// refuses requests with more than 100 headers or 60 KiB of them.
const (
	maxHeaders     = 20
	maxHeaderBytes = 16 << 10
	maxBody        = 8 << 10
)

// An onAllow is what becomes of a request that is allowed: routemap.OnAllow,
// compiled, of a route with all that it inherits.
type onAllow struct {
	headers, responseHeaders []header
	removeHeaders            []string
	setQuery                 []attribute
	removeQuery              []string
	metadata                 []attribute

	constant wire.Allow // what does not depend on the request, and is not above
}

// A header is a routemap.Header, compiled.
type header struct {
	name   string
	value  term
	action wire.Action
	encode bool
}

// headerActions are the actions of headers by their names in route maps.
var headerActions = map[string]wire.Action{
	"": wire.Overwrite, routemap.HeaderSet: wire.Overwrite, routemap.HeaderAppend: wire.Append,
	routemap.HeaderAddIfAbsent: wire.AddIfAbsent, routemap.HeaderOverwriteIfExists: wire.OverwriteIfExists,
}

// onAllow compiles an OnAllow; nil gives nil.
func (t terms) onAllow(from *routemap.OnAllow) *onAllow {
	if from == nil {
		return nil
	}
	out := &onAllow{
		headers:         t.headers(from.Headers, t.reservedOfRequests),
		responseHeaders: t.headers(from.ResponseHeaders, t.reservedOfResponses),
		setQuery:        t.attributes(from.SetQuery, noItem),
		metadata:        t.metadata(from.Metadata),
	}
	for _, n := range from.RemoveHeaders {
		t.headerName(n, t.reservedOfRequests)
		if slices.ContainsFunc(from.Headers, func(h routemap.Header) bool { return h.Name.Value == n.Value }) {
			t.report(t.file, n.Pos, CodeRouteHeader, fmt.Sprintf("the header %q is set and removed", n.Value), "keep one of the two")
		}
		out.removeHeaders = append(out.removeHeaders, n.Value)
	}
	for _, a := range from.SetQuery {
		t.parameterName(a.Name)
	}
	t.scalars(from.SetQuery)
	for _, n := range from.RemoveQuery {
		t.parameterName(n)
		if slices.ContainsFunc(from.SetQuery, func(a routemap.Attribute) bool { return a.Name.Value == n.Value }) {
			t.report(t.file, n.Pos, CodeRouteResponse, fmt.Sprintf("the parameter %q is set and removed", n.Value), "keep one of the two")
		}
		out.removeQuery = append(out.removeQuery, n.Value)
	}
	t.tooMany(from.Pos, max(len(out.headers), len(out.responseHeaders)))
	return out
}

// scalars reports constants that are no text, number or bool.
func (t terms) scalars(list []routemap.Attribute) {
	for _, a := range list {
		if a.Term.IsExpr {
			continue
		}
		if _, _, err := scalarText(a.Term.Constant); err != nil {
			t.report(t.file, a.Term.Pos, CodeRouteResponse, fmt.Sprintf("%s: %v", a.Name.Value, err), "write a text, a number or a bool")
		}
	}
}

func (t terms) parameterName(n diag.Text) {
	if !wire.ValidParameter(n.Value, "") {
		t.report(t.file, n.Pos, CodeRouteResponse, fmt.Sprintf("%q is not the name of a query parameter", n.Value), "")
	}
}

func (t terms) tooMany(pos diag.Position, n int) {
	if n > maxHeaders {
		t.report(t.file, pos, CodeRouteHeader, fmt.Sprintf("these are %d headers", n), fmt.Sprintf("set at most %d", maxHeaders))
	}
}

// headers compiles headers, and reports names that are reserved.
func (t terms) headers(list []routemap.Header, reserved func(string) string) []header {
	var out []header
	for i := range list {
		from := &list[i]
		t.headerName(from.Name, reserved)
		h := header{name: from.Name.Value, value: t.term(&from.Value, noItem), action: headerActions[from.Action], encode: from.Encode}
		if h.value.program == nil {
			if _, _, err := h.text(h.value.constant); err != nil {
				t.report(t.file, from.Value.Pos, CodeRouteHeader, fmt.Sprintf("the header %s: %v", h.name, err),
					"write printable ASCII, or {value: …, encode: percent}")
			}
		}
		out = append(out, h)
	}
	return out
}

func (t terms) headerName(n diag.Text, reserved func(string) string) {
	switch why := reserved(n.Value); {
	case !headerName(n.Value):
		hint := "write it in lower case, without a colon"
		t.report(t.file, n.Pos, CodeRouteHeader, fmt.Sprintf("%q is not the name of a header", n.Value), hint)
	case why != "":
		t.report(t.file, n.Pos, CodeRouteHeader, fmt.Sprintf("the header %q can't be set or removed here: %s", n.Value, why), "choose another name")
	}
}

// reservedAnywhere says why a header belongs to whoever sends the message.
func reservedAnywhere(name string) string {
	switch name {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade":
		return "it says how the message is sent"
	}
	if strings.HasPrefix(name, "x-envoy-") {
		return "it is Envoy's"
	}
	return ""
}

func (t terms) reservedOfRequests(name string) string {
	if name == "host" {
		return "it says where the request goes"
	}
	plain := strings.ReplaceAll(name, "_", "-")
	for _, h := range t.identityHeaders() {
		if strings.ReplaceAll(h, "_", "-") == plain {
			return "it speaks of identity"
		}
	}
	return reservedAnywhere(name)
}

func (t terms) reservedOfResponses(name string) string {
	switch {
	case strings.HasPrefix(name, "grpc-"):
		return "it is gRPC's"
	case name == t.options.Respond.DecisionHeader:
		return "it is respond.decisionHeader"
	}
	return reservedAnywhere(name)
}

func (t terms) reservedOfDenials(name string) string {
	switch name {
	case "content-type", "content-encoding":
		return "it says what the body is"
	case "location":
		return "redirect sets it"
	case "www-authenticate":
		return "identity.challenge sets it"
	}
	return t.reservedOfResponses(name)
}

// metadata compiles further dynamic metadata.
func (t terms) metadata(list []routemap.Attribute) []attribute {
	for _, a := range list {
		if slices.Contains(metadataKeys[:], a.Name.Value) {
			t.report(t.file, a.Name.Pos, CodeRouteResponse, fmt.Sprintf("the metadata %q is Edict's own", a.Name.Value), "choose another name")
		}
		if !a.Term.IsExpr && !wire.ValidMetadata(a.Term.Constant) {
			t.report(t.file, a.Term.Pos, CodeRouteResponse, fmt.Sprintf("the metadata %q is nested too deep", a.Name.Value),
				fmt.Sprintf("Envoy is sent at most %d levels", wire.MaxMetadataDepth))
		}
	}
	out := t.attributes(list, noItem)
	for i := range out {
		out[i].name = t.options.Respond.MetadataPrefix + out[i].name
	}
	return out
}

// inherit gives what a route does that says a and inherits base: both, and of
// equal names what it says itself.
func (a *onAllow) inherit(base *onAllow) *onAllow {
	switch {
	case a == nil:
		return base
	case base == nil:
		return a
	}
	out := &onAllow{
		headers:         withInherited(a.headers, base.headers, func(h *header) string { return h.name }),
		responseHeaders: withInherited(a.responseHeaders, base.responseHeaders, func(h *header) string { return h.name }),
		setQuery:        withInherited(a.setQuery, base.setQuery, func(p *attribute) string { return p.name }),
		metadata:        withInherited(a.metadata, base.metadata, func(m *attribute) string { return m.name }),
	}
	out.headers = slices.DeleteFunc(out.headers, func(h header) bool { return slices.Contains(a.removeHeaders, h.name) })
	out.setQuery = slices.DeleteFunc(out.setQuery, func(p attribute) bool { return slices.Contains(a.removeQuery, p.name) })
	out.removeHeaders = append(out.removeHeaders, a.removeHeaders...)
	for _, name := range base.removeHeaders {
		if !slices.Contains(out.removeHeaders, name) && !slices.ContainsFunc(a.headers, func(h header) bool { return h.name == name }) {
			out.removeHeaders = append(out.removeHeaders, name)
		}
	}
	out.removeQuery = append(out.removeQuery, a.removeQuery...)
	for _, name := range base.removeQuery {
		if !slices.Contains(out.removeQuery, name) && !slices.ContainsFunc(a.setQuery, func(p attribute) bool { return p.name == name }) {
			out.removeQuery = append(out.removeQuery, name)
		}
	}
	return out
}

// withInherited gives own, and what base has of other names.
func withInherited[T any](own, base []T, name func(*T) string) []T {
	out := slices.Clone(own)
	for i := range base {
		if !slices.ContainsFunc(own, func(o T) bool { return name(&o) == name(&base[i]) }) {
			out = append(out, base[i])
		}
	}
	return out
}

// prepare moves what does not depend on the request to constant. What the
// request itself has matters to headers that are not just set, and to the
// query.
func (a *onAllow) prepare() *onAllow {
	if a == nil {
		return nil
	}
	out := *a
	out.headers, out.responseHeaders, out.metadata = nil, nil, nil
	c := &out.constant
	c.RemoveHeaders, out.removeHeaders = a.removeHeaders, nil
	for _, h := range a.headers {
		if h.value.program != nil || h.action != wire.Overwrite {
			out.headers = append(out.headers, h)
			continue
		}
		text, _, _ := h.text(h.value.constant) // it was seen to be valid
		c.Headers = append(c.Headers, wire.HeaderValue{Name: h.name, Value: text})
	}
	for _, h := range a.responseHeaders {
		if h.value.program != nil {
			out.responseHeaders = append(out.responseHeaders, h)
			continue
		}
		text, _, _ := h.text(h.value.constant)
		c.ResponseHeaders = append(c.ResponseHeaders, wire.ResponseHeader{Name: h.name, Value: text, Action: h.action})
	}
	for _, m := range a.metadata {
		if m.term.program != nil {
			out.metadata = append(out.metadata, m)
			continue
		}
		c.Metadata = append(c.Metadata, wire.MetadataValue{Key: m.name, Value: m.term.constant})
	}
	return &out
}

// apply adds to the answer what a says of this request.
func (a *onAllow) apply(x *exchange) error {
	out := &x.reply
	for i := range a.headers {
		h := &a.headers[i]
		text, err := h.eval(x)
		if err != nil {
			return err
		}
		v := wire.HeaderValue{Name: h.name, Value: text}
		_, there := x.in.Header(h.name)
		switch {
		case h.action == wire.Overwrite:
			out.Headers = append(out.Headers, v) // one without a value is removed
		case text == "":
		case h.action == wire.Append && there > 0:
			out.AppendHeaders = append(out.AppendHeaders, v)
		case (h.action == wire.OverwriteIfExists) == (there > 0):
			out.Headers = append(out.Headers, v)
		}
	}
	for i := range a.responseHeaders {
		h := &a.responseHeaders[i]
		text, err := h.eval(x)
		if err != nil {
			return err
		}
		out.ResponseHeaders = append(out.ResponseHeaders, wire.ResponseHeader{Name: h.name, Value: text, Action: h.action})
	}
	if err := a.applyQuery(x); err != nil {
		return err
	}
	var err error
	if out.Metadata, err = x.evalMetadata(out.Metadata, a.metadata); err != nil {
		return err
	}
	return x.withinLimits(a)
}

// static tells whether nothing of a depends on the request.
func (a *onAllow) static() bool {
	return len(a.headers)+len(a.responseHeaders)+len(a.setQuery)+len(a.removeQuery)+len(a.metadata) == 0
}

// checkAllow reports what is wrong with all that a route does on allow, inherited
// things included.
func (t terms) checkAllow(r *routemap.Route, a *onAllow) {
	if a == nil {
		return
	}
	t.tooMany(r.Pos, max(len(a.headers), len(a.responseHeaders)))
	constant := 0
	lists := [][]attribute{a.setQuery, a.metadata}
	for _, headers := range [][]header{a.headers, a.responseHeaders} {
		for i := range headers {
			h := &headers[i]
			if h.value.program == nil {
				text, _, _ := h.text(h.value.constant)
				constant += len(h.name) + len(text)
			}
			lists = append(lists, []attribute{{name: h.name, term: h.value}})
		}
	}
	if constant > maxHeaderBytes {
		t.report(t.file, r.Pos, CodeRouteHeader, fmt.Sprintf("the headers that onAllow sets have %d bytes", constant), fmt.Sprintf("set at most %d", maxHeaderBytes))
	}
	own := expressions(r.OnAllow)
	for _, list := range lists {
		for _, a := range list {
			if a.term.program == nil || slices.Contains(own, a.term.program.Source()) {
				continue // what the route says itself was checked where it stands
			}
			for _, s := range a.term.program.Selections() {
				if s.Variable == "path" && s.Field != "" && t.known && !slices.Contains(t.captures, s.Field) {
					t.report(t.file, r.Pos, CodeRouteCapture, fmt.Sprintf("the path captures no %q, which the inherited %s reads", s.Field, a.name),
						fmt.Sprintf("write {%s} in the path template, or give the route a %s of its own", s.Field, a.name))
				}
			}
		}
	}
}

// expressions lists those of a route's own onAllow.
func expressions(own *routemap.OnAllow) (sources []string) {
	if own == nil {
		return nil
	}
	for _, headers := range [][]routemap.Header{own.Headers, own.ResponseHeaders} {
		for _, h := range headers {
			sources = append(sources, h.Value.Expr.Value)
		}
	}
	for _, list := range [][]routemap.Attribute{own.SetQuery, own.Metadata} {
		for _, a := range list {
			sources = append(sources, a.Term.Expr.Value)
		}
	}
	return sources
}

// withinLimits tells whether the headers are few enough bytes.
func (x *exchange) withinLimits(a *onAllow) error {
	request, response := 0, 0
	for _, list := range [][]wire.HeaderValue{a.constant.Headers, x.reply.Headers, x.reply.AppendHeaders} {
		for _, h := range list {
			request += len(h.Name) + len(h.Value)
		}
	}
	for _, list := range [][]wire.ResponseHeader{a.constant.ResponseHeaders, x.reply.ResponseHeaders} {
		for _, h := range list {
			response += len(h.Name) + len(h.Value)
		}
	}
	if max(request, response) > maxHeaderBytes {
		return fmt.Errorf("the headers have more than %d bytes", maxHeaderBytes)
	}
	return nil
}

// applyQuery sets and removes parameters. Envoy compares names as they are
// spelled, and backends as they are after decoding, so every spelling that the
// request has is named.
func (a *onAllow) applyQuery(x *exchange) error {
	if len(a.setQuery) == 0 && len(a.removeQuery) == 0 {
		return nil
	}
	q, reason := x.target.Query()
	if q == nil {
		return x.refuse(BadRequest, reason.String())
	}
	out := &x.reply
	for i := range a.setQuery {
		p := &a.setQuery[i]
		text, there, err := scalarText(p.term.eval(x.frame))
		if err != nil {
			return fmt.Errorf("the parameter %s: %w", p.name, err)
		}
		if there {
			if !wire.ValidParameter(p.name, text) {
				return fmt.Errorf("the parameter %s is too long", p.name)
			}
			out.SetQuery = append(out.SetQuery, wire.Parameter{Name: p.name, Value: text})
		}
		plain := ""
		if there {
			plain = string(wire.AppendEscaped(nil, p.name))
		}
		x.removeParameter(p.name, plain)
	}
	for _, name := range a.removeQuery {
		x.removeParameter(name, "")
	}
	return nil
}

// removeParameter removes every spelling of a parameter from the query but the
// one that is kept, which Envoy itself overwrites.
func (x *exchange) removeParameter(name, kept string) {
	q, _ := x.target.Query() // its reader has seen that it is sound
	rest := x.target.RawQuery()
	q.All(func(decoded, _ string) bool {
		var item string
		for item == "" && rest != "" { // the pairs are the items that are not empty
			item, rest, _ = strings.Cut(rest, "&")
		}
		raw, _, _ := strings.Cut(item, "=")
		if decoded == name && raw != kept && !slices.Contains(x.reply.RemoveQuery, raw) {
			x.reply.RemoveQuery = append(x.reply.RemoveQuery, raw)
		}
		return true
	})
}

// evalMetadata appends metadata as the request makes it.
func (x *exchange) evalMetadata(to []wire.MetadataValue, list []attribute) ([]wire.MetadataValue, error) {
	for i := range list {
		m := &list[i]
		v, there := expr.Optional(m.term.eval(x.frame))
		if !there {
			continue
		}
		v, err := x.frame.Detach(v)
		if err == nil && !wire.ValidMetadata(v) {
			err = errors.New("it is nested too deep")
		}
		if err != nil {
			return to, fmt.Errorf("the metadata %s: %w", m.name, err)
		}
		to = append(to, wire.MetadataValue{Key: m.name, Value: v})
	}
	return to, nil
}

// eval gives the text of a header, "" for an optional without a value.
func (h *header) eval(x *exchange) (string, error) {
	text, _, err := h.text(h.value.eval(x.frame))
	if err != nil {
		return "", fmt.Errorf("the header %s: %w", h.name, err)
	}
	return text, nil
}

// text gives a value as a header carries it, a list joined by commas. It tells
// an expression that failed from a value that no header can carry.
func (h *header) text(v value.Value) (text string, failed bool, err error) {
	v, there := expr.Optional(v)
	if !there {
		return "", false, nil
	}
	if v.Kind() == value.List {
		var b strings.Builder
		for i := range v.Sequence().Len() {
			item, _, err := scalarText(v.Sequence().At(i))
			if err != nil {
				return "", true, err
			}
			if h.encode {
				if item, err = headerText(item, true); err != nil {
					return "", false, err
				}
			} else if strings.Contains(item, ",") {
				return "", false, errors.New("an item of the list has a comma")
			}
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(item)
		}
		text = b.String()
	} else {
		if text, _, err = scalarText(v); err != nil {
			return "", true, err
		}
		if h.encode {
			if text, err = headerText(text, false); err != nil {
				return "", false, err
			}
		}
	}
	if !wire.ValidHeader(h.name, text) {
		return "", false, errors.New("the value can't be sent in a header")
	}
	return text, false, nil
}

// scalarText gives a value that is one text, number or bool as text. An
// optional without a value is not there.
func scalarText(v value.Value) (text string, there bool, err error) {
	if v, there = expr.Optional(v); !there {
		return "", false, nil
	}
	switch v.Kind() {
	case value.String:
		return v.Str(), true, nil
	case value.Bool:
		return strconv.FormatBool(v.Bool()), true, nil
	case value.Int:
		return strconv.FormatInt(v.Int(), 10), true, nil
	case value.Uint:
		return strconv.FormatUint(v.Uint(), 10), true, nil
	case value.Double:
		return strconv.FormatFloat(v.Double(), 'f', -1, 64), true, nil
	case value.Error:
		return "", false, v.Err()
	default:
		return "", false, fmt.Errorf("got a %s instead of a text", v.Kind())
	}
}
