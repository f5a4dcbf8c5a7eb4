package oracle

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"

	"edict/engine"
	"edict/engine/policy"
	"edict/engine/value"
)

// Options are the engine's options, by the same names, and Order.
type Options struct {
	DefaultPolicyVersion string // empty: default
	DefaultScope         string
	LenientScopeSearch   bool
	LenientEvaluation    bool
	Globals              value.Mapping
	SchemaEnforcement    engine.SchemaEnforcement

	// Order is the seed of the order in which the role policies of inherited
	// roles are asked, the blocks of one principal policy and the derived roles
	// of one rule, for a system that promises none. Zero means the order in
	// which policies name them.
	Order uint64
}

// An Answer is the decision about a request.
type Answer struct {
	Results               []Result // one per action
	Outputs               []Output
	EffectiveDerivedRoles []string // sorted

	PrincipalInvalid, ResourceInvalid bool // whose attributes break a schema
}

// A Result is the decision about one action.
type Result struct {
	Action  string
	Effect  policy.Effect
	Policy  string // key of the policy that was consulted, or NO_MATCH
	Scope   string // scope that decided
	Denied  bool   // a row denied it
	Errored bool   // denied because a condition failed to evaluate
	Invalid bool   // denied because attributes break a schema
	Rule    string // name of the rule that decided or failed; empty if none did, or it has none
}

// An Output is what the output expression of a rule gave.
type Output struct {
	Src, Action string
	Val         any  // JSON, if Failed is false
	Failed      bool // there is no value
}

// An Interpreter decides over a table of rows. It is not safe for concurrent use.
type Interpreter struct {
	opts    Options
	cel     *celEnv
	rows    []row
	parents map[string]map[string][]string // by scope and role, of role policies
	consent map[string]bool                // scopes that require parental consent

	policies map[string]*policy.ResourcePolicy // by key
	globals  map[string]any
	met      map[Feature]int
}

// Met tells how often each feature took part in the answers so far.
func (it *Interpreter) Met() map[Feature]int { return it.met }

func (it *Interpreter) meet(f Feature) { it.met[f]++ }

// A stage is one of the two kinds of policies that decide, one after the other.
type stage uint8

const (
	principalStage stage = iota
	resourceStage
)

// A row is one way for a rule to match. A rule of a resource policy has one
// for each of its actions with each of its roles and each parent role of each
// of its derived roles; a rule of a principal policy one for each action; a
// rule of a role policy just one. The row of a policy without rules matches
// nothing: it only makes its scope exist.
type row struct {
	stage       stage
	source      *source // the policy
	placeholder bool

	version, scope string
	resource       string // pattern; of a resource policy, the sanitised kind
	action         string // pattern
	role           string // pattern; of a role policy, the role
	principal      string // id, of a principal policy

	allowed []string // of a role policy: patterns of the actions that it lists

	rule      any    // the rule itself, to tell it from all others
	position  [3]int // where the row stands but for the order of derived roles and blocks
	block     string // of a principal policy: the resource as written
	name      string
	effect    policy.Effect
	condition *policy.Condition
	output    policy.Output
	derived   *derivedRole // nil: none

	transformed bool // for a scope that requires consent
	narrowing   bool // made while deciding, from a role policy's rule
}

// ofRolePolicy tells whether the row stands for a rule of a role policy.
func (r *row) ofRolePolicy() bool { return r.allowed != nil }

// A source is a policy that conditions belong to: whose variables and
// constants they see.
type source struct {
	key       string
	variables []policy.Variable
	constants []policy.Constant
	imported  struct { // which of them
		variables map[string]bool
		constants bool // whether there are any
	}
}

// A derivedRole is one definition, with its set.
type derivedRole struct {
	source *source
	def    *policy.RoleDefinition
}

// library holds what policies import, by name.
type library struct {
	derivedRoles map[string]*policy.DerivedRoles
	variables    map[string]*policy.ExportVariables
	constants    map[string]*policy.ExportConstants
}

// A Workshop keeps compiled CEL for the interpreters that it makes. It is not
// safe for concurrent use, and neither are several interpreters of one.
type Workshop struct{ cel *celEnv }

