package envoylint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"edict/engine/diag"
)

// A mesh is what was found of Istio, which is judged together.
type mesh struct {
	configs                []*node
	providers              []provider
	policies               []*node
	requestAuthentications []*node
	services, entries      []*node
	patched                []string // metadata namespaces that EnvoyFilters hand on
}

// A provider is an extension provider for external authorization.
type provider struct {
	name string
	node *node // envoyExtAuthzGrpc or envoyExtAuthzHttp
	grpc bool
}

// meshConfig takes a mesh configuration: of its own, or as Helm values and
// IstioOperator have it.
func (l *linter) meshConfig(n *node) {
	if inner := n.get("meshConfig"); inner != nil {
		n = inner
	}
	l.judged++
	l.mesh.configs = append(l.mesh.configs, n)
	for _, p := range n.list("extensionProviders") {
		for _, kind := range []string{"envoyExtAuthzGrpc", "envoyExtAuthzHttp"} {
			if service := p.get(kind); service != nil {
				l.mesh.providers = append(l.mesh.providers, provider{p.str("name"), service, kind == "envoyExtAuthzGrpc"})
			}
		}
	}
}

// check judges what was gathered of the mesh.
func (m *mesh) check(l *linter) {
	for _, p := range m.providers {
		m.provider(l, p)
	}
	for _, c := range m.configs {
		m.paths(l, c)
	}
	for i, p := range m.policies {
		if p.str("spec", "action") == "CUSTOM" {
			m.policy(l, p, m.policies[:i])
		}
	}
	for _, r := range m.requestAuthentications {
		m.claimHeaders(l, r)
	}
}

// paths judges how the mesh normalises paths.
func (m *mesh) paths(l *linter, c *node) {
	if !slices.ContainsFunc(m.providers, func(p provider) bool {
		return c.any(func(n *node) bool { return n == p.node })
	}) {
		return
	}
	n := c.get("pathNormalization", "normalization")
	place := at(n, at(c.get("pathNormalization"), c.get("extensionProviders")))
	switch n.str() {
	case "NONE":
		l.report(place, CodeNormalizePath, "paths are not normalised: Edict and the backend can read /a/../b in two ways", "write normalization: MERGE_SLASHES")
	case "", "DEFAULT", "BASE":
		if l.needs != nil && l.needs.EmptySegments {
			return // some route admits them
		}
		l.report(place, CodeMergeSlashes, "slashes are not merged: Edict refuses //a, which the backend may take for /a", "write pathNormalization: {normalization: MERGE_SLASHES}")
	}
}

// provider judges an extension provider.
func (m *mesh) provider(l *linter, p provider) {
	n := p.node
	if open := n.get("failOpen"); open.isTrue() {
		l.report(open, CodeFailOpen, "while Edict can't be asked, every request passes", "write failOpen: false")
	}
	l.limit(n, n.get("timeout"), 600*time.Second)
	if !n.has("statusOnError") {
		l.report(n, CodeStatusOnError, "an outage of Edict is answered like a denial", `write statusOnError: "503"`)
	}
	if c := n.get("clearRouteCache"); c.isTrue() {
		l.report(c, CodeClearRouteCache, "a request can get another route after it was judged, whose settings nobody applied", "write clearRouteCache: false")
	}
	l.istioBody(n, p.grpc)
	service := n.get("service")
	host := service.str()
	host = host[strings.LastIndexByte(host, '/')+1:]
	if isLocal(host) {
		l.report(service, CodeIstioLoopback, "Istio refuses a provider on loopback, and every request is denied",
			"make a ServiceEntry with the endpoint, and name its host here")
	}
	if l.needs != nil && len(l.needs.Claims) > 0 {
		for _, c := range l.needs.Claims {
			if !slices.Contains(m.patched, c.Namespace) {
				l.reportf(n, CodeMetadataMissing, "let Edict verify tokens itself: identity.sources with jwt",
					"Edict takes identity from the metadata %s, which Istio does not hand on; nor has a token been verified when Edict is asked", c.Namespace)
			}
		}
	}
	if !p.grpc {
		l.istioHTTP(n)
	}
	m.reached(l, p, host)
}

