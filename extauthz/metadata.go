package extauthz

import (
	"fmt"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/value"
	"edict/extauthz/wire"
)

// A metadataKey is something that Edict can tell Envoy of a check, in dynamic
// metadata.
type metadataKey uint8

const (
	metaEffect metadataKey = iota
	metaReason
	metaRevision
	metaRoute
	metaDecision
	metaPrincipal
	metaAction
	metaPolicy
	metaRule
	metaRoles
	metaOutputs

	metadataKeyCount
)

var metadataKeys = [metadataKeyCount]string{
	metaEffect: "effect", metaReason: "reason", metaRevision: "revision", metaRoute: "route",
	metaDecision: "decision_id", metaPrincipal: "principal", metaAction: "action", metaPolicy: "policy", metaRule: "rule",
	metaRoles: "roles", metaOutputs: "outputs",
}

// DefaultMetadataKeys are the keys of dynamic metadata that are sent unless
// Options say otherwise. What policies tell and what tokens hold is sent only
// where somebody asks for it: metadata lives as long as the request, and access
// logs show it.
var DefaultMetadataKeys = metadataKeys[:metaRoles:metaRoles]

// MetadataKeys gives the keys of dynamic metadata that there are.
func MetadataKeys() []string { return slices.Clone(metadataKeys[:]) }

// metadataNames are the keys as they are sent, "" for those that are not.
type metadataNames [metadataKeyCount]string

func (r *Respond) metadataNames() (names metadataNames, err error) {
	for _, key := range r.MetadataKeys {
		i := slices.Index(metadataKeys[:], key)
		if i < 0 {
			return names, fmt.Errorf("respond.metadata.keys: there is no key %q", key)
		}
		names[i] = r.MetadataPrefix + key
	}
	return names, nil
}

// text appends a text under a key, if the key is sent.
func (n *metadataNames) text(to []wire.MetadataValue, key metadataKey, text string) []wire.MetadataValue {
	return n.value(to, key, value.OfString(text))
}

func (n *metadataNames) value(to []wire.MetadataValue, key metadataKey, v value.Value) []wire.MetadataValue {
	if n[key] == "" {
		return to
	}
	return append(to, wire.MetadataValue{Key: n[key], Value: v})
}

// prepared gives the metadata that is known before the request.
func (n *metadataNames) prepared(effect, reason, revision string) []wire.MetadataValue {
	out := n.text(nil, metaEffect, effect)
	out = n.text(out, metaReason, reason)
	return n.text(out, metaRevision, revision)
}

// tell appends the dynamic metadata that depends on the request, as far as it
// is known.
func (x *exchange) tell(to []wire.MetadataValue) []wire.MetadataValue {
	n := &x.rev.metadata
	to = n.text(to, metaDecision, x.id.String())
	if x.req.Principal.ID != "" {
		to = n.text(to, metaPrincipal, x.req.Principal.ID)
		to = n.value(to, metaRoles, value.OfSequence((*rolesView)(&x.req.Principal)))
	}
	if r := x.deciding(); r != nil {
		to = n.text(to, metaAction, r.Action)
		to = n.text(to, metaPolicy, r.Policy)
		if r.Rule != nil {
			to = n.text(to, metaRule, r.Rule.Name)
		}
		if n[metaOutputs] != "" && x.hasOutputs() {
			to = n.value(to, metaOutputs, value.OfMapping((*outputsView)(x)))
		}
	}
	return to
}

func (x *exchange) hasOutputs() bool {
	for range x.outputs {
		return true
	}
	return false
}

// outputs goes through what rules told, in the order in which they were asked.
func (x *exchange) outputs(yield func(*engine.Output) bool) {
	for _, q := range x.questions[:x.asked] {
		for i := range q.decision.Outputs {
			if !yield(&q.decision.Outputs[i]) {
				return
			}
		}
	}
}

// outputsView shows what rules told, by the name of the rule. Of a rule that
// told several times the first counts, and the full name of its source,
// policy#rule, tells rules of one name apart.
type outputsView exchange

func (v *outputsView) Lookup(name string) (value.Value, bool) {
	for o := range (*exchange)(v).outputs {
		if o.Src == name || outputRule(o) == name {
			return outputValue(o), true
		}
	}
	return value.Value{}, false
}

func (v *outputsView) Len() int { return count(v.Range) }

// Range goes through the outputs by the name of the rule, past those that
// failed.
func (v *outputsView) Range(yield func(string, value.Value) bool) {
	seen := map[string]bool{}
	for o := range (*exchange)(v).outputs {
		name := outputRule(o)
		if seen[name] {
			continue
		}
		seen[name] = true
		if o.Err == "" && !yield(name, o.Val) {
			return
		}
	}
}

func outputRule(o *engine.Output) string {
	_, name, _ := strings.Cut(o.Src, "#")
	return name
}

func outputValue(o *engine.Output) value.Value {
	if o.Err != "" {
		return value.OfError(fmt.Errorf("the output of %s failed", o.Src))
	}
	return o.Val
}