// NewWorkshop makes a Workshop.
func NewWorkshop() *Workshop { return &Workshop{newCELEnv()} }

// New makes an interpreter of policies that compile, for one set.
func New(policies []*policy.Policy, opts Options) *Interpreter {
	return NewWorkshop().New(policies, opts)
}

// New makes an interpreter of policies that compile. What does not makes it
// panic, now or when it decides.
func (w *Workshop) New(policies []*policy.Policy, opts Options) *Interpreter {
	if len(w.cel.compiled) > 5000 {
		clear(w.cel.compiled) // of sets long forgotten
	}
	if opts.DefaultPolicyVersion == "" {
		opts.DefaultPolicyVersion = "default"
	}
	it := &Interpreter{
		opts: opts, cel: w.cel, globals: plain(opts.Globals),
		parents: map[string]map[string][]string{}, consent: map[string]bool{}, policies: map[string]*policy.ResourcePolicy{}, met: map[Feature]int{},
	}
	lib := newLibrary(policies)
	for _, p := range policies {
		switch {
		case p.Disabled:
		case p.Resource != nil:
			it.addResourcePolicy(p.Resource, lib)
		case p.Principal != nil:
			it.addPrincipalPolicy(p.Principal, lib)
		case p.Role != nil:
			it.addRolePolicy(p.Role, lib)
		}
	}
	return it
}

func newLibrary(policies []*policy.Policy) *library {
	lib := &library{
		derivedRoles: map[string]*policy.DerivedRoles{},
		variables:    map[string]*policy.ExportVariables{},
		constants:    map[string]*policy.ExportConstants{},
	}
	for _, p := range policies {
		switch {
		case p.Disabled:
		case p.DerivedRoles != nil:
			lib.derivedRoles[p.DerivedRoles.Name.Value] = p.DerivedRoles
		case p.ExportVariables != nil:
			lib.variables[p.ExportVariables.Name.Value] = p.ExportVariables
		case p.ExportConstants != nil:
			lib.constants[p.ExportConstants.Name.Value] = p.ExportConstants
		}
	}
	return lib
}

// source puts together what the conditions of a policy see.
func (lib *library) source(key string, v policy.Variables, c policy.Constants) *source {
	s := &source{key: key, variables: slices.Clone(v.Local), constants: slices.Clone(c.Local)}
	s.imported.variables = map[string]bool{}
	s.imported.constants = len(c.Import) > 0
	for _, name := range v.Import {
		for _, def := range lib.variables[name.Value].Definitions {
			s.variables = append(s.variables, def)
			s.imported.variables[def.Name.Value] = true
		}
	}
	for _, name := range c.Import {
		s.constants = append(s.constants, lib.constants[name.Value].Definitions...)
	}
	return s
}

func (it *Interpreter) addResourcePolicy(p *policy.ResourcePolicy, lib *library) {
	base := row{
		stage:    resourceStage,
		source:   lib.source(key("resource", p.Resource.Value, p.Version.Value, p.Scope.Value), p.Variables, p.Constants),
		resource: sanitize(p.Resource.Value),
		version:  p.Version.Value,
		scope:    p.Scope.Value,
	}
	it.policies[base.source.key] = p
	it.setPermissions(p.Scope.Value, p.Permissions)
	if len(p.Rules) == 0 {
		base.placeholder = true
		it.rows = append(it.rows, base)
	}
	roles := map[string]*derivedRole{}
	for i := range p.Rules {
		rule := &p.Rules[i]
		r := base
		r.rule, r.name = rule, rule.Name.Value
		if r.name == "" {
			r.name = fmt.Sprintf("rule-%03d", i+1)
		}
		r.setEffect(rule.Effect, rule.Condition, rule.Output, p.Permissions)
		for j, action := range rule.Actions {
			r.action, r.derived = action.Value, nil
			for _, role := range collapsed(texts(rule.Roles)) {
				r.role, r.position = role, [3]int{i, j, 0}
				it.rows = append(it.rows, r)
			}
			for _, d := range rule.DerivedRoles {
				if roles[d.Value] == nil {
					roles[d.Value] = lib.derivedRole(p, d.Value)
				}
				r.derived = roles[d.Value]
				for _, parent := range collapsed(texts(r.derived.def.ParentRoles)) {
					r.role, r.position = parent, [3]int{i, j, 1}
					it.rows = append(it.rows, r)
				}
			}
		}
	}
}

