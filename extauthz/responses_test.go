package extauthz

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"edict/engine"
	"edict/engine/yamldoc"
	"edict/extauthz/routemap"
)

const docPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: doc
  version: default
  rules:
    - name: readers
      actions: [read]
      effect: EFFECT_ALLOW
      roles: [user]
      output:
        when:
          ruleActivated: '{"tier": has(P.attr.tier) ? P.attr.tier : "free", "left": 3}'
    - name: blocked
      actions: [write]
      effect: EFFECT_DENY
      roles: ["*"]
      output: {when: {ruleActivated: '{"status": 429, "why": "try <later>", "wait": "7"}'}}
    - name: fails
      actions: [fail]
      effect: EFFECT_ALLOW
      roles: [user]
      output: {when: {ruleActivated: 'R.attr.nothing'}}
`

// docRoutes gives a route map whose routes have onAllow and onDeny, given as
// the lines of a YAML mapping.
func docRoutes(allow, deny string) string {
	indent := func(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n        ") }
	route := func(name, path, action string) string {
		out := fmt.Sprintf("    - name: %s\n      match: {path: %s}\n      resource: {kind: doc, id: x}\n      action: %s\n", name, path, action)
		if allow != "" {
			out += "      onAllow:\n        " + indent(allow) + "\n"
		}
		if deny != "" {
			out += "      onDeny:\n        " + indent(deny) + "\n"
		}
		return out
	}
	return "apiVersion: edict.dev/v1\nrouteMap:\n  name: docs\n  routes:\n" +
		route("read", `"/read/{id}"`, "read") + route("write", `"/write/{id}"`, "write") + route("fail", `"/fail/{id}"`, "fail")
}

func docServer(t testing.TB, o Options, allow, deny string) *Server {
	t.Helper()
	if o.Identity == nil {
		o.Identity, o.PrincipalHeader, o.RolesHeader = jwtOnly.Identity, jwtOnly.PrincipalHeader, jwtOnly.RolesHeader
	}
	s := &Server{Panicked: func(v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }}
	s.Use(compile(t, o, docPolicy, docRoutes(allow, deny)))
	return s
}

// headerLine writes a header as it is sent: name, what is done with it, value.
func headerLine(h *corev3.HeaderValueOption) string {
	//lint:ignore SA1019 Envoy obeys this field
	if h.Append != nil && h.GetAppend().GetValue() {
		return h.GetHeader().GetKey() + "+=" + h.GetHeader().GetValue()
	}
	sign := map[corev3.HeaderValueOption_HeaderAppendAction]string{
		corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD: "=", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD: "+=",
		corev3.HeaderValueOption_ADD_IF_ABSENT: "?=", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS: "!=",
	}[h.GetAppendAction()]
	return h.GetHeader().GetKey() + sign + h.GetHeader().GetValue()
}

// mutations writes what an allow does, the identity headers aside.
func mutations(out *authv3.CheckResponse) string {
	ok := out.GetOkResponse()
	var all []string
	for _, h := range ok.GetHeaders() {
		if !strings.HasPrefix(h.GetHeader().GetKey(), "x-edict-") {
			all = append(all, headerLine(h))
		}
	}
	for _, name := range ok.GetHeadersToRemove() {
		all = append(all, "-"+name)
	}
	for _, h := range ok.GetResponseHeadersToAdd() {
		all = append(all, "<"+headerLine(h))
	}
	for _, p := range ok.GetQueryParametersToSet() {
		all = append(all, "?"+p.GetKey()+"="+p.GetValue())
	}
	for _, name := range ok.GetQueryParametersToRemove() {
		all = append(all, "?-"+name)
	}
	return strings.Join(all, " ")
}

func TestOnAllow(t *testing.T) {
	ask := func(path string, headers ...string) testRequest {
		return get(path).as("alice", "user").with(headers...)
	}
	claim := func(r testRequest, name string, v any) testRequest {
		claims := map[string]any{name: v}
		maps.Copy(claims, r.claims)
		r.claims = claims
		return r
	}
	plain := ask("/read/7")
	for _, tt := range []struct {
		name    string
		allow   string
		request testRequest
		want    string // what the allow does, or the outcome of a denial
	}{
		{"nothing", "", plain, ""},
		{"constants", "headers: {x-mode: ro}\nremoveHeaders: [cookie]\nresponseHeaders: {cache-control: no-store}", plain, "x-mode=ro -cookie <cache-control=no-store"},
		{"expressions", `headers: {x-id: {expr: path.id}, x-by: {expr: principal.id}, x-rule: {expr: decision.rule}, x-effect: {expr: decision.effect}}`, plain, "x-id=7 x-by=alice x-rule=readers x-effect=allow"},
		{"numbers and bools", `headers: {x-n: {expr: 1 + 1}, x-d: {expr: "1.5"}, x-b: {expr: 1 > 2}, x-l: {expr: "[1, 2.0, true]"}}`, plain, "x-n=2 x-d=1.5 x-b=false x-l=1,2,true"},
		{"outputs of policies", `headers: {x-tier: {expr: decision.outputs.readers.tier}, x-full: {expr: 'decision.outputs["resource.doc.vdefault#readers"].left'}}`, plain, "x-tier=free x-full=3"},
		{"an output that nobody told", `headers: {x-tier: {expr: decision.outputs.writers.tier}}`, plain, "bad_answer"},
		{"an output that perhaps nobody told", `headers: {x-tier: {expr: 'decision.outputs.?writers.tier'}}`, plain, "-x-tier"},
		{"an output that failed", `headers: {x-tier: {expr: decision.outputs.fails}}`, ask("/fail/1"), "bad_answer"},
		{"an expression that fails", `headers: {x-tenant: {expr: claims.tenant}}`, plain, "bad_answer"},
		{"an optional without a value removes the client's", `headers: {x-tenant: {expr: 'claims.?tenant'}}`, ask("/read/7", "x-tenant: forged"), "-x-tenant"},
		{"an empty text removes the client's", `headers: {x-tenant: {expr: '""'}}`, ask("/read/7", "x-tenant: forged"), "-x-tenant"},
		{"a value that is no text", `headers: {x-tenant: {expr: claims}}`, plain, "bad_answer"},
		{"a line break", `headers: {x-tenant: {expr: claims.tenant}}`, claim(plain, "tenant", "a\r\nx-admin: 1"), "bad_answer"},
		{"a NUL", `headers: {x-tenant: {expr: claims.tenant}}`, claim(plain, "tenant", "a\x00"), "bad_answer"},
		{"not ASCII", `headers: {x-tenant: {expr: claims.tenant}}`, claim(plain, "tenant", "zoë"), "bad_answer"},
		{"not ASCII, encoded", `headers: {x-tenant: {value: {expr: claims.tenant}, encode: percent}}`, claim(plain, "tenant", "zoë 100%"), "x-tenant=zo%C3%AB%20100%25"},
		{"a line break, encoded", `headers: {x-tenant: {value: {expr: claims.tenant}, encode: percent}}`, claim(plain, "tenant", "a\nb"), "bad_answer"},
		{"a list, encoded", `headers: {x-t: {value: {expr: claims.t}, encode: percent}}`, claim(plain, "t", []any{"a,b", "c"}), "x-t=a%2Cb,c"},
		{"a list with a comma", `headers: {x-t: {expr: claims.t}}`, claim(plain, "t", []any{"a,b", "c"}), "bad_answer"},
		{"too long", `headers: {x-t: {expr: claims.t}}`, claim(plain, "t", strings.Repeat("x", 4097)), "bad_answer"},
		{"too many bytes", `headers: {x-a: {expr: claims.t}, x-b: {expr: claims.t}, x-c: {expr: claims.t}, x-d: {expr: claims.t}, x-e: {expr: claims.t}}`, claim(plain, "t", strings.Repeat("x", 4000)), "bad_answer"},
		{"too many bytes down", `responseHeaders: {x-a: {expr: claims.t}, x-b: {expr: claims.t}, x-c: {expr: claims.t}, x-d: {expr: claims.t}, x-e: {expr: claims.t}}`, claim(plain, "t", strings.Repeat("x", 4000)), "bad_answer"},
		{"append to one", `headers: {x-t: {value: b, action: append}}`, ask("/read/7", "x-t: a"), "x-t+=b"},
		{"append to none", `headers: {x-t: {value: b, action: append}}`, plain, "x-t=b"},
		{"add if absent, there", `headers: {x-t: {value: b, action: addIfAbsent}}`, ask("/read/7", "x-t: a"), ""},
		{"add if absent, not there", `headers: {x-t: {value: b, action: addIfAbsent}}`, plain, "x-t=b"},
		{"overwrite if exists, there", `headers: {x-t: {value: b, action: overwriteIfExists}}`, ask("/read/7", "x-t: a"), "x-t=b"},
		{"overwrite if exists, not there", `headers: {x-t: {value: b, action: overwriteIfExists}}`, plain, ""},
		{"append nothing", `headers: {x-t: {value: {expr: 'claims.?t'}, action: append}}`, ask("/read/7", "x-t: a"), ""},
		{"response headers", `responseHeaders: {vary: {value: authorization, action: append}, server: {value: shop, action: overwriteIfExists}, x-a: {value: {expr: principal.id}, action: addIfAbsent}}`, plain,
			"<vary+=authorization <server!=shop <x-a?=alice"},
		{"a response header without a value", `responseHeaders: {x-t: {expr: 'claims.?t'}}`, plain, ""},
		{"a response header with a line break", `responseHeaders: {x-t: {expr: claims.t}}`, claim(plain, "t", "a\nb"), "bad_answer"},
		{"set a parameter", `setQuery: {tenant: {expr: principal.id}, "a b": "ä&"}`, ask("/read/7?x=1"), "?tenant=alice ?a%20b=%C3%A4%26"},
		{"other spellings of a set parameter", `setQuery: {tenant: acme}`, ask("/read/7?tenant=x&%74enant=evil&x=1&tenan%74&tenant=y"), "?tenant=acme ?-%74enant ?-tenan%74"},
		{"other spellings with a space", `setQuery: {"a b": c}`, ask("/read/7?a+b=1&a%20b=2&a%20b"), "?a%20b=c ?-a+b"},
		{"remove a parameter", `removeQuery: [debug]`, ask("/read/7?&&debug=1&%64ebug=2&debu%67=3&x=4&debug"), "?-debug ?-%64ebug ?-debu%67"},
		{"remove one that is not there", `removeQuery: [debug]`, ask("/read/7?Debug=1"), ""},
		{"an optional parameter without a value is removed", `setQuery: {tenant: {expr: 'claims.?tenant'}}`, ask("/read/7?tenant=evil&%74enant=x"), "?-tenant ?-%74enant"},
		{"a query that can be read in two ways", `setQuery: {tenant: acme}`, ask("/read/7?a=1;tenant=evil"), "bad_request"},
		{"a parameter that fails", `setQuery: {tenant: {expr: claims.tenant}}`, plain, "bad_answer"},
		{"a parameter that is too long", `setQuery: {tenant: {expr: claims.t}}`, claim(plain, "t", strings.Repeat(" ", 2000)), "bad_answer"},
		{"a repeated parameter is read", `headers: {x-t: {expr: request.query.a}}`, ask("/read/7?a=1&a=2"), "bad_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := check(t, docServer(t, Options{}, tt.allow, ""), tt.request)
			got := mutations(out)
			if out.GetStatus().GetCode() != 0 {
				got, _ = reason(out)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The identity headers are set whatever a route adds.
func TestOnAllowKeepsIdentity(t *testing.T) {
	s := docServer(t, Options{}, "headers: {x-a: {expr: principal.id}}\nremoveHeaders: [x-b]", "")
	set, removed := upstream(check(t, s, get("/read/1").as("alice", "user").with("x-edict-principal: bob")))
	if set["x-edict-principal"] != "alice" || set["x-edict-roles"] != "user" || set["x-a"] != "alice" || !slices.Equal(removed, []string{"x-b"}) {
		t.Errorf("set %v, removed %v", set, removed)
	}
}

func TestOnAllowMetadata(t *testing.T) {
	o := Options{}
	o.Respond.MetadataPrefix = "e_"
	s := docServer(t, o, `
