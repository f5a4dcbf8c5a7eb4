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
// answers together are bounded as one is, and have no call id. An error is one of
// gRPC, and that of all requests.
func (s *Server) CheckEach(ctx context.Context, list []*cerbospb.CheckResourcesRequest) ([]*cerbospb.CheckResourcesResponse, error) {
	c := s.take()
	q := &c.question
	now := time.Now()
	var data engine.AuxData
	told := results{weight: s.weight()}
	all := make([]*cerbospb.CheckResourcesResponse, 0, len(list))
	ps, err := s.policies()
	if err != nil {
		return nil, err
	}
	for i, in := range list {
		q.reset()
		q.read(in)
		if i == 0 || in.GetAuxData() != list[i-1].GetAuxData() {
			if err := inTime(ctx); err != nil {
				return nil, err
			}
			if data, err = s.auxData(ctx, &q.tokens); err != nil {
				return nil, err
			}
		}
		out := &cerbospb.CheckResourcesResponse{RequestId: q.requestID}
		told.includeMeta, told.list = q.includeMeta, nil
		if err := s.decideBy(ctx, c, ps, data, now, told.add); err != nil {
			return nil, err
		}
		out.Results = told.list
		all = append(all, out)
	}
	s.release(c)
	return all, nil
}
