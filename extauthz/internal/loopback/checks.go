//go:build unix

package main

import (
	"bytes"
	"fmt"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"edict/extauthz/internal/loopback/demo"
	"edict/internal/sidebyside"
)

// A verified answer is what all later ones to the check must be, but for the id of
// the decision in the middle, of which there may be none.
type verified struct{ before, after []byte }

func verifiedAnswer(answer []byte) (verified, error) {
	var r authv3.CheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return verified{}, err
	}
	id := r.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
	if at := bytes.Index(answer, []byte(id)); id != "" && at >= 0 {
		return verified{answer[:at], answer[at+len(id):]}, nil
	}
	return verified{before: answer}, nil
}

func (v *verified) equals(answer []byte) bool {
	id := len(answer) - len(v.before) - len(v.after)
	return id >= 0 && (id > 0) == (v.after != nil) && bytes.HasPrefix(answer, v.before) && bytes.HasSuffix(answer, v.after)
}

// calls gives the demo's checks. The first answer to each is verified by its
// meaning, and all later ones must equal it.
func (s *server) calls(ask func([]byte) ([]byte, error)) (out []sidebyside.Call, err error) {
	for _, c := range demo.Checks(true) {
		answer, err := ask(c.Request)
		if err == nil {
			err = s.verify(&c, answer)
		}
		if err != nil {
			return nil, err
		}
		first, err := verifiedAnswer(answer)
		if err != nil {
			return nil, err
		}
		out = append(out, sidebyside.Call{Request: c.Request, Verify: func(answer []byte) error {
			if !first.equals(answer) {
				return fmt.Errorf("%s: the answer is not the one of before", c.Name)
			}
			return nil
		}})
	}
	return out, nil
}

// isOK verifies an answer that says OK to everything.
func isOK(_ *demo.Check, answer []byte) error {
	var r authv3.CheckResponse
	if err := proto.Unmarshal(answer, &r); err != nil {
		return err
	}
	if r.Status == nil || codes.Code(r.Status.Code) != codes.OK {
		return fmt.Errorf("answered %v", r.Status)
	}
	return nil
}
