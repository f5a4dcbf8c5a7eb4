package envoylint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// routeConfig judges a route configuration: where it turns the filter off, what
// bodies it hands on, and which headers it adds. The chain is told which
// clusters its requests reach. The filters are those of its connection manager,
// nil if they are not known.
func (p *proxy) routeConfig(rc *node, c *chain, filters []*filter) {
	stripped := c.hcm.any(func(n *node) bool { return n.has("early_header_mutation_extensions") })
	p.addedHeaders(rc)
	p.perRouteNames(rc, filters)
	for _, vh := range rc.list("virtual_hosts") {
		p.addedHeaders(vh)
		p.perRouteNames(vh, filters)
		p.wholeDisabled(vh, rc, c)
		vh.get("matcher").any(func(n *node) bool { // a tree of routes
			if off := p.settings(c, n).disabled; off != nil {
				p.report(off, CodeFilterDisabled, "the filter is off for requests that only a matcher tells", "write routes, and turn the filter off on those with an exact path, if at all")
			}
			return false
		})
		routes := vh.list("routes")
		for i, r := range routes {
			p.addedHeaders(r)
			p.perRouteNames(r, filters)
			s := p.settings(c, rc, vh, r)
			for _, w := range r.list("route", "weighted_clusters", "clusters") {
				if off := p.settings(c, w).disabled; off != nil {
					p.reportf(off, CodeFilterDisabled, "remove it here; turn the filter off on single routes with an exact path, if at all",
						"Edict is not asked about the requests that go to the cluster %q", w.str("name"))
				}
			}
			for _, cluster := range clustersOf(r.get("route")) {
				c.note(cluster, r, len(c.http) > 0 && s.disabled == nil)
			}
			if s.disabled != nil && s.level == r {
				p.disabledRoute(r, s.disabled, routes[i+1:], !stripped && c.hcm != nil)
			}
			if s.disabled == nil {
				p.routeBody(r, s, c)
				p.rewritten(r, s)
			}
		}
	}
}

// note is reach for chains that count.
func (c *chain) note(cluster string, by *node, checked bool) {
	if c.guarded != nil {
		c.reach(cluster, by, checked || c.network != nil)
	}
}

// settings are what the levels of a route configuration say of ext_authz, the
// most specific one first.
type settings struct {
	disabled *node // where it is turned off; nil: it is on
	level    *node // that turns it off
	body     *node // with_request_body of the routes; nil: that of the filter
	noBody   bool
	context  map[string]*node // context_extensions
}

// settings works out what holds for a route.
func (p *proxy) settings(c *chain, levels ...*node) settings {
	s := settings{context: map[string]*node{}}
	decided, bodied := false, false
	slices.Reverse(levels) // the most specific first
	for _, level := range levels {
		over := decided
		for _, own := range p.perRoute(c, level) {
			kind, typed := own.typeName()
			switch {
			case kind == typeSwitch && typed.isTrue("disabled"), kind == typePerRoute && typed.isTrue("disabled"):
				if !over { // it may be that of one of several filters
					s.disabled, s.level = typed.get("disabled"), level
				}
			case kind == typeSwitch:
				_, typed = typed.get("config").typeName()
			}
			decided = true
			check := typed.get("check_settings")
			if !bodied && check != nil && (check.has("with_request_body") || check.has("disable_request_body_buffering")) {
				s.body, s.noBody, bodied = check.get("with_request_body"), check.isTrue("disable_request_body_buffering"), true
			}
			for _, name := range check.get("context_extensions").keys() {
				if s.context[name] == nil {
					s.context[name] = check.get("context_extensions").fields[name]
				}
			}
		}
	}
	return s
}

// keys gives the names of the fields.
func (n *node) keys() []string {
	if n == nil {
		return nil
	}
	return n.names
}

// perRoute gives the configuration of ext_authz at a level. Where the filters are
// known it is that of those that enforce.
func (p *proxy) perRoute(c *chain, level *node) []*node {
	all := level.get("typed_per_filter_config")
	var out []*node
	for _, name := range all.keys() {
		own := all.fields[name]
		kind, _ := own.typeName()
		isAuthz := kind == typePerRoute
		if kind == typeSwitch {
			inner, _ := own.get("config").typeName()
			isAuthz = inner == typePerRoute || name == "envoy.filters.http.ext_authz" ||
				slices.ContainsFunc(c.http, func(f *filter) bool { return f.name() == name })
		}
		if len(c.http) > 0 && !slices.ContainsFunc(c.http, func(f *filter) bool { return f.name() == name }) {
			continue
		}
		if isAuthz {
			out = append(out, own)
		}
	}
	return out
}

