package main

import (
	"errors"
	"fmt"

	"edict/engine"
	"edict/engine/internal/oracle"
	"edict/engine/schema"
)

// A decider is the engine with a set loaded.
type decider struct {
	set      *engine.PolicySet
	decision engine.Decision
}

// newDecider loads a set. The error is what the engine has against it.
func newDecider(set *oracle.Set) (*decider, error) {
	compiler, err := engine.NewCompiler(engine.Options{
		DefaultPolicyVersion: set.Options.DefaultPolicyVersion,
		DefaultScope:         set.Options.DefaultScope,
		LenientScopeSearch:   set.Options.LenientScopeSearch,
		LenientEvaluation:    set.Options.LenientEvaluation,
		Globals:              set.Options.Globals,
		SchemaEnforcement:    set.Options.SchemaEnforcement,
	})
	if err != nil {
		return nil, err
	}
	var schemas *schema.Set // nil: those that policies name are not looked at
	if set.Options.SchemaEnforcement != engine.SchemaNone {
		schemas = schema.New(oracle.SchemaFiles())
	}
	compiled, diagnostics := compiler.Compile(set.Policies, schemas)
	if compiled == nil {
		return nil, errors.New(diagnostics.Render())
	}
	return &decider{set: compiled}, nil
}

func (d *decider) decide(req *engine.Request) *answer {
	asked := *req
	asked.IncludeMeta = true
	d.set.Check(&asked, &d.decision)
	a := &answer{}
	for i := range d.decision.Results {
		r := &d.decision.Results[i]
		a.result(r.Action, r.Effect.String(), r.Policy, r.Scope)
	}
	for _, o := range d.decision.Outputs {
		var val any
		if o.Err == "" {
			val = o.Val.Native()
		}
		a.output(o.Src, o.Action, val, o.Err != "")
	}
	a.roles(d.decision.EffectiveDerivedRoles)
	for _, e := range d.decision.ValidationErrors {
		a.invalid(e.Source.String(), e.Path, e.Message)
	}
	return a
}

// engineDiffers tells whether the engine takes the policies and answers
// otherwise than the interpreter.
func engineDiffers(c oracle.Case) (text string, differs bool) {
	d, err := newDecider(c.Set)
	if err != nil {
		return "", false
	}
	got, want := d.decide(c.Request), answerOf(oracle.New(c.Set.Policies, c.Set.Options), c.Request)
	return fmt.Sprintf("engine:\n%s\nreference:\n%s\n", got, want), got.String() != want.String()
}
