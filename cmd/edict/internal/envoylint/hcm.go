package envoylint

import (
	"slices"
	"strings"
)

// A filter is an HTTP or network filter.
type filter struct {
	node  *node // with its name
	typed *node // its own configuration; nil if it is elsewhere
	kind  string
}

func newFilter(n *node) *filter {
	kind, typed := n.get("typed_config").typeName()
	if kind == "" {
		kind = kindsByName[n.str("name")] // it is discovered, or an old spelling
	}
	return &filter{node: n, typed: typed, kind: kind}
}

// kindsByName gives the type of a filter whose configuration is not there.
var kindsByName = map[string]string{
	"envoy.filters.http.ext_authz":    typeExtAuthz,
	"envoy.filters.http.jwt_authn":    typeJWT,
	"envoy.filters.http.router":       typeRouter,
	"envoy.filters.network.ext_authz": typeNetwork,
}

func (f *filter) name() string { return f.node.str("name") }

// changing are the filters that can change the path, the method or the headers
// of a request.
var changing = map[string]string{
	"envoy.extensions.filters.http.lua.v3.Lua":                                 "Lua",
	"envoy.extensions.filters.http.wasm.v3.Wasm":                               "Wasm",
	"envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor":              "ext_proc",
	"envoy.extensions.filters.http.golang.v3alpha.Config":                      "Go",
	"envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter":     "a dynamic module",
	"envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder": "the JSON transcoder",
	"envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig":  "the gRPC bridge",
	"envoy.extensions.filters.http.decompressor.v3.Decompressor":               "the decompressor",
	"envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata":         "json_to_metadata",
	"envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig":        "the Connect bridge",
	"envoy.extensions.filters.http.grpc_http1_bridge.v3.Config":                "the gRPC bridge",
	typeMutation: "header_mutation",
}

// chain judges a connection manager and gives the way in that it is.
func (p *proxy) chain(listener *node, network *filter, hcm *node) *chain {
	c := &chain{listener: listener, hcm: hcm, place: hcm, network: network, guarded: map[string]bool{}, unguarded: map[string]*node{}}
	if h := hcm.get("http_filters"); h != nil {
		c.place = h
	}
	var all []*filter
	for _, n := range hcm.list("http_filters") {
		all = append(all, newFilter(n))
	}
	var authz []*filter // that enforce
	for _, f := range all {
		if f.kind != typeExtAuthz {
			continue
		}
		switch {
		case f.typed.isTrue("shadow_mode"):
			p.filter(f, nil)
			continue
		case f.node.isTrue("disabled"):
			p.report(f.node.get("disabled"), CodeFilterDisabled, "the filter is off on every route that does not turn it on by itself",
				"remove disabled: true")
		}
		authz = append(authz, f)
		p.filter(f, c)
	}
	c.http = authz
	if len(authz) == 0 {
		p.onlyShadow(hcm.list("http_filters"), typeExtAuthz)
	} else {
		p.order(all, authz[0])
		p.normalisation(hcm)
		p.upgrades(hcm)
	}
	mode := hcm.get("forward_client_cert_details")
	if p.needs != nil && len(authz) > 0 && (mode == nil || mode.str() == "SANITIZE") && slices.Contains(p.needs.IdentityHeaders, "x-forwarded-client-cert") {
		p.report(at(mode, hcm), CodeFieldMissing, "Edict takes identity from x-forwarded-client-cert, and Envoy removes it", "write forward_client_cert_details: APPEND_FORWARD, or SANITIZE_SET where clients connect")
	}
	if mode.str() == "ALWAYS_FORWARD_ONLY" {
		p.report(mode, CodeForwardedCert, "x-forwarded-client-cert is handed on as the client sent it: anybody can claim any certificate",
			"write SANITIZE_SET, or APPEND_FORWARD behind a proxy that sets it")
	}
	for _, early := range hcm.list("early_header_mutation_extensions") {
		_, typed := early.get("typed_config").typeName()
		p.mutations(typed.list("mutations"))
		if len(authz) > 0 {
			p.removals(typed.list("mutations"), all)
		}
	}
	rc := p.routesOf(hcm)
	if rc != nil {
		p.used[rc] = true
		p.routeConfig(rc, c, all)
	}
	if len(authz) > 0 {
		p.bodyMissing(authz[0], rc)
	}
	return c
}

