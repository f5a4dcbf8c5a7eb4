package extauthz

import "testing"

const sourceRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: albums
  routes:
    - name: all
      match: {path: /all}
      resource: {kind: album, id: x}
      action: list
    - name: people
      match: {path: /people}
      identity: [people]
      resource: {kind: album, id: x}
      action: list
    - name: turned
      match: {path: /turned}
      identity: [proxy, people]
      resource: {kind: album, id: x}
      action: list
    - name: nobody
      match: {path: /nobody}
      identity: []
      anonymous: true
      resource: {kind: album, id: x}
      action: preview
`

// A route asks the sources that it names and no others, in its own order, and
// a request loses the headers of the others.
func TestRoutesNameTheirSources(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, Options{
		Identity: []Source{
			{Name: "people", JWTMetadata: &JWTMetadata{}},
			{Name: "proxy", Headers: &TrustedHeaders{ID: "x-user", Roles: "x-roles"}},
		},
		PrincipalHeader: "x-edict-principal",
	}, albumPolicy, sourceRoutes))
	headers := []string{"x-user: harry", "x-roles: user"}
	expired := map[string]any{"jwt_failure": map[string]any{"code": 3.0, "message": "Jwt is expired"}}
	for _, tt := range []struct {
		name    string
		request testRequest
		failed  bool // jwt_authn rejected a token
		want    string
		who     string
	}{
		{"token first", get("/all").as("jane", "user").with(headers...), false, "allow", "jane"},
		{"headers second", get("/all").with(headers...), false, "allow", "harry"},
		{"headers not asked", get("/people").with(headers...), false, "no_identity", ""},
		{"token alone asked", get("/people").as("jane", "user").with(headers...), false, "allow", "jane"},
		{"headers first", get("/turned").as("jane", "user").with(headers...), false, "allow", "harry"},
		{"token second", get("/turned").as("jane", "user"), false, "allow", "jane"},
		{"headers after a failed token", get("/all").with(headers...), true, "bad_token", ""},
		{"headers before a failed token", get("/turned").with(headers...), true, "bad_token", ""},
		{"nobody asked", get("/nobody").as("jane", "user").with(headers...), false, "allow", "anonymous"},
	} {
		if tt.failed {
			tt.request.metadata = expired
		}
		out := check(t, s, tt.request)
		if got, _ := reason(out); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			continue
		}
		set, removed := upstream(out)
		if set["x-edict-principal"] != tt.who {
			t.Errorf("%s: the upstream learns of %q, want %q", tt.name, set["x-edict-principal"], tt.who)
		}
		if wantKept := tt.who == "harry"; tt.want == "allow" && (len(removed) == 0) != wantKept {
			t.Errorf("%s: the request loses %q", tt.name, removed)
		}
	}
}
