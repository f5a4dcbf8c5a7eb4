package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// answerPolicy allows reading, and tells more than yes or no.
const answerPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: answer
  version: default
  rules:
    - name: readers
      actions: [read]
      effect: EFFECT_ALLOW
      roles: ["*"]
      output: {when: {ruleActivated: '{"tier": has(P.attr.tier) ? P.attr.tier : "free", "left": 3, "list": [1, true, null]}'}}
    - name: quota
      actions: [write]
      effect: EFFECT_DENY
      roles: ["*"]
      output: {when: {ruleActivated: '{"status": 429, "why": "<later> 100% \u00e4", "wait": "7"}'}}
`

// answerRoutes shape the answers to requests below /answers, and to gRPC calls.
const answerRoutes = `apiVersion: edict.dev/v1
routeMap:
  name: answers
  hosts: ["*"]
  routes:
    - name: up
      match: {path: /answers/up}
      resource: {kind: answer, id: x}
      action: read
      onAllow:
        headers:
          x-tenant: {expr: 'claims.?tenant'}
          x-name: {value: {expr: 'claims.?name'}, encode: percent}
          x-tier: {expr: decision.outputs.readers.tier}
          x-constant: "1"
          x-append: {value: edict, action: append}
          x-absent: {value: edict, action: addIfAbsent}
          x-exists: {value: edict, action: overwriteIfExists}
        removeHeaders: [cookie]
        setQuery: {tenant: {expr: 'claims.?tenant.orValue("a b&c=d+e%/ä")'}}
        removeQuery: [debug]
    - name: plain-query
      match: {path: /answers/plain-query}
      resource: {kind: answer, id: x}
      action: read
      onAllow: {setQuery: {tenant: acme}, removeQuery: [debug]}
    - name: reserved
      match: {path: /answers/edict-header}
      resource: {kind: answer, id: x}
      action: read
      onAllow: {headers: {x-edict-tenant: {expr: principal.id}}}
    - name: down
      match: {path: /answers/down}
      resource: {kind: answer, id: x}
      action: read
      onAllow:
        responseHeaders:
          x-new: {expr: 'claims.?tenant.orValue("new")'}
          x-none: {expr: 'claims.?none'}
          content-type: {value: text/plain, action: addIfAbsent}
          content-language: {value: en, action: overwriteIfExists}
          x-absent: {value: edict, action: addIfAbsent}
          x-missing: {value: edict, action: overwriteIfExists}
          x-more: {value: edict, action: append}
    - name: metadata
      match: {path: /answers/metadata}
      resource: {kind: answer, id: x}
      action: read
      onAllow: {metadata: {tier: {expr: decision.outputs.readers.tier}, nested: {expr: 'claims.?deep.orValue({"a": [1.5, {"b": null}]})'}}}
    - name: write
      match: {path: /answers/write}
      resource: {kind: answer, id: x}
      action: write
      onDeny:
        deny:
          status: {expr: decision.outputs.quota.status}
          headers: {retry-after: {expr: decision.outputs.quota.wait}, x-claim: {expr: 'claims.?tenant'}, set-cookie: "denied=1"}
          problem: {type: "https://example.com/quota", detail: {expr: decision.outputs.quota.why}, members: {left: 0}}
          text: {expr: decision.outputs.quota.why}
          html: {template: "<p title=\"{{.why}}\">{{.why}}</p>", values: {why: {expr: decision.outputs.quota.why}}}
    - name: hidden
      match: {path: /answers/hidden}
      resource: {kind: answer, id: x}
      action: write
      onDeny: {default: {hide: true}}
    - name: broken
      match: {path: /answers/broken}
      resource: {kind: answer, id: x}
      action: write
      onDeny: {default: {status: 410, headers: {x-a: {expr: claims.nothing}}}}
    - name: page
      match: {path: "/pages/**"}
      resource: {kind: answer, id: x}
      action: read
    - name: call
      match: {grpc: {service: demo.v1.Answers, method: "*"}}
      resource: {kind: answer, id: x}
      action: write
      onDeny:
        default:
          status: {expr: 'path.method == "Hidden" ? 404 : path.method == "Quota" ? 429 : path.method == "Odd" ? 200 : 403'}
          message: {expr: decision.outputs.quota.why}
          html: <p>never
`

// answerConfig is what the tests add to the demo's configuration.
const answerConfig = `
  decisionHeader: x-edict-decision
