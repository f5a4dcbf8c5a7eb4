package api

import (
	"context"
	"time"

	"edict/api/cerbospb"
	"edict/engine"
)

// CheckEach answers requests, each on its own, all by the policies that are in
// force now and as of one moment. It is for calls of other services, within Do:
// they have rules and limits of their own, and those of CheckResources are not
// looked at here. AuxData that neighbouring requests share is verified once. All
// answers together are bounded as one is. They have no call id, and outputs only with
// meta. An error is one of gRPC, and that of all requests.
func (s *Server) CheckEach(ctx context.Context, list []*cerbospb.CheckResourcesRequest) ([]*cerbospb.CheckResourcesResponse, error) {
	c := s.take()
	all, err := s.checkEach(ctx, c, list)
	s.release(c) // which a call that panicked does not get to
	return all, err
}

func (s *Server) checkEach(ctx context.Context, c *call, list []*cerbospb.CheckResourcesRequest) ([]*cerbospb.CheckResourcesResponse, error) {
	ps, err := s.policies()
	if err != nil {
		return nil, err
	}
	q, now := &c.question, time.Now()
	var data engine.AuxData
	told := results{weight: s.weight()}
	all := make([]*cerbospb.CheckResourcesResponse, 0, len(list))
	for i, in := range list {
		q.reset()
		q.read(in)
		q.noOutputs = !q.includeMeta
		if i == 0 || in.GetAuxData() != list[i-1].GetAuxData() {
			if err := inTime(ctx); err != nil {
				return nil, err
			}
			if data, err = s.auxData(ctx, &q.tokens); err != nil {
				return nil, err
			}
		}
		if err := told.weight.add(sizeText(q.requestID)); err != nil {
			return nil, err
		}
		told.includeMeta, told.list = q.includeMeta, nil
		if err := s.decideBy(ctx, c, ps, data, now, told.add); err != nil {
			return nil, err
		}
		all = append(all, &cerbospb.CheckResourcesResponse{RequestId: q.requestID, Results: told.list})
	}
	return all, nil
}
