package extauthz

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"edict/engine"
	"edict/extauthz/filtertoken"
)

// Albums are listed by whoever may see some of them. Those of an owner are read
// by the owner, all by admins; anybody sees what is public.
const (
	shelfPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  rules:
    - {name: admin-all, actions: ["*"], effect: EFFECT_ALLOW, roles: [admin]}
    - name: own
      actions: [list, read]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.owner == P.id}}
    - name: shown
      actions: [show]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: {match: {expr: R.attr.visible}}
    - name: everybody
      actions: [names]
      effect: EFFECT_ALLOW
      roles: ["*"]
    - name: adds
      actions: [add]
      effect: EFFECT_ALLOW
      roles: [user]
      condition: {match: {expr: R.attr.year + 1 == 2027}}
    - name: nobody
      actions: [erase]
      effect: EFFECT_DENY
      roles: ["*"]
`
	shelfRoutes = `
apiVersion: edict.dev/v1
routeMap:
  name: shelf
  routes:
    - {name: list, match: {methods: [GET], path: /albums}, plan: true, resource: {kind: album}, actions: [list, read]}
    - {name: search, match: {methods: [POST, HEAD], path: /albums/search}, plan: true, resource: {kind: album}, action: list}
    - name: of-tenant
      match: {methods: [GET], path: "/tenants/{tenant}/albums"}
      plan: true
      resource:
        kind: album
        attributes:
          tenant: {expr: path.tenant}
          status: {expr: "request.query[?'status']"}
          year: 2026
          size: {expr: size(path.tenant)}
          tags: {expr: "[{'a': 1, 'b': null}, -0.0, 'x', true]"}
      action: names
    - name: odd
      match: {methods: [GET], path: "/odd/{what}"}
      plan: true
      resource:
        kind: album
        attributes:
          x: {expr: "{'nan': dyn(double('NaN')), 'inf': dyn(-double('Infinity')), 'int': dyn(9007199254740993), 'uint': dyn(9007199254740993u), 'time': dyn(timestamp('2026-01-01T00:00:00Z')), 'duration': dyn(duration('1s')), 'bytes': dyn(b'x'), 'list': dyn([1, b'x']), 'map': dyn({'a': b'x'}), 'fine': dyn(1)}[path.what]"}
      action: names
    - name: adds
      match: {methods: [GET], path: "/adds"}
      plan: true
      resource: {kind: album, attributes: {year: {expr: "int(2026)"}}}
      action: add
    - {name: names, match: {methods: [GET], path: /names}, plan: true, resource: {kind: album}, action: names}
    - {name: shown, match: {methods: [GET], path: /shown}, plan: true, anonymous: true, resource: {kind: album}, action: show}
    - {name: erase, match: {methods: [DELETE], path: /albums}, plan: true, resource: {kind: album}, action: erase}
    - {name: erased, match: {methods: [GET], path: /erased}, plan: true, anonymous: true, resource: {kind: album}, action: erase}
    - name: rewritten
      match: {methods: [GET], path: /rewritten}
      plan: true
      resource: {kind: album}
      action: names
      onAllow: {setQuery: {by: {expr: principal.id}}, removeQuery: [debug], headers: {x-note: {expr: "decision.outcome + ' ' + decision.effect"}}}
    - {name: long, match: {methods: [GET], path: "/long/{rest=**}"}, plan: true, resource: {kind: album}, action: names}
    - {name: body, match: {methods: [POST], path: /body}, plan: true, resource: {kind: album, attributes: {x: {expr: "has(request.body.x) ? 'a' : 'b'"}}}, action: names}
    - {name: plain, match: {methods: [GET], path: "/albums/{id}"}, resource: {kind: album, id: {expr: path.id}}, action: names}
    - {name: open, match: {methods: [GET], path: /open}, public: true}