func (it *Interpreter) addPrincipalPolicy(p *policy.PrincipalPolicy, lib *library) {
	base := row{
		stage:     principalStage,
		source:    lib.source(key("principal", p.Principal.Value, p.Version.Value, p.Scope.Value), p.Variables, p.Constants),
		principal: p.Principal.Value,
		version:   p.Version.Value,
		scope:     p.Scope.Value,
	}
	it.setPermissions(p.Scope.Value, p.Permissions)
	if len(p.Rules) == 0 {
		base.placeholder = true
		it.rows = append(it.rows, base)
	}
	for i := range p.Rules {
		block := &p.Rules[i]
		for j := range block.Actions {
			rule := &block.Actions[j]
			r := base
			r.rule, r.name, r.resource, r.action = rule, rule.Name.Value, block.Resource.Value, rule.Action.Value
			r.block = r.resource
			if r.name == "" {
				r.name = fmt.Sprintf("%s_rule-%03d", block.Resource.Value, j+1)
			}
			if !strings.Contains(r.resource, "*") {
				r.resource = sanitize(r.resource)
			}
			r.setEffect(rule.Effect, rule.Condition, rule.Output, p.Permissions)
			it.rows = append(it.rows, r)
		}
	}
}

func (it *Interpreter) addRolePolicy(p *policy.RolePolicy, lib *library) {
	if it.parents[p.Scope.Value] == nil {
		it.parents[p.Scope.Value] = map[string][]string{}
	}
	it.parents[p.Scope.Value][p.Role.Value] = texts(p.ParentRoles)
	of := lib.source(key("role", p.Role.Value, p.Version.Value, p.Scope.Value), p.Variables, p.Constants)
	for i := range p.Rules {
		rule := &p.Rules[i]
		r := row{
			stage: resourceStage, source: of, version: p.Version.Value, scope: p.Scope.Value,
			role: p.Role.Value, resource: rule.Resource.Value, allowed: texts(rule.AllowActions),
			rule: rule, name: rule.Name.Value, condition: rule.Condition,
		}
		if rule.Output != nil {
			r.output = *rule.Output
		}
		it.rows = append(it.rows, r)
	}
}

// setPermissions notes what an ALLOW in a scope is worth: one thing for all
// policies of the scope.
func (it *Interpreter) setPermissions(scope string, p policy.ScopePermissions) {
	if p == policy.RequireParentalConsent {
		it.consent[scope] = true
	}
}

// setEffect gives the row its effect, condition and output. Where parental
// consent is required, an ALLOW with a condition is a DENY unless it holds.
func (r *row) setEffect(effect policy.Effect, c *policy.Condition, o *policy.Output, p policy.ScopePermissions) {
	r.effect, r.condition = effect, c
	if o != nil {
		r.output = *o
	}
	if p == policy.RequireParentalConsent && effect == policy.Allow && c != nil {
		r.effect, r.condition, r.transformed = policy.Deny, not(c), true
	}
}

// not is the condition that holds where c does not.
func not(c *policy.Condition) *policy.Condition {
	return &policy.Condition{Op: policy.None, Of: []*policy.Condition{c}}
}

// derivedRole looks a name up in the sets that p imports. It gives nil if none
// has it.
func (lib *library) derivedRole(p *policy.ResourcePolicy, name string) *derivedRole {
	for _, imported := range p.ImportDerivedRoles {
		set := lib.derivedRoles[imported.Value]
		if set == nil {
			return nil
		}
		for i := range set.Definitions {
			if set.Definitions[i].Name.Value == name {
				return &derivedRole{
					source: lib.source("derived_roles."+set.Name.Value, set.Variables, set.Constants),
					def:    &set.Definitions[i],
				}
			}
		}
	}
	return nil
}