// perRouteNames reports configuration that is for no filter of the chain.
func (p *proxy) perRouteNames(level *node, filters []*filter) {
	if len(filters) == 0 {
		return
	}
	all := level.get("typed_per_filter_config")
	for _, name := range all.keys() {
		own := all.fields[name]
		if kind, _ := own.typeName(); kind != typePerRoute {
			continue
		}
		if slices.ContainsFunc(filters, func(f *filter) bool { return f.name() == name }) {
			continue
		}
		hint := "write the name of the filter, as http_filters has it"
		for _, f := range filters {
			if f.kind == typeExtAuthz {
				hint = "write " + f.name() + ", which is the name of the filter"
			}
		}
		p.reportf(own, CodePerRouteName, hint, "no filter is called %q, so that these settings hold nowhere", name)
	}
}

// wholeDisabled reports a virtual host, or a route configuration, without the
// filter.
func (p *proxy) wholeDisabled(vh, rc *node, c *chain) {
	for _, level := range []*node{vh, rc} {
		s := p.settings(c, level)
		if s.disabled != nil {
			what := "a virtual host"
			if level == rc {
				what = "a route configuration"
			}
			p.report(s.disabled, CodeFilterDisabled, "Edict is not asked about any request of "+what, "remove it here, and turn the filter off on single routes with an exact path, if at all")
			return
		}
	}
}

// disabledRoute judges a route without the filter. One with an exact path is
// what an exclusion should be.
func (p *proxy) disabledRoute(r, place *node, later []*node, unstripped bool) {
	match := r.get("match")
	exact := match.has("path")
	if unstripped && r.has("route") {
		p.report(place, CodeReservedHeaders, "nothing removes x-edict-* from what clients send, so that this route passes a forged identity to the backend",
			"remove x-edict-* by early_header_mutation_extensions in the connection manager")
	}
	switch prefix := match.str("prefix"); {
	case exact:
	case match.has("path_separated_prefix"):
		p.reportf(place, CodeSubtreeDisabled, "let Edict judge it, and a public route allow it", "Edict is not asked about %s and all below it", match.str("path_separated_prefix"))
	case match.has("prefix"):
		passes := prefix + "-admin"
		if strings.HasSuffix(prefix, "/") {
			passes = prefix + "admin"
		}
		message := fmt.Sprintf("the filter is off for every path that begins with %s, such as %s", prefix, passes)
		for _, other := range later {
			if path := pathOf(other); path != prefix && strings.HasPrefix(path, prefix) {
				p.report(place, CodeFilterDisabled, message, "match by path, not by prefix", related(other, "this route is never reached: "+path))
				return
			}
		}
		p.report(place, CodeFilterDisabled, message, "match by path, not by prefix")
	default:
		p.report(place, CodeFilterDisabled, "the filter is off for paths that only a pattern tells", "match by path: an exclusion is an exact path")
	}
}

// pathOf gives the path that a route matches by, whatever the way.
func pathOf(r *node) string {
	match := r.get("match")
	for _, field := range []string{"path", "prefix", "path_separated_prefix"} {
		if match.has(field) {
			return match.str(field)
		}
	}
	return ""
}

// grpcPath is the path of a gRPC method, or of a service with all its methods.
var grpcPath = regexp.MustCompile(`^/([a-z][a-z0-9_]*\.)+[A-Z][A-Za-z0-9_]*(/[A-Za-z0-9_]*)?$`)

// redacted is what Envoy's config dump has in place of context extensions.
const redacted = "[redacted]"

// routeBody judges what of a body a route hands on.
func (p *proxy) routeBody(r *node, s settings, c *chain) {
	if s.body != nil {
		p.partialBody(s.body)
		switch packed := s.body.isTrue("pack_as_bytes"); {
		case packed && len(c.http) > 0 && !c.http[0].typed.isTrue("with_request_body", "pack_as_bytes") && c.http[0].typed.has("grpc_service"):
			p.report(s.body.get("pack_as_bytes"), CodePackAsBytes, "Envoy 1.40 reads pack_as_bytes at the filter alone: here it has no effect, and bodies are text in which ! replaces what is not UTF-8",
				"set with_request_body at the filter, and disable_request_body_buffering: true on the routes that hand on no body")
		case !packed && len(c.http) == 0:
			p.report(at(s.body.get("pack_as_bytes"), s.body), CodePackAsBytes, "bodies are handed on as text, in which ! replaces what is not UTF-8", "write pack_as_bytes: true, at the filter, too")
		}
	}
	limited := s.body
	if limited == nil && !s.noBody && len(c.http) > 0 {
		limited = c.http[0].typed.get("with_request_body")
	}
	if limited == nil {
		return
	}
	if why, where := streams(r); why != "" {
		p.report(at(where, r), CodeBodyStreaming, "bodies are held back until they are complete, and "+why+": it waits forever",
			"write disable_request_body_buffering: true in the check_settings of this route", related(limited, "the body is asked for here"))
	}
	told := s.context["body_limit"]
	if told == nil || told.str() == redacted {
		return
	}
	limit, _ := limited.number("max_request_bytes")
	if n, ok := told.number(); !ok || n != limit {
		p.report(told, CodeBodyLimit, fmt.Sprintf("Edict is told that bodies are cut at %q bytes, and Envoy cuts them at %g", told.str(), limit),
			fmt.Sprintf("write body_limit: \"%g\"", limit), related(at(limited.get("max_request_bytes"), limited), "the limit is here"))
	}
}

