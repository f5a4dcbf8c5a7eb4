package routetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"edict/cmd/edict/internal/envoycheck"
	"edict/engine"
	"edict/engine/suite"
	"edict/engine/value"
	"edict/extauthz"
)

// Options say how tests are run.
type Options struct {
	Revision *extauthz.Revision

	// Place says where in the dynamic metadata a source of tokens finds its
	// claims, by the name of the source; "" is the first one.
	Place func(source string) (namespace, key string, ok bool)

	Filter suite.Filter

	// Asked is told of every check that was made. Nil: nobody is.
	Asked func(*extauthz.Explained)
}

// Run runs the tests of a file. The result is in the form of tests of policies:
// the principal is whom the request is sent as, the resource is method and
// target, and the action is "request", allowed or denied. What else was
// expected and is not so is told like an output that differs.
func Run(f *File, o Options) suite.SuiteReport {
	out := suite.SuiteReport{Suite: &suite.Suite{
		File: f.Name, Name: f.Title, Description: f.Description, Skip: f.Skip, SkipReason: f.SkipReason, Problems: f.Problems,
	}}
	if len(f.Problems) > 0 {
		out.Stage = "failed to load the tests of routes"
		out.Summary.Overall = suite.Errored
		return out
	}
	for i := range f.Tests {
		r := f.Tests[i].run(f, o)
		out.Results = append(out.Results, r)
		out.Summary.Overall = max(out.Summary.Overall, r.Status)
		if !r.Omitted {
			out.Summary.Counts[r.Status]++
		}
	}
	return out
}

// action is what every request asks for, in the form of tests of policies.
const action = "request"

func (t *Test) run(f *File, o Options) suite.Result {
	r := suite.Result{Test: t.Name, Principal: cmp.Or(t.As, "nobody"), Resource: t.label(), Action: action, ExpectedAt: t.Pos, Named: true}
	if why := o.Filter.Omits(f.Title, t.Name, r.Principal, r.Resource, action); why != "" {
		r.Status, r.SkipReason, r.Filtered, r.Omitted = suite.Skipped, why, true, true
		return r
	}
	switch {
	case f.Skip || t.Skip:
		r.Status, r.SkipReason = suite.Skipped, cmp.Or(t.SkipReason, f.SkipReason)
		return r
	case !o.Filter.Wants(f.Title, t.Name, r.Principal, r.Resource):
		r.Status, r.SkipReason, r.Filtered = suite.Skipped, "not wanted by --run", true
		return r
	}
	in, err := t.message(o)
	if err != nil {
		r.Status, r.Err = suite.Errored, err.Error()
		return r
	}
	encoded, err := proto.Marshal(in)
	if err != nil {
		r.Status, r.Err = suite.Errored, err.Error()
		return r
	}
	told := o.Revision.ExplainAt(context.Background(), encoded, f.Clock)
	answer, err := envoycheck.ReadAnswer(told.Answer)
	if err != nil {
		r.Status, r.Err = suite.Errored, err.Error()
		return r
	}
	if o.Asked != nil {
		o.Asked(told)
	}
	got := outcome(told, answer)
	r.Actual = effect(answer.Allowed)
	r.Expected = t.expectedEffect(r.Actual)
	if at, ok := t.expected["effect"]; ok {
		r.ExpectedAt = at
	} else if at, ok := t.expected["outcome"]; ok {
		r.ExpectedAt = at
	}
	r.Status = suite.Passed
	if r.Expected != r.Actual {
		r.Status = suite.Failed
	}
	for _, name := range t.order {
		for _, d := range differences(name, t.Expect[name], got[name], name == "body") {
			r.Status = suite.Failed
			d.At = t.expected[name]
			r.Mismatches = append(r.Mismatches, d)
		}
	}
	r.Cause = told.Err
	if q := deciding(told); q != nil {
		r.Reason, r.Policy, r.Scope, r.Rule, r.Cause = q.Reason, q.Policy, q.Scope, q.Rule, q.Err
	}
	return r
}

func (t *Test) label() string {
	if t.Recorded != nil {
		http := t.Recorded.Request.GetAttributes().GetRequest().GetHttp()
		return http.GetMethod() + " " + http.GetPath()
	}
	method := t.Request.Method
	if method == "" {
		method = "GET"
		if len(t.Request.Body) > 0 {
			method = "POST"
		}
	}
	return method + " " + t.Request.Target
}

// message gives the CheckRequest of the test.
func (t *Test) message(o Options) (*authv3.CheckRequest, error) {
	if t.Recorded != nil {
		return t.Recorded.Request, nil
	}
	r := t.Request
	r.Headers = slices.Clone(r.Headers)
	if id := t.Identity; id != nil {
		r.Headers = append(r.Headers, id.Headers...)
		r.SourcePrincipal = cmp.Or(r.SourcePrincipal, id.Principal)
		if id.Claims != nil {
			namespace, key, ok := o.Place(id.Source)
			if !ok {
				return nil, fmt.Errorf("the configuration has no source of tokens %q for the claims of %s; see identity.sources", id.Source, t.As)
			}
			own := r.Metadata
			r.Metadata = map[string]map[string]any{}
			for name, fields := range own {
				for k, v := range fields {
					r.AddMetadata(name, k, v)
				}
			}
			r.AddMetadata(namespace, key, id.Claims)
		}
	}
	return r.Message()
}

func effect(allowed bool) engine.Effect {
	if allowed {
		return engine.Allow
	}
	return engine.Deny
}

