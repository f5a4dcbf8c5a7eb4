package e2e

import (
	"strings"
	"testing"
)

// TestEnvoyAsksOverHTTP confirms what the HTTP variant of ext_authz sends, and
// what it makes of the answers.
func TestEnvoyAsksOverHTTP(t *testing.T) {
	service := func(more string) string {
		return "{grpc_service: null, http_service: {server_uri: {uri: http://authz, cluster: http, timeout: 10s}" + more + "}}"
	}
	closed := func(more string) string {
		return strings.TrimSuffix(service(""), "}") + ", " + more + "}"
	}
	l := startLab(t,
		door{name: "plain", authz: service("")},
		door{name: "prefix", authz: service(", path_prefix: /ext")},
		door{name: "override", authz: service(", path_override: /decide")},
		door{name: "open", authz: closed("failure_mode_allow: true")},
		door{name: "503", authz: closed("status_on_error: {code: ServiceUnavailable}")},
		door{name: "all headers", authz: closed("allowed_headers: {patterns: [{safe_regex: {regex: '.*'}}]}")},
		door{name: "body", authz: closed("with_request_body: {max_request_bytes: 10}")},
		door{name: "added", authz: service(", authorization_request: {headers_to_add: [{key: x-via, value: edge}]}")},
		door{name: "answers", authz: service(`, authorization_response: {allowed_upstream_headers: {patterns: [{prefix: x-edict-}]}, allowed_upstream_headers_to_append: {patterns: [{exact: x-more}]},
allowed_client_headers: {patterns: [{exact: x-client}]}, allowed_client_headers_on_success: {patterns: [{exact: x-success}]}, dynamic_metadata_from_headers: {patterns: [{prefix: x-edict-}]}}`)},
	)
	// seen gives what the authorizer was sent, in the place of the upstream.
	ask := func(p probe, status string, says ...string) (authorizer []*reached, seen []string) {
		l.http.mu.Lock()
		l.http.status, l.http.says, l.http.got = status, says, nil
		l.http.mu.Unlock()
		e := l.probe(t, p)
		return l.http.all(), l.seen(t, e, p.want)
	}
	for _, tt := range []struct {
		probe
		status  string   // of the authorizer's answer
		headers []string // further ones of it
		sent    []string // what it was sent, as lines of a probe's upstream
	}{
		{probe: probe{name: "method, path and host", door: "plain", line: "PUT /a%2fb/../c?d=e HTTP/1.1", lines: []string{"Host: Lab.example:81", "Authorization: Bearer x", "x-a: 1", "Cookie: a=b"}, want: []string{"answered: 200"}},
			sent: []string{"upstream: PUT /a%2fb/../c?d=e", "upstream.host: Lab.example:81", "upstream.authorization: Bearer x", "upstream.content-length: 0", "!upstream.x-a", "!upstream.cookie", "!upstream.x-request-id"}},
		{probe: probe{name: "a prefix", door: "prefix", line: "GET //a?b HTTP/1.1"}, sent: []string{"upstream: GET /ext//a?b"}},
		{probe: probe{name: "one path for all", door: "override", line: "GET /a?b HTTP/1.1"}, sent: []string{"upstream: GET /decide"}},
		{probe: probe{name: "headers that are admitted", door: "all headers", lines: []string{"x-a: 1", "x-a: 2", "X-Original-URL: /admin"}},
			sent: []string{"upstream.x-a: 1,2", "upstream.x-original-url: /admin"}},
		{probe: probe{name: "a header that is added", door: "added", lines: []string{"x-via: client"}}, sent: []string{"upstream.x-via: edge"}},
		{probe: probe{name: "a body", door: "body", line: "POST / HTTP/1.1", body: "1\xff"}, sent: []string{"upstream body: 1\xff", "upstream.content-length: 2"}},
		{probe: probe{name: "x-forwarded-for of a client is not sent", door: "plain", lines: []string{"X-Forwarded-For: 10.0.0.1"}}, sent: []string{"!upstream.x-forwarded-proto"}},

		{probe: probe{name: "200 passes", door: "plain", want: []string{"answered: 200", "upstream: GET /"}}},
		{probe: probe{name: "201 does not", door: "plain", want: []string{"answered: 201", "upstream: nothing"}}, status: "201 Created"},
		{probe: probe{name: "204 does not", door: "plain", want: []string{"answered: 204", "upstream: nothing"}}, status: "204 No Content"},
		{probe: probe{name: "302 with a location", door: "plain", want: []string{"answered: 302", "answer.location: /login", "upstream: nothing"}}, status: "302 Found", headers: []string{"location: /login"}},
		{probe: probe{name: "403 with its body and headers", door: "plain", want: []string{"answered: 403", "answer body: ok", "answer.x-b: 1", "upstream: nothing", "log.details: ext_authz_denied"}}, status: "403 Forbidden", headers: []string{"x-b: 1"}},
		{probe: probe{name: "403 although failures allow", door: "open", want: []string{"answered: 403", "upstream: nothing"}}, status: "403 Forbidden"},
		{probe: probe{name: "500 is a failure", door: "503", want: []string{"answered: 503", "upstream: nothing", "log.details: ext_authz_error"}}, status: "500 Oops"},
		{probe: probe{name: "503 passes where failures allow", door: "open", want: []string{"answered: 200", "upstream: GET /"}}, status: "503 Oops"},

		{probe: probe{name: "headers of an allow go nowhere by default", door: "plain", want: []string{"!upstream.x-edict-a", "!answer.x-edict-a"}}, headers: []string{"x-edict-a: 1"}},
		{probe: probe{name: "headers of an allow that are admitted", door: "answers", lines: []string{"x-edict-a: mine", "x-edict-a: too", "x-more: 1"},
			want: []string{"upstream.x-edict-a: 1", "upstream.x-more: 1", "upstream.x-more: 2", "answer.x-success: yes", "!answer.x-client", `log.metadata.x-edict-a: "1"`}},
			headers: []string{"x-edict-a: 1", "x-more: 2", "x-success: yes", "x-client: no"}},
		{probe: probe{name: "headers that are removed", door: "answers", lines: []string{"x-a: 1", "x-b: 2", "x-c: 3"}, want: []string{"!upstream.x-a", "!upstream.x-b", "upstream.x-c: 3"}},
			headers: []string{"x-envoy-auth-headers-to-remove: x-a, x-b"}},
		{probe: probe{name: "headers of a denial that are admitted", door: "answers", want: []string{"answered: 302", "answer.x-client: yes", "answer.location: /login", "!answer.x-other"}},
			status: "302 Found", headers: []string{"x-client: yes", "location: /login", "x-other: no"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			authorizer, seen := ask(tt.probe, tt.status, tt.headers...)
			checkSeen(t, seen, tt.want)
			if len(authorizer) != 1 {
				t.Fatalf("Envoy asked %d times", len(authorizer))
			}
			checkSeen(t, l.seen(t, event{reached: authorizer}, nil), tt.sent)
		})
	}
}