// mutations reports headers that a filter adds beside those of the client.
func (p *proxy) mutations(list []*node) {
	for _, m := range list {
		if added := m.get("append"); added != nil {
			p.addedHeader(added, strings.ToLower(added.str("header", "key")))
		}
	}
}

// removals reports headers with tokens and keys that mutations take from requests
// before Edict, or jwt_authn among the filters that follow, reads them.
func (p *proxy) removals(list []*node, following []*filter) {
	var verified []string // by jwt_authn
	for _, f := range following {
		if f.kind == typeJWT {
			verified = append(verified, tokenHeaders(f)...)
		}
	}
	for _, m := range list {
		if p.needs != nil {
			if name := takes(m, p.needs.TokenHeaders); name != "" {
				p.reportf(m, CodeTokenRemoved, "leave it: Edict has keys removed that it has read, and tokens if their source says forward: false",
					"%s is removed before Edict is asked, which takes identity from it: nobody has an identity", name)
				continue
			}
		}
		if name := takes(m, verified); name != "" {
			p.reportf(m, CodeTokenRemoved, "leave it: jwt_authn removes a token that it has verified, and Edict what onAllow.removeHeaders says",
				"%s is removed before jwt_authn reads it: no token is verified, and nobody has claims", name)
		}
	}
}

// takes gives the first of the headers whose value a mutation takes away: it is
// removed, or replaced by what is not made of the request; "" if none is.
func takes(m *node, headers []string) string {
	added := m.get("append")
	replaced := strings.HasPrefix(added.str("append_action"), "OVERWRITE_IF_EXISTS") && !strings.Contains(added.str("header", "value"), "%")
	matcher := m.get("remove_on_match", "key_matcher")
	for _, name := range headers {
		if strings.EqualFold(m.str("remove"), name) || replaced && strings.EqualFold(added.str("header", "key"), name) ||
			matcher != nil && matchesAny([]*node{matcher}, name) {
			return name
		}
	}
	return ""
}

// tokenHeaders gives the headers that jwt_authn reads tokens from.
func tokenHeaders(f *filter) []string {
	var out []string
	for _, provider := range f.typed.get("providers").children() {
		for _, h := range provider.list("from_headers") {
			out = append(out, strings.ToLower(h.str("name")))
		}
		if len(provider.list("from_cookies")) > 0 {
			out = append(out, "cookie")
		}
		if !provider.has("from_headers") && !provider.has("from_cookies") && !provider.has("from_params") {
			out = append(out, "authorization") // the default
		}
	}
	return out
}

// bodyMissing reports that routes of Edict read the body and that none is
// handed on.
func (p *proxy) bodyMissing(authz *filter, rc *node) {
	if p.needs == nil || len(p.needs.BodyRoutes) == 0 || rc == nil || authz.typed == nil || authz.typed.has("with_request_body") ||
		rc.any(func(n *node) bool { return n.has("check_settings", "with_request_body") }) {
		return
	}
	p.reportf(authz.node, CodeBodyMissing, "write with_request_body: {max_request_bytes: 8192, pack_as_bytes: true}",
		"the route %s reads the body, and Envoy does not hand it on", p.needs.BodyRoutes[0])
}

// routesOf finds the route configuration of a connection manager.
func (p *proxy) routesOf(hcm *node) *node {
	if rc := hcm.get("route_config"); rc != nil {
		return rc
	}
	name := hcm.str("rds", "route_config_name")
	if rc := p.routes[name]; rc != nil {
		return rc
	}
	for _, rc := range p.loose { // judged with the connection manager, not alone
		if name != "" && rc.str("name") == name {
			return rc
		}
	}
	return nil
}