metadata:
  tier: {expr: decision.outputs.readers.tier}
  all: {expr: decision.outputs.readers}
  limits: {a: [1, true, null]}
  time: {expr: 'timestamp("2026-01-01T00:00:00Z")'}
  none: {expr: 'claims.?nothing'}`, "")
	got := check(t, s, get("/read/1").as("alice", "user")).GetDynamicMetadata().AsMap()
	for k := range got {
		if !slices.Contains([]string{"e_tier", "e_all", "e_limits", "e_time"}, k) {
			delete(got, k)
		}
	}
	text, _ := json.Marshal(got)
	if want := `{"e_all":{"left":3,"tier":"free"},"e_limits":{"a":[1,true,null]},"e_tier":"free","e_time":"2026-01-01T00:00:00Z"}`; string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	deep := docServer(t, Options{}, `metadata: {deep: {expr: claims.deep}}`, "")
	r := get("/read/1").as("alice", "user")
	v := any("x")
	for range 20 {
		v = []any{v}
	}
	r.claims["deep"] = v
	if got, _ := reason(check(t, deep, r)); got != "bad_answer" {
		t.Errorf("metadata nested too deep ends in %s", got)
	}
}

// What a file and the configuration say holds for every route, and a route
// outweighs them name by name.
func TestResponsesAreInherited(t *testing.T) {
	o := jwtOnly
	o.Respond.OnAllow = routemap.ParseOnAllow(parsed(t, `{headers: {x-a: config, x-b: config}, removeHeaders: [cookie, x-c], responseHeaders: {x-r: config}, removeQuery: [debug]}`))
	o.Respond.OnDeny = routemap.ParseOnDeny(parsed(t, `{default: {status: 410}, invalid: {status: 422}, unauthenticated: {status: 404}}`))
	s := new(Server)
	s.Use(compile(t, o, docPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: docs
  defaults:
    onAllow: {headers: {x-b: file, x-c: file}}
    onDeny: {forbidden: {status: 409}}
  routes:
    - {name: plain, match: {path: /plain}, resource: {kind: doc, id: x}, action: read}
    - name: own
      match: {path: /own}
      resource: {kind: doc, id: x}
      action: read
      onAllow: {headers: {x-a: route, cookie: route}, removeHeaders: [x-b], setQuery: {debug: "0"}}
      onDeny: {no_identity: {status: 403}, deny: {hide: true}}
`))
	for path, want := range map[string]string{
		"/plain?debug=1": "x-b=file x-c=file x-a=config -cookie <x-r=config ?-debug",
		"/own?debug=1":   "x-a=route cookie=route x-c=file -x-b <x-r=config ?debug=0",
	} {
		if got := mutations(check(t, s, get(path).as("alice", "user"))); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", path, got, want)
		}
	}
	for _, tt := range []struct {
		request testRequest
		want    int
	}{
		{get("/plain").as("alice", "guest"), 409},
		{get("/own").as("alice", "guest"), 404},
		{get("/plain"), 404},
		{get("/own"), 403},
		{get("/nowhere").as("alice", "user"), 410},
		{get("/plain/../x"), 422},
	} {
		out := check(t, s, tt.request)
		if _, status := reason(out); status != tt.want || out.GetStatus().GetCode() == 0 {
			t.Errorf("%s: %d, want %d", tt.request.path, status, tt.want)
		}
		if denialHeader(out, "www-authenticate") != "" {
			t.Errorf("%s: a challenge without a 401", tt.request.path)
		}
	}
}

