package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
	"edict/engine"
	"edict/engine/auxdata"
)

// CheckResources tells which actions a principal may perform on resources. An
// error is one of gRPC.
func (s *Server) CheckResources(ctx context.Context, in *cerbospb.CheckResourcesRequest) (*cerbospb.CheckResourcesResponse, error) {
	return answer(s, ctx, in, s.checkResources)
}

func (s *Server) checkResources(ctx context.Context, c *call, in *cerbospb.CheckResourcesRequest) (*cerbospb.CheckResourcesResponse, error) {
	if err := s.countResources(len(in.GetResources())); err != nil {
		return nil, err
	}
	q := &c.question
	q.read(in)
	var v violations
	if v.checkResources(q); v.Any() {
		return nil, v.Err()
	}
	now := time.Now()
	out := &cerbospb.CheckResourcesResponse{
		RequestId:    q.requestID,
		CerbosCallId: newCallID(now),
	}
	results := results{includeMeta: q.includeMeta, weight: s.weight()}
	err := s.decide(ctx, c, now, func(e *entry, d *engine.Decision) error { return results.add(e, d) })
	if err != nil {
		return nil, err
	}
	out.Results = results.list
	return out, nil
}

// CheckResourceBatch tells which actions a principal may perform on resources.
// It is the older form of CheckResources. An error is one of gRPC.
func (s *Server) CheckResourceBatch(ctx context.Context, in *cerbospb.CheckResourceBatchRequest) (*cerbospb.CheckResourceBatchResponse, error) {
	return answer(s, ctx, in, s.checkResourceBatch)
}

