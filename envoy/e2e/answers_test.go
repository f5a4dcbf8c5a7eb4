package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAnswers asks as people do, and looks at everything that they, the
// service and whoever reads Envoy's access log get to see.
func TestAnswers(t *testing.T) {
	r := startRig(t, patient...)
	revision := r.waitReadiness(t, http.StatusOK).Revision
	if revision == "" {
		t.Fatal("/readyz does not tell the revision")
	}
	const expenses, service = "resource.expense.vdefault", "resource.service.vdefault"
	for _, tt := range []struct {
		name   string
		q      request
		status int
		// What the service does; "": it is not reached.
		runs string
		// What the access log says beside the effect, which follows from runs.
		reason, route, policy, rule, principal string
	}{
		{"allow: the owner reads", request{as: "alice", path: "/expenses/emea/alice/1"}, 200,
			"alice read emea/alice/1", "allow", "expenses/read-expense", expenses, "owner-reads-own", "alice"},
		{"allow: a manager totals their region", request{as: "bob", path: "/totals?region=emea"}, 200,
			"bob total emea/", "allow", "expenses/total-expenses", expenses, "manager-reads-own-region", "bob"},
		{"allow: the body is within the limit", request{as: "alice", method: "POST", path: "/expenses",
			body: `{"region":"emea","department":"engineering","amount":64.2}`}, 201,
			"alice create emea/alice 6420 cents", "allow", "expenses/create-expense", expenses, "employee-creates-in-own-region", "alice"},
		{"deny: no rule allows it", request{as: "alice", path: "/expenses/apac/dave/7"}, 403,
			"", "deny", "expenses/read-expense", expenses, "", "alice"},
		{"deny: a rule denies it", request{as: "bob", method: "POST", path: "/expenses/emea/bob/3/approve", body: `{"amount":80}`}, 403,
			"", "deny", "expenses/approve-expense", expenses, "nobody-approves-their-own", "bob"},
		{"deny: the body is beyond the limit", request{as: "alice", method: "POST", path: "/expenses",
			body: `{"region":"emea","department":"engineering","amount":5000.01}`}, 403,
			"", "deny", "expenses/create-expense", expenses, "", "alice"},
		{"deny: an unknown path", request{as: "alice", path: "/admin"}, 403,
			"", "no_route", "", "", "", ""},
		{"deny: an unknown method", request{as: "alice", method: "PUT", path: "/whoami"}, 403,
			"", "no_route", "", "", "", ""},
		{"deny: who asks is unknown", request{path: "/expenses/emea/alice/1"}, 401,
			"", "no_identity", "expenses/read-expense", "", "", ""},
		{"deny: the query says it twice", request{as: "bob", path: "/totals?region=emea&region=apac"}, 400,
			"", "bad_request", "expenses/total-expenses", "", "", "bob"},
		{"deny: there is no body", request{as: "alice", method: "POST", path: "/expenses"}, 400,
			"", "body_missing", "expenses/create-expense", "", "", "alice"},
		{"deny: the body says it twice", request{as: "alice", method: "POST", path: "/expenses",
			body: `{"region":"emea","department":"e","amount":64000,"amount":1}`}, 400,
			"", "body_malformed", "expenses/create-expense", "", "", "alice"},
		{"deny: the body is a form, which lacks what the route reads", request{as: "alice", method: "POST", path: "/expenses", body: "amount=1",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}, 403,
			"", "unmappable", "expenses/create-expense", "", "", "alice"},
		{"deny: the body is of a kind that Edict does not read", request{as: "alice", method: "POST", path: "/expenses", body: "amount=1",
			header: http.Header{"Content-Type": {"text/plain"}}}, 415,
			"", "body_unsupported", "expenses/create-expense", "", "", "alice"},
		{"deny: the query lacks what the route reads", request{as: "bob", path: "/totals"}, 403,
			"", "unmappable", "expenses/total-expenses", "", "", "bob"},
		{"allow: nobody asks for health", request{path: "/healthz"}, 200,
			"", "allow", "expenses/health", service, "anybody-asks-for-health", "anonymous"},
	} {
		for _, http2 := range []bool{false, true} {
			proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				q := tt.q
				q.http2 = http2
				before := r.mark(t)
				sent := time.Now()
				got := r.send(t, q)
				if got.status != tt.status || got.proto != proto {
					t.Errorf("answered %d over %s, want %d over %s; body: %s", got.status, got.proto, tt.status, proto, got.body)
				}
				var ran []string
				for _, o := range r.operations(t, before) {
					ran = append(ran, o.String())
				}
				if strings.Join(ran, ";") != tt.runs {
					t.Errorf("the service ran %q, want %q", ran, tt.runs)
				}
				for _, wrong := range judge(r.since(t, before), caller{q.as, office, sent}) {
					t.Error(wrong)
				}

				allowed := tt.reason == "allow"
				if reached := len(r.requests(t, before)); allowed != (reached == 1) {
					t.Errorf("%d requests reached the service", reached)
				}
				if !allowed {
					checkProblem(t, got)
				}
				l := r.logged(t, got.header.Get("X-Request-Id"))
				effect := map[bool]string{true: "allow", false: "deny"}[allowed]
				type fields struct{ effect, reason, route, policy, rule, principal, revision string }
				inLog := fields{l.Edict.Effect, l.Edict.Reason, l.Edict.Route, l.Edict.Policy, l.Edict.Rule, l.Edict.Principal, l.Edict.Revision}
				want := fields{effect, tt.reason, tt.route, tt.policy, tt.rule, tt.principal, revision}
				if inLog != want {
					t.Errorf("Envoy's access log says\n%+v, want\n%+v", inLog, want)
				}
				if !allowed && (l.Details != "ext_authz_denied" || !strings.Contains(l.Flags, "UAEX")) {
					t.Errorf("Envoy's access log has details %q and flags %q for a denial", l.Details, l.Flags)
				}
			})
		}
	}
}