// rewrites are the fields of an action that change path or host after the check,
// and the context extensions that tell Edict into what.
var rewrites = []struct {
	fields    []string
	what      string
	extension string
}{
	{[]string{"prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite"}, "path", "edict.upstream.path"},
	{[]string{"host_rewrite_literal", "auto_host_rewrite", "host_rewrite_header", "host_rewrite_path_regex", "host_rewrite"}, "host", "edict.upstream.host"},
}

// rewritten warns of a route that changes what the token of a plan is bound to.
func (p *proxy) rewritten(r *node, s settings) {
	if p.needs == nil || len(p.needs.PlannedRoutes) == 0 {
		return
	}
	action := r.get("route")
	for _, w := range rewrites {
		for _, field := range w.fields {
			if n := action.get(field); n != nil && n.str() != "false" && s.context[w.extension] == nil {
				p.reportf(n, CodePlanRewritten, "tell Edict by the context extension "+w.extension+" what the backend gets, if such requests come this way",
					"the %s changes after the check, so that the backend refuses the filter of a planned request such as those of %s", w.what, p.needs.PlannedRoutes[0])
			}
		}
	}
}

// streams tells why a route is one whose bodies may never end, "" if it is not.
func streams(r *node) (string, *node) {
	match, action := r.get("match"), r.get("route")
	switch {
	case match.has("grpc"):
		return "this route is for gRPC, whose streams end when both sides are done", match.get("grpc")
	case contentType(match) != nil:
		return "this route is for gRPC, whose streams end when both sides are done", contentType(match)
	case match.has("connect_matcher"):
		return "this route is for CONNECT", match.get("connect_matcher")
	case grpcPath.MatchString(strings.TrimSuffix(pathOf(r), "/")):
		return "this route is for a gRPC service, whose streams end when both sides are done", match
	case len(action.list("upgrade_configs")) > 0:
		return "this route allows upgrades", action.get("upgrade_configs")
	}
	if d, ok := action.duration("timeout"); ok && d == 0 {
		return "this route has no time limit, as streams have", action.get("timeout")
	}
	return "", nil
}

// contentType gives the matcher by which a route is for gRPC, nil if there is
// none.
func contentType(match *node) *node {
	for _, h := range match.list("headers") {
		if strings.EqualFold(h.str("name"), "content-type") && h.any(func(n *node) bool { return n.scalar && strings.HasPrefix(n.text.Value, "application/grpc") }) {
			return h
		}
	}
	return nil
}

// addedHeaders reports headers that are added beside those of the client.
func (p *proxy) addedHeaders(level *node) {
	for _, added := range level.list("request_headers_to_add") {
		p.addedHeader(added, strings.ToLower(added.str("header", "key")))
	}
	for _, w := range level.list("route", "weighted_clusters", "clusters") {
		for _, added := range w.list("request_headers_to_add") {
			p.addedHeader(added, strings.ToLower(added.str("header", "key")))
		}
	}
}

func (p *proxy) addedHeader(added *node, name string) {
	action, legacy := added.get("append_action"), added.get("append")
	appends := action == nil && legacy.str() != "false" || action.str() == "APPEND_IF_EXISTS_OR_ADD"
	switch {
	case !appends:
	case p.isIdentity(name):
		p.reportf(at(action, added), CodeAppendIdentity, "write append_action: OVERWRITE_IF_EXISTS_OR_ADD",
			"%s speaks of identity, and is added beside what the client sent under this name", name)
	case action == nil && legacy == nil:
		p.reportf(added, CodeAppendDefault, "write append_action: OVERWRITE_IF_EXISTS_OR_ADD, or APPEND_IF_EXISTS_OR_ADD if both are wanted",
			"%s is added beside what the client sent under this name, since that is the default", name)
	}
}

// isIdentity tells whether a header speaks of identity.
func (p *proxy) isIdentity(name string) bool {
	return strings.HasPrefix(name, "x-edict-") || p.needs != nil && (slices.Contains(p.needs.IdentityHeaders, name) || slices.Contains(p.needs.Upstream, name))
}

// fullMatch tells whether a regular expression matches a text as a whole. One
// that Go can't read does.
func fullMatch(pattern, text string) bool {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	return err != nil || re.MatchString(text)
}
