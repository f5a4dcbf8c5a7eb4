package extauthz

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

func TestDecisionID(t *testing.T) {
	pattern := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	now := time.UnixMilli(0x0123456789ab)
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				var id decisionID
				id.set(now)
				s := strings.Clone(id.String())
				mu.Lock()
				if seen[s] || !pattern.MatchString(s) || !strings.HasPrefix(s, "01234567-89ab-7") {
					t.Errorf("%q is no UUID of version 7 of that time, or was given before", s)
				}
				seen[s] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	var earlier, later decisionID
	earlier.set(now)
	later.set(now.Add(time.Millisecond))
	if earlier.String() >= later.String() {
		t.Errorf("%s is made before %s", &earlier, &later)
	}
	if n := testing.AllocsPerRun(100, func() { later.set(now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

const outputPolicy = `
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: album
  version: default
  rules:
    - name: quota
      actions: [list]
      effect: EFFECT_ALLOW
      roles: [user]
      output: {when: {ruleActivated: '{"left": 3, "kinds": ["a", "b"], "none": null}'}}
    - name: fails
      actions: [list]
      effect: EFFECT_ALLOW
      roles: [user]
      output: {when: {ruleActivated: 'R.attr.nothing'}}
    - name: quota-2
      actions: [list, read]
      effect: EFFECT_ALLOW
      roles: [admin]
      output: {when: {ruleActivated: '"x"'}}
`

func TestMetadata(t *testing.T) {
	ask := func(t *testing.T, o Options, r testRequest) map[string]any {
		t.Helper()
		o.Identity = jwtOnly.Identity
		s := new(Server)
		s.Use(compile(t, o, outputPolicy, strings.ReplaceAll(albumRoutes, "attributes: {owner: {expr: path.owner}}", "attributes: {}")))
		return check(t, s, r).GetDynamicMetadata().AsMap()
	}
	t.Run("by default", func(t *testing.T) {
		got := ask(t, Options{}, get("/albums").as("alice", "user"))
		delete(got, "decision_id")
		want := map[string]any{"effect": "allow", "reason": "allow", "revision": "test", "route": "albums/list", "principal": "alice",
			"action": "list", "policy": "resource.album.vdefault", "rule": "quota"}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s is %v, want %v", k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("all, with a prefix", func(t *testing.T) {
		o := Options{}
		o.Respond.MetadataKeys, o.Respond.MetadataPrefix = MetadataKeys(), "edge_"
		for _, r := range []testRequest{get("/albums").as("alice", "user"), get("/both/x").as("alice", "user")} {
			got := ask(t, o, r)
			outputs, _ := got["edge_outputs"].(map[string]any)
			quota, _ := outputs["quota"].(map[string]any)
			kinds, _ := quota["kinds"].([]any)
			if quota["left"] != 3.0 || !slices.Equal(kinds, []any{"a", "b"}) || len(outputs) != 1 {
				t.Errorf("%s: outputs %v", r.path, got["edge_outputs"])
			}
			if roles, _ := got["edge_roles"].([]any); !slices.Equal(roles, []any{"user"}) {
				t.Errorf("%s: roles %v", r.path, got["edge_roles"])
			}
			for k := range got {
				if !strings.HasPrefix(k, "edge_") {
					t.Errorf("%s: the key %s has no prefix", r.path, k)
				}
			}
		}
	})
	t.Run("none", func(t *testing.T) {
		o := Options{}
		o.Respond.MetadataKeys = []string{}
		for _, r := range []testRequest{get("/albums").as("alice", "user"), get("/albums")} {
			if got := ask(t, o, r); len(got) > 0 {
				t.Errorf("got %v", got)
			}
		}
	})
}

func denialHeader(out *authv3.CheckResponse, name string) string {
	for _, h := range out.GetDeniedResponse().GetHeaders() {
		if h.GetHeader().GetKey() == name {
			return h.GetHeader().GetValue()
		}
	}
	return ""
}

func TestDecisionHeaders(t *testing.T) {
	o := jwtOnly
	o.DecisionHeader, o.Respond.DecisionHeader = "x-edict-decision", "x-decision"
	s := newServer(t, o)
	out := check(t, s, get("/albums").as("alice", "user").with("x-edict-decision: forged"))
	id := metadata(out, "decision_id")
	set, _ := upstream(out)
	if id == "" || set["x-edict-decision"] != id {
		t.Errorf("the upstream is told %q of %q", set["x-edict-decision"], id)
	}
	if h := out.GetOkResponse().GetResponseHeadersToAdd(); len(h) != 1 || h[0].GetHeader().GetKey() != "x-decision" || h[0].GetHeader().GetValue() != id {
		t.Errorf("the client is told %v of %q", h, id)
	}
	for name, r := range denials() {
		out := check(t, s, r)
		if id := metadata(out, "decision_id"); id == "" || denialHeader(out, "x-decision") != id {
			t.Errorf("%s: the client is told %q of %q", name, denialHeader(out, "x-decision"), id)
		}
	}
	// A second spelling of the header is one of identity's.
	if got, _ := reason(check(t, s, get("/albums").as("alice", "user").with("x_edict_decision: forged"))); got != "bad_request" {
		t.Errorf("x_edict_decision ends in %s", got)
	}
}
