package envoylint

import (
	"net/netip"
	"slices"
	"strings"
)

// An ask is a service that a filter asks.
type ask struct {
	cluster string
	place   *node // that names it
	grpc    bool
}

// service notes which cluster a filter asks, and judges a service that is no
// cluster.
func (p *proxy) service(t *node) {
	if n := t.get("grpc_service", "envoy_grpc", "cluster_name"); n != nil {
		p.asked = append(p.asked, ask{n.str(), n, true})
	}
	if n := t.get("http_service", "server_uri", "cluster"); n != nil {
		p.asked = append(p.asked, ask{n.str(), n, false})
	}
	google := t.get("grpc_service", "google_grpc")
	target := google.get("target_uri")
	if target != nil && !google.has("channel_credentials", "ssl_credentials") && !strings.HasPrefix(target.str(), "unix:") && !isLocal(hostOf(target.str())) {
		p.reportf(target, CodePlaintext, "write channel_credentials: {ssl_credentials: …}", "checks go to %s in plain text: whoever is in between can answer them", target.str())
	}
}

// upstreams judges the clusters that filters ask.
func (p *proxy) upstreams() {
	for _, c := range p.clusters {
		i := slices.IndexFunc(p.asked, func(a ask) bool { return a.cluster == c.str("name") })
		switch {
		case i >= 0:
			p.upstream(c, p.asked[i].grpc)
		case len(p.asked) == 0 && strings.Contains(c.str("name"), "edict"): // it stands for itself
			p.upstream(c, true)
		}
	}
	if p.discovered {
		return
	}
	for _, a := range p.asked {
		if !slices.ContainsFunc(p.clusters, func(c *node) bool { return c.str("name") == a.cluster }) {
			p.reportf(a.place, CodeClusterMissing, "add the cluster, or name another", "there is no cluster %q: no check can be made", a.cluster)
		}
	}
}

// upstream judges a cluster that Edict is asked through.
func (p *proxy) upstream(c *node, grpc bool) {
	options := c.get("typed_extension_protocol_options", "envoy.extensions.upstreams.http.v3.HttpProtocolOptions")
	speaksHTTP2 := c.has("http2_protocol_options") || options.has("explicit_http_config", "http2_protocol_options") || options.has("auto_config", "http2_protocol_options")
	if grpc && !speaksHTTP2 {
		p.report(at(options, c), CodeClusterProtocol, "the cluster does not speak HTTP/2, which gRPC needs: every check fails",
			"write explicit_http_config: {http2_protocol_options: {}} in its HttpProtocolOptions")
	}
	watched := len(c.list("health_checks")) > 0 || c.has("outlier_detection")
	threshold := c.get("common_lb_config", "healthy_panic_threshold")
	if share, _ := threshold.number(); watched && (threshold == nil || share > 0) { // a dump leaves out that it is 0
		p.report(at(c.get("common_lb_config", "healthy_panic_threshold"), c), CodePanicThreshold, "if most hosts are unhealthy, Envoy asks the unhealthy ones, too",
			"write common_lb_config: {healthy_panic_threshold: {value: 0}}")
	}
	p.transport(c)
}

// transport judges how a cluster's connections are secured.
func (p *proxy) transport(c *node) {
	socket := c.get("transport_socket")
	if socket == nil && len(c.list("transport_socket_matches")) == 0 {
		for _, host := range addresses(c) {
			if !isLocal(host.str()) {
				p.reportf(host, CodePlaintext, "add a transport_socket with TLS and a client certificate, or use a Unix socket",
					"checks go to %s in plain text: whoever is in between can answer them", host.str())
				return
			}
		}
		return
	}
	kind, tls := socket.get("typed_config").typeName()
	if kind != typeUpstreamTLS {
		return
	}
	common := tls.get("common_tls_context")
	validation := common.get("validation_context")
	if combined := common.get("combined_validation_context"); combined != nil {
		validation = combined.get("default_validation_context")
		if validation == nil {
			return
		}
	}
	switch {
	case common.has("validation_context_sds_secret_config"), common.has("custom_validator_config"):
	case validation == nil, !common.has("combined_validation_context") && !validation.has("trusted_ca") &&
		!validation.has("ca_certificate_provider_instance") && len(validation.list("verify_certificate_hash"))+len(validation.list("verify_certificate_spki")) == 0:
		p.report(at(common, socket), CodeTLSUnverified, "the certificate of Edict is not verified: whoever is in between can answer checks",
			"write validation_context: {trusted_ca: …, match_typed_subject_alt_names: [...]}")
	case !validation.has("match_typed_subject_alt_names") && !validation.has("match_subject_alt_names") && !tls.isTrue("auto_sni_san_validation") &&
		len(validation.list("verify_certificate_hash"))+len(validation.list("verify_certificate_spki")) == 0:
		p.report(validation, CodeTLSAnyName, "any certificate of this authority passes for Edict's", "write match_typed_subject_alt_names with the name of Edict")
	}
}

// addresses gives the hosts of a cluster's endpoints.
func addresses(c *node) []*node {
	var out []*node
	for _, group := range c.list("load_assignment", "endpoints") {
		for _, e := range group.list("lb_endpoints") {
			if host := e.get("endpoint", "address", "socket_address", "address"); host != nil {
				out = append(out, host)
			}
		}
	}
	return out
}

// isLocal tells whether a host is this one.
func isLocal(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// hostOf gives the host of a gRPC target: dns:///host:port or host:port.
func hostOf(target string) string {
	target = target[strings.LastIndexByte(target, '/')+1:]
	if i := strings.LastIndexByte(target, ':'); i >= 0 {
		target = target[:i]
	}
	return strings.Trim(target, "[]")
}
