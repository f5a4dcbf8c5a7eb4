package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/policyfile"
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
	reason    string // of the engine's failure: what can't be planned, without where that is
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
	plan, err := d.set.Plan(context.Background(), req)
	if err != nil {
		a := &planAnswer{failure: err.Error(), reason: err.Error()}
		if e, ok := errors.AsType[*engine.PlanError](err); ok {
			a.reason = e.Message
		}
		return a
	}
	a := &planAnswer{kind: plan.Filter.Kind.String(), debug: plan.Debug(), scopes: plan.MatchedScopes}
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

// A planTrial is a policy set on which plans are compared. Beside it there are
// variants of it, which are made when they are needed: of the set as Cerbos reads
// has(), under lenient evaluation, and without schemas.
type planTrial struct {
	*differential
	workshop *oracle.Workshop
	number   uint64 // of the set
	set      *oracle.Set
	server   *cerbos
	decider  *decider

	rows []engine.Resource // on which plans are held against checks

	readings map[string]*decider // by the names of the attributes that are known; nil: like decider
	lenient  *planTrial
	open     *decider // without schemas
}

func (d *differential) newPlanTrial(w *oracle.Workshop, number uint64, set *oracle.Set) (*planTrial, error) {
	server, err := startCerbos(d.ctx, d.program, set)
	if err != nil {
		return nil, err
	}
	t := &planTrial{differential: d, workshop: w, number: number, set: set, server: server, readings: map[string]*decider{}}
	if t.decider, err = newDecider(set); err != nil {
		server.stop()
		return nil, fmt.Errorf("the engine refuses what Cerbos takes: %w", err)
	}
	return t, nil
}

func (t *planTrial) reader(asked *engine.PlanRequest) reader {
	r := reader{req: asked}
	if g := t.set.Options.Globals; g != nil {
		r.globals = g
	}
	return r
}

func (t *planTrial) stop() {
	t.server.stop()
	if t.lenient != nil {
		t.lenient.stop()
	}
}

// differs tells whether Cerbos and the engine give plans for a request that
// differ, and how that is known if it is.
func (t *planTrial) differs(req *engine.Request) (what, known string, err error) {
	asked := t.planRequest(req, t.number)
	got, err := t.server.plan(asked)
	if err != nil {
		return "", "", err
	}
	mine := t.decider.plan(asked)
	if what, _, err := t.onRows(asked, nil); what != "" || err != nil {
		return what, "", err
	}
	if t.reader(asked).same(got, mine) {
		return "", "", nil
	}
	if known, err = t.explained(req, asked, got, mine); err != nil {
		return "", "", err
	}
	return fmt.Sprintf("attributes of the resource that are known: %s\nengine:\n%s\nCerbos:\n%s\n", jsonText(attributes(asked.Resource.Attr)), mine, got), known, nil
}

// rowsPerPlan is how many resources a plan is held against.
const rowsPerPlan = 20

// comparePlans compares plans on one policy set.
func (d *differential) comparePlans(w *oracle.Workshop, n uint64) {
	g := oracle.NewGenerator(d.seed, n)
	g.Portable = true
	g.Try(w)
	set := g.Set()
	t, err := d.newPlanTrial(w, n, set)
	if err != nil {
		d.report(n, oracle.Case{Set: set, Request: &engine.Request{}}, err.Error()+"\n", nil)
		return
	}
	defer t.stop()
	compared := 0
	defer func() { d.count(compared, 0) }()
	for range d.batches {
		requests := g.Batch(set, batchSize)
		t.rows = nil
		for _, req := range requests[:rowsPerPlan] {
			t.rows = append(t.rows, req.Resource)
		}
		for _, req := range requests {
			if d.enough() {
				return
			}
			req.Now = time.Now()
			what, known, err := t.differs(req)
			if err != nil {
				what = err.Error()
			}
			compared++
			if known != "" {
				d.explain(known)
			} else if what != "" {
				d.report(n, oracle.Case{Set: set, Request: req}, what, func(c oracle.Case) (string, bool) { return d.smallPlanDiffers(w, c, n, t.rows) })
				return
			}
		}
	}
}