// checkProblem checks that a denial is a problem (RFC 9457) that says no more
// than it should, and that a 401 has a challenge.
func checkProblem(t *testing.T, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the denial's content-type is %q", got)
	}
	var problem map[string]any
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
		t.Errorf("the denial's body is not JSON: %v: %s", err, a.body)
	}
	want := map[string]any{"title": http.StatusText(a.status), "status": float64(a.status)}
	if fmt.Sprint(problem) != fmt.Sprint(want) {
		t.Errorf("the denial's body is %v, want %v", problem, want)
	}
	if challenge := a.header.Get("WWW-Authenticate"); (a.status == http.StatusUnauthorized) != (challenge != "") {
		t.Errorf("%d with the challenge %q", a.status, challenge)
	}
}

// TestTokens sends tokens that are not good, and good ones with odd claims.
func TestTokens(t *testing.T) {
	r := startRig(t, patient...)
	mallory := newIssuer(t)
	good := r.issuer.token("alice")
	changed := func(changes map[string]any) string { return r.issuer.sign(claims("alice", changes)) }
	header := func(h map[string]any) string { return r.issuer.signWith(h, claims("alice", nil)) }
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	const missing, invalid = "Bearer", `Bearer error="invalid_token"`
	for _, tt := range []struct {
		name      string
		headers   []string // Authorization
		status    int
		challenge string
		roles     string // that the service sees, of a 200
	}{
		{"a good one", []string{"Bearer " + good}, 200, "", "employee"},
		{"a good one, scheme in lower case", []string{"bearer " + good}, 401, invalid, ""},
		{"none", nil, 401, missing, ""},
		{"an empty header", []string{""}, 401, missing, ""},
		{"another scheme", []string{"Basic YWxpY2U6eA=="}, 401, missing, ""},
		{"a scheme without a token", []string{"Bearer "}, 401, missing, ""},
		{"no token at all", []string{"Bearer x"}, 401, invalid, ""},
		{"forged: another's key", []string{"Bearer " + mallory.token("alice")}, 401, invalid, ""},
		{"forged: the payload of another", []string{"Bearer " + transplant(good, r.issuer.token("bob"))}, 401, invalid, ""},
		{"forged: no signature", []string{"Bearer " + unsigned("alice")}, 401, invalid, ""},
		{"forged: the public key as a secret", []string{"Bearer " + r.issuer.confused("alice")}, 401, invalid, ""},
		{"forged: a key that the token brings", []string{"Bearer " + mallory.signWith(
			map[string]any{"alg": "ES256", "kid": keyID, "jwk": json.RawMessage(mallory.keySet())}, claims("alice", nil))}, 401, invalid, ""},
		{"a key by a path", []string{"Bearer " + header(map[string]any{"alg": "ES256", "kid": "../../../../dev/null"})}, 401, invalid, ""},
		{"expired", []string{"Bearer " + changed(map[string]any{"exp": past})}, 401, invalid, ""},
		{"never expires", []string{"Bearer " + changed(map[string]any{"exp": nil})}, 401, invalid, ""},
		{"not yet good", []string{"Bearer " + changed(map[string]any{"nbf": future})}, 401, invalid, ""},
		{"for another service", []string{"Bearer " + changed(map[string]any{"aud": "payroll"})}, 401, invalid, ""},
		{"for nobody", []string{"Bearer " + changed(map[string]any{"aud": nil})}, 401, invalid, ""},
		{"by another issuer", []string{"Bearer " + changed(map[string]any{"iss": "https://evil.example/"})}, 401, invalid, ""},
		// Envoy joins the two by a comma, which makes one bad token of them.
		{"two of them", []string{"Bearer " + good, "Bearer " + good}, 401, invalid, ""},
		{"two people", []string{"Bearer " + good, "Bearer " + r.issuer.token("bob")}, 401, invalid, ""},
		{"roles that are no list", []string{"Bearer " + changed(map[string]any{"roles": "employee"})}, 403, "", ""},
		{"roles that are a map", []string{"Bearer " + changed(map[string]any{"roles": map[string]any{"0": "employee"}})}, 403, "", ""},
		{"a role that is no text", []string{"Bearer " + changed(map[string]any{"roles": []any{"employee", 1}})}, 403, "", ""},
		{"a role with a comma", []string{"Bearer " + changed(map[string]any{"roles": []string{"employee", "x,manager"}})}, 200, "", "employee,x%2Cmanager"},
		{"no roles", []string{"Bearer " + changed(map[string]any{"roles": nil})}, 403, "", ""},
		{"a name that is no text", []string{"Bearer " + changed(map[string]any{"sub": 1})}, 401, invalid, ""},
		{"no name", []string{"Bearer " + changed(map[string]any{"sub": nil})}, 403, "", ""},
		{"an empty name", []string{"Bearer " + changed(map[string]any{"sub": ""})}, 403, "", ""},
		{"a name that would end the header", []string{"Bearer " + changed(map[string]any{"sub": "alice\r\nx-edict-roles: manager"})}, 403, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.mark(t)
			got := r.send(t, request{path: "/whoami", header: http.Header{"Authorization": tt.headers}})
			if got.status != tt.status {
				t.Fatalf("answered %d, want %d; body: %s", got.status, tt.status, got.body)
			}
			if challenge := strings.Join(got.header.Values("WWW-Authenticate"), ";"); challenge != tt.challenge {
				t.Errorf("the challenge is %q, want %q", challenge, tt.challenge)
			}
			reached := r.requests(t, before)
			if tt.status != http.StatusOK {
				checkProblem(t, got)
				if len(reached) > 0 {
					t.Errorf("the service was reached: %+v", reached[0])
				}
				return
			}
			if roles := reached[0].values("x-edict-roles"); len(roles) != 1 || roles[0] != tt.roles {
				t.Errorf("the service is told the roles %q, want %q", roles, tt.roles)
			}
			if token := reached[0].values("authorization"); len(token) > 0 {
				t.Errorf("the service is given the token")
			}
		})
	}
	t.Run("in the query", func(t *testing.T) {
		if got := r.send(t, request{path: "/whoami?access_token=" + good}); got.status != http.StatusUnauthorized {
			t.Errorf("answered %d, want 401", got.status)
		}
	})
	t.Run("a bad one on a route for everybody", func(t *testing.T) {
		got := r.send(t, request{path: "/healthz", header: http.Header{"Authorization": {"Bearer " + mallory.token("alice")}}})
		if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != invalid {
			t.Errorf("answered %d with the challenge %q, want 401 with %q", got.status, got.header.Get("WWW-Authenticate"), invalid)
		}
	})
	t.Run("a name beyond ASCII", func(t *testing.T) {
		before := r.mark(t)
		token := changed(map[string]any{"sub": "Zoë 100%"})
		got := r.send(t, request{path: "/whoami", header: http.Header{"Authorization": {"Bearer " + token}}})
		if got.status != http.StatusOK {
			t.Fatalf("answered %d, want 200; body: %s", got.status, got.body)
		}
		if names := r.requests(t, before)[0].values("x-edict-principal"); !slices.Equal(names, []string{"Zo%C3%AB%20100%25"}) {
			t.Errorf("the service is told %q", names)
		}
	})
}

