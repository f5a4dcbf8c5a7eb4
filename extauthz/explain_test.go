package extauthz

import (
	"context"
	"testing"
)

// What a Revision tells of a check is what a Server answers, and the engine's
// question gives the server's decision.
func TestExplain(t *testing.T) {
	s := newServer(t, jwtOnly)
	for _, tc := range []struct {
		request    testRequest
		route      string
		provenance Provenance
		asked      bool
	}{
		{get("/albums/alice/1").as("alice", "user"), "albums/read", VerifiedJWT, true},
		{get("/albums/bob/1").as("alice", "user"), "albums/read", VerifiedJWT, true},
		{get("/preview"), "albums/preview", AnonymousUser, true},
		{get("/open"), "albums/anonymous-list", AnonymousUser, true},
		{get("/albums"), "albums/list", NoProvenance, false},
		{get("/nowhere").as("alice", "user"), "", NoProvenance, false},
		{get("/albums/../x").as("alice", "user"), "", NoProvenance, false},
		{post("/albums", `{}`, "content-length: 2").as("alice", "user"), "albums/upload", VerifiedJWT, false},
		{post("/albums", `{"size": 900}`, "content-length: 13").as("alice", "user"), "albums/upload", VerifiedJWT, true},
		{get("/albums").as("ali\nce", "user"), "albums/list", VerifiedJWT, true},
	} {
		want, status := reason(check(t, s, tc.request))
		e := s.Revision().Explain(context.Background(), tc.request.bytes(t))
		if e.Outcome.String() != want || e.Outcome.Status() != status {
			t.Errorf("%s: got %v (%d), the server answers %s (%d)", tc.request.path, e.Outcome, e.Outcome.Status(), want, status)
		}
		if e.Route != tc.route || e.Provenance != tc.provenance || (len(e.Requests) == 1) != tc.asked {
			t.Errorf("%s: got %+v", tc.request.path, e)
		}
		if len(e.Requests) == 0 {
			continue
		}
		decided := s.Revision().PolicySet().Explain(e.Requests[0])
		if allowed := decided.Decision.Allowed(); allowed != (want == "allow" || want == "bad_identity") {
			t.Errorf("%s: the policies allow: %v, the server answers %s", tc.request.path, allowed, want)
		}
	}
}
