package envoylint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"edict/cmd/edict/internal/envoyconfig"
)

// longest is the longest time that a check may take before the limit does not
// limit any more.
const longest = 2 * time.Second

// filter judges an ext_authz filter, HTTP or network; others are passed over. In
// a chain it is held against the other filters.
func (p *proxy) filter(f *filter, c *chain) {
	if f.typed == nil {
		return
	}
	switch f.kind {
	case typeJWT:
		if c == nil {
			p.jwt(f, &filter{})
		}
		return
	case typeExtAuthz, typeNetwork:
	default:
		return
	}
	t := f.typed
	p.failOpen(t)
	p.timeout(f)
	p.service(t)
	p.partialEnforcement(t)
	if f.kind == typeNetwork {
		return
	}
	if t.isTrue("shadow_mode") {
		if !t.isTrue("decoder_header_mutation_rules", "disallow_all") || t.has("decoder_header_mutation_rules", "allow_expression") {
			p.report(t.get("shadow_mode"), CodeShadowMutates, "an instance that only watches still changes the requests that it would allow",
				"write decoder_header_mutation_rules: {disallow_all: true}")
		}
		return
	}
	if code := t.get("status_on_error", "code"); !t.has("status_on_error") || strings.HasPrefix(statusClass(code.str()), "2") {
		p.report(at(code, f.node), CodeStatusOnError, "an outage of Edict is answered like a denial", "write status_on_error: {code: ServiceUnavailable}")
	}
	if n := t.get("clear_route_cache"); n.isTrue() {
		p.report(n, CodeClearRouteCache, "a request can get another route after it was judged, whose settings nobody applied",
			"write clear_route_cache: false, unless Edict is to choose the route")
	}
	if n := t.get("validate_mutations"); !n.isTrue() {
		p.report(at(n, f.node), CodeValidateMutations, "headers that Edict sets are not validated by Envoy", "write validate_mutations: true")
	}
	p.mutationsRefused(t)
	p.body(f)
	if t.has("http_service") {
		p.httpService(f)
		return
	}
	p.grpcFilter(f)
}

// failOpen reports a filter that passes what was not judged.
func (p *proxy) failOpen(t *node) {
	if n := t.get("failure_mode_allow"); n.isTrue() {
		p.report(n, CodeFailOpen, "while Edict can't be asked, every request passes", "write failure_mode_allow: false")
	}
}

// timeout reports limits that do not limit.
func (p *proxy) timeout(f *filter) {
	service, field, unset := f.typed.get("grpc_service"), "timeout", "200 ms"
	if h := f.typed.get("http_service", "server_uri"); h != nil {
		service, unset = h, "none"
	}
	if service == nil {
		return
	}
	n := service.get(field)
	d, ok := n.duration()
	switch {
	case !ok:
		p.report(at(n, service), CodeTimeoutUnset, "no time is set that a check may take; the default is "+unset, "write timeout: 0.250s")
	case d == 0:
		p.report(n, CodeTimeoutLong, "a check may take forever, and hold its request as long", "write timeout: 0.250s")
	case d > longest:
		p.reportf(n, CodeTimeoutLong, "write timeout: 0.250s", "a check may take %s, and hold its request as long: if Edict hangs, so does all behind Envoy", d)
	}
}

// partialEnforcement reports filters that are off for some requests.
func (p *proxy) partialEnforcement(t *node) {
	denies := t.isTrue("deny_at_disable", "default_value")
	if n := t.get("filter_enabled"); n != nil {
		fraction := n.get("default_value")
		switch share, known := percentage(fraction); {
		case denies:
		case known && share < 100:
			p.reportf(at(fraction.get("numerator"), at(fraction, n)), CodePartialEnforcement, "remove filter_enabled, or write deny_at_disable: {default_value: {value: true}, runtime_key: …}",
				"Edict is asked about %g %% of the requests, and the others pass", share)
		case n.has("runtime_key"):
			p.reportf(n, CodeRuntimeSwitch, "remove filter_enabled, or add deny_at_disable with default_value: {value: true}",
				"whoever sets the runtime key %q turns the filter off, and requests pass unchecked", n.str("runtime_key"))
		}
	}
	if n := t.get("filter_enabled_metadata"); n != nil && !denies && !istioTrigger(n) {
		p.report(n, CodePartialEnforcement, "requests without this metadata pass unchecked",
			"remove filter_enabled_metadata, or add deny_at_disable with default_value: {value: true}")
	}
}

// istioTrigger tells whether metadata is the one by which Istio marks requests
// that a CUSTOM policy is for.
func istioTrigger(n *node) bool {
	return n.any(func(n *node) bool { return n.scalar && strings.HasPrefix(n.text.Value, "istio_ext_authz_") })
}