func parsed(t *testing.T, text string) yamldoc.Node {
	t.Helper()
	doc := yamldoc.Parse("edict.yaml", []byte(text))
	n, ok := doc.Root()
	if list := doc.Diagnostics(); !ok || len(list) > 0 {
		t.Fatal(list.Render())
	}
	return n
}

// A public route asks nobody, and shapes its answers all the same. What several
// checks tell is told together, and only of this request.
func TestResponsesOfOtherRoutes(t *testing.T) {
	s := new(Server)
	s.Use(compile(t, jwtOnly, docPolicy, `
apiVersion: edict.dev/v1
routeMap:
  name: docs
  defaults:
    onDeny:
      default: {status: 410, headers: {x-who: {expr: '"<" + principal.id + claims.?sub.orValue("") + decision.rule + decision.outcome + ">"'}}}
  routes:
    - name: public
      match: {path: "/public/{id}"}
      public: true
      onAllow: {headers: {x-id: {expr: path.id + decision.outcome + principal.id + decision.policy}, x-none: {expr: 'decision.outputs.?readers.tier'}}}
    - name: several
      match: {path: /several}
      checks:
        - {resource: {kind: doc, id: a}, action: read}
        - {resource: {kind: doc, id: b}, action: read}
      onAllow: {headers: {x-left: {expr: decision.outputs.readers.left}}}
    - name: odd
      match: {path: /odd}
      resource: {kind: doc, id: {expr: claims.nothing}}
      action: read
      onAllow: {headers: {x-left: {expr: decision.outputs.readers.left}}}
`))
	for range 3 { // the second time with what the first one left in the pool
		if got := mutations(check(t, s, get("/several").as("alice", "user"))); got != "x-left=3" {
			t.Errorf("several checks: %s", got)
		}
		if got := mutations(check(t, s, get("/public/7"))); got != "x-id=7public -x-edict-principal -x-edict-roles -x-none" {
			t.Errorf("a public route: %s", got)
		}
		for _, tt := range []struct {
			request testRequest
			want    string
		}{
			{get("/odd").as("alice", "user"), "<alicealiceunmappable>"},
			{get("/several"), "<no_identity>"},
			{get("/several").as("alice", "guest"), "<alicealicedeny>"},
			{get("/several").with("authorization: Bearer x"), "<bad_token>"},
		} {
			out := check(t, s, tt.request)
			if got := denialHeader(out, "x-who"); got != tt.want || out.GetDeniedResponse().GetStatus().GetCode() != 410 {
				t.Errorf("%s: %q, want %q: %v", tt.request.path, got, tt.want, out)
			}
		}
	}
}

