package api

import (
	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/auxdata"
	"edict/engine/value"
)

// A question is what a call asks, in the form that the engine reads. It says
// nothing of how the request was written. It may alias the request.
type question struct {
	requestID    string
	includeMeta  bool
	noOutputs    bool // the answer has no place for them
	hasPrincipal bool
	principal    engine.Principal
	entries      []entry
	tokens       tokens
	annotations  value.Mapping // nil: none
}

// An entry is a resource and what is asked about it.
type entry struct {
	hasResource bool
	resource    engine.Resource
	actions     []string
}

// tokens are what a request brings as auxiliary data, not verified as yet.
type tokens struct {
	jwt  *auxdata.Token           // nil: none
	jwts map[string]auxdata.Token // by name
}

// none tells that there are no tokens.
func (t *tokens) none() bool { return t.jwt == nil && len(t.jwts) == 0 }

// reset forgets a request, and keeps memory.
func (q *question) reset() {
	clear(q.entries)
	*q = question{entries: q.entries[:0]}
}

// read makes the question of a CheckResources request.
func (q *question) read(in *cerbospb.CheckResourcesRequest) {
	q.requestID, q.includeMeta = in.GetRequestId(), in.GetIncludeMeta()
	q.readPrincipal(in.GetPrincipal())
	for _, e := range in.GetResources() {
		q.add(e.GetActions(), e.GetResource())
	}
	q.readTokens(in.GetAuxData())
	q.annotations = attributes(in.GetRequestContext().GetAnnotations())
}

func (q *question) readPrincipal(p *cerbospb.Principal) {
	q.hasPrincipal = p != nil
	q.principal = engine.Principal{
		ID: p.GetId(), Roles: p.GetRoles(), Attr: attributes(p.GetAttr()),
		PolicyVersion: p.GetPolicyVersion(), Scope: p.GetScope(),
	}
}

func (q *question) add(actions []string, r *cerbospb.Resource) {
	q.entries = append(q.entries, entry{hasResource: r != nil, actions: actions, resource: engine.Resource{
		Kind: r.GetKind(), ID: r.GetId(), Attr: attributes(r.GetAttr()),
		PolicyVersion: r.GetPolicyVersion(), Scope: r.GetScope(),
	}})
}

func (q *question) readTokens(a *cerbospb.AuxData) {
	if j := a.GetJwt(); j != nil {
		q.tokens.jwt = &auxdata.Token{Raw: j.GetToken(), KeySetID: j.GetKeySetId()}
	}
	if named := a.GetJwts(); len(named) > 0 {
		q.tokens.jwts = make(map[string]auxdata.Token, len(named))
		for name, j := range named {
			q.tokens.jwts[name] = auxdata.Token{Raw: j.GetToken(), KeySetID: j.GetKeySetId()}
		}
	}
}
