package oracle

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/value"
)

// Options are the engine's options, by the same names.
type Options struct {
	DefaultPolicyVersion string // empty: default
	LenientEvaluation    bool
	Globals              value.Mapping
}

// A Result is the decision about one action.
type Result struct {
	Action  string
	Effect  policy.Effect
	Policy  string // key of the policy that was consulted, or NO_MATCH
	Scope   string // scope that decided
	Errored bool   // denied because a condition failed to evaluate
	Rule    string // name of the rule that decided or failed; empty if none did
}

// An Interpreter decides over a table of rows. It is not safe for concurrent use.
type Interpreter struct {
	opts   Options
	cel    *celEnv
	rows   []row
	scopes map[string]bool // of all rows
}

// A row is one way for a rule to match: one of its actions with one of its
// roles, or with one parent role of one of its derived roles. The row of a
// policy without rules has no rule: it only makes its scope exist.
type row struct {
	policy *source
	rule   *policy.Rule
	name   string // of the rule

	kind, version, scope string // kind as sanitised
	role, action         string // patterns
	derived              *derivedRole
}

// A source is a policy that conditions belong to: whose variables and
// constants they see.
type source struct {
	key       string
	variables []policy.Variable
	constants []policy.Constant
}

// A derivedRole is one definition, with its set.
type derivedRole struct {
	source *source
	def    *policy.RoleDefinition
}

// New makes an interpreter of policies that compile. It panics on what it
// does not know.
func New(policies []*policy.Policy, opts Options) *Interpreter {
	if opts.DefaultPolicyVersion == "" {
		opts.DefaultPolicyVersion = "default"
	}
	it := &Interpreter{opts: opts, cel: newCELEnv(), scopes: map[string]bool{}}
	sets := map[string]*policy.DerivedRoles{}
	for _, p := range policies {
		if p.Disabled {
			continue
		}
		if p.Principal != nil || p.Role != nil || p.ExportVariables != nil || p.ExportConstants != nil {
			panic("oracle: a kind of policy that the interpreter does not know")
		}
		if p.DerivedRoles != nil {
			sets[p.DerivedRoles.Name.Value] = p.DerivedRoles
		}
	}
	for _, p := range policies {
		if p.Resource != nil && !p.Disabled {
			it.addResourcePolicy(p.Resource, sets)
		}
	}
	return it
}

func (it *Interpreter) addResourcePolicy(p *policy.ResourcePolicy, sets map[string]*policy.DerivedRoles) {
	if p.Permissions != 0 || p.Schemas != nil || len(p.Variables.Import)+len(p.Constants.Import) > 0 {
		panic("oracle: a field of a resource policy that the interpreter does not know")
	}
	base := row{
		policy:  &source{key: resourceKey(p.Resource.Value, p.Version.Value, p.Scope.Value), variables: p.Variables.Local, constants: p.Constants.Local},
		kind:    sanitize(p.Resource.Value),
		version: p.Version.Value,
		scope:   p.Scope.Value,
	}
	it.scopes[base.scope] = true
	if len(p.Rules) == 0 {
		it.rows = append(it.rows, base)
	}
	for i := range p.Rules {
		rule := &p.Rules[i]
		if rule.Output != nil {
			panic("oracle: outputs are not known to the interpreter")
		}
		name := rule.Name.Value
		if name == "" {
			name = fmt.Sprintf("rule-%03d", i+1)
		}
		for _, action := range rule.Actions {
			r := base
			r.rule, r.name, r.action = rule, name, action.Value
			for _, role := range collapsed(texts(rule.Roles)) {
				r.role = role
				it.rows = append(it.rows, r)
			}
			for _, d := range rule.DerivedRoles {
				r.derived = findDerivedRole(p, d.Value, sets)
				for _, parent := range collapsed(texts(r.derived.def.ParentRoles)) {
					r.role = parent
					it.rows = append(it.rows, r)
				}
			}
		}
	}
}

// findDerivedRole looks a name up in the sets that p imports.
func findDerivedRole(p *policy.ResourcePolicy, name string, sets map[string]*policy.DerivedRoles) *derivedRole {
	for _, imported := range p.ImportDerivedRoles {
		set := sets[imported.Value]
		if set == nil {
			panic(fmt.Sprintf("oracle: no derived roles %q to import", imported.Value))
		}
		if len(set.Variables.Import)+len(set.Constants.Import) > 0 {
			panic("oracle: imports of derived roles are not known to the interpreter")
		}
		for i := range set.Definitions {
			if set.Definitions[i].Name.Value == name {
				return &derivedRole{
					source: &source{key: "derived_roles." + set.Name.Value, variables: set.Variables.Local, constants: set.Constants.Local},
					def:    &set.Definitions[i],
				}
			}
		}
	}
	panic(fmt.Sprintf("oracle: no derived role %q in the imports", name))
}

// collapsed gives just * if one of the roles is exactly that.
func collapsed(roles []string) []string {
	if slices.Contains(roles, "*") {
		return []string{"*"}
	}
	return roles
}

