package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// These tests confirm what Envoy makes of each field of a CheckResponse. What
// they show is written down in docs/envoy.md.

// TestEnvoyObeysTheStatus goes through all shapes of an answer, past a filter
// that fails closed, one that fails open, and one that tells the upstream so.
func TestEnvoyObeysTheStatus(t *testing.T) {
	const nobody = "grpc_service: {envoy_grpc: {cluster_name: nobody}}"
	l := startLab(t,
		door{name: "closed"},
		door{name: "503", authz: "status_on_error: {code: ServiceUnavailable}"},
		door{name: "open", authz: "{failure_mode_allow: true, status_on_error: {code: ServiceUnavailable}}"},
		door{name: "open and told", authz: "{failure_mode_allow: true, failure_mode_allow_header_add: true}"},
		door{name: "nobody", authz: nobody},
		door{name: "nobody, 503", authz: "{" + nobody + ", status_on_error: {code: ServiceUnavailable}}"},
		door{name: "nobody, open", authz: "{" + nobody + ", failure_mode_allow: true}"},
		door{name: "nobody, open and told", authz: "{" + nobody + ", failure_mode_allow: true, failure_mode_allow_header_add: true}"},
	)
	const (
		denial  = `denied_response {status {code: NotFound} headers {header {key: "x-a" value: "denied"}} body: "no"}`
		ok      = `ok_response {headers {header {key: "x-a" value: "ok"}} response_headers_to_add {header {key: "x-b" value: "ok"}} dynamic_metadata {fields {key: "k" value {string_value: "ok"}}}}`
		failure = `error_response {status {code: BadGateway} headers {header {key: "x-a" value: "failed"}} body: "sick"}`
		bare    = `error_response {}`
	)
	type shape struct {
		name   string
		answer *authv3.CheckResponse
		err    error
		// What becomes of it: closed, with a status for errors, and open.
		closed, onError, open []string
	}
	passes := []string{"answered: 200", "log.details: via_upstream", "!upstream.x-envoy-auth-failure-mode-allowed"}
	failed := func(status string) []string {
		return []string{"answered: " + status, "upstream: nothing", "answer body: ", "log.details: ext_authz_error", "log.flags: UAEX"}
	}
	denies := func(status, body string) []string {
		return []string{"answered: " + status, "answer body: " + body, "upstream: nothing", "log.details: ext_authz_denied", "log.flags: UAEX"}
	}
	same := func(name, reply string, want []string) shape {
		return shape{name, parse(t, reply), nil, want, want, want}
	}
	fails := func(name string, err error) shape {
		return shape{name, nil, err, failed("403"), failed("503"), passes}
	}
	shapes := []shape{
		same("nothing at all", "", append(passes, "!upstream.x-a")),
		same("an empty status", "status {}", passes),
		same("0 and an OK", "status {} "+ok, append(passes, "upstream.x-a: ok", "answer.x-b: ok", `log.metadata.k: "ok"`)),
		same("an OK without a status", ok, append(passes, "upstream.x-a: ok", "answer.x-b: ok")),
		same("0 and a denial", "status {} "+denial, append(passes, "!upstream.x-a", "!answer.x-a")),
		same("a denial without a status", denial, append(passes, "!answer.x-a")),
		same("0 and a failure", "status {} "+failure, append(passes, "!answer.x-a")),
		same("7 and a denial", "status {code: 7} "+denial, append(denies("404", "no"), "answer.x-a: denied")),
		same("7 and an empty denial", "status {code: 7} denied_response {}", denies("403", "")),
		same("7 and no more", "status {code: 7}", denies("403", "")),
		same("7 and a message", `status {code: 7 message: "secret"}`, denies("403", "")),
		same("7 and an OK", "status {code: 7} "+ok, append(denies("403", ""), "!answer.x-b", "!answer.x-a", `log.metadata.k: "ok"`)),
		same("1, cancelled", "status {code: 1} "+denial, denies("404", "no")),
		same("14, unavailable", "status {code: 14} "+denial, denies("404", "no")),
		same("16, unauthenticated", "status {code: 16} "+denial, denies("404", "no")),
		same("a code that nobody knows", "status {code: 4711} "+denial, denies("404", "no")),
		same("a negative code", "status {code: -1} "+denial, denies("404", "no")),
		{"7 and a failure", parse(t, "status {code: 7} "+failure), nil,
			[]string{"answered: 502", "answer body: sick", "answer.x-a: failed", "upstream: nothing", "log.details: ext_authz_error"},
			[]string{"answered: 502", "answer body: sick", "answer.x-a: failed", "upstream: nothing", "log.details: ext_authz_error"}, passes},
		{"7 and a bare failure", parse(t, "status {code: 7} "+bare), nil, failed("403"), failed("503"), passes},
		fails("gRPC says 7", status.Error(codes.PermissionDenied, "no")),
		fails("gRPC says 16", status.Error(codes.Unauthenticated, "no")),
		fails("gRPC says 2", status.Error(codes.Unknown, "no")),
		fails("gRPC says 8", status.Error(codes.ResourceExhausted, "no")),
		fails("gRPC says 12", status.Error(codes.Unimplemented, "no")),
		fails("gRPC says 14", status.Error(codes.Unavailable, "no")),
	}
	var probes []probe
	for _, s := range shapes {
		for door, want := range map[string][]string{"closed": s.closed, "503": s.onError, "open": s.open} {
			probes = append(probes, probe{name: s.name + ", " + door, door: door, answer: s.answer, err: s.err, want: want})
		}
	}
	probes = append(probes,
		probe{name: "the upstream is told of a failure", door: "open and told", err: status.Error(codes.Unavailable, "no"),
			lines: []string{"x-envoy-auth-failure-mode-allowed: false"}, want: []string{"answered: 200", "upstream.x-envoy-auth-failure-mode-allowed: false", "upstream.x-envoy-auth-failure-mode-allowed: true"}},
		probe{name: "the upstream is told of a failure that is an answer", door: "open and told", reply: "status {code: 7} " + failure,
			want: []string{"answered: 200", "upstream.x-envoy-auth-failure-mode-allowed: true"}},
		probe{name: "a client can tell the upstream of a failure", door: "closed",
			lines: []string{"x-envoy-auth-failure-mode-allowed: true"}, want: []string{"answered: 200", "upstream.x-envoy-auth-failure-mode-allowed: true"}},
		probe{name: "nobody answers", door: "nobody", want: failed("403")},
		probe{name: "nobody answers, with a status", door: "nobody, 503", want: failed("503")},
		probe{name: "nobody answers, open", door: "nobody, open", want: []string{"answered: 200", "asked: 0"}},
		probe{name: "nobody answers, open and told", door: "nobody, open and told", want: []string{"answered: 200", "upstream.x-envoy-auth-failure-mode-allowed: true"}},
	)
	l.run(t, probes)
	t.Run("counters", func(t *testing.T) {
		counters := l.stats(t, "http.closed.ext_authz.")
		for _, name := range []string{"ok", "denied", "error"} {
			if counters["http.closed.ext_authz."+name] == 0 {
				t.Errorf("%s is 0: %v", name, counters)
			}
		}
		if n := l.stats(t, "http.open.ext_authz.failure_mode_allowed"); len(n) != 1 {
			t.Errorf("failure_mode_allowed is %v", n)
		}
		if n := l.stats(t, "cluster.upstream.ext_authz."); n["cluster.upstream.ext_authz.denied"] == 0 {
			t.Errorf("the cluster's counters are %v", n)
		}
	})
}

