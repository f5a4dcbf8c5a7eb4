package envoylint

import (
	"fmt"
	"slices"
	"strings"
)

// The protobuf types that are looked for.
const (
	typeBootstrap   = "envoy.config.bootstrap.v3.Bootstrap"
	typeListener    = "envoy.config.listener.v3.Listener"
	typeRoutes      = "envoy.config.route.v3.RouteConfiguration"
	typeVirtualHost = "envoy.config.route.v3.VirtualHost"
	typeCluster     = "envoy.config.cluster.v3.Cluster"
	typeHCM         = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	typeNetwork     = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
	typeTCPProxy    = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	typeExtAuthz    = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
	typePerRoute    = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
	typeSwitch      = "envoy.config.route.v3.FilterConfig"
	typeJWT         = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
	typeCORS        = "envoy.extensions.filters.http.cors.v3.Cors"
	typeRouter      = "envoy.extensions.filters.http.router.v3.Router"
	typeMutation    = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
	typeToMetadata  = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
	typeUpstreamTLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
)

// A proxy is the configuration of one Envoy, as far as a file holds it.
type proxy struct {
	*linter

	listeners []*node
	clusters  []*node
	routes    map[string]*node // route configurations that listeners name
	hcms      []*node          // connection managers that stand for themselves
	loose     []*node          // route configurations that stand for themselves
	filters   []*filter        // HTTP and network filters that stand for themselves

	used  map[*node]bool // route configurations that were judged with their listener
	asked []ask          // services that filters ask

	partial    bool // parts of it are elsewhere
	discovered bool // clusters come from elsewhere
}

func (l *linter) newProxy() *proxy {
	return &proxy{linter: l, routes: map[string]*node{}, used: map[*node]bool{}}
}

// add takes a document, if it is a part of an Envoy configuration.
func (p *proxy) add(n *node) bool {
	if name, message := n.typeName(); name != "" {
		return p.addTyped(name, message)
	}
	switch {
	case n.has("configs"):
		p.dump(n)
	case n.has("static_resources"), n.has("dynamic_resources"):
		p.bootstrap(n)
	case n.has("resources"):
		p.partial, p.discovered = true, true
		for _, r := range n.list("resources") {
			if name, message := r.typeName(); name != "" {
				p.addTyped(name, message)
			}
		}
	case n.has("filter_chains"), n.has("default_filter_chain"):
		return p.addTyped(typeListener, n)
	case n.has("virtual_hosts"):
		return p.addTyped(typeRoutes, n)
	case n.has("routes") && n.has("domains"):
		return p.addTyped(typeVirtualHost, n)
	case n.has("load_assignment"), n.has("name") && n.has("connect_timeout"), n.has("name") && n.has("lb_policy"):
		return p.addTyped(typeCluster, n)
	case n.has("http_filters"):
		return p.addTyped(typeHCM, n)
	case n.has("typed_config"):
		p.partial, p.discovered = true, true
		p.filters = append(p.filters, newFilter(n))
	default:
		return false
	}
	return true
}

// addTyped takes a message of a type.
func (p *proxy) addTyped(name string, n *node) bool {
	if n == nil {
		return false
	}
	if name == typeBootstrap {
		p.bootstrap(n)
		return true
	}
	p.partial, p.discovered = true, true
	switch name {
	case typeListener:
		p.listeners = append(p.listeners, n)
	case typeRoutes:
		p.loose = append(p.loose, n)
	case typeVirtualHost:
		p.loose = append(p.loose, &node{pos: n.pos, names: []string{"virtual_hosts"}, fields: map[string]*node{"virtual_hosts": {pos: n.pos, items: []*node{n}}}})
	case typeCluster:
		p.clusters = append(p.clusters, n)
	case typeHCM:
		p.hcms = append(p.hcms, n)
	case typeExtAuthz, typeNetwork, typeJWT:
		p.filters = append(p.filters, &filter{node: n, typed: n, kind: name})
	default:
		return false
	}
	return true
}

// bootstrap takes a bootstrap.
func (p *proxy) bootstrap(n *node) {
	p.listeners = append(p.listeners, n.list("static_resources", "listeners")...)
	p.clusters = append(p.clusters, n.list("static_resources", "clusters")...)
	dynamic := n.get("dynamic_resources")
	p.discovered = p.discovered || dynamic.has("cds_config")
	p.partial = p.partial || dynamic.has("lds_config")
}

// dump takes what Envoy's admin page /config_dump gives. The bootstrap in it is
// left out: its resources are in the other parts.
func (p *proxy) dump(n *node) {
	parts := map[string]bool{}
	for _, c := range n.list("configs") {
		name, _ := c.typeName()
		parts[name[strings.LastIndexByte(name, '.')+1:]] = true
		for _, l := range c.list("static_listeners") {
			p.addDumped(&p.listeners, l.get("listener"))
		}
		for _, l := range c.list("dynamic_listeners") {
			p.addDumped(&p.listeners, l.get("active_state", "listener"))
		}
		for _, cluster := range slices.Concat(c.list("static_clusters"), c.list("dynamic_active_clusters")) {
			p.addDumped(&p.clusters, cluster.get("cluster"))
		}
		for _, r := range slices.Concat(c.list("static_route_configs"), c.list("dynamic_route_configs")) {
			if rc := r.get("route_config"); rc != nil {
				p.routes[rc.str("name")] = rc
			}
		}
	}
	p.partial = !parts["ListenersConfigDump"]
	p.discovered = !parts["ClustersConfigDump"]
}