// expectedEffect gives the effect that the test asks for, or what there is if
// it asks for none.
func (t *Test) expectedEffect(actual engine.Effect) engine.Effect {
	switch t.Expect["effect"] {
	case "allow":
		return engine.Allow
	case "deny":
		return engine.Deny
	}
	if label, ok := t.Expect["outcome"].(string); ok {
		for _, passing := range []extauthz.Outcome{extauthz.Allowed, extauthz.Public, extauthz.Planned} {
			if label == passing.String() {
				return engine.Allow
			}
		}
		return engine.Deny
	}
	return actual
}

// deciding gives the result that decided, nil if the engine was not asked.
func deciding(told *extauthz.Explained) *engine.Result {
	if told.Decision == nil {
		return nil
	}
	return told.Decision.Deciding()
}

// outcome gives all that tests can expect something of, as plain values.
func outcome(told *extauthz.Explained, a *envoycheck.Answer) map[string]any {
	out := map[string]any{
		"outcome": told.Outcome.String(), "effect": "deny", "status": float64(a.Status), "detail": told.Detail, "route": told.Route,
		"provenance":      string(told.Provenance),
		"upstreamHeaders": named(a.UpstreamHeaders), "removedHeaders": list(a.RemovedHeaders),
		"query": named(a.QuerySet), "removedQuery": list(a.QueryRemoved),
		"responseHeaders": named(a.ResponseHeaders), "body": a.Body, "metadata": a.Metadata,
	}
	if a.Allowed {
		out["effect"], out["status"] = "allow", 200.0
	}
	if len(told.Requests) > 0 {
		p := &told.Requests[0].Principal
		out["principal"] = map[string]any{"id": p.ID, "roles": list(p.Roles), "policyVersion": p.PolicyVersion, "scope": p.Scope, "attr": attributes(p.Attr)}
		var checks []any
		for _, q := range told.Requests {
			checks = append(checks, map[string]any{"resource": resource(&q.Resource), "actions": list(q.Actions)})
		}
		out["checks"] = checks
		out["resource"], out["actions"] = resource(&told.Requests[0].Resource), list(told.Requests[0].Actions)
	}
	if told.Plan != nil {
		out["filter"] = filter(&told.Filter)
	}
	if r := deciding(told); r != nil {
		out["policy"] = r.Policy
		if r.Rule != nil {
			out["rule"] = r.Rule.Name
		}
	}
	return out
}

// filter gives what a backend is told, as tests write it: kind, text and, of some
// resources, condition.
func filter(f *engine.Filter) map[string]any {
	out := map[string]any{}
	if b, err := extauthz.AppendFilter(nil, f); err == nil {
		_ = json.Unmarshal(b, &out)
	}
	out["kind"], out["text"] = f.Kind.String(), f.String()
	return out
}

func resource(r *engine.Resource) map[string]any {
	return map[string]any{"kind": r.Kind, "id": r.ID, "policyVersion": r.PolicyVersion, "scope": r.Scope, "attr": attributes(r.Attr)}
}

func attributes(m value.Mapping) any {
	if m == nil {
		return map[string]any{}
	}
	// By way of JSON, so that a value is what a test can write.
	b, err := json.Marshal(value.OfMapping(m).Native())
	if err != nil {
		return fmt.Sprintf("not JSON: %v", err)
	}
	var out any
	_ = json.Unmarshal(b, &out)
	return out
}

func list(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = s
	}
	return out
}

func named(headers []envoycheck.Header) map[string]any {
	out := map[string]any{}
	for _, h := range headers {
		if before, ok := out[h.Name].(string); ok {
			out[h.Name] = before + ", " + h.Value
			continue
		}
		out[h.Name] = h.Value
	}
	return out
}

// differences compares what is expected with what came: of a mapping the names
// that are expected, of which a null means that there is none; of a list all.
// The list removedHeaders and its like need only hold what is expected, in any
// order. A body is read as JSON if a mapping or list is expected of it.
func differences(at string, want, got any, body bool) []suite.Mismatch {
	if body {
		if _, isText := want.(string); !isText && want != nil {
			text, _ := got.(string)
			var parsed any
			if json.Unmarshal([]byte(text), &parsed) == nil {
				got = parsed
			}
		}
	}
	switch w := want.(type) {
	case nil:
		if got == nil || got == "" {
			return nil
		}
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		var out []suite.Mismatch
		names := make([]string, 0, len(w))
		for name := range w {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			out = append(out, differences(at+"."+name, w[name], g[name], false)...)
		}
		return out
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		switch at {
		case "principal.roles", "removedHeaders", "removedQuery": // in any order
			if left, ok := without(g, w); ok && (len(left) == 0 || at != "principal.roles") {
				return nil
			}
			return []suite.Mismatch{{Src: at, Kind: suite.Different, Expected: value.Of(want), Actual: value.Of(got)}}
		}
		if len(g) != len(w) {
			break
		}
		var out []suite.Mismatch
		for i := range w {
			out = append(out, differences(fmt.Sprintf("%s[%d]", at, i), w[i], g[i], false)...)
		}
		return out
	default:
		if reflect.DeepEqual(want, got) {
			return nil
		}
	}
	m := suite.Mismatch{Src: at, Kind: suite.Different, Expected: value.Of(want), Actual: value.Of(got)}
	if got == nil {
		m.Kind = suite.Missing
	}
	return []suite.Mismatch{m}
}

// without takes members out of a list, each once, and tells whether it had them
// all.
func without(list, members []any) (left []any, all bool) {
	left = slices.Clone(list)
	for _, m := range members {
		i := slices.IndexFunc(left, func(e any) bool { return reflect.DeepEqual(e, m) })
		if i < 0 {
			return left, false
		}
		left = slices.Delete(left, i, i+1)
	}
	return left, true
}
