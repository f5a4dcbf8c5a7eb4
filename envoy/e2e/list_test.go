package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// capturing sends requests with the header x-capture to another service, which
// keeps the tokens that Edict made for the first.
func capturing(port int) []edit {
	return []edit{
		{"                      routes:\n", `                      routes:
                        - match: {prefix: /, headers: [{name: x-capture, present_match: true}]}
                          route: {cluster: capture}
`},
		{"\n  clusters:\n", fmt.Sprintf(`
  clusters:
    - name: capture
      type: STATIC
      load_assignment:
        cluster_name: capture
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`, port)},
	}
}

// elsewhere are planned routes that the service does not have.
const elsewhere = `apiVersion: edict.dev/v1
routeMap:
  name: elsewhere
  hosts: ["*"]
  routes:
    - {name: path, match: {methods: [GET], path: /elsewhere}, plan: true, resource: {kind: expense}, actions: [open, view]}
    - {name: kind, match: {methods: [GET], path: /expenses, headers: {x-kind: other}}, plan: true, resource: {kind: other}, action: view}
`

// TestList asks for the list of expenses, which the proxy plans and the service
// selects by the plan. It must hold the rows that the same caller may view one
// by one, and a plan must be of use for nothing else.
func TestList(t *testing.T) {
	u := newUpstream(t)
	r := newRig(t, concat(patient, capturing(u.port))...)
	r.write(t, "envoy/routes/elsewhere.yaml", elsewhere)
	r.write(t, "policies/other.yaml", "apiVersion: api.cerbos.dev/v1\nresourcePolicy:\n  resource: other\n  version: default\n"+
		"  rules:\n    - {actions: [view], roles: ['*'], effect: EFFECT_ALLOW}\n")
	r.startBackend(t)
	r.startEdict(t)
	r.startEnvoy(t)
	r.waitServing(t)

	const host = "Host: expenses.example"
	get := func(t *testing.T, port int, from, path string, lines ...string) answer {
		t.Helper()
		raw := strings.Join(append([]string{"GET " + path + " HTTP/1.1", "Connection: close"}, lines...), "\r\n") + "\r\n\r\n"
		got := exchange(t, connect(t, from, port), []byte(raw), 1)
		if len(got) != 1 {
			t.Fatalf("%d answers to %s", len(got), path)
		}
		return got[0]
	}
	numbers := func(t *testing.T, a answer) (out []int) {
		t.Helper()
		var rows []struct{ ID int }
		if err := json.Unmarshal([]byte(a.body), &rows); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		for _, row := range rows {
			out = append(out, row.ID)
		}
		return out
	}
	bearer := func(who string, changes map[string]any) string {
		return "Authorization: Bearer " + r.issuer.sign(claims(who, changes))
	}

	for _, tt := range []struct {
		name, who, from string
		changes         map[string]any // of the claims
		want            []int          // nil: the list is refused
	}{
		{"an employee", "alice", office, nil, []int{1, 2, 4, 5, 8}},
		{"an employee, outside", "alice", outside, nil, []int{1, 2, 4, 5, 8}},
		{"a manager", "bob", office, nil, []int{1, 2, 3, 4, 5}},
		{"a manager of another region", "dave", office, nil, []int{6, 7, 9}},
		{"an auditor", "carol", office, nil, []int{2, 9, 10}},
		{"an auditor, outside", "carol", outside, nil, nil},
		{"an auditor who manages, too", "bob", office, map[string]any{"roles": []string{"auditor", "manager"}}, []int{1, 2, 3, 4, 5, 9, 10}},
		{"an auditor who manages, too, outside", "bob", outside, map[string]any{"roles": []string{"auditor", "manager"}}, []int{1, 2, 3, 4, 5, 9, 10}},
		{"a manager alone, of whom no region is known", "bob", office, map[string]any{"regions": nil, "roles": []string{"manager"}}, nil},
		{"a manager of whom no region is known sees their own", "bob", office, map[string]any{"regions": nil}, []int{3}},
		{"a manager of no region sees their own", "bob", office, map[string]any{"regions": []string{}}, []int{3}},
		{"an employee without an expense", "zoe", office, map[string]any{"roles": []string{"employee"}}, []int{}},
		{"an employee named with letters that SQL and URLs quote", `o'é,%_"`, office, map[string]any{"roles": []string{"employee"}}, []int{}},
		{"a role that no policy knows", "alice", office, map[string]any{"roles": []string{"visitor"}}, nil},
		{"no role", "alice", office, map[string]any{"roles": []string{}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			as := bearer(tt.who, tt.changes)
			before := r.mark(t)
			list := get(t, r.port, tt.from, "/expenses", host, as, "X-Edict-Filter: a.b.c")
			arrived := len(r.requests(t, before))
			if _, known := people[tt.who]; known && tt.changes == nil {
				for _, wrong := range judge(r.since(t, before), caller{tt.who, tt.from, time.Now()}) {
					t.Error(wrong)
				}
			}
			var one []int
			for n := 1; n <= 10; n++ {
				if a := get(t, r.port, tt.from, fmt.Sprintf("/expense/%d", n), host, as); a.status == http.StatusOK {
					one = append(one, n)
				} else if a.status != http.StatusForbidden {
					t.Errorf("expense %d: answered %d %s", n, a.status, a.body)
				}
			}
			if !slices.Equal(one, tt.want) {
				t.Errorf("one by one %v may be viewed, want %v", one, tt.want)
			}
			if tt.want == nil {
				if list.status != http.StatusForbidden || arrived > 0 {
					t.Errorf("answered %d, and %d requests reached the service", list.status, arrived)
				}
				return
			}
			if list.status != http.StatusOK {
				t.Fatalf("answered %d %s", list.status, list.body)
			}
			if got := numbers(t, list); !slices.Equal(got, one) {
				t.Errorf("the list holds %v; one by one %v may be viewed", got, one)
			}
		})
	}
	for query, want := range map[string][]int{
		"region=emea": {1, 2, 3, 4, 5}, "region=apac": nil, "owner=alice": {1, 2, 4, 5}, "region=apac&owner=dave": nil,
		"owner=alice&owner=bob": {3}, "region=": nil, "owner=%27%20OR%201=1--": nil, "region=emea&x=/../..": {1, 2, 3, 4, 5},
	} {
		t.Run("a query narrows: "+query, func(t *testing.T) {
			if a := get(t, r.port, office, "/expenses?"+query, host, bearer("bob", nil)); a.status != http.StatusOK || !slices.Equal(numbers(t, a), want) {
				t.Errorf("answered %d %s, want %v", a.status, a.body, want)
			}
		})
	}

	// capture gives a token that Edict made for a request, and nobody has used.
	capture := func(t *testing.T, who, path string, lines ...string) string {
		t.Helper()
		u.forget()
		a := get(t, r.port, office, path, append([]string{host, "x-capture: yes", bearer(who, nil)}, lines...)...)
		reached := u.all()
		if a.status != http.StatusOK || len(reached) != 1 || len(reached[0].values("x-edict-filter")) != 1 {
			t.Fatalf("answered %d, and the service got %+v", a.status, reached)
		}
		return reached[0].values("x-edict-filter")[0]
	}
	// Somebody who gets past Envoy can say who they are, but not what they may see.
	direct := func(t *testing.T, path, principal string, lines ...string) answer {
		t.Helper()
		return get(t, r.service, office, path, append([]string{"x-edict-principal: " + principal, "x-edict-roles: employee"}, lines...)...)
	}
	filter := func(token string) string { return "x-edict-filter: " + token }
	refused := func(t *testing.T, a answer) {
		t.Helper()
		if a.status != http.StatusForbidden || strings.Contains(a.body, "amount") {
			t.Errorf("answered %d %s, want 403", a.status, a.body)
		}
	}
	t.Run("a token is good for one request", func(t *testing.T) {
		token := capture(t, "alice", "/expenses")
		if a := direct(t, "/expenses", "alice", host, filter(token)); a.status != http.StatusOK || !slices.Equal(numbers(t, a), []int{1, 2, 4, 5, 8}) {
			t.Fatalf("answered %d %s; the other cases would show nothing", a.status, a.body)
		}
		refused(t, direct(t, "/expenses", "alice", host, filter(token)))
		before := r.mark(t)
		if a := get(t, r.port, office, "/expenses", host, bearer("alice", nil)); a.status != http.StatusOK {
			t.Fatalf("answered %d", a.status)
		}
		refused(t, direct(t, "/expenses", "alice", host, filter(r.requests(t, before)[0].values("x-edict-filter")[0])))
	})
	for name, send := range map[string]func(t *testing.T) answer{
		"no token": func(t *testing.T) answer { return direct(t, "/expenses", "alice", host) },
		"of another route": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", host, filter(capture(t, "alice", "/elsewhere")))
		},
		"for another query": func(t *testing.T) answer {
			return direct(t, "/expenses?region=emea", "alice", host, filter(capture(t, "alice", "/expenses")))
		},
		"for no query": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", host, filter(capture(t, "alice", "/expenses?region=emea")))
		},
		"of another host": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", "Host: other.example", filter(capture(t, "alice", "/expenses")))
		},
		"of another principal": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", host, filter(capture(t, "carol", "/expenses")))
		},
		"two": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", host, filter(capture(t, "alice", "/expenses")), filter(capture(t, "alice", "/expenses")))
		},
		"of claims that differ": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", host, filter(widened(t, capture(t, "alice", "/expenses"), false)))
		},
		"signed by a stranger": func(t *testing.T) answer {
			return direct(t, "/expenses", "alice", host, filter(widened(t, capture(t, "alice", "/expenses"), true)))
		},
		"cut short": func(t *testing.T) answer {
			token := capture(t, "alice", "/expenses")
			return direct(t, "/expenses", "alice", host, filter(token[:len(token)-1]))
		},
	} {
		t.Run("refused: "+name, func(t *testing.T) { refused(t, send(t)) })
	}
	t.Run("of another kind", func(t *testing.T) {
		a := direct(t, "/expenses", "alice", host, filter(capture(t, "alice", "/expenses", "x-kind: other")))
		if a.status != http.StatusInternalServerError || strings.Contains(a.body, "amount") {
			t.Errorf("answered %d %s, want 500", a.status, a.body)
		}
	})
}

// widened gives a token that says all rows may be seen: with the signature that
// it had, or signed anew by another key.
func widened(t *testing.T, token string, signed bool) string {
	t.Helper()
	parts := strings.Split(token, ".")
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(content, &claims); err != nil {
		t.Fatal(err)
	}
	claims["flt"] = map[string]string{"kind": "KIND_ALWAYS_ALLOWED"}
	input := parts[0] + "." + base64.RawURLEncoding.EncodeToString(encode(claims))
	if !signed {
		return input + "." + parts[2]
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(input)))
}
