package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/value"
)

// A planAnswer is what one of the systems answers to a plan request.
type planAnswer struct {
	kind      string
	condition any // as JSON
	debug     string
	scopes    map[string]string
	invalid   []string
	failure   string // why there is no answer
}

func (a *planAnswer) String() string {
	if a.failure != "" {
		return "no plan: " + a.failure
	}
	return fmt.Sprintf("%s %s scopes %v invalid %q", a.kind, a.debug, a.scopes, a.invalid)
}

// plan asks Cerbos for a plan.
func (c *cerbos) plan(req *engine.PlanRequest) (*planAnswer, error) {
	p, r := &req.Principal, &req.Resource
	body := map[string]any{
		"includeMeta": true,
		"principal":   map[string]any{"id": p.ID, "roles": p.Roles, "attr": attributes(p.Attr), "policyVersion": p.PolicyVersion, "scope": p.Scope},
		"resource":    map[string]any{"kind": r.Kind, "attr": attributes(r.Attr), "policyVersion": r.PolicyVersion, "scope": r.Scope},
		"actions":     req.Actions,
	}
	if claims := req.AuxData.JWT; claims != nil {
		body["auxData"] = map[string]any{"jwt": map[string]any{"token": token(claims)}}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	response, err := c.client.Post("http://cerbos/api/plan/resources", "application/json", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if data, err = io.ReadAll(response.Body); err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusInternalServerError:
		return &planAnswer{failure: string(data[:min(len(data), 300)])}, nil
	default:
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, data)
	}
	var got struct {
		Filter struct {
			Kind      string
			Condition any
		}
		ValidationErrors []struct{ Path, Message, Source string }
		Meta             struct {
			FilterDebug   string
			MatchedScopes map[string]string
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		return nil, err
	}
	a := &planAnswer{kind: got.Filter.Kind, condition: got.Filter.Condition, debug: got.Meta.FilterDebug, scopes: got.Meta.MatchedScopes}
	for _, e := range got.ValidationErrors {
		a.invalid = append(a.invalid, fmt.Sprintf("%s %s: %s", e.Source, e.Path, e.Message))
	}
	slices.Sort(a.invalid)
	return a, nil
}

// plan gives the plan of the engine.
func (d *decider) plan(req *engine.PlanRequest) *planAnswer {
	plan, err := d.set.Plan(req)
	if err != nil {
		return &planAnswer{failure: err.Error()}
	}
	a := &planAnswer{kind: plan.Filter.Kind.String(), debug: plan.Debug, scopes: plan.MatchedScopes}
	if plan.Filter.Condition != nil {
		text, err := plan.Filter.Condition.AppendJSON(nil)
		if err == nil {
			err = json.Unmarshal(text, &a.condition)
		}
		if err != nil {
			return &planAnswer{failure: "the filter is no JSON: " + err.Error()}
		}
	}
	for _, e := range plan.ValidationErrors {
		a.invalid = append(a.invalid, fmt.Sprintf("%s %s: %s", e.Source, e.Path, e.Message))
	}
	slices.Sort(a.invalid)
	return a
}

// canonical gives an operand in one of the forms that mean the same: conjunctions
// and disjunctions without nesting, repetition and order, no double negation, and the present instant
// by its name.
func canonical(x any) any {
	m, _ := x.(map[string]any)
	e, _ := m["expression"].(map[string]any)
	if e == nil {
		return x
	}
	operator, _ := e["operator"].(string)
	list, _ := e["operands"].([]any)
	var operands []any
	for _, o := range list {
		o = canonical(o)
		inner, _ := o.(map[string]any)["expression"].(map[string]any)
		if inner != nil && inner["operator"] == operator && (operator == "and" || operator == "or") {
			operands = append(operands, inner["operands"].([]any)...)
		} else {
			operands = append(operands, o)
		}
	}
	switch operator {
	case "and", "or":
		sortByText(operands)
		if operands = slices.CompactFunc(operands, func(a, b any) bool { return jsonText(a) == jsonText(b) }); len(operands) == 1 {
			return operands[0]
		}
	case "not":
		inner, _ := operands[0].(map[string]any)["expression"].(map[string]any)
		if inner != nil && inner["operator"] == "not" {
			return inner["operands"].([]any)[0]
		}
	case "struct":
		sortByText(operands)
	case "timestamp":
		text, _ := operands[0].(map[string]any)["value"].(string)
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil && time.Since(at).Abs() < time.Hour {
			operands = []any{map[string]any{"value": "now()"}} // the clocks of the two are not one
		}
	}
	return map[string]any{"expression": map[string]any{"operator": operator, "operands": operands}}
}

func sortByText(list []any) {
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(jsonText(a), jsonText(b)) })
}