// limit judges the time that a check may take where a control plane has a
// default of its own.
func (l *linter) limit(parent, n *node, unset time.Duration) {
	switch d, ok := n.duration(); {
	case !ok:
		l.reportf(at(n, parent), CodeTimeoutLong, "write timeout: 250ms", "no time is set that a check may take, and the default is %s: if Edict hangs, so does all behind it", unset)
	case d == 0 || d > longest:
		l.reportf(n, CodeTimeoutLong, "write timeout: 250ms", "a check may take %s, and hold its request as long: if Edict hangs, so does all behind it", n.str())
	}
}

// istioBody judges what of bodies a provider is given.
func (l *linter) istioBody(n *node, grpc bool) {
	b := n.get("includeRequestBodyInCheck")
	if b == nil {
		l.noBody(n, "write includeRequestBodyInCheck: {maxRequestBytes: 8192, packAsBytes: true}")
		return
	}
	if part := b.get("allowPartialMessage"); part.isTrue() {
		l.report(part, CodePartialBody, "bodies that are too long are handed on in part, and pass if no policy reads the rest", "write allowPartialMessage: false; a longer body gets 413 then")
	}
	if packed := b.get("packAsBytes"); grpc && !packed.isTrue() {
		l.report(at(packed, b), CodePackAsBytes, "bodies are handed on as text, in which ! replaces what is not UTF-8", "write packAsBytes: true")
	}
}

// noBody reports that routes of Edict read the body and that none is handed on.
func (l *linter) noBody(n *node, hint string) {
	if l.needs != nil && len(l.needs.BodyRoutes) > 0 {
		l.reportf(n, CodeBodyMissing, hint, "the route %s reads the body, and Envoy does not hand it on", l.needs.BodyRoutes[0])
	}
}

// istioHTTP judges the lists of headers of an HTTP provider.
func (l *linter) istioHTTP(n *node) {
	sent := slices.Concat(n.texts("includeRequestHeadersInCheck"), n.texts("includeHeadersInCheck"))
	l.headerLists(n, sent, n.get("includeRequestHeadersInCheck"), "includeRequestHeadersInCheck", n.texts("headersToUpstreamOnAllow"), n.get("headersToUpstreamOnAllow"), "headersToUpstreamOnAllow")
	if down := n.get("headersToDownstreamOnDeny"); down != nil && !matchesHeader(n.texts("headersToDownstreamOnDeny"), "www-authenticate") {
		l.report(down, CodeHTTPClient, "clients do not get the header www-authenticate of a denial", "add www-authenticate")
	}
}

// headerLists judges which headers the HTTP variant is sent, and which of its
// answer are taken, where both are lists of names.
func (l *linter) headerLists(n *node, sent []string, sentAt *node, sentName string, taken []string, takenAt *node, takenName string) {
	read, upstream := []string{"authorization"}, []string(nil)
	if l.needs != nil {
		read, upstream = l.needs.Headers, l.needs.Upstream
	}
	for _, name := range read {
		if !matchesHeader(sent, name) {
			l.reportf(at(sentAt, n), CodeHTTPHeaders, "add "+name+" to "+sentName, "Edict reads the header %s, and is not sent it", name)
		}
	}
	switch {
	case len(taken) == 0:
		l.reportf(at(takenAt, n), CodeHTTPUpstream, "list them in "+takenName, "Envoy takes no header from Edict's answer: the backend gets what the client sent under these names")
	default:
		for _, name := range upstream {
			if !matchesHeader(taken, name) {
				l.reportf(takenAt, CodeHTTPUpstream, "add "+name, "Envoy does not take %s from Edict's answer: the backend gets the client's own", name)
			}
		}
	}
}

