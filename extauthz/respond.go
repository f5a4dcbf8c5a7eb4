package extauthz

import (
	"slices"

	"edict/engine/diag"
	"edict/extauthz/routemap"
)

// Respond says what answers tell beside the decision.
type Respond struct {
	// DecisionHeader tells the client the id of the decision, on every response.
	// Empty means that the header is not sent.
	DecisionHeader string

	// MetadataKeys are the keys of dynamic metadata that Envoy is sent; nil means
	// DefaultMetadataKeys. MetadataPrefix stands before each, so that two
	// ext_authz filters in one chain do not overwrite each other's.
	MetadataKeys   []string
	MetadataPrefix string

	// FullDetail puts into denials how the check ended, and which policy and
	// rule decided. It is for development: whoever probes for a way in learns
	// from it.
	FullDetail bool

	// OnAllow and OnDeny are what routes do that do not say otherwise; nil:
	// nothing more.
	OnAllow *routemap.OnAllow
	OnDeny  *routemap.OnDeny
}

func (r *Respond) withDefaults() {
	if r.MetadataKeys == nil {
		r.MetadataKeys = slices.Clone(DefaultMetadataKeys)
	}
}

// responses is what a level (the configuration, a file, a route) says of
// answers, with what it inherits.
type responses struct {
	allow *onAllow
	deny  *onDeny
}

// responses compiles what a level says, over what stands above it.
func (t terms) responses(allow *routemap.OnAllow, deny *routemap.OnDeny, base responses) responses {
	t.responding = true
	return responses{allow: t.onAllow(allow).inherit(base.allow), deny: t.onDeny(deny, base.deny)}
}

// ofConfiguration compiles what the configuration says of answers.
func (c *compilation) ofConfiguration() responses {
	var out responses
	o := &c.options.Respond
	if o.OnAllow != nil {
		t := terms{compilation: c, file: &routemap.File{Source: o.OnAllow.Source}}
		out.allow = t.responses(o.OnAllow, nil, out).allow
	}
	if o.OnDeny != nil {
		t := terms{compilation: c, file: &routemap.File{Source: o.OnDeny.Source}}
		out.deny = t.responses(nil, o.OnDeny, out).deny
	}
	return out
}

// check tells what is wrong with what the configuration says of answers.
func (c *Compiler) check() diag.List {
	run := &compilation{Compiler: c}
	run.ofConfiguration()
	return run.diagnostics.Sorted()
}

// prepareDenials writes the denials that do not depend on the request.
func (r *Revision) prepareDenials() {
	seen := map[*onDeny]bool{nil: true}
	prepare := func(on *onDeny) {
		if seen[on] {
			return
		}
		seen[on] = true
		for _, d := range on {
			if d != nil {
				d.prepare(r)
			}
		}
	}
	prepare(r.deny)
	for i := range r.routes {
		prepare(r.routes[i].deny)
	}
}