func jsonText(x any) string {
	text, err := json.Marshal(x)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// samePlan tells whether two answers are the same but for the order and nesting of
// operands.
func samePlan(a, b *planAnswer) bool {
	switch {
	case a.failure != "" || b.failure != "":
		return a.failure != "" && b.failure != ""
	case len(a.scopes) != 0 || len(b.scopes) != 0:
		if !reflect.DeepEqual(a.scopes, b.scopes) {
			return false
		}
	}
	return a.kind == b.kind && reflect.DeepEqual(canonical(a.condition), canonical(b.condition)) &&
		slices.Equal(a.invalid, b.invalid) && (a.debug == "NO_MATCH") == (b.debug == "NO_MATCH")
}

// planRequest makes a plan request of a request: some attributes of the resource
// are not known any more.
func (d *differential) planRequest(req *engine.Request, n uint64) *engine.PlanRequest {
	out := &engine.PlanRequest{Principal: req.Principal, Resource: req.Resource, Actions: req.Actions, AuxData: req.AuxData, Now: req.Now}
	out.Resource.ID, out.Resource.Attr = "", nil
	known := value.Values{}
	if req.Resource.Attr != nil {
		i := n
		req.Resource.Attr.Range(func(name string, v value.Value) bool {
			if i++; i%5 == 0 {
				known[name] = v
			}
			return true
		})
	}
	if len(known) > 0 {
		out.Resource.Attr = known
	}
	return out
}

// planDiffers tells whether Cerbos and the engine give plans for a request that
// differ otherwise than is known.
func (d *differential) planDiffers(server *cerbos, decider *decider, lenient bool, req *engine.Request, n uint64) (what, known string, err error) {
	asked := d.planRequest(req, n)
	got, err := server.plan(asked)
	if err != nil {
		return "", "", err
	}
	mine := decider.plan(asked)
	if samePlan(got, mine) {
		return "", "", nil
	}
	known = explained(decider, lenient, req, asked, got, mine)
	return fmt.Sprintf("attributes of the resource that are known: %s\nengine:\n%s\nCerbos:\n%s\n", jsonText(attributes(asked.Resource.Attr)), mine, got), known, nil
}

// comparePlans compares plans on one policy set.
func (d *differential) comparePlans(w *oracle.Workshop, n uint64) {
	g := oracle.NewGenerator(d.seed, n)
	g.Portable = true
	g.Try(w)
	set := g.Set()
	server, err := startCerbos(d.ctx, d.program, set)
	if err != nil {
		d.report(n, oracle.Case{Set: set, Request: &engine.Request{}}, err.Error()+"\n", nil)
		return
	}
	defer server.stop()
	decider, err := newDecider(set)
	if err != nil {
		d.report(n, oracle.Case{Set: set, Request: &engine.Request{}}, "the engine refuses what Cerbos takes: "+err.Error(), nil)
		return
	}
	compared := 0
	defer func() { d.count(compared, 0) }()
	for range d.batches {
		for _, req := range g.Batch(set, batchSize) {
			if d.enough() {
				return
			}
			req.Now = time.Now()
			what, known, err := d.planDiffers(server, decider, set.Options.LenientEvaluation, req, n)
			if err != nil {
				what = err.Error()
			}
			compared++
			if known != "" {
				d.explain(known)
			} else if what != "" {
				d.report(n, oracle.Case{Set: set, Request: req}, what, func(c oracle.Case) (string, bool) { return d.smallPlanDiffers(c, n) })
				return
			}
		}
	}
}

// smallPlanDiffers is planDiffers with a server of its own.
func (d *differential) smallPlanDiffers(c oracle.Case, n uint64) (string, bool) {
	server, err := startCerbos(d.ctx, d.program, c.Set)
	if err != nil {
		return "", false
	}
	defer server.stop()
	decider, err := newDecider(c.Set)
	if err != nil {
		return "", false
	}
	what, known, err := d.planDiffers(server, decider, c.Set.Options.LenientEvaluation, c.Request, n)
	return what, err == nil && what != "" && known == ""
}

// explain counts a difference that is known.
func (d *differential) explain(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = map[string]int{}
	}
	d.known[why]++
}

// explained names the difference that is known, if it is one. docs/compatibility.md
// lists them.
func explained(d *decider, lenient bool, req *engine.Request, asked *engine.PlanRequest, cerbos, mine *planAnswer) string {
	anonymous := *asked
	anonymous.Principal.PolicyVersion = ""
	switch {
	case cerbos.failure != "":
		return "Cerbos has no plan"
	case mine.failure != "":
		return "the engine refuses: " + mine.failure[strings.LastIndex(mine.failure, ": ")+2:]
	case samePlan(cerbos, d.plan(&anonymous)):
		return "principal.policyVersion is empty for Cerbos' plans"
	case cerbos.kind == mine.kind && mine.kind == engine.AlwaysDenied.String() && !lenient && slices.Equal(cerbos.invalid, mine.invalid):
		return "the scope of a plan that denies, where an error denied for Cerbos and a condition for the engine"
	case !reflect.DeepEqual(cerbos.scopes, mine.scopes) || !slices.Equal(cerbos.invalid, mine.invalid):
		return ""
	case strings.Contains(mine.debug, "(has "):
		return "has() is a condition"
	case readsKnown.MatchString(cerbos.debug) && !readsKnown.MatchString(mine.debug):
		return "Cerbos leaves what is known as it is"
	case mine.kind == engine.AlwaysDenied.String() && !d.allows(req):
		return "Cerbos' plan lets through what its check denies"
	}
	return ""
}

// readsKnown finds variables that are known.
var readsKnown = regexp.MustCompile(`[ (](request\.(principal|auxData)|G|globals|C|constants)\.`)

// allows tells whether the engine allows all of a request.
func (d *decider) allows(req *engine.Request) bool {
	d.set.Check(req, &d.decision)
	return d.decision.Allowed()
}