const browser = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func TestOnDeny(t *testing.T) {
	denied := get("/write/7?x=secret").as("alice", "user")
	grpc := testRequest{method: "POST", path: "/write/Method", headers: []string{"content-type: application/grpc+proto", browser}}.as("alice", "user")
	plainProblem := `{"title":"Forbidden","status":403}` + "\n"
	for _, tt := range []struct {
		name    string
		deny    string
		request testRequest
		status  int
		headers string // as in headerLine, those of every denial aside
		body    string
	}{
		{"nothing", "", denied, 403, "", plainProblem},
		{"nothing, to a browser", "", denied.with(browser), 403, "", plainBody(formHTML, 403)},
		{"nothing, as text", "", denied.with("accept: text/plain"), 403, "", "Forbidden\n"},
		{"hidden", "forbidden: {hide: true}", denied, 404, "", `{"title":"Not Found","status":404}` + "\n"},
		{"hidden from a browser", "forbidden: {hide: true}", denied.with(browser), 404, "", plainBody(formHTML, 404)},
		{"by label", "deny: {status: 409}\nforbidden: {status: 410}", denied, 409, "", `{"title":"Conflict","status":409}` + "\n"},
		{"default", "default: {status: 410}\ninvalid: {status: 422}", denied, 410, "", `{"title":"Gone","status":410}` + "\n"},
		{"another class", "invalid: {status: 422}", denied, 403, "", plainProblem},
		{"headers", `forbidden: {headers: {retry-after: "60", x-by: {expr: principal.id}, cache-control: private}}`, denied, 403, "retry-after=60 x-by=alice cache-control=private", plainProblem},
		{"a header that can't be sent is left out", `forbidden: {headers: {x-a: {expr: '"a\r\nb: c"'}, x-b: {expr: 'claims.?none'}, x-c: "1"}}`, denied, 403, "x-c=1", plainProblem},
		{"a header that fails", `forbidden: {status: 410, headers: {x-a: {expr: claims.none}}}`, denied, 403, "", plainProblem},
		{"by output", `deny: {status: {expr: decision.outputs.blocked.status}, headers: {retry-after: {expr: decision.outputs.blocked.wait}}, problem: {detail: {expr: decision.outputs.blocked.why}}}`,
			denied, 429, "retry-after=7", `{"title":"Too Many Requests","status":429,"detail":"try \u003clater\u003e"}` + "\n"},
		{"a status that would pass", `deny: {status: {expr: "200"}}`, denied, 403, "", plainProblem},
		{"a status that is no number", `deny: {status: {expr: '"404"'}}`, denied, 403, "", plainProblem},
		{"a status of a fraction", `deny: {status: {expr: "404.5"}}`, denied, 403, "", plainProblem},
		{"a status that Envoy does not know", `deny: {status: {expr: "499"}}`, denied, 403, "", plainProblem},
		{"a status that redirects", `deny: {status: {expr: "302"}}`, denied, 403, "", plainProblem},
		{"problem details", `deny: {problem: {type: "https://example.com/p", title: No, detail: {expr: '"rule " + decision.rule'}, instance: {expr: '"urn:uuid:" + "x"'}, members: {code: 7, who: {expr: principal.id}, "a\"b": [1, {x: null}], none: {expr: 'claims.?none'}}}}`,
			denied, 403, "", `{"type":"https://example.com/p","title":"No","status":403,"detail":"rule blocked","instance":"urn:uuid:x","code":7,"who":"alice","a\"b":[1,{"x":null}]}` + "\n"},
		{"a problem that fails", `deny: {status: 410, problem: {detail: {expr: claims.none}}}`, denied, 403, "", plainProblem},
		{"a constant problem", `deny: {problem: {title: No}}`, denied, 403, "", `{"title":"No","status":403}` + "\n"},
		{"text", `deny: {text: {expr: '"No, " + principal.id'}}`, denied.with("accept: text/plain"), 403, "", "No, alice"},
		{"text is for those who like text", `deny: {text: "No"}`, denied, 403, "", plainProblem},
		{"HTML", `deny: {html: {template: "<p title=\"{{.why}}\">{{.why}} {{.status}} {{.title}}<script>var x = {{.why}}</script><a href=\"{{.link}}\">", values: {why: {expr: decision.outputs.blocked.why + "\"'"}, link: "javascript:alert(1)"}}}`,
			denied.with(browser), 403, "", "<p title=\"try &lt;later&gt;&#34;&#39;\">try &lt;later&gt;&#34;&#39; 403 Forbidden<script>var x = \"try \\u003clater\\u003e\\\"'\"</script><a href=\"#ZgotmplZ\">"},
		{"constant HTML", `deny: {html: "<h1>No</h1>"}`, denied.with(browser), 403, "", "<h1>No</h1>"},
		{"HTML that fails", `deny: {html: {template: "{{.a}}", values: {a: {expr: claims.none}}}}`, denied.with(browser), 403, "", plainBody(formHTML, 403)},
		{"a body that is too large", `deny: {text: {expr: claims.long}}`, func() testRequest {
			r := get("/write/7").as("alice", "user").with("accept: text/plain")
			r.claims["long"] = strings.Repeat("x", maxBody+1)
			return r
		}(), 403, "", "Forbidden\n"},
		{"a query that can't be read", `deny: {status: 410, text: {expr: request.query.x}}`, get("/write/7?x=1&x=2").as("alice", "user").with("accept: text/plain"), 403, "", "Forbidden\n"},
		{"gRPC", "", grpc, 403, "grpc-status=7", "forbidden"},
		{"gRPC, with a message", `deny: {message: {expr: '"no " + decision.rule'}, html: "<p>", text: t, problem: {title: p}}`, grpc, 403, "grpc-status=7", "no blocked"},
		{"gRPC, hidden", `deny: {hide: true}`, grpc, 404, "grpc-status=5", "not found"},
		{"gRPC, by status", `deny: {status: 429}`, grpc, 429, "grpc-status=8", "too many requests"},
		{"gRPC, no redirect", `deny: {redirect: {to: "https://login.example.com/"}}`, grpc, 403, "grpc-status=7", "forbidden"},
		{"no redirect for programs", `deny: {redirect: {to: "https://login.example.com/"}}`, denied, 403, "", plainProblem},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := check(t, docServer(t, Options{}, "", tt.deny), tt.request)
			d := out.GetDeniedResponse()
			if out.GetStatus().GetCode() == 0 || d == nil {
				t.Fatalf("allowed: %v", out)
			}
			if got := int(d.GetStatus().GetCode()); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			if d.GetBody() != tt.body {
				t.Errorf("body\n%s\nwant\n%s", d.GetBody(), tt.body)
			}
			var headers []string
			for _, h := range d.GetHeaders() {
				if line := headerLine(h); !slices.Contains([]string{"cache-control=no-store", "x-content-type-options=nosniff"}, line) && h.GetHeader().GetKey() != "content-type" {
					headers = append(headers, line)
				}
			}
			if got := strings.Join(headers, " "); got != tt.headers {
				t.Errorf("headers %s, want %s", got, tt.headers)
			}
			if got, _ := reason(out); got != "deny" {
				t.Errorf("the reason is %s", got)
			}
		})
	}
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct {
		name     string
		redirect string
		request  testRequest
		status   int
		location string
	}{
		{"to a login", `{to: "https://login.example.com/start", next: next}`, get("/read/7?token=s3cret").with(browser), 302, "https://login.example.com/start?next=%2Fread%2F7"},
		{"beside a query", `{to: "https://login.example.com/start?client=a", next: return to}`, get("/read/7").with(browser), 302, "https://login.example.com/start?client=a&return%20to=%2Fread%2F7"},
		{"to a path of the site", `{to: /login, next: next}`, get("/read/7").with(browser), 302, "/login?next=%2Fread%2F7"},
		{"without the path", `{to: /login}`, get("/read/7").with(browser), 302, "/login"},
		{"by another status", `{to: /login, status: 303}`, get("/read/7").with(browser), 303, "/login"},
		{"HEAD", `{to: /login, status: 307}`, testRequest{method: "HEAD", path: "/read/7", headers: []string{browser}}, 307, "/login"},
		{"escapes stay", `{to: /login, next: next}`, get("/read/a%20b%2Cc").with(browser), 302, "/login?next=%2Fread%2Fa%2520b%252Cc"},
		{"a very long path", `{to: /login, next: next}`, get("/read/" + strings.Repeat("%41", 900)).with(browser), 302, "/login"},
		{"not for programs", `{to: /login}`, get("/read/7").with("accept: application/json"), 401, ""},
		{"not without a word", `{to: /login}`, get("/read/7"), 401, ""},
		{"not for what a browser would not send again", `{to: /login}`, testRequest{method: "POST", path: "/read/7", headers: []string{browser}}, 401, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := check(t, docServer(t, Options{}, "", "unauthenticated: {redirect: "+tt.redirect+"}"), tt.request)
			_, status := reason(out)
			if got := denialHeader(out, "location"); got != tt.location || status != tt.status {
				t.Errorf("%d to %q, want %d to %q", status, got, tt.status, tt.location)
			}
			if challenge := denialHeader(out, "www-authenticate"); (challenge != "") != (tt.status == 401) {
				t.Errorf("%d with the challenge %q", tt.status, challenge)
			}
			if u, err := url.Parse(denialHeader(out, "location")); err != nil || u.Host != "" && u.Host != "login.example.com" {
				t.Errorf("it leads to %v", u)
			}
		})
	}
}

