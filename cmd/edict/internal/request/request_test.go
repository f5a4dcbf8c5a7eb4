package request

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"edict/engine"
	"edict/engine/value"
)

var (
	whole   = Options{Tokens: true}
	partial = Options{Partial: true}
)

func TestReads(t *testing.T) {
	ann := engine.Principal{ID: "ann", Roles: []string{"user"}, Attr: value.Values{"level": value.OfDouble(3)}, PolicyVersion: "v1", Scope: "a.b"}
	doc := engine.Resource{Kind: "doc", ID: "1"}
	const principal = "principal: {id: ann, roles: [user], attr: {level: 3}, policyVersion: v1, scope: a.b}\n"
	for _, tc := range []struct {
		name, content string
		options       Options
		want          []*engine.Request
	}{
		{"an entry", principal + "resource: {kind: doc, id: '1'}\nactions: [view]", whole,
			[]*engine.Request{{Principal: ann, Resource: doc, Actions: []string{"view"}}}},
		{"several resources", principal + "resources: [{resource: {kind: doc, id: '1'}, actions: [view]}, {resource: {kind: log}, actions: [a, b]}]", whole,
			[]*engine.Request{{Principal: ann, Resource: doc, Actions: []string{"view"}}, {Principal: ann, Resource: engine.Resource{Kind: "log"}, Actions: []string{"a", "b"}}}},
		{"nothing yet", "{}", partial, []*engine.Request{{}}},
		{"an action alone", "actions: [view]", partial, []*engine.Request{{Actions: []string{"view"}}}},
		{"one of resources", "resources: [{resource: {kind: doc, id: '1'}, actions: [view]}]", partial,
			[]*engine.Request{{Resource: doc, Actions: []string{"view"}}}},
		{"an instant", "now: 2026-01-31T08:00:00Z", partial, []*engine.Request{{Now: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)}}},
		{"claims", `{"auxData": {"jwt": {"level": 3}}}`, partial,
			[]*engine.Request{{AuxData: engine.AuxData{JWT: value.Values{"level": value.OfDouble(3)}}}}},
		{"claims by name", "auxData: {jwts: {a: {claims: {level: 3}}, b: {}}}", partial,
			[]*engine.Request{{AuxData: engine.AuxData{JWTs: map[string]value.Mapping{"a": value.Values{"level": value.OfDouble(3)}, "b": value.Values{}}}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, tokens, list := Read("r.yaml", []byte(tc.content), tc.options)
			if len(list) > 0 || tokens != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, %+v, %v", got, tokens, list)
			}
		})
	}
}

func TestReadsTokens(t *testing.T) {
	const asked = "principal: {id: a, roles: [x]}\nresource: {kind: k}\nactions: [a]\n"
	_, one, list := Read("r.yaml", []byte(asked+"auxData: {jwt: {token: t, keySetId: s}}"), whole)
	if len(list) > 0 || one == nil || one.JWT == nil || one.JWT.Raw != "t" || one.JWT.KeySetID != "s" {
		t.Errorf("one token: %+v, %v", one, list)
	}
	_, several, list := Read("r.yaml", []byte(asked+"auxData: {jwts: {m: {token: t}}}"), whole)
	if len(list) > 0 || several == nil || several.JWT != nil || several.JWTs["m"].Raw != "t" {
		t.Errorf("tokens by name: %+v, %v", several, list)
	}
}

func TestRefuses(t *testing.T) {
	const asked = "principal: {id: a, roles: [x]}\nresource: {kind: k}\nactions: [a]\n"
	for _, tc := range []struct {
		content string
		options Options
		says    string // place and message
	}{
		{"", whole, "r.yaml:1:1: there is no request"},
		{"", partial, "r.yaml:1:1: there is no request"},
		{"{}", whole, "principal is required"},
		{"principal: {id: a}\nresource: {kind: k}\nactions: [a]", whole, "r.yaml:1:12: roles is required"},
		{"principal: {id: a, roles: []}\nresource: {kind: k}\nactions: [a]", whole, "roles is empty"},
		{"principal: {id: a, roles: [x]}\nresource: {kind: k}\nactions: []", whole, "r.yaml:3:10: actions is empty"},
		{"principal: {id: a, roles: [x]}\nresources: []", whole, "resources is empty"},
		{"resources: []", partial, "resources has 0 entries"},
		{"resources: [{}, {}]", partial, "resources has 2 entries"},
		{"resource: {}\nresources: [{}]", partial, "resources cannot stand beside resource"},
		{"principle: {id: a}", partial, `did you mean "principal"?`},
		{"now: today", partial, `now: "today" is not a timestamp`},
		{asked + "now: 2026-01-31T08:00:00Z", whole, "r.yaml:4:1: unknown field"},
		{"auxData: {jwt: {token: t}}", partial, "r.yaml:1:16: tokens are not verified here"},
		{"auxData: {jwts: {m: {token: t}}}", partial, "tokens are not verified here"},
		{"auxData: {jwt: {<<: [{a: 1}, {token: t}]}}", partial, "tokens are not verified here"},
		{"auxData: {jwt: {sub: a, sub: b}}", partial, `"sub" is there twice`},
		{asked + "auxData: {jwts: {m: {token: t}, n: {claims: {}}}}", whole, "some of jwts are tokens"},
		{asked + "auxData: {jwt: {a: 1}, jwts: {n: {claims: {}}}}", whole, "jwt and jwts exclude each other"},
	} {
		got, _, list := Read("r.yaml", []byte(tc.content), tc.options)
		if text := list.Render(); len(got) > 0 || !strings.Contains(text, tc.says) {
			t.Errorf("%q, %+v: got %d requests and\n%s\nwant %q", tc.content, tc.options, len(got), text, tc.says)
		}
	}
}

// No file makes reading a request panic, and what is wrong with it has a place.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"principal: {id: a, roles: [x], attr: {n: 1, l: [a, {b: null}]}}\nresource: {kind: k, id: '1'}\nactions: [read]\n",
		`{"principal": {"id": "a", "roles": ["x"]}, "resources": [{"resource": {"kind": "k"}, "actions": ["a", "b"]}], "auxData": {"jwt": {"token": "x"}}}`,
		"principal: {id: a, roles: [x]}\nresource: {kind: k}\nactions: [a]\nauxData: {jwts: {m: {claims: {a: 1}}, n: {token: t, keySetId: s}}}\n",
		"principal: []\nresource: 7\nactions: {}\nauxData: {jwt: 3}\n",
		"- a\n", "", "principal: {id: ''}\nresources: []\n", "now: 1\nresource:\nresources: [1]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, options := range []Options{whole, partial} {
			requests, tokens, list := Read("request.yaml", content, options)
			if (len(list) == 0) != (len(requests) > 0) {
				t.Fatalf("%+v: %d requests and %d diagnostics", options, len(requests), len(list))
			}
			for _, d := range list {
				if d.Pos.File != "request.yaml" || d.Pos.Line < 1 || d.Code == "" {
					t.Errorf("no place or no code: %+v", d)
				}
			}
			if options.Partial {
				if len(requests) > 1 || tokens != nil {
					t.Errorf("a partial request is %d requests, with tokens %+v", len(requests), tokens)
				}
				continue
			}
			for _, r := range requests {
				if r.Principal.ID == "" || len(r.Principal.Roles) == 0 || r.Resource.Kind == "" || len(r.Actions) == 0 {
					t.Errorf("a request that asks nothing was read: %+v", r)
				}
			}
		}
	})
}
