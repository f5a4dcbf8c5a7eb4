//go:build linux

package main

import (
	"fmt"
	"maps"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"edict/api/cerbospb"
	"edict/internal/sidebyside"
)

// An answer is what became of each action.
type answer map[string]cerbospb.Effect

func decode(b []byte) (answer, error) {
	var out cerbospb.CheckResourcesResponse
	if err := proto.Unmarshal(b, &out); err != nil {
		return nil, err
	}
	if len(out.GetResults()) != 1 || len(out.GetResults()[0].GetActions()) != len(actions) {
		return nil, fmt.Errorf("answered %v", &out)
	}
	return out.GetResults()[0].GetActions(), nil
}

// calls gives what makes the calls for one server after the other. What the first
// says is expected of all.
func calls() func(func([]byte) ([]byte, error)) ([]sidebyside.Call, error) {
	var expected []answer // to each request
	return func(ask func([]byte) ([]byte, error)) (out []sidebyside.Call, err error) {
		for i, r := range requests() {
			request, err := proto.Marshal(r)
			if err != nil {
				return nil, err
			}
			if i == len(expected) {
				b, err := ask(request)
				if err != nil {
					return nil, err
				}
				a, err := decode(b)
				if err != nil {
					return nil, err
				}
				expected = append(expected, a)
			}
			want := expected[i]
			out = append(out, sidebyside.Call{Request: request, Verify: func(b []byte) error {
				got, err := decode(b)
				if err == nil && !maps.Equal(got, want) {
					err = fmt.Errorf("request %d: answered %v, expected %v", i, got, want)
				}
				return err
			}})
		}
		return out, nil
	}
}

// actions are what is asked of each resource.
var actions = []string{"read", "list", "create", "approve"}

// requests are questions about the demo's expenses as a handler asks them that
// has the row at hand: some actions are allowed, some denied, by roles, derived
// roles and conditions.
func requests() (out []*cerbospb.CheckResourcesRequest) {
	for _, who := range []struct {
		id    string
		roles []string
		attr  map[string]any
	}{
		{"alice", []string{"employee"}, map[string]any{"regions": []any{"emea"}, "clientIp": "127.0.0.1"}},
		{"bob", []string{"employee", "manager"}, map[string]any{"regions": []any{"emea"}, "approvalLimit": 1000, "clientIp": "192.168.7.20"}},
		{"carol", []string{"auditor"}, map[string]any{"clientIp": "10.1.2.3"}},
		{"dave", []string{"employee", "manager"}, map[string]any{"regions": []any{"apac"}, "approvalLimit": 500, "clientIp": "127.0.0.1"}},
	} {
		for i, row := range []map[string]any{
			{"ownerId": "alice", "region": "emea", "amount": 420, "status": "submitted", "createdAt": "2026-03-02T10:00:00Z"},
			{"ownerId": "bob", "region": "emea", "amount": 80, "status": "approved", "createdAt": "2026-03-01T08:30:00Z"},
		} {
			out = append(out, &cerbospb.CheckResourcesRequest{
				RequestId: "4e6a0d6e-7a14-4f0b-9f0a-0d5f6c2d8f11",
				Principal: &cerbospb.Principal{Id: who.id, Roles: who.roles, Attr: attributes(who.attr)},
				Resources: []*cerbospb.CheckResourcesRequest_ResourceEntry{{
					Actions:  actions,
					Resource: &cerbospb.Resource{Kind: "expense", Id: fmt.Sprint(i + 1), Attr: attributes(row)},
				}},
			})
		}
	}
	return out
}

func attributes(m map[string]any) map[string]*structpb.Value {
	s, err := structpb.NewStruct(m)
	if err != nil {
		panic(err) // the attributes above are all of JSON's types
	}
	return s.GetFields()
}
