package authzen

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api"
	"edict/api/authzenpb"
	"edict/api/cerbospb"
)

// What may be done with the evaluations of a call.
const (
	executeAll          = "execute_all"
	denyOnFirstDeny     = "deny_on_first_deny"
	permitOnFirstPermit = "permit_on_first_permit"
)

// responseKey is where the context of a decision has the answer that Cerbos' own
// call would give.
const responseKey = "cerbos.response"

// AccessEvaluation tells whether a subject may perform an action on a resource. An
// error is one of gRPC.
func (s *Server) AccessEvaluation(ctx context.Context, in *authzenpb.AccessEvaluationRequest) (*authzenpb.AccessEvaluationResponse, error) {
	return api.Do(s.API, ctx, in, s.evaluate)
}

func (s *Server) evaluate(ctx context.Context, in *authzenpb.AccessEvaluationRequest) (*authzenpb.AccessEvaluationResponse, error) {
	if err := checkEvaluation(in); err != nil {
		return nil, err
	}
	set, err := readContext(in.GetContext())
	if err != nil {
		return nil, err
	}
	list, err := s.decide(ctx, []*cerbospb.CheckResourcesRequest{requestOf(in.GetSubject(), in.GetResource(), in.GetAction(), set)})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// AccessEvaluationBatch tells of several evaluations whether they are allowed.
// An error is one of gRPC.
func (s *Server) AccessEvaluationBatch(ctx context.Context, in *authzenpb.AccessEvaluationBatchRequest) (*authzenpb.AccessEvaluationBatchResponse, error) {
	return api.Do(s.API, ctx, in, s.evaluateBatch)
}

func (s *Server) evaluateBatch(ctx context.Context, in *authzenpb.AccessEvaluationBatchRequest) (*authzenpb.AccessEvaluationBatchResponse, error) {
	// Before the rules: an evaluation that has everything of the call is two bytes long,
	// and a request has room for millions.
	if err := countEvaluations(s.API.Limits, len(in.GetEvaluations())); err != nil {
		return nil, err
	}
	if err := checkBatch(in); err != nil {
		return nil, err
	}
	common, err := readContext(in.GetContext())
	if err != nil {
		return nil, err
	}
	requests := make([]*cerbospb.CheckResourcesRequest, len(in.GetEvaluations()))
	for i, e := range in.GetEvaluations() {
		set := common
		if len(e.GetContext()) > 0 {
			if set, err = readContext(e.GetContext()); err != nil {
				return nil, err
			}
		}
		set.includeMeta = common.includeMeta // as with Cerbos, for all or none
		requests[i] = requestOf(subjectOf(in, e), resourceOf(in, e), actionOf(in, e), set)
	}
	if err := within(s.API.Limits, requests); err != nil {
		return nil, err
	}
	list, err := s.decide(ctx, requests)
	if err != nil {
		return nil, err
	}
	return &authzenpb.AccessEvaluationBatchResponse{Evaluations: cut(list, in.GetOptions().GetEvaluationsSemantic())}, nil
}

// cut ends a list of decisions where nobody wants to know more.
func cut(list []*authzenpb.AccessEvaluationResponse, semantic string) []*authzenpb.AccessEvaluationResponse {
	for i, d := range list {
		if d.GetDecision() && semantic == permitOnFirstPermit || !d.GetDecision() && semantic == denyOnFirstDeny {
			return list[:i+1]
		}
	}
	return list
}

// decide gives the decision of each request, which asks about one action on one
// resource.
func (s *Server) decide(ctx context.Context, requests []*cerbospb.CheckResourcesRequest) ([]*authzenpb.AccessEvaluationResponse, error) {
	answers, err := s.API.CheckEach(ctx, requests)
	if err != nil {
		return nil, err
	}
	list := make([]*authzenpb.AccessEvaluationResponse, len(answers))
	size := 0 // of the list as a field of a message
	for i, a := range answers {
		action := requests[i].GetResources()[0].GetActions()[0]
		list[i] = &authzenpb.AccessEvaluationResponse{
			Decision: proto.Bool(a.GetResults()[0].GetActions()[action] == cerbospb.Effect_EFFECT_ALLOW),
		}
		if requests[i].GetIncludeMeta() {
			v, err := jsonOf(a)
			if err != nil {
				return nil, status.Error(codes.Internal, fmt.Sprintf("the answer can't be told: %v", err))
			}
			list[i].Context = map[string]*structpb.Value{responseKey: v}
		}
		size += 1 + protowire.SizeBytes(proto.Size(list[i]))
		if err := s.API.Weigh(size); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// jsonOf gives a message as the value that its JSON says.
func jsonOf(m proto.Message) (*structpb.Value, error) {
	b, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	v := new(structpb.Value)
	return v, protojson.Unmarshal(b, v)
}

// What an evaluation does not have is that of the whole call.

func subjectOf(in *authzenpb.AccessEvaluationBatchRequest, e *authzenpb.AccessEvaluationBatchRequest_Evaluation) *authzenpb.Subject {
	if s := e.GetSubject(); s != nil {
		return s
	}
	return in.GetSubject()
}

func resourceOf(in *authzenpb.AccessEvaluationBatchRequest, e *authzenpb.AccessEvaluationBatchRequest_Evaluation) *authzenpb.Resource {
	if r := e.GetResource(); r != nil {
		return r
	}
	return in.GetResource()
}

func actionOf(in *authzenpb.AccessEvaluationBatchRequest, e *authzenpb.AccessEvaluationBatchRequest_Evaluation) *authzenpb.Action {
	if a := e.GetAction(); a != nil {
		return a
	}
	return in.GetAction()
}