respond:
  decisionHeader: x-decision
  metadata: {keys: [effect, reason, revision, route, decision_id, principal, action, policy, rule, roles, outputs]}
  onDeny:
    unauthenticated: {redirect: {to: "https://login.example.com/start?app=1", next: return_to}}
`

// newAnswerRig prepares the demo with these routes.
func newAnswerRig(t *testing.T, edits ...edit) *rig {
	t.Helper()
	r := newRig(t, concat(patient, edits)...)
	r.write(t, "policies/answer.yaml", answerPolicy)
	r.write(t, "envoy/routes/answers.yaml", answerRoutes)
	r.edit(t, "envoy/edict.yaml", edit{"  rolesHeader: x-edict-roles\n", "  rolesHeader: x-edict-roles" + answerConfig})
	return r
}

func (r *rig) startAll(t *testing.T, args ...string) {
	t.Helper()
	r.startBackend(t)
	r.startEdict(t, args...)
	r.startEnvoy(t)
	r.waitServing(t)
}

// filterOf gives a filter of Envoy that a page of the documentation shows.
func filterOf(t *testing.T, page, name string) string {
	t.Helper()
	text := readFile(t, filepath.Join(tools.root, page))
	for i, part := range strings.Split(text, "```") {
		if i%2 == 1 && strings.Contains(part, "- name: "+name+"\n") {
			_, block, _ := strings.Cut(part, "\n")
			return "                  " + strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n                  ") + "\n"
		}
	}
	t.Fatalf("%s shows no %s", page, name)
	return ""
}

// metadataOf waits for what Envoy's access log has of a request's metadata.
func (r *rig) metadataOf(t *testing.T, id string) (found map[string]any) {
	t.Helper()
	if id == "" {
		t.Fatal("the answer has no x-request-id to look for in the access log")
	}
	eventually(t, "the line of request "+id+" in Envoy's access log", func() error {
		for line := range strings.Lines(readFile(t, r.envoy.out)) {
			var l struct {
				ID    string
				Edict struct {
					All map[string]any `json:"tested_all"`
				}
			}
			if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &l) == nil && l.ID == id {
				found = l.Edict.All
				return nil
			}
		}
		return errors.New("it is not there")
	})
	return found
}