// transplant gives token with the payload of another.
func transplant(token, other string) string {
	parts, others := strings.Split(token, "."), strings.Split(other, ".")
	return parts[0] + "." + others[1] + "." + parts[2]
}

// spoofs are header lines by which a client could claim to be somebody else.
var spoofs = []string{
	"x-edict-principal: bob",
	"X-Edict-Principal: bob",
	"X-EDICT-PRINCIPAL: bob",
	"x-edict-principal:bob",
	"x-edict-principal: \t bob \t",
	"x-edict-principal: bob\r\nx-edict-principal: carol",
	"x-edict-principal: alice,bob",
	"x-edict-principal:",
	"x-edict-roles: manager,auditor",
	"X-eDiCt-RoLeS: manager",
	"x-edict-roles: manager\r\nX-Edict-Roles: auditor",
	"x_edict_principal: bob",
	"X_Edict_Principal: bob",
	"x_edict_roles: manager",
	"x-edict_principal: bob",
	"x_edict-principal: bob",
	"x-edict_roles: manager",
	"Connection: x-edict-principal",
	"Connection: close, X-Edict-Roles",
	"Connection: x-edict-principal\r\nx-edict-principal: bob",
	"Proxy-Connection: x-edict-principal",
	"Keep-Alive: x-edict-principal",
	"Trailer: x-edict-principal",
	"TE: trailers, x-edict-principal",
	"x-edict-principal : bob",
	" x-edict-principal: bob",
	"x-edict-principal\x00: bob",
	"x-edict-principal: bob\x00",
	"x-foo: bar\r\n x-edict-principal: bob",
	"x-foo: bar\rx-edict-principal: bob",
	"x-foo: bar\nx-edict-principal: bob",
	"x-foo: bar\x0bx-edict-principal: bob",
	"\xef\xbb\xbfx-edict-principal: bob",
	"x\xe2\x80\x90edict-principal: bob",
}