// Whatever path is asked for, the path that a redirect hands on is one of the
// site, and the redirect itself leads where the route says.
func FuzzRedirect(f *testing.F) {
	for _, path := range []string{"/read/7", "//evil.example", `/\evil.example`, "/%2fevil.example", "/%5cevil.example", "/read/%0d%0aset-cookie:x", "/read/../7", "https://evil.example/", "/read/7?next=//evil", "/\t/evil"} {
		f.Add(path)
	}
	o := Options{Identity: jwtOnly.Identity}
	o.Respond.OnDeny = &routemap.OnDeny{Denials: []routemap.Denial{{}}}
	d := &o.Respond.OnDeny.Denials[0]
	d.Class.Value, d.Redirect = routemap.DefaultClass, &routemap.Redirect{}
	d.Redirect.To.Value, d.Redirect.Next.Value = "https://login.example.com/start", "next"
	s := new(Server)
	s.Use(compile(f, o, docPolicy, docRoutes("", "")))
	f.Fuzz(func(t *testing.T, path string) {
		if strings.ToValidUTF8(path, "") != path {
			t.Skip() // no message has it
		}
		location := denialHeader(check(t, s, get(path).with(browser)), "location")
		rest, ok := strings.CutPrefix(location, "https://login.example.com/start")
		if !ok {
			t.Fatalf("it leads to %q", location)
		}
		if rest == "" {
			return
		}
		values, err := url.ParseQuery(strings.TrimPrefix(rest, "?"))
		if err != nil {
			t.Fatal(err)
		}
		if next := values.Get("next"); len(values) != 1 || !sitePath(next) || strings.HasPrefix(next, "//") {
			t.Fatalf("the path handed on is %q", next)
		}
	})
}

