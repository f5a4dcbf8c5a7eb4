package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(0, 0)

func TestDecisionsAreLogged(t *testing.T) {
	s := newServed(t)
	s.start("log.level=debug")
	for i, test := range []struct {
		question question
		want     entry
	}{
		{question{path: "/thing?x=1", roles: []any{"user"}, headers: []string{"x-request-id: r-1"}}, entry{
			"outcome": "allow", "route": "things/thing", "principal": "alice", "provenance": "verified-jwt", "kind": "thing", "resource": "one",
			"method": "GET", "path": "/thing", "requestId": "r-1", "action": "a", "effect": "EFFECT_ALLOW", "reason": "allowed",
			"policy": "resource.thing.vdefault", "rule": "users-a", "at": filepath.Join(s.dir, "policies/thing.yaml") + ":6:7",
		}},
		{question{path: "/other", roles: []any{"user"}}, entry{
			"outcome": "deny", "route": "things/other", "principal": "alice", "resource": "two", "action": "other", "effect": "EFFECT_DENY", "reason": "no_rule", "rule": nil,
		}},
		{question{path: "/nowhere", roles: []any{"user"}}, entry{"outcome": "no_route", "path": "/nowhere", "route": "", "action": nil}},
		{question{path: "/thing"}, entry{"outcome": "no_identity", "route": "things/thing", "principal": "", "provenance": "none"}},
		{question{path: "/a/../thing", roles: []any{"user"}}, entry{"outcome": "bad_request", "detail": "dot_segment"}},
	} {
		s.ask(test.question)
		got := s.log.await(t, logCheck, i+1)
		if got.text("level") != "debug" || got.text("revision") == "" || len(got.text("decision")) != 36 {
			t.Errorf("%s: %v", test.question.path, got)
		}
		for k, v := range test.want {
			if got[k] != v {
				t.Errorf("%s: %s is %v, want %v", test.question.path, k, got[k], v)
			}
		}
	}
}

func TestDecisionsAreNotLoggedUnlessAsked(t *testing.T) {
	s := newServed(t)
	s.start()
	s.answers(aliceAsks, "allow", 200)
	s.stop()
	s.ended()
	if n := len(s.log.entries(logCheck)); n > 0 {
		t.Errorf("%d checks were logged", n)
	}
}