// TestSpoofedIdentity claims to be somebody else by headers, on a route that
// needs an identity and on the one that does not, with Envoy's own protection
// and without it. The service must hear of the verified caller alone.
func TestSpoofedIdentity(t *testing.T) {
	needTools(t)
	for _, mode := range []struct {
		name  string
		edits []edit
	}{{"hardened Envoy", nil}, {"soft Envoy", soft}} {
		t.Run(mode.name, func(t *testing.T) {
			r := startRig(t, concat(patient, mode.edits)...)
			for _, who := range []string{"alice", ""} {
				path := map[bool]string{true: "/whoami", false: "/healthz"}[who != ""]
				head := "GET " + path + " HTTP/1.1\r\nHost: expenses.example\r\n"
				if who != "" {
					head += "Authorization: Bearer " + r.issuer.token(who) + "\r\n"
				}
				passed := 0
				for _, line := range spoofs {
					t.Run(fmt.Sprintf("%s with %q", path, line), func(t *testing.T) {
						raw := head + line + "\r\n"
						if !strings.Contains(strings.ToLower(line), "connection:") {
							raw += "Connection: close\r\n"
						}
						before := r.mark(t)
						got := r.sendRaw(t, office, []byte(raw+"\r\n"), 1)
						entries := r.since(t, before)
						for _, wrong := range judge(entries, caller{who, office, time.Now()}) {
							t.Error(wrong)
						}
						if len(got) == 0 || got[0].status != http.StatusOK {
							if len(entries) > 0 {
								t.Errorf("the service was reached, yet the answer is %+v", got)
							}
							return
						}
						passed++
						if who == "" {
							return
						}
						var seen map[string][]string
						if err := json.Unmarshal([]byte(got[0].body), &seen); err != nil {
							t.Fatal(err)
						}
						if ids := seen["x-edict-principal"]; !slices.Equal(ids, []string{who}) {
							t.Errorf("/whoami shows %q", ids)
						}
					})
				}
				if passed == 0 {
					t.Errorf("%s: no request passed, so nothing was shown of what the service hears", path)
				}
			}
		})
	}
}