// normalisation reports what would let Edict and the backend read a request in
// two ways.
func (p *proxy) normalisation(hcm *node) {
	n := hcm.get("normalize_path")
	if !n.isTrue() {
		p.report(at(n, hcm), CodeNormalizePath, "normalize_path is off: Edict and the backend can read /a/../b in two ways", "write normalize_path: true")
	}
	n = hcm.get("merge_slashes")
	if !n.isTrue() && (p.needs == nil || !p.needs.EmptySegments) {
		p.report(at(n, hcm), CodeMergeSlashes, "merge_slashes is off: Edict refuses //a, which the backend may take for /a", "write merge_slashes: true")
	}
	n = hcm.get("path_with_escaped_slashes_action")
	switch action := n.str(); {
	case p.needs != nil && p.needs.EncodedSlashes: // some route admits them, and Edict refuses them elsewhere
	case action == "", action == "KEEP_UNCHANGED", action == "IMPLEMENTATION_SPECIFIC_DEFAULT":
		p.report(at(n, hcm), CodeEscapedSlashes, "%2f and %5c in a path stay as they are: one more decoding makes another path of it",
			"write path_with_escaped_slashes_action: REJECT_REQUEST")
	}
	n = hcm.get("common_http_protocol_options", "headers_with_underscores_action")
	switch n.str() {
	case "", "ALLOW":
		p.report(at(n, at(hcm.get("common_http_protocol_options"), hcm)), CodeUnderscores, "headers with underscores pass: x_user is another header than x-user to Envoy, and the same to some backends",
			"write headers_with_underscores_action: REJECT_REQUEST under common_http_protocol_options")
	}
	if !hcm.isTrue("strip_any_host_port") && !hcm.isTrue("strip_matching_host_port") {
		p.report(at(hcm.get("strip_any_host_port"), hcm), CodeHostPort, "the port stays in the host: one host has several spellings", "write strip_any_host_port: true")
	}
	n = hcm.get("strip_trailing_host_dot")
	if !n.isTrue() {
		p.report(at(n, hcm), CodeHostDot, "the dot behind a host stays: example.com. and example.com are two hosts", "write strip_trailing_host_dot: true")
	}
}

// upgrades reports upgrades with filters of their own.
func (p *proxy) upgrades(hcm *node) {
	for _, u := range hcm.list("upgrade_configs") {
		filters := u.list("filters")
		if len(filters) == 0 || slices.ContainsFunc(filters, func(n *node) bool { return newFilter(n).kind == typeExtAuthz }) {
			continue
		}
		p.reportf(u.get("filters"), CodeUpgradeUnguarded, "add ext_authz to these filters, or remove them: the filters of the connection manager hold then",
			"a request with \"upgrade: %s\" meets these filters alone, and Edict is not asked", u.str("upgrade_type"))
	}
}

// order reports filters on the wrong side of ext_authz.
func (p *proxy) order(all []*filter, authz *filter) {
	after := false
	for i, f := range all {
		if f == authz {
			after = true
			continue
		}
		if f.kind == typeMutation {
			changes := f.typed.list("mutations", "request_mutations")
			p.mutations(changes)
			if !after {
				p.removals(changes, all[i+1:])
			}
		}
		switch {
		case f.kind == typeRouter && i < len(all)-1:
			p.report(f.node, CodeFilterOrder, "the router stands before other filters, which no request ever meets", "put the router last")
		case f.kind == typeJWT && after && p.readsClaims(authz):
			p.ordered(f, authz)
		case f.kind == typeCORS && after:
			p.report(f.node, CodeCORSOrder, "cors stands behind ext_authz: preflight requests are denied, and denials lack the headers by which a browser shows them",
				"put cors before ext_authz", related(authz.node, "ext_authz is here"))
		case f.kind == typeToMetadata && !after:
			p.clientMetadata(f, authz)
		case after && changing[f.kind] != "":
			p.reportf(f.node, CodeChangesAfter, "put it before ext_authz, if it is not needed behind",
				"%s can change a request that Edict has judged", changing[f.kind])
		}
	}
	for _, f := range all {
		if f.kind == typeJWT {
			p.jwt(f, authz)
		}
	}
}

func (p *proxy) ordered(f, authz *filter) {
	p.report(f.node, CodeFilterOrder, "jwt_authn stands behind ext_authz: when Edict is asked, no token has been verified, and there are no claims",
		"put jwt_authn before ext_authz", related(authz.node, "ext_authz is here"))
}

// readsClaims tells whether Edict is to get what jwt_authn writes.
func (p *proxy) readsClaims(authz *filter) bool {
	if p.needs != nil {
		return slices.Contains(p.needs.Namespaces, jwtNamespace)
	}
	return slices.Contains(authz.typed.texts("metadata_context_namespaces"), jwtNamespace)
}

