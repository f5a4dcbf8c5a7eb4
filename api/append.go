package api

import (
	"google.golang.org/protobuf/encoding/protowire"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/protovalue"
)

// What follows writes a CheckResourcesResponse without the generated types, field
// by field as those have it. Numbers are of fields; all but effects are
// length-delimited.

// plain tells whether a decision can be written so: it has no outputs and no
// validation errors, which few policies lead to, and all its texts are UTF-8.
func plain(d *engine.Decision) bool {
	if len(d.Outputs) > 0 || len(d.ValidationErrors) > 0 {
		return false
	}
	for i := range d.Results {
		if r := &d.Results[i]; !protovalue.ValidText(r.Policy) || !protovalue.ValidText(r.Scope) {
			return false
		}
	}
	for _, role := range d.EffectiveDerivedRoles {
		if !protovalue.ValidText(role) {
			return false
		}
	}
	return true
}

// appendResult appends what is answered about one resource, as an element of
// results. The decision is plain.
func appendResult(dst []byte, e *entry, d *engine.Decision, includeMeta bool) []byte {
	r := &e.resource
	resource := sizeText(r.ID) + sizeText(r.Kind) + sizeText(r.PolicyVersion) + sizeText(r.Scope)
	size := sizeField(resource)
	for i := range d.Results {
		size += sizeField(sizeAction(&d.Results[i]))
	}
	meta := 0
	if includeMeta {
		for i := range d.Results {
			meta += sizeField(sizeActionMeta(&d.Results[i]))
		}
		for _, role := range d.EffectiveDerivedRoles {
			meta += sizeField(len(role))
		}
		size += sizeField(meta)
	}

	dst = appendHead(dst, 2, size)
	dst = appendHead(dst, 1, resource)
	dst = appendText(dst, 1, r.ID)
	dst = appendText(dst, 2, r.Kind)
	dst = appendText(dst, 3, r.PolicyVersion)
	dst = appendText(dst, 4, r.Scope)
	for i := range d.Results {
		r := &d.Results[i]
		effect := cerbospb.Effect_EFFECT_DENY
		if r.Allowed() {
			effect = cerbospb.Effect_EFFECT_ALLOW
		}
		dst = appendHead(dst, 2, sizeAction(r))
		dst = append(appendHead(dst, 1, len(r.Action)), r.Action...)
		dst = append(dst, 2<<3|byte(protowire.VarintType), byte(effect))
	}
	if !includeMeta {
		return dst
	}
	dst = appendHead(dst, 4, meta)
	for i := range d.Results {
		r := &d.Results[i]
		dst = appendHead(dst, 1, sizeActionMeta(r))
		dst = append(appendHead(dst, 1, len(r.Action)), r.Action...)
		dst = appendHead(dst, 2, sizeText(r.Policy)+sizeText(r.Scope))
		dst = appendText(dst, 1, r.Policy)
		dst = appendText(dst, 2, r.Scope)
	}
	for _, role := range d.EffectiveDerivedRoles {
		dst = append(appendHead(dst, 2, len(role)), role...)
	}
	return dst
}

// sizeAction is the length of an entry of actions: the name of the action and its
// effect.
func sizeAction(r *engine.Result) int { return sizeField(len(r.Action)) + 2 }

// sizeActionMeta is the length of an entry of the actions of meta.
func sizeActionMeta(r *engine.Result) int {
	return sizeField(len(r.Action)) + sizeField(sizeText(r.Policy)+sizeText(r.Scope))
}

// sizeField is the length of a field with so many bytes.
func sizeField(n int) int { return 1 + protowire.SizeBytes(n) }

// sizeText is the length of a field with a text, which is left out if it is empty.
func sizeText(s string) int {
	if s == "" {
		return 0
	}
	return sizeField(len(s))
}

// appendHead appends what stands before the size bytes of a field.
func appendHead(dst []byte, number byte, size int) []byte {
	return protowire.AppendVarint(append(dst, number<<3|byte(protowire.BytesType)), uint64(size))
}

func appendText(dst []byte, number byte, s string) []byte {
	if s == "" {
		return dst
	}
	return append(appendHead(dst, number, len(s)), s...)
}