func TestFullDetail(t *testing.T) {
	o := Options{}
	o.Respond.FullDetail = true
	s := docServer(t, o, "", "deny: {problem: {title: No, members: {code: 7}}, text: own}")
	r := get("/write/7?x=s3cret").as("s3cret-id", "user", "s3cret-role").with("cookie: s3cret")
	r.claims["email"] = "s3cret@example.com"
	for _, tt := range []struct {
		name    string
		request testRequest
		want    []string
	}{
		{"problem", r, []string{`"title":"No"`, `"code":7`, `"reason":"deny"`, `"cause":"denied"`, `"policy":"resource.doc.vdefault"`, `"rule":"blocked"`, `"decision":"`}},
		{"HTML", r.with(browser), []string{"<h1>Forbidden</h1>", "<dt>rule</dt><dd>blocked</dd>", "</html>"}},
		{"own text", r.with("accept: text/plain"), []string{"own"}},
		{"no route", get("/nowhere").as("alice", "user").with("accept: text/plain"), []string{"Forbidden\nreason: no_route\n"}},
		{"bad request", get("/a/../b"), []string{`"status":400`, `"reason":"bad_request"`, `"cause":"dot_segment"`}},
		{"gRPC", testRequest{method: "POST", path: "/write/Method", headers: []string{"content-type: application/grpc"}}.as("alice", "user"), []string{"forbidden: reason deny; cause denied; policy resource.doc.vdefault; rule blocked; decision "}},
	} {
		body := check(t, s, tt.request).GetDeniedResponse().GetBody()
		for _, want := range tt.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in %s", tt.name, want, body)
			}
		}
		if strings.Contains(body, "s3cret") {
			t.Errorf("%s: what the client said is in %s", tt.name, body)
		}
	}
}