// The regular expressions are the definition of sanitising, word by word.
var (
	sanitizable = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_@./-]*(:[A-Za-z][A-Za-z0-9_@./-]*)*$`)
	odd         = regexp.MustCompile(`[^A-Za-z0-9_.]+`)
)

func sanitize(kind string) string {
	if !sanitizable.MatchString(kind) {
		return kind
	}
	return odd.ReplaceAllString(kind, "_")
}

func resourceKey(kind, version, scope string) string {
	k := "resource." + sanitize(kind) + ".v" + version
	if scope != "" {
		k += "/" + scope
	}
	return k
}

// An entry is one request under way: the request, normalised.
type entry struct {
	*Interpreter
	req     *engine.Request
	kind    string
	version string
	chain   []string // scopes, the most specific first
	mainKey string

	principal, resource, request *record // what expressions see of req
	globals                      map[string]any
}

// Check decides a request: one result per action.
func (it *Interpreter) Check(req *engine.Request) []Result {
	it.cel.now = req.Now
	e := &entry{Interpreter: it, req: req, kind: sanitize(req.Resource.Kind), version: req.Resource.PolicyVersion}
	if e.version == "" {
		e.version = it.opts.DefaultPolicyVersion
	}
	e.chain = it.scopeChain(strings.TrimPrefix(req.Resource.Scope, "."))
	if len(e.chain) > 0 {
		e.mainKey = resourceKey(req.Resource.Kind, e.version, e.chain[0])
	}
	e.read()
	var results []Result
	for _, action := range req.Actions {
		results = append(results, e.decide(action))
	}
	return results
}

// scopeChain gives the scope and its ancestors, as far as policies have them.
// A scope that none has gives nothing.
func (it *Interpreter) scopeChain(scope string) (chain []string) {
	if !it.scopes[scope] {
		return nil
	}
	for {
		if it.scopes[scope] {
			chain = append(chain, scope)
		}
		if scope == "" {
			return chain
		}
		cut := max(0, strings.LastIndexByte(scope, '.'))
		scope = scope[:cut]
	}
}

func (e *entry) decide(action string) Result {
	if !e.exists() {
		return Result{Action: action, Effect: policy.Deny, Policy: engine.NoMatch}
	}
	var stage Result // what the roles so far came to; its zero Effect is undecided
	for _, role := range e.req.Principal.Roles {
		r := e.decideForRole(action, role)
		if r.Errored || r.Effect == policy.Allow {
			return r
		}
		if stage.Effect == policy.NoEffect {
			stage = r
		}
	}
	if stage.Effect == policy.NoEffect {
		return Result{Action: action, Effect: policy.Deny, Policy: e.mainKey}
	}
	return stage
}

// exists tells whether any policy is about this kind, version and scope.
func (e *entry) exists() bool {
	for _, r := range e.rows {
		if r.version == e.version && r.kind == e.kind && slices.Contains(e.chain, r.scope) {
			return true
		}
	}
	return false
}

func (e *entry) decideForRole(action, role string) Result {
	undecided := Result{Action: action, Policy: e.mainKey}
	for _, scope := range e.chain {
		allow := undecided
		effective, effectiveErr := e.effectiveDerivedRoles(scope)
		for _, r := range e.matching(action, role, scope) {
			held, err := e.holds(r, effective, effectiveErr)
			switch {
			case err != nil:
				return Result{Action: action, Effect: policy.Deny, Policy: r.policy.key, Scope: scope, Errored: true, Rule: r.name}
			case !held:
			case r.rule.Effect == policy.Deny:
				return Result{Action: action, Effect: policy.Deny, Policy: e.mainKey, Scope: scope, Rule: r.name}
			case r.rule.Effect == policy.Allow && allow.Effect == policy.NoEffect:
				allow = Result{Action: action, Effect: policy.Allow, Policy: e.mainKey, Scope: scope, Rule: r.name}
			}
		}
		if allow.Effect == policy.Allow {
			return allow
		}
	}
	return undecided
}

// matching gives the rows of a scope that are about the action and the role,
// in the order of the rules.
func (e *entry) matching(action, role, scope string) (rows []row) {
	for _, r := range e.rows {
		if r.rule != nil && r.version == e.version && r.scope == scope && r.kind == e.kind &&
			matchesPattern(r.action, action) && matchesPattern(r.role, role) {
			rows = append(rows, r)
		}
	}
	return rows
}

// holds tells whether the conditions of a row hold: its derived role's first.
func (e *entry) holds(r row, effective []string, effectiveErr error) (bool, error) {
	if r.derived != nil {
		held, err := e.conditionHolds(r.derived.def.Condition, r.derived.source, effective, effectiveErr)
		if err != nil || !held {
			return false, err
		}
	}
	return e.conditionHolds(r.rule.Condition, r.policy, effective, effectiveErr)
}

// effectiveDerivedRoles gives the derived roles that the rules of the policy
// in this scope refer to and that the principal has, sorted. Under strict
// evaluation one that cannot be evaluated makes the list an error.
func (e *entry) effectiveDerivedRoles(scope string) ([]string, error) {
	active := map[string]bool{}
	for _, r := range e.rows {
		if r.derived == nil || r.version != e.version || r.scope != scope || r.kind != e.kind {
			continue
		}
		parents := texts(r.derived.def.ParentRoles)
		if !slices.Contains(parents, "*") && !intersects(parents, e.req.Principal.Roles) {
			continue
		}
		held, err := e.conditionHolds(r.derived.def.Condition, r.derived.source, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("derived role %s: %w", r.derived.def.Name.Value, err)
		}
		if held {
			active[r.derived.def.Name.Value] = true
		}
	}
	names := []string{}
	for name := range active {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