// smallPlanDiffers tells whether plans differ in a way that is not known, on a set
// of its own.
func (d *differential) smallPlanDiffers(w *oracle.Workshop, c oracle.Case, n uint64, rows []engine.Resource) (string, bool) {
	t, err := d.newPlanTrial(w, n, c.Set)
	if err != nil {
		return "", false
	}
	defer t.stop()
	t.rows = rows
	what, known, err := t.differs(c.Request)
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
// lists them. Where a difference is one of reading, the engine has to give Cerbos'
// plan once it reads likewise.
func (t *planTrial) explained(req *engine.Request, asked *engine.PlanRequest, cerbos, mine *planAnswer) (string, error) {
	switch {
	case cerbos.failure != "":
		return "Cerbos has no plan", nil
	case mine.failure != "":
		return "the engine refuses: " + mine.reason, nil
	}
	r := t.reader(asked)
	if r.same(cerbos, mine.rewritten(searchedKeys)) {
		return "a map that is written out is a list of its keys for Cerbos", nil
	}
	if mine = mine.rewritten(foundNothing); r.same(cerbos, mine) {
		return "nothing is in an empty list for Cerbos, not even what can't be evaluated", nil
	}
	anonymous := *asked
	anonymous.Principal.PolicyVersion = ""
	if r.same(cerbos, t.decider.plan(&anonymous)) {
		return "principal.policyVersion is empty for Cerbos' plans", nil
	}
	reading := t.readingHas(asked)
	if reading != nil {
		if like := reading.plan(asked); r.same(cerbos, like) || r.same(cerbos, reading.plan(&anonymous)) {
			return "has() is true for Cerbos, or the value of the attribute", nil
		} else if like.failure == "" {
			mine = like
		}
	}
	denied := engine.AlwaysDenied.String()
	sameErrors := slices.Equal(cerbos.invalid, mine.invalid)
	switch {
	case sameErrors && r.sameFilter(cerbos, mine) && (mine.kind == denied || t.scoped(asked, cerbos, mine)):
		return "the scope of a plan, where a rule that never holds, or always does, has a condition for Cerbos", nil
	case sameErrors && !t.set.Options.LenientEvaluation:
		switch agree, err := t.agreeLeniently(req); {
		case err != nil || !agree:
			return "", err
		case cerbos.kind != denied && mine.kind != denied:
			return "a rule that fails denies for the engine, beside one that allows, and does not hold for Cerbos", nil
		case cerbos.kind != denied:
			return "an error denies for the engine and is a condition for Cerbos", nil
		case mine.kind == denied:
			return "the scope of a plan that denies, where an error denied for one and a condition for the other", nil
		}
		return "an error denies for Cerbos and is a condition for the engine", nil
	case !sameErrors:
		return "", nil
	case t.fewerLeaves(r, cerbos, mine): // and what decides for sure may be in another scope
		_, less, err := t.onRows(asked, cerbos)
		if !less {
			return "what fails on every resource, or is never true, is a condition for Cerbos", err
		}
		return "", err
	case !reflect.DeepEqual(cerbos.scopes, mine.scopes):
		return "", nil
	case cerbos.condition != nil && mine.condition != nil && reflect.DeepEqual(r.canonical(cerbos.condition, true), withoutFailures(r.canonical(mine.condition, true))):
		return "what is known to be no boolean does not fail for Cerbos, but is left out", nil
	case readsKnown.MatchString(cerbos.debug) && !readsKnown.MatchString(mine.debug):
		return "Cerbos leaves what is known as it is", nil
	case mine.kind == denied && !t.allows(req):
		return "Cerbos' plan lets through what its check denies", nil
	}
	return "", nil
}

// rewritten gives an answer of which each expression of the condition, from the
// inside out, is what change makes of its operator and operands; nil leaves it.
func (a *planAnswer) rewritten(change func(operator string, operands []any) any) *planAnswer {
	var rewrite func(x any) any
	rewrite = func(x any) any {
		m, _ := x.(node)
		e, _ := m["expression"].(node)
		if e == nil {
			return x
		}
		list, _ := e["operands"].([]any)
		operands := make([]any, len(list))
		for i := range list {
			operands[i] = rewrite(list[i])
		}
		operator, _ := e["operator"].(string)
		if out := change(operator, operands); out != nil {
			return out
		}
		return node{"expression": node{"operator": operator, "operands": operands}}
	}
	out := *a
	out.condition = rewrite(a.condition)
	return &out
}

// searchedKeys is "in" of a map that is written out as one of the list of its keys.
func searchedKeys(operator string, operands []any) any {
	if operator != "in" || len(operands) != 2 {
		return nil
	}
	fields := operandsOf(operands[1], "struct")
	if fields == nil {
		return nil
	}
	var keys []any
	for _, field := range fields {
		keys = append(keys, operandsOf(field, "set-field")[0].(node)["value"])
	}
	sortByText(keys)
	return node{"expression": node{"operator": operator, "operands": []any{operands[0], node{"value": keys}}}}
}

// foundNothing is "in" of an empty list as false, as it is to Cerbos even where its
// operand can't be evaluated, and leaves it out beside ||.
func foundNothing(operator string, operands []any) any {
	isFalse := func(o any) bool { return o.(node)["value"] == false }
	switch {
	case operator == "in" && len(operands) == 2:
		if of, ok := operands[1].(node)["value"].([]any); ok && len(of) == 0 {
			return node{"value": false}
		}
	case operator == "or" && slices.ContainsFunc(operands, isFalse):
		if kept := slices.DeleteFunc(slices.Clone(operands), isFalse); len(kept) == 1 {
			return kept[0]
		}
	}
	return nil
}

// agreeLeniently tells whether the plans for a request are the same under lenient
// evaluation, or differ as is known.
func (t *planTrial) agreeLeniently(req *engine.Request) (bool, error) {
	if t.lenient == nil {
		set := *t.set
		set.Options.LenientEvaluation = true
		var err error
		if t.lenient, err = t.newPlanTrial(t.workshop, t.number, &set); err != nil {
			return false, err
		}
		t.lenient.rows = t.rows
	}
	what, known, err := t.lenient.differs(req)
	return what == "" || known != "", err
}

// hasOfUnknown finds has() of what a plan may not know of the resource, in the YAML
// of a policy. Its groups are what is asked about and the name of the attribute.
var hasOfUnknown = regexp.MustCompile("\\bhas\\(((?:R|request\\.resource)\\.(?:id|policyVersion|policy_version|attr\\.(`[^`]*`|\\w+)[^()]*))\\)")

// readingHas gives the engine with policies in which has() of what may not be known
// is what Cerbos' planner makes of it: the value, or true if that is not known. It gives nil if there are none, or if the engine has none to offer.
func (t *planTrial) readingHas(asked *engine.PlanRequest) *decider {
	known := map[string]bool{}
	if asked.Resource.Attr != nil {
		asked.Resource.Attr.Range(func(name string, _ value.Value) bool {
			known[name] = true
			return true
		})
	}
	key := strings.Join(slices.Sorted(maps.Keys(known)), "\x00")
	if d, ok := t.readings[key]; ok {
		return d
	}
	t.readings[key] = nil
	set := *t.set
	set.Policies = nil
	replaced := false
	for i, p := range t.set.Policies {
		text := hasOfUnknown.ReplaceAllStringFunc(oracle.YAML(p), func(call string) string {
			replaced = true
			parts := hasOfUnknown.FindStringSubmatch(call)
			if parts[2] != "" && known[strings.Trim(parts[2], "`")] {
				return "(" + parts[1] + ")"
			}
			return "(true)"
		})
		read, diagnostics := policyfile.Parse(fmt.Sprintf("policy_%03d.yaml", i), []byte(text))
		if len(diagnostics) > 0 {
			return nil
		}
		set.Policies = append(set.Policies, read)
	}
	if replaced {
		if d, err := newDecider(&set); err == nil {
			t.readings[key] = d
		}
	}
	return t.readings[key]
}

// readsKnown finds variables that are known.
var readsKnown = regexp.MustCompile(`[ (](request\.(principal|auxData)|G|globals|C|constants)\.|request\.resource\.(kind|scope)\b`)

// allows tells whether the engine allows all of a request.
func (t *planTrial) allows(req *engine.Request) bool {
	t.decider.set.Check(req, &t.decider.decision)
	return t.decider.decision.Allowed()
}

// fewerLeaves tells whether the engine's plan is made of conditions that Cerbos'
// plan has, and not of all of them.
func (t *planTrial) fewerLeaves(r reader, cerbos, mine *planAnswer) bool {
	if cerbos.condition == nil {
		return false
	}
	of, some := leaves(r.canonical(cerbos.rewritten(searchedKeys).condition, true), map[string]bool{}), map[string]bool{}
	if mine.condition != nil {
		leaves(r.canonical(mine.rewritten(searchedKeys).condition, true), some)
	}
	for leaf := range some {
		if !of[leaf] && leaf != jsonText(failure) {
			return false
		}
	}
	return len(some) < len(of)
}

// onRows holds the engine's plan for a request against its checks, resource by
// resource, without schemas, since a filter says nothing of what is wrong with a
// resource. It says how the plan lets
// through what is denied, if it does; less tells that Cerbos' plan, if there is one,
// lets through more of what is allowed.
func (t *planTrial) onRows(asked *engine.PlanRequest, cerbos *planAnswer) (what string, less bool, err error) {
	if t.open == nil {
		set := *t.set
		set.Options.SchemaEnforcement = engine.SchemaNone
		if t.open, err = newDecider(&set); err != nil {
			return "", false, err
		}
	}
	mine := t.open.plan(asked)
	if mine.failure != "" {
		return "", false, nil // which lets nothing through
	}
	compared := 0
	for _, row := range t.rows {
		req := checkOf(asked, row)
		lets, readable := t.lets(mine, req)
		if !readable {
			t.mu.Lock()
			t.unread++
			t.mu.Unlock()
			return "", true, nil
		}
		compared++
		t.open.set.Check(req, &t.open.decision)
		allowed := t.open.decision.Allowed()
		if lets && !allowed {
			return fmt.Sprintf("the plan lets through what is denied: %s\nof %s: %s\n", mine, row.ID, jsonText(attributes(req.Resource.Attr))), false, nil
		}
		if cerbos != nil && allowed && !lets {
			lets, readable = t.lets(cerbos, req)
			less = less || lets || !readable
		}
	}
	t.mu.Lock()
	t.checked += compared
	t.mu.Unlock()
	return "", less, nil
}

// checkOf asks about a resource what a plan was asked for, with what was known then.
func checkOf(asked *engine.PlanRequest, row engine.Resource) *engine.Request {
	known := value.Values{}
	for _, of := range []value.Mapping{row.Attr, asked.Resource.Attr} {
		if of != nil {
			of.Range(func(name string, v value.Value) bool {
				known[name] = v
				return true
			})
		}
	}
	resource := asked.Resource
	resource.ID, resource.Attr = row.ID, known
	return &engine.Request{Principal: asked.Principal, Resource: resource, Actions: asked.Actions, AuxData: asked.AuxData, Now: asked.Now}
}

// scoped tells whether the scopes of the engine's plan, where they are others than
// those of Cerbos' plan, are those of its checks, of some resource at least.
func (t *planTrial) scoped(asked *engine.PlanRequest, cerbos, mine *planAnswer) bool {
	open := map[string]bool{}
	for action, scope := range mine.scopes {
		if scope != cerbos.scopes[action] {
			open[action] = true
		}
	}
	for _, row := range t.rows {
		t.decider.set.Check(checkOf(asked, row), &t.decider.decision)
		for _, r := range t.decider.decision.Results {
			if r.Scope == mine.scopes[r.Action] {
				delete(open, r.Action)
			}
		}
	}
	return len(open) == 0
}

// lets tells whether a filter lets a resource through. What CEL does not even
// compile, such as a constant index that can never be one, can't be read.
func (t *planTrial) lets(a *planAnswer, req *engine.Request) (lets, readable bool) {
	if a.condition == nil {
		return a.kind == engine.AlwaysAllowed.String(), true
	}
	defer func() {
		if recover() != nil {
			lets, readable = false, false
		}
	}()
	return t.workshop.Holds([]byte(jsonText(a.condition)), req), true
}