// TestResponses shows what onAllow and onDeny do in the real Envoy, which is
// set to let requests pass where Edict fails: nothing that a client or a policy
// says may bring that about.
func TestResponses(t *testing.T) {
	needTools(t)
	rbac := filterOf(t, "docs/responses.md", "envoy.filters.http.rbac")
	limit := apply(t, "the rate limit of docs/responses.md", filterOf(t, "docs/responses.md", "envoy.filters.http.local_ratelimit"),
		edit{"{max_tokens: 10, tokens_per_fill: 10, fill_interval: 1s}", "{max_tokens: 2, tokens_per_fill: 2, fill_interval: 3600s}"})
	const before = "                  # ---- 3. Forward what was allowed"
	const body = "                        # All else: no policy reads the body"
	r := newAnswerRig(t,
		edit{"failure_mode_allow: false ", "failure_mode_allow: true "},
		edit{"validate_mutations: true ", "validate_mutations: false "},
		edit{`"^x-edict-[a-z0-9-]+$"`, `"^(x-[a-z0-9-]+|cookie)$"`},
		edit{before, rbac + limit + before},
		edit{"tested_revision:", `tested_all: "%DYNAMIC_METADATA(envoy.filters.http.ext_authz)%"` + "\n                            tested_revision:"},
		// A route on which somebody turned Edict off.
		edit{body, `                        - match: {path: /unjudged}
                          route: {cluster: expenses}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
` + body},
	)
	r.startAll(t, "--set", "log.level=debug")
	token := func(changes map[string]any) string { return "Bearer " + r.issuer.sign(claims("alice", changes)) }
	ask := func(t *testing.T, path, authorization string, headers ...string) answer {
		t.Helper()
		q := request{path: path, header: http.Header{}}
		if authorization != "" {
			q.header.Set("Authorization", authorization)
		}
		for _, h := range headers {
			name, v, _ := strings.Cut(h, ": ")
			q.header.Add(name, v)
		}
		return r.send(t, q)
	}
	alice := token(nil)

	t.Run("headers and parameters for the backend", func(t *testing.T) {
		mark := r.mark(t)
		got := ask(t, "/answers/up?x=1&tenant=evil&%74enant=worse&tenan%74&debug=1&%64ebug=2&y", token(map[string]any{"name": "Zoë 100%"}),
			"x-tenant: forged", "x-append: mine", "x-absent: mine", "x-exists: mine", "cookie: a=b", "x-constant: forged")
		if got.status == http.StatusForbidden {
			t.Fatalf("denied: %s", got.body)
		}
		seen := r.requests(t, mark)[0]
		for name, want := range map[string][]string{
			"x-tenant": nil, "x-name": {"Zo%C3%AB%20100%25"}, "x-tier": {"free"}, "x-constant": {"1"}, "x-append": {"mine,edict"},
			"x-absent": {"mine"}, "x-exists": {"edict"}, "cookie": nil, "x-edict-principal": {"alice"}, "x-edict-decision": {got.header.Get("X-Decision")},
		} {
			if v := seen.values(name); !slices.Equal(v, want) {
				t.Errorf("%s is %q, want %q", name, v, want)
			}
		}
		query, err := url.ParseQuery(seen.Query)
		if err != nil || !slices.Equal(query["tenant"], []string{"a b&c=d+e%/ä"}) || query.Has("debug") || query.Get("x") != "1" || !query.Has("y") || len(query) != 3 {
			t.Errorf("the backend has the query %q: %v, %v", seen.Query, query, err)
		}
		// Without those headers.
		mark = r.mark(t)
		ask(t, "/answers/up", token(map[string]any{"tenant": "acme"}))
		seen = r.requests(t, mark)[0]
		for name, want := range map[string][]string{"x-tenant": {"acme"}, "x-append": {"edict"}, "x-absent": {"edict"}, "x-exists": nil, "x-name": nil} {
			if v := seen.values(name); !slices.Equal(v, want) {
				t.Errorf("%s is %q, want %q", name, v, want)
			}
		}
		if seen.Query != "tenant=acme" {
			t.Errorf("the query is %q", seen.Query)
		}
	})

	t.Run("headers for the client", func(t *testing.T) {
		got := ask(t, "/answers/down", alice)
		for name, want := range map[string][]string{
			"X-New": {"new"}, "X-None": nil, "Content-Type": {"application/json"}, "X-Absent": {"edict"}, "X-Missing": nil, "X-More": {"edict"},
		} {
			if v := got.header.Values(name); !slices.Equal(v, want) {
				t.Errorf("%s is %q, want %q", name, v, want)
			}
		}
		if len(got.header.Values("X-Decision")) != 1 {
			t.Errorf("the decision is %q", got.header.Values("X-Decision"))
		}
	})

	t.Run("what claims smuggle", func(t *testing.T) {
		deep := any("x")
		for range 40 {
			deep = map[string]any{"a": deep}
		}
		for name, c := range map[string]struct {
			path  string
			claim string
			value any
		}{
			"line break up":       {"/answers/up", "tenant", "a\r\nx-edict-principal: bob"},
			"line feed up":        {"/answers/up", "tenant", "a\nb"},
			"NUL up":              {"/answers/up", "tenant", "a\x00b"},
			"beyond ASCII up":     {"/answers/up", "tenant", "ä"},
			"too long up":         {"/answers/up", "tenant", strings.Repeat("x", 5000)},
			"encoded line break":  {"/answers/up", "name", "a\r\nb"},
			"not a text up":       {"/answers/up", "tenant", map[string]any{"a": 1}},
			"line break down":     {"/answers/down", "tenant", "a\r\nset-cookie: admin=1"},
			"metadata too deep":   {"/answers/metadata", "deep", deep},
			"a list in the query": {"/answers/up", "tenant", []any{"a", "b"}},
		} {
			mark := r.mark(t)
			got := ask(t, c.path, token(map[string]any{c.claim: c.value}))
			if got.status != http.StatusForbidden || len(got.header.Values("Set-Cookie")) > 0 {
				t.Errorf("%s: answered %d %v", name, got.status, got.header)
			}
			if n := len(r.requests(t, mark)); n > 0 {
				t.Errorf("%s: the backend was reached", name)
			}
			if all := r.metadataOf(t, got.header.Get("X-Request-Id")); all["reason"] != "bad_answer" || all["effect"] != "deny" {
				t.Errorf("%s: the access log has %v", name, all)
			}
		}
		got := ask(t, "/answers/write", token(map[string]any{"tenant": "a\r\nset-cookie: admin=1"}))
		if cookies := got.header.Values("Set-Cookie"); got.status != http.StatusTooManyRequests || !slices.Equal(cookies, []string{"denied=1"}) || got.header.Get("X-Claim") != "" {
			t.Errorf("a denial with a bad header: %d %v", got.status, got.header)
		}
	})

	t.Run("forms of a denial", func(t *testing.T) {
		for _, c := range []struct{ accept, contentType, body string }{
			{"application/json", "application/problem+json", `{"type":"https://example.com/quota","title":"Too Many Requests","status":429,"detail":"\u003clater\u003e 100% ä","left":0}` + "\n"},
			{"text/html,*/*;q=0.8", "text/html; charset=utf-8", `<p title="&lt;later&gt; 100% ä">&lt;later&gt; 100% ä</p>`},
			{"text/plain", "text/plain; charset=utf-8", "<later> 100% ä"},
		} {
			got := ask(t, "/answers/write", alice, "accept: "+c.accept)
			if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "7" || got.header.Get("Content-Type") != c.contentType || got.body != c.body || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v\n%s", c.accept, got.status, got.header, got.body)
			}
		}
		if got := ask(t, "/answers/hidden", alice); got.status != http.StatusNotFound || got.body != `{"title":"Not Found","status":404}`+"\n" {
			t.Errorf("hidden: %d %s", got.status, got.body)
		}
		if got := ask(t, "/answers/hidden", ""); got.status != http.StatusNotFound || got.header.Get("WWW-Authenticate") != "" {
			t.Errorf("hidden from nobody: %d %v", got.status, got.header)
		}
		if got := ask(t, "/answers/broken", alice); got.status != http.StatusForbidden {
			t.Errorf("an expression that fails: %d %s", got.status, got.body)
		} else {
			checkProblem(t, got)
		}
	})

	t.Run("redirects", func(t *testing.T) {
		const html = "accept: text/html"
		got := ask(t, "/pages/a%20b?token=s3cret", "", html)
		if want := "https://login.example.com/start?app=1&return_to=%2Fpages%2Fa%2520b"; got.status != http.StatusFound || got.header.Get("Location") != want {
			t.Errorf("%d to %q, want %q", got.status, got.header.Get("Location"), want)
		}
		if got := ask(t, "/pages/a", ""); got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") != "Bearer" || got.header.Get("Location") != "" {
			t.Errorf("not a browser: %d %v", got.status, got.header)
		}
		for _, path := range []string{"//evil.example", "///evil.example", `/\evil.example`, `/\/evil.example`, "/%2fevil.example", "/%2Fevil.example/..", "/%5cevil.example",
			"/pages/..//evil.example", "/pages/%0d%0aset-cookie:%20a=b", "/pages/%09/evil", "https://evil.example/pages/x", "/.//evil.example", "/;/evil.example", "/pages/a%00"} {
			for _, a := range r.sendRaw(t, office, []byte("GET "+path+" HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n"), 1) {
				location := a.header.Get("Location")
				if a.status < 300 || a.status < 400 && location == "" || len(a.header.Values("Set-Cookie")) > 0 {
					t.Errorf("%s: %d %v", path, a.status, a.header)
				}
				if location == "" {
					continue
				}
				u, err := url.Parse(location)
				if err != nil || u.Host != "login.example.com" {
					t.Fatalf("%s: it leads to %q", path, location)
				}
				if next := u.Query().Get("return_to"); next != "" && (!strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t")) {
					t.Errorf("%s: the way back is %q", path, next)
				}
			}
		}
	})

	t.Run("gRPC", func(t *testing.T) {
		conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(r.port), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for method, want := range map[string]struct {
			code    codes.Code
			message string
			as      string
		}{
			"Other": {codes.PermissionDenied, "<later> 100% ä", alice}, "Hidden": {codes.NotFound, "<later> 100% ä", alice}, "Quota": {codes.ResourceExhausted, "<later> 100% ä", alice},
			"Odd": {codes.PermissionDenied, "forbidden", alice}, "Nobody": {codes.Unauthenticated, "unauthorized", ""},
		} {
			ctx := metadata.AppendToOutgoingContext(soon(t), "accept", "text/html")
			if want.as != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", want.as)
			}
			s := status.Convert(conn.Invoke(ctx, "/demo.v1.Answers/"+method, &emptypb.Empty{}, &emptypb.Empty{}))
			if s.Code() != want.code || s.Message() != want.message {
				t.Errorf("%s: the client gets %v %q, want %v %q", method, s.Code(), s.Message(), want.code, want.message)
			}
		}
	})

	t.Run("metadata", func(t *testing.T) {
		mark := r.mark(t)
		got := ask(t, "/answers/metadata", token(map[string]any{"tier": "paid"}))
		all := r.metadataOf(t, got.header.Get("X-Request-Id"))
		delete(all, "ext_authz_duration") // Envoy's own
		id, _ := all["decision_id"].(string)
		if id == "" || got.header.Get("X-Decision") != id || !slices.Equal(r.requests(t, mark)[0].values("x-edict-decision"), []string{id}) {
			t.Errorf("the decision is %q to the log, %q to the client, %q to the backend", id, got.header.Get("X-Decision"), r.requests(t, mark)[0].values("x-edict-decision"))
		}
		eventually(t, "the decision in Edict's log", func() error {
			if !strings.Contains(readFile(t, r.edict.out), id) && !strings.Contains(r.edict.tail(), id) {
				return errors.New("it is not there")
			}
			return nil
		})
		readiness, err := r.readiness()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"effect": "allow", "reason": "allow", "revision": readiness.Revision, "route": "answers/metadata", "decision_id": id, "principal": "alice",
			"action": "read", "policy": "resource.answer.vdefault", "rule": "readers", "roles": []any{"employee"}, "tier": "paid",
			"outputs": map[string]any{"readers": map[string]any{"tier": "paid", "left": 3.0, "list": []any{1.0, true, nil}}},
			"nested":  map[string]any{"a": []any{1.5, map[string]any{"b": nil}}},
		}
		if fmt.Sprint(all) != fmt.Sprint(want) {
			t.Errorf("the access log has\n%v, want\n%v", all, want)
		}
	})

	t.Run("rate limits by metadata", func(t *testing.T) {
		for tier, want := range map[string][]int{"free-2": {404, 404, 404, 404}, "free": {404, 404, 429, 429}} {
			for i, status := range want {
				if got := ask(t, "/answers/metadata", token(map[string]any{"tier": tier})); got.status != status {
					t.Errorf("request %d of the tier %s is answered with %d, want %d", i+1, tier, got.status, status)
				}
			}
		}
	})

	t.Run("RBAC by metadata", func(t *testing.T) {
		mark := r.mark(t)
		if got := ask(t, "/unjudged", alice); got.status != http.StatusForbidden || len(r.requests(t, mark)) > 0 {
			t.Errorf("a route without Edict is answered with %d", got.status)
		}
		if got := ask(t, "/whoami", alice); got.status != http.StatusOK {
			t.Errorf("what Edict allows is answered with %d", got.status)
		}
	})
}