// What clients keep secret is in no log, whatever becomes of the check. The
// routes and the policy do all they can to make it part of an error.
func TestNoTokenInLogs(t *testing.T) {
	const secretPolicy = `apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: secret
  version: default
  rules:
    - name: fails
      actions: [use]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: {match: {expr: 'timestamp(R.attr.secret) < now() || {"x": 1}[R.attr.secret] == 1 || now().getHours(R.attr.secret) == 1'}}
`
	expressions := []string{
		`string(int(%s))`, `string(timestamp(%s))`, `string(duration(%s))`, `string({"x": 1}[%s])`, `string(double(%s))`,
		`string(request.time.getHours(%s))`, `string("x".matches("(" + %[1]s))`, `string(%s.inIPAddrRange("10.0.0.0/8"))`, `dyn(%s).x`, `dyn([1])[%s]`,
	}
	sources := []string{`request.headers.authorization`, `request.headers.cookie`, `request.query.token`, `request.headers[":path"]`, `request.body.secret`}
	var b strings.Builder
	b.WriteString("apiVersion: edict.dev/v1\nrouteMap:\n  name: secrets\n  routes:\n")
	var paths []string
	for i, e := range expressions {
		for j, source := range sources {
			path := fmt.Sprintf("/%d/%d", i, j)
			paths = append(paths, path)
			fmt.Fprintf(&b, "    - name: r%d-%d\n      match: {methods: [POST], path: %s}\n      anonymous: true\n      action: use\n", i, j, path)
			fmt.Fprintf(&b, "      resource: {kind: secret, id: x, attributes: {secret: {expr: '%s'}}}\n", fmt.Sprintf(e, source))
		}
	}
	for j, source := range sources {
		path := fmt.Sprintf("/plain/%d", j)
		paths = append(paths, path)
		fmt.Fprintf(&b, "    - name: plain-%d\n      match: {methods: [POST], path: %s}\n      anonymous: true\n      action: use\n", j, path)
		fmt.Fprintf(&b, "      resource: {kind: secret, id: x, attributes: {secret: {expr: '%s'}}}\n", source)
	}
	s := newServed(t)
	s.remove("policies/thing.yaml")
	s.write("policies/secret.yaml", secretPolicy)
	s.write("routes/things.yaml", b.String())
	s.start("log.level=trace")

	headers := []string{"authorization: Bearer s3cret-token", "cookie: session=s3cret-cookie", "content-type: application/json"}
	const query = "?token=s3cret-query"
	var asked []question
	for _, path := range paths {
		for _, roles := range [][]any{nil, {"user"}} {
			asked = append(asked,
				question{method: "POST", path: path + query, roles: roles, headers: headers[1:], body: `{"secret": "s3cret-body"}`},
				question{method: "POST", path: path + query, roles: roles, headers: headers, body: `{"secret": "s3cret-body"}`},
				question{method: "POST", path: path + query, roles: roles, headers: headers, body: `{"secret": s3cret-body`})
		}
	}
	for _, path := range []string{"/nowhere" + query, "/0/0" + query + "#s3cret-fragment", "/a/../b" + query, "//x" + query, "/%zz" + query, "/0/2?token=s3cret-query&token=s3cret-query",
		"/0/2?s3cret-query=%zz", "https://alice:s3cret-password@api.example.test/0/0" + query, "/0/0;" + query} {
		asked = append(asked, question{method: "POST", path: path, roles: []any{"user"}, headers: headers})
	}
	asked = append(asked,
		question{method: "POST", path: "/0/0" + query, roles: []any{"user"}, headers: append(slices.Clone(headers), headers[0])},
		question{method: "POST", path: "/0/0" + query, roles: []any{map[string]any{"s3cret-claim": 1}}, headers: headers},
		question{method: "POST", path: "/0/0" + query, roles: []any{"user"}, headers: append(slices.Clone(headers), "connection: s3cret-option")})
	outcomes := map[string]int{}
	for _, q := range asked {
		reason, status := s.ask(q)
		outcomes[reason]++
		if status == 200 {
			t.Errorf("%s %s: allowed", q.method, q.path)
		}
	}
	s.log.await(t, logCheck, len(asked))
	for _, line := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(line, "s3cret") {
			t.Errorf("a secret is in the log: %s", line)
		}
	}
	// The secrets were where they could have come from.
	for _, want := range []string{"unmappable", "deny", "no_route", "bad_request", "bad_token", "bad_identity", "body_malformed"} {
		if outcomes[want] == 0 {
			t.Errorf("no check ended with %s: %v", want, outcomes)
		}
	}
	reasons := map[any]int{}
	for _, e := range s.log.entries(logCheck) {
		reasons[e["reason"]]++
	}
	if reasons["condition_error"] == 0 {
		t.Errorf("no condition failed: %v", reasons)
	}
}

func TestOwnWords(t *testing.T) {
	cause := errors.New("parsing \"s3cret\"")
	for _, test := range []struct {
		err  error
		want string
	}{
		{errors.New("the claim roles is not a list"), "the claim roles is not a list"},
		{fmt.Errorf("the attribute owner: %w", cause), "the attribute owner"},
		{fmt.Errorf("the attribute owner: %w", fmt.Errorf("deeper: %w", cause)), "the attribute owner"},
		{fmt.Errorf("before %w after", cause), ""},
		{fmt.Errorf("%w", cause), ""},
		{errors.Join(errors.New("a"), cause), ""},
	} {
		if got := ownWords(test.err); got != test.want {
			t.Errorf("%q: got %q, want %q", test.err, got, test.want)
		}
	}
}