// collapsed gives just * if one of the roles is exactly that.
func collapsed(roles []string) []string {
	if slices.Contains(roles, "*") {
		return []string{"*"}
	}
	return roles
}

// An entry is one request under way: the request, normalised.
type entry struct {
	*Interpreter
	req              *engine.Request
	kind             string // sanitised
	version          string // of the resource, which selects the rows of both stages
	principalVersion string
	resourceScope    string
	chains           [2][]string // by stage: scopes, the most specific first
	keys             [2]string   // by stage: what undecided results name

	principal, resource, request *record // what expressions see of req

	derived map[string]*roleList // by scope, of the scopes that were reached
	visited map[visit]bool       // derived roles of rules that were found not to hold
	outputs []Output
}

// A roleList is which derived roles of one scope's resource policy the principal has.
type roleList struct {
	names []string // sorted
	err   error    // why the list can't be read, under strict evaluation
}

// A visit is a rule looked at because of a derived role.
type visit struct {
	rule    any
	derived *policy.RoleDefinition
}

// Check decides a request.
func (it *Interpreter) Check(req *engine.Request) *Answer {
	it.cel.now = req.Now
	e := &entry{
		Interpreter: it, req: req, kind: sanitize(req.Resource.Kind),
		version:          orDefault(req.Resource.PolicyVersion, it.opts.DefaultPolicyVersion),
		principalVersion: orDefault(req.Principal.PolicyVersion, it.opts.DefaultPolicyVersion),
		resourceScope:    it.scope(req.Resource.Scope),
		derived:          map[string]*roleList{},
		visited:          map[visit]bool{},
	}
	e.read()
	e.chains[principalStage] = it.scopeChain(principalStage, it.scope(req.Principal.Scope))
	e.chains[resourceStage] = it.scopeChain(resourceStage, e.resourceScope)
	e.keys = [2]string{engine.NoMatch, engine.NoMatch}
	if e.principalExists() {
		e.keys[principalStage] = key("principal", req.Principal.ID, e.principalVersion, e.chains[principalStage][0])
	}
	if e.resourceExists() {
		e.keys[resourceStage] = key("resource", req.Resource.Kind, e.version, e.chains[resourceStage][0])
	}
	a := &Answer{}
	a.PrincipalInvalid, a.ResourceInvalid = e.validate()
	if (a.PrincipalInvalid || a.ResourceInvalid) && it.opts.SchemaEnforcement == engine.SchemaReject {
		e.meet(DeniedBySchema)
		for _, action := range req.Actions {
			a.Results = append(a.Results, Result{Action: action, Effect: policy.Deny, Policy: e.keys[resourceStage], Invalid: true})
		}
		return a
	}
	for _, action := range req.Actions {
		a.Results = append(a.Results, e.decide(action))
	}
	a.Outputs = e.outputs
	a.EffectiveDerivedRoles = []string{}
	for _, d := range e.derived {
		a.EffectiveDerivedRoles = append(a.EffectiveDerivedRoles, d.names...)
	}
	slices.Sort(a.EffectiveDerivedRoles)
	a.EffectiveDerivedRoles = slices.Compact(a.EffectiveDerivedRoles)
	return a
}

func orDefault(s, byDefault string) string {
	if s == "" {
		return byDefault
	}
	return s
}

// scope gives the scope that a request means: the default for none, and
// without the dot that leads it.
func (it *Interpreter) scope(s string) string {
	if s == "" && it.opts.DefaultScope != "" {
		it.meet(ScopeByDefault)
	}
	return strings.TrimPrefix(orDefault(s, it.opts.DefaultScope), ".")
}