func (p *proxy) addDumped(to *[]*node, n *node) {
	if n != nil {
		*to = append(*to, n)
	}
}

// A chain is a way in: the filters that a connection to a listener meets.
type chain struct {
	listener *node
	hcm      *node // nil: no HTTP
	place    *node // where to report about it
	network  *filter
	http     []*filter

	guarded   map[string]bool // clusters that a request reaches after a check
	unguarded map[string]*node
}

// check judges what was gathered.
func (p *proxy) check() {
	for _, f := range p.filters {
		p.filter(f, nil)
	}
	var chains []*chain
	for _, hcm := range p.hcms {
		chains = append(chains, p.chain(nil, nil, hcm))
	}
	for _, l := range p.listeners {
		if l.str("traffic_direction") == "OUTBOUND" {
			continue // what a sidecar's own workload asks of others
		}
		for _, fc := range append(l.list("filter_chains"), l.get("default_filter_chain")) {
			if fc != nil {
				chains = append(chains, p.filterChain(l, fc))
			}
		}
		if hcm := l.get("api_listener", "api_listener"); hcm != nil {
			chains = append(chains, p.chain(l, nil, hcm))
		}
	}
	for _, rc := range p.loose {
		if !p.used[rc] {
			p.routeConfig(rc, &chain{}, nil)
		}
	}
	p.coverage(chains)
	p.upstreams()
}

// filterChain judges a filter chain of a listener.
func (p *proxy) filterChain(l, fc *node) *chain {
	var network *filter
	for _, n := range fc.list("filters") {
		f := newFilter(n)
		switch f.kind {
		case typeNetwork:
			p.filter(f, nil)
			if f.typed.isTrue("shadow_mode") {
				continue
			}
			network = f
		case typeHCM:
			return p.chain(l, network, f.typed)
		case typeTCPProxy:
			c := &chain{listener: l, place: n, network: network, guarded: map[string]bool{}, unguarded: map[string]*node{}}
			for _, name := range clustersOf(f.typed) {
				c.reach(name, n, network != nil)
			}
			if network == nil {
				p.onlyShadow(fc.list("filters"), typeNetwork)
			}
			return c
		}
	}
	return &chain{listener: l, place: fc}
}

// onlyShadow reports a shadow instance without an instance that enforces.
func (p *proxy) onlyShadow(filters []*node, kind string) {
	for _, n := range filters {
		if f := newFilter(n); f.kind == kind && f.typed.isTrue("shadow_mode") {
			p.report(f.typed.get("shadow_mode"), CodeShadowOnly, "this instance only watches, and there is none that enforces: every request passes",
				"set shadow_mode: false, or put an instance that enforces before it")
		}
	}
}

// reach notes that requests get to a cluster.
func (c *chain) reach(cluster string, by *node, checked bool) {
	if checked {
		c.guarded[cluster] = true
	} else if c.unguarded[cluster] == nil {
		c.unguarded[cluster] = by
	}
}

// coverage finds ways in that lead past Edict.
func (p *proxy) coverage(chains []*chain) {
	guarded := map[string]bool{}
	asked := false
	for _, c := range chains {
		asked = asked || c.asks()
		for name := range c.guarded {
			guarded[name] = true
		}
	}
	for _, c := range chains {
		if c.asks() || len(c.unguarded) == 0 {
			continue
		}
		where := c.place
		switch name := c.shared(guarded); {
		case name != "":
			p.reportf(where, CodeBypass, "add ext_authz before the router, or remove this way in",
				"nothing asks Edict here, and requests reach the cluster %q, which is guarded elsewhere", name)
		case !asked && !p.partial:
			p.report(where, CodeNoFilter, "nothing asks Edict: there is no ext_authz filter before the requests leave",
				"add envoy.filters.http.ext_authz before the router; edict envoy-config prints it")
		default:
			p.reportf(where, CodeUnguarded, "add ext_authz before the router, unless what is behind needs no guard",
				"nothing asks Edict on this way to %s", names(c.unguarded))
		}
	}
}

// asks tells whether some filter of the chain asks Edict, and is enforced.
func (c *chain) asks() bool {
	return c.network != nil || slices.ContainsFunc(c.http, func(f *filter) bool { return f.kind == typeExtAuthz })
}

// shared gives a cluster that the chain reaches without a check, and that is
// guarded elsewhere, "" if there is none.
func (c *chain) shared(guarded map[string]bool) string {
	for _, name := range sortedKeys(c.unguarded) {
		if guarded[name] {
			return name
		}
	}
	return ""
}

// clustersOf gives the clusters that a route action, or a TCP proxy, leads to.
func clustersOf(action *node) []string {
	var out []string
	if name := action.str("cluster"); name != "" {
		out = append(out, name)
	}
	for _, w := range action.list("weighted_clusters", "clusters") {
		if name := w.str("name"); name != "" {
			out = append(out, name)
		}
	}
	if header := action.str("cluster_header"); header != "" {
		out = append(out, "(header "+header+")")
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// names lists clusters for a message.
func names(m map[string]*node) string {
	list := sortedKeys(m)
	if len(list) == 1 {
		return fmt.Sprintf("the cluster %q", list[0])
	}
	return fmt.Sprintf("the clusters %s", strings.Join(list, ", "))
}