`
)

// shelf gives a server with these, and what reads its tokens.
func shelf(t testing.TB, change ...func(*Options)) (*Server, *filtertoken.Issuer, *Record) {
	t.Helper()
	o := jwtOnly
	tokens, err := filtertoken.New(filtertoken.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record := new(Record)
	o.Filter = Filter{Header: "x-edict-filter", Tokens: tokens}
	o.Observe = func(r *Record) { *record = *r }
	for _, c := range change {
		c(&o)
	}
	s := new(Server)
	s.Use(compile(t, o, shelfPolicy, shelfRoutes))
	return s, o.Filter.Tokens, record
}

// claimsOf verifies a token by the keys that the issuer tells of, and gives what
// it says.
func claimsOf(t testing.TB, i *filtertoken.Issuer, token string) (out map[string]any) {
	t.Helper()
	var set struct{ Keys []struct{ X string } }
	if err := json.Unmarshal(i.KeySet(time.Now()), &set); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no token", token)
	}
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !ed25519.Verify(decode(set.Keys[0].X), []byte(parts[0]+"."+parts[1]), decode(parts[2])) {
		t.Fatal("the signature is wrong")
	}
	if err := json.Unmarshal(decode(parts[1]), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestPlannedRequestCarriesFilter(t *testing.T) {
	s, tokens, record := shelf(t)
	const own = `"request.resource.attr.owner"`
	for _, tc := range []struct {
		name    string
		request testRequest
		claims  string // all but times and id, as JSON; "" of a denial
		filter  string // parts of flt
		outcome string
	}{
		{name: "nothing to withhold", request: get("/names").as("alice", "user"), outcome: "planned",
			claims: `{"act":["names"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"GET","pth":"/names","sub":"alice"}`, filter: `{"kind":"KIND_ALWAYS_ALLOWED"}`},
		{name: "rows of one's own", request: get("/albums?sort=%20date").as("alice", "user"), outcome: "planned",
			claims: `{"act":["list","read"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"GET","pth":"/albums","qsh":"` + filtertoken.HashQuery("sort=%20date") + `","sub":"alice"}`,
			filter: `"kind":"KIND_CONDITIONAL" "condition":{"expression":{ "operator":"holds" ` + own},
		{name: "an admin", request: get("/albums").as("root", "admin"), outcome: "planned",
			claims: `{"act":["list","read"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"GET","pth":"/albums","sub":"root"}`, filter: `{"kind":"KIND_ALWAYS_ALLOWED"}`},
		{name: "another method", request: testRequest{method: "POST", path: "/albums/search?"}.as("alice", "user"), outcome: "planned",
			claims: `{"act":["list"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"POST","pth":"/albums/search","sub":"alice"}`, filter: own},
		{name: "HEAD that is named", request: testRequest{method: "HEAD", path: "/albums/search"}.as("alice", "user"), outcome: "planned",
			claims: `{"act":["list"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"HEAD","pth":"/albums/search","sub":"alice"}`, filter: own},
		{name: "HEAD as GET", request: testRequest{method: "HEAD", path: "/albums"}.as("alice", "user"), outcome: "planned",
			claims: `{"act":["list","read"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"HEAD","pth":"/albums","sub":"alice"}`, filter: own},
		{name: "a port, and capitals", request: testRequest{method: "GET", path: "/names", host: "API.Example.test:8443"}.as("alice", "user"), outcome: "planned",
			claims: `{"act":["names"],"hst":"api.example.test:8443","iss":"edict","knd":"album","mth":"GET","pth":"/names","sub":"alice"}`, filter: "KIND_ALWAYS_ALLOWED"},
		{name: "a path as it came", request: get("/tenants/a%20b/albums").as("alice", "user"), outcome: "planned",
			claims: `{"act":["names"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"GET","pth":"/tenants/a%20b/albums","sub":"alice"}`,
			filter: `"operator":"and" {"operands":[{"expression":{"operands":[{"variable":"request.resource.attr.tenant"},{"value":"a b"}],"operator":"eq"}}],"operator":"holds"} ` +
				`[{"variable":"request.resource.attr.size"},{"value":3}] [{"variable":"request.resource.attr.year"},{"value":2026}] ` +
				`[{"variable":"request.resource.attr.tags"},{"value":[{"a":1,"b":null},0,"x",true]}]`},
		{name: "an optional attribute", request: get("/tenants/a/albums?status=open").as("alice", "user"), outcome: "planned",
			claims: `{"act":["names"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"GET","pth":"/tenants/a/albums","qsh":"` + filtertoken.HashQuery("status=open") + `","sub":"alice"}`,
			filter: `[{"variable":"request.resource.attr.status"},{"value":"open"}]`},
		{name: "nobody", request: get("/shown"), outcome: "planned",
			claims: `{"act":["show"],"hst":"api.example.test","iss":"edict","knd":"album","mth":"GET","pth":"/shown","sub":"anonymous"}`, filter: `request.resource.attr.visible`},
		{name: "the path that Envoy's route makes", outcome: "planned",
			request: testRequest{method: "GET", path: "/names?a=b", extensions: map[string]string{"edict.upstream.path": "/v2/names", "edict.upstream.host": "Albums.internal"}}.as("alice", "user"),
			claims:  `{"act":["names"],"hst":"albums.internal","iss":"edict","knd":"album","mth":"GET","pth":"/v2/names","qsh":"` + filtertoken.HashQuery("a=b") + `","sub":"alice"}`, filter: "KIND_ALWAYS_ALLOWED"},

		{name: "nothing to be seen", request: get("/albums").as("eve", "guest"), outcome: "deny"},
		{name: "a rule that denies", request: testRequest{method: "DELETE", path: "/albums"}.as("root", "admin"), outcome: "deny"},
		{name: "nobody, and nothing to be seen", request: get("/erased"), outcome: "no_identity"},
		{name: "no identity", request: get("/albums"), outcome: "no_identity"},
		{name: "a bad token", request: get("/albums").with("authorization: Bearer x.y.z"), outcome: "bad_token"},
		{name: "an int that a row would have as a double", request: get("/adds").as("alice", "user"), outcome: "deny"},
		{name: "a body that is missing", request: post("/body", "").as("alice", "user"), outcome: "body_missing"},
		{name: "a path that fills the token", request: get("/long/"+strings.Repeat("a", 4096)).as("alice", "user"), outcome: "unplannable"},
		{name: "a websocket", request: get("/albums").as("alice", "user").with("connection: upgrade", "upgrade: websocket"), outcome: "no_route"},
		{name: "a pin that is no path", request: testRequest{method: "GET", path: "/names", extensions: map[string]string{"edict.upstream.path": "v2"}}.as("alice", "user"), outcome: "bad_pin"},
		{name: "a pin with a query", request: testRequest{method: "GET", path: "/names", extensions: map[string]string{"edict.upstream.path": "/v2?a"}}.as("alice", "user"), outcome: "bad_pin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := check(t, s, tc.request.with("x-edict-filter: forged"))
			if got, _ := reason(out); got != tc.outcome {
				t.Fatalf("got %s (%s)", got, record.Detail)
			}
			set, removed := upstream(out)
			if tc.claims == "" {
				if out.GetOkResponse() != nil || record.Outcome.Passes() {
					t.Errorf("it passes: %v", out)
				}
				return
			}
			if metadata(out, "effect") != "allow" || record.Outcome != Planned || record.Plan == nil || record.Kind != "album" || record.Resource != "" || record.Decision != nil {
				t.Errorf("recorded %+v", record)
			}
			if slices.Contains(removed, "x-edict-filter") {
				t.Error("the header is set and removed")
			}
			claims := claimsOf(t, tokens, set["x-edict-filter"])
			filter := asJSON(claims["flt"])
			if claims["jti"] != metadata(out, "decision_id") || claims["exp"].(float64)-claims["iat"].(float64) != 30 {
				t.Errorf("id and times: %v", claims)
			}
			for _, name := range []string{"flt", "jti", "iat", "exp"} {
				delete(claims, name)
			}
			if asJSON(claims) != tc.claims {
				t.Errorf("got  %s\nwant %s", asJSON(claims), tc.claims)
			}
			for _, part := range strings.Split(tc.filter, " ") {
				if !strings.Contains(strings.ReplaceAll(filter, "a b", "a_b"), strings.ReplaceAll(part, "a b", "a_b")) {
					t.Errorf("the filter is %s, without %s", filter, part)
				}
			}
		})
	}
}

// What JSON can't hold would be another value in a row.
func TestAttributesThatNoRowHas(t *testing.T) {
	s, _, record := shelf(t)
	for _, what := range []string{"nan", "inf", "int", "uint", "time", "duration", "bytes", "list", "map", "fine"} {
		got, _ := reason(check(t, s, get("/odd/"+what).as("alice", "user")))
		if want := map[bool]string{true: "planned", false: "unplannable"}[what == "fine"]; got != want || what != "fine" && (record.Detail != "no_safe_filter" || record.Err == nil) {
			t.Errorf("%s: %s, %s: %v", what, got, record.Detail, record.Err)
		}
	}
}

// Whatever a client sends under the header's name, in whatever spelling, the
// backend gets what Edict made, or nothing.
func TestFilterHeaderIsEdictsAlone(t *testing.T) {
	s, tokens, _ := shelf(t)
	out := check(t, s, get("/names").as("alice", "user"))
	set, _ := upstream(out)
	stolen := set["x-edict-filter"]
	for _, path := range []string{"/albums/7", "/open", "/names"} {
		for _, sent := range [][]string{
			{"x-edict-filter: " + stolen},
			{"x-edict-filter: " + stolen, "x-edict-filter: " + stolen},
			{"x-edict-filter: "},
			nil,
		} {
			out := check(t, s, get(path).as("alice", "user").with(sent...))
			set, removed := upstream(out)
			token, given := set["x-edict-filter"]
			planned := path == "/names"
			if planned != given || planned == slices.Contains(removed, "x-edict-filter") || token == stolen {
				t.Errorf("%s with %.40q: sets %.20q, removes %q", path, sent, token, removed)
			}
			if planned {
				claimsOf(t, tokens, token)
				for _, h := range out.GetOkResponse().GetHeaders() {
					if h.GetHeader().GetKey() == "x-edict-filter" && h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
						t.Errorf("%s: it is appended to what the client sent: %v", path, h)
					}
				}
			}
		}
		for _, spelled := range []string{"x_edict_filter", "x-edict_filter", "x_edict-filter"} {
			if got, status := reason(check(t, s, get(path).as("alice", "user").with(spelled+": "+stolen))); got != "bad_request" || status != 400 {
				t.Errorf("%s with %s: %s", path, spelled, got)
			}
		}
		if got, _ := reason(check(t, s, get(path).as("alice", "user").with("connection: x-edict-filter"))); got != "bad_request" {
			t.Errorf("%s with a Connection header that takes it away: %s", path, got)
		}
	}
}

// Where nobody can sign, where there is no room, and after the deadline, nothing
// passes.
func TestPlanFailsClosed(t *testing.T) {
	small, err := filtertoken.New(filtertoken.Options{MaxBytes: filtertoken.MinBytes, Handles: 1, HandleBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	few, err := filtertoken.New(filtertoken.Options{MaxBytes: filtertoken.MinBytes, WaitingBytes: 1500})
	if err != nil {
		t.Fatal(err)
	}
	long := get("/tenants/"+strings.Repeat("t", 200)+"/albums?status="+strings.Repeat("s", 200)).as("alice", "user")
	longer := get("/tenants/t/albums?status="+strings.Repeat("s", 3000)).as("alice", "user")
	for _, tc := range []struct {
		name   string
		change func(*Options)
		asked  []testRequest
		want   string // outcome and detail of the last
	}{
		{"no signer", func(o *Options) { o.Filter.Tokens = nil }, []testRequest{get("/names").as("alice", "user")}, "unplannable no_filter_tokens"},
		{"no header", func(o *Options) { o.Filter.Header = "" }, []testRequest{get("/names").as("alice", "user")}, "unplannable no_filter_tokens"},
		{"a second handle of one", func(o *Options) { o.Filter.Tokens = small }, []testRequest{long, long}, "unplannable too_many_filters"},
		{"more bytes than may wait", func(o *Options) { o.Filter.Tokens = few }, []testRequest{long, long}, "unplannable too_many_filters"},
		{"a filter that is too large", func(o *Options) { o.Filter.Tokens = small }, []testRequest{longer}, "unplannable filter_too_large"},
	} {
		s, _, record := shelf(t, tc.change)
		for i, request := range tc.asked {
			out := check(t, s, request)
			if i < len(tc.asked)-1 {
				if got, _ := reason(out); got != "planned" {
					t.Errorf("%s: %s before", tc.name, got)
				}
				continue
			}
			if got := record.Outcome.String() + " " + record.Detail; got != tc.want || out.GetOkResponse() != nil {
				t.Errorf("%s: got %s", tc.name, got)
			}
		}
	}
	s, _, record := shelf(t)
	late, cancel := context.WithCancel(context.Background())
	cancel()
	if out := checkContext(late, t, s, get("/names").as("alice", "user")); out.GetOkResponse() != nil || record.Outcome != Timeout {
		t.Errorf("too late: %s", record.Outcome)
	}
}

// A token may be longer than other headers that are set.
func TestLongToken(t *testing.T) {
	tokens, err := filtertoken.New(filtertoken.Options{MaxBytes: filtertoken.MaxBytes})
	if err != nil {
		t.Fatal(err)
	}
	s, _, record := shelf(t, func(o *Options) { o.Filter.Tokens = tokens })
	out := check(t, s, get("/tenants/t/albums?status="+strings.Repeat("s", 7000)).as("alice", "user"))
	set, _ := upstream(out)
	token := set["x-edict-filter"]
	if len(token) < 9000 || len(token) > filtertoken.MaxBytes {
		t.Fatalf("the token has %d bytes: %s, %v", len(token), record.Outcome, record.Err)
	}
	if claims := claimsOf(t, tokens, token); claims["flt"] == nil || claims["hdl"] != nil {
		t.Errorf("the token says %v", claims)
	}
}

// The hash is that of the query which Envoy makes of what it is told to change.
func TestQueryIsHashedAsItIsSent(t *testing.T) {
	s, tokens, _ := shelf(t)
	for query, sent := range map[string]string{
		"":                        "by=alice",
		"?":                       "by=alice",
		"?b=2&a=1":                "a=1&b=2&by=alice",
		"?z&a=1&z=2&by=eve&debug": "a=1&by=alice&z=&z=2",
		"?%62y=eve&by=eve&B=1":    "B=1&by=alice",
		"?a=1%202&a=+&a==":        "a=1%202&a=+&a==&by=alice",
	} {
		out := check(t, s, get("/rewritten"+query).as("alice", "user"))
		set, _ := upstream(out)
		if set["x-note"] != "planned allow" {
			t.Fatalf("%s: %v", query, out)
		}
		if got := claimsOf(t, tokens, set["x-edict-filter"])["qsh"]; got != filtertoken.HashQuery(sent) {
			t.Errorf("%s: it is not the hash of %s", query, sent)
		}
	}
}

func TestPlanOverHTTP(t *testing.T) {
	s, tokens, _ := shelf(t, func(o *Options) { o.Identity = trusted.Identity })
	send := overHTTP(t, s, HTTPOptions{RawHeaders: true})
	r := send(asks("GET /albums?a=b", "x-user: alice", "x-roles: user", "x-edict-filter: forged"))
	if r.StatusCode != http.StatusOK || strings.Contains(r.Header.Get(headersToRemove), "x-edict-filter") {
		t.Fatalf("%d %v", r.StatusCode, r.Header)
	}
	if c := claimsOf(t, tokens, r.Header.Get("x-edict-filter")); c["pth"] != "/albums" || c["qsh"] != filtertoken.HashQuery("a=b") {
		t.Errorf("the token says %v", c)
	}
	for _, path := range []string{"/albums/7", "/open"} {
		r := send(asks("GET "+path, "x-user: alice", "x-roles: user", "x-edict-filter: forged"))
		if r.StatusCode != http.StatusOK || r.Header.Get("x-edict-filter") != "" || !strings.Contains(r.Header.Get(headersToRemove), "x-edict-filter") {
			t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
		}
	}
	if r := send(asks("GET /albums", "x-user: eve", "x-roles: guest")); r.StatusCode != http.StatusForbidden {
		t.Errorf("nothing to be seen: %d", r.StatusCode)
	}
}

func TestExplainShowsPlan(t *testing.T) {
	s, _, _ := shelf(t)
	e := s.Revision().Explain(context.Background(), get("/albums").as("alice", "user").bytes(t))
	if e.Outcome != Planned || e.Plan == nil || e.Decision != nil || len(e.Requests) != 1 || e.Requests[0].Resource.Kind != "album" || !strings.Contains(e.Filter.String(), "owner") {
		t.Errorf("got %+v", e)
	}
	e = s.Revision().Explain(context.Background(), get("/albums").as("eve", "guest").bytes(t))
	if e.Outcome != DeniedByPolicy || e.Plan == nil || e.Filter.Kind != engine.AlwaysDenied {
		t.Errorf("nothing to be seen: %+v", e)
	}
	e = s.Revision().Explain(context.Background(), get("/albums/7").as("alice", "user").bytes(t))
	if e.Plan != nil || e.Decision == nil {
		t.Errorf("not planned: %+v", e)
	}
}

func TestFilterHeaderOfItsOwn(t *testing.T) {
	for name, o := range map[string]Options{
		"capitals":         {Filter: Filter{Header: "X-Filter"}},
		"the principal's":  {PrincipalHeader: "x-a", Filter: Filter{Header: "x-a"}},
		"the roles'":       {RolesHeader: "x-a", Filter: Filter{Header: "x-a"}},
		"the decision's":   {DecisionHeader: "x-a", Filter: Filter{Header: "x-a"}},
		"a source's":       {Identity: []Source{{Headers: &TrustedHeaders{ID: "x-a"}}}, Filter: Filter{Header: "x-a"}},
		"that of API keys": {Identity: []Source{{APIKeys: &APIKeys{File: "x", From: []TokenPlace{{Header: "x-a"}}}}}, Filter: Filter{Header: "x-a"}},
	} {
		if _, err := o.withDefaults(); err == nil || !strings.Contains(fmt.Sprint(err), "x-") && !strings.Contains(fmt.Sprint(err), "X-") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a planned check costs, token included.
func BenchmarkPlannedCheck(b *testing.B) {
	s, _, _ := shelf(b, func(o *Options) { o.Observe = nil })
	request := get("/albums?sort=date").as("alice", "user").bytes(b)
	var answer []byte
	b.ReportAllocs()
	for b.Loop() {
		answer = s.AppendCheck(context.Background(), answer[:0], request)
	}
}
