package extauthz

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"edict/engine/value"
	"edict/extauthz/claims"
)

// Claims in the namespace for assumptions are those of a verified token where
// Assume says so, mapped as their issuer's are, and nothing anywhere else.
func TestAssume(t *testing.T) {
	staff, partner := newSigner(t, "https://staff.example"), newSigner(t, "https://partner.example")
	shapes := claims.Mapping{ID: []string{"login"}, Roles: []claims.Roles{{Claim: "groups"}}}
	o := Options{Identity: []Source{{Name: "main", JWT: &JWT{Issuers: []JWTIssuer{staff.issuer(t, claims.Mapping{}), partner.issuer(t, shapes)}}}}}
	for _, tc := range []struct {
		name, source string
		claims       map[string]any
		assume       bool
		want, id     string
	}{
		{"the first issuer", "main", map[string]any{"iss": staff.name, "sub": "alice", "roles": []any{"user"}}, true, "allow", "alice"},
		{"the second", "main", map[string]any{"iss": partner.name, "login": "alice", "groups": []any{"user"}}, true, "allow", "alice"},
		{"no issuer", "main", map[string]any{"sub": "alice", "roles": []any{"user"}}, true, "allow", "alice"},
		{"claims of another shape", "main", map[string]any{"iss": partner.name, "sub": "alice", "roles": []any{"user"}}, true, "bad_identity", ""},
		{"another source", "other", map[string]any{"sub": "alice", "roles": []any{"user"}}, true, "no_identity", ""},
		{"without Assume", "main", map[string]any{"iss": staff.name, "sub": "alice", "roles": []any{"user"}}, false, "no_identity", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			options := o
			options.Assume = tc.assume
			rev := compile(t, options, albumPolicy, albumRoutes)
			in := get("/albums/alice/1").message(t)
			s, err := structpb.NewStruct(map[string]any{tc.source: tc.claims})
			if err != nil {
				t.Fatal(err)
			}
			in.Attributes.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{AssumedNamespace: s}}
			b, err := proto.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			told := rev.Explain(context.Background(), b)
			if told.Outcome.String() != tc.want {
				t.Fatalf("got %s, %v", told.Outcome, told.Err)
			}
			if tc.id != "" && (told.Requests[0].Principal.ID != tc.id || told.Provenance != VerifiedJWT) {
				t.Errorf("it is %s by %s", told.Requests[0].Principal.ID, told.Provenance)
			}
		})
	}
}

// Who observes is told the claims of a token that Edict verified, and by whom.
func TestRecordOfVerifiedToken(t *testing.T) {
	staff := newSigner(t, "https://staff.example")
	var by string
	var claimed value.Value
	o := Options{Identity: []Source{{Name: "main", JWT: &JWT{Issuers: []JWTIssuer{staff.issuer(t, claims.Mapping{})}}}, {JWTMetadata: &JWTMetadata{}}}}
	o.Observe = func(r *Record) {
		by, claimed = r.VerifiedBy, value.Value{}
		if r.Verified != nil {
			claimed, _ = r.Verified.Lookup("sub")
		}
	}
	s := newServer(t, o)
	check(t, s, get("/albums/alice/1").with("authorization: Bearer "+staff.token(t, map[string]any{"sub": "alice", "roles": []any{"user"}})))
	if by != "main" || claimed.Str() != "alice" {
		t.Errorf("verified by %q, for %v", by, claimed.Native())
	}
	check(t, s, get("/albums/alice/1").as("alice", "user"))
	if by != "" || claimed.Kind() != value.Absent {
		t.Errorf("what Envoy verified is said to be verified by %q", by)
	}
}