// An appending is a combination of the two fields that say how a header is
// added, and what becomes of it: the values where the message had "old", and
// where it had none. Values of several lines are joined by |, "-" is none.
type appending struct{ append, action, had, hadNot string }

// eachAppending makes the probes of a table. option gives an answer with the
// header x-a: new; path is where to look.
func eachAppending(door, path string, table []appending, reply func(option string) string, had func(*probe)) (out []probe) {
	for _, a := range table {
		option := `header {key: "x-a" value: "new"}`
		if a.append != "" {
			option += " append {value: " + a.append + "}"
		}
		if a.action != "" {
			option += " append_action: " + a.action
		}
		for _, there := range []bool{true, false} {
			p := probe{door: door, reply: reply(option), name: fmt.Sprintf("append %q, append_action %q, there already %t", a.append, a.action, there)}
			values := a.hadNot
			if there {
				values = a.had
				had(&p)
			}
			if values == "-" {
				p.want = []string{"!" + path}
			} else {
				for v := range strings.SplitSeq(values, "|") {
					p.want = append(p.want, path+": "+v)
				}
			}
			out = append(out, p)
		}
	}
	return out
}

const (
	add       = "APPEND_IF_EXISTS_OR_ADD"
	ifAbsent  = "ADD_IF_ABSENT"
	overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"
	ifPresent = "OVERWRITE_IF_EXISTS"
)

