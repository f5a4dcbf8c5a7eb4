package authzen

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api"
	"edict/api/authzenpb"
	"edict/api/cerbospb"
	"edict/api/internal/refusal"
	"edict/engine/auxdata"
)

var (
	ruleActions     = refusal.Whole("actions", "either the default action must be set or all evaluations must have an action")
	ruleSubjects    = refusal.Whole("subjects", "either the default subject must be set or all evaluations must have a subject")
	ruleResources   = refusal.Whole("resources", "either the default resource must be set or all evaluations must have a resource")
	ruleEvaluations = refusal.AtLeast(1)
	ruleSemantic    = refusal.OneOf("", executeAll, denyOnFirstDeny, permitOnFirstPermit)
)

// violations are the rules that a request breaks.
type violations struct{ refusal.Violations }

// checkEvaluation gives the error of a request that breaks rules.
func checkEvaluation(in *authzenpb.AccessEvaluationRequest) error {
	var v violations
	v.parts(nil, in, true)
	return v.Err()
}

// checkBatch gives the error of a request that breaks rules.
func checkBatch(in *authzenpb.AccessEvaluationBatchRequest) error {
	var v violations
	action, subject, resource := in.GetAction() != nil, in.GetSubject() != nil, in.GetResource() != nil
	haveAction, haveSubject, haveResource := true, true, true
	for _, e := range in.GetEvaluations() {
		haveAction = haveAction && e.GetAction() != nil
		haveSubject = haveSubject && e.GetSubject() != nil
		haveResource = haveResource && e.GetResource() != nil
	}
	if !action && !haveAction {
		v.Add(nil, ruleActions)
	}
	if !subject && !haveSubject {
		v.Add(nil, ruleSubjects)
	}
	if !resource && !haveResource {
		v.Add(nil, ruleResources)
	}
	v.parts(nil, in, false)
	evaluations := refusal.Place{Number: 5, Name: "evaluations"}
	if len(in.GetEvaluations()) == 0 {
		v.Add(&evaluations, ruleEvaluations)
	}
	for i, e := range in.GetEvaluations() {
		at := evaluations.At(i)
		v.parts(&at, e, false)
	}
	switch in.GetOptions().GetEvaluationsSemantic() {
	case "", executeAll, denyOnFirstDeny, permitOnFirstPermit:
	default:
		options := &refusal.Place{Number: 6, Name: "options"}
		v.Add(&refusal.Place{In: options, Number: 1, Name: "evaluations_semantic", Text: true}, ruleSemantic)
	}
	return v.Err()
}

// parts looks at the parts that every message with an evaluation has, under the
// same numbers and names. Those that are not there break a rule if all must be.
func (v *violations) parts(in *refusal.Place, m interface {
	GetSubject() *authzenpb.Subject
	GetResource() *authzenpb.Resource
	GetAction() *authzenpb.Action
	GetContext() map[string]*structpb.Value
}, all bool) {
	at := &refusal.Place{In: in, Number: 1, Name: "subject"}
	if s := m.GetSubject(); s != nil {
		v.Text(&refusal.Place{In: at, Number: 1, Name: "type", Text: true}, s.GetType())
		v.Text(&refusal.Place{In: at, Number: 2, Name: "id", Text: true}, s.GetId())
		v.keys(refusal.Place{In: at, Number: 3, Name: "properties"}, s.GetProperties())
	} else if all {
		v.Add(at, refusal.Required())
	}
	at = &refusal.Place{In: in, Number: 2, Name: "resource"}
	if r := m.GetResource(); r != nil {
		v.Text(&refusal.Place{In: at, Number: 1, Name: "type", Text: true}, r.GetType())
		v.Text(&refusal.Place{In: at, Number: 2, Name: "id", Text: true}, r.GetId())
		v.keys(refusal.Place{In: at, Number: 3, Name: "properties"}, r.GetProperties())
	} else if all {
		v.Add(at, refusal.Required())
	}
	at = &refusal.Place{In: in, Number: 3, Name: "action"}
	if a := m.GetAction(); a != nil {
		v.Text(&refusal.Place{In: at, Number: 1, Name: "name", Text: true}, a.GetName())
		v.keys(refusal.Place{In: at, Number: 2, Name: "properties"}, a.GetProperties())
	} else if all {
		v.Add(at, refusal.Required())
	}
	v.keys(refusal.Place{In: in, Number: 4, Name: "context"}, m.GetContext())
}

// keys looks for a key that is empty.
func (v *violations) keys(at refusal.Place, m map[string]*structpb.Value) {
	if _, has := m[""]; has {
		entry := at.Under("")
		v.Add(&entry, refusal.Key())
	}
}

// countEvaluations looks at the limit of evaluations.
func countEvaluations(limits api.Limits, n int) error {
	if most := limits.Actions * limits.Resources; most > 0 && n > most {
		return status.Error(codes.InvalidArgument, fmt.Sprintf("number of evaluations (%d) exceeds configured limit (%d)", n, most))
	}
	return nil
}

// within looks at the limits of requests, each about one action on one resource.
// They count as those of CheckResources do if it is asked once for each subject
// and its tokens.
func within(limits api.Limits, requests []*cerbospb.CheckResourcesRequest) error {
	type subject struct {
		id     string
		tokens int // those that are alike
	}
	type resource struct{ kind, id string }
	type group struct {
		index   map[resource]int
		actions []int // of each resource, in the order of the request
	}
	var groups []*group
	bySubject := map[subject]*group{}
	all := map[string]int{} // tokens
	indices := map[*cerbospb.AuxData]int{}
	for _, in := range requests {
		index, known := indices[in.GetAuxData()] // most have those of the call
		if !known {
			tokens, err := proto.MarshalOptions{Deterministic: true}.Marshal(in.GetAuxData())
			if err != nil {
				return status.Error(codes.InvalidArgument, auxdata.ErrInvalid.Error())
			}
			if index, known = all[string(tokens)]; !known {
				index = len(all)
				all[string(tokens)] = index
			}
			indices[in.GetAuxData()] = index
		}
		s := subject{in.GetPrincipal().GetId(), index}
		g := bySubject[s]
		if g == nil {
			g = &group{index: map[resource]int{}}
			bySubject[s], groups = g, append(groups, g)
		}
		r := resource{in.GetResources()[0].GetResource().GetKind(), in.GetResources()[0].GetResource().GetId()}
		i, known := g.index[r]
		if !known {
			i = len(g.actions)
			g.index[r], g.actions = i, append(g.actions, 0)
		}
		g.actions[i]++
	}
	for _, g := range groups {
		if n := len(g.actions); limits.Resources > 0 && n > limits.Resources {
			return status.Error(codes.InvalidArgument, fmt.Sprintf("number of resources in batch (%d) exceeds configured limit (%d)", n, limits.Resources))
		}
		for _, n := range g.actions {
			if limits.Actions > 0 && n > limits.Actions {
				return status.Error(codes.InvalidArgument, fmt.Sprintf("number of actions (%d) exceeds configured limit (%d)", n, limits.Actions))
			}
		}
	}
	return nil
}
