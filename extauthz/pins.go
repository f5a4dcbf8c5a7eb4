package extauthz

import "strings"

// pins are what Envoy's configuration of its route sets by context extensions
// (ExtAuthzPerRoute.check_settings.context_extensions). No client can write
// there. They outweigh what the route map says; empty: not set.
type pins struct {
	route                            string // route map and route
	kind, scope, version             string // of the resource
	principalScope, principalVersion string

	// What Envoy's route makes of the path and the host after the check. Of
	// routes that are not planned it does not matter.
	upstreamPath, upstreamHost string
}

// any tells whether something is pinned that a question is made of.
func (p *pins) any() bool {
	return p.kind != "" || p.scope != "" || p.version != "" || p.principalScope != "" || p.principalVersion != ""
}

// The names of pins begin so. All names that do are Edict's.
const pinPrefix = "edict."

// readPins reads the pins. One that is misspelt or empty was meant to narrow
// something down, so that it can't be passed over.
func (x *exchange) readPins() Outcome {
	detail := ""
	x.in.ContextExtensions(func(key, text string) bool {
		if !strings.HasPrefix(key, pinPrefix) {
			return true
		}
		var at *string
		switch key[len(pinPrefix):] {
		case "route":
			at = &x.pins.route
		case "resource.kind":
			at = &x.pins.kind
		case "resource.scope":
			at = &x.pins.scope
		case "resource.policyVersion":
			at = &x.pins.version
		case "principal.scope":
			at = &x.pins.principalScope
		case "principal.policyVersion":
			at = &x.pins.principalVersion
		case "upstream.path":
			at = &x.pins.upstreamPath
			if !strings.HasPrefix(text, "/") || strings.ContainsAny(text, "?#") {
				text = "" // what follows is Envoy's
			}
		case "upstream.host":
			at = &x.pins.upstreamHost
		}
		switch {
		case at == nil:
			detail = "unknown_pin"
		case text == "":
			detail = "empty_pin"
		default:
			*at = text
		}
		return detail == ""
	})
	if detail != "" {
		return x.badPin(detail)
	}
	return Allowed
}

func (x *exchange) badPin(detail string) Outcome {
	x.detail = detail
	return BadPin
}