// scopeChain gives the scope and its ancestors, as far as policies of the
// stage have them. A scope that none has gives nothing, unless the search is
// lenient.
func (it *Interpreter) scopeChain(s stage, scope string) (chain []string) {
	has := func(scope string) bool {
		return slices.ContainsFunc(it.rows, func(r row) bool { return r.stage == s && r.scope == scope })
	}
	if !has(scope) {
		if !it.opts.LenientScopeSearch {
			return nil
		}
		it.meet(ScopeSearched)
	}
	for {
		if has(scope) {
			chain = append(chain, scope)
		}
		if scope == "" {
			return chain
		}
		cut := max(0, strings.LastIndexByte(scope, '.'))
		scope = scope[:cut]
	}
}

// principalExists tells whether any principal has a policy in the scopes of
// the request and of the principal's version.
func (e *entry) principalExists() bool {
	for _, r := range e.rows {
		if r.stage == principalStage && r.version == e.principalVersion && slices.Contains(e.chains[principalStage], r.scope) {
			return true
		}
	}
	return false
}

// resourceExists tells whether any policy is about this kind, version and scope.
func (e *entry) resourceExists() bool {
	for _, r := range e.rows {
		if r.stage == resourceStage && r.version == e.version && slices.Contains(e.chains[resourceStage], r.scope) &&
			matchesPattern(r.resource, e.kind) {
			return true
		}
	}
	return false
}

// roleSet gives a role and what it inherits by the role policies of exactly
// the scope of the resource. A role that inherits itself is listed twice.
func (e *entry) roleSet(role string) []string {
	inherited := []string{}
	var follow func(role string)
	follow = func(role string) {
		for _, parent := range e.parents[e.resourceScope][role] {
			e.meet(RoleInherited)
			if !slices.Contains(inherited, parent) {
				inherited = append(inherited, parent)
				follow(parent)
			}
		}
	}
	follow(role)
	if slices.Contains(inherited, role) {
		e.meet(RoleInheritsItself)
	}
	if seed := e.opts.Order; seed != 0 {
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(inherited), func(i, j int) {
			inherited[i], inherited[j] = inherited[j], inherited[i]
		})
	}
	return append([]string{role}, inherited...)
}

func (e *entry) decide(action string) Result {
	result := Result{Action: action, Policy: engine.NoMatch}
	if e.keys[principalStage] != engine.NoMatch || e.keys[resourceStage] != engine.NoMatch {
		for _, s := range []stage{principalStage, resourceStage} {
			result = e.decideStage(s, action)
			e.meetResult(s, result)
			if result.Effect != policy.NoEffect {
				return result
			}
		}
	}
	if result.Policy == engine.NoMatch {
		e.meet(NoPolicy)
	} else {
		e.meet(Undecided)
	}
	result.Effect = policy.Deny
	return result
}

// meetResult notes what a stage came to.
func (e *entry) meetResult(s stage, r Result) {
	switch {
	case r.Effect == policy.NoEffect:
	case r.Errored:
		e.meet(Failed)
	case r.Effect == policy.Allow && s == principalStage:
		e.meet(AllowedByPrincipal)
	case r.Effect == policy.Allow:
		e.meet(AllowedByResource)
	case s == principalStage:
		e.meet(DeniedByPrincipal)
	default:
		e.meet(DeniedByResource)
	}
	if r.Effect != policy.NoEffect && r.Scope != e.chains[s][0] {
		e.meet(DecidedAbove)
	}
	if s == resourceStage && r.Policy != engine.NoMatch && !slices.ContainsFunc(e.rows, func(row row) bool { return row.source.key == r.Policy }) {
		e.meet(ScopeOfNoPolicy)
	}
}

func (e *entry) decideStage(s stage, action string) Result {
	result := Result{Action: action, Policy: e.keys[s]} // what the roles so far came to; its zero Effect is undecided
	for i, role := range e.req.Principal.Roles {
		if s == principalStage && i > 0 {
			break // the rules of a principal apply whatever the roles
		}
		r := e.decideForRole(s, action, role)
		if r.Errored || r.Effect == policy.Allow {
			if result.Denied && r.Effect == policy.Allow {
				e.meet(LaterRoleAllows)
			}
			return r
		}
		if result.Effect == policy.NoEffect {
			result = r
		}
	}
	return result
}