// TestResponsesUnderTheDemosRules shows which answers Envoy refuses under the
// rules that the demo sets for changes of requests.
func TestResponsesUnderTheDemosRules(t *testing.T) {
	r := newAnswerRig(t)
	r.edit(t, "envoy/edict.yaml", edit{"metadata: {keys: [effect, reason, revision, route, decision_id, principal, action, policy, rule, roles, outputs]}", "metadata: {prefix: edge_}\n  detail: full"})
	r.edit(t, "envoy/envoy.yaml", edit{"ext_authz:rule)", "ext_authz:edge_rule)"})
	r.startAll(t)
	for path, want := range map[string]int{
		"/answers/edict-header":                       404, // the backend's, which has no such page
		"/answers/plain-query?a=1&debug=1&%74enant=x": 404,
		"/answers/up":                                 500, // headers of other names, and a parameter with %
	} {
		mark := r.mark(t)
		got := r.send(t, request{as: "alice", path: path})
		if got.status != want {
			t.Errorf("%s: answered %d, want %d", path, got.status, want)
		}
		reached := r.requests(t, mark)
		if (len(reached) > 0) != (want == 404) {
			t.Errorf("%s: %d requests reached the backend", path, len(reached))
			continue
		}
		switch {
		case path == "/answers/edict-header" && !slices.Equal(reached[0].values("x-edict-tenant"), []string{"alice"}):
			t.Errorf("the backend is told %v", reached[0].Headers)
		case strings.HasPrefix(path, "/answers/plain") && reached[0].Query != "a=1&tenant=acme":
			t.Errorf("the backend has the query %q", reached[0].Query)
		}
		if got.status == 404 {
			if rule := r.logged(t, got.header.Get("X-Request-Id")).Edict.Rule; rule != "readers" {
				t.Errorf("%s: under the prefix the rule is %q", path, rule)
			}
		}
	}
	got := r.send(t, request{as: "alice", path: "/nowhere"})
	if got.status != http.StatusForbidden || !strings.Contains(got.body, `"reason":"no_route"`) {
		t.Errorf("in full detail: %d %s", got.status, got.body)
	}
}
