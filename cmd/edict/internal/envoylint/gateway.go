package envoylint

import (
	"slices"
	"strings"
	"time"
)

// gatewayGroup is the API group of Envoy Gateway.
const gatewayGroup = "gateway.envoyproxy.io"

// A gateway is what was found of Envoy Gateway, which is judged together.
type gateway struct {
	policies []*node // SecurityPolicy
	proxies  []*node // EnvoyProxy
}

// check judges what was gathered of Envoy Gateway.
func (g *gateway) check(l *linter) {
	for _, p := range g.proxies {
		g.filterOrder(l, p)
	}
	for _, p := range g.policies {
		g.policy(l, p)
	}
}

// policy judges a SecurityPolicy.
func (g *gateway) policy(l *linter, n *node) {
	spec := n.get("spec")
	a := spec.get("extAuth")
	if a == nil {
		g.overridden(l, n)
		return
	}
	if open := a.get("failOpen"); open.isTrue() {
		l.report(open, CodeFailOpen, "while Edict can't be asked, every request passes; so it does while this object is invalid", "write failOpen: false")
	}
	l.limit(a, a.get("timeout"), 10*time.Second)
	if !a.has("statusOnError") {
		l.report(a, CodeStatusOnError, "an outage of Edict is answered like a denial", "write statusOnError: 503")
	}
	if c := a.get("recomputeRoute"); c.isTrue() {
		l.report(c, CodeClearRouteCache, "a request can get another route after it was judged, whose settings nobody applied", "write recomputeRoute: false")
	}
	if !a.has("bodyToExtAuth") {
		l.noBody(a, "write bodyToExtAuth: {maxRequestBytes: 8192}")
	}
	switch headers := a.get("headersToExtAuth"); {
	case a.has("http"):
		taken := a.get("http", "headersToBackend")
		l.headerLists(a, append(a.texts("headersToExtAuth"), "authorization"), headers, "headersToExtAuth", a.texts("http", "headersToBackend"), at(taken, a.get("http")), "headersToBackend")
	case headers != nil:
		l.report(headers, CodeHeadersHidden, "Edict is shown some headers alone, and can't refuse what hides in the others", "remove headersToExtAuth")
	}
	if l.needs != nil {
		for _, c := range l.needs.Claims {
			l.reportf(a, CodeMetadataMissing, "let Edict verify tokens itself: identity.sources with jwt",
				"Edict takes identity from the metadata %s, which Envoy Gateway does not hand on", c.Namespace)
		}
	}
	if g.verifiesFirst() {
		return
	}
	for _, provider := range spec.list("jwt", "providers") {
		for _, h := range provider.list("claimToHeaders") {
			if name := strings.ToLower(h.str("header")); l.needs == nil || slices.Contains(l.needs.Headers, name) {
				l.reportf(h, CodeClaimHeaders, "let Edict verify the token itself, or order the filters by filterOrder of EnvoyProxy",
					"%s is written after Edict was asked: what Edict reads under this name is the client's", name)
			}
		}
	}
}

// overridden reports a policy on a route that takes the place of one on the
// gateway, and does not ask Edict.
func (g *gateway) overridden(l *linter, n *node) {
	if n.has("spec", "mergeType") || !targets(n, func(kind string) bool { return kind != "Gateway" }) {
		return
	}
	for _, other := range g.policies {
		if other.has("spec", "extAuth") && namespaceOf(other) == namespaceOf(n) && targets(other, func(kind string) bool { return kind == "Gateway" }) {
			l.report(n.get("spec"), CodeGatewayOverridden, "this policy takes the place of the one on the gateway for its routes, and does not ask Edict",
				"add extAuth here, or write mergeType: StrategicMerge", related(other.get("spec", "extAuth"), "the policy on the gateway"))
		}
	}
}

// targets tells whether some target of a policy is of a kind.
func targets(n *node, kind func(string) bool) bool {
	all := append(slices.Clone(n.list("spec", "targetRefs")), n.list("spec", "targetSelectors")...)
	if one := n.get("spec", "targetRef"); one != nil {
		all = append(all, one)
	}
	return slices.ContainsFunc(all, func(t *node) bool { return kind(t.str("kind")) })
}

// The names of filters in filterOrder.
const (
	nameExtAuthz = "envoy.filters.http.ext_authz"
	nameJWT      = "envoy.filters.http.jwt_authn"
	nameCORS     = "envoy.filters.http.cors"
)

// verifiesFirst tells whether some EnvoyProxy puts jwt_authn before ext_authz.
func (g *gateway) verifiesFirst() bool {
	return slices.ContainsFunc(g.proxies, func(p *node) bool {
		return slices.ContainsFunc(p.list("spec", "filterOrder"), func(o *node) bool {
			return o.str("name") == nameExtAuthz && o.str("after") == nameJWT || o.str("name") == nameJWT && o.str("before") == nameExtAuthz
		})
	})
}

// filterOrder judges an EnvoyProxy.
func (g *gateway) filterOrder(l *linter, n *node) {
	for _, o := range n.list("spec", "filterOrder") {
		first, second := o.str("name"), o.str("before")
		if after := o.str("after"); after != "" {
			first, second = after, first
		}
		switch {
		case first == nameExtAuthz && second == nameJWT:
			l.report(o, CodeFilterOrder, "jwt_authn stands behind ext_authz: when Edict is asked, no token has been verified",
				"write {name: envoy.filters.http.ext_authz, after: envoy.filters.http.jwt_authn}")
		case first == nameExtAuthz && second == nameCORS:
			l.report(o, CodeCORSOrder, "cors stands behind ext_authz: preflight requests are denied, and denials lack the headers by which a browser shows them",
				"remove this entry: cors comes first by default")
		}
	}
}

// clientTrafficPolicy judges how a gateway reads requests.
func (l *linter) clientTrafficPolicy(n *node) {
	spec := n.get("spec")
	for _, m := range spec.list("headers", "earlyRequestHeaders", "remove") {
		if name := strings.ToLower(m.str()); l.needs != nil && slices.Contains(l.needs.TokenHeaders, name) {
			l.reportf(m, CodeTokenRemoved, "leave it: Edict has keys removed that it has read, and tokens if their source says forward: false",
				"%s is removed before Edict is asked, which takes identity from it: nobody has an identity", name)
		}
	}
	if a := spec.get("path", "escapedSlashesAction"); a.str() == "KeepUnchanged" && (l.needs == nil || !l.needs.EncodedSlashes) {
		l.report(a, CodeEscapedSlashes, "%2f and %5c in a path stay as they are: one more decoding makes another path of it", "write escapedSlashesAction: RejectRequest")
	}
	if m := spec.get("path", "disableMergeSlashes"); m.isTrue() && (l.needs == nil || !l.needs.EmptySegments) {
		l.report(m, CodeMergeSlashes, "slashes are not merged: Edict refuses //a, which the backend may take for /a", "remove disableMergeSlashes")
	}
	if u := spec.get("headers", "withUnderscoresAction"); u.str() == "Allow" {
		l.report(u, CodeUnderscores, "headers with underscores pass: x_user is another header than x-user to Envoy, and the same to some backends", "write withUnderscoresAction: RejectRequest")
	}
	if m := spec.get("headers", "xForwardedClientCert", "mode"); m.str() == "AlwaysForwardOnly" {
		l.report(m, CodeForwardedCert, "x-forwarded-client-cert is handed on as the client sent it: anybody can claim any certificate", "write mode: SanitizeSet")
	}
}