// jwtNamespace is the namespace that jwt_authn writes to.
const jwtNamespace = "envoy.filters.http.jwt_authn"

// clientMetadata reports namespaces that clients can write to by a header, and
// that Edict is given.
func (p *proxy) clientMetadata(f, authz *filter) {
	listed := authz.typed.texts("metadata_context_namespaces")
	for _, rule := range slices.Concat(f.typed.list("request_rules")) {
		for _, on := range []string{"on_header_present", "on_header_missing"} {
			if !rule.has(on) {
				continue
			}
			namespace := rule.get(on, "metadata_namespace")
			name := namespace.str()
			if name == "" {
				name = "envoy.filters.http.header_to_metadata"
			}
			place := at(namespace, rule.get(on))
			switch {
			case name == jwtNamespace, p.needs != nil && p.claimsIn(name):
				p.reportf(place, CodeClientIdentity, "write to a namespace that no identity is taken from",
					"a header of the client is written to %s, which Edict takes identity from", name)
			case slices.Contains(listed, name):
				p.reportf(place, CodeClientMetadata, "let no policy trust it, or take it off metadata_context_namespaces",
					"a header of the client is written to %s, which Edict is given as metadata", name)
			}
		}
	}
}

// claimsIn tells whether Edict takes identity from a namespace.
func (p *proxy) claimsIn(namespace string) bool {
	for _, c := range p.needs.Claims {
		if c.Namespace == namespace {
			return true
		}
	}
	return false
}

// jwt judges jwt_authn beside an ext_authz filter.
func (p *proxy) jwt(f, authz *filter) {
	providers := f.typed.get("providers")
	written := map[string]*node{} // metadata key to where it is named
	for _, provider := range providers.children() {
		if n := provider.get("payload_in_metadata"); n != nil {
			written[n.str()] = n
		}
	}
	f.typed.any(func(n *node) bool {
		if x := n.get("extract_only_without_validation"); x != nil {
			p.report(x, CodeJWTUnverified, "jwt_authn hands on claims of tokens that nobody verified, in the namespace of verified ones",
				"remove extract_only_without_validation; require a provider, with allow_missing_or_failed beside it if need be")
		}
		return false
	})
	optional := f.typed.any(func(n *node) bool { return n.has("allow_missing") || n.has("allow_missing_or_failed") })
	for _, provider := range providers.children() {
		for _, h := range provider.list("claim_to_headers") {
			if optional {
				p.reportf(h, CodeClaimHeaders, "remove the header by early_header_mutation_extensions, or require the token",
					"the client's own %s passes where the token is missing, which the rules allow", h.str("header_name"))
			}
		}
	}
	if p.needs != nil && slices.Contains(p.needs.TokenHeaders, "authorization") {
		for _, provider := range providers.children() {
			if forward := provider.get("forward"); !forward.isTrue() {
				p.report(at(forward, provider), CodeTokenRemoved, "jwt_authn removes the token that it verified, and Edict is to verify it, too: nobody has an identity",
					"write forward: true, or let Edict take identity from the claims")
			}
		}
	}
	listed := slices.Contains(authz.typed.texts("metadata_context_namespaces"), jwtNamespace)
	switch {
	case p.needs == nil && len(written) > 0 && !listed && authz.typed.has("grpc_service"):
		first := written[sortedKeys(written)[0]]
		p.report(at(authz.typed.get("metadata_context_namespaces"), authz.node), CodeMetadataMissing,
			"jwt_authn writes claims to metadata, and ext_authz does not hand them on",
			"write metadata_context_namespaces: ["+jwtNamespace+"]", related(first, "the claims are written here"))
	case p.needs != nil:
		for _, c := range p.needs.Claims {
			if c.Namespace == jwtNamespace && written[c.Key] == nil {
				p.reportf(at(providers, f.node), CodeMetadataKey, "write payload_in_metadata: "+c.Key+" in a provider, or set the key of the source in Edict's configuration",
					"no provider writes its claims under %q, where Edict looks for them; there %s", c.Key, quoted(sortedKeys(written)))
			}
		}
	}
}

// quoted says what is there.
func quoted(list []string) string {
	if len(list) == 0 {
		return "is none at all"
	}
	return `is "` + strings.Join(list, `", "`) + `"`
}