// percentage gives a google.type-like FractionalPercent in percent. What is not
// there is 100, since then nothing limits.
func percentage(n *node) (float64, bool) {
	if n == nil {
		return 100, false
	}
	numerator, _ := n.number("numerator")
	switch n.str("denominator") {
	case "TEN_THOUSAND", "1":
		return numerator / 100, true
	case "MILLION", "2":
		return numerator / 10_000, true
	}
	return numerator, true
}

// mutationsRefused reports rules under which Envoy does not change in a request
// what Edict's answer says, such as a key that it has removed.
func (p *proxy) mutationsRefused(t *node) {
	rules := t.get("decoder_header_mutation_rules")
	if rules == nil || p.needs == nil {
		return
	}
	var refused, secret []string
	for _, name := range p.needs.Upstream {
		if !admits(rules, name) {
			refused = append(refused, name)
			if slices.Contains(p.needs.TokenHeaders, name) {
				secret = append(secret, name)
			}
		}
	}
	if len(refused) == 0 {
		return
	}
	after := "the backend gets what the client sent instead"
	switch {
	case rules.isTrue("disallow_is_error"):
		after = "each request that it says so for is answered with 500"
	case len(secret) > 0:
		after = "the backend gets the key or token that the client sent in " + strings.Join(secret, ", ")
	}
	p.reportf(at(rules.get("allow_expression"), rules), CodeMutationsRefused, p.mutationsHint(),
		"Envoy does not change %s as Edict says: %s", strings.Join(refused, ", "), after)
}

// admits tells whether HeaderMutationRules let a header be set and removed, as
// Envoy's HeaderMutationRules say it: expressions go before the rest.
func admits(rules *node, name string) bool {
	matches := func(field string) bool { return rules.has(field) && fullMatch(rules.str(field, "regex"), name) }
	switch {
	case matches("disallow_expression"):
		return false
	case matches("allow_expression"):
		return true
	case rules.isTrue("disallow_all"):
		return false
	case strings.HasPrefix(name, "x-envoy-"):
		return rules.isTrue("allow_envoy")
	}
	return true // a name of routing is none that Edict changes
}

// mutationsHint says which rules let Edict change its headers alone.
func (p *proxy) mutationsHint() string {
	var upstream []string
	if p.needs != nil {
		upstream = p.needs.Upstream
	}
	return fmt.Sprintf("write decoder_header_mutation_rules: {disallow_all: true, allow_expression: {regex: %q}, disallow_is_error: true}", envoyconfig.Mutations(upstream))
}

// body judges what of bodies a filter hands on.
func (p *proxy) body(f *filter) {
	b := f.typed.get("with_request_body")
	if b == nil {
		return
	}
	p.partialBody(b)
	if f.typed.has("grpc_service") && !b.isTrue("pack_as_bytes") {
		p.report(at(b.get("pack_as_bytes"), b), CodePackAsBytes, "bodies are handed on as text, in which ! replaces what is not UTF-8", "write pack_as_bytes: true")
	}
	if p.needs != nil && p.needs.BodyLimit > 0 {
		if limit, ok := b.number("max_request_bytes"); ok && int(limit) < p.needs.BodyLimit {
			p.reportf(b.get("max_request_bytes"), CodeBodyLimit, "set both to the same number of bytes",
				"Envoy cuts bodies at %g bytes, and body.limit says %d: Edict takes a cut body for whole", limit, p.needs.BodyLimit)
		}
	}
}

func (p *proxy) partialBody(b *node) {
	if n := b.get("allow_partial_message"); n.isTrue() {
		p.report(n, CodePartialBody, "bodies that are too long are handed on in part, and pass if no policy reads the rest",
			"write allow_partial_message: false; a longer body gets 413 then")
	}
}

// grpcFilter judges what is about the gRPC service alone.
func (p *proxy) grpcFilter(f *filter) {
	t := f.typed
	if n := t.get("encode_raw_headers"); !n.isTrue() {
		p.report(at(n, f.node), CodeRawHeaders, "repeated headers reach Edict as one, and bytes that are not UTF-8 as !", "write encode_raw_headers: true")
	}
	if !t.has("decoder_header_mutation_rules") {
		p.report(f.node, CodeMutationRules, "Edict may change any header of a request", p.mutationsHint())
	}
	if n := t.get("allowed_headers"); n != nil {
		p.report(n, CodeHeadersHidden, "Edict is shown some headers alone, and can't refuse what hides in the others", "remove allowed_headers")
	}
	if p.needs == nil {
		return
	}
	listed := t.texts("metadata_context_namespaces")
	for _, name := range p.needs.Namespaces {
		if !slices.Contains(listed, name) {
			p.reportf(at(t.get("metadata_context_namespaces"), f.node), CodeMetadataMissing, "write metadata_context_namespaces: ["+strings.Join(p.needs.Namespaces, ", ")+"]",
				"Edict reads the metadata %s, and Envoy does not hand it on", name)
		}
	}
	listed = t.texts("route_metadata_context_namespaces")
	for _, name := range p.needs.RouteNamespaces {
		if !slices.Contains(listed, name) {
			p.reportf(at(t.get("route_metadata_context_namespaces"), f.node), CodeMetadataMissing, "write route_metadata_context_namespaces: ["+strings.Join(p.needs.RouteNamespaces, ", ")+"]",
				"Edict reads the route's metadata %s, and Envoy does not hand it on", name)
		}
	}
	if p.needs.Certificate && !t.isTrue("include_peer_certificate") {
		p.report(at(t.get("include_peer_certificate"), f.node), CodeFieldMissing, "the peer's certificate is read, and Envoy does not hand it on", "write include_peer_certificate: true")
	}
	if p.needs.SNI && !t.isTrue("include_tls_session") {
		p.report(at(t.get("include_tls_session"), f.node), CodeFieldMissing, "routes read request.sni, and Envoy does not hand it on", "write include_tls_session: true")
	}
	if p.needs.Labels && !t.has("bootstrap_metadata_labels_key") {
		p.report(f.node, CodeFieldMissing, "routes read request.destination.labels, and Envoy does not hand them on",
			"write bootstrap_metadata_labels_key, the key of node.metadata that holds them")
	}
}

