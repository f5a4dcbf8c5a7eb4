package api

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
	"edict/engine"
)

// PlanResources tells on which resources of a kind a principal may perform
// actions. An error is one of gRPC. It means that nothing may be shown.
func (s *Server) PlanResources(ctx context.Context, in *cerbospb.PlanResourcesRequest) (*cerbospb.PlanResourcesResponse, error) {
	return answer(s, ctx, in, s.planResources)
}

func (s *Server) planResources(ctx context.Context, c *call, in *cerbospb.PlanResourcesRequest) (*cerbospb.PlanResourcesResponse, error) {
	q := &c.question
	q.readPrincipal(in.GetPrincipal())
	q.readTokens(in.GetAuxData())
	q.annotations = attributes(in.GetRequestContext().GetAnnotations())
	r := in.GetResource()
	var v violations
	if v.planResources(q, in.GetAction(), in.GetActions(), r); v.Any() {
		return nil, v.Err()
	}
	data, err := s.auxData(ctx, &q.tokens)
	if err != nil {
		return nil, err
	}
	ps, err := s.policies()
	if err != nil {
		return nil, err
	}
	if err := inTime(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	request := &engine.PlanRequest{
		Principal: q.principal,
		Resource: engine.Resource{
			Kind: r.GetKind(), Attr: attributes(r.GetAttr()), PolicyVersion: r.GetPolicyVersion(), Scope: r.GetScope(),
		},
		Actions: in.GetActions(),
		AuxData: data,
		Now:     now,
	}
	if in.GetAction() != "" {
		request.Actions = []string{in.GetAction()}
	}
	plan, err := ps.Plan(ctx, request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, inTime(ctx)
		}
		if s.Unplanned != nil {
			s.Unplanned(err)
		}
		return nil, status.Error(codes.Internal, "the plan can't be made; the log of the server says why")
	}
	filter, err := filterOf(&plan.Filter)
	if err != nil {
		return nil, err
	}
	out := &cerbospb.PlanResourcesResponse{
		RequestId:        in.GetRequestId(),
		Action:           in.GetAction(),
		Actions:          in.GetActions(),
		ResourceKind:     r.GetKind(),
		PolicyVersion:    r.GetPolicyVersion(),
		Filter:           filter,
		ValidationErrors: validationErrorsOf(plan.ValidationErrors),
		CerbosCallId:     newCallID(now),
	}
	weight := s.weight()
	if err := weight.add(proto.Size(out)); err != nil {
		return nil, err
	}
	if in.GetIncludeMeta() { // as text, the filter is about as long again
		out.Meta = &cerbospb.PlanResourcesResponse_Meta{FilterDebug: plan.Debug()}
		if in.GetAction() != "" {
			out.Meta.MatchedScope = plan.MatchedScopes[in.GetAction()]
		} else {
			out.Meta.MatchedScopes = plan.MatchedScopes
		}
		if err := weight.add(sizeField(proto.Size(out.Meta))); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// filterOf gives a filter as a message. One that can't be told is an error.
func filterOf(f *engine.Filter) (*cerbospb.PlanResourcesFilter, error) {
	switch {
	case f.Kind == engine.AlwaysAllowed:
		return &cerbospb.PlanResourcesFilter{Kind: cerbospb.PlanResourcesFilter_KIND_ALWAYS_ALLOWED}, nil
	case f.Kind == engine.Conditional && f.Condition != nil:
		condition, err := operandOf(f.Condition)
		if err != nil {
			return nil, status.Error(codes.Internal, fmt.Sprintf("the filter can't be told: %v", err))
		}
		return &cerbospb.PlanResourcesFilter{Kind: cerbospb.PlanResourcesFilter_KIND_CONDITIONAL, Condition: condition}, nil
	}
	return &cerbospb.PlanResourcesFilter{Kind: cerbospb.PlanResourcesFilter_KIND_ALWAYS_DENIED}, nil
}

func operandOf(o *engine.Operand) (*cerbospb.PlanResourcesFilter_Expression_Operand, error) {
	switch {
	case o.Expression != nil:
		e := &cerbospb.PlanResourcesFilter_Expression{Operator: o.Expression.Operator}
		for i := range o.Expression.Operands {
			operand, err := operandOf(&o.Expression.Operands[i])
			if err != nil {
				return nil, err
			}
			e.Operands = append(e.Operands, operand)
		}
		return &cerbospb.PlanResourcesFilter_Expression_Operand{Node: &cerbospb.PlanResourcesFilter_Expression_Operand_Expression{Expression: e}}, nil
	case o.Variable != "":
		return &cerbospb.PlanResourcesFilter_Expression_Operand{Node: &cerbospb.PlanResourcesFilter_Expression_Operand_Variable{Variable: o.Variable}}, nil
	}
	v, err := MessageOf(o.Value)
	if err != nil {
		return nil, err
	}
	return &cerbospb.PlanResourcesFilter_Expression_Operand{Node: &cerbospb.PlanResourcesFilter_Expression_Operand_Value{Value: v}}, nil
}
