package engine

import (
	"errors"
	"fmt"
	"slices"

	"edict/engine/expr"
	"edict/engine/value"
)

// enter makes the frame show the variables and constants of a module, and
// gives the module that it showed before. Nil changes nothing.
func (st *state) enter(m *module) (before *module) {
	before = st.module
	if m == nil || m == before {
		return before
	}
	st.module = m
	s := st.moduleState(m)
	st.frame.Set(slotVariables, value.OfMapping(s))
	st.frame.Set(slotConstants, value.OfMapping(constantsView{m.constants}))
	return before
}

// moduleState gives the memory for the variables of a module.
func (st *state) moduleState(m *module) *moduleState {
	if at := st.moduleAt[m.id]; uint32(at>>32) == st.check {
		return st.modules[uint32(at)]
	}
	if st.inUse == len(st.modules) {
		st.modules = append(st.modules, &moduleState{frame: st.frame})
	}
	s := st.modules[st.inUse]
	st.moduleAt[m.id] = uint64(st.check)<<32 | uint64(st.inUse)
	st.inUse++
	s.module = m
	s.values = slices.Grow(s.values[:0], len(m.programs))[:len(m.programs)]
	clear(s.values)
	return s
}

var errCircle = value.OfError(errors.New("a variable is defined by itself"))

// A moduleState shows a module's variables to expressions, evaluating each at
// most once in a Check, when it is first read.
type moduleState struct {
	frame  *expr.Frame
	module *module
	values []value.Value // absent: not evaluated yet
}

func (*moduleState) StructName() string { return "Variables" }

func (s *moduleState) Len() int { return len(s.values) }

// Lookup evaluates a variable. The frame shows this module while one of its
// expressions runs, so the variable sees its own policy's names.
func (s *moduleState) Lookup(name string) (value.Value, bool) {
	i, ok := s.module.variables[name]
	if !ok {
		return value.Value{}, false
	}
	if s.values[i].Kind() == value.Absent {
		// Compile refuses variables that are defined by themselves. Should one
		// get past it, this ends in an error and not in a stack overflow.
		s.values[i] = errCircle
		v := s.module.programs[i].Eval(s.frame)
		// A variable that holds another one twice has twice its size, and so has
		// the next. What is larger than anybody could look at is an error.
		if !s.frame.SpendOn(v) {
			v = value.OfError(expr.ErrTooManySteps)
		}
		if s.module.nullErrors && v.Kind() == value.Error {
			v = value.OfNull()
		}
		s.values[i] = v
	}
	return s.values[i], true
}

func (s *moduleState) Range(yield func(string, value.Value) bool) {
	for name := range s.module.variables {
		if v, _ := s.Lookup(name); !yield(name, v) {
			return
		}
	}
}

type constantsView struct{ value.Values }

func (constantsView) StructName() string { return "Constants" }

// globalsView is the state as globals. It is a view so that it can be shown
// without allocating.
type globalsView state

func (*globalsView) StructName() string { return "Globals" }

func (v *globalsView) Len() int { return v.set.options.Globals.Len() }

func (v *globalsView) Lookup(name string) (value.Value, bool) {
	return v.set.options.Globals.Lookup(name)
}

func (v *globalsView) Range(yield func(string, value.Value) bool) {
	v.set.options.Globals.Range(yield)
}

// runtimeView is the state as runtime.
type runtimeView state

func (*runtimeView) StructName() string { return "Runtime" }

func (*runtimeView) Len() int { return 1 }

// Lookup gives the derived roles that are active by the policy of the scope in
// progress. While they are found out, it gives those of the scope before it.
func (v *runtimeView) Lookup(field string) (value.Value, bool) {
	if field != "effectiveDerivedRoles" && field != "effective_derived_roles" {
		return value.Value{}, false
	}
	st := (*state)(v)
	if st.isOverride {
		return value.OfError(errEarly), true
	}
	if st.at < 0 {
		return value.OfSequence(&noRoles), true
	}
	s := st.list(st.at)
	if len(s.failed) > 0 {
		return value.OfError(fmt.Errorf("failed to compute effective derived roles %q", s.failed)), true
	}
	return value.OfSequence(&s.list), true
}

var noRoles value.Strings

func (v *runtimeView) Range(yield func(string, value.Value) bool) {
	rangeFields(v, yield, "effectiveDerivedRoles")
}

// list fills the sorted list of the derived roles that are active by the policy
// of a step, among those that its rules name. Unlike in rows, a parent role
// counts here only if it is "*" or literally a role of the principal.
func (st *state) list(n int) *step {
	s := &st.steps[n]
	if s.listed {
		return s
	}
	s.listed = true
	if s.unit == nil {
		return s
	}
	before := st.at
	st.at = n - 1
	for i := range s.unit.derived {
		d := &s.unit.derived[i]
		if !d.anyRole && !st.hasRole(d.literal) {
			continue
		}
		switch ok, err := st.outcome(d.listed); {
		case err != nil:
			s.failed = append(s.failed, d.name)
		case ok:
			s.list = append(s.list, d.name)
		}
	}
	st.at = before
	slices.Sort(s.list)
	return s
}

// hasRole tells whether the principal has one of the roles, or inherits it.
func (st *state) hasRole(among []string) bool {
	inherited := st.set.inherited[st.resource.exact]
	for _, role := range st.req.Principal.Roles {
		if slices.Contains(among, role) {
			return true
		}
		for _, parent := range inherited[role] {
			if slices.Contains(among, parent) {
				return true
			}
		}
	}
	return false
}

// listEffective gives the derived roles of all steps that were visited.
func (st *state) listEffective() {
	d := st.decision
	for n := range st.visited {
		d.EffectiveDerivedRoles = append(d.EffectiveDerivedRoles, st.list(n).list...)
	}
	slices.Sort(d.EffectiveDerivedRoles)
	d.EffectiveDerivedRoles = slices.Compact(d.EffectiveDerivedRoles)
}