// matchesHeader tells whether a list of names, with wildcards at either end,
// holds a name.
func matchesHeader(list []string, name string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		s = strings.ToLower(s)
		prefix, before := strings.CutSuffix(s, "*")
		suffix, after := strings.CutPrefix(s, "*")
		return s == name || before && strings.HasPrefix(name, prefix) || after && strings.HasSuffix(name, suffix)
	})
}

// reached judges the service that a provider names.
func (m *mesh) reached(l *linter, p provider, host string) {
	port := p.node.str("port")
	for _, s := range m.services {
		if hostOfService(s) != host {
			continue
		}
		if ip := s.get("spec", "clusterIP"); ip.str() == "None" {
			l.report(ip, CodeIstioHeadless, "sidecars take the connection's own address for a headless service, and reach no Edict",
				"remove clusterIP: None", diag.Related{Pos: p.node.pos, Message: "the provider that names it"})
		}
		for _, sp := range s.list("spec", "ports") {
			if sp.str("port") == port && p.grpc && !speaksGRPC(sp.str("name"), sp.str("appProtocol")) {
				l.report(at(sp.get("name"), sp), CodeIstioPortName, "Istio does not take this port for gRPC, and speaks HTTP/1.1 to it: every check fails",
					"call the port grpc, or write appProtocol: grpc", diag.Related{Pos: p.node.pos, Message: "the provider that names it"})
			}
		}
	}
	for _, e := range m.entries {
		if !slices.Contains(e.texts("spec", "hosts"), host) {
			continue
		}
		for _, sp := range e.list("spec", "ports") {
			if sp.str("number") == port && p.grpc && !speaksGRPC(sp.str("protocol"), "") {
				l.report(at(sp.get("protocol"), sp), CodeIstioPortName, "Istio does not take this port for gRPC, and speaks HTTP/1.1 to it: every check fails",
					"write protocol: GRPC", diag.Related{Pos: p.node.pos, Message: "the provider that names it"})
			}
		}
	}
}

// speaksGRPC tells whether Istio takes a port for HTTP/2.
func speaksGRPC(name, protocol string) bool {
	if protocol != "" {
		name = strings.TrimPrefix(protocol, "kubernetes.io/")
	}
	first, _, _ := strings.Cut(strings.ToLower(name), "-")
	return first == "grpc" || first == "http2" || first == "h2c"
}

// hostOfService gives the name by which the mesh knows a Service.
func hostOfService(s *node) string {
	return s.str("metadata", "name") + "." + namespaceOf(s) + ".svc.cluster.local"
}

func namespaceOf(n *node) string {
	if ns := n.str("metadata", "namespace"); ns != "" {
		return ns
	}
	return "default"
}

// policy judges an AuthorizationPolicy that asks Edict.
func (m *mesh) policy(l *linter, n *node, earlier []*node) {
	spec := n.get("spec")
	name := spec.get("provider", "name")
	i := slices.IndexFunc(m.providers, func(p provider) bool { return p.name == name.str() })
	if i < 0 && len(m.configs) > 0 {
		l.report(at(name, spec), CodeIstioUnknownProvider, fmt.Sprintf("there is no extension provider %q: every request is denied", name.str()),
			orElse(diag.DidYouMean(name.str(), m.providerNames()), "define it in extensionProviders of the mesh configuration"))
	}
	if dry := n.get("metadata", "annotations", "istio.io/dry-run"); dry.isTrue() {
		l.report(dry, CodeIstioDryRun, "a CUSTOM policy is enforced, dry run or not", "remove the annotation")
	}
	for _, other := range earlier {
		if other.str("spec", "action") == "CUSTOM" && other.str("spec", "provider", "name") != name.str() && overlap(n, other) {
			l.report(at(name, spec), CodeIstioTwoProviders, "another policy gives the same workloads another provider: Istio denies every request",
				"use one provider", related(at(other.get("spec", "provider"), other), "the other provider"))
		}
	}
	if i >= 0 {
		m.recursion(l, n, m.providers[i])
	}
	rules := spec.list("rules")
	if len(rules) == 0 {
		l.report(at(spec.get("rules"), spec), CodeIstioNoRules, "a policy without rules is for no request: Edict is never asked", "write rules: [{}]")
	}
	everything := slices.ContainsFunc(rules, func(r *node) bool { return len(r.children()) == 0 })
	for _, r := range rules {
		m.rule(l, r, everything)
	}
}