func (e *entry) decideForRole(s stage, action, role string) Result {
	undecided := Result{Action: action, Policy: e.keys[s]}
	roleSet := e.roleSet(role)
	seen := &roleList{}
	for _, scope := range e.chains[s] {
		if s == resourceStage {
			seen = e.derivedRolesOf(scope, seen)
		}
		allow := undecided
		for _, r := range e.matching(s, scope, action, roleSet) {
			held, silent, err := e.holds(r, seen)
			if err != nil {
				return Result{Action: action, Effect: policy.Deny, Policy: r.source.key, Scope: scope, Errored: true, Rule: r.name}
			}
			switch {
			case silent:
			case held:
				e.emit(r, action, r.output.RuleActivated.Value, seen, OutputActivated)
			default:
				e.emit(r, action, r.output.ConditionNotMet.Value, seen, OutputNotMet)
			}
			if !held {
				if s == principalStage {
					e.meet(PrincipalUndecided)
				}
				continue
			}
			if r.derived != nil {
				e.meet(DerivedRoleHeld)
				if !slices.Contains(seen.names, r.derived.def.Name.Value) && seen.err == nil {
					e.meet(DerivedRoleByPattern)
				}
			}
			result := Result{Action: action, Effect: r.effect, Policy: e.keys[s], Scope: scope, Rule: r.name}
			if r.effect == policy.Deny {
				result.Denied = true
				switch {
				case r.narrowing && r.rule == nil:
					e.meet(DeniedAsUnlisted)
				case r.narrowing:
					e.meet(DeniedByRoleCondition)
				case r.transformed:
					e.meet(DeniedByConsent)
				}
				if r.narrowing {
					result.Policy = r.source.key
				}
				return result
			}
			if r.effect == policy.Allow && allow.Effect == policy.NoEffect {
				allow = result
			}
		}
		if allow.Effect == policy.Allow {
			if !e.consent[scope] {
				return allow
			}
			e.meet(ConsentPassedOn)
		}
	}
	return undecided
}

// matching gives the rows of a scope that are about the action and one of the
// roles: those that role policies call for, then the others in the order of
// the rules.
func (e *entry) matching(s stage, scope, action string, roleSet []string) []row {
	var rows []row
	relevant := false // whether there is any row about this kind for these roles
	for _, r := range e.rows {
		if r.stage != s || r.version != e.version || r.scope != scope || r.placeholder || !matchesPattern(r.resource, e.kind) {
			continue
		}
		if s == principalStage {
			if r.principal == e.req.Principal.ID && matchesPattern(r.action, action) {
				rows = append(rows, r)
			}
			continue
		}
		if !slices.ContainsFunc(roleSet, func(role string) bool {
			return r.role == role || !r.ofRolePolicy() && matchesPattern(r.role, role)
		}) {
			continue
		}
		relevant = true
		if !r.ofRolePolicy() && matchesPattern(r.action, action) {
			rows = append(rows, r)
		}
	}
	if e.opts.Order != 0 {
		e.shuffle(s, rows)
	}
	if relevant && s == resourceStage {
		rows = append(e.narrowing(scope, action, roleSet), rows...)
	}
	return rows
}

// shuffle changes the order of rows to another that a system may have: of the
// blocks of principal policies, and of the derived roles of one rule.
func (e *entry) shuffle(s stage, rows []row) {
	rank := func(name string) uint64 {
		return rand.New(rand.NewPCG(e.opts.Order, uint64(crc32.ChecksumIEEE([]byte(name))))).Uint64()
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		switch {
		case s == principalStage:
			return cmp.Compare(rank(a.block), rank(b.block))
		case a.position == b.position && a.derived != nil:
			return cmp.Compare(rank(a.action+"#"+a.derived.def.Name.Value), rank(b.action+"#"+b.derived.def.Name.Value))
		default:
			return slices.Compare(a.position[:], b.position[:])
		}
	})
}