// Denials that do not depend on the request are written beforehand.
func TestPreparedDenialsAllocateNothing(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector makes pools forget what they hold, so that counts mean nothing; the run without it counts")
	}
	plain := docServer(t, Options{}, "", "")
	s := docServer(t, Options{}, "headers: {x-mode: ro}\nresponseHeaders: {cache-control: no-store}", `default: {status: 410, headers: {retry-after: "60"}, problem: {title: No, members: {code: 7}}, html: "<p>No", text: "No"}`)
	dst := make([]byte, 0, 4096)
	for name, r := range map[string]testRequest{
		"problem": get("/write/7").as("alice", "user"), "HTML": get("/nowhere").with(browser), "no route": get("/nowhere"), "allow": get("/read/7").as("alice", "user"),
	} {
		b := r.bytes(t)
		most := 0.0
		if name == "allow" || name == "problem" {
			most = testing.AllocsPerRun(200, func() { plain.AppendCheck(t.Context(), dst, b) }) // what the outputs of the policy take
		}
		if n := testing.AllocsPerRun(200, func() { s.AppendCheck(t.Context(), dst, b) }); n > most {
			t.Errorf("%s: %v allocations, want at most %v", name, n, most)
		}
	}
}

func TestConfiguredResponsesAreChecked(t *testing.T) {
	o := jwtOnly
	o.Respond.OnAllow = routemap.ParseOnAllow(parsed(t, `{headers: {x-edict-principal: root}}`))
	o.Respond.OnDeny = routemap.ParseOnDeny(parsed(t, `{forbiden: {hide: true}}`))
	_, err := NewCompiler(engine.Options{}, o)
	if err == nil || !strings.Contains(err.Error(), "edict.yaml:1:") || !strings.Contains(err.Error(), "route-header") || !strings.Contains(err.Error(), "route-response") {
		t.Errorf("got %v", err)
	}
}