// TestEnvoyAddsHeadersUpstream is about OkHttpResponse.headers and
// headers_to_remove.
func TestEnvoyAddsHeadersUpstream(t *testing.T) {
	l := startLab(t,
		door{name: "plain"},
		door{name: "validating", authz: "validate_mutations: true"},
		door{name: "rules", authz: "decoder_header_mutation_rules: {disallow_all: true, allow_expression: {regex: '^x-edict-[a-z-]+$'}}"},
		door{name: "strict rules", authz: "decoder_header_mutation_rules: {disallow_all: true, allow_expression: {regex: '^x-edict-[a-z-]+$'}, disallow_is_error: true}"},
		door{name: "empty rules", authz: "decoder_header_mutation_rules: {}"},
		door{name: "routing", authz: "decoder_header_mutation_rules: {allow_all_routing: true}"},
		door{name: "no system", authz: "decoder_header_mutation_rules: {allow_all_routing: true, disallow_system: true}"},
		door{name: "but", authz: "decoder_header_mutation_rules: {allow_expression: {regex: x-edict-.*}, disallow_expression: {regex: x-edict-a}}"},
		door{name: "narrow", hcm: "{common_http_protocol_options: {max_headers_count: 10}}"},
	)
	okay := func(fields string) string { return "status {} ok_response {" + fields + "}" }
	setting := func(name, value string) string {
		return fmt.Sprintf(`headers {header {key: %q value: %q} append {value: false} append_action: OVERWRITE_IF_EXISTS_OR_ADD}`, name, value)
	}
	probes := eachAppending("plain", "upstream.x-a", []appending{
		{"", "", "new", "new"},
		{"", add, "new", "new"},
		{"", ifAbsent, "new", "new"},
		{"", overwrite, "new", "new"},
		{"", ifPresent, "new", "new"},
		{"false", add, "new", "new"},
		{"false", ifAbsent, "new", "new"},
		{"false", overwrite, "new", "new"},
		{"false", ifPresent, "new", "new"},
		{"true", "", "old,new", "-"},
		{"true", add, "old,new", "-"},
		{"true", ifAbsent, "old,new", "-"},
		{"true", overwrite, "old,new", "-"},
		{"true", ifPresent, "old,new", "-"},
	}, func(option string) string { return okay("headers {" + option + "}") }, func(p *probe) { p.lines = []string{"x-a: old"} })
	long := strings.Repeat("x", 16385)
	l.run(t, append(probes, []probe{
		{name: "overwriting leaves one of several", door: "plain", lines: []string{"x-a: 1", "X-A: 2"}, reply: okay(setting("x-a", "new")), want: []string{"upstream.x-a: new"}},
		{name: "appending to several", door: "plain", lines: []string{"x-a: 1", "X-A: 2"}, reply: okay(`headers {header {key: "x-a" value: "new"} append {value: true}}`), want: []string{"upstream.x-a: 1,new", "upstream.x-a: 2"}},
		{name: "the same name twice: the last counts", door: "plain", reply: okay(setting("x-a", "1") + setting("x-a", "2")), want: []string{"upstream.x-a: 2"}},
		{name: "a name in upper case", door: "plain", lines: []string{"x-a: 1"}, reply: okay(setting("X-A", "new")), want: []string{"upstream.x-a: new"}},
		{name: "raw_value is not heeded", door: "plain", reply: okay(`headers {header {key: "x-a" raw_value: "new"}}`), want: []string{"upstream.x-a: "}},
		{name: "raw_value beside value", door: "plain", reply: okay(`headers {header {key: "x-a" value: "text" raw_value: "raw"}}`), want: []string{"upstream.x-a: text"}},
		{name: "an empty value", door: "plain", lines: []string{"x-a: old"}, reply: okay(setting("x-a", "")), want: []string{"upstream.x-a: "}},
		{name: "keep_empty_value", door: "plain", lines: []string{"x-a: old"}, reply: okay(`headers {header {key: "x-a"} keep_empty_value: true}`), want: []string{"upstream.x-a: "}},
		{name: "the path", door: "plain", reply: okay(setting(":path", "/other")), want: []string{"upstream: GET /other"}},
		{name: "the method", door: "plain", reply: okay(setting(":method", "PUT")), want: []string{"upstream: PUT /"}},
		{name: "the host", door: "plain", reply: okay(setting(":authority", "other.example")), want: []string{"upstream.host: other.example"}},
		{name: "the host by another name", door: "plain", reply: okay(setting("host", "other.example")), want: []string{"upstream.host: other.example"}},
		{name: "appending to the path", door: "plain", reply: okay(`headers {header {key: ":path" value: "x"} append {value: true}}`), want: []string{"upstream: GET /,x"}},

		{name: "removes", door: "plain", lines: []string{"x-a: 1", "X-A: 2", "x-b: 3"}, reply: okay(`headers_to_remove: ["x-a"]`), want: []string{"!upstream.x-a", "upstream.x-b: 3"}},
		{name: "removes by a name in upper case", door: "plain", lines: []string{"x-a: 1"}, reply: okay(`headers_to_remove: ["X-A"]`), want: []string{"!upstream.x-a"}},
		{name: "removes after setting", door: "plain", reply: okay(setting("x-a", "new") + ` headers_to_remove: ["x-a"]`), want: []string{"!upstream.x-a"}},
		{name: "does not remove the path", door: "plain", reply: okay(`headers_to_remove: [":path", ":method", ":authority", ":scheme", "host", "Host"]`), want: []string{"upstream: GET /", "upstream.host: lab.example"}},
		{name: "removes an empty name", door: "plain", reply: okay(`headers_to_remove: [""]`), want: []string{"answered: 200"}},
		{name: "removes an empty name, validating", door: "validating", reply: okay(`headers_to_remove: ["", "a b", "x-a"]`), lines: []string{"x-a: 1"}, want: []string{"answered: 200", "!upstream.x-a"}},
		{name: "removes authorization", door: "plain", lines: []string{"Authorization: Bearer x"}, reply: okay(`headers_to_remove: ["authorization"]`), want: []string{"!upstream.authorization"}},

		{name: "a value with a line break", door: "plain", reply: okay(setting("x-a", "1\r\nx-b: 2")), want: []string{"answered: 503", "upstream: nothing", "log.details: filter_removed_required_request_headers{invalid_header_value_for:_x-a}"}},
		{name: "a value with a line break, validating", door: "validating", reply: okay(setting("x-a", "1\r\nx-b: 2")), want: []string{"answered: 500", "upstream: nothing", "log.details: ext_authz_invalid"}},
		{name: "a value with a NUL", door: "plain", reply: okay(setting("x-a", "1\x002")), want: []string{"answered: 503", "upstream: nothing"}},
		{name: "a value with a control character", door: "plain", reply: okay(setting("x-a", "1\x012")), want: []string{"answered: 503", "upstream: nothing"}},
		{name: "a value with a control character, validating", door: "validating", reply: okay(setting("x-a", "1\x012")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "a value beyond ASCII", door: "plain", reply: okay(setting("x-a", "é")), want: []string{"upstream.x-a: é"}},
		{name: "a value beyond ASCII, validating", door: "validating", reply: okay(setting("x-a", "é")), want: []string{"upstream.x-a: é"}},
		{name: "a name with a space", door: "plain", reply: okay(setting("x a", "1")), want: []string{"answered: 503", "upstream: nothing"}},
		{name: "a name with a space, validating", door: "validating", reply: okay(setting("x a", "1")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "a name with a line break", door: "plain", reply: okay(setting("x-a\r\nx-b", "1")), want: []string{"answered: 503", "upstream: nothing"}},
		{name: "no name", door: "plain", reply: okay(setting("", "1") + setting("x-a", "1")), want: []string{"answered: 200", "upstream.x-a: 1"}},
		{name: "a value that is longer than the message admits", door: "plain", reply: okay(setting("x-a", long)), want: []string{"answered: 200", "upstream.x-a: " + long}},
		{name: "an append_action that nobody knows", door: "plain", reply: okay(`headers {header {key: "x-a" value: "1"} append_action: 9}`), want: []string{"answered: 200", "upstream.x-a: 1"}},
		{name: "an append_action that nobody knows, validating", door: "validating", reply: okay(`headers {header {key: "x-a" value: "1"} append_action: 9}`), want: []string{"answered: 200", "upstream.x-a: 1"}},

		{name: "rules admit", door: "rules", reply: okay(setting("x-edict-a", "1")), want: []string{"upstream.x-edict-a: 1"}},
		{name: "rules drop", door: "rules", reply: okay(setting("x-other", "1")), want: []string{"answered: 200", "!upstream.x-other"}},
		{name: "rules drop removals", door: "rules", lines: []string{"x-other: 1", "x-edict-b: 1"}, reply: okay(`headers_to_remove: ["x-other", "x-edict-b"]`), want: []string{"answered: 200", "upstream.x-other: 1", "!upstream.x-edict-b"}},
		{name: "rules may be errors", door: "strict rules", reply: okay(setting("x-other", "1")), want: []string{"answered: 500", "upstream: nothing", "log.details: ext_authz_invalid"}},
		{name: "rules may be errors for removals", door: "strict rules", lines: []string{"x-other: 1"}, reply: okay(`headers_to_remove: ["x-other"]`), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "empty rules admit headers", door: "empty rules", reply: okay(setting("x-a", "1")), want: []string{"upstream.x-a: 1"}},
		{name: "empty rules do not keep the path", door: "empty rules", reply: okay(setting(":path", "/other")), want: []string{"upstream: GET /other"}},
		{name: "empty rules keep the method", door: "empty rules", reply: okay(setting(":method", "PUT")), want: []string{"upstream: GET /"}},
		{name: "empty rules keep the host", door: "empty rules", reply: okay(setting("host", "other.example")), want: []string{"upstream.host: lab.example"}},
		{name: "empty rules keep headers of Envoy's", door: "empty rules", reply: okay(setting("x-envoy-a", "1")), want: []string{"!upstream.x-envoy-a"}},
		{name: "rules may admit the path", door: "routing", reply: okay(setting(":path", "/other")), want: []string{"upstream: GET /other"}},
		{name: "rules may keep what begins with a colon", door: "no system", reply: okay(setting(":path", "/other")), want: []string{"upstream: GET /"}},
		{name: "disallow_expression wins", door: "but", reply: okay(setting("x-edict-a", "1") + setting("x-edict-b", "1")), want: []string{"!upstream.x-edict-a", "upstream.x-edict-b: 1"}},

		{name: "more headers than a request may have", door: "narrow", reply: okay(setting("x-1", "1") + setting("x-2", "1") + setting("x-3", "1") + setting("x-4", "1") + setting("x-5", "1")),
			want: []string{"answered: 500", "upstream: nothing"}},
	}...))
}

// TestEnvoyChangesQueries is about query_parameters_to_set and _to_remove.
func TestEnvoyChangesQueries(t *testing.T) {
	l := startLab(t,
		door{name: "plain"},
		door{name: "validating", authz: "validate_mutations: true"},
		door{name: "rules", authz: "decoder_header_mutation_rules: {disallow_all: true}"},
		door{name: "strict rules", authz: "decoder_header_mutation_rules: {disallow_all: true, disallow_is_error: true}"},
	)
	okay := func(fields string) string { return "status {} ok_response {" + fields + "}" }
	setting := func(key, value string) string {
		return fmt.Sprintf(`query_parameters_to_set {key: %q value: %q} `, key, value)
	}
	removing := func(key string) string { return fmt.Sprintf(`query_parameters_to_remove: %q `, key) }
	const line = "GET /p?a=1&b=2&a=3&%61=4&A=5 HTTP/1.1"
	l.run(t, []probe{
		{name: "adds", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1")), want: []string{"upstream: GET /p?a=1"}},
		{name: "overwrites all", door: "plain", line: line, reply: okay(setting("a", "9")), want: []string{"upstream: GET /p?%61=4&A=5&a=9&b=2"}},
		{name: "removes all", door: "plain", line: line, reply: okay(removing("a")), want: []string{"upstream: GET /p?%61=4&A=5&b=2"}},
		{name: "removes by the spelling", door: "plain", line: line, reply: okay(removing("%61")), want: []string{"upstream: GET /p?A=5&a=1&a=3&b=2"}},
		{name: "removes the last", door: "plain", line: "GET /p?a=1 HTTP/1.1", reply: okay(removing("a")), want: []string{"upstream: GET /p"}},
		{name: "removes after setting", door: "plain", line: "GET /p HTTP/1.1", reply: okay(removing("a") + setting("a", "1")), want: []string{"upstream: GET /p"}},
		{name: "does not encode", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1&b=2")), want: []string{"upstream: GET /p?a=1&b=2"}},
		{name: "takes what is encoded as it is", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1%26b%3D2")), want: []string{"upstream: GET /p?a=1%26b%3D2"}},
		{name: "an empty value", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "")), want: []string{"upstream: GET /p?a="}},
		{name: "an empty name", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("", "1")), want: []string{"upstream: GET /p?=1"}},
		{name: "sorts and rewrites the rest of an odd query", door: "plain", line: "GET /p?x=%zz&y;z=1&=&&q HTTP/1.1", reply: okay(setting("a", "1")), want: []string{"upstream: GET /p?=&=&a=1&q=&x=%zz&y;z=1"}},
		{name: "Edict is not asked again", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1")), want: []string{"asked: 1", "request.http.path: /p"}},
		{name: "a space, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1 2")), want: []string{"answered: 500", "upstream: nothing", "log.details: ext_authz_invalid"}},
		{name: "an ampersand, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1&b=2")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "a line break", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1 HTTP/1.1\r\nx-a: 1")), want: []string{"answered: 503", "upstream: nothing"}},
		{name: "a space", door: "plain", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1 2")), want: []string{"upstream: GET /p?a=1 2"}},
		{name: "letters, digits and some signs, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("a", "aZ09-_.*")), want: []string{"upstream: GET /p?a=aZ09-_.*"}},
		{name: "what is encoded, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1%20b")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "a tilde, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("a", "~")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "a plus, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("a", "a+b")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "what is encoded in a name, validating", door: "validating", line: "GET /p HTTP/1.1", reply: okay(setting("%61", "1")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "removal of what is encoded, validating", door: "validating", line: "GET /p?%61=1&b=2 HTTP/1.1", reply: okay(removing("%61")), want: []string{"upstream: GET /p?b=2"}},
		{name: "rules for headers do not hold", door: "rules", line: "GET /p HTTP/1.1", reply: okay(setting("a", "1")), want: []string{"upstream: GET /p?a=1"}},
		{name: "strict rules for headers do not hold", door: "strict rules", line: "GET /p?b=1 HTTP/1.1", reply: okay(setting("a", "1") + removing("b")), want: []string{"upstream: GET /p?a=1"}},
	})
}

// TestEnvoyAddsHeadersDownstream is about response_headers_to_add, on what the
// upstream answered.
func TestEnvoyAddsHeadersDownstream(t *testing.T) {
	l := startLab(t,
		door{name: "plain"},
		door{name: "validating", authz: "validate_mutations: true"},
		door{name: "rules", authz: "decoder_header_mutation_rules: {disallow_all: true, disallow_is_error: true}"},
		door{name: "direct", routes: "[{match: {prefix: /}, direct_response: {status: 202}}]"},
	)
	okay := func(fields string) string { return "status {} ok_response {" + fields + "}" }
	probes := eachAppending("plain", "answer.x-a", []appending{
		{"", "", "old|new", "new"},
		{"", add, "old|new", "new"},
		{"", ifAbsent, "old", "new"},
		{"", overwrite, "new", "new"},
		{"", ifPresent, "new", "-"},
		{"false", add, "new", "new"},
		{"false", ifAbsent, "new", "new"},
		{"false", overwrite, "new", "new"},
		{"false", ifPresent, "new", "new"},
		{"true", "", "old|new", "new"},
		{"true", add, "old|new", "new"},
		{"true", ifAbsent, "old|new", "new"},
		{"true", overwrite, "old|new", "new"},
		{"true", ifPresent, "old|new", "new"},
	}, func(option string) string { return okay("response_headers_to_add {" + option + "}") }, func(p *probe) { p.says = []string{"x-a: old"} })
	header := func(name, value string) string {
		return fmt.Sprintf(`response_headers_to_add {header {key: %q value: %q} append {value: false} append_action: OVERWRITE_IF_EXISTS_OR_ADD} `, name, value)
	}
	l.run(t, append(probes, []probe{
		{name: "cookies in several lines", door: "plain", says: []string{"set-cookie: a=1"},
			reply: okay(`response_headers_to_add {header {key: "set-cookie" value: "b=2"} append {value: true}} response_headers_to_add {header {key: "set-cookie" value: "c=3"} append {value: true}}`),
			want:  []string{"answer.set-cookie: a=1", "answer.set-cookie: b=2", "answer.set-cookie: c=3"}},
		{name: "the request does not get them", door: "plain", reply: okay(header("x-a", "1")), want: []string{"answer.x-a: 1", "!upstream.x-a"}},
		{name: "an answer of Envoy's own gets them", door: "direct", reply: okay(header("x-a", "1")), want: []string{"answered: 202", "answer.x-a: 1"}},
		{name: "the status", door: "plain", reply: okay(header(":status", "500")), want: []string{"answered: 500"}},
		{name: "the rules for requests do not hold", door: "rules", reply: okay(header("x-a", "1")), want: []string{"answered: 200", "answer.x-a: 1"}},
		{name: "a line break", door: "plain", reply: okay(header("x-a", "1\r\nx-b: 2")), want: []string{"answered: 200", "answer.x-a: 1", "answer.x-b: 2"}},
		{name: "a line break, validating", door: "validating", reply: okay(header("x-a", "1\r\nx-b: 2")), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "an append_action that nobody knows", door: "plain", reply: okay(`response_headers_to_add {header {key: "x-a" value: "1"} append_action: 9}`), want: []string{"answered: 200", "!answer.x-a"}},
		{name: "an append_action that nobody knows, validating", door: "validating", reply: okay(`response_headers_to_add {header {key: "x-a" value: "1"} append_action: 9}`), want: []string{"answered: 500", "upstream: nothing"}},
		{name: "a control character, validating", door: "validating", reply: okay(header("x-a", "1\x012")), want: []string{"answered: 500", "upstream: nothing"}},
	}...))
}

// TestEnvoyDenies is about DeniedHttpResponse.
func TestEnvoyDenies(t *testing.T) {
	const mapper = `
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 403, runtime_key: x}}}}
    status_code: 418
    body: {inline_string: mapped}
    headers_to_add: [{header: {key: x-mapped, value: "yes"}}]
`
	l := startLab(t,
		door{name: "plain"},
		door{name: "validating", authz: "validate_mutations: true"},
		door{name: "short", authz: "max_denied_response_body_bytes: 4"},
		door{name: "mapped", hcm: mapper},
		door{name: "narrow", hcm: "common_http_protocol_options: {max_headers_count: 1000}", authz: "enforce_response_header_limits: true"},
		door{name: "uncharged", authz: "charge_cluster_response_stats: false"},
	)
	no := func(fields string) string { return "status {code: 7} denied_response {" + fields + "}" }
	probes := eachAppending("plain", "answer.x-a", []appending{
		{"", "", "new", "new"},
		{"", add, "new", "new"},
		{"", ifAbsent, "new", "new"},
		{"", overwrite, "new", "new"},
		{"", ifPresent, "new", "new"},
		{"false", add, "new", "new"},
		{"false", overwrite, "new", "new"},
		{"true", "", "-", "-"},
		{"true", add, "-", "-"},
		{"true", overwrite, "-", "-"},
	}, func(option string) string { return no("headers {" + option + "}") }, func(*probe) {})
	header := func(name, value string) string {
		return fmt.Sprintf(`headers {header {key: %q value: %q}} `, name, value)
	}
	for _, code := range []struct {
		code int
		want string
	}{
		{0, "answered: 403"}, {100, "answered: 0"}, {200, "answered: 200"}, {201, "answered: 201"}, {204, "answered: 204"},
		{301, "answered: 301"}, {302, "answered: 302"}, {303, "answered: 303"}, {304, "answered: 304"}, {307, "answered: 307"}, {308, "answered: 308"},
		{400, "answered: 400"}, {401, "answered: 401"}, {403, "answered: 403"}, {404, "answered: 404"}, {413, "answered: 413"}, {418, "answered: 418"}, {421, "answered: 421"},
		{429, "answered: 429"}, {451, "answered: 451"}, {500, "answered: 500"}, {503, "answered: 503"}, {511, "answered: 511"}, {599, "answered: 599"}, {999, "answered: 999"}, {-1, "answered: 0"},
	} {
		probes = append(probes, probe{name: "status " + strconv.Itoa(code.code), door: "plain", reply: no(fmt.Sprintf("status {code: %d}", code.code)), want: []string{code.want, "upstream: nothing"}})
	}
	l.run(t, append(probes, []probe{
		{name: "no status", door: "plain", reply: no(`body: "no"`), want: []string{"answered: 403", "answer body: no"}},
		{name: "a body alone is plain text", door: "plain", reply: no(`body: "no"`), want: []string{"answer.content-type: text/plain"}},
		{name: "no body has no type", door: "plain", reply: no(``), want: []string{"!answer.content-type", "answer.content-length: 0"}},
		{name: "a type of its own", door: "plain", reply: no(header("content-type", "application/problem+json") + `body: "{}"`), want: []string{"answer.content-type: application/problem+json", "answer body: {}"}},
		{name: "a length of its own", door: "plain", reply: no(header("content-length", "7") + `body: "no"`), want: []string{"answer.content-length: 2", "answer body: no"}},
		{name: "several cookies", door: "plain", reply: no(header("set-cookie", "a=1") + header("set-cookie", "b=2")), want: []string{"answer.set-cookie: a=1", "answer.set-cookie: b=2"}},
		{name: "several cookies, by append", door: "plain", reply: no(`headers {header {key: "set-cookie" value: "a=1"} append {value: true}} headers {header {key: "set-cookie" value: "b=2"} append {value: true}}`),
			want: []string{"answered: 403", "!answer.set-cookie"}},
		{name: "a redirect", door: "plain", reply: no(`status {code: Found} ` + header("location", "https://login.example/?next=%2Fx")),
			want: []string{"answered: 302", "answer.location: https://login.example/?next=%2Fx"}},
		{name: "the status by a header", door: "plain", reply: no(header(":status", "200")), want: []string{"answered: 403", "upstream: nothing"}},
		{name: "to HEAD", door: "plain", line: "HEAD / HTTP/1.1", reply: no(`body: "no"`), want: []string{"answered: 403", "answer body: ", "answer.content-length: 2"}},
		{name: "a cut body", door: "short", reply: no(`body: "longer"`), want: []string{"answer body: long", "answer.content-length: 4"}},
		{name: "a local reply that is mapped", door: "mapped", reply: no(header("x-a", "1") + `body: "no"`), want: []string{"answered: 418", "answer body: mapped", "answer.x-mapped: yes", "answer.x-a: 1"}},
		{name: "one that is not mapped", door: "mapped", reply: no(`status {code: Unauthorized} body: "no"`), want: []string{"answered: 401", "answer body: no", "!answer.x-mapped"}},
		{name: "a line break splits the answer", door: "plain", reply: no(header("x-a", "1\r\nx-b: 2")), want: []string{"answered: 403", "answer.x-a: 1", "answer.x-b: 2"}},
		{name: "a line break, validating", door: "validating", reply: no(header("x-a", "1\r\nx-b: 2")), want: []string{"answered: 500", "!answer.x-a", "log.details: ext_authz_invalid"}},
		{name: "two line breaks end the head", door: "plain", reply: no(header("x-a", "1\r\ncontent-length: 4\r\n\r\nevil") + `body: "no"`), want: []string{"answered: 403", "answer body: evil"}},
		{name: "a control character, validating", door: "validating", reply: no(header("x-a", "1\x012")), want: []string{"answered: 500", "!answer.x-a", "log.details: ext_authz_invalid"}},
		{name: "many headers", door: "plain", reply: no(manyHeaders(200)), want: []string{"answered: 403", "answer.x-199: 1"}},
		{name: "many headers, with a limit", door: "narrow", reply: no(manyHeaders(200)), want: []string{"answered: 403"}},
	}...))
	t.Run("what is charged to the upstream", func(t *testing.T) {
		l.will(parse(t, no("status {code: Gone}")), nil)
		const gone = "cluster.upstream.upstream_rq_410"
		l.get(t, "uncharged")
		if n := l.stats(t, gone); len(n) != 0 {
			t.Errorf("although it is turned off: %v", n)
		}
		l.get(t, "plain")
		if n := l.stats(t, gone); n[gone] != 1 {
			t.Errorf("%v", n)
		}
	})
}

func manyHeaders(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `headers {header {key: "x-%d" value: "1"}} `, i)
	}
	return b.String()
}

// TestEnvoyDeniesGRPC shows what a gRPC client gets for each status of a denial.
func TestEnvoyDeniesGRPC(t *testing.T) {
	l := startLab(t, door{name: "plain"}, door{name: "closed", authz: "{grpc_service: {envoy_grpc: {cluster_name: nobody}}, status_on_error: {code: ServiceUnavailable}}"})
	no := func(fields string) string { return "status {code: 7} denied_response {" + fields + "}" }
	call := [][2]string{{":method", "POST"}, {":path", "/pkg.Service/Method"}, {"content-type", "application/grpc"}, {"te", "trailers"}}
	var probes []probe
	for _, tt := range []struct {
		http int
		grpc codes.Code
	}{
		{200, codes.Unknown}, {302, codes.Unknown}, {400, codes.Internal}, {401, codes.Unauthenticated}, {403, codes.PermissionDenied}, {404, codes.Unimplemented},
		{409, codes.Unknown}, {412, codes.Unknown}, {413, codes.Unknown}, {415, codes.Unknown}, {421, codes.Unknown}, {429, codes.Unavailable},
		{500, codes.Unknown}, {501, codes.Unknown}, {502, codes.Unavailable}, {503, codes.Unavailable}, {504, codes.Unavailable},
	} {
		probes = append(probes, probe{name: "HTTP " + strconv.Itoa(tt.http), door: "plain", http2: call, body: "\x00\x00\x00\x00\x00",
			reply: no(fmt.Sprintf(`status {code: %d} body: "no way"`, tt.http)),
			want: []string{"answered: 200", fmt.Sprintf("answer.grpc-status: %d", tt.grpc), "answer.grpc-message: no way", "answer.content-type: application/grpc",
				"!answer.content-length", "answer body: ", "answer frames: 1"}})
	}
	l.run(t, append(probes, []probe{
		{name: "no body", door: "plain", http2: call, reply: no(""), want: []string{"answer.grpc-status: 7", "!answer.grpc-message"}},
		{name: "a body that is no plain text", door: "plain", http2: call, reply: no(`body: "a%\né\x01"`), want: []string{"answer.grpc-message: a%25%0A%C3%A9%01"}},
		{name: "a content-type of its own", door: "plain", http2: call, reply: no(`headers {header {key: "content-type" value: "application/problem+json"}} body: "{}"`),
			want: []string{"answer.content-type: application/grpc", "answer.grpc-message: {}"}},
		{name: "a grpc-status of its own", door: "plain", http2: call, reply: no(`headers {header {key: "grpc-status" value: "8"}} body: "no"`), want: []string{"answer.grpc-status: 8", "answer.grpc-message: no"}},
		{name: "a grpc-message of its own gives way to the body", door: "plain", http2: call, reply: no(`headers {header {key: "grpc-message" value: "mine"}} body: "no"`), want: []string{"answer.grpc-message: no"}},
		{name: "a grpc-message of its own without a body", door: "plain", http2: call, reply: no(`headers {header {key: "grpc-message" value: "mine"}}`), want: []string{"answer.grpc-message: mine"}},
		{name: "further headers", door: "plain", http2: call, reply: no(`headers {header {key: "www-authenticate" value: "Bearer"}} body: "no"`), want: []string{"answer.www-authenticate: Bearer"}},
		{name: "gRPC-Web is HTTP", door: "plain", http2: append(call[:2:2], [2]string{"content-type", "application/grpc-web"}), reply: no(`body: "no"`), want: []string{"answered: 403", "answer body: no"}},
		{name: "a subtype", door: "plain", http2: append(call[:2:2], [2]string{"content-type", "application/grpc+proto"}), reply: no(`body: "no"`), want: []string{"answered: 200", "answer.grpc-status: 7"}},
		{name: "a content type in upper case is HTTP", door: "plain", http2: append(call[:2:2], [2]string{"content-type", "Application/grpc"}), reply: no(`body: "no"`), want: []string{"answered: 403"}},
		{name: "over HTTP/1.1", door: "plain", line: "POST /pkg.Service/Method HTTP/1.1", lines: []string{"Content-Type: application/grpc"}, reply: no(`body: "no"`), want: []string{"answered: 200", "answer.grpc-status: 7", "answer.grpc-message: no"}},
		{name: "nobody answers", door: "closed", http2: call, want: []string{"answered: 200", "answer.grpc-status: 14"}},
	}...))
}

// TestEnvoyKeepsMetadata is about dynamic_metadata, as the access log sees it.
func TestEnvoyKeepsMetadata(t *testing.T) {
	const ns = "envoy.filters.http.ext_authz"
	l := startLab(t,
		door{name: "plain"},
		door{name: "ignoring", authz: "enable_dynamic_metadata_ingestion: false"},
		door{name: "twice", after: `[{name: second, typed_config: {"@type": ExtAuthz, transport_api_version: V3, metadata_context_namespaces: [` + ns + `], grpc_service: {timeout: 10s, envoy_grpc: {cluster_name: authz}}}}]`},
		door{name: "stats", authz: "emit_filter_state_stats: true"},
	)
	const fields = `dynamic_metadata {fields {key: "id" value {string_value: "a"}} fields {key: "n" value {number_value: 1.5}} fields {key: "l" value {list_value {values {bool_value: true}}}}} `
	const inner = `dynamic_metadata {fields {key: "inner" value {string_value: "b"}}}`
	l.run(t, []probe{
		{name: "of an allow", door: "plain", reply: fields + "ok_response {}", want: []string{`log.metadata.id: "a"`, "log.metadata.n: 1.5", "log.metadata.l: [true]"}},
		{name: "of a denial", door: "plain", reply: fields + "status {code: 7}", want: []string{"answered: 403", `log.metadata.id: "a"`, "!log.metadata.ext_authz_duration"}},
		{name: "of a failure", door: "plain", reply: fields + "status {code: 7} error_response {}", want: []string{"answered: 403", "log.details: ext_authz_error", `log.metadata.id: "a"`}},
		{name: "none, and no duration", door: "plain", reply: "status {} ok_response {}", want: []string{"answered: 200", "!log.metadata.ext_authz_duration", "!log.metadata.id"}},
		{name: "the deprecated place wins", door: "plain", reply: fields + "ok_response {" + inner + "}", want: []string{`log.metadata.inner: "b"`, "!log.metadata.id"}},
		{name: "the deprecated place of a denial", door: "plain", reply: fields + "status {code: 7} ok_response {" + inner + "}", want: []string{"answered: 403", `log.metadata.inner: "b"`, "!log.metadata.id"}},
		{name: "ignored", door: "ignoring", reply: fields + "ok_response {}", want: []string{"answered: 200", "!log.metadata.id"}},
		{name: "a key of one's own named as Envoy's", door: "plain", reply: `status {} dynamic_metadata {fields {key: "ext_authz_duration" value {string_value: "mine"}}}`, want: []string{"answered: 200"}},
	})
	t.Run("the duration, in milliseconds", func(t *testing.T) {
		l.will(parse(t, fields+"ok_response {}"), nil)
		line := l.loggedOf(t, l.get(t, "plain").one())
		if d, ok := line.Metadata["ext_authz_duration"].(float64); !ok || d < 0 || d > 30_000 {
			t.Errorf("ext_authz_duration is %v", line.Metadata["ext_authz_duration"])
		}
	})
	t.Run("ignored metadata is counted", func(t *testing.T) {
		if n := l.stats(t, "http.ignoring.ext_authz.ignored_dynamic_metadata"); len(n) != 1 {
			t.Errorf("%v", n)
		}
	})
	t.Run("a second filter sees the first one's and adds to it", func(t *testing.T) {
		n := 0
		l.act(func(context.Context) (*authv3.CheckResponse, error) {
			n++
			return parse(t, fmt.Sprintf(`status {} dynamic_metadata {fields {key: "both" value {number_value: %d}} fields {key: "only%d" value {bool_value: true}}}`, n, n)), nil
		})
		e := l.get(t, "twice")
		if len(e.asked) != 2 {
			t.Fatalf("Envoy asked %d times", len(e.asked))
		}
		if got := e.asked[1].request.GetAttributes().GetMetadataContext().GetFilterMetadata()[ns].GetFields(); got["both"].GetNumberValue() != 1 {
			t.Errorf("the second sees %v", got)
		}
		line := l.loggedOf(t, e.one())
		if line.Metadata["both"] != 2.0 || line.Metadata["only1"] != true || line.Metadata["only2"] != true {
			t.Errorf("in the end there is %v", line.Metadata)
		}
	})
}

// TestEnvoyFailsAsTold is about CheckResponse.error_response.
func TestEnvoyFailsAsTold(t *testing.T) {
	l := startLab(t, door{name: "plain"}, door{name: "503", authz: "status_on_error: {code: ServiceUnavailable}"},
		door{name: "validating", authz: "validate_mutations: true"}, door{name: "open", authz: "failure_mode_allow: true"})
	failure := func(fields string) string { return "status {code: 14} error_response {" + fields + "}" }
	l.run(t, []probe{
		{name: "status, headers and body", door: "503", reply: failure(`status {code: BadGateway} headers {header {key: "retry-after" value: "3"}} headers {header {key: "set-cookie" value: "a=1"}} headers {header {key: "set-cookie" value: "b=2"}} body: "sick"`),
			want: []string{"answered: 502", "answer.retry-after: 3", "answer.set-cookie: a=1", "answer.set-cookie: b=2", "answer body: sick", "answer.content-type: text/plain", "log.details: ext_authz_error", "upstream: nothing"}},
		{name: "without a status", door: "plain", reply: failure(`body: "sick"`), want: []string{"answered: 403", "answer body: sick"}},
		{name: "without a status, but one for errors", door: "503", reply: failure(`body: "sick"`), want: []string{"answered: 503", "answer body: sick"}},
		{name: "a status that is none", door: "503", reply: failure(`status {code: 0}`), want: []string{"answered: 503"}},
		{name: "to a gRPC client", door: "plain", http2: [][2]string{{":method", "POST"}, {"content-type", "application/grpc"}}, reply: failure(`status {code: ServiceUnavailable} body: "sick"`),
			want: []string{"answered: 200", "answer.grpc-status: 14", "answer.grpc-message: sick"}},
		{name: "open", door: "open", reply: failure(`status {code: BadGateway} headers {header {key: "x-a" value: "1"}}`), want: []string{"answered: 200", "!answer.x-a", "!upstream.x-a"}},
		{name: "a control character, validating", door: "validating", reply: failure(`status {code: BadGateway} headers {header {key: "x-b" value: "1"}} headers {header {key: "x-a" value: "1\x012"}} body: "sick"`), want: []string{"answered: 403", "!answer.x-a", "!answer.x-b", "answer body: ", "log.details: ext_authz_error"}},
	})
}

// TestEnvoyChoosesRoutesAgain is about clear_route_cache and
// clear_route_cache_headers.
func TestEnvoyChoosesRoutesAgain(t *testing.T) {
	const routes = `[
{match: {prefix: /, headers: [{name: x-edict-to, string_match: {exact: other}}]}, route: {cluster: other}},
{match: {prefix: /moved}, route: {cluster: other}},
{match: {prefix: /}, route: {cluster: upstream}}]`
	l := startLab(t,
		door{name: "kept", routes: routes},
		door{name: "cleared", routes: routes, authz: "clear_route_cache: true"},
		door{name: "cleared for one", routes: routes, authz: "{clear_route_cache: true, clear_route_cache_headers: [x-other]}"},
		door{name: "cleared for the right one", routes: routes, authz: "{clear_route_cache: true, clear_route_cache_headers: [x-edict-to]}"},
	)
	const to = `status {} ok_response {headers {header {key: "x-edict-to" value: "other"} append {value: false} append_action: OVERWRITE_IF_EXISTS_OR_ADD}}`
	const moved = `status {} ok_response {headers {header {key: ":path" value: "/moved"}}}`
	l.run(t, []probe{
		{name: "the route stays", door: "kept", reply: to, want: []string{"upstream.x-edict-to: other", "log.cluster: upstream"}},
		{name: "the route stays although the path changes", door: "kept", reply: moved, want: []string{"upstream: GET /moved", "log.cluster: upstream"}},
		{name: "the route changes", door: "cleared", reply: to, want: []string{"log.cluster: other"}},
		{name: "the route changes with the path", door: "cleared", reply: moved, want: []string{"log.cluster: other"}},
		{name: "a removal does it, too", door: "cleared", lines: []string{"x-edict-to: other"}, reply: `status {} ok_response {headers_to_remove: "x-edict-to"}`, want: []string{"log.cluster: upstream"}},
		{name: "another header than those named", door: "cleared for one", reply: to, want: []string{"upstream.x-edict-to: other", "log.cluster: upstream"}},
		{name: "a header that is named", door: "cleared for the right one", reply: to, want: []string{"log.cluster: other"}},
		{name: "a client cannot choose", door: "cleared", lines: []string{"x-edict-to: upstream"}, reply: to, want: []string{"log.cluster: other"}},
	})
}

// TestEnvoyOnlyLooks is about shadow_mode.
func TestEnvoyOnlyLooks(t *testing.T) {
	l := startLab(t, door{name: "shadow", authz: "shadow_mode: true"})
	l.run(t, []probe{
		{name: "a denial passes", door: "shadow", reply: `status {code: 7} denied_response {status {code: NotFound} headers {header {key: "x-a" value: "1"}}}`,
			want: []string{"answered: 200", "!answer.x-a", "!upstream.x-a", `log.shadow: {"check_result":"DENIED","response_headers":[{"key":"x-a","value":"1"}],"status_code":404}`}},
		{name: "a failure passes", door: "shadow", err: status.Error(codes.Unavailable, "no"), want: []string{"answered: 200", "!upstream.x-envoy-auth-failure-mode-allowed"}},
		{name: "an allow changes headers", door: "shadow", reply: `status {} ok_response {headers {header {key: "x-a" value: "1"}}}`, want: []string{"answered: 200", "upstream.x-a: 1"}},
	})
	for _, name := range []string{"shadow_denied", "shadow_error"} {
		if n := l.stats(t, "http.shadow.ext_authz."+name); len(n) != 1 {
			t.Errorf("%s: %v", name, n)
		}
	}
}
