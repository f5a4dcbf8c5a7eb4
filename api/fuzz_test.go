package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"edict/api/cerbospb"
	"edict/api/internal/transport"
	"edict/engine"
	"edict/engine/value"
)

// seeds adds the requests of testdata/calls.yaml for a call, or for all.
func seeds(t testing.TB, call string, add func(x *exchange, body string)) {
	var list []exchange
	readYAML(t, "testdata/calls.yaml", &list)
	for _, x := range list {
		if call == "" || x.Call == call {
			add(&x, x.body("token"))
		}
	}
}

// Whatever the body is, the answer is JSON with a status of the documented ones,
// and what is allowed is what the engine allows when it is asked by somebody who
// reads JSON in another way.
func FuzzBodies(f *testing.F) {
	seeds(f, "", func(x *exchange, body string) { f.Add(paths[x.Call], []byte(body)) })
	s, _ := newServer(f)
	h := s.Handler(HTTPOptions{})
	ps := s.Policies()
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		known := false
		for _, p := range paths {
			known = known || p == path
		}
		if !known {
			path = paths["CheckResources"]
		}
		w := ask(h, "POST", path, string(body))
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d: the answer is no JSON: %s", w.Code, w.Body)
		}
		switch w.Code {
		case http.StatusOK:
		case http.StatusBadRequest, http.StatusTooManyRequests, http.StatusInternalServerError:
			st := new(struct {
				Code    codes.Code
				Message string
			})
			if err := json.Unmarshal(w.Body.Bytes(), st); err != nil || transport.HTTPStatus(st.Code) != w.Code || st.Message == "" {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
			if w.Code == http.StatusInternalServerError && path != paths["PlanResources"] {
				t.Errorf("a request is no reason for an internal error: %s", w.Body)
			}
			return
		default:
			t.Errorf("%d is not among the documented statuses: %s", w.Code, w.Body)
		}
		if path != paths["CheckResources"] {
			return
		}
		var in, out map[string]any
		if err := json.Unmarshal(body, &in); err != nil {
			t.Fatalf("answered, and is no JSON: %v", err)
		}
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		if field(in, "auxData", "aux_data") != nil {
			return
		}
		results := list(out["results"])
		for i, e := range list(in["resources"]) {
			for _, r := range secondOpinion(ps, in, e.(map[string]any)) {
				effect := results[i].(map[string]any)["actions"].(map[string]any)[r.Action]
				if (effect == "EFFECT_ALLOW") != r.Allowed() || effect == nil {
					t.Errorf("resource %d, %s: answered %v, the engine says %s (%s)\n%s", i, r.Action, effect, r.Effect, r.Reason, body)
				}
			}
		}
	})
}

// secondOpinion asks the engine what a request in plain JSON asks of one entry.
func secondOpinion(ps *engine.PolicySet, in, entry map[string]any) []engine.Result {
	p, _ := in["principal"].(map[string]any)
	r, _ := entry["resource"].(map[string]any)
	attributes := func(m map[string]any) value.Attributes { a, _ := m["attr"].(map[string]any); return a }
	text := func(m map[string]any, names ...string) string { s, _ := field(m, names...).(string); return s }
	texts := func(x any) (out []string) {
		for _, x := range list(x) {
			out = append(out, x.(string))
		}
		return out
	}
	req := &engine.Request{
		Principal: engine.Principal{ID: text(p, "id"), Roles: texts(p["roles"]), Attr: attributes(p),
			PolicyVersion: text(p, "policyVersion", "policy_version"), Scope: text(p, "scope")},
		Resource: engine.Resource{Kind: text(r, "kind"), ID: text(r, "id"), Attr: attributes(r),
			PolicyVersion: text(r, "policyVersion", "policy_version"), Scope: text(r, "scope")},
		Actions: texts(entry["actions"]),
	}
	var d engine.Decision
	ps.Check(req, &d)
	return d.Results
}

func list(x any) []any { l, _ := x.([]any); return l }

// field gives a field by whichever of its names is there.
func field(m map[string]any, names ...string) any {
	for _, name := range names {
		if x := m[name]; x != nil {
			return x
		}
	}
	return nil
}

// Bytes that are a message are answered over gRPC as its JSON is over HTTP.
func FuzzMessages(f *testing.F) {
	seeds(f, "CheckResources", func(x *exchange, body string) {
		in := new(cerbospb.CheckResourcesRequest)
		if protojson.Unmarshal([]byte(body), in) == nil {
			b, err := proto.Marshal(in)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	})
	s, _ := newServer(f)
	h := s.Handler(HTTPOptions{})
	f.Fuzz(func(t *testing.T, b []byte) {
		in := new(cerbospb.CheckResourcesRequest)
		if proto.Unmarshal(b, in) != nil {
			return // gRPC refuses it
		}
		out, err := s.CheckResources(t.Context(), in)
		if code := status.Code(err); code != codes.OK && code != codes.InvalidArgument {
			t.Errorf("got %v", err)
		}
		if (out == nil) != (err != nil) {
			t.Errorf("got %v and %v", out, err)
		}
		body, e := protojson.Marshal(in)
		if e != nil || len(body) > s.Limits.Message {
			return // a number that JSON can't hold, a value without a kind
		}
		other := new(cerbospb.CheckResourcesResponse)
		_, e = overHTTP(t, h, paths["CheckResources"], string(body), other)
		if status.Code(e) != status.Code(err) || status.Convert(e).Message() != status.Convert(err).Message() {
			t.Fatalf("over gRPC %v, over HTTP %v", err, e)
		}
		if err != nil {
			return
		}
		out.CerbosCallId, other.CerbosCallId = "", ""
		if !proto.Equal(out, other) {
			t.Errorf("over gRPC %v, over HTTP %v", out, other)
		}
	})
}