// narrowing gives the rows by which role policies deny what they do not list.
func (e *entry) narrowing(scope, action string, roleSet []string) (rows []row) {
	policies := 0
	for _, role := range roleSet {
		var of *source // the role policy, if there is one
		listed := false
		for _, r := range e.rows {
			if !r.ofRolePolicy() || r.version != e.version || r.scope != scope || r.role != role {
				continue
			}
			of = r.source
			if !matchesPattern(r.resource, e.kind) || !slices.ContainsFunc(r.allowed, func(pattern string) bool {
				return pattern == action || matchesGlob(pattern, action)
			}) {
				continue
			}
			listed = true
			r.narrowing = true
			if r.condition != nil {
				r.effect, r.condition = policy.Deny, not(r.condition)
				r.output.RuleActivated, r.output.ConditionNotMet = r.output.ConditionNotMet, r.output.RuleActivated
			}
			rows = append(rows, r)
		}
		if of != nil && !listed {
			rows = append(rows, row{source: of, effect: policy.Deny, narrowing: true})
		}
		if of != nil {
			policies++
		}
	}
	if policies > 1 {
		e.meet(RolePoliciesCombined)
	}
	return rows
}

// holds tells whether the conditions of a row hold: its derived role's first.
// A row whose derived role does not hold is silent when first looked at.
func (e *entry) holds(r row, seen *roleList) (held, silent bool, err error) {
	if r.derived != nil {
		held, err := e.conditionHolds(r.derived.def.Condition, e.names(r.derived.source, seen, false))
		if err != nil {
			e.meet(FailedInDerivedRole)
			return false, false, err
		}
		if !held {
			v := visit{r.rule, r.derived.def}
			silent = !e.visited[v]
			e.visited[v] = true
			if silent {
				e.meet(DerivedRoleSilent)
			} else {
				e.meet(DerivedRoleSpoke)
			}
			return false, silent, nil
		}
	}
	if r.stage == principalStage && e.conditionReadsRoles(r.condition, r.source) {
		e.meet(RolesReadByPrincipal)
		if e.opts.LenientEvaluation {
			return r.effect == policy.Deny, false, nil
		}
		return false, false, errPrincipalStage
	}
	held, err = e.conditionHolds(r.condition, e.names(r.source, seen, false))
	return held, false, err
}

// emit adds the output that an expression gives, if there is one.
func (e *entry) emit(r row, action, expr string, seen *roleList, f Feature) {
	if expr == "" {
		return
	}
	e.meet(f)
	o := Output{Src: r.source.key + "#" + r.name, Action: action}
	v, err := e.cel.eval(expr, e.names(r.source, seen, false))
	if r.stage == principalStage && e.readsRoles(expr, r.source) {
		err = errPrincipalStage
	}
	if err == nil {
		o.Val, err = asJSON(v)
	}
	if o.Failed = err != nil; o.Failed {
		e.meet(OutputFailed)
	}
	e.outputs = append(e.outputs, o)
}

// derivedRolesOf gives the derived roles that the rules of the policy in this
// scope refer to and that the principal has. Their conditions see those of
// the scope that was reached before.
func (e *entry) derivedRolesOf(scope string, before *roleList) *roleList {
	if d := e.derived[scope]; d != nil {
		return d
	}
	allRoles := []string{}
	for _, role := range e.req.Principal.Roles {
		allRoles = append(allRoles, e.roleSet(role)...)
	}
	d := &roleList{}
	done := map[string]bool{}
	for _, r := range e.rows {
		if r.derived == nil || r.version != e.version || r.scope != scope || r.resource != e.kind || done[r.derived.def.Name.Value] {
			continue
		}
		name := r.derived.def.Name.Value
		done[name] = true
		parents := texts(r.derived.def.ParentRoles)
		if !slices.Contains(parents, "*") && !intersects(parents, allRoles) {
			continue
		}
		held, err := e.conditionHolds(r.derived.def.Condition, e.names(r.derived.source, before, true))
		if err != nil {
			d.err = fmt.Errorf("derived role %s: %w", name, err)
			e.meet(FailedInRoleList)
		}
		if held {
			d.names = append(d.names, name)
		}
	}
	slices.Sort(d.names)
	if len(d.names) > 0 {
		e.meet(DerivedRoleListed)
	}
	e.derived[scope] = d
	return d
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