// httpService judges what is about the HTTP service alone.
func (p *proxy) httpService(f *filter) {
	t := f.typed
	sent := append(t.list("allowed_headers", "patterns"), t.list("http_service", "authorization_request", "allowed_headers", "patterns")...)
	place := at(t.get("allowed_headers"), t.get("http_service"))
	switch missing := p.unsent(sent); {
	case len(sent) == 0:
		p.report(place, CodeHTTPHeaders, "the HTTP service is sent authorization, host, method and path alone: Edict can't read or refuse other headers",
			"list in allowed_headers what Edict reads, such as cookie and content-type")
	case len(missing) > 0:
		p.reportf(place, CodeHTTPHeaders, "add them to allowed_headers", "Edict reads headers that it is not sent: %s", strings.Join(missing, ", "))
	}
	response := t.get("http_service", "authorization_response")
	upstream := []string{"x-edict-principal"}
	if p.needs != nil {
		upstream = p.needs.Upstream
	}
	taken := response.list("allowed_upstream_headers", "patterns")
	for _, name := range upstream {
		if !matchesAny(taken, name) {
			p.reportf(at(response.get("allowed_upstream_headers"), at(response, t.get("http_service"))), CodeHTTPUpstream,
				"write allowed_upstream_headers: {patterns: [{prefix: x-edict-}]}",
				"Envoy does not take %s from Edict's answer: the backend gets the client's own", name)
		}
	}
	if n := response.get("allowed_upstream_headers_to_append"); n != nil {
		p.report(n, CodeAppendIdentity, "these headers are appended to what the client sent under the same name",
			"name them in allowed_upstream_headers, which overwrites")
	}
	if n := response.get("allowed_client_headers"); n != nil {
		for _, name := range []string{"www-authenticate", "location", "content-type"} {
			if !matchesAny(n.list("patterns"), name) {
				p.reportf(n, CodeHTTPClient, "add {exact: "+name+"} to the patterns", "clients do not get the header %s of a denial", name)
			}
		}
	}
	if p.needs != nil && len(p.needs.Claims) > 0 {
		p.report(t.get("http_service"), CodeHTTPNoMetadata, "Edict takes identity from metadata, which the HTTP service is never sent: nobody has an identity",
			"use grpc_service, or a source of identity that reads headers")
	}
}

// unsent lists the headers that Edict reads and is not sent.
func (p *proxy) unsent(sent []*node) []string {
	if p.needs == nil {
		return nil
	}
	var out []string
	for _, name := range p.needs.Headers {
		if name != "authorization" && !matchesAny(sent, name) {
			out = append(out, name)
		}
	}
	return out
}

// matchesAny tells whether a StringMatcher matches a text. A matcher that can't
// be understood does.
func matchesAny(matchers []*node, text string) bool {
	return slices.ContainsFunc(matchers, func(m *node) bool {
		text, value := text, func(field string) string { return m.str(field) }
		if m.isTrue("ignore_case") {
			text, value = strings.ToLower(text), func(field string) string { return strings.ToLower(m.str(field)) }
		}
		switch {
		case m.has("exact"):
			return text == value("exact")
		case m.has("prefix"):
			return strings.HasPrefix(text, value("prefix"))
		case m.has("suffix"):
			return strings.HasSuffix(text, value("suffix"))
		case m.has("contains"):
			return strings.Contains(text, value("contains"))
		case m.has("safe_regex"):
			return fullMatch(m.str("safe_regex", "regex"), text)
		}
		return true
	})
}

// statusClass gives the number of a status that may be written as Envoy's name.
func statusClass(code string) string {
	switch code {
	case "OK", "Created", "Accepted", "NoContent":
		return "200"
	}
	return code
}