func (s *Server) checkResourceBatch(ctx context.Context, c *call, in *cerbospb.CheckResourceBatchRequest) (*cerbospb.CheckResourceBatchResponse, error) {
	if err := s.countResources(len(in.GetResources())); err != nil {
		return nil, err
	}
	q := &c.question
	q.noOutputs = true
	q.readPrincipal(in.GetPrincipal())
	for _, e := range in.GetResources() {
		q.add(e.GetActions(), e.GetResource())
	}
	q.readTokens(in.GetAuxData())
	var v violations
	if v.checkResourceBatch(q); v.Any() {
		return nil, v.Err()
	}
	out := &cerbospb.CheckResourceBatchResponse{RequestId: in.GetRequestId()}
	weight := s.weight()
	err := s.decide(ctx, c, time.Now(), func(e *entry, d *engine.Decision) error {
		result := &cerbospb.CheckResourceBatchResponse_ActionEffectMap{
			ResourceId: e.resource.ID, Actions: effectsOf(d), ValidationErrors: validationErrorsOf(d.ValidationErrors),
		}
		out.Results = append(out.Results, result)
		return weight.add(sizeField(proto.Size(result)))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// CheckResourceSet tells which of some actions a principal may perform on
// resources of one kind. It is the older form of CheckResources. An error is one
// of gRPC.
func (s *Server) CheckResourceSet(ctx context.Context, in *cerbospb.CheckResourceSetRequest) (*cerbospb.CheckResourceSetResponse, error) {
	return answer(s, ctx, in, s.checkResourceSet)
}

func (s *Server) checkResourceSet(ctx context.Context, c *call, in *cerbospb.CheckResourceSetRequest) (*cerbospb.CheckResourceSetResponse, error) {
	set := in.GetResource()
	if err := s.countResources(len(set.GetInstances())); err != nil {
		return nil, err
	}
	q := &c.question
	q.includeMeta, q.noOutputs = in.GetIncludeMeta(), true
	q.readPrincipal(in.GetPrincipal())
	for _, id := range slices.Sorted(maps.Keys(set.GetInstances())) {
		q.add(in.GetActions(), &cerbospb.Resource{
			Kind: set.GetKind(), PolicyVersion: set.GetPolicyVersion(), Scope: set.GetScope(),
			Id: id, Attr: set.GetInstances()[id].GetAttr(),
		})
	}
	q.readTokens(in.GetAuxData())
	var v violations
	if v.checkResourceSet(q, in.GetActions(), set); v.Any() {
		return nil, v.Err()
	}
	out := &cerbospb.CheckResourceSetResponse{
		RequestId:         in.GetRequestId(),
		ResourceInstances: make(map[string]*cerbospb.CheckResourceSetResponse_ActionEffectMap, len(q.entries)),
	}
	if q.includeMeta {
		out.Meta = &cerbospb.CheckResourceSetResponse_Meta{
			ResourceInstances: make(map[string]*cerbospb.CheckResourceSetResponse_Meta_ActionMeta, len(q.entries)),
		}
	}
	weight := s.weight()
	err := s.decide(ctx, c, time.Now(), func(e *entry, d *engine.Decision) error {
		result := &cerbospb.CheckResourceSetResponse_ActionEffectMap{
			Actions: effectsOf(d), ValidationErrors: validationErrorsOf(d.ValidationErrors),
		}
		out.ResourceInstances[e.resource.ID] = result
		if err := weight.add(sizeMember(e.resource.ID, result)); err != nil || !q.includeMeta {
			return err
		}
		meta := &cerbospb.CheckResourceSetResponse_Meta_ActionMeta{
			Actions:               make(map[string]*cerbospb.CheckResourceSetResponse_Meta_EffectMeta, len(d.Results)),
			EffectiveDerivedRoles: slices.Clone(d.EffectiveDerivedRoles),
		}
		for i := range d.Results {
			r := &d.Results[i]
			meta.Actions[r.Action] = &cerbospb.CheckResourceSetResponse_Meta_EffectMeta{MatchedPolicy: r.Policy, MatchedScope: r.Scope}
		}
		out.Meta.ResourceInstances[e.resource.ID] = meta
		return weight.add(sizeMember(e.resource.ID, meta))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// decide asks the engine about each entry of a question, in their order, and
// tells of each decision, which is good until tell returns.
func (s *Server) decide(ctx context.Context, c *call, now time.Time, tell func(*entry, *engine.Decision) error) error {
	q := &c.question
	data, err := s.auxData(ctx, &q.tokens)
	if err != nil {
		return err
	}
	if err := s.countActions(q); err != nil {
		return err
	}
	ps, err := s.policies()
	if err != nil {
		return err
	}
	return s.decideBy(ctx, c, ps, data, now, tell)
}

// decideBy does what decide does by policies and verified tokens.
func (s *Server) decideBy(ctx context.Context, c *call, ps *engine.PolicySet, data engine.AuxData, now time.Time, tell func(*entry, *engine.Decision) error) error {
	q := &c.question
	for i := range q.entries {
		if err := inTime(ctx); err != nil {
			return err
		}
		e := &q.entries[i]
		c.request = engine.Request{
			Principal: q.principal, Resource: e.resource, Actions: e.actions,
			AuxData: data, Now: now, IncludeMeta: q.includeMeta,
			NoOutputs: q.noOutputs, MaxOutputs: s.Limits.Message,
		}
		ps.Check(&c.request, &c.decision)
		if c.decision.Err != nil {
			return tooLong(s.Limits.Message)
		}
		if err := tell(e, &c.decision); err != nil {
			return err
		}
	}
	return nil
}

// auxData verifies the tokens of a request.
func (s *Server) auxData(ctx context.Context, t *tokens) (engine.AuxData, error) {
	if t.none() {
		return engine.AuxData{}, nil
	}
	err := error(&auxdata.Error{Reason: errors.New("tokens are not looked at")})
	if s.AuxData != nil {
		if s.AuxData.Waits(t.jwt, t.jwts) {
			if err := s.await(); err != nil {
				return engine.AuxData{}, err
			}
			defer s.waiting.Add(-1)
		}
		var data engine.AuxData
		if data, err = s.AuxData.All(ctx, t.jwt, t.jwts); err == nil {
			return data, nil
		}
	}
	if late := inTime(ctx); late != nil {
		return engine.AuxData{}, late
	}
	if s.Refused != nil {
		s.Refused(errors.Unwrap(err))
	}
	return engine.AuxData{}, status.Error(codes.InvalidArgument, auxdata.ErrInvalid.Error())
}

// countResources looks at the limit of resources. It comes before the rules: a
// resource that breaks them is two bytes long, and a request has room for millions.
func (s *Server) countResources(n int) error {
	if s.Limits.Resources > 0 && n > s.Limits.Resources {
		return status.Error(codes.InvalidArgument, fmt.Sprintf("number of resources in batch (%d) exceeds configured limit (%d)", n, s.Limits.Resources))
	}
	return nil
}

// countActions looks at the limit of actions.
func (s *Server) countActions(q *question) error {
	for i := range q.entries {
		if n := len(q.entries[i].actions); s.Limits.Actions > 0 && n > s.Limits.Actions {
			return status.Error(codes.InvalidArgument, fmt.Sprintf("number of actions (%d) exceeds configured limit (%d)", n, s.Limits.Actions))
		}
	}
	return nil
}

// A weight is that of an answer, as it is over gRPC. What answers tell of attributes,
// of validation errors and of actions they may tell many times: a request of a few
// megabytes could be answered with gigabytes.
type weight struct {
	most int // bytes; 0: any number
	told int // bytes so far
}

// weight gives that of an answer that tells nothing as yet.
func (s *Server) weight() weight { return weight{most: s.Limits.Message} }

// Weigh gives the error of an answer that is longer than it may be, as a message of
// gRPC, in bytes. It is for calls of other services.
func (s *Server) Weigh(bytes int) error {
	w := s.weight()
	return w.add(bytes)
}

// add counts so many bytes. An error means that they are too many.
func (w *weight) add(n int) error {
	if w.told += n; w.most > 0 && w.told > w.most {
		return tooLong(w.most)
	}
	return nil
}

// tooLong gives the error of an answer that is longer than most, in bytes.
func tooLong(most int) error {
	return status.Error(codes.ResourceExhausted, fmt.Sprintf("the answer is longer than it may be (%d)", most))
}

// sizeMember is the length of a member of a map of messages.
func sizeMember(key string, m proto.Message) int {
	return sizeField(sizeField(len(key)) + sizeField(proto.Size(m)))
}

// results are what CheckResources answers about resources.
type results struct {
	includeMeta bool
	weight      weight
	list        []*cerbospb.CheckResourcesResponse_ResultEntry
}

// add adds what is answered about one resource.
func (r *results) add(e *entry, d *engine.Decision) error {
	result, err := resultOf(e, d, r.includeMeta)
	if err != nil {
		return err
	}
	r.list = append(r.list, result)
	return r.weight.add(sizeField(proto.Size(result)))
}

// resultOf gives what CheckResources answers about one resource.
func resultOf(e *entry, d *engine.Decision, includeMeta bool) (*cerbospb.CheckResourcesResponse_ResultEntry, error) {
	out := &cerbospb.CheckResourcesResponse_ResultEntry{
		Resource: &cerbospb.CheckResourcesResponse_ResultEntry_Resource{
			Id: e.resource.ID, Kind: e.resource.Kind, PolicyVersion: e.resource.PolicyVersion, Scope: e.resource.Scope,
		},
		Actions:          effectsOf(d),
		ValidationErrors: validationErrorsOf(d.ValidationErrors),
	}
	for i := range d.Outputs {
		o := &d.Outputs[i]
		entry := &cerbospb.OutputEntry{Src: o.Src, Action: o.Action, Error: o.Err}
		if o.Err == "" {
			var err error
			if entry.Val, err = MessageOf(o.Val); err != nil {
				return nil, status.Error(codes.Internal, fmt.Sprintf("the output of %s can't be told: %v", o.Src, err))
			}
		}
		out.Outputs = append(out.Outputs, entry)
	}
	if includeMeta {
		out.Meta = &cerbospb.CheckResourcesResponse_ResultEntry_Meta{
			Actions:               make(map[string]*cerbospb.CheckResourcesResponse_ResultEntry_Meta_EffectMeta, len(d.Results)),
			EffectiveDerivedRoles: slices.Clone(d.EffectiveDerivedRoles),
		}
		for i := range d.Results {
			r := &d.Results[i]
			out.Meta.Actions[r.Action] = &cerbospb.CheckResourcesResponse_ResultEntry_Meta_EffectMeta{MatchedPolicy: r.Policy, MatchedScope: r.Scope}
		}
	}
	return out, nil
}

// effectsOf gives the effect of each action.
func effectsOf(d *engine.Decision) map[string]cerbospb.Effect {
	out := make(map[string]cerbospb.Effect, len(d.Results))
	for i := range d.Results {
		r := &d.Results[i]
		out[r.Action] = cerbospb.Effect_EFFECT_DENY
		if r.Allowed() {
			out[r.Action] = cerbospb.Effect_EFFECT_ALLOW
		}
	}
	return out
}

// validationErrorsOf gives validation errors as messages.
func validationErrorsOf(list []engine.ValidationError) []*cerbospb.ValidationError {
	var out []*cerbospb.ValidationError
	for i := range list {
		out = append(out, &cerbospb.ValidationError{
			Path: list[i].Path, Message: list[i].Message, Source: cerbospb.ValidationError_Source(list[i].Source),
		})
	}
	return out
}