func (m *mesh) providerNames() []string {
	var out []string
	for _, p := range m.providers {
		out = append(out, p.name)
	}
	return out
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// overlap tells whether two policies can be for one workload.
func overlap(a, b *node) bool {
	if namespaceOf(a) != namespaceOf(b) {
		return false
	}
	p, q := a.get("spec", "selector", "matchLabels"), b.get("spec", "selector", "matchLabels")
	if p == nil || q == nil {
		return !a.has("spec", "targetRefs") && !b.has("spec", "targetRefs")
	}
	for _, name := range p.names {
		if q.has(name) && q.str(name) != p.str(name) {
			return false
		}
	}
	return true
}

// recursion reports a policy on Edict's own workload.
func (m *mesh) recursion(l *linter, n *node, p provider) {
	if n.has("spec", "targetRefs") || n.has("spec", "targetRef") {
		return
	}
	host := p.node.str("service")
	parts := strings.Split(host[strings.LastIndexByte(host, '/')+1:], ".")
	if len(parts) < 3 || parts[2] != "svc" {
		return
	}
	namespace := namespaceOf(n)
	labels := n.get("spec", "selector", "matchLabels")
	if namespace != parts[1] && namespace != rootNamespace {
		return
	}
	if labels != nil {
		own := false
		for _, s := range m.services {
			selector := s.get("spec", "selector")
			own = own || selector != nil && s.str("metadata", "name") == parts[0] && namespaceOf(s) == parts[1] &&
				!slices.ContainsFunc(labels.names, func(name string) bool { return selector.str(name) != labels.str(name) })
		}
		if !own {
			return
		}
	}
	l.reportf(at(labels, n.get("spec")), CodeIstioRecursion, "select the workloads that are to be guarded, or move Edict to a namespace of its own",
		"the policy is for Edict itself, in %s: a check of Edict would need a check", parts[1])
}

// rootNamespace is where policies for the whole mesh are, by default.
const rootNamespace = "istio-system"

// rule judges a rule of a policy that asks Edict. What no rule matches passes.
func (m *mesh) rule(l *linter, r *node, everything bool) {
	for _, w := range r.list("when") {
		if key := w.get("key"); strings.HasPrefix(key.str(), "request.auth.") {
			l.reportf(key, CodeIstioAuthCondition, "move the condition to the policies of Edict",
				"%s is not known when Istio decides whether to ask Edict: no token has been verified", key.str())
		} else if !everything {
			m.narrow(l, at(key, w), "this condition")
		}
	}
	for _, f := range r.list("from") {
		for _, field := range []string{"requestPrincipals", "notRequestPrincipals"} {
			if n := f.get("source", field); n != nil {
				l.reportf(n, CodeIstioAuthCondition, "move the condition to the policies of Edict", "%s are not known when Istio decides whether to ask Edict: no token has been verified", field)
			}
		}
		if !everything && f.any(func(n *node) bool {
			return n.has("principals") || n.has("namespaces") || n.has("ipBlocks") || n.has("remoteIpBlocks")
		}) {
			m.narrow(l, f, "this source")
		}
	}
	for _, t := range r.list("to") {
		operation := t.get("operation")
		for _, path := range operation.list("notPaths") {
			if value := path.text.Value; strings.Contains(value, "*") || strings.Contains(value, "{") {
				l.reportf(path, CodeFilterDisabled, "name exact paths", "Edict is not asked about any path that matches %s, such as %s-admin", value, strings.Trim(value, "*"))
			}
		}
		for _, field := range []string{"paths", "methods", "hosts", "ports", "notMethods", "notHosts"} {
			if n := operation.get(field); n != nil && !everything && !(field == "paths" && slices.Contains(operation.texts(field), "/*")) {
				m.narrow(l, n, field)
				break
			}
		}
	}
}

func (m *mesh) narrow(l *linter, n *node, what string) {
	l.reportf(n, CodeIstioNarrowRule, "write rules: [{}], and let Edict judge every request; exclude exact paths by notPaths, if at all",
		"requests that %s does not match pass, and Edict is not asked", what)
}

// claimHeaders reports headers that Istio makes of claims after Edict was asked.
func (m *mesh) claimHeaders(l *linter, n *node) {
	custom := slices.ContainsFunc(m.policies, func(p *node) bool { return p.str("spec", "action") == "CUSTOM" })
	for _, rule := range n.list("spec", "jwtRules") {
		for _, h := range rule.list("outputClaimToHeaders") {
			name := strings.ToLower(h.str("header"))
			if l.needs != nil && slices.Contains(l.needs.Headers, name) || l.needs == nil && custom {
				l.reportf(h, CodeClaimHeaders, "let Edict verify the token itself",
					"%s is written after Edict was asked: what Edict reads under this name is the client's", name)
			}
		}
	}
}

// peerAuthentication judges whether peers are known.
func (l *linter) peerAuthentication(n *node) {
	n.get("spec").any(func(n *node) bool {
		switch mode := n.get("mode"); mode.str() {
		case "PERMISSIVE", "DISABLE":
			l.reportf(mode, CodeIstioMTLS, "write mode: STRICT", "with %s a peer may have no certificate, and then no principal", mode.str())
		}
		return false
	})
}

// envoyFilter judges the patches that touch what Edict relies on. A merge says
// only what it changes, so that only what it says is judged.
func (l *linter) envoyFilter(n *node) {
	p := l.newProxy()
	p.partial, p.discovered = true, true
	for _, patch := range n.list("spec", "configPatches") {
		value := patch.get("patch", "value")
		kind, typed := value.get("typed_config").typeName()
		if merge := patch.str("patch", "operation") == "MERGE"; !merge {
			if value.has("typed_config") && kind == typeExtAuthz || value.has("load_assignment") {
				p.add(value)
			}
			continue
		}
		switch kind {
		case typeExtAuthz:
			l.mesh.patched = append(l.mesh.patched, typed.texts("metadata_context_namespaces")...)
			p.failOpen(typed)
			p.partialEnforcement(typed)
			p.mutationsRefused(typed)
			if shadow := typed.get("shadow_mode"); shadow.isTrue() {
				l.report(shadow, CodeShadowOnly, "the filter only watches: every request passes", "remove shadow_mode")
			}
			if b := typed.get("with_request_body"); b != nil {
				p.partialBody(b)
			}
		case typeHCM:
			p.merged(typed)
		}
	}
	p.check()
}

// merged judges what a merge turns off in a connection manager.
func (p *proxy) merged(hcm *node) {
	for _, early := range hcm.list("early_header_mutation_extensions") {
		_, typed := early.get("typed_config").typeName()
		p.removals(typed.list("mutations"), nil)
	}
	if n := hcm.get("normalize_path"); n != nil && !n.isTrue() {
		p.report(n, CodeNormalizePath, "normalize_path is off: Edict and the backend can read /a/../b in two ways", "write normalize_path: true")
	}
	if n := hcm.get("path_with_escaped_slashes_action"); n.str() == "KEEP_UNCHANGED" {
		p.report(n, CodeEscapedSlashes, "%2f and %5c in a path stay as they are: one more decoding makes another path of it", "write REJECT_REQUEST")
	}
	if n := hcm.get("common_http_protocol_options", "headers_with_underscores_action"); n.str() == "ALLOW" {
		p.report(n, CodeUnderscores, "headers with underscores pass: x_user is another header than x-user to Envoy, and the same to some backends", "write REJECT_REQUEST")
	}
	if n := hcm.get("forward_client_cert_details"); n.str() == "ALWAYS_FORWARD_ONLY" {
		p.report(n, CodeForwardedCert, "x-forwarded-client-cert is handed on as the client sent it: anybody can claim any certificate", "write SANITIZE_SET")
	}
}
